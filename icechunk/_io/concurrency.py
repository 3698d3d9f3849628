"""Doing several things at once, on an event loop or with threads, under one pair of names.

Rules of this file: nothing is bound to an event loop or a process for longer than one call, no lock is held
while something waits, and whatever was started has ended when a call returns, also when it fails or is
cancelled.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = TypeVar("Key", bound="Hashable")
Arguments = ParamSpec("Arguments")


async def sleep_async(seconds: float) -> None:
    """Wait without holding up the event loop."""
    await anyio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Wait, holding up this thread."""
    time.sleep(seconds)


async def run_in_thread_async(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a blocking or CPU-bound function in a thread of the running loop's pool.

    Cancelling the wait does not stop the function.
    """
    call = partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(None, call)


def run_in_thread(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a function here: the blocking side has no loop to keep free."""
    return function(*args, **kwargs)


async def map_concurrently_async(
    function: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int
) -> list[Result]:
    """Await `function` of each item, at most `limit` at a time; the results come in the order of the items.

    The first error, or a cancellation from outside, cancels what is under way, waits until that has ended,
    and is raised as itself.
    """
    todo = list(items)
    if limit <= 1 or len(todo) <= 1:
        return [await function(item) for item in todo]
    results: list[Any] = [None] * len(todo)
    numbers = iter(range(len(todo)))

    async def work_async() -> None:
        for number in numbers:
            results[number] = await function(todo[number])

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(limit, len(todo))):
                group.start_soon(work_async)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors.exceptions[0].__cause__
    return results


def map_concurrently(function: Callable[[Item], Result], items: Iterable[Item], limit: int) -> list[Result]:
    """Call `function` of each item, at most `limit` at a time; the results come in the order of the items.

    This thread takes part, others are started for the call. The first error keeps further items from being
    started, waits for those under way, and is raised as itself.
    """
    todo = list(items)
    if limit <= 1 or len(todo) <= 1:
        return [function(item) for item in todo]
    results: list[Any] = [None] * len(todo)
    numbers = deque(range(len(todo)))
    errors: list[BaseException] = []

    def work() -> None:
        while True:
            try:
                number = numbers.popleft()
            except IndexError:
                return
            try:
                results[number] = function(todo[number])
            except BaseException as error:
                errors.append(error)
                numbers.clear()

    workers = min(limit, len(todo)) - 1
    with ThreadPoolExecutor(workers, thread_name_prefix="icechunk") as pool:
        for _ in range(workers):
            pool.submit(work)
        try:
            work()
        finally:
            numbers.clear()
    if errors:
        raise errors[0]
    return results


class Abandoned(Exception):
    """The one who fetched was cancelled or interrupted; who waits has to fetch anew."""


class SingleFlight(Generic[Key, Result]):
    """One fetch for many askers: who asks while the same key is being fetched gets the result, or the error.

    Whoever asks first fetches, in place: no task is started. When that one is cancelled or interrupted, the
    fetch goes with it and one of those who waited fetches anew, so that nobody is cancelled by another and
    nobody waits forever.

    A coroutine makes progress only while its event loop runs, and a loop may stand still precisely because
    its thread waits for us: in a notebook a blocking read holds up the very loop that a background task of
    the same user fetches on. Hence a fetch on a loop is shared only with askers on that loop, and a fetch
    by a thread with everybody. Two loops, or a loop and a thread, may thus fetch the same key twice, but
    they never wait for each other in a circle. A forked child never waits for a fetch of its parent's.

    There is no lock: `dict.setdefault` decides who fetches. An instance costs nothing while nothing is
    fetched.
    """

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[tuple[int, asyncio.AbstractEventLoop | None, Key], Future[Result]] = {}

    async def run_async(self, key: Key, fetch: Callable[[], Awaitable[Result]]) -> Result:
        """The result of `await fetch()`, ours or that of somebody who was first."""
        process = os.getpid()
        own = (process, asyncio.get_running_loop(), key)
        by_a_thread = (process, None, key)
        while True:
            flight = self._flights.get(own) or self._flights.get(by_a_thread)
            if flight is None:
                mine = _take_off()
                flight = self._flights.setdefault(own, mine)
                if flight is mine:
                    break
            try:
                return await asyncio.wrap_future(flight)
            except Abandoned:
                continue
        try:
            result = await fetch()
        except BaseException as error:
            self._land(own, mine, error)
            raise
        self._land(own, mine).set_result(result)
        return result

    def run(self, key: Key, fetch: Callable[[], Result]) -> Result:
        """The result of `fetch()`, ours or that of a thread that was first."""
        own = (os.getpid(), None, key)
        while True:
            flight = self._flights.get(own)
            if flight is None:
                mine = _take_off()
                # An interruption may come between any two of these steps, and has to abandon the flight.
                try:
                    flight = self._flights.setdefault(own, mine)
                    if flight is mine:
                        result = fetch()
                        self._land(own, mine).set_result(result)
                        return result
                except BaseException as error:
                    self._land(own, mine, error)
                    raise
            try:
                return flight.result()
            except Abandoned:
                continue

    def _land(
        self,
        own: tuple[int, asyncio.AbstractEventLoop | None, Key],
        mine: Future[Result],
        error: BaseException | None = None,
    ) -> Future[Result]:
        """Take the flight off the board; what is not an ordinary error abandons it."""
        if self._flights.get(own) is mine:
            del self._flights[own]
        if error is not None and not mine.done():
            mine.set_exception(error if isinstance(error, Exception) else Abandoned())
        return mine


def _take_off() -> Future[Any]:
    """A future that a cancelled wait cannot cancel, because it counts as running."""
    flight: Future[Any] = Future()
    flight.set_running_or_notify_cancel()
    return flight
