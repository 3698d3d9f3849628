# Generated from tests/_async/test_chunk_batches.py by tools/make_sync.py; edit that file.
"""All references of an array as columns, and where all virtual chunks are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icechunk
from icechunk import ChunkType, InvalidInputError, Repository, Session, VirtualChunkSpec
from tests.arrays import (
    create_array,
    delete_key,
    delete_node,
    open_array,
    read,
    reshape_document,
    set_key,
    write,
)
from tests.virtual import config_for, repository, writing


def batches(session: Session, *args: Any) -> list[Any]:
    return [batch for batch in session.store.array_chunk_iterator(*args)]


def test_references_come_out_as_columns(files: Path) -> None:
    """Kinds, places, ranges and inline bytes: first what the session has, then what was committed."""
    repo = repository(files, inline_chunk_threshold_bytes=4)
    session = repo.writable_session("main")
    create_array(session, "a", (4, 2), chunks=(1, 2), dtype="i4")
    set_key(session, "a/c/0/0", b"1234")
    set_key(session, "a/c/1/0", b"12345678")
    session.store.set_virtual_ref("a/c/2/0", "vcc://files/one.bin", offset=16, length=8)
    session.commit("one of each")
    session = repo.writable_session("main")
    session.store.set_virtual_ref("a/c/3/0", f"file://{files}/two.bin", offset=8, length=8)
    delete_key(session, "a/c/0/0")
    set_key(session, "a/c/1/0", b"4321")
    (batch,) = batches(session, "a")
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

    reader = repo.readonly_session("main")
    ((_, kinds, places, _, _, inlined),) = batches(reader, "/a")
    assert kinds.tolist() == [3, 1, 2]
    assert inlined == {0: b"1234"}
    assert [len(place) for place in places[:2]] == [0, 20]


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_batches_are_full(files: Path, batch_size: int, sizes: list[int]) -> None:
    """Whatever they are put together from: the session, and several manifests."""
    config = config_for(files)
    condition = icechunk.ManifestSplitCondition.AnyArray()
    split = icechunk.ManifestSplittingConfig.from_dict(
        {condition: {icechunk.ManifestSplitDimCondition.Any(): 2}}
    )
    config.manifest = icechunk.ManifestConfig(splitting=split)
    repo = Repository.create(icechunk.in_memory_storage(), config)
    session = repo.writable_session("main")
    create_array(session, "a", (8,), chunks=(1,), dtype="u1")
    places = ["vcc://files/one.bin"] * 6
    session.store.set_virtual_refs_arr("a", (6,), places, np.arange(6), np.ones(6, "u8"))
    session.commit("six")
    session = repo.writable_session("main")
    session.store.set_virtual_ref("a/c/7", "vcc://files/two.bin", offset=7, length=1)
    set_key(session, "a/c/1", b"x")
    found = batches(session, "a", batch_size)
    assert [len(batch[0]) for batch in found] == sizes
    rows = np.concatenate([batch[0] for batch in found])[:, 0].tolist()
    assert rows == [1, 7, 0, 2, 3, 4, 5]
    firsts = [sum(sizes[:number]) for number in range(len(sizes))]
    inlined = [first + row for first, batch in zip(firsts, found, strict=True) for row in batch[5]]
    assert inlined == [0]
    assert [place for batch in found for place in batch[2]][1] == f"file://{files}/two.bin"


def test_where_there_is_no_array_there_are_no_batches(files: Path) -> None:
    session = writing(files)
    for path in ("g", "/", "nope", "g/a"):
        assert batches(session, path) == []
    with pytest.raises(ValueError, match="at least 1"):
        batches(session, "g/a", 0)
    with pytest.raises(TypeError):
        batches(session, "g/a", 1.5)


def test_what_cannot_be_read_is_not_listed(files: Path) -> None:
    """Chunks outside of the grid of an array that has shrunk."""
    session = writing(files)
    places = ["vcc://files/one.bin"] * 4
    session.store.set_virtual_refs_arr("g/a", (4,), places, np.arange(4), np.full(4, 2, "u8"))
    reshape_document(session, "g/a", [4])
    (batch,) = batches(session, "g/a")
    assert batch[0].tolist() == [[0], [1]]
    assert len(session.all_virtual_chunk_locations()) == 2


def test_leaving_the_iteration_and_writing(files: Path) -> None:
    """Nothing is held, whether the iterator is closed or not."""
    session = writing(files)
    store = session.store
    places = ["vcc://files/one.bin"] * 4
    store.set_virtual_refs_arr("g/a", (4,), places, np.arange(4), np.full(4, 2, "u8"))
    left = store.array_chunk_iterator("g/a", 1)
    for batch in left:
        assert batch[0].tolist() == [[0]]
        break
    array = open_array(session, "g/a")
    write(array, slice(0, 2), 77)
    store.set_virtual_ref("g/a/c/3", "vcc://files/two.bin", offset=0, length=2)
    session.commit("written meanwhile")
    assert [batch[0].tolist() for batch in left] == [[[1]], [[2]], [[3]]]
    assert (read(session, "g/a")).tolist() == [77, 77, 1, 2, 2, 3, 0, 1]


def test_all_locations(files: Path) -> None:
    """One for each virtual chunk: arrays of the snapshot first, then new ones; nothing that was deleted."""
    repo = repository(files)
    session = repo.writable_session("main")
    for name in ("b", "a", "gone"):
        create_array(session, name, (4,), chunks=(1,), dtype="u1")
        session.store.set_virtual_refs(
            name, [VirtualChunkSpec([n], f"vcc://files/{name}", n, 1) for n in (2, 1)]
        )
    session.commit("refer")
    session = repo.writable_session("main")
    delete_node(session, "gone")
    create_array(session, "0", (1,), chunks=(1,), dtype="u1")
    session.store.set_virtual_ref("0/c/0", "vcc://files/0", offset=0, length=1)
    session.store.set_virtual_ref("b/c/0", "vcc://files/new", offset=0, length=1)
    base = f"file://{files}/"
    wanted = [base + name for name in ("a", "a", "new", "b", "b", "0")]
    assert session.all_virtual_chunk_locations() == wanted


def test_a_container_that_is_gone_is_an_error(files: Path) -> None:
    session = writing(files)
    session.store.set_virtual_ref(
        "g/a/c/0", "vcc://nobody/x", offset=0, length=1, validate_container=False
    )
    with pytest.raises(InvalidInputError, match='name="nobody"') as caught:
        session.all_virtual_chunk_locations()
    assert caught.value.kind == "no-container-for-virtual-chunk"
    with pytest.raises(InvalidInputError, match='name="nobody"'):
        batches(session, "g/a")
