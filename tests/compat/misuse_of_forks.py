"""Mistakes and questions about forks and merges; see `misuse`."""

from __future__ import annotations

import importlib
import pickle
from typing import Any

import zarr

from tests.compat.misuse import ON_PURPOSE, Ground, case, case_of_spec_2, each

MERGED_ALIKE = ["returned", {"new_groups": ["/n"]}]
ON_PURPOSE |= {
    # What several workers create alike is one node.
    "merge-same_group": MERGED_ALIKE,
    "merge-same_array_with_chunks": [
        "returned",
        {"new_arrays": ["/n"], "updated_chunks": {"/n": [[0], [1]]}},
    ],
    "merge-replaced_alike": ["returned", {"new_arrays": ["/a"], "deleted_arrays": ["/a"]}],
    # Nothing is left without the group above it.
    "merge-delete_and_grow": ["raised", "SessionStateError", "merge-failed"],
    # No path has two nodes.
    "merge-group_and_array": ["raised", "SessionStateError", "merge-failed"],
    # What one fork writes and another one cuts off is lost, and that is said.
    "merge-write_and_shrink": ["raised", "DuplicateChunkWarning", ""],
    # A fork of a changed session may go on with what its parent created.
    "fork_deletes_what_its_parent_created": ["returned", {}],
    "fork_updates_what_its_parent_created": ["returned", {"new_groups": ["/n"]}],
    "fork_updates_what_its_parent_updated": ["returned", {"updated_groups": ["/g"]}],
    # A fork goes back to where it came from.
    "merge_into_session_of_another_snapshot": ["raised", "SessionStateError", "merge-failed"],
    "merge_after_rebase": ["raised", "SessionStateError", "merge-failed"],
    "merge_grandchild": ["raised", "SessionStateError", "merge-failed"],
    # A fork can be written to, and says so.
    "mode_of_fork": ["returned", "writable"],
    # What cannot be merged is told apart by its class.
    "merge_of-number": ["raised", "TypeError", ""],
    # The first session may be the one that began.
    "merge_sessions_with_the_first_writable": ["returned", [[0]]],
}


def write(path: str, chunk: int = 0) -> Any:
    def change(session: Any) -> None:
        zarr.open_array(session.store, path=path, mode="r+")[2 * chunk] = 5

    return change


def create_group(path: str, **attributes: Any) -> Any:
    return lambda session: zarr.create_group(session.store, path=path, attributes=attributes)


def create_array(path: str, chunk: int | None = None) -> Any:
    def change(session: Any) -> None:
        array = zarr.create_array(session.store, name=path, shape=(2,), chunks=(1,), dtype="u1")
        if chunk is not None:
            array[chunk] = 1

    return change


def set_attribute(path: str, **attributes: Any) -> Any:
    return lambda session: zarr.open(session.store, path=path, mode="r+").attrs.update(attributes)


def resize(path: str, length: int) -> Any:
    return lambda session: zarr.open_array(session.store, path=path, mode="r+").resize((length,))


def delete(path: str) -> Any:
    def change(session: Any) -> None:
        del zarr.open_group(session.store, mode="r+")[path]

    return change


def nothing(_session: Any) -> None:
    pass


def then(*changes: Any) -> Any:
    def change(session: Any) -> None:
        for each_change in changes:
            each_change(session)

    return change


def status(session: Any) -> dict[str, Any]:
    """What is not empty in the status of a session."""
    diff = session.status()
    names = (
        "new_groups",
        "new_arrays",
        "deleted_groups",
        "deleted_arrays",
        "updated_groups",
        "updated_arrays",
    )
    found = {name: sorted(getattr(diff, name)) for name in names} | {"updated_chunks": diff.updated_chunks}
    return {name: value for name, value in found.items() if value}


@each(
    disjoint=(write("a", 0), write("a", 1)),
    same_chunk_of_equal_bytes=(write("a", 0), write("a", 0)),
    same_group=(create_group("n"), create_group("n")),
    groups_that_differ=(create_group("n", x=1), create_group("n", x=2)),
    group_and_array=(create_group("n"), create_array("n")),
    same_array_with_chunks=(create_array("n", 0), create_array("n", 1)),
    two_updates=(set_attribute("a", x=1), set_attribute("a", x=2)),
    updates_alike=(set_attribute("a", x=1), set_attribute("a", x=1)),
    group_updates=(set_attribute("g", x=1), set_attribute("g", x=2)),
    write_and_update=(write("a"), set_attribute("a", x=1)),
    write_and_grow=(write("a"), resize("a", 20)),
    write_and_shrink=(write("a", 3), resize("a", 2)),
    delete_and_write=(delete("a"), write("a")),
    delete_and_update=(delete("a"), set_attribute("a", x=1)),
    delete_twice=(delete("a"), delete("a")),
    delete_and_replace=(delete("a"), then(delete("a"), create_array("a"))),
    replaced_alike=(then(delete("a"), create_array("a")), then(delete("a"), create_array("a"))),
    replace_and_write=(then(delete("a"), create_array("a")), write("a")),
    delete_and_grow=(delete("g"), create_group("g/n")),
    delete_group_and_write_in_it=(delete("g"), write("g/plane")),
    nothing=(nothing, nothing),
)
def _merge(ground: Ground, changes: tuple[Any, Any]) -> Any:
    session = ground.writable
    forks = [session.fork() for _ in changes]
    for fork, change in zip(forks, changes, strict=True):
        change(fork)
    session.merge(*forks)
    return status(session)


