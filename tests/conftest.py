"""Fixtures that several test modules share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import icechunk
from tests.s3_server import Proxy, running_proxy, running_s3_server
from tests.virtual import make_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How long one example takes says more about the machine than about the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(params=["memory", "local"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> icechunk.Storage:
    """A new, empty storage of each kind that needs no service."""
    if request.param == "memory":
        return icechunk.in_memory_storage()
    return icechunk.local_filesystem_storage(tmp_path / "repository")


@pytest.fixture(params=[1, 2])
def spec_version(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with files for virtual chunks; see `tests.virtual`."""
    return make_files(tmp_path / "files")


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads take turns after a microsecond, so that they meet in places where they seldom do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a local S3 service that has the bucket `tests.s3_server.BUCKET`."""
    with running_s3_server() as address:
        yield address


@pytest.fixture
def s3_proxy(s3_server: str) -> Iterator[Proxy]:
    """A proxy before the local S3 service that misbehaves on request."""
    with running_proxy(s3_server) as proxy:
        yield proxy
