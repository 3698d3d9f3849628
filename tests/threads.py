"""Calling things in several threads at once, without ever waiting forever for one of them."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

PATIENCE = 60.0
"""Seconds until a thread that does not end is taken for one that never will."""


def at_once(*jobs: Callable[[], Any], patience: float = PATIENCE) -> list[Any]:
    """Call functions in a thread each, all starting together; their results, or the first error."""
    start = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)
    errors: list[BaseException] = []

    def run(number: int, job: Callable[[], Any]) -> None:
        try:
            start.wait(patience)
            results[number] = job()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(number, job), daemon=True) for number, job in enumerate(jobs)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), "a thread waits for something that never happens"
    return results


def on_a_loop(coroutine: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """Await a coroutine on a new loop."""
    return asyncio.run(coroutine(*args))


@contextmanager
def meanwhile(*jobs: Callable[[], Any]) -> Iterator[None]:
    """Call functions again and again, in a thread each, while the block runs; their errors are raised."""
    over = threading.Event()
    errors: list[BaseException] = []

    def run(job: Callable[[], Any]) -> None:
        try:
            while not over.is_set():
                job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), "a thread waits for something that never happens"
