# Generated from tests/_async/test_s3.py by tools/make_sync.py; edit that file.
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
from icechunk._sync.backends import open_backend
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
from tests.arrays import create_array, write
from tests.arrays import read as read_array
from tests.s3_server import BUCKET, SIGNED, Fault, Proxy, s3_at

if TYPE_CHECKING:
    from pathlib import Path

    from icechunk._sync.backends import SyncBackend

QUICK = StorageSettings(retries=StorageRetriesSettings(max_tries=3, initial_backoff_ms=1, max_backoff_ms=5))
SMALL_REQUESTS = StorageSettings(
    concurrency=StorageConcurrencySettings(
        max_concurrent_requests_for_object=4, ideal_concurrent_request_size=1000
    ),
    minimum_size_for_multipart_upload=5_500_000,
)


def read(backend: SyncBackend, key: str) -> tuple[bytes, Version]:
    found = backend.get_versioned(key)
    assert found is not None
    return bytes(found[0]), found[1]


@pytest.mark.parametrize("kind", ["lose-request", "lose-answer", "status", "status-after"])
@pytest.mark.parametrize("update", [False, True])
def test_a_write_whose_answer_was_lost_succeeds(
    s3_proxy: Proxy, tmp_path: Path, kind: str, update: bool
) -> None:
    """What landed is no conflict with itself: after a refusal, the object is found to carry our write id."""
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    before = backend.put_conditional("repo", b"old", None) if update else None
    s3_proxy.faults.append(Fault(kind, "PUT", "repo"))
    version = backend.put_conditional("repo", b"new", before)
    assert read(backend, "repo") == (b"new", version)


@pytest.mark.parametrize("kind", ["lose-answer", "status-after"])
def test_a_write_that_landed_without_any_answer_succeeds(
    s3_proxy: Proxy, tmp_path: Path, kind: str
) -> None:
    """Every attempt seems to fail; the write id tells that one landed."""
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    s3_proxy.faults.append(Fault(kind, "PUT", "repo", times=100))
    version = backend.put_conditional("repo", b"new", None)
    assert read(backend, "repo") == (b"new", version)


@pytest.mark.parametrize("kind", ["lose-request", "status"])
def test_a_write_that_did_not_land_fails(s3_proxy: Proxy, tmp_path: Path, kind: str) -> None:
    """Looking for a lost answer never turns a failure into a success."""
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    version = backend.put_conditional("repo", b"old", None)
    s3_proxy.faults.append(Fault(kind, "PUT", "repo", times=100))
    with pytest.raises(StorageError, match="cannot write `repo`") as raised:
        backend.put_conditional("repo", b"new", version)
    assert raised.value.kind == ("throttled" if kind == "status" else "object-store")
    assert read(backend, "repo") == (b"old", version)


def test_a_lost_answer_does_not_hide_that_somebody_else_won(
    s3_proxy: Proxy, tmp_path: Path
) -> None:
    """An object with another write id is a conflict."""
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    start = backend.put_conditional("repo", b"start", None)
    theirs = backend.put_conditional("repo", b"theirs", start)
    s3_proxy.faults.append(Fault("lose-answer", "PUT", "repo"))
    with pytest.raises(PreconditionFailed):
        backend.put_conditional("repo", b"ours", start)
    assert read(backend, "repo") == (b"theirs", theirs)


def test_a_failed_look_is_no_success(s3_proxy: Proxy, tmp_path: Path) -> None:
    """After a refusal the error of the look is raised, after a failure the first error."""
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    backend.put_conditional("repo", b"old", None)
    s3_proxy.faults += [Fault("status", "HEAD", "repo", times=100, status=403)]
    with pytest.raises(StorageError, match="cannot look at `repo`"):
        backend.put_conditional("repo", b"new", None)
    s3_proxy.faults += [
        Fault("lose-answer", "PUT", "other", times=100),
        Fault("status", "HEAD", "other", times=100, status=403),
    ]
    with pytest.raises(StorageError, match="cannot write `other`"):
        backend.put_conditional("other", b"new", None)


def test_a_version_goes_back_letter_for_letter(
    s3_proxy: Proxy, s3_server: str, tmp_path: Path
) -> None:
    """With its quotation marks, which belong to it: a service that compares texts refuses it without them."""
    storage = s3_at(s3_proxy.address, str(tmp_path))
    backend = open_backend(storage, QUICK)
    version = backend.put_conditional("repo", b"old", None)
    path = f"{s3_server}/{storage.location.removeprefix('s3://')}/repo"
    with urllib.request.urlopen(urllib.request.Request(path, headers=SIGNED)) as answer:
        told = answer.headers["ETag"]
    assert told.startswith('"')
    assert told.endswith('"')
    assert (read(backend, "repo"))[1] == version == Version(told)
    assert backend.get_versioned("repo", version) is None
    assert s3_proxy.headers[-1]["if-none-match"] == told
    backend.copy("repo", "overwritten/repo.1", version)
    assert s3_proxy.headers[-2]["if-match"] == told
    backend.put_conditional("repo", b"new", version)
    assert s3_proxy.headers[-1]["if-match"] == told


