"""The compare and swap of a directory, from threads and processes, through kills and forks."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from icechunk._async.backends import open_backend_async
from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import StorageError
from icechunk._io import files, locks
from icechunk._io.files import LOCK_NAME
from icechunk._io.locks import exclusively
from icechunk._storage_settings import StorageSettings
from icechunk._sync.backends import open_backend
from icechunk.storage import local_filesystem_storage
from tests.local_writers import INCREMENTS, increment, read

PROGRAMS = Path(__file__).parent / "local_writers.py"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def start(program: str, directory: Path) -> subprocess.Popen[str]:
    """Start a program of `local_writers` in a process of its own."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(PROGRAMS), program, str(directory)]
    path = os.pathsep.join([str(PROGRAMS.parent.parent), os.environ.get("PYTHONPATH", "")])
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> None:
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said


def number_in(directory: Path) -> int:
    return int((directory / "counter").read_bytes())


def left_behind(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*#*") if path.name != LOCK_NAME]


@pytest.mark.parametrize("durable", [False, True])
def test_threads_lose_no_update(tmp_path: Path, durable: bool) -> None:
    backend = open_backend(local_filesystem_storage(tmp_path, durable=durable), StorageSettings())
    backend.put_conditional("counter", b"0", None)
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(increment, backend, 20) for _ in range(8)]:
            future.result(60)
    assert number_in(tmp_path) == 160
    assert left_behind(tmp_path) == []


async def test_tasks_and_threads_lose_no_update(tmp_path: Path) -> None:
    storage = local_filesystem_storage(tmp_path)
    backend = await open_backend_async(storage, StorageSettings())
    await backend.put_conditional_async("counter", b"0", None)

    async def increment_async(times: int) -> None:
        for _ in range(times):
            while True:
                found = await backend.get_versioned_async("counter")
                assert found is not None
                try:
                    await backend.put_conditional_async(
                        "counter", b"%d" % (int(bytes(found[0])) + 1), found[1]
                    )
                except PreconditionFailed:
                    continue
                break

    blocking = open_backend(storage, StorageSettings())
    threads = [asyncio.to_thread(increment, blocking, 20) for _ in range(2)]
    await asyncio.gather(*[increment_async(20) for _ in range(6)], *threads)
    assert number_in(tmp_path) == 160


