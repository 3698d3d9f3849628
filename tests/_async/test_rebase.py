"""Rebasing a session: over several commits, over branches that were moved, and when something fails."""

from __future__ import annotations

import logging

import pytest

import icechunk
from icechunk import (
    BasicConflictSolver,
    Conflict,
    ConflictDetector,
    ConflictType,
    ReadOnlyError,
    RebaseFailedError,
    Repository,
    Session,
    SessionStateError,
    StorageError,
    VersionSelection,
)
from icechunk.testing.faults import Faults, faulty_storage
from tests.meetings import BASE, after
from tests.trees import Content, Edit, array, content_async, edit_async, group

DETECTOR = ConflictDetector()
THEIRS = BasicConflictSolver(on_chunk_conflict=VersionSelection.UseTheirs)


async def create_async(storage: icechunk.Storage, spec_version: int = 2) -> Repository:
    """A repository with the content `BASE`."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    await commit_async(repo, list(BASE.items()))
    return repo


async def commit_async(repo: Repository, edits: list[Edit], branch: str = "main") -> str:
    session = await repo.writable_session_async(branch)
    await edit_async(session, edits)
    return await session.commit_async("theirs", allow_empty=True)


async def begin_async(repo: Repository, edits: list[Edit]) -> Session:
    """A session with changes that are not committed."""
    session = await repo.writable_session_async("main")
    await edit_async(session, edits)
    return session


async def stored_async(repo: Repository) -> Content:
    return await content_async(await repo.readonly_session_async("main"))


async def refused_rebase_async(
    session: Session, solver: icechunk.ConflictSolver = DETECTOR
) -> RebaseFailedError:
    with pytest.raises(RebaseFailedError) as failed:
        await session.rebase_async(solver)
    return failed.value


def kinds(error: RebaseFailedError) -> list[tuple[ConflictType, str]]:
    return [(conflict.conflict_type, conflict.path) for conflict in error.conflicts]


# Several commits


async def test_a_session_stops_before_the_commit_that_contradicts_it_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """It keeps its changes, on the commit before that, and can go on."""
    repo = await create_async(storage, spec_version)
    ours: list[Edit] = [("a/c/3", b"us"), ("g/zarr.json", group(by="us"))]
    session = await begin_async(repo, ours)
    before = session.status()
    their_first: list[Edit] = [("a/c/0", b"1"), ("n/zarr.json", array(1))]
    their_second: list[Edit] = [("a/c/1", b"2"), ("g/a/zarr.json", None)]
    await commit_async(repo, their_first)
    second = await commit_async(repo, their_second)
    third = await commit_async(repo, [("a/c/3", b"3")])
    await commit_async(repo, [("g/zarr.json", group(by="them"))])

    failed = await refused_rebase_async(session)
    assert failed.snapshot == third
    assert [(each.conflict_type, each.path, each.conflicted_chunks) for each in failed.conflicts] == [
        (ConflictType.ChunkDoubleUpdate, "/a", [[3]])
    ]
    assert (session.snapshot_id, session.branch, session.read_only) == (second, "main", False)
    assert session.status() == before
    assert await content_async(session) == after([*their_first, *their_second, *ours])
    await edit_async(session, [("bare/c/2", b"later"), ("n/c/0", b"ours in theirs")])
    with pytest.raises(icechunk.ConflictError) as conflict:
        await session.commit_async("too early")
    assert conflict.value.expected_parent == second

    again = await refused_rebase_async(
        session, BasicConflictSolver()
    )  # which solves the third, not the fourth
    assert kinds(again) == [(ConflictType.ZarrMetadataDoubleUpdate, "/g")]
    assert session.snapshot_id == third
    await edit_async(session, [("g/zarr.json", group())])  # takes our change of it back
    await session.rebase_async(DETECTOR)
    await session.commit_async("ours")
    assert await stored_async(repo) == after(
        [
            *(*their_first, *their_second, ("g/zarr.json", group(by="them"))),
            *(("a/c/3", b"us"), ("bare/c/2", b"later"), ("n/c/0", b"ours in theirs")),
        ]
    )


async def test_it_does_not_matter_how_they_cut_their_commits_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """We delete an array, and they make another one in its place and write to it, in one commit or in two.

    Guards against a rebase that looks at the paths only of commits that create or delete something.
    """
    made: list[Edit] = [("a/zarr.json", None), ("a/zarr.json", array(4, by="them"))]
    update: Edit = ("a/c/1", b"them")
    repo = await create_async(storage, spec_version)
    await repo.create_branch_async("two", await repo.lookup_branch_async("main"))
    for branch, commits in {"main": [[*made, update]], "two": [made, [update]]}.items():
        session = await repo.writable_session_async(branch)
        await edit_async(session, [("a/zarr.json", None)])
        for edits in commits:
            await commit_async(repo, edits, branch)
        assert kinds(await refused_rebase_async(session)) == [(ConflictType.DeleteOfUpdatedArray, "/a")]


async def test_a_commit_that_fails_to_rebase_leaves_a_session_that_goes_on_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await create_async(storage, spec_version)
    session = await begin_async(repo, [("a/c/3", b"us")])
    first = await commit_async(repo, [("a/c/0", b"1")])
    second = await commit_async(repo, [("a/c/3", b"2")])
    with pytest.raises(RebaseFailedError) as failed:
        await session.commit_async("ours", rebase_with=DETECTOR)
    assert failed.value.snapshot == second
    assert session.snapshot_id == first
    await session.commit_async("ours", rebase_with=BasicConflictSolver())
    assert await stored_async(repo) == after([("a/c/0", b"1"), ("a/c/3", b"us")])


async def test_a_decision_holds_for_the_commits_after_it_async(storage: icechunk.Storage) -> None:
    """What was given up for one commit does not come back at the next."""
    repo = await create_async(storage)
    session = await begin_async(repo, [("a/c/0", b"us"), ("a/c/1", b"us"), ("a/c/2", b"us")])
    await commit_async(repo, [("a/c/0", b"1")])
    await commit_async(repo, [("a/c/0", b"2"), ("a/c/1", b"2")])
    await commit_async(repo, [("a/c/1", None)])
    await session.rebase_async(THEIRS)
    assert session.status().updated_chunks == {"/a": [[2]]}
    await session.commit_async("ours")
    assert await stored_async(repo) == after([("a/c/0", b"2"), ("a/c/1", None), ("a/c/2", b"us")])


async def test_many_commits_are_gone_through_in_order_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """More than are fetched at one time."""
    repo = await create_async(storage, spec_version)
    session = await begin_async(repo, [("a/zarr.json", array(100)), ("a/c/99", b"us")])
    commits = [await commit_async(repo, [(f"bare/c/{number % 4}", b"%d" % number)]) for number in range(70)]
    last = await commit_async(repo, [("a/zarr.json", array(5))])
    failed = await refused_rebase_async(session)
    assert failed.snapshot == last
    assert session.snapshot_id == commits[-1]
    assert (await content_async(session))["bare/c/1"] == b"69"


@pytest.mark.parametrize("solver", [BasicConflictSolver(), THEIRS])
async def test_both_write_the_one_chunk_of_a_scalar_async(
    storage: icechunk.Storage, solver: icechunk.ConflictSolver
) -> None:
    """Its coordinates are none, so that there is nothing to tell how many there are of them."""
    repo = await create_async(storage)
    scalar: list[Edit] = [("scalar/zarr.json", array()), ("scalar/c", b"base")]
    await commit_async(repo, scalar)
    session = await begin_async(repo, [("scalar/c", b"us"), ("a/c/0", b"us")])
    await commit_async(repo, [("scalar/c", b"them")])
    failed = await refused_rebase_async(session)
    assert [(each.path, each.conflicted_chunks) for each in failed.conflicts] == [("/scalar", [[]])]
    await session.rebase_async(solver)
    await session.commit_async("ours")
    kept = b"them" if solver is THEIRS else b"us"
    assert await stored_async(repo) == after([*scalar, ("scalar/c", kept), ("a/c/0", b"us")])


async def test_nodes_deleted_and_made_anew_are_rebased_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Deleting an array and making another one at its path is no conflict with changes elsewhere."""
    repo = await create_async(storage, spec_version)
    ours: list[Edit] = [
        *(("a/zarr.json", None), ("a/zarr.json", array(2, new=True)), ("a/c/1", b"us")),
        *(("g/h/zarr.json", None), ("g/h/zarr.json", group(new=True))),
    ]
    session = await begin_async(repo, ours)
    theirs: list[Edit] = [("bare/c/0", b"1"), ("g/a/zarr.json", array(5)), ("n/zarr.json", group())]
    for one in theirs:
        await commit_async(repo, [one])
    await session.commit_async("ours", rebase_with=DETECTOR)
    assert await stored_async(repo) == after([*theirs, *ours])


