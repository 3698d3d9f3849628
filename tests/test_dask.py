"""Dask writes in threads, processes and a cluster of processes, and one session has it all in the end."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client, LocalCluster

import icechunk
from icechunk import Repository, Session
from icechunk.dask import session_merge_reduction, store_dask
from icechunk.xarray import to_icechunk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def repo(tmp_path: Path, spec_version: int) -> Repository:
    """With an array `a` of 12 x 4 in chunks of 3 x 4."""
    storage = icechunk.local_filesystem_storage(tmp_path / "repository")
    repo = Repository.create(storage, spec_version=spec_version)
    with repo.transaction("main", message="lay out") as store:
        zarr.create_array(store, name="a", shape=(12, 4), chunks=(3, 4), dtype="i8", fill_value=-1)
    return repo


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    """Two worker processes with two threads each."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        yield client


def values(rows: int = 12) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.arange(rows * 4).reshape(rows, 4)


def stored(session: Session, path: str = "a") -> list[Any]:
    found: list[Any] = np.asarray(zarr.open_array(session.store, path=path, mode="r")[:]).tolist()
    return found


def target(session: Session, path: str = "a") -> zarr.Array[Any]:
    return zarr.open_array(session.store, path=path)


def dataset(times: int = 12) -> xr.Dataset:
    air = ("time", "x"), np.arange(times * 6.0).reshape(times, 6)
    return xr.Dataset({"air": air, "height": ("x", np.arange(6))}, {"time": np.arange(times) * 2})


def read(session: Session, group: str | None = None) -> xr.Dataset:
    found: xr.Dataset = xr.open_zarr(session.store, group=group, consolidated=False, chunks=None)
    return found.load()


