"""Work that nobody waits for: it may be cut short at any time, and its failures change nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_tasks: set[asyncio.Task[None]] = set()
"""Keeps tasks alive until they end; an event loop does not."""


async def start_async(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Let `work()` run beside the caller, on the same event loop."""

    async def quietly_async() -> None:
        with contextlib.suppress(Exception):
            await work()

    task = asyncio.get_running_loop().create_task(quietly_async())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def start(work: Callable[[], None]) -> None:
    """Let `work()` run beside the caller, in a thread that does not keep the process alive."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            work()

    threading.Thread(target=quietly, name="icechunk-preload", daemon=True).start()
