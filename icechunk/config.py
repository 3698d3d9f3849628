"""The configuration of a repository, as users write it and as it is stored.

Every class here is a plain record with mutable fields. A field that is None is unset: it
falls back to the stored configuration of the repository, then to a default, and is never
written with the default's value. `str` of a configuration shows what unset fields mean.
"""

from __future__ import annotations

import os
import re
from enum import EnumType
from typing import Annotated, Any, ClassVar

from icechunk._setting import (
    I32,
    U8,
    U16,
    U32,
    U64,
    Checked,
    MappingOf,
    Setting,
    merged,
)
from icechunk._storage_settings import (
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)
from icechunk.display import Displayed
from icechunk.ops import FeatureFlag
from icechunk.preloading import ManifestPreloadCondition, ManifestPreloadConfig
from icechunk.splitting import (
    NO_SPLITTING,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
)
from icechunk.types import Code
from icechunk.virtual import ObjectStoreConfig, VirtualChunkContainer, check_container

__all__ = [
    "Attribution",
    "CachingConfig",
    "CompressionAlgorithm",
    "CompressionConfig",
    "FeatureFlag",
    "ManifestConfig",
    "ManifestPreloadCondition",
    "ManifestPreloadConfig",
    "ManifestSplitCondition",
    "ManifestSplitDimCondition",
    "ManifestSplittingConfig",
    "ManifestVirtualChunkLocationCompressionConfig",
    "ObjectStoreConfig",
    "RepoUpdateRetryConfig",
    "RepositoryConfig",
    "StorageConcurrencySettings",
    "StorageRetriesSettings",
    "StorageSettings",
    "StorageTimeoutSettings",
]


