"""Manifest files: round trips, files of the official release, and hostile bytes."""

from __future__ import annotations

import base64
import struct
import threading
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk._core.ids import id_text
from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.chunk_refs import ChunkRef, ChunkRefs, inline_ref, native, virtual
from icechunk._format.flatbuffers import Builder, Reader, u32, u64
from icechunk._format.header import FileType, unwrap
from icechunk._format.manifest import decode_manifest, encode_manifest
from icechunk.types import ChunkType

Coordinates = tuple[int, ...]
Items = dict[Coordinates, ChunkRef]

EXAMPLES = settings(max_examples=60, deadline=None)
MANY_EXAMPLES = settings(max_examples=250, deadline=None)

ID = b"manifest id."
NODE = b"node id1"
KEY = "manifests/A"

U64 = st.integers(0, 2**64 - 1)
REFS: st.SearchStrategy[ChunkRef] = st.one_of(
    st.builds(native, st.binary(min_size=12, max_size=12), U64, st.just(0) | U64),
    st.builds(inline_ref, st.binary(max_size=40)),
    st.builds(virtual, st.text(max_size=12), U64, U64, etag=st.none() | st.text(min_size=1, max_size=5)),
    st.builds(virtual, st.text(max_size=12), U64, U64, last_modified=st.none() | st.integers(1, 2**32 - 1)),
)
AXES = st.integers(0, 4) | st.integers(0, 2**32 - 1)
ARRAYS = st.integers(0, 4).flatmap(
    lambda ndim: st.tuples(
        st.just(ndim), st.dictionaries(st.tuples(*[AXES] * ndim), REFS, min_size=1, max_size=12)
    )
)
MANIFESTS = st.dictionaries(st.binary(min_size=8, max_size=8), ARRAYS, max_size=3)


def content(refs: ChunkRefs | None) -> Items:
    assert refs is not None
    coords = [tuple(row) for row in refs.coords.tolist()]
    assert coords == sorted(set(coords))
    return {at: refs.row(row) for row, at in enumerate(coords)}


def encode(items: Items, ndim: int, spec_version: int = 2) -> bytes:
    return bytes(encode_manifest(ID, [(NODE, ChunkRefs.from_items(ndim, items))], spec_version))


def virtual_items(count: int) -> Items:
    return {(n,): virtual(f"s3://bucket/some/long/prefix/{n // 3}.nc", n, 7, "etag") for n in range(count)}


@EXAMPLES
@given(MANIFESTS, st.sampled_from([1, 2]))
def test_round_trip(arrays: dict[bytes, tuple[int, Items]], spec_version: int) -> None:
    columns = [(node, ChunkRefs.from_items(ndim, items)) for node, (ndim, items) in arrays.items()]
    manifest = decode_manifest(encode_manifest(ID, columns, spec_version), KEY)
    assert manifest.id == ID
    assert manifest.node_ids() == sorted(arrays)
    assert manifest.num_refs == sum(len(items) for _, items in arrays.values())
    for node, (_, items) in arrays.items():
        for at, ref in items.items():
            assert manifest.find(node, at) == ref
        assert content(manifest.refs(node)) == items
        assert manifest.refs(node) is manifest.refs(node)
        for at, ref in items.items():
            assert manifest.find(node, at) == ref


def test_unknown_nodes_and_coordinates() -> None:
    manifest = decode_manifest(encode({(n, 2 * n): native(b"i" * 12, n) for n in range(40)}, 2), KEY)
    assert manifest.refs(b"other id") is None
    # At first by search, then by index: the answers are the same.
    for _ in range(100):
        assert manifest.find(b"other id", (0, 0)) is None
        assert manifest.find(NODE, (7, 14)) == native(b"i" * 12, 7)
        for at in [(7, 13), (7, 15), (40, 80), (0,), (), (0, 0, 0), (-1, 0), (2**40, 0)]:
            assert manifest.find(NODE, at) is None


def test_many_lookups_decode_all_references() -> None:
    manifest = decode_manifest(encode({(n,): native(b"i" * 12, n) for n in range(100)}, 1), KEY)
    assert not manifest._decoded
    manifest.find(NODE, (3,))
    assert not manifest._decoded
    for n in range(100):
        assert manifest.find(NODE, (n,)) == native(b"i" * 12, n)
    assert manifest._decoded


