"""One session, store and repository used from many threads, event loops and processes at once.

What is shown: nothing that was acknowledged is lost, nothing that was refused appears, nobody waits for
somebody who waits for him, and who only looks never waits at all.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
import zarr.api.asynchronous
import zarr.storage
from zarr.core.buffer import cpu, default_buffer_prototype

import icechunk
from icechunk import IcechunkError, IcechunkStore, Repository, RepositoryConfig, Session
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array, create_counted_array, open_stored_array
from tests.places import PLACES, places
from tests.s3_server import Fault, Proxy, s3_at
from tests.threads import at_once, meanwhile, on_a_loop

if TYPE_CHECKING:
    from collections.abc import Callable

PROTOTYPE = default_buffer_prototype()
NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)


def buffer(data: bytes) -> cpu.Buffer:
    return cpu.Buffer.from_bytes(data)


@pytest.fixture(params=PLACES)
def storage(request: pytest.FixtureRequest) -> icechunk.Storage:
    return places(request.param, request)()


def value_of(number: int) -> bytes:
    """A chunk of four times one number."""
    return np.full(4, number, "<i4").tobytes()


def zarr_document(chunks: int) -> cpu.Buffer:
    """The document of an array of so many chunks, each of four numbers."""
    store = zarr.storage.MemoryStore()
    zarr.create_array(store, shape=(4 * chunks,), chunks=(4,), dtype="i4", compressors=None, filters=None)
    return buffer(store._store_dict["zarr.json"].to_bytes())


def history(repo: Repository) -> list[str]:
    return [info.id for info in repo.ancestry(branch="main")]


# One session


def test_one_session_takes_writes_and_reads_of_many_threads_and_one_commit_has_them_all(
    storage: icechunk.Storage,
) -> None:
    """Through zarr and through the store's blocking calls, to common arrays and to new ones."""
    repo = Repository.create(storage, NATIVE)
    session = repo.writable_session("main")
    zarr.create_group(session.store)
    create_counted_array(session.store, "old", 32)[:] = 7
    session.commit("before")
    session = repo.writable_session("main")
    create_counted_array(session.store, "shared", 32)
    threads, chunks = 8, 4

    def write(thread: int) -> None:
        store = session.store
        own = create_counted_array(store, f"own/{thread}", chunks)
        for number in range(chunks):
            chunk = thread * chunks + number
            part = slice(4 * chunk, 4 * chunk + 4)
            if thread % 2:
                open_stored_array(store, "shared", "r+")[part] = chunk
                store.set_sync(f"old/c/{chunk}", buffer(value_of(chunk)))
            else:
                store.set_sync(f"shared/c/{chunk}", buffer(value_of(chunk)))
                open_stored_array(store, "old", "r+")[part] = chunk
            own[4 * number : 4 * number + 4] = chunk
            assert open_stored_array(store, "shared")[part].tolist() == [chunk] * 4
            assert own[4 * number] == chunk
        own.attrs["thread"] = thread
        own.resize((4 * chunks + thread,))
        zarr.create_group(store, path=f"groups/{thread}", attributes={"thread": thread})

    def read() -> None:
        found = open_stored_array(session.store, "old")[:]
        assert set(found[found != 7].tolist()) <= set(range(32))
        for key in session.store.list():
            assert key.endswith("zarr.json") or "/c/" in key
        assert session.has_uncommitted_changes
        session.status()

    with meanwhile(read):
        at_once(*[partial(write, thread) for thread in range(threads)])
    session.commit("everything")

    store = Repository.open(storage).readonly_session("main").store
    everything = np.repeat(np.arange(32), 4).tolist()
    assert open_stored_array(store, "shared")[:].tolist() == everything
    assert open_stored_array(store, "old")[:].tolist() == everything
    for thread in range(threads):
        own = open_stored_array(store, f"own/{thread}")
        assert own[: 4 * chunks].tolist() == everything[16 * thread : 16 * thread + 16]
        assert (own[4 * chunks :] == -1).all()
        assert own.shape == (4 * chunks + thread,)
        assert own.attrs["thread"] == thread
        assert zarr.open_group(store, path=f"groups/{thread}", mode="r").attrs["thread"] == thread