async def test_nothing_may_be_left_after_a_rebase_async(storage: icechunk.Storage) -> None:
    """What a session has is what its commit would contain, also when they have done it all before."""
    repo = await create_async(storage)
    session = await begin_async(repo, [("a/c/0", b"us"), ("bare/zarr.json", None)])
    await commit_async(repo, [("a/c/0", b"them"), ("bare/zarr.json", None)])
    await session.rebase_async(THEIRS)
    assert not session.has_uncommitted_changes
    assert session.status().is_empty()
    with pytest.raises(SessionStateError) as nothing:
        await session.commit_async("ours")
    assert nothing.value.kind == "no-changes-to-commit"

    # A commit that had something to commit when it began lands all the same.
    session = await begin_async(repo, [("a/c/0", b"us")])
    await commit_async(repo, [("a/c/0", b"them again")])
    tip = await session.commit_async("ours", rebase_with=THEIRS)
    assert await repo.lookup_branch_async("main") == tip
    assert await stored_async(repo) == after([("a/c/0", b"them again"), ("bare/zarr.json", None)])


# Nothing to rebase onto


async def test_rebasing_onto_nothing_new_is_said_and_does_nothing_async(
    storage: icechunk.Storage, spec_version: int, caplog: pytest.LogCaptureFixture
) -> None:
    repo = await create_async(storage, spec_version)
    tip = await repo.lookup_branch_async("main")
    session = await begin_async(repo, [("a/c/0", b"us")])
    with caplog.at_level(logging.WARNING, "icechunk"):
        await session.rebase_async(DETECTOR)
    assert "no rebase is needed: the branch `main` has not moved" in caplog.text
    assert session.snapshot_id == tip
    await session.commit_async("ours")
    assert await stored_async(repo) == after([("a/c/0", b"us")])


