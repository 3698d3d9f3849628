# Generated from icechunk/_async/chunks.py by tools/make_sync.py; edit that file.
"""Chunks of a session: where their references are, and the bytes behind them.

Rules of this file: memory is asked before anything is awaited, and a chunk that
is referenced but cannot be read is an error, never a missing chunk.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from icechunk._core.byte_ranges import resolve_range
from icechunk._exceptions import ErrorKind, InvalidInputError
from icechunk._format.chunk_refs import ChunkRef, ChunkRefs, inline_ref, native
from icechunk._io.concurrency import map_concurrently

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from typing_extensions import Buffer
    from zarr.abc.store import ByteRequest

    from icechunk._sync.assets import SyncAssets
    from icechunk._sync.virtual import SyncVirtualChunks
    from icechunk._core.change_set import ChangeSet
    from icechunk._core.paths import Coordinates
    from icechunk._core.session_state import SessionState
    from icechunk._format.manifest import Manifest
    from icechunk._format.snapshot import ArrayData, ManifestRef, Node, Snapshot


class SyncChunks:
    """Reading and writing the chunks of one session."""

    def __init__(self, state: SessionState, assets: SyncAssets, virtual: SyncVirtualChunks) -> None:
        self._state = state
        self._assets = assets
        self._manifests = assets.cache.manifests
        self._virtual = virtual
        self._inline_threshold = assets.cache.settings.inline_chunk_threshold_bytes

    def find(self, path: str, coordinates: Coordinates) -> ChunkRef | None:
        """The reference of a chunk; None when the chunk does not exist."""
        source = self._state.chunk_source(path, coordinates)
        if not isinstance(source, tuple):
            return source
        node_id, manifest_ref = source
        manifest = self._manifests.get(manifest_ref.object_id)
        if manifest is None:
            manifest = self._fetch_manifest(manifest_ref)
        return manifest.find(node_id, coordinates)

    def read(self, reference: ChunkRef, request: ByteRequest | None) -> Buffer:
        """The bytes that a request asks for, of a chunk that exists."""
        start, end = (0, reference.length) if request is None else resolve_range(request, reference.length)
        if reference.chunk_id is not None:
            if start == end:
                return b""
            offset = reference.offset
            return self._assets.read_chunk(reference.chunk_id, offset + start, offset + end)
        if reference.inline is not None:
            return reference.inline if request is None else reference.inline[start:end]
        if start == end:
            return b""
        return self._virtual.read(reference, reference.offset + start, reference.offset + end)

    def write(self, path: str, coordinates: Coordinates, data: Buffer, size: int) -> None:
        """Store a chunk of `size` bytes and record its reference.

        Raises
        ------
        InvalidInputError
            Kind `zero-length-chunk`, `invalid-chunk-index` or `not-an-array`.
        NodeNotFoundError
            Kind `node-not-found`: there is no array at the path.
        ReadOnlyError
            Kind `read-only-session`.
        """
        state = self._state
        state.check_writable()
        if size == 0:
            state.array(path)
            raise InvalidInputError(
                f"the chunk {list(coordinates)} of `{path}` has no bytes: a chunk cannot be empty",
                ErrorKind.ZERO_LENGTH_CHUNK,
            )
        state.check_chunk_writable(path, coordinates)
        if size <= self._inline_threshold:
            reference = inline_ref(bytes(data))
        else:
            reference = native(self._assets.write_chunk(data), size)
        state.record_chunk(path, coordinates, reference)

    def delete(self, path: str, coordinates: Coordinates) -> None:
        """Remove the reference of a chunk; one that does not exist, or cannot exist, is fine."""
        node = self._state.find(path)
        if node is None or node.array is None:
            return
        shape = node.array.shape
        if len(shape) != len(coordinates) or any(
            index >= dimension.num_chunks for index, dimension in zip(coordinates, shape, strict=True)
        ):
            return
        in_base = self._in_base(node, coordinates)
        self._state.record_removal(node, coordinates, in_base=in_base)

    def _in_base(self, node: Node, coordinates: Coordinates) -> bool:
        """Whether the base snapshot has a reference for a chunk."""
        assert node.array is not None
        manifest_ref = self._state.manifest_of(node, node.array, coordinates)
        if manifest_ref is None:
            return False
        manifest = self._fetch_manifest(manifest_ref)
        return manifest.find(node.id, coordinates) is not None

    def references(self, node: Node, changes: ChangeSet) -> Iterator[ChunkRefs]:
        """References of all chunks of an array, each once.

        Those recorded in `changes` come first, then manifest by manifest. `changes` is the
        session's change set from when the caller looked up `node`: a commit replaces both.
        Chunks outside of the grid cannot be read, and are left out.
        """
        assert node.array is not None
        recorded = self._state.chunk_changes(node, changes)
        if recorded is not None:
            written = inside_grid(recorded[0], node.array)
            if len(written):
                yield written
        for manifest_ref in node.array.manifests:
            manifest = self._fetch_manifest(manifest_ref)
            references = manifest.refs(node.id, len(node.array.shape))
            if references is None:
                continue
            if recorded is not None:
                references = without_changed(references, recorded)
            references = inside_grid(references, node.array)
            if len(references):
                yield references

    def size(self, node: Node, changes: ChangeSet) -> int:
        """Sum of the lengths of all chunks of an array, in bytes."""
        array = node.array
        assert array is not None
        recorded = self._state.chunk_changes(node, changes)
        total = 0 if recorded is None else int(inside_grid(recorded[0], array).rows["length"].sum())

        def stored(manifest_ref: ManifestRef) -> int:
            manifest = self._fetch_manifest(manifest_ref)
            references = manifest.refs(node.id, len(array.shape))
            if references is None:
                return 0
            if recorded is not None:
                references = without_changed(references, recorded)
            return int(inside_grid(references, array).rows["length"].sum())

        sizes = map_concurrently(stored, array.manifests, 8)
        return total + sum(sizes)

    def manifests(self, node: Node) -> list[Manifest]:
        """All manifests of an array."""
        assert node.array is not None
        return map_concurrently(self._fetch_manifest, node.array.manifests, 8)

    def _fetch_manifest(self, manifest_ref: ManifestRef) -> Manifest:
        snapshot = self._state.snapshot
        return fetch_manifest(self._assets, snapshot, manifest_ref.object_id)


def fetch_manifest(assets: SyncAssets, snapshot: Snapshot, manifest_id: bytes) -> Manifest:
    """A manifest that a snapshot lists, fetched by the size listed there."""
    known = assets.cache.manifests.get(manifest_id)
    if known is not None:
        return known
    files = snapshot.manifest_files
    position = bisect_left(files, manifest_id, key=lambda file: file.id)
    listed = position < len(files) and files[position].id == manifest_id
    return assets.fetch_manifest(manifest_id, files[position].size_bytes if listed else None)


def without_changed(references: ChunkRefs, recorded: tuple[ChunkRefs, NDArray[np.uint32]]) -> ChunkRefs:
    """The references of the base that a session neither replaced nor removed."""
    changed, removed = recorded
    return ChunkRefs.merge(references, None, np.concatenate([changed.coords, removed]))


def inside_grid(references: ChunkRefs, array: ArrayData) -> ChunkRefs:
    """The references that an array has a place for: one that has shrunk has others until the commit."""
    num_chunks = [dimension.num_chunks for dimension in array.shape]
    inside = references.in_box([0] * len(num_chunks), num_chunks)
    return references if inside.all() else references.take(inside)
