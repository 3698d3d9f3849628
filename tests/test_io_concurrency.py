"""Doing several things at once: results in order, errors as themselves, nobody left waiting."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from icechunk._io.clock import now_us, use_clock
from icechunk._io.concurrency import (
    SingleFlight,
    map_concurrently,
    map_concurrently_async,
    run_in_thread,
    run_in_thread_async,
    sleep,
    sleep_async,
)
from icechunk._io.random import random_id, random_unit, random_uuid, use_random

PATIENCE = 10


class Busy:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.started = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.started += 1
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.inside -= 1


@pytest.mark.parametrize("limit", [0, 1, 3, 100])
async def test_results_come_in_the_order_of_the_items(limit: int) -> None:
    busy = Busy()

    async def square_async(number: int) -> int:
        with busy:
            await asyncio.sleep(0.001 * (7 - number))
            return number * number

    def square(number: int) -> int:
        with busy:
            time.sleep(0.001 * (7 - number))
            return number * number

    squares = [number * number for number in range(7)]
    assert await map_concurrently_async(square_async, iter(range(7)), limit) == squares
    assert busy.most == min(max(limit, 1), 7)
    busy = Busy()
    assert map_concurrently(square, iter(range(7)), limit) == squares
    assert busy.most <= min(max(limit, 1), 7)
    assert await map_concurrently_async(square_async, [], limit) == []
    assert map_concurrently(square, [], limit) == []


async def test_the_first_error_is_raised_as_itself_and_stops_the_rest() -> None:
    busy = Busy()
    ended = []

    async def fail_at_2_async(number: int) -> None:
        with busy:
            if number == 2:
                raise LookupError("two")
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                ended.append(number)

    with pytest.raises(LookupError, match="two"):
        await map_concurrently_async(fail_at_2_async, range(100), 3)
    assert (busy.started, busy.inside, sorted(ended)) == (3, 0, [0, 1])

    gate = threading.Event()
    done = []

    def fail_at_0(number: int) -> None:
        if number == 0:
            gate.wait(PATIENCE)
            raise LookupError("zero")
        if number == 1:
            gate.set()
            time.sleep(0.05)
        done.append(number)

    with pytest.raises(LookupError, match="zero"):
        map_concurrently(fail_at_0, range(100_000), 2)
    assert 1 in done
    assert len(done) < 100_000


async def test_index_errors_of_the_function_are_errors() -> None:
    def fail(_: int) -> None:
        [].pop()

    with pytest.raises(IndexError):
        map_concurrently(fail, range(4), 2)


async def test_cancelling_a_map_ends_what_is_under_way() -> None:
    busy = Busy()

    async def wait_async(_: int) -> None:
        with busy:
            await asyncio.sleep(PATIENCE)

    task = asyncio.create_task(map_concurrently_async(wait_async, range(10), 4))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (busy.started, busy.inside) == (4, 0)


async def test_work_in_a_thread() -> None:
    here = threading.get_ident()
    assert await run_in_thread_async(threading.get_ident) != here
    assert run_in_thread(threading.get_ident) == here
    assert await run_in_thread_async(divmod, 7, 2) == run_in_thread(divmod, 7, 2) == (3, 1)
    before = time.monotonic()
    await sleep_async(0.01)
    sleep(0.01)
    assert time.monotonic() - before >= 0.02


# One fetch for many askers


class Fetch:
    """A fetch that counts, and ends when it may."""

    def __init__(self) -> None:
        self.count = 0
        self.may_end = threading.Event()

    def __call__(self) -> int:
        self.count += 1
        assert self.may_end.wait(PATIENCE)
        return self.count

    async def run_async(self) -> int:
        self.count += 1
        number = self.count
        while not self.may_end.is_set():
            await asyncio.sleep(0.001)
        return number


async def test_tasks_share_a_fetch() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    fetch = Fetch()
    tasks = [asyncio.create_task(flights.run_async("a", fetch.run_async)) for _ in range(20)]
    other = asyncio.create_task(flights.run_async("b", fetch.run_async))
    await asyncio.sleep(0.01)
    fetch.may_end.set()
    assert await asyncio.gather(*tasks) == [1] * 20
    assert await other == 2
    assert await flights.run_async("a", fetch.run_async) == 3
    assert not flights._flights


def test_threads_share_a_fetch() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    fetch = Fetch()
    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(flights.run, "a", fetch) for _ in range(20)]
        time.sleep(0.05)
        fetch.may_end.set()
        assert [future.result(PATIENCE) for future in futures] == [1] * 20
    assert not flights._flights


async def test_tasks_share_the_fetch_of_a_thread() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    fetch = Fetch()
    thread = asyncio.create_task(asyncio.to_thread(flights.run, "a", fetch))
    while not fetch.count:
        await asyncio.sleep(0.001)
    tasks = [asyncio.create_task(flights.run_async("a", fetch.run_async)) for _ in range(5)]
    await asyncio.sleep(0.01)
    fetch.may_end.set()
    assert await asyncio.gather(thread, *tasks) == [1] * 6


@pytest.mark.parametrize("error", [LookupError("gone"), KeyError("gone")])
async def test_an_error_reaches_every_asker(error: Exception) -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    async def fail_async() -> int:
        await asyncio.sleep(0.01)
        raise error

    def fail() -> int:
        time.sleep(0.01)
        raise error

    answers = await asyncio.gather(
        *[flights.run_async("a", fail_async) for _ in range(5)], return_exceptions=True
    )
    assert answers == [error] * 5
    answers = await asyncio.gather(
        *[asyncio.to_thread(flights.run, "a", fail) for _ in range(5)], return_exceptions=True
    )
    assert answers == [error] * 5
    assert not flights._flights


async def test_a_cancelled_fetch_is_taken_over_by_who_waits() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    fetch = Fetch()
    first = asyncio.create_task(flights.run_async("a", fetch.run_async))
    await asyncio.sleep(0)
    others = [asyncio.create_task(flights.run_async("a", fetch.run_async)) for _ in range(5)]
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    fetch.may_end.set()
    assert await asyncio.gather(*others) == [2] * 5
    assert first.cancelled()
    assert not flights._flights


async def test_cancelling_who_waits_leaves_the_fetch_alone() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    fetch = Fetch()
    first = asyncio.create_task(flights.run_async("a", fetch.run_async))
    await asyncio.sleep(0)
    others = [asyncio.create_task(flights.run_async("a", fetch.run_async)) for _ in range(5)]
    await asyncio.sleep(0.01)
    for other in others[1:]:
        other.cancel()
    await asyncio.sleep(0.01)
    fetch.may_end.set()
    assert await first == 1
    assert await others[0] == 1
    assert all(other.cancelled() for other in others[1:])


def test_an_interrupted_thread_hands_its_fetch_on() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    waiting = threading.Event()
    fetch = Fetch()
    fetch.may_end.set()

    def interrupted() -> int:
        waiting.set()
        time.sleep(0.05)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.run, "a", interrupted)
        assert waiting.wait(PATIENCE)
        second = pool.submit(flights.run, "a", fetch)
        assert second.result(PATIENCE) == 1
        assert isinstance(first.exception(PATIENCE), KeyboardInterrupt)


async def test_a_blocking_asker_never_waits_for_the_loop_that_it_holds_up() -> None:
    """As in a notebook: a task is fetching when a cell reads without await."""
    flights: SingleFlight[str, int] = SingleFlight()
    fetch = Fetch()
    task = asyncio.create_task(flights.run_async("a", fetch.run_async))
    await asyncio.sleep(0)
    assert fetch.count == 1
    fetch.may_end.set()
    assert flights.run("a", fetch) == 2
    assert await task == 1


def test_two_loops_never_wait_for_each_other() -> None:
    """A loop that waits for another loop, whose task would wait for the fetch of the first one."""
    flights: SingleFlight[str, int] = SingleFlight()
    fetch = Fetch()

    async def hold_up_own_loop_async() -> tuple[int, int]:
        task = asyncio.create_task(flights.run_async("a", fetch.run_async))
        await asyncio.sleep(0)
        fetch.may_end.set()
        with ThreadPoolExecutor(1) as pool:
            there = pool.submit(asyncio.run, flights.run_async("a", fetch.run_async))
            return there.result(PATIENCE), await task

    assert asyncio.run(hold_up_own_loop_async()) == (2, 1)


def test_a_loop_that_was_left_behind_holds_nobody_up() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    fetch = Fetch()
    left = asyncio.new_event_loop()
    task = left.create_task(flights.run_async("a", fetch.run_async))
    left.run_until_complete(asyncio.sleep(0))
    fetch.may_end.set()
    assert flights.run("a", fetch) == 2
    assert asyncio.run(flights.run_async("a", fetch.run_async)) == 3
    assert left.run_until_complete(task) == 1
    left.close()


def test_two_loops_and_threads_at_once() -> None:
    flights: SingleFlight[int, int] = SingleFlight()
    fetches: list[int] = []

    async def fetch_async(key: int) -> int:
        fetches.append(key)
        await asyncio.sleep(random.random() / 500)
        return key

    def fetch(key: int) -> int:
        fetches.append(key)
        time.sleep(random.random() / 500)
        return key

    def asking_async(key: int) -> Callable[[], Awaitable[int]]:
        return lambda: fetch_async(key)

    async def ask_async() -> None:
        for round_ in range(40):
            keys = [round_ * 3 + random.randrange(3) for _ in range(10)]
            tasks = [asyncio.create_task(flights.run_async(key, asking_async(key))) for key in keys]
            await asyncio.sleep(0)
            tasks[0].cancel()
            answers: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
            assert answers[1:] == keys[1:]

    def ask() -> None:
        for round_ in range(40):
            key = round_ * 3 + random.randrange(3)
            assert flights.run(key, lambda key=key: fetch(key)) == key  # type: ignore[misc]

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(asyncio.run, ask_async()) for _ in range(3)]
        futures += [pool.submit(ask) for _ in range(5)]
        for future in futures:
            future.result(PATIENCE)
    assert not flights._flights
    assert len(fetches) < 40 * (3 * 10 + 5)


# Clock and randomness


def test_the_clock_can_be_put_in_place() -> None:
    assert abs(now_us() - time.time() * 1e6) < 5e6
    with use_clock(iter(range(3)).__next__):
        assert [now_us(), now_us()] == [0, 1]
    assert now_us() > 1e15


def test_the_random_source_can_be_put_in_place() -> None:
    assert len({random_id() for _ in range(1000)}) == 1000
    assert (len(random_id()), len(random_id(8))) == (12, 8)
    assert all(0 <= random_unit() < 1 for _ in range(1000))
    assert uuid.UUID(random_uuid()).version == 4
    with use_random(random.Random(1).randbytes):
        first = random_id(), random_unit(), random_uuid()
    with use_random(random.Random(1).randbytes):
        assert (random_id(), random_unit(), random_uuid()) == first
