"""FlatBuffers from and to bytes, one table at a time or millions with NumPy.

The layout, all numbers little endian::

    buffer   u32 offset of the root table, 4 bytes of file identifier, objects
    table    i32 distance back to its vtable, then its fields
    vtable   u16 own size, u16 size of the table, u16 place of each field (0: absent)
    vector   u32 count, then the elements
    string   a vector of bytes, and a zero byte that does not count

A field or element that refers to a string, vector or table holds a u32, the
distance from itself forward to the object. Fields are named by slot: their
number in the schema, where a union takes two (its type, then its value).

Reading starts at `Reader.root`; `Table` is one table, `Tables` is a column of
them. Every access is checked against the buffer and raises `FormatError`
naming the object. What a bulk read returns is bounded by the size of the
buffer, also where forged offsets overlap. File identifiers are not checked, as
the official reader does not.

Writing is in `flatbuffer_builder`. Not supported: size prefixes, vectors of unions.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.flatbuffer_builder import Builder, i32, u8, u16, u32, u64

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

    Column: TypeAlias = NDArray[Any]
    Places: TypeAlias = NDArray[np.int64]

__all__ = ["Builder", "Data", "Reader", "Table", "Tables", "i32", "u8", "u16", "u32", "u64"]

Data: TypeAlias = bytes | bytearray | memoryview

_Value = TypeVar("_Value")

_U8 = Struct("<B")
_U16 = Struct("<H")
_U32 = Struct("<I")
_I32 = Struct("<i")
_U64 = Struct("<Q")


class Reader:
    """One buffer, with access that cannot leave it.

    Parameters
    ----------
    data : bytes-like
        The finished FlatBuffer.
    name : str
        The object that it came from, for errors.

    Examples
    --------
    >>> builder = Builder()
    >>> name = builder.string("main")
    >>> data = builder.finish(builder.table({0: name, 1: u32(7)}))
    >>> table = Reader(data, "repo").root()
    >>> table.string(0), table.u32(1), table.u32(2, default=3)
    ('main', 7, 3)
    """

    __slots__ = ("data", "name", "size")

    def __init__(self, data: Data, name: str) -> None:
        self.data = data
        self.name = name
        self.size = len(data)

    def root(self) -> Table:
        """The root table."""
        return Table(self, self.follow(0))

    def error(self, reason: str) -> FormatError:
        """An error about this object, to be raised."""
        return FormatError(f"cannot read {self.name}: {reason}", ErrorKind.INVALID_FILE_FORMAT)

    def number(self, form: Struct, position: int) -> int:
        """The number at a position."""
        if position < 0 or position + form.size > self.size:
            raise self.error(f"an offset leads to {position}, outside of the {self.size} bytes")
        return int(form.unpack_from(self.data, position)[0])

    def follow(self, position: int) -> int:
        """The position that the offset at a position leads to."""
        return position + self.number(_U32, position)

    def span(self, position: int, width: int) -> tuple[int, int]:
        """Start and count of the vector at a position whose elements have `width` bytes."""
        count = self.number(_U32, position)
        if position + 4 + count * width > self.size:
            raise self.error(f"a vector of {count} elements at {position} does not fit in")
        return position + 4, count

    def copy(self, start: int, size: int) -> bytes:
        """A copy of some bytes."""
        if start < 0 or size < 0 or start + size > self.size:
            raise self.error(f"{size} bytes at {start} are outside of the {self.size} bytes")
        return bytes(self.data[start : start + size])

    def text(self, start: int, size: int) -> str:
        """Some bytes as text."""
        try:
            return str(self.copy(start, size), "utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"a text at {start} is not UTF-8") from error

    def texts(self, starts: Column, sizes: Column) -> list[str]:
        """The texts of many slices; equal slices give one object."""
        known: dict[tuple[int, int], str] = {}
        found = []
        for place in zip(starts.tolist(), sizes.tolist(), strict=True):
            text = known.get(place)
            if text is None:
                text = known[place] = self.text(*place)
            found.append(text)
        return found

    def array(self, start: int, count: int, dtype: DTypeLike) -> Column:
        """The elements of a vector, without a copy; they may be unaligned."""
        if not count:
            return np.empty(0, dtype)
        dtype = np.dtype(dtype)
        if start < 0 or start + count * dtype.itemsize > self.size:
            raise self.error(f"a vector of {count} elements at {start} does not fit in")
        return np.frombuffer(self.data, dtype, count, start)

    def gather(self, positions: Column, dtype: DTypeLike) -> Column:
        """The values at many positions, aligned or not."""
        dtype = np.dtype(dtype)
        if not len(positions):
            return np.empty(0, dtype)
        last = self.size - dtype.itemsize
        if positions.min() < 0 or positions.max() > last:
            raise self.error(f"an offset leads outside of the {self.size} bytes")
        # An overlapping view with one element at each byte, so that NumPy does the gathering.
        view: Column = np.ndarray((last + 1,), dtype, self.data, strides=(1,))
        return view[positions]

    def spans(self, positions: Places, width: int = 1) -> tuple[Places, Places]:
        """Start and count of many vectors; position 0 stands for an absent one."""
        present = positions != 0
        if present.all():
            counts = self.gather(positions, "<u4").astype(np.int64)
            starts = positions + 4
        else:
            counts = np.zeros(len(positions), np.int64)
            counts[present] = self.gather(positions[present], "<u4")
            starts = np.where(present, positions + 4, 0)
        if len(positions) and (starts + counts * width).max() > self.size:
            raise self.error("a vector does not fit in")
        self._check_overlap(starts, counts, width)
        return starts, counts

    def _check_overlap(self, starts: Places, counts: Places, width: int) -> None:
        """Refuse vectors that together hold more than the buffer; shared ones count once."""
        if int(counts.sum()) * width <= self.size:
            return
        order = np.lexsort((counts, starts))
        starts, counts = starts[order], counts[order]
        first = np.ones(len(starts), bool)
        first[1:] = (starts[1:] != starts[:-1]) | (counts[1:] != counts[:-1])
        if int(counts[first].sum()) * width > self.size:
            raise self.error("its vectors overlap")


class Table:
    """One table of a buffer.

    Parameters
    ----------
    reader : Reader
    position : int
        Where the table starts, such as an element of `Table.positions`.
    """

    __slots__ = ("_vtable", "_vtable_size", "position", "reader")

    def __init__(self, reader: Reader, position: int) -> None:
        self.reader = reader
        self.position = position
        self._vtable = position - reader.number(_I32, position)
        self._vtable_size = reader.number(_U16, self._vtable)
        if self._vtable_size < 4 or self._vtable + self._vtable_size > reader.size:
            raise reader.error(f"the table at {position} has no valid vtable")

    def field(self, slot: int) -> int:
        """Position of a field, 0 if it is absent."""
        entry = 4 + 2 * slot
        if entry + 2 > self._vtable_size:
            return 0
        place = self.reader.number(_U16, self._vtable + entry)
        return self.position + place if place else 0

    def u8(self, slot: int, default: int = 0) -> int:
        """A byte, also a boolean or the type of a union."""
        return self._number(_U8, slot, default)

    def u16(self, slot: int, default: int = 0) -> int:
        return self._number(_U16, slot, default)

    def u32(self, slot: int, default: int = 0) -> int:
        return self._number(_U32, slot, default)

    def i32(self, slot: int, default: int = 0) -> int:
        return self._number(_I32, slot, default)

    def u64(self, slot: int, default: int = 0) -> int:
        return self._number(_U64, slot, default)

    def struct(self, slot: int, size: int) -> builtins.bytes | None:
        """The bytes of a struct, such as an id, that is kept within the table."""
        place = self.field(slot)
        return self.reader.copy(place, size) if place else None

    def string(self, slot: int) -> str | None:
        place = self._target(slot)
        return self.reader.text(*self.reader.span(place, 1)) if place else None

    def bytes(self, slot: int) -> builtins.bytes | None:
        """A copy of a vector of bytes."""
        place = self._target(slot)
        return self.reader.copy(*self.reader.span(place, 1)) if place else None

    def span(self, slot: int, width: int) -> tuple[int, int] | None:
        """Start and count of a vector whose elements have `width` bytes."""
        place = self._target(slot)
        return self.reader.span(place, width) if place else None

    def array(self, slot: int, dtype: DTypeLike) -> Column | None:
        """A vector of numbers or structs, without a copy; it may be unaligned."""
        span = self.span(slot, np.dtype(dtype).itemsize)
        return None if span is None else self.reader.array(*span, dtype)

    def table(self, slot: int) -> Table | None:
        """A table, also the value of a union."""
        place = self._target(slot)
        return Table(self.reader, place) if place else None

    def positions(self, slot: int) -> Places | None:
        """Where the elements of a vector of tables, strings or vectors start."""
        span = self.span(slot, 4)
        if span is None:
            return None
        positions = span[0] + 4 * np.arange(span[1], dtype=np.int64)
        positions += self.reader.array(*span, "<u4")
        return positions

    def tables(self, slot: int) -> Tables | None:
        """A vector of tables, as columns."""
        positions = self.positions(slot)
        return None if positions is None else Tables(self.reader, positions)

    def strings(self, slot: int) -> list[str] | None:
        """A vector of strings."""
        positions = self.positions(slot)
        return None if positions is None else self.reader.texts(*self.reader.spans(positions))

    def require(self, value: _Value | None, what: str) -> _Value:
        """Give back a value, or raise because the field that it is read from is absent."""
        if value is None:
            raise self.reader.error(f"a table has no {what}")
        return value

    def _number(self, form: Struct, slot: int, default: int) -> int:
        place = self.field(slot)
        return self.reader.number(form, place) if place else default

    def _target(self, slot: int) -> int:
        place = self.field(slot)
        return self.reader.follow(place) if place else 0


_FEW = 8


def _distinct(values: Places) -> tuple[Places, Places]:
    """The distinct values, of which there mostly are few, and which of them each value is."""
    found: list[int] = []
    which = np.zeros(len(values), np.int64)
    rest = np.ones(len(values), bool)
    while len(found) < _FEW:
        first = int(rest.argmax())
        if not rest[first]:
            return np.array(found, np.int64), which
        equal = values == values[first]
        which[equal] = len(found)
        rest[equal] = False
        found.append(int(values[first]))
    distinct, which = np.unique(values, return_inverse=True)
    return distinct, which


class Tables:
    """A column of tables of one type, read a field at a time.

    Parameters
    ----------
    reader : Reader
    positions : ndarray of int64
        Where the tables start, such as from `Table.positions`.
    """

    __slots__ = ("_kind", "_vtable_sizes", "_vtables", "positions", "reader")

    def __init__(self, reader: Reader, positions: Places) -> None:
        self.reader = reader
        self.positions = positions
        vtables = positions - reader.gather(positions, "<i4")
        # Writers share the vtables of tables of one shape, so mostly there are very few of them.
        self._kind: Places | None = None
        if not len(vtables) or (vtables == vtables[0]).all():
            vtables = vtables[:1]
        else:
            vtables, self._kind = _distinct(vtables)
        self._vtables = vtables
        self._vtable_sizes = reader.gather(vtables, "<u2").astype(np.int64)
        if (self._vtable_sizes < 4).any() or (vtables + self._vtable_sizes > reader.size).any():
            raise reader.error("a table has no valid vtable")

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Table:
        return Table(self.reader, int(self.positions[index]))

    def __iter__(self) -> Iterator[Table]:
        return (Table(self.reader, position) for position in self.positions.tolist())

    def fields(self, slot: int) -> Places:
        """Position of a field in each table, 0 where it is absent."""
        entry = 4 + 2 * slot
        places = np.zeros(len(self._vtables), np.int64)
        long_enough = self._vtable_sizes >= entry + 2
        places[long_enough] = self.reader.gather(self._vtables[long_enough] + entry, "<u2")
        if not places.any():
            return np.zeros(len(self.positions), np.int64)
        if self._kind is None:
            return self.positions + places
        own = places[self._kind]
        return np.where(own != 0, self.positions + own, 0)

    def numbers(self, slot: int, dtype: DTypeLike, default: int = 0) -> Column:
        """A scalar of each table, such as ``"<u8"``."""
        places = self.fields(slot)
        present = places != 0
        if present.all():
            return self.reader.gather(places, dtype)
        values = np.full(len(places), default, dtype)
        values[present] = self.reader.gather(places[present], dtype)
        return values

    def structs(self, slot: int, size: int) -> tuple[Column, NDArray[np.bool_]]:
        """The bytes of a struct in each table (dtype ``V<size>``, zeros if absent) and which have it."""
        places = self.fields(slot)
        present = places != 0
        if present.all():
            return self.reader.gather(places, f"V{size}"), present
        values = np.zeros(len(places), f"V{size}")
        values[present] = self.reader.gather(places[present], f"V{size}")
        return values, present

    def targets(self, slot: int) -> Places:
        """Where the string, vector or table that a field refers to starts, 0 where it is absent."""
        places = self.fields(slot)
        present = places != 0
        if present.all():
            return places + self.reader.gather(places, "<u4")
        targets = np.zeros(len(places), np.int64)
        targets[present] = places[present] + self.reader.gather(places[present], "<u4")
        return targets

    def spans(self, slot: int, width: int = 1) -> tuple[Places, Places]:
        """Start and count of a string or vector in each table; (0, 0) where it is absent."""
        return self.reader.spans(self.targets(slot), width)

    def texts(self, slot: int) -> list[str | None]:
        """A string of each table, None where it is absent."""
        starts, sizes = self.spans(slot)
        texts: list[str | None] = list(self.reader.texts(starts, sizes))
        if not starts.all():
            for index in np.flatnonzero(starts == 0).tolist():
                texts[index] = None
        return texts

    def elements(self, slot: int) -> tuple[Places, Places]:
        """The elements of a vector of tables or strings, of all tables in a row.

        Returns
        -------
        positions : ndarray of int64
            Where each element starts, ready for `Tables`.
        bounds : ndarray of int64
            One more than there are tables: those of table i are ``positions[bounds[i]:bounds[i + 1]]``.
        """
        starts, counts = self.spans(slot, 4)
        bounds = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=bounds[1:])
        total = int(bounds[-1])
        if total > self.reader.size:
            raise self.reader.error("its vectors overlap")
        places = np.repeat(starts - 4 * bounds[:-1], counts) + 4 * np.arange(total, dtype=np.int64)
        return places + self.reader.gather(places, "<u4"), bounds
