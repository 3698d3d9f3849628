"""How the chunk grid of an array is cut into cells, one manifest each.

Rules are asked in order. Each that applies to the array decides the axes that no earlier
one has decided: the first of its dimension conditions that fits an axis says how many
chunks a cell has along it. An axis that nobody decides is not cut.

The *edges* of an axis are ``0, k, 2k, ...`` and the number of chunks, so the last cell may
be short; an axis without chunks has the single edge 0, and an array with such an axis has
no cells. Cells are numbered in row-major order. A grid may have far more cells than an
array has chunks: nothing here goes over all cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from icechunk._conditions import AllOf, AnyOf, NameMatches, PathMatches
from icechunk._core.regexes import found
from icechunk._exceptions import ErrorKind, InvalidInputError
from icechunk.splitting import (
    NO_SPLITTING,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    SplitSizes,
)

Edges = tuple[NDArray[np.int64], ...]
"""The edges of each axis, increasing."""

NO_RULES: SplitSizes = NO_SPLITTING.split_sizes or ()
"""One manifest for each array."""

_MAX_CELLS = 2**63 - 1


def split_edges(
    rules: SplitSizes,
    path: str,
    num_chunks: Sequence[int],
    dimension_names: Sequence[str | None] | None = None,
) -> Edges:
    """Cut the grid of an array.

    Raises
    ------
    InvalidInputError
        Kind `invalid-manifest-split-index`: a rule asks for cells of 0 chunks, or for more
        cells than can be numbered.
    """
    names = dimension_names if dimension_names is not None else [None] * len(num_chunks)
    sizes: dict[int, int] = {}
    for condition, dimensions in rules:
        if len(sizes) == len(num_chunks):
            break
        if applies(condition, path):
            for axis, name in enumerate(names):
                if axis not in sizes:
                    size = next((size for test, size in dimensions if _fits(test, axis, name)), None)
                    if size is not None:
                        sizes[axis] = size
    edges = tuple([_axis_edges(count, sizes.get(axis, count), path) for axis, count in enumerate(num_chunks)])
    if count_cells(edges) > _MAX_CELLS:
        raise InvalidInputError(
            f"the splitting rules cut `{path}` into {count_cells(edges)} manifests: use larger splits",
            ErrorKind.INVALID_MANIFEST_SPLIT_INDEX,
        )
    return edges


def applies(condition: ManifestSplitCondition, path: str) -> bool:
    """Whether a rule's condition applies to the array at a path."""
    if isinstance(condition, AnyOf):
        return any(applies(member, path) for member in condition.conditions)
    if isinstance(condition, AllOf):
        return all(applies(member, path) for member in condition.conditions)
    if isinstance(condition, PathMatches):
        return found(condition.regex, path)
    if isinstance(condition, NameMatches):
        name = path.rpartition("/")[2]
        return name != "" and found(condition.regex, name)
    return isinstance(condition, ManifestSplitCondition.AnyArray)


def count_cells(edges: Edges) -> int:
    """How many cells there are."""
    return math.prod([len(edge) - 1 for edge in edges])


def cells_of(edges: Edges, coords: NDArray[np.integer]) -> NDArray[np.int64]:
    """The numbers of the cells that hold the chunks at `coords`, an array of shape (n, ndim).

    The chunks must be inside the grid, the edges made by `split_edges`.
    """
    cells = np.zeros(len(coords), np.int64)
    for axis, edge in enumerate(edges):
        if len(edge) > 2:
            cells *= len(edge) - 1
            cells += coords[:, axis] // (edge[1] - edge[0])
    return cells


def _fits(condition: ManifestSplitDimCondition, axis: int, name: str | None) -> bool:
    if isinstance(condition, ManifestSplitDimCondition.Axis):
        return condition.axis == axis
    if isinstance(condition, ManifestSplitDimCondition.DimensionName):
        return name is not None and found(condition.regex, name)
    return isinstance(condition, ManifestSplitDimCondition.Any)


def _axis_edges(count: int, size: int, path: str) -> NDArray[np.int64]:
    if count == 0:
        return np.zeros(1, np.int64)
    if size == 0:
        raise InvalidInputError(
            f"a splitting rule gives manifests of `{path}` 0 chunks: it must be at least 1",
            ErrorKind.INVALID_MANIFEST_SPLIT_INDEX,
        )
    edges = np.arange(0, count + size, size, dtype=np.int64) if size < count else np.array([0, count])
    edges[-1] = count
    return edges
