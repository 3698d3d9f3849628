"""Coroutines that are cancelled wherever they wait leave nothing half done, and can be awaited again.

An operation is run once for each place where it can be cancelled: at its first wait, its second, and so on,
until it gets through. The storage waits a little in every request, so each request is such a place.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
import zarr.api.asynchronous
from zarr.core.buffer import cpu, default_buffer_prototype

import icechunk
from icechunk import ConflictError, Repository, RepositoryConfig, Session
from icechunk.testing.faults import Faults, faulty_storage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator
    from pathlib import Path

    from icechunk.testing.faults import Moment

GotThrough = Callable[..., Awaitable[bool]]
PROTOTYPE = default_buffer_prototype()
NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)
WAIT = 0.0005
MOST_PLACES = 400


def buffer(number: int) -> cpu.Buffer:
    """A chunk of four times one number."""
    return cpu.Buffer.from_bytes(np.full(4, number, "<i4").tobytes())


@pytest.fixture
def faults() -> Faults:
    faults = Faults()
    faults.delay(seconds=WAIT)
    return faults


@pytest.fixture
def storage(tmp_path: Path, faults: Faults) -> icechunk.Storage:
    """A directory, where work goes on in threads when nobody waits for it any more."""
    return faulty_storage(icechunk.local_filesystem_storage(tmp_path / "repository"), faults)


class CancelledAt:
    """Awaits a coroutine in the running task, and cancels that task at waits of given numbers.

    With `late`, a cancellation comes together with what is waited for: it has happened, and nobody is told.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], places: list[int], late: bool) -> None:
        self.coroutine = coroutine
        self.places = places
        self.late = late

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        waits = 0
        error: BaseException | None = None
        while True:
            try:
                awaited = self.coroutine.send(None) if error is None else self.coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            if waits in self.places:
                if self.late and awaited is not None:
                    # Called before the task's own callback, which is added when the future is yielded.
                    awaited.add_done_callback(lambda _: task.cancel())
                else:
                    task.cancel()
            waits += 1
            try:
                yield awaited
            except BaseException as raised:
                error = raised
            else:
                error = None


MOMENTS = ["at a wait", "with an answer", "at a request", "after a request"]


@pytest.fixture(params=MOMENTS)
def got_through(request: pytest.FixtureRequest, faults: Faults) -> GotThrough:
    """Run an operation that is cancelled at a place; whether it came to its end before that.

    Places are the waits of the operation itself, and the requests to the storage that are made for it, also
    those that it has made in other tasks. The cancellation comes at once, or when what is asked for has been
    done. A second one follows `again` places later, as when somebody loses patience twice.
    """

    async def run(coroutine: Coroutine[Any, Any, Any], place: int, again: int | None = None) -> bool:
        places = [place] if again is None else [place, place + again]
        if "request" in request.param:
            task = asyncio.ensure_future(coroutine)
            moment: Moment = "after" if "after" in request.param else "before"
            for each in places:
                faults.call("*", "*", task.cancel, moment=moment, skip=each)
        else:
            task = asyncio.ensure_future(cancelled_at(coroutine, places, "answer" in request.param))
        await asyncio.wait([task])
        faults.clear()
        faults.delay(seconds=WAIT)
        if task.cancelled():
            return False
        task.result()
        return True

    return run


async def cancelled_at(coroutine: Coroutine[Any, Any, Any], places: list[int], late: bool) -> None:
    await CancelledAt(coroutine, places, late)


async def places() -> AsyncIterator[int]:
    for place in range(MOST_PLACES):
        yield place
    pytest.fail("the operation never gets through")


async def create_array(session: Session, name: str, chunks: int = 8) -> None:
    await zarr.api.asynchronous.create_array(
        session.store,
        name=name,
        shape=(4 * chunks,),
        chunks=(4,),
        dtype="i4",
        fill_value=-1,
        compressors=None,
        filters=None,
    )


