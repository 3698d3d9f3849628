"""Repositories: creating, opening, configuration, branches, tags and history, in both spec versions."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zarr.api.asynchronous

import icechunk
from icechunk import (
    AlreadyExistsError,
    ConflictError,
    IcechunkError,
    InvalidInputError,
    ReadOnlyError,
    RefNotFoundError,
    Repository,
    RepositoryConfig,
    RepositoryNotFoundError,
    SessionStateError,
    SnapshotNotFoundError,
    SpecVersion,
    StorageError,
)
from icechunk._async.repo_info import fetch_repo_info_async, update_repo_info_async
from icechunk._core.config_yaml import dump_yaml, load_yaml
from icechunk._core.repo_updates import set_config
from icechunk._format import flexbuffers
from icechunk.testing.faults import Faults, faulty_storage

INITIAL = "1CECHNKREP0F1RSTCMT0"
UNKNOWN = "00000000000000000000"


async def commit_group_async(repo: Repository, name: str, branch: str = "main", **metadata: Any) -> str:
    session = await repo.writable_session_async(branch)
    await zarr.api.asynchronous.open_group(session.store, path=name, mode="a")
    return await session.commit_async(f"add {name}", metadata or None)


async def test_a_new_repository_has_one_snapshot_and_the_branch_main_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    assert repo.spec_version == spec_version
    assert await repo.list_branches_async() == {"main"}
    assert await repo.list_tags_async() == set()
    assert await repo.lookup_branch_async("main") == INITIAL
    [info] = [info async for info in repo.async_ancestry(branch="main")]
    assert (info.id, info.parent_id, info.message) == (INITIAL, None, "Repository initialized")
    assert info.metadata == {"__icechunk": {"is_root": True}}
    assert abs(datetime.now(UTC) - info.written_at) < timedelta(minutes=1)


async def test_open_finds_what_create_made_async(storage: icechunk.Storage, spec_version: int) -> None:
    assert not await Repository.exists_async(storage)
    assert await Repository.fetch_spec_version_async(storage) is None
    with pytest.raises(RepositoryNotFoundError) as caught:
        await Repository.open_async(storage)
    assert caught.value.kind == "repository-not-found"
    await Repository.create_async(storage, spec_version=spec_version)
    assert await Repository.exists_async(storage)
    assert await Repository.fetch_spec_version_async(storage) == SpecVersion(spec_version)
    repo = await Repository.open_async(storage)
    assert repo.spec_version == spec_version
    assert repo.storage == storage


async def test_opening_creates_no_directory_async(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path / "nowhere" / "at all")
    with pytest.raises(RepositoryNotFoundError):
        await Repository.open_async(storage)
    assert not (tmp_path / "nowhere").exists()


async def test_open_or_create_async(storage: icechunk.Storage, spec_version: int) -> None:
    created = await Repository.open_or_create_async(storage, create_version=spec_version)
    tip = await commit_group_async(created, "a")
    opened = await Repository.open_or_create_async(storage)
    assert opened.spec_version == spec_version
    assert await opened.lookup_branch_async("main") == tip


async def test_create_refuses_a_place_that_is_taken_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    tip = await commit_group_async(repo, "a")
    with pytest.raises(InvalidInputError) as dirty:
        await Repository.create_async(storage, spec_version=spec_version)
    assert dirty.value.kind == "parent-directory-not-clean"
    with pytest.raises(ConflictError) as taken:
        await Repository.create_async(storage, spec_version=spec_version, check_clean_root=False)
    assert taken.value.kind == "repo-info-updated"
    assert await repo.lookup_branch_async("main") == tip


async def test_a_creation_that_failed_anywhere_can_be_repeated_async(spec_version: int) -> None:
    for place in itertools.count():
        faults = Faults()
        storage = faulty_storage(icechunk.in_memory_storage(), faults)
        faults.fail(skip=place)
        try:
            await Repository.create_async(storage, spec_version=spec_version)
        except StorageError:
            assert not await Repository.exists_async(storage)
        else:
            break
        repo = await Repository.create_async(storage, spec_version=spec_version)
        await commit_group_async(repo, "a")
    assert place > 3


@pytest.mark.parametrize("place", range(8))
async def test_who_finds_a_repository_half_created_by_others_gets_it_all_the_same_async(
    spec_version: int, place: int
) -> None:
    """As when several workers start at once, and each opens or creates the repository."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    storage = faulty_storage(inner, faults)
    ids = []

    def come_in_between() -> None:
        other = Repository.open_or_create(inner, create_version=spec_version)
        ids.append(other.writable_session("main").commit("theirs", allow_empty=True))

    faults.call("*", "*", come_in_between, skip=place)
    repo = await Repository.open_or_create_async(storage, create_version=spec_version)
    if ids:
        assert await repo.lookup_branch_async("main") == ids[0]
    await commit_group_async(repo, "a")
    assert len([info async for info in repo.async_ancestry(branch="main")]) == 2 + len(ids)


