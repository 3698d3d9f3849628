"""Dask arrays, written into Zarr arrays by whoever computes them.

Each block of a source is one task: it writes the block with the fork of a session that came with
the task, and answers with that fork. Forks are merged in a tree of tasks, so that no process
receives more than a few at a time, and one comes back.

In one process all tasks share one session and nothing is copied or pickled.
"""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from math import isnan
from multiprocessing.pool import ThreadPool
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

import dask
import dask.local
import dask.threaded
import numpy as np
import zarr
from dask.array import optimize as optimize_arrays
from dask.base import compute, get_scheduler
from dask.core import flatten
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.layers import ArraySliceDep
from zarr.storage import StorePath

from icechunk._core.write_grid import chunk_span, meeting_boxes, split_chunk, whole_chunks
from icechunk._io.random import random_uuid
from icechunk.distributed import extract_session, merge_sessions
from icechunk.session import ForkSession, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from icechunk._core.write_grid import AxisGrid

__all__ = ["session_merge_reduction", "store_dask"]

SPLIT_EVERY = 16
"""How many forks one task merges, unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A Dask array, the Zarr array that it is written to, and where.

    For each axis of the Zarr array `region` has the indices that are written, or one index where the Dask
    array has no such axis.
    """

    source: Any
    target: zarr.Array[Any]
    region: tuple[range | int, ...]

    @classmethod
    def of(cls, source: Any, target: zarr.Array[Any], region: Iterable[Any] | None) -> Placement:
        """Check that a source fits into a region of a target."""
        name = target.path or "/"
        if not hasattr(source, "chunks"):
            raise ValueError(f"what is written to `{name}` has to be a Dask array: {type(source).__name__}")
        if any(isnan(length) for axis in source.chunks for length in axis):
            raise ValueError(
                f"the blocks to be written to `{name}` have unknown lengths: call `compute_chunk_sizes()` "
                "on the Dask array first"
            )
        given = tuple(region or ())
        whole = (slice(None),) * (target.ndim - len(given))
        where = [
            each
            for selected, length in zip(given + whole, target.shape, strict=False)
            if (each := _indices(selected, length)) is not None
        ]
        if len(where) != len(given + whole):
            raise ValueError(
                f"a region of `{name}`, with shape {target.shape}, has to be slices without a step or "
                f"indices, one for each axis at most, and not {region!r}"
            )
        shape = tuple(len(each) for each in where if isinstance(each, range))
        if shape != source.shape:
            raise ValueError(
                f"a Dask array of shape {source.shape} does not fit into the part of `{name}` that it "
                f"shall be written to, which has the shape {shape}"
            )
        return cls(source, target, tuple(where))

    def _axes(self) -> Iterator[tuple[int, tuple[tuple[int, ...], AxisGrid, int]]]:
        """The axes of the target that the source has, and for each the blocks, the chunks, and the start."""
        blocks = iter(self.source.chunks)
        for axis, (where, grid) in enumerate(zip(self.region, write_grid(self.target), strict=True)):
            if isinstance(where, range):
                yield axis, (next(blocks), grid, where.start)

    def shared_chunk(self) -> str | None:
        """Says where two blocks write parts of one chunk or shard; None if they never do."""
        for axis, (blocks, grid, start) in self._axes():
            at = split_chunk(blocks, grid, start)
            if at is not None:
                return (
                    f"two Dask chunks would write parts of one chunk or shard of `{self.target.path}`: "
                    f"they meet at index {at} of axis {axis}, where the Zarr array is written in pieces "
                    f"of {grid}. Written in parallel, one part would be lost"
                )
        return None

    def aligned(self) -> Placement:
        """The same array in other blocks, which share no chunk or shard."""
        blocks = tuple(whole_chunks(*axis) for _, axis in self._axes())
        return replace(self, source=self.source.rechunk(blocks))

    def chunk_box(self) -> list[tuple[int, int]]:
        """Along each axis where the first and the last chunk or shard begin that are written to."""
        return list(map(chunk_span, self.region, write_grid(self.target)))

    def on(self, session: Session) -> Placement:
        """The same array of another session."""
        there = self.target.async_array
        path = StorePath(session.store, self.target.path)
        return replace(self, target=zarr.Array(zarr.AsyncArray(there.metadata, path, there.config)))

    def graph(self, *, shared: bool) -> Any:
        """A Dask array that has for each block the session which wrote it.

        A target that is not `shared` by all tasks is pickled here: a scheduler that runs elsewhere need
        not open it, and what fails when it is opened is the task.
        """
        return self.source.map_blocks(
            _write_block,
            self.target if shared else pickle.dumps(self.target),
            ArraySliceDep(self.source.chunks),
            region=self.region,
            # Unique: a write is no value that may be taken from an earlier computation.
            name=f"icechunk-write-{random_uuid()}",
            dtype=object,
            meta=np.empty((0,) * self.source.ndim, dtype=object),
        )


