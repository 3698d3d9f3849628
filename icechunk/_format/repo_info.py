"""What the repo object says: records of one row, and columns of all of them.

A repository has thousands of snapshots and updates, and each commit rewrites
them all. So they stay columns from bytes to bytes, and what has no fixed size
(texts, values, lists of ids) stays where it was read, in a pool, as the encoded
vector that it is: a `u32` count and the elements. A column holds its position
in the pool, a multiple of 4, or 0 for none. Removing rows leaves their share
of the pool unused until the state is encoded.

Rules of this file: nothing is changed in place, and what is in the columns has
been checked, so that reading them cannot leave the pool.
"""

from __future__ import annotations

from bisect import bisect_left
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from icechunk._exceptions import ErrorKind, FormatError, SnapshotNotFoundError
from icechunk._format.metadata import decode_property, encode_properties

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from icechunk._format.flatbuffer_builder import Region
    from icechunk._format.flatbuffers import Column, Places

MAIN_BRANCH = "main"
"""The branch that every repository has."""


class UpdateKind(IntEnum):
    """The kinds of entries in the ops log, with their numbers in the format."""

    REPO_INITIALIZED = 1
    REPO_MIGRATED = 2
    CONFIG_CHANGED = 3
    METADATA_CHANGED = 4
    TAG_CREATED = 5
    TAG_DELETED = 6
    BRANCH_CREATED = 7
    BRANCH_DELETED = 8
    BRANCH_RESET = 9
    NEW_COMMIT = 10
    COMMIT_AMENDED = 11
    NEW_DETACHED_SNAPSHOT = 12
    GC_RAN = 13
    EXPIRATION_RAN = 14
    FEATURE_FLAG_CHANGED = 15
    REPO_STATUS_CHANGED = 16


class Availability(IntEnum):
    """What can be done with a repository; `OFFLINE` is reserved and treated like `ONLINE`."""

    ONLINE = 0
    READ_ONLY = 1
    OFFLINE = 2


class RepoStatus(msgspec.Struct, frozen=True):
    """Whether a repository can be written, since when (microseconds), and why not."""

    availability: Availability
    set_at: int
    reason: str | None = None

    @property
    def is_online(self) -> bool:
        return self.availability != Availability.READ_ONLY


class SnapshotEntry(msgspec.Struct, frozen=True):
    """What the repo object says about one snapshot.

    `pruned_ancestor_tx_logs` are the ids of the transaction logs of ancestors that expired,
    oldest first: they belong between the parent's log and the snapshot's own.
    """

    id: bytes
    parent_id: bytes | None
    flushed_at: int
    message: str
    metadata: dict[str, Any] = {}
    pruned_ancestor_tx_logs: tuple[bytes, ...] = ()


class OpsEntry(msgspec.Struct, frozen=True):
    """One entry of the ops log; which fields are set depends on the kind.

    `name` is that of the branch or tag. `backup_path` names the file below `overwritten/` that
    holds the object in which this entry was the newest.
    """

    kind: UpdateKind
    updated_at: int = 0
    backup_path: str | None = None
    name: str | None = None
    previous_id: bytes | None = None
    new_id: bytes | None = None
    status: RepoStatus | None = None
    from_version: int | None = None
    to_version: int | None = None
    flag_id: int | None = None
    flag_value: bool | None = None


SNAPSHOT_ROW = np.dtype(
    [
        ("id", "V12"),
        ("parent", "<i4"),
        ("flushed_at", "<u8"),
        ("message", "<u4"),
        # A range of METADATA_ROWs.
        ("metadata_start", "<u4"),
        ("metadata_count", "<u4"),
        ("pruned", "<u4"),
    ]
)
METADATA_ROW = np.dtype([("name", "<u4"), ("value", "<u4")])
UPDATE_ROW = np.dtype(
    [
        ("kind", "u1"),
        ("updated_at", "<u8"),
        ("backup", "<u4"),
        ("name", "<u4"),
        ("previous_id", "V12"),
        ("new_id", "V12"),
        ("from_version", "u1"),
        ("to_version", "u1"),
        ("flag_id", "<u2"),
        ("flag_value", "?"),
        ("flag_set", "?"),
        ("availability", "u1"),
        ("set_at", "<u8"),
        ("reason", "<u4"),
    ]
)

