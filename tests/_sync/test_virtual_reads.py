# Generated from tests/_async/test_virtual_reads.py by tools/make_sync.py; edit that file.
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
from tests.arrays import create_array, get_key, read, write
from tests.virtual import MODIFIED, config_for, repository, writing


def reading(files: Path, **reference: Any) -> Session:
    """A session whose array has one virtual chunk, `g/a/c/0`."""
    session = writing(files, (12,), 6)
    arguments = {"location": f"file://{files}/one.bin", "offset": 10, "length": 6, **reference}
    session.store.set_virtual_ref("g/a/c/0", **arguments, validate_container=False)
    return session


def failure(session: Session) -> Any:
    """The error of reading the array: never values."""
    with pytest.raises((StorageError, InvalidInputError)) as caught:
        read(session, "g/a")
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
def test_parts_of_a_virtual_chunk(files: Path, request_: Any, wanted: Any) -> None:
    """They count from the start of the chunk, and never reach beyond it into the file."""
    session = reading(files)
    session.commit("refer")
    assert get_key(session, "g/a/c/0", request_) == bytes(wanted)


def test_a_sharded_array_in_another_file(files: Path) -> None:
    """Parts of one chunk are read by ranges: the index from its end, then the inner chunks."""
    values = np.arange(64, dtype="u2").reshape(8, 8)
    maker = (repository(files)).writable_session("main")
    kinds: dict[str, Any] = {"shards": (8, 8), "chunks": (2, 2), "dtype": "u2"}
    made = create_array(maker, "a", (8, 8), **kinds)
    write(made, ..., values)
    content = get_key(maker, "a/c/0/0")
    assert content is not None
    (files / "shard").write_bytes(b"before" + content + b"behind")
    session = (repository(files)).writable_session("main")
    create_array(session, "a", (8, 8), **kinds)
    session.store.set_virtual_ref("a/c/0/0", "vcc://files/shard", offset=6, length=len(content))
    assert (read(session, "a") == values).all()


def test_a_path_with_odd_characters(files: Path) -> None:
    """A name is percent-encoded in the location, and decoded once to open the file."""
    (files / "a b%20#?.bin").write_bytes(b"\x07" * 20)
    session = reading(files, location=f"file://{files}/a b%2520%23%3F.bin")
    assert (read(session, "g/a"))[:6].tolist() == [7] * 6


# What makes it fail


def test_a_file_that_is_gone(files: Path) -> None:
    """An error that names file and container, and never the fill value."""
    session = reading(files)
    (files / "one.bin").unlink()
    error = failure(session)
    assert error.kind == "virtual-chunk-fetch"
    assert f"`file://{files}/one.bin`" in error.message
    assert f"`file://{files}/` (named `files`)" in error.message
    assert "there is no such file" in error.message


@pytest.mark.parametrize(
    "location", ["vcc://files/", "vcc://files/one.bin/deeper", "vcc://files/%00", "vcc://files/" + "x" * 300]
)
def test_what_is_no_file(files: Path, location: str) -> None:
    error = failure(reading(files, location=location))
    assert error.kind == "virtual-chunk-fetch"


@pytest.mark.parametrize(
    ("offset", "length"), [(195, 6), (200, 1), (300, 6), (0, 2**62), (2**63, 6), (2**64 - 2, 2**64 - 1)]
)
def test_a_file_that_is_too_short(files: Path, offset: int, length: int) -> None:
    """What is not all there is an error, however long it is said to be."""
    error = failure(reading(files, offset=offset, length=length))
    assert error.kind == "invalid-object-size"
    assert "ends at 200" in error.message


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_a_file_that_was_modified(files: Path, seconds: int) -> None:
    """Later than the reference says."""
    moment = datetime.fromtimestamp(MODIFIED, UTC) + timedelta(seconds=seconds)
    session = reading(files, checksum=moment)
    session.commit("refer")
    if seconds < 0:
        assert (failure(session)).kind == "virtual-chunk-modified"
        return
    assert (read(session, "g/a"))[0] == 10
    os.utime(files / "one.bin", (MODIFIED + 10, MODIFIED + 10))
    error = failure(session)
    assert error.kind == "virtual-chunk-modified"
    assert f"`file://{files}/one.bin`" in error.message


