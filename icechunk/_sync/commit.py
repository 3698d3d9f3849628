# Generated from icechunk/_async/commit.py by tools/make_sync.py; edit that file.
"""The commit: flush, then move the branch, in that order and at one point.

Until the branch moves nothing is visible, and whatever fails leaves the session
as it was. Moving the branch and turning the session into a view of the new
snapshot happen together, also when the caller is cancelled in between.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from icechunk._sync.flush import Flushed, flush
from icechunk._sync.refs_v1 import set_branch
from icechunk._sync.repo_info import check_can_write, update_repo_info
from icechunk._core.ids import id_text
from icechunk._core.repo_updates import commit
from icechunk._exceptions import ConflictError, ErrorKind, SessionStateError
from icechunk._format.repo_info import SnapshotEntry
from icechunk._io.completion import run_to_end
from icechunk.types import SpecVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icechunk._sync.assets import SyncAssets
    from icechunk._core.ops_log import Stamp
    from icechunk._core.session_state import SessionState
    from icechunk._format.repo_info import RepoInfo
    from icechunk._format.snapshot import Snapshot


class _LandedBefore(Exception):  # not an error
    """An earlier attempt landed, though its answer was lost and somebody has written since."""


def commit_session(
    state: SessionState,
    assets: SyncAssets,
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
        check_can_write(assets)
        flushed = flush(state, assets, message, properties, parent_id=state.snapshot.id)

        def land() -> None:
            _move_branch(state, assets, flushed.snapshot)
            _finish(state, assets, flushed)

        run_to_end(land)
    finally:
        state.unseal()
    return id_text(flushed.snapshot.id)


def _finish(state: SessionState, assets: SyncAssets, flushed: Flushed) -> None:
    state.committed(flushed.snapshot)
    for manifest_id in flushed.superseded:
        assets.cache.manifests.discard(manifest_id)


def _move_branch(state: SessionState, assets: SyncAssets, snapshot: Snapshot) -> None:
    base = state.snapshot
    branch = state.branch
    assert branch is not None
    if state.spec_version is SpecVersion.v1:
        try:
            set_branch(assets, branch, snapshot.id, base.id)
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
        update_repo_info(assets, change)
