# Generated from tests/_async/test_administration.py by tools/make_sync.py; edit that file.
"""What holds for all of a repository: metadata, status, feature flags, and the log of operations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import icechunk
from icechunk import (
    FormatError,
    InvalidInputError,
    ReadOnlyError,
    RepoAvailability,
    Repository,
    RepositoryConfig,
    RepoStatus,
    SessionStateError,
    UpdateType,
)
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array

INITIAL = "1CECHNKREP0F1RSTCMT0"
READ_ONLY = RepoStatus(RepoAvailability.read_only, limited_availability_reason="moving house")
ONLINE = RepoStatus(RepoAvailability.online)


def mutations(repo: Repository, session: icechunk.Session, tip: str) -> dict[str, Any]:
    """Every change of a repository, as functions without arguments by name."""

    def create_branch() -> None:
        repo.create_branch("new", tip)

    def reset_branch() -> None:
        repo.reset_branch("dev", INITIAL)

    def delete_branch() -> None:
        repo.delete_branch("dev")

    def create_tag() -> None:
        repo.create_tag("new", tip)

    def delete_tag() -> None:
        repo.delete_tag("v1")

    def commit() -> None:
        session.commit("something")

    def amend() -> None:
        session.amend("something else")

    def flush() -> None:
        session.flush("something")

    def rearrange_session() -> None:
        repo.rearrange_session("main")

    def writable_session() -> None:
        repo.writable_session("main")

    def set_metadata() -> None:
        repo.set_metadata({"a": 1})

    def update_metadata() -> None:
        repo.update_metadata({"a": 1})

    def set_feature_flag() -> None:
        repo.set_feature_flag("create_tag", True)

    return {
        "create_branch": create_branch,
        "reset_branch": reset_branch,
        "delete_branch": delete_branch,
        "create_tag": create_tag,
        "delete_tag": delete_tag,
        "amend": amend,
        "flush": flush,
        "commit": commit,
        "rearrange_session": rearrange_session,
        "writable_session": writable_session,
        "save_config": repo.save_config,
        "set_metadata": set_metadata,
        "update_metadata": update_metadata,
        "set_feature_flag": set_feature_flag,
    }


def prepared(repo: Repository) -> tuple[icechunk.Session, str]:
    """A commit, a branch, a tag, and a session with something to commit."""
    session = repo.writable_session("main")
    tip = session.commit("first", allow_empty=True)
    repo.create_branch("dev", tip)
    repo.create_tag("v1", tip)
    session = repo.writable_session("main")
    create_array(session, "a", (2,))
    return session, tip


def test_metadata_is_replaced_or_laid_over(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage)
    assert repo.get_metadata() == {}
    repo.set_metadata({"owner": {"name": "me", "since": 2020}, "factor": 0.5, "tags": [1, None]})
    other = Repository.open(storage)
    assert other.get_metadata() == {
        "owner": {"name": "me", "since": 2020},
        "factor": 0.5,
        "tags": [1, None],
    }
    # Key by key at the top level: what is nested is replaced as a whole.
    updated = other.update_metadata({"owner": {"name": "you"}, "new": True})
    assert updated == {"owner": {"name": "you"}, "factor": 0.5, "tags": [1, None], "new": True}
    assert repo.get_metadata() == repo.metadata == updated
    repo.set_metadata({})
    assert other.get_metadata() == {}


@pytest.mark.parametrize("metadata", [{"a": object()}, {1: 2}, None, ["a"]])
def test_metadata_that_is_not_json_is_refused(metadata: Any) -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    for verb in (repo.set_metadata, repo.update_metadata):
        with pytest.raises(TypeError):
            verb(metadata)
    assert repo.get_metadata() == {}


def test_status_says_what_when_and_why(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage)
    created = repo.get_status()
    assert created.availability is RepoAvailability.online
    assert abs(datetime.now(UTC) - created.set_at) < timedelta(minutes=1)
    repo.set_status(READ_ONLY)
    other = Repository.open(storage)
    assert other.get_status() == repo.status == READ_ONLY
    east = datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC)
    other.set_status(RepoStatus(RepoAvailability.online, east, None))
    assert repo.get_status() == RepoStatus(RepoAvailability.online, east)


def test_a_status_is_checked_before_it_is_stored() -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    with pytest.raises(TypeError, match="RepoStatus"):
        repo.set_status("read_only")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match="1970"):
        repo.set_status(RepoStatus(RepoAvailability.online, datetime(1960, 1, 1, tzinfo=UTC)))
    assert len([update for update in repo.ops_log()]) == 1


def test_a_read_only_repository_refuses_every_change_but_of_its_status(
    storage: icechunk.Storage,
) -> None:
    """The status is looked at before each change, of whoever opened the repository before or since."""
    early = Repository.create(storage)
    session, tip = prepared(early)
    before = [update for update in early.ops_log()]
    (Repository.open(storage)).set_status(READ_ONLY)
    for repo in (early, Repository.open(storage)):
        changes = mutations(repo, session, tip)
        for name, change in changes.items():
            with pytest.raises(ReadOnlyError, match="moving house") as refused:
                change()
            assert refused.value.kind == "read-only-repository", name
        # Reading goes on.
        repo.readonly_session("main")
        assert repo.list_tags() == {"v1"}
    assert len([update for update in early.ops_log()]) == len(before) + 1
    assert session.has_uncommitted_changes
    early.set_status(ONLINE)
    changes = mutations(early, session, tip)
    for name, change in changes.items():
        if name not in ("amend", "flush"):  # a session ends with its commit
            change()


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_storage_that_cannot_be_written_to_is_refused_before_anything_is_written(
    spec_version: int,
) -> None:
    """A reader's credentials get a clear error at once, not an answer of the service half way through."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = Repository.create(storage, spec_version=spec_version)
    session, tip = prepared(repo)
    faults.clear()
    faults.can_write = False
    changes = mutations(repo, session, tip)
    if spec_version == 1:
        for name in ("set_metadata", "update_metadata", "set_feature_flag", "amend", "rearrange_session"):
            del changes[name]

    def set_status() -> None:
        repo.set_status(READ_ONLY)

    if spec_version == 2:
        changes["set_status"] = set_status
    for name, change in changes.items():
        with pytest.raises(ReadOnlyError) as refused:
            change()
        assert refused.value.kind == "read-only-storage", name
    with pytest.raises(ReadOnlyError) as created:
        Repository.create(storage)
    assert created.value.kind == "read-only-storage"
    writing = ("put", "put_conditional", "copy", "delete_many")
    assert not [call for call in faults.calls if call.operation in writing]
    repo.readonly_session("main")