UPDATE_FIELDS: dict[int, tuple[str, ...]] = {
    UpdateKind.REPO_INITIALIZED: (),
    UpdateKind.REPO_MIGRATED: ("from_version", "to_version"),
    UpdateKind.CONFIG_CHANGED: (),
    UpdateKind.METADATA_CHANGED: (),
    UpdateKind.TAG_CREATED: ("name",),
    UpdateKind.TAG_DELETED: ("name", "previous_id"),
    UpdateKind.BRANCH_CREATED: ("name",),
    UpdateKind.BRANCH_DELETED: ("name", "previous_id"),
    UpdateKind.BRANCH_RESET: ("name", "previous_id"),
    UpdateKind.NEW_COMMIT: ("name", "new_id"),
    UpdateKind.COMMIT_AMENDED: ("name", "previous_id", "new_id"),
    UpdateKind.NEW_DETACHED_SNAPSHOT: ("new_id",),
    UpdateKind.GC_RAN: (),
    UpdateKind.EXPIRATION_RAN: (),
    UpdateKind.FEATURE_FLAG_CHANGED: ("flag_id", "flag_value", "flag_set"),
    # Within a RepoStatus of its own, the only field of the update's table.
    UpdateKind.REPO_STATUS_CHANGED: ("availability", "set_at", "reason"),
}
"""The columns that hold the fields of each kind's table, by slot."""


class Written(NamedTuple):
    """Rows as they were encoded, so that they need not be encoded again.

    Attributes
    ----------
    rows : bytes
        What was encoded, less what may change.
    places, parents : ndarray of int64
        Where in the region the table of each row is; of snapshots, also where its parent is.
    region : Region
    """

    rows: bytes
    places: Places
    parents: Places
    region: Region


