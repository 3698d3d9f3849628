"""A change set as bytes, for the pickle of a fork.

Only what was changed is in them: of updated and deleted nodes, what the base snapshot says is left out and
found there again. Not a stable format: both ends run the same release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from icechunk._core.change_set import ChangeSet, ChunkTable, with_manifests, with_manifests_of
from icechunk._format.chunk_refs import ROW, ChunkRefs
from icechunk._format.compression import LocationDictionary, compress, decompress
from icechunk._format.snapshot import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from icechunk._format.snapshot import Snapshot


_FIELDS = ROW.names or ()

_START = "data_start"
"""The field that follows from the sizes, where the rows use the pool in their order."""

_LEVEL = 1
_ANY_SIZE = 2**62


class _Table(msgspec.Struct, array_like=True):
    """The recording of one array; `columns` are packed, `coords`, the fields of `ROW` and `pool` in turn."""

    node_id: bytes
    ndim: int
    count: int
    columns: bytes
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
    updated = [with_manifests(node, ()) for node in changes.updated_nodes.values()]
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
        changes.updated_nodes[node.id] = with_manifests_of(node, base.find(node.path))
    for table in shipped.tables:
        changes.chunks[table.node_id] = _unpacked(table)
    return changes


def _packed(node_id: bytes, table: ChunkTable) -> _Table:
    references, removed = table.changes()
    is_tight = _is_tight(references)
    if not is_tight:
        references = references.compact()
        is_tight = _is_tight(references)
    columns = [np.ascontiguousarray(references.coords.T).tobytes()]
    columns += [b"" if name == _START and is_tight else _column(references.rows[name]) for name in _FIELDS]
    columns.append(references.pool.tobytes())
    dictionary = references.dictionary
    return _Table(
        node_id,
        table.ndim,
        len(references),
        compress(msgspec.msgpack.encode(columns), _LEVEL),
        None if dictionary is None else dictionary.content,
        removed.tobytes(),
    )


def _is_tight(references: ChunkRefs) -> bool:
    """Whether the rows use their pool one after the other and to the last byte."""
    rows = references.rows
    if rows["etag_size"].any():
        return False
    ends = np.cumsum(rows["data_size"], dtype=np.uint64)
    used = int(ends[-1]) if len(ends) else 0
    return used == len(references.pool) and bool((rows[_START] == ends - rows["data_size"]).all())


def _column(values: NDArray[Any]) -> bytes:
    """The bytes of a column, or of its first value if all are the same."""
    # The last one tells most columns that differ before all are compared.
    is_constant = len(values) > 0 and values[0] == values[-1] and bool((values == values[0]).all())
    return (values[:1] if is_constant else values).tobytes()


def _unpacked(table: _Table) -> ChunkTable:
    data = decompress(table.columns, "a pickled session", _ANY_SIZE)
    coords, *columns, pool = msgspec.msgpack.decode(data, type=list[bytes])
    rows = np.zeros(table.count, ROW)
    for name, column in zip(_FIELDS, columns, strict=True):
        if column:
            rows[name] = np.frombuffer(column, ROW[name])
    if not columns[_FIELDS.index(_START)]:
        sizes = rows["data_size"].astype(np.uint64)
        rows[_START] = np.cumsum(sizes) - sizes
    by_axis = np.frombuffer(coords, np.uint32).reshape(table.ndim, table.count)
    dictionary = (
        None if table.dictionary is None else LocationDictionary(table.dictionary, "a pickled session")
    )
    references = ChunkRefs(np.ascontiguousarray(by_axis.T), rows, np.frombuffer(pool, np.uint8), dictionary)
    # An array without dimensions has one chunk, whose coordinates take no bytes.
    gone = np.frombuffer(table.removed, np.uint32)
    count = len(gone) // table.ndim if table.ndim else 1 - table.count
    return ChunkTable.of(table.ndim, (references, gone.reshape(count, table.ndim)))
