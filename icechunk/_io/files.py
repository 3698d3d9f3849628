"""Files below one directory: reads that need no thread, writes seen whole or not at all, compare and swap.

Objects are never changed in place. A write goes to a temporary file `<name>#<digits>` beside its target, a
form that listings skip (those of the official implementation too), and is renamed over it. A process killed
in between leaves such a file at most.

A new object whose key nobody can know yet has no readers to protect, and is written under its own name. What
matters is that its key is told to nobody before the write has returned. A process killed before that leaves a
part of an object that nothing refers to, which is the same garbage as a whole one.

Compare and swap happens under one lock at the root, between all threads and processes: the object is read,
its content hash compared, and the new one renamed over it. The version of an object is that hash, because
times and inode numbers repeat.

With `durable`, an operation returns when the disk has the bytes, the name, and the names of the directories
above.

On an event loop, small reads come straight from the page cache: `preadv` with `RWF_NOWAIT` copies what is
there or says that it would wait for the disk. Then, for large reads, for writes, and where the file system
or platform cannot say, a thread is used: one hop an operation.

Names: the path below the root is the object's key, with characters that some file systems cannot have
spelled as `%` and two hexadecimal digits, as the official implementation does.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import sys
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from aiofiles.os import wrap

from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io.concurrency import run_in_thread_async
from icechunk._io.locks import exclusively
from icechunk._io.random import random_id

if sys.platform == "darwin":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from typing_extensions import Buffer

    Ranges = Sequence[tuple[int, int | None]]

INLINE_LIMIT = 1 << 18
"""Bytes up to which the page cache is read on the event loop: to copy more takes longer than a hop."""

WRITE_INLINE_LIMIT = 1 << 16
"""Bytes up to which a file is written on the event loop, as long as that takes no longer than a hop."""

HOP = 0.0002
"""Seconds of the event loop's time that handing work to a thread and back takes, about."""

PATIENCE = 0.02
"""Seconds that writes may hold up the event loop, above what hops would have, before threads write."""

LOCK_NAME = ".lock#0"
"""The lock file at the root; named like a temporary file, so that no listing shows it."""

_LARGEST_CALL = 0x7FFF_F000
_LARGEST_OFFSET = 0x7FFF_FFFF_FFFF_FFFF
_UNASKED = 64 * 1024 * 1024
"""Bytes that are read, and memory taken for them, without asking first whether the file has so many."""

_BATCH = 1000
_CLOSED_ON_EXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | _CLOSED_ON_EXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSED_ON_EXEC
_NOWAIT_UNKNOWN = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_LINKS_UNKNOWN = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_NOTHING_THERE = (FileNotFoundError, NotADirectoryError)

_PLAIN_KEY = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z").match
_TO_SPELL = re.compile(
    r'[\x00-\x1f\x7f-\U0010ffff\\{^}%`\]">\[~<#|*?' + (":" if sys.platform == "win32" else "") + "]"
)
_TEMPORARY = re.compile(r".*#\d+\Z", re.DOTALL).match


class Found(NamedTuple):
    """What is known of a file without reading it; the time in seconds since the epoch."""

    key: str
    size: int
    modified_at: float


def digest(data: Buffer) -> str:
    """The version of a content."""
    return hashlib.sha256(data).hexdigest()


