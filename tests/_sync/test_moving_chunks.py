# Generated from tests/_async/test_moving_chunks.py by tools/make_sync.py; edit that file.
"""Shifting and reindexing arrays: chunks move by reference, and only on regular grids."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import icechunk
from icechunk import (
    ChunkType,
    IcechunkError,
    InvalidInputError,
    ManifestConfig,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
    NodeNotFoundError,
    ReadOnlyError,
    Repository,
    RepositoryConfig,
    Session,
    SessionStateError,
)
from icechunk._format.chunk_refs import virtual
from tests.arrays import (
    create_array,
    delete_key,
    get_key,
    open_array,
    read,
    reshape_document,
    resize,
    set_key,
    write,
)


@pytest.fixture(params=[None, 2])
def config(request: pytest.FixtureRequest) -> RepositoryConfig:
    """One manifest for an array, or manifests of two chunks along each dimension."""
    config = RepositoryConfig(inline_chunk_threshold_bytes=8)
    if request.param is not None:
        sizes = {ManifestSplitCondition.AnyArray(): {ManifestSplitDimCondition.Any(): request.param}}
        config.manifest = ManifestConfig(splitting=ManifestSplittingConfig.from_dict(sizes))
    return config


def row(repo: Repository, values: list[int | None], commit: bool = True) -> Session:
    """A session that has an array `/a` of one value a chunk; None is a chunk that does not exist."""
    session = repo.writable_session("main")
    array = create_array(session, "a", (len(values),), chunks=(1,), fill_value=-1)
    for index, value in enumerate(values):
        if value is not None:
            write(array, slice(index, index + 1), np.array([value], "i4"))
    return next_session(repo, session) if commit else session


def next_session(repo: Repository, session: Session) -> Session:
    session.commit("on the way", allow_empty=True)
    return repo.writable_session("main")


def values(session: Session) -> list[int | None]:
    """The values of `/a`, None for chunks that do not exist."""
    values = (read(session, "a")).tolist()
    there = {index for (index,) in session.chunk_coordinates("/a")}
    return [value if index in there else None for index, value in enumerate(values)]


def chunk_files(storage: icechunk.Storage) -> set[str]:
    objects = storage.list_objects_metadata(prefix="chunks/")
    return {each.key for each in objects}


def always(answer: Any) -> Callable[[list[int]], Any]:
    """A function of a chunk that does not look at it."""
    return lambda _: answer


@pytest.mark.parametrize("commit", [False, True])
def test_a_shift_moves_drops_and_clears(
    storage: icechunk.Storage, spec_version: int, config: RepositoryConfig, commit: bool
) -> None:
    """Guards against shifts that are right in one direction only, and against chunks that were never
    written and leave behind what they should have replaced.
    """
    repo = Repository.create(storage, config, spec_version=spec_version)
    session = row(repo, [1, 2, None, 4, None], commit)
    assert session.shift_array("/a", [1]) is None  # type: ignore[func-returns-value]
    assert values(session) == [None, 1, 2, None, 4]
    if commit:
        assert session.status().updated_chunks == {"/a": [[0], [1], [2], [3], [4]]}
        session = next_session(repo, session)
    session.shift_array("/a", (-2,))
    assert values(session) == [2, None, 4, None, None]
    session.commit("shifted")
    reader = (Repository.open(storage)).readonly_session("main")
    assert values(reader) == [2, None, 4, None, None]


def test_a_shift_along_several_dimensions(spec_version: int, config: RepositoryConfig) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), config, spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (8, 6, 3), chunks=(2, 2, 3), fill_value=-1)
    values = np.arange(8 * 6 * 3, dtype="i4").reshape(8, 6, 3)
    write(array, ..., values)
    session = next_session(repo, session)
    session.shift_array("/a", [1, -1, 0])
    expected = np.full_like(values, -1)
    expected[2:, :4] = values[:-2, 2:]
    assert (read(session, "a") == expected).all()
    session.shift_array("/a", [-1, 1, 0])
    expected = np.full_like(values, -1)
    expected[:-2, 2:] = values[:-2, 2:]
    session = next_session(repo, session)
    assert (read(session, "a") == expected).all()


@pytest.mark.parametrize("offset", [3, -3, 4, -(2**31), 2**32, 2**63, -(2**70)])
def test_a_shift_beyond_the_grid_leaves_nothing(spec_version: int, offset: int) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, 3])
    session.shift_array("/a", [offset])
    assert values(session) == [None, None, None]
    assert session.status().updated_chunks == {"/a": [[0], [1], [2]]}
    session.commit("nothing left")
    tip = repo.lookup_branch("main")
    assert repo.list_manifest_files(tip) == []


def test_a_shift_by_nothing_changes_nothing(spec_version: int) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, None])
    create_array(session, "scalar", ())
    create_array(session, "none", (0, 4), chunks=(1, 1))
    create_array(session, "unwritten", (2, 4), chunks=(1, 1))
    session = next_session(repo, session)
    session.shift_array("/a", [0])
    session.shift_array("/scalar", [])
    session.shift_array("/none", [1, -1])
    session.shift_array("/unwritten", [1, -1])
    session.reindex_array("/a", lambda chunk: chunk)
    session.reindex_array("/a", always(None), lambda chunk: chunk)
    assert not session.has_uncommitted_changes
    assert session.status().is_empty()


def test_chunks_that_only_the_session_has_leave_no_trace(spec_version: int) -> None:
    """A place that was vacated before anything was committed there is nothing that a commit contains."""
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [None, None, None])
    write(open_array(session, "a"), slice(1, 2), np.array([5], "i4"))
    session.shift_array("/a", [1])
    assert session.status().updated_chunks == {"/a": [[2]]}
    session.shift_array("/a", [1])
    assert values(session) == [None, None, None]
    assert not session.has_uncommitted_changes


def test_all_kinds_of_chunks_move_as_they_are(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Inline, native and virtual, recorded or in manifests; no chunk is read or written for it."""
    config = RepositoryConfig(inline_chunk_threshold_bytes=4)
    repo = Repository.create(storage, config, spec_version=spec_version)
    session = repo.writable_session("main")
    create_array(session, "a", (10,), chunks=(1,))
    reference = virtual("s3://bucket/no/such/file", 7, 100, etag="tag")
    for commit in (True, False):
        set_key(session, "a/c/0", b"in")
        set_key(session, "a/c/1", b"out of line")
        session._state.record_chunk("/a", (2,), reference)
        if commit:
            session = next_session(repo, session)
            session.shift_array("/a", [4])
    chunks = chunk_files(storage)
    session.shift_array("/a", [1])
    after = chunk_files(storage)
    assert len(chunks) == 2
    assert after == chunks
    for _ in range(2):
        for start in (1, 5):
            kinds = [session.chunk_type("/a", [start + index]) for index in range(-1, 4)]
            nothing = ChunkType.uninitialized
            assert kinds == [nothing, ChunkType.inline, ChunkType.native, ChunkType.virtual, nothing]
            assert get_key(session, f"a/c/{start}") == b"in"
            assert get_key(session, f"a/c/{start + 1}") == b"out of line"
            assert session._keys.chunks.find("/a", (start + 2,)) == reference
        session = next_session(repo, session)


