"""Clients of object stores: from a description and settings to a store of obstore's, from its errors to ours.

obstore runs requests on threads of its own, which a forked child does not have: a request would never end
there. A child whose parent had used obstore gets an error instead, at once; one whose parent had not may
use it freely.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, PreconditionError
from obstore.store import MemoryStore, S3Store

from icechunk._exceptions import ErrorKind, StorageError
from icechunk._locks import StateLock
from icechunk._storage_settings import StorageRetriesSettings, StorageTimeoutSettings
from icechunk._version import __version__
from icechunk.config import Attribution
from icechunk.credentials import S3Credentials
from icechunk.storage import ObjectStorage, ObstoreStorage, S3Storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Credential

    from icechunk._storage_settings import StorageSettings
    from icechunk.credentials import S3StaticCredentials

FAILURES = (BaseError, OSError, ValueError, NotImplementedError)
"""What obstore raises when an operation fails; NotImplementedError, where a store cannot do it."""

REFUSALS = (AlreadyExistsError, PreconditionError)
"""What obstore raises when a precondition is not met."""

USER_AGENT = f"icechunk-python/{__version__}"
"""How this library names itself to servers; `Attribution` says who uses it."""

_DEFAULT_STREAM_TIMEOUT = 60
_NO_TIMEOUT = timedelta(days=1)
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class Clients:
    """The clients for one storage and its settings: made when first needed, anew in each process."""

    def __init__(self, storage: ObjectStorage, settings: StorageSettings, attribution: Attribution) -> None:
        self._storage = storage
        self._settings = settings
        self._user_agent = user_agent(attribution)
        self._lock = StateLock()
        self._made: tuple[int, ObjectStore, ObjectStore] | None = None

    def reader(self) -> ObjectStore:
        """The client for requests that change nothing."""
        return self._clients()[1]

    def writer(self) -> ObjectStore:
        """The client for requests that change something."""
        return self._clients()[2]

    def _clients(self) -> tuple[int, ObjectStore, ObjectStore]:
        made = self._made
        if made is not None and made[0] == os.getpid():
            return made
        _use_runtime()
        with self._lock.held:
            if self._made is None or self._made[0] != os.getpid():
                self._made = (os.getpid(), *_open(self._storage, self._settings, self._user_agent))
            return self._made


def _open(
    storage: ObjectStorage, settings: StorageSettings, user_agent: str
) -> tuple[ObjectStore, ObjectStore]:
    """A client that reads and one that writes; the same, unless their headers differ."""
    if isinstance(storage, ObstoreStorage):
        return storage.store, storage.store
    if isinstance(storage, S3Storage):
        reader = _s3_store(storage, settings, dict(storage.read_headers), user_agent)
        if storage.read_headers == storage.write_headers:
            return reader, reader
        return reader, _s3_store(storage, settings, dict(storage.write_headers), user_agent)
    raise StorageError(
        f"there is no client for a storage of type {type(storage).__name__}", ErrorKind.STORAGE_CONFIG
    )


def user_agent(attribution: Attribution) -> str:
    """What requests say about who makes them.

    Examples
    --------
    >>> user_agent(Attribution(client="weather/0.9", workload="nightly", principal="me"))
    'weather/0.9 icechunk-python/... (workload=nightly; principal=me)'
    """
    client = f"{attribution.client} " if attribution.client is not None else ""
    labels = {"workload": attribution.workload, "principal": attribution.principal}
    comment = "; ".join([f"{name}={label}" for name, label in labels.items() if label is not None])
    return f"{client}{USER_AGENT}" + (f" ({comment})" if comment else "")


def keeps_buffers(storage: ObjectStorage) -> bool:
    """Whether a store holds on to the very buffers that it is given, which their owner may change later."""
    return isinstance(storage, ObstoreStorage) and isinstance(storage.store, MemoryStore)


# S3


def _s3_store(
    storage: S3Storage, settings: StorageSettings, headers: dict[str, str], user_agent: str
) -> S3Store:
    endpoint = _endpoint(storage)
    if endpoint is not None and endpoint.startswith("http://") and not storage.allow_http:
        raise StorageError(
            f"the endpoint {endpoint} is not encrypted: pass `allow_http=True` to use it all the same",
            ErrorKind.STORAGE_CONFIG,
        )
    in_host = not storage.force_path_style and _can_be_in_host(storage.bucket, endpoint)
    config: dict[str, Any] = {"virtual_hosted_style_request": in_host}
    if endpoint is not None:
        # The variable would win over the plain setting.
        name = "aws_endpoint_url_s3" if "AWS_ENDPOINT_URL_S3" in os.environ else "endpoint"
        config[name] = _with_bucket(endpoint, storage.bucket) if in_host else endpoint
    if storage.region is not None:
        config["region"] = storage.region
    if storage.requester_pays:
        config["request_payer"] = True
    if storage.checksum_algorithm is not None:
        config["checksum_algorithm"] = storage.checksum_algorithm.name.upper()
    provider = None
    if storage.anonymous or isinstance(storage.credentials, S3Credentials.Anonymous):
        config["skip_signature"] = True
    elif isinstance(storage.credentials, S3Credentials.Static):
        provider = _provider(storage.credentials.credentials)
    patience = storage.network_stream_timeout_seconds
    try:
        return S3Store(
            storage.bucket,
            config=config,  # type: ignore[arg-type]  # its keys are known
            client_options=_client_options(
                settings,
                headers=headers,
                user_agent=user_agent,
                allow_http=storage.allow_http,
                stream_timeout=_DEFAULT_STREAM_TIMEOUT if patience is None else patience,
            ),
            retry_config=_retry_config(settings),
            credential_provider=provider,
        )
    except (BaseError, ValueError) as error:
        raise StorageError(
            f"cannot set up {storage.location}: {reason(error)}", ErrorKind.STORAGE_CONFIG
        ) from error


def _endpoint(storage: S3Storage) -> str | None:
    """The endpoint that was given, or that of the environment; None for Amazon's own."""
    if storage.endpoint_url is not None:
        return storage.endpoint_url
    configured = [os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)]
    if not configured:
        return None
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        return configured[0]
    # obstore does not know the variable that switches the others off: tell it the usual endpoint.
    region = storage.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return f"https://s3.{region or 'us-east-1'}.amazonaws.com"


