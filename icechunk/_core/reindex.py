"""The chunks of an array put to other places of its grid, by their references alone.

A rearrangement is computed from the references that an array has now, those inside of its
grid, and is pure: no chunk is read, none is written, and nothing is recorded here. Chunks
outside of the grid, of an array that has shrunk since the last commit, take no part.

Only regular grids have chunks of one shape. On any other a chunk may not fit elsewhere.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from icechunk._core.change_set import ChunkTable, contained
from icechunk._core.grid import ArrayDocument, parse_node_document
from icechunk._exceptions import ErrorKind, IcechunkError, InvalidInputError
from icechunk._format.chunk_keys import sorted_order
from icechunk._format.chunk_refs import ChunkRefs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from icechunk._core.paths import Coordinates
    from icechunk._format.manifest import Manifest
    from icechunk._format.snapshot import Node

    Relocation = Callable[[list[int]], Iterable[int] | None]

_BATCH = 4096
"""Coordinates spelled as Python numbers at a time."""


class Rearrangement(NamedTuple):
    """References at their new coordinates, and coordinates that have no chunk any more.

    `cleared` is uint32 of shape (n, ndim) and disjoint from the coordinates of `written`.
    """

    written: ChunkRefs
    cleared: NDArray[np.uint32]


class Shift(NamedTuple):
    """All chunks of an array move by as many chunks along each dimension."""

    offset: tuple[int, ...]

    def of(self, path: str, chunks: ChunkRefs, num_chunks: Sequence[int]) -> Rearrangement:
        """Move chunks; those that leave the grid are dropped, and what nothing moves to is cleared.

        Raises
        ------
        InvalidInputError
            Kind `invalid-chunk-index`: not one offset for each dimension.
        """
        if len(self.offset) != len(num_chunks):
            raise InvalidInputError(
                f"`{path}` has {len(num_chunks)} dimensions and is shifted by {len(self.offset)} offsets, "
                f"{list(self.offset)}: give one for each dimension",
                ErrorKind.INVALID_CHUNK_INDEX,
            )
        if not any(self.offset):
            return Rearrangement(chunks.take(slice(0)), chunks.coords[:0])
        steps = list(zip(num_chunks, self.offset, strict=True))
        first = [min(max(-step, 0), count) for count, step in steps]
        end = [max(min(count - step, count), 0) for count, step in steps]
        staying = np.flatnonzero(chunks.in_box(first, end))
        coords = chunks.coords[staying]
        if len(staying):  # otherwise the offsets may be larger than any grid
            coords = (coords.astype(np.int64) + np.array(self.offset)).astype(np.uint32)
        cleared = chunks.coords[~contained(chunks.coords, coords)]
        return Rearrangement(chunks.moved(staying, coords), cleared)


class Reindex(NamedTuple):
    """Each chunk moves to where a function says."""

    forward: Relocation
    backward: Relocation | None

    def of(self, path: str, chunks: ChunkRefs, num_chunks: Sequence[int]) -> Rearrangement:
        """Move chunks; of several that move to one place the last by its old coordinates wins.

        Raises
        ------
        InvalidInputError
            Kind `invalid-chunk-index`: a function answers with coordinates that no chunk can have.
        IcechunkError
            A function raises an error, or answers with something else than coordinates.
        """
        rows = []
        answers = []
        for row, at in enumerate(_each(chunks.coords)):
            target = _ask("forward", self.forward, path, at, num_chunks)
            if target is not None:
                rows.append(row)
                answers.append(target)
        sources = np.array(rows, np.int64)
        targets = np.array(answers, np.uint32).reshape(len(rows), chunks.ndim)
        order = sorted_order(targets)
        if order is not None:
            sources, targets = sources[order], targets[order]
        moving = (chunks.coords[sources] != targets).any(axis=1)
        return Rearrangement(
            chunks.moved(sources[moving], targets[moving]), self._cleared(path, chunks, targets, num_chunks)
        )

    def _cleared(
        self, path: str, chunks: ChunkRefs, targets: NDArray[np.uint32], num_chunks: Sequence[int]
    ) -> NDArray[np.uint32]:
        """The chunks that nothing moves to and that, going by `backward`, nothing should be left at."""
        if self.backward is None:
            return chunks.coords[:0]
        left = chunks.coords[~contained(chunks.coords, targets)]
        is_cleared = np.ones(len(left), bool)
        rows = []
        answers = []
        for row, at in enumerate(_each(left)):
            origin = _ask("backward", self.backward, path, at, num_chunks)
            if origin is not None:
                rows.append(row)
                answers.append(origin)
        origins = np.array(answers, np.uint32).reshape(len(rows), chunks.ndim)
        is_cleared[rows] = ~contained(origins, chunks.coords)
        return left[is_cleared]


def rearranged_table(
    node: Node,
    manifests: Sequence[Manifest],
    recorded: tuple[ChunkRefs, NDArray[np.uint32]] | None,
    task: Shift | Reindex,
) -> ChunkTable:
    """What a session has to record for an array whose chunks are rearranged.

    Parameters
    ----------
    node
        An array.
    manifests
        All its manifests in the base snapshot.
    recorded
        The references and removals that the session has recorded for it already, if any.
    task
    """
    assert node.array is not None
    num_chunks = [dimension.num_chunks for dimension in node.array.shape]
    decoded = [each.refs(node.id, len(num_chunks), keep=False) for each in manifests]
    found = [references for references in decoded if references is not None]
    base = ChunkRefs.concat(found) if found else ChunkRefs.empty(len(num_chunks))
    chunks = base if recorded is None else ChunkRefs.merge(base, *recorded)
    inside = chunks.in_box([0] * len(num_chunks), num_chunks)
    written, cleared = task.of(node.path, chunks if inside.all() else chunks.take(inside), num_chunks)
    table = ChunkTable.of(len(num_chunks), recorded)
    return table.rearranged(written, cleared, contained(cleared, base.coords))


def require_regular_grid(node: Node, spec_version: int) -> None:
    """Refuse to rearrange the chunks of an array unless they all have one shape.

    Raises
    ------
    IcechunkError
        The chunk grid is not regular, or the document is one that cannot be read.
    """
    reason = "its zarr.json cannot be read"
    cause = None
    try:
        document = parse_node_document(node.user_data, spec_version)
    except InvalidInputError as error:
        cause = error
        reason = f"{reason} ({error.message})"
    else:
        grid = document.grid if isinstance(document, ArrayDocument) else None
        if grid == "regular":
            return
        reason = f"its chunk grid is `{grid}`"
    raise IcechunkError(
        f"the chunks of `{node.path}` cannot be shifted or reindexed: {reason}. Only on a regular grid have "
        "all chunks one shape, so that one fits where another was; read and write the data instead"
    ) from cause


def _each(coordinates: NDArray[np.uint32]) -> Iterator[Coordinates]:
    for start in range(0, len(coordinates), _BATCH):
        yield from map(tuple, coordinates[start : start + _BATCH].tolist())


def _ask(
    name: Literal["forward", "backward"],
    function: Relocation,
    path: str,
    at: Coordinates,
    num_chunks: Sequence[int],
) -> Coordinates | None:
    """The place that a function of the user names for a chunk; None also where `backward` leaves the grid."""
    try:
        answer = function(list(at))
        place = None if answer is None else tuple([index(each) for each in answer])
    except Exception as error:
        raise IcechunkError(
            f"`{name}` failed for the chunk {list(at)} of `{path}`, nothing was moved: "
            f"{type(error).__name__}: {error}"
        ) from error
    if place is None:
        return None
    if len(place) == len(num_chunks):
        inside = True
        for each, count in zip(place, num_chunks, strict=True):
            if not 0 <= each < count:
                if each < 0 or name == "forward":
                    break
                inside = False
        else:
            return place if inside else None
    raise InvalidInputError(
        f"`{name}` answers {list(place)} for the chunk {list(at)} of `{path}`, whose grid has "
        f"{list(num_chunks)} chunks: nothing was moved",
        ErrorKind.INVALID_CHUNK_INDEX,
    )
