"""Control-C at any moment of blocking calls: what was interrupted can be done again, and nothing is locked.

The signal comes from a timer, after a time drawn at random, so that it falls between any two steps.
"""

from __future__ import annotations

import random
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from zarr.core.buffer import cpu

import icechunk
from icechunk import CachingConfig, Repository, RepositoryConfig, Session
from icechunk._io.concurrency import SingleFlight
from tests.arrays import create_array
from tests.threads import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there are no timers that send signals"),
    # An interruption that comes while the interpreter clears up something is told to nobody but the log.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

VALUE = cpu.Buffer.from_bytes(b"1234")
NOTHING_CACHED = RepositoryConfig(caching=CachingConfig(num_snapshot_nodes=0, num_chunk_refs=0))


def interrupt(job: Callable[[], Any], after: float) -> None:
    """Do a job again and again until a signal interrupts it."""
    fired = False

    def fire(*_: object) -> None:
        nonlocal fired
        fired = True
        raise KeyboardInterrupt

    def go_on() -> None:  # a function, since the jump of a loop may be in no `try` around it
        signal.setitimer(signal.ITIMER_REAL, after)
        while not fired:
            job()

    former = signal.signal(signal.SIGALRM, fire)
    try:
        go_on()
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGALRM, former)


def test_writing_goes_on_after_an_interruption() -> None:
    session = Repository.create(icechunk.in_memory_storage()).writable_session("main")
    create_array(session, "a", (1000,), chunks=(1,))
    chance = random.Random(0)

    def write() -> None:
        session.store.set_sync(f"a/c/{chance.randrange(1000)}", VALUE)

    for _ in range(300):
        interrupt(write, chance.uniform(5e-5, 1e-3))
        assert not session._state._lock.held.locked()
    write()


def test_what_was_being_fetched_is_fetched_anew() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    chance = random.Random(0)
    for _ in range(300):
        interrupt(lambda: flights.run("key", lambda: 1), chance.uniform(5e-5, 1e-3))
        assert at_once(lambda: flights.run("key", lambda: 2), patience=10) == [2]


@pytest.mark.parametrize("spec_version", [1, 2])
def test_each_commit_is_made_once_however_often_it_is_interrupted(spec_version: int) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), NOTHING_CACHED, spec_version=spec_version)
    session = repo.writable_session("main")
    create_array(session, "a", (10,), chunks=(1,))
    session.commit("begin")
    chance = random.Random(0)
    rounds = 100

    def commit(session: Session) -> None:
        if not session.read_only:
            session.commit("write", rebase_with=icechunk.ConflictDetector())

    for number in range(rounds):
        session = repo.writable_session("main")
        session.store.set_sync(f"a/c/{number % 10}", VALUE)
        interrupt(lambda session=session: commit(session), chance.uniform(5e-5, 4e-3))  # type: ignore[misc]
        at_once(lambda session=session: commit(session), patience=20)  # type: ignore[misc]
        assert repo.lookup_branch("main") == session.snapshot_id
    assert [info.message for info in repo.ancestry(branch="main")].count("write") == rounds
