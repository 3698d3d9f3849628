"""Conflicts between the changes of a session and those of commits that landed before it."""

from __future__ import annotations

import re
from enum import Enum

from icechunk.display import Result
from icechunk.types import Code

__all__ = ["Conflict", "ConflictType", "VersionSelection"]


class ConflictType(Enum):
    """In which way two changes contradict each other. *We* are the session, *they* a commit before it.

    Attributes
    ----------
    NewNodeConflictsWithExistingNode
        We create a node where they have one.
    NewNodeInInvalidGroup
        We create a node below something that is an array of theirs.
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
        They move nodes.

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
