"""`to_icechunk` in one process: what is written is read back identical, or refused beforehand."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr

import icechunk
from icechunk import Repository, Session
from icechunk.xarray import to_icechunk
from tests.threads import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: dict[str, Callable[[Any], Any]] = {
    "memory": lambda data: data,
    "dask": lambda data: data.chunk(time=3),
}


@pytest.fixture
def repo() -> Repository:
    return Repository.create(icechunk.in_memory_storage())


@pytest.fixture
def session(repo: Repository) -> Session:
    return repo.writable_session("main")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Leaves data in memory, or splits it into Dask chunks."""
    return KINDS[request.param]


def dataset(times: int = 12) -> xr.Dataset:
    """Variables with and without the time, of several types, encoded and not."""
    random = np.random.default_rng(times)
    weather = xr.Dataset(
        {
            "air": (("time", "x"), random.normal(10, 5, (times, 6)), {"units": "degC"}),
            "rain": (("time", "x"), random.integers(0, 99, (times, 6)).astype("i2")),
            "height": ("x", np.arange(6, dtype="f4")),
            "station": ((), 17),
        },
        {
            "time": np.arange("2024-01-01", times, dtype="M8[D]").astype("M8[ns]"),
            "x": np.linspace(0, 5, 6),
            "flag": ("time", np.arange(times) % 2 == 0),
        },
        {"title": "weather", "version": 3},
    )
    weather["air"].encoding = {"chunks": (3, 6)}
    return weather


def read(session: Session, group: str | None = None) -> xr.Dataset:
    found: xr.Dataset = xr.open_zarr(session.store, group=group, consolidated=False, chunks=None)
    return found.load()


def read_tree(session: Session, group: str | None = None) -> xr.DataTree:
    store: Any = session.store
    with xr.open_datatree(store, engine="zarr", group=group, consolidated=False) as tree:
        found: xr.DataTree = tree.load()
    return found


def test_a_dataset_is_read_back_after_a_commit(spec_version: int, kind: Callable[[Any], Any]) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = repo.writable_session("main")
    to_icechunk(kind(dataset()), session)
    xr.testing.assert_identical(read(session), dataset())
    session.commit("write")
    xr.testing.assert_identical(read(repo.readonly_session("main")), dataset())


def test_importing_icechunk_does_not_import_xarray_or_dask() -> None:
    program = "import icechunk, sys; print({'xarray', 'dask', 'distributed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("group", ["a", "a/b", "/a/b/"])
def test_a_group_is_made_with_those_above_it(
    session: Session, kind: Callable[[Any], Any], group: str
) -> None:
    to_icechunk(kind(dataset()), session, group=group)
    xr.testing.assert_identical(read(session, group.strip("/")), dataset())
    assert set(zarr.open_group(session.store, mode="r").group_keys()) == {"a"}


@pytest.mark.parametrize("name", ["air", None, "time", "x"])
def test_an_array_is_read_back_with_its_name(
    session: Session, kind: Callable[[Any], Any], name: str | None
) -> None:
    array = kind(dataset()["air"]).rename(name)
    to_icechunk(array, session)
    store: Any = session.store
    found = xr.open_dataarray(store, engine="zarr", consolidated=False, chunks=None)
    xr.testing.assert_identical(found.load(), dataset()["air"].rename(name))


def test_data_without_a_shape_or_without_elements(session: Session) -> None:
    data = xr.Dataset(
        {
            "scalar": ((), dask.array.asarray(5)),
            "nothing": (("t", "x"), dask.array.zeros((0, 4), chunks=2)),
            "loaded": ("t", np.zeros(0, "f4")),
        }
    )
    to_icechunk(data, session)
    xr.testing.assert_identical(read(session), data.compute())
    to_icechunk(data[["nothing"]], session, mode="w", group="alone")
    assert read(session, "alone")["nothing"].shape == (0, 4)


