"""Forks over a storage that fails: what one cannot write costs the others nothing, and is tried again."""

from __future__ import annotations

from typing import Any

import pytest

import icechunk
from icechunk import ForkSession, Repository, RepositoryConfig, Session, StorageError
from icechunk._core.preconditions import PreconditionFailed
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array_async, open_array_async, read_async, write_async

NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)
WRITTEN = [1, 1, 2, 2, 3, 3]


async def begun_async(storage: icechunk.Storage, spec_version: int) -> tuple[Repository, Session]:
    """A session with an array of three chunks that were committed as zeros."""
    repo = await Repository.create_async(storage, NATIVE, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (6,), chunks=(2,), fill_value=-1)
    await write_async(array, ..., 0)
    await session.commit_async("zeros")
    return repo, await repo.writable_session_async("main")


async def write_part_async(fork: ForkSession, part: int) -> None:
    array = await open_array_async(fork, "a")
    await write_async(array, slice(2 * part, 2 * part + 2), part + 1)


async def stored_async(storage: icechunk.Storage) -> Any:
    """What anybody sees who opens the repository now."""
    reader = await (await Repository.open_async(storage)).readonly_session_async("main")
    return (await read_async(reader, "a")).tolist()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_write_that_a_worker_cannot_make_costs_the_others_nothing_async(
    spec_version: int, moment: str
) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    _, session = await begun_async(faulty_storage(inner, faults), spec_version)
    forks = [await session.fork_async() for _ in range(3)]
    await write_part_async(forks[0], 0)
    faults.fail("put", "chunks/*", moment=moment)  # type: ignore[arg-type]  # one of two literals
    with pytest.raises(StorageError, match="injected"):
        await write_part_async(forks[1], 1)
    assert not forks[1].has_uncommitted_changes
    await write_part_async(forks[2], 2)
    again = await session.fork_async()
    await write_part_async(again, 1)
    await session.merge_async(*forks, again)
    await session.commit_async("three parts")
    assert await stored_async(inner) == WRITTEN


@pytest.mark.parametrize("key", ["manifests/*", "snapshots/*", "transactions/*"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_commit_of_merged_forks_that_fails_is_made_again_async(
    spec_version: int, key: str, moment: str
) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo, session = await begun_async(faulty_storage(inner, faults), spec_version)
    base = await repo.lookup_branch_async("main")
    forks = [await session.fork_async() for _ in range(3)]
    for part, fork in enumerate(forks):
        await write_part_async(fork, part)
    await session.merge_async(*forks)
    faults.fail("put", key, moment=moment)  # type: ignore[arg-type]  # one of two literals
    with pytest.raises(StorageError, match="injected"):
        await session.commit_async("fails")
    assert await repo.lookup_branch_async("main") == base
    assert await stored_async(inner) == [0] * 6
    await session.commit_async("lands")
    assert await stored_async(inner) == WRITTEN


async def test_the_answer_to_a_commit_of_merged_forks_gets_lost_async() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo, session = await begun_async(faulty_storage(inner, faults), 2)
    forks = [await session.fork_async() for _ in range(3)]
    for part, fork in enumerate(forks):
        await write_part_async(fork, part)
    await session.merge_async(*forks)
    faults.fail("put_conditional", "repo", error=PreconditionFailed("repo"), moment="after")
    landed = await session.commit_async("lands")
    assert await repo.lookup_branch_async("main") == landed
    assert [info.message async for info in repo.async_ancestry(branch="main")][:2] == ["lands", "zeros"]
    assert await stored_async(inner) == WRITTEN


@pytest.mark.parametrize("key", ["manifests/*", "snapshots/*", "transactions/*"])
async def test_a_changed_session_whose_fork_cannot_be_written_is_forked_again_async(
    spec_version: int, key: str
) -> None:
    """The snapshot for the fork is written by none or whole; the session keeps its changes."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    _, session = await begun_async(faulty_storage(inner, faults), spec_version)
    array = await open_array_async(session, "a")
    await write_async(array, slice(0, 2), 1)
    faults.fail("put", key)
    with pytest.raises(StorageError, match="injected"):
        await session.fork_async()
    fork = await session.fork_async()
    assert (await read_async(fork, "a")).tolist() == [1, 1, 0, 0, 0, 0]
    await write_part_async(fork, 1)
    await write_async(array, slice(4, 6), 3)
    await session.merge_async(fork)
    await session.commit_async("lands")
    assert await stored_async(inner) == WRITTEN


async def test_a_worker_that_returns_twice_counts_once_async(spec_version: int) -> None:
    storage = icechunk.in_memory_storage()
    _, session = await begun_async(storage, spec_version)
    forks = [await session.fork_async() for _ in range(3)]
    for part, fork in enumerate(forks):
        await write_part_async(fork, part)
    await session.merge_async(forks[0], forks[1], forks[0])
    await session.merge_async(forks[2], forks[0], duplicate_chunks="raise")
    await session.commit_async("lands")
    assert await stored_async(storage) == WRITTEN


async def test_a_fork_of_what_somebody_else_has_committed_on_is_refused_async(spec_version: int) -> None:
    """A worker that comes back to the wrong base, or too late: nothing is merged, and the session goes on."""
    storage = icechunk.in_memory_storage()
    repo, session = await begun_async(storage, spec_version)
    late = await session.fork_async()
    await write_part_async(late, 0)
    await session.commit_async("moves on", allow_empty=True)
    session = await repo.writable_session_async("main")
    with pytest.raises(icechunk.SessionStateError) as caught:
        await session.merge_async(late)
    assert caught.value.kind == "merge-failed"
    assert late.snapshot_id in str(caught.value)
    assert not session.has_uncommitted_changes
    fork = await session.fork_async()
    await write_part_async(fork, 2)
    await session.merge_async(fork)
    await session.commit_async("lands")
    assert await stored_async(storage) == [0, 0, 0, 0, 3, 3]
