"""Files that virtual chunks are in, and repositories that refer to them, in both spellings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import icechunk
from icechunk import Repository, RepositoryConfig, Session, VirtualChunkContainer, local_filesystem_store
from icechunk.credentials import LocalFileSystemAccess
from tests.arrays import create_array, create_array_async

BYTES = bytes(range(200))
"""What is in each of the files."""

MODIFIED = 1_000_000_000
"""When they were modified last, in seconds."""


def make_files(directory: Path) -> Path:
    """A directory with two files that somebody else made."""
    directory.mkdir()
    for name in ("one.bin", "two.bin"):
        (directory / name).write_bytes(BYTES)
        os.utime(directory / name, (MODIFIED, MODIFIED))
    return directory


def config_for(files: Path, **changes: Any) -> RepositoryConfig:
    """A configuration with the container `files`."""
    config = RepositoryConfig(**changes)
    config.set_virtual_chunk_container(
        VirtualChunkContainer(f"file://{files}/", local_filesystem_store(str(files)), name="files")
    )
    return config


async def repository_async(files: Path, spec_version: int = 2, **changes: Any) -> Repository:
    """A repository that may read the files."""
    return await Repository.create_async(
        icechunk.in_memory_storage(),
        config_for(files, **changes),
        {f"file://{files}/": LocalFileSystemAccess},
        spec_version=spec_version,
    )


def repository(files: Path, spec_version: int = 2, **changes: Any) -> Repository:
    return Repository.create(
        icechunk.in_memory_storage(),
        config_for(files, **changes),
        {f"file://{files}/": LocalFileSystemAccess},
        spec_version=spec_version,
    )


async def writing_async(files: Path, shape: tuple[int, ...] = (8,), chunk: int = 2) -> Session:
    """A session with an array of bytes, `g/a`."""
    session = await (await repository_async(files)).writable_session_async("main")
    await create_array_async(session, "g/a", shape, chunks=(chunk,) * len(shape), dtype="u1")
    return session


def writing(files: Path, shape: tuple[int, ...] = (8,), chunk: int = 2) -> Session:
    session = repository(files).writable_session("main")
    create_array(session, "g/a", shape, chunks=(chunk,) * len(shape), dtype="u1")
    return session
