# Generated from tests/_async/test_repository.py by tools/make_sync.py; edit that file.
"""Repositories: creating, opening, configuration, branches, tags and history, in both spec versions."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zarr.api.synchronous

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
from icechunk._sync.repo_info import fetch_repo_info, update_repo_info
from icechunk._core.config_yaml import dump_yaml, load_yaml
from icechunk._core.repo_updates import set_config
from icechunk._format import flexbuffers
from icechunk.testing.faults import Faults, faulty_storage

INITIAL = "1CECHNKREP0F1RSTCMT0"
UNKNOWN = "00000000000000000000"


def commit_group(repo: Repository, name: str, branch: str = "main", **metadata: Any) -> str:
    session = repo.writable_session(branch)
    zarr.api.synchronous.open_group(session.store, path=name, mode="a")
    return session.commit(f"add {name}", metadata or None)


def test_a_new_repository_has_one_snapshot_and_the_branch_main(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    assert repo.spec_version == spec_version
    assert repo.list_branches() == {"main"}
    assert repo.list_tags() == set()
    assert repo.lookup_branch("main") == INITIAL
    [info] = [info for info in repo.ancestry(branch="main")]
    assert (info.id, info.parent_id, info.message) == (INITIAL, None, "Repository initialized")
    assert info.metadata == {"__icechunk": {"is_root": True}}
    assert abs(datetime.now(UTC) - info.written_at) < timedelta(minutes=1)


def test_open_finds_what_create_made(storage: icechunk.Storage, spec_version: int) -> None:
    assert not Repository.exists(storage)
    assert Repository.fetch_spec_version(storage) is None
    with pytest.raises(RepositoryNotFoundError) as caught:
        Repository.open(storage)
    assert caught.value.kind == "repository-not-found"
    Repository.create(storage, spec_version=spec_version)
    assert Repository.exists(storage)
    assert Repository.fetch_spec_version(storage) == SpecVersion(spec_version)
    repo = Repository.open(storage)
    assert repo.spec_version == spec_version
    assert repo.storage == storage


def test_opening_creates_no_directory(tmp_path: Path) -> None:
    storage = icechunk.local_filesystem_storage(tmp_path / "nowhere" / "at all")
    with pytest.raises(RepositoryNotFoundError):
        Repository.open(storage)
    assert not (tmp_path / "nowhere").exists()


def test_open_or_create(storage: icechunk.Storage, spec_version: int) -> None:
    created = Repository.open_or_create(storage, create_version=spec_version)
    tip = commit_group(created, "a")
    opened = Repository.open_or_create(storage)
    assert opened.spec_version == spec_version
    assert opened.lookup_branch("main") == tip


def test_create_refuses_a_place_that_is_taken(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    tip = commit_group(repo, "a")
    with pytest.raises(InvalidInputError) as dirty:
        Repository.create(storage, spec_version=spec_version)
    assert dirty.value.kind == "parent-directory-not-clean"
    with pytest.raises(ConflictError) as taken:
        Repository.create(storage, spec_version=spec_version, check_clean_root=False)
    assert taken.value.kind == "repo-info-updated"
    assert repo.lookup_branch("main") == tip


def test_a_creation_that_failed_anywhere_can_be_repeated(spec_version: int) -> None:
    for place in itertools.count():
        faults = Faults()
        storage = faulty_storage(icechunk.in_memory_storage(), faults)
        faults.fail(skip=place)
        try:
            Repository.create(storage, spec_version=spec_version)
        except StorageError:
            assert not Repository.exists(storage)
        else:
            break
        repo = Repository.create(storage, spec_version=spec_version)
        commit_group(repo, "a")
    assert place > 3


@pytest.mark.parametrize("place", range(8))
def test_who_finds_a_repository_half_created_by_others_gets_it_all_the_same(
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
    repo = Repository.open_or_create(storage, create_version=spec_version)
    if ids:
        assert repo.lookup_branch("main") == ids[0]
    commit_group(repo, "a")
    assert len([info for info in repo.ancestry(branch="main")]) == 2 + len(ids)


def test_an_unknown_spec_version_is_refused(storage: icechunk.Storage) -> None:
    with pytest.raises(ValueError, match="3"):
        Repository.create(storage, spec_version=3)
    assert not Repository.exists(storage)


def test_branches(storage: icechunk.Storage, spec_version: int) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    first = commit_group(repo, "a")
    repo.create_branch("dev", first)
    second = commit_group(repo, "b", branch="dev")
    assert repo.list_branches() == {"main", "dev"}
    assert repo.lookup_branch("dev") == second
    assert repo.lookup_branch("main") == first
    repo.reset_branch("main", second, from_snapshot_id=first)
    assert repo.lookup_branch("main") == second
    with pytest.raises(ConflictError) as moved:
        repo.reset_branch("main", INITIAL, from_snapshot_id=first)
    assert (moved.value.kind, moved.value.expected_parent, moved.value.actual_parent) == (
        "branch-update-conflict",
        first,
        second,
    )
    repo.reset_branch("main", INITIAL)
    assert repo.lookup_branch("main") == INITIAL
    repo.delete_branch("dev")
    assert repo.list_branches() == {"main"}


def test_errors_of_branches(storage: icechunk.Storage, spec_version: int) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    with pytest.raises(SessionStateError) as main:
        repo.delete_branch("main")
    assert main.value.kind == "cannot-delete-main"
    for verb in (repo.lookup_branch, repo.delete_branch, repo.writable_session):
        with pytest.raises(RefNotFoundError) as missing:
            verb("nowhere")
        assert missing.value.kind == "ref-not-found"
    with pytest.raises(InvalidInputError) as malformed:
        repo.create_branch("dev", "not an id")
    assert malformed.value.kind == "invalid-snapshot-id"
    with pytest.raises(IcechunkError) as unknown:
        repo.create_branch("dev", UNKNOWN)
    assert unknown.value.kind == ("snapshot-not-found" if spec_version == 2 else "object-not-found")
    with pytest.raises(IcechunkError) as exists:
        repo.create_branch("main", INITIAL)
    assert exists.value.kind == ("branch-already-exists" if spec_version == 2 else "branch-update-conflict")
    assert repo.list_branches() == {"main"}


def test_tags(storage: icechunk.Storage, spec_version: int) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    first = commit_group(repo, "a")
    repo.create_tag("v1", first)
    assert repo.list_tags() == {"v1"}
    assert repo.lookup_tag("v1") == first
    with pytest.raises(AlreadyExistsError) as exists:
        repo.create_tag("v1", INITIAL)
    assert exists.value.kind == "tag-already-exists"
    repo.delete_tag("v1")
    assert repo.list_tags() == set()
    with pytest.raises(AlreadyExistsError) as again:
        repo.create_tag("v1", first)
    assert again.value.kind == ("tag-previously-deleted" if spec_version == 2 else "tag-already-exists")
    for verb in (repo.lookup_tag, repo.delete_tag):
        with pytest.raises(RefNotFoundError) as missing:
            verb("v1")
        assert missing.value.kind == "ref-not-found"


def test_history_and_sessions_at_every_point_of_it(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    ids = [INITIAL]
    for name in "abc":
        ids.append(commit_group(repo, name, number=len(ids)))
    repo.create_tag("two", ids[2])
    history = [info for info in repo.ancestry(branch="main")]
    assert [info.id for info in history] == ids[::-1]
    assert [info.parent_id for info in history] == [*ids[-2::-1], None]
    assert [info.metadata for info in history[:3]] == [{"number": 3}, {"number": 2}, {"number": 1}]
    assert [info.id for info in repo.ancestry(tag="two")] == ids[2::-1]
    assert [info.id for info in repo.ancestry(snapshot_id=ids[1])] == ids[1::-1]
    assert (repo.lookup_snapshot(ids[2])).message == "add b"
    with pytest.raises(ValueError, match="exactly one"):
        [info for info in repo.ancestry()]

    def names(**where: Any) -> list[str]:
        session = repo.readonly_session(**where)
        assert session.read_only
        return sorted([name for name in session.store.list_dir("")])

    assert names(branch="main") == ["a", "b", "c", "zarr.json"]
    assert names(tag="two") == ["a", "b", "zarr.json"]
    assert names(snapshot_id=ids[1]) == ["a", "zarr.json"]
    at_second = (repo.lookup_snapshot(ids[2])).written_at
    assert names(branch="main", as_of=at_second) == ["a", "b", "zarr.json"]
    with pytest.raises(SnapshotNotFoundError) as early:
        names(branch="main", as_of=datetime(2000, 1, 1, tzinfo=UTC))
    assert early.value.kind == "no-snapshot-at-time"
    with pytest.raises(RefNotFoundError) as missing:
        names(branch="nope", as_of=at_second)
    assert missing.value.kind == ("ref-not-found" if spec_version == 1 else "branch-not-found")
    with pytest.raises(ValueError, match="as_of"):
        names(tag="two", as_of=at_second)
    with pytest.raises(TypeError, match="time zone"):
        names(branch="main", as_of=datetime(2000, 1, 1))
    with pytest.raises(TypeError, match="must be a datetime, not '2000-01-01'"):
        names(branch="main", as_of="2000-01-01")
    with pytest.raises(IcechunkError):
        names(snapshot_id=UNKNOWN)


def test_default_commit_metadata(storage: icechunk.Storage, spec_version: int) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    before = repo.writable_session("main")
    repo.set_default_commit_metadata({"who": "me", "where": "here"})
    assert repo.default_commit_metadata() == {"who": "me", "where": "here"}
    tip = commit_group(repo, "a", where="there")
    assert (repo.lookup_snapshot(tip)).metadata == {"who": "me", "where": "there"}
    repo.reset_branch("main", INITIAL)
    plain = before.commit("opened before", allow_empty=True)
    assert (repo.lookup_snapshot(plain)).metadata == {}


def test_metadata_that_cannot_be_stored_is_refused_before_work_is_lost(spec_version: int) -> None:
    """Not by the commit at the end of a session, and not after manifests have been written."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = Repository.create(storage, spec_version=spec_version)
    nonsense: Any
    for nonsense in ({"a": object()}, {1: 2}, ["a"], "a", None):
        with pytest.raises(TypeError):
            repo.set_default_commit_metadata(nonsense)
        assert repo.default_commit_metadata() == {}
    session = repo.writable_session("main")
    faults.clear()
    for nonsense in ({"a": object()}, {1: 2}, ["a"], []):
        for verb in (session.commit, session.amend, session.flush):
            with pytest.raises(TypeError):
                verb("nonsense", metadata=nonsense)
    assert faults.count("*") == 0


