# Generated from tests/_async/test_amend.py by tools/make_sync.py; edit that file.
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
from tests.trees import Content, Edit, array, content, edit, group

DETECTOR = ConflictDetector()


def create(storage: icechunk.Storage, spec_version: int = 2) -> Repository:
    """A repository with the content `BASE`."""
    repo = Repository.create(storage, spec_version=spec_version)
    commit(repo, list(BASE.items()), "begin")
    return repo


def begin(repo: Repository, edits: list[Edit]) -> Session:
    session = repo.writable_session("main")
    edit(session, edits)
    return session


def commit(repo: Repository, edits: list[Edit], message: str = "edit") -> str:
    session = begin(repo, edits)
    return session.commit(message)


def amend(repo: Repository, edits: list[Edit], message: str = "amended", **options: Any) -> str:
    session = begin(repo, edits)
    return session.amend(message, **options)


def move(repo: Repository, *moves: tuple[str, str]) -> Session:
    session = repo.rearrange_session("main")
    for source, target in moves:
        session.move(source, target)
    return session


def stored(repo: Repository) -> Content:
    return content(repo.readonly_session("main"))


def messages(repo: Repository) -> list[str]:
    return [info.message for info in repo.ancestry(branch="main")]


def last_diff(repo: Repository) -> Diff:
    """What the newest commit did."""
    tip = repo.lookup_snapshot(repo.lookup_branch("main"))
    return repo.diff(from_snapshot_id=tip.parent_id, to_snapshot_id=tip.id)


def newest_update(repo: Repository) -> UpdateType:
    updates = [update for update in repo.ops_log()]
    return updates[0].kind


def keys(storage: icechunk.Storage) -> list[str]:
    return sorted([info.key for info in storage.list_objects_metadata()])


# Amend


def test_an_amend_replaces_the_newest_commit(storage: icechunk.Storage) -> None:
    repo = create(storage)
    base = repo.lookup_branch("main")
    first = commit(repo, [("a/c/0", b"1"), ("n/zarr.json", group())])
    session = begin(repo, [("a/c/1", b"2"), ("bare/c/0", b"2")])
    second = session.amend("amended", metadata={"by": "us"})
    assert (session.snapshot_id, session.branch, session.read_only) == (second, None, True)
    assert session.mode is SessionMode.readonly
    assert not session.has_uncommitted_changes

    expected = after([("a/c/0", b"1"), ("n/zarr.json", group()), ("a/c/1", b"2"), ("bare/c/0", b"2")])
    reopened = Repository.open(storage)
    for each in (repo, reopened):
        assert stored(each) == expected
        assert messages(each) == ["amended", "begin", "Repository initialized"]
        newest = each.lookup_snapshot(second)
        assert (newest.parent_id, newest.message, newest.metadata) == (base, "amended", {"by": "us"})
    # The log is that of both commits.
    assert last_diff(repo) == Diff(
        new_groups={"/n"}, updated_chunks={"/a": [[0], [1]], "/bare": [[0]]}
    )
    # What was replaced is still there, for whoever knows its id.
    replaced = reopened.lookup_snapshot(first)
    assert (replaced.parent_id, replaced.message) == (base, "edit")
    reader = reopened.readonly_session(snapshot_id=first)
    assert content(reader) == after([("a/c/0", b"1"), ("n/zarr.json", group())])
    update = newest_update(repo)
    assert isinstance(update, UpdateType.CommitAmended)
    assert (update.branch, update.previous_snap_id, update.new_snap_id) == (
        "main",
        first,
        second,
    )


def test_a_commit_can_be_amended_again_and_again(storage: icechunk.Storage) -> None:
    repo = create(storage)
    commit(repo, [("a/c/0", b"0")])
    for number in range(1, 4):
        amend(repo, [(f"a/c/{number}", b"%d" % number)], f"amended {number}")
    assert messages(repo) == ["amended 3", "begin", "Repository initialized"]
    assert last_diff(repo) == Diff(updated_chunks={"/a": [[0], [1], [2], [3]]})
    assert stored(repo) == after([(f"a/c/{number}", b"%d" % number) for number in range(4)])
    commit(repo, [("a/c/0", b"after")], "on top")
    assert messages(repo) == ["on top", "amended 3", "begin", "Repository initialized"]


def test_what_an_amend_takes_back_is_not_in_the_diff(storage: icechunk.Storage) -> None:
    """A node that came with the commit and went with the amend was never there."""
    repo = create(storage)
    commit(repo, [("n/zarr.json", array(2)), ("n/c/0", b"1"), ("a/c/0", b"1")])
    amend(repo, [("n/zarr.json", None), ("bare/zarr.json", None)])
    assert last_diff(repo) == Diff(deleted_arrays={"/bare"}, updated_chunks={"/a": [[0]]})
    assert stored(repo) == after([("a/c/0", b"1"), ("bare/zarr.json", None)])


