"""The storage with faults: what is planned happens, once, and nothing else does."""

from __future__ import annotations

import pickle
import time

import pytest

from icechunk._async.backends import open_backend_async
from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import StorageError
from icechunk._io.concurrency import map_concurrently_async
from icechunk._storage_settings import StorageSettings
from icechunk.storage import Storage, in_memory_storage, local_filesystem_storage
from icechunk.testing.faults import Call, Faults, faulty_storage


async def test_calls_are_noted_async() -> None:
    faults = Faults()
    backend = await open_backend_async(faulty_storage(in_memory_storage(), faults), StorageSettings())
    await backend.prepare_root_async()
    assert await backend.is_clean_async()
    version = await backend.put_conditional_async("repo", b"1", None)
    await backend.put_async("chunks/A", b"1")
    await backend.get_async("repo")
    await backend.get_ranges_async("repo", [(0, 1)])
    await backend.get_versioned_async("repo", version)
    await backend.copy_async("repo", "overwritten/repo.1", version)
    await backend.head_async("repo")
    assert len([batch async for batch in backend.list_async("chunks")]) == 1
    assert await backend.delete_many_async(["chunks/A", "chunks/B"]) == []
    assert faults.calls == [
        Call("prepare_root", ""),
        Call("is_clean", ""),
        Call("put_conditional", "repo"),
        Call("put", "chunks/A"),
        Call("get", "repo"),
        Call("get_ranges", "repo"),
        Call("get_versioned", "repo"),
        Call("copy", "repo"),
        Call("head", "repo"),
        Call("list", "chunks"),
        Call("delete_many", "chunks/A"),
    ]
    assert faults.count("get*") == 3
    assert faults.count(key="chunks/*") == 2
    faults.clear()
    assert faults.count() == 0


async def test_a_lost_request_and_a_lost_answer_differ_async() -> None:
    faults = Faults()
    backend = await open_backend_async(faulty_storage(in_memory_storage(), faults), StorageSettings())
    faults.fail("put", "chunks/*")
    with pytest.raises(StorageError, match="injected failure of put `chunks/A`"):
        await backend.put_async("chunks/A", b"")
    assert await backend.is_clean_async()
    faults.fail("put", "chunks/*", moment="after", error=ConnectionError("lost"))
    with pytest.raises(ConnectionError, match="lost"):
        await backend.put_async("chunks/A", b"")
    assert not await backend.is_clean_async()
    await backend.put_async("chunks/A", b"")


async def test_faults_are_counted_async() -> None:
    faults = Faults()
    backend = await open_backend_async(faulty_storage(in_memory_storage(), faults), StorageSettings())
    faults.fail("put", skip=1, times=2)
    outcomes = []
    for number in range(5):
        try:
            await backend.put_async(f"chunks/{number}", b"")
        except StorageError:
            outcomes.append(False)
        else:
            outcomes.append(True)
    assert outcomes == [True, False, False, True, True]
    faults.fail("put", times=None)
    for _ in range(3):
        with pytest.raises(StorageError):
            await backend.put_async("chunks/A", b"")


async def test_somebody_else_can_be_let_in_between_async() -> None:
    faults = Faults()
    inner = in_memory_storage()
    backend = await open_backend_async(faulty_storage(inner, faults), StorageSettings())
    version = await backend.put_conditional_async("repo", b"start", None)

    def somebody_else() -> None:
        inner.objects.entries.clear()  # type: ignore[attr-defined]

    faults.call("put_conditional", "repo", somebody_else)
    with pytest.raises(PreconditionFailed):
        await backend.put_conditional_async("repo", b"ours", version)


async def test_delays_and_concurrency_async() -> None:
    faults = Faults()
    backend = await open_backend_async(faulty_storage(in_memory_storage(), faults), StorageSettings())
    faults.delay("put", seconds=0.02)
    before = time.monotonic()

    async def put_async(number: int) -> None:
        await backend.put_async(f"chunks/{number}", b"")

    await map_concurrently_async(put_async, range(6), 3)
    assert 0.04 <= time.monotonic() - before < 5
    assert faults.most_at_once == 3


async def test_a_storage_with_faults_looks_like_the_one_inside_async() -> None:
    faults = Faults()
    inner: Storage = in_memory_storage()
    storage = faulty_storage(inner, faults)
    assert isinstance(storage, Storage)
    assert (str(storage), storage.location) == (str(inner), inner.location)
    assert storage.default_settings() == inner.default_settings()
    assert storage.requires_prefix == inner.requires_prefix
    faults.fail("put", times=None)
    copy = pickle.loads(pickle.dumps(faulty_storage(local_filesystem_storage("/nowhere"), faults)))
    assert copy.location == "/nowhere"
    other = await open_backend_async(pickle.loads(pickle.dumps(storage)), StorageSettings())
    await other.put_async("chunks/A", b"here")
    assert faults.count() == 0
