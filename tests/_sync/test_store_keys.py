# Generated from tests/_async/test_store_keys.py by tools/make_sync.py; edit that file.
"""What the keys of a store mean: parsing, documents, chunks and byte ranges.

Each law is held by what a session has recorded and by what it finds in the snapshot it was opened at.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

import icechunk
from icechunk import IcechunkError, Repository, RepositoryConfig, Session
from tests._sync.store_keys import (
    DATA,
    GROUP,
    array_document,
    listed,
    made,
    names,
    set_all,
    value,
)

# What a key means


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a",
        "abc",  # only a whole component `c` starts chunk coordinates
        "a/abc/0",
        "a/c/0/x",
        "a/c/0.0",
        "a/c/-1",
        "a/c/+1",
        "a/c/1_0",
        "a/c/ 1",
        "a/c/٣",  # a digit, but not one of a key
        "a/c/4294967296",
        "a/zarr.json/b",
        "zarr.jso",
        "azarr.json",
        "a/../b/zarr.json",
        "./zarr.json",
        "a/./c/0",
        "\ud800/zarr.json",  # no file can hold it, so that no commit would get past it
        "\ud800/c/0",
    ],
)
def test_what_is_no_key_is_refused_by_every_verb(session: Session, key: str) -> None:
    keys = session._keys
    set_all(session, {"zarr.json": GROUP, "a/zarr.json": array_document(1)})
    with pytest.raises(icechunk.InvalidInputError) as get:
        keys.get(key)
    with pytest.raises(icechunk.InvalidInputError) as exists:
        keys.exists(key)
    with pytest.raises(icechunk.InvalidInputError) as size:
        keys.getsize(key)
    with pytest.raises(icechunk.InvalidInputError) as write:
        keys.set(key, DATA, len(DATA))
    with pytest.raises(icechunk.InvalidInputError) as delete:
        keys.delete(key)
    assert {caught.value.kind for caught in (get, exists, size, write, delete)} == {"invalid-key"}


def test_extra_slashes_and_zeros_in_a_key_are_forgiven(session: Session, how: str) -> None:
    session = made(session, how, {"a/b/zarr.json": array_document(20), "a/b/c/7": DATA})
    for key in ("/a/b/c/7", "a//b/c/7", "a/b/c/07", "/a/b/c/0007"):
        assert value(session, key) == DATA
    for key in ("/a/b/zarr.json", "a//b/zarr.json", "//a/b//zarr.json"):
        assert value(session, key) == array_document(20)


def test_documents_of_zarr_2_are_never_there_and_cannot_be_written(session: Session) -> None:
    keys = session._keys
    set_all(session, {"a/zarr.json": array_document(1)})
    for name in (".zgroup", ".zarray", ".zattrs", ".zmetadata"):
        for key in (name, f"a/{name}", f"nowhere/{name}"):
            assert keys.get(key) is None
            keys.delete(key)
            with pytest.raises(icechunk.NodeNotFoundError) as missing:
                keys.exists(key)
            assert missing.value.kind == "key-not-found"
            with pytest.raises(icechunk.SessionStateError, match="zarr format 3") as refused:
                keys.set(key, b"{}", 2)
            assert refused.value.kind == "unimplemented"


NAMES = [
    "c",
    "c c",
    "0",
    "zarr",
    "zarr.json.",
    "ä中🧊",
    "a%2Fb",
    "~",
    "#1",
    "..a",
    "C",
    "cc",
    "{}[]()*?+|^$",
    "'\"`",
    "\t",
]


def test_a_node_may_have_any_name(session: Session, how: str) -> None:
    """Special characters get in the way of neither reading, listing nor deleting."""
    entries: dict[str, bytes] = {}
    for name in NAMES:
        entries[f"{name}/zarr.json"] = GROUP
        entries[f"{name}/{name}/zarr.json"] = array_document(3)
        entries[f"{name}/{name}/c/2"] = DATA
    session = made(session, how, {"zarr.json": GROUP, **entries})
    assert listed(session) == sorted([*entries, "zarr.json"])
    assert names(session, "") == sorted([*NAMES, "zarr.json"])
    keys = session._keys
    for name in NAMES:
        below = [key for key in entries if key.startswith(f"{name}/{name}/")]
        assert listed(session, f"{name}/{name}") == sorted(below)
        assert names(session, name) == sorted([name, "zarr.json"])
    for key, data in entries.items():
        assert value(session, key) == data
        assert keys.exists(key)
        assert keys.getsize(key) == len(data)
    for key in reversed(entries):
        keys.delete(key)
        assert not keys.exists(key)
    assert listed(session) == ["zarr.json"]


# Documents


VERBATIM = [
    array_document(2, fill_value="NaN"),
    array_document(2, fill_value="-Infinity"),
    array_document(2).replace(b'"fill_value": 0', b'"fill_value": NaN'),
    array_document(2, dimension_names=["x"]),
    array_document(2, dimension_names=[None]),
    array_document(2, my_extension={"must_understand": False, "of": [1, 2.5, None, "ü"]}),
    b'\n{ "node_type" : "group",\t"zarr_format":3, "zarr_format":3 }\r\n',
    GROUP.replace(b"}", ',"attributes":{"ice":"🧊"}}'.encode()),
]


def test_documents_are_kept_verbatim(session: Session, how: str) -> None:
    """Extensions that nobody here knows stay, and so do NaN, infinity, and names that are null."""
    entries = {f"n{number}/zarr.json": document for number, document in enumerate(VERBATIM)}
    session = made(session, how, entries)
    for key, document in entries.items():
        assert value(session, key) == document
        assert session._keys.getsize(key) == len(document)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b'{"zarr_format":3}',
        b'{"zarr_format":3,"node_type":"table"}',
        b'{"zarr_format":3,"node_type":"array"}',
        GROUP[:-1],
        GROUP + b"x",
        b"\xff" + GROUP,
        array_document(2, shape=[-1]),
        array_document(2, shape=[1.5]),
        array_document(2, shape="2"),
        array_document(2, shape=[2, 2]),
        array_document(2, shape=[2**64]),
        array_document(2, chunk_grid={"name": "hexagonal", "configuration": {}}),
        array_document(2, chunk_grid={"name": "regular"}),
        array_document(2, dimension_names="x"),
        array_document(2, dimension_names=["\udfff"]),
    ],
)
def test_documents_that_make_no_node_are_refused(session: Session, document: bytes) -> None:
    for before in (None, array_document(1), GROUP):
        if before is not None:
            set_all(session, {"a/zarr.json": before})
        with pytest.raises(icechunk.InvalidInputError) as caught:
            session._keys.set("a/zarr.json", document, len(document))
        assert caught.value.kind == "bad-metadata"
        assert value(session, "a/zarr.json") == before
        session._keys.delete("a/zarr.json")


def test_a_node_never_turns_into_another_kind_of_node(session: Session, how: str) -> None:
    entries = {"group/zarr.json": GROUP, "array/zarr.json": array_document(2), "array/c/1": DATA}
    session = made(session, how, entries)
    for key, document in (("group/zarr.json", array_document(2)), ("array/zarr.json", GROUP)):
        with pytest.raises(icechunk.AlreadyExistsError) as caught:
            session._keys.set(key, document, len(document))
        assert caught.value.kind == "node-already-exists"
        assert value(session, key) == entries[key]
    assert value(session, "array/c/1") == DATA


def test_nodes_need_no_parents_and_may_lie_below_arrays(session: Session, how: str) -> None:
    entries = {
        "a/b/zarr.json": array_document(2),
        "a/b/c/1": DATA,
        "a/b/c/zarr.json": array_document(1),  # the name of this array is c
        "a/b/c/c/0": DATA[:3],
        "a/b/d/zarr.json": GROUP,
    }
    session = made(session, how, entries)
    assert listed(session) == sorted(entries)
    for key, data in entries.items():
        assert value(session, key) == data
    assert value(session, "a/zarr.json") is None


# Chunks


REQUESTS = [
    (None, slice(None)),
    (RangeByteRequest(0, 10), slice(0, 10)),
    (RangeByteRequest(2, 5), slice(2, 5)),
    (RangeByteRequest(2, 2), slice(2, 2)),
    (RangeByteRequest(7, 99), slice(7, None)),
    (RangeByteRequest(99, 100), slice(99, None)),
    (OffsetByteRequest(0), slice(0, None)),
    (OffsetByteRequest(3), slice(3, None)),
    (OffsetByteRequest(10), slice(10, None)),
    (OffsetByteRequest(99), slice(99, None)),
    (SuffixByteRequest(10), slice(-10, None)),
    (SuffixByteRequest(4), slice(-4, None)),
    (SuffixByteRequest(0), slice(0, 0)),
    (SuffixByteRequest(99), slice(None)),
]
MEANINGLESS = [
    RangeByteRequest(-1, 3),
    RangeByteRequest(3, 2),
    OffsetByteRequest(-1),
    SuffixByteRequest(-1),
    (0, 2),
]


def test_byte_ranges_are_clamped_to_the_value(session: Session, how: str) -> None:
    short = b'{"node_type":"group"}'
    entries = {"a/zarr.json": array_document(1, 3), "a/c/0/1": DATA, "b/zarr.json": short}
    session = made(session, how, entries)
    for request, part in REQUESTS:
        assert value(session, "a/c/0/1", request) == DATA[part], request
    for request, part in REQUESTS:
        expected = short[-10:] if request == SuffixByteRequest(10) else short[part]
        assert value(session, "b/zarr.json", request) == expected, request
    for meaningless in MEANINGLESS:
        for key in ("a/c/0/1", "b/zarr.json"):
            with pytest.raises((ValueError, TypeError)):
                session._keys.get(key, meaningless)  # type: ignore[arg-type]


def test_an_array_without_dimensions_has_one_chunk(session: Session, how: str) -> None:
    entries = {"zarr.json": array_document(), "c": DATA, "a/zarr.json": array_document(), "a/c": DATA[:4]}
    session = made(session, how, entries)
    assert value(session, "c") == DATA
    assert value(session, "a/c") == DATA[:4]
    assert listed(session, "a") == ["a/c", "a/zarr.json"]
    with pytest.raises(icechunk.InvalidInputError) as caught:
        session._keys.set("a/c/0", DATA, len(DATA))
    assert caught.value.kind == "invalid-chunk-index"
    session._keys.delete("a/c")
    assert listed(session, "a") == ["a/zarr.json"]


@pytest.mark.parametrize("key", ["a/c/3", "a/c/4294967295", "a/c", "a/c/0/0", "empty/c/1"])
def test_a_chunk_outside_the_grid_cannot_be_written_is_absent_and_can_be_deleted(
    session: Session, how: str, key: str
) -> None:
    """Whoever clears a region need not know the grid; who writes beyond it must not lose data silently."""
    entries = {"a/zarr.json": array_document(3), "a/c/0": DATA, "empty/zarr.json": array_document(0)}
    session = made(session, how, entries)
    with pytest.raises(icechunk.InvalidInputError) as caught:
        session._keys.set(key, DATA, len(DATA))
    assert caught.value.kind == "invalid-chunk-index"
    session._keys.delete(key)
    assert listed(session) == sorted(entries)


def test_a_chunk_needs_an_array(session: Session, how: str) -> None:
    session = made(session, how, {"group/zarr.json": GROUP})
    with pytest.raises(icechunk.NodeNotFoundError) as nowhere:
        session._keys.set("nowhere/c/0", DATA, len(DATA))
    assert nowhere.value.kind == "node-not-found"
    with pytest.raises(icechunk.InvalidInputError) as group:
        session._keys.set("group/c/0", DATA, len(DATA))
    assert group.value.kind == "not-an-array"
    assert value(session, "nowhere/c/0") is None
    with pytest.raises(icechunk.InvalidInputError) as read:
        session._keys.get("group/c/0")
    assert read.value.kind == "not-an-array"


def test_what_cannot_be_there_can_be_deleted(session: Session, how: str) -> None:
    """Chunks of groups and of nodes that do not exist, and nodes that do not: nothing happens."""
    entries = {"group/zarr.json": GROUP, "group/a/zarr.json": array_document(2), "group/a/c/1": DATA}
    session = made(session, how, entries)
    changed = session.has_uncommitted_changes
    for key in ("group/c/0", "group/c", "nowhere/c/0", "nowhere/zarr.json", "c/0", "group/a/c/0/0"):
        session._keys.delete(key)
    for prefix in ("group/c", "group/c/0", "nowhere", "nowhere/c", "group/a/c/7", "c"):
        session._keys.delete_dir(prefix)
    assert listed(session) == sorted(entries)
    assert session.has_uncommitted_changes == changed


def test_an_empty_chunk_is_refused_and_what_was_there_stays(session: Session, how: str) -> None:
    """No reader could tell what a chunk without bytes means."""
    session = made(session, how, {"a/zarr.json": array_document(2), "a/c/0": DATA})
    for key, kind in {
        **dict.fromkeys(("a/c/0", "a/c/1"), "zero-length-chunk"),
        "a/c/2": "zero-length-chunk",  # which is outside of the grid, too
    }.items():
        with pytest.raises(icechunk.InvalidInputError) as caught:
            session._keys.set(key, b"", 0)
        assert caught.value.kind == kind
    with pytest.raises(icechunk.NodeNotFoundError):
        session._keys.set("b/c/0", b"", 0)
    assert value(session, "a/c/0") == DATA
    assert not session._keys.exists("a/c/1")


def test_existence_and_sizes_are_told_without_reading_a_chunk(tmp_path: Path, how: str) -> None:
    """`exists` and `getsize` work though every chunk object is gone."""
    config = RepositoryConfig(inline_chunk_threshold_bytes=0)
    repo = Repository.create(icechunk.local_filesystem_storage(tmp_path), config)
    session = repo.writable_session("main")
    document = array_document(3)
    session = made(session, how, {"a/zarr.json": document, "a/c/0": DATA, "a/c/2": DATA[:7]})
    for chunk in (tmp_path / "chunks").iterdir():
        chunk.unlink()
    keys = session._keys
    assert keys.exists("a/c/0")
    assert keys.getsize("a/c/2") == 7
    assert keys.getsize("a/c/1") == 0
    assert keys.getsize_prefix("a") == len(document) + 17
    assert listed(session) == ["a/c/0", "a/c/2", "a/zarr.json"]
    with pytest.raises(icechunk.StorageError) as caught:
        keys.get("a/c/0")
    assert caught.value.kind == "object-not-found"


def test_sizes_count_what_is_overwritten_once_and_what_is_deleted_not_at_all(
    session: Session, how: str
) -> None:
    document = array_document(4)
    entries = {"a/zarr.json": document, "a/c/0": DATA, "a/c/1": DATA, "a/c/2": DATA, "ab/zarr.json": document}
    session = made(session, how, entries)
    set_all(session, {"a/c/1": DATA[:3], "a/c/3": DATA[:2]})
    session._keys.delete("a/c/2")
    assert session._keys.getsize_prefix("a") == len(document) + 10 + 3 + 2
    assert session._keys.getsize_prefix("") == 2 * len(document) + 10 + 3 + 2


# Errors


def test_errors_name_the_key_or_node_they_are_about(session: Session) -> None:
    set_all(session, {"some/array/zarr.json": array_document(3)})
    for key in ("some/array/c/9", "some/where/c/0", "some/array/x"):
        with pytest.raises(IcechunkError) as caught:
            session._keys.set(key, DATA, len(DATA))
        named = key.rpartition("/c/")[0] or key
        assert named in str(caught.value)
