"""Things that users get wrong, and questions with more than one thinkable answer.

Each case is a function of a `Ground`: a repository with a short history, made by the implementation that is
asked. Its answer is what it returns (plain data) or the error it raises; `answer` puts either into comparable
words. Cases on which ours differs on purpose are not here but in the tests of those features.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import cpu, default_buffer_prototype

from tests.compat.describe import error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Case = Callable[["Ground"], Any]

UNKNOWN_ID = "ZZZZZZZZZZZZZZZZZZZG"
ROOT_ID = "1CECHNKREP0F1RSTCMT0"
CASES: dict[str, Case] = {}
SPEC_2_ONLY: set[str] = set()
ON_PURPOSE: dict[str, list[Any]] = {
    # Ranges are clamped, as zarr's own stores do.
    "range_of_chunk-beyond": ["returned", "0304"],
    "range_of_chunk-outside": ["returned", ""],
    "range_of_chunk-offset_end": ["returned", ""],
    "range_of_chunk-suffix_more": ["returned", "0304"],
    # The official wrapper says that it is read-only, and writes.
    "store_made_read_only": ["raised", "ReadOnlyError", "read-only-store"],
    # What changes nothing is no change.
    "delete_nothing": ["returned", [False, []]],
}
"""Our answers where they differ from the official ones because we want it so."""


@dataclass
class Ground:
    """What a case works on. Every case gets a new one."""

    ic: Any
    storage: Any
    path: str
    repository: Any
    tip: str

    @functools.cached_property
    def writable(self) -> Any:
        return self.repository.writable_session("main")

    @functools.cached_property
    def readonly(self) -> Any:
        return self.repository.readonly_session("main")


def make_ground(ic: Any, path: str, spec_version: int) -> Ground:
    """A repository with two commits, two branches, a tag and a deleted tag."""
    storage = ic.local_filesystem_storage(path)
    repository = ic.Repository.create(storage, spec_version=spec_version)
    session = repository.writable_session("main")
    root = zarr.open_group(session.store)
    root.create_array("a", shape=(7,), chunks=(2,), dtype="u1", compressors=None)[:] = np.arange(1, 8)
    root.create_array("g/empty", shape=(0,), chunks=(1,), dtype="u1", compressors=None)
    root.create_array("g/scalar", shape=(), dtype="u1", compressors=None)
    root.create_array("g/plane", shape=(4, 4), chunks=(2, 2), dtype="i4", compressors=None)[:2] = 1
    session.commit("first")
    session = repository.writable_session("main")
    zarr.open_array(session.store, path="a")[0] = 100
    tip = session.commit("second")
    repository.create_branch("dev", tip)
    repository.create_tag("t", tip)
    repository.create_tag("gone", tip)
    repository.delete_tag("gone")
    return Ground(ic, storage, path, repository, tip)


def answer(case: Case, ground: Ground) -> list[Any]:
    """What came of a case: ``["returned", value]`` or ``["raised", class, kind]``."""
    try:
        value = case(ground)
    except Exception as error:  # the error is the answer
        return ["raised", *error_of(error)]
    if isinstance(value, set):
        value = sorted(value)
    is_plain = value is None or isinstance(value, bool | int | str | list | dict)
    return ["returned", value if is_plain else type(value).__name__]


def case(function: Case) -> Case:
    """Register a case under its name."""
    CASES[function.__name__.removeprefix("_")] = function
    return function


def case_of_spec_2(function: Case) -> Case:
    """Register a case that spec version 1 does not know."""
    SPEC_2_ONLY.add(function.__name__.removeprefix("_"))
    return case(function)


def each(**variants: Any) -> Callable[[Callable[[Ground, Any], Any]], Callable[[Ground, Any], Any]]:
    """Register one case for each named variant of a function's second argument."""

    def register(function: Callable[[Ground, Any], Any]) -> Callable[[Ground, Any], Any]:
        for name, variant in variants.items():
            CASES[f"{function.__name__.removeprefix('_')}-{name}"] = functools.partial(
                lambda ground, variant: function(ground, variant), variant=variant
            )
        return function

    return register


def _buffer(content: bytes) -> Any:
    return cpu.Buffer.from_bytes(content)


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def _get(store: Any, key: str, request: Any = None) -> Any:
    value = _run(store.get(key, default_buffer_prototype(), request))
    return None if value is None else value.to_bytes().hex()


async def _collected(listing: Any) -> list[str]:
    return sorted([key async for key in listing])


