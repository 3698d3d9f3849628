"""The state that all faces of one session share: its spellings, its store, its threads.

A session reads through its change set to its base snapshot. Everything here is
in memory: what a lookup cannot answer without I/O it returns as the manifest
to ask. Reading takes no lock (each step is one lookup in a dict); recording
takes the session's lock for as long as the recording lasts.

While a commit is under way the change set is sealed: a write that arrives then
could neither be part of the commit nor survive it, so it is refused. The seal is
that of one process: in a child forked meanwhile, nobody goes on with the commit.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from icechunk._core.change_set import UNRECORDED, ChangeSet, same_recording
from icechunk._core.extents import ExtentIndex
from icechunk._core.grid import ArrayDocument, in_grid, parse_node_document
from icechunk._core.manifest_plan import WrittenManifests
from icechunk._core.merge import Contribution
from icechunk._core.moves import move_node
from icechunk._exceptions import (
    AlreadyExistsError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NodeNotFoundError,
    ReadOnlyError,
    SessionStateError,
)
from icechunk._format.snapshot import ArrayData, DimensionShape, ManifestRef, Node
from icechunk._locks import StateLock
from icechunk.types import SessionMode, SpecVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from icechunk._core.change_set import ChunkTable
    from icechunk._core.paths import Coordinates
    from icechunk._format.chunk_refs import ChunkRef, ChunkRefs
    from icechunk._format.snapshot import Snapshot


_FORK_POINTS = 16
"""How many times a changed session may be forked before it forgets what chunks its oldest forks saw.

