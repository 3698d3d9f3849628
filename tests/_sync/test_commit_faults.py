# Generated from tests/_async/test_commit_faults.py by tools/make_sync.py; edit that file.
"""Commits over a storage that fails: nothing is lost, nothing is half, and the session goes on."""

from __future__ import annotations

import pytest

import icechunk
from icechunk import Repository, RepositoryConfig, StorageError
from icechunk._core.preconditions import PreconditionFailed
from icechunk._io.clock import now_us, use_clock
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array, read, write

NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)


@pytest.mark.parametrize("key", ["manifests/*", "snapshots/*", "transactions/*"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_failed_write_of_a_commit_changes_nothing(
    spec_version: int, key: str, moment: str
) -> None:
    """The failure is raised, no ref has moved, and the same session commits later."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = Repository.create(faulty_storage(inner, faults), NATIVE, spec_version=spec_version)
    base = repo.lookup_branch("main")
    session = repo.writable_session("main")
    array = create_array(session, "a", (4,), chunks=(2,))
    write(array, ..., [1, 2, 3, 4])
    faults.fail("put", key, moment=moment)  # type: ignore[arg-type]  # one of two literals
    with pytest.raises(StorageError, match="injected"):
        session.commit("fails")
    assert repo.lookup_branch("main") == base
    assert session.has_uncommitted_changes
    assert (session.branch, session.read_only) == ("main", False)
    session.commit("lands")
    reader = (Repository.open(inner)).readonly_session("main")
    assert (read(reader, "a")).tolist() == [1, 2, 3, 4]


def test_a_failed_write_of_a_chunk_is_raised_and_not_recorded(spec_version: int) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = Repository.create(faulty_storage(inner, faults), NATIVE, spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (2,), chunks=(2,))
    faults.fail("put", "chunks/*")
    with pytest.raises(StorageError, match="injected"):
        write(array, ..., [1, 2])
    assert session.status().updated_chunks == {}
    write(array, ..., [3, 4])
    session.commit("lands")
    reader = (Repository.open(inner)).readonly_session("main")
    assert (read(reader, "a")).tolist() == [3, 4]


def test_a_commit_whose_answer_was_lost_is_not_a_conflict_with_itself() -> None:
    """Not even when somebody else has committed on top of it before we look again."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = Repository.create(faulty_storage(inner, faults), spec_version=2)
    session = repo.writable_session("main")
    create_array(session, "ours", (2,))
    landed: list[str] = []

    def commit_on_top_and_lose_the_answer() -> None:
        rival = Repository.open(inner).writable_session("main")
        landed.append(rival.snapshot_id)
        landed.append(rival.commit("theirs", allow_empty=True))
        raise PreconditionFailed("repo")

    faults.call("put_conditional", "repo", commit_on_top_and_lose_the_answer, moment="after")
    ours = session.commit("ours")
    assert landed[0] == ours
    history = [info.id for info in repo.ancestry(branch="main")]
    assert history[:2] == [landed[1], ours]
    assert len(history) == 3


def pointer(spec_version: int) -> str:
    """The object that a commit replaces at last."""
    return "repo" if spec_version == 2 else "refs/branch.main/ref.json"


@pytest.mark.parametrize("rebase_with", [None, icechunk.ConflictDetector()], ids=["plain", "rebase"])
@pytest.mark.parametrize("on_top", [False, True], ids=["tip", "ancestor"])
def test_a_commit_that_failed_and_has_landed_is_found_by_the_next_one(
    spec_version: int, on_top: bool, rebase_with: icechunk.ConflictSolver | None
) -> None:
    """It is neither a conflict of the session with itself, nor committed twice."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = Repository.create(faulty_storage(inner, faults), spec_version=spec_version)
    session = repo.writable_session("main")
    write(create_array(session, "a", (4,), chunks=(2,)), ..., [1, 2, 3, 4])
    faults.fail("put_conditional", pointer(spec_version), moment="after")
    with pytest.raises(StorageError, match="injected"):
        session.commit("ours", rebase_with=rebase_with)
    tip = repo.lookup_branch("main")
    if on_top:
        other = (Repository.open(inner)).writable_session("main")
        other.commit("theirs", allow_empty=True)
    assert session.commit("ours", rebase_with=rebase_with) == tip
    assert (session.read_only, session.snapshot_id) == (True, tip)
    messages = [info.message for info in repo.ancestry(branch="main")]
    assert messages == ["theirs"] * on_top + ["ours", "Repository initialized"]
    assert (read(session, "a")).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_changes_after_a_commit_that_failed_are_never_taken_for_committed(
    spec_version: int, moment: str
) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = Repository.create(faulty_storage(inner, faults), spec_version=spec_version)
    session = repo.writable_session("main")
    array = create_array(session, "a", (4,), chunks=(2,))
    faults.fail("put_conditional", pointer(spec_version), moment=moment)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="injected"):
        session.commit("fails")
    write(array, ..., [1, 2, 3, 4])
    if moment == "after":
        with pytest.raises(icechunk.ConflictError):
            session.commit("more")
    else:
        session.commit("more")
    assert (read(session, "a")).tolist() == [1, 2, 3, 4]


def test_races_for_the_repo_object_are_run_again_until_won() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    repo = Repository.create(faulty_storage(inner, faults), spec_version=2)
    session = repo.writable_session("main")
    create_array(session, "a", (2,))
    others = Repository.open(inner)
    names = iter(range(8))

    def interfere() -> None:
        others.create_tag(f"tag {next(names)}", "1CECHNKREP0F1RSTCMT0")

    faults.call("put_conditional", "repo", interfere, times=8)
    session.commit("after eight lost races")
    assert len(repo.list_tags()) == 8
    assert faults.count("put_conditional", "repo") == 1 + 9


def test_losing_every_race_is_an_error_that_says_so() -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    retries = icechunk.RepoUpdateRetryConfig(
        default=icechunk.StorageRetriesSettings(max_tries=3, initial_backoff_ms=1, max_backoff_ms=1)
    )
    repo = Repository.create(
        faulty_storage(inner, faults), RepositoryConfig(repo_update_retries=retries), spec_version=2
    )
    session = repo.writable_session("main")
    create_array(session, "a", (2,))
    faults.fail("put_conditional", "repo", error=PreconditionFailed("repo"), times=None)
    with pytest.raises(icechunk.ConflictError) as caught:
        session.commit("never lands")
    assert caught.value.kind == "update-attempts-exhausted"
    faults.clear()
    session.commit("lands")


def test_clocks_that_are_minutes_apart_refuse_a_commit(spec_version: int) -> None:
    """Times in the history would be nonsense; the message says by how much the clocks differ."""
    storage = icechunk.in_memory_storage()
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    create_array(session, "a", (2,))

    started = now_us()
    ticks = iter(range(10**6))
    with (
        use_clock(lambda: started + 700_000_000 * next(ticks)),
        pytest.raises(icechunk.FormatError) as caught,
    ):
        session.commit("when?")
    assert caught.value.kind == "snapshot-timestamp"
    assert "seconds from the clock" in str(caught.value)
    session.commit("now")


def test_a_clock_that_stepped_back_keeps_time_increasing(spec_version: int) -> None:
    storage = icechunk.in_memory_storage()
    repo = Repository.create(storage, spec_version=spec_version)
    an_hour_ago = now_us() - 3_600_000_000
    with use_clock(lambda: an_hour_ago):
        for number in range(3):
            session = repo.writable_session("main")
            session.commit(f"{number}", allow_empty=True)
    times = [info.written_at for info in repo.ancestry(branch="main")]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 4