@pytest.mark.parametrize("quotes", ["", '"'])
def test_a_file_with_another_etag(files: Path, quotes: str) -> None:
    """An etag is the file's inode, time and size, with quotes or without."""
    status = (files / "one.bin").stat()
    etag = f"{status.st_ino:x}-{status.st_mtime_ns // 1000:x}-{status.st_size:x}"
    session = reading(files, checksum=f"{quotes}{etag}{quotes}")
    session.commit("refer")
    assert (read(session, "g/a"))[0] == 10
    (files / "one.bin").write_bytes(bytes(300))
    os.utime(files / "one.bin", (MODIFIED, MODIFIED))
    assert (failure(session)).kind == "virtual-chunk-modified"


def test_no_container(files: Path) -> None:
    session = reading(files, location="file:///elsewhere/x.bin")
    error = failure(session)
    assert error.kind == "no-container-for-virtual-chunk"
    assert 'VirtualChunkContainer("file:///elsewhere/"' in error.message


def test_a_store_that_is_not_supported_yet(files: Path) -> None:
    config = config_for(files)
    store = ObjectStoreConfig.S3(S3Options(region="us-east-1"))
    config.set_virtual_chunk_container(VirtualChunkContainer("s3://bucket/", store))
    access = {"s3://bucket/": Credentials.S3(s3_credentials(anonymous=True))}
    repo = Repository.create(icechunk.in_memory_storage(), config, access)
    session = repo.writable_session("main")
    create_array(session, "g/a", (6,), chunks=(6,), dtype="u1")
    session.store.set_virtual_ref("g/a/c/0", "s3://bucket/x", offset=0, length=6)
    error = failure(session)
    assert error.kind == "virtual-chunk-fetch"
    assert "not supported by this release" in error.message


# Authorisation


def test_what_is_not_authorised_is_not_read(files: Path) -> None:
    """The error has what to pass; passing it makes the chunk readable."""
    storage = icechunk.in_memory_storage()
    repo = Repository.create(storage, config_for(files))
    session = repo.writable_session("main")
    create_array(session, "g/a", (6,), chunks=(6,), dtype="u1")
    session.store.set_virtual_ref("g/a/c/0", "vcc://files/one.bin", offset=0, length=6)
    session.commit("refer")
    repo = Repository.open(storage)
    assert repo.authorized_virtual_container_prefixes == set()
    error = failure(repo.readonly_session("main"))
    assert error.kind == "unauthorized-virtual-chunk-container"
    _, _, call = error.message.partition("authorize_virtual_chunk_access=")
    access = eval(call.strip("`"), {"icechunk": icechunk})  # what a reader of the message would do
    assert access == {f"file://{files}/": LocalFileSystemAccess}
    for opened in (
        Repository.open(storage, authorize_virtual_chunk_access=access),
        Repository.open_or_create(storage, authorize_virtual_chunk_access=access),
        repo.reopen(authorize_virtual_chunk_access=access),
    ):
        assert opened.authorized_virtual_container_prefixes == {f"file://{files}/"}
        again = opened.reopen()
        assert again.authorized_virtual_container_prefixes == {f"file://{files}/"}
        reader = again.readonly_session("main")
        assert (read(reader, "g/a")).tolist() == list(range(6))


def test_authorising_one_directory_does_not_authorise_its_neighbour(files: Path) -> None:
    """Not one whose name begins alike, not one above, not one below."""
    storage = icechunk.in_memory_storage()
    repo = Repository.create(storage, config_for(files))
    session = repo.writable_session("main")
    create_array(session, "g/a", (6,), chunks=(6,), dtype="u1")
    session.store.set_virtual_ref("g/a/c/0", "vcc://files/one.bin", offset=0, length=6)
    session.commit("refer")
    for prefix in (str(files)[:-1], str(files.parent), f"{files}/deeper"):
        access = {f"file://{prefix}": LocalFileSystemAccess}
        opened = Repository.open(storage, authorize_virtual_chunk_access=access)
        reader = opened.readonly_session("main")
        assert (failure(reader)).kind == "unauthorized-virtual-chunk-container"


