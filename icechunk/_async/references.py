"""Branches, tags, history, and the sessions opened on them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from icechunk._async import refs_v1
from icechunk._async.ancestry import ancestors_async
from icechunk._async.assets import AsyncAssets
from icechunk._async.preload import preload_manifests_async
from icechunk._async.repo_info import check_can_write_async, fetch_repo_info_async, update_repo_info_async
from icechunk._core import repo_updates
from icechunk._core.arguments import require_text
from icechunk._core.history import as_of_us, entry_of, manifest_file_info, one_selector, snapshot_info
from icechunk._core.ids import id_text, parse_id
from icechunk._core.repository_state import RepositoryState, SessionType
from icechunk._core.session_state import SessionState
from icechunk._exceptions import ErrorKind, FormatError, SnapshotNotFoundError
from icechunk._io.iteration import begun_async
from icechunk.types import SessionMode, SpecVersion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from icechunk._core.ops_log import Stamp
    from icechunk._format.repo_info import RepoInfo, SnapshotEntry
    from icechunk.snapshots import ManifestFileInfo, SnapshotInfo


class AsyncReferences(RepositoryState[SessionType]):
    """The part of a repository that deals with names and history."""

    @property
    def _assets_async(self) -> AsyncAssets:
        return AsyncAssets.of(self._cache)

    @property
    def _is_v1(self) -> bool:
        return self._spec_version is SpecVersion.v1

    # Branches

    async def list_branches_async(self) -> set[str]:
        """Names of all branches.

        Returns
        -------
        set of str
        """
        if self._is_v1:
            return await refs_v1.list_branches_async(self._assets_async)
        info = await fetch_repo_info_async(self._assets_async)
        return set(info.branches)

    async def lookup_branch_async(self, branch: str) -> str:
        """The snapshot at the tip of a branch.

        Parameters
        ----------
        branch : str

        Returns
        -------
        str
            The id of the snapshot.

        Raises
        ------
        RefNotFoundError
            Kind `ref-not-found`.
        """
        require_text(branch=branch)
        info = await self._repo_info_async()
        return id_text(await self._target_async(info, branch, None, None))

    async def create_branch_async(self, branch: str, snapshot_id: str) -> None:
        """Create a branch.

        Parameters
        ----------
        branch : str
            Its name.
        snapshot_id : str
            The snapshot that it starts at.

        Raises
        ------
        AlreadyExistsError
            Kind `branch-already-exists`.
        ConflictError
            Kind `branch-update-conflict`: the branch exists, in a repository of spec 1.
        SnapshotNotFoundError
            Kind `snapshot-not-found`.
        InvalidInputError
            Kind `invalid-snapshot-id`, or `invalid-ref-name` in a repository of spec 1.
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `unsupported-operation-for-version`, as in `writable_session`.
        """
        require_text(branch=branch, snapshot_id=snapshot_id)
        target = parse_id(snapshot_id)
        if self._is_v1:
            await check_can_write_async(self._assets_async)
            await self._assets_async.fetch_snapshot_async(target)
            await refs_v1.set_branch_async(self._assets_async, branch, target, None)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.create_branch(info, branch, target, stamp)

        await update_repo_info_async(self._assets_async, change)

    async def reset_branch_async(
        self, branch: str, snapshot_id: str, *, from_snapshot_id: str | None = None
    ) -> None:
        """Move a branch to another snapshot, related to its tip or not.

        Parameters
        ----------
        branch : str
        snapshot_id : str
            The snapshot that becomes the tip.
        from_snapshot_id : str, optional
            The snapshot that has to be the tip now.

        Raises
        ------
        ConflictError
            Kind `branch-update-conflict`: the tip is not `from_snapshot_id`.
        RefNotFoundError
            Kind `ref-not-found`, or `branch-not-found` when `from_snapshot_id` is given; in a
            repository of spec 1 the latter is a ConflictError.
        SnapshotNotFoundError
            Kind `snapshot-not-found`.
        InvalidInputError
            Kind `invalid-snapshot-id`.
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `unsupported-operation-for-version`, as in `writable_session`.
        """
        require_text(branch=branch, snapshot_id=snapshot_id)
        target = parse_id(snapshot_id)
        source = None
        if from_snapshot_id is not None:
            require_text(from_snapshot_id=from_snapshot_id)
            source = parse_id(from_snapshot_id)
        if self._is_v1:
            await self._reset_branch_v1_async(branch, target, source)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.reset_branch(info, branch, target, stamp, from_snapshot_id=source)

        await update_repo_info_async(self._assets_async, change)

    async def _reset_branch_v1_async(self, branch: str, target: bytes, source: bytes | None) -> None:
        assets = self._assets_async
        await check_can_write_async(assets)
        await assets.fetch_snapshot_async(target)
        if source is None:
            source = await refs_v1.lookup_branch_async(assets, branch)
        await refs_v1.set_branch_async(assets, branch, target, source)

    async def delete_branch_async(self, branch: str) -> None:
        """Delete a branch; its snapshots stay until garbage is collected.

        Parameters
        ----------
        branch : str

        Raises
        ------
        SessionStateError
            Kind `cannot-delete-main`.
        RefNotFoundError
            Kind `ref-not-found`.
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `unsupported-operation-for-version`, as in `writable_session`.
        """
        require_text(branch=branch)
        if self._is_v1:
            await check_can_write_async(self._assets_async)
            await refs_v1.delete_branch_async(self._assets_async, branch)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.delete_branch(info, branch, stamp)

        await update_repo_info_async(self._assets_async, change)

    # Tags

    async def list_tags_async(self) -> set[str]:
        """Names of all tags that are not deleted.

        Returns
        -------
        set of str
        """
        if self._is_v1:
            return await refs_v1.list_tags_async(self._assets_async)
        info = await fetch_repo_info_async(self._assets_async)
        return set(info.tags)

    async def lookup_tag_async(self, tag: str) -> str:
        """The snapshot of a tag.

        Parameters
        ----------
        tag : str

        Returns
        -------
        str
            The id of the snapshot.

        Raises
        ------
        RefNotFoundError
            Kind `ref-not-found`.
        """
        require_text(tag=tag)
        info = await self._repo_info_async()
        return id_text(await self._target_async(info, None, tag, None))

    async def create_tag_async(self, tag: str, snapshot_id: str) -> None:
        """Give a snapshot a name that never changes.

        Parameters
        ----------
        tag : str
            A name that no tag of this repository has or ever had.
        snapshot_id : str

        Raises
        ------
        AlreadyExistsError
            Kind `tag-already-exists`, or `tag-previously-deleted`.
        SnapshotNotFoundError
            Kind `snapshot-not-found`.
        InvalidInputError
            Kind `invalid-snapshot-id`, or `invalid-ref-name` in a repository of spec 1.
        SessionStateError
            Kind `feature-flag-disabled`.
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `unsupported-operation-for-version`, as in `writable_session`.
        """
        require_text(tag=tag, snapshot_id=snapshot_id)
        target = parse_id(snapshot_id)
        if self._is_v1:
            await check_can_write_async(self._assets_async)
            await self._assets_async.fetch_snapshot_async(target)
            await refs_v1.create_tag_async(self._assets_async, tag, target)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.create_tag(info, tag, target, stamp)

        await update_repo_info_async(self._assets_async, change)

    async def delete_tag_async(self, tag: str) -> None:
        """Delete a tag; its name cannot be used again.

        Parameters
        ----------
        tag : str

        Raises
        ------
        RefNotFoundError
            Kind `ref-not-found`.
        SessionStateError
            Kind `feature-flag-disabled`.
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `unsupported-operation-for-version`, as in `writable_session`.
        """
        require_text(tag=tag)
        if self._is_v1:
            await check_can_write_async(self._assets_async)
            await refs_v1.delete_tag_async(self._assets_async, tag)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.delete_tag(info, tag, stamp)

        await update_repo_info_async(self._assets_async, change)

    # History

    def async_ancestry(
        self, *, branch: str | None = None, tag: str | None = None, snapshot_id: str | None = None
    ) -> AsyncIterator[SnapshotInfo]:
        """The history of a branch, a tag or a snapshot, newest first.

        Parameters
        ----------
        branch, tag, snapshot_id : str, optional
            Where to start; exactly one of the three.

        Returns
        -------
        iterator of SnapshotInfo

        Raises
        ------
        ValueError
            None of the three was given, or more than one.
        RefNotFoundError
            Kind `ref-not-found`.
        SnapshotNotFoundError
            Kind `snapshot-not-found`.
        InvalidInputError
            Kind `invalid-snapshot-id`.
        """
        one_selector(branch, tag, snapshot_id)
        return begun_async(self._snapshot_infos_async(branch, tag, snapshot_id))

    async def _snapshot_infos_async(
        self, branch: str | None, tag: str | None, snapshot_id: str | None
    ) -> AsyncIterator[SnapshotInfo]:
        async for entry in self._ancestry_async(branch, tag, snapshot_id):
            yield snapshot_info(entry)

    async def _ancestry_async(
        self, branch: str | None, tag: str | None, snapshot_id: str | None
    ) -> AsyncIterator[SnapshotEntry]:
        info = await self._repo_info_async()
        target = await self._target_async(info, branch, tag, snapshot_id)
        async for entry in self._ancestors_async(info, target):
            yield entry

    async def _repo_info_async(self) -> RepoInfo | None:
        """What one look at the repository answers several questions with; None in spec 1."""
        return None if self._is_v1 else await fetch_repo_info_async(self._assets_async)

    async def _target_async(
        self, info: RepoInfo | None, branch: str | None, tag: str | None, snapshot_id: str | None
    ) -> bytes:
        """The snapshot that a branch, a tag or the text of an id stands for."""
        if info is not None:
            return _resolve(info, branch, tag, snapshot_id)
        if branch is not None:
            return await refs_v1.lookup_branch_async(self._assets_async, branch)
        if tag is not None:
            return await refs_v1.lookup_tag_async(self._assets_async, tag)
        return parse_id(snapshot_id or "")

    def _ancestors_async(self, info: RepoInfo | None, target: bytes) -> AsyncIterator[SnapshotEntry]:
        return ancestors_async(self._assets_async, info, target)

    async def lookup_snapshot_async(self, snapshot_id: str) -> SnapshotInfo:
        """What the history says about one snapshot.

        Parameters
        ----------
        snapshot_id : str

        Returns
        -------
        SnapshotInfo

        Raises
        ------
        SnapshotNotFoundError
            Kind `snapshot-not-found`.
        InvalidInputError
            Kind `invalid-snapshot-id`.
        """
        require_text(snapshot_id=snapshot_id)
        wanted = parse_id(snapshot_id)
        if self._is_v1:
            return snapshot_info(entry_of(await self._assets_async.fetch_snapshot_async(wanted)))
        info = await fetch_repo_info_async(self._assets_async)
        repo_updates.require_snapshot(info, wanted)
        entry = info.snapshot(wanted)
        assert entry is not None
        return snapshot_info(entry)

    async def list_manifest_files_async(self, snapshot_id: str) -> list[ManifestFileInfo]:
        """The manifests that a snapshot refers to.

        Parameters
        ----------
        snapshot_id : str

        Returns
        -------
        list of ManifestFileInfo

        Raises
        ------
        StorageError
            Kind `object-not-found`: there is no such snapshot.
        InvalidInputError
            Kind `invalid-snapshot-id`.
        """
        require_text(snapshot_id=snapshot_id)
        snapshot = await self._assets_async.fetch_snapshot_async(parse_id(snapshot_id))
        return [manifest_file_info(file) for file in snapshot.manifest_files]

    # Sessions

    async def readonly_session_async(
        self,
        branch: str | None = None,
        *,
        tag: str | None = None,
        snapshot_id: str | None = None,
        as_of: datetime | None = None,
    ) -> SessionType:
        """Open a session that reads one snapshot.

        Parameters
        ----------
        branch, tag, snapshot_id : str, optional
            What to read; exactly one of the three.
        as_of : datetime.datetime, optional
            With `branch`: read its newest snapshot written at this time or before. Needs a
            time zone.

        Returns
        -------
        Session

        Raises
        ------
        RefNotFoundError
            Kind `ref-not-found`; with `as_of`, `branch-not-found` in a repository of spec 2.
        SnapshotNotFoundError
            Kind `snapshot-not-found`, or `no-snapshot-at-time`.
        InvalidInputError
            Kind `invalid-snapshot-id`.
        ValueError
            Not exactly one of the three, or `as_of` without `branch`.
        TypeError
            `as_of` is no `datetime` with a time zone, or a name is no `str`.
        """
        one_selector(branch, tag, snapshot_id)
        if as_of is not None:
            target = await self._tip_as_of_async(branch, as_of)
        else:
            target = await self._target_async(await self._repo_info_async(), branch, tag, snapshot_id)
        return await self._open_session_async(target, None, SessionMode.readonly)

    async def writable_session_async(self, branch: str) -> SessionType:
        """Open a session that can change data and commit to a branch.

        Parameters
        ----------
        branch : str

        Returns
        -------
        Session

        Raises
        ------
        RefNotFoundError
            Kind `ref-not-found`.
        ReadOnlyError
            Kind `read-only-storage` or `read-only-repository`.
        FormatError
            Kind `unsupported-operation-for-version`: it was of spec 1 and has been upgraded since this
            object was made.
        """
        require_text(branch=branch)
        await check_can_write_async(self._assets_async)
        if self._is_v1:
            await refs_v1.check_not_upgraded_async(self._assets_async)
            tip = await refs_v1.lookup_branch_async(self._assets_async, branch)
        else:
            info = await fetch_repo_info_async(self._assets_async)
            repo_updates.require_online(info)
            tip = _resolve(info, branch, None, None)
        return await self._open_session_async(tip, branch, SessionMode.writable)

    async def rearrange_session_async(self, branch: str) -> SessionType:
        """Open a session that moves nodes, and does nothing else, and commits to a branch.

        Parameters
        ----------
        branch : str

        Returns
        -------
        Session
            See `Session.move`.

        Raises
        ------
        RefNotFoundError
            Kind `ref-not-found`.
        ReadOnlyError
            Kind `read-only-storage` or `read-only-repository`.
        SessionStateError
            Kind `feature-flag-disabled`: moving nodes is switched off.
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec version 1.
        """
        require_text(branch=branch)
        if self._is_v1:
            raise FormatError(
                "nodes of a repository of spec version 1 cannot be moved: upgrade the repository first",
                ErrorKind.UNSUPPORTED_SPEC_VERSION,
            )
        await check_can_write_async(self._assets_async)
        info = await fetch_repo_info_async(self._assets_async)
        repo_updates.require_online(info)
        repo_updates.require_feature(info, repo_updates.MOVE_NODE, "moving nodes")
        tip = _resolve(info, branch, None, None)
        return await self._open_session_async(tip, branch, SessionMode.rearrange)

    async def _open_session_async(
        self, snapshot_id: bytes, branch: str | None, mode: SessionMode
    ) -> SessionType:
        snapshot = await self._assets_async.fetch_snapshot_async(snapshot_id)
        await preload_manifests_async(self._assets_async, snapshot)
        state = SessionState(
            snapshot,
            self._spec_version,
            branch=branch,
            mode=mode,
            commit_metadata=self.default_commit_metadata(),
        )
        return self._new_session(state)

    async def _tip_as_of_async(self, branch: str | None, as_of: datetime) -> bytes:
        limit = as_of_us(branch, as_of)
        assert branch is not None
        info = await self._repo_info_async()
        if info is not None:
            tip = repo_updates.resolve_branch(info, branch, ErrorKind.BRANCH_NOT_FOUND)
        else:
            tip = await refs_v1.lookup_branch_async(self._assets_async, branch)
        async for entry in self._ancestors_async(info, tip):
            if entry.flushed_at <= limit:
                return entry.id
        raise SnapshotNotFoundError(
            f"branch `{branch}` has no snapshot written at {as_of.isoformat()} or before",
            ErrorKind.NO_SNAPSHOT_AT_TIME,
        )


def _resolve(info: RepoInfo, branch: str | None, tag: str | None, snapshot_id: str | None) -> bytes:
    """The snapshot that a branch, a tag or the text of an id stands for."""
    if branch is not None:
        return repo_updates.resolve_branch(info, branch)
    if tag is not None:
        return repo_updates.resolve_tag(info, tag)
    target = parse_id(snapshot_id or "")
    repo_updates.require_snapshot(info, target)
    return target