def test_one_session_is_used_from_two_event_loops_at_once(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage, NATIVE)
    session = repo.writable_session("main")
    create_counted_array(session.store, "old", 32)[:] = 7
    session.commit("before")
    session = repo.writable_session("main")
    create_counted_array(session.store, "shared", 32)

    async def use(loop: int) -> None:
        store = session.store
        shared = await zarr.api.asynchronous.open_array(store=store, path="shared", mode="r+")
        old = await zarr.api.asynchronous.open_array(store=store, path="old", mode="r+")

        async def one(chunk: int) -> None:
            part = slice(4 * chunk, 4 * chunk + 4)
            assert np.asarray(await old.getitem(part)).tolist() == [7] * 4
            await shared.setitem(part, np.full(4, chunk, "i4"))
            await store.set(f"old/c/{chunk}", buffer(value_of(chunk)))
            found = await store.get(f"shared/c/{chunk}", PROTOTYPE)
            assert found is not None
            assert found.to_bytes() == value_of(chunk)

        await asyncio.gather(*[one(chunk) for chunk in range(loop, 32, 2)])
        keys = [key async for key in store.list_prefix("shared")]
        assert len(set(keys)) == len(keys) > 16

    at_once(*[partial(on_a_loop, use, loop) for loop in range(2)])
    asyncio.run(session.commit_async("from a third loop"))
    store = Repository.open(storage).readonly_session("main").store
    assert open_stored_array(store, "shared")[:].tolist() == np.repeat(np.arange(32), 4).tolist()
    assert open_stored_array(store, "old")[:].tolist() == np.repeat(np.arange(32), 4).tolist()


def test_blocking_code_runs_while_a_loop_is_running_in_the_same_thread(storage: icechunk.Storage) -> None:
    """A notebook: a loop is running, the cells block, and tasks started in earlier cells are under way."""

    async def main() -> None:
        repo = Repository.create(storage, NATIVE)
        session = repo.writable_session("main")
        create_counted_array(session.store, "a", 8)[:] = 5
        first = session.commit("blocking")
        assert open_stored_array(session.store, "a")[:].tolist() == [5] * 32

        repo = Repository.open(storage, NATIVE)
        session = repo.writable_session("main")
        reading = asyncio.create_task(session.store.get("a/c/3", PROTOTYPE))
        writing = asyncio.create_task(session.store.set("a/c/4", buffer(value_of(6))))
        for _ in range(3):
            await asyncio.sleep(0)
        # Both tasks may stand in the middle of a request now, and stand still as long as we block.
        assert open_stored_array(session.store, "a")[0:16].tolist() == [5] * 16
        group: Any = zarr.open_group(Repository.open(storage).readonly_session("main").store, mode="r")
        assert group["a"].shape == (32,)
        found = await reading
        await writing
        assert found is not None
        assert found.to_bytes() == value_of(5)
        open_stored_array(session.store, "a", "r+")[0:4] = 8
        second = session.commit("blocking again")
        assert history(repo)[:2] == [second, first]
        assert [info.id async for info in repo.async_ancestry(branch="main")] == history(repo)
        assert open_stored_array(session.store, "a")[0:20].tolist() == [8] * 4 + [5] * 12 + [6] * 4

    asyncio.run(main())


def test_a_blocking_read_does_not_wait_for_the_same_read_on_the_loop_it_holds_up(
    storage: icechunk.Storage,
) -> None:
    """Of one cold manifest and snapshot, wherever the read on the loop happens to stand."""
    repo = Repository.create(storage, NATIVE)
    session = repo.writable_session("main")
    create_counted_array(session.store, "a", 8)[:] = 5
    session.commit("write")

    async def main(steps: int) -> None:
        repo = await Repository.open_async(storage, NATIVE)

        async def read() -> None:
            reader = await repo.readonly_session_async("main")
            found = await reader.store.get("a/c/3", PROTOTYPE)
            assert found is not None

        reading = asyncio.create_task(read())
        for _ in range(steps):
            await asyncio.sleep(0)
        assert open_stored_array(repo.readonly_session("main").store, "a")[:].tolist() == [5] * 32
        await reading

    for steps in range(8):
        at_once(partial(on_a_loop, main, steps))


