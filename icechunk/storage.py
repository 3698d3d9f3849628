"""Where a repository is kept: descriptions, and the factories that make them.

A `Storage` says where and how, and opens nothing: it can be pickled, compared and printed, and reaches a
disk or a network only when a repository is opened on it. Every factory returns a subclass of `Storage`.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from icechunk import display
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._storage_settings import (
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)
from icechunk._stored_objects import MemoryObjects, StorageObjectInfo
from icechunk.credentials import AnyS3Credential, s3_credentials
from icechunk.virtual import ChecksumAlgorithm, S3Options, local_filesystem_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from obstore.store import ObjectStore

    from icechunk.credentials import S3StaticCredentials
    from icechunk.display import Fields, Form

    Batch = list["StorageObjectInfo"]
    """A few hundred listed objects."""

    Data = bytes | memoryview
    """Bytes that were read."""

    Pieces = list[bytes | memoryview]
    """The bytes of ranges, in the order asked for."""

    Failures = list[tuple[str, str]]
    """Keys that an operation failed on, and why."""

__all__ = [
    "ChecksumAlgorithm",
    "S3Options",
    "Storage",
    "StorageConcurrencySettings",
    "StorageObjectInfo",
    "StorageRetriesSettings",
    "StorageSettings",
    "StorageTimeoutSettings",
    "in_memory_storage",
    "local_filesystem_storage",
    "local_filesystem_store",
    "obstore_storage",
    "s3_storage",
]


class Storage(display.Result, frozen=True):
    """A place where a repository is kept, as made by `in_memory_storage`, `s3_storage` and the like.

    Instances open nothing, compare by value and can be pickled.

    Examples
    --------
    >>> from icechunk import local_filesystem_storage
    >>> storage = local_filesystem_storage("weather")
    >>> storage == local_filesystem_storage("weather"), storage.default_settings().retries.max_tries
    (True, 1)
    """

    _shown_as: ClassVar[str] = "icechunk.Storage"
    _type: ClassVar[str] = "unknown"

    @property
    def location(self) -> str:
        """A short name of the place, for messages."""
        return self._type

    @property
    def requires_prefix(self) -> bool:
        """Whether a new repository is refused here, because it would lie at the root of a bucket."""
        return False

    @property
    def is_remote(self) -> bool:
        """Whether each request goes over a network, so that blocking ones should not wait in turn."""
        return False

    def is_same_place(self, other: Storage) -> bool:
        """Whether two descriptions lead to one place, whatever credentials and options they have."""
        return type(self) is type(other) and self.location == other.location

    def default_settings(self) -> StorageSettings:
        """The settings that this kind of storage prefers; members that are None take the general defaults.

        Returns
        -------
        StorageSettings
        """
        return StorageSettings()

    def list_objects(
        self, settings: StorageSettings | None = None, prefix: str | None = None
    ) -> list[tuple[str, int]]:
        """The objects that are stored here, in any order.

        Parameters
        ----------
        settings : StorageSettings, optional
            How to reach the place, where its defaults do not do.
        prefix : str, optional
            A directory, such as ``"chunks"``; everything when left out.

        Returns
        -------
        list of tuple of str and int
            Keys, relative to `prefix`, and sizes in bytes.

        Raises
        ------
        StorageError
            Kind `object-store`, `io` or `storage-config`: the place cannot be listed.

        Examples
        --------
        >>> from icechunk import Repository, in_memory_storage
        >>> storage = in_memory_storage()
        >>> repo = Repository.create(storage)
        >>> sorted(key for key, _ in storage.list_objects())
        ['repo', 'snapshots/1CECHNKREP0F1RSTCMT0', 'transactions/1CECHNKREP0F1RSTCMT0']
        """
        return [(info.key, info.size_bytes) for info in self._list(settings, prefix)]

    def list_objects_metadata(
        self, settings: StorageSettings | None = None, prefix: str | None = None
    ) -> list[StorageObjectInfo]:
        """The objects that are stored here, in any order, with their sizes and times.

        Parameters
        ----------
        settings : StorageSettings, optional
            How to reach the place, where its defaults do not do.
        prefix : str, optional
            A directory, such as ``"chunks"``; everything when left out.

        Returns
        -------
        list of StorageObjectInfo
            Their keys are relative to `prefix`.

        Raises
        ------
        StorageError
            Kind `object-store`, `io` or `storage-config`: the place cannot be listed.
        """
        return self._list(settings, prefix)

    async def list_objects_metadata_async(
        self, settings: StorageSettings | None = None, prefix: str | None = None
    ) -> list[StorageObjectInfo]:
        """Like `list_objects_metadata`, as a coroutine.

        Parameters
        ----------
        settings : StorageSettings, optional
        prefix : str, optional

        Returns
        -------
        list of StorageObjectInfo

        Raises
        ------
        StorageError
            As in `list_objects_metadata`.
        """
        return await self._list_async(settings, prefix)

    # Descriptions do not know how to reach what they describe: the backends set these two.
    _list: ClassVar[Callable[[Storage, StorageSettings | None, str | None], list[StorageObjectInfo]]]
    _list_async: ClassVar[
        Callable[[Storage, StorageSettings | None, str | None], Awaitable[list[StorageObjectInfo]]]
    ]

    def _fields(self, form: Form) -> Fields:  # noqa: ARG002
        return [("type", self._type), *self._details()]

    def _details(self) -> Fields:
        return []


class InMemoryStorage(Storage, frozen=True):
    """A place in the memory of this process. Made by `in_memory_storage`."""

    objects: MemoryObjects

    _type: ClassVar[str] = "in-memory"

    def is_same_place(self, other: Storage) -> bool:
        return isinstance(other, InMemoryStorage) and self.objects is other.objects

    def default_settings(self) -> StorageSettings:
        return StorageSettings(
            concurrency=StorageConcurrencySettings(
                max_concurrent_requests_for_object=5, ideal_concurrent_request_size=1
            ),
            retries=StorageRetriesSettings(max_tries=1, initial_backoff_ms=0, max_backoff_ms=0),
        )


class LocalFileSystemStorage(Storage, frozen=True):
    """A directory. Made by `local_filesystem_storage`."""

    path: str
    durable: bool = False

    _type: ClassVar[str] = "local filesystem"

    @property
    def location(self) -> str:
        return self.path

    def default_settings(self) -> StorageSettings:
        return StorageSettings(
            concurrency=StorageConcurrencySettings(
                max_concurrent_requests_for_object=5, ideal_concurrent_request_size=4096
            ),
            retries=StorageRetriesSettings(max_tries=1, initial_backoff_ms=0, max_backoff_ms=0),
            unsafe_use_conditional_update=False,
            unsafe_use_metadata=False,
        )

    def _details(self) -> Fields:
        return [("path", self.path), *([("durable", "True")] if self.durable else [])]


class ObjectStorage(Storage, frozen=True):
    """A prefix of an object store; the base of all that are reached over obstore."""

    @property
    def is_remote(self) -> bool:
        return True

    @property
    def root(self) -> str:
        """The prefix, without a slash at its end; empty at the root of the bucket."""
        return ""

    @property
    def requires_prefix(self) -> bool:
        return not self.root


class ObstoreStorage(ObjectStorage, frozen=True):
    """A prefix of a store made with obstore. Made by `obstore_storage`."""

    store: ObjectStore
    prefix: str = ""

    _type: ClassVar[str] = "obstore"

    @property
    def root(self) -> str:
        return self.prefix

    @property
    def requires_prefix(self) -> bool:
        return False

    @property
    def location(self) -> str:
        return f"{self.store!r}" + (f" under `{self.prefix}`" if self.prefix else "")

    def _details(self) -> Fields:
        return [("store", repr(self.store)), *([("prefix", self.prefix)] if self.prefix else [])]


class S3Storage(ObjectStorage, frozen=True):
    """A prefix of a bucket in S3, or in a service that speaks its protocol. Made by `s3_storage`."""

    bucket: str
    prefix: str
    credentials: AnyS3Credential
    region: str | None = None
    endpoint_url: str | None = None
    allow_http: bool = False
    anonymous: bool = False
    force_path_style: bool = False
    network_stream_timeout_seconds: int | None = None
    requester_pays: bool = False
    checksum_algorithm: ChecksumAlgorithm | None = None
    read_headers: tuple[tuple[str, str], ...] = ()
    write_headers: tuple[tuple[str, str], ...] = ()

    _type: ClassVar[str] = "S3 (native)"

    @property
    def root(self) -> str:
        return self.prefix

    @property
    def location(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def __hash__(self) -> int:
        return hash((self.bucket, self.prefix, self.region, self.endpoint_url))

    def _details(self) -> Fields:
        yield "bucket", self.bucket
        options = "prefix region endpoint_url anonymous allow_http force_path_style requester_pays"
        for name in options.split():
            if value := getattr(self, name):
                yield name, str(value)
        if self.checksum_algorithm is not None:
            yield "checksum_algorithm", self.checksum_algorithm.name


def in_memory_storage() -> Storage:
    """Keep a repository in the memory of this process, for tests and experiments.

    Every call makes a new, empty place, shared by all copies of the storage in this process (pickled ones
    too) and gone with the last of them. A forked child goes on with a copy of its own. Unpickling in
    another process fails, because what is written there would be lost.

    Returns
    -------
    Storage

    Examples
    --------
    >>> from icechunk import Repository, in_memory_storage
    >>> repo = Repository.create(in_memory_storage())
    >>> sorted(repo.list_branches())
    ['main']
    """
    return InMemoryStorage(MemoryObjects())


def local_filesystem_storage(path: str | os.PathLike[str], *, durable: bool = False) -> Storage:
    """Keep a repository in a directory.

    Commits are safe from any number of threads and processes at once: changes of the repository object are
    compared and swapped under a lock file in the directory. Creating the repository creates the directory.

    Parameters
    ----------
    path : str or os.PathLike
        The directory. A relative path is resolved now, so that a later change of the working directory, or
        another process, finds the same place. `~` is not expanded.
    durable : bool, default False
        Wait until the disk has what was written (`fsync` of files and directories) before an operation
        returns, so that a commit survives a power failure. Without it, a commit survives the death of the
        process at any moment, and what the operating system has not yet written is lost with the power.

    Returns
    -------
    Storage

    Raises
    ------
    TypeError
        `path` is no path.

    Examples
    --------
    >>> import tempfile
    >>> from icechunk import Repository, local_filesystem_storage
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     repo = Repository.create(local_filesystem_storage(directory))
    ...     sorted(repo.list_branches())
    ['main']
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"path must be of type str, not {text!r}")
    return LocalFileSystemStorage(os.path.abspath(text), durable)


