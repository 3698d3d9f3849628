"""What changed, in terms of paths: the answers to `Session.status` and `Repository.diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from icechunk._core.transaction_log import joined_chunks, union_coordinates
from icechunk._exceptions import ErrorKind, InvalidInputError
from icechunk.snapshots import Diff

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from icechunk._core.change_set import ChangeSet
    from icechunk._core.session_state import SessionState
    from icechunk._format.repo_info import SnapshotEntry
    from icechunk._format.snapshot import Node, Snapshot
    from icechunk._format.transaction_log import TransactionLog


def session_status(state: SessionState) -> Diff:
    """The uncommitted changes of a session."""
    changes, tables = state.read_changes()
    new, deleted = changes.created_nodes(), changes.removed_nodes()
    paths = {node.id: node.path for node in changes.new_nodes.values()}
    wanted = set(tables) - set(paths)
    if wanted:
        paths.update((node.id, node.path) for node in changes.base if node.id in wanted)
    return Diff(
        new_groups=_paths(new, arrays=False),
        new_arrays=_paths(new, arrays=True),
        deleted_groups=_paths(deleted, arrays=False),
        deleted_arrays=_paths(deleted, arrays=True),
        updated_groups=_paths(changes.updated_nodes.values(), arrays=False),
        updated_arrays=_paths(changes.updated_nodes.values(), arrays=True),
        updated_chunks={
            paths[node_id]: coordinates.tolist() for node_id, coordinates in sorted(tables.items())
        },
        moved_nodes=[(old_path, node.path) for node, old_path in changes.moved_paths()],
    )


def changes_in_short(changes: ChangeSet) -> str:
    """How much a session has changed, in one line; empty if nothing.

    Takes no lock, so that it waits for no writer: while others record, the numbers may be of moments a
    little apart.
    """
    done = {
        "created": changes.created_nodes(),
        "updated": list(changes.updated_nodes.values()),
        "deleted": changes.removed_nodes(),
        "moved": list(changes.moved_nodes.values()),
    }
    counts = []
    for verb, nodes in done.items():
        arrays = sum([node.array is not None for node in nodes])
        counts += [("group", verb, len(nodes) - arrays), ("array", verb, arrays)]
    chunks = [table.count() for table in tuple(changes.chunks.values())]
    counts.append(("chunk", "updated", sum(chunks)))
    return ", ".join([_counted(noun, verb, number) for noun, verb, number in counts if number])


def _counted(noun: str, verb: str, number: int) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'} {verb}"


def _paths(nodes: Iterable[Node], *, arrays: bool) -> set[str]:
    return {node.path for node in tuple(nodes) if (node.array is not None) is arrays}


class NeededLog(msgspec.Struct, frozen=True):
    """A transaction log that a diff is made of; that of an expired snapshot may be lost."""

    snapshot_id: bytes
    is_pruned: bool


def logs_of_chain(newest_first: Sequence[SnapshotEntry]) -> list[NeededLog]:
    """The logs of a chain of snapshots, oldest first, with those of snapshots that expired in between."""
    logs: list[NeededLog] = []
    for entry in reversed(newest_first):
        logs += [NeededLog(pruned, True) for pruned in entry.pruned_ancestor_tx_logs]
        logs.append(NeededLog(entry.id, False))
    return logs


def not_on_one_chain(before: str, after: str) -> InvalidInputError:
    """An error for two snapshots of which the first is not an ancestor of the second."""
    return InvalidInputError(
        f"snapshot {before} is not among the ancestors of snapshot {after}: a diff goes from an older "
        "snapshot to a newer one that was built on it",
        ErrorKind.BAD_SNAPSHOT_CHAIN_FOR_DIFF,
    )


def diff_of(logs: Sequence[TransactionLog], before: Snapshot, after: Snapshot) -> Diff:
    """What a chain of commits did, by paths.

    Logs speak of node ids. A node has the path that it has in the end, or if it is gone by then the
    one that it had in the beginning. A node that came and went in between has neither, and is left out.

    Parameters
    ----------
    logs : sequence of TransactionLog
        Oldest first.
    before, after : Snapshot
        At both ends of the chain.
    """
    nodes = {
        kind: frozenset[bytes]().union(*[getattr(log, kind) for log in logs])
        for kind in (
            "new_groups",
            "new_arrays",
            "deleted_groups",
            "deleted_arrays",
            "updated_groups",
            "updated_arrays",
        )
    }
    chunks = joined_chunks(logs)
    paths = _paths_of(frozenset(chunks).union(*nodes.values()), before, after)
    return Diff(
        **{kind: {paths[node_id] for node_id in ids if node_id in paths} for kind, ids in nodes.items()},
        updated_chunks=_chunks_by_path(chunks, paths),
        # The newest commit comes first, as in a history; within it, a node before what is below it.
        moved_nodes=[(move.from_path, move.to_path) for log in reversed(logs) for move in log.moved_nodes],
    )


def _paths_of(node_ids: Collection[bytes], before: Snapshot, after: Snapshot) -> dict[bytes, str]:
    """The paths of nodes, those that are still there first."""
    found = after.paths_of(node_ids)
    missing = [node_id for node_id in node_ids if node_id not in found]
    if missing:
        found |= before.paths_of(missing)
    return found


def _chunks_by_path(
    chunks: dict[bytes, NDArray[np.uint32]], paths: dict[bytes, str]
) -> dict[str, list[list[int]]]:
    by_path: dict[str, list[NDArray[np.uint32]]] = {}
    # An array that was deleted and made anew is two nodes at one path. The later one comes last, and decides
    # about the number of dimensions.
    for node_id, path in reversed(paths.items()):
        if node_id in chunks:
            by_path.setdefault(path, []).append(chunks[node_id])
    return {path: union_coordinates(by_path[path]).tolist() for path in sorted(by_path)}