def test_what_was_opened_on_one_loop_or_on_none_is_awaited_on_another(storage: icechunk.Storage) -> None:
    async def create() -> tuple[Repository, Session]:
        repo = await Repository.create_async(storage, NATIVE)
        session = await repo.writable_session_async("main")
        array = await zarr.api.asynchronous.create_array(
            session.store, name="a", shape=(8,), chunks=(4,), dtype="i4", compressors=None
        )
        await array.setitem(slice(0, 4), np.full(4, 1, "i4"))
        return repo, session

    async def go_on(session: Session) -> str:
        await session.store.set("a/c/1", buffer(value_of(2)))
        found = await session.store.get("a/c/0", PROTOTYPE)
        assert found is not None
        return await session.commit_async("on another loop")

    async def read(session: Session) -> list[int]:
        array = await zarr.api.asynchronous.open_array(store=session.store, path="a", mode="r")
        values: list[int] = np.asarray(await array.getitem(slice(None))).tolist()
        return values

    # The first loop is closed when the second one starts.
    repo, session = asyncio.run(create())
    tip = asyncio.run(go_on(session))
    assert open_stored_array(session.store, "a")[:].tolist() == [1] * 4 + [2] * 4
    assert repo.lookup_branch("main") == tip
    opened_blocking = Repository.open(storage).readonly_session("main")
    assert asyncio.run(read(opened_blocking)) == [1] * 4 + [2] * 4
    assert (
        at_once(partial(on_a_loop, read, opened_blocking), partial(on_a_loop, read, session))
        == [[1] * 4 + [2] * 4] * 2
    )
    assert asyncio.run(repo.lookup_branch_async("main")) == tip
    session = asyncio.run(repo.writable_session_async("main"))
    open_stored_array(session.store, "a", "r+")[0:4] = 9
    session.commit("blocking, opened on a loop")
    assert asyncio.run(read(session)) == [9] * 4 + [2] * 4


def test_many_readers_of_cold_caches_all_get_their_answers(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage, NATIVE)
    session = repo.writable_session("main")
    for name in "abc":
        create_counted_array(session.store, name, 16)[:] = np.arange(64)
    session.commit("write")

    async def read_on_a_loop(store: IcechunkStore, name: str) -> None:
        keys = [f"{name}/c/{chunk}" for chunk in range(16)]
        found = await asyncio.gather(*[store.get(key, PROTOTYPE) for key in keys])
        assert (
            b"".join(value.to_bytes() for value in found if value is not None)
            == np.arange(64, dtype="<i4").tobytes()
        )

    def read(store: IcechunkStore, name: str) -> None:
        assert open_stored_array(store, name)[:].tolist() == list(range(64))

    def read_one(store: IcechunkStore, name: str) -> None:
        assert store.get_sync(f"{name}/c/7") is not None

    for _ in range(2):
        store = Repository.open(storage).readonly_session("main").store
        jobs: list[Callable[[], Any]] = []
        for name in "abc":
            jobs += [
                partial(read, store, name),
                partial(read_one, store, name),
                partial(on_a_loop, read_on_a_loop, store, name),
            ]
        at_once(*jobs)


# Listings and texts


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "left open"])
@pytest.mark.parametrize("listing", ["list", "list_prefix", "list_dir"])
def test_breaking_out_of_a_listing_blocks_no_writer(
    listing: str, closed: bool, storage: icechunk.Storage
) -> None:
    """It must not deadlock, whether the iterator is closed, kept or forgotten."""
    repo = Repository.create(storage, NATIVE)
    session = repo.writable_session("main")
    create_counted_array(session.store, "a", 16)[:] = 1
    session.commit("before")
    session = repo.writable_session("main")
    store = session.store
    create_counted_array(store, "b", 16)[:] = 1
    left: list[Any] = []

    def keys() -> Any:
        left.append(store.list() if listing == "list" else getattr(store, listing)("a"))
        return left[-1]

    async def leave_on_a_loop() -> None:
        found = keys()
        async for _ in found:
            break
        await store.set("a/c/1", buffer(value_of(2)))
        if closed:
            await found.aclose()
        await store.set("a/c/2", buffer(value_of(3)))

    def leave() -> None:
        for _ in keys():
            break
        store.set_sync("a/c/3", buffer(value_of(4)))
        if closed:
            asyncio.run(left[-1].aclose())

    at_once(partial(on_a_loop, leave_on_a_loop))
    at_once(leave)
    at_once(partial(session.commit, "after"))
    assert open_stored_array(session.store, "a")[::4].tolist() == [1, 2, 3, 4, *[1] * 12]
    if closed:
        for each in left:
            assert list(each) == []


