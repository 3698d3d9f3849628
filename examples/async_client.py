"""Weather stations report at the same time, in one event loop, and each report is one commit.

Everything here is awaited: the repository's verbs end in ``_async``, arrays are written and read through
``zarr.api.asynchronous``. The stations commit to the same branch, so whoever comes second gets a
``ConflictError`` and reports once more, on top of what was committed meanwhile. A heartbeat beside them
measures how long the event loop was ever kept from other work.

    python examples/async_client.py
    python examples/async_client.py --path /tmp/weather --stations 20 --reports 5
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zarr.api.asynchronous as zarr_async

import icechunk

HOURS = 24
HEARTBEAT = 0.005

Day = npt.NDArray[np.float32]


async def create_stations(repository: icechunk.Repository, names: list[str], reports: int) -> None:
    session = await repository.writable_session_async("main")
    await zarr_async.create_group(store=session.store, attributes={"title": "Weather stations"})
    for name in names:
        await zarr_async.create(
            store=session.store,
            path=name,
            shape=(reports, HOURS),
            chunks=(1, HOURS),
            dtype="float32",
            fill_value=np.nan,
        )
    await session.commit_async(f"Create {len(names)} stations")


async def report(repository: icechunk.Repository, name: str, day: int, temperatures: Day) -> int:
    """Write one day of one station and commit it, however often it takes; return how often it was refused."""
    refused = 0
    while True:
        session = await repository.writable_session_async("main")
        array = await zarr_async.open_array(store=session.store, path=name, mode="r+")
        await array.setitem((day, slice(None)), temperatures)
        try:
            await session.commit_async(f"{name}, day {day}")
        except icechunk.ConflictError:
            refused += 1
        else:
            return refused


async def run_station(repository: icechunk.Repository, number: int, name: str, reports: int) -> int:
    """Report day after day; return how many commits were refused."""
    random = np.random.default_rng(number)
    refused = 0
    for day in range(reports):
        refused += await report(repository, name, day, random.normal(12, 6, HOURS).astype("float32"))
    return refused


async def longest_pause(stop: asyncio.Event) -> float:
    """Seconds by which the event loop was late at most, until told to stop."""
    longest = 0.0
    while not stop.is_set():
        started = time.perf_counter()
        await asyncio.sleep(HEARTBEAT)
        longest = max(longest, time.perf_counter() - started - HEARTBEAT)
    return longest


async def mean_temperature(session: icechunk.Session, name: str) -> float:
    array = await zarr_async.open_array(store=session.store, path=name, mode="r")
    return float(np.mean(np.asarray(await array.getitem(slice(None)))))


async def run(storage: icechunk.Storage, stations: int, reports: int) -> None:
    repository = await icechunk.Repository.open_or_create_async(storage)
    names = [f"station-{number:02}" for number in range(stations)]
    await create_stations(repository, names, reports)

    stop = asyncio.Event()
    heartbeat = asyncio.create_task(longest_pause(stop))
    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(run_station(repository, number, name, reports))
            for number, name in enumerate(names)
        ]
    seconds = time.perf_counter() - started
    stop.set()
    pause = await heartbeat
    refused = sum(task.result() for task in running)
    print(
        f"{stations * reports} reports of {stations} stations in {seconds:.2f} s, "
        f"{refused} commits were refused and tried again"
    )
    print(f"longest pause of the event loop: {pause * 1000:.0f} ms")

    reported = await repository.lookup_branch_async("main")
    await repository.create_tag_async("reported", reported)
    await repository.create_branch_async("corrected", reported)
    session = await repository.writable_session_async("corrected")
    array = await zarr_async.open_array(store=session.store, path=names[0], mode="r+")
    values = np.asarray(await array.getitem(slice(None)))
    await array.setitem(slice(None), values + 1)
    print(f"changed on corrected: {', '.join(sorted(session.status().updated_chunks))}")
    await session.commit_async(f"{names[0]} reads one degree low")

    print(f"branches: {', '.join(sorted(await repository.list_branches_async()))}")
    before = await repository.readonly_session_async(tag="reported")
    after = await repository.readonly_session_async("corrected")
    for label, session in (("reported", before), ("corrected", after)):
        print(f"mean of {names[0]} as {label}: {await mean_temperature(session, names[0]):.2f}")

    snapshots = [snapshot async for snapshot in repository.async_ancestry(branch="corrected")]
    print(f"\nhistory of corrected: {len(snapshots)} snapshots, the newest are")
    for snapshot in snapshots[:5]:
        print(f"  {snapshot.id}  {snapshot.written_at:%H:%M:%S.%f}  {snapshot.message}")
    commits = sum(", day " in snapshot.message for snapshot in snapshots)
    if commits != stations * reports:
        raise SystemExit(f"{stations * reports} reports were committed, the history holds {commits}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Concurrent commits in one event loop.")
    parser.add_argument(
        "--path", type=Path, help="a new directory to keep the repository in (default: in memory)"
    )
    parser.add_argument("--stations", type=int, default=10, help="that report at the same time (default: 10)")
    parser.add_argument("--reports", type=int, default=3, help="of each station (default: 3)")
    options = parser.parse_args()
    if options.path is not None:
        storage = icechunk.local_filesystem_storage(str(options.path))
    else:
        storage = icechunk.in_memory_storage()
    asyncio.run(run(storage, options.stations, options.reports))


if __name__ == "__main__":
    main()
