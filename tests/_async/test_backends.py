"""What every backend owes the engine: in memory, in a directory, on S3, on any store of obstore's."""

from __future__ import annotations

import datetime
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from obstore.store import LocalStore, MemoryStore

from icechunk import Repository, RepositoryConfig
from icechunk._async.backends import open_backend_async
from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import StorageError
from icechunk._io.concurrency import map_concurrently_async
from icechunk._io.files import INLINE_LIMIT, Files
from icechunk._storage_settings import StorageConcurrencySettings, StorageRetriesSettings, StorageSettings
from icechunk._stored_objects import Version
from icechunk.storage import (
    LocalFileSystemStorage,
    S3Storage,
    Storage,
    in_memory_storage,
    local_filesystem_storage,
    obstore_storage,
    s3_storage,
)
from icechunk.testing.faults import Faults, faulty_storage
from tests.s3_server import s3_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from icechunk._async.backends import AsyncBackend

KINDS = ["memory", "local", "durable", "s3", "obstore", "faulty"]
QUICK = StorageSettings(retries=StorageRetriesSettings(max_tries=3, initial_backoff_ms=1, max_backoff_ms=5))
SMALL_REQUESTS = StorageSettings(
    concurrency=StorageConcurrencySettings(
        max_concurrent_requests_for_object=4, ideal_concurrent_request_size=1000
    ),
    minimum_size_for_multipart_upload=5_500_000,
)


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    match request.param:
        case "memory":
            return in_memory_storage()
        case "local":
            return local_filesystem_storage(tmp_path / "some" / "repo")
        case "durable":
            return local_filesystem_storage(tmp_path / "some" / "repo", durable=True)
        case "s3":
            return s3_at(request.getfixturevalue("s3_server"), str(tmp_path))
        case "obstore":
            return obstore_storage(MemoryStore(), prefix="some/where")
        case _:
            return faulty_storage(in_memory_storage(), Faults())


async def all_keys_async(backend: AsyncBackend, prefix: str = "") -> list[str]:
    return sorted([info.key async for batch in backend.list_async(prefix) for info in batch])


async def read_async(backend: AsyncBackend, key: str) -> tuple[bytes, Version]:
    found = await backend.get_versioned_async(key)
    assert found is not None
    return bytes(found[0]), found[1]


async def test_objects_are_read_back_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, StorageSettings())
    assert backend.can_write
    assert await backend.is_clean_async()
    await backend.prepare_root_async()
    assert await backend.is_clean_async()
    for data in (b"", b"x", bytes(range(256)) * 4, bytes(INLINE_LIMIT), b"ab" * INLINE_LIMIT):
        await backend.put_async("chunks/A", data)
        await backend.put_async(f"chunks/{len(data)}", data, new=True)
        for key in ("chunks/A", f"chunks/{len(data)}"):
            found = await backend.get_async(key)
            assert bytes(found) == data
    assert not await backend.is_clean_async()


async def test_any_buffer_can_be_written_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, StorageSettings())
    numbers = np.arange(24, dtype="<u4").reshape(4, 6)
    buffers: list[Any] = [bytearray(b"abc"), memoryview(b"abcdef")[1:4], numbers, numbers[:, 1], numbers[:0]]
    for data in buffers:
        await backend.put_async("chunks/A", data)
        found = await backend.get_async("chunks/A")
        assert bytes(found) == memoryview(data).tobytes()


async def test_a_written_buffer_may_change_afterwards_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, StorageSettings())
    data = bytearray(b"before")
    await backend.put_async("a", data)
    await backend.put_conditional_async("b", data, None)
    data[:] = b"after!"
    for key in ("a", "b"):
        found = await backend.get_async(key)
        assert bytes(found) == b"before"