def test_appending_reads_back_as_one(spec_version: int, kind: Callable[[Any], Any]) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    whole = kind(dataset())
    session = repo.writable_session("main")
    to_icechunk(whole.isel(time=slice(6)), session)
    session.commit("first")
    session = repo.writable_session("main")
    to_icechunk(whole.isel(time=slice(6, 9)), session, append_dim="time")
    to_icechunk(whole.isel(time=slice(9, 12)), session, append_dim="time")
    session.commit("second and third")
    xr.testing.assert_identical(read(repo.readonly_session("main")), dataset())


def test_appending_along_two_dimensions_in_one_session(session: Session) -> None:
    def square(rows: slice, columns: slice) -> xr.Dataset:
        values = xr.DataArray(np.arange(64.0).reshape(8, 8), dims=("y", "x"))
        return values.isel(y=rows, x=columns).to_dataset(name="v").chunk(y=2, x=2)

    to_icechunk(square(slice(4), slice(4)), session, encoding={"v": {"chunks": (2, 2)}})
    to_icechunk(square(slice(4, 8), slice(4)), session, append_dim="y")
    to_icechunk(square(slice(8), slice(4, 8)), session, append_dim="x")
    xr.testing.assert_identical(read(session), square(slice(8), slice(8)).compute())


def test_appending_in_mode_a_minus_leaves_other_variables_alone(
    session: Session, kind: Callable[[Any], Any]
) -> None:
    whole = dataset()
    to_icechunk(kind(whole.isel(time=slice(6))), session)
    changed = whole.isel(time=slice(6, 12)).assign(height=whole["height"] + 1)
    to_icechunk(kind(changed), session, append_dim="time", mode="a-")
    xr.testing.assert_identical(read(session), whole)


@pytest.mark.parametrize("region", ["auto", {"time": "auto"}, {"time": slice(3, 9)}])
def test_a_region_is_written_and_the_rest_stays(
    session: Session, kind: Callable[[Any], Any], region: Any
) -> None:
    whole = dataset()
    to_icechunk(kind(whole), session)
    part = (whole[["air"]] * 2).isel(time=slice(3, 9)).drop_vars("flag")
    to_icechunk(kind(part if region == "auto" else part.drop_vars("x")), session, region=region)
    expected = whole.copy(deep=True)
    expected["air"][3:9] *= 2
    xr.testing.assert_identical(read(session), expected)


def test_modes_replace_refuse_and_add(session: Session, kind: Callable[[Any], Any]) -> None:
    to_icechunk(kind(dataset()), session, group="a")
    with pytest.raises(FileExistsError):
        to_icechunk(kind(dataset()), session, group="a")
    to_icechunk(kind(dataset()[["air"]] + 1), session, group="a", mode="a")
    assert read(session, "a")["air"][0, 0] == dataset()["air"][0, 0] + 1
    assert "rain" in read(session, "a")
    to_icechunk(kind(dataset(9)[["air"]]), session, group="a", mode="w")
    xr.testing.assert_identical(read(session, "a"), dataset(9)[["air"]])
    with pytest.raises(ValueError, match="rain"):
        to_icechunk(kind(dataset(9)[["rain"]]), session, group="a", mode="r+")


def test_a_group_is_replaced_by_what_was_read_from_it(repo: Repository, session: Session) -> None:
    """With Dask and without it xarray reads when the values are needed."""
    to_icechunk(dataset(), session)
    for lazily in (False, True):
        lazy = xr.open_zarr(session.store, consolidated=False, chunks={} if lazily else None)
        to_icechunk(lazy.assign(air=lazy["air"] * 2), session, mode="w")
    expected = dataset().assign(air=dataset()["air"] * 4)
    xr.testing.assert_identical(read(session), expected)
    session.commit("twice")
    session = repo.writable_session("main")
    lazy = xr.open_zarr(session.store, consolidated=False, chunks={})
    to_icechunk(lazy[["air"]].isel(time=slice(6)), session, mode="w")
    xr.testing.assert_identical(read(session), expected[["air"]].isel(time=slice(6)))


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
@pytest.mark.parametrize("before", ["committed", "written"])
@pytest.mark.parametrize(
    "arguments", [{"mode": "a"}, {"region": {"time": slice(0, 12), "x": slice(0, 6)}}, {"mode": "w"}], ids=str
)
def test_values_are_computed_from_what_they_replace(
    repo: Repository, session: Session, arguments: dict[str, Any], before: str, scheduler: str
) -> None:
    """Each row from another one, which may have been written over before it is read."""
    rain = dataset()[["rain"]].drop_vars(["time", "x", "flag"])
    to_icechunk(rain, session, encoding={"rain": {"chunks": (1, 6)}})
    if before == "committed":
        session.commit("rain")
        session = repo.writable_session("main")
    lazy = xr.open_zarr(session.store, consolidated=False, chunks={})
    turned = lazy.isel(time=slice(None, None, -1))
    to_icechunk(turned, session, **arguments, chunkmanager_store_kwargs={"scheduler": scheduler})
    assert read(session)["rain"].values.tolist() == rain["rain"].values[::-1].tolist()


