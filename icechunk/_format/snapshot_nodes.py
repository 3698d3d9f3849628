"""The nodes of a snapshot, from and to bytes.

See `snapshot` for the layout of their tables. Reading goes through `NodeVector`, in
two ways. A lookup decodes one node and must not pay for its 100,000 neighbours: it
reads fields itself, with one look at the vtable for each shape of table, which takes
a tenth of the time of `Table`. Its positions are sums of unsigned offsets, so never
negative, and what lies behind the end of the buffer raises. Passes over many nodes
decode them in blocks and by columns, at a third of the cost of lookups. Writing
works on columns of all nodes, unless they are so few that NumPy takes longer to set
up than to write them one by one.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from functools import partial
from itertools import chain, pairwise, repeat
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from icechunk._exceptions import ErrorKind, FormatError, InvalidInputError
from icechunk._format.flatbuffers import Builder, Reader, Table, Tables, u8, u32, u64

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from icechunk._format.flatbuffers import Column, Places

_ARRAY = 1
_GROUP = 2
_FIELDS = 6
_BLOCK = 512
_FEW = 32
_NO_SHAPE = np.empty(0, "<u8")
"""The shape of spec 1 in spec 2: no elements, but aligned as if there were some."""

SHARING = 4
"""How many times the size of the buffer one pass may read.

