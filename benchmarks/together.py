"""Work that many do together: threads of one session, workers with forks, processes that compete."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from benchmarks.implementations import implementation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from benchmarks.measure import Meter
    from benchmarks.places import Places

    Work = Callable[[ModuleType, Places, Meter], None]

CHUNKS, ITEMS = 4000, 8192  # float64: 64 KiB
WORKERS, FILES, CHUNKS_OF_FILE = 64, 125, 125
PROCESSES, COMMITS_EACH = 4, 25
PATIENCE = 300.0


def write_by_threads(threads: int) -> Work:
    """A pool of threads that share one session and one array, each writing one chunk at a time."""

    def work(ic: ModuleType, places: Places, meter: Meter) -> None:
        repository = ic.Repository.create(ic.local_filesystem_storage(str(places.fresh())))
        session = repository.writable_session("main")
        array = zarr.create_array(
            session.store, name="a", shape=(CHUNKS * ITEMS,), chunks=(ITEMS,), dtype="f8", compressors=None
        )

        def write(number: int) -> None:
            array[number * ITEMS : (number + 1) * ITEMS] = number + 1

        with meter:
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(write, range(CHUNKS)):
                    pass
            session.commit("chunks")
        stored = zarr.open_array(repository.readonly_session("main").store, path="a", mode="r")
        for start in range(0, CHUNKS, 500):
            part = np.asarray(stored[start * ITEMS : (start + 500) * ITEMS])
            assert (part[::ITEMS] == np.arange(start + 1, start + 501)).all()

    return work


def merge_forks(ic: ModuleType, places: Places, meter: Meter) -> None:
    """Forks go out to workers by pickle, come back with virtual references, are merged and committed.

    What the workers do in between does not count.
    """
    config = ic.RepositoryConfig.default()
    store = ic.ObjectStoreConfig.S3(ic.S3Options(region="us-east-1"))
    config.set_virtual_chunk_container(ic.VirtualChunkContainer("s3://archive/", store))
    repository = ic.Repository.create(ic.local_filesystem_storage(str(places.fresh())), config)
    session = repository.writable_session("main")
    each = FILES * CHUNKS_OF_FILE
    zarr.create_array(session.store, name="a", shape=(WORKERS * each,), chunks=(1,), dtype="u1")
    session.commit("lay out")
    session = repository.writable_session("main")
    with meter:
        forks = [pickle.loads(pickle.dumps(session.fork())) for _ in range(WORKERS)]
    offsets = np.tile(np.arange(CHUNKS_OF_FILE, dtype="u8") * 1024 + 4096, FILES)
    lengths = np.full(each, 1024, "u8")
    for worker, fork in enumerate(forks):
        files = [f"s3://archive/model/daily/{worker:04}/surface_{file:05}.nc" for file in range(FILES)]
        locations = [file for file in files for _ in range(CHUNKS_OF_FILE)]
        fork.store.set_virtual_refs_arr(
            "a", (each,), locations, offsets, lengths, arr_offset=(worker * each,)
        )
    with meter:
        returned = [pickle.dumps(fork) for fork in forks]
        session.merge(*[pickle.loads(fork) for fork in returned])
        session.commit("a million references")
    meter.note("bytes of a returned fork", len(returned[0]))
    manifests = repository.list_manifest_files(repository.lookup_branch("main"))
    assert sum(manifest.num_chunk_refs for manifest in manifests) == WORKERS * each


def commit_by_processes(ic: ModuleType, places: Places, meter: Meter) -> None:
    """Processes that commit to one branch of a directory, each again and again, and retry after conflicts.

    The time is that of one commit that is in the history afterwards.
    """
    path = places.fresh()
    repository = ic.Repository.create(ic.local_filesystem_storage(str(path)))
    session = repository.writable_session("main")
    zarr.create_group(session.store)
    session.commit("start")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES + 1)
    processes = [
        context.Process(target=_commit_often, args=(ic.__name__, path, number, barrier))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    barrier.wait(PATIENCE)
    with meter:
        for process in processes:
            process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    history = {entry.message for entry in repository.ancestry(branch="main")}
    told = {f"{number} {commit}" for number in range(PROCESSES) for commit in range(COMMITS_EACH)}
    landed = len(told & history)
    meter.share(landed)
    meter.note(f"of {len(told)} commits lost", len(told) - landed)


def _commit_often(module: str, path: Path, number: int, barrier: Any) -> None:
    ic = implementation(module)
    repository = ic.Repository.open(ic.local_filesystem_storage(str(path)))
    barrier.wait(PATIENCE)
    for commit in range(COMMITS_EACH):
        tries = 0
        while True:
            session = repository.writable_session("main")
            zarr.open_group(session.store).attrs[f"{number}"] = commit
            try:
                session.commit(f"{number} {commit}")
            except ic.ConflictError:
                tries += 1
                time.sleep(0.001 * (number + 1) * min(tries, 8))
            else:
                break
