"""Dask writes one time series from threads, processes or a cluster, and every commit is one change.

The data are the monthly surface air temperatures of a climate projection for North America (a NetCDF file
that ``iris-sample-data`` brings along), opened as Dask arrays. `to_icechunk` lays the arrays out, lets Dask
compute and write the chunks where it runs, and collects what was written in one session. A first commit has
the first part of the series, a second one appends the rest.

    python examples/dask_writes.py
    python examples/dask_writes.py --scheduler processes
    python examples/dask_writes.py --scheduler distributed --workers 4
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import iris_sample_data
import xarray as xr

import icechunk
from icechunk.xarray import to_icechunk

SOURCE = Path(iris_sample_data.path) / "A1B_north_america.nc"
TEMPERATURE = "air_temperature"
YEAR = 12


@contextmanager
def scheduler_of(name: str, workers: int) -> Iterator[None]:
    """Have Dask compute in threads of this process, in a pool of processes, or in a cluster of processes."""
    if name == "distributed":
        # Needed for a cluster only.
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=workers, threads_per_worker=2, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            client.wait_for_workers(workers)
            yield
    else:
        with dask.config.set(scheduler=name, num_workers=workers):
            yield


def write(session: icechunk.Session, part: xr.Dataset, message: str, append_dim: str | None = None) -> None:
    """Write a part of the series and commit it."""
    started = time.perf_counter()
    to_icechunk(part, session, append_dim=append_dim)
    written = time.perf_counter()
    snapshot = session.commit(message)
    print(
        f"{snapshot}  {message}: {part.sizes['time']} months in {written - started:.2f} s, "
        f"committed in {time.perf_counter() - written:.3f} s"
    )


def run(path: Path, scheduler: str, workers: int, years: int) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(path)))
    print(f"repository in {path}")
    with xr.open_dataset(SOURCE, chunks={"time": YEAR}) as dataset:
        source = dataset[[TEMPERATURE]].isel(time=slice(years * YEAR))
        half = years // 2 * YEAR
        with scheduler_of(scheduler, workers):
            print(f"{source[TEMPERATURE].data.npartitions} Dask chunks, {workers} {scheduler}")
            session = repository.writable_session("main")
            write(session, source.isel(time=slice(half)), "Write the first half")
            session = repository.writable_session("main")
            # What has no time stays as it is.
            rest = source.isel(time=slice(half, None)).drop_vars(
                [name for name, variable in source.variables.items() if "time" not in variable.dims]
            )
            write(session, rest, "Append the second half", append_dim="time")

        store = repository.readonly_session("main").store
        stored = xr.open_zarr(store, consolidated=False, chunks=None)
        xr.testing.assert_identical(stored.load(), source.load())
        print("read back: identical to the NetCDF file")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a climate projection with Dask, in two commits.")
    parser.add_argument(
        "--path", type=Path, help="a new directory to keep the repository in (default: temporary)"
    )
    parser.add_argument(
        "--scheduler",
        choices=["threads", "processes", "distributed"],
        default="threads",
        help="where Dask computes and writes (default: threads)",
    )
    parser.add_argument("--workers", type=int, default=4, help="threads or processes (default: 4)")
    parser.add_argument("--years", type=int, default=20, help="years to write, of 20 (default: all)")
    options = parser.parse_args()
    if options.path is not None:
        run(options.path, options.scheduler, options.workers, options.years)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder) / "temperatures", options.scheduler, options.workers, options.years)


if __name__ == "__main__":
    main()