class _DefaultingEnum(EnumType):
    """Makes `CompressionAlgorithm()` its first member."""

    def __call__(cls, value: Any = 0, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(value, *args, **kwargs)


class CompressionAlgorithm(int, Code, metaclass=_DefaultingEnum):
    """How metadata files are compressed.

    Examples
    --------
    >>> from icechunk import CompressionAlgorithm
    >>> CompressionAlgorithm()
    CompressionAlgorithm.Zstd
    """

    Zstd = 0

    @staticmethod
    def default() -> CompressionAlgorithm:
        """The algorithm that is used when none is chosen.

        Returns
        -------
        CompressionAlgorithm
        """
        return CompressionAlgorithm.Zstd


class CompressionConfig(Setting):
    """How metadata files are compressed; chunks are compressed by zarr.

    Parameters
    ----------
    algorithm : CompressionAlgorithm, optional
        Zstandard when left out, and there is no other.
    level : int, optional
        The level of the algorithm, 3 when left out.

    Raises
    ------
    TypeError, OverflowError
        A value has the wrong type or is out of range.

    Examples
    --------
    >>> from icechunk import CompressionConfig
    >>> print(CompressionConfig(level=9))
    <icechunk.config.CompressionConfig>
    algorithm: Zstd (default)
    level: 9
    <BLANKLINE>
    """

    _defaults: ClassVar[dict[str, object]] = {"algorithm": CompressionAlgorithm.Zstd, "level": 3}

    algorithm: CompressionAlgorithm | None = None
    level: U8 = None

    @staticmethod
    def default() -> CompressionConfig:
        """A configuration with nothing set.

        Returns
        -------
        CompressionConfig
        """
        return CompressionConfig()


class CachingConfig(Setting):
    """How much a repository keeps in memory.

    Parameters
    ----------
    num_snapshot_nodes : int, optional
        Nodes of snapshots, 500,000 when left out.
    num_chunk_refs : int, optional
        Chunk references of manifests, 15,000,000 when left out.
    num_transaction_changes : int, optional
        Changes of transaction logs, 100,000 when left out: a commit that rebases reads those of the
        commits before it. The official package keeps none unless told to.
    num_bytes_attributes : int, optional
        Bytes of attribute files, which no version of the format has so far; 0 when left out.
    num_bytes_chunks : int, optional
        Bytes of chunks, 0 when left out.

    Raises
    ------
    TypeError, OverflowError
        A value is not a whole number or is out of range.

    Examples
    --------
    >>> from icechunk import CachingConfig
    >>> CachingConfig(num_bytes_chunks=100 * 1024**2).num_bytes_chunks
    104857600
    """

    _defaults: ClassVar[dict[str, object]] = {
        "num_snapshot_nodes": 500_000,
        "num_chunk_refs": 15_000_000,
        "num_transaction_changes": 100_000,
        "num_bytes_attributes": 0,
        "num_bytes_chunks": 0,
    }

    num_snapshot_nodes: U64 = None
    num_chunk_refs: U64 = None
    num_transaction_changes: U64 = None
    num_bytes_attributes: U64 = None
    num_bytes_chunks: U64 = None

    @staticmethod
    def default() -> CachingConfig:
        """A configuration with nothing set.

        Returns
        -------
        CachingConfig
        """
        return CachingConfig()


class _MinimumNumber(Setting):
    """The one member of the class below that may be given by position."""

    min_num_chunks: U16 = None


class ManifestVirtualChunkLocationCompressionConfig(_MinimumNumber, kw_only=True):
    """How the locations of virtual chunks are compressed inside manifests.

    Parameters
    ----------
    min_num_chunks : int, optional
        Only in manifests with so many virtual chunks, 1,000 when left out.
    dictionary_max_training_samples : int, optional
        Train the dictionary on at most so many locations, 100 when left out.
    dictionary_max_size_bytes : int, optional
        The size of the dictionary, 2,048 bytes when left out.
    compression_level : int, optional
        The level of Zstandard, 3 when left out.

    Raises
    ------
    TypeError, OverflowError
        A value is not a whole number or is out of range.

    Examples
    --------
    >>> from icechunk import ManifestVirtualChunkLocationCompressionConfig
    >>> ManifestVirtualChunkLocationCompressionConfig(500, compression_level=9).min_num_chunks
    500
    """

    _defaults: ClassVar[dict[str, object]] = {
        "min_num_chunks": 1000,
        "dictionary_max_training_samples": 100,
        "dictionary_max_size_bytes": 2048,
        "compression_level": 3,
    }

    dictionary_max_training_samples: U16 = None
    dictionary_max_size_bytes: U32 = None
    compression_level: I32 = None


class ManifestConfig(Setting):
    """How manifests, the lists of chunk references, are laid out and loaded.

    Parameters
    ----------
    preload : ManifestPreloadConfig, optional
        What is fetched ahead when a session opens.
    splitting : ManifestSplittingConfig, optional
        How the references of an array are split over manifests.
    virtual_chunk_location_compression : ManifestVirtualChunkLocationCompressionConfig, optional
        How the locations of virtual chunks are compressed.
    max_concurrent_manifest_fetches_during_commit : int, optional
        How many manifests a commit works on at once, 1 when left out.

    Raises
    ------
    TypeError, OverflowError
        A value has the wrong type or is out of range.

    Examples
    --------
    >>> from icechunk import ManifestConfig, ManifestPreloadConfig
    >>> config = ManifestConfig(preload=ManifestPreloadConfig(max_total_refs=0))
    >>> config.preload.max_total_refs
    0
    """

    _replaced: ClassVar[frozenset[str]] = frozenset({"preload", "splitting"})
    _defaults: ClassVar[dict[str, object]] = {
        "preload": ManifestPreloadConfig(),
        "splitting": NO_SPLITTING,
        "virtual_chunk_location_compression": ManifestVirtualChunkLocationCompressionConfig(),
        "max_concurrent_manifest_fetches_during_commit": 1,
    }

    preload: ManifestPreloadConfig | None = None
    splitting: ManifestSplittingConfig | None = None
    virtual_chunk_location_compression: ManifestVirtualChunkLocationCompressionConfig | None = None
    max_concurrent_manifest_fetches_during_commit: U16 = None


class RepoUpdateRetryConfig(Setting):
    """How often a change of the repository object is tried again after losing a race.

    Parameters
    ----------
    default : StorageRetriesSettings, optional
        For all kinds of changes. When left out, 100 tries with pauses between 50 and
        30,000 milliseconds.

    Raises
    ------
    TypeError
        The value has the wrong type.

    Examples
    --------
    >>> from icechunk import StorageRetriesSettings
    >>> from icechunk.config import RepoUpdateRetryConfig
    >>> RepoUpdateRetryConfig(StorageRetriesSettings(max_tries=200)).default.max_tries
    200
    """

    _defaults: ClassVar[dict[str, object]] = {"default": StorageRetriesSettings(100, 50, 30_000)}

    default: StorageRetriesSettings | None = None


class RepositoryConfig(Setting):
    """The configuration of a repository.

    Parameters
    ----------
    inline_chunk_threshold_bytes : int, optional
        Chunks of at most so many bytes are kept inside manifests, 512 when left out.
    get_partial_values_concurrency : int, optional
        How many ranges are read at once when zarr asks for several, 10 when left out.
    compression : CompressionConfig, optional
        How metadata files are compressed.
    max_concurrent_requests : int, optional
        How many requests to the storage are in flight at once, 256 when left out.
    caching : CachingConfig, optional
        How much is kept in memory.
    storage : StorageSettings, optional
        How the storage is used.
    virtual_chunk_containers : dict of str to VirtualChunkContainer, optional
        Where virtual chunks are read, by URL prefix. `set_virtual_chunk_container` checks
        a container before it adds it.
    manifest : ManifestConfig, optional
        How manifests are laid out and loaded.
    repo_update_retries : RepoUpdateRetryConfig, optional
        How often lost races are run again.
    num_updates_per_repo_info_file : int, optional
        How many entries of the operations log stay in the repository object, 1,000 when
        left out; older ones move to its backups.
    max_concurrent_decodes : int, optional
        How many large metadata files are unpacked at once, one for each processor when left out.

    Raises
    ------
    TypeError, OverflowError
        A value has the wrong type or is out of range.

    Examples
    --------
    >>> from icechunk import CompressionConfig, RepositoryConfig
    >>> config = RepositoryConfig(compression=CompressionConfig(level=9))
    >>> config.inline_chunk_threshold_bytes = 1024
    >>> config.compression.level
    9
    """

    _shown: ClassVar[tuple[str, ...]] = (
        "inline_chunk_threshold_bytes",
        "get_partial_values_concurrency",
        "max_concurrent_requests",
        "max_concurrent_decodes",
        "num_updates_per_repo_info_file",
        "compression",
        "caching",
        "storage",
        "manifest",
        "repo_update_retries",
        "virtual_chunk_containers",
    )
    _defaults: ClassVar[dict[str, object]] = {
        "inline_chunk_threshold_bytes": 512,
        "get_partial_values_concurrency": 10,
        "max_concurrent_requests": 256,
        "num_updates_per_repo_info_file": 1000,
        "compression": CompressionConfig(),
        "caching": CachingConfig(),
        "manifest": ManifestConfig(),
        "repo_update_retries": RepoUpdateRetryConfig(),
    }

    inline_chunk_threshold_bytes: U16 = None
    get_partial_values_concurrency: U16 = None
    compression: CompressionConfig | None = None
    max_concurrent_requests: U16 = None
    caching: CachingConfig | None = None
    storage: StorageSettings | None = None
    virtual_chunk_containers: Annotated[
        dict[str, VirtualChunkContainer] | None, MappingOf(VirtualChunkContainer)
    ] = None
    manifest: ManifestConfig | None = None
    repo_update_retries: RepoUpdateRetryConfig | None = None
    num_updates_per_repo_info_file: U16 = None
    max_concurrent_decodes: U16 = None

    @staticmethod
    def default() -> RepositoryConfig:
        """A configuration with nothing set.

        Returns
        -------
        RepositoryConfig
        """
        return RepositoryConfig()

    def merge(self, other: RepositoryConfig) -> RepositoryConfig:
        """Lay another configuration over this one.

        What is set in the other one wins, member by member in nested configurations too.
        Three members are replaced whole: `virtual_chunk_containers`, and in `manifest` the
        members `preload` and `splitting`.

        Parameters
        ----------
        other : RepositoryConfig

        Returns
        -------
        RepositoryConfig
            A new configuration that shares nothing with the two.

        Raises
        ------
        TypeError
            `other` is no RepositoryConfig.

        Examples
        --------
        >>> from icechunk import RepositoryConfig
        >>> config = RepositoryConfig(inline_chunk_threshold_bytes=100, max_concurrent_requests=5)
        >>> config.merge(RepositoryConfig(max_concurrent_requests=7)).max_concurrent_requests
        7
        """
        if not isinstance(other, RepositoryConfig):
            raise TypeError(f"other must be of type RepositoryConfig, not {other!r}")
        return merged(self, other)

    def set_virtual_chunk_container(self, cont: VirtualChunkContainer) -> None:
        """Add a virtual chunk container.

        It replaces the container with the same prefix, and the one with the same name.

        Parameters
        ----------
        cont : VirtualChunkContainer

        Raises
        ------
        ValueError
            Prefix, store and name of the container do not fit together.
        TypeError
            `cont` is no VirtualChunkContainer.

        Examples
        --------
        >>> from icechunk import ObjectStoreConfig, RepositoryConfig, VirtualChunkContainer
        >>> config = RepositoryConfig()
        >>> store = ObjectStoreConfig.LocalFileSystem("/data")
        >>> config.set_virtual_chunk_container(VirtualChunkContainer("file:///data/", store))
        >>> list(config.virtual_chunk_containers)
        ['file:///data/']
        """
        if not isinstance(cont, VirtualChunkContainer):
            raise TypeError(f"cont must be of type VirtualChunkContainer, not {cont!r}")
        check_container(cont)
        kept = {
            prefix: known
            for prefix, known in (self.virtual_chunk_containers or {}).items()
            if cont.name is None or known.name != cont.name
        }
        self.virtual_chunk_containers = {**kept, cont.url_prefix: cont}

    def get_virtual_chunk_container(self, name: str) -> VirtualChunkContainer | None:
        """Look up a virtual chunk container.

        Parameters
        ----------
        name : str
            The URL prefix of the container.

        Returns
        -------
        VirtualChunkContainer or None
            None if there is no container with the prefix.
        """
        return (self.virtual_chunk_containers or {}).get(name)

    def clear_virtual_chunk_containers(self) -> None:
        """Have no virtual chunk containers, not even stored ones."""
        self.virtual_chunk_containers = {}

    def _default(self, name: str) -> object:
        return available_cpus() if name == "max_concurrent_decodes" else super()._default(name)


def available_cpus() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_MAX_LABEL_BYTES = 128
_PRODUCT = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?")
_FORBIDDEN = re.compile(r'[^ -~]|[()\\;="]')


class _Label:
    """A check for labels that can be sent in a header, or None."""

    def __call__(self, name: str, value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            raise TypeError(f"{name} must be of type str, not {value!r}")
        if len(value.encode()) > _MAX_LABEL_BYTES:
            raise ValueError(f"attribution `{name}` is longer than {_MAX_LABEL_BYTES} bytes")
        if name == "client":
            if not _PRODUCT.fullmatch(value):
                raise ValueError(f"attribution `client` must be `name` or `name/version`, not {value!r}")
        elif forbidden := _FORBIDDEN.search(value):
            raise ValueError(f"attribution `{name}` contains the forbidden character {forbidden[0]!r}")
        return value


class Attribution(Displayed, Checked, kw_only=True):
    """Labels for the requests of a repository, sent as part of the user agent.

    The owner of a bucket finds them in its access logs.

    Parameters
    ----------
    client : str, optional
        Which software makes the requests, ``name`` or ``name/version``.
    workload : str, optional
        What they are for, such as the name of a job.
    principal : str, optional
        On whose behalf they are made.

    Raises
    ------
    ValueError
        A label has more than 128 bytes, `client` is no product name, or another label
        holds something else than printable ASCII without ``( ) \\ ; = "``.

    Examples
    --------
    >>> from icechunk.config import Attribution
    >>> Attribution(client="weather/0.9", workload="nightly").workload
    'nightly'
    """

    _shown_as: ClassVar[str] = "icechunk.Attribution"

    client: Annotated[str | None, _Label()] = None
    workload: Annotated[str | None, _Label()] = None
    principal: Annotated[str | None, _Label()] = None