async def test_rebasing_onto_a_deleted_branch_is_said_and_does_nothing_async(
    storage: icechunk.Storage, spec_version: int, caplog: pytest.LogCaptureFixture
) -> None:
    repo = await create_async(storage, spec_version)
    await repo.create_branch_async("dev", await repo.lookup_branch_async("main"))
    session = await repo.writable_session_async("dev")
    await edit_async(session, [("a/c/0", b"us")])
    await repo.delete_branch_async("dev")
    with caplog.at_level(logging.WARNING, "icechunk"):
        await session.rebase_async(DETECTOR)
    assert "no rebase is needed: the branch `dev` was deleted" in caplog.text
    assert session.status().updated_chunks == {"/a": [[0]]}
    for solver in (None, DETECTOR):
        with pytest.raises(icechunk.IcechunkError) as gone:
            await session.commit_async("ours", rebase_with=solver)
        assert gone.value.kind == ("branch-not-found" if spec_version == 2 else "commit-conflict")
    assert await repo.list_branches_async() == {"main"}


async def test_sessions_without_a_branch_are_not_rebased_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    committed = await begin_async(repo, [("a/c/0", b"us")])
    await committed.commit_async("ours")
    for session in (committed, await repo.readonly_session_async("main")):
        with pytest.raises(SessionStateError) as refused:
            await session.rebase_async(DETECTOR)
        assert refused.value.kind == "commit-not-allowed"


# Branches that do not lead to the base


