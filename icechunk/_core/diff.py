"""What changed, in terms of paths: the answer to `Session.status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk.snapshots import Diff

if TYPE_CHECKING:
    from collections.abc import Iterable

    from icechunk._core.session_state import SessionState
    from icechunk._format.snapshot import Node


def session_status(state: SessionState) -> Diff:
    """The uncommitted changes of a session."""
    changes, tables = state.read_changes()
    paths = {node.id: node.path for node in changes.new_nodes.values()}
    wanted = set(tables) - set(paths)
    if wanted:
        paths.update((node.id, node.path) for node in changes.base if node.id in wanted)
    return Diff(
        new_groups=_paths(changes.new_nodes.values(), arrays=False),
        new_arrays=_paths(changes.new_nodes.values(), arrays=True),
        deleted_groups=_paths(changes.deleted_nodes.values(), arrays=False),
        deleted_arrays=_paths(changes.deleted_nodes.values(), arrays=True),
        updated_groups=_paths(changes.updated_nodes.values(), arrays=False),
        updated_arrays=_paths(changes.updated_nodes.values(), arrays=True),
        updated_chunks={
            paths[node_id]: coordinates.tolist() for node_id, coordinates in sorted(tables.items())
        },
    )


def _paths(nodes: Iterable[Node], *, arrays: bool) -> set[str]:
    return {node.path for node in tuple(nodes) if (node.array is not None) is arrays}
