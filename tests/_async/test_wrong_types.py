"""Arguments of a wrong type: refused under their names, before anything is read or written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import icechunk
from icechunk import Repository
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

INITIAL = "1CECHNKREP0F1RSTCMT0"


def verbs_that_take_names(repo: Repository) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
    """Calls with one argument each that is no text, and the name of that argument."""
    wrong: Any = 5
    return [
        ("branch", lambda: repo.lookup_branch_async(wrong)),
        ("branch", lambda: repo.create_branch_async(wrong, INITIAL)),
        ("snapshot_id", lambda: repo.create_branch_async("new", wrong)),
        ("branch", lambda: repo.reset_branch_async(wrong, INITIAL)),
        ("snapshot_id", lambda: repo.reset_branch_async("main", wrong)),
        ("from_snapshot_id", lambda: repo.reset_branch_async("main", INITIAL, from_snapshot_id=wrong)),
        ("branch", lambda: repo.delete_branch_async(wrong)),
        ("tag", lambda: repo.lookup_tag_async(wrong)),
        ("tag", lambda: repo.create_tag_async(wrong, INITIAL)),
        ("snapshot_id", lambda: repo.create_tag_async("new", wrong)),
        ("tag", lambda: repo.delete_tag_async(wrong)),
        ("snapshot_id", lambda: repo.lookup_snapshot_async(wrong)),
        ("snapshot_id", lambda: repo.list_manifest_files_async(wrong)),
        ("branch", lambda: repo.writable_session_async(wrong)),
        ("branch", lambda: repo.rearrange_session_async(wrong)),
        ("branch", lambda: repo.readonly_session_async(wrong)),
        ("tag", lambda: repo.readonly_session_async(tag=wrong)),
        ("snapshot_id", lambda: repo.readonly_session_async(snapshot_id=wrong)),
        ("branch", lambda: repo.ancestry_graph_async(branch=wrong)),
        ("from_tag", lambda: repo.diff_async(from_tag=wrong, to_branch="main")),
        ("to_branch", lambda: repo.diff_async(from_snapshot_id=INITIAL, to_branch=wrong)),
        ("name", lambda: repo.set_feature_flag_async(wrong, True)),
    ]


async def test_a_name_that_is_no_text_is_refused_before_anything_is_done_async(spec_version: int) -> None:
    """A branch `5` must neither be looked for, nor fail half way through a change of the repository."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage, spec_version=spec_version)
    await repo.create_tag_async("v1", INITIAL)
    faults.clear()
    for name, call in verbs_that_take_names(repo):
        with pytest.raises(TypeError, match=f"^{name} must be of type str, not 5$"):
            await call()
    wrong: Any = INITIAL.encode()
    with pytest.raises(TypeError, match=r"^snapshot_id must be of type str, not b'"):
        repo.async_ancestry(snapshot_id=wrong)
    for required in (repo.writable_session_async, repo.lookup_tag_async, repo.lookup_snapshot_async):
        with pytest.raises(TypeError, match=r" must be of type str, not None$"):
            await required(None)  # type: ignore[arg-type]
    assert faults.calls == []


async def test_a_number_of_rebases_that_is_none_is_refused_before_anything_is_done_async(
    spec_version: int,
) -> None:
    """A negative one is not taken for 0, nor half a rebase for one."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (2,))
    faults.clear()
    solver = icechunk.ConflictDetector()
    nothing: Any
    for nothing in (1.5, "1", None):
        with pytest.raises(TypeError, match=r"^rebase_tries must be an integer, not "):
            await session.commit_async("create", rebase_with=solver, rebase_tries=nothing)
    with pytest.raises(OverflowError, match=r"^rebase_tries must be 0 or more, not -1$"):
        await session.commit_async("create", rebase_with=solver, rebase_tries=-1)
    assert faults.calls == []
    await session.commit_async("create", rebase_with=solver, rebase_tries=0)


async def test_a_message_that_is_no_text_is_refused_before_anything_is_done_async(spec_version: int) -> None:
    """The session keeps its changes, and storage gets no manifest of a commit that cannot be."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = await Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (2,))
    faults.clear()
    for nothing in (None, 3, b"bytes"):
        message: Any = nothing
        for verb in (session.commit_async, session.amend_async, session.flush_async):
            with pytest.raises(TypeError, match=r"^message must be of type str, not "):
                await verb(message)
    assert faults.calls == []
    await session.commit_async("text")


async def test_a_path_to_move_that_is_no_text_is_refused_async() -> None:
    repo = await Repository.create_async(icechunk.in_memory_storage())
    session = await repo.rearrange_session_async("main")
    wrong: Any = None
    with pytest.raises(TypeError, match=r"^from_path must be of type str, not None$"):
        await session.move_async(wrong, "/b")
    with pytest.raises(TypeError, match=r"^to_path must be of type str, not None$"):
        await session.move_async("/a", wrong)


async def test_a_path_in_the_place_of_a_storage_is_refused_async(tmp_path: Path) -> None:
    for wrong in (str(tmp_path), tmp_path, None):
        where: Any = wrong
        for verb in (
            Repository.create_async,
            Repository.open_async,
            Repository.open_or_create_async,
            Repository.exists_async,
            Repository.fetch_config_async,
            Repository.fetch_spec_version_async,
        ):
            with pytest.raises(TypeError, match=r"^storage must be a Storage, such as .*local_filesystem"):
                await verb(where)
    assert list(tmp_path.iterdir()) == []
