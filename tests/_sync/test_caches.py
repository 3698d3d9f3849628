# Generated from tests/_async/test_caches.py by tools/make_sync.py; edit that file.
"""What is fetched, and how often: caches, their limits, and the preloading of manifests."""

from __future__ import annotations

import pytest

import icechunk
from icechunk import CachingConfig, ManifestConfig, ManifestPreloadConfig, Repository, RepositoryConfig
from icechunk._io.concurrency import sleep
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array, get_key, write

NO_PRELOAD = ManifestConfig(preload=ManifestPreloadConfig(max_total_refs=0))


def repository(name: str) -> tuple[icechunk.Storage, Faults]:
    """A storage with a repository of one array of four native chunks, and its record of calls."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = Repository.create(inner)
    session = repo.writable_session("main")
    array = create_array(session, name, (800,), chunks=(200,))
    write(array, ..., list(range(1, 801)))
    session.commit("write")
    return faulty_storage(inner, faults), faults


def read_all(repo: Repository, name: str) -> None:
    session = repo.readonly_session("main")
    for number in range(4):
        assert get_key(session, f"{name}/c/{number}") is not None


def test_snapshots_and_manifests_are_fetched_once() -> None:
    storage, faults = repository("data")
    repo = Repository.open(storage, RepositoryConfig(manifest=NO_PRELOAD))
    for _ in range(3):
        read_all(repo, "data")
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
def test_caches_keep_to_their_limits(caching: CachingConfig, what: str, expected: int) -> None:
    storage, faults = repository("data")
    repo = Repository.open(storage, RepositoryConfig(caching=caching, manifest=NO_PRELOAD))
    for _ in range(3):
        read_all(repo, "data")
    assert faults.count("get", what) == expected


@pytest.mark.parametrize(("capacity", "expected"), [(None, 1), (0, 2), (6, 2), (7, 1)])
def test_transaction_logs_are_kept_up_to_a_limit(capacity: int | None, expected: int) -> None:
    storage, faults = repository("data")
    caching = CachingConfig(num_transaction_changes=capacity)
    repo = Repository.open(storage, RepositoryConfig(caching=caching))
    first = [info for info in repo.ancestry(branch="main")][-1].id
    for _ in range(2):
        # The log itself, an array, its group, four chunks.
        changes = repo.diff(from_snapshot_id=first, to_branch="main")
        assert len(changes.updated_chunks["/data"]) == 4
    assert faults.count("get", "transactions/*") == expected


def test_a_writer_finds_what_it_wrote_in_the_cache() -> None:
    storage, faults = repository("data")
    repo = Repository.open(storage, RepositoryConfig(manifest=NO_PRELOAD))
    session = repo.writable_session("main")
    create_array(session, "more", (2,))
    session.commit("more")
    before = faults.count("get", "snapshots/*")
    repo.readonly_session("main")
    assert faults.count("get", "snapshots/*") == before


def test_manifests_of_coordinates_are_preloaded() -> None:
    storage, faults = repository("time")
    repo = Repository.open(storage)
    repo.readonly_session("main")
    for _ in range(200):
        if faults.count("get", "manifests/*"):
            break
        sleep(0.01)
    assert faults.count("get", "manifests/*") == 1
    read_all(repo, "time")
    assert faults.count("get", "manifests/*") == 1


def test_other_manifests_are_not_preloaded_and_failures_do_not_show() -> None:
    storage, faults = repository("data")
    repo = Repository.open(storage)
    repo.readonly_session("main")
    sleep(0.1)
    assert faults.count("get", "manifests/*") == 0
    storage, faults = repository("time")
    faults.fail("get", "manifests/*")
    repo = Repository.open(storage)
    repo.readonly_session("main")
    sleep(0.1)
    read_all(repo, "time")
    assert faults.count("get", "manifests/*") == 2