async def values(session: Session, name: str) -> list[int]:
    """One value of each chunk."""
    array = await zarr.api.asynchronous.open_array(store=session.store, path=name, mode="r")
    found: Any = await array.getitem(slice(None, None, 4))
    return list(found.tolist())


async def check_repository(storage: icechunk.Storage, expected: dict[str, list[int]]) -> None:
    """What is at the tip, read by somebody who comes anew; and that all of the history can be read."""
    repo = await Repository.open_async(storage)
    session = await repo.readonly_session_async("main")
    assert {name: await values(session, name) for name in expected} == expected
    async for info in repo.async_ancestry(branch="main"):
        session = await repo.readonly_session_async(snapshot_id=info.id)
        async for key in session.store.list():
            assert await session.store.get(key, PROTOTYPE) is not None


async def history(repo: Repository) -> list[str]:
    return [info.id async for info in repo.async_ancestry(branch="main")]


async def test_a_cancelled_commit_is_done_or_can_be_repeated(
    storage: icechunk.Storage, got_through: GotThrough
) -> None:
    await check_cancelled_commits(storage, got_through)


async def test_a_commit_that_is_cancelled_twice_is_done_or_can_be_repeated(
    got_through: GotThrough, faults: Faults
) -> None:
    await check_cancelled_commits(faulty_storage(icechunk.in_memory_storage(), faults), got_through, again=2)


async def check_cancelled_commits(
    storage: icechunk.Storage, got_through: GotThrough, again: int | None = None
) -> None:
    repo = await Repository.create_async(storage, NATIVE)
    session = await repo.writable_session_async("main")
    await create_array(session, "old")
    await create_array(session, "other")
    await session.commit_async("arrays")
    landed = repeated = 0
    async for place in places():
        before = await history(repo)
        session = await repo.writable_session_async("main")
        for name in ("old", "other"):
            await session.store.set(f"{name}/c/{place % 8}", buffer(place))
        await create_array(session, f"new{place}")
        await session.store.set(f"new{place}/c/3", buffer(place))
        through = await got_through(session.commit_async("cancelled"), place, again)

        assert not (through and not session.read_only)
        tip = await repo.lookup_branch_async("main")
        if session.read_only:
            landed += 1
            assert tip == session.snapshot_id
            with pytest.raises(icechunk.SessionStateError):
                await session.commit_async("again")
        else:
            repeated += 1
            assert tip == before[0] == session.snapshot_id
            assert session.branch == "main"
            assert session.has_uncommitted_changes
            assert await values(session, f"new{place}") == [-1, -1, -1, place, -1, -1, -1, -1]
            await session.store.set(f"new{place}/c/5", buffer(place))
            tip = await session.commit_async("repeated")
        assert await history(repo) == [tip, *before]
        expected = [-1, -1, -1, place, -1, -1, -1, -1]
        if repeated and not landed:
            expected[5] = place
        if through:
            break
        if place % 8 == 7:
            await check_repository(storage, {"old": await values(session, "old")})
    assert repeated > 1
    assert landed
    reader = await (await Repository.open_async(storage)).readonly_session_async("main")
    last = list(range(place + 1))[-8:]
    assert sorted(await values(reader, "old")) == (last if len(last) == 8 else [-1] * (8 - len(last)) + last)
    for number in range(place + 1):
        found = await values(reader, f"new{number}")
        assert found in ([-1, -1, -1, number, -1, -1, -1, -1], [-1, -1, -1, number, -1, number, -1, -1])
    await check_repository(storage, {})


async def test_a_commit_cancelled_after_any_time_is_done_or_can_be_repeated(
    storage: icechunk.Storage,
) -> None:
    """By tasks of its own and by deadlines, in threads or not, as it comes."""
    repo = await Repository.create_async(storage, NATIVE)
    chance = random.Random(0)
    committed = []
    for number in range(16):
        session = await repo.writable_session_async("main")
        await create_array(session, f"a{number}", 2)
        for chunk in range(2):
            await session.store.set(f"a{number}/c/{chunk}", buffer(number))
        delay = chance.random() * 20 * WAIT
        try:
            async with asyncio.timeout(delay):
                await session.commit_async("in time")
        except TimeoutError:
            if not session.read_only:
                await session.commit_async("later")
        assert session.read_only
        committed.append(session.snapshot_id)
    assert (await history(repo))[:-1] == committed[::-1]
    await check_repository(storage, {f"a{number}": [number] * 2 for number in range(16)})