def store_dask(
    *,
    sources: list[Any],
    targets: list[zarr.Array[Any]],
    regions: list[tuple[slice | int, ...]] | tuple[slice | int, ...] | None = None,
    split_every: int | None = None,
    **store_kwargs: Any,
) -> ForkSession:
    """Write Dask arrays to Zarr arrays of a fork, wherever Dask computes them.

    Parameters
    ----------
    sources : list of dask.array.Array
        No two blocks should write to the same chunk or shard of a target, whether they are of one
        source or of several; if they would, a `UserWarning` says where before anything is written.
    targets : list of zarr.Array
        One for each source, on the store of a fork: see `Session.fork`.
    regions : list of tuple of slice or int, or one such tuple, optional
        The part of each target, or of all of them, that is written. The whole by default. An index
        stands for an axis that the source does not have.
    split_every : int, optional
        How many forks one task merges; 16 by default.
    **store_kwargs
        Passed on to `dask.compute`, such as `scheduler`.

    Returns
    -------
    ForkSession
        A fork with everything that was written. It counts once a session has merged it.

    Raises
    ------
    TypeError
        A target does not belong to a fork.
    ValueError
        The lists have different lengths or are empty, or a source does not fit into its region.

    Examples
    --------
    >>> import dask.array, icechunk, icechunk.dask, zarr
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> session = repo.writable_session("main")
    >>> _ = zarr.create_array(session.store, name="a", shape=(6,), chunks=(2,), dtype="i8")
    >>> fork = session.fork()
    >>> target = zarr.open_array(fork.store, path="a")
    >>> session.merge(icechunk.dask.store_dask(sources=[dask.array.arange(6, chunks=2)], targets=[target]))
    >>> zarr.open_array(session.store, path="a")[:].tolist()
    [0, 1, 2, 3, 4, 5]
    """
    sources, targets = _listed(sources), _listed(targets)
    each_region = [regions] * len(sources) if regions is None or isinstance(regions, tuple) else regions
    if not len(sources) == len(targets) == len(each_region) or not sources:
        raise ValueError(
            f"there have to be as many targets and regions as sources, and one at least: there are "
            f"{len(sources)} sources, {len(targets)} targets and {len(each_region)} regions"
        )
    for target in targets:
        if not isinstance(getattr(target.store, "session", None), ForkSession):
            raise TypeError(
                f"the target `{target.path}` does not belong to a fork: call `session.fork()`, open the "
                "array on the store of the fork, and merge what `store_dask` returns into the session"
            )
    writes = list(map(Placement.of, sources, targets, each_region))
    problems = [f"{problem}: rechunk the Dask array" for write in writes if (problem := write.shared_chunk())]
    for problem in [*problems, *_shared_by_sources(writes)]:
        warnings.warn(problem, UserWarning, stacklevel=2)
    merged = write_blocks(writes, split_every, store_kwargs)
    assert isinstance(merged, ForkSession)
    return merged


def session_merge_reduction(arrays: Any, *, split_every: int | None, **store_kwargs: Any) -> ForkSession:
    """Compute Dask arrays that write, and merge the forks that they wrote with.

    Parameters
    ----------
    arrays : dask.array.Array or list of dask.array.Array
        As `dask.array.store` returns them with ``compute=False, return_stored=True,
        load_stored=False``: each block is the Zarr array that was written to, on the store of a fork.
    split_every : int or None
        How many forks one task merges; 16 for None.
    **store_kwargs
        Passed on to `dask.compute`, such as `scheduler`.

    Returns
    -------
    ForkSession

    Raises
    ------
    TypeError
        What was written to does not belong to a fork.
    """
    merged = _compute_merged(_listed(arrays), split_every, store_kwargs)
    if not isinstance(merged, ForkSession):
        raise TypeError(
            "the arrays do not write to Zarr arrays of a fork: open these on `session.fork().store`"
        )
    return merged


