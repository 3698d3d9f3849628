# Generated from icechunk/_async/objects.py by tools/make_sync.py; edit that file.
"""Objects of an object store, through obstore.

A conditional write carries a mark of its own, so that one whose answer was lost on the way is recognised:
after a refusal or a failure in between, the object is looked at, and the mark tells whether it is ours. It
never turns a real failure into a success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from obstore.exceptions import NotModifiedError

from icechunk._core.preconditions import PreconditionFailed
from icechunk._core.spans import pieces_of, spans_of
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io.concurrency import map_concurrently
from icechunk._io.random import random_uuid
from icechunk._io.stores import (
    FAILURES,
    REFUSALS,
    Clients,
    failure,
    is_ambiguous,
    is_missing,
    is_missing_bucket,
    keeps_buffers,
)
from icechunk._storage_settings import StorageConcurrencySettings
from icechunk._stored_objects import StorageObjectInfo, Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from obstore import Attributes, Bytes, GetOptions, ObjectMeta, PutMode, UpdateVersion
    from typing_extensions import Buffer

    from icechunk._io.gate import RequestGate
    from icechunk._storage_settings import StorageSettings
    from icechunk.config import Attribution
    from icechunk.storage import Batch, Data, Failures, ObjectStorage, Pieces

WRITE_ID = "icechunk_write_id"
"""The metadata that marks a conditional write."""

_LISTED_AT_ONCE = 1000
_DELETED_AT_ONCE = 1000
_DELETIONS_AT_A_TIME = 10
_SMALLEST_PART = 5 * 1024 * 1024
_LARGEST_OFFSET = 0x7FFF_FFFF_FFFF_FFFF
_UNASKED = 1024 * 1024 * 1024
"""Bytes that are read, and memory taken for them, without asking first whether the object has so many."""


class SyncObjectBackend:
    """The objects below a prefix of an object store."""

    can_write = True

    def __init__(
        self, storage: ObjectStorage, settings: StorageSettings, gate: RequestGate, attribution: Attribution
    ) -> None:
        self.storage = storage
        self._gate = gate
        self._clients = Clients(storage, settings, attribution)
        self._copies = keeps_buffers(storage)
        self._above = f"{storage.root}/" if storage.root else ""
        concurrency = settings.concurrency or StorageConcurrencySettings()
        self._requests = concurrency.effective("max_concurrent_requests_for_object")
        self._request_size = concurrency.effective("ideal_concurrent_request_size")
        self._multipart_size = settings.effective("minimum_size_for_multipart_upload")
        self._checks_creation = settings.effective("unsafe_use_conditional_create")
        self._checks_update = settings.effective("unsafe_use_conditional_update")
        self._uses_metadata = settings.effective("unsafe_use_metadata")

    def get(self, key: str, start: int = 0, end: int | None = None) -> Data:
        store = self._clients.reader()
        path = self._above + key
        try:
            if end is None:
                with self._gate.passing():
                    found = store.get(
                        path, options={"range": {"offset": start}} if start else None
                    )
                    return memoryview(found.bytes())
            if end - start > _UNASKED or end > _LARGEST_OFFSET or end == start:
                self._check_length(key, end)
            if end == start:
                return b""
            if end - start <= self._request_size:
                with self._gate.passing():
                    data = store.get_range(path, start=start, end=end)
                return _whole(key, data, end - start)
            return self._get_in_parts(key, start, end)
        except FAILURES as error:
            raise failure(error, "read", key, self.storage) from error

    def _check_length(self, key: str, end: int) -> None:
        """Ask whether an object is there and long enough, before memory is taken for what it has."""
        info = self.head(key)
        if info.size_bytes < end:
            raise StorageError(
                f"object `{key}` has {info.size_bytes} bytes, so it has none at {end}",
                ErrorKind.INVALID_OBJECT_SIZE,
            )

    def _get_in_parts(self, key: str, start: int, end: int) -> Data:
        """A large range in several requests at a time."""
        size = end - start
        parts = min(-(-size // self._request_size), self._requests)
        bounds = [start + size * part // parts for part in range(parts + 1)]
        buffer = np.empty(size, np.uint8)
        store = self._clients.reader()

        def fetch(part: int) -> None:
            first, last = bounds[part], bounds[part + 1]
            with self._gate.passing():
                data = store.get_range(self._above + key, start=first, end=last)
            buffer[first - start : last - start] = np.frombuffer(_whole(key, data, last - first), np.uint8)

        map_concurrently(fetch, range(parts), parts)
        return buffer.data

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Pieces:
        # Not obstore's `get_ranges`: it ends in a panic when a range starts behind the end of the object.
        spans = spans_of(ranges)

        def fetch(span: tuple[int, int]) -> memoryview:
            return memoryview(self.get(key, *span))

        fetched = map_concurrently(fetch, spans, self._requests)
        return [*pieces_of(ranges, spans, fetched)]

    def get_versioned(
        self, key: str, known: Version | None = None
    ) -> tuple[Data, Version] | None:
        condition: GetOptions | None = None
        if known is not None and known.e_tag is not None:
            condition = {"if_none_match": known.e_tag}
        try:
            with self._gate.passing():
                found = self._clients.reader().get(self._above + key, options=condition)
                data = found.bytes()
        except NotModifiedError:
            return None
        except FAILURES as error:
            raise failure(error, "read", key, self.storage) from error
        return memoryview(data), _version(found.meta)

    def put(
        self,
        key: str,
        data: Buffer,
        *,
        new: bool = False,  # noqa: ARG002 - what a service has is whole
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        storage_class: str | None = None,
    ) -> None:
        view = self._bytes_of(data)
        size = len(view)
        in_parts = size > self._multipart_size
        parts = min(max(size // self._request_size, 1), 10_000)
        try:
            with self._gate.passing():
                self._clients.writer().put(
                    self._above + key,
                    view,
                    attributes=self._attributes(content_type, metadata, storage_class),
                    use_multipart=in_parts,
                    chunk_size=max(-(-size // parts), _SMALLEST_PART),
                    max_concurrency=self._requests,
                )
        except FAILURES as error:
            raise failure(error, "write", key, self.storage) from error

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
        write_id = random_uuid()
        attributes = self._attributes(content_type, {**(metadata or {}), WRITE_ID: write_id}, storage_class)
        mode = self._mode(key, expected)
        try:
            with self._gate.passing():
                written = self._clients.writer().put(
                    self._above + key,
                    self._bytes_of(data),
                    attributes=attributes,
                    mode=mode,
                    use_multipart=False,
                )
        except REFUSALS as error:
            if is_missing_bucket(error):
                raise failure(error, "write", key, self.storage) from error
            landed = self._own_version(key, write_id)
            if landed is None:
                raise PreconditionFailed(key) from error
            return landed
        except FAILURES as error:
            if expected is not None and is_missing(error):
                raise PreconditionFailed(key) from error
            known = failure(error, "write", key, self.storage)
            landed = self._landed_after_all(key, write_id) if is_ambiguous(error) else None
            if landed is None:
                raise known from error
            return landed
        return Version(written["e_tag"], written["version"])

    def _mode(self, key: str, expected: Version | None) -> PutMode:
        """The precondition of a write."""
        if expected is None:
            return "create" if self._checks_creation else "overwrite"
        if not self._checks_update:
            return "overwrite"
        mode: UpdateVersion = {}
        if expected.e_tag is not None:
            mode["e_tag"] = expected.e_tag
        if expected.generation is not None:
            mode["version"] = expected.generation
        if not mode:
            raise PreconditionFailed(key)
        return mode

    def _own_version(self, key: str, write_id: str) -> Version | None:
        """The version of an object that carries our mark; None when it is somebody else's or not there."""
        if not self._uses_metadata:
            return None
        try:
            with self._gate.passing():
                found = self._clients.reader().get(self._above + key, options={"head": True})
        except FAILURES as error:
            if is_missing(error):
                return None
            raise failure(error, "look at", key, self.storage) from error
        return _version(found.meta) if found.attributes.get(WRITE_ID) == write_id else None

    def _landed_after_all(self, key: str, write_id: str) -> Version | None:
        """What `_own_version` finds, where only the first failure matters to the caller."""
        try:
            return self._own_version(key, write_id)
        except StorageError:
            return None

    def copy(
        self,
        source: str,
        target: str,
        expected: Version | None,
        *,
        storage_class: str | None = None,
    ) -> None:
        condition: GetOptions | None = None
        if expected is not None and expected.e_tag is not None:
            condition = {"if_match": expected.e_tag}
        # The client knows no copy on a condition, nor into a storage class, so the bytes, which are few, come
        # here and go back.
        try:
            with self._gate.passing():
                found = self._clients.reader().get(self._above + source, options=condition)
                data = memoryview(found.bytes())
        except REFUSALS as error:
            raise PreconditionFailed(source) from error
        except FAILURES as error:
            raise failure(error, "read", source, self.storage) from error
        self.put(target, data, storage_class=storage_class)

    def head(self, key: str) -> StorageObjectInfo:
        try:
            with self._gate.passing():
                return self._info(self._clients.reader().head(self._above + key))
        except FAILURES as error:
            raise failure(error, "look at", key, self.storage) from error

    def list(self, prefix: str) -> Iterator[Batch]:
        path = (self._above + prefix).rstrip("/")
        try:
            for batch in self._clients.reader().list(path or None, chunk_size=_LISTED_AT_ONCE):
                yield [self._info(found) for found in batch]
        except FAILURES as error:
            raise failure(error, "list", prefix, self.storage) from error

    def delete_many(self, keys: Sequence[str]) -> Failures:
        failures = []
        for first in range(0, len(keys), _DELETED_AT_ONCE):
            batch = keys[first : first + _DELETED_AT_ONCE]
            try:
                with self._gate.passing():
                    self._clients.writer().delete([self._above + key for key in batch])
            except FAILURES:
                # One failure hides the others: asked one by one, each key answers for itself.
                answers = map_concurrently(self._delete, batch, _DELETIONS_AT_A_TIME)
                failures += [(key, answer) for key, answer in zip(batch, answers, strict=True) if answer]
        return failures

    def _delete(self, key: str) -> str:
        """Delete one object; the answer is empty or says why not."""
        try:
            with self._gate.passing():
                self._clients.writer().delete(self._above + key)
        except FAILURES as error:
            return "" if is_missing(error) else failure(error, "delete", key, self.storage).message
        return ""

    def is_clean(self) -> bool:
        for _ in self.list(""):
            return False
        return True

    def prepare_root(self) -> None:
        """Prefixes need no preparation."""

    def _attributes(
        self, content_type: str | None, metadata: Mapping[str, str] | None, storage_class: str | None
    ) -> Attributes | None:
        attributes: Attributes = dict(metadata or {}) if self._uses_metadata else {}
        if content_type is not None:
            attributes["Content-Type"] = content_type
        if storage_class is not None:
            attributes["Storage-Class"] = storage_class
        return attributes or None

    def _bytes_of(self, data: Buffer) -> memoryview | bytes:
        """A buffer as the flat one that obstore takes, without copying it if possible."""
        view = memoryview(data)
        if not view.nbytes:
            return b""
        return view.cast("B") if view.c_contiguous and not self._copies else view.tobytes()

    def _info(self, found: ObjectMeta) -> StorageObjectInfo:
        return StorageObjectInfo(found["path"][len(self._above) :], found["size"], found["last_modified"])


def _version(found: ObjectMeta) -> Version:
    return Version(found["e_tag"], found["version"])


def _whole(key: str, data: Bytes, size: int) -> memoryview:
    if len(data) != size:
        raise StorageError(
            f"object `{key}` ended after {len(data)} of the {size} bytes that were asked for",
            ErrorKind.INVALID_OBJECT_SIZE,
        )
    return memoryview(data)
