"""Repositories that the official implementation wrote, read with ours; no official implementation is needed.

What they hold is said in `tests/compat/scenario.py`; beside each lies what its writer reads in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import icechunk
from tests.compat import describe, golden, scenario

if TYPE_CHECKING:
    from pathlib import Path

    from tests.compat.golden import Golden

    Read = tuple[Golden, dict[str, Any], dict[str, np.ndarray[Any, Any]]]


@pytest.fixture(scope="module", params=golden.NAMES)
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """A golden repository, what we say is in it, and the arrays that we read."""
    directory = tmp_path_factory.mktemp(request.param)
    scenario.write_virtual_files(directory / "virtual")
    unpacked = golden.unpack(request.param, directory)
    told, values = golden.read_back(
        icechunk,
        unpacked.path,
        directory / "virtual",
        describe.OUR_SECTIONS,
        detached=unpacked.about["detached"],
    )
    return unpacked, told, values


@pytest.mark.parametrize("section", [name for name in describe.OUR_SECTIONS if name != "values"])
def test_we_read_what_its_writer_reads(read: Read, section: str) -> None:
    unpacked, told, _ = read
    assert told[section] == unpacked.expected[section]


def test_we_read_the_same_values(read: Read) -> None:
    unpacked, told, values = read
    for snapshot_id, expected in unpacked.expected["values"].items():
        documents = unpacked.expected["documents"][snapshot_id]
        for path, answer in expected.items():
            if documents[path]["chunk_grid"]["name"] == "rectilinear" and not describe.RECTILINEAR:
                continue  # this zarr cannot; the chunks themselves are compared above
            ours = told["values"][snapshot_id][path]
            if isinstance(answer, str) and isinstance(ours, str):
                np.testing.assert_array_equal(values[ours], unpacked.values[answer], err_msg=path)
            assert ours == answer, path


@pytest.mark.parametrize("name", golden.NAMES)
def test_we_continue_its_history(name: str, tmp_path: Path) -> None:
    """Commit on top; all that was there stays as it was."""
    scenario.write_virtual_files(tmp_path / "virtual")
    unpacked = golden.unpack(name, tmp_path)
    storage = icechunk.local_filesystem_storage(str(unpacked.path))
    repository = icechunk.Repository.open(storage)
    tip = scenario.continue_history(repository)
    repository.create_branch("ours", unpacked.expected["refs"]["branches"]["dev"])
    repository.create_tag("ours", tip)

    told, _ = golden.read_back(
        icechunk, unpacked.path, tmp_path / "virtual", describe.OUR_SECTIONS, detached=()
    )
    for section in ("documents", "chunks"):
        for snapshot_id, expected in unpacked.expected[section].items():
            if snapshot_id in told[section]:
                assert told[section][snapshot_id] == expected
    history = told["history"]["branch main"]
    assert history[1:] == unpacked.expected["history"]["branch main"]
    assert (history[0]["message"], history[0]["metadata"]) == ("continued", scenario.METADATA)
    assert told["history"]["tag ours"] == history
    assert told["history"]["branch ours"] == unpacked.expected["history"]["branch dev"]

    relocated = icechunk.Repository.open(storage, **scenario.relocated(icechunk, tmp_path / "virtual"))
    again: Any = zarr.open_group(relocated.readonly_session("main").store, mode="r")
    before = {
        path: unpacked.values[answer]
        for path, answer in unpacked.expected["values"][history[1]["id"]].items()
        if isinstance(answer, str)
    }
    for path, values in scenario.continued_values(before).items():
        np.testing.assert_array_equal(again[path][:], values, err_msg=path)
    if "virtual/many" in before:  # where its files can be found
        many = before["virtual/many"].copy()
        many[3, 6:8] = (1, 2)
        np.testing.assert_array_equal(again["virtual/many"][:], many)
    assert "b-c" not in again["names"]
    assert again["more"].attrs["by"] == "another"


def test_released_snapshots_are_gone(tmp_path: Path) -> None:
    """Expiration took them out of the repo object; their files are still there."""
    unpacked = golden.unpack("spec-2", tmp_path)
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(unpacked.path)))
    assert unpacked.about["released"]
    for snapshot_id in unpacked.about["released"]:
        assert (unpacked.path / "snapshots" / snapshot_id).exists()
        with pytest.raises(icechunk.SnapshotNotFoundError):
            repository.lookup_snapshot(snapshot_id)
        with pytest.raises(icechunk.SnapshotNotFoundError):
            repository.readonly_session(snapshot_id=snapshot_id)


async def test_we_read_it_on_an_event_loop(tmp_path: Path) -> None:
    unpacked = golden.unpack("spec-2", tmp_path)
    storage = icechunk.local_filesystem_storage(str(unpacked.path))
    repository = await icechunk.Repository.open_async(storage)
    branches = unpacked.expected["refs"]["branches"]
    assert await repository.list_branches_async() == set(branches)
    session = await repository.readonly_session_async("main")
    array = await zarr.api.asynchronous.open_array(store=session.store, path="mixed", mode="r")
    expected = unpacked.values[unpacked.expected["values"][branches["main"]]["mixed"]]
    np.testing.assert_array_equal(np.asarray(await array.getitem(...)), expected)
    history = [info.id async for info in repository.async_ancestry(branch="main")]
    assert history == [info["id"] for info in unpacked.expected["history"]["branch main"]]