# Repositories


@case
def _open_missing(ground: Ground) -> Any:
    return ground.ic.Repository.open(ground.ic.local_filesystem_storage(f"{ground.path}-nowhere"))


@case
def _create_over_existing(ground: Ground) -> Any:
    return ground.ic.Repository.create(ground.storage)


@case
def _create_unclean_unchecked(ground: Ground) -> Any:
    return ground.ic.Repository.create(ground.storage, check_clean_root=False)


@case
def _exists(ground: Ground) -> Any:
    other = ground.ic.local_filesystem_storage(f"{ground.path}-nowhere")
    return [ground.ic.Repository.exists(ground.storage), ground.ic.Repository.exists(other)]


@case
def _spec_version(ground: Ground) -> Any:
    other = ground.ic.local_filesystem_storage(f"{ground.path}-nowhere")
    found = [ground.ic.Repository.fetch_spec_version(storage) for storage in (ground.storage, other)]
    return [None if version is None else int(version) for version in found]


@case
def _config_when_none_was_given(ground: Ground) -> Any:
    return ground.ic.Repository.fetch_config(ground.storage)


@case
def _config_of_missing(ground: Ground) -> Any:
    return ground.ic.Repository.fetch_config(ground.ic.local_filesystem_storage(f"{ground.path}-nowhere"))


# Branches, tags, snapshots


@each(existing="dev", main="main")
def _create_branch(ground: Ground, name: str) -> Any:
    return ground.repository.create_branch(name, ground.tip)


@each(unknown=UNKNOWN_ID, short="abc", empty="", lower=ROOT_ID.lower(), long=UNKNOWN_ID * 2, bad="!" * 20)
def _branch_to_snapshot(ground: Ground, snapshot_id: str) -> Any:
    ground.repository.create_branch("new", snapshot_id)
    return ground.repository.lookup_branch("new") == snapshot_id.upper()


@each(empty="", slash="a/b", space="a b", ice="\N{ICE CUBE}", dot=".", dots="..", like_tag="t")
def _branch_name(ground: Ground, name: str) -> Any:
    ground.repository.create_branch(name, ground.tip)
    return ground.repository.list_branches()


@each(empty="", slash="a/b", space="a b", ice="\N{ICE CUBE}", like_branch="dev")
def _tag_name(ground: Ground, name: str) -> Any:
    ground.repository.create_tag(name, ground.tip)
    return ground.repository.list_tags()


@each(existing="t", deleted="gone")
def _create_tag(ground: Ground, name: str) -> Any:
    return ground.repository.create_tag(name, ground.tip)


@each(unknown=UNKNOWN_ID, short="abc")
def _tag_to_snapshot(ground: Ground, snapshot_id: str) -> Any:
    return ground.repository.create_tag("new", snapshot_id)


@each(main="main", missing="nope", tag="t", dev="dev")
def _delete_branch(ground: Ground, name: str) -> Any:
    ground.repository.delete_branch(name)
    return ground.repository.list_branches()


@each(missing="nope", deleted="gone", branch="dev", t="t")
def _delete_tag(ground: Ground, name: str) -> Any:
    ground.repository.delete_tag(name)
    return ground.repository.list_tags()


@each(missing="nope", tag="t")
def _lookup_branch(ground: Ground, name: str) -> Any:
    return ground.repository.lookup_branch(name)


@each(missing="nope", deleted="gone", branch="dev")
def _lookup_tag(ground: Ground, name: str) -> Any:
    return ground.repository.lookup_tag(name)


@each(unknown=UNKNOWN_ID, short="abc", root=ROOT_ID, lower=ROOT_ID.lower())
def _lookup_snapshot(ground: Ground, snapshot_id: str) -> Any:
    info = ground.repository.lookup_snapshot(snapshot_id)
    return [info.id, info.parent_id, info.message, info.metadata]


@each(unknown=UNKNOWN_ID, short="abc", root=ROOT_ID)
def _manifests_of(ground: Ground, snapshot_id: str) -> Any:
    return [file.num_chunk_refs for file in ground.repository.list_manifest_files(snapshot_id)]


