# Generated from icechunk/_async/session.py by tools/make_sync.py; edit that file.
"""The verbs of a session that need I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icechunk._sync.arrays import SyncArrays
from icechunk._sync.commit import amend_session, commit_session, flush_session
from icechunk._sync.fork import Other, fork_session, merge_sessions
from icechunk._sync.rebase import rebase_session
from icechunk._core.arguments import require_text, tries
from icechunk._core.commit_plan import commit_properties
from icechunk._core.paths import node_path
from icechunk._core.session_base import SessionBase
from icechunk.conflicts import require_solver

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icechunk._sync.fork import DuplicateChunks
    from icechunk.conflicts import ConflictSolver
    from icechunk.session import ForkSession


class SyncSession(SyncArrays):
    """The coroutines of a session; see `icechunk.Session`.

    Examples
    --------
    >>> import icechunk, zarr
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> session = repo.writable_session("main")
    >>> root = zarr.create_group(session.store)
    >>> snapshot_id = session.commit("make the root")
    >>> repo.lookup_branch("main") == snapshot_id
    True
    """

    def commit(
        self,
        message: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        rebase_with: ConflictSolver | None = None,
        rebase_tries: int = 1000,
        allow_empty: bool = False,
    ) -> str:
        """Make the changes of this session the new tip of its branch.

        Afterwards the session is a read-only view of the new snapshot. When the
        commit fails the session keeps its changes and goes on.

        A commit may land and fail all the same, when the answer of the storage is lost on the way or
        somebody interrupts it. Commit the same changes again: if they have landed nothing is written,
        and what is returned is the id of the snapshot that has them.

        Parameters
        ----------
        message : str
            What was done, for the history.
        metadata : dict of str to any, optional
            Properties of the snapshot, of JSON's types; laid over the repository's default
            commit metadata.
        rebase_with : ConflictSolver, optional
            What to do when somebody else committed to the branch first: rebase with this solver
            and try again. Without it the commit fails.
        rebase_tries : int, default 1000
            How many rebases at most; with 0 there is none.
        allow_empty : bool, default False
            Whether to commit without changes.

        Returns
        -------
        str
            The id of the new snapshot.

        Raises
        ------
        ConflictError
            Kind `commit-conflict`: somebody else committed to the branch first.
        RebaseFailedError
            Kind `rebase-failed`: what they committed contradicts the changes of this session, and
            `rebase_with` did not solve it.
        SessionStateError
            Kind `no-changes-to-commit`, or `commit-not-allowed` for a session on no branch.
        RefNotFoundError
            Kind `branch-not-found`: the branch was deleted meanwhile.
        ReadOnlyError
            Kind `read-only-repository` or `read-only-storage`.
        FormatError
            Kind `snapshot-timestamp`: the clocks of storage and machine are minutes apart. Kind
            `unsupported-operation-for-version`: the repository was of spec 1 when the session was
            opened, and has been upgraded since.
        TypeError
            `rebase_with` is no solver, or `metadata` cannot be stored.
        OverflowError
            `rebase_tries` is negative.
        """
        if rebase_with is not None:
            require_solver(rebase_with)
        require_text(message=message)
        properties = commit_properties(self._state.commit_metadata, metadata)
        return commit_session(
            self._state,
            self._assets,
            message,
            properties,
            allow_empty=allow_empty,
            solver=rebase_with,
            tries=tries(rebase_tries),
        )

    def amend(
        self, message: str, *, metadata: Mapping[str, Any] | None = None, allow_empty: bool = False
    ) -> str:
        """Replace the newest snapshot of the branch by one that has the changes of this session too.

        The snapshot that is replaced is on no branch afterwards, and stays in storage until
        garbage is collected. Afterwards the session is a read-only view of the new snapshot.

        Parameters
        ----------
        message : str
            Replaces the message of the commit.
        metadata : dict of str to any, optional
            Replaces the properties of the commit.
        allow_empty : bool, default False
            Whether to amend without changes, to give another message.

        Returns
        -------
        str
            The id of the new snapshot.

        Raises
        ------
        ConflictError
            Kind `commit-conflict`: the branch is not at the snapshot of this session any more.
        SessionStateError
            Kind `no-amend-for-initial-commit`: the branch is at the first snapshot of the
            repository. Kind `rearrange-session-only`: the commit moved nodes, and this session
            does not. Kind `no-changes-to-commit` or `commit-not-allowed`.
        RefNotFoundError, ReadOnlyError
            As in `commit`.
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec version 1.
        """
        require_text(message=message)
        properties = commit_properties(self._state.commit_metadata, metadata)
        return amend_session(
            self._state, self._assets, message, properties, allow_empty=allow_empty
        )

    def flush(self, message: str, *, metadata: Mapping[str, Any] | None = None) -> str:
        """Write the state of this session as a snapshot without moving a branch.

        The snapshot can be read by its id, until garbage is collected, or be given a name by a
        branch or tag. Afterwards the session is a read-only view of it.

        Parameters
        ----------
        message : str
        metadata : dict of str to any, optional

        Returns
        -------
        str
            The id of the new snapshot.

        Raises
        ------
        ReadOnlyError
            Kind `read-only-session`, `read-only-repository` or `read-only-storage`.
        """
        require_text(message=message)
        properties = commit_properties(self._state.commit_metadata, metadata)
        return flush_session(self._state, self._assets, message, properties)

    def rebase(self, solver: ConflictSolver) -> None:
        """Put the changes of this session on top of the newest snapshot of its branch.

        Nothing is written. The session may stop half way: when its changes contradict a commit, it
        is based on the one before that. If the branch does not lead to the snapshot of this session
        any more, because it was reset or its tip was amended, all that differs is one step.

        Parameters
        ----------
        solver : ConflictSolver
            Decides conflicts.

        Raises
        ------
        RebaseFailedError
            Kind `rebase-failed`, with the snapshot and the conflicts.
        SessionStateError
            Kind `commit-not-allowed` for a session on no branch. Kind `rebase-tx-log-pruned`: what
            an expired snapshot changed is not known any more.
        TypeError
            `solver` is none.
        """
        require_solver(solver)
        self._state.require_branch()
        rebase_session(self._state, self._assets, solver)

    def fork(self) -> ForkSession:
        """A session of its own for a worker, to be merged back into this one.

        A fork sees what this session has now, changes included. It can be pickled, sent to another
        process, written to, and sent back; it cannot be committed. Make as many as there are workers,
        bring their changes home with `merge`, and commit once.

        A session without changes is forked without input and output. The changes of another one are
        written as a snapshot on no branch, once for all forks made before the next change.

        Returns
        -------
        ForkSession

        Raises
        ------
        SessionStateError
            Kind `cannot-fork-read-only-session`: such a session can be sent as it is.
        ReadOnlyError
            Kind `read-only-storage`. Kind `read-only-session`: a commit is under way.

        See Also
        --------
        merge : The way back.
        Session.allow_pickling : Forks sessions as they are pickled.

        Examples
        --------
        >>> import icechunk, zarr
        >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
        >>> session = repo.writable_session("main")
        >>> array = zarr.create_array(session.store, name="a", shape=(2,), chunks=(1,), dtype="i4")
        >>> forks = [session.fork() for _ in range(2)]
        >>> for number, fork in enumerate(forks):  # each in a process of its own, perhaps
        ...     zarr.open_array(fork.store, path="a")[number] = number + 1
        >>> session.merge(*forks)
        >>> array[:].tolist()
        [1, 2]
        """
        return self._new_fork(fork_session(self._state, self._assets))

    def merge(self, *others: ForkSession, duplicate_chunks: DuplicateChunks = "warn") -> None:
        """Take over the changes of forks.

        All of them or none: a merge that fails has changed nothing. Groups and arrays that several
        forks created with the same metadata become one; a merge of what contradicts fails. This session
        goes on, and so may the forks.

        Parameters
        ----------
        *others : ForkSession
            Forks of this session, or if it is a fork, others that were made with it. It does nothing
            to merge a session with itself. Better all at once than one by one.
        duplicate_chunks : {"warn", "raise", "allow"}, default "warn"
            What to do when more than one of them, or one of them and this session since it was
            forked, wrote the same chunk: the last one counts, with a `DuplicateChunkWarning` or
            without, or the merge fails. It is no matter if both recorded the same inline bytes or the
            same virtual reference. Larger chunks are not read to be compared, so they count as
            different.

        Raises
        ------
        SessionStateError
            Kind `merge-failed`: the changes contradict each other, a fork was made from another
            session, or this one was rebased since. Kind `merge-not-allowed`: a session that is no
            fork, into a fork. Kind `rearrange-session-only`.
        ReadOnlyError
            Kind `read-only-session`: also when this session was committed since, or a commit is under
            way.
        TypeError
            One of `others` is no session.
        ValueError
            `duplicate_chunks` is something else.

        See Also
        --------
        icechunk.distributed.merge_sessions : The same as a function.
        """
        merging = []
        for other in others:
            if not isinstance(other, SessionBase):
                raise TypeError(
                    f"forks can be merged, as in `session.merge(*forks)`, and not a {type(other).__name__}"
                )
            merging.append(Other(other._state, other._cache.storage))
        merge_sessions(self._state, self._cache.storage, merging, duplicate_chunks)

    def move(self, from_path: str, to_path: str) -> None:
        """Move a node, and everything below it, to another path.

        Needs a session from `Repository.rearrange_session`. Chunks stay where they are; what is
        written is as small as the hierarchy.

        Parameters
        ----------
        from_path : str
            The absolute path of a group or array.
        to_path : str
            Where it shall be, in a group that exists.

        Raises
        ------
        NodeNotFoundError
            Kind `node-not-found`: there is nothing at `from_path`.
        AlreadyExistsError
            Kind `move-wont-overwrite`: there is something at `to_path`.
        SessionStateError
            Kind `move-into-self-or-descendant`, `move-destination-parent-missing`,
            `move-destination-parent-not-group`, or `non-rearrange-session`.
        ReadOnlyError
            Kind `read-only-session`.
        InvalidInputError
            Kind `invalid-path`.
        FormatError
            Kind `unsupported-spec-version`: the repository is of spec version 1.
        """
        require_text(from_path=from_path, to_path=to_path)
        source, target = node_path(from_path), node_path(to_path)
        self._state.move_node(source, target)
