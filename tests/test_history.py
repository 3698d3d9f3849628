"""Looking back while others write, from threads, and what the blocking spelling says at once."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import icechunk
from icechunk import (
    ConflictError,
    FormatError,
    InvalidInputError,
    RefNotFoundError,
    Repository,
    RepositoryConfig,
    SnapshotNotFoundError,
    UpdateType,
)
from icechunk.testing.faults import Faults, faulty_storage
from tests.places import PLACES, places
from tests.threads import at_once

if TYPE_CHECKING:
    from icechunk import Session

INITIAL = "1CECHNKREP0F1RSTCMT0"
UNKNOWN = "00000000000000000000"


@pytest.fixture(params=PLACES)
def storage(request: pytest.FixtureRequest) -> icechunk.Storage:
    return places(request.param, request)()


def commit(repo: Repository, message: str, branch: str = "main") -> str:
    session: Session = repo.writable_session(branch)
    return session.commit(message, allow_empty=True)


def test_blocking_iterators_say_at_once_what_is_wrong() -> None:
    """An iterator that nobody consumes must not hide that its branch does not exist."""
    repo = Repository.create(icechunk.in_memory_storage())
    with pytest.raises(RefNotFoundError):
        repo.ancestry(branch="nowhere")
    with pytest.raises(SnapshotNotFoundError):
        repo.ancestry(snapshot_id=UNKNOWN)
    with pytest.raises(InvalidInputError):
        repo.ancestry(snapshot_id="no id")
    with pytest.raises(ValueError, match="exactly one"):
        repo.ancestry()
    with pytest.raises(FormatError):
        Repository.create(icechunk.in_memory_storage(), spec_version=1).ops_log()
    assert [info.id for info in repo.ancestry(branch="main")] == [INITIAL]


def test_a_history_is_of_one_moment_whatever_others_do_meanwhile() -> None:
    """The repository is looked at once: what is iterated cannot mix two states of it."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = Repository.create(storage)
    ids = [INITIAL, *[commit(repo, str(number)) for number in range(5)]]
    other = Repository.open(storage)
    faults.clear()
    history = repo.ancestry(branch="main")
    updates = repo.ops_log()
    assert next(history).id == ids[5]
    newest = next(updates)
    other.reset_branch("main", INITIAL)
    commit(other, "elsewhere")
    other.create_tag("t", INITIAL)
    assert [info.id for info in history] == ids[4::-1]
    assert newest.kind == UpdateType.NewCommit("main", ids[5])
    assert [update.kind for update in updates] == [
        *[UpdateType.NewCommit("main", snapshot_id) for snapshot_id in ids[4:0:-1]],
        UpdateType.RepoInitialized(),
    ]


