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
from tests.arrays import create_array_async

INITIAL = "1CECHNKREP0F1RSTCMT0"
READ_ONLY = RepoStatus(RepoAvailability.read_only, limited_availability_reason="moving house")
ONLINE = RepoStatus(RepoAvailability.online)


async def mutations_async(repo: Repository, session: icechunk.Session, tip: str) -> dict[str, Any]:
    """Every change of a repository, as functions without arguments by name."""

    async def create_branch_async() -> None:
        await repo.create_branch_async("new", tip)

    async def reset_branch_async() -> None:
        await repo.reset_branch_async("dev", INITIAL)

    async def delete_branch_async() -> None:
        await repo.delete_branch_async("dev")

    async def create_tag_async() -> None:
        await repo.create_tag_async("new", tip)

    async def delete_tag_async() -> None:
        await repo.delete_tag_async("v1")

    async def commit_async() -> None:
        await session.commit_async("something")

    async def amend_async() -> None:
        await session.amend_async("something else")

    async def flush_async() -> None:
        await session.flush_async("something")

    async def rearrange_session_async() -> None:
        await repo.rearrange_session_async("main")

    async def writable_session_async() -> None:
        await repo.writable_session_async("main")

    async def set_metadata_async() -> None:
        await repo.set_metadata_async({"a": 1})

    async def update_metadata_async() -> None:
        await repo.update_metadata_async({"a": 1})

    async def set_feature_flag_async() -> None:
        await repo.set_feature_flag_async("create_tag", True)

    return {
        "create_branch": create_branch_async,
        "reset_branch": reset_branch_async,
        "delete_branch": delete_branch_async,
        "create_tag": create_tag_async,
        "delete_tag": delete_tag_async,
        "amend": amend_async,
        "flush": flush_async,
        "commit": commit_async,
        "rearrange_session": rearrange_session_async,
        "writable_session": writable_session_async,
        "save_config": repo.save_config_async,
        "set_metadata": set_metadata_async,
        "update_metadata": update_metadata_async,
        "set_feature_flag": set_feature_flag_async,
    }


async def prepared_async(repo: Repository) -> tuple[icechunk.Session, str]:
    """A commit, a branch, a tag, and a session with something to commit."""
    session = await repo.writable_session_async("main")
    tip = await session.commit_async("first", allow_empty=True)
    await repo.create_branch_async("dev", tip)
    await repo.create_tag_async("v1", tip)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (2,))
    return session, tip


async def test_metadata_is_replaced_or_laid_over_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage)
    assert await repo.get_metadata_async() == {}
    await repo.set_metadata_async({"owner": {"name": "me", "since": 2020}, "factor": 0.5, "tags": [1, None]})
    other = await Repository.open_async(storage)
    assert await other.get_metadata_async() == {
        "owner": {"name": "me", "since": 2020},
        "factor": 0.5,
        "tags": [1, None],
    }
    # Key by key at the top level: what is nested is replaced as a whole.
    updated = await other.update_metadata_async({"owner": {"name": "you"}, "new": True})
    assert updated == {"owner": {"name": "you"}, "factor": 0.5, "tags": [1, None], "new": True}
    assert await repo.get_metadata_async() == repo.metadata == updated
    await repo.set_metadata_async({})
    assert await other.get_metadata_async() == {}


@pytest.mark.parametrize("metadata", [{"a": object()}, {1: 2}, None, ["a"]])
async def test_metadata_that_is_not_json_is_refused_async(metadata: Any) -> None:
    repo = await Repository.create_async(icechunk.in_memory_storage())
    for verb in (repo.set_metadata_async, repo.update_metadata_async):
        with pytest.raises(TypeError):
            await verb(metadata)
    assert await repo.get_metadata_async() == {}


async def test_status_says_what_when_and_why_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage)
    created = await repo.get_status_async()
    assert created.availability is RepoAvailability.online
    assert abs(datetime.now(UTC) - created.set_at) < timedelta(minutes=1)
    await repo.set_status_async(READ_ONLY)
    other = await Repository.open_async(storage)
    assert await other.get_status_async() == repo.status == READ_ONLY
    east = datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC)
    await other.set_status_async(RepoStatus(RepoAvailability.online, east, None))
    assert await repo.get_status_async() == RepoStatus(RepoAvailability.online, east)


