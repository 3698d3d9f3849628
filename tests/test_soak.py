"""Some tens of kills of processes that write together; `tests.soak` does more of them by hand."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import zarr

import icechunk
from tests.soak import CHUNK, PHASES, examine, prepare, soak


@pytest.mark.timeout(300)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_whoever_dies_nothing_is_lost(tmp_path: Path) -> None:
    outcome = soak(tmp_path / "repository", kills=36, seed=4)
    assert outcome.losses == []
    assert sum(outcome.kills.values()) == 36
    assert {victim for victim, _ in outcome.kills} == set(PHASES)
    assert 0 < sum(outcome.landed.values()) < 36, "kills have to come before a commit and after one"


@pytest.mark.parametrize("loss", ["commit", "chunk", "part"])
def test_a_loss_is_noticed(tmp_path: Path, loss: str) -> None:
    """The examination of the soak can fail."""
    prepare(tmp_path)
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(tmp_path)))
    first = repository.lookup_branch("main")
    session = repository.writable_session("main")
    array = zarr.open_array(session.store, path="data")
    array[: -CHUNK if loss == "part" else None] = 1
    session.commit("Round 1", metadata={"round": 1})
    choose = random.Random(0)
    if loss == "commit":
        assert examine(tmp_path, 1, True, choose) == (True, [])
        repository.reset_branch("main", first)
    if loss == "chunk":
        newest = max((tmp_path / "chunks").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        newest.unlink()
    _, wrong = examine(tmp_path, 1, True, choose)
    assert wrong
    assert wrong[0].startswith("round 1: ")
