"""The official release lets an array with chunks get another number of dimensions, and keeps the chunks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import cpu
from zarr.core.sync import sync

if TYPE_CHECKING:
    from pathlib import Path


def _give_shape(session: Any, shape: list[int], chunks: list[int]) -> None:
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "int32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
    }
    sync(session.store.set("a/zarr.json", cpu.Buffer.from_bytes(json.dumps(document).encode())))


def _write_changed_array(official: Any, path: Path, *, split: bool) -> None:
    config = official.RepositoryConfig()
    if split:
        everywhere = {official.ManifestSplitDimCondition.Any(): 1}
        sizes = {official.ManifestSplitCondition.AnyArray(): everywhere}
        splitting = official.ManifestSplittingConfig.from_dict(sizes)
        config.manifest = official.ManifestConfig(splitting=splitting)
    repo = official.Repository.create(official.local_filesystem_storage(str(path)), config)
    session = repo.writable_session("main")
    _give_shape(session, [6], [2])
    zarr.open_array(session.store, path="a")[:] = 5
    session.commit("one dimension")
    session = repo.writable_session("main")
    _give_shape(session, [6, 2], [2, 1])
    zarr.open_array(session.store, path="a")[2:] = 8
    session.commit("two dimensions")


EXPECTED = np.array([[0, 0], [0, 0], [8, 8], [8, 8], [8, 8], [8, 8]])


def test_the_chunks_of_the_dimensions_of_now_are_read(ours: Any, official: Any, tmp_path: Path) -> None:
    _write_changed_array(official, tmp_path, split=False)
    for ic in (official, ours):
        repo = ic.Repository.open(ic.local_filesystem_storage(str(tmp_path)))
        store = repo.readonly_session("main").store
        assert np.array_equal(zarr.open_array(store, path="a", mode="r")[:], EXPECTED)
    assert sorted(store.list_prefix("a")) == ["a/c/1/0", "a/c/1/1", "a/c/2/0", "a/c/2/1", "a/zarr.json"]


@pytest.mark.parametrize("split", [False, True])
def test_writing_on_leaves_the_old_chunks_behind(
    ours: Any, official: Any, tmp_path: Path, split: bool
) -> None:
    """Where the manifests do not tell which chunks they have, reading is an error until then, not a guess."""
    _write_changed_array(official, tmp_path, split=split)
    repo = ours.Repository.open(ours.local_filesystem_storage(str(tmp_path)))
    session = repo.writable_session("main")
    array = zarr.open_array(session.store, path="a", mode="r+")
    if split:
        with pytest.raises(ours.FormatError, match="manifests of `/a`"):
            array[4:]
    array[:2] = 7
    session.commit("on")
    expected = EXPECTED.copy()
    expected[:2] = 7
    for ic in (ours, official):
        repo = ic.Repository.open(ic.local_filesystem_storage(str(tmp_path)))
        store = repo.readonly_session("main").store
        assert np.array_equal(zarr.open_array(store, path="a", mode="r")[:], expected)
