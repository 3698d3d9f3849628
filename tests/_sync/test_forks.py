# Generated from tests/_async/test_forks.py by tools/make_sync.py; edit that file.
"""Forks: what they see and may do, and what becomes of their changes when they are merged."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import icechunk
from icechunk import (
    DuplicateChunkWarning,
    ForkSession,
    IcechunkError,
    ReadOnlyError,
    Repository,
    Session,
    SessionStateError,
    StorageError,
)
from icechunk.testing.faults import Faults, faulty_storage
from tests.meetings import BASE, after
from tests.trees import Content, Edit, array, content, edit, group


def create(storage: icechunk.Storage, spec_version: int = 2) -> Repository:
    """A repository with the content `BASE`."""
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    edit(session, BASE.items())
    session.commit("base")
    return repo


def begin(repo: Repository, edits: list[Edit] | None = None) -> Session:
    """A session with changes that are not committed."""
    session = repo.writable_session("main")
    edit(session, edits or [])
    return session


def forked(session: Session, edits: list[Edit] | None = None) -> ForkSession:
    """A fork with changes."""
    fork = session.fork()
    edit(fork, edits or [])
    return fork


def stored(repo: Repository) -> Content:
    return content(repo.readonly_session("main"))


def objects(storage: icechunk.Storage) -> set[str]:
    return {key for key, _ in storage.list_objects()}


# Forking


def test_a_fork_of_a_clean_session_costs_nothing(spec_version: int) -> None:
    faults = Faults()
    repo = create(faulty_storage(icechunk.in_memory_storage(), faults), spec_version)
    session = begin(repo)
    calls = len(faults.calls)
    forks = [session.fork() for _ in range(8)]
    assert len(faults.calls) == calls
    assert {fork.snapshot_id for fork in forks} == {session.snapshot_id}
    assert {(fork.branch, fork.read_only, fork.mode.name) for fork in forks} == {(None, False, "writable")}
    assert {type(fork) for fork in forks} == {ForkSession}
    assert [fork.store.session for fork in forks] == forks
    assert not any(fork.has_uncommitted_changes for fork in forks)


def test_forks_of_a_changed_session_share_one_snapshot_that_nobody_is_told_of(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = create(storage, spec_version)
    session = begin(repo, [("a/c/2", b"mine"), ("new/zarr.json", group())])
    before = objects(storage)
    pointers = {key: size for key, size in storage.list_objects() if key.startswith(("repo", "refs"))}
    forks = [session.fork() for _ in range(16)]
    written = objects(storage) - before
    assert sorted(key.split("/")[0] for key in written) == ["manifests", "snapshots", "transactions"]
    assert pointers == {key: size for key, size in storage.list_objects() if key.startswith(("repo", "refs"))}
    (shown,) = {fork.snapshot_id for fork in forks}
    assert shown != session.snapshot_id
    assert len([entry for entry in repo.ancestry(branch="main")]) == 2
    for fork in forks:
        assert content(fork) == content(session)
        assert fork.status().is_empty()
    edit(session, [("a/c/3", b"more")])
    assert (session.fork()).snapshot_id not in {shown, session.snapshot_id}


def test_a_commit_uses_the_manifests_that_its_forks_were_based_on(spec_version: int) -> None:
    storage = icechunk.in_memory_storage()
    repo = create(storage, spec_version)
    session = begin(repo, [("a/c/2", b"mine"), ("g/a/c/1", b"mine too")])
    fork = session.fork()
    edit(fork, [("g/a/c/2", b"theirs")])
    session.merge(fork)
    before = {key for key in objects(storage) if key.startswith("manifests/")}
    session.commit("all")
    after_commit = {key for key in objects(storage) if key.startswith("manifests/")}
    assert len(after_commit - before) == 1  # that of g/a, which the fork changed
    assert stored(repo) == after(
        [("a/c/2", b"mine"), ("g/a/c/1", b"mine too"), ("g/a/c/2", b"theirs")]
    )


def test_a_fork_that_cannot_be_written_leaves_the_session_as_it_was() -> None:
    faults = Faults()
    repo = create(faulty_storage(icechunk.in_memory_storage(), faults))
    session = begin(repo, [("a/c/2", b"mine")])
    faults.fail("put", "snapshots/*", times=1)
    with pytest.raises(StorageError):
        session.fork()
    fork = forked(session, [("a/c/3", b"theirs")])
    session.merge(fork)
    session.commit("both")
    assert stored(repo) == after([("a/c/2", b"mine"), ("a/c/3", b"theirs")])


def test_what_forks_may_not_do(spec_version: int) -> None:
    repo = create(icechunk.in_memory_storage(), spec_version)
    session = begin(repo)
    fork = forked(session, [("a/c/2", b"theirs")])
    reader = repo.readonly_session("main")
    with pytest.raises(SessionStateError) as refused:
        reader.fork()
    assert refused.value.kind == "cannot-fork-read-only-session"
    with pytest.raises(SessionStateError, match="merge it into the session") as refused:
        fork.commit("no")
    assert refused.value.kind == "commit-not-allowed"
    with pytest.raises(SessionStateError) as refused:
        fork.rebase(icechunk.ConflictDetector())
    assert refused.value.kind == "commit-not-allowed"
    with pytest.raises(IcechunkError, match="cannot be flushed") as unflushed:
        fork.flush("no")
    assert unflushed.value.kind == "unknown"
    with pytest.raises(SessionStateError) as refused:
        fork.merge(session)  # type: ignore[arg-type]
    assert refused.value.kind == "merge-not-allowed"
    session.merge(fork)
    assert session.status().updated_chunks == {"/a": [[2]]}


def test_a_fork_cannot_amend() -> None:
    repo = create(icechunk.in_memory_storage())
    fork = forked(begin(repo), [("a/c/2", b"theirs")])
    with pytest.raises(SessionStateError) as refused:
        fork.amend("no")
    assert refused.value.kind == "commit-not-allowed"


def test_forks_of_forks_are_merged_upwards(spec_version: int) -> None:
    repo = create(icechunk.in_memory_storage(), spec_version)
    session = begin(repo, [("a/c/2", b"mine")])
    child = forked(session, [("a/c/3", b"child"), ("new/zarr.json", array(2))])
    grandchild = forked(child, [("a/c/0", b"grandchild"), ("new/c/1", b"n")])
    with pytest.raises(SessionStateError, match="has not handed out") as refused:
        session.merge(grandchild)
    assert refused.value.kind == "merge-failed"
    child.merge(grandchild)
    session.merge(child)
    session.commit("all")
    expected: list[Edit] = [("a/c/2", b"mine"), ("a/c/3", b"child"), ("a/c/0", b"grandchild")]
    assert stored(repo) == after([*expected, ("new/zarr.json", array(2)), ("new/c/1", b"n")])


def test_a_copy_of_a_fork_is_another_fork_of_the_same_session() -> None:
    """It adds to what the original did. To take something back needs a fork of the fork."""
    repo = create(icechunk.in_memory_storage())
    session = begin(repo)
    original = forked(session, [("x/zarr.json", group()), ("y/zarr.json", group())])
    copy = pickle.loads(pickle.dumps(original))
    edit(copy, [("x/zarr.json", None), ("a/c/3", b"copied")])
    fork = forked(original, [("y/zarr.json", None), ("a/c/0", b"forked")])
    original.merge(copy, fork)
    session.merge(original)
    expected: list[Edit] = [("x/zarr.json", group()), ("a/c/3", b"copied"), ("a/c/0", b"forked")]
    assert content(session) == after(expected)


def test_a_fork_of_an_unchanged_fork_may_be_merged_into_its_grandparent() -> None:
    repo = create(icechunk.in_memory_storage())
    session = begin(repo)
    grandchild = forked(session.fork(), [("a/c/2", b"x")])
    session.merge(grandchild)
    assert session.status().updated_chunks == {"/a": [[2]]}


def test_a_fork_of_a_session_that_moves_nodes() -> None:
    repo = create(icechunk.in_memory_storage())
    session = repo.rearrange_session("main")
    session.move("/a", "/b")
    fork = session.fork()
    assert "b/zarr.json" in content(fork)
    with pytest.raises(SessionStateError) as refused:
        session.merge(fork)
    assert refused.value.kind == "rearrange-session-only"
    with pytest.raises(SessionStateError) as refused:
        (begin(repo)).merge(session)  # type: ignore[arg-type]
    assert refused.value.kind == "rearrange-session-only"


# Merging


def test_only_the_changes_of_forks_come_home(spec_version: int) -> None:
    """Those of the parent at the time of the fork are neither repeated nor undone."""
    repo = create(icechunk.in_memory_storage(), spec_version)
    session = begin(repo, [("a/c/0", b"first"), ("new/zarr.json", array(4)), ("new/c/0", b"n0")])
    fork = forked(session, [("a/c/2", b"fork"), ("new/c/1", b"n1")])
    assert fork.status().updated_chunks == {"/a": [[2]], "/new": [[1]]}
    edit(session, [("a/c/0", b"second"), ("new/c/0", None)])
    session.merge(fork)
    session.commit("all")
    edits: list[Edit] = [("a/c/0", b"second"), ("a/c/2", b"fork")]
    assert stored(repo) == after([*edits, ("new/zarr.json", array(4)), ("new/c/1", b"n1")])


def test_a_fork_goes_on_with_what_its_parent_created(spec_version: int) -> None:
    """A node that is new in the parent is an old one to the fork, which may change and delete it."""
    repo = create(icechunk.in_memory_storage(), spec_version)
    new: list[Edit] = [("new/zarr.json", array(4)), ("new/c/0", b"n0"), ("lost/zarr.json", group())]
    session = begin(repo, [*new, ("g/zarr.json", group(by="parent"))])
    fork = forked(session, [("new/zarr.json", array(2)), ("new/c/1", b"n1"), ("new/c/0", None)])
    edit(fork, [("lost/zarr.json", None), ("g/zarr.json", group())])
    session.merge(fork)
    status = session.status()
    assert (status.new_arrays, status.new_groups, status.deleted_groups) == ({"/new"}, set(), set())
    assert status.updated_groups == set()  # the fork has put back what its parent had changed
    assert status.updated_chunks == {"/new": [[1]]}
    session.commit("all")
    assert stored(repo) == after([("new/zarr.json", array(2)), ("new/c/1", b"n1")])


def test_an_array_deleted_by_a_fork_is_deleted(spec_version: int) -> None:
    repo = create(icechunk.in_memory_storage(), spec_version)
    session = begin(repo, [("a/c/2", b"mine"), ("a/zarr.json", array(4, by="parent"))])
    fork = forked(session, [("a/zarr.json", None)])
    again = forked(session, [("a/zarr.json", None)])
    session.merge(fork, again)
    assert session.status().deleted_arrays == {"/a"}
    session.commit("gone")
    assert stored(repo) == after([("a/zarr.json", None)])


def test_equal_new_nodes_become_one(spec_version: int) -> None:
    """Each worker may create what it needs, as long as all create the same."""
    repo = create(icechunk.in_memory_storage(), spec_version)
    session = begin(repo)
    nodes: list[Edit] = [("w/zarr.json", group(x=1)), ("w/v/zarr.json", array(8))]
    forks = [forked(session, [*nodes, (f"w/v/c/{n}", b"%d" % n)]) for n in range(8)]
    session.merge(*forks[:5])
    session.merge(*forks[5:])
    assert session.get_node_id("/w/v") == forks[0].get_node_id("/w/v")
    session.commit("one")
    assert stored(repo) == after([*nodes, *((f"w/v/c/{n}", b"%d" % n) for n in range(8))])


def test_documents_are_equal_whatever_the_order_of_their_members() -> None:
    repo = create(icechunk.in_memory_storage())
    session = begin(repo)
    some, other = b'{"zarr_format":3,"node_type":"group"}', b'{"node_type": "group", "zarr_format": 3}'
    forks = [forked(session, [("w/zarr.json", document)]) for document in (some, other)]
    session.merge(*forks)
    assert (content(session))["w/zarr.json"] == some


def test_an_array_replaced_alike_is_one(spec_version: int) -> None:
    repo = create(icechunk.in_memory_storage(), spec_version)
    session = begin(repo)
    replaced: list[Edit] = [("a/zarr.json", None), ("a/zarr.json", array(2))]
    forks = [forked(session, [*replaced, (f"a/c/{n}", b"%d" % n)]) for n in range(2)]
    session.merge(*forks)
    session.commit("replaced")
    assert stored(repo) == after([*replaced, ("a/c/0", b"0"), ("a/c/1", b"1")])


CONTRADICTIONS: dict[str, tuple[list[Edit], list[Edit], str, str]] = {
    "two groups": (
        [("n/zarr.json", group(x=1))],
        [("n/zarr.json", group(x=2))],
        "/n",
        "different attributes",
    ),
    "two arrays": ([("n/zarr.json", array(1))], [("n/zarr.json", array(2))], "/n", "different"),
    "group and array": ([("n/zarr.json", group())], [("n/zarr.json", array(2))], "/n", "as a group"),
    "two updates": ([("a/zarr.json", array(9))], [("a/zarr.json", array(8))], "/a", "in different ways"),
    "deleted, updated": ([("a/zarr.json", None)], [("a/zarr.json", array(8))], "/a", "updated"),
    "deleted, written": ([("a/zarr.json", None)], [("a/c/3", b"x")], "/a", "chunks were written"),
    "deleted, chunk deleted": ([("a/zarr.json", None)], [("a/c/0", None)], "/a", "chunks were written"),
    "deleted, replaced": (
        [("a/zarr.json", None)],
        [("a/zarr.json", None), ("a/zarr.json", array(3))],
        "/a",
        "created again",
    ),
    "replaced, written": (
        [("a/zarr.json", None), ("a/zarr.json", array(4))],
        [("a/c/3", b"x")],
        "/a",
        "chunks were written",
    ),
    "replaced in two ways": (
        [("a/zarr.json", None), ("a/zarr.json", array(3))],
        [("a/zarr.json", None), ("a/zarr.json", array(2))],
        "/a",
        "different",
    ),
    "deleted, grown": ([("g/zarr.json", None)], [("g/new/zarr.json", group())], "/g", "created in it"),
    "deleted from above, grown": (
        [("g/zarr.json", None)],
        [("g/h/x/y/zarr.json", array(2))],
        "/g",
        "created in it",
    ),
    "dimensions": ([("bare/zarr.json", array(2, 2))], [("bare/c/1", b"x")], "/bare", "dimensions"),
}


@pytest.mark.parametrize("where", ["two forks", "two merges", "parent"])
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused_and_changes_nothing(
    name: str, turned: bool, where: str
) -> None:
    some, other, path, what = CONTRADICTIONS[name]
    if turned:
        some, other = other, some
    repo = create(icechunk.in_memory_storage())
    session = begin(repo)
    innocent = forked(session, [("i/zarr.json", array(1)), ("i/c/0", b"innocent")])
    forks = [forked(session, some), forked(session, other)]
    if where == "two merges":
        session.merge(forks.pop(0))
    elif where == "parent":
        edit(session, some)
        del forks[0]
    before, status = content(session), session.status()
    with pytest.raises(SessionStateError) as refused:
        session.merge(innocent, *forks)
    assert refused.value.kind == "merge-failed"
    assert f"`{path}" in str(refused.value)
    assert what in str(refused.value) or turned
    assert content(session) == before
    assert session.status() == status
    session.merge(innocent)
    assert "i/zarr.json" in content(session)


UPDATED: Edit = ("a/zarr.json", array(4, x=1))

UNIONS: dict[str, tuple[list[Edit], list[Edit], list[Edit]]] = {
    "written, resized": (
        [("a/c/0", b"x")],
        [("a/zarr.json", array(9))],
        [("a/c/0", b"x"), ("a/zarr.json", array(9))],
    ),
    "written where there is nothing any more": (
        [("a/c/3", b"x")],
        [("a/zarr.json", array(1))],
        [("a/zarr.json", array(1)), ("a/c/1", None)],
    ),
    "updated alike": ([UPDATED], [UPDATED], [UPDATED]),
    "deleted twice": ([("g/zarr.json", None)], [("g/a/zarr.json", None)], [("g/zarr.json", None)]),
    "deleted beside": (
        [("g/h/zarr.json", None)],
        [("g/b/zarr.json", array(1))],
        [("g/h/zarr.json", None), ("g/b/zarr.json", array(1))],
    ),
    "same chunk deleted": ([("a/c/0", None)], [("a/c/0", None)], [("a/c/0", None)]),
    "same bytes": ([("a/c/0", b"x")], [("a/c/0", b"x")], [("a/c/0", b"x")]),
}


@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
@pytest.mark.parametrize("name", UNIONS)
def test_what_does_not_contradict_is_joined(name: str, turned: bool, spec_version: int) -> None:
    some, other, expected = UNIONS[name]
    repo = create(icechunk.in_memory_storage(), spec_version)
    session = begin(repo)
    forks = [forked(session, some), forked(session, other)]
    session.merge(*(reversed(forks) if turned else forks))
    session.commit("both")
    assert stored(repo) == after(expected)


# Chunks that were written twice

TWICE: list[Edit] = [("a/c/0", b"second"), ("a/c/1", None), ("a/c/3", b"alone")]


def twice(session: Session, where: str) -> list[ForkSession]:
    """Forks that write chunks again which others wrote, or the session itself."""
    first: list[Edit] = [("a/c/0", b"first"), ("a/c/1", b"first"), ("a/c/2", b"first")]
    forks = [forked(session, first), forked(session, TWICE)]
    if where == "two merges":
        session.merge(forks.pop(0))
    elif where == "parent":
        edit(session, first)
        del forks[0]
    return forks


@pytest.mark.parametrize("dirty", [False, True], ids=["clean", "dirty"])
@pytest.mark.parametrize("where", ["two forks", "two merges", "parent"])
def test_a_chunk_that_two_wrote_is_reported(where: str, dirty: bool) -> None:
    repo = create(icechunk.in_memory_storage())
    session = begin(repo, [("a/c/2", b"before"), ("a/c/0", b"before")] if dirty else [])
    forks = twice(session, where)
    before = content(session)
    with pytest.raises(SessionStateError, match=r"2 of `/a` \(\[0\], \[1\]\)") as refused:
        session.merge(*forks, duplicate_chunks="raise")
    assert refused.value.kind == "merge-failed"
    with pytest.raises(ValueError, match="duplicate_chunks must be"):
        session.merge(*forks, duplicate_chunks="ignore")  # type: ignore[arg-type]
    assert content(session) == before
    with pytest.warns(DuplicateChunkWarning, match=r"2 of `/a` \(\[0\], \[1\]\)") as warned:
        session.merge(*forks)
    assert len(warned) == 1
    session.merge(forks[-1])  # the same once more is no conflict
    assert content(session) == after([("a/c/2", b"first"), *TWICE])


@pytest.mark.parametrize("where", ["two forks", "two merges", "parent"])
def test_writing_twice_may_be_meant(where: str) -> None:
    repo = create(icechunk.in_memory_storage())
    session = begin(repo)
    session.merge(*twice(session, where), duplicate_chunks="allow")
    assert content(session) == after([("a/c/2", b"first"), *TWICE])


def test_what_two_recorded_alike_is_no_conflict() -> None:
    """Inline bytes and virtual references. Whether chunks in storage have equal bytes is not looked up."""
    repo = create(icechunk.in_memory_storage())
    session = begin(repo)
    small, large = ("a/c/0", b"x" * 512), ("a/c/1", b"x" * 513)
    forks = [forked(session, [small, ("a/c/3", None)]) for _ in range(2)]
    for fork in forks:
        fork.store.set_virtual_ref(
            "a/c/2", "s3://bucket/file", offset=0, length=1, validate_container=False
        )
    session.merge(*forks, duplicate_chunks="raise")
    with pytest.raises(SessionStateError, match=r"1 of `/a` \(\[1\]\)"):
        session.merge(
            *[forked(session, [large]) for _ in range(2)], duplicate_chunks="raise"
        )


def test_a_warning_that_is_an_error_changes_nothing() -> None:
    repo = create(icechunk.in_memory_storage())
    session = begin(repo)
    forks = twice(session, "two forks")
    with pytest.raises(DuplicateChunkWarning):  # as warnings are errors here
        session.merge(*forks)
    assert content(session) == BASE


def test_writing_over_what_the_parent_had_written_before_the_fork_is_no_conflict() -> None:
    repo = create(icechunk.in_memory_storage())
    session = begin(repo, [("a/c/0", b"parent"), ("a/c/2", b"parent"), ("bare/c/0", b"parent")])
    some = forked(session, [("a/c/0", b"fork"), ("bare/c/0", None)])
    edit(session, [("a/c/3", b"later")])
    other = forked(session, [("a/c/3", b"fork"), ("a/c/2", b"fork")])
    session.merge(some, other)
    edits: list[Edit] = [("a/c/0", b"fork"), ("a/c/2", b"fork"), ("a/c/3", b"fork")]
    assert content(session) == after(edits)


# What does not belong together


def refusal(session: Session, fork: Any) -> IcechunkError:
    before = session.status()
    with pytest.raises(IcechunkError) as refused:
        session.merge(fork)
    assert session.status() == before
    return refused.value


def test_a_fork_of_another_repository_is_refused() -> None:
    """Also where both began alike."""
    repos = [Repository.create(icechunk.in_memory_storage()) for _ in range(2)]
    sessions = [repo.writable_session("main") for repo in repos]
    fork = forked(sessions[0], [("zarr.json", group())])
    refused = refusal(sessions[1], fork)
    assert (refused.kind, "another repository" in str(refused)) == ("merge-failed", True)


def test_a_fork_of_another_snapshot_is_refused() -> None:
    repo = create(icechunk.in_memory_storage())
    old = begin(repo)
    fork = forked(old, [("a/c/2", b"x")])
    other = begin(repo, [("a/c/3", b"y")])
    other.commit("moves on")
    assert (refusal(begin(repo), fork)).kind == "merge-failed"
    old.rebase(icechunk.ConflictDetector())
    assert (refusal(old, fork)).kind == "merge-failed"
    committed = begin(repo, [("a/c/3", b"z")])
    late = forked(committed, [("a/c/2", b"x")])
    committed.commit("before the fork is back")
    refused = refusal(committed, late)
    assert isinstance(refused, ReadOnlyError)
    assert refused.kind == "read-only-session"


def test_a_fork_of_changes_that_were_discarded_is_refused() -> None:
    repo = create(icechunk.in_memory_storage())
    session = begin(repo, [("a/c/3", b"y")])
    fork = forked(session, [("a/c/2", b"x")])
    session.discard_changes()
    assert (refusal(session, fork)).kind == "merge-failed"


def test_a_session_of_the_same_snapshot_takes_the_fork_of_another_one() -> None:
    """So the one that forked may be gone by the time that its forks are back."""
    repo = create(icechunk.in_memory_storage())
    fork = forked(begin(repo), [("a/c/2", b"x")])
    session = begin(repo)
    session.merge(fork)
    session.commit("taken over")
    assert stored(repo) == after([("a/c/2", b"x")])


def test_merging_nothing_and_merging_oneself_does_nothing() -> None:
    repo = create(icechunk.in_memory_storage())
    session = begin(repo, [("a/c/2", b"x")])
    session.merge()
    session.merge(session, session)  # type: ignore[arg-type]
    fork = forked(session)
    fork.merge(fork)
    assert content(session) == after([("a/c/2", b"x")])
    for wrong in (3, "main", repo, session.store):
        with pytest.raises(TypeError, match=r"session\.merge\(\*forks\)"):
            session.merge(wrong)  # type: ignore[arg-type]


def test_no_fork_is_made_or_merged_while_a_commit_is_under_way() -> None:
    faults = Faults()
    repo = create(faulty_storage(icechunk.in_memory_storage(), faults))
    session = begin(repo, [("a/c/2", b"x")])
    fork = forked(session, [("a/c/3", b"y")])
    seen: list[str] = []

    def meddle() -> None:
        for verb in (session.fork, lambda: Session.merge(session, fork)):
            try:
                verb()
            except ReadOnlyError as error:
                seen.append(error.kind)

    faults.call("put", "snapshots/*", meddle, times=1)
    session.commit("undisturbed")
    assert seen == ["read-only-session"] * 2
    assert stored(repo) == after([("a/c/2", b"x")])


def test_a_session_that_is_forked_again_and_again() -> None:
    """What old forks saw of the chunks is forgotten at some point, but never what they belong to."""
    repo = create(icechunk.in_memory_storage())
    session = begin(repo, [("a/c/0", b"first")])
    oldest = forked(session, [("a/c/0", b"of the oldest"), ("g/a/c/1", b"x")])
    forks = []
    for number in range(20):
        edit(session, [("a/c/1", b"%d" % number)])
        forks.append(forked(session, [(f"new-{number}/zarr.json", group())]))
    session.merge(*forks)
    with pytest.warns(DuplicateChunkWarning, match=r"1 of `/a` \(\[0\]\)"):
        session.merge(oldest)
    status = session.status()
    assert len(status.new_groups) == 20
    assert status.updated_chunks == {"/a": [[0], [1]], "/g/a": [[1]]}
    assert (content(session))["a/c/0"] == b"of the oldest"
