"""The content of a repository as keys and bytes: what to change in it, and all that is in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.arrays import delete_key, delete_key_async, get_key, get_key_async, set_key, set_key_async

if TYPE_CHECKING:
    from collections.abc import Iterable

    import icechunk

Edit = tuple[str, bytes | None]
"""A key and its new value, or None to remove it; with the document of a node goes the node."""

Content = dict[str, bytes]
"""All keys and their values."""


def group(**attributes: Any) -> bytes:
    """The document of a group."""
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}).encode()


def array(*shape: int, **attributes: Any) -> bytes:
    """The document of an array of bytes, each a chunk of its own."""
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1] * len(shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": attributes,
    }
    return json.dumps(document).encode()


async def edit_async(session: icechunk.Session, edits: Iterable[Edit]) -> None:
    for key, value in edits:
        if value is None:
            await delete_key_async(session, key)
        else:
            await set_key_async(session, key, value)


def edit(session: icechunk.Session, edits: Iterable[Edit]) -> None:
    for key, value in edits:
        if value is None:
            delete_key(session, key)
        else:
            set_key(session, key, value)


async def content_async(session: icechunk.Session) -> Content:
    found = {}
    async for key in session.store.list():
        assert key not in found, f"`{key}` is listed twice"
        value = await get_key_async(session, key)
        assert value is not None, f"`{key}` is listed and has no value"
        found[key] = value
    return found


def content(session: icechunk.Session) -> Content:
    found = {}
    for key in session.store.list():
        assert key not in found, f"`{key}` is listed twice"
        value = get_key(session, key)
        assert value is not None, f"`{key}` is listed and has no value"
        found[key] = value
    return found


async def names_async(session: icechunk.Session, path: str) -> list[str]:
    """What is directly below a path, sorted."""
    return sorted([name async for name in session.store.list_dir(path)])


def names(session: icechunk.Session, path: str) -> list[str]:
    """What is directly below a path, sorted."""
    return sorted(session.store.list_dir(path))
