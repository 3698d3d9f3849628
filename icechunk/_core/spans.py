"""Reading several ranges of an object in few requests: those close together are fetched as one span."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Ranges = Sequence[tuple[int, int]]

CLOSE = 1 << 20
"""Bytes between two ranges that are cheaper to fetch along than to leave out with a second request."""


def spans_of(ranges: Ranges) -> list[tuple[int, int]]:
    """The spans `(start, end)` that cover all ranges, in ascending order.

    Examples
    --------
    >>> spans_of([(3_000_000, 3_000_010), (0, 5), (100, 200)])
    [(0, 200), (3000000, 3000010)]
    """
    spans: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if spans and start <= spans[-1][1] + CLOSE:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return spans


def pieces_of(
    ranges: Ranges, spans: Sequence[tuple[int, int]], fetched: Sequence[memoryview]
) -> list[memoryview]:
    """Cut the ranges out of the bytes of their spans."""
    starts = [start for start, _ in spans]
    pieces = []
    for start, end in ranges:
        number = bisect_right(starts, start) - 1
        offset = starts[number]
        pieces.append(fetched[number][start - offset : end - offset])
    return pieces
