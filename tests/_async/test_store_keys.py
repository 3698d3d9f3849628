"""What the keys of a store mean: parsing, documents, chunks and byte ranges.

Each law is held by what a session has recorded and by what it finds in the snapshot it was opened at.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

import icechunk
from icechunk import IcechunkError, Repository, RepositoryConfig, Session
from tests._async.store_keys import (
    DATA,
    GROUP,
    array_document,
    listed_async,
    made_async,
    names_async,
    set_all_async,
    value_async,
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
async def test_what_is_no_key_is_refused_by_every_verb_async(session: Session, key: str) -> None:
    keys = session._keys_async
    await set_all_async(session, {"zarr.json": GROUP, "a/zarr.json": array_document(1)})
    with pytest.raises(icechunk.InvalidInputError) as get:
        await keys.get_async(key)
    with pytest.raises(icechunk.InvalidInputError) as exists:
        await keys.exists_async(key)
    with pytest.raises(icechunk.InvalidInputError) as size:
        await keys.getsize_async(key)
    with pytest.raises(icechunk.InvalidInputError) as write:
        await keys.set_async(key, DATA, len(DATA))
    with pytest.raises(icechunk.InvalidInputError) as delete:
        await keys.delete_async(key)
    assert {caught.value.kind for caught in (get, exists, size, write, delete)} == {"invalid-key"}


async def test_extra_slashes_and_zeros_in_a_key_are_forgiven_async(session: Session, how: str) -> None:
    session = await made_async(session, how, {"a/b/zarr.json": array_document(20), "a/b/c/7": DATA})
    for key in ("/a/b/c/7", "a//b/c/7", "a/b/c/07", "/a/b/c/0007"):
        assert await value_async(session, key) == DATA
    for key in ("/a/b/zarr.json", "a//b/zarr.json", "//a/b//zarr.json"):
        assert await value_async(session, key) == array_document(20)


async def test_documents_of_zarr_2_are_never_there_and_cannot_be_written_async(session: Session) -> None:
    keys = session._keys_async
    await set_all_async(session, {"a/zarr.json": array_document(1)})
    for name in (".zgroup", ".zarray", ".zattrs", ".zmetadata"):
        for key in (name, f"a/{name}", f"nowhere/{name}"):
            assert await keys.get_async(key) is None
            await keys.delete_async(key)
            with pytest.raises(icechunk.NodeNotFoundError) as missing:
                await keys.exists_async(key)
            assert missing.value.kind == "key-not-found"
            with pytest.raises(icechunk.SessionStateError, match="zarr format 3") as refused:
                await keys.set_async(key, b"{}", 2)
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


async def test_a_node_may_have_any_name_async(session: Session, how: str) -> None:
    """Special characters get in the way of neither reading, listing nor deleting."""
    entries: dict[str, bytes] = {}
    for name in NAMES:
        entries[f"{name}/zarr.json"] = GROUP
        entries[f"{name}/{name}/zarr.json"] = array_document(3)
        entries[f"{name}/{name}/c/2"] = DATA
    session = await made_async(session, how, {"zarr.json": GROUP, **entries})
    assert await listed_async(session) == sorted([*entries, "zarr.json"])
    assert await names_async(session, "") == sorted([*NAMES, "zarr.json"])
    keys = session._keys_async
    for name in NAMES:
        below = [key for key in entries if key.startswith(f"{name}/{name}/")]
        assert await listed_async(session, f"{name}/{name}") == sorted(below)
        assert await names_async(session, name) == sorted([name, "zarr.json"])
    for key, data in entries.items():
        assert await value_async(session, key) == data
        assert await keys.exists_async(key)
        assert await keys.getsize_async(key) == len(data)
    for key in reversed(entries):
        await keys.delete_async(key)
        assert not await keys.exists_async(key)
    assert await listed_async(session) == ["zarr.json"]


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


async def test_documents_are_kept_verbatim_async(session: Session, how: str) -> None:
    """Extensions that nobody here knows stay, and so do NaN, infinity, and names that are null."""
    entries = {f"n{number}/zarr.json": document for number, document in enumerate(VERBATIM)}
    session = await made_async(session, how, entries)
    for key, document in entries.items():
        assert await value_async(session, key) == document
        assert await session._keys_async.getsize_async(key) == len(document)


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
async def test_documents_that_make_no_node_are_refused_async(session: Session, document: bytes) -> None:
    for before in (None, array_document(1), GROUP):
        if before is not None:
            await set_all_async(session, {"a/zarr.json": before})
        with pytest.raises(icechunk.InvalidInputError) as caught:
            await session._keys_async.set_async("a/zarr.json", document, len(document))
        assert caught.value.kind == "bad-metadata"
        assert await value_async(session, "a/zarr.json") == before
        await session._keys_async.delete_async("a/zarr.json")


async def test_a_node_never_turns_into_another_kind_of_node_async(session: Session, how: str) -> None:
    entries = {"group/zarr.json": GROUP, "array/zarr.json": array_document(2), "array/c/1": DATA}
    session = await made_async(session, how, entries)
    for key, document in (("group/zarr.json", array_document(2)), ("array/zarr.json", GROUP)):
        with pytest.raises(icechunk.AlreadyExistsError) as caught:
            await session._keys_async.set_async(key, document, len(document))
        assert caught.value.kind == "node-already-exists"
        assert await value_async(session, key) == entries[key]
    assert await value_async(session, "array/c/1") == DATA


async def test_nodes_need_no_parents_and_may_lie_below_arrays_async(session: Session, how: str) -> None:
    entries = {
        "a/b/zarr.json": array_document(2),
        "a/b/c/1": DATA,
        "a/b/c/zarr.json": array_document(1),  # the name of this array is c
        "a/b/c/c/0": DATA[:3],
        "a/b/d/zarr.json": GROUP,
    }
    session = await made_async(session, how, entries)
    assert await listed_async(session) == sorted(entries)
    for key, data in entries.items():
        assert await value_async(session, key) == data
    assert await value_async(session, "a/zarr.json") is None


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


async def test_byte_ranges_are_clamped_to_the_value_async(session: Session, how: str) -> None:
    short = b'{"node_type":"group"}'
    entries = {"a/zarr.json": array_document(1, 3), "a/c/0/1": DATA, "b/zarr.json": short}
    session = await made_async(session, how, entries)
    for request, part in REQUESTS:
        assert await value_async(session, "a/c/0/1", request) == DATA[part], request
    for request, part in REQUESTS:
        expected = short[-10:] if request == SuffixByteRequest(10) else short[part]
        assert await value_async(session, "b/zarr.json", request) == expected, request
    for meaningless in MEANINGLESS:
        for key in ("a/c/0/1", "b/zarr.json"):
            with pytest.raises((ValueError, TypeError)):
                await session._keys_async.get_async(key, meaningless)  # type: ignore[arg-type]


async def test_an_array_without_dimensions_has_one_chunk_async(session: Session, how: str) -> None:
    entries = {"zarr.json": array_document(), "c": DATA, "a/zarr.json": array_document(), "a/c": DATA[:4]}
    session = await made_async(session, how, entries)
    assert await value_async(session, "c") == DATA
    assert await value_async(session, "a/c") == DATA[:4]
    assert await listed_async(session, "a") == ["a/c", "a/zarr.json"]
    with pytest.raises(icechunk.InvalidInputError) as caught:
        await session._keys_async.set_async("a/c/0", DATA, len(DATA))
    assert caught.value.kind == "invalid-chunk-index"
    await session._keys_async.delete_async("a/c")
    assert await listed_async(session, "a") == ["a/zarr.json"]


@pytest.mark.parametrize("key", ["a/c/3", "a/c/4294967295", "a/c", "a/c/0/0", "empty/c/1"])
async def test_a_chunk_outside_the_grid_cannot_be_written_is_absent_and_can_be_deleted_async(
    session: Session, how: str, key: str
) -> None:
    """Whoever clears a region need not know the grid; who writes beyond it must not lose data silently."""
    entries = {"a/zarr.json": array_document(3), "a/c/0": DATA, "empty/zarr.json": array_document(0)}
    session = await made_async(session, how, entries)
    with pytest.raises(icechunk.InvalidInputError) as caught:
        await session._keys_async.set_async(key, DATA, len(DATA))
    assert caught.value.kind == "invalid-chunk-index"
    await session._keys_async.delete_async(key)
    assert await listed_async(session) == sorted(entries)


async def test_a_chunk_needs_an_array_async(session: Session, how: str) -> None:
    session = await made_async(session, how, {"group/zarr.json": GROUP})
    with pytest.raises(icechunk.NodeNotFoundError) as nowhere:
        await session._keys_async.set_async("nowhere/c/0", DATA, len(DATA))
    assert nowhere.value.kind == "node-not-found"
    with pytest.raises(icechunk.InvalidInputError) as group:
        await session._keys_async.set_async("group/c/0", DATA, len(DATA))
    assert group.value.kind == "not-an-array"
    assert await value_async(session, "nowhere/c/0") is None
    with pytest.raises(icechunk.InvalidInputError) as read:
        await session._keys_async.get_async("group/c/0")
    assert read.value.kind == "not-an-array"


async def test_what_cannot_be_there_can_be_deleted_async(session: Session, how: str) -> None:
    """Chunks of groups and of nodes that do not exist, and nodes that do not: nothing happens."""
    entries = {"group/zarr.json": GROUP, "group/a/zarr.json": array_document(2), "group/a/c/1": DATA}
    session = await made_async(session, how, entries)
    changed = session.has_uncommitted_changes
    for key in ("group/c/0", "group/c", "nowhere/c/0", "nowhere/zarr.json", "c/0", "group/a/c/0/0"):
        await session._keys_async.delete_async(key)
    for prefix in ("group/c", "group/c/0", "nowhere", "nowhere/c", "group/a/c/7", "c"):
        await session._keys_async.delete_dir_async(prefix)
    assert await listed_async(session) == sorted(entries)
    assert session.has_uncommitted_changes == changed


async def test_an_empty_chunk_is_refused_and_what_was_there_stays_async(session: Session, how: str) -> None:
    """No reader could tell what a chunk without bytes means."""
    session = await made_async(session, how, {"a/zarr.json": array_document(2), "a/c/0": DATA})
    for key, kind in {
        **dict.fromkeys(("a/c/0", "a/c/1"), "zero-length-chunk"),
        "a/c/2": "zero-length-chunk",  # which is outside of the grid, too
    }.items():
        with pytest.raises(icechunk.InvalidInputError) as caught:
            await session._keys_async.set_async(key, b"", 0)
        assert caught.value.kind == kind
    with pytest.raises(icechunk.NodeNotFoundError):
        await session._keys_async.set_async("b/c/0", b"", 0)
    assert await value_async(session, "a/c/0") == DATA
    assert not await session._keys_async.exists_async("a/c/1")


async def test_existence_and_sizes_are_told_without_reading_a_chunk_async(tmp_path: Path, how: str) -> None:
    """`exists` and `getsize` work though every chunk object is gone."""
    config = RepositoryConfig(inline_chunk_threshold_bytes=0)
    repo = await Repository.create_async(icechunk.local_filesystem_storage(tmp_path), config)
    session = await repo.writable_session_async("main")
    document = array_document(3)
    session = await made_async(session, how, {"a/zarr.json": document, "a/c/0": DATA, "a/c/2": DATA[:7]})
    for chunk in (tmp_path / "chunks").iterdir():
        chunk.unlink()
    keys = session._keys_async
    assert await keys.exists_async("a/c/0")
    assert await keys.getsize_async("a/c/2") == 7
    assert await keys.getsize_async("a/c/1") == 0
    assert await keys.getsize_prefix_async("a") == len(document) + 17
    assert await listed_async(session) == ["a/c/0", "a/c/2", "a/zarr.json"]
    with pytest.raises(icechunk.StorageError) as caught:
        await keys.get_async("a/c/0")
    assert caught.value.kind == "object-not-found"


async def test_sizes_count_what_is_overwritten_once_and_what_is_deleted_not_at_all_async(
    session: Session, how: str
) -> None:
    document = array_document(4)
    entries = {"a/zarr.json": document, "a/c/0": DATA, "a/c/1": DATA, "a/c/2": DATA, "ab/zarr.json": document}
    session = await made_async(session, how, entries)
    await set_all_async(session, {"a/c/1": DATA[:3], "a/c/3": DATA[:2]})
    await session._keys_async.delete_async("a/c/2")
    assert await session._keys_async.getsize_prefix_async("a") == len(document) + 10 + 3 + 2
    assert await session._keys_async.getsize_prefix_async("") == 2 * len(document) + 10 + 3 + 2


# Errors


async def test_errors_name_the_key_or_node_they_are_about_async(session: Session) -> None:
    await set_all_async(session, {"some/array/zarr.json": array_document(3)})
    for key in ("some/array/c/9", "some/where/c/0", "some/array/x"):
        with pytest.raises(IcechunkError) as caught:
            await session._keys_async.set_async(key, DATA, len(DATA))
        named = key.rpartition("/c/")[0] or key
        assert named in str(caught.value)
