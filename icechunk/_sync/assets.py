# Generated from icechunk/_async/assets.py by tools/make_sync.py; edit that file.
"""The typed objects of a repository: fetched, decoded and cached; encoded and written.

Rules of this file: caches are asked before anything is awaited; an object that
several callers want at the same time is fetched once; whoever writes an object
leaves it in the cache, unless it is a large manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._sync.backends import open_backend
from icechunk._core.object_keys import (
    OVERWRITTEN,
    REPO,
    chunk_key,
    manifest_key,
    snapshot_key,
    transaction_log_key,
)
from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._format.header import IMPLEMENTATION, FileType, unwrap, wrap
from icechunk._format.manifest import decode_manifest, encode_manifest
from icechunk._format.repo import decode_repo, write_repo
from icechunk._format.snapshot import ManifestFile, ManifestRef, decode_snapshot
from icechunk._format.transaction_log import decode_transaction_log, encode_transaction_log
from icechunk._io.concurrency import run_in_thread
from icechunk._io.random import random_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from icechunk._sync.backends import SyncBackend
    from icechunk._core.settings import Settings
    from icechunk._format.chunk_refs import ChunkRefs
    from icechunk._format.flatbuffers import Data
    from icechunk._format.manifest import Manifest
    from icechunk._format.repo_info import RepoInfo
    from icechunk._format.snapshot import Snapshot
    from icechunk._format.transaction_log import TransactionLog
    from icechunk._io.asset_cache import AssetCache
    from icechunk._stored_objects import Version

_LARGE = 1 << 17
"""Objects of more bytes than this are packed and unpacked in a thread, off the event loop."""

_MANY_REFERENCES = 4096
"""Manifests of more references than this are encoded in a thread."""


class SyncAssets:
    """Access to the objects of one repository."""

    def __init__(self, cache: AssetCache) -> None:
        self.cache = cache
        self._backend: SyncBackend | None = None

    @classmethod
    def of(cls, cache: AssetCache) -> SyncAssets:
        """The one instance that belongs to a cache."""
        return cache.once(cls, lambda: cls(cache))

    def backend(self) -> SyncBackend:
        """The storage backend, opened on first use."""
        if self._backend is None:
            self._backend = open_backend(
                self.cache.storage,
                self.cache.settings.storage,
                self.cache.gate,
                self.cache.settings.attribution,
            )
        return self._backend

    # Snapshots

    def fetch_snapshot(self, snapshot_id: bytes) -> Snapshot:
        """The snapshot of an id."""
        known = self.cache.snapshots.get(snapshot_id)
        if known is not None:
            return known

        def fetch() -> Snapshot:
            key = snapshot_key(snapshot_id)
            payload, spec_version = self._fetch(key, FileType.SNAPSHOT)
            snapshot = decode_snapshot(payload, spec_version, key)
            self.cache.snapshots.put(snapshot_id, snapshot, len(snapshot) + 1)
            return snapshot

        fetched: Snapshot = self.cache.flights.run(("snapshot", snapshot_id), fetch)
        return fetched

    def write_snapshot(self, snapshot_id: bytes, payload: Data, spec_version: int) -> Snapshot:
        """Write an encoded snapshot; returns it as a reader will see it."""
        key = snapshot_key(snapshot_id)
        self._write(key, payload, FileType.SNAPSHOT, spec_version)
        snapshot = decode_snapshot(payload, spec_version, key)
        self.cache.snapshots.put(snapshot_id, snapshot, len(snapshot) + 1)
        return snapshot

    def snapshot_created_at(self, snapshot_id: bytes) -> int:
        """When the file of a snapshot was written, in microseconds, by the storage's clock."""
        backend = self.backend()
        info = backend.head(snapshot_key(snapshot_id))
        return int(info.created_at.timestamp() * 1_000_000)

    # Manifests

    def fetch_manifest(self, manifest_id: bytes, size_bytes: int | None = None) -> Manifest:
        """The manifest of an id; `size_bytes`, where known, is the size of its object."""
        known = self.cache.manifests.get(manifest_id)
        if known is not None:
            return known

        def fetch() -> Manifest:
            key = manifest_key(manifest_id)
            payload, _ = self._fetch(key, FileType.MANIFEST, size_bytes)
            manifest = decode_manifest(payload, key)
            self.cache.manifests.put(manifest_id, manifest, manifest.num_refs)
            return manifest

        fetched: Manifest = self.cache.flights.run(("manifest", manifest_id), fetch)
        return fetched

    def write_manifest(
        self, node_id: bytes, references: ChunkRefs, spec_version: int
    ) -> tuple[ManifestRef, ManifestFile]:
        """Write the references of one array as a new manifest."""
        manifest_id = random_id()
        settings = self.cache.settings
        key = manifest_key(manifest_id)
        if len(references) > _MANY_REFERENCES:
            _, _, data = run_in_thread(
                _pack_manifest, manifest_id, node_id, references, spec_version, settings
            )
            self._put(key, data, FileType.MANIFEST, spec_version)
        else:
            references, payload, data = _pack_manifest(
                manifest_id, node_id, references, spec_version, settings
            )
            self._put(key, data, FileType.MANIFEST, spec_version)
            manifest = decode_manifest(payload, key)
            manifest.keep(node_id, references)
            self.cache.manifests.put(manifest_id, manifest, len(references))
        return (
            ManifestRef(object_id=manifest_id, extents=references.bounds()),
            ManifestFile(id=manifest_id, size_bytes=len(data), num_chunk_refs=len(references)),
        )

    # Transaction logs

    def fetch_transaction_log(self, snapshot_id: bytes) -> TransactionLog:
        """The transaction log of a snapshot."""
        known = self.cache.transaction_logs.get(snapshot_id)
        if known is not None:
            return known
        key = transaction_log_key(snapshot_id)
        payload, spec_version = self._fetch(key, FileType.TRANSACTION_LOG)
        if len(payload) > _LARGE:
            with self.cache.decodes.passing():
                log = run_in_thread(decode_transaction_log, payload, spec_version, key)
        else:
            log = decode_transaction_log(payload, spec_version, key)
        self.cache.transaction_logs.put(snapshot_id, log, log_weight(log))
        return log

    def write_transaction_log(self, log: TransactionLog, spec_version: int) -> None:
        """Write the transaction log of a snapshot."""
        payload = encode_transaction_log(log, spec_version)
        self._write(transaction_log_key(log.id), payload, FileType.TRANSACTION_LOG, spec_version)
        self.cache.transaction_logs.put(log.id, log, log_weight(log))

    # The repo object

    def fetch_repo_info(self) -> tuple[RepoInfo, Version]:
        """The repo object as it is now, with its version.

        Raises
        ------
        StorageError
            Kind `object-not-found`: there is none.
        """
        known = self.cache.repo_info
        backend = self.backend()
        fetched = backend.get_versioned(REPO, None if known is None else known[1])
        if fetched is None:
            assert known is not None
            return known
        data, version = fetched
        payload = unwrap(data, FileType.REPO_INFO, REPO).payload
        self.cache.repo_info = current = (decode_repo(payload, REPO), version)
        return current

    def replace_repo_info(self, info: RepoInfo, expected: Version | None) -> Version:
        """Write the repo object if its version still is `expected` (None: if there is none).

        Raises
        ------
        PreconditionFailed
            Somebody else wrote it.
        """
        backend = self.backend()
        spec_version = int(info.spec_version)
        payload, info = write_repo(info)
        data = wrap(payload, FileType.REPO_INFO, spec_version, self.cache.settings.compression_level)
        settings = self.cache.settings.storage
        try:
            version = backend.put_conditional(
                REPO,
                data,
                expected,
                metadata=self._object_metadata(FileType.REPO_INFO, spec_version),
                storage_class=settings.storage_class,
            )
        except PreconditionFailed:
            self.cache.repo_info = None
            raise
        self.cache.repo_info = (info, version)
        return version

    def fetch_repo_backup(self, name: str) -> RepoInfo | None:
        """The repo object as it was before somebody replaced it; None if that is not kept any more."""
        key = OVERWRITTEN + name
        try:
            payload, _ = self._fetch(key, FileType.REPO_INFO)
        except StorageError as error:
            if error.kind == ErrorKind.OBJECT_NOT_FOUND:
                return None
            raise
        return decode_repo(payload, key)

    def fetch_if_present(self, key: str) -> tuple[Buffer, Version] | None:
        """The bytes and version of a small object; None if there is no such object."""
        backend = self.backend()
        try:
            return backend.get_versioned(key)
        except StorageError as error:
            if error.kind == ErrorKind.OBJECT_NOT_FOUND:
                return None
            raise

    # Chunks

    def read_chunk(self, chunk_id: bytes, start: int, end: int) -> Buffer:
        """Bytes `start` to `end` of a chunk object."""
        backend = self._backend or self.backend()
        chunks = self.cache.chunks
        if not chunks.capacity:
            return backend.get(chunk_key(chunk_id), start, end)
        data = chunks.get((chunk_id, start, end))
        if data is None:
            data = backend.get(chunk_key(chunk_id), start, end)
            chunks.put((chunk_id, start, end), data, end - start)
        return data

    def write_chunk(self, data: Buffer) -> bytes:
        """Write a new chunk object; returns its id."""
        chunk_id = random_id()
        backend = self._backend or self.backend()
        settings = self.cache.settings.storage
        backend.put(
            chunk_key(chunk_id),
            data,
            new=True,
            storage_class=settings.chunks_storage_class or settings.storage_class,
        )
        return chunk_id

    # Packed files

    def _fetch(
        self, key: str, file_type: FileType, size_bytes: int | None = None
    ) -> tuple[bytes, int]:
        backend = self.backend()
        data = backend.get(key, 0, size_bytes)
        if len(data) > _LARGE:
            with self.cache.decodes.passing():
                unwrapped = run_in_thread(unwrap, data, file_type, key)
        else:
            unwrapped = unwrap(data, file_type, key)
        return unwrapped.payload, unwrapped.spec_version

    def _write(self, key: str, payload: Data, file_type: FileType, spec_version: int) -> None:
        level = self.cache.settings.compression_level
        if len(payload) > _LARGE:
            data = run_in_thread(wrap, payload, file_type, spec_version, level)
        else:
            data = wrap(payload, file_type, spec_version, level)
        self._put(key, data, file_type, spec_version)

    def _put(self, key: str, data: bytes, file_type: FileType, spec_version: int) -> None:
        backend = self.backend()
        settings = self.cache.settings.storage
        backend.put(
            key,
            data,
            metadata=self._object_metadata(file_type, spec_version),
            storage_class=settings.metadata_storage_class or settings.storage_class,
        )

    def _object_metadata(self, file_type: FileType, spec_version: int) -> dict[str, str]:
        return {
            "ic_spec_ver": str(spec_version),
            "ic_client": IMPLEMENTATION,
            "ic_file_type": file_type.label,
            "ic_comp_alg": "zstd",
        }


def log_weight(log: TransactionLog) -> int:
    """The number of changes in a transaction log, plus 1, by which it is cached."""
    nodes: Sequence[frozenset[bytes]] = (
        log.new_groups,
        log.new_arrays,
        log.deleted_groups,
        log.deleted_arrays,
        log.updated_arrays,
        log.updated_groups,
    )
    return 1 + sum(map(len, nodes)) + sum(map(len, log.updated_chunks.values())) + len(log.moved_nodes)


def _pack_manifest(
    manifest_id: bytes, node_id: bytes, references: ChunkRefs, spec_version: int, settings: Settings
) -> tuple[ChunkRefs, Data, bytes]:
    """The references as they are in the manifest, its payload, and the file."""
    if spec_version > 1:
        locations = settings.location_compression
        references = references.with_compressed_locations(
            locations.min_num_chunks,
            locations.dictionary_max_training_samples,
            locations.dictionary_max_size_bytes,
            locations.compression_level,
        )
    payload = encode_manifest(manifest_id, [(node_id, references)], spec_version)
    return references, payload, wrap(payload, FileType.MANIFEST, spec_version, settings.compression_level)
