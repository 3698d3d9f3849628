"""The exception tree and the stable codes of its members.

Every error that Icechunk raises on purpose derives from `IcechunkError`. The
class says what a caller can do about it; the `kind` attribute, a member of
`ErrorKind`, says exactly what went wrong::

    IcechunkError
    ├── ConflictError            somebody else changed what we wanted to change
    │   └── RebaseFailedError
    ├── NotFoundError            (also a KeyError)
    │   ├── NodeNotFoundError
    │   ├── SnapshotNotFoundError
    │   ├── RefNotFoundError
    │   └── RepositoryNotFoundError
    ├── AlreadyExistsError
    ├── ReadOnlyError
    ├── InvalidInputError        (also a ValueError)
    ├── SessionStateError
    ├── StorageError
    ├── FormatError
    └── InternalError

Rules of this file: all classes are picklable, show themselves as
`icechunk.<Class>`, and carry their message and kind in `args`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class ErrorKind(StrEnum):
    """Stable codes of failures, compared with the `kind` of an `IcechunkError`.

    Codes are never renamed or removed. They are grouped here by the class that
    carries them.

    Examples
    --------
    >>> from icechunk import ErrorKind, NodeNotFoundError
    >>> error = NodeNotFoundError("no node at /a", ErrorKind.NODE_NOT_FOUND)
    >>> error.kind == "node-not-found"
    True
    """

    # ConflictError
    COMMIT_CONFLICT = "commit-conflict"
    BRANCH_UPDATE_CONFLICT = "branch-update-conflict"
    CONFIG_UPDATED = "config-updated"
    REPO_INFO_UPDATED = "repo-info-updated"
    UPDATE_ATTEMPTS_EXHAUSTED = "update-attempts-exhausted"
    # RebaseFailedError
    REBASE_FAILED = "rebase-failed"
    # NodeNotFoundError
    NODE_NOT_FOUND = "node-not-found"
    ANCESTOR_NODE_NOT_FOUND = "ancestor-node-not-found"
    CHUNK_NOT_FOUND = "chunk-not-found"
    KEY_NOT_FOUND = "key-not-found"
    # SnapshotNotFoundError
    SNAPSHOT_NOT_FOUND = "snapshot-not-found"
    NO_SNAPSHOT_AT_TIME = "no-snapshot-at-time"
    # RefNotFoundError
    REF_NOT_FOUND = "ref-not-found"
    BRANCH_NOT_FOUND = "branch-not-found"
    TAG_NOT_FOUND = "tag-not-found"
    # RepositoryNotFoundError
    REPOSITORY_NOT_FOUND = "repository-not-found"
    # AlreadyExistsError
    NODE_ALREADY_EXISTS = "node-already-exists"
    BRANCH_ALREADY_EXISTS = "branch-already-exists"
    TAG_ALREADY_EXISTS = "tag-already-exists"
    TAG_PREVIOUSLY_DELETED = "tag-previously-deleted"
    MOVE_WONT_OVERWRITE = "move-wont-overwrite"
    # ReadOnlyError
    READ_ONLY_SESSION = "read-only-session"
    READ_ONLY_STORE = "read-only-store"
    READ_ONLY_STORAGE = "read-only-storage"
    READ_ONLY_REPOSITORY = "read-only-repository"
    # InvalidInputError
    INVALID_KEY = "invalid-key"
    INVALID_CHUNK_INDEX = "invalid-chunk-index"
    ZERO_LENGTH_CHUNK = "zero-length-chunk"
    INVALID_MANIFEST_SPLIT_INDEX = "invalid-manifest-split-index"
    INVALID_REF_TYPE = "invalid-ref-type"
    INVALID_REF_NAME = "invalid-ref-name"
    INVALID_SNAPSHOT_ID = "invalid-snapshot-id"
    INVALID_PATH = "invalid-path"
    BAD_KEY_PREFIX = "bad-key-prefix"
    BAD_METADATA = "bad-metadata"
    BAD_PREFIX = "bad-prefix"
    NOT_AN_ARRAY = "not-an-array"
    NOT_A_GROUP = "not-a-group"
    INVALID_BYTE_RANGE = "invalid-byte-range"
    INVALID_COMMIT_CONFIGURATION = "invalid-commit-configuration"
    INVALID_ARRAY_METADATA = "invalid-array-metadata"
    INVALID_FEATURE_FLAG = "invalid-feature-flag"
    INVALID_VIRTUAL_REF = "invalid-virtual-ref"
    INVALID_CREDENTIALS = "invalid-credentials"
    NO_CONTAINER_FOR_VIRTUAL_CHUNK = "no-container-for-virtual-chunk"
    UNAUTHORIZED_VIRTUAL_CHUNK_CONTAINER = "unauthorized-virtual-chunk-container"
    EMPTY_PREFIX_CREATION = "empty-prefix-creation"
    PARENT_DIRECTORY_NOT_CLEAN = "parent-directory-not-clean"
    BAD_SNAPSHOT_CHAIN_FOR_DIFF = "bad-snapshot-chain-for-diff"
    # SessionStateError
    COMMIT_NOT_ALLOWED = "commit-not-allowed"
    MERGE_NOT_ALLOWED = "merge-not-allowed"
    CANNOT_FORK_READ_ONLY_SESSION = "cannot-fork-read-only-session"
    REARRANGE_SESSION_ONLY = "rearrange-session-only"
    NON_REARRANGE_SESSION = "non-rearrange-session"
    MOVE_INTO_SELF_OR_DESCENDANT = "move-into-self-or-descendant"
    MOVE_DESTINATION_PARENT_MISSING = "move-destination-parent-missing"
    MOVE_DESTINATION_PARENT_NOT_GROUP = "move-destination-parent-not-group"
    NO_CHANGES_TO_COMMIT = "no-changes-to-commit"
    NO_AMEND_FOR_INITIAL_COMMIT = "no-amend-for-initial-commit"
    NOT_ON_BRANCH = "not-on-branch"
    NO_SNAPSHOT = "no-snapshot"
    CANNOT_DELETE_MAIN = "cannot-delete-main"
    UNCOMMITTED_CHANGES = "uncommitted-changes"
    MERGE_FAILED = "merge-failed"
    NOT_ALLOWED = "not-allowed"
    UNIMPLEMENTED = "unimplemented"
    REBASE_TX_LOG_PRUNED = "rebase-tx-log-pruned"
    FEATURE_FLAG_DISABLED = "feature-flag-disabled"
    TAG_ERROR = "tag-error"
    INVALID_REPOSITORY_MIGRATION = "invalid-repository-migration"
    # StorageError
    OBJECT_NOT_FOUND = "object-not-found"
    OBJECT_STORE = "object-store"
    IO = "io"
    STORAGE_CONFIG = "storage-config"
    CANNOT_PARSE_URL = "cannot-parse-url"
    BAD_REDIRECT = "bad-redirect"
    SEMAPHORE_ACQUIRE = "semaphore-acquire"
    STORAGE_OTHER = "storage-other"
    VIRTUAL_CHUNK_FETCH = "virtual-chunk-fetch"
    VIRTUAL_CHUNK_MODIFIED = "virtual-chunk-modified"
    INVALID_OBJECT_SIZE = "invalid-object-size"
    THROTTLED = "throttled"
    GC_DELETES_FAILING = "gc-deletes-failing"
    # FormatError
    MANIFEST_INFO_NOT_FOUND = "manifest-info-not-found"
    SERIALIZATION = "serialization"
    DESERIALIZATION = "deserialization"
    CONFIG_DESERIALIZATION = "config-deserialization"
    INVALID_FILE_FORMAT = "invalid-file-format"
    UNSUPPORTED_SPEC_VERSION = "unsupported-spec-version"
    UNSUPPORTED_OPERATION_FOR_VERSION = "unsupported-operation-for-version"
    SNAPSHOT_TIMESTAMP = "snapshot-timestamp"
    DUPLICATE_SNAPSHOT_ID = "duplicate-snapshot-id"
    # InternalError
    CONCURRENCY = "concurrency"
    FLUSH = "flush"
    PARTIAL_VALUES_PANIC = "partial-values-panic"
    CONFLICTING_PATH_NOT_FOUND = "conflicting-path-not-found"
    INCONSISTENT_MANIFESTS = "inconsistent-manifests"
    POISON_LOCK = "poison-lock"
    PICKLE = "pickle"
    UNKNOWN = "unknown"


class IcechunkError(Exception):
    """The root of all errors raised by Icechunk.

    Parameters
    ----------
    message : str
        What failed, on which object, and the way out where there is one.
    kind : str, optional
        A code of `ErrorKind`; ``"unknown"`` when the failure has none.

    Attributes
    ----------
    message : str
    kind : str

    Examples
    --------
    >>> import icechunk
    >>> try:
    ...     repo = icechunk.Repository.open(icechunk.in_memory_storage())
    ... except icechunk.IcechunkError as error:
    ...     type(error).__name__, error.kind
    ('RepositoryNotFoundError', 'repository-not-found')
    """

    message: str
    kind: str

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message, *(() if kind is None else (str(kind),)))
        self.message = message
        self.kind = str(kind) if kind is not None else ErrorKind.UNKNOWN.value

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f'icechunk.{type(self).__name__}(message="{self.message}", kind="{self.kind}")'


class ConflictError(IcechunkError):
    """A change was refused because another one landed first.

    Parameters
    ----------
    expected_parent : str, optional
        Id of the snapshot on which the change was based.
    actual_parent : str, optional
        Id of the snapshot at which the branch is now.
    message : str, optional
        Text of the error; made from the two parents when left out.
    kind : str, optional
        A code of `ErrorKind`.

    Examples
    --------
    >>> import icechunk, zarr
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> ours, theirs = repo.writable_session("main"), repo.writable_session("main")
    >>> groups = [zarr.create_group(session.store) for session in (ours, theirs)]
    >>> tip = theirs.commit("make the root")
    >>> try:
    ...     ours.commit("make the root too")
    ... except icechunk.ConflictError as error:
    ...     error.kind, error.actual_parent == tip
    ('commit-conflict', True)
    """

    expected_parent: str | None
    actual_parent: str | None

    def __init__(
        self,
        expected_parent: str | None = None,
        actual_parent: str | None = None,
        message: str | None = None,
        kind: str | None = None,
    ) -> None:
        if message is None:
            message = (
                f"Failed to commit, expected parent: {_optional(expected_parent)}, "
                f"actual parent: {_optional(actual_parent)}"
            )
        super().__init__(message, kind if kind is not None else ErrorKind.COMMIT_CONFLICT)
        self.args = (expected_parent, actual_parent, message, self.kind)
        self.expected_parent = expected_parent
        self.actual_parent = actual_parent

    def __repr__(self) -> str:
        return (
            f"icechunk.{type(self).__name__}(expected_parent={self.expected_parent}, "
            f"actual_parent={self.actual_parent})"
        )


_NAMED = 5
"""Conflicts that the message of an error names."""


class RebaseFailedError(ConflictError):
    """A rebase met conflicts that its solver could not settle.

    Parameters
    ----------
    snapshot : str
        Id of the snapshot with which the session conflicts.
    conflicts : sequence of Conflict
        Every conflict found against that snapshot.

    Examples
    --------
    >>> import icechunk, zarr
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> ours, theirs = repo.writable_session("main"), repo.writable_session("main")
    >>> groups = [zarr.create_group(session.store) for session in (ours, theirs)]
    >>> tip = theirs.commit("make the root")
    >>> try:
    ...     ours.rebase(icechunk.ConflictDetector())
    ... except icechunk.RebaseFailedError as error:
    ...     [(str(conflict.conflict_type), conflict.path) for conflict in error.conflicts]
    [('New node conflicts with existing node', '/')]
    """

    snapshot: str
    conflicts: list[Any]

    def __init__(self, snapshot: str, conflicts: Sequence[Any]) -> None:
        named = [
            str(each.conflict_type).lower() + (f" at `{each.path}`" if each.path else "")
            for each in conflicts[:_NAMED]
        ]
        if len(conflicts) > _NAMED:
            named.append(f"and {len(conflicts) - _NAMED} more")
        super().__init__(
            message=f"Rebase failed on snapshot {snapshot}: {len(conflicts)} conflicts found"
            + (": " + ", ".join(named) if named else ""),
            kind=ErrorKind.REBASE_FAILED,
        )
        self.args = (snapshot, list(conflicts))
        self.snapshot = snapshot
        self.conflicts = list(conflicts)

    def __repr__(self) -> str:
        return f'icechunk.RebaseFailedError(snapshot="{self.snapshot}", conflicts={self.conflicts})'


class NotFoundError(IcechunkError, KeyError):
    """Something that was asked for does not exist. Also a `KeyError`."""


class NodeNotFoundError(NotFoundError):
    """There is no group, array or chunk at the path."""


class SnapshotNotFoundError(NotFoundError):
    """There is no snapshot with the id, or at the time."""


class RefNotFoundError(NotFoundError):
    """There is no branch or tag of the name."""


class RepositoryNotFoundError(NotFoundError):
    """There is no repository at the storage location."""


class AlreadyExistsError(IcechunkError):
    """What was to be created (a node, branch, tag, ...) exists already."""


class ReadOnlyError(IcechunkError):
    """A write went to a read-only session, store, storage or repository."""


class InvalidInputError(IcechunkError, ValueError):
    """An argument, key, index or metadata document is not valid. Also a `ValueError`."""


class SessionStateError(IcechunkError):
    """The session or repository is in a state that does not allow the operation."""


class StorageError(IcechunkError):
    """The object store or directory failed, or is set up wrongly."""


class FormatError(IcechunkError):
    """Stored bytes could not be read, or data could not be written in the format."""


class InternalError(IcechunkError):
    """An invariant of this library is broken: a bug worth a report."""


class DuplicateChunkWarning(UserWarning):
    """Sessions that were merged had written one chunk differently, and what was merged last counts.

    Usually two workers were given regions of an array that share a chunk, so that each of them
    has overwritten a part of what the other one wrote.

    See Also
    --------
    Session.merge : Its argument `duplicate_chunks` turns this into an error, or off.
    """


def _optional(parent: str | None) -> str:
    return "None" if parent is None else f'Some("{parent}")'


for _class in (IcechunkError, *IcechunkError.__subclasses__(), *NotFoundError.__subclasses__()):
    _class.__module__ = "icechunk"
RebaseFailedError.__module__ = DuplicateChunkWarning.__module__ = "icechunk"
del _class