async def test_a_conflict_is_told_though_the_commit_was_cancelled_before(
    storage: icechunk.Storage, got_through: GotThrough
) -> None:
    repo = await Repository.create_async(storage, NATIVE)
    async for place in places():
        ours = await repo.writable_session_async("main")
        theirs = await repo.writable_session_async("main")
        await create_array(ours, f"ours{place}", 1)
        await create_array(theirs, f"theirs{place}", 1)
        tip = await theirs.commit_async("first")
        try:
            through = await got_through(ours.commit_async("second"), place)
        except ConflictError:
            break
        assert not through
        assert not ours.read_only
        with pytest.raises(ConflictError) as caught:
            await ours.commit_async("again")
        assert caught.value.actual_parent == tip
        assert await repo.lookup_branch_async("main") == tip
        assert ours.has_uncommitted_changes


async def test_a_cancelled_write_is_there_or_not_and_can_be_repeated(
    storage: icechunk.Storage, got_through: GotThrough
) -> None:
    repo = await Repository.create_async(storage, NATIVE)
    session = await repo.writable_session_async("main")
    await create_array(session, "a", 64)
    await session.store.set("a/c/0", buffer(0))
    await session.commit_async("before")
    session = await repo.writable_session_async("main")
    async for place in places():
        for key in ("a/c/0", f"a/c/{place + 1}"):
            before = await session.store.get(key, PROTOTYPE)
            through = await got_through(session.store.set(key, buffer(place + 100)), place)
            found = await session.store.get(key, PROTOTYPE)
            written = found is not None and found.to_bytes() == buffer(place + 100).to_bytes()
            if through:
                assert written
            elif not written:
                assert (found and found.to_bytes()) == (before and before.to_bytes())
                assert await session.store.exists(key) == (before is not None)
                await session.store.set(key, buffer(place + 100))
        if through:
            break
    assert place
    await session.commit_async("after")
    expected = [place + 100, *range(100, place + 101), *[-1] * (62 - place)]
    await check_repository(storage, {"a": expected})


async def test_cancelled_reads_can_be_repeated(storage: icechunk.Storage, got_through: GotThrough) -> None:
    """Of a snapshot, a manifest and a chunk that nobody has read before."""
    repo = await Repository.create_async(storage, NATIVE)
    session = await repo.writable_session_async("main")
    await create_array(session, "a")
    for chunk in range(8):
        await session.store.set(f"a/c/{chunk}", buffer(chunk))
    await session.commit_async("write")

    async def read(repo: Repository) -> None:
        session = await repo.readonly_session_async("main")
        assert await values(session, "a") == list(range(8))
        assert len([key async for key in session.store.list()]) == 10

    async def open_and_read() -> None:
        await read(await Repository.open_async(storage))

    async for place in places():
        repo = await Repository.open_async(storage)
        through = await got_through(read(repo), place)
        await read(repo)
        if through:
            break
    async for place in places():
        if await got_through(open_and_read(), place):
            break
    assert place > 3


async def test_a_listing_that_is_cancelled_keeps_nothing_locked(
    storage: icechunk.Storage, got_through: GotThrough
) -> None:
    repo = await Repository.create_async(storage, NATIVE)
    session = await repo.writable_session_async("main")
    await create_array(session, "a")
    for chunk in range(8):
        await session.store.set(f"a/c/{chunk}", buffer(chunk))
    await session.commit_async("write")

    async def collect(session: Session) -> None:
        keys = [key async for key in session.store.list()]
        assert len(keys) == 10

    async for place in places():
        session = await (await Repository.open_async(storage)).writable_session_async("main")
        through = await got_through(collect(session), place)
        await collect(session)
        await session.store.set("a/c/0", buffer(place + 10))
        await session.commit_async("after a listing")
        if through:
            break


