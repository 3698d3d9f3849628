"""Processes with threads that commit to one branch and know nothing of each other.

Run as `python -m tests.competitors <place> <start method>`, where the place is a directory or the address and
prefix of a bucket of the S3 service of the tests. Prints, as JSON, which commit became which snapshot. This
program has not used the repository when it starts the processes, as anybody has to who forks and uses S3.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import icechunk
from icechunk import ConflictDetector, ConflictError, Repository, Session
from tests.arrays import create_counted_array
from tests.s3_server import s3_at
from tests.threads import at_once

PROCESSES, THREADS, COMMITS = 3, 2, 2
PATIENCE = 200.0
"""Seconds until something counts as hanging: on a busy machine, processes take long to start."""


def _session_with(repo: Repository, name: str) -> Session:
    session = repo.writable_session("main")
    create_counted_array(session.store, name, 2)[:] = 3
    return session


def commit_with_patience(repo: Repository, name: str) -> tuple[str, int]:
    """Add a small array to `main`, as often as it takes; the snapshot, and how often others were first."""
    conflicts = 0
    while True:
        session = _session_with(repo, name)
        try:
            return session.commit(name), conflicts
        except ConflictError as error:
            if error.expected_parent != session.snapshot_id or error.actual_parent is None:
                raise
            conflicts += 1
            time.sleep(random.random() * 0.02 * conflicts)


def commit_rebased(repo: Repository, name: str) -> str:
    """Add a small array to `main`, on top of what others have committed meanwhile."""
    return _session_with(repo, name).commit(name, rebase_with=ConflictDetector())


def commit_by_turns(repo: Repository, who: str, commits: int = COMMITS) -> dict[str, str]:
    """Commit now with patience, now rebased; the snapshots by the names of what they add."""
    landed = {}
    for number in range(commits):
        name = f"{who}-{number}"
        landed[name] = commit_rebased(repo, name) if number % 2 else commit_with_patience(repo, name)[0]
    return landed


def storage_at(place: str) -> icechunk.Storage:
    if place.startswith("http:"):
        address, _, prefix = place.rpartition("/")
        return s3_at(address, prefix)
    return icechunk.local_filesystem_storage(Path(place))


def compete(place: str, process: int, start: Any, answers: Any) -> None:
    """What a process does: its threads share one repository, the processes share nothing."""
    try:
        start.wait(PATIENCE)
        repo = Repository.open(storage_at(place))
        jobs = [partial(commit_by_turns, repo, f"p{process}t{number}") for number in range(THREADS)]
        answers.put(at_once(*jobs, patience=PATIENCE))
    except BaseException as error:
        answers.put(error)
        raise


def main(place: str, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    start, answers = context.Barrier(PROCESSES), context.Queue()
    workers = [
        context.Process(target=compete, args=(place, number, start, answers), daemon=True)
        for number in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    landed: dict[str, str] = {}
    for _ in workers:
        answer = answers.get(timeout=PATIENCE)
        if isinstance(answer, BaseException):
            raise answer
        for each in answer:
            landed.update(each)
    for worker in workers:
        worker.join(PATIENCE)
        assert worker.exitcode == 0, worker
    json.dump(landed, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