async def test_an_unknown_spec_version_is_refused_async(storage: icechunk.Storage) -> None:
    with pytest.raises(ValueError, match="3"):
        await Repository.create_async(storage, spec_version=3)
    assert not await Repository.exists_async(storage)


async def test_branches_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    first = await commit_group_async(repo, "a")
    await repo.create_branch_async("dev", first)
    second = await commit_group_async(repo, "b", branch="dev")
    assert await repo.list_branches_async() == {"main", "dev"}
    assert await repo.lookup_branch_async("dev") == second
    assert await repo.lookup_branch_async("main") == first
    await repo.reset_branch_async("main", second, from_snapshot_id=first)
    assert await repo.lookup_branch_async("main") == second
    with pytest.raises(ConflictError) as moved:
        await repo.reset_branch_async("main", INITIAL, from_snapshot_id=first)
    assert (moved.value.kind, moved.value.expected_parent, moved.value.actual_parent) == (
        "branch-update-conflict",
        first,
        second,
    )
    await repo.reset_branch_async("main", INITIAL)
    assert await repo.lookup_branch_async("main") == INITIAL
    await repo.delete_branch_async("dev")
    assert await repo.list_branches_async() == {"main"}


async def test_errors_of_branches_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    with pytest.raises(SessionStateError) as main:
        await repo.delete_branch_async("main")
    assert main.value.kind == "cannot-delete-main"
    for verb in (repo.lookup_branch_async, repo.delete_branch_async, repo.writable_session_async):
        with pytest.raises(RefNotFoundError) as missing:
            await verb("nowhere")
        assert missing.value.kind == "ref-not-found"
    with pytest.raises(InvalidInputError) as malformed:
        await repo.create_branch_async("dev", "not an id")
    assert malformed.value.kind == "invalid-snapshot-id"
    with pytest.raises(IcechunkError) as unknown:
        await repo.create_branch_async("dev", UNKNOWN)
    assert unknown.value.kind == ("snapshot-not-found" if spec_version == 2 else "object-not-found")
    with pytest.raises(IcechunkError) as exists:
        await repo.create_branch_async("main", INITIAL)
    assert exists.value.kind == ("branch-already-exists" if spec_version == 2 else "branch-update-conflict")
    assert await repo.list_branches_async() == {"main"}


async def test_tags_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    first = await commit_group_async(repo, "a")
    await repo.create_tag_async("v1", first)
    assert await repo.list_tags_async() == {"v1"}
    assert await repo.lookup_tag_async("v1") == first
    with pytest.raises(AlreadyExistsError) as exists:
        await repo.create_tag_async("v1", INITIAL)
    assert exists.value.kind == "tag-already-exists"
    await repo.delete_tag_async("v1")
    assert await repo.list_tags_async() == set()
    with pytest.raises(AlreadyExistsError) as again:
        await repo.create_tag_async("v1", first)
    assert again.value.kind == ("tag-previously-deleted" if spec_version == 2 else "tag-already-exists")
    for verb in (repo.lookup_tag_async, repo.delete_tag_async):
        with pytest.raises(RefNotFoundError) as missing:
            await verb("v1")
        assert missing.value.kind == "ref-not-found"


