"""Transaction logs joined: of two commits that become one, of a chain of commits, and of two lines of them.

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

    from icechunk._format.snapshot import Node, Snapshot


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


def log_between(before: Snapshot, after: Snapshot, logs: Iterable[TransactionLog]) -> TransactionLog:
    """The log of a commit that would lead from one snapshot to another that was not built on it.

    What became of the nodes is seen in the snapshots, so what was done on one side and undone on
    the other is not in it.

    Parameters
    ----------
    before, after : Snapshot
    logs : iterable of TransactionLog
        Of all commits that only one of the two has among itself and its ancestors: the chunks that
        they changed are not the same on both sides. Those of an array with the same manifests are.
    """
    old, new = ({node.id: node for node in snapshot} for snapshot in (before, after))
    kept = [(old[node_id], node) for node_id, node in new.items() if node_id in old]
    updated = [now for was, now in kept if was.user_data != now.user_data]
    written = {
        now.id for was, now in kept if was.array and now.array and was.array.manifests != now.array.manifests
    }
    created = [node for node_id, node in new.items() if node_id not in old]
    deleted = [node for node_id, node in old.items() if node_id not in new]
    return TransactionLog(
        id=after.id,
        new_groups=node_ids(created, arrays=False),
        new_arrays=node_ids(created, arrays=True),
        deleted_groups=node_ids(deleted, arrays=False),
        deleted_arrays=node_ids(deleted, arrays=True),
        updated_groups=node_ids(updated, arrays=False),
        updated_arrays=node_ids(updated, arrays=True),
        updated_chunks={
            node_id: coordinates for node_id, coordinates in joined_chunks(logs).items() if node_id in written
        },
        moved_nodes=tuple(
            Move(was.path, now.path, now.id, now.array is not None)
            for was, now in kept
            if was.path != now.path
        ),
    )


def node_ids(nodes: Iterable[Node], *, arrays: bool) -> frozenset[bytes]:
    """The ids of those nodes that are arrays, or of those that are groups."""
    return frozenset(node.id for node in nodes if (node.array is not None) is arrays)


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
