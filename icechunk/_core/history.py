"""From the records of the format to what users see of the history and state of a repository."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from icechunk import ops
from icechunk._core.arguments import require_text
from icechunk._core.ids import id_text, parse_id
from icechunk._core.repo_updates import FEATURE_FLAGS, feature_setting
from icechunk._format.metadata import plain_properties
from icechunk._format.repo_info import UPDATE_FIELDS, Availability, RepoStatus, SnapshotEntry, UpdateKind
from icechunk.snapshots import ManifestFileInfo, SnapshotInfo
from icechunk.types import RepoAvailability

if TYPE_CHECKING:
    from collections.abc import Callable

    from icechunk._format.repo_info import OpsEntry, RepoInfo
    from icechunk._format.snapshot import ManifestFile, Snapshot

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(microseconds: int) -> datetime:
    """A time in microseconds since the epoch as a `datetime` in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds_of(time: datetime) -> int:
    """A `datetime` with a time zone in microseconds since the epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)


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
        metadata=plain_properties(snapshot.metadata),  # users get it, and the snapshot is cached
    )


def manifest_file_info(file: ManifestFile) -> ManifestFileInfo:
    """A manifest of a snapshot as users see it."""
    return ManifestFileInfo(
        id=id_text(file.id), size_bytes=file.size_bytes, num_chunk_refs=file.num_chunk_refs
    )


def one_selector(branch: str | None, tag: str | None, snapshot_id: str | None, side: str = "") -> None:
    """Refuse anything but exactly one of the three ways to name a snapshot, and what is no id.

    `side` is what the names of the arguments start with.

    Raises
    ------
    ValueError
        None was given, or several.
    InvalidInputError
        Kind `invalid-snapshot-id`.
    TypeError
        What was given is no text.
    """
    selectors = {f"{side}branch": branch, f"{side}tag": tag, f"{side}snapshot_id": snapshot_id}
    given = {name: value for name, value in selectors.items() if value is not None}
    require_text(**given)
    if len(given) != 1:
        one, other, third = selectors
        raise ValueError(f"exactly one of `{one}`, `{other}` and `{third}` has to be given")
    if snapshot_id is not None:
        parse_id(snapshot_id)


def as_of_us(branch: str | None, as_of: datetime) -> int:
    """The time of an `as_of` argument in microseconds since the epoch.

    Raises
    ------
    ValueError
        There is no branch.
    TypeError
        `as_of` is no `datetime` with a time zone.
    """
    if branch is None:
        raise ValueError("`as_of` can only be used together with `branch`")
    if not isinstance(as_of, datetime):
        raise TypeError(f"`as_of` must be a datetime, not {as_of!r}")
    if as_of.tzinfo is None:
        raise TypeError("`as_of` needs a time zone, such as datetime.timezone.utc")
    return microseconds_of(as_of)


def public_status(status: RepoStatus) -> ops.RepoStatus:
    """The status of a repository as users see it."""
    return ops.RepoStatus(
        RepoAvailability.online if status.is_online else RepoAvailability.read_only,
        time_of(status.set_at),
        status.reason,
    )


def stored_status(status: ops.RepoStatus) -> RepoStatus:
    """The status that a user gave a repository, as it is stored.

    Raises
    ------
    ValueError
        It is set before 1970.
    """
    if status.set_at < _EPOCH:
        raise ValueError(f"set_at must be 1970 or later, not {status.set_at.isoformat()}")
    is_online = status.availability is RepoAvailability.online
    return RepoStatus(
        Availability.ONLINE if is_online else Availability.READ_ONLY,
        microseconds_of(status.set_at),
        status.limited_availability_reason,
    )


def feature_flags(info: RepoInfo) -> list[ops.FeatureFlag]:
    """All features that can be switched off, and whether they are."""
    flags = []
    for flag in FEATURE_FLAGS:
        setting = feature_setting(info, flag)
        enabled = flag.default_enabled if setting is None else setting
        flags.append(ops.FeatureFlag(flag.id, flag.name, flag.default_enabled, setting, enabled))
    return flags


_PUBLIC_KINDS: dict[UpdateKind, Callable[..., ops.UpdateType]] = {
    UpdateKind.REPO_INITIALIZED: ops.UpdateType.RepoInitialized,
    UpdateKind.REPO_MIGRATED: ops.UpdateType.RepoMigrated,
    UpdateKind.CONFIG_CHANGED: ops.UpdateType.ConfigChanged,
    UpdateKind.METADATA_CHANGED: ops.UpdateType.MetadataChanged,
    UpdateKind.TAG_CREATED: ops.UpdateType.TagCreated,
    UpdateKind.TAG_DELETED: ops.UpdateType.TagDeleted,
    UpdateKind.BRANCH_CREATED: ops.UpdateType.BranchCreated,
    UpdateKind.BRANCH_DELETED: ops.UpdateType.BranchDeleted,
    UpdateKind.BRANCH_RESET: ops.UpdateType.BranchReset,
    UpdateKind.NEW_COMMIT: ops.UpdateType.NewCommit,
    UpdateKind.COMMIT_AMENDED: ops.UpdateType.CommitAmended,
    UpdateKind.NEW_DETACHED_SNAPSHOT: ops.UpdateType.NewDetachedSnapshot,
    UpdateKind.GC_RAN: ops.UpdateType.GCRan,
    UpdateKind.EXPIRATION_RAN: ops.UpdateType.ExpirationRan,
    UpdateKind.FEATURE_FLAG_CHANGED: ops.UpdateType.FeatureFlagChanged,
    UpdateKind.REPO_STATUS_CHANGED: ops.UpdateType.RepoStatusChanged,
}
"""The public class of each kind of update; its fields come in the order of the format's."""


def public_update(entry: OpsEntry, found_in: str | None) -> ops.Update:
    """An entry of the ops log as users see it; `found_in` names the backup that it was read from."""
    if entry.status is not None:
        fields: list[object] = [public_status(entry.status)]
    else:
        values = [getattr(entry, name) for name in UPDATE_FIELDS[entry.kind] if name != "flag_set"]
        fields = [id_text(value) if isinstance(value, bytes) else value for value in values]
    kind = _PUBLIC_KINDS[entry.kind](*fields)
    return ops.Update(kind, time_of(entry.updated_at), entry.backup_path or found_in)
