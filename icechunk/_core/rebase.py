"""Conflicts between a session's changes and a commit that landed before them, and what is left after solving.

Pure: everything follows from the change set, the log of the commit, and the snapshots before and after it.
*We* are the session, *they* the commit.

A node keeps its id for as long as it lives, so most conflicts are found by comparing ids. The snapshot after
the commit is looked at only where paths matter: when both sides create or delete nodes.

`rebase_step` takes the changes past one log; their base stays as it was until `onto` puts what remains onto
the snapshot that the last step led to.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from icechunk._core.change_set import ChangeSet, contained, with_manifests_of
from icechunk._core.moves import move_node
from icechunk._core.paths import is_inside, parent_path, paths_above
from icechunk._exceptions import IcechunkError
from icechunk.conflicts import Conflict, ConflictType, VersionSelection, selected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from icechunk._format.snapshot import ArrayData, Node, Snapshot
    from icechunk._format.transaction_log import TransactionLog
    from icechunk.conflicts import ConflictSolver


class Unsolved(Exception):
    """There is a conflict that the solver did not solve; all conflicts of the step are in `conflicts`."""

    def __init__(self, conflicts: list[Conflict]) -> None:
        super().__init__(conflicts)
        self.conflicts = conflicts


def needs_snapshot(changes: ChangeSet, log: TransactionLog) -> bool:
    """Whether `rebase_step` has to be given the snapshot of the log."""
    if log.moved_nodes:
        return False
    they_did = log.new_groups or log.new_arrays or log.deleted_groups or log.deleted_arrays
    if they_did:
        return bool(changes.new_nodes or changes.deleted_nodes or changes.moves)
    # What they update may have been created, by a log before this one, where we delete another node.
    updated = log.updated_arrays | log.updated_groups | log.updated_chunks.keys()
    if changes.deleted_nodes and len(changes.base.paths_of(updated)) < len(updated):
        return True
    # What was created below an array is a conflict, also with those who left the array alone.
    return not changes.moves and any(_invalid_groups(changes, changes.base))


def rebase_step(
    changes: ChangeSet, log: TransactionLog, theirs: Snapshot | None, solver: ConflictSolver
) -> ChangeSet:
    """The changes that remain after a log.

    Parameters
    ----------
    changes : ChangeSet
        Stays as it is.
    log : TransactionLog
    theirs : Snapshot or None
        The snapshot of the log, where `needs_snapshot` says so.
    solver : ConflictSolver

    Raises
    ------
    Unsolved
        There are conflicts, and not all could be solved.
    """
    if log.moved_nodes:
        raise Unsolved([Conflict(ConflictType.MoveOperationCannotBeRebased, "")])
    if changes.moves:
        return changes if theirs is None else _replayed(changes, theirs, solver)
    conflicts = find_conflicts(changes, log, theirs)
    if not conflicts:
        return changes
    changes = changes.copy()
    for conflict, selection in [(conflict, selected(solver, conflict)) for conflict in conflicts]:
        settle = _SETTLERS.get((conflict.conflict_type, selection))
        if settle is None or not settle(changes, conflict, theirs):
            raise Unsolved(conflicts)
    return changes


def find_conflicts(changes: ChangeSet, log: TransactionLog, theirs: Snapshot | None) -> list[Conflict]:
    """All conflicts of changes that move nothing with a log that moves nothing, by their kinds and paths."""
    if theirs is None:
        new_nodes, in_lost_groups = [], []
    else:
        new_nodes = sorted(_taken_paths(changes, theirs))
        in_lost_groups = sorted({*_invalid_groups(changes, theirs), *_grown_groups(changes, log, theirs)})
    arrays = {node.id: node.path for node in changes.updated_nodes.values() if node.array is not None}
    groups = {node.id: node.path for node in changes.updated_nodes.values() if node.array is None}
    tables = [node_id for node_id, table in changes.chunks.items() if table]
    found = [
        (ConflictType.NewNodeConflictsWithExistingNode, new_nodes),
        (ConflictType.NewNodeInInvalidGroup, in_lost_groups),
        (ConflictType.ZarrMetadataDoubleUpdate, _paths(arrays, log.updated_arrays)),
        (ConflictType.ZarrMetadataDoubleUpdate, _paths(groups, log.updated_groups)),
        (ConflictType.ZarrMetadataUpdateOfDeletedArray, _paths(arrays, log.deleted_arrays)),
        (ConflictType.ZarrMetadataUpdateOfDeletedGroup, _paths(groups, log.deleted_groups)),
        (ConflictType.ChunksUpdatedInDeletedArray, _base_paths(changes, log.deleted_arrays, tables)),
        (ConflictType.ChunksUpdatedInUpdatedArray, _base_paths(changes, log.updated_arrays, tables)),
    ]
    conflicts = [Conflict(kind, path) for kind, paths in found for path in paths]
    conflicts += _chunks_in_conflict(changes, log)
    lost_arrays, lost_groups = _deleted_though_updated(changes, log, theirs)
    conflicts += [Conflict(ConflictType.DeleteOfUpdatedArray, path) for path in lost_arrays]
    conflicts += [Conflict(ConflictType.DeleteOfUpdatedGroup, path) for path in lost_groups]
    return conflicts


def onto(changes: ChangeSet, theirs: Snapshot) -> ChangeSet:
    """The same changes on top of another snapshot.

    Raises
    ------
    Unsolved
        The snapshot lacks a node that was changed, or has an array there that the changes do not fit.
    """
    if changes.moves:
        return _replayed(changes, theirs, None)
    paths = {node.id: node.path for node in changes.updated_nodes.values()}
    ids = {node_id for node_id, table in changes.chunks.items() if table} | set(paths)
    ids -= {node.id for node in changes.new_nodes.values()}
    paths |= {node_id: path for path, node_id in _ids_in(changes, ids - set(paths))}
    conflicts: list[Conflict] = []
    other = ChangeSet(theirs)
    other.chunks = changes.chunks.copy()
    for node_id, path in sorted(paths.items(), key=lambda item: item[1]):
        ours, table = changes.updated_nodes.get(node_id), changes.chunks.get(node_id)
        node = theirs.find(path)
        if node is None or node.id != node_id:
            conflicts += _changes_of_lost_node(ours, path, has_chunks=bool(table))
            continue
        merged = node if ours is None else with_manifests_of(ours, node)
        array = merged.array
        if array is not None and not _fits(array, table.ndim if table else None):
            conflicts.append(Conflict(ConflictType.ChunksUpdatedInUpdatedArray, path))
        elif ours is not None and merged != node:
            other.updated_nodes[node_id] = merged
    if conflicts:
        raise Unsolved(conflicts)
    for path, deleted in changes.deleted_nodes.items():
        node = theirs.find(path)
        if node is not None and node.id == deleted.id:
            other.deleted_nodes[path] = node
    for created in changes.new_nodes.values():
        other.add_node(created)
    return other


# Finding


def _paths(ours: dict[bytes, str], theirs: frozenset[bytes]) -> list[str]:
    return sorted(ours[node_id] for node_id in ours.keys() & theirs)


def _ids_in(changes: ChangeSet, node_ids: Iterable[bytes]) -> list[tuple[str, bytes]]:
    """The paths of nodes of the base, with their ids, in the order of the paths."""
    wanted = set(node_ids)
    if not wanted:
        return []
    return sorted((path, node_id) for node_id, path in changes.base.paths_of(wanted).items())


def _base_paths(changes: ChangeSet, theirs: frozenset[bytes], ours: Iterable[bytes]) -> list[str]:
    return [path for path, _ in _ids_in(changes, theirs.intersection(ours))]


def _taken_paths(changes: ChangeSet, theirs: Snapshot) -> Iterator[str]:
    """Paths of our new nodes at which they have a node that we did not delete."""
    for path in changes.new_nodes:
        node = theirs.find(path)
        if node is not None and not _is_deleted(changes, node):
            yield path


def _is_deleted(changes: ChangeSet, node: Node) -> bool:
    deleted = changes.deleted_nodes.get(node.path)
    return deleted is not None and deleted.id == node.id


def _invalid_groups(changes: ChangeSet, theirs: Snapshot) -> Iterator[str]:
    """The closest array above each of our new nodes, and all groups above them that they deleted."""

    def is_array(path: str) -> bool:
        node = theirs.find(path)
        return node is not None and node.array is not None and not _is_deleted(changes, node)

    def is_lost(path: str) -> bool:
        before = changes.base.find(path)
        return before is not None and not _is_deleted(changes, before) and theirs.find(path) is None

    for parent in {parent_path(new) for new in changes.new_nodes}:
        paths = [] if parent is None else [parent, *paths_above(parent)]
        yield from itertools.islice(filter(is_array, paths), 1)
        yield from filter(is_lost, paths)


def _grown_groups(changes: ChangeSet, log: TransactionLog, theirs: Snapshot) -> Iterator[str]:
    """The topmost groups that we delete and in which they created nodes."""
    created = log.new_groups | log.new_arrays
    if not created:
        return
    groups = {path for path, node in changes.deleted_nodes.items() if node.array is None}
    for path in groups:
        if groups.isdisjoint(paths_above(path)) and any(
            node.id in created and not _is_deleted(changes, node)
            for node in theirs.subtree(path)
            if node.path != path
        ):
            yield path


def _chunks_in_conflict(changes: ChangeSet, log: TransactionLog) -> list[Conflict]:
    both = [node_id for node_id in log.updated_chunks if changes.chunks.get(node_id)]
    shared = {node_id: _shared(changes, log, node_id) for node_id in both}
    found = [node_id for node_id, chunks in shared.items() if len(chunks)]
    return [
        Conflict(ConflictType.ChunkDoubleUpdate, path, shared[node_id].tolist())
        for path, node_id in _ids_in(changes, found)
    ]


def _shared(changes: ChangeSet, log: TransactionLog, node_id: bytes) -> NDArray[np.uint32]:
    """The chunks of an array that both sides changed, sorted."""
    theirs, ours = log.updated_chunks[node_id], changes.chunks[node_id].coordinates()
    if not len(theirs) or theirs.shape[1] != ours.shape[1]:
        return ours[:0]
    return ours[contained(ours, theirs)]


def _deleted_though_updated(
    changes: ChangeSet, log: TransactionLog, theirs: Snapshot | None
) -> tuple[list[str], list[str]]:
    """Paths of arrays and groups that we delete, and where they updated what is there now."""
    if not (log.updated_arrays or log.updated_groups or log.updated_chunks):
        return [], []
    arrays, groups = [], []
    for path, deleted in sorted(changes.deleted_nodes.items()):
        node = deleted if theirs is None else theirs.find(path)
        if node is None:
            continue
        if deleted.array is None:
            if node.id in log.updated_groups:
                groups.append(path)
        elif node.id in log.updated_arrays or node.id in log.updated_chunks:
            arrays.append(path)
    return arrays, groups


def _changes_of_lost_node(ours: Node | None, path: str, *, has_chunks: bool) -> Iterator[Conflict]:
    if ours is not None:
        yield Conflict(
            ConflictType.ZarrMetadataUpdateOfDeletedGroup
            if ours.array is None
            else ConflictType.ZarrMetadataUpdateOfDeletedArray,
            path,
        )
    if has_chunks:
        yield Conflict(ConflictType.ChunksUpdatedInDeletedArray, path)


def _fits(array: ArrayData, ndim_of_changes: int | None) -> bool:
    """Whether an array has as many dimensions as its manifests and the changes of its chunks."""
    widths = {len(manifest.extents) for manifest in array.manifests}
    if ndim_of_changes is not None:
        widths.add(ndim_of_changes)
    return widths <= {len(array.shape)}


# Solving: each changes what remains of our side, and says whether it could.


def _nothing(_changes: ChangeSet, _conflict: Conflict, _theirs: Snapshot | None) -> bool:
    return True


def _drop_shared_chunks(changes: ChangeSet, conflict: Conflict, _theirs: Snapshot | None) -> bool:
    node_id = _base_id(changes, conflict.path)
    table = changes.chunks.get(node_id)
    if table is not None:  # it is gone where another conflict took all of them
        chunks = conflict.conflicted_chunks or []
        shared = np.array(chunks, np.uint32).reshape(len(chunks), table.ndim)  # of no width for a scalar
        changes.chunks[node_id] = table.without(shared)
    return True


def _drop_chunks(changes: ChangeSet, conflict: Conflict, _theirs: Snapshot | None) -> bool:
    changes.chunks.pop(_base_id(changes, conflict.path), None)
    return True


def _drop_document(changes: ChangeSet, conflict: Conflict, _theirs: Snapshot | None) -> bool:
    changes.updated_nodes.pop(_base_id(changes, conflict.path), None)
    return True


def _keep_node(changes: ChangeSet, conflict: Conflict, _theirs: Snapshot | None) -> bool:
    kept = [conflict.path, *paths_above(conflict.path)]
    if not changes.new_nodes.keys().isdisjoint(kept):
        return False  # our side has another node in its place
    for path in kept:
        changes.deleted_nodes.pop(path, None)
    return True


def _delete_theirs(changes: ChangeSet, conflict: Conflict, theirs: Snapshot | None) -> bool:
    assert theirs is not None
    for node in theirs.subtree(conflict.path):
        if node.path == conflict.path or node.path not in changes.new_nodes:
            changes.deleted_nodes[node.path] = node
    return True


def _forget_ours(changes: ChangeSet, conflict: Conflict, theirs: Snapshot | None) -> bool:
    assert theirs is not None
    node = theirs.find(conflict.path)
    if node is not None and node.array is None:
        ours = changes.new_nodes.get(conflict.path)
        if ours is not None and ours.array is None:
            changes.forget_node(ours)
            return True
    _forget_from(changes, conflict.path)
    return True


def _forget_from(changes: ChangeSet, path: str) -> None:
    """Forget what we created at a path and below."""
    for node in list(changes.new_nodes.values()):
        if node.path == path or is_inside(node.path, path):
            changes.forget_node(node)


def _delete_grown(changes: ChangeSet, conflict: Conflict, theirs: Snapshot | None) -> bool:
    assert theirs is not None
    if conflict.path not in changes.deleted_nodes:
        return False  # they have no group there, and ours has to go somewhere
    for node in theirs.subtree(conflict.path):
        if node.path not in changes.new_nodes:
            changes.deleted_nodes[node.path] = node
    return True


def _leave_group(changes: ChangeSet, conflict: Conflict, _theirs: Snapshot | None) -> bool:
    path = conflict.path
    _forget_from(changes, path)
    for deleted in list(changes.deleted_nodes):
        if deleted == path or is_inside(deleted, path):
            del changes.deleted_nodes[deleted]
    return True


def _base_id(changes: ChangeSet, path: str) -> bytes:
    node = changes.base.find(path)
    assert node is not None
    return node.id


_OURS, _THEIRS = VersionSelection.UseOurs, VersionSelection.UseTheirs
_SETTLERS: dict[
    tuple[ConflictType, VersionSelection], Callable[[ChangeSet, Conflict, Snapshot | None], bool]
] = {
    (ConflictType.ChunkDoubleUpdate, _OURS): _nothing,
    (ConflictType.ChunkDoubleUpdate, _THEIRS): _drop_shared_chunks,
    (ConflictType.ChunksUpdatedInUpdatedArray, _OURS): _nothing,
    (ConflictType.ChunksUpdatedInUpdatedArray, _THEIRS): _drop_chunks,
    (ConflictType.ChunksUpdatedInDeletedArray, _THEIRS): _drop_chunks,
    (ConflictType.ZarrMetadataDoubleUpdate, _OURS): _nothing,
    (ConflictType.ZarrMetadataDoubleUpdate, _THEIRS): _drop_document,
    (ConflictType.ZarrMetadataUpdateOfDeletedArray, _THEIRS): _drop_document,
    (ConflictType.ZarrMetadataUpdateOfDeletedGroup, _THEIRS): _drop_document,
    (ConflictType.DeleteOfUpdatedArray, _OURS): _nothing,
    (ConflictType.DeleteOfUpdatedArray, _THEIRS): _keep_node,
    (ConflictType.DeleteOfUpdatedGroup, _OURS): _nothing,
    (ConflictType.DeleteOfUpdatedGroup, _THEIRS): _keep_node,
    (ConflictType.NewNodeConflictsWithExistingNode, _OURS): _delete_theirs,
    (ConflictType.NewNodeConflictsWithExistingNode, _THEIRS): _forget_ours,
    (ConflictType.NewNodeInInvalidGroup, _OURS): _delete_grown,
    (ConflictType.NewNodeInInvalidGroup, _THEIRS): _leave_group,
}
"""What can be selected, and how it is done."""


# Moves


def _replayed(changes: ChangeSet, theirs: Snapshot, solver: ConflictSolver | None) -> ChangeSet:
    """The same moves, made anew on top of a snapshot.

    Where a move was not possible there may be a node of theirs in its target: a later move from there
    was not meant for it, and is not possible either.
    """
    other = ChangeSet(theirs)
    conflicts = []
    missed: set[str] = set()
    for source, target in changes.moves:
        meant = missed.isdisjoint([source, *paths_above(source)])
        if meant and _is_moved(other, source, target):
            missed = {target + path[len(source) :] if is_inside(path, source) else path for path in missed}
        else:
            conflicts.append(Conflict(ConflictType.MoveOperationCannotBeRebased, source))
            missed = {path for path in missed if path != source and not is_inside(path, source)} | {target}
    for conflict in conflicts:
        if solver is None or selected(solver, conflict) is not _THEIRS:
            raise Unsolved(conflicts)
    return other


def _is_moved(changes: ChangeSet, source: str, target: str) -> bool:
    """Move a node if that is possible, and say whether it was."""
    try:
        move_node(changes, source, target)
    except IcechunkError:
        return False
    return True
