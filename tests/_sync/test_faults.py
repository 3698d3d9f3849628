# Generated from tests/_async/test_faults.py by tools/make_sync.py; edit that file.
"""The storage with faults: what is planned happens, once, and nothing else does."""

from __future__ import annotations

import pickle
import time

import pytest

from icechunk._sync.backends import open_backend
from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import StorageError
from icechunk._io.concurrency import map_concurrently
from icechunk._storage_settings import StorageSettings
from icechunk.storage import Storage, in_memory_storage, local_filesystem_storage
from icechunk.testing.faults import Call, Faults, faulty_storage


def test_calls_are_noted() -> None:
    faults = Faults()
    backend = open_backend(faulty_storage(in_memory_storage(), faults), StorageSettings())
    backend.prepare_root()
    assert backend.is_clean()
    version = backend.put_conditional("repo", b"1", None)
    backend.put("chunks/A", b"1")
    backend.get("repo")
    backend.get_ranges("repo", [(0, 1)])
    backend.get_versioned("repo", version)
    backend.copy("repo", "overwritten/repo.1", version)
    backend.head("repo")
    assert len([batch for batch in backend.list("chunks")]) == 1
    assert backend.delete_many(["chunks/A", "chunks/B"]) == []
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


def test_a_lost_request_and_a_lost_answer_differ() -> None:
    faults = Faults()
    backend = open_backend(faulty_storage(in_memory_storage(), faults), StorageSettings())
    faults.fail("put", "chunks/*")
    with pytest.raises(StorageError, match="injected failure of put `chunks/A`"):
        backend.put("chunks/A", b"")
    assert backend.is_clean()
    faults.fail("put", "chunks/*", moment="after", error=ConnectionError("lost"))
    with pytest.raises(ConnectionError, match="lost"):
        backend.put("chunks/A", b"")
    assert not backend.is_clean()
    backend.put("chunks/A", b"")


def test_faults_are_counted() -> None:
    faults = Faults()
    backend = open_backend(faulty_storage(in_memory_storage(), faults), StorageSettings())
    faults.fail("put", skip=1, times=2)
    outcomes = []
    for number in range(5):
        try:
            backend.put(f"chunks/{number}", b"")
        except StorageError:
            outcomes.append(False)
        else:
            outcomes.append(True)
    assert outcomes == [True, False, False, True, True]
    faults.fail("put", times=None)
    for _ in range(3):
        with pytest.raises(StorageError):
            backend.put("chunks/A", b"")


def test_somebody_else_can_be_let_in_between() -> None:
    faults = Faults()
    inner = in_memory_storage()
    backend = open_backend(faulty_storage(inner, faults), StorageSettings())
    version = backend.put_conditional("repo", b"start", None)

    def somebody_else() -> None:
        inner.objects.entries.clear()  # type: ignore[attr-defined]

    faults.call("put_conditional", "repo", somebody_else)
    with pytest.raises(PreconditionFailed):
        backend.put_conditional("repo", b"ours", version)


def test_delays_and_concurrency() -> None:
    faults = Faults()
    backend = open_backend(faulty_storage(in_memory_storage(), faults), StorageSettings())
    faults.delay("put", seconds=0.02)
    before = time.monotonic()

    def put(number: int) -> None:
        backend.put(f"chunks/{number}", b"")

    map_concurrently(put, range(6), 3)
    assert 0.04 <= time.monotonic() - before < 5
    assert faults.most_at_once == 3


def test_a_storage_with_faults_looks_like_the_one_inside() -> None:
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
    other = open_backend(pickle.loads(pickle.dumps(storage)), StorageSettings())
    other.put("chunks/A", b"here")
    assert faults.count() == 0
