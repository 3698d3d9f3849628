"""Sessions that move nodes: what they show, what they commit, and how they are rebased."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import icechunk
from icechunk import (
    AlreadyExistsError,
    Conflict,
    ConflictDetector,
    ConflictError,
    ConflictType,
    Diff,
    FormatError,
    IcechunkError,
    InvalidInputError,
    NodeNotFoundError,
    ReadOnlyError,
    RebaseFailedError,
    RefNotFoundError,
    Repository,
    Session,
    SessionMode,
    SessionStateError,
    VersionSelection,
)
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import get_key_async
from tests.meetings import BASE
from tests.trees import Content, Edit, array, content_async, edit_async, group, names_async

if TYPE_CHECKING:
    from collections.abc import Iterable

DETECTOR = ConflictDetector()
NODES = ("/a", "/bare", "/g", "/g/a", "/g/h", "/g/h/a")
Moves = list[tuple[str, str]]


async def create_async(storage: icechunk.Storage) -> Repository:
    """A repository with the content `BASE`."""
    repo = await Repository.create_async(storage)
    await commit_async(repo, list(BASE.items()))
    return repo


async def commit_async(repo: Repository, edits: list[Edit]) -> str:
    session = await repo.writable_session_async("main")
    await edit_async(session, edits)
    return await session.commit_async("edit")


async def begin_async(repo: Repository, *moves: tuple[str, str]) -> Session:
    session = await repo.rearrange_session_async("main")
    for source, target in moves:
        await session.move_async(source, target)
    return session


async def move_async(repo: Repository, *moves: tuple[str, str]) -> str:
    session = await begin_async(repo, *moves)
    return await session.commit_async("move")


async def stored_async(repo: Repository) -> Content:
    return await content_async(await repo.readonly_session_async("main"))


def moved(moves: Iterable[tuple[str, str]], before: Content = BASE) -> Content:
    """A content after moves."""
    content = dict(before)
    for source, target in moves:
        old, new = source[1:] + "/", target[1:] + "/"
        content = {
            new + key.removeprefix(old) if key.startswith(old) else key: value
            for key, value in content.items()
        }
    return content


STORIES: dict[str, tuple[Moves, Moves]] = {
    "an array": ([("/a", "/b")], [("/a", "/b")]),
    "an array into a group": ([("/a", "/g/h/a2")], [("/a", "/g/h/a2")]),
    "a group": ([("/g", "/n")], [("/g", "/n"), ("/g/a", "/n/a"), ("/g/h", "/n/h"), ("/g/h/a", "/n/h/a")]),
    "a group out of a group": ([("/g/h", "/h")], [("/g/h", "/h"), ("/g/h/a", "/h/a")]),
    "a chain": ([("/a", "/b"), ("/b", "/g/b"), ("/g/b", "/c")], [("/a", "/c")]),
    "a chain of a parent and a child": (
        [("/g", "/n"), ("/n/h", "/h"), ("/h/a", "/n/moved")],
        [("/g/h", "/h"), ("/g", "/n"), ("/g/a", "/n/a"), ("/g/h/a", "/n/moved")],
    ),
    "into what was moved": (
        [("/g", "/n"), ("/a", "/n/b")],
        [("/g", "/n"), ("/g/a", "/n/a"), ("/a", "/n/b"), ("/g/h", "/n/h"), ("/g/h/a", "/n/h/a")],
    ),
    "a swap of arrays": (
        [("/a", "/t"), ("/bare", "/a"), ("/t", "/bare")],
        [("/bare", "/a"), ("/a", "/bare")],
    ),
    "a swap of arrays in two groups": (
        [("/a", "/t"), ("/g/a", "/a"), ("/t", "/g/a")],
        [("/g/a", "/a"), ("/a", "/g/a")],
    ),
    "a child that takes the place of its parent": (
        [("/g/h", "/t"), ("/g", "/old"), ("/t", "/g")],
        [("/g/h", "/g"), ("/g/h/a", "/g/a"), ("/g", "/old"), ("/g/a", "/old/a")],
    ),
    "with slashes too many": ([("/g//h/", "//h/")], [("/g/h", "/h"), ("/g/h/a", "/h/a")]),
    "there and back, and another": ([("/a", "/t"), ("/t", "/a"), ("/bare", "/b")], [("/bare", "/b")]),
}
"""Moves, and what they come to: each node from where it was to where it is, by the new paths."""


@pytest.mark.parametrize("name", STORIES)
async def test_moves_are_seen_at_once_and_after_a_commit_async(storage: icechunk.Storage, name: str) -> None:
    moves, outcome = STORIES[name]
    repo = await create_async(storage)
    base = await repo.readonly_session_async("main")
    ids = {path: await base.get_node_id_async(path) for path in NODES}
    session = await begin_async(repo, *moves)
    assert (session.mode, session.read_only, session.branch) == (SessionMode.rearrange, False, "main")
    expected = moved(
        [(source.replace("//", "/").rstrip("/"), f"/{target.strip('/')}") for source, target in moves]
    )
    status = session.status()
    assert session.has_uncommitted_changes
    assert status == Diff(moved_nodes=outcome)
    assert await content_async(session) == expected
    assert await stored_async(repo) == BASE

    tip = await session.commit_async("move")
    reopened = await Repository.open_async(storage)
    readers = [await each.readonly_session_async("main") for each in (repo, reopened)]
    for reader in (session, *readers):
        assert reader.snapshot_id == tip
        assert await content_async(reader) == expected
        where = {**{path: path for path in ids}, **dict(outcome)}
        assert {path: await reader.get_node_id_async(where[path]) for path in ids} == ids
        for old in {source for source, _ in outcome} - {target for _, target in outcome}:
            assert await get_key_async(reader, f"{old[1:]}/zarr.json") is None
            assert not await names_async(reader, old[1:])
    diff = await repo.diff_async(from_snapshot_id=base.snapshot_id, to_branch="main")
    assert diff == Diff(moved_nodes=outcome)


async def test_directories_are_listed_where_they_are_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    session = await begin_async(repo, ("/g", "/n"), ("/n/h", "/h"), ("/a", "/n/b"))
    for reader in (session, None):
        if reader is None:
            await session.commit_async("move")
            reader = await repo.readonly_session_async("main")
        assert await names_async(reader, "") == ["bare", "h", "n", "zarr.json"]
        assert await names_async(reader, "n") == ["a", "b", "zarr.json"]
        assert await names_async(reader, "h") == ["a", "zarr.json"]
        assert await names_async(reader, "n/b") == ["c", "zarr.json"]
        assert await names_async(reader, "g") == []


async def test_what_was_moved_can_be_changed_afterwards_async(storage: icechunk.Storage) -> None:
    """Chunks that are written and removed go with the array, whatever it is called."""
    repo = await create_async(storage)
    await move_async(repo, ("/a", "/g/b"))
    await commit_async(
        repo, [("g/b/c/0", b"new"), ("g/b/c/1", None), ("a/zarr.json", array(1)), ("a/c/0", b"1")]
    )
    await move_async(repo, ("/g/b", "/b"))
    assert await stored_async(repo) == {
        **{key: value for key, value in BASE.items() if not key.startswith("a/")},
        **{"b/zarr.json": array(4), "b/c/0": b"new", "a/zarr.json": array(1), "a/c/0": b"1"},
    }


async def test_only_small_files_are_written_async() -> None:
    """No chunk and no manifest: nothing but the hierarchy has changed."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    await create_async(inner)
    repo = await Repository.open_async(faulty_storage(inner, faults))
    faults.clear()
    await move_async(repo, ("/g", "/n"), ("/a", "/n/b"))
    assert faults.count("put", "snapshots/*") == faults.count("put", "transactions/*") == 1
    assert faults.count("put", "*") == 2
    assert faults.count("get*", "manifests/*") == faults.count("get*", "chunks/*") == 0


