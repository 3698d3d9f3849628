"""Writes, reads and a commit of one session at the same time."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
import zarr.api.asynchronous
from zarr.core.buffer import cpu

import icechunk
from icechunk import ConflictError, IcechunkStore, Repository, RepositoryConfig, Session
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_counted_array
from tests.places import places
from tests.threads import at_once, meanwhile

if TYPE_CHECKING:
    from icechunk.testing.faults import Moment


def buffer(data: bytes) -> cpu.Buffer:
    return cpu.Buffer.from_bytes(data)


def value_of(number: int) -> bytes:
    """A chunk of four times one number."""
    return np.full(4, number, "<i4").tobytes()


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("outcome", ["lands", "conflicts"])
@pytest.mark.parametrize("threshold", [0, 512], ids=["native", "inline"])
@pytest.mark.parametrize("place", ["memory", "directory"])
def test_a_write_during_a_commit_is_part_of_it_or_refused(
    place: str, threshold: int, outcome: str, request: pytest.FixtureRequest
) -> None:
    """What was acknowledged is exactly what is there: in the commit, or when that failed in the session."""
    repo = Repository.create(
        places(place, request)(), RepositoryConfig(inline_chunk_threshold_bytes=threshold)
    )
    for number in range(4):
        session = repo.writable_session("main")
        create_counted_array(session.store, f"a{number}", 100_000)
        if outcome == "conflicts":
            other = repo.writable_session("main")
            zarr.create_group(other.store, path=f"other{number}")
            other.commit("first")
        check_writes_during_a_commit(session, f"a{number}", outcome == "conflicts")


def check_writes_during_a_commit(session: Session, name: str, conflicts: bool) -> None:
    store = session.store
    acknowledged: list[int] = []
    before_the_commit: list[int] = []
    refused: list[int] = []
    over = threading.Event()

    def write(first: int) -> None:
        for number in range(first, 100_000, 4):
            if over.is_set() or session.read_only:
                return
            key = f"{name}/c/{number}"
            try:
                if first % 2:
                    store.set_sync(key, buffer(value_of(number)))
                else:
                    asyncio.run(store.set(key, buffer(value_of(number))))
            except icechunk.ReadOnlyError:
                refused.append(number)
            else:
                acknowledged.append(number)

    def wait_for_writes(number: int) -> None:
        enough = len(acknowledged) + number
        while len(acknowledged) < enough:
            time.sleep(0)

    def commit() -> None:
        wait_for_writes(40)
        before_the_commit.extend(acknowledged)
        if conflicts:
            with pytest.raises(ConflictError):
                session.commit("in the middle")
            wait_for_writes(20)
        else:
            session.commit("in the middle")
        over.set()

    at_once(commit, *[partial(write, first) for first in range(4)])
    assert session.read_only is not conflicts
    # After a commit the session shows the snapshot; after a conflict it still has everything.
    listed = set(store.list_prefix(name)) - {f"{name}/zarr.json"}
    present = {int(key.rpartition("/")[2]) for key in listed}
    assert set(before_the_commit) <= present
    assert present == set(acknowledged)
    assert not present & set(refused)
    for number in acknowledged[:: max(len(acknowledged) // 50, 1)]:
        found = store.get_sync(f"{name}/c/{number}")
        assert found is not None
        assert found.to_bytes() == value_of(number)


@pytest.mark.usefixtures("quick_switches")
def test_readers_see_the_same_values_before_during_and_after_the_commit() -> None:
    """A commit moves values from the session's changes to its snapshot; no reader falls in between."""
    repo = Repository.create(icechunk.in_memory_storage())
    session = repo.writable_session("main")
    create_counted_array(session.store, "old", 4)[:] = 0
    session.commit("before")
    current: list[tuple[IcechunkStore, int]] = []

    def check() -> None:
        store, number = current[0]
        for name in ("old", f"new{number}"):
            for chunk in range(4):
                found = store.get_sync(f"{name}/c/{chunk}")
                assert found is not None, f"{name}/c/{chunk} is missing"
                assert found.to_bytes() == value_of(number)
        assert store.get_sync(f"new{number}/c/4") is None

    def check_listing() -> None:
        store, number = current[0]
        keys = set(store.list_prefix(f"new{number}"))
        assert keys == {f"new{number}/zarr.json", *[f"new{number}/c/{chunk}" for chunk in range(4)]}
        assert asyncio.run(store.exists(f"new{number}/c/3"))

    def prepare(number: int) -> Session:
        session = repo.writable_session("main")
        create_counted_array(session.store, f"new{number}", 5)
        for chunk in range(4):
            session.store.set_sync(f"old/c/{chunk}", buffer(value_of(number)))
            session.store.set_sync(f"new{number}/c/{chunk}", buffer(value_of(number)))
        return session

    session = prepare(1)
    current.append((session.store, 1))
    with meanwhile(check, check, check_listing):
        for number in range(2, 25):
            session.commit(f"{number - 1}")
            session = prepare(number)
            current[0] = (session.store, number)


@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupted_commit_can_be_repeated_whether_it_has_landed_or_not(
    spec_version: int, moment: Moment
) -> None:
    """As by Control-C in a notebook."""
    faults = Faults()
    repo = Repository.create(faulty_storage(icechunk.in_memory_storage(), faults), spec_version=spec_version)
    session = repo.writable_session("main")
    create_counted_array(session.store, "a", 4)[:] = 7
    faults.fail("put_conditional", error=KeyboardInterrupt(), moment=moment)
    with pytest.raises(KeyboardInterrupt):
        session.commit("interrupted")
    tip = session.commit("repeated")
    messages = [info.message for info in repo.ancestry(branch="main")]
    assert messages == ["repeated" if moment == "before" else "interrupted", "Repository initialized"]
    assert (repo.lookup_branch("main"), session.snapshot_id) == (tip, tip)
