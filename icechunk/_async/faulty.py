"""A backend that passes everything on to another, and asks a plan what else should happen before and after.

The plan is `icechunk.testing.faults.Faults`: it notes calls, raises errors, and says how long to wait.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from icechunk._io.concurrency import sleep_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from typing_extensions import Buffer

    from icechunk._async.backends import AsyncBackend
    from icechunk._stored_objects import StorageObjectInfo, Version
    from icechunk.storage import Batch, Data, Failures, Pieces, Storage
    from icechunk.testing.faults import Faults


class AsyncFaultyBackend:
    """A backend behind which `inner` does the work."""

    def __init__(self, faults: Faults, inner: AsyncBackend) -> None:
        self._faults = faults
        self._inner = inner

    @property
    def storage(self) -> Storage:
        return self._inner.storage

    @property
    def can_write(self) -> bool:
        return self._faults.can_write and self._inner.can_write

    @asynccontextmanager
    async def _planned_async(self, operation: str, key: str) -> AsyncIterator[None]:
        """What the plan has for the moments before and after an operation."""
        if seconds := self._faults.begin(operation, key):
            await sleep_async(seconds)
        try:
            yield
            self._faults.succeed(operation, key)
        finally:
            self._faults.end()

    async def get_async(self, key: str, start: int = 0, end: int | None = None) -> Data:
        async with self._planned_async("get", key):
            return await self._inner.get_async(key, start, end)

    async def get_ranges_async(self, key: str, ranges: Sequence[tuple[int, int]]) -> Pieces:
        async with self._planned_async("get_ranges", key):
            return await self._inner.get_ranges_async(key, ranges)

    async def get_versioned_async(
        self, key: str, known: Version | None = None
    ) -> tuple[Data, Version] | None:
        async with self._planned_async("get_versioned", key):
            return await self._inner.get_versioned_async(key, known)

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
        async with self._planned_async("put", key):
            await self._inner.put_async(
                key, data, new=new, content_type=content_type, metadata=metadata, storage_class=storage_class
            )

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
        async with self._planned_async("put_conditional", key):
            return await self._inner.put_conditional_async(
                key, data, expected, content_type=content_type, metadata=metadata, storage_class=storage_class
            )

    async def copy_async(
        self,
        source: str,
        target: str,
        expected: Version | None,
        *,
        storage_class: str | None = None,
    ) -> None:
        async with self._planned_async("copy", source):
            await self._inner.copy_async(source, target, expected, storage_class=storage_class)

    async def head_async(self, key: str) -> StorageObjectInfo:
        async with self._planned_async("head", key):
            return await self._inner.head_async(key)

    async def list_async(self, prefix: str) -> AsyncIterator[Batch]:
        async with self._planned_async("list", prefix):
            async for batch in self._inner.list_async(prefix):
                yield batch

    async def delete_many_async(self, keys: Sequence[str]) -> Failures:
        async with self._planned_async("delete_many", keys[0] if keys else ""):
            return await self._inner.delete_many_async(keys)

    async def is_clean_async(self) -> bool:
        async with self._planned_async("is_clean", ""):
            return await self._inner.is_clean_async()

    async def prepare_root_async(self) -> None:
        async with self._planned_async("prepare_root", ""):
            await self._inner.prepare_root_async()