@pytest.mark.parametrize("by_zarr", [False, True])
@pytest.mark.parametrize(
    ("length", "offset", "expected"),
    [
        (8, 3, [None, None, None, 1, 2, None, 4, 5]),
        (8, -2, [None, 4, 5, None, None, None, None, None]),
        (6, 1, [None, 1, 2, None, 4, 5]),
        (3, 1, [None, 1, 2]),
        (3, -1, [2, None, None]),
        (4, -1, [2, None, 4, None]),
        (0, 1, []),
    ],
)
def test_resizing_then_shifting(
    spec_version: int,
    config: RepositoryConfig,
    by_zarr: bool,
    length: int,
    offset: int,
    expected: list[int | None],
) -> None:
    """Guards against a shift after a resize that depends on whether there was a commit in between, or
    on what had been committed before.
    """
    for when in ("all committed", "between", "nothing committed", "half committed"):
        repo = Repository.create(icechunk.in_memory_storage(), config, spec_version=spec_version)
        if when == "half committed":
            session = row(repo, [7, None, 3, 4, None])
            array = open_array(session, "a")
            for index, value in ((0, 1), (1, 2), (4, 5)):
                write(array, slice(index, index + 1), np.array([value], "i4"))
            delete_key(session, "a/c/2")
        else:
            session = row(repo, [1, 2, None, 4, 5], commit=when == "all committed")
        if by_zarr:
            resize(open_array(session, "a"), (length,))
        else:
            reshape_document(session, "a", [length])
        if when == "between":
            session = next_session(repo, session)
        session.shift_array("/a", [offset])
        assert values(session) == expected, when
        session = next_session(repo, session)
        assert values(session) == expected, when
        reshape_document(session, "a", [10])
        assert values(session) == [*expected, *[None] * (10 - length)], when


