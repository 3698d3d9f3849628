"""Random stories of one array, told to both implementations: after each step both show the same array."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.buffer import cpu, default_buffer_prototype

from tests.compat.describe import error_of

if TYPE_CHECKING:
    Step = tuple[Any, ...]

LONGEST = {0: 0, 1: 9, 2: 6, 3: 4}
"""How long the dimensions of an array of so many dimensions may be."""


@st.composite
def stories(draw: st.DrawFn) -> list[Step]:
    """What happens to an array: the first step makes it, the last one commits."""
    ndim = draw(st.sampled_from([0, 1, 1, 1, 2, 2, 3]))
    chunks = [draw(st.integers(1, 3)) for _ in range(ndim)]
    length = st.integers(0, LONGEST[ndim])
    shape = [draw(length) for _ in range(ndim)]
    steps: list[Step] = [("create", tuple(shape), tuple(chunks))]
    kinds = ["write", "write", "delete", "resize", "reshape", "append", "shift", "shift", "reindex", "commit"]
    for number in range(1, draw(st.integers(2, 10))):
        kind = draw(st.sampled_from(kinds))
        grid = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
        if kind == "write":
            ends = [sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size)))) for size in shape]
            steps.append(("write", tuple(slice(*each) for each in ends), number))
        elif kind == "delete":
            steps.append(("delete", [draw(st.integers(0, count)) for count in grid]))
        elif kind in ("resize", "reshape"):
            # The official release takes the chunk 0 for one of the grid also where there is none: an array
            # that shrinks to nothing and grows again keeps it or not, depending on what is done in between.
            shape = [draw(length if kind == "resize" else st.integers(min(size, 1), 9)) for size in shape]
            steps.append((kind, tuple(shape)))
        elif kind == "append" and ndim:
            axis = draw(st.integers(0, ndim - 1))
            added = [*shape]
            added[axis] = draw(st.integers(0, 3))
            shape = [*shape]
            shape[axis] += added[axis]
            steps.append(("append", tuple(added), axis, number))
        elif kind == "shift":
            steps.append(("shift", [draw(st.integers(-3, 3) | st.sampled_from([-9, 9])) for _ in shape]))
        elif kind == "reindex":
            # The official release moves what the session deleted as well, unless that is committed.
            places = list(itertools.product(*map(range, grid)))
            sources = draw(st.lists(st.sampled_from(places), unique=True)) if places else []
            targets = draw(st.permutations(places))[: len(sources)]
            moves = dict(zip(sources, targets, strict=True))
            steps += [("commit",), ("reindex", moves, draw(st.booleans()))]
        else:
            steps.append(("commit",))
    return [*steps, ("commit",)]


class Teller:
    """Tells a story to one implementation."""

    def __init__(self, ic: Any, spec_version: int, threshold: int, split: int | None) -> None:
        config = ic.RepositoryConfig(inline_chunk_threshold_bytes=threshold)
        if split is not None:
            sizes = {ic.ManifestSplitCondition.AnyArray(): {ic.ManifestSplitDimCondition.Any(): split}}
            splitting = ic.ManifestSplittingConfig.from_dict(sizes)
            config.manifest = ic.ManifestConfig(splitting=splitting)
        self.repository = ic.Repository.create(ic.in_memory_storage(), config, spec_version=spec_version)
        self.session = self.repository.writable_session("main")

    def tell(self, step: Step) -> Any:
        """What comes of a step."""
        try:
            return getattr(self, step[0])(*step[1:])
        except Exception as error:  # the error is the answer
            return error_of(error)

    @property
    def array(self) -> Any:
        return zarr.open_array(self.session.store, path="a")

    def create(self, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
        store = self.session.store
        zarr.create_array(
            store, name="a", shape=shape, chunks=chunks, dtype="i4", compressors=None, fill_value=-1
        )

    def write(self, selection: tuple[slice, ...], value: int) -> None:
        self.array[selection] = value

    def delete(self, coordinates: list[int]) -> None:
        asyncio.run(self.session.store.delete("/".join(["a", "c", *map(str, coordinates)])))

    def resize(self, shape: tuple[int, ...]) -> None:
        self.array.resize(shape)

    def reshape(self, shape: tuple[int, ...]) -> None:
        """Resize by metadata alone: zarr's own `resize` also deletes the chunks outside."""
        store = self.session.store
        document = asyncio.run(store.get("a/zarr.json", default_buffer_prototype()))
        changed = json.loads(document.to_bytes()) | {"shape": shape}
        asyncio.run(store.set("a/zarr.json", cpu.Buffer.from_bytes(json.dumps(changed).encode())))

    def append(self, shape: tuple[int, ...], axis: int, value: int) -> None:
        self.array.append(np.full(shape, value, "i4"), axis=axis)

    def shift(self, offset: list[int]) -> None:
        self.session.shift_array("/a", offset)

    def reindex(self, moves: dict[tuple[int, ...], tuple[int, ...]], with_inverse: bool) -> None:
        inverse = {target: source for source, target in moves.items()}
        self.session.reindex_array(
            "/a",
            lambda at: moves.get(tuple(at)),
            (lambda at: inverse.get(tuple(at))) if with_inverse else None,
        )

    def commit(self) -> None:
        self.session.commit("on the way", allow_empty=True)
        self.session = self.repository.writable_session("main")

    def shown(self) -> dict[str, Any]:
        """The array and its chunks."""
        array = self.array
        grid = [-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
        session = self.session
        kinds = {
            at: str(session.chunk_type("/a", at)).rpartition(".")[2]
            for at in itertools.product(*map(range, grid))
        }
        return {"shape": array.shape, "values": array[...].tolist(), "kinds": kinds}

    def listed(self) -> list[tuple[int, ...]]:
        async def collect() -> list[tuple[int, ...]]:
            return [each async for each in self.session.chunk_coordinates("/a")]

        return asyncio.run(collect())

    def changed(self) -> set[tuple[int, ...]]:
        return {tuple(at) for chunks in self.session.status().updated_chunks.values() for at in chunks}


@settings(max_examples=150)
@given(stories(), st.sampled_from([1, 2]), st.sampled_from([0, 8, 512]), st.sampled_from([None, 1, 2]))
def test_same_array(
    ours: Any, official: Any, steps: list[Step], spec_version: int, threshold: int, split: int | None
) -> None:
    us, them = (Teller(ic, spec_version, threshold, split) for ic in (ours, official))
    for step in steps:
        assert us.tell(step) == them.tell(step)
        shown = us.shown()
        assert shown == them.shown()
        existing = sorted(at for at, kind in shown["kinds"].items() if kind != "uninitialized")
        assert sorted(us.listed()) == existing
        assert set(existing) <= set(them.listed())
        assert us.changed() <= them.changed()
