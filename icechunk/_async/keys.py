"""The verbs of a zarr store on the keys of one session.

What a key means is decided in `_core.paths`; what it finds, by the session's
state (documents) and by `chunks`. Listings are made from a view taken when they
start; nothing is held while the caller looks at a listing, so it may write, or
leave, at any point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._core.byte_ranges import resolve_range
from icechunk._core.paths import (
    ZarrV2Key,
    chunk_prefix,
    document_key,
    node_path,
    parse_key,
    paths_above,
)
from icechunk._exceptions import (
    ErrorKind,
    InvalidInputError,
    NodeNotFoundError,
    SessionStateError,
)
from icechunk._io.random import random_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Buffer
    from zarr.abc.store import ByteRequest

    from icechunk._async.chunks import AsyncChunks
    from icechunk._core.session_state import SessionState
    from icechunk._format.snapshot import Node

_BATCH = 4096
"""Chunk keys spelled at a time."""


def _new_node_id() -> bytes:
    return random_id(8)


class AsyncKeys:
    """Get, set, delete and list by store key."""

    def __init__(self, state: SessionState, chunks: AsyncChunks) -> None:
        self._state = state
        self.chunks = chunks

    async def get_async(self, key: str, request: ByteRequest | None = None) -> Buffer | None:
        """The value of a key, or the part asked for; None when there is none."""
        try:
            path, coordinates = parse_key(key)
        except ZarrV2Key:
            return None
        if coordinates is None:
            node = self._state.find(path)
            if node is None:
                return None
            document = node.user_data
            if request is None:
                return document
            start, end = resolve_range(request, len(document))
            return document[start:end]
        reference = await self.chunks.find_async(path, coordinates)
        if reference is None:
            return None
        return await self.chunks.read_async(reference, request)

    async def exists_async(self, key: str) -> bool:
        """Whether a key has a value; no chunk is read for it."""
        try:
            path, coordinates = parse_key(key)
        except ZarrV2Key:
            raise NodeNotFoundError(
                f"`{key}` is a document of zarr format 2, of which a repository has none",
                ErrorKind.KEY_NOT_FOUND,
            ) from None
        if coordinates is None:
            return self._state.find(path) is not None
        return await self.chunks.find_async(path, coordinates) is not None

    async def getsize_async(self, key: str) -> int:
        """Size of a value in bytes; 0 for a chunk that does not exist."""
        try:
            path, coordinates = parse_key(key)
        except ZarrV2Key:
            raise NodeNotFoundError(f"there is no `{key}`", ErrorKind.KEY_NOT_FOUND) from None
        if coordinates is None:
            return len(self._state.node(path).user_data)
        self._state.array(path)
        reference = await self.chunks.find_async(path, coordinates)
        if reference is None:
            return 0
        return reference.length if reference.inline is None else len(reference.inline)

    async def getsize_prefix_async(self, prefix: str) -> int:
        """Size in bytes of all values under a node."""
        total = 0
        changes = self._state.changes
        for node in self._nodes_under(prefix):
            total += len(node.user_data)
            if node.array is not None:
                total += await self.chunks.size_async(node, changes)
        return total

    async def set_async(self, key: str, data: Buffer, size: int) -> None:
        """Store a value of `size` bytes."""
        try:
            path, coordinates = parse_key(key)
        except ZarrV2Key:
            raise SessionStateError(
                f"`{key}` is a document of zarr format 2: a repository holds zarr format 3 only",
                ErrorKind.UNIMPLEMENTED,
            ) from None
        if coordinates is None:
            self._state.set_document(path, bytes(data), _new_node_id)
        else:
            await self.chunks.write_async(path, coordinates, data, size)

    async def delete_async(self, key: str) -> None:
        """Remove a value; with a document goes its node, and with a group all below it."""
        self._state.check_writable()
        try:
            path, coordinates = parse_key(key)
        except ZarrV2Key:
            return
        if coordinates is None:
            self._state.delete_node(path)
        else:
            await self.chunks.delete_async(path, coordinates)

    async def delete_dir_async(self, prefix: str) -> None:
        """Remove a node with all below it, or the chunks of an array whose keys start with `prefix`."""
        self._state.check_writable()
        path = _as_path(prefix)
        if self._state.find(path) is not None or path == "/":
            if path == "/":
                self._state.clear()
            else:
                self._state.delete_node(path)
            return
        array = self._closest_array(path)
        if array is None:
            return
        wanted = path[1:] + "/"
        async for references in self.chunks.references_async(array, self._state.changes):
            batch = references.coords
            for key, coordinates in zip(_spell(array.path, batch), batch.tolist(), strict=True):
                if (key + "/").startswith(wanted):
                    await self.chunks.delete_async(array.path, tuple(coordinates))

    async def clear_async(self) -> None:
        """Remove every node."""
        self._state.clear()

    async def list_prefix_async(self, prefix: str) -> AsyncIterator[str]:
        """All keys under a node: documents first, then chunks, array by array.

        Raises
        ------
        InvalidInputError
            Kind `bad-key-prefix`: there is no node of that path.
        """
        changes = self._state.changes
        nodes = self._nodes_under(prefix)
        for node in nodes:
            yield document_key(node.path)
        for node in nodes:
            if node.array is None:
                continue
            async for references in self.chunks.references_async(node, changes):
                batch = references.coords
                for start in range(0, len(batch), _BATCH):
                    for key in _spell(node.path, batch[start : start + _BATCH]):
                        yield key

    async def list_dir_async(self, prefix: str) -> AsyncIterator[str]:
        """The names directly below a group, or below a part of the chunk keys of an array.

        A path between two nodes that is no node itself has nothing below it: only `list_prefix` shows nodes
        that were made without the groups above them.
        """
        path = _as_path(prefix)
        node = self._state.find(path)
        if node is not None:
            yield "zarr.json"
            if node.array is not None:
                yield "c"
                return
            for child in self._state.child_paths(path):
                yield child.rpartition("/")[2]
            return
        array = self._closest_array(path)
        if array is None:
            return
        wanted = path[1:] + "/"
        seen: set[str] = set()
        async for references in self.chunks.references_async(array, self._state.changes):
            for key in _spell(array.path, references.coords):
                if key.startswith(wanted):
                    name = key[len(wanted) :].partition("/")[0]
                    if name not in seen:
                        seen.add(name)
                        yield name

    async def is_empty_async(self, prefix: str) -> bool:
        """Whether nothing is listed below a prefix."""
        async for _ in self.list_dir_async(prefix):
            return False
        return True

    def _nodes_under(self, prefix: str) -> list[Node]:
        path = _as_path(prefix)
        if path != "/" and self._state.find(path) is None:
            raise InvalidInputError(
                f"`{prefix}` is not the path of a group or array", ErrorKind.BAD_KEY_PREFIX
            )
        return list(self._state.nodes(path))

    def _closest_array(self, path: str) -> Node | None:
        """The nearest node above a path that is an array."""
        for above in paths_above(path):
            node = self._state.find(above)
            if node is not None:
                return node if node.array is not None else None
        return None


def _as_path(prefix: str) -> str:
    return node_path("/" + prefix)


def _spell(path: str, coordinates: NDArray[np.uint32]) -> Iterable[str]:
    """The store keys of many chunks of one array."""
    prefix = chunk_prefix(path)
    if not coordinates.shape[1]:
        return [prefix] * len(coordinates)
    return [f"{prefix}/{'/'.join(map(str, each))}" for each in coordinates.tolist()]
