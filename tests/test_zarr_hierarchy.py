"""A hierarchy of groups and arrays that is changed at random is always what zarr's memory store says it is.

The machine is zarr's own (`zarr.testing.stateful.ZarrHierarchyStateMachine`): it makes, fills, resizes,
overwrites and deletes groups and arrays in two stores at once, and compares the two. Added here is what zarr
knows nothing of: commits, sessions opened anew, changes thrown away, old snapshots, and settings for the
layout of manifests and chunks.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, note, settings
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test
from zarr.testing.stateful import ZarrHierarchyStateMachine

import icechunk
from icechunk import IcechunkStore, Repository, RepositoryConfig, SpecVersion
from tests.layouts import layouts
from tests.places import PLACES, places

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject


def contents(store: IcechunkStore) -> dict[str, bytes]:
    """All keys and values, through the blocking half."""
    found = {key: store.get_sync(key) for key in store.list()}
    return {key: value.to_bytes() for key, value in found.items() if value is not None}


class IcechunkHierarchy(ZarrHierarchyStateMachine):
    """Zarr's machine on a session of a new repository, and what happens to sessions."""

    store: IcechunkStore

    def __init__(self, storage: icechunk.Storage, spec_version: SpecVersion) -> None:
        self.storage = storage
        self.repo = Repository.create(storage, spec_version=spec_version)
        super().__init__(self.repo.writable_session("main").store)
        self.snapshots: list[tuple[str, dict[str, bytes]]] = []

    @initialize(config=layouts())
    def init_store(self, config: RepositoryConfig) -> None:
        self.reopen(config)
        super().init_store()
        self.commit()

    def remember(self) -> None:
        """Note what is there, for old snapshots to be compared with, and to come back to."""
        self.saved = (dict(self.model._store_dict), set(self.all_groups), set(self.all_arrays))
        self.snapshots.append((self.store.session.snapshot_id, contents(self.store)))

    def compare_with_model(self) -> None:
        for path in sorted(self.all_arrays):
            actual = zarr.open_array(self.store, path=path, mode="r")
            expected = zarr.open_array(self.model, path=path, mode="r")
            np.testing.assert_equal(actual[...], expected[...])
        assert set(self.store.list_prefix("")) == set(self._sync_iter(self.model.list_prefix("")))

    @rule()
    def commit(self) -> None:
        session = self.store.session
        before = contents(self.store)
        changed = session.has_uncommitted_changes
        if not changed and self.snapshots:
            assert before == self.snapshots[-1][1]
        tip = session.commit("change", allow_empty=not changed)
        note(f"committed {tip}")
        assert contents(session.store) == before
        assert contents(Repository.open(self.storage).readonly_session("main").store) == before
        self.store = self.repo.writable_session("main").store
        assert self.store.session.snapshot_id == tip
        assert contents(self.store) == before
        self.compare_with_model()
        self.remember()

    @rule(config=layouts())
    @precondition(lambda self: not self.store.session.has_uncommitted_changes)
    def reopen(self, config: RepositoryConfig) -> None:
        note(f"opened again with {config.manifest} and {config.inline_chunk_threshold_bytes}")
        self.repo = Repository.open(self.storage, config)
        self.store = self.repo.writable_session("main").store

    @rule(again=st.booleans())
    def discard(self, again: bool) -> None:
        note("discarding changes")
        if again:
            self.store = self.repo.writable_session("main").store
        else:
            self.store.session.discard_changes()
        documents, groups, arrays = self.saved
        self.model._store_dict.clear()
        self.model._store_dict.update(documents)
        self.all_groups, self.all_arrays = set(groups), set(arrays)
        assert not self.store.session.has_uncommitted_changes
        assert self.store.session.status().is_empty()
        assert contents(self.store) == self.snapshots[-1][1]

    @rule(data=st.data())
    def look_at_an_old_snapshot(self, data: DataObject) -> None:
        tip, expected = data.draw(st.sampled_from(self.snapshots))
        session = self.repo.readonly_session(snapshot_id=tip)
        assert contents(session.store) == expected
        assert contents(pickle.loads(pickle.dumps(session)).store) == expected

    @rule()
    def compare(self) -> None:
        self.compare_with_model()
        status = self.store.session.status()
        assert status.is_empty() == (not self.store.session.has_uncommitted_changes)

    @precondition(lambda self: bool(self.all_groups))
    @rule(data=st.data())
    def check_list_dir(self, data: DataObject) -> None:
        """As zarr's, but an array always has a directory `c`, with chunks in it or without."""
        path = self.draw_directory(data)
        expected = set(self._sync_iter(self.model.list_dir(path)))
        if path in self.all_arrays:
            expected.add("c")
        assert sorted(self.store.list_dir(path)) == sorted(expected)


EFFORT = {"memory": (10, 30), "directory": (4, 25), "s3": (1, 15)}
"""How many hierarchies are tried in a place, and how many changes are made to each."""


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("place", PLACES)
def test_a_hierarchy_is_what_zarrs_memory_store_says(
    place: str, spec_version: int, request: pytest.FixtureRequest
) -> None:
    new_storage = places(place, request)
    examples, steps = EFFORT[place]
    run_state_machine_as_test(
        # A class is asked for, anything that makes such an object will do.
        lambda: IcechunkHierarchy(new_storage(), SpecVersion(spec_version)),  # type: ignore[arg-type]
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
