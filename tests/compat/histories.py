"""Random histories of a repository, step by step.

A `Step` is plain data that means the same to any implementation: sessions and snapshots are named by labels
(``s7`` is the session that step 7 opened, ``c12`` the snapshot that step 12 made), since ids are random. An
`Author` makes up one step after the other. It looks at what there is, through the eyes of one implementation,
so that most steps make sense; some are mistakes on purpose. All chance comes from one seeded generator.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from random import Random

    from tests.compat.sides import Side as View  # what an author looks at

    Arguments = dict[str, Any]

ROOT = "root"
"""The label of the snapshot that every repository starts with."""

UNKNOWN, MALFORMED = "unknown", "malformed"
"""Labels of snapshots that there are not."""

PATHS = ("", "a", "b", "g", "g-x", "g/a", "g/b", "g/h", "g/h/a", "ünï c")
"""Where nodes are made: few places, so that sessions get into each other's way."""

GRIDS: dict[str, tuple[list[int], list[int]]] = {
    "scalar": ([], []),
    "line": ([4], [1]),
    "uneven": ([5], [2]),
    "plane": ([4, 6], [2, 3]),
    "empty": ([0], [1]),
}
"""Shape and chunk shape by name."""

INLINE_THRESHOLD = 16
SIZES = (3, INLINE_THRESHOLD, INLINE_THRESHOLD + 1, 60)
"""Sizes of chunks, in bytes: as many are kept in manifests as in objects of their own."""

SOLVERS: tuple[Any, ...] = (
    "detector",
    {},
    {"on_chunk_conflict": "UseOurs"},
    {"on_chunk_conflict": "UseTheirs"},
    {"on_chunk_conflict": "Fail"},
    {"fail_on_delete_of_updated_array": True},
    {"fail_on_delete_of_updated_group": True},
    {
        "on_chunk_conflict": "UseTheirs",
        "fail_on_delete_of_updated_array": True,
        "fail_on_delete_of_updated_group": True,
    },
)
"""Conflict solvers: the one that solves nothing, and arguments of the one that solves something."""

MISTAKES = 0.04
"""How often a choice is a wrong one."""

ENDING = frozenset({"commit", "amend", "flush"})
"""Verbs that make a snapshot."""


OF_SPEC_2 = frozenset({"open_rearrange", "move", "amend", "set_metadata", "update_metadata", "ops_log"})
"""Verbs that are mistakes in spec version 1."""


@dataclass(frozen=True)
class Step:
    """One thing that is done.

    Attributes
    ----------
    number : int
        Position in the history as it was made up; labels derive from it.
    verb : str
    arguments : dict
        What JSON holds.
    """

    number: int
    verb: str
    arguments: Arguments

    def __str__(self) -> str:
        return json.dumps([self.number, self.verb, self.arguments], ensure_ascii=False)


def read_steps(text: str) -> list[Step]:
    """The steps of a history, one a line, as `Step` shows itself."""
    return [Step(*json.loads(line)) for line in text.splitlines() if line.strip().startswith("[")]


def group_document(number: int) -> str:
    """The `zarr.json` of a group."""
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"n": number}})


def array_document(shape: list[int], chunks: list[int], number: int) -> str:
    """The `zarr.json` of an array of bytes."""
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {"n": number},
    }
    if number % 3 == 0:
        document["dimension_names"] = [f"d{axis}" if axis else None for axis in range(len(shape))]
    return json.dumps(document)


def document_key(path: str) -> str:
    """The store key of a node's document."""
    return f"{path}/zarr.json" if path else "zarr.json"


def is_document(key: str) -> bool:
    """Whether a store key is that of a document."""
    return key.rpartition("/")[2] == "zarr.json"


def chunk_key(path: str, coordinates: Iterable[int]) -> str:
    """The store key of a chunk."""
    return "/".join([*([path] if path else []), "c", *map(str, coordinates)])


