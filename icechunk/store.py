"""The zarr store over a session.

Zarr calls a store in two ways: the coroutines of `zarr.abc.store.Store`, usually
from a background event loop of its own, and the blocking `get_sync`, `set_sync`
and `delete_sync`, from whatever thread the user is in. The first are answered
by the `_async` half of the engine and the second by the `_sync` half, over one
session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zarr.abc.store import Store
from zarr.core.buffer import Buffer, default_buffer_prototype

from icechunk._async.virtual_refs import AsyncVirtualRefs
from icechunk._exceptions import ErrorKind, ReadOnlyError, SessionStateError
from icechunk._io.concurrency import map_concurrently_async
from icechunk._io.iteration import Listing
from icechunk._sync.session import SyncSession
from icechunk._sync.virtual_refs import SyncVirtualRefs
from icechunk.display import Form, Listed, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import BufferPrototype

    from icechunk._core.chunk_batches import ChunkBatch
    from icechunk.display import Fields
    from icechunk.session import Session

__all__ = ["IcechunkStore"]


class IcechunkStore(Listed, SyncVirtualRefs, AsyncVirtualRefs, Store):
    """A session as a zarr store. Made by `Session.store`.

    What the methods of zarr's `Store` do is said there. A key that is neither that of a document nor of a
    chunk is an `InvalidInputError` of kind `invalid-key`, a change where the store or the session is
    read-only a `ReadOnlyError`, and a chunk that is referenced and cannot be read a `StorageError`.

    Examples
    --------
    >>> import icechunk, zarr
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> store = repo.writable_session("main").store
    >>> array = zarr.create_array(store, name="a", shape=(2,), chunks=(1,), dtype="i1")
    >>> array[:] = [1, 2]
    >>> sorted(store.list())
    ['a/c/0', 'a/c/1', 'a/zarr.json', 'zarr.json']
    """

    _shown_as: ClassVar[str] = "icechunk.IcechunkStore"

    _session: Session

    supports_writes = True
    supports_deletes = True
    supports_listing = True
    supports_partial_writes = False
    supports_consolidated_metadata = False

    def __init__(self, session: Session, read_only: bool | None = None) -> None:
        super().__init__(read_only=session.read_only if read_only is None else read_only)
        self._session = session
        self._is_open = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IcechunkStore) and self._session == other._session

    def __hash__(self) -> int:
        return hash(self._session)

    def _fields(self, form: Form) -> Fields:
        session = self._session
        yield "read_only", str(self.read_only)
        yield "snapshot_id", session.snapshot_id
        yield "branch", str(session.branch)
        if form is Form.HTML:
            yield "session", text(session, form)

    def with_read_only(self, read_only: bool = False) -> IcechunkStore:
        """The same store with another setting of `read_only`.

        Parameters
        ----------
        read_only : bool, default False

        Returns
        -------
        IcechunkStore
            Not open yet, as zarr wants it.
        """
        store = IcechunkStore(self._session, read_only)
        store._is_open = False
        return store

    @property
    def _supports_sync_io(self) -> bool:
        """Zarr's switch: read blocking from memory and disk, concurrently from a network."""
        return not self._session._cache.storage.is_remote

    @property
    def read_only(self) -> bool:
        """Whether the store refuses changes."""
        return self._read_only or self._session.read_only

    @property
    def session(self) -> Session:
        """The session that the store belongs to.

        Returns
        -------
        Session
        """
        return self._session

    def _check_store_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError(
                "store was opened in read-only mode and does not support writing: it was made by "
                "`with_read_only`, or its session is read-only, as each is once it is committed. Open one "
                "with `Repository.writable_session`",
                ErrorKind.READ_ONLY_STORE,
            )

    def _check_deletable(self) -> None:
        # A read-only session refuses deletions itself, with a kind of its own.
        if not self._session.read_only:
            self._check_store_writable()

    # Reading

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The value of a key, or the part asked for; None when there is none."""
        data = await self._session._keys_async.get_async(key, byte_range)
        if data is None:
            return None
        return prototype.buffer.from_bytes(data)  # type: ignore[arg-type]  # any buffer will do

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Like `get`, blocking."""
        data = self._session._keys.get(key, byte_range)
        if data is None:
            return None
        buffer = (prototype or default_buffer_prototype()).buffer
        return buffer.from_bytes(data)  # type: ignore[arg-type]  # any buffer will do

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """The parts asked for of many values, in the order asked; None in place of missing ones."""

        async def get_async(item: tuple[str, ByteRequest | None]) -> Buffer | None:
            return await self.get(item[0], prototype, item[1])

        limit = self._session._cache.settings.get_partial_values_concurrency
        return await map_concurrently_async(get_async, key_ranges, limit)

    async def exists(self, key: str) -> bool:
        """Whether a key has a value. No chunk is read for it."""
        return await self._session._keys_async.exists_async(key)

    async def getsize(self, key: str) -> int:
        """Size of a value in bytes. No chunk is read for it."""
        return await self._session._keys_async.getsize_async(key)

    async def getsize_prefix(self, prefix: str) -> int:
        """Size in bytes of all values under a group or array. No chunk is read for it."""
        return await self._session._keys_async.getsize_prefix_async(prefix)

    # Writing

    async def set(self, key: str, value: Buffer) -> None:
        """Store a value."""
        self._check_store_writable()
        data, size = _bytes_of(value)
        await self._session._keys_async.set_async(key, data, size)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Like `set`, blocking."""
        self._check_store_writable()
        data, size = _bytes_of(value)
        self._session._keys.set(key, data, size)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Store a value unless the key has one."""
        self._check_store_writable()
        if not await self.exists(key):
            await self.set(key, value)

    async def set_partial_values(self, key_start_values: Iterable[tuple[str, int, Any]]) -> None:
        """Not supported: chunks are written whole.

        Raises
        ------
        SessionStateError
            Kind `unimplemented`.
        """
        del key_start_values
        raise SessionStateError(
            "a part of a value cannot be written: write the whole value with `set`", ErrorKind.UNIMPLEMENTED
        )

    async def delete(self, key: str) -> None:
        """Remove a value; with the document of a node goes the node."""
        self._check_deletable()
        await self._session._keys_async.delete_async(key)

    def delete_sync(self, key: str) -> None:
        """Like `delete`, blocking."""
        self._check_deletable()
        self._session._keys.delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove everything under a prefix."""
        self._check_store_writable()
        await self._session._keys_async.delete_dir_async(prefix)

    async def clear(self) -> None:
        """Remove everything, in this session; the history stays."""
        self._check_deletable()
        await self._session._keys_async.clear_async()

    def sync_clear(self) -> None:
        """Like `clear`, blocking."""
        self._check_deletable()
        self._session._keys.clear()

    # Listing

    async def is_empty(self, prefix: str) -> bool:
        """Whether there is nothing under a prefix."""
        return await self._session._keys_async.is_empty_async(prefix)

    def list(self) -> Listing[str]:
        """All keys."""
        return self.list_prefix("")

    def list_prefix(self, prefix: str) -> Listing[str]:
        """All keys under a group or array."""
        session = self._session
        return Listing(
            lambda: session._keys_async.list_prefix_async(prefix), lambda: session._keys.list_prefix(prefix)
        )

    def list_dir(self, prefix: str) -> Listing[str]:
        """The names directly under a prefix."""
        session = self._session
        return Listing(
            lambda: session._keys_async.list_dir_async(prefix), lambda: session._keys.list_dir(prefix)
        )

    def array_chunk_iterator(self, array_path: str, batch_size: int = 100_000) -> Listing[ChunkBatch]:
        """The references of all chunks of an array, as columns.

        What the session wrote comes first, then manifest by manifest, each sorted by coordinates;
        chunks that cannot be read are left out, as by `Session.chunk_coordinates`. Nothing is held
        in between: leave the iteration, or write, at any point.

        Parameters
        ----------
        array_path : str
            The path of the array; the leading slash may be left out. If there is no array, there
            are no batches.
        batch_size : int, default 100000
            How many rows a batch has; the last one has what is left.

        Returns
        -------
        Listing of tuple
            To be used once, with `async for` or with `for`. A batch is of six columns:

            * coordinates of the chunks: ndarray of uint32, shape (n, ndim);
            * kinds, values of `ChunkType`: ndarray of uint8, shape (n,);
            * where the bytes are: list of str, for a virtual chunk the absolute URL of the file, for
              a native one the id of the chunk, for an inline one ``""``;
            * offsets there and lengths, in bytes: ndarrays of uint64, shape (n,);
            * contents of inline chunks: dict of bytes, by the number of the row.

        Raises
        ------
        InvalidInputError
            Kind `no-container-for-virtual-chunk`, when the iteration gets there: a location names a
            container that the configuration does not have. Kind `invalid-path`.
        ValueError
            `batch_size` is less than 1.

        Examples
        --------
        >>> import icechunk, zarr
        >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
        >>> store = repo.writable_session("main").store
        >>> array = zarr.create_array(store, name="a", shape=(4,), chunks=(2,), dtype="u1")
        >>> store.set_virtual_ref("a/c/1", "s3://b/f", offset=16, length=2, validate_container=False)
        >>> for coordinates, kinds, places, offsets, lengths, inlined in store.array_chunk_iterator("a"):
        ...     print(coordinates.tolist(), kinds.tolist(), places, offsets.tolist(), lengths.tolist())
        [[1]] [2] ['s3://b/f'] [16] [2]
        """
        session = self._session
        return Listing(
            lambda: session.chunk_batches_async(array_path, batch_size),
            lambda: SyncSession.chunk_batches(session, array_path, batch_size),
        )


def _bytes_of(value: Buffer) -> tuple[memoryview, int]:
    """The bytes of a zarr buffer without a copy, and how many they are."""
    if not isinstance(value, Buffer):
        raise TypeError(f"the value of a key has to be a zarr Buffer, not {type(value).__name__}")
    array = value.as_numpy_array()
    return array.data, array.nbytes
