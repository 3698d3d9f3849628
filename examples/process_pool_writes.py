"""A pool of processes writes one time series together, and one commit publishes all of it.

The data are the monthly surface air temperatures of a climate projection for North America (a NetCDF file
that ``iris-sample-data`` brings along). A first commit lays the arrays out. Then each task gets a fork of one
session, writes its months into it and sends it back. What comes back is merged and committed.

    python examples/process_pool_writes.py
    python examples/process_pool_writes.py --method fork --workers 4 --path /tmp/temperatures
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import iris_sample_data
import xarray as xr

import icechunk

SOURCE = Path(iris_sample_data.path) / "A1B_north_america.nc"
TEMPERATURE = "air_temperature"


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


def write_part(fork: icechunk.ForkSession, part: xr.Dataset) -> icechunk.ForkSession:
    """Write a part where its times say, in a process of the pool; the fork brings back what was written."""
    temperatures = part.drop_vars([name for name in part.coords if name != "time"])
    temperatures.to_zarr(fork.store, region="auto", consolidated=False)
    return fork


def run(path: Path, method: str, workers: int, steps: int | None) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(path)))
    with xr.open_dataset(SOURCE) as dataset:
        source = dataset[[TEMPERATURE]].isel(time=slice(steps))
        months = source.sizes["time"]
        lay_out(repository, source)

        started = time.perf_counter()
        session = repository.writable_session("main")
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            forks = list(pool.map(write_part, repeat(session.fork()), split(source, months=6)))
        session.merge(*forks)
        snapshot = session.commit(f"Write {months} months", metadata={"workers": workers})
        seconds = time.perf_counter() - started
        print(f"{snapshot}  wrote {months} months with {workers} processes ({method}) in {seconds:.2f} s")

        stored = xr.open_zarr(repository.readonly_session("main").store, consolidated=False, chunks=None)
        xr.testing.assert_identical(stored.load(), source.load())
        print("read back: identical to the NetCDF file")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write a climate projection from a pool of processes, commit it once."
    )
    parser.add_argument(
        "--path", type=Path, help="a new directory to keep the repository in (default: temporary)"
    )
    parser.add_argument(
        "--method",
        choices=multiprocessing.get_all_start_methods(),
        default="spawn",
        help="of starting processes (default: spawn)",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--steps", type=int, help="time steps to write (default: all 240)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options.path or Path(folder) / "temperatures", options.method, options.workers, options.steps)


if __name__ == "__main__":
    main()
