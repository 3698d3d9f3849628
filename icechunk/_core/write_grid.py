"""Which blocks of a computation share a chunk of the array that they are written to.

A chunk is written whole: two blocks that each write a part of one read it, change their part and
write it back, and the second undoes the first. With shards the unit is the shard. A block that
ends where a chunk ends shares it with nobody, so all that matters is where the blocks of one axis
meet, counted from the beginning of the array.
"""

from __future__ import annotations

from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AxisGrid = int | tuple[int, ...]
"""The chunks along one axis: their common length, or the length of each."""


def split_chunk(blocks: Sequence[int], grid: AxisGrid, start: int) -> int | None:
    """Where two blocks meet within a chunk, or None if they never do.

    Parameters
    ----------
    blocks : sequence of int
        The lengths of the blocks along an axis.
    grid : int or tuple of int
        The chunks along that axis.
    start : int
        Where in the array the first block begins.

    Examples
    --------
    >>> split_chunk((4, 4, 2), 2, 0), split_chunk((4, 4, 2), 3, 0), split_chunk((4, 4, 2), 3, 2)
    (None, 4, 10)
    """
    return next((at for at in _meetings(blocks, start) if _chunk_start(at, grid) != at), None)


def whole_chunks(blocks: Sequence[int], grid: AxisGrid, start: int) -> tuple[int, ...]:
    """Lengths of blocks over the same range that share no chunk: each meeting moves back to a chunk's start.

    Examples
    --------
    >>> whole_chunks((4, 4, 2), 3, 0)
    (3, 3, 4)
    """
    end = start + sum(blocks)
    cuts = sorted({max(_chunk_start(at, grid), start) for at in _meetings(blocks, start)} | {start, end})
    return tuple(after - before for before, after in pairwise(cuts)) or (0,)


def chunk_span(indices: range | int, grid: AxisGrid) -> tuple[int, int]:
    """Where the chunks begin that have the first and the last of some indices, which are not none.

    Examples
    --------
    >>> chunk_span(range(4, 9), 3), chunk_span(4, 3)
    ((3, 6), (3, 3))
    """
    first, last = (indices, indices) if isinstance(indices, int) else (indices[0], indices[-1])
    return _chunk_start(first, grid), _chunk_start(last, grid)


def meeting_boxes(boxes: Sequence[Sequence[tuple[int, int]]]) -> tuple[int, int] | None:
    """The numbers of two boxes that have something in common, or None if no two have.

    Parameters
    ----------
    boxes : sequence of sequence of tuple of int
        For each axis the first and the last place that is in the box.

    Examples
    --------
    >>> meeting_boxes([[(0, 1), (0, 9)], [(2, 3), (0, 9)], [(1, 1), (5, 5)]])
    (0, 2)
    >>> meeting_boxes([[], []])
    (0, 1)
    """
    bounds = np.array(boxes, np.int64).reshape(len(boxes), len(boxes[0]) if boxes else 0, 2)
    for number in range(1, len(boxes)):
        before, box = bounds[:number], bounds[number]
        meet = (before[..., 0] <= box[:, 1]) & (box[:, 0] <= before[..., 1])
        found = np.flatnonzero(meet.all(axis=1))
        if len(found):
            return int(found[0]), number
    return None


def _meetings(blocks: Sequence[int], start: int) -> Iterator[int]:
    """Where one block ends and the next begins; blocks without length are none."""
    ends = accumulate((length for length in blocks if length), initial=start)
    return islice(ends, 1, max(sum(map(bool, blocks)), 1))


def _chunk_start(at: int, grid: AxisGrid) -> int:
    """Where the chunk begins that has the element `at`."""
    if isinstance(grid, int):
        return at - at % grid if grid else at
    return max((edge for edge in accumulate(grid, initial=0) if edge <= at), default=0)
