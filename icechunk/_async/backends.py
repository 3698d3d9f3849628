"""What the engine asks of a place that keeps objects, and the choice of who answers.

Keys are relative to the root of the repository, with `/` between their parts and none in front: `repo`,
`chunks/F6HHT3YC3XQ6X40BXNF0`. A backend is made for one storage description and its settings, holds no
event loop, and may be used from any thread, from any loop and after a fork.

Errors are `StorageError`: kind `object-not-found` for a missing object, `io` or `object-store` for failures
of the disk or the service, always with the key in the message and the cause chained. A conditional write
that is refused raises `PreconditionFailed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from icechunk._async.local import AsyncLocalBackend
from icechunk._async.memory import AsyncMemoryBackend
from icechunk._async.objects import AsyncObjectBackend
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io.gate import DEFAULT_REQUESTS, RequestGate
from icechunk._setting import merged
from icechunk._storage_settings import StorageSettings
from icechunk._wrapped_storage import WrappedStorage
from icechunk.config import Attribution
from icechunk.storage import (
    InMemoryStorage,
    LocalFileSystemStorage,
    ObjectStorage,
    Storage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from typing_extensions import Buffer

    from icechunk._stored_objects import StorageObjectInfo, Version
    from icechunk.storage import Batch, Data, Failures, Pieces


class AsyncBackend(Protocol):
    """The operations on stored objects."""

    @property
    def storage(self) -> Storage:
        """The description that this backend was made for."""
        ...

    @property
    def can_write(self) -> bool:
        """Whether writing is possible at all."""
        ...

    async def get_async(self, key: str, start: int = 0, end: int | None = None) -> Data:
        """The bytes of an object, or exactly `end - start` of them.

        Raises
        ------
        StorageError
            Kind `object-not-found`; kind `invalid-object-size` when the object ends before `end`.
        """
        ...

    async def get_ranges_async(self, key: str, ranges: Sequence[tuple[int, int]]) -> Pieces:
        """Several ranges `(start, end)` of one object, in the order asked for, in few requests."""
        ...

    async def get_versioned_async(
        self, key: str, known: Version | None = None
    ) -> tuple[Data, Version] | None:
        """The bytes of an object and the version they belong to; None when the version is still `known`."""
        ...

    async def put_async(
        self,
        key: str,
        data: Buffer,
        *,
        new: bool = False,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        storage_class: str | None = None,
    ) -> None:
        """Write an object, new or over an old one. A reader sees the old bytes or the new ones.

        `new` promises that the key was drawn at random for this object and is told to nobody before this
        returns. With no reader to protect, a backend may let one see a part of the object until then, and a
        process killed meanwhile may leave a part behind.
        """
        ...

    async def put_conditional_async(
        self,
        key: str,
        data: Buffer,
        expected: Version | None,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        storage_class: str | None = None,
    ) -> Version:
        """Write an object only if its version is `expected`, or with None only if there is no such object.

        Raises
        ------
        PreconditionFailed
            Somebody else was first.
        """
        ...

    async def copy_async(
        self,
        source: str,
        target: str,
        expected: Version | None,
        *,
        storage_class: str | None = None,
    ) -> None:
        """Copy an object over `target`, if its version is `expected` (None: whatever it is).

        Raises
        ------
        PreconditionFailed
            The source has another version by now.
        """
        ...

    async def head_async(self, key: str) -> StorageObjectInfo:
        """Size and time of an object, without its bytes."""
        ...

    def list_async(self, prefix: str) -> AsyncIterator[Batch]:
        """All objects in the directory `prefix` (empty: everywhere) and below, in batches, in any order."""
        ...

    async def delete_many_async(self, keys: Sequence[str]) -> Failures:
        """Delete objects; the answer names those that could not be, and why. Missing ones are fine."""
        ...

    async def is_clean_async(self) -> bool:
        """Whether there is nothing under the root."""
        ...

    async def prepare_root_async(self) -> None:
        """Make the place ready for a new repository."""
        ...


async def open_backend_async(
    storage: Storage,
    settings: StorageSettings,
    gate: RequestGate | None = None,
    attribution: Attribution | None = None,
) -> AsyncBackend:
    """Make the backend for a storage description; settings that are unset take its defaults.

    `gate` limits the requests that go over a network; without one there is a limit all the same.
    `attribution` labels them, where the client is ours.
    """
    if isinstance(storage, WrappedStorage):
        inner = await open_backend_async(storage.inner, settings, gate, attribution)
        backend: AsyncBackend = storage.wrap_async(inner)
        return backend
    if isinstance(storage, InMemoryStorage):
        return AsyncMemoryBackend(storage, settings)
    if isinstance(storage, LocalFileSystemStorage):
        return AsyncLocalBackend(storage)
    if isinstance(storage, ObjectStorage):
        gate = gate or RequestGate(DEFAULT_REQUESTS)
        return AsyncObjectBackend(storage, settings, gate, attribution or Attribution())
    raise StorageError(
        f"there is no backend for a storage of type {type(storage).__name__}", ErrorKind.STORAGE_CONFIG
    )


async def list_objects_async(
    storage: Storage, settings: StorageSettings | None, prefix: str | None
) -> list[StorageObjectInfo]:
    """All objects in a directory and below; their keys are relative to it."""
    backend = await open_backend_async(
        storage, merged(storage.default_settings(), settings or StorageSettings())
    )
    directory = (prefix or "").strip("/")
    skipped = len(directory) + 1 if directory else 0
    return [
        msgspec.structs.replace(info, key=info.key[skipped:])
        async for batch in backend.list_async(directory)
        for info in batch
    ]


Storage._list_async = list_objects_async
