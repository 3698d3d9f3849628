"""What a session that moves nodes refuses: every other change, by any verb of its store or of its own."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype

import icechunk
from icechunk import ReadOnlyError, Repository, Session, SessionStateError
from tests.meetings import BASE
from tests.trees import array, content, edit, group

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def buffer(value: bytes) -> Any:
    return default_buffer_prototype().buffer.from_bytes(value)


VERBS: dict[str, Callable[[Session], Awaitable[object] | object]] = {
    "set a chunk": lambda session: session.store.set("a/c/3", buffer(b"1")),
    "set a large chunk": lambda session: session.store.set("a/c/3", buffer(b"1" * 5000)),
    "set a new document": lambda session: session.store.set("n/zarr.json", buffer(group())),
    "set another document": lambda session: session.store.set("a/zarr.json", buffer(array(9))),
    "set the same document": lambda session: session.store.set("a/zarr.json", buffer(array(4))),
    "set a chunk of a missing array": lambda session: session.store.set("n/c/0", buffer(b"1")),
    "set_if_not_exists": lambda session: session.store.set_if_not_exists("a/c/3", buffer(b"1")),
    "set_sync a chunk": lambda session: session.store.set_sync("a/c/3", buffer(b"1")),
    "set_sync a document": lambda session: session.store.set_sync("n/zarr.json", buffer(group())),
    "delete a chunk": lambda session: session.store.delete("a/c/0"),
    "delete a missing chunk": lambda session: session.store.delete("a/c/3"),
    "delete a node": lambda session: session.store.delete("a/zarr.json"),
    "delete a missing node": lambda session: session.store.delete("n/zarr.json"),
    "delete_sync a chunk": lambda session: session.store.delete_sync("a/c/0"),
    "delete_sync a node": lambda session: session.store.delete_sync("g/zarr.json"),
    "delete_dir of a node": lambda session: session.store.delete_dir("g"),
    "delete_dir of chunks": lambda session: session.store.delete_dir("a/c"),
    "delete_dir of everything": lambda session: session.store.delete_dir(""),
    "clear": lambda session: session.store.clear(),
    "sync_clear": lambda session: session.store.sync_clear(),
    "shift_array": lambda session: session.shift_array("/a", [1]),
    "shift_array_async": lambda session: session.shift_array_async("/a", [1]),
    "reindex_array": lambda session: session.reindex_array("/a", lambda at: [at[0] + 1]),
    "create a group": lambda session: zarr.create_group(session.store, path="n"),
    "create an array": lambda session: zarr.create_array(session.store, name="n", shape=(1,), dtype="u1"),
    "overwrite an array": lambda session: zarr.create_array(
        session.store, name="a", shape=(1,), dtype="u1", overwrite=True
    ),
    "write attributes": lambda session: zarr.open_group(session.store).attrs.put({"x": 1}),
    "write values": lambda session: write_values(session),
    "resize": lambda session: zarr.open_array(session.store, path="a").resize((9,)),
}


def write_values(session: Session) -> None:
    values: Any = zarr.open_array(session.store, path="a")
    values[3] = np.uint8(1)


async def carry_out(verb: str, session: Session) -> None:
    done = VERBS[verb](session)
    if inspect.isawaitable(done):
        await done


@pytest.fixture(scope="module")
def moving() -> Session:
    """A session that has moved something."""
    repo = Repository.create(icechunk.in_memory_storage())
    session = repo.writable_session("main")
    edit(session, BASE.items())
    session.commit("begin")
    session = repo.rearrange_session("main")
    session.move("/g", "/moved")
    return session


@pytest.mark.parametrize("verb", VERBS)
async def test_a_session_that_moves_nodes_changes_nothing_else(moving: Session, verb: str) -> None:
    before, status = content(moving), moving.status()
    with pytest.raises(SessionStateError, match="only moves nodes") as refused:
        await carry_out(verb, moving)
    assert refused.value.kind == "rearrange-session-only"
    assert (content(moving), moving.status()) == (before, status)


def test_a_session_that_moves_nodes_can_be_read(moving: Session) -> None:
    store = moving.store
    assert not store.read_only
    assert store.get_sync("moved/a/c/0", prototype=default_buffer_prototype()) is not None
    assert sorted(zarr.open_group(store, mode="r")["moved"]) == ["a", "h"]  # type: ignore[arg-type]
    assert "rearrange" in repr(moving.mode)


def test_a_store_that_is_made_read_only_says_so_first(moving: Session) -> None:
    with pytest.raises(ReadOnlyError) as refused:
        moving.store.with_read_only(True).set_sync("a/c/3", buffer(b"1"))
    assert refused.value.kind == "read-only-store"
