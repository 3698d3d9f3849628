"""Programs that fork: at every moment of what their parent does, and in the ways in which users do it.

Run as `python -m tests.forks <program> <place>`, where the place is `memory`, a new directory, or the address
of the S3 service of the tests. Each ends with status 0, or says why not. A child that takes too long is
killed, and the program fails.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import sys
import threading
import time
import traceback
import uuid
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
import zarr.api.asynchronous
from zarr.core.buffer import cpu

import icechunk
from icechunk import ConflictDetector, ConflictError, Repository, RepositoryConfig, Session, StorageError
from icechunk._core.cache import WeightedCache
from icechunk._locks import StateLock
from icechunk.testing.faults import Faults, faulty_storage
from tests.local_writers import in_child, wait_for
from tests.s3_server import s3_at
from tests.threads import PATIENCE, meanwhile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORKS = 6
CHUNKS, SIZE = 8, 4
NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)
AT_ONCE = 10.0
"""Seconds that count as at once: a child has no more to do than to say no."""


def storage_at(place: str) -> icechunk.Storage:
    if place == "memory":
        return icechunk.in_memory_storage()
    if place.startswith("http:"):
        return s3_at(place, uuid.uuid4().hex)
    return icechunk.local_filesystem_storage(place)


def begin(storage: icechunk.Storage) -> Repository:
    """A repository with an array full of fives."""
    repo = Repository.create(storage, NATIVE)
    session = repo.writable_session("main")
    zarr.create_group(session.store)
    create_array(session, "fives")[:] = 5
    session.commit("begin")
    return repo


def create_array(session: Session, name: str) -> Any:
    return zarr.create_array(
        session.store, name=name, shape=(CHUNKS * SIZE,), chunks=(SIZE,), dtype="i4", fill_value=-1
    )


def open_array(session: Session, name: str = "fives") -> Any:
    return zarr.open_array(session.store, path=name, mode="r")


def read(repo: Repository, name: str = "fives", value: int = 5) -> None:
    assert (open_array(repo.readonly_session("main"), name)[:] == value).all()


async def read_async(repo: Repository) -> None:
    session = await repo.readonly_session_async("main")
    array = await zarr.api.asynchronous.open_array(store=session.store, path="fives", mode="r")
    assert (np.asarray(await array.getitem(slice(None))) == 5).all()


def add(repo: Repository, name: str) -> str:
    session = repo.writable_session("main")
    create_array(session, name)[:] = 7
    return session.commit(name, rebase_with=ConflictDetector())


async def add_async(repo: Repository, name: str) -> str:
    session = await repo.writable_session_async("main")
    array = await zarr.api.asynchronous.create_array(
        session.store, name=name, shape=(CHUNKS * SIZE,), chunks=(SIZE,), dtype="i4", fill_value=-1
    )
    await array.setitem(slice(None), np.full(CHUNKS * SIZE, 7, "i4"))
    return await session.commit_async(name, rebase_with=ConflictDetector())


def use(repo: Repository, name: str) -> None:
    """Read, write and commit, blocking and awaited."""
    read(repo)
    add(repo, name)
    read(repo, name, 7)
    asyncio.run(read_async(repo))
    asyncio.run(add_async(repo, f"{name}-awaited"))
    read(repo, f"{name}-awaited", 7)


def added(repo: Repository) -> list[str]:
    """What was added to `main`, each with its data."""
    names = [info.message for info in repo.ancestry(branch="main")][:-2]
    for name in names:
        read(repo, name, 7)
    return sorted(names)


def fork_and_wait(action: Callable[[], object]) -> None:
    status = wait_for(in_child(partial(saying_what_is_wrong, action)))
    assert status == 0, f"a child ended with status {status}"


def saying_what_is_wrong(action: Callable[[], object]) -> None:
    try:
        action()
    except BaseException:
        traceback.print_exc()
        raise


def expected(place: str, names: list[str]) -> list[str]:
    """What of the children's work their parent sees: their memory is their own."""
    return [] if place == "memory" else sorted(names)


# One moment after the other


def after_import(place: str) -> None:
    """Nothing was opened or used: not even zarr's threads are there."""
    storage = storage_at(place)

    fork_and_wait(lambda: use(begin(storage), "child"))
    if place != "memory":
        assert added(Repository.open(storage)) == ["child", "child-awaited"]


