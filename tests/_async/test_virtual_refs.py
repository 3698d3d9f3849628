"""References to chunks in other files: setting them, one by one and in bulk, and getting them out again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icechunk import (
    ChunkType,
    InvalidInputError,
    NodeNotFoundError,
    ReadOnlyError,
    RepositoryConfig,
    SessionStateError,
    VirtualChunkContainer,
    VirtualChunkSpec,
    local_filesystem_store,
)
from tests.arrays import (
    create_array_async,
    delete_key_async,
    open_array_async,
    read_async,
    read_part_async,
    write_async,
)
from tests.virtual import repository_async, writing_async

NEXT_HOUR = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


def column(*numbers: int) -> np.ndarray[Any, Any]:
    return np.array(numbers, "u8")


# One by one


async def test_a_chunk_is_a_range_of_a_file_async(files: Path, spec_version: int) -> None:
    """Before a commit and after it, in both formats."""
    repo = await repository_async(files, spec_version)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (6,), chunks=(2,), dtype="u1", fill_value=9)
    await session.store.set_virtual_ref_async("a/c/0", f"file://{files}/one.bin", offset=10, length=2)
    await session.store.set_virtual_ref_async("a/c/2", "vcc://files/two.bin", offset=198, length=2)
    assert (await read_async(session, "a")).tolist() == [10, 11, 9, 9, 198, 199]
    await session.commit_async("refer")
    reader = await repo.readonly_session_async("main")
    assert (await read_async(reader, "a")).tolist() == [10, 11, 9, 9, 198, 199]
    assert await reader.chunk_type_async("/a", [2]) is ChunkType.virtual
    assert await reader.all_virtual_chunk_locations_async() == [
        f"file://{files}/one.bin",
        f"file://{files}/two.bin",
    ]


async def test_an_array_without_dimensions_async(files: Path) -> None:
    session = await writing_async(files, ())
    await session.store.set_virtual_ref_async("g/a/c", f"file://{files}/one.bin", offset=7, length=1)
    assert await read_async(session, "g/a") == 7
    await session.store.set_virtual_refs_arr_async(
        "g/a", (), [f"file://{files}/one.bin"], column(8), column(1)
    )
    assert await read_async(session, "g/a") == 8


async def test_a_reference_takes_the_place_of_what_there_was_async(files: Path) -> None:
    """And what is written or deleted afterwards takes the place of the reference."""
    session = await writing_async(files)
    array = await open_array_async(session, "g/a")
    await write_async(array, slice(0, 8), 1)
    for index in range(3):
        await session.store.set_virtual_ref_async(
            f"g/a/c/{index}", f"file://{files}/one.bin", offset=20 + index, length=2
        )
    await write_async(array, slice(2, 4), 5)
    await delete_key_async(session, "g/a/c/2")
    assert (await read_async(session, "g/a")).tolist() == [20, 21, 5, 5, 0, 0, 1, 1]
    await session.commit_async("mixed")
    assert (await read_async(session, "g/a")).tolist() == [20, 21, 5, 5, 0, 0, 1, 1]


@pytest.mark.parametrize("spec_version", [1, 2])
async def test_arrays_with_chunks_of_all_kinds_keep_apart_async(files: Path, spec_version: int) -> None:
    """Inline, native and virtual chunks in each of three arrays, over several commits."""
    repo = await repository_async(files, spec_version)
    expected = {name: [0] * 12 for name in ("a", "g/b", "g/c")}
    for commit, threshold in enumerate((512, 0)):
        config = RepositoryConfig(inline_chunk_threshold_bytes=threshold)
        session = await (await repo.reopen_async(config)).writable_session_async("main")
        for number, (name, bytes_) in enumerate(expected.items()):
            if not commit:
                await create_array_async(session, name, (12,), chunks=(2,), dtype="u1")
            mine, theirs = (2 * ((number + at) % 3) + 6 * commit for at in range(2))
            await write_async(await open_array_async(session, name), slice(mine, mine + 2), 100 + number)
            bytes_[mine : mine + 2] = [100 + number] * 2
            await session.store.set_virtual_ref_async(
                f"{name}/c/{theirs // 2}", f"file://{files}/one.bin", offset=10 * number, length=2
            )
            bytes_[theirs : theirs + 2] = [10 * number, 10 * number + 1]
        await session.commit_async("more")
    reader = await repo.readonly_session_async("main")
    for name, bytes_ in expected.items():
        assert (await read_async(reader, name)).tolist() == bytes_
        batches = [batch async for batch in reader.store.array_chunk_iterator(name)]
        assert {int(kind) for batch in batches for kind in batch[1]} == {1, 2, 3}


@pytest.mark.parametrize(
    ("location", "stored"),
    [
        ("s3://user@bucket:9000/a//b/../c.nc?version=1#part", None),
        ("https://host:8443/a%20b/%25.nc", None),
        ("GS://bucket/key", "gs://bucket/key"),
        ("abfs://container/key", None),
    ],
)
async def test_locations_are_kept_async(files: Path, location: str, stored: str | None) -> None:
    """User names, ports, queries, fragments, `//`, `..` and escapes stay as they are."""
    session = await writing_async(files)
    store = session.store
    await store.set_virtual_ref_async("g/a/c/0", location, offset=0, length=1, validate_container=False)
    await store.set_virtual_refs_async(
        "g/a", [VirtualChunkSpec([1], location, 0, 1)], validate_containers=False
    )
    await store.set_virtual_refs_arr_async(
        "g/a", (1,), [location], column(0), column(1), validate_containers=False, arr_offset=(2,)
    )
    await session.commit_async("kept")
    assert await session.all_virtual_chunk_locations_async() == [stored or location] * 3


@pytest.mark.parametrize(
    ("checksum", "etag", "seconds"),
    [
        ('"an etag"', '"an etag"', None),
        (datetime(2020, 1, 1, 0, 0, 5, 999_999, tzinfo=UTC), None, 1577836805),
        (datetime(2020, 1, 1, 2, 0, 5, tzinfo=timezone(timedelta(hours=2))), None, 1577836805),
        (None, None, None),
    ],
)
async def test_checksums_are_kept_async(files: Path, checksum: Any, etag: Any, seconds: Any) -> None:
    """Etags as they are given, times in whole seconds; by every setter, and through a commit."""
    session = await writing_async(files)
    place = f"file://{files}/one.bin"
    await session.store.set_virtual_ref_async("g/a/c/0", place, offset=1, length=2, checksum=checksum)
    await session.store.set_virtual_refs_arr_async(
        "g/a", (1,), [place], column(1), column(2), arr_offset=(1,), checksum=checksum
    )
    moment = checksum if isinstance(checksum, datetime) else None
    await session.store.set_virtual_refs_async(
        "g/a", [VirtualChunkSpec([2], place, 1, 2, etag, moment), VirtualChunkSpec([3], place, 1, 2)]
    )
    await session.commit_async("checks")
    for index in range(4):
        found = await session._keys_async.chunks.find_async("/g/a", (index,))
        assert found is not None
        wanted = (etag, seconds) if index < 3 else (None, None)
        assert (found.etag, found.last_modified) == wanted


async def test_of_two_checksums_the_etag_counts_async(files: Path) -> None:
    session = await writing_async(files)
    spec = VirtualChunkSpec([0], f"file://{files}/one.bin", 0, 2, "etag", NEXT_HOUR)
    await session.store.set_virtual_refs_async("g/a", [spec])
    found = await session._keys_async.chunks.find_async("/g/a", (0,))
    assert found is not None
    assert (found.etag, found.last_modified) == ("etag", None)


@pytest.mark.parametrize(
    ("key", "location", "changes", "error", "kind"),
    [
        ("g/a/zarr.json", "", {}, SessionStateError, "not-allowed"),
        ("g/a/.zarray", "", {}, SessionStateError, "not-allowed"),
        ("nonsense", "", {}, InvalidInputError, "invalid-key"),
        ("nope/c/0", "one.bin", {}, NodeNotFoundError, "node-not-found"),
        ("g/c/0", "one.bin", {}, InvalidInputError, "not-an-array"),
        ("g/a/c/4", "one.bin", {}, InvalidInputError, "invalid-chunk-index"),
        ("g/a/c/0/0", "one.bin", {}, InvalidInputError, "invalid-chunk-index"),
        ("g/a/c/0", "one.bin", {"length": 0}, InvalidInputError, "zero-length-chunk"),
        ("g/a/c/0", "/one.bin", {}, InvalidInputError, "invalid-virtual-ref"),
        ("g/a/c/0", "one.bin", {"checksum": ""}, InvalidInputError, "invalid-virtual-ref"),
        ("g/a/c/0", "one.bin", {"checksum": "\ud800"}, InvalidInputError, "invalid-virtual-ref"),
        ("g/a/c/0", "\ud800.bin", {}, InvalidInputError, "invalid-virtual-ref"),
        ("g/a/c/0", "one.bin", {"checksum": 5}, TypeError, None),
        ("g/a/c/0", "one.bin", {"checksum": datetime(2020, 1, 1)}, TypeError, None),
        ("g/a/c/0", "one.bin", {"checksum": datetime(1960, 1, 1, tzinfo=UTC)}, OverflowError, None),
        ("g/a/c/0", "one.bin", {"offset": -1}, OverflowError, None),
        ("g/a/c/0", "one.bin", {"length": 2**64}, OverflowError, None),
        ("g/a/c/0", "one.bin", {"offset": 1.0}, TypeError, None),
    ],
)
async def test_what_is_no_reference_is_refused_async(
    files: Path, key: str, location: str, changes: dict[str, Any], error: type[Exception], kind: str | None
) -> None:
    session = await writing_async(files)
    before = session.status()
    arguments: dict[str, Any] = {"offset": 0, "length": 2, **changes}
    with pytest.raises(error) as caught:
        await session.store.set_virtual_ref_async(key, f"file://{files}/{location}", **arguments)
    assert getattr(caught.value, "kind", None) == kind
    assert session.status() == before


@pytest.mark.parametrize(
    ("location", "kind", "kind_unchecked"),
    [
        ("", "invalid-virtual-ref", "invalid-virtual-ref"),
        ("relative/path", "invalid-virtual-ref", "invalid-virtual-ref"),
        ("s3:///no-bucket", "invalid-virtual-ref", "invalid-virtual-ref"),
        ("vcc:///no-name", "no-container-for-virtual-chunk", "no-container-for-virtual-chunk"),
        ("s3://bucket/key", "no-container-for-virtual-chunk", None),
        ("vcc://nobody/key", "no-container-for-virtual-chunk", None),
        ("vcc://files/../key", "invalid-virtual-ref", None),
        ("file:///elsewhere/key", "no-container-for-virtual-chunk", None),
    ],
)
async def test_locations_are_checked_async(
    files: Path, location: str, kind: str, kind_unchecked: str | None
) -> None:
    """What is no location is refused in any case, what no container serves unless it is asked not to."""
    store = (await writing_async(files)).store
    with pytest.raises(InvalidInputError) as caught:
        await store.set_virtual_ref_async("g/a/c/0", location, offset=0, length=1)
    assert caught.value.kind == kind
    if kind_unchecked is None:
        await store.set_virtual_ref_async("g/a/c/0", location, offset=0, length=1, validate_container=False)
        return
    with pytest.raises(InvalidInputError) as caught:
        await store.set_virtual_ref_async("g/a/c/0", location, offset=0, length=1, validate_container=False)
    assert caught.value.kind == kind_unchecked


async def test_a_neighbour_whose_name_begins_alike_is_not_served_async(files: Path) -> None:
    """A prefix ends with a slash."""
    store = (await writing_async(files)).store
    with pytest.raises(InvalidInputError, match="no matching virtual chunk container"):
        await store.set_virtual_ref_async("g/a/c/0", f"file://{files}-production/x", offset=0, length=1)
    with pytest.raises(ValueError, match="must end with `/`"):
        RepositoryConfig().set_virtual_chunk_container(
            VirtualChunkContainer(f"file://{files}", local_filesystem_store(str(files)))
        )


# In bulk


async def test_many_references_async(files: Path, spec_version: int) -> None:
    """By specs and by columns, in both formats, with what is absent left out."""
    repo = await repository_async(files, spec_version)
    session = await repo.writable_session_async("main")
    for name in ("specs", "columns"):
        await create_array_async(session, name, (6, 4), chunks=(2, 2), dtype="u1", fill_value=9)
    places = [f"file://{files}/one.bin", "vcc://files/two.bin", "", f"file://{files}/one.bin", "", ""]
    specs = [
        VirtualChunkSpec([number // 2, number % 2], place, 10 * number, 4)
        for number, place in enumerate(places)
        if place
    ]
    assert await session.store.set_virtual_refs_async("specs", specs) is None
    rejected = await session.store.set_virtual_refs_arr_async(
        "/columns", (3, 2), places, 10 * np.arange(6, dtype="u8"), column(4, 4, 0, 4, 0, 0)
    )
    assert rejected is None
    await session.commit_async("refer")
    reader = await repo.readonly_session_async("main")
    wanted = [
        [0, 1, 10, 11],
        [2, 3, 12, 13],
        [9, 9, 30, 31],
        [9, 9, 32, 33],
        [9, 9, 9, 9],
        [9, 9, 9, 9],
    ]
    for name in ("specs", "columns"):
        assert (await read_async(reader, name)).tolist() == wanted


async def test_a_box_of_chunks_async(files: Path) -> None:
    """What is appended starts somewhere else than at zero."""
    session = await writing_async(files, (8, 8))
    places = [f"file://{files}/one.bin"] * 4
    await session.store.set_virtual_refs_arr_async(
        "g/a", (2, 2), places, column(0, 4, 8, 12), column(4, 4, 4, 4), arr_offset=(2, 1)
    )
    found = {at async for at in session.chunk_coordinates("/g/a")}
    assert found == {(2, 1), (2, 2), (3, 1), (3, 2)}
    assert (await read_async(session, "g/a"))[4:, 2:6].tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ]


@pytest.mark.parametrize(
    "locations",
    [
        lambda places: places,
        tuple,
        np.array,
        lambda places: np.array(places, object),
        lambda places: [str(place.encode(), "utf-8") for place in places],
    ],
)
@pytest.mark.parametrize(
    "numbers", [np.asarray, list, lambda numbers: np.repeat(numbers, 2).astype("i4")[::2]]
)
async def test_columns_of_many_kinds_async(
    files: Path, locations: Callable[[list[str]], Any], numbers: Callable[[Any], Any]
) -> None:
    session = await writing_async(files)
    places = [f"file://{files}/one.bin", "", f"file://{files}/two.bin"]
    await session.store.set_virtual_refs_arr_async(
        "g/a", (3,), locations(places), numbers(column(1, 2, 3)), numbers(column(2, 2, 2))
    )
    assert (await read_async(session, "g/a")).tolist() == [1, 2, 0, 0, 3, 4, 0, 0]


@pytest.mark.parametrize(
    ("changes", "error", "kind"),
    [
        ({"chunk_grid_shape": (3,)}, ValueError, None),
        ({"chunk_grid_shape": (2, 2)}, InvalidInputError, "invalid-chunk-index"),
        ({"chunk_grid_shape": (-4,)}, OverflowError, None),
        ({"chunk_grid_shape": (4.0,)}, TypeError, None),
        ({"chunk_grid_shape": None}, TypeError, None),
        ({"locations": ["vcc://files/one.bin"] * 3}, ValueError, None),
        ({"locations": ["vcc://files/one.bin"] * 3 + [None]}, TypeError, None),
        ({"locations": ["vcc://files/one.bin"] * 3 + [b"vcc://files/one.bin"]}, TypeError, None),
        ({"locations": ["vcc://files/one.bin"] * 3 + ["no url"]}, InvalidInputError, "invalid-virtual-ref"),
        ({"locations": None}, TypeError, None),
        ({"locations": "vcc:"}, TypeError, None),
        ({"offsets": column(0, 2, 4)}, ValueError, None),
        ({"lengths": column(2, 2, 2)}, ValueError, None),
        ({"offsets": column(0, 2, 4, 6).reshape(2, 2)}, TypeError, None),
        ({"offsets": np.arange(4.0)}, TypeError, None),
        ({"offsets": np.array([0, 2, 4, -6])}, OverflowError, None),
        ({"lengths": column(2, 2, 0, 2)}, InvalidInputError, "zero-length-chunk"),
        ({"arr_offset": (0, 0)}, ValueError, None),
        ({"arr_offset": ()}, ValueError, None),
        ({"arr_offset": (-1,)}, OverflowError, None),
        ({"arr_offset": (1,)}, InvalidInputError, "invalid-chunk-index"),
        ({"arr_offset": (2**32 - 1,)}, InvalidInputError, "invalid-chunk-index"),
        ({"checksum": 1}, TypeError, None),
        ({"checksum": ""}, InvalidInputError, "invalid-virtual-ref"),
        ({"array_path": "nope"}, NodeNotFoundError, "node-not-found"),
        ({"array_path": "g"}, InvalidInputError, "not-an-array"),
        ({"array_path": "../a"}, InvalidInputError, "invalid-path"),
        ({"array_path": None}, TypeError, None),
    ],
)
async def test_columns_that_do_not_fit_change_nothing_async(
    files: Path, changes: dict[str, Any], error: type[Exception], kind: str | None
) -> None:
    session = await writing_async(files)
    before = session.status()
    arguments = {
        "array_path": "g/a",
        "chunk_grid_shape": (4,),
        "locations": ["vcc://files/one.bin"] * 4,
        "offsets": column(0, 2, 4, 6),
        "lengths": column(2, 2, 2, 2),
        **changes,
    }
    with pytest.raises(error) as caught:
        await session.store.set_virtual_refs_arr_async(**arguments)
    assert getattr(caught.value, "kind", None) == kind
    assert session.status() == before


@pytest.mark.parametrize(
    ("last", "error", "kind"),
    [
        (VirtualChunkSpec([4], "vcc://files/one.bin", 0, 2), InvalidInputError, "invalid-chunk-index"),
        (VirtualChunkSpec([0, 0], "vcc://files/one.bin", 0, 2), InvalidInputError, "invalid-chunk-index"),
        (VirtualChunkSpec([1], "vcc://files/one.bin", 0, 0), InvalidInputError, "zero-length-chunk"),
        (VirtualChunkSpec([1], "", 0, 2), InvalidInputError, "invalid-virtual-ref"),
        (VirtualChunkSpec([1], "vcc://files/one.bin", 0, 2, ""), InvalidInputError, "invalid-virtual-ref"),
        (3, TypeError, None),
        (None, TypeError, None),
    ],
)
async def test_specs_that_do_not_fit_change_nothing_async(
    files: Path, last: Any, error: type[Exception], kind: str | None
) -> None:
    """The good ones are not stored before the bad one is found."""
    session = await writing_async(files)
    before = session.status()
    good = VirtualChunkSpec([0], "vcc://files/one.bin", 0, 2)
    with pytest.raises(error) as caught:
        await session.store.set_virtual_refs_async("g/a", [good, last])
    assert getattr(caught.value, "kind", None) == kind
    assert session.status() == before


@pytest.mark.parametrize("chunks", [None, "ab", {}, iter([])])
async def test_specs_come_in_a_list_async(files: Path, chunks: Any) -> None:
    session = await writing_async(files)
    with pytest.raises(TypeError, match="list of VirtualChunkSpec"):
        await session.store.set_virtual_refs_async("g/a", chunks)


async def test_rejected_specs_are_hard_to_miss_async(files: Path) -> None:
    """They are returned, and there is a warning; the others are stored."""
    session = await writing_async(files)
    specs = [
        VirtualChunkSpec([3], "s3://bucket/key", 0, 2),
        VirtualChunkSpec([0], f"file://{files}/one.bin", 4, 2),
        VirtualChunkSpec([9], "vcc://files//key", 0, 0),
    ]
    with pytest.warns(UserWarning, match=r"2 of 3 virtual references of `/g/a`.* at \[3\].*s3://") as caught:
        assert await session.store.set_virtual_refs_async("g/a", specs) == [(3,), (9,)]
    assert caught[0].filename == __file__
    assert (await read_async(session, "g/a")).tolist() == [4, 5, 0, 0, 0, 0, 0, 0]


async def test_rejected_columns_are_hard_to_miss_async(files: Path) -> None:
    """The same with columns, and what is absent is not rejected."""
    session = await writing_async(files)
    places = [f"file://{files}/one.bin", "", "vcc://nobody/key"]
    arguments: dict[str, Any] = {"arr_offset": (1,), "checksum": NEXT_HOUR}
    with pytest.warns(UserWarning, match=r"1 of 2 virtual references.* at \[3\].*nobody") as caught:
        rejected = await session.store.set_virtual_refs_arr_async(
            "g/a", (3,), places, column(4, 0, 0), column(2, 0, 2), **arguments
        )
    assert rejected == [(3,)]
    assert caught[0].filename == __file__
    assert (await read_async(session, "g/a")).tolist() == [0, 0, 4, 5, 0, 0, 0, 0]
    stored = await session.store.set_virtual_refs_arr_async(
        "g/a", (3,), places, column(4, 0, 0), column(2, 0, 2), **arguments, validate_containers=False
    )
    assert stored is None


@pytest.mark.filterwarnings("error:.*rejected:UserWarning")
async def test_a_warning_made_an_error_comes_before_anything_is_stored_async(files: Path) -> None:
    session = await writing_async(files)
    before = session.status()
    with pytest.raises(UserWarning, match="rejected and not stored"):
        await session.store.set_virtual_refs_arr_async(
            "g/a", (2,), [f"file://{files}/one.bin", "s3://b/k"], column(0, 0), column(2, 2)
        )
    assert session.status() == before


async def test_nothing_to_store_is_no_change_async(files: Path) -> None:
    repo = await repository_async(files)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (0,), chunks=(2,), dtype="u1")
    await session.commit_async("array")
    session = await repo.writable_session_async("main")
    await session.store.set_virtual_refs_async("a", [])
    await session.store.set_virtual_refs_arr_async("a", (0,), [], column(), column())
    await session.store.set_virtual_refs_arr_async("a", (1,), [""], column(0), column(0))
    assert not session.has_uncommitted_changes
    with pytest.raises(NodeNotFoundError):
        await session.store.set_virtual_refs_async("nope", [])


async def test_the_last_of_several_for_one_chunk_counts_async(files: Path) -> None:
    session = await writing_async(files)
    place = f"file://{files}/one.bin"
    specs = [VirtualChunkSpec([n % 2], place, 10 * n, 2) for n in (4, 2, 3, 1, 5)]
    await session.store.set_virtual_refs_async("g/a", specs)
    assert (await read_async(session, "g/a"))[:4].tolist() == [20, 21, 50, 51]


async def test_a_store_that_reads_sets_nothing_async(files: Path) -> None:
    repo = await repository_async(files)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (2,), chunks=(2,), dtype="u1")
    limited = session.store.with_read_only(True)
    await session.commit_async("array")
    for store in ((await repo.readonly_session_async("main")).store, limited):
        with pytest.raises(ReadOnlyError) as caught:
            await store.set_virtual_ref_async("a/c/0", "vcc://files/x", offset=0, length=2)
        assert caught.value.kind == "read-only-store"
        with pytest.raises(ReadOnlyError) as caught:
            await store.set_virtual_refs_async("a", [])
        assert caught.value.kind == "read-only-store"
        with pytest.raises(ReadOnlyError) as caught:
            await store.set_virtual_refs_arr_async("a", (0,), [], column(), column())
        assert caught.value.kind == "read-only-store"
    mover = await repo.rearrange_session_async("main")
    with pytest.raises(SessionStateError) as refused:
        await mover.store.set_virtual_refs_async("a", [])
    assert refused.value.kind == "rearrange-session-only"


async def test_more_references_than_are_checked_at_once_async(files: Path) -> None:
    """Above a size they are checked in a thread; what is wrong is found there as well."""
    session = await writing_async(files, (2**17,), 1)
    count = 2**17
    offsets, lengths = np.arange(count, dtype="u8") % 200, np.ones(count, "u8")
    places = [f"file://{files}/{('one', 'two')[number % 2]}.bin" for number in range(count)]
    await session.store.set_virtual_refs_arr_async("g/a", (count,), places, offsets, lengths)
    lengths[77_777] = 0
    with pytest.raises(InvalidInputError, match="77777"):
        await session.store.set_virtual_refs_arr_async("g/a", (count,), places, offsets, lengths)
    await session.commit_async("many")
    array = await open_array_async(session, "g/a", "r")
    assert (await read_part_async(array, slice(198, 202))).tolist() == [198, 199, 0, 1]
    places = await session.all_virtual_chunk_locations_async()
    assert len(places) == count
    assert len(set(map(id, places))) == 2


async def test_setters_take_turns_with_other_threads_async(files: Path) -> None:
    """Threads that write chunks, and one that sets references of others: nothing is lost."""
    session = await writing_async(files, (64,), 1)
    store = session.store
    place = f"file://{files}/one.bin"

    def refer() -> None:
        for start in range(0, 64, 16):
            store.set_virtual_refs_arr(
                "g/a",
                (8,),
                [place] * 8,
                np.arange(start, start + 8, dtype="u8"),
                np.ones(8, "u8"),
                arr_offset=(start,),
            )

    thread = threading.Thread(target=refer)
    thread.start()
    array = await open_array_async(session, "g/a")
    for start in range(8, 64, 16):
        await write_async(array, slice(start, start + 8), np.arange(start, start + 8, dtype="u1"))
    thread.join()
    assert (await read_async(session, "g/a")).tolist() == list(range(64))