async def test_history_and_sessions_at_every_point_of_it_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    ids = [INITIAL]
    for name in "abc":
        ids.append(await commit_group_async(repo, name, number=len(ids)))
    await repo.create_tag_async("two", ids[2])
    history = [info async for info in repo.async_ancestry(branch="main")]
    assert [info.id for info in history] == ids[::-1]
    assert [info.parent_id for info in history] == [*ids[-2::-1], None]
    assert [info.metadata for info in history[:3]] == [{"number": 3}, {"number": 2}, {"number": 1}]
    assert [info.id async for info in repo.async_ancestry(tag="two")] == ids[2::-1]
    assert [info.id async for info in repo.async_ancestry(snapshot_id=ids[1])] == ids[1::-1]
    assert (await repo.lookup_snapshot_async(ids[2])).message == "add b"
    with pytest.raises(ValueError, match="exactly one"):
        [info async for info in repo.async_ancestry()]

    async def names_async(**where: Any) -> list[str]:
        session = await repo.readonly_session_async(**where)
        assert session.read_only
        return sorted([name async for name in session.store.list_dir("")])

    assert await names_async(branch="main") == ["a", "b", "c", "zarr.json"]
    assert await names_async(tag="two") == ["a", "b", "zarr.json"]
    assert await names_async(snapshot_id=ids[1]) == ["a", "zarr.json"]
    at_second = (await repo.lookup_snapshot_async(ids[2])).written_at
    assert await names_async(branch="main", as_of=at_second) == ["a", "b", "zarr.json"]
    with pytest.raises(SnapshotNotFoundError) as early:
        await names_async(branch="main", as_of=datetime(2000, 1, 1, tzinfo=UTC))
    assert early.value.kind == "no-snapshot-at-time"
    with pytest.raises(RefNotFoundError) as missing:
        await names_async(branch="nope", as_of=at_second)
    assert missing.value.kind == ("ref-not-found" if spec_version == 1 else "branch-not-found")
    with pytest.raises(ValueError, match="as_of"):
        await names_async(tag="two", as_of=at_second)
    with pytest.raises(TypeError, match="time zone"):
        await names_async(branch="main", as_of=datetime(2000, 1, 1))
    with pytest.raises(TypeError, match="must be a datetime, not '2000-01-01'"):
        await names_async(branch="main", as_of="2000-01-01")
    with pytest.raises(IcechunkError):
        await names_async(snapshot_id=UNKNOWN)


async def test_default_commit_metadata_async(storage: icechunk.Storage, spec_version: int) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    before = await repo.writable_session_async("main")
    repo.set_default_commit_metadata({"who": "me", "where": "here"})
    assert repo.default_commit_metadata() == {"who": "me", "where": "here"}
    tip = await commit_group_async(repo, "a", where="there")
    assert (await repo.lookup_snapshot_async(tip)).metadata == {"who": "me", "where": "there"}
    await repo.reset_branch_async("main", INITIAL)
    plain = await before.commit_async("opened before", allow_empty=True)
    assert (await repo.lookup_snapshot_async(plain)).metadata == {}


