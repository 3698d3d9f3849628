"""Moving nodes: the rules of a session that rearranges the hierarchy.

A group moves with everything below it. Nothing is overwritten and no group is
made on the way. A session is a list of such moves, one after the other; on
another base they are made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._core.paths import is_inside, parent_path
from icechunk._exceptions import (
    AlreadyExistsError,
    ErrorKind,
    NodeNotFoundError,
    SessionStateError,
)

if TYPE_CHECKING:
    from icechunk._core.change_set import ChangeSet


def move_node(changes: ChangeSet, source: str, target: str) -> None:
    """Record that a node, and all below it, go from one canonical path to another.

    Raises
    ------
    NodeNotFoundError
        Kind `node-not-found`: there is nothing at `source`.
    AlreadyExistsError
        Kind `move-wont-overwrite`.
    SessionStateError
        Kind `move-into-self-or-descendant`, `move-destination-parent-missing` or
        `move-destination-parent-not-group`.
    """
    if changes.find(source) is None:
        raise NodeNotFoundError(f"there is no node at `{source}` to move", ErrorKind.NODE_NOT_FOUND)
    if source == target or is_inside(target, source):
        raise SessionStateError(
            f"`{source}` cannot be moved to `{target}`, which is itself or lies within it",
            ErrorKind.MOVE_INTO_SELF_OR_DESCENDANT,
        )
    if changes.find(target) is not None:
        raise _occupied(source, target)
    above = parent_path(target)  # the root has none
    parent = None if above is None else changes.find(above)
    if parent is None and above is not None:
        raise SessionStateError(
            f"`{source}` cannot be moved to `{target}`: there is no group `{above}`. Create it in a writable "
            "session and commit it first",
            ErrorKind.MOVE_DESTINATION_PARENT_MISSING,
        )
    if parent is not None and parent.array is not None:
        raise SessionStateError(
            f"`{source}` cannot be moved to `{target}`: `{above}` is an array and has no nodes below it",
            ErrorKind.MOVE_DESTINATION_PARENT_NOT_GROUP,
        )
    below = "" if target == "/" else target
    moving = [(node, below + node.path[len(source) :] or "/") for node in changes.nodes(source)]
    for node, path in moving:
        # Nodes may lack groups above them, so that there may be some below a path where there is none.
        if changes.find(path) is not None:
            raise _occupied(node.path, path)
    for node, path in moving:
        changes.relocate_node(node, path)
    changes.moves.append((source, target))


def _occupied(source: str, target: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"`{source}` cannot be moved to `{target}`, where another node is: a move overwrites nothing",
        ErrorKind.MOVE_WONT_OVERWRITE,
    )
