"""What a repository is, in plain Python: trees of nodes in dicts, snapshots, branches, tags and sessions.

The model knows the rules and nothing of how they are kept: it has no files, no logs in a format and no
caches. A node has a number of its own that it keeps for as long as it lives, so that one made anew at a path
is another one. What cannot be done raises `Refused`.

Arrays have one dimension and chunks of one element, so that an array of n elements has the chunks 0 to n - 1.
Groups are made before what is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from icechunk import BasicConflictSolver, ConflictDetector, ConflictType, Diff, VersionSelection


@dataclass(frozen=True)
class Node:
    """A group, whose `length` is None, or an array.

    `stored` is another number each time the chunks of an array are stored otherwise than before, and 0 where
    it has none.
    """

    number: int
    document: bytes
    length: int | None
    chunks: Mapping[int, bytes] = field(default_factory=dict)
    stored: int = 0

    @property
    def is_array(self) -> bool:
        return self.length is not None

    def has_place_for(self, chunk: int) -> bool:
        return self.length is not None and chunk < self.length


Tree = dict[str, Node]
"""All nodes by their paths."""

Found = set[tuple[ConflictType, str, tuple[int, ...]]]
"""Conflicts: what, where, and in which chunks."""


class Refused(Exception):
    """Something that cannot be done; `kind` is that of the error."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Log:
    """What a commit did, by the numbers of the nodes."""

    created: frozenset[int] = frozenset()
    deleted: frozenset[int] = frozenset()
    updated: frozenset[int] = frozenset()
    chunks: Mapping[int, frozenset[int]] = field(default_factory=dict)
    moved: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def changes_paths(self) -> bool:
        return bool(self.created or self.deleted)


@dataclass(frozen=True)
class Snapshot:
    id: str
    parent: str | None
    message: str
    tree: Tree
    log: Log


class Conflicting(Refused):
    """A rebase that ends at a commit."""

    def __init__(self, snapshot: str, found: Found) -> None:
        super().__init__("rebase-failed")
        self.snapshot = snapshot
        self.found = found


@dataclass(frozen=True)
class Solver:
    """What a solver decides: a detector of conflicts fails on everything."""

    detects: bool = False
    on_chunks: VersionSelection = VersionSelection.UseOurs
    keeps_arrays: bool = False
    keeps_groups: bool = False

    def real(self) -> ConflictDetector | BasicConflictSolver:
        if self.detects:
            return ConflictDetector()
        return BasicConflictSolver(
            on_chunk_conflict=self.on_chunks,
            fail_on_delete_of_updated_array=self.keeps_arrays,
            fail_on_delete_of_updated_group=self.keeps_groups,
        )

    def solves(self, kind: ConflictType) -> bool:
        solvable = {
            ConflictType.ChunkDoubleUpdate: self.on_chunks is not VersionSelection.Fail,
            ConflictType.DeleteOfUpdatedArray: not self.keeps_arrays,
            ConflictType.DeleteOfUpdatedGroup: not self.keeps_groups,
        }
        return not self.detects and solvable.get(kind, False)


# Paths


def parent(path: str) -> str | None:
    if path == "/":
        return None
    return path.rpartition("/")[0] or "/"


def above(path: str) -> list[str]:
    """The paths of all groups that a path is in."""
    found = []
    at = parent(path)
    while at is not None:
        found.append(at)
        at = parent(at)
    return found


def subtree(tree: Tree, path: str) -> Tree:
    return {each: node for each, node in tree.items() if each == path or path in above(each)}


def move_refusal(tree: Tree, source: str, target: str) -> str | None:
    """Why a node cannot be moved."""
    group = tree.get(parent(target) or "/")
    if source not in tree:
        return "node-not-found"
    if source == target or source in above(target):
        return "move-into-self-or-descendant"
    if target in tree:
        return "move-wont-overwrite"
    if group is None:
        return "move-destination-parent-missing"
    return "move-destination-parent-not-group" if group.is_array else None


def moved(tree: Tree, source: str, target: str) -> Tree:
    """The tree after a move."""
    leaving = subtree(tree, source)
    staying = {path: node for path, node in tree.items() if path not in leaving}
    return staying | {target + path[len(source) :]: node for path, node in leaving.items()}