def test_what_is_outside_of_the_grid_takes_no_part_in_a_shift(spec_version: int) -> None:
    """It comes back when the array grows in the same session, where it was."""
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, 3, 4, None, None])
    write(open_array(session, "a"), slice(4, 5), np.array([5], "i4"))
    reshape_document(session, "a", [3])
    session.shift_array("/a", [-1])
    assert values(session) == [2, 3, None]
    reshape_document(session, "a", [6])
    assert values(session) == [2, 3, None, 4, 5, None]


def test_offsets_that_do_not_fit() -> None:
    """The official release ignores offsets too many, and crashes on too few."""
    repo = Repository.create(icechunk.in_memory_storage())
    session = row(repo, [1, 2, 3])
    for offsets in ([], [1, 0], [0, 0, 0]):
        with pytest.raises(InvalidInputError) as caught:
            session.shift_array("/a", offsets)
        assert caught.value.kind == "invalid-chunk-index"
        assert str(offsets) in caught.value.message
    wrong: Any
    for wrong in ([1.0], [np.float64(1)], ["1"], "1", [None], None, 1):
        with pytest.raises(TypeError):
            session.shift_array("/a", wrong)
    assert not session.has_uncommitted_changes
    fitting: Any
    for fitting in (np.array([1]), [np.int8(-1)], iter([1]), range(-1, 0), [True], {-1: "key"}):
        session.shift_array("/a", fitting)
    assert values(session) == [1, 2, None]


def test_where_nothing_can_be_moved(spec_version: int) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    writable = row(repo, [1, 2])
    reader = repo.readonly_session("main")
    cases: list[tuple[Session, str, type[IcechunkError], str]] = [
        (writable, "/nope", NodeNotFoundError, "node-not-found"),
        (writable, "/", InvalidInputError, "not-an-array"),
        (writable, "a", InvalidInputError, "invalid-path"),
        (reader, "/a", ReadOnlyError, "read-only-session"),
        (reader, "/nope", NodeNotFoundError, "node-not-found"),
    ]
    if spec_version > 1:
        rearranging = repo.rearrange_session("main")
        cases.append((rearranging, "/a", SessionStateError, "rearrange-session-only"))
    asked: list[list[int]] = []
    for session, path, error, kind in cases:
        with pytest.raises(error) as shifted:
            session.shift_array(path, [1])
        assert shifted.value.kind == kind
        with pytest.raises(error) as reindexed:
            session.reindex_array(path, asked.append)
        assert (reindexed.value.kind, asked) == (kind, [])
        assert not session.has_uncommitted_changes