async def test_ranges_are_exact_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, SMALL_REQUESTS)
    data = np.random.default_rng(1).bytes(10_000)
    await backend.put_async("chunks/A", data)
    for start, end in (
        (0, 10_000),
        (0, 1),
        (9_999, 10_000),
        (17, 4_018),
        (5, 5),
        (3, None),
        (0, None),
        (10_000, 10_000),
    ):
        found = await backend.get_async("chunks/A", start, end)
        assert bytes(found) == data[start:end]
    ranges = [(9_000, 9_010), (0, 0), (0, 3), (2, 5_000), (9_999, 10_000)]
    pieces = await backend.get_ranges_async("chunks/A", ranges)
    assert [bytes(piece) for piece in pieces] == [data[start:end] for start, end in ranges]
    assert await backend.get_ranges_async("chunks/A", []) == []


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *[(0, 10_001), (9_000, 12_000), (10_000, 10_001), (20_000, 20_001), (20_000, 20_000)],
        # What damaged references ask for.
        *[(0, 2**40), (1, 2**63), (2**63, 2**63 + 1), (2**63 - 5, 2**63 + 5), (2**64 - 2, 2**65)],
    ],
)
async def test_a_range_past_the_end_is_an_error_async(storage: Storage, start: int, end: int) -> None:
    backend = await open_backend_async(storage, SMALL_REQUESTS)
    await backend.put_async("chunks/A", bytes(10_000))
    with pytest.raises(StorageError, match="chunks/A") as raised:
        await backend.get_async("chunks/A", start, end)
    assert raised.value.kind == "invalid-object-size"
    with pytest.raises(StorageError, match="chunks/A") as raised:
        await backend.get_ranges_async("chunks/A", [(0, 1), (start, end)])
    assert raised.value.kind == "invalid-object-size"


async def test_a_missing_object_is_named_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, StorageSettings())
    operations: list[Callable[[], Awaitable[object]]] = [
        lambda: backend.get_async("chunks/A"),
        lambda: backend.get_async("chunks/A", 2, 5),
        lambda: backend.get_async("chunks/A", 2, 2),
        lambda: backend.get_ranges_async("chunks/A", [(0, 1), (5, 7)]),
        lambda: backend.get_versioned_async("chunks/A"),
        lambda: backend.get_versioned_async("chunks/A", Version('"x"')),
        lambda: backend.head_async("chunks/A"),
        lambda: backend.copy_async("chunks/A", "chunks/B", None),
    ]
    for operation in operations:
        with pytest.raises(StorageError, match="chunks/A") as raised:
            await operation()
        assert raised.value.kind == "object-not-found"


async def test_looking_creates_nothing_async(storage: Storage, tmp_path: Path) -> None:
    """Looking for a repository that is not there leaves no directory behind."""
    backend = await open_backend_async(storage, StorageSettings())
    with pytest.raises(StorageError, match="repo"):
        await backend.get_versioned_async("repo")
    assert await all_keys_async(backend) == []
    assert await backend.delete_many_async(["repo"]) == []
    assert list(tmp_path.iterdir()) == []


async def test_versions_tell_contents_apart_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, StorageSettings())
    first = await backend.put_conditional_async("repo", b"one", None)
    assert await read_async(backend, "repo") == (b"one", first)
    assert await backend.get_versioned_async("repo", first) is None
    second = await backend.put_conditional_async("repo", b"two", first)
    assert second != first
    found = await backend.get_versioned_async("repo", first)
    assert found is not None
    assert (bytes(found[0]), found[1]) == (b"two", second)


async def test_writes_of_equal_size_in_quick_succession_have_different_versions_async(
    storage: Storage,
) -> None:
    """Files written within one tick of the clock have one time and size, and are not equal for that."""
    backend = await open_backend_async(storage, StorageSettings())
    version = await backend.put_conditional_async("repo", b"000", None)
    seen = {version}
    for number in range(1, 30):
        version = await backend.put_conditional_async("repo", b"%03d" % number, version)
        seen.add(version)
    assert len(seen) == 30


