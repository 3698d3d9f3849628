"""What a session has changed since its base snapshot.

Nodes are recorded one by one. Chunk references are recorded as they come: a
single write lands in a dict, a bulk write stays in columns, and both become
one set of columns when the change set is read for a commit. A reference
recorded later replaces an earlier one; a removal is a reference of its own,
since it has to reach the manifests.

Rules of this file: no I/O and no lock (the session's lock is held by the
caller), and nothing is recorded that a commit would not contain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from icechunk._core.paths import is_inside, parent_path
from icechunk._format.chunk_keys import comparable_keys
from icechunk._format.chunk_refs import ChunkRef, ChunkRefs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from icechunk._core.paths import Coordinates
    from icechunk._format.snapshot import ManifestRef, Node, Snapshot


_FEW_PAIRS = 256
"""Up to so many pairs of coordinates, comparing all of them is faster than sorting."""


class Unrecorded:
    """The answer of a lookup in a table that knows nothing of the coordinates."""


UNRECORDED = Unrecorded()


class ChunkTable:
    """The recorded chunk references of one array.

    `removed` is uint32 of shape (n, ndim) and disjoint from `columns`; `recent`
    overrides both.
    """

    __slots__ = ("columns", "ndim", "recent", "removed")

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim
        self.recent: dict[Coordinates, ChunkRef | None] = {}
        self.columns: ChunkRefs | None = None
        self.removed: NDArray[np.uint32] = np.empty((0, ndim), np.uint32)

    @classmethod
    def of(cls, ndim: int, changes: tuple[ChunkRefs, NDArray[np.uint32]] | None) -> ChunkTable:
        """A table of what `changes` of another one gave."""
        table = cls(ndim)
        if changes is not None:
            columns, table.removed = changes
            table.columns = columns if len(columns) else None
        return table

    def __bool__(self) -> bool:
        return bool(self.recent) or self.columns is not None or len(self.removed) > 0

    def find(self, coordinates: Coordinates) -> ChunkRef | Unrecorded | None:
        """The recorded reference, None for a recorded removal, or `UNRECORDED`."""
        found = self.recent.get(coordinates, UNRECORDED)
        columns = self.columns
        if found is not UNRECORDED or (columns is None and not len(self.removed)):
            return found
        if columns is not None:
            reference = columns.find(coordinates)
            if reference is not None:
                return reference
        if len(self.removed) and (self.removed == np.array(coordinates, np.uint32)).all(axis=1).any():
            return None
        return UNRECORDED

    def forget(self, coordinates: Coordinates) -> None:
        """Drop what was recorded for a chunk that the base does not have."""
        if self.columns is not None and self.columns.find(coordinates) is not None:
            gone = np.array([coordinates], np.uint32).reshape(1, self.ndim)
            kept = ChunkRefs.merge(self.columns, None, gone)
            self.columns = kept if len(kept) else None
        # Last, so that no reader falls through to an older reference among the columns.
        self.recent.pop(coordinates, None)

    def without(self, coordinates: NDArray[np.uint32]) -> ChunkTable:
        """Another table that knows nothing of `coordinates`, uint32 of shape (n, ndim)."""
        columns, removed = self.changes()
        other = ChunkTable(self.ndim)
        kept = ChunkRefs.merge(columns, None, coordinates)
        other.columns = kept if len(kept) else None
        other.removed = removed[~contained(removed, coordinates)]
        return other

    def rearranged(
        self, written: ChunkRefs, cleared: NDArray[np.uint32], in_base: NDArray[np.bool_]
    ) -> ChunkTable:
        """Another table, with chunks written and removed on top of what this one has.

        `cleared` is uint32 of shape (n, ndim), and `in_base` says which of these chunks the base has.
        """
        other = self.without(cleared) if len(cleared) else ChunkTable.of(self.ndim, self.changes())
        if in_base.any():
            other.removed = sorted_coordinates(np.concatenate([other.removed, cleared[in_base]]))
        if len(written):
            other.add_columns(written)
        return other

    def add_columns(self, references: ChunkRefs) -> None:
        """Record many references at once; `references` has each coordinate once."""
        self._settle()
        self.columns = references if self.columns is None else ChunkRefs.merge(self.columns, references, None)
        if len(self.removed):
            self.removed = self.removed[~contained(self.removed, references.coords)]

    def changes(self) -> tuple[ChunkRefs, NDArray[np.uint32]]:
        """All references and all removals as columns, each sorted by coordinates."""
        self._settle()
        columns = self.columns if self.columns is not None else ChunkRefs.empty(self.ndim)
        return columns, self.removed

    def coordinates(self) -> NDArray[np.uint32]:
        """All coordinates written or removed, sorted: uint32 of shape (n, ndim)."""
        columns, removed = self.changes()
        if not len(removed):
            return columns.coords
        return sorted_coordinates(np.concatenate([columns.coords, removed]))

    def count(self) -> int:
        """How many chunks were written or removed; changes nothing, so that readers need no lock for it."""
        # First, because what leaves it is in the columns by then.
        recent = tuple(self.recent)
        columns, removed = self.columns, self.removed
        settled = len(removed) + (0 if columns is None else len(columns))
        if not settled:
            return len(recent)
        new = [at for at in recent if columns is None or columns.find(at) is None]
        again = contained(np.array(new, np.uint32).reshape(len(new), self.ndim), removed)
        return settled + len(new) - int(again.sum())

    def _settle(self) -> None:
        """Turn what came one by one into columns; readers find it in one of the two at any time."""
        recent = self.recent
        if not recent:
            return
        new = ChunkRefs.from_items(self.ndim, {at: ref for at, ref in recent.items() if ref is not None})
        absent = [at for at, ref in recent.items() if ref is None]
        gone = np.array(absent, np.uint32).reshape(len(absent), self.ndim)
        merged = new if self.columns is None else ChunkRefs.merge(self.columns, new, gone)
        still_gone = self.removed[~contained(self.removed, np.concatenate([new.coords, gone]))]
        self.columns = merged if len(merged) else None
        self.removed = sorted_coordinates(np.concatenate([still_gone, gone]))
        self.recent = {}


class ChangeSet:
    """Nodes and chunks created, updated and deleted on top of a base snapshot.

    The base belongs to it, so that a reader who holds a change set sees one state also when a
    commit gives the session another base.

    A moved node is a deleted one at its old path and a new one, of the same id, at its new path:
    so it is found and listed where it belongs. `moved_nodes` holds by id what it was in the base,
    and `moves` what was asked for, in order.
    """

    __slots__ = (
        "base",
        "chunks",
        "deleted_nodes",
        "moved_nodes",
        "moves",
        "new_children",
        "new_nodes",
        "updated_nodes",
    )

    def __init__(self, base: Snapshot) -> None:
        self.base = base
        self.moves: list[tuple[str, str]] = []
        self.moved_nodes: dict[bytes, Node] = {}
        self.new_nodes: dict[str, Node] = {}
        self.new_children: dict[str, set[str]] = {}
        self.updated_nodes: dict[bytes, Node] = {}
        self.deleted_nodes: dict[str, Node] = {}
        self.chunks: dict[bytes, ChunkTable] = {}

    def copy(self) -> ChangeSet:
        """The same nodes and chunk tables, for a reader who goes on while others record."""
        other = ChangeSet(self.base)
        other.new_nodes = self.new_nodes.copy()
        other.updated_nodes = self.updated_nodes.copy()
        other.deleted_nodes = self.deleted_nodes.copy()
        other.chunks = self.chunks.copy()
        other.new_children = {path: children.copy() for path, children in self.new_children.items()}
        other.moves = self.moves.copy()
        other.moved_nodes = self.moved_nodes.copy()
        return other

    def frozen(self) -> ChangeSet:
        """A copy with chunk tables of its own, which share their columns with these."""
        other = self.copy()
        other.chunks = {
            node_id: ChunkTable.of(table.ndim, table.changes())
            for node_id, table in self.chunks.items()
            if table
        }
        return other

    def is_same(self, frozen: ChangeSet) -> bool:
        """Whether nothing was recorded since a frozen copy was made."""
        return (
            self.base is frozen.base
            and self.moves == frozen.moves
            and self.new_nodes == frozen.new_nodes
            and self.updated_nodes == frozen.updated_nodes
            and self.deleted_nodes == frozen.deleted_nodes
            and _tables_are_same(self.chunks, frozen.chunks)
        )

    def find(self, path: str) -> Node | None:
        """The node at a canonical path, changed or not."""
        node = self.new_nodes.get(path)
        if node is not None:
            return node
        node = self.base.find(path)
        if node is None or path in self.deleted_nodes:
            return None
        return self.updated_nodes.get(node.id, node)

    def nodes(self, below: str = "/") -> Iterator[Node]:
        """The node at `below` and all nodes under it: those of the base, then the new ones."""
        for node in self.base.subtree(below):
            if node.path not in self.deleted_nodes:
                yield self.updated_nodes.get(node.id, node)
        for node in list(self.new_nodes.values()):
            if node.path == below or is_inside(node.path, below):
                yield node

    def is_empty(self) -> bool:
        """Whether a commit would contain nothing."""
        return not (
            self.new_nodes or self.updated_nodes or self.deleted_nodes or any(tuple(self.chunks.values()))
        )

    def add_node(self, node: Node) -> None:
        """Record a node that the base does not have, or its new document."""
        self.new_nodes[node.path] = node
        parent = parent_path(node.path)
        if parent is not None:
            self.new_children.setdefault(parent, set()).add(node.path)

    def forget_node(self, node: Node) -> None:
        """Drop a node created in this session, with its chunks."""
        self.new_nodes.pop(node.path, None)
        self.chunks.pop(node.id, None)
        parent = parent_path(node.path)
        if parent is not None and parent in self.new_children:
            self.new_children[parent].discard(node.path)
            if not self.new_children[parent]:
                del self.new_children[parent]

    def delete_node(self, node: Node) -> None:
        """Record that a node of the base is gone, with what was changed on it."""
        self.deleted_nodes[node.path] = node
        self.updated_nodes.pop(node.id, None)
        self.chunks.pop(node.id, None)

    def relocate_node(self, node: Node, path: str) -> None:
        """Record that a node of the base, moved before or not, is at another path from now on."""
        origin = self.moved_nodes.pop(node.id, None)
        if origin is None:
            origin = node
            self.deleted_nodes[node.path] = node
        else:
            self.forget_node(node)
        if path == origin.path:
            del self.deleted_nodes[path]
        else:
            self.moved_nodes[node.id] = origin
            self.add_node(msgspec.structs.replace(node, path=path))

    def created_nodes(self) -> list[Node]:
        """The nodes that the base does not have under any path."""
        return [node for node in tuple(self.new_nodes.values()) if node.id not in self.moved_nodes]

    def removed_nodes(self) -> list[Node]:
        """The nodes of the base that are not there any more under any path."""
        return [node for node in tuple(self.deleted_nodes.values()) if node.id not in self.moved_nodes]

    def moved_paths(self) -> list[tuple[Node, str]]:
        """The moved nodes as they are now and their old paths, in the order of the new paths' components."""
        moved = [node for node in self.new_nodes.values() if node.id in self.moved_nodes]
        moved.sort(key=lambda node: node.path.split("/"))
        return [(node, self.moved_nodes[node.id].path) for node in moved]

    def table(self, node: Node) -> ChunkTable:
        """The chunk table of an array, made on first use."""
        found = self.chunks.get(node.id)
        if found is None:
            assert node.array is not None
            found = self.chunks[node.id] = ChunkTable(len(node.array.shape))
        return found

    def changed_chunks(self) -> Iterator[tuple[bytes, NDArray[np.uint32]]]:
        """Node id and coordinates of every array with changed chunks, by node id."""
        for node_id in sorted(self.chunks):
            table = self.chunks[node_id]
            if table:
                yield node_id, table.coordinates()


