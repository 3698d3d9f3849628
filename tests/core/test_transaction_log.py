"""Joining transaction logs: of two commits that become one, of a chain, and of two lines of commits."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.transaction_log import log_between, merge_logs, union_coordinates
from icechunk._format.snapshot import (
    ArrayData,
    DimensionShape,
    ManifestRef,
    Node,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)
from icechunk._format.transaction_log import (
    Move,
    TransactionLog,
    decode_transaction_log,
    encode_transaction_log,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

A, B, C = b"node   a", b"node   b", b"node   c"
OLD, NEW = b"snapshot old", b"snapshot new"
SETS = ("new_groups", "new_arrays", "deleted_groups", "deleted_arrays", "updated_arrays", "updated_groups")

columns = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), unique=True).map(
        lambda rows: np.array(sorted(rows), np.uint32).reshape(len(rows), 2)
    ),
    min_size=1,
    max_size=4,
)


def coords(*rows: tuple[int, ...]) -> NDArray[np.uint32]:
    return np.array(rows, np.uint32)


def moves(*pairs: tuple[bytes, str, str]) -> tuple[Move, ...]:
    return tuple([Move(source, target, node_id, is_array=False) for node_id, source, target in pairs])


def test_the_lists_of_nodes_are_joined_and_nothing_is_taken_back() -> None:
    older = msgspec.structs.replace(TransactionLog(OLD), **dict.fromkeys(SETS, frozenset([A, B])))
    newer = msgspec.structs.replace(
        TransactionLog(NEW, extra=b"new"), **dict.fromkeys(SETS, frozenset([B, C]))
    )
    merged = merge_logs(older, newer)
    assert (merged.id, merged.extra) == (NEW, b"new")
    for name in SETS:
        assert getattr(merged, name) == {A, B, C}


def test_chunks_of_different_arrays_are_kept_apart() -> None:
    """Chunks of one array never end up in the log as those of another."""
    older = TransactionLog(OLD, updated_chunks={A: coords((0, 1), (2, 0)), B: coords((7,))})
    newer = TransactionLog(NEW, updated_chunks={A: coords((0, 0), (2, 0)), C: coords((9,))})
    merged = merge_logs(older, newer)
    assert {node_id: each.tolist() for node_id, each in merged.updated_chunks.items()} == {
        A: [[0, 0], [0, 1], [2, 0]],
        B: [[7]],
        C: [[9]],
    }


def test_the_chunk_of_an_array_without_dimensions_is_there_once() -> None:
    older = TransactionLog(OLD, updated_chunks={A: np.empty((1, 0), np.uint32)})
    newer = TransactionLog(NEW, updated_chunks={A: np.empty((1, 0), np.uint32)})
    assert merge_logs(older, newer).updated_chunks[A].shape == (1, 0)


def test_an_array_listed_without_chunks_takes_those_of_the_other_log() -> None:
    empty = TransactionLog(OLD, updated_chunks={A: np.empty((0, 0), np.uint32)})
    full = TransactionLog(NEW, updated_chunks={A: coords((3, 4))})
    for merged in (merge_logs(empty, full), merge_logs(full, empty)):
        assert merged.updated_chunks[A].tolist() == [[3, 4]]
    assert merge_logs(empty, empty).updated_chunks[A].shape == (0, 0)


def test_coordinates_of_a_former_number_of_dimensions_are_dropped() -> None:
    older = TransactionLog(OLD, updated_chunks={A: coords((1,), (2,))})
    newer = TransactionLog(NEW, updated_chunks={A: coords((3, 4))})
    merged = merge_logs(older, newer)
    assert merged.updated_chunks[A].tolist() == [[3, 4]]
    read = decode_transaction_log(encode_transaction_log(merged, 2), 2, "log")
    assert read.updated_chunks[A].tolist() == [[3, 4]]


def test_chained_moves_become_one_and_moves_back_none() -> None:
    older = TransactionLog(OLD, moved_nodes=moves((A, "/a", "/z"), (B, "/b", "/x"), (C, "/c", "/a-b")))
    newer = TransactionLog(NEW, moved_nodes=moves((A, "/z", "/y/a"), (B, "/x", "/b")))
    merged = merge_logs(older, newer)
    assert merged.moved_nodes == moves((C, "/c", "/a-b"), (A, "/a", "/y/a"))


def test_moves_are_sorted_by_components_so_that_a_node_is_followed_by_what_is_below_it() -> None:
    older = TransactionLog(OLD, moved_nodes=moves((A, "/p", "/a"), (B, "/p/q", "/a/q")))
    newer = TransactionLog(NEW, moved_nodes=moves((C, "/r", "/a-b")))
    assert [move.to_path for move in merge_logs(older, newer).moved_nodes] == ["/a", "/a/q", "/a-b"]


@given(columns)
def test_the_union_is_that_of_sets(parts: list[NDArray[np.uint32]]) -> None:
    expected = sorted({tuple(row) for part in parts for row in part.tolist()})
    joined = union_coordinates(parts)
    assert joined.dtype == np.uint32
    assert joined.tolist() == [list(row) for row in expected]


@given(columns)
def test_merging_one_after_the_other_comes_to_the_same_as_at_once(parts: list[NDArray[np.uint32]]) -> None:
    logs = [TransactionLog(NEW, updated_chunks={A: part}) for part in parts]
    merged = reduce(merge_logs, logs)
    assert merged.updated_chunks[A].tolist() == union_coordinates(parts).tolist()


def node(
    number: int, path: str, *, chunks: int | None = None, document: bytes = b"{}", manifest: int = 0
) -> Node:
    """A group, or an array of so many chunks."""
    array = None
    if chunks is not None:
        reference = ManifestRef(manifest.to_bytes(12, "big"), ((0, chunks),))
        array = ArrayData((DimensionShape(chunks, chunks),), (None,), (reference,))
    return Node(number.to_bytes(8, "big"), path, document, array)


def snapshot(*nodes: Node) -> Snapshot:
    payload = encode_snapshot(
        id=bytes(12),
        parent_id=None,
        nodes=sorted(nodes, key=lambda each: each.path.encode()),
        flushed_at=1,
        message="",
        metadata={},
        manifest_files=[],
        spec_version=2,
    )
    return decode_snapshot(bytes(payload), 2, "a snapshot")


def test_between_two_lines_of_commits_only_what_differs_is_logged() -> None:
    same, gone = (number.to_bytes(8, "big") for number in (1, 2))
    before = snapshot(
        node(1, "/same", chunks=4, manifest=1),
        node(2, "/gone", chunks=4),
        node(4, "/described", chunks=4, document=b"old"),
        node(5, "/group"),
        node(6, "/left"),
        node(7, "/written", chunks=4, manifest=7),
        node(8, "/here", chunks=4),
    )
    after = snapshot(
        node(1, "/same", chunks=4, manifest=1),
        node(3, "/gone", chunks=4),
        node(4, "/described", chunks=4, document=b"new"),
        node(5, "/group", document=b"new"),
        node(9, "/right"),
        node(7, "/written", chunks=4, manifest=8),
        node(8, "/there", chunks=4),
    )
    written = b"\0" * 7 + b"\7"
    logs = [
        TransactionLog(b"one", updated_chunks={same: np.array([[1]], "u4"), written: np.array([[2]], "u4")}),
        TransactionLog(b"two", updated_chunks={gone: np.array([[0]], "u4"), written: np.array([[0]], "u4")}),
        TransactionLog(b"three", new_groups=frozenset([same]), updated_arrays=frozenset([same, written])),
    ]
    log = log_between(before, after, logs)
    assert log.id == after.id
    ids = {kind: {int.from_bytes(node_id, "big") for node_id in getattr(log, kind)} for kind in SETS}
    assert ids == {
        **{"new_groups": {9}, "new_arrays": {3}, "deleted_groups": {6}, "deleted_arrays": {2}},
        **{"updated_groups": {5}, "updated_arrays": {4}},
    }
    assert {node_id: chunks.tolist() for node_id, chunks in log.updated_chunks.items()} == {
        written: [[0], [2]]
    }
    assert log.moved_nodes == (Move("/here", "/there", b"\0" * 7 + b"\x08", True),)


def test_between_a_snapshot_and_itself_there_is_nothing() -> None:
    one = snapshot(node(1, "/a", chunks=4), node(2, "/g"))
    logs = [TransactionLog(b"one", updated_chunks={(1).to_bytes(8, "big"): np.array([[1]], "u4")})]
    # Logs hold arrays, so they are not compared with `==`.
    assert repr(log_between(one, one, logs)) == repr(TransactionLog(one.id))
