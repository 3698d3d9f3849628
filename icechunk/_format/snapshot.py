"""Snapshot files: the tree of nodes at one commit, and which manifests it needs.

The tables, fields by slot (`?` may be absent)::

    Snapshot            0 id 12 bytes, 1 parent_id? 12 bytes, 2 nodes [NodeSnapshot],
                        3 flushed_at u64, 4 message string, 5 metadata [MetadataItem],
                        6 manifest_files [ManifestFileInfo],
                        7 manifest_files_v2? [ManifestFileInfoV2], 8 extra? [u8]
    NodeSnapshot        0 id 8 bytes, 1 path string, 2 user_data [u8],
                        3 kind of node u8: 1 array, 2 group, 4 ArrayNodeData or GroupNodeData,
                        5 extra? [u8]
    ArrayNodeData       0 shape [DimensionShape], 1 dimension_names? [DimensionName],
                        2 manifests [ManifestRef], 3 shape_v2? [DimensionShapeV2]
    GroupNodeData       no fields
    DimensionShape      struct: array_length u64, chunk_length u64
    DimensionShapeV2    0 array_length u64, 1 num_chunks u32
    DimensionName       0 name? string
    ManifestRef         0 object_id 12 bytes, 1 extents [struct: from u32, to u32]
    ManifestFileInfo    struct of 32 bytes: id 12 bytes, size_bytes u64 at 16, num_chunk_refs u32
    ManifestFileInfoV2  0 id 12 bytes, 1 size_bytes u64, 2 num_chunk_refs u32, 3 extra? [u8]
    MetadataItem        0 name string, 1 value: MessagePack (spec 1) or FlexBuffers (spec 2)

Spec 1 has no v2 vectors, by which readers tell the two apart; spec 2 has no
parent and leaves `shape` and `manifest_files` empty. Nodes are sorted by the
bytes of their paths: all that is below `/a` is one run, but `/a-b` may stand
between `/a` and that run. Metadata is sorted by name, manifest files by id.

Opening a snapshot decodes its header; the rest is decoded as it is asked for. Not
supported: writing `extra` of snapshots and manifest files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from icechunk._format.flatbuffers import Builder, Reader, Table, u64
from icechunk._format.metadata import decode_property, encode_properties
from icechunk._format.snapshot_nodes import (
    SHARING,
    ArrayData,
    DimensionShape,
    ManifestRef,
    Node,
    NodeVector,
    write_nodes,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from icechunk._format.flatbuffers import Data

__all__ = [
    "ArrayData",
    "DimensionShape",
    "ManifestFile",
    "ManifestRef",
    "Node",
    "Snapshot",
    "decode_snapshot",
    "encode_snapshot",
]

MAX_TIMESTAMP = 253_402_300_799_999_999
"""Microseconds since the epoch at the end of the year 9999: more do not fit in a `datetime`."""

_KNOWN_NODES = 10_000
_FEW_NODES = 32
_AFTER_SLASH = b"0"

_MANIFEST_FILE = np.dtype(
    {
        "names": ["id", "size_bytes", "num_chunk_refs"],
        "formats": ["V12", "<u8", "<u4"],
        "offsets": [0, 16, 24],
        "itemsize": 32,
    }
)


class ManifestFile(msgspec.Struct, frozen=True, gc=False):
    """A manifest in storage; `size_bytes` is the exact size of the file."""

    id: bytes
    size_bytes: int
    num_chunk_refs: int


class Snapshot:
    """One snapshot, decoded as far as it was looked at. Safe to share between threads.

    Parameters
    ----------
    reader : Reader
        Of the payload of a snapshot file.
    spec_version : int
        From the header of the file.

    Attributes
    ----------
    id : bytes
    parent_id : bytes or None
        Always None in files of spec 2.
    flushed_at : int
        Microseconds since the epoch, UTC.
    message : str
    extra : bytes or None
        Opaque, for later versions of the format.
    spec_version : int
    """

    __slots__ = (
        "_few",
        "_known",
        "_known_weight",
        "_manifest_files",
        "_metadata",
        "_nodes",
        "_reader",
        "_root",
        "extra",
        "flushed_at",
        "id",
        "message",
        "parent_id",
        "spec_version",
    )

    def __init__(self, reader: Reader, spec_version: int) -> None:
        root = reader.root()
        self._reader = reader
        self._root = root
        self.spec_version = spec_version
        self.id = root.require(root.struct(0, 12), "id of the snapshot")
        self.parent_id = root.struct(1, 12)
        self._nodes = NodeVector(reader, *root.require(root.span(2, 4), "nodes"))
        self.flushed_at = root.u64(3)
        if self.flushed_at > MAX_TIMESTAMP:
            raise reader.error(f"its time, {self.flushed_at} microseconds, is out of range")
        self.message = root.require(root.string(4), "commit message")
        self.extra = root.bytes(8)
        self._few: list[Node] | None = None
        self._known: dict[str, Node | None] = {}
        self._known_weight = 0
        self._metadata: dict[str, Any] | None = None
        self._manifest_files: list[ManifestFile] | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """The properties of the commit, in the order of their names; not to be changed."""
        if self._metadata is None:
            self._metadata = _read_metadata(self._root, self.spec_version)
        return self._metadata

    def keep_manifest_files(self, files: list[ManifestFile]) -> None:
        """Take the manifests, in the order of their ids, in the place of decoding them."""
        self._manifest_files = files

    @property
    def manifest_files(self) -> list[ManifestFile]:
        """All manifests of the snapshot, in the order of their ids; not to be changed."""
        if self._manifest_files is None:
            self._manifest_files = _read_manifest_files(self._root)
        return self._manifest_files

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        """All nodes in the order of the bytes of their paths; few of them are kept."""
        if self._few is not None:
            return iter(self._few)
        nodes = self._nodes.run(0, len(self._nodes))
        if len(self._nodes) > _FEW_NODES:
            return nodes
        self._few = list(nodes)
        return iter(self._few)

    def find(self, path: str) -> Node | None:
        """The node at a path, None if there is none.

        Raises
        ------
        FormatError
            Kind `invalid-file-format`: the file is damaged where the node is looked for.
        """
        try:
            return self._known[path]
        except KeyError:
            pass
        key = _path_bytes(path)
        index = self._nodes.lower_bound(key)
        node, weight = self._nodes.node_with_path(index, key)
        self._known_weight += weight
        # Forged nodes may share their largest parts, of which each would keep a copy.
        if len(self._known) >= _KNOWN_NODES or self._known_weight > SHARING * self._reader.size:
            self._known.clear()
            self._known_weight = weight
        self._known[path] = node
        return node

    def paths_of(self, node_ids: Collection[bytes]) -> dict[bytes, str]:
        """The paths of nodes by their ids; ids of no node here are left out."""
        return self._nodes.paths_of(node_ids)

    def subtree(self, path: str) -> Iterator[Node]:
        """The node at a path, if there is one, and all nodes below it."""
        node = self.find(path)
        if node is not None:
            yield node
        yield from self._nodes.run(*self._below(path))

    def children(self, path: str) -> Iterator[Node]:
        """The nodes right below a path; what is further below is jumped over."""
        index, end = self._below(path)
        prefix = len(_below_bytes(path))
        spent = 0
        while index < end:
            child = self._nodes.path(index)
            cut = child.find(b"/", prefix)
            weight = len(child)
            if cut < 0:
                node, weight = self._nodes.node(index)
                yield node
                index += 1
            else:
                # Go on behind all paths that begin with these components. Where a file is not
                # sorted, that must not lead back.
                index = max(index + 1, self._nodes.lower_bound(child[:cut] + _AFTER_SLASH))
            spent = self._nodes.spend(spent, weight)

    def _below(self, path: str) -> tuple[int, int]:
        """First index, and last plus one, of the nodes below a path."""
        prefix = _below_bytes(path)
        # The root itself is "/", so that a search for its prefix would find it too.
        start = self._nodes.lower_bound(prefix + b"\0")
        return start, self._nodes.lower_bound(prefix[:-1] + _AFTER_SLASH)


def decode_snapshot(payload: Data, spec_version: int, name: str) -> Snapshot:
    """Read a snapshot.

    Parameters
    ----------
    payload : bytes-like
        The file without its envelope.
    spec_version : int
        From the header of the file.
    name : str
        Key of the object, for errors.

    Raises
    ------
    FormatError
        Kind `invalid-file-format`: the header is damaged. Damage elsewhere shows, as the same error
        or with kind `deserialization`, when it is come across.

    Examples
    --------
    >>> root = Node(b"8 bytes.", "/", b"{}", None)
    >>> payload = encode_snapshot(
    ...     id=b"a snapshot..", parent_id=None, nodes=[root], flushed_at=1_700_000_000_000_000,
    ...     message="first", metadata={}, manifest_files=[], spec_version=2)
    >>> snapshot = decode_snapshot(payload, 2, "snapshots/1CECHNKREP0F1RSTCMT0")
    >>> len(snapshot), snapshot.find("/") == root, snapshot.find("/a")
    (1, True, None)
    """
    return Snapshot(Reader(bytes(payload), name), spec_version)


def _path_bytes(path: str) -> bytes:
    # Half a surrogate pair is in no file, so let it be searched for and not found.
    return path.encode("utf-8", "surrogatepass")


def _below_bytes(path: str) -> bytes:
    return _path_bytes(path.removesuffix("/") + "/")


def _read_metadata(root: Table, spec_version: int) -> dict[str, Any]:
    reader = root.reader
    items = root.require(root.tables(5), "metadata")
    names = items.texts(0)
    starts, sizes = items.spans(1)
    if not starts.all():
        raise reader.error("a property has no value")
    if sizes.sum() > SHARING * reader.size:
        raise reader.error("its properties overlap")
    return {
        root.require(name, "name of a property"): decode_property(
            reader.copy(start, size), spec_version, reader.name
        )
        for name, start, size in zip(names, starts.tolist(), sizes.tolist(), strict=True)
    }


def _read_manifest_files(root: Table) -> list[ManifestFile]:
    files = root.tables(7)
    if files is None:
        structs = root.require(root.array(6, _MANIFEST_FILE), "manifest files")
        columns = [structs[column].tolist() for column in ("id", "size_bytes", "num_chunk_refs")]
    else:
        ids, present = files.structs(0, 12)
        if not present.all():
            raise root.reader.error("a manifest file has no id")
        columns = [ids.tolist(), files.numbers(1, "<u8").tolist(), files.numbers(2, "<u4").tolist()]
    return [ManifestFile(*row) for row in zip(*columns, strict=True)]


def encode_snapshot(
    *,
    id: bytes,
    parent_id: bytes | None,
    nodes: Sequence[Node],
    flushed_at: int,
    message: str,
    metadata: Mapping[str, object],
    manifest_files: Sequence[ManifestFile],
    spec_version: int,
) -> Data:
    """Write a snapshot.

    Parameters
    ----------
    id : bytes
    parent_id : bytes or None
        Of the snapshot before; only written in spec 1.
    nodes : sequence of Node
        In any order.
    flushed_at : int
        Microseconds since the epoch, UTC.
    message : str
    metadata : mapping of str to object
        JSON values, see `metadata.encode_properties`.
    manifest_files : sequence of ManifestFile
        In any order, each manifest once.
    spec_version : int

    Returns
    -------
    bytes-like
        The file without its envelope.

    Raises
    ------
    TypeError, InvalidInputError
        The metadata cannot be written, see `metadata.encode_properties`. Kind
        `invalid-array-metadata`: in spec 1, a dimension with a length but no chunks.
    FormatError
        Kind `serialization`: the snapshot would take more than 2 GiB.
    """
    properties = encode_properties(metadata, spec_version)
    builder = Builder(1024 + sum(len(node.user_data) + len(node.path) + 256 for node in nodes))
    # Texts sort by code points, which is the order of their UTF-8 bytes.
    node_places = write_nodes(builder, sorted(nodes, key=lambda node: node.path), spec_version)
    files = sorted(manifest_files, key=lambda file: file.id)
    structs = np.array([(file.id, file.size_bytes, file.num_chunk_refs) for file in files], _MANIFEST_FILE)
    files_v2 = None
    if spec_version > 1:
        columns = dict(enumerate((structs["id"], structs["size_bytes"], structs["num_chunk_refs"])))
        files_v2 = builder.references(builder.tables(len(files), columns, {}))
        structs = structs[:0]
    items = [builder.table({0: builder.string(name), 1: builder.bytes(value)}) for name, value in properties]
    return builder.finish(
        builder.table(
            {
                0: id,
                1: parent_id if spec_version == 1 else None,
                2: builder.references(node_places),
                3: u64(flushed_at),
                4: builder.string(message),
                5: builder.references(items),
                6: builder.vector(structs),
                7: files_v2,
            }
        )
    )
