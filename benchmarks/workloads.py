"""What is measured.

A workload is a function of an implementation, the places and a meter that does the work once. It checks its
own result after the meter has stopped, so that a fast wrong answer does not count.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.buffer import cpu, default_buffer_prototype

from benchmarks.places import (
    FOREIGN,
    HISTORY,
    LARGE_CHUNKS,
    LARGE_ITEMS,
    MILLION_CHUNK,
    MILLION_SIDE,
    SMALL_CHUNKS,
    SMALL_ITEMS,
    million_references,
    write_small,
)
from benchmarks.together import commit_by_processes, merge_forks, write_by_threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from benchmarks.measure import Meter
    from benchmarks.places import Places

    Work = Callable[[ModuleType, Places, Meter], None]

PIPELINES = {
    "default": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "fused": "zarr.core.codec_pipeline.FusedCodecPipeline",
}
THREADS = 8
CHANGED = 1000
COMMITS = 80
ASYNC_READS = 64


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Parameters
    ----------
    name : str
    about : str
        What is inside the measured span.
    work : callable
        Does it once.
    samples : int
        How often, unless the command line says otherwise.
    pipeline : str, optional
        Which of zarr's codec pipelines moves the chunks, for work that goes through zarr arrays.
    memory : bool, optional
        Whether peak memory of a fresh process is measured in place of time.
    """

    name: str
    about: str
    work: Work
    samples: int
    pipeline: str = "default"
    memory: bool = False


def has_pipeline(name: str) -> bool:
    """Whether this zarr has the codec pipeline."""
    module, _, attribute = PIPELINES[name].rpartition(".")
    return hasattr(__import__(module, fromlist=[attribute]), attribute)


def _read_store(ic: ModuleType, path: Path) -> Any:
    return ic.Repository.open(ic.local_filesystem_storage(str(path))).readonly_session("main").store


def _read_small(ic: ModuleType, places: Places, meter: Meter) -> None:
    _read_all(_read_store(ic, places.dataset("small")), meter, SMALL_CHUNKS * SMALL_ITEMS)


def _read_large(ic: ModuleType, places: Places, meter: Meter) -> None:
    _read_all(_read_store(ic, places.dataset("large")), meter, LARGE_CHUNKS * LARGE_ITEMS)


def _read_memory(ic: ModuleType, places: Places, meter: Meter) -> None:
    def build() -> Any:
        storage = ic.in_memory_storage()
        write_small(ic, storage)
        return storage

    repository = ic.Repository.open(places.kept(ic, "memory", build))
    _read_all(repository.readonly_session("main").store, meter, SMALL_CHUNKS * SMALL_ITEMS)


def _read_all(store: Any, meter: Meter, items: int) -> None:
    array = zarr.open_array(store, path="a", mode="r")
    with meter:
        values = np.asarray(array[:])
    assert values.shape == (items,)
    assert (values[::SMALL_ITEMS] == np.arange(0, items, SMALL_ITEMS)).all()


def _read_async(ic: ModuleType, places: Places, meter: Meter) -> None:
    """Chunks asked from the store itself by one event loop, with a bounded number in flight."""
    store = _read_store(ic, places.dataset("small"))
    prototype = default_buffer_prototype()

    async def read() -> int:
        turn = asyncio.Semaphore(ASYNC_READS)

        async def get(number: int) -> int:
            async with turn:
                return len(await store.get(f"a/c/{number}", prototype))

        await get(0)
        with meter:
            sizes = await asyncio.gather(*[get(number) for number in range(SMALL_CHUNKS)])
        return sum(sizes)

    assert asyncio.run(read()) == SMALL_CHUNKS * SMALL_ITEMS * 8


def _write_small(ic: ModuleType, places: Places, meter: Meter) -> None:
    _write_all(ic, places, meter, SMALL_CHUNKS, SMALL_ITEMS)


def _write_large(ic: ModuleType, places: Places, meter: Meter) -> None:
    _write_all(ic, places, meter, LARGE_CHUNKS, LARGE_ITEMS)


