# Generated from tests/_async/test_rebase.py by tools/make_sync.py; edit that file.
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
from tests.trees import Content, Edit, array, content, edit, group

DETECTOR = ConflictDetector()
THEIRS = BasicConflictSolver(on_chunk_conflict=VersionSelection.UseTheirs)


def create(storage: icechunk.Storage, spec_version: int = 2) -> Repository:
    """A repository with the content `BASE`."""
    repo = Repository.create(storage, spec_version=spec_version)
    commit(repo, list(BASE.items()))
    return repo


def commit(repo: Repository, edits: list[Edit], branch: str = "main") -> str:
    session = repo.writable_session(branch)
    edit(session, edits)
    return session.commit("theirs", allow_empty=True)


def begin(repo: Repository, edits: list[Edit]) -> Session:
    """A session with changes that are not committed."""
    session = repo.writable_session("main")
    edit(session, edits)
    return session


def stored(repo: Repository) -> Content:
    return content(repo.readonly_session("main"))


def refused_rebase(
    session: Session, solver: icechunk.ConflictSolver = DETECTOR
) -> RebaseFailedError:
    with pytest.raises(RebaseFailedError) as failed:
        session.rebase(solver)
    return failed.value


def kinds(error: RebaseFailedError) -> list[tuple[ConflictType, str]]:
    return [(conflict.conflict_type, conflict.path) for conflict in error.conflicts]


# Several commits