async def test_what_comes_home_was_not_moved_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    session = await begin_async(repo, ("/g", "/n"), ("/a", "/n/a2"), ("/n/a2", "/a"), ("/n", "/g"))
    assert not session.has_uncommitted_changes
    assert session.status().is_empty()
    assert await content_async(session) == BASE
    with pytest.raises(SessionStateError) as nothing:
        await session.commit_async("move")
    assert nothing.value.kind == "no-changes-to-commit"
    before = session.snapshot_id
    tip = await session.commit_async("nothing", allow_empty=True)
    diff = await repo.diff_async(from_snapshot_id=before, to_snapshot_id=tip)
    assert diff.is_empty()
    assert await stored_async(repo) == BASE


async def test_moves_can_be_discarded_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    session = await begin_async(repo, ("/g", "/n"), ("/a", "/n/b"))
    session.discard_changes()
    assert session.status().is_empty()
    assert session.mode is SessionMode.rearrange
    assert await content_async(session) == BASE
    await session.move_async("/g", "/m")
    await session.commit_async("move")
    assert await stored_async(repo) == moved([("/g", "/m")])


# Refusals

REFUSED: dict[str, tuple[str, str, type[IcechunkError], str]] = {
    "nothing there": ("/nope", "/n", NodeNotFoundError, "node-not-found"),
    "gone by now": ("/bare", "/n", NodeNotFoundError, "node-not-found"),
    "into itself": ("/g", "/g/h/n", SessionStateError, "move-into-self-or-descendant"),
    "onto itself": ("/g", "/g", SessionStateError, "move-into-self-or-descendant"),
    "the root": ("/", "/n", SessionStateError, "move-into-self-or-descendant"),
    "onto another": ("/g", "/a", AlreadyExistsError, "move-wont-overwrite"),
    "onto one that came there": ("/a", "/moved", AlreadyExistsError, "move-wont-overwrite"),
    "without a group": ("/g", "/n/n", SessionStateError, "move-destination-parent-missing"),
    "under an array": ("/g", "/a/n", SessionStateError, "move-destination-parent-not-group"),
    "under an array that came there": (
        "/g",
        "/moved/n",
        SessionStateError,
        "move-destination-parent-not-group",
    ),
    "from a relative path": ("g", "/n", InvalidInputError, "invalid-path"),
    "to a relative path": ("/g", "n", InvalidInputError, "invalid-path"),
    "from nowhere": ("", "/n", InvalidInputError, "invalid-path"),
    "with dots": ("/g", "/../n", InvalidInputError, "invalid-path"),
    "to what is no Unicode": ("/g", "/\ud800", InvalidInputError, "invalid-path"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_moves_that_are_refused_change_nothing_async(name: str) -> None:
    source, target, error, kind = REFUSED[name]
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo, ("/bare", "/moved"))
    with pytest.raises(error) as refused:
        await session.move_async(source, target)
    assert refused.value.kind == kind
    assert session.status().moved_nodes == [("/bare", "/moved")]
    await session.commit_async("move")
    assert await stored_async(repo) == moved([("/bare", "/moved")])


async def test_only_sessions_for_it_move_nodes_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    writable = await repo.writable_session_async("main")
    for source in ("/a", "/nope"):  # whether there is anything to move does not matter
        with pytest.raises(SessionStateError, match="rearrange_session") as refused:
            await writable.move_async(source, "/b")
        assert refused.value.kind == "non-rearrange-session"
    committed = await begin_async(repo, ("/a", "/b"))
    await committed.commit_async("move")
    for session in (await repo.readonly_session_async("main"), committed):
        with pytest.raises(ReadOnlyError) as read_only:
            await session.move_async("/b", "/c")
        assert read_only.value.kind == "read-only-session"
    with pytest.raises(RefNotFoundError) as missing:
        await repo.rearrange_session_async("nope")
    assert missing.value.kind == "ref-not-found"


async def test_spec_1_has_no_moves_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage, spec_version=1)
    session = await repo.writable_session_async("main")
    await edit_async(session, BASE.items())
    with pytest.raises(FormatError, match="spec version 1") as refused:
        await repo.rearrange_session_async("main")
    assert refused.value.kind == "unsupported-spec-version"
    with pytest.raises(FormatError, match="spec version 1") as refused:
        await session.move_async("/a", "/b")
    assert refused.value.kind == "unsupported-spec-version"
    await session.commit_async("still there")
    assert await stored_async(repo) == BASE


