"""Reading `zarr.json`: what the model takes from it, what it refuses."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.grid import (
    ArrayDocument,
    GroupDocument,
    in_grid,
    parse_node_document,
)
from icechunk._exceptions import InvalidInputError
from icechunk._format.snapshot import DimensionShape

ARRAY: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4, 6],
    "data_type": "int32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 4]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "attributes": {"node_type": "group", "shape": "round"},
}


def parse(document: object = None, spec_version: int = 2, **changes: Any) -> Any:
    """Parse an array's document with some members changed; `...` leaves a member out."""
    if document is None:
        document = {key: value for key, value in {**ARRAY, **changes}.items() if value is not ...}
    return parse_node_document(json.dumps(document).encode(), spec_version)


def regular(*chunk_shape: Any) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": [*chunk_shape]}}


def rectilinear(*chunk_shapes: Any) -> dict[str, Any]:
    return {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [*chunk_shapes]}}


def test_groups() -> None:
    assert parse({"node_type": "group"}) == GroupDocument()
    assert parse({"zarr_format": 3, "node_type": "group", "shape": "x", "attributes": {}}) == GroupDocument()


def test_regular_grids() -> None:
    assert parse() == ArrayDocument((4, 6), (2, 2), None, "regular")
    assert parse(shape=[], chunk_grid=regular()) == ArrayDocument((), (), None, "regular")
    assert parse(chunk_grid=regular(0, 2)).num_chunks == (0, 3)
    assert parse(shape=[0, 1]).num_chunks == (0, 1)
    assert parse(shape=[2**64 - 1, 1], chunk_grid=regular(2**33, 1)).num_chunks == (2**31, 1)


def test_rectilinear_grids() -> None:
    grid = rectilinear([2, 2, 2], [[2, 3]], [[1, 6]], [1, [2, 1], 3], [[1, 3], 3], [6], [0], [1, 2, 3], [])
    document = parse(shape=[6, 6, 6, 6, 6, 6, 0, 0, 0], chunk_grid=grid)
    assert document.num_chunks == (3, 3, 6, 3, 4, 1, 1, 3, 0)
    assert document.grid == "rectilinear"


def test_rectilinear_grids_need_spec_2() -> None:
    with pytest.raises(InvalidInputError, match="spec version 2") as caught:
        parse(spec_version=1, chunk_grid=rectilinear([4], [6]))
    assert caught.value.kind == "bad-metadata"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (..., None),
        (None, None),
        (["a", "b"], ("a", "b")),
        (["a", None], ("a", None)),
        (["", "b"], (None, "b")),
        (["a", "a"], ("a", "a")),
        (["a"], ("a", None)),
        (["a", "b", "c"], ("a", "b")),
    ],
)
def test_dimension_names(names: Any, expected: Any) -> None:
    assert parse(dimension_names=names).dimension_names == expected


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"node_type": "dataset"}, "node_type"),
        ({"node_type": ...}, "node_type"),
        ({"node_type": 3}, "node_type"),
        ({"shape": ...}, "shape"),
        ({"shape": None}, "shape"),
        ({"shape": [-1, 6]}, "shape"),
        ({"shape": [4.0, 6]}, "shape"),
        ({"shape": ["4", 6]}, "shape"),
        ({"shape": [True, 6]}, "shape"),
        ({"shape": [2**64, 6]}, "shape"),
        ({"shape": [2**40, 6], "chunk_grid": regular(1, 1)}, "dimension 0 has 1099511627776 chunks"),
        ({"chunk_grid": ...}, "chunk_grid"),
        ({"chunk_grid": "regular"}, "chunk_grid"),
        ({"chunk_grid": {"name": "regular"}}, "configuration"),
        ({"chunk_grid": {"name": "regular", "configuration": []}}, "configuration"),
        ({"chunk_grid": {"name": "regular", "configuration": {}}}, "chunk_shape"),
        ({"chunk_grid": {"name": "hexagonal", "configuration": {}}}, "hexagonal"),
        ({"chunk_grid": regular(2)}, "chunk_shape"),
        ({"chunk_grid": regular(-2, 1)}, "chunk_shape"),
        ({"chunk_grid": regular(2.0, 1)}, "chunk_shape"),
        ({"chunk_grid": {"name": "rectilinear", "configuration": {}}}, "chunk_shapes"),
        ({"chunk_grid": rectilinear(4, 6)}, "chunk_shapes"),
        ({"chunk_grid": rectilinear([4])}, "1 dimensions"),
        ({"chunk_grid": rectilinear([[4]], [6])}, "chunk_shapes"),
        ({"chunk_grid": rectilinear([[4, 1, 1]], [6])}, "chunk_shapes"),
        ({"chunk_grid": rectilinear(["4"], [6])}, "chunk_shapes"),
        ({"chunk_grid": rectilinear([-4], [6])}, "chunk_shapes"),
        ({"chunk_grid": rectilinear([[1, 2**33]], [6])}, "dimension 0"),
        ({"dimension_names": "ab"}, "dimension_names"),
        ({"dimension_names": [1, 2]}, "dimension_names"),
    ],
)
def test_faults_are_named(changes: dict[str, Any], culprit: str) -> None:
    with pytest.raises(InvalidInputError, match=culprit) as caught:
        parse(**changes)
    assert caught.value.kind == "bad-metadata"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'\xef\xbb\xbf{"node_type": "group"}',
        b'{"node_type": "group"} and more',
        b'{"node_type": NaN}',
        b'{"node_type": "group", "x": ' + b"[" * 10**7 + b"]" * 10**7 + b"}",
    ],
    ids=lambda data: data[:12],
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_node_document(data, 2)
    assert caught.value.kind == "bad-metadata"


@pytest.mark.parametrize(
    "word", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"NaN"', b'"\\ud800"', b"9" * 500]
)
def test_any_fill_value_will_do(word: bytes) -> None:
    data = json.dumps(ARRAY).encode().replace(b'"fill_value": 0', b'"fill_value": ' + word)
    assert parse_node_document(data, 2) == parse()


def test_lenient_reading_checks_the_rest() -> None:
    data = json.dumps({**ARRAY, "shape": "x"}).encode().replace(b'"fill_value": 0', b'"fill_value": NaN')
    with pytest.raises(InvalidInputError, match="shape"):
        parse_node_document(data, 2)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_random_bytes_raise_only_invalid_input(data: bytes) -> None:
    with suppress(InvalidInputError):
        parse_node_document(data, 2)


# Coordinates


@pytest.mark.parametrize(
    ("coords", "num_chunks", "inside"),
    [
        ((), (), True),
        ((0,), (5,), True),
        ((4,), (5,), True),
        ((5,), (5,), False),
        ((-1,), (5,), False),
        ((1, 2), (2, 3), True),
        ((2, 2), (2, 3), False),
        ((0,), (0,), False),
    ],
)
def test_coordinates(coords: tuple[int, ...], num_chunks: tuple[int, ...], inside: bool) -> None:
    assert in_grid("/a", coords, [DimensionShape(1, count) for count in num_chunks]) is inside


@pytest.mark.parametrize(("coords", "ndim"), [((0, 0), 1), ((), 1), ((0,), 0)])
def test_as_many_coordinates_as_dimensions(coords: tuple[int, ...], ndim: int) -> None:
    with pytest.raises(InvalidInputError, match="/a") as caught:
        in_grid("/a", coords, [DimensionShape(5, 5)] * ndim)
    assert caught.value.kind == "invalid-chunk-index"
