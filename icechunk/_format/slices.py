"""Many slices of one array of bytes at once: telling them apart, gathering and scattering them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from icechunk._format.flatbuffers import Column, Places


def distinct_slices(starts: Column, sizes: Column) -> tuple[Places, Places, Places]:
    """The distinct ones of many slices of a pool.

    Returns
    -------
    starts, sizes : ndarray of int64
        The distinct slices.
    which : ndarray of int64
        For each given slice, the number of the distinct one that it equals.
    """
    starts, sizes = starts.astype(np.int64), sizes.astype(np.int64)
    steps = np.diff(starts)
    if (steps > 0).all() or (steps < 0).all():
        return starts, sizes, np.arange(len(starts), dtype=np.int64)
    # Neighbours often share a slice, such as the location of a file that holds many chunks.
    firsts, counts = _runs(starts, sizes)
    if 2 * len(firsts) < len(starts):
        starts, sizes, which = distinct_slices(starts[firsts], sizes[firsts])
        return starts, sizes, np.repeat(which, counts)
    different, first, which = np.unique(starts, return_index=True, return_inverse=True)
    found = sizes[first]
    if (found[which] != sizes).any():
        # Slices of different sizes with one start: tell them apart by both.
        _, first, which = np.unique(
            which * (int(sizes.max()) + 1) + sizes, return_index=True, return_inverse=True
        )
        different, found = starts[first], sizes[first]
    return different, found, which


def _runs(starts: Places, sizes: Places) -> tuple[Places, Places]:
    """Where runs of equal slices begin, and how long they are."""
    changed = (starts[1:] != starts[:-1]) | (sizes[1:] != sizes[:-1])
    firsts = np.concatenate([np.zeros(min(len(starts), 1), np.int64), np.flatnonzero(changed) + 1])
    return firsts, np.diff(np.append(firsts, len(starts)))


def merged_neighbours(pool: NDArray[np.uint8], starts: Column, sizes: Column) -> Places:
    """The starts of slices, where each of several neighbours of one content starts where the first one does.

    Writers that do not share texts repeat the location of a file for each of its chunks.
    """
    starts, sizes = starts.astype(np.int64), sizes.astype(np.int64)
    firsts, counts = _runs(starts, sizes)
    first_starts = starts[firsts]
    for rows, size in by_size(sizes[firsts]):
        slices: Column = np.ndarray((len(pool) - size + 1,), f"V{size}", pool, strides=(1,))
        own = first_starts[rows]
        content = slices[own].view(np.uint8).reshape(len(rows), size)
        leaders = np.arange(len(rows))
        leaders[1:][(content[1:] == content[:-1]).all(axis=1)] = 0
        first_starts[rows] = own[np.maximum.accumulate(leaders)]
    return np.repeat(first_starts, counts)


def gather_slices(pool: NDArray[np.uint8], starts: Column, sizes: Column) -> NDArray[np.uint8]:
    """Many slices of a pool, one behind the other."""
    sizes = sizes.astype(np.int64)
    ends = np.cumsum(sizes)
    gathered = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    copy_slices(pool, starts.astype(np.int64), sizes, gathered, ends - sizes)
    return gathered


def copy_slices(
    source: NDArray[np.uint8], starts: Places, sizes: Places, target: NDArray[np.uint8], positions: Places
) -> None:
    """Copy many slices, those of one size at once: k distinct sizes need k * k / 2 bytes, so k is small."""
    for rows, size in by_size(sizes):
        view: Column = np.ndarray((len(source) - size + 1,), f"V{size}", source, strides=(1,))
        scatter(target, positions[rows], view[starts[rows]])


def by_size(sizes: Places) -> Iterator[tuple[Places, int]]:
    """The rows of each size but 0, and the size."""
    if not len(sizes):
        return
    if (sizes == sizes[0]).all():
        if sizes[0]:
            yield np.arange(len(sizes)), int(sizes[0])
        return
    order = np.argsort(sizes.astype(np.uint16) if sizes.max() < 65536 else sizes, kind="stable")
    ordered = sizes[order]
    edges = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(order)]
    for low, high in pairwise(edges):
        if high > low and (size := int(ordered[low])):
            yield order[low:high], size


def scatter(data: NDArray[np.uint8], positions: Places, values: Column) -> None:
    """Put values of one dtype at many positions, aligned or not."""
    if len(positions):
        view: Column = np.ndarray((len(data) - values.itemsize + 1,), values.dtype, data, strides=(1,))
        view[positions] = values
