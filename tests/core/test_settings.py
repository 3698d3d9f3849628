"""The configuration in effect, and the settings that it resolves to."""

from __future__ import annotations

from typing import Any

import pytest

from icechunk._core.preload import COORDINATES
from icechunk._core.settings import effective_config, resolve
from icechunk._core.splits import NO_RULES
from icechunk.config import (
    CachingConfig,
    CompressionConfig,
    ManifestConfig,
    ManifestPreloadCondition,
    ManifestPreloadConfig,
    ManifestSplitCondition,
    ManifestSplittingConfig,
    ManifestVirtualChunkLocationCompressionConfig,
    RepositoryConfig,
    RepoUpdateRetryConfig,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)

LOCAL = StorageSettings(
    StorageConcurrencySettings(5, 4096),
    StorageRetriesSettings(1, 0, 0),
    unsafe_use_conditional_update=False,
    unsafe_use_metadata=False,
)


def test_everything_has_a_default() -> None:
    settings = resolve(RepositoryConfig(), StorageSettings(), 3)
    assert settings.inline_chunk_threshold_bytes == 512
    assert settings.get_partial_values_concurrency == 10
    assert settings.compression_level == 3
    assert settings.max_concurrent_requests == 256
    assert settings.max_concurrent_decodes == 3
    assert settings.num_snapshot_nodes == 500_000
    assert settings.num_chunk_refs == 15_000_000
    assert settings.num_transaction_changes == 100_000
    assert settings.num_bytes_chunks == 0
    assert settings.repo_update_retries == StorageRetriesSettings(100, 50, 30_000)
    assert settings.num_updates_per_repo_info_file == 1000
    assert settings.splitting == NO_RULES
    assert settings.preload.condition == COORDINATES
    assert (settings.preload.max_total_refs, settings.preload.max_arrays_to_scan) == (10_000, 50)
    assert settings.location_compression.min_num_chunks == 1000
    assert settings.location_compression.dictionary_max_training_samples == 100
    assert settings.location_compression.dictionary_max_size_bytes == 2048
    assert settings.location_compression.compression_level == 3
    assert settings.max_concurrent_manifest_fetches_during_commit == 0
    assert settings.storage == StorageSettings(
        StorageConcurrencySettings(18, 12 * 1024 * 1024),
        StorageRetriesSettings(10, 100, 180_000),
        True,
        True,
        True,
        minimum_size_for_multipart_upload=100 * 1024 * 1024,
    )
    assert settings == resolve(RepositoryConfig(), StorageSettings(), 3)


def test_what_is_set_is_taken() -> None:
    rules = ManifestSplittingConfig.from_dict({ManifestSplitCondition.AnyArray(): {}})
    condition = ManifestPreloadCondition.true()
    config = RepositoryConfig(
        inline_chunk_threshold_bytes=0,
        compression=CompressionConfig(level=9),
        caching=CachingConfig(num_bytes_chunks=1),
        manifest=ManifestConfig(
            ManifestPreloadConfig(0, condition, 7),
            rules,
            ManifestVirtualChunkLocationCompressionConfig(0, compression_level=-1),
            5,
        ),
        max_concurrent_decodes=9,
        num_updates_per_repo_info_file=2,
    )
    settings = resolve(config, StorageSettings(), 3)
    assert settings.inline_chunk_threshold_bytes == 0
    assert settings.compression_level == 9
    assert (settings.num_snapshot_nodes, settings.num_bytes_chunks) == (500_000, 1)
    assert settings.splitting == rules.split_sizes
    assert settings.preload.condition == condition
    assert (settings.preload.max_total_refs, settings.preload.max_arrays_to_scan) == (0, 7)
    assert settings.location_compression.min_num_chunks == 0
    assert settings.location_compression.compression_level == -1
    assert settings.max_concurrent_manifest_fetches_during_commit == 5
    assert settings.max_concurrent_decodes == 9
    assert settings.num_updates_per_repo_info_file == 2
    assert settings != resolve(RepositoryConfig(), StorageSettings(), 3)


