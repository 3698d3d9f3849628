"""Processes that know nothing of each other commit to one branch, and no commit is lost.

Each process opens the repository in a directory for itself, sets an attribute of the root group and commits.
All of them change the same metadata document, so whoever comes second gets a ``ConflictError``, starts again
from the newest snapshot and tries once more. At the end every mark must be there, and the history must be
exactly as long as the commits that were reported as done.

This is done with each of the ways in which Python starts processes, ``fork`` included: the parent has used
the repository, and threads, before.

    python examples/uncooperative_writes.py
    python examples/uncooperative_writes.py --processes 4 --commits 10 --methods fork
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import zarr

import icechunk


def open_repository(path: Path) -> icechunk.Repository:
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))


def commit_mark(repository: icechunk.Repository, mark: str) -> int:
    """Set an attribute and commit, however often it takes; return how often it was refused."""
    refused = 0
    while True:
        session = repository.writable_session("main")
        zarr.open_group(session.store, mode="r+").attrs[mark] = refused
        try:
            session.commit(f"Mark {mark}")
        except icechunk.ConflictError:
            refused += 1
        else:
            return refused


def commit_marks(path: Path, marks: list[str]) -> int:
    """What one process does; returns how often it was refused."""
    repository = open_repository(path)
    return sum(commit_mark(repository, mark) for mark in marks)


def run_processes(path: Path, method: str, processes: int, commits: int) -> set[str]:
    """Let processes commit against each other; return the marks that they report as done."""
    context = multiprocessing.get_context(method)
    marks = [[f"{method} {process}.{count}" for count in range(commits)] for process in range(processes)]
    started = time.perf_counter()
    wait_for_all = context.Barrier(processes).wait
    with ProcessPoolExecutor(processes, mp_context=context, initializer=wait_for_all) as pool:
        refused = sum(pool.map(commit_marks, repeat(path), marks))
    seconds = time.perf_counter() - started
    print(
        f"{method:>10}: {processes * commits} commits of {processes} processes in {seconds:.2f} s, "
        f"{refused} more were refused and tried again"
    )
    return {mark for mine in marks for mark in mine}


def run(path: Path, methods: list[str], processes: int, commits: int) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(path)))
    session = repository.writable_session("main")
    zarr.create_group(session.store)
    session.commit("Create the root group")

    expected: set[str] = set()
    for method in methods:
        expected |= run_processes(path, method, processes, commits)

    found = set(zarr.open_group(repository.readonly_session("main").store, mode="r").attrs)
    history = sum(snapshot.message.startswith("Mark ") for snapshot in repository.ancestry(branch="main"))
    print(f"{len(found & expected)} of {len(expected)} marks are there, {history} commits in the history")
    if found != expected or history != len(expected):
        raise SystemExit(f"lost: {sorted(expected - found)}")


def main() -> None:
    available = [
        name for name in ("spawn", "forkserver", "fork") if name in multiprocessing.get_all_start_methods()
    ]
    parser = argparse.ArgumentParser(description="Commit from processes that do not cooperate.")
    parser.add_argument(
        "--path", type=Path, help="a new directory to keep the repository in (default: temporary)"
    )
    parser.add_argument("--processes", type=int, default=3, help="at a time (default: 3)")
    parser.add_argument("--commits", type=int, default=5, help="of each process (default: 5)")
    parser.add_argument(
        "--methods", nargs="+", choices=available, default=available, help="of starting processes"
    )
    options = parser.parse_args()
    if options.path is not None:
        run(options.path, options.methods, options.processes, options.commits)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder) / "marks", options.methods, options.processes, options.commits)


if __name__ == "__main__":
    main()
