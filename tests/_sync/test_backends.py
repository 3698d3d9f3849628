# Generated from tests/_async/test_backends.py by tools/make_sync.py; edit that file.
"""What every backend owes the engine: in memory, in a directory, on S3, on any store of obstore's."""

from __future__ import annotations

import datetime
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from obstore.store import LocalStore, MemoryStore

from icechunk import Repository, RepositoryConfig
from icechunk._sync.backends import open_backend
from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import StorageError
from icechunk._io.concurrency import map_concurrently
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

    from icechunk._sync.backends import SyncBackend

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


def all_keys(backend: SyncBackend, prefix: str = "") -> list[str]:
    return sorted([info.key for batch in backend.list(prefix) for info in batch])


def read(backend: SyncBackend, key: str) -> tuple[bytes, Version]:
    found = backend.get_versioned(key)
    assert found is not None
    return bytes(found[0]), found[1]


def test_objects_are_read_back(storage: Storage) -> None:
    backend = open_backend(storage, StorageSettings())
    assert backend.can_write
    assert backend.is_clean()
    backend.prepare_root()
    assert backend.is_clean()
    for data in (b"", b"x", bytes(range(256)) * 4, bytes(INLINE_LIMIT), b"ab" * INLINE_LIMIT):
        backend.put("chunks/A", data)
        backend.put(f"chunks/{len(data)}", data, new=True)
        for key in ("chunks/A", f"chunks/{len(data)}"):
            found = backend.get(key)
            assert bytes(found) == data
    assert not backend.is_clean()


def test_any_buffer_can_be_written(storage: Storage) -> None:
    backend = open_backend(storage, StorageSettings())
    numbers = np.arange(24, dtype="<u4").reshape(4, 6)
    buffers: list[Any] = [bytearray(b"abc"), memoryview(b"abcdef")[1:4], numbers, numbers[:, 1], numbers[:0]]
    for data in buffers:
        backend.put("chunks/A", data)
        found = backend.get("chunks/A")
        assert bytes(found) == memoryview(data).tobytes()


def test_a_written_buffer_may_change_afterwards(storage: Storage) -> None:
    backend = open_backend(storage, StorageSettings())
    data = bytearray(b"before")
    backend.put("a", data)
    backend.put_conditional("b", data, None)
    data[:] = b"after!"
    for key in ("a", "b"):
        found = backend.get(key)
        assert bytes(found) == b"before"


def test_ranges_are_exact(storage: Storage) -> None:
    backend = open_backend(storage, SMALL_REQUESTS)
    data = np.random.default_rng(1).bytes(10_000)
    backend.put("chunks/A", data)
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
        found = backend.get("chunks/A", start, end)
        assert bytes(found) == data[start:end]
    ranges = [(9_000, 9_010), (0, 0), (0, 3), (2, 5_000), (9_999, 10_000)]
    pieces = backend.get_ranges("chunks/A", ranges)
    assert [bytes(piece) for piece in pieces] == [data[start:end] for start, end in ranges]
    assert backend.get_ranges("chunks/A", []) == []


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *[(0, 10_001), (9_000, 12_000), (10_000, 10_001), (20_000, 20_001), (20_000, 20_000)],
        # What damaged references ask for.
        *[(0, 2**40), (1, 2**63), (2**63, 2**63 + 1), (2**63 - 5, 2**63 + 5), (2**64 - 2, 2**65)],
    ],
)
def test_a_range_past_the_end_is_an_error(storage: Storage, start: int, end: int) -> None:
    backend = open_backend(storage, SMALL_REQUESTS)
    backend.put("chunks/A", bytes(10_000))
    with pytest.raises(StorageError, match="chunks/A") as raised:
        backend.get("chunks/A", start, end)
    assert raised.value.kind == "invalid-object-size"
    with pytest.raises(StorageError, match="chunks/A") as raised:
        backend.get_ranges("chunks/A", [(0, 1), (start, end)])
    assert raised.value.kind == "invalid-object-size"


def test_a_missing_object_is_named(storage: Storage) -> None:
    backend = open_backend(storage, StorageSettings())
    operations: list[Callable[[], object]] = [
        lambda: backend.get("chunks/A"),
        lambda: backend.get("chunks/A", 2, 5),
        lambda: backend.get("chunks/A", 2, 2),
        lambda: backend.get_ranges("chunks/A", [(0, 1), (5, 7)]),
        lambda: backend.get_versioned("chunks/A"),
        lambda: backend.get_versioned("chunks/A", Version('"x"')),
        lambda: backend.head("chunks/A"),
        lambda: backend.copy("chunks/A", "chunks/B", None),
    ]
    for operation in operations:
        with pytest.raises(StorageError, match="chunks/A") as raised:
            operation()
        assert raised.value.kind == "object-not-found"


