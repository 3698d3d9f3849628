"""Locks that a forked child finds open.

A lock of shared state is held for a few operations on memory, never across I/O
or an await. A child forked while another thread holds one would wait for a
thread that it does not have, so every lock made here is replaced in the child.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

_locks: weakref.WeakSet[StateLock] = weakref.WeakSet()
_registry = threading.Lock()


class StateLock:
    """A mutual exclusion lock for short sections, open again after a fork."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        with _registry:
            _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _open_again(self) -> None:
        self._lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.Lock()
    for lock in list(_locks):
        lock._open_again()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