def test_metadata_of_commits_is_copied(storage: icechunk.Storage, spec_version: int) -> None:
    """What users do to their dicts afterwards, or to those that they got, changes no history."""
    repo = Repository.create(storage, spec_version=spec_version)
    defaults: dict[str, Any] = {"who": {"names": ["me"]}}
    repo.set_default_commit_metadata(defaults)
    session = repo.writable_session("main")
    defaults["who"]["names"].append("you")
    repo.default_commit_metadata()["who"]["names"].append("them")
    tip = session.commit("write", {"n": [1]}, allow_empty=True)
    expected = {"who": {"names": ["me"]}, "n": [1]}
    found = repo.lookup_snapshot(tip)
    found.metadata["n"].append(2)
    for each in repo.ancestry(branch="main"):
        each.metadata["new"] = True
    assert repo.default_commit_metadata() == {"who": {"names": ["me"]}}
    assert (repo.lookup_snapshot(tip)).metadata == expected


def test_configuration_is_stored_and_overlaid(
    storage: icechunk.Storage, spec_version: int
) -> None:
    config = RepositoryConfig(inline_chunk_threshold_bytes=12)
    repo = Repository.create(storage, config, spec_version=spec_version)
    assert repo.config.inline_chunk_threshold_bytes == 12
    stored = Repository.fetch_config(storage)
    assert stored is not None
    assert stored.inline_chunk_threshold_bytes == 12
    opened = Repository.open(storage, RepositoryConfig(get_partial_values_concurrency=3))
    assert opened.config.inline_chunk_threshold_bytes == 12
    assert opened.config.get_partial_values_concurrency == 3
    changed = opened.reopen(RepositoryConfig(inline_chunk_threshold_bytes=99))
    assert changed.config.inline_chunk_threshold_bytes == 99
    assert opened.config.inline_chunk_threshold_bytes == 12
    changed.save_config()
    stored = Repository.fetch_config(storage)
    assert stored is not None
    assert (stored.inline_chunk_threshold_bytes, stored.get_partial_values_concurrency) == (99, 3)
    changed.save_config()


