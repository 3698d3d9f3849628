"""Many writers of one branch that rebase, and threads that write into a session meanwhile.

What was acknowledged is there in the end; what could not be kept was refused.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import icechunk
from icechunk import (
    BasicConflictSolver,
    ConflictDetector,
    ReadOnlyError,
    Repository,
    RepositoryConfig,
    Session,
    SessionStateError,
    UpdateType,
)
from icechunk.testing.faults import Faults, faulty_storage
from tests.threads import PATIENCE, at_once, meanwhile, on_a_loop
from tests.trees import array, content, content_async, edit, edit_async, group

if TYPE_CHECKING:
    from collections.abc import Callable

WRITERS, COMMITS = 8, 10
DETECTOR = ConflictDetector()
NATIVE = RepositoryConfig(inline_chunk_threshold_bytes=0)


def begin(storage: icechunk.Storage, spec_version: int = 2, size: int = WRITERS * COMMITS) -> Repository:
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    edit(session, [("zarr.json", group()), ("a/zarr.json", array(size)), ("log/zarr.json", array(1))])
    session.commit("begin")
    return repo


def check_history(repo: Repository, landed: list[str], spec_version: int) -> None:
    """Every commit that was acknowledged is in the history, once, and in the log of operations."""
    history = [info.id for info in repo.ancestry(branch="main")]
    assert sorted(history[:-2]) == sorted(landed)
    assert len(set(history)) == len(history) == len(landed) + 2
    times = [info.written_at for info in repo.ancestry(branch="main")]
    assert times == sorted(times, reverse=True)
    if spec_version == 2:
        updates = list(repo.ops_log())
        commits = [
            update.kind.new_snap_id for update in updates if isinstance(update.kind, UpdateType.NewCommit)
        ]
        assert commits == history[:-1]
        moments = [update.updated_at for update in updates]
        assert moments == sorted(set(moments), reverse=True)
        backups = [update.backup_path for update in updates]
        assert len(set(backups)) == len(backups)


@pytest.mark.parametrize("together", [True, False], ids=["one repository", "a repository each"])
def test_threads_that_commit_to_one_branch_all_land(
    storage: icechunk.Storage, spec_version: int, together: bool
) -> None:
    repo = begin(storage, spec_version)

    def write(writer: int) -> list[str]:
        mine = repo if together else Repository.open(storage)
        landed = []
        for number in range(COMMITS):
            session = mine.writable_session("main")
            place = writer * COMMITS + number
            edits = [(f"a/c/{place}", b"%d" % place), (f"writer{writer}-{number}/zarr.json", group())]
            edit(session, edits)
            landed.append(session.commit(f"{writer}: {number}", rebase_with=DETECTOR))
            assert (session.read_only, session.snapshot_id) == (True, landed[-1])
        return landed

    landed = at_once(*[lambda writer=writer: write(writer) for writer in range(WRITERS)])
    check_history(repo, [each for one in landed for each in one], spec_version)
    assert content(Repository.open(storage).readonly_session("main")) == {
        **{"zarr.json": group(), "a/zarr.json": array(WRITERS * COMMITS), "log/zarr.json": array(1)},
        **{f"a/c/{place}": b"%d" % place for place in range(WRITERS * COMMITS)},
        **{
            f"writer{writer}-{number}/zarr.json": group()
            for writer in range(WRITERS)
            for number in range(COMMITS)
        },
    }
    # Each commit says for itself what it did, whatever it was rebased over.
    oldest = list(repo.ancestry(branch="main"))[-2]
    diff = repo.diff(from_snapshot_id=oldest.id, to_branch="main")
    assert len(diff.new_groups) == len(diff.updated_chunks["/a"]) == WRITERS * COMMITS
    assert diff.updated_chunks.keys() == {"/a"}


async def test_tasks_that_commit_to_one_branch_all_land(storage: icechunk.Storage, spec_version: int) -> None:
    repo = begin(storage, spec_version, WRITERS * 4)

    async def write(writer: int) -> list[str]:
        landed = []
        for number in range(4):
            session = await repo.writable_session_async("main")
            place = writer * 4 + number
            await edit_async(session, [(f"a/c/{place}", b"%d" % place)])
            landed.append(await session.commit_async(f"{writer}: {number}", rebase_with=DETECTOR))
        return landed

    landed = await asyncio.gather(*map(write, range(WRITERS)))
    check_history(repo, [each for one in landed for each in one], spec_version)
    found = await content_async(await repo.readonly_session_async("main"))
    assert {key: value for key, value in found.items() if key.startswith("a/c/")} == {
        f"a/c/{place}": b"%d" % place for place in range(WRITERS * 4)
    }


def test_threads_that_write_one_chunk_land_with_the_last_one_on_top(storage: icechunk.Storage) -> None:
    """In each snapshot the chunk is that of its commit."""
    repo = begin(storage)

    def write(writer: int) -> list[str]:
        landed = []
        for number in range(3):
            session = repo.writable_session("main")
            edit(session, [("log/c/0", f"{writer}: {number}".encode())])
            landed.append(session.commit(f"{writer}: {number}", rebase_with=BasicConflictSolver()))
        return landed

    landed = at_once(*[lambda writer=writer: write(writer) for writer in range(WRITERS)])
    check_history(repo, [each for one in landed for each in one], 2)
    for info in list(repo.ancestry(branch="main"))[:-2]:
        session = repo.readonly_session(snapshot_id=info.id)
        assert content(session)["log/c/0"] == info.message.encode()


def test_commits_of_both_spellings_take_turns(storage: icechunk.Storage) -> None:
    repo = begin(storage)

    def write(writer: int) -> list[str]:
        landed = []
        for number in range(5):
            session = repo.writable_session("main")
            edit(session, [(f"a/c/{writer * 5 + number}", b"x")])
            landed.append(session.commit("blocking", rebase_with=DETECTOR))
        return landed

    async def write_on_a_loop(writer: int) -> list[str]:
        landed = []
        for number in range(5):
            session = await repo.writable_session_async("main")
            await edit_async(session, [(f"a/c/{writer * 5 + number}", b"x")])
            landed.append(await session.commit_async("awaited", rebase_with=DETECTOR))
        return landed

    jobs: list[Callable[[], Any]] = [
        *(lambda writer=writer: write(writer) for writer in range(2)),
        *(lambda writer=writer: on_a_loop(write_on_a_loop, writer) for writer in range(2, 4)),
    ]
    landed = at_once(*jobs)
    check_history(repo, [each for one in landed for each in one], 2)
    assert len(content(repo.readonly_session("main"))) == 3 + 20


def test_a_solver_that_commits_to_the_same_branch_does_not_wait_for_ever() -> None:
    """Its commit gets no turn while the other has it, and goes ahead."""

    class Meddler:
        met = 0

        def solve(self, conflict: icechunk.Conflict) -> icechunk.VersionSelection:
            self.met += 1
            if self.met == 1:
                other = repo.writable_session("main")
                edit(other, [("a/c/7", b"meddled")])
                other.commit("meddled", rebase_with=DETECTOR)
            assert conflict.path == "/a"
            return icechunk.VersionSelection.UseOurs

    repo = begin(icechunk.in_memory_storage())
    session, rival = repo.writable_session("main"), repo.writable_session("main")
    edit(session, [("a/c/0", b"us")])
    edit(rival, [("a/c/0", b"them")])
    rival.commit("theirs")
    session.commit("ours", rebase_with=Meddler())
    found = content(repo.readonly_session("main"))
    assert (found["a/c/0"], found["a/c/7"]) == (b"us", b"meddled")


# Writes while a session is rebased or committed

VERBS: dict[str, Callable[[Session], object]] = {
    "write a chunk": lambda session: edit(session, [("a/c/3", b"late")]),
    "write a large chunk": lambda session: edit(session, [("a/c/3", b"late" * 1000)]),
    "delete a chunk": lambda session: edit(session, [("a/c/0", None)]),
    "create a node": lambda session: edit(session, [("late/zarr.json", group())]),
    "update a node": lambda session: edit(session, [("a/zarr.json", array(99))]),
    "delete a node": lambda session: edit(session, [("log/zarr.json", None)]),
    "delete everything": lambda session: session.store.sync_clear(),
    "discard": lambda session: session.discard_changes(),
}


@pytest.mark.parametrize("during", ["commit", "rebase", "amend", "flush"])
@pytest.mark.parametrize("verb", VERBS)
def test_what_comes_in_between_is_refused_and_can_be_repeated(during: str, verb: str) -> None:
    """By another thread, at a moment when it would be lost. Readers are let in."""
    inner, faults = icechunk.in_memory_storage(), Faults()
    begin(inner)
    repo = Repository.open(faulty_storage(inner, faults))
    session = repo.writable_session("main")
    edit(session, [("a/c/0", b"us")])
    if during == "rebase":
        rival = Repository.open(inner).writable_session("main")
        edit(rival, [("a/c/1", b"them")])
        rival.commit("theirs")
    before = content(session)
    met: list[Exception] = []

    def interfere() -> None:
        def act() -> None:
            assert content(session)["a/c/0"] == b"us"
            VERBS[verb](session)

        try:
            at_once(act)
        except Exception as error:
            met.append(error)

    if during == "rebase":
        faults.call("get*", "transactions/*", interfere)
        session.rebase(DETECTOR)
        before["a/c/1"] = b"them"
    else:
        faults.call("put", "transactions/*", interfere)
        getattr(session, during)("ours")
    assert len(met) == 1
    assert isinstance(met[0], ReadOnlyError), met
    assert met[0].kind == "read-only-session"
    assert "under way" in str(met[0])
    assert content(session) == before
    if during == "rebase":
        VERBS[verb](session)
        assert content(session) != before


@pytest.mark.parametrize("during", ["commit", "rebase", "amend", "flush"])
@pytest.mark.parametrize("second", ["commit", "rebase", "amend", "flush"])
def test_one_of_two_commits_or_rebases_of_a_session_at_once_is_refused(during: str, second: str) -> None:
    inner, faults = icechunk.in_memory_storage(), Faults()
    others = begin(inner)
    repo = Repository.open(faulty_storage(inner, faults))
    session = repo.writable_session("main")
    edit(session, [("a/c/0", b"us")])
    if "rebase" in (during, second) and during not in ("commit", "amend"):
        rival = others.writable_session("main")
        edit(rival, [("a/c/1", b"them")])
        rival.commit("theirs")

    def call(name: str) -> None:
        session.rebase(DETECTOR) if name == "rebase" else getattr(session, name)("ours")

    met: list[SessionStateError] = []

    def interfere() -> None:
        with pytest.raises(SessionStateError) as refused:
            at_once(lambda: call(second))
        met.append(refused.value)

    faults.call(*(("get*", "transactions/*") if during == "rebase" else ("put", "snapshots/*")), interfere)
    call(during)
    assert [(error.kind, "under way" in str(error)) for error in met] == [("commit-not-allowed", True)]


def persistently(write: Callable[[], object], refused: list[int]) -> bool:
    """Try again while a rebase is under way; whether it was written in the end."""
    while True:
        try:
            write()
        except ReadOnlyError as error:
            if error.kind != "read-only-session" or "under way" not in str(error):
                return False
            refused.append(1)
        else:
            return True


@pytest.mark.parametrize("awaited", [False, True], ids=["blocking", "awaited"])
def test_no_acknowledged_write_is_lost_to_a_rebase(storage: icechunk.Storage, awaited: bool) -> None:
    """Writers go on while the session is rebased again and again, then committed under their hands."""
    repo = Repository.create(storage, NATIVE)
    session = repo.writable_session("main")
    edit(session, [("zarr.json", group()), ("a/zarr.json", array(10**6)), ("b/zarr.json", array(100))])
    session.commit("begin")
    session = repo.writable_session("main")
    acknowledged: list[str] = []
    refused: list[int] = []
    numbers = iter(range(10**6))
    lock = threading.Lock()

    def write() -> None:
        with lock:
            key = f"a/c/{next(numbers)}"
        if persistently(lambda: edit(session, [(key, key.encode())]), refused):
            acknowledged.append(key)

    with meanwhile(write, write, write):
        for number in range(12):
            rival = repo.writable_session("main")
            edit(rival, [(f"b/c/{number}", b"them")])
            rival.commit("theirs")
            if awaited:
                asyncio.run(session.rebase_async(DETECTOR))
            else:
                session.rebase(DETECTOR)
            count = len(acknowledged)
            for _ in range(1000):
                if len(acknowledged) > count:
                    break
                threading.Event().wait(PATIENCE / 1000)
        if awaited:
            asyncio.run(session.commit_async("ours", rebase_with=DETECTOR))
        else:
            session.commit("ours", rebase_with=DETECTOR)
    assert len(acknowledged) > 12
    found = content(Repository.open(storage).readonly_session("main"))
    assert {key for key in found if key.startswith("a/c/")} == set(acknowledged)
    assert all(found[key] == key.encode() for key in acknowledged)
    assert {key for key in found if key.startswith("b/c/")} == {f"b/c/{number}" for number in range(12)}
