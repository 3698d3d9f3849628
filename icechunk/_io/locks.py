"""An exclusive lock between processes and threads: a lock file at the root of a directory.

The lock is the operating system's (`flock`; on Windows that of the `filelock` package), so it ends with the
process that holds it, however that dies, and there is nothing stale to clean up. The lock file itself
stays: removing it would let two processes lock two files of the same name.

Threads of one process queue on a lock in memory first. Between processes we poll in fractions of a
millisecond: what happens under the lock takes about that long, and a wait in the kernel would have no end
when the holder is stopped.

A forked child inherits the open file of a lock that another thread of its parent holds, which would keep
the lock alive should the parent be killed. It is closed in the child, which releases nothing as long as the
parent has it open.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from icechunk._exceptions import ErrorKind, StorageError

if sys.platform == "win32":
    import filelock
else:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0
"""Seconds to wait for a lock. What is done under it takes milliseconds: by then its holder is stopped."""

_LONGEST_NAP = 0.002
_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}

_queues: dict[str, threading.Lock] = {}
_open_files: set[int] = set()
_opening = threading.Lock()
"""Held while a lock file is opened and noted in `_open_files`, so that no fork falls in between."""


@contextmanager
def exclusively(path: str) -> Iterator[None]:
    """Hold the lock of the lock file `path`, whose directory exists, inside the `with` block.

    Raises
    ------
    StorageError
        Kind `io`: somebody held it for longer than `PATIENCE`. Kind `storage-config`: the file system has
        no locks.
    OSError
        The lock file cannot be opened.
    """
    deadline = time.monotonic() + PATIENCE
    queue = _queues.setdefault(path, threading.Lock())
    if not queue.acquire(timeout=PATIENCE):
        raise _too_long(path)
    try:
        with _locked(path, deadline):
            yield
    finally:
        queue.release()


if sys.platform == "win32":

    @contextmanager
    def _locked(path: str, deadline: float) -> Iterator[None]:
        lock = filelock.FileLock(path, timeout=max(deadline - time.monotonic(), 0), thread_local=False)
        try:
            lock.acquire(poll_interval=_LONGEST_NAP)
        except filelock.Timeout:
            raise _too_long(path) from None
        try:
            yield
        finally:
            lock.release()

else:

    @contextmanager
    def _locked(path: str, deadline: float) -> Iterator[None]:
        with _opening:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            _open_files.add(file)
        try:
            _wait_for(file, path, deadline)
            yield
        finally:
            with _opening:
                if file in _open_files:
                    _open_files.remove(file)
                    os.close(file)

    def _wait_for(file: int, path: str, deadline: float) -> None:
        nap = 0.00005
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _too_long(path) from None
                time.sleep(nap)
                nap = min(nap * 1.5, _LONGEST_NAP)
            except OSError as error:
                if error.errno not in _WITHOUT_LOCKS:
                    raise
                raise StorageError(
                    f"the file system of `{path}` has no file locks ({error.strerror}), without which "
                    "concurrent commits could overwrite each other: keep the repository on a file system "
                    "that has them, or in an object store",
                    ErrorKind.STORAGE_CONFIG,
                ) from error
            else:
                return

    def _after_fork_in_child() -> None:
        global _opening
        for file in _open_files:
            os.close(file)
        _open_files.clear()
        _queues.clear()
        _opening = threading.Lock()

    # The hooks must release the lock that they took, also when one of them runs in the child.
    os.register_at_fork(
        before=lambda: _opening.acquire(),
        after_in_parent=lambda: _opening.release(),
        after_in_child=_after_fork_in_child,
    )


def _too_long(path: str) -> StorageError:
    return StorageError(
        f"the lock `{path}` has been held by somebody else for {PATIENCE:.0f} seconds: is one of the "
        "processes that use this repository stopped?",
        ErrorKind.IO,
    )