def test_looking_creates_nothing(storage: Storage, tmp_path: Path) -> None:
    """Looking for a repository that is not there leaves no directory behind."""
    backend = open_backend(storage, StorageSettings())
    with pytest.raises(StorageError, match="repo"):
        backend.get_versioned("repo")
    assert all_keys(backend) == []
    assert backend.delete_many(["repo"]) == []
    assert list(tmp_path.iterdir()) == []


def test_versions_tell_contents_apart(storage: Storage) -> None:
    backend = open_backend(storage, StorageSettings())
    first = backend.put_conditional("repo", b"one", None)
    assert read(backend, "repo") == (b"one", first)
    assert backend.get_versioned("repo", first) is None
    second = backend.put_conditional("repo", b"two", first)
    assert second != first
    found = backend.get_versioned("repo", first)
    assert found is not None
    assert (bytes(found[0]), found[1]) == (b"two", second)


def test_writes_of_equal_size_in_quick_succession_have_different_versions(
    storage: Storage,
) -> None:
    """Files written within one tick of the clock have one time and size, and are not equal for that."""
    backend = open_backend(storage, StorageSettings())
    version = backend.put_conditional("repo", b"000", None)
    seen = {version}
    for number in range(1, 30):
        version = backend.put_conditional("repo", b"%03d" % number, version)
        seen.add(version)
    assert len(seen) == 30


def test_a_conditional_write_is_refused_when_somebody_was_first(storage: Storage) -> None:
    backend = open_backend(storage, QUICK)
    with pytest.raises(PreconditionFailed, match="repo"):
        backend.put_conditional("repo", b"x", Version('"never"', None))
    first = backend.put_conditional("repo", b"one", None)
    with pytest.raises(PreconditionFailed):
        backend.put_conditional("repo", b"x", None)
    second = backend.put_conditional("repo", b"two", first)
    for version in (first, Version('"never"'), Version()):
        with pytest.raises(PreconditionFailed):
            backend.put_conditional("repo", b"x", version)
    assert read(backend, "repo") == (b"two", second)
    assert backend.delete_many(["repo"]) == []
    with pytest.raises(PreconditionFailed):
        backend.put_conditional("repo", b"x", second)
    assert all_keys(backend) == []


def test_plain_writes_count_as_changes(storage: Storage) -> None:
    backend = open_backend(storage, QUICK)
    version = backend.put_conditional("repo", b"one", None)
    backend.put("repo", b"two")
    with pytest.raises(PreconditionFailed):
        backend.put_conditional("repo", b"three", version)
    with pytest.raises(PreconditionFailed):
        backend.copy("repo", "overwritten/repo.1", version)


def test_one_of_many_writers_wins(storage: Storage) -> None:
    backend = open_backend(storage, QUICK)
    start = backend.put_conditional("repo", b"start", None)

    def write(number: int) -> int | None:
        try:
            backend.put_conditional("repo", b"%d" % number, start)
        except PreconditionFailed:
            return None
        return number

    answers = map_concurrently(write, range(8), 8)
    winners = [answer for answer in answers if answer is not None]
    data, _ = read(backend, "repo")
    assert winners == [int(data)]


def test_a_copy_is_made_of_the_expected_version_only(storage: Storage) -> None:
    backend = open_backend(storage, QUICK)
    first = backend.put_conditional("repo", b"one", None)
    backend.copy("repo", "overwritten/repo.1", first)
    backend.put_conditional("repo", b"two", first)
    with pytest.raises(PreconditionFailed):
        backend.copy("repo", "overwritten/repo.2", first)
    backend.copy("repo", "overwritten/repo.3", None)
    for key, data in (("overwritten/repo.1", b"one"), ("overwritten/repo.3", b"two")):
        found = backend.get(key)
        assert bytes(found) == data
    assert all_keys(backend) == ["overwritten/repo.1", "overwritten/repo.3", "repo"]


def test_listings_hold_what_is_there(storage: Storage) -> None:
    backend = open_backend(storage, StorageSettings())
    keys = [
        "repo",
        "chunks/A",
        "chunks/B",
        "chunksmore/A",
        "refs/branch.main/ref.json",
        "refs/tag.a b-ü%41[x]*/ref.json",
    ]
    for key in keys:
        backend.put(key, b"1234")
    backend.put_conditional("config.yaml", b"12", None)
    assert all_keys(backend) == sorted([*keys, "config.yaml"])
    assert all_keys(backend, "chunks") == ["chunks/A", "chunks/B"]
    assert all_keys(backend, "chunks/") == ["chunks/A", "chunks/B"]
    assert all_keys(backend, "refs") == sorted(keys[4:])
    assert all_keys(backend, "nothing") == []
    found = backend.get(keys[5])
    assert bytes(found) == b"1234"
    now = datetime.datetime.now(datetime.UTC)
    for batch in backend.list("chunks"):
        for info in batch:
            assert info == backend.head(info.key)
            assert info.size_bytes == 4
            assert abs(now - info.created_at) < datetime.timedelta(minutes=5)