async def test_a_status_is_checked_before_it_is_stored_async() -> None:
    repo = await Repository.create_async(icechunk.in_memory_storage())
    with pytest.raises(TypeError, match="RepoStatus"):
        await repo.set_status_async("read_only")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match="1970"):
        await repo.set_status_async(RepoStatus(RepoAvailability.online, datetime(1960, 1, 1, tzinfo=UTC)))
    assert len([update async for update in repo.ops_log_async()]) == 1


async def test_a_read_only_repository_refuses_every_change_but_of_its_status_async(
    storage: icechunk.Storage,
) -> None:
    """The status is looked at before each change, of whoever opened the repository before or since."""
    early = await Repository.create_async(storage)
    session, tip = await prepared_async(early)
    before = [update async for update in early.ops_log_async()]
    await (await Repository.open_async(storage)).set_status_async(READ_ONLY)
    for repo in (early, await Repository.open_async(storage)):
        changes = await mutations_async(repo, session, tip)
        for name, change_async in changes.items():
            with pytest.raises(ReadOnlyError, match="moving house") as refused:
                await change_async()
            assert refused.value.kind == "read-only-repository", name
        # Reading goes on.
        await repo.readonly_session_async("main")
        assert await repo.list_tags_async() == {"v1"}
    assert len([update async for update in early.ops_log_async()]) == len(before) + 1
    assert session.has_uncommitted_changes
    await early.set_status_async(ONLINE)
    changes = await mutations_async(early, session, tip)
    for name, change_async in changes.items():
        if name not in ("amend", "flush"):  # a session ends with its commit
            await change_async()