class TestStoreDask:
    """In threads, where one fork is shared."""

    def test_arrays_are_written_and_merged(self, repo: Repository) -> None:
        session = repo.writable_session("main")
        zarr.create_array(session.store, name="b", shape=(12, 4), chunks=(3, 2), dtype="f4")
        fork = session.fork()
        source = da.from_array(values(), chunks=(3, 4))
        merged = store_dask(
            sources=[source, (source * 2).rechunk((6, 2))], targets=[target(fork), target(fork, "b")]
        )
        assert isinstance(merged, icechunk.ForkSession)
        assert stored(session) == [[-1] * 4] * 12
        session.merge(merged)
        session.commit("write")
        reader = repo.readonly_session("main")
        assert stored(reader) == values().tolist()
        assert stored(reader, "b") == (values() * 2).tolist()

    @pytest.mark.parametrize("regions", [(slice(3, 9), slice(None)), [(slice(3, 9),)]], ids=["one", "list"])
    def test_regions(self, repo: Repository, regions: Any) -> None:
        session = repo.writable_session("main")
        part = da.from_array(values(6), chunks=(3, 4))
        session.merge(store_dask(sources=[part], targets=[target(session.fork())], regions=regions))
        assert stored(session) == [[-1] * 4] * 3 + values(6).tolist() + [[-1] * 4] * 3

    def test_an_index_stands_for_an_axis_that_the_source_does_not_have(self, repo: Repository) -> None:
        session = repo.writable_session("main")
        array = target(session.fork())
        whole: Any = zarr.create_array(array.store, name="b", shape=(3,), chunks=(1,), dtype="i4")
        sources = [
            da.arange(4, chunks=4),
            da.arange(4, chunks=4) * 10,
            da.arange(12, chunks=3),
            da.full((), 7),
        ]
        regions: Any = [(4, slice(None)), (-1,), (slice(None), np.int64(1)), (2,)]
        for source, where, region in zip(sources, [array, array, array, whole], regions, strict=True):
            session.merge(
                store_dask(sources=source, targets=where, regions=[region], scheduler="synchronous"),
                duplicate_chunks="allow",
            )
        expected = np.full((12, 4), -1)
        expected[4], expected[-1], expected[:, 1] = np.arange(4), np.arange(4) * 10, np.arange(12)
        assert stored(session) == expected.tolist()
        assert stored(session, "b") == [0, 0, 7]

    def test_what_the_fork_had_before_comes_with_it(self, repo: Repository) -> None:
        session = repo.writable_session("main")
        fork = session.fork()
        new = zarr.create_array(fork.store, name="new", shape=(4,), chunks=(2,), dtype="i4")
        session.merge(store_dask(sources=[da.arange(4, chunks=2)], targets=[new], scheduler="synchronous"))
        assert stored(session, "new") == [0, 1, 2, 3]

    def test_the_result_of_dask_array_store_can_be_merged(self, repo: Repository) -> None:
        session = repo.writable_session("main")
        source = da.from_array(values(), chunks=(3, 4))
        written = source.store(
            target(session.fork()), compute=False, return_stored=True, load_stored=False, lock=False
        )
        session.merge(session_merge_reduction(written, split_every=2, scheduler="threads"))
        assert stored(session) == values().tolist()

    def test_blocks_that_share_a_chunk_are_warned_about(self, repo: Repository) -> None:
        session = repo.writable_session("main")
        with pytest.warns(UserWarning, match=r"they meet at index 4 of axis 0, .* pieces of 3"):
            store_dask(
                sources=[da.from_array(values(), chunks=(4, 4))],
                targets=[target(session.fork())],
                scheduler="synchronous",
            )

    @pytest.mark.parametrize("shards", [None, (6, 4)])
    def test_sources_that_share_a_chunk_are_warned_about(
        self, repo: Repository, shards: tuple[int, int] | None
    ) -> None:
        """In threads nobody would notice that one undoes what the other wrote."""
        session = repo.writable_session("main")
        array = zarr.create_array(
            session.fork().store, name="b", shape=(12, 4), chunks=(3, 4), shards=shards, dtype="i8"
        )
        halves = [da.from_array(values(6), chunks=(6, 4)), da.from_array(values(6), chunks=(6, 4))]
        parts = [slice(0, 3), slice(3, 9), slice(9, 12)]
        thirds = [da.from_array(values(12)[part], chunks=(6, 4)) for part in parts]

        def store(sources: list[Any], regions: list[Any]) -> None:
            store_dask(
                sources=sources, targets=[array] * len(sources), regions=regions, scheduler="synchronous"
            )

        # A warning would be an error.
        store(halves, [(slice(0, 6),), (slice(6, 12),)])
        with pytest.warns(UserWarning, match="sources 0 and 1 would both write to one chunk or shard of `b`"):
            store(halves, [(slice(0, 6),), (slice(5, 11),)])
        if shards is None:
            store(thirds, [(part,) for part in parts])
        else:
            with pytest.warns(UserWarning, match="sources 0 and 1 would both write"):
                store(thirds, [(part,) for part in parts])

    def test_what_does_not_fit_is_refused(self, repo: Repository) -> None:
        session = repo.writable_session("main")
        fork = session.fork()
        source, array = da.from_array(values(), chunks=(3, 4)), target(fork)
        with pytest.raises(ValueError, match="0 sources"):
            store_dask(sources=[], targets=[])
        with pytest.raises(ValueError, match="1 sources, 2 targets"):
            store_dask(sources=[source], targets=[array, array])
        with pytest.raises(ValueError, match=r"shape \(12, 4\) does not fit .*`a`.* shape \(6, 4\)"):
            store_dask(sources=[source], targets=[array], regions=(slice(6),))
        with pytest.raises(ValueError, match="without a step"):
            store_dask(sources=[source], targets=[array], regions=(slice(None, None, 2),))
        with pytest.raises(ValueError, match=r"shape \(12, 4\), has to be slices without a step or indices"):
            store_dask(sources=[source[0]], targets=[array], regions=(12,))
        with pytest.raises(ValueError, match="one for each axis at most"):
            store_dask(sources=[source], targets=[array], regions=(slice(None),) * 3)
        with pytest.raises(ValueError, match="to be a Dask array: ndarray"):
            store_dask(sources=[values()], targets=[array])
        with pytest.raises(ValueError, match="compute_chunk_sizes"):
            store_dask(sources=[source[source[:, 0] > 3]], targets=[array])
        with pytest.raises(TypeError, match=r"`a` does not belong to a fork: call `session.fork\(\)`"):
            store_dask(sources=[source], targets=[target(session)])
        elsewhere = zarr.create_array({}, shape=(12, 4), dtype="i8")
        with pytest.raises(TypeError, match="does not belong to a fork"):
            store_dask(sources=[source], targets=[elsewhere])
        assert not fork.has_uncommitted_changes


