"""Moving nodes in a change set, against a model: a dict from paths to ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk import AlreadyExistsError, ErrorKind, IcechunkError, NodeNotFoundError, SessionStateError
from icechunk._core.change_set import ChangeSet
from icechunk._core.commit_plan import nodes_after, transaction_log
from icechunk._core.moves import move_node
from icechunk._core.paths import is_inside, parent_path
from icechunk._format.snapshot import ArrayData, DimensionShape, Node, decode_snapshot, encode_snapshot

if TYPE_CHECKING:
    from icechunk._format.snapshot import Snapshot

GROUPS = ("/", "/a", "/a/b", "/a/b/c", "/d", "/d/b", "/long name")
ARRAYS = ("/x", "/a/x", "/a/b/x", "/a/b/c/x", "/d/x")
PATHS = sorted(GROUPS + ARRAYS, key=str.encode)
SOME_PATHS = [*PATHS, "/n", "/a/n", "/n/x", "/d/n", "/a/b/n", "/x/n", "/a-b", "/d/b/n/n"]

one_move = st.tuples(st.sampled_from(SOME_PATHS), st.sampled_from(SOME_PATHS))
moves = st.lists(one_move, max_size=12)


ARRAY_IDS = {number.to_bytes(8, "big") for number, path in enumerate(PATHS) if path in ARRAYS}
"""As `snapshot_of` numbers them."""


def snapshot_of(*paths: str) -> Snapshot:
    nodes = []
    for number, path in enumerate(sorted(paths, key=str.encode)):
        array = ArrayData((DimensionShape(4, 4),), (None,), ()) if path.endswith("x") else None
        nodes.append(Node(number.to_bytes(8, "big"), path, path.encode(), array))
    payload = encode_snapshot(
        id=bytes(12),
        parent_id=None,
        nodes=nodes,
        flushed_at=1,
        message="",
        metadata={},
        manifest_files=[],
        spec_version=2,
    )
    return decode_snapshot(bytes(payload), 2, "a snapshot")


def modelled(tree: dict[str, bytes], source: str, target: str) -> dict[str, bytes] | None:
    """The tree after a move, or None where that is not possible."""
    parent = parent_path(target) or "/"
    impossible = (
        source not in tree
        or source == target
        or is_inside(target, source)
        or target in tree
        or parent not in tree
        or tree[parent] in ARRAY_IDS
    )
    if impossible:
        return None
    return {
        (target + path[len(source) :] if path == source or is_inside(path, source) else path): node_id
        for path, node_id in tree.items()
    }


def tree_of(changes: ChangeSet) -> dict[str, bytes]:
    """All nodes, as they are listed; each is found where it is listed, with its own document."""
    listed = list(changes.nodes())
    found = {node.path: node.id for node in listed}
    assert len(found) == len(listed)
    original = {node.id: node for node in changes.base}
    for node in listed:
        assert changes.find(node.path) == node
        assert node.user_data == original[node.id].user_data
    return found


@given(moves)
def test_any_moves_do_what_the_model_does(wanted: list[tuple[str, str]]) -> None:
    base = snapshot_of(*PATHS)
    before = {node.path: node.id for node in base}
    changes, tree, done = ChangeSet(base), dict(before), []
    for source, target in wanted:
        expected = modelled(tree, source, target)
        if expected is None:
            with pytest.raises(IcechunkError):
                move_node(changes, source, target)
        else:
            move_node(changes, source, target)
            tree = expected
            done.append((source, target))
        assert tree_of(changes) == tree
    assert changes.moves == done
    for path in SOME_PATHS:
        assert (changes.find(path) is not None) == (path in tree)

    # What is where it was was not moved, and nothing but moves is in the log.
    assert changes.is_empty() == (tree == before)
    original = {node_id: path for path, node_id in before.items()}
    moved = {(original[node_id], path) for path, node_id in tree.items() if original[node_id] != path}
    log = transaction_log(b"a snapshot..", changes)
    assert {(move.from_path, move.to_path) for move in log.moved_nodes} == moved
    assert len(log.moved_nodes) == len(moved)
    assert all(tree[move.to_path] == move.node_id for move in log.moved_nodes)
    assert all(move.is_array == (move.node_id in ARRAY_IDS) for move in log.moved_nodes)
    assert not (log.new_groups | log.new_arrays | log.deleted_groups | log.deleted_arrays)
    assert not (log.updated_groups | log.updated_arrays | log.updated_chunks.keys())
    assert [move.to_path.split("/") for move in log.moved_nodes] == sorted(
        move.to_path.split("/") for move in log.moved_nodes
    )

    # The new snapshot has each node once, in order.
    nodes = nodes_after(base, changes, {})
    assert {node.path: node.id for node in nodes} == tree
    assert [node.path.encode() for node in nodes] == sorted(path.encode() for path in tree)


@given(moves)
def test_children_are_listed_where_they_are(wanted: list[tuple[str, str]]) -> None:
    changes = ChangeSet(snapshot_of(*PATHS))
    tree = {node.path: node.id for node in changes.base}
    for source, target in wanted:
        expected = modelled(tree, source, target)
        if expected is not None:
            move_node(changes, source, target)
            tree = expected
    for below in {*SOME_PATHS, *tree}:
        found = {node.path for node in changes.nodes(below)}
        assert found == {path for path in tree if path == below or is_inside(path, below)}
        children = {node.path for node in changes.base.children(below)} - changes.deleted_nodes.keys()
        children |= changes.new_children.get(below, set())
        assert children == {path for path in tree if parent_path(path) == below}


@given(moves)
def test_a_copy_does_not_see_later_moves(wanted: list[tuple[str, str]]) -> None:
    changes = ChangeSet(snapshot_of(*PATHS))
    move_node(changes, "/a/b", "/n")
    copy = changes.copy()
    before, moved = tree_of(copy), list(copy.moves)
    for source, target in wanted:
        try:
            move_node(changes, source, target)
        except IcechunkError:
            continue
    assert (tree_of(copy), copy.moves) == (before, moved)
    assert [path for _, path in copy.moved_paths()] == ["/a/b", "/a/b/c", "/a/b/c/x", "/a/b/x"]


REFUSED = {
    "missing": ("/nope", "/n", NodeNotFoundError, ErrorKind.NODE_NOT_FOUND),
    "missing, into itself": ("/nope", "/nope/n", NodeNotFoundError, ErrorKind.NODE_NOT_FOUND),
    "onto itself": ("/a", "/a", SessionStateError, ErrorKind.MOVE_INTO_SELF_OR_DESCENDANT),
    "into itself": ("/a", "/a/n", SessionStateError, ErrorKind.MOVE_INTO_SELF_OR_DESCENDANT),
    "into a group below it": ("/a", "/a/b/n", SessionStateError, ErrorKind.MOVE_INTO_SELF_OR_DESCENDANT),
    "onto a group below it": ("/a", "/a/b", SessionStateError, ErrorKind.MOVE_INTO_SELF_OR_DESCENDANT),
    "the root": ("/", "/n", SessionStateError, ErrorKind.MOVE_INTO_SELF_OR_DESCENDANT),
    "an array into itself": ("/x", "/x/n", SessionStateError, ErrorKind.MOVE_INTO_SELF_OR_DESCENDANT),
    "onto a group": ("/a", "/d", AlreadyExistsError, ErrorKind.MOVE_WONT_OVERWRITE),
    "onto an array": ("/a", "/x", AlreadyExistsError, ErrorKind.MOVE_WONT_OVERWRITE),
    "onto the root": ("/a", "/", AlreadyExistsError, ErrorKind.MOVE_WONT_OVERWRITE),
    "into a missing group": ("/a", "/n/n", SessionStateError, ErrorKind.MOVE_DESTINATION_PARENT_MISSING),
    "under an array": ("/a", "/x/n", SessionStateError, ErrorKind.MOVE_DESTINATION_PARENT_NOT_GROUP),
}


@pytest.mark.parametrize("case", REFUSED)
def test_moves_into_itself_under_an_array_or_without_a_group_are_refused(case: str) -> None:
    """The error names both paths, and nothing has moved."""
    source, target, error, kind = REFUSED[case]
    changes = ChangeSet(snapshot_of(*PATHS))
    before = tree_of(changes)
    with pytest.raises(error) as refused:
        move_node(changes, source, target)
    assert refused.value.kind == kind
    assert f"`{source}`" in str(refused.value)
    assert tree_of(changes) == before
    assert (changes.moves, changes.is_empty()) == ([], True)


def test_names_that_begin_alike_are_not_inside_each_other() -> None:
    changes = ChangeSet(snapshot_of("/", "/a", "/a/x", "/ab", "/ab/x"))
    move_node(changes, "/a", "/abc")
    assert tree_of(changes).keys() == {"/", "/ab", "/ab/x", "/abc", "/abc/x"}
    move_node(changes, "/ab", "/a")
    assert tree_of(changes).keys() == {"/", "/a", "/a/x", "/abc", "/abc/x"}


def test_nodes_without_groups_above_them_are_not_overwritten() -> None:
    """There is no `/n`, and yet something is below it."""
    changes = ChangeSet(snapshot_of("/", "/a", "/a/x", "/a/b", "/n/x"))
    before = tree_of(changes)
    with pytest.raises(AlreadyExistsError, match=r"`/a/x` cannot be moved to `/n/x`") as refused:
        move_node(changes, "/a", "/n")
    assert refused.value.kind == ErrorKind.MOVE_WONT_OVERWRITE
    assert tree_of(changes) == before
    assert changes.is_empty()
    move_node(changes, "/a/b", "/n")
    assert tree_of(changes).keys() == {"/", "/a", "/a/x", "/n", "/n/x"}


def test_nothing_else_can_be_moved_to_the_top_where_there_is_no_root() -> None:
    changes = ChangeSet(snapshot_of("/a", "/a/x"))
    with pytest.raises(SessionStateError) as refused:
        move_node(changes, "/a", "/b")
    assert refused.value.kind == ErrorKind.MOVE_DESTINATION_PARENT_MISSING
    move_node(changes, "/a/x", "/a/yx")
    assert tree_of(changes).keys() == {"/a", "/a/yx"}


def test_a_group_can_become_the_root_where_there_is_none() -> None:
    changes = ChangeSet(snapshot_of("/a", "/a/y", "/b", "/b/x"))
    before = tree_of(changes)
    move_node(changes, "/a", "/")
    assert tree_of(changes) == {
        "/": before["/a"],
        "/y": before["/a/y"],
        "/b": before["/b"],
        "/b/x": before["/b/x"],
    }
