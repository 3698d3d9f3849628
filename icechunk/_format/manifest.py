"""Manifests: the chunk references of one array or several.

Slots of the tables of a manifest file, spec 1 and 2; those marked 2 are not in
files of spec 1::

    Manifest        0 id (12 bytes)          1 arrays, sorted by node id
                    2 location dictionary (2)
                    3 u8 compression algorithm of locations, default 1 (2)
                    4 extra (2)
    ArrayManifest   0 node id (8 bytes)      1 references, sorted by index
                    2 extra (2)
    ChunkRef        0 index: vector of u32   1 inline chunk
                    2 u64 offset             3 u64 length
                    4 chunk id (12 bytes)    5 location: string
                    6 etag: string           7 u32 last modified
                    8 compressed location (2)
                    9 extra (2)

What a reference is, is told by the first of these fields that it has: chunk id,
compressed location, location, inline chunk. Compression algorithm 0 is none, 1
is zstd with the location dictionary; since the default is 1, a 0 is written out
also in files of spec 1. The fields named extra are neither read nor written.

References of an array are decoded all at once and only when many of them are
wanted: a few lookups are answered by binary search in the buffer.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING

import numpy as np

from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.chunk_refs import (
    ROW,
    ChunkRef,
    ChunkRefs,
    inline_ref,
    native,
    one_dictionary,
    virtual,
)
from icechunk._format.compression import LocationDictionary
from icechunk._format.flatbuffer_builder import MAX_SIZE, Builder, u8
from icechunk._format.flatbuffers import Reader, Table, Tables
from icechunk._format.slices import distinct_slices
from icechunk._locks import StateLock
from icechunk.types import ChunkType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from icechunk._format.flatbuffers import Column, Data, Places

_ID, _ARRAYS, _DICTIONARY, _ALGORITHM = range(4)
_NODE_ID, _REFS = range(2)
_INDEX, _INLINE, _OFFSET, _LENGTH, _CHUNK_ID, _LOCATION, _ETAG, _MODIFIED, _PACKED_LOCATION = range(9)

_UNCOMPRESSED = 0
_ZSTD = 1

_NATIVE_KIND = int(ChunkType.native)
_VIRTUAL_KIND = int(ChunkType.virtual)
_INLINE_KIND = int(ChunkType.inline)

# Decoding a reference among all others costs about this part of a search for it in the buffer. Once as
# much has been spent on searches as decoding costs, decoding is the better bet.
_SEARCHES_PER_REF = 1 / 200
_MIN_SEARCHES = 16

_read_u32 = Struct("<I").unpack_from
_read_i32 = Struct("<i").unpack_from
_read_vtable = Struct("<HHH").unpack_from


class Manifest:
    """A decoded manifest; made by `decode_manifest`. Safe to share between threads.

    Attributes
    ----------
    id : bytes
    num_refs : int
        References of all arrays together.
    """

    __slots__ = ("_arrays", "_decoded", "_dictionary", "_lock", "_reader", "_searches", "id", "num_refs")

    def __init__(
        self,
        reader: Reader,
        manifest_id: bytes,
        arrays: dict[bytes, tuple[int, int]],
        dictionary: LocationDictionary | None,
    ) -> None:
        self.id = manifest_id
        self.num_refs = sum(count for _, count in arrays.values())
        self._reader = reader
        # Start and count of the vector of references.
        self._arrays = arrays
        self._dictionary = dictionary
        self._decoded: dict[bytes, ChunkRefs] = {}
        self._searches = 0
        self._lock = StateLock()

    @property
    def location_dictionary(self) -> bytes | None:
        """What locations are compressed with, None if they are not."""
        return None if self._dictionary is None else self._dictionary.content

    def node_ids(self) -> list[bytes]:
        """Ids of the arrays that have references here."""
        return list(self._arrays)

    def refs(self, node_id: bytes, ndim: int | None = None, *, keep: bool = True) -> ChunkRefs | None:
        """All references of an array, decoded once; None if it has none here.

        With `ndim`, those with another number of coordinates are left out: what an array has from before
        somebody gave it another number of dimensions. With `keep` False they are not kept for the next
        time, unless they are already.

        Raises
        ------
        FormatError
            Kind `invalid-file-format`: the references are damaged.
        """
        found = self._decoded.get(node_id)
        if found is not None and ndim in (None, found.ndim):
            return found
        array = self._arrays.get(node_id, (0, 0))
        if not array[1]:
            return None
        if keep and found is None:
            with self._lock.held:
                found = self._decoded.get(node_id)
                if found is None:
                    found = _decode_refs(self._reader, *array, self._dictionary, ndim)
                    self._decoded[node_id] = found
            if ndim in (None, found.ndim):
                return found
        return _decode_refs(self._reader, *array, self._dictionary, ndim)

    def keep(self, node_id: bytes, refs: ChunkRefs) -> None:
        """Take the references of an array, as they were encoded, in the place of decoding them.

        Nothing happens where they hold on to more bytes than the file has, such as a part of a large one.
        """
        if len(refs.pool) <= self._reader.size:
            self._decoded[node_id] = refs

    def find(self, node_id: bytes, coords: tuple[int, ...]) -> ChunkRef | None:
        """The reference of one chunk, None if it has none here.

        Raises
        ------
        FormatError
            Kind `invalid-file-format`: the reference, or what is met in search of it, is damaged.
        """
        refs = self._decoded.get(node_id)
        if refs is None or refs.ndim != len(coords):
            start, count = self._arrays.get(node_id, (0, 0))
            # Threads may lose a few counts here, which does no harm.
            self._searches += 1
            if refs is not None or self._searches <= _MIN_SEARCHES + count * _SEARCHES_PER_REF:
                return self._search(start, count, coords)
            refs = self.refs(node_id, len(coords))
            if refs is None:
                return None
        return refs.find(coords)

    def _search(self, start: int, count: int, coords: tuple[int, ...]) -> ChunkRef | None:
        # `Table` would do, at several times the cost of a step.
        reader = self._reader
        data = reader.data
        width = len(coords)
        read_index = Struct(f"<{width}I").unpack_from
        low, high = 0, count
        try:
            while low < high:
                middle = (low + high) // 2
                at = start + 4 * middle
                table = at + _read_u32(data, at)[0]
                vtable = table - _read_i32(data, table)[0]
                vtable_size, _, field = _read_vtable(data, vtable)
                if vtable < 0 or vtable_size < 6 or not field:
                    raise reader.error("a chunk reference has no index")
                at = table + field
                at += _read_u32(data, at)[0]
                found = _read_u32(data, at)[0]
                if found == width:
                    index = read_index(data, at + 4)
                else:
                    index = Struct(f"<{min(found, width + 1)}I").unpack_from(data, at + 4)
                if index == coords:
                    return _point_ref(Table(reader, table), self._dictionary)
                if index < coords:
                    low = middle + 1
                else:
                    high = middle
        except StructError as error:
            raise reader.error(f"an offset leads outside of the {reader.size} bytes") from error
        return None


def decode_manifest(payload: Data, name: str) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    payload : bytes-like
        The FlatBuffer out of its envelope. The manifest and its references keep it.
    name : str
        Key of the object, for errors.

    Raises
    ------
    FormatError
        Kind `invalid-file-format`: the bytes are damaged. Much of them is only looked at, and may only
        raise, once it is asked for.
    """
    reader = Reader(payload, name)
    root = reader.root()
    manifest_id = root.require(root.struct(_ID, 12), "id")
    arrays = {}
    for position in root.require(root.positions(_ARRAYS), "arrays").tolist():
        array = Table(reader, position)
        node_id = array.require(array.struct(_NODE_ID, 8), "node id")
        arrays[node_id] = array.require(array.span(_REFS, 4), "references")
    # Arrays do not share references, and the least reference takes as many bytes as this.
    if sum(count for _, count in arrays.values()) * 8 > reader.size:
        raise reader.error("its arrays overlap")
    packed = root.u8(_ALGORITHM, default=_ZSTD) == _ZSTD
    dictionary = root.bytes(_DICTIONARY) if packed else None
    return Manifest(
        reader, manifest_id, arrays, None if dictionary is None else LocationDictionary(dictionary, name)
    )