def test_threads_write_into_the_session_itself(repo: Repository, tmp_path: Path) -> None:
    """Nothing is forked: no manifest and no snapshot is written before the commit."""
    session = repo.writable_session("main")
    target(session)[:] = 7
    files = {path.name for path in (tmp_path / "repository" / "snapshots").iterdir()}
    with dask.config.set(scheduler="threads"):
        to_icechunk(dataset().chunk(time=3), session, group="g")
    assert {path.name for path in (tmp_path / "repository" / "snapshots").iterdir()} == files
    xr.testing.assert_identical(read(session, "g"), dataset())


def test_what_variables_have_in_common_is_computed_once(repo: Repository) -> None:
    computed: list[int] = []

    def count(block: Any) -> Any:
        computed.append(1)
        return block

    base = da.zeros((12,), chunks=3).map_blocks(count, meta=np.zeros(0))
    both = xr.Dataset({"more": ("time", base + 1), "less": ("time", base - 1)})
    session = repo.writable_session("main")
    to_icechunk(both, session, group="g")
    assert len(computed) == 4
    assert read(session, "g")["less"].values.tolist() == [-1.0] * 12


def test_a_pool_of_processes(repo: Repository) -> None:
    session = repo.writable_session("main")
    with dask.config.set(scheduler="processes", num_workers=2):
        to_icechunk(dataset().chunk(time=3), session, group="g")
    session.commit("write")
    xr.testing.assert_identical(read(repo.readonly_session("main"), "g"), dataset())


