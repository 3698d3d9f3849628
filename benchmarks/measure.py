"""Stopwatch and memory gauge.

A workload gets a `Meter`, wraps what counts in ``with meter:``, and does the rest outside. One meter serves
one sample.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from pathlib import Path
from typing import Protocol

MIB = 2**20


class Meter(Protocol):
    """What a workload wraps around the part that counts."""

    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

    def share(self, kept: int, lost: int) -> None:
        """Say that what was measured is for so many pieces of work, and how many came to nothing."""


class Stopwatch:
    """Seconds on the wall and of the processors, the latter over all threads.

    Garbage of what came before is collected first; the collector stays on, as it does for users.
    """

    wall = float("nan")
    cpu = float("nan")
    lost: int | None = None
    _begun = (0.0, 0.0)

    def __enter__(self) -> None:
        gc.collect()
        self._begun = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        begun_wall, begun_cpu = self._begun
        self.wall, self.cpu = time.perf_counter() - begun_wall, time.process_time() - begun_cpu

    def share(self, kept: int, lost: int) -> None:
        self.wall, self.cpu, self.lost = self.wall / kept, self.cpu / kept, lost


class NoMeter:
    """Measures nothing: for samples whose memory is gauged from outside."""

    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...
    def share(self, kept: int, lost: int) -> None: ...


class MemoryGauge:
    """Peak resident memory of this process since the gauge was made.

    On Linux the high-water mark is that of the process's own memory (``VmHWM``), set back when the gauge is
    made. ``ru_maxrss`` would not do there: a child inherits it from a parent that was larger. Elsewhere it is
    all there is.
    """

    def __init__(self) -> None:
        gc.collect()
        self._linux = sys.platform == "linux"
        if self._linux:
            Path("/proc/self/clear_refs").write_text("5")
        self.baseline = self._status("VmRSS") if self._linux else self._max_rss()

    def peak(self) -> int:
        """The highest number of resident bytes so far."""
        return self._status("VmHWM") if self._linux else self._max_rss()

    @staticmethod
    def _status(name: str) -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(name)

    @staticmethod
    def _max_rss() -> int:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
