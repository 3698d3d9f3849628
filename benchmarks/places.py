"""The directories that workloads read and write, and how the read ones are made.

Data sets are written once, by the official implementation with its default settings, and found again by later
runs. A workload that changes one gets a copy of its own, which is thrown away after the sample.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

SMALL_CHUNKS, SMALL_ITEMS = 4000, 1024  # float64: 8 KiB
LARGE_CHUNKS, LARGE_ITEMS = 256, 2**19  # float64: 4 MiB
MILLION_SIDE, MILLION_CHUNK = 1000, 32  # 1000 x 1000 chunks of 32 x 32 bytes
HISTORY = 5000
FOREIGN = 50


class Places:
    """Where the data are.

    Parameters
    ----------
    root : Path
        A directory on disk; made if it is not there.
    official : module
        The implementation that writes the data sets.
    """

    def __init__(self, root: Path, official: ModuleType) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self._official = official
        self._kept: dict[tuple[str, str], Any] = {}
        self._numbers = itertools.count()
        self._removed_at_exit = tempfile.TemporaryDirectory(prefix="scratch-", dir=root)
        self._scratch = Path(self._removed_at_exit.name)

    def dataset(self, name: str) -> Path:
        """A repository to read; it must not be changed."""
        path = self.root / name
        if not path.exists():
            unfinished = self.fresh()
            _BUILDERS[name](self._official, unfinished)
            unfinished.rename(path)
        return path

    def copy(self, name: str) -> Path:
        """A repository to change.

        Only the object `repo` ever changes; all others are hard links, since there may be ten thousand.
        """
        source, target = self.dataset(name), self.fresh()
        shutil.copytree(source, target, copy_function=os.link)
        (target / "repo").unlink()
        shutil.copy(source / "repo", target / "repo")
        return target

    def fresh(self) -> Path:
        """A directory that does not exist yet, gone after the sample.

        What earlier samples wrote is sent to the device first, so that it does not slow the next one.
        """
        os.sync()
        return self._scratch / f"{next(self._numbers)}"

    def kept(self, ic: ModuleType, name: str, build: Callable[[], Any]) -> Any:
        """Something that is made once for each implementation."""
        key = (ic.__name__, name)
        if key not in self._kept:
            self._kept[key] = build()
        return self._kept[key]

    def clear(self) -> None:
        """Empty the files that samples left behind; they go when the program ends.

        An ext4 file system without a journal lets a minute pass before it uses an inode again, and passes
        over all those set free meanwhile each time it makes a file. When each sample removed its thousands of
        files, that search took longer than all the rest of the next one, on either side.
        """
        for directory, _, files in os.walk(self._scratch):
            for file in files:
                path = os.path.join(directory, file)
                found = os.stat(path)
                if found.st_size and found.st_nlink == 1:  # most files of a copy are those of the data set
                    os.truncate(path, 0)


def write_small(ic: ModuleType, storage: Any) -> None:
    """A repository with the array of many small chunks."""
    _write_chunks(ic, storage, SMALL_CHUNKS, SMALL_ITEMS)


def _write_chunks(ic: ModuleType, storage: Any, chunks: int, items: int) -> None:
    session = ic.Repository.create(storage).writable_session("main")
    array = zarr.create_array(
        session.store, name="a", shape=(chunks * items,), chunks=(items,), dtype="f8", compressors=None
    )
    array[:] = np.arange(chunks * items, dtype="f8")
    session.commit("chunks")


def _build_small(ic: ModuleType, path: Path) -> None:
    write_small(ic, ic.local_filesystem_storage(str(path)))


def _build_large(ic: ModuleType, path: Path) -> None:
    _write_chunks(ic, ic.local_filesystem_storage(str(path)), LARGE_CHUNKS, LARGE_ITEMS)


def _build_million(ic: ModuleType, path: Path) -> None:
    """One manifest of a million virtual references."""
    session, refer = million_references(ic, path)
    refer()
    session.commit("a million references")


def million_references(ic: ModuleType, path: Path) -> tuple[Any, Callable[[], None]]:
    """A session with an array, and what sets its references: a thousand chunks each in a thousand files."""
    config = ic.RepositoryConfig.default()
    store = ic.ObjectStoreConfig.S3(ic.S3Options(region="us-east-1"))
    config.set_virtual_chunk_container(ic.VirtualChunkContainer("s3://archive/", store))
    repository = ic.Repository.create(ic.local_filesystem_storage(str(path)), config)
    session = repository.writable_session("main")
    side = MILLION_SIDE * MILLION_CHUNK
    zarr.create_array(
        session.store,
        name="a",
        shape=(side, side),
        chunks=(MILLION_CHUNK, MILLION_CHUNK),
        dtype="u1",
        compressors=None,
    )
    files = [
        f"s3://archive/model/output/daily/{row // 100:04}/surface_{row:05}.nc" for row in range(MILLION_SIDE)
    ]
    locations = [file for file in files for _ in range(MILLION_SIDE)]
    length = MILLION_CHUNK**2
    offsets = np.tile(np.arange(MILLION_SIDE, dtype="u8") * length + 4096, MILLION_SIDE)
    lengths = np.full(MILLION_SIDE**2, length, "u8")

    def refer() -> None:
        shape = (MILLION_SIDE, MILLION_SIDE)
        rejected = session.store.set_virtual_refs_arr("a", shape, locations, offsets, lengths)
        assert rejected is None

    return session, refer


def _build_history(ic: ModuleType, path: Path) -> None:
    """A branch of many snapshots. Backups of the repo object are dropped: only the log of operations would
    read them.
    """
    repository = ic.Repository.create(ic.local_filesystem_storage(str(path)))
    session = repository.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(8,), chunks=(1,), dtype="u1", compressors=None)
    session.commit("start")
    asyncio.run(_commit_history(repository))
    shutil.rmtree(path / "overwritten")


async def _commit_history(repository: Any) -> None:
    for number in range(HISTORY - 2):  # the first snapshot and "start" count too
        session = await repository.writable_session_async("main")
        await session.commit_async(f"commit {number}", metadata={"number": number}, allow_empty=True)


def _build_foreign(ic: ModuleType, path: Path) -> None:
    """A branch, and the tag `base` at where it was many small commits ago."""
    repository = ic.Repository.create(ic.local_filesystem_storage(str(path)))
    session = repository.writable_session("main")
    zarr.create_array(
        session.store, name="a", shape=(FOREIGN + 1,), chunks=(1,), dtype="u1", compressors=None
    )
    repository.create_tag("base", session.commit("start"))
    for number in range(FOREIGN):
        session = repository.writable_session("main")
        zarr.open_array(session.store, path="a")[number] = 1
        session.commit(f"commit {number}")


_BUILDERS: dict[str, Callable[[ModuleType, Path], None]] = {
    "small": _build_small,
    "large": _build_large,
    "million": _build_million,
    "history": _build_history,
    "foreign": _build_foreign,
}
