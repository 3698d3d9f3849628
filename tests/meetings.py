"""Two changes of one repository that meet: what they did and, for each, the commit that lands first.

`MEETINGS` holds for each kind of conflict the ways in which it comes about, what a rebase has to report, and
what has to be in the repository in the end when a solver takes our side, or theirs, in every conflict.
"""

from __future__ import annotations

from typing import NamedTuple

from icechunk import ConflictType
from tests.trees import Content, Edit, array, group

BASE: Content = {
    "zarr.json": group(),
    "a/zarr.json": array(4),
    "a/c/0": b"a0",
    "a/c/1": b"a1",
    "bare/zarr.json": array(4),
    "g/zarr.json": group(),
    "g/a/zarr.json": array(4),
    "g/a/c/0": b"ga0",
    "g/h/zarr.json": group(),
    "g/h/a/zarr.json": array(2, 2),
    "g/h/a/c/0/1": b"gha01",
}
"""What both sides start from."""

Found = tuple[ConflictType, str, list[list[int]] | None]

UNSOLVED = None
"""In place of a content: there is nothing that can be done."""


class Meeting(NamedTuple):
    """Two changes of `BASE`.

    `ours` and `theirs` are the sides; `found` is all that a rebase of ours over theirs reports. `with_ours`
    and `with_theirs` are changes of `BASE` that have its result, when the solver says so of every conflict.
    """

    theirs: list[Edit]
    ours: list[Edit]
    found: list[Found]
    with_ours: list[Edit] | None
    with_theirs: list[Edit] | None


def after(edits: list[Edit], before: Content = BASE) -> Content:
    """A content with changes; with the document of a node goes the node and all below it."""
    content = dict(before)
    for key, value in edits:
        if value is not None:
            content[key] = value
        elif key.endswith("zarr.json"):
            below = key.removesuffix("zarr.json")
            content = {other: kept for other, kept in content.items() if not other.startswith(below)}
        else:
            content.pop(key, None)
    return content


_Kind = ConflictType
_both_groups: list[Edit] = [("n/zarr.json", group(by="them")), ("n/theirs/zarr.json", group())]
_our_group: list[Edit] = [
    ("n/zarr.json", group(by="us")),
    ("n/ours/zarr.json", array(1)),
    ("n/ours/c/0", b"us"),
]
_their_array: list[Edit] = [("n/zarr.json", array(3, by="them")), ("n/c/2", b"them")]
_our_array: list[Edit] = [("n/zarr.json", array(2, by="us")), ("n/c/1", b"us")]
_gone_a: list[Edit] = [("a/zarr.json", None)]