async def test_a_conditional_write_is_refused_when_somebody_was_first_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, QUICK)
    with pytest.raises(PreconditionFailed, match="repo"):
        await backend.put_conditional_async("repo", b"x", Version('"never"', None))
    first = await backend.put_conditional_async("repo", b"one", None)
    with pytest.raises(PreconditionFailed):
        await backend.put_conditional_async("repo", b"x", None)
    second = await backend.put_conditional_async("repo", b"two", first)
    for version in (first, Version('"never"'), Version()):
        with pytest.raises(PreconditionFailed):
            await backend.put_conditional_async("repo", b"x", version)
    assert await read_async(backend, "repo") == (b"two", second)
    assert await backend.delete_many_async(["repo"]) == []
    with pytest.raises(PreconditionFailed):
        await backend.put_conditional_async("repo", b"x", second)
    assert await all_keys_async(backend) == []


async def test_plain_writes_count_as_changes_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, QUICK)
    version = await backend.put_conditional_async("repo", b"one", None)
    await backend.put_async("repo", b"two")
    with pytest.raises(PreconditionFailed):
        await backend.put_conditional_async("repo", b"three", version)
    with pytest.raises(PreconditionFailed):
        await backend.copy_async("repo", "overwritten/repo.1", version)


async def test_one_of_many_writers_wins_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, QUICK)
    start = await backend.put_conditional_async("repo", b"start", None)

    async def write_async(number: int) -> int | None:
        try:
            await backend.put_conditional_async("repo", b"%d" % number, start)
        except PreconditionFailed:
            return None
        return number

    answers = await map_concurrently_async(write_async, range(8), 8)
    winners = [answer for answer in answers if answer is not None]
    data, _ = await read_async(backend, "repo")
    assert winners == [int(data)]


async def test_a_copy_is_made_of_the_expected_version_only_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, QUICK)
    first = await backend.put_conditional_async("repo", b"one", None)
    await backend.copy_async("repo", "overwritten/repo.1", first)
    await backend.put_conditional_async("repo", b"two", first)
    with pytest.raises(PreconditionFailed):
        await backend.copy_async("repo", "overwritten/repo.2", first)
    await backend.copy_async("repo", "overwritten/repo.3", None)
    for key, data in (("overwritten/repo.1", b"one"), ("overwritten/repo.3", b"two")):
        found = await backend.get_async(key)
        assert bytes(found) == data
    assert await all_keys_async(backend) == ["overwritten/repo.1", "overwritten/repo.3", "repo"]


async def test_listings_hold_what_is_there_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, StorageSettings())
    keys = [
        "repo",
        "chunks/A",
        "chunks/B",
        "chunksmore/A",
        "refs/branch.main/ref.json",
        "refs/tag.a b-ü%41[x]*/ref.json",
    ]
    for key in keys:
        await backend.put_async(key, b"1234")
    await backend.put_conditional_async("config.yaml", b"12", None)
    assert await all_keys_async(backend) == sorted([*keys, "config.yaml"])
    assert await all_keys_async(backend, "chunks") == ["chunks/A", "chunks/B"]
    assert await all_keys_async(backend, "chunks/") == ["chunks/A", "chunks/B"]
    assert await all_keys_async(backend, "refs") == sorted(keys[4:])
    assert await all_keys_async(backend, "nothing") == []
    found = await backend.get_async(keys[5])
    assert bytes(found) == b"1234"
    now = datetime.datetime.now(datetime.UTC)
    async for batch in backend.list_async("chunks"):
        for info in batch:
            assert info == await backend.head_async(info.key)
            assert info.size_bytes == 4
            assert abs(now - info.created_at) < datetime.timedelta(minutes=5)