def test_empty_manifests() -> None:
    assert decode_manifest(encode_manifest(ID, [], 2), KEY).node_ids() == []
    manifest = decode_manifest(encode({}, 3), KEY)
    assert manifest.node_ids() == [NODE]
    assert manifest.num_refs == 0
    assert manifest.refs(NODE) is None
    assert manifest.find(NODE, (0, 0, 0)) is None


def test_lookups_from_many_threads() -> None:
    items: Items = {(n, m): inline_ref(b"%d" % (n * m)) for n in range(30) for m in range(30)}
    payload = encode(items, 2)
    for _ in range(5):
        manifest = decode_manifest(payload, KEY)
        wrong: list[Coordinates] = []

        def look(manifest: object = manifest, wrong: list[Coordinates] = wrong) -> None:
            wrong.extend(at for at, ref in items.items() if manifest.find(NODE, at) != ref)  # type: ignore[attr-defined]

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_compression_algorithm_is_written() -> None:
    # Absent it would mean zstd with a dictionary, which is not there.
    for spec_version in (1, 2):
        root = Reader(encode({(0,): inline_ref(b"a")}, 1, spec_version), KEY).root()
        assert root.field(3)
        assert root.u8(3, default=1) == 0
        assert root.bytes(2) is None


def test_compressed_locations() -> None:
    refs = ChunkRefs.from_items(1, virtual_items(50)).with_compressed_locations(min_num_chunks=10)
    payload = encode_manifest(ID, [(NODE, refs)], 2)
    assert Reader(payload, KEY).root().u8(3, default=7) == 1
    manifest = decode_manifest(payload, KEY)
    assert manifest.location_dictionary is not None
    assert manifest.find(NODE, (20,)) == virtual_items(50)[(20,)]
    found = manifest.refs(NODE)
    assert content(found) == virtual_items(50)
    assert found is not None
    assert found.rows["compressed"].all()
    # Readers of spec 1 know of no compression.
    manifest = decode_manifest(encode_manifest(ID, [(NODE, refs)], 1), KEY)
    assert manifest.location_dictionary is None
    assert content(manifest.refs(NODE)) == virtual_items(50)


def test_arrays_with_different_dictionaries() -> None:
    others: Items = {(n,): virtual(f"https://example.com/other/{n}.grib", n, 7) for n in range(70)}
    parts = [
        (node, ChunkRefs.from_items(1, items).with_compressed_locations(min_num_chunks=10))
        for node, items in ((b"node id2", others), (NODE, virtual_items(50)))
    ]
    manifest = decode_manifest(encode_manifest(ID, parts, 2), KEY)
    assert content(manifest.refs(NODE)) == virtual_items(50)
    assert content(manifest.refs(b"node id2")) == others


def test_equal_texts_are_written_once() -> None:
    items: Items = {(n,): virtual("s3://" + "x" * 500, n, 1, "e" * 50) for n in range(1000)}
    payload = encode(items, 1)
    assert len(payload) < 1000 * 60
    assert content(decode_manifest(payload, KEY).refs(NODE)) == items


def test_decoded_references_can_be_written_again() -> None:
    items = virtual_items(30) | {(70,): native(b"i" * 12, 1, 5)}
    items |= {(n,): inline_ref(b"x" * n) for n in range(40, 60)}
    found = decode_manifest(encode(items, 1), KEY).refs(NODE)
    assert found is not None
    assert content(decode_manifest(encode_manifest(ID, [(NODE, found)], 2), KEY).refs(NODE)) == items
    part = found.take(np.arange(0, len(found), 2))
    written, written_compact = (encode_manifest(ID, [(NODE, refs)], 2) for refs in (part, part.compact()))
    assert written == written_compact


Fields = dict[int, bytes | str | np.ndarray | None]


def forge(refs: list[Fields]) -> bytes:
    """A manifest with references of any fields: arrays are vectors, bytes lie in the table."""
    builder = Builder()
    places = []
    for fields in refs:
        written: dict[int, bytes | int | None] = {
            slot: builder.vector(value)
            if isinstance(value, np.ndarray)
            else builder.string(value)
            if isinstance(value, str)
            else value
            for slot, value in fields.items()
        }
        places.append(builder.table(written))
    array = builder.table({0: NODE, 1: builder.references(places)})
    return bytes(builder.finish(builder.table({0: ID, 1: builder.references([array])})))


