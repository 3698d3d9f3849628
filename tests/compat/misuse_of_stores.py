"""Mistakes and questions about keys, documents, ranges and grids of the zarr store; see `misuse`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import cpu, default_buffer_prototype

from tests.compat.misuse import Ground, case, case_of_spec_2, each

if TYPE_CHECKING:
    from collections.abc import Coroutine


def _buffer(content: bytes) -> Any:
    return cpu.Buffer.from_bytes(content)


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def _get(store: Any, key: str, request: Any = None) -> Any:
    value = _run(store.get(key, default_buffer_prototype(), request))
    return None if value is None else value.to_bytes().hex()


async def _collected(listing: Any) -> list[str]:
    return sorted([key async for key in listing])


KEYS = {
    "array": "a/zarr.json",
    "root": "zarr.json",
    "chunk": "a/c/0",
    "absent_chunk": "g/plane/c/1/1",
    "scalar": "g/scalar/c",
    "no_node": "nope/zarr.json",
    "no_array": "nope/c/0",
    "below_group": "g/c/0",
    "below_array": "a/b/zarr.json",
    "v2_array": "a/.zarray",
    "v2_group": ".zgroup",
    "empty": "",
    "text": "a/hello",
    "negative": "a/c/-1",
    "float": "a/c/1.5",
    "huge": f"a/c/{2**32}",
    "trailing": "a/c/0/",
    "leading": "/a/c/0",
    "doubled": "a//c/0",
    "zeros": "a/c/00",
    "dots": "a/../a/c/0",
    "beyond": "a/c/4",
    "in_empty": "g/empty/c/0",
    "too_few": "a/c",
    "too_many": "a/c/0/5",
    "no_component": "ac",
}


@each(**KEYS)
def _get_key(ground: Ground, key: str) -> Any:
    value = _get(ground.readonly.store, key)
    return value if value is None or len(value) < 40 else "a document"


@each(**KEYS)
def _exists_key(ground: Ground, key: str) -> Any:
    return _run(ground.readonly.store.exists(key))


@each(**KEYS)
def _getsize_key(ground: Ground, key: str) -> Any:
    return _run(ground.readonly.store.getsize(key))


@each(**KEYS)
def _set_key(ground: Ground, key: str) -> Any:
    store = ground.writable.store
    _run(store.set(key, _buffer(b"xy")))
    return [_get(store, key), ground.writable.has_uncommitted_changes]


@each(**{name: key for name, key in KEYS.items() if name != "root"})
def _delete_key(ground: Ground, key: str) -> Any:
    store = ground.writable.store
    _run(store.delete(key))
    return _run(_collected(store.list_prefix("")))


@each(array="a", group="g", chunks="a/c", one="a/c/0", root="", missing="nope", slash="a/", leading="/a")
def _delete_dir(ground: Ground, prefix: str) -> Any:
    store = ground.writable.store
    _run(store.delete_dir(prefix))
    return _run(_collected(store.list_prefix("")))


@each(array="a", group="g", chunks="a/c", root="", slash="/", missing="nope", part="g/pl", trailing="g/")
def _list_prefix(ground: Ground, prefix: str) -> Any:
    return _run(_collected(ground.readonly.store.list_prefix(prefix)))


@each(
    array="a",
    group="g",
    chunks="g/plane/c",
    row="g/plane/c/0",
    root="",
    slash="/",
    missing="nope",
    scalar="g/scalar",
)
def _list_dir(ground: Ground, prefix: str) -> Any:
    return _run(_collected(ground.readonly.store.list_dir(prefix)))


@each(array="a", group="g", root="", missing="nope")
def _is_empty(ground: Ground, prefix: str) -> Any:
    return _run(ground.readonly.store.is_empty(prefix))


@each(array="a", group="g", root="", missing="nope")
def _getsize_prefix(ground: Ground, prefix: str) -> Any:
    return _run(ground.readonly.store.getsize_prefix(prefix)) > 0


@each(
    middle=RangeByteRequest(0, 1),
    all=RangeByteRequest(0, 2),
    beyond=RangeByteRequest(0, 3),
    outside=RangeByteRequest(2, 3),
    backwards=RangeByteRequest(2, 1),
    offset=OffsetByteRequest(1),
    offset_end=OffsetByteRequest(2),
    suffix=SuffixByteRequest(1),
    suffix_all=SuffixByteRequest(2),
    suffix_more=SuffixByteRequest(3),
)
def _range_of_chunk(ground: Ground, request: Any) -> Any:
    return _get(ground.readonly.store, "a/c/1", request)


@each(range=RangeByteRequest(0, 5), offset=OffsetByteRequest(3), suffix=SuffixByteRequest(5))
def _range_of_document(ground: Ground, request: Any) -> Any:
    return _get(ground.readonly.store, "a/zarr.json", request)


@each(range=RangeByteRequest(0, 5), offset=OffsetByteRequest(3), suffix=SuffixByteRequest(2))
def _range_of_missing(ground: Ground, request: Any) -> Any:
    return _get(ground.readonly.store, "g/plane/c/1/1", request)


@case
def _partial_values(ground: Ground) -> Any:
    requests = [("a/c/1", RangeByteRequest(1, 2)), ("a/c/1", None), ("a/zarr.json", RangeByteRequest(0, 1))]
    values = _run(ground.readonly.store.get_partial_values(default_buffer_prototype(), requests))
    return [value.to_bytes().hex() for value in values]


@case
def _partial_values_with_a_missing_key(ground: Ground) -> Any:
    requests = [("a/c/1", None), ("g/plane/c/1/1", None)]
    values = _run(ground.readonly.store.get_partial_values(default_buffer_prototype(), requests))
    return [None if value is None else value.to_bytes().hex() for value in values]


ARRAY: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4],
    "data_type": "uint8",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
    "chunk_key_encoding": {"name": "default"},
    "codecs": [{"name": "bytes"}],
    "fill_value": 0,
    "attributes": {},
}
GROUP: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": {}}


def _grid(**grid: Any) -> dict[str, Any]:
    return ARRAY | {"chunk_grid": grid}


@each(
    array=ARRAY,
    group=GROUP,
    no_format={"node_type": "group"},
    type_unknown={"zarr_format": 3, "node_type": "table"},
    type_missing={"zarr_format": 3},
    list=[1],
    shape_missing={name: member for name, member in ARRAY.items() if name != "shape"},
    shape_negative=ARRAY | {"shape": [-1]},
    shape_text=ARRAY | {"shape": "4"},
    shape_2d=ARRAY | {"shape": [4, 4]},
    grid_missing={name: member for name, member in ARRAY.items() if name != "chunk_grid"},
    grid_unknown=_grid(name="hexagonal", configuration={}),
    grid_without_shape=_grid(name="regular", configuration={}),
    grid_zero=_grid(name="regular", configuration={"chunk_shape": [0]}),
    names=ARRAY | {"dimension_names": ["x"]},
    names_null=ARRAY | {"dimension_names": [None]},
    names_number=ARRAY | {"dimension_names": [1]},
    codecs_missing={name: member for name, member in ARRAY.items() if name != "codecs"},
    runs=_grid(name="rectilinear", configuration={"kind": "inline", "chunk_shapes": [[[1, 2], 2]]}),
    uneven=_grid(name="rectilinear", configuration={"kind": "inline", "chunk_shapes": [[1, 3]]}),
    uneven_bare=_grid(name="rectilinear", configuration={"kind": "inline", "chunk_shapes": [2]}),
    uneven_2d=_grid(name="rectilinear", configuration={"kind": "inline", "chunk_shapes": [[1, 3], [4]]}),
)
def _document(ground: Ground, document: Any) -> Any:
    store = ground.writable.store
    content = json.dumps(document).encode()
    _run(store.set("new/zarr.json", _buffer(content)))
    same = _get(store, "new/zarr.json") == content.hex()
    ground.writable.commit("a new node")
    return [same, _get(ground.repository.readonly_session("main").store, "new/zarr.json") == content.hex()]


@each(broken=b"{", empty=b"", not_utf8=b"\xff\xfe", number=b"3")
def _document_that_is_none(ground: Ground, content: bytes) -> Any:
    return _run(ground.writable.store.set("new/zarr.json", _buffer(content)))


@each(array_over_group=("g/zarr.json", ARRAY), group_over_array=("a/zarr.json", GROUP))
def _document_over_another_kind(ground: Ground, arguments: tuple[str, Any]) -> Any:
    key, document = arguments
    return _run(ground.writable.store.set(key, _buffer(json.dumps(document).encode())))


@case
def _same_document_again(ground: Ground) -> Any:
    store = ground.writable.store
    content = bytes.fromhex(_get(store, "a/zarr.json"))
    _run(store.set("a/zarr.json", _buffer(content)))
    return ground.writable.has_uncommitted_changes


@case
def _node_without_parent(ground: Ground) -> Any:
    store = ground.writable.store
    _run(store.set("x/y/z/zarr.json", _buffer(json.dumps(ARRAY).encode())))
    _run(store.set("x/y/z/c/0", _buffer(b"ab")))
    ground.writable.commit("no parents")
    return _run(_collected(ground.repository.readonly_session("main").store.list_prefix("x/y/z")))


@each(root="", slash="/", first="x", second="x/y", node="x/y/z", other="top", below="top/below")
def _list_dir_without_parents(ground: Ground, prefix: str) -> Any:
    store = ground.writable.store
    _run(store.clear())
    for key, document in (("x/y/z", ARRAY), ("top", ARRAY), ("top/below", GROUP)):
        _run(store.set(f"{key}/zarr.json", _buffer(json.dumps(document).encode())))
    found = [_run(_collected(store.list_dir(prefix))), _run(store.is_empty(prefix))]
    ground.writable.commit("no parents")
    store = ground.repository.readonly_session("main").store
    return [*found, _run(_collected(store.list_dir(prefix))), _run(store.is_empty(prefix))]


@each(bytes=b"ab", text="ab", none=None, array=np.zeros(2, "u1"))
def _set_what_is_no_buffer(ground: Ground, value: Any) -> Any:
    return _run(ground.writable.store.set("a/c/0", value))


@case
def _set_nothing(ground: Ground) -> Any:
    return _run(ground.writable.store.set("a/c/0", _buffer(b"")))


@case
def _set_if_not_exists(ground: Ground) -> Any:
    store = ground.writable.store
    _run(store.set_if_not_exists("a/c/0", _buffer(b"zz")))
    _run(store.set_if_not_exists("g/plane/c/1/1", _buffer(b"zz")))
    return [_get(store, "a/c/0"), _get(store, "g/plane/c/1/1")]


# Read-only


@case
def _write_read_only(ground: Ground) -> Any:
    return _run(ground.readonly.store.set("a/c/0", _buffer(b"ab")))


@case
def _write_read_only_document(ground: Ground) -> Any:
    return _run(ground.readonly.store.set("n/zarr.json", _buffer(json.dumps(GROUP).encode())))


@case
def _write_read_only_if_not_exists(ground: Ground) -> Any:
    return _run(ground.readonly.store.set_if_not_exists("g/plane/c/1/1", _buffer(b"ab")))


@each(chunk="a/c/0", document="a/zarr.json", missing="nope/zarr.json")
def _delete_read_only(ground: Ground, key: str) -> Any:
    return _run(ground.readonly.store.delete(key))


@case
def _delete_dir_read_only(ground: Ground) -> Any:
    return _run(ground.readonly.store.delete_dir("a"))


@case
def _clear_read_only(ground: Ground) -> Any:
    return _run(ground.readonly.store.clear())


@case
def _clear(ground: Ground) -> Any:
    _run(ground.writable.store.clear())
    ground.writable.commit("cleared")
    return _run(_collected(ground.repository.readonly_session("main").store.list()))


@case
def _write_after_commit(ground: Ground) -> Any:
    store = ground.writable.store
    _run(store.set("a/c/0", _buffer(b"ab")))
    ground.writable.commit("done")
    return _run(store.set("a/c/0", _buffer(b"ab")))


@case
def _store_made_read_only(ground: Ground) -> Any:
    store = ground.writable.store.with_read_only(True)
    assert store.read_only
    return _run(store.set("a/c/0", _buffer(b"ab")))


# Grids and sizes


@case
def _shrink_and_grow(ground: Ground) -> Any:
    array: Any = zarr.open_array(ground.writable.store, path="a")
    array.resize((2,))
    array.resize((7,))
    return array[:].tolist()


@case
def _shrink_commit_and_grow(ground: Ground) -> Any:
    zarr.open_array(ground.writable.store, path="a").resize((2,))
    ground.writable.commit("shrunk")
    session = ground.repository.writable_session("main")
    array: Any = zarr.open_array(session.store, path="a")
    array.resize((7,))
    return array[:].tolist()


@case
def _status(ground: Ground) -> Any:
    root: Any = zarr.open_group(ground.writable.store)
    root["a"][3] = 3
    root["g/plane"][2:] = 5
    root.attrs["x"] = 1
    del root["g/empty"]
    root.create_array("g/empty", shape=(2,), chunks=(1,), dtype="u1")
    root.create_group("h")
    status = ground.writable.status()
    return {
        name: sorted(getattr(status, name))
        for name in (
            "new_groups",
            "new_arrays",
            "deleted_groups",
            "deleted_arrays",
            "updated_groups",
            "updated_arrays",
        )
    } | {
        "chunks": {path: [list(c) for c in chunks] for path, chunks in sorted(status.updated_chunks.items())}
    }


@case
def _delete_nothing(ground: Ground) -> Any:
    zarr.open_array(ground.writable.store, path="g/plane")[2:] = 0  # the fill value: zarr deletes both chunks
    return [ground.writable.has_uncommitted_changes, sorted(ground.writable.status().updated_chunks)]


@case
def _written_array_deleted_again(ground: Ground) -> Any:
    root: Any = zarr.open_group(ground.writable.store)
    root.create_array("new", shape=(2,), chunks=(1,), dtype="u1")[:] = 1
    del root["new"]
    return ground.writable.has_uncommitted_changes


@case_of_spec_2
def _uneven_write_outside(ground: Ground) -> Any:
    document = _grid(name="rectilinear", configuration={"kind": "inline", "chunk_shapes": [[1, 3]]})
    store = ground.writable.store
    _run(store.set("new/zarr.json", _buffer(json.dumps(document).encode())))
    _run(store.set("new/c/1", _buffer(b"abc")))
    return _run(store.set("new/c/2", _buffer(b"abc")))