class Files:
    """The objects below a root directory.

    Failures are `OSError`, or `StorageError` where they need words of their own.
    """

    def __init__(self, root: str, *, durable: bool) -> None:
        self.root = root
        self.durable = durable
        self._reads_on_loop = True
        self._stalled = 0.0
        self._durable_directories: set[str] = set()
        self._known = b"", digest(b"")

    def path(self, key: str) -> str:
        """The file of an object."""
        if not _PLAIN_KEY(key):
            if not {"", ".", ".."}.isdisjoint(key.split("/")):
                raise StorageError(
                    f"`{key}` is not the key of an object in {self.root}", ErrorKind.STORAGE_OTHER
                )
            key = _TO_SPELL.sub(_spell, key)
        return f"{self.root}/{key}"

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes of an object, or exactly those of a range."""
        file = os.open(self.path(key), _READ)
        try:
            if end is not None and 0 <= start < end <= min(start + _UNASKED, _LARGEST_OFFSET):
                data = _read_piece(file, start, end - start)
                if len(data) == end - start:  # the usual case: no need to ask for the size
                    return data
            return _read_at(key, file, *_extent(key, os.fstat(file).st_size, start, end))
        finally:
            os.close(file)

    async def read_async(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        if end is not None and end - start > INLINE_LIMIT:
            return await self._read_in_thread_async(key, start, end)
        pieces = self._read_cached(key, ((start, end),)) if self._reads_on_loop else None
        return await self._read_in_thread_async(key, start, end) if pieces is None else pieces[0]

    _read_in_thread_async = wrap(read)

    def read_ranges(self, key: str, ranges: Ranges) -> list[bytes]:
        """The bytes of several ranges."""
        file = os.open(self.path(key), _READ)
        try:
            length = os.fstat(file).st_size
            return [_read_at(key, file, *_extent(key, length, start, end)) for start, end in ranges]
        finally:
            os.close(file)

    async def read_ranges_async(self, key: str, ranges: Ranges) -> list[bytes]:
        pieces = self._read_cached(key, ranges) if self._reads_on_loop else None
        return await self._read_ranges_in_thread_async(key, ranges) if pieces is None else pieces

    _read_ranges_in_thread_async = wrap(read_ranges)

    def read_versioned(self, key: str, known: str | None) -> tuple[bytes, str] | None:
        """The bytes of an object and their version; None when that is `known`."""
        return self._unless_known(self.read(key), known)

    async def read_versioned_async(self, key: str, known: str | None) -> tuple[bytes, str] | None:
        pieces = self._read_cached(key, ((0, None),)) if self._reads_on_loop else None
        if pieces is None:
            return await self._read_versioned_in_thread_async(key, known)
        return self._unless_known(pieces[0], known)

    _read_versioned_in_thread_async = wrap(read_versioned)

    def _read_cached(self, key: str, ranges: Ranges) -> list[bytes] | None:
        """What `read_ranges` answers, or None when that is too much or would wait for the disk."""
        file = os.open(self.path(key), _READ)
        try:
            if len(ranges) == 1 and (found := _read_known_range(file, *ranges[0])) is not None:
                return [found]
            length = os.fstat(file).st_size
            allowance = INLINE_LIMIT
            pieces = []
            for asked_start, asked_end in ranges:
                start, size = _extent(key, length, asked_start, asked_end)
                allowance -= size
                if allowance < 0:
                    return None
                piece = bytearray(size)
                if size and _read_without_waiting(file, piece, start) != size:
                    return None
                pieces.append(bytes(piece))
            return pieces
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _NOWAIT_UNKNOWN:
                raise
            self._reads_on_loop = False
            return None
        finally:
            os.close(file)

    def status(self, key: str) -> Found:
        """Size and time of an object."""
        found = os.stat(self.path(key))
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path(key))
        return Found(key, found.st_size, found.st_mtime)

    status_async = wrap(status)

    def batches(self, prefix: str) -> Iterator[list[Found]]:
        """All objects in a directory and below, in batches. What vanishes meanwhile is left out."""
        batch: list[Found] = []
        directories = [self.path(prefix.rstrip("/")) if prefix else self.root]
        while directories:
            try:
                entries = os.scandir(directories.pop())
            except _NOTHING_THERE:
                continue
            with entries:
                for entry in entries:
                    if entry.is_dir():
                        directories.append(entry.path)
                    elif not _TEMPORARY(entry.name):
                        with contextlib.suppress(FileNotFoundError):
                            batch.append(self._found(entry))
                    if len(batch) == _BATCH:
                        yield batch
                        batch = []
        if batch:
            yield batch

    async def batches_async(self, prefix: str) -> AsyncIterator[list[Found]]:
        batches = self.batches(prefix)
        while batch := await run_in_thread_async(_next, batches):
            yield batch

    def _found(self, entry: os.DirEntry[str]) -> Found:
        key = entry.path[len(self.root) + 1 :].replace(os.sep, "/")
        status = entry.stat()
        return Found(unquote(key) if "%" in key else key, status.st_size, status.st_mtime)

    def write(self, key: str, data: Buffer, *, new: bool = False) -> None:
        """Write an object over whatever is there; or a new one, whose key nobody knows."""
        path = self.path(key)
        if new:
            self._create_file(path, data)
        else:
            temporary = self._write_beside(path, data)
            try:
                _replace(temporary, path)
            except BaseException:
                _discard(temporary)
                raise
        self._make_names_durable(path)

    async def write_async(self, key: str, data: Buffer, *, new: bool = False) -> None:
        if self.durable or len(memoryview(data)) > WRITE_INLINE_LIMIT or self._stalled > PATIENCE:
            self._stalled = max(0.0, self._stalled - HOP)
            await self._write_in_thread_async(key, data, new=new)
            return
        started = time.perf_counter()
        self.write(key, data, new=new)
        self._stalled = max(0.0, self._stalled + time.perf_counter() - started - HOP)

    _write_in_thread_async = wrap(write)

    def write_if(self, key: str, data: Buffer, expected: str | None) -> str | None:
        """Write an object whose version is `expected`, or with None a new one; return its version.

        The answer None is a refusal: the object is another one by now.
        """
        path = self.path(key)
        if not os.path.isdir(self.root):
            if expected is not None:
                return None
            self.make_root()
        with exclusively(f"{self.root}/{LOCK_NAME}"):
            try:
                found = self._version(self.read(key))
            except _NOTHING_THERE:
                found = None
            if found != expected:
                return None
            temporary = self._write_beside(path, data)
            try:
                written = _create(temporary, path) if expected is None else _replace(temporary, path)
            except BaseException:
                _discard(temporary)
                raise
            self._make_names_durable(path)
        return self._version(bytes(data)) if written else None

    write_if_async = wrap(write_if)

    def copy(self, source: str, target: str, expected: str | None) -> bool:
        """Copy an object whose version is `expected` (None: any); the answer says whether it was.

        Where that can be, the copy is a second name of the file, which nobody changes in place.
        """
        path = self.path(target)
        linked = not self.durable and self._link(self.path(source), path)
        data = self.read(target if linked else source)
        if expected is not None and self._version(data) != expected:
            if linked:
                _discard(path)
            return False
        if not linked:
            self.write(target, data)
        return True

    copy_async = wrap(copy)

    def delete(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """Delete objects; return the failures and their reasons. Missing objects are no failures."""
        failures = []
        for key in keys:
            try:
                os.unlink(self.path(key))
            except _NOTHING_THERE:
                continue
            except (OSError, StorageError) as error:
                failures.append((key, str(error)))
        return failures

    delete_async = wrap(delete)

    def make_root(self) -> None:
        """Make the root directory and those above it, as far as they are missing."""
        self._make_directory(self.root)

    make_root_async = wrap(make_root)

    def _write_beside(self, path: str, data: Buffer) -> str:
        """Write a temporary file for `path`, and return its path."""
        temporary = f"{path}#{int.from_bytes(random_id(8), 'big')}"
        self._create_file(temporary, data)
        return temporary

    def _create_file(self, path: str, data: Buffer) -> None:
        """Write a file that is not there yet; if that fails, none is left."""
        try:
            file = os.open(path, _CREATE, 0o666)
        except FileNotFoundError:
            self._make_directory(os.path.dirname(path))
            file = os.open(path, _CREATE, 0o666)
        try:
            try:
                _write_all(file, data)
                if self.durable:
                    _sync(file)
            finally:
                os.close(file)
        except BaseException:
            _discard(path)
            raise

    def _link(self, source: str, path: str) -> bool:
        """Give a file a second name; the answer says whether that worked. Why not, a copy will tell."""
        if os.path.islink(source):
            return False  # the second name would be one of the link, which may be relative to its place
        try:
            try:
                os.link(source, path)
            except FileNotFoundError:
                self._make_directory(os.path.dirname(path))
                os.link(source, path)
        except OSError:
            return False
        return True

    def _unless_known(self, data: bytes, known: str | None) -> tuple[bytes, str] | None:
        version = self._version(data)
        return None if version == known else (data, version)

    def _version(self, data: bytes) -> str:
        """The version of a content. The last one is remembered: to compare is faster than to hash."""
        content, version = self._known
        if data != content:
            version = digest(data)
            self._known = data, version
        return version

    def _make_directory(self, path: str) -> None:
        missing = []
        above = path
        while not os.path.isdir(above) and above != os.path.dirname(above):
            missing.append(above)
            above = os.path.dirname(above)
        os.makedirs(path, exist_ok=True)
        if self.durable:
            self._durable_directories.difference_update(missing)
            for directory in missing:
                _sync_directory(os.path.dirname(directory))

    def _make_names_durable(self, path: str) -> None:
        """Make the disk know the name of a file, and those of the directories above it once."""
        if not self.durable:
            return
        directory = os.path.dirname(path)
        _sync_directory(directory)
        while directory != self.root and directory not in self._durable_directories:
            above = os.path.dirname(directory)
            _sync_directory(above)
            self._durable_directories.add(directory)
            directory = above


def _extent(key: str, length: int, start: int, end: int | None) -> tuple[int, int]:
    """Where a range starts and how many bytes it has."""
    if end is None:
        end = length
    if not 0 <= start <= end <= length:
        raise StorageError(
            f"object `{key}` has {length} bytes, so there are no bytes {start} to {end} of it",
            ErrorKind.INVALID_OBJECT_SIZE,
        )
    return start, end - start


def _next(batches: Iterator[list[Found]]) -> list[Found]:
    """The next batch; an empty one at the end."""
    return next(batches, [])


def _read_known_range(file: int, start: int, end: int | None) -> bytes | None:
    """A range that is there, without asking for the size of the file; None if it has to be asked for."""
    if end is None or not 0 <= start < end <= min(start + INLINE_LIMIT, _LARGEST_OFFSET):
        return None
    piece = bytearray(end - start)
    return bytes(piece) if _read_without_waiting(file, piece, start) == len(piece) else None


def _spell(character: re.Match[str]) -> str:
    return "".join([f"%{byte:02X}" for byte in character[0].encode()])


def _write_all(file: int, data: Buffer) -> None:
    """Write a buffer without copying it; one call takes 2 GiB at most."""
    view = memoryview(data)
    if view.nbytes == 0:
        return
    view = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
    while view.nbytes:
        view = view[os.write(file, view[:_LARGEST_CALL]) :]


def _discard(temporary: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(temporary)


def _create(temporary: str, path: str) -> bool:
    """Give a temporary file its name, if nothing has that name; otherwise remove it.

    We hold the lock and have looked. The link also excludes writers that know no lock.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        _discard(temporary)
        return False
    except OSError as error:
        if error.errno not in _LINKS_UNKNOWN:
            raise
        return _replace(temporary, path)
    _discard(temporary)
    return True


