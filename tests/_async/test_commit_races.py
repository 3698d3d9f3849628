"""Commits that lose a race at the last moment, when everything is written but the branch: rebased and landed.

Somebody else is let in by a storage that calls a function before a request. What they do goes past that
storage, so that only our own requests are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import icechunk
from icechunk import (
    BasicConflictSolver,
    ConflictDetector,
    ConflictError,
    ManifestConfig,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
    RebaseFailedError,
    Repository,
    RepositoryConfig,
    VersionSelection,
)
from icechunk._core.preconditions import PreconditionFailed
from icechunk.testing.faults import Faults, faulty_storage
from tests import trees
from tests.meetings import after
from tests.trees import Content, Edit, array, content_async, edit_async, group

if TYPE_CHECKING:
    from collections.abc import Callable

DETECTOR = ConflictDetector()
CELLS_OF_TWO = RepositoryConfig(
    manifest=ManifestConfig(
        splitting=ManifestSplittingConfig.from_dict(
            {ManifestSplitCondition.AnyArray(): {ManifestSplitDimCondition.Any(): 2}}
        )
    )
)
START: list[Edit] = [
    *(("zarr.json", group()), ("a/zarr.json", array(6)), ("b/zarr.json", array(4))),
    *((f"a/c/{number}", b"start") for number in range(6)),
]
OURS: list[Edit] = [("a/c/0", b"us"), ("a/c/2", b"us"), ("b/c/3", b"us")]


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def rival(storage: icechunk.Storage, spec_version: int) -> Repository:
    """The repository as others have it."""
    repo = Repository.create(storage, CELLS_OF_TWO, spec_version=spec_version)
    commit(repo, START)
    return repo


@pytest.fixture
def ours(storage: icechunk.Storage, faults: Faults, rival: Repository) -> Repository:  # noqa: ARG001
    """The repository as we have it, behind a storage that counts and that lets others in."""
    return Repository.open(faulty_storage(storage, faults))


@pytest.fixture
def landing(spec_version: int) -> str:
    """The object whose replacement makes a commit known."""
    return "repo" if spec_version == 2 else "refs/branch.main/ref.json"


def commit(repo: Repository, edits: list[Edit]) -> str:
    session = repo.writable_session("main")
    trees.edit(session, edits)
    return session.commit("theirs")


def committing(repo: Repository, *commits: list[Edit]) -> Callable[[], object]:
    """A function that makes the next of some commits."""
    following = iter(commits)
    return lambda: commit(repo, next(following))


def stored(repo: Repository) -> Content:
    return trees.content(repo.readonly_session("main"))


CHANGES_OF_OTHERS: dict[str, tuple[list[Edit], int]] = {
    "nothing of ours": ([("a/c/5", b"them"), ("n/zarr.json", group())], 3),
    "the attributes of a group": ([("zarr.json", group(by="them"))], 3),
    "a cell that we touch": ([("a/c/3", b"them")], 4),
    "two cells that we touch": ([("a/c/3", b"them"), ("a/c/1", b"them")], 5),
    "cells of both arrays": ([("a/c/3", b"them"), ("b/c/2", b"them"), ("a/c/4", b"them")], 5),
}
"""What others do in the meantime, and how many manifests we write in all: three at first."""


@pytest.mark.parametrize("what", CHANGES_OF_OTHERS)
async def test_manifests_are_written_again_only_where_others_changed_something_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str, what: str
) -> None:
    edits, manifests = CHANGES_OF_OTHERS[what]
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    faults.clear()
    faults.call("put_conditional", landing, committing(rival, edits))
    tip = await session.commit_async("ours", rebase_with=DETECTOR)
    assert faults.count("put", "manifests/*") == manifests
    assert faults.count("put", "snapshots/*") == faults.count("put", "transactions/*") == 2
    assert stored(rival) == after([*edits, *OURS], after(START, {}))
    assert await content_async(session) == stored(rival)
    assert (session.snapshot_id, session.read_only) == (tip, True)
    history = list(rival.ancestry(branch="main"))
    assert [info.message for info in history] == ["ours", "theirs", "theirs", "Repository initialized"]
    diff = rival.diff(from_snapshot_id=history[1].id, to_branch="main")
    assert diff.updated_chunks == {"/a": [[0], [2]], "/b": [[3]]}


async def test_every_manifest_of_the_result_is_listed_and_used_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    """Neither those that the second attempt took over from the first are missing, nor are others left in."""
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    faults.call("put_conditional", landing, committing(rival, [("a/c/3", b"them")]))
    tip = await session.commit_async("ours", rebase_with=DETECTOR)
    listed = rival.list_manifest_files(tip)
    assert len({file.id for file in listed}) == len(listed) == 4
    assert sum(file.num_chunk_refs for file in listed) == 7


async def test_chunks_given_up_in_a_race_are_not_in_the_manifests_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    """A manifest that was written with them is not used again."""
    session = await ours.writable_session_async("main")
    await edit_async(session, [*OURS, ("a/c/1", b"us")])
    edits: list[Edit] = [("a/c/0", b"them"), ("a/c/2", None)]
    faults.call("put_conditional", landing, committing(rival, edits))
    solver = BasicConflictSolver(on_chunk_conflict=VersionSelection.UseTheirs)
    await session.commit_async("ours", rebase_with=solver)
    assert stored(rival) == after([*edits, ("a/c/1", b"us"), ("b/c/3", b"us")], after(START, {}))


async def test_chunks_kept_in_a_race_are_in_the_manifests_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    edits: list[Edit] = [("a/c/0", b"them"), ("a/c/1", b"them"), ("a/c/2", None)]
    faults.call("put_conditional", landing, committing(rival, edits))
    await session.commit_async("ours", rebase_with=BasicConflictSolver())
    assert stored(rival) == after([*edits, *OURS], after(START, {}))


async def test_arrays_that_others_resize_or_make_anew_get_new_manifests_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    class KeepWhatFits:
        def solve(self, conflict: icechunk.Conflict) -> VersionSelection:
            deleted = icechunk.ConflictType.ChunksUpdatedInDeletedArray
            if conflict.conflict_type is deleted:
                return VersionSelection.UseTheirs
            return VersionSelection.UseOurs

    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    edits: list[Edit] = [
        *(("a/zarr.json", array(2)), ("b/zarr.json", None)),
        *(("b/zarr.json", array(4)), ("b/c/0", b"them")),
    ]
    faults.call("put_conditional", landing, committing(rival, edits))
    await session.commit_async("ours", rebase_with=KeepWhatFits())
    assert stored(rival) == {
        "zarr.json": group(),
        **{"a/zarr.json": array(2), "a/c/0": b"us", "a/c/1": b"start"},
        **{"b/zarr.json": array(4), "b/c/0": b"them"},
    }


async def test_several_races_are_lost_and_the_last_is_won_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    others: list[list[Edit]] = [
        [("a/c/1", b"first")],
        [("n/zarr.json", group())],
        [("a/c/3", b"third"), ("b/c/0", b"third")],
        [("a/c/1", None)],
    ]
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    faults.clear()
    faults.call("put_conditional", landing, committing(rival, *others), times=len(others))
    await session.commit_async("ours", {"by": "us"}, rebase_with=DETECTOR)
    assert stored(rival) == after([*others[0], *others[1], *others[2], *others[3], *OURS], after(START, {}))
    newest = next(iter(rival.ancestry(branch="main")))
    assert newest.metadata == {"by": "us", "__icechunk": {"rebase_attempts": 4}}
    # Three at first; a cell of `a` after the first and the fourth, and after the third one.
    assert faults.count("put", "manifests/*") == 3 + 1 + 0 + 1 + 1


async def test_attempts_are_counted_beside_what_is_there_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    given = {"__icechunk": {"purpose": "a test", "rebase_attempts": 77}, "by": "us"}
    ours.set_default_commit_metadata({"institution": "ours"})
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    faults.call("put_conditional", landing, committing(rival, [("a/c/5", b"them")]))
    await session.commit_async("ours", given, rebase_with=DETECTOR)
    newest = next(iter(rival.ancestry(branch="main")))
    assert newest.metadata == {
        "institution": "ours",
        "by": "us",
        "__icechunk": {"purpose": "a test", "rebase_attempts": 1},
    }
    assert given["__icechunk"] == {"purpose": "a test", "rebase_attempts": 77}


async def test_without_a_race_no_attempt_is_counted_async(ours: Repository, rival: Repository) -> None:
    counted = {"__icechunk": {"rebase_attempts": 0}}
    for solver, tries, metadata in ((None, 1000, {}), (DETECTOR, 1000, counted), (DETECTOR, 0, counted)):
        session = await ours.writable_session_async("main")
        await edit_async(session, [("a/c/0", str((solver, tries)).encode())])
        await session.commit_async("ours", rebase_with=solver, rebase_tries=tries)
        assert next(iter(rival.ancestry(branch="main"))).metadata == metadata


@pytest.mark.parametrize("tries", [0, 1, 3])
async def test_when_all_tries_are_used_the_session_can_go_on_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str, tries: int
) -> None:
    others: list[list[Edit]] = [[(f"n{number}/zarr.json", group())] for number in range(tries + 1)]
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    base = session.snapshot_id
    faults.call("put_conditional", landing, committing(rival, *others), times=None)
    with pytest.raises(ConflictError) as lost:
        await session.commit_async("ours", rebase_with=DETECTOR, rebase_tries=tries)
    assert not isinstance(lost.value, RebaseFailedError)
    assert lost.value.kind == "commit-conflict"
    assert lost.value.actual_parent == rival.lookup_branch("main")
    newest_first = [info.id for info in rival.ancestry(branch="main")]
    assert lost.value.expected_parent == session.snapshot_id == newest_first[1]
    assert (session.snapshot_id == base) == (tries == 0)
    faults.clear()
    assert session.status().updated_chunks == {"/a": [[0], [2]], "/b": [[3]]}
    await edit_async(session, [("b/c/0", b"later")])
    await session.commit_async("ours", rebase_with=DETECTOR, rebase_tries=1)
    expected = [*(each for one in others for each in one), *OURS, ("b/c/0", b"later")]
    assert stored(rival) == after(expected, after(START, {}))


async def test_a_race_that_contradicts_ends_the_commit_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    faults.call("put_conditional", landing, committing(rival, [("a/zarr.json", None)]))
    with pytest.raises(RebaseFailedError) as failed:
        await session.commit_async("ours", rebase_with=DETECTOR)
    assert failed.value.snapshot == rival.lookup_branch("main")
    assert stored(rival) == after([("a/zarr.json", None)], after(START, {}))
    assert await content_async(session) == after(OURS, after(START, {}))


@pytest.mark.parametrize("key", ["manifests/*", "snapshots/*", "transactions/*"])
async def test_an_attempt_that_fails_after_a_lost_race_leaves_a_session_that_goes_on_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str, key: str
) -> None:
    """It is rebased by then, has all of its changes, and nothing is on the branch."""
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)

    def let_them_in_and_break() -> None:
        commit(rival, [("a/c/3", b"them")])
        faults.fail("put", key)

    faults.call("put_conditional", landing, let_them_in_and_break)
    with pytest.raises(icechunk.StorageError, match="injected"):
        await session.commit_async("ours", rebase_with=DETECTOR)
    assert session.snapshot_id == rival.lookup_branch("main")
    assert stored(rival) == after([("a/c/3", b"them")], after(START, {}))
    await session.commit_async("ours")
    assert stored(rival) == after([("a/c/3", b"them"), *OURS], after(START, {}))


async def test_a_commit_whose_answer_was_lost_is_not_rebased_over_itself_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    """It landed. To rebase it over itself would conflict with itself, or make it twice."""
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    faults.fail("put_conditional", landing, error=PreconditionFailed(landing), moment="after")
    tip = await session.commit_async("ours", rebase_with=DETECTOR)
    history = list(rival.ancestry(branch="main"))
    assert [info.message for info in history] == ["ours", "theirs", "Repository initialized"]
    assert (session.snapshot_id, session.read_only, history[0].id) == (tip, True, tip)


async def test_a_commit_and_a_new_branch_or_tag_do_not_get_in_each_others_way_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    """Names that others make while a commit is on its way: both are there, and nothing was rebased."""
    session = await ours.writable_session_async("main")
    await edit_async(session, OURS)
    base = session.snapshot_id

    def make_names() -> None:
        rival.create_branch("dev", base)
        rival.create_tag("v1", base)
        other = rival.writable_session("dev")
        trees.edit(other, [("a/c/0", b"on another branch")])
        other.commit("dev")

    faults.call("put_conditional", landing, make_names)
    tip = await session.commit_async("ours", rebase_with=DETECTOR)
    assert rival.lookup_branch("main") == tip
    assert rival.lookup_tag("v1") == base
    assert rival.lookup_branch("dev") not in (tip, base)
    newest = next(iter(rival.ancestry(branch="main")))
    assert (newest.parent_id, newest.metadata) == (base, {"__icechunk": {"rebase_attempts": 0}})


async def test_a_transaction_rebases_async(
    ours: Repository, rival: Repository, faults: Faults, landing: str
) -> None:
    faults.call("put_conditional", landing, committing(rival, [("a/c/3", b"them")]))
    async with ours.transaction_async("main", message="ours", rebase_with=DETECTOR) as store:
        await edit_async(store.session, OURS)
    assert stored(rival) == after([("a/c/3", b"them"), *OURS], after(START, {}))

    faults.call("put_conditional", landing, committing(rival, [("a/c/3", b"them again")], []), times=2)
    with pytest.raises(ConflictError):
        async with ours.transaction_async(
            "main", message="ours", rebase_with=DETECTOR, rebase_tries=0
        ) as store:
            await edit_async(store.session, [("a/c/0", b"us again")])
    faults.clear()
    commit(rival, [("a/c/0", b"in between")])
    with pytest.raises(TypeError, match="a conflict solver is an object"):
        async with ours.transaction_async("main", message="ours", rebase_with=ConflictDetector) as store:  # type: ignore[arg-type]
            await edit_async(store.session, [("a/c/0", b"us again")])
    assert stored(rival)["a/c/0"] == b"in between"
