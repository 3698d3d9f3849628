"""The kit that reads and writes FlatBuffers, against the official package's reader and builder."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import flatbuffers
import numpy as np
import pytest
from flatbuffers import encode, packer
from flatbuffers.table import Table as OfficialTable
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.flatbuffers import Builder, Reader, Table, Tables, i32, u8, u16, u32, u64
from icechunk._format.slices import distinct_slices, gather_slices

EXAMPLES = settings(max_examples=60, deadline=None)
MANY_EXAMPLES = settings(max_examples=300, deadline=None)

ID = b"twelve bytes"
RECORD = np.dtype(
    {"names": ["id", "a", "b"], "formats": ["V12", "<u8", "<u4"], "offsets": [0, 16, 24], "itemsize": 32}
)


def sample() -> bytes:
    """A buffer with every sort of object that the kit writes."""
    builder = Builder(64)
    name = builder.string("main")
    assert builder.string("main") == name
    pool = np.frombuffer(b"abcdefghij", np.uint8)
    slices = builder.slices(pool, np.array([0, 3, 3, 9, 2]), np.array([3, 4, 0, 1, 3]))
    strings = builder.references(slices)
    refs = builder.tables(
        4,
        {3: np.arange(4, dtype="<u8"), 4: np.array([ID] * 4, "V12"), 7: np.arange(4, dtype="u1")},
        {5: np.array([name, name, slices[0], slices[1]])},
        (0, np.arange(12).reshape(4, 3)),
    )
    others = builder.tables(2, {3: np.array([8, 9], "<u8")}, {})
    both = np.concatenate([refs, others])
    lists = builder.references(builder.reference_lists(both, np.array([0, 4, 4, 6])))
    records = builder.vector(np.array([(ID, 5, 6), (ID, 7, 8)], RECORD))
    child = builder.table({2: i32(-5), 0: u16(65535)})
    root = builder.table(
        {
            0: name,
            1: u8(3),
            2: u64(2**63),
            3: ID,
            4: strings,
            5: builder.references(both),
            6: lists,
            7: records,
            8: child,
            9: None,
            10: builder.bytes(b"blob"),
            11: u32(2**31),
        }
    )
    return bytes(builder.finish(root))


def test_everything_is_read_back() -> None:
    data = sample()
    assert len(data) % 8 == 0
    assert data[4:8] == b"Ichk"
    root = Reader(data, "repo").root()
    assert root.string(0) == "main"
    assert (root.u8(1), root.u64(2), root.struct(3, 12), root.u32(11)) == (3, 2**63, ID, 2**31)
    assert root.strings(4) == ["abc", "defg", "", "j", "cde"]
    assert root.bytes(10) == b"blob"
    child = root.table(8)
    assert child is not None
    assert (child.i32(2), child.u16(0), child.u32(1, default=4)) == (-5, 65535, 4)
    records = root.array(7, RECORD)
    assert records is not None
    assert records["a"].tolist() == [5, 7]
    absent = (
        root.string(9),
        root.bytes(9),
        root.table(9),
        root.array(9, "u1"),
        root.tables(9),
        root.struct(9, 4),
    )
    assert absent == (None,) * 6
    assert root.u8(99, default=8) == 8


def test_columns_are_read_back() -> None:
    root = Reader(sample(), "repo").root()
    tables = root.require(root.tables(5), "tables")
    assert len(tables) == 6
    assert tables.numbers(3, "<u8").tolist() == [0, 1, 2, 3, 8, 9]
    assert tables.numbers(7, "u1", 5).tolist() == [0, 1, 2, 3, 5, 5]
    assert tables.numbers(50, "u1", 5).tolist() == [5] * 6
    ids, present = tables.structs(4, 12)
    assert ids.tobytes() == ID * 4 + bytes(24)
    assert present.tolist() == [True] * 4 + [False] * 2
    assert tables.texts(5) == ["main", "main", "abc", "defg", None, None]
    starts, counts = tables.spans(0, 4)
    assert counts.tolist() == [3, 3, 3, 3, 0, 0]
    assert tables.reader.gather(starts[:4], "V12").view("<u4").tolist() == list(range(12))
    assert [table.u64(3) for table in tables] == [0, 1, 2, 3, 8, 9]
    assert tables[4].u64(3) == 8


def test_nested_vectors_are_read_flat() -> None:
    builder = Builder()
    leaves = builder.tables(4, {0: np.arange(4, dtype="<u4")}, {})
    lists = builder.reference_lists(leaves, np.array([0, 1, 1, 4]))
    parents = builder.tables(3, {}, {0: lists})
    orphan = builder.table({1: u8(1)})
    root = builder.table({0: builder.references([*parents.tolist(), orphan])})
    reader = Reader(builder.finish(root), "x")
    tables = reader.root().tables(0)
    assert tables is not None
    positions, bounds = tables.elements(0)
    assert bounds.tolist() == [0, 1, 1, 4, 4]
    assert Tables(reader, positions).numbers(0, "<u4").tolist() == [0, 1, 2, 3]


def test_empty_vectors_and_tables() -> None:
    builder = Builder()
    empty = builder.references([])
    root = builder.table(
        {
            0: empty,
            1: builder.bytes(b""),
            2: builder.string(""),
            3: builder.table({}),
            4: builder.vector(np.empty(0, "<u8")),
        }
    )
    table = Reader(builder.finish(root), "x").root()
    tables = table.require(table.tables(0), "tables")
    assert len(tables) == 0
    assert tables.numbers(0, "<u4").tolist() == []
    assert tables.texts(0) == []
    assert table.strings(0) == []
    assert (table.bytes(1), table.string(2)) == (b"", "")
    assert table.array(4, "<u8").tolist() == []  # type: ignore[union-attr]  # it is there
    assert builder.slices(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []


def test_official_package_reads_ours() -> None:
    data = sample()
    root = OfficialTable(bytearray(data), encode.Get(packer.uoffset, data, 0))

    def field(slot: int) -> int:
        return int(root.Offset(4 + 2 * slot))

    assert root.String(root.Pos + field(0)) == b"main"
    assert root.Get(flatbuffers.number_types.Uint64Flags, root.Pos + field(2)) == 2**63
    assert field(9) == 0
    assert root.VectorLen(field(5)) == 6
    ref = OfficialTable(root.Bytes, root.Indirect(root.Vector(field(5)) + 4))
    assert ref.Get(flatbuffers.number_types.Uint64Flags, ref.Pos + ref.Offset(10)) == 1
    assert ref.VectorLen(ref.Offset(4)) == 3
    assert ref.Get(flatbuffers.number_types.Uint32Flags, ref.Vector(ref.Offset(4))) == 3


def test_numbers_are_aligned() -> None:
    data = sample()
    root = Reader(data, "x").root()
    assert root.field(2) % 8 == 0
    assert root.field(11) % 4 == 0
    assert root.require(root.span(7, 32), "records")[0] % 8 == 0
    tables = root.require(root.tables(5), "tables")
    assert not (tables.fields(3) % 8).any()
    assert not (tables.positions % 4).any()
    assert not (tables.spans(0, 4)[0] % 4).any()


@EXAMPLES
@given(
    st.lists(
        st.dictionaries(
            st.integers(0, 12),
            st.one_of(
                st.integers(0, 255).map(u8),
                st.integers(0, 65535).map(u16),
                st.integers(0, 2**32 - 1).map(u32),
                st.integers(0, 2**64 - 1).map(u64),
                st.binary(min_size=12, max_size=12),
                st.text(max_size=9),
            ),
        ),
        max_size=8,
    )
)
def test_tables_of_any_shape(shapes: list[dict[int, Any]]) -> None:
    builder = Builder(64)
    places = [
        builder.table({slot: builder.string(v) if isinstance(v, str) else v for slot, v in fields.items()})
        for fields in shapes
    ]
    reader = Reader(builder.finish(builder.table({0: builder.references(places)})), "x")
    tables = reader.root().tables(0)
    assert tables is not None
    for table, fields in zip(tables, shapes, strict=True):
        for slot in range(14):
            value = fields.get(slot)
            if isinstance(value, str):
                assert table.string(slot) == value
            elif value is None:
                assert not table.field(slot)
            else:
                assert table.struct(slot, len(value)) == value
                assert table.field(slot) % {2: 2, 8: 8}.get(len(value), 1) == 0
    for slot in range(14):
        assert (tables.fields(slot) != 0).tolist() == [slot in fields for fields in shapes]


@EXAMPLES
@given(st.binary(max_size=300), st.data())
def test_slices(pool: bytes, data: st.DataObject) -> None:
    size = len(pool)
    slices = data.draw(
        st.lists(
            st.integers(0, size).flatmap(
                lambda start: st.tuples(st.just(start), st.integers(0, size - start))
            )
        )
    )
    starts = np.array([start for start, _ in slices], np.int64)
    sizes = np.array([size for _, size in slices], np.int64)
    array = np.frombuffer(pool, np.uint8)
    expected = [pool[start : start + size] for start, size in slices]
    assert gather_slices(array, starts, sizes).tobytes() == b"".join(expected)
    own_starts, own_sizes, which = distinct_slices(starts, sizes)
    assert own_starts[which].tolist() == starts.tolist()
    assert own_sizes[which].tolist() == sizes.tolist()
    assert (
        len(set(zip(own_starts.tolist(), own_sizes.tolist(), strict=True)))
        == len(own_starts)
        == len(set(slices))
    )
    builder = Builder()
    places = builder.slices(array, starts, sizes)
    reader = Reader(builder.finish(builder.table({0: builder.references(places)})), "x")
    positions = reader.root().positions(0)
    assert positions is not None
    assert [reader.copy(*reader.span(position, 1)) for position in positions.tolist()] == expected


def walk(data: bytes) -> None:
    """Read all there is of `sample`."""
    reader = Reader(data, "repo")
    root = reader.root()
    for slot in range(13):
        root.u64(slot), root.u8(slot), root.struct(slot, 12)
        root.bytes(slot), root.array(slot, RECORD), root.array(slot, "<u2")
    root.string(0), root.strings(4), root.table(8)
    tables = root.tables(5)
    if tables is None:
        return
    for slot in range(8):
        tables.numbers(slot, "<u8"), tables.numbers(slot, "u1"), tables.structs(slot, 12)
    tables.texts(5)
    starts, counts = tables.spans(0, 4)
    if counts.all():
        reader.gather(starts, "<u4")
    positions = root.positions(6)
    if positions is not None:
        reader.spans(positions, 4)
    tables.elements(0)


SAMPLE = sample()


@EXAMPLES
@given(st.binary(max_size=400))
def test_random_bytes_raise_only_format_error(data: bytes) -> None:
    for buffer in (data, SAMPLE[: len(SAMPLE) // 2] + data):
        with suppress(FormatError):
            walk(buffer)


@MANY_EXAMPLES
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_bytes_raise_only_format_error(changes: list[tuple[int, int]]) -> None:
    buffer = bytearray(SAMPLE)
    for position, value in changes:
        buffer[position] = value
    with suppress(FormatError):
        walk(bytes(buffer))


def test_cut_buffers_raise_only_format_error() -> None:
    for size in range(len(SAMPLE)):
        with suppress(FormatError):
            walk(SAMPLE[:size])


def test_vectors_cannot_claim_more_than_there_is() -> None:
    data = bytearray(sample())
    root = Reader(bytes(data), "x").root()
    span = root.require(root.span(5, 4), "tables")
    data[span[0] - 4 : span[0]] = b"\xff\xff\xff\x7f"
    with pytest.raises(FormatError, match="2147483647 elements"):
        Reader(bytes(data), "x").root().tables(5)


def test_overlapping_vectors_cannot_multiply_the_buffer() -> None:
    # 1000 tables, each with a vector that starts 4 bytes behind the one before and runs to the end.
    builder = Builder()
    words = np.arange(4999, -1, -1, dtype="<u4")
    top = builder.vector(words) - 4
    tables = builder.tables(1000, {}, {0: top - 4 * np.arange(1000, dtype=np.int64)})
    reader = Reader(builder.finish(builder.table({0: builder.references(tables)})), "forged")
    column = reader.root().tables(0)
    assert column is not None
    with pytest.raises(FormatError, match=r"forged.*overlap"):
        column.spans(0, 4)
    with pytest.raises(FormatError, match="forged"):
        column.texts(0)


def test_shared_vectors_are_fine_as_spans_and_not_as_elements() -> None:
    builder = Builder()
    text = builder.string("x" * 1000)
    leaf = builder.table({})
    shared = builder.references([leaf] * 1000)
    tables = builder.tables(1000, {}, {0: np.full(1000, text), 1: np.full(1000, shared)})
    reader = Reader(builder.finish(builder.table({0: builder.references(tables)})), "forged")
    column = reader.root().tables(0)
    assert column is not None
    texts = column.texts(0)
    assert len(texts) == 1000
    assert all(text is texts[0] for text in texts)
    with pytest.raises(FormatError, match="overlap"):
        column.elements(1)


def test_table_that_points_to_itself() -> None:
    builder = Builder()
    data = bytearray(builder.finish(builder.table({0: builder.string("a"), 1: builder.references([])})))
    root = Reader(bytes(data), "x").root()
    at = root.field(1)
    data[at : at + 4] = bytes(4)
    # The offset to itself is a vector of 0 elements, the vector's own count.
    assert Reader(bytes(data), "x").root().tables(1) is not None
    data[at : at + 4] = b"\xff" * 4
    with pytest.raises(FormatError):
        Reader(bytes(data), "x").root().tables(1)


def test_text_that_is_not_utf8() -> None:
    builder = Builder()
    data = builder.finish(builder.table({0: builder.bytes(b"\xff\xfe")}))
    with pytest.raises(FormatError, match="UTF-8"):
        Reader(data, "x").root().string(0)


def test_missing_field() -> None:
    builder = Builder()
    table = Reader(builder.finish(builder.table({})), "snapshots/A").root()
    with pytest.raises(FormatError, match=r"snapshots/A.*message"):
        table.require(table.string(0), "message")


def test_buffers_over_2_gib_are_refused() -> None:
    builder = Builder()
    with pytest.raises(FormatError, match="2147483647") as caught:
        builder._reserve(2**31, 8)
    assert caught.value.kind == ErrorKind.SERIALIZATION


def test_root_can_be_any_table() -> None:
    data = sample()
    reader = Reader(data, "x")
    positions = reader.root().positions(5)
    assert positions is not None
    assert Table(reader, int(positions[3])).u64(3) == 3