def test_metadata_of_an_amend_is_its_own(storage: icechunk.Storage) -> None:
    """Neither message nor properties of the replaced commit are kept; the repository's defaults apply."""
    repo = create(storage)
    repo.set_default_commit_metadata({"institution": "ours", "kind": "default"})
    session = begin(repo, [("a/c/0", b"1")])
    session.commit("edit", {"old": True})
    amend(repo, [("a/c/1", b"2")], metadata={"kind": "amended"})
    newest = repo.lookup_snapshot(repo.lookup_branch("main"))
    assert newest.metadata == {"institution": "ours", "kind": "amended"}


def test_an_amend_needs_changes_or_leave(storage: icechunk.Storage) -> None:
    repo = create(storage)
    first = commit(repo, [("a/c/0", b"1")])
    with pytest.raises(SessionStateError) as nothing:
        amend(repo, [])
    assert nothing.value.kind == "no-changes-to-commit"
    assert repo.lookup_branch("main") == first
    amend(repo, [], "a better message", allow_empty=True)
    assert messages(repo) == ["a better message", "begin", "Repository initialized"]
    assert last_diff(repo) == Diff(updated_chunks={"/a": [[0]]})
    assert stored(repo) == after([("a/c/0", b"1")])


def test_an_amend_of_what_is_not_the_newest_any_more_is_a_conflict(
    storage: icechunk.Storage,
) -> None:
    """Nothing is written for it. Rebased, the session amends the commit that it was rebased onto."""
    repo = create(storage)
    session = begin(repo, [("a/c/0", b"us")])
    base = session.snapshot_id
    tip = commit(repo, [("a/c/1", b"them")], "theirs")
    before = keys(storage)
    with pytest.raises(ConflictError) as conflict:
        session.amend("amended")
    assert (conflict.value.kind, conflict.value.expected_parent, conflict.value.actual_parent) == (
        "commit-conflict",
        base,
        tip,
    )
    assert keys(storage) == before
    assert session.status().updated_chunks == {"/a": [[0]]}
    session.rebase(DETECTOR)
    session.amend("amended")
    assert messages(repo) == ["amended", "begin", "Repository initialized"]
    assert stored(repo) == after([("a/c/0", b"us"), ("a/c/1", b"them")])
    assert last_diff(repo) == Diff(updated_chunks={"/a": [[0], [1]]})


def test_what_can_never_be_amended_is_said_first(storage: icechunk.Storage) -> None:
    """Somebody else has committed meanwhile, but to rebase would not help."""
    repo = Repository.create(storage)
    first = begin(repo, [("zarr.json", group(by="us"))])
    commit(repo, list(BASE.items()))
    (move(repo, ("/a", "/b"))).commit("move")
    edit = begin(repo, [("b/c/0", b"us")])
    commit(repo, [("b/c/1", b"them")])
    for session, kind in ((first, "no-amend-for-initial-commit"), (edit, "rearrange-session-only")):
        with pytest.raises(SessionStateError) as refused:
            session.amend("amended")
        assert refused.value.kind == kind


def test_an_amend_that_loses_at_the_last_moment_is_a_conflict() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    others = create(inner)
    repo = Repository.open(faulty_storage(inner, faults))
    session = begin(repo, [("a/c/0", b"us")])

    def commit_theirs() -> None:
        others.writable_session("main").commit("theirs", allow_empty=True)

    faults.call("put_conditional", "repo", commit_theirs)
    with pytest.raises(ConflictError) as conflict:
        session.amend("amended")
    assert conflict.value.kind == "commit-conflict"
    assert messages(others) == ["theirs", "begin", "Repository initialized"]
    session.rebase(DETECTOR)
    session.amend("amended")
    assert messages(others) == ["amended", "begin", "Repository initialized"]


def test_an_amend_whose_answer_was_lost_is_done_once() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    others = create(inner)
    repo = Repository.open(faulty_storage(inner, faults))
    session = begin(repo, [("a/c/0", b"us")])
    lost = icechunk._core.preconditions.PreconditionFailed("repo")
    faults.fail("put_conditional", "repo", error=lost, moment="after")
    tip = session.amend("amended")
    assert messages(others) == ["amended", "Repository initialized"]
    assert others.lookup_branch("main") == tip
    assert stored(others) == after([("a/c/0", b"us")])


REFUSALS = [
    "the first snapshot",
    "spec version 1",
    "moves by a session that edits",
    "read-only",
    "without a branch",
]


