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
from tests.trees import Content, Edit, array, content_async, edit_async, group


async def create_async(storage: icechunk.Storage, spec_version: int = 2) -> Repository:
    """A repository with the content `BASE`."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await edit_async(session, BASE.items())
    await session.commit_async("base")
    return repo


async def begin_async(repo: Repository, edits: list[Edit] | None = None) -> Session:
    """A session with changes that are not committed."""
    session = await repo.writable_session_async("main")
    await edit_async(session, edits or [])
    return session


async def forked_async(session: Session, edits: list[Edit] | None = None) -> ForkSession:
    """A fork with changes."""
    fork = await session.fork_async()
    await edit_async(fork, edits or [])
    return fork


async def stored_async(repo: Repository) -> Content:
    return await content_async(await repo.readonly_session_async("main"))


def objects(storage: icechunk.Storage) -> set[str]:
    return {key for key, _ in storage.list_objects()}


# Forking


async def test_a_fork_of_a_clean_session_costs_nothing_async(spec_version: int) -> None:
    faults = Faults()
    repo = await create_async(faulty_storage(icechunk.in_memory_storage(), faults), spec_version)
    session = await begin_async(repo)
    calls = len(faults.calls)
    forks = [await session.fork_async() for _ in range(8)]
    assert len(faults.calls) == calls
    assert {fork.snapshot_id for fork in forks} == {session.snapshot_id}
    assert {(fork.branch, fork.read_only, fork.mode.name) for fork in forks} == {(None, False, "writable")}
    assert {type(fork) for fork in forks} == {ForkSession}
    assert [fork.store.session for fork in forks] == forks
    assert not any(fork.has_uncommitted_changes for fork in forks)


async def test_forks_of_a_changed_session_share_one_snapshot_that_nobody_is_told_of_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await create_async(storage, spec_version)
    session = await begin_async(repo, [("a/c/2", b"mine"), ("new/zarr.json", group())])
    before = objects(storage)
    pointers = {key: size for key, size in storage.list_objects() if key.startswith(("repo", "refs"))}
    forks = [await session.fork_async() for _ in range(16)]
    written = objects(storage) - before
    assert sorted(key.split("/")[0] for key in written) == ["manifests", "snapshots", "transactions"]
    assert pointers == {key: size for key, size in storage.list_objects() if key.startswith(("repo", "refs"))}
    (shown,) = {fork.snapshot_id for fork in forks}
    assert shown != session.snapshot_id
    assert len([entry async for entry in repo.async_ancestry(branch="main")]) == 2
    for fork in forks:
        assert await content_async(fork) == await content_async(session)
        assert fork.status().is_empty()
    await edit_async(session, [("a/c/3", b"more")])
    assert (await session.fork_async()).snapshot_id not in {shown, session.snapshot_id}


async def test_a_commit_uses_the_manifests_that_its_forks_were_based_on_async(spec_version: int) -> None:
    storage = icechunk.in_memory_storage()
    repo = await create_async(storage, spec_version)
    session = await begin_async(repo, [("a/c/2", b"mine"), ("g/a/c/1", b"mine too")])
    fork = await session.fork_async()
    await edit_async(fork, [("g/a/c/2", b"theirs")])
    await session.merge_async(fork)
    before = {key for key in objects(storage) if key.startswith("manifests/")}
    await session.commit_async("all")
    after_commit = {key for key in objects(storage) if key.startswith("manifests/")}
    assert len(after_commit - before) == 1  # that of g/a, which the fork changed
    assert await stored_async(repo) == after(
        [("a/c/2", b"mine"), ("g/a/c/1", b"mine too"), ("g/a/c/2", b"theirs")]
    )


async def test_a_fork_that_cannot_be_written_leaves_the_session_as_it_was_async() -> None:
    faults = Faults()
    repo = await create_async(faulty_storage(icechunk.in_memory_storage(), faults))
    session = await begin_async(repo, [("a/c/2", b"mine")])
    faults.fail("put", "snapshots/*", times=1)
    with pytest.raises(StorageError):
        await session.fork_async()
    fork = await forked_async(session, [("a/c/3", b"theirs")])
    await session.merge_async(fork)
    await session.commit_async("both")
    assert await stored_async(repo) == after([("a/c/2", b"mine"), ("a/c/3", b"theirs")])


async def test_what_forks_may_not_do_async(spec_version: int) -> None:
    repo = await create_async(icechunk.in_memory_storage(), spec_version)
    session = await begin_async(repo)
    fork = await forked_async(session, [("a/c/2", b"theirs")])
    reader = await repo.readonly_session_async("main")
    with pytest.raises(SessionStateError) as refused:
        await reader.fork_async()
    assert refused.value.kind == "cannot-fork-read-only-session"
    with pytest.raises(SessionStateError, match="merge it into the session") as refused:
        await fork.commit_async("no")
    assert refused.value.kind == "commit-not-allowed"
    with pytest.raises(SessionStateError) as refused:
        await fork.rebase_async(icechunk.ConflictDetector())
    assert refused.value.kind == "commit-not-allowed"
    with pytest.raises(IcechunkError, match="cannot be flushed") as unflushed:
        await fork.flush_async("no")
    assert unflushed.value.kind == "unknown"
    with pytest.raises(SessionStateError) as refused:
        await fork.merge_async(session)  # type: ignore[arg-type]
    assert refused.value.kind == "merge-not-allowed"
    await session.merge_async(fork)
    assert session.status().updated_chunks == {"/a": [[2]]}


async def test_a_fork_cannot_amend_async() -> None:
    repo = await create_async(icechunk.in_memory_storage())
    fork = await forked_async(await begin_async(repo), [("a/c/2", b"theirs")])
    with pytest.raises(SessionStateError) as refused:
        await fork.amend_async("no")
    assert refused.value.kind == "commit-not-allowed"


async def test_forks_of_forks_are_merged_upwards_async(spec_version: int) -> None:
    repo = await create_async(icechunk.in_memory_storage(), spec_version)
    session = await begin_async(repo, [("a/c/2", b"mine")])
    child = await forked_async(session, [("a/c/3", b"child"), ("new/zarr.json", array(2))])
    grandchild = await forked_async(child, [("a/c/0", b"grandchild"), ("new/c/1", b"n")])
    with pytest.raises(SessionStateError, match="has not handed out") as refused:
        await session.merge_async(grandchild)
    assert refused.value.kind == "merge-failed"
    await child.merge_async(grandchild)
    await session.merge_async(child)
    await session.commit_async("all")
    expected: list[Edit] = [("a/c/2", b"mine"), ("a/c/3", b"child"), ("a/c/0", b"grandchild")]
    assert await stored_async(repo) == after([*expected, ("new/zarr.json", array(2)), ("new/c/1", b"n")])


async def test_a_copy_of_a_fork_is_another_fork_of_the_same_session_async() -> None:
    """It adds to what the original did. To take something back needs a fork of the fork."""
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo)
    original = await forked_async(session, [("x/zarr.json", group()), ("y/zarr.json", group())])
    copy = pickle.loads(pickle.dumps(original))
    await edit_async(copy, [("x/zarr.json", None), ("a/c/3", b"copied")])
    fork = await forked_async(original, [("y/zarr.json", None), ("a/c/0", b"forked")])
    await original.merge_async(copy, fork)
    await session.merge_async(original)
    expected: list[Edit] = [("x/zarr.json", group()), ("a/c/3", b"copied"), ("a/c/0", b"forked")]
    assert await content_async(session) == after(expected)


async def test_a_fork_of_an_unchanged_fork_may_be_merged_into_its_grandparent_async() -> None:
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo)
    grandchild = await forked_async(await session.fork_async(), [("a/c/2", b"x")])
    await session.merge_async(grandchild)
    assert session.status().updated_chunks == {"/a": [[2]]}


async def test_a_fork_of_a_session_that_moves_nodes_async() -> None:
    repo = await create_async(icechunk.in_memory_storage())
    session = await repo.rearrange_session_async("main")
    await session.move_async("/a", "/b")
    fork = await session.fork_async()
    assert "b/zarr.json" in await content_async(fork)
    with pytest.raises(SessionStateError) as refused:
        await session.merge_async(fork)
    assert refused.value.kind == "rearrange-session-only"
    with pytest.raises(SessionStateError) as refused:
        await (await begin_async(repo)).merge_async(session)  # type: ignore[arg-type]
    assert refused.value.kind == "rearrange-session-only"


# Merging


async def test_only_the_changes_of_forks_come_home_async(spec_version: int) -> None:
    """Those of the parent at the time of the fork are neither repeated nor undone."""
    repo = await create_async(icechunk.in_memory_storage(), spec_version)
    session = await begin_async(repo, [("a/c/0", b"first"), ("new/zarr.json", array(4)), ("new/c/0", b"n0")])
    fork = await forked_async(session, [("a/c/2", b"fork"), ("new/c/1", b"n1")])
    assert fork.status().updated_chunks == {"/a": [[2]], "/new": [[1]]}
    await edit_async(session, [("a/c/0", b"second"), ("new/c/0", None)])
    await session.merge_async(fork)
    await session.commit_async("all")
    edits: list[Edit] = [("a/c/0", b"second"), ("a/c/2", b"fork")]
    assert await stored_async(repo) == after([*edits, ("new/zarr.json", array(4)), ("new/c/1", b"n1")])


async def test_a_fork_goes_on_with_what_its_parent_created_async(spec_version: int) -> None:
    """A node that is new in the parent is an old one to the fork, which may change and delete it."""
    repo = await create_async(icechunk.in_memory_storage(), spec_version)
    new: list[Edit] = [("new/zarr.json", array(4)), ("new/c/0", b"n0"), ("lost/zarr.json", group())]
    session = await begin_async(repo, [*new, ("g/zarr.json", group(by="parent"))])
    fork = await forked_async(session, [("new/zarr.json", array(2)), ("new/c/1", b"n1"), ("new/c/0", None)])
    await edit_async(fork, [("lost/zarr.json", None), ("g/zarr.json", group())])
    await session.merge_async(fork)
    status = session.status()
    assert (status.new_arrays, status.new_groups, status.deleted_groups) == ({"/new"}, set(), set())
    assert status.updated_groups == set()  # the fork has put back what its parent had changed
    assert status.updated_chunks == {"/new": [[1]]}
    await session.commit_async("all")
    assert await stored_async(repo) == after([("new/zarr.json", array(2)), ("new/c/1", b"n1")])


async def test_an_array_deleted_by_a_fork_is_deleted_async(spec_version: int) -> None:
    repo = await create_async(icechunk.in_memory_storage(), spec_version)
    session = await begin_async(repo, [("a/c/2", b"mine"), ("a/zarr.json", array(4, by="parent"))])
    fork = await forked_async(session, [("a/zarr.json", None)])
    again = await forked_async(session, [("a/zarr.json", None)])
    await session.merge_async(fork, again)
    assert session.status().deleted_arrays == {"/a"}
    await session.commit_async("gone")
    assert await stored_async(repo) == after([("a/zarr.json", None)])


async def test_equal_new_nodes_become_one_async(spec_version: int) -> None:
    """Each worker may create what it needs, as long as all create the same."""
    repo = await create_async(icechunk.in_memory_storage(), spec_version)
    session = await begin_async(repo)
    nodes: list[Edit] = [("w/zarr.json", group(x=1)), ("w/v/zarr.json", array(8))]
    forks = [await forked_async(session, [*nodes, (f"w/v/c/{n}", b"%d" % n)]) for n in range(8)]
    await session.merge_async(*forks[:5])
    await session.merge_async(*forks[5:])
    assert await session.get_node_id_async("/w/v") == await forks[0].get_node_id_async("/w/v")
    await session.commit_async("one")
    assert await stored_async(repo) == after([*nodes, *((f"w/v/c/{n}", b"%d" % n) for n in range(8))])


async def test_documents_are_equal_whatever_the_order_of_their_members_async() -> None:
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo)
    some, other = b'{"zarr_format":3,"node_type":"group"}', b'{"node_type": "group", "zarr_format": 3}'
    forks = [await forked_async(session, [("w/zarr.json", document)]) for document in (some, other)]
    await session.merge_async(*forks)
    assert (await content_async(session))["w/zarr.json"] == some


async def test_an_array_replaced_alike_is_one_async(spec_version: int) -> None:
    repo = await create_async(icechunk.in_memory_storage(), spec_version)
    session = await begin_async(repo)
    replaced: list[Edit] = [("a/zarr.json", None), ("a/zarr.json", array(2))]
    forks = [await forked_async(session, [*replaced, (f"a/c/{n}", b"%d" % n)]) for n in range(2)]
    await session.merge_async(*forks)
    await session.commit_async("replaced")
    assert await stored_async(repo) == after([*replaced, ("a/c/0", b"0"), ("a/c/1", b"1")])


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
async def test_a_contradiction_is_refused_and_changes_nothing_async(
    name: str, turned: bool, where: str
) -> None:
    some, other, path, what = CONTRADICTIONS[name]
    if turned:
        some, other = other, some
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo)
    innocent = await forked_async(session, [("i/zarr.json", array(1)), ("i/c/0", b"innocent")])
    forks = [await forked_async(session, some), await forked_async(session, other)]
    if where == "two merges":
        await session.merge_async(forks.pop(0))
    elif where == "parent":
        await edit_async(session, some)
        del forks[0]
    before, status = await content_async(session), session.status()
    with pytest.raises(SessionStateError) as refused:
        await session.merge_async(innocent, *forks)
    assert refused.value.kind == "merge-failed"
    assert f"`{path}" in str(refused.value)
    assert what in str(refused.value) or turned
    assert await content_async(session) == before
    assert session.status() == status
    await session.merge_async(innocent)
    assert "i/zarr.json" in await content_async(session)


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
async def test_what_does_not_contradict_is_joined_async(name: str, turned: bool, spec_version: int) -> None:
    some, other, expected = UNIONS[name]
    repo = await create_async(icechunk.in_memory_storage(), spec_version)
    session = await begin_async(repo)
    forks = [await forked_async(session, some), await forked_async(session, other)]
    await session.merge_async(*(reversed(forks) if turned else forks))
    await session.commit_async("both")
    assert await stored_async(repo) == after(expected)


# Chunks that were written twice

TWICE: list[Edit] = [("a/c/0", b"second"), ("a/c/1", None), ("a/c/3", b"alone")]


async def twice_async(session: Session, where: str) -> list[ForkSession]:
    """Forks that write chunks again which others wrote, or the session itself."""
    first: list[Edit] = [("a/c/0", b"first"), ("a/c/1", b"first"), ("a/c/2", b"first")]
    forks = [await forked_async(session, first), await forked_async(session, TWICE)]
    if where == "two merges":
        await session.merge_async(forks.pop(0))
    elif where == "parent":
        await edit_async(session, first)
        del forks[0]
    return forks


@pytest.mark.parametrize("dirty", [False, True], ids=["clean", "dirty"])
@pytest.mark.parametrize("where", ["two forks", "two merges", "parent"])
async def test_a_chunk_that_two_wrote_is_reported_async(where: str, dirty: bool) -> None:
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo, [("a/c/2", b"before"), ("a/c/0", b"before")] if dirty else [])
    forks = await twice_async(session, where)
    before = await content_async(session)
    with pytest.raises(SessionStateError, match=r"2 of `/a` \(\[0\], \[1\]\)") as refused:
        await session.merge_async(*forks, duplicate_chunks="raise")
    assert refused.value.kind == "merge-failed"
    with pytest.raises(ValueError, match="duplicate_chunks must be"):
        await session.merge_async(*forks, duplicate_chunks="ignore")  # type: ignore[arg-type]
    assert await content_async(session) == before
    with pytest.warns(DuplicateChunkWarning, match=r"2 of `/a` \(\[0\], \[1\]\)") as warned:
        await session.merge_async(*forks)
    assert len(warned) == 1
    await session.merge_async(forks[-1])  # the same once more is no conflict
    assert await content_async(session) == after([("a/c/2", b"first"), *TWICE])


@pytest.mark.parametrize("where", ["two forks", "two merges", "parent"])
async def test_writing_twice_may_be_meant_async(where: str) -> None:
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo)
    await session.merge_async(*await twice_async(session, where), duplicate_chunks="allow")
    assert await content_async(session) == after([("a/c/2", b"first"), *TWICE])


async def test_what_two_recorded_alike_is_no_conflict_async() -> None:
    """Inline bytes and virtual references. Whether chunks in storage have equal bytes is not looked up."""
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo)
    small, large = ("a/c/0", b"x" * 512), ("a/c/1", b"x" * 513)
    forks = [await forked_async(session, [small, ("a/c/3", None)]) for _ in range(2)]
    for fork in forks:
        await fork.store.set_virtual_ref_async(
            "a/c/2", "s3://bucket/file", offset=0, length=1, validate_container=False
        )
    await session.merge_async(*forks, duplicate_chunks="raise")
    with pytest.raises(SessionStateError, match=r"1 of `/a` \(\[1\]\)"):
        await session.merge_async(
            *[await forked_async(session, [large]) for _ in range(2)], duplicate_chunks="raise"
        )


async def test_a_warning_that_is_an_error_changes_nothing_async() -> None:
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo)
    forks = await twice_async(session, "two forks")
    with pytest.raises(DuplicateChunkWarning):  # as warnings are errors here
        await session.merge_async(*forks)
    assert await content_async(session) == BASE


async def test_writing_over_what_the_parent_had_written_before_the_fork_is_no_conflict_async() -> None:
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo, [("a/c/0", b"parent"), ("a/c/2", b"parent"), ("bare/c/0", b"parent")])
    some = await forked_async(session, [("a/c/0", b"fork"), ("bare/c/0", None)])
    await edit_async(session, [("a/c/3", b"later")])
    other = await forked_async(session, [("a/c/3", b"fork"), ("a/c/2", b"fork")])
    await session.merge_async(some, other)
    edits: list[Edit] = [("a/c/0", b"fork"), ("a/c/2", b"fork"), ("a/c/3", b"fork")]
    assert await content_async(session) == after(edits)


# What does not belong together


async def refusal_async(session: Session, fork: Any) -> IcechunkError:
    before = session.status()
    with pytest.raises(IcechunkError) as refused:
        await session.merge_async(fork)
    assert session.status() == before
    return refused.value


async def test_a_fork_of_another_repository_is_refused_async() -> None:
    """Also where both began alike."""
    repos = [await Repository.create_async(icechunk.in_memory_storage()) for _ in range(2)]
    sessions = [await repo.writable_session_async("main") for repo in repos]
    fork = await forked_async(sessions[0], [("zarr.json", group())])
    refused = await refusal_async(sessions[1], fork)
    assert (refused.kind, "another repository" in str(refused)) == ("merge-failed", True)


async def test_a_fork_of_another_snapshot_is_refused_async() -> None:
    repo = await create_async(icechunk.in_memory_storage())
    old = await begin_async(repo)
    fork = await forked_async(old, [("a/c/2", b"x")])
    other = await begin_async(repo, [("a/c/3", b"y")])
    await other.commit_async("moves on")
    assert (await refusal_async(await begin_async(repo), fork)).kind == "merge-failed"
    await old.rebase_async(icechunk.ConflictDetector())
    assert (await refusal_async(old, fork)).kind == "merge-failed"
    committed = await begin_async(repo, [("a/c/3", b"z")])
    late = await forked_async(committed, [("a/c/2", b"x")])
    await committed.commit_async("before the fork is back")
    refused = await refusal_async(committed, late)
    assert isinstance(refused, ReadOnlyError)
    assert refused.kind == "read-only-session"


async def test_a_fork_of_changes_that_were_discarded_is_refused_async() -> None:
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo, [("a/c/3", b"y")])
    fork = await forked_async(session, [("a/c/2", b"x")])
    session.discard_changes()
    assert (await refusal_async(session, fork)).kind == "merge-failed"


async def test_a_session_of_the_same_snapshot_takes_the_fork_of_another_one_async() -> None:
    """So the one that forked may be gone by the time that its forks are back."""
    repo = await create_async(icechunk.in_memory_storage())
    fork = await forked_async(await begin_async(repo), [("a/c/2", b"x")])
    session = await begin_async(repo)
    await session.merge_async(fork)
    await session.commit_async("taken over")
    assert await stored_async(repo) == after([("a/c/2", b"x")])


async def test_merging_nothing_and_merging_oneself_does_nothing_async() -> None:
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo, [("a/c/2", b"x")])
    await session.merge_async()
    await session.merge_async(session, session)  # type: ignore[arg-type]
    fork = await forked_async(session)
    await fork.merge_async(fork)
    assert await content_async(session) == after([("a/c/2", b"x")])
    for wrong in (3, "main", repo, session.store):
        with pytest.raises(TypeError, match=r"session\.merge\(\*forks\)"):
            await session.merge_async(wrong)  # type: ignore[arg-type]


async def test_no_fork_is_made_or_merged_while_a_commit_is_under_way_async() -> None:
    faults = Faults()
    repo = await create_async(faulty_storage(icechunk.in_memory_storage(), faults))
    session = await begin_async(repo, [("a/c/2", b"x")])
    fork = await forked_async(session, [("a/c/3", b"y")])
    seen: list[str] = []

    def meddle() -> None:
        for verb in (session.fork, lambda: Session.merge(session, fork)):
            try:
                verb()
            except ReadOnlyError as error:
                seen.append(error.kind)

    faults.call("put", "snapshots/*", meddle, times=1)
    await session.commit_async("undisturbed")
    assert seen == ["read-only-session"] * 2
    assert await stored_async(repo) == after([("a/c/2", b"x")])


async def test_a_session_that_is_forked_again_and_again_async() -> None:
    """What old forks saw of the chunks is forgotten at some point, but never what they belong to."""
    repo = await create_async(icechunk.in_memory_storage())
    session = await begin_async(repo, [("a/c/0", b"first")])
    oldest = await forked_async(session, [("a/c/0", b"of the oldest"), ("g/a/c/1", b"x")])
    forks = []
    for number in range(20):
        await edit_async(session, [("a/c/1", b"%d" % number)])
        forks.append(await forked_async(session, [(f"new-{number}/zarr.json", group())]))
    await session.merge_async(*forks)
    with pytest.warns(DuplicateChunkWarning, match=r"1 of `/a` \(\[0\]\)"):
        await session.merge_async(oldest)
    status = session.status()
    assert len(status.new_groups) == 20
    assert status.updated_chunks == {"/a": [[0], [1]], "/g/a": [[1]]}
    assert (await content_async(session))["a/c/0"] == b"of the oldest"