def _write_all(ic: ModuleType, places: Places, meter: Meter, chunks: int, items: int) -> None:
    path = places.fresh()
    values = np.arange(chunks * items, dtype="f8")
    session, array = _empty_array(ic, path, chunks, items)
    with meter:
        array[:] = values
        session.commit("chunks")
    stored = zarr.open_array(_read_store(ic, path), path="a", mode="r")
    assert stored[-1] == values[-1]
    assert sum(1 for _ in (path / "chunks").iterdir()) == chunks


def _empty_array(ic: ModuleType, path: Path, chunks: int, items: int) -> tuple[Any, Any]:
    session = ic.Repository.create(ic.local_filesystem_storage(str(path))).writable_session("main")
    array = zarr.create_array(
        session.store, name="a", shape=(chunks * items,), chunks=(items,), dtype="f8", compressors=None
    )
    return session, array


def _commit_million(ic: ModuleType, places: Places, meter: Meter) -> None:
    path = places.copy("million")
    session = ic.Repository.open(ic.local_filesystem_storage(str(path))).writable_session("main")
    store = session.store

    async def change() -> None:
        for number in range(CHANGED):
            content = np.full(MILLION_CHUNK**2, number % 256, "u1")
            await store.set(f"a/c/{number}/{number * 7 % MILLION_SIDE}", cpu.Buffer.from_array_like(content))

    asyncio.run(change())
    with meter:
        session.commit("changed")
    store = _read_store(ic, path)
    changed = asyncio.run(store.get("a/c/3/21", default_buffer_prototype()))
    assert changed.to_bytes() == bytes([3]) * MILLION_CHUNK**2
    assert asyncio.run(store.getsize("a/c/3/22")) == MILLION_CHUNK**2


def _refer_million(ic: ModuleType, places: Places, meter: Meter) -> None:
    """A million virtual references, a thousand in each of a thousand files, set at once and committed."""
    path = places.fresh()
    session, refer = million_references(ic, path)
    with meter:
        refer()
        session.commit("a million references")
    assert asyncio.run(_read_store(ic, path).getsize("a/c/617/388")) == MILLION_CHUNK**2


def _look_up(ic: ModuleType, places: Places, meter: Meter) -> None:
    """The size of a chunk is asked: its reference is looked up, and nothing is fetched."""
    store = _read_store(ic, places.dataset("million"))

    async def look_up() -> int:
        with meter:
            return int(await store.getsize("a/c/617/388"))

    assert asyncio.run(look_up()) == MILLION_CHUNK**2


def _commit_small(ic: ModuleType, places: Places, meter: Meter) -> None:
    path = places.copy("history")
    repository = ic.Repository.open(ic.local_filesystem_storage(str(path)))
    session = repository.writable_session("main")
    zarr.open_array(session.store, path="a")[3] = 7
    with meter:
        session.commit("one more", metadata={"one": "more"})
    assert sum(1 for _ in repository.ancestry(branch="main")) == HISTORY + 1


def _rebase(ic: ModuleType, places: Places, meter: Meter) -> None:
    """The branch is taken back for as long as it takes to open the session."""
    repository = ic.Repository.open(ic.local_filesystem_storage(str(places.copy("foreign"))))
    tip = repository.lookup_branch("main")
    repository.reset_branch("main", repository.lookup_tag("base"))
    session = repository.writable_session("main")
    zarr.open_array(session.store, path="a")[FOREIGN] = 1
    repository.reset_branch("main", tip)
    with meter:
        session.commit("one more", rebase_with=ic.ConflictDetector())
    stored = zarr.open_array(repository.readonly_session("main").store, path="a", mode="r")
    assert np.asarray(stored[:]).tolist() == [1] * (FOREIGN + 1)


def _commit_loop(ic: ModuleType, meter: Meter, storage: Any) -> int:
    """Threads that each commit to one branch, again and again, and rebase over the commits of the others.

    Gives out how many of the commits are in the history afterwards.
    """
    repository = ic.Repository.create(storage)
    session = repository.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(COMMITS,), chunks=(1,), dtype="u1", compressors=None)
    session.commit("start")

    def write(thread: int) -> None:
        for number in range(thread, COMMITS, THREADS):
            session = repository.writable_session("main")
            zarr.open_array(session.store, path="a")[number] = 1
            session.commit(f"commit {number}", rebase_with=ic.ConflictDetector())

    with meter, ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(write, range(THREADS)):
            pass
    stored = zarr.open_array(repository.readonly_session("main").store, path="a", mode="r")
    messages = {entry.message for entry in repository.ancestry(branch="main")}
    landed = [number for number in range(COMMITS) if f"commit {number}" in messages]
    assert np.flatnonzero(np.asarray(stored[:])).tolist() == landed
    return len(landed)


