"""Blocks that share a chunk are found, and blocks that share none are made of them."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.write_grid import AxisGrid, chunk_span, meeting_boxes, split_chunk, whole_chunks

BLOCKS = st.lists(st.integers(0, 7), min_size=1, max_size=8)


@st.composite
def axes(draw: st.DrawFn) -> tuple[tuple[int, ...], AxisGrid, int]:
    """Blocks along an axis, its chunks, and where the blocks begin."""
    blocks, start = tuple(draw(BLOCKS)), draw(st.integers(0, 9))
    if draw(st.booleans()):
        return blocks, draw(st.integers(1, 9)), start
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    missing = start + sum(blocks) - sum(lengths)
    return blocks, (*lengths, missing) if missing > 0 else tuple(lengths), start


def chunk_of(at: int, grid: AxisGrid) -> int:
    """The number of the chunk that has an element."""
    if isinstance(grid, int):
        return at // grid
    return sum(end <= at for end in accumulate(grid))


def chunks_of_blocks(blocks: tuple[int, ...], grid: AxisGrid, start: int) -> list[set[int]]:
    """The numbers of the chunks that each block writes to, element by element."""
    elements = iter(range(start, start + sum(blocks)))
    return [{chunk_of(next(elements), grid) for _ in range(length)} for length in blocks]


@given(axes())
def test_blocks_that_share_a_chunk_are_found(axis: tuple[tuple[int, ...], AxisGrid, int]) -> None:
    blocks, grid, start = axis
    touched = chunks_of_blocks(blocks, grid, start)
    shared = sum(map(len, touched)) > len(set().union(*touched))
    at = split_chunk(blocks, grid, start)
    assert (at is not None) == shared
    if at is not None:
        assert chunk_of(at - 1, grid) == chunk_of(at, grid)


@given(axes())
def test_whole_chunks_cover_the_same_and_share_none(axis: tuple[tuple[int, ...], AxisGrid, int]) -> None:
    blocks, grid, start = axis
    whole = whole_chunks(blocks, grid, start)
    assert sum(whole) == sum(blocks)
    assert split_chunk(whole, grid, start) is None
    longest_chunk = grid if isinstance(grid, int) else max(grid)
    assert max(whole) <= max(blocks) + longest_chunk - 1


@pytest.mark.parametrize(
    ("blocks", "grid", "start"), [((4, 4, 2), 2, 0), ((1, 3), 3, 2), ((5,), 3, 1), ((), 3, 0)]
)
def test_blocks_that_share_nothing_stay(blocks: tuple[int, ...], grid: int, start: int) -> None:
    assert split_chunk(blocks, grid, start) is None
    assert whole_chunks(blocks, grid, start) == (blocks or (0,))


@given(st.lists(st.tuples(axes(), axes()), max_size=6))
def test_boxes_that_meet_are_found(boxes: list[Any]) -> None:
    """Of the chunks of one grid, given by the elements that are written to along two axes."""
    grids: list[AxisGrid] = [4, (3, 1, 5, 90)]
    ranges = [[range(start, start + sum(blocks) + 1) for blocks, _, start in box] for box in boxes]
    touched = [
        {
            (x, y)
            for x in {chunk_of(at, grids[0]) for at in one}
            for y in {chunk_of(at, grids[1]) for at in two}
        }
        for one, two in ranges
    ]
    meeting = meeting_boxes([list(map(chunk_span, each, grids)) for each in ranges])
    if meeting is None:
        assert sum(map(len, touched)) == len(set().union(*touched))
    else:
        one, other = meeting
        assert one < other
        assert touched[one] & touched[other]