def test_without_metadata_nothing_is_recovered(s3_proxy: Proxy, tmp_path: Path) -> None:
    settings = StorageSettings(unsafe_use_metadata=False, retries=QUICK.retries)
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), settings)
    s3_proxy.faults.append(Fault("lose-answer", "PUT", "repo"))
    with pytest.raises(PreconditionFailed):
        backend.put_conditional("repo", b"new", None, metadata={"k": "v"})
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
def test_reads_are_tried_again(s3_proxy: Proxy, tmp_path: Path, fault: Fault) -> None:
    storage = s3_at(s3_proxy.address, str(tmp_path), network_stream_timeout_seconds=1)
    backend = open_backend(storage, QUICK)
    data = np.random.default_rng(1).bytes(100_000)
    backend.put("chunks/A", data)
    s3_proxy.faults.append(Fault(**vars(fault)))
    found = backend.get("chunks/A")
    assert bytes(found) == data
    assert s3_proxy.requests.count(s3_proxy.requests[-1]) == 2


def test_a_refused_read_is_not_tried_again(s3_proxy: Proxy, tmp_path: Path) -> None:
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    s3_proxy.faults.append(Fault("status", "GET", "chunks/A", status=403, times=100))
    with pytest.raises(StorageError, match="cannot read `chunks/A` in s3://") as raised:
        backend.get("chunks/A")
    assert len(s3_proxy.requests) == 1
    assert raised.value.__cause__ is not None
    assert "Debug source" not in str(raised.value)


def test_a_copy_that_cannot_be_written_does_not_miss_its_source(
    s3_proxy: Proxy, tmp_path: Path
) -> None:
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    version = backend.put_conditional("repo", b"here", None)
    for status in (403, 404, 412):
        s3_proxy.faults[:] = [Fault("status", "PUT", "repo.1", status=status)]
        with pytest.raises(StorageError, match=r"cannot write `overwritten/repo\.1`"):
            backend.copy("repo", "overwritten/repo.1", version)
        s3_proxy.faults[:] = [Fault("status", "GET", "repo", status=status)]
        with pytest.raises(PreconditionFailed if status == 412 else StorageError, match="`repo`"):
            backend.copy("repo", "overwritten/repo.1", version)


def test_large_reads_are_split(s3_proxy: Proxy, tmp_path: Path) -> None:
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), SMALL_REQUESTS)
    data = np.random.default_rng(1).bytes(10_001)
    backend.put("chunks/A", data)
    before = len(s3_proxy.requests)
    found = backend.get("chunks/A", 1, 10_001)
    assert bytes(found) == data[1:]
    asked = sorted([headers["range"] for headers in s3_proxy.headers[before:]])
    assert asked == ["bytes=1-2500", "bytes=2501-5000", "bytes=5001-7500", "bytes=7501-10000"]


def test_large_writes_are_split(s3_proxy: Proxy, tmp_path: Path) -> None:
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), SMALL_REQUESTS)
    data = np.random.default_rng(1).bytes(6_000_000)
    backend.put("chunks/A", data)
    assert [method for method, _ in s3_proxy.requests] == ["POST", "PUT", "PUT", "POST"]
    found = backend.get("chunks/A")
    assert bytes(found) == data