async def test_a_storage_tells_what_is_in_it_async(storage: Storage) -> None:
    assert await storage.list_objects_metadata_async() == []
    backend = await open_backend_async(storage, StorageSettings())
    for key, data in (("repo", b"1234"), ("chunks/A", b"12"), ("chunksmore/A", b"")):
        await backend.put_async(key, data)
    for everything in (None, "", "/"):
        found = await storage.list_objects_metadata_async(QUICK, everything)
        assert {(info.key, info.size_bytes) for info in found} == {
            ("repo", 4),
            ("chunks/A", 2),
            ("chunksmore/A", 0),
        }
    now = datetime.datetime.now(datetime.UTC)
    for directory in ("chunks", "chunks/", "/chunks"):
        [info] = await storage.list_objects_metadata_async(prefix=directory)
        assert (info.key, info.size_bytes) == ("A", 2)
        assert abs(now - info.created_at) < datetime.timedelta(minutes=5)
        assert storage.list_objects(prefix=directory) == [("A", 2)]
    assert await storage.list_objects_metadata_async(prefix="chun") == []


async def test_long_listings_come_in_batches_async() -> None:
    backend = await open_backend_async(obstore_storage(MemoryStore()), StorageSettings())
    for number in range(1500):
        await backend.put_async(f"chunks/{number}", b"")
    assert [len(batch) async for batch in backend.list_async("chunks")] == [1000, 500]


async def test_a_listing_can_be_left_early_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, StorageSettings())
    for key in ("chunks/A", "chunks/B"):
        await backend.put_async(key, b"")
    async for _ in backend.list_async(""):
        break
    await backend.put_async("chunks/C", b"")
    assert await all_keys_async(backend, "chunks") == ["chunks/A", "chunks/B", "chunks/C"]


async def test_deleting_is_idempotent_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, StorageSettings())
    for key in ("chunks/A", "chunks/B", "chunks/C"):
        await backend.put_async(key, b"")
    assert await backend.delete_many_async(["chunks/A", "chunks/never", "chunks/C"]) == []
    assert await backend.delete_many_async(["chunks/A"]) == []
    assert await backend.delete_many_async([]) == []
    assert await all_keys_async(backend) == ["chunks/B"]


async def test_a_pickled_storage_reaches_the_same_objects_async(storage: Storage) -> None:
    backend = await open_backend_async(storage, StorageSettings())
    await backend.put_async("chunks/A", b"here")
    if "obstore" in str(storage):
        return
    copy = pickle.loads(pickle.dumps(storage))
    assert type(copy) is type(storage)
    other = await open_backend_async(copy, StorageSettings())
    found = await other.get_async("chunks/A")
    assert bytes(found) == b"here"


async def test_without_conditions_the_last_writer_wins_async(tmp_path: Path) -> None:
    careless = StorageSettings(unsafe_use_conditional_create=False, unsafe_use_conditional_update=False)
    for storage in (in_memory_storage(), obstore_storage(MemoryStore())):
        backend = await open_backend_async(storage, careless)
        version = await backend.put_conditional_async("repo", b"one", None)
        await backend.put_conditional_async("repo", b"two", None)
        await backend.put_conditional_async("repo", b"three", version)
        found = await backend.get_async("repo")
        assert bytes(found) == b"three"
    directory = await open_backend_async(local_filesystem_storage(tmp_path), careless)
    await directory.put_conditional_async("repo", b"one", None)
    with pytest.raises(PreconditionFailed):
        await directory.put_conditional_async("repo", b"two", None)


# Directories


@pytest.mark.parametrize("key", ["../repo", "a/../../repo", "/etc/passwd", "a//b", "", ".", "a/."])
async def test_keys_never_leave_the_directory_async(tmp_path: Path, key: str) -> None:
    backend = await open_backend_async(local_filesystem_storage(tmp_path / "repo"), StorageSettings())
    with pytest.raises(StorageError, match="not the key of an object"):
        await backend.put_async(key, b"")
    with pytest.raises(StorageError, match="not the key of an object"):
        await backend.get_async(key)
    failures = await backend.delete_many_async([key])
    assert [failed for failed, _ in failures] == [key]
    assert list(tmp_path.iterdir()) == []


