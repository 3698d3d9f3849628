# Generated from icechunk/_async/faulty.py by tools/make_sync.py; edit that file.
"""A backend that passes everything on to another, and asks a plan what else should happen before and after.

The plan is `icechunk.testing.faults.Faults`: it notes calls, raises errors, and says how long to wait.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from icechunk._io.concurrency import sleep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Buffer

    from icechunk._sync.backends import SyncBackend
    from icechunk._stored_objects import StorageObjectInfo, Version
    from icechunk.storage import Batch, Data, Failures, Pieces, Storage
    from icechunk.testing.faults import Faults


class SyncFaultyBackend:
    """A backend behind which `inner` does the work."""

    def __init__(self, faults: Faults, inner: SyncBackend) -> None:
        self._faults = faults
        self._inner = inner

    @property
    def storage(self) -> Storage:
        return self._inner.storage

    @property
    def can_write(self) -> bool:
        return self._faults.can_write and self._inner.can_write

    @contextmanager
    def _planned(self, operation: str, key: str) -> Iterator[None]:
        """What the plan has for the moments before and after an operation."""
        if seconds := self._faults.begin(operation, key):
            sleep(seconds)
        try:
            yield
            self._faults.succeed(operation, key)
        finally:
            self._faults.end()

    def get(self, key: str, start: int = 0, end: int | None = None) -> Data:
        with self._planned("get", key):
            return self._inner.get(key, start, end)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Pieces:
        with self._planned("get_ranges", key):
            return self._inner.get_ranges(key, ranges)

    def get_versioned(
        self, key: str, known: Version | None = None
    ) -> tuple[Data, Version] | None:
        with self._planned("get_versioned", key):
            return self._inner.get_versioned(key, known)

    def put(
        self,
        key: str,
        data: Buffer,
        *,
        new: bool = False,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        storage_class: str | None = None,
    ) -> None:
        with self._planned("put", key):
            self._inner.put(
                key, data, new=new, content_type=content_type, metadata=metadata, storage_class=storage_class
            )

    def put_conditional(
        self,
        key: str,
        data: Buffer,
        expected: Version | None,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        storage_class: str | None = None,
    ) -> Version:
        with self._planned("put_conditional", key):
            return self._inner.put_conditional(
                key, data, expected, content_type=content_type, metadata=metadata, storage_class=storage_class
            )

    def copy(
        self,
        source: str,
        target: str,
        expected: Version | None,
        *,
        storage_class: str | None = None,
    ) -> None:
        with self._planned("copy", source):
            self._inner.copy(source, target, expected, storage_class=storage_class)

    def head(self, key: str) -> StorageObjectInfo:
        with self._planned("head", key):
            return self._inner.head(key)

    def list(self, prefix: str) -> Iterator[Batch]:
        with self._planned("list", prefix):
            for batch in self._inner.list(prefix):
                yield batch

    def delete_many(self, keys: Sequence[str]) -> Failures:
        with self._planned("delete_many", keys[0] if keys else ""):
            return self._inner.delete_many(keys)

    def is_clean(self) -> bool:
        with self._planned("is_clean", ""):
            return self._inner.is_clean()

    def prepare_root(self) -> None:
        with self._planned("prepare_root", ""):
            self._inner.prepare_root()
