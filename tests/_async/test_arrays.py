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
    append_async,
    create_array_async,
    delete_key_async,
    delete_node_async,
    get_key_async,
    open_array_async,
    read_async,
    reshape_document_async,
    resize_async,
    set_key_async,
    write_async,
)

EIGHT_INLINE = RepositoryConfig(inline_chunk_threshold_bytes=8)


async def coordinates_async(session: Session, path: str, batch_size: int = 1000) -> list[tuple[int, ...]]:
    return [each async for each in session.chunk_coordinates(path, batch_size)]


async def test_the_kind_of_a_chunk_async(storage: icechunk.Storage, spec_version: int) -> None:
    """Recorded or committed, it is the same; what is deleted or outside of the grid is not initialized."""
    repo = await Repository.create_async(storage, EIGHT_INLINE, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "g/a", (12, 2), chunks=(2, 2))
    await write_async(array, slice(0, 2), np.ones((2, 2), "i4"))
    await set_key_async(session, "g/a/c/1/0", b"12345678")
    session._state.record_chunk("/g/a", (2, 0), virtual("s3://bucket/file", 0, 16))
    await write_async(array, slice(6, 8), np.ones((2, 2), "i4"))
    await delete_key_async(session, "g/a/c/3/0")
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
        assert await session.chunk_type_async("/g/a", at) is kind
    await session.commit_async("write")
    reader = await (await Repository.open_async(storage)).readonly_session_async("main")
    for at, kind in kinds.items():
        assert await reader.chunk_type_async("/g/a", list(at)) is kind
    assert await reader.chunk_type_async("/g/a", np.array([2, 0])) is ChunkType.virtual  # type: ignore[arg-type]

    session = await repo.writable_session_async("main")
    await delete_key_async(session, "g/a/c/0/0")
    assert await session.chunk_type_async("/g/a", (0, 0)) is ChunkType.uninitialized
    await reshape_document_async(session, "g/a", [2, 2])
    assert await session.chunk_type_async("/g/a", (1, 0)) is ChunkType.uninitialized


async def test_asking_for_the_kind_of_no_chunk_async() -> None:
    repo = await Repository.create_async(icechunk.in_memory_storage())
    session = await repo.writable_session_async("main")
    await create_array_async(session, "g/a", (4,), chunks=(2,))
    await create_array_async(session, "scalar", ())
    assert await session.chunk_type_async("/scalar", ()) is ChunkType.uninitialized
    for path, at, error, kind in (
        ("/nope", [0], NodeNotFoundError, "node-not-found"),
        ("/", [0], InvalidInputError, "not-an-array"),
        ("g/a", [0], InvalidInputError, "invalid-path"),
        ("/g/a", [0, 0], InvalidInputError, "invalid-chunk-index"),
        ("/g/a", [], InvalidInputError, "invalid-chunk-index"),
    ):
        with pytest.raises(error) as caught:
            await session.chunk_type_async(path, at)
        assert caught.value.kind == kind
    for number in (-1, 2**32):
        with pytest.raises(OverflowError, match=str(number)):
            await session.chunk_type_async("/g/a", [number])
    wrong: Any
    for wrong in ([0.0], ["0"], 0, None):
        with pytest.raises(TypeError):
            await session.chunk_type_async("/g/a", wrong)


