"""Icechunk: transactional storage for Zarr.

Everything that users need is imported from here. The modules behind it hold the
details: `repository`, `session`, `store`, `config`, `storage`, and so on.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from icechunk._async.repository import AsyncRepository
from icechunk._async.session import AsyncSession
from icechunk._exceptions import (
    AlreadyExistsError,
    ConflictError,
    DuplicateChunkWarning,
    ErrorKind,
    FormatError,
    IcechunkError,
    InternalError,
    InvalidInputError,
    NodeNotFoundError,
    NotFoundError,
    ReadOnlyError,
    RebaseFailedError,
    RefNotFoundError,
    RepositoryNotFoundError,
    SessionStateError,
    SnapshotNotFoundError,
    StorageError,
)
from icechunk._io.stores import USER_AGENT
from icechunk._version import __version__
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
)
from icechunk.conflicts import (
    BasicConflictSolver,
    Conflict,
    ConflictDetector,
    ConflictSolver,
    ConflictType,
    VersionSelection,
)
from icechunk.credentials import (
    AnyCredential,
    AnyS3Credential,
    Credentials,
    S3Credentials,
    S3StaticCredentials,
    containers_credentials,
    s3_anonymous_credentials,
    s3_credentials,
    s3_from_env_credentials,
    s3_static_credentials,
)
from icechunk.ops import FeatureFlag, RepoStatus, Update, UpdateType
from icechunk.repository import Repository
from icechunk.session import ForkSession, Session
from icechunk.snapshots import AncestryGraph, Diff, ManifestFileInfo, SnapshotInfo
from icechunk.storage import (
    ChecksumAlgorithm,
    S3Options,
    Storage,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
    in_memory_storage,
    local_filesystem_storage,
    local_filesystem_store,
    obstore_storage,
    s3_storage,
)
from icechunk.store import IcechunkStore
from icechunk.types import ChunkType, CommitMethod, RepoAvailability, SessionMode, SpecVersion
from icechunk.virtual import AnyObjectStoreConfig, VirtualChunkContainer, VirtualChunkSpec

__all__ = [
    "AlreadyExistsError",
    "AncestryGraph",
    "AnyCredential",
    "AnyObjectStoreConfig",
    "AnyS3Credential",
    "AsyncRepository",
    "AsyncSession",
    "Attribution",
    "BasicConflictSolver",
    "CachingConfig",
    "ChecksumAlgorithm",
    "ChunkType",
    "CommitMethod",
    "CompressionAlgorithm",
    "CompressionConfig",
    "Conflict",
    "ConflictDetector",
    "ConflictError",
    "ConflictSolver",
    "ConflictType",
    "Credentials",
    "Diff",
    "DuplicateChunkWarning",
    "ErrorKind",
    "FeatureFlag",
    "ForkSession",
    "FormatError",
    "IcechunkError",
    "IcechunkStore",
    "InternalError",
    "InvalidInputError",
    "ManifestConfig",
    "ManifestFileInfo",
    "ManifestPreloadCondition",
    "ManifestPreloadConfig",
    "ManifestSplitCondition",
    "ManifestSplitDimCondition",
    "ManifestSplittingConfig",
    "ManifestVirtualChunkLocationCompressionConfig",
    "NodeNotFoundError",
    "NotFoundError",
    "ObjectStoreConfig",
    "ReadOnlyError",
    "RebaseFailedError",
    "RefNotFoundError",
    "RepoAvailability",
    "RepoStatus",
    "RepoUpdateRetryConfig",
    "Repository",
    "RepositoryConfig",
    "RepositoryNotFoundError",
    "S3Credentials",
    "S3Options",
    "S3StaticCredentials",
    "Session",
    "SessionMode",
    "SessionStateError",
    "SnapshotInfo",
    "SnapshotNotFoundError",
    "SpecVersion",
    "Storage",
    "StorageConcurrencySettings",
    "StorageError",
    "StorageRetriesSettings",
    "StorageSettings",
    "StorageTimeoutSettings",
    "Update",
    "UpdateType",
    "VersionSelection",
    "VirtualChunkContainer",
    "VirtualChunkSpec",
    "__version__",
    "containers_credentials",
    "in_memory_storage",
    "local_filesystem_storage",
    "local_filesystem_store",
    "obstore_storage",
    "print_debug_info",
    "s3_anonymous_credentials",
    "s3_credentials",
    "s3_from_env_credentials",
    "s3_static_credentials",
    "s3_storage",
    "spec_version",
    "supported_spec_versions",
    "user_agent",
]


def spec_version() -> SpecVersion:
    """The version of the on-disk format that new repositories get.

    Returns
    -------
    SpecVersion

    Examples
    --------
    >>> import icechunk
    >>> int(icechunk.spec_version())
    2
    """
    return SpecVersion.current()


def supported_spec_versions() -> list[SpecVersion]:
    """The versions of the on-disk format that can be read and written, newest first.

    Returns
    -------
    list of SpecVersion
    """
    return [SpecVersion.v2, SpecVersion.v1]


def user_agent() -> str:
    """How this library names itself to servers.

    Returns
    -------
    str
    """
    return USER_AGENT


def print_debug_info() -> None:
    """Print the versions that a bug report should name."""
    print(f"platform:  {platform.platform()}")
    print(f"python:  {platform.python_version()}")
    print(f"icechunk:  {__version__}")
    for package in ("zarr", "numcodecs", "obstore", "numpy", "xarray", "virtualizarr"):
        try:
            print(f"{package}:  {version(package)}")
        except PackageNotFoundError:
            continue
