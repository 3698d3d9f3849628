"""How much memory reading and writing take at most, beside the arrays themselves.

Counted is what Python and NumPy allocate. Buffers of the client of an object store are its own.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from zarr.core.buffer import cpu, default_buffer_prototype

import icechunk
from icechunk import CachingConfig, Repository, RepositoryConfig
from tests.arrays import create_array, open_array, open_stored_array
from tests.places import PLACES, places

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 16 << 20
NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def storage(place: str, request: pytest.FixtureRequest) -> icechunk.Storage:
    return places(place, request)()


@contextmanager
def peak() -> Iterator[list[float]]:
    """How much was allocated at most in the block, in sizes of the array: known at its end."""
    found: list[float] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield found
        found.append((tracemalloc.get_traced_memory()[1] - before) / SIZE)
    finally:
        tracemalloc.stop()


def write(storage: icechunk.Storage, chunks: int) -> None:
    """Commit an array `a`."""
    session = Repository.create(storage, NATIVE).writable_session("main")
    length = SIZE // 4
    array: Any = create_array(session, "a", (length,), chunks=(length // chunks,))
    array[:] = np.arange(length, dtype="i4")
    session.commit("write")


@pytest.mark.parametrize("blocking", [True, False])
def test_writing_a_chunk_does_not_copy_it(place: str, storage: icechunk.Storage, blocking: bool) -> None:
    """The array's own memory goes to the storage; storage in memory keeps one copy."""
    write(storage, 1)
    store = Repository.open(storage, NATIVE).writable_session("main").store
    value = cpu.Buffer.from_array_like(np.ones(SIZE, "u1"))
    with peak() as found:
        if blocking:
            store.set_sync("a/c/0", value)
        else:
            asyncio.run(store.set("a/c/0", value))
    kept = 1 if place == "memory" else 0
    assert kept <= found[0] < kept + 0.1


@pytest.mark.parametrize("blocking", [True, False])
def test_reading_a_chunk_takes_its_size_once(place: str, storage: icechunk.Storage, blocking: bool) -> None:
    """Storage in memory lends it."""
    write(storage, 1)
    store = Repository.open(storage, NATIVE).readonly_session("main").store
    store.get_sync("a/zarr.json")
    with peak() as found:
        value: Any
        if blocking:
            value = store.get_sync("a/c/0")
        else:
            value = asyncio.run(store.get("a/c/0", default_buffer_prototype()))
        assert len(value) == SIZE
    taken = 0 if place == "memory" else 1
    assert taken <= found[0] < taken + 0.1


def test_reading_an_array_takes_its_size_and_a_few_chunks(storage: icechunk.Storage) -> None:
    write(storage, 32)
    array = open_stored_array(Repository.open(storage, NATIVE).readonly_session("main").store, "a")
    with peak() as found:
        values = array[:]
    assert values[-1] == SIZE // 4 - 1
    assert 1 <= found[0] < 1.5


def test_rounds_of_forks_and_merges_keep_a_bounded_number_of_recordings(tmp_path: Path) -> None:
    """A session remembers what its newest forks saw, not what it had recorded in each round."""
    caching = CachingConfig(num_snapshot_nodes=0, num_chunk_refs=0, num_transaction_changes=0)
    storage = icechunk.local_filesystem_storage(tmp_path / "repository")
    session = Repository.create(storage, RepositoryConfig(caching=caching)).writable_session("main")
    chunks, rounds = 5000, 48
    create_array(session, "a", (chunks,), chunks=(1,))
    numbers = np.arange(chunks, dtype="u8")
    places = ["s3://bucket/file"] * chunks
    session.store.set_virtual_refs_arr(
        "a", (chunks,), places, numbers, numbers + 1, validate_containers=False
    )
    tracemalloc.start()
    try:
        for number in range(rounds):
            fork = session.fork()
            open_array(fork, "a")[number] = number
            session.merge(fork)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    one_recording = chunks * 70
    assert kept < rounds / 2 * one_recording
    session.commit("rounds")
    assert open_stored_array(session.store, "a")[1] == 1