def with_grid(grid: Any) -> bytes:
    return json.dumps({"node_type": "array", "shape": [6], "chunk_grid": grid}).encode()


def test_only_regular_grids() -> None:
    """Guards against chunks put where chunks have another size: also where these happen to be equal, and
    where a document that somebody else wrote cannot be read at all.
    """
    repo = Repository.create(icechunk.in_memory_storage())
    session = repo.writable_session("main")
    for name, sizes in (("uneven", [1, 2, 3]), ("even", [2, 2, 2])):
        grid = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [sizes]}}
        set_key(session, f"{name}/zarr.json", with_grid(grid))
    regular = {"name": "regular", "configuration": {"chunk_shape": [2]}}
    set_key(session, "regular/zarr.json", with_grid(regular))
    for number, document in enumerate((b"", b"{", b"[]", with_grid({"name": "new"}), with_grid(None))):
        set_key(session, f"broken-{number}/zarr.json", with_grid(regular))
        node = session._state.changes.new_nodes[f"/broken-{number}"]
        session._state.changes.new_nodes[node.path] = type(node)(node.id, node.path, document, node.array)
    names = ["uneven", "even", *[f"broken-{number}" for number in range(5)]]
    for name in (*names, "regular"):
        session._state.record_chunk(f"/{name}", (0,), virtual("s3://bucket/file", 0, 8))
    for _ in range(2):
        for name in names:
            for offset in ([1], [0], []):
                with pytest.raises(
                    IcechunkError, match=f"`/{name}` cannot be shifted or reindexed"
                ) as caught:
                    session.shift_array(f"/{name}", offset)
                assert (type(caught.value), caught.value.kind) == (IcechunkError, "unknown")
            with pytest.raises(IcechunkError, match="regular grid") as also:
                session.reindex_array(f"/{name}", lambda chunk: chunk)
            assert (type(also.value), also.value.kind) == (IcechunkError, "unknown")
            assert [each for each in session.chunk_coordinates(f"/{name}")] == [(0,)]
        session.commit("write", allow_empty=True)
        session = repo.writable_session("main")
    session.shift_array("/regular", [2])
    assert [each for each in session.chunk_coordinates("/regular")] == [(2,)]


# Reindexing


def test_chunks_go_where_a_function_says(
    storage: icechunk.Storage, spec_version: int, config: RepositoryConfig
) -> None:
    repo = Repository.create(storage, config, spec_version=spec_version)
    session = row(repo, [1, 2, 3, None, 5])
    asked = []

    def mirrored(chunk: list[int]) -> list[int]:
        asked.append(list(chunk))
        chunk[0] = 4 - chunk[0]
        return chunk

    session.reindex_array("/a", mirrored)
    assert asked == [[0], [1], [2], [4]]
    # Nothing goes to 1, and without the inverse nobody knows that its chunk is not to stay.
    assert values(session) == [5, 2, 3, 2, 1]
    assert session.status().updated_chunks == {"/a": [[0], [3], [4]]}
    session.reindex_array("/a", mirrored, mirrored)
    assert values(session) == [1, 2, 3, 2, 5]
    delete_key(session, "a/c/3")
    session.reindex_array("/a", mirrored, mirrored)
    assert values(session) == [5, None, 3, 2, 1]
    session.commit("mirrored")
    reader = (Repository.open(storage)).readonly_session("main")
    assert values(reader) == [5, None, 3, 2, 1]


def test_chunks_that_are_left_alone_or_cleared(spec_version: int) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, 3, 4])
    session.reindex_array("/a", lambda chunk: (chunk[0] + 1,) if chunk[0] < 2 else None)
    assert values(session) == [1, 1, 2, 4]
    asked = []

    def origin(chunk: list[int]) -> list[int] | None:
        asked.append(chunk)
        return {0: None, 2: [0], 3: [99]}[chunk[0]]

    # Only places that no chunk has come to are asked for; 99 lies outside of the grid.
    session.reindex_array("/a", lambda chunk: iter([1]) if chunk == [3] else None, origin)
    assert asked == [[0], [2], [3]]
    assert values(session) == [None, 4, 2, None]


