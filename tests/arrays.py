"""Arrays and keys of a store, in both of zarr's spellings."""

from __future__ import annotations

import json
from typing import Any

import zarr
import zarr.api.asynchronous
from zarr.core.buffer import default_buffer_prototype

import icechunk

PLAIN = {"dtype": "i4", "compressors": None, "filters": None}
"""Arrays whose chunks are their bytes."""


async def create_array_async(
    session: icechunk.Session, name: str, shape: tuple[int, ...], **kwargs: Any
) -> Any:
    kwargs = {**PLAIN, **kwargs}
    return await zarr.api.asynchronous.create_array(session.store, name=name, shape=shape, **kwargs)


def create_array(session: icechunk.Session, name: str, shape: tuple[int, ...], **kwargs: Any) -> Any:
    kwargs = {**PLAIN, **kwargs}
    return zarr.create_array(session.store, name=name, shape=shape, **kwargs)


def create_counted_array(store: icechunk.IcechunkStore, name: str, chunks: int, size: int = 4) -> Any:
    """An array of so many chunks of so many values."""
    return zarr.create_array(
        store,
        name=name,
        shape=(chunks * size,),
        chunks=(size,),
        dtype="i4",
        fill_value=-1,
        compressors=None,
        filters=None,
    )


def open_stored_array(store: icechunk.IcechunkStore, name: str, mode: Any = "r") -> Any:
    """An array, untyped: zarr's types say that a part of it may be a scalar."""
    return zarr.open_array(store, path=name, mode=mode)


async def open_array_async(session: icechunk.Session, name: str, mode: Any = "r+") -> Any:
    return await zarr.api.asynchronous.open_array(store=session.store, path=name, mode=mode)


def open_array(session: icechunk.Session, name: str, mode: Any = "r+") -> Any:
    return zarr.open_array(session.store, path=name, mode=mode)


async def write_async(array: Any, selection: Any, value: Any) -> None:
    await array.setitem(selection, value)


def write(array: Any, selection: Any, value: Any) -> None:
    array[selection] = value


async def resize_async(array: Any, shape: tuple[int, ...]) -> None:
    await array.resize(shape)


def resize(array: Any, shape: tuple[int, ...]) -> None:
    array.resize(shape)


async def append_async(array: Any, data: Any, axis: int = 0) -> None:
    await array.append(data, axis=axis)


def append(array: Any, data: Any, axis: int = 0) -> None:
    array.append(data, axis=axis)


async def read_async(session: icechunk.Session, name: str) -> Any:
    array = await zarr.api.asynchronous.open_array(store=session.store, path=name, mode="r")
    return await array.getitem(...)


def read(session: icechunk.Session, name: str) -> Any:
    return zarr.open_array(session.store, path=name, mode="r")[...]


async def read_part_async(array: Any, selection: Any) -> Any:
    return await array.getitem(selection)


def read_part(array: Any, selection: Any) -> Any:
    return array[selection]


async def get_key_async(session: icechunk.Session, key: str, part: Any = None) -> bytes | None:
    value = await session.store.get(key, default_buffer_prototype(), part)
    return None if value is None else value.to_bytes()


def get_key(session: icechunk.Session, key: str, part: Any = None) -> bytes | None:
    value = session.store.get_sync(key, prototype=default_buffer_prototype(), byte_range=part)
    return None if value is None else value.to_bytes()


async def set_key_async(session: icechunk.Session, key: str, value: bytes) -> None:
    await session.store.set(key, default_buffer_prototype().buffer.from_bytes(value))


def set_key(session: icechunk.Session, key: str, value: bytes) -> None:
    session.store.set_sync(key, default_buffer_prototype().buffer.from_bytes(value))


async def delete_key_async(session: icechunk.Session, key: str) -> None:
    await session.store.delete(key)


def delete_key(session: icechunk.Session, key: str) -> None:
    session.store.delete_sync(key)


async def delete_node_async(session: icechunk.Session, path: str) -> None:
    await session.store.delete(f"{path}/zarr.json")


def delete_node(session: icechunk.Session, path: str) -> None:
    session.store.delete_sync(f"{path}/zarr.json")


async def reshape_document_async(session: icechunk.Session, name: str, shape: list[int]) -> None:
    """Resize by metadata alone: zarr's own `resize` also deletes the chunks outside, one by one."""
    document = json.loads(await get_key_async(session, f"{name}/zarr.json") or b"")
    await set_key_async(session, f"{name}/zarr.json", json.dumps({**document, "shape": shape}).encode())


def reshape_document(session: icechunk.Session, name: str, shape: list[int]) -> None:
    document = json.loads(get_key(session, f"{name}/zarr.json") or b"")
    set_key(session, f"{name}/zarr.json", json.dumps({**document, "shape": shape}).encode())
