"""The session, in both spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icechunk._async.session import AsyncSession
from icechunk._core.session_state import SessionState
from icechunk._io.asset_cache import AssetCache
from icechunk._io.iteration import Listing
from icechunk._sync.assets import SyncAssets
from icechunk._sync.session import SyncSession
from icechunk.store import IcechunkStore
from icechunk.types import SessionMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icechunk.config import RepositoryConfig

__all__ = ["Session", "SessionMode"]

NOT_PICKLABLE = (
    "a writable session cannot be pickled: its changes would be recorded in the copy and lost. To read in "
    "other processes, pass a session from `Repository.readonly_session`; to write from other processes, "
    "let each open the repository and commit for itself."
)


class Session(SyncSession, AsyncSession):
    """A view of a repository at one snapshot, with the changes made on top of it.

    Made by `Repository.readonly_session` and `Repository.writable_session`. One session may be
    used by many threads and event loops at once.

    Examples
    --------
    >>> import icechunk, zarr
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> session = repo.writable_session("main")
    >>> root = zarr.create_group(session.store, attributes={"title": "air"})
    >>> session.status()
    Groups created:
        /
    <BLANKLINE>
    >>> snapshot_id = session.commit("add a title")
    >>> session.read_only, session.snapshot_id == snapshot_id
    (True, True)
    """

    @classmethod
    def _over(
        cls,
        state: SessionState,
        cache: AssetCache,
        config: RepositoryConfig,
        virtual_access: Mapping[str, Any],
    ) -> Session:
        session = cls()
        session._state = state
        session._cache = cache
        session._config = config
        session._virtual_access = dict(virtual_access)
        return session

    @property
    def store(self) -> IcechunkStore:
        """The session as a zarr store.

        Returns
        -------
        IcechunkStore
        """
        return IcechunkStore(self)

    def chunk_coordinates(self, array_path: str, batch_size: int = 1000) -> Listing[tuple[int, ...]]:
        """The coordinates of all chunks that an array has, each once.

        What the session wrote comes first, then manifest by manifest. Chunks that were never
        written or are deleted are left out, and so are those outside of the grid of an array that
        has shrunk: none of them can be read. Nothing is held in between, so the session may be
        changed meanwhile; what is iterated over is the state at the beginning.

        Parameters
        ----------
        array_path : str
            The absolute path of an array.
        batch_size : int, default 1000
            How many coordinates are turned into tuples at a time.

        Returns
        -------
        Listing of tuple of int
            To be used once, with `async for` or with `for`.

        Raises
        ------
        NodeNotFoundError
            Kind `node-not-found`, as all others when the iteration begins.
        InvalidInputError
            Kind `not-an-array` or `invalid-path`.
        ValueError
            `batch_size` is less than 1.

        Examples
        --------
        >>> import icechunk, zarr
        >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
        >>> session = repo.writable_session("main")
        >>> array = zarr.create_array(session.store, name="a", shape=(6,), chunks=(2,), dtype="i4")
        >>> array[3:] = 1
        >>> list(session.chunk_coordinates("/a"))
        [(1,), (2,)]
        """
        return Listing(
            lambda: self.chunk_coordinates_async(array_path, batch_size),
            lambda: SyncSession.chunk_coordinates(self, array_path, batch_size),
        )

    def __getstate__(self) -> dict[str, Any]:
        if not self.read_only:
            raise ValueError(NOT_PICKLABLE)
        return {
            "storage": self._cache.storage,
            "settings": self._cache.settings,
            "config": self._config,
            "virtual_access": self._virtual_access,
            "snapshot_id": self._state.snapshot.id,
            "spec_version": self._state.spec_version,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._cache = AssetCache(state["storage"], state["settings"])
        self._config = state["config"]
        self._virtual_access = state["virtual_access"]
        snapshot = SyncAssets.of(self._cache).fetch_snapshot(state["snapshot_id"])
        self._state = SessionState(
            snapshot, state["spec_version"], branch=None, mode=SessionMode.readonly, commit_metadata={}
        )
