# Generated from icechunk/_async/commit.py by tools/make_sync.py; edit that file.
"""The commit: flush, then move the branch, in that order and at one point.

Until the branch moves nothing is visible, and whatever fails leaves the session
as it was. Moving the branch and turning the session into a view of the new
snapshot happen together, also when the caller is cancelled in between. Where an
error or an interruption leaves open whether the branch has moved, the next
commit of the same changes finds out.

A commit that may rebase looks where the branch is before it writes anything. A
commit that loses a race after that keeps the manifests that it wrote: the next
attempt writes only those that the other commits made obsolete.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from icechunk._sync.ancestry import ancestors
from icechunk._sync.flush import flush
from icechunk._sync.rebase import find_newer, rebase_over
from icechunk._sync.refs_v1 import check_not_upgraded, lookup_branch, set_branch
from icechunk._sync.repo_info import check_can_write, fetch_repo_info, update_repo_info
from icechunk._core import repo_updates
from icechunk._core.commit_plan import amended_log, with_rebase_attempts
from icechunk._core.ids import id_text
from icechunk._exceptions import (
    ConflictError,
    ErrorKind,
    FormatError,
    IcechunkError,
    RefNotFoundError,
    SessionStateError,
)
from icechunk._format.repo_info import SnapshotEntry
from icechunk._io.completion import run_to_end
from icechunk._io.gate import RequestGate
from icechunk.types import SessionMode, SpecVersion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from icechunk._sync.assets import SyncAssets
    from icechunk._sync.flush import Flushed
    from icechunk._core.change_set import ChangeSet
    from icechunk._core.manifest_plan import WrittenManifests
    from icechunk._core.ops_log import Stamp
    from icechunk._core.session_state import SessionState
    from icechunk._format.repo_info import RepoInfo
    from icechunk._format.snapshot import Snapshot
    from icechunk.conflicts import ConflictSolver


PATIENCE = 1.0
"""Seconds that a commit waits for others of this process before it goes ahead without its turn."""


class _LandedBefore(Exception):  # not an error
    """An earlier attempt landed, though its answer was lost and somebody has written since."""


def commit_session(
    state: SessionState,
    assets: SyncAssets,
    message: str,
    properties: Mapping[str, object],
    *,
    allow_empty: bool,
    solver: ConflictSolver | None,
    tries: int,
) -> str:
    """Commit a session to its branch, after at most `tries` rebases; returns the id of the new snapshot."""
    with state.sealed() as changes:
        branch = state.require_branch()
        landed = _landed_before(state, assets, branch)
        if landed is not None:
            state.committed(landed)
            return id_text(landed.id)
        _check_not_empty(changes, allow_empty)
        check_can_write(assets)
        written = state.written
        if solver is None or tries < 1:
            if solver is not None:
                properties = with_rebase_attempts(properties, 0)
            flushed = _flush(state, assets, message, properties, written)
            _commit_onto_branch(state, assets, branch, flushed, properties)
            return id_text(flushed.snapshot.id)
        # One after the other, as far as they are ours: who loses a race does its work twice. Who gets
        # no turn in time goes ahead, since nothing but time depends on it.
        turns = assets.cache.once(("turns", branch), lambda: RequestGate(1))
        rebases = 0
        while True:
            with turns.passing(PATIENCE):
                if rebases < tries:
                    newer = find_newer(state, assets)
                    if newer is not None and not newer.is_nothing:
                        rebase_over(state, assets, newer, solver)
                        rebases += 1
                numbered = with_rebase_attempts(properties, rebases)
                flushed = _flush(state, assets, message, numbered, written)
                try:
                    _commit_onto_branch(state, assets, branch, flushed, numbered)
                except ConflictError as error:
                    if error.kind != ErrorKind.COMMIT_CONFLICT or error.actual_parent is None:
                        raise
                    if rebases >= tries:
                        raise
                else:
                    return id_text(flushed.snapshot.id)


def _flush(
    state: SessionState,
    assets: SyncAssets,
    message: str,
    properties: Mapping[str, object],
    written: WrittenManifests,
) -> Flushed:
    parent_id = state.snapshot.id
    return flush(state, assets, message, properties, parent_id=parent_id, written=written)


def amend_session(
    state: SessionState,
    assets: SyncAssets,
    message: str,
    properties: Mapping[str, object],
    *,
    allow_empty: bool,
) -> str:
    """Replace the tip of a session's branch by it with the session's changes; returns the new id."""
    if state.spec_version is SpecVersion.v1:
        raise FormatError(
            "a commit of a repository of spec version 1 cannot be amended: upgrade the repository, or "
            "make a new commit",
            ErrorKind.UNSUPPORTED_SPEC_VERSION,
        )
    with state.sealed() as changes:
        branch = state.require_branch()
        _check_not_empty(changes, allow_empty)
        check_can_write(assets)
        replaced = state.snapshot.id
        # Whether this is possible at all; first what nobody else can have changed.
        repo_updates.require_not_first(replaced)
        previous = assets.fetch_transaction_log(replaced)
        if previous.moved_nodes and state.mode is not SessionMode.rearrange:
            raise SessionStateError(
                f"snapshot {id_text(replaced)} moved nodes, so that only a session that moves nodes can "
                "amend it: make a new commit instead",
                ErrorKind.REARRANGE_SESSION_ONLY,
            )
        repo_updates.require_amendable(fetch_repo_info(assets), branch, replaced)
        flushed = flush(
            state,
            assets,
            message,
            properties,
            parent_id=None,
            log_of=lambda snapshot_id, changes: amended_log(previous, snapshot_id, changes),
        )
        entry = _entry(flushed.snapshot, None, properties)
        rearranged = state.mode is SessionMode.rearrange

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.amend(info, branch, entry, replaced, stamp, rearranged=rearranged)

        def move() -> None:
            _record(assets, entry.id, change)

        _land(state, assets, flushed, move)
        return id_text(flushed.snapshot.id)


def flush_session(
    state: SessionState, assets: SyncAssets, message: str, properties: Mapping[str, object]
) -> str:
    """Write a session as a snapshot that is on no branch; returns its id."""
    with state.sealed():
        state.check_not_read_only()
        if state.is_fork:
            raise IcechunkError(
                "a fork cannot be flushed: merge it into the session that it was made from, and flush that",
                ErrorKind.UNKNOWN,
            )
        check_can_write(assets)
        base = state.snapshot.id
        flushed = flush(state, assets, message, properties, parent_id=base)
        rearranged = state.mode is SessionMode.rearrange
        entry = _entry(flushed.snapshot, base, properties)

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.add_detached_snapshot(info, entry, stamp, rearranged=rearranged)

        def register() -> None:
            if state.spec_version is SpecVersion.v1:  # which knows of no snapshots but those of refs
                check_not_upgraded(assets)
            else:
                _record(assets, entry.id, change)

        _land(state, assets, flushed, register)
        return id_text(flushed.snapshot.id)


def _check_not_empty(changes: ChangeSet, allow_empty: bool) -> None:
    if changes.is_empty() and not allow_empty:
        raise SessionStateError(
            "there is nothing to commit: change something first, or pass `allow_empty=True`",
            ErrorKind.NO_CHANGES_TO_COMMIT,
        )


def _entry(snapshot: Snapshot, parent_id: bytes | None, properties: Mapping[str, object]) -> SnapshotEntry:
    return SnapshotEntry(
        id=snapshot.id,
        parent_id=parent_id,
        flushed_at=snapshot.flushed_at,
        message=snapshot.message,
        metadata=dict(properties),
    )


def _commit_onto_branch(
    state: SessionState,
    assets: SyncAssets,
    branch: str,
    flushed: Flushed,
    properties: Mapping[str, object],
) -> None:
    base = state.snapshot.id
    entry = _entry(flushed.snapshot, base, properties)
    rearranged = state.mode is SessionMode.rearrange

    def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
        return repo_updates.commit(info, branch, entry, stamp, rearranged=rearranged)

    def move() -> None:
        try:
            if state.spec_version is not SpecVersion.v1:
                _record(assets, entry.id, change)
            else:
                set_branch(assets, branch, entry.id, base)
        except ConflictError as error:
            if state.spec_version is not SpecVersion.v1:
                raise
            raise ConflictError(
                error.expected_parent, error.actual_parent, kind=ErrorKind.COMMIT_CONFLICT
            ) from error

    _land(state, assets, flushed, move, is_commit=True)


def _landed_before(state: SessionState, assets: SyncAssets, branch: str) -> Snapshot | None:
    """The snapshot that an earlier commit of the same changes has put on the branch, though it failed."""
    snapshot = state.doubted()
    if snapshot is None:
        return None
    if state.spec_version is not SpecVersion.v1:
        info = fetch_repo_info(assets)
        return None if info.snapshot_index(snapshot.id) is None else snapshot
    try:
        tip = lookup_branch(assets, branch)
    except RefNotFoundError:
        return None
    for entry in ancestors(assets, None, tip):
        if entry.id == snapshot.id:
            return snapshot
        if entry.id == state.snapshot.id:
            break
    return None


def _record(
    assets: SyncAssets, snapshot_id: bytes, change: Callable[[RepoInfo, Stamp], RepoInfo]
) -> None:
    """Change the repo object, unless an earlier attempt did."""

    def change_once(info: RepoInfo, stamp: Stamp) -> RepoInfo:
        if info.snapshot_index(snapshot_id) is not None:
            raise _LandedBefore
        return change(info, stamp)

    with suppress(_LandedBefore):
        update_repo_info(assets, change_once)


def _land(
    state: SessionState,
    assets: SyncAssets,
    flushed: Flushed,
    move: Callable[[], None],
    *,
    is_commit: bool = False,
) -> None:
    """Make a snapshot known, and the session a view of it, both or neither."""

    def land() -> None:
        try:
            move()
            state.committed(flushed.snapshot)
        except ConflictError:
            raise
        except BaseException:  # an interruption, too, may come after the write
            if is_commit:
                state.doubt(flushed.snapshot)
            raise
        for manifest_id in flushed.superseded:
            assets.cache.manifests.discard(manifest_id)

    run_to_end(land)
