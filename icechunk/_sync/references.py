# Generated from icechunk/_async/references.py by tools/make_sync.py; edit that file.
"""Branches, tags, history, and the sessions opened on them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from icechunk._sync import refs_v1
from icechunk._sync.ancestry import ancestors
from icechunk._sync.assets import SyncAssets
from icechunk._sync.preload import preload_manifests
from icechunk._sync.repo_info import check_can_write, fetch_repo_info, update_repo_info
from icechunk._core import repo_updates
from icechunk._core.arguments import require_text
from icechunk._core.history import as_of_us, entry_of, manifest_file_info, one_selector, snapshot_info
from icechunk._core.ids import id_text, parse_id
from icechunk._core.repository_state import RepositoryState, SessionType
from icechunk._core.session_state import SessionState
from icechunk._exceptions import ErrorKind, FormatError, SnapshotNotFoundError
from icechunk._io.iteration import begun
from icechunk.types import SessionMode, SpecVersion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icechunk._core.ops_log import Stamp
    from icechunk._format.repo_info import RepoInfo, SnapshotEntry
    from icechunk.snapshots import ManifestFileInfo, SnapshotInfo


class SyncReferences(RepositoryState[SessionType]):
    """The part of a repository that deals with names and history."""

    @property
    def _assets(self) -> SyncAssets:
        return SyncAssets.of(self._cache)

    @property
    def _is_v1(self) -> bool:
        return self._spec_version is SpecVersion.v1

    # Branches

    def list_branches(self) -> set[str]:
        """Names of all branches.

        Returns
        -------
        set of str
        """
        if self._is_v1:
            return refs_v1.list_branches(self._assets)
        info = fetch_repo_info(self._assets)
        return set(info.branches)

    def lookup_branch(self, branch: str) -> str:
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
        info = self._repo_info()
        return id_text(self._target(info, branch, None, None))

    def create_branch(self, branch: str, snapshot_id: str) -> None:
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
            check_can_write(self._assets)
            self._assets.fetch_snapshot(target)
            refs_v1.set_branch(self._assets, branch, target, None)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.create_branch(info, branch, target, stamp)

        update_repo_info(self._assets, change)

    def reset_branch(
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
            self._reset_branch_v1(branch, target, source)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.reset_branch(info, branch, target, stamp, from_snapshot_id=source)

        update_repo_info(self._assets, change)

    def _reset_branch_v1(self, branch: str, target: bytes, source: bytes | None) -> None:
        assets = self._assets
        check_can_write(assets)
        assets.fetch_snapshot(target)
        if source is None:
            source = refs_v1.lookup_branch(assets, branch)
        refs_v1.set_branch(assets, branch, target, source)

    def delete_branch(self, branch: str) -> None:
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
            check_can_write(self._assets)
            refs_v1.delete_branch(self._assets, branch)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.delete_branch(info, branch, stamp)

        update_repo_info(self._assets, change)

    # Tags

    def list_tags(self) -> set[str]:
        """Names of all tags that are not deleted.

        Returns
        -------
        set of str
        """
        if self._is_v1:
            return refs_v1.list_tags(self._assets)
        info = fetch_repo_info(self._assets)
        return set(info.tags)

    def lookup_tag(self, tag: str) -> str:
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
        info = self._repo_info()
        return id_text(self._target(info, None, tag, None))

    def create_tag(self, tag: str, snapshot_id: str) -> None:
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
            check_can_write(self._assets)
            self._assets.fetch_snapshot(target)
            refs_v1.create_tag(self._assets, tag, target)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.create_tag(info, tag, target, stamp)

        update_repo_info(self._assets, change)

    def delete_tag(self, tag: str) -> None:
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
            check_can_write(self._assets)
            refs_v1.delete_tag(self._assets, tag)
            return

        def change(info: RepoInfo, stamp: Stamp) -> RepoInfo:
            return repo_updates.delete_tag(info, tag, stamp)

        update_repo_info(self._assets, change)

    # History

    def ancestry(
        self, *, branch: str | None = None, tag: str | None = None, snapshot_id: str | None = None
    ) -> Iterator[SnapshotInfo]:
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
        return begun(self._snapshot_infos(branch, tag, snapshot_id))

    def _snapshot_infos(
        self, branch: str | None, tag: str | None, snapshot_id: str | None
    ) -> Iterator[SnapshotInfo]:
        for entry in self._ancestry(branch, tag, snapshot_id):
            yield snapshot_info(entry)

    def _ancestry(
        self, branch: str | None, tag: str | None, snapshot_id: str | None
    ) -> Iterator[SnapshotEntry]:
        info = self._repo_info()
        target = self._target(info, branch, tag, snapshot_id)
        for entry in self._ancestors(info, target):
            yield entry

    def _repo_info(self) -> RepoInfo | None:
        """What one look at the repository answers several questions with; None in spec 1."""
        return None if self._is_v1 else fetch_repo_info(self._assets)

    def _target(
        self, info: RepoInfo | None, branch: str | None, tag: str | None, snapshot_id: str | None
    ) -> bytes:
        """The snapshot that a branch, a tag or the text of an id stands for."""
        if info is not None:
            return _resolve(info, branch, tag, snapshot_id)
        if branch is not None:
            return refs_v1.lookup_branch(self._assets, branch)
        if tag is not None:
            return refs_v1.lookup_tag(self._assets, tag)
        return parse_id(snapshot_id or "")

    def _ancestors(self, info: RepoInfo | None, target: bytes) -> Iterator[SnapshotEntry]:
        return ancestors(self._assets, info, target)

    def lookup_snapshot(self, snapshot_id: str) -> SnapshotInfo:
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
            return snapshot_info(entry_of(self._assets.fetch_snapshot(wanted)))
        info = fetch_repo_info(self._assets)
        repo_updates.require_snapshot(info, wanted)
        entry = info.snapshot(wanted)
        assert entry is not None
        return snapshot_info(entry)

    def list_manifest_files(self, snapshot_id: str) -> list[ManifestFileInfo]:
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
        snapshot = self._assets.fetch_snapshot(parse_id(snapshot_id))
        return [manifest_file_info(file) for file in snapshot.manifest_files]

    # Sessions

    def readonly_session(
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
            target = self._tip_as_of(branch, as_of)
        else:
            target = self._target(self._repo_info(), branch, tag, snapshot_id)
        return self._open_session(target, None, SessionMode.readonly)

    def writable_session(self, branch: str) -> SessionType:
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
        check_can_write(self._assets)
        if self._is_v1:
            refs_v1.check_not_upgraded(self._assets)
            tip = refs_v1.lookup_branch(self._assets, branch)
        else:
            info = fetch_repo_info(self._assets)
            repo_updates.require_online(info)
            tip = _resolve(info, branch, None, None)
        return self._open_session(tip, branch, SessionMode.writable)

    def rearrange_session(self, branch: str) -> SessionType:
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
        check_can_write(self._assets)
        info = fetch_repo_info(self._assets)
        repo_updates.require_online(info)
        repo_updates.require_feature(info, repo_updates.MOVE_NODE, "moving nodes")
        tip = _resolve(info, branch, None, None)
        return self._open_session(tip, branch, SessionMode.rearrange)

    def _open_session(
        self, snapshot_id: bytes, branch: str | None, mode: SessionMode
    ) -> SessionType:
        snapshot = self._assets.fetch_snapshot(snapshot_id)
        preload_manifests(self._assets, snapshot)
        state = SessionState(
            snapshot,
            self._spec_version,
            branch=branch,
            mode=mode,
            commit_metadata=self.default_commit_metadata(),
        )
        return self._new_session(state)

    def _tip_as_of(self, branch: str | None, as_of: datetime) -> bytes:
        limit = as_of_us(branch, as_of)
        assert branch is not None
        info = self._repo_info()
        if info is not None:
            tip = repo_updates.resolve_branch(info, branch, ErrorKind.BRANCH_NOT_FOUND)
        else:
            tip = refs_v1.lookup_branch(self._assets, branch)
        for entry in self._ancestors(info, tip):
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
