"""Rebases, amends and commits that rebase, cancelled at each of their requests: done, or to be repeated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import icechunk
from icechunk import ConflictDetector, Repository, Session
from icechunk.testing.faults import Faults, faulty_storage
from tests.trees import Edit, array, content_async, edit_async, group

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from icechunk.testing.faults import Moment

DETECTOR = ConflictDetector()
OURS: list[Edit] = [("a/c/0", b"us"), ("ours/zarr.json", group())]
THEIRS: list[Edit] = [("a/c/1", b"them"), ("theirs/zarr.json", group())]
BEFORE: list[Edit] = [("zarr.json", group()), ("a/zarr.json", array(4)), ("a/c/0", b"before")]


@pytest.fixture(params=["before", "after"])
def moment(request: pytest.FixtureRequest) -> Moment:
    """Whether the storage has done what it was asked for when the cancellation comes."""
    found: Moment = request.param
    return found


@pytest.fixture(params=["memory", "local"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[icechunk.Storage]:
    if request.param == "memory":
        yield icechunk.in_memory_storage()
    else:
        yield icechunk.local_filesystem_storage(tmp_path / "repository")


async def begun(repo: Repository, edits: list[Edit]) -> Session:
    session = await repo.writable_session_async("main")
    await edit_async(session, edits)
    return session


async def got_through(
    faults: Faults, coroutine: Coroutine[Any, Any, Any], place: int, moment: Moment
) -> bool:
    """Cancel a coroutine at a request; whether it came to its end before that."""
    faults.clear()
    faults.delay(seconds=0.0005)
    task = asyncio.ensure_future(coroutine)
    faults.call("*", "*", task.cancel, moment=moment, skip=place)
    await asyncio.wait([task])
    faults.clear()
    if task.cancelled():
        return False
    task.result()
    return True


async def test_a_cancelled_rebase_is_done_or_has_not_begun(inner: icechunk.Storage, moment: Moment) -> None:
    faults = Faults()
    others = await Repository.create_async(inner)
    start = await (await begun(others, BEFORE)).commit_async("before")
    expected = {**dict(BEFORE), **dict(THEIRS), **dict(OURS)}
    outcomes = []
    for place in range(40):
        await others.reset_branch_async("main", start)
        repo = await Repository.open_async(faulty_storage(inner, faults))
        session = await begun(repo, OURS)
        for edit in THEIRS:
            tip = await (await begun(others, [edit])).commit_async("theirs")
        through = await got_through(faults, session.rebase_async(DETECTOR), place, moment)
        outcomes.append(session.snapshot_id)
        assert session.snapshot_id in (start, tip)
        assert not (through and session.snapshot_id == start)
        assert session.status().new_groups == {"/ours"}
        if session.snapshot_id == start:
            assert await content_async(session) == {**dict(BEFORE), **dict(OURS)}
            await session.rebase_async(DETECTOR)
        assert await content_async(session) == expected
        await session.commit_async("ours")
        assert await content_async(await others.readonly_session_async("main")) == expected
        if through:
            break
    assert start in outcomes
    assert 2 < len(outcomes) < 40


COMMITS: dict[str, Callable[[Session], Coroutine[Any, Any, str]]] = {
    "rebased": lambda session: session.commit_async("ours", rebase_with=DETECTOR),
    "amended": lambda session: session.amend_async("ours"),
    "flushed": lambda session: session.flush_async("ours"),
}


@pytest.mark.parametrize("how", COMMITS)
async def test_a_cancelled_commit_has_landed_or_can_be_repeated(
    inner: icechunk.Storage, moment: Moment, how: str
) -> None:
    faults = Faults()
    others = await Repository.create_async(inner)
    start = await (await begun(others, BEFORE)).commit_async("before")
    theirs = THEIRS if how == "rebased" else []
    expected = {**dict(BEFORE), **dict(theirs), **dict(OURS)}
    landed = repeated = 0
    for place in range(60):
        await others.reset_branch_async("main", start)
        repo = await Repository.open_async(faulty_storage(inner, faults))
        session = await begun(repo, OURS)
        for edit in theirs:
            await (await begun(others, [edit])).commit_async("theirs")
        known = [info.id async for info in others.async_ancestry(branch="main")]
        through = await got_through(faults, COMMITS[how](session), place, moment)
        if session.read_only:
            landed += 1
        else:
            repeated += 1
            assert not through
            assert [info.id async for info in others.async_ancestry(branch="main")] == known
            assert session.status().new_groups == {"/ours"}
            await COMMITS[how](session)
        history = [info.id async for info in others.async_ancestry(snapshot_id=session.snapshot_id)]
        assert history == [session.snapshot_id, *(known[1:] if how == "amended" else known)]
        assert await others.lookup_branch_async("main") == (
            start if how == "flushed" else session.snapshot_id
        )
        reader = await others.readonly_session_async(snapshot_id=session.snapshot_id)
        assert await content_async(reader) == expected
        if through:
            break
    assert landed
    assert repeated > 2
    assert place < 59
