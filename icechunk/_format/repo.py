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

import numpy as np

from icechunk._exceptions import ErrorKind, FormatError, RefNotFoundError, SnapshotNotFoundError
from icechunk._format.flatbuffers import Builder, Reader, Table, Tables, u8, u64
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
    build_repo,
    unknown_update,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
]

SPEC_VERSIONS = (1, 2)

MAX_TIME = 253_402_300_799_999_999
"""The last microsecond that a `datetime` can tell: the end of the year 9999."""

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
    tables.reader.spans(targets, width)
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
    """Write the FlatBuffer of a repo object.

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
    builder = Builder(len(info.pool) + 64 * rows + 4096)
    place_of = _write_pool(builder, info)
    fields: dict[int, bytes | int | None] = {
        7: _write_updates(builder, info, place_of),
        4: _write_snapshots(builder, info, place_of),
        8: None if info.repo_before_updates is None else builder.string(info.repo_before_updates),
        6: _write_properties(builder, info.raw_metadata),
        5: _write_status(builder, info.status),
        3: builder.references(_write_texts(builder, sorted(info.deleted_tags))),
        2: _write_refs(builder, info.branches, info.snapshot_rows["id"]),
        1: _write_refs(builder, info.tags, info.snapshot_rows["id"]),
        0: u8(info.spec_version),
    }
    for slot, content in ((9, info.config), (12, info.extra)):
        fields[slot] = None if content is None else builder.bytes(content)
    for slot, flags in ((10, info.enabled_flags), (11, info.disabled_flags)):
        fields[slot] = None if flags is None else builder.vector(np.array(sorted(flags), "<u2"))
    return builder.finish(builder.table(fields))


def _write_pool(builder: Builder, info: RepoInfo) -> Callable[[Column], Places]:
    """Write what the rows refer to; a function from positions in the pool to places.

    The used vectors go into one blob, where they lie 4-aligned as in the pool. When the
    pool is mostly in use, as after one change of what we wrote, its used end is copied as it is.
    """
    pool = info.pool + info.added
    words = np.frombuffer(pool + bytes(-len(pool) % 4), "<u4")
    starts_here = np.zeros(len(words), bool)
    for rows, column in (
        (info.snapshot_rows, "message"),
        (info.snapshot_rows, "pruned"),
        (info.metadata_rows, "name"),
        (info.metadata_rows, "value"),
        (info.update_rows, "backup"),
        (info.update_rows, "name"),
        (info.update_rows, "reason"),
    ):
        starts_here[rows[column] >> 2] = True
    starts_here[0] = False
    used = np.flatnonzero(starts_here)
    # Count, content, a zero byte, padding.
    sizes = (words[used] * _element_sizes(info, used) + 8) >> 2
    first, end = (int(used[0]), int((used + sizes).max())) if len(used) else (0, 0)
    if end > len(words):
        words = np.append(words, np.uint32(0))  # The last vector does without the zero byte.
    total = int(sizes.sum())
    if total * 4 >= (end - first) * 3:
        top = builder.vector(words[first:end]) - 4
        return lambda positions: top + 4 * first - positions.astype(np.int64)
    # 32 bits are enough for a position, and faster.
    starts = (np.cumsum(sizes) - sizes).astype(np.int32)
    content = np.repeat(used.astype(np.int32) - starts, sizes) + np.arange(total, dtype=np.int32)
    top = builder.vector(words[content]) - 4
    moved = np.zeros(len(words), np.int32)
    moved[used] = starts
    return lambda positions: top - 4 * moved[positions >> 2].astype(np.int64)


def _element_sizes(info: RepoInfo, used: Column) -> Column:
    """Bytes in an element of each vector of the pool: lists of ids among texts and values."""
    sizes = np.ones(len(used), np.int64)
    pruned = info.snapshot_rows["pruned"]
    sizes[np.searchsorted(used, pruned[pruned != 0] >> 2)] = 12
    return sizes


def _write_snapshots(builder: Builder, info: RepoInfo, place_of: Callable[[Column], Places]) -> int:
    rows, items = info.snapshot_rows, info.metadata_rows
    item_places = builder.tables(len(items), {}, {0: place_of(items["name"]), 1: place_of(items["value"])})
    counts = rows["metadata_count"].astype(np.int64)
    bounds = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    order = np.repeat(rows["metadata_start"] - bounds[:-1], counts) + np.arange(bounds[-1])
    metadata = builder.reference_lists(item_places[order], bounds)
    places = np.zeros(len(rows), np.int64)
    for has_pruned in (False, True):
        at = np.flatnonzero((rows["pruned"] != 0) == has_pruned)
        if not len(at):
            continue
        group = rows[at] if len(at) < len(rows) else rows
        children = {3: place_of(group["message"]), 4: metadata[at]}
        if has_pruned:
            children[5] = place_of(group["pruned"])
        columns = {0: group["id"], 1: group["parent"], 2: group["flushed_at"]}
        places[at] = builder.tables(len(at), columns, children)
    return builder.references(places)


def _write_updates(builder: Builder, info: RepoInfo, place_of: Callable[[Column], Places]) -> int:
    rows = info.update_rows
    values = np.zeros(len(rows), np.int64)
    for kind in np.unique(rows["kind"]).tolist():
        if kind not in UPDATE_FIELDS:
            raise unknown_update(info.name, kind)
        at = np.flatnonzero(rows["kind"] == kind)
        if not UPDATE_FIELDS[kind]:
            # One table without fields serves all.
            values[at] = builder.table({})
        elif kind == UpdateKind.REPO_STATUS_CHANGED:
            statuses = _write_with_optional(
                builder, rows[at], {0: "availability", 1: "set_at"}, {}, (2, "reason"), place_of
            )
            values[at] = builder.tables(len(at), {}, {0: statuses})
        else:
            columns = dict(enumerate(UPDATE_FIELDS[kind]))
            children = {slot: place_of(rows["name"][at]) for slot, name in columns.items() if name == "name"}
            inline = {slot: rows[name][at] for slot, name in columns.items() if name != "name"}
            values[at] = builder.tables(len(at), inline, children)
    places = _write_with_optional(
        builder, rows, {0: "kind", 2: "updated_at"}, {1: values}, (3, "backup"), place_of
    )
    return builder.references(places)


def _write_with_optional(
    builder: Builder,
    rows: Column,
    columns: Mapping[int, str],
    children: Mapping[int, Places],
    optional: tuple[int, str],
    place_of: Callable[[Column], Places],
) -> Places:
    """Write tables of which some have one more text: those whose column is not 0."""
    slot, name = optional
    places = np.zeros(len(rows), np.int64)
    for present in (False, True):
        at = np.flatnonzero((rows[name] != 0) == present)
        if not len(at):
            continue
        targets = {child: column[at] for child, column in children.items()}
        if present:
            targets[slot] = place_of(rows[name][at])
        inline = {child: rows[column][at] for child, column in columns.items()}
        places[at] = builder.tables(len(at), inline, targets)
    return places


def _write_refs(builder: Builder, refs: Mapping[str, bytes], ids: Column) -> int:
    if not refs:
        return builder.references([])
    names = sorted(refs)  # The order of code points is that of UTF-8 bytes.
    keys = np.ascontiguousarray(ids).view("S12")
    wanted = np.array([refs[name] for name in names], "S12")
    rows = np.searchsorted(keys, wanted)
    if (rows == len(keys)).any() or (keys[rows] != wanted).any():
        raise SnapshotNotFoundError(
            "a branch or tag points to none of the snapshots", ErrorKind.SNAPSHOT_NOT_FOUND
        )
    texts = _write_texts(builder, names)
    return builder.references(builder.tables(len(names), {1: rows.astype("<u4")}, {0: texts}))


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
