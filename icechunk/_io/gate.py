"""A limit on what a repository has under way, over all threads and event loops: requests, decodes, commits.

Who finds the gate full waits in line as a future, which a thread waits for by
blocking and a coroutine by awaiting; nothing is bound to an event loop. Who
leaves hands the place to the first in line. A forked child starts with an empty
gate: the requests under way at the fork are its parent's.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from icechunk._locks import StateLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


DEFAULT_REQUESTS = 256
"""Requests under way at one time, unless the configuration says otherwise."""


class RequestGate:
    """Lets `limit` requests, or other work, through at a time.

    Examples
    --------
    >>> gate = RequestGate(2)
    >>> with gate.passing(), gate.passing():
    ...     gate.under_way
    2
    """

    __slots__ = ("_inside", "_line", "_lock", "_process", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._inside: set[_Visit] = set()
        self._line: deque[_Visit] = deque()
        self._lock = StateLock()
        self._process = os.getpid()

    @property
    def under_way(self) -> int:
        """How many have a place."""
        return len(self._inside)

    @asynccontextmanager
    async def passing_async(self, patience: float | None = None) -> AsyncIterator[None]:
        """Hold a place while the block runs; with `patience`, go without one after so many seconds."""
        visit = _Visit()
        try:
            self._enter(visit)
            if visit.ticket is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await asyncio.wrap_future(visit.ticket)
            yield
        finally:
            self._leave(visit)

    @contextmanager
    def passing(self, patience: float | None = None) -> Iterator[None]:
        """Hold a place while the block runs; with `patience`, go without one after so many seconds."""
        visit = _Visit()
        try:
            self._enter(visit)
            if visit.ticket is not None:
                with suppress(TimeoutError):
                    visit.ticket.result(patience)
            yield
        finally:
            self._leave(visit)

    def _enter(self, visit: _Visit) -> None:
        """Take a place, or a ticket for one."""
        with self._lock.held:
            if self._process != os.getpid():
                self._process = os.getpid()
                self._inside.clear()
                self._line.clear()
            if len(self._inside) < self.limit:
                self._inside.add(visit)
            else:
                visit.ticket = Future()
                self._line.append(visit)

    def _leave(self, visit: _Visit) -> None:
        """Leave the line, or hand the place, if there is one, to the first in line that still waits."""
        called = None
        with self._lock.held:
            if visit in self._inside:
                self._inside.remove(visit)
                while self._line and called is None:
                    first = self._line.popleft()
                    if first.ticket is not None and first.ticket.set_running_or_notify_cancel():
                        self._inside.add(first)
                        called = first.ticket
            elif visit.ticket is not None:
                visit.ticket.cancel()
        if called is not None:
            called.set_result(None)


class _Visit:
    """One who has a place, or waits for one with a ticket: known from before it has either to its end."""

    __slots__ = ("ticket",)

    def __init__(self) -> None:
        self.ticket: Future[None] | None = None