def test_of_several_chunks_that_go_to_one_place_the_last_one_wins(spec_version: int) -> None:
    """In the order of their old coordinates, whether or not the session wrote some of them."""
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, None, 4])
    write(open_array(session, "a"), slice(1, 2), np.array([20], "i4"))
    session.reindex_array("/a", always([0]))
    assert values(session) == [4, 20, None, 4]
    # One that stays where it is counts as well.
    session.reindex_array("/a", always([3]))
    assert values(session) == [4, 20, None, 4]


@pytest.mark.parametrize("commit", [False, True])
def test_deleted_chunks_are_not_there_to_be_moved(spec_version: int, commit: bool) -> None:
    """With or without a commit after the deletion: the official release moves the absence as well."""
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, 3])
    delete_key(session, "a/c/0")
    if commit:
        session = next_session(repo, session)
    asked = []

    def forward(chunk: list[int]) -> list[int] | None:
        asked.append(chunk)
        return [chunk[0] + 1] if chunk[0] < 2 else None

    session.reindex_array("/a", forward)
    assert asked == [[1], [2]]
    assert values(session) == [None, 2, 2]


def test_functions_that_fail_move_nothing(spec_version: int) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, 3])

    def failing(chunk: list[int]) -> list[int]:
        if chunk == [2]:
            raise LookupError("no such place")
        return [chunk[0] + 1]

    for forward, backward, name in (
        (failing, None, "forward"),
        (always([1]), failing, "backward"),
    ):
        with pytest.raises(IcechunkError, match=f"`{name}` failed .* LookupError: no such place") as caught:
            session.reindex_array("/a", forward, backward)
        assert (type(caught.value), caught.value.kind) == (IcechunkError, "unknown")
        assert isinstance(caught.value.__cause__, LookupError)
        assert not session.has_uncommitted_changes

    answer: Any
    for answer in ([3], [-1], [2**32], [2**70], [], [0, 0]):
        with pytest.raises(InvalidInputError) as outside:
            session.reindex_array("/a", always(answer))
        assert outside.value.kind == "invalid-chunk-index"
    for answer in ([-1], [], [0, 0]):
        with pytest.raises(InvalidInputError) as origin:
            session.reindex_array("/a", always(None), always(answer))
        assert origin.value.kind == "invalid-chunk-index"
    for answer in ([0.0], "0", 0, False, [None]):
        with pytest.raises(IcechunkError, match="TypeError") as caught:
            session.reindex_array("/a", always(answer))
        assert (type(caught.value), caught.value.kind) == (IcechunkError, "unknown")
    for answer in (None, 3, [0]):
        with pytest.raises(TypeError, match=type(answer).__name__):
            session.reindex_array("/a", answer)
    with pytest.raises(TypeError, match="int"):
        session.reindex_array("/a", lambda chunk: chunk, 3)  # type: ignore[arg-type]
    assert not session.has_uncommitted_changes
    assert values(session) == [1, 2, 3]


def test_what_is_written_meanwhile_takes_part(spec_version: int) -> None:
    """A write that comes while a shift or reindex is under way is neither lost nor left behind."""
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, 3, None, None])
    state = session._state
    calls = []

    def forward(chunk: list[int]) -> list[int] | None:
        calls.append(chunk)
        if len(calls) == 1:
            state.record_chunk("/a", (1,), virtual("s3://bucket/replaced", 0, 4))
        if len(calls) == 2:
            state.record_chunk("/a", (3,), virtual("s3://bucket/new", 0, 4))
        return [chunk[0] + 1] if chunk[0] < 4 else None

    session.reindex_array("/a", forward)
    assert calls == [[0], [1], [2], [0], [1], [2], [3]]
    kinds = [session.chunk_type("/a", [index]) for index in range(5)]
    inline, moved = ChunkType.inline, ChunkType.virtual
    assert kinds == [inline, inline, moved, inline, moved]


