"""What was done to a repository: the entries of its operations log, its status and its feature flags."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import msgspec

from icechunk.display import Form, Result, moment, plain, quoted
from icechunk.types import RepoAvailability, nest_variants

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FeatureFlag", "RepoStatus", "Update", "UpdateType"]

_AVAILABILITY = {RepoAvailability.online: "Online", RepoAvailability.read_only: "ReadOnly"}


class RepoStatus(Result, frozen=True):
    """Whether a repository takes writes, since when, and why not.

    Parameters
    ----------
    availability : RepoAvailability
        Whether the repository takes writes.
    set_at : datetime.datetime, optional
        When that was decided, in UTC; now when left out.
    limited_availability_reason : str, optional
        Why it takes no writes, for those who find out.

    Raises
    ------
    TypeError
        An argument has the wrong type, or `set_at` has no time zone.

    Examples
    --------
    >>> from icechunk import RepoAvailability, RepoStatus
    >>> status = RepoStatus(RepoAvailability.read_only, limited_availability_reason="moving house")
    >>> status.availability
    RepoAvailability.read_only
    """

    _shown_as: ClassVar[str] = "icechunk.repository.RepoStatus"

    availability: RepoAvailability
    set_at: datetime = None  # type: ignore[assignment]  # filled in below: no reader sees None
    limited_availability_reason: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.availability, RepoAvailability):
            raise TypeError(f"availability must be a RepoAvailability, not {self.availability!r}")
        set_at: object = self.set_at
        if set_at is None:
            # A label that the user puts on a value of theirs, not an input of the model: the
            # clock of the library's own writes is the seam's.
            msgspec.structs.force_setattr(self, "set_at", datetime.now(UTC))
        elif not isinstance(set_at, datetime) or set_at.tzinfo is None:
            raise TypeError(f"set_at must be a datetime with a time zone, not {set_at!r}")
        reason: object = self.limited_availability_reason
        if reason is not None and not isinstance(reason, str):
            raise TypeError(f"limited_availability_reason must be of type str, not {reason!r}")

    def _fields(self, form: Form) -> Iterable[tuple[str, str]]:
        yield "availability", _AVAILABILITY[self.availability]
        yield "set_at", plain(self.set_at.astimezone(UTC), form)
        yield "limited_availability_reason", plain(self.limited_availability_reason, form)

    def _line(self) -> str:
        """All of it in one line, for the listing of an update."""
        reason = self.limited_availability_reason
        return (
            f"RepoStatus(availability={_AVAILABILITY[self.availability]}, "
            f"set_at={moment(self.set_at.astimezone(UTC))}, "
            f"limited_availability_reason={None if reason is None else quoted(reason)})"
        )


class FeatureFlag(Result, frozen=True):
    """Something that can be switched off for everybody who uses a repository.

    Attributes
    ----------
    id : int
        Its number in the format.
    name : str
        What `Repository.set_feature_flag` calls it.
    default_enabled : bool
        Whether it is on in a repository that says nothing about it.
    setting : bool or None
        What the repository says about it; None when it says nothing.
    enabled : bool
        Whether it is on.

    Examples
    --------
    >>> import icechunk
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> repo.set_feature_flag("delete_tag", False)
    >>> print(repo.disabled_feature_flags()[0])
    <icechunk.config.FeatureFlag>
    id: 5
    name: delete_tag
    default_enabled: True
    setting: False
    enabled: False
    <BLANKLINE>
    """

    _shown_as: ClassVar[str] = "icechunk.config.FeatureFlag"

    id: int
    name: str
    default_enabled: bool
    setting: bool | None
    enabled: bool


class UpdateType:
    """What an entry of the operations log says was done.

    Each kind is a nested class; its attributes say to what it was done.

    Examples
    --------
    >>> from icechunk import UpdateType
    >>> kind = UpdateType.TagCreated(name="v1")
    >>> isinstance(kind, UpdateType), kind.name
    (True, 'v1')
    >>> kind
    icechunk.ops.UpdateType.TagCreated(name="v1")
    """

    __slots__ = ()

    if TYPE_CHECKING:
        RepoInitialized: TypeAlias = "_RepoInitialized"
        RepoMigrated: TypeAlias = "_RepoMigrated"
        RepoStatusChanged: TypeAlias = "_RepoStatusChanged"
        ConfigChanged: TypeAlias = "_ConfigChanged"
        MetadataChanged: TypeAlias = "_MetadataChanged"
        TagCreated: TypeAlias = "_TagCreated"
        TagDeleted: TypeAlias = "_TagDeleted"
        BranchCreated: TypeAlias = "_BranchCreated"
        BranchDeleted: TypeAlias = "_BranchDeleted"
        BranchReset: TypeAlias = "_BranchReset"
        NewCommit: TypeAlias = "_NewCommit"
        CommitAmended: TypeAlias = "_CommitAmended"
        NewDetachedSnapshot: TypeAlias = "_NewDetachedSnapshot"
        GCRan: TypeAlias = "_GCRan"
        ExpirationRan: TypeAlias = "_ExpirationRan"
        FeatureFlagChanged: TypeAlias = "_FeatureFlagChanged"

    def __repr__(self) -> str:
        fields: tuple[str, ...] = self.__struct_fields__  # type: ignore[attr-defined]  # a msgspec record
        arguments = [f"{name}={_argument(getattr(self, name))}" for name in fields]
        return f"icechunk.ops.{type(self).__qualname__}({', '.join(arguments)})"


def _argument(value: object) -> str:
    if isinstance(value, RepoStatus):
        return value._line()
    return quoted(value) if isinstance(value, str) else repr(value)


class _RepoInitialized(UpdateType, msgspec.Struct, frozen=True):
    """The repository was created."""


class _RepoMigrated(UpdateType, msgspec.Struct, frozen=True):
    """The repository went from one spec version to the next."""

    from_version: int
    to_version: int


class _RepoStatusChanged(UpdateType, msgspec.Struct, frozen=True):
    """The repository was put on or off line."""

    status: RepoStatus


class _ConfigChanged(UpdateType, msgspec.Struct, frozen=True):
    """The stored configuration was replaced."""


class _MetadataChanged(UpdateType, msgspec.Struct, frozen=True):
    """The repository's own metadata was replaced."""


