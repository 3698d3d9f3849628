"""One change, written by several processes or threads, in both styles."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pytest
import zarr

import icechunk
from icechunk import ForkSession, Repository, Session
from icechunk.distributed import extract_session, merge_sessions, merge_sessions_async
from tests import workers
from tests.threads import at_once, meanwhile

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 16


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.fixture
def repo(tmp_path: Path, spec_version: int) -> Repository:
    return create(icechunk.local_filesystem_storage(tmp_path / "repository"), spec_version)


def create(storage: icechunk.Storage, spec_version: int = 2) -> Repository:
    """A repository with an array `a`, of which row 0 is written."""
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, name="a", shape=(ROWS, 200), chunks=(1, 200), dtype="i4")
    array[0] = -1
    session.commit("rows")
    return repo


def dirty(repo: Repository) -> Session:
    """A session that has changed row 1 and created an array."""
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="a")[1] = -2
    zarr.create_array(session.store, name="b", shape=(2,), chunks=(1,), dtype="i4")[0] = 5
    return session


def rows(session: Session) -> list[int]:
    array: Any = zarr.open_array(session.store, path="a", mode="r")[:]
    assert (array == array[:, :1]).all()
    found: list[int] = np.asarray(array)[:, 0].tolist()
    return found


# With forks


@pytest.mark.parametrize("start", [Repository.writable_session, dirty], ids=["clean", "dirty"])
def test_forks_written_in_other_processes(repo: Repository, pool: ProcessPoolExecutor, start: Any) -> None:
    session = start(repo, "main") if start is not dirty else dirty(repo)
    jobs = [pool.submit(workers.write_row, session.fork(), row, 100 + row) for row in range(2, ROWS)]
    done = [job.result() for job in jobs]
    assert os.getpid() not in {process for _, process in done}
    session.merge(*(fork for fork, _ in done))
    before = [-1, -2] if start is dirty else [-1, 0]
    assert rows(session) == [*before, *range(102, 100 + ROWS)]
    session.commit("all")
    assert rows(repo.readonly_session("main")) == [*before, *range(102, 100 + ROWS)]


def test_workers_create_what_they_need(repo: Repository, pool: ProcessPoolExecutor) -> None:
    session = repo.writable_session("main")
    jobs = [pool.submit(workers.create_and_write, session.fork(), number) for number in range(16)]
    merge_sessions(session, [job.result() for job in jobs]).commit("created by all")
    stored = repo.readonly_session("main").store
    sums: Any = zarr.open_array(stored, path="results/sums", mode="r")[:]
    assert sums.tolist() == list(range(16))


def test_forks_that_are_forked_where_they_are(repo: Repository, pool: ProcessPoolExecutor) -> None:
    session = dirty(repo)
    parts = [list(range(start, ROWS, 3)) for start in range(2, 5)]
    jobs = [pool.submit(workers.spread, session.fork(), part, 7) for part in parts]
    session.merge(*(job.result() for job in jobs))
    session.commit("all")
    assert rows(repo.readonly_session("main")) == [-1, -2, *[7] * (ROWS - 2)]


def test_a_tree_of_merges(repo: Repository, pool: ProcessPoolExecutor) -> None:
    """Forks of one session are merged pairwise on the way, as an engine that reduces does."""
    session = dirty(repo)
    jobs = [pool.submit(workers.write_row, session.fork(), row, row) for row in range(2, ROWS)]
    level: list[Session] = [job.result()[0] for job in jobs]
    while len(level) > 1:
        pairs = [level[start : start + 2] for start in range(0, len(level), 2)]
        level = [job.result() for job in [pool.submit(merge_sessions, *pair) for pair in pairs]]
    assert rows(merge_sessions(session, level)) == [-1, -2, *range(2, ROWS)]


def test_round_trips_of_a_fork_can_be_repeated(repo: Repository) -> None:
    fork: ForkSession = dirty(repo).fork()
    sizes = []
    for row in range(2, 8):
        for dumps in (pickle.dumps, cloudpickle.dumps):
            sizes.append(len(dumps(fork)))
            fork = pickle.loads(dumps(fork))
        workers.write_row(fork, row, row)
        assert type(fork) is ForkSession
    assert rows(fork)[:8] == [-1, -2, *range(2, 8)]
    assert max(sizes) < 4000


def test_a_fork_in_memory_stays_in_its_process() -> None:
    """Rather than to lose what is written elsewhere; within the process, copies have one memory."""
    repo = create(icechunk.in_memory_storage())
    session = dirty(repo)
    fork = pickle.loads(pickle.dumps(session.fork()))
    workers.write_row(fork, 2, 2)
    session.merge(pickle.loads(pickle.dumps(fork)))
    assert rows(session)[:3] == [-1, -2, 2]
    script = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path]),
    }
    refused = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(fork),
        capture_output=True,
        check=False,
        env=environment,
    )
    assert refused.returncode
    assert b"local_filesystem_storage" in refused.stderr


# The older style


@pytest.mark.parametrize("start", [Repository.writable_session, dirty], ids=["clean", "dirty"])
@pytest.mark.parametrize("what", ["session", "store", "array"])
def test_a_session_is_sent_and_sent_back(
    repo: Repository, pool: ProcessPoolExecutor, what: str, start: Any
) -> None:
    session = start(repo, "main") if start is not dirty else dirty(repo)
    array = zarr.open_array(session.store, path="a", mode="r+")
    with session.allow_pickling():
        jobs: list[Any] = []
        for row in range(2, ROWS):
            if what == "session":
                jobs.append(pool.submit(workers.write_row, session, row, row))
            elif what == "store":
                jobs.append(pool.submit(workers.write_row_of_store, session.store, row, row))
            else:
                jobs.append(pool.submit(workers.write_row_of_array, array, row, row))
        sessions = [job.result() for job in jobs]
    if what == "session":
        sessions = [each for each, _ in sessions]
    assert {type(each) for each in sessions} == {ForkSession}
    merged = merge_sessions(session, *sessions)
    assert merged is session
    before = [-1, -2] if start is dirty else [-1, 0]
    session.commit("all")
    assert rows(repo.readonly_session("main")) == [*before, *range(2, ROWS)]


def test_what_is_changed_within_the_block_is_sent_too(repo: Repository) -> None:
    session = repo.writable_session("main")
    with session.allow_pickling():
        first = pickle.loads(pickle.dumps(session))
        workers.write_row(session, 3, 3)
        second = pickle.loads(pickle.dumps(session))
    assert (rows(first)[3], rows(second)[3]) == (0, 3)
    workers.write_row(first, 4, 4)
    workers.write_row(second, 3, 33)
    workers.write_row(second, 5, 5)
    assert rows(merge_sessions(session, first, second))[3:6] == [33, 4, 5]


def test_the_permission_is_that_of_one_session_while_a_block_is_open(repo: Repository) -> None:
    session, other = repo.writable_session("main"), repo.writable_session("main")

    def refused(thing: Any) -> None:
        with pytest.raises(ValueError, match=r"session\.fork\(\).*allow_pickling"):
            pickle.dumps(thing)

    refused(session)
    with session.allow_pickling():
        refused(other)
        with session.allow_pickling():
            pickle.dumps(session)
        pickle.dumps(session.store)
        at_once(*[lambda: pickle.dumps(session)] * 4)  # threads other than the one that opened it
    refused(session.store)
    with pytest.raises(ZeroDivisionError), session.allow_pickling():
        _ = 1 / 0
    refused(session)
    gates = [threading.Event(), threading.Event()]

    def hold() -> None:
        with session.allow_pickling():
            gates[0].set()
            assert gates[1].wait(60)

    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(hold)
        assert gates[0].wait(60)
        with session.allow_pickling():
            pass
        pickle.dumps(session)  # the thread has its block still open
        gates[1].set()
        held.result()
    refused(session)


def test_sessions_that_need_no_permission(repo: Repository) -> None:
    reader = repo.readonly_session("main")
    with reader.allow_pickling():
        assert type(pickle.loads(pickle.dumps(reader))) is Session
    fork = repo.writable_session("main").fork()
    with fork.allow_pickling():
        assert type(pickle.loads(pickle.dumps(fork.store)).session) is ForkSession


def test_threads_give_back_what_they_were_given(repo: Repository) -> None:
    """There is one session and nothing to merge."""
    session = repo.writable_session("main")
    with session.allow_pickling(), ThreadPoolExecutor(4) as threads:
        done = threads.map(lambda row: workers.write_row(session, row, row)[0], range(1, ROWS))
        sessions = list(done)
    assert merge_sessions(session, *sessions) is session
    assert merge_sessions([session, [session]]) is session
    session.commit("all")
    assert rows(repo.readonly_session("main")) == [-1, *range(1, ROWS)]


def test_threads_that_write_into_the_session_while_it_takes_forks(repo: Repository) -> None:
    session = repo.writable_session("main")
    forks = [session.fork() for _ in range(8)]
    for row, fork in enumerate(forks):
        workers.write_row(fork, row, 50 + row)
    merges = [partial(session.merge, fork) for fork in forks]
    at_once(*merges, *[partial(workers.write_row, session, row, row) for row in range(8, ROWS)])
    assert rows(session) == [*range(50, 58), *range(8, ROWS)]


# Functions


@pytest.mark.parametrize("blocking", [True, False])
def test_a_large_merge_comes_to_an_end_while_others_write_all_the_time(blocking: bool) -> None:
    """It is made anew when somebody wrote meanwhile, but not for ever: in the end they wait for it."""
    chunks = 200_000
    session = Repository.create(icechunk.in_memory_storage()).writable_session("main")
    for name in ("a", "b"):
        zarr.create_array(session.store, name=name, shape=(chunks,), chunks=(1,), dtype="i4", fill_value=-1)
    forks = [session.fork() for _ in range(2)]
    numbers = np.arange(chunks, dtype="u8")
    for fork in forks:
        fork.store.set_virtual_refs_arr(
            "a", (chunks,), ["s3://bucket/file"] * chunks, numbers, numbers + 1, validate_containers=False
        )
    written: list[int] = []

    def write() -> None:
        zarr.open_array(session.store, path="b", mode="r+")[len(written)] = len(written)
        written.append(len(written))

    def merge() -> None:
        if blocking:
            session.merge(*forks, duplicate_chunks="allow")
        else:
            asyncio.run(session.merge_async(*forks, duplicate_chunks="allow"))

    with meanwhile(write):
        at_once(merge, patience=20)
    counts = {path: len(changed) for path, changed in session.status().updated_chunks.items()}
    assert counts == {"/a": chunks, "/b": len(written)}
    found: Any = zarr.open_array(session.store, path="b", mode="r")
    assert found[: len(written)].tolist() == written


async def test_sessions_are_merged_in_nested_lists_and_in_both_spellings(repo: Repository) -> None:
    session = repo.writable_session("main")
    forks = [session.fork() for _ in range(6)]
    for row, fork in enumerate(forks, 1):
        workers.write_row(fork, row, row)
    half = merge_sessions([[forks[0], [forks[1]]], forks[2:3]])
    assert half is forks[0]
    assert await merge_sessions_async(session, [half], (each for each in forks[3:])) is session
    assert rows(session)[:7] == [-1, *range(1, 7)]


def test_what_cannot_be_merged(repo: Repository) -> None:
    session, other = repo.writable_session("main"), repo.writable_session("main")
    with pytest.raises(TypeError, match="only the first session"):
        merge_sessions(session.fork(), session)
    with pytest.raises(TypeError, match="only the first session"):
        merge_sessions(session, other)
    with pytest.raises(TypeError, match="not a int"):
        merge_sessions(session, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not a str"):
        merge_sessions(session, "fork")
    with pytest.raises(ValueError, match="no sessions"):
        merge_sessions([], [[]])


def test_the_session_behind_things(repo: Repository) -> None:
    fork = repo.writable_session("main").fork()
    array = zarr.open_array(fork.store, path="a")
    thing: Any
    for thing in (array, array.async_array, zarr.open_group(fork.store), fork.store, fork):
        assert extract_session(thing, axis=0, keepdims=True) == fork
    for thing in (zarr.create_array({}, shape=(1,), dtype="i4"), None):
        with pytest.raises(TypeError, match="no Icechunk session"):
            extract_session(thing)


def test_engines_name_equal_things_alike(repo: Repository) -> None:
    """Tokens of Dask, which are made from pickles."""
    tokenize = pytest.importorskip("dask.base").tokenize
    session = repo.writable_session("main")
    reader = repo.readonly_session("main")
    again = Repository.open(repo.storage).readonly_session("main")
    for some, other in ((session.fork(), session.fork()), (reader, again)):
        assert tokenize(some) == tokenize(other) == tokenize(pickle.loads(pickle.dumps(some)))
        arrays = [zarr.open_array(each.store, path="a", mode="r") for each in (some, other)]
        assert tokenize(arrays[0]) == tokenize(arrays[1]) == tokenize(pickle.loads(pickle.dumps(arrays[0])))
    changed = session.fork()
    workers.write_row(changed, 3, 3)
    assert tokenize(changed) != tokenize(session.fork())
