"""Where ours is to differ from the official implementation in a replayed history."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.compat.describe import split_chunk_key
from tests.compat.histories import ENDING, chunk_key, document_key, is_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.compat.histories import Step
    from tests.compat.sides import Answer, Refs, Side, State


@dataclass
class Case:
    """A step after which the two implementations do not say the same.

    Attributes
    ----------
    step : Step
    ours, official : dict
        Their answers.
    side : Side
        The official one.
    before : dict or None
        The session of the step as it was before.
    refs : dict
        Branches and tags as they were before.
    """

    step: Step
    ours: Answer
    official: Answer
    side: Side
    before: State | None
    refs: Refs

    def is_rebase(self) -> bool:
        """Whether the step may rebase."""
        return self.step.verb == "rebase" or "rebase_with" in self.step.arguments

    def refs_as_before(self) -> Answer:
        """The part of an answer that says that no branch moved."""
        return {"refs": self.refs} if "refs" in self.official else {}

    def was_reset(self) -> bool:
        """Whether the branch of the session does not lead to its base any more."""
        if self.before is None or self.before["branch"] not in self.refs["branches"]:
            return False
        history = [info[0] for info in self.refs["branches"][self.before["branch"]]]
        return self.before["snapshot"] not in history


@dataclass(frozen=True)
class Difference:
    """One way in which ours differs on purpose.

    Attributes
    ----------
    name : str
    why : str
        A sentence about it.
    ours : function
        What ours has to answer, made from what the official one answered; None where the difference does not
        apply.
    """

    name: str
    why: str
    ours: Callable[[Case], Any]


def _what_changes_nothing(case: Case) -> Answer | None:
    """The session without the changes that would change nothing, if ours does not have them.

    A rebase keeps what changes nothing any more.
    """
    if case.step.verb == "commit" and case.official["outcome"][0] == "returned":
        return _without_empty_tables(case)
    state = case.official.get("session")
    if state is None or state["read_only"]:
        return None
    base, now = case.side.content_of(state["snapshot"]), state["content"]
    status = dict(state["status"])
    for kind in ("updated_arrays", "updated_groups"):
        documents = {path: document_key(path.removeprefix("/")) for path in status[kind]}
        kept = case.ours["session"]["status"][kind]
        status[kind] = [p for p, key in documents.items() if p in kept or base.get(key) != now[key]]
    chunks = {}
    for path, coordinates in status["updated_chunks"].items():
        before = {} if path in status["new_arrays"] else base
        kept = case.ours["session"]["status"]["updated_chunks"].get(path, [])
        keys = [chunk_key(path.removeprefix("/"), each) for each in coordinates]
        pairs = zip(keys, coordinates, strict=True)
        chunks[path] = [each for key, each in pairs if each in kept or key in before or key in now]
    status["updated_chunks"] = {path: coordinates for path, coordinates in chunks.items() if coordinates}
    dirty = any(status.values())
    if (status, dirty) == (state["status"], state["dirty"]):
        return None
    return _with_session(case, status=status, dirty=dirty)


def _chunks_of_nothing(case: Case) -> Answer | None:
    """The session without chunks in arrays whose grid is empty, and the refusal to write one."""
    state = case.official.get("session")
    if state is None:
        return None
    arguments, outcome = case.step.arguments, case.official["outcome"]
    if outcome[0] == "returned" and case.step.verb in ("write_chunk", "delete_chunk"):
        writes = case.step.verb == "write_chunk"
        key = chunk_key(arguments["path"], arguments["coordinates"]) if writes else arguments["key"]
        if _is_in_empty_grid(key, state) and state != case.before:
            refusal = ["raised", "InvalidInputError", "invalid-chunk-index"]
            return {"outcome": refusal if writes else outcome, "session": case.before}
    content = {key: value for key, value in state["content"].items() if not _is_in_empty_grid(key, state)}
    return None if content == state["content"] else _with_session(case, content=content)


def _without_empty_tables(case: Case) -> Answer | None:
    """A commit without arrays of which a rebase dropped all changed chunks."""
    label, info, diff = case.official["outcome"][1]
    chunks = {path: coordinates for path, coordinates in diff["updated_chunks"].items() if coordinates}
    if chunks == diff["updated_chunks"]:
        return None
    return {**case.official, "outcome": ["returned", [label, info, {**diff, "updated_chunks": chunks}]]}


def _number_of_coordinates(case: Case) -> Answer | None:
    """The refusal to write a chunk with more or fewer coordinates than the array has dimensions."""
    if case.step.verb != "write_chunk" or case.before is None or case.official["outcome"][0] != "returned":
        return None
    document = json.loads(case.before["content"][document_key(case.step.arguments["path"])])
    if len(document["shape"]) == len(case.step.arguments["coordinates"]):
        return None
    return {"outcome": ["raised", "InvalidInputError", "invalid-chunk-index"], "session": case.before}


def _across(case: Case) -> Answer | None:
    """What ours makes of a rebase onto a tip that was not built on the session's base."""
    if not (case.is_rebase() and case.was_reset()):
        return None
    assert case.before is not None
    if case.ours["outcome"][:2] == ["raised", "RebaseFailedError"]:
        return {"outcome": case.ours["outcome"], "session": case.before} | case.refs_as_before()
    if case.ours["outcome"][0] != "returned":
        return None
    tip = case.refs["branches"][case.before["branch"]][0][0]
    content = _on_top(case, case.side.content_of(case.before["snapshot"]), case.side.content_of(tip))
    return {**case.ours, "session": {**case.ours["session"], "content": content}}