def by_number(tree: Tree) -> dict[int, tuple[str, Node]]:
    return {node.number: (path, node) for path, node in tree.items()}


# Sessions

_numbers = count(1)


class Session:
    """A base, what it has become, and the chunks that were touched on the way.

    A chunk that lies outside an array that was made smaller is there until the commit, should it grow again.
    """

    def __init__(self, base: Snapshot, branch: str, *, rearranges: bool = False) -> None:
        self.base = base
        self.branch = branch
        self.rearranges = rearranges
        self.discard()

    def discard(self) -> None:
        self.tree = dict(self.base.tree)
        self.touched: dict[int, frozenset[int]] = {}
        self.moves: list[tuple[str, str]] = []

    # What is changed

    def places(self, names: Iterable[str]) -> list[str]:
        """Where there may be a node: where one is, or in a group under one of some names."""
        groups = [path for path, node in self.tree.items() if not node.is_array]
        new = [f"{group.rstrip('/')}/{name}" for group in groups for name in names]
        return sorted({"/", *self.tree, *new})

    def put(self, path: str, document: bytes, length: int | None) -> None:
        existing = self.tree.get(path)
        if existing is None:
            self.tree[path] = Node(next(_numbers), document, length)
        elif existing.is_array != (length is not None):
            raise Refused("node-already-exists")
        else:
            self.tree[path] = replace(existing, document=document, length=length)

    def length(self, path: str) -> int:
        return self.tree[path].length or 0

    def write(self, path: str, chunk: int, value: bytes | None) -> None:
        """Write a chunk of an array, or delete it."""
        node = self.tree[path]
        if not node.has_place_for(chunk):
            if value is not None:
                raise Refused("invalid-chunk-index")
            return
        chunks, touched = dict(node.chunks), self.touched.get(node.number, frozenset())
        before = by_number(self.base.tree).get(node.number)
        if value is not None:
            chunks[chunk] = value
            touched |= {chunk}
        else:
            chunks.pop(chunk, None)
            touched -= {chunk}
            if before is not None and chunk in before[1].chunks:
                touched |= {chunk}
        self.tree[path] = replace(node, chunks=chunks)
        self.touched[node.number] = touched

    def delete(self, path: str) -> None:
        for each, node in subtree(self.tree, path).items():
            del self.tree[each]
            self.touched.pop(node.number, None)

    def rearrange(self, path: str, places: Mapping[int, int | None], *, clears: bool) -> None:
        """Put each chunk that there is in its place; None leaves it or, where `clears`, drops it."""
        node = self.tree[path]
        before = {at: value for at, value in node.chunks.items() if node.has_place_for(at)}
        after = {place: value for at, value in before.items() if (place := places[at]) is not None}
        for at in before:
            if clears and at not in after:
                self.write(path, at, None)
        for at, value in after.items():
            if places.get(at) != at:
                self.write(path, at, value)

    def move(self, source: str, target: str) -> None:
        if not self.rearranges:
            raise Refused("non-rearrange-session")
        refusal = move_refusal(self.tree, source, target)
        if refusal is not None:
            raise Refused(refusal)
        self.tree = moved(self.tree, source, target)
        self.moves.append((source, target))

    # What a commit would contain

    def log(self) -> Log:
        return log_of(self.base.tree, self.tree, self.touched)

    @property
    def is_dirty(self) -> bool:
        return self.log() != Log()

    def status(self) -> Diff:
        return described([self.log()], self.base.tree, self.tree)

    def committed_tree(self) -> Tree:
        """The tree as a commit leaves it: without chunks that have no place."""
        before = by_number(self.base.tree)
        tree = {}
        for path, node in self.tree.items():
            chunks = {at: value for at, value in node.chunks.items() if node.has_place_for(at)}
            stored = node.stored
            had = before[node.number][1].chunks if node.number in before else {}
            lost = any(not node.has_place_for(at) for at in had)
            if lost or any(node.has_place_for(at) for at in self.touched.get(node.number, ())):
                stored = next(_numbers)
            tree[path] = replace(node, chunks=chunks, stored=stored if chunks else 0)
        return tree

    # Rebasing

    def step(self, log: Log, theirs: Snapshot, solver: Solver) -> None:
        """Go past a commit, without going onto it yet.

        Raises
        ------
        Conflicting
        """
        if log.moved:
            raise Conflicting(theirs.id, {(ConflictType.MoveOperationCannotBeRebased, "", ())})
        if self.moves:
            if log.changes_paths:
                self._replay(theirs)
            return
        found = self.conflicts(log, theirs.tree)
        if not all(solver.solves(kind) for kind, _, _ in found):
            raise Conflicting(theirs.id, found)
        if solver.on_chunks is VersionSelection.UseTheirs:
            for number, chunks in log.chunks.items():
                if number in self.touched:
                    self.touched[number] -= chunks

    def conflicts(self, log: Log, theirs: Tree) -> Found:
        """What is in conflict between our changes and a commit that led to a tree."""
        found: Found = set()
        before, ours = self.base.tree, self.log()
        for path, node in self.tree.items():
            if node.number not in ours.created or not log.changes_paths:
                continue
            if path in theirs and theirs[path].number not in ours.deleted:
                found.add((ConflictType.NewNodeConflictsWithExistingNode, path, ()))
            for group in above(path):
                if group in self.tree and self.tree[group].number in ours.created:
                    continue
                there = theirs.get(group)
                if there is None or there.is_array:
                    found.add((ConflictType.NewNodeInInvalidGroup, group, ()))
        for path, node in before.items():
            if node.number in ours.deleted:
                found |= self._deletion(path, node, log, theirs)
            else:
                found |= self._update(path, node, ours, log)
        return found

    def _deletion(self, path: str, node: Node, log: Log, theirs: Tree) -> Found:
        found: Found = set()
        now = theirs.get(path)
        if now is not None and now.is_array == node.is_array:
            if node.is_array and (now.number in log.updated or log.chunks.get(now.number)):
                found.add((ConflictType.DeleteOfUpdatedArray, path, ()))
            if not node.is_array and now.number in log.updated:
                found.add((ConflictType.DeleteOfUpdatedGroup, path, ()))
        ours = self.log().deleted
        topmost = not node.is_array and all(self.base.tree[each].number not in ours for each in above(path))
        grown = [each for each in subtree(theirs, path).items() if each[0] != path]
        if topmost and any(each.number in log.created and each.number not in ours for _, each in grown):
            found.add((ConflictType.NewNodeInInvalidGroup, path, ()))
        return found

    def _update(self, path: str, node: Node, ours: Log, log: Log) -> Found:
        found: Found = set()
        number, touched = node.number, ours.chunks.get(node.number, frozenset())
        if number in ours.updated and number in log.updated:
            found.add((ConflictType.ZarrMetadataDoubleUpdate, path, ()))
        if number in ours.updated and number in log.deleted:
            kind = ConflictType.ZarrMetadataUpdateOfDeletedGroup
            found.add((ConflictType.ZarrMetadataUpdateOfDeletedArray if node.is_array else kind, path, ()))
        if touched and number in log.deleted:
            found.add((ConflictType.ChunksUpdatedInDeletedArray, path, ()))
        if touched and number in log.updated:
            found.add((ConflictType.ChunksUpdatedInUpdatedArray, path, ()))
        both = touched & log.chunks.get(number, frozenset())
        if both:
            found.add((ConflictType.ChunkDoubleUpdate, path, tuple(sorted(both))))
        return found

    def go_onto(self, theirs: Snapshot) -> None:
        """Make what remains of the changes on top of another snapshot."""
        if self.moves:
            self._replay(theirs)
            self.base = theirs
            return
        ours, mine = self.log(), by_number(self.tree)
        tree: Tree = {}
        for path, node in theirs.tree.items():
            if node.number in ours.deleted:
                continue
            merged = node
            if node.number in ours.updated:
                own = mine[node.number][1]
                merged = replace(merged, document=own.document, length=own.length)
            touched = self.touched.get(node.number)
            if touched:
                chunks = {at: value for at, value in merged.chunks.items() if at not in touched}
                own_chunks = mine[node.number][1].chunks
                chunks |= {at: own_chunks[at] for at in touched if at in own_chunks}
                merged = replace(merged, chunks=chunks)
            tree[path] = merged
        tree |= {path: node for path, node in self.tree.items() if node.number in ours.created}
        self.base, self.tree = theirs, tree

    def _replay(self, theirs: Snapshot) -> None:
        """Make the moves anew on top of another snapshot."""
        tree = theirs.tree
        found: Found = set()
        missed: Tree = {}  # where what we moved would be, had the move been possible
        for source, target in self.moves:
            meant = missed.keys().isdisjoint([source, *above(source)])
            if meant and move_refusal(tree, source, target) is None:
                tree, missed = moved(tree, source, target), moved(missed, source, target)
            else:
                found.add((ConflictType.MoveOperationCannotBeRebased, source, ()))
                missed = {path: each for path, each in missed.items() if source not in [path, *above(path)]}
                missed[target] = Node(0, b"", None)
        if found:
            raise Conflicting(theirs.id, found)
        self.tree = dict(tree)