async def test_metadata_that_cannot_be_stored_is_refused_before_work_is_lost_async(spec_version: int) -> None:
    """Not by the commit at the end of a session, and not after manifests have been written."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage, spec_version=spec_version)
    nonsense: Any
    for nonsense in ({"a": object()}, {1: 2}, ["a"], "a", None):
        with pytest.raises(TypeError):
            repo.set_default_commit_metadata(nonsense)
        assert repo.default_commit_metadata() == {}
    session = await repo.writable_session_async("main")
    faults.clear()
    for nonsense in ({"a": object()}, {1: 2}, ["a"], []):
        for verb in (session.commit_async, session.amend_async, session.flush_async):
            with pytest.raises(TypeError):
                await verb("nonsense", metadata=nonsense)
    assert faults.count("*") == 0


async def test_metadata_of_commits_is_copied_async(storage: icechunk.Storage, spec_version: int) -> None:
    """What users do to their dicts afterwards, or to those that they got, changes no history."""
    repo = await Repository.create_async(storage, spec_version=spec_version)
    defaults: dict[str, Any] = {"who": {"names": ["me"]}}
    repo.set_default_commit_metadata(defaults)
    session = await repo.writable_session_async("main")
    defaults["who"]["names"].append("you")
    repo.default_commit_metadata()["who"]["names"].append("them")
    tip = await session.commit_async("write", {"n": [1]}, allow_empty=True)
    expected = {"who": {"names": ["me"]}, "n": [1]}
    found = await repo.lookup_snapshot_async(tip)
    found.metadata["n"].append(2)
    async for each in repo.async_ancestry(branch="main"):
        each.metadata["new"] = True
    assert repo.default_commit_metadata() == {"who": {"names": ["me"]}}
    assert (await repo.lookup_snapshot_async(tip)).metadata == expected


async def test_configuration_is_stored_and_overlaid_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    config = RepositoryConfig(inline_chunk_threshold_bytes=12)
    repo = await Repository.create_async(storage, config, spec_version=spec_version)
    assert repo.config.inline_chunk_threshold_bytes == 12
    stored = await Repository.fetch_config_async(storage)
    assert stored is not None
    assert stored.inline_chunk_threshold_bytes == 12
    opened = await Repository.open_async(storage, RepositoryConfig(get_partial_values_concurrency=3))
    assert opened.config.inline_chunk_threshold_bytes == 12
    assert opened.config.get_partial_values_concurrency == 3
    changed = await opened.reopen_async(RepositoryConfig(inline_chunk_threshold_bytes=99))
    assert changed.config.inline_chunk_threshold_bytes == 99
    assert opened.config.inline_chunk_threshold_bytes == 12
    await changed.save_config_async()
    stored = await Repository.fetch_config_async(storage)
    assert stored is not None
    assert (stored.inline_chunk_threshold_bytes, stored.get_partial_values_concurrency) == (99, 3)
    await changed.save_config_async()


async def store_config_async(repo: Repository, document: dict[str, Any]) -> None:
    """Store a configuration document as it stands, whatever is in it."""
    assets = repo._assets_async
    if repo.spec_version == 1:
        backend = await assets.backend_async()
        await backend.put_async("config.yaml", dump_yaml(document))
    else:
        data = flexbuffers.dumps(document)
        await update_repo_info_async(assets, lambda info, stamp: set_config(info, data, stamp))


async def stored_config_async(repo: Repository) -> Any:
    """The configuration document as it is stored."""
    assets = repo._assets_async
    if repo.spec_version == 1:
        backend = await assets.backend_async()
        return load_yaml(bytes(await backend.get_async("config.yaml")), "config.yaml")
    info = await fetch_repo_info_async(assets)
    assert info.config is not None
    return flexbuffers.loads(info.config, "repo")


async def test_settings_of_newer_releases_survive_a_change_of_the_others_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    future = {"future": {"a": [1, 2.5, None]}, "caching": {"num_dreams": 3, "num_chunk_refs": 5}}
    await store_config_async(repo, future)
    repo = await Repository.open_async(storage, RepositoryConfig(inline_chunk_threshold_bytes=7))
    await repo.save_config_async()
    document = await stored_config_async(repo)
    assert document["future"] == {"a": [1, 2.5, None]}
    assert (document["caching"]["num_dreams"], document["caching"]["num_chunk_refs"]) == (3, 5)
    assert document["inline_chunk_threshold_bytes"] == 7


async def test_containers_that_were_taken_away_do_not_come_back_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Names that users give are no settings of a newer release."""
    here = {"url_prefix": "s3://here/", "store": "in_memory", "future": 1}
    there = {"url_prefix": "s3://there/", "store": "in_memory"}
    repo = await Repository.create_async(storage, spec_version=spec_version)
    await store_config_async(repo, {"virtual_chunk_containers": {"s3://here/": here, "s3://there/": there}})
    repo = await Repository.open_async(storage)
    config = repo.config
    assert config.virtual_chunk_containers is not None
    kept = {"s3://here/": config.virtual_chunk_containers["s3://here/"]}
    repo = await repo.reopen_async(RepositoryConfig(virtual_chunk_containers=kept))
    await repo.save_config_async()
    containers = (await stored_config_async(repo))["virtual_chunk_containers"]
    assert set(containers) == {"s3://here/"}
    assert containers["s3://here/"]["future"] == 1