def path_of_key(key: str) -> str:
    """The node of a document or of a chunk."""
    return key.removesuffix("zarr.json").rstrip("/") if is_document(key) else split_chunk_key(key)[0]


def _on_top(case: Case, base: dict[str, str], theirs: dict[str, str]) -> dict[str, str]:
    """The documents and chunks of a tip, with the changes of the case's session on top."""
    assert case.before is not None
    now: dict[str, str] = case.before["content"]
    status = case.before["status"]
    if case.before["mode"] == "rearrange":
        return {_moved(key, status["moved_nodes"]): value for key, value in theirs.items()}
    made_anew = {path.removeprefix("/") for path in status["new_arrays"]}
    deleted = status["deleted_groups"] + status["deleted_arrays"]
    base_label, tip = case.before["snapshot"], case.refs["branches"][case.before["branch"]][0][0]
    # What they have in place of what we deleted may be another node, which stays.
    is_gone = {path[1:]: case.side.is_same(base_label, tip, path) for path in deleted}
    solver = case.step.arguments.get("solver", case.step.arguments.get("rebase_with"))
    yields = isinstance(solver, dict) and solver.get("on_chunk_conflict") == "UseTheirs"

    def is_ours(key: str) -> bool:
        path = path_of_key(key)
        if key not in now and path in is_gone:
            return is_gone[path]
        if is_document(key):
            return base.get(key) != now.get(key)
        if path in made_anew:
            return True
        # What the lines of both commits wrote counts as changed, even if both wrote the same.
        yielded = yields and case.ours["session"]["content"].get(key) == theirs.get(key)
        return base.get(key) != now.get(key) and not yielded

    content = {key: value for key, value in theirs.items() if not is_ours(key)}
    content |= {key: value for key, value in now.items() if is_ours(key)}
    return {key: value for key, value in content.items() if is_document(key) or not _is_beyond(key, content)}


def _moved(key: str, moves: list[list[str]]) -> str:
    """A key after moves of nodes."""
    taken = [move for move in moves if f"/{key}".startswith(move[0] + "/")]
    if not taken:
        return key
    source, target = max(taken, key=lambda move: len(move[0]))
    return (target + f"/{key}".removeprefix(source)).lstrip("/")


def _is_beyond(key: str, content: dict[str, str]) -> bool:
    """Whether a chunk lies outside of the grid that its array has by now."""
    path, coordinates = split_chunk_key(key)
    document = json.loads(content.get(document_key(path), "{}"))
    if len(document.get("shape", [])) != len(coordinates):
        return False
    sizes = document["chunk_grid"]["configuration"]["chunk_shape"] if coordinates else []
    return any(
        index * size >= length
        for index, size, length in zip(coordinates, sizes, document.get("shape", []), strict=True)
    )


def _moved_above_others(case: Case) -> Answer | None:
    """The session with the nodes that were below the new place already, or the refusal to move onto them."""
    step = case.step
    if step.verb != "move" or case.official["outcome"][0] != "returned":
        return None
    assert case.before is not None
    source, target = (step.arguments[end] + "/" for end in ("from", "to"))
    before = case.before["content"]
    left = {key: value for key, value in before.items() if not key.startswith(source)}
    moved = [target.lstrip("/") + key.removeprefix(source) for key in before if key.startswith(source)]
    if any(key in left for key in moved):
        refusal = ["raised", "AlreadyExistsError", "move-wont-overwrite"]
        return {"outcome": refusal, "session": case.before}
    content = left | case.official["session"]["content"]
    return None if content == case.official["session"]["content"] else _with_session(case, content=content)


