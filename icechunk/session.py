"""The session, in both spellings."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from icechunk._async.session import AsyncSession
from icechunk._core.session_state import SessionState
from icechunk._core.shipped_changes import pack_changes, unpack_changes
from icechunk._io.iteration import Listing
from icechunk._sync.assets import SyncAssets
from icechunk._sync.session import SyncSession
from icechunk.store import IcechunkStore
from icechunk.types import SessionMode, SpecVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

    from icechunk._io.asset_cache import AssetCache
    from icechunk.config import RepositoryConfig

__all__ = ["ForkSession", "Session", "SessionMode"]

NOT_PICKLABLE = (
    "a writable session cannot be pickled: changes made in the copy would be lost. To write from other "
    "processes, send each a fork, `session.fork()`, and `session.merge` what they send back; or send the "
    "session itself within `with session.allow_pickling():` and bring the changes home with "
    "`icechunk.distributed.merge_sessions`. To read only, send a session from `Repository.readonly_session`."
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
    ) -> Self:
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

    @contextmanager
    def allow_pickling(self) -> Iterator[None]:
        """Let this session, and its store, be pickled within the block.

        What arrives at the other end is a fork: write to it there, send it back, and bring its changes
        home with `merge` or `icechunk.distributed.merge_sessions`. So a session, a store, or an array
        can be handed to any engine that pickles what it sends, in this or any other thread. Forks can
        be pickled anywhere and need no such block.

        Examples
        --------
        >>> import pickle
        >>> import icechunk, zarr
        >>> from icechunk.distributed import merge_sessions
        >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
        >>> session = repo.writable_session("main")
        >>> array = zarr.create_array(session.store, name="a", shape=(2,), chunks=(1,), dtype="i4")
        >>> with session.allow_pickling():
        ...     sent = pickle.loads(pickle.dumps(session))
        >>> zarr.open_array(sent.store, path="a")[1] = 2  # in another process
        >>> session = merge_sessions(session, sent)
        >>> array[:].tolist()
        [0, 2]
        """
        with self._state.pickling_allowed():
            yield

    def _new_fork(self, state: SessionState) -> ForkSession:
        return ForkSession._over(state, self._cache, self._config, self._virtual_access)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        state = self._state
        if not state.may_be_pickled:
            raise ValueError(NOT_PICKLABLE)
        if not (state.read_only or state.is_fork):
            return self.fork().__reduce__()
        changes = state.frozen()
        common = self._cache, self._config, self._virtual_access, int(state.spec_version), changes.base.id
        if state.read_only:
            return _load_reader, common
        return _load_fork, (*common, pack_changes(changes), state.commit_metadata)


class ForkSession(Session):
    """A session for a worker: writable, sent and sent back by pickle, and merged instead of committed.

    Made by `Session.fork`, and by pickling a session within `Session.allow_pickling`. A pickle holds what
    the fork has changed and no more. The fork is on no branch: `commit`, `amend`, `rebase` and `flush` are
    refused. It can be forked again, and forks of one session can be merged into each other first.

    Examples
    --------
    >>> import pickle
    >>> import icechunk, zarr
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> session = repo.writable_session("main")
    >>> fork = session.fork()
    >>> root = zarr.create_group(fork.store, attributes={"title": "air"})
    >>> returned = pickle.loads(pickle.dumps(fork))
    >>> session.merge(returned)
    >>> session.status()
    Groups created:
        /
    <BLANKLINE>
    """

    _shown_as: ClassVar[str] = "icechunk.session.ForkSession"


def _load_reader(
    cache: AssetCache,
    config: RepositoryConfig,
    virtual_access: Mapping[str, Any],
    spec_version: int,
    snapshot_id: bytes,
) -> Session:
    snapshot = SyncAssets.of(cache).fetch_snapshot(snapshot_id)
    state = SessionState(
        snapshot, SpecVersion(spec_version), branch=None, mode=SessionMode.readonly, commit_metadata={}
    )
    return Session._over(state, cache, config, virtual_access)


def _load_fork(
    cache: AssetCache,
    config: RepositoryConfig,
    virtual_access: Mapping[str, Any],
    spec_version: int,
    snapshot_id: bytes,
    changes: bytes,
    commit_metadata: dict[str, Any],
) -> ForkSession:
    snapshot = SyncAssets.of(cache).fetch_snapshot(snapshot_id)
    state = SessionState(
        snapshot,
        SpecVersion(spec_version),
        branch=None,
        mode=SessionMode.writable,
        commit_metadata=commit_metadata,
    )
    state.changes = unpack_changes(changes, snapshot)
    return ForkSession._over(state, cache, config, virtual_access)
