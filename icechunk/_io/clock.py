"""The clock: the only place that reads the time.

Times inside the library are whole microseconds since the epoch, UTC. A test that needs reproducible bytes
puts its own clock in place with `use_clock`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _system_clock() -> int:
    return time.time_ns() // 1000


_read_clock: Callable[[], int] = _system_clock


def now_us() -> int:
    """Microseconds since the epoch, UTC, by the clock of this machine."""
    return _read_clock()


@contextmanager
def use_clock(read_clock: Callable[[], int]) -> Iterator[None]:
    """Let `now_us` answer from `read_clock` inside the `with` block, in all threads.

    Examples
    --------
    >>> with use_clock(lambda: 1_700_000_000_000_000):
    ...     now_us()
    1700000000000000
    """
    global _read_clock
    before = _read_clock
    _read_clock = read_clock
    try:
        yield
    finally:
        _read_clock = before