def test_a_session_stops_before_the_commit_that_contradicts_it(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """It keeps its changes, on the commit before that, and can go on."""
    repo = create(storage, spec_version)
    ours: list[Edit] = [("a/c/3", b"us"), ("g/zarr.json", group(by="us"))]
    session = begin(repo, ours)
    before = session.status()
    their_first: list[Edit] = [("a/c/0", b"1"), ("n/zarr.json", array(1))]
    their_second: list[Edit] = [("a/c/1", b"2"), ("g/a/zarr.json", None)]
    commit(repo, their_first)
    second = commit(repo, their_second)
    third = commit(repo, [("a/c/3", b"3")])
    commit(repo, [("g/zarr.json", group(by="them"))])

    failed = refused_rebase(session)
    assert failed.snapshot == third
    assert [(each.conflict_type, each.path, each.conflicted_chunks) for each in failed.conflicts] == [
        (ConflictType.ChunkDoubleUpdate, "/a", [[3]])
    ]
    assert (session.snapshot_id, session.branch, session.read_only) == (second, "main", False)
    assert session.status() == before
    assert content(session) == after([*their_first, *their_second, *ours])
    edit(session, [("bare/c/2", b"later"), ("n/c/0", b"ours in theirs")])
    with pytest.raises(icechunk.ConflictError) as conflict:
        session.commit("too early")
    assert conflict.value.expected_parent == second

    again = refused_rebase(
        session, BasicConflictSolver()
    )  # which solves the third, not the fourth
    assert kinds(again) == [(ConflictType.ZarrMetadataDoubleUpdate, "/g")]
    assert session.snapshot_id == third
    edit(session, [("g/zarr.json", group())])  # takes our change of it back
    session.rebase(DETECTOR)
    session.commit("ours")
    assert stored(repo) == after(
        [
            *(*their_first, *their_second, ("g/zarr.json", group(by="them"))),
            *(("a/c/3", b"us"), ("bare/c/2", b"later"), ("n/c/0", b"ours in theirs")),
        ]
    )


def test_it_does_not_matter_how_they_cut_their_commits(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """We delete an array, and they make another one in its place and write to it, in one commit or in two.

    Guards against a rebase that looks at the paths only of commits that create or delete something.
    """
    made: list[Edit] = [("a/zarr.json", None), ("a/zarr.json", array(4, by="them"))]
    update: Edit = ("a/c/1", b"them")
    repo = create(storage, spec_version)
    repo.create_branch("two", repo.lookup_branch("main"))
    for branch, commits in {"main": [[*made, update]], "two": [made, [update]]}.items():
        session = repo.writable_session(branch)
        edit(session, [("a/zarr.json", None)])
        for edits in commits:
            commit(repo, edits, branch)
        assert kinds(refused_rebase(session)) == [(ConflictType.DeleteOfUpdatedArray, "/a")]


def test_a_commit_that_fails_to_rebase_leaves_a_session_that_goes_on(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = create(storage, spec_version)
    session = begin(repo, [("a/c/3", b"us")])
    first = commit(repo, [("a/c/0", b"1")])
    second = commit(repo, [("a/c/3", b"2")])
    with pytest.raises(RebaseFailedError) as failed:
        session.commit("ours", rebase_with=DETECTOR)
    assert failed.value.snapshot == second
    assert session.snapshot_id == first
    session.commit("ours", rebase_with=BasicConflictSolver())
    assert stored(repo) == after([("a/c/0", b"1"), ("a/c/3", b"us")])


def test_a_decision_holds_for_the_commits_after_it(storage: icechunk.Storage) -> None:
    """What was given up for one commit does not come back at the next."""
    repo = create(storage)
    session = begin(repo, [("a/c/0", b"us"), ("a/c/1", b"us"), ("a/c/2", b"us")])
    commit(repo, [("a/c/0", b"1")])
    commit(repo, [("a/c/0", b"2"), ("a/c/1", b"2")])
    commit(repo, [("a/c/1", None)])
    session.rebase(THEIRS)
    assert session.status().updated_chunks == {"/a": [[2]]}
    session.commit("ours")
    assert stored(repo) == after([("a/c/0", b"2"), ("a/c/1", None), ("a/c/2", b"us")])


def test_many_commits_are_gone_through_in_order(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """More than are fetched at one time."""
    repo = create(storage, spec_version)
    session = begin(repo, [("a/zarr.json", array(100)), ("a/c/99", b"us")])
    commits = [commit(repo, [(f"bare/c/{number % 4}", b"%d" % number)]) for number in range(70)]
    last = commit(repo, [("a/zarr.json", array(5))])
    failed = refused_rebase(session)
    assert failed.snapshot == last
    assert session.snapshot_id == commits[-1]
    assert (content(session))["bare/c/1"] == b"69"


@pytest.mark.parametrize("solver", [BasicConflictSolver(), THEIRS])
def test_both_write_the_one_chunk_of_a_scalar(
    storage: icechunk.Storage, solver: icechunk.ConflictSolver
) -> None:
    """Its coordinates are none, so that there is nothing to tell how many there are of them."""
    repo = create(storage)
    scalar: list[Edit] = [("scalar/zarr.json", array()), ("scalar/c", b"base")]
    commit(repo, scalar)
    session = begin(repo, [("scalar/c", b"us"), ("a/c/0", b"us")])
    commit(repo, [("scalar/c", b"them")])
    failed = refused_rebase(session)
    assert [(each.path, each.conflicted_chunks) for each in failed.conflicts] == [("/scalar", [[]])]
    session.rebase(solver)
    session.commit("ours")
    kept = b"them" if solver is THEIRS else b"us"
    assert stored(repo) == after([*scalar, ("scalar/c", kept), ("a/c/0", b"us")])


def test_nodes_deleted_and_made_anew_are_rebased(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Deleting an array and making another one at its path is no conflict with changes elsewhere."""
    repo = create(storage, spec_version)
    ours: list[Edit] = [
        *(("a/zarr.json", None), ("a/zarr.json", array(2, new=True)), ("a/c/1", b"us")),
        *(("g/h/zarr.json", None), ("g/h/zarr.json", group(new=True))),
    ]
    session = begin(repo, ours)
    theirs: list[Edit] = [("bare/c/0", b"1"), ("g/a/zarr.json", array(5)), ("n/zarr.json", group())]
    for one in theirs:
        commit(repo, [one])
    session.commit("ours", rebase_with=DETECTOR)
    assert stored(repo) == after([*theirs, *ours])


def test_nothing_may_be_left_after_a_rebase(storage: icechunk.Storage) -> None:
    """What a session has is what its commit would contain, also when they have done it all before."""
    repo = create(storage)
    session = begin(repo, [("a/c/0", b"us"), ("bare/zarr.json", None)])
    commit(repo, [("a/c/0", b"them"), ("bare/zarr.json", None)])
    session.rebase(THEIRS)
    assert not session.has_uncommitted_changes
    assert session.status().is_empty()
    with pytest.raises(SessionStateError) as nothing:
        session.commit("ours")
    assert nothing.value.kind == "no-changes-to-commit"

    # A commit that had something to commit when it began lands all the same.
    session = begin(repo, [("a/c/0", b"us")])
    commit(repo, [("a/c/0", b"them again")])
    tip = session.commit("ours", rebase_with=THEIRS)
    assert repo.lookup_branch("main") == tip
    assert stored(repo) == after([("a/c/0", b"them again"), ("bare/zarr.json", None)])


# Nothing to rebase onto


def test_rebasing_onto_nothing_new_is_said_and_does_nothing(
    storage: icechunk.Storage, spec_version: int, caplog: pytest.LogCaptureFixture
) -> None:
    repo = create(storage, spec_version)
    tip = repo.lookup_branch("main")
    session = begin(repo, [("a/c/0", b"us")])
    with caplog.at_level(logging.WARNING, "icechunk"):
        session.rebase(DETECTOR)
    assert "no rebase is needed: the branch `main` has not moved" in caplog.text
    assert session.snapshot_id == tip
    session.commit("ours")
    assert stored(repo) == after([("a/c/0", b"us")])


def test_rebasing_onto_a_deleted_branch_is_said_and_does_nothing(
    storage: icechunk.Storage, spec_version: int, caplog: pytest.LogCaptureFixture
) -> None:
    repo = create(storage, spec_version)
    repo.create_branch("dev", repo.lookup_branch("main"))
    session = repo.writable_session("dev")
    edit(session, [("a/c/0", b"us")])
    repo.delete_branch("dev")
    with caplog.at_level(logging.WARNING, "icechunk"):
        session.rebase(DETECTOR)
    assert "no rebase is needed: the branch `dev` was deleted" in caplog.text
    assert session.status().updated_chunks == {"/a": [[0]]}
    for solver in (None, DETECTOR):
        with pytest.raises(icechunk.IcechunkError) as gone:
            session.commit("ours", rebase_with=solver)
        assert gone.value.kind == ("branch-not-found" if spec_version == 2 else "commit-conflict")
    assert repo.list_branches() == {"main"}


def test_sessions_without_a_branch_are_not_rebased(storage: icechunk.Storage) -> None:
    repo = create(storage)
    committed = begin(repo, [("a/c/0", b"us")])
    committed.commit("ours")
    for session in (committed, repo.readonly_session("main")):
        with pytest.raises(SessionStateError) as refused:
            session.rebase(DETECTOR)
        assert refused.value.kind == "commit-not-allowed"


# Branches that do not lead to the base


def test_after_a_reset_to_an_older_snapshot_a_session_goes_on_from_there(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """What the session has in common with the older snapshot is no conflict, however old the change."""
    repo = create(storage, spec_version)
    older = repo.lookup_branch("main")
    commit(repo, [("bare/c/0", b"undone"), ("n/zarr.json", group())])
    ours: list[Edit] = [("a/c/0", b"us"), ("g/h/zarr.json", group(by="us")), ("g/n/zarr.json", group())]
    session = begin(repo, ours)
    repo.reset_branch("main", older)
    with pytest.raises(icechunk.ConflictError):
        session.commit("ours")
    session.rebase(DETECTOR)
    assert session.snapshot_id == older
    session.commit("ours")
    assert stored(repo) == after(ours)


def test_a_commit_may_rebase_onto_a_branch_that_was_reset(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = create(storage, spec_version)
    older = repo.lookup_branch("main")
    commit(repo, [("bare/c/0", b"undone")])
    session = begin(repo, [("a/c/0", b"us")])
    repo.reset_branch("main", older)
    commit(repo, [("bare/c/1", b"new")])
    session.commit("ours", rebase_with=DETECTOR)
    assert stored(repo) == after([("a/c/0", b"us"), ("bare/c/1", b"new")])


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
def test_after_a_reset_nothing_is_lost_without_a_word(
    storage: icechunk.Storage, spec_version: int, name: str
) -> None:
    undone, ours, found = LOST[name]
    repo = create(storage, spec_version)
    older = repo.lookup_branch("main")
    base = commit(repo, undone)
    session = begin(repo, ours)
    repo.reset_branch("main", older)
    failed = refused_rebase(session)
    assert kinds(failed) == found
    assert failed.snapshot == older
    assert session.snapshot_id == base
    assert content(session) == after(ours, after(undone))
    # The reset undone, the session goes on.
    repo.reset_branch("main", base)
    session.commit("ours")
    assert stored(repo) == after(ours, after(undone))


def test_after_a_reset_to_the_first_snapshot_no_node_is_left_without_a_group(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    first = repo.lookup_branch("main")
    base = commit(repo, list(BASE.items()))
    session = begin(repo, [("g/n/zarr.json", group())])
    repo.reset_branch("main", first)
    assert kinds(refused_rebase(session)) == [
        (ConflictType.NewNodeInInvalidGroup, "/"),
        (ConflictType.NewNodeInInvalidGroup, "/g"),
    ]
    assert session.snapshot_id == base


def test_a_session_is_not_left_half_way_on_another_history(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """A reset to something unrelated is one step, which is taken or not."""
    repo = create(storage, spec_version)
    first, *_ = [info.id for info in repo.ancestry(branch="main")][::-1]
    session = begin(repo, [("a/c/3", b"us")])
    base = session.snapshot_id
    repo.reset_branch("main", first)
    commit(repo, [("zarr.json", group()), ("other/zarr.json", group())])
    tip = commit(repo, [("a/zarr.json", array(4)), ("a/c/0", b"unrelated")])
    failed = refused_rebase(session)
    assert kinds(failed) == [(ConflictType.ChunksUpdatedInDeletedArray, "/a")]
    assert (failed.snapshot, session.snapshot_id) == (tip, base)


def test_a_solver_is_asked_after_a_reset_too(storage: icechunk.Storage) -> None:
    class KeepTheirs:
        def solve(self, conflict: Conflict) -> VersionSelection:  # noqa: ARG002
            return VersionSelection.UseTheirs

    repo = create(storage)
    older = repo.lookup_branch("main")
    commit(repo, [("n/zarr.json", array(4)), ("a/zarr.json", array(8))])
    session = begin(repo, [("n/c/0", b"us"), ("a/c/7", b"us"), ("bare/c/0", b"us")])
    repo.reset_branch("main", older)
    session.commit("ours", rebase_with=KeepTheirs())
    assert stored(repo) == after([("bare/c/0", b"us")])


def test_after_an_amend_only_what_differs_is_compared(storage: icechunk.Storage) -> None:
    """The session's base is not in the history any more; what both have is no conflict."""
    repo = create(storage)
    commit(repo, [("a/c/0", b"1"), ("a/c/1", b"1"), ("n/zarr.json", array(4)), ("n/c/0", b"1")])
    ours: list[Edit] = [("a/c/0", b"us"), ("n/c/3", b"us"), ("n/zarr.json", array(5))]
    session = begin(repo, ours)
    amending = repo.writable_session("main")
    edit(amending, [("bare/c/0", b"amended"), ("zarr.json", group(amended=True))])
    amending.amend("amended")
    tip_content = stored(repo)
    session.commit("ours", rebase_with=DETECTOR)
    assert stored(repo) == after(ours, tip_content)
    history = [info.message for info in repo.ancestry(branch="main")]
    assert history == ["ours", "amended", "theirs", "Repository initialized"]


def test_an_amend_that_contradicts_is_a_conflict(storage: icechunk.Storage) -> None:
    repo = create(storage)
    base = commit(repo, [("a/c/0", b"1")])
    session = begin(repo, [("a/c/0", b"us"), ("bare/c/0", b"us")])
    amending = repo.writable_session("main")
    edit(amending, [("a/c/0", b"amended"), ("bare/zarr.json", None)])
    tip = amending.amend("amended")
    failed = refused_rebase(session)
    assert kinds(failed) == [
        (ConflictType.ChunksUpdatedInDeletedArray, "/bare"),
        (ConflictType.ChunkDoubleUpdate, "/a"),
    ]
    assert (failed.snapshot, session.snapshot_id) == (tip, base)


# Failures on the way


def test_a_solver_that_raises_leaves_the_session_as_it_was(
    storage: icechunk.Storage, spec_version: int
) -> None:
    class Helpless:
        def solve(self, conflict: Conflict) -> VersionSelection:
            raise LookupError(f"nobody knows {conflict.path}")

    repo = create(storage, spec_version)
    ours: list[Edit] = [("a/c/0", b"us"), ("g/n/zarr.json", group())]
    session = begin(repo, ours)
    base = session.snapshot_id
    commit(repo, [("bare/c/0", b"1")])
    commit(repo, [("a/c/0", b"2")])
    for _ in range(2):
        with pytest.raises(LookupError, match="nobody knows /a"):
            session.rebase(Helpless())
        with pytest.raises(LookupError, match="nobody knows /a"):
            session.commit("ours", rebase_with=Helpless())
        assert session.snapshot_id == base
        assert content(session) == after(ours)
    session.commit("ours", rebase_with=BasicConflictSolver())
    assert stored(repo) == after([("bare/c/0", b"1"), *ours])


def test_a_solver_may_read_the_session_and_cannot_change_it(storage: icechunk.Storage) -> None:
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

    repo = create(storage)
    session = begin(repo, [("a/c/0", b"us")])
    commit(repo, [("a/c/0", b"1")])
    session.rebase(Curious())
    session.commit("ours")
    assert stored(repo) == after([("a/c/0", b"us")])


@pytest.mark.parametrize("lost", ["transactions/*", "snapshots/*", "repo"])
@pytest.mark.parametrize("reset", [False, True], ids=["ahead", "reset"])
def test_a_storage_that_fails_leaves_the_session_as_it_was(lost: str, reset: bool) -> None:
    """At each request of a rebase, one after the other; the rebase can be repeated."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    ours: list[Edit] = [("a/c/0", b"us"), ("g/n/zarr.json", group())]
    theirs: list[Edit] = [("m/zarr.json", group()), ("bare/c/1", b"2"), ("g/a/zarr.json", None)]
    others = create(inner)
    start = base = others.lookup_branch("main")
    if reset:
        base = commit(others, [("bare/c/0", b"undone")])
    for failures in range(20):
        others.reset_branch("main", base)
        # A new repository each time: it has seen nothing of what the rebase asks for.
        repo = Repository.open(faulty_storage(inner, faults))
        session = begin(repo, ours)
        others.reset_branch("main", start)
        for one in theirs:
            commit(others, [one])
        faults.fail("get*", lost, skip=failures)
        try:
            session.rebase(DETECTOR)
        except StorageError:
            assert (session.snapshot_id, session.read_only) == (base, False)
            faults.clear()
            before = after([("bare/c/0", b"undone")]) if reset else BASE
            assert content(session) == after(ours, before)
            session.rebase(DETECTOR)
            through = False
        else:
            through = True
        faults.clear()
        assert content(session) == after([*theirs, *ours])
        if through:
            break
    assert 0 < failures < 19