def with_manifests(node: Node, manifests: tuple[ManifestRef, ...]) -> Node:
    """The same array over other manifests; a group has none."""
    if node.array is None:
        return node
    return msgspec.structs.replace(node, array=msgspec.structs.replace(node.array, manifests=manifests))


def with_manifests_of(node: Node, other: Node | None) -> Node:
    """The same array over the manifests of another one, if that is an array too."""
    return node if other is None or other.array is None else with_manifests(node, other.array.manifests)


def same_recording(
    now: tuple[ChunkRefs, NDArray[np.uint32]] | None, before: tuple[ChunkRefs, NDArray[np.uint32]] | None
) -> bool:
    """Whether nothing was recorded between two looks at a table: its columns never change in place."""
    if now is None or before is None:
        return now is before
    return now[1] is before[1] and (now[0] is before[0] or len(now[0]) == len(before[0]) == 0)


def _tables_are_same(now: dict[bytes, ChunkTable], before: dict[bytes, ChunkTable]) -> bool:
    tables = {node_id: table for node_id, table in now.items() if table}
    return tables.keys() == before.keys() and all(
        same_recording(table.changes(), before[node_id].changes()) for node_id, table in tables.items()
    )


def sorted_coordinates(coordinates: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Coordinates in lexicographic order: uint32 of shape (n, ndim)."""
    if len(coordinates) < 2 or not coordinates.shape[1]:
        return np.ascontiguousarray(coordinates)
    return np.ascontiguousarray(coordinates[np.lexsort(coordinates.T[::-1])])


def contained(coordinates: NDArray[np.uint32], others: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which of `coordinates` (n, ndim) are among `others` (m, ndim)."""
    if not (len(coordinates) and len(others)):
        return np.zeros(len(coordinates), bool)
    found: NDArray[np.bool_]
    if len(coordinates) * len(others) <= _FEW_PAIRS:
        found = (coordinates[:, None] == others).all(axis=2).any(axis=1)
        return found
    keys, wanted = comparable_keys(coordinates, others)
    wanted.sort()
    at = np.searchsorted(wanted, keys)
    found = wanted[np.minimum(at, len(wanted) - 1)] == keys
    return found
