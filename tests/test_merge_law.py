"""Writes spread over forks and merged leave what the same writes in one session do."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

import icechunk
from icechunk import Repository
from icechunk.distributed import merge_sessions
from tests.trees import Edit, array, content, edit, group

STORED: list[Edit] = [
    ("zarr.json", group()),
    ("a/zarr.json", array(4)),
    *((f"a/c/{number}", b"stored") for number in (0, 1)),
    ("g/zarr.json", group()),
    ("g/p/zarr.json", array(2, 2)),
    ("g/p/c/0/1", b"stored"),
]
"""What is in the repository when the sessions begin."""

NEW: dict[str, bytes] = {"n/zarr.json": array(3), "g/q/zarr.json": array(2, 2), "h/zarr.json": group(x=1)}
"""Nodes that any fork may create, always alike."""

CHUNKS = [
    *(f"a/c/{number}" for number in range(4)),
    *(f"g/p/c/{row}/{column}" for row in range(2) for column in range(2)),
    *(f"n/c/{number}" for number in range(3)),
    *(f"g/q/c/{row}/{column}" for row in range(2) for column in range(2)),
]


class Work(NamedTuple):
    """What one fork does: `after` says after how much of what its parent does it is made."""

    edits: list[Edit]
    after: int
    travels: bool


def chunk_edits() -> st.SearchStrategy[list[Edit]]:
    values = st.sampled_from([None, b"x", b"y", b"long " * 200])
    return st.lists(st.tuples(st.sampled_from(CHUNKS), values), max_size=6)


def works() -> st.SearchStrategy[list[Work]]:
    return st.lists(
        st.builds(Work, chunk_edits().map(with_nodes), st.integers(0, 4), st.booleans()),
        min_size=1,
        max_size=5,
    )


def with_nodes(edits: list[Edit]) -> list[Edit]:
    """The same, with the new arrays that are written to created first."""
    names = dict.fromkeys(key.split("/c/")[0] + "/zarr.json" for key, _ in edits)
    return [*((name, NEW[name]) for name in names if name in NEW), *edits]


def changes_of(work: Work, had: dict[str, bytes]) -> list[Edit]:
    """What a fork changes in the end: to delete what it did not have changes nothing."""
    last = dict(work.edits)
    return [(key, value) for key, value in last.items() if value is not None or key in had]


@settings(max_examples=150)
@given(
    parent=st.lists(chunk_edits().map(with_nodes), max_size=4),
    forks=works(),
    how=st.sampled_from(["at once", "one by one", "first into each other", "in two rounds"]),
    spec_version=st.sampled_from([1, 2]),
)
def test_forks_do_together_what_one_session_does(
    parent: list[list[Edit]], forks: list[Work], how: str, spec_version: int
) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = repo.writable_session("main")
    edit(session, STORED)
    session.commit("stored")
    alone, session = repo.writable_session("main"), repo.writable_session("main")
    made: dict[int, Any] = {}
    for step in range(len(parent) + 1):
        for number, work in enumerate(forks):
            if min(work.after, len(parent)) == step:
                made[number] = session.fork()
        if step < len(parent):
            edit(session, parent[step])
            edit(alone, parent[step])
    if how == "first into each other" and len({fork.snapshot_id for fork in made.values()}) > 1:
        how = "at once"  # they are no siblings
    ready = []
    for number, work in enumerate(forks):
        had = content(made[number])
        edit(made[number], work.edits)
        edit(alone, changes_of(work, had))
        ready.append(pickle.loads(pickle.dumps(made[number])) if work.travels else made[number])
    if how == "first into each other":
        ready = [merge_sessions(ready, duplicate_chunks="allow")]
    rounds = {"one by one": [[each] for each in ready], "in two rounds": [ready[:2], ready[2:]]}
    for batch in rounds.get(how, [ready]):
        session.merge(*batch, duplicate_chunks="allow")
    assert content(session) == content(alone)
    session.commit("together", allow_empty=True)
    assert content(repo.readonly_session("main")) == content(alone)
    assert {node.path for node in session._state.nodes()} == {node.path for node in alone._state.nodes()}
