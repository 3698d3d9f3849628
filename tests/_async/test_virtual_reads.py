"""Reading chunks in other files: what may be read, and what makes reading fail."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

import icechunk
from icechunk import (
    Credentials,
    InvalidInputError,
    ObjectStoreConfig,
    Repository,
    S3Options,
    Session,
    StorageError,
    VirtualChunkContainer,
    s3_credentials,
)
from icechunk.credentials import HttpAccess, LocalFileSystemAccess
from tests.arrays import create_array_async, get_key_async, read_async, write_async
from tests.virtual import MODIFIED, config_for, repository_async, writing_async


async def reading_async(files: Path, **reference: Any) -> Session:
    """A session whose array has one virtual chunk, `g/a/c/0`."""
    session = await writing_async(files, (12,), 6)
    arguments = {"location": f"file://{files}/one.bin", "offset": 10, "length": 6, **reference}
    await session.store.set_virtual_ref_async("g/a/c/0", **arguments, validate_container=False)
    return session


async def failure_async(session: Session) -> Any:
    """The error of reading the array: never values."""
    with pytest.raises((StorageError, InvalidInputError)) as caught:
        await read_async(session, "g/a")
    return caught.value


# Ranges


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (None, range(10, 16)),
        (RangeByteRequest(1, 3), range(11, 13)),
        (RangeByteRequest(3, 3), ()),
        (RangeByteRequest(4, 99), range(14, 16)),
        (OffsetByteRequest(4), range(14, 16)),
        (OffsetByteRequest(6), ()),
        (SuffixByteRequest(2), range(14, 16)),
        (SuffixByteRequest(0), ()),
        (SuffixByteRequest(99), range(10, 16)),
    ],
)
async def test_parts_of_a_virtual_chunk_async(files: Path, request_: Any, wanted: Any) -> None:
    """They count from the start of the chunk, and never reach beyond it into the file."""
    session = await reading_async(files)
    await session.commit_async("refer")
    assert await get_key_async(session, "g/a/c/0", request_) == bytes(wanted)


async def test_a_sharded_array_in_another_file_async(files: Path) -> None:
    """Parts of one chunk are read by ranges: the index from its end, then the inner chunks."""
    values = np.arange(64, dtype="u2").reshape(8, 8)
    maker = await (await repository_async(files)).writable_session_async("main")
    kinds: dict[str, Any] = {"shards": (8, 8), "chunks": (2, 2), "dtype": "u2"}
    made = await create_array_async(maker, "a", (8, 8), **kinds)
    await write_async(made, ..., values)
    content = await get_key_async(maker, "a/c/0/0")
    assert content is not None
    (files / "shard").write_bytes(b"before" + content + b"behind")
    session = await (await repository_async(files)).writable_session_async("main")
    await create_array_async(session, "a", (8, 8), **kinds)
    await session.store.set_virtual_ref_async("a/c/0/0", "vcc://files/shard", offset=6, length=len(content))
    assert (await read_async(session, "a") == values).all()


async def test_a_path_with_odd_characters_async(files: Path) -> None:
    """A name is percent-encoded in the location, and decoded once to open the file."""
    (files / "a b%20#?.bin").write_bytes(b"\x07" * 20)
    session = await reading_async(files, location=f"file://{files}/a b%2520%23%3F.bin")
    assert (await read_async(session, "g/a"))[:6].tolist() == [7] * 6


# What makes it fail


async def test_a_file_that_is_gone_async(files: Path) -> None:
    """An error that names file and container, and never the fill value."""
    session = await reading_async(files)
    (files / "one.bin").unlink()
    error = await failure_async(session)
    assert error.kind == "virtual-chunk-fetch"
    assert f"`file://{files}/one.bin`" in error.message
    assert f"`file://{files}/` (named `files`)" in error.message
    assert "there is no such file" in error.message


@pytest.mark.parametrize(
    "location", ["vcc://files/", "vcc://files/one.bin/deeper", "vcc://files/%00", "vcc://files/" + "x" * 300]
)
async def test_what_is_no_file_async(files: Path, location: str) -> None:
    error = await failure_async(await reading_async(files, location=location))
    assert error.kind == "virtual-chunk-fetch"


@pytest.mark.parametrize(
    ("offset", "length"), [(195, 6), (200, 1), (300, 6), (0, 2**62), (2**63, 6), (2**64 - 2, 2**64 - 1)]
)
async def test_a_file_that_is_too_short_async(files: Path, offset: int, length: int) -> None:
    """What is not all there is an error, however long it is said to be."""
    error = await failure_async(await reading_async(files, offset=offset, length=length))
    assert error.kind == "invalid-object-size"
    assert "ends at 200" in error.message


@pytest.mark.parametrize("seconds", [-1, 0, 1])
async def test_a_file_that_was_modified_async(files: Path, seconds: int) -> None:
    """Later than the reference says."""
    moment = datetime.fromtimestamp(MODIFIED, UTC) + timedelta(seconds=seconds)
    session = await reading_async(files, checksum=moment)
    await session.commit_async("refer")
    if seconds < 0:
        assert (await failure_async(session)).kind == "virtual-chunk-modified"
        return
    assert (await read_async(session, "g/a"))[0] == 10
    os.utime(files / "one.bin", (MODIFIED + 10, MODIFIED + 10))
    error = await failure_async(session)
    assert error.kind == "virtual-chunk-modified"
    assert f"`file://{files}/one.bin`" in error.message


@pytest.mark.parametrize("quotes", ["", '"'])
async def test_a_file_with_another_etag_async(files: Path, quotes: str) -> None:
    """An etag is the file's inode, time and size, with quotes or without."""
    status = (files / "one.bin").stat()
    etag = f"{status.st_ino:x}-{status.st_mtime_ns // 1000:x}-{status.st_size:x}"
    session = await reading_async(files, checksum=f"{quotes}{etag}{quotes}")
    await session.commit_async("refer")
    assert (await read_async(session, "g/a"))[0] == 10
    (files / "one.bin").write_bytes(bytes(300))
    os.utime(files / "one.bin", (MODIFIED, MODIFIED))
    assert (await failure_async(session)).kind == "virtual-chunk-modified"


