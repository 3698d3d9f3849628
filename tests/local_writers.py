"""Programs that change a directory in ways that a test runner cannot: they fork, kill and get killed.

Run as `python tests/local_writers.py <program> <directory>`. Each ends with status 0, or says why not.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import StorageError
from icechunk._io.concurrency import SingleFlight
from icechunk._io.files import LOCK_NAME
from icechunk._io.locks import exclusively
from icechunk._storage_settings import StorageSettings
from icechunk._stored_objects import Version
from icechunk._sync.backends import SyncBackend, open_backend
from icechunk.storage import (
    Storage,
    in_memory_storage,
    local_filesystem_storage,
    obstore_storage,
    s3_storage,
)

PATIENCE = 20.0
INCREMENTS = 40
KILLS = 40


def opened(storage: Storage) -> SyncBackend:
    return open_backend(storage, StorageSettings())


def read(backend: SyncBackend, key: str) -> tuple[bytes, Version]:
    found = backend.get_versioned(key)
    assert found is not None
    return bytes(found[0]), found[1]


def increment(backend: SyncBackend, times: int) -> None:
    """Add one to the number in `counter`, as often as asked for."""
    for _ in range(times):
        while True:
            number, version = read(backend, "counter")
            try:
                backend.put_conditional("counter", b"%d" % (int(number) + 1), version)
            except PreconditionFailed:
                continue
            break


def in_child(action: Callable[[], object]) -> int:
    """Fork a child that does something; the answer is its process id."""
    child = os.fork()
    if child:
        return child
    try:
        action()
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
        os._exit(1)
    os._exit(0)


def wait_for(child: int) -> int:
    """The status of a child, which is killed when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("a child hangs")
        time.sleep(0.001)


def increments(directory: Path) -> None:
    """Increment in this process, once the others are ready too."""
    print("ready", flush=True)
    sys.stdin.readline()
    increment(opened(local_filesystem_storage(directory)), INCREMENTS)


def forked_increments(directory: Path) -> None:
    """Increment in four forked children, while threads of the parent do the same."""
    backend = opened(local_filesystem_storage(directory))
    threads = [threading.Thread(target=increment, args=(backend, INCREMENTS)) for _ in range(2)]
    for thread in threads:
        thread.start()
    children = [in_child(lambda: increment(backend, INCREMENTS)) for _ in range(4)]
    assert [wait_for(child) for child in children] == [0] * 4
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def whole(data: bytes) -> bool:
    return len(data) > 0 and data == data[:1] * len(data)


def write_until_killed(backend: SyncBackend) -> None:
    """Write `repo` again and again: each time one letter many times, with an object that belongs to it."""
    while True:
        letter = bytes([random.randrange(97, 123)]) * random.randrange(1, 200_000)
        data, version = read(backend, "repo")
        assert whole(data)
        backend.put("snapshots/" + letter[:1].decode(), letter)
        try:
            backend.put_conditional("repo", letter, version)
        except PreconditionFailed:
            continue


def killed_writers(directory: Path) -> None:
    """Kill children in the middle of writing: what is found is whole, and the next writer can go on."""
    storage = local_filesystem_storage(directory)
    backend = opened(storage)
    backend.put_conditional("repo", b"a", None)
    seen = set()
    for _ in range(KILLS):
        children = [in_child(lambda: write_until_killed(opened(storage))) for _ in range(2)]
        time.sleep(0.005 + random.random() * 0.02)
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            assert wait_for(child) == -signal.SIGKILL
        data, version = read(backend, "repo")
        assert whole(data)
        seen.add(data)
        for batch in backend.list(""):
            for info in batch:
                assert whole(bytes(backend.get(info.key))), info.key
                assert "#" not in info.key
        before = time.monotonic()
        backend.put_conditional("repo", data + data[:1], version)
        assert time.monotonic() - before < PATIENCE / 10
    assert len(seen) > KILLS / 4, "the children were killed before they could write"


def inherited_lock(directory: Path) -> None:
    """A child that was forked while a thread held the lock neither has it nor keeps it alive."""
    lock = str(directory / LOCK_NAME)
    backend = opened(local_filesystem_storage(directory))
    backend.put_conditional("counter", b"0", None)
    grandchild, told = os.pipe()
    released, release = os.pipe()

    def hold_and_fork() -> None:
        holding = threading.Event()

        def hold() -> None:
            with exclusively(lock):
                holding.set()
                time.sleep(PATIENCE)

        threading.Thread(target=hold, daemon=True).start()
        assert holding.wait(PATIENCE)

        def try_and_stay() -> None:
            taken = threading.Event()

            def take() -> None:
                with exclusively(lock):
                    taken.set()

            threading.Thread(target=take, daemon=True).start()
            os.write(told, b"w" if not taken.wait(0.2) else b"t")
            os.write(told, b"t" if taken.wait(PATIENCE) else b"w")
            increment(backend, 5)
            os.read(released, 1)

        assert wait_for(in_child(try_and_stay)) == 0

    child = in_child(hold_and_fork)
    assert os.read(grandchild, 1) == b"w", "a forked child believed that it held the lock of its parent"
    os.kill(child, signal.SIGKILL)
    assert wait_for(child) == -signal.SIGKILL
    assert os.read(grandchild, 1) == b"t", "the lock of a killed process lives on in its child"
    increment(backend, 5)
    deadline = time.monotonic() + PATIENCE
    while int(read(backend, "counter")[0]) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert int(read(backend, "counter")[0]) == 10
    os.write(release, b".")


def forked_memory(directory: Path) -> None:
    """A forked child goes on with a copy of its own; flights of the parent hold nobody up."""
    del directory
    storage = in_memory_storage()
    backend = opened(storage)
    backend.put_conditional("counter", b"0", None)
    flights: SingleFlight[str, bytes] = SingleFlight()
    may_end = threading.Event()
    stop = threading.Event()

    def fetch() -> bytes:
        may_end.wait(PATIENCE)
        return b"fetched"

    def write() -> None:
        while not stop.is_set():
            backend.put("busy", b"")

    threads = [threading.Thread(target=flights.run, args=("a", fetch)), threading.Thread(target=write)]
    for thread in threads:
        thread.start()

    def go_on() -> None:
        may_end.set()
        assert flights.run("a", fetch) == b"fetched"
        increment(backend, 3)
        assert read(backend, "counter")[0] == b"3"

    for _ in range(20):
        assert wait_for(in_child(go_on)) == 0
    may_end.set()
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert read(backend, "counter")[0] == b"0"


def forked_object_store(directory: Path) -> None:
    """A forked child is told at once that its parent's client is of no use, or works if there was none."""
    del directory
    remote = s3_storage(
        bucket="b", prefix="p", endpoint_url="http://127.0.0.1:1", allow_http=True, anonymous=True
    )
    memory = obstore_storage(MemoryStore())

    def works() -> None:
        backend = opened(memory)
        asyncio.run(asyncio.sleep(0))
        backend.put("a", b"1")
        assert bytes(backend.get("a")) == b"1"

    assert wait_for(in_child(works)) == 0
    used = opened(memory)
    used.put("a", b"1")

    def is_refused() -> None:
        before = time.monotonic()
        for backend in (used, opened(memory), opened(remote)):
            with pytest.raises(StorageError, match="forkserver") as raised:
                backend.get("a")
            assert raised.value.kind == "storage-config"
        assert time.monotonic() - before < 1

    assert wait_for(in_child(is_refused)) == 0
    assert wait_for(in_child(lambda: wait_for(in_child(is_refused)))) == 0
    assert bytes(used.get("a")) == b"1"


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