def _point_ref(table: Table, dictionary: LocationDictionary | None) -> ChunkRef:
    reader = table.reader
    chunk_id = table.struct(_CHUNK_ID, 12)
    if chunk_id is not None:
        return native(chunk_id, table.u64(_LENGTH), table.u64(_OFFSET))
    packed = table.bytes(_PACKED_LOCATION)
    if packed is not None:
        if dictionary is None:
            raise _no_dictionary(reader)
        try:
            location = dictionary.unpack(packed).decode()
        except UnicodeDecodeError as error:
            raise reader.error("a location is not UTF-8") from error
    else:
        plain = table.string(_LOCATION)
        if plain is None:
            inline = table.bytes(_INLINE)
            if inline is None:
                raise _no_kind(reader)
            return inline_ref(inline)
        location = plain
    etag = table.string(_ETAG) or None
    return virtual(location, table.u64(_OFFSET), table.u64(_LENGTH), etag, table.u32(_MODIFIED) or None)


def _decode_refs(
    reader: Reader, start: int, count: int, dictionary: LocationDictionary | None, ndim: int | None
) -> ChunkRefs:
    """All references of the vector at a position, or those with so many coordinates."""
    positions = start + 4 * np.arange(count, dtype=np.int64)
    positions += reader.array(start, count, "<u4")
    tables = Tables(reader, positions)
    starts, counts = tables.spans(_INDEX, 4)
    if not starts.all():
        raise reader.error("a chunk reference has no index")
    if ndim is not None and not (fitting := counts == ndim).all():
        positions, starts, counts = positions[fitting], starts[fitting], counts[fitting]
        count = len(positions)
        if not count:
            return ChunkRefs.empty(ndim)
        tables = Tables(reader, positions)
    coords = _decode_coords(reader, starts, counts)
    rows = np.zeros(count, ROW)
    rows["offset"] = tables.numbers(_OFFSET, "<u8")
    rows["length"] = tables.numbers(_LENGTH, "<u8")
    rows["chunk_id"], is_native = tables.structs(_CHUNK_ID, 12)
    rows["kind"] = _NATIVE_KIND
    if is_native.all():
        return ChunkRefs.from_columns(coords, rows, np.empty(0, np.uint8))
    if is_native.any():
        others = np.flatnonzero(~is_native)
        data = rows[others]
        _decode_data(Tables(reader, positions[others]), data, dictionary is not None)
        rows[others] = data
    else:
        _decode_data(tables, rows, dictionary is not None)
    return ChunkRefs.from_columns(coords, rows, np.frombuffer(reader.data, np.uint8), dictionary)