def test_threads_write_regions_of_one_session_at_once(session: Session) -> None:
    to_icechunk(dataset() * 0, session, encoding={"air": {"chunks": (1, 6)}})
    parts = dataset()[["air"]].drop_vars(["time", "x", "flag"]).chunk(time=1)

    def write(row: int) -> None:
        rows = slice(3 * row, 3 * row + 3)
        options = {"scheduler": "synchronous"}
        to_icechunk(parts.isel(time=rows), session, region={"time": rows}, chunkmanager_store_kwargs=options)

    at_once(*[partial(write, row) for row in range(4)])
    assert read(session)["air"].values.tolist() == dataset()["air"].values.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "r"}, "mode is one of"),
        ({"mode": "w", "append_dim": "time"}, "with append_dim the mode"),
        ({"mode": "w-", "region": {"time": slice(3)}}, "with a region the mode"),
    ],
)
def test_arguments_that_contradict_each_other(
    session: Session, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        to_icechunk(dataset(), session, **arguments)
    assert not session.has_uncommitted_changes


def test_encoding_is_used_and_left_as_it_was(session: Session, kind: Callable[[Any], Any]) -> None:
    encoding = {
        "rain": {"chunks": (3, 2), "shards": (3, 6), "fill_value": -1},
        "air": {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -9999, "chunks": (3, 6)},
    }
    before = {name: dict(each) for name, each in encoding.items()}
    to_icechunk(kind(dataset()), session, encoding=encoding)
    assert encoding == before
    rain = zarr.open_array(session.store, path="rain", mode="r")
    assert (rain.chunks, rain.shards, rain.fill_value) == ((3, 2), (3, 6), -1)
    assert zarr.open_array(session.store, path="air", mode="r").dtype == np.dtype("i2")
    np.testing.assert_allclose(read(session)["air"], dataset()["air"], atol=0.006)


UNALIGNED = {"chunks": {"chunks": (4, 6)}, "shards": {"chunks": (1, 6), "shards": (4, 6)}}


@pytest.mark.parametrize("what", UNALIGNED)
def test_dask_chunks_that_share_a_zarr_chunk_are_refused_before_anything_is_written(
    repo: Repository, what: str
) -> None:
    session = repo.writable_session("main")
    to_icechunk(dataset(), session, group="there")
    before = str(session.status())
    encoding = {"rain": UNALIGNED[what]}
    with pytest.raises(ValueError, match="align_chunks=True"):
        to_icechunk(dataset().chunk(time=3), session, encoding=encoding, group="new")
    assert str(session.status()) == before


@pytest.mark.parametrize("what", UNALIGNED)
def test_without_safe_chunks_they_are_warned_about(session: Session, what: str) -> None:
    data, encoding = dataset().chunk(time=3), {"rain": UNALIGNED[what]}
    with (
        pytest.warns(UserWarning, match=r"one chunk or shard of `rain`: they meet at index 3 of axis 0"),
        dask.config.set(scheduler="synchronous"),
    ):
        to_icechunk(data, session, encoding=encoding, safe_chunks=False)
    xr.testing.assert_identical(read(session), dataset())


@pytest.mark.parametrize("what", UNALIGNED)
@pytest.mark.parametrize("by", [1, 3, 5])
def test_align_chunks_rechunks(session: Session, what: str, by: int) -> None:
    to_icechunk(dataset().chunk(time=by), session, encoding={"rain": UNALIGNED[what]}, align_chunks=True)
    xr.testing.assert_identical(read(session), dataset())


def test_chunks_are_counted_from_where_the_data_begins(session: Session) -> None:
    """In what is appended, and in a region: two chunks of 4 fit together only where the array says so."""
    whole = dataset()
    one = {"rain": {"chunks": (4, 6)}, "air": {"chunks": (4, 6)}, "flag": {"chunks": (4,)}}
    one["time"] = {"chunks": (4,)}
    to_icechunk(whole.isel(time=slice(6)), session, encoding=one)
    rest = whole.isel(time=slice(6, 12))
    with pytest.raises(ValueError, match="align_chunks"):
        to_icechunk(rest.chunk(time=4), session, append_dim="time")
    assert read(session).sizes["time"] == 6
    to_icechunk(rest.chunk(time=(2, 4)), session, append_dim="time")
    xr.testing.assert_identical(read(session), whole)
    part = (whole[["rain"]] + 1).isel(time=slice(3, 11)).drop_vars(("x", "flag"))
    with pytest.raises(ValueError, match="align_chunks"):
        to_icechunk(part.chunk(time=4), session, region={"time": slice(3, 11)}, mode="a")
    to_icechunk(part.chunk(time=4), session, region={"time": slice(3, 11)}, mode="a", align_chunks=True)
    assert (read(session)["rain"] - whole["rain"]).sum("x").values.tolist() == [0] * 3 + [6] * 8 + [0]


def test_a_refused_layout_leaves_the_session_as_it_was(session: Session) -> None:
    to_icechunk(dataset(), session)
    before = str(session.status())
    other = dataset(9).chunk(time=3).assign(new=("time", dask.array.zeros(9, chunks=3)))
    with pytest.raises(ValueError, match="different dimension sizes"):
        to_icechunk(other, session, mode="a")
    assert str(session.status()) == before


def documents(session: Session) -> dict[str, bytes]:
    """The metadata of all nodes by key."""
    found = {key: session.store.get_sync(key) for key in session.store.list() if key.endswith("zarr.json")}
    return {key: value.to_bytes() for key, value in found.items() if value is not None}


def tree(kind: Callable[[Any], Any]) -> xr.DataTree:
    """Coordinates that are inherited, a group without variables, and dimensions of one name that differ."""
    weather = dataset()
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(coords={"x": weather["x"]}, attrs={"title": "all"}),
            "/north": kind(weather.drop_vars("x")),
            "/north/raw": kind(weather[["rain"]].isel(time=slice(6)).drop_vars(("x", "time"))).rename(
                time="t"
            ),
            "/south/far": kind(dataset(9).drop_vars("x")),
        }
    )


