"""What a repository in a directory is worth when its writer dies, or the power goes.

A process that commits is killed at random moments, at each of its file operations in turn, and in the middle
of each file that it writes. For the loss of power, the file operations of a durable repository are watched,
and after each one a directory is built of what the disk must have by then. Whatever is left has to be a
repository with the old tip or the new one, and all that belongs to it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from zarr.core.buffer import cpu

import icechunk
from icechunk import Repository, RepositoryConfig, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNKS = 3
NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork and /proc")


def document(number: int) -> bytes:
    members = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4 * CHUNKS],
        "data_type": "int32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {"number": number},
    }
    return json.dumps(members).encode()


def write(session: Session, number: int) -> None:
    """Give every part of the array `a` the same number."""
    store = session.store
    store.set_sync("a/zarr.json", cpu.Buffer.from_bytes(document(number)))
    for chunk in range(CHUNKS):
        store.set_sync(f"a/c/{chunk}", cpu.Buffer.from_bytes(np.full(4, number, "<i4").tobytes()))


def commit(repo: Repository, number: int) -> str:
    session = repo.writable_session("main")
    write(session, number)
    return session.commit(str(number))


def check_snapshot(repo: Repository, snapshot_id: str, message: str) -> None:
    """A snapshot is all there: every part of it has the number of its commit."""
    store = repo.readonly_session(snapshot_id=snapshot_id).store
    keys = set(store.list())
    if message == "Repository initialized":
        assert keys == set()
        return
    assert keys == {"a/zarr.json", *[f"a/c/{chunk}" for chunk in range(CHUNKS)]}
    for key in keys:
        value = store.get_sync(key)
        assert value is not None
        number = int(message)
        if key == "a/zarr.json":
            assert value.to_bytes() == document(number)
        else:
            assert np.frombuffer(value.to_bytes(), "<i4").tolist() == [number] * 4


def check_history(repo: Repository, checked: set[str]) -> list[str]:
    """The snapshots of `main`, oldest first, read back unless they have been before."""
    infos = list(repo.ancestry(branch="main"))
    for info in infos:
        if info.id not in checked:
            check_snapshot(repo, info.id, info.message)
            checked.add(info.id)
    return [info.id for info in infos][::-1]


# The writer is killed


NURSERY = """
import os, signal, sys
from tests.test_durability import NATIVE, Repository, commit, icechunk

# Imports are slow, forks are not. Each line: what to do, the file operation to die at (-1: none), where.
spec_version = int(sys.argv[1])
# What the file operations are: the events that Python announces before it makes one.
events = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate", "fcntl.flock"}

def die_at(operation):
    countdown = operation
    def hook(event, arguments):
        nonlocal countdown
        if event in events:
            if countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            countdown -= 1
    sys.addaudithook(hook)

