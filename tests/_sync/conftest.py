# Generated from tests/_async/conftest.py by tools/make_sync.py; edit that file.
"""Sessions for tests of keys."""

from __future__ import annotations

from pathlib import Path

import pytest

import icechunk
from icechunk import Repository, RepositoryConfig, Session


@pytest.fixture(params=["recorded, inline", "committed, inline", "committed"])
def how(request: pytest.FixtureRequest) -> str:
    """Whether a session has recorded its changes or finds them in its snapshot, and where chunks are."""
    value: str = request.param
    return value


@pytest.fixture
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Session:
    how = request.getfixturevalue("how") if "how" in request.fixturenames else "recorded"
    storage = icechunk.in_memory_storage()
    if how == "committed":
        storage = icechunk.local_filesystem_storage(tmp_path / "repository")
    config = RepositoryConfig(inline_chunk_threshold_bytes=512 if "inline" in how else 0)
    return Repository.create(storage, config).writable_session("main")
