"""FlexBuffers: both directions, the forms of other encoders, and hostile documents."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk._exceptions import ErrorKind, FormatError, InvalidInputError
from icechunk._format.flexbuffers import MAX_DEPTH, dumps, json_value, loads

# Written by the official release 2.3.0.
OFFICIAL: list[tuple[Any, str]] = [
    (None, "000001"),
    (True, "016801"),
    (0, "000801"),
    (-1, "ff0401"),
    (256, "00010902"),
    (-129, "7fff0502"),
    (65536, "000001000a04"),
    (-(2**31), "000000800604"),
    (2**64 - 1, "ffffffffffffffff0b08"),
    (-(2**63), "00000000000000800708"),
    (0.5, "0000003f0e04"),
    (-0.0, "000000800e04"),
    (0.1, "9a9999999999b93f0f08"),
    (1e300, "9c7500883ce4377e0f08"),
    ("", "0000011401"),
    ("a", "016100021401"),
    ([], "00002801"),
    ([7], "0107013001"),
    ([1, 2], "0102024401"),
    ([1, 2, 3], "010203035001"),
    ([1, 2, 3, 4], "01020304045c01"),
    ([1, 2, 3, 4, 5], "050102030405053001"),
    ([2**64 - 1, 0], "ffffffffffffffff0000000000000000104701"),
    ([-1, -2], "fffe024001"),
    ([-1, -2, -3], "fffefd034c01"),
    ([-1, -2, -3, -70000], "fffffffffefffffffdffffff90eefeff105a01"),
    ([-1] * 9, "09ffffffffffffffffff092c01"),
    ([1.5, 2.5], "0000c03f00002040084a01"),
    ([1.5, 2.5, 3.5], "0000c03f00002040000060400c5601"),
    ([0.1] * 3 + [0.5], "9a9999999999b93f9a9999999999b93f9a9999999999b93f000000000000e03f206301"),
    ([0.5] * 7, "070000000000003f0000003f0000003f0000003f0000003f0000003f0000003f1c3601"),
    ([True], "0101019001"),
    ([True, False], "020100029001"),
    (["a", "b"], "0161000162000206041414042801"),
    (
        ["a", 1, None, True, 1.5, -3],
        "0161000006000000070000000100000000000000010000000000c03ffdffffff140a026a0e061e2a01",
    ),
    ([[1, 2], [3]], "010201030205034430042801"),
    ([None], "010000022801"),
    ([1.5, 2**40], "0200000000000000000000000000f83f00000000000100000f0b122b01"),
    ([-1, 2**63], "0200000000000000ffffffffffffffff0000000000000080070b122b01"),
    ({}, "00000100002401"),
    ({"": None}, "0001020101010000022401"),
    ({"is_root": True}, "69735f726f6f740001090101010168022401"),
    (
        {"a": "z", "b": [{"c": {}}], "é": -1},
        "6100017a00620063000000010001070101010524010324c3a900031b17060301031e0dff142804062401",
    ),
]

texts = st.text(st.characters(codec="utf-8"), max_size=20)
keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


def alike(left: object, right: object) -> bool:
    """Equal, with booleans, integers, floats and the sign of zero told apart."""
    return left == right and repr(left) == repr(right)


@pytest.mark.parametrize(("value", "document"), OFFICIAL)
def test_reads_what_the_official_encoder_writes(value: object, document: str) -> None:
    assert alike(loads(bytes.fromhex(document), "x"), value)


@given(values)
def test_round_trip(value: object) -> None:
    def in_order(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: in_order(item[key]) for key in sorted(item)}
        return [in_order(part) for part in item] if isinstance(item, list) else item

    assert alike(loads(dumps(value), "x"), in_order(value))


@given(st.recursive(st.none() | numbers | texts, lambda inner: st.lists(inner, max_size=5), max_leaves=20))
def test_the_reference_reader_agrees(value: object) -> None:
    assert reference.Loads(bytearray(dumps(value))) == value


@given(values)
def test_reads_the_forms_of_the_reference_writer(value: object) -> None:
    def put(builder: reference.Builder, item: Any) -> None:
        if isinstance(item, dict):
            with builder.Map():
                for key in item:
                    builder.Key(key.encode())
                    put(builder, item[key])
        elif isinstance(item, list):
            same = {type(part) for part in item}
            # Typed where it can be; the reference loses the range of 32-bit floats.
            if same == {bool} or (same == {int} and all(-(2**63) <= part < 2**63 for part in item)):
                builder.TypedVectorFromElements(item)
            else:
                with builder.Vector():
                    for part in item:
                        put(builder, part)
        elif isinstance(item, float):
            builder.IndirectFloat(item, 8)
        elif isinstance(item, bool) or item is None:
            builder.Add(item)
        elif isinstance(item, int):
            (builder.IndirectInt if item < 0 else builder.IndirectUInt)(item)
        else:
            builder.String(item)

    builder = reference.Builder(share_strings=True)
    put(builder, value)
    assert loads(bytes(builder.Finish()), "x") == value


def test_reads_vectors_of_keys_and_blobs() -> None:
    builder = reference.Builder()
    with builder.Vector():
        with builder.TypedVector():
            builder.Key("one")
            builder.Key("two")
        builder.Key("three")
        builder.Blob(b"\x00\xff")
    assert loads(builder.Finish(), "x") == [["one", "two"], "three", [0, 255]]


def test_reads_the_deprecated_vector_of_strings() -> None:
    document = bytes([1, ord("a"), 0, 1, ord("b"), 0, 2, 6, 4, 2, 15 << 2, 1])
    assert loads(document, "x") == ["a", "b"]


def test_reads_floats_that_are_not_finite_as_null() -> None:
    builder = reference.Builder()
    with builder.Vector():
        builder.Float(math.nan, 8)
        builder.Float(-math.inf, 4)
    assert loads(builder.Finish(), "x") == [None, None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (2**64, 1.8446744073709552e19),
        (-(2**63) - 1, -9.223372036854775808e18),
        (b"ab", [97, 98]),
        (bytearray(b"ab"), [97, 98]),
        (memoryview(b"ab"), [97, 98]),
        ((1, (2,)), [1, [2]]),
        (range(3), [0, 1, 2]),
        (Decimal("1.5"), 1.5),
        (np.int8(-3), -3),
        (np.float32(1.5), 1.5),
        (np.float64("nan"), None),
        (np.bool_(True), True),
        (np.array([[1, 2]], np.uint8), [[1, 2]]),
        (np.array(2.5), 2.5),
        ({"b": 1, "a": (2,)}, {"b": 1, "a": [2]}),
        (StrEnum("Colour", "RED").RED, "red"),  # type: ignore[attr-defined]
    ],
)
def test_json_value_expresses(value: object, expected: object) -> None:
    result = json_value(value)
    assert alike(result, expected)
    assert type(result) is type(expected)
    assert loads(dumps(value), "x") == expected


@pytest.mark.parametrize("value", [{1: 2}, {None: 1}, [{b"a": 1}], {1, 2}, object(), 1j, iter([1])])
def test_json_value_refuses_other_types(value: object) -> None:
    with pytest.raises(TypeError):
        json_value(value)


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, 10**400])
def test_json_value_refuses_what_cannot_be_stored(value: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        json_value(value)
    assert caught.value.kind == ErrorKind.BAD_METADATA


def test_dumps_refuses_keys_with_nul() -> None:
    with pytest.raises(InvalidInputError, match="NUL") as caught:
        dumps({"a": [{"b": 1, "c\0d": 2}]})
    assert caught.value.kind == ErrorKind.BAD_METADATA


def test_depth_is_limited_in_both_directions() -> None:
    nested: Any = 1
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert loads(dumps(nested), "x") == nested
    with pytest.raises(InvalidInputError, match="nested"):
        dumps([nested])
    builder = reference.Builder()
    builder.Add([nested])
    with pytest.raises(FormatError, match="nested"):
        loads(builder.Finish(), "x")


def test_shared_containers_do_not_multiply() -> None:
    # Each level is a vector of 200 references to the level below: 200 ** 40 values.
    document = bytearray(2)
    target = 2
    for _ in range(40):
        document.extend((200).to_bytes(2, "little"))
        start = len(document)
        for slot in range(200):
            document += (start + 2 * slot - target).to_bytes(2, "little")
        document += bytes([10 << 2 | 1]) * 200
        target = start
    document += (len(document) - target).to_bytes(2, "little") + bytes([10 << 2 | 1, 2])
    with pytest.raises(FormatError, match="again and again"):
        loads(document, "x")


def test_overlapping_texts_do_not_multiply() -> None:
    body = b"\x01" * 250
    slots = b"".join((len(body) + 1 + 2 + 2 * i - i).to_bytes(2, "little") for i in range(240))
    document = body + b"\0" + (240).to_bytes(2, "little") + slots + bytes([4 << 2]) * 240
    document += (len(slots) + 240).to_bytes(2, "little") + bytes([10 << 2 | 1, 2])
    with pytest.raises(FormatError, match="again and again"):
        loads(document, "x")


def read_error(data: bytes | bytearray) -> FormatError | None:
    """The error of a failed reading; other errors pass through."""
    try:
        loads(data, "snapshots/X")
    except FormatError as error:
        return error
    return None


def check(error: FormatError | None) -> None:
    assert error is None or (error.kind == ErrorKind.DESERIALIZATION and "snapshots/X" in error.message)


@given(st.binary(max_size=60))
@settings(max_examples=400)
def test_random_bytes_raise_only_format_errors(data: bytes) -> None:
    check(read_error(data))


def test_damaged_documents_raise_only_format_errors() -> None:
    chooser = random.Random(20260101)
    documents = [bytes.fromhex(document) for _, document in OFFICIAL]
    documents.append(dumps({"a": [1, -2.5, "text", None, {"b": [True, "text"]}], "c": list(range(300))}))
    for document in documents:
        for _ in range(150):
            damaged = bytearray(document)
            for _ in range(chooser.randint(1, 3)):
                byte = chooser.choice((0, 1, 4, 255, chooser.randrange(256)))
                damaged[chooser.randrange(len(damaged))] = byte
            check(read_error(damaged[chooser.choice((0, 0, 0, 1)) :]))
