"""Joblib writes one time series from processes or threads, and one commit publishes all of it.

The data are the monthly surface air temperatures of a climate projection for North America (a NetCDF file
that ``iris-sample-data`` brings along). A first commit lays the arrays out. Then each task gets the session,
writes its months into it and returns it. Within `allow_pickling` a session may travel to another process,
where it arrives as a fork; to a thread it goes as it is. `merge_sessions` is right for both.

    python examples/joblib_writes.py
    python examples/joblib_writes.py --backend threading --workers 4 --path /tmp/temperatures
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import iris_sample_data
import xarray as xr
from joblib import Parallel, delayed

import icechunk
from icechunk.distributed import merge_sessions

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


def write_part(session: icechunk.Session, part: xr.Dataset) -> icechunk.Session:
    """Write a part where its times say, in a worker; the session brings back what was written."""
    temperatures = part.drop_vars([name for name in part.coords if name != "time"])
    temperatures.to_zarr(session.store, region="auto", consolidated=False)
    return session


def run(path: Path, backend: str, workers: int, steps: int | None) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(path)))
    with xr.open_dataset(SOURCE) as dataset:
        source = dataset[[TEMPERATURE]].isel(time=slice(steps))
        months = source.sizes["time"]
        lay_out(repository, source)

        started = time.perf_counter()
        session = repository.writable_session("main")
        with session.allow_pickling():
            tasks = [delayed(write_part)(session, part) for part in split(source, months=6)]
            sessions = Parallel(n_jobs=workers, backend=backend)(tasks)
        session = merge_sessions(session, *sessions)
        snapshot = session.commit(f"Write {months} months", metadata={"workers": workers})
        seconds = time.perf_counter() - started
        print(f"{snapshot}  wrote {months} months with {workers} workers ({backend}) in {seconds:.2f} s")

        stored = xr.open_zarr(repository.readonly_session("main").store, consolidated=False, chunks=None)
        xr.testing.assert_identical(stored.load(), source.load())
        print("read back: identical to the NetCDF file")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a climate projection with Joblib, commit it once.")
    parser.add_argument(
        "--path", type=Path, help="a new directory to keep the repository in (default: temporary)"
    )
    parser.add_argument(
        "--backend",
        choices=["loky", "threading"],
        default="loky",
        help="of Joblib: loky has processes (default: loky)",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes or threads (default: 2)")
    parser.add_argument("--steps", type=int, help="time steps to write (default: all 240)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options.path or Path(folder) / "temperatures", options.backend, options.workers, options.steps)


if __name__ == "__main__":
    main()