async def test_creating_a_repository_that_is_cancelled_makes_it_or_not(
    faults: Faults, got_through: GotThrough, tmp_path: Path
) -> None:
    async for place in places():
        storage = faulty_storage(icechunk.local_filesystem_storage(tmp_path / str(place)), faults)
        through = await got_through(Repository.create_async(storage), place)
        if await Repository.exists_async(storage):
            repo = await Repository.open_async(storage)
        else:
            assert not through
            repo = await Repository.create_async(storage, check_clean_root=False)
        assert len(await history(repo)) == 1
        session = await repo.writable_session_async("main")
        await create_array(session, "a")
        await session.commit_async("works")
        if through:
            break


@pytest.mark.parametrize("verb", ["create_branch", "reset_branch", "delete_tag"])
async def test_changes_of_refs_that_are_cancelled_are_made_or_not(
    storage: icechunk.Storage, verb: str, got_through: GotThrough
) -> None:
    repo = await Repository.create_async(storage)
    initial = await repo.lookup_branch_async("main")
    session = await repo.writable_session_async("main")
    await create_array(session, "a")
    tip = await session.commit_async("write")
    async for place in places():
        name = f"ref{place}"
        if verb in ("delete_branch", "reset_branch"):
            await repo.create_branch_async(name, initial)
        elif verb == "delete_tag":
            await repo.create_tag_async(name, initial)
        target = [tip] if verb in ("create_branch", "reset_branch", "create_tag") else []
        change: Callable[..., Awaitable[None]] = getattr(repo, f"{verb}_async")
        through = await got_through(change(name, *target), place)
        if verb.endswith("tag"):
            listed = await repo.list_tags_async()
        else:
            listed = await repo.list_branches_async()
        if verb == "reset_branch":
            done = await repo.lookup_branch_async(name) == tip
            assert done or await repo.lookup_branch_async(name) == initial
        else:
            done = (name in listed) == verb.startswith("create")
        assert done or not through
        if not done:
            await change(name, *target)
        if through:
            break
    await check_repository(storage, {"a": [-1] * 8})


@pytest.mark.parametrize("cancelled", range(3))
@pytest.mark.parametrize("company", ["tasks", "threads after tasks", "threads before tasks"])
@pytest.mark.parametrize("asked", ["manifest", "snapshot"])
async def test_who_is_cancelled_cancels_nobody_who_waits_for_the_same_object(
    asked: str, company: str, cancelled: int, faults: Faults
) -> None:
    """Neither on the same loop, nor on another one, nor in a thread."""
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage)
    session = await repo.writable_session_async("main")
    await create_array(session, "a")
    for chunk in range(8):
        await session.store.set(f"a/c/{chunk}", buffer(chunk))
    tip = await session.commit_async("write")
    repo = await Repository.open_async(storage)
    store = (await repo.readonly_session_async("main")).store if asked == "manifest" else None
    faults.clear()
    faults.delay("get*", f"{asked}s/*", seconds=0.08)

    async def ask(number: int) -> int:
        asked_store = store or (await repo.readonly_session_async(snapshot_id=tip)).store
        found = await asked_store.get(f"a/c/{number}", PROTOTYPE)
        assert found is not None
        return int(np.frombuffer(found.to_bytes(), "<i4")[0])

    def ask_blocking(number: int) -> int:
        asked_store = store or repo.readonly_session(snapshot_id=tip).store
        found = asked_store.get_sync(f"a/c/{number}")
        assert found is not None
        return int(np.frombuffer(found.to_bytes(), "<i4")[0])

    answers: list[int] = []
    threads: list[threading.Thread] = []

    async def start_threads() -> None:
        threads.append(threading.Thread(target=lambda: answers.append(ask_blocking(4)), daemon=True))
        threads.append(threading.Thread(target=lambda: answers.append(asyncio.run(ask(5))), daemon=True))
        for thread in threads:
            thread.start()
        await asyncio.sleep(0.005)

    if company == "threads before tasks":
        await start_threads()
    tasks = [asyncio.ensure_future(ask(number)) for number in range(3)]
    await asyncio.sleep(0.005)
    if company == "threads after tasks":
        await start_threads()
    in_time = tasks[cancelled].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)
    assert isinstance(outcomes.pop(cancelled), asyncio.CancelledError) or not in_time
    assert outcomes == [number for number in range(3) if number != cancelled]
    assert sorted(answers) == ([4, 5] if threads else [])
    # At most one fetch for each loop and for the threads, and one more for the one that was cancelled.
    assert faults.count("get*", f"{asked}s/*") <= (4 if threads else 2)