def _everything(case: Case) -> Answer | None:
    """The session without any nodes."""
    step, state = case.step, case.official.get("session")
    if step.verb != "delete_node" or step.arguments["path"] or not step.arguments["whole"] or state is None:
        return None
    if state["mode"] != "writable" or "zarr.json" in state["content"] or not state["content"]:
        return None
    return {**case.ours, "session": {**case.ours["session"], "content": {}}}


def _number_of_dimensions(case: Case) -> Answer | None:
    """The refusal to give an array that has chunks another number of dimensions."""
    if "document" not in case.step.arguments or case.before is None or case.step.verb == "recreate":
        return None
    path, document = case.step.arguments["path"], json.loads(case.step.arguments["document"])
    now = json.loads(case.before["content"].get(document_key(path), "{}"))
    if (
        len(document.get("shape", [])) == len(now.get("shape", []))
        or case.official["outcome"][0] != "returned"
    ):
        return None
    return {"outcome": ["raised", "InvalidInputError", "bad-metadata"], "session": case.before}


def _chunks_of_other_dimensions(case: Case) -> Answer | None:
    """The refusal of a rebase that would put an array with another number of dimensions over chunks."""
    if not case.is_rebase() or case.before is None or case.official["outcome"][0] != "returned":
        return None
    if case.ours["outcome"][:2] != ["raised", "RebaseFailedError"]:
        return None
    base, now = case.side.content_of(case.before["snapshot"]), case.before["content"]
    for kind, path, _ in case.ours["outcome"][-1]:
        documents = [json.loads(each.get(document_key(path[1:]), "{}")) for each in (base, now)]
        widths = {len(document.get("shape", [])) for document in documents}
        if kind != "ChunksUpdatedInUpdatedArray" or len(widths) == 1:
            return None
    return {"outcome": case.ours["outcome"], "session": case.ours["session"]} | case.refs_as_before()


def _is_in_empty_grid(key: str, state: State) -> bool:
    if is_document(key) or key == "error":
        return False
    path, _ = split_chunk_key(key)
    document = json.loads(state["content"].get(document_key(path), "{}"))
    return 0 in document.get("shape", [])