def log_of(before: Tree, after: Tree, touched: Mapping[int, frozenset[int]]) -> Log:
    """What leads from a tree to another, given the chunks that were touched."""
    old, new = by_number(before), by_number(after)
    both = old.keys() & new.keys()
    return Log(
        frozenset(new.keys() - old.keys()),
        frozenset(old.keys() - new.keys()),
        frozenset(each for each in both if old[each][1].document != new[each][1].document),
        {number: chunks for number, chunks in touched.items() if chunks},
        {each: (old[each][0], new[each][0]) for each in both if old[each][0] != new[each][0]},
    )


def joined_chunks(logs: list[Log]) -> dict[int, frozenset[int]]:
    found: dict[int, frozenset[int]] = {}
    for log in logs:
        for number, chunks in log.chunks.items():
            found[number] = found.get(number, frozenset()) | chunks
    return found


def joined(older: Log, newer: Log) -> Log:
    """What an amended commit did: each list of both, and each move from the first path to the last."""
    moves = dict(older.moved)
    for number, (source, target) in newer.moved.items():
        moves[number] = (moves[number][0] if number in moves else source, target)
    return Log(
        older.created | newer.created,
        older.deleted | newer.deleted,
        older.updated | newer.updated,
        joined_chunks([older, newer]),
        {number: move for number, move in moves.items() if move[0] != move[1]},
    )