async def test_after_a_reset_to_an_older_snapshot_a_session_goes_on_from_there_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """What the session has in common with the older snapshot is no conflict, however old the change."""
    repo = await create_async(storage, spec_version)
    older = await repo.lookup_branch_async("main")
    await commit_async(repo, [("bare/c/0", b"undone"), ("n/zarr.json", group())])
    ours: list[Edit] = [("a/c/0", b"us"), ("g/h/zarr.json", group(by="us")), ("g/n/zarr.json", group())]
    session = await begin_async(repo, ours)
    await repo.reset_branch_async("main", older)
    with pytest.raises(icechunk.ConflictError):
        await session.commit_async("ours")
    await session.rebase_async(DETECTOR)
    assert session.snapshot_id == older
    await session.commit_async("ours")
    assert await stored_async(repo) == after(ours)


async def test_a_commit_may_rebase_onto_a_branch_that_was_reset_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await create_async(storage, spec_version)
    older = await repo.lookup_branch_async("main")
    await commit_async(repo, [("bare/c/0", b"undone")])
    session = await begin_async(repo, [("a/c/0", b"us")])
    await repo.reset_branch_async("main", older)
    await commit_async(repo, [("bare/c/1", b"new")])
    await session.commit_async("ours", rebase_with=DETECTOR)
    assert await stored_async(repo) == after([("a/c/0", b"us"), ("bare/c/1", b"new")])


LOST: dict[str, tuple[list[Edit], list[Edit], list[tuple[ConflictType, str]]]] = {
    "chunks of an array that is not there": (
        [("n/zarr.json", array(2))],
        [("n/c/0", b"us")],
        [(ConflictType.ChunksUpdatedInDeletedArray, "/n")],
    ),
    "chunks outside of the grid that is there": (
        [("a/zarr.json", array(8))],
        [("a/c/7", b"us")],
        [(ConflictType.ChunksUpdatedInUpdatedArray, "/a")],
    ),
    "chunks of an array that is described otherwise": (
        [("a/zarr.json", array(4, codec="another"))],
        [("a/c/3", b"us")],
        [(ConflictType.ChunksUpdatedInUpdatedArray, "/a")],
    ),
    "chunks that are others there": (
        [("a/c/3", b"undone")],
        [("a/c/3", b"us")],
        [(ConflictType.ChunkDoubleUpdate, "/a")],
    ),
    "documents of nodes that are not there": (
        [("n/zarr.json", array(2)), ("m/zarr.json", group())],
        [("n/zarr.json", array(3)), ("m/zarr.json", group(by="us"))],
        [
            (ConflictType.ZarrMetadataUpdateOfDeletedArray, "/n"),
            (ConflictType.ZarrMetadataUpdateOfDeletedGroup, "/m"),
        ],
    ),
    "a document that is another one there": (
        [("g/zarr.json", group(undone=True))],
        [("g/zarr.json", group(undone=True, by="us"))],
        [(ConflictType.ZarrMetadataDoubleUpdate, "/g")],
    ),
    "nodes in a group that is not there": (
        [("n/zarr.json", group())],
        [("n/m/zarr.json", group())],
        [(ConflictType.NewNodeInInvalidGroup, "/n")],
    ),
    "nodes where there is one": (
        [("a/zarr.json", None)],
        [("a/zarr.json", group())],
        [(ConflictType.NewNodeConflictsWithExistingNode, "/a")],
    ),
    "the deletion of a group where there is more in it": (
        [("g/h/zarr.json", None)],
        [("g/zarr.json", None)],
        [(ConflictType.NewNodeInInvalidGroup, "/g")],
    ),
    "the deletion of an array that is another one there": (
        [("a/c/0", b"undone")],
        [("a/zarr.json", None)],
        [(ConflictType.DeleteOfUpdatedArray, "/a")],
    ),
}
"""What was undone by a reset, what we did on top of it, and the conflicts of the two."""


