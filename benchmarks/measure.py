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
    """What a workload wraps around the parts that count."""

    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

    def share(self, pieces: int) -> None:
        """Say that what was measured is for so many pieces of work."""

    def note(self, name: str, number: int) -> None:
        """Give a number that is to be shown beside the time."""


class Stopwatch:
    """Seconds on the wall and of the processors, the latter over all threads and ended processes.

    Garbage of what came before is collected first; the collector stays on, as it does for users.
    """

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.notes: dict[str, int] = {}
        self._begun = (0.0, 0.0)

    def __enter__(self) -> None:
        gc.collect()
        self._begun = time.perf_counter(), _processor_time()

    def __exit__(self, *error: object) -> None:
        begun_wall, begun_cpu = self._begun
        self.wall += time.perf_counter() - begun_wall
        self.cpu += _processor_time() - begun_cpu

    def share(self, pieces: int) -> None:
        self.wall, self.cpu = self.wall / pieces, self.cpu / pieces

    def note(self, name: str, number: int) -> None:
        self.notes[name] = number


def _processor_time() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class NoMeter:
    """Measures nothing: for samples whose memory is gauged from outside."""

    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...
    def share(self, pieces: int) -> None: ...
    def note(self, name: str, number: int) -> None: ...


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