def index(*coords: int) -> np.ndarray:
    return np.array(coords, "<u4")


BLOB = np.frombuffer(b"inline", np.uint8)


def test_precedence_of_kinds() -> None:
    every: Fields = {1: BLOB, 2: u64(3), 3: u64(4), 4: b"i" * 12, 5: "s3://b", 6: "etag", 7: u32(9)}
    payload = forge(
        [
            {0: index(0), **every},
            {0: index(1), **every, 4: None},
            {0: index(2), **every, 4: None, 6: None},
            {0: index(3), 1: BLOB, 2: u64(7), 7: u32(1)},
            {0: index(4), 4: b"j" * 12},
            {0: index(5), 5: ""},
        ]
    )
    expected = {
        (0,): native(b"i" * 12, 4, 3),
        (1,): virtual("s3://b", 3, 4, "etag", 9),
        (2,): virtual("s3://b", 3, 4, None, 9),
        (3,): inline_ref(b"inline"),
        (4,): native(b"j" * 12, 0),
        (5,): virtual("", 0, 0),
    }
    manifest = decode_manifest(payload, KEY)
    assert {at: manifest.find(NODE, at) for at in expected} == expected
    assert content(manifest.refs(NODE)) == expected


@pytest.mark.parametrize(
    ("refs", "reason"),
    [
        ([{0: index(0)}], "neither native nor virtual nor inline"),
        ([{4: b"i" * 12}], "no index"),
        ([{0: index(0), 8: BLOB}], "no dictionary"),
        ([{0: index(0), 4: b"i" * 12}, {0: index(0, 1), 4: b"i" * 12}], "number of dimensions"),
    ],
)
def test_references_that_make_no_sense(refs: list[Fields], reason: str) -> None:
    with pytest.raises(FormatError, match=reason) as caught:
        decode_manifest(forge(refs), KEY).refs(NODE)
    assert caught.value.kind == ErrorKind.INVALID_FILE_FORMAT
    assert KEY in str(caught.value)
    if len(refs) == 1:
        with pytest.raises(FormatError, match=reason):
            decode_manifest(forge(refs), KEY).find(NODE, (0,))


def test_references_out_of_order_are_sorted() -> None:
    payload = forge([{0: index(n), 4: b"i" * 12, 3: u64(n)} for n in (3, 1, 2, 0)])
    assert content(decode_manifest(payload, KEY).refs(NODE)) == {(n,): native(b"i" * 12, n) for n in range(4)}


def test_missing_parts() -> None:
    builder = Builder()
    no_id = bytes(builder.finish(builder.table({1: builder.references([])})))
    builder = Builder()
    no_arrays = bytes(builder.finish(builder.table({0: ID})))
    builder = Builder()
    array = builder.table({0: NODE})
    no_refs = bytes(builder.finish(builder.table({0: ID, 1: builder.references([array])})))
    for payload in (no_id, no_arrays, no_refs, b"", b"\0" * 64):
        with pytest.raises(FormatError, match=KEY):
            decode_manifest(payload, KEY)


def test_arrays_that_share_their_references_cannot_multiply_them() -> None:
    builder = Builder()
    table = builder.table({0: builder.vector(index(1)), 4: b"i" * 12})
    refs = builder.references([table] * 1000)
    arrays = [builder.table({0: n.to_bytes(8, "big"), 1: refs}) for n in range(1000)]
    payload = bytes(builder.finish(builder.table({0: ID, 1: builder.references(arrays)})))
    with pytest.raises(FormatError, match="overlap"):
        decode_manifest(payload, KEY)


