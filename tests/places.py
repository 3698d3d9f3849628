"""Kinds of places to keep a repository in: memory, a directory, a bucket of the local S3 service."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import icechunk
from tests.s3_server import BUCKET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

PLACES = ["memory", "directory", "s3"]


def places(place: str, request: pytest.FixtureRequest) -> Callable[[], icechunk.Storage]:
    """A function that makes a new, empty storage of a kind each time it is called."""
    if place == "memory":
        return icechunk.in_memory_storage
    if place == "directory":
        directory: Path = request.getfixturevalue("tmp_path")
        return lambda: icechunk.local_filesystem_storage(directory / uuid.uuid4().hex)
    address: str = request.getfixturevalue("s3_server")
    return lambda: icechunk.s3_storage(
        bucket=BUCKET,
        prefix=uuid.uuid4().hex,
        region="us-east-1",
        endpoint_url=address,
        allow_http=True,
        force_path_style=True,
        access_key_id="test",
        secret_access_key="test",
    )
