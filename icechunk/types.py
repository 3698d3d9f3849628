"""Small closed vocabularies: spec versions, modes, kinds of chunks.

Each is an `enum.Enum` whose members show themselves as `Class.member` and turn
into their stable numbers with `int`. Those that the format also spells as numbers
(`SpecVersion`, `ChunkType`) are ints and compare with ints.

A union, such as `UpdateType`, is a plain class whose variants are records that
derive from it and are reached as its nested classes (`nest_variants`).
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

__all__ = [
    "ChunkType",
    "CommitMethod",
    "RepoAvailability",
    "SessionMode",
    "SpecVersion",
]

CommitMethod = Literal["new_commit", "amend"]
"""How a maintenance commit lands: on top of the branch's tip, or in its place."""


class Code(Enum):
    """A member of a closed vocabulary with a stable number."""

    def __int__(self) -> int:
        return int(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __str__(self) -> str:
        return repr(self)


class SpecVersion(int, Code):
    """A version of the on-disk format.

    Examples
    --------
    >>> from icechunk import SpecVersion
    >>> SpecVersion.v1 < SpecVersion.v2
    True
    >>> SpecVersion.v2 == 2
    True
    >>> SpecVersion.current()
    SpecVersion.v2 (current)
    """

    v1 = 1
    v2 = 2

    @staticmethod
    def current() -> SpecVersion:
        """The version that new repositories get when none is asked for.

        Returns
        -------
        SpecVersion
        """
        return SpecVersion.v2

    def __repr__(self) -> str:
        mark = " (current)" if self is SpecVersion.current() else ""
        return f"SpecVersion.{self.name}{mark}"


class ChunkType(int, Code):
    """Where the bytes of a chunk are kept.

    Attributes
    ----------
    uninitialized
        Nowhere: the chunk was never written, readers see the fill value.
    native
        In an object of the repository.
    virtual
        In a range of a file outside of the repository.
    inline
        Inside the manifest that references it.

    Examples
    --------
    >>> from icechunk import ChunkType
    >>> ChunkType.native, int(ChunkType.native)
    (ChunkType.native, 1)
    """

    uninitialized = 0
    native = 1
    virtual = 2
    inline = 3


class SessionMode(Code):
    """What a session may do.

    Attributes
    ----------
    readonly
        Read only.
    writable
        Change groups, arrays and chunks.
    rearrange
        Move and rename nodes, nothing else.

    Examples
    --------
    >>> from icechunk import SessionMode
    >>> SessionMode.writable
    SessionMode.writable
    """

    readonly = 0
    writable = 1
    rearrange = 2


class RepoAvailability(Code):
    """Whether a repository takes writes.

    Attributes
    ----------
    online
        Reads and writes.
    read_only
        Reads; every change is refused until the repository is online again.

    Examples
    --------
    >>> from icechunk import RepoAvailability
    >>> RepoAvailability.read_only
    RepoAvailability.read_only
    """

    online = 0
    read_only = 1


def nest_variants(union: type[Any]) -> None:
    """Make the subclasses of a union its nested classes.

    A nested class cannot derive from the class around it, so variants are written
    after the union, as `_Name`, and become `Union.Name` here.
    """
    for variant in union.__subclasses__():
        variant.__name__ = variant.__name__.removeprefix("_")
        variant.__qualname__ = f"{union.__qualname__}.{variant.__name__}"
        setattr(union, variant.__name__, variant)
