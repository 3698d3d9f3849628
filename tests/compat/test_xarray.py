"""The same calls of `to_icechunk` and `store_dask` on both implementations leave the same arrays behind."""

from __future__ import annotations

import importlib
import inspect
import math
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def dataset(times: int = 12) -> xr.Dataset:
    """Encoded and plain variables, some of them lazy, in chunks that the encoding names or not."""
    air = np.random.default_rng(0).normal(10, 5, (times, 6))
    weather = xr.Dataset(
        {"air": (("time", "x"), air), "rain": (("time", "x"), air.astype("i2")), "station": ((), 17)},
        {"time": np.arange("2024-01-01", times, dtype="M8[D]").astype("M8[ns]"), "x": np.arange(6)},
        {"title": "weather"},
    )
    weather["air"].encoding = {"dtype": "i4", "scale_factor": 1e-3, "_FillValue": -1, "chunks": (3, 6)}
    return weather


def write(to_icechunk: Callable[..., None], session: Any) -> None:
    data = dataset()
    to_icechunk(data.isel(time=slice(6)).chunk(time=3), session)
    to_icechunk(data.isel(time=slice(6, 12)).chunk(time=3), session, append_dim="time", split_every=2)
    to_icechunk((data[["rain"]] + 1).isel(time=slice(3, 6)).chunk(time=3), session, region="auto")
    to_icechunk(data, session, group="memory", encoding={"rain": {"chunks": (4, 3), "shards": (4, 6)}})
    to_icechunk(data["rain"].chunk(time=5), session, group="an/array", mode="w")
    to_icechunk(data["x"], session, group="coordinate")
    to_icechunk(data[["air"]].chunk(time=2), session, group="aligned", align_chunks=True)


@pytest.mark.parametrize("spec_version", [1, 2])
def test_the_same_calls_write_the_same(ours: Any, official: Any, tmp_path: Path, spec_version: int) -> None:
    found = []
    for module in (ours, official):
        path = tmp_path / module.__name__
        repo = module.Repository.create(module.local_filesystem_storage(str(path)), spec_version=spec_version)
        session = repo.writable_session("main")
        write(importlib.import_module(f"{module.__name__}.xarray").to_icechunk, session)
        session.commit("write")
        # Read with the other one.
        other = official if module is ours else ours
        reader = other.Repository.open(other.local_filesystem_storage(str(path))).readonly_session("main")
        arrays = dict(zarr.open_group(reader.store, mode="r").members(max_depth=None))
        found.append(
            {
                name: (
                    node.metadata.to_dict(),
                    np.asarray(node[...]).tolist() if isinstance(node, zarr.Array) else None,
                )
                for name, node in arrays.items()
            }
        )
    assert found[0].keys() == found[1].keys()
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((4, 4), {"regions": [(slice(2, 6), slice(0, 4))]}),
        ((4, 4), {"regions": (slice(2, 6),)}),
        ((8, 4), {"regions": [None]}),
        ((4,), {"regions": [(5, slice(None))]}),
        ((8,), {"regions": [(slice(None), 3)], "split_every": 2}),
        ((), {"regions": [(7, 0)]}),
    ],
)
@pytest.mark.parametrize("listed", [True, False], ids=["lists", "one"])
def test_store_dask_writes_the_same(
    ours: Any, official: Any, shape: tuple[int, ...], arguments: dict[str, Any], listed: bool
) -> None:
    found = []
    for module in (ours, official):
        store_dask = importlib.import_module(f"{module.__name__}.dask").store_dask
        repo = module.Repository.create(module.in_memory_storage())
        with repo.transaction("main", message="lay out") as store:
            zarr.create_array(store, name="a", shape=(8, 4), chunks=(2, 4), dtype="f8")
        session = repo.writable_session("main")
        array = zarr.open_array(session.fork().store, path="a")
        part = dask.array.arange(math.prod(shape), chunks=-1).reshape(shape).rechunk((4, 4)[: len(shape)])
        what = {"sources": [part], "targets": [array]} if listed else {"sources": part, "targets": array}
        session.merge(store_dask(**what, **arguments))
        found.append(np.asarray(zarr.open_array(session.store, path="a", mode="r")[:]).tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["xarray.to_icechunk", "dask.store_dask", "dask.session_merge_reduction"])
def test_the_arguments_are_the_same(ours: Any, official: Any, name: str) -> None:
    module, function = name.split(".")
    found = []
    for package in (ours, official):
        signature = inspect.signature(
            getattr(importlib.import_module(f"{package.__name__}.{module}"), function)
        )
        found.append([(each.name, each.kind, each.default) for each in signature.parameters.values()])
    assert found[0] == found[1]