def test_splitting_without_rules_is_no_splitting() -> None:
    config = RepositoryConfig(manifest=ManifestConfig(splitting=ManifestSplittingConfig()))
    assert resolve(config, StorageSettings(), 1).splitting == NO_RULES
    config = RepositoryConfig(manifest=ManifestConfig(splitting=ManifestSplittingConfig(())))
    assert resolve(config, StorageSettings(), 1).splitting == ()


def test_limits_of_concurrency_are_at_least_one() -> None:
    config = RepositoryConfig(
        get_partial_values_concurrency=0,
        max_concurrent_requests=0,
        max_concurrent_decodes=0,
        num_updates_per_repo_info_file=0,
        manifest=ManifestConfig(max_concurrent_manifest_fetches_during_commit=0),
    )
    settings = resolve(config, StorageSettings(), 2)
    assert settings.get_partial_values_concurrency == 1
    assert settings.max_concurrent_requests == 1
    assert settings.max_concurrent_decodes == 2
    assert settings.num_updates_per_repo_info_file == 1
    assert settings.max_concurrent_manifest_fetches_during_commit == 1


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        (None, (100, 50, 30_000)),
        (RepoUpdateRetryConfig(), (100, 50, 30_000)),
        (RepoUpdateRetryConfig(StorageRetriesSettings(7)), (7, 100, 180_000)),
        (RepoUpdateRetryConfig(StorageRetriesSettings()), (10, 100, 180_000)),
        (RepoUpdateRetryConfig(StorageRetriesSettings(None, 1, 2)), (10, 1, 2)),
    ],
)
def test_retries_of_updates_are_short_unless_somebody_chose(
    retries: Any, expected: tuple[int, int, int]
) -> None:
    settings = resolve(RepositoryConfig(repo_update_retries=retries), StorageSettings(), 1)
    assert settings.repo_update_retries == StorageRetriesSettings(*expected)


def test_the_storage_has_the_last_word_only_where_nobody_chose() -> None:
    config = RepositoryConfig(
        storage=StorageSettings(
            retries=StorageRetriesSettings(max_tries=4),
            unsafe_use_metadata=True,
            timeouts=StorageTimeoutSettings(read_timeout_ms=9),
        )
    )
    storage = resolve(config, LOCAL, 1).storage
    assert storage.concurrency == StorageConcurrencySettings(5, 4096)
    assert storage.retries == StorageRetriesSettings(4, 0, 0)
    assert storage.unsafe_use_conditional_create is True
    assert storage.unsafe_use_conditional_update is False
    assert storage.unsafe_use_metadata is True
    assert storage.timeouts == StorageTimeoutSettings(read_timeout_ms=9)


def test_configurations_are_laid_over_each_other() -> None:
    """Given or stored in part, they leave the defaults of the storage in place."""
    persisted = RepositoryConfig(
        1, 2, CompressionConfig(level=4), storage=StorageSettings(storage_class="cold")
    )
    user = RepositoryConfig(
        5, compression=CompressionConfig(), storage=StorageSettings(retries=StorageRetriesSettings(9))
    )
    assert effective_config(LOCAL, persisted, user) == RepositoryConfig(
        5,
        2,
        CompressionConfig(level=4),
        storage=StorageSettings(
            StorageConcurrencySettings(5, 4096),
            StorageRetriesSettings(9, 0, 0),
            unsafe_use_conditional_update=False,
            unsafe_use_metadata=False,
            storage_class="cold",
        ),
    )
    assert effective_config(LOCAL, None, None) == RepositoryConfig(storage=LOCAL)


def test_the_effective_configuration_shares_nothing() -> None:
    defaults = StorageSettings(retries=StorageRetriesSettings(1))
    config = effective_config(defaults, None, None)
    assert config.storage is not None
    assert config.storage.retries is not None
    config.storage.retries.max_tries = 50
    settings = resolve(config, defaults, 1)
    assert settings.storage.retries == StorageRetriesSettings(50, 100, 180_000)
    config.storage.retries.max_tries = 60
    assert settings.storage.retries.max_tries == 50
    assert defaults == StorageSettings(retries=StorageRetriesSettings(1))
