# Generated from icechunk/_async/virtual.py by tools/make_sync.py; edit that file.
"""Chunks in files outside of the repository.

A reference is resolved to a container of the configuration; the container's
prefix has to be authorised by whoever opened the repository; then the range is
read, on the condition that the file still is the one that was referenced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._core.locations import container_text, credential_for
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io.virtual_files import read_file_range
from icechunk.virtual import ObjectStoreConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icechunk._core.locations import Containers
    from icechunk._format.chunk_refs import ChunkRef
    from icechunk.credentials import AnyCredential


class SyncVirtualChunks:
    """Reading of virtual chunks, with the containers and authorisations of one session."""

    def __init__(self, containers: Containers, access: Mapping[str, AnyCredential | None]) -> None:
        self._containers = containers
        self._access = access

    def read(self, reference: ChunkRef, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of the file of a virtual chunk.

        Raises
        ------
        InvalidInputError
            Kind `no-container-for-virtual-chunk` or `unauthorized-virtual-chunk-container`.
        StorageError
            Kind `virtual-chunk-fetch`, `virtual-chunk-modified` or `invalid-object-size`.
        """
        assert reference.location is not None
        resolved = self._containers.resolve(reference.location)
        credential_for(resolved, self._access)
        if not isinstance(resolved.container.store, ObjectStoreConfig.LocalFileSystem):
            raise StorageError(
                f"the virtual chunk at `{resolved.url}` cannot be read: its container "
                f"{container_text(resolved.container)} is a {type(resolved.container.store).__name__} store, "
                "and chunks in such a store are not supported by this release, chunks in local files are",
                ErrorKind.VIRTUAL_CHUNK_FETCH,
            )
        return read_file_range(resolved, start, end, reference.etag, reference.last_modified)
