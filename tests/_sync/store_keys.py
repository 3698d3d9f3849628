# Generated from tests/_async/store_keys.py by tools/make_sync.py; edit that file.
"""Keys of a store and what they hold, for tests of keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


def set_all(session: Session, entries: dict[str, bytes]) -> None:
    for key, data in entries.items():
        session._keys.set(key, data, len(data))


def settled(session: Session, how: str) -> Session:
    """The session, or after a commit another one on top of it."""
    if "recorded" in how:
        return session
    session.commit("write")
    settings = RepositoryConfig(inline_chunk_threshold_bytes=session.config.inline_chunk_threshold_bytes)
    repo = Repository.open(session._cache.storage, settings)
    return repo.writable_session("main")


def made(session: Session, how: str, entries: dict[str, bytes]) -> Session:
    set_all(session, entries)
    return settled(session, how)


def value(session: Session, key: str, request: Any = None) -> bytes | None:
    found = session._keys.get(key, request)
    return None if found is None else bytes(found)


def collected(keys: Iterator[str]) -> list[str]:
    """A listing, sorted; nothing is listed twice."""
    listed = [key for key in keys]
    assert len(set(listed)) == len(listed)
    return sorted(listed)


def listed(session: Session, prefix: str = "") -> list[str]:
    return collected(session._keys.list_prefix(prefix))


def names(session: Session, prefix: str) -> list[str]:
    return collected(session._keys.list_dir(prefix))


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
