"""Rearranging references, against the same on a dict of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.change_set import ChunkTable, contained
from icechunk._core.reindex import Reindex, Shift
from icechunk._exceptions import InvalidInputError
from icechunk._format.chunk_refs import ChunkRef, ChunkRefs, inline_ref, native, virtual

if TYPE_CHECKING:
    from icechunk._core.paths import Coordinates

    Chunks = dict[Coordinates, ChunkRef]
    Map = dict[Coordinates, Coordinates]

grids = st.lists(st.integers(0, 4), min_size=0, max_size=3).map(tuple)


def reference(number: int) -> ChunkRef:
    """One of three kinds, told apart by its number."""
    if number % 3 == 0:
        return inline_ref(b"%d" % number)
    if number % 3 == 1:
        return native(number.to_bytes(12, "big"), number)
    return virtual(f"s3://bucket/{number}", number, 7, etag=f"e{number}")


@st.composite
def grids_with_chunks(draw: st.DrawFn) -> tuple[Coordinates, Chunks]:
    """A grid, and references for some of its chunks."""
    grid = draw(grids)
    places = list(itertools.product(*map(range, grid)))
    chosen = draw(st.lists(st.sampled_from(places), unique=True)) if places else []
    return grid, {at: reference(number) for number, at in enumerate(chosen)}


def content(references: ChunkRefs) -> Chunks:
    return {tuple(at): references.row(row) for row, at in enumerate(references.coords.tolist())}


def after(chunks: Chunks, written: ChunkRefs, cleared: np.ndarray) -> Chunks:
    """References with a rearrangement laid over them, which is checked to be one."""
    gone = list(map(tuple, cleared.tolist()))
    assert set(gone) <= set(chunks)
    assert len(set(gone)) == len(gone)
    assert not set(gone) & set(content(written))
    assert sorted(content(written)) == list(content(written))
    return {at: ref for at, ref in chunks.items() if at not in gone} | content(written)


@given(grids_with_chunks(), st.data())
def test_shift(given: tuple[Coordinates, Chunks], data: st.DataObject) -> None:
    grid, chunks = given
    far = st.integers(-5, 5) | st.integers(-(2**70), 2**70)
    offset = data.draw(st.tuples(*[far] * len(grid)))
    moved = Shift(offset).of("/a", ChunkRefs.from_items(len(grid), chunks), grid)
    expected = {}
    for at, ref in chunks.items():
        place = tuple(index + step for index, step in zip(at, offset, strict=True))
        if all(0 <= index < count for index, count in zip(place, grid, strict=True)):
            expected[place] = ref
    assert after(chunks, *moved) == expected
    if not any(offset):
        assert not len(moved.written)


@given(grids_with_chunks(), st.data())
def test_reindex(given: tuple[Coordinates, Chunks], data: st.DataObject) -> None:
    """Several chunks may go to one place, and some nowhere; `backward` need not be the inverse."""
    grid, chunks = given
    places = list(itertools.product(*map(range, grid)))
    any_map = st.dictionaries(st.sampled_from(places), st.sampled_from(places)) if places else st.just({})
    forward: Map = data.draw(any_map)
    backward: Map | None = data.draw(st.none() | any_map)
    task = Reindex(
        lambda at: forward.get(tuple(at)),
        None if backward is None else lambda at: backward.get(tuple(at)),
    )
    moved = task.of("/a", ChunkRefs.from_items(len(grid), chunks), grid)
    arriving = {forward[at]: chunks[at] for at in sorted(chunks) if at in forward}
    staying = {at: ref for at, ref in chunks.items() if backward is None or backward.get(at) in chunks}
    assert after(chunks, *moved) == staying | arriving
    # What does not move is not written.
    origins = {forward[at]: at for at in sorted(chunks) if at in forward}
    assert set(content(moved.written)) == {place for place, at in origins.items() if place != at}


@given(grids_with_chunks(), grids_with_chunks())
def test_coordinates_among_others(
    given: tuple[Coordinates, Chunks], other: tuple[Coordinates, Chunks]
) -> None:
    ndim = max(len(given[0]), len(other[0]))
    mine, others = ([(*at, *[2**32 - 1] * (ndim - len(at))) for at in chunks] for _, chunks in (given, other))
    left, right = (np.array(each, np.uint32).reshape(len(each), ndim) for each in (mine, others))
    assert contained(left, right).tolist() == [at in others for at in mine]
    # Many at a time are looked up in another way.
    times = 300 // (len(mine) * len(others) or 1) + 1
    assert contained(np.tile(left, (times, 1)), right).tolist() == [at in others for at in mine] * times


def test_nothing_recorded_becomes_nothing_recorded() -> None:
    table = ChunkTable.of(1, None).rearranged(
        ChunkRefs.empty(1), np.empty((0, 1), np.uint32), np.empty(0, bool)
    )
    assert not table


def test_a_table_is_left_as_it_was() -> None:
    """Readers may be looking at it."""
    table = ChunkTable(1)
    table.recent.update({(0,): reference(0), (1,): None, (2,): reference(2)})
    moved = ChunkRefs.from_items(1, {(1,): reference(1)})
    cleared = np.array([[0], [2]], np.uint32)
    other = table.rearranged(moved, cleared, np.array([True, False]))
    assert [table.find((at,)) for at in range(3)] == [reference(0), None, reference(2)]
    assert other.find((1,)) == reference(1)
    written, removed = other.changes()
    assert content(written) == {(1,): reference(1)}
    assert removed.tolist() == [[0]]


def test_offsets_are_one_for_each_dimension() -> None:
    for offset in ((), (1, 2)):
        with pytest.raises(InvalidInputError, match="1 dimensions"):
            Shift(offset).of("/a", ChunkRefs.from_items(1, {(0,): reference(0)}), (3,))
