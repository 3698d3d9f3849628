"""Conflicts between the changes of a session and those of commits that landed first, and solvers of them."""

from __future__ import annotations

import re
from enum import Enum
from typing import Protocol, runtime_checkable

from icechunk.display import Result
from icechunk.types import Code

__all__ = [
    "BasicConflictSolver",
    "Conflict",
    "ConflictDetector",
    "ConflictSolver",
    "ConflictType",
    "VersionSelection",
]


class ConflictType(Enum):
    """In which way two changes contradict each other. *We* are the session, *they* a commit before it.

    Attributes
    ----------
    NewNodeConflictsWithExistingNode
        We create a node where they have one.
    NewNodeInInvalidGroup
        One side creates a node in a group that the other one deletes, or has as an array.
    ZarrMetadataDoubleUpdate
        Both update the metadata of one node.
    ZarrMetadataUpdateOfDeletedArray, ZarrMetadataUpdateOfDeletedGroup
        We update the metadata of a node that they delete.
    ChunkDoubleUpdate
        Both write or delete one chunk.
    ChunksUpdatedInDeletedArray
        We change chunks of an array that they delete.
    ChunksUpdatedInUpdatedArray
        We change chunks of an array whose metadata they update.
    DeleteOfUpdatedArray, DeleteOfUpdatedGroup
        We delete a node that they update.
    MoveOperationCannotBeRebased
        They move nodes, or a move of ours is not possible any more.

    Examples
    --------
    >>> from icechunk.conflicts import ConflictType
    >>> ConflictType(6), str(ConflictType.ChunkDoubleUpdate)
    (ChunkDoubleUpdate, 'Chunk double update')
    """

    NewNodeConflictsWithExistingNode = 1
    NewNodeInInvalidGroup = 2
    ZarrMetadataDoubleUpdate = 3
    ZarrMetadataUpdateOfDeletedArray = 4
    ZarrMetadataUpdateOfDeletedGroup = 5
    ChunkDoubleUpdate = 6
    ChunksUpdatedInDeletedArray = 7
    ChunksUpdatedInUpdatedArray = 8
    DeleteOfUpdatedArray = 9
    DeleteOfUpdatedGroup = 10
    MoveOperationCannotBeRebased = 11

    def __int__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return self.name

    def __str__(self) -> str:
        return re.sub("(?<=.)[A-Z]", lambda capital: f" {capital[0].lower()}", self.name)


class VersionSelection(Code):
    """Whose version of something in conflict is kept.

    Attributes
    ----------
    Fail
        Nobody's: the rebase fails.
    UseOurs
        The session's.
    UseTheirs
        That of the commit before it.

    Examples
    --------
    >>> from icechunk.conflicts import VersionSelection
    >>> VersionSelection.UseOurs
    VersionSelection.UseOurs
    """

    Fail = 0
    UseOurs = 1
    UseTheirs = 2


class Conflict(Result, frozen=True):
    """One conflict, as found in a rebase.

    Parameters
    ----------
    conflict_type : ConflictType
        In which way the changes contradict each other.
    path : str
        The path of the node.
    conflicted_chunks : list of list of int, optional
        The coordinates of the chunks in conflict, where it is about chunks.

    Examples
    --------
    >>> from icechunk.conflicts import Conflict, ConflictType
    >>> Conflict(ConflictType.ChunkDoubleUpdate, "/temperature", [[0, 1]])
    <icechunk.conflicts.Conflict>
    conflict_type: ChunkDoubleUpdate
    path: /temperature
    conflicted_chunks: [[0, 1]]
    <BLANKLINE>
    """

    conflict_type: ConflictType
    path: str
    conflicted_chunks: list[list[int]] | None = None


@runtime_checkable
class ConflictSolver(Protocol):
    """What decides the conflicts of a rebase: any object with this one method.

    What can be selected depends on the type of the conflict; a selection that is not in the
    table fails, as `VersionSelection.Fail` does:

    ======================================  =======================  ============================
    conflict                                UseOurs                  UseTheirs
    ======================================  =======================  ============================
    ChunkDoubleUpdate                       our chunks stay          our writes to them go
    ChunksUpdatedInUpdatedArray             our chunks stay, as far  our writes to the array go
                                            as their grid has them
    ChunksUpdatedInDeletedArray                                      our writes to the array go
    ZarrMetadataDoubleUpdate                our document stays       our document goes
    ZarrMetadataUpdateOfDeletedArray                                 our document goes
    ZarrMetadataUpdateOfDeletedGroup                                 our document goes
    DeleteOfUpdatedArray                    the node is deleted      the node stays, and the
    DeleteOfUpdatedGroup                                             groups above it
    NewNodeConflictsWithExistingNode        theirs is deleted, with  ours goes; if theirs is an
                                            all below it             array, with all below it
    NewNodeInInvalidGroup, in a group       their new nodes are      the group stays, with all
    that we delete                          deleted too              below it
    NewNodeInInvalidGroup, else                                      our new nodes there go
    MoveOperationCannotBeRebased                                     our move is left out, where
                                                                     it is about one; so are
                                                                     those that go on from it
    ======================================  =======================  ============================

    A node that we delete is deleted once: when they have made another one in its place, that stays
    with either selection.

    Examples
    --------
    >>> import icechunk, zarr
    >>> from icechunk import Conflict, ConflictType, VersionSelection
    >>> class NewestAttributes:
    ...     def solve(self, conflict: Conflict) -> VersionSelection:
    ...         if conflict.conflict_type is ConflictType.ZarrMetadataDoubleUpdate:
    ...             return VersionSelection.UseOurs
    ...         return VersionSelection.Fail
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> with repo.transaction("main", message="make the root") as store:
    ...     root = zarr.create_group(store)
    >>> session = repo.writable_session("main")
    >>> zarr.open_group(session.store).attrs["title"] = "ours"
    >>> with repo.transaction("main", message="set a title") as store:
    ...     zarr.open_group(store).attrs["title"] = "theirs"
    >>> _ = session.commit("set a better title", rebase_with=NewestAttributes())
    >>> zarr.open_group(session.store, mode="r").attrs["title"]
    'ours'
    """

    def solve(self, conflict: Conflict) -> VersionSelection:
        """Say whose version is kept.

        Parameters
        ----------
        conflict : Conflict

        Returns
        -------
        VersionSelection
            Anything else is a TypeError, and the session stays as it was. What `solve` raises
            comes out of the rebase, with the same effect.
        """
        ...


