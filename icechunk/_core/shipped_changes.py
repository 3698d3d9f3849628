"""A change set as bytes, for the pickle of a fork.

Only what was changed is in them: of updated and deleted nodes, what the base snapshot says is left out and
found there again. Not a stable format: both ends run the same release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from icechunk._core.change_set import ChangeSet, ChunkTable
from icechunk._format.chunk_refs import ROW, ChunkRefs
from icechunk._format.compression import LocationDictionary
from icechunk._format.snapshot import Node

if TYPE_CHECKING:
    from icechunk._format.snapshot import Snapshot


class _Table(msgspec.Struct, array_like=True):
    node_id: bytes
    ndim: int
    coords: bytes
    rows: bytes
    pool: bytes
    dictionary: bytes | None
    removed: bytes


class _Shipped(msgspec.Struct, array_like=True):
    new: list[Node]
    updated: list[Node]
    deleted: list[str]
    tables: list[_Table]


def pack_changes(changes: ChangeSet) -> bytes:
    """A change set that moves nothing, as bytes; none for one that changes nothing."""
    if changes.is_empty():
        return b""
    tables = [_packed(node_id, table) for node_id, table in changes.chunks.items() if table]
    updated = [_without_manifests(node) for node in changes.updated_nodes.values()]
    return msgspec.msgpack.encode(
        _Shipped(list(changes.new_nodes.values()), updated, list(changes.deleted_nodes), tables)
    )


def unpack_changes(data: bytes, base: Snapshot) -> ChangeSet:
    """The change set of some bytes, on the snapshot that it was based on."""
    changes = ChangeSet(base)
    if not data:
        return changes
    shipped = msgspec.msgpack.decode(data, type=_Shipped)
    for path in shipped.deleted:
        node = base.find(path)
        assert node is not None
        changes.deleted_nodes[path] = node
    for node in shipped.new:
        changes.add_node(node)
    for node in shipped.updated:
        changes.updated_nodes[node.id] = _with_manifests_of_base(node, base)
    for table in shipped.tables:
        changes.chunks[table.node_id] = _unpacked(table)
    return changes


def _packed(node_id: bytes, table: ChunkTable) -> _Table:
    references, removed = table.changes()
    slim = references.compact() if len(references) else references
    return _Table(
        node_id,
        table.ndim,
        slim.coords.tobytes(),
        slim.rows.tobytes(),
        slim.pool.tobytes(),
        None if slim.dictionary is None else slim.dictionary.content,
        removed.tobytes(),
    )


def _unpacked(table: _Table) -> ChunkTable:
    rows = np.frombuffer(table.rows, ROW)
    coords = np.frombuffer(table.coords, np.uint32).reshape(len(rows), table.ndim)
    dictionary = (
        None if table.dictionary is None else LocationDictionary(table.dictionary, "a pickled session")
    )
    references = ChunkRefs(coords, rows, np.frombuffer(table.pool, np.uint8), dictionary)
    # An array without dimensions has one chunk, whose coordinates take no bytes.
    removed = np.frombuffer(table.removed, np.uint32)
    gone = len(removed) // table.ndim if table.ndim else int(not len(rows))
    return ChunkTable.of(table.ndim, (references, removed.reshape(gone, table.ndim)))


def _without_manifests(node: Node) -> Node:
    if node.array is None:
        return node
    return msgspec.structs.replace(node, array=msgspec.structs.replace(node.array, manifests=()))


def _with_manifests_of_base(node: Node, base: Snapshot) -> Node:
    stored = base.find(node.path)
    if node.array is None or stored is None or stored.array is None:
        return node
    array = msgspec.structs.replace(node.array, manifests=stored.array.manifests)
    return msgspec.structs.replace(node, array=array)