@pytest.mark.parametrize("allow_empty", [False, True])
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_amend_writes_nothing(
    storage: icechunk.Storage, case: str, allow_empty: bool
) -> None:
    """Not even files that nobody points to. It raises, whatever is amended, and never does anything else."""
    repo = Repository.create(storage, spec_version=1 if case == "spec version 1" else 2)
    error: type[icechunk.IcechunkError] = SessionStateError
    if case != "the first snapshot":
        commit(repo, list(BASE.items()))
    kind = "commit-not-allowed"
    match case:
        case "the first snapshot":
            kind = "no-amend-for-initial-commit"
        case "spec version 1":
            error, kind = FormatError, "unsupported-spec-version"
        case "moves by a session that edits":
            (move(repo, ("/a", "/b"))).commit("move")
            kind = "rearrange-session-only"
    session = begin(repo, [("zarr.json", group(by="us")), ("a/zarr.json", array(9, by="us"))])
    unchanged = content(session)
    match case:
        case "read-only":
            session = repo.readonly_session("main")
        case "without a branch":
            session.commit("edit")
    before = keys(storage)
    with pytest.raises(error) as refused:
        session.amend("amended", allow_empty=allow_empty)
    assert refused.value.kind == kind
    assert keys(storage) == before
    if not session.read_only:
        assert content(session) == unchanged
        session.commit("a commit of its own")
        assert stored(repo) == unchanged


# Amends of moves


def test_moves_of_an_amend_go_on_from_those_before(storage: icechunk.Storage) -> None:
    """From a to b and then from b to c is from a to c, as if one commit had done it."""
    repo = create(storage)
    (move(repo, ("/a", "/b"), ("/g", "/n"))).commit("move")
    (move(repo, ("/b", "/c"), ("/n/h", "/h"))).amend("move on")
    assert messages(repo) == ["move on", "begin", "Repository initialized"]
    amended = last_diff(repo), stored(repo)
    assert amended[0] == Diff(
        moved_nodes=[("/a", "/c"), ("/g/h", "/h"), ("/g/h/a", "/h/a"), ("/g", "/n"), ("/g/a", "/n/a")]
    )

    other = create(icechunk.in_memory_storage())
    session = move(other, ("/a", "/b"), ("/g", "/n"), ("/b", "/c"), ("/n/h", "/h"))
    session.commit("at once")
    assert (last_diff(other), stored(other)) == amended


def test_moves_that_an_amend_takes_back_are_not_in_the_log(storage: icechunk.Storage) -> None:
    repo = create(storage)
    (move(repo, ("/a", "/b"), ("/bare", "/c"))).commit("move")
    (move(repo, ("/b", "/a"))).amend("move back")
    assert last_diff(repo) == Diff(moved_nodes=[("/bare", "/c")])
    # Moves of which nothing is left are none, and others can rebase over them.
    session = begin(repo, [("a/c/0", b"us")])
    (move(repo, ("/c", "/bare"))).amend("move back")
    assert (last_diff(repo)).is_empty()
    assert stored(repo) == BASE
    with pytest.raises(icechunk.RebaseFailedError):  # its base has the move
        session.rebase(DETECTOR)
    session = begin(repo, [("a/c/0", b"us")])
    session.commit("ours")
    assert stored(repo) == after([("a/c/0", b"us")])


def test_moves_can_amend_a_commit_that_edits(storage: icechunk.Storage) -> None:
    repo = create(storage)
    commit(repo, [("n/zarr.json", group()), ("a/c/3", b"new"), ("bare/zarr.json", array(9))])
    (move(repo, ("/a", "/n/a"), ("/bare", "/b"), ("/n", "/m"))).amend("move")
    assert messages(repo) == ["move", "begin", "Repository initialized"]
    assert last_diff(repo) == Diff(
        new_groups={"/m"},
        updated_arrays={"/b"},
        updated_chunks={"/m/a": [[3]]},
        moved_nodes=[("/bare", "/b"), ("/n", "/m"), ("/a", "/m/a")],
    )
    assert (stored(repo))["m/a/c/3"] == b"new"
    with pytest.raises(SessionStateError) as refused:
        amend(repo, [("m/a/c/3", b"newer")])
    assert refused.value.kind == "rearrange-session-only"
    assert "make a new commit instead" in str(refused.value)


# Snapshots on no branch


