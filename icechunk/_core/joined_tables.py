"""What several writers recorded for the chunks of one array, joined in one pass.

A recording is what `ChunkTable.changes` gives: references, and coordinates that lost theirs. Recordings
are joined in the order given, so that of several for one chunk the last one counts. All are sorted at
once: what a join costs depends on the number of references, and hardly on that of the writers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from icechunk._core.change_set import contained
from icechunk._format.chunk_keys import comparable_keys
from icechunk._format.chunk_refs import ROW, ChunkRefs, one_pool
from icechunk._format.slices import gather_slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Recording = tuple[ChunkRefs, NDArray[np.uint32]]

_WHOLE_ROW = np.dtype(f"V{ROW.itemsize}")

_GONE = 0
"""The kind of a row that stands for a removal: no reference has it."""

_OF_FIXED_SIZE = ("kind", "offset", "length", "last_modified", "data_size", "etag_size", "compressed")


class Joined(NamedTuple):
    """The join of some recordings, and the chunks that two of them record differently.

    `twice` is uint32 of shape (n, ndim), sorted, each once.
    """

    references: ChunkRefs
    removed: NDArray[np.uint32]
    twice: NDArray[np.uint32]


def join_recordings(recordings: Sequence[Recording], *, known: int = 0) -> Joined:
    """Lay recordings over each other.

    Parameters
    ----------
    recordings : sequence of tuple of ChunkRefs and ndarray
        At least one; in each no chunk occurs twice.
    known : int, default 0
        How many recordings at the beginning the others knew of, so that to record one of their
        chunks again was meant.
    """
    known_events = sum(len(references) + len(removed) for references, removed in recordings[:known])
    return _join(
        [each for each in recordings if len(each[0]) or len(each[1])] or recordings[:1], known_events
    )


def _join(recordings: Sequence[Recording], known_events: int) -> Joined:
    if len(recordings) == 1:
        references, removed = recordings[0]
        return Joined(references, removed, removed[:0])
    rows, pool, dictionary = one_pool([references for references, _ in recordings])
    coords = np.concatenate(
        [coords for references, removed in recordings for coords in (references.coords, removed)]
    )
    has_removals = any(len(removed) for _, removed in recordings)
    if has_removals:
        rows = [
            each
            for own, (_, removed) in zip(rows, recordings, strict=True)
            for each in (own, np.zeros(len(removed), ROW))
        ]
    # As plain bytes: NumPy copies records field by field.
    row = np.concatenate([each.view(_WHOLE_ROW) for each in rows])
    del rows
    (keys,) = comparable_keys(coords)
    twice = coords[:0]
    if not (keys[1:] > keys[:-1]).all():
        order = np.argsort(keys, kind="stable")
        again = keys[order[1:]] == keys[order[:-1]]
        if again.any():
            earlier, later = order[:-1][again], order[1:][again]
            earlier, later = earlier[earlier >= known_events], later[earlier >= known_events]
            if len(earlier) and dictionary is not None:
                # Packed locations may differ in bytes and still say the same.
                plain = [(references.with_plain_locations(), removed) for references, removed in recordings]
                return _join(plain, known_events)
            differ = _rows_differ(row[earlier].view(ROW), row[later].view(ROW), pool)
            if differ.any():
                twice = np.unique(coords[later[differ]], axis=0)
            order = order[np.append(~again, True)]
        coords, row = coords[order], row[order]
    if not has_removals:
        return Joined(ChunkRefs(coords, row.view(ROW), pool, dictionary), recordings[0][1][:0], twice)
    is_gone = row.view(ROW)["kind"] == _GONE
    kept = ChunkRefs(coords[~is_gone], row[~is_gone].view(ROW), pool, dictionary)
    return Joined(kept, coords[is_gone], twice)


def recorded_since(now: Recording, before: Recording) -> Recording:
    """What of a recording is new, or different from what it was before."""
    twice = join_recordings([before, now]).twice
    fresh = [
        ~contained(coords, np.concatenate([before[0].coords, before[1]])) | contained(coords, twice)
        for coords in (now[0].coords, now[1])
    ]
    return now[0].take(fresh[0]), now[1][fresh[1]]


def _rows_differ(
    some: NDArray[np.void], others: NDArray[np.void], pool: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Which of two references, row by row over one pool, are not the same."""
    differ = np.zeros(len(some), bool)
    for name in _OF_FIXED_SIZE:
        differ |= some[name] != others[name]
    ids = [np.ascontiguousarray(rows["chunk_id"]).view(np.uint8).reshape(-1, 12) for rows in (some, others)]
    differ |= (ids[0] != ids[1]).any(axis=1)
    for name in ("data", "etag"):
        start, size = f"{name}_start", f"{name}_size"
        asked = np.flatnonzero(~differ & (some[size] > 0) & (some[start] != others[start]))
        if not len(asked):
            continue
        sizes = some[size][asked].astype(np.int64)
        contents = [gather_slices(pool, rows[start][asked], sizes) for rows in (some, others)]
        ends = np.cumsum(sizes)
        differ[asked] = np.logical_or.reduceat(contents[0] != contents[1], ends - sizes)
    return differ
