# Generated from tests/_async/test_wrong_types.py by tools/make_sync.py; edit that file.
"""Arguments of a wrong type: refused under their names, before anything is read or written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import icechunk
from icechunk import Repository
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

INITIAL = "1CECHNKREP0F1RSTCMT0"


def verbs_that_take_names(repo: Repository) -> list[tuple[str, Callable[[], object]]]:
    """Calls with one argument each that is no text, and the name of that argument."""
    wrong: Any = 5
    return [
        ("branch", lambda: repo.lookup_branch(wrong)),
        ("branch", lambda: repo.create_branch(wrong, INITIAL)),
        ("snapshot_id", lambda: repo.create_branch("new", wrong)),
        ("branch", lambda: repo.reset_branch(wrong, INITIAL)),
        ("snapshot_id", lambda: repo.reset_branch("main", wrong)),
        ("from_snapshot_id", lambda: repo.reset_branch("main", INITIAL, from_snapshot_id=wrong)),
        ("branch", lambda: repo.delete_branch(wrong)),
        ("tag", lambda: repo.lookup_tag(wrong)),
        ("tag", lambda: repo.create_tag(wrong, INITIAL)),
        ("snapshot_id", lambda: repo.create_tag("new", wrong)),
        ("tag", lambda: repo.delete_tag(wrong)),
        ("snapshot_id", lambda: repo.lookup_snapshot(wrong)),
        ("snapshot_id", lambda: repo.list_manifest_files(wrong)),
        ("branch", lambda: repo.writable_session(wrong)),
        ("branch", lambda: repo.rearrange_session(wrong)),
        ("branch", lambda: repo.readonly_session(wrong)),
        ("tag", lambda: repo.readonly_session(tag=wrong)),
        ("snapshot_id", lambda: repo.readonly_session(snapshot_id=wrong)),
        ("branch", lambda: repo.ancestry_graph(branch=wrong)),
        ("from_tag", lambda: repo.diff(from_tag=wrong, to_branch="main")),
        ("to_branch", lambda: repo.diff(from_snapshot_id=INITIAL, to_branch=wrong)),
        ("name", lambda: repo.set_feature_flag(wrong, True)),
    ]


def test_a_name_that_is_no_text_is_refused_before_anything_is_done(spec_version: int) -> None:
    """A branch `5` must neither be looked for, nor fail half way through a change of the repository."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = Repository.create(storage, spec_version=spec_version)
    repo.create_tag("v1", INITIAL)
    faults.clear()
    for name, call in verbs_that_take_names(repo):
        with pytest.raises(TypeError, match=f"^{name} must be of type str, not 5$"):
            call()
    wrong: Any = INITIAL.encode()
    with pytest.raises(TypeError, match=r"^snapshot_id must be of type str, not b'"):
        repo.ancestry(snapshot_id=wrong)
    for required in (repo.writable_session, repo.lookup_tag, repo.lookup_snapshot):
        with pytest.raises(TypeError, match=r" must be of type str, not None$"):
            required(None)  # type: ignore[arg-type]
    assert faults.calls == []


def test_a_number_of_rebases_that_is_none_is_refused_before_anything_is_done(
    spec_version: int,
) -> None:
    """A negative one is not taken for 0, nor half a rebase for one."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    create_array(session, "a", (2,))
    faults.clear()
    solver = icechunk.ConflictDetector()
    nothing: Any
    for nothing in (1.5, "1", None):
        with pytest.raises(TypeError, match=r"^rebase_tries must be an integer, not "):
            session.commit("create", rebase_with=solver, rebase_tries=nothing)
    with pytest.raises(OverflowError, match=r"^rebase_tries must be 0 or more, not -1$"):
        session.commit("create", rebase_with=solver, rebase_tries=-1)
    assert faults.calls == []
    session.commit("create", rebase_with=solver, rebase_tries=0)


def test_a_message_that_is_no_text_is_refused_before_anything_is_done(spec_version: int) -> None:
    """The session keeps its changes, and storage gets no manifest of a commit that cannot be."""
    faults = Faults()
    storage = faulty_storage(icechunk.in_memory_storage(), faults)
    repo = Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    create_array(session, "a", (2,))
    faults.clear()
    for nothing in (None, 3, b"bytes"):
        message: Any = nothing
        for verb in (session.commit, session.amend, session.flush):
            with pytest.raises(TypeError, match=r"^message must be of type str, not "):
                verb(message)
    assert faults.calls == []
    session.commit("text")


def test_a_path_to_move_that_is_no_text_is_refused() -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    session = repo.rearrange_session("main")
    wrong: Any = None
    with pytest.raises(TypeError, match=r"^from_path must be of type str, not None$"):
        session.move(wrong, "/b")
    with pytest.raises(TypeError, match=r"^to_path must be of type str, not None$"):
        session.move("/a", wrong)


def test_a_path_in_the_place_of_a_storage_is_refused(tmp_path: Path) -> None:
    for wrong in (str(tmp_path), tmp_path, None):
        where: Any = wrong
        for verb in (
            Repository.create,
            Repository.open,
            Repository.open_or_create,
            Repository.exists,
            Repository.fetch_config,
            Repository.fetch_spec_version,
        ):
            with pytest.raises(TypeError, match=r"^storage must be a Storage, such as .*local_filesystem"):
                verb(where)
    assert list(tmp_path.iterdir()) == []
