"""Looking back at more than one snapshot at a time: what changed between two of them, and a drawing."""

from __future__ import annotations

import warnings
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from icechunk._async import refs_v1
from icechunk._async.references import AsyncReferences
from icechunk._core.diff import NeededLog, diff_of, logs_of_chain, not_on_one_chain
from icechunk._core.graph import MAX_SNAPSHOTS, draw, lay_out, ordered_branches
from icechunk._core.history import entry_of, one_selector
from icechunk._core.ids import id_text
from icechunk._core.repository_state import SessionType
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._io.concurrency import map_concurrently_async, run_in_thread_async

if TYPE_CHECKING:
    from icechunk._format.repo_info import RepoInfo, SnapshotEntry
    from icechunk._format.transaction_log import TransactionLog
    from icechunk.snapshots import AncestryGraph, Diff

LOGS_AT_A_TIME = 32
"""Transaction logs under way at one time."""

SNAPSHOTS_AT_A_TIME = 16
"""Snapshots of a repository of spec 1 under way at one time."""


class AsyncHistory(AsyncReferences[SessionType]):
    """The part of a repository that compares snapshots and draws their history."""

    async def diff_async(
        self,
        *,
        from_branch: str | None = None,
        from_tag: str | None = None,
        from_snapshot_id: str | None = None,
        to_branch: str | None = None,
        to_tag: str | None = None,
        to_snapshot_id: str | None = None,
    ) -> Diff:
        """What the commits after one snapshot, up to another one, have changed.

        Nothing is compared: each commit keeps a log of what it did, and these logs are put together.
        So a chunk that was written counts as changed also where its content stayed the same, and what
        one commit did and a later one undid is there, unless the node itself is gone on both ends.

        Parameters
        ----------
        from_branch, from_tag, from_snapshot_id : str, optional
            The older snapshot; exactly one of the three.
        to_branch, to_tag, to_snapshot_id : str, optional
            The newer snapshot, built on the older one; exactly one of the three.

        Returns
        -------
        Diff

        Raises
        ------
        InvalidInputError
            Kind `bad-snapshot-chain-for-diff`: the older snapshot is not an ancestor of the newer one, or
            they are the same. Kind `invalid-snapshot-id`.
        RefNotFoundError
            Kind `ref-not-found`.
        SnapshotNotFoundError
            Kind `snapshot-not-found`; in a repository of spec 1 a StorageError of kind `object-not-found`.
        ValueError
            Not exactly one of the three, on either side.

        Warns
        -----
        UserWarning
            The log of a snapshot that has expired is lost, so that the diff lacks what it changed.
        """
        one_selector(from_branch, from_tag, from_snapshot_id, "from_")
        one_selector(to_branch, to_tag, to_snapshot_id, "to_")
        info = await self._repo_info_async()
        start = await self._target_async(info, from_branch, from_tag, from_snapshot_id)
        end = await self._target_async(info, to_branch, to_tag, to_snapshot_id)
        before, after = await map_concurrently_async(self._assets_async.fetch_snapshot_async, [start, end], 2)
        chain = []
        async for entry in self._ancestors_async(info, end):
            if entry.id == start:
                break
            chain.append(entry)
        else:
            raise not_on_one_chain(id_text(start), id_text(end))
        if not chain:
            raise not_on_one_chain(id_text(start), id_text(end))
        needed = logs_of_chain(chain)
        found = await map_concurrently_async(self._fetch_log_async, needed, LOGS_AT_A_TIME)
        logs = [log for log in found if log is not None]
        if len(logs) < len(needed):
            lost = [id_text(need.snapshot_id) for need, log in zip(needed, found, strict=True) if log is None]
            warnings.warn(
                "the diff is incomplete: the transaction logs of these expired snapshots are lost, perhaps "
                f"collected as garbage by an old release: {', '.join(lost)}",
                stacklevel=2,
            )
        return await run_in_thread_async(diff_of, logs, before, after)

    async def ancestry_graph_async(
        self,
        *,
        branch: str | None = None,
        tag: str | None = None,
        snapshot_id: str | None = None,
        plain: bool = False,
    ) -> AncestryGraph:
        """A drawing of the history, newest snapshot first.

        Parameters
        ----------
        branch, tag, snapshot_id : str, optional
            Whose history to show; at most one of the three. All branches when none is given.
        plain : bool, default False
            Whether to leave out the colours that a terminal shows.

        Returns
        -------
        AncestryGraph
            Of the newest 100 snapshots.

        Raises
        ------
        ValueError
            More than one of the three was given.
        RefNotFoundError
            Kind `ref-not-found`.
        SnapshotNotFoundError
            Kind `snapshot-not-found`; in a repository of spec 1 a StorageError of kind `object-not-found`.
        InvalidInputError
            Kind `invalid-snapshot-id`.
        """
        wants_all = branch is None and tag is None and snapshot_id is None
        if not wants_all:
            one_selector(branch, tag, snapshot_id)
        info = await self._repo_info_async()
        branches, tags = await self._named_snapshots_async(info)
        if wants_all:
            tips = [branches[name] for name in ordered_branches(branches)]
        else:
            tips = [await self._target_async(info, branch, tag, snapshot_id)]
        shown, is_all = await self._newest_async(info, tips)
        note = "" if is_all else _note(info, tips, len(shown))
        return draw(lay_out(shown, tips, branches, tags, note), plain=plain)

    async def _named_snapshots_async(
        self, info: RepoInfo | None
    ) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """All branches and tags, and where they point to."""
        if info is not None:
            return info.branches, info.tags
        return await refs_v1.all_refs_async(self._assets_async)

    async def _newest_async(
        self, info: RepoInfo | None, tips: list[bytes]
    ) -> tuple[list[SnapshotEntry], bool]:
        """The newest snapshots among some and their ancestors, newest first, and whether that is all."""

        async def look_up_async(snapshot_id: bytes) -> SnapshotEntry:
            if info is None:
                return entry_of(await self._assets_async.fetch_snapshot_async(snapshot_id))
            entry = info.snapshot(snapshot_id)
            assert entry is not None
            return entry

        known = set(tips)
        waiting = [
            (-entry.flushed_at, entry.id, entry)
            for entry in await map_concurrently_async(look_up_async, sorted(known), SNAPSHOTS_AT_A_TIME)
        ]
        heapify(waiting)
        newest: list[SnapshotEntry] = []
        while waiting and len(newest) < MAX_SNAPSHOTS:
            _, _, entry = heappop(waiting)
            newest.append(entry)
            if entry.parent_id is not None and entry.parent_id not in known:
                known.add(entry.parent_id)
                parent = await look_up_async(entry.parent_id)
                heappush(waiting, (-parent.flushed_at, parent.id, parent))
        return newest, not waiting

    async def _fetch_log_async(self, need: NeededLog) -> TransactionLog | None:
        """A transaction log; None if it is one that may be lost, and is."""
        try:
            return await self._assets_async.fetch_transaction_log_async(need.snapshot_id)
        except StorageError as error:
            if need.is_pruned and error.kind == ErrorKind.OBJECT_NOT_FOUND:
                return None
            raise


def _note(info: RepoInfo | None, tips: list[bytes], shown: int) -> str:
    if info is None:
        return f"showing the newest {shown} snapshots, there are more"
    reachable: set[bytes] = set()
    for tip in set(tips):
        reachable.update(info.ancestor_ids(tip))
    return f"showing {shown} of {len(reachable)} snapshots"