def test_spawned_processes_lose_no_update(tmp_path: Path) -> None:
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    backend.put_conditional("counter", b"0", None)
    processes = [start("increments", tmp_path) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        finish(process)
    assert number_in(tmp_path) == 4 * INCREMENTS
    assert left_behind(tmp_path) == []


@needs_fork
def test_forked_processes_lose_no_update(tmp_path: Path) -> None:
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    backend.put_conditional("counter", b"0", None)
    finish(start("forked_increments", tmp_path))
    assert number_in(tmp_path) == 6 * INCREMENTS
    assert left_behind(tmp_path) == []


@needs_fork
@pytest.mark.parametrize(
    "program", ["killed_writers", "inherited_lock", "forked_memory", "forked_object_store"]
)
def test_forks_and_kills(tmp_path: Path, program: str) -> None:
    finish(start(program, tmp_path))


async def test_waiting_for_the_lock_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    backend = await open_backend_async(local_filesystem_storage(tmp_path), StorageSettings())
    await backend.put_async("chunks/A", b"1")
    with exclusively(str(tmp_path / LOCK_NAME)):
        waiting = asyncio.create_task(backend.put_conditional_async("repo", b"", None))
        for _ in range(20):
            assert bytes(await backend.get_async("chunks/A")) == b"1"
            await asyncio.sleep(0.001)
        assert not waiting.done()
    await waiting


def test_the_version_is_compared_when_the_lock_is_held(tmp_path: Path) -> None:
    """With the bytes that are there by then: who waits for the lock may have seen others before."""
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    version = backend.put_conditional("repo", b"old", None)
    for expected in (version, None):
        with ThreadPoolExecutor(1) as pool:
            with exclusively(str(tmp_path / LOCK_NAME)):
                if expected is None:
                    (tmp_path / "repo").unlink()
                late = pool.submit(backend.put_conditional, "repo", b"ours", expected)
                time.sleep(0.1)
                assert not late.done()
                (tmp_path / "repo").write_bytes(b"them")
            with pytest.raises(PreconditionFailed):
                late.result(10)
        assert (tmp_path / "repo").read_bytes() == b"them"


def test_a_lock_that_is_never_released_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    backend.put_conditional("repo", b"", None)
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with exclusively(str(tmp_path / LOCK_NAME)), ThreadPoolExecutor(1) as pool:
        refused = pool.submit(backend.put_conditional, "repo", b"", None)
        with pytest.raises(StorageError, match="held by somebody else") as raised:
            refused.result(10)
    assert raised.value.kind == "io"


@pytest.mark.skipif(sys.platform == "win32", reason="there are locks on every file system")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    with pytest.raises(StorageError, match="no file locks") as raised:
        backend.put_conditional("repo", b"", None)
    assert raised.value.kind == "storage-config"
    assert not (tmp_path / "repo").exists()


def test_a_file_system_without_links_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    version = backend.put_conditional("repo", b"1", None)
    assert read(backend, "repo") == (b"1", version)
    with pytest.raises(PreconditionFailed):
        backend.put_conditional("repo", b"2", None)


def test_a_writer_without_locks_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official implementation creates `repo` without looking at our lock."""
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    link = os.link

    def link_too_late(source: str, target: str) -> None:
        Path(target).write_bytes(b"theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", link_too_late)
    with pytest.raises(PreconditionFailed):
        backend.put_conditional("repo", b"ours", None)
    assert (tmp_path / "repo").read_bytes() == b"theirs"
    assert left_behind(tmp_path) == []


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    version = backend.put_conditional("repo", b"old", None)

    really_write = os.write

    def write(file: int, data: bytes) -> int:
        really_write(file, data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        for operation in (
            lambda: backend.put("chunks/A", b"new"),
            lambda: backend.put("chunks/B", b"new", new=True),
            lambda: backend.put_conditional("repo", b"new", version),
            lambda: backend.put_conditional("other", b"new", None),
        ):
            with pytest.raises(StorageError, match="No space left") as raised:
                operation()
            assert raised.value.kind == "io"
    assert left_behind(tmp_path) == []
    assert [info.key for batch in backend.list("") for info in batch] == ["repo"]
    assert read(backend, "repo") == (b"old", version)


def test_a_new_object_never_replaces_another(tmp_path: Path) -> None:
    """Two objects have one random name only if the randomness is broken: then nothing may be lost."""
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    backend.put("chunks/A", b"first", new=True)
    with pytest.raises(StorageError, match=r"chunks/A.*exists") as raised:
        backend.put("chunks/A", b"second", new=True)
    assert raised.value.kind == "io"
    assert bytes(backend.get("chunks/A")) == b"first"


@pytest.mark.skipif(sys.platform == "win32", reason="directories cannot be flushed there")
def test_durable_writes_flush_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace, link = files._sync, os.replace, os.link

    def name(path: str) -> str:
        return os.path.relpath(path, tmp_path).partition("#")[0]

    def noted_sync(file: int) -> None:
        done.append(f"sync {name(os.readlink(f'/proc/self/fd/{file}'))}")
        sync(file)

    def noted_replace(source: str, target: str) -> None:
        done.append(f"name {name(target)}")
        replace(source, target)

    def noted_link(source: str, target: str) -> None:
        done.append(f"name {name(target)}")
        link(source, target)

    monkeypatch.setattr(files, "_sync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(os, "link", noted_link)
    backend = open_backend(local_filesystem_storage(tmp_path / "a" / "b", durable=True), StorageSettings())
    backend.prepare_root()
    assert set(done) == {"sync a", "sync ."}
    done.clear()
    backend.put("chunks/A", b"1")
    assert done == ["sync a/b", "sync a/b/chunks/A", "name a/b/chunks/A", "sync a/b/chunks", "sync a/b"]
    done.clear()
    backend.put("chunks/B", b"1")
    assert done == ["sync a/b/chunks/B", "name a/b/chunks/B", "sync a/b/chunks"]
    done.clear()
    backend.put("chunks/C", b"1", new=True)
    assert done == ["sync a/b/chunks/C", "sync a/b/chunks"]
    done.clear()
    version = backend.put_conditional("repo", b"1", None)
    backend.put_conditional("repo", b"2", version)
    assert done == ["sync a/b/repo", "name a/b/repo", "sync a/b"] * 2


def test_reads_need_no_thread_when_the_page_cache_has_the_bytes(tmp_path: Path) -> None:
    async def threads_async() -> int:
        backend = await open_backend_async(local_filesystem_storage(tmp_path), StorageSettings())
        await backend.put_async("chunks/A", bytes(10_000))
        threads = threading.active_count()
        for _ in range(20):
            await backend.get_async("chunks/A", 5, 9)
        return threading.active_count() - threads

    assert asyncio.run(threads_async()) == 0


async def test_a_read_that_would_wait_is_made_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await open_backend_async(local_filesystem_storage(tmp_path), StorageSettings())
    await backend.put_async("chunks/A", b"0123456789")
    answers: list[Exception | int] = [
        BlockingIOError(errno.EAGAIN, "would block"),
        3,
        OSError(errno.EOPNOTSUPP, "cannot say"),
    ]

    def read_without_waiting(*_: object) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(files, "_read_without_waiting", read_without_waiting)
    for _ in range(4):
        assert bytes(await backend.get_async("chunks/A", 2, 8)) == b"234567"
    assert not answers
