"""Sessions that are written to side by side: making forks, and bringing their changes home.

A fork is based on a snapshot that shows what its parent had when it was made. While the parent is unchanged
that is the parent's own base and nothing is written. Otherwise it is a snapshot on no branch, which nobody
is told of: neither a branch nor the repo object leads to it. It is written once for all forks that are made
before the parent is changed again, and the commit of the parent uses its manifests.
"""

from __future__ import annotations

import warnings
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from icechunk._async.flush import flush_async
from icechunk._async.repo_info import check_can_write_async
from icechunk._core.ids import id_text
from icechunk._core.merge import describe_twice, merge_changes
from icechunk._core.session_state import SessionState
from icechunk._exceptions import DuplicateChunkWarning, ErrorKind, SessionStateError
from icechunk._io.concurrency import run_in_thread_async
from icechunk.types import SessionMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icechunk._async.assets import AsyncAssets
    from icechunk._core.change_set import ChangeSet
    from icechunk._core.merge import Contribution
    from icechunk._format.snapshot import Snapshot
    from icechunk.storage import Storage

DuplicateChunks = Literal["warn", "raise", "allow"]
"""What a merge does about chunks that were written more than once."""

_MANY_CHUNKS = 16384
"""Forks with more recorded chunks than this are merged in a thread."""

_ATTEMPTS_BESIDE_OTHERS = 2
"""Merges that others may undo by writing into the session meanwhile, before they have to wait for one."""

_STACK_LEVEL = 3


class Other(NamedTuple):
    """A session to be merged into another one."""

    state: SessionState
    storage: Storage


async def fork_session_async(state: SessionState, assets: AsyncAssets) -> SessionState:
    """The state of a new fork.

    Raises
    ------
    SessionStateError
        Kind `cannot-fork-read-only-session`.
    """
    if state.read_only:
        raise SessionStateError(
            "a read-only session cannot be forked, and need not be: it can be pickled and sent as it is",
            ErrorKind.CANNOT_FORK_READ_ONLY_SESSION,
        )
    state.check_open()
    frozen = state.frozen()
    base = state.fork_base(frozen)
    if base is None:

        async def write_async() -> Snapshot:
            known = state.fork_base(frozen)
            if known is not None:
                return known
            await check_can_write_async(assets)
            shown = SessionState(
                frozen.base, state.spec_version, branch=None, mode=state.mode, commit_metadata={}
            )
            shown.changes = frozen
            flushed = await flush_async(
                shown, assets, "forked session", {}, parent_id=frozen.base.id, written=state.written
            )
            state.add_fork_point(flushed.snapshot, frozen)
            return flushed.snapshot

        # Its identity is a name for the changes, since the session holds on to them.
        key = ("fork", id(frozen).to_bytes(8, "little"))
        written: Snapshot = await assets.cache.flights.run_async(key, write_async)
        base = written
    return SessionState(
        base,
        state.spec_version,
        branch=None,
        mode=SessionMode.writable,
        commit_metadata=state.commit_metadata,
    )


async def merge_sessions_async(
    state: SessionState, storage: Storage, others: Sequence[Other], duplicate_chunks: DuplicateChunks
) -> None:
    """Take over the changes of other sessions, all or none.

    Raises
    ------
    ValueError
        `duplicate_chunks` is none of the three words.
    SessionStateError
        Kind `merge-failed`, `merge-not-allowed` or `rearrange-session-only`.
    ReadOnlyError
        Kind `read-only-session`.
    """
    if duplicate_chunks not in get_args(DuplicateChunks):
        raise ValueError(f"duplicate_chunks must be 'warn', 'raise' or 'allow', not {duplicate_chunks!r}")
    state.check_writable()
    said = ""
    for attempt in count():
        frozen = state.frozen()
        contributions = _contributions(state, storage, others)
        sizes = [table.count() for each in contributions for table in each.changes.chunks.values()]
        merge = partial(_merge, state, frozen, contributions, duplicate_chunks, said, attempt)
        objection = await run_in_thread_async(merge) if sum(sizes) > _MANY_CHUNKS else merge()
        if objection is None:
            return
        if objection != said:
            # Before anything has changed, for those who turn warnings into errors.
            warnings.warn(
                f'{objection}. The last one counts. Pass `duplicate_chunks="allow"` if that is meant, '
                'or "raise" for an error',
                DuplicateChunkWarning,
                stacklevel=_STACK_LEVEL,
            )
            said = objection
        # Or else somebody wrote into the session meanwhile: once more, on top of that.


def _merge(
    state: SessionState,
    frozen: ChangeSet,
    contributions: list[Contribution],
    duplicate_chunks: DuplicateChunks,
    said: str,
    attempt: int,
) -> str | None:
    """Merge and adopt; None when that is done, otherwise what to warn of first, or `said` to try again."""
    objection = said

    def merge(frozen: ChangeSet) -> ChangeSet | None:
        nonlocal objection
        merged = merge_changes(frozen, contributions)
        if merged.twice and duplicate_chunks != "allow":
            objection = describe_twice(merged.twice)
            if duplicate_chunks == "raise":
                raise SessionStateError(f"{objection}. Nothing was merged", ErrorKind.MERGE_FAILED)
            if objection != said:
                return None
        return merged.changes

    if attempt < _ATTEMPTS_BESIDE_OTHERS:
        merged = merge(frozen)
        done = merged is not None and state.adopt(frozen, merged)
    else:
        done = state.adopt_at_once(frozen.base, merge)
    return None if done else objection


def _contributions(state: SessionState, storage: Storage, others: Sequence[Other]) -> list[Contribution]:
    found = []
    for other in others:
        if other.state is state:
            continue  # it came back as it went: all of its changes are here
        if state.is_fork and not other.state.is_fork:
            raise SessionStateError(
                "only a fork can be merged into a fork, and this is no fork: merge the other way round",
                ErrorKind.MERGE_NOT_ALLOWED,
            )
        if other.state.mode is SessionMode.rearrange:
            raise SessionStateError(
                "a session that moves nodes cannot be merged: commit it for itself",
                ErrorKind.REARRANGE_SESSION_ONLY,
            )
        changes = other.state.frozen()
        seen = state.seen_by(changes) if storage.is_same_place(other.storage) else None
        if seen is None:
            raise _unrelated(state, storage, other)
        found.append(seen)
    return found


def _unrelated(state: SessionState, storage: Storage, other: Other) -> SessionStateError:
    theirs = id_text(other.state.snapshot.id)
    if not storage.is_same_place(other.storage):
        what = f"it belongs to another repository, at {other.storage.location}"
    else:
        what = (
            f"it was made on top of snapshot {theirs}, which this session, based on snapshot "
            f"{id_text(state.snapshot.id)}, has not handed out. Merge a fork into the session that it was "
            "made from, before that is committed, rebased or has its changes discarded, or into another fork "
            "that was made with it"
        )
    return SessionStateError(f"a session cannot be merged into this one: {what}", ErrorKind.MERGE_FAILED)
