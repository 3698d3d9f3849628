"""The limit on what is under way holds over threads and event loops, and survives cancellation."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype

from icechunk import Repository, RepositoryConfig, in_memory_storage
from icechunk._io.gate import RequestGate


def test_threads_and_loops_together_never_exceed_the_limit() -> None:
    gate = RequestGate(3)
    most = 0
    lock = threading.Lock()

    def note() -> None:
        nonlocal most
        with lock:
            most = max(most, gate.under_way)

    def in_a_thread() -> None:
        for _ in range(20):
            with gate.passing():
                note()
                time.sleep(0.0005)

    async def one_async() -> None:
        async with gate.passing_async():
            note()
            await asyncio.sleep(0.0005)

    async def many_async() -> None:
        await asyncio.gather(*[one_async() for _ in range(100)])

    threads = [threading.Thread(target=in_a_thread) for _ in range(6)]
    threads += [threading.Thread(target=asyncio.run, args=(many_async(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert gate.under_way == 0


async def test_who_is_cancelled_in_line_leaves_the_line() -> None:
    gate = RequestGate(1)
    entered = []

    async def wait_async(number: int) -> None:
        async with gate.passing_async():
            entered.append(number)

    async with gate.passing_async():
        tasks = [asyncio.create_task(wait_async(number)) for number in range(4)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert entered == [1, 3]
    assert gate.under_way == 0


async def test_a_place_handed_to_one_who_is_cancelled_goes_to_the_next() -> None:
    gate = RequestGate(1)
    entered = []

    async def wait_async(number: int) -> None:
        async with gate.passing_async():
            entered.append(number)

    holder = gate.passing_async()
    await holder.__aenter__()
    first, second = (asyncio.create_task(wait_async(number)) for number in range(2))
    await asyncio.sleep(0.01)
    # The place goes to the first in line, who is cancelled before it learns of it.
    await holder.__aexit__(None, None, None)
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert entered[-1] == 1
    assert gate.under_way == 0


@pytest.mark.parametrize("blocking", [True, False])
async def test_large_files_are_unpacked_a_few_at_a_time(blocking: bool) -> None:
    storage = in_memory_storage()
    session = Repository.create(storage).writable_session("main")
    # Small chunks, which do not compress, make a large manifest.
    array = zarr.create_array(session.store, name="a", shape=(20_000,), chunks=(50,), dtype="f8")
    array[:] = np.random.default_rng(1).random(20_000)
    session.commit("many chunks in one manifest")
    repo = Repository.open(storage, RepositoryConfig(max_concurrent_decodes=1))
    store = repo.readonly_session("main").store

    async def read_async() -> object:
        if blocking:
            return await asyncio.to_thread(store.get_sync, "a/c/7")
        return await store.get("a/c/7", default_buffer_prototype())

    async with repo._cache.decodes.passing_async():
        reading = asyncio.create_task(read_async())
        await asyncio.sleep(0.1)
        assert not reading.done()
    assert await reading is not None


@pytest.mark.parametrize("patience", [None, 60.0])
@pytest.mark.parametrize("steps", range(6))
def test_who_is_cancelled_as_the_turn_comes_is_cancelled(steps: int, patience: float | None) -> None:
    """Python 3.11 forgets a cancellation that comes together with what `asyncio.wait_for` waits for."""
    gate = RequestGate(1)

    async def pass_through() -> None:
        async with gate.passing_async(patience):
            await asyncio.sleep(0.01)

    async def cancel() -> None:
        async with gate.passing_async():
            task = asyncio.ensure_future(pass_through())
            await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert gate.under_way == 0
