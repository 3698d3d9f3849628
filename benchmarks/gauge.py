"""Runs a workload once in this process and prints its memory as JSON: ``python -m benchmarks.gauge MODULE
WORKLOAD DIRECTORY``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.implementations import implementation
from benchmarks.measure import MemoryGauge, NoMeter
from benchmarks.places import Places
from benchmarks.workloads import WORKLOADS


def main(module: str, name: str, directory: str) -> dict[str, int]:
    """Baseline after the imports and peak, both in bytes."""
    ic = implementation(module)
    workload = next(workload for workload in WORKLOADS if workload.name == name)
    places = Places(Path(directory), ic)
    gauge = MemoryGauge()
    try:
        workload.work(ic, places, NoMeter())
        return {"baseline": gauge.baseline, "peak": gauge.peak()}
    finally:
        places.clear()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
