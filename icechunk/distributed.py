"""For engines that send sessions to workers and get them back.

`merge_sessions` brings home what workers wrote, `extract_session` finds the session behind an array.
Both have the signatures that engines of distributed arrays want of a reduction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icechunk._core.session_base import SessionBase
from icechunk.session import ForkSession, Session
from icechunk.store import IcechunkStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from icechunk._async.fork import DuplicateChunks

__all__ = ["extract_session", "merge_sessions", "merge_sessions_async"]


def extract_session(zarray: Any, axis: Any = None, keepdims: Any = None) -> Session:
    """The session behind a zarr array, a group, a store, or itself.

    Parameters
    ----------
    zarray : zarr.Array, zarr.Group, IcechunkStore or Session
    axis, keepdims
        Not used: there so that this can be the first step of a reduction.

    Returns
    -------
    Session
        A `ForkSession` where a fork is behind it.

    Raises
    ------
    TypeError
        There is no Icechunk session behind it.

    Examples
    --------
    >>> import icechunk, zarr
    >>> from icechunk.distributed import extract_session
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> session = repo.writable_session("main")
    >>> extract_session(zarr.create_array(session.store, shape=(1,), dtype="i4")) == session
    True
    """
    del axis, keepdims
    store = zarray if isinstance(zarray, IcechunkStore) else getattr(zarray, "store", None)
    if not isinstance(store, IcechunkStore):
        raise TypeError(f"there is no Icechunk session behind a {type(zarray).__name__}")
    return store.session


def merge_sessions(*sessions: Session | Iterable[Any], duplicate_chunks: DuplicateChunks = "warn") -> Session:
    """Bring the changes of several sessions together in the first one.

    Parameters
    ----------
    *sessions : Session, or iterables of sessions, nested to any depth
        The first one takes the changes of the others. It is the writable session from which the
        work began, to be committed afterwards, or a fork: then this is one step of a reduction. The
        others are forks made with it or from it. A session that comes back as it went, from a thread,
        counts once.
    duplicate_chunks : {"warn", "raise", "allow"}, default "warn"
        As in `Session.merge`.

    Returns
    -------
    Session
        The first one.

    Raises
    ------
    TypeError
        One of them is no session, or a writable session that is neither a fork nor the first one.
    ValueError
        There are none.
    SessionStateError, ReadOnlyError
        As in `Session.merge`. Nothing was merged.

    Examples
    --------
    >>> import icechunk, zarr
    >>> from icechunk.distributed import merge_sessions
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> session = repo.writable_session("main")
    >>> forks = [session.fork() for _ in range(3)]
    >>> for number, fork in enumerate(forks):
    ...     group = zarr.create_group(fork.store, path=f"part-{number}")
    >>> session = merge_sessions(session, forks)
    >>> sorted(session.status().new_groups)
    ['/', '/part-0', '/part-1', '/part-2']
    """
    first, others = _first_and_others(sessions)
    first.merge(*others, duplicate_chunks=duplicate_chunks)
    return first


async def merge_sessions_async(
    *sessions: Session | Iterable[Any], duplicate_chunks: DuplicateChunks = "warn"
) -> Session:
    """Bring the changes of several sessions together in the first one; see `merge_sessions`.

    Parameters
    ----------
    *sessions : Session, or iterables of sessions
    duplicate_chunks : {"warn", "raise", "allow"}, default "warn"

    Returns
    -------
    Session

    Raises
    ------
    TypeError, ValueError, SessionStateError, ReadOnlyError
        As in `merge_sessions`.
    """
    first, others = _first_and_others(sessions)
    await first.merge_async(*others, duplicate_chunks=duplicate_chunks)
    return first


def _first_and_others(sessions: Iterable[Any]) -> tuple[Session, list[ForkSession]]:
    flat = list(_flatten(sessions))
    if not flat:
        raise ValueError("there are no sessions to merge")
    first, others = flat[0], []
    for session in flat[1:]:
        if isinstance(session, ForkSession):
            others.append(session)
        elif session != first:
            raise TypeError(
                "only the first session may be one that is no fork: forks come from `session.fork()`, or "
                "from pickling a session within `with session.allow_pickling():`"
            )
    return first, others


def _flatten(sessions: Iterable[Any]) -> Iterator[Session]:
    for each in sessions:
        if isinstance(each, Session):
            yield each
        elif isinstance(each, SessionBase | str | bytes) or not hasattr(each, "__iter__"):
            raise TypeError(f"sessions can be merged, and not a {type(each).__name__}")
        else:
            yield from _flatten(each)