class ConflictDetector(ConflictSolver):
    """Solves nothing: a rebase goes through only where nothing contradicts.

    Examples
    --------
    >>> from icechunk import Conflict, ConflictDetector, ConflictType
    >>> ConflictDetector().solve(Conflict(ConflictType.ChunkDoubleUpdate, "/a", [[0]]))
    VersionSelection.Fail
    """

    def solve(self, conflict: Conflict) -> VersionSelection:  # noqa: ARG002
        """Fail.

        Parameters
        ----------
        conflict : Conflict

        Returns
        -------
        VersionSelection
        """
        return VersionSelection.Fail

    def __repr__(self) -> str:
        return "icechunk.conflicts.ConflictDetector()"


class BasicConflictSolver(ConflictSolver):
    """Solves conflicts about chunks that both sides wrote, and about deleting what they updated.

    Every other conflict fails.

    Parameters
    ----------
    on_chunk_conflict : VersionSelection, default UseOurs
        Whose version of a chunk is kept that both sides wrote or deleted.
    fail_on_delete_of_updated_array, fail_on_delete_of_updated_group : bool, default False
        Whether to fail when we delete a node that they updated, in place of deleting it.

    Examples
    --------
    >>> from icechunk import BasicConflictSolver, Conflict, ConflictType, VersionSelection
    >>> solver = BasicConflictSolver(on_chunk_conflict=VersionSelection.UseTheirs)
    >>> solver.solve(Conflict(ConflictType.ChunkDoubleUpdate, "/a", [[0]]))
    VersionSelection.UseTheirs
    """

    def __init__(
        self,
        *,
        on_chunk_conflict: VersionSelection = VersionSelection.UseOurs,
        fail_on_delete_of_updated_array: bool = False,
        fail_on_delete_of_updated_group: bool = False,
    ) -> None:
        if not isinstance(on_chunk_conflict, VersionSelection):
            raise TypeError(f"on_chunk_conflict must be a VersionSelection, not {on_chunk_conflict!r}")
        fail, ours = VersionSelection.Fail, VersionSelection.UseOurs
        self._selections = {
            ConflictType.ChunkDoubleUpdate: on_chunk_conflict,
            ConflictType.DeleteOfUpdatedArray: fail if fail_on_delete_of_updated_array else ours,
            ConflictType.DeleteOfUpdatedGroup: fail if fail_on_delete_of_updated_group else ours,
        }

    def solve(self, conflict: Conflict) -> VersionSelection:
        """Say whose version is kept, by the type of the conflict.

        Parameters
        ----------
        conflict : Conflict

        Returns
        -------
        VersionSelection
        """
        return self._selections.get(conflict.conflict_type, VersionSelection.Fail)

    def __repr__(self) -> str:
        arguments = [
            f"on_chunk_conflict=icechunk.{self._selections[ConflictType.ChunkDoubleUpdate]!r}",
            f"fail_on_delete_of_updated_array={self._fails_on(ConflictType.DeleteOfUpdatedArray)}",
            f"fail_on_delete_of_updated_group={self._fails_on(ConflictType.DeleteOfUpdatedGroup)}",
        ]
        return f"icechunk.conflicts.BasicConflictSolver({', '.join(arguments)})"

    def _fails_on(self, conflict_type: ConflictType) -> bool:
        return self._selections[conflict_type] is VersionSelection.Fail


def require_solver(candidate: object) -> None:
    """Refuse what cannot solve conflicts.

    Raises
    ------
    TypeError
    """
    if isinstance(candidate, type) or not callable(getattr(candidate, "solve", None)):
        raise TypeError(
            f"a conflict solver is an object with a method `solve`, "
            f"such as `ConflictDetector()`, not {candidate!r}"
        )


def selected(solver: ConflictSolver, conflict: Conflict) -> VersionSelection:
    """What a solver says of a conflict.

    Raises
    ------
    TypeError
        It is no selection: that a solver forgot to return one is no reason to fail without a word.
    """
    selection: object = solver.solve(conflict)
    if not isinstance(selection, VersionSelection):
        raise TypeError(
            f"{type(solver).__name__}.solve must return a VersionSelection, and returned {selection!r} for "
            f"{conflict.conflict_type!r} at `{conflict.path}`"
        )
    return selection
