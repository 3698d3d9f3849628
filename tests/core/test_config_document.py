"""The stored configuration: the document, in YAML and in FlexBuffers."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.config_document import (
    config_of,
    decode_config_flexbuffers,
    decode_config_yaml,
    document_of,
    encode_config_flexbuffers,
    encode_config_yaml,
)
from icechunk._core.config_yaml import Variant, dump_yaml, load_yaml
from icechunk._exceptions import FormatError
from icechunk._format import flexbuffers
from icechunk.config import (
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
)
from icechunk.virtual import ChecksumAlgorithm, S3Options, VirtualChunkContainer

Preload = ManifestPreloadCondition
Array = ManifestSplitCondition
Dimension = ManifestSplitDimCondition

CONFIG = RepositoryConfig(
    inline_chunk_threshold_bytes=12,
    get_partial_values_concurrency=3,
    compression=CompressionConfig(CompressionAlgorithm.Zstd, 5),
    max_concurrent_requests=7,
    max_concurrent_decodes=6,
    caching=CachingConfig(1, 2, 3, 4, 5),
    storage=StorageSettings(
        StorageConcurrencySettings(3, 4),
        StorageRetriesSettings(5, 6, 7),
        True,
        False,
        minimum_size_for_multipart_upload=12345,
        timeouts=StorageTimeoutSettings(1, 2, 3, 4),
    ),
    virtual_chunk_containers={
        "s3://b/p/": VirtualChunkContainer(
            "s3://b/p/",
            ObjectStoreConfig.S3(
                S3Options("us-east-1", "http://x:9", True, True, True, 5, True, ChecksumAlgorithm.Crc64Nvme)
            ),
            "n1",
        ),
        "http://h/": VirtualChunkContainer(
            "http://h/", ObjectStoreConfig.Http({"allow_http": "true"}, {"x": "y"})
        ),
        "https://h/": VirtualChunkContainer("https://h/", ObjectStoreConfig.Http({})),
        "file:///data/": VirtualChunkContainer("file:///data/", ObjectStoreConfig.LocalFileSystem("/data")),
        "gs://h/": VirtualChunkContainer("gs://h/", ObjectStoreConfig.Gcs({"a": "b"})),
        "memory://h/": VirtualChunkContainer("memory://h/", ObjectStoreConfig.InMemory()),
    },
    manifest=ManifestConfig(
        ManifestPreloadConfig(
            1,
            (Preload.true() | Preload.false())
            & Preload.path_matches("a: b")
            & Preload.name_matches("q'")
            & Preload.num_refs(1, 2)
            & Preload.num_refs(None, None),
            4,
        ),
        ManifestSplittingConfig.from_dict(
            {
                (Array.AnyArray() | Array.path_matches("x")) & Array.name_matches("z"): {
                    Dimension.Axis(1): 3,
                    Dimension.DimensionName("t"): 4,
                    Dimension.Any(): 5,
                },
                Array.AnyArray(): {},
            }
        ),
        ManifestVirtualChunkLocationCompressionConfig(
            500, dictionary_max_training_samples=1, dictionary_max_size_bytes=2, compression_level=-3
        ),
        4,
    ),
    repo_update_retries=RepoUpdateRetryConfig(StorageRetriesSettings(9, 8, 7)),
    num_updates_per_repo_info_file=11,
)

# As the official release 2.3.0 writes the same configuration.
YAML = """\
inline_chunk_threshold_bytes: 12
get_partial_values_concurrency: 3
compression:
  algorithm: zstd
  level: 5
max_concurrent_requests: 7
max_concurrent_decodes: 6
caching:
  num_snapshot_nodes: 1
  num_chunk_refs: 2
  num_transaction_changes: 3
  num_bytes_attributes: 4
  num_bytes_chunks: 5
storage:
  concurrency:
    max_concurrent_requests_for_object: 3
    ideal_concurrent_request_size: 4
  retries:
    max_tries: 5
    initial_backoff_ms: 6
    max_backoff_ms: 7
  timeouts:
    connect_timeout_ms: 1
    read_timeout_ms: 2
    operation_timeout_ms: 3
    operation_attempt_timeout_ms: 4
  unsafe_use_conditional_update: false
  unsafe_use_conditional_create: true
  unsafe_use_metadata: null
  storage_class: null
  metadata_storage_class: null
  chunks_storage_class: null
  minimum_size_for_multipart_upload: 12345