async def end_async(session: Session, how: str) -> str:
    match how:
        case "amend":
            return await session.amend_async("move")
        case "flush":
            return await session.flush_async("move")
    return await session.commit_async("move", rebase_with=DETECTOR if how == "rebase" else None)


async def test_moving_can_be_switched_off_async(storage: icechunk.Storage) -> None:
    """Also while a session is open: then it waits until moving is switched on again."""
    repo = await create_async(storage)
    session = await begin_async(repo, ("/a", "/b"))
    tip = await repo.lookup_branch_async("main")
    await repo.set_feature_flag_async("move_node", False)
    with pytest.raises(SessionStateError, match="move_node") as refused:
        await repo.rearrange_session_async("main")
    assert refused.value.kind == "feature-flag-disabled"
    for how in ("commit", "rebase", "amend", "flush"):
        with pytest.raises(SessionStateError, match="move_node") as refused:
            await end_async(session, how)
        assert refused.value.kind == "feature-flag-disabled"
    assert await repo.lookup_branch_async("main") == tip
    await commit_async(repo, [("bare/c/0", b"edits are not switched off")])
    await repo.set_feature_flag_async("move_node", None)
    await session.commit_async("move", rebase_with=DETECTOR)
    assert await stored_async(repo) == {
        **moved([("/a", "/b")]),
        "bare/c/0": b"edits are not switched off",
    }


