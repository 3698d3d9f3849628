"""From the records of the format to what users see of the history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from icechunk._core.ids import id_text
from icechunk._format.repo_info import SnapshotEntry
from icechunk.snapshots import ManifestFileInfo, SnapshotInfo

if TYPE_CHECKING:
    from icechunk._format.snapshot import ManifestFile, Snapshot

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(microseconds: int) -> datetime:
    """A time in microseconds since the epoch as a `datetime` in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def snapshot_info(entry: SnapshotEntry) -> SnapshotInfo:
    """A snapshot of the history as users see it."""
    return SnapshotInfo(
        id=id_text(entry.id),
        parent_id=None if entry.parent_id is None else id_text(entry.parent_id),
        written_at=time_of(entry.flushed_at),
        message=entry.message,
        metadata=entry.metadata,
    )


def entry_of(snapshot: Snapshot) -> SnapshotEntry:
    """What the file of a snapshot of spec 1 says about the history."""
    return SnapshotEntry(
        id=snapshot.id,
        parent_id=snapshot.parent_id,
        flushed_at=snapshot.flushed_at,
        message=snapshot.message,
        metadata=snapshot.metadata,
    )


def manifest_file_info(file: ManifestFile) -> ManifestFileInfo:
    """A manifest of a snapshot as users see it."""
    return ManifestFileInfo(
        id=id_text(file.id), size_bytes=file.size_bytes, num_chunk_refs=file.num_chunk_refs
    )


def one_selector(branch: str | None, tag: str | None, snapshot_id: str | None) -> None:
    """Refuse anything but exactly one of the three ways to name a snapshot."""
    given = [name for name in (branch, tag, snapshot_id) if name is not None]
    if len(given) != 1:
        raise ValueError("exactly one of `branch`, `tag` and `snapshot_id` has to be given")


def as_of_us(branch: str | None, as_of: datetime) -> int:
    """The time of an `as_of` argument in microseconds since the epoch."""
    if branch is None:
        raise ValueError("`as_of` can only be used together with `branch`")
    if as_of.tzinfo is None:
        raise TypeError("`as_of` needs a time zone, such as datetime.timezone.utc")
    return (as_of - _EPOCH) // timedelta(microseconds=1)