@each(
    missing_branch=("nope", ROOT_ID, None),
    tag=("t", ROOT_ID, None),
    unknown=("dev", UNKNOWN_ID, None),
    short=("dev", "abc", None),
    main=("main", ROOT_ID, None),
    wrong_from=("dev", ROOT_ID, ROOT_ID),
    short_from=("dev", ROOT_ID, "abc"),
    missing_with_from=("nope", ROOT_ID, ROOT_ID),
)
def _reset_branch(ground: Ground, arguments: tuple[str, str, str | None]) -> Any:
    name, target, source = arguments
    ground.repository.reset_branch(name, target, from_snapshot_id=source)
    return ground.repository.lookup_branch(name)


@case
def _reset_branch_from_its_tip(ground: Ground) -> Any:
    ground.repository.reset_branch("dev", ROOT_ID, from_snapshot_id=ground.tip)
    return ground.repository.lookup_branch("dev")


@case
def _reset_names_both_tips(ground: Ground) -> Any:
    try:
        ground.repository.reset_branch("dev", ROOT_ID, from_snapshot_id=ROOT_ID)
    except ground.ic.ConflictError as error:
        return [error.expected_parent == ROOT_ID, error.actual_parent == ground.tip]


@each(
    nothing={},
    branch={"branch": "nope"},
    tag={"tag": "nope"},
    deleted={"tag": "gone"},
    unknown={"snapshot_id": UNKNOWN_ID},
    short={"snapshot_id": "abc"},
    two={"branch": "main", "tag": "t"},
)
def _ancestry(ground: Ground, selector: dict[str, str]) -> Any:
    return [info.message for info in ground.repository.ancestry(**selector)]


# Opening sessions


@each(
    nothing={},
    branch={"branch": "nope"},
    tag={"tag": "nope"},
    deleted={"tag": "gone"},
    unknown={"snapshot_id": UNKNOWN_ID},
    short={"snapshot_id": "abc"},
    two={"branch": "main", "tag": "t"},
    branch_and_snapshot={"branch": "main", "snapshot_id": ROOT_ID},
    root={"snapshot_id": ROOT_ID},
)
def _readonly_session(ground: Ground, selector: dict[str, str]) -> Any:
    session = ground.repository.readonly_session(**selector)
    return [session.read_only, session.branch, session.has_uncommitted_changes]


@case
def _as_of_before_the_first(ground: Ground) -> Any:
    moment = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    return ground.repository.readonly_session("main", as_of=moment)


@case
def _as_of_each_commit(ground: Ground) -> Any:
    moments = [info.written_at for info in ground.repository.ancestry(branch="main")]
    sessions = [ground.repository.readonly_session("main", as_of=moment) for moment in moments]
    messages = [ground.repository.lookup_snapshot(session.snapshot_id).message for session in sessions]
    between = ground.repository.readonly_session(
        "main", as_of=moments[0] - datetime.timedelta(microseconds=1)
    )
    return [*messages, ground.repository.lookup_snapshot(between.snapshot_id).message]


@case
def _as_of_in_the_future(ground: Ground) -> Any:
    moment = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
    return ground.repository.readonly_session("main", as_of=moment).snapshot_id == ground.tip


@case
def _as_of_without_time_zone(ground: Ground) -> Any:
    return ground.repository.readonly_session("main", as_of=datetime.datetime(2030, 1, 1))


@each(tag={"tag": "t"}, snapshot={"snapshot_id": ROOT_ID}, nothing={})
def _as_of_without_branch(ground: Ground, selector: dict[str, str]) -> Any:
    return ground.repository.readonly_session(
        **selector, as_of=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    )


@each(missing="nope", tag="t", snapshot=ROOT_ID)
def _writable_session(ground: Ground, name: str) -> Any:
    return ground.repository.writable_session(name)


# Commits


@case
def _commit_nothing(ground: Ground) -> Any:
    return ground.writable.commit("nothing")


@case
def _commit_nothing_on_purpose(ground: Ground) -> Any:
    session = ground.writable
    session.commit("nothing", allow_empty=True)
    return [session.read_only, session.branch, next(iter(ground.repository.ancestry(branch="main"))).message]


@case
def _commit_read_only(ground: Ground) -> Any:
    return ground.readonly.commit("nothing")


@case
def _commit_twice(ground: Ground) -> Any:
    zarr.open_array(ground.writable.store, path="a")[0] = 5
    ground.writable.commit("once")
    return ground.writable.commit("twice")


@case
def _commit_after_another(ground: Ground) -> Any:
    sessions = [ground.repository.writable_session("main") for _ in range(2)]
    for session in sessions:
        zarr.open_array(session.store, path="a")[0] = 5
    sessions[0].commit("first come")
    return sessions[1].commit("too late")