def _read_at(key: str, file: int, start: int, size: int) -> bytes:
    """Exactly `size` bytes from `start` on."""
    data = _read_piece(file, start, min(size, _LARGEST_CALL))
    if len(data) == size:
        return data
    pieces = [data]
    missing = size - len(data)
    while missing:
        data = _read_piece(file, start + size - missing, min(missing, _LARGEST_CALL))
        if not data:
            raise StorageError(
                f"object `{key}` lost {missing} bytes while it was read", ErrorKind.INVALID_OBJECT_SIZE
            )
        pieces.append(data)
        missing -= len(data)
    return b"".join(pieces)


if sys.platform == "linux" and hasattr(os, "RWF_NOWAIT"):

    def _read_without_waiting(file: int, piece: bytearray, start: int) -> int:
        return os.preadv(file, [piece], start, os.RWF_NOWAIT)

else:

    def _read_without_waiting(file: int, piece: bytearray, start: int) -> int:  # noqa: ARG001
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


if sys.platform == "win32":

    def _read_piece(file: int, start: int, size: int) -> bytes:
        os.lseek(file, start, os.SEEK_SET)
        return os.read(file, size)

    def _replace(temporary: str, path: str) -> bool:
        """Rename over a file. Windows refuses while somebody has it open, which readers do for a moment."""
        for nap in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
            try:
                os.replace(temporary, path)
            except PermissionError:
                time.sleep(nap)
            else:
                return True
        os.replace(temporary, path)
        return True

    def _sync_directory(path: str) -> None:
        """Windows has no way to flush a directory, and journals its names."""

else:

    def _read_piece(file: int, start: int, size: int) -> bytes:
        return os.pread(file, size, start)

    def _replace(temporary: str, path: str) -> bool:
        os.replace(temporary, path)
        return True

    def _sync_directory(path: str) -> None:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(directory)
        finally:
            os.close(directory)


def _sync(file: int) -> None:
    """Wait until the disk has a file. On macOS `fsync` only hands it to the disk's own cache."""
    if sys.platform == "darwin":
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
    else:
        os.fsync(file)
