"""Commits that are replaced, and snapshots that are on no branch."""

from __future__ import annotations

from typing import Any

import pytest

import icechunk
from icechunk import (
    ConflictDetector,
    ConflictError,
    Diff,
    FormatError,
    ReadOnlyError,
    Repository,
    Session,
    SessionMode,
    SessionStateError,
    UpdateType,
)
from icechunk.testing.faults import Faults, faulty_storage
from tests.meetings import BASE, after
from tests.trees import Content, Edit, array, content_async, edit_async, group

DETECTOR = ConflictDetector()


async def create_async(storage: icechunk.Storage, spec_version: int = 2) -> Repository:
    """A repository with the content `BASE`."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    await commit_async(repo, list(BASE.items()), "begin")
    return repo


async def begin_async(repo: Repository, edits: list[Edit]) -> Session:
    session = await repo.writable_session_async("main")
    await edit_async(session, edits)
    return session


async def commit_async(repo: Repository, edits: list[Edit], message: str = "edit") -> str:
    session = await begin_async(repo, edits)
    return await session.commit_async(message)


async def amend_async(repo: Repository, edits: list[Edit], message: str = "amended", **options: Any) -> str:
    session = await begin_async(repo, edits)
    return await session.amend_async(message, **options)


async def move_async(repo: Repository, *moves: tuple[str, str]) -> Session:
    session = await repo.rearrange_session_async("main")
    for source, target in moves:
        await session.move_async(source, target)
    return session


async def stored_async(repo: Repository) -> Content:
    return await content_async(await repo.readonly_session_async("main"))


async def messages_async(repo: Repository) -> list[str]:
    return [info.message async for info in repo.async_ancestry(branch="main")]


async def last_diff_async(repo: Repository) -> Diff:
    """What the newest commit did."""
    tip = await repo.lookup_snapshot_async(await repo.lookup_branch_async("main"))
    return await repo.diff_async(from_snapshot_id=tip.parent_id, to_snapshot_id=tip.id)


async def newest_update_async(repo: Repository) -> UpdateType:
    updates = [update async for update in repo.ops_log_async()]
    return updates[0].kind


async def keys_async(storage: icechunk.Storage) -> list[str]:
    return sorted([info.key for info in storage.list_objects_metadata()])


# Amend


async def test_an_amend_replaces_the_newest_commit_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    base = await repo.lookup_branch_async("main")
    first = await commit_async(repo, [("a/c/0", b"1"), ("n/zarr.json", group())])
    session = await begin_async(repo, [("a/c/1", b"2"), ("bare/c/0", b"2")])
    second = await session.amend_async("amended", metadata={"by": "us"})
    assert (session.snapshot_id, session.branch, session.read_only) == (second, None, True)
    assert session.mode is SessionMode.readonly
    assert not session.has_uncommitted_changes

    expected = after([("a/c/0", b"1"), ("n/zarr.json", group()), ("a/c/1", b"2"), ("bare/c/0", b"2")])
    reopened = await Repository.open_async(storage)
    for each in (repo, reopened):
        assert await stored_async(each) == expected
        assert await messages_async(each) == ["amended", "begin", "Repository initialized"]
        newest = await each.lookup_snapshot_async(second)
        assert (newest.parent_id, newest.message, newest.metadata) == (base, "amended", {"by": "us"})
    # The log is that of both commits.
    assert await last_diff_async(repo) == Diff(
        new_groups={"/n"}, updated_chunks={"/a": [[0], [1]], "/bare": [[0]]}
    )
    # What was replaced is still there, for whoever knows its id.
    replaced = await reopened.lookup_snapshot_async(first)
    assert (replaced.parent_id, replaced.message) == (base, "edit")
    reader = await reopened.readonly_session_async(snapshot_id=first)
    assert await content_async(reader) == after([("a/c/0", b"1"), ("n/zarr.json", group())])
    update = await newest_update_async(repo)
    assert isinstance(update, UpdateType.CommitAmended)
    assert (update.branch, update.previous_snap_id, update.new_snap_id) == (
        "main",
        first,
        second,
    )


async def test_a_commit_can_be_amended_again_and_again_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    await commit_async(repo, [("a/c/0", b"0")])
    for number in range(1, 4):
        await amend_async(repo, [(f"a/c/{number}", b"%d" % number)], f"amended {number}")
    assert await messages_async(repo) == ["amended 3", "begin", "Repository initialized"]
    assert await last_diff_async(repo) == Diff(updated_chunks={"/a": [[0], [1], [2], [3]]})
    assert await stored_async(repo) == after([(f"a/c/{number}", b"%d" % number) for number in range(4)])
    await commit_async(repo, [("a/c/0", b"after")], "on top")
    assert await messages_async(repo) == ["on top", "amended 3", "begin", "Repository initialized"]


async def test_what_an_amend_takes_back_is_not_in_the_diff_async(storage: icechunk.Storage) -> None:
    """A node that came with the commit and went with the amend was never there."""
    repo = await create_async(storage)
    await commit_async(repo, [("n/zarr.json", array(2)), ("n/c/0", b"1"), ("a/c/0", b"1")])
    await amend_async(repo, [("n/zarr.json", None), ("bare/zarr.json", None)])
    assert await last_diff_async(repo) == Diff(deleted_arrays={"/bare"}, updated_chunks={"/a": [[0]]})
    assert await stored_async(repo) == after([("a/c/0", b"1"), ("bare/zarr.json", None)])


async def test_metadata_of_an_amend_is_its_own_async(storage: icechunk.Storage) -> None:
    """Neither message nor properties of the replaced commit are kept; the repository's defaults apply."""
    repo = await create_async(storage)
    repo.set_default_commit_metadata({"institution": "ours", "kind": "default"})
    session = await begin_async(repo, [("a/c/0", b"1")])
    await session.commit_async("edit", {"old": True})
    await amend_async(repo, [("a/c/1", b"2")], metadata={"kind": "amended"})
    newest = await repo.lookup_snapshot_async(await repo.lookup_branch_async("main"))
    assert newest.metadata == {"institution": "ours", "kind": "amended"}


