"""Transaction logs joined: of two commits that become one, and of a chain of commits.

Sans I/O and pure. Chunk coordinates stay columns: those of one array are put
together and sorted once, however many logs they come from.

Joining takes nothing back. A node that one log creates and a later one deletes is
in both lists afterwards; what became of it is known from the snapshots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icechunk._format.transaction_log import Move, TransactionLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


def merge_logs(older: TransactionLog, newer: TransactionLog) -> TransactionLog:
    """The log of one commit that does what two commits did, one after the other.

    Parameters
    ----------
    older, newer : TransactionLog
        In the order of the commits.

    Returns
    -------
    TransactionLog
        With the id and the `extra` of `newer`. The lists of node ids are joined, and so are the
        coordinates of each array: sorted, each once. A node that was moved twice goes from where
        it was first to where it was last, and one that came back to where it was was not moved.

    Notes
    -----
    An array whose number of dimensions changed in between keeps the newer coordinates only: those
    of before name none of its chunks.

    Examples
    --------
    >>> first = TransactionLog(b"snapshot one", new_arrays=frozenset([b"array  1"]),
    ...                        updated_chunks={b"array  1": np.array([[0], [2]], "u4")})
    >>> second = TransactionLog(b"snapshot two", updated_chunks={b"array  1": np.array([[1], [2]], "u4")})
    >>> merged = merge_logs(first, second)
    >>> merged.id, merged.new_arrays, merged.updated_chunks[b"array  1"].tolist()
    (b'snapshot two', frozenset({b'array  1'}), [[0], [1], [2]])
    """
    logs = (older, newer)
    return TransactionLog(
        id=newer.id,
        new_groups=older.new_groups | newer.new_groups,
        new_arrays=older.new_arrays | newer.new_arrays,
        deleted_groups=older.deleted_groups | newer.deleted_groups,
        deleted_arrays=older.deleted_arrays | newer.deleted_arrays,
        updated_arrays=older.updated_arrays | newer.updated_arrays,
        updated_groups=older.updated_groups | newer.updated_groups,
        updated_chunks=joined_chunks(logs),
        moved_nodes=composed_moves(logs),
        extra=newer.extra,
    )


def joined_chunks(logs: Iterable[TransactionLog]) -> dict[bytes, NDArray[np.uint32]]:
    """The changed chunks of all `logs`, oldest log first: by node id, sorted, each once."""
    parts: dict[bytes, list[NDArray[np.uint32]]] = {}
    for log in logs:
        for node_id, coordinates in log.updated_chunks.items():
            parts.setdefault(node_id, []).append(coordinates)
    return {node_id: union_coordinates(columns) for node_id, columns in parts.items()}


def union_coordinates(columns: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    """All coordinates of at least one column, sorted, each once: uint32 of shape (n, ndim).

    Columns of another width than the last one with coordinates are left out, and so are empty
    ones: what is empty in a file has no width.
    """
    filled = [coordinates for coordinates in columns if len(coordinates)]
    if not filled:
        return columns[-1]
    ndim = filled[-1].shape[1]
    filled = [coordinates for coordinates in filled if coordinates.shape[1] == ndim]
    if len(filled) == 1:
        return filled[0]
    if not ndim:
        return filled[0][:1]
    joined = np.concatenate(filled)
    joined = joined[np.lexsort(joined.T[::-1])]
    first = np.ones(len(joined), bool)
    first[1:] = (joined[1:] != joined[:-1]).any(axis=1)
    return joined[first]


def composed_moves(logs: Iterable[TransactionLog]) -> tuple[Move, ...]:
    """What the moves of all `logs`, oldest log first, come to: each node from its first path to its last.

    Sorted by the components of the new paths, without nodes that are where they were.
    """
    found: dict[bytes, Move] = {}
    for log in logs:
        for move in log.moved_nodes:
            before = found.get(move.node_id, move)
            found[move.node_id] = Move(before.from_path, move.to_path, move.node_id, move.is_array)
    moved = [move for move in found.values() if move.from_path != move.to_path]
    return tuple(sorted(moved, key=lambda move: move.to_path.split("/")))
