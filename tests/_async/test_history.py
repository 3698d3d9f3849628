"""Looking back: what changed between two snapshots, in both spec versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr.api.asynchronous

import icechunk
from icechunk import (
    Diff,
    FormatError,
    IcechunkError,
    InvalidInputError,
    RefNotFoundError,
    Repository,
    StorageError,
)
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import (
    create_array_async,
    delete_node_async,
    get_key_async,
    open_array_async,
    write_async,
)
from tests.compat import golden

INITIAL = "1CECHNKREP0F1RSTCMT0"
UNKNOWN = "00000000000000000000"


async def write_chunks_async(repo: Repository, name: str, chunks: slice, branch: str = "main") -> str:
    """Commit chunks of an array of 8, which is made where it is missing."""
    session = await repo.writable_session_async(branch)
    if await get_key_async(session, f"{name}/zarr.json") is not None:
        array = await open_array_async(session, name)
    else:
        array = await create_array_async(session, name, (8,), chunks=(1,))
    await write_async(array, chunks, np.full(8, 7, "i4")[chunks])
    return await session.commit_async(f"write {name}")


async def test_a_diff_joins_the_logs_of_all_commits_in_between_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    first = await write_chunks_async(repo, "kept", slice(0, 2))
    session = await repo.writable_session_async("main")
    await zarr.api.asynchronous.open_group(session.store, path="g", mode="a")
    scalar = await create_array_async(session, "g/scalar", ())
    await write_async(scalar, (), np.array(1, "i4"))
    plane = await create_array_async(session, "g/plane", (4, 4), chunks=(2, 2))
    await write_async(plane, (slice(0, 2), slice(0, 4)), np.ones((2, 4), "i4"))
    second = await session.commit_async("more")
    third = await write_chunks_async(repo, "kept", slice(1, 4))
    session = await repo.writable_session_async("main")
    group = await zarr.api.asynchronous.open_group(session.store, path="g", mode="r+")
    await group.update_attributes({"a": 1})
    plane = await open_array_async(session, "g/plane")
    await plane.update_attributes({"b": 2})
    await write_async(plane, (3, 3), np.array(5, "i4"))
    fourth = await session.commit_async("update")

    whole = await repo.diff_async(from_snapshot_id=INITIAL, to_branch="main")
    assert whole == Diff(
        new_groups={"/", "/g"},
        new_arrays={"/kept", "/g/scalar", "/g/plane"},
        updated_groups={"/g"},
        updated_arrays={"/g/plane"},
        updated_chunks={
            "/g/plane": [[0, 0], [0, 1], [1, 1]],
            "/g/scalar": [[]],
            "/kept": [[0], [1], [2], [3]],
        },
    )
    assert list(whole.updated_chunks) == sorted(whole.updated_chunks)
    await repo.create_tag_async("second", second)
    assert await repo.diff_async(from_tag="second", to_snapshot_id=third) == Diff(
        updated_chunks={"/kept": [[1], [2], [3]]}
    )
    assert await repo.diff_async(from_snapshot_id=third, to_snapshot_id=fourth) == Diff(
        updated_groups={"/g"}, updated_arrays={"/g/plane"}, updated_chunks={"/g/plane": [[1, 1]]}
    )
    assert (await repo.diff_async(from_snapshot_id=first, to_tag="second")).updated_chunks == {
        "/g/plane": [[0, 0], [0, 1]],
        "/g/scalar": [[]],
    }


async def test_an_empty_commit_changes_nothing_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await session.commit_async("nothing", allow_empty=True)
    diff = await repo.diff_async(from_snapshot_id=INITIAL, to_branch="main")
    assert diff.is_empty()
    assert str(diff) == ""


async def test_nodes_have_the_paths_of_the_end_or_else_of_the_beginning_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Logs name nodes by ids: what came and went in between has no path at either end."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    await write_chunks_async(repo, "gone", slice(0, 1))
    start = await write_chunks_async(repo, "changed then gone", slice(0, 1))
    await write_chunks_async(repo, "changed then gone", slice(3, 4))
    middle = await write_chunks_async(repo, "passing", slice(0, 1))
    session = await repo.writable_session_async("main")
    for name in ("gone", "changed then gone", "passing"):
        await delete_node_async(session, name)
    end = await session.commit_async("delete")
    assert await repo.diff_async(from_snapshot_id=start, to_snapshot_id=end) == Diff(
        deleted_arrays={"/gone", "/changed then gone"}, updated_chunks={"/changed then gone": [[3]]}
    )
    assert await repo.diff_async(from_snapshot_id=middle, to_snapshot_id=end) == Diff(
        deleted_arrays={"/gone", "/changed then gone", "/passing"}
    )


async def test_an_array_that_was_deleted_and_made_again_has_the_chunks_of_both_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    start = await write_chunks_async(repo, "a", slice(0, 8))
    await write_chunks_async(repo, "a", slice(0, 2))
    session = await repo.writable_session_async("main")
    await delete_node_async(session, "a")
    array = await create_array_async(session, "a", (8,), chunks=(1,))
    await write_async(array, slice(1, 3), np.array([8, 8], "i4"))
    await session.commit_async("again")
    assert await repo.diff_async(from_snapshot_id=start, to_branch="main") == Diff(
        new_arrays={"/a"}, deleted_arrays={"/a"}, updated_chunks={"/a": [[0], [1], [2]]}
    )


async def test_an_array_made_again_with_more_dimensions_has_the_chunks_of_the_later_one_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Coordinates of either would mean nothing to the other one."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    start = await repo.lookup_branch_async("main")
    for shape in ((), (2,), (2, 2), (2,)):
        session = await repo.writable_session_async("main")
        if shape:
            await delete_node_async(session, "a")
        array = await create_array_async(session, "a", shape, chunks=(1,) * len(shape))
        await write_async(array, ..., np.ones(shape, "i4"))
        await session.commit_async("again")
        diff = await repo.diff_async(from_snapshot_id=start, to_branch="main")
        assert diff.updated_chunks == {"/a": [list(index) for index in np.ndindex(shape)]}


async def test_a_diff_goes_from_an_ancestor_to_what_was_built_on_it_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    first = await write_chunks_async(repo, "a", slice(0, 1))
    await repo.create_branch_async("dev", first)
    on_main = await write_chunks_async(repo, "a", slice(1, 2))
    on_dev = await write_chunks_async(repo, "a", slice(2, 3), branch="dev")
    for start, end in ((on_main, first), (on_main, on_dev), (on_main, on_main), (INITIAL, INITIAL)):
        with pytest.raises(InvalidInputError, match=rf"{start}.*{end}") as refused:
            await repo.diff_async(from_snapshot_id=start, to_snapshot_id=end)
        assert refused.value.kind == "bad-snapshot-chain-for-diff"
    from_root = await repo.diff_async(from_snapshot_id=INITIAL, to_branch="dev")
    assert from_root.updated_chunks == {"/a": [[0], [2]]}


async def test_what_a_diff_is_asked_of_has_to_exist_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    await write_chunks_async(repo, "a", slice(0, 1))
    for names in (
        {"from_branch": "nowhere", "to_branch": "main"},
        {"from_snapshot_id": INITIAL, "to_tag": "nowhere"},
    ):
        with pytest.raises(RefNotFoundError) as missing:
            await repo.diff_async(**names)
        assert missing.value.kind == "ref-not-found"
    for names in (
        {"from_snapshot_id": UNKNOWN, "to_branch": "main"},
        {"from_snapshot_id": INITIAL, "to_snapshot_id": UNKNOWN},
    ):
        with pytest.raises(IcechunkError) as unknown:
            await repo.diff_async(**names)
        assert unknown.value.kind == ("snapshot-not-found" if spec_version == 2 else "object-not-found")
    with pytest.raises(InvalidInputError) as malformed:
        await repo.diff_async(from_snapshot_id=UNKNOWN, to_snapshot_id="no id")
    assert malformed.value.kind == "invalid-snapshot-id"
    selectors: list[dict[str, Any]] = [
        {},
        {"from_branch": "main"},
        {"to_branch": "main"},
        {"from_branch": "main", "from_tag": "a", "to_branch": "main"},
        {"from_branch": "main", "to_branch": "main", "to_snapshot_id": INITIAL},
    ]
    for given in selectors:
        with pytest.raises(ValueError, match="exactly one"):
            await repo.diff_async(**given)


async def test_logs_are_fetched_several_at_a_time_but_not_all_at_once_async(spec_version: int) -> None:
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage, spec_version=spec_version)
    for number in range(80):
        await write_chunks_async(repo, "a", slice(number % 8, number % 8 + 1))
    reader = await Repository.open_async(storage)
    faults.clear()
    faults.delay("get", "transactions/*", seconds=0.01)
    diff = await reader.diff_async(from_snapshot_id=INITIAL, to_branch="main")
    assert diff.updated_chunks == {"/a": [[number] for number in range(8)]}
    assert faults.count("get", "transactions/*") == 80
    assert 8 < faults.most_at_once <= 32
    # Both ends are looked up in one and the same state of the repository.
    assert faults.count("get_versioned", "repo") == (1 if spec_version == 2 else 0)


async def test_a_lost_log_is_an_error_async(tmp_path: Path, spec_version: int) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = await Repository.create_async(storage, spec_version=spec_version)
    tip = await write_chunks_async(repo, "a", slice(0, 1))
    (tmp_path / "transactions" / tip).unlink()
    reader = await Repository.open_async(storage)
    with pytest.raises(StorageError, match=tip) as lost:
        await reader.diff_async(from_snapshot_id=INITIAL, to_branch="main")
    assert lost.value.kind == "object-not-found"


async def test_the_first_snapshot_of_spec_1_has_no_log_and_needs_none_async(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = await Repository.create_async(storage, spec_version=1)
    await write_chunks_async(repo, "a", slice(0, 1))
    assert INITIAL not in [path.name for path in (tmp_path / "transactions").iterdir()]
    diff = await repo.diff_async(from_snapshot_id=INITIAL, to_branch="main")
    assert diff.new_arrays == {"/a"}


async def test_logs_of_expired_snapshots_count_and_lost_ones_are_named_async(tmp_path: Path) -> None:
    """After an expiration the diff over it is complete; where an old release lost logs it says so."""
    unpacked = golden.unpack("spec-2", tmp_path)
    storage = icechunk.local_filesystem_storage(unpacked.path)
    repo = await Repository.open_async(storage)
    first, *_ = [info.id async for info in repo.async_ancestry(branch="main")][-2:]
    whole = await repo.diff_async(from_snapshot_id=INITIAL, to_snapshot_id=first)
    expected = unpacked.expected["diffs"][f"{INITIAL}..{first}"]
    assert whole.new_arrays == set(expected["new_arrays"])
    assert whole.updated_chunks == expected["updated_chunks"]
    assert "/native" in whole.new_arrays

    released = unpacked.about["released"]
    for snapshot_id in released:
        (unpacked.path / "transactions" / snapshot_id).unlink()
    reader = await Repository.open_async(storage)
    with pytest.warns(UserWarning, match="incomplete") as warned:
        rest = await reader.diff_async(from_snapshot_id=INITIAL, to_snapshot_id=first)
    assert all(snapshot_id in str(warned[0].message) for snapshot_id in released)
    assert rest == Diff(updated_groups={"/"})


async def test_moves_come_newest_first_and_chunks_go_with_their_array_async(tmp_path: Path) -> None:
    unpacked = golden.unpack("spec-2", tmp_path)
    repo = await Repository.open_async(icechunk.local_filesystem_storage(unpacked.path))
    history = [info async for info in repo.async_ancestry(branch="main")]
    moved = next(info for info in history if info.message == "moved")
    diff = await repo.diff_async(from_snapshot_id=moved.parent_id, to_snapshot_id=moved.id)
    assert diff == Diff(
        moved_nodes=[
            ("/names/abc", "/names/abcd"),
            ("/outer/middle", "/names/middle"),
            ("/outer/middle/inner", "/names/middle/inner"),
            ("/outer/middle/inner/deep", "/names/middle/inner/deep"),
            ("/inline", "/outer/inline"),
        ]
    )
    assert "    /names/abc -> /names/abcd\n" in str(diff)
    whole = await repo.diff_async(from_snapshot_id=INITIAL, to_snapshot_id=moved.id)
    assert "/names/middle/inner/deep" in whole.updated_chunks
    assert "/outer/middle/inner/deep" not in whole.updated_chunks


async def test_the_graph_shows_all_branches_or_the_history_of_one_snapshot_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    first = await write_chunks_async(repo, "a", slice(0, 1))
    await repo.create_branch_async("dev", first)
    on_dev = await write_chunks_async(repo, "b", slice(0, 1), branch="dev")
    on_main = await write_chunks_async(repo, "c", slice(0, 1))
    await repo.create_tag_async("v1", first)
    await repo.create_tag_async("gone", first)
    await repo.delete_tag_async("gone")

    async def lines_async(**names: Any) -> list[str]:
        return str(await repo.ancestry_graph_async(plain=True, **names)).splitlines()

    assert await lines_async() == [
        f"●   {on_main[:8]} (main) write c",
        "│",
        f"│ ● {on_dev[:8]} (dev) write b",
        "│ │",
        f"●─╯ {first[:8]} (v1) write a",
        "│",
        f"●   {INITIAL[:8]} Repository initialized",
    ]
    of_dev = [
        f"● {on_dev[:8]} (dev) write b",
        "│",
        f"● {first[:8]} (v1) write a",
        "│",
        f"● {INITIAL[:8]} Repository initialized",
    ]
    assert await lines_async(branch="dev") == of_dev
    assert await lines_async(snapshot_id=on_dev) == of_dev
    assert await lines_async(tag="v1") == of_dev[2:]
    coloured = await repo.ancestry_graph_async()
    assert "\x1b[" in str(coloured)
    assert repr(coloured) == str(coloured)
    assert coloured._repr_svg_().count("<circle") == 4
    for names in ({"branch": "main", "tag": "v1"}, {"tag": "v1", "snapshot_id": first}):
        with pytest.raises(ValueError, match="exactly one"):
            await repo.ancestry_graph_async(**names)  # type: ignore[arg-type]  # plain is no name
    with pytest.raises(RefNotFoundError):
        await repo.ancestry_graph_async(tag="gone")


async def test_the_graph_of_a_long_history_stops_at_a_hundred_snapshots_async(spec_version: int) -> None:
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage, spec_version=spec_version)
    for number in range(120):
        session = await repo.writable_session_async("main")
        await session.commit_async(f"number {number}", allow_empty=True)
    reader = await Repository.open_async(storage)
    faults.clear()
    lines = str(await reader.ancestry_graph_async(plain=True)).splitlines()
    shown = [line.split()[-1] for line in lines if line.startswith("●")]
    assert shown == [str(number) for number in range(119, 19, -1)]
    if spec_version == 2:
        assert lines[-1] == "  ... (showing 100 of 121 snapshots)"
        assert faults.count("get*") == 1
    else:
        # How many more there are is not known without reading them.
        assert lines[-1] == "  ... (showing the newest 100 snapshots, there are more)"
        assert faults.count("get", "snapshots/*") == 101


async def test_parents_in_a_circle_are_not_followed_for_ever_async(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = await Repository.create_async(storage, spec_version=1)
    first = await write_chunks_async(repo, "a", slice(0, 1))
    second = await write_chunks_async(repo, "a", slice(1, 2))
    # The file of the second snapshot now says that its parent is the first, whose file it stands in.
    content = (tmp_path / "snapshots" / second).read_bytes()
    (tmp_path / "snapshots" / first).write_bytes(content)
    reader = await Repository.open_async(storage)
    with pytest.raises(FormatError, match="circle") as caught:
        [info async for info in reader.async_ancestry(branch="main")]
    assert caught.value.kind == "invalid-file-format"


async def test_wrong_arguments_are_refused_before_anything_is_iterated_async() -> None:
    repo = await Repository.create_async(icechunk.in_memory_storage())
    with pytest.raises(ValueError, match="exactly one"):
        repo.async_ancestry()
    with pytest.raises(InvalidInputError):
        repo.async_ancestry(snapshot_id="no id")
    old = await Repository.create_async(icechunk.in_memory_storage(), spec_version=1)
    with pytest.raises(FormatError):
        old.ops_log_async()