class TestCluster:
    """Workers in other processes, which forks travel to and come back from."""

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Client) -> Iterator[None]:
        with cluster.as_current(), dask.config.set(scheduler=cluster):
            yield

    def test_store_dask(self, repo: Repository) -> None:
        session = repo.writable_session("main")
        source = da.from_array(values(), chunks=(3, 4))
        session.merge(store_dask(sources=[source], targets=[target(session.fork())], split_every=2))
        session.commit("write")
        assert stored(repo.readonly_session("main")) == values().tolist()

    @pytest.mark.parametrize("dirty", [False, True], ids=["clean", "dirty"])
    def test_to_icechunk(self, repo: Repository, dirty: bool) -> None:
        session = repo.writable_session("main")
        if dirty:
            target(session)[:3] = 7
            to_icechunk(dataset(3), session, group="before")
        to_icechunk(dataset().isel(time=slice(6)).chunk(time=3), session, group="g", split_every=2)
        to_icechunk(dataset().isel(time=slice(6, 12)).chunk(time=3), session, group="g", append_dim="time")
        session.commit("write")
        reader = repo.readonly_session("main")
        xr.testing.assert_identical(read(reader, "g"), dataset())
        assert stored(reader)[:4] == [[7 if dirty else -1] * 4] * 3 + [[-1] * 4]
        if dirty:
            xr.testing.assert_identical(read(reader, "before"), dataset(3))

    def test_appending_along_two_dimensions_in_one_session(self, repo: Repository) -> None:
        """Each append resizes what the one before has written, and no commit comes between."""

        def square(rows: slice, columns: slice) -> xr.Dataset:
            whole = xr.DataArray(np.arange(64.0).reshape(8, 8), dims=("y", "x"))
            return whole.isel(y=rows, x=columns).to_dataset(name="v").chunk(y=2, x=2)

        session = repo.writable_session("main")
        to_icechunk(square(slice(4), slice(4)), session, group="g", encoding={"v": {"chunks": (2, 2)}})
        to_icechunk(square(slice(4, 8), slice(4)), session, group="g", append_dim="y")
        to_icechunk(square(slice(8), slice(4, 8)), session, group="g", append_dim="x")
        xr.testing.assert_identical(read(session, "g"), square(slice(8), slice(8)).compute())

    def test_rows_of_an_array_are_sources(self, repo: Repository) -> None:
        session = repo.writable_session("main")
        zarr.create_array(session.store, name="b", shape=(6, 4), chunks=(1, 2), dtype="i8")
        rows = [da.full(4, row, chunks=2) for row in range(6)]
        targets = [target(session.fork(), "b")] * 6
        session.merge(store_dask(sources=rows, targets=targets, regions=[(row,) for row in range(6)]))
        assert stored(session, "b") == [[row] * 4 for row in range(6)]

    def test_more_than_one_process_writes(self, repo: Repository) -> None:
        def with_process(block: Any) -> Any:
            import os
            import time

            time.sleep(0.1)
            return block + os.getpid()

        session = repo.writable_session("main")
        data = da.zeros((16, 4), chunks=(1, 4), dtype="i8").map_blocks(with_process, dtype="i8")
        to_icechunk(xr.Dataset({"v": (("y", "x"), data)}), session, group="g")
        assert len(np.unique(read(session, "g")["v"])) == 2

    def test_a_region_is_rechunked(self, repo: Repository) -> None:
        session = repo.writable_session("main")
        to_icechunk(dataset(), session, group="g", encoding={"air": {"chunks": (2, 6), "shards": (4, 6)}})
        part = (dataset()[["air"]] + 1).isel(time=slice(1, 11)).chunk(time=1)
        to_icechunk(part, session, group="g", region="auto", mode="a", align_chunks=True)
        changed = read(session, "g")["air"] - dataset()["air"]
        assert changed.sum("x").values.tolist() == [0] + [6] * 10 + [0]

    def test_a_tree(self, repo: Repository) -> None:
        nodes = {f"/n{number}/deep": dataset(number * 3).chunk(time=3) for number in range(1, 4)}
        session = repo.writable_session("main")
        to_icechunk(xr.DataTree.from_dict(nodes), session, group="tree")
        session.commit("write")
        for path, node in nodes.items():
            xr.testing.assert_identical(read(repo.readonly_session("main"), f"tree{path}"), node.compute())

    def test_what_was_read_from_the_session_is_written_to_it(self, repo: Repository) -> None:
        """With changes that no commit has: workers read what the session shows."""
        session = repo.writable_session("main")
        to_icechunk(dataset(), session, group="g", encoding={"air": {"chunks": (3, 6)}})
        lazy = xr.open_zarr(session.store, group="g", consolidated=False, chunks={})
        to_icechunk(lazy * 2, session, group="doubled")
        xr.testing.assert_identical(read(session, "doubled"), dataset() * 2)
        to_icechunk(lazy * 3, session, group="g", mode="w")
        session.commit("write")
        xr.testing.assert_identical(read(repo.readonly_session("main"), "g"), dataset() * 3)

    def test_a_task_that_fails_leaves_what_can_be_discarded(self, repo: Repository) -> None:
        def fail(block: Any) -> Any:
            if block[0, 0] > 30:
                raise RuntimeError("no value")
            return block

        session = repo.writable_session("main")
        data = dataset().chunk(time=3)
        failing = data.assign(air=data["air"].copy(data=data["air"].data.map_blocks(fail, dtype="f8")))
        with pytest.raises(RuntimeError, match="no value"):
            to_icechunk(failing, session, group="g")
        session.discard_changes()
        to_icechunk(data, session, group="g")
        xr.testing.assert_identical(read(session, "g"), dataset())

    def test_memory_storage_says_that_it_is_of_one_process(self) -> None:
        session = Repository.create(icechunk.in_memory_storage()).writable_session("main")
        with pytest.raises(Exception, match="in-memory"):
            to_icechunk(dataset().chunk(time=3), session)


def test_arrays_of_the_dask_array_package(tmp_path: Path) -> None:
    """Its arrays, once registered with xarray, are those of all datasets of the process."""
    pytest.importorskip("dask_array")
    program = """
import dask_array.xarray
dask_array.xarray.register()
import icechunk, numpy as np, xarray as xr
from icechunk.xarray import to_icechunk
data = xr.Dataset({"a": (("y", "x"), np.arange(24).reshape(6, 4))})
lazy = data.chunk(y=2)
assert type(lazy["a"].data).__module__.startswith("dask_array"), type(lazy["a"].data)
repo = icechunk.Repository.create(icechunk.in_memory_storage())
session = repo.writable_session("main")
to_icechunk(lazy + 1, session, encoding={"a": {"chunks": (3, 4)}}, align_chunks=True)
xr.testing.assert_identical(xr.open_zarr(session.store, consolidated=False).load(), data + 1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