def test_a_storage_tells_what_is_in_it(storage: Storage) -> None:
    assert storage.list_objects_metadata() == []
    backend = open_backend(storage, StorageSettings())
    for key, data in (("repo", b"1234"), ("chunks/A", b"12"), ("chunksmore/A", b"")):
        backend.put(key, data)
    for everything in (None, "", "/"):
        found = storage.list_objects_metadata(QUICK, everything)
        assert {(info.key, info.size_bytes) for info in found} == {
            ("repo", 4),
            ("chunks/A", 2),
            ("chunksmore/A", 0),
        }
    now = datetime.datetime.now(datetime.UTC)
    for directory in ("chunks", "chunks/", "/chunks"):
        [info] = storage.list_objects_metadata(prefix=directory)
        assert (info.key, info.size_bytes) == ("A", 2)
        assert abs(now - info.created_at) < datetime.timedelta(minutes=5)
        assert storage.list_objects(prefix=directory) == [("A", 2)]
    assert storage.list_objects_metadata(prefix="chun") == []


def test_long_listings_come_in_batches() -> None:
    backend = open_backend(obstore_storage(MemoryStore()), StorageSettings())
    for number in range(1500):
        backend.put(f"chunks/{number}", b"")
    assert [len(batch) for batch in backend.list("chunks")] == [1000, 500]


def test_a_listing_can_be_left_early(storage: Storage) -> None:
    backend = open_backend(storage, StorageSettings())
    for key in ("chunks/A", "chunks/B"):
        backend.put(key, b"")
    for _ in backend.list(""):
        break
    backend.put("chunks/C", b"")
    assert all_keys(backend, "chunks") == ["chunks/A", "chunks/B", "chunks/C"]


def test_deleting_is_idempotent(storage: Storage) -> None:
    backend = open_backend(storage, StorageSettings())
    for key in ("chunks/A", "chunks/B", "chunks/C"):
        backend.put(key, b"")
    assert backend.delete_many(["chunks/A", "chunks/never", "chunks/C"]) == []
    assert backend.delete_many(["chunks/A"]) == []
    assert backend.delete_many([]) == []
    assert all_keys(backend) == ["chunks/B"]


def test_a_pickled_storage_reaches_the_same_objects(storage: Storage) -> None:
    backend = open_backend(storage, StorageSettings())
    backend.put("chunks/A", b"here")
    if "obstore" in str(storage):
        return
    copy = pickle.loads(pickle.dumps(storage))
    assert type(copy) is type(storage)
    other = open_backend(copy, StorageSettings())
    found = other.get("chunks/A")
    assert bytes(found) == b"here"


def test_without_conditions_the_last_writer_wins(tmp_path: Path) -> None:
    careless = StorageSettings(unsafe_use_conditional_create=False, unsafe_use_conditional_update=False)
    for storage in (in_memory_storage(), obstore_storage(MemoryStore())):
        backend = open_backend(storage, careless)
        version = backend.put_conditional("repo", b"one", None)
        backend.put_conditional("repo", b"two", None)
        backend.put_conditional("repo", b"three", version)
        found = backend.get("repo")
        assert bytes(found) == b"three"
    directory = open_backend(local_filesystem_storage(tmp_path), careless)
    directory.put_conditional("repo", b"one", None)
    with pytest.raises(PreconditionFailed):
        directory.put_conditional("repo", b"two", None)


# Directories


@pytest.mark.parametrize("key", ["../repo", "a/../../repo", "/etc/passwd", "a//b", "", ".", "a/."])
def test_keys_never_leave_the_directory(tmp_path: Path, key: str) -> None:
    backend = open_backend(local_filesystem_storage(tmp_path / "repo"), StorageSettings())
    with pytest.raises(StorageError, match="not the key of an object"):
        backend.put(key, b"")
    with pytest.raises(StorageError, match="not the key of an object"):
        backend.get(key)
    failures = backend.delete_many([key])
    assert [failed for failed, _ in failures] == [key]
    assert list(tmp_path.iterdir()) == []


