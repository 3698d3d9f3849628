"""Sessions: writing, committing and reading arrays, conflicts, status, manifests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

import icechunk
from icechunk import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    ManifestConfig,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
    ObjectStoreConfig,
    ReadOnlyError,
    Repository,
    RepositoryConfig,
    Session,
    SessionStateError,
    VirtualChunkContainer,
)
from icechunk._core.ids import parse_id
from icechunk._format.chunk_refs import native, virtual
from icechunk.credentials import LocalFileSystemAccess
from tests.arrays import (
    create_array_async,
    delete_key_async,
    delete_node_async,
    get_key_async,
    open_array_async,
    read_async,
    set_key_async,
    write_async,
)


@contextmanager
def counted_lines() -> Iterator[list[int]]:
    """How many lines of Python this thread runs in the block."""
    count = [0]

    def trace(_frame: object, event: str, _argument: object) -> Any:
        count[0] += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


async def chunk_count_async(session: Session, name: str) -> int:
    return len([key async for key in session.store.list_prefix(name) if not key.endswith("zarr.json")])


async def test_what_is_committed_is_read_back_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    big = np.arange(60_000, dtype="i4").reshape(300, 200)
    array = await create_array_async(session, "group/big", (300, 200), chunks=(100, 100))
    await write_async(array, ..., big)
    small = await create_array_async(session, "small", (7,), chunks=(2,), fill_value=-1)
    await write_async(small, slice(0, 3), np.array([1, 2, 3], "i4"))
    scalar = await create_array_async(session, "scalar", ())
    await write_async(scalar, (), np.array(42, "i4"))
    await create_array_async(session, "empty", (0, 3), chunks=(1, 3))
    assert (await read_async(session, "group/big") == big).all()
    tip = await session.commit_async("write")

    for repository in (repo, await Repository.open_async(storage)):
        assert await repository.lookup_branch_async("main") == tip
        for reader in (
            await repository.readonly_session_async("main"),
            await repository.readonly_session_async(snapshot_id=tip),
        ):
            assert (await read_async(reader, "group/big") == big).all()
            assert (await read_async(reader, "small")).tolist() == [1, 2, 3, -1, -1, -1, -1]
            assert (await read_async(reader, "scalar")).item() == 42
            assert (await read_async(reader, "empty")).shape == (0, 3)
            assert await chunk_count_async(reader, "group/big") == 6
            assert await chunk_count_async(reader, "small") == 2
            assert await chunk_count_async(reader, "scalar") == 1


async def test_after_a_commit_the_session_is_a_view_of_it_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (4,), chunks=(2,))
    await write_async(array, ..., np.arange(4, dtype="i4"))
    assert (session.branch, session.read_only) == ("main", False)
    tip = await session.commit_async("write")
    assert (session.branch, session.read_only, session.snapshot_id) == (None, True, tip)
    assert not session.has_uncommitted_changes
    assert (await read_async(session, "a")).tolist() == [0, 1, 2, 3]
    with pytest.raises(ReadOnlyError) as late:
        await write_async(array, ..., np.ones(4, "i4"))
    assert late.value.kind == "read-only-store"
    with pytest.raises(SessionStateError) as again:
        await session.commit_async("again")
    assert again.value.kind == "commit-not-allowed"


async def test_a_commit_needs_changes_or_leave_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    with pytest.raises(SessionStateError) as nothing:
        await session.commit_async("nothing")
    assert nothing.value.kind == "no-changes-to-commit"
    tip = await session.commit_async("nothing, on purpose", allow_empty=True)
    newest, *_ = [info.id async for info in repo.async_ancestry(branch="main")]
    assert newest == tip


async def test_the_second_of_two_writers_gets_a_conflict_and_goes_on_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    base = await repo.lookup_branch_async("main")
    ours = await repo.writable_session_async("main")
    theirs = await (await Repository.open_async(storage)).writable_session_async("main")
    await create_array_async(ours, "ours", (2,))
    await create_array_async(theirs, "theirs", (2,))
    tip = await theirs.commit_async("first")
    with pytest.raises(ConflictError) as caught:
        await ours.commit_async("second")
    assert caught.value.kind == "commit-conflict"
    assert (caught.value.expected_parent, caught.value.actual_parent) == (base, tip)
    assert ours.has_uncommitted_changes
    assert not ours.read_only
    again = await repo.writable_session_async("main")
    await create_array_async(again, "ours", (2,))
    await again.commit_async("third")
    reader = await repo.readonly_session_async("main")
    names = sorted([name async for name in reader.store.list_dir("")])
    assert names == ["ours", "theirs", "zarr.json"]
    assert len([info async for info in repo.async_ancestry(branch="main")]) == 3


async def test_changes_on_top_of_changes_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    expected = np.zeros((10, 6), "i4")
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (10, 6), chunks=(2, 3))
    await write_async(array, ..., expected)
    await session.commit_async("zeros")
    for round_number, (rows, columns) in enumerate(
        [((0, 2), (0, 3)), ((1, 7), (2, 6)), ((9, 10), (0, 6))], 1
    ):
        session = await repo.writable_session_async("main")
        array = await open_array_async(session, "a")
        expected[slice(*rows), slice(*columns)] = round_number
        await write_async(array, (slice(*rows), slice(*columns)), np.array(round_number, "i4"))
        assert (await read_async(session, "a") == expected).all()
        await session.commit_async(f"round {round_number}")
    reader = await (await Repository.open_async(storage)).readonly_session_async("main")
    assert (await read_async(reader, "a") == expected).all()


async def test_status_and_dirtiness_are_what_a_commit_would_contain_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    assert session.status().is_empty()
    array = await create_array_async(session, "a", (4,), chunks=(1,))
    await write_async(array, slice(0, 2), np.ones(2, "i4"))
    status = session.status()
    assert status.new_groups == {"/"}
    assert status.new_arrays == {"/a"}
    assert status.updated_chunks == {"/a": [[0], [1]]}
    await delete_node_async(session, "a")
    await delete_key_async(session, "zarr.json")
    assert session.status().is_empty()
    assert not session.has_uncommitted_changes
    array = await create_array_async(session, "a", (4,), chunks=(1,))
    await write_async(array, slice(0, 2), np.ones(2, "i4"))
    await session.commit_async("two chunks")

    session = await repo.writable_session_async("main")
    await delete_key_async(session, "a/c/3")
    assert not session.has_uncommitted_changes
    await delete_key_async(session, "a/c/1")
    assert session.status().updated_chunks == {"/a": [[1]]}
    session.discard_changes()
    assert not session.has_uncommitted_changes
    document = await get_key_async(session, "a/zarr.json")
    assert document is not None
    await set_key_async(session, "a/zarr.json", document)
    assert not session.has_uncommitted_changes
    await set_key_async(session, "a/zarr.json", document.replace(b"{", b"{ ", 1))
    assert session.status().updated_arrays == {"/a"}
    await set_key_async(session, "a/zarr.json", document)
    assert not session.has_uncommitted_changes


async def test_nodes_deleted_and_made_again_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "g/a", (4,), chunks=(2,))
    await write_async(array, ..., np.ones(4, "i4"))
    await create_array_async(session, "g-sibling", (1,))
    await session.commit_async("make")
    session = await repo.writable_session_async("main")
    await delete_node_async(session, "g")
    assert session.status().deleted_groups == {"/g"}
    assert session.status().deleted_arrays == {"/g/a"}
    array = await create_array_async(session, "g/a", (4,), chunks=(2,))
    assert session.status().new_arrays == {"/g/a"}
    await write_async(array, slice(0, 2), np.array([7, 8], "i4"))
    await session.commit_async("make again")
    reader = await (await Repository.open_async(storage)).readonly_session_async("main")
    assert (await read_async(reader, "g/a")).tolist() == [7, 8, 0, 0]
    assert await chunk_count_async(reader, "g/a") == 1
    with pytest.raises(FileNotFoundError):
        await read_async(reader, "g/b")
    names = sorted([name async for name in reader.store.list_dir("")])
    assert names == ["g", "g-sibling", "zarr.json"]


async def test_resizing_drops_chunks_at_the_commit_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (10,), chunks=(2,), fill_value=-1)
    await write_async(array, ..., np.arange(10, dtype="i4"))
    await session.commit_async("ten")
    session = await repo.writable_session_async("main")
    # The chunks outside of a smaller grid go when it is committed, not before.
    document = await get_key_async(session, "a/zarr.json")
    assert document is not None
    await set_key_async(session, "a/zarr.json", document.replace(b"10", b"4", 1))
    assert await get_key_async(session, "a/c/3") is None
    await session.commit_async("four")
    session = await repo.writable_session_async("main")
    assert await chunk_count_async(session, "a") == 2
    await set_key_async(session, "a/zarr.json", document)
    await session.commit_async("ten again")
    reader = await repo.readonly_session_async("main")
    assert (await read_async(reader, "a")).tolist() == [0, 1, 2, 3, -1, -1, -1, -1, -1, -1]


def splitting(size: int) -> RepositoryConfig:
    splitting = ManifestSplittingConfig.from_dict(
        {ManifestSplitCondition.AnyArray(): {ManifestSplitDimCondition.Any(): size}}
    )
    return RepositoryConfig(inline_chunk_threshold_bytes=0, manifest=ManifestConfig(splitting=splitting))


async def manifests_async(repo: Repository) -> dict[str, int]:
    tip = await repo.lookup_branch_async("main")
    return {file.id: file.num_chunk_refs for file in await repo.list_manifest_files_async(tip)}


async def test_split_manifests_are_kept_where_nothing_changed_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, splitting(2), spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (9, 9), chunks=(1, 1))
    expected = np.arange(1, 82, dtype="i4").reshape(9, 9)
    await write_async(array, ..., expected)
    await session.commit_async("all")
    before = await manifests_async(repo)
    assert len(before) == 25
    assert sum(before.values()) == 81
    session = await repo.writable_session_async("main")
    array = await open_array_async(session, "a")
    await write_async(array, (slice(4, 5), slice(4, 6)), np.array([[1, 2]], "i4"))
    expected[4, 4:6] = [1, 2]
    await session.commit_async("one cell")
    after = await manifests_async(repo)
    assert len(after) == 25
    assert len(after.keys() & before.keys()) == 24
    # Another split size: only what a later commit touches has to follow it, and nothing is lost.
    repo = await repo.reopen_async(splitting(3))
    session = await repo.writable_session_async("main")
    array = await open_array_async(session, "a")
    await write_async(array, (slice(0, 1), slice(0, 1)), np.array([[99]], "i4"))
    expected[0, 0] = 99
    await session.commit_async("other cells")
    assert sum((await manifests_async(repo)).values()) == 81
    reader = await (await Repository.open_async(storage)).readonly_session_async("main")
    assert (await read_async(reader, "a") == expected).all()


async def test_a_commit_without_manifest_changes_keeps_all_manifests_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, splitting(4), spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (8,), chunks=(1,))
    await write_async(array, ..., np.arange(8, dtype="i4"))
    await session.commit_async("all")
    before = await manifests_async(repo)
    session = await repo.writable_session_async("main")
    document = await get_key_async(session, "a/zarr.json")
    assert document is not None
    await set_key_async(session, "a/zarr.json", document.replace(b"8", b"12", 1))
    await session.commit_async("grow")
    assert await manifests_async(repo) == before


async def test_bad_input_is_refused_before_anything_is_recorded_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (4, 4), chunks=(2, 2))
    await session.commit_async("make")
    session = await repo.writable_session_async("main")
    cases: list[tuple[str, bytes, type[Exception], str]] = [
        ("a/c/2/0", b"x", InvalidInputError, "invalid-chunk-index"),
        ("a/c/0", b"x", InvalidInputError, "invalid-chunk-index"),
        ("a/c/0/0/0", b"x", InvalidInputError, "invalid-chunk-index"),
        ("a/c/0/0", b"", InvalidInputError, "zero-length-chunk"),
        ("c/0/0", b"x", InvalidInputError, "not-an-array"),
        ("abc", b"x", InvalidInputError, "invalid-key"),
        ("a/c/0/x", b"x", InvalidInputError, "invalid-key"),
        ("a/../b/zarr.json", b"{}", InvalidInputError, "invalid-key"),
        ("nowhere/c/0", b"x", icechunk.NodeNotFoundError, "node-not-found"),
        ("b/zarr.json", b"not json", InvalidInputError, "bad-metadata"),
        ("a/zarr.json", b'{"zarr_format":3,"node_type":"group"}', AlreadyExistsError, "node-already-exists"),
        (".zgroup", b"{}", SessionStateError, "unimplemented"),
    ]
    for key, value, error, kind in cases:
        with pytest.raises(error) as caught:
            await set_key_async(session, key, value)
        assert getattr(caught.value, "kind", None) == kind, key
    assert not session.has_uncommitted_changes


async def test_inline_and_native_chunks_by_threshold_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage, RepositoryConfig(inline_chunk_threshold_bytes=8))
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (6,), chunks=(2,))
    await write_async(array, ..., np.arange(6, dtype="i4"))
    wide = await create_array_async(session, "b", (6,), chunks=(3,))
    await write_async(wide, ..., np.arange(6, dtype="i4"))
    await session.commit_async("both")
    if isinstance(storage, icechunk.storage.LocalFileSystemStorage):
        assert len(list((Path(storage.path) / "chunks").iterdir())) == 2
    reader = await (await Repository.open_async(storage)).readonly_session_async("main")
    for name in "ab":
        assert (await read_async(reader, name)).tolist() == [0, 1, 2, 3, 4, 5]


async def test_a_referenced_chunk_that_is_gone_is_an_error_not_a_fill_value_async(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = await Repository.create_async(storage, RepositoryConfig(inline_chunk_threshold_bytes=0))
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (2,), chunks=(2,))
    await write_async(array, ..., np.ones(2, "i4"))
    await session.commit_async("write")
    [chunk] = (tmp_path / "chunks").iterdir()
    chunk.unlink()
    reader = await repo.readonly_session_async("main")
    with pytest.raises(icechunk.StorageError) as missing:
        await read_async(reader, "a")
    assert missing.value.kind == "object-not-found"
    assert chunk.name in str(missing.value)
    chunk.write_bytes(b"\0\0\0")
    with pytest.raises(icechunk.StorageError) as short:
        await read_async(reader, "a")
    assert short.value.kind == "invalid-object-size"


@pytest.mark.parametrize("threshold", [0, 512])
async def test_chunks_of_different_arrays_are_never_mixed_up_async(
    storage: icechunk.Storage, spec_version: int, threshold: int
) -> None:
    """Arrays with equal coordinates, and with more or fewer dimensions, in one commit and in the next."""
    config = RepositoryConfig(inline_chunk_threshold_bytes=threshold)
    repo = await Repository.create_async(storage, config, spec_version=spec_version)
    shapes: list[tuple[int, ...]] = [(6,), (6, 4), (6,), (2, 2, 2), (), (4, 6), (6,)]
    expected = {}
    for turn in range(2):
        session = await repo.writable_session_async("main")
        for number, shape in enumerate(shapes):
            name = f"a{number}"
            data = (
                np.arange(np.prod(shape, dtype=int), dtype="i4").reshape(shape) + 1000 * number + 100 * turn
            )
            if turn == 0:
                chunks = {"chunks": (2,) * len(shape)} if shape else {}
                array = await create_array_async(session, name, shape, **chunks)
                await write_async(array, ..., data)
                expected[name] = data
            elif number % 2 == 0 and shape:
                array = await open_array_async(session, name)
                await write_async(array, slice(0, 2), data[:2])
                expected[name][:2] = data[:2]
        await session.commit_async("write")
        reader = await (await Repository.open_async(storage)).readonly_session_async("main")
        for name, data in expected.items():
            assert (await read_async(reader, name)).tolist() == data.tolist()


async def test_byte_ranges_of_chunks_that_begin_inside_of_an_object_async(
    tmp_path: Path, spec_version: int
) -> None:
    """They are counted from the first byte of the chunk, wherever that is in its object or file."""
    data, whole = b"0123456789", b"before0123456789behind"
    file = tmp_path / "data" / "file.bin"
    file.parent.mkdir()
    file.write_bytes(whole)
    prefix = f"file://{file.parent}/"
    container = VirtualChunkContainer(prefix, ObjectStoreConfig.LocalFileSystem(str(file.parent)))
    config = RepositoryConfig(inline_chunk_threshold_bytes=0, virtual_chunk_containers={prefix: container})
    storage = icechunk.local_filesystem_storage(tmp_path / "repo")
    repo = await Repository.create_async(
        storage, config, {prefix: LocalFileSystemAccess}, spec_version=spec_version
    )
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (30,), chunks=(10,), dtype="u1")
    await set_key_async(session, "a/c/2", whole)
    [chunk] = (tmp_path / "repo" / "chunks").iterdir()
    session._state.record_chunk("/a", (0,), native(parse_id(chunk.name), len(data), 6))
    session._state.record_chunk("/a", (1,), virtual(f"{prefix}file.bin", 6, len(data)))
    await session.commit_async("write")
    for reader in (session, await repo.readonly_session_async("main")):
        for request, part in (
            (None, slice(None)),
            (RangeByteRequest(0, 3), slice(0, 3)),
            (RangeByteRequest(7, 99), slice(7, None)),
            (OffsetByteRequest(4), slice(4, None)),
            (SuffixByteRequest(4), slice(-4, None)),
            (SuffixByteRequest(99), slice(None)),
        ):
            for key in ("a/c/0", "a/c/1"):
                found = await reader._keys_async.get_async(key, request)
                assert found is not None
                assert bytes(found) == data[part], (key, request)


async def test_listing_a_small_directory_does_not_look_at_the_nodes_elsewhere_async(
    spec_version: int,
) -> None:
    """Counted in lines of Python that run: as many beside three thousand nodes as beside thirty."""
    lines = []
    for others in (30, 3000):
        repo = await Repository.create_async(icechunk.in_memory_storage(), spec_version=spec_version)
        session = await repo.writable_session_async("main")
        document = b'{"zarr_format":3,"node_type":"group"}'
        paths = [*[f"other/{number}/x" for number in range(others)], "small/a", "small/b", "small", ""]
        for path in paths:
            await session._keys_async.set_async(f"{path}/zarr.json", document, len(document))
        await session.commit_async("write")
        reader = await repo.writable_session_async("main")
        await reader._keys_async.set_async("small/c/zarr.json", document, len(document))
        with counted_lines() as count:
            names = sorted([name async for name in reader._keys_async.list_dir_async("small")])
        assert names == ["a", "b", "c", "zarr.json"]
        lines.append(count[0])
    assert 0 < lines[1] < 2 * lines[0], lines