class RepoInfo(msgspec.Struct, frozen=True, eq=False):
    """The state of a repository, never changed in place.

    Attributes
    ----------
    spec_version : int
    branches, tags : dict of str to bytes
        Ids of the snapshots that they point to.
    deleted_tags : frozenset of str
        Names that can never be tags again.
    status : RepoStatus
    raw_metadata : dict of str to bytes
        The repository's metadata, each value as FlexBuffers; see `metadata`.
    snapshot_rows : ndarray of SNAPSHOT_ROW
        Sorted by id, without repetition.
    metadata_rows : ndarray of METADATA_ROW
        The metadata of all snapshots.
    update_rows : ndarray of UPDATE_ROW
        The newest part of the ops log, newest first.
    pool, added : bytes
        The texts, values and lists to which the rows refer: the buffer that this was read from, and
        what came later, which goes on counting where the pool ends.
    repo_before_updates : str or None
        Name of the backup in which the ops log goes on.
    config : bytes or None
        The configuration as FlexBuffers; None for the default one.
    enabled_flags, disabled_flags : tuple of int, or None
        Features that were switched on or off; None before the first time.
    extra : bytes or None
        Kept for others.
    name : str
        Key of the object that this was read from, for errors.
    written_snapshots, written_updates : Written or None
        How this state, or one that it came from, was encoded.
    """

    spec_version: int
    branches: dict[str, bytes]
    tags: dict[str, bytes]
    deleted_tags: frozenset[str]
    status: RepoStatus
    raw_metadata: dict[str, bytes]
    snapshot_rows: Column
    metadata_rows: Column
    update_rows: Column
    pool: bytes
    added: bytes = b""
    repo_before_updates: str | None = None
    config: bytes | None = None
    enabled_flags: tuple[int, ...] | None = None
    disabled_flags: tuple[int, ...] | None = None
    extra: bytes | None = None
    name: str = "repo"
    written_snapshots: Written | None = None
    written_updates: Written | None = None

    def __repr__(self) -> str:
        return (
            f"<RepoInfo of {self.name}: {len(self.snapshot_rows)} snapshots, {len(self.branches)} branches, "
            f"{len(self.tags)} tags>"
        )

    @property
    def metadata(self) -> dict[str, Any]:
        """The repository's metadata."""
        return {name: decode_property(value, 2, self.name) for name, value in self.raw_metadata.items()}

    def snapshot_ids(self) -> list[bytes]:
        """The ids of all snapshots, in the order of their bytes."""
        ids: list[bytes] = self.snapshot_rows["id"].tolist()
        return ids

    def snapshot_index(self, snapshot_id: bytes) -> int | None:
        """The row of a snapshot, or None if there is no such snapshot."""
        ids = self.snapshot_rows["id"]
        index = bisect_left(range(len(ids)), snapshot_id, key=ids.item)
        return index if index < len(ids) and ids.item(index) == snapshot_id else None

    def snapshot(self, snapshot_id: bytes) -> SnapshotEntry | None:
        """The entry of a snapshot, or None if there is no such snapshot."""
        index = self.snapshot_index(snapshot_id)
        return None if index is None else self._snapshot_at(index)

    def snapshots(self) -> Iterator[SnapshotEntry]:
        """The entries of all snapshots, in the order of the bytes of their ids."""
        return (self._snapshot_at(index) for index in range(len(self.snapshot_rows)))

    def ancestry(self, snapshot_id: bytes) -> Iterator[SnapshotEntry]:
        """The entries of a snapshot, its parent, and so on up to the root.

        Raises
        ------
        SnapshotNotFoundError
            Kind `snapshot-not-found`.
        FormatError
            Kind `invalid-file-format`: the parents run in a circle.
        """
        return map(self._snapshot_at, self._rows_up(snapshot_id))

    def ancestor_ids(self, snapshot_id: bytes) -> Iterator[bytes]:
        """The ids of what `ancestry` gives, without the cost of its entries.

        Raises
        ------
        SnapshotNotFoundError, FormatError
            As in `ancestry`.
        """
        return map(self.snapshot_rows["id"].item, self._rows_up(snapshot_id))

    def _rows_up(self, snapshot_id: bytes) -> Iterator[int]:
        start = self.snapshot_index(snapshot_id)
        if start is None:
            raise _snapshot_not_found(snapshot_id)
        return self._follow_parents(start)

    def _follow_parents(self, row: int) -> Iterator[int]:
        parents = self.snapshot_rows["parent"]
        for _ in range(len(parents)):
            yield row
            row = parents.item(row)
            if row < 0:
                return
        raise FormatError(
            f"cannot read {self.name}: the parents of its snapshots run in a circle",
            ErrorKind.INVALID_FILE_FORMAT,
        )

    def updates(self) -> Iterator[OpsEntry]:
        """The entries of the ops log that are in this object, newest first.

        Raises
        ------
        FormatError
            Kind `invalid-file-format`: an entry of an unknown kind.
        """
        return (self._update_at(index) for index in range(len(self.update_rows)))

    def text(self, position: int) -> str:
        """The text at a position of the pool."""
        try:
            return str(self.vector(position), "utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(
                f"cannot read {self.name}: a text at {position} is not UTF-8", ErrorKind.INVALID_FILE_FORMAT
            ) from error

    def with_snapshot(self, entry: SnapshotEntry) -> RepoInfo:
        """This state with one more snapshot.

        Raises
        ------
        FormatError
            Kind `duplicate-snapshot-id`.
        SnapshotNotFoundError
            Kind `snapshot-not-found`: the parent is not in the repository.
        """
        ids = self.snapshot_rows["id"]
        index = bisect_left(range(len(ids)), entry.id, key=ids.item)
        if index < len(ids) and ids.item(index) == entry.id:
            raise _duplicate(entry.id)
        parent = -1
        if entry.parent_id is not None:
            found = self.snapshot_index(entry.parent_id)
            if found is None:
                raise _snapshot_not_found(entry.parent_id)
            parent = found
        pool = _PoolWriter(self)
        row, items = _snapshot_row(pool, entry, parent, len(self.metadata_rows))
        new = np.array([row], SNAPSHOT_ROW)
        rows = _concatenate(self.snapshot_rows[:index], new, self.snapshot_rows[index:])
        parents = rows["parent"]
        parents[parents >= index] += 1
        return msgspec.structs.replace(
            self,
            snapshot_rows=rows,
            metadata_rows=_concatenate(self.metadata_rows, np.array(items, METADATA_ROW)),
            added=pool.finish(),
        )

    def with_update(self, entry: OpsEntry, backup_of_previous: str | None) -> RepoInfo:
        """This state with one more entry at the head of the ops log.

        `backup_of_previous` becomes the backup path of the entry that was the head.
        """
        pool = _PoolWriter(self)
        new = np.array([_update_row(pool, entry)], UPDATE_ROW)
        rows = _concatenate(new, self.update_rows)
        if len(rows) > 1 and backup_of_previous is not None:
            rows["backup"][1] = pool.text(backup_of_previous)
        return msgspec.structs.replace(self, update_rows=rows, added=pool.finish())

    def vector(self, position: int, width: int = 1) -> bytes:
        """The content of a vector in the pool."""
        data = self.pool
        if position >= len(data):
            position -= len(data)
            data = self.added
        start = position + 4
        return data[start : start + width * int.from_bytes(data[position:start], "little")]

    def _snapshot_at(self, index: int) -> SnapshotEntry:
        row: Any = self.snapshot_rows.item(index)
        snapshot_id, parent, flushed_at, message, start, count, pruned = row
        logs = self.vector(pruned, 12) if pruned else b""
        return SnapshotEntry(
            snapshot_id,
            self.snapshot_rows["id"].item(parent) if parent >= 0 else None,
            flushed_at,
            self.text(message),
            {
                self.text(name): decode_property(self.vector(value), 2, self.name)
                for name, value in self.metadata_rows[start : start + count].tolist()
            },
            tuple(logs[at : at + 12] for at in range(0, len(logs), 12)),
        )

    def _update_at(self, index: int) -> OpsEntry:
        row: dict[str, Any] = dict(zip(UPDATE_ROW.names or (), self.update_rows.item(index), strict=True))
        if row["kind"] not in UPDATE_FIELDS:
            raise unknown_update(self.name, row["kind"])
        kind = UpdateKind(row["kind"])
        fields = {column: row[column] for column in UPDATE_FIELDS[kind]}
        if kind == UpdateKind.REPO_STATUS_CHANGED:
            reason = self.text(row["reason"]) if row["reason"] else None
            fields = {"status": RepoStatus(Availability(row["availability"]), row["set_at"], reason)}
        if "name" in fields:
            fields["name"] = self.text(row["name"])
        if kind == UpdateKind.FEATURE_FLAG_CHANGED and not fields.pop("flag_set"):
            fields["flag_value"] = None
        backup = self.text(row["backup"]) if row["backup"] else None
        return OpsEntry(kind, row["updated_at"], backup, **fields)