def _decode_coords(reader: Reader, starts: Places, counts: Places) -> NDArray[np.uint32]:
    ndim = int(counts[0])
    if (counts != ndim).any():
        raise reader.error("the chunk references of an array differ in their number of dimensions")
    # Coordinates are distinct, so no writer can have let tables share an index.
    if len(counts) * ndim * 4 > reader.size:
        raise reader.error("the indices of its chunk references overlap")
    if not ndim:
        return np.empty((len(counts), 0), np.uint32)
    coords: Column = reader.gather(starts, f"V{4 * ndim}").view("<u4")
    return coords.reshape(len(counts), ndim)


def _decode_data(tables: Tables, rows: NDArray[np.void], has_dictionary: bool) -> None:
    """Fill in what references have that are not native."""
    reader = tables.reader
    starts = np.zeros(len(tables), np.int64)
    sizes = np.zeros(len(tables), np.int64)
    kind = np.zeros(len(tables), np.uint8)
    sources = ((_PACKED_LOCATION, _VIRTUAL_KIND), (_LOCATION, _VIRTUAL_KIND), (_INLINE, _INLINE_KIND))
    for slot, means in sources:
        targets = tables.targets(slot)
        if kind.any():
            targets = np.where(kind == 0, targets, 0)
        own = targets != 0
        if not own.any():
            continue
        found, count = reader.spans(targets)
        starts[own], sizes[own], kind[own] = found[own], count[own], means
        if slot == _PACKED_LOCATION:
            if not has_dictionary:
                raise _no_dictionary(reader)
            rows["compressed"] = own
        if kind.all():
            break
    else:
        raise _no_kind(reader)
    rows["kind"], rows["data_start"], rows["data_size"] = kind, starts, sizes
    is_inline = kind == _INLINE_KIND
    if is_inline.any():
        rows["offset"][is_inline] = 0
        rows["length"][is_inline] = sizes[is_inline]
    if not is_inline.all():
        etags = np.where(is_inline, 0, tables.targets(_ETAG))
        if etags.any():
            rows["etag_start"], rows["etag_size"] = reader.spans(etags)
        modified = tables.numbers(_MODIFIED, "<u4")
        rows["last_modified"] = np.where(is_inline, 0, modified)