async def test_a_configuration_whose_answer_was_lost_can_be_saved_again_async(spec_version: int) -> None:
    """It is not one that somebody else has stored."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    await Repository.create_async(storage, spec_version=spec_version)
    repo = await Repository.open_async(storage, RepositoryConfig(inline_chunk_threshold_bytes=7))
    faults.fail("put_conditional", moment="after")
    with pytest.raises(StorageError, match="injected"):
        await repo.save_config_async()
    await repo.save_config_async()
    await repo.save_config_async()
    stored = await Repository.fetch_config_async(storage)
    assert stored is not None
    assert stored.inline_chunk_threshold_bytes == 7


async def test_the_default_configuration_is_not_stored_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    await Repository.create_async(storage, RepositoryConfig.default(), spec_version=spec_version)
    assert await Repository.fetch_config_async(storage) is None


async def test_a_configuration_that_somebody_else_changed_is_not_overwritten_async(
    storage: icechunk.Storage,
) -> None:
    await Repository.create_async(storage, spec_version=1)
    ours = await Repository.open_async(storage, RepositoryConfig(inline_chunk_threshold_bytes=1))
    theirs = await Repository.open_async(storage, RepositoryConfig(inline_chunk_threshold_bytes=2))
    await theirs.save_config_async()
    with pytest.raises(ConflictError) as caught:
        await ours.save_config_async()
    assert caught.value.kind == "config-updated"
    stored = await Repository.fetch_config_async(storage)
    assert stored is not None
    assert stored.inline_chunk_threshold_bytes == 2


async def test_a_transaction_commits_at_its_end_or_not_at_all_async(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = await Repository.create_async(storage, spec_version=spec_version)
    async with repo.transaction_async("main", message="one", metadata={"n": 1}) as store:
        await zarr.api.asynchronous.open_group(store, mode="a")
    tip = await repo.lookup_branch_async("main")
    info = await repo.lookup_snapshot_async(tip)
    assert (info.message, info.metadata) == ("one", {"n": 1})

    async def fail_async() -> None:
        async with repo.transaction_async("main", message="two") as store:
            await zarr.api.asynchronous.open_group(store, path="x", mode="a")
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await fail_async()
    assert await repo.lookup_branch_async("main") == tip


async def test_names_of_refs_in_spec_1_have_no_slash_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage, spec_version=1)
    with pytest.raises(InvalidInputError) as caught:
        await repo.create_branch_async("a/b", INITIAL)
    assert caught.value.kind == "invalid-ref-name"


async def test_a_read_only_session_refuses_changes_async(storage: icechunk.Storage) -> None:
    repo = await Repository.create_async(storage)
    session = await repo.readonly_session_async("main")
    with pytest.raises(SessionStateError) as commit:
        await session.commit_async("nothing")
    assert commit.value.kind == "commit-not-allowed"
    with pytest.raises(ReadOnlyError) as discard:
        session.discard_changes()
    assert discard.value.kind == "read-only-session"


async def test_branch_changes_meet_commits_on_other_branches_async(storage: icechunk.Storage) -> None:
    """Both succeed, each applied to the repo object as it is by then."""
    repo = await Repository.create_async(storage)
    other = await Repository.open_async(storage)
    session = await repo.writable_session_async("main")
    await zarr.api.asynchronous.open_group(session.store, mode="a")
    await other.create_branch_async("dev", INITIAL)
    await other.create_tag_async("v0", INITIAL)
    tip = await session.commit_async("lands all the same")
    assert await other.list_branches_async() == {"main", "dev"}
    assert await other.lookup_branch_async("main") == tip
    assert await repo.list_tags_async() == {"v0"}
