"""Joining transaction logs: of two commits that become one, and of a chain."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.transaction_log import merge_logs, union_coordinates
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
