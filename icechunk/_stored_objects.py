"""What storage tells of its objects, and those that are kept in memory."""

from __future__ import annotations

import os
import uuid
import weakref
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

import msgspec

from icechunk import display
from icechunk._exceptions import ErrorKind, StorageError


class Version(msgspec.Struct, frozen=True):
    """Tells one content of an object from all others: what a conditional write compares."""

    e_tag: str | None = None
    generation: str | None = None


class StorageObjectInfo(display.Result, frozen=True):
    """What is known of a stored object without reading it.

    Attributes
    ----------
    key : str
        Its name, relative to the root of the repository or to the prefix that was listed.
    size_bytes : int
    created_at : datetime.datetime
        When it was written, by the clock of the storage.

    Examples
    --------
    >>> from icechunk import Repository, in_memory_storage
    >>> storage = in_memory_storage()
    >>> repo = Repository.create(storage)
    >>> for info in storage.list_objects_metadata(prefix="snapshots"):
    ...     print(info)
    <icechunk.storage.StorageObjectInfo>
    key: 1CECHNKREP0F1RSTCMT0
    size_bytes: ...
    created_at: datetime.datetime(..., tzinfo=datetime.timezone.utc)
    <BLANKLINE>
    """

    _shown_as: ClassVar[str] = "icechunk.storage.StorageObjectInfo"

    key: str
    size_bytes: int
    created_at: datetime


class MemoryObject(NamedTuple):
    """The bytes of an object in memory, the number of the write that left them, its time in microseconds."""

    data: bytes
    number: int
    written_at: int

    def version(self) -> Version:
        return Version(e_tag=str(self.number))

    def info(self, key: str) -> StorageObjectInfo:
        return StorageObjectInfo(key, len(self.data), datetime.fromtimestamp(self.written_at / 1e6, UTC))


class MemoryObjects:
    """The objects of one in-memory storage, shared by all its copies in this process.

    Pickles carry a name only, which the process that made them resolves to the same objects.
    """

    __slots__ = ("__weakref__", "entries", "name", "writes")

    def __init__(self) -> None:
        self.entries: dict[str, MemoryObject] = {}
        self.writes = 0
        self.name = str(uuid.uuid4())
        _in_memory[self.name] = self

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return _find_memory_objects, (self.name, os.getpid())


_in_memory: weakref.WeakValueDictionary[str, MemoryObjects] = weakref.WeakValueDictionary()


def _find_memory_objects(name: str, process: int) -> MemoryObjects:
    found = _in_memory.get(name) if process == os.getpid() else None
    if found is None:
        raise StorageError(
            f"an in-memory storage of process {process} cannot be unpickled here: its objects exist only "
            "in that process, and only while a storage or repository there holds them. Use "
            "`local_filesystem_storage` or an object store to share a repository between processes",
            ErrorKind.STORAGE_CONFIG,
        )
    return found
