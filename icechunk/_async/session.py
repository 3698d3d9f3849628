"""The verbs of a session that need I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icechunk._async.assets import AsyncAssets
from icechunk._async.chunks import AsyncChunks
from icechunk._async.commit import commit_session_async
from icechunk._async.keys import AsyncKeys
from icechunk._async.virtual import AsyncVirtualChunks
from icechunk._core.commit_plan import commit_properties
from icechunk._core.session_base import SessionBase

if TYPE_CHECKING:
    from collections.abc import Mapping


class AsyncSession(SessionBase):
    """The coroutines of a session; see `icechunk.Session`."""

    _keys_cached_async: AsyncKeys | None = None

    @property
    def _assets_async(self) -> AsyncAssets:
        return AsyncAssets.of(self._cache)

    @property
    def _keys_async(self) -> AsyncKeys:
        keys = self._keys_cached_async
        if keys is None:
            virtual = AsyncVirtualChunks(self._config, self._virtual_access)
            chunks = AsyncChunks(self._state, self._assets_async, virtual)
            keys = self._keys_cached_async = AsyncKeys(self._state, chunks)
        return keys

    async def commit_async(
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
        return await commit_session_async(
            self._state, self._assets_async, message, properties, allow_empty=allow_empty
        )