MEETINGS: dict[str, Meeting] = {
    # NewNodeConflictsWithExistingNode
    "both create a group": Meeting(
        theirs=_both_groups,
        ours=_our_group,
        found=[(_Kind.NewNodeConflictsWithExistingNode, "/n", None)],
        with_ours=_our_group,
        with_theirs=[*_our_group, *_both_groups],
    ),
    "both create an array": Meeting(
        theirs=_their_array,
        ours=_our_array,
        found=[(_Kind.NewNodeConflictsWithExistingNode, "/n", None)],
        with_ours=_our_array,
        with_theirs=_their_array,
    ),
    "they create an array, we a group with nodes in it": Meeting(
        theirs=_their_array,
        ours=_our_group,
        found=[
            (_Kind.NewNodeConflictsWithExistingNode, "/n", None),
            (_Kind.NewNodeInInvalidGroup, "/n", None),
        ],
        with_ours=_our_group,
        with_theirs=_their_array,
    ),
    "they create a group with nodes in it, we an array": Meeting(
        theirs=_both_groups,
        ours=_our_array,
        found=[(_Kind.NewNodeConflictsWithExistingNode, "/n", None)],
        with_ours=_our_array,
        with_theirs=_both_groups,
    ),
    "both create the same hierarchy": Meeting(
        theirs=[*_both_groups, ("n/x/zarr.json", array(2)), ("n/x/c/0", b"them")],
        ours=[*_our_group, ("n/x/zarr.json", array(2)), ("n/x/c/1", b"us")],
        found=[
            (_Kind.NewNodeConflictsWithExistingNode, "/n", None),
            (_Kind.NewNodeConflictsWithExistingNode, "/n/x", None),
        ],
        with_ours=[*_our_group, ("n/x/zarr.json", array(2)), ("n/x/c/1", b"us")],
        with_theirs=[*_our_group, *_both_groups, ("n/x/zarr.json", array(2)), ("n/x/c/0", b"them")],
    ),
    "both make a node anew": Meeting(
        theirs=[*_gone_a, ("a/zarr.json", array(3, by="them")), ("a/c/2", b"them")],
        ours=[*_gone_a, ("a/zarr.json", group(by="us"))],
        found=[
            (_Kind.NewNodeConflictsWithExistingNode, "/a", None),
            (_Kind.DeleteOfUpdatedArray, "/a", None),
        ],
        with_ours=[*_gone_a, ("a/zarr.json", group(by="us"))],
        with_theirs=[*_gone_a, ("a/zarr.json", array(3, by="them")), ("a/c/2", b"them")],
    ),
    "both make a node anew that nobody writes to": Meeting(
        theirs=[*_gone_a, ("a/zarr.json", array(3, by="them"))],
        ours=[*_gone_a, ("a/zarr.json", array(4, by="us")), ("a/c/3", b"us")],
        found=[(_Kind.NewNodeConflictsWithExistingNode, "/a", None)],
        with_ours=[*_gone_a, ("a/zarr.json", array(4, by="us")), ("a/c/3", b"us")],
        with_theirs=[*_gone_a, ("a/zarr.json", array(3, by="them"))],
    ),
    # NewNodeInInvalidGroup
    "they have an array above our new node": Meeting(
        theirs=_their_array,
        ours=[("n/ours/zarr.json", group()), ("n/ours/below/zarr.json", array(1))],
        found=[(_Kind.NewNodeInInvalidGroup, "/n", None)],
        with_ours=UNSOLVED,
        with_theirs=_their_array,
    ),
    "they have arrays above each other above our new node": Meeting(
        theirs=[*_their_array, ("n/x/zarr.json", array(1))],
        ours=[("n/x/ours/zarr.json", group())],
        found=[(_Kind.NewNodeInInvalidGroup, "/n/x", None)],
        with_ours=UNSOLVED,
        with_theirs=[*_their_array, ("n/x/zarr.json", array(1))],
    ),
    "there was an array above our new node from the start": Meeting(
        theirs=[("bare/c/0", b"them")],
        ours=[("a/n/zarr.json", group())],
        found=[(_Kind.NewNodeInInvalidGroup, "/a", None)],
        with_ours=UNSOLVED,
        with_theirs=[("bare/c/0", b"them")],
    ),
    "they make an array in place of the group of our new node": Meeting(
        theirs=[("g/zarr.json", None), ("g/zarr.json", array(2))],
        ours=[("g/n/zarr.json", array(1)), ("g/n/c/0", b"us"), ("a/c/3", b"us")],
        found=[(_Kind.NewNodeInInvalidGroup, "/g", None)],
        with_ours=UNSOLVED,
        with_theirs=[("g/zarr.json", None), ("g/zarr.json", array(2)), ("a/c/3", b"us")],
    ),
    "they delete the group of our new node": Meeting(
        theirs=[("g/h/zarr.json", None)],
        ours=[("g/h/n/zarr.json", group()), ("g/n/zarr.json", group())],
        found=[(_Kind.NewNodeInInvalidGroup, "/g/h", None)],
        with_ours=UNSOLVED,
        with_theirs=[("g/h/zarr.json", None), ("g/n/zarr.json", group())],
    ),
    "they create nodes in a group that we delete": Meeting(
        theirs=[("g/h/n/zarr.json", array(1)), ("g/h/n/c/0", b"them"), ("g/m/zarr.json", group())],
        ours=[("g/zarr.json", None)],
        found=[(_Kind.NewNodeInInvalidGroup, "/g", None)],
        with_ours=[("g/zarr.json", None)],
        with_theirs=[("g/h/n/zarr.json", array(1)), ("g/h/n/c/0", b"them"), ("g/m/zarr.json", group())],
    ),
    "they create a node in a group that we make anew": Meeting(
        theirs=[("g/theirs/zarr.json", group())],
        ours=[("g/zarr.json", None), ("g/zarr.json", group(by="us")), ("g/ours/zarr.json", group())],
        found=[(_Kind.NewNodeInInvalidGroup, "/g", None)],
        with_ours=[("g/zarr.json", None), ("g/zarr.json", group(by="us")), ("g/ours/zarr.json", group())],
        with_theirs=[("g/theirs/zarr.json", group())],
    ),
    # ZarrMetadataDoubleUpdate
    "both update an array": Meeting(
        theirs=[("a/zarr.json", array(4, by="them"))],
        ours=[("a/zarr.json", array(5, by="us")), ("bare/c/3", b"us")],
        found=[(_Kind.ZarrMetadataDoubleUpdate, "/a", None)],
        with_ours=[("a/zarr.json", array(5, by="us")), ("bare/c/3", b"us")],
        with_theirs=[("a/zarr.json", array(4, by="them")), ("bare/c/3", b"us")],
    ),
    "both update a group": Meeting(
        theirs=[("g/zarr.json", group(by="them")), ("zarr.json", group(by="them"))],
        ours=[("g/zarr.json", group(by="us")), ("zarr.json", group(by="us"))],
        found=[
            (_Kind.ZarrMetadataDoubleUpdate, "/", None),
            (_Kind.ZarrMetadataDoubleUpdate, "/g", None),
        ],
        with_ours=[("g/zarr.json", group(by="us")), ("zarr.json", group(by="us"))],
        with_theirs=[("g/zarr.json", group(by="them")), ("zarr.json", group(by="them"))],
    ),
    # ZarrMetadataUpdateOfDeletedArray, ZarrMetadataUpdateOfDeletedGroup
    "they delete an array that we update": Meeting(
        theirs=_gone_a,
        ours=[("a/zarr.json", array(5, by="us")), ("bare/c/0", b"us")],
        found=[(_Kind.ZarrMetadataUpdateOfDeletedArray, "/a", None)],
        with_ours=UNSOLVED,
        with_theirs=[*_gone_a, ("bare/c/0", b"us")],
    ),
    "they delete a group that we update": Meeting(
        theirs=[("g/zarr.json", None)],
        ours=[("g/zarr.json", group(by="us")), ("g/h/zarr.json", group(by="us")), ("bare/c/0", b"us")],
        found=[
            (_Kind.ZarrMetadataUpdateOfDeletedGroup, "/g", None),
            (_Kind.ZarrMetadataUpdateOfDeletedGroup, "/g/h", None),
        ],
        with_ours=UNSOLVED,
        with_theirs=[("g/zarr.json", None), ("bare/c/0", b"us")],
    ),
    # ChunkDoubleUpdate
    "both write chunks": Meeting(
        theirs=[("a/c/3", b"them"), ("a/c/0", b"them"), ("a/c/1", b"them")],
        ours=[("a/c/3", b"us"), ("a/c/2", b"us"), ("a/c/0", b"us")],
        found=[(_Kind.ChunkDoubleUpdate, "/a", [[0], [3]])],
        with_ours=[("a/c/0", b"us"), ("a/c/1", b"them"), ("a/c/2", b"us"), ("a/c/3", b"us")],
        with_theirs=[("a/c/0", b"them"), ("a/c/1", b"them"), ("a/c/2", b"us"), ("a/c/3", b"them")],
    ),
    "both write chunks of two dimensions": Meeting(
        theirs=[("g/h/a/c/1/0", b"them"), ("g/h/a/c/0/1", b"them"), ("g/h/a/c/0/0", b"them")],
        ours=[("g/h/a/c/1/1", b"us"), ("g/h/a/c/1/0", b"us"), ("g/h/a/c/0/1", b"us")],
        found=[(_Kind.ChunkDoubleUpdate, "/g/h/a", [[0, 1], [1, 0]])],
        with_ours=[
            *(
                ("g/h/a/c/1/1", b"us"),
                ("g/h/a/c/1/0", b"us"),
                ("g/h/a/c/0/1", b"us"),
                ("g/h/a/c/0/0", b"them"),
            ),
        ],
        with_theirs=[
            *(("g/h/a/c/1/1", b"us"), ("g/h/a/c/1/0", b"them")),
            *(("g/h/a/c/0/1", b"them"), ("g/h/a/c/0/0", b"them")),
        ],
    ),
    "they delete chunks that we write, and the other way round": Meeting(
        theirs=[("a/c/0", None), ("a/c/1", b"them")],
        ours=[("a/c/0", b"us"), ("a/c/1", None), ("a/c/2", b"us")],
        found=[(_Kind.ChunkDoubleUpdate, "/a", [[0], [1]])],
        with_ours=[("a/c/0", b"us"), ("a/c/1", None), ("a/c/2", b"us")],
        with_theirs=[("a/c/0", None), ("a/c/1", b"them"), ("a/c/2", b"us")],
    ),
    # ChunksUpdatedInDeletedArray
    "they delete an array whose chunks we change": Meeting(
        theirs=[*_gone_a, ("g/zarr.json", None)],
        ours=[("a/c/0", None), ("g/a/c/1", b"us"), ("bare/c/0", b"us")],
        found=[
            (_Kind.ChunksUpdatedInDeletedArray, "/a", None),
            (_Kind.ChunksUpdatedInDeletedArray, "/g/a", None),
        ],
        with_ours=UNSOLVED,
        with_theirs=[*_gone_a, ("g/zarr.json", None), ("bare/c/0", b"us")],
    ),
    "they make an array anew whose chunks we change": Meeting(
        theirs=[*_gone_a, ("a/zarr.json", array(4)), ("a/c/2", b"them")],
        ours=[("a/c/3", b"us"), ("bare/c/0", b"us")],
        found=[(_Kind.ChunksUpdatedInDeletedArray, "/a", None)],
        with_ours=UNSOLVED,
        with_theirs=[*_gone_a, ("a/zarr.json", array(4)), ("a/c/2", b"them"), ("bare/c/0", b"us")],
    ),
    # ChunksUpdatedInUpdatedArray
    "they update an array whose chunks we change": Meeting(
        theirs=[("a/zarr.json", array(6, by="them"))],
        ours=[("a/c/0", None), ("a/c/3", b"us")],
        found=[(_Kind.ChunksUpdatedInUpdatedArray, "/a", None)],
        with_ours=[("a/zarr.json", array(6, by="them")), ("a/c/0", None), ("a/c/3", b"us")],
        with_theirs=[("a/zarr.json", array(6, by="them"))],
    ),
    "they shrink an array whose chunks we write": Meeting(
        theirs=[("a/c/1", None), ("a/zarr.json", array(2))],
        ours=[("a/c/1", b"us"), ("a/c/2", b"us"), ("a/c/3", b"us")],
        found=[
            (_Kind.ChunksUpdatedInUpdatedArray, "/a", None),
            (_Kind.ChunkDoubleUpdate, "/a", [[1]]),
        ],
        with_ours=[("a/zarr.json", array(2)), ("a/c/1", b"us")],
        with_theirs=[("a/zarr.json", array(2)), ("a/c/1", None)],
    ),
    "they give an array whose chunks we write another dimension": Meeting(
        theirs=[("bare/zarr.json", array(2, 2))],
        ours=[("bare/c/1", b"us"), ("a/c/3", b"us")],
        found=[(_Kind.ChunksUpdatedInUpdatedArray, "/bare", None)],
        with_ours=UNSOLVED,
        with_theirs=[("bare/zarr.json", array(2, 2)), ("a/c/3", b"us")],
    ),
    # DeleteOfUpdatedArray, DeleteOfUpdatedGroup
    "they update arrays that we delete": Meeting(
        theirs=[("bare/zarr.json", array(5, by="them")), ("a/c/0", b"them"), ("g/h/a/c/1/1", b"them")],
        ours=[("bare/zarr.json", None), ("a/zarr.json", None), ("g/zarr.json", None)],
        found=[
            (_Kind.DeleteOfUpdatedArray, "/a", None),
            (_Kind.DeleteOfUpdatedArray, "/bare", None),
            (_Kind.DeleteOfUpdatedArray, "/g/h/a", None),
        ],
        with_ours=[("bare/zarr.json", None), ("a/zarr.json", None), ("g/zarr.json", None)],
        with_theirs=[
            *(("bare/zarr.json", array(5, by="them")), ("a/c/0", b"them"), ("g/h/a/c/1/1", b"them")),
            ("g/a/zarr.json", None),
        ],
    ),
    "they update groups that we delete": Meeting(
        theirs=[("g/h/zarr.json", group(by="them"))],
        ours=[("g/zarr.json", None)],
        found=[(_Kind.DeleteOfUpdatedGroup, "/g/h", None)],
        with_ours=[("g/zarr.json", None)],
        with_theirs=[
            *(("g/h/zarr.json", group(by="them")), ("g/a/zarr.json", None), ("g/h/a/zarr.json", None)),
        ],
    ),
    "they update an array that we make anew": Meeting(
        theirs=[("a/c/3", b"them")],
        ours=[*_gone_a, ("a/zarr.json", array(2, by="us")), ("a/c/0", b"us")],
        found=[(_Kind.DeleteOfUpdatedArray, "/a", None)],
        with_ours=[*_gone_a, ("a/zarr.json", array(2, by="us")), ("a/c/0", b"us")],
        with_theirs=UNSOLVED,
    ),
    "they make an array anew that we delete, and write to it": Meeting(
        theirs=[*_gone_a, ("a/zarr.json", array(2, by="them")), ("a/c/0", b"them")],
        ours=[*_gone_a, ("bare/c/0", b"us")],
        found=[(_Kind.DeleteOfUpdatedArray, "/a", None)],
        with_ours=[
            *(*_gone_a, ("a/zarr.json", array(2, by="them")), ("a/c/0", b"them"), ("bare/c/0", b"us")),
        ],
        with_theirs=[
            *(*_gone_a, ("a/zarr.json", array(2, by="them")), ("a/c/0", b"them"), ("bare/c/0", b"us")),
        ],
    ),
    # Several of one node, and of many
    "they update an array and its chunks, and so do we": Meeting(
        theirs=[("a/zarr.json", array(6, by="them")), ("a/c/0", b"them"), ("a/c/5", b"them")],
        ours=[("a/zarr.json", array(5, by="us")), ("a/c/0", b"us"), ("a/c/4", b"us")],
        found=[
            (_Kind.ZarrMetadataDoubleUpdate, "/a", None),
            (_Kind.ChunksUpdatedInUpdatedArray, "/a", None),
            (_Kind.ChunkDoubleUpdate, "/a", [[0]]),
        ],
        with_ours=[("a/zarr.json", array(5, by="us")), ("a/c/0", b"us"), ("a/c/4", b"us")],
        with_theirs=[("a/zarr.json", array(6, by="them")), ("a/c/0", b"them"), ("a/c/5", b"them")],
    ),
    "they delete an array of which we change everything": Meeting(
        theirs=_gone_a,
        ours=[("a/zarr.json", array(5, by="us")), ("a/c/4", b"us"), ("bare/c/0", b"us")],
        found=[
            (_Kind.ZarrMetadataUpdateOfDeletedArray, "/a", None),
            (_Kind.ChunksUpdatedInDeletedArray, "/a", None),
        ],
        with_ours=UNSOLVED,
        with_theirs=[*_gone_a, ("bare/c/0", b"us")],
    ),
    "one thing of each kind": Meeting(
        theirs=[
            *(("n/zarr.json", group(by="them")), ("g/h/zarr.json", None), ("zarr.json", group(by="them"))),
            *(
                ("a/zarr.json", array(5)),
                ("a/c/0", b"them"),
                ("g/a/c/0", b"them"),
                ("g/zarr.json", group(x=1)),
            ),
        ],
        ours=[
            *(("n/zarr.json", group(by="us")), ("g/h/n/zarr.json", group()), ("zarr.json", group(by="us"))),
            *(("g/h/zarr.json", group(by="us")), ("g/h/a/c/0/0", b"us"), ("g/a/zarr.json", None)),
            *(("a/c/0", b"us"), ("a/c/2", b"us"), ("a/zarr.json", array(4, by="us"))),
        ],
        found=[
            (_Kind.NewNodeConflictsWithExistingNode, "/n", None),
            (_Kind.NewNodeInInvalidGroup, "/g/h", None),
            (_Kind.ZarrMetadataDoubleUpdate, "/a", None),
            (_Kind.ZarrMetadataDoubleUpdate, "/", None),
            (_Kind.ZarrMetadataUpdateOfDeletedGroup, "/g/h", None),
            (_Kind.ChunksUpdatedInDeletedArray, "/g/h/a", None),
            (_Kind.ChunksUpdatedInUpdatedArray, "/a", None),
            (_Kind.ChunkDoubleUpdate, "/a", [[0]]),
            (_Kind.DeleteOfUpdatedArray, "/g/a", None),
        ],
        with_ours=UNSOLVED,
        with_theirs=[
            *(("n/zarr.json", group(by="them")), ("g/h/zarr.json", None), ("zarr.json", group(by="them"))),
            *(
                ("a/zarr.json", array(5)),
                ("a/c/0", b"them"),
                ("g/a/c/0", b"them"),
                ("g/zarr.json", group(x=1)),
            ),
        ],
    ),
}

