"""Which manifests of an array a commit keeps, and which it writes anew.

An array's chunk grid is cut into cells (see `splits`). A manifest that lies in
one cell in which nothing changed is kept as it is. Every other manifest, and
every change, belongs to a rewrite: the references of the rewrite's old
manifests, with the changes laid over them, cut into cells, one new manifest for
each cell that has references. Normally a rewrite is one cell; manifests that
straddle cells (after the split sizes changed) tie their cells together.

Sans I/O: `plan_manifests` says which manifests to fetch, `rewrite` turns
fetched references into new ones.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from icechunk._core.splits import cells_of
from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.chunk_refs import ChunkRefs
from icechunk._format.flatbuffer_builder import MAX_SIZE

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray

    from icechunk._core.change_set import ChunkTable
    from icechunk._format.snapshot import ManifestFile, ManifestRef, Node

Edges = tuple["NDArray[np.int64]", ...]


class Rewrite(msgspec.Struct, frozen=True):
    """One piece of manifest work.

    Attributes
    ----------
    sources : tuple of ManifestRef
        The old manifests whose references are needed.
    written : ChunkRefs
        The new references of the piece.
    removed : ndarray
        Coordinates that lose their reference: uint32 of shape (n, ndim).
    cell : int or None
        The number of the cell; None for a rewrite of several together.
    """

    sources: tuple[ManifestRef, ...]
    written: ChunkRefs
    removed: NDArray[np.uint32]
    cell: int | None = None


class Plan(msgspec.Struct, frozen=True):
    """The manifests of one array after a commit."""

    kept: tuple[ManifestRef, ...]
    rewrites: tuple[Rewrite, ...]
    edges: Edges


class Piece(NamedTuple):
    """One rewrite of one array, how many references it holds in memory, and what was recorded there."""

    node: Node
    work: Rewrite
    edges: Edges
    references: int
    recorded: tuple[ChunkRefs, NDArray[np.uint32]]


class WrittenManifests:
    """The manifests that were written so far for the changes of one session.

    What was recorded of an array never changes in place: so a piece of the same recording, cell and
    sources gives the same manifests, in the next attempt of a commit, and in a commit after a fork.
    Of each array the last recording counts: what was recorded before does not come back.
    """

    def __init__(self) -> None:
        self._of_nodes: dict[bytes, _WrittenOfNode] = {}

    def find(self, piece: Piece) -> list[tuple[ManifestRef, ManifestFile]] | None:
        """The manifests of an equal piece, if there was one."""
        known = self._of_nodes.get(piece.node.id)
        if known is None or known.identity != _identity(piece):
            return None
        return known.results.get(_key(piece))

    def keep(self, piece: Piece, manifests: list[tuple[ManifestRef, ManifestFile]]) -> None:
        """Remember the manifests of a piece, and what was recorded, so that no other gets its identity."""
        known = self._of_nodes.get(piece.node.id)
        if known is None or known.identity != _identity(piece):
            known = self._of_nodes[piece.node.id] = _WrittenOfNode(_identity(piece), piece.recorded, {})
        known.results[_key(piece)] = manifests


class _WrittenOfNode(NamedTuple):
    """The manifests of one recording of an array."""

    identity: tuple[int | None, ...]
    recorded: tuple[ChunkRefs, NDArray[np.uint32]]
    results: dict[Hashable, list[tuple[ManifestRef, ManifestFile]]]


def _identity(piece: Piece) -> tuple[int | None, ...]:
    return tuple([id(each) if len(each) else None for each in piece.recorded])


def _key(piece: Piece) -> Hashable:
    sources = tuple([source.object_id for source in piece.work.sources])
    return piece.work.cell, sources, tuple([edge.tobytes() for edge in piece.edges])


def plan_manifests(
    manifests: Sequence[ManifestRef],
    edges: Edges,
    written: ChunkRefs,
    removed: NDArray[np.uint32],
) -> Plan:
    """Decide the fate of an array's manifests.

    Parameters
    ----------
    manifests
        The array's manifests in the base snapshot.
    edges
        Edges of the cells, one array per dimension, for the grid as it is now.
    written, removed
        The session's changes; those outside the grid are left out.
    """
    written = _inside(written, edges)
    removed = removed[_in_grid(removed, edges)]
    written_cells = cells_of(edges, written.coords)
    removed_cells = cells_of(edges, removed)
    changed = set(np.unique(np.concatenate([written_cells, removed_cells])).tolist())

    kept: list[ManifestRef] = []
    by_cell: dict[int, list[ManifestRef]] = {}
    straddling: list[ManifestRef] = []
    for manifest in manifests:
        reach = _reach(manifest, edges)
        if reach is None:
            continue  # outside the grid of a shrunk array
        if not reach.is_one_cell:
            straddling.append(manifest)
        elif reach.is_whole and reach.cell(edges) not in changed:
            kept.append(manifest)
        else:
            by_cell.setdefault(reach.cell(edges), []).append(manifest)

    if straddling:
        # The split sizes changed: all that is to be rewritten is rewritten together.
        sources = [*straddling, *(manifest for group in by_cell.values() for manifest in group)]
        alone, met = _apart(kept, straddling, edges)
        return Plan(alone, (Rewrite((*sources, *met), written, removed),), edges)
    rewrites = [
        Rewrite(
            tuple(by_cell.get(cell, ())),
            written if changed == {cell} else written.take(written_cells == cell),
            removed if changed == {cell} else removed[removed_cells == cell],
            cell,
        )
        for cell in sorted(changed | set(by_cell))
    ]
    return Plan(tuple(kept), tuple(rewrites), edges)


def require_size(path: str, piece: Rewrite, limit: int = MAX_SIZE) -> None:
    """Refuse a manifest of an array that is certainly too large, before hours are spent on it.

    Raises
    ------
    FormatError
        Kind `serialization`.
    """
    written = piece.written
    # Per reference: its place in the vector, its table with offset and length or id, its index.
    least = len(written) * (28 + 4 * written.ndim) + 8 * int(np.count_nonzero(written.rows["offset"]))
    if piece.cell is not None and least > limit:
        raise FormatError(
            f"{len(written):,} references of `{path}` would be in one manifest, and no file of metadata can "
            f"have more than {limit:,} bytes: set `config.manifest.splitting`, so that there are several "
            "manifests of it, or use larger chunks",
            ErrorKind.SERIALIZATION,
        )


def require_log_size(tables: Iterable[ChunkTable], limit: int = MAX_SIZE) -> int:
    """Refuse a commit whose transaction log is certainly too large; returns how many chunks changed.

    Raises
    ------
    FormatError
        Kind `serialization`.
    """
    counts = [(table.count(), table.ndim) for table in tables]
    total = sum(count for count, _ in counts)
    if sum(count * (16 + 4 * ndim) for count, ndim in counts) > limit:
        raise FormatError(
            f"the {total:,} chunks that have changed do not fit into one transaction log, which cannot have "
            f"more than {limit:,} bytes: commit them in several parts",
            ErrorKind.SERIALIZATION,
        )
    return total


def rewrite(piece: Rewrite, sources: Sequence[ChunkRefs], edges: Edges) -> list[ChunkRefs]:
    """The references of the new manifests of a piece, one set for each cell that has any."""
    old = [_inside(references, edges) for references in sources]
    base = old[0] if len(old) == 1 else ChunkRefs.concat(old) if old else ChunkRefs.empty(len(edges))
    merged = (
        ChunkRefs.merge(base, piece.written, piece.removed)
        if len(piece.written) or len(piece.removed)
        else base
    )
    if not len(merged):
        return []
    if all(len(edge) <= 2 for edge in edges):
        return [merged]
    cells = cells_of(edges, merged.coords)
    if (cells == cells[0]).all():
        return [merged]
    order = np.argsort(cells, kind="stable")
    starts = np.flatnonzero(np.diff(cells[order])) + 1
    return [merged.take(rows) for rows in np.split(order, starts)]


def _inside(references: ChunkRefs, edges: Edges) -> ChunkRefs:
    mask = _in_grid(references.coords, edges)
    return references if mask.all() else references.take(mask)


def _in_grid(coordinates: NDArray[np.uint32], edges: Edges) -> NDArray[np.bool_]:
    inside = np.ones(len(coordinates), np.bool_)
    for axis, edge in enumerate(edges):
        inside &= coordinates[:, axis] < edge[-1]
    return inside


class _Reach(NamedTuple):
    """First and last cell of a manifest along each axis, and whether it ends inside the grid."""

    first: tuple[int, ...]
    last: tuple[int, ...]
    is_whole: bool

    @property
    def is_one_cell(self) -> bool:
        return self.first == self.last

    def cell(self, edges: Edges) -> int:
        """The number of the first cell."""
        number = 0
        for index, edge in zip(self.first, edges, strict=True):
            number = number * (len(edge) - 1) + index
        return number

    def meets(self, other: _Reach) -> bool:
        """Whether there is a cell that both reach into."""
        return all(
            low <= other_high and other_low <= high
            for low, high, other_low, other_high in zip(
                self.first, self.last, other.first, other.last, strict=True
            )
        )


def _reach(manifest: ManifestRef, edges: Edges) -> _Reach | None:
    """The cells of a manifest, None when it lies outside the grid."""
    if len(manifest.extents) != len(edges):
        if any(len(edge) < 2 for edge in edges):
            return None
        # The array had another number of dimensions: what still fits may be anywhere.
        return _Reach((0,) * len(edges), tuple(len(edge) - 2 for edge in edges), False)
    first: list[int] = []
    last: list[int] = []
    is_whole = True
    for (low, high), edge in zip(manifest.extents, edges, strict=True):
        end = int(edge[-1])
        if low >= end:
            return None
        is_whole = is_whole and high <= end
        first.append(bisect_right(edge, low) - 1)
        last.append(bisect_right(edge, min(high, end) - 1) - 1)
    return _Reach(tuple(first), tuple(last), is_whole)


def _apart(
    kept: Sequence[ManifestRef], straddling: Sequence[ManifestRef], edges: Edges
) -> tuple[tuple[ManifestRef, ...], tuple[ManifestRef, ...]]:
    """Manifests that share no cell with a straddling one, and those that do."""
    wide = [reach for reach in (_reach(manifest, edges) for manifest in straddling) if reach is not None]
    alone: list[ManifestRef] = []
    met: list[ManifestRef] = []
    for manifest in kept:
        reach = _reach(manifest, edges)
        shares = reach is not None and any(reach.meets(other) for other in wide)
        (met if shares else alone).append(manifest)
    return tuple(alone), tuple(met)