@pytest.mark.parametrize("name", LOST)
async def test_after_a_reset_nothing_is_lost_without_a_word_async(
    storage: icechunk.Storage, spec_version: int, name: str
) -> None:
    undone, ours, found = LOST[name]
    repo = await create_async(storage, spec_version)
    older = await repo.lookup_branch_async("main")
    base = await commit_async(repo, undone)
    session = await begin_async(repo, ours)
    await repo.reset_branch_async("main", older)
    failed = await refused_rebase_async(session)
    assert kinds(failed) == found
    assert failed.snapshot == older
    assert session.snapshot_id == base
    assert await content_async(session) == after(ours, after(undone))
    # The reset undone, the session goes on.
    await repo.reset_branch_async("main", base)
    await session.commit_async("ours")
    assert await stored_async(repo) == after(ours, after(undone))


async def test_after_a_reset_to_the_first_snapshot_no_node_is_left_without_a_group_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    first = await repo.lookup_branch_async("main")
    base = await commit_async(repo, list(BASE.items()))
    session = await begin_async(repo, [("g/n/zarr.json", group())])
    await repo.reset_branch_async("main", first)
    assert kinds(await refused_rebase_async(session)) == [
        (ConflictType.NewNodeInInvalidGroup, "/"),
        (ConflictType.NewNodeInInvalidGroup, "/g"),
    ]
    assert session.snapshot_id == base


async def test_a_session_is_not_left_half_way_on_another_history_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """A reset to something unrelated is one step, which is taken or not."""
    repo = await create_async(storage, spec_version)
    first, *_ = [info.id async for info in repo.async_ancestry(branch="main")][::-1]
    session = await begin_async(repo, [("a/c/3", b"us")])
    base = session.snapshot_id
    await repo.reset_branch_async("main", first)
    await commit_async(repo, [("zarr.json", group()), ("other/zarr.json", group())])
    tip = await commit_async(repo, [("a/zarr.json", array(4)), ("a/c/0", b"unrelated")])
    failed = await refused_rebase_async(session)
    assert kinds(failed) == [(ConflictType.ChunksUpdatedInDeletedArray, "/a")]
    assert (failed.snapshot, session.snapshot_id) == (tip, base)


async def test_a_solver_is_asked_after_a_reset_too_async(storage: icechunk.Storage) -> None:
    class KeepTheirs:
        def solve(self, conflict: Conflict) -> VersionSelection:  # noqa: ARG002
            return VersionSelection.UseTheirs

    repo = await create_async(storage)
    older = await repo.lookup_branch_async("main")
    await commit_async(repo, [("n/zarr.json", array(4)), ("a/zarr.json", array(8))])
    session = await begin_async(repo, [("n/c/0", b"us"), ("a/c/7", b"us"), ("bare/c/0", b"us")])
    await repo.reset_branch_async("main", older)
    await session.commit_async("ours", rebase_with=KeepTheirs())
    assert await stored_async(repo) == after([("bare/c/0", b"us")])


async def test_after_an_amend_only_what_differs_is_compared_async(storage: icechunk.Storage) -> None:
    """The session's base is not in the history any more; what both have is no conflict."""
    repo = await create_async(storage)
    await commit_async(repo, [("a/c/0", b"1"), ("a/c/1", b"1"), ("n/zarr.json", array(4)), ("n/c/0", b"1")])
    ours: list[Edit] = [("a/c/0", b"us"), ("n/c/3", b"us"), ("n/zarr.json", array(5))]
    session = await begin_async(repo, ours)
    amending = await repo.writable_session_async("main")
    await edit_async(amending, [("bare/c/0", b"amended"), ("zarr.json", group(amended=True))])
    await amending.amend_async("amended")
    tip_content = await stored_async(repo)
    await session.commit_async("ours", rebase_with=DETECTOR)
    assert await stored_async(repo) == after(ours, tip_content)
    history = [info.message async for info in repo.async_ancestry(branch="main")]
    assert history == ["ours", "amended", "theirs", "Repository initialized"]


