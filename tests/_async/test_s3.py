"""Requests to S3 that go wrong on the way, and what they carry; behind a proxy that misbehaves."""

from __future__ import annotations

import pickle
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import icechunk
from icechunk import InvalidInputError, Repository, RepositoryConfig
from icechunk._async.backends import open_backend_async
from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import StorageError
from icechunk._io.stores import Clients
from icechunk._storage_settings import (
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)
from icechunk._stored_objects import Version
from icechunk.config import Attribution
from icechunk.storage import S3Storage, s3_storage
from tests.arrays import create_array_async, write_async
from tests.arrays import read_async as read_array_async
from tests.s3_server import BUCKET, SIGNED, Fault, Proxy, s3_at

if TYPE_CHECKING:
    from pathlib import Path

    from icechunk._async.backends import AsyncBackend

QUICK = StorageSettings(retries=StorageRetriesSettings(max_tries=3, initial_backoff_ms=1, max_backoff_ms=5))
SMALL_REQUESTS = StorageSettings(
    concurrency=StorageConcurrencySettings(
        max_concurrent_requests_for_object=4, ideal_concurrent_request_size=1000
    ),
    minimum_size_for_multipart_upload=5_500_000,
)


async def read_async(backend: AsyncBackend, key: str) -> tuple[bytes, Version]:
    found = await backend.get_versioned_async(key)
    assert found is not None
    return bytes(found[0]), found[1]


@pytest.mark.parametrize("kind", ["lose-request", "lose-answer", "status", "status-after"])
@pytest.mark.parametrize("update", [False, True])
async def test_a_write_whose_answer_was_lost_succeeds_async(
    s3_proxy: Proxy, tmp_path: Path, kind: str, update: bool
) -> None:
    """What landed is no conflict with itself: after a refusal, the object is found to carry our write id."""
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    before = await backend.put_conditional_async("repo", b"old", None) if update else None
    s3_proxy.faults.append(Fault(kind, "PUT", "repo"))
    version = await backend.put_conditional_async("repo", b"new", before)
    assert await read_async(backend, "repo") == (b"new", version)


@pytest.mark.parametrize("kind", ["lose-answer", "status-after"])
async def test_a_write_that_landed_without_any_answer_succeeds_async(
    s3_proxy: Proxy, tmp_path: Path, kind: str
) -> None:
    """Every attempt seems to fail; the write id tells that one landed."""
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    s3_proxy.faults.append(Fault(kind, "PUT", "repo", times=100))
    version = await backend.put_conditional_async("repo", b"new", None)
    assert await read_async(backend, "repo") == (b"new", version)


@pytest.mark.parametrize("kind", ["lose-request", "status"])
async def test_a_write_that_did_not_land_fails_async(s3_proxy: Proxy, tmp_path: Path, kind: str) -> None:
    """Looking for a lost answer never turns a failure into a success."""
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    version = await backend.put_conditional_async("repo", b"old", None)
    s3_proxy.faults.append(Fault(kind, "PUT", "repo", times=100))
    with pytest.raises(StorageError, match="cannot write `repo`") as raised:
        await backend.put_conditional_async("repo", b"new", version)
    assert raised.value.kind == ("throttled" if kind == "status" else "object-store")
    assert await read_async(backend, "repo") == (b"old", version)


async def test_a_lost_answer_does_not_hide_that_somebody_else_won_async(
    s3_proxy: Proxy, tmp_path: Path
) -> None:
    """An object with another write id is a conflict."""
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    start = await backend.put_conditional_async("repo", b"start", None)
    theirs = await backend.put_conditional_async("repo", b"theirs", start)
    s3_proxy.faults.append(Fault("lose-answer", "PUT", "repo"))
    with pytest.raises(PreconditionFailed):
        await backend.put_conditional_async("repo", b"ours", start)
    assert await read_async(backend, "repo") == (b"theirs", theirs)


