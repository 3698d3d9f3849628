"""Writing together where a file system takes no more: nothing is half, and there is a second time."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zarr

import icechunk
from icechunk import Session, StorageError

CHUNK, PARTS = 20_000, 3
FULL = 300
"""Bytes that still fit into a file of a full disk."""


@contextmanager
def full_disk() -> Iterator[None]:
    """The system refuses to write more than a few bytes into any file."""
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_part(session: Session, part: int) -> None:
    zarr.open_array(session.store, path="a")[part * CHUNK : (part + 1) * CHUNK] = part + 1


def commit(session: Session, message: str, spelling: str) -> str:
    return asyncio.run(session.commit_async(message)) if spelling == "async" else session.commit(message)


def work(directory: Path, spelling: str) -> None:
    """Run in a process of its own, since the limit is one of the process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    storage = icechunk.local_filesystem_storage(str(directory))
    repo = icechunk.Repository.create(storage)
    session = repo.writable_session("main")
    size = PARTS * CHUNK
    array = zarr.create_array(
        session.store, name="a", shape=(size,), chunks=(CHUNK,), dtype="u1", compressors=None
    )
    array[:] = 9
    base = session.commit("nines")

    session = repo.writable_session("main")
    forks = [pickle.loads(pickle.dumps(session.fork())) for _ in range(PARTS)]
    files = set(directory.rglob("*"))
    with full_disk(), pytest.raises(StorageError, match="chunks/"):
        write_part(forks[0], 0)
    assert not forks[0].has_uncommitted_changes
    assert set(directory.rglob("*")) == files, "a part of a chunk has stayed"
    for part, fork in enumerate(forks):
        write_part(fork, part)
    session.merge(*forks)
    with full_disk(), pytest.raises(StorageError):
        commit(session, "does not fit", spelling)
    again = icechunk.Repository.open(storage)
    assert again.lookup_branch("main") == base
    values = np.asarray(zarr.open_array(again.readonly_session("main").store, path="a", mode="r")[:])
    assert (values == 9).all()
    landed = commit(session, "fits", spelling)
    again = icechunk.Repository.open(storage)
    assert again.lookup_branch("main") == landed
    values = np.asarray(zarr.open_array(again.readonly_session("main").store, path="a", mode="r")[:])
    assert (values == np.repeat(np.arange(1, PARTS + 1), CHUNK)).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only Unix limits the sizes of files")
@pytest.mark.parametrize("spelling", ["sync", "async"])
def test_a_full_disk_is_an_error_and_a_second_try_succeeds(tmp_path: Path, spelling: str) -> None:
    command = [sys.executable, "-m", "tests.test_full_disk", str(tmp_path / "repository"), spelling]
    done = subprocess.run(
        command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2])
