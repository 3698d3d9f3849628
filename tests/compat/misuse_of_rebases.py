"""Mistakes and questions about rebasing, amending, flushing and moving; see `misuse`."""

from __future__ import annotations

from typing import Any

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tests.compat.misuse import Ground, case, case_of_spec_2, each


def put(session: Any, key: str, value: bytes) -> None:
    sync(session.store.set(key, default_buffer_prototype().buffer.from_bytes(value)))


def message(ground: Ground) -> str:
    newest = next(iter(ground.repository.ancestry(branch="main")))
    return str(newest.message)


def diff(ground: Ground) -> list[Any]:
    """What the newest commit did."""
    newest = next(iter(ground.repository.ancestry(branch="main")))
    found = ground.repository.diff(from_snapshot_id=newest.parent_id, to_snapshot_id=newest.id)
    return [
        *(sorted(getattr(found, name)) for name in ("new_groups", "new_arrays", "updated_arrays")),
        found.updated_chunks,
        [list(move) for move in found.moved_nodes],
    ]


def overtaken(ground: Ground) -> Any:
    """A session with a change of one chunk, on a branch that has got one of another."""
    session = ground.writable
    put(session, "a/c/1", b"us")
    other = ground.repository.writable_session("main")
    put(other, "a/c/2", b"th")
    other.commit("theirs")
    return session


def moving(ground: Ground, *moves: tuple[str, str]) -> Any:
    session = ground.repository.rearrange_session("main")
    for source, target in moves:
        session.move(source, target)
    return session


# Rebasing


@case
def _rebase_onto_nothing_new(ground: Ground) -> Any:
    return ground.writable.rebase(ground.ic.ConflictDetector())


@case
def _rebase_read_only(ground: Ground) -> Any:
    return ground.readonly.rebase(ground.ic.ConflictDetector())


@case
def _rebase_onto_deleted_branch(ground: Ground) -> Any:
    session = ground.repository.writable_session("dev")
    ground.repository.delete_branch("dev")
    return session.rebase(ground.ic.ConflictDetector())


@case
def _rebase_onto_older_snapshot(ground: Ground) -> Any:
    older = [info.id for info in ground.repository.ancestry(branch="main")][1]
    session = ground.repository.writable_session("main")
    put(session, "g/plane/c/1/1", b"ours" * 4)
    ground.repository.reset_branch("main", older)
    session.rebase(ground.ic.ConflictDetector())
    session.commit("ours")
    return [[info.message for info in ground.repository.ancestry(branch="main")], diff(ground)]


@case
def _rebase_with_a_class(ground: Ground) -> Any:
    return ground.writable.rebase(ground.ic.ConflictDetector)


@each(none=None, text="ours")
def _rebase_with_no_solver(ground: Ground, solver: Any) -> Any:
    return ground.writable.rebase(solver)


@case
def _commit_with_a_class(ground: Ground) -> Any:
    return overtaken(ground).commit("ours", rebase_with=ground.ic.ConflictDetector)


@case
def _commit_with_no_solver(ground: Ground) -> Any:
    return overtaken(ground).commit("ours", rebase_with="ours")


@each(none=None, number=1, text="UseOurs")
def _solver_with_no_selection(ground: Ground, selection: Any) -> Any:
    return ground.ic.BasicConflictSolver(on_chunk_conflict=selection)


@each(zero=0, one=1, many=1000)
def _commit_after_tries(ground: Ground, tries: int) -> Any:
    session = overtaken(ground)
    session.commit("ours", {"by": "us"}, rebase_with=ground.ic.ConflictDetector(), rebase_tries=tries)
    newest = next(iter(ground.repository.ancestry(branch="main")))
    return [newest.metadata, diff(ground)]


@each(
    nothing=None,
    other={"__icechunk": {"purpose": 1}},
    same={"__icechunk": {"rebase_attempts": 9}},
    text={"__icechunk": "text"},
)
def _attempts_beside_metadata(ground: Ground, metadata: Any) -> Any:
    overtaken(ground).commit("ours", metadata, rebase_with=ground.ic.ConflictDetector())
    return next(iter(ground.repository.ancestry(branch="main"))).metadata


