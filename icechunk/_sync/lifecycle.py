# Generated from icechunk/_async/lifecycle.py by tools/make_sync.py; edit that file.
"""Creating and opening repositories, and their configuration.

A repository of spec 2 is recognised by its `repo` object, one of spec 1 by the
ref of its branch `main`; where both are (a migration was interrupted) spec 2
wins. Opening lists nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from icechunk._sync import refs_v1
from icechunk._sync.assets import SyncAssets
from icechunk._sync.repo_info import check_can_write, update_repo_info
from icechunk._core import repo_updates
from icechunk._core.arguments import require_storage
from icechunk._core.config_document import (
    decode_config_flexbuffers,
    decode_config_yaml,
    encode_config_flexbuffers,
    encode_config_yaml,
)
from icechunk._core.ids import INITIAL_SNAPSHOT_ID
from icechunk._core.locations import authorized_prefixes, check_access, usable_containers
from icechunk._core.object_keys import (
    CONFIG,
    OVERWRITTEN,
    REPO,
    backup_name,
    branch_key,
    snapshot_key,
    transaction_log_key,
)
from icechunk._core.preconditions import PreconditionFailed
from icechunk._core.repository_state import RepositoryState, SessionType
from icechunk._core.settings import effective_config, resolve
from icechunk._exceptions import (
    ConflictError,
    ErrorKind,
    InvalidInputError,
    RepositoryNotFoundError,
    StorageError,
)
from icechunk._format.repo_info import SnapshotEntry
from icechunk._format.snapshot import encode_snapshot
from icechunk._format.transaction_log import TransactionLog
from icechunk._io.asset_cache import AssetCache
from icechunk._io.clock import now_us
from icechunk._io.concurrency import map_concurrently
from icechunk._io.random import random_id
from icechunk.config import Attribution, RepositoryConfig, available_cpus
from icechunk.types import SpecVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icechunk._sync.backends import SyncBackend
    from icechunk._core.ops_log import Stamp
    from icechunk._format.repo_info import RepoInfo
    from icechunk._stored_objects import Version
    from icechunk.config import StorageSettings
    from icechunk.credentials import AnyCredential
    from icechunk.storage import Storage

_CONFIG_CONTENT_TYPE = "application/yaml"
_INITIAL_MESSAGE = "Repository initialized"
_INITIAL_METADATA = {"__icechunk": {"is_root": True}}


class Found:
    """What there is at a storage location: the spec version, and the stored configuration."""

    __slots__ = ("config", "config_version", "spec_version")

    def __init__(
        self,
        spec_version: SpecVersion,
        config: RepositoryConfig | None,
        config_version: Version | None = None,
    ) -> None:
        self.spec_version = spec_version
        self.config = config
        self.config_version = config_version


class SyncLifecycle(RepositoryState[SessionType]):
    """The part of a repository that deals with its beginning and its configuration."""

    @classmethod
    def create(
        cls,
        storage: Storage,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: Mapping[str, AnyCredential | None] | None = None,
        spec_version: SpecVersion | int | None = None,
        check_clean_root: bool = True,
        attribution: Attribution | None = None,
    ) -> Self:
        """Create a repository, with an empty first snapshot and the branch `main`.

        Parameters
        ----------
        storage : Storage
            Where to create it.
        config : RepositoryConfig, optional
            Configuration to use, and to store with the repository.
        authorize_virtual_chunk_access : dict of str to credentials, optional
            For each URL prefix of a virtual chunk container that may be read, its credentials.
        spec_version : SpecVersion or int, optional
            Version of the on-disk format; the newest when left out.
        check_clean_root : bool, default True
            Whether to refuse a location that holds anything but the beginning of a creation that failed.
        attribution : Attribution, optional
            Labels for the requests, which the owner of a bucket finds in its access logs.

        Returns
        -------
        Repository

        Raises
        ------
        InvalidInputError
            Kind `parent-directory-not-clean`, or `empty-prefix-creation` for a bucket's root.
        ConflictError
            Kind `repo-info-updated`: there is a repository.
        ReadOnlyError
            Kind `read-only-storage`.
        ValueError
            There is no such spec version.
        StorageError
            Kind `storage-other`: an authorisation does not fit the store of its container.
        TypeError
            `storage` is no Storage, an authorisation no credential, or `attribution` no Attribution.
        """
        require_storage(storage)
        version = SpecVersion.current() if spec_version is None else SpecVersion(spec_version)
        access = authorized_prefixes(authorize_virtual_chunk_access)
        storage_defaults = storage.default_settings()
        effective = effective_config(storage_defaults, None, config)
        check_access(usable_containers(effective.virtual_chunk_containers), access)
        cache = AssetCache(storage, resolve(effective, storage_defaults, available_cpus(), attribution))
        assets = SyncAssets.of(cache)
        _check_creatable(assets, check_clean_root)
        backend = assets.backend()
        backend.prepare_root()
        entry = _write_initial(assets, version)
        stored = effective if config is not None and config != RepositoryConfig() else None
        config_version = None
        if version is SpecVersion.v1:
            try:
                refs_v1.set_branch(assets, "main", entry.id, None)
            except ConflictError as error:
                raise _exists_already(storage) from error
            if stored is not None:
                config_version = _put_config(assets, stored, None)
        else:
            document = None if stored is None else encode_config_flexbuffers(stored)
            info = repo_updates.create_repo(entry, now_us=now_us(), config=document)
            try:
                assets.replace_repo_info(info, None)
            except PreconditionFailed as error:
                raise _exists_already(storage) from error
        repository = cls()
        repository._assemble(cache, effective, version, virtual_access=access, config_version=config_version)
        return repository

    @classmethod
    def open(
        cls,
        storage: Storage,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: Mapping[str, AnyCredential | None] | None = None,
        attribution: Attribution | None = None,
    ) -> Self:
        """Open an existing repository.

        Parameters
        ----------
        storage : Storage
            Where it is.
        config : RepositoryConfig, optional
            Laid over the stored configuration, member by member, for this object only.
        authorize_virtual_chunk_access : dict of str to credentials, optional
            For each URL prefix of a virtual chunk container that may be read, its credentials.
        attribution : Attribution, optional
            Labels for the requests, which the owner of a bucket finds in its access logs.

        Returns
        -------
        Repository

        Raises
        ------
        RepositoryNotFoundError
            Kind `repository-not-found`.
        FormatError
            Kind `unsupported-spec-version`: written by a newer Icechunk. Kind `invalid-file-format` or
            `config-deserialization`: damaged.
        StorageError
            Kind `storage-other`: an authorisation does not fit the store of its container.
        TypeError
            `storage` is no Storage, an authorisation no credential, or `attribution` no Attribution.
        """
        require_storage(storage)
        access = authorized_prefixes(authorize_virtual_chunk_access)
        storage_defaults = storage.default_settings()
        provisional = resolve(
            effective_config(storage_defaults, None, config), storage_defaults, available_cpus(), attribution
        )
        cache = AssetCache(storage, provisional)
        found = _find(SyncAssets.of(cache))
        if found is None:
            raise _not_found(storage)
        effective = effective_config(storage_defaults, found.config, config)
        check_access(usable_containers(effective.virtual_chunk_containers), access)
        settings = resolve(effective, storage_defaults, available_cpus(), attribution)
        if settings != provisional:
            repo_info = cache.repo_info
            cache = AssetCache(storage, settings)
            cache.repo_info = repo_info
        repository = cls()
        repository._assemble(
            cache,
            effective,
            found.spec_version,
            virtual_access=access,
            config_version=found.config_version,
        )
        return repository

    @classmethod
    def open_or_create(
        cls,
        storage: Storage,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: Mapping[str, AnyCredential | None] | None = None,
        create_version: SpecVersion | int | None = None,
        check_clean_root: bool = True,
        attribution: Attribution | None = None,
    ) -> Self:
        """Open a repository, or create it if there is none.

        Parameters
        ----------
        storage : Storage
        config : RepositoryConfig, optional
        authorize_virtual_chunk_access : dict of str to credentials, optional
        create_version : SpecVersion or int, optional
            Version of the on-disk format for a repository that has to be created.
        check_clean_root : bool, default True
            Whether to refuse to create one where anything else is; see `create`.
        attribution : Attribution, optional

        Returns
        -------
        Repository

        Raises
        ------
        InvalidInputError, ReadOnlyError, FormatError, StorageError, TypeError, ValueError
            As in `create` and `open`.

        See Also
        --------
        create, open
        """
        try:
            return cls.open(storage, config, authorize_virtual_chunk_access, attribution)
        except RepositoryNotFoundError:
            pass
        try:
            return cls.create(
                storage,
                config,
                authorize_virtual_chunk_access,
                create_version,
                check_clean_root,
                attribution,
            )
        except (ConflictError, InvalidInputError):
            # Somebody else may have created it since we looked.
            if cls.fetch_spec_version(storage) is None:
                raise
            return cls.open(storage, config, authorize_virtual_chunk_access, attribution)

    @staticmethod
    def exists(storage: Storage, storage_settings: StorageSettings | None = None) -> bool:
        """Whether there is a repository at a storage location.

        Parameters
        ----------
        storage : Storage
        storage_settings : StorageSettings, optional
            How to reach it, where the defaults do not do.

        Returns
        -------
        bool
        """
        return _look(storage, storage_settings) is not None

    @staticmethod
    def fetch_spec_version(
        storage: Storage, storage_settings: StorageSettings | None = None
    ) -> SpecVersion | None:
        """The version of the on-disk format of the repository at a storage location.

        Parameters
        ----------
        storage : Storage
        storage_settings : StorageSettings, optional

        Returns
        -------
        SpecVersion or None
            None where there is no repository.
        """
        found = _look(storage, storage_settings)
        return None if found is None else found.spec_version

    @staticmethod
    def fetch_config(storage: Storage) -> RepositoryConfig | None:
        """The configuration stored with the repository at a storage location.

        Parameters
        ----------
        storage : Storage

        Returns
        -------
        RepositoryConfig or None
            None where none is stored.

        Raises
        ------
        RepositoryNotFoundError
            Kind `repository-not-found`.
        """
        found = _look(storage, None)
        if found is None:
            raise _not_found(storage)
        return found.config

    def save_config(self) -> None:
        """Store the configuration in effect, for everybody who opens the repository.

        Raises
        ------
        ConflictError
            Kind `config-updated`: somebody else stored one first (spec 1).
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `unsupported-operation-for-version`: the repository was of spec 1 and has been upgraded
            since this object was made.
        """
        assets = SyncAssets.of(self._cache)
        if self._spec_version is SpecVersion.v1:
            check_can_write(assets)
            refs_v1.check_not_upgraded(assets)
            self._config_version = _put_config(assets, self._config, self._config_version)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.set_config(info, encode_config_flexbuffers(self._config, info.config), stamp)

        update_repo_info(assets, change)

    def reopen(
        self,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: Mapping[str, AnyCredential | None] | None = None,
    ) -> Self:
        """The same repository under another configuration.

        Parameters
        ----------
        config : RepositoryConfig, optional
            Laid over the configuration in effect, member by member.
        authorize_virtual_chunk_access : dict of str to credentials, optional
            Replaces the authorisations of this object.

        Returns
        -------
        Repository
            Another object; this one stays as it is.

        Raises
        ------
        StorageError, TypeError
            As in `open`.
        """
        storage_defaults = self.storage.default_settings()
        effective = effective_config(storage_defaults, self._config, config)
        settings = resolve(effective, storage_defaults, available_cpus(), self.attribution)
        cache = self._cache
        if settings != cache.settings:
            cache = AssetCache(self.storage, settings)
            cache.repo_info = self._cache.repo_info
        access: Mapping[str, Any] = self._virtual_access
        if authorize_virtual_chunk_access is not None:
            access = authorized_prefixes(authorize_virtual_chunk_access)
        check_access(usable_containers(effective.virtual_chunk_containers), access)
        repository = type(self)()
        repository._assemble(
            cache,
            effective,
            self._spec_version,
            virtual_access=access,
            config_version=self._config_version,
            commit_metadata=self._commit_metadata,
        )
        return repository


def _look(storage: Storage, storage_settings: StorageSettings | None) -> Found | None:
    require_storage(storage)
    storage_defaults = storage.default_settings()
    config = None if storage_settings is None else RepositoryConfig(storage=storage_settings)
    settings = resolve(effective_config(storage_defaults, None, config), storage_defaults, available_cpus())
    return _find(SyncAssets.of(AssetCache(storage, settings)))


def _find(assets: SyncAssets) -> Found | None:
    """Look for a repository: one request where it is of spec 2."""
    try:
        info, _ = assets.fetch_repo_info()
    except StorageError as error:
        if error.kind != ErrorKind.OBJECT_NOT_FOUND:
            raise
    else:
        config = None if info.config is None else decode_config_flexbuffers(info.config, REPO)
        return Found(SpecVersion(info.spec_version), config)
    main, config_file = map_concurrently(
        assets.fetch_if_present, [branch_key("main"), CONFIG], 2
    )
    if main is None:
        return None
    if config_file is None:
        return Found(SpecVersion.v1, None)
    return Found(SpecVersion.v1, decode_config_yaml(bytes(config_file[0]), CONFIG), config_file[1])


def _check_creatable(assets: SyncAssets, check_clean_root: bool) -> None:
    storage = assets.cache.storage
    check_can_write(assets)
    if storage.requires_prefix:
        raise InvalidInputError(
            f"a repository cannot be created at the root of a bucket ({storage.location}): give it a prefix",
            ErrorKind.EMPTY_PREFIX_CREATION,
        )
    backend = assets.backend()
    if check_clean_root:
        if not backend.is_clean() and _holds_anything_else(backend):
            raise InvalidInputError(
                f"{storage.location} is not empty: create the repository elsewhere, open the one that may be "
                "there, or pass `check_clean_root=False`",
                ErrorKind.PARENT_DIRECTORY_NOT_CLEAN,
            )
    elif _find(assets) is not None:
        raise _exists_already(storage)


def _holds_anything_else(backend: SyncBackend) -> bool:
    """Whether there is more than what a creation writes before there is a repository.

    That is left behind by one that failed, or comes from one that is under way.
    """
    begun = {snapshot_key(INITIAL_SNAPSHOT_ID), transaction_log_key(INITIAL_SNAPSHOT_ID)}
    for batch in backend.list(""):
        if any(item.key not in begun for item in batch):
            return True
    return False


def _not_found(storage: Storage) -> RepositoryNotFoundError:
    return RepositoryNotFoundError(
        f"there is no repository at {storage.location}: create one with `Repository.create`",
        ErrorKind.REPOSITORY_NOT_FOUND,
    )


def _exists_already(storage: Storage) -> ConflictError:
    return ConflictError(
        message=f"there is a repository at {storage.location} already: open it with `Repository.open`",
        kind=ErrorKind.REPO_INFO_UPDATED,
    )


def _write_initial(assets: SyncAssets, version: SpecVersion) -> SnapshotEntry:
    """Write the first snapshot and, in spec 2, its empty transaction log."""
    entry = SnapshotEntry(
        id=INITIAL_SNAPSHOT_ID,
        parent_id=None,
        flushed_at=now_us(),
        message=_INITIAL_MESSAGE,
        metadata=_INITIAL_METADATA,
    )
    payload = encode_snapshot(
        id=entry.id,
        parent_id=None,
        nodes=[],
        flushed_at=entry.flushed_at,
        message=entry.message,
        metadata=entry.metadata,
        manifest_files=[],
        spec_version=int(version),
    )
    assets.write_snapshot(entry.id, payload, int(version))
    if version is not SpecVersion.v1:
        nothing: frozenset[bytes] = frozenset()
        log = TransactionLog(
            id=entry.id,
            new_groups=nothing,
            new_arrays=nothing,
            deleted_groups=nothing,
            deleted_arrays=nothing,
            updated_arrays=nothing,
            updated_groups=nothing,
            updated_chunks={},
            moved_nodes=(),
        )
        assets.write_transaction_log(log, int(version))
    return entry


def _put_config(
    assets: SyncAssets, config: RepositoryConfig, expected: Version | None
) -> Version:
    """Replace `config.yaml`, after a backup, if nobody else has since it was read.

    Who finds there what is to be written has written it, and was not told so.
    """
    backend = assets.backend()
    found = assets.fetch_if_present(CONFIG)
    replaced = None if found is None else bytes(found[0])
    data = encode_config_yaml(config, replaced)
    if found is not None and found[1] != expected and replaced == data:
        return found[1]
    try:
        if expected is not None:
            backup = OVERWRITTEN + backup_name(CONFIG, now_us(), random_id())
            backend.copy(CONFIG, backup, expected)
        return backend.put_conditional(CONFIG, data, expected, content_type=_CONFIG_CONTENT_TYPE)
    except PreconditionFailed as error:
        raise ConflictError(
            message="somebody else stored another configuration: open the repository again, then save",
            kind=ErrorKind.CONFIG_UPDATED,
        ) from error
