"""What both spellings of a session have in common: its state, and all that needs no I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from icechunk._core.diff import changes_in_short, session_status
from icechunk._core.ids import id_text
from icechunk._core.locations import usable_containers
from icechunk.display import Form, Listed
from icechunk.types import SessionMode

if TYPE_CHECKING:
    from icechunk._core.locations import Containers
    from icechunk._core.session_state import SessionState
    from icechunk._io.asset_cache import AssetCache
    from icechunk.config import RepositoryConfig
    from icechunk.credentials import AnyCredential
    from icechunk.display import Fields
    from icechunk.session import ForkSession
    from icechunk.snapshots import Diff


class SessionBase(Listed, ABC):
    """A view of a repository at one snapshot, with the changes made on top of it."""

    _shown_as: ClassVar[str] = "icechunk.session.Session"

    _state: SessionState
    _cache: AssetCache
    _config: RepositoryConfig
    _virtual_access: dict[str, AnyCredential | None]

    @cached_property
    def _containers(self) -> Containers:
        """The virtual chunk containers of the configuration."""
        return usable_containers(self._config.virtual_chunk_containers)

    @abstractmethod
    def _new_fork(self, state: SessionState) -> ForkSession:
        """The public session over the state of a fork."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionBase) and self._state is other._state

    def __hash__(self) -> int:
        return id(self._state)

    @property
    def read_only(self) -> bool:
        """Whether the session refuses changes.

        Returns
        -------
        bool
            True for sessions opened with `Repository.readonly_session`, and for
            every session once it has been committed.
        """
        return self._state.read_only

    @property
    def mode(self) -> SessionMode:
        """What the session may do.

        Returns
        -------
        SessionMode
        """
        return self._state.mode

    @property
    def snapshot_id(self) -> str:
        """The id of the snapshot that the session is based on.

        Returns
        -------
        str
            20 characters; after a commit, the id of the new snapshot.
        """
        return id_text(self._state.snapshot.id)

    @property
    def branch(self) -> str | None:
        """The branch that a commit of this session goes to.

        Returns
        -------
        str or None
            None for a session that cannot be committed.
        """
        return self._state.branch

    @property
    def has_uncommitted_changes(self) -> bool:
        """Whether a commit would contain anything.

        Returns
        -------
        bool
        """
        return self._state.has_changes()

    @property
    def config(self) -> RepositoryConfig:
        """The configuration of the repository, as a copy.

        Returns
        -------
        RepositoryConfig
            Changes to it have no effect; see `Repository.reopen`.
        """
        return deepcopy(self._config)

    def status(self) -> Diff:
        """The changes made since the session was opened.

        Returns
        -------
        Diff
            Created, updated and deleted nodes, and changed chunks by array path.
        """
        return session_status(self._state)

    def discard_changes(self) -> None:
        """Forget all uncommitted changes.

        Chunks that were written stay in storage, without a reference, until
        garbage is collected.

        Raises
        ------
        ReadOnlyError
            Kind `read-only-session`.
        """
        self._state.discard_changes()

    def _fields(self, form: Form) -> Fields:
        # Without the lock: a change set and its base belong together also while a commit lands.
        branch, mode, changes = self._state.branch, self._state.mode, self._state.changes
        read_only = mode is SessionMode.readonly
        yield ("mode", mode.name) if form is Form.HTML else ("read_only", str(read_only))
        yield "snapshot_id", id_text(changes.base.id)
        if not read_only:
            yield "branch", str(branch)
            yield "has_uncommitted_changes", str(not changes.is_empty())
            if form is Form.HTML and (summary := changes_in_short(changes)):
                yield "changes", summary
