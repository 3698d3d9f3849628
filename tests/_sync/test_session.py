# Generated from tests/_async/test_session.py by tools/make_sync.py; edit that file.
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
    create_array,
    delete_key,
    delete_node,
    get_key,
    open_array,
    read,
    set_key,
    write,
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


def chunk_count(session: Session, name: str) -> int:
    return len([key for key in session.store.list_prefix(name) if not key.endswith("zarr.json")])


def test_what_is_committed_is_read_back(storage: icechunk.Storage, spec_version: int) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    big = np.arange(60_000, dtype="i4").reshape(300, 200)
    array = create_array(session, "group/big", (300, 200), chunks=(100, 100))
    write(array, ..., big)
    small = create_array(session, "small", (7,), chunks=(2,), fill_value=-1)
    write(small, slice(0, 3), np.array([1, 2, 3], "i4"))
    scalar = create_array(session, "scalar", ())
    write(scalar, (), np.array(42, "i4"))
    create_array(session, "empty", (0, 3), chunks=(1, 3))
    assert (read(session, "group/big") == big).all()
    tip = session.commit("write")

    for repository in (repo, Repository.open(storage)):
        assert repository.lookup_branch("main") == tip
        for reader in (
            repository.readonly_session("main"),
            repository.readonly_session(snapshot_id=tip),
        ):
            assert (read(reader, "group/big") == big).all()
            assert (read(reader, "small")).tolist() == [1, 2, 3, -1, -1, -1, -1]
            assert (read(reader, "scalar")).item() == 42
            assert (read(reader, "empty")).shape == (0, 3)
            assert chunk_count(reader, "group/big") == 6
            assert chunk_count(reader, "small") == 2
            assert chunk_count(reader, "scalar") == 1


def test_after_a_commit_the_session_is_a_view_of_it(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage)
    session = repo.writable_session("main")
    array = create_array(session, "a", (4,), chunks=(2,))
    write(array, ..., np.arange(4, dtype="i4"))
    assert (session.branch, session.read_only) == ("main", False)
    tip = session.commit("write")
    assert (session.branch, session.read_only, session.snapshot_id) == (None, True, tip)
    assert not session.has_uncommitted_changes
    assert (read(session, "a")).tolist() == [0, 1, 2, 3]
    with pytest.raises(ReadOnlyError) as late:
        write(array, ..., np.ones(4, "i4"))
    assert late.value.kind == "read-only-store"
    with pytest.raises(SessionStateError) as again:
        session.commit("again")
    assert again.value.kind == "commit-not-allowed"


def test_a_commit_needs_changes_or_leave(storage: icechunk.Storage, spec_version: int) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    with pytest.raises(SessionStateError) as nothing:
        session.commit("nothing")
    assert nothing.value.kind == "no-changes-to-commit"
    tip = session.commit("nothing, on purpose", allow_empty=True)
    newest, *_ = [info.id for info in repo.ancestry(branch="main")]
    assert newest == tip


