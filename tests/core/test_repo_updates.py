"""Each change of the repo object: what it does, what it writes into the ops log, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from icechunk._core import repo_updates as updates
from icechunk._core.ids import INITIAL_SNAPSHOT_ID, id_text
from icechunk._core.ops_log import Stamp
from icechunk._exceptions import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    FormatError,
    IcechunkError,
    InvalidInputError,
    ReadOnlyError,
    RefNotFoundError,
    SessionStateError,
    SnapshotNotFoundError,
)
from icechunk._format.repo import (
    Availability,
    OpsEntry,
    RepoInfo,
    RepoStatus,
    SnapshotEntry,
    UpdateKind,
    build_repo,
    decode_repo,
    encode_repo,
)

ROOT = SnapshotEntry(
    INITIAL_SNAPSHOT_ID, None, 10, "Repository initialized", {"__icechunk": {"is_root": True}}
)
A, B, C, LOST = b"a" * 12, b"\0" * 12, b"\xff" * 12, b"lost" * 3
NEW = updates.create_repo(ROOT, now_us=100)
STAMP = Stamp(1000, "repo.1")
READ_ONLY = RepoStatus(Availability.READ_ONLY, 1_700_000_000_000_000, "moving")


def child(snapshot_id: bytes, parent_id: bytes | None = INITIAL_SNAPSHOT_ID, **fields: Any) -> SnapshotEntry:
    return SnapshotEntry(snapshot_id, parent_id, 20, "a commit", **fields)


def head(info: RepoInfo) -> OpsEntry:
    return next(info.updates())


COMMITTED = updates.commit(NEW, "main", child(A), STAMP)
TAGGED = updates.create_tag(COMMITTED, "v1", A, STAMP)


class TestCreate:
    def test_state(self) -> None:
        assert list(NEW.snapshots()) == [ROOT]
        assert NEW.branches == {"main": INITIAL_SNAPSHOT_ID}
        assert (NEW.tags, NEW.deleted_tags, NEW.metadata) == ({}, frozenset(), {})
        assert NEW.status == RepoStatus(Availability.ONLINE, 100)
        assert list(NEW.updates()) == [OpsEntry(UpdateKind.REPO_INITIALIZED, 100)]
        assert (NEW.spec_version, NEW.config, NEW.enabled_flags, NEW.disabled_flags) == (2, None, None, None)

    def test_config(self) -> None:
        assert updates.create_repo(ROOT, now_us=100, config=b"config").config == b"config"


class TestSnapshots:
    def test_commit(self) -> None:
        info = updates.commit(NEW, "main", child(A, metadata={"by": "me"}), STAMP)
        assert info.branches == {"main": A}
        assert info.snapshot(A) == child(A, metadata={"by": "me"})
        assert head(info) == OpsEntry(UpdateKind.NEW_COMMIT, 1000, name="main", new_id=A)
        # The state that it came from is as it was.
        assert NEW.branches == {"main": INITIAL_SNAPSHOT_ID}
        assert NEW.snapshot(A) is None

    def test_rows_move_with_their_indices(self) -> None:
        """New ids before, between and behind the known ones; parents and refs stay what they were."""
        info = updates.create_branch(TAGGED, "dev", INITIAL_SNAPSHOT_ID, STAMP)
        info = updates.commit(info, "main", child(B, A), STAMP)
        info = updates.commit(info, "main", child(C, B), STAMP)
        info = decode_repo(encode_repo(info))
        assert info.snapshot_ids() == sorted([INITIAL_SNAPSHOT_ID, A, B, C])
        assert list(info.ancestor_ids(C)) == [C, B, A, INITIAL_SNAPSHOT_ID]
        assert info.branches == {"main": C, "dev": INITIAL_SNAPSHOT_ID}
        assert info.tags == {"v1": A}

    def test_commit_on_a_moved_branch(self) -> None:
        with pytest.raises(ConflictError) as caught:
            updates.commit(COMMITTED, "main", child(B), STAMP)
        assert caught.value.kind == ErrorKind.COMMIT_CONFLICT
        assert caught.value.expected_parent == id_text(INITIAL_SNAPSHOT_ID)
        assert caught.value.actual_parent == id_text(A)

    def test_amend_takes_the_place_of_the_tip(self) -> None:
        expired = build_repo(
            snapshots=[ROOT, child(A, pruned_ancestor_tx_logs=(B, C))],
            branches={"main": A},
            status=NEW.status,
            updates=[OpsEntry(UpdateKind.EXPIRATION_RAN, 5)],
        )
        info = updates.amend(expired, "main", child(LOST, A), A, STAMP)
        assert info.snapshot(LOST) == child(LOST, INITIAL_SNAPSHOT_ID, pruned_ancestor_tx_logs=(B, C))
        assert info.snapshot(A) is not None
        assert info.branches == {"main": LOST}
        assert head(info) == OpsEntry(
            UpdateKind.COMMIT_AMENDED, 1000, name="main", previous_id=A, new_id=LOST
        )

    def test_detached(self) -> None:
        info = updates.add_detached_snapshot(COMMITTED, child(B, A), STAMP)
        assert info.branches == {"main": A}
        assert info.snapshot(B) == child(B, A)
        assert head(info) == OpsEntry(UpdateKind.NEW_DETACHED_SNAPSHOT, 1001, new_id=B)


class TestRefs:
    def test_branches(self) -> None:
        info = updates.create_branch(COMMITTED, "dev", INITIAL_SNAPSHOT_ID, STAMP)
        assert head(info) == OpsEntry(UpdateKind.BRANCH_CREATED, 1001, name="dev")
        info = updates.reset_branch(info, "dev", A, STAMP)
        assert info.branches == {"main": A, "dev": A}
        assert head(info) == OpsEntry(
            UpdateKind.BRANCH_RESET, 1002, name="dev", previous_id=INITIAL_SNAPSHOT_ID
        )
        info = updates.delete_branch(info, "dev", STAMP)
        assert info.branches == {"main": A}
        assert head(info) == OpsEntry(UpdateKind.BRANCH_DELETED, 1003, name="dev", previous_id=A)

    def test_any_name_goes(self) -> None:
        info = NEW
        for name in ("", "a/b", "é ü", "\N{ICE CUBE}", "\0"):
            info = updates.create_branch(info, name, INITIAL_SNAPSHOT_ID, STAMP)
            info = updates.create_tag(info, name, INITIAL_SNAPSHOT_ID, STAMP)
        again = decode_repo(encode_repo(info))
        assert (again.branches, again.tags) == (info.branches, info.tags)

    def test_reset_main_with_the_right_expectation(self) -> None:
        info = updates.reset_branch(COMMITTED, "main", INITIAL_SNAPSHOT_ID, STAMP, from_snapshot_id=A)
        assert info.branches == {"main": INITIAL_SNAPSHOT_ID}

    def test_reset_with_the_wrong_expectation(self) -> None:
        with pytest.raises(ConflictError) as caught:
            updates.reset_branch(COMMITTED, "main", LOST, STAMP, from_snapshot_id=B)
        assert caught.value.kind == ErrorKind.BRANCH_UPDATE_CONFLICT
        assert (caught.value.expected_parent, caught.value.actual_parent) == (id_text(B), id_text(A))

    def test_tags(self) -> None:
        assert head(TAGGED) == OpsEntry(UpdateKind.TAG_CREATED, 1001, name="v1")
        info = updates.delete_tag(TAGGED, "v1", STAMP)
        assert info.tags == {}
        assert info.deleted_tags == {"v1"}
        assert head(info) == OpsEntry(UpdateKind.TAG_DELETED, 1002, name="v1", previous_id=A)

    def test_resolve(self) -> None:
        assert updates.resolve_branch(TAGGED, "main") == A
        assert updates.resolve_tag(TAGGED, "v1") == A


class TestSettings:
    def test_config(self) -> None:
        info = updates.set_config(NEW, b"config", STAMP)
        assert info.config == b"config"
        assert head(info) == OpsEntry(UpdateKind.CONFIG_CHANGED, 1000)

    def test_metadata(self) -> None:
        info = updates.set_metadata(NEW, {"a": {"x": 1}, "b": [1.5, None]}, STAMP)
        assert info.metadata == {"a": {"x": 1}, "b": [1.5, None]}
        assert head(info) == OpsEntry(UpdateKind.METADATA_CHANGED, 1000)
        assert updates.update_metadata(info, {"a": {"y": 2}}, STAMP).metadata == {
            "a": {"y": 2},
            "b": [1.5, None],
        }
        assert updates.set_metadata(info, {}, STAMP).metadata == {}

    def test_metadata_that_json_cannot_say(self) -> None:
        with pytest.raises(TypeError):
            updates.set_metadata(NEW, {"a": object()}, STAMP)

    def test_status(self) -> None:
        info = updates.set_status(NEW, READ_ONLY, STAMP)
        assert info.status == READ_ONLY
        assert head(info) == OpsEntry(UpdateKind.REPO_STATUS_CHANGED, 1000, status=READ_ONLY)
        assert updates.set_status(info, NEW.status, STAMP).status == NEW.status

    def test_feature_flags(self) -> None:
        """The lists come to be with the first use, and stay when they are empty again."""
        info = updates.set_feature_flag(NEW, "create_tag", False, STAMP)
        assert (info.enabled_flags, info.disabled_flags) == (None, (4,))
        assert head(info) == OpsEntry(UpdateKind.FEATURE_FLAG_CHANGED, 1000, flag_id=4, flag_value=False)
        info = updates.set_feature_flag(info, "move_node", False, STAMP)
        assert info.disabled_flags == (3, 4)
        info = updates.set_feature_flag(info, "create_tag", True, STAMP)
        assert (info.enabled_flags, info.disabled_flags) == ((4,), (3,))
        for name in ("create_tag", "move_node", "delete_tag"):
            info = updates.set_feature_flag(info, name, None, STAMP)
        assert (info.enabled_flags, info.disabled_flags) == ((), ())
        assert head(info).flag_value is None

    @pytest.mark.parametrize(("setting", "enabled"), [(None, True), (True, True), (False, False)])
    def test_feature_setting(self, setting: bool | None, enabled: bool) -> None:
        info = updates.set_feature_flag(NEW, "move_node", setting, STAMP)
        assert updates.feature_setting(info, updates.MOVE_NODE) == setting
        moved: list[Callable[[], object]] = [
            lambda: updates.commit(info, "main", child(A), STAMP, rearranged=True),
            lambda: updates.add_detached_snapshot(info, child(A), STAMP, rearranged=True),
            lambda: updates.amend(
                updates.commit(info, "main", child(A), STAMP), "main", child(B), A, STAMP, rearranged=True
            ),
        ]
        for move in moved:
            if enabled:
                move()
                continue
            with pytest.raises(SessionStateError, match="move_node") as caught:
                move()
            assert caught.value.kind == ErrorKind.FEATURE_FLAG_DISABLED


NO_TAGS = updates.set_feature_flag(TAGGED, "create_tag", False, STAMP)
NO_DELETES = updates.set_feature_flag(TAGGED, "delete_tag", False, STAMP)

REFUSED: list[tuple[str, Callable[[], object], type[IcechunkError], ErrorKind]] = [
    (
        "commit on a deleted branch",
        lambda: updates.commit(NEW, "gone", child(A), STAMP),
        RefNotFoundError,
        ErrorKind.BRANCH_NOT_FOUND,
    ),
    (
        "amend on a deleted branch",
        lambda: updates.amend(COMMITTED, "gone", child(B), A, STAMP),
        RefNotFoundError,
        ErrorKind.BRANCH_NOT_FOUND,
    ),
    (
        "commit of a known snapshot",
        lambda: updates.commit(COMMITTED, "main", child(INITIAL_SNAPSHOT_ID, A), STAMP),
        FormatError,
        ErrorKind.DUPLICATE_SNAPSHOT_ID,
    ),
    (
        "amend of what is not the tip",
        lambda: updates.amend(COMMITTED, "main", child(B), INITIAL_SNAPSHOT_ID, STAMP),
        ConflictError,
        ErrorKind.COMMIT_CONFLICT,
    ),
    (
        "amend of the first snapshot",
        lambda: updates.amend(NEW, "main", child(B), INITIAL_SNAPSHOT_ID, STAMP),
        SessionStateError,
        ErrorKind.NO_AMEND_FOR_INITIAL_COMMIT,
    ),
    (
        "detached snapshot without its parent",
        lambda: updates.add_detached_snapshot(NEW, child(A, LOST), STAMP),
        SnapshotNotFoundError,
        ErrorKind.SNAPSHOT_NOT_FOUND,
    ),
    (
        "branch at an unknown snapshot",
        lambda: updates.create_branch(NEW, "main", LOST, STAMP),
        SnapshotNotFoundError,
        ErrorKind.SNAPSHOT_NOT_FOUND,
    ),
    (
        "branch twice",
        lambda: updates.create_branch(NEW, "main", INITIAL_SNAPSHOT_ID, STAMP),
        AlreadyExistsError,
        ErrorKind.BRANCH_ALREADY_EXISTS,
    ),
    (
        "delete main",
        lambda: updates.delete_branch(updates.set_status(NEW, READ_ONLY, STAMP), "main", STAMP),
        SessionStateError,
        ErrorKind.CANNOT_DELETE_MAIN,
    ),
    (
        "delete an unknown branch",
        lambda: updates.delete_branch(NEW, "gone", STAMP),
        RefNotFoundError,
        ErrorKind.REF_NOT_FOUND,
    ),
    (
        "reset an unknown branch",
        lambda: updates.reset_branch(NEW, "gone", LOST, STAMP),
        RefNotFoundError,
        ErrorKind.REF_NOT_FOUND,
    ),
    (
        "reset an unknown branch from a snapshot",
        lambda: updates.reset_branch(NEW, "gone", LOST, STAMP, from_snapshot_id=A),
        RefNotFoundError,
        ErrorKind.BRANCH_NOT_FOUND,
    ),
    (
        "reset to an unknown snapshot",
        lambda: updates.reset_branch(NEW, "main", LOST, STAMP),
        SnapshotNotFoundError,
        ErrorKind.SNAPSHOT_NOT_FOUND,
    ),
    (
        "tag twice",
        lambda: updates.create_tag(TAGGED, "v1", A, STAMP),
        AlreadyExistsError,
        ErrorKind.TAG_ALREADY_EXISTS,
    ),
    (
        "tag of a deleted name",
        lambda: updates.create_tag(updates.delete_tag(TAGGED, "v1", STAMP), "v1", A, STAMP),
        AlreadyExistsError,
        ErrorKind.TAG_PREVIOUSLY_DELETED,
    ),
    (
        "tag of an unknown snapshot, before all else",
        lambda: updates.create_tag(NO_TAGS, "v1", LOST, STAMP),
        SnapshotNotFoundError,
        ErrorKind.SNAPSHOT_NOT_FOUND,
    ),
    (
        "tag while that is switched off",
        lambda: updates.create_tag(NO_TAGS, "v1", A, STAMP),
        SessionStateError,
        ErrorKind.FEATURE_FLAG_DISABLED,
    ),
    (
        "delete an unknown tag",
        lambda: updates.delete_tag(TAGGED, "gone", STAMP),
        RefNotFoundError,
        ErrorKind.REF_NOT_FOUND,
    ),
    (
        "delete a tag again",
        lambda: updates.delete_tag(updates.delete_tag(TAGGED, "v1", STAMP), "v1", STAMP),
        RefNotFoundError,
        ErrorKind.REF_NOT_FOUND,
    ),
    (
        "delete a tag while that is switched off",
        lambda: updates.delete_tag(NO_DELETES, "gone", STAMP),
        SessionStateError,
        ErrorKind.FEATURE_FLAG_DISABLED,
    ),
    (
        "unknown feature, before all else",
        lambda: updates.set_feature_flag(updates.set_status(NEW, READ_ONLY, STAMP), "moves", True, STAMP),
        InvalidInputError,
        ErrorKind.INVALID_FEATURE_FLAG,
    ),
    (
        "resolve an unknown tag",
        lambda: updates.resolve_tag(NEW, "gone"),
        RefNotFoundError,
        ErrorKind.REF_NOT_FOUND,
    ),
]


@pytest.mark.parametrize(
    ("change", "error", "kind"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused(change: Callable[[], object], error: type[IcechunkError], kind: ErrorKind) -> None:
    with pytest.raises(error) as caught:
        change()
    assert type(caught.value) is error
    assert caught.value.kind == kind


CHANGES: dict[str, Callable[[RepoInfo], RepoInfo]] = {
    "commit": lambda info: updates.commit(info, "main", child(B, A), STAMP),
    "amend": lambda info: updates.amend(info, "main", child(B), A, STAMP),
    "add_detached_snapshot": lambda info: updates.add_detached_snapshot(info, child(B), STAMP),
    "create_branch": lambda info: updates.create_branch(info, "dev", A, STAMP),
    "delete_branch": lambda info: updates.delete_branch(info, "old", STAMP),
    "reset_branch": lambda info: updates.reset_branch(info, "main", A, STAMP),
    "create_tag": lambda info: updates.create_tag(info, "v2", A, STAMP),
    "delete_tag": lambda info: updates.delete_tag(info, "v1", STAMP),
    "set_config": lambda info: updates.set_config(info, b"", STAMP),
    "set_metadata": lambda info: updates.set_metadata(info, {}, STAMP),
    "update_metadata": lambda info: updates.update_metadata(info, {}, STAMP),
    "set_feature_flag": lambda info: updates.set_feature_flag(info, "move_node", None, STAMP),
}


class TestReadOnlyRepository:
    online = updates.create_branch(TAGGED, "old", A, STAMP)
    closed = updates.set_status(online, READ_ONLY, STAMP)

    @pytest.mark.parametrize("name", CHANGES)
    def test_every_change_is_refused(self, name: str) -> None:
        CHANGES[name](self.online)
        with pytest.raises(ReadOnlyError) as caught:
            CHANGES[name](self.closed)
        assert caught.value.kind == ErrorKind.READ_ONLY_REPOSITORY
        assert re.search(r"since 2023-11-14T22:13:20\+00:00 \(moving\)", caught.value.message)

    def test_without_a_reason(self) -> None:
        closed = updates.set_status(NEW, RepoStatus(Availability.READ_ONLY, 0), STAMP)
        with pytest.raises(ReadOnlyError, match=r"since 1970-01-01T00:00:00\+00:00;"):
            updates.set_config(closed, b"", STAMP)

    def test_offline_counts_as_online(self) -> None:
        updates.set_config(
            updates.set_status(NEW, RepoStatus(Availability.OFFLINE, 0), STAMP), b"config", STAMP
        )


class TestOpsLog:
    @pytest.mark.parametrize("name", CHANGES)
    def test_one_entry_for_each_change(self, name: str) -> None:
        info = TestReadOnlyRepository.online
        before, after = list(info.updates()), list(CHANGES[name](info).updates())
        assert after[0].backup_path is None
        assert after[1:] == [msgspec.structs.replace(before[0], backup_path="repo.1"), *before[1:]]

    @pytest.mark.parametrize("now", [0, 99, 100, 101])
    def test_time_never_stands_still(self, now: int) -> None:
        info = updates.set_config(NEW, b"", Stamp(now, "repo.1"))
        assert head(info).updated_at == 101
        assert head(updates.set_config(info, b"", Stamp(now, "repo.2"))).updated_at == 102

    def test_overflow(self) -> None:
        info = NEW
        for number in range(5):
            info = updates.set_config(info, b"", Stamp(1000 + number, f"repo.{number}", 2))
        assert [(entry.updated_at, entry.backup_path) for entry in info.updates()] == [
            (1004, None),
            (1003, "repo.4"),
        ]
        # The entry of 1002 was the head of the object that went there.
        assert info.repo_before_updates == "repo.3"
        more = updates.set_config(info, b"", Stamp(2000, "repo.9", 10))
        assert len(list(more.updates())) == 3
        assert more.repo_before_updates == "repo.3"

    def test_a_smaller_limit_cuts_at_once(self) -> None:
        info = NEW
        for number in range(5):
            info = updates.set_config(info, b"", Stamp(1000 + number, f"repo.{number}"))
        info = updates.set_config(info, b"", Stamp(2000, "repo.9", 2))
        assert len(list(info.updates())) == 2
        assert info.repo_before_updates == "repo.4"

    def test_entries_without_backup_are_never_cut_off(self) -> None:
        """A migration makes up entries that no backup holds."""
        migrated = build_repo(
            snapshots=[ROOT],
            branches={"main": INITIAL_SNAPSHOT_ID},
            status=NEW.status,
            updates=[
                OpsEntry(UpdateKind.REPO_MIGRATED, 9, from_version=1, to_version=2),
                OpsEntry(UpdateKind.TAG_CREATED, 8, name="t"),
                OpsEntry(UpdateKind.REPO_INITIALIZED, 7),
            ],
        )
        info = updates.set_config(migrated, b"", Stamp(1000, "repo.1", 1))
        # The head of the migrated object has a backup now, and is the first place to cut.
        assert [entry.kind for entry in info.updates()] == [UpdateKind.CONFIG_CHANGED]
        assert info.repo_before_updates == "repo.1"
        info = updates.set_config(migrated, b"", Stamp(1000, "repo.1", 2))
        assert len(list(info.updates())) == 4
        assert info.repo_before_updates is None


names = st.sampled_from(["main", "dev", "", "é/1"])
picks = st.integers(0, 10**6)


class RepositoryHistory(RuleBasedStateMachine):
    """Random changes, beside a model in plain Python."""

    @initialize(limit=st.integers(1, 4))
    def create(self, limit: int) -> None:
        self.limit = limit
        self.info = NEW
        self.backups: dict[str, RepoInfo] = {}
        self.log = [UpdateKind.REPO_INITIALIZED]
        self.parents: dict[bytes, bytes | None] = {INITIAL_SNAPSHOT_ID: None}
        self.branches = {"main": INITIAL_SNAPSHOT_ID}
        self.tags: dict[str, bytes] = {}
        self.deleted: set[str] = set()

    def pick(self, number: int) -> bytes:
        return sorted(self.parents)[number % len(self.parents)]

    def apply(self, kind: UpdateKind, change: Callable[..., RepoInfo], *arguments: Any) -> bool:
        """Try a change; the number of entries makes the clock, which sometimes stands still."""
        backup = f"repo.{len(self.backups)}"
        try:
            changed = change(self.info, *arguments, Stamp(1000 + len(self.log) // 3, backup, self.limit))
        except IcechunkError:
            return False
        self.backups[backup] = self.info
        self.info = changed
        self.log.insert(0, kind)
        return True

    @rule(branch=names, snapshot_id=st.binary(min_size=12, max_size=12))
    def commit(self, branch: str, snapshot_id: bytes) -> None:
        parent = self.branches.get(branch, INITIAL_SNAPSHOT_ID)
        entry = child(snapshot_id, parent, metadata={"k": len(self.log)})
        worked = self.apply(UpdateKind.NEW_COMMIT, updates.commit, branch, entry)
        assert worked == (branch in self.branches and snapshot_id not in self.parents)
        if worked:
            self.parents[snapshot_id] = parent
            self.branches[branch] = snapshot_id

    @rule(branch=names, snapshot_id=st.binary(min_size=12, max_size=12))
    def amend(self, branch: str, snapshot_id: bytes) -> None:
        tip = self.branches.get(branch, INITIAL_SNAPSHOT_ID)
        worked = self.apply(UpdateKind.COMMIT_AMENDED, updates.amend, branch, child(snapshot_id), tip)
        assert worked == (tip != INITIAL_SNAPSHOT_ID and snapshot_id not in self.parents)
        if worked:
            self.parents[snapshot_id] = self.parents[tip]
            self.branches[branch] = snapshot_id

    @rule(name=names, number=picks)
    def create_branch(self, name: str, number: int) -> None:
        worked = self.apply(UpdateKind.BRANCH_CREATED, updates.create_branch, name, self.pick(number))
        assert worked == (name not in self.branches)
        if worked:
            self.branches[name] = self.pick(number)

    @rule(name=names)
    def delete_branch(self, name: str) -> None:
        worked = self.apply(UpdateKind.BRANCH_DELETED, updates.delete_branch, name)
        assert worked == (name != "main" and name in self.branches)
        if worked:
            del self.branches[name]

    @rule(name=names, number=picks)
    def reset_branch(self, name: str, number: int) -> None:
        worked = self.apply(UpdateKind.BRANCH_RESET, updates.reset_branch, name, self.pick(number))
        assert worked == (name in self.branches)
        if worked:
            self.branches[name] = self.pick(number)

    @rule(name=names, number=picks)
    def create_tag(self, name: str, number: int) -> None:
        worked = self.apply(UpdateKind.TAG_CREATED, updates.create_tag, name, self.pick(number))
        assert worked == (name not in self.tags and name not in self.deleted)
        if worked:
            self.tags[name] = self.pick(number)

    @rule(name=names)
    def delete_tag(self, name: str) -> None:
        worked = self.apply(UpdateKind.TAG_DELETED, updates.delete_tag, name)
        assert worked == (name in self.tags)
        if worked:
            del self.tags[name]
            self.deleted.add(name)

    @rule()
    def through_the_file(self) -> None:
        self.info = decode_repo(encode_repo(self.info))

    @invariant()
    def state(self) -> None:
        assert self.info.branches == self.branches
        assert self.info.tags == self.tags
        assert self.info.deleted_tags == self.deleted
        assert self.info.snapshot_ids() == sorted(self.parents)
        assert {entry.id: entry.parent_id for entry in self.info.snapshots()} == self.parents

    @invariant()
    def log_is_whole(self) -> None:
        """Limits hold, times fall strictly, and the backups lead to every entry."""
        assert len(self.info.update_rows) <= self.limit
        info, entries = self.info, list(self.info.updates())
        while info.repo_before_updates is not None:
            info = self.backups[info.repo_before_updates]
            entries += info.updates()
        assert [entry.kind for entry in entries] == self.log
        moments = [entry.updated_at for entry in entries]
        assert moments == sorted(set(moments), reverse=True)


RepositoryHistory.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestRepositoryHistory = RepositoryHistory.TestCase