That saves memory, and what those forks have written over counts as written twice.
"""


class SessionState:
    """Base snapshot, change set and mode of one session."""

    __slots__ = (
        "__weakref__",
        "_doubted",
        "_extents",
        "_fork_points",
        "_frozen",
        "_lock",
        "_pickling",
        "_sealed_in",
        "_shown",
        "branch",
        "changes",
        "commit_metadata",
        "mode",
        "spec_version",
        "written",
    )

    def __init__(
        self,
        snapshot: Snapshot,
        spec_version: SpecVersion,
        *,
        branch: str | None,
        mode: SessionMode,
        commit_metadata: dict[str, Any],
    ) -> None:
        self.spec_version = spec_version
        self.branch = branch
        self.mode = mode
        self.commit_metadata = commit_metadata
        self.changes = ChangeSet(snapshot)
        self._extents: dict[bytes, tuple[ArrayData, ExtentIndex]] = {}
        self._lock = StateLock()
        self._sealed_in: int | None = None
        self._pickling = 0
        self._frozen: ChangeSet | None = None
        self._fork_points: dict[bytes, ChangeSet] = {}
        self._shown: tuple[ChangeSet, Snapshot] | None = None
        self._doubted: tuple[ChangeSet, Snapshot] | None = None
        self.written = WrittenManifests()

    @property
    def read_only(self) -> bool:
        return self.mode is SessionMode.readonly

    @property
    def is_fork(self) -> bool:
        """Whether the session takes changes that only a merge brings home."""
        return self.mode is SessionMode.writable and self.branch is None

    @property
    def snapshot(self) -> Snapshot:
        """The base of the changes."""
        return self.changes.base

    # Nodes

    def find(self, path: str) -> Node | None:
        """The node at a canonical path, as the session sees it."""
        return self.changes.find(path)

    def node(self, path: str) -> Node:
        """The node at a canonical path, which has to exist."""
        found = self.find(path)
        if found is None:
            raise NodeNotFoundError(f"node not found at `{path}`", ErrorKind.NODE_NOT_FOUND)
        return found

    def array(self, path: str) -> tuple[Node, ArrayData]:
        """The array at a canonical path, which has to exist and to be one."""
        node = self.node(path)
        if node.array is None:
            raise InvalidInputError(f"`{path}` is a group, not an array", ErrorKind.NOT_AN_ARRAY)
        return node, node.array

    def nodes(self, below: str = "/") -> Iterator[Node]:
        """The node at `below` and all nodes under it: those of the base, then the new ones."""
        return self.changes.nodes(below)

    def child_paths(self, path: str) -> list[str]:
        """Paths of the nodes directly below a path."""
        changes = self.changes
        found = {node.path for node in changes.base.children(path) if node.path not in changes.deleted_nodes}
        found.update(tuple(changes.new_children.get(path, ())))
        return sorted(found)

    def set_document(self, path: str, document: bytes, new_id: Callable[[], bytes]) -> None:
        """Create a node, or give an existing one a new `zarr.json`."""
        parsed = parse_node_document(document, self.spec_version)
        with self._lock.held:
            self.check_writable()
            existing = self.find(path)
            if existing is None:
                self.changes.add_node(_node(new_id(), path, document, parsed, ()))
                return
            if (existing.array is not None) != isinstance(parsed, ArrayDocument):
                kind = "an array" if existing.array is not None else "a group"
                raise AlreadyExistsError(
                    f"there is {kind} at `{path}`: delete it before another kind of node is created there",
                    ErrorKind.NODE_ALREADY_EXISTS,
                )
            if existing.user_data == document:
                return
            manifests = existing.array.manifests if existing.array is not None else ()
            updated = _node(existing.id, path, document, parsed, manifests)
            self._check_dimensions_kept(existing, updated)
            if path in self.changes.new_nodes:
                self.changes.add_node(updated)
            elif updated == self.snapshot.find(path):
                self.changes.updated_nodes.pop(updated.id, None)
            else:
                self.changes.updated_nodes[updated.id] = updated

    def _check_dimensions_kept(self, existing: Node, updated: Node) -> None:
        """An array that has chunks cannot change its number of dimensions."""
        if existing.array is None or updated.array is None:
            return
        if len(existing.array.shape) == len(updated.array.shape):
            return
        if existing.array.manifests or self.changes.chunks.get(existing.id):
            raise InvalidInputError(
                f"`{existing.path}` has chunks with {len(existing.array.shape)} coordinates and cannot "
                f"become an array of {len(updated.array.shape)} dimensions: delete the array first",
                ErrorKind.BAD_METADATA,
            )
        self.changes.chunks.pop(existing.id, None)

    def delete_node(self, path: str) -> None:
        """Delete a node and, for a group, everything below it. Missing nodes are fine."""
        with self._lock.held:
            self.check_writable()
            node = self.find(path)
            if node is None:
                return
            leaving = [node] if node.array is not None else list(self.nodes(path))
            for each in leaving:
                if each.path in self.changes.new_nodes:
                    self.changes.forget_node(each)
                else:
                    self.changes.delete_node(each)

    def clear(self) -> None:
        """Delete every node."""
        with self._lock.held:
            self.check_writable()
            for node in list(self.nodes()):
                if node.path in self.changes.new_nodes:
                    self.changes.forget_node(node)
                else:
                    self.changes.delete_node(node)

    def move_node(self, source: str, target: str) -> None:
        """Move a node with everything below it; both paths are canonical.

        Raises
        ------
        SessionStateError
            Kind `non-rearrange-session`, and as in `moves.move_node`.
        """
        if self.spec_version is SpecVersion.v1:
            raise FormatError(
                "nodes of a repository of spec version 1 cannot be moved: upgrade the repository first",
                ErrorKind.UNSUPPORTED_SPEC_VERSION,
            )
        with self._lock.held:
            self.check_open()
            if self.mode is not SessionMode.rearrange:
                raise SessionStateError(
                    "nodes are moved in a session of their own: open one with `Repository.rearrange_session`",
                    ErrorKind.NON_REARRANGE_SESSION,
                )
            move_node(self.changes, source, target)

    # Chunks

    def chunk_source(
        self, path: str, coordinates: Coordinates
    ) -> ChunkRef | tuple[bytes, ManifestRef] | None:
        """Where the reference of a chunk is to be found.

        Returns
        -------
        ChunkRef
            The session recorded it.
        tuple of bytes and ManifestRef
            It is in that manifest, under that node id, or nowhere.
        None
            There is no such chunk.
        """
        changes = self.changes
        node = changes.find(path)
        if node is None:
            return None
        array = node.array
        if array is None:
            raise InvalidInputError(f"`{path}` is a group, not an array", ErrorKind.NOT_AN_ARRAY)
        if not in_grid(path, coordinates, array.shape):
            return None
        table = changes.chunks.get(node.id)
        if table is not None:
            recorded = table.find(coordinates)
            if recorded is not UNRECORDED:
                return recorded  # type: ignore[return-value]  # UNRECORDED is excluded by identity
        manifest = self.manifest_of(node, array, coordinates)
        return None if manifest is None else (node.id, manifest)

    def manifest_of(self, node: Node, array: ArrayData, coordinates: Coordinates) -> ManifestRef | None:
        """The manifest of an array that has a chunk of the base, if there is such a chunk.

        Raises
        ------
        FormatError
            Kind `invalid-file-format`, as by `ExtentIndex`.
        """
        manifests = array.manifests
        if len(manifests) < 2:
            return manifests[0] if manifests else None
        known = self._extents.get(node.id)
        if known is not None and known[0].manifests is manifests:
            return known[1].find(coordinates)
        index = ExtentIndex(node.path, manifests, len(array.shape))
        self._extents[node.id] = (array, index)
        return index.find(coordinates)

    def check_chunk_writable(self, path: str, coordinates: Coordinates) -> Node:
        """The array that a chunk is about to be written to.

        Raises
        ------
        NodeNotFoundError
            Kind `node-not-found`.
        InvalidInputError
            Kind `not-an-array`, or `invalid-chunk-index` for a chunk outside the grid.
        """
        node, array = self.array(path)
        if not in_grid(path, coordinates, array.shape):
            raise InvalidInputError(
                f"the chunk {list(coordinates)} is outside the chunk grid of `{path}`, which has "
                f"{[dimension.num_chunks for dimension in array.shape]} chunks",
                ErrorKind.INVALID_CHUNK_INDEX,
            )
        return node

    def record_chunk(self, path: str, coordinates: Coordinates, reference: ChunkRef) -> None:
        """Record that a chunk has been written."""
        with self._lock.held:
            self.check_writable()
            node = self.check_chunk_writable(path, coordinates)
            self.changes.table(node).recent[coordinates] = reference

    def record_columns(self, path: str, references: ChunkRefs) -> None:
        """Record many written chunks; each coordinate at most once.

        Raises
        ------
        InvalidInputError
            Kind `invalid-chunk-index`, and nothing is recorded: one of them is outside the grid.
        """
        with self._lock.held:
            self.check_writable()
            self.changes.table(self.check_columns(path, references)).add_columns(references)

    def check_columns(self, path: str, references: ChunkRefs) -> Node:
        """The array that many chunks are about to be written to; see `check_chunk_writable`."""
        node, array = self.array(path)
        if references.ndim != len(array.shape):
            self.check_chunk_writable(path, tuple(references.coords[0].tolist()))
        high = [dimension.num_chunks for dimension in array.shape]
        inside = references.in_box([0] * len(high), high)
        if not inside.all():
            self.check_chunk_writable(path, tuple(references.coords[int(np.argmin(inside))].tolist()))
        return node

    def record_removal(self, node: Node, coordinates: Coordinates, *, in_base: bool) -> None:
        """Record that a chunk is gone; `in_base` says whether the base snapshot has it."""
        with self._lock.held:
            self.check_writable()
            now = self.find(node.path)
            if now is None or now.id != node.id:
                return  # somebody deleted the array meanwhile, and perhaps made another one
            if in_base:
                self.changes.table(node).recent[coordinates] = None
            elif node.id in self.changes.chunks:
                self.changes.chunks[node.id].forget(coordinates)

    def replace_chunks(
        self,
        node: Node,
        changes: ChangeSet,
        recorded: tuple[ChunkRefs, NDArray[np.uint32]] | None,
        table: ChunkTable,
    ) -> bool:
        """Put a table in the place of the one whose `chunk_changes` were `recorded`.

        Returns
        -------
        bool
            False, and nothing has changed, when somebody changed the array or its chunks since.
        """
        with self._lock.held:
            self.check_writable()
            if self.changes is not changes or self.find(node.path) != node:
                return False
            now = changes.chunks.get(node.id)
            if not same_recording(now.changes() if now else None, recorded):
                return False
            changes.chunks[node.id] = table
            return True

    def chunk_changes(self, node: Node, changes: ChangeSet) -> tuple[ChunkRefs, NDArray[np.uint32]] | None:
        """References and removals of an array in a change set, as columns; None when there are none."""
        with self._lock.held:
            table = changes.chunks.get(node.id)
            return table.changes() if table else None

    def read_changes(self) -> tuple[ChangeSet, dict[bytes, NDArray[np.uint32]]]:
        """A copy of the change set, and the changed coordinates of each array by node id."""
        with self._lock.held:
            return self.changes.copy(), dict(self.changes.changed_chunks())

    # Forks

    def frozen(self) -> ChangeSet:
        """The changes as they are now, never to be changed; the same object while nothing is recorded."""
        with self._lock.held:
            if self._frozen is None or not self.changes.is_same(self._frozen):
                self._frozen = self.changes.frozen()
            return self._frozen

    def fork_base(self, frozen: ChangeSet) -> Snapshot | None:
        """The snapshot that shows a session with the changes that `frozen` returned, if it was written."""
        if frozen.is_empty():
            return frozen.base
        shown = self._shown
        return shown[1] if shown is not None and shown[0] is frozen else None

    def add_fork_point(self, snapshot: Snapshot, frozen: ChangeSet) -> None:
        """Remember a snapshot that shows the session with the changes that `frozen` returned."""
        with self._lock.held:
            if frozen.base is not self.snapshot:
                return
            self._shown = frozen, snapshot
            self._fork_points[snapshot.id] = frozen
            if len(self._fork_points) > _FORK_POINTS:
                oldest = list(self._fork_points)[-_FORK_POINTS - 1]
                self._fork_points[oldest] = ChangeSet(frozen.base)

    def seen_by(self, fork: ChangeSet) -> Contribution | None:
        """The changes of a fork, to be merged; None if it was not made from this session."""
        if fork.base.id == self.snapshot.id:
            return Contribution(fork, None)
        seen = self._fork_points.get(fork.base.id)
        return None if seen is None else Contribution(fork, seen)

    def adopt(self, frozen: ChangeSet, merged: ChangeSet) -> bool:
        """Go on with merged changes.

        Returns
        -------
        bool
            False, and nothing has changed, when somebody recorded a change since `frozen`.
        """
        with self._lock.held:
            self.check_writable()
            if not self.changes.is_same(frozen):
                return False
            self.changes = merged
            return True

    def adopt_at_once(self, base: Snapshot, merge: Callable[[ChangeSet], ChangeSet | None]) -> bool:
        """Go on with what `merge` makes of the changes, while nobody records any: they wait until it is done.

        Returns
        -------
        bool
            False, and nothing has changed, when the base is another one by now, or `merge` gave None.
        """
        with self._lock.held:
            self.check_writable()
            merged = merge(self.changes.frozen()) if self.changes.base is base else None
            if merged is None:
                return False
            self.changes = merged
            return True

    @contextmanager
    def pickling_allowed(self) -> Iterator[None]:
        """Let pickles of the session be forks, for everybody who pickles it meanwhile."""
        with self._lock.held:
            self._pickling += 1
        try:
            yield
        finally:
            with self._lock.held:
                self._pickling -= 1

    @property
    def may_be_pickled(self) -> bool:
        """Whether a pickle of this session loses nothing."""
        return self.read_only or self.is_fork or self._pickling > 0

    # Life cycle

    def check_writable(self) -> None:
        """Refuse when the session cannot record a change of data or documents now."""
        self.check_open()
        if self.mode is SessionMode.rearrange:
            raise SessionStateError(
                "the session only moves nodes: commit it, then make other changes in a session from "
                "`Repository.writable_session`",
                ErrorKind.REARRANGE_SESSION_ONLY,
            )

    def check_open(self) -> None:
        """Refuse when the session cannot record a change of any kind now."""
        self.check_not_read_only()
        if self._sealed_in is not None and self._sealed_in == os.getpid():
            raise ReadOnlyError(
                "a commit or rebase of this session is under way, and a change made now would be lost: wait "
                "until it is over",
                ErrorKind.READ_ONLY_SESSION,
            )

    def check_not_read_only(self) -> None:
        """Refuse what a session that reads cannot do."""
        if self.mode is SessionMode.readonly:
            raise ReadOnlyError(
                "the session is read-only: open one with `Repository.writable_session`",
                ErrorKind.READ_ONLY_SESSION,
            )

    def discard_changes(self) -> None:
        """Forget everything that was recorded."""
        with self._lock.held:
            self.check_open()
            self._start(ChangeSet(self.snapshot))

    def has_changes(self) -> bool:
        """Whether a commit would contain anything."""
        with self._lock.held:
            return not self.changes.is_empty()

    @contextmanager
    def sealed(self) -> Iterator[ChangeSet]:
        """Hand out the change set for a commit, and refuse changes to it meanwhile.

        Raises
        ------
        SessionStateError
            Kind `commit-not-allowed`: the session is being committed or rebased.
        """
        ours = False
        try:
            with self._lock.held:
                if self._sealed_in == os.getpid():
                    raise SessionStateError(
                        "another commit or rebase of this session is under way", ErrorKind.COMMIT_NOT_ALLOWED
                    )
                self._sealed_in = os.getpid()
                ours = True
            yield self.changes
        finally:
            if ours:
                self._sealed_in = None

    def require_branch(self) -> str:
        """The branch that a commit goes to.

        Raises
        ------
        SessionStateError
            Kind `commit-not-allowed`: the session is on no branch.
        """
        if self.is_fork:
            raise SessionStateError(
                "a fork cannot be committed, amended or rebased: merge it into the session that it was made "
                "from, and commit that",
                ErrorKind.COMMIT_NOT_ALLOWED,
            )
        if self.branch is None:
            raise SessionStateError(
                "the session is on no branch and cannot be committed: it is read-only, or has been "
                "committed already; open a new one with `Repository.writable_session`",
                ErrorKind.COMMIT_NOT_ALLOWED,
            )
        return self.branch

    def rebased(self, changes: ChangeSet) -> None:
        """Go on with other changes on another base."""
        with self._lock.held:
            written = self.written
            self._start(changes)
            self.written = written  # for the next attempt of the commit

    def doubt(self, snapshot: Snapshot) -> None:
        """Remember the snapshot of a commit that failed where it may have landed all the same."""
        self._doubted = self.frozen(), snapshot

    def doubted(self) -> Snapshot | None:
        """A snapshot that may have landed, and that has just the changes that there are now."""
        if self._doubted is None:
            return None
        frozen, snapshot = self._doubted
        return snapshot if self.frozen() is frozen else None

    def committed(self, snapshot: Snapshot) -> None:
        """End a commit that landed: the session becomes a read-only view of it."""
        with self._lock.held:
            self._start(ChangeSet(snapshot))  # first: who is interrupted here has a session on its tip
            self.branch = None
            self.mode = SessionMode.readonly

    def _start(self, changes: ChangeSet) -> None:
        """Go on with other changes, which no fork knows of."""
        self.changes = changes
        self._extents = {}
        self._frozen = None
        self._fork_points = {}
        self._shown = None
        self._doubted = None
        self.written = WrittenManifests()


def _node(
    node_id: bytes, path: str, document: bytes, parsed: object, manifests: tuple[ManifestRef, ...]
) -> Node:
    if not isinstance(parsed, ArrayDocument):
        return Node(id=node_id, path=path, user_data=document, array=None)
    shape = tuple(map(DimensionShape, parsed.shape, parsed.num_chunks))
    array = ArrayData(shape=shape, dimension_names=parsed.dimension_names, manifests=manifests)
    return Node(id=node_id, path=path, user_data=document, array=array)
