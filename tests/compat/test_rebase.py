"""The same changes that meet are the same conflicts, and the same solver makes the same of them.

`tests.meetings` says what ours has to do; here the official implementation does it too.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tests.meetings import AGREEMENTS, BASE, MEETINGS, after
from tests.trees import Edit

TAKEN, INVALID = "NewNodeConflictsWithExistingNode", "NewNodeInInvalidGroup"

OFFICIAL_MISSES: dict[str, list[Any]] = {
    # It lets both have a node at one path.
    "both make a node anew": [[TAKEN, "/a", None]],
    "both make a node anew that nobody writes to": [[TAKEN, "/a", None]],
    # It leaves nodes behind whose group is gone.
    "they delete the group of our new node": [[INVALID, "/g/h", None]],
    "they create nodes in a group that we delete": [[INVALID, "/g", None]],
    "they create a node in a group that we make anew": [[INVALID, "/g", None]],
    "one thing of each kind": [[INVALID, "/g/h", None]],
}
"""What ours finds and the official one does not."""

OFFICIAL_FALSE_ALARMS: dict[str, list[Any]] = {
    # The array that we deleted ourselves is in the way of the nodes in the group that we made in its place.
    "we make an array a group with nodes in it": [[INVALID, "/a", None]],
}


def edit(session: Any, edits: list[Edit]) -> None:
    for key, value in edits:
        if value is None:
            sync(session.store.delete(key))
        else:
            sync(session.store.set(key, default_buffer_prototype().buffer.from_bytes(value)))


def content(session: Any) -> dict[str, bytes]:
    async def read() -> dict[str, bytes]:
        found = {}
        async for key in session.store.list():
            value = await session.store.get(key, default_buffer_prototype())
            assert value is not None
            found[key] = value.to_bytes()
        return found

    return sync(read())


def meet(ic: Any, spec_version: int, theirs: list[Edit], ours: list[Edit]) -> tuple[Any, Any]:
    repository = ic.Repository.create(ic.in_memory_storage(), spec_version=spec_version)
    session = repository.writable_session("main")
    edit(session, list(BASE.items()))
    session.commit("base")
    session, other = (repository.writable_session("main") for _ in range(2))
    edit(session, ours)
    edit(other, theirs)
    other.commit("theirs")
    return repository, session


def unique(found: list[Any]) -> list[Any]:
    return [json.loads(text) for text in sorted({json.dumps(one) for one in found})]


def conflicts_of(ic: Any, session: Any, solver: Any) -> list[Any] | None:
    """What a rebase reports, each once and sorted (the official order is by chance); None if it succeeds."""
    try:
        session.rebase(solver)
    except ic.RebaseFailedError as failed:
        return unique(
            [[repr(one.conflict_type), one.path, one.conflicted_chunks] for one in failed.conflicts]
        )
    return None


@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("name", MEETINGS)
def test_same_conflicts(ours: Any, official: Any, name: str, spec_version: int) -> None:
    meeting = MEETINGS[name]
    found = []
    for ic in (ours, official):
        _, session = meet(ic, spec_version, meeting.theirs, meeting.ours)
        found.append(conflicts_of(ic, session, ic.ConflictDetector()))
    assert found[0] == unique([[repr(kind), path, chunks] for kind, path, chunks in meeting.found])
    common = [one for one in found[0] or [] if one not in OFFICIAL_MISSES.get(name, [])]
    assert len(found[0] or []) - len(common) == len(OFFICIAL_MISSES.get(name, []))
    assert (found[1] or []) == unique(common)


@pytest.mark.parametrize("selection", ["Fail", "UseOurs", "UseTheirs"])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", sorted(MEETINGS.keys() - OFFICIAL_MISSES.keys()))
def test_the_basic_solver_does_the_same(
    ours: Any, official: Any, name: str, selection: str, keep: bool
) -> None:
    meeting = MEETINGS[name]
    outcomes = []
    for ic in (ours, official):
        repository, session = meet(ic, 2, meeting.theirs, meeting.ours)
        solver = ic.BasicConflictSolver(
            on_chunk_conflict=getattr(ic.VersionSelection, selection),
            fail_on_delete_of_updated_array=keep,
            fail_on_delete_of_updated_group=keep,
        )
        found = conflicts_of(ic, session, solver)
        if found is None:
            session.commit("ours", allow_empty=True)
        outcomes.append((found, content(repository.readonly_session("main"))))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("name", AGREEMENTS)
def test_same_agreements(ours: Any, official: Any, name: str, spec_version: int) -> None:
    theirs, mine, both = AGREEMENTS[name]
    for ic in (ours, official):
        repository, session = meet(ic, spec_version, theirs, mine)
        found = conflicts_of(ic, session, ic.ConflictDetector())
        if ic is official and name in OFFICIAL_FALSE_ALARMS:
            assert found == OFFICIAL_FALSE_ALARMS[name]
            continue
        assert found is None
        session.commit("ours")
        assert content(repository.readonly_session("main")) == after(both)