virtual_chunk_containers:
  s3://b/p/:
    name: n1
    url_prefix: s3://b/p/
    store: !s3
      region: us-east-1
      endpoint_url: http://x:9
      anonymous: true
      allow_http: true
      force_path_style: true
      network_stream_timeout_seconds: 5
      requester_pays: true
      checksum_algorithm: crc64_nvme
  http://h/:
    name: null
    url_prefix: http://h/
    store: !http
      allow_http: 'true'
      headers:
        x: 'y'
  https://h/:
    name: null
    url_prefix: https://h/
    store: !http {}
  file:///data/:
    name: null
    url_prefix: file:///data/
    store: !local_file_system /data
  gs://h/:
    name: null
    url_prefix: gs://h/
    store: !gcs
      a: b
  memory://h/:
    name: null
    url_prefix: memory://h/
    store: in_memory
manifest:
  preload:
    max_total_refs: 1
    preload_if: !and
    - !and
      - !and
        - !and
          - !or
            - 'true'
            - 'false'
          - !path_matches
            regex: 'a: b'
        - !name_matches
          regex: 'q'''
      - !num_refs
        from: !Included 1
        to: !Excluded 2
    - !num_refs
      from: Unbounded
      to: Unbounded
    max_arrays_to_scan: 4
  splitting:
    split_sizes:
    - - !and
        - !or
          - any_array
          - !path_matches
            regex: x
        - !name_matches
          regex: z
      - - condition: !Axis 1
          num_chunks: 3
        - condition: !DimensionName t
          num_chunks: 4
        - condition: Any
          num_chunks: 5
    - - any_array
      - []
  virtual_chunk_location_compression:
    min_num_chunks: 500
    dictionary_max_training_samples: 1
    dictionary_max_size_bytes: 2
    compression_level: -3
  max_concurrent_manifest_fetches_during_commit: 4
previous_file: null
repo_update_retries:
  default:
    max_tries: 9
    initial_backoff_ms: 8
    max_backoff_ms: 7
