"""Random histories of a repository, beside a model in plain Python that says what has to be there.

Sessions on several branches write, delete, move and resize, are committed, amended, rebased, flushed and
thrown away, while branches are reset and deleted and tags come and go. Each verb is called in one of its two
spellings. After each step every open session and every name is compared with the model
(`tests.history_model`); what is refused has to be refused by both, for the same reason.

With `ICECHUNK_HISTORIES=50` in the environment fifty times as many histories are tried.
"""

from __future__ import annotations

import json
import os
import pickle
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from icechunk import (
    Diff,
    Repository,
    RepositoryConfig,
    Session,
    SpecVersion,
    VersionSelection,
)
from tests import arrays, history_model, trees
from tests.history_comparison import Comparison, Reader, Spelling, Writer, content, key
from tests.history_model import Refused, Solver
from tests.layouts import layouts
from tests.places import places

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject

NAMES = ["a", "g"]
DEPTH = 3
"""Of what is created: more nodes would have less to do with one another."""

BRANCHES = ["main", "dev", "old"]
TAGS = ["v1", "v2"]
MOST_SESSIONS = 3
"""Open at a time, of those that write and of those that read."""

CHANGES_OF_NODES = ["put_document", "create_array", "delete_node", "move"]
CHANGES_OF_ARRAYS = [
    *["write_chunk", "write_chunk", "write_values", "delete_chunk"],
    *["resize", "resize_by_document", "shift", "reindex"],
]


spellings = st.sampled_from(Spelling)
lengths = st.integers(0, 5)
documents = st.integers(0, 2)
kinds = st.sampled_from([False, False, False, True])
"""Of sessions: few move nodes."""
solvers = st.builds(Solver, st.booleans(), st.sampled_from(VersionSelection), st.booleans(), st.booleans())


