"""Manifests whose extents are those of another number of dimensions than their array has."""

from __future__ import annotations

import numpy as np
import pytest

from icechunk._core.extents import ExtentIndex
from icechunk._core.manifest_plan import plan_manifests
from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.chunk_refs import ChunkRefs
from icechunk._format.snapshot import ManifestRef

OLD = ManifestRef(b"old manifest", ((0, 3),))
NEW = ManifestRef(b"new manifest", ((0, 2), (0, 2)))
OTHER = ManifestRef(b"other manif.", ((2, 4), (0, 2)))


def test_chunks_are_looked_up_by_the_extents() -> None:
    index = ExtentIndex("/a", (NEW, OTHER), 2)
    assert [index.find(at) for at in ((1, 1), (2, 0), (1, 0), (4, 0))] == [NEW, OTHER, NEW, None]


@pytest.mark.parametrize("manifests", [(OLD, NEW), (OLD, OLD)])
def test_extents_of_another_array_are_a_format_error(manifests: tuple[ManifestRef, ...]) -> None:
    with pytest.raises(FormatError, match="`/a`") as caught:
        ExtentIndex("/a", manifests, 2)
    assert caught.value.kind == ErrorKind.INVALID_FILE_FORMAT


@pytest.mark.parametrize("ends", [(4,), (2, 4)])
def test_a_commit_writes_such_manifests_anew(ends: tuple[int, ...]) -> None:
    edges = (np.array([0, *ends]), np.array([0, 2]))
    plan = plan_manifests((OLD, OTHER), edges, ChunkRefs.empty(2), np.empty((0, 2), np.uint32))
    assert OLD not in plan.kept
    assert [OLD in rewrite.sources for rewrite in plan.rewrites] == [True]


def test_an_array_without_chunks_loses_such_manifests() -> None:
    edges = (np.array([0]), np.array([0, 2]))
    plan = plan_manifests((OLD,), edges, ChunkRefs.empty(2), np.empty((0, 2), np.uint32))
    assert (plan.kept, plan.rewrites) == ((), ())