async def test_listings_skip_what_writers_left_behind_async(tmp_path: Path) -> None:
    backend = await open_backend_async(local_filesystem_storage(tmp_path), StorageSettings())
    await backend.put_conditional_async("repo", b"", None)
    (tmp_path / "repo#123").write_bytes(b"half")
    assert {path.name for path in tmp_path.iterdir()} == {"repo", "repo#123", ".lock#0"}
    assert await all_keys_async(backend) == ["repo"]


async def test_names_of_files_are_those_of_the_official_implementation_async(tmp_path: Path) -> None:
    backend = await open_backend_async(local_filesystem_storage(tmp_path), StorageSettings())
    names = {
        "branch.é": "branch.%C3%A9",
        "branch.a b": "branch.a b",
        "branch.a~b": "branch.a%7Eb",
        "branch.a%20b": "branch.a%2520b",
        "branch.a#1": "branch.a%231",
        'branch.a{b}^`|<>"': "branch.a%7Bb%7D%5E%60%7C%3C%3E%22",
        "branch.a\tb": "branch.a%09b",
        "branch.a+b&c=d": "branch.a+b&c=d",
    }
    for key in names:
        await backend.put_async(key, b"")
    assert {path.name for path in tmp_path.iterdir()} == set(names.values())
    assert await all_keys_async(backend) == sorted(names)


