"""What holds for all of a repository: its metadata, status and feature flags, and the log of operations.

All of it is kept in the repo object, so repositories of spec 1 have none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icechunk._async.assets import AsyncAssets
from icechunk._async.repo_info import fetch_repo_info_async, update_repo_info_async
from icechunk._core import repo_updates
from icechunk._core.arguments import require_text
from icechunk._core.history import feature_flags, public_status, public_update, stored_status
from icechunk._core.repository_state import RepositoryState, SessionType
from icechunk._exceptions import ErrorKind, FormatError
from icechunk._io.iteration import begun_async
from icechunk.ops import RepoStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from icechunk._core.ops_log import Stamp
    from icechunk._format.repo_info import RepoInfo
    from icechunk.ops import FeatureFlag, Update


class AsyncAdministration(RepositoryState[SessionType]):
    """The part of a repository that deals with what holds for all of it."""

    # Metadata

    async def get_metadata_async(self) -> dict[str, Any]:
        """The metadata of the repository itself, which has nothing to do with that of its commits.

        Returns
        -------
        dict of str to any

        Raises
        ------
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec 1.
        """
        info = await self._fetch_info_async()
        return info.metadata

    async def set_metadata_async(self, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata of the repository.

        Parameters
        ----------
        metadata : dict of str to any
            Values of JSON's types.

        Raises
        ------
        TypeError
            A value has no counterpart in JSON.
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec 1.
        """
        self._require_spec_2()

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.set_metadata(info, metadata, stamp)

        await update_repo_info_async(AsyncAssets.of(self._cache), change)

    async def update_metadata_async(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Add to the metadata of the repository, or replace values in it, key by key at the top level.

        Parameters
        ----------
        metadata : dict of str to any
            What to add or replace, of JSON's types.

        Returns
        -------
        dict of str to any
            The metadata as it is now.

        Raises
        ------
        TypeError, ReadOnlyError, FormatError
            As in `set_metadata_async`.
        """
        self._require_spec_2()

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.update_metadata(info, metadata, stamp)

        updated = await update_repo_info_async(AsyncAssets.of(self._cache), change)
        return updated.metadata

    # Status

    async def get_status_async(self) -> RepoStatus:
        """Whether the repository takes changes, since when, and why not.

        Returns
        -------
        RepoStatus

        Raises
        ------
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec 1.
        """
        info = await self._fetch_info_async()
        return public_status(info.status)

    async def set_status_async(self, status: RepoStatus) -> None:
        """Put the repository into the read-only state, or back online.

        A repository that is read-only refuses every change but this one, to everybody.

        Parameters
        ----------
        status : RepoStatus

        Raises
        ------
        TypeError
            `status` is no RepoStatus.
        ReadOnlyError
            Kind `read-only-storage`.
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec 1.
        """
        if not isinstance(status, RepoStatus):
            raise TypeError(f"status must be a RepoStatus, not {status!r}")
        self._require_spec_2()
        stored = stored_status(status)

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.set_status(info, stored, stamp)

        await update_repo_info_async(AsyncAssets.of(self._cache), change)

    # Feature flags

    async def feature_flags_async(self) -> list[FeatureFlag]:
        """Everything that can be switched off in the repository.

        Returns
        -------
        list of FeatureFlag
            In the order of their ids.

        Raises
        ------
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec 1.
        """
        return feature_flags(await self._fetch_info_async())

    async def enabled_feature_flags_async(self) -> list[FeatureFlag]:
        """The feature flags that are on.

        Returns
        -------
        list of FeatureFlag

        Raises
        ------
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec 1.
        """
        return [flag for flag in feature_flags(await self._fetch_info_async()) if flag.enabled]

    async def disabled_feature_flags_async(self) -> list[FeatureFlag]:
        """The feature flags that are off.

        Returns
        -------
        list of FeatureFlag

        Raises
        ------
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec 1.
        """
        return [flag for flag in feature_flags(await self._fetch_info_async()) if not flag.enabled]

    async def set_feature_flag_async(self, name: str, setting: bool | None) -> None:
        """Switch a feature on or off for everybody who uses the repository.

        Parameters
        ----------
        name : str
            `move_node`, `create_tag` or `delete_tag`.
        setting : bool or None
            None returns the feature to its default.

        Raises
        ------
        InvalidInputError
            Kind `invalid-feature-flag`: there is no such feature.
        TypeError
            `setting` is neither a bool nor None.
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec 1.
        """
        require_text(name=name)
        if setting is not None and not isinstance(setting, bool):
            raise TypeError(f"setting must be True, False or None, not {setting!r}")
        self._require_spec_2()

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.set_feature_flag(info, name, setting, stamp)

        await update_repo_info_async(AsyncAssets.of(self._cache), change)

    # The log of operations

    def ops_log_async(self) -> AsyncIterator[Update]:
        """Everything that was ever done to the repository, newest first.

        The repository keeps the newest entries at hand and the older ones in backups of itself, which
        are read as the iteration gets there. Where somebody has removed a backup, the log ends.

        Returns
        -------
        iterator of Update

        Raises
        ------
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec 1.
        """
        self._require_spec_2()
        return begun_async(self._updates_async())

    async def _updates_async(self) -> AsyncIterator[Update]:
        info: RepoInfo | None = await self._fetch_info_async()
        name: str | None = None
        seen = set()
        while info is not None:
            for entry in info.updates():
                yield public_update(entry, name)
            name = info.repo_before_updates
            if name is None:
                return
            if name in seen:
                raise FormatError(
                    f"the log of operations runs in a circle: it comes to the backup {name} twice",
                    ErrorKind.INVALID_FILE_FORMAT,
                )
            seen.add(name)
            info = await AsyncAssets.of(self._cache).fetch_repo_backup_async(name)

    async def _fetch_info_async(self) -> RepoInfo:
        self._require_spec_2()
        return await fetch_repo_info_async(AsyncAssets.of(self._cache))
