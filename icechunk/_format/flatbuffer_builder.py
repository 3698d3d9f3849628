"""Writing FlatBuffers, one table at a time or millions with NumPy.

A buffer is written children first, from its end to its start, because what
refers to an object must stand before it. The place of an object is given as its
distance from the end, which does not change while the buffer grows. `Builder.table`
writes one table, `Builder.tables` many of the same shape from columns, and
`Builder.block` gives room for records of several objects each. See
`flatbuffers` for the layout, and for slots.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from struct import Struct, pack
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.slices import by_size, copy_slices, scatter

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from icechunk._format.flatbuffers import Column, Data, Places

FILE_IDENTIFIER = b"Ichk"

MAX_SIZE = 2**31 - 1
"""Bytes in the largest buffer that others accept."""

_FEW = 16
"""References up to so many are written without NumPy."""

_U8 = Struct("<B")
_U16 = Struct("<H")
_U32 = Struct("<I")
_I32 = Struct("<i")
_U64 = Struct("<Q")


def u8(value: int) -> bytes:
    """A byte or boolean for `Builder.table`."""
    return _U8.pack(value)


def u16(value: int) -> bytes:
    """A 16-bit number for `Builder.table`."""
    return _U16.pack(value)


def u32(value: int) -> bytes:
    """A 32-bit number for `Builder.table`."""
    return _U32.pack(value)


def i32(value: int) -> bytes:
    """A signed 32-bit number for `Builder.table`."""
    return _I32.pack(value)


def u64(value: int) -> bytes:
    """A 64-bit number for `Builder.table`."""
    return _U64.pack(value)


class Builder:
    """Writes a buffer from its end to its start.

    Children are written before what refers to them. Each method that writes an
    object returns its place, an `int` (or an array of them) that later calls take as
    the value of a field or element.

    Parameters
    ----------
    capacity : int, optional
        Bytes to start with. Memory is only used once it is written, so that a good
        guess of the final size saves a copy and costs nothing.

    Examples
    --------
    >>> builder = Builder()
    >>> name = builder.string("main")
    >>> data = builder.finish(builder.table({0: name, 1: u32(7)}))
    >>> len(data), bytes(data[4:8])
    (40, b'Ichk')
    """

    __slots__ = ("_data", "_shared", "_used", "_view", "_vtables")

    def __init__(self, capacity: int = 4096) -> None:
        # Zeros, because padding must be zero.
        self._data = np.zeros(max(capacity, 64), np.uint8)
        # For small pieces, which NumPy takes long to copy.
        self._view = self._data.data
        self._used = 0
        self._vtables: dict[bytes, int] = {}
        self._shared: dict[bytes, int] = {}

    def finish(self, root: int) -> memoryview:
        """Write the start of the buffer and give it out; the builder is used up.

        Raises
        ------
        FormatError
            Kind `serialization`: more than 2 GiB.
        """
        # The whole is a multiple of 8 long, so that aligned from the end is aligned from the start.
        self._reserve(8, 8)
        head = self._view[len(self._data) - self._used :]
        head[:8] = _U32.pack(self._used - root) + FILE_IDENTIFIER
        return head

    def vector(self, elements: Column, alignment: int | None = None) -> int:
        """Write a vector of numbers or structs.

        Parameters
        ----------
        elements : ndarray
            One-dimensional, little endian, structs padded as in C. Bytes are `uint8`, ids ``V12``.
        alignment : int, optional
            That of one element; by default that of the dtype's largest scalar.
        """
        elements = np.ascontiguousarray(elements)
        if alignment is None:
            alignment = _alignment(elements.dtype)
        size = elements.size * elements.itemsize
        self._reserve(size, max(alignment, 4))
        start = len(self._data) - self._used
        self._data[start : start + size] = elements.reshape(-1).view(np.uint8)
        return self._count(len(elements))

    def bytes(self, content: Data, width: int = 1) -> int:
        """Write a vector of bytes, or of structs of `width` bytes each that need no alignment beyond 4."""
        self._reserve(len(content), 4)
        self._put(content)
        return self._count(len(content) // width)

    def string(self, text: str) -> int:
        """Write a string, or find the one of the same text that is there already."""
        content = text.encode()
        place = self._shared.get(content)
        if place is None:
            self._reserve(len(content) + 1, 4)
            self._put(content)
            place = self._shared[content] = self._count(len(content))
        return place

    def slices(self, pool: NDArray[np.uint8], starts: Column, sizes: Column) -> Places:
        """Write many slices of a pool of bytes, good for strings and for vectors of bytes alike.

        A slice is written as many times as it is given: pass distinct ones (`distinct_slices`).
        """
        sizes = sizes.astype(np.int64)
        # Count, content, zero byte, padding to 4.
        room = (sizes + 8) & ~3
        ends = np.cumsum(room)
        self._reserve(int(ends[-1]) if len(ends) else 0, 4)
        # Laid out in the given order: the last slice is nearest to the end of the buffer.
        places: Places = self._used - ends + room
        heads = len(self._data) - places
        scatter(self._data, heads, sizes.astype("<u4"))
        copy_slices(pool, starts.astype(np.int64), sizes, self._data, heads + 4)
        return places

    def references(self, places: Sequence[int] | Places) -> int:
        """Write a vector of references to tables, strings or vectors."""
        count = len(places)
        self._reserve(4 * count, 4)
        if count <= _FEW:
            own = range(self._used, 0, -4)
            self._put(pack(f"<{count}I", *[at - place for at, place in zip(own, places, strict=False)]))
        else:
            targets = np.asarray(places, np.int64)
            distances = self._used - 4 * np.arange(count, dtype=np.int64) - targets
            self._put(distances.astype("<u4").view(np.uint8).data)
        return self._count(count)

    def reference_lists(self, places: Places, bounds: Places) -> Places:
        """Write many vectors of references: number i refers to ``places[bounds[i]:bounds[i + 1]]``."""
        counts = np.diff(bounds)
        total = len(places) + len(counts)
        self._reserve(4 * total, 4)
        heads = bounds[:-1] + np.arange(len(counts), dtype=np.int64)
        own: Places = self._used - 4 * np.arange(total, dtype=np.int64)
        words = np.empty(total, "<u4")
        is_element = np.ones(total, bool)
        is_element[heads] = False
        words[heads] = counts
        words[is_element] = own[is_element] - places
        start = len(self._data) - self._used
        self._data[start : start + 4 * total] = words.view(np.uint8)
        lists: Places = own[heads]
        return lists

    def table(self, fields: Mapping[int, builtins.bytes | int | None]) -> int:
        """Write one table.

        Parameters
        ----------
        fields : mapping of int to bytes, int or None
            By slot: bytes are a scalar (from `u32` and its like) or struct within the table, a number
            is the place of a child, None is an absent field. Scalars equal to their default are
            written all the same: leave them out. The table has its fields in this order where their
            alignment allows.
        """
        values = {slot: value for slot, value in fields.items() if value is not None}
        shape = _shape_alone(
            tuple([(slot, 0 if isinstance(value, int) else len(value)) for slot, value in values.items()])
        )
        vtable = self._vtable(shape.vtable)
        # The fields after the first 4 bytes are what is aligned.
        self._reserve(shape.size, shape.alignment, lead=4)
        used = self._used
        content = [
            used - offset - value if isinstance(value := values[slot], int) else value
            for slot, offset in shape.offsets.items()
        ]
        shape.form.pack_into(self._view, len(self._data) - used, vtable - used, *content)
        return self._used

    def tables(
        self,
        count: int,
        columns: Mapping[int, Column],
        children: Mapping[int, Places],
        vector: tuple[int, Column] | None = None,
    ) -> Places:
        """Write many tables of one shape, each with the same fields present.

        Parameters
        ----------
        count : int
            How many.
        columns : mapping of int to ndarray
            By slot: the scalars or structs (``V<size>``) within the tables.
        children : mapping of int to ndarray of int64
            By slot: the places of the objects that the tables refer to.
        vector : (int, 2-d ndarray), optional
            A slot, and for each table the elements of a vector of 4-byte numbers that is written
            right behind it.

        Returns
        -------
        ndarray of int64
            The place of each table.
        """
        shape = _shape_in_row(
            tuple([(slot, column.dtype) for slot, column in columns.items()]),
            tuple(children),
            None if vector is None else (vector[0], vector[1].shape[1]),
        )
        offsets, stride = shape.offsets, shape.dtype.itemsize
        vtable = self._vtable(shape.vtable)
        self._reserve(count * stride, shape.alignment, lead=4)
        rows: Column = np.ndarray((count,), shape.dtype, self._data, len(self._data) - self._used)
        own: Places = self._used - stride * np.arange(count, dtype=np.int64)
        rows["vtable"] = vtable - own
        for slot, column in columns.items():
            rows[f"{slot}"] = column
        for slot, targets in children.items():
            rows[f"{slot}"] = own - offsets[slot] - targets
        if vector is not None:
            rows[f"{vector[0]}"] = shape.size - offsets[vector[0]]
            rows["count"] = vector[1].shape[1]
            rows["elements"] = vector[1]
        return own

    def begin(self, former: Region | None = None) -> int:
        """Begin a region, with all that a former one had; gives out the place from which its own count."""
        # Where tables with numbers of 8 bytes start, so that a region that grows by them needs no padding.
        self._reserve(0, 8, lead=4)
        base = self._used
        # What came before is out of reach: regions are moved as a whole.
        self._vtables, self._shared = {}, {}
        if former is not None:
            self._reserve(len(former.content), 8, lead=4)
            self._put(former.content)
            self._vtables = {content: base + place for content, place in former.vtables.items()}
        return base

    def end(self, base: int) -> Region:
        """Take a copy of what was written since a region began."""
        self._reserve(0, 8, lead=4)
        end = len(self._data) - base
        vtables = {content: place - base for content, place in self._vtables.items()}
        return Region(bytes(self._view[end - (self._used - base) : end]), vtables)

    def offset(self, table: int, slot: int) -> int:
        """How far behind the start of a table one of its fields is."""
        # A vtable's position is that of its table less the number there: its place is more by that.
        vtable = table + _I32.unpack_from(self._view, len(self._data) - table)[0]
        return int(_U16.unpack_from(self._view, len(self._data) - vtable + 4 + 2 * slot)[0])

    def overwrite(self, places: Places, values: Column) -> None:
        """Put other scalars where some have been written."""
        scatter(self._data, len(self._data) - places, values)

    def block(self, size: int) -> Block:
        """Take `size` words of 4 bytes for objects that are laid out by the caller."""
        self._reserve(4 * size, 8, lead=4)
        return Block(self, self._used)

    def _reserve(self, size: int, alignment: int, lead: int = 0) -> None:
        """Take `size` bytes such that what is `lead` bytes into them is aligned."""
        used = self._used + size
        used += -(used - lead) % alignment
        if used > MAX_SIZE:
            raise FormatError(
                f"a metadata file cannot hold more than {MAX_SIZE} bytes: split manifests into smaller ones",
                ErrorKind.SERIALIZATION,
            )
        if used > len(self._data):
            grown = np.zeros(max(used, 2 * len(self._data)), np.uint8)
            grown[len(grown) - self._used :] = self._data[len(self._data) - self._used :]
            self._data = grown
            self._view = grown.data
        self._used = used

    def _put(self, content: Data) -> None:
        """Copy bytes to where the last reserved ones start."""
        start = len(self._data) - self._used
        self._view[start : start + len(content)] = content

    def _count(self, count: int) -> int:
        """Put the count before the elements of a vector."""
        self._used += 4
        if self._used > len(self._data):
            self._used -= 4
            self._reserve(4, 4)
        _U32.pack_into(self._view, len(self._data) - self._used, count)
        return self._used

    def _vtable(self, content: builtins.bytes) -> int:
        """Write a vtable, or find the one that is there already."""
        place = self._vtables.get(content)
        if place is None:
            self._reserve(len(content), 2)
            self._put(content)
            place = self._vtables[content] = self._used
        return place


class Region(NamedTuple):
    """A part of a buffer that refers to nothing outside of it, so that others can take it over.

    Attributes
    ----------
    content : bytes
    vtables : dict of bytes to int
        Where each vtable is, counted from the end of the region like all places in it.
    """

    content: bytes
    vtables: dict[bytes, int]


class Block:
    """Room for many objects of any size, so that those of one record lie side by side.

    That packs better than a row of tables here and a row of texts there: the distance from a table to its
    text is the same in each record, and what is alike in two neighbours is one long match.

    All positions count words of 4 bytes from the start of the block. A table with a number of 8 bytes needs
    an even one. Made by `Builder.block`.
    """

    __slots__ = ("_builder", "_top")

    def __init__(self, builder: Builder, top: int) -> None:
        self._builder = builder
        self._top = top

    def places(self, at: Places) -> Places:
        """The places of objects, as the builder's other methods take them."""
        return self._top - 4 * at

    def tables(
        self,
        at: Places,
        columns: Mapping[int, Column],
        targets: Mapping[int, Places],
        optional: tuple[int, Places] | None = None,
    ) -> None:
        """Write tables of one type.

        Parameters
        ----------
        at : ndarray of int64
            Where each table comes to stand; it takes `table_words`.
        columns : mapping of int to ndarray
            By slot: the scalars or structs (``V<size>``) within the tables, which have them in this order,
            but those of less than a word at the end. An 8-byte number must come to stand after an odd
            number of words.
        targets : mapping of int to ndarray of int64
            By slot: the positions of the objects that the tables refer to.
        optional : (int, ndarray of int64), optional
            A slot, and the position of an object for each table, 0 where the table does without.
        """
        if not len(at):
            return
        widths = [(slot, column.dtype) for slot, column in columns.items()]
        shape = _shape_in_block(tuple(widths), (*targets, *(optional or ())[:1]))
        tables: Column = np.zeros(len(at), shape.dtype)
        for slot, column in columns.items():
            tables[f"{slot}"] = column
        for slot, positions in targets.items():
            tables[f"{slot}"] = 4 * (positions - at) - shape.offsets[slot]
        vtables = np.asarray(self._builder._vtable(shape.vtable))
        if optional is not None:
            slot, positions = optional
            present = positions != 0
            tables[f"{slot}"] = np.where(present, 4 * (positions - at) - shape.offsets[slot], 0)
            if not present.all():
                others = {other: offset for other, offset in shape.offsets.items() if other != slot}
                without = self._builder._vtable(_vtable_content(others, shape.size))
                vtables = np.where(present, vtables, without)
        tables["vtable"] = vtables - self.places(at)
        whole = f"V{shape.dtype.itemsize}"
        self._words(whole)[at] = tables.view(whole)

    def references(self, at: Places, targets: Places) -> None:
        """Write references, such as the elements of vectors of tables."""
        self._words("<u4")[at] = 4 * (targets - at)

    def numbers(self, at: Places, values: Column) -> None:
        """Write words, such as the counts of vectors."""
        self._words("<u4")[at] = values

    def copy(self, at: Places, source: Column, starts: Column, sizes: Places) -> None:
        """Copy slices of `source`, an array of words; not many sizes should differ."""
        for rows, size in by_size(sizes):
            dtype = np.dtype(f"V{4 * size}")
            slices: Column = np.ndarray((len(source) - size + 1,), dtype, source, strides=(4,))
            self._words(dtype)[at[rows]] = slices[starts[rows]]

    def _words(self, dtype: DTypeLike) -> Column:
        """Each possible position of an object in the buffer, from the start of the block on."""
        data = self._builder._data[-self._top :]
        dtype = np.dtype(dtype)
        return np.ndarray(((len(data) - dtype.itemsize) // 4 + 1,), dtype, data, strides=(4,))


def table_words(*sizes: int) -> int:
    """Words that a table takes whose fields have these sizes in bytes, 4 for a reference."""
    return (4 + sum(sizes) + 3) >> 2


class _Alone(NamedTuple):
    """How one table is laid out: its fields as slots and offsets, in the order of `form`."""

    offsets: dict[int, int]
    size: int
    alignment: int
    vtable: bytes
    form: Struct


@lru_cache(maxsize=256)
def _shape_alone(fields: tuple[tuple[int, int], ...]) -> _Alone:
    """The shape of `Builder.table`, from slots and sizes, where 0 stands for a reference."""
    sizes = {slot: size or 4 for slot, size in fields}
    offsets, size, alignment = _lay_out({slot: (n, _natural(n)) for slot, n in sizes.items()})
    in_order, end = _lay_out_in_order(sizes)
    if all((offset - 4) % _natural(sizes[slot]) == 0 for slot, offset in in_order.items()):
        offsets, size = in_order, end
    given = dict(fields)
    form = Struct("<i" + "".join(f"{given[slot]}s" if given[slot] else "I" for slot in offsets))
    return _Alone(offsets, size, alignment, _vtable_content(offsets, size), form)


class _Shape(NamedTuple):
    """How tables of one kind are laid out; `dtype` has their fields, named by their slots."""

    offsets: dict[int, int]
    size: int
    alignment: int
    vtable: bytes
    dtype: np.dtype[Any]


@lru_cache(maxsize=256)
def _shape_in_row(
    columns: tuple[tuple[int, np.dtype[Any]], ...], children: tuple[int, ...], vector: tuple[int, int] | None
) -> _Shape:
    """The shape of `Builder.tables`; `vector` is the slot and count of what is right behind each table."""
    shapes = {slot: (dtype.itemsize, _alignment(dtype)) for slot, dtype in columns}
    shapes |= dict.fromkeys(children if vector is None else (*children, vector[0]), (4, 4))
    offsets, size, alignment = _lay_out(shapes)
    vtable = _vtable_content(offsets, size)
    names, formats, places = _members(columns, offsets)
    size = (size + 3) & ~3
    stride = size
    if vector is not None:
        names += ["count", "elements"]
        formats += ["<u4", ("<u4", (vector[1],))]
        places += [size, size + 4]
        stride += 4 + 4 * vector[1]
    stride = -(-stride // alignment) * alignment
    return _Shape(offsets, size, alignment, vtable, _row_dtype(names, formats, places, stride))


@lru_cache(maxsize=256)
def _shape_in_block(columns: tuple[tuple[int, np.dtype[Any]], ...], children: tuple[int, ...]) -> _Shape:
    """The shape of `Block.tables`."""
    sizes = {slot: dtype.itemsize for slot, dtype in columns} | dict.fromkeys(children, 4)
    offsets, size = _lay_out_in_order(sizes)
    dtype = _row_dtype(*_members(columns, offsets), (size + 3) & ~3)
    return _Shape(offsets, size, 4, _vtable_content(offsets, size), dtype)


def _members(
    columns: tuple[tuple[int, np.dtype[Any]], ...], offsets: Mapping[int, int]
) -> tuple[list[str], list[Any], list[int]]:
    """Names, formats and offsets of what is in a table."""
    formats = dict(columns)
    return (
        ["vtable", *map(str, offsets)],
        ["<i4", *(formats.get(slot, "<u4") for slot in offsets)],
        [0, *offsets.values()],
    )


def _row_dtype(names: list[str], formats: list[Any], offsets: list[int], size: int) -> np.dtype[Any]:
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


def _vtable_content(offsets: Mapping[int, int], size: int) -> bytes:
    entries = [0] * (max(offsets, default=-1) + 1)
    for slot, offset in offsets.items():
        entries[slot] = offset
    return pack(f"<{len(entries) + 2}H", 4 + 2 * len(entries), size, *entries)


def _lay_out(shapes: Mapping[int, tuple[int, int]]) -> tuple[dict[int, int], int, int]:
    """Offset of each (size, alignment) field behind a table's first 4 bytes; size and alignment of all."""
    offsets = {}
    end = 4
    for slot in sorted(shapes, key=lambda slot: (-shapes[slot][1], slot)):
        offsets[slot] = end
        end += shapes[slot][0]
    return offsets, end, max((4, *(alignment for _, alignment in shapes.values())))


def _lay_out_in_order(sizes: Mapping[int, int]) -> tuple[dict[int, int], int]:
    """Offsets and size for fields in the given order, but those of less than a word at the end."""
    slots = sorted(sizes, key=lambda slot: -min(sizes[slot], 4))
    *starts, size = accumulate([sizes[slot] for slot in slots], initial=4)
    return dict(zip(slots, starts, strict=True)), size


def _natural(size: int) -> int:
    """Alignment of a scalar of some bytes, and enough for a struct of bytes."""
    return size if size in (2, 8) else 4 if size % 4 == 0 else 1


def _alignment(dtype: np.dtype[Any]) -> int:
    """Alignment of the largest scalar in a dtype."""
    if dtype.subdtype is not None:
        return _alignment(dtype.subdtype[0])
    if dtype.fields is not None:
        return max(_alignment(field[0]) for field in dtype.fields.values())
    return _natural(dtype.itemsize) if dtype.kind == "V" else dtype.itemsize
