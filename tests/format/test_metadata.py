"""User properties in the encodings of both spec versions."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk._exceptions import ErrorKind, FormatError, InvalidInputError
from icechunk._format.metadata import decode_property, encode_properties

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
spec_versions = st.sampled_from([1, 2])


@given(st.dictionaries(texts, values, max_size=5), spec_versions)
def test_round_trip(properties: dict[str, Any], spec_version: int) -> None:
    encoded = encode_properties(properties, spec_version)
    names = [name.encode() for name, _ in encoded]
    assert names == sorted(names)
    decoded = {name: decode_property(value, spec_version, "x") for name, value in encoded}
    assert decoded == properties


# Written by the official release 2.3.0 (with sorted keys).
@pytest.mark.parametrize(
    ("value", "spec_version", "document"),
    [
        ({"is_root": True}, 1, "81a769735f726f6f74c3"),
        ({"b": [3.0, -483], "a": "日"}, 1, "82a161a3e697a5a16292cb4008000000000000d1fe1d"),
        ([2**64 - 1, None, 27], 1, "93cfffffffffffffffffc01b"),
        ({"is_root": True}, 2, "69735f726f6f740001090101010168022401"),
    ],
)
def test_reads_what_the_official_encoder_writes(value: object, spec_version: int, document: str) -> None:
    assert decode_property(bytes.fromhex(document), spec_version, "x") == value
    if spec_version == 1:
        assert encode_properties({"a": value}, 1) == [("a", bytes.fromhex(document))]


@pytest.mark.parametrize("spec_version", [1, 2])
def test_both_encodings_hold_the_same_data_model(spec_version: int) -> None:
    properties = {"nan": math.nan, "big": 2**64, "bytes": b"a", "pair": (1, 2)}
    encoded = encode_properties(properties, spec_version)
    decoded = {name: decode_property(value, spec_version, "x") for name, value in encoded}
    assert decoded == {"nan": None, "big": 2.0**64, "bytes": [97], "pair": [1, 2]}


@pytest.mark.parametrize("spec_version", [1, 2])
def test_refuses_what_json_cannot_hold(spec_version: int) -> None:
    with pytest.raises(TypeError):
        encode_properties({"a": object()}, spec_version)
    with pytest.raises(TypeError):
        encode_properties({1: "a"}, spec_version)  # type: ignore[dict-item]
    with pytest.raises(InvalidInputError) as caught:
        encode_properties({"a": "\ud800"}, spec_version)
    assert caught.value.kind == ErrorKind.BAD_METADATA


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xc1",
        b"\xa1\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 200 + b"\xc0",
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\x01\xc0",
        b"\xd6\xff\0\0\0\0",
        b"\xc7\x00\x01",
    ],
)
def test_damaged_message_pack_is_a_format_error(document: bytes) -> None:
    with pytest.raises(FormatError, match="snapshots/X") as caught:
        decode_property(document, 1, "snapshots/X")
    assert caught.value.kind == ErrorKind.DESERIALIZATION


@given(st.binary(max_size=40), spec_versions)
def test_random_bytes_raise_only_format_errors(data: bytes, spec_version: int) -> None:
    try:
        value = decode_property(data, spec_version, "x")
    except FormatError as error:
        kind = error.kind
    else:
        kind = "none" if msgspec.json.encode(value) else "empty"
    assert kind in ("none", ErrorKind.DESERIALIZATION)
