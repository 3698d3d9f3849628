"""The verbs of a store that set references to chunks in other files.

Nothing is fetched for them, neither the files nor what the repository has: what is said of the references is
checked, and recorded in one step. Many are checked in a thread.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from icechunk._core.locations import parse_location
from icechunk._core.paths import ZarrV2Key, parse_key
from icechunk._core.virtual_refs import (
    array_path as canonical_array_path,
)
from icechunk._core.virtual_refs import (
    checksum_fields,
    references_of_columns,
    references_of_specs,
)
from icechunk._exceptions import ErrorKind, InvalidInputError, SessionStateError
from icechunk._format.chunk_refs import virtual
from icechunk._io.concurrency import run_in_thread_async
from icechunk._setting import Integers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from icechunk._core.session_base import SessionBase
    from icechunk._core.virtual_refs import Given
    from icechunk.virtual import VirtualChunkSpec

_MANY_REFERENCES = 16384
"""More references than this are checked in a thread."""

_U64 = Integers(0, 2**64 - 1, optional=False)


class AsyncVirtualRefs(ABC):
    """The coroutines of a store that set virtual references; see `icechunk.IcechunkStore`."""

    _session: SessionBase

    @abstractmethod
    def _check_store_writable(self) -> None:
        """Refuse when the store is read-only."""

    async def set_virtual_ref_async(
        self,
        key: str,
        location: str,
        *,
        offset: int,
        length: int,
        checksum: str | datetime | None = None,
        validate_container: bool = True,
    ) -> None:
        """Say that a chunk is a range of a file outside of the repository.

        The file is not looked at before the chunk is read.

        Parameters
        ----------
        key : str
            The store key of the chunk, such as ``"air/c/0/3"``.
        location : str
            The URL of the file, or ``vcc://name/path`` for a path below the prefix of the container
            `name`. It is kept as it is, so what is reserved in URLs but part of a name must be
            percent-encoded (``?``, ``#`` and ``%`` itself).
        offset : int
            Where the chunk starts in the file, in bytes.
        length : int
            How many bytes it has.
        checksum : str or datetime.datetime, optional
            The etag of the file, or a time with a time zone, of which whole seconds count: reading
            fails once the file has another etag, or was modified later.
        validate_container : bool, default True
            Refuse a location that no virtual chunk container of the configuration serves.

        Raises
        ------
        InvalidInputError
            Kind `invalid-virtual-ref`: not a URL, or not one that the store of the container can
            have. Kind `no-container-for-virtual-chunk`, `zero-length-chunk`, `invalid-chunk-index`,
            `not-an-array` or `invalid-key`.
        NodeNotFoundError
            Kind `node-not-found`.
        SessionStateError
            Kind `not-allowed`: the key is that of a document. Kind `rearrange-session-only`.
        ReadOnlyError
            Kind `read-only-store`, or `read-only-session` while a commit is under way.
        TypeError, OverflowError
            An argument has the wrong type, or does not fit the format.

        Examples
        --------
        >>> import icechunk, zarr
        >>> repo = await icechunk.Repository.create_async(icechunk.in_memory_storage())
        >>> session = await repo.writable_session_async("main")
        >>> array = zarr.create_array(session.store, name="a", shape=(4,), chunks=(2,), dtype="u1")
        >>> await session.store.set_virtual_ref_async(
        ...     "a/c/1", "s3://bucket/file", offset=16, length=2, validate_container=False
        ... )
        >>> await session.chunk_type_async("/a", [1])
        ChunkType.virtual
        """
        self._check_store_writable()
        session = self._session
        if not isinstance(location, str):
            raise TypeError(f"location must be a str, not {location!r}")
        offset, length = _U64("offset", offset), _U64("length", length)
        etag, last_modified = checksum_fields(checksum)
        try:
            path, coordinates = parse_key(key)
        except ZarrV2Key:
            coordinates = None
        if coordinates is None:
            raise SessionStateError(
                f"`{key}` is the key of a document, and only chunks can be references: use `set` for it",
                ErrorKind.NOT_ALLOWED,
            )
        stored = parse_location(location)
        if validate_container:
            session._containers.check(stored)
        session._state.check_writable()
        session._state.check_chunk_writable(path, coordinates)
        if not length:
            raise InvalidInputError(
                f"the virtual chunk {list(coordinates)} of `{path}` has no bytes: a chunk cannot be empty",
                ErrorKind.ZERO_LENGTH_CHUNK,
            )
        session._state.record_chunk(path, coordinates, virtual(stored, offset, length, etag, last_modified))

    async def set_virtual_refs_async(
        self, array_path: str, chunks: list[VirtualChunkSpec], *, validate_containers: bool = True
    ) -> list[tuple[int, ...]] | None:
        """Say of chunks of one array that they are ranges of files outside of the repository.

        Either all references are stored but those rejected, or the session is left as it was.

        Parameters
        ----------
        array_path : str
            The path of the array; the leading slash may be left out.
        chunks : list of VirtualChunkSpec
            Of several for one chunk the last counts, and of two checksums the etag.
        validate_containers : bool, default True
            Reject references whose location no virtual chunk container of the configuration serves.

        Returns
        -------
        list of tuple of int, or None
            The coordinates of the references that were rejected and not stored; None if all were
            stored.

        Warns
        -----
        UserWarning
            References are rejected. It is given before anything is stored, so a filter that turns
            warnings into errors makes this all or nothing.

        Raises
        ------
        InvalidInputError
            Kind `invalid-virtual-ref`: a location is no URL. Kind `zero-length-chunk`,
            `invalid-chunk-index`, `not-an-array` or `invalid-path`.
        NodeNotFoundError, SessionStateError, ReadOnlyError, TypeError, OverflowError
            As in `set_virtual_ref`.

        Examples
        --------
        >>> import icechunk, zarr
        >>> repo = await icechunk.Repository.create_async(icechunk.in_memory_storage())
        >>> session = await repo.writable_session_async("main")
        >>> array = zarr.create_array(session.store, name="a", shape=(4,), chunks=(2,), dtype="u1")
        >>> chunks = [icechunk.VirtualChunkSpec([n], "s3://bucket/file", 16 * n, 2) for n in range(2)]
        >>> await session.store.set_virtual_refs_async("a", chunks, validate_containers=False)
        >>> await session.all_virtual_chunk_locations_async()
        ['s3://bucket/file', 's3://bucket/file']
        """
        path, ndim = self._array_to_refer_from(array_path)
        containers = self._session._containers if validate_containers else None

        def check() -> Given:
            return references_of_specs(path, ndim, chunks, containers)

        given = await _checked_async(check, chunks)
        return self._record(path, given)

    async def set_virtual_refs_arr_async(
        self,
        array_path: str,
        chunk_grid_shape: tuple[int, ...],
        locations: list[str],
        offsets: NDArray[Any],
        lengths: NDArray[Any],
        *,
        validate_containers: bool = True,
        arr_offset: tuple[int, ...] | None = None,
        checksum: datetime | str | None = None,
    ) -> list[tuple[int, ...]] | None:
        """Say of a box of an array's chunks that they are ranges of files outside of the repository.

        This is `set_virtual_refs` for many references: they are given as columns, and no object is
        made for each of them. Either all are stored but those rejected, or the session is left as it
        was.

        Parameters
        ----------
        array_path : str
            The path of the array; the leading slash may be left out.
        chunk_grid_shape : tuple of int
            How many chunks the box has along each dimension of the array.
        locations : list of str
            The URL of the file for each chunk of the box, in C order; empty where there is no chunk.
            An array of strings will do.
        offsets : ndarray of uint64
            Where each chunk starts in its file, in bytes.
        lengths : ndarray of uint64
            How many bytes each has.
        validate_containers : bool, default True
            Reject references whose location no virtual chunk container of the configuration serves.
        arr_offset : tuple of int, optional
            The coordinates of the first chunk of the box; zeros when left out.
        checksum : str or datetime.datetime, optional
            The etag of all the files, or a time with a time zone; see `set_virtual_ref`.

        Returns
        -------
        list of tuple of int, or None
            The coordinates of the references that were rejected and not stored; None if all were
            stored.

        Warns
        -----
        UserWarning
            References are rejected; see `set_virtual_refs`.

        Raises
        ------
        ValueError
            The sizes of the arguments do not fit together.
        InvalidInputError, NodeNotFoundError, SessionStateError, ReadOnlyError, TypeError, OverflowError
            As in `set_virtual_refs`.

        Examples
        --------
        >>> import icechunk, numpy, zarr
        >>> repo = await icechunk.Repository.create_async(icechunk.in_memory_storage())
        >>> session = await repo.writable_session_async("main")
        >>> array = zarr.create_array(session.store, name="a", shape=(8,), chunks=(2,), dtype="u1")
        >>> await session.store.set_virtual_refs_arr_async(
        ...     "a",
        ...     (3,),
        ...     ["s3://bucket/file", "", "s3://bucket/other"],
        ...     offsets=numpy.array([0, 0, 64], "u8"),
        ...     lengths=numpy.array([2, 0, 2], "u8"),
        ...     arr_offset=(1,),
        ...     validate_containers=False,
        ... )
        >>> list(session.chunk_coordinates("/a"))
        [(1,), (3,)]
        """
        path, ndim = self._array_to_refer_from(array_path)
        containers = self._session._containers if validate_containers else None

        def check() -> Given:
            return references_of_columns(
                path,
                ndim,
                chunk_grid_shape,
                locations,
                offsets,
                lengths,
                arr_offset,
                checksum,
                containers,
            )

        given = await _checked_async(check, locations)
        return self._record(path, given)

    def _array_to_refer_from(self, array_path: str) -> tuple[str, int]:
        """The canonical path and the number of dimensions of an array whose chunks are to be set."""
        self._check_store_writable()
        session = self._session
        path = canonical_array_path(array_path)
        session._state.check_writable()
        _, array = session._state.array(path)
        return path, len(array.shape)

    def _record(self, path: str, given: Given) -> list[tuple[int, ...]] | None:
        session = self._session
        session._state.check_columns(path, given.references)
        if given.rejected:
            # Before anything is recorded, for those who turn warnings into errors.
            warnings.warn(
                f"{len(given.rejected)} of {len(given.rejected) + len(given.references)} virtual references "
                f"of `{path}` are rejected and not stored, the first one at {list(given.rejected[0])}: "
                f"{given.reason}",
                UserWarning,
                stacklevel=3,
            )
        if len(given.references):
            session._state.record_columns(path, given.references)
        return given.rejected or None


async def _checked_async(check: Callable[[], Given], items: Sequence[object]) -> Given:
    # What has no length is refused by the check.
    if hasattr(items, "__len__") and len(items) > _MANY_REFERENCES:
        return await run_in_thread_async(check)
    return check()