async def test_an_amend_needs_changes_or_leave_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    first = await commit_async(repo, [("a/c/0", b"1")])
    with pytest.raises(SessionStateError) as nothing:
        await amend_async(repo, [])
    assert nothing.value.kind == "no-changes-to-commit"
    assert await repo.lookup_branch_async("main") == first
    await amend_async(repo, [], "a better message", allow_empty=True)
    assert await messages_async(repo) == ["a better message", "begin", "Repository initialized"]
    assert await last_diff_async(repo) == Diff(updated_chunks={"/a": [[0]]})
    assert await stored_async(repo) == after([("a/c/0", b"1")])


async def test_an_amend_of_what_is_not_the_newest_any_more_is_a_conflict_async(
    storage: icechunk.Storage,
) -> None:
    """Nothing is written for it. Rebased, the session amends the commit that it was rebased onto."""
    repo = await create_async(storage)
    session = await begin_async(repo, [("a/c/0", b"us")])
    base = session.snapshot_id
    tip = await commit_async(repo, [("a/c/1", b"them")], "theirs")
    before = await keys_async(storage)
    with pytest.raises(ConflictError) as conflict:
        await session.amend_async("amended")
    assert (conflict.value.kind, conflict.value.expected_parent, conflict.value.actual_parent) == (
        "commit-conflict",
        base,
        tip,
    )
    assert await keys_async(storage) == before
    assert session.status().updated_chunks == {"/a": [[0]]}
    await session.rebase_async(DETECTOR)
    await session.amend_async("amended")
    assert await messages_async(repo) == ["amended", "begin", "Repository initialized"]
    assert await stored_async(repo) == after([("a/c/0", b"us"), ("a/c/1", b"them")])
    assert await last_diff_async(repo) == Diff(updated_chunks={"/a": [[0], [1]]})


