"""One implementation with one repository, taking the steps of a history.

A `Side` keeps the sessions that steps opened and which id stands behind which label, and tells what came of
each step in words that another side can be compared with: ids are translated back into labels, times are only
looked at in their order.
"""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING, Any

from zarr.core.buffer import default_buffer_prototype

from tests.compat import describe
from tests.compat.histories import INLINE_THRESHOLD, MALFORMED, ROOT, UNKNOWN, chunk_key, document_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.compat.histories import Arguments, Step

    Answer = dict[str, Any]
    State = dict[str, Any]
    Refs = dict[str, Any]

ROOT_ID = "1CECHNKREP0F1RSTCMT0"
NO_IDS = {UNKNOWN: "ZZZZZZZZZZZZZZZZZZZG", MALFORMED: "abc"}
_PROTOTYPE = default_buffer_prototype()


class NotThere(Exception):
    """A step is about a session or a snapshot that no step before it made."""


class Side:
    """An implementation at work on a repository.

    Parameters
    ----------
    ic : module
        The implementation.
    path : Path
        Where the repository is, or will be.
    runner : asyncio.Runner
        The loop in which coroutines run.
    """

    def __init__(self, ic: Any, path: Path, runner: asyncio.Runner) -> None:
        self.ic = ic
        self.path = path
        self.runner = runner
        self.repository: Any = None
        self.ids: dict[str, str] = dict(NO_IDS)
        self.labels: dict[str, str] = {}
        self.made: list[str] = []
        self.sessions: dict[str, Any] = {}
        self.states: dict[str, State] = {}
        self.refs: dict[str, Any] = {}
        self._contents: dict[str, dict[str, str]] = {}
        self._blocking = True

    # Steps

    def create(self, spec_version: int, *, updates_per_file: int, split: bool) -> None:
        """Make the repository."""
        config = configuration(self.ic, updates_per_file=updates_per_file, split=split)
        storage = self.ic.local_filesystem_storage(str(self.path))
        self.repository = self.ic.Repository.create(storage, config=config, spec_version=spec_version)
        self.name(ROOT, ROOT_ID)
        self.refs = self.read_refs()

    def name(self, label: str, snapshot_id: str) -> None:
        """Remember a snapshot under a label."""
        self.ids[label] = snapshot_id
        self.labels[snapshot_id] = label
        self.made.append(label)

    def take(self, step: Step) -> Answer:
        """Do something and tell what came of it."""
        arguments = dict(step.arguments)
        self._blocking = arguments.pop("blocking", True)
        answer: Answer = {}
        try:
            value = _VERBS[step.verb](self, step, arguments)
            answer["outcome"] = ["returned", self.plain(value)]
        except NotThere:
            return {"outcome": ["skipped"]}
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the error is the answer; a panic of the official one is no Exception
            answer["outcome"] = ["raised", *self.error(error)]
        label = self.session_label(step)
        if label in self.sessions:
            answer["session"] = self.states[label] = self.look(self.sessions[label])
        if step.verb in CHANGING:
            answer["refs"] = self.refs = self.read_refs()
        return answer

    def session_label(self, step: Step) -> str:
        """The session that a step is about."""
        return str(step.arguments.get("session", f"s{step.number}"))

    def forget(self, label: str) -> None:
        """Let go of a session."""
        self.sessions.pop(label, None)
        self.states.pop(label, None)

    # Looking

    def look(self, session: Any) -> State:
        """All that is to be seen of a session."""
        content = self.runner.run(read_content(session.store))
        return {
            "snapshot": self.plain(session.snapshot_id),
            "branch": session.branch,
            "mode": _word(session.mode),
            "read_only": session.read_only,
            "dirty": session.has_uncommitted_changes,
            "status": _status(session),
            "content": content,
        }

    def content_of(self, label: str) -> dict[str, str]:
        """Documents and chunks of a snapshot."""
        found = self._contents.get(label)
        if found is None:
            session = self.repository.readonly_session(snapshot_id=self.ids[label])
            found = self._contents[label] = self.runner.run(read_content(session.store))
        return found

    def is_same(self, one: str, other: str, path: str) -> bool:
        """Whether there is the same node at a path in two snapshots."""
        sessions = [self.repository.readonly_session(snapshot_id=self.ids[label]) for label in (one, other)]
        try:
            return len({session.get_node_id(path) for session in sessions}) == 1
        except self.ic.NodeNotFoundError:
            return False

    def read_refs(self) -> dict[str, Any]:
        """Every branch with its history, newest first, and every tag."""
        repository = self.repository
        branches = {}
        for name in sorted(repository.list_branches()):
            history = list(repository.ancestry(branch=name))
            assert history[0].id == repository.lookup_branch(name)
            moments = [info.written_at for info in history]
            assert moments == sorted(set(moments), reverse=True), "times do not increase"
            branches[name] = [self.plain(info) for info in history]
        tags = {name: self.plain(repository.lookup_tag(name)) for name in sorted(repository.list_tags())}
        return {"branches": branches, "tags": tags}

    def plain(self, value: Any) -> Any:
        """A value in words that sides share."""
        if isinstance(value, str):
            return self.labels.get(value, value)
        if isinstance(value, dict):
            return {key: self.plain(member) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(member) for member in value]
        kind = type(value).__name__
        if kind == "SnapshotInfo":
            return [self.plain(value.id), self.plain(value.parent_id), value.message, value.metadata]
        if kind == "Diff":
            return describe.diff_of(value)
        return value

    def error(self, error: BaseException) -> list[Any]:
        """An error in words that sides share."""
        told: list[Any] = describe.error_of(error)
        if isinstance(error, self.ic.RebaseFailedError):
            conflicts = [
                [repr(each.conflict_type), each.path, _listed(each.conflicted_chunks)]
                for each in error.conflicts
            ]
            told += [self.plain(error.snapshot), sorted(conflicts, key=str)]
        elif isinstance(error, self.ic.ConflictError):
            told += [self.plain(error.expected_parent), self.plain(error.actual_parent)]
        return told

    # Calling

    def call(self, owner: Any, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a verb in the spelling of the step."""
        if self._blocking:
            return getattr(owner, name)(*arguments, **options)

        async def called() -> Any:
            return await getattr(owner, f"{name}_async")(*arguments, **options)

        return self.runner.run(called())

    def session(self, arguments: Arguments) -> Any:
        """The session that arguments name."""
        label = arguments["session"]
        if label not in self.sessions:
            raise NotThere
        return self.sessions[label]

    def id(self, label: str) -> str:
        """The snapshot behind a label."""
        if label not in self.ids:
            raise NotThere
        return self.ids[label]

    def selector(self, arguments: Arguments, prefix: str = "") -> dict[str, Any]:
        """Keyword arguments that select a branch, a tag or a snapshot."""
        selected: dict[str, Any] = {name: arguments[name] for name in ("branch", "tag") if name in arguments}
        if "snapshot" in arguments:
            selected["snapshot_id"] = self.id(arguments["snapshot"])
        return {prefix + name: value for name, value in selected.items()}

    def solver(self, told: Any) -> Any:
        """A conflict solver from its description."""
        if told is None:
            return None
        if told == "detector":
            return self.ic.ConflictDetector()
        options = dict(told)
        if "on_chunk_conflict" in options:
            options["on_chunk_conflict"] = getattr(self.ic.VersionSelection, options["on_chunk_conflict"])
        return self.ic.BasicConflictSolver(**options)

    def put(self, session: Any, key: str, value: str) -> None:
        """Set a key of a session's store."""
        self.runner.run(session.store.set(key, _PROTOTYPE.buffer.from_bytes(value.encode())))


def configuration(ic: Any, *, updates_per_file: int, split: bool) -> Any:
    """A configuration under which short histories meet what long ones do."""
    config = ic.RepositoryConfig.default()
    config.inline_chunk_threshold_bytes = INLINE_THRESHOLD
    config.num_updates_per_repo_info_file = updates_per_file
    if split:
        condition, axis = ic.ManifestSplitCondition, ic.ManifestSplitDimCondition
        config.manifest = ic.ManifestConfig(
            splitting=ic.ManifestSplittingConfig.from_dict(
                {condition.name_matches("^a$"): {axis.Axis(0): 1}, condition.AnyArray(): {axis.Any(): 2}}
            )
        )
    return config


async def read_content(store: Any) -> dict[str, str]:
    """The value of every key that a store lists and that has one, by key.

    Chunks outside of a grid that became smaller are listed until the commit.
    """
    try:
        keys = sorted({key async for key in store.list_prefix("")})
    except Exception as error:  # the error is the content
        return {"error": str(describe.error_of(error))}
    values = await asyncio.gather(*(_value(store, key) for key in keys))
    return {key: value for key, value in zip(keys, values, strict=True) if value is not None}


async def _value(store: Any, key: str) -> str | None:
    try:
        value = await store.get(key, _PROTOTYPE)
    except Exception as error:  # the error is the value
        return str(describe.error_of(error))
    return None if value is None else str(value.to_bytes().decode())


def _status(session: Any) -> dict[str, Any]:
    try:
        return describe.diff_of(session.status())
    except Exception as error:  # the error is the status
        return {**describe.NO_CHANGES, "error": describe.error_of(error)}


def _word(value: Any) -> str:
    """The name of a member of an enumeration, which the two implementations make differently."""
    return str(value).rpartition(".")[2].lower()


def _listed(chunks: Any) -> list[list[int]] | None:
    return None if chunks is None else sorted(list(coordinates) for coordinates in chunks)


# Verbs of a repository


def _open_writable(side: Side, step: Step, arguments: Arguments) -> None:
    side.sessions[f"s{step.number}"] = side.call(side.repository, "writable_session", arguments["branch"])


def _open_rearrange(side: Side, step: Step, arguments: Arguments) -> None:
    side.sessions[f"s{step.number}"] = side.call(side.repository, "rearrange_session", arguments["branch"])


def _open_readonly(side: Side, step: Step, arguments: Arguments) -> None:
    selected = side.selector(arguments)
    if "as_of" in arguments:
        info = side.repository.lookup_snapshot(side.id(arguments["as_of"]["snapshot"]))
        selected["as_of"] = info.written_at + datetime.timedelta(microseconds=arguments["as_of"]["us"])
    side.sessions[f"s{step.number}"] = side.call(side.repository, "readonly_session", **selected)


def _close(side: Side, step: Step, arguments: Arguments) -> None:
    del step
    side.session(arguments)
    side.forget(arguments["session"])


def _create_branch(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    return side.call(side.repository, "create_branch", arguments["branch"], side.id(arguments["snapshot"]))


def _delete_branch(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    return side.call(side.repository, "delete_branch", arguments["branch"])


def _reset_branch(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    options = {}
    if "from_snapshot" in arguments:
        options["from_snapshot_id"] = side.id(arguments["from_snapshot"])
    target = side.id(arguments["snapshot"])
    return side.call(side.repository, "reset_branch", arguments["branch"], target, **options)


def _create_tag(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    return side.call(side.repository, "create_tag", arguments["tag"], side.id(arguments["snapshot"]))


def _delete_tag(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    return side.call(side.repository, "delete_tag", arguments["tag"])


def _set_metadata(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    side.call(side.repository, "set_metadata", arguments["metadata"])
    return side.call(side.repository, "get_metadata")


def _update_metadata(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    merged = side.call(side.repository, "update_metadata", arguments["metadata"])
    return [merged, side.call(side.repository, "get_metadata")]


def _set_default_commit_metadata(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    side.repository.set_default_commit_metadata(arguments["metadata"])
    return side.repository.default_commit_metadata()


def _diff(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    ends = side.selector(arguments["from"], "from_") | side.selector(arguments["to"], "to_")
    return side.call(side.repository, "diff", **ends)


def _ancestry(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    return list(side.repository.ancestry(**side.selector(arguments)))


def _lookup_snapshot(side: Side, step: Step, arguments: Arguments) -> Any:
    del step
    return side.call(side.repository, "lookup_snapshot", side.id(arguments["snapshot"]))


def _ops_log(side: Side, step: Step, arguments: Arguments) -> Any:
    del step, arguments
    return side.plain(operations(side.repository))


def operations(repository: Any) -> list[list[Any]]:
    """Kind and members of each operation, newest first."""
    updates = describe.updates_of(repository)
    moments = [update["updated_at"] for update in updates]
    assert moments == sorted(set(moments), reverse=True), "times do not increase"
    return [[update["kind"], update["of"], update["backup_path"] is None] for update in updates]


def _reopen(side: Side, step: Step, arguments: Arguments) -> None:
    """Open the repository anew; sessions of the old object go on."""
    del step, arguments
    storage = side.ic.local_filesystem_storage(str(side.path))
    side.repository = side.call(side.ic.Repository, "open", storage)


# Verbs of sessions


def _set_document(side: Side, step: Step, arguments: Arguments) -> None:
    del step
    side.put(side.session(arguments), document_key(arguments["path"]), arguments["document"])


def _write_chunk(side: Side, step: Step, arguments: Arguments) -> None:
    del step
    key = chunk_key(arguments["path"], arguments["coordinates"])
    side.put(side.session(arguments), key, arguments["payload"])


def _delete_chunk(side: Side, step: Step, arguments: Arguments) -> None:
    del step
    side.runner.run(side.session(arguments).store.delete(arguments["key"]))


def _delete_node(side: Side, step: Step, arguments: Arguments) -> None:
    del step
    store = side.session(arguments).store
    if arguments["whole"]:
        side.runner.run(store.delete_dir(arguments["path"]))
    else:
        side.runner.run(store.delete(document_key(arguments["path"])))


def _recreate(side: Side, step: Step, arguments: Arguments) -> None:
    del step
    session, key = side.session(arguments), document_key(arguments["path"])
    side.runner.run(session.store.delete(key))
    side.put(session, key, arguments["document"])


def _move(side: Side, step: Step, arguments: Arguments) -> None:
    del step
    session = side.session(arguments)
    side.call(session, "move", f"/{arguments['from']}", f"/{arguments['to']}")


def _discard(side: Side, step: Step, arguments: Arguments) -> None:
    del step
    side.session(arguments).discard_changes()


def _ended(side: Side, step: Step, snapshot_id: str) -> list[Any]:
    """Name a new snapshot; tell what the history says of it, and what differs from its parent."""
    side.name(f"c{step.number}", snapshot_id)
    info = side.repository.lookup_snapshot(snapshot_id)
    diff = side.repository.diff(from_snapshot_id=info.parent_id, to_snapshot_id=snapshot_id)
    return [snapshot_id, side.plain(info), diff]


def _commit(side: Side, step: Step, arguments: Arguments) -> Any:
    options = {"allow_empty": arguments["allow_empty"]}
    if "rebase_with" in arguments:
        options["rebase_with"] = side.solver(arguments["rebase_with"])
        options["rebase_tries"] = arguments["rebase_tries"]
    session = side.session(arguments)
    made = side.call(session, "commit", arguments["message"], arguments["metadata"], **options)
    return _ended(side, step, made)


def _amend(side: Side, step: Step, arguments: Arguments) -> Any:
    session = side.session(arguments)
    options = {"metadata": arguments["metadata"], "allow_empty": arguments["allow_empty"]}
    return _ended(side, step, side.call(session, "amend", arguments["message"], **options))


def _flush(side: Side, step: Step, arguments: Arguments) -> Any:
    session = side.session(arguments)
    made = side.call(session, "flush", arguments["message"], metadata=arguments["metadata"])
    return _ended(side, step, made)


def _rebase(side: Side, step: Step, arguments: Arguments) -> None:
    del step
    session = side.session(arguments)
    side.call(session, "rebase", side.solver(arguments["solver"]))


_VERBS: dict[str, Callable[[Side, Step, Arguments], Any]] = {
    "open_writable": _open_writable,
    "open_rearrange": _open_rearrange,
    "open_readonly": _open_readonly,
    "close": _close,
    "create_branch": _create_branch,
    "delete_branch": _delete_branch,
    "reset_branch": _reset_branch,
    "create_tag": _create_tag,
    "delete_tag": _delete_tag,
    "set_metadata": _set_metadata,
    "update_metadata": _update_metadata,
    "set_default_commit_metadata": _set_default_commit_metadata,
    "diff": _diff,
    "ancestry": _ancestry,
    "lookup_snapshot": _lookup_snapshot,
    "ops_log": _ops_log,
    "reopen": _reopen,
    "create_group": _set_document,
    "create_array": _set_document,
    "update_attributes": _set_document,
    "resize": _set_document,
    "write_chunk": _write_chunk,
    "delete_chunk": _delete_chunk,
    "delete_node": _delete_node,
    "recreate": _recreate,
    "move": _move,
    "discard": _discard,
    "commit": _commit,
    "amend": _amend,
    "flush": _flush,
    "rebase": _rebase,
}

CHANGING = frozenset(
    {
        *("create_branch", "delete_branch", "reset_branch", "create_tag", "delete_tag"),
        *("commit", "amend", "flush", "reopen"),
    }
)
"""Verbs after which branches and tags are looked at."""