@pytest.mark.parametrize("spec_version", [1, 2])
async def test_a_storage_that_cannot_be_written_to_is_refused_before_anything_is_written_async(
    spec_version: int,
) -> None:
    """A reader's credentials get a clear error at once, not an answer of the service half way through."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session, tip = await prepared_async(repo)
    faults.clear()
    faults.can_write = False
    changes = await mutations_async(repo, session, tip)
    if spec_version == 1:
        for name in ("set_metadata", "update_metadata", "set_feature_flag", "amend", "rearrange_session"):
            del changes[name]

    async def set_status_async() -> None:
        await repo.set_status_async(READ_ONLY)

    if spec_version == 2:
        changes["set_status"] = set_status_async
    for name, change_async in changes.items():
        with pytest.raises(ReadOnlyError) as refused:
            await change_async()
        assert refused.value.kind == "read-only-storage", name
    with pytest.raises(ReadOnlyError) as created:
        await Repository.create_async(storage)
    assert created.value.kind == "read-only-storage"
    writing = ("put", "put_conditional", "copy", "delete_many")
    assert not [call for call in faults.calls if call.operation in writing]
    await repo.readonly_session_async("main")


async def test_feature_flags_are_switched_and_returned_to_their_default_async(
    storage: icechunk.Storage,
) -> None:
    repo = await Repository.create_async(storage)
    names = ["move_node", "create_tag", "delete_tag"]
    assert [(flag.id, flag.name) for flag in await repo.feature_flags_async()] == [
        (3, "move_node"),
        (4, "create_tag"),
        (5, "delete_tag"),
    ]
    assert all(
        flag.default_enabled and flag.enabled and flag.setting is None
        for flag in await repo.feature_flags_async()
    )
    assert await repo.disabled_feature_flags_async() == []
    other = await Repository.open_async(storage)
    for setting, enabled in ((False, False), (True, True), (False, False), (None, True)):
        await repo.set_feature_flag_async("create_tag", setting)
        flags = {flag.name: flag for flag in await other.feature_flags_async()}
        assert (flags["create_tag"].setting, flags["create_tag"].enabled) == (setting, enabled)
        on = [flag.name for flag in await other.enabled_feature_flags_async()]
        off = [flag.name for flag in await other.disabled_feature_flags_async()]
        assert on == [name for name in names if enabled or name != "create_tag"]
        assert off == ([] if enabled else ["create_tag"])
    newest = [update.kind async for update in repo.ops_log_async()][:4]
    assert newest == [UpdateType.FeatureFlagChanged(4, value) for value in (None, False, True, False)]


async def test_what_is_switched_off_is_refused_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage)
    await repo.create_tag_async("v1", INITIAL)
    await repo.set_feature_flag_async("create_tag", False)
    with pytest.raises(SessionStateError, match="create_tag") as create:
        await repo.create_tag_async("v2", INITIAL)
    assert create.value.kind == "feature-flag-disabled"
    await repo.set_feature_flag_async("delete_tag", False)
    with pytest.raises(SessionStateError, match="delete_tag") as delete:
        await repo.delete_tag_async("v1")
    assert delete.value.kind == "feature-flag-disabled"
    await repo.set_feature_flag_async("create_tag", None)
    await repo.set_feature_flag_async("delete_tag", True)
    await repo.create_tag_async("v2", INITIAL)
    await repo.delete_tag_async("v1")
    assert await repo.list_tags_async() == {"v2"}


async def test_a_feature_that_does_not_exist_is_named_async() -> None:
    repo = await Repository.create_async(icechunk.in_memory_storage())
    with pytest.raises(InvalidInputError, match=r"`fly`.*`move_node`") as unknown:
        await repo.set_feature_flag_async("fly", True)
    assert unknown.value.kind == "invalid-feature-flag"
    with pytest.raises(TypeError, match="setting"):
        await repo.set_feature_flag_async("create_tag", 1)  # type: ignore[arg-type]  # on purpose


async def test_repositories_of_spec_1_have_none_of_it_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage, spec_version=1)

    async def read_log_async() -> None:
        [update async for update in repo.ops_log_async()]

    async def set_metadata_async() -> None:
        await repo.set_metadata_async({})

    async def update_metadata_async() -> None:
        await repo.update_metadata_async({})

    async def set_status_async() -> None:
        await repo.set_status_async(READ_ONLY)

    async def set_feature_flag_async() -> None:
        await repo.set_feature_flag_async("create_tag", False)

    verbs: list[Any] = [
        repo.get_metadata_async,
        repo.get_status_async,
        repo.feature_flags_async,
        repo.enabled_feature_flags_async,
        repo.disabled_feature_flags_async,
        read_log_async,
        set_metadata_async,
        update_metadata_async,
        set_status_async,
        set_feature_flag_async,
    ]
    for verb in verbs:
        with pytest.raises(FormatError, match="version 1") as refused:
            await verb()
        assert refused.value.kind == "unsupported-spec-version"


async def test_the_log_has_one_entry_for_each_operation_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage)
    session, tip = await prepared_async(repo)
    commit = await session.commit_async("something")
    await repo.reset_branch_async("dev", commit)
    await repo.delete_branch_async("dev")
    await repo.delete_tag_async("v1")
    await repo.save_config_async()
    await repo.set_metadata_async({"a": 1})
    await repo.set_status_async(READ_ONLY)
    updates = [update async for update in repo.ops_log_async()]
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


async def test_a_long_log_goes_on_in_the_backups_async(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = await Repository.create_async(storage, RepositoryConfig(num_updates_per_repo_info_file=2))
    for number in range(5):
        await repo.create_branch_async(f"b{number}", INITIAL)
    updates = [update async for update in repo.ops_log_async()]
    assert [update.kind for update in updates] == [
        *[UpdateType.BranchCreated(f"b{number}") for number in reversed(range(5))],
        UpdateType.RepoInitialized(),
    ]
    # Every entry but the newest names the object that it left behind, in `overwritten/`.
    assert updates[0].backup_path is None
    backups = [update.backup_path for update in updates[1:]]
    assert sorted(map(str, backups)) == sorted(path.name for path in (tmp_path / "overwritten").iterdir())
    assert len(set(backups)) == 5


async def test_the_log_ends_where_a_backup_is_gone_async(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = await Repository.create_async(storage, RepositoryConfig(num_updates_per_repo_info_file=2))
    for number in range(5):
        await repo.create_branch_async(f"b{number}", INITIAL)
    for backup in (tmp_path / "overwritten").iterdir():
        backup.unlink()
    updates = [update.kind async for update in repo.ops_log_async()]
    assert updates == [UpdateType.BranchCreated("b4"), UpdateType.BranchCreated("b3")]


async def test_a_log_in_a_circle_is_not_followed_for_ever_async(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path)
    repo = await Repository.create_async(storage, RepositoryConfig(num_updates_per_repo_info_file=1))
    for number in range(4):
        await repo.create_branch_async(f"b{number}", INITIAL)
    backups = sorted((tmp_path / "overwritten").iterdir())
    backups[-1].write_bytes((tmp_path / "repo").read_bytes())
    with pytest.raises(FormatError, match="circle") as caught:
        [update async for update in repo.ops_log_async()]
    assert caught.value.kind == "invalid-file-format"
