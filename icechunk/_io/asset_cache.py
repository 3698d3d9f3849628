"""What one repository keeps in memory for all its sessions, in both spellings.

The caches are asked before any I/O. Snapshots, manifests and transaction logs
never change once written, so what is kept stays true; the repo object does
change, and is kept with the version that lets the next fetch ask whether it
has.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from icechunk._core.cache import WeightedCache
from icechunk._io.concurrency import SingleFlight
from icechunk._io.gate import RequestGate
from icechunk._locks import StateLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from icechunk._core.settings import Settings
    from icechunk._format.manifest import Manifest
    from icechunk._format.repo import RepoInfo
    from icechunk._format.snapshot import Snapshot
    from icechunk._format.transaction_log import TransactionLog
    from icechunk._stored_objects import Version
    from icechunk.storage import Storage

T = TypeVar("T")


_here: weakref.WeakSet[AssetCache] = weakref.WeakSet()
"""The caches of this process."""

_here_lock = StateLock()


class AssetCache:
    """Caches, fetches under way and opened backends of one repository.

    A pickle carries no contents. Unpickled, it is the one that this process has for the same storage and
    settings, if there is one: what one task has fetched the next one need not, and a session that comes
    back finds what its origin knows.
    """

    __slots__ = (
        "__weakref__",
        "_lock",
        "_made",
        "chunks",
        "decodes",
        "flights",
        "gate",
        "manifests",
        "repo_info",
        "settings",
        "snapshots",
        "storage",
        "transaction_logs",
    )

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self.storage = storage
        self.settings = settings
        self.snapshots: WeightedCache[bytes, Snapshot] = WeightedCache(settings.num_snapshot_nodes)
        self.manifests: WeightedCache[bytes, Manifest] = WeightedCache(settings.num_chunk_refs)
        self.transaction_logs: WeightedCache[bytes, TransactionLog] = WeightedCache(
            settings.num_transaction_changes
        )
        self.chunks: WeightedCache[tuple[bytes, int, int], Any] = WeightedCache(settings.num_bytes_chunks)
        self.flights: SingleFlight[tuple[str, bytes], Any] = SingleFlight()
        self.gate = RequestGate(settings.max_concurrent_requests)
        self.decodes = RequestGate(settings.max_concurrent_decodes)
        self.repo_info: tuple[RepoInfo, Version] | None = None
        self._lock = StateLock()
        self._made: dict[object, Any] = {}
        with _here_lock.held:
            _here.add(self)

    def __reduce__(self) -> tuple[Any, tuple[Storage, Settings]]:
        return _find_or_make, (self.storage, self.settings)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """The object of this repository that goes by `key`, made on first use."""
        made = self._made.get(key)
        if made is None:
            with self._lock.held:
                made = self._made.setdefault(key, make())
        return made  # type: ignore[no-any-return]  # one type for each key, by convention of the callers


def _find_or_make(storage: Storage, settings: Settings) -> AssetCache:
    with _here_lock.held:
        candidates = list(_here)
    same = (each for each in candidates if each.storage == storage and each.settings == settings)
    return next(same, None) or AssetCache(storage, settings)
