"""What a commit writes, computed from the base snapshot and the change set.

Sans I/O and pure: which arrays need new manifests, the nodes and the manifest
list of the new snapshot, and its transaction log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._core.change_set import with_manifests
from icechunk._core.ids import id_text
from icechunk._core.transaction_log import merge_logs, node_ids
from icechunk._exceptions import ErrorKind, InternalError
from icechunk._format.metadata import plain_properties
from icechunk._format.transaction_log import Move, TransactionLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from icechunk._core.change_set import ChangeSet
    from icechunk._format.snapshot import ManifestFile, ManifestRef, Node, Snapshot


RESERVED = "__icechunk"
"""The property of a snapshot that holds what the library says about it."""


def touched_arrays(snapshot: Snapshot, changes: ChangeSet) -> list[Node]:
    """The arrays whose manifests may differ from the base's, as the session sees them.

    Those are the arrays with changed chunks, and the stored arrays whose grid
    changed: a smaller grid drops references.
    """
    found: dict[bytes, Node] = {}
    for node in changes.new_nodes.values():
        if node.array is not None and changes.chunks.get(node.id):
            found[node.id] = node
    for node in changes.updated_nodes.values():
        before = snapshot.find(node.path)
        if node.array is None or before is None or before.array is None:
            continue
        if changes.chunks.get(node.id) or node.array.shape != before.array.shape:
            found[node.id] = node
    remaining = {node_id for node_id, table in changes.chunks.items() if table} - set(found)
    if remaining:
        for node in snapshot:
            if node.id in remaining and node.path not in changes.deleted_nodes:
                found[node.id] = node
    return sorted(found.values(), key=lambda node: node.path)


def nodes_after(
    snapshot: Snapshot, changes: ChangeSet, manifests: Mapping[bytes, tuple[ManifestRef, ...]]
) -> list[Node]:
    """All nodes of the new snapshot, in the order of the UTF-8 bytes of their paths.

    `manifests` gives the new manifests of the touched arrays by node id.
    """
    nodes = [
        changes.updated_nodes.get(node.id, node)
        for node in snapshot
        if node.path not in changes.deleted_nodes
    ]
    nodes += changes.new_nodes.values()
    for position, node in enumerate(nodes):
        if node.id in manifests:
            nodes[position] = with_manifests(node, manifests[node.id])
    nodes.sort(key=lambda node: node.path.encode())
    return nodes


def manifest_files_after(
    nodes: Iterable[Node], before: Iterable[ManifestFile], written: Iterable[ManifestFile]
) -> list[ManifestFile]:
    """The manifests that the nodes refer to, sorted by id.

    Raises
    ------
    InternalError
        Kind `inconsistent-manifests`: a node refers to a manifest that nobody knows.
    """
    known = {file.id: file for file in before}
    known.update((file.id, file) for file in written)
    referenced = {
        manifest.object_id for node in nodes if node.array is not None for manifest in node.array.manifests
    }
    lost = referenced - known.keys()
    if lost:
        names = ", ".join(map(id_text, sorted(lost)))
        raise InternalError(
            f"arrays refer to manifests that the snapshot does not list: {names}",
            ErrorKind.INCONSISTENT_MANIFESTS,
        )
    return [known[manifest_id] for manifest_id in sorted(referenced)]


def transaction_log(snapshot_id: bytes, changes: ChangeSet) -> TransactionLog:
    """The log of a change set."""
    new, deleted = changes.created_nodes(), changes.removed_nodes()
    updated = list(changes.updated_nodes.values())
    return TransactionLog(
        id=snapshot_id,
        new_groups=node_ids(new, arrays=False),
        new_arrays=node_ids(new, arrays=True),
        deleted_groups=node_ids(deleted, arrays=False),
        deleted_arrays=node_ids(deleted, arrays=True),
        updated_arrays=node_ids(updated, arrays=True),
        updated_groups=node_ids(updated, arrays=False),
        updated_chunks=dict(changes.changed_chunks()),
        moved_nodes=tuple(
            Move(old_path, node.path, node.id, node.array is not None)
            for node, old_path in changes.moved_paths()
        ),
    )


def amended_log(previous: TransactionLog, snapshot_id: bytes, changes: ChangeSet) -> TransactionLog:
    """The log of a commit that takes the place of another one, with what that did."""
    return merge_logs(previous, transaction_log(snapshot_id, changes))


def commit_properties(
    defaults: Mapping[str, object], given: Mapping[str, object] | None
) -> dict[str, object]:
    """The metadata of a commit: what the repository adds to every commit, overlaid with the call's.

    It is a copy, and refused at once where it cannot be stored.

    Raises
    ------
    TypeError, InvalidInputError
        As in `encode_properties`.
    """
    return {**defaults, **({} if given is None else plain_properties(given))}


def with_rebase_attempts(properties: Mapping[str, object], attempts: int) -> dict[str, object]:
    """The metadata of a commit with the number of rebases that it took, in the reserved namespace."""
    reserved = properties.get(RESERVED)
    others = reserved if isinstance(reserved, dict) else {}
    return {**properties, RESERVED: {**others, "rebase_attempts": attempts}}
