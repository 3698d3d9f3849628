"""The repo object: every snapshot, branch and tag of a repository, and its ops log.

The file `repo` is the only one that ever changes in a repository of spec 2. Its
FlatBuffer has these tables, fields by slot (`?` may be absent)::

    Repo            0 spec_version u8, 1 tags [Ref], 2 branches [Ref], 3 deleted_tags [string],
                    4 snapshots [SnapshotInfo], 5 status RepoStatus, 6 metadata? [MetadataItem],
                    7 latest_updates [Update], 8 repo_before_updates? string,
                    9 config? FlexBuffers, 10 enabled_feature_flags? [u16],
                    11 disabled_feature_flags? [u16], 12 extra? [u8]
    Ref             0 name string, 1 snapshot_index u32
    SnapshotInfo    0 id 12 bytes, 1 parent_offset i32, 2 flushed_at u64, 3 message string,
                    4 metadata? [MetadataItem], 5 pruned_ancestor_tx_logs? [12 bytes]
    MetadataItem    0 name string, 1 value FlexBuffers
    RepoStatus      0 availability u8, 1 set_at u64, 2 limited_availability_reason? string
    Update          0 kind of update u8, 1 its table, 2 updated_at u64, 3 backup_path? string

Refs, deleted tags and snapshots are sorted by the bytes of their names and ids;
`snapshot_index` and `parent_offset` count in that order, -1 stands for no parent.
Updates run from the newest to the oldest. Times are microseconds since the
epoch. `UPDATE_FIELDS` lists the tables of the kinds of update.

Readers take refs in any order, but not snapshots, and a status that is neither
online nor read-only for online. Writers write every vector but those of the
feature flags, leave out `pruned_ancestor_tx_logs` rather than writing an empty
one, and need a branch `main`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from icechunk._exceptions import ErrorKind, FormatError, RefNotFoundError, SnapshotNotFoundError
from icechunk._format.flatbuffer_builder import Block, table_words
from icechunk._format.flatbuffers import Builder, Reader, Table, Tables, i32, u8, u32, u64
from icechunk._format.repo_info import (
    MAIN_BRANCH,
    METADATA_ROW,
    SNAPSHOT_ROW,
    UPDATE_FIELDS,
    UPDATE_ROW,
    Availability,
    OpsEntry,
    RepoInfo,
    RepoStatus,
    SnapshotEntry,
    UpdateKind,
    Written,
    build_repo,
    unknown_update,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icechunk._format.flatbuffers import Column, Data, Places

__all__ = [
    "MAIN_BRANCH",
    "Availability",
    "OpsEntry",
    "RepoInfo",
    "RepoStatus",
    "SnapshotEntry",
    "UpdateKind",
    "build_repo",
    "decode_repo",
    "encode_repo",
    "write_repo",
]

SPEC_VERSIONS = (1, 2)

MAX_TIME = 253_402_300_799_999_999
"""The last microsecond that a `datetime` can tell: the end of the year 9999."""

SHARING = 64
"""How many times the size of the buffer what its rows refer to may be.