def test_what_becomes_of_the_array_meanwhile_is_minded(spec_version: int) -> None:
    """It gets smaller, loses the changes of the session, or is deleted and made anew."""
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, 3, 4])
    state = session._state
    calls: list[list[int]] = []

    def after(change: Callable[[], object]) -> Callable[[list[int]], list[int] | None]:
        calls.clear()

        def forward(chunk: list[int]) -> list[int] | None:
            calls.append(chunk)
            if len(calls) == 1:
                change()
            return [chunk[0] + 1] if chunk[0] < 1 else None

        return forward

    document = json.loads(get_key(session, "a/zarr.json") or b"")
    smaller = json.dumps({**document, "shape": [2]}).encode()
    session.reindex_array("/a", after(lambda: state.set_document("/a", smaller, bytes)))
    assert calls == [[0], [1], [2], [3], [0], [1]]
    assert values(session) == [1, 1]

    session.reindex_array("/a", after(session.discard_changes))
    assert calls == [[0], [1], [0], [1], [2], [3]]
    assert values(session) == [1, 1, 3, 4]

    def replace() -> None:
        state.delete_node("/a")
        state.set_document("/a", smaller, lambda: bytes(8))
        state.record_chunk("/a", (0,), virtual("s3://bucket/new", 0, 4))

    session.reindex_array("/a", after(replace))
    assert calls == [[0], [1], [2], [3], [0]]
    kinds = [session.chunk_type("/a", [index]) for index in range(2)]
    assert kinds == [ChunkType.virtual, ChunkType.virtual]
    assert session.status().updated_chunks == {"/a": [[0], [1]]}

    with pytest.raises(NodeNotFoundError):
        session.reindex_array("/a", after(lambda: state.delete_node("/a")))
    assert session.status().new_arrays == set()


def test_a_shift_is_rebased_like_any_other_change(spec_version: int) -> None:
    """Over commits elsewhere; one that wrote where a chunk was, or goes, is a conflict."""
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, None, None, 5, 6])
    session.reindex_array("/a", lambda chunk: [chunk[0] + 2] if chunk[0] < 2 else None)
    theirs = repo.writable_session("main")
    write(open_array(theirs, "a"), slice(4, 5), np.array([50], "i4"))
    theirs.commit("elsewhere")
    session.commit("moved", rebase_with=icechunk.ConflictDetector())
    reader = repo.readonly_session("main")
    assert values(reader) == [1, 2, 1, 2, 50, 6]

    session = repo.writable_session("main")
    session.shift_array("/a", [1])
    theirs = repo.writable_session("main")
    write(open_array(theirs, "a"), slice(0, 1), np.array([9], "i4"))
    theirs.commit("where a chunk was")
    with pytest.raises(icechunk.RebaseFailedError) as caught:
        session.commit("shifted", rebase_with=icechunk.ConflictDetector())
    (conflict,) = caught.value.conflicts
    assert (conflict.path, conflict.conflicted_chunks) == ("/a", [[0]])
    assert values(session) == [None, 1, 2, 1, 2, 50]


def test_a_shift_is_forgotten_like_any_other_change(spec_version: int) -> None:
    repo = Repository.create(icechunk.in_memory_storage(), spec_version=spec_version)
    session = row(repo, [1, 2, 3])
    session.shift_array("/a", [1])
    array = open_array(session, "a")
    write(array, slice(0, 1), np.array([9], "i4"))
    assert values(session) == [9, 1, 2]
    delete_key(session, "a/c/1")
    assert values(session) == [9, None, 2]
    session.discard_changes()
    assert values(session) == [1, 2, 3]
    assert not session.has_uncommitted_changes