num_updates_per_repo_info_file: 11
"""

EMPTY_YAML = """\
inline_chunk_threshold_bytes: null
get_partial_values_concurrency: null
compression: null
max_concurrent_requests: null
max_concurrent_decodes: null
caching: null
storage: null
virtual_chunk_containers: null
manifest: null
previous_file: null
repo_update_retries: null
num_updates_per_repo_info_file: null
"""


def test_yaml_is_written_like_this() -> None:
    assert encode_config_yaml(CONFIG).decode() == YAML
    assert encode_config_yaml(RepositoryConfig()).decode() == EMPTY_YAML


def test_yaml_is_read() -> None:
    assert decode_config_yaml(YAML.encode(), "config.yaml") == CONFIG
    assert decode_config_yaml(EMPTY_YAML.encode(), "config.yaml") == RepositoryConfig()


def test_flexbuffers_hold_the_same_document() -> None:
    data = encode_config_flexbuffers(CONFIG)
    assert decode_config_flexbuffers(data, "repo") == CONFIG
    document = flexbuffers.loads(data, "repo")
    assert set(document) == set(document_of(CONFIG))
    assert document["manifest"]["preload"]["preload_if"]["and"][1] == {
        "num_refs": {"from": "Unbounded", "to": "Unbounded"}
    }
    assert document["manifest"]["splitting"]["split_sizes"][0][1][0] == {
        "condition": {"Axis": 1},
        "num_chunks": 3,
    }
    assert document["virtual_chunk_containers"]["file:///data/"]["store"] == {"local_file_system": "/data"}
    assert document["virtual_chunk_containers"]["memory://h/"]["store"] == "in_memory"
    assert document["previous_file"] is None


def test_keys_may_be_absent_or_unknown() -> None:
    document = {"compression": {"level": 4, "speed": 9}, "future": [1], "caching": {}, "storage": None}
    expected = RepositoryConfig(compression=CompressionConfig(level=4), caching=CachingConfig())
    assert config_of(document, "repo") == expected
    assert config_of({}, "repo") == RepositoryConfig()


def test_old_files_key_containers_by_name() -> None:
    document = {"virtual_chunk_containers": {"old": {"url_prefix": "s3://b/", "store": "in_memory"}}}
    containers = config_of(document, "config.yaml").virtual_chunk_containers
    assert containers == {"s3://b/": VirtualChunkContainer("s3://b/", ObjectStoreConfig.InMemory())}


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"from": {"Excluded": 3}, "to": {"Included": 9}}, Preload.num_refs(4, 10)),
        ({"from": {"Included": 3}, "to": {"Included": 2**32 - 1}}, Preload.num_refs(3, None)),
        ({"from": {"Excluded": 2**32 - 1}, "to": "Unbounded"}, Preload.num_refs(2**32 - 1, None)),
    ],
)
def test_bounds_of_other_kinds(bounds: dict[str, Any], expected: ManifestPreloadCondition) -> None:
    document = {"manifest": {"preload": {"preload_if": {"num_refs": bounds}}}}
    config = config_of(document, "repo")
    assert config.manifest == ManifestConfig(ManifestPreloadConfig(preload_if=expected))


def manifest(**members: Any) -> dict[str, Any]:
    return {"manifest": members}


def condition(document: Any) -> dict[str, Any]:
    return manifest(preload={"preload_if": document})


def rule(document: Any) -> dict[str, Any]:
    return manifest(splitting={"split_sizes": [document]})


def container(**members: Any) -> dict[str, Any]:
    return {"virtual_chunk_containers": {"p": members}}


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (None, "map is expected"),
        ([], "map is expected"),
        ({"compression": 3}, "`compression`"),
        ({"compression": {"level": 256}}, "`compression`.*level"),
        ({"compression": {"level": "3"}}, "`compression`.*level"),
        ({"compression": {"algorithm": "lzma"}}, "`compression.algorithm`"),
        ({"inline_chunk_threshold_bytes": -1}, "inline_chunk_threshold_bytes"),
        ({"inline_chunk_threshold_bytes": 1.5}, "inline_chunk_threshold_bytes"),
        ({"storage": {"retries": {"max_tries": 0}}}, "`storage.retries`.*max_tries"),
        ({"storage": {"storage_class": 3}}, "`storage`.*storage_class"),
        ({"storage": {"unsafe_use_metadata": "yes"}}, "`storage`.*unsafe_use_metadata"),
        ({"virtual_chunk_containers": []}, "virtual_chunk_containers"),
        (container(store="in_memory"), "`virtual_chunk_containers.p`.*url_prefix"),
        (container(url_prefix="s3://b/"), "`virtual_chunk_containers.p`.*store"),
        (container(url_prefix=3, store="in_memory"), "`virtual_chunk_containers.p`.*url_prefix"),
        (container(url_prefix="s3://b/", store="tape"), "containers.p.store`.*tape"),
        (
            container(url_prefix="s3://b/", store={"s3": {"anonymous": True}}),
            "containers.p.store`.*allow_http",
        ),
        (container(url_prefix="s3://b/", store={"s3": None}), "containers.p.store"),
        (container(url_prefix="s3://b/", store={"gcs": {"a": 1}}), "containers.p.store"),
        (container(url_prefix="s3://b/", store={"local_file_system": {}}), "containers.p.store"),
        (container(url_prefix="s3://b/", store={"a": 1, "b": 2}), "containers.p.store"),
        (condition("maybe"), "preload_if`.*maybe"),
        (condition({"and": {}}), "preload_if"),
        (condition({"and": ["true", {"or": ["x"]}]}), r"preload_if.and\[1\].or\[0\]"),
        (condition({"path_matches": {}}), "preload_if`.*regex"),
        (condition({"num_refs": {"from": {"Included": -1}, "to": "Unbounded"}}), "preload_if.from"),
        (condition({"num_refs": {"from": "Unbounded"}}), "preload_if.to"),
        (condition({"num_refs": {"from": {"Around": 1}, "to": "Unbounded"}}), "preload_if.from`.*Around"),
        (rule([]), r"split_sizes.\[0\]"),
        (rule(["any_array"]), r"split_sizes.\[0\]"),
        (rule(["any_array", [{"condition": "Any"}]]), r"\[1\]\[0\]"),
        (rule(["any_array", [{"num_chunks": 3}]]), r"\[1\]\[0\].condition"),
        (rule(["any_array", [{"condition": {"Axis": -1}, "num_chunks": 3}]]), r"\[1\]\[0\].condition"),
        (rule(["any_array", [{"condition": "Some", "num_chunks": 3}]]), r"\[1\]\[0\].condition`.*Some"),
        (rule(["any_array", [{"condition": "Any", "num_chunks": 2**32}]]), r"\[1\]\[0\]"),
        (rule(["true", []]), r"split_sizes.\[0\].\[0\]"),
    ],
)
def test_faults_are_located(document: Any, place: str) -> None:
    with pytest.raises(FormatError, match=place) as caught:
        config_of(document, "the object")
    assert caught.value.kind == "config-deserialization"
    assert "the object" in str(caught.value)


# YAML


@pytest.mark.parametrize(
    "text",
    [
        *["a", "us-east-1", "s3://b/p/", "http://x:9", "x" * 3000],
        *["yes", "No", "on", "y", "null", "~", "true", "12", "0o17", "1e5", "1:30", "1_000", ".5", "0x1f"],
        *["2024-01-01", "=", "<<", "-", "", " ", "a b", "a: b", "a #b", "#", "!s3", "*a", "&a", "[", "{}"],
        *["'", '"', "\\", "%", "@", "`", "é", "\n", "a\nb", "\x07", "\u2028", "\ufeff", "\x85"],
    ],
)
def test_any_string_survives(text: str) -> None:
    document = {"value": text, "list": [text], "variant": Variant("name", text)}
    data = dump_yaml(document)
    assert load_yaml(data, "x") == document
    # And every other reader takes it for a string too.
    assert yaml.safe_load(dump_yaml({"value": text}))["value"] == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1", 1), ("-3", -3), ("+4", 4), ("0o17", 15), ("0x1F", 31), ("010", 10)],
        *[("1.5", 1.5), ("1e3", 1000.0), ("true", True), ("False", False)],
        *[("null", None), ("~", None), ("", None)],
        *[("yes", "yes"), ("on", "on"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000")],
        *[("'1'", "1"), ('"true"', "true")],
        *[("!Axis 3", Variant("Axis", 3)), ("!Axis '3'", Variant("Axis", "3")), ("!a", Variant("a", None))],
        ("!or [!a 1, b]", Variant("or", [Variant("a", 1), "b"])),
        ("!m {a: 1}", Variant("m", {"a": 1})),
    ],
)
def test_plain_words(text: str, value: object) -> None:
    loaded = load_yaml(f"key: {text}\n".encode(), "x")["key"]
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    "data",
    [
        b"a: [",
        b"\xff\xfe",
        b"a: b: c",
        b"a: 1\nb: *a",
        b"a: &x [1]\nb: *x",
        b"!!python/object/apply:os.system [ls]",
        b"--- 1\n--- 2",
        b"? [a]\n: b",
        b"\x00",
        b"a: " + b"[" * 500_000,
        b"- " * 500_000,
        b"{a: " * 500_000,
        b"".join([b" " * depth + b"a:\n" for depth in range(1500)]),
        b"a" * (4 * 1024 * 1024 + 1),
        b"a: " + b"9" * 5000,
    ],
    ids=lambda data: data[:12],
)
def test_bad_yaml_is_refused_at_once(data: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(FormatError, match=r"config\.yaml") as caught:
        decode_config_yaml(data, "config.yaml")
    assert caught.value.kind == "config-deserialization"
    assert time.perf_counter() - start < 5


def test_deep_conditions_are_refused_or_read() -> None:
    depth = 10_000
    data = b"manifest: {preload: {preload_if: " + b"!and [" * depth + b"'true'" + b"]" * depth + b"}}"
    with pytest.raises(FormatError):
        decode_config_yaml(data, "config.yaml")


@pytest.mark.parametrize("decode", [decode_config_yaml, decode_config_flexbuffers])
@given(data=st.binary(max_size=300))
def test_random_bytes_raise_only_format_errors(
    decode: Callable[[bytes, str], RepositoryConfig], data: bytes
) -> None:
    with suppress(FormatError):
        decode(data, "object")


@given(st.binary(min_size=1, max_size=3), st.integers(0, len(YAML) - 1))
def test_damaged_files_raise_only_format_errors(patch: bytes, place: int) -> None:
    data = YAML.encode()
    with suppress(FormatError):
        decode_config_yaml(data[:place] + patch + data[place + len(patch) :], "config.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(sorted(document_of(CONFIG))), JSON)
def test_odd_documents_raise_only_format_errors(key: str, value: Any) -> None:
    with suppress(FormatError):
        config_of({**document_of(CONFIG), key: value}, "object")
