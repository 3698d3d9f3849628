"""Mistakes and questions about chunks of arrays, and about moving them; see `misuse`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import cpu

from tests.compat.misuse import Ground, case, case_of_spec_2, each

PATHS = {
    "group": "/g",
    "root": "/",
    "missing": "/nope",
    "relative": "a",
    "empty": "",
    "dots": "/g/../a",
}


def _forget(ground: Ground, index: int) -> None:
    """Delete a chunk of `/a`."""
    asyncio.run(ground.writable.store.delete(f"a/c/{index}"))


def _after(ground: Ground) -> Any:
    """What the writable session says of `/a`."""
    session = ground.writable
    values: Any = zarr.open_array(session.store, path="a", mode="r")
    changed = session.status().updated_chunks
    return [
        values[:].tolist(),
        session.has_uncommitted_changes,
        {path: [list(each) for each in chunks] for path, chunks in changed.items()},
    ]


# What chunks are


@each(
    first=[0],
    last=(3,),
    beyond=[4],
    negative=[-1],
    huge=[2**32],
    too_many=[0, 0],
    too_few=[],
    float=[0.0],
    text=["0"],
    characters="0",
    bare=0,
    nothing=None,
    numpy=np.array([0]),
    bool=[True],
)
def _chunk_type(ground: Ground, coordinates: Any) -> Any:
    return str(ground.readonly.chunk_type("/a", coordinates))


@each(**PATHS)
def _chunk_type_at(ground: Ground, path: str) -> Any:
    return ground.readonly.chunk_type(path, [0])


@case
def _chunk_type_of_a_scalar(ground: Ground) -> Any:
    before = str(ground.writable.chunk_type("/g/scalar", []))
    scalar: Any = zarr.open_array(ground.writable.store, path="g/scalar")
    scalar[()] = 3
    return [before, str(ground.writable.chunk_type("/g/scalar", ()))]


@case
def _chunk_type_after_changes(ground: Ground) -> Any:
    array: Any = zarr.open_array(ground.writable.store, path="a")
    array[0] = 5
    _forget(ground, 1)
    return [str(ground.writable.chunk_type("/a", [index])) for index in range(4)]


@each(**{name: path for name, path in PATHS.items() if name not in ("group", "root", "dots")})
def _node_id(ground: Ground, path: str) -> Any:
    return ground.readonly.get_node_id(path)


@each(**{name: path for name, path in PATHS.items() if name not in ("relative", "empty", "dots")})
def _coordinates(ground: Ground, path: str) -> Any:
    return asyncio.run(_listed(ground.readonly, path))


@each(nothing=None, float=1.5, text="1")
def _coordinates_by(ground: Ground, batch_size: Any) -> Any:
    return asyncio.run(_listed(ground.readonly, "/a", batch_size))


async def _listed(session: Any, *args: Any) -> list[list[int]]:
    return [list(each) async for each in session.chunk_coordinates(*args)]


@case
def _coordinates_of_arrays(ground: Ground) -> Any:
    session = ground.readonly
    return [asyncio.run(_listed(session, path)) for path in ("/a", "/g/plane", "/g/scalar", "/g/empty")]


@case
def _coordinates_after_changes(ground: Ground) -> Any:
    array: Any = zarr.open_array(ground.writable.store, path="a")
    array[6] = 5
    _forget(ground, 1)
    return asyncio.run(_listed(ground.writable, "/a"))


# Shifting


@each(
    forward=[1],
    backward=(-2,),
    nothing=[0],
    all=[4],
    far=[-(2**63)],
    farther=[2**63],
    too_many=[1, 0],
    float=[1.0],
    text=["1"],
    characters="1",
    bare=1,
    none=None,
    numpy=np.array([1]),
    bool=[True],
    iterator=range(1, 2),
    keys={1: 2},
)
def _shift(ground: Ground, offset: Any) -> Any:
    ground.writable.shift_array("/a", offset)
    return _after(ground)


@each(**PATHS)
def _shift_at(ground: Ground, path: str) -> Any:
    return ground.writable.shift_array(path, [1])


@each(array="/a", **PATHS)
def _shift_read_only(ground: Ground, path: str) -> Any:
    return ground.readonly.shift_array(path, [1])


@case_of_spec_2
def _shift_while_rearranging(ground: Ground) -> Any:
    return ground.repository.rearrange_session("main").shift_array("/a", [1])


@case
def _shift_after_deleting(ground: Ground) -> Any:
    _forget(ground, 1)
    ground.writable.shift_array("/a", [1])
    return _after(ground)


@case
def _shift_a_scalar(ground: Ground) -> Any:
    scalar: Any = zarr.open_array(ground.writable.store, path="g/scalar")
    scalar[()] = 3
    ground.writable.shift_array("/g/scalar", [])
    return scalar[()].tolist()


@case
def _shift_nothing_there(ground: Ground) -> Any:
    ground.writable.shift_array("/g/empty", [1])
    return _after(ground)


@each(even=[2, 2, 2], uneven=[1, 2, 3])
def _shift_irregular(ground: Ground, sizes: list[int]) -> Any:
    grid = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [sizes]}}
    document = {"node_type": "array", "shape": [6], "chunk_grid": grid}
    store = ground.writable.store
    asyncio.run(store.set("new/zarr.json", cpu.Buffer.from_bytes(json.dumps(document).encode())))
    return ground.writable.shift_array("/new", [1])


# Reindexing


def _failing(chunk: list[int]) -> Any:
    raise LookupError(chunk)


@each(
    identity=lambda chunk: chunk,
    mirror=lambda chunk: [3 - chunk[0]],
    next=lambda chunk: (chunk[0] + 1,) if chunk[0] < 3 else None,
    none=lambda _: None,
    all_to_one=lambda _: [2],
    numpy=lambda chunk: np.array([3 - chunk[0]]),
    outside=lambda _: [4],
    negative=lambda _: [-1],
    huge=lambda _: [2**70],
    too_few=lambda _: [],
    too_many=lambda _: [0, 0],
    float=lambda _: [0.0],
    text=lambda _: "0",
    number=lambda _: 0,
    iterator=lambda _: iter([0]),
    failing=_failing,
    two_arguments=lambda chunk, other: chunk,  # noqa: ARG005
    no_function=3,
    nothing=None,
    callable=list,
)
def _reindex(ground: Ground, forward: Any) -> Any:
    ground.writable.reindex_array("/a", forward)
    return _after(ground)


@each(
    none=lambda _: None,
    present=lambda _: [0],
    outside=lambda _: [4],
    inverse=lambda chunk: [chunk[0] - 1] if chunk[0] else None,
    negative=lambda _: [-1],
    too_few=lambda _: [],
    float=lambda _: [0.0],
    failing=_failing,
    no_function=3,
)
def _reindex_back(ground: Ground, backward: Any) -> Any:
    ground.writable.reindex_array("/a", lambda chunk: [chunk[0] + 1] if chunk[0] < 2 else None, backward)
    return _after(ground)


@each(**PATHS)
def _reindex_at(ground: Ground, path: str) -> Any:
    return ground.writable.reindex_array(path, lambda chunk: chunk)


@each(array="/a", **PATHS)
def _reindex_read_only(ground: Ground, path: str) -> Any:
    return ground.readonly.reindex_array(path, lambda chunk: chunk)


@case
def _reindex_after_deleting(ground: Ground) -> Any:
    _forget(ground, 0)
    ground.writable.reindex_array("/a", lambda chunk: [chunk[0] + 1] if chunk[0] < 3 else None)
    return _after(ground)


@case
def _reindex_to_one_place_after_writing(ground: Ground) -> Any:
    array: Any = zarr.open_array(ground.writable.store, path="a")
    array[2:4] = 9
    ground.writable.reindex_array("/a", lambda _: [0])
    return _after(ground)
