"""Bringing the changes of forks home: one change set of several that were made side by side.

*We* are the session that is merged into, *they* a fork. Their changes are based on a snapshot that we know,
since it shows what we had when the fork was made: our base, or our base with our changes of that moment. So
what a fork did, and what we did since, is told apart node by node.

Nodes that several writers make at one path, with one document, become one node. What contradicts is an
error, never a choice: two documents at one path, or a node that one side deletes and the other one changes.
Chunk tables are joined last, for all forks together; there the last writer wins.

Pure: the change sets given stay as they are, so that a merge that is refused has changed nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from icechunk._core.change_set import ChangeSet, ChunkTable, with_manifests_of
from icechunk._core.joined_tables import join_recordings, recorded_since
from icechunk._core.paths import paths_above
from icechunk._exceptions import ErrorKind, SessionStateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from icechunk._core.joined_tables import Recording
    from icechunk._format.snapshot import Node


class Contribution(NamedTuple):
    """The changes of a fork, and what of ours it was made on top of; None if that is our base alone."""

    changes: ChangeSet
    seen: ChangeSet | None


class Merged(NamedTuple):
    """The outcome of a merge; `twice` has the chunks, by array path, that were written differently."""

    changes: ChangeSet
    twice: dict[str, NDArray[np.uint32]]


def merge_changes(ours: ChangeSet, contributions: Sequence[Contribution]) -> Merged:
    """Our changes with those of forks on top.

    Parameters
    ----------
    ours : ChangeSet
        Moves nothing, and neither do the others.
    contributions : sequence of Contribution
        Of forks, in the order in which they are laid over each other.

    Raises
    ------
    SessionStateError
        Kind `merge-failed`: changes contradict each other.
    """
    merge = _Merge(ours)
    for contribution in contributions:
        merge.add(contribution)
    return merge.finish()


class _Merge:
    """A merge under way: the nodes merged so far, and the recordings of chunks that wait for the end."""

    def __init__(self, ours: ChangeSet) -> None:
        self._merged = ours.frozen()
        self._recordings: dict[bytes, list[tuple[Recording, ChangeSet | None]]] = {}
        self._paths: dict[bytes, str] = {}

    def add(self, contribution: Contribution) -> None:
        """Take over the nodes of a fork, and put its recordings of chunks by."""
        theirs = contribution.changes
        tables = {node_id: table.changes() for node_id, table in theirs.chunks.items() if table}
        gone = self._delete(contribution)
        for node in theirs.updated_nodes.values():
            self._update(node, theirs)
        joined = self._create(theirs, gone)
        paths = {node.id: node.path for node in theirs.new_nodes.values()}
        paths |= theirs.base.paths_of(tables.keys() - paths.keys())
        for node_id, recording in tables.items():
            self._record(joined.get(node_id, node_id), paths[node_id], recording, contribution.seen)

    def finish(self) -> Merged:
        """Join the recordings of each array."""
        merged, twice = self._merged, {}
        for node_id, parts in self._recordings.items():
            path = self._paths[node_id]
            found = merged.chunks.get(node_id)
            mine = found.changes() if found else None
            own: list[Recording] = [] if mine is None else [mine]
            joined = join_recordings([*own, *(each for each, _ in parts)], known=len(own))
            again = [joined.twice, *self._against_ours(node_id, mine, parts)]
            chunks = np.unique(np.concatenate(again), axis=0) if len(again) > 1 else joined.twice
            if len(chunks):
                twice[path] = chunks
            removed = joined.removed
            if path in merged.new_nodes:
                removed = removed[:0]  # there are none below that a removal could be about
            ndim = joined.references.ndim
            merged.chunks[node_id] = ChunkTable.of(ndim, (joined.references, removed))
        return Merged(merged, twice)

    # Nodes

    def _delete(self, contribution: Contribution) -> set[str]:
        """Delete what they deleted; returns the paths of what was gone already."""
        merged, theirs = self._merged, contribution.changes
        gone = set()
        for path, node in theirs.deleted_nodes.items():
            now = merged.find(path)
            if now is None:
                gone.add(path)
                continue
            if now.id != node.id:
                if path not in theirs.new_nodes:
                    _refuse(path, "it was deleted in one session and deleted and created again in another")
                continue
            then = theirs.base.find(path)
            if then is None or now.user_data != then.user_data:
                _refuse(path, "it was deleted in one session and its metadata was updated in another")
            if self._has_new_chunks(now, contribution.seen):
                _refuse(path, "it was deleted in one session and its chunks were written in another")
            if path in merged.new_nodes:
                merged.forget_node(now)
            else:
                stored = merged.base.find(path)
                assert stored is not None
                merged.delete_node(stored)
        self._check_nothing_lost(theirs)
        return gone

    def _check_nothing_lost(self, theirs: ChangeSet) -> None:
        """Refuse to delete groups in which we created nodes that they did not know of."""
        lost = {path for path in theirs.deleted_nodes if path not in theirs.new_nodes}
        if not lost:
            return
        for path in self._merged.new_nodes:
            group = next((above for above in paths_above(path) if above in lost), None)
            if group is not None and theirs.base.find(path) is None:
                _refuse(group, f"it was deleted in one session and `{path}` was created in it in another")

    def _update(self, node: Node, theirs: ChangeSet) -> None:
        merged, path = self._merged, node.path
        now, then = merged.find(path), theirs.base.find(path)
        assert then is not None
        if now is None or now.id != node.id:
            _refuse(path, "its metadata was updated in one session and it was deleted in another")
        if now.user_data == node.user_data:
            return
        if now.user_data != then.user_data:
            _refuse(path, "its metadata was updated in two sessions, in different ways")
        self._check_chunks_fit(node)
        updated = with_manifests_of(node, now)
        if path in merged.new_nodes:
            merged.add_node(updated)
        elif updated == merged.base.find(path):
            merged.updated_nodes.pop(node.id, None)
        else:
            merged.updated_nodes[node.id] = updated

    def _check_chunks_fit(self, node: Node) -> None:
        """Refuse another number of dimensions for an array whose chunks were written."""
        if node.array is None:
            return
        table = self._merged.chunks.get(node.id)
        widths = {recording[0].ndim for recording, _ in self._recordings.get(node.id, ())}
        if (widths | ({table.ndim} if table else set())) - {len(node.array.shape)}:
            _refuse(node.path, "its number of dimensions changed in one session, its chunks in another")

    def _create(self, theirs: ChangeSet, gone: set[str]) -> dict[bytes, bytes]:
        """Create what they created; returns the ids of nodes that are there already, by their ids."""
        merged, joined = self._merged, {}
        for path, node in theirs.new_nodes.items():
            now = merged.find(path)
            if now is None:
                if path in gone:
                    _refuse(path, "it was deleted in one session and deleted and created again in another")
                self._check_has_group(path, theirs)
                merged.add_node(node)
            elif now.id != node.id or now.user_data != node.user_data:
                _check_equal(now, node)
                joined[node.id] = now.id
        return joined

    def _check_has_group(self, path: str, theirs: ChangeSet) -> None:
        """Refuse a node in a group that they have and that we deleted."""
        for above in paths_above(path):
            if self._merged.find(above) is None and above not in theirs.new_nodes:
                if theirs.base.find(above) is not None and above not in theirs.deleted_nodes:
                    _refuse(above, f"it was deleted in one session and `{path}` was created in it in another")
            else:
                return

    # Chunks

    def _record(self, node_id: bytes, path: str, recording: Recording, seen: ChangeSet | None) -> None:
        now = self._merged.find(path)
        if now is None or now.id != node_id or now.array is None:
            _refuse(path, "its chunks were written in one session and it was deleted in another")
        if recording[0].ndim != len(now.array.shape):
            _refuse(path, "its number of dimensions changed in one session, its chunks in another")
        self._paths[node_id] = path
        self._recordings.setdefault(node_id, []).append((recording, seen))

    def _has_new_chunks(self, node: Node, seen: ChangeSet | None) -> bool:
        """Whether chunks of a node were written by others than the fork that saw `seen`."""
        if node.id in self._recordings:
            return True
        table = self._merged.chunks.get(node.id)
        if not table:
            return False
        before = _recording(seen, node.id)
        return before is None or any(len(each) for each in recorded_since(table.changes(), before))

    def _against_ours(
        self, node_id: bytes, mine: Recording | None, parts: Sequence[tuple[Recording, ChangeSet | None]]
    ) -> Iterator[NDArray[np.uint32]]:
        """Chunks that forks wrote, and that we wrote too since they were made."""
        if mine is None:
            return
        by_seen: dict[int, list[tuple[Recording, ChangeSet | None]]] = {}
        for part in parts:
            by_seen.setdefault(id(part[1]), []).append(part)
        for same in by_seen.values():
            before = _recording(same[0][1], node_id)
            since = mine if before is None else recorded_since(mine, before)
            if any(len(each) for each in since):
                theirs = join_recordings([each for each, _ in same])
                yield join_recordings([since, (theirs.references, theirs.removed)]).twice


def _recording(changes: ChangeSet | None, node_id: bytes) -> Recording | None:
    table = None if changes is None else changes.chunks.get(node_id)
    return table.changes() if table else None


def _check_equal(some: Node, other: Node) -> None:
    """Refuse two new nodes at one path, unless they are the same but for their ids."""
    path = some.path
    if (some.array is None) != (other.array is None):
        _refuse(path, "it was created as a group in one session and as an array in another")
    if some.user_data == other.user_data:
        return
    documents = [json.loads(node.user_data) for node in (some, other)]
    if documents[0] == documents[1]:
        return
    differing = sorted(
        key
        for key in documents[0].keys() | documents[1].keys()
        if documents[0].get(key) != documents[1].get(key)
    )
    _refuse(path, f"it was created in two sessions, with different {', '.join(differing)}")


def _refuse(path: str, what: str) -> NoReturn:
    raise SessionStateError(
        f"sessions cannot be merged because of `{path}`: {what}. Nothing was merged", ErrorKind.MERGE_FAILED
    )


def describe_twice(twice: dict[str, NDArray[np.uint32]]) -> str:
    """A sentence about chunks that were written differently."""
    named = []
    for path, chunks in sorted(twice.items()):
        first = ", ".join(str(each) for each in chunks[:_NAMED].tolist())
        more = ", ..." if len(chunks) > _NAMED else ""
        named.append(f"{len(chunks)} of `{path}` ({first}{more})")
    return f"chunks were written by more than one of the sessions that are merged: {'; '.join(named)}"


_NAMED = 3
"""Chunks of an array that a message names."""