@pytest.mark.parametrize("spec_version", [1, 2])
def test_looking_back_lists_nothing_in_spec_2(spec_version: int) -> None:
    """Whoever may read objects but not list them can look back; the refs of spec 1 have to be listed."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = Repository.create(storage, spec_version=spec_version)
    tip = commit(repo, "one")
    reader = Repository.open(storage)
    faults.clear()
    list(reader.ancestry(branch="main"))
    reader.diff(from_snapshot_id=INITIAL, to_branch="main")
    reader.lookup_snapshot(tip)
    reader.list_manifest_files(tip)
    assert faults.count("list") == 0
    reader.ancestry_graph()
    reader.list_tags()
    if spec_version == 2:
        list(reader.ops_log())
        assert faults.count("list") == 0


def test_what_we_changed_ourselves_is_seen_at_once(storage: icechunk.Storage) -> None:
    """After a change of our own the state that is kept is the new one, in every object that asks."""
    repo, other = Repository.create(storage), Repository.open(storage)
    for number in range(3):
        for writer, reader in ((repo, other), (other, repo)):
            tip = commit(writer, f"{number}")
            writer.create_tag(f"{tip}", tip)
            writer.update_metadata({"tip": tip})
            for each in (writer, reader):
                assert each.lookup_branch("main") == tip
                assert next(each.ancestry(branch="main")).id == tip
                assert each.lookup_tag(tip) == tip
                assert each.metadata["tip"] == tip
                assert next(each.ops_log()).kind == UpdateType.MetadataChanged()


def test_the_log_of_operations_stays_whole_when_many_write(storage: icechunk.Storage) -> None:
    """One entry for each change that was acknowledged, in order of time, none lost in a backup."""
    config = RepositoryConfig(num_updates_per_repo_info_file=3)
    Repository.create(storage, config)
    done: list[Any] = []

    def write(writer: int) -> None:
        repo = Repository.open(storage)
        for number in range(6):
            name = f"{writer}-{number}"
            repo.create_branch(name, INITIAL)
            done.append(UpdateType.BranchCreated(name))
            if number % 2:
                done.append(UpdateType.NewCommit(name, commit(repo, name, name)))
            with suppress(ConflictError):
                done.append(UpdateType.NewCommit("main", commit(repo, name)))

    at_once(*[partial(write, writer) for writer in range(5)])
    repo = Repository.open(storage)
    updates = list(repo.ops_log())
    assert sorted(map(str, done)) == sorted(str(update.kind) for update in updates[:-1])
    assert updates[-1].kind == UpdateType.RepoInitialized()
    times = [update.updated_at for update in updates]
    assert times == sorted(set(times), reverse=True)
    backups = [update.backup_path for update in updates]
    assert backups[0] is None
    assert len({backup for backup in backups[1:] if backup}) == len(updates) - 1
    on_main = [each for each in done if isinstance(each, UpdateType.NewCommit) and each.branch == "main"]
    assert len(list(repo.ancestry(branch="main"))) == 1 + len(on_main)


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_name_that_was_a_tag_is_never_one_again_and_main_stays(
    storage: icechunk.Storage, spec_version: int
) -> None:
    """Whoever remembers a tag must not get other data under it; a repository without main opens nowhere."""
    repo = Repository.create(storage, spec_version=spec_version)
    tip = commit(repo, "one")
    repo.create_tag("v1", tip)
    repo.delete_tag("v1")
    for again in (repo, Repository.open(storage)):
        with pytest.raises(icechunk.AlreadyExistsError):
            again.create_tag("v1", INITIAL)
        with pytest.raises(RefNotFoundError):
            again.lookup_tag("v1")
        assert again.list_tags() == set()
        with pytest.raises(icechunk.SessionStateError) as main:
            again.delete_branch("main")
        assert main.value.kind == "cannot-delete-main"
    # Branches come back.
    repo.create_branch("dev", tip)
    repo.delete_branch("dev")
    repo.create_branch("dev", INITIAL)
    assert repo.lookup_branch("dev") == INITIAL


@pytest.mark.parametrize("spec_version", [1, 2])
def test_no_name_leads_to_a_snapshot_that_is_not_there(storage: icechunk.Storage, spec_version: int) -> None:
    """A branch or tag on an unknown id would be an error for everybody who opens it later."""
    repo = Repository.create(storage, spec_version=spec_version)
    for verb in (
        partial(repo.create_branch, "dev", UNKNOWN),
        partial(repo.create_tag, "v1", UNKNOWN),
        partial(repo.reset_branch, "main", UNKNOWN),
        partial(repo.reset_branch, "main", UNKNOWN, from_snapshot_id=INITIAL),
    ):
        with pytest.raises(icechunk.IcechunkError) as unknown:
            verb()
        assert unknown.value.kind in ("snapshot-not-found", "object-not-found")
    assert repo.list_branches() == {"main"}
    assert repo.list_tags() == set()
    assert repo.lookup_branch("main") == INITIAL


def test_everything_about_history_is_exported() -> None:
    exported: dict[str, Any] = {}
    exec("from icechunk import *", exported)
    for name in (
        "AncestryGraph",
        "Diff",
        "FeatureFlag",
        "RepoAvailability",
        "RepoStatus",
        "Update",
        "UpdateType",
    ):
        assert exported[name] is getattr(icechunk, name)
    assert icechunk.ops.UpdateType is icechunk.UpdateType