class _TagCreated(UpdateType, msgspec.Struct, frozen=True):
    """A tag was created."""

    name: str


class _TagDeleted(UpdateType, msgspec.Struct, frozen=True):
    """A tag was deleted; `previous_snap_id` is where it pointed."""

    name: str
    previous_snap_id: str


class _BranchCreated(UpdateType, msgspec.Struct, frozen=True):
    """A branch was created."""

    name: str


class _BranchDeleted(UpdateType, msgspec.Struct, frozen=True):
    """A branch was deleted; `previous_snap_id` is where it pointed."""

    name: str
    previous_snap_id: str


class _BranchReset(UpdateType, msgspec.Struct, frozen=True):
    """A branch was pointed somewhere else; `previous_snap_id` is where it pointed before."""

    name: str
    previous_snap_id: str


class _NewCommit(UpdateType, msgspec.Struct, frozen=True):
    """A session was committed to a branch."""

    branch: str
    new_snap_id: str


class _CommitAmended(UpdateType, msgspec.Struct, frozen=True):
    """The tip of a branch was replaced by another commit."""

    branch: str
    previous_snap_id: str
    new_snap_id: str


class _NewDetachedSnapshot(UpdateType, msgspec.Struct, frozen=True):
    """A session was flushed to a snapshot on no branch."""

    new_snap_id: str


class _GCRan(UpdateType, msgspec.Struct, frozen=True):
    """Unreachable objects were collected."""


class _ExpirationRan(UpdateType, msgspec.Struct, frozen=True):
    """Old snapshots were expired."""


class _FeatureFlagChanged(UpdateType, msgspec.Struct, frozen=True):
    """A feature flag was set, or with `new_value` None returned to its default."""

    id: int
    new_value: bool | None


nest_variants(UpdateType)


class Update(Result, frozen=True):
    """One entry of a repository's operations log.

    Attributes
    ----------
    kind : UpdateType
        What was done.
    updated_at : datetime.datetime
        When, in UTC.
    backup_path : str or None
        The name of the copy, below ``overwritten/``, of the repository object as this
        operation left it; None when that is the live object.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from icechunk import Update, UpdateType
    >>> print(Update(UpdateType.RepoInitialized(), datetime(2026, 1, 2, tzinfo=UTC)))
    <icechunk.ops.Update>
    kind: icechunk.ops.UpdateType.RepoInitialized()
    updated_at: datetime.datetime(2026,1,2,0,0,0,0, tzinfo=datetime.timezone.utc)
    backup_path: None
    <BLANKLINE>
    """

    kind: UpdateType
    updated_at: datetime
    backup_path: str | None = None