def _moved_along(case: Case) -> Answer | None:
    """The moves of a session that was rebased, with the nodes that others made in what it moves."""
    if not case.is_rebase() or "session" not in case.official:
        return None

    def along(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
        moves = theirs["moved_nodes"]
        more = [move for move in ours["moved_nodes"] if move not in moves]
        if all(any(_is_below(move, other) for other in moves) for move in more):
            moves = ours["moved_nodes"]
        return {**theirs, "moved_nodes": moves}

    wanted = _with_session(
        case, status=along(case.official["session"]["status"], case.ours["session"]["status"])
    )
    if case.step.verb == "commit" and case.official["outcome"][0] == case.ours["outcome"][0] == "returned":
        (label, info, theirs), ours = case.official["outcome"][1], case.ours["outcome"][1][2]
        wanted["outcome"] = ["returned", [label, info, along(theirs, ours)]]
    return None if wanted == case.official else wanted


def _is_below(move: list[str], other: list[str]) -> bool:
    """Whether a node moves along with another one."""
    rest = move[0].removeprefix(other[0])
    return rest.startswith("/") and move == [other[0] + rest, other[1] + rest]


def with_both_lives(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """A diff of the official implementation, with all changed chunks of arrays that were made anew.

    Such an array is two nodes at one path, and the official diff has the chunks of either, by chance. Where
    the number of dimensions changed, the diff of ours has only the later chunks.
    """
    chunks = dict(theirs["updated_chunks"])
    for path in chunks.keys() & ours["updated_chunks"].keys():
        both, one = ours["updated_chunks"][path], chunks[path]
        widths, width = ({len(each) for each in coordinates} for coordinates in (one, both))
        if len(widths) > 1:
            chunks[path] = [each for each in one if {len(each)} == width]
        elif (
            path in theirs["new_arrays"]
            and path in theirs["deleted_arrays"]
            and (widths != width or all(each in both for each in one))
        ):
            chunks[path] = both
    return {**theirs, "updated_chunks": chunks}


def _both_lives(case: Case) -> Answer | None:
    """What was told, with the chunks of both lives of an array."""
    ours, theirs = case.ours["outcome"], case.official["outcome"]
    if ours[0] != "returned" or theirs[0] != "returned":
        return None
    wanted: Any = None
    if case.step.verb == "diff":
        wanted = with_both_lives(ours[1], theirs[1])
    elif case.step.verb in ENDING:
        wanted = [*theirs[1][:2], with_both_lives(ours[1][2], theirs[1][2])]
    else:
        return None
    return None if wanted == theirs[1] else {**case.official, "outcome": ["returned", wanted]}


def _flush_of_read_only(case: Case) -> Answer | None:
    """The refusal to write what a session that only reads does not change."""
    if case.step.verb != "flush" or case.before is None or not case.before["read_only"]:
        return None
    wanted = {**case.official, "session": case.before, "refs": case.refs}
    return {**wanted, "outcome": ["raised", "ReadOnlyError", "read-only-session"]}


def _more_conflicts(case: Case, kind: str) -> Answer | None:
    """The refusal of a rebase for conflicts that only ours finds, one of that kind among them."""
    if not case.is_rebase() or case.before is None:
        return None
    if case.ours["outcome"][:2] != ["raised", "RebaseFailedError"]:
        return None
    *error, conflicts = case.ours["outcome"]
    theirs = case.official["outcome"][-1] if case.official["outcome"][:-1] == error else []
    more = [conflict for conflict in conflicts if conflict not in theirs]
    blamed = [path for kind, path, _ in more if kind not in _SOLVABLE]
    kinds = {
        _kind_of_conflict(case.before, each)
        for each in more
        if each[0] not in _SOLVABLE or (theirs and each[1] not in blamed)
    }
    if kind not in kinds or None in kinds or any(each not in conflicts for each in theirs):
        return None
    told = {"outcome": case.ours["outcome"], "session": case.ours["session"]}
    return told | case.refs_as_before()


def _kind_of_conflict(session: State, conflict: list[Any]) -> str | None:
    """Which of our own conflicts of a session one is."""
    kind, path, _ = conflict
    status = session["status"]
    deleted = path in status["deleted_groups"] + status["deleted_arrays"]
    created = path in status["new_groups"] + status["new_arrays"]
    below = path.rstrip("/") + "/"
    if kind == "NewNodeConflictsWithExistingNode" and created and deleted:
        return "recreated twice"
    if kind == "NewNodeInInvalidGroup":
        if path in status["deleted_groups"]:
            return "grown while deleted"
        news = status["new_groups"] + status["new_arrays"]
        if not created and any(each.startswith(below) and each != path for each in news):
            return "deleted while grown"
    if kind == "MoveOperationCannotBeRebased" and path and session["mode"] == "rearrange":
        return "moved away"
    return None


def _replaced_array(case: Case) -> Answer | None:
    """What ours makes of a rebase that official refuses for an array that the session itself deleted."""
    if not case.is_rebase() or case.before is None:
        return None
    if case.official["outcome"][:2] != ["raised", "RebaseFailedError"]:
        return None
    *error, theirs = case.official["outcome"]
    ours = case.ours["outcome"][-1] if case.ours["outcome"][:-1] == error else []
    deleted = case.before["status"]["deleted_arrays"]
    fewer = [(kind, path) for kind, path, _ in theirs if kind not in _SOLVABLE or ours]
    fewer = [each for each in fewer if each not in [(kind, path) for kind, path, _ in ours]]
    if not fewer or any(kind != "NewNodeInInvalidGroup" or path not in deleted for kind, path in fewer):
        return None
    refused = case.ours["outcome"][:2] == ["raised", "RebaseFailedError"]  # there, or at a later commit
    return case.ours if refused or case.ours["outcome"][0] == "returned" else None


def _refused_first(case: Case) -> Answer | None:
    """The refusal of a session that takes no edits, whatever else is wrong with this one."""
    state = case.official.get("session")
    if state is None or case.step.verb not in EDITS | {"move"}:
        return None
    if case.step.verb == "move":
        if state["mode"] == "rearrange" or case.official["outcome"][1] == "FormatError":
            return None
        refusal = ["raised", "SessionStateError", "non-rearrange-session"]
        if state["read_only"]:
            refusal = ["raised", "ReadOnlyError", "read-only-session"]
    elif state["mode"] == "rearrange":
        refusal = ["raised", "SessionStateError", "rearrange-session-only"]
    elif state["read_only"]:
        deletes = case.step.verb in DELETIONS
        refusal = ["raised", "ReadOnlyError", "read-only-session" if deletes else "read-only-store"]
    else:
        return None
    return None if case.official["outcome"] == refusal else {**case.official, "outcome": refusal}


def _each_conflict_once(case: Case) -> Answer | None:
    """The conflicts of a failed rebase, each once."""
    outcome = case.official["outcome"]
    if outcome[:2] != ["raised", "RebaseFailedError"]:
        return None
    *error, conflicts = outcome
    once = [conflict for position, conflict in enumerate(conflicts) if conflict not in conflicts[:position]]
    return None if once == conflicts else {**case.official, "outcome": [*error, once]}


def _with_session(case: Case, **members: Any) -> Answer:
    return {**case.official, "session": {**case.official["session"], **members}}


_SOLVABLE = ("ChunkDoubleUpdate", "DeleteOfUpdatedArray", "DeleteOfUpdatedGroup")
"""Conflicts that do not fail a rebase where the solver knows a way."""

DELETIONS = frozenset({"delete_chunk", "delete_node", "recreate"})
EDITS = frozenset({"create_group", "create_array", "update_attributes", "resize", "write_chunk", *DELETIONS})
"""Verbs for which a session has to be writable."""

DIFFERENCES = [
    Difference(
        "each conflict once",
        "An array in the way of several new nodes is one conflict; the official implementation tells of "
        "it once for every new node.",
        _each_conflict_once,
    ),
    Difference(
        "moved along",
        "What others made in a group that our session moves goes along, and is among the moved nodes.",
        _moved_along,
    ),
    Difference(
        "both lives",
        "A diff has the changed chunks of an array that was deleted and of another one that was made in "
        "its place; the official one has either, by chance.",
        _both_lives,
    ),
    Difference(
        "flush of a reader",
        "A session that only reads has nothing to flush.",
        _flush_of_read_only,
    ),
    Difference(
        "replaced array",
        "An array that the session itself deleted is not in the way of what the session creates below its "
        "path; the official implementation refuses the rebase, whatever the others did.",
        _replaced_array,
    ),
    Difference(
        "recreated twice",
        "Both sides delete a node and create another one in its place: a conflict, where the official "
        "implementation makes a snapshot with the path twice.",
        functools.partial(_more_conflicts, kind="recreated twice"),
    ),
    Difference(
        "grown while deleted",
        "They create a node in a group that we delete: a conflict, where the official implementation "
        "leaves the node without its group.",
        functools.partial(_more_conflicts, kind="grown while deleted"),
    ),
    Difference(
        "deleted while grown",
        "We create a node in a group that they delete: a conflict, where the official implementation "
        "leaves the node without its group.",
        functools.partial(_more_conflicts, kind="deleted while grown"),
    ),
    Difference(
        "moved away",
        "They delete or replace what our session moves, or take its new place: a conflict, where the "
        "official implementation rebases and then cannot commit.",
        functools.partial(_more_conflicts, kind="moved away"),
    ),
    Difference(
        "refused first",
        "A session that takes no edits says so before it looks at the edit: which chunk or node was meant "
        "does not matter, and nothing is written to storage in vain.",
        _refused_first,
    ),
    Difference(
        "number of coordinates",
        "A chunk has as many coordinates as its array has dimensions.",
        _number_of_coordinates,
    ),
    Difference(
        "across",
        "A branch that was reset or amended may not lead to the session's base. What is compared then is "
        "how the two snapshots differ; the official implementation goes through the whole history, from "
        "before there was what the session changed, and refuses, loses track of paths, or forgets "
        "changes.",
        _across,
    ),
    Difference(
        "moved above others",
        "A node can be moved to a path that has nodes below it and none itself, such as the root; they "
        "stay. The official implementation loses them.",
        _moved_above_others,
    ),
    Difference(
        "everything",
        "What is below the empty prefix is everything, also where there is no root group.",
        _everything,
    ),
    Difference(
        "number of dimensions",
        "An array that has chunks does not change its number of dimensions, since its chunks could not be "
        "found any more; the official implementation keeps them, out of reach.",
        _number_of_dimensions,
    ),
    Difference(
        "chunks of other dimensions",
        "They write chunks of an array whose number of dimensions we change: a conflict, since the chunks "
        "could not be found any more; the official implementation keeps them, out of reach.",
        _chunks_of_other_dimensions,
    ),
    Difference(
        "chunks of nothing",
        "An array without elements has no chunks; the official implementation lets the first one be read, "
        "written and deleted, until the commit drops it.",
        _chunks_of_nothing,
    ),
    Difference(
        "what changes nothing",
        "A change that is undone, such as a chunk that is deleted before it was ever written, is none: it "
        "is not in the status, and leaves nothing to commit.",
        _what_changes_nothing,
    ),
]
"""All of them, in the order in which they are looked for."""
