"""The configuration in effect: three configurations laid over each other, and all of it resolved.

From the bottom up: what the kind of storage prefers, what is stored with the repository,
what the user passes. `effective_config` is what a repository shows as its configuration:
only its storage settings are filled in. `resolve` leaves nothing open, for the code that
acts on it.
"""

from __future__ import annotations

from copy import copy
from typing import TypeVar

import msgspec

from icechunk._core.preload import PreloadRules, preload_rules
from icechunk._core.splits import NO_RULES
from icechunk._setting import Setting, merged
from icechunk.config import (
    Attribution,
    RepositoryConfig,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
)
from icechunk.splitting import SplitSizes

S = TypeVar("S", bound=Setting)


class LocationCompression(msgspec.Struct, frozen=True):
    """When and how the locations of virtual chunks are compressed."""

    min_num_chunks: int
    dictionary_max_training_samples: int
    dictionary_max_size_bytes: int
    compression_level: int


class Settings(msgspec.Struct, frozen=True):
    """A configuration with nothing left open, and what else a repository is opened with.

    `storage` has all its members but storage classes and timeouts, for which None is the
    choice of the store. Limits of concurrency are at least 1, with one exception:
    `max_concurrent_manifest_fetches_during_commit` is 0 when nobody has set it, so that a
    commit can choose by what it has to do.
    """

    inline_chunk_threshold_bytes: int
    get_partial_values_concurrency: int
    compression_level: int
    max_concurrent_requests: int
    max_concurrent_decodes: int
    num_snapshot_nodes: int
    num_chunk_refs: int
    num_transaction_changes: int
    num_bytes_chunks: int
    storage: StorageSettings
    repo_update_retries: StorageRetriesSettings
    num_updates_per_repo_info_file: int
    splitting: SplitSizes
    preload: PreloadRules
    location_compression: LocationCompression
    max_concurrent_manifest_fetches_during_commit: int
    attribution: Attribution


def effective_config(
    storage_defaults: StorageSettings, persisted: RepositoryConfig | None, user: RepositoryConfig | None
) -> RepositoryConfig:
    """Lay the configurations over each other, member by member; the result shares nothing with them."""
    config = RepositoryConfig(storage=storage_defaults)
    for layer in (persisted, user):
        config = config.merge(layer or RepositoryConfig())
    return config


def resolve(
    config: RepositoryConfig,
    storage_defaults: StorageSettings,
    cpus: int,
    attribution: Attribution | None = None,
) -> Settings:
    """Fill in what a configuration leaves open.

    Parameters
    ----------
    config
        A configuration in effect, or any other.
    storage_defaults
        What the kind of storage prefers.
    cpus
        How many processors there are.
    attribution
        Labels for the requests; none when left out.

    Raises
    ------
    TypeError
        `attribution` is something else.
    """
    if attribution is not None and not isinstance(attribution, Attribution):
        raise TypeError(f"attribution must be an Attribution, not {attribution!r}")
    caching = config.effective("caching")
    manifest = config.effective("manifest")
    fetches = manifest.max_concurrent_manifest_fetches_during_commit
    locations = manifest.effective("virtual_chunk_location_compression")
    storage = merged(storage_defaults, config.storage or StorageSettings())
    return Settings(
        inline_chunk_threshold_bytes=config.effective("inline_chunk_threshold_bytes"),
        get_partial_values_concurrency=max(1, config.effective("get_partial_values_concurrency")),
        compression_level=config.effective("compression").effective("level"),
        max_concurrent_requests=max(1, config.effective("max_concurrent_requests")),
        max_concurrent_decodes=max(1, config.max_concurrent_decodes or cpus),
        num_snapshot_nodes=caching.effective("num_snapshot_nodes"),
        num_chunk_refs=caching.effective("num_chunk_refs"),
        num_transaction_changes=caching.effective("num_transaction_changes"),
        num_bytes_chunks=caching.effective("num_bytes_chunks"),
        storage=_filled_storage(storage),
        # When nothing is set the pauses are short, since losing a race is normal. A value that
        # is set in part is completed from the settings for requests, as everywhere else.
        repo_update_retries=_filled(config.effective("repo_update_retries").effective("default")),
        num_updates_per_repo_info_file=max(1, config.effective("num_updates_per_repo_info_file")),
        splitting=_rules(manifest.effective("splitting").split_sizes),
        preload=preload_rules(manifest.effective("preload")),
        location_compression=LocationCompression(
            **{name: locations.effective(name) for name in LocationCompression.__struct_fields__}
        ),
        max_concurrent_manifest_fetches_during_commit=0 if fetches is None else max(1, fetches),
        attribution=Attribution() if attribution is None else copy(attribution),
    )


def _rules(split_sizes: SplitSizes | None) -> SplitSizes:
    return NO_RULES if split_sizes is None else split_sizes


def _filled_storage(storage: StorageSettings) -> StorageSettings:
    filled = _filled(storage)
    filled.concurrency = _filled(storage.concurrency or StorageConcurrencySettings())
    filled.retries = _filled(storage.retries or StorageRetriesSettings())
    return filled


def _filled(setting: S) -> S:
    """A copy in which unset fields have the value that they mean."""
    return type(setting)(**{name: setting.effective(name) for name in setting.__struct_fields__})
