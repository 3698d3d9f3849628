"""With clock and random source given, a whole repository is the same bytes every time."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import zarr

import icechunk
from icechunk._io.clock import use_clock
from icechunk._io.random import use_random
from icechunk.storage import InMemoryStorage


def history(spec_version: int, seed: int) -> dict[str, bytes]:
    """All objects of a repository with two commits, a branch and a tag."""
    storage = icechunk.in_memory_storage()
    ticks = itertools.count(1_700_000_000_000_000, 1_000_000)
    with use_clock(lambda: next(ticks)), use_random(random.Random(seed).randbytes):
        repo = icechunk.Repository.create(storage, spec_version=spec_version)
        session = repo.writable_session("main")
        array = zarr.create_array(session.store, name="a", shape=(600,), chunks=(600,), dtype="i4")
        array[:] = np.arange(1, 601)
        first = session.commit("one", {"n": 1})
        repo.create_branch("dev", first)
        repo.create_tag("v1", first)
        session = repo.writable_session("dev")
        zarr.open_array(session.store, path="a")[0] = 5
        session.commit("two")
    assert isinstance(storage, InMemoryStorage)
    return {key: bytes(found.data) for key, found in storage.objects.entries.items()}


@pytest.mark.parametrize("spec_version", [1, 2])
def test_the_same_clock_and_random_source_give_the_same_bytes(spec_version: int) -> None:
    assert history(spec_version, 1) == history(spec_version, 1)
    assert history(spec_version, 1).keys() != history(spec_version, 2).keys()