@pytest.mark.parametrize("group", [None, "deep/down"])
def test_a_tree_becomes_groups(session: Session, kind: Callable[[Any], Any], group: str | None) -> None:
    to_icechunk(tree(kind), session, group=group)
    xr.testing.assert_identical(read_tree(session, group), tree(KINDS["memory"]))
    root = zarr.open_group(session.store, path=group or "", mode="r")
    # What is inherited is written once.
    assert "x" in root
    assert "x" not in zarr.open_group(root.store, path=f"{root.path}/north", mode="r")


def test_a_tree_written_by_xarray_is_the_same(repo: Repository, kind: Callable[[Any], Any]) -> None:
    ours, theirs = repo.writable_session("main"), repo.writable_session("main")
    to_icechunk(tree(kind), ours)
    tree(kind).to_zarr(theirs.store, consolidated=False)
    assert documents(ours) == documents(theirs)
    xr.testing.assert_identical(read_tree(ours), read_tree(theirs))


def test_a_part_of_a_tree_is_written_as_a_root(session: Session, kind: Callable[[Any], Any]) -> None:
    north = tree(kind)["north"]
    to_icechunk(north, session)
    # With what it inherits, as nothing is above it any more.
    assert read_tree(session).groups == ("/", "/raw")
    xr.testing.assert_identical(read(session), north.to_dataset().compute())