def test_a_flush_makes_a_snapshot_on_no_branch(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = create(storage, spec_version)
    repo.set_default_commit_metadata({"institution": "ours"})
    base = repo.lookup_branch("main")
    ours: list[Edit] = [("a/c/0", b"us"), ("n/zarr.json", group()), ("g/zarr.json", None)]
    session = begin(repo, ours)
    detached = session.flush("to look at", metadata={"by": "us"})
    assert (session.snapshot_id, session.branch, session.read_only) == (detached, None, True)
    assert not session.has_uncommitted_changes
    with pytest.raises(ReadOnlyError):
        edit(session, [("a/c/0", b"late")])
    with pytest.raises(SessionStateError) as no_branch:
        session.commit("again")
    assert no_branch.value.kind == "commit-not-allowed"

    reopened = Repository.open(storage)
    for each in (repo, reopened):
        assert each.lookup_branch("main") == base
        assert each.list_branches() == {"main"}
        reader = each.readonly_session(snapshot_id=detached)
        assert content(reader) == content(session) == after(ours)
        history = [info for info in each.ancestry(snapshot_id=detached)]
        assert [info.message for info in history] == ["to look at", "begin", "Repository initialized"]
        assert (history[0].parent_id, history[0].metadata) == (base, {"institution": "ours", "by": "us"})
        assert (each.lookup_snapshot(detached)).message == "to look at"
        diff = each.diff(from_snapshot_id=base, to_snapshot_id=detached)
        assert (diff.new_groups, diff.updated_chunks) == ({"/n"}, {"/a": [[0]]})
    assert stored(repo) == BASE


def test_a_snapshot_on_no_branch_can_be_given_one(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = create(storage, spec_version)
    session = begin(repo, [("a/c/0", b"us")])
    detached = session.flush("to look at")
    repo.create_branch("look", detached)
    repo.create_tag("looked at", detached)
    writing = repo.writable_session("look")
    edit(writing, [("a/c/1", b"more")])
    writing.commit("more")
    history = [info.message for info in repo.ancestry(branch="look")]
    assert history == ["more", "to look at", "begin", "Repository initialized"]
    reader = repo.readonly_session("look")
    assert content(reader) == after([("a/c/0", b"us"), ("a/c/1", b"more")])


def test_a_flush_is_not_in_the_way_of_commits(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Neither before nor after: no branch moves, also if the branch has moved since."""
    repo = create(storage, spec_version)
    behind = begin(repo, [("a/c/0", b"us")])
    waiting = begin(repo, [("a/c/1", b"waiting")])
    tip = commit(repo, [("bare/c/0", b"them")])
    detached = behind.flush("behind")
    assert repo.lookup_branch("main") == tip
    reader = repo.readonly_session(snapshot_id=detached)
    assert content(reader) == after([("a/c/0", b"us")])
    waiting.commit("waiting", rebase_with=DETECTOR)
    assert stored(repo) == after([("a/c/1", b"waiting"), ("bare/c/0", b"them")])


def test_a_flush_may_contain_nothing(storage: icechunk.Storage, spec_version: int) -> None:
    repo = create(storage, spec_version)
    session = begin(repo, [])
    detached = session.flush("a mark")
    reader = repo.readonly_session(snapshot_id=detached)
    assert content(reader) == BASE


def test_moves_can_be_flushed(storage: icechunk.Storage) -> None:
    repo = create(storage)
    base = repo.lookup_branch("main")
    detached = (move(repo, ("/a", "/b"))).flush("to look at")
    diff = repo.diff(from_snapshot_id=base, to_snapshot_id=detached)
    assert diff == Diff(moved_nodes=[("/a", "/b")])
    assert stored(repo) == BASE
    update = newest_update(repo)
    assert isinstance(update, UpdateType.NewDetachedSnapshot)
    assert update.new_snap_id == detached


def test_what_only_reads_is_not_flushed(storage: icechunk.Storage, spec_version: int) -> None:
    repo = create(storage, spec_version)
    committed = begin(repo, [("a/c/0", b"us")])
    committed.commit("edit")
    before = keys(storage)
    for session in (committed, repo.readonly_session("main")):
        with pytest.raises(ReadOnlyError) as refused:
            session.flush("nothing")
        assert refused.value.kind == "read-only-session"
    assert keys(storage) == before


def test_a_flush_that_fails_leaves_a_session_that_goes_on(spec_version: int) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    create(inner, spec_version)
    repo = Repository.open(faulty_storage(inner, faults))
    session = begin(repo, [("a/c/0", b"us")])
    for key in ("manifests/*", "snapshots/*", "transactions/*", "repo"):
        if key == "repo" and spec_version == 1:
            continue
        faults.fail("put*", key)
        with pytest.raises(icechunk.StorageError, match="injected"):
            session.flush("fails")
        assert (session.read_only, session.has_uncommitted_changes) == (False, True)
    session.commit("lands")
    assert stored(repo) == after([("a/c/0", b"us")])
