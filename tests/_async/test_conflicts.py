"""Which changes contradict each other, and what comes of every way to solve it.

Everything that is in the repository afterwards is compared, byte by byte.
"""

from __future__ import annotations

import pytest

import icechunk
from icechunk import (
    Conflict,
    ConflictDetector,
    ConflictType,
    RebaseFailedError,
    Repository,
    Session,
    VersionSelection,
)
from tests.meetings import AGREEMENTS, BASE, MEETINGS, Found, after
from tests.trees import Content, Edit, content_async, edit_async

OURS, THEIRS, FAIL = VersionSelection.UseOurs, VersionSelection.UseTheirs, VersionSelection.Fail

SOLVED = [
    *((name, OURS) for name, meeting in MEETINGS.items() if meeting.with_ours is not None),
    *((name, THEIRS) for name, meeting in MEETINGS.items() if meeting.with_theirs is not None),
]


class Always:
    """A solver that says the same of every conflict; it derives from nothing, as users' own need not."""

    def __init__(self, selection: VersionSelection) -> None:
        self.selection = selection
        self.asked: list[Found] = []

    def solve(self, conflict: Conflict) -> VersionSelection:
        self.asked.append(as_found(conflict))
        return self.selection


class ByType:
    """A solver that goes by the type."""

    def __init__(self, **selections: VersionSelection) -> None:
        self.selections = {ConflictType[name]: selection for name, selection in selections.items()}

    def solve(self, conflict: Conflict) -> VersionSelection:
        return self.selections[conflict.conflict_type]


def as_found(conflict: Conflict) -> Found:
    return conflict.conflict_type, conflict.path, conflict.conflicted_chunks


async def meet_async(
    storage: icechunk.Storage, spec_version: int, theirs: list[Edit], ours: list[Edit]
) -> tuple[Repository, Session, str]:
    """A repository at their commit, a session with our changes, and the id of that commit."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await edit_async(session, BASE.items())
    await session.commit_async("base")
    session = await repo.writable_session_async("main")
    await edit_async(session, ours)
    other = await repo.writable_session_async("main")
    await edit_async(other, theirs)
    return repo, session, await other.commit_async("theirs")


async def stored_async(repo: Repository) -> Content:
    return await content_async(await repo.readonly_session_async("main"))


@pytest.mark.parametrize("name", MEETINGS)
async def test_conflicts_are_found_async(storage: icechunk.Storage, spec_version: int, name: str) -> None:
    """All of them, with their paths and chunks, in one order; and nothing has happened."""
    meeting = MEETINGS[name]
    repo, session, tip = await meet_async(storage, spec_version, meeting.theirs, meeting.ours)
    before = session.snapshot_id, await content_async(session), session.status()
    with pytest.raises(RebaseFailedError) as failed:
        await session.rebase_async(ConflictDetector())
    assert [as_found(conflict) for conflict in failed.value.conflicts] == meeting.found
    assert (failed.value.snapshot, failed.value.kind) == (tip, "rebase-failed")
    assert (session.snapshot_id, await content_async(session), session.status()) == before
    assert await stored_async(repo) == after(meeting.theirs)


@pytest.mark.parametrize("selection", [OURS, THEIRS], ids=["ours", "theirs"])
@pytest.mark.parametrize("name", MEETINGS)
async def test_a_solver_decides_async(
    storage: icechunk.Storage, spec_version: int, name: str, selection: VersionSelection
) -> None:
    meeting = MEETINGS[name]
    repo, session, _ = await meet_async(storage, spec_version, meeting.theirs, meeting.ours)
    solver = Always(selection)
    expected = meeting.with_ours if selection is OURS else meeting.with_theirs
    if expected is None:
        with pytest.raises(RebaseFailedError) as failed:
            await session.commit_async("ours", rebase_with=solver)
        assert [as_found(conflict) for conflict in failed.value.conflicts] == meeting.found
        assert await stored_async(repo) == after(meeting.theirs)
        assert await content_async(session) == after(meeting.ours)
        return
    await session.commit_async("ours", rebase_with=solver)
    assert solver.asked == meeting.found
    assert await stored_async(repo) == after(expected)
    history = [info async for info in repo.async_ancestry(branch="main")]
    assert [info.message for info in history[:2]] == ["ours", "theirs"]


@pytest.mark.parametrize(("name", "selection"), SOLVED)
async def test_the_log_of_a_solved_commit_says_what_it_did_async(
    name: str, selection: VersionSelection
) -> None:
    """Whoever diffs it, or rebases over it, finds how it differs from the commit before it."""
    meeting = MEETINGS[name]
    repo, session, tip = await meet_async(icechunk.in_memory_storage(), 2, meeting.theirs, meeting.ours)
    before = await stored_async(repo)
    await session.commit_async("ours", rebase_with=Always(selection))
    now = await stored_async(repo)
    diff = await repo.diff_async(from_snapshot_id=tip, to_branch="main")
    old, new = (
        {node_of(key): value for key, value in content.items() if key.endswith("zarr.json")}
        for content in (before, now)
    )
    changed = {path for path in old.keys() & new.keys() if old[path] != new[path]}
    made, gone = diff.new_groups | diff.new_arrays, diff.deleted_groups | diff.deleted_arrays
    assert (made - gone, gone - made) == (new.keys() - old.keys(), old.keys() - new.keys())
    updated = diff.updated_groups | diff.updated_arrays
    assert updated <= changed <= updated | (made & gone)
    chunks = {key for key in now.keys() | before.keys() if "/c/" in key and now.get(key) != before.get(key)}
    there = new.keys() - made - gone - updated
    told = {
        f"{path[1:]}/c/{'/'.join(map(str, coordinates))}"
        for path, chunks_of_it in diff.updated_chunks.items()
        for coordinates in chunks_of_it
    }
    assert {key for key in chunks if "/" + key.rpartition("/c/")[0] in there} <= told


def node_of(key: str) -> str:
    return "/" + key.removesuffix("zarr.json").removesuffix("/")


@pytest.mark.parametrize("name", MEETINGS)
async def test_to_fail_is_to_report_everything_async(name: str) -> None:
    """What cannot be solved leaves no trace."""
    meeting = MEETINGS[name]
    _, session, _ = await meet_async(icechunk.in_memory_storage(), 2, meeting.theirs, meeting.ours)
    with pytest.raises(RebaseFailedError) as failed:
        await session.rebase_async(Always(FAIL))
    assert [as_found(conflict) for conflict in failed.value.conflicts] == meeting.found
    assert await content_async(session) == after(meeting.ours)


@pytest.mark.parametrize("name", AGREEMENTS)
async def test_what_does_not_contradict_goes_together_async(
    storage: icechunk.Storage, spec_version: int, name: str
) -> None:
    theirs, ours, both = AGREEMENTS[name]
    repo, session, tip = await meet_async(storage, spec_version, theirs, ours)
    await session.rebase_async(ConflictDetector())
    assert session.snapshot_id == tip
    assert await content_async(session) == after(both)
    await session.commit_async("ours")
    assert await stored_async(repo) == after(both)
