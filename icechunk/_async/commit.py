"""The commit: flush, then move the branch, in that order and at one point.

Until the branch moves nothing is visible, and whatever fails leaves the session
as it was. Moving the branch and turning the session into a view of the new
snapshot happen together, also when the caller is cancelled in between.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from icechunk._async.flush import Flushed, flush_async
from icechunk._async.refs_v1 import set_branch_async
from icechunk._async.repo_info import check_can_write_async, update_repo_info_async
from icechunk._core.ids import id_text
from icechunk._core.repo_updates import commit
from icechunk._exceptions import ConflictError, ErrorKind, SessionStateError
from icechunk._format.repo_info import SnapshotEntry
from icechunk._io.completion import run_to_end_async
from icechunk.types import SpecVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icechunk._async.assets import AsyncAssets
    from icechunk._core.ops_log import Stamp
    from icechunk._core.session_state import SessionState
    from icechunk._format.repo_info import RepoInfo
    from icechunk._format.snapshot import Snapshot


class _LandedBefore(Exception):  # not an error
    """An earlier attempt landed, though its answer was lost and somebody has written since."""


async def commit_session_async(
    state: SessionState,
    assets: AsyncAssets,
    message: str,
    properties: Mapping[str, object],
    *,
    allow_empty: bool,
) -> str:
    """Commit a session to its branch; returns the id of the new snapshot."""
    changes = state.seal()
    try:
        if changes.is_empty() and not allow_empty:
            raise SessionStateError(
                "there is nothing to commit: change something first, or pass `allow_empty=True`",
                ErrorKind.NO_CHANGES_TO_COMMIT,
            )
        await check_can_write_async(assets)
        flushed = await flush_async(state, assets, message, properties, parent_id=state.snapshot.id)

        async def land_async() -> None:
            await _move_branch_async(state, assets, flushed.snapshot)
            _finish(state, assets, flushed)

        await run_to_end_async(land_async)
    finally:
        state.unseal()
    return id_text(flushed.snapshot.id)


def _finish(state: SessionState, assets: AsyncAssets, flushed: Flushed) -> None:
    state.committed(flushed.snapshot)
    for manifest_id in flushed.superseded:
        assets.cache.manifests.discard(manifest_id)


async def _move_branch_async(state: SessionState, assets: AsyncAssets, snapshot: Snapshot) -> None:
    base = state.snapshot
    branch = state.branch
    assert branch is not None
    if state.spec_version is SpecVersion.v1:
        try:
            await set_branch_async(assets, branch, snapshot.id, base.id)
        except ConflictError as error:
            raise ConflictError(
                error.expected_parent, error.actual_parent, kind=ErrorKind.COMMIT_CONFLICT
            ) from error
        return
    entry = SnapshotEntry(
        id=snapshot.id,
        parent_id=base.id,
        flushed_at=snapshot.flushed_at,
        message=snapshot.message,
        metadata=snapshot.metadata,
    )

    def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
        if info.snapshot_index(entry.id) is not None:
            raise _LandedBefore
        return commit(info, branch, entry, stamp)

    with suppress(_LandedBefore):
        await update_repo_info_async(assets, change)