async def test_no_container_async(files: Path) -> None:
    session = await reading_async(files, location="file:///elsewhere/x.bin")
    error = await failure_async(session)
    assert error.kind == "no-container-for-virtual-chunk"
    assert 'VirtualChunkContainer("file:///elsewhere/"' in error.message


async def test_a_store_that_is_not_supported_yet_async(files: Path) -> None:
    config = config_for(files)
    store = ObjectStoreConfig.S3(S3Options(region="us-east-1"))
    config.set_virtual_chunk_container(VirtualChunkContainer("s3://bucket/", store))
    access = {"s3://bucket/": Credentials.S3(s3_credentials(anonymous=True))}
    repo = await Repository.create_async(icechunk.in_memory_storage(), config, access)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "g/a", (6,), chunks=(6,), dtype="u1")
    await session.store.set_virtual_ref_async("g/a/c/0", "s3://bucket/x", offset=0, length=6)
    error = await failure_async(session)
    assert error.kind == "virtual-chunk-fetch"
    assert "not supported by this release" in error.message


# Authorisation


async def test_what_is_not_authorised_is_not_read_async(files: Path) -> None:
    """The error has what to pass; passing it makes the chunk readable."""
    storage = icechunk.in_memory_storage()
    repo = await Repository.create_async(storage, config_for(files))
    session = await repo.writable_session_async("main")
    await create_array_async(session, "g/a", (6,), chunks=(6,), dtype="u1")
    await session.store.set_virtual_ref_async("g/a/c/0", "vcc://files/one.bin", offset=0, length=6)
    await session.commit_async("refer")
    repo = await Repository.open_async(storage)
    assert repo.authorized_virtual_container_prefixes == set()
    error = await failure_async(await repo.readonly_session_async("main"))
    assert error.kind == "unauthorized-virtual-chunk-container"
    _, _, call = error.message.partition("authorize_virtual_chunk_access=")
    access = eval(call.strip("`"), {"icechunk": icechunk})  # what a reader of the message would do
    assert access == {f"file://{files}/": LocalFileSystemAccess}
    for opened in (
        await Repository.open_async(storage, authorize_virtual_chunk_access=access),
        await Repository.open_or_create_async(storage, authorize_virtual_chunk_access=access),
        await repo.reopen_async(authorize_virtual_chunk_access=access),
    ):
        assert opened.authorized_virtual_container_prefixes == {f"file://{files}/"}
        again = await opened.reopen_async()
        assert again.authorized_virtual_container_prefixes == {f"file://{files}/"}
        reader = await again.readonly_session_async("main")
        assert (await read_async(reader, "g/a")).tolist() == list(range(6))


async def test_authorising_one_directory_does_not_authorise_its_neighbour_async(files: Path) -> None:
    """Not one whose name begins alike, not one above, not one below."""
    storage = icechunk.in_memory_storage()
    repo = await Repository.create_async(storage, config_for(files))
    session = await repo.writable_session_async("main")
    await create_array_async(session, "g/a", (6,), chunks=(6,), dtype="u1")
    await session.store.set_virtual_ref_async("g/a/c/0", "vcc://files/one.bin", offset=0, length=6)
    await session.commit_async("refer")
    for prefix in (str(files)[:-1], str(files.parent), f"{files}/deeper"):
        access = {f"file://{prefix}": LocalFileSystemAccess}
        opened = await Repository.open_async(storage, authorize_virtual_chunk_access=access)
        reader = await opened.readonly_session_async("main")
        assert (await failure_async(reader)).kind == "unauthorized-virtual-chunk-container"


