"""The laws that zarr publishes for stores (`zarr.testing.store.StoreTests`), held by `IcechunkStore`.

All of zarr's tests run, on every kind of storage. An Icechunk store takes two kinds of keys only, `zarr.json`
documents with valid metadata and chunks of arrays that exist, and no empty chunks. So a test of zarr's that
writes `b"bar"` to `foo` is run here with keys and values of these kinds: by zarr's own code where that takes
them as arguments, otherwise by a test of the same name that states the same law. The other differences from
zarr's stores, each with its reason at its test: an absent chunk has the size 0, and a store is equal to
stores of the same session only.
"""

from __future__ import annotations

import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, cpu, default_buffer_prototype
from zarr.core.sync import _collect_aiterator, sync
from zarr.testing.store import StoreTests
from zarr.testing.utils import assert_bytes_equal

import icechunk
from icechunk import IcechunkStore, Repository, RepositoryConfig, Session
from icechunk._core.paths import parse_key
from icechunk._format.chunk_refs import ChunkRef, inline_ref
from icechunk._sync.assets import SyncAssets
from tests.places import places

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest

GROUP = b'{"zarr_format":3,"node_type":"group","attributes":{"title":"air"}}'
PROTOTYPE = default_buffer_prototype()
REFUSED = "store was opened in read-only mode and does not support writing"


def array_document(ndim: int = 1) -> bytes:
    """The document of an array with 16 chunks of one byte along each dimension."""
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [16] * ndim,
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1] * ndim}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
    }
    return json.dumps(document).encode()


def buffer(data: bytes) -> Buffer:
    return cpu.Buffer.from_bytes(data)


CHUNK_KEYS = ["c/0", "foo/c/0/15", "foo/c", "foo/bar/c/1/2/3"]
DOCUMENTS = [
    ("zarr.json", GROUP),
    ("zarr.json", array_document()),
    ("foo/zarr.json", array_document(0)),
    ("foo/bar/zarr.json", GROUP),
]
CHUNKS = [(key, b"\x01\x02\x03\x04") for key in CHUNK_KEYS]
ENTRIES = [*DOCUMENTS, *CHUNKS]
RANGES: list[ByteRequest | None] = [
    None,
    RangeByteRequest(1, 4),
    RangeByteRequest(1, 3),
    OffsetByteRequest(1),
    SuffixByteRequest(1),
    SuffixByteRequest(3),
]


@pytest.fixture(params=["memory", "directory, spec 1, inline chunks", "s3"])
def session(request: pytest.FixtureRequest) -> Session:
    place, *others = request.param.split(", ")
    config = RepositoryConfig(inline_chunk_threshold_bytes=512 if "inline chunks" in others else 0)
    spec_version = 1 if "spec 1" in others else 2
    repo = Repository.create(places(place, request)(), config, spec_version=spec_version)
    return repo.writable_session("main")


