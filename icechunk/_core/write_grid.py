"""Which blocks of a computation share a chunk of the array that they are written to.

A chunk is written whole: two blocks that each write a part of one read it, change their part and
write it back, and the second undoes the first. With shards the unit is the shard. A block that
ends where a chunk ends shares it with nobody, so all that matters is where the blocks of one axis
meet, counted from the beginning of the array.
"""

from __future__ import annotations

from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING

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


def _meetings(blocks: Sequence[int], start: int) -> Iterator[int]:
    """Where one block ends and the next begins; blocks without length are none."""
    ends = accumulate((length for length in blocks if length), initial=start)
    return islice(ends, 1, max(sum(map(bool, blocks)), 1))


def _chunk_start(at: int, grid: AxisGrid) -> int:
    """Where the chunk begins that has the element `at`."""
    if isinstance(grid, int):
        return at - at % grid if grid else at
    return max((edge for edge in accumulate(grid, initial=0) if edge <= at), default=0)