def test_a_link_out_of_the_container_is_a_file_in_it(files: Path, tmp_path: Path) -> None:
    """Who may put links into the directory decides what is in it; `..` in a location does not."""
    (tmp_path / "outside.bin").write_bytes(bytes(20))
    (files / "link").symlink_to(tmp_path / "outside.bin")
    session = reading(files, location="vcc://files/link")
    assert (read(session, "g/a"))[:6].tolist() == [0] * 6
    for location in ("vcc://files/../outside.bin", "vcc://files/%2e%2e/outside.bin"):
        error = failure(reading(files, location=location))
        assert error.kind == "no-container-for-virtual-chunk"


def test_none_is_deprecated(files: Path) -> None:
    """It still authorises, with a warning where it is passed and nowhere else."""
    storage = icechunk.in_memory_storage()
    access = {f"file://{files}": None}
    with pytest.warns(DeprecationWarning, match="LocalFileSystemAccess") as caught:
        repo = Repository.create(storage, config_for(files), access)
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="LocalFileSystemAccess"):
        Repository.open(storage, authorize_virtual_chunk_access=access)
    session = (repo.reopen()).writable_session("main")
    create_array(session, "g/a", (6,), chunks=(6,), dtype="u1")
    session.store.set_virtual_ref("g/a/c/0", "vcc://files/one.bin", offset=0, length=6)
    assert (read(session, "g/a")).tolist() == list(range(6))


@pytest.mark.parametrize("credential", [HttpAccess, Credentials.S3(s3_credentials(anonymous=True))])
def test_credentials_of_another_kind_are_refused_early(files: Path, credential: Any) -> None:
    access = {f"file://{files}/": credential}
    with pytest.raises(StorageError) as caught:
        Repository.create(icechunk.in_memory_storage(), config_for(files), access)
    assert caught.value.kind == "storage-other"
    repo = repository(files)
    with pytest.raises(StorageError):
        repo.reopen(authorize_virtual_chunk_access=access)
    with pytest.raises(TypeError, match="containers_credentials"):
        repo.reopen(authorize_virtual_chunk_access={f"file://{files}/": "secret"})  # type: ignore[dict-item]


@pytest.mark.parametrize("spec_version", [1, 2])
def test_cleared_containers_stay_cleared(files: Path, spec_version: int) -> None:
    """A configuration without containers is stored as one, and is not one that says nothing of them."""
    storage = icechunk.in_memory_storage()
    repo = Repository.create(storage, config_for(files), spec_version=spec_version)
    config = repo.config
    assert config.get_virtual_chunk_container(f"file://{files}/") is not None
    config.clear_virtual_chunk_containers()
    cleared = repo.reopen(config)
    cleared.save_config()
    assert not (Repository.open(storage)).config.virtual_chunk_containers
    stored = Repository.fetch_config(storage)
    assert stored is not None
    assert not stored.virtual_chunk_containers


def test_a_container_can_be_given_at_another_place(files: Path, tmp_path: Path) -> None:
    """Locations that name it follow it; those spelled out do not."""
    storage = icechunk.in_memory_storage()
    session = (Repository.create(storage, config_for(files))).writable_session("main")
    for name, location in (("named", "vcc://files/one.bin"), ("spelled", f"file://{files}/one.bin")):
        create_array(session, name, (6,), chunks=(6,), dtype="u1")
        session.store.set_virtual_ref(f"{name}/c/0", location, offset=0, length=6)
    session.commit("refer")
    moved = tmp_path / "moved"
    files.rename(moved)
    access = {f"file://{moved}/": LocalFileSystemAccess}
    repo = Repository.open(storage, config_for(moved), access)
    reader = repo.readonly_session("main")
    assert (read(reader, "named")).tolist() == list(range(6))
    assert reader.all_virtual_chunk_locations() == [
        f"file://{moved}/one.bin",
        f"file://{files}/one.bin",
    ]
    with pytest.raises(InvalidInputError) as caught:
        read(reader, "spelled")
    assert caught.value.kind == "no-container-for-virtual-chunk"


def test_pickled_sessions_may_still_read(files: Path) -> None:
    """Containers and authorisations survive."""
    session = reading(files)
    session.commit("refer")
    copy: Session = pickle.loads(pickle.dumps(session))
    assert (read(copy, "g/a"))[:6].tolist() == list(range(10, 16))
