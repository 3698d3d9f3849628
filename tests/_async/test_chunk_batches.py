"""All references of an array as columns, and where all virtual chunks are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icechunk
from icechunk import ChunkType, InvalidInputError, Repository, Session, VirtualChunkSpec
from tests.arrays import (
    create_array_async,
    delete_key_async,
    delete_node_async,
    open_array_async,
    read_async,
    reshape_document_async,
    set_key_async,
    write_async,
)
from tests.virtual import config_for, repository_async, writing_async


async def batches_async(session: Session, *args: Any) -> list[Any]:
    return [batch async for batch in session.store.array_chunk_iterator(*args)]


async def test_references_come_out_as_columns_async(files: Path) -> None:
    """Kinds, places, ranges and inline bytes: first what the session has, then what was committed."""
    repo = await repository_async(files, inline_chunk_threshold_bytes=4)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (4, 2), chunks=(1, 2), dtype="i4")
    await set_key_async(session, "a/c/0/0", b"1234")
    await set_key_async(session, "a/c/1/0", b"12345678")
    await session.store.set_virtual_ref_async("a/c/2/0", "vcc://files/one.bin", offset=16, length=8)
    await session.commit_async("one of each")
    session = await repo.writable_session_async("main")
    await session.store.set_virtual_ref_async("a/c/3/0", f"file://{files}/two.bin", offset=8, length=8)
    await delete_key_async(session, "a/c/0/0")
    await set_key_async(session, "a/c/1/0", b"4321")
    (batch,) = await batches_async(session, "a")
    coordinates, kinds, places, offsets, lengths, inlined = batch
    assert coordinates.tolist() == [[1, 0], [3, 0], [2, 0]]
    assert [ChunkType(int(kind)) for kind in kinds] == [
        ChunkType.inline,
        ChunkType.virtual,
        ChunkType.virtual,
    ]
    assert places == ["", f"file://{files}/two.bin", f"file://{files}/one.bin"]
    assert offsets.tolist() == [0, 8, 16]
    assert lengths.tolist() == [4, 8, 8]
    assert inlined == {0: b"4321"}
    assert [column.dtype.str for column in (coordinates, kinds, offsets, lengths)] == [
        "<u4",
        "|u1",
        "<u8",
        "<u8",
    ]
    assert [type(places), type(inlined), type(inlined[0])] == [list, dict, bytes]

    reader = await repo.readonly_session_async("main")
    ((_, kinds, places, _, _, inlined),) = await batches_async(reader, "/a")
    assert kinds.tolist() == [3, 1, 2]
    assert inlined == {0: b"1234"}
    assert [len(place) for place in places[:2]] == [0, 20]


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])])
async def test_batches_are_full_async(files: Path, batch_size: int, sizes: list[int]) -> None:
    """Whatever they are put together from: the session, and several manifests."""
    config = config_for(files)
    condition = icechunk.ManifestSplitCondition.AnyArray()
    split = icechunk.ManifestSplittingConfig.from_dict(
        {condition: {icechunk.ManifestSplitDimCondition.Any(): 2}}
    )
    config.manifest = icechunk.ManifestConfig(splitting=split)
    repo = await Repository.create_async(icechunk.in_memory_storage(), config)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (8,), chunks=(1,), dtype="u1")
    places = ["vcc://files/one.bin"] * 6
    await session.store.set_virtual_refs_arr_async("a", (6,), places, np.arange(6), np.ones(6, "u8"))
    await session.commit_async("six")
    session = await repo.writable_session_async("main")
    await session.store.set_virtual_ref_async("a/c/7", "vcc://files/two.bin", offset=7, length=1)
    await set_key_async(session, "a/c/1", b"x")
    found = await batches_async(session, "a", batch_size)
    assert [len(batch[0]) for batch in found] == sizes
    rows = np.concatenate([batch[0] for batch in found])[:, 0].tolist()
    assert rows == [1, 7, 0, 2, 3, 4, 5]
    firsts = [sum(sizes[:number]) for number in range(len(sizes))]
    inlined = [first + row for first, batch in zip(firsts, found, strict=True) for row in batch[5]]
    assert inlined == [0]
    assert [place for batch in found for place in batch[2]][1] == f"file://{files}/two.bin"


async def test_where_there_is_no_array_there_are_no_batches_async(files: Path) -> None:
    session = await writing_async(files)
    for path in ("g", "/", "nope", "g/a"):
        assert await batches_async(session, path) == []
    with pytest.raises(ValueError, match="at least 1"):
        await batches_async(session, "g/a", 0)
    with pytest.raises(TypeError):
        await batches_async(session, "g/a", 1.5)


async def test_what_cannot_be_read_is_not_listed_async(files: Path) -> None:
    """Chunks outside of the grid of an array that has shrunk."""
    session = await writing_async(files)
    places = ["vcc://files/one.bin"] * 4
    await session.store.set_virtual_refs_arr_async("g/a", (4,), places, np.arange(4), np.full(4, 2, "u8"))
    await reshape_document_async(session, "g/a", [4])
    (batch,) = await batches_async(session, "g/a")
    assert batch[0].tolist() == [[0], [1]]
    assert len(await session.all_virtual_chunk_locations_async()) == 2


async def test_leaving_the_iteration_and_writing_async(files: Path) -> None:
    """Nothing is held, whether the iterator is closed or not."""
    session = await writing_async(files)
    store = session.store
    places = ["vcc://files/one.bin"] * 4
    await store.set_virtual_refs_arr_async("g/a", (4,), places, np.arange(4), np.full(4, 2, "u8"))
    left = store.array_chunk_iterator("g/a", 1)
    async for batch in left:
        assert batch[0].tolist() == [[0]]
        break
    array = await open_array_async(session, "g/a")
    await write_async(array, slice(0, 2), 77)
    await store.set_virtual_ref_async("g/a/c/3", "vcc://files/two.bin", offset=0, length=2)
    await session.commit_async("written meanwhile")
    assert [batch[0].tolist() async for batch in left] == [[[1]], [[2]], [[3]]]
    assert (await read_async(session, "g/a")).tolist() == [77, 77, 1, 2, 2, 3, 0, 1]


async def test_all_locations_async(files: Path) -> None:
    """One for each virtual chunk: arrays of the snapshot first, then new ones; nothing that was deleted."""
    repo = await repository_async(files)
    session = await repo.writable_session_async("main")
    for name in ("b", "a", "gone"):
        await create_array_async(session, name, (4,), chunks=(1,), dtype="u1")
        await session.store.set_virtual_refs_async(
            name, [VirtualChunkSpec([n], f"vcc://files/{name}", n, 1) for n in (2, 1)]
        )
    await session.commit_async("refer")
    session = await repo.writable_session_async("main")
    await delete_node_async(session, "gone")
    await create_array_async(session, "0", (1,), chunks=(1,), dtype="u1")
    await session.store.set_virtual_ref_async("0/c/0", "vcc://files/0", offset=0, length=1)
    await session.store.set_virtual_ref_async("b/c/0", "vcc://files/new", offset=0, length=1)
    base = f"file://{files}/"
    wanted = [base + name for name in ("a", "a", "new", "b", "b", "0")]
    assert await session.all_virtual_chunk_locations_async() == wanted


async def test_a_container_that_is_gone_is_an_error_async(files: Path) -> None:
    session = await writing_async(files)
    await session.store.set_virtual_ref_async(
        "g/a/c/0", "vcc://nobody/x", offset=0, length=1, validate_container=False
    )
    with pytest.raises(InvalidInputError, match='name="nobody"') as caught:
        await session.all_virtual_chunk_locations_async()
    assert caught.value.kind == "no-container-for-virtual-chunk"
    with pytest.raises(InvalidInputError, match='name="nobody"'):
        await batches_async(session, "g/a")
