"""The configuration classes: what they accept, how they merge, how they show themselves."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import icechunk
from icechunk.config import (
    Attribution,
    CachingConfig,
    CompressionAlgorithm,
    CompressionConfig,
    ManifestConfig,
    ManifestPreloadCondition,
    ManifestPreloadConfig,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
    ManifestVirtualChunkLocationCompressionConfig,
    ObjectStoreConfig,
    RepositoryConfig,
    RepoUpdateRetryConfig,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
    available_cpus,
)
from icechunk.virtual import ChecksumAlgorithm, S3Options, VirtualChunkContainer

Preload = ManifestPreloadCondition
Array = ManifestSplitCondition
Dimension = ManifestSplitDimCondition


def everything() -> RepositoryConfig:
    """A configuration in which every member is set."""
    config = RepositoryConfig(
        inline_chunk_threshold_bytes=12,
        get_partial_values_concurrency=3,
        compression=CompressionConfig(CompressionAlgorithm.Zstd, 5),
        max_concurrent_requests=7,
        caching=CachingConfig(1, 2, 3, 4, 5),
        storage=StorageSettings(
            StorageConcurrencySettings(3, 4),
            StorageRetriesSettings(5, 6, 7),
            True,
            False,
            True,
            "A",
            "B",
            "C",
            12345,
            StorageTimeoutSettings(1, 2, 3, 4),
        ),
        manifest=ManifestConfig(
            ManifestPreloadConfig(
                1,
                (Preload.true() | Preload.false())
                & Preload.path_matches('quote " and \\b')
                & Preload.name_matches("b")
                & Preload.num_refs(1, None),
                4,
            ),
            ManifestSplittingConfig.from_dict(
                {
                    Array.path_matches("x") | Array.AnyArray(): {
                        Dimension.Axis(1): 3,
                        Dimension.DimensionName("t"): 4,
                        Dimension.Any(): 5,
                    },
                    Array.name_matches("y") & Array.path_matches("z"): {},
                }
            ),
            ManifestVirtualChunkLocationCompressionConfig(
                500, dictionary_max_training_samples=1, dictionary_max_size_bytes=2, compression_level=-3
            ),
            4,
        ),
        repo_update_retries=RepoUpdateRetryConfig(StorageRetriesSettings(9, 8, 7)),
        num_updates_per_repo_info_file=11,
        max_concurrent_decodes=6,
    )
    options = S3Options("us-east-1", "http://x:9", True, True, True, 5, True, ChecksumAlgorithm.Crc64Nvme)
    for prefix, store, name in [
        ("s3://b/p/", ObjectStoreConfig.S3(options), "n1"),
        ("s3://b/q/", ObjectStoreConfig.S3Compatible(S3Options()), None),
        ("tigris://b/", ObjectStoreConfig.Tigris(S3Options()), None),
        ("file:///data/", ObjectStoreConfig.LocalFileSystem("/data"), "local"),
        ("http://h/", ObjectStoreConfig.Http({"allow_http": "true"}, {"x": "y"}), None),
        ("gs://h/", ObjectStoreConfig.Gcs({"a": "b"}), None),
        ("az://h/", ObjectStoreConfig.Azure({"account": "b"}), None),
    ]:
        config.set_virtual_chunk_container(VirtualChunkContainer(prefix, store, name))
    return config


SETTINGS: list[Any] = [
    RepositoryConfig(),
    everything(),
    CompressionConfig(),
    CompressionConfig(CompressionAlgorithm.Zstd),
    CachingConfig(num_chunk_refs=3),
    ManifestConfig(),
    ManifestPreloadConfig(preload_if=Preload.num_refs(None, 3)),
    ManifestSplittingConfig(),
    ManifestVirtualChunkLocationCompressionConfig(1),
    RepoUpdateRetryConfig(),
    StorageSettings(storage_class='it"s'),
    StorageConcurrencySettings(),
    StorageRetriesSettings(1),
    StorageTimeoutSettings(1),
    S3Options(checksum_algorithm=ChecksumAlgorithm.Sha1),
    VirtualChunkContainer("s3://b/", ObjectStoreConfig.InMemory(), "name"),
    ObjectStoreConfig.Gcs(),
    ObjectStoreConfig.Http({"a": "b"}, {"c": "d"}),
    Array.AnyArray(),
    Dimension.Axis(3),
    Preload.path_matches("a") & Preload.true() | Preload.false(),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: type(setting).__qualname__)
def test_settings_are_values(setting: Any) -> None:
    assert eval(repr(setting), {"icechunk": icechunk}) == setting
    assert pickle.loads(pickle.dumps(setting)) == setting
    assert copy.copy(setting) == copy.deepcopy(setting) == setting
    assert setting != 3
    assert '<div class="icechunk-repr">' in setting._repr_html_()


@pytest.mark.parametrize("setting", [RepositoryConfig(), CachingConfig(), StorageSettings(), S3Options()])
def test_mutable_settings_have_no_hash(setting: Any) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(setting)


# What is accepted


@pytest.mark.parametrize(
    ("make", "field", "largest"),
    [
        (RepositoryConfig, "inline_chunk_threshold_bytes", 2**16 - 1),
        (RepositoryConfig, "get_partial_values_concurrency", 2**16 - 1),
        (RepositoryConfig, "max_concurrent_requests", 2**16 - 1),
        (RepositoryConfig, "max_concurrent_decodes", 2**16 - 1),
        (RepositoryConfig, "num_updates_per_repo_info_file", 2**16 - 1),
        (CompressionConfig, "level", 2**8 - 1),
        (CachingConfig, "num_snapshot_nodes", 2**64 - 1),
        (StorageSettings, "minimum_size_for_multipart_upload", 2**64 - 1),
        (StorageRetriesSettings, "initial_backoff_ms", 2**32 - 1),
        (StorageTimeoutSettings, "read_timeout_ms", 2**32 - 1),
        (ManifestConfig, "max_concurrent_manifest_fetches_during_commit", 2**16 - 1),
        (ManifestPreloadConfig, "max_total_refs", 2**32 - 1),
        (ManifestVirtualChunkLocationCompressionConfig, "min_num_chunks", 2**16 - 1),
        (ManifestVirtualChunkLocationCompressionConfig, "dictionary_max_size_bytes", 2**32 - 1),
        (S3Options, "network_stream_timeout_seconds", 2**32 - 1),
    ],
)
def test_numbers_are_checked(make: Any, field: str, largest: int) -> None:
    setting = make(**{field: largest})
    assert getattr(make(**{field: 0}), field) == 0
    wrongs = {-1: OverflowError, largest + 1: OverflowError, "1": TypeError, 1.5: TypeError}
    for wrong, error in wrongs.items():
        with pytest.raises(error, match=field):
            make(**{field: wrong})
        with pytest.raises(error, match=field):
            setattr(setting, field, wrong)
    assert getattr(setting, field) == largest
    setattr(setting, field, None)
    assert getattr(setting, field) is None


def test_levels_may_be_negative() -> None:
    config = ManifestVirtualChunkLocationCompressionConfig(compression_level=-(2**31))
    with pytest.raises(OverflowError):
        config.compression_level = 2**31


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (StorageRetriesSettings, "max_tries"),
        (StorageConcurrencySettings, "max_concurrent_requests_for_object"),
        (StorageConcurrencySettings, "ideal_concurrent_request_size"),
    ],
)
def test_some_numbers_must_not_be_zero(make: Any, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        make(**{field: 0})
    with pytest.raises(OverflowError, match=field):
        make(**{field: -1})


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (RepositoryConfig, "compression", 3),
        (RepositoryConfig, "storage", CompressionConfig()),
        (RepositoryConfig, "virtual_chunk_containers", []),
        (RepositoryConfig, "virtual_chunk_containers", {"a": 1}),
        (CompressionConfig, "algorithm", 0),
        (StorageSettings, "unsafe_use_metadata", 1),
        (StorageSettings, "storage_class", 1),
        (ManifestPreloadConfig, "preload_if", Array.AnyArray()),
        (ManifestSplittingConfig, "split_sizes", 3),
        (ManifestSplittingConfig, "split_sizes", [(1, ())]),
        (ManifestSplittingConfig, "split_sizes", [(Array.AnyArray(), [(1, 2)])]),
        (ManifestSplittingConfig, "split_sizes", [(Array.AnyArray(),)]),
        (S3Options, "region", 1),
        (S3Options, "allow_http", 1),
        (S3Options, "checksum_algorithm", 1),
    ],
)
def test_types_are_checked(make: Any, field: str, value: Any) -> None:
    with pytest.raises(TypeError):
        make(**{field: value})
    with pytest.raises(TypeError):
        setattr(make(), field, value)


def test_there_are_no_other_fields() -> None:
    with pytest.raises(AttributeError):
        RepositoryConfig().nope = 3
    with pytest.raises(TypeError):
        RepositoryConfig(nope=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ManifestVirtualChunkLocationCompressionConfig(1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Attribution("a")  # type: ignore[call-arg]


def test_members_of_members_can_be_assigned() -> None:
    config = RepositoryConfig(compression=CompressionConfig(level=8), manifest=ManifestConfig())
    assert config.compression is not None
    config.compression.level = 2
    assert config.manifest is not None
    config.manifest.preload = ManifestPreloadConfig(max_total_refs=42)
    config.manifest.preload.preload_if = Preload.true()
    assert config == RepositoryConfig(
        compression=CompressionConfig(level=2),
        manifest=ManifestConfig(ManifestPreloadConfig(42, Preload.true())),
    )


def test_there_is_one_algorithm() -> None:
    assert CompressionAlgorithm() is CompressionAlgorithm.default() is CompressionAlgorithm.Zstd
    assert [*CompressionAlgorithm] == [0]


def test_defaults_are_unset() -> None:
    assert RepositoryConfig.default() == RepositoryConfig()
    assert CompressionConfig.default() == CompressionConfig()
    assert CachingConfig.default() == CachingConfig()


# Conditions


def test_conditions_combine() -> None:
    a, b, c = (Preload.path_matches(text) for text in "abc")
    assert a & b == Preload.and_conditions([a, b])
    assert a | b == Preload.or_conditions((a, b))
    assert (a & b) & c != a & (b & c)
    assert a != Preload.name_matches("a")
    with pytest.raises(TypeError):
        _ = a & Array.path_matches("a")  # type: ignore[operator]
    with pytest.raises(TypeError, match="ManifestPreloadCondition"):
        Preload.and_conditions([3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="regex"):
        Array.path_matches(3)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        Preload.num_refs(-1, 2)


def test_conditions_of_splitting_are_keys() -> None:
    rules = {Array.name_matches("a") | Array.AnyArray(): {Dimension.Axis(0): 1, Dimension.Any(): 2}}
    config = ManifestSplittingConfig.from_dict(rules)
    assert config.to_dict() == rules
    assert hash(Dimension.DimensionName("x")) == hash(Dimension.DimensionName("x"))
    assert ManifestSplittingConfig().to_dict() == {}
    assert ManifestSplittingConfig([(Array.AnyArray(), [(Dimension.Any(), 2)])]) == (  # type: ignore[arg-type]
        ManifestSplittingConfig.from_dict({Array.AnyArray(): {Dimension.Any(): 2}})
    )


def test_splitting_rules_may_be_put_together_before() -> None:
    # Type checkers know such a dict as one of this very kind of condition.
    axis = {Dimension.Axis(0): 10}
    assert ManifestSplittingConfig.from_dict({Array.AnyArray(): axis}).to_dict() == {Array.AnyArray(): axis}


@pytest.mark.parametrize("axis", [-1, 2**64])
def test_axes_are_positions(axis: int) -> None:
    with pytest.raises(OverflowError):
        Dimension.Axis(axis)


# Merging


def test_merge_goes_member_by_member() -> None:
    """One setting that is given does not reset the others beside it."""
    below = RepositoryConfig(
        inline_chunk_threshold_bytes=1,
        compression=CompressionConfig(level=2),
        caching=CachingConfig(1, 2),
        storage=StorageSettings(
            StorageConcurrencySettings(1, 2), StorageRetriesSettings(3), storage_class="a"
        ),
        repo_update_retries=RepoUpdateRetryConfig(StorageRetriesSettings(1, 2)),
    )
    above = RepositoryConfig(
        max_concurrent_requests=9,
        compression=CompressionConfig(CompressionAlgorithm.Zstd),
        caching=CachingConfig(num_chunk_refs=9, num_bytes_chunks=3),
        storage=StorageSettings(
            StorageConcurrencySettings(ideal_concurrent_request_size=9), timeouts=StorageTimeoutSettings(1)
        ),
        repo_update_retries=RepoUpdateRetryConfig(StorageRetriesSettings(max_backoff_ms=3)),
    )
    assert below.merge(above) == RepositoryConfig(
        inline_chunk_threshold_bytes=1,
        max_concurrent_requests=9,
        compression=CompressionConfig(CompressionAlgorithm.Zstd, 2),
        caching=CachingConfig(1, 9, num_bytes_chunks=3),
        storage=StorageSettings(
            StorageConcurrencySettings(1, 9),
            StorageRetriesSettings(3),
            storage_class="a",
            timeouts=StorageTimeoutSettings(1),
        ),
        repo_update_retries=RepoUpdateRetryConfig(StorageRetriesSettings(1, 2, 3)),
    )


def test_merge_replaces_preloading_splitting_and_containers_whole() -> None:
    container = VirtualChunkContainer("s3://b/", ObjectStoreConfig.S3(S3Options()))
    below = RepositoryConfig(
        virtual_chunk_containers={"s3://b/": container},
        manifest=ManifestConfig(
            ManifestPreloadConfig(1, Preload.true(), 2),
            ManifestSplittingConfig.from_dict({Array.AnyArray(): {}}),
            ManifestVirtualChunkLocationCompressionConfig(1, compression_level=3),
            3,
        ),
    )
    above = RepositoryConfig(
        virtual_chunk_containers={},
        manifest=ManifestConfig(
            ManifestPreloadConfig(5),
            None,
            ManifestVirtualChunkLocationCompressionConfig(dictionary_max_size_bytes=8),
        ),
    )
    assert below.merge(above) == RepositoryConfig(
        virtual_chunk_containers={},
        manifest=ManifestConfig(
            ManifestPreloadConfig(5),
            ManifestSplittingConfig.from_dict({Array.AnyArray(): {}}),
            ManifestVirtualChunkLocationCompressionConfig(
                1, dictionary_max_size_bytes=8, compression_level=3
            ),
            3,
        ),
    )
    assert below.merge(RepositoryConfig()) == RepositoryConfig().merge(below) == below


def test_merge_shares_nothing() -> None:
    below = everything()
    merged = below.merge(RepositoryConfig())
    assert merged.storage is not None
    assert merged.storage.retries is not None
    merged.storage.retries.max_tries = 1000
    assert merged.virtual_chunk_containers is not None
    merged.virtual_chunk_containers["s3://b/p/"].name = "other"
    assert below == everything()


def test_merge_takes_configurations_only() -> None:
    with pytest.raises(TypeError):
        RepositoryConfig().merge(3)  # type: ignore[arg-type]


# Labels


def test_labels_are_checked() -> None:
    assert Attribution(client="a" * 128, workload=" a,/@:'").workload == " a,/@:'"
    assert repr(Attribution(client="a/1")) == (
        'icechunk.Attribution(\n    client="a/1",\n    workload=None,\n    principal=None,\n)'
    )
    for label in ("a b", "a/b/c", "a/", "/a", "", "a" * 129, "a(", "é"):
        with pytest.raises(ValueError, match="client"):
            Attribution(client=label)
    for label in ("a;b", "é", "a\tb", 'a"', "a=b", "a\\", "a" * 129):
        with pytest.raises(ValueError, match="workload"):
            Attribution(workload=label)


# How they show themselves


def test_repr_is_a_constructor_call() -> None:
    config = StorageSettings(retries=StorageRetriesSettings(5), storage_class="cold")
    assert repr(config) == (
        "icechunk.storage.StorageSettings(\n"
        "    unsafe_use_conditional_create=None,\n"
        "    unsafe_use_conditional_update=None,\n"
        "    unsafe_use_metadata=None,\n"
        '    storage_class="cold",\n'
        "    metadata_storage_class=None,\n"
        "    chunks_storage_class=None,\n"
        "    minimum_size_for_multipart_upload=None,\n"
        "    concurrency=None,\n"
        "    retries=icechunk.storage.StorageRetriesSettings(\n"
        "        max_tries=5,\n"
        "        initial_backoff_ms=None,\n"
        "        max_backoff_ms=None,\n"
        "    ),\n"
        "    timeouts=None,\n"
        ")"
    )


def test_str_shows_what_unset_fields_mean() -> None:
    assert str(RepositoryConfig(caching=CachingConfig(num_chunk_refs=8))) == (
        "<icechunk.config.RepositoryConfig>\n"
        "inline_chunk_threshold_bytes: 512 (default)\n"
        "get_partial_values_concurrency: 10 (default)\n"
        "max_concurrent_requests: 256 (default)\n"
        f"max_concurrent_decodes: {available_cpus()} (default)\n"
        "num_updates_per_repo_info_file: 1000 (default)\n"
        "compression:\n"
        "    <icechunk.config.CompressionConfig>\n"
        "    algorithm: Zstd (default)\n"
        "    level: 3 (default)\n"
        "caching:\n"
        "    <icechunk.config.CachingConfig>\n"
        "    num_snapshot_nodes: 500000 (default)\n"
        "    num_chunk_refs: 8\n"
        "    num_transaction_changes: 100000 (default)\n"
        "    num_bytes_attributes: 0 (default)\n"
        "    num_bytes_chunks: 0 (default)\n"
        "storage: None\n"
        "manifest:\n"
        "    <icechunk.config.ManifestConfig>\n"
        "    preload:\n"
        "        <icechunk.config.ManifestPreloadConfig>\n"
        "        max_total_refs: 10000 (default)\n"
        "        preload_if: None\n"
        "        max_arrays_to_scan: 50 (default)\n"
        "    splitting:\n"
        "        <icechunk.config.ManifestSplittingConfig>\n"
        '        split_sizes: [(icechunk.config.ManifestSplitCondition.path_matches(".*"), '
        "[(icechunk.config.ManifestSplitDimCondition.Any(), 4294967295)])]\n"
        "    virtual_chunk_location_compression:\n"
        "        <icechunk.config.ManifestVirtualChunkLocationCompressionConfig>\n"
        "        min_num_chunks: 1000 (default)\n"
        "        dictionary_max_training_samples: 100 (default)\n"
        "        dictionary_max_size_bytes: 2048 (default)\n"
        "        compression_level: 3 (default)\n"
        "    max_concurrent_manifest_fetches_during_commit: 1 (default)\n"
        "repo_update_retries:\n"
        "    <icechunk.config.RepoUpdateRetryConfig>\n"
        "    default:\n"
        "        <icechunk.storage.StorageRetriesSettings>\n"
        "        max_tries: 100\n"
        "        initial_backoff_ms: 50\n"
        "        max_backoff_ms: 30000\n"
        "virtual_chunk_containers: None\n"
    )


def test_str_of_storage_settings() -> None:
    assert str(StorageSettings(timeouts=StorageTimeoutSettings(1))) == (
        "<icechunk.storage.StorageSettings>\n"
        "unsafe_use_conditional_create: True (default)\n"
        "unsafe_use_conditional_update: True (default)\n"
        "unsafe_use_metadata: True (default)\n"
        "storage_class: None\n"
        "metadata_storage_class: None\n"
        "chunks_storage_class: None\n"
        "minimum_size_for_multipart_upload: 104857600 (default)\n"
        "concurrency:\n"
        "    <icechunk.storage.StorageConcurrencySettings>\n"
        "    max_concurrent_requests_for_object: 18 (default)\n"
        "    ideal_concurrent_request_size: 12582912 (default)\n"
        "retries:\n"
        "    <icechunk.storage.StorageRetriesSettings>\n"
        "    max_tries: 10 (default)\n"
        "    initial_backoff_ms: 100 (default)\n"
        "    max_backoff_ms: 180000 (default)\n"
        "timeouts:\n"
        "    <icechunk.storage.StorageTimeoutSettings>\n"
        "    connect_timeout_ms: 1\n"
        "    read_timeout_ms: None\n"
        "    operation_timeout_ms: None\n"
        "    operation_attempt_timeout_ms: None\n"
    )


def test_html_folds_what_is_nested_and_escapes_the_rest() -> None:
    html = RepositoryConfig(storage=StorageSettings(storage_class="<b>"))._repr_html_()
    assert "<details>" in html
    assert "15000000 (default)" in html
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    condition = Preload.path_matches('<div class="x">')
    for shown in (condition._repr_html_(), ManifestPreloadConfig(preload_if=condition)._repr_html_()):
        assert "&lt;div class" in shown
