"""A Ray cluster writes one time series together, and one commit publishes all of it.

The data are the monthly surface air temperatures of a climate projection for North America (a NetCDF file
that ``iris-sample-data`` brings along). A first commit lays the arrays out. Then each task gets a fork of one
session, writes its months into it and returns it. What comes back is merged and committed. The cluster is one
of this machine here; in another, give the repository a storage that all machines reach.

    python examples/ray_writes.py
    python examples/ray_writes.py --workers 4 --path /tmp/temperatures
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import iris_sample_data
import ray
import xarray as xr

import icechunk

SOURCE = Path(iris_sample_data.path) / "A1B_north_america.nc"
TEMPERATURE = "air_temperature"
OBJECT_STORE = 100 * 2**20
"""Bytes of shared memory, almost the least: forks carry references to chunks, and not chunks."""


def lay_out(repository: icechunk.Repository, source: xr.Dataset) -> None:
    """Commit all coordinates and metadata, and none of the temperatures."""
    session = repository.writable_session("main")
    later = source.assign({TEMPERATURE: source[TEMPERATURE].chunk(time=1)})
    later.to_zarr(session.store, compute=False, consolidated=False)
    session.commit("Lay out the arrays")


def split(source: xr.Dataset, months: int) -> list[xr.Dataset]:
    """Parts of so many months each, which a worker opens for itself: nothing is loaded here."""
    starts = range(0, source.sizes["time"], months)
    return [source.isel(time=slice(start, start + months)) for start in starts]


@ray.remote
def write_part(fork: icechunk.ForkSession, part: xr.Dataset) -> icechunk.ForkSession:
    """Write a part where its times say, in a worker; the fork brings back what was written."""
    temperatures = part.drop_vars([name for name in part.coords if name != "time"])
    temperatures.to_zarr(fork.store, region="auto", consolidated=False)
    return fork


def run(path: Path, workers: int, steps: int | None) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(path)))
    with xr.open_dataset(SOURCE) as dataset:
        source = dataset[[TEMPERATURE]].isel(time=slice(steps))
        months = source.sizes["time"]
        lay_out(repository, source)

        started = time.perf_counter()
        session = repository.writable_session("main")
        # Put once, and not with each task.
        fork = ray.put(session.fork())
        tasks = [write_part.remote(fork, part) for part in split(source, months=6)]
        session.merge(*ray.get(tasks))
        snapshot = session.commit(f"Write {months} months", metadata={"workers": workers})
        seconds = time.perf_counter() - started
        print(f"{snapshot}  wrote {months} months with {workers} processes of Ray in {seconds:.2f} s")

        stored = xr.open_zarr(repository.readonly_session("main").store, consolidated=False, chunks=None)
        xr.testing.assert_identical(stored.load(), source.load())
        print("read back: identical to the NetCDF file")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a climate projection with Ray, commit it once.")
    parser.add_argument(
        "--path", type=Path, help="a new directory to keep the repository in (default: temporary)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes of the cluster (default: 2)")
    parser.add_argument("--steps", type=int, help="time steps to write (default: all 240)")
    options = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with (
        tempfile.TemporaryDirectory() as folder,
        ray.init(num_cpus=options.workers, include_dashboard=False, object_store_memory=OBJECT_STORE),
    ):
        run(options.path or Path(folder) / "temperatures", options.workers, options.steps)


if __name__ == "__main__":
    main()