@case
def _commit_nothing_with_solver(ground: Ground) -> Any:
    return ground.writable.commit("nothing", rebase_with=ground.ic.ConflictDetector())


@case
def _commit_without_race_with_solver(ground: Ground) -> Any:
    put(ground.writable, "a/c/1", b"us")
    ground.writable.commit("ours", rebase_with=ground.ic.ConflictDetector())
    return next(iter(ground.repository.ancestry(branch="main"))).metadata


@case
def _failed_rebase_keeps_changes(ground: Ground) -> Any:
    session = overtaken(ground)
    other = ground.repository.writable_session("main")
    put(other, "a/c/1", b"th")
    other.commit("theirs too")
    try:
        session.rebase(ground.ic.ConflictDetector())
    except ground.ic.RebaseFailedError as failed:
        parents = [failed.expected_parent, failed.actual_parent]
        is_second = failed.snapshot == ground.repository.lookup_branch("main")
        base = ground.repository.lookup_snapshot(session.snapshot_id).message
        return [parents, failed.kind, is_second, base, session.status().updated_chunks, session.read_only]
    return None


# Amending and flushing


@case
def _amend(ground: Ground) -> Any:
    put(ground.writable, "a/c/1", b"us")
    ground.writable.amend("amended", metadata={"by": "us"})
    return [message(ground), ground.writable.read_only, diff(ground)]


@case
def _amend_nothing(ground: Ground) -> Any:
    return ground.writable.amend("amended")


@case
def _amend_nothing_on_purpose(ground: Ground) -> Any:
    ground.writable.amend("amended", allow_empty=True)
    return [message(ground), diff(ground)]


@case
def _amend_read_only(ground: Ground) -> Any:
    return ground.readonly.amend("amended")


@case
def _amend_overtaken(ground: Ground) -> Any:
    return overtaken(ground).amend("amended")


@each(no=False, yes=True)
def _amend_the_first_snapshot(ground: Ground, allow_empty: bool) -> Any:
    repository = ground.ic.Repository.create(ground.ic.in_memory_storage())
    session = repository.writable_session("main")
    if not allow_empty:
        zarr.create_group(session.store)
    return session.amend("amended", allow_empty=allow_empty)


@case
def _flush(ground: Ground) -> Any:
    session = ground.writable
    put(session, "a/c/1", b"us")
    detached = session.flush("detached", metadata={"by": "us"})
    history = [[info.message, info.metadata] for info in ground.repository.ancestry(snapshot_id=detached)]
    state = [session.read_only, session.branch, session.snapshot_id == detached]
    return [history, state, message(ground)]


@case
def _commit_after_flush(ground: Ground) -> Any:
    ground.writable.flush("detached")
    return ground.writable.commit("ours", allow_empty=True)


@case
def _flush_read_only(ground: Ground) -> Any:
    return ground.readonly.flush("detached")


# Moving


@case
def _rearrange(ground: Ground) -> Any:
    session = moving(ground, ("/a", "/g/b"), ("/g", "/h"))
    session.commit("moved")
    return diff(ground)


@each(
    chain=[("/a", "/b"), ("/b", "/c")],
    swap=[("/a", "/t"), ("/g", "/a"), ("/t", "/g")],
    parent_and_child=[("/g", "/h"), ("/h/plane", "/plane"), ("/plane", "/h/plain")],
)
def _moves(ground: Ground, moves: Any) -> Any:
    session = moving(ground, *moves)
    found = [list(move) for move in session.status().moved_nodes]
    session.commit("moved")
    return [found, diff(ground), session.read_only]


@each(
    missing=("/nope", "/n"),
    missing_into_itself=("/nope", "/nope/n"),
    onto_itself=("/g", "/g"),
    into_itself=("/g", "/g/n"),
    onto_child=("/g", "/g/plane"),
    onto_another=("/g", "/a"),
    no_group=("/g", "/n/n"),
    under_an_array=("/g", "/a/n"),
    root=("/", "/n"),
    onto_root=("/g", "/"),
    relative=("g", "/n"),
    to_relative=("/g", "n"),
    dots=("/g", "/../n"),
    empty=("", "/n"),
    slash_at_the_end=("/g/", "/n"),
)
def _move(ground: Ground, move: tuple[str, str]) -> Any:
    session = moving(ground, move)
    return [list(each) for each in session.status().moved_nodes]