def test_showing_a_store_or_session_waits_for_nobody() -> None:
    """Zarr formats a store while it opens nodes, and a debugger formats everything at any moment."""
    repo = Repository.create(icechunk.in_memory_storage())
    session = repo.writable_session("main")
    zarr.create_group(session.store)
    shown: list[str] = []

    def show() -> None:
        for thing in (session.store, session, repo, repo.storage, session.store.with_read_only(True)):
            shown.extend([repr(thing), str(thing), format(thing)])
        assert session.snapshot_id
        assert (session.branch, session.read_only, session.store.read_only) == ("main", False, False)
        assert session.store == session.store
        hash(session.store)

    with session._state._lock.held, repo._cache._lock.held:
        at_once(show, show)
    assert len(shown) == 30


LOOKS: dict[str, Callable[[Session], object]] = {
    "repr": lambda session: repr(session) + repr(session.store),
    "html": lambda session: session._repr_html_() + session.store._repr_html_(),
    "status": lambda session: session.status(),
    "has_uncommitted_changes": lambda session: session.has_uncommitted_changes,
    "list": lambda session: len(set(session.store.list())),
    "list_dir": lambda session: len(set(session.store.list_dir(""))),
    "getsize_prefix": lambda session: asyncio.run(session.store.getsize_prefix("")),
}


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("look", LOOKS)
def test_looking_at_a_session_works_at_every_moment_of_changes_by_others(look: str) -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    session = repo.writable_session("main")
    document = zarr_document(4)
    for number in range(20):
        session.store.set_sync(f"old{number}/zarr.json", document)
        session.store.set_sync(f"old{number}/c/1", buffer(value_of(1)))
    session.commit("before")
    session = repo.writable_session("main")
    deadline = time.monotonic() + 0.5
    with meanwhile(partial(LOOKS[look], session), partial(LOOKS[look], session)):
        while time.monotonic() < deadline:
            for number in range(20):
                session.store.set_sync(f"old{number}/c/2", buffer(value_of(2)))
                session.store.delete_sync(f"old{number}/c/2")
                session.store.set_sync(f"new{number}/zarr.json", document)
                session.store.set_sync(f"new{number}/c/2", buffer(value_of(2)))
            for number in range(20):
                session.store.delete_sync(f"new{number}/zarr.json")
    assert not session.has_uncommitted_changes
    assert len(set(session.store.list())) == 40


# Others


def test_a_deletion_that_is_overtaken_by_a_new_array_of_the_same_name_does_not_touch_it() -> None:
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    session = Repository.create(storage).writable_session("main")
    create_counted_array(session.store, "a", 4)[:] = 1
    session.commit("before")

    async def main() -> None:
        session = await (await Repository.open_async(storage)).writable_session_async("main")
        # To know whether there is anything to delete, the manifest has to be read.
        faults.delay("get*", "manifests/*", seconds=0.05)
        deleting = asyncio.ensure_future(session.store.delete("a/c/0"))
        await asyncio.sleep(0.01)
        await session.store.delete("a/zarr.json")
        await session.store.set("a/zarr.json", zarr_document(4))
        await session.store.set("a/c/0", buffer(value_of(2)))
        await session.store.set("a/c/3", buffer(value_of(2)))
        await deleting
        assert session.status().updated_chunks == {"/a": [[0], [3]]}
        assert list(session._state.changes.chunks) == [session._state.node("/a").id]
        await session.commit_async("after")
        assert await session.store.exists("a/c/0")

    asyncio.run(main())


