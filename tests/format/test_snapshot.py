"""Snapshots: what others wrote, round trips, lookups, and damaged files."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk._core.ids import id_text
from icechunk._exceptions import ErrorKind, FormatError, InvalidInputError
from icechunk._format.flatbuffers import Builder, u64
from icechunk._format.header import FileType, unwrap, wrap
from icechunk._format.snapshot import (
    ArrayData,
    DimensionShape,
    ManifestFile,
    ManifestRef,
    Node,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Fields: TypeAlias = dict[int, bytes | int | None]

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"

names = st.text(st.sampled_from("ab-./0é日"), min_size=1, max_size=3).map(lambda text: text.replace("/", "z"))
paths = st.lists(names, max_size=3).map(lambda parts: "/" + "/".join(parts))
u32s = st.integers(0, 2**32 - 1)
manifests = st.builds(
    ManifestRef,
    object_id=st.binary(min_size=12, max_size=12),
    extents=st.lists(st.tuples(u32s, u32s), max_size=3).map(tuple),
)
dimensions = st.builds(DimensionShape, array_length=st.integers(0, 2**64 - 1), num_chunks=u32s)
arrays = st.builds(
    ArrayData,
    shape=st.lists(dimensions, max_size=3).map(tuple),
    dimension_names=st.none() | st.lists(st.none() | names, max_size=3).map(tuple),
    manifests=st.lists(manifests, max_size=3).map(tuple),
)
nodes = st.lists(
    st.builds(
        Node,
        id=st.binary(min_size=8, max_size=8),
        path=paths,
        user_data=st.binary(max_size=20),
        array=st.none() | arrays,
        extra=st.none() | st.binary(max_size=5),
    ),
    max_size=10,
    unique_by=lambda node: node.path,
)
files = st.lists(
    st.builds(
        ManifestFile,
        id=st.binary(min_size=12, max_size=12),
        size_bytes=st.integers(0, 2**64 - 1),
        num_chunk_refs=u32s,
    ),
    max_size=4,
    unique_by=lambda file: file.id,
)


def encode(spec_version: int, nodes: Sequence[Node] = (), **parts: Any) -> bytes:
    """A snapshot whose other parts do not matter."""
    given_or_not: dict[str, Any] = {
        "id": b"a snapshot..",
        "parent_id": None,
        "flushed_at": 1_700_000_000_123_456,
        "message": "",
        "metadata": {},
        "manifest_files": [],
    }
    return bytes(encode_snapshot(**(given_or_not | parts), nodes=nodes, spec_version=spec_version))


def group(path: str) -> Node:
    return Node(b"group..." if path == "/" else path.encode()[:8].ljust(8), path, b"{}", None)


def exhaust(snapshot: Snapshot) -> list[Node]:
    """Read everything, each way there is."""
    found = list(snapshot)
    for node in found:
        snapshot.find(node.path)
    for path in ("/", "/g", "/g/a"):
        list(snapshot.subtree(path))
        list(snapshot.children(path))
    snapshot.paths_of([node.id for node in found])
    _ = snapshot.metadata, snapshot.manifest_files
    return found


# What the official implementation wrote


def official_files() -> list[tuple[str, str]]:
    found = []
    for fixture in ("spec-1", "spec-1-by-1.1", "spec-2", "migrated"):
        with zipfile.ZipFile(FIXTURES / f"{fixture}.zip") as archive:
            found += [(fixture, part) for part in archive.namelist() if "/snapshots/" in part]
    return found


@pytest.mark.parametrize(("fixture", "part"), official_files())
def test_reads_and_rewrites_official_files(fixture: str, part: str) -> None:
    with zipfile.ZipFile(FIXTURES / f"{fixture}.zip") as archive:
        file = unwrap(archive.read(part), FileType.SNAPSHOT, part)
        expected = json.loads(archive.read("expected.json"))
    snapshot = decode_snapshot(file.payload, file.spec_version, part)
    text = id_text(snapshot.id)
    assert part.endswith(text)
    found = exhaust(snapshot)
    if text in expected["documents"]:
        documents = {node.path[1:]: json.loads(node.user_data) for node in found}
        assert documents == expected["documents"][text]
    for node in found:
        zarr_json = json.loads(node.user_data)
        assert (node.array is not None) == (zarr_json["node_type"] == "array")
        if node.array is not None:
            assert [dimension.array_length for dimension in node.array.shape] == zarr_json["shape"]
            given_names = zarr_json.get("dimension_names")
            assert node.array.dimension_names == (None if given_names is None else tuple(given_names))
    for commits in expected["history"].values():
        for commit in commits:
            if commit["id"] == text:
                assert snapshot.message == commit["message"]
                assert snapshot.metadata == commit["metadata"]
    used = {ref.object_id for node in found if node.array for ref in node.array.manifests}
    assert used == {file.id for file in snapshot.manifest_files}

    again = encode(
        file.spec_version,
        found[::-1],
        id=snapshot.id,
        parent_id=snapshot.parent_id,
        message=snapshot.message,
        flushed_at=snapshot.flushed_at,
        metadata=snapshot.metadata,
        manifest_files=snapshot.manifest_files[::-1],
    )
    rewritten = unwrap(wrap(again, FileType.SNAPSHOT, file.spec_version), FileType.SNAPSHOT, part)
    copy = decode_snapshot(rewritten.payload, rewritten.spec_version, part)
    assert exhaust(copy) == found
    assert copy.manifest_files == snapshot.manifest_files
    assert (copy.id, copy.parent_id, copy.flushed_at, copy.message, copy.metadata) == (
        snapshot.id,
        snapshot.parent_id,
        snapshot.flushed_at,
        snapshot.message,
        snapshot.metadata,
    )


# Laws


@settings(max_examples=60)
@given(nodes, files, st.integers(0, 253_402_300_799_999_999), st.none() | st.binary(min_size=12, max_size=12))
def test_round_trip_in_spec_2(
    given_nodes: list[Node], given_files: list[ManifestFile], flushed_at: int, parent_id: bytes | None
) -> None:
    payload = encode(
        2,
        given_nodes,
        parent_id=parent_id,
        manifest_files=given_files,
        flushed_at=flushed_at,
        message="é\n",
        metadata={"b": [1, None], "a": {"x": 0.5}},
    )
    snapshot = decode_snapshot(payload, 2, "x")
    assert snapshot.id == b"a snapshot.."
    assert snapshot.parent_id is None
    assert snapshot.flushed_at == flushed_at
    assert snapshot.message == "é\n"
    assert list(snapshot.metadata.items()) == [("a", {"x": 0.5}), ("b", [1, None])]
    assert snapshot.manifest_files == sorted(given_files, key=lambda file: file.id)
    assert list(snapshot) == sorted(given_nodes, key=lambda node: node.path.encode())
    assert len(snapshot) == len(given_nodes)
    assert [snapshot.find(node.path) for node in given_nodes] == given_nodes


@settings(max_examples=60)
@given(nodes, files, st.none() | st.binary(min_size=12, max_size=12))
def test_round_trip_in_spec_1(
    given_nodes: list[Node], given_files: list[ManifestFile], parent_id: bytes | None
) -> None:
    # Spec 1 holds the length of chunks instead of their number, which some pairs do not survive.
    def possible(node: Node) -> Node:
        if node.array is None:
            return node
        shape = [DimensionShape(d.num_chunks * 7, d.num_chunks) for d in node.array.shape]
        data = ArrayData(tuple(shape), node.array.dimension_names, node.array.manifests)
        return Node(node.id, node.path, node.user_data, data, node.extra)

    given_nodes = [possible(node) for node in given_nodes]
    snapshot = decode_snapshot(
        encode(1, given_nodes, parent_id=parent_id, manifest_files=given_files, metadata={"a": [1]}), 1, "x"
    )
    assert snapshot.parent_id == parent_id
    assert snapshot.metadata == {"a": [1]}
    assert snapshot.manifest_files == sorted(given_files, key=lambda file: file.id)
    assert list(snapshot) == sorted(given_nodes, key=lambda node: node.path.encode())
    assert [snapshot.find(node.path) for node in given_nodes] == given_nodes


@settings(max_examples=60)
@given(st.sets(paths, max_size=25), paths)
def test_lookups_and_walks(present: set[str], path: str) -> None:
    snapshot = decode_snapshot(encode(2, [group(one) for one in present]), 2, "x")
    ordered = sorted(present, key=str.encode)
    prefix = path.removesuffix("/") + "/"
    below = [one for one in ordered if one.startswith(prefix) and one != "/"]
    found = snapshot.find(path)
    assert (found is not None) == (path in present)
    assert snapshot.find(path) == found
    assert [node.path for node in snapshot.children(path)] == [
        one for one in below if "/" not in one[len(prefix) :]
    ]
    own = [path] if path in present else []
    assert [node.path for node in snapshot.subtree(path)] == own + below


@pytest.mark.parametrize("spec_version", [1, 2])
def test_passes_and_lookups_agree(spec_version: int) -> None:
    chooser = random.Random(20260102)
    many = []
    for number in range(1500):
        ndim = chooser.randrange(4)
        shape = tuple(DimensionShape(10 * k, k) for k in range(1, ndim + 1))
        refs = tuple(
            ManifestRef(chooser.randbytes(12), tuple((k, k + 1) for k in range(ndim)))
            for _ in range(chooser.randrange(3))
        )
        dimension_names = chooser.choice((None, ("x", None, "time")[:ndim]))
        array = chooser.choice((None, ArrayData(shape, dimension_names, refs)))
        extra = chooser.choice((None, None, b"", b"extra"))
        path = f"/g{number % 7}/a{number}"
        many.append(Node(chooser.randbytes(8), path, chooser.randbytes(number % 50), array, extra))
    snapshot = decode_snapshot(encode(spec_version, many), spec_version, "x")
    assert list(snapshot) == sorted(many, key=lambda node: node.path)
    assert [snapshot.find(node.path) for node in many] == many
    assert sum(len(list(snapshot.children(f"/g{k}"))) for k in range(7)) == 1500
    ids = {node.id: node.path for node in many}
    assert snapshot.paths_of(ids) == ids
    some = [*list(ids)[::100], b"no node."]
    assert snapshot.paths_of(some) == {node_id: ids[node_id] for node_id in some[:-1]}
    assert snapshot.paths_of([]) == {}


def test_a_snapshot_without_nodes_has_paths_of_none() -> None:
    assert decode_snapshot(encode(2, []), 2, "x").paths_of([b"8 bytes."]) == {}


def test_paths_that_share_everything_do_not_multiply() -> None:
    def write(builder: Builder) -> Fields:
        return array_fields(builder, {}) | {1: builder.string("/" + "a" * 1_000_000)}

    with pytest.raises(FormatError, match="overlap"):
        built(write, 10_000).paths_of([b"8 bytes."])


def test_paths_that_no_file_can_hold_are_not_found() -> None:
    snapshot = decode_snapshot(encode(2, [group("/")]), 2, "x")
    assert snapshot.find("/\ud800") is None
    assert list(snapshot.children("/\ud800")) == []


def test_lookups_of_many_paths_are_forgotten_again() -> None:
    snapshot = decode_snapshot(encode(2, [group("/")]), 2, "x")
    for number in range(10_050):
        assert snapshot.find(f"/{number}") is None
    assert len(snapshot._known) < 10_001


def test_an_empty_name_of_a_dimension_means_none() -> None:
    array = ArrayData((DimensionShape(4, 2),) * 3, ("x", "", None), ())
    snapshot = decode_snapshot(encode(2, [Node(b"8 bytes.", "/a", b"{}", array)]), 2, "x")
    node = snapshot.find("/a")
    assert node is not None
    assert node.array is not None
    assert node.array.dimension_names == ("x", None, None)


# The shapes of spec 1


def test_spec_1_holds_lengths_of_chunks() -> None:
    array = ArrayData((DimensionShape(10, 3), DimensionShape(0, 0), DimensionShape(7, 7)), None, ())
    payload = encode(1, [Node(b"8 bytes.", "/a", b"{}", array)])
    numbers = np.frombuffer(payload, "<u8", offset=payload.index(b"\x03\0\0\0\x0a\0\0\0") + 4, count=6)
    assert numbers.tolist() == [10, 4, 0, 0, 7, 1]
    (node,) = decode_snapshot(payload, 1, "x")
    assert node.array == array


def test_spec_1_cannot_hold_a_length_without_chunks() -> None:
    array = ArrayData((DimensionShape(10, 0),), None, ())
    with pytest.raises(InvalidInputError) as caught:
        encode(1, [Node(b"8 bytes.", "/a", b"{}", array)])
    assert caught.value.kind == ErrorKind.INVALID_ARRAY_METADATA


def test_spec_1_chunks_of_length_zero_are_an_error() -> None:
    array = ArrayData((DimensionShape(12, 3),), None, ())
    payload = encode(1, [Node(b"8 bytes.", "/a", b"{}", array)])
    damaged = payload.replace(b"\x0c\0\0\0\0\0\0\0\x04", b"\x0c\0\0\0\0\0\0\0\0")
    snapshot = decode_snapshot(damaged, 1, "snapshots/X")
    with pytest.raises(FormatError, match="snapshots/X") as caught:
        snapshot.find("/a")
    assert caught.value.kind == ErrorKind.INVALID_FILE_FORMAT


def test_spec_1_counts_at_most_as_many_chunks_as_coordinates_tell_apart() -> None:
    length = 0x7172737475
    array = ArrayData((DimensionShape(length, 2**30),), None, ())
    payload = encode(1, [Node(b"8 bytes.", "/a", b"{}", array)])
    payload = payload.replace(length.to_bytes(8, "little"), (2**63).to_bytes(8, "little"))
    (node,) = decode_snapshot(payload, 1, "x")
    assert node.array is not None
    assert node.array.shape == (DimensionShape(2**63, 2**32 - 1),)


# Damaged files


def sample(spec_version: int) -> bytes:
    """A small file with everything in it; the first 40 nodes are read by columns."""
    ref = ManifestRef(b"manifest 1..", ((0, 3), (1, 2)))
    array = ArrayData((DimensionShape(10, 3), DimensionShape(4, 2)), ("x", None), (ref,))
    scalar = ArrayData((), None, (ManifestRef(b"manifest 2..", ()),))
    tree = [group("/"), group("/g"), Node(b"array...", "/g/a", b'{"a": 1}', array, b"extra")]
    tree += [Node(b"number%02d" % k, f"/g/{k:02}", b"{}", array if k % 3 else scalar) for k in range(40)]
    return encode(
        spec_version,
        tree,
        parent_id=b"a parent....",
        message="message",
        metadata={"a": {"b": [1, "x"]}, "c": None},
        manifest_files=[ManifestFile(b"manifest 1..", 100, 2), ManifestFile(b"manifest 2..", 100, 2)],
    )


def read_error(payload: bytes | bytearray, spec_version: int) -> FormatError | None:
    """The error of a failed reading; other errors pass through."""
    try:
        exhaust(decode_snapshot(payload, spec_version, "snapshots/X"))
    except FormatError as error:
        return error
    return None


def check(error: FormatError | None) -> None:
    assert error is None or (error.kind in KINDS and "snapshots/X" in error.message)


KINDS = (ErrorKind.INVALID_FILE_FORMAT, ErrorKind.DESERIALIZATION, ErrorKind.INVALID_ARRAY_METADATA)


@pytest.mark.parametrize("spec_version", [1, 2])
def test_damaged_files_raise_only_format_errors(spec_version: int) -> None:
    chooser = random.Random(20260103)
    good = sample(spec_version)
    assert read_error(good, spec_version) is None
    failed = 0
    for _ in range(250):
        damaged = bytearray(good)
        for _ in range(chooser.randint(1, 4)):
            place = chooser.randrange(len(damaged))
            damaged[place] = chooser.choice((0, 1, 4, 127, 255, damaged[place] ^ 1 << chooser.randrange(8)))
        error = read_error(damaged, spec_version)
        check(error)
        failed += error is not None
    assert failed > 50


@pytest.mark.parametrize("spec_version", [1, 2])
def test_cut_files_raise_only_format_errors(spec_version: int) -> None:
    good = sample(spec_version)
    for size in [*range(64), *range(64, len(good), 37)]:
        error = read_error(good[:size], spec_version)
        assert error is not None
        check(error)


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_random_bytes_raise_only_format_errors(data: bytes) -> None:
    check(read_error(data, 2))


def finish(builder: Builder, changes: Fields) -> Snapshot:
    """A snapshot with some fields other than usual; None leaves one out."""
    empty = builder.references([])
    fields: Fields = {0: b"a snapshot..", 2: empty, 4: builder.string(""), 5: empty, 6: empty}
    return decode_snapshot(builder.finish(builder.table(fields | changes)), 2, "snapshots/X")


def built(write: Callable[[Builder], Fields], count: int) -> Snapshot:
    """A snapshot with equal nodes, whose fields a function writes."""
    builder = Builder()
    node = builder.table(write(builder))
    return finish(builder, {2: builder.references([node] * count)})


def array_fields(builder: Builder, array: Fields) -> Fields:
    data = builder.table(array)
    return {0: b"8 bytes.", 1: builder.string("/a"), 2: builder.bytes(b"{}"), 3: b"\x01", 4: data}


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("absent", [0, 1, 2, 3, 4])
def test_nodes_need_their_fields(absent: int, count: int) -> None:
    def write(builder: Builder) -> Fields:
        empty = builder.references([])
        fields = array_fields(builder, {0: empty, 2: empty, 3: empty})
        return {slot: value for slot, value in fields.items() if slot != absent}

    snapshot = built(write, count)
    with pytest.raises(FormatError, match=r"lacks|no path|neither"):
        list(snapshot)


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("absent", [0, 2])
def test_arrays_need_their_fields(absent: int, count: int) -> None:
    def write(builder: Builder) -> Fields:
        empty = builder.references([])
        return array_fields(builder, {slot: empty for slot in (0, 2, 3) if slot != absent})

    snapshot = built(write, count)
    with pytest.raises(FormatError, match="an array lacks a field"):
        list(snapshot)


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("absent", [0, 1])
def test_references_to_manifests_need_their_fields(absent: int, count: int) -> None:
    def write(builder: Builder) -> Fields:
        empty = builder.references([])
        ref: Fields = {0: b"manifest....", 1: empty}
        refs = builder.references([builder.table({k: v for k, v in ref.items() if k != absent})])
        return array_fields(builder, {0: empty, 2: refs, 3: empty})

    snapshot = built(write, count)
    with pytest.raises(FormatError, match="lacks a field"):
        list(snapshot)


@pytest.mark.parametrize("count", [1, 100])
def test_nodes_are_arrays_or_groups(count: int) -> None:
    def write(builder: Builder) -> Fields:
        return array_fields(builder, {}) | {3: b"\x03"}

    snapshot = built(write, count)
    with pytest.raises(FormatError, match="neither an array nor a group"):
        list(snapshot)


@pytest.mark.parametrize("kind", [1, 2])
def test_nodes_that_share_everything_do_not_multiply(kind: int) -> None:
    # 10,000 nodes of a megabyte each.
    def write(builder: Builder) -> Fields:
        empty = builder.references([])
        fields = array_fields(builder, {0: empty, 2: empty, 3: empty})
        return fields | {2: builder.bytes(bytes(1_000_000)), 3: bytes([kind])}

    snapshot = built(write, 10_000)
    with pytest.raises(FormatError, match="overlap"):
        list(snapshot)
    with pytest.raises(FormatError, match="overlap"):
        list(snapshot.children("/"))
    assert snapshot.find("/a") is not None


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("slot", [1, 2, 3])
def test_arrays_that_share_their_parts_do_not_multiply(slot: int, count: int) -> None:
    # Arrays of 100,000 dimensions, or names, or manifests with 100,000 extents each.
    def write(builder: Builder) -> Fields:
        empty = builder.references([])
        extents = builder.vector(np.zeros(200_000, "<u4").view("<u8"), 4)
        part = builder.table({0: b"manifest....", 1: extents} if slot == 2 else {})
        shared = builder.references([part] * 100_000)
        return array_fields(builder, {0: empty, 2: empty, 3: empty, slot: shared})

    snapshot = built(write, count)
    if count == 1 and slot != 2:
        assert len(list(snapshot)) == 1
    else:
        with pytest.raises(FormatError, match="overlap"):
            list(snapshot)


def test_names_that_arrays_share_do_not_multiply_from_block_to_block() -> None:
    builder = Builder()
    empty = builder.references([])
    names = builder.references([builder.table({})] * 1000)
    node = builder.table(array_fields(builder, {0: empty, 1: names, 2: empty, 3: empty}))
    # The names of a few hundred nodes take less than the file, which is mostly its message.
    message = builder.string("m" * 1_000_000)
    snapshot = finish(builder, {2: builder.references([node] * 5000), 4: message})
    with pytest.raises(FormatError, match="overlap"):
        list(snapshot)


def test_lookups_keep_little_of_what_nodes_share() -> None:
    builder = Builder()
    shared = builder.bytes(bytes(1_000_000))
    fields: Fields = {0: b"8 bytes.", 2: shared, 3: b"\x02", 4: builder.table({})}
    nodes = [builder.table(fields | {1: builder.string(f"/{number:03}")}) for number in range(100)]
    snapshot = finish(builder, {2: builder.references(nodes)})
    for number in range(100):
        node = snapshot.find(f"/{number:03}")
        assert node is not None
        assert len(node.user_data) == 1_000_000
    assert len(snapshot._known) < 10


def test_properties_that_share_their_values_do_not_multiply() -> None:
    builder = Builder()
    item = builder.table({0: builder.string("a"), 1: builder.bytes(bytes(100_000))})
    snapshot = finish(builder, {5: builder.references([item] * 10_000)})
    with pytest.raises(FormatError, match="overlap"):
        assert snapshot.metadata


@pytest.mark.parametrize("slot", [0, 2, 4, 5, 6])
def test_the_header_needs_its_fields(slot: int) -> None:
    with pytest.raises(FormatError, match="has no"):
        exhaust(finish(Builder(), {slot: None}))


@pytest.mark.parametrize("absent", [0, 1])
def test_properties_need_their_fields(absent: int) -> None:
    builder = Builder()
    item: Fields = {0: builder.string("a"), 1: builder.bytes(bytes([0, 0, 1]))}
    snapshot = finish(builder, {5: builder.references([builder.table(item | {absent: None})])})
    with pytest.raises(FormatError, match="has no"):
        assert snapshot.metadata


def test_times_beyond_datetime_are_an_error() -> None:
    with pytest.raises(FormatError, match="out of range"):
        finish(Builder(), {3: u64(2**63)})


def test_manifest_files_need_an_id() -> None:
    builder = Builder()
    snapshot = finish(builder, {7: builder.references([builder.table({1: u64(5)})])})
    with pytest.raises(FormatError, match="no id"):
        assert snapshot.manifest_files


def test_damage_shows_only_where_it_is() -> None:
    tree = [group("/"), group("/a"), group("/b")]
    snapshot = decode_snapshot(encode(2, tree).replace(b"/b", b"/\xff"), 2, "x")
    assert snapshot.find("/a") == tree[1]
    with pytest.raises(FormatError, match="not UTF-8"):
        list(snapshot)