@case_of_spec_2
def _move_back(ground: Ground) -> Any:
    return moving(ground, ("/g", "/h"), ("/h", "/g")).has_uncommitted_changes


@each(there=("/a", "/b"), missing=("/nope", "/b"))
def _move_in_writable_session(ground: Ground, move: tuple[str, str]) -> Any:
    return ground.writable.move(*move)


@each(there=("/a", "/b"))
def _move_in_read_only_session(ground: Ground, move: tuple[str, str]) -> Any:
    return ground.readonly.move(*move)


@case
def _rearrange_missing_branch(ground: Ground) -> Any:
    return ground.repository.rearrange_session("nope")


@case_of_spec_2
def _rearrange_switched_off(ground: Ground) -> Any:
    ground.repository.set_feature_flag("move_node", False)
    return moving(ground)


@case_of_spec_2
def _commit_moves_switched_off(ground: Ground) -> Any:
    session = moving(ground, ("/a", "/b"))
    ground.repository.set_feature_flag("move_node", False)
    return session.commit("moved")


@each(
    chunk=lambda store: store.set("a/c/0", default_buffer_prototype().buffer.from_bytes(b"12")),
    chunk_if_missing=lambda store: store.set_if_not_exists(
        "h/plane/c/1/1", default_buffer_prototype().buffer.from_bytes(b"12")
    ),
    delete=lambda store: store.delete("a/zarr.json"),
    delete_chunk=lambda store: store.delete("a/c/0"),
    delete_missing=lambda store: store.delete("nope/zarr.json"),
    delete_dir=lambda store: store.delete_dir("h"),
    clear=lambda store: store.clear(),
    v2=lambda store: store.set(".zgroup", default_buffer_prototype().buffer.from_bytes(b"{}")),
    bad=lambda store: store.set("n/zarr.json", default_buffer_prototype().buffer.from_bytes(b"1")),
)
def _edit_in_rearrange_session(ground: Ground, verb: Any) -> Any:
    return sync(verb(moving(ground, ("/g", "/h")).store))


@case_of_spec_2
def _amend_moves_with_edits(ground: Ground) -> Any:
    moving(ground, ("/a", "/b")).commit("moved")
    session = ground.repository.writable_session("main")
    put(session, "b/c/1", b"us")
    return session.amend("amended")


@each(on=("/b", "/c"), back=("/b", "/a"), other=("/g", "/h"))
def _amend_moves_with_moves(ground: Ground, move: tuple[str, str]) -> Any:
    moving(ground, ("/a", "/b")).commit("moved")
    moving(ground, move).amend("amended")
    return [message(ground), diff(ground)]


@case_of_spec_2
def _amend_edits_with_moves(ground: Ground) -> Any:
    session = ground.writable
    put(session, "a/c/1", b"us")
    zarr.create_group(session.store, path="n")
    session.commit("edit")
    moving(ground, ("/a", "/n/a"), ("/n", "/m")).amend("amended")
    return [message(ground), diff(ground)]


@case_of_spec_2
def _rebase_over_moves(ground: Ground) -> Any:
    session = ground.writable
    put(session, "a/c/1", b"us")
    moving(ground, ("/g", "/h")).commit("moved")
    try:
        session.rebase(ground.ic.ConflictDetector())
    except ground.ic.RebaseFailedError as failed:
        return [[repr(one.conflict_type), one.path, one.conflicted_chunks] for one in failed.conflicts]
    return None


@case_of_spec_2
def _moves_rebased_over_edits(ground: Ground) -> Any:
    session = moving(ground, ("/a", "/b"))
    other = ground.repository.writable_session("main")
    put(other, "a/c/1", b"th")
    other.commit("theirs")
    session.commit("moved", rebase_with=ground.ic.ConflictDetector())
    reader = ground.repository.readonly_session("main")
    return [diff(ground), sync(reader.store.exists("b/c/1")), sync(reader.store.exists("a/zarr.json"))]
