"""Fetching the manifests that a new session is likely to need first.

Small manifests of coordinate arrays, by default. They are fetched beside
whatever the session does, into the cache that it shares with all sessions of
the repository; whoever needs one meanwhile waits for the same fetch. A fetch
that fails here is made again, and reported, when the manifest is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._async.chunks import fetch_manifest_async
from icechunk._core.preload import plan_preload
from icechunk._io.background import start_async
from icechunk._io.concurrency import map_concurrently_async

if TYPE_CHECKING:
    from icechunk._async.assets import AsyncAssets
    from icechunk._format.manifest import Manifest
    from icechunk._format.snapshot import Snapshot

_AT_A_TIME = 8


async def preload_manifests_async(assets: AsyncAssets, snapshot: Snapshot) -> None:
    """Start fetching what the preload configuration asks for of a snapshot."""
    rules = assets.cache.settings.preload
    if not (rules.anything and snapshot.manifest_files):
        return
    num_refs = {file.id: file.num_chunk_refs for file in snapshot.manifest_files}
    wanted = [
        manifest_id
        for manifest_id in plan_preload(snapshot, num_refs, rules)
        if assets.cache.manifests.get(manifest_id) is None
    ]
    if not wanted:
        return

    async def fetch_one_async(manifest_id: bytes) -> Manifest:
        return await fetch_manifest_async(assets, snapshot, manifest_id)

    async def fetch_all_async() -> None:
        await map_concurrently_async(fetch_one_async, wanted, _AT_A_TIME)

    await start_async(fetch_all_async)
