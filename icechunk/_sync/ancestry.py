# Generated from icechunk/_async/ancestry.py by tools/make_sync.py; edit that file.
"""The parents of a snapshot: in the repo object, or from file to file in spec 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._core.history import entry_of
from icechunk._core.ids import id_text
from icechunk._exceptions import ErrorKind, FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icechunk._sync.assets import SyncAssets
    from icechunk._format.repo_info import RepoInfo, SnapshotEntry


def ancestors(
    assets: SyncAssets, info: RepoInfo | None, target: bytes
) -> Iterator[SnapshotEntry]:
    """A snapshot, its parent, and so on up to the root; `info` is None in spec 1."""
    if info is not None:
        for entry in info.ancestry(target):
            yield entry
        return
    next_id: bytes | None = target
    seen = set()
    while next_id is not None:
        if next_id in seen:
            raise FormatError(
                f"the parents of snapshot {id_text(next_id)} run in a circle",
                ErrorKind.INVALID_FILE_FORMAT,
            )
        seen.add(next_id)
        snapshot = assets.fetch_snapshot(next_id)
        yield entry_of(snapshot)
        next_id = snapshot.parent_id