async def test_a_node_keeps_its_id_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "g/a", (4,), chunks=(2,))
    ids = [await session.get_node_id_async(path) for path in ("/", "/g", "/g/a")]
    assert len(set(ids)) == 3
    assert all(len(each) == 13 and set(each) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for each in ids)
    await session.commit_async("write")
    session = await repo.rearrange_session_async("main")
    await session.move_async("/g", "/h")
    assert await session.get_node_id_async("/h/a") == ids[2]
    await session.commit_async("move")
    session = await repo.writable_session_async("main")
    assert [await session.get_node_id_async(path) for path in ("/", "/h", "/h/a")] == ids
    with pytest.raises(NodeNotFoundError) as caught:
        await session.get_node_id_async("/g/a")
    assert caught.value.kind == "node-not-found"
    with pytest.raises(InvalidInputError) as relative:
        await session.get_node_id_async("h")
    assert relative.value.kind == "invalid-path"
    await delete_node_async(session, "h/a")
    await create_array_async(session, "h/a", (4,), chunks=(2,))
    assert await session.get_node_id_async("/h/a") not in ids


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
async def test_coordinates_of_each_chunk_once_async(
    storage: icechunk.Storage, spec_version: int, batch_size: int
) -> None:
    """The official iterator repeats chunks that were written again, and lists deleted ones."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (6, 2), chunks=(1, 1))
    await write_async(array, slice(1, 4), np.ones((3, 2), "i4"))
    await create_array_async(session, "scalar", ())
    await create_array_async(session, "none", (0, 3), chunks=(1, 1))
    assert await coordinates_async(session, "/scalar") == []
    await write_async(await open_array_async(session, "scalar"), (), np.array(3, "i4"))
    await session.commit_async("write")

    session = await repo.writable_session_async("main")
    array = await open_array_async(session, "a")
    await write_async(array, (slice(3, 5), slice(1, 2)), np.full((2, 1), 2, "i4"))
    await delete_key_async(session, "a/c/1/0")
    found = await coordinates_async(session, "/a", batch_size)
    assert found == [(3, 1), (4, 1), (1, 1), (2, 0), (2, 1), (3, 0)]
    assert all(type(index) is int for each in found for index in each)
    assert await coordinates_async(session, "/scalar", batch_size) == [()]
    assert await coordinates_async(session, "/none", batch_size) == []
    await session.commit_async("change")
    assert await coordinates_async(session, "/a", batch_size) == sorted(found)


async def test_chunks_outside_of_the_grid_are_not_listed_async(spec_version: int) -> None:
    """They cannot be read and have no kind, and a commit drops them: they are there no more.

    Unless the array grows again in the same session; then they are.
    """
    repo = await Repository.create_async(icechunk.in_memory_storage(), spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (6,), chunks=(1,))
    await write_async(array, slice(0, 5), np.arange(1, 6, dtype="i4"))
    await session.commit_async("write")
    session = await repo.writable_session_async("main")
    await write_async(await open_array_async(session, "a"), slice(5, 6), np.array([6], "i4"))
    for length, expected in ((6, [5, 0, 1, 2, 3, 4]), (3, [0, 1, 2]), (0, []), (6, [5, 0, 1, 2, 3, 4])):
        await reshape_document_async(session, "a", [length])
        assert await coordinates_async(session, "/a") == [(index,) for index in expected]
        for index in range(6):
            kind = await session.chunk_type_async("/a", [index])
            assert (kind is ChunkType.inline) is (index in expected)
        # Whoever copies a store gets what it lists, so that nothing may be listed that is not there.
        keys = ["a/zarr.json", *[f"a/c/{index}" for index in expected]]
        assert [key async for key in session.store.list_prefix("a")] == keys
        assert await session._keys_async.getsize_prefix_async("a") == await sizes_async(session, keys)


async def sizes_async(session: Session, keys: list[str]) -> int:
    values = [await get_key_async(session, key) for key in keys]
    return sum([len(value) for value in values if value is not None])


async def test_leaving_the_iteration_and_writing_async(spec_version: int) -> None:
    """Guards against a listing that holds the session: whoever left one early, or changed the session in
    the middle of one, waited forever.
    """
    repo = await Repository.create_async(icechunk.in_memory_storage(), spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (6,), chunks=(1,))
    await write_async(array, ..., np.arange(1, 7, dtype="i4"))
    for _ in range(2):
        async for first in session.chunk_coordinates("/a", 1):
            assert first == (0,)
            break
        await write_async(array, slice(0, 1), np.array([10], "i4"))
        seen = []
        async for (index,) in session.chunk_coordinates("/a", 1):
            seen.append(index)
            await delete_key_async(session, f"a/c/{5 - index}")
            await write_async(array, slice(5 - index, 6 - index), np.array([7], "i4"))
        assert seen == [0, 1, 2, 3, 4, 5]
        await session.commit_async("write")
        session = await repo.writable_session_async("main")
        array = await open_array_async(session, "a")


async def test_coordinates_of_what_is_no_array_async() -> None:
    repo = await Repository.create_async(icechunk.in_memory_storage())
    session = await repo.writable_session_async("main")
    await create_array_async(session, "g/a", (4,), chunks=(2,))
    for path, error, kind in (
        ("/nope", NodeNotFoundError, "node-not-found"),
        ("/g", InvalidInputError, "not-an-array"),
        ("g/a", InvalidInputError, "invalid-path"),
    ):
        listing = session.chunk_coordinates(path)  # what is wrong is told where the iteration begins
        with pytest.raises(error) as caught:
            async for _ in listing:
                pass
        assert caught.value.kind == kind
    for batch_size in (0, -1):
        with pytest.raises(ValueError, match="batch_size"):
            await coordinates_async(session, "/g/a", batch_size)
    with pytest.raises(TypeError):
        await coordinates_async(session, "/g/a", 1.5)  # type: ignore[arg-type]


# Arrays that change size


async def go_on_async(repo: Repository, commit: bool, session: Session) -> Session:
    """The session itself or, after a commit, the next one."""
    if not commit:
        return session
    await session.commit_async("between", allow_empty=True)
    return await repo.writable_session_async("main")


@pytest.mark.parametrize("commit", [False, True])
async def test_resizing_with_zarr_async(storage: icechunk.Storage, spec_version: int, commit: bool) -> None:
    """Zarr deletes the chunks that a smaller array has no place for: they are gone at once."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (6, 4), chunks=(2, 2), fill_value=-1)
    expected = np.arange(24, dtype="i4").reshape(6, 4)
    await write_async(array, ..., expected)
    for shape in ((2, 4), (2, 0), (6, 4), (0, 0), (5, 3)):
        session = await go_on_async(repo, commit, session)
        await resize_async(await open_array_async(session, "a"), shape)
        found = await read_async(session, "a")
        kept = np.full(shape, -1, "i4")
        if shape == (2, 4):
            kept = expected[:2]
        assert found.tolist() == kept.tolist()
    assert await coordinates_async(session, "/a") == []


