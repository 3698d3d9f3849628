"""Transaction logs: what others wrote, round trips, and damaged files."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from icechunk._core.ids import id_text
from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.flatbuffers import Builder
from icechunk._format.header import FileType, unwrap
from icechunk._format.snapshot import decode_snapshot
from icechunk._format.transaction_log import (
    Move,
    TransactionLog,
    decode_transaction_log,
    encode_transaction_log,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Fields: TypeAlias = dict[int, bytes | int | None]

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
SETS = ("new_groups", "new_arrays", "deleted_groups", "deleted_arrays", "updated_arrays", "updated_groups")

node_ids = st.binary(min_size=8, max_size=8)
id_sets = st.frozensets(node_ids, max_size=4)
coordinates = npst.arrays(
    np.uint32,
    st.tuples(st.integers(1, 5), st.integers(0, 3)),
    elements=st.integers(0, 3) | st.integers(0, 2**32 - 1),
) | st.just(np.empty((0, 0), np.uint32))
paths = st.lists(st.text(st.sampled_from("ab-.é"), min_size=1, max_size=2), max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
moves = st.lists(
    st.builds(Move, from_path=paths, to_path=paths, node_id=node_ids, is_array=st.booleans()), max_size=5
)
logs = st.builds(
    TransactionLog,
    id=st.binary(min_size=12, max_size=12),
    **dict.fromkeys(SETS, id_sets),
    updated_chunks=st.dictionaries(node_ids, coordinates, max_size=3),
    moved_nodes=moves.map(tuple),
    extra=st.none() | st.binary(max_size=4),
)


def plain(log: TransactionLog) -> dict[str, object]:
    """The log as values that compare, with all in the order of the format."""
    return {
        **{field: getattr(log, field) for field in ("id", "extra", *SETS)},
        "updated_chunks": {
            key: (value.shape, sorted(value.tolist())) for key, value in log.updated_chunks.items()
        },
        "moved_nodes": sorted(log.moved_nodes, key=lambda move: move.to_path.split("/")),
    }


def official_files() -> list[tuple[str, str]]:
    found = []
    for fixture in ("spec-1", "spec-1-by-1.1", "spec-2", "migrated"):
        with zipfile.ZipFile(FIXTURES / f"{fixture}.zip") as archive:
            found += [(fixture, part) for part in archive.namelist() if "/transactions/" in part]
    return found


@pytest.mark.parametrize(("fixture", "part"), official_files())
def test_reads_and_rewrites_official_files(fixture: str, part: str) -> None:
    with zipfile.ZipFile(FIXTURES / f"{fixture}.zip") as archive:
        file = unwrap(archive.read(part), FileType.TRANSACTION_LOG, part)
        snapshot_part = part.replace("/transactions/", "/snapshots/")
        snapshot_file = unwrap(archive.read(snapshot_part), FileType.SNAPSHOT, snapshot_part)
    log = decode_transaction_log(file.payload, file.spec_version, part)
    assert part.endswith(id_text(log.id))

    snapshot = decode_snapshot(snapshot_file.payload, snapshot_file.spec_version, snapshot_part)
    nodes = {node.id: node for node in snapshot}
    arrays = {node_id for node_id, node in nodes.items() if node.array is not None}
    assert log.new_arrays | log.updated_arrays | log.updated_chunks.keys() <= arrays
    assert log.new_groups | log.updated_groups <= nodes.keys() - arrays
    assert not (log.deleted_arrays | log.deleted_groups) & nodes.keys()
    for node_id, coords in log.updated_chunks.items():
        array = nodes[node_id].array
        assert array is not None
        assert coords.dtype == np.uint32
        assert coords.flags.c_contiguous
        assert coords.tolist() == sorted(coords.tolist())
        assert not len(coords) or coords.shape[1] == len(array.shape)
    for move in log.moved_nodes:
        assert nodes[move.node_id].path == move.to_path
        assert (move.node_id in arrays) == move.is_array

    payload = encode_transaction_log(log, file.spec_version)
    assert plain(decode_transaction_log(payload, file.spec_version, part)) == plain(log)


@given(logs)
def test_round_trip(log: TransactionLog) -> None:
    again = decode_transaction_log(encode_transaction_log(log, 2), 2, "x")
    assert plain(again) == plain(log)
    assert list(again.updated_chunks) == sorted(log.updated_chunks)
    for coords in again.updated_chunks.values():
        assert coords.tolist() == sorted(coords.tolist())


def test_moves_are_sorted_by_components() -> None:
    targets = ["/b", "/a-b", "/a/b/c", "/aa", "/a/b", "/a", "/é"]
    log = TransactionLog(
        b"a snapshot..", moved_nodes=tuple(Move("/x", path, b"8 bytes.", False) for path in targets)
    )
    again = decode_transaction_log(encode_transaction_log(log, 2), 2, "x")
    assert [move.to_path for move in again.moved_nodes] == ["/a", "/a/b", "/a/b/c", "/a-b", "/aa", "/b", "/é"]


def test_spec_1_has_no_moves() -> None:
    log = TransactionLog(b"a snapshot..", moved_nodes=(Move("/x", "/y", b"8 bytes.", False),))
    with pytest.raises(FormatError) as caught:
        encode_transaction_log(log, 1)
    assert caught.value.kind == ErrorKind.UNSUPPORTED_OPERATION_FOR_VERSION
    with pytest.raises(FormatError, match="spec version 1"):
        decode_transaction_log(encode_transaction_log(log, 2), 1, "x")


def test_millions_of_coordinates() -> None:
    coords = np.stack(np.unravel_index(np.arange(300_000), (30, 100, 100)), 1).astype(np.uint32)
    log = TransactionLog(b"a snapshot..", updated_chunks={b"8 bytes.": coords})
    payload = encode_transaction_log(log, 2)
    assert len(payload) < 29 * len(coords)
    again = decode_transaction_log(payload, 2, "x")
    assert np.array_equal(again.updated_chunks[b"8 bytes."], coords)


# Damaged files


def sample() -> bytes:
    log = TransactionLog(
        b"a snapshot..",
        new_groups=frozenset([b"group 1.", b"group 2."]),
        updated_arrays=frozenset([b"array 1."]),
        updated_chunks={
            b"array 1.": np.array([[0, 1], [2, 3]], np.uint32),
            b"array 2.": np.array([[5]], np.uint32),
            b"array 3.": np.empty((1, 0), np.uint32),
        },
        moved_nodes=(Move("/a", "/b", b"group 2.", False),),
        extra=b"extra",
    )
    return bytes(encode_transaction_log(log, 2))


def check(payload: bytes | bytearray) -> bool:
    """Whether reading fails; it must, if at all, with the one kind of error."""
    try:
        decode_transaction_log(payload, 2, "transactions/X")
    except FormatError as error:
        kind, message = error.kind, error.message
    else:
        return False
    assert kind == ErrorKind.INVALID_FILE_FORMAT
    assert "transactions/X" in message
    return True


def test_damaged_files_raise_only_format_errors() -> None:
    chooser = random.Random(20260104)
    good = sample()
    assert not check(good)
    failed = 0
    for _ in range(1500):
        damaged = bytearray(good)
        for _ in range(chooser.randint(1, 4)):
            place = chooser.randrange(len(damaged))
            damaged[place] = chooser.choice((0, 1, 4, 127, 255, damaged[place] ^ 1 << chooser.randrange(8)))
        failed += check(damaged)
    assert failed > 300


def test_cut_files_raise_only_format_errors() -> None:
    good = sample()
    assert all(check(good[:size]) for size in range(len(good) - 8))


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_random_bytes_raise_only_format_errors(data: bytes) -> None:
    check(data)


def built(write: Callable[[Builder], Fields]) -> memoryview:
    """A log with some fields other than usual, which a function writes; None leaves one out."""
    builder = Builder()
    changes = write(builder)
    empty = builder.references([])
    return builder.finish(builder.table({0: b"a snapshot..", **dict.fromkeys(range(1, 8), empty), **changes}))


def array_table(builder: Builder, coords: list[NDArray[np.uint32]]) -> int:
    chunks = [builder.table({0: builder.vector(one)}) for one in coords]
    return builder.table({0: b"8 bytes.", 1: builder.references(chunks)})


@pytest.mark.parametrize("slot", range(8))
def test_logs_need_their_fields(slot: int) -> None:
    with pytest.raises(FormatError, match="has no"):
        decode_transaction_log(built(lambda _: {slot: None}), 2, "x")


def test_logs_without_moves_may_leave_them_out() -> None:
    assert decode_transaction_log(built(lambda _: {}), 2, "x").moved_nodes == ()


@pytest.mark.parametrize("absent", [0, 1])
def test_arrays_need_their_fields(absent: int) -> None:
    def write(builder: Builder) -> Fields:
        fields: Fields = {0: b"8 bytes.", 1: builder.references([])}
        return {7: builder.references([builder.table(fields | {absent: None})])}

    with pytest.raises(FormatError, match="lacks a field"):
        decode_transaction_log(built(write), 2, "x")


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_moves_need_their_fields(absent: int) -> None:
    def write(builder: Builder) -> Fields:
        fields: Fields = {0: builder.string("/a"), 1: builder.string("/b"), 2: b"8 bytes."}
        return {8: builder.references([builder.table(fields | {absent: None})])}

    with pytest.raises(FormatError, match="lacks a field"):
        decode_transaction_log(built(write), 2, "x")


def test_moves_are_of_arrays_or_groups() -> None:
    def write(builder: Builder) -> Fields:
        fields: Fields = {0: builder.string("/a"), 1: builder.string("/b"), 2: b"8 bytes.", 3: b"\x02"}
        return {8: builder.references([builder.table(fields)])}

    with pytest.raises(FormatError, match="neither an array nor a group"):
        decode_transaction_log(built(write), 2, "x")


def test_chunks_of_an_array_have_one_number_of_dimensions() -> None:
    def write(builder: Builder) -> Fields:
        coords = [np.zeros(1, np.uint32), np.zeros(2, np.uint32)]
        return {7: builder.references([array_table(builder, coords)])}

    with pytest.raises(FormatError, match="number of dimensions"):
        decode_transaction_log(built(write), 2, "x")


def test_an_array_is_there_once() -> None:
    def write(builder: Builder) -> Fields:
        arrays = [array_table(builder, [np.zeros(1, np.uint32)]) for _ in range(2)]
        return {7: builder.references(arrays)}

    with pytest.raises(FormatError, match="twice"):
        decode_transaction_log(built(write), 2, "x")


def test_shared_coordinates_do_not_multiply() -> None:
    def write(builder: Builder) -> Fields:
        chunk = builder.table({0: builder.vector(np.zeros(100_000, np.uint32))})
        array = builder.table({0: b"8 bytes.", 1: builder.references([chunk] * 100_000)})
        return {7: builder.references([array])}

    with pytest.raises(FormatError, match="overlap"):
        decode_transaction_log(built(write), 2, "x")


def test_shared_arrays_do_not_multiply() -> None:
    def write(builder: Builder) -> Fields:
        array = array_table(builder, [np.zeros(1, np.uint32)] * 1000)
        return {7: builder.references([array] * 100_000)}

    with pytest.raises(FormatError, match="overlap"):
        decode_transaction_log(built(write), 2, "x")


def test_shared_paths_do_not_multiply() -> None:
    def write(builder: Builder) -> Fields:
        path = builder.string("/" + "a" * 100_000)
        move = builder.table({0: path, 1: path, 2: b"8 bytes."})
        return {8: builder.references([move] * 100_000)}

    log = decode_transaction_log(built(write), 2, "x")
    assert len({id(move.to_path) for move in log.moved_nodes}) == 1