def die_inside(write):
    countdown = write
    really_write = os.write
    def write_half(file, data):
        nonlocal countdown
        if countdown == 0:
            really_write(file, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        countdown -= 1
        return really_write(file, data)
    os.write = write_half

def work(what, path, operation):
    storage = icechunk.local_filesystem_storage(path)
    if what == "create":
        if operation >= 0:
            die_at(operation)
        Repository.create(storage, NATIVE, spec_version=spec_version, check_clean_root=False)
        return
    repo = Repository.open(storage)
    number = 1000 * os.getpid()
    commit(repo, number)
    say(next(iter(repo.ancestry(branch="main"))).id)
    if operation >= 0:
        (die_inside if what == "tear" else die_at)(operation)
    while True:
        number += 1
        say(commit(repo, number))
        if operation >= 0:
            return

def say(text, write=os.write):
    write(1, f"{text}\\n".encode())

for line in sys.stdin:
    what, operation, path = line.strip().split(maxsplit=2)
    child = os.fork()
    if child == 0:
        try:
            work(what, path, int(operation))
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    say(f"child {child}")
    _, status = os.waitpid(child, 0)
    say(f"ended {os.waitstatus_to_exitcode(status)}")
"""


class Nursery:
    """Starts writers, each in a process of its own, and tells what they acknowledged."""

    def __init__(self, spec_version: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NURSERY, str(spec_version)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([p for p in sys.path if p])},
        )

    def start(self, what: str, path: Path, operation: int = -1) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what} {operation} {path}\n")
        return int(self.next_line().removeprefix("child "))

    def next_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the nursery died"
        return line.strip()

    def until_the_end(self) -> tuple[list[str], int]:
        """What else the writer acknowledged, and how it ended."""
        acknowledged = []
        while not (line := self.next_line()).startswith("ended "):
            acknowledged.append(line)
        return acknowledged, int(line.removeprefix("ended "))


@contextmanager
def nursery(spec_version: int) -> Iterator[Nursery]:
    opened = Nursery(spec_version)
    with opened.process:
        try:
            yield opened
        finally:
            assert opened.process.stdin is not None
            opened.process.stdin.close()
            opened.process.wait(20)


def check_after_a_death(
    storage: icechunk.Storage, before: list[str], acknowledged: list[str], checked: set[str], number: int
) -> list[str]:
    """All that was acknowledged is there, at most one commit more, and the next one works; the history."""
    repo = Repository.open(storage)
    found = check_history(repo, checked)
    expected = [*before, *acknowledged]
    assert found[: len(expected)] == expected
    assert len(found) <= len(expected) + 1
    tip = commit(repo, number)
    again = check_history(Repository.open(storage), checked)
    assert again == [*found, tip]
    return again


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_writer_killed_at_any_time_leaves_the_old_tip_or_the_new_one(
    tmp_path: Path, spec_version: int
) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = Repository.create(storage, NATIVE, spec_version=spec_version)
    checked: set[str] = set()
    before = check_history(repo, checked)
    chance = random.Random(spec_version)
    with nursery(spec_version) as writers:
        for number in range(10):
            child = writers.start("commit", tmp_path)
            first = writers.next_line()
            time.sleep(chance.random() * 0.03)
            os.kill(child, signal.SIGKILL)
            others, ended = writers.until_the_end()
            assert ended == -signal.SIGKILL
            before = check_after_a_death(storage, before, [first, *others], checked, number)
    assert len(before) > 2 * 10


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_writer_killed_at_each_file_operation_leaves_the_old_tip_or_the_new_one(
    tmp_path: Path, spec_version: int
) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = Repository.create(storage, NATIVE, spec_version=spec_version)
    checked: set[str] = set()
    before = check_history(repo, checked)
    ended = None
    operation = 0
    with nursery(spec_version) as writers:
        while ended != 0:
            assert operation < 200
            writers.start("commit", tmp_path, operation)
            acknowledged, ended = writers.until_the_end()
            assert ended in (-signal.SIGKILL, 0)
            assert len(acknowledged) == (2 if ended == 0 else 1)
            before = check_after_a_death(storage, before, acknowledged, checked, operation)
            operation += 1
    # Three chunks are opened; a manifest, a snapshot, a transaction log and a ref are opened and renamed.
    assert operation > 11


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_writer_killed_inside_of_each_file_leaves_the_old_tip_or_the_new_one(
    tmp_path: Path, spec_version: int
) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = Repository.create(storage, NATIVE, spec_version=spec_version)
    checked: set[str] = set()
    before = check_history(repo, checked)
    ended = None
    number = 0
    with nursery(spec_version) as writers:
        while ended != 0:
            assert number < 50
            writers.start("tear", tmp_path, number)
            acknowledged, ended = writers.until_the_end()
            assert ended in (-signal.SIGKILL, 0)
            assert len(acknowledged) == (2 if ended == 0 else 1)
            before = check_after_a_death(storage, before, acknowledged, checked, number)
            number += 1
    # Chunks are the only files that are not written beside their names first.
    halves = [file for file in tmp_path.rglob("*") if file.stat().st_size == 8 and "#" not in file.name]
    assert {file.parent.name for file in halves} == {"chunks"}
    assert len(halves) == CHUNKS


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_creation_killed_at_each_file_operation_leaves_a_repository_or_none(
    tmp_path: Path, spec_version: int
) -> None:
    ended = None
    operation = 0
    outcomes = set()
    with nursery(spec_version) as writers:
        while ended != 0:
            assert operation < 100
            path = tmp_path / str(operation)
            storage = icechunk.local_filesystem_storage(path)
            writers.start("create", path, operation)
            _, ended = writers.until_the_end()
            assert ended in (-signal.SIGKILL, 0)
            exists = Repository.exists(storage)
            outcomes.add(exists)
            assert exists or ended
            if exists:
                repo = Repository.open(storage)
            else:
                repo = Repository.create(storage, spec_version=spec_version, check_clean_root=False)
            commit(repo, 1)
            assert len(check_history(Repository.open(storage), set())) == 2
            operation += 1
    assert outcomes == {True, False}


# The power goes


class Photograph(NamedTuple):
    """What is on the disk after a power failure, and how many tips were acknowledged before."""

    files: dict[str, bytes]
    acknowledged: int


class Disk:
    """Watches the file operations of this process below a directory, and knows what the disk must have.

    A disk has the bytes of a file when the file was flushed, and the names in a directory when the directory
    was. What was not flushed may be there too, or not. Worlds are photographed at each moment: in one nothing
    is there that was not flushed, in another all names are, and after a file got its name there is one with
    this name and no other that was not flushed. Files that were not flushed are empty.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bytes: dict[int, bytes] = {}
        self.names: dict[int, dict[str, tuple[int, bool]]] = {}
        self.photographs: list[Photograph] = []
        self.acknowledged = 0
        self._lock = threading.RLock()

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("fsync", "replace", "rename", "link", "unlink"):
            patch.setattr(os, name, self.watched(getattr(os, name), flushes=name == "fsync"))
        really_open = os.open

        def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            with self._lock:
                file = really_open(path, flags, *args, **kwargs)
                if flags & os.O_EXCL:
                    # A new file may have the number of an old one.
                    self.bytes.pop(os.fstat(file).st_ino, None)
                return file

        patch.setattr(os, "open", open_)

    def watched(self, operation: Callable[..., Any], flushes: bool) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.photograph()
                result = operation(*args, **kwargs)
                if flushes:
                    self.flushed(args[0])
                self.photograph(Path(args[1]) if len(args) > 1 else None)
                return result

        return run

    def flushed(self, file: int) -> None:
        number, path = os.fstat(file).st_ino, f"/proc/self/fd/{file}"
        if stat.S_ISDIR(os.fstat(file).st_mode):
            with os.scandir(path) as entries:
                self.names[number] = {entry.name: (entry.inode(), entry.is_dir()) for entry in entries}
        else:
            self.bytes[number] = Path(path).read_bytes()

    def flushed_directories(self, *paths: Path) -> None:
        for path in paths:
            file = os.open(path, os.O_RDONLY)
            self.flushed(file)
            os.close(file)

    def photograph(self, newest: Path | None = None) -> None:
        with self._lock:
            flushed = self.with_flushed_names(self.root.stat().st_ino, "")
            worlds = [flushed, self.with_all_names()]
            if newest is not None:
                worlds.append(flushed | self.as_on_disk(newest))
            for files in worlds:
                found = Photograph(files, self.acknowledged)
                if found not in self.photographs[-3:]:
                    self.photographs.append(found)

    def with_flushed_names(self, directory: int, prefix: str) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for name, (number, is_directory) in self.names.get(directory, {}).items():
            if is_directory:
                files |= self.with_flushed_names(number, f"{prefix}{name}/")
            else:
                files[prefix + name] = self.bytes.get(number, b"")
        return files

    def with_all_names(self) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for path in self.root.rglob("*"):
            if path.is_file():
                files |= self.as_on_disk(path)
        return files

    def as_on_disk(self, path: Path) -> dict[str, bytes]:
        return {str(path.relative_to(self.root)): self.bytes.get(path.stat().st_ino, b"")}


REPOSITORY = "some/repository"
"""Where on the disk the repository is: in directories that its creation makes."""


def restore(photograph: Photograph, path: Path) -> icechunk.Storage:
    for name, data in photograph.files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return icechunk.local_filesystem_storage(path / REPOSITORY)


def live(storage: icechunk.Storage, disk: Disk, spec_version: int) -> list[str]:
    """Create a repository and commit to it, in both spellings; the tips."""
    repo = Repository.create(storage, NATIVE, spec_version=spec_version)
    tips = [repo.lookup_branch("main")]
    disk.acknowledged = 1
    disk.photograph()

    async def commit_async(number: int) -> str:
        session = await repo.writable_session_async("main")
        for chunk in range(CHUNKS):
            value = cpu.Buffer.from_bytes(np.full(4, number, "<i4").tobytes())
            await session.store.set(f"a/c/{chunk}", value)
        await session.store.set("a/zarr.json", cpu.Buffer.from_bytes(document(number)))
        return await session.commit_async(str(number))

    for number in range(1, 4):
        tips.append(asyncio.run(commit_async(number)) if number == 2 else commit(repo, number))
        disk.acknowledged += 1
        disk.photograph()
    return tips


@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("made_by_others", [False, True])
def test_a_durable_repository_survives_a_power_failure_at_every_file_operation(
    tmp_path: Path, spec_version: int, made_by_others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    disk = Disk(root)
    if made_by_others:
        # Directories stand there, of which the disk does not know: nobody flushed them.
        for name in ("snapshots", "manifests", "transactions", "chunks", "overwritten", "refs/branch.main"):
            (root / REPOSITORY / name).mkdir(parents=True)
        disk.flushed_directories(root, root / "some")
    with monkeypatch.context() as patch:
        disk.watch(patch)
        storage = icechunk.local_filesystem_storage(root / REPOSITORY, durable=True)
        tips = live(storage, disk, spec_version)
    seen: list[set[str]] = [set() for _ in range(5)]
    for number, photograph in enumerate(disk.photographs):
        storage = restore(photograph, tmp_path / str(number))
        if not photograph.acknowledged and not Repository.exists(storage):
            continue
        repo = Repository.open(storage)
        found = check_history(repo, set())
        landed = photograph.acknowledged
        assert found in (tips[:landed], tips[: landed + 1]), f"photograph {number}"
        seen[landed].add(found[-1])
        if number % 10 == 0:
            commit(repo, 99)
    # Each commit was seen from both sides: before it landed and after it.
    assert [sorted(each) for each in seen] == [
        sorted(tips[max(landed - 1, 0) : landed + 1]) for landed in range(5)
    ]


def test_the_simulated_power_failure_takes_what_was_not_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `durable` a commit does not wait for the disk; this also shows that the test above can fail."""
    root = tmp_path / "disk"
    root.mkdir()
    disk = Disk(root)
    with monkeypatch.context() as patch:
        disk.watch(patch)
        live(icechunk.local_filesystem_storage(root / REPOSITORY), disk, 2)
    assert not disk.bytes
    assert not disk.names
    assert not Repository.exists(restore(disk.photographs[-2], tmp_path / "restored"))
    assert (
        len(check_history(Repository.open(icechunk.local_filesystem_storage(root / REPOSITORY)), set())) == 4
    )
