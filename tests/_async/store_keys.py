"""Keys of a store and what they hold, for tests of keys."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from icechunk import Repository, RepositoryConfig, Session

GROUP = b'{"zarr_format":3,"node_type":"group"}'
DATA = bytes(range(1, 11))


def array_document(*num_chunks: int, **members: Any) -> bytes:
    """The document of an array with chunks of ten bytes."""
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [10 * number for number in num_chunks],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10] * len(num_chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
    }
    return json.dumps(document | members).encode()


async def set_all_async(session: Session, entries: dict[str, bytes]) -> None:
    for key, data in entries.items():
        await session._keys_async.set_async(key, data, len(data))


async def settled_async(session: Session, how: str) -> Session:
    """The session, or after a commit another one on top of it."""
    if "recorded" in how:
        return session
    await session.commit_async("write")
    settings = RepositoryConfig(inline_chunk_threshold_bytes=session.config.inline_chunk_threshold_bytes)
    repo = await Repository.open_async(session._cache.storage, settings)
    return await repo.writable_session_async("main")


async def made_async(session: Session, how: str, entries: dict[str, bytes]) -> Session:
    await set_all_async(session, entries)
    return await settled_async(session, how)


async def value_async(session: Session, key: str, request: Any = None) -> bytes | None:
    found = await session._keys_async.get_async(key, request)
    return None if found is None else bytes(found)


async def collected_async(keys: AsyncIterator[str]) -> list[str]:
    """A listing, sorted; nothing is listed twice."""
    listed = [key async for key in keys]
    assert len(set(listed)) == len(listed)
    return sorted(listed)


async def listed_async(session: Session, prefix: str = "") -> list[str]:
    return await collected_async(session._keys_async.list_prefix_async(prefix))


async def names_async(session: Session, prefix: str) -> list[str]:
    return await collected_async(session._keys_async.list_dir_async(prefix))


TREE = {
    "zarr.json": GROUP,
    "g/zarr.json": GROUP,
    "g/a/zarr.json": array_document(2, 12),
    "g/a/c/0/1": DATA,
    "g/a/c/1/1": DATA,
    "g/a/c/1/11": DATA,
    "g/h/zarr.json": GROUP,
    "g/h/b/zarr.json": array_document(1),
    "g/h/b/c/0": DATA,
    "g-2/zarr.json": GROUP,
    "g/a-2/zarr.json": array_document(1),
    "g2/zarr.json": array_document(1),
    "g2/c/0": DATA,
}


def without(*prefixes: str) -> list[str]:
    return sorted(key for key in TREE if not key.startswith(prefixes))