def described(logs: list[Log], before: Tree, after: Tree) -> Diff:
    """What a chain of logs did, oldest first, by the last paths of nodes that one of the trees has."""
    known = by_number(before) | by_number(after)

    def paths(numbers: Iterable[int], *, arrays: bool) -> set[str]:
        return {known[each][0] for each in numbers if each in known and known[each][1].is_array is arrays}

    chunks: dict[str, set[int]] = {}
    for number, touched in joined_chunks(logs).items():
        if number in known:
            chunks.setdefault(known[number][0], set()).update(touched)
    created, deleted, updated = (
        [number for log in logs for number in getattr(log, what)]
        for what in ("created", "deleted", "updated")
    )
    moves = [sorted(log.moved.values(), key=lambda move: move[1].split("/")) for log in reversed(logs)]
    return Diff(
        new_groups=paths(created, arrays=False),
        new_arrays=paths(created, arrays=True),
        deleted_groups=paths(deleted, arrays=False),
        deleted_arrays=paths(deleted, arrays=True),
        updated_groups=paths(updated, arrays=False),
        updated_arrays=paths(updated, arrays=True),
        updated_chunks={path: [[at] for at in sorted(touched)] for path, touched in chunks.items()},
        moved_nodes=[move for moves_of_log in moves for move in moves_of_log],
    )


# Repositories