async def test_an_amend_that_contradicts_is_a_conflict_async(storage: icechunk.Storage) -> None:
    repo = await create_async(storage)
    base = await commit_async(repo, [("a/c/0", b"1")])
    session = await begin_async(repo, [("a/c/0", b"us"), ("bare/c/0", b"us")])
    amending = await repo.writable_session_async("main")
    await edit_async(amending, [("a/c/0", b"amended"), ("bare/zarr.json", None)])
    tip = await amending.amend_async("amended")
    failed = await refused_rebase_async(session)
    assert kinds(failed) == [
        (ConflictType.ChunksUpdatedInDeletedArray, "/bare"),
        (ConflictType.ChunkDoubleUpdate, "/a"),
    ]
    assert (failed.snapshot, session.snapshot_id) == (tip, base)


# Failures on the way


async def test_a_solver_that_raises_leaves_the_session_as_it_was_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    class Helpless:
        def solve(self, conflict: Conflict) -> VersionSelection:
            raise LookupError(f"nobody knows {conflict.path}")

    repo = await create_async(storage, spec_version)
    ours: list[Edit] = [("a/c/0", b"us"), ("g/n/zarr.json", group())]
    session = await begin_async(repo, ours)
    base = session.snapshot_id
    await commit_async(repo, [("bare/c/0", b"1")])
    await commit_async(repo, [("a/c/0", b"2")])
    for _ in range(2):
        with pytest.raises(LookupError, match="nobody knows /a"):
            await session.rebase_async(Helpless())
        with pytest.raises(LookupError, match="nobody knows /a"):
            await session.commit_async("ours", rebase_with=Helpless())
        assert session.snapshot_id == base
        assert await content_async(session) == after(ours)
    await session.commit_async("ours", rebase_with=BasicConflictSolver())
    assert await stored_async(repo) == after([("bare/c/0", b"1"), *ours])


async def test_a_solver_may_read_the_session_and_cannot_change_it_async(storage: icechunk.Storage) -> None:
    """Its decisions are all that it changes; a write from inside it is refused, as any other meanwhile."""

    class Curious:
        def solve(self, conflict: Conflict) -> VersionSelection:
            assert session.status().updated_chunks == {"/a": [[0]]}
            assert conflict.path == "/a"
            with pytest.raises(ReadOnlyError, match="under way"):
                session.discard_changes()
            with pytest.raises(SessionStateError, match="under way"):
                session.commit("inside")
            return VersionSelection.UseOurs

    repo = await create_async(storage)
    session = await begin_async(repo, [("a/c/0", b"us")])
    await commit_async(repo, [("a/c/0", b"1")])
    await session.rebase_async(Curious())
    await session.commit_async("ours")
    assert await stored_async(repo) == after([("a/c/0", b"us")])


@pytest.mark.parametrize("lost", ["transactions/*", "snapshots/*", "repo"])
@pytest.mark.parametrize("reset", [False, True], ids=["ahead", "reset"])
async def test_a_storage_that_fails_leaves_the_session_as_it_was_async(lost: str, reset: bool) -> None:
    """At each request of a rebase, one after the other; the rebase can be repeated."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    ours: list[Edit] = [("a/c/0", b"us"), ("g/n/zarr.json", group())]
    theirs: list[Edit] = [("m/zarr.json", group()), ("bare/c/1", b"2"), ("g/a/zarr.json", None)]
    others = await create_async(inner)
    start = base = await others.lookup_branch_async("main")
    if reset:
        base = await commit_async(others, [("bare/c/0", b"undone")])
    for failures in range(20):
        await others.reset_branch_async("main", base)
        # A new repository each time: it has seen nothing of what the rebase asks for.
        repo = await Repository.open_async(faulty_storage(inner, faults))
        session = await begin_async(repo, ours)
        await others.reset_branch_async("main", start)
        for one in theirs:
            await commit_async(others, [one])
        faults.fail("get*", lost, skip=failures)
        try:
            await session.rebase_async(DETECTOR)
        except StorageError:
            assert (session.snapshot_id, session.read_only) == (base, False)
            faults.clear()
            before = after([("bare/c/0", b"undone")]) if reset else BASE
            assert await content_async(session) == after(ours, before)
            await session.rebase_async(DETECTOR)
            through = False
        else:
            through = True
        faults.clear()
        assert await content_async(session) == after([*theirs, *ours])
        if through:
            break
    assert 0 < failures < 19