@each(
    disjoint=(write("a", 0), write("a", 1)),
    groups_that_differ=(create_group("n", x=1), create_group("n", x=2)),
    delete_and_write=(delete("a"), write("a")),
    write_and_delete=(write("a"), delete("a")),
    two_updates=(set_attribute("a", x=1), set_attribute("a", x=2)),
)
def _merge_into_changed_session(ground: Ground, changes: tuple[Any, Any]) -> Any:
    session = ground.writable
    fork = session.fork()
    changes[0](session)
    changes[1](fork)
    session.merge(fork)
    return status(session)


def after_fork_of_changed(ground: Ground, before: Any, change: Any) -> Any:
    session = ground.writable
    before(session)
    fork = session.fork()
    change(fork)
    session.merge(fork)
    return status(session)


@case
def _fork_deletes_what_its_parent_created(ground: Ground) -> Any:
    return after_fork_of_changed(ground, create_group("n"), delete("n"))


@case
def _fork_updates_what_its_parent_created(ground: Ground) -> Any:
    return after_fork_of_changed(ground, create_group("n"), set_attribute("n", x=1))


@case
def _fork_updates_what_its_parent_updated(ground: Ground) -> Any:
    return after_fork_of_changed(ground, set_attribute("g", x=1), set_attribute("g", y=1))


@case
def _fork_writes_what_its_parent_created(ground: Ground) -> Any:
    return after_fork_of_changed(ground, create_array("n", 0), lambda fork: write_one(fork, "n", 1))


def write_one(session: Any, path: str, at: int) -> None:
    zarr.open_array(session.store, path=path, mode="r+")[at] = 7


@case
def _fork_of_changed_session_brings_its_own(ground: Ground) -> Any:
    session = ground.writable
    create_group("n")(session)
    fork = session.fork()
    ids = [fork.snapshot_id == session.snapshot_id, session.fork().status().is_empty()]
    create_group("m")(fork)
    session.merge(fork)
    return [ids, status(session)]


@each(commit="commit", amend="amend", flush="flush")
def _fork_may_not(ground: Ground, verb: str) -> Any:
    fork = ground.writable.fork()
    write("a")(fork)
    return getattr(fork, verb)("no")


@case
def _fork_may_not_rebase(ground: Ground) -> Any:
    return ground.writable.fork().rebase(ground.ic.ConflictDetector())


@case
def _fork_may_not_move(ground: Ground) -> Any:
    return ground.writable.fork().move("/a", "/b")


@case
def _fork_of_readonly(ground: Ground) -> Any:
    return ground.readonly.fork()


@case
def _properties_of_fork(ground: Ground) -> Any:
    session = ground.writable
    fork = session.fork()
    same = fork.snapshot_id == session.snapshot_id
    return [same, fork.branch, fork.read_only, fork.has_uncommitted_changes, fork.store.read_only]


@case
def _mode_of_fork(ground: Ground) -> Any:
    return ground.writable.fork().mode.name


@case
def _clean_forks_write_nothing(ground: Ground) -> Any:
    before = len(ground.storage.list_objects())
    for _ in range(3):
        ground.writable.fork()
    return len(ground.storage.list_objects()) - before


@case
def _changed_forks_leave_the_history_alone(ground: Ground) -> Any:
    before = {key for key, _ in ground.storage.list_objects()}
    session = ground.writable
    write("a")(session)
    fork = session.fork()
    written = sorted(key.split("/")[0] for key, _ in ground.storage.list_objects() if key not in before)
    try:
        ground.repository.lookup_snapshot(fork.snapshot_id)
    except ground.ic.IcechunkError as error:
        return [written, type(error).__name__]
    return [written, "found"]