def store_config(repo: Repository, document: dict[str, Any]) -> None:
    """Store a configuration document as it stands, whatever is in it."""
    assets = repo._assets
    if repo.spec_version == 1:
        backend = assets.backend()
        backend.put("config.yaml", dump_yaml(document))
    else:
        data = flexbuffers.dumps(document)
        update_repo_info(assets, lambda info, stamp: set_config(info, data, stamp))


def stored_config(repo: Repository) -> Any:
    """The configuration document as it is stored."""
    assets = repo._assets
    if repo.spec_version == 1:
        backend = assets.backend()
        return load_yaml(bytes(backend.get("config.yaml")), "config.yaml")
    info = fetch_repo_info(assets)
    assert info.config is not None
    return flexbuffers.loads(info.config, "repo")


def test_settings_of_newer_releases_survive_a_change_of_the_others(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    future = {"future": {"a": [1, 2.5, None]}, "caching": {"num_dreams": 3, "num_chunk_refs": 5}}
    store_config(repo, future)
    repo = Repository.open(storage, RepositoryConfig(inline_chunk_threshold_bytes=7))
    repo.save_config()
    document = stored_config(repo)
    assert document["future"] == {"a": [1, 2.5, None]}
    assert (document["caching"]["num_dreams"], document["caching"]["num_chunk_refs"]) == (3, 5)
    assert document["inline_chunk_threshold_bytes"] == 7


def test_containers_that_were_taken_away_do_not_come_back(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Names that users give are no settings of a newer release."""
    here = {"url_prefix": "s3://here/", "store": "in_memory", "future": 1}
    there = {"url_prefix": "s3://there/", "store": "in_memory"}
    repo = Repository.create(storage, spec_version=spec_version)
    store_config(repo, {"virtual_chunk_containers": {"s3://here/": here, "s3://there/": there}})
    repo = Repository.open(storage)
    config = repo.config
    assert config.virtual_chunk_containers is not None
    kept = {"s3://here/": config.virtual_chunk_containers["s3://here/"]}
    repo = repo.reopen(RepositoryConfig(virtual_chunk_containers=kept))
    repo.save_config()
    containers = (stored_config(repo))["virtual_chunk_containers"]
    assert set(containers) == {"s3://here/"}
    assert containers["s3://here/"]["future"] == 1


def test_a_configuration_whose_answer_was_lost_can_be_saved_again(spec_version: int) -> None:
    """It is not one that somebody else has stored."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    Repository.create(storage, spec_version=spec_version)
    repo = Repository.open(storage, RepositoryConfig(inline_chunk_threshold_bytes=7))
    faults.fail("put_conditional", moment="after")
    with pytest.raises(StorageError, match="injected"):
        repo.save_config()
    repo.save_config()
    repo.save_config()
    stored = Repository.fetch_config(storage)
    assert stored is not None
    assert stored.inline_chunk_threshold_bytes == 7


def test_the_default_configuration_is_not_stored(
    storage: icechunk.Storage, spec_version: int
) -> None:
    Repository.create(storage, RepositoryConfig.default(), spec_version=spec_version)
    assert Repository.fetch_config(storage) is None


def test_a_configuration_that_somebody_else_changed_is_not_overwritten(
    storage: icechunk.Storage,
) -> None:
    Repository.create(storage, spec_version=1)
    ours = Repository.open(storage, RepositoryConfig(inline_chunk_threshold_bytes=1))
    theirs = Repository.open(storage, RepositoryConfig(inline_chunk_threshold_bytes=2))
    theirs.save_config()
    with pytest.raises(ConflictError) as caught:
        ours.save_config()
    assert caught.value.kind == "config-updated"
    stored = Repository.fetch_config(storage)
    assert stored is not None
    assert stored.inline_chunk_threshold_bytes == 2


def test_a_transaction_commits_at_its_end_or_not_at_all(
    storage: icechunk.Storage, spec_version: int
) -> None:
    repo = Repository.create(storage, spec_version=spec_version)
    with repo.transaction("main", message="one", metadata={"n": 1}) as store:
        zarr.api.synchronous.open_group(store, mode="a")
    tip = repo.lookup_branch("main")
    info = repo.lookup_snapshot(tip)
    assert (info.message, info.metadata) == ("one", {"n": 1})

    def fail() -> None:
        with repo.transaction("main", message="two") as store:
            zarr.api.synchronous.open_group(store, path="x", mode="a")
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert repo.lookup_branch("main") == tip


def test_names_of_refs_in_spec_1_have_no_slash(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage, spec_version=1)
    with pytest.raises(InvalidInputError) as caught:
        repo.create_branch("a/b", INITIAL)
    assert caught.value.kind == "invalid-ref-name"


def test_a_read_only_session_refuses_changes(storage: icechunk.Storage) -> None:
    repo = Repository.create(storage)
    session = repo.readonly_session("main")
    with pytest.raises(SessionStateError) as commit:
        session.commit("nothing")
    assert commit.value.kind == "commit-not-allowed"
    with pytest.raises(ReadOnlyError) as discard:
        session.discard_changes()
    assert discard.value.kind == "read-only-session"


def test_branch_changes_meet_commits_on_other_branches(storage: icechunk.Storage) -> None:
    """Both succeed, each applied to the repo object as it is by then."""
    repo = Repository.create(storage)
    other = Repository.open(storage)
    session = repo.writable_session("main")
    zarr.api.synchronous.open_group(session.store, mode="a")
    other.create_branch("dev", INITIAL)
    other.create_tag("v0", INITIAL)
    tip = session.commit("lands all the same")
    assert other.list_branches() == {"main", "dev"}
    assert other.lookup_branch("main") == tip
    assert repo.list_tags() == {"v0"}
