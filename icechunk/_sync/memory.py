# Generated from icechunk/_async/memory.py by tools/make_sync.py; edit that file.
"""Objects in the memory of this process: every operation is a step on a dict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io import memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Buffer

    from icechunk._stored_objects import MemoryObject, StorageObjectInfo, Version
    from icechunk.config import StorageSettings
    from icechunk.storage import (
        Batch,
        Data,
        Failures,
        InMemoryStorage,
        Pieces,
    )


class SyncMemoryBackend:
    """The objects of an `InMemoryStorage`. Of the settings, those about conditional writes matter."""

    can_write = True

    def __init__(self, storage: InMemoryStorage, settings: StorageSettings) -> None:
        self.storage = storage
        self._objects = storage.objects
        self._checks_creation = settings.unsafe_use_conditional_create is not False
        self._checks_update = settings.unsafe_use_conditional_update is not False

    def get(self, key: str, start: int = 0, end: int | None = None) -> Data:
        data = self._find(key).data
        if start == 0 and end is None:
            return data
        return _piece(key, data, start, end)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Pieces:
        data = self._find(key).data
        return [_piece(key, data, start, end) for start, end in ranges]

    def get_versioned(
        self, key: str, known: Version | None = None
    ) -> tuple[Data, Version] | None:
        found = self._find(key)
        version = found.version()
        return None if version == known else (found.data, version)

    def put(
        self,
        key: str,
        data: Buffer,
        *,
        new: bool = False,  # noqa: ARG002
        content_type: str | None = None,  # noqa: ARG002
        metadata: Mapping[str, str] | None = None,  # noqa: ARG002
        storage_class: str | None = None,  # noqa: ARG002
    ) -> None:
        memory.write(self._objects, key, bytes(data))

    def put_conditional(
        self,
        key: str,
        data: Buffer,
        expected: Version | None,
        *,
        content_type: str | None = None,  # noqa: ARG002
        metadata: Mapping[str, str] | None = None,  # noqa: ARG002
        storage_class: str | None = None,  # noqa: ARG002
    ) -> Version:
        if self._checks_creation if expected is None else self._checks_update:
            return memory.write_if(self._objects, key, bytes(data), expected)
        return memory.write(self._objects, key, bytes(data))

    def copy(
        self,
        source: str,
        target: str,
        expected: Version | None,
        *,
        storage_class: str | None = None,  # noqa: ARG002
    ) -> None:
        found = self._find(source)
        if expected is not None and found.version() != expected:
            raise PreconditionFailed(source)
        memory.write(self._objects, target, found.data)

    def head(self, key: str) -> StorageObjectInfo:
        return self._find(key).info(key)

    def list(self, prefix: str) -> Iterator[Batch]:
        found = memory.infos(self._objects, prefix)
        if found:
            yield found

    def delete_many(self, keys: Sequence[str]) -> Failures:
        memory.delete(self._objects, keys)
        return []

    def is_clean(self) -> bool:
        return not self._objects.entries

    def prepare_root(self) -> None:
        """A dict needs no preparation."""

    def _find(self, key: str) -> MemoryObject:
        found = self._objects.entries.get(key)
        if found is None:
            raise StorageError(f"no object `{key}` in {self.storage.location}", ErrorKind.OBJECT_NOT_FOUND)
        return found


def _piece(key: str, data: bytes, start: int, end: int | None) -> bytes:
    end = len(data) if end is None else end
    if not 0 <= start <= end <= len(data):
        raise StorageError(
            f"object `{key}` has {len(data)} bytes, so there is no range {start} to {end}",
            ErrorKind.INVALID_OBJECT_SIZE,
        )
    return data[start:end]
