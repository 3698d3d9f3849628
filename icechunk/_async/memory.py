"""Objects in the memory of this process: every operation is a step on a dict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io import memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

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


class AsyncMemoryBackend:
    """The objects of an `InMemoryStorage`. Of the settings, those about conditional writes matter."""

    can_write = True

    def __init__(self, storage: InMemoryStorage, settings: StorageSettings) -> None:
        self.storage = storage
        self._objects = storage.objects
        self._checks_creation = settings.unsafe_use_conditional_create is not False
        self._checks_update = settings.unsafe_use_conditional_update is not False

    async def get_async(self, key: str, start: int = 0, end: int | None = None) -> Data:
        data = self._find(key).data
        if start == 0 and end is None:
            return data
        return _piece(key, data, start, end)

    async def get_ranges_async(self, key: str, ranges: Sequence[tuple[int, int]]) -> Pieces:
        data = self._find(key).data
        return [_piece(key, data, start, end) for start, end in ranges]

    async def get_versioned_async(
        self, key: str, known: Version | None = None
    ) -> tuple[Data, Version] | None:
        found = self._find(key)
        version = found.version()
        return None if version == known else (found.data, version)

    async def put_async(
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

    async def put_conditional_async(
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

    async def copy_async(
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

    async def head_async(self, key: str) -> StorageObjectInfo:
        return self._find(key).info(key)

    async def list_async(self, prefix: str) -> AsyncIterator[Batch]:
        found = memory.infos(self._objects, prefix)
        if found:
            yield found

    async def delete_many_async(self, keys: Sequence[str]) -> Failures:
        memory.delete(self._objects, keys)
        return []

    async def is_clean_async(self) -> bool:
        return not self._objects.entries

    async def prepare_root_async(self) -> None:
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
