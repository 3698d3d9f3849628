"""Chunk coordinates as single numbers that sort and compare as the coordinates do.

Coordinates within a box, taken as digits of mixed base, give a `uint64` key as
long as the box has at most 2**64 cells. Sorting, joining and searching rows of
coordinates is then done on one column. For larger boxes the rank of the
coordinates among all that are to be compared takes the place of the key.
"""

from __future__ import annotations

from bisect import bisect_left
from math import prod
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Coords = NDArray[np.uint32]
    Keys = NDArray[np.uint64]


class Box(msgspec.Struct, frozen=True):
    """The smallest box around some coordinates: its lowest corner and the cells along each axis."""

    low: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def volume(self) -> int:
        """How many cells the box has."""
        return prod(self.shape)

    @property
    def has_keys(self) -> bool:
        """Whether keys of the box fit into 64 bits."""
        return self.volume <= 1 << 64

    def keys(self, coords: Coords) -> Keys:
        """The keys of coordinates (n, ndim) that lie in the box."""
        keys = np.zeros(len(coords), np.uint64)
        for axis, (low, size) in enumerate(zip(self.low, self.shape, strict=True)):
            if axis:
                keys *= np.uint64(size)
            keys += coords[:, axis]
            if low:
                keys -= np.uint64(low)
        return keys


def box_around(*sets: Coords) -> Box:
    """The box around all coordinates of some sets that are not all empty."""
    sets = tuple(coords for coords in sets if len(coords))
    axes = range(sets[0].shape[1])
    low = [min(int(coords[:, axis].min()) for coords in sets) for axis in axes]
    high = [max(int(coords[:, axis].max()) for coords in sets) for axis in axes]
    return Box(tuple(low), tuple(last - first + 1 for first, last in zip(low, high, strict=True)))


def comparable_keys(*sets: Coords) -> list[Keys]:
    """Keys of several sets of coordinates, to be compared within and across these sets only."""
    if not any(map(len, sets)):
        return [np.zeros(0, np.uint64) for _ in sets]
    box = box_around(*sets)
    if box.has_keys:
        return [box.keys(coords) if len(coords) else np.zeros(0, np.uint64) for coords in sets]
    joined = np.concatenate([coords for coords in sets if len(coords)])
    order = np.lexsort(joined.T[::-1])
    ordered = joined[order]
    ranks = np.empty(len(joined), np.uint64)
    ranks[order] = np.cumsum(np.r_[False, (ordered[1:] != ordered[:-1]).any(axis=1)])
    return np.split(ranks, np.cumsum([len(coords) for coords in sets])[:-1])


def sorted_order(coords: Coords) -> NDArray[np.int64] | None:
    """Indices that sort coordinates and keep the last of equal ones; None if there is nothing to do."""
    if len(coords) < 2:
        return None
    (keys,) = comparable_keys(coords)
    if (keys[1:] > keys[:-1]).all():
        return None
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    chosen: NDArray[np.int64] = order[last]
    return chosen


class CoordinateIndex:
    """Finds rows of sorted, distinct coordinates; at least one.

    Parameters
    ----------
    coords : ndarray
        uint32 of shape (n, ndim).

    Examples
    --------
    >>> index = CoordinateIndex(np.array([[0, 3], [2, 0]], np.uint32))
    >>> index.find((2, 0)), index.find((1, 1)), index.find((2,))
    (1, None, None)
    """

    __slots__ = ("_axes", "_coords", "_keys")

    def __init__(self, coords: Coords) -> None:
        box = box_around(coords)
        self._axes = tuple(zip(box.low, box.shape, strict=True))
        # A box without holes needs no keys (the key is the row), one too large has none.
        self._keys = box.keys(coords).data if len(coords) < box.volume and box.has_keys else None
        self._coords = None if box.has_keys else coords

    def find(self, coords: tuple[int, ...]) -> int | None:
        """The row of some coordinates, None if they are not there."""
        axes = self._axes
        if len(coords) != len(axes):
            return None
        key = 0
        for coordinate, (low, size) in zip(coords, axes, strict=False):
            digit = coordinate - low
            if not 0 <= digit < size:
                return None
            key = key * size + digit
        keys = self._keys
        if keys is not None:
            row = bisect_left(keys, key)
            return row if row < len(keys) and keys[row] == key else None
        return key if self._coords is None else self._search(self._coords, coords)

    @staticmethod
    def _search(rows: Coords, coords: tuple[int, ...]) -> int | None:
        row = bisect_left(range(len(rows)), coords, key=lambda at: tuple(rows[at].tolist()))
        return row if row < len(rows) and tuple(rows[row].tolist()) == coords else None


def rows_within(coords: Coords, low: Sequence[int], high: Sequence[int]) -> NDArray[np.bool_]:
    """Which coordinates lie in the box from `low` to `high`, the latter excluded."""
    inside = np.ones(len(coords), bool)
    for axis, (first, end) in enumerate(zip(low, high, strict=True)):
        column = coords[:, axis]
        inside &= (column >= first) & (column < end)
    return inside
