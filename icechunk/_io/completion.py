"""Steps that have to run to their end once they have begun."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

T = TypeVar("T")


async def run_to_end_async(step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await `step()`; a cancellation that arrives meanwhile is raised when the step has ended."""
    task = asyncio.ensure_future(step())
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:
            break  # the step's own error, raised below
    if cancelled is not None:
        if not task.cancelled() and task.exception() is not None:
            raise cancelled from task.exception()
        raise cancelled
    return task.result()


def run_to_end(step: Callable[[], T]) -> T:
    """Call `step()`."""
    return step()
