"""A repository beside its model (`tests.history_model`): how both are called, and what is compared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine

from icechunk import (
    Conflict,
    ConflictType,
    IcechunkError,
    RebaseFailedError,
    Repository,
    Session,
    SpecVersion,
    Storage,
)
from tests import history_model, trees
from tests.history_model import Conflicting, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hypothesis.strategies import DataObject, SearchStrategy


class Spelling(Enum):
    BLOCKING = 0
    COROUTINE = 1


@dataclass(eq=False)
class Writer:
    """A session that can be committed, beside its model."""

    real: Session
    model: history_model.Session

    def __repr__(self) -> str:
        return f"a session on {self.model.branch}"


@dataclass(eq=False)
class Reader:
    """A session that reads, and the snapshot that it is on."""

    real: Session
    snapshot: history_model.Snapshot


def key(path: str) -> str:
    """The start of the keys of a node."""
    return path[1:] + "/" if path != "/" else ""


def content(tree: history_model.Tree) -> trees.Content:
    """All keys of a tree, and their values."""
    found = {}
    for path, node in tree.items():
        found[f"{key(path)}zarr.json"] = node.document
        for at, value in node.chunks.items():
            if node.has_place_for(at):
                found[f"{key(path)}c/{at}"] = value
    return found


class Comparison(RuleBasedStateMachine):
    """A repository with some sessions, and the same in the model."""

    repo: Repository
    model: history_model.Repository

    def __init__(self, storage: Storage, spec_version: SpecVersion) -> None:
        super().__init__()
        self.storage = storage
        self.spec_version = spec_version
        self.runner = asyncio.Runner()
        self.loop = self.runner.get_loop()
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        self.steps = 0

    def teardown(self) -> None:
        self.runner.close()

    # How to call, and what to compare

    def call(self, spelling: Spelling, owner: Any, verb: str, *arguments: Any, **named: Any) -> Any:
        """Call a verb of a repository, a session or a module."""
        if spelling is Spelling.BLOCKING:
            return getattr(owner, verb)(*arguments, **named)
        return self.loop.run_until_complete(getattr(owner, f"{verb}_async")(*arguments, **named))

    def both(self, expected: Callable[[], object], actual: Callable[[], Any]) -> Any:
        """Do the same twice: both work, or both are refused for one reason. None if they are."""
        refused = None
        try:
            expected()
        except Refused as error:
            refused = error
        if refused is None:
            return actual()
        with pytest.raises(IcechunkError) as raised:
            actual()
        note(f"refused: {raised.value}")
        assert raised.value.kind == refused.kind
        if isinstance(refused, Conflicting):
            assert isinstance(raised.value, RebaseFailedError)
            assert raised.value.snapshot == refused.snapshot
            note(f"the model found {refused.found}")
            assert {found(each) for each in raised.value.conflicts} == refused.found
        return None

    def compare(self, spelling: Spelling, session: Session, tree: history_model.Tree) -> None:
        assert self.call(spelling, trees, "content", session) == content(tree)

    def compare_names(self, spelling: Spelling, repo: Repository) -> None:
        assert self.call(spelling, repo, "list_branches") == set(self.model.branches)
        assert self.call(spelling, repo, "list_tags") == set(self.model.tags)
        for name, snapshot_id in self.model.branches.items():
            assert self.call(spelling, repo, "lookup_branch", name) == snapshot_id
        for name, snapshot_id in self.model.tags.items():
            assert self.call(spelling, repo, "lookup_tag", name) == snapshot_id

    def compare_history(self, spelling: Spelling, repo: Repository, **start: str) -> list[Any]:
        if spelling is Spelling.BLOCKING:
            found = list(repo.ancestry(**start))
        else:
            found = self.loop.run_until_complete(collected(repo.async_ancestry(**start)))
        expected = self.model.ancestry(self.target(start))
        assert [(each.id, each.parent_id, each.message) for each in found] == [
            (each.id, each.parent, each.message) for each in expected
        ]
        return found

    # What to choose from

    def starts(self) -> SearchStrategy[dict[str, str]]:
        """Everything that stands for a snapshot."""
        found = [{"branch": name} for name in self.model.branches]
        found += [{"tag": name} for name in self.model.tags]
        found += [{"snapshot_id": each} for each in self.model.snapshots]
        return st.sampled_from(found)

    def target(self, start: dict[str, str]) -> str:
        ((kind, name),) = start.items()
        return {"branch": self.model.branches, "tag": self.model.tags}.get(kind, {name: name})[name]

    def snapshots(self) -> SearchStrategy[str]:
        return st.sampled_from(list(self.model.snapshots))

    def draw_writer(self, data: DataObject) -> Writer:
        return data.draw(st.sampled_from(self.writers))


def found(conflict: Conflict) -> tuple[ConflictType, str, tuple[int, ...]]:
    return conflict.conflict_type, conflict.path, tuple(at for (at,) in conflict.conflicted_chunks or ())


async def collected(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]
