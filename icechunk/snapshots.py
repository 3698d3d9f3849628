"""What the history of a repository consists of, as handed out to users."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import field

from icechunk.display import Form, Result, Unfolded, folds, items

__all__ = ["AncestryGraph", "Diff", "ManifestFileInfo", "SnapshotInfo"]

_SHOWN_CHUNKS = 10
_UNFOLDED_PATHS = 10


class SnapshotInfo(Result, frozen=True):
    """One commit.

    Attributes
    ----------
    id : str
        Its id, 20 characters.
    parent_id : str or None
        The id of the snapshot before it; None for the first one.
    written_at : datetime.datetime
        When it was written, in UTC.
    message : str
        What the committer said about it.
    metadata : dict of str to any
        The properties attached to it.

    Examples
    --------
    >>> import icechunk
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> [info.message for info in repo.ancestry(branch="main")]
    ['Repository initialized']
    """

    id: str
    parent_id: str | None
    written_at: datetime
    message: str
    metadata: dict[str, Any] = field(default_factory=dict)


class ManifestFileInfo(Result, frozen=True):
    """One manifest that a snapshot refers to.

    Attributes
    ----------
    id : str
        Its id, 20 characters.
    size_bytes : int
        The size of the stored object.
    num_chunk_refs : int
        How many chunks it references.

    Examples
    --------
    >>> import icechunk
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> repo.list_manifest_files(repo.lookup_branch("main"))
    []
    """

    id: str
    size_bytes: int
    num_chunk_refs: int


class AncestryGraph:
    """A drawing of a history: as text where it is printed, as SVG in a notebook.

    A line for each snapshot, newest first, has the beginning of its id, the branches and tags that
    point to it, and its message. Each branch has a column, and a line that ends where the branch began.

    Examples
    --------
    >>> import icechunk
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> print(repo.ancestry_graph(plain=True))
    ● 1CECHNKR (main) Repository initialized
    <BLANKLINE>
    """

    __slots__ = ("_svg", "_text")

    def __init__(self, text: str, svg: str) -> None:
        self._text = text
        self._svg = svg

    def __repr__(self) -> str:
        return self._text

    def _repr_svg_(self) -> str:
        return self._svg


class Diff(Result, frozen=True):
    """What changed between two snapshots, or in a session so far.

    Attributes
    ----------
    new_groups, new_arrays : set of str
        Paths of the nodes that were created.
    deleted_groups, deleted_arrays : set of str
        Paths of the nodes that were deleted.
    updated_groups, updated_arrays : set of str
        Paths of the nodes whose metadata changed.
    updated_chunks : dict of str to list of list of int
        By the path of the array, the sorted coordinates of the chunks that were
        written or deleted.
    moved_nodes : list of tuple of str
        Old and new path of each node that a commit moved: the newest commit's first, and a
        node before what is below it. A node that several commits moved is there several times.

    Examples
    --------
    >>> from icechunk import Diff
    >>> Diff(new_arrays={"/temperature"})
    Arrays created:
        /temperature
    <BLANKLINE>
    >>> Diff().is_empty()
    True
    """

    new_groups: set[str] = field(default_factory=set)
    new_arrays: set[str] = field(default_factory=set)
    deleted_groups: set[str] = field(default_factory=set)
    deleted_arrays: set[str] = field(default_factory=set)
    updated_groups: set[str] = field(default_factory=set)
    updated_arrays: set[str] = field(default_factory=set)
    updated_chunks: dict[str, list[list[int]]] = field(default_factory=dict)
    moved_nodes: list[tuple[str, str]] = field(default_factory=list)

    def is_empty(self) -> bool:
        """Whether nothing changed.

        Returns
        -------
        bool
        """
        return not any(getattr(self, name) for name in self.__struct_fields__)

    def _sections(self) -> list[tuple[str, list[str]]]:
        """What was done to nodes, and to which; the sections that are not empty."""
        sections = [
            ("Groups created", self.new_groups),
            ("Arrays created", self.new_arrays),
            ("Group definitions updated", self.updated_groups),
            ("Array definitions updated", self.updated_arrays),
            ("Groups deleted", self.deleted_groups),
            ("Arrays deleted", self.deleted_arrays),
        ]
        return [(title, sorted(paths)) for title, paths in sections if paths]

    def _fields(self, form: Form) -> Iterable[tuple[str, str]]:  # noqa: ARG002  # the text has no fields
        for title, paths in self._sections():
            yield f"{title} ({len(paths)})", _unfolded_if_short(paths)
        if self.updated_chunks:
            chunks = sorted(self.updated_chunks.items())
            number = sum([len(coordinates) for _, coordinates in chunks])
            arrays = [
                (f"{path} ({len(coordinates)})", items(coordinates, limit=_SHOWN_CHUNKS))
                for path, coordinates in chunks
            ]
            yield f"Chunks updated ({number})", Unfolded(folds(arrays))
        if self.moved_nodes:
            moves = [f"{old} -> {new}" for old, new in self.moved_nodes]
            yield f"Nodes moved/renamed ({len(moves)})", _unfolded_if_short(moves)
        if self.is_empty():
            yield "changes", "none"

    def __str__(self) -> str:
        lines: list[str] = []
        for title, paths in self._sections():
            lines += [f"{title}:", *[f"    {path}" for path in paths], ""]
        if self.updated_chunks:
            lines.append("Chunks updated:")
            for path in sorted(self.updated_chunks):
                lines += _chunk_lines(path, self.updated_chunks[path])
        if self.moved_nodes:
            lines += ["Nodes moved/renamed:", *[f"    {old} -> {new}" for old, new in self.moved_nodes], ""]
        return "".join([line + "\n" for line in lines])


def _unfolded_if_short(lines: list[str]) -> str:
    shown = items(lines)
    return Unfolded(shown) if len(lines) <= _UNFOLDED_PATHS else shown


def _chunk_lines(path: str, chunks: list[list[int]]) -> list[str]:
    lines = [f"    {path}:", *[f"        {list(chunk)}" for chunk in chunks[:_SHOWN_CHUNKS]]]
    if len(chunks) > _SHOWN_CHUNKS:
        lines.append(f"        ... {len(chunks) - _SHOWN_CHUNKS} more")
    return lines
