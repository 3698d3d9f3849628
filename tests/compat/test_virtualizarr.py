"""VirtualiZarr writes references to files. It calls what the official package has."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from obstore.store import LocalStore
from zarr.core.metadata.v3 import ArrayV3Metadata

import icechunk
from tests.virtual import BYTES, MODIFIED, repository

if TYPE_CHECKING:
    from icechunk import Session

pytest.importorskip("virtualizarr", reason="`pip install virtualizarr`, as the extra `compat` does")
manifests = importlib.import_module("virtualizarr.manifests")
parsers = importlib.import_module("virtualizarr.parsers")
registry = importlib.import_module("obspec_utils.registry")

ROWS = 4
METADATA: dict[str, Any] = {
    "zarr_format": 3,
    "shape": (ROWS, 6),
    "node_type": "array",
    "data_type": "uint8",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
    "fill_value": 255,
    "codecs": [{"name": "bytes"}],
    "attributes": {},
}


def dataset(file: Path, start: int) -> xr.Dataset:
    """A dataset whose variable is in a file: three chunks of six bytes each, and one that is missing."""
    paths = np.full((2, 2), f"file://{file}", np.dtypes.StringDType())
    paths[1, 1] = ""
    offsets = np.arange(4, dtype="u8").reshape(2, 2) * 6 + start
    lengths = np.where(paths == "", 0, 6).astype("u8")
    manifest = manifests.ChunkManifest.from_arrays(paths=paths, offsets=offsets, lengths=lengths)
    array = manifests.ManifestArray(ArrayV3Metadata.from_dict(METADATA), manifest)
    return xr.Dataset({"air": (("time", "x"), array)}, {"time": np.arange(ROWS) + start})


def values(start: int) -> list[list[int]]:
    """What `dataset` refers to."""
    first, second, third = np.frombuffer(BYTES, "u1", 18, start).reshape(3, 2, 3)
    rows: list[list[int]] = np.block([[first, second], [third, np.full((2, 3), 255, "u1")]]).tolist()
    return rows


def read(session: Session, group: str | None = None) -> xr.Dataset:
    options: dict[str, Any] = {"consolidated": False, "chunks": None, "mask_and_scale": False}
    found: xr.Dataset = xr.open_zarr(session.store, group=group, **options)
    return found


@pytest.mark.parametrize("spec_version", [1, 2])
def test_datasets_are_written_appended_and_placed(files: Path, spec_version: int) -> None:
    one, two = files / "one.bin", files / "two.bin"
    repo = repository(files, spec_version)
    session = repo.writable_session("main")
    dataset(one, 0).vz.to_icechunk(session.store)
    fork = session.fork()
    dataset(two, 30).vz.to_icechunk(fork.store, group="other/below")
    session.merge(fork)
    session.commit("refer")
    session = repo.writable_session("main")
    dataset(two, 60).vz.to_icechunk(session.store, append_dim="time")
    session.commit("append")
    reader = repo.readonly_session("main")
    assert read(reader)["air"].values.tolist() == values(0) + values(60)
    assert read(reader)["time"].values.tolist() == [0, 1, 2, 3, 60, 61, 62, 63]
    assert read(reader, "other/below")["air"].values.tolist() == values(30)

    session = repo.writable_session("main")
    part = dataset(one, 90).drop_vars("time")
    part.vz.to_icechunk(session.store, region={"time": slice(4, 8), "x": slice(0, 6)})
    found = read(session)["air"].values.tolist()
    # No reference is put where the part has none.
    assert found[4:6] == values(90)[:2]
    assert [row[:3] for row in found[6:]] == [row[:3] for row in values(90)[2:]]


def test_a_file_that_is_modified_afterwards_is_noticed(files: Path) -> None:
    session = repository(files).writable_session("main")
    earlier = datetime.fromtimestamp(MODIFIED - 1, UTC)
    dataset(files / "one.bin", 0).vz.to_icechunk(session.store, last_updated_at=earlier)
    with pytest.raises(icechunk.StorageError) as refused:
        read(session)["air"].load()
    assert refused.value.kind == "virtual-chunk-modified"


def test_references_are_read_back(files: Path) -> None:
    session = repository(files).writable_session("main")
    written = dataset(files / "one.bin", 12)
    written.vz.to_icechunk(session.store, group="g")
    parsed = parsers.IcechunkParser(group="g").parse_session(
        session,
        registry.ObjectStoreRegistry({"file://": LocalStore()}),
        native_chunks_prefix="memory://chunks",
    )
    manifest = parsed.to_virtual_dataset(loadable_variables=[])["air"].data.manifest
    assert manifest.dict() == written["air"].data.manifest.dict()
