"""The command line: ``python -m benchmarks [--only NAME] [--repeat N] [--json]``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from benchmarks.implementations import OFFICIAL, OURS, implementation
from benchmarks.places import Places
from benchmarks.runner import Row, run
from benchmarks.workloads import WORKLOADS, has_pipeline

if TYPE_CHECKING:
    from types import ModuleType

DIRECTORY = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "icechunk-benchmarks"


def main() -> None:
    """Run what the arguments choose and print the outcome."""
    arguments = _arguments()
    if arguments.list:
        for workload in WORKLOADS:
            print(f"{workload.name:28} {workload.about}")
        return
    if importlib.util.find_spec(OFFICIAL) is None:
        sys.exit("the official implementation is not installed: run tools/install_official.py")
    official = implementation(OFFICIAL)
    ours = official if arguments.against_itself else implementation(OURS)
    places = Places(arguments.directory, official)
    environment = _environment(ours, official, arguments.directory)
    if not arguments.json:
        print("\n".join(f"{name}: {value}" for name, value in environment.items()), end="\n\n")
        print(_line("workload", "ours", "official", "ratio", "of pairs", "cpu"))
    rows = []
    for workload in WORKLOADS:
        chosen = not arguments.only or any(part in workload.name for part in arguments.only)
        if chosen and has_pipeline(workload.pipeline):
            for row in run(workload, ours, official, places, samples=arguments.repeat):
                rows.append(row)
                if not arguments.json:
                    print(_shown(row), flush=True)
    if arguments.json:
        print(
            json.dumps({"environment": environment, "workloads": [_as_json(row) for row in rows]}, indent=1)
        )
    else:
        print("\nratio = ours / official, of the medians; of pairs = its extremes; cpu = of processor time")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Ours beside the official implementation."
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="workloads whose name holds this; repeatable"
    )
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="samples of each side (default: by workload, 3 to 15)"
    )
    parser.add_argument("--json", action="store_true", help="print all samples as JSON in place of the table")
    parser.add_argument("--list", action="store_true", help="list the workloads and stop")
    parser.add_argument(
        "--directory",
        type=Path,
        default=DIRECTORY,
        help="where data sets are kept, on disk (default: %(default)s)",
    )
    parser.add_argument(
        "--against-itself", action="store_true", help="official on both sides, to see how much ratios mean"
    )
    return parser.parse_args()


def _environment(ours: ModuleType, official: ModuleType, directory: Path) -> dict[str, Any]:
    return {
        "ours": f"{ours.__name__} {ours.__version__}",
        "official": f"{official.__name__} {official.__version__}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "zarr": zarr.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "directory": str(directory),
    }


def _shown(row: Row) -> str:
    low, high = row.spread
    ours, official = (_quantity(median(samples), row.unit) for samples in (row.ours, row.official))
    cpu = "" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}"
    lines = [_line(row.name, ours, official, f"{row.ratio:.2f}", f"{low:.2f} - {high:.2f}", cpu)]
    for name in row.ours_notes[0] if row.ours_notes else ():
        found = [[notes[name] for notes in side] for side in (row.ours_notes, row.official_notes)]
        ours, official = (
            f"{min(each):,}" if min(each) == max(each) else f"{min(each):,} to {max(each):,}"
            for each in found
        )
        lines.append(f"{'':4}{name}: {ours} by ours, {official} by the official one")
    return "\n".join(lines)


def _line(name: str, ours: str, official: str, ratio: str, spread: str, cpu: str) -> str:
    return f"{name:28} {ours:>12} {official:>12} {ratio:>7} {spread:>14} {cpu:>7}"


def _quantity(value: float, unit: str) -> str:
    if unit == "MiB":
        return f"{value:.0f} MiB"
    return f"{value:.3f} s" if value >= 1 else f"{value * 1000:.2f} ms"


def _as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "about": row.about,
        "unit": row.unit,
        "ours": row.ours,
        "official": row.official,
        "medians": [median(row.ours), median(row.official)],
        "ours_cpu": row.ours_cpu,
        "official_cpu": row.official_cpu,
        "ours_notes": row.ours_notes,
        "official_notes": row.official_notes,
        "ratio": row.ratio,
        "cpu_ratio": row.cpu_ratio,
        "spread": row.spread,
    }


if __name__ == "__main__":
    main()