AGREEMENTS: dict[str, tuple[list[Edit], list[Edit], list[Edit]]] = {
    "other arrays": (
        [("a/c/0", b"them"), ("g/a/zarr.json", array(6))],
        [("bare/c/0", b"us"), ("g/h/a/c/0/0", b"us"), ("g/zarr.json", group(by="us"))],
        [
            *(("a/c/0", b"them"), ("g/a/zarr.json", array(6))),
            *(("bare/c/0", b"us"), ("g/h/a/c/0/0", b"us"), ("g/zarr.json", group(by="us"))),
        ],
    ),
    "other chunks": ([("a/c/0", b"them")], [("a/c/1", None)], [("a/c/0", b"them"), ("a/c/1", None)]),
    "other new nodes": (
        [("n/zarr.json", group()), ("g/n/zarr.json", array(1))],
        [("m/zarr.json", group()), ("g/m/zarr.json", array(1)), ("g/m/c/0", b"us")],
        [
            *(("n/zarr.json", group()), ("g/n/zarr.json", array(1))),
            *(("m/zarr.json", group()), ("g/m/zarr.json", array(1)), ("g/m/c/0", b"us")),
        ],
    ),
    "they change chunks of an array that we update": (
        [("a/c/3", b"them"), ("a/c/0", None)],
        [("a/zarr.json", array(5, by="us"))],
        [("a/c/3", b"them"), ("a/c/0", None), ("a/zarr.json", array(5, by="us"))],
    ),
    "they write chunks outside of the grid that we shrink": (
        [("a/c/3", b"them"), ("a/c/0", b"them")],
        [("a/zarr.json", array(2))],
        [("a/c/0", b"them"), ("a/zarr.json", array(2))],
    ),
    "both delete": (
        [("a/zarr.json", None), ("g/h/zarr.json", None)],
        [("a/zarr.json", None), ("g/zarr.json", None), ("bare/c/0", b"us")],
        [("a/zarr.json", None), ("g/zarr.json", None), ("bare/c/0", b"us")],
    ),
    "both delete and they make it anew": (
        [("a/zarr.json", None), ("a/zarr.json", group(by="them"))],
        [("a/zarr.json", None), ("bare/c/0", b"us")],
        [("a/zarr.json", None), ("a/zarr.json", group(by="them")), ("bare/c/0", b"us")],
    ),
    "both delete a group and they write into an array in its place": (
        [("g/zarr.json", None), ("g/zarr.json", array(3)), ("g/c/0", b"them")],
        [("g/zarr.json", None), ("bare/c/0", b"us")],
        [("g/zarr.json", None), ("g/zarr.json", array(3)), ("g/c/0", b"them"), ("bare/c/0", b"us")],
    ),
    "both delete and we make it anew": (
        [("a/zarr.json", None)],
        [("a/zarr.json", None), ("a/zarr.json", array(1)), ("a/c/0", b"us")],
        [("a/zarr.json", None), ("a/zarr.json", array(1)), ("a/c/0", b"us")],
    ),
    "we make an array a group with nodes in it": (
        [("bare/c/0", b"them"), ("n/zarr.json", group())],
        [("a/zarr.json", None), ("a/zarr.json", group()), ("a/b/zarr.json", array(1)), ("a/b/c/0", b"us")],
        [
            *(("bare/c/0", b"them"), ("n/zarr.json", group())),
            *(
                ("a/zarr.json", None),
                ("a/zarr.json", group()),
                ("a/b/zarr.json", array(1)),
                ("a/b/c/0", b"us"),
            ),
        ],
    ),
    "they delete beside our new node": (
        [("g/h/zarr.json", None), ("g/a/zarr.json", None)],
        [("g/n/zarr.json", group())],
        [("g/h/zarr.json", None), ("g/a/zarr.json", None), ("g/n/zarr.json", group())],
    ),
}
"""What does not contradict: their changes, ours, and both together."""