def encode_manifest(
    manifest_id: bytes, arrays: Sequence[tuple[bytes, ChunkRefs]], spec_version: int
) -> memoryview:
    """Write a manifest.

    Parameters
    ----------
    manifest_id : bytes
    arrays : sequence of (bytes, ChunkRefs)
        Node id and references of each array, in any order.
    spec_version : int
        With 1 no location is compressed.

    Returns
    -------
    memoryview
        The FlatBuffer, to be put into its envelope.

    Raises
    ------
    FormatError
        Kind `serialization`: more than 2 GiB.
    """
    arrays = sorted(arrays, key=lambda array: array[0])
    _check_sizes([refs for _, refs in arrays])
    parts, dictionary = one_dictionary([refs for _, refs in arrays])
    if spec_version < 2:
        parts, dictionary = [refs.with_plain_locations() for refs in parts], None
    builder = Builder(_expected_size(parts, dictionary))
    places = [
        builder.table({_NODE_ID: node_id, _REFS: _write_refs(builder, refs)})
        for (node_id, _), refs in zip(arrays, parts, strict=True)
    ]
    root = builder.table(
        {
            _ID: manifest_id,
            _ARRAYS: builder.references(places),
            _DICTIONARY: None if dictionary is None else builder.bytes(dictionary.content),
            _ALGORITHM: u8(_UNCOMPRESSED if dictionary is None else _ZSTD),
        }
    )
    return builder.finish(root)


def _check_sizes(parts: Sequence[ChunkRefs]) -> None:
    """Refuse at once what cannot fit, however small each reference is."""
    # A reference, its table with two offsets, and its coordinates with their number.
    least = sum([len(refs) * (16 + 4 * refs.ndim) for refs in parts])
    if least > MAX_SIZE:
        count = sum(map(len, parts))
        raise FormatError(
            f"{count} chunk references need at least {least} bytes, and a manifest cannot hold more than "
            f"{MAX_SIZE}: split manifests into smaller ones, see `ManifestSplittingConfig`",
            ErrorKind.SERIALIZATION,
        )


def _expected_size(parts: Sequence[ChunkRefs], dictionary: LocationDictionary | None) -> int:
    """A little more than the bytes needed."""
    size = 1024 + 64 * len(parts) + (0 if dictionary is None else len(dictionary.content))
    for refs in parts:
        size += len(refs) * (52 + 4 * refs.ndim)
        data = int(refs.rows["data_size"].sum()) + int(refs.rows["etag_size"].sum())
        size += min(data, len(refs.pool)) + 8 * len(refs)
    return size


def _write_refs(builder: Builder, refs: ChunkRefs) -> int:
    rows = refs.rows
    # One shape of tables for each of these, with a column where any row needs it.
    shapes = rows["kind"] + 4 * rows["compressed"] + 8 * (rows["etag_size"] != 0)
    if not len(rows) or (shapes == shapes[0]).all():
        return builder.references(_write_shape(builder, refs.coords, rows, refs.pool))
    places = np.empty(len(rows), np.int64)
    for shape in np.unique(shapes).tolist():
        chosen = np.flatnonzero(shapes == shape)
        places[chosen] = _write_shape(builder, refs.coords[chosen], rows[chosen], refs.pool)
    return builder.references(places)


def _write_shape(
    builder: Builder, coords: NDArray[np.uint32], rows: NDArray[np.void], pool: NDArray[np.uint8]
) -> Places:
    if not len(rows):
        return np.empty(0, np.int64)
    kind = int(rows["kind"][0])
    columns: dict[int, Column] = {}
    children: dict[int, Places] = {}
    if kind == _INLINE_KIND:
        children[_INLINE] = _write_slices(builder, rows, pool, "data")
    else:
        for slot, name in ((_OFFSET, "offset"), (_LENGTH, "length")):
            if rows[name].any():
                columns[slot] = rows[name]
        if kind == _NATIVE_KIND:
            columns[_CHUNK_ID] = rows["chunk_id"]
        else:
            slot = _PACKED_LOCATION if rows["compressed"][0] else _LOCATION
            children[slot] = _write_slices(builder, rows, pool, "data")
            if rows["etag_size"][0]:
                children[_ETAG] = _write_slices(builder, rows, pool, "etag")
            elif rows["last_modified"].any():
                columns[_MODIFIED] = rows["last_modified"]
    return builder.tables(len(rows), columns, children, (_INDEX, coords))


def _write_slices(builder: Builder, rows: NDArray[np.void], pool: NDArray[np.uint8], name: str) -> Places:
    starts, sizes, which = distinct_slices(rows[f"{name}_start"], rows[f"{name}_size"])
    places: Places = builder.slices(pool, starts, sizes)[which]
    return places


def _no_dictionary(reader: Reader) -> FormatError:
    return reader.error("a location is compressed, but there is no dictionary for it")


def _no_kind(reader: Reader) -> FormatError:
    return reader.error("a chunk reference is neither native nor virtual nor inline")
