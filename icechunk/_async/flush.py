"""From a change set to the files of a new snapshot.

Manifests of different arrays and cells do not depend on each other, so they are
fetched, merged and written concurrently: as many at a time as the requests in
flight allow and as fit the memory budget, whichever is less. Nothing written
here is visible to anybody until a ref points to the snapshot.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from icechunk._async.chunks import fetch_manifest_async
from icechunk._core.commit_plan import (
    manifest_files_after,
    nodes_after,
    touched_arrays,
    transaction_log,
)
from icechunk._core.manifest_plan import (
    Piece,
    WrittenManifests,
    plan_manifests,
    require_log_size,
    require_size,
    rewrite,
)
from icechunk._core.splits import split_edges
from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.chunk_refs import ChunkRefs
from icechunk._format.snapshot import encode_snapshot
from icechunk._io.clock import now_us
from icechunk._io.concurrency import map_concurrently_async, run_in_thread_async
from icechunk._io.random import random_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from icechunk._async.assets import AsyncAssets
    from icechunk._core.change_set import ChangeSet
    from icechunk._core.session_state import SessionState
    from icechunk._format.snapshot import ManifestFile, ManifestRef, Node, Snapshot
    from icechunk._format.transaction_log import TransactionLog

REFERENCES_IN_MEMORY = 8_000_000
"""Chunk references that manifest work may hold at one time (about 80 bytes each)."""

MANIFESTS_AT_A_TIME = 32
"""Pieces of manifest work under way at one time, unless the configuration says otherwise."""

MANY_CHANGES = 50_000_000
"""Changed chunks from which on a commit says that it is large."""

_log = logging.getLogger(__name__)

_MANY_REFERENCES = 16384
"""Merges of more references than this are done in a thread."""

_MAX_CLOCK_DRIFT_US = 600_000_000
"""How far the clock of the storage may be from ours, before a commit is refused."""


class Flushed(NamedTuple):
    """A snapshot that was written and that nothing points to yet."""

    snapshot: Snapshot
    superseded: list[bytes]


async def flush_async(
    state: SessionState,
    assets: AsyncAssets,
    message: str,
    properties: Mapping[str, object],
    *,
    parent_id: bytes | None,
    written: WrittenManifests | None = None,
    log_of: Callable[[bytes, ChangeSet], TransactionLog] = transaction_log,
) -> Flushed:
    """Write manifests, snapshot and transaction log of a session's changes.

    `written` holds what earlier attempts wrote; `log_of` makes the log of the new snapshot's id.

    Raises
    ------
    FormatError
        Kind `snapshot-timestamp`: the clocks of this machine and of the storage are more than
        ten minutes apart.
    """
    base = state.snapshot
    changes, _ = state.read_changes()
    spec_version = int(state.spec_version)
    manifests, files = await _write_manifests_async(state, assets, written or WrittenManifests())

    nodes = nodes_after(base, changes, manifests)
    files = manifest_files_after(nodes, base.manifest_files, files)
    snapshot_id = random_id()
    payload = encode_snapshot(
        id=snapshot_id,
        parent_id=parent_id if spec_version == 1 else None,
        nodes=nodes,
        flushed_at=max(now_us(), base.flushed_at + 1),
        message=message,
        metadata=dict(properties),
        manifest_files=files,
        spec_version=spec_version,
    )
    log = log_of(snapshot_id, changes)

    async def write_async(what: str) -> Snapshot | None:
        if what == "log":
            await assets.write_transaction_log_async(log, spec_version)
            return None
        stored = await assets.write_snapshot_async(snapshot_id, payload, spec_version)
        await _check_clock_async(assets, snapshot_id)
        return stored

    # A disk does not get faster by being asked twice at a time.
    at_once = 2 if assets.cache.storage.is_remote else 1
    snapshot, _ = await map_concurrently_async(write_async, ["snapshot", "log"], at_once)
    assert snapshot is not None
    snapshot.keep_manifest_files(files)
    kept = {file.id for file in files}
    return Flushed(snapshot, [file.id for file in base.manifest_files if file.id not in kept])


async def _check_clock_async(assets: AsyncAssets, snapshot_id: bytes) -> None:
    stored_at = await assets.snapshot_created_at_async(snapshot_id)
    drift = stored_at - now_us()
    if abs(drift) > _MAX_CLOCK_DRIFT_US:
        raise FormatError(
            f"the clock of the storage is {drift / 1e6:+.0f} seconds from the clock of this machine: "
            "set the clock right, then commit again",
            ErrorKind.SNAPSHOT_TIMESTAMP,
        )


async def _write_manifests_async(
    state: SessionState, assets: AsyncAssets, known: WrittenManifests
) -> tuple[dict[bytes, tuple[ManifestRef, ...]], list[ManifestFile]]:
    """Write the new manifests; returns all manifests of each touched array, and the new files."""
    kept: dict[bytes, tuple[ManifestRef, ...]] = {}
    pieces: list[Piece] = []
    for node in touched_arrays(state.snapshot, state.changes):
        plan = _plan(state, assets, node)
        kept[node.id] = plan[0]
        pieces += plan[1]
    # The tables are settled by now, and counting them is cheap.
    total = require_log_size(state.changes.chunks.values())
    if total >= MANY_CHANGES:
        _log.warning(
            "%d chunks are committed at once: this takes much memory, and several commits take less", total
        )

    async def run_async(piece: Piece) -> list[tuple[ManifestRef, ManifestFile]]:
        result = known.find(piece)
        if result is None:
            result = await _run_async(state.snapshot, assets, piece, int(state.spec_version))
            known.keep(piece, result)
        return result

    limit = assets.cache.settings.max_concurrent_manifest_fetches_during_commit or MANIFESTS_AT_A_TIME
    files: list[ManifestFile] = []
    new: dict[bytes, list[ManifestRef]] = {node_id: [] for node_id in kept}
    for batch in within_budget(pieces, REFERENCES_IN_MEMORY):
        for piece, written in zip(batch, await map_concurrently_async(run_async, batch, limit), strict=True):
            new[piece.node.id] += [manifest_ref for manifest_ref, _ in written]
            files += [file for _, file in written]
    manifests = {
        node_id: tuple(sorted([*kept[node_id], *new[node_id]], key=lambda each: each.extents))
        for node_id in kept
    }
    return manifests, files


def _plan(
    state: SessionState, assets: AsyncAssets, node: Node
) -> tuple[tuple[ManifestRef, ...], list[Piece]]:
    array = node.array
    assert array is not None
    edges = split_edges(
        assets.cache.settings.splitting,
        node.path,
        [dimension.num_chunks for dimension in array.shape],
        array.dimension_names,
    )
    recorded = state.chunk_changes(node, state.changes)
    if recorded is None:
        ndim = len(array.shape)
        recorded = ChunkRefs.empty(ndim), np.empty((0, ndim), np.uint32)
    written, removed = recorded
    plan = plan_manifests(array.manifests, edges, written, removed)
    for work in plan.rewrites:
        require_size(node.path, work)
    sizes = {file.id: file.num_chunk_refs for file in state.snapshot.manifest_files}
    pieces = [
        Piece(
            node,
            work,
            edges,
            len(work.written) + sum(sizes.get(source.object_id, 0) for source in work.sources),
            recorded,
        )
        for work in plan.rewrites
    ]
    return plan.kept, pieces


async def _run_async(
    snapshot: Snapshot, assets: AsyncAssets, piece: Piece, spec_version: int
) -> list[tuple[ManifestRef, ManifestFile]]:
    """Fetch the old references of a piece, merge the changes in, write the new manifests."""
    merged = await _merge_async(snapshot, assets, piece)
    return [
        await assets.write_manifest_async(piece.node.id, references, spec_version) for references in merged
    ]


async def _merge_async(snapshot: Snapshot, assets: AsyncAssets, piece: Piece) -> list[ChunkRefs]:
    """The references of a piece's new manifests. The old ones are let go of on return."""
    large = piece.references > _MANY_REFERENCES
    ndim = len(piece.edges)

    async def fetch_async(source: ManifestRef) -> ChunkRefs | None:
        manifest = await fetch_manifest_async(assets, snapshot, source.object_id)
        if large:
            return await run_in_thread_async(manifest.refs, piece.node.id, ndim, keep=False)
        return manifest.refs(piece.node.id, ndim, keep=False)

    fetched = await map_concurrently_async(fetch_async, piece.work.sources, 8)
    sources = [references for references in fetched if references is not None]
    if large:
        return await run_in_thread_async(rewrite, piece.work, sources, piece.edges)
    return rewrite(piece.work, sources, piece.edges)


def within_budget(pieces: list[Piece], budget: int) -> list[list[Piece]]:
    """Cut manifest work into batches of at most `budget` references (or one piece)."""
    batches: list[list[Piece]] = []
    used = budget + 1
    for piece in pieces:
        if used + piece.references > budget:
            batches.append([])
            used = 0
        batches[-1].append(piece)
        used += piece.references
    return batches