async def test_a_failed_look_is_no_success_async(s3_proxy: Proxy, tmp_path: Path) -> None:
    """After a refusal the error of the look is raised, after a failure the first error."""
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    await backend.put_conditional_async("repo", b"old", None)
    s3_proxy.faults += [Fault("status", "HEAD", "repo", times=100, status=403)]
    with pytest.raises(StorageError, match="cannot look at `repo`"):
        await backend.put_conditional_async("repo", b"new", None)
    s3_proxy.faults += [
        Fault("lose-answer", "PUT", "other", times=100),
        Fault("status", "HEAD", "other", times=100, status=403),
    ]
    with pytest.raises(StorageError, match="cannot write `other`"):
        await backend.put_conditional_async("other", b"new", None)


async def test_a_version_goes_back_letter_for_letter_async(
    s3_proxy: Proxy, s3_server: str, tmp_path: Path
) -> None:
    """With its quotation marks, which belong to it: a service that compares texts refuses it without them."""
    storage = s3_at(s3_proxy.address, str(tmp_path))
    backend = await open_backend_async(storage, QUICK)
    version = await backend.put_conditional_async("repo", b"old", None)
    path = f"{s3_server}/{storage.location.removeprefix('s3://')}/repo"
    with urllib.request.urlopen(urllib.request.Request(path, headers=SIGNED)) as answer:
        told = answer.headers["ETag"]
    assert told.startswith('"')
    assert told.endswith('"')
    assert (await read_async(backend, "repo"))[1] == version == Version(told)
    assert await backend.get_versioned_async("repo", version) is None
    assert s3_proxy.headers[-1]["if-none-match"] == told
    await backend.copy_async("repo", "overwritten/repo.1", version)
    assert s3_proxy.headers[-2]["if-match"] == told
    await backend.put_conditional_async("repo", b"new", version)
    assert s3_proxy.headers[-1]["if-match"] == told


async def test_without_metadata_nothing_is_recovered_async(s3_proxy: Proxy, tmp_path: Path) -> None:
    settings = StorageSettings(unsafe_use_metadata=False, retries=QUICK.retries)
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), settings)
    s3_proxy.faults.append(Fault("lose-answer", "PUT", "repo"))
    with pytest.raises(PreconditionFailed):
        await backend.put_conditional_async("repo", b"new", None, metadata={"k": "v"})
    assert not any("x-amz-meta-k" in headers for headers in s3_proxy.headers)
    assert not any(method == "HEAD" for method, _ in s3_proxy.requests)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("lose-answer", "GET", "chunks/A"),
        Fault("cut-body", "GET", "chunks/A"),
        Fault("stall", "GET", "chunks/A", seconds=3),
        *[Fault("status", "GET", "chunks/A", status=status) for status in (408, 429, 500, 503)],
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_reads_are_tried_again_async(s3_proxy: Proxy, tmp_path: Path, fault: Fault) -> None:
    storage = s3_at(s3_proxy.address, str(tmp_path), network_stream_timeout_seconds=1)
    backend = await open_backend_async(storage, QUICK)
    data = np.random.default_rng(1).bytes(100_000)
    await backend.put_async("chunks/A", data)
    s3_proxy.faults.append(Fault(**vars(fault)))
    found = await backend.get_async("chunks/A")
    assert bytes(found) == data
    assert s3_proxy.requests.count(s3_proxy.requests[-1]) == 2


async def test_a_refused_read_is_not_tried_again_async(s3_proxy: Proxy, tmp_path: Path) -> None:
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    s3_proxy.faults.append(Fault("status", "GET", "chunks/A", status=403, times=100))
    with pytest.raises(StorageError, match="cannot read `chunks/A` in s3://") as raised:
        await backend.get_async("chunks/A")
    assert len(s3_proxy.requests) == 1
    assert raised.value.__cause__ is not None
    assert "Debug source" not in str(raised.value)


async def test_a_copy_that_cannot_be_written_does_not_miss_its_source_async(
    s3_proxy: Proxy, tmp_path: Path
) -> None:
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    version = await backend.put_conditional_async("repo", b"here", None)
    for status in (403, 404, 412):
        s3_proxy.faults[:] = [Fault("status", "PUT", "repo.1", status=status)]
        with pytest.raises(StorageError, match=r"cannot write `overwritten/repo\.1`"):
            await backend.copy_async("repo", "overwritten/repo.1", version)
        s3_proxy.faults[:] = [Fault("status", "GET", "repo", status=status)]
        with pytest.raises(PreconditionFailed if status == 412 else StorageError, match="`repo`"):
            await backend.copy_async("repo", "overwritten/repo.1", version)