@pytest.mark.parametrize("commit", [False, True])
async def test_shrinking_by_metadata_and_growing_again_async(
    storage: icechunk.Storage, spec_version: int, commit: bool
) -> None:
    """Chunks outside of a grid are dropped by the commit. Until then they come back when it grows."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (6, 4), chunks=(2, 2), fill_value=-1)
    expected = np.arange(24, dtype="i4").reshape(6, 4)
    await write_async(array, slice(0, 4), expected[:4])
    await session.commit_async("four rows")
    session = await repo.writable_session_async("main")
    await write_async(await open_array_async(session, "a"), slice(4, 6), expected[4:])

    await reshape_document_async(session, "a", [2, 4])
    assert (await read_async(session, "a")).tolist() == expected[:2].tolist()
    assert await get_key_async(session, "a/c/2/0") is None
    with pytest.raises(InvalidInputError) as outside:
        await set_key_async(session, "a/c/2/0", b"x")
    assert outside.value.kind == "invalid-chunk-index"
    assert session.status().updated_arrays == {"/a"}
    # What the session wrote is still recorded, as the transaction log will say.
    assert session.status().updated_chunks == {"/a": [[2, 0], [2, 1]]}

    session = await go_on_async(repo, commit, session)
    await reshape_document_async(session, "a", [8, 4])
    grown = np.full((8, 4), -1, "i4")
    rows = 2 if commit else 6
    grown[:rows] = expected[:rows]
    assert (await read_async(session, "a")).tolist() == grown.tolist()
    await session.commit_async("grown")
    reader = await (await Repository.open_async(storage)).readonly_session_async("main")
    assert (await read_async(reader, "a")).tolist() == grown.tolist()
    assert len(await coordinates_async(reader, "/a")) == rows


async def test_what_shrinks_and_grows_to_what_it_was_has_not_changed_async(spec_version: int) -> None:
    repo = await Repository.create_async(icechunk.in_memory_storage(), spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (4,), chunks=(1,))
    await write_async(array, ..., np.arange(1, 5, dtype="i4"))
    await session.commit_async("write")
    session = await repo.writable_session_async("main")
    document = await get_key_async(session, "a/zarr.json")
    assert document is not None
    await reshape_document_async(session, "a", [1])
    assert session.has_uncommitted_changes
    await set_key_async(session, "a/zarr.json", document)
    assert not session.has_uncommitted_changes
    assert session.status().is_empty()
    assert (await read_async(session, "a")).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("commit", [False, True])
async def test_appending_async(storage: icechunk.Storage, spec_version: int, commit: bool) -> None:
    """Along both dimensions in turn, also where an array begins with no chunks at all."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (0, 3), chunks=(2, 2))
    expected = np.zeros((0, 3), "i4")
    for number, (shape, axis) in enumerate((((3, 3), 0), ((3, 2), 1), ((1, 5), 0), ((4, 0), 1), ((4, 4), 1))):
        session = await go_on_async(repo, commit, session)
        rows = np.full(shape, number + 1, "i4")
        await append_async(await open_array_async(session, "a"), rows, axis=axis)
        expected = np.concatenate([expected, rows], axis=axis)
        assert (await read_async(session, "a")).tolist() == expected.tolist()
    await session.commit_async("append")
    reader = await (await Repository.open_async(storage)).readonly_session_async("main")
    assert (await read_async(reader, "a")).tolist() == expected.tolist()


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


async def test_a_grid_of_uneven_chunks_shrinks_and_grows_async() -> None:
    repo = await Repository.create_async(icechunk.in_memory_storage())
    session = await repo.writable_session_async("main")
    await set_key_async(session, "a/zarr.json", uneven([1, 2, 3], [4, 4]))
    for key in ("0/0", "1/1", "2/1"):
        await set_key_async(session, f"a/c/{key}", key.encode())
    await session.commit_async("three rows of chunks")
    session = await repo.writable_session_async("main")
    await set_key_async(session, "a/zarr.json", uneven([1], [4, 4]))
    assert await coordinates_async(session, "/a") == [(0, 0)]
    await set_key_async(session, "a/zarr.json", uneven([1, 2, 3, 1], [4, 4]))
    assert await coordinates_async(session, "/a") == [(0, 0), (1, 1), (2, 1)]
    await set_key_async(session, "a/zarr.json", uneven([1, 2], [4]))
    await session.commit_async("one column")
    session = await repo.writable_session_async("main")
    await set_key_async(session, "a/zarr.json", uneven([1, 2, 3], [4, 4]))
    assert await coordinates_async(session, "/a") == [(0, 0)]
    assert await get_key_async(session, "a/c/1/1") is None
    assert await get_key_async(session, "a/c/0/0") == b"0/0"
