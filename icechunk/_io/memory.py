"""Objects in the memory of this process: a dict, and one lock for what has to happen in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._core.preconditions import PreconditionFailed
from icechunk._io.clock import now_us
from icechunk._locks import StateLock
from icechunk._stored_objects import MemoryObject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from icechunk._stored_objects import MemoryObjects, StorageObjectInfo, Version

_lock = StateLock()


def write(objects: MemoryObjects, key: str, data: bytes) -> Version:
    """Write over whatever is there."""
    with _lock.held:
        return _write_locked(objects, key, data)


def write_if(objects: MemoryObjects, key: str, data: bytes, expected: Version | None) -> Version:
    """Write only if the version is `expected`, or with None only if there is no such object."""
    with _lock.held:
        found = objects.entries.get(key)
        if (None if found is None else found.version()) != expected:
            raise PreconditionFailed(key)
        return _write_locked(objects, key, data)


def infos(objects: MemoryObjects, prefix: str) -> list[StorageObjectInfo]:
    """What is stored in a directory (empty: everywhere), as it is at one moment."""
    with _lock.held:
        entries = list(objects.entries.items())
    directory = prefix.rstrip("/") + "/" if prefix else ""
    return [found.info(key) for key, found in entries if key.startswith(directory)]


def delete(objects: MemoryObjects, keys: Iterable[str]) -> None:
    """Forget objects, if they are there."""
    with _lock.held:
        for key in keys:
            objects.entries.pop(key, None)


def _write_locked(objects: MemoryObjects, key: str, data: bytes) -> Version:
    objects.writes += 1
    written = MemoryObject(data, objects.writes, now_us())
    objects.entries[key] = written
    return written.version()