async def test_a_directory_that_cannot_be_written_is_named_async(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    backend = await open_backend_async(local_filesystem_storage(tmp_path / "file"), StorageSettings())
    for operation in (
        lambda: backend.put_async("chunks/A", b""),
        lambda: backend.put_conditional_async("repo", b"", None),
        backend.prepare_root_async,
    ):
        with pytest.raises(StorageError, match=str(tmp_path / "file")) as raised:
            await operation()
        assert raised.value.kind == "io"
        assert isinstance(raised.value.__cause__, OSError)


async def test_a_relative_path_is_pinned_async(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes the working directory later, or unpickles, means the same place."""
    monkeypatch.chdir(tmp_path)
    storage = local_filesystem_storage("repo")
    monkeypatch.chdir("/")
    backend = await open_backend_async(pickle.loads(pickle.dumps(storage)), StorageSettings())
    await backend.put_async("a", b"")
    assert isinstance(storage, LocalFileSystemStorage)
    assert storage.path == str(tmp_path / "repo")
    assert (tmp_path / "repo" / "a").exists()


async def test_a_copy_that_cannot_be_written_does_not_miss_its_source_async(tmp_path: Path) -> None:
    backend = await open_backend_async(local_filesystem_storage(tmp_path), StorageSettings())
    await backend.put_async("repo", b"here")
    await backend.put_async("overwritten", b"a file where a directory should be")
    with pytest.raises(StorageError, match="copy to `overwritten/") as raised:
        await backend.copy_async("repo", "overwritten/repo.1", None)
    assert raised.value.kind == "io"
    (tmp_path / "chunks").mkdir()
    with pytest.raises(StorageError, match="no object `chunks`") as raised:
        await backend.copy_async("chunks", "overwritten/repo.1", None)
    assert raised.value.kind == "object-not-found"


async def test_a_root_below_a_file_is_no_missing_object_async(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    backend = await open_backend_async(local_filesystem_storage(tmp_path / "file" / "r"), StorageSettings())
    with pytest.raises(StorageError, match="make the directory") as raised:
        await backend.prepare_root_async()
    assert raised.value.kind == "io"


async def test_an_object_behind_a_symbolic_link_is_copied_and_replaced_async(tmp_path: Path) -> None:
    """Tools that keep large data apart put relative links where the files were."""
    backend = await open_backend_async(local_filesystem_storage(tmp_path / "r"), StorageSettings())
    version = await backend.put_conditional_async("repo", b"one", None)
    target = tmp_path / "object"
    (tmp_path / "r" / "repo").rename(target)
    (tmp_path / "r" / "repo").symlink_to("../object")
    await backend.copy_async("repo", "overwritten/repo.1", version)
    await backend.put_conditional_async("repo", b"two", version)
    assert await backend.get_async("overwritten/repo.1", 0, None) == b"one"
    assert await backend.get_async("repo", 0, None) == b"two"
    assert target.read_bytes() == b"one"


def test_a_path_that_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="path must be of type str"):
        local_filesystem_storage(b"repository")  # type: ignore[arg-type]


def test_directories_are_made_where_nothing_is_above_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a drive that does not exist, there is an end to looking for a directory that does."""
    monkeypatch.chdir(tmp_path)
    Files("a/b", durable=False).make_root()
    assert (tmp_path / "a" / "b").is_dir()


# Stores of obstore's


async def test_a_store_without_conditional_updates_is_refused_async(tmp_path: Path) -> None:
    backend = await open_backend_async(
        obstore_storage(LocalStore(tmp_path)), StorageSettings(unsafe_use_metadata=False)
    )
    version = await backend.put_conditional_async("repo", b"", None)
    with pytest.raises(StorageError, match="repo") as raised:
        await backend.put_conditional_async("repo", b"", version)
    assert raised.value.kind == "storage-config"


@pytest.mark.parametrize("spec_version", [1, 2])
async def test_a_repository_in_memory_of_obstores_commits_async(spec_version: int) -> None:
    """Its versions have no quotation marks, and must not make a commit try again for ever."""
    storage = obstore_storage(MemoryStore(), prefix="repo")
    repo = await Repository.create_async(storage, spec_version=spec_version)
    tips = []
    for number in range(3):
        session = await repo.writable_session_async("main")
        tips.append(await session.commit_async(f"{number}", allow_empty=True))
    history = [info.id async for info in repo.async_ancestry(branch="main")]
    assert history[:3] == tips[::-1]


async def test_a_commit_into_a_store_without_conditional_updates_says_so_async(tmp_path: Path) -> None:
    """At once: its refusal must not be taken for a race that is lost again and again."""
    config = RepositoryConfig(storage=StorageSettings(unsafe_use_metadata=False))
    repo = await Repository.create_async(obstore_storage(LocalStore(tmp_path)), config)
    session = await repo.writable_session_async("main")
    with pytest.raises(StorageError, match=r"cannot write `repo`.*`local_filesystem_storage`") as raised:
        await session.commit_async("never lands", allow_empty=True)
    assert raised.value.kind == "storage-config"


# Descriptions


def test_storages_compare_and_show_themselves(tmp_path: Path) -> None:
    path = str(tmp_path)
    assert local_filesystem_storage(path) == local_filesystem_storage(tmp_path)
    assert local_filesystem_storage(path) != local_filesystem_storage(path, durable=True)
    assert in_memory_storage() != in_memory_storage()
    memory = in_memory_storage()
    assert pickle.loads(pickle.dumps(memory)) == memory
    assert str(memory) == "<icechunk.Storage>\ntype: in-memory\n"
    assert (
        repr(local_filesystem_storage(path)) == f"<icechunk.Storage>\ntype: local filesystem\npath: {path}\n"
    )
    remote = s3_at("http://localhost:9000", "p/", session_token="geheim")
    assert (
        remote
        == pickle.loads(pickle.dumps(remote))
        == s3_at("http://localhost:9000", "p", session_token="geheim")
    )
    assert hash(remote) == hash(pickle.loads(pickle.dumps(remote)))
    assert isinstance(remote, S3Storage)
    assert not remote.requires_prefix
    assert "type: S3 (native)\nbucket: testbucket\n" in str(remote)
    assert "geheim" not in str(remote) + repr(remote) + remote._repr_html_()
    assert s3_storage(bucket="b").requires_prefix


@pytest.mark.parametrize("prefix", ["/p", "p//q", "p/../q", "p//"])
def test_prefixes_that_cannot_be_addressed_are_refused(prefix: str) -> None:
    with pytest.raises(StorageError, match="prefix") as raised:
        s3_storage(bucket="b", prefix=prefix)
    assert raised.value.kind == "storage-config"