def test_an_error_of_one_thread_leaves_the_session_to_the_others(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage, NATIVE)
    session = repo.writable_session("main")
    store = session.store
    create_counted_array(store, "a", 64)

    def write(first: int) -> int:
        errors = 0
        for number in range(first, 64, 4):
            for key in (f"a/c/{number}", "a/c/64", "nowhere/c/0", "nonsense"):
                try:
                    store.set_sync(key, buffer(value_of(number)))
                except IcechunkError:
                    errors += 1
        return errors

    assert at_once(*[partial(write, first) for first in range(4)]) == [48] * 4
    session.commit("all the same")
    assert open_stored_array(session.store, "a")[::4].tolist() == list(range(64))


def test_appending_along_both_dimensions_with_many_threads_reads_back_exactly(
    storage: icechunk.Storage,
) -> None:
    """What was there before stays where it is, and each thread's chunks come where they belong."""
    repo = Repository.create(storage, NATIVE)
    session = repo.writable_session("main")
    array: Any = create_array(session, "a", (8, 8), chunks=(4, 4))
    array[:] = 1
    session.commit("before")
    session = repo.writable_session("main")
    expected = np.ones((8, 8), "i4")
    for turn, shape in enumerate(((16, 8), (16, 16), (20, 24))):
        open_stored_array(session.store, "a", "r+").resize(shape)
        grown = np.zeros(shape, "i4")
        grown[: expected.shape[0], : expected.shape[1]] = expected
        corners = [(row, column) for row in range(0, shape[0], 4) for column in range(0, shape[1], 4)]
        new = [
            corner
            for corner in corners
            if any(at >= old for at, old in zip(corner, expected.shape, strict=True))
        ]

        def write(row: int, column: int, number: int) -> None:
            open_stored_array(session.store, "a", "r+")[row : row + 4, column : column + 4] = number

        jobs = []
        for number, (row, column) in enumerate(new, 100 * turn + 2):
            grown[row : row + 4, column : column + 4] = number
            jobs.append(partial(write, row, column, number))
        at_once(*jobs)
        expected = grown
        assert np.array_equal(open_stored_array(session.store, "a")[:], expected)
    session.commit("append")
    store = Repository.open(storage).readonly_session("main").store
    assert np.array_equal(open_stored_array(store, "a")[:], expected)


def test_a_request_that_takes_long_holds_up_no_other_thread(s3_proxy: Proxy) -> None:
    """Neither those that compute nor those that use the same session, in memory or over the network."""
    storage = s3_at(s3_proxy.address, uuid.uuid4().hex)
    session = Repository.create(storage, NATIVE).writable_session("main")
    array = create_counted_array(session.store, "a", 8)
    array[:4] = 7  # alone, so that the one object there is now holds the first chunk
    [slow] = [path for method, path in s3_proxy.requests if method == "PUT" and "/chunks/" in path]
    array[4:] = 7
    session.commit("write")
    session = Repository.open(storage, NATIVE).writable_session("main")
    seconds = 2.0
    longest = dict.fromkeys(("computing", "writing", "reading"), 0.0)
    counts = dict.fromkeys(longest, 0)

    def timed(name: str, action: Callable[[], object]) -> None:
        started = time.monotonic()
        action()
        longest[name] = max(longest[name], time.monotonic() - started)
        counts[name] += 1
        time.sleep(0.001)

    def read_slowly() -> None:
        assert session.store.get_sync("a/c/0") == buffer(value_of(7))

    session.store.get_sync("a/c/7")
    s3_proxy.faults.append(Fault("stall", "GET", slow, seconds=seconds))
    with meanwhile(
        partial(timed, "computing", lambda: sum(range(100))),
        partial(timed, "writing", lambda: session.store.set_sync("a/zarr.json", zarr_document(8))),
        partial(timed, "reading", lambda: session.store.get_sync("a/c/7")),
    ):
        started = time.monotonic()
        read_slowly()
        taken = time.monotonic() - started
    assert taken > seconds
    assert max(longest.values()) < seconds / 2, longest
    assert min(counts.values()) > 10, counts