def test_listings_skip_what_writers_left_behind(tmp_path: Path) -> None:
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    backend.put_conditional("repo", b"", None)
    (tmp_path / "repo#123").write_bytes(b"half")
    assert {path.name for path in tmp_path.iterdir()} == {"repo", "repo#123", ".lock#0"}
    assert all_keys(backend) == ["repo"]


def test_names_of_files_are_those_of_the_official_implementation(tmp_path: Path) -> None:
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
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
        backend.put(key, b"")
    assert {path.name for path in tmp_path.iterdir()} == set(names.values())
    assert all_keys(backend) == sorted(names)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    backend = open_backend(local_filesystem_storage(tmp_path / "file"), StorageSettings())
    for operation in (
        lambda: backend.put("chunks/A", b""),
        lambda: backend.put_conditional("repo", b"", None),
        backend.prepare_root,
    ):
        with pytest.raises(StorageError, match=str(tmp_path / "file")) as raised:
            operation()
        assert raised.value.kind == "io"
        assert isinstance(raised.value.__cause__, OSError)


def test_a_relative_path_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes the working directory later, or unpickles, means the same place."""
    monkeypatch.chdir(tmp_path)
    storage = local_filesystem_storage("repo")
    monkeypatch.chdir("/")
    backend = open_backend(pickle.loads(pickle.dumps(storage)), StorageSettings())
    backend.put("a", b"")
    assert isinstance(storage, LocalFileSystemStorage)
    assert storage.path == str(tmp_path / "repo")
    assert (tmp_path / "repo" / "a").exists()


def test_a_copy_that_cannot_be_written_does_not_miss_its_source(tmp_path: Path) -> None:
    backend = open_backend(local_filesystem_storage(tmp_path), StorageSettings())
    backend.put("repo", b"here")
    backend.put("overwritten", b"a file where a directory should be")
    with pytest.raises(StorageError, match="copy to `overwritten/") as raised:
        backend.copy("repo", "overwritten/repo.1", None)
    assert raised.value.kind == "io"
    (tmp_path / "chunks").mkdir()
    with pytest.raises(StorageError, match="no object `chunks`") as raised:
        backend.copy("chunks", "overwritten/repo.1", None)
    assert raised.value.kind == "object-not-found"


def test_a_root_below_a_file_is_no_missing_object(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    backend = open_backend(local_filesystem_storage(tmp_path / "file" / "r"), StorageSettings())
    with pytest.raises(StorageError, match="make the directory") as raised:
        backend.prepare_root()
    assert raised.value.kind == "io"


def test_an_object_behind_a_symbolic_link_is_copied_and_replaced(tmp_path: Path) -> None:
    """Tools that keep large data apart put relative links where the files were."""
    backend = open_backend(local_filesystem_storage(tmp_path / "r"), StorageSettings())
    version = backend.put_conditional("repo", b"one", None)
    target = tmp_path / "object"
    (tmp_path / "r" / "repo").rename(target)
    (tmp_path / "r" / "repo").symlink_to("../object")
    backend.copy("repo", "overwritten/repo.1", version)
    backend.put_conditional("repo", b"two", version)
    assert backend.get("overwritten/repo.1", 0, None) == b"one"
    assert backend.get("repo", 0, None) == b"two"
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


def test_a_store_without_conditional_updates_is_refused(tmp_path: Path) -> None:
    backend = open_backend(
        obstore_storage(LocalStore(tmp_path)), StorageSettings(unsafe_use_metadata=False)
    )
    version = backend.put_conditional("repo", b"", None)
    with pytest.raises(StorageError, match="repo") as raised:
        backend.put_conditional("repo", b"", version)
    assert raised.value.kind == "storage-config"


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_repository_in_memory_of_obstores_commits(spec_version: int) -> None:
    """Its versions have no quotation marks, and must not make a commit try again for ever."""
    storage = obstore_storage(MemoryStore(), prefix="repo")
    repo = Repository.create(storage, spec_version=spec_version)
    tips = []
    for number in range(3):
        session = repo.writable_session("main")
        tips.append(session.commit(f"{number}", allow_empty=True))
    history = [info.id for info in repo.ancestry(branch="main")]
    assert history[:3] == tips[::-1]


def test_a_commit_into_a_store_without_conditional_updates_says_so(tmp_path: Path) -> None:
    """At once: its refusal must not be taken for a race that is lost again and again."""
    config = RepositoryConfig(storage=StorageSettings(unsafe_use_metadata=False))
    repo = Repository.create(obstore_storage(LocalStore(tmp_path)), config)
    session = repo.writable_session("main")
    with pytest.raises(StorageError, match=r"cannot write `repo`.*`local_filesystem_storage`") as raised:
        session.commit("never lands", allow_empty=True)
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