async def test_large_reads_are_split_async(s3_proxy: Proxy, tmp_path: Path) -> None:
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), SMALL_REQUESTS)
    data = np.random.default_rng(1).bytes(10_001)
    await backend.put_async("chunks/A", data)
    before = len(s3_proxy.requests)
    found = await backend.get_async("chunks/A", 1, 10_001)
    assert bytes(found) == data[1:]
    asked = sorted([headers["range"] for headers in s3_proxy.headers[before:]])
    assert asked == ["bytes=1-2500", "bytes=2501-5000", "bytes=5001-7500", "bytes=7501-10000"]


async def test_large_writes_are_split_async(s3_proxy: Proxy, tmp_path: Path) -> None:
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), SMALL_REQUESTS)
    data = np.random.default_rng(1).bytes(6_000_000)
    await backend.put_async("chunks/A", data)
    assert [method for method, _ in s3_proxy.requests] == ["POST", "PUT", "PUT", "POST"]
    found = await backend.get_async("chunks/A")
    assert bytes(found) == data


async def test_requests_carry_what_was_asked_for_async(s3_proxy: Proxy, tmp_path: Path) -> None:
    storage = s3_at(
        s3_proxy.address,
        str(tmp_path),
        requester_pays=True,
        headers={"X-Both": "both", "X-Kind": "none"},
        read_headers={"x-kind": "read"},
        write_headers={"x-kind": "write"},
    )
    backend = await open_backend_async(pickle.loads(pickle.dumps(storage)), QUICK)
    await backend.put_async(
        "chunks/A", b"x", content_type="text/plain", metadata={"k": "v"}, storage_class="STANDARD_IA"
    )
    written = s3_proxy.headers[-1]
    await backend.get_async("chunks/A")
    read = s3_proxy.headers[-1]
    assert written["content-type"] == "text/plain"
    assert written["x-amz-meta-k"] == "v"
    assert written["x-amz-storage-class"] == "STANDARD_IA"
    assert (written["x-both"], written["x-kind"]) == ("both", "write")
    assert (read["x-both"], read["x-kind"]) == ("both", "read")
    for headers in (written, read):
        assert headers["user-agent"].startswith("icechunk-python/")
        assert headers["x-amz-request-payer"] == "requester"
        assert "Credential=test/" in headers["authorization"]