class Author:
    """Makes up the steps of one history.

    Parameters
    ----------
    random : Random
        Where all chance comes from.
    spec_version : int
        Of the repository.
    """

    def __init__(self, random: Random, spec_version: int) -> None:
        self.random = random
        self.spec_version = spec_version
        left_out = OF_SPEC_2 if spec_version == 1 and random.random() < 0.8 else ()
        self.of_repository = {verb: _OF_REPOSITORY[verb] for verb in _OF_REPOSITORY if verb not in left_out}
        self.of_sessions = {verb: _OF_SESSIONS[verb] for verb in _OF_SESSIONS if verb not in left_out}

    def next_step(self, number: int, view: View) -> Step:
        """Something to do now."""
        while True:
            verb = self._verb(view)
            arguments: Arguments | None = getattr(self, f"_{verb}")(number, view)
            if arguments is not None:
                if verb in _SPELLED:
                    arguments["blocking"] = self.random.random() < 0.5
                return Step(number, verb, arguments)

    def _verb(self, view: View) -> str:
        writable = [state for state in view.states.values() if state["mode"] == "writable"]
        if len(writable) < 2 and self.random.random() < 0.7:
            return "open_writable"
        if len(view.sessions) > 6:
            return "close"
        table = self.of_sessions if self.random.random() < 0.8 else self.of_repository
        return self._weighted(table)

    # Choices

    def _weighted(self, table: Mapping[str, float]) -> str:
        return self.random.choices(list(table), list(table.values()))[0]

    def _is_mistaken(self) -> bool:
        return self.random.random() < MISTAKES

    def _pick(self, right: Iterable[Any], wrong: Iterable[Any]) -> Any:
        """One of the right ones, seldom a wrong one; None where there is none."""
        choices, others = list(right), list(wrong)
        if others and self._is_mistaken() and (choices or self._is_mistaken()):
            return self.random.choice(others)
        return self.random.choice(choices) if choices else None

    def _session(self, view: View, mode: str) -> str | None:
        """A session of a mode: mostly one that goes on."""
        right = [label for label, state in view.states.items() if state["mode"] == mode]
        picked: str | None = self._pick(right, view.states)
        return picked

    def _branch(self, view: View) -> str:
        names = sorted(view.refs["branches"])
        if "main" in names and self.random.random() < 0.5:
            return "main"
        return str(self._pick(names, ["nope", *sorted(view.refs["tags"])]))

    def _snapshot(self, view: View) -> str:
        return str(self._pick([*view.made[-8:], *view.made[:2]], [UNKNOWN, MALFORMED]))

    def _nodes(self, view: View, session: str) -> dict[str, dict[str, Any]]:
        content = view.states[session]["content"]
        return {
            key.removesuffix("zarr.json").removesuffix("/"): json.loads(value)
            for key, value in content.items()
            if is_document(key)
        }

    def _node(self, view: View, session: str, *types: str) -> tuple[str, dict[str, Any]] | None:
        """Path and document of a node of one of these types, or seldom of another."""
        nodes = self._nodes(view, session)
        right = [path for path, document in nodes.items() if document["node_type"] in types]
        path = self._pick(right, PATHS)
        if path is None:
            return None
        return path, nodes.get(path) or json.loads(array_document([4], [1], 0))

    def _free_path(self, view: View, session: str) -> str:
        nodes = self._nodes(view, session)
        free = [path for path in PATHS if path not in nodes]
        if "" in free and self.random.random() < 0.6:
            return ""
        homely = [path for path in free if not path or path.rpartition("/")[0] in nodes]
        return str(self._pick(homely or free or PATHS, PATHS))

    def _selector(self, view: View) -> Arguments:
        """A branch, a tag or a snapshot."""
        kinds = ["branch", "snapshot"] + ["tag"] * bool(view.refs["tags"])
        kind = self.random.choice(kinds)
        if kind == "branch":
            return {"branch": self._branch(view)}
        if kind == "tag":
            return {"tag": self._pick(sorted(view.refs["tags"]), ["nope", "main"])}
        if self._is_mistaken():
            return self.random.choice([{}, {"branch": "main", "snapshot": ROOT}])
        return {"snapshot": self._snapshot(view)}

    def _metadata(self, number: int) -> Arguments | None:
        return self.random.choice([None, None, {"step": number}, {"a": [1, 2.5, None, {"b": "ü"}]}])

    # Repository

    def _open_writable(self, number: int, view: View) -> Arguments:
        del number
        return {"branch": self._branch(view)}

    _open_rearrange = _open_writable

    def _open_readonly(self, number: int, view: View) -> Arguments:
        del number
        arguments = self._selector(view)
        moment = self._snapshot(view)
        wanted = 0.5 if "branch" in arguments else MISTAKES
        if {moment, arguments.get("snapshot", ROOT)} <= set(view.made) and self.random.random() < wanted:
            arguments["as_of"] = {"snapshot": moment, "us": self.random.choice([-1, 0, 1])}
        return arguments

    def _close(self, number: int, view: View) -> Arguments | None:
        del number
        ended = [label for label, state in view.states.items() if state["read_only"]]
        label = self.random.choice(ended or list(view.states)[:2])
        return {"session": label}

    def _create_branch(self, number: int, view: View) -> Arguments | None:
        if len(view.refs["branches"]) > 3 and not self._is_mistaken():
            return None
        name = self._pick([f"b{number}", "dev"], ["main", "", "a/b", "\N{ICE CUBE}"])
        if self.spec_version == 1 and not name.isascii():
            return None  # where it is found again is a matter of its own
        return {"branch": name, "snapshot": self._snapshot(view)}

    def _delete_branch(self, number: int, view: View) -> Arguments | None:
        del number
        names = [name for name in sorted(view.refs["branches"]) if name != "main"]
        name = self._pick(names, ["main", "nope"])
        return None if name is None else {"branch": name}

    def _reset_branch(self, number: int, view: View) -> Arguments:
        del number
        branch = self._branch(view)
        arguments = {"branch": branch, "snapshot": self._snapshot(view)}
        if self.random.random() < 0.4:
            tip = view.refs["branches"].get(branch, [[ROOT]])[0][0]
            arguments["from_snapshot"] = self._pick([tip], view.made)
        return arguments

    def _create_tag(self, number: int, view: View) -> Arguments:
        name = self._pick([f"t{number}"], ["t0", "main", *sorted(view.refs["tags"])])
        return {"tag": name, "snapshot": self._snapshot(view)}

    def _delete_tag(self, number: int, view: View) -> Arguments | None:
        del number
        name = self._pick(sorted(view.refs["tags"]), ["nope", "main"])
        return None if name is None else {"tag": name}

    def _set_metadata(self, number: int, view: View) -> Arguments:
        del view
        return {"metadata": self.random.choice([{}, {"owner": number}, {"deep": {"n": [number, None]}}])}

    _update_metadata = _set_metadata
    _set_default_commit_metadata = _set_metadata

    def _diff(self, number: int, view: View) -> Arguments | None:
        del number
        if self.random.random() < 0.3:
            start = self._selector(view)
            # Of two mistakes, spec version 1 tells of the one that it happens to come across first.
            is_wrong = start.get("snapshot") == UNKNOWN
            return {"from": start, "to": {"branch": "main"} if is_wrong else self._selector(view)}
        branch = self.random.choice(sorted(view.refs["branches"]))
        history = [info[0] for info in view.refs["branches"][branch]]
        if len(history) == 1 and not self._is_mistaken():
            return None
        older, newer = sorted(self.random.sample([*range(len(history)), 0], k=2), reverse=True)
        to: Arguments = {"snapshot": history[newer]} if newer else {"branch": branch}
        return {"from": {"snapshot": history[older]}, "to": to}

    def _ancestry(self, number: int, view: View) -> Arguments:
        del number
        return self._selector(view)

    def _lookup_snapshot(self, number: int, view: View) -> Arguments:
        del number
        return {"snapshot": self._snapshot(view)}

    def _ops_log(self, number: int, view: View) -> Arguments:
        del number, view
        return {}

    _reopen = _ops_log

    # Sessions

    def _create_group(self, number: int, view: View) -> Arguments | None:
        session = self._session(view, "writable")
        if session is None:
            return None
        return {
            "session": session,
            "path": self._free_path(view, session),
            "document": group_document(number),
        }

    def _create_array(self, number: int, view: View) -> Arguments | None:
        session = self._session(view, "writable")
        if session is None:
            return None
        shape, chunks = GRIDS[self.random.choice(list(GRIDS))]
        document = array_document(shape, chunks, number)
        if self._is_mistaken():
            document = document.replace('"regular"', '"irregular"')
        return {"session": session, "path": self._free_path(view, session), "document": document}

    def _update_attributes(self, number: int, view: View) -> Arguments | None:
        return self._with_document(
            view, ("group", "array"), lambda document: document["attributes"].update({"n": number})
        )

    def _resize(self, number: int, view: View) -> Arguments | None:
        del number

        def resize(document: dict[str, Any]) -> None:
            shape = document["shape"]
            if shape:
                shape[self.random.randrange(len(shape))] = self.random.randrange(8)

        return self._with_document(view, ("array",), resize)

    def _with_document(
        self, view: View, types: tuple[str, ...], change: Callable[[dict[str, Any]], Any]
    ) -> Arguments | None:
        session = self._session(view, "writable")
        found = self._node(view, session, *types) if session is not None else None
        if found is None:
            return None
        path, document = found
        if "shape" not in document and types == ("array",):
            return None
        change(document)
        return {"session": session, "path": path, "document": json.dumps(document)}

    def _chunk(self, view: View, session: str) -> tuple[str, list[int]] | None:
        found = self._node(view, session, "array")
        if found is None:
            return None
        path, document = found
        grid = json.loads(json.dumps(document)).get("chunk_grid")
        if grid is None:
            return path, [0]
        sizes = zip(document["shape"], grid["configuration"]["chunk_shape"], strict=True)
        counts = [-(-length // chunk) for length, chunk in sizes]
        if not all(counts) and not self._is_mistaken():
            return None
        beyond = self._is_mistaken()
        coordinates = [self.random.randrange(count + beyond or 1) for count in counts]
        return path, [*coordinates, 0] if self._is_mistaken() else coordinates

    def _write_chunk(self, number: int, view: View) -> Arguments | None:
        session = self._session(view, "writable")
        chunk = self._chunk(view, session) if session is not None else None
        if chunk is None:
            return None
        size = self._pick(SIZES, [0])
        payload = (f"{number} " * size)[:size]
        return {"session": session, "path": chunk[0], "coordinates": chunk[1], "payload": payload}

    def _delete_chunk(self, number: int, view: View) -> Arguments | None:
        del number
        session = self._session(view, "writable")
        if session is None:
            return None
        state = view.states[session]
        keys = [key for key in state["content"] if not key.endswith("zarr.json")]
        base = view.content_of(state["snapshot"])
        keys = [key for key in keys if key in base] or keys[: self._is_mistaken()]
        key = self._pick(keys, ["a/c/0", "b/c/9", "g/c/0", "nowhere/c/0"])
        return None if key is None else {"session": session, "key": key}

    def _delete_node(self, number: int, view: View) -> Arguments | None:
        del number
        session = self._session(view, "writable")
        found = self._node(view, session, "group", "array") if session is not None else None
        if found is None or (not found[0] and self.random.random() < 0.7):
            return None
        return {"session": session, "path": found[0], "whole": self.random.random() < 0.3}

    def _recreate(self, number: int, view: View) -> Arguments | None:
        session = self._session(view, "writable")
        found = self._node(view, session, "group", "array") if session is not None else None
        if found is None:
            return None
        grid = self.random.choice([None, *GRIDS.values()])
        document = group_document(number) if grid is None else array_document(*grid, number)
        return {"session": session, "path": found[0], "document": document}

    def _move(self, number: int, view: View) -> Arguments | None:
        del number
        session = self._session(view, "rearrange")
        if session is None:
            return None
        nodes = self._nodes(view, session)
        source = self._pick([path for path in nodes if path], ["", "nowhere"])
        target = self._free_path(view, session)
        if self.random.random() < 0.5 and "g" in nodes:
            target = self.random.choice(["g/a", "g/n", "g2", "g/h/n"])
        if source is None:
            return None
        return {"session": session, "from": source, "to": target}

    def _discard(self, number: int, view: View) -> Arguments | None:
        del number
        session = self._session(view, self.random.choice(["writable", "rearrange"]))
        return None if session is None else {"session": session}

    def _ending(self, number: int, view: View) -> Arguments | None:
        session = self._session(view, self.random.choice(["writable", "writable", "rearrange"]))
        if session is None:
            return None
        if not view.states[session]["dirty"] and self.random.random() < 0.8:
            return None
        return {"session": session, "message": f"step {number}", "metadata": self._metadata(number)}

    def _commit(self, number: int, view: View) -> Arguments | None:
        arguments = self._ending(number, view)
        if arguments is None:
            return None
        arguments["allow_empty"] = self.random.random() < 0.2
        if self.random.random() < 0.4:
            arguments["rebase_with"] = self.random.choice(SOLVERS)
            arguments["rebase_tries"] = self.random.choice([1000, 1000, 1, 0])
        return arguments

    def _amend(self, number: int, view: View) -> Arguments | None:
        arguments = self._ending(number, view)
        if arguments is not None:
            arguments["allow_empty"] = self.random.random() < 0.2
        return arguments

    _flush = _ending

    def _rebase(self, number: int, view: View) -> Arguments | None:
        del number
        behind = []
        for label, state in view.states.items():
            tip = view.refs["branches"].get(state["branch"])
            if tip is not None and tip[0][0] != state["snapshot"]:
                behind.append(label)
        session = self._pick(behind, view.states)
        if session is None:
            return None
        return {"session": session, "solver": self.random.choice(SOLVERS)}


_OF_REPOSITORY = {
    "open_writable": 3.0,
    "open_rearrange": 6.0,
    "open_readonly": 3.0,
    "create_branch": 3.0,
    "delete_branch": 1.0,
    "reset_branch": 2.0,
    "create_tag": 2.0,
    "delete_tag": 1.0,
    "set_metadata": 0.5,
    "update_metadata": 0.5,
    "set_default_commit_metadata": 0.3,
    "diff": 4.0,
    "ancestry": 1.0,
    "lookup_snapshot": 1.0,
    "ops_log": 1.0,
    "reopen": 0.5,
}
"""How often each verb of a repository is used, relatively."""

_OF_SESSIONS = {
    "create_group": 5.0,
    "create_array": 8.0,
    "update_attributes": 6.0,
    "resize": 4.0,
    "write_chunk": 24.0,
    "delete_chunk": 4.0,
    "delete_node": 4.0,
    "recreate": 3.0,
    "move": 14.0,
    "discard": 0.7,
    "commit": 8.0,
    "amend": 3.0,
    "flush": 1.0,
    "rebase": 5.0,
}
"""The same for sessions."""

_SPELLED = frozenset(
    {
        *("open_writable", "open_rearrange", "open_readonly", "create_branch", "delete_branch"),
        *("reset_branch", "create_tag", "delete_tag", "set_metadata", "update_metadata", "diff"),
        *("lookup_snapshot", "reopen", "move", "commit", "amend", "flush", "rebase"),
    }
)
"""Verbs with two spellings: one that blocks, and a coroutine."""
