"""Every change of the repo object as a pure function.

Each function takes the repository's state and a `Stamp` and returns the next
state with exactly one more entry in the ops log, or raises and changes
nothing. One loop elsewhere fetches the object, applies such a function, writes
the result on condition that nobody else did, and starts over when somebody
did; a function may therefore be called several times, on newer states.

Rules of this file: no I/O, ids and times come from the caller, and each change
but `set_status` needs the repository to be online. Checks come in the order of
the official implementation, so that the same mistake gives the same error.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from icechunk._core.ids import INITIAL_SNAPSHOT_ID, id_text
from icechunk._core.ops_log import Stamp, record
from icechunk._exceptions import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    ReadOnlyError,
    RefNotFoundError,
    SessionStateError,
    SnapshotNotFoundError,
)
from icechunk._format.metadata import encode_properties
from icechunk._format.repo import (
    MAIN_BRANCH,
    Availability,
    OpsEntry,
    RepoInfo,
    RepoStatus,
    SnapshotEntry,
    UpdateKind,
    build_repo,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class FeatureFlagRow(NamedTuple):
    """A feature that can be switched off for a repository."""

    id: int
    name: str
    default_enabled: bool


FEATURE_FLAGS = (
    FeatureFlagRow(3, "move_node", True),
    FeatureFlagRow(4, "create_tag", True),
    FeatureFlagRow(5, "delete_tag", True),
)
"""All features with a switch; 1 and 2 are reserved by the format."""

MOVE_NODE, CREATE_TAG, DELETE_TAG = FEATURE_FLAGS


def create_repo(snapshot: SnapshotEntry, *, now_us: int, config: bytes | None = None) -> RepoInfo:
    """The state of a new repository: one snapshot without parent, and `main` on it.

    Parameters
    ----------
    snapshot : SnapshotEntry
        The first snapshot.
    now_us : int
        The time, in microseconds since the epoch.
    config : bytes, optional
        FlexBuffers document with the configuration; left out for the default one.
    """
    return build_repo(
        snapshots=[snapshot],
        branches={MAIN_BRANCH: snapshot.id},
        status=RepoStatus(Availability.ONLINE, now_us),
        updates=[OpsEntry(UpdateKind.REPO_INITIALIZED, now_us)],
        config=config,
    )


def commit(
    info: RepoInfo, branch: str, snapshot: SnapshotEntry, stamp: Stamp, *, rearranged: bool = False
) -> RepoInfo:
    """Add a snapshot and move the tip of `branch` from the snapshot's parent to it.

    Parameters
    ----------
    info : RepoInfo
    branch : str
    snapshot : SnapshotEntry
        The new snapshot; its `parent_id` is the tip on which it was built.
    stamp : Stamp
    rearranged : bool, optional
        Whether the snapshot comes from a session that moves nodes, which can be switched off.

    Raises
    ------
    ConflictError
        Kind `commit-conflict`: the branch is not at the parent any more.
    RefNotFoundError
        Kind `branch-not-found`: the branch was deleted.
    SessionStateError
        Kind `feature-flag-disabled`: moving nodes is switched off.
    ReadOnlyError
        Kind `read-only-repository`: the repository is not online.
    FormatError
        Kind `duplicate-snapshot-id`: there is a snapshot of that id.
    """
    require_online(info)
    if rearranged:
        require_feature(info, MOVE_NODE, "committing a rearrange session")
    _require_tip(info, branch, snapshot.parent_id)
    entry = OpsEntry(UpdateKind.NEW_COMMIT, name=branch, new_id=snapshot.id)
    return record(_advance(info, branch, snapshot), entry, stamp)


def amend(
    info: RepoInfo,
    branch: str,
    snapshot: SnapshotEntry,
    replaced: bytes,
    stamp: Stamp,
    *,
    rearranged: bool = False,
) -> RepoInfo:
    """Add a snapshot in the place of the tip of `branch`.

    The new snapshot takes over the parent of the one that it replaces, and its list of logs of
    expired ancestors; what `snapshot` says about both is not looked at. The replaced snapshot
    stays in the repository, without a name.

    Parameters
    ----------
    replaced : bytes
        Id of the snapshot that must be the tip of the branch.

    Raises
    ------
    SessionStateError
        Kind `no-amend-for-initial-commit`: the replaced snapshot has no parent. Kind
        `feature-flag-disabled`, as in `commit`.
    ConflictError, RefNotFoundError, ReadOnlyError, FormatError
        As in `commit`.
    """
    if rearranged:
        require_online(info)
        require_feature(info, MOVE_NODE, "committing a rearrange session")
    old = require_amendable(info, branch, replaced)
    snapshot = msgspec.structs.replace(
        snapshot, parent_id=old.parent_id, pruned_ancestor_tx_logs=old.pruned_ancestor_tx_logs
    )
    entry = OpsEntry(UpdateKind.COMMIT_AMENDED, name=branch, previous_id=replaced, new_id=snapshot.id)
    return record(_advance(info, branch, snapshot), entry, stamp)


def require_amendable(info: RepoInfo, branch: str, snapshot_id: bytes) -> SnapshotEntry:
    """The snapshot that an `amend` would replace.

    Raises
    ------
    SessionStateError, ConflictError, RefNotFoundError, ReadOnlyError
        As in `amend`.
    """
    require_online(info)
    _require_tip(info, branch, snapshot_id)
    found = info.snapshot(snapshot_id)
    if found is None or found.parent_id is None:
        raise _not_amendable(snapshot_id)
    return found


def require_not_first(snapshot_id: bytes) -> None:
    """Refuse to amend what every repository starts with, whatever became of the branch.

    Raises
    ------
    SessionStateError
        Kind `no-amend-for-initial-commit`.
    """
    if snapshot_id == INITIAL_SNAPSHOT_ID:
        raise _not_amendable(snapshot_id)


def _not_amendable(snapshot_id: bytes) -> SessionStateError:
    return SessionStateError(
        f"the first snapshot of the repository, {id_text(snapshot_id)}, cannot be amended; "
        "make a new commit instead",
        ErrorKind.NO_AMEND_FOR_INITIAL_COMMIT,
    )


def add_detached_snapshot(
    info: RepoInfo, snapshot: SnapshotEntry, stamp: Stamp, *, rearranged: bool = False
) -> RepoInfo:
    """Add a snapshot to which no branch points.

    Raises
    ------
    SnapshotNotFoundError
        Kind `snapshot-not-found`: its parent is not in the repository.
    SessionStateError, ReadOnlyError, FormatError
        As in `commit`.
    """
    require_online(info)
    if rearranged:
        require_feature(info, MOVE_NODE, "flushing a rearrange session")
    entry = OpsEntry(UpdateKind.NEW_DETACHED_SNAPSHOT, new_id=snapshot.id)
    return record(with_snapshot(info, snapshot), entry, stamp)


def create_branch(info: RepoInfo, name: str, snapshot_id: bytes, stamp: Stamp) -> RepoInfo:
    """Let a new branch point to a snapshot.

    Raises
    ------
    SnapshotNotFoundError
        Kind `snapshot-not-found`.
    AlreadyExistsError
        Kind `branch-already-exists`.
    ReadOnlyError
        Kind `read-only-repository`.
    """
    require_online(info)
    require_snapshot(info, snapshot_id)
    if name in info.branches:
        raise AlreadyExistsError(
            f"branch `{name}` already exists, at snapshot {id_text(info.branches[name])}; "
            "use reset_branch to move it",
            ErrorKind.BRANCH_ALREADY_EXISTS,
        )
    changed = msgspec.structs.replace(info, branches={**info.branches, name: snapshot_id})
    return record(changed, OpsEntry(UpdateKind.BRANCH_CREATED, name=name), stamp)


def delete_branch(info: RepoInfo, name: str, stamp: Stamp) -> RepoInfo:
    """Remove a branch; its snapshots stay.

    Raises
    ------
    SessionStateError
        Kind `cannot-delete-main`.
    RefNotFoundError
        Kind `ref-not-found`.
    ReadOnlyError
        Kind `read-only-repository`.
    """
    if name == MAIN_BRANCH:
        raise SessionStateError(f"branch `{MAIN_BRANCH}` cannot be deleted", ErrorKind.CANNOT_DELETE_MAIN)
    require_online(info)
    previous = resolve_branch(info, name)
    kept = {branch: tip for branch, tip in info.branches.items() if branch != name}
    entry = OpsEntry(UpdateKind.BRANCH_DELETED, name=name, previous_id=previous)
    return record(msgspec.structs.replace(info, branches=kept), entry, stamp)


def reset_branch(
    info: RepoInfo,
    name: str,
    snapshot_id: bytes,
    stamp: Stamp,
    *,
    from_snapshot_id: bytes | None = None,
) -> RepoInfo:
    """Let a branch point to another snapshot, related to its tip or not.

    Parameters
    ----------
    from_snapshot_id : bytes, optional
        Id of the snapshot at which the branch must be now.

    Raises
    ------
    ConflictError
        Kind `branch-update-conflict`: the branch is not at `from_snapshot_id`.
    RefNotFoundError
        Kind `ref-not-found`, or `branch-not-found` when `from_snapshot_id` was given.
    SnapshotNotFoundError
        Kind `snapshot-not-found`.
    ReadOnlyError
        Kind `read-only-repository`.
    """
    require_online(info)
    if from_snapshot_id is not None:
        tip = resolve_branch(info, name, ErrorKind.BRANCH_NOT_FOUND)
        if tip != from_snapshot_id:
            expected, actual = id_text(from_snapshot_id), id_text(tip)
            raise ConflictError(
                expected,
                actual,
                f"branch `{name}` is at snapshot {actual} and not at {expected}",
                ErrorKind.BRANCH_UPDATE_CONFLICT,
            )
    previous = resolve_branch(info, name)
    require_snapshot(info, snapshot_id)
    changed = msgspec.structs.replace(info, branches={**info.branches, name: snapshot_id})
    entry = OpsEntry(UpdateKind.BRANCH_RESET, name=name, previous_id=previous)
    return record(changed, entry, stamp)


def create_tag(info: RepoInfo, name: str, snapshot_id: bytes, stamp: Stamp) -> RepoInfo:
    """Give a snapshot a permanent name.

    Raises
    ------
    SnapshotNotFoundError
        Kind `snapshot-not-found`.
    SessionStateError
        Kind `feature-flag-disabled`: creating tags is switched off.
    AlreadyExistsError
        Kind `tag-already-exists`, or `tag-previously-deleted`: a tag never comes back.
    ReadOnlyError
        Kind `read-only-repository`.
    """
    require_online(info)
    require_snapshot(info, snapshot_id)
    require_feature(info, CREATE_TAG, "creating a tag")
    if name in info.tags:
        raise AlreadyExistsError(
            f"tag `{name}` already exists, at snapshot {id_text(info.tags[name])}; tags cannot be changed",
            ErrorKind.TAG_ALREADY_EXISTS,
        )
    if name in info.deleted_tags:
        raise AlreadyExistsError(
            f"tag `{name}` existed and was deleted; its name cannot be used again",
            ErrorKind.TAG_PREVIOUSLY_DELETED,
        )
    changed = msgspec.structs.replace(info, tags={**info.tags, name: snapshot_id})
    return record(changed, OpsEntry(UpdateKind.TAG_CREATED, name=name), stamp)


def delete_tag(info: RepoInfo, name: str, stamp: Stamp) -> RepoInfo:
    """Remove a tag and reserve its name for ever.

    Raises
    ------
    SessionStateError
        Kind `feature-flag-disabled`: deleting tags is switched off.
    RefNotFoundError
        Kind `ref-not-found`.
    ReadOnlyError
        Kind `read-only-repository`.
    """
    require_online(info)
    require_feature(info, DELETE_TAG, "deleting a tag")
    previous = resolve_tag(info, name)
    changed = msgspec.structs.replace(
        info,
        tags={tag: target for tag, target in info.tags.items() if tag != name},
        deleted_tags=info.deleted_tags | {name},
    )
    entry = OpsEntry(UpdateKind.TAG_DELETED, name=name, previous_id=previous)
    return record(changed, entry, stamp)


def set_config(info: RepoInfo, config: bytes, stamp: Stamp) -> RepoInfo:
    """Store a configuration: one FlexBuffers document.

    Raises
    ------
    ReadOnlyError
        Kind `read-only-repository`.
    """
    require_online(info)
    changed = msgspec.structs.replace(info, config=config)
    return record(changed, OpsEntry(UpdateKind.CONFIG_CHANGED), stamp)


def set_metadata(info: RepoInfo, metadata: Mapping[str, object], stamp: Stamp) -> RepoInfo:
    """Replace the repository's metadata.

    Raises
    ------
    TypeError
        A value has no counterpart in JSON.
    ReadOnlyError
        Kind `read-only-repository`.
    """
    require_online(info)
    changed = msgspec.structs.replace(info, raw_metadata=dict(encode_properties(metadata, info.spec_version)))
    return record(changed, OpsEntry(UpdateKind.METADATA_CHANGED), stamp)


def update_metadata(info: RepoInfo, changes: Mapping[str, object], stamp: Stamp) -> RepoInfo:
    """Lay `changes` over the repository's metadata, key by key at the top level.

    Raises
    ------
    TypeError, ReadOnlyError
        As in `set_metadata`.
    """
    require_online(info)
    encoded = dict(encode_properties(changes, info.spec_version))
    changed = msgspec.structs.replace(info, raw_metadata={**info.raw_metadata, **encoded})
    return record(changed, OpsEntry(UpdateKind.METADATA_CHANGED), stamp)


def set_status(info: RepoInfo, status: RepoStatus, stamp: Stamp) -> RepoInfo:
    """Set whether the repository can be written; allowed in every state."""
    changed = msgspec.structs.replace(info, status=status)
    return record(changed, OpsEntry(UpdateKind.REPO_STATUS_CHANGED, status=status), stamp)


def set_feature_flag(info: RepoInfo, name: str, setting: bool | None, stamp: Stamp) -> RepoInfo:
    """Switch a feature on or off, or with `None` back to its default.

    Raises
    ------
    InvalidInputError
        Kind `invalid-feature-flag`: there is no feature of the name.
    ReadOnlyError
        Kind `read-only-repository`.
    """
    flag = feature_flag(name)
    require_online(info)
    changed = msgspec.structs.replace(
        info,
        enabled_flags=_with_flag(info.enabled_flags, flag.id, setting is True),
        disabled_flags=_with_flag(info.disabled_flags, flag.id, setting is False),
    )
    entry = OpsEntry(UpdateKind.FEATURE_FLAG_CHANGED, flag_id=flag.id, flag_value=setting)
    return record(changed, entry, stamp)


def feature_flag(name: str) -> FeatureFlagRow:
    """The feature of a name.

    Raises
    ------
    InvalidInputError
        Kind `invalid-feature-flag`.
    """
    for flag in FEATURE_FLAGS:
        if flag.name == name:
            return flag
    raise InvalidInputError(
        f"there is no feature flag `{name}`; the known ones are "
        + ", ".join(f"`{flag.name}`" for flag in FEATURE_FLAGS),
        ErrorKind.INVALID_FEATURE_FLAG,
    )


def feature_setting(info: RepoInfo, flag: FeatureFlagRow) -> bool | None:
    """What the repository says about a feature; `None` when it leaves it at its default."""
    if flag.id in (info.enabled_flags or ()):
        return True
    return False if flag.id in (info.disabled_flags or ()) else None


def require_feature(info: RepoInfo, flag: FeatureFlagRow, action: str) -> None:
    """Refuse `action` when the repository switched its feature off.

    Raises
    ------
    SessionStateError
        Kind `feature-flag-disabled`.
    """
    setting = feature_setting(info, flag)
    if not (flag.default_enabled if setting is None else setting):
        raise SessionStateError(
            f"{action} is switched off in this repository by the feature flag `{flag.name}`; "
            f'set_feature_flag("{flag.name}", True) allows it again',
            ErrorKind.FEATURE_FLAG_DISABLED,
        )


def require_online(info: RepoInfo) -> None:
    """Refuse a change while the repository is read-only.

    Raises
    ------
    ReadOnlyError
        Kind `read-only-repository`.
    """
    if info.status.is_online:
        return
    since = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=info.status.set_at)
    reason = f" ({info.status.reason})" if info.status.reason else ""
    raise ReadOnlyError(
        f"the repository has been read-only since {since.isoformat()}{reason}; "
        "set_status can bring it back online",
        ErrorKind.READ_ONLY_REPOSITORY,
    )


def _advance(info: RepoInfo, branch: str, snapshot: SnapshotEntry) -> RepoInfo:
    """Add a snapshot and let an existing branch point to it."""
    changed = with_snapshot(info, snapshot)
    return msgspec.structs.replace(changed, branches={**changed.branches, branch: snapshot.id})


def with_snapshot(info: RepoInfo, snapshot: SnapshotEntry) -> RepoInfo:
    """The state with one more snapshot, and nothing in the ops log about it.

    Raises
    ------
    FormatError
        Kind `duplicate-snapshot-id`.
    SnapshotNotFoundError
        Kind `snapshot-not-found`: its parent is not in the repository.
    """
    if info.snapshot_index(snapshot.id) is not None:
        raise FormatError(
            f"the repository has a snapshot {id_text(snapshot.id)} already",
            ErrorKind.DUPLICATE_SNAPSHOT_ID,
        )
    if snapshot.parent_id is not None:
        require_snapshot(info, snapshot.parent_id)
    return info.with_snapshot(snapshot)


def require_snapshot(info: RepoInfo, snapshot_id: bytes) -> None:
    """Refuse a snapshot that the repository does not have.

    Raises
    ------
    SnapshotNotFoundError
        Kind `snapshot-not-found`.
    """
    if info.snapshot_index(snapshot_id) is None:
        raise SnapshotNotFoundError(
            f"there is no snapshot {id_text(snapshot_id)} in the repository",
            ErrorKind.SNAPSHOT_NOT_FOUND,
        )


def resolve_branch(info: RepoInfo, name: str, kind: ErrorKind = ErrorKind.REF_NOT_FOUND) -> bytes:
    """The id of the snapshot at the tip of a branch.

    Raises
    ------
    RefNotFoundError
        Of the given kind, by default `ref-not-found`.
    """
    return _resolve(info.branches, name, "branch", kind)


def resolve_tag(info: RepoInfo, name: str) -> bytes:
    """The id of the snapshot of a tag.

    Raises
    ------
    RefNotFoundError
        Kind `ref-not-found`.
    """
    return _resolve(info.tags, name, "tag", ErrorKind.REF_NOT_FOUND)


def _resolve(refs: Mapping[str, bytes], name: str, what: str, kind: ErrorKind) -> bytes:
    try:
        return refs[name]
    except KeyError:
        raise RefNotFoundError(f"there is no {what} `{name}` in the repository", kind) from None


def _require_tip(info: RepoInfo, branch: str, expected: bytes | None) -> None:
    """Refuse a commit on anything but the tip of its branch."""
    tip = resolve_branch(info, branch, ErrorKind.BRANCH_NOT_FOUND)
    if tip != expected:
        raise ConflictError(None if expected is None else id_text(expected), id_text(tip))


def _with_flag(flags: tuple[int, ...] | None, flag_id: int, present: bool) -> tuple[int, ...] | None:
    """A list of flags with or without one; a list that was never used only comes to be when needed."""
    if flags is None and not present:
        return None
    others = set(flags or ()) - {flag_id}
    return tuple(sorted(others | {flag_id} if present else others))
