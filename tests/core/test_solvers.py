"""Solvers, what they may say, and the records of conflicts."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import icechunk
from icechunk import (
    BasicConflictSolver,
    Conflict,
    ConflictDetector,
    ConflictError,
    ConflictSolver,
    ConflictType,
    RebaseFailedError,
    VersionSelection,
)
from icechunk.conflicts import require_solver, selected

OURS, THEIRS, FAIL = VersionSelection.UseOurs, VersionSelection.UseTheirs, VersionSelection.Fail


def said(solver: ConflictSolver) -> dict[ConflictType, VersionSelection]:
    """What a solver says of each type."""
    return {kind: solver.solve(Conflict(kind, "/a", [[0]])) for kind in ConflictType}


def test_types_of_conflicts_have_the_numbers_of_the_format() -> None:
    assert [(int(kind), str(kind)) for kind in ConflictType] == [
        (1, "New node conflicts with existing node"),
        (2, "New node in invalid group"),
        (3, "Zarr metadata double update"),
        (4, "Zarr metadata update of deleted array"),
        (5, "Zarr metadata update of deleted group"),
        (6, "Chunk double update"),
        (7, "Chunks updated in deleted array"),
        (8, "Chunks updated in updated array"),
        (9, "Delete of updated array"),
        (10, "Delete of updated group"),
        (11, "Move operation cannot be rebased"),
    ]
    assert [int(selection) for selection in (FAIL, OURS, THEIRS)] == [0, 1, 2]


def test_a_detector_solves_nothing() -> None:
    assert set(said(ConflictDetector()).values()) == {FAIL}


@pytest.mark.parametrize("on_chunk_conflict", VersionSelection)
@pytest.mark.parametrize("keep_arrays", [True, False])
@pytest.mark.parametrize("keep_groups", [True, False])
def test_the_basic_solver_solves_three_types(
    on_chunk_conflict: VersionSelection, keep_arrays: bool, keep_groups: bool
) -> None:
    solver = BasicConflictSolver(
        on_chunk_conflict=on_chunk_conflict,
        fail_on_delete_of_updated_array=keep_arrays,
        fail_on_delete_of_updated_group=keep_groups,
    )
    expected = {
        **dict.fromkeys(ConflictType, FAIL),
        ConflictType.ChunkDoubleUpdate: on_chunk_conflict,
        ConflictType.DeleteOfUpdatedArray: FAIL if keep_arrays else OURS,
        ConflictType.DeleteOfUpdatedGroup: FAIL if keep_groups else OURS,
    }
    assert said(solver) == expected
    assert said(pickle.loads(pickle.dumps(solver))) == expected


def test_the_basic_solver_takes_our_side_by_default() -> None:
    assert said(BasicConflictSolver()) == {
        **dict.fromkeys(ConflictType, FAIL),
        ConflictType.ChunkDoubleUpdate: OURS,
        ConflictType.DeleteOfUpdatedArray: OURS,
        ConflictType.DeleteOfUpdatedGroup: OURS,
    }
    assert set(said(pickle.loads(pickle.dumps(ConflictDetector()))).values()) == {FAIL}


@pytest.mark.parametrize("selection", [1, "UseOurs", None, ConflictType.ChunkDoubleUpdate, True])
def test_options_of_the_basic_solver_are_selections(selection: Any) -> None:
    with pytest.raises(TypeError, match="on_chunk_conflict must be a VersionSelection"):
        BasicConflictSolver(on_chunk_conflict=selection)


class Duck:
    def solve(self, conflict: Conflict) -> VersionSelection:
        return OURS if conflict.path == "/a" else FAIL


class Derived(ConflictSolver):
    def solve(self, conflict: Conflict) -> VersionSelection:  # noqa: ARG002
        return THEIRS


class Forgetful(ConflictSolver):
    """Has the method of the protocol, which says nothing."""


class WithAttribute:
    solve = OURS


def test_any_object_with_the_method_is_a_solver() -> None:
    for solver in (Duck(), Derived(), ConflictDetector(), BasicConflictSolver()):
        require_solver(solver)
        assert isinstance(solver, ConflictSolver)


@pytest.mark.parametrize(
    "candidate", [Duck, Derived, ConflictDetector, BasicConflictSolver, None, OURS, "ours", WithAttribute()]
)
async def test_what_is_no_solver_is_refused_before_anything_happens(candidate: Any) -> None:
    repo = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repo.writable_session("main")
    readonly = repo.readonly_session("main")
    history = [info.id for info in repo.ancestry(branch="main")]
    for each in (session, readonly):
        with pytest.raises(TypeError, match="an object with a method `solve`"):
            each.rebase(candidate)
        with pytest.raises(TypeError, match="an object with a method `solve`"):
            await each.rebase_async(candidate)
        if candidate is not None:  # which is not to rebase
            with pytest.raises(TypeError, match="an object with a method `solve`"):
                each.commit("x", rebase_with=candidate, allow_empty=True)
            with pytest.raises(TypeError, match="an object with a method `solve`"):
                await each.commit_async("x", rebase_with=candidate, allow_empty=True)
    assert [info.id for info in repo.ancestry(branch="main")] == history


@pytest.mark.parametrize("nonsense", [None, 1, True, "UseOurs", ConflictType.ChunkDoubleUpdate])
def test_a_solver_must_say_something(nonsense: Any) -> None:
    class Confused:
        def solve(self, conflict: Conflict) -> Any:  # noqa: ARG002
            return nonsense

    with pytest.raises(TypeError, match=r"Confused\.solve must return a VersionSelection") as said:
        selected(Confused(), Conflict(ConflictType.ChunkDoubleUpdate, "/b", [[0]]))
    assert repr(nonsense) in str(said.value)
    assert "ChunkDoubleUpdate at `/b`" in str(said.value)


def test_a_solver_without_a_method_of_its_own_says_nothing() -> None:
    forgetful = Forgetful()  # type: ignore[abstract]  # type checkers tell; others are told here
    with pytest.raises(TypeError, match=r"Forgetful\.solve must return .*, and returned None"):
        selected(forgetful, Conflict(ConflictType.ChunkDoubleUpdate, "/b"))


def test_conflicts_are_values() -> None:
    conflict = Conflict(ConflictType.ChunkDoubleUpdate, "/a", [[0, 1], [2, 3]])
    copy = pickle.loads(pickle.dumps(conflict))
    assert copy == conflict
    assert copy != Conflict(ConflictType.ChunkDoubleUpdate, "/a", [[0, 1]])
    assert (copy.conflict_type, copy.path, copy.conflicted_chunks) == (
        ConflictType.ChunkDoubleUpdate,
        "/a",
        [[0, 1], [2, 3]],
    )
    with pytest.raises(AttributeError):
        conflict.path = "/b"  # type: ignore[misc]  # that is what is tested
    assert pickle.loads(pickle.dumps(ConflictType.MoveOperationCannotBeRebased)) is ConflictType(11)


def test_a_failed_rebase_names_its_conflicts_and_can_be_pickled() -> None:
    conflicts = [
        Conflict(ConflictType.ZarrMetadataDoubleUpdate, "/g"),
        Conflict(ConflictType.ChunkDoubleUpdate, "/a", [[0]]),
    ]
    error = RebaseFailedError("1CECHNKREP0F1RSTCMT0", conflicts)
    copy = pickle.loads(pickle.dumps(error))
    for each in (error, copy):
        assert (each.snapshot, each.conflicts, each.kind) == (
            "1CECHNKREP0F1RSTCMT0",
            conflicts,
            "rebase-failed",
        )
        assert isinstance(each, ConflictError)
        assert (each.expected_parent, each.actual_parent) == (None, None)
        assert str(each) == (
            "Rebase failed on snapshot 1CECHNKREP0F1RSTCMT0: 2 conflicts found: "
            "zarr metadata double update at `/g`, chunk double update at `/a`"
        )


def test_a_failed_rebase_with_many_conflicts_names_some() -> None:
    many = [Conflict(ConflictType.ChunkDoubleUpdate, f"/a{number}", [[0]]) for number in range(40)]
    error = RebaseFailedError("1CECHNKREP0F1RSTCMT0", many)
    assert error.conflicts == many
    assert "40 conflicts found: chunk double update at `/a0`, " in str(error)
    assert str(error).endswith("chunk double update at `/a4`, and 35 more")
    moved = RebaseFailedError("1CECHNKREP0F1RSTCMT0", [Conflict(ConflictType(11), "")])
    assert str(moved).endswith("1 conflicts found: move operation cannot be rebased")
