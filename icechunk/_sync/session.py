# Generated from icechunk/_async/session.py by tools/make_sync.py; edit that file.
"""The verbs of a session that need I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icechunk._sync.assets import SyncAssets
from icechunk._sync.chunks import SyncChunks
from icechunk._sync.commit import commit_session
from icechunk._sync.keys import SyncKeys
from icechunk._sync.virtual import SyncVirtualChunks
from icechunk._core.commit_plan import commit_properties
from icechunk._core.session_base import SessionBase

if TYPE_CHECKING:
    from collections.abc import Mapping


class SyncSession(SessionBase):
    """The coroutines of a session; see `icechunk.Session`."""

    _keys_cached: SyncKeys | None = None

    @property
    def _assets(self) -> SyncAssets:
        return SyncAssets.of(self._cache)

    @property
    def _keys(self) -> SyncKeys:
        keys = self._keys_cached
        if keys is None:
            virtual = SyncVirtualChunks(self._config, self._virtual_access)
            chunks = SyncChunks(self._state, self._assets, virtual)
            keys = self._keys_cached = SyncKeys(self._state, chunks)
        return keys

    def commit(
        self, message: str, metadata: Mapping[str, Any] | None = None, *, allow_empty: bool = False
    ) -> str:
        """Make the changes of this session the new tip of its branch.

        Afterwards the session is a read-only view of the new snapshot. When the
        commit fails the session keeps its changes and goes on.

        Parameters
        ----------
        message : str
            What was done, for the history.
        metadata : dict of str to any, optional
            Properties of the snapshot, of JSON's types; laid over the repository's default
            commit metadata.
        allow_empty : bool, default False
            Whether to commit without changes.

        Returns
        -------
        str
            The id of the new snapshot.

        Raises
        ------
        ConflictError
            Kind `commit-conflict`: somebody else committed to the branch first.
        SessionStateError
            Kind `no-changes-to-commit`, or `commit-not-allowed` for a session on no branch.
        RefNotFoundError
            Kind `branch-not-found`: the branch was deleted meanwhile.
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `snapshot-timestamp`: the clocks of storage and machine are minutes apart.
        """
        properties = commit_properties(self._state.commit_metadata, metadata)
        return commit_session(
            self._state, self._assets, message, properties, allow_empty=allow_empty
        )