def test_feature_flags_are_switched_and_returned_to_their_default(
    storage: icechunk.Storage,
) -> None:
    repo = Repository.create(storage)
    names = ["move_node", "create_tag", "delete_tag"]
    assert [(flag.id, flag.name) for flag in repo.feature_flags()] == [
        (3, "move_node"),
        (4, "create_tag"),
        (5, "delete_tag"),
    ]
    assert all(
        flag.default_enabled and flag.enabled and flag.setting is None
        for flag in repo.feature_flags()
    )
    assert repo.disabled_feature_flags() == []
    other = Repository.open(storage)
    for setting, enabled in ((False, False), (True, True), (False, False), (None, True)):
        repo.set_feature_flag("create_tag", setting)
        flags = {flag.name: flag for flag in other.feature_flags()}
        assert (flags["create_tag"].setting, flags["create_tag"].enabled) == (setting, enabled)
        on = [flag.name for flag in other.enabled_feature_flags()]
        off = [flag.name for flag in other.disabled_feature_flags()]
        assert on == [name for name in names if enabled or name != "create_tag"]
        assert off == ([] if enabled else ["create_tag"])
    newest = [update.kind for update in repo.ops_log()][:4]
    assert newest == [UpdateType.FeatureFlagChanged(4, value) for value in (None, False, True, False)]


def test_what_is_switched_off_is_refused(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage)
    repo.create_tag("v1", INITIAL)
    repo.set_feature_flag("create_tag", False)
    with pytest.raises(SessionStateError, match="create_tag") as create:
        repo.create_tag("v2", INITIAL)
    assert create.value.kind == "feature-flag-disabled"
    repo.set_feature_flag("delete_tag", False)
    with pytest.raises(SessionStateError, match="delete_tag") as delete:
        repo.delete_tag("v1")
    assert delete.value.kind == "feature-flag-disabled"
    repo.set_feature_flag("create_tag", None)
    repo.set_feature_flag("delete_tag", True)
    repo.create_tag("v2", INITIAL)
    repo.delete_tag("v1")
    assert repo.list_tags() == {"v2"}


