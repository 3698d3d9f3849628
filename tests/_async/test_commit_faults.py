"""Commits over a storage that fails: nothing is lost, nothing is half, and the session goes on."""

from __future__ import annotations

import pytest

import icechunk
from icechunk import Repository, RepositoryConfig, StorageError
from icechunk._core.preconditions import PreconditionFailed
from icechunk._io.clock import now_us, use_clock
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array_async, read_async, write_async

NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)


@pytest.mark.parametrize("key", ["manifests/*", "snapshots/*", "transactions/*"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_failed_write_of_a_commit_changes_nothing_async(
    spec_version: int, key: str, moment: str
) -> None:
    """The failure is raised, no ref has moved, and the same session commits later."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = await Repository.create_async(faulty_storage(inner, faults), NATIVE, spec_version=spec_version)
    base = await repo.lookup_branch_async("main")
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (4,), chunks=(2,))
    await write_async(array, ..., [1, 2, 3, 4])
    faults.fail("put", key, moment=moment)  # type: ignore[arg-type]  # one of two literals
    with pytest.raises(StorageError, match="injected"):
        await session.commit_async("fails")
    assert await repo.lookup_branch_async("main") == base
    assert session.has_uncommitted_changes
    assert (session.branch, session.read_only) == ("main", False)
    await session.commit_async("lands")
    reader = await (await Repository.open_async(inner)).readonly_session_async("main")
    assert (await read_async(reader, "a")).tolist() == [1, 2, 3, 4]


async def test_a_failed_write_of_a_chunk_is_raised_and_not_recorded_async(spec_version: int) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = await Repository.create_async(faulty_storage(inner, faults), NATIVE, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (2,), chunks=(2,))
    faults.fail("put", "chunks/*")
    with pytest.raises(StorageError, match="injected"):
        await write_async(array, ..., [1, 2])
    assert session.status().updated_chunks == {}
    await write_async(array, ..., [3, 4])
    await session.commit_async("lands")
    reader = await (await Repository.open_async(inner)).readonly_session_async("main")
    assert (await read_async(reader, "a")).tolist() == [3, 4]


async def test_a_commit_whose_answer_was_lost_is_not_a_conflict_with_itself_async() -> None:
    """Not even when somebody else has committed on top of it before we look again."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = await Repository.create_async(faulty_storage(inner, faults), spec_version=2)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "ours", (2,))
    landed: list[str] = []

    def commit_on_top_and_lose_the_answer() -> None:
        rival = Repository.open(inner).writable_session("main")
        landed.append(rival.snapshot_id)
        landed.append(rival.commit("theirs", allow_empty=True))
        raise PreconditionFailed("repo")

    faults.call("put_conditional", "repo", commit_on_top_and_lose_the_answer, moment="after")
    ours = await session.commit_async("ours")
    assert landed[0] == ours
    history = [info.id async for info in repo.async_ancestry(branch="main")]
    assert history[:2] == [landed[1], ours]
    assert len(history) == 3


def pointer(spec_version: int) -> str:
    """The object that a commit replaces at last."""
    return "repo" if spec_version == 2 else "refs/branch.main/ref.json"


@pytest.mark.parametrize("rebase_with", [None, icechunk.ConflictDetector()], ids=["plain", "rebase"])
@pytest.mark.parametrize("on_top", [False, True], ids=["tip", "ancestor"])
async def test_a_commit_that_failed_and_has_landed_is_found_by_the_next_one_async(
    spec_version: int, on_top: bool, rebase_with: icechunk.ConflictSolver | None
) -> None:
    """It is neither a conflict of the session with itself, nor committed twice."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = await Repository.create_async(faulty_storage(inner, faults), spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await write_async(await create_array_async(session, "a", (4,), chunks=(2,)), ..., [1, 2, 3, 4])
    faults.fail("put_conditional", pointer(spec_version), moment="after")
    with pytest.raises(StorageError, match="injected"):
        await session.commit_async("ours", rebase_with=rebase_with)
    tip = await repo.lookup_branch_async("main")
    if on_top:
        other = await (await Repository.open_async(inner)).writable_session_async("main")
        await other.commit_async("theirs", allow_empty=True)
    assert await session.commit_async("ours", rebase_with=rebase_with) == tip
    assert (session.read_only, session.snapshot_id) == (True, tip)
    messages = [info.message async for info in repo.async_ancestry(branch="main")]
    assert messages == ["theirs"] * on_top + ["ours", "Repository initialized"]
    assert (await read_async(session, "a")).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_changes_after_a_commit_that_failed_are_never_taken_for_committed_async(
    spec_version: int, moment: str
) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = await Repository.create_async(faulty_storage(inner, faults), spec_version=spec_version)
    session = await repo.writable_session_async("main")
    array = await create_array_async(session, "a", (4,), chunks=(2,))
    faults.fail("put_conditional", pointer(spec_version), moment=moment)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="injected"):
        await session.commit_async("fails")
    await write_async(array, ..., [1, 2, 3, 4])
    if moment == "after":
        with pytest.raises(icechunk.ConflictError):
            await session.commit_async("more")
    else:
        await session.commit_async("more")
    assert (await read_async(session, "a")).tolist() == [1, 2, 3, 4]


async def test_races_for_the_repo_object_are_run_again_until_won_async() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = await Repository.create_async(faulty_storage(inner, faults), spec_version=2)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (2,))
    others = await Repository.open_async(inner)
    names = iter(range(8))

    def interfere() -> None:
        others.create_tag(f"tag {next(names)}", "1CECHNKREP0F1RSTCMT0")

    faults.call("put_conditional", "repo", interfere, times=8)
    await session.commit_async("after eight lost races")
    assert len(await repo.list_tags_async()) == 8
    assert faults.count("put_conditional", "repo") == 1 + 9


async def test_losing_every_race_is_an_error_that_says_so_async() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    retries = icechunk.RepoUpdateRetryConfig(
        default=icechunk.StorageRetriesSettings(max_tries=3, initial_backoff_ms=1, max_backoff_ms=1)
    )
    repo = await Repository.create_async(
        faulty_storage(inner, faults), RepositoryConfig(repo_update_retries=retries), spec_version=2
    )
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (2,))
    faults.fail("put_conditional", "repo", error=PreconditionFailed("repo"), times=None)
    with pytest.raises(icechunk.ConflictError) as caught:
        await session.commit_async("never lands")
    assert caught.value.kind == "update-attempts-exhausted"
    faults.clear()
    await session.commit_async("lands")


async def test_clocks_that_are_minutes_apart_refuse_a_commit_async(spec_version: int) -> None:
    """Times in the history would be nonsense; the message says by how much the clocks differ."""
    storage = icechunk.in_memory_storage()
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (2,))

    started = now_us()
    ticks = iter(range(10**6))
    with (
        use_clock(lambda: started + 700_000_000 * next(ticks)),
        pytest.raises(icechunk.FormatError) as caught,
    ):
        await session.commit_async("when?")
    assert caught.value.kind == "snapshot-timestamp"
    assert "seconds from the clock" in str(caught.value)
    await session.commit_async("now")


async def test_a_clock_that_stepped_back_keeps_time_increasing_async(spec_version: int) -> None:
    storage = icechunk.in_memory_storage()
    repo = await Repository.create_async(storage, spec_version=spec_version)
    an_hour_ago = now_us() - 3_600_000_000
    with use_clock(lambda: an_hour_ago):
        for number in range(3):
            session = await repo.writable_session_async("main")
            await session.commit_async(f"{number}", allow_empty=True)
    times = [info.written_at async for info in repo.async_ancestry(branch="main")]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 4
