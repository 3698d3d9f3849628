"""What is fetched, and how often: caches, their limits, and the preloading of manifests."""

from __future__ import annotations

import pytest

import icechunk
from icechunk import CachingConfig, ManifestConfig, ManifestPreloadConfig, Repository, RepositoryConfig
from icechunk._io.concurrency import sleep_async
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array_async, get_key_async, write_async

NO_PRELOAD = ManifestConfig(preload=ManifestPreloadConfig(max_total_refs=0))


async def repository_async(name: str) -> tuple[icechunk.Storage, Faults]:
    """A storage with a repository of one array of four native chunks, and its record of calls."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = await Repository.create_async(inner)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, name, (800,), chunks=(200,))
    await write_async(array, ..., list(range(1, 801)))
    await session.commit_async("write")
    return faulty_storage(inner, faults), faults


async def read_all_async(repo: Repository, name: str) -> None:
    session = await repo.readonly_session_async("main")
    for number in range(4):
        assert await get_key_async(session, f"{name}/c/{number}") is not None


async def test_snapshots_and_manifests_are_fetched_once_async() -> None:
    storage, faults = await repository_async("data")
    repo = await Repository.open_async(storage, RepositoryConfig(manifest=NO_PRELOAD))
    for _ in range(3):
        await read_all_async(repo, "data")
    assert faults.count("get", "snapshots/*") == 1
    assert faults.count("get", "manifests/*") == 1
    assert faults.count("get", "chunks/*") == 12
    assert faults.count("list") == 0


@pytest.mark.parametrize(
    ("caching", "what", "expected"),
    [
        (CachingConfig(num_snapshot_nodes=0), "snapshots/*", 3),
        (CachingConfig(num_chunk_refs=3), "manifests/*", 12),
        (CachingConfig(num_chunk_refs=4), "manifests/*", 1),
        (CachingConfig(num_bytes_chunks=10_000), "chunks/*", 4),
        (CachingConfig(num_bytes_chunks=800), "chunks/*", 12),
    ],
    ids=["no snapshots", "manifest too large", "manifest fits", "chunks fit", "one chunk fits"],
)
async def test_caches_keep_to_their_limits_async(caching: CachingConfig, what: str, expected: int) -> None:
    storage, faults = await repository_async("data")
    repo = await Repository.open_async(storage, RepositoryConfig(caching=caching, manifest=NO_PRELOAD))
    for _ in range(3):
        await read_all_async(repo, "data")
    assert faults.count("get", what) == expected


@pytest.mark.parametrize(("capacity", "expected"), [(None, 1), (0, 2), (6, 2), (7, 1)])
async def test_transaction_logs_are_kept_up_to_a_limit_async(capacity: int | None, expected: int) -> None:
    storage, faults = await repository_async("data")
    caching = CachingConfig(num_transaction_changes=capacity)
    repo = await Repository.open_async(storage, RepositoryConfig(caching=caching))
    first = [info async for info in repo.async_ancestry(branch="main")][-1].id
    for _ in range(2):
        # The log itself, an array, its group, four chunks.
        changes = await repo.diff_async(from_snapshot_id=first, to_branch="main")
        assert len(changes.updated_chunks["/data"]) == 4
    assert faults.count("get", "transactions/*") == expected


async def test_a_writer_finds_what_it_wrote_in_the_cache_async() -> None:
    storage, faults = await repository_async("data")
    repo = await Repository.open_async(storage, RepositoryConfig(manifest=NO_PRELOAD))
    session = await repo.writable_session_async("main")
    await create_array_async(session, "more", (2,))
    await session.commit_async("more")
    before = faults.count("get", "snapshots/*")
    await repo.readonly_session_async("main")
    assert faults.count("get", "snapshots/*") == before


async def test_manifests_of_coordinates_are_preloaded_async() -> None:
    storage, faults = await repository_async("time")
    repo = await Repository.open_async(storage)
    await repo.readonly_session_async("main")
    for _ in range(200):
        if faults.count("get", "manifests/*"):
            break
        await sleep_async(0.01)
    assert faults.count("get", "manifests/*") == 1
    await read_all_async(repo, "time")
    assert faults.count("get", "manifests/*") == 1


async def test_other_manifests_are_not_preloaded_and_failures_do_not_show_async() -> None:
    storage, faults = await repository_async("data")
    repo = await Repository.open_async(storage)
    await repo.readonly_session_async("main")
    await sleep_async(0.1)
    assert faults.count("get", "manifests/*") == 0
    storage, faults = await repository_async("time")
    faults.fail("get", "manifests/*")
    repo = await Repository.open_async(storage)
    await repo.readonly_session_async("main")
    await sleep_async(0.1)
    await read_all_async(repo, "time")
    assert faults.count("get", "manifests/*") == 2
