"""Xarray's datasets, arrays and trees, written into a session.

xarray decides how its objects look as Zarr arrays, and lays them out: it is handed the session's
store, and a writer that takes the values. In-memory values are written at once. Dask arrays are
put aside until everything is laid out, and then written together, so that what they have in common
is computed once: by one fork of the session where Dask runs in threads, else by several. So what
they are computed from, if that is read from the session, stays as it is until all are written. Into
a group that is not there yet threads write straight into the session.

What Dask writes in parallel is laid out twice, and first in a draft of the session. So a layout
that is refused leaves the session as it was.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import zarr
from xarray import DataArray, Dataset, DataTree
from xarray.backends import ZarrStore

from icechunk._core.paths import node_path
from icechunk._core.session_state import SessionState
from icechunk.session import ForkSession, Session
from icechunk.store import IcechunkStore
from icechunk.types import SessionMode

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, MutableMapping

    from icechunk.dask import Placement

__all__ = ["to_icechunk"]

Mode = Literal["w", "w-", "a", "a-", "r+"]
Region = Mapping[str, slice | Literal["auto"]] | Literal["auto"] | None

CHUNKS_APART = (
    "rechunk the data with `chunk()`, pass `align_chunks=True`, or choose other chunks in `encoding`"
)

# Under these names xarray looks for an array that has none, or none that its dataset could have.
ARRAY_VARIABLE = "__xarray_dataarray_variable__"
ARRAY_NAME = "__xarray_dataarray_name__"


def to_icechunk(
    obj: DataArray | Dataset | DataTree,
    session: Session,
    *,
    group: str | None = None,
    mode: Mode | None = None,
    safe_chunks: bool = True,
    align_chunks: bool = False,
    append_dim: Hashable | None = None,
    region: Region = None,
    encoding: Mapping[Any, Any] | None = None,
    chunkmanager_store_kwargs: MutableMapping[Any, Any] | None = None,
    split_every: int | None = None,
) -> None:
    """Write a dataset, an array or a tree into a session, to be committed by the caller.

    Data in memory is written by this thread. Dask arrays are computed and written where Dask runs, and
    may be computed from what the session has, be it from what they replace.

    Parameters
    ----------
    obj : xarray.DataArray or xarray.Dataset or xarray.DataTree
        An array without a name is written as xarray's `DataArray.to_zarr` would. The nodes of a
        tree become groups; what a node inherits is written once, where it belongs.
    session : Session
        A writable session, or a fork of one.
    group : str, optional
        The path of the group to write to, the root by default. It is made if it is missing.
    mode : {"w", "w-", "a", "a-", "r+"}, optional
        As in `Dataset.to_zarr`: "w" replaces the group, "w-" refuses one that exists, "a" replaces or
        adds variables, "a-" only adds to those with `append_dim`, "r+" only changes values. By default
        "a" with `append_dim`, "r+" with `region`, and "w-" otherwise.
    safe_chunks : bool, default True
        Refuse to let two Dask chunks write to one Zarr chunk or shard, where one would undo what
        the other wrote. False turns the refusal into a warning.
    align_chunks : bool, default False
        Rechunk Dask arrays so that none does.
    append_dim : hashable, optional
        The dimension to append along. In a tree, nodes without it are written as by `mode`.
    region : dict or "auto", optional
        Slices of the dimensions to write to, or "auto" to find them by coordinates. In a tree with
        children slices only.
    encoding : dict, optional
        Zarr's encoding of variables by name; for a tree a dict of these by the paths of its nodes.
    chunkmanager_store_kwargs : dict, optional
        Passed on to `dask.compute`, such as `scheduler`.
    split_every : int, optional
        How many forks one Dask task merges; 16 by default.

    Raises
    ------
    TypeError
        `obj` or `session` are of another type.
    ReadOnlyError
        Kind `read-only-session`.
    ValueError
        Arguments that contradict each other or what is there; Dask chunks that share a Zarr chunk.

    Examples
    --------
    >>> import icechunk, icechunk.xarray, numpy, xarray
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> air = xarray.Dataset({"air": ("time", numpy.arange(3.0))}, {"time": [10, 11, 12]})
    >>> session = repo.writable_session("main")
    >>> icechunk.xarray.to_icechunk(air.chunk(time=1), session)
    >>> icechunk.xarray.to_icechunk(air.assign_coords(time=[13, 14, 15]), session, append_dim="time")
    >>> _ = session.commit("Six hours")
    >>> xarray.open_zarr(repo.readonly_session("main").store, consolidated=False).time.values.tolist()
    [10, 11, 12, 13, 14, 15]
    """
    _check_session(session)
    if encoding and isinstance(obj, DataTree) and not set(encoding) <= set(obj.groups):
        raise ValueError(
            f"`encoding` names groups that the tree does not have: {set(encoding) - set(obj.groups)}"
        )
    chosen = _choose_mode(mode, append_dim, region)
    parts = list(_parts(obj, _Part(Dataset(), group or "", chosen, append_dim, region, dict(encoding or {}))))
    safe = safe_chunks and not align_chunks
    if not any(part.has_dask() for part in parts):
        _lay_out(parts, session, safe)
        return
    # Nothing else needs Dask to be installed.
    from icechunk.dask import Placement

    def placements(into: Session, *, dry: bool) -> list[Placement]:
        sent = _lay_out(parts, into, safe, dry=dry)
        found = [Placement.of(*each) for each in sent]
        return [each.aligned() for each in found] if align_chunks else found

    for each in placements(_draft(session), dry=True):
        if problem := each.shared_chunk():
            if safe_chunks:
                raise ValueError(f"{problem}: {CHUNKS_APART}")
            warnings.warn(f"{problem}: {CHUNKS_APART}", UserWarning, stacklevel=2)
    # What is there may be what the values are computed from, so it has to stay until all are.
    is_there = session._state.find(node_path(f"/{group or ''}")) is not None
    into = session.fork() if is_there else session
    _write(placements(into, dry=False), into, session, split_every, dict(chunkmanager_store_kwargs or {}))
    if into is not session:
        assert isinstance(into, ForkSession)
        session.merge(into)


@dataclass(frozen=True, slots=True)
class _Part:
    """A dataset and how it is written to a group."""

    dataset: Dataset
    group: str
    mode: Mode
    append_dim: Hashable | None
    region: Region
    encoding: dict[Any, Any]

    def has_dask(self) -> bool:
        return any(_is_dask(variable) for variable in self.dataset.variables.values())

    def lay_out(self, store: IcechunkStore, writer: _Writer, safe_chunks: bool) -> None:
        """Make or change groups and arrays of a store, and hand the values to a writer."""
        # xarray changes what it is given.
        region = dict(self.region) if isinstance(self.region, Mapping) else self.region
        encoding = {name: dict(each) for name, each in self.encoding.items()}
        dataset = self.dataset.copy()
        for variable in dataset.variables.values():
            # Nothing to compute, or perhaps read from what is about to be replaced.
            if not variable.size or (self.mode == "w" and not _is_dask(variable)):
                variable.load()
        target = ZarrStore.open_group(
            store,
            mode=self.mode,
            group=self.group,
            consolidated=False,
            append_dim=self.append_dim,
            write_region=region,
            safe_chunks=safe_chunks,
            zarr_format=3,
        )
        dataset = target._validate_and_autodetect_region(dataset)
        target._validate_encoding(encoding)
        dataset.dump_to_store(target, writer=writer, encoding=encoding)


@dataclass(slots=True)
class _Writer:
    """Takes values from xarray: writes those in memory, unless it is `dry`, and keeps Dask arrays."""

    dry: bool
    kept: list[tuple[Any, zarr.Array[Any], tuple[slice, ...] | None]] = field(default_factory=list)

    def add(self, source: Any, target: zarr.Array[Any], region: tuple[slice, ...] | None = None) -> None:
        if _is_dask(source):
            self.kept.append((source, target, region))
        elif not self.dry:
            target[region or ...] = source


def _write(
    writes: list[Placement],
    into: Session,
    source: Session,
    split_every: int | None,
    options: dict[str, Any],
) -> None:
    """Compute and write Dask arrays that may have been read from the session `source`."""
    from icechunk.dask import in_this_process, write_blocks

    if not writes:
        return  # all of them are empty
    if in_this_process(writes, options):
        write_blocks(writes, split_every, options)
        return
    fork = into.fork()
    with source.allow_pickling():
        merged = write_blocks([each.on(fork) for each in writes], split_every, options)
    assert isinstance(merged, ForkSession)
    into.merge(merged)


def _lay_out(
    parts: list[_Part], session: Session, safe_chunks: bool, *, dry: bool = False
) -> list[tuple[Any, zarr.Array[Any], tuple[slice, ...] | None]]:
    """Lay out all parts; returns the Dask arrays with the arrays and regions that they go to."""
    writer = _Writer(dry)
    for part in parts:
        part.lay_out(session.store, writer, safe_chunks)
    return writer.kept


def _parts(obj: DataArray | Dataset | DataTree, whole: _Part) -> Iterator[_Part]:
    """Datasets with their groups, parents first."""
    if isinstance(obj, DataTree):
        yield from _nodes(obj, whole)
        return
    if isinstance(obj, DataArray):
        obj = _as_dataset(obj)
    elif not isinstance(obj, Dataset):
        raise TypeError(f"an xarray Dataset, DataArray or DataTree can be written, not {type(obj).__name__}")
    yield replace(whole, dataset=_with_names(obj))


def _nodes(tree: DataTree, whole: _Part) -> Iterator[_Part]:
    if tree.children and whole.region is not None and _is_auto(whole.region):
        raise ValueError(
            "the region of a tree with children has to be given in slices: coordinates that a node inherits "
            "are not in its group, to find its place by"
        )
    if whole.append_dim is not None and not any(whole.append_dim in node.dims for node in tree.subtree):
        raise ValueError(f"no node of the tree has the dimension {whole.append_dim!r} to append along")
    for node in tree.subtree:
        dataset = _with_names(node.to_dataset(inherit=node is tree))
        below = node.path.removeprefix(tree.path).strip("/")
        append_dim = whole.append_dim if whole.append_dim in dataset.dims else None
        region = whole.region
        if isinstance(region, Mapping):
            region = {dim: each for dim, each in region.items() if dim in dataset.dims}
            if not region and not dataset.variables:
                continue  # a group that only holds others
            if not region:
                raise ValueError(f"`{node.path}` has none of the dimensions of the region: leave it out")
        yield replace(
            whole,
            dataset=dataset,
            group="/".join(filter(None, (whole.group.strip("/"), below))),
            # What was there was removed, or refused, with the root.
            mode="a" if node is not tree and whole.mode in ("w", "w-") else whole.mode,
            append_dim=append_dim,
            region=region,
            encoding=dict(whole.encoding.get(node.path, {})),
        )


def _as_dataset(array: DataArray) -> Dataset:
    if array.name is None:
        return array.to_dataset(name=ARRAY_VARIABLE)
    if array.name not in array.coords and array.name not in array.dims:
        return array.to_dataset()
    dataset = array.to_dataset(name=ARRAY_VARIABLE)
    dataset.attrs[ARRAY_NAME] = array.name
    return dataset


def _with_names(dataset: Dataset) -> Dataset:
    """Refuse variables that cannot be nodes."""
    for name in dataset.variables:
        if not isinstance(name, str):
            raise TypeError(f"the name of a variable has to be a string to be written, not {name!r}")
        if not name:
            raise ValueError("the name of a variable must not be empty")
    return dataset


def _choose_mode(mode: Mode | None, append_dim: Hashable | None, region: Region) -> Mode:
    if mode is None:
        return "a" if append_dim is not None else "w-" if region is None else "r+"
    if mode not in ("w", "w-", "a", "a-", "r+"):
        raise ValueError(f"mode is one of 'w', 'w-', 'a', 'a-' and 'r+', not {mode!r}")
    if append_dim is not None and mode not in ("a", "a-"):
        raise ValueError(f"with append_dim the mode is 'a' or 'a-', not {mode!r}")
    if region is not None and mode not in ("a", "a-", "r+"):
        raise ValueError(f"with a region the mode is 'a', 'a-' or 'r+', not {mode!r}")
    return mode


def _is_auto(region: Region) -> bool:
    return "auto" in region.values() if isinstance(region, Mapping) else region == "auto"


def _is_dask(data: Any) -> bool:
    """Whether a variable or an array is computed by Dask, whichever package the array is from."""
    return hasattr(type(data), "__dask_graph__") and getattr(data, "chunks", None) is not None


def _check_session(session: Session) -> None:
    if not isinstance(session, Session):
        hint = ": pass its `session`" if isinstance(session, IcechunkStore) else ""
        raise TypeError(
            f"data is written into an icechunk Session, as from `Repository.writable_session`, not into "
            f"{type(session).__module__}.{type(session).__qualname__}{hint}"
        )
    session._state.check_writable()


def _draft(session: Session) -> Session:
    """A session with the same nodes and chunks, which nobody will commit."""
    frozen = session._state.frozen()
    state = SessionState(
        frozen.base,
        session._state.spec_version,
        branch=None,
        mode=SessionMode.writable,
        commit_metadata={},
    )
    state.changes = frozen.frozen()
    return Session._over(state, session._cache, session._config, session._virtual_access)