def after_opening(place: str) -> None:
    """Children use the repository and the sessions that their parent has opened."""
    storage = storage_at(place)
    begin(storage)
    repo = Repository.open(storage)
    reader, writer = repo.readonly_session("main"), repo.writable_session("main")

    def go_on() -> None:
        assert (open_array(reader)[:] == 5).all()
        create_array(writer, "inherited")[:] = 7
        writer.commit("inherited")
        read(repo, "inherited", 7)
        use(repo, "child")

    fork_and_wait(go_on)
    assert not writer.has_uncommitted_changes
    assert added(repo) == expected(place, ["inherited", "child", "child-awaited"])


def after_reading(place: str) -> None:
    """The parent has used threads, event loops and caches; children go on with its very arrays."""
    storage = storage_at(place)
    repo = begin(storage)
    array = open_array(repo.readonly_session("main"))
    assert (array[:] == 5).all()
    asyncio.run(read_async(repo))
    add(repo, "parent")

    def go_on(number: int) -> None:
        assert (array[:] == 5).all()
        use(repo, f"child{number}")
        use(Repository.open(storage), f"anew{number}")

    for number in range(2):
        fork_and_wait(partial(go_on, number))
    names = [
        f"{who}{number}{how}" for who in ("child", "anew") for number in range(2) for how in ("", "-awaited")
    ]
    assert added(repo) == sorted(["parent", *expected(place, names)])


def during_reads(place: str) -> None:
    """Threads read all the time, with cold and with warm caches, blocking and awaited."""
    storage = storage_at(place)
    repo = begin(storage)

    def read_cold() -> None:
        read(Repository.open(storage))

    def read_awaited() -> None:
        asyncio.run(read_async(repo))

    with meanwhile(read_cold, lambda: read(repo), read_awaited):
        for number in range(FORKS):
            time.sleep(0.01)
            fork_and_wait(partial(use, repo, f"child{number}"))
    names = [f"child{number}{how}" for number in range(FORKS) for how in ("", "-awaited")]
    assert added(repo) == expected(place, names)


def during_writes(place: str) -> None:
    """Threads write into a session; a child commits its copy of it, with what it has found there."""
    repo = begin(storage_at(place))
    session = repo.writable_session("main")
    array = create_array(session, "shared")
    groups = itertools.count()

    def write() -> None:
        array[:] = 7

    def create() -> None:
        zarr.create_group(session.store, path=f"groups/{next(groups)}/inner")

    def go_on(number: int) -> None:
        repr(session), session.status(), list(session.store.list())
        array[:] = 7
        session.commit(f"child{number}")
        read(repo, "shared", 7)
        for _, group in zarr.open_group(
            repo.readonly_session("main").store, path="groups", mode="r"
        ).groups():
            assert len(group) <= 1
        use(repo, f"more{number}")

    with meanwhile(write, create):
        while not session.status().updated_chunks:
            time.sleep(0.001)
        for number in range(FORKS):
            time.sleep(0.01)
            # In a directory the first one moves the branch, and the others are told so.
            if number == 0 or place == "memory":
                fork_and_wait(partial(go_on, number))
            else:
                fork_and_wait(partial(is_refused_by, session, ConflictError))
    assert session.has_uncommitted_changes


def is_refused_by(session: Session, error: type[Exception]) -> None:
    with pytest.raises(error):
        session.commit("refused")


def during_commits(place: str) -> None:
    """Threads commit to the branch that the children commit to."""
    storage = storage_at(place)
    repo = begin(storage)
    numbers = itertools.count()
    landed: list[str] = []

    def commit(repo: Repository) -> None:
        name = f"parent{next(numbers)}"
        add(repo, name)
        landed.append(name)

    own = Repository.open(storage)
    with meanwhile(partial(commit, repo), partial(commit, repo), partial(commit, own)):
        for number in range(FORKS):
            time.sleep(0.01)
            fork_and_wait(partial(use, repo, f"child{number}"))
    names = [f"child{number}{how}" for number in range(FORKS) for how in ("", "-awaited")]
    assert added(repo) == sorted([*landed, *expected(place, names)])


