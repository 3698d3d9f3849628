"""Runs workloads on two implementations in turns."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import zarr

from benchmarks.measure import MIB, Stopwatch
from benchmarks.workloads import PIPELINES

if TYPE_CHECKING:
    from types import ModuleType

    from benchmarks.places import Places
    from benchmarks.workloads import Workload


@dataclass
class Row:
    """The samples of one workload, in pairs: the n-th of either side were taken one after the other."""

    name: str
    about: str
    unit: str
    ours: list[float] = field(default_factory=list)
    official: list[float] = field(default_factory=list)
    ours_cpu: list[float] = field(default_factory=list)
    official_cpu: list[float] = field(default_factory=list)
    ours_notes: list[dict[str, int]] = field(default_factory=list)
    official_notes: list[dict[str, int]] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Median of ours by median of the official ones."""
        return median(self.ours) / median(self.official)

    @property
    def cpu_ratio(self) -> float | None:
        """The same of processor time; None where memory was measured."""
        return median(self.ours_cpu) / median(self.official_cpu) if self.ours_cpu else None

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and highest ratio of a pair."""
        pairs = [ours / official for ours, official in zip(self.ours, self.official, strict=True)]
        return min(pairs), max(pairs)


def run(
    workload: Workload, ours: ModuleType, official: ModuleType, places: Places, *, samples: int | None = None
) -> list[Row]:
    """Take the samples of a workload; gives one row, or two for memory."""
    count = samples or workload.samples
    if workload.memory:
        return _run_in_processes(workload, ours, official, places, count)
    row = Row(workload.name, workload.about, "s")
    with zarr.config.set({"codec_pipeline.path": PIPELINES[workload.pipeline]}):
        for ic in (official, ours):  # the first sample warms threads and page cache, and is not kept
            _sample(workload, ic, places)
        for number in range(count):
            sides = [
                (ours, row.ours, row.ours_cpu, row.ours_notes),
                (official, row.official, row.official_cpu, row.official_notes),
            ]
            for ic, wall, cpu, notes in sides if number % 2 else sides[::-1]:
                watch = _sample(workload, ic, places)
                wall.append(watch.wall)
                cpu.append(watch.cpu)
                notes.append(watch.notes)
    return [row]


def _sample(workload: Workload, ic: ModuleType, places: Places) -> Stopwatch:
    watch = Stopwatch()
    try:
        workload.work(ic, places, watch)
    finally:
        places.clear()
    return watch


def _run_in_processes(
    workload: Workload, ours: ModuleType, official: ModuleType, places: Places, count: int
) -> list[Row]:
    _sample(workload, official, places)  # makes the data set, which the processes must find
    above = Row(f"{workload.name}-above", f"{workload.about}, above that after the imports", "MiB")
    whole = Row(f"{workload.name}-whole", f"{workload.about}, imports included", "MiB")
    for number in range(count):
        sides = [(ours, above.ours, whole.ours), (official, above.official, whole.official)]
        for ic, kept_above, kept_whole in sides if number % 2 else sides[::-1]:
            command = [sys.executable, "-m", "benchmarks.gauge", ic.__name__, workload.name, str(places.root)]
            answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            kept_above.append((answer["peak"] - answer["baseline"]) / MIB)
            kept_whole.append(answer["peak"] / MIB)
    return [above, whole]