def test_requests_carry_what_was_asked_for(s3_proxy: Proxy, tmp_path: Path) -> None:
    storage = s3_at(
        s3_proxy.address,
        str(tmp_path),
        requester_pays=True,
        headers={"X-Both": "both", "X-Kind": "none"},
        read_headers={"x-kind": "read"},
        write_headers={"x-kind": "write"},
    )
    backend = open_backend(pickle.loads(pickle.dumps(storage)), QUICK)
    backend.put(
        "chunks/A", b"x", content_type="text/plain", metadata={"k": "v"}, storage_class="STANDARD_IA"
    )
    written = s3_proxy.headers[-1]
    backend.get("chunks/A")
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
def test_a_repository_writes_as_its_settings_say(
    s3_proxy: Proxy, tmp_path: Path, spec_version: int
) -> None:
    settings = StorageSettings(
        storage_class="STANDARD_IA", metadata_storage_class="GLACIER_IR", chunks_storage_class="ONEZONE_IA"
    )
    config = RepositoryConfig(storage=settings, inline_chunk_threshold_bytes=0)
    storage = s3_at(s3_proxy.address, str(tmp_path))
    repo = Repository.create(storage, config, spec_version=spec_version)
    session = repo.writable_session("main")
    write(create_array(session, "a", (2,)), ..., 1)
    tip = session.commit("one chunk")
    repo.create_tag("t", tip)

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
def test_a_repository_does_without_conditions_and_metadata(
    s3_proxy: Proxy, tmp_path: Path, spec_version: int
) -> None:
    settings = StorageSettings(
        unsafe_use_conditional_create=False, unsafe_use_conditional_update=False, unsafe_use_metadata=False
    )
    storage = s3_at(s3_proxy.address, str(tmp_path))
    config = RepositoryConfig(storage=settings)
    repo = Repository.create(storage, config, spec_version=spec_version)
    session = repo.writable_session("main")
    session.commit("nothing", allow_empty=True)
    repo.save_config()
    for (method, _), headers in zip(s3_proxy.requests, s3_proxy.headers, strict=True):
        if method == "PUT":
            assert not {"if-match", "if-none-match"} & headers.keys()
            assert not [name for name in headers if name.startswith("x-amz-meta-")]


def forbid_listing(s3_proxy: Proxy) -> None:
    """Refuse what needs the permission to list the bucket."""
    s3_proxy.faults.append(Fault("status", "GET", f"/{BUCKET}", status=403, times=1000))


def test_a_place_that_may_not_be_listed_is_neither_clean_nor_taken(
    s3_proxy: Proxy, tmp_path: Path, spec_version: int
) -> None:
    """To create a repository says that access is denied, and not that something is there already."""
    storage = s3_at(s3_proxy.address, str(tmp_path))
    forbid_listing(s3_proxy)
    with pytest.raises(StorageError, match=r"cannot list.*AccessDenied") as raised:
        Repository.create(storage, spec_version=spec_version)
    assert raised.value.kind == "object-store"
    with pytest.raises(StorageError, match="cannot list"):
        Repository.open_or_create(storage, create_version=spec_version)
    assert {method for method, _ in s3_proxy.requests} == {"GET"}
    Repository.create(storage, spec_version=spec_version, check_clean_root=False)


def test_a_repository_is_used_without_the_permission_to_list(
    s3_proxy: Proxy, tmp_path: Path, spec_version: int
) -> None:
    """Opening it, reading, committing and looking back ask for objects by their names only; in spec 1 the
    names of refs have to be listed.
    """
    storage = s3_at(s3_proxy.address, str(tmp_path))
    Repository.create(storage, spec_version=spec_version)
    s3_proxy.requests.clear()
    forbid_listing(s3_proxy)
    assert Repository.exists(storage)
    Repository.fetch_config(storage)
    Repository.open_or_create(storage)
    repo = Repository.open(storage)
    session = repo.writable_session("main")
    write(create_array(session, "a", (200,), chunks=(200,)), ..., 7)
    tip = session.commit("one chunk")
    repo.create_tag("v1", tip)
    reader = (Repository.open(storage)).readonly_session(tag="v1")
    assert (read_array(reader, "a")).tolist() == [7] * 200
    newest, _ = [info.id for info in repo.ancestry(branch="main")]
    assert newest == tip
    assert f"/{BUCKET}" not in {path.rstrip("/") for _, path in s3_proxy.requests}
    if spec_version == 1:
        with pytest.raises(StorageError, match="cannot list"):
            repo.list_branches()
    else:
        assert repo.list_branches() == {"main"}


def test_no_repository_is_made_at_the_root_of_a_bucket(
    s3_proxy: Proxy, spec_version: int
) -> None:
    """Its objects would lie among all others of the bucket. Nothing is asked for."""
    storage = s3_at(s3_proxy.address, "")
    for check in (True, False):
        with pytest.raises(InvalidInputError, match="give it a prefix") as raised:
            Repository.create(storage, spec_version=spec_version, check_clean_root=check)
        assert raised.value.kind == "empty-prefix-creation"
    assert s3_proxy.requests == []