def build_repo(
    *,
    snapshots: Iterable[SnapshotEntry],
    branches: Mapping[str, bytes],
    status: RepoStatus,
    updates: Iterable[OpsEntry],
    tags: Mapping[str, bytes] | None = None,
    deleted_tags: Iterable[str] = (),
    metadata: Mapping[str, object] | None = None,
    repo_before_updates: str | None = None,
    config: bytes | None = None,
    spec_version: int = 2,
) -> RepoInfo:
    """Put a state together from entries, updates newest first.

    Raises
    ------
    FormatError
        Kind `duplicate-snapshot-id`.
    SnapshotNotFoundError
        Kind `snapshot-not-found`: a parent is not among the snapshots.
    """
    pool = _PoolWriter()
    entries = sorted(snapshots, key=lambda entry: entry.id)
    index = {entry.id: row for row, entry in enumerate(entries)}
    snapshot_rows: list[tuple[Any, ...]] = []
    metadata_rows: list[tuple[int, int]] = []
    for place, entry in enumerate(entries):
        if index[entry.id] != place:
            raise _duplicate(entry.id)
        if entry.parent_id is not None and entry.parent_id not in index:
            raise _snapshot_not_found(entry.parent_id)
        parent = -1 if entry.parent_id is None else index[entry.parent_id]
        row, items = _snapshot_row(pool, entry, parent, len(metadata_rows))
        snapshot_rows.append(row)
        metadata_rows += items
    update_rows = [_update_row(pool, update) for update in updates]
    return RepoInfo(
        spec_version=spec_version,
        branches=dict(branches),
        tags=dict(tags or {}),
        deleted_tags=frozenset(deleted_tags),
        status=status,
        raw_metadata=dict(encode_properties(metadata or {}, 2)),
        snapshot_rows=np.array(snapshot_rows, SNAPSHOT_ROW),
        metadata_rows=np.array(metadata_rows, METADATA_ROW),
        update_rows=np.array(update_rows, UPDATE_ROW),
        pool=_EMPTY_POOL,
        added=pool.finish(),
        repo_before_updates=repo_before_updates,
        config=config,
    )


