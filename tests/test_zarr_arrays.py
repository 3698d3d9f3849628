"""What zarr makes of an Icechunk store: shards, overwriting, fill values, documents."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
import zarr.storage

from icechunk import IcechunkStore, Repository, RepositoryConfig, Session
from tests.places import places


@pytest.fixture(params=["memory", "directory, spec 1, inline chunks", "s3"])
def session(request: pytest.FixtureRequest) -> Session:
    place, *others = request.param.split(", ")
    config = RepositoryConfig(inline_chunk_threshold_bytes=512 if "inline chunks" in others else 0)
    spec_version = 1 if "spec 1" in others else 2
    repo = Repository.create(places(place, request)(), config, spec_version=spec_version)
    return repo.writable_session("main")


def reopened(session: Session) -> IcechunkStore:
    """The tip, read by somebody who comes anew, after a commit."""
    session.commit("write")
    return Repository.open(session._cache.storage).readonly_session("main").store


def test_sharded_arrays_are_read_by_byte_ranges_of_their_chunks(session: Session) -> None:
    """Ranges from the start and from the end of chunks, also of chunks that lie inline in a manifest."""
    expected = np.arange(24 * 24, dtype="f8").reshape(24, 24)
    array = zarr.create_array(
        session.store, name="a", shape=(24, 24), shards=(12, 24), chunks=(3, 4), dtype="f8"
    )
    array[:] = expected
    small = zarr.create_array(session.store, name="b", shape=(12,), shards=(6,), chunks=(2,), dtype="i1")
    small[:7] = np.arange(7)
    for store in (session.store, reopened(session)):
        found = zarr.open_array(store, path="a", mode="r")[5:19, 3:22]
        assert np.array_equal(np.asarray(found), expected[5:19, 3:22])
        assert np.asarray(zarr.open_array(store, path="b", mode="r")[3:9]).tolist() == [3, 4, 5, 6, 0, 0]
        assert len([key for key in store.list_prefix("a") if "/c/" in key]) == 2


def test_arrays_and_groups_can_be_overwritten(session: Session) -> None:
    """Nothing of what was there before shows through: no chunks, attributes or members."""
    group = zarr.create_group(session.store, path="g", attributes={"old": 1})
    group.create_array("a", shape=(6,), chunks=(1,), dtype="i2")[:] = 1
    zarr.create_array(session.store, name="b", shape=(6,), chunks=(1,), dtype="i2")[:] = 1
    session.commit("old")
    session = Repository.open(session._cache.storage).writable_session("main")
    zarr.create_group(session.store, path="g", attributes={"new": 2}, overwrite=True)
    array = zarr.create_array(session.store, name="b", shape=(4,), chunks=(2,), dtype="i4", overwrite=True)
    array[2:] = 7
    for store in (session.store, reopened(session)):
        assert dict(zarr.open_group(store, path="g", mode="r").attrs) == {"new": 2}
        assert list(zarr.open_group(store, path="g", mode="r").members()) == []
        assert np.asarray(zarr.open_array(store, path="b", mode="r")[:]).tolist() == [0, 0, 7, 7]
        assert sorted(key for key in store.list_prefix("b")) == ["b/c/1", "b/zarr.json"]


@pytest.mark.parametrize("fill_value", [np.nan, np.inf, -np.inf])
def test_special_fill_values_round_trip(session: Session, fill_value: float) -> None:
    """JSON has no NaN and no infinity; Zarr's spellings of them come back as what they were."""
    zarr.create_array(session.store, name="a", shape=(3,), dtype="f4", fill_value=fill_value)[1] = 2
    expected = np.array([fill_value, 2, fill_value], "f4")
    for store in (session.store, reopened(session)):
        np.testing.assert_array_equal(zarr.open_array(store, path="a", mode="r")[:], expected)


def test_documents_are_those_that_zarr_writes_elsewhere(session: Session) -> None:
    """No `dimension_names` of null and no empty attributes are added to what has none."""
    elsewhere = zarr.storage.MemoryStore()
    for store in (session.store, elsewhere):
        zarr.create_array(store, name="plain", shape=(3,), dtype="f4")
        group = zarr.create_group(store, path="named", attributes={"title": "air"})
        group.create_array("x", shape=(3,), dtype="f4", dimension_names=["x"], attributes={"a": 1})
    store = reopened(session)
    for key in ("plain/zarr.json", "named/zarr.json", "named/x/zarr.json"):
        document = store.get_sync(key)
        assert document is not None
        assert document.to_bytes() == elsewhere._store_dict[key].to_bytes()
    assert b"dimension_names" not in elsewhere._store_dict["plain/zarr.json"].to_bytes()


def test_consolidated_metadata_is_refused_with_advice(session: Session) -> None:
    """Consolidated metadata would go stale; a snapshot holds all metadata anyway."""
    zarr.create_group(session.store)
    with pytest.raises(TypeError, match="doesn't support consolidated metadata"):
        zarr.consolidate_metadata(session.store)
