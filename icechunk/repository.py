"""The repository, in both spellings."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from icechunk._async.repository import AsyncRepository
from icechunk._sync.repository import SyncRepository
from icechunk.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from icechunk._core.session_state import SessionState
    from icechunk.conflicts import ConflictSolver
    from icechunk.ops import RepoStatus
    from icechunk.store import IcechunkStore

__all__ = ["Repository"]


class Repository(SyncRepository[Session], AsyncRepository[Session]):
    """A versioned store of groups and arrays.

    Made by `create`, `open` or `open_or_create`. Each verb is there twice: `commit` blocks,
    `commit_async` is a coroutine; both do the same on the same object, and one object may be used
    from many threads and event loops at once.

    Examples
    --------
    >>> import icechunk, zarr
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> session = repo.writable_session("main")
    >>> array = zarr.create_array(session.store, name="counts", shape=(4,), dtype="i4")
    >>> array[:] = [1, 2, 3, 4]
    >>> first = session.commit("count to four")
    >>> [info.message for info in repo.ancestry(branch="main")]
    ['count to four', 'Repository initialized']
    """

    def _new_session(self, state: SessionState) -> Session:
        return Session._over(state, self._cache, self._config, self._virtual_access)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the repository itself, fetched anew each time; see `get_metadata`.

        Returns
        -------
        dict of str to any

        Examples
        --------
        >>> import icechunk
        >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
        >>> repo.set_metadata({"owner": "climate group"})
        >>> repo.metadata
        {'owner': 'climate group'}
        """
        return self.get_metadata()

    @property
    def status(self) -> RepoStatus:
        """Whether the repository takes changes, fetched anew each time; see `get_status`.

        Returns
        -------
        RepoStatus

        Examples
        --------
        >>> import icechunk
        >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
        >>> repo.status.availability
        RepoAvailability.online
        """
        return self.get_status()

    @contextmanager
    def transaction(
        self,
        branch: str,
        *,
        message: str,
        metadata: Mapping[str, Any] | None = None,
        rebase_with: ConflictSolver | None = None,
        rebase_tries: int = 1000,
    ) -> Iterator[IcechunkStore]:
        """Write in one transaction: commit at the end of the block, or nothing if it fails.

        Parameters
        ----------
        branch : str
            The branch to commit to.
        message : str
            What is done in the block, for the history.
        metadata : dict of str to any, optional
            Properties of the snapshot.
        rebase_with : ConflictSolver, optional
            Rebase with this solver when somebody else committed to the branch first.
        rebase_tries : int, default 1000
            How many rebases at most.

        Yields
        ------
        IcechunkStore

        Raises
        ------
        RefNotFoundError, ReadOnlyError, FormatError
            As in `writable_session`, at the beginning.
        ConflictError, RebaseFailedError, SessionStateError
            As in `Session.commit`, at the end. Nothing is committed then.

        Examples
        --------
        >>> import icechunk, zarr
        >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
        >>> with repo.transaction("main", message="make the root") as store:
        ...     root = zarr.create_group(store)
        """
        session = self.writable_session(branch)
        yield session.store
        session.commit(message, metadata, rebase_with=rebase_with, rebase_tries=rebase_tries)

    @asynccontextmanager
    async def transaction_async(
        self,
        branch: str,
        *,
        message: str,
        metadata: Mapping[str, Any] | None = None,
        rebase_with: ConflictSolver | None = None,
        rebase_tries: int = 1000,
    ) -> AsyncIterator[IcechunkStore]:
        """Write in one transaction: commit at the end of the block, or nothing if it fails.

        Parameters
        ----------
        branch : str
        message : str
        metadata : dict of str to any, optional
        rebase_with : ConflictSolver, optional
        rebase_tries : int, default 1000
            As in `transaction`.

        Yields
        ------
        IcechunkStore

        Raises
        ------
        RefNotFoundError, ReadOnlyError, FormatError, ConflictError, RebaseFailedError, SessionStateError
            As in `transaction`.
        """
        session = await self.writable_session_async(branch)
        yield session.store
        await session.commit_async(message, metadata, rebase_with=rebase_with, rebase_tries=rebase_tries)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "cache": self._cache,
            "config": self._config,
            "spec_version": self._spec_version,
            "virtual_access": self._virtual_access,
            "config_version": self._config_version,
            "commit_metadata": self._commit_metadata,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._assemble(
            state["cache"],
            state["config"],
            state["spec_version"],
            virtual_access=state["virtual_access"],
            config_version=state["config_version"],
            commit_metadata=state["commit_metadata"],
        )
