"""FlexBuffers: documents without a schema, for user properties and the configuration in spec 2.

Byte layout; numbers are little-endian, a width `w` is 1, 2, 4 or 8 bytes::

    document   ..., root slot (w), packed type, w
    packed     kind << 2 | log2(width of what the slot refers to)
    slot       null, bool, int, uint, float: the value itself, as wide as the slot
               all others: the distance back from the slot to the target
    key        bytes, 0
    string     size (w), [target] bytes, 0        blob: the same without the 0
    indirect   [target] a number
    vector     size (w), [target] slots (w), a packed type for each slot
    typed      size (w), [target] slots (w)       fixed typed: 2 to 4 slots, no size
    map        distance to keys (w), width of keys (w), then a vector of values;
               the keys are a typed vector of keys, sorted by their bytes

A target lies before its slot, so nothing goes in circles, but a hostile
document may point to one target over and over or nest without end. Rules of
this file: the reader may produce one value or character for each byte of the
document, which leaves honest documents room to spare, and neither the reader
nor the writer goes deeper than `MAX_DEPTH`.

The reader knows every form that encoders write. The writer needs few of them:
scalars, strings, plain vectors and maps, and shares keys only. Both speak the data model of JSON:
None, bool, int, float, str, list and dict. Blobs are read as lists of numbers,
floats that are not finite as None.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import IntEnum
from numbers import Integral, Real
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from icechunk._exceptions import ErrorKind, FormatError, InvalidInputError

if TYPE_CHECKING:
    from icechunk._format.flatbuffers import Data

MAX_DEPTH = 128
"""Containers that may stand inside each other."""


class _Kind(IntEnum):
    """The kinds of values; vectors of 2, 3 and 4 numbers are computed from `VECTOR_INT2`."""

    NULL = 0
    INT = 1
    UINT = 2
    FLOAT = 3
    KEY = 4
    STRING = 5
    INDIRECT_INT = 6
    INDIRECT_UINT = 7
    INDIRECT_FLOAT = 8
    MAP = 9
    VECTOR = 10
    VECTOR_INT = 11
    VECTOR_STRING = 15
    VECTOR_INT2 = 16
    VECTOR_FLOAT4 = 24
    BLOB = 25
    BOOL = 26
    VECTOR_BOOL = 36


_NUMBER_FORMATS = {
    _Kind.INT: {1: "b", 2: "h", 4: "i", 8: "q"},
    _Kind.UINT: {1: "B", 2: "H", 4: "I", 8: "Q"},
    _Kind.BOOL: {1: "B", 2: "H", 4: "I", 8: "Q"},
    _Kind.FLOAT: {4: "f", 8: "d"},
}


def loads(data: Data, name: str) -> Any:
    """Read a document.

    Parameters
    ----------
    data : bytes-like
        The whole document.
    name : str
        The object that it came from, for errors.

    Returns
    -------
    None, bool, int, float, str, list or dict

    Raises
    ------
    FormatError
        Kind `deserialization`: the bytes are not a FlexBuffers document, or a hostile one.

    Examples
    --------
    >>> loads(bytes([1, 2, 3, 3, 0x50, 1]), "an example")
    [1, 2, 3]
    """
    return _Reader(bytes(data), name).root()


def dumps(value: object) -> bytes:
    """Write a document.

    Parameters
    ----------
    value : object
        Anything that `json_value` accepts.

    Raises
    ------
    TypeError
        A value has no counterpart in JSON, or a key is not a string.
    InvalidInputError
        Kind `bad-metadata`: as for `json_value`, or a key holds a NUL character.

    Examples
    --------
    >>> loads(dumps({"b": [1.5, -7], "a": float("nan")}), "an example")
    {'a': None, 'b': [1.5, -7]}
    """
    return dumps_plain(json_value(value))


def dumps_plain(value: Any) -> bytes:
    """Write a document of a value that `json_value` gave.

    Raises
    ------
    InvalidInputError
        Kind `bad-metadata`: a key holds a NUL character.
    """
    return _Writer().document(value)


def json_value(value: object, depth: int = 0) -> Any:
    """Express a value in the data model of JSON.

    Mappings become dicts, other sequences (bytes too) and NumPy arrays lists, numbers of any class
    int or float. A float that is not finite becomes None, an integer that needs more than 64 bits a
    float: JSON as the format means it has neither.

    Raises
    ------
    TypeError
        A value has no counterpart in JSON, or a key is not a string.
    InvalidInputError
        Kind `bad-metadata`: nested too deep, a number beyond the range of floats, or text with half
        of a surrogate pair.

    Examples
    --------
    >>> json_value({"shape": (2, 3), "scale": float("inf"), "big": 2**64})
    {'shape': [2, 3], 'scale': None, 'big': 1.8446744073709552e+19}
    """
    match value:
        case None | bool():
            return value
        case str():
            return _encodable(value)
        case np.bool_():
            return bool(value)
        case Integral():
            number = int(value)
            return number if -(2**63) <= number < 2**64 else _finite(number)
        case Real() | Decimal():
            return _finite(value)
    if depth == MAX_DEPTH:
        raise InvalidInputError(f"the value is nested deeper than {MAX_DEPTH} levels", ErrorKind.BAD_METADATA)
    match value:
        case Mapping():
            return {_key(key): json_value(item, depth + 1) for key, item in value.items()}
        case np.ndarray():
            return json_value(value.tolist(), depth)
        case Sequence() | bytearray():
            return [json_value(item, depth + 1) for item in value]
    raise TypeError(f"a value of type {type(value).__name__} has no counterpart in JSON: {value!r:.80}")


def _finite(number: Any) -> float | None:
    try:
        result = float(number)
    except OverflowError as error:
        raise InvalidInputError(
            "a number is too large for a property: not even a float can hold it", ErrorKind.BAD_METADATA
        ) from error
    return result if math.isfinite(result) else None


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"keys of properties are strings, not {type(key).__name__}: {key!r:.80}")
    return _encodable(key)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"the text {text!r:.80} is not valid Unicode: {error.reason}", ErrorKind.BAD_METADATA
        ) from error
    return str.__str__(text)


class _Slot(NamedTuple):
    """What is to stand in a slot: a number, or the way to what was written at a position."""

    kind: int
    width: int
    value: int | float
    is_distance: bool = False


_NULL = _Slot(_Kind.NULL, 1, 0)


class _Writer:
    """Writes one document, children first."""

    __slots__ = ("_data", "_keys")

    def __init__(self) -> None:
        self._data = bytearray()
        self._keys: dict[str, int] = {}

    def document(self, value: Any) -> bytes:
        root = self._slot(value)
        width = self._row([root])
        self._data += bytes((_packed(root, width), width))
        return bytes(self._data)

    def _slot(self, value: Any) -> _Slot:
        """Write what does not stand in the slot of a value itself."""
        match value:
            case None:
                return _NULL
            case bool():
                return _Slot(_Kind.BOOL, 1, int(value))
            case int():
                return _Slot(_Kind.INT if value < 0 else _Kind.UINT, _width_of(value), value)
            case float():
                return _Slot(_Kind.FLOAT, 8, value)
            case str():
                content = value.encode()
                width = self._row([_number(len(content))])
                position = len(self._data)
                self._data += content + b"\0"
                return _Slot(_Kind.STRING, width, position, True)
            case list():
                return self._vector([self._slot(item) for item in value])
        # Texts sort by code points, which is the order of their UTF-8 bytes.
        items = sorted(value.items(), key=itemgetter(0))
        names = [_Slot(_Kind.KEY, 1, self._key(key), True) for key, _ in items]
        values = [self._slot(item) for _, item in items]
        width = self._row([_number(len(names)), *names])
        start = len(self._data) - len(names) * width
        keys = _Slot(_Kind.VECTOR, width, start, True)
        return self._vector(values, _Kind.MAP, (keys, _number(width)))

    def _key(self, key: str) -> int:
        """The position of a key, of which there is one in the document."""
        position = self._keys.get(key)
        if position is None:
            if "\0" in key:
                raise InvalidInputError(f"the key {key!r:.80} holds a NUL character", ErrorKind.BAD_METADATA)
            position = self._keys[key] = len(self._data)
            self._data += key.encode() + b"\0"
        return position

    def _vector(self, values: list[_Slot], kind: int = _Kind.VECTOR, before: tuple[_Slot, ...] = ()) -> _Slot:
        """Write a vector, or a map with what it has before the size."""
        width = self._row([*before, _number(len(values)), *values])
        position = len(self._data) - len(values) * width
        self._data += bytes([_packed(slot, width) for slot in values])
        return _Slot(kind, width, position, True)

    def _row(self, slots: list[_Slot]) -> int:
        """Write slots in a row, all of the width that the widest one needs, which is given out."""
        data = self._data
        width = max([1 if slot.is_distance else slot.width for slot in slots])
        while True:
            start = len(data) + -len(data) % width
            ways = [
                start + place * width - slot.value for place, slot in enumerate(slots) if slot.is_distance
            ]
            if not ways or max(ways) < 1 << 8 * width:
                break
            width *= 2
        data += bytes(start - len(data))
        for slot in slots:
            number = len(data) - slot.value if slot.is_distance else slot.value
            if isinstance(number, float):
                data += struct.pack("<d", number)
            else:
                data += number.to_bytes(width, "little", signed=number < 0)
        return width


def _number(number: int) -> _Slot:
    return _Slot(_Kind.UINT, _width_of(number), number)


def _width_of(number: int) -> int:
    """The bytes that an integer needs: 1, 2, 4 or 8."""
    bits = number.bit_length() if number >= 0 else (~number).bit_length() + 1
    return 1 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8


def _packed(slot: _Slot, width: int) -> int:
    """Kind and width of a slot in a row of some width."""
    return slot.kind << 2 | ((slot.width if slot.is_distance else width).bit_length() - 1)


class _Reader:
    """One pass over one document."""

    __slots__ = ("_budget", "_data", "_name", "_texts")

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._budget = len(data)
        self._texts: dict[int, str] = {}

    def root(self) -> Any:
        end = len(self._data) - 2
        if end < 1:
            raise self._invalid("it is too short")
        width = self._data[-1]
        if width not in (1, 2, 4, 8):
            raise self._invalid(f"its root has a width of {width}")
        return self._value(end - width, width, self._data[-2], 0)

    def _value(self, slot: int, slot_width: int, packed: int, depth: int) -> Any:
        kind, width = packed >> 2, 1 << (packed & 3)
        if kind <= _Kind.FLOAT or kind == _Kind.BOOL:
            return self._scalar(slot, slot_width, kind)
        at = self._target(slot, slot_width)
        if kind == _Kind.STRING:
            return self._text(at, self._size(at, width))
        if kind == _Kind.KEY:
            return self._key(at)
        if kind <= _Kind.INDIRECT_FLOAT:
            return self._scalar(at, width, kind - _Kind.INDIRECT_INT + _Kind.INT)
        if depth == MAX_DEPTH:
            raise self._invalid(f"it is nested deeper than {MAX_DEPTH} levels")
        if kind == _Kind.MAP:
            return self._map(at, width, depth)
        if kind == _Kind.VECTOR:
            return self._vector(at, width, depth)
        return self._typed_vector(at, width, kind)

    def _map(self, at: int, width: int, depth: int) -> dict[str, Any]:
        keys_at = self._target(at - 3 * width, width)
        keys_width = self._number(at - 2 * width, width)
        if keys_width not in (1, 2, 4, 8):
            raise self._invalid(f"the keys of a map have a width of {keys_width}")
        if self._size(keys_at, keys_width) != self._size(at, width):
            raise self._invalid("a map has more keys than values, or fewer")
        values = self._vector(at, width, depth)
        slots = self._slots(keys_at, len(values), keys_width)
        keys = [self._key(self._target(slot, keys_width)) for slot in slots]
        return dict(zip(keys, values, strict=True))

    def _vector(self, at: int, width: int, depth: int) -> list[Any]:
        count = self._size(at, width)
        self._spend(count)
        slots = self._slots(at, count, width)
        kinds = self._bytes(slots.stop, count)
        # Not a comprehension: on old Pythons that is one more frame for each level.
        values = []
        for slot, packed in zip(slots, kinds, strict=True):
            values.append(self._value(slot, width, packed, depth + 1))
        return values

    def _typed_vector(self, at: int, width: int, kind: int) -> list[Any]:
        if _Kind.VECTOR_INT2 <= kind <= _Kind.VECTOR_FLOAT4:
            tuples, element = divmod(kind - _Kind.VECTOR_INT2, 3)
            return self._numbers(at, tuples + 2, width, element + _Kind.INT)
        count = self._size(at, width)
        if kind == _Kind.VECTOR_BOOL:
            return self._numbers(at, count, width, _Kind.BOOL)
        if kind == _Kind.BLOB:
            return self._numbers(at, count, 1, _Kind.UINT)
        element = kind - _Kind.VECTOR_INT + _Kind.INT
        if element <= _Kind.FLOAT:
            return self._numbers(at, count, width, element)
        if kind > _Kind.VECTOR_STRING:
            raise self._invalid(f"there is no kind {kind} of values")
        # The deprecated vectors of strings do not say how wide the sizes of the
        # strings are; like everybody, read them up to the 0.
        self._spend(count)
        return [self._key(self._target(slot, width)) for slot in self._slots(at, count, width)]

    def _numbers(self, at: int, count: int, width: int, kind: int) -> list[Any]:
        self._spend(count)
        code = _NUMBER_FORMATS[_Kind(kind)].get(width)
        if code is None:
            raise self._invalid(f"it has a float of {width} bytes")
        numbers = struct.unpack(f"<{count}{code}", self._bytes(at, count * width))
        if kind == _Kind.FLOAT:
            return [_finite(number) for number in numbers]
        return [bool(number) for number in numbers] if kind == _Kind.BOOL else list(numbers)

    def _scalar(self, at: int, width: int, kind: int) -> Any:
        if kind == _Kind.NULL:
            return None
        return self._numbers(at, 1, width, kind)[0]

    def _key(self, at: int) -> str:
        if at not in self._texts:
            end = self._data.find(0, at)
            if end < 0:
                raise self._invalid("a key has no end")
            self._text(at, end - at)
        return self._texts[at]

    def _text(self, at: int, size: int) -> str:
        # Encoders store equal texts once, so each place counts once.
        if at not in self._texts:
            self._spend(size)
            try:
                self._texts[at] = self._bytes(at, size).decode()
            except UnicodeDecodeError as error:
                raise self._invalid(f"a text is not UTF-8: {error.reason}") from error
        return self._texts[at]

    def _size(self, at: int, width: int) -> int:
        return self._number(at - width, width)

    def _target(self, slot: int, width: int) -> int:
        return slot - self._number(slot, width)

    def _slots(self, at: int, count: int, width: int) -> range:
        self._bytes(at, count * width)
        return range(at, at + count * width, width)

    def _number(self, at: int, width: int) -> int:
        return int.from_bytes(self._bytes(at, width), "little")

    def _bytes(self, at: int, size: int) -> bytes:
        if at < 0 or size > len(self._data) - at:
            raise self._invalid("an offset or size points out of it")
        return self._data[at : at + size]

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise self._invalid("it refers to the same parts again and again")

    def _invalid(self, reason: str) -> FormatError:
        return FormatError(
            f"cannot read a FlexBuffers document in {self._name}: {reason}", ErrorKind.DESERIALIZATION
        )