def s3_storage(
    *,
    bucket: str,
    prefix: str | None = None,
    region: str | None = None,
    endpoint_url: str | None = None,
    allow_http: bool = False,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    expires_after: datetime | None = None,
    anonymous: bool | None = None,
    from_env: bool | None = None,
    get_credentials: Callable[[], S3StaticCredentials] | None = None,
    scatter_initial_credentials: bool = False,
    force_path_style: bool = False,
    network_stream_timeout_seconds: int = 60,
    requester_pays: bool = False,
    checksum_algorithm: ChecksumAlgorithm | None = None,
    legacy_rooted_keys: bool | None = None,
    read_headers: Mapping[str, str] | None = None,
    write_headers: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Storage:
    """Keep a repository in a bucket of S3, or of a service that speaks its protocol.

    Parameters
    ----------
    bucket : str
        The name of the bucket.
    prefix : str, optional
        Where in the bucket. New repositories need one: without it they would fill the root of the bucket.
    region : str, optional
        The region of the bucket; from the environment (`AWS_REGION`) when left out.
    endpoint_url : str, optional
        The address of a service other than Amazon's, such as ``http://localhost:9000``; from the environment
        (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`) when left out.
    allow_http : bool, default False
        Accept an endpoint without TLS.
    access_key_id, secret_access_key, session_token : str, optional
        Credentials that stay the same.
    expires_after : datetime, optional
        Until when they are valid.
    anonymous : bool, optional
        Send unsigned requests.
    from_env : bool, optional
        Take credentials from the environment, as when none are given: variables, web identity, container or
        instance roles.
    get_credentials : callable, optional
    scatter_initial_credentials : bool, default False
        Not possible in this version: use `obstore_storage` with a store that has a `credential_provider`.
    force_path_style : bool, default False
        Put the bucket into the path of URLs, not into the host name. Endpoints that are `localhost` or an
        IP address are addressed so anyway.
    network_stream_timeout_seconds : int, default 60
        Give up a request when nothing arrived for so long; 0 waits for ever.
    requester_pays : bool, default False
        Agree to pay for the requests.
    checksum_algorithm : ChecksumAlgorithm, optional
        The checksum to send with writes: `Sha256` or `Crc64Nvme`.
    legacy_rooted_keys : bool, optional
        Whether the keys of a repository at the root of a bucket start with a slash, as very old releases
        wrote them. Only False is possible here.
    read_headers, write_headers, headers : mapping of str to str, optional
        HTTP headers to send with requests that read, that write, and with both.

    Returns
    -------
    Storage

    Raises
    ------
    TypeError, OverflowError
        An argument has the wrong type or is out of range.
    ValueError
        The arguments about credentials contradict each other.
    StorageError
        Kind `storage-config`: a prefix, checksum or layout of keys that cannot be honoured.

    Examples
    --------
    >>> from icechunk import s3_storage
    >>> storage = s3_storage(bucket="climate", prefix="era5", region="eu-central-1", anonymous=True)
    >>> print(storage)
    <icechunk.Storage>
    type: S3 (native)
    bucket: climate
    prefix: era5
    region: eu-central-1
    anonymous: True
    """
    options = S3Options(
        region=region,
        endpoint_url=endpoint_url,
        allow_http=allow_http,
        anonymous=bool(anonymous),
        force_path_style=force_path_style,
        network_stream_timeout_seconds=network_stream_timeout_seconds,
        requester_pays=requester_pays,
        checksum_algorithm=checksum_algorithm,
    )
    credentials = s3_credentials(
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=session_token,
        expires_after=expires_after,
        anonymous=anonymous,
        from_env=from_env,
    )
    if get_credentials is not None or scatter_initial_credentials:
        raise _not_possible(
            "credentials from a function (get_credentials) are not known to this version: pass a store "
            "that has a `credential_provider` to `obstore_storage`"
        )
    if legacy_rooted_keys:
        raise _not_possible(
            "keys that start with a slash (legacy_rooted_keys=True) cannot be addressed by this "
            "implementation: open the repository with a release of the official one, and copy it below a "
            "prefix"
        )
    if checksum_algorithm not in (None, ChecksumAlgorithm.Sha256, ChecksumAlgorithm.Crc64Nvme):
        raise _not_possible(f"the client sends Sha256 or Crc64Nvme checksums, not {checksum_algorithm.name}")
    return S3Storage(
        bucket=bucket,
        prefix=_checked_prefix(prefix),
        credentials=credentials,
        region=region,
        endpoint_url=endpoint_url,
        allow_http=allow_http,
        anonymous=bool(anonymous),
        force_path_style=force_path_style,
        network_stream_timeout_seconds=options.network_stream_timeout_seconds,
        requester_pays=requester_pays,
        checksum_algorithm=options.checksum_algorithm,
        read_headers=_headers(headers, read_headers),
        write_headers=_headers(headers, write_headers),
    )


def obstore_storage(store: ObjectStore, prefix: str | None = None) -> Storage:
    """Keep a repository in any store made with obstore.

    The store must know conditional puts, or commits fail: S3, Google Cloud Storage, Azure and memory stores
    do, while for directories there is `local_filesystem_storage`. Timeouts, retries and the labels of
    requests are those of the store.

    Parameters
    ----------
    store : obstore.store.ObjectStore
        Used as it is; the storage can be pickled if the store can.
    prefix : str, optional
        Where in the store.

    Returns
    -------
    Storage

    Raises
    ------
    StorageError
        Kind `storage-config`: the prefix cannot be addressed.

    Examples
    --------
    >>> from icechunk import Repository, obstore_storage
    >>> from obstore.store import MemoryStore
    >>> repo = Repository.create(obstore_storage(MemoryStore(), prefix="demo"))
    >>> sorted(repo.list_branches())
    ['main']
    """
    return ObstoreStorage(store, _checked_prefix(prefix))


def _checked_prefix(prefix: str | None) -> str:
    """A prefix without the slash at its end."""
    bare = (prefix or "").removesuffix("/")
    if bare and not {"", ".", ".."}.isdisjoint(bare.split("/")):
        raise _not_possible(f"the prefix `{prefix}` has an empty part, or one that is a dot or two")
    return bare


def _headers(*layers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    merged = {name.lower(): value for layer in layers for name, value in (layer or {}).items()}
    return tuple(sorted(merged.items()))


def _not_possible(message: str) -> StorageError:
    return StorageError(message, ErrorKind.STORAGE_CONFIG)