def test_shared_indices_cannot_multiply_memory() -> None:
    builder = Builder()
    shared = builder.vector(np.arange(50_000, dtype="<u4"))
    tables = builder.tables(10_000, {4: np.zeros(10_000, "V12")}, {0: np.full(10_000, shared)})
    array = builder.table({0: NODE, 1: builder.references(tables)})
    payload = bytes(builder.finish(builder.table({0: ID, 1: builder.references([array])})))
    tracemalloc.start()
    with pytest.raises(FormatError, match="overlap"):
        decode_manifest(payload, KEY).refs(NODE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(payload)


def test_overlapping_locations_cannot_multiply_memory() -> None:
    builder = Builder()
    words = np.arange(4 * 4999, -1, -4, dtype="<u4")
    top = builder.vector(words) - 4
    coords = np.arange(2000, dtype="<u4").reshape(-1, 1)
    tables = builder.tables(2000, {}, {5: top - 4 * np.arange(2000, dtype=np.int64)}, (0, coords))
    array = builder.table({0: NODE, 1: builder.references(tables)})
    payload = bytes(builder.finish(builder.table({0: ID, 1: builder.references([array])})))
    with pytest.raises(FormatError, match="overlap"):
        decode_manifest(payload, KEY).refs(NODE)


# Files of the official release 2.3.0: spec 1 with native and virtual references, spec 2 with a location
# dictionary, spec 2 with the one chunk of an array without dimensions.
MIXED_FILE = base64.b64decode(
    "SUNF8J+nikNIVU5LaWMtMi4zLjAgICAgICAgICAgICAgICAgAQIBKLUv/WDIAFUIACLNLTFQtTYDUQlWJT9IOS5QDFX7Tzw7xW3O"
    "GlYJjo3beQh6f70KY179b24GNegiksx6NpMpj3LSsCJ7Mb0gVA83HxkEPVPzbcQuIhhcCEzvDrqBYCACIhMkhFcFBgyFDOnjhJDQ"
    "2KSwcGIx72azmQtVWjTEOcApD8VCZXgsjU/VkfI8hwWOD3hgCnNHQ69ectgatxZQYDLiah14SHzL7Qzd1t7pEj4WKq1TqeXjI8v1"
    "XHTb5f5bqU7vAiMgYIIidXtDElAATqxt67jFLXDreM8AbeajIRzlUt5ZvBscLDCEmAOeBGi4BTfE3FSCYKIYLVL2XUDuxX9OQYO4"
    "72kRmSRMQxhHu3qXQxkD"
)
PACKED_FILE = base64.b64decode(
    "SUNF8J+nikNIVU5LaWMtMi4zLjAgICAgICAgICAgICAgICAgAgIBKLUv/WAABk0SAEZaXUYAsTZrRN6MOGPh6muFS+5AgbshcsBx"
    "71xCpMsZKIRsVnKjf3h/W7tVYKgakl/oWLFacpBx3HMmhM7vir3hzjO9sambCJEpTgBTAEAAKTU3Mt+NTIKW6sTJigjXBsNGUyqN"
    "TkBaQu69EkRutUBe4Cf8w10PbHc60aDM2BHiNPh1/NoPVKoQb07JPRNijDM/adPd2nbSs7RKlN8UmoLXPLwG40Pfh2J+08/JRAiT"
    "FJUVt3bH/alQZIHjOXIAT5OldJEg6MAE5mWFLEmRfDBJF9cLidmy8o/qxirti1SJ0EULEiLOhisaI5uOTg6CCgEL0rQHei/0MBAx"
    "EASy+H4QlfE0TZcOMBjQ/1H4vTl7N7KH+s9/5399vV9jvvo8xj2meqzmsRqfoT5bfYbzWY4P/x3n2ZC9VRxqLxtEqm2ThvZJRfPY"
    "LMq66EdtoaQ6g+IHIO7wVBtBIv4AIxy/gBD9B2h48fzdiAN/SUzxgvATOMON6/cbrIxlqCFZqKSmqT8ZDuACERmqdRLAJBXJEWBW"
    "oBQSj4QSSGSV0wPHJBi9eRiqNYsii83+qbmJWXm+i9cuof7mC+Vku9y+eUOeJCQ/I96GP676RgJXjoHrm1FvAyb2ugdcPGIY904k"
    "w44POMMmug0YcOSgcKaA54N/k9rZEbFPQHWcvLJyOHWweKtz1BzmwaA67b7z6Q+giYVLVB/OVnxVE2m/qZINOlv0kgIupfPQB3MS"
    "YKugKOqvE5/x1VNtv0GVcGciFnR5fcQA7qpBbpSQciBVAw=="
)
SCALAR_FILE = base64.b64decode(
    "SUNF8J+nikNIVU5LaWMtMi4zLjAgICAgICAgICAgICAgICAgAgIBKLUv/SB4vQIA0gQRHqAprQGo3f9/i/q8vszi36LUNUQQMrdw"
    "DAFE4AGSAi+4erL1GIWGgg4Dye2tTnt5QRqOByAyWTABQ+VFT+3zFAkE4SkGADgCV50GrTaUZH+KYABi"
)


def test_official_file_of_spec_1() -> None:
    file = unwrap(MIXED_FILE, FileType.MANIFEST, KEY)
    assert (file.spec_version, file.written_by) == (1, "ic-2.3.0")
    manifest = decode_manifest(file.payload, KEY)
    assert id_text(manifest.id) == "ZR57NH9896AB8NRA5CC0"
    assert manifest.location_dictionary is None
    (node,) = manifest.node_ids()
    items = content(manifest.refs(node))
    assert items.pop((2, 0)) == virtual("s3://bucket/data/a", 0, 2000)
    assert items.pop((3, 1)) == virtual("s3://bucket/data/b", 2000, 2000)
    assert list(items) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {(ref.kind, ref.offset, ref.length) for ref in items.values()} == {(ChunkType.native, 0, 2000)}
    assert len({ref.chunk_id for ref in items.values()}) == 4


def test_official_file_with_compressed_locations() -> None:
    file = unwrap(PACKED_FILE, FileType.MANIFEST, KEY)
    manifest = decode_manifest(file.payload, KEY)
    (node,) = manifest.node_ids()
    expected: Items = {
        (n,): virtual(f"s3://bucket/data/file-number-{n % 3}.bin", 40 * n, 40) for n in range(19)
    }
    expected[(19,)] = virtual("s3://bucket/data/file-number-1.bin", 760, 40, "someetag")
    assert {at: manifest.find(node, at) for at in expected} == expected
    refs = manifest.refs(node)
    assert content(refs) == expected
    assert refs is not None
    assert refs.rows["compressed"].all()
    again = decode_manifest(encode_manifest(manifest.id, [(node, refs)], 2), KEY)
    assert again.location_dictionary == manifest.location_dictionary
    assert content(again.refs(node)) == expected


def test_official_file_without_dimensions() -> None:
    manifest = decode_manifest(unwrap(SCALAR_FILE, FileType.MANIFEST, KEY).payload, KEY)
    (node,) = manifest.node_ids()
    found = manifest.find(node, ())
    assert found is not None
    assert found == inline_ref(struct.pack("<d", 3.5))
    assert content(manifest.refs(node)) == {(): found}


def read_all(payload: bytes) -> None:
    manifest = decode_manifest(payload, KEY)
    for node in manifest.node_ids():
        with suppress(FormatError):
            manifest.find(node, (1,))
            manifest.find(node, (25,))
        refs = manifest.refs(node)
        if refs is not None:
            content(refs)
            refs.locations()
            encode_manifest(ID, [(node, refs)], 1)


MIXED: Items = {
    (0,): native(b"i" * 12, 100),
    (1,): native(b"j" * 12, 100, 5),
    (2,): inline_ref(b"inline"),
    (3,): virtual("s3://bucket/plain", 1, 2, "etag"),
    (4,): virtual("s3://bucket/plain", 1, 2, last_modified=3),
}
COMPRESSED = bytes(
    encode_manifest(
        ID,
        [
            (NODE, ChunkRefs.from_items(1, virtual_items(30)).with_compressed_locations(10)),
            (b"node id2", ChunkRefs.from_items(1, MIXED)),
        ],
        2,
    )
)


@EXAMPLES
@given(st.binary(max_size=300))
def test_random_bytes_raise_only_format_error(data: bytes) -> None:
    with suppress(FormatError):
        read_all(data)
    with suppress(FormatError):
        read_all(encode(MIXED, 1)[:100] + data)


@MANY_EXAMPLES
@given(
    st.sampled_from([encode(MIXED, 1), COMPRESSED]),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_mutated_bytes_raise_only_format_error(payload: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(payload)
    for position, value in changes:
        data[position % len(data)] = value
    with suppress(FormatError):
        read_all(bytes(data))


def test_cut_bytes_raise_only_format_error() -> None:
    payload = encode(MIXED, 1)
    for size in range(0, len(payload), 3):
        with suppress(FormatError):
            read_all(payload[:size])


def test_encoding_takes_little_more_than_its_result() -> None:
    count = 100_000
    rows = ChunkRefs.from_items(1, {(0,): native(b"i" * 12, 9)}).rows.repeat(count)
    coords = np.stack([np.arange(count), np.arange(count)], axis=1).astype("<u4")
    refs = ChunkRefs.from_columns(coords, rows, np.empty(0, np.uint8))
    tracemalloc.start()
    payload = encode_manifest(ID, [(NODE, refs)], 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Table, coordinates and the reference to the table.
    assert len(payload) < count * (28 + 12 + 4 + 4) + 200
    assert peak < 3 * len(payload)


def test_manifests_of_more_than_a_million_references_are_read() -> None:
    """Limits on the number of tables, which readers of FlatBuffers have, are no limit on manifests."""
    count = 1_100_000
    rows = ChunkRefs.from_items(1, {(0,): native(b"i" * 12, 9)}).rows.repeat(count)
    rows["offset"] = np.arange(count)
    coords = np.stack(np.unravel_index(np.arange(count), (11, 100_000)), 1).astype(np.uint32)
    payload = encode_manifest(ID, [(NODE, ChunkRefs.from_columns(coords, rows, np.empty(0, np.uint8)))], 2)
    manifest = decode_manifest(payload, KEY)
    assert manifest.num_refs == count
    for number in (0, 1, 999_999, 1_000_001, count - 1):
        assert manifest.find(NODE, divmod(number, 100_000)) == native(b"i" * 12, 9, number)
    assert manifest.find(NODE, (11, 0)) is None
    refs = decode_manifest(payload, KEY).refs(NODE)
    assert refs is not None
    assert np.array_equal(refs.coords, coords)
    assert np.array_equal(refs.rows["offset"], rows["offset"])


def test_manifests_that_are_too_large_are_refused_before_any_work() -> None:
    """As many references exceed what a file can hold: known from their number, and told at once."""
    count = 80_000_000
    row = ChunkRefs.from_items(1, {(0,): native(b"i" * 12, 9)}).rows
    refs = ChunkRefs.empty(3)
    # Nobody looks at them one by one, or this would take minutes and several gigabytes.
    refs.coords, refs.rows = np.broadcast_to(np.uint32(0), (count, 3)), np.broadcast_to(row, (count,))
    with pytest.raises(FormatError, match="split manifests") as caught:
        encode_manifest(ID, [(NODE, refs)], 2)
    assert caught.value.kind == ErrorKind.SERIALIZATION


def test_references_from_before_an_array_had_so_many_dimensions() -> None:
    """The official release keeps them among those of now; a search finds its way through both."""
    places: list[Coordinates] = [(0, 0), (0, 1), (1, 0), (2, 3)]
    items = {at: native(bytes([index]) * 12, 1) for index, at in enumerate(places)}
    payload = encode(items, 2)
    at = payload.index(struct.pack("<III", 2, 0, 0))
    mixed = payload[:at] + struct.pack("<I", 1) + payload[at + 4 :]
    left = {at: ref for at, ref in items.items() if at != (0, 0)}
    manifest = decode_manifest(mixed, KEY)
    for _ in range(200):  # until they are decoded at once
        assert manifest.find(NODE, (0,)) == items[0, 0]
        assert {at: manifest.find(NODE, at) for at in left} == left
        assert manifest.find(NODE, (0, 0)) is None
        assert manifest.find(NODE, (0, 0, 0)) is None
    assert content(manifest.refs(NODE, 2)) == left
    assert content(manifest.refs(NODE, 1)) == {(0,): items[0, 0]}
    assert content(manifest.refs(NODE, 3)) == {}
    with pytest.raises(FormatError, match="differ in their number of dimensions"):
        decode_manifest(mixed, KEY).refs(NODE)
