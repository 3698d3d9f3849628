"""Cutting chunk grids into cells."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.splits import (
    NO_RULES,
    Edges,
    applies,
    cells_of,
    count_cells,
    split_edges,
)
from icechunk._exceptions import InvalidInputError
from icechunk.splitting import (
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
    SplitSizes,
)

Array = ManifestSplitCondition
Dimension = ManifestSplitDimCondition


def rules(*pairs: tuple[ManifestSplitCondition, dict[ManifestSplitDimCondition, int]]) -> SplitSizes:
    return (
        ManifestSplittingConfig(tuple((array, tuple(sizes.items())) for array, sizes in pairs)).split_sizes
        or ()
    )


def lists(edges: Edges) -> list[list[int]]:
    return [edge.tolist() for edge in edges]


def test_nothing_is_split_by_default() -> None:
    assert lists(split_edges(NO_RULES, "/a", (5, 1))) == [[0, 5], [0, 1]]
    assert lists(split_edges((), "/a", (5, 1))) == [[0, 5], [0, 1]]


def test_axes_without_chunks_have_no_cells() -> None:
    edges = split_edges(rules((Array.AnyArray(), {Dimension.Any(): 2})), "/a", (4, 0))
    assert lists(edges) == [[0, 2, 4], [0]]
    assert count_cells(edges) == 0


def test_arrays_without_dimensions_have_one_cell() -> None:
    edges = split_edges(NO_RULES, "/a", ())
    assert edges == ()
    assert count_cells(edges) == 1
    assert cells_of(edges, np.zeros((1, 0), np.uint32)).tolist() == [0]


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (5, 2, [0, 2, 4, 5]),
        (4, 2, [0, 2, 4]),
        (4, 4, [0, 4]),
        (4, 9, [0, 4]),
        (1, 1, [0, 1]),
        (3, 1, [0, 1, 2, 3]),
    ],
)
def test_edges(count: int, size: int, expected: list[int]) -> None:
    assert lists(split_edges(rules((Array.AnyArray(), {Dimension.Any(): size})), "/a", (count,))) == [
        expected
    ]


def test_the_first_condition_that_fits_an_axis_wins() -> None:
    config = rules((Array.AnyArray(), {Dimension.Axis(0): 2, Dimension.Any(): 3, Dimension.Axis(1): 1}))
    assert lists(split_edges(config, "/a", (5, 5))) == [[0, 2, 4, 5], [0, 3, 5]]


def test_later_rules_decide_the_axes_that_are_left() -> None:
    config = rules(
        (Array.name_matches("no"), {Dimension.Any(): 1}),
        (Array.name_matches("^t"), {Dimension.Axis(1): 4}),
        (Array.AnyArray(), {Dimension.Axis(1): 1, Dimension.Axis(2): 2}),
        (Array.path_matches("temp"), {Dimension.Any(): 3}),
    )
    assert lists(split_edges(config, "/group/temp", (5, 5, 5))) == [[0, 3, 5], [0, 4, 5], [0, 2, 4, 5]]


def test_names_of_dimensions() -> None:
    config = rules((Array.AnyArray(), {Dimension.DimensionName("^l"): 2}))
    names = ("lat", None, "time", "lon")
    assert lists(split_edges(config, "/a", (3, 3, 3, 3), names)) == [[0, 2, 3], [0, 3], [0, 3], [0, 2, 3]]
    assert lists(split_edges(config, "/a", (3,))) == [[0, 3]]
    everything = rules((Array.AnyArray(), {Dimension.DimensionName(".*"): 1}))
    assert lists(split_edges(everything, "/a", (2, 2), ("x", None))) == [[0, 1, 2], [0, 2]]


@pytest.mark.parametrize(
    ("condition", "path", "expected"),
    [
        (Array.AnyArray(), "/", True),
        (Array.path_matches("^/a/b$"), "/a/b", True),
        (Array.path_matches("^a"), "/a/b", False),
        (Array.name_matches("^b$"), "/a/b", True),
        (Array.name_matches("a"), "/a/b", False),
        (Array.name_matches(".*"), "/", False),
        (Array.name_matches("("), "/(", False),
        (Array.or_conditions([]), "/a", False),
        (Array.and_conditions([]), "/a", True),
        (Array.name_matches("a") | Array.name_matches("b"), "/b", True),
        (Array.name_matches("a") & Array.name_matches("b"), "/b", False),
        (Array.name_matches("a") & Array.name_matches("b"), "/ab", True),
    ],
)
def test_conditions(condition: ManifestSplitCondition, path: str, expected: bool) -> None:
    assert applies(condition, path) is expected


def test_cells_must_hold_something() -> None:
    config = rules((Array.AnyArray(), {Dimension.Any(): 0}))
    with pytest.raises(InvalidInputError, match="/a") as caught:
        split_edges(config, "/a", (3,))
    assert caught.value.kind == "invalid-manifest-split-index"
    assert count_cells(split_edges(config, "/a", (0,))) == 0


def test_cells_must_be_numbered() -> None:
    config = rules((Array.AnyArray(), {Dimension.Any(): 1}))
    with pytest.raises(InvalidInputError, match="larger splits") as caught:
        split_edges(config, "/a", (2**17, 2**17, 2**17, 2**17))
    assert caught.value.kind == "invalid-manifest-split-index"


GRIDS = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 9)), max_size=3)


@given(GRIDS)
def test_cells_partition_the_grid(grid: list[tuple[int, int]]) -> None:
    config = rules((Array.AnyArray(), {Dimension.Axis(axis): size for axis, (_, size) in enumerate(grid)}))
    counts = [count for count, _ in grid]
    edges = split_edges(config, "/a", counts)
    boxes = list(itertools.product(*[itertools.pairwise(edge.tolist()) for edge in edges]))
    assert len(boxes) == count_cells(edges)
    coords = list(itertools.product(*[range(count) for count in counts]))
    cells = cells_of(edges, np.array(coords, np.uint32).reshape(len(coords), len(counts)))
    for coord, cell in zip(coords, cells.tolist(), strict=True):
        inside = [
            number
            for number, box in enumerate(boxes)
            if all(low <= index < high for index, (low, high) in zip(coord, box, strict=True))
        ]
        assert inside == [cell]


def test_huge_grids_cost_nothing() -> None:
    start = time.perf_counter()
    config = rules((Array.AnyArray(), {Dimension.Any(): 2**20}))
    edges = split_edges(config, "/a", (2**32 - 1,) * 4)
    assert count_cells(edges) == 2**48
    coords = np.array([[2**32 - 2] * 4, [0] * 4, [0, 0, 0, 2**20]], np.uint32)
    assert cells_of(edges, coords).tolist() == [2**48 - 1, 0, 1]
    assert time.perf_counter() - start < 2