class Repository:
    """Snapshots in the order in which they were made, and what points to them."""

    def __init__(self, initial: str, message: str, spec_version: int) -> None:
        self.spec_version = spec_version
        self.snapshots = {initial: Snapshot(initial, None, message, {}, Log())}
        self.branches = {"main": initial}
        self.tags: dict[str, str] = {}
        self.deleted_tags: set[str] = set()

    # Names

    def create_branch(self, name: str, snapshot_id: str) -> None:
        if name in self.branches:
            raise Refused("branch-update-conflict" if self.spec_version == 1 else "branch-already-exists")
        self.branches[name] = snapshot_id

    def reset_branch(self, name: str, snapshot_id: str, *, from_snapshot_id: str | None = None) -> None:
        if name not in self.branches and from_snapshot_id is None:
            raise Refused("ref-not-found")
        if name not in self.branches and self.spec_version == 2:
            raise Refused("branch-not-found")
        if from_snapshot_id is not None and self.branches.get(name) != from_snapshot_id:
            raise Refused("branch-update-conflict")
        self.branches[name] = snapshot_id

    def delete_branch(self, name: str) -> None:
        if name == "main":
            raise Refused("cannot-delete-main")
        if name not in self.branches:
            raise Refused("ref-not-found")
        del self.branches[name]

    def create_tag(self, name: str, snapshot_id: str) -> None:
        if name in self.tags or (name in self.deleted_tags and self.spec_version == 1):
            raise Refused("tag-already-exists")
        if name in self.deleted_tags:
            raise Refused("tag-previously-deleted")
        self.tags[name] = snapshot_id

    def delete_tag(self, name: str) -> None:
        if name not in self.tags:
            raise Refused("ref-not-found")
        del self.tags[name]
        self.deleted_tags.add(name)

    # History

    def ancestry(self, snapshot_id: str) -> list[Snapshot]:
        """A snapshot and all before it, newest first."""
        found = [self.snapshots[snapshot_id]]
        while (before := found[-1].parent) is not None:
            found.append(self.snapshots[before])
        return found

    def diff(self, start: str, end: str) -> Diff:
        history = self.ancestry(end)
        places = [snapshot.id for snapshot in history]
        if start == end or start not in places:
            raise Refused("bad-snapshot-chain-for-diff")
        newer = history[: places.index(start)]
        logs = [snapshot.log for snapshot in reversed(newer)]
        return described(logs, self.snapshots[start].tree, history[0].tree)

    # Commits

    def require_tip(self, session: Session) -> None:
        """Refuse a commit of a session that is not based on the tip of its branch."""
        if session.branch not in self.branches and self.spec_version == 2:
            raise Refused("branch-not-found")
        if self.branches.get(session.branch) != session.base.id:
            raise Refused("commit-conflict")

    def require_amendable(self, session: Session) -> None:
        if session.base.parent is None:
            raise Refused("no-amend-for-initial-commit")
        if session.base.log.moved and not session.rearranges:
            raise Refused("rearrange-session-only")
        self.require_tip(session)

    def add(self, session: Session, snapshot_id: str, message: str, *, amends: bool = False) -> Snapshot:
        """The snapshot of a session, on no branch yet."""
        base, log = session.base, session.log()
        made = Snapshot(snapshot_id, base.id, message, session.committed_tree(), log)
        if amends:
            made = replace(made, parent=base.parent, log=joined(base.log, log))
        self.snapshots[snapshot_id] = made
        return made

    def rebase(self, session: Session, solver: Solver) -> None:
        """Go on from the tip of the session's branch, or as far as it goes.

        Raises
        ------
        Conflicting
        """
        tip = self.branches.get(session.branch)
        if tip is None:
            return
        history = self.ancestry(tip)
        places = [snapshot.id for snapshot in history]
        if session.base.id not in places:
            self._rebase_across(session, history, solver)
            return
        reached = session.base
        try:
            for theirs in history[: places.index(session.base.id)][::-1]:
                session.step(theirs.log, theirs, solver)
                reached = theirs
        finally:
            if reached is not session.base:
                session.go_onto(reached)

    def _rebase_across(self, session: Session, history: list[Snapshot], solver: Solver) -> None:
        """Go to a tip that was not built on the base: what differs is one step."""
        own = self.ancestry(session.base.id)
        common = {snapshot.id for snapshot in own} & {snapshot.id for snapshot in history}
        apart = [snapshot.log for snapshot in [*own, *history] if snapshot.id not in common]
        tip, before = history[0], by_number(session.base.tree)
        stored_anew = {
            node.number
            for node in tip.tree.values()
            if node.number in before and before[node.number][1].stored != node.stored
        }
        chunks = {number: at for number, at in joined_chunks(apart).items() if number in stored_anew}
        session.step(log_of(session.base.tree, tip.tree, chunks), tip, solver)
        session.go_onto(tip)
