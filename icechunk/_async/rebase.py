"""Rebasing: a session goes on from the newest snapshot of its branch.

The commits that landed meanwhile are gone through from the oldest to the newest. Their transaction logs are
what is compared; a snapshot is fetched only where paths matter, and the last one. A rebase that fails on one
commit leaves the session behind the commit before it.

A branch that was reset, or whose tip was amended, may not lead to the session's base any more. Then there is
no such list of commits: what is gone through, in one step, is how the two snapshots differ.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from icechunk._async.ancestry import ancestors_async
from icechunk._async.refs_v1 import lookup_branch_async
from icechunk._async.repo_info import fetch_repo_info_async
from icechunk._core.diff import NeededLog, logs_of_chain
from icechunk._core.ids import INITIAL_SNAPSHOT_ID, id_text
from icechunk._core.rebase import Unsolved, needs_snapshot, onto, rebase_step
from icechunk._core.transaction_log import log_between
from icechunk._exceptions import (
    ErrorKind,
    RebaseFailedError,
    RefNotFoundError,
    SessionStateError,
    SnapshotNotFoundError,
    StorageError,
)
from icechunk._format.transaction_log import TransactionLog
from icechunk._io.concurrency import map_concurrently_async
from icechunk.types import SpecVersion

if TYPE_CHECKING:
    from icechunk._async.assets import AsyncAssets
    from icechunk._core.change_set import ChangeSet
    from icechunk._core.session_state import SessionState
    from icechunk._format.repo_info import SnapshotEntry
    from icechunk.conflicts import ConflictSolver

LOGS_AT_A_TIME = 32
"""Transaction logs that are fetched together, and held in memory."""

_log = logging.getLogger(__name__)


class _Position(NamedTuple):
    """How far a rebase has come: a snapshot, and the changes that remain after it."""

    snapshot_id: bytes
    changes: ChangeSet


@dataclass(frozen=True, slots=True)
class Newer:
    """What happened to a branch since the base of a session.

    Attributes
    ----------
    tip : bytes
        Where the branch is.
    commits : list of SnapshotEntry
        What leads to the tip, oldest first, from the base or from the newest ancestor of both.
    undone : list of SnapshotEntry
        The base, and its ancestors, that do not lead to the tip; newest first.
    """

    tip: bytes
    commits: list[SnapshotEntry]
    undone: list[SnapshotEntry]

    @property
    def is_nothing(self) -> bool:
        return not (self.commits or self.undone)


async def find_newer_async(state: SessionState, assets: AsyncAssets) -> Newer | None:
    """What happened to the session's branch since its base; None if the branch is gone.

    Raises
    ------
    SessionStateError
        Kind `commit-not-allowed`. Kind `rebase-tx-log-pruned`: the branch does not lead to the base,
        and the repository has forgotten that.
    """
    branch = state.require_branch()
    base = state.snapshot.id
    info = None
    try:
        if state.spec_version is SpecVersion.v1:
            tip = await lookup_branch_async(assets, branch)
        else:
            info = await fetch_repo_info_async(assets)
            found = info.branches.get(branch)
            if found is None:
                return None
            tip = found
    except RefNotFoundError:
        return None
    if tip == base:
        return Newer(tip, [], [])
    commits: list[SnapshotEntry] = []
    async for entry in ancestors_async(assets, info, tip):
        if entry.id == base:
            return Newer(tip, commits[::-1], [])
        if base in entry.pruned_ancestor_tx_logs:
            commits.append(_built_on(entry, base))
            return Newer(tip, commits[::-1], [])
        commits.append(entry)
    undone: list[SnapshotEntry] = []
    places = {entry.id: place for place, entry in enumerate(commits)}
    try:
        async for entry in ancestors_async(assets, info, base):
            if entry.id in places:
                commits = commits[: places[entry.id]]
                break
            undone.append(entry)
    except SnapshotNotFoundError as error:
        raise SessionStateError(
            f"the branch `{branch}` does not lead to snapshot {id_text(base)}, on which the session is "
            "based, and that is not in the repository any more: open a new session and make the changes "
            "again",
            ErrorKind.REBASE_TX_LOG_PRUNED,
        ) from error
    return Newer(tip, commits[::-1], undone)


def _built_on(entry: SnapshotEntry, base: bytes) -> SnapshotEntry:
    """A snapshot without what happened up to an expired ancestor."""
    logs = entry.pruned_ancestor_tx_logs
    return msgspec.structs.replace(entry, pruned_ancestor_tx_logs=logs[logs.index(base) + 1 :])


async def rebase_session_async(state: SessionState, assets: AsyncAssets, solver: ConflictSolver) -> None:
    """Rebase a session, if there is anything to rebase it onto.

    Raises
    ------
    RebaseFailedError
        Kind `rebase-failed`.
    SessionStateError
        Kind `commit-not-allowed` or `rebase-tx-log-pruned`.
    """
    with state.sealed():
        newer = await find_newer_async(state, assets)
        if newer is not None and not newer.is_nothing:
            await rebase_over_async(state, assets, newer, solver)
            return
    reason = "was deleted" if newer is None else "has not moved since the session was opened"
    _log.warning("no rebase is needed: the branch `%s` %s", state.branch, reason)


async def rebase_over_async(
    state: SessionState, assets: AsyncAssets, newer: Newer, solver: ConflictSolver
) -> None:
    """Take a sealed session to the tip of its branch.

    Raises
    ------
    RebaseFailedError, SessionStateError
        As in `rebase_session_async`.
    """
    if newer.undone:
        await _rebase_across_async(state, assets, newer, solver)
        return
    position = _Position(state.snapshot.id, state.changes)
    for start in range(0, len(newer.commits), LOGS_AT_A_TIME):
        batch = newer.commits[start : start + LOGS_AT_A_TIME]
        needed = [logs_of_chain([entry]) for entry in batch]
        logs = iter(await _fetch_logs_async(assets, [need for each in needed for need in each]))
        for entry, each in zip(batch, needed, strict=True):
            changes = position.changes
            try:
                for _ in each:
                    changes = await _step_async(assets, changes, next(logs), entry, solver)
            except Unsolved as unsolved:
                await _settle_async(state, assets, position)
                raise RebaseFailedError(id_text(entry.id), unsolved.conflicts) from None
            position = _Position(entry.id, changes)
    await _settle_async(state, assets, position)


async def _step_async(
    assets: AsyncAssets, changes: ChangeSet, log: TransactionLog, entry: SnapshotEntry, solver: ConflictSolver
) -> ChangeSet:
    theirs = None
    if needs_snapshot(changes, log):
        theirs = await assets.fetch_snapshot_async(entry.id)
    return rebase_step(changes, log, theirs, solver)


async def _rebase_across_async(
    state: SessionState, assets: AsyncAssets, newer: Newer, solver: ConflictSolver
) -> None:
    """Take a session to a tip that was not built on its base, or leave it where it is."""
    theirs = await assets.fetch_snapshot_async(newer.tip)
    needed = [NeededLog(need.snapshot_id, True) for need in logs_of_chain(newer.undone)]
    logs = await _fetch_logs_async(assets, [*needed, *logs_of_chain(newer.commits[::-1])])
    log = log_between(state.snapshot, theirs, logs)
    try:
        state.rebased(onto(rebase_step(state.changes, log, theirs, solver), theirs))
    except Unsolved as unsolved:
        raise RebaseFailedError(id_text(newer.tip), unsolved.conflicts) from None


async def _settle_async(state: SessionState, assets: AsyncAssets, position: _Position) -> None:
    """Put the session where a rebase has come to."""
    if position.snapshot_id == state.snapshot.id:
        return
    theirs = await assets.fetch_snapshot_async(position.snapshot_id)
    try:
        state.rebased(onto(position.changes, theirs))
    except Unsolved as unsolved:
        raise RebaseFailedError(id_text(position.snapshot_id), unsolved.conflicts) from None


async def _fetch_logs_async(assets: AsyncAssets, needed: list[NeededLog]) -> list[TransactionLog]:
    async def fetch_async(need: NeededLog) -> TransactionLog:
        try:
            return await assets.fetch_transaction_log_async(need.snapshot_id)
        except StorageError as error:
            if error.kind != ErrorKind.OBJECT_NOT_FOUND:
                raise
            if need.snapshot_id == INITIAL_SNAPSHOT_ID:
                return TransactionLog(need.snapshot_id)  # in spec 1 the first snapshot has none
            if need.is_pruned:
                raise SessionStateError(
                    f"the transaction log of snapshot {id_text(need.snapshot_id)} is lost, so "
                    "nobody knows what it changed: open a new session and make the changes again",
                    ErrorKind.REBASE_TX_LOG_PRUNED,
                ) from error
            raise

    # A disk does not get faster by being asked for many small files at a time.
    at_once = LOGS_AT_A_TIME if assets.cache.storage.is_remote else 1
    return await map_concurrently_async(fetch_async, needed, at_once)