@case
def _conflict_names_both_tips(ground: Ground) -> Any:
    sessions = [ground.repository.writable_session("main") for _ in range(2)]
    for session in sessions:
        zarr.open_array(session.store, path="a")[0] = 5
    tip = sessions[0].commit("first come")
    try:
        sessions[1].commit("too late")
    except ground.ic.ConflictError as error:
        return [
            error.expected_parent == ground.tip,
            error.actual_parent == tip,
            sessions[1].has_uncommitted_changes,
            sessions[1].branch,
        ]


@case
def _commit_to_deleted_branch(ground: Ground) -> Any:
    session = ground.repository.writable_session("dev")
    zarr.open_array(session.store, path="a")[0] = 5
    ground.repository.delete_branch("dev")
    return session.commit("nowhere")


@case
def _commit_to_reset_branch(ground: Ground) -> Any:
    session = ground.repository.writable_session("dev")
    zarr.open_array(session.store, path="a")[0] = 5
    ground.repository.reset_branch("dev", ROOT_ID)
    return session.commit("nowhere")


@each(
    object=object(),
    bytes=b"ab",
    set={1, 2},
    not_a_number=float("nan"),
    too_large=2**70,
    tuple=(1, 2),
    key_number={1: 2},
    nested={"a": [{"b": (1, {"c": None})}]},
    date=datetime.date(2020, 1, 1),
)
def _metadata_value(ground: Ground, value: Any) -> Any:
    ground.writable.commit("with metadata", metadata={"value": value}, allow_empty=True)
    return next(iter(ground.repository.ancestry(branch="main"))).metadata


@case
def _metadata_under_the_reserved_key(ground: Ground) -> Any:
    ground.writable.commit("m", metadata={"__icechunk": {"mine": 1}}, allow_empty=True)
    return next(iter(ground.repository.ancestry(branch="main"))).metadata


@case
def _default_metadata(ground: Ground) -> Any:
    ground.repository.set_default_commit_metadata({"a": 1, "b": 1})
    session = ground.repository.writable_session("main")
    ground.repository.set_default_commit_metadata({"c": 1})
    session.commit("m", metadata={"b": 2}, allow_empty=True)
    info = next(iter(ground.repository.ancestry(branch="main")))
    return [info.metadata, ground.repository.default_commit_metadata()]


@case
def _discard_read_only(ground: Ground) -> Any:
    return ground.readonly.discard_changes()


@case
def _discard(ground: Ground) -> Any:
    zarr.open_array(ground.writable.store, path="a")[:] = 9
    ground.writable.discard_changes()
    return [
        zarr.open_array(ground.writable.store, path="a")[:].tolist(),
        ground.writable.has_uncommitted_changes,
    ]


@case
def _transaction_that_fails(ground: Ground) -> Any:
    with ground.repository.transaction("main", message="never") as store:
        zarr.open_array(store, path="a")[:] = 9
        raise LookupError


@case
def _transaction_without_changes(ground: Ground) -> Any:
    with ground.repository.transaction("main", message="nothing"):
        pass


# Keys and documents


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


@each(
    range=RangeByteRequest(0, 5),
    offset=OffsetByteRequest(3),
)
def _range_of_document(ground: Ground, request: Any) -> Any:
    return _get(ground.readonly.store, "a/zarr.json", request)


@each(range=RangeByteRequest(0, 5), offset=OffsetByteRequest(3), suffix=SuffixByteRequest(2))
def _range_of_missing(ground: Ground, request: Any) -> Any:
    return _get(ground.readonly.store, "g/plane/c/1/1", request)


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
    array = zarr.open_array(ground.writable.store, path="a")
    array.resize((2,))
    array.resize((7,))
    return array[:].tolist()


@case
def _shrink_commit_and_grow(ground: Ground) -> Any:
    zarr.open_array(ground.writable.store, path="a").resize((2,))
    ground.writable.commit("shrunk")
    session = ground.repository.writable_session("main")
    array = zarr.open_array(session.store, path="a")
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


@case_of_spec_2
def _uneven_write_outside(ground: Ground) -> Any:
    document = _grid(name="rectilinear", configuration={"kind": "inline", "chunk_shapes": [[1, 3]]})
    store = ground.writable.store
    _run(store.set("new/zarr.json", _buffer(json.dumps(document).encode())))
    _run(store.set("new/c/1", _buffer(b"abc")))
    return _run(store.set("new/c/2", _buffer(b"abc")))
