# Generated from tests/_async/test_arrays.py by tools/make_sync.py; edit that file.
"""What a session says of the chunks of an array: identity, kinds, coordinates; arrays that change size."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import icechunk
from icechunk import (
    ChunkType,
    InvalidInputError,
    NodeNotFoundError,
    Repository,
    RepositoryConfig,
    Session,
)
from icechunk._format.chunk_refs import virtual
from tests.arrays import (
    append,
    create_array,
    delete_key,
    delete_node,
    get_key,
    open_array,
    read,
    reshape_document,
    resize,
    set_key,
    write,
)

EIGHT_INLINE = RepositoryConfig(inline_chunk_threshold_bytes=8)


def coordinates(session: Session, path: str, batch_size: int = 1000) -> list[tuple[int, ...]]:
    return [each for each in session.chunk_coordinates(path, batch_size)]


def test_the_kind_of_a_chunk(storage: icechunk.Storage, spec_version: int) -> None:
    """Recorded or committed, it is the same; what is deleted or outside of the grid is not initialized."""
    repo = Repository.create(storage, EIGHT_INLINE, spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "g/a", (12, 2), chunks=(2, 2))
    write(array, slice(0, 2), np.ones((2, 2), "i4"))
    set_key(session, "g/a/c/1/0", b"12345678")
    session._state.record_chunk("/g/a", (2, 0), virtual("s3://bucket/file", 0, 16))
    write(array, slice(6, 8), np.ones((2, 2), "i4"))
    delete_key(session, "g/a/c/3/0")
    kinds = {
        (0, 0): ChunkType.native,
        (1, 0): ChunkType.inline,
        (2, 0): ChunkType.virtual,
        (3, 0): ChunkType.uninitialized,
        (4, 0): ChunkType.uninitialized,
        (6, 0): ChunkType.uninitialized,
        (0, 1): ChunkType.uninitialized,
        (2**32 - 1, 2**32 - 1): ChunkType.uninitialized,
    }
    for at, kind in kinds.items():
        assert session.chunk_type("/g/a", at) is kind
    session.commit("write")
    reader = (Repository.open(storage)).readonly_session("main")
    for at, kind in kinds.items():
        assert reader.chunk_type("/g/a", list(at)) is kind
    assert reader.chunk_type("/g/a", np.array([2, 0])) is ChunkType.virtual  # type: ignore[arg-type]

    session = repo.writable_session("main")
    delete_key(session, "g/a/c/0/0")
    assert session.chunk_type("/g/a", (0, 0)) is ChunkType.uninitialized
    reshape_document(session, "g/a", [2, 2])
    assert session.chunk_type("/g/a", (1, 0)) is ChunkType.uninitialized


def test_asking_for_the_kind_of_no_chunk() -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    session = repo.writable_session("main")
    create_array(session, "g/a", (4,), chunks=(2,))
    create_array(session, "scalar", ())
    assert session.chunk_type("/scalar", ()) is ChunkType.uninitialized
    for path, at, error, kind in (
        ("/nope", [0], NodeNotFoundError, "node-not-found"),
        ("/", [0], InvalidInputError, "not-an-array"),
        ("g/a", [0], InvalidInputError, "invalid-path"),
        ("/g/a", [0, 0], InvalidInputError, "invalid-chunk-index"),
        ("/g/a", [], InvalidInputError, "invalid-chunk-index"),
    ):
        with pytest.raises(error) as caught:
            session.chunk_type(path, at)
        assert caught.value.kind == kind
    for number in (-1, 2**32):
        with pytest.raises(OverflowError, match=str(number)):
            session.chunk_type("/g/a", [number])
    wrong: Any
    for wrong in ([0.0], ["0"], 0, None):
        with pytest.raises(TypeError):
            session.chunk_type("/g/a", wrong)


def test_a_node_keeps_its_id(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage)
    session = repo.writable_session("main")
    create_array(session, "g/a", (4,), chunks=(2,))
    ids = [session.get_node_id(path) for path in ("/", "/g", "/g/a")]
    assert len(set(ids)) == 3
    assert all(len(each) == 13 and set(each) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for each in ids)
    session.commit("write")
    session = repo.rearrange_session("main")
    session.move("/g", "/h")
    assert session.get_node_id("/h/a") == ids[2]
    session.commit("move")
    session = repo.writable_session("main")
    assert [session.get_node_id(path) for path in ("/", "/h", "/h/a")] == ids
    with pytest.raises(NodeNotFoundError) as caught:
        session.get_node_id("/g/a")
    assert caught.value.kind == "node-not-found"
    with pytest.raises(InvalidInputError) as relative:
        session.get_node_id("h")
    assert relative.value.kind == "invalid-path"
    delete_node(session, "h/a")
    create_array(session, "h/a", (4,), chunks=(2,))
    assert session.get_node_id("/h/a") not in ids


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_coordinates_of_each_chunk_once(
    storage: icechunk.Storage, spec_version: int, batch_size: int
) -> None:
    """The official iterator repeats chunks that were written again, and lists deleted ones."""
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (6, 2), chunks=(1, 1))
    write(array, slice(1, 4), np.ones((3, 2), "i4"))
    create_array(session, "scalar", ())
    create_array(session, "none", (0, 3), chunks=(1, 1))
    assert coordinates(session, "/scalar") == []
    write(open_array(session, "scalar"), (), np.array(3, "i4"))
    session.commit("write")

    session = repo.writable_session("main")
    array = open_array(session, "a")
    write(array, (slice(3, 5), slice(1, 2)), np.full((2, 1), 2, "i4"))
    delete_key(session, "a/c/1/0")
    found = coordinates(session, "/a", batch_size)
    assert found == [(3, 1), (4, 1), (1, 1), (2, 0), (2, 1), (3, 0)]
    assert all(type(index) is int for each in found for index in each)
    assert coordinates(session, "/scalar", batch_size) == [()]
    assert coordinates(session, "/none", batch_size) == []
    session.commit("change")
    assert coordinates(session, "/a", batch_size) == sorted(found)


def test_chunks_outside_of_the_grid_are_not_listed(spec_version: int) -> None:
    """They cannot be read and have no kind, and a commit drops them: they are there no more.

    Unless the array grows again in the same session; then they are.
    """
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (6,), chunks=(1,))
    write(array, slice(0, 5), np.arange(1, 6, dtype="i4"))
    session.commit("write")
    session = repo.writable_session("main")
    write(open_array(session, "a"), slice(5, 6), np.array([6], "i4"))
    for length, expected in ((6, [5, 0, 1, 2, 3, 4]), (3, [0, 1, 2]), (0, []), (6, [5, 0, 1, 2, 3, 4])):
        reshape_document(session, "a", [length])
        assert coordinates(session, "/a") == [(index,) for index in expected]
        for index in range(6):
            kind = session.chunk_type("/a", [index])
            assert (kind is ChunkType.inline) is (index in expected)
        # Whoever copies a store gets what it lists, so that nothing may be listed that is not there.
        keys = ["a/zarr.json", *[f"a/c/{index}" for index in expected]]
        assert [key for key in session.store.list_prefix("a")] == keys
        assert session._keys.getsize_prefix("a") == sizes(session, keys)


def sizes(session: Session, keys: list[str]) -> int:
    values = [get_key(session, key) for key in keys]
    return sum([len(value) for value in values if value is not None])


def test_leaving_the_iteration_and_writing(spec_version: int) -> None:
    """Guards against a listing that holds the session: whoever left one early, or changed the session in
    the middle of one, waited forever.
    """
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (6,), chunks=(1,))
    write(array, ..., np.arange(1, 7, dtype="i4"))
    for _ in range(2):
        for first in session.chunk_coordinates("/a", 1):
            assert first == (0,)
            break
        write(array, slice(0, 1), np.array([10], "i4"))
        seen = []
        for (index,) in session.chunk_coordinates("/a", 1):
            seen.append(index)
            delete_key(session, f"a/c/{5 - index}")
            write(array, slice(5 - index, 6 - index), np.array([7], "i4"))
        assert seen == [0, 1, 2, 3, 4, 5]
        session.commit("write")
        session = repo.writable_session("main")
        array = open_array(session, "a")


def test_coordinates_of_what_is_no_array() -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    session = repo.writable_session("main")
    create_array(session, "g/a", (4,), chunks=(2,))
    for path, error, kind in (
        ("/nope", NodeNotFoundError, "node-not-found"),
        ("/g", InvalidInputError, "not-an-array"),
        ("g/a", InvalidInputError, "invalid-path"),
    ):
        listing = session.chunk_coordinates(path)  # what is wrong is told where the iteration begins
        with pytest.raises(error) as caught:
            for _ in listing:
                pass
        assert caught.value.kind == kind
    for batch_size in (0, -1):
        with pytest.raises(ValueError, match="batch_size"):
            coordinates(session, "/g/a", batch_size)
    with pytest.raises(TypeError):
        coordinates(session, "/g/a", 1.5)  # type: ignore[arg-type]


# Arrays that change size


def go_on(repo: Repository, commit: bool, session: Session) -> Session:
    """The session itself or, after a commit, the next one."""
    if not commit:
        return session
    session.commit("between", allow_empty=True)
    return repo.writable_session("main")


@pytest.mark.parametrize("commit", [False, True])
def test_resizing_with_zarr(storage: icechunk.Storage, spec_version: int, commit: bool) -> None:
    """Zarr deletes the chunks that a smaller array has no place for: they are gone at once."""
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (6, 4), chunks=(2, 2), fill_value=-1)
    expected = np.arange(24, dtype="i4").reshape(6, 4)
    write(array, ..., expected)
    for shape in ((2, 4), (2, 0), (6, 4), (0, 0), (5, 3)):
        session = go_on(repo, commit, session)
        resize(open_array(session, "a"), shape)
        found = read(session, "a")
        kept = np.full(shape, -1, "i4")
        if shape == (2, 4):
            kept = expected[:2]
        assert found.tolist() == kept.tolist()
    assert coordinates(session, "/a") == []


@pytest.mark.parametrize("commit", [False, True])
def test_shrinking_by_metadata_and_growing_again(
    storage: icechunk.Storage, spec_version: int, commit: bool
) -> None:
    """Chunks outside of a grid are dropped by the commit. Until then they come back when it grows."""
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (6, 4), chunks=(2, 2), fill_value=-1)
    expected = np.arange(24, dtype="i4").reshape(6, 4)
    write(array, slice(0, 4), expected[:4])
    session.commit("four rows")
    session = repo.writable_session("main")
    write(open_array(session, "a"), slice(4, 6), expected[4:])

    reshape_document(session, "a", [2, 4])
    assert (read(session, "a")).tolist() == expected[:2].tolist()
    assert get_key(session, "a/c/2/0") is None
    with pytest.raises(InvalidInputError) as outside:
        set_key(session, "a/c/2/0", b"x")
    assert outside.value.kind == "invalid-chunk-index"
    assert session.status().updated_arrays == {"/a"}
    # What the session wrote is still recorded, as the transaction log will say.
    assert session.status().updated_chunks == {"/a": [[2, 0], [2, 1]]}

    session = go_on(repo, commit, session)
    reshape_document(session, "a", [8, 4])
    grown = np.full((8, 4), -1, "i4")
    rows = 2 if commit else 6
    grown[:rows] = expected[:rows]
    assert (read(session, "a")).tolist() == grown.tolist()
    session.commit("grown")
    reader = (Repository.open(storage)).readonly_session("main")
    assert (read(reader, "a")).tolist() == grown.tolist()
    assert len(coordinates(reader, "/a")) == rows


def test_what_shrinks_and_grows_to_what_it_was_has_not_changed(spec_version: int) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (4,), chunks=(1,))
    write(array, ..., np.arange(1, 5, dtype="i4"))
    session.commit("write")
    session = repo.writable_session("main")
    document = get_key(session, "a/zarr.json")
    assert document is not None
    reshape_document(session, "a", [1])
    assert session.has_uncommitted_changes
    set_key(session, "a/zarr.json", document)
    assert not session.has_uncommitted_changes
    assert session.status().is_empty()
    assert (read(session, "a")).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("commit", [False, True])
def test_appending(storage: icechunk.Storage, spec_version: int, commit: bool) -> None:
    """Along both dimensions in turn, also where an array begins with no chunks at all."""
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    create_array(session, "a", (0, 3), chunks=(2, 2))
    expected = np.zeros((0, 3), "i4")
    for number, (shape, axis) in enumerate((((3, 3), 0), ((3, 2), 1), ((1, 5), 0), ((4, 0), 1), ((4, 4), 1))):
        session = go_on(repo, commit, session)
        rows = np.full(shape, number + 1, "i4")
        append(open_array(session, "a"), rows, axis=axis)
        expected = np.concatenate([expected, rows], axis=axis)
        assert (read(session, "a")).tolist() == expected.tolist()
    session.commit("append")
    reader = (Repository.open(storage)).readonly_session("main")
    assert (read(reader, "a")).tolist() == expected.tolist()


def uneven(*chunk_shapes: list[int]) -> bytes:
    """The document of an array whose chunks differ in size along each dimension."""
    grid = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": list(chunk_shapes)}}
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [sum(sizes) for sizes in chunk_shapes],
        "data_type": "int32",
        "chunk_grid": grid,
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    }
    return json.dumps(document).encode()


def test_a_grid_of_uneven_chunks_shrinks_and_grows() -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    session = repo.writable_session("main")
    set_key(session, "a/zarr.json", uneven([1, 2, 3], [4, 4]))
    for key in ("0/0", "1/1", "2/1"):
        set_key(session, f"a/c/{key}", key.encode())
    session.commit("three rows of chunks")
    session = repo.writable_session("main")
    set_key(session, "a/zarr.json", uneven([1], [4, 4]))
    assert coordinates(session, "/a") == [(0, 0)]
    set_key(session, "a/zarr.json", uneven([1, 2, 3, 1], [4, 4]))
    assert coordinates(session, "/a") == [(0, 0), (1, 1), (2, 1)]
    set_key(session, "a/zarr.json", uneven([1, 2], [4]))
    session.commit("one column")
    session = repo.writable_session("main")
    set_key(session, "a/zarr.json", uneven([1, 2, 3], [4, 4]))
    assert coordinates(session, "/a") == [(0, 0)]
    assert get_key(session, "a/c/1/1") is None
    assert get_key(session, "a/c/0/0") == b"0/0"