Writers may let rows share equal texts. Forged rows may all share the largest, and each is read as often.
"""

_FIELD_KINDS = {
    (slot, column): np.array([column in UPDATE_FIELDS.get(kind, ())[slot : slot + 1] for kind in range(256)])
    for columns in UPDATE_FIELDS.values()
    for slot, column in enumerate(columns)
}
"""For each field, the column where it goes, and for each number of a kind whether its table has it."""


def decode_repo(payload: Data, name: str = "repo") -> RepoInfo:
    """Read the FlatBuffer of a repo object.

    Parameters
    ----------
    payload : bytes-like
        The FlatBuffer; `bytes` become a part of the result without a copy.
    name : str, optional
        Key of the object, for errors.

    Raises
    ------
    FormatError
        Kind `invalid-file-format`: damaged. Kind `unsupported-spec-version`: from a newer Icechunk.
    """
    reader = Reader(payload, name)
    root = reader.root()
    spec_version = root.u8(0)
    if spec_version not in SPEC_VERSIONS:
        raise FormatError(
            f"cannot read {name}: the repository has spec version {spec_version}, this library knows "
            f"{SPEC_VERSIONS[0]} to {SPEC_VERSIONS[-1]}; a newer release of Icechunk may read it",
            ErrorKind.UNSUPPORTED_SPEC_VERSION,
        )
    snapshots, metadata = _read_snapshots(reader, root.require(root.tables(4), "snapshots"))
    ids = snapshots["id"]
    return RepoInfo(
        spec_version=spec_version,
        branches=_read_refs(reader, root.require(root.positions(2), "branches"), ids),
        tags=_read_refs(reader, root.require(root.positions(1), "tags"), ids),
        deleted_tags=frozenset(root.require(root.strings(3), "deleted tags")),
        status=_read_status(reader, root.require(root.table(5), "status")),
        raw_metadata=_read_properties(reader, root.positions(6)),
        snapshot_rows=snapshots,
        metadata_rows=metadata,
        update_rows=_read_updates(reader, root.require(root.tables(7), "updates")),
        pool=payload if isinstance(payload, bytes) else bytes(payload),
        repo_before_updates=root.string(8),
        config=root.bytes(9),
        enabled_flags=_read_flags(root, 10),
        disabled_flags=_read_flags(root, 11),
        extra=root.bytes(12),
        name=name,
    )


def _read_snapshots(reader: Reader, tables: Tables) -> tuple[Column, Column]:
    """The rows of the snapshots and of their metadata."""
    rows = np.zeros(len(tables), SNAPSHOT_ROW)
    rows["id"] = _required_ids(tables, 0)
    # Bytes of one size compare like ids; NumPy does not compare raw ones.
    keys = np.ascontiguousarray(rows["id"]).view("S12")
    if (keys[1:] <= keys[:-1]).any():
        raise reader.error("its snapshots are not sorted by id, or one comes twice")
    parents = tables.numbers(1, "<i4")
    if (parents >= len(rows)).any():
        raise reader.error("the parent of a snapshot is not among the snapshots")
    rows["parent"] = np.maximum(parents, -1)
    rows["flushed_at"] = _times(tables, 2)
    rows["message"] = _vectors(tables, 3, "message")
    items, bounds = tables.elements(4)
    rows["metadata_start"] = bounds[:-1]
    rows["metadata_count"] = np.diff(bounds)
    rows["pruned"] = _vectors(tables, 5, width=12)
    properties = Tables(reader, items)
    metadata = np.zeros(len(items), METADATA_ROW)
    metadata["name"] = _vectors(properties, 0, "name")
    metadata["value"] = _vectors(properties, 1, "value")
    return rows, metadata


def _read_updates(reader: Reader, tables: Tables) -> Column:
    """The rows of the updates; those of unknown kinds stay empty."""
    rows = np.zeros(len(tables), UPDATE_ROW)
    rows["kind"] = tables.numbers(0, "u1")
    rows["updated_at"] = _times(tables, 2)
    rows["backup"] = _vectors(tables, 3)
    values = _required(tables, 1, "content")
    changes = np.flatnonzero(rows["kind"] == UpdateKind.REPO_STATUS_CHANGED)
    if len(changes):
        # Their fields are those of a status within.
        values[changes] = _required(Tables(reader, values[changes]), 0, "status")
    # The same field of several kinds is read at once.
    for (slot, column), has_field in _FIELD_KINDS.items():
        at = np.flatnonzero(has_field[rows["kind"]])
        if len(at):
            rows[column][at] = _read_field(Tables(reader, values[at]), slot, column)
    return rows


def _read_field(tables: Tables, slot: int, column: str) -> Column:
    """One field of updates of one kind, for a column of the rows."""
    if column == "name":
        return _vectors(tables, slot, "name")
    if column == "reason":
        return _vectors(tables, slot)
    if column == "set_at":
        return _times(tables, slot)
    dtype = UPDATE_ROW[column]
    if dtype.kind == "V":
        return _required_ids(tables, slot)
    values = tables.numbers(slot, "u1" if dtype.kind == "b" else dtype)
    return np.minimum(values, Availability.OFFLINE) if column == "availability" else values


def _required(tables: Tables, slot: int, what: str) -> Places:
    """Where the objects start that a field refers to, which must be in each table."""
    targets = tables.targets(slot)
    if not targets.all():
        raise tables.reader.error(f"a table has no {what}")
    return targets


def _required_ids(tables: Tables, slot: int) -> Column:
    ids, present = tables.structs(slot, 12)
    if not present.all():
        raise tables.reader.error("a table has no id")
    return ids


def _vectors(tables: Tables, slot: int, required: str | None = None, width: int = 1) -> Places:
    """Where the vectors start that a field refers to, good to be kept as positions of the pool."""
    targets = tables.targets(slot) if required is None else _required(tables, slot, required)
    if (targets & 3).any():
        raise tables.reader.error("a vector is not aligned")
    _, counts = tables.reader.spans(targets, width)
    if int(counts.sum()) * width > SHARING * tables.reader.size:
        raise tables.reader.error("its rows share too much")
    return targets


def _times(tables: Tables, slot: int) -> Column:
    times = tables.numbers(slot, "<u8")
    if (times > MAX_TIME).any():
        raise tables.reader.error("a time is after the year 9999")
    return times


def _read_refs(reader: Reader, positions: Places, ids: Column) -> dict[str, bytes]:
    if not len(positions):
        return {}
    tables = Tables(reader, positions)
    rows = tables.numbers(1, "<u4")
    if (rows >= len(ids)).any():
        raise reader.error("a branch or tag points to none of the snapshots")
    names = reader.texts(*reader.spans(_required(tables, 0, "name")))
    refs: dict[str, bytes] = dict(zip(names, ids[rows].tolist(), strict=True))
    if len(refs) != len(rows):
        raise reader.error("a branch or tag comes twice")
    return refs


def _read_status(reader: Reader, table: Table) -> RepoStatus:
    set_at = table.u64(1)
    if set_at > MAX_TIME:
        raise reader.error("a time is after the year 9999")
    return RepoStatus(Availability(min(table.u8(0), Availability.OFFLINE)), set_at, table.string(2))


def _read_properties(reader: Reader, positions: Places | None) -> dict[str, bytes]:
    items = [Table(reader, position) for position in ([] if positions is None else positions.tolist())]
    return {item.require(item.string(0), "name"): item.require(item.bytes(1), "value") for item in items}


def _read_flags(root: Table, slot: int) -> tuple[int, ...] | None:
    flags = root.array(slot, "<u2")
    return None if flags is None else tuple(sorted(flags.tolist()))


def encode_repo(info: RepoInfo) -> memoryview:
    """Write the FlatBuffer of a repo object; raises as `write_repo` does."""
    return write_repo(info)[0]


def write_repo(info: RepoInfo) -> tuple[memoryview, RepoInfo]:
    """Write the FlatBuffer of a repo object.

    Also gives out the same state with how it was encoded. States that come from it have few rows that it has
    not, and for the time that these take the others are copied as they are.

    Raises
    ------
    RefNotFoundError
        Kind `branch-not-found`: there is no branch `main`.
    SnapshotNotFoundError
        Kind `snapshot-not-found`: a branch or tag points to none of the snapshots.
    FormatError
        Kind `invalid-file-format`: the ops log was read with an entry of an unknown kind. Kind
        `serialization`: too large.
    """
    if MAIN_BRANCH not in info.branches:
        raise RefNotFoundError(f"a repository needs a branch `{MAIN_BRANCH}`", ErrorKind.BRANCH_NOT_FOUND)
    rows = len(info.snapshot_rows) + len(info.metadata_rows) + len(info.update_rows)
    builder = Builder(len(info.pool) + len(info.added) + 32 * rows + 4096)
    updates, written_updates = _write_updates(builder, info)
    snapshots, written_snapshots = _write_snapshots(builder, info)
    fields: dict[int, bytes | int | None] = {
        7: updates,
        4: snapshots,
        8: None if info.repo_before_updates is None else builder.string(info.repo_before_updates),
        6: _write_properties(builder, info.raw_metadata),
        5: _write_status(builder, info.status),
        3: builder.references(_write_texts(builder, sorted(info.deleted_tags))),
        2: _write_refs(builder, info, info.branches),
        1: _write_refs(builder, info, info.tags),
        0: u8(info.spec_version),
    }
    for slot, content in ((9, info.config), (12, info.extra)):
        fields[slot] = None if content is None else builder.bytes(content)
    for slot, flags in ((10, info.enabled_flags), (11, info.disabled_flags)):
        fields[slot] = None if flags is None else builder.vector(np.array(sorted(flags), "<u2"))
    written = msgspec.structs.replace(
        info, written_snapshots=written_snapshots, written_updates=written_updates
    )
    return builder.finish(builder.table(fields)), written


class _Pool:
    """What the rows of a state refer to, as words of 4 bytes."""

    def __init__(self, info: RepoInfo) -> None:
        # Of the last text the zero byte may be missing.
        end = bytes(8 - (len(info.pool) + len(info.added)) % 4)
        self.words = np.frombuffer(b"".join((info.pool, info.added, end)), "<u4")

    def texts(self, positions: Column) -> Places:
        """Words that each text takes with its count and a zero byte; none at position 0."""
        return self._sizes(positions, 1, 5)

    def vectors(self, positions: Column, width: int = 1) -> Places:
        """Words that each vector takes whose elements have `width` bytes; none at position 0."""
        return self._sizes(positions, width, 4)

    def _sizes(self, positions: Column, width: int, more: int) -> Places:
        if not positions.any():
            return np.zeros(len(positions), np.int64)
        sizes: Places = (self.words[positions >> 2].astype(np.int64) * width + more + 3) >> 2
        return sizes if positions.all() else np.where(positions == 0, 0, sizes)

    def write(self, block: Block, at: Places, positions: Column, sizes: Places) -> None:
        """Copy vectors into a block."""
        block.copy(at, self.words, positions >> 2, sizes)


def _ends(sizes: Column) -> Places:
    """Where the slices of a row end, from 0 on, which is the start of the first one."""
    ends = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    return ends


_FEW = 16
"""Rows up to so many are written one by one, where the others need not be written."""

_SNAPSHOT_WORDS = table_words(12, 4, 8, 4, 4, 4)
_ITEM_WORDS = table_words(4, 4)
_UPDATE_WORDS = table_words(1, 4, 8, 4)
_STATUS_WORDS = table_words(4)
_VALUE_WORDS = np.zeros(256, np.int64)
for _kind, _fields in UPDATE_FIELDS.items():
    _VALUE_WORDS[_kind] = table_words(*[UPDATE_ROW[_field].itemsize for _field in _fields])
_VALUE_WORDS[UpdateKind.REPO_STATUS_CHANGED] += _STATUS_WORDS


def _write_snapshots(builder: Builder, info: RepoInfo) -> tuple[int, Written]:
    """The vector of snapshots. Of those that were encoded before, parents alone may stand elsewhere now."""
    rows = info.snapshot_rows
    former = info.written_snapshots
    known = None if former is None else _find_rows(former.rows, rows)
    if former is None or known is None:
        base = builder.begin()
        places = _write_all_snapshots(builder, info)
        parents = places - builder.offset(int(places[0]), 1) if len(places) else places
    else:
        base = builder.begin(former.region)
        places, parents = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        places[known], parents[known] = former.places + base, former.parents + base
        is_new = np.ones(len(rows), bool)
        is_new[known] = False
        for row in np.flatnonzero(is_new).tolist():
            place = places[row] = _write_snapshot(builder, info, row)
            parents[row] = place - builder.offset(place, 1)
        builder.overwrite(parents, rows["parent"])
    written = Written(_without_parents(rows), places - base, parents - base, builder.end(base))
    return builder.references(places), written


def _find_rows(former: bytes, rows: Column) -> Places | None:
    """Where each of some snapshots is; None unless all are there as they were, and few others are."""
    keys = np.ascontiguousarray(rows["id"]).view("S12")
    before = np.frombuffer(former, SNAPSHOT_ROW)
    if not 0 <= len(rows) - len(before) <= _FEW:
        return None
    found = np.searchsorted(keys, np.ascontiguousarray(before["id"]).view("S12"))
    if len(found) and found[-1] == len(rows):
        return None
    whole = f"V{SNAPSHOT_ROW.itemsize}"
    same = _without_parents(rows.view(whole)[found].view(SNAPSHOT_ROW)) == former
    return found if same else None


def _without_parents(rows: Column) -> bytes:
    alike = rows.copy()
    alike["parent"] = 0
    return alike.tobytes()


def _write_snapshot(builder: Builder, info: RepoInfo, row: int) -> int:
    """One snapshot, for which columns would take longer: a record as `_write_all_snapshots` writes it."""
    snapshot_id, parent, flushed_at, message, start, count, pruned = info.snapshot_rows.item(row)
    message = builder.string(info.text(message))
    logs = builder.bytes(info.vector(pruned, 12), 12) if pruned else None
    items = []
    for name, value in info.metadata_rows[start : start + count].tolist()[::-1]:
        content = builder.bytes(info.vector(value))
        items.append(builder.table({0: builder.string(info.text(name)), 1: content}))
    items_list = builder.references(items[::-1])
    return builder.table(
        {0: snapshot_id, 1: i32(parent), 2: u64(flushed_at), 3: message, 4: items_list, 5: logs}
    )


def _write_all_snapshots(builder: Builder, info: RepoInfo) -> Places:
    """Records of table, message, logs, list of metadata, and each item of it with name and value.

    In the order of time, newest first, since neighbours in time are alike, and those in the order of ids
    are not.
    """
    pool = _Pool(info)
    order = np.argsort(info.snapshot_rows["flushed_at"])[::-1]
    rows = info.snapshot_rows[order]
    counts = rows["metadata_count"].astype(np.int64)
    bounds = _ends(counts)
    each = np.arange(bounds[-1])
    items = info.metadata_rows[np.repeat(rows["metadata_start"] - bounds[:-1], counts) + each]
    messages, logs = pool.texts(rows["message"]), pool.vectors(rows["pruned"], 12)
    names, values = pool.texts(items["name"]), pool.vectors(items["value"])
    item_ends = _ends(_ITEM_WORDS + names + values)
    items_sizes = item_ends[bounds[1:]] - item_ends[bounds[:-1]]
    sizes = _SNAPSHOT_WORDS + messages + logs + 1 + counts + items_sizes
    ends = _ends(sizes + (sizes & 1))
    block = builder.block(int(ends[-1]))

    at = ends[:-1]
    lists_at = at + _SNAPSHOT_WORDS
    elements_at = np.repeat(lists_at + 1 - bounds[:-1], counts) + each
    items_at = np.repeat(lists_at + 1 + counts - item_ends[bounds[:-1]], counts) + item_ends[:-1]
    names_at = items_at + _ITEM_WORDS
    values_at = names_at + names
    logs_at = lists_at + 1 + counts + items_sizes
    messages_at = logs_at + logs
    columns = {0: rows["id"], 1: rows["parent"], 2: rows["flushed_at"]}
    block.tables(at, columns, {3: messages_at, 4: lists_at}, (5, np.where(logs, logs_at, 0)))
    block.numbers(lists_at, counts)
    block.references(elements_at, items_at)
    block.tables(items_at, {}, {0: names_at, 1: values_at})
    pool.write(block, messages_at, rows["message"], messages)
    pool.write(block, logs_at, rows["pruned"], logs)
    pool.write(block, names_at, items["name"], names)
    pool.write(block, values_at, items["value"], values)
    places = np.empty(len(rows), np.int64)
    places[order] = block.places(at)
    return places


def _write_updates(builder: Builder, info: RepoInfo) -> tuple[int, Written]:
    """The vector of updates. The newest is apart: its backup comes to be known with the next one."""
    rows = info.update_rows
    former = info.written_updates
    older = rows[1:].tobytes()
    fresh = 0 if former is None else (len(older) - len(former.rows)) // UPDATE_ROW.itemsize
    if former is None or fresh > _FEW or not older.endswith(former.rows):
        base = builder.begin()
        places = _write_all_updates(builder, info, rows[1:])
    else:
        base = builder.begin(former.region)
        new = [_write_update(builder, info, row) for row in range(fresh, 0, -1)]
        places = np.concatenate([np.array(new[::-1], np.int64), former.places + base])
    written = Written(older, places - base, places[:0], builder.end(base))
    newest = [_write_update(builder, info, 0)] if len(rows) else []
    return builder.references(np.concatenate([np.array(newest, np.int64), places])), written


def _write_update(builder: Builder, info: RepoInfo, row: int) -> int:
    """One update, for which columns would take longer: a record as `_write_all_updates` writes it."""
    values = dict(zip(UPDATE_ROW.names or (), info.update_rows.item(row), strict=True))
    kind = values["kind"]
    if kind not in UPDATE_FIELDS:
        raise unknown_update(info.name, kind)
    fields: dict[int, bytes | int | None] = {}
    texts: dict[int, bytes | int | None] = {}
    for slot, name in enumerate(UPDATE_FIELDS[kind]):
        if name in ("name", "reason"):
            texts[slot] = builder.string(info.text(values[name])) if values[name] else None
        else:
            fields[slot] = info.update_rows[name][row].tobytes()
    backup = builder.string(info.text(values["backup"])) if values["backup"] else None
    content = builder.table(fields | texts)
    if kind == UpdateKind.REPO_STATUS_CHANGED:
        content = builder.table({0: content})
    return builder.table({2: u64(values["updated_at"]), 1: content, 3: backup, 0: u8(kind)})


def _write_all_updates(builder: Builder, info: RepoInfo, rows: Column) -> Places:
    """Records of table, the table of its kind, backup, name and reason."""
    pool = _Pool(info)
    kinds = np.flatnonzero(np.bincount(rows["kind"])).tolist()
    for kind in kinds:
        if kind not in UPDATE_FIELDS:
            raise unknown_update(info.name, kind)
    backups, names, reasons = (pool.texts(rows[name]) for name in ("backup", "name", "reason"))
    values = _VALUE_WORDS[rows["kind"]]
    sizes = _UPDATE_WORDS + values + backups + names + reasons
    ends = _ends(sizes + (sizes & 1))
    block = builder.block(int(ends[-1]))

    at = ends[:-1]
    values_at = at + _UPDATE_WORDS
    backups_at = values_at + values
    names_at = backups_at + backups
    reasons_at = names_at + names
    columns = {2: rows["updated_at"], 0: rows["kind"]}
    block.tables(at, columns, {1: values_at}, (3, np.where(backups, backups_at, 0)))
    for kind in kinds:
        chosen = np.flatnonzero(rows["kind"] == kind)
        tables_at = values_at[chosen]
        optional = None
        if kind == UpdateKind.REPO_STATUS_CHANGED:
            block.tables(tables_at, {}, {0: tables_at + _STATUS_WORDS})
            tables_at = tables_at + _STATUS_WORDS
            optional = 2, np.where(reasons, reasons_at, 0)[chosen]
        fields = dict(enumerate(UPDATE_FIELDS[kind]))
        block.tables(
            tables_at,
            {slot: rows[name][chosen] for slot, name in fields.items() if name not in ("name", "reason")},
            {slot: names_at[chosen] for slot, name in fields.items() if name == "name"},
            optional,
        )
    pool.write(block, backups_at, rows["backup"], backups)
    pool.write(block, names_at, rows["name"], names)
    pool.write(block, reasons_at, rows["reason"], reasons)
    return block.places(at)


def _write_refs(builder: Builder, info: RepoInfo, refs: Mapping[str, bytes]) -> int:
    names = sorted(refs)  # The order of code points is that of UTF-8 bytes.
    if len(names) <= _FEW:
        few = [info.snapshot_index(refs[name]) for name in names]
        if None in few:
            raise _lost_ref()
        pairs = zip(names, few, strict=True)
        return builder.references(
            [builder.table({0: builder.string(name), 1: u32(row or 0)}) for name, row in pairs]
        )
    keys = np.ascontiguousarray(info.snapshot_rows["id"]).view("S12")
    wanted = np.array([refs[name] for name in names], "S12")
    rows = np.searchsorted(keys, wanted)
    if (rows == len(keys)).any() or (keys[rows] != wanted).any():
        raise _lost_ref()
    texts = _write_texts(builder, names)
    return builder.references(builder.tables(len(names), {1: rows.astype("<u4")}, {0: texts}))


def _lost_ref() -> SnapshotNotFoundError:
    return SnapshotNotFoundError(
        "a branch or tag points to none of the snapshots", ErrorKind.SNAPSHOT_NOT_FOUND
    )


def _write_texts(builder: Builder, texts: list[str]) -> Places:
    if not texts:
        return np.empty(0, np.int64)
    contents = [text.encode() for text in texts]
    sizes = np.array([len(content) for content in contents], np.int64)
    pool = np.frombuffer(b"".join([*contents, b"\0"]), np.uint8)
    return builder.slices(pool, np.cumsum(sizes) - sizes, sizes)


def _write_properties(builder: Builder, properties: Mapping[str, bytes]) -> int:
    items = [
        builder.table({0: builder.string(name), 1: builder.bytes(properties[name])})
        for name in sorted(properties)
    ]
    return builder.references(items)


def _write_status(builder: Builder, status: RepoStatus) -> int:
    reason = None if status.reason is None else builder.string(status.reason)
    return builder.table({0: u8(status.availability), 1: u64(status.set_at), 2: reason})
