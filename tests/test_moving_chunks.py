"""Chunks that move while other threads and event loops work on the same array."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk
from icechunk import Repository, Session
from tests.threads import PATIENCE, at_once, meanwhile

LENGTH = 400


def row(repo: Repository, values: dict[int, int], commit: bool) -> Session:
    session = repo.writable_session("main")
    array: Any = zarr.create_array(session.store, name="a", shape=(LENGTH,), chunks=(1,), dtype="i4")
    for index, value in values.items():
        array[index] = value
    if commit:
        session.commit("write")
        session = repo.writable_session("main")
    return session


@pytest.mark.parametrize("commit", [False, True])
def test_shifts_at_once_add_up(commit: bool) -> None:
    """Eight threads and a loop with eight tasks shift an array; no shift is lost or done by halves."""
    repo = Repository.create(icechunk.in_memory_storage())
    session = row(repo, {3: 1, 5: 2, 20: 3}, commit)

    def by_a_thread() -> None:
        for _ in range(8):
            session.shift_array("/a", [3])
            session.shift_array("/a", [-1])

    async def by_tasks() -> None:
        async def shift() -> None:
            for _ in range(8):
                await session.shift_array_async("/a", [2])

        await asyncio.wait_for(asyncio.gather(*[shift() for _ in range(8)]), PATIENCE)

    at_once(*[by_a_thread] * 8, lambda: asyncio.run(by_tasks()))
    distance = 8 * 8 * 2 + 8 * 8 * 2
    values: Any = zarr.open_array(session.store, path="a", mode="r")
    expected = np.zeros(LENGTH, "i4")
    expected[[distance + 3, distance + 5, distance + 20]] = [1, 2, 3]
    assert values[:].tolist() == expected.tolist()
    session.commit("shifted")
    values = zarr.open_array(repo.readonly_session("main").store, path="a", mode="r")
    assert values[:].tolist() == expected.tolist()


def test_writes_during_shifts_are_kept() -> None:
    """Every chunk written while others shift is there afterwards, shifted or not, and only once."""
    repo = Repository.create(icechunk.in_memory_storage())
    session = row(repo, {}, commit=False)
    array: Any = zarr.open_array(session.store, path="a")

    def write(worker: int) -> None:
        for number in range(20):
            array[worker * 20 + number] = 1 + worker * 20 + number

    def shift() -> None:
        for _ in range(100):
            session.shift_array("/a", [1])

    at_once(*[partial(write, worker) for worker in range(4)], shift)
    there = array[:].tolist()
    # A chunk that is written to a place replaces what was shifted there, and the other way round.
    survivors = [value for value in there if value]
    assert len(set(survivors)) == len(survivors) == len(list(session.chunk_coordinates("/a")))
    for place, value in enumerate(there):
        if value:
            assert 0 <= place - (value - 1) <= 100


def test_readers_see_an_array_before_or_after_a_shift() -> None:
    """Looking at the coordinates never shows an array that is moved by half."""
    repo = Repository.create(icechunk.in_memory_storage())
    session = row(repo, dict.fromkeys(range(0, 300, 3), 1), commit=True)
    seen = set()

    def look() -> None:
        coordinates = sorted(index for (index,) in session.chunk_coordinates("/a"))
        assert coordinates == list(range(coordinates[0], coordinates[0] + 300, 3))
        seen.add(coordinates[0])

    with meanwhile(look):
        for _ in range(30):
            session.shift_array("/a", [1])
            session.shift_array("/a", [-1])
    assert seen <= {0, 1}