# Rebasing moves


async def test_moves_are_made_anew_on_what_others_did_async(storage: icechunk.Storage) -> None:
    """Their changes of what moves come along: chunks, documents, and new nodes."""
    repo = await create_async(storage)
    session = await begin_async(repo, ("/g", "/n"), ("/n/h", "/h"), ("/a", "/n/b"))
    theirs: list[Edit] = [
        *(("a/c/3", b"them"), ("a/c/0", None), ("g/zarr.json", group(by="them"))),
        *(("g/h/new/zarr.json", array(1)), ("g/h/new/c/0", b"them"), ("g/m/zarr.json", group())),
        *(("g/a/zarr.json", None), ("o/zarr.json", group())),
    ]
    for one in theirs:
        await commit_async(repo, [one])
    before = await stored_async(repo)
    with pytest.raises(ConflictError):
        await session.commit_async("move")
    tip = await repo.lookup_branch_async("main")
    await session.rebase_async(DETECTOR)
    assert session.snapshot_id == tip
    expected = moved([("/g", "/n"), ("/n/h", "/h"), ("/a", "/n/b")], before)
    assert await content_async(session) == expected
    assert session.status().moved_nodes == [
        *(("/g/h", "/h"), ("/g/h/a", "/h/a"), ("/g/h/new", "/h/new")),
        *(("/g", "/n"), ("/a", "/n/b"), ("/g/m", "/n/m")),
    ]
    await session.commit_async("move")
    assert await stored_async(repo) == expected


IMPOSSIBLE: dict[str, tuple[list[Edit], Moves, list[str], Moves]] = {
    "the node is gone": ([("a/zarr.json", None)], [("/bare", "/b"), ("/a", "/n")], ["/a"], [("/bare", "/b")]),
    "something is in its new place": ([("n/zarr.json", group())], [("/a", "/n")], ["/a"], []),
    "its new group is gone": ([("g/h/zarr.json", None)], [("/a", "/g/h/b")], ["/a"], []),
    "its new group is an array": (
        [("g/h/zarr.json", None), ("g/h/zarr.json", array(1))],
        [("/a", "/g/h/b"), ("/bare", "/b")],
        ["/a"],
        [("/bare", "/b")],
    ),
    "a step of a chain is taken, by what we never meant to move": (
        [("t/zarr.json", group())],
        [("/a", "/t"), ("/t", "/b")],
        ["/a", "/t"],
        [],
    ),
    "what is below a step that is taken is not meant either": (
        [("t/zarr.json", group()), ("t/a/zarr.json", array(1))],
        [("/g", "/t"), ("/t/a", "/b"), ("/a", "/x")],
        ["/g", "/t/a"],
        [("/a", "/x")],
    ),
    "a step that is taken moves with its group": (
        [("g/t/zarr.json", group())],
        [("/a", "/g/t"), ("/g", "/n"), ("/n/t", "/b")],
        ["/a", "/n/t"],
        [("/g", "/n")],
    ),
    "a place that was left is free again": (
        [("a/zarr.json", None)],
        [("/a", "/t"), ("/t", "/b"), ("/bare", "/t"), ("/t", "/x")],
        ["/a", "/t"],
        [("/bare", "/x")],
    ),
    "a chain has no beginning": ([("a/zarr.json", None)], [("/a", "/t"), ("/t", "/b")], ["/a", "/t"], []),
}
"""What they did, our moves, the paths in conflict, and the moves that are left when ours give way."""


