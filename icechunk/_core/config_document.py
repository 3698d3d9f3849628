"""The stored configuration of a repository: a document, in FlexBuffers or in YAML.

Spec 2 keeps it as FlexBuffers inside the repository object, spec 1 as the file
`config.yaml`. The document is the same. It is a map with these keys; any may be null, and
any may be absent unless marked with ``*``::

    inline_chunk_threshold_bytes, get_partial_values_concurrency, max_concurrent_requests,
    max_concurrent_decodes, num_updates_per_repo_info_file                     integers
    previous_file                                                              always null
    compression           {algorithm: zstd, level}
    caching               {num_snapshot_nodes, num_chunk_refs, num_transaction_changes,
                           num_bytes_attributes, num_bytes_chunks}
    storage               {concurrency: {...}, retries: {...}, timeouts: {...}, ...}
    repo_update_retries   {default: {max_tries, initial_backoff_ms, max_backoff_ms}}
    virtual_chunk_containers
                          {url prefix: {name, url_prefix*, store*}}
    manifest              {preload: {max_total_refs, preload_if, max_arrays_to_scan},
                           splitting: {split_sizes: [[array, [{condition*: dimension,
                                                               num_chunks*}, ...]], ...]},
                           virtual_chunk_location_compression: {...},
                           max_concurrent_manifest_fetches_during_commit}

A variant, written below as `!name payload`, is a YAML tag, and in FlexBuffers a map with the
one key `name`. A variant without payload is a string::

    store       in_memory | !local_file_system path | !s3 options | !s3_compatible options
                | !tigris options | !gcs {string: string} | !azure {string: string}
                | !http {string: string, headers: {string: string}}
    options     {region, endpoint_url, anonymous*, allow_http*, force_path_style,
                 network_stream_timeout_seconds, requester_pays, checksum_algorithm:
                 crc32 | crc32c | crc64_nvme | sha1 | sha256}
    preload_if  !or [...] | !and [...] | !path_matches {regex} | !name_matches {regex}
                | !num_refs {from: bound, to: bound} | 'true' | 'false'
    bound       Unbounded | !Included n | !Excluded n
    array       !or [...] | !and [...] | !path_matches {regex} | !name_matches {regex} | any_array
    dimension   !Axis n | !DimensionName regex | Any

Unknown keys are left out on reading, and stay when the document is replaced. How YAML is read and written is
in `config_yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from icechunk._conditions import AllOf, AnyOf, Condition, NameMatches, PathMatches
from icechunk._core.config_yaml import Variant, dump_yaml, load_yaml
from icechunk._exceptions import ErrorKind, FormatError, IcechunkError
from icechunk._format import flexbuffers
from icechunk._setting import Setting
from icechunk.config import (
    CachingConfig,
    CompressionAlgorithm,
    CompressionConfig,
    ManifestConfig,
    ManifestVirtualChunkLocationCompressionConfig,
    RepositoryConfig,
    RepoUpdateRetryConfig,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)
from icechunk.preloading import ManifestPreloadCondition, ManifestPreloadConfig
from icechunk.splitting import ManifestSplitCondition, ManifestSplitDimCondition, ManifestSplittingConfig
from icechunk.types import Code
from icechunk.virtual import ChecksumAlgorithm, ObjectStoreConfig, S3Options, VirtualChunkContainer

S = TypeVar("S", bound=Setting)
C = TypeVar("C", bound=Condition)

Read = Callable[[Any], Any]
"""Turns a part of a document, which is not null, into a value; raises what describes the fault."""

_STORES = {
    "in_memory": ObjectStoreConfig.InMemory,
    "local_file_system": ObjectStoreConfig.LocalFileSystem,
    "http": ObjectStoreConfig.Http,
    "s3_compatible": ObjectStoreConfig.S3Compatible,
    "s3": ObjectStoreConfig.S3,
    "gcs": ObjectStoreConfig.Gcs,
    "azure": ObjectStoreConfig.Azure,
    "tigris": ObjectStoreConfig.Tigris,
}
_STORE_NAMES: dict[type[Any], str] = {cls: name for name, cls in _STORES.items()}
_CHECKSUMS = {
    "crc32": ChecksumAlgorithm.Crc32,
    "crc32c": ChecksumAlgorithm.Crc32c,
    "crc64_nvme": ChecksumAlgorithm.Crc64Nvme,
    "sha1": ChecksumAlgorithm.Sha1,
    "sha256": ChecksumAlgorithm.Sha256,
}
_COMPRESSIONS = {"zstd": CompressionAlgorithm.Zstd}
_CODE_NAMES: dict[Code, str] = {code: name for name, code in (*_CHECKSUMS.items(), *_COMPRESSIONS.items())}

# Where the order of the keys is another one than that of the class.
_ORDER: dict[type[Setting], tuple[str, ...]] = {
    StorageSettings: (
        "concurrency",
        "retries",
        "timeouts",
        "unsafe_use_conditional_update",
        "unsafe_use_conditional_create",
        "unsafe_use_metadata",
        "storage_class",
        "metadata_storage_class",
        "chunks_storage_class",
        "minimum_size_for_multipart_upload",
    ),
    S3Options: (
        "region",
        "endpoint_url",
        "anonymous",
        "allow_http",
        "force_path_style",
        "network_stream_timeout_seconds",
        "requester_pays",
        "checksum_algorithm",
    ),
}

_MAX_COUNT = 2**32 - 1


def encode_config_flexbuffers(config: RepositoryConfig, replaced: bytes | None = None) -> bytes:
    """Write a configuration as spec 2 stores it, with the unknown keys of the one that it replaces.

    Raises
    ------
    FormatError
        Kind `config-deserialization`: what is replaced cannot be read.
    """
    document = document_of(config)
    if replaced is not None:
        _keep_unknown(document, _loaded(replaced, "repo"))
    return flexbuffers.dumps(_plain(document))


def decode_config_flexbuffers(data: bytes, name: str) -> RepositoryConfig:
    """Read a configuration as spec 2 stores it.

    Raises
    ------
    FormatError
        Kind `config-deserialization`, naming the object `name`.
    """
    return config_of(_loaded(data, name), name)


def _loaded(data: bytes, name: str) -> Any:
    try:
        return flexbuffers.loads(data, name)
    except FormatError as error:
        raise FormatError(str(error), ErrorKind.CONFIG_DESERIALIZATION) from error


def encode_config_yaml(config: RepositoryConfig, replaced: bytes | None = None) -> bytes:
    """Write a configuration as spec 1 stores it, with the unknown keys of the one that it replaces.

    Raises
    ------
    FormatError
        Kind `config-deserialization`: what is replaced cannot be read.
    """
    document = document_of(config)
    if replaced is not None:
        _keep_unknown(document, load_yaml(replaced, "config.yaml"))
    return dump_yaml(document)


def decode_config_yaml(data: bytes, name: str) -> RepositoryConfig:
    """Read a configuration as spec 1 stores it.

    Raises
    ------
    FormatError
        Kind `config-deserialization`, naming the object `name`.
    """
    return config_of(load_yaml(data, name), name)


# Writing


def document_of(config: RepositoryConfig) -> dict[str, Any]:
    """The document of a configuration; variants with a payload are `Variant`."""
    document = {
        "inline_chunk_threshold_bytes": config.inline_chunk_threshold_bytes,
        "get_partial_values_concurrency": config.get_partial_values_concurrency,
        "compression": _write(config.compression),
        "max_concurrent_requests": config.max_concurrent_requests,
        "max_concurrent_decodes": config.max_concurrent_decodes,
        "caching": _write(config.caching),
        "storage": _write(config.storage),
        "virtual_chunk_containers": None,
        "manifest": _write(config.manifest),
        "previous_file": None,
        "repo_update_retries": _write(config.repo_update_retries),
        "num_updates_per_repo_info_file": config.num_updates_per_repo_info_file,
    }
    if config.virtual_chunk_containers is not None:
        document["virtual_chunk_containers"] = {
            prefix: {
                "name": container.name,
                "url_prefix": container.url_prefix,
                "store": _write_store(container.store),
            }
            for prefix, container in config.virtual_chunk_containers.items()
        }
    return document


def _keep_unknown(document: Any, replaced: Any, *, of_settings: bool = True) -> None:
    """Add the keys that only a replaced document has: settings of newer releases, which nobody here unset.

    The keys of a map that is not `of_settings` are names that users give, and come and go.
    """
    if not (isinstance(document, dict) and isinstance(replaced, dict)):
        return
    for key, value in replaced.items():
        if key in document:
            _keep_unknown(document[key], value, of_settings=key != "virtual_chunk_containers")
        elif of_settings:
            document[key] = value


def _write(value: Any) -> Any:
    if isinstance(value, ManifestPreloadCondition | ManifestSplitCondition):
        return _write_condition(value)
    if isinstance(value, ManifestSplittingConfig):
        return {"split_sizes": None if value.split_sizes is None else _write_rules(value)}
    if isinstance(value, Setting):
        keys = _ORDER.get(type(value), value.__struct_fields__)
        return {key: _write(getattr(value, key)) for key in keys}
    if isinstance(value, Code):
        return _CODE_NAMES[value]
    return value


def _write_store(store: ObjectStoreConfig) -> Any:
    name = _STORE_NAMES[type(store)]
    if isinstance(store, ObjectStoreConfig.InMemory):
        return name
    if isinstance(store, ObjectStoreConfig.Http):
        headers = {"headers": store.headers} if store.headers else {}
        return Variant(name, {**(store.opts or {}), **headers})
    payload = getattr(store, store.__struct_fields__[0])
    return Variant(name, _write(payload) if payload is not None else {})


def _write_condition(condition: ManifestPreloadCondition | ManifestSplitCondition) -> Any:
    if isinstance(condition, AnyOf):
        return Variant("or", [_write_condition(member) for member in condition.conditions])
    if isinstance(condition, AllOf):
        return Variant("and", [_write_condition(member) for member in condition.conditions])
    if isinstance(condition, PathMatches):
        return Variant("path_matches", {"regex": condition.regex})
    if isinstance(condition, NameMatches):
        return Variant("name_matches", {"regex": condition.regex})
    if isinstance(condition, ManifestPreloadCondition.NumRefs):
        low, high = condition.from_refs, condition.to_refs
        return Variant(
            "num_refs",
            {
                "from": "Unbounded" if low is None else Variant("Included", low),
                "to": "Unbounded" if high is None else Variant("Excluded", high),
            },
        )
    if isinstance(condition, ManifestSplitCondition):
        return "any_array"
    return "true" if isinstance(condition, ManifestPreloadCondition.Always) else "false"


def _write_rules(splitting: ManifestSplittingConfig) -> list[Any]:
    return [
        [
            _write_condition(condition),
            [{"condition": _write_dimension(test), "num_chunks": size} for test, size in sizes],
        ]
        for condition, sizes in splitting.split_sizes or ()
    ]


def _write_dimension(condition: ManifestSplitDimCondition) -> Any:
    if isinstance(condition, ManifestSplitDimCondition.Axis):
        return Variant("Axis", condition.axis)
    if isinstance(condition, ManifestSplitDimCondition.DimensionName):
        return Variant("DimensionName", condition.regex)
    return "Any"


def _plain(document: Any) -> Any:
    """The document with maps of one key for variants."""
    if isinstance(document, Variant):
        return {document.name: _plain(document.payload)}
    if isinstance(document, dict):
        return {key: _plain(value) for key, value in document.items()}
    return [_plain(item) for item in document] if isinstance(document, list) else document


# Reading


class _Fault(ValueError):
    """Something in a document is not as it should be; `path` says where."""

    def __init__(self, reason: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.path = path


def config_of(document: Any, name: str) -> RepositoryConfig:
    """The configuration that a document holds.

    Raises
    ------
    FormatError
        Kind `config-deserialization`, naming the object `name`.
    """
    try:
        return _read_setting(RepositoryConfig, document)
    except _Fault as fault:
        place = f" at `{'.'.join(fault.path)}`" if fault.path else ""
        reason = f"the configuration in `{name}` is not valid{place}: {fault}"
        raise FormatError(reason, ErrorKind.CONFIG_DESERIALIZATION) from fault
    except RecursionError as error:
        reason = f"the configuration in `{name}` is nested too deeply"
        raise FormatError(reason, ErrorKind.CONFIG_DESERIALIZATION) from error


def _read_setting(cls: type[S], document: Any, required: Iterable[str] = ()) -> S:
    entries = _map(document)
    for key in required:
        if entries.get(key) is None:
            raise _Fault(f"`{key}` is missing")
    readers = _READERS.get(cls, {})
    members = {}
    for name in cls.__struct_fields__:
        value = entries.get(name)
        if value is not None:
            members[name] = _inside(name, readers[name], value) if name in readers else value
    try:
        return cls(**members)
    except (TypeError, ValueError, OverflowError) as error:
        raise _Fault(str(error)) from error


def _inside(key: str, read: Read, value: Any) -> Any:
    """Read a part below a key, putting the key in front of the place of a fault."""
    try:
        return read(value)
    except _Fault as fault:
        fault.path = (key, *fault.path)
        raise
    except (TypeError, ValueError, OverflowError, IcechunkError) as error:
        raise _Fault(str(error), (key,)) from error


def _nested(cls: type[S]) -> Read:
    return lambda document: _read_setting(cls, document)


def _choice(choices: dict[str, Any]) -> Read:
    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise _Fault(f"one of {', '.join(choices)} is expected, not {value!r}")
        return choices[value]

    return read


def _map(document: Any) -> dict[Any, Any]:
    if not isinstance(document, dict):
        raise _Fault(f"a map is expected, not {_kind(document)}")
    return document


def _list(document: Any) -> list[Any]:
    if not isinstance(document, list):
        raise _Fault(f"a list is expected, not {_kind(document)}")
    return document


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _variant(document: Any) -> tuple[str, Any]:
    """The name and the payload of a variant, None if it has no payload."""
    if isinstance(document, Variant):
        return document.name, document.payload
    if isinstance(document, dict) and len(document) == 1:
        return next(iter(document.items()))
    if isinstance(document, bool):
        return str(document).lower(), None
    if isinstance(document, str):
        return document, None
    raise _Fault(f"a variant is expected, not {_kind(document)}")


def _read_containers(document: Any) -> dict[str, VirtualChunkContainer]:
    # Old files have names for keys: the prefix inside is what counts.
    containers = [_inside(str(key), _read_container, value) for key, value in _map(document).items()]
    return {container.url_prefix: container for container in containers}


def _read_container(document: Any) -> VirtualChunkContainer:
    return _read_setting(VirtualChunkContainer, document, ("url_prefix", "store"))


def _read_store(document: Any) -> ObjectStoreConfig:
    name, payload = _variant(document)
    cls = _choice(_STORES)(name)
    if cls is ObjectStoreConfig.InMemory:
        return ObjectStoreConfig.InMemory()
    if cls is ObjectStoreConfig.LocalFileSystem:
        if not isinstance(payload, str):
            raise _Fault(f"the path of a directory is expected, not {_kind(payload)}")
        return ObjectStoreConfig.LocalFileSystem(payload)
    if cls in (ObjectStoreConfig.Gcs, ObjectStoreConfig.Azure):
        return _made(cls, _map(payload))
    if cls is ObjectStoreConfig.Http:
        options = dict(_map(payload))
        headers = options.pop("headers", None)
        return _made(cls, options, headers or None)
    return _made(cls, _read_setting(S3Options, payload, ("anonymous", "allow_http")))


def _made(cls: type[Any], *arguments: Any) -> ObjectStoreConfig:
    store: ObjectStoreConfig = cls(*arguments)
    return store


def _read_preload(document: Any) -> ManifestPreloadCondition:
    name, payload = _variant(document)
    if name == "num_refs":
        bounds = _map(payload)
        return ManifestPreloadCondition.num_refs(
            _inside("from", _read_low, bounds.get("from")), _inside("to", _read_high, bounds.get("to"))
        )
    if name in ("true", "false") and payload is None:
        return ManifestPreloadCondition.true() if name == "true" else ManifestPreloadCondition.false()
    return _read_combination(ManifestPreloadCondition, _read_preload, name, payload)


def _read_low(document: Any) -> int | None:
    """The first number inside a lower bound; None if there is no bound."""
    name, payload = _variant(document)
    if name == "Unbounded":
        return None
    offset: int = _choice({"Included": 0, "Excluded": 1})(name)
    return min(_count(payload) + offset, _MAX_COUNT)


def _read_high(document: Any) -> int | None:
    """The first number above an upper bound; None if there is no bound."""
    name, payload = _variant(document)
    if name == "Unbounded":
        return None
    offset: int = _choice({"Included": 1, "Excluded": 0})(name)
    number = _count(payload) + offset
    return number if number <= _MAX_COUNT else None


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_COUNT:
        raise _Fault(f"a number between 0 and {_MAX_COUNT} is expected, not {value!r}")
    return value


def _read_array_condition(document: Any) -> ManifestSplitCondition:
    name, payload = _variant(document)
    if name == "any_array" and payload is None:
        return ManifestSplitCondition.AnyArray()
    return _read_combination(ManifestSplitCondition, _read_array_condition, name, payload)


def _read_combination(cls: type[C], read: Callable[[Any], C], name: str, payload: Any) -> C:
    """The conditions that all kinds have."""
    if name in ("or", "and"):
        members = [_inside(f"{name}[{i}]", read, item) for i, item in enumerate(_list(payload))]
        return cls.or_conditions(members) if name == "or" else cls.and_conditions(members)
    make: Callable[[Any], C]
    make = _choice({"path_matches": cls.path_matches, "name_matches": cls.name_matches})(name)
    return make(_map(payload).get("regex"))


def _read_rules(document: Any) -> list[Any]:
    return [_inside(f"[{i}]", _read_rule, rule) for i, rule in enumerate(_list(document))]


def _read_rule(document: Any) -> Any:
    condition, sizes = _list(document)
    return (
        _inside("[0]", _read_array_condition, condition),
        [_inside(f"[1][{i}]", _read_size, size) for i, size in enumerate(_list(sizes))],
    )


def _read_size(document: Any) -> Any:
    entries = _map(document)
    return _inside("condition", _read_dimension, entries.get("condition")), _count(entries.get("num_chunks"))


def _read_dimension(document: Any) -> ManifestSplitDimCondition:
    name, payload = _variant(document)
    if name == "Axis":
        return ManifestSplitDimCondition.Axis(payload)
    if name == "DimensionName":
        return ManifestSplitDimCondition.DimensionName(payload)
    any_dimension: ManifestSplitDimCondition = _choice({"Any": ManifestSplitDimCondition.Any()})(name)
    return any_dimension


_READERS: dict[type[Setting], dict[str, Read]] = {
    RepositoryConfig: {
        "compression": _nested(CompressionConfig),
        "caching": _nested(CachingConfig),
        "storage": _nested(StorageSettings),
        "virtual_chunk_containers": _read_containers,
        "manifest": _nested(ManifestConfig),
        "repo_update_retries": _nested(RepoUpdateRetryConfig),
    },
    CompressionConfig: {"algorithm": _choice(_COMPRESSIONS)},
    StorageSettings: {
        "concurrency": _nested(StorageConcurrencySettings),
        "retries": _nested(StorageRetriesSettings),
        "timeouts": _nested(StorageTimeoutSettings),
    },
    RepoUpdateRetryConfig: {"default": _nested(StorageRetriesSettings)},
    ManifestConfig: {
        "preload": _nested(ManifestPreloadConfig),
        "splitting": _nested(ManifestSplittingConfig),
        "virtual_chunk_location_compression": _nested(ManifestVirtualChunkLocationCompressionConfig),
    },
    ManifestPreloadConfig: {"preload_if": _read_preload},
    ManifestSplittingConfig: {"split_sizes": _read_rules},
    VirtualChunkContainer: {"store": _read_store},
    S3Options: {"checksum_algorithm": _choice(_CHECKSUMS)},
}
"""How the members of a setting are read that are not simple values."""