@each(number=3, base="base", itself="itself", reader="reader", other="other")
def _merge_of(ground: Ground, what: Any) -> Any:
    session = ground.writable
    others = {
        "base": lambda: session,
        "itself": lambda: session,
        "reader": lambda: ground.readonly,
        "other": lambda: ground.repository.writable_session("main"),
    }
    target = session.fork() if what == "base" else session
    target.merge(others[what]() if what in others else what)
    return status(session)


@case
def _merge_into_readonly(ground: Ground) -> Any:
    return ground.readonly.merge(ground.writable.fork())


@case
def _merge_after_commit(ground: Ground) -> Any:
    session = ground.writable
    fork = session.fork()
    write("a")(fork)
    session.commit("early", allow_empty=True)
    return session.merge(fork)


@case
def _merge_after_rebase(ground: Ground) -> Any:
    session = ground.writable
    fork = session.fork()
    write("a")(fork)
    other = ground.repository.writable_session("main")
    create_group("n")(other)
    other.commit("n")
    session.rebase(ground.ic.ConflictDetector())
    return session.merge(fork)


@case
def _merge_into_session_of_another_snapshot(ground: Ground) -> Any:
    fork = ground.writable.fork()
    write("a")(fork)
    other = ground.repository.writable_session("main")
    create_group("n")(other)
    other.commit("n")
    return ground.repository.writable_session("main").merge(fork)


@case
def _merge_grandchild(ground: Ground) -> Any:
    session = ground.writable
    fork = session.fork()
    create_group("n")(fork)
    child = fork.fork()
    create_group("m")(child)
    session.merge(child)
    return status(session)


@case
def _merge_nested(ground: Ground) -> Any:
    session = ground.writable
    fork = session.fork()
    create_group("n")(fork)
    child = fork.fork()
    create_group("m")(child)
    fork.merge(child)
    session.merge(fork)
    return status(session)


@case
def _merge_siblings(ground: Ground) -> Any:
    session = ground.writable
    forks = [session.fork() for _ in range(3)]
    for number, fork in enumerate(forks):
        write("a", number)(fork)
    forks[0].merge(*forks[1:])
    session.merge(forks[0])
    return status(session)


@case_of_spec_2
def _fork_of_rearranging_session(ground: Ground) -> Any:
    session = ground.repository.rearrange_session("main")
    session.move("/a", "/b")
    fork = session.fork()
    create_group("n")(fork)
    return [fork.read_only, fork.branch, status(fork)]


@case_of_spec_2
def _merge_into_rearranging_session(ground: Ground) -> Any:
    return ground.repository.rearrange_session("main").merge(ground.writable.fork())


@case_of_spec_2
def _merge_of_rearranging_session(ground: Ground) -> Any:
    return ground.writable.merge(ground.repository.rearrange_session("main"))


# Pickles


@each(session=lambda session: session, store=lambda session: session.store)
def _pickle_of_writable(ground: Ground, part: Any) -> Any:
    return pickle.dumps(part(ground.writable))


@each(session=lambda session: session, store=lambda session: session.store)
def _pickle_of_fork(ground: Ground, part: Any) -> Any:
    session = ground.writable
    fork = session.fork()
    write("a")(fork)
    loaded = pickle.loads(pickle.dumps(part(fork)))
    loaded = getattr(loaded, "session", loaded)
    session.merge(loaded)
    return [type(loaded).__name__, loaded == fork, status(session)]


# Functions


def functions(ground: Ground) -> Any:
    """The module `distributed` of an implementation."""
    return importlib.import_module(f"{ground.ic.__name__}.distributed")


@case
def _merge_sessions_of_forks(ground: Ground) -> Any:
    session = ground.writable
    forks = [session.fork() for _ in range(4)]
    for number, fork in enumerate(forks):
        write("a", number)(fork)
    merged = functions(ground).merge_sessions(forks[0], [forks[1], [forks[2]]], forks[3])
    return [merged is forks[0], status(merged)]


@case
def _merge_sessions_with_the_first_writable(ground: Ground) -> Any:
    session = ground.writable
    fork = session.fork()
    write("a")(fork)
    return functions(ground).merge_sessions(session, fork).status().updated_chunks["/a"]


@each(last=lambda session: [session.fork(), session], number=lambda session: [session.fork(), 3])
def _merge_sessions_of(ground: Ground, sessions: Any) -> Any:
    return functions(ground).merge_sessions(*sessions(ground.writable))


@case
def _merge_sessions_of_none(ground: Ground) -> Any:
    return functions(ground).merge_sessions()


@case
def _extract_session(ground: Ground) -> Any:
    fork = ground.writable.fork()
    array = zarr.open_array(fork.store, path="a", mode="r+")
    return functions(ground).extract_session(array, axis=0, keepdims=True) == fork