class TestIcechunkStore(StoreTests[IcechunkStore, cpu.Buffer]):
    """Tests without a docstring state zarr's law for valid keys, and nothing else."""

    store_cls = IcechunkStore
    buffer_cls = cpu.Buffer

    # How zarr's tests reach a store, and its contents past the store

    @pytest.fixture
    def store_kwargs(self, session: Session) -> dict[str, Any]:
        return {"session": session}

    @pytest.fixture
    def store(self, session: Session) -> IcechunkStore:
        return session.store

    @pytest.fixture
    def store_not_open(self, session: Session) -> IcechunkStore:
        return session.store.with_read_only(False)

    async def set(self, store: IcechunkStore, key: str, value: Buffer) -> None:
        """Record a value in the session's state; arrays are made as needed."""
        state = store.session._state
        path, coordinates = parse_key(key)
        if coordinates is None:
            state.set_document(path, value.to_bytes(), lambda: os.urandom(8))
            return
        self.make_array_of(store, key)
        state.record_chunk(path, coordinates, inline_ref(value.to_bytes()))

    async def get(self, store: IcechunkStore, key: str) -> Buffer:
        """Look a value up in the session's state, and a chunk's bytes in the storage."""
        state = store.session._state
        path, coordinates = parse_key(key)
        if coordinates is None:
            return self.buffer_cls.from_bytes(state.node(path).user_data)
        reference = state.chunk_source(path, coordinates)
        assert isinstance(reference, ChunkRef)
        if reference.inline is not None:
            return self.buffer_cls.from_bytes(reference.inline)
        assert reference.chunk_id is not None
        assets = SyncAssets.of(store.session._cache)
        data = assets.read_chunk(reference.chunk_id, 0, reference.length)
        return self.buffer_cls.from_bytes(memoryview(data))

    def make_array_of(self, store: IcechunkStore, key: str) -> None:
        """Make the array that a chunk belongs to, unless it exists."""
        state = store.session._state
        path, coordinates = parse_key(key)
        if coordinates is not None and state.find(path) is None:
            state.set_document(path, array_document(len(coordinates)), lambda: os.urandom(8))

    # Stores as objects

    def test_store_repr(self, store: IcechunkStore) -> None:
        assert repr(store) == str(store)
        assert repr(store).startswith("<icechunk.IcechunkStore>")
        assert store.session.snapshot_id in repr(store)

    def test_store_supports_writes(self, store: IcechunkStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: IcechunkStore) -> None:
        assert store.supports_listing

    def test_store_eq(self, store: IcechunkStore, store_kwargs: dict[str, Any]) -> None:
        """Stores of one session show the same changes and are equal; those of another session are not."""
        super().test_store_eq(store, store_kwargs)
        assert store == store.session.store
        assert hash(store) == hash(store.session.store)

    async def test_serializable_store(self, store: IcechunkStore) -> None:
        """Pickling would lose changes, so a writable store refuses; once committed it round trips."""
        await self.set(store, "foo/c/0", buffer(b"\x01\x02\x03\x04"))
        with pytest.raises(ValueError, match="pickle"):
            pickle.dumps(store)
        store.session.commit("write")
        copy = pickle.loads(pickle.dumps(store))
        assert isinstance(copy, IcechunkStore)
        assert copy.read_only
        assert copy.session.snapshot_id == store.session.snapshot_id
        assert_bytes_equal(await copy.get("foo/c/0", PROTOTYPE), buffer(b"\x01\x02\x03\x04"))

    @pytest.mark.parametrize("read_only", [True, False])
    async def test_store_open_read_only(self, session: Session, read_only: bool) -> None:
        await self.set(session.store, "c/0", buffer(b"\x01"))
        if read_only:
            session.commit("write")
        assert session.store._is_open
        assert session.store.read_only == read_only

    async def test_store_context_manager(self, session: Session) -> None:  # type: ignore[override]
        with session.store as store:
            assert store._is_open
            with pytest.raises(ValueError, match="store is already open"):
                await store._open()
        assert not store._is_open

    @pytest.mark.parametrize("how", ["committed", "with_read_only"])
    async def test_read_only_store_raises(self, session: Session, how: str) -> None:  # type: ignore[override]
        await self.set(session.store, "foo/c/0", buffer(b"\x01"))
        if how == "committed":
            session.commit("write")
            store = session.store
        else:
            store = session.store.with_read_only(True)
        assert store.read_only
        await self.check_refuses_writes(store)

    async def test_with_read_only_store(self, session: Session) -> None:  # type: ignore[override]
        """Every verb of both spellings honours it; other stores of the session stay as they are."""
        await self.set(session.store, "foo/c/0", buffer(b"\x01"))
        store = session.store.with_read_only(True)
        await self.check_refuses_writes(store)
        writer = store.with_read_only(read_only=False)
        assert not writer._is_open
        assert not writer.read_only
        await writer.set("foo/zarr.json", buffer(array_document()))
        await writer.set("foo/c/1", buffer(b"\x02"))
        await writer.delete("foo/c/1")
        await self.check_refuses_writes(store)
        await self.check_refuses_writes(store.with_read_only(read_only=True))
        assert await store.exists("foo/c/0")

    async def check_refuses_writes(self, store: IcechunkStore) -> None:
        """Every verb that changes something refuses, in both spellings, and nothing has changed."""
        before = sorted(await _collect_aiterator(store.list()))
        assert before
        value = buffer(b"\x02")
        with pytest.raises(icechunk.ReadOnlyError, match=REFUSED):
            await store.set("foo/c/0", value)
        with pytest.raises(icechunk.ReadOnlyError, match=REFUSED):
            store.set_sync("foo/c/0", value)
        with pytest.raises(icechunk.ReadOnlyError, match=REFUSED):
            await store.set_if_not_exists("foo/c/1", value)
        with pytest.raises(icechunk.ReadOnlyError, match=REFUSED):
            await store.delete_dir("foo")
        # A read-only session refuses these itself, in its own words.
        with pytest.raises(icechunk.ReadOnlyError, match="read-only"):
            await store.delete("foo/c/0")
        with pytest.raises(icechunk.ReadOnlyError, match="read-only"):
            store.delete_sync("foo/c/0")
        with pytest.raises(icechunk.ReadOnlyError, match="read-only"):
            await store.clear()
        assert sorted(await _collect_aiterator(store.list())) == before

    # Reading

    @pytest.mark.parametrize("key", CHUNK_KEYS)
    @pytest.mark.parametrize("byte_range", RANGES, ids=str)
    async def test_get(self, store: IcechunkStore, key: str, byte_range: ByteRequest | None) -> None:  # type: ignore[override]
        await super().test_get(store, key, b"\x01\x02\x03\x04", byte_range)  # type: ignore[arg-type]

    @pytest.mark.parametrize(("key", "data"), DOCUMENTS)
    async def test_get_of_documents(self, store: IcechunkStore, key: str, data: bytes) -> None:
        for byte_range in RANGES:
            await super().test_get(store, key, data, byte_range)  # type: ignore[arg-type]

    async def test_get_missing(self, store: IcechunkStore) -> None:
        await self.set(store, "foo/zarr.json", buffer(array_document()))
        for key in ["zarr.json", "bar/zarr.json", "bar/c/0", "foo/c/0", "foo/c/16", ".zgroup", "foo/.zarray"]:
            assert await store.get(key, PROTOTYPE) is None
            assert store.get_sync(key) is None

    async def test_get_many(self, store: IcechunkStore) -> None:
        entries = {f"foo/c/{index}": f"{index}".encode() for index in range(10)}
        for key, data in entries.items():
            await self.set(store, key, buffer(data))
        requests = [(key, PROTOTYPE, None) for key in entries]
        observed = {
            key: value.to_bytes() async for key, value in store._get_many(requests) if value is not None
        }
        assert observed == entries

    @pytest.mark.parametrize(
        "key_ranges",
        [
            [],
            [("c/0", None)],
            [("foo/c/0", RangeByteRequest(0, 2)), ("c/0/0", None)],
            [
                ("c/0/0", RangeByteRequest(0, 2)),
                ("c/0/1", SuffixByteRequest(2)),
                ("c/0/2", OffsetByteRequest(2)),
                ("c/0/0", SuffixByteRequest(1)),
            ],
        ],
    )
    async def test_get_partial_values(
        self, store: IcechunkStore, key_ranges: list[tuple[str, ByteRequest]]
    ) -> None:
        await super().test_get_partial_values(store, key_ranges)

    async def test_get_partial_values_of_documents_and_missing_keys(self, store: IcechunkStore) -> None:
        await self.set(store, "zarr.json", buffer(GROUP))
        requests = [
            ("zarr.json", RangeByteRequest(0, 5)),
            ("foo/zarr.json", None),
            ("zarr.json", SuffixByteRequest(5)),
            ("foo/c/0", RangeByteRequest(0, 5)),
            ("zarr.json", OffsetByteRequest(10)),
        ]
        observed = await store.get_partial_values(PROTOTYPE, iter(requests))
        values = [None if value is None else value.to_bytes() for value in observed]
        assert values == [GROUP[:5], None, GROUP[-5:], None, GROUP[10:]]

    @pytest.mark.parametrize(("key", "data"), ENTRIES)
    async def test_getsize(self, store: IcechunkStore, key: str, data: bytes) -> None:
        await super().test_getsize(store, key, data)

    async def test_getsize_prefix(self, store: IcechunkStore) -> None:
        for key in ["c/0/0", "c/0/1", "c/1/0", "c/1/1"]:
            await self.set(store, f"foo/bar/{key}", buffer(b"\x01\x02\x03\x04"))
            await self.set(store, f"foo2/{key}", buffer(b"\x01\x02\x03\x04\x05"))
        size = 16 + len(array_document(2))
        assert await store.getsize_prefix("foo/bar") == size
        await self.set(store, "foo/zarr.json", buffer(GROUP))
        assert await store.getsize_prefix("foo") == await store.getsize_prefix("foo/") == size + len(GROUP)

    async def test_getsize_raises(self, store: IcechunkStore) -> None:
        """A chunk that an array does not have reads as fill values and takes no bytes: nothing is missing."""
        for key in ["zarr.json", "foo/zarr.json", "foo/c/1000", ".zattrs"]:
            with pytest.raises(icechunk.NodeNotFoundError):
                await store.getsize(key)
        await self.set(store, "foo/zarr.json", buffer(array_document()))
        assert await store.getsize("foo/c/1") == 0

    async def test_exists(self, store: IcechunkStore) -> None:
        assert not await store.exists("foo/zarr.json")
        assert not await store.exists("foo/c/0")
        await store.set("foo/zarr.json", buffer(array_document()))
        assert await store.exists("foo/zarr.json")
        assert not await store.exists("foo/c/0")
        await store.set("foo/c/0", buffer(b"\x01"))
        assert await store.exists("foo/c/0")

    @pytest.mark.skipif(not hasattr(Store, "_get_bytes"), reason="zarr 3.3 took these methods away")
    async def test_get_bytes(self, store: IcechunkStore) -> None:
        await self.set(store, "zarr.json", buffer(GROUP))
        assert await store._get_bytes("zarr.json", prototype=PROTOTYPE) == GROUP
        with pytest.raises(FileNotFoundError):
            await store._get_bytes("nonexistent/zarr.json", prototype=PROTOTYPE)

    @pytest.mark.skipif(not hasattr(Store, "_get_bytes"), reason="zarr 3.3 took these methods away")
    def test_get_bytes_sync(self, store: IcechunkStore) -> None:
        sync(self.set(store, "zarr.json", buffer(GROUP)))
        assert store._get_bytes_sync("zarr.json", prototype=PROTOTYPE) == GROUP

    @pytest.mark.skipif(not hasattr(Store, "_get_json"), reason="zarr 3.3 took these methods away")
    async def test_get_json(self, store: IcechunkStore) -> None:
        await self.set(store, "zarr.json", buffer(GROUP))
        assert await store._get_json("zarr.json", prototype=PROTOTYPE) == json.loads(GROUP)

    @pytest.mark.skipif(not hasattr(Store, "_get_json"), reason="zarr 3.3 took these methods away")
    def test_get_json_sync(self, store: IcechunkStore) -> None:
        sync(self.set(store, "zarr.json", buffer(GROUP)))
        assert store._get_json_sync("zarr.json", prototype=PROTOTYPE) == json.loads(GROUP)

    # Writing

    @pytest.mark.parametrize(("key", "data"), ENTRIES)
    async def test_set(self, store: IcechunkStore, key: str, data: bytes) -> None:
        self.make_array_of(store, key)
        await super().test_set(store, key, data)

    @pytest.mark.parametrize("key", CHUNK_KEYS)
    async def test_set_of_an_empty_chunk_is_refused(self, store: IcechunkStore, key: str) -> None:
        self.make_array_of(store, key)
        with pytest.raises(icechunk.InvalidInputError) as caught:
            await store.set(key, buffer(b""))
        assert caught.value.kind == "zero-length-chunk"
        assert not await store.exists(key)

    @pytest.mark.parametrize("key", ["zarr.json", "foo/c/0"])
    async def test_set_of_something_else_than_a_buffer_is_refused(
        self, store: IcechunkStore, key: str
    ) -> None:
        self.make_array_of(store, key)
        for value in (GROUP, 0, None):
            with pytest.raises(TypeError, match="Buffer"):
                await store.set(key, value)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="Buffer"):
                store.set_sync(key, value)  # type: ignore[arg-type]

    async def test_set_not_open(self, store_not_open: IcechunkStore) -> None:
        self.make_array_of(store_not_open, "c/0")
        await super().test_set_not_open(store_not_open)

    async def test_set_many(self, store: IcechunkStore) -> None:
        entries = {
            "zarr.json": GROUP,
            "foo/zarr.json": array_document(2),
            "foo/c/0/0": b"\x01",
            "bar/zarr.json": array_document(0),
            "bar/c": b"\x02",
        }
        # All at once, so nodes have to be there before their chunks.
        await store._set_many(
            (key, buffer(data)) for key, data in entries.items() if key.endswith("zarr.json")
        )
        await store._set_many((key, buffer(data)) for key, data in entries.items())
        for key, data in entries.items():
            assert (await self.get(store, key)).to_bytes() == data

    async def test_set_if_not_exists(self, store: IcechunkStore) -> None:
        for key, old, new in [("foo/c/0", b"0000", b"1111"), ("zarr.json", GROUP, b"not looked at")]:
            await self.set(store, key, buffer(old))
            await store.set_if_not_exists(key, buffer(new))
            assert (await self.get(store, key)).to_bytes() == old
        for key, new in [("foo/c/1", b"1111"), ("bar/zarr.json", array_document())]:
            await store.set_if_not_exists(key, buffer(new))
            assert (await self.get(store, key)).to_bytes() == new

    # Deleting

    async def test_delete(self, store: IcechunkStore) -> None:
        await store.set("foo/zarr.json", buffer(array_document()))
        await store.set("foo/c/0", buffer(b"\x01"))
        await store.delete("foo/c/0")
        assert not await store.exists("foo/c/0")
        assert await store.exists("foo/zarr.json")
        await store.delete("foo/zarr.json")
        assert not await store.exists("foo/zarr.json")

    async def test_delete_dir(self, store: IcechunkStore) -> None:
        await store.set("zarr.json", buffer(GROUP))
        for name in ["foo-bar", "foo"]:
            await store.set(f"{name}/zarr.json", buffer(array_document()))
            await store.set(f"{name}/c/0", buffer(b"\x01"))
        await store.delete_dir("foo")
        assert await store.exists("zarr.json")
        assert await store.exists("foo-bar/zarr.json")
        assert await store.exists("foo-bar/c/0")
        assert not await store.exists("foo/zarr.json")
        assert not await store.exists("foo/c/0")

    @pytest.mark.parametrize(
        "key",
        [
            "zarr.json",
            "nowhere/zarr.json",
            "nowhere/c/0",
            "foo/c/3",
            "foo/c/99",
            "foo/c/0/0",
            "bar/c/0",
            ".zgroup",
        ],
    )
    async def test_delete_nonexistent_key_does_not_raise(  # type: ignore[override]
        self, store: IcechunkStore, key: str
    ) -> None:
        """Also of chunks that cannot exist: outside the grid, of a group, of no node."""
        await self.set(store, "foo/c/0", buffer(b"\x01"))
        await self.set(store, "bar/zarr.json", buffer(GROUP))
        await store.delete(key)
        store.delete_sync(key)
        keys = await _collect_aiterator(store.list())
        assert sorted(keys) == ["bar/zarr.json", "foo/c/0", "foo/zarr.json"]

    async def test_clear(self, store: IcechunkStore) -> None:
        await self.set(store, "foo/c/0", buffer(b"\x01"))
        await self.set(store, "zarr.json", buffer(GROUP))
        await store.clear()
        assert await store.is_empty("")
        assert await _collect_aiterator(store.list()) == ()

    # Listing

    async def test_is_empty(self, store: IcechunkStore) -> None:
        assert await store.is_empty("")
        for key in ["zarr.json", "foo/zarr.json", "foo/bar/zarr.json"]:
            await self.set(store, key, buffer(GROUP))
        assert not await store.is_empty("")
        assert await store.is_empty("fo")
        assert not await store.is_empty("foo/")
        assert not await store.is_empty("foo")
        assert await store.is_empty("spam/")

    async def test_list(self, store: IcechunkStore) -> None:
        assert await _collect_aiterator(store.list()) == ()
        await store.set("foo/zarr.json", buffer(array_document()))
        chunks = {f"foo/c/{index}": buffer(b"\x01") for index in range(10)}
        await store._set_many(chunks.items())
        assert sorted(await _collect_aiterator(store.list())) == sorted([*chunks, "foo/zarr.json"])
        assert sorted(store.list()) == sorted([*chunks, "foo/zarr.json"])

    async def test_list_prefix(self, store: IcechunkStore) -> None:
        prefixes = ("", "a/", "a/b/", "a/b/c/")
        keys = [f"{prefix}zarr.json" for prefix in prefixes]
        await store._set_many((key, buffer(GROUP)) for key in keys)
        for prefix in prefixes:
            observed = sorted(await _collect_aiterator(store.list_prefix(prefix)))
            assert observed == sorted([key for key in keys if key.startswith(prefix)])

    async def test_list_empty_path(self, store: IcechunkStore) -> None:
        for key in ["foo/bar/c/1", "foo/baz/c/0"]:
            await self.set(store, key, buffer(b"\x01"))
        bar, baz = ["foo/bar/c/1", "foo/bar/zarr.json"], ["foo/baz/c/0", "foo/baz/zarr.json"]
        assert sorted(await _collect_aiterator(store.list())) == [*bar, *baz]
        assert sorted(await _collect_aiterator(store.list_prefix(""))) == [*bar, *baz]
        assert sorted(await _collect_aiterator(store.list_prefix("foo/bar/"))) == bar

    async def test_list_dir(self, store: IcechunkStore) -> None:
        assert await _collect_aiterator(store.list_dir("")) == ()
        for key in ["zarr.json", "foo/zarr.json"]:
            await self.set(store, key, buffer(GROUP))
        await self.set(store, "foo/bar/c/1", buffer(b"\x01"))
        await self.set(store, "foo/bar2/c/1/2", buffer(b"\x01"))
        for root, names in [
            ("", ["foo", "zarr.json"]),
            ("foo", ["bar", "bar2", "zarr.json"]),
            ("foo/bar", ["c", "zarr.json"]),
            ("foo/bar/c", ["1"]),
            ("foo/bar2/c", ["1"]),
            ("foo/bar2/c/1", ["2"]),
            ("foo/ba", []),
        ]:
            assert sorted(await _collect_aiterator(store.list_dir(root))) == names
            assert sorted(await _collect_aiterator(store.list_dir(f"{root}/"))) == names
            assert sorted(store.list_dir(root)) == names

    # The blocking methods

    def test_get_sync(self, store: IcechunkStore) -> None:
        for key, data in [("foo/c/0", b"\x01\x02\x03\x04"), ("zarr.json", GROUP)]:
            sync(self.set(store, key, buffer(data)))
            assert_bytes_equal(store.get_sync(key), buffer(data))

    def test_get_sync_missing(self, store: IcechunkStore) -> None:
        assert store.get_sync("nonexistent/zarr.json") is None
        assert store.get_sync("nonexistent/c/0") is None

    def test_set_sync(self, store: IcechunkStore) -> None:
        for key, data in [("foo/zarr.json", array_document()), ("foo/c/0", b"\x01\x02\x03\x04")]:
            store.set_sync(key, buffer(data))
            assert_bytes_equal(sync(self.get(store, key)), buffer(data))

    def test_delete_sync(self, store: IcechunkStore) -> None:
        for key, data in [("foo/zarr.json", array_document()), ("foo/c/0", b"\x01\x02\x03\x04")]:
            store.set_sync(key, buffer(data))
        for key in ["foo/c/0", "foo/zarr.json"]:
            store.delete_sync(key)
            assert store.get_sync(key) is None

    def test_delete_sync_missing(self, store: IcechunkStore) -> None:
        store.delete_sync("nonexistent/zarr.json")
        store.delete_sync("nonexistent/c/0")

    @pytest.mark.parametrize("direction", ["set_async_get_sync", "set_sync_get_async"])
    async def test_sync_async_set_get_parity(self, store: IcechunkStore, direction: str) -> None:
        for key, data in [("foo/zarr.json", array_document()), ("foo/c/0", b"\x01\x02\x03\x04")]:
            if direction == "set_async_get_sync":
                await store.set(key, buffer(data))
                result = store.get_sync(key)
            else:
                store.set_sync(key, buffer(data))
                result = await store.get(key, PROTOTYPE)
            assert_bytes_equal(result, buffer(data))

    async def test_delete_sync_visible_to_async_get(self, store: IcechunkStore) -> None:
        await self.set(store, "foo/c/0", buffer(b"\x01\x02\x03\x04"))
        store.delete_sync("foo/c/0")
        assert await store.get("foo/c/0", PROTOTYPE) is None
        store.delete_sync("foo/zarr.json")
        assert await store.get("foo/zarr.json", PROTOTYPE) is None

    @pytest.mark.parametrize(
        "byte_range", [*RANGES, RangeByteRequest(10, 20), RangeByteRequest(2, 20)], ids=str
    )
    async def test_get_sync_byte_range_parity(
        self, store: IcechunkStore, byte_range: ByteRequest | None
    ) -> None:
        key = "foo/c/0"
        self.make_array_of(store, key)
        await store.set(key, buffer(b"\x01\x02\x03\x04"))
        result = await store.get(key, PROTOTYPE, byte_range)
        assert result is not None
        assert_bytes_equal(store.get_sync(key, byte_range=byte_range), result)