def during_the_commit_of_a_session(place: str) -> None:
    """The child's copy of a session is not being committed by anybody: it may write and commit it."""
    inner, faults = storage_at(place), Faults()
    begin(inner)
    repo = Repository.open(faulty_storage(inner, faults))
    session = repo.writable_session("main")
    create_array(session, "first")[:] = 7
    under_way, may_end = threading.Event(), threading.Event()

    def pause() -> None:
        under_way.set()
        assert may_end.wait(PATIENCE)

    faults.call("put", "snapshots/*", pause)
    outcome: list[object] = []

    def commit() -> None:
        try:
            outcome.append(session.commit("parent's"))
        except ConflictError as error:
            outcome.append(error)

    thread = threading.Thread(target=commit)
    thread.start()
    assert under_way.wait(PATIENCE)

    def go_on() -> None:
        create_array(session, "second")[:] = 7
        session.commit("child's")
        read(repo, "first", 7)
        read(repo, "second", 7)

    fork_and_wait(go_on)
    may_end.set()
    thread.join(PATIENCE)
    messages = [info.message for info in repo.ancestry(branch="main")]
    if place == "memory":
        assert outcome == [session.snapshot_id]
        assert messages[0] == "parent's"
    else:
        assert isinstance(outcome[0], ConflictError)
        assert messages[0] == "child's"


def in_a_coroutine(place: str) -> None:
    """The loop that runs, and its tasks, are the parent's; the child starts one of its own."""
    repo = begin(storage_at(place))

    async def read_again_and_again() -> None:
        while True:
            await read_async(repo)

    async def main() -> None:
        tasks = [asyncio.ensure_future(read_again_and_again()) for _ in range(3)]
        for number in range(3):
            await asyncio.sleep(0.01)
            fork_and_wait(partial(use, repo, f"child{number}"))
        for task in tasks:
            assert not task.done()
            task.cancel()
        await asyncio.wait(tasks)
        await add_async(repo, "parent")

    asyncio.run(main())
    names = [f"child{number}{how}" for number in range(3) for how in ("", "-awaited")]
    assert added(repo) == sorted(["parent", *expected(place, names)])


def in_a_child(place: str) -> None:
    """Children of children, each of which has used the repository and has threads that read."""
    repo = begin(storage_at(place))

    def descend(depth: int) -> None:
        use(repo, f"depth{depth}")
        if depth < 3:
            with meanwhile(lambda: read(repo)):
                fork_and_wait(partial(descend, depth + 1))

    with meanwhile(lambda: read(repo)):
        fork_and_wait(partial(descend, 1))
    names = [f"depth{depth}{how}" for depth in (1, 2, 3) for how in ("", "-awaited")]
    assert added(repo) == expected(place, names)


def ending_as_programs_do(place: str) -> None:
    """A child that ends as a program does, with all that is run at the exit, and not by `os._exit`."""
    repo = begin(storage_at(place))
    read(repo)
    with meanwhile(lambda: read(repo)):
        child = os.fork()
        if not child:
            use(repo, "child")
            # Leaves the block of the parent without waiting for threads that are not here.
            raise SystemExit(0)
        assert wait_for(child) == 0
    assert added(repo) == expected(place, ["child", "child-awaited"])


# What a child finds is whole


def whole_state(place: str) -> None:
    """No child finds half of what another thread was doing to a cache, or to the nodes of a session."""
    del place
    sys.setswitchinterval(1e-6)
    cache: WeightedCache[int, int] = WeightedCache(10)
    session = Repository.create(icechunk.in_memory_storage()).writable_session("main")
    group = cpu.Buffer.from_bytes(b'{"zarr_format":3,"node_type":"group"}')

    def fill() -> None:
        for number in range(5):
            cache.put(number % 3, number, 6)
            cache.put(number, number, 3)

    def create_and_delete() -> None:
        session.store.set_sync("g/zarr.json", group)
        session.store.set_sync("g/h/zarr.json", group)
        session.store.delete_sync("g/zarr.json")

    def is_whole() -> None:
        assert cache.weight == sum(weight for _, weight in cache._entries.values())
        changes = session._state.changes
        below = {path for children in changes.new_children.values() for path in children}
        assert below == set(changes.new_nodes) - {"/"}

    with meanwhile(fill, create_and_delete):
        for _ in range(80):
            time.sleep(0.0005)
            fork_and_wait(is_whole)


def whole_sections(place: str) -> None:
    """A fork waits for sections within sections, and those never wait for the fork."""
    del place
    sys.setswitchinterval(1e-6)
    outer, inner = StateLock(), StateLock()
    entered, left = [0], [0]

    def nest() -> None:
        with outer.held:
            entered[0] += 1
            with inner.held:
                left[0] += 1

    def is_whole() -> None:
        assert entered == left
        nest()

    with meanwhile(nest, nest):
        for _ in range(80):
            time.sleep(0.0005)
            fork_and_wait(is_whole)