@pytest.mark.parametrize("prefix", ["p", "p/", "p/q", ""])
def test_names_of_objects_begin_with_no_slash(s3_proxy: Proxy, prefix: str) -> None:
    """And have one between their parts, whether the prefix ends in one or not."""
    storage = s3_at(s3_proxy.address, prefix)
    backend = open_backend(storage, QUICK)
    backend.put("chunks/A", b"1234")
    backend.get("chunks/A", 1, 3)
    backend.head("chunks/A")
    version = backend.put_conditional(f"{len(prefix)}/repo", b"", None)
    backend.copy(f"{len(prefix)}/repo", "overwritten/repo.1", version)
    above = f"{prefix.rstrip('/')}/" if prefix else ""
    assert {path.removeprefix(f"/{BUCKET}/{above}") for _, path in s3_proxy.requests} == {
        "chunks/A",
        f"{len(prefix)}/repo",
        "overwritten/repo.1",
    }
    backend.delete_many(["chunks/A", f"{len(prefix)}/repo", "overwritten/repo.1"])


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
def test_patience_is_what_the_settings_say(
    s3_proxy: Proxy,
    tmp_path: Path,
    settings: StorageSettings,
    fault: str,
    requests: int | None,
    seconds: float,
) -> None:
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), settings)
    backend.put("chunks/A", bytes(1000))
    s3_proxy.requests.clear()
    s3_proxy.faults.append(Fault(fault, "GET", "chunks/A", times=1000, seconds=1.5))
    started = time.monotonic()
    with pytest.raises(StorageError, match="cannot read `chunks/A`"):
        backend.get("chunks/A")
    assert seconds <= time.monotonic() - started < seconds + 1
    assert len(s3_proxy.requests) == requests or (requests is None and 1 < len(s3_proxy.requests) < 20)


def test_every_request_of_a_repository_is_labelled(s3_proxy: Proxy, tmp_path: Path) -> None:
    storage = s3_at(s3_proxy.address, str(tmp_path))
    attribution = Attribution(client="weather/0.9", workload="nightly", principal="me")
    repo = Repository.create(storage, attribution=attribution)
    session = repo.writable_session("main")
    session.commit("nothing", allow_empty=True)
    opened = Repository.open(storage, attribution=attribution)
    kept = pickle.loads(pickle.dumps(opened.reopen(RepositoryConfig(max_concurrent_requests=3))))
    assert kept.attribution == attribution
    before = len(s3_proxy.headers)
    kept.list_branches()
    pickle.loads(pickle.dumps(kept.readonly_session("main")))
    assert len(s3_proxy.headers) > before + 1
    agents = {headers["user-agent"] for headers in s3_proxy.headers}
    assert agents == {f"weather/0.9 {icechunk.user_agent()} (workload=nightly; principal=me)"}
    assert (Repository.open(storage)).attribution == Attribution()
    assert s3_proxy.headers[-1]["user-agent"] == icechunk.user_agent()
    with pytest.raises(TypeError, match="attribution"):
        Repository.open_or_create(storage, attribution="me")  # type: ignore[arg-type]


def test_anonymous_requests_are_not_signed(
    s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fromenv")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fromenv")
    storage = s3_storage(
        bucket=BUCKET, prefix="x", endpoint_url=s3_proxy.address, allow_http=True, anonymous=True
    )
    backend = open_backend(storage, QUICK)
    with pytest.raises(StorageError):
        backend.get("nothing")
    assert "authorization" not in s3_proxy.headers[-1]


def test_given_credentials_do_not_mix_with_the_environment(
    s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fromenv")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fromenv")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "fromenv")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    backend = open_backend(s3_at(s3_proxy.address, str(tmp_path)), QUICK)
    backend.put("a", b"")
    assert "Credential=test/" in s3_proxy.headers[-1]["authorization"]
    assert "x-amz-security-token" not in s3_proxy.headers[-1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_proxy.address)
    storage = s3_storage(bucket=BUCKET, prefix="x", allow_http=True)
    backend = open_backend(storage, QUICK)
    backend.put("a", b"")
    assert "Credential=fromenv/" in s3_proxy.headers[-1]["authorization"]
    assert s3_proxy.headers[-1]["x-amz-security-token"] == "fromenv"


def test_an_endpoint_without_encryption_is_asked_for() -> None:
    backend = open_backend(
        s3_storage(bucket="b", prefix="p", endpoint_url="http://localhost:9000", anonymous=True), QUICK
    )
    with pytest.raises(StorageError, match="allow_http=True") as raised:
        backend.get("repo")
    assert raised.value.kind == "storage-config"


def test_a_missing_bucket_is_no_missing_object(s3_server: str) -> None:
    storage = s3_storage(
        bucket="nosuchbucket",
        prefix="x",
        endpoint_url=s3_server,
        allow_http=True,
        access_key_id="test",
        secret_access_key="test",
    )
    backend = open_backend(storage, QUICK)
    for operation in (
        lambda: backend.get("repo"),
        lambda: backend.put("repo", b""),
        lambda: backend.put_conditional("repo", b"", Version('"x"')),
        lambda: backend.is_clean(),
    ):
        with pytest.raises(StorageError, match="NoSuchBucket") as raised:
            operation()
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
