"""What a commit makes of its changes before anything is written."""

from __future__ import annotations

import pytest

from icechunk._core.commit_plan import manifest_files_after
from icechunk._core.ids import id_text
from icechunk._exceptions import InternalError
from icechunk._format.snapshot import ArrayData, ManifestFile, ManifestRef, Node


def node(name: str, *manifests: bytes) -> Node:
    references = tuple(
        ManifestRef(manifest, ((number, number + 1),)) for number, manifest in enumerate(manifests)
    )
    return Node(name.encode() * 8, f"/{name}", b"{}", ArrayData((), None, references))


def file(manifest: bytes) -> ManifestFile:
    return ManifestFile(manifest, 100, 1)


OLD, NEW, UNUSED = (letter * 12 for letter in (b"o", b"n", b"u"))
GROUP = Node(b"g" * 8, "/g", b"{}", None)


def test_the_manifests_of_a_snapshot_are_those_of_its_arrays() -> None:
    """Each is listed once, in order of ids, and none that no array refers to any more."""
    nodes = [GROUP, node("a", OLD, NEW), node("b", OLD), node("c")]
    assert manifest_files_after(nodes, [file(UNUSED), file(OLD)], [file(NEW)]) == [file(NEW), file(OLD)]
    assert manifest_files_after([GROUP, node("c")], [file(OLD)], []) == []


def test_a_snapshot_with_manifests_that_it_does_not_list_is_not_written() -> None:
    """Whoever collects garbage, or checks sizes, goes by the list: what is not in it would be lost."""
    with pytest.raises(InternalError, match=f"does not list: {id_text(NEW)}$") as raised:
        manifest_files_after([node("a", OLD, NEW)], [file(OLD)], [file(UNUSED)])
    assert raised.value.kind == "inconsistent-manifests"