async def test_a_link_out_of_the_container_is_a_file_in_it_async(files: Path, tmp_path: Path) -> None:
    """Who may put links into the directory decides what is in it; `..` in a location does not."""
    (tmp_path / "outside.bin").write_bytes(bytes(20))
    (files / "link").symlink_to(tmp_path / "outside.bin")
    session = await reading_async(files, location="vcc://files/link")
    assert (await read_async(session, "g/a"))[:6].tolist() == [0] * 6
    for location in ("vcc://files/../outside.bin", "vcc://files/%2e%2e/outside.bin"):
        error = await failure_async(await reading_async(files, location=location))
        assert error.kind == "no-container-for-virtual-chunk"


async def test_none_is_deprecated_async(files: Path) -> None:
    """It still authorises, with a warning where it is passed and nowhere else."""
    storage = icechunk.in_memory_storage()
    access = {f"file://{files}": None}
    with pytest.warns(DeprecationWarning, match="LocalFileSystemAccess") as caught:
        repo = await Repository.create_async(storage, config_for(files), access)
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="LocalFileSystemAccess"):
        await Repository.open_async(storage, authorize_virtual_chunk_access=access)
    session = await (await repo.reopen_async()).writable_session_async("main")
    await create_array_async(session, "g/a", (6,), chunks=(6,), dtype="u1")
    await session.store.set_virtual_ref_async("g/a/c/0", "vcc://files/one.bin", offset=0, length=6)
    assert (await read_async(session, "g/a")).tolist() == list(range(6))


@pytest.mark.parametrize("credential", [HttpAccess, Credentials.S3(s3_credentials(anonymous=True))])
async def test_credentials_of_another_kind_are_refused_early_async(files: Path, credential: Any) -> None:
    access = {f"file://{files}/": credential}
    with pytest.raises(StorageError) as caught:
        await Repository.create_async(icechunk.in_memory_storage(), config_for(files), access)
    assert caught.value.kind == "storage-other"
    repo = await repository_async(files)
    with pytest.raises(StorageError):
        await repo.reopen_async(authorize_virtual_chunk_access=access)
    with pytest.raises(TypeError, match="containers_credentials"):
        await repo.reopen_async(authorize_virtual_chunk_access={f"file://{files}/": "secret"})  # type: ignore[dict-item]


@pytest.mark.parametrize("spec_version", [1, 2])
async def test_cleared_containers_stay_cleared_async(files: Path, spec_version: int) -> None:
    """A configuration without containers is stored as one, and is not one that says nothing of them."""
    storage = icechunk.in_memory_storage()
    repo = await Repository.create_async(storage, config_for(files), spec_version=spec_version)
    config = repo.config
    assert config.get_virtual_chunk_container(f"file://{files}/") is not None
    config.clear_virtual_chunk_containers()
    cleared = await repo.reopen_async(config)
    await cleared.save_config_async()
    assert not (await Repository.open_async(storage)).config.virtual_chunk_containers
    stored = await Repository.fetch_config_async(storage)
    assert stored is not None
    assert not stored.virtual_chunk_containers


async def test_a_container_can_be_given_at_another_place_async(files: Path, tmp_path: Path) -> None:
    """Locations that name it follow it; those spelled out do not."""
    storage = icechunk.in_memory_storage()
    session = await (await Repository.create_async(storage, config_for(files))).writable_session_async("main")
    for name, location in (("named", "vcc://files/one.bin"), ("spelled", f"file://{files}/one.bin")):
        await create_array_async(session, name, (6,), chunks=(6,), dtype="u1")
        await session.store.set_virtual_ref_async(f"{name}/c/0", location, offset=0, length=6)
    await session.commit_async("refer")
    moved = tmp_path / "moved"
    files.rename(moved)
    access = {f"file://{moved}/": LocalFileSystemAccess}
    repo = await Repository.open_async(storage, config_for(moved), access)
    reader = await repo.readonly_session_async("main")
    assert (await read_async(reader, "named")).tolist() == list(range(6))
    assert await reader.all_virtual_chunk_locations_async() == [
        f"file://{moved}/one.bin",
        f"file://{files}/one.bin",
    ]
    with pytest.raises(InvalidInputError) as caught:
        await read_async(reader, "spelled")
    assert caught.value.kind == "no-container-for-virtual-chunk"


async def test_pickled_sessions_may_still_read_async(files: Path) -> None:
    """Containers and authorisations survive."""
    session = await reading_async(files)
    await session.commit_async("refer")
    copy: Session = pickle.loads(pickle.dumps(session))
    assert (await read_async(copy, "g/a"))[:6].tolist() == list(range(10, 16))