class Histories(Comparison):
    """The rules: what is done to the repository, to sessions and to names."""

    # The repository and its sessions

    @initialize(config=layouts(), spelling=spellings)
    def create(self, config: RepositoryConfig, spelling: Spelling) -> None:
        self.repo = self.call(
            spelling, Repository, "create", self.storage, config, spec_version=self.spec_version
        )
        (first,) = self.repo.ancestry(branch="main")
        self.model = history_model.Repository(first.id, first.message, int(self.spec_version))
        self.open_writer("main", False, spelling)
        writer = self.writers[0]
        for path, length in {"/": None, "/a": 4, "/g": None, "/g/a": 3}.items():
            self.put(spelling, writer, path, length, 0)
        for path in ("/a", "/g/a"):
            self.write(spelling, writer, path, 0, 1)
            self.write(spelling, writer, path, 2, 2)
        self.commit_writer(spelling, writer, None, False)
        self.open_writer("main", False, spelling)

    @rule(data=st.data(), rearranges=kinds, spelling=spellings)
    def open_session(self, data: DataObject, rearranges: bool, spelling: Spelling) -> None:
        branch = data.draw(st.sampled_from(list(self.model.branches)))
        self.open_writer(branch, rearranges, spelling)

    def open_writer(self, branch: str, rearranges: bool, spelling: Spelling) -> Writer:
        rearranges = rearranges and self.spec_version == 2
        verb = "rearrange_session" if rearranges else "writable_session"
        base = self.model.snapshots[self.model.branches[branch]]
        real = self.call(spelling, self.repo, verb, branch)
        writer = Writer(real, history_model.Session(base, branch, rearranges=rearranges))
        self.writers.append(writer)
        del self.writers[:-MOST_SESSIONS]
        return writer

    def read(self, real: Session, snapshot_id: str) -> None:
        """Keep a session that reads, for as long as there are not too many."""
        assert real.read_only
        assert real.branch is None
        assert real.snapshot_id == snapshot_id
        self.readers.append(Reader(real, self.model.snapshots[snapshot_id]))
        del self.readers[:-MOST_SESSIONS]

    @rule(data=st.data(), spelling=spellings)
    def open_reader(self, data: DataObject, spelling: Spelling) -> None:
        start = data.draw(self.starts())
        self.read(self.call(spelling, self.repo, "readonly_session", **start), self.target(start))

    @rule(data=st.data(), spelling=spellings)
    def open_reader_as_of(self, data: DataObject, spelling: Spelling) -> None:
        branch = data.draw(st.sampled_from(list(self.model.branches)))
        then = data.draw(st.sampled_from(self.compare_history(spelling, self.repo, branch=branch)))
        session = self.call(spelling, self.repo, "readonly_session", branch, as_of=then.written_at)
        self.read(session, then.id)

    @rule(data=st.data())
    @precondition(lambda self: bool(self.readers))
    def pickle_reader(self, data: DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        self.read(pickle.loads(pickle.dumps(reader.real)), reader.snapshot.id)

    @rule(config=layouts(), spelling=spellings)
    def open_again(self, config: RepositoryConfig, spelling: Spelling) -> None:
        """Everything that was ever committed is there for somebody who comes anew."""
        self.repo = self.call(spelling, Repository, "open", self.storage, config)
        self.compare_names(spelling, self.repo)
        for snapshot in self.model.snapshots.values():
            session = self.call(spelling, self.repo, "readonly_session", snapshot_id=snapshot.id)
            self.compare(spelling, session, snapshot.tree)
            self.compare_history(spelling, self.repo, snapshot_id=snapshot.id)

    # Changes

    def put(self, spelling: Spelling, writer: Writer, path: str, length: int | None, number: int) -> None:
        made = trees.group(n=number) if length is None else trees.array(length, n=number)
        self.both(
            lambda: writer.model.put(path, made, length),
            lambda: self.call(spelling, arrays, "set_key", writer.real, f"{key(path)}zarr.json", made),
        )

    def write(self, spelling: Spelling, writer: Writer, path: str, chunk: int, value: int) -> None:
        data = bytes([value])
        self.both(
            lambda: writer.model.write(path, chunk, data),
            lambda: self.call(spelling, arrays, "set_key", writer.real, f"{key(path)}c/{chunk}", data),
        )

    @rule(data=st.data(), spelling=spellings)
    @precondition(lambda self: self.writers)
    def change(self, data: DataObject, spelling: Spelling) -> None:
        self.make_changes(data, spelling, self.draw_writer(data))

    def make_changes(self, data: DataObject, spelling: Spelling, writer: Writer) -> None:
        """Some changes in one session, which moves nodes if it does nothing else."""
        for _ in range(data.draw(st.integers(1, 4))):
            found = [path for path, node in writer.model.tree.items() if node.is_array]
            verbs = CHANGES_OF_NODES + (CHANGES_OF_ARRAYS if found else [])
            verb = "move" if writer.model.rearranges else data.draw(st.sampled_from(verbs))
            if verb not in CHANGES_OF_ARRAYS:
                found = [path for path in writer.model.places(NAMES) if path.count("/") < DEPTH]
            path = data.draw(st.sampled_from(found))
            note(f"{verb} {path}")
            getattr(self, verb)(data, spelling, writer, path)

    def move(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        source = data.draw(st.sampled_from(sorted(writer.model.tree) or ["/"]))
        note(f"from {source}")

        def expected() -> None:
            if self.spec_version == 1:
                raise Refused("unsupported-spec-version")
            writer.model.move(source, path)

        self.both(expected, lambda: self.call(spelling, writer.real, "move", source, path))

    def put_document(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        # An array as the root would leave no place for anything else.
        length = data.draw(st.none() | lengths) if path != "/" else None
        self.put(spelling, writer, path, length, data.draw(documents))

    def create_array(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        """Through zarr, in place of what is there."""
        length, kind = data.draw(lengths), {"chunks": (1,), "dtype": "u1"}
        path = "/a" if path == "/" else path
        if "/" not in writer.model.tree:
            self.put(spelling, writer, "/", None, 0)
        writer.model.delete(path)
        self.call(spelling, arrays, "create_array", writer.real, path[1:], (length,), overwrite=True, **kind)
        self.take_document(spelling, writer, path, length)

    def delete_node(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        writer.model.delete(path)
        if data.draw(st.booleans()):
            self.loop.run_until_complete(writer.real.store.delete_dir(path[1:]))
        else:
            self.call(spelling, arrays, "delete_key", writer.real, f"{key(path)}zarr.json")

    def write_chunk(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        self.write(spelling, writer, path, data.draw(lengths), data.draw(st.integers(1, 255)))

    def write_values(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        """Through zarr, which deletes chunks that have nothing but the fill value."""
        first, length = data.draw(lengths), writer.model.length(path)
        new = data.draw(st.lists(st.integers(0, 255), max_size=max(length - first, 0)))
        for at, value in enumerate(new, first):
            writer.model.write(path, at, bytes([value]) if value else None)
        array = self.call(spelling, arrays, "open_array", writer.real, path[1:])
        chosen = slice(first, first + len(new))
        self.call(spelling, arrays, "write", array, chosen, np.array(new, np.uint8))

    def delete_chunk(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        chunk = data.draw(lengths)
        writer.model.write(path, chunk, None)
        self.call(spelling, arrays, "delete_key", writer.real, f"{key(path)}c/{chunk}")

    def resize(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        """Through zarr, which deletes the chunks outside before it writes the document."""
        length = data.draw(lengths)
        for at in range(length, writer.model.length(path)):
            writer.model.write(path, at, None)
        array = self.call(spelling, arrays, "open_array", writer.real, path[1:])
        self.call(spelling, arrays, "resize", array, (length,))
        self.take_document(spelling, writer, path, length)

    def resize_by_document(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        length = data.draw(lengths)
        self.call(spelling, arrays, "reshape_document", writer.real, path[1:], [length])
        self.take_document(spelling, writer, path, length)

    def take_document(self, spelling: Spelling, writer: Writer, path: str, length: int) -> None:
        """Let the model know what zarr has written."""
        written = self.call(spelling, arrays, "get_key", writer.real, f"{key(path)}zarr.json")
        assert json.loads(written)["shape"] == [length]
        writer.model.put(path, written, length)

    def shift(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        offset, length = data.draw(st.integers(-3, 3)), writer.model.length(path)
        places = {at: at + offset if 0 <= at + offset < length else None for at in range(length)}
        writer.model.rearrange(path, places, clears=True)
        self.call(spelling, writer.real, "shift_array", path, [offset])

    def reindex(self, data: DataObject, spelling: Spelling, writer: Writer, path: str) -> None:
        order = data.draw(st.permutations(range(writer.model.length(path))))
        clears = data.draw(st.booleans())
        writer.model.rearrange(path, dict(enumerate(order)), clears=clears)
        functions = [lambda at: [order[at[0]]], lambda at: [order.index(at[0])]]
        self.call(spelling, writer.real, "reindex_array", path, *functions[: 1 + clears])

    @rule(data=st.data())
    @precondition(lambda self: self.writers)
    def discard(self, data: DataObject) -> None:
        writer = self.draw_writer(data)
        writer.model.discard()
        writer.real.discard_changes()

    # Commits

    def land(
        self, writer: Writer, message: str, snapshot_id: str, *, amends: bool = False
    ) -> history_model.Snapshot:
        """A commit went through: what was written is read from now on."""
        made = self.model.add(writer.model, snapshot_id, message, amends=amends)
        self.writers.remove(writer)
        self.read(writer.real, snapshot_id)
        return made

    def commit_writer(
        self, spelling: Spelling, writer: Writer, solver: Solver | None, allow_empty: bool
    ) -> None:
        message = f"step {self.steps}"

        def expected() -> None:
            if not (allow_empty or writer.model.is_dirty):
                raise Refused("no-changes-to-commit")
            if solver is not None:
                self.model.rebase(writer.model, solver)
            self.model.require_tip(writer.model)

        made = self.both(
            expected,
            lambda: self.call(
                spelling,
                writer.real,
                "commit",
                message,
                rebase_with=None if solver is None else solver.real(),
                allow_empty=allow_empty,
            ),
        )
        if made is not None:
            self.model.branches[writer.model.branch] = self.land(writer, message, made).id

    @rule(data=st.data(), solver=st.none() | solvers, allow_empty=st.booleans(), spelling=spellings)
    @precondition(lambda self: self.writers)
    def commit(self, data: DataObject, solver: Solver | None, allow_empty: bool, spelling: Spelling) -> None:
        self.commit_writer(spelling, self.draw_writer(data), solver, allow_empty)

    @rule(data=st.data(), solver=solvers, spelling=spellings)
    def race(self, data: DataObject, solver: Solver, spelling: Spelling) -> None:
        """Others change a branch before a session does: so there is something to rebase."""
        branch = data.draw(st.sampled_from(list(self.model.branches)))
        ours = self.open_writer(branch, data.draw(kinds), spelling)
        for _ in range(data.draw(st.integers(1, 2))):
            what = data.draw(st.sampled_from(["commit", "commit", "commit", "amend", "reset"]))
            note(f"before: {what}")
            if what == "reset":
                self.change_name(spelling, "reset_branch", branch, data.draw(self.snapshots()))
                continue
            theirs = self.open_writer(branch, data.draw(kinds), spelling)
            self.make_changes(data, spelling, theirs)
            if what == "amend":
                self.amend_writer(spelling, theirs, True)
            else:
                self.commit_writer(spelling, theirs, None, True)
        self.make_changes(data, spelling, ours)
        if data.draw(st.booleans()):
            self.rebase_writer(spelling, ours, solver)
        else:
            self.commit_writer(spelling, ours, solver, True)

    @rule(data=st.data(), solver=solvers, spelling=spellings)
    @precondition(lambda self: self.writers)
    def rebase(self, data: DataObject, solver: Solver, spelling: Spelling) -> None:
        self.rebase_writer(spelling, self.draw_writer(data), solver)

    def rebase_writer(self, spelling: Spelling, writer: Writer, solver: Solver) -> None:
        self.both(
            lambda: self.model.rebase(writer.model, solver),
            lambda: self.call(spelling, writer.real, "rebase", solver.real()),
        )

    @rule(data=st.data(), allow_empty=st.booleans(), spelling=spellings)
    @precondition(lambda self: self.writers)
    def amend(self, data: DataObject, allow_empty: bool, spelling: Spelling) -> None:
        self.amend_writer(spelling, self.draw_writer(data), allow_empty)

    def amend_writer(self, spelling: Spelling, writer: Writer, allow_empty: bool) -> None:
        message = f"step {self.steps}"

        def expected() -> None:
            if self.spec_version == 1:
                raise Refused("unsupported-spec-version")
            if not (allow_empty or writer.model.is_dirty):
                raise Refused("no-changes-to-commit")
            self.model.require_amendable(writer.model)

        made = self.both(
            expected, lambda: self.call(spelling, writer.real, "amend", message, allow_empty=allow_empty)
        )
        if made is not None:
            self.model.branches[writer.model.branch] = self.land(writer, message, made, amends=True).id

    @rule(data=st.data(), spelling=spellings)
    @precondition(lambda self: self.writers)
    def flush(self, data: DataObject, spelling: Spelling) -> None:
        writer, message = self.draw_writer(data), f"step {self.steps}"
        self.land(writer, message, self.call(spelling, writer.real, "flush", message))

    # Branches and tags

    def change_name(self, spelling: Spelling, verb: str, *arguments: str, **named: str | None) -> None:
        self.both(
            lambda: getattr(self.model, verb)(*arguments, **named),
            lambda: self.call(spelling, self.repo, verb, *arguments, **named),
        )

    @rule(data=st.data(), name=st.sampled_from(BRANCHES), spelling=spellings)
    def create_branch(self, data: DataObject, name: str, spelling: Spelling) -> None:
        self.change_name(spelling, "create_branch", name, data.draw(self.snapshots()))

    @rule(data=st.data(), name=st.sampled_from(BRANCHES), spelling=spellings)
    def reset_branch(self, data: DataObject, name: str, spelling: Spelling) -> None:
        source = data.draw(st.none() | st.just(self.model.branches.get(name)) | self.snapshots())
        self.change_name(spelling, "reset_branch", name, data.draw(self.snapshots()), from_snapshot_id=source)

    @rule(data=st.data(), spelling=spellings)
    def change_others(self, data: DataObject, spelling: Spelling) -> None:
        """What is done more rarely: names are deleted, and there are tags."""
        verb = data.draw(st.sampled_from(["create_tag", "create_tag", "delete_tag", "delete_branch"]))
        name = data.draw(st.sampled_from(BRANCHES if verb == "delete_branch" else TAGS))
        target = [data.draw(self.snapshots())] if verb == "create_tag" else []
        self.change_name(spelling, verb, name, *target)

    # What holds at any time

    @rule(data=st.data(), spelling=spellings)
    def compare_snapshots(self, data: DataObject, spelling: Spelling) -> None:
        end = data.draw(self.starts())
        older = [{"snapshot_id": each.id} for each in self.model.ancestry(self.target(end))]
        start = data.draw(st.sampled_from(older) | self.starts())
        arguments = {f"from_{kind}": name for kind, name in start.items()}
        arguments |= {f"to_{kind}": name for kind, name in end.items()}
        expected: list[Diff] = []
        actual = self.both(
            lambda: expected.append(self.model.diff(self.target(start), self.target(end))),
            lambda: self.call(spelling, self.repo, "diff", **arguments),
        )
        if actual is not None:
            assert actual == expected[0]

    @rule(data=st.data(), spelling=spellings)
    @precondition(lambda self: any(writer.model.tree for writer in self.writers))
    def look_closely(self, data: DataObject, spelling: Spelling) -> None:
        """At one node, by everything that says something about it."""
        nodes = [(writer, path) for writer in self.writers for path in writer.model.tree]
        writer, path = data.draw(st.sampled_from(nodes))
        node, expected = writer.model.tree[path], content(history_model.subtree(writer.model.tree, path))
        store = writer.real.store
        assert sorted(store.list_prefix(path[1:])) == sorted(expected)
        size = self.loop.run_until_complete(store.getsize_prefix(path[1:]))
        assert size == sum(map(len, expected.values()))
        names = self.call(spelling, trees, "names", writer.real, path[1:])
        if not node.is_array:
            children = [
                each.rpartition("/")[2] for each in writer.model.tree if history_model.parent(each) == path
            ]
            assert names == sorted(["zarr.json", *children])
            return
        assert names == ["c", "zarr.json"]
        chunks = {at: value for at, value in node.chunks.items() if node.has_place_for(at)}
        assert sorted(writer.real.chunk_coordinates(path)) == [(at,) for at in sorted(chunks)]
        data_of_array = self.call(spelling, arrays, "read", writer.real, path[1:])
        assert data_of_array.tolist() == [chunks.get(at, b"\0")[0] for at in range(node.length or 0)]

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        self.steps += 1
        spelling = Spelling(self.steps % 2)
        for writer in self.writers:
            self.compare(spelling, writer.real, writer.model.tree)
            assert writer.real.status() == writer.model.status()
            assert writer.real.has_uncommitted_changes == writer.model.is_dirty
            assert writer.real.snapshot_id == writer.model.base.id
            assert writer.real.branch == writer.model.branch
        for reader in self.readers:
            self.compare(spelling, reader.real, reader.snapshot.tree)
        self.compare_names(spelling, self.repo)
        for name in self.model.branches:
            self.compare_history(spelling, self.repo, branch=name)


EFFORT = {"memory": 40, "directory": 15}
"""How many histories are tried in a place."""

HISTORIES = int(os.environ.get("ICECHUNK_HISTORIES", "1"))
"""How many times as many."""


@pytest.mark.timeout(600 * HISTORIES)  # what fails is made as small as can be, which takes five minutes
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("place", EFFORT)
def test_a_history_is_what_the_model_says(
    place: str, spec_version: int, request: pytest.FixtureRequest
) -> None:
    new_storage = places(place, request)
    run_state_machine_as_test(
        # A class is asked for, anything that makes such an object will do.
        lambda: Histories(new_storage(), SpecVersion(spec_version)),  # type: ignore[arg-type]
        settings=settings(
            max_examples=EFFORT[place] * HISTORIES,
            stateful_step_count=50,
            deadline=None,
            # The same histories in each run of the suite; others where somebody asks for more of them.
            derandomize=HISTORIES == 1,
            suppress_health_check=list(HealthCheck),
        ),
    )