@pytest.mark.parametrize("spec_version", [1, 2])
async def test_a_repository_writes_as_its_settings_say_async(
    s3_proxy: Proxy, tmp_path: Path, spec_version: int
) -> None:
    settings = StorageSettings(
        storage_class="STANDARD_IA", metadata_storage_class="GLACIER_IR", chunks_storage_class="ONEZONE_IA"
    )
    config = RepositoryConfig(storage=settings, inline_chunk_threshold_bytes=0)
    storage = s3_at(s3_proxy.address, str(tmp_path))
    repo = await Repository.create_async(storage, config, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await write_async(await create_array_async(session, "a", (2,)), ..., 1)
    tip = await session.commit_async("one chunk")
    await repo.create_tag_async("t", tip)

    root = len(f"/{BUCKET}/{storage.location.removeprefix(f's3://{BUCKET}/')}/")
    written = [
        (path[root:].partition("/")[0], headers)
        for (method, path), headers in zip(s3_proxy.requests, s3_proxy.headers, strict=True)
        if method == "PUT"
    ]
    metadata = dict.fromkeys(("snapshots", "manifests", "transactions"), "GLACIER_IR")
    pointers = ("repo", "overwritten") if spec_version == 2 else ("refs", "config.yaml")
    expected = {"chunks": "ONEZONE_IA", **metadata, **dict.fromkeys(pointers, "STANDARD_IA")}
    assert {name: headers.get("x-amz-storage-class") for name, headers in written} == {
        **expected,
        **({"config.yaml": None} if spec_version == 1 else {}),
    }
    conditional = {name for name, headers in written if {"if-match", "if-none-match"} & headers.keys()}
    assert conditional == ({"repo"} if spec_version == 2 else {"refs", "config.yaml"})
    marked = {name for name, headers in written if "x-amz-meta-icechunk_write_id" in headers}
    assert marked == conditional
    described = {name for name, headers in written if "x-amz-meta-ic_file_type" in headers}
    assert described == {*metadata, *({"repo"} if spec_version == 2 else ())}


@pytest.mark.parametrize("spec_version", [1, 2])
async def test_a_repository_does_without_conditions_and_metadata_async(
    s3_proxy: Proxy, tmp_path: Path, spec_version: int
) -> None:
    settings = StorageSettings(
        unsafe_use_conditional_create=False, unsafe_use_conditional_update=False, unsafe_use_metadata=False
    )
    storage = s3_at(s3_proxy.address, str(tmp_path))
    config = RepositoryConfig(storage=settings)
    repo = await Repository.create_async(storage, config, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await session.commit_async("nothing", allow_empty=True)
    await repo.save_config_async()
    for (method, _), headers in zip(s3_proxy.requests, s3_proxy.headers, strict=True):
        if method == "PUT":
            assert not {"if-match", "if-none-match"} & headers.keys()
            assert not [name for name in headers if name.startswith("x-amz-meta-")]


def forbid_listing(s3_proxy: Proxy) -> None:
    """Refuse what needs the permission to list the bucket."""
    s3_proxy.faults.append(Fault("status", "GET", f"/{BUCKET}", status=403, times=1000))


async def test_a_place_that_may_not_be_listed_is_neither_clean_nor_taken_async(
    s3_proxy: Proxy, tmp_path: Path, spec_version: int
) -> None:
    """To create a repository says that access is denied, and not that something is there already."""
    storage = s3_at(s3_proxy.address, str(tmp_path))
    forbid_listing(s3_proxy)
    with pytest.raises(StorageError, match=r"cannot list.*AccessDenied") as raised:
        await Repository.create_async(storage, spec_version=spec_version)
    assert raised.value.kind == "object-store"
    with pytest.raises(StorageError, match="cannot list"):
        await Repository.open_or_create_async(storage, create_version=spec_version)
    assert {method for method, _ in s3_proxy.requests} == {"GET"}
    await Repository.create_async(storage, spec_version=spec_version, check_clean_root=False)


async def test_a_repository_is_used_without_the_permission_to_list_async(
    s3_proxy: Proxy, tmp_path: Path, spec_version: int
) -> None:
    """Opening it, reading, committing and looking back ask for objects by their names only; in spec 1 the
    names of refs have to be listed.
    """
    storage = s3_at(s3_proxy.address, str(tmp_path))
    await Repository.create_async(storage, spec_version=spec_version)
    s3_proxy.requests.clear()
    forbid_listing(s3_proxy)
    assert await Repository.exists_async(storage)
    await Repository.fetch_config_async(storage)
    await Repository.open_or_create_async(storage)
    repo = await Repository.open_async(storage)
    session = await repo.writable_session_async("main")
    await write_async(await create_array_async(session, "a", (200,), chunks=(200,)), ..., 7)
    tip = await session.commit_async("one chunk")
    await repo.create_tag_async("v1", tip)
    reader = await (await Repository.open_async(storage)).readonly_session_async(tag="v1")
    assert (await read_array_async(reader, "a")).tolist() == [7] * 200
    newest, _ = [info.id async for info in repo.async_ancestry(branch="main")]
    assert newest == tip
    assert f"/{BUCKET}" not in {path.rstrip("/") for _, path in s3_proxy.requests}
    if spec_version == 1:
        with pytest.raises(StorageError, match="cannot list"):
            await repo.list_branches_async()
    else:
        assert await repo.list_branches_async() == {"main"}


async def test_no_repository_is_made_at_the_root_of_a_bucket_async(
    s3_proxy: Proxy, spec_version: int
) -> None:
    """Its objects would lie among all others of the bucket. Nothing is asked for."""
    storage = s3_at(s3_proxy.address, "")
    for check in (True, False):
        with pytest.raises(InvalidInputError, match="give it a prefix") as raised:
            await Repository.create_async(storage, spec_version=spec_version, check_clean_root=check)
        assert raised.value.kind == "empty-prefix-creation"
    assert s3_proxy.requests == []


@pytest.mark.parametrize("prefix", ["p", "p/", "p/q", ""])
async def test_names_of_objects_begin_with_no_slash_async(s3_proxy: Proxy, prefix: str) -> None:
    """And have one between their parts, whether the prefix ends in one or not."""
    storage = s3_at(s3_proxy.address, prefix)
    backend = await open_backend_async(storage, QUICK)
    await backend.put_async("chunks/A", b"1234")
    await backend.get_async("chunks/A", 1, 3)
    await backend.head_async("chunks/A")
    version = await backend.put_conditional_async(f"{len(prefix)}/repo", b"", None)
    await backend.copy_async(f"{len(prefix)}/repo", "overwritten/repo.1", version)
    above = f"{prefix.rstrip('/')}/" if prefix else ""
    assert {path.removeprefix(f"/{BUCKET}/{above}") for _, path in s3_proxy.requests} == {
        "chunks/A",
        f"{len(prefix)}/repo",
        "overwritten/repo.1",
    }
    await backend.delete_many_async(["chunks/A", f"{len(prefix)}/repo", "overwritten/repo.1"])


@pytest.mark.parametrize(
    ("settings", "fault", "requests", "seconds"),
    [
        (StorageSettings(retries=StorageRetriesSettings(max_tries=1)), "status", 1, 0),
        (StorageSettings(retries=StorageRetriesSettings(4, 1, 2)), "status", 4, 0),
        (StorageSettings(retries=StorageRetriesSettings(3, 150, 150)), "status", 3, 0.3),
        (
            StorageSettings(
                retries=StorageRetriesSettings(100, 50, 50),
                timeouts=StorageTimeoutSettings(operation_timeout_ms=300),
            ),
            "status",
            None,
            0.25,
        ),
        *[
            (StorageSettings(retries=StorageRetriesSettings(2, 1, 2), timeouts=timeouts), "stall", 2, 0.4)
            for timeouts in (
                StorageTimeoutSettings(read_timeout_ms=200),
                StorageTimeoutSettings(operation_attempt_timeout_ms=200),
            )
        ],
    ],
    ids=["one try", "four tries", "pauses", "all tries together", "stalled", "one try takes too long"],
)
async def test_patience_is_what_the_settings_say_async(
    s3_proxy: Proxy,
    tmp_path: Path,
    settings: StorageSettings,
    fault: str,
    requests: int | None,
    seconds: float,
) -> None:
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), settings)
    await backend.put_async("chunks/A", bytes(1000))
    s3_proxy.requests.clear()
    s3_proxy.faults.append(Fault(fault, "GET", "chunks/A", times=1000, seconds=1.5))
    started = time.monotonic()
    with pytest.raises(StorageError, match="cannot read `chunks/A`"):
        await backend.get_async("chunks/A")
    assert seconds <= time.monotonic() - started < seconds + 1
    assert len(s3_proxy.requests) == requests or (requests is None and 1 < len(s3_proxy.requests) < 20)


