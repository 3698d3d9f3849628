"""Ranges of local files that belong to somebody else: read only as long as they are what was referenced."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from icechunk._core.locations import container_text
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io.concurrency import run_in_thread_async

if TYPE_CHECKING:
    from icechunk._core.locations import Resolved


def read_file_range(
    place: Resolved, start: int, end: int, etag: str | None, last_modified: int | None
) -> bytes:
    """Bytes `start` to `end` of a file.

    Parameters
    ----------
    place : Resolved
        Its key is the path of the file.
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
        with open(place.key, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if etag is not None and etag.strip('"') != _etag(status):
                raise _modified(place, "its etag is another one")
            if last_modified is not None and int(status.st_mtime) > last_modified:
                raise _modified(place, "it is newer than its reference")
            if end > status.st_size:
                raise _too_short(place, start, end, status.st_size)
            file.seek(start)
            data = _read_all(file.fileno(), end - start)
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file"
        else:
            reason = str(getattr(error, "strerror", None) or error)
        raise StorageError(
            f"the virtual chunk at {_text(place)} cannot be read: {reason}. If the files were moved, open "
            "the repository with a configuration that has the container with its new prefix",
            ErrorKind.VIRTUAL_CHUNK_FETCH,
        ) from error
    if len(data) != end - start:
        raise _too_short(place, start, end, start + len(data))
    return data


async def read_file_range_async(
    place: Resolved, start: int, end: int, etag: str | None, last_modified: int | None
) -> bytes:
    """Like `read_file_range`, in a thread."""
    return await run_in_thread_async(read_file_range, place, start, end, etag, last_modified)


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


def _text(place: Resolved) -> str:
    return f"`{place.url}`, in the container {container_text(place.container)},"


def _modified(place: Resolved, reason: str) -> StorageError:
    return StorageError(
        f"{_text(place)} was modified after a virtual chunk in it was referenced ({reason}): set the "
        "references to the file anew",
        ErrorKind.VIRTUAL_CHUNK_MODIFIED,
    )


def _too_short(place: Resolved, start: int, end: int, size: int) -> StorageError:
    return StorageError(
        f"the virtual chunk at {_text(place)} should be bytes {start} to {end}, but the file ends at {size}: "
        "set the references to the file anew",
        ErrorKind.INVALID_OBJECT_SIZE,
    )