# Data loaders


def work(array: Any, asked: Any, answers: Any) -> None:
    """What a worker of a data loader does: fetch what it is asked for, and hand over what goes wrong."""
    while (index := asked.get(timeout=PATIENCE)) is not None:
        try:
            answers.put((index, array[index * SIZE : (index + 1) * SIZE].tolist()))
        except StorageError as error:
            answers.put((index, error))


@contextmanager
def loading(array: Any, method: str, workers: int) -> Iterator[Callable[[], dict[int, Any]]]:
    """Start workers as PyTorch's `DataLoader` does; the value is called for the samples of an epoch."""
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    asked = [context.Queue() for _ in range(workers)]
    processes = [context.Process(target=work, args=(array, queue, answers), daemon=True) for queue in asked]

    def load() -> dict[int, Any]:
        for index, queue in zip(range(CHUNKS), itertools.cycle(asked), strict=False):
            queue.put(index)
        return dict(answers.get(timeout=PATIENCE) for _ in range(CHUNKS))

    for process in processes:
        process.start()
    try:
        yield load
    finally:
        for queue in asked:
            queue.put(None)
        for process in processes:
            process.join(PATIENCE)
            hangs = process.is_alive()
            process.kill()
            assert not hangs, "a worker hangs"
            assert process.exitcode == 0


def data_loader(place: str) -> None:
    """Persistent workers, two epochs, while the main process reads and threads of it do too."""
    repo = begin(storage_at(place))
    array = open_array(repo.readonly_session("main"))
    assert (array[:] == 5).all()
    with meanwhile(lambda: read(repo)), loading(array, "fork", 2) as load:
        for _ in range(2):
            assert load() == {index: [5] * SIZE for index in range(CHUNKS)}
            assert (array[:] == 5).all()


# Stores in the network


def s3_before_its_use(place: str) -> None:
    """A child works if its parent has only said where the store is; what other children do is their own."""
    storage = storage_at(place)
    fork_and_wait(lambda: begin(storage))
    fork_and_wait(lambda: use(Repository.open(storage), "child"))
    assert added(Repository.open(storage)) == ["child", "child-awaited"]


def refused(action: Callable[[], object]) -> None:
    started = time.monotonic()
    with pytest.raises(StorageError, match="forkserver") as raised:
        action()
    assert raised.value.kind == "storage-config"
    assert time.monotonic() - started < AT_ONCE


def s3_after_its_use(place: str) -> None:
    """A child is told at once what to do, whatever it tries; the parent goes on."""
    storage = storage_at(place)
    repo = begin(storage)
    array = open_array(repo.readonly_session("main"))
    writer = repo.writable_session("main")
    create_array(writer, "inherited")[:] = 7

    def is_refused() -> None:
        for action in (
            lambda: Repository.open(storage),
            lambda: asyncio.run(Repository.open_async(storage)),
            lambda: repo.list_branches(),
            lambda: array[:],
            lambda: asyncio.run(read_async(repo)),
            lambda: writer.commit("refused"),
            lambda: asyncio.run(writer.commit_async("refused")),
        ):
            refused(action)

    fork_and_wait(is_refused)
    fork_and_wait(lambda: fork_and_wait(is_refused))
    with meanwhile(lambda: read(Repository.open(storage)), lambda: asyncio.run(read_async(repo))):
        for _ in range(FORKS):
            time.sleep(0.01)
            fork_and_wait(is_refused)
    writer.commit("inherited")
    read(repo, "inherited", 7)


def s3_data_loader(place: str) -> None:
    """Forked workers say what to do, and it helps."""
    repo = begin(storage_at(place))
    array = open_array(repo.readonly_session("main"))
    assert (array[:] == 5).all()
    with loading(array, "fork", 2) as load:
        started = time.monotonic()
        errors = load()
        assert time.monotonic() - started < AT_ONCE
    assert all("forkserver" in str(error) for error in errors.values())
    assert sorted(errors) == list(range(CHUNKS))
    with loading(array, "forkserver", 2) as load:
        assert load() == {index: [5] * SIZE for index in range(CHUNKS)}


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