def write_blocks(
    writes: Sequence[Placement], split_every: int | None, compute_kwargs: dict[str, Any]
) -> Session:
    """Compute and write; returns one session with all changes, a fork if the targets are on forks."""
    shared = in_this_process(writes, compute_kwargs)
    graphs = [write.graph(shared=shared) for write in writes if write.source.size]
    if not graphs:
        return extract_session(writes[0].target)
    return _compute_merged(graphs, split_every, compute_kwargs)


def in_this_process(writes: Sequence[Placement], compute_kwargs: dict[str, Any]) -> bool:
    """Whether tasks run in threads of this process, so that all may write into one session."""
    get = get_scheduler(
        scheduler=compute_kwargs.get("scheduler"), collections=[each.source for each in writes]
    )
    pool = compute_kwargs.get("pool") or dask.config.get("pool", None)
    if pool is not None and not isinstance(pool, ThreadPool | ThreadPoolExecutor):
        return False
    return get in (dask.threaded.get, dask.local.get_sync)


def _shared_by_sources(writes: Sequence[Placement]) -> Iterator[str]:
    """Says of each Zarr array where two sources write to one chunk or shard of it, if they do."""
    by_path: dict[str, list[int]] = {}
    for number, write in enumerate(writes):
        if write.source.size:
            by_path.setdefault(write.target.path, []).append(number)
    for path, numbers in by_path.items():
        meeting = meeting_boxes([writes[number].chunk_box() for number in numbers])
        if meeting is not None:
            one, other = (numbers[each] for each in meeting)
            yield (
                f"sources {one} and {other} would both write to one chunk or shard of `{path}`. Written in "
                "parallel, a part would be lost: let their regions end where chunks or shards end"
            )


def write_grid(array: zarr.Array[Any]) -> tuple[AxisGrid, ...]:
    """What an array is written in along each axis: shards if it has any, chunks otherwise."""
    try:
        return tuple(array.shards or array.chunks)
    except NotImplementedError:  # a rectilinear grid
        newer: Any = array
        return tuple(newer.write_chunk_sizes)


def _compute_merged(arrays: list[Any], split_every: int | None, compute_kwargs: dict[str, Any]) -> Session:
    """Compute the blocks, which are sessions or Zarr arrays, and merge them in a tree."""
    size = SPLIT_EVERY if split_every is None else max(split_every, 2)
    # One layer for the whole tree: a `delayed` call for each task would look at the whole graph each time.
    name = f"icechunk-merge-{random_uuid()}"
    tasks: dict[Any, Any] = {}
    level = list(chain.from_iterable(flatten(array.__dask_keys__()) for array in arrays))
    while len(level) > 1 or not tasks:
        merges = {
            (name, len(tasks) + number): (_merge, level[at : at + size])
            for number, at in enumerate(range(0, len(level), size))
        }
        tasks |= merges
        level = list(merges)
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=arrays)
    # Optimized as arrays, and together: what they have in common is computed once, and tasks are fused.
    with dask.config.set(delayed_optimize=optimize_arrays):
        merged: Session = compute(Delayed(level[0], graph, layer=name), **compute_kwargs)[0]
    return merged


def _write_block(
    block: Any, target: zarr.Array[Any] | bytes, within: tuple[slice, ...], *, region: tuple[range | int, ...]
) -> Session:
    """A task: write one block of a source, which is that part of it that `within` says, into a region."""
    array = pickle.loads(target) if isinstance(target, bytes) else target
    parts = iter(within)
    where = tuple(_part(each, next(parts)) if isinstance(each, range) else each for each in region)
    array[where] = block
    return extract_session(array)


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _part(indices: range, part: slice) -> slice:
    return slice(indices.start + part.start, indices.start + part.stop)


def _indices(selected: Any, length: int) -> range | int | None:
    """What a slice or an index selects of an axis; None if it is neither, has a step, or is outside."""
    if isinstance(selected, slice):
        return range(*selected.indices(length)) if selected.step in (None, 1) else None
    if not isinstance(selected, SupportsIndex) or not -length <= index(selected) < length:
        return None
    return index(selected) % length


def _merge(written: list[Any]) -> Session:
    """A task: one session for several, or for the Zarr arrays that were written with them."""
    return merge_sessions([each if isinstance(each, Session) else extract_session(each) for each in written])