async def test_what_can_never_be_amended_is_said_first_async(storage: icechunk.Storage) -> None:
    """Somebody else has committed meanwhile, but to rebase would not help."""
    repo = await Repository.create_async(storage)
    first = await begin_async(repo, [("zarr.json", group(by="us"))])
    await commit_async(repo, list(BASE.items()))
    await (await move_async(repo, ("/a", "/b"))).commit_async("move")
    edit = await begin_async(repo, [("b/c/0", b"us")])
    await commit_async(repo, [("b/c/1", b"them")])
    for session, kind in ((first, "no-amend-for-initial-commit"), (edit, "rearrange-session-only")):
        with pytest.raises(SessionStateError) as refused:
            await session.amend_async("amended")
        assert refused.value.kind == kind


async def test_an_amend_that_loses_at_the_last_moment_is_a_conflict_async() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    others = await create_async(inner)
    repo = await Repository.open_async(faulty_storage(inner, faults))
    session = await begin_async(repo, [("a/c/0", b"us")])

    def commit_theirs() -> None:
        others.writable_session("main").commit("theirs", allow_empty=True)

    faults.call("put_conditional", "repo", commit_theirs)
    with pytest.raises(ConflictError) as conflict:
        await session.amend_async("amended")
    assert conflict.value.kind == "commit-conflict"
    assert await messages_async(others) == ["theirs", "begin", "Repository initialized"]
    await session.rebase_async(DETECTOR)
    await session.amend_async("amended")
    assert await messages_async(others) == ["amended", "begin", "Repository initialized"]


async def test_an_amend_whose_answer_was_lost_is_done_once_async() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    others = await create_async(inner)
    repo = await Repository.open_async(faulty_storage(inner, faults))
    session = await begin_async(repo, [("a/c/0", b"us")])
    lost = icechunk._core.preconditions.PreconditionFailed("repo")
    faults.fail("put_conditional", "repo", error=lost, moment="after")
    tip = await session.amend_async("amended")
    assert await messages_async(others) == ["amended", "Repository initialized"]
    assert await others.lookup_branch_async("main") == tip
    assert await stored_async(others) == after([("a/c/0", b"us")])


REFUSALS = [
    "the first snapshot",
    "spec version 1",
    "moves by a session that edits",
    "read-only",
    "without a branch",
]


@pytest.mark.parametrize("allow_empty", [False, True])
@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refused_amend_writes_nothing_async(
    storage: icechunk.Storage, case: str, allow_empty: bool
) -> None:
    """Not even files that nobody points to. It raises, whatever is amended, and never does anything else."""
    repo = await Repository.create_async(storage, spec_version=1 if case == "spec version 1" else 2)
    error: type[icechunk.IcechunkError] = SessionStateError
    if case != "the first snapshot":
        await commit_async(repo, list(BASE.items()))
    kind = "commit-not-allowed"
    match case:
        case "the first snapshot":
            kind = "no-amend-for-initial-commit"
        case "spec version 1":
            error, kind = FormatError, "unsupported-spec-version"
        case "moves by a session that edits":
            await (await move_async(repo, ("/a", "/b"))).commit_async("move")
            kind = "rearrange-session-only"
    session = await begin_async(repo, [("zarr.json", group(by="us")), ("a/zarr.json", array(9, by="us"))])
    unchanged = await content_async(session)
    match case:
        case "read-only":
            session = await repo.readonly_session_async("main")
        case "without a branch":
            await session.commit_async("edit")
    before = await keys_async(storage)
    with pytest.raises(error) as refused:
        await session.amend_async("amended", allow_empty=allow_empty)
    assert refused.value.kind == kind
    assert await keys_async(storage) == before
    if not session.read_only:
        assert await content_async(session) == unchanged
        await session.commit_async("a commit of its own")
        assert await stored_async(repo) == unchanged


# Amends of moves


