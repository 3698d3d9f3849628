"""Objects as files below a directory, for any number of threads and processes at once.

How that is done stands in `icechunk._io.files`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io.files import Files
from icechunk._stored_objects import StorageObjectInfo, Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from typing_extensions import Buffer

    from icechunk._io.files import Found
    from icechunk.storage import Batch, Data, Failures, LocalFileSystemStorage, Pieces


class AsyncLocalBackend:
    """The objects of a `LocalFileSystemStorage`.

    Conditional writes are always checked. The settings about them tell what plain file systems can do, and
    what repositories written by the official implementation say of theirs; a directory here can do more.
    """

    can_write = True

    def __init__(self, storage: LocalFileSystemStorage) -> None:
        self.storage = storage
        self._files = Files(storage.path, durable=storage.durable)

    async def get_async(self, key: str, start: int = 0, end: int | None = None) -> Data:
        try:
            return await self._files.read_async(key, start, end)
        except OSError as error:
            raise self._failed("read", key, error) from error

    async def get_ranges_async(self, key: str, ranges: Sequence[tuple[int, int]]) -> Pieces:
        try:
            return [*await self._files.read_ranges_async(key, ranges)]
        except OSError as error:
            raise self._failed("read", key, error) from error

    async def get_versioned_async(
        self, key: str, known: Version | None = None
    ) -> tuple[Data, Version] | None:
        try:
            found = await self._files.read_versioned_async(key, known.e_tag if known else None)
        except OSError as error:
            raise self._failed("read", key, error) from error
        return None if found is None else (found[0], Version(found[1]))

    async def put_async(
        self,
        key: str,
        data: Buffer,
        *,
        new: bool = False,
        content_type: str | None = None,  # noqa: ARG002
        metadata: Mapping[str, str] | None = None,  # noqa: ARG002
        storage_class: str | None = None,  # noqa: ARG002
    ) -> None:
        try:
            await self._files.write_async(key, data, new=new)
        except OSError as error:
            raise self._failed("write", key, error) from error

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
        if expected is not None and expected.e_tag is None:
            raise PreconditionFailed(key)
        try:
            version = await self._files.write_if_async(key, data, expected.e_tag if expected else None)
        except OSError as error:
            raise self._failed("write", key, error) from error
        if version is None:
            raise PreconditionFailed(key)
        return Version(version)

    async def copy_async(
        self,
        source: str,
        target: str,
        expected: Version | None,
        *,
        storage_class: str | None = None,  # noqa: ARG002
    ) -> None:
        try:
            copied = await self._files.copy_async(source, target, expected.e_tag if expected else None)
        except OSError as error:
            # What cannot be found may as well be the place of the copy.
            read = error.filename in (None, self._files.path(source))
            raise self._failed("read" if read else f"copy to `{target}`", source, error) from error
        if not copied:
            raise PreconditionFailed(source)

    async def head_async(self, key: str) -> StorageObjectInfo:
        try:
            return _info(await self._files.status_async(key))
        except OSError as error:
            raise self._failed("look at", key, error) from error

    async def list_async(self, prefix: str) -> AsyncIterator[Batch]:
        try:
            async for batch in self._files.batches_async(prefix):
                yield [_info(found) for found in batch]
        except OSError as error:
            raise self._failed("list", prefix, error) from error

    async def delete_many_async(self, keys: Sequence[str]) -> Failures:
        return await self._files.delete_async(keys)

    async def is_clean_async(self) -> bool:
        async for _ in self.list_async(""):
            return False
        return True

    async def prepare_root_async(self) -> None:
        try:
            await self._files.make_root_async()
        except OSError as error:
            raise self._failed("make the directory of", "", error) from error

    def _failed(self, verb: str, key: str, error: OSError) -> StorageError:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        if missing and verb in ("read", "look at"):
            return StorageError(f"no object `{key}` in {self.storage.path}", ErrorKind.OBJECT_NOT_FOUND)
        return StorageError(f"cannot {verb} `{key}` in {self.storage.path}: {error}", ErrorKind.IO)


def _info(found: Found) -> StorageObjectInfo:
    return StorageObjectInfo(found.key, found.size, datetime.fromtimestamp(found.modified_at, UTC))
