"""Recordings of several writers against a dict of what the last of them said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.change_set import ChangeSet, ChunkTable
from icechunk._core.joined_tables import join_recordings, recorded_since
from icechunk._core.shipped_changes import pack_changes, unpack_changes
from icechunk._format.chunk_refs import ChunkRef, ChunkRefs, inline_ref, native, virtual

Recorded = dict[tuple[int, ...], ChunkRef | None]
"""References by coordinates, None for one that was removed."""

REFERENCES = [
    None,
    inline_ref(b"a"),
    inline_ref(b"b"),
    inline_ref(b"longer"),
    native(b"0" * 12, 5),
    native(b"1" * 12, 5),
    native(b"1" * 12, 5, 1),
    virtual("s3://bucket/file", 0, 4),
    virtual("s3://bucket/elif", 0, 4),
    virtual("s3://bucket/file", 0, 4, etag="x"),
    virtual("s3://bucket/file", 0, 4, etag="y"),
    virtual("s3://bucket/file", 0, 4, last_modified=7),
]

SOME = st.sampled_from(REFERENCES)


def recordings_of(ndim: int, largest: int = 3) -> st.SearchStrategy[Recorded]:
    return st.dictionaries(st.tuples(*[st.integers(0, largest)] * ndim), SOME, max_size=6)


def columns(ndim: int, recorded: Recorded) -> tuple[ChunkRefs, Any]:
    table = ChunkTable(ndim)
    table.recent = dict(recorded)
    return table.changes()


def as_dict(recording: tuple[ChunkRefs, Any]) -> Recorded:
    references, removed = recording
    found: Recorded = {tuple(at): references.row(row) for row, at in enumerate(references.coords.tolist())}
    assert len(found) == len(references)
    gone: Recorded = {tuple(at): None for at in removed.tolist()}
    assert len(gone) == len(removed)
    assert not found.keys() & gone.keys()
    for each in (references.coords, removed):
        assert each.tolist() == sorted(each.tolist())
    return found | gone


def packed(recording: tuple[ChunkRefs, Any]) -> tuple[ChunkRefs, Any]:
    """The same with its locations packed, as manifests have them."""
    return recording[0].with_compressed_locations(1), recording[1]


@given(
    st.integers(0, 3).flatmap(
        lambda ndim: st.tuples(st.just(ndim), st.lists(recordings_of(ndim), max_size=5))
    )
)
def test_the_last_recording_counts_and_differences_are_found(given: tuple[int, list[Recorded]]) -> None:
    ndim, recorded = given
    recorded = [{}, *recorded]
    joined = join_recordings([columns(ndim, each) for each in recorded])
    expected: Recorded = {}
    differ = set()
    for each in recorded:
        differ |= {at for at, reference in each.items() if at in expected and expected[at] != reference}
        expected |= each
    assert as_dict((joined.references, joined.removed)) == expected
    assert [tuple(at) for at in joined.twice.tolist()] == sorted(differ)


@given(recordings_of(2), recordings_of(2), recordings_of(2))
def test_what_the_others_knew_is_no_difference(known: Recorded, some: Recorded, other: Recorded) -> None:
    joined = join_recordings([columns(2, each) for each in (known, some, other)], known=1)
    assert as_dict((joined.references, joined.removed)) == known | some | other
    twice = sorted(at for at in some.keys() & other.keys() if some[at] != other[at])
    assert [tuple(at) for at in joined.twice.tolist()] == twice


@given(recordings_of(2), recordings_of(2))
def test_what_was_recorded_since(before: Recorded, more: Recorded) -> None:
    now = before | more
    since = as_dict(recorded_since(columns(2, now), columns(2, before)))
    assert since == {at: ref for at, ref in now.items() if at not in before or before[at] != ref}


def test_packed_locations_are_compared_by_what_they_say() -> None:
    many: Recorded = {
        (at, 0): virtual(f"s3://bucket/a-common-prefix/file-{at:06d}.nc", at, 4) for at in range(3000)
    }
    other = dict(many)
    other[5, 0] = virtual("s3://bucket/another", 5, 4)
    plain, changed = columns(2, many), columns(2, other)
    assert packed(plain)[0].rows["compressed"].any()
    for some in (plain, packed(plain)):
        assert len(join_recordings([some, plain]).twice) == 0
        assert join_recordings([some, packed(changed)]).twice.tolist() == [[5, 0]]


def test_coordinates_that_fit_in_no_key() -> None:
    high = 2**32 - 1
    some: Recorded = {(0, 0, 0): inline_ref(b"a"), (high, high, high): inline_ref(b"b")}
    other: Recorded = {(high, high, high): None, (0, 0, high): inline_ref(b"c")}
    joined = join_recordings([columns(3, some), columns(3, other)])
    assert as_dict((joined.references, joined.removed)) == some | other
    assert joined.twice.tolist() == [[high] * 3]


# Shipping


@pytest.mark.parametrize("pack", [False, True], ids=["plain", "packed"])
@given(given=st.integers(0, 3).flatmap(lambda n: st.tuples(st.just(n), recordings_of(n, 2**32 - 1))))
def test_a_shipped_table_arrives_as_it_was(pack: bool, given: tuple[int, Recorded]) -> None:
    ndim, recorded = given
    recording = columns(ndim, recorded)
    arrived = shipped(ChunkTable.of(ndim, packed(recording) if pack else recording))
    assert as_dict(arrived.changes() if arrived else (ChunkRefs.empty(ndim), np.empty((0, ndim)))) == recorded


def test_what_is_shipped_is_small() -> None:
    """Of a pool that mostly belongs to others just what is needed, and of equal values one."""
    many: Recorded = {(at,): virtual(f"s3://bucket/file-{at:06d}.nc", 0, 4) for at in range(20_000)}
    references, removed = columns(1, many)
    part = references.take(slice(100, 120))
    assert len(shipped_bytes(ChunkTable.of(1, (part, removed)))) < 600
    assert len(shipped_bytes(ChunkTable.of(1, (references, removed)))) < 200_000
    assert as_dict(shipped(ChunkTable.of(1, (part, removed))).changes()) == as_dict((part, removed))


def shipped_bytes(table: ChunkTable) -> bytes:
    changes = ChangeSet(None)  # type: ignore[arg-type]  # a base is asked of nodes only
    changes.chunks[b"12345678"] = table
    return pack_changes(changes)


def shipped(table: ChunkTable) -> ChunkTable:
    arrived = unpack_changes(shipped_bytes(table), None)  # type: ignore[arg-type]
    return arrived.chunks.get(b"12345678", ChunkTable(table.ndim))