async def test_moves_of_an_amend_go_on_from_those_before_async(storage: icechunk.Storage) -> None:
    """From a to b and then from b to c is from a to c, as if one commit had done it."""
    repo = await create_async(storage)
    await (await move_async(repo, ("/a", "/b"), ("/g", "/n"))).commit_async("move")
    await (await move_async(repo, ("/b", "/c"), ("/n/h", "/h"))).amend_async("move on")
    assert await messages_async(repo) == ["move on", "begin", "Repository initialized"]
    amended = await last_diff_async(repo), await stored_async(repo)
    assert amended[0] == Diff(
        moved_nodes=[("/a", "/c"), ("/g/h", "/h"), ("/g/h/a", "/h/a"), ("/g", "/n"), ("/g/a", "/n/a")]
    )

    other = await create_async(icechunk.in_memory_storage())
    session = await move_async(other, ("/a", "/b"), ("/g", "/n"), ("/b", "/c"), ("/n/h", "/h"))
    await session.commit_async("at once")
    assert (await last_diff_async(other), await stored_async(other)) == amended


async def test_moves_that_an_amend_takes_back_are_not_in_the_log_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    await (await move_async(repo, ("/a", "/b"), ("/bare", "/c"))).commit_async("move")
    await (await move_async(repo, ("/b", "/a"))).amend_async("move back")
    assert await last_diff_async(repo) == Diff(moved_nodes=[("/bare", "/c")])
    # Moves of which nothing is left are none, and others can rebase over them.
    session = await begin_async(repo, [("a/c/0", b"us")])
    await (await move_async(repo, ("/c", "/bare"))).amend_async("move back")
    assert (await last_diff_async(repo)).is_empty()
    assert await stored_async(repo) == BASE
    with pytest.raises(icechunk.RebaseFailedError):  # its base has the move
        await session.rebase_async(DETECTOR)
    session = await begin_async(repo, [("a/c/0", b"us")])
    await session.commit_async("ours")
    assert await stored_async(repo) == after([("a/c/0", b"us")])


async def test_moves_can_amend_a_commit_that_edits_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    await commit_async(repo, [("n/zarr.json", group()), ("a/c/3", b"new"), ("bare/zarr.json", array(9))])
    await (await move_async(repo, ("/a", "/n/a"), ("/bare", "/b"), ("/n", "/m"))).amend_async("move")
    assert await messages_async(repo) == ["move", "begin", "Repository initialized"]
    assert await last_diff_async(repo) == Diff(
        new_groups={"/m"},
        updated_arrays={"/b"},
        updated_chunks={"/m/a": [[3]]},
        moved_nodes=[("/bare", "/b"), ("/n", "/m"), ("/a", "/m/a")],
    )
    assert (await stored_async(repo))["m/a/c/3"] == b"new"
    with pytest.raises(SessionStateError) as refused:
        await amend_async(repo, [("m/a/c/3", b"newer")])
    assert refused.value.kind == "rearrange-session-only"
    assert "make a new commit instead" in str(refused.value)


# Snapshots on no branch


async def test_a_flush_makes_a_snapshot_on_no_branch_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await create_async(storage, spec_version)
    repo.set_default_commit_metadata({"institution": "ours"})
    base = await repo.lookup_branch_async("main")
    ours: list[Edit] = [("a/c/0", b"us"), ("n/zarr.json", group()), ("g/zarr.json", None)]
    session = await begin_async(repo, ours)
    detached = await session.flush_async("to look at", metadata={"by": "us"})
    assert (session.snapshot_id, session.branch, session.read_only) == (detached, None, True)
    assert not session.has_uncommitted_changes
    with pytest.raises(ReadOnlyError):
        await edit_async(session, [("a/c/0", b"late")])
    with pytest.raises(SessionStateError) as no_branch:
        await session.commit_async("again")
    assert no_branch.value.kind == "commit-not-allowed"

    reopened = await Repository.open_async(storage)
    for each in (repo, reopened):
        assert await each.lookup_branch_async("main") == base
        assert await each.list_branches_async() == {"main"}
        reader = await each.readonly_session_async(snapshot_id=detached)
        assert await content_async(reader) == await content_async(session) == after(ours)
        history = [info async for info in each.async_ancestry(snapshot_id=detached)]
        assert [info.message for info in history] == ["to look at", "begin", "Repository initialized"]
        assert (history[0].parent_id, history[0].metadata) == (base, {"institution": "ours", "by": "us"})
        assert (await each.lookup_snapshot_async(detached)).message == "to look at"
        diff = await each.diff_async(from_snapshot_id=base, to_snapshot_id=detached)
        assert (diff.new_groups, diff.updated_chunks) == ({"/n"}, {"/a": [[0]]})
    assert await stored_async(repo) == BASE