def _commit_loop_in_memory(ic: ModuleType, _places: Places, meter: Meter) -> None:
    assert _commit_loop(ic, meter, ic.in_memory_storage()) == COMMITS


def _commit_loop_in_directory(ic: ModuleType, places: Places, meter: Meter) -> None:
    """In a directory the official implementation lets commits overwrite each other: those that stay count."""
    landed = _commit_loop(ic, meter, ic.local_filesystem_storage(str(places.fresh())))
    meter.share(landed)
    meter.note(f"of {COMMITS} commits lost", COMMITS - landed)


def _open_and_read(ic: ModuleType, places: Places, meter: Meter) -> None:
    storage = ic.local_filesystem_storage(str(places.dataset("small")))
    with meter:
        store = ic.Repository.open(storage).readonly_session("main").store
        value = zarr.open_array(store, path="a", mode="r")[SMALL_ITEMS]
    assert value == SMALL_ITEMS


WORKLOADS = (
    *(
        Workload(f"{name}-{pipeline}", about, work, samples, pipeline)
        for name, about, work, samples in (
            ("read-small", "read an array of 4000 chunks of 8 KiB", _read_small, 7),
            ("write-small", "write an array of 4000 chunks of 8 KiB and commit", _write_small, 7),
            ("read-large", "read an array of 256 chunks of 4 MiB", _read_large, 5),
            ("write-large", "write an array of 256 chunks of 4 MiB and commit", _write_large, 5),
            ("read-memory", "read 4000 chunks of 8 KiB from memory storage", _read_memory, 7),
            (
                "write-16-threads",
                "16 threads write 4000 chunks of 64 KiB into one session, commit",
                write_by_threads(16),
                5,
            ),
        )
        for pipeline in PIPELINES
    ),
    *(
        Workload(
            f"write-{threads}-threads", f"{threads} of them, default pipeline", write_by_threads(threads), 3
        )
        for threads in (1, 2, 4, 8)
    ),
    Workload("read-async", "4000 store.get of 8 KiB on one event loop, 64 in flight", _read_async, 7),
    Workload(
        "commit-million", "commit of 1,000 changes to a manifest of 1,000,000 references", _commit_million, 5
    ),
    Workload("refer-million", "set 1,000,000 virtual references as columns, commit", _refer_million, 5),
    Workload("lookup-million", "first lookup in a cold manifest of 1,000,000 references", _look_up, 7),
    Workload("commit-history", "small commit on top of 5,000 snapshots", _commit_small, 9),
    Workload("rebase", "small commit with a rebase over 50 commits of others", _rebase, 9),
    Workload(
        "commit-loop-memory",
        "8 threads commit 10 times each to one branch in memory storage, with rebase",
        _commit_loop_in_memory,
        5,
    ),
    Workload(
        "commit-loop",
        "the same in a directory: time for each of 80 commits that is in the history afterwards",
        _commit_loop_in_directory,
        5,
    ),
    Workload(
        "merge-forks",
        "64 forks by pickle to workers and back, merge their 1,000,000 virtual references, commit",
        merge_forks,
        5,
    ),
    Workload(
        "commit-processes",
        "4 processes commit 25 times each to one branch of a directory, and retry: time for each that landed",
        commit_by_processes,
        5,
    ),
    Workload("open", "open a repository and read a first value", _open_and_read, 15),
    Workload(
        "commit-million-memory",
        "peak memory of commit-million in a fresh process",
        _commit_million,
        3,
        memory=True,
    ),
    Workload(
        "refer-million-memory",
        "peak memory of refer-million in a fresh process",
        _refer_million,
        3,
        memory=True,
    ),
)