async def test_who_asks_first_and_is_cancelled_leaves_nothing_behind(faults: Faults) -> None:
    """When all who asked are gone, the next one fetches anew and gets an answer."""
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage)
    session = await repo.writable_session_async("main")
    await create_array(session, "a")
    await session.store.set("a/c/1", buffer(1))
    await session.commit_async("write")
    faults.delay("get*", "manifests/*", seconds=0.02)
    store = (await (await Repository.open_async(storage)).readonly_session_async("main")).store
    tasks = [asyncio.ensure_future(store.get("a/c/1", PROTOTYPE)) for _ in range(5)]
    await asyncio.sleep(0.005)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    assert store.get_sync("a/c/1") is not None
    assert await store.get("a/c/2", PROTOTYPE) is None


async def test_a_failure_of_one_of_many_requests_of_a_commit_leaves_no_task_behind(faults: Faults) -> None:
    """The commit fails as a whole, once nothing of it is under way any more, and can be repeated."""
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage, NATIVE)
    session = await repo.writable_session_async("main")
    for number in range(6):
        await create_array(session, f"a{number}", 1)
        await session.store.set(f"a{number}/c/0", buffer(number))
    before = await history(repo)
    for operation, key in [
        ("put", "manifests/*"),
        ("put", "snapshots/*"),
        ("put", "transactions/*"),
        ("put_conditional", "repo"),
    ]:
        faults.fail(operation, key, skip=2 if "manifests" in key else 0)
        tasks = asyncio.all_tasks()
        with pytest.raises(icechunk.StorageError, match="injected failure"):
            await session.commit_async("fails")
        assert asyncio.all_tasks() == tasks
        assert await history(repo) == before
        assert session.has_uncommitted_changes
        assert not session.read_only
    tip = await session.commit_async("works")
    assert await history(repo) == [tip, *before]
    await check_repository(storage, {f"a{number}": [number] for number in range(6)})


async def test_zarr_can_be_cancelled_in_the_middle_of_an_assignment(storage: icechunk.Storage) -> None:
    """Chunks are old or new, each of them whole."""
    repo = await Repository.create_async(storage, NATIVE)
    session = await repo.writable_session_async("main")
    await create_array(session, "a", 32)
    array = await zarr.api.asynchronous.open_array(store=session.store, path="a", mode="r+")
    await array.setitem(slice(None), np.zeros(128, "i4"))
    for number in range(1, 10):
        task = asyncio.ensure_future(array.setitem(slice(None), np.full(128, number, "i4")))
        await asyncio.sleep(WAIT * number)
        task.cancel()
        await asyncio.wait([task])
        found: Any = await array.getitem(slice(None))
        chunks = found.reshape(32, 4)
        assert (chunks == chunks[:, :1]).all()
        assert set(chunks[:, 0].tolist()) <= set(range(number + 1))
    await array.setitem(slice(None), np.full(128, 99, "i4"))
    await session.commit_async("whole")
    await check_repository(storage, {"a": [99] * 32})