async def test_every_request_of_a_repository_is_labelled_async(s3_proxy: Proxy, tmp_path: Path) -> None:
    storage = s3_at(s3_proxy.address, str(tmp_path))
    attribution = Attribution(client="weather/0.9", workload="nightly", principal="me")
    repo = await Repository.create_async(storage, attribution=attribution)
    session = await repo.writable_session_async("main")
    await session.commit_async("nothing", allow_empty=True)
    opened = await Repository.open_async(storage, attribution=attribution)
    kept = pickle.loads(pickle.dumps(await opened.reopen_async(RepositoryConfig(max_concurrent_requests=3))))
    assert kept.attribution == attribution
    before = len(s3_proxy.headers)
    await kept.list_branches_async()
    pickle.loads(pickle.dumps(await kept.readonly_session_async("main")))
    assert len(s3_proxy.headers) > before + 1
    agents = {headers["user-agent"] for headers in s3_proxy.headers}
    assert agents == {f"weather/0.9 {icechunk.user_agent()} (workload=nightly; principal=me)"}
    assert (await Repository.open_async(storage)).attribution == Attribution()
    assert s3_proxy.headers[-1]["user-agent"] == icechunk.user_agent()
    with pytest.raises(TypeError, match="attribution"):
        await Repository.open_or_create_async(storage, attribution="me")  # type: ignore[arg-type]


