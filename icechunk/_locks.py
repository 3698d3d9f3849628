"""Locks that a forked child finds open, over state that it finds whole.

A lock of shared state is held for a few operations on memory, never across I/O
or an await. A child forked while another thread holds one would wait for a
thread that it does not have, and would go on with half of what that thread was
doing. So a fork waits until nobody holds any of the locks made here, and every
one is replaced in the child.
"""

from __future__ import annotations

import os
import threading
import weakref

_ATTEMPTS = 20
_PATIENCE = 0.05
"""Seconds that a fork waits for a lock, each time: it goes ahead when somebody holds on to one."""

_locks: weakref.WeakSet[StateLock] = weakref.WeakSet()
_registry = threading.Lock()
_forking: dict[int, list[threading.Lock]] = {}
"""What each thread that forks has locked meanwhile."""


class StateLock:
    """A mutual exclusion lock for short sections, open again after a fork.

    Use it as ``with lock.held:``. That is a lock of the interpreter, which is entered in one step: methods of
    ours in its place could be interrupted by Control-C with the lock taken and nobody there to release it.

    Attributes
    ----------
    held : threading.Lock
        Another one in each process.
    """

    __slots__ = ("__weakref__", "held")

    def __init__(self) -> None:
        self.held = threading.Lock()
        with _registry:
            _locks.add(self)


def _before_fork() -> None:
    """Take every lock, or none if that takes too long."""
    awaited = _registry
    for _ in range(_ATTEMPTS):
        taken: list[threading.Lock] = []
        missing = _take_all(awaited, taken)
        if missing is None:
            _forking[threading.get_ident()] = taken
            return
        # Sections may nest: whoever holds this one may wait for one that was taken here.
        for lock in taken:
            lock.release()
        awaited = missing


def _take_all(awaited: threading.Lock, taken: list[threading.Lock]) -> threading.Lock | None:
    """Take every lock, `awaited` first; the answer is one that somebody held for too long."""
    for first in dict.fromkeys((awaited, _registry)):
        if not first.acquire(timeout=_PATIENCE):
            return first
        taken.append(first)
    for each in list(_locks):
        lock = each.held
        if lock is awaited:
            continue
        if not lock.acquire(timeout=_PATIENCE):
            return lock
        taken.append(lock)
    return None


def _after_fork_in_parent() -> None:
    for lock in _forking.pop(threading.get_ident(), ()):
        lock.release()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.Lock()
    _forking.clear()
    for lock in list(_locks):
        lock.held = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