def test_the_second_of_two_writers_gets_a_conflict_and_goes_on(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    base = repo.lookup_branch("main")
    ours = repo.writable_session("main")
    theirs = (Repository.open(storage)).writable_session("main")
    create_array(ours, "ours", (2,))
    create_array(theirs, "theirs", (2,))
    tip = theirs.commit("first")
    with pytest.raises(ConflictError) as caught:
        ours.commit("second")
    assert caught.value.kind == "commit-conflict"
    assert (caught.value.expected_parent, caught.value.actual_parent) == (base, tip)
    assert ours.has_uncommitted_changes
    assert not ours.read_only
    again = repo.writable_session("main")
    create_array(again, "ours", (2,))
    again.commit("third")
    reader = repo.readonly_session("main")
    names = sorted([name for name in reader.store.list_dir("")])
    assert names == ["ours", "theirs", "zarr.json"]
    assert len([info for info in repo.ancestry(branch="main")]) == 3


def test_changes_on_top_of_changes(storage: icechunk.Storage, spec_version: int) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    expected = np.zeros((10, 6), "i4")
    session = repo.writable_session("main")
    array = create_array(session, "a", (10, 6), chunks=(2, 3))
    write(array, ..., expected)
    session.commit("zeros")
    for round_number, (rows, columns) in enumerate(
        [((0, 2), (0, 3)), ((1, 7), (2, 6)), ((9, 10), (0, 6))], 1
    ):
        session = repo.writable_session("main")
        array = open_array(session, "a")
        expected[slice(*rows), slice(*columns)] = round_number
        write(array, (slice(*rows), slice(*columns)), np.array(round_number, "i4"))
        assert (read(session, "a") == expected).all()
        session.commit(f"round {round_number}")
    reader = (Repository.open(storage)).readonly_session("main")
    assert (read(reader, "a") == expected).all()


def test_status_and_dirtiness_are_what_a_commit_would_contain(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    assert session.status().is_empty()
    array = create_array(session, "a", (4,), chunks=(1,))
    write(array, slice(0, 2), np.ones(2, "i4"))
    status = session.status()
    assert status.new_groups == {"/"}
    assert status.new_arrays == {"/a"}
    assert status.updated_chunks == {"/a": [[0], [1]]}
    delete_node(session, "a")
    delete_key(session, "zarr.json")
    assert session.status().is_empty()
    assert not session.has_uncommitted_changes
    array = create_array(session, "a", (4,), chunks=(1,))
    write(array, slice(0, 2), np.ones(2, "i4"))
    session.commit("two chunks")

    session = repo.writable_session("main")
    delete_key(session, "a/c/3")
    assert not session.has_uncommitted_changes
    delete_key(session, "a/c/1")
    assert session.status().updated_chunks == {"/a": [[1]]}
    session.discard_changes()
    assert not session.has_uncommitted_changes
    document = get_key(session, "a/zarr.json")
    assert document is not None
    set_key(session, "a/zarr.json", document)
    assert not session.has_uncommitted_changes
    set_key(session, "a/zarr.json", document.replace(b"{", b"{ ", 1))
    assert session.status().updated_arrays == {"/a"}
    set_key(session, "a/zarr.json", document)
    assert not session.has_uncommitted_changes


def test_nodes_deleted_and_made_again(storage: icechunk.Storage, spec_version: int) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "g/a", (4,), chunks=(2,))
    write(array, ..., np.ones(4, "i4"))
    create_array(session, "g-sibling", (1,))
    session.commit("make")
    session = repo.writable_session("main")
    delete_node(session, "g")
    assert session.status().deleted_groups == {"/g"}
    assert session.status().deleted_arrays == {"/g/a"}
    array = create_array(session, "g/a", (4,), chunks=(2,))
    assert session.status().new_arrays == {"/g/a"}
    write(array, slice(0, 2), np.array([7, 8], "i4"))
    session.commit("make again")
    reader = (Repository.open(storage)).readonly_session("main")
    assert (read(reader, "g/a")).tolist() == [7, 8, 0, 0]
    assert chunk_count(reader, "g/a") == 1
    with pytest.raises(FileNotFoundError):
        read(reader, "g/b")
    names = sorted([name for name in reader.store.list_dir("")])
    assert names == ["g", "g-sibling", "zarr.json"]


def test_resizing_drops_chunks_at_the_commit(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (10,), chunks=(2,), fill_value=-1)
    write(array, ..., np.arange(10, dtype="i4"))
    session.commit("ten")
    session = repo.writable_session("main")
    # The chunks outside of a smaller grid go when it is committed, not before.
    document = get_key(session, "a/zarr.json")
    assert document is not None
    set_key(session, "a/zarr.json", document.replace(b"10", b"4", 1))
    assert get_key(session, "a/c/3") is None
    session.commit("four")
    session = repo.writable_session("main")
    assert chunk_count(session, "a") == 2
    set_key(session, "a/zarr.json", document)
    session.commit("ten again")
    reader = repo.readonly_session("main")
    assert (read(reader, "a")).tolist() == [0, 1, 2, 3, -1, -1, -1, -1, -1, -1]


def splitting(size: int) -> RepositoryConfig:
    splitting = ManifestSplittingConfig.from_dict(
        {ManifestSplitCondition.AnyArray(): {ManifestSplitDimCondition.Any(): size}}
    )
    return RepositoryConfig(inline_chunk_threshold_bytes=0, manifest=ManifestConfig(splitting=splitting))


def manifests(repo: Repository) -> dict[str, int]:
    tip = repo.lookup_branch("main")
    return {file.id: file.num_chunk_refs for file in repo.list_manifest_files(tip)}


def test_split_manifests_are_kept_where_nothing_changed(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, splitting(2), spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (9, 9), chunks=(1, 1))
    expected = np.arange(1, 82, dtype="i4").reshape(9, 9)
    write(array, ..., expected)
    session.commit("all")
    before = manifests(repo)
    assert len(before) == 25
    assert sum(before.values()) == 81
    session = repo.writable_session("main")
    array = open_array(session, "a")
    write(array, (slice(4, 5), slice(4, 6)), np.array([[1, 2]], "i4"))
    expected[4, 4:6] = [1, 2]
    session.commit("one cell")
    after = manifests(repo)
    assert len(after) == 25
    assert len(after.keys() & before.keys()) == 24
    # Another split size: only what a later commit touches has to follow it, and nothing is lost.
    repo = repo.reopen(splitting(3))
    session = repo.writable_session("main")
    array = open_array(session, "a")
    write(array, (slice(0, 1), slice(0, 1)), np.array([[99]], "i4"))
    expected[0, 0] = 99
    session.commit("other cells")
    assert sum((manifests(repo)).values()) == 81
    reader = (Repository.open(storage)).readonly_session("main")
    assert (read(reader, "a") == expected).all()


def test_a_commit_without_manifest_changes_keeps_all_manifests(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, splitting(4), spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (8,), chunks=(1,))
    write(array, ..., np.arange(8, dtype="i4"))
    session.commit("all")
    before = manifests(repo)
    session = repo.writable_session("main")
    document = get_key(session, "a/zarr.json")
    assert document is not None
    set_key(session, "a/zarr.json", document.replace(b"8", b"12", 1))
    session.commit("grow")
    assert manifests(repo) == before


def test_bad_input_is_refused_before_anything_is_recorded(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage)
    session = repo.writable_session("main")
    create_array(session, "a", (4, 4), chunks=(2, 2))
    session.commit("make")
    session = repo.writable_session("main")
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
            set_key(session, key, value)
        assert getattr(caught.value, "kind", None) == kind, key
    assert not session.has_uncommitted_changes


def test_inline_and_native_chunks_by_threshold(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage, RepositoryConfig(inline_chunk_threshold_bytes=8))
    session = repo.writable_session("main")
    array = create_array(session, "a", (6,), chunks=(2,))
    write(array, ..., np.arange(6, dtype="i4"))
    wide = create_array(session, "b", (6,), chunks=(3,))
    write(wide, ..., np.arange(6, dtype="i4"))
    session.commit("both")
    if isinstance(storage, icechunk.storage.LocalFileSystemStorage):
        assert len(list((Path(storage.path) / "chunks").iterdir())) == 2
    reader = (Repository.open(storage)).readonly_session("main")
    for name in "ab":
        assert (read(reader, name)).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_referenced_chunk_that_is_gone_is_an_error_not_a_fill_value(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = Repository.create(storage, RepositoryConfig(inline_chunk_threshold_bytes=0))
    session = repo.writable_session("main")
    array = create_array(session, "a", (2,), chunks=(2,))
    write(array, ..., np.ones(2, "i4"))
    session.commit("write")
    [chunk] = (tmp_path / "chunks").iterdir()
    chunk.unlink()
    reader = repo.readonly_session("main")
    with pytest.raises(icechunk.StorageError) as missing:
        read(reader, "a")
    assert missing.value.kind == "object-not-found"
    assert chunk.name in str(missing.value)
    chunk.write_bytes(b"\0\0\0")
    with pytest.raises(icechunk.StorageError) as short:
        read(reader, "a")
    assert short.value.kind == "invalid-object-size"


@pytest.mark.parametrize("threshold", [0, 512])
def test_chunks_of_different_arrays_are_never_mixed_up(
    storage: icechunk.Storage, spec_version: int, threshold: int
) -> None:
    """Arrays with equal coordinates, and with more or fewer dimensions, in one commit and in the next."""
    config = RepositoryConfig(inline_chunk_threshold_bytes=threshold)
    repo = Repository.create(storage, config, spec_version=spec_version)
    shapes: list[tuple[int, ...]] = [(6,), (6, 4), (6,), (2, 2, 2), (), (4, 6), (6,)]
    expected = {}
    for turn in range(2):
        session = repo.writable_session("main")
        for number, shape in enumerate(shapes):
            name = f"a{number}"
            data = (
                np.arange(np.prod(shape, dtype=int), dtype="i4").reshape(shape) + 1000 * number + 100 * turn
            )
            if turn == 0:
                chunks = {"chunks": (2,) * len(shape)} if shape else {}
                array = create_array(session, name, shape, **chunks)
                write(array, ..., data)
                expected[name] = data
            elif number % 2 == 0 and shape:
                array = open_array(session, name)
                write(array, slice(0, 2), data[:2])
                expected[name][:2] = data[:2]
        session.commit("write")
        reader = (Repository.open(storage)).readonly_session("main")
        for name, data in expected.items():
            assert (read(reader, name)).tolist() == data.tolist()


def test_byte_ranges_of_chunks_that_begin_inside_of_an_object(
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
    repo = Repository.create(
        storage, config, {prefix: LocalFileSystemAccess}, spec_version=spec_version
    )
    session = repo.writable_session("main")
    create_array(session, "a", (30,), chunks=(10,), dtype="u1")
    set_key(session, "a/c/2", whole)
    [chunk] = (tmp_path / "repo" / "chunks").iterdir()
    session._state.record_chunk("/a", (0,), native(parse_id(chunk.name), len(data), 6))
    session._state.record_chunk("/a", (1,), virtual(f"{prefix}file.bin", 6, len(data)))
    session.commit("write")
    for reader in (session, repo.readonly_session("main")):
        for request, part in (
            (None, slice(None)),
            (RangeByteRequest(0, 3), slice(0, 3)),
            (RangeByteRequest(7, 99), slice(7, None)),
            (OffsetByteRequest(4), slice(4, None)),
            (SuffixByteRequest(4), slice(-4, None)),
            (SuffixByteRequest(99), slice(None)),
        ):
            for key in ("a/c/0", "a/c/1"):
                found = reader._keys.get(key, request)
                assert found is not None
                assert bytes(found) == data[part], (key, request)


def test_listing_a_small_directory_does_not_look_at_the_nodes_elsewhere(
    spec_version: int,
) -> None:
    """Counted in lines of Python that run: as many beside three thousand nodes as beside thirty."""
    lines = []
    for others in (30, 3000):
        repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
        session = repo.writable_session("main")
        document = b'{"zarr_format":3,"node_type":"group"}'
        paths = [*[f"other/{number}/x" for number in range(others)], "small/a", "small/b", "small", ""]
        for path in paths:
            session._keys.set(f"{path}/zarr.json", document, len(document))
        session.commit("write")
        reader = repo.writable_session("main")
        reader._keys.set("small/c/zarr.json", document, len(document))
        with counted_lines() as count:
            names = sorted([name for name in reader._keys.list_dir("small")])
        assert names == ["a", "b", "c", "zarr.json"]
        lines.append(count[0])
    assert 0 < lines[1] < 2 * lines[0], lines
