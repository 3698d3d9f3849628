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
from contextlib import asynccontextmanager, contextmanager
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

    __slots__ = ("_line", "_lock", "_process", "limit", "under_way")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.under_way = 0
        self._line: deque[Future[None]] = deque()
        self._lock = StateLock()
        self._process = os.getpid()

    @asynccontextmanager
    async def passing_async(self, patience: float | None = None) -> AsyncIterator[None]:
        """Hold a place while the block runs; with `patience`, go without one after so many seconds."""
        ticket = self._enter()
        passed = True
        if ticket is not None:
            try:
                async with asyncio.timeout(patience):
                    await asyncio.wrap_future(ticket)
            except TimeoutError:
                self._give_up(ticket)
                passed = False
            except BaseException:
                self._give_up(ticket)
                raise
        try:
            yield
        finally:
            if passed:
                self._leave()

    @contextmanager
    def passing(self, patience: float | None = None) -> Iterator[None]:
        """Hold a place while the block runs; with `patience`, go without one after so many seconds."""
        ticket = self._enter()
        passed = True
        if ticket is not None:
            try:
                ticket.result(patience)
            except TimeoutError:
                self._give_up(ticket)
                passed = False
            except BaseException:
                self._give_up(ticket)
                raise
        try:
            yield
        finally:
            if passed:
                self._leave()

    def _enter(self) -> Future[None] | None:
        """Take a place, or a ticket for one."""
        with self._lock:
            if self._process != os.getpid():
                self._process = os.getpid()
                self.under_way = 0
                self._line.clear()
            if self.under_way < self.limit:
                self.under_way += 1
                return None
            ticket: Future[None] = Future()
            self._line.append(ticket)
            return ticket

    def _leave(self) -> None:
        """Hand the place to the first in line that still waits."""
        while True:
            with self._lock:
                if not self._line:
                    self.under_way -= 1
                    return
                ticket = self._line.popleft()
            if ticket.set_running_or_notify_cancel():
                ticket.set_result(None)
                return

    def _give_up(self, ticket: Future[None]) -> None:
        """Leave the line; a place that was handed over meanwhile goes on to the next."""
        if not ticket.cancel():
            self._leave()
