"""What is said in text is said in the words of the official implementation, class by class."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import zarr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[Any], Any]

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def s3(ic: Any, **more: Any) -> Any:
    return ic.s3_storage(bucket="b", prefix="p", region="r", **more)


def container(ic: Any) -> Any:
    options = ic.S3Options(region="r", anonymous=True)
    return ic.VirtualChunkContainer("s3://b/", ic.ObjectStoreConfig.S3(options), name="n")


def configured(ic: Any) -> Any:
    config = ic.RepositoryConfig(
        inline_chunk_threshold_bytes=7,
        compression=ic.CompressionConfig(level=2),
        storage=ic.StorageSettings(
            storage_class="cold", timeouts=ic.StorageTimeoutSettings(read_timeout_ms=1)
        ),
        manifest=ic.ManifestConfig(
            preload=ic.ManifestPreloadConfig(
                preload_if=ic.ManifestPreloadCondition.name_matches("a")
                & ic.ManifestPreloadCondition.num_refs(1, 5)
            )
        ),
    )
    config.set_virtual_chunk_container(container(ic))
    return config


SAME: dict[str, Make] = {
    "in memory": lambda ic: ic.in_memory_storage(),
    "directory": lambda ic: ic.local_filesystem_storage("/some/where"),
    "S3": lambda ic: s3(ic, from_env=True),
    "S3 with a key": lambda ic: s3(ic, access_key_id="AKIAabcdefg", secret_access_key="secret"),
    "S3 with all options": lambda ic: s3(
        ic,
        endpoint_url="http://x",
        anonymous=True,
        allow_http=True,
        force_path_style=True,
        requester_pays=True,
        network_stream_timeout_seconds=3,
        checksum_algorithm=ic.ChecksumAlgorithm.Sha256,
    ),
    "repository": lambda ic: ic.Repository.create(ic.in_memory_storage()),
    "repository of spec 1": lambda ic: ic.Repository.create(ic.in_memory_storage(), spec_version=1),
    "session": lambda ic: ic.Repository.create(ic.in_memory_storage()).writable_session("main"),
    "store": lambda ic: ic.Repository.create(ic.in_memory_storage()).writable_session("main").store,
    "read-only session": lambda ic: ic.Repository.create(ic.in_memory_storage()).readonly_session("main"),
    "read-only store": lambda ic: ic.Repository.create(ic.in_memory_storage()).readonly_session("main").store,
    "rearrange session": lambda ic: ic.Repository.create(ic.in_memory_storage()).rearrange_session("main"),
    "no changes": lambda ic: ic.Repository.create(ic.in_memory_storage()).writable_session("main").status(),
    "configuration": configured,
    "configuration in effect": lambda ic: ic.Repository.create(ic.in_memory_storage(), configured(ic)).config,
    "CompressionConfig": lambda ic: ic.CompressionConfig(ic.CompressionAlgorithm.Zstd, 1),
    "CachingConfig": lambda ic: ic.CachingConfig(num_bytes_chunks=3),
    "ManifestPreloadConfig": lambda ic: ic.ManifestPreloadConfig(max_total_refs=3),
    "location compression": lambda ic: ic.ManifestVirtualChunkLocationCompressionConfig(),
    "StorageSettings": lambda ic: ic.StorageSettings(unsafe_use_metadata=False),
    "concurrency": lambda ic: ic.StorageConcurrencySettings(ideal_concurrent_request_size=3),
    "retries": lambda ic: ic.StorageRetriesSettings(max_tries=3),
    "timeouts": lambda ic: ic.StorageTimeoutSettings(connect_timeout_ms=3),
    "container": container,
    "S3Options": lambda ic: ic.S3Options(endpoint_url="http://x", allow_http=True),
    "a directory behind a container": lambda ic: ic.ObjectStoreConfig.LocalFileSystem("/d"),
    "S3 behind a container": lambda ic: ic.ObjectStoreConfig.S3Compatible(ic.S3Options(region="r")),
    "memory behind a container": lambda ic: ic.ObjectStoreConfig.InMemory(),
    "condition": lambda ic: (
        ic.ManifestSplitCondition.name_matches("x") | ic.ManifestSplitCondition.path_matches("y")
    ),
    "key": lambda ic: ic.S3StaticCredentials("AKIAabcdefg", "secret", "token", MOMENT),
    "RepoStatus": lambda ic: ic.RepoStatus(ic.RepoAvailability.read_only, MOMENT, "moving"),
    "ErrorKind": lambda ic: ic.ErrorKind.NODE_NOT_FOUND,
    "ConflictType": lambda ic: ic.ConflictType.DeleteOfUpdatedArray,
    "VersionSelection": lambda ic: ic.VersionSelection.UseTheirs,
    "SessionMode": lambda ic: ic.SessionMode.rearrange,
    "ChunkType": lambda ic: ic.ChunkType.virtual,
    "SpecVersion": lambda ic: ic.SpecVersion.v2,
    "ChecksumAlgorithm": lambda ic: ic.ChecksumAlgorithm.Crc64Nvme,
    "RepoAvailability": lambda ic: ic.RepoAvailability.online,
}


DIFFERENT = {
    "icechunk_official": "icechunk",
    # Ours can be evaluated.
    "DimCondition.any()": "DimCondition.Any()",
    "algorithm=Zstd": "algorithm=icechunk.CompressionAlgorithm.Zstd",
    # Ours keeps transaction logs, which it needs for rebases.
    "num_transaction_changes: 0 (default)": "num_transaction_changes: 100000 (default)",
}
"""What the official implementation says, and what ours says in its place."""


def texts(thing: Any) -> list[str]:
    shown = [repr(thing), str(thing), f"{thing}"]
    for official, ours in DIFFERENT.items():
        shown = [text.replace(official, ours) for text in shown]
    return shown


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_the_words_are_the_same(make: Make, ours: Any, official: Any) -> None:
    assert texts(make(ours)) == texts(make(official))


@pytest.mark.parametrize("writer", ["ours", "official"])
def test_a_history_is_told_in_the_same_words(writer: str, ours: Any, official: Any, tmp_path: Path) -> None:
    by = ours if writer == "ours" else official
    repo = by.Repository.create(by.local_filesystem_storage(str(tmp_path)))
    session = repo.writable_session("main")
    group = zarr.create_group(session.store)
    group.create_group("old")
    group.create_array("a", shape=(40,), chunks=(2,), dtype="i4")[:] = 1
    first = session.commit("one\ntwo")
    session = repo.writable_session("main")
    root: Any = zarr.open_group(session.store)
    root.attrs["title"] = "air"
    root["a"][:3] = 2
    root["a"].attrs["unit"] = "K"
    del root["old"]
    second = session.commit("three")
    session = repo.rearrange_session("main")
    session.move("/a", "/b")
    session.commit("move")
    repo.create_tag("v1", first)

    def told(ic: Any) -> list[list[str]]:
        repo = ic.Repository.open(ic.local_filesystem_storage(str(tmp_path)))
        reader = repo.readonly_session(tag="v1")
        things = [repo, reader, reader.store, *repo.list_manifest_files(first), *repo.ops_log()]
        things += [repo.diff(from_snapshot_id=first, to_snapshot_id=second)]
        things += [repo.diff(from_snapshot_id=second, to_branch="main")]
        things += [repo.status, *sorted(repo.feature_flags(), key=lambda flag: flag.id)]
        return list(map(texts, things))

    assert told(ours) == told(official)


def test_changes_and_conflicts_are_told_in_the_same_words(ours: Any, official: Any) -> None:
    def told(ic: Any) -> list[Any]:
        repo = ic.Repository.create(ic.in_memory_storage())
        with repo.transaction("main", message="first") as store:
            zarr.create_group(store).create_array("a", shape=(40,), chunks=(2,), dtype="i4")[:] = 1
        mine, theirs = repo.writable_session("main"), repo.writable_session("main")
        for number, session in enumerate([theirs, mine]):
            root: Any = zarr.open_group(session.store)
            root["a"][:4] = number
            root.attrs["by"] = number
        tip = theirs.commit("second")
        told = [texts(mine.status()), repr(mine).replace(mine.snapshot_id, "B")]
        told.append(repr(mine.store).replace(mine.snapshot_id, "B"))
        with pytest.raises(ic.ConflictError) as conflict:
            mine.commit("third")
        told.append([text.replace(mine.snapshot_id, "B").replace(tip, "C") for text in texts(conflict.value)])
        with pytest.raises(ic.RebaseFailedError) as failed:
            mine.rebase(ic.ConflictDetector())
        # Ours goes on and names them.
        told.append(str(failed.value).replace(tip, "C").partition(" conflicts found")[0])
        told.append(repr(failed.value).replace(tip, "C").partition("conflicts=")[0])
        told.append(sorted(map(repr, failed.value.conflicts)))
        return told

    assert told(ours) == told(official)
