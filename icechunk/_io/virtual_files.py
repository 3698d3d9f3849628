"""Ranges of local files that belong to somebody else: read only as long as they are what was referenced."""

from __future__ import annotations

import os

from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io.concurrency import run_in_thread_async


def read_file_range(path: str, start: int, end: int, etag: str | None, last_modified: int | None) -> bytes:
    """Bytes `start` to `end` of a file.

    Parameters
    ----------
    path : str
    start, end : int
    etag : str, optional
        What the file's inode, time and size must still spell, as the `object_store` library spells it.
    last_modified : int, optional
        Second since the epoch after which the file must not have been modified.

    Raises
    ------
    StorageError
        Kind `virtual-chunk-fetch`, `virtual-chunk-modified` or `invalid-object-size`.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if etag is not None and etag.strip('"') != _etag(status):
                raise _modified(path, "its etag is another one")
            if last_modified is not None and int(status.st_mtime) > last_modified:
                raise _modified(path, "it is newer than its reference")
            file.seek(start)
            data = _read_all(file.fileno(), end - start)
    except OSError as error:
        raise StorageError(
            f"the virtual chunk in {path} cannot be read: {error.strerror or error}",
            ErrorKind.VIRTUAL_CHUNK_FETCH,
        ) from error
    if len(data) != end - start:
        raise StorageError(
            f"the virtual chunk in {path} should be bytes {start} to {end}, but the file ends at "
            f"{status.st_size}",
            ErrorKind.INVALID_OBJECT_SIZE,
        )
    return data


async def read_file_range_async(
    path: str, start: int, end: int, etag: str | None, last_modified: int | None
) -> bytes:
    """Like `read_file_range`, in a thread."""
    return await run_in_thread_async(read_file_range, path, start, end, etag, last_modified)


def _read_all(file: int, size: int) -> bytes:
    pieces = []
    while size:
        piece = os.read(file, size)
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns // 1000:x}-{status.st_size:x}"


def _modified(path: str, reason: str) -> StorageError:
    return StorageError(
        f"{path} was modified after a virtual chunk in it was referenced ({reason}): write the references "
        "of the file anew",
        ErrorKind.VIRTUAL_CHUNK_MODIFIED,
    )
