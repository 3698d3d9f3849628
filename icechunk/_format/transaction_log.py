"""Transaction logs: what one commit changed, by node ids and chunk coordinates.

The tables, fields by slot (`?` may be absent)::

    TransactionLog      0 id 12 bytes, 1 new_groups [8 bytes], 2 new_arrays [8 bytes],
                        3 deleted_groups [8 bytes], 4 deleted_arrays [8 bytes],
                        5 updated_arrays [8 bytes], 6 updated_groups [8 bytes],
                        7 updated_chunks [ArrayUpdatedChunks],
                        8 moved_nodes? [MoveOperation], 9 extra? [u8]
    ArrayUpdatedChunks  0 node_id 8 bytes, 1 chunks [ChunkIndices]
    ChunkIndices        0 coords [u32]
    MoveOperation       0 from string, 1 to string, 2 node_id 8 bytes, 3 node_type u8: 0 group, 1 array

Ids are sorted by their bytes, arrays by their ids, the chunks of an array
lexicographically, and moves by the components of `to`, so that a moved node is
followed by what is below it. Moves came with spec 2; spec 1 has an empty vector at most.

Coordinates are read and written by columns: millions of them are common. Releases
before 2 wrote them in any order, so they are put in order where they are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.flatbuffers import Builder, Reader, Table, Tables
from icechunk._format.snapshot_nodes import join_ids, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from icechunk._format.flatbuffers import Data

_GROUP = 0
_ARRAY = 1


class Move(msgspec.Struct, frozen=True):
    """A node that went from one path to another in a commit."""

    from_path: str
    to_path: str
    node_id: bytes
    is_array: bool


class TransactionLog(msgspec.Struct, frozen=True, eq=False):
    """What one commit changed.

    Parameters
    ----------
    id : bytes
        Of the snapshot that the commit made.
    new_groups, new_arrays, deleted_groups, deleted_arrays : frozenset of bytes
        Node ids.
    updated_arrays, updated_groups : frozenset of bytes
        Ids of the nodes whose metadata changed.
    updated_chunks : dict of bytes to ndarray
        For each array with written or deleted chunks, their coordinates: ``uint32 (n, ndim)``,
        sorted lexicographically. Logs may hold arrays without coordinates, whose ndim is unknown
        then and read as 0.
    moved_nodes : tuple of Move
        Sorted by the components of their new paths.
    extra : bytes or None
        Opaque, for later versions of the format.
    """

    id: bytes
    new_groups: frozenset[bytes] = frozenset()
    new_arrays: frozenset[bytes] = frozenset()
    deleted_groups: frozenset[bytes] = frozenset()
    deleted_arrays: frozenset[bytes] = frozenset()
    updated_arrays: frozenset[bytes] = frozenset()
    updated_groups: frozenset[bytes] = frozenset()
    updated_chunks: dict[bytes, NDArray[np.uint32]] = msgspec.field(default_factory=dict)
    moved_nodes: tuple[Move, ...] = ()
    extra: bytes | None = None


def decode_transaction_log(payload: Data, spec_version: int, name: str) -> TransactionLog:
    """Read a transaction log.

    Parameters
    ----------
    payload : bytes-like
        The file without its envelope.
    spec_version : int
        From the header of the file.
    name : str
        Key of the object, for errors.

    Raises
    ------
    FormatError
        Kind `invalid-file-format`: the file is damaged, or of spec 1 and has moves.

    Examples
    --------
    >>> log = TransactionLog(b"a snapshot..", new_arrays=frozenset([b"8 bytes."]),
    ...                      updated_chunks={b"8 bytes.": np.array([[0, 1], [2, 0]], "u4")})
    >>> payload = encode_transaction_log(log, 2)
    >>> log = decode_transaction_log(payload, 2, "transactions/1CECHNKREP0F1RSTCMT0")
    >>> log.new_arrays, log.updated_chunks[b"8 bytes."].tolist(), log.moved_nodes
    (frozenset({b'8 bytes.'}), [[0, 1], [2, 0]], ())
    """
    root = Reader(payload, name).root()
    moves = _read_moves(root)
    if moves and spec_version == 1:
        raise root.reader.error("it is of spec version 1, which has no moves, but has some")
    return TransactionLog(
        id=root.require(root.struct(0, 12), "id of the snapshot"),
        new_groups=_read_ids(root, 1),
        new_arrays=_read_ids(root, 2),
        deleted_groups=_read_ids(root, 3),
        deleted_arrays=_read_ids(root, 4),
        updated_arrays=_read_ids(root, 5),
        updated_groups=_read_ids(root, 6),
        updated_chunks=_read_chunks(root),
        moved_nodes=moves,
        extra=root.bytes(9),
    )


def _read_ids(root: Table, slot: int) -> frozenset[bytes]:
    return frozenset(root.require(root.array(slot, "V8"), f"vector of ids in slot {slot}").tolist())


def _read_chunks(root: Table) -> dict[bytes, NDArray[np.uint32]]:
    reader = root.reader
    if root.require(root.span(7, 4), "updated chunks")[1] == 1:
        few = _read_few_chunks(root)
        if few is not None:
            return few
    arrays = root.require(root.tables(7), "updated chunks")
    if not arrays:
        return {}
    ids, present = arrays.structs(0, 8)
    positions, bounds = arrays.elements(1)
    starts, counts = Tables(reader, positions).spans(0, 4)
    if not (present.all() and arrays.fields(1).all() and starts.all()):
        raise reader.error("an array or chunk lacks a field")
    # Honest coordinates do not share bytes.
    if 4 * counts.sum() > reader.size:
        raise reader.error("its coordinates overlap")
    chunks: dict[bytes, NDArray[np.uint32]] = {}
    for node_id, low, high in zip(ids.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if node_id in chunks:
            raise reader.error(f"the array {node_id.hex()} is there twice")
        ndim = int(counts[low]) if high > low else 0
        if (counts[low:high] != ndim).any():
            raise reader.error(f"chunks of the array {node_id.hex()} differ in their number of dimensions")
        coords = np.empty((high - low, ndim), np.uint32)
        if coords.size:
            coords[:] = reader.gather(starts[low:high], f"V{4 * ndim}").view("<u4").reshape(-1, ndim)
        chunks[node_id] = coords if _is_sorted(coords) else coords[np.lexsort(coords.T[::-1])]
    return chunks


def _read_few_chunks(root: Table) -> dict[bytes, NDArray[np.uint32]] | None:
    """The only array of a log with its only chunk; None if it has more. Columns would take longer."""
    reader = root.reader
    span = root.span(7, 4)
    assert span is not None
    array = Table(reader, reader.follow(span[0]))
    node_id = array.struct(0, 8)
    chunks = array.span(1, 4)
    if node_id is None or chunks is None or chunks[1] != 1:
        return None
    coords = Table(reader, reader.follow(chunks[0])).array(0, "<u4")
    return None if coords is None else {node_id: coords.reshape(1, -1).copy()}


def _is_sorted(coords: NDArray[np.uint32]) -> bool:
    tied = np.ones(max(len(coords) - 1, 0), bool)
    for column in coords.T:
        if (tied & (column[:-1] > column[1:])).any():
            return False
        tied &= column[:-1] == column[1:]
    return True


def _read_moves(root: Table) -> tuple[Move, ...]:
    tables = root.tables(8)
    if not tables:
        return ()
    ids, present = tables.structs(2, 8)
    types = tables.numbers(3, "u1")
    if (types > _ARRAY).any():
        raise root.reader.error("a move is of neither an array nor a group")
    columns = (tables.texts(0), tables.texts(1), ids.tolist(), present.tolist(), types.tolist())
    moves = []
    for source, target, node_id, has_id, node_type in zip(*columns, strict=True):
        if source is None or target is None or not has_id:
            raise root.reader.error("a move lacks a field")
        moves.append(Move(source, target, node_id, node_type == _ARRAY))
    return tuple(moves)


def encode_transaction_log(log: TransactionLog, spec_version: int) -> Data:
    """Write a transaction log.

    Parameters
    ----------
    log : TransactionLog
        The coordinates of each array must be sorted and unique; all else is sorted here.
    spec_version : int

    Returns
    -------
    bytes-like
        The file without its envelope.

    Raises
    ------
    FormatError
        Kind `unsupported-operation-for-version`: moves in spec 1. Kind `serialization`: the log would
        take more than 2 GiB.
    """
    if log.moved_nodes and spec_version == 1:
        raise FormatError(
            "spec version 1 cannot record moved nodes: upgrade the repository first",
            ErrorKind.UNSUPPORTED_OPERATION_FOR_VERSION,
        )
    columns = log.updated_chunks.values()
    builder = Builder(4096 + sum(16 * len(coords) + coords.nbytes for coords in columns))
    return builder.finish(
        builder.table(
            {
                0: log.id,
                1: _write_ids(builder, log.new_groups),
                2: _write_ids(builder, log.new_arrays),
                3: _write_ids(builder, log.deleted_groups),
                4: _write_ids(builder, log.deleted_arrays),
                5: _write_ids(builder, log.updated_arrays),
                6: _write_ids(builder, log.updated_groups),
                7: _write_chunks(builder, log.updated_chunks),
                8: _write_moves(builder, log.moved_nodes),
                9: None if log.extra is None else builder.bytes(log.extra),
            }
        )
    )


def _write_ids(builder: Builder, ids: Iterable[bytes]) -> int:
    return builder.bytes(b"".join(sorted(ids)), 8)


def _write_chunks(builder: Builder, updated_chunks: Mapping[bytes, NDArray[np.uint32]]) -> int:
    arrays = []
    for node_id, coords in sorted(updated_chunks.items(), key=lambda item: item[0]):
        chunks = builder.references(builder.tables(len(coords), {}, {}, (0, coords)))
        arrays.append(builder.table({0: node_id, 1: chunks}))
    return builder.references(arrays)


def _write_moves(builder: Builder, moves: Iterable[Move]) -> int:
    ordered = sorted(moves, key=lambda move: move.to_path.split("/"))
    if not ordered:
        return builder.references([])
    columns = {
        2: join_ids([move.node_id for move in ordered], 8),
        3: np.array([_ARRAY if move.is_array else _GROUP for move in ordered], np.uint8),
    }
    children = {
        0: write_bytes(builder, [move.from_path.encode() for move in ordered]),
        1: write_bytes(builder, [move.to_path.encode() for move in ordered]),
    }
    return builder.references(builder.tables(len(ordered), columns, children))
