"""A cache of bounded weight, shared by threads and event loops.

The weight of an entry is in the unit of its cache (nodes, chunk references,
bytes). The entries used longest ago leave first. An entry heavier than the
whole cache is not kept, so a capacity of 0 switches a cache off.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from icechunk._locks import StateLock

K = TypeVar("K")
V = TypeVar("V")


class WeightedCache(Generic[K, V]):
    """A least-recently-used cache whose entries have weights.

    Examples
    --------
    >>> cache = WeightedCache(capacity=10)
    >>> cache.put("a", "first", weight=6)
    >>> cache.put("b", "second", weight=6)
    >>> cache.get("a"), cache.get("b")
    (None, 'second')
    """

    __slots__ = ("_entries", "_lock", "_newest", "capacity", "weight")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.weight = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._newest: K | None = None
        self._lock = StateLock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value of `key`, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if key != self._newest:  # what is asked for again and again costs one lookup
            with self._lock.held:
                if key in self._entries:
                    self._entries.move_to_end(key)
                    self._newest = key
        return entry[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep `value`, and let go of what no longer fits beside it."""
        if weight > self.capacity:
            return
        with self._lock.held:
            former = self._entries.pop(key, None)
            if former is not None:
                self.weight -= former[1]
            self._entries[key] = (value, weight)
            self._newest = key
            self.weight += weight
            while self.weight > self.capacity:
                _, (_, leaving) = self._entries.popitem(last=False)
                self.weight -= leaving

    def discard(self, key: K) -> None:
        """Let go of `key` if it is kept."""
        with self._lock.held:
            former = self._entries.pop(key, None)
            if former is not None:
                self.weight -= former[1]