async def test_anonymous_requests_are_not_signed_async(
    s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fromenv")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fromenv")
    storage = s3_storage(
        bucket=BUCKET, prefix="x", endpoint_url=s3_proxy.address, allow_http=True, anonymous=True
    )
    backend = await open_backend_async(storage, QUICK)
    with pytest.raises(StorageError):
        await backend.get_async("nothing")
    assert "authorization" not in s3_proxy.headers[-1]


async def test_given_credentials_do_not_mix_with_the_environment_async(
    s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fromenv")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fromenv")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "fromenv")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    backend = await open_backend_async(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    await backend.put_async("a", b"")
    assert "Credential=test/" in s3_proxy.headers[-1]["authorization"]
    assert "x-amz-security-token" not in s3_proxy.headers[-1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_proxy.address)
    storage = s3_storage(bucket=BUCKET, prefix="x", allow_http=True)
    backend = await open_backend_async(storage, QUICK)
    await backend.put_async("a", b"")
    assert "Credential=fromenv/" in s3_proxy.headers[-1]["authorization"]
    assert s3_proxy.headers[-1]["x-amz-security-token"] == "fromenv"


async def test_an_endpoint_without_encryption_is_asked_for_async() -> None:
    backend = await open_backend_async(
        s3_storage(bucket="b", prefix="p", endpoint_url="http://localhost:9000", anonymous=True), QUICK
    )
    with pytest.raises(StorageError, match="allow_http=True") as raised:
        await backend.get_async("repo")
    assert raised.value.kind == "storage-config"


async def test_a_missing_bucket_is_no_missing_object_async(s3_server: str) -> None:
    storage = s3_storage(
        bucket="nosuchbucket",
        prefix="x",
        endpoint_url=s3_server,
        allow_http=True,
        access_key_id="test",
        secret_access_key="test",
    )
    backend = await open_backend_async(storage, QUICK)
    for operation in (
        lambda: backend.get_async("repo"),
        lambda: backend.put_async("repo", b""),
        lambda: backend.put_conditional_async("repo", b"", Version('"x"')),
        lambda: backend.is_clean_async(),
    ):
        with pytest.raises(StorageError, match="NoSuchBucket") as raised:
            await operation()
        assert raised.value.kind == "object-store"


@pytest.mark.parametrize(
    ("options", "environment", "endpoint"),
    [
        (
            {"endpoint_url": "https://objects.example.com:9000"},
            {},
            "https://climate.objects.example.com:9000",
        ),
        (
            {"endpoint_url": "https://objects.example.com", "force_path_style": True},
            {},
            "https://objects.example.com",
        ),
        ({"endpoint_url": "https://localhost:9000"}, {}, "https://localhost:9000"),
        ({"endpoint_url": "https://10.1.2.3"}, {}, "https://10.1.2.3"),
        ({"bucket": "climate.data", "endpoint_url": "https://example.com"}, {}, "https://example.com"),
        ({}, {"AWS_ENDPOINT_URL": "https://example.com"}, "https://climate.example.com"),
        (
            {"endpoint_url": "https://a.org"},
            {"AWS_ENDPOINT_URL_S3": "https://b.org"},
            "https://climate.a.org",
        ),
        ({}, {}, None),
        (
            {"region": "eu-west-1"},
            {"AWS_ENDPOINT_URL": "https://b.org", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "https://climate.s3.eu-west-1.amazonaws.com",
        ),
    ],
)
def test_the_bucket_is_addressed_as_the_endpoint_wants_it(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    environment: dict[str, str],
    endpoint: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    storage = s3_storage(**{"bucket": "climate", "prefix": "p", "anonymous": True, **options})
    assert isinstance(storage, S3Storage)
    config = Clients(storage, QUICK, Attribution()).reader().config  # type: ignore[union-attr]
    assert config.get("endpoint_url_s3", config.get("endpoint")) == endpoint