class GiveWay:
    def solve(self, conflict: Conflict) -> VersionSelection:
        assert conflict.conflict_type is ConflictType.MoveOperationCannotBeRebased
        return VersionSelection.UseTheirs


class Insist:
    def solve(self, conflict: Conflict) -> VersionSelection:  # noqa: ARG002
        return VersionSelection.UseOurs


@pytest.mark.parametrize("name", IMPOSSIBLE)
async def test_moves_that_are_not_possible_any_more_are_conflicts_async(
    storage: icechunk.Storage, name: str
) -> None:
    theirs, moves, sources, left = IMPOSSIBLE[name]
    repo = await create_async(storage)
    session = await begin_async(repo, *moves)
    base = session.snapshot_id
    tip = await commit_async(repo, theirs)
    before = await stored_async(repo)
    for solver in (DETECTOR, Insist()):
        with pytest.raises(RebaseFailedError) as failed:
            await session.rebase_async(solver)
        assert failed.value.snapshot == tip
        assert [
            (each.conflict_type, each.path, each.conflicted_chunks) for each in failed.value.conflicts
        ] == [(ConflictType.MoveOperationCannotBeRebased, source, None) for source in sources]
        assert session.snapshot_id == base
        assert await content_async(session) == moved(moves)
    await session.commit_async("move", rebase_with=GiveWay())
    assert await stored_async(repo) == moved(left, before)


@pytest.mark.parametrize("ours_moves", [False, True], ids=["we edit", "we move"])
async def test_nothing_is_rebased_over_moves_of_others_async(
    storage: icechunk.Storage, ours_moves: bool
) -> None:
    """One conflict says so, and no solver is asked."""
    repo = await create_async(storage)
    if ours_moves:
        session = await begin_async(repo, ("/bare", "/b"))
    else:
        session = await repo.writable_session_async("main")
        await edit_async(session, [("bare/c/0", b"us")])
    expected = await content_async(session)
    first = await commit_async(repo, [("a/c/0", b"them")])
    tip = await move_async(repo, ("/g", "/n"))
    for solver in (DETECTOR, Insist(), GiveWay()):
        with pytest.raises(RebaseFailedError) as failed:
            await session.rebase_async(solver)
        assert failed.value.snapshot == tip
        assert [(each.conflict_type, each.path) for each in failed.value.conflicts] == [
            (ConflictType.MoveOperationCannotBeRebased, "")
        ]
    assert session.snapshot_id == first
    assert await content_async(session) == {**expected, "a/c/0": b"them"}


async def test_moves_ask_for_no_more_snapshots_than_they_need_async() -> None:
    """Commits that create and delete nothing are passed by their logs alone."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    others = await create_async(inner)
    repo = await Repository.open_async(faulty_storage(inner, faults))
    session = await begin_async(repo, ("/g", "/n"))
    for number in range(10):
        await commit_async(others, [("a/c/0", b"%d" % number)])
    faults.clear()
    await session.rebase_async(DETECTOR)
    assert faults.count("get*", "transactions/*") == 10
    assert faults.count("get*", "snapshots/*") == 1


async def test_a_move_and_a_reset_are_compared_by_where_nodes_are_async(storage: icechunk.Storage) -> None:
    """A move that was undone by a reset is a move to those who have it in their base."""
    repo = await create_async(storage)
    start = await repo.lookup_branch_async("main")
    base = await move_async(repo, ("/a", "/b"))
    session = await repo.writable_session_async("main")
    await edit_async(session, [("b/c/0", b"us")])
    moving = await begin_async(repo, ("/b", "/c"))
    await repo.reset_branch_async("main", start)
    for each in (session, moving):
        with pytest.raises(RebaseFailedError) as failed:
            await each.rebase_async(DETECTOR)
        assert [each.conflict_type for each in failed.value.conflicts] == [
            ConflictType.MoveOperationCannotBeRebased
        ]
        assert each.snapshot_id == base
    await repo.reset_branch_async("main", base)
    await session.commit_async("ours")
    await moving.commit_async("move", rebase_with=DETECTOR)
    assert await stored_async(repo) == moved([("/a", "/c")], {**BASE, "a/c/0": b"us"})