def test_a_feature_that_does_not_exist_is_named() -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    with pytest.raises(InvalidInputError, match=r"`fly`.*`move_node`") as unknown:
        repo.set_feature_flag("fly", True)
    assert unknown.value.kind == "invalid-feature-flag"
    with pytest.raises(TypeError, match="setting"):
        repo.set_feature_flag("create_tag", 1)  # type: ignore[arg-type]  # on purpose


def test_repositories_of_spec_1_have_none_of_it(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage, spec_version=1)

    def read_log() -> None:
        [update for update in repo.ops_log()]

    def set_metadata() -> None:
        repo.set_metadata({})

    def update_metadata() -> None:
        repo.update_metadata({})

    def set_status() -> None:
        repo.set_status(READ_ONLY)

    def set_feature_flag() -> None:
        repo.set_feature_flag("create_tag", False)

    verbs: list[Any] = [
        repo.get_metadata,
        repo.get_status,
        repo.feature_flags,
        repo.enabled_feature_flags,
        repo.disabled_feature_flags,
        read_log,
        set_metadata,
        update_metadata,
        set_status,
        set_feature_flag,
    ]
    for verb in verbs:
        with pytest.raises(FormatError, match="version 1") as refused:
            verb()
        assert refused.value.kind == "unsupported-spec-version"


def test_the_log_has_one_entry_for_each_operation(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage)
    session, tip = prepared(repo)
    commit = session.commit("something")
    repo.reset_branch("dev", commit)
    repo.delete_branch("dev")
    repo.delete_tag("v1")
    repo.save_config()
    repo.set_metadata({"a": 1})
    repo.set_status(READ_ONLY)
    updates = [update for update in repo.ops_log()]
    assert [update.kind for update in updates] == [
        UpdateType.RepoStatusChanged(READ_ONLY),
        UpdateType.MetadataChanged(),
        UpdateType.ConfigChanged(),
        UpdateType.TagDeleted("v1", tip),
        UpdateType.BranchDeleted("dev", commit),
        UpdateType.BranchReset("dev", tip),
        UpdateType.NewCommit("main", commit),
        UpdateType.TagCreated("v1"),
        UpdateType.BranchCreated("dev"),
        UpdateType.NewCommit("main", tip),
        UpdateType.RepoInitialized(),
    ]
    times = [update.updated_at for update in updates]
    assert times == sorted(set(times), reverse=True)


def test_a_long_log_goes_on_in_the_backups(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = Repository.create(storage, RepositoryConfig(num_updates_per_repo_info_file=2))
    for number in range(5):
        repo.create_branch(f"b{number}", INITIAL)
    updates = [update for update in repo.ops_log()]
    assert [update.kind for update in updates] == [
        *[UpdateType.BranchCreated(f"b{number}") for number in reversed(range(5))],
        UpdateType.RepoInitialized(),
    ]
    # Every entry but the newest names the object that it left behind, in `overwritten/`.
    assert updates[0].backup_path is None
    backups = [update.backup_path for update in updates[1:]]
    assert sorted(map(str, backups)) == sorted(path.name for path in (tmp_path / "overwritten").iterdir())
    assert len(set(backups)) == 5


def test_the_log_ends_where_a_backup_is_gone(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = Repository.create(storage, RepositoryConfig(num_updates_per_repo_info_file=2))
    for number in range(5):
        repo.create_branch(f"b{number}", INITIAL)
    for backup in (tmp_path / "overwritten").iterdir():
        backup.unlink()
    updates = [update.kind for update in repo.ops_log()]
    assert updates == [UpdateType.BranchCreated("b4"), UpdateType.BranchCreated("b3")]


def test_a_log_in_a_circle_is_not_followed_for_ever(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = Repository.create(storage, RepositoryConfig(num_updates_per_repo_info_file=1))
    for number in range(4):
        repo.create_branch(f"b{number}", INITIAL)
    backups = sorted((tmp_path / "overwritten").iterdir())
    backups[-1].write_bytes((tmp_path / "repo").read_bytes())
    with pytest.raises(FormatError, match="circle") as caught:
        [update for update in repo.ops_log()]
    assert caught.value.kind == "invalid-file-format"
