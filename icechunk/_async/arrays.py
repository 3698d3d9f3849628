"""The verbs of a session on the chunks of one array: what they are, and putting them elsewhere.

Chunks move by reference: what is fetched are manifests, and no chunk is read or written.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

from icechunk._async.assets import AsyncAssets
from icechunk._async.chunks import AsyncChunks
from icechunk._async.keys import AsyncKeys
from icechunk._async.virtual import AsyncVirtualChunks
from icechunk._core.chunk_batches import absolute_locations, chunk_batch
from icechunk._core.ids import id_text
from icechunk._core.paths import node_path
from icechunk._core.reindex import Reindex, Shift, rearranged_table, require_regular_grid
from icechunk._core.session_base import SessionBase
from icechunk._core.virtual_refs import array_path as canonical_array_path
from icechunk._io.concurrency import run_in_thread_async
from icechunk.types import ChunkType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from icechunk._core.chunk_batches import ChunkBatch
    from icechunk._format.chunk_refs import ChunkRefs

_MAX_COORDINATE = 2**32 - 1


class AsyncArrays(SessionBase):
    """The coroutines of a session that are about one array."""

    _keys_cached_async: AsyncKeys | None = None

    @property
    def _assets_async(self) -> AsyncAssets:
        return AsyncAssets.of(self._cache)

    @property
    def _keys_async(self) -> AsyncKeys:
        keys = self._keys_cached_async
        if keys is None:
            virtual = AsyncVirtualChunks(self._containers, self._virtual_access)
            chunks = AsyncChunks(self._state, self._assets_async, virtual)
            keys = self._keys_cached_async = AsyncKeys(self._state, chunks)
        return keys

    async def get_node_id_async(self, path: str) -> str:
        """The id of a group or array, which it keeps when it is moved.

        Parameters
        ----------
        path : str
            The absolute path of the node.

        Returns
        -------
        str
            13 characters.

        Raises
        ------
        NodeNotFoundError
            Kind `node-not-found`.
        InvalidInputError
            Kind `invalid-path`.
        """
        return id_text(self._state.node(node_path(path)).id)

    async def chunk_type_async(self, array_path: str, chunk_coordinates: Sequence[int]) -> ChunkType:
        """Where the bytes of a chunk are kept. The chunk itself is not read.

        Parameters
        ----------
        array_path : str
            The absolute path of an array.
        chunk_coordinates : sequence of int
            One for each dimension, counted in chunks.

        Returns
        -------
        ChunkType
            `uninitialized` for a chunk that was never written, was deleted, or lies outside of the
            grid.

        Raises
        ------
        NodeNotFoundError
            Kind `node-not-found`.
        InvalidInputError
            Kind `not-an-array`, `invalid-path`, or `invalid-chunk-index` for too few or too many
            coordinates.
        OverflowError
            A coordinate is negative or does not fit into 32 bits.
        """
        coordinates = tuple([index(each) for each in chunk_coordinates])
        if coordinates and not (min(coordinates) >= 0 and max(coordinates) <= _MAX_COORDINATE):
            raise OverflowError(
                f"chunk coordinates must be between 0 and {_MAX_COORDINATE}, not {list(coordinates)}"
            )
        path = node_path(array_path)
        self._state.array(path)
        reference = await self._keys_async.chunks.find_async(path, coordinates)
        return ChunkType.uninitialized if reference is None else reference.kind

    async def chunk_coordinates_async(
        self, array_path: str, batch_size: int = 1000
    ) -> AsyncIterator[tuple[int, ...]]:
        """The coordinates of all chunks that an array has, each once; see `Session.chunk_coordinates`.

        Parameters
        ----------
        array_path : str
        batch_size : int, default 1000

        Yields
        ------
        tuple of int
        """
        batch_size = _positive(batch_size)
        changes = self._state.changes
        node, _ = self._state.array(node_path(array_path))
        async for references in self._keys_async.chunks.references_async(node, changes):
            coordinates = references.coords
            for start in range(0, len(coordinates), batch_size):
                for each in coordinates[start : start + batch_size].tolist():
                    yield tuple(each)

    async def chunk_batches_async(
        self, array_path: str, batch_size: int = 100_000
    ) -> AsyncIterator[ChunkBatch]:
        """The references of all chunks that an array has; see `IcechunkStore.array_chunk_iterator`.

        Parameters
        ----------
        array_path : str
        batch_size : int, default 100000

        Yields
        ------
        tuple
        """
        batch_size = _positive(batch_size)
        changes = self._state.changes
        node = self._state.find(canonical_array_path(array_path))
        if node is None or node.array is None:
            return
        pending: list[ChunkRefs] = []
        room = batch_size
        async for references in self._keys_async.chunks.references_async(node, changes):
            start = 0
            while len(references) - start >= room:
                pending.append(references.take(slice(start, start + room)))
                yield chunk_batch(pending, self._containers)
                start += room
                pending, room = [], batch_size
            if start < len(references):
                pending.append(references.take(slice(start, None)))
                room -= len(references) - start
        if pending:
            yield chunk_batch(pending, self._containers)

    async def all_virtual_chunk_locations_async(self) -> list[str]:
        """Where all virtual chunks are, those that the session set included.

        Returns
        -------
        list of str
            An absolute URL for each virtual chunk, so one that several chunks are in is there as
            often. First come the arrays that the snapshot has, then those that are new.

        Raises
        ------
        InvalidInputError
            Kind `no-container-for-virtual-chunk`: a location names a container that the
            configuration does not have.
        """
        changes = self._state.changes
        found: list[str] = []
        for node in list(changes.nodes()):
            if node.array is None:
                continue
            async for references in self._keys_async.chunks.references_async(node, changes):
                found += filter(None, absolute_locations(references, self._containers))
        return found

    async def shift_array_async(self, array_path: str, chunk_offset: Iterable[int]) -> None:
        """Move all chunks of an array by as many chunks along each dimension.

        What would leave the grid is dropped, and the places that nothing moves to read as the
        fill value from then on. To drop nothing, resize the array first.

        Parameters
        ----------
        array_path : str
            The absolute path of an array with a regular chunk grid.
        chunk_offset : iterable of int
            How far along each dimension, counted in chunks: towards the end, or towards the
            beginning where it is negative.

        Raises
        ------
        NodeNotFoundError
            Kind `node-not-found`.
        InvalidInputError
            Kind `invalid-chunk-index`: not one offset for each dimension. Kind `not-an-array` or
            `invalid-path`.
        IcechunkError
            Kind `unknown`: the chunk grid is not regular.
        ReadOnlyError
            Kind `read-only-session`.
        SessionStateError
            Kind `rearrange-session-only`.

        Examples
        --------
        >>> import icechunk, zarr
        >>> repo = await icechunk.Repository.create_async(icechunk.in_memory_storage())
        >>> session = await repo.writable_session_async("main")
        >>> array = zarr.create_array(session.store, name="a", shape=(4,), chunks=(1,), dtype="i4")
        >>> array[:] = [1, 2, 3, 4]
        >>> await session.shift_array_async("/a", [1])
        >>> array[:].tolist()
        [0, 1, 2, 3]
        """
        await self._rearrange_async(array_path, Shift(tuple([index(step) for step in chunk_offset])))

    async def reindex_array_async(
        self,
        array_path: str,
        forward: Callable[[list[int]], Iterable[int] | None],
        backward: Callable[[list[int]], Iterable[int] | None] | None = None,
    ) -> None:
        """Move each chunk of an array to where a function says.

        Asked are chunks that exist, in the order of their coordinates; when several go to one
        place, the last one is there afterwards. A place that chunks leave and that none goes to
        keeps its chunk, unless `backward` tells otherwise.

        Parameters
        ----------
        array_path : str
            The absolute path of an array with a regular chunk grid.
        forward : callable
            Gets the coordinates of a chunk as a list, and returns those of the place it goes to,
            or None for a chunk that is not moved.
        backward : callable, optional
            The inverse. Asked for each chunk that no other one takes the place of: where would
            the chunk at these coordinates have come from? If there is no chunk at the coordinates
            that it returns, or if it returns None, the place is cleared.

        Raises
        ------
        NodeNotFoundError
            Kind `node-not-found`.
        InvalidInputError
            Kind `invalid-chunk-index`: `forward` returned coordinates outside of the grid, or one
            of the two returned negative coordinates or not as many as there are dimensions. Kind
            `not-an-array` or `invalid-path`.
        IcechunkError
            Kind `unknown`: the chunk grid is not regular, or a function failed or returned something
            else than coordinates.
        ReadOnlyError
            Kind `read-only-session`.
        SessionStateError
            Kind `rearrange-session-only`.
        TypeError
            `forward` or `backward` cannot be called.

        Notes
        -----
        In the asynchronous spelling the functions are called in a thread, so that the event loop
        goes on.

        Examples
        --------
        >>> import icechunk, zarr
        >>> repo = await icechunk.Repository.create_async(icechunk.in_memory_storage())
        >>> session = await repo.writable_session_async("main")
        >>> array = zarr.create_array(session.store, name="a", shape=(4,), chunks=(1,), dtype="i4")
        >>> array[:] = [1, 2, 3, 4]
        >>> await session.reindex_array_async("/a", lambda chunk: [3 - chunk[0]])
        >>> array[:].tolist()
        [4, 3, 2, 1]
        """
        for function in (forward,) if backward is None else (forward, backward):
            if not callable(function):
                raise TypeError(f"chunks are reindexed by functions, not by a {type(function).__name__}")
        await self._rearrange_async(array_path, Reindex(forward, backward))

    async def _rearrange_async(self, array_path: str, task: Shift | Reindex) -> None:
        state = self._state
        path = node_path(array_path)
        while True:
            changes = state.changes
            node, _ = state.array(path)
            require_regular_grid(node, state.spec_version)
            state.check_writable()
            recorded = state.chunk_changes(node, changes)
            manifests = await self._keys_async.chunks.manifests_async(node)
            table = await run_in_thread_async(rearranged_table, node, manifests, recorded, task)
            if state.replace_chunks(node, changes, recorded, table):
                return
            # Somebody wrote into the array meanwhile: what they wrote takes part.


def _positive(batch_size: int) -> int:
    number = index(batch_size)
    if number < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    return number