async def test_a_snapshot_on_no_branch_can_be_given_one_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await create_async(storage, spec_version)
    session = await begin_async(repo, [("a/c/0", b"us")])
    detached = await session.flush_async("to look at")
    await repo.create_branch_async("look", detached)
    await repo.create_tag_async("looked at", detached)
    writing = await repo.writable_session_async("look")
    await edit_async(writing, [("a/c/1", b"more")])
    await writing.commit_async("more")
    history = [info.message async for info in repo.async_ancestry(branch="look")]
    assert history == ["more", "to look at", "begin", "Repository initialized"]
    reader = await repo.readonly_session_async("look")
    assert await content_async(reader) == after([("a/c/0", b"us"), ("a/c/1", b"more")])


async def test_a_flush_is_not_in_the_way_of_commits_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Neither before nor after: no branch moves, also if the branch has moved since."""
    repo = await create_async(storage, spec_version)
    behind = await begin_async(repo, [("a/c/0", b"us")])
    waiting = await begin_async(repo, [("a/c/1", b"waiting")])
    tip = await commit_async(repo, [("bare/c/0", b"them")])
    detached = await behind.flush_async("behind")
    assert await repo.lookup_branch_async("main") == tip
    reader = await repo.readonly_session_async(snapshot_id=detached)
    assert await content_async(reader) == after([("a/c/0", b"us")])
    await waiting.commit_async("waiting", rebase_with=DETECTOR)
    assert await stored_async(repo) == after([("a/c/1", b"waiting"), ("bare/c/0", b"them")])


async def test_a_flush_may_contain_nothing_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await create_async(storage, spec_version)
    session = await begin_async(repo, [])
    detached = await session.flush_async("a mark")
    reader = await repo.readonly_session_async(snapshot_id=detached)
    assert await content_async(reader) == BASE


async def test_moves_can_be_flushed_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    base = await repo.lookup_branch_async("main")
    detached = await (await move_async(repo, ("/a", "/b"))).flush_async("to look at")
    diff = await repo.diff_async(from_snapshot_id=base, to_snapshot_id=detached)
    assert diff == Diff(moved_nodes=[("/a", "/b")])
    assert await stored_async(repo) == BASE
    update = await newest_update_async(repo)
    assert isinstance(update, UpdateType.NewDetachedSnapshot)
    assert update.new_snap_id == detached


async def test_what_only_reads_is_not_flushed_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await create_async(storage, spec_version)
    committed = await begin_async(repo, [("a/c/0", b"us")])
    await committed.commit_async("edit")
    before = await keys_async(storage)
    for session in (committed, await repo.readonly_session_async("main")):
        with pytest.raises(ReadOnlyError) as refused:
            await session.flush_async("nothing")
        assert refused.value.kind == "read-only-session"
    assert await keys_async(storage) == before


async def test_a_flush_that_fails_leaves_a_session_that_goes_on_async(spec_version: int) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    await create_async(inner, spec_version)
    repo = await Repository.open_async(faulty_storage(inner, faults))
    session = await begin_async(repo, [("a/c/0", b"us")])
    for key in ("manifests/*", "snapshots/*", "transactions/*", "repo"):
        if key == "repo" and spec_version == 1:
            continue
        faults.fail("put*", key)
        with pytest.raises(icechunk.StorageError, match="injected"):
            await session.flush_async("fails")
        assert (session.read_only, session.has_uncommitted_changes) == (False, True)
    await session.commit_async("lands")
    assert await stored_async(repo) == after([("a/c/0", b"us")])