Honest nodes share next to nothing, forged ones may all refer to the same large parts.
"""

_Content = TypeVar("_Content")

_u32 = struct.Struct("<I").unpack_from
_i32 = struct.Struct("<i").unpack_from
_u64 = struct.Struct("<Q").unpack_from
_pairs_u32 = struct.Struct("<2I").iter_unpack
_pairs_u64 = struct.Struct("<2Q").iter_unpack


class DimensionShape(msgspec.Struct, frozen=True, gc=False):
    """One dimension of an array: its length in elements, and the number of its chunks."""

    array_length: int
    num_chunks: int


class ManifestRef(msgspec.Struct, frozen=True, gc=False):
    """A manifest that holds chunks of an array, and the box of chunk coordinates that it covers.

    The extents have one (from, to) for each dimension, with `to` not included.
    """

    object_id: bytes
    extents: tuple[tuple[int, int], ...]


class ArrayData(msgspec.Struct, frozen=True, gc=False):
    """What a snapshot says about an array, besides its zarr.json."""

    shape: tuple[DimensionShape, ...]
    dimension_names: tuple[str | None, ...] | None
    manifests: tuple[ManifestRef, ...]


class Node(msgspec.Struct, frozen=True, gc=False):
    """A group (its `array` is None) or an array; `user_data` is its zarr.json."""

    id: bytes
    path: str
    user_data: bytes
    array: ArrayData | None
    extra: bytes | None = None


class NodeVector:
    """The vector of nodes. The methods take indices and positions that lie in the buffer or raise."""

    __slots__ = ("_count", "_data", "_layouts", "_names", "_names_size", "_reader", "_start")

    def __init__(self, reader: Reader, start: int, count: int) -> None:
        self._reader = reader
        self._data = bytes(reader.data)
        self._start = start
        self._count = count
        self._layouts: dict[int, tuple[int, ...]] = {}
        self._names: dict[int, str | None] = {}
        self._names_size = 0

    def __len__(self) -> int:
        return self._count

    def run(self, index: int, end: int) -> Iterator[Node]:
        """Decode one node after the other."""
        spent = 0
        if end - index <= _FEW:
            for number in range(index, end):
                node, weight = self.node(number)
                spent = self.spend(spent, weight)
                yield node
            return
        for low in range(index, end, _BLOCK):
            try:
                nodes, spent = self._block(low, min(low + _BLOCK, end), spent)
            except struct.error as error:
                raise self._outside() from error
            except UnicodeDecodeError as error:
                raise self._reader.error(f"a text is not UTF-8: {error}") from error
            yield from nodes

    def spend(self, spent: int, weight: int) -> int:
        """Add to the bytes that were read in one pass, and stop it if they are too many."""
        if spent + weight > SHARING * len(self._data):
            raise self._reader.error("its nodes overlap")
        return spent + weight

    def lower_bound(self, key: bytes) -> int:
        """Index of the first node whose path is not less."""
        return bisect_left(range(self._count), key, key=self.path)

    def node_with_path(self, index: int, key: bytes) -> tuple[Node | None, int]:
        """The node at an index, if it has this path, and the number of bytes that were read for it."""
        return self.node(index) if index < self._count and self.path(index) == key else (None, 0)

    def path(self, index: int) -> bytes:
        """The path of a node as bytes."""
        try:
            # Written out, because a binary search does little else.
            data = self._data
            position = self._start + 4 * index
            position += _u32(data, position)[0]
            known = self._layouts.get(position - _i32(data, position)[0])
            place = position + (known or self._layout(position))[1]
            if place == position:
                raise self._reader.error("a node has no path")
            place += _u32(data, place)[0]
            end = place + 4 + _u32(data, place)[0]
            if end > len(data):
                raise self._outside()
            return data[place + 4 : end]
        except struct.error as error:
            raise self._outside() from error

    def paths_of(self, node_ids: Collection[bytes]) -> dict[bytes, str]:
        """The paths of those of some nodes that are here; nothing else of the nodes is decoded."""
        reader = self._reader
        starts = self._start + 4 * np.arange(self._count, dtype=np.int64)
        tables = Tables(reader, starts + reader.gather(starts, "<u4"))
        ids, present = tables.structs(0, 8)
        wanted = np.frombuffer(b"".join(node_ids), "<u8")
        rows = np.flatnonzero(np.isin(np.ascontiguousarray(ids).view("<u8"), wanted) & present)
        found, sizes = Tables(reader, tables.positions[rows]).spans(1)
        if not found.all():
            raise reader.error("a node has no path")
        self.spend(0, int(sizes.sum()))
        return dict(zip(ids[rows].tolist(), reader.texts(found, sizes), strict=True))

    def node(self, index: int) -> tuple[Node, int]:
        """A node, and the number of bytes that were read for it."""
        try:
            return self._node(self._start + 4 * index)
        except (struct.error, IndexError) as error:
            raise self._outside() from error
        except UnicodeDecodeError as error:
            raise self._reader.error(f"a text is not UTF-8: {error}") from error

    def _node(self, place: int) -> tuple[Node, int]:
        data = self._data
        position = place + _u32(data, place)[0]
        id_at, path_at, user_data_at, kind_at, array_at, extra_at = self._layout(position)
        if not (id_at and path_at and user_data_at and kind_at and array_at):
            raise self._reader.error("a node lacks a field")
        self._check(position + id_at + 8)
        path = self._bytes(position + path_at)
        user_data = self._bytes(position + user_data_at)
        extra = self._bytes(position + extra_at) if extra_at else None
        kind = data[position + kind_at]
        array, weight = None, len(path) + len(user_data) + len(extra or b"")
        if kind == _ARRAY:
            place = position + array_at
            array, more = self._array(place + _u32(data, place)[0])
            weight += more
        elif kind != _GROUP:
            raise self._reader.error("it has a node that is neither an array nor a group")
        node_id = data[position + id_at : position + id_at + 8]
        return Node(node_id, path.decode(), user_data, array, extra), weight

    def _array(self, position: int) -> tuple[ArrayData, int]:
        shape_at, names_at, manifests_at, shape_v2_at, *_ = self._layout(position)
        if not (shape_at and manifests_at):
            raise self._reader.error("an array lacks a field")
        shape = self._shape(position + shape_v2_at) if shape_v2_at else self._shape_v1(position + shape_at)
        names = self._dimension_names(position + names_at) if names_at else None
        manifests, weight = self._manifests(position + manifests_at)
        return ArrayData(shape, names, manifests), weight + 16 * len(shape) + 4 * len(names or ())

    def _shape(self, place: int) -> tuple[DimensionShape, ...]:
        data = self._data
        layouts = self._layouts
        shape = []
        for position in self._elements(place):
            layout = layouts.get(position - _i32(data, position)[0]) or self._layout(position)
            length_at, chunks_at = layout[:2]
            length = _u64(data, position + length_at)[0] if length_at else 0
            chunks = _u32(data, position + chunks_at)[0] if chunks_at else 0
            shape.append(DimensionShape(length, chunks))
        return tuple(shape)

    def _shape_v1(self, place: int) -> tuple[DimensionShape, ...]:
        place += _u32(self._data, place)[0]
        count = _u32(self._data, place)[0]
        self._check(place + 4 + 16 * count)
        shape = []
        for length, chunk_length in _pairs_u64(self._data[place + 4 : place + 4 + 16 * count]):
            if length and not chunk_length:
                raise FormatError(
                    f"cannot read {self._reader.name}: a dimension of length {length} has chunks of length 0",
                    ErrorKind.INVALID_FILE_FORMAT,
                )
            # More chunks than the 32 bits of a coordinate can tell apart cannot exist.
            chunks = min(-(-length // chunk_length), 2**32 - 1) if length else 0
            shape.append(DimensionShape(length, chunks))
        return tuple(shape)

    def _dimension_names(self, place: int) -> tuple[str | None, ...]:
        """Many arrays share the names of their dimensions, so those are kept."""
        data = self._data
        layouts = self._layouts
        names = []
        for position in self._elements(place):
            layout = layouts.get(position - _i32(data, position)[0]) or self._layout(position)
            if layout[0]:
                target = position + layout[0]
                target += _u32(data, target)[0]
                known = self._names
                names.append(known[target] if target in known else self._name(target))
            else:
                names.append(None)
        return tuple(names)

    def _name(self, target: int) -> str | None:
        end = target + 4 + _u32(self._data, target)[0]
        self._check(end)
        self._names_size = self.spend(self._names_size, end - target)
        # Some writers say "" for a dimension without a name.
        name = self._names[target] = self._data[target + 4 : end].decode() or None
        return name

    def _manifests(self, place: int) -> tuple[tuple[ManifestRef, ...], int]:
        data = self._data
        refs = []
        weight = 0
        for position in self._elements(place):
            id_at, extents_at, *_ = self._layout(position)
            if not (id_at and extents_at):
                raise self._reader.error("a reference to a manifest lacks a field")
            id_at += position
            extents_at += position
            extents_at += _u32(data, extents_at)[0] + 4
            count = _u32(data, extents_at - 4)[0]
            self._check(max(id_at + 12, extents_at + 8 * count))
            weight = self.spend(weight, 20 + 8 * count)
            extents = tuple(_pairs_u32(data[extents_at : extents_at + 8 * count]))
            refs.append(ManifestRef(data[id_at : id_at + 12], extents))
        return tuple(refs), weight

    def _block(self, low: int, high: int, spent: int) -> tuple[Iterable[Node], int]:
        """Some nodes, by columns, and what the pass has spent with them."""
        reader = self._reader
        starts = self._start + 4 * np.arange(low, high, dtype=np.int64)
        tables = Tables(reader, starts + reader.gather(starts, "<u4"))
        ids, present = tables.structs(0, 8)
        paths, user_data, extras = tables.spans(1), tables.spans(2), tables.spans(5)
        kinds, targets = tables.numbers(3, "u1"), tables.targets(4)
        if not (present.all() and paths[0].all() and user_data[0].all() and targets.all()):
            raise reader.error("a node lacks a field")
        is_array = kinds == _ARRAY
        if not (is_array | (kinds == _GROUP)).all():
            raise reader.error("it has a node that is neither an array nor a group")
        spent = self.spend(spent, int(paths[1].sum() + user_data[1].sum() + extras[1].sum()))
        found, spent = self._arrays(Tables(reader, targets[is_array]), spent)
        arrays = iter(found)
        columns = (
            ids.tolist(),
            [path.decode() for path in self._slices(*paths)],
            self._slices(*user_data),
            [next(arrays) if array else None for array in is_array.tolist()],
            self._optional_slices(*extras),
        )
        return (Node(*row) for row in zip(*columns, strict=True)), spent

    def _arrays(self, tables: Tables, spent: int) -> tuple[Iterable[ArrayData], int]:
        positions, bounds = tables.elements(2)
        manifests = Tables(self._reader, positions)
        ids, present = manifests.structs(0, 12)
        starts, sizes = manifests.spans(1, 8)
        if not (present.all() and starts.all() and tables.fields(0).all() and tables.fields(2).all()):
            raise self._reader.error("an array lacks a field")
        spent = self.spend(spent, 20 * len(ids) + 8 * int(sizes.sum()))
        extents = [tuple(_pairs_u32(pairs)) for pairs in self._slices(starts, 8 * sizes)]
        refs = [ManifestRef(*ref) for ref in zip(ids.tolist(), extents, strict=True)]
        shapes, spent = self._shapes(tables, spent)
        names, spent = self._names_of(tables, spent)
        columns = (shapes, names, _split(refs, bounds))
        return (ArrayData(*row) for row in zip(*columns, strict=True)), spent

    def _shapes(self, tables: Tables, spent: int) -> tuple[list[tuple[DimensionShape, ...]], int]:
        if tables.fields(3).all():
            positions, bounds = tables.elements(3)
            dimensions = Tables(self._reader, positions)
            columns = (dimensions.numbers(0, "<u8").tolist(), dimensions.numbers(1, "<u4").tolist())
            spent = self.spend(spent, 16 * len(positions))
            return _split([DimensionShape(*row) for row in zip(*columns, strict=True)], bounds), spent
        shapes = []
        for position in tables.positions.tolist():
            layout = self._layout(position)
            read, offset = (self._shape, layout[3]) if layout[3] else (self._shape_v1, layout[0])
            shapes.append(read(position + offset))
            spent = self.spend(spent, 16 * len(shapes[-1]))
        return shapes, spent

    def _names_of(self, tables: Tables, spent: int) -> tuple[Iterable[tuple[str | None, ...] | None], int]:
        present = tables.fields(1) != 0
        if not present.any():
            return repeat(None, len(tables)), spent
        positions, bounds = tables.elements(1)
        spent = self.spend(spent, 4 * len(positions))
        known = self._names
        names: list[str | None] = []
        for target in Tables(self._reader, positions).targets(0).tolist():
            if not target:
                names.append(None)
            else:
                names.append(known[target] if target in known else self._name(target))
        lists = zip(_split(names, bounds), present.tolist(), strict=True)
        return (own if named else None for own, named in lists), spent

    def _slices(self, starts: Places, sizes: Places) -> list[bytes]:
        data = self._data
        edges = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
        return [data[start:end] for start, end in edges]

    def _optional_slices(self, starts: Places, sizes: Places) -> Iterable[bytes | None]:
        if not starts.any():
            return repeat(None, len(starts))
        slices = zip(self._slices(starts, sizes), starts.tolist(), strict=True)
        return (content if start else None for content, start in slices)

    def _layout(self, position: int) -> tuple[int, ...]:
        """Offset of each field in the table at a position, 0 where it is absent."""
        vtable = position - _i32(self._data, position)[0]
        layout = self._layouts.get(vtable)
        if layout is None:
            table = Table(self._reader, position)
            places = [table.field(slot) for slot in range(_FIELDS)]
            layout = self._layouts[vtable] = tuple(place - position if place else 0 for place in places)
        return layout

    def _elements(self, place: int) -> list[int]:
        """Positions of the tables in the vector that a field refers to."""
        place += _u32(self._data, place)[0]
        count = _u32(self._data, place)[0]
        self._check(place + 4 + 4 * count)
        offsets = struct.unpack_from(f"<{count}I", self._data, place + 4)
        return [place + 4 + 4 * index + offset for index, offset in enumerate(offsets)]

    def _bytes(self, place: int) -> bytes:
        """The vector of bytes, or string, that a field refers to."""
        place += _u32(self._data, place)[0]
        end = place + 4 + _u32(self._data, place)[0]
        self._check(end)
        return self._data[place + 4 : end]

    def _check(self, end: int) -> None:
        if end > len(self._data):
            raise self._outside()

    def _outside(self) -> FormatError:
        return self._reader.error(f"a node leads outside of the {len(self._data)} bytes")


def _split(items: Sequence[_Content], bounds: Places) -> list[tuple[_Content, ...]]:
    return [tuple(items[low:high]) for low, high in pairwise(bounds.tolist())]


def write_nodes(builder: Builder, nodes: Sequence[Node], spec_version: int) -> Places | list[int]:
    """Write nodes and give out their places in the same order.

    Raises
    ------
    InvalidInputError
        Kind `invalid-array-metadata`: in spec 1, a dimension with a length but no chunks.
    """
    count = len(nodes)
    parts = count + sum(len(node.array.manifests) for node in nodes if node.array is not None)
    if parts <= _FEW and spec_version > 1:
        return [_write_node(builder, node) for node in nodes]
    is_array = np.fromiter((node.array is not None for node in nodes), bool, count)
    data = np.empty(count, np.int64)
    data[is_array] = _write_arrays(
        builder, [node.array for node in nodes if node.array is not None], spec_version
    )
    data[~is_array] = builder.table({})
    columns = {
        0: join_ids([node.id for node in nodes], 8),
        3: np.where(is_array, _ARRAY, _GROUP).astype(np.uint8),
    }
    children = {
        1: write_bytes(builder, [node.path.encode() for node in nodes]),
        2: write_bytes(builder, [node.user_data for node in nodes]),
        4: data,
    }
    extras = [node.extra for node in nodes]
    return _write_tables(builder, columns, children, 5, extras, partial(write_bytes, builder))


def _write_node(builder: Builder, node: Node) -> int:
    """Write one node, in spec 2."""
    array = node.array
    return builder.table(
        {
            0: node.id,
            1: builder.string(node.path),
            2: builder.bytes(node.user_data),
            3: u8(_GROUP if array is None else _ARRAY),
            4: builder.table({}) if array is None else _write_array(builder, array),
            5: None if node.extra is None else builder.bytes(node.extra),
        }
    )


def _write_array(builder: Builder, array: ArrayData) -> int:
    shape = [builder.table({0: u64(each.array_length), 1: u32(each.num_chunks)}) for each in array.shape]
    manifests = []
    for ref in array.manifests:
        extents = struct.pack(f"<{2 * len(ref.extents)}I", *chain.from_iterable(ref.extents))
        manifests.append(builder.table({0: ref.object_id, 1: builder.bytes(extents, 8)}))
    names = None
    if array.dimension_names is not None:
        # An empty name means none.
        texts = [builder.string(name) if name else None for name in array.dimension_names]
        names = builder.references([builder.table({0: text}) for text in texts])
    return builder.table(
        {
            0: builder.vector(_NO_SHAPE),
            1: names,
            2: builder.references(manifests),
            3: builder.references(shape),
        }
    )


def _write_arrays(builder: Builder, arrays: Sequence[ArrayData], spec_version: int) -> Places:
    if not arrays:
        return np.empty(0, np.int64)
    dimensions = [dimension for array in arrays for dimension in array.shape]
    sizes = np.fromiter((len(array.shape) for array in arrays), np.int64, len(arrays))
    lengths = np.fromiter((dimension.array_length for dimension in dimensions), "<u8", len(dimensions))
    chunks = np.fromiter((dimension.num_chunks for dimension in dimensions), "<u4", len(dimensions))
    refs = [ref for array in arrays for ref in array.manifests]
    children = {
        2: builder.reference_lists(
            _write_manifests(builder, refs), _bounds([len(array.manifests) for array in arrays])
        )
    }
    if spec_version == 1:
        if (lengths[chunks == 0] != 0).any():
            raise InvalidInputError(
                "spec version 1 cannot hold a dimension that has a length but no chunks",
                ErrorKind.INVALID_ARRAY_METADATA,
            )
        divisors = np.maximum(chunks, 1).astype("<u8")
        chunk_lengths = lengths // divisors + (lengths % divisors != 0)
        children[0] = _write_structs(builder, np.stack([lengths, chunk_lengths], 1), sizes)
    else:
        places = builder.tables(len(dimensions), {0: lengths, 1: chunks}, {})
        children[0] = np.full(len(arrays), builder.vector(_NO_SHAPE))
        children[3] = builder.reference_lists(places, _bounds(sizes))
    names = [array.dimension_names for array in arrays]
    return _write_tables(builder, {}, children, 1, names, partial(_write_names, builder))


def _write_names(builder: Builder, lists: Sequence[Sequence[str | None]]) -> Places:
    """Vectors of dimension names; arrays share the tables of equal names."""
    # An empty name means none.
    flat = [name or None for names in lists for name in names]
    distinct = list(dict.fromkeys(flat))
    numbers = {name: number for number, name in enumerate(distinct)}
    tables = [builder.table({0: None if name is None else builder.string(name)}) for name in distinct]
    own = np.fromiter((numbers[name] for name in flat), np.int64, len(flat))
    return builder.reference_lists(np.array(tables, np.int64)[own], _bounds([len(names) for names in lists]))


def _write_manifests(builder: Builder, refs: Sequence[ManifestRef]) -> Places:
    flat = chain.from_iterable(chain.from_iterable(ref.extents for ref in refs))
    extents = np.fromiter(flat, "<u4").reshape(-1, 2)
    sizes = np.fromiter((len(ref.extents) for ref in refs), np.int64, len(refs))
    columns = {0: join_ids([ref.object_id for ref in refs], 12)}
    return builder.tables(len(refs), columns, {1: _write_structs(builder, extents, sizes)})


def _write_structs(builder: Builder, pairs: Column, sizes: Places) -> Places:
    """Many vectors of structs of two numbers: number i holds the next ``sizes[i]`` rows of `pairs`."""
    width = pairs.itemsize
    heads = 2 * (np.cumsum(sizes) - sizes) + np.arange(len(sizes))
    words = np.empty(pairs.size + len(sizes), pairs.dtype)
    is_number = np.ones(len(words), bool)
    is_number[heads] = False
    words[is_number] = pairs.reshape(-1)
    # A count has 4 bytes and stands right before the numbers: at the end of its word.
    words[heads] = sizes.astype(pairs.dtype) << (8 * (width - 4))
    # They are written as one vector, which nothing refers to, but to places within it.
    place = builder.vector(words)
    return place - 4 - width * heads - (width - 4)


def _write_tables(
    builder: Builder,
    columns: Mapping[int, Column],
    children: Mapping[int, Places],
    slot: int,
    optional: Sequence[_Content | None],
    write: Callable[[list[_Content]], Places],
) -> Places:
    """Tables of one kind, of which some have one more child."""
    present = np.fromiter((content is not None for content in optional), bool, len(optional))
    more = {slot: write([content for content in optional if content is not None])} if present.any() else {}
    places = np.empty(len(optional), np.int64)
    for rows, extra in ((~present, {}), (present, more)):
        if not rows.any():
            continue
        own_columns = {slot: column[rows] for slot, column in columns.items()}
        own_children = {slot: targets[rows] for slot, targets in children.items()}
        places[rows] = builder.tables(int(rows.sum()), own_columns, own_children | extra)
    return places


def write_bytes(builder: Builder, contents: Sequence[bytes]) -> Places:
    """Write strings or vectors of bytes, each once for each time that it is given."""
    bounds = _bounds([len(content) for content in contents])
    pool = np.frombuffer(b"".join(contents), np.uint8)
    return builder.slices(pool, bounds[:-1], np.diff(bounds))


def join_ids(ids: Sequence[bytes], size: int) -> Column:
    """A column of ids of `size` bytes."""
    return np.frombuffer(b"".join(ids), f"V{size}")


def _bounds(sizes: Sequence[int] | Places) -> Places:
    """Where each of some lists begins when they stand in a row, and where the last one ends."""
    bounds = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(np.asarray(sizes, np.int64), out=bounds[1:])
    return bounds
