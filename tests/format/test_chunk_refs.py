"""Columns of chunk references against a plain dict of the same references."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk._exceptions import FormatError
from icechunk._format.chunk_keys import Box, CoordinateIndex, comparable_keys, sorted_order
from icechunk._format.chunk_refs import ChunkRef, ChunkRefs, inline_ref, native, virtual
from icechunk.types import ChunkType

Coordinates = tuple[int, ...]
Items = dict[Coordinates, ChunkRef]

EXAMPLES = settings(max_examples=40, deadline=None)

U64 = st.integers(0, 2**64 - 1)
ETAGS = st.none() | st.text(min_size=1, max_size=5)
REFS: st.SearchStrategy[ChunkRef] = st.one_of(
    st.builds(native, st.binary(min_size=12, max_size=12), U64, U64),
    st.builds(inline_ref, st.binary(max_size=40)),
    st.builds(virtual, st.text(max_size=12), U64, U64, etag=ETAGS),
    st.builds(virtual, st.text(max_size=12), U64, U64, last_modified=st.none() | st.integers(1, 2**32 - 1)),
)


@st.composite
def items(draw: st.DrawFn, ndim: int, max_size: int = 8) -> Items:
    """References at coordinates that are mostly close together and sometimes as far as they can be."""
    axis = st.integers(0, 3) | st.sampled_from([0, 2**16, 2**32 - 1])
    return draw(st.dictionaries(st.tuples(*[axis] * ndim), REFS, max_size=max_size))


NDIMS = st.integers(0, 4)
SETS = NDIMS.flatmap(lambda ndim: st.tuples(st.just(ndim), items(ndim), items(ndim), items(ndim)))


def content(refs: ChunkRefs) -> Items:
    """What columns hold; also checks that they are in order."""
    coords = [tuple(row) for row in refs.coords.tolist()]
    assert coords == sorted(set(coords))
    assert len(refs) == len(refs.rows) == len(refs.coords)
    assert refs.coords.flags.c_contiguous
    return {at: refs.row(row) for row, at in enumerate(coords)}


def compressed(refs: ChunkRefs) -> ChunkRefs:
    return refs.with_compressed_locations(min_num_chunks=1)


def many_virtual(prefix: str, count: int = 60) -> Items:
    return {(n, 0): virtual(f"s3://{prefix}/some/long/prefix/{n // 2}.nc", n, 7) for n in range(count)}


@EXAMPLES
@given(SETS)
def test_items_round_trip(sets: tuple[int, Items, Items, Items]) -> None:
    ndim, given_items, _, _ = sets
    refs = ChunkRefs.from_items(ndim, given_items)
    assert refs.ndim == ndim
    assert content(refs) == given_items
    assert content(pickle.loads(pickle.dumps(refs))) == given_items
    assert content(refs.compact()) == given_items
    for at, ref in given_items.items():
        assert refs.find(at) == ref
    assert refs.locations() == [
        ref.location or "" for _, ref in sorted(given_items.items(), key=lambda i: i[0])
    ]
    ends = [(min(axis), max(axis) + 1) for axis in zip(*given_items, strict=True)] if given_items else []
    assert refs.bounds() == (tuple(ends) if given_items else ((0, 0),) * ndim)


@EXAMPLES
@given(SETS)
def test_merge_is_a_dict_update(sets: tuple[int, Items, Items, Items]) -> None:
    ndim, old, new, gone = sets
    removed = np.array(list(gone), np.uint32).reshape(len(gone), ndim)
    merged = ChunkRefs.merge(ChunkRefs.from_items(ndim, old), ChunkRefs.from_items(ndim, new), removed)
    assert content(merged) == {at: ref for at, ref in old.items() if at not in gone} | new
    only_removed = ChunkRefs.merge(ChunkRefs.from_items(ndim, old), None, removed)
    assert content(only_removed) == {at: ref for at, ref in old.items() if at not in gone}
    only_new = ChunkRefs.merge(ChunkRefs.from_items(ndim, old), ChunkRefs.from_items(ndim, new), None)
    assert content(only_new) == old | new


@EXAMPLES
@given(SETS)
def test_concat_lets_the_last_win(sets: tuple[int, Items, Items, Items]) -> None:
    ndim, *parts = sets
    joined = ChunkRefs.concat([ChunkRefs.from_items(ndim, part) for part in parts])
    assert content(joined) == parts[0] | parts[1] | parts[2]


@EXAMPLES
@given(SETS)
def test_take(sets: tuple[int, Items, Items, Items]) -> None:
    ndim, given_items, _, _ = sets
    refs = ChunkRefs.from_items(ndim, given_items)
    ordered = sorted(given_items.items(), key=lambda item: item[0])
    mask = np.arange(len(refs)) % 2 == 0
    assert content(refs.take(mask)) == dict(ordered[::2])
    assert content(refs.take(np.flatnonzero(mask))) == dict(ordered[::2])
    assert content(refs.take(np.arange(len(refs))[::-1])) == given_items
    assert content(refs.take(slice(1, None, 2))) == dict(ordered[1::2])
    assert content(ChunkRefs.concat([refs.take(~mask), refs.take(mask)])) == given_items


@EXAMPLES
@given(NDIMS.flatmap(lambda ndim: st.tuples(items(ndim), *[st.tuples(*[st.integers(0, 5)] * ndim)] * 2)))
def test_in_box(case: tuple[Items, Coordinates, Coordinates]) -> None:
    given_items, low, high = case
    refs = ChunkRefs.from_items(len(low), given_items)
    inside = {
        at: ref
        for at, ref in given_items.items()
        if all(a <= c < b for a, c, b in zip(low, at, high, strict=True))
    }
    assert content(refs.take(refs.in_box(low, high))) == inside


def test_find_misses() -> None:
    dense = ChunkRefs.from_items(2, {(2, 3): native(b"a" * 12, 1), (2, 4): native(b"b" * 12, 2)})
    sparse = ChunkRefs.from_items(2, {(2, 3): native(b"a" * 12, 1), (9, 9): native(b"b" * 12, 2)})
    huge = ChunkRefs.from_items(3, {(0, 0, 0): native(b"a" * 12, 1), (2**32 - 1,) * 3: native(b"b" * 12, 2)})
    for refs in (dense, sparse):
        for at in [(2, 2), (2, 5), (1, 3), (3, 3), (2, -1), (2,), (2, 3, 0), (), (2**40, 0)]:
            assert refs.find(at) is None
        assert refs.find((2, 3)) == native(b"a" * 12, 1)
    assert huge.find((2**32 - 1,) * 3) == native(b"b" * 12, 2)
    for at in [(0, 0, 1), (5, 5, 5), (2**32 - 1, 2**32 - 1, 0), (2**32, 0, 0), (0, 0)]:
        assert huge.find(at) is None
    assert ChunkRefs.empty(2).find((0, 0)) is None


def test_zero_dimensions() -> None:
    refs = ChunkRefs.from_items(0, {(): inline_ref(b"scalar")})
    assert refs.bounds() == ()
    assert refs.find(()) == inline_ref(b"scalar")
    assert refs.in_box((), ()).tolist() == [True]
    assert content(ChunkRefs.merge(refs, ChunkRefs.from_items(0, {(): native(b"x" * 12, 1)}), None)) == {
        (): native(b"x" * 12, 1)
    }
    assert len(ChunkRefs.merge(refs, None, np.empty((1, 0), np.uint32))) == 0


def test_empty_sets_of_other_dimensions_do_not_matter() -> None:
    refs = ChunkRefs.from_items(2, {(1, 1): inline_ref(b"a")})
    assert content(ChunkRefs.concat([ChunkRefs.empty(0), refs, ChunkRefs.empty(3)])) == content(refs)
    assert ChunkRefs.concat([]).ndim == 0
    assert ChunkRefs.concat([ChunkRefs.empty(3), ChunkRefs.empty(3)]).ndim == 3
    assert ChunkRefs.merge(ChunkRefs.empty(2), refs, None) is refs
    assert repr(refs) == "<ChunkRefs: 1 references, 2 dimensions>"


def test_the_last_of_equal_coordinates_counts() -> None:
    coords = np.array([[1, 1], [0, 0], [1, 1]], np.uint32)
    refs = ChunkRefs.from_locations(coords, ["a", "b", "c"], np.arange(3), [1, 2, 3], [4, 5, 6])
    assert content(refs) == {(0, 0): virtual("b", 2, 5), (1, 1): virtual("c", 3, 6)}


def test_locations_and_etags_are_told_by_number() -> None:
    coords = np.arange(1000, dtype=np.uint32).reshape(-1, 1)
    numbers = np.arange(1000)
    refs = ChunkRefs.from_locations(
        coords,
        [f"s3://b/\N{ICE CUBE}{n}" for n in range(10)],
        numbers % 10,
        numbers,
        8,
        etags=["", "one", "zwei \N{ICE CUBE}"],
        which_etag=numbers % 3,
        last_modified=numbers % 2,
    )
    assert len(refs.pool) < 150
    assert refs.find((15,)) == virtual("s3://b/\N{ICE CUBE}5", 15, 8, last_modified=1)
    assert refs.find((14,)) == virtual("s3://b/\N{ICE CUBE}4", 14, 8, etag="zwei \N{ICE CUBE}")
    texts = refs.locations()
    assert texts[3] is texts[13]
    assert len(ChunkRefs.from_locations(coords[:0], [], numbers[:0], [], [])) == 0


def test_compressed_locations() -> None:
    plain = ChunkRefs.from_items(
        2, many_virtual("one") | {(0, 1): inline_ref(b"x"), (0, 2): native(b"i" * 12, 3)}
    )
    packed = compressed(plain)
    assert packed.dictionary is not None
    assert packed.rows["compressed"].sum() == 60
    assert len(packed.pool) < len(plain.pool)
    assert content(packed) == content(plain)
    assert packed.locations() == plain.locations()
    assert content(packed.with_plain_locations()) == content(plain)
    assert content(pickle.loads(pickle.dumps(packed))) == content(plain)
    assert compressed(packed) is packed
    assert plain.with_plain_locations() is plain
    # The same again, byte for byte.
    assert compressed(plain).pool.tobytes() == packed.pool.tobytes()


def test_what_is_not_compressed() -> None:
    few = ChunkRefs.from_items(2, many_virtual("one"))
    assert few.with_compressed_locations(min_num_chunks=61) is few
    short = ChunkRefs.from_items(1, {(n,): virtual(f"{n}", 0, 1) for n in range(50)})
    assert compressed(short) is short
    assert compressed(ChunkRefs.empty(1)).dictionary is None
    long = "s3://bucket/" + "x" * 1013
    mixed = compressed(ChunkRefs.from_items(2, many_virtual("one") | {(99, 99): virtual(long, 0, 1)}))
    assert mixed.dictionary is not None
    assert not mixed.rows["compressed"][-1]
    assert mixed.find((99, 99)) == virtual(long, 0, 1)


def test_sets_with_two_dictionaries_get_one() -> None:
    first = many_virtual("one")
    second: Items = {(at[0], 1): ref for at, ref in many_virtual("two", 20).items()}
    left, right = (compressed(ChunkRefs.from_items(2, part)) for part in (first, second))
    assert left.dictionary is not None
    for joined in (ChunkRefs.concat([left, right]), ChunkRefs.merge(right, left, None)):
        assert content(joined) == first | second
        assert joined.dictionary is not None
        assert joined.dictionary.content == left.dictionary.content
        assert joined.rows["compressed"].sum() == 60
    assert content(ChunkRefs.concat([left.take(slice(0, 30)), left.take(slice(30, None))])) == first
    alone = ChunkRefs.concat([ChunkRefs.from_items(2, second), left])
    assert content(alone) == first | second


def test_pools_do_not_pile_up() -> None:
    refs = ChunkRefs.from_items(1, {(n,): inline_ref(bytes([n]) * 100) for n in range(200)})
    for n in range(200):
        refs = ChunkRefs.merge(refs, ChunkRefs.from_items(1, {(n,): inline_ref(b"%03d" % n * 30)}), None)
    assert len(refs.pool) <= 2 * 200 * 100
    # Parts of one pool do not copy it.
    assert ChunkRefs.concat([refs.take(slice(0, 150)), refs.take(slice(150, None))]).pool is refs.pool


def test_operations_leave_their_arguments_alone() -> None:
    one, two = (ChunkRefs.from_items(2, many_virtual(name)) for name in "ab")
    before = content(one), content(two)
    ChunkRefs.merge(one, two, one.coords[:3])
    ChunkRefs.concat([one, two])
    compressed(one)
    one.compact()
    assert (content(one), content(two)) == before


def test_location_that_is_not_utf8() -> None:
    refs = ChunkRefs.from_items(1, {(0,): virtual("abc", 0, 1)})
    bad = ChunkRefs(refs.coords, refs.rows, np.frombuffer(b"\xff\xfe\xfd", np.uint8))
    with pytest.raises(FormatError, match="UTF-8"):
        bad.row(0)
    with pytest.raises(FormatError, match="UTF-8"):
        bad.locations()


def test_kinds_are_chunk_types() -> None:
    assert native(b"x" * 12, 1).kind is ChunkType.native
    refs = ChunkRefs.from_items(1, {(0,): inline_ref(b"ab"), (1,): virtual("x", 1, 2)})
    assert [refs.row(n).kind for n in range(2)] == [ChunkType.inline, ChunkType.virtual]
    assert refs.rows["kind"].tolist() == [3, 2]
    assert refs.rows["length"].tolist() == [2, 2]


@EXAMPLES
@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * n), min_size=1)))
def test_keys_sort_as_coordinates_do(coordinates: list[Coordinates]) -> None:
    coords = np.array(coordinates, np.uint32)
    (keys,) = comparable_keys(coords)
    assert [coordinates[row] for row in np.argsort(keys, kind="stable")] == sorted(coordinates)
    assert len(set(keys.tolist())) == len(set(coordinates))
    order = sorted_order(coords)
    ordered = coords if order is None else coords[order]
    assert [tuple(row) for row in ordered.tolist()] == sorted(set(coordinates))
    index = CoordinateIndex(ordered)
    for row, at in enumerate(ordered.tolist()):
        assert index.find(tuple(at)) == row
        shifted = (at[0] ^ 1, *at[1:])
        assert (index.find(shifted) is None) == (shifted not in coordinates)


def test_boxes_up_to_the_last_key() -> None:
    box = Box((0, 0), (2**32, 2**32))
    assert box.has_keys
    assert box.keys(np.array([[2**32 - 1, 2**32 - 1]], np.uint32)).tolist() == [2**64 - 1]
    assert not Box((0, 0, 0), (2**32, 2**32, 2)).has_keys
