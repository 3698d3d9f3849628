"""Many threads write one time series into one session, and one commit publishes all of it.

The data are the monthly surface air temperatures of a climate projection for North America (a NetCDF file
that ``iris-sample-data`` brings along). A first commit lays the arrays out and holds their metadata only.
Then every time step is one task of a thread pool, and each task writes its own region into the same session.
Nobody else sees any of it until the second commit.

    python examples/parallel_writes.py
    python examples/parallel_writes.py --path /tmp/temperatures --workers 16
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import iris_sample_data
import xarray as xr
from tqdm import tqdm

import icechunk

SOURCE = Path(iris_sample_data.path) / "A1B_north_america.nc"
TEMPERATURE = "air_temperature"


@contextmanager
def open_source(steps: int | None) -> Iterator[xr.Dataset]:
    """The projection's first months, as dask arrays of one month each."""
    with xr.open_dataset(SOURCE, chunks={"time": 1}) as dataset:
        yield dataset[[TEMPERATURE]].isel(time=slice(steps)).chunk(time=1)


def lay_out(repository: icechunk.Repository, source: xr.Dataset) -> str:
    """Commit the arrays without their values; return the snapshot."""
    session = repository.writable_session("main")
    encoding = {TEMPERATURE: {"chunks": (1, *source[TEMPERATURE].shape[1:])}}
    source.to_zarr(session.store, mode="w", compute=False, encoding=encoding, consolidated=False)
    return session.commit("Lay out the arrays")


def write_month(store: icechunk.IcechunkStore, source: xr.Dataset, month: int) -> None:
    """Write one time step, and find its place by its coordinates."""
    part = source.isel(time=slice(month, month + 1))
    part = part.drop_vars([name for name, variable in part.variables.items() if not variable.dims])
    part.compute(scheduler="synchronous").to_zarr(store, region="auto", consolidated=False)


def write_all(session: icechunk.Session, source: xr.Dataset, workers: int) -> float:
    """Write all time steps with a pool of threads; return the seconds it took."""
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        tasks: list[Future[None]] = [
            pool.submit(write_month, session.store, source, month) for month in range(source.sizes["time"])
        ]
        for task in tqdm(as_completed(tasks), total=len(tasks), desc="writing", unit="chunk"):
            task.result()
    return time.perf_counter() - started


def read(session: icechunk.Session) -> xr.Dataset:
    dataset: xr.Dataset = xr.open_zarr(session.store, consolidated=False, chunks=None)
    return dataset.load()


def run(path: Path, workers: int, steps: int | None) -> None:
    storage = icechunk.local_filesystem_storage(str(path))
    repository = icechunk.Repository.create(storage)
    print(f"repository in {path}")
    with open_source(steps) as source:
        months = source.sizes["time"]
        first = lay_out(repository, source)
        points = " x ".join(map(str, source[TEMPERATURE].shape[1:]))
        print(f"{first}  laid out {months} months of {points} points")

        session = repository.writable_session("main")
        seconds = write_all(session, source, workers)
        started = time.perf_counter()
        second = session.commit(f"Write {months} months", metadata={"workers": workers})
        print(
            f"{second}  wrote {months} chunks with {workers} threads in {seconds:.2f} s "
            f"({months / seconds:.0f} chunks/s), committed in {time.perf_counter() - started:.3f} s"
        )

        xr.testing.assert_identical(read(repository.readonly_session("main")), source.compute())
        print("read back: identical to the NetCDF file")

    print("\nhistory of main, newest first:")
    for snapshot in repository.ancestry(branch="main"):
        print(f"  {snapshot.id}  {snapshot.written_at:%Y-%m-%d %H:%M:%S}  {snapshot.message}")

    before = read(repository.readonly_session(snapshot_id=first))[TEMPERATURE]
    after = read(repository.readonly_session("main"))[TEMPERATURE]
    print(f"\nat {first}: {int(before.count())} of {before.size} values")
    mean = f"mean {float(after.mean()):.2f} {after.units}"
    print(f"at {second}: {int(after.count())} of {after.size} values, {mean}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write a climate projection from many threads, commit it once."
    )
    parser.add_argument(
        "--path", type=Path, help="a new directory to keep the repository in (default: temporary)"
    )
    parser.add_argument("--workers", type=int, default=8, help="threads (default: 8)")
    parser.add_argument("--steps", type=int, help="time steps to write (default: all 240)")
    options = parser.parse_args()
    if options.path is not None:
        run(options.path, options.workers, options.steps)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder) / "temperatures", options.workers, options.steps)


if __name__ == "__main__":
    main()