_EMPTY_POOL = bytes(4)
"""So that no vector comes to lie at 0."""

_NO_ID = bytes(12)


class _PoolWriter:
    """Appends encoded vectors to a state's pool, or to an empty one."""

    __slots__ = ("_parts", "_size")

    def __init__(self, info: RepoInfo | None = None) -> None:
        pool, added = (_EMPTY_POOL, b"") if info is None else (info.pool, info.added)
        self._parts = [added] if added else [bytes(-len(pool) % 4)]
        self._size = len(pool) + len(self._parts[0])

    def text(self, text: str) -> int:
        return self.vector(text.encode())

    def optional_text(self, text: str | None) -> int:
        return 0 if text is None else self.vector(text.encode())

    def vector(self, content: bytes, width: int = 1) -> int:
        """Append a vector of elements of `width` bytes; its position."""
        position = self._size
        # A zero byte behind the content, as strings need it, then padding.
        part = (len(content) // width).to_bytes(4, "little") + content + bytes(4 - len(content) % 4)
        self._parts.append(part)
        self._size += len(part)
        return position

    def finish(self) -> bytes:
        """What comes behind the pool now."""
        return b"".join(self._parts)


def _concatenate(*parts: Column) -> Column:
    """Rows behind each other, as plain bytes: NumPy copies records field by field."""
    whole = f"V{parts[0].itemsize}"
    return np.concatenate([part.view(whole) for part in parts]).view(parts[0].dtype)


def _snapshot_not_found(snapshot_id: bytes) -> SnapshotNotFoundError:
    # The text form of ids belongs to a higher floor, which asks before it comes to this.
    return SnapshotNotFoundError(
        f"there is no snapshot with the bytes {snapshot_id.hex()}", ErrorKind.SNAPSHOT_NOT_FOUND
    )


def unknown_update(name: str, kind: int) -> FormatError:
    """An error for an update of a kind that is not in the format."""
    return FormatError(
        f"cannot read {name}: its ops log has an entry of the unknown kind {kind}; "
        "a newer release of Icechunk may read it",
        ErrorKind.INVALID_FILE_FORMAT,
    )


def _duplicate(snapshot_id: bytes) -> FormatError:
    return FormatError(
        f"there is a snapshot with the bytes {snapshot_id.hex()} already", ErrorKind.DUPLICATE_SNAPSHOT_ID
    )


def _snapshot_row(
    pool: _PoolWriter, entry: SnapshotEntry, parent: int, items_before: int
) -> tuple[tuple[Any, ...], list[tuple[int, int]]]:
    """The row of a snapshot, and those of its metadata."""
    items = [(pool.text(name), pool.vector(value)) for name, value in encode_properties(entry.metadata, 2)]
    logs = entry.pruned_ancestor_tx_logs
    row = (
        entry.id,
        parent,
        entry.flushed_at,
        pool.text(entry.message),
        items_before,
        len(items),
        pool.vector(b"".join(logs), 12) if logs else 0,
    )
    return row, items


def _update_row(pool: _PoolWriter, entry: OpsEntry) -> tuple[Any, ...]:
    status = entry.status
    return (
        entry.kind,
        entry.updated_at,
        pool.optional_text(entry.backup_path),
        pool.optional_text(entry.name),
        entry.previous_id or _NO_ID,
        entry.new_id or _NO_ID,
        entry.from_version or 0,
        entry.to_version or 0,
        entry.flag_id or 0,
        entry.flag_value or False,
        entry.flag_value is not None,
        0 if status is None else status.availability,
        0 if status is None else status.set_at,
        0 if status is None else pool.optional_text(status.reason),
    )
