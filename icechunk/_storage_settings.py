"""How a repository uses its storage: the part of the configuration that follows the backend.

Public as `icechunk.storage` and `icechunk.config`.
"""

from __future__ import annotations

from typing import ClassVar

from icechunk._setting import U32, U64, PositiveU16, PositiveU64, Setting

__all__ = [
    "StorageConcurrencySettings",
    "StorageRetriesSettings",
    "StorageSettings",
    "StorageTimeoutSettings",
]


class StorageConcurrencySettings(Setting):
    """How one object is fetched in parallel.

    Parameters
    ----------
    max_concurrent_requests_for_object : int, optional
        At most so many requests at once for one object, 18 when left out.
    ideal_concurrent_request_size : int, optional
        Split larger reads into requests of about so many bytes, 12 MiB when left out.

    Raises
    ------
    TypeError, ValueError, OverflowError
        A value is not a whole number, is zero, or is out of range.

    Examples
    --------
    >>> from icechunk import StorageConcurrencySettings
    >>> StorageConcurrencySettings(ideal_concurrent_request_size=8 * 1024**2)
    icechunk.storage.StorageConcurrencySettings(
        max_concurrent_requests_for_object=None,
        ideal_concurrent_request_size=8388608,
    )
    """

    _shown_as: ClassVar[str] = "icechunk.storage.StorageConcurrencySettings"
    _defaults: ClassVar[dict[str, object]] = {
        "max_concurrent_requests_for_object": 18,
        "ideal_concurrent_request_size": 12 * 1024 * 1024,
    }

    max_concurrent_requests_for_object: PositiveU16 = None
    ideal_concurrent_request_size: PositiveU64 = None


class StorageRetriesSettings(Setting):
    """How often and how patiently a failed request is tried again.

    Parameters
    ----------
    max_tries : int, optional
        Tries in all, 10 when left out.
    initial_backoff_ms : int, optional
        The first pause in milliseconds, 100 when left out; it grows from try to try.
    max_backoff_ms : int, optional
        The longest pause in milliseconds, 180,000 when left out.

    Raises
    ------
    TypeError, ValueError, OverflowError
        A value is not a whole number, `max_tries` is zero, or a value is out of range.

    Examples
    --------
    >>> from icechunk import StorageRetriesSettings
    >>> StorageRetriesSettings(max_tries=3).max_tries
    3
    """

    _shown_as: ClassVar[str] = "icechunk.storage.StorageRetriesSettings"
    _defaults: ClassVar[dict[str, object]] = {
        "max_tries": 10,
        "initial_backoff_ms": 100,
        "max_backoff_ms": 180_000,
    }

    max_tries: PositiveU16 = None
    initial_backoff_ms: U32 = None
    max_backoff_ms: U32 = None


class StorageTimeoutSettings(Setting):
    """How long the client of a store waits, in milliseconds; unset means its own choice.

    Parameters
    ----------
    connect_timeout_ms : int, optional
        For a connection.
    read_timeout_ms : int, optional
        For the first byte of a response.
    operation_timeout_ms : int, optional
        For an operation with all its tries.
    operation_attempt_timeout_ms : int, optional
        For one try.

    Raises
    ------
    TypeError, OverflowError
        A value is not a whole number or is out of range.

    Examples
    --------
    >>> from icechunk import StorageTimeoutSettings
    >>> StorageTimeoutSettings(connect_timeout_ms=2_000).connect_timeout_ms
    2000
    """

    _shown_as: ClassVar[str] = "icechunk.storage.StorageTimeoutSettings"

    connect_timeout_ms: U32 = None
    read_timeout_ms: U32 = None
    operation_timeout_ms: U32 = None
    operation_attempt_timeout_ms: U32 = None


class StorageSettings(Setting):
    """How a repository uses its storage. Unset fields follow the kind of storage.

    Parameters
    ----------
    concurrency : StorageConcurrencySettings, optional
        How one object is fetched in parallel.
    retries : StorageRetriesSettings, optional
        How failed requests are tried again.
    unsafe_use_conditional_create : bool, optional
        False for stores that cannot create an object only if it does not exist. Commits are
        then no longer protected from each other.
    unsafe_use_conditional_update : bool, optional
        False for stores that cannot replace an object only if it did not change. Commits are
        then no longer protected from each other.
    unsafe_use_metadata : bool, optional
        False for stores that cannot attach metadata to objects.
    storage_class : str, optional
        Storage class of new objects.
    metadata_storage_class : str, optional
        Storage class of everything but chunks; `storage_class` when left out.
    chunks_storage_class : str, optional
        Storage class of chunks; `storage_class` when left out.
    minimum_size_for_multipart_upload : int, optional
        Upload in parts from so many bytes on, 100 MiB when left out.
    timeouts : StorageTimeoutSettings, optional
        How long to wait.

    Raises
    ------
    TypeError, OverflowError
        A value has the wrong type or is out of range.

    Examples
    --------
    >>> from icechunk import StorageRetriesSettings, StorageSettings
    >>> settings = StorageSettings(retries=StorageRetriesSettings(max_tries=5))
    >>> settings.retries.max_tries
    5
    """

    _shown_as: ClassVar[str] = "icechunk.storage.StorageSettings"
    _shown: ClassVar[tuple[str, ...]] = (
        "unsafe_use_conditional_create",
        "unsafe_use_conditional_update",
        "unsafe_use_metadata",
        "storage_class",
        "metadata_storage_class",
        "chunks_storage_class",
        "minimum_size_for_multipart_upload",
        "concurrency",
        "retries",
        "timeouts",
    )
    _defaults: ClassVar[dict[str, object]] = {
        "unsafe_use_conditional_create": True,
        "unsafe_use_conditional_update": True,
        "unsafe_use_metadata": True,
        "minimum_size_for_multipart_upload": 100 * 1024 * 1024,
        "concurrency": StorageConcurrencySettings(),
        "retries": StorageRetriesSettings(),
    }

    concurrency: StorageConcurrencySettings | None = None
    retries: StorageRetriesSettings | None = None
    unsafe_use_conditional_create: bool | None = None
    unsafe_use_conditional_update: bool | None = None
    unsafe_use_metadata: bool | None = None
    storage_class: str | None = None
    metadata_storage_class: str | None = None
    chunks_storage_class: str | None = None
    minimum_size_for_multipart_upload: U64 = None
    timeouts: StorageTimeoutSettings | None = None