def test_modes_and_encoding_of_a_tree(session: Session, kind: Callable[[Any], Any]) -> None:
    to_icechunk(tree(kind), session)
    with pytest.raises(FileExistsError):
        to_icechunk(tree(kind), session)
    encoding = {"/north": {"rain": {"chunks": (1, 6)}}}
    to_icechunk(tree(kind), session, mode="w", encoding=encoding)
    xr.testing.assert_identical(read_tree(session), tree(KINDS["memory"]))
    assert zarr.open_array(session.store, path="north/rain", mode="r").chunks == (1, 6)
    with pytest.raises(ValueError, match="/nowhere"):
        to_icechunk(tree(kind), session, mode="w", encoding={"/nowhere": {}})
    small = xr.DataTree.from_dict({"/only": kind(dataset())})
    to_icechunk(small, session, mode="w")
    assert read_tree(session).groups == ("/", "/only")


def test_a_tree_is_appended_where_it_has_the_dimension(session: Session, kind: Callable[[Any], Any]) -> None:
    def part(times: slice) -> xr.DataTree:
        weather = dataset().isel(time=times)
        nodes = {"/a": kind(weather), "/a/b": xr.Dataset({"c": ("q", np.arange(4))})}
        return xr.DataTree.from_dict(nodes)

    to_icechunk(part(slice(6)), session)
    to_icechunk(part(slice(6, 12)), session, append_dim="time")
    xr.testing.assert_identical(read_tree(session).load(), part(slice(12)).load())
    with pytest.raises(ValueError, match="no node of the tree has the dimension 'depth'"):
        to_icechunk(part(slice(6)), session, append_dim="depth")


def test_a_region_of_a_tree(session: Session, kind: Callable[[Any], Any]) -> None:
    whole = xr.DataTree.from_dict({"/a": kind(dataset()), "/b/c": kind(dataset())})
    to_icechunk(whole, session)
    part = dataset()[["air"]].isel(time=slice(3, 6)).drop_vars(("x", "flag")) + 1
    changes = xr.DataTree.from_dict({"/a": kind(part), "/b/c": kind(part)})
    to_icechunk(changes, session, region={"time": slice(3, 6)})
    for group in ("a", "b/c"):
        np.testing.assert_allclose(read(session, group)["air"][3:6], dataset()["air"][3:6] + 1)
        np.testing.assert_allclose(read(session, group)["air"][6:], dataset()["air"][6:])
    with pytest.raises(ValueError, match="has to be given in slices"):
        to_icechunk(changes, session, region="auto")
    with pytest.raises(ValueError, match="`/d` has none of the dimensions"):
        to_icechunk(
            changes.assign(d=xr.DataTree(xr.Dataset({"e": 1}))), session, region={"time": slice(3, 6)}
        )


def test_what_else_is_refused(repo: Repository) -> None:
    session = repo.writable_session("main")
    with pytest.raises(TypeError, match="Dataset, DataArray or DataTree can be written, not int"):
        to_icechunk(3, session)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="IcechunkStore: pass its `session`"):
        to_icechunk(dataset(), session.store)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"not into builtins\.str"):
        to_icechunk(dataset(), "repository")  # type: ignore[arg-type]
    with pytest.raises(icechunk.ReadOnlyError, match="writable_session") as caught:
        to_icechunk(dataset(), repo.readonly_session("main"))
    assert caught.value.kind == "read-only-session"
    with pytest.raises(TypeError, match="the name of a variable"):
        to_icechunk(xr.Dataset({1: ("x", [1])}), session)
    with pytest.raises(ValueError, match="must not be empty"):
        to_icechunk(xr.Dataset({"": ("x", [1])}), session)
    assert not session.has_uncommitted_changes


def test_rearranging_sessions_are_refused() -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    with pytest.raises(icechunk.SessionStateError):
        to_icechunk(dataset(), repo.rearrange_session("main"))