def _can_be_in_host(bucket: str, endpoint: str | None) -> bool:
    """Whether a bucket can be addressed as part of the host name."""
    if "." in bucket or "_" in bucket or bucket != bucket.lower():
        return False
    host = (urlsplit(endpoint).hostname or "localhost") if endpoint else "amazonaws.com"
    try:
        ip_address(host)
    except ValueError:
        return host != "localhost"
    return False


def _with_bucket(endpoint: str, bucket: str) -> str:
    parts = urlsplit(endpoint)
    return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()


def _provider(credentials: S3StaticCredentials) -> Callable[[], S3Credential]:
    """A function that obstore asks for credentials: it keeps variables of the environment from mixing in."""
    static = _credential(credentials)
    return lambda: static


def _credential(found: S3StaticCredentials) -> S3Credential:
    return {
        "access_key_id": found.access_key_id,
        "secret_access_key": found.secret_access_key,
        "token": found.session_token,
        "expires_at": found.expires_after,
    }


# Settings of the HTTP client


def _client_options(
    settings: StorageSettings,
    *,
    headers: dict[str, str],
    user_agent: str,
    allow_http: bool,
    stream_timeout: int,
) -> ClientConfig:
    timeouts = settings.timeouts or StorageTimeoutSettings()
    options: ClientConfig = {
        "allow_http": allow_http,
        "user_agent": user_agent,
        # A whole request may take long: a stalled one is told by `read_timeout`.
        "timeout": _milliseconds(timeouts.operation_attempt_timeout_ms) or _NO_TIMEOUT,
    }
    read_timeout = _milliseconds(timeouts.read_timeout_ms) or timedelta(seconds=stream_timeout)
    if read_timeout:
        options["read_timeout"] = read_timeout
    if connect_timeout := _milliseconds(timeouts.connect_timeout_ms):
        options["connect_timeout"] = connect_timeout
    if headers:
        options["default_headers"] = headers
    return options


def _retry_config(settings: StorageSettings) -> RetryConfig:
    retries = settings.retries or StorageRetriesSettings()
    timeouts = settings.timeouts or StorageTimeoutSettings()
    config: RetryConfig = {
        "max_retries": retries.effective("max_tries") - 1,
        "backoff": {
            "init_backoff": timedelta(milliseconds=retries.effective("initial_backoff_ms")),
            "max_backoff": timedelta(milliseconds=retries.effective("max_backoff_ms")),
        },
    }
    if patience := _milliseconds(timeouts.operation_timeout_ms):
        config["retry_timeout"] = patience
    return config


def _milliseconds(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(milliseconds=number)


# Errors


def reason(error: BaseException) -> str:
    """What obstore says, without the dump of its internals."""
    return str(error).partition("\n\nDebug source:")[0].strip()


def is_missing(error: BaseException) -> bool:
    """Whether an error says that there is no such object; a missing bucket is something else."""
    return isinstance(error, FileNotFoundError) and not is_missing_bucket(error)


def is_missing_bucket(error: BaseException) -> bool:
    """Whether an error says that there is no such bucket, which obstore tells in the text only."""
    return "NoSuchBucket" in str(error)


def is_ambiguous(error: BaseException) -> bool:
    """Whether a write that failed so may have landed: the store did not answer, or not with a verdict."""
    return isinstance(error, GenericError)


def failure(error: BaseException, verb: str, key: str, storage: ObjectStorage) -> StorageError:
    """The one translation of obstore's errors."""
    if isinstance(error, StorageError):
        return error
    if verb != "write" and is_missing(error):
        return StorageError(f"no object `{key}` in {storage.location}", ErrorKind.OBJECT_NOT_FOUND)
    said = reason(error)
    kind = ErrorKind.OBJECT_STORE
    if isinstance(error, NotImplementedError):
        kind = ErrorKind.STORAGE_CONFIG
        said = f"{said} Use a store that can do this; for directories there is `local_filesystem_storage`"
    elif "SlowDown" in said or "429 Too Many Requests" in said:
        kind = ErrorKind.THROTTLED
    elif "416 Range Not Satisfiable" in said or "Wanted range starting at" in said:
        kind = ErrorKind.INVALID_OBJECT_SIZE
    return StorageError(f"cannot {verb} `{key}` in {storage.location}: {said}", kind)


# Processes

_used_here = False
"""Whether obstore may have started its threads in this process."""

_lost = False
"""Whether it had in a process that this one was forked from."""


def _use_runtime() -> None:
    global _used_here
    if _lost:
        raise StorageError(
            "this process was forked from one that had used an object store, and the threads of the "
            "client do not survive a fork. Start processes with `spawn` or `forkserver`, as in "
            "`multiprocessing.get_context('forkserver')`, or fork before the first use",
            ErrorKind.STORAGE_CONFIG,
        )
    _used_here = True


def _before_fork() -> None:
    """Notice also what others did with obstore, where the system lists the threads of a process."""
    global _used_here
    if not _used_here and sys.platform == "linux":
        names = [task.read_bytes() for task in Path("/proc/self/task").glob("*/comm")]
        _used_here = any(name.startswith(b"tokio") for name in names)


def _after_fork_in_child() -> None:
    global _lost
    _lost = _lost or _used_here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
