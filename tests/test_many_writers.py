"""Many writers of one repository: threads, tasks and processes.

What is shown: as many commits as were acknowledged are in the history, with their data; who was second is
told so and can go on.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import random
import subprocess
import sys
import time
import uuid
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zarr
import zarr.api.asynchronous

import icechunk
from icechunk import ConflictError, Repository, Session
from tests.arrays import open_stored_array
from tests.competitors import (
    COMMITS,
    PROCESSES,
    THREADS,
    commit_by_turns,
    commit_with_patience,
    storage_at,
)
from tests.places import PLACES, places
from tests.threads import at_once, meanwhile, on_a_loop

ROOT = Path(__file__).parent.parent
METHODS = [
    name for name in ("spawn", "forkserver", "fork") if name in multiprocessing.get_all_start_methods()
]


@pytest.fixture(params=PLACES)
def storage(request: pytest.FixtureRequest) -> icechunk.Storage:
    return places(request.param, request)()


def history(repo: Repository) -> list[str]:
    return [info.id for info in repo.ancestry(branch="main")]


def test_two_commits_of_one_session_at_once_make_one_snapshot(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage)

    def commit(session: Session) -> str:
        try:
            return session.commit("once")
        except icechunk.SessionStateError as error:
            return error.kind

    async def commit_on_a_loop(session: Session) -> str:
        try:
            return await session.commit_async("once")
        except icechunk.SessionStateError as error:
            return error.kind

    for number in range(5):
        session = repo.writable_session("main")
        zarr.create_group(session.store, path=f"g{number}")
        before = history(repo)
        jobs = [
            partial(commit, session),
            partial(commit, session),
            partial(on_a_loop, commit_on_a_loop, session),
        ]
        outcomes = at_once(*jobs)
        assert outcomes.count("commit-not-allowed") == 2
        [tip] = set(outcomes) - {"commit-not-allowed"}
        assert history(repo) == [tip, *before]
        assert session.snapshot_id == tip


def test_of_two_writers_one_wins_and_the_other_is_told_both_parents_and_goes_on(
    storage: icechunk.Storage,
) -> None:
    repo = Repository.create(storage)
    base = repo.lookup_branch("main")
    for number in range(5):
        sessions = [repo.writable_session("main"), Repository.open(storage).writable_session("main")]
        for side, session in enumerate(sessions):
            zarr.create_group(session.store, path=f"g{number}-{side}")
        outcomes = at_once(*[partial(outcome_of, session) for session in sessions])
        [winner] = [outcome for outcome in outcomes if isinstance(outcome, str)]
        [conflict] = [outcome for outcome in outcomes if isinstance(outcome, ConflictError)]
        assert repo.lookup_branch("main") == winner
        assert (conflict.expected_parent, conflict.actual_parent) == (base, winner)
        assert conflict.kind == "commit-conflict"
        loser = sessions[outcomes.index(conflict)]
        assert loser.has_uncommitted_changes
        assert not loser.read_only
        again = repo.writable_session("main")
        zarr.create_group(again.store, path=f"g{number}-{sessions.index(loser)}")
        base = again.commit("again")
    names = set(repo.readonly_session("main").store.list_dir(""))
    assert names == {"zarr.json", *[f"g{number}-{side}" for number in range(5) for side in range(2)]}
    assert len(history(repo)) == 11


def outcome_of(session: Session) -> str | ConflictError:
    try:
        return session.commit("race")
    except ConflictError as error:
        return error


def check_all_landed(storage: icechunk.Storage, commits: dict[str, str]) -> None:
    """Every commit that was acknowledged is in the history, once, and so is its data."""
    repo = Repository.open(storage)
    infos = list(repo.ancestry(branch="main"))
    assert {info.message: info.id for info in infos[:-1]} == commits
    assert len(infos) == len(commits) + 1
    times = [info.written_at for info in infos]
    assert times == sorted(times, reverse=True)
    store = repo.readonly_session("main").store
    names = set(store.list_dir("")) - {"zarr.json"}
    assert names == set(commits)
    for name in names:
        assert open_stored_array(store, name)[:].tolist() == [3] * 8


@pytest.mark.parametrize("shared", [True, False], ids=["one repository object", "one each"])
def test_threads_that_retry_lose_no_commit(shared: bool, storage: icechunk.Storage) -> None:
    """As many commits as returned are in the history: no two win on one parent."""
    repo = Repository.create(storage)
    threads, commits = 4, 4
    landed: dict[str, str] = {}

    def work(thread: int) -> None:
        own = repo if shared else Repository.open(storage)
        for number in range(commits):
            name = f"t{thread}-{number}"
            landed[name], _ = commit_with_patience(own, name)

    at_once(*[partial(work, thread) for thread in range(threads)])
    assert len(landed) == threads * commits
    check_all_landed(storage, landed)


def test_tasks_of_one_loop_that_retry_lose_no_commit(storage: icechunk.Storage) -> None:
    landed: dict[str, str] = {}

    async def work(repo: Repository, name: str) -> None:
        attempt = 0
        while name not in landed:
            session = await repo.writable_session_async("main")
            array = await zarr.api.asynchronous.create_array(
                session.store, name=name, shape=(8,), chunks=(4,), dtype="i4", fill_value=-1
            )
            await array.setitem(slice(None), np.full(8, 3, "i4"))
            attempt += 1
            try:
                landed[name] = await session.commit_async(name)
            except ConflictError:
                await asyncio.sleep(random.random() * 0.02 * attempt)

    async def main() -> None:
        repo = await Repository.create_async(storage)
        await asyncio.gather(*[work(repo, f"task{number}") for number in range(8)])

    asyncio.run(main())
    check_all_landed(storage, landed)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", ["directory", "s3"])
def test_processes_and_threads_that_compete_lose_no_commit(
    place: str, method: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each commit lands or is refused, in processes with threads, and in threads of this process.

    As many as were acknowledged are in the history, with the data of each.
    """
    where = str(tmp_path)
    if place == "s3":
        where = f"{request.getfixturevalue('s3_server')}/{uuid.uuid4().hex}"
    storage = storage_at(where)
    repo = Repository.create(storage)
    landed: dict[str, str] = {}
    numbers = itertools.count()

    def commit() -> None:
        number = next(numbers)
        if number < 16:
            landed.update(commit_by_turns(repo, f"here{number}", 2))
        time.sleep(0.2)

    command = [sys.executable, "-m", "tests.competitors", where, method]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as program:
        try:
            with meanwhile(commit, commit):
                said, complaints = program.communicate(timeout=240)
        finally:
            program.kill()
    assert program.returncode == 0, complaints
    theirs = json.loads(said)
    assert len(theirs) == PROCESSES * THREADS * COMMITS
    check_all_landed(storage, theirs | landed)


def test_branches_and_tags_are_made_while_others_commit(storage: icechunk.Storage) -> None:
    """Changes of different refs do not conflict: each is applied to the newest repository there is."""
    repo = Repository.create(storage)
    initial = repo.lookup_branch("main")
    landed: dict[str, str] = {}

    def commit() -> None:
        for number in range(4):
            landed[f"c{number}"] = commit_with_patience(repo, f"c{number}")[0]

    def branch() -> None:
        for number in range(4):
            repo.create_branch(f"b{number}", initial)
            session = repo.writable_session(f"b{number}")
            zarr.create_group(session.store)
            session.commit("on a branch of its own")

    def tag() -> None:
        for number in range(4):
            asyncio.run(repo.create_tag_async(f"t{number}", initial))

    at_once(commit, branch, tag)
    repo = Repository.open(storage)
    assert repo.list_branches() == {"main", "b0", "b1", "b2", "b3"}
    assert repo.list_tags() == {"t0", "t1", "t2", "t3"}
    assert [info.message for info in repo.ancestry(branch="main")][:-1] == ["c3", "c2", "c1", "c0"]
    for number in range(4):
        assert [info.parent_id for info in repo.ancestry(branch=f"b{number}")] == [initial, None]
