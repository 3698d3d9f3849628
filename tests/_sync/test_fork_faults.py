# Generated from tests/_async/test_fork_faults.py by tools/make_sync.py; edit that file.
"""Forks over a storage that fails: what one cannot write costs the others nothing, and is tried again."""

from __future__ import annotations

from typing import Any

import pytest

import icechunk
from icechunk import ForkSession, Repository, RepositoryConfig, Session, StorageError
from icechunk._core.preconditions import PreconditionFailed
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array, open_array, read, write

NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)
WRITTEN = [1, 1, 2, 2, 3, 3]


def begun(storage: icechunk.Storage, spec_version: int) -> tuple[Repository, Session]:
    """A session with an array of three chunks that were committed as zeros."""
    repo = Repository.create(storage, NATIVE, spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (6,), chunks=(2,), fill_value=-1)
    write(array, ..., 0)
    session.commit("zeros")
    return repo, repo.writable_session("main")


def write_part(fork: ForkSession, part: int) -> None:
    array = open_array(fork, "a")
    write(array, slice(2 * part, 2 * part + 2), part + 1)


def stored(storage: icechunk.Storage) -> Any:
    """What anybody sees who opens the repository now."""
    reader = (Repository.open(storage)).readonly_session("main")
    return (read(reader, "a")).tolist()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_write_that_a_worker_cannot_make_costs_the_others_nothing(
    spec_version: int, moment: str
) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    _, session = begun(faulty_storage(inner, faults), spec_version)
    forks = [session.fork() for _ in range(3)]
    write_part(forks[0], 0)
    faults.fail("put", "chunks/*", moment=moment)  # type: ignore[arg-type]  # one of two literals
    with pytest.raises(StorageError, match="injected"):
        write_part(forks[1], 1)
    assert not forks[1].has_uncommitted_changes
    write_part(forks[2], 2)
    again = session.fork()
    write_part(again, 1)
    session.merge(*forks, again)
    session.commit("three parts")
    assert stored(inner) == WRITTEN


@pytest.mark.parametrize("key", ["manifests/*", "snapshots/*", "transactions/*"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_of_merged_forks_that_fails_is_made_again(
    spec_version: int, key: str, moment: str
) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo, session = begun(faulty_storage(inner, faults), spec_version)
    base = repo.lookup_branch("main")
    forks = [session.fork() for _ in range(3)]
    for part, fork in enumerate(forks):
        write_part(fork, part)
    session.merge(*forks)
    faults.fail("put", key, moment=moment)  # type: ignore[arg-type]  # one of two literals
    with pytest.raises(StorageError, match="injected"):
        session.commit("fails")
    assert repo.lookup_branch("main") == base
    assert stored(inner) == [0] * 6
    session.commit("lands")
    assert stored(inner) == WRITTEN


def test_the_answer_to_a_commit_of_merged_forks_gets_lost() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo, session = begun(faulty_storage(inner, faults), 2)
    forks = [session.fork() for _ in range(3)]
    for part, fork in enumerate(forks):
        write_part(fork, part)
    session.merge(*forks)
    faults.fail("put_conditional", "repo", error=PreconditionFailed("repo"), moment="after")
    landed = session.commit("lands")
    assert repo.lookup_branch("main") == landed
    assert [info.message for info in repo.ancestry(branch="main")][:2] == ["lands", "zeros"]
    assert stored(inner) == WRITTEN


@pytest.mark.parametrize("key", ["manifests/*", "snapshots/*", "transactions/*"])
def test_a_changed_session_whose_fork_cannot_be_written_is_forked_again(
    spec_version: int, key: str
) -> None:
    """The snapshot for the fork is written by none or whole; the session keeps its changes."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    _, session = begun(faulty_storage(inner, faults), spec_version)
    array = open_array(session, "a")
    write(array, slice(0, 2), 1)
    faults.fail("put", key)
    with pytest.raises(StorageError, match="injected"):
        session.fork()
    fork = session.fork()
    assert (read(fork, "a")).tolist() == [1, 1, 0, 0, 0, 0]
    write_part(fork, 1)
    write(array, slice(4, 6), 3)
    session.merge(fork)
    session.commit("lands")
    assert stored(inner) == WRITTEN


def test_a_worker_that_returns_twice_counts_once(spec_version: int) -> None:
    storage = icechunk.in_memory_storage()
    _, session = begun(storage, spec_version)
    forks = [session.fork() for _ in range(3)]
    for part, fork in enumerate(forks):
        write_part(fork, part)
    session.merge(forks[0], forks[1], forks[0])
    session.merge(forks[2], forks[0], duplicate_chunks="raise")
    session.commit("lands")
    assert stored(storage) == WRITTEN


def test_a_fork_of_what_somebody_else_has_committed_on_is_refused(spec_version: int) -> None:
    """A worker that comes back to the wrong base, or too late: nothing is merged, and the session goes on."""
    storage = icechunk.in_memory_storage()
    repo, session = begun(storage, spec_version)
    late = session.fork()
    write_part(late, 0)
    session.commit("moves on", allow_empty=True)
    session = repo.writable_session("main")
    with pytest.raises(icechunk.SessionStateError) as caught:
        session.merge(late)
    assert caught.value.kind == "merge-failed"
    assert late.snapshot_id in str(caught.value)
    assert not session.has_uncommitted_changes
    fork = session.fork()
    write_part(fork, 2)
    session.merge(fork)
    session.commit("lands")
    assert stored(storage) == [0, 0, 0, 0, 3, 3]
