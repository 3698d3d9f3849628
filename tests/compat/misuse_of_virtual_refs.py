"""Mistakes and questions about references to chunks in other files; see `misuse`.

The ground has an array `/a` of seven bytes in chunks of two; the files are below the container ``files``.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from tests.compat.misuse import Ground, case, case_of_spec_2, each

MOMENT = datetime(2020, 1, 1, tzinfo=UTC)


def _directory(ground: Ground) -> Path:
    directory = Path(ground.path).parent / "files"
    directory.mkdir(exist_ok=True)
    (directory / "f").write_bytes(bytes(range(100)))
    os.utime(directory / "f", (MOMENT.timestamp(), MOMENT.timestamp()))
    return directory


def _container(ground: Ground) -> Any:
    directory = _directory(ground)
    store = ground.ic.local_filesystem_store(str(directory))
    return ground.ic.VirtualChunkContainer(f"file://{directory}/", store, name="files")


def _reopened(ground: Ground, access: Any = None) -> Any:
    config = ground.ic.RepositoryConfig.default()
    config.set_virtual_chunk_container(_container(ground))
    return ground.repository.reopen(config, access)


def _session(ground: Ground) -> Any:
    """A writable session that may refer to the files and read them."""
    access = {f"file://{_directory(ground)}/": ground.ic.credentials.LocalFileSystemAccess}
    return _reopened(ground, access).writable_session("main")


def _told(ground: Ground, session: Any, answer: Any = None) -> Any:
    """What the setter returned, what the session holds of `/a` then, and where that is."""

    async def rows() -> list[Any]:
        return [
            [coordinates.tolist(), kinds.tolist(), list(places), offsets.tolist(), lengths.tolist()]
            async for coordinates, kinds, places, offsets, lengths, _ in session.store.array_chunk_iterator(
                "a"
            )
        ]

    listed = [] if answer is None else sorted(list(each) for each in answer)
    here = f"file://{_directory(ground)}/"
    told = [
        [place.replace(here, "file://here/") for place in batch[2] if "/" in place]
        for batch in asyncio.run(rows())
    ]
    return [listed, told, session.has_uncommitted_changes]


def _quietly(call: Any) -> Any:
    """Without the warning that only ours gives of rejected references."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ virtual references", UserWarning)
        return call()


# One by one


@each(
    fine={},
    named={"location": "vcc://files/f"},
    document={"key": "a/zarr.json"},
    document_of_zarr_2={"key": "a/.zarray"},
    missing={"key": "nope/c/0"},
    group={"key": "g/c/0"},
    nonsense={"key": "xyz"},
    outside={"key": "a/c/4"},
    too_many={"key": "a/c/0/0"},
    no_bytes={"length": 0},
    negative={"offset": -1},
    largest={"offset": 2**64 - 1, "length": 2**64 - 1},
    too_large={"length": 2**64},
    float={"offset": 1.0},
    empty={"location": ""},
    relative={"location": "f"},
    absolute_path={"location": "/f"},
    bytes={"location": b"file:///f"},
    no_bucket={"location": "s3:///f"},
    no_name={"location": "vcc:///f"},
    no_container={"location": "s3://b/f"},
    unknown_name={"location": "vcc://nope/f"},
    doubled={"location": "vcc://files//f"},
    dots={"location": "vcc://files/../f"},
    not_text={"location": "vcc://files/%ff"},
    unchecked={"location": "s3://b/f", "validate_container": False},
    unchecked_name={"location": "s3://user@b:90//x/../f?q#p", "validate_container": False},
    unchecked_empty={"location": "", "validate_container": False},
    unchecked_no_name={"location": "vcc:///f", "validate_container": False},
    etag={"checksum": '"abc"'},
    no_etag={"checksum": ""},
    time={"checksum": MOMENT},
    naive_time={"checksum": datetime(2020, 1, 1)},
    number={"checksum": 5},
    early={"checksum": datetime(1960, 1, 1, tzinfo=UTC)},
    late={"checksum": datetime(2200, 1, 1, tzinfo=UTC)},
)
def _virtual_ref(ground: Ground, changes: dict[str, Any]) -> Any:
    arguments = {
        "key": "a/c/1",
        "location": f"file://{_directory(ground)}/f",
        "offset": 0,
        "length": 2,
        **changes,
    }
    session = _session(ground)
    key, location = arguments.pop("key"), arguments.pop("location")
    session.store.set_virtual_ref(key, location, **arguments)
    return _told(ground, session)


# In bulk


@each(
    fine=[([0], "vcc://files/f", 0, 2), ([3], "vcc://files/f", 0, 2)],
    none=[],
    twice=[([0], "vcc://files/f", 0, 2), ([0], "vcc://files/g", 0, 2)],
    checks=[([0], "vcc://files/f", 0, 2, "e"), ([1], "vcc://files/f", 0, 2, "e", MOMENT)],
    rejected=[([1], "s3://b/f", 0, 2), ([0], "vcc://files/f", 0, 2), ([2], "vcc://nope/f", 0, 2)],
    all_rejected=[([1], "s3://b/f", 0, 2)],
    rejected_outside=[([9], "s3://b/f", 0, 2), ([0], "vcc://files/f", 0, 2)],
    rejected_empty=[([1], "vcc://files//f", 0, 0)],
    rejected_not_text=[([1], "vcc://files/%ff", 0, 2)],
    rejected_and_outside=[([1], "s3://b/f", 0, 2), ([9], "vcc://files/f", 0, 2)],
    outside=[([0], "vcc://files/f", 0, 2), ([9], "vcc://files/f", 0, 2)],
    too_many=[([0], "vcc://files/f", 0, 2), ([1, 0], "vcc://files/f", 0, 2)],
    no_bytes=[([0], "vcc://files/f", 0, 2), ([1], "vcc://files/f", 0, 0)],
    empty=[([0], "vcc://files/f", 0, 2), ([1], "", 0, 2)],
    relative=[([1], "s3://b/f", 0, 2), ([1], "f", 0, 2)],
)
def _virtual_refs(ground: Ground, chunks: list[Any]) -> Any:
    session = _session(ground)
    specs = [ground.ic.VirtualChunkSpec(*chunk) for chunk in chunks]
    answer = _quietly(lambda: session.store.set_virtual_refs("a", specs))
    return _told(ground, session, answer)


@each(
    outside=[([0], "vcc://files/f", 0, 2), ([9], "vcc://files/f", 0, 2)],
    no_bytes=[([0], "vcc://files/f", 0, 2), ([1], "vcc://files/f", 0, 0)],
    relative=[([0], "vcc://files/f", 0, 2), ([1], "f", 0, 2)],
)
def _virtual_refs_that_failed(ground: Ground, chunks: list[Any]) -> Any:
    """What is left of those before the bad one."""
    session = _session(ground)
    specs = [ground.ic.VirtualChunkSpec(*chunk) for chunk in chunks]
    try:
        session.store.set_virtual_refs("a", specs)
    except ValueError:
        return _told(ground, session)
    return "no error"


@each(
    array="/a",
    bare="a",
    group="g",
    root="",
    missing="/nope",
    dots="../a",
    trailing="a/",
    doubled="//a",
    nothing=None,
)
def _virtual_refs_at(ground: Ground, path: Any) -> Any:
    session = _session(ground)
    answer = session.store.set_virtual_refs(path, [ground.ic.VirtualChunkSpec([0], "vcc://files/f", 0, 2)])
    return _told(ground, session, answer)


@each(tuple=(), text="ab", iterator=iter([]), nothing=None, number=3, others=[3])
def _virtual_refs_in(ground: Ground, chunks: Any) -> Any:
    return _session(ground).store.set_virtual_refs("a", chunks)


@each(
    fine={},
    sizes={"chunk_grid_shape": (3,)},
    dimensions={"chunk_grid_shape": (2, 2)},
    negative_size={"chunk_grid_shape": (-4,)},
    float_size={"chunk_grid_shape": (4.0,)},
    no_shape={"chunk_grid_shape": None},
    list_shape={"chunk_grid_shape": [4]},
    huge_shape={"chunk_grid_shape": (2**32, 0), "locations": [], "offsets": (), "lengths": ()},
    few_locations={"locations": ["vcc://files/f"] * 3},
    few_offsets={"offsets": (0, 2, 4)},
    few_lengths={"lengths": (2, 2, 2)},
    absent={"locations": ["vcc://files/f", "", "vcc://files/f", ""], "lengths": (2, 0, 2, 0)},
    all_absent={"locations": [""] * 4},
    no_bytes={"lengths": (2, 0, 2, 2)},
    blank={"locations": ["vcc://files/f"] * 3 + [" "]},
    relative={"locations": ["vcc://files/f"] * 3 + ["f"]},
    not_text={"locations": ["vcc://files/f"] * 3 + [None]},
    no_list={"locations": None},
    text_locations={"locations": "abcd"},
    tuple_locations={"locations": ("vcc://files/f",) * 4},
    array_locations={"locations": np.array(["vcc://files/f"] * 4)},
    rejected={"locations": ["vcc://files/f", "s3://b/f", "vcc://files//f", ""]},
    rejected_relative={"locations": ["vcc://files/f", "s3://b/f", "f", ""]},
    unchecked={"locations": ["vcc://files/f", "s3://b/f", "vcc://nope/f", ""], "validate_containers": False},
    signed={"offsets": np.arange(4)},
    list_offsets={"offsets": list(range(4))},
    float_offsets={"offsets": np.arange(4.0)},
    two_dimensions={"offsets": np.zeros((2, 2), "u8")},
    strided={"offsets": np.zeros(8, "u8")[::2]},
    at_one={"arr_offset": (1,), "locations": ["vcc://files/f"] * 3 + [""]},
    beyond={"arr_offset": (1,)},
    far={"arr_offset": (2**32 - 1,)},
    too_far={"arr_offset": (2**32,)},
    before={"arr_offset": (-1,)},
    many_places={"arr_offset": (0, 0)},
    no_places={"arr_offset": ()},
    list_place={"arr_offset": [0]},
    etag={"checksum": "e"},
    time={"checksum": MOMENT},
    naive_time={"checksum": datetime(2020, 1, 1)},
    number={"checksum": 3},
    missing={"array_path": "nope"},
    group={"array_path": "g"},
    nowhere={"array_path": None},
)
def _virtual_refs_arr(ground: Ground, changes: dict[str, Any]) -> Any:
    session = _session(ground)
    arguments = {
        "array_path": "a",
        "chunk_grid_shape": (4,),
        "locations": ["vcc://files/f"] * 4,
        "offsets": (0, 2, 4, 6),
        "lengths": (2, 2, 2, 2),
        **changes,
    }
    for name in ("offsets", "lengths"):
        if isinstance(arguments[name], tuple):
            arguments[name] = np.array(arguments[name], "u8")
    answer = _quietly(lambda: session.store.set_virtual_refs_arr(**arguments))
    return _told(ground, session, answer)


@case
def _virtual_refs_arr_of_a_scalar(ground: Ground) -> Any:
    session = _session(ground)
    one = np.ones(1, "u8")
    session.store.set_virtual_refs_arr("g/scalar", (), ["vcc://files/f"], one, one)
    return str(session.chunk_type("/g/scalar", []))


@case
def _virtual_refs_arr_that_failed(ground: Ground) -> Any:
    """What is left of the chunks before the bad one."""
    session = _session(ground)
    try:
        session.store.set_virtual_refs_arr(
            "a", (2,), ["vcc://files/f"] * 2, np.zeros(2, "u8"), np.array([2, 0], "u8")
        )
    except ValueError:
        return _told(ground, session)
    return "no error"


@each(one=0, many=1, columns=2)
def _virtual_refs_read_only(ground: Ground, which: int) -> Any:
    store = _reopened(ground).readonly_session("main").store
    if which == 0:
        return store.set_virtual_ref("a/c/0", "vcc://files/f", offset=0, length=1)
    if which == 1:
        return store.set_virtual_refs("a", [])
    none = np.empty(0, "u8")
    return store.set_virtual_refs_arr("a", (0,), [], none, none)


@case_of_spec_2
def _virtual_ref_while_rearranging(ground: Ground) -> Any:
    store = _reopened(ground).rearrange_session("main").store
    return store.set_virtual_ref("a/c/0", "vcc://files/f", offset=0, length=1)


# Getting them out again


@each(bare="a", array="/a", group="g", root="", missing="nope", dots="../a", trailing="a/", nothing=None)
def _batches(ground: Ground, path: Any) -> Any:
    async def count() -> int:
        return sum([len(batch[0]) async for batch in ground.readonly.store.array_chunk_iterator(path)])

    return asyncio.run(count())


@each(one=1, three=3, many=100, float=1.5, text="1", nothing=None)
def _batches_of(ground: Ground, size: Any) -> Any:
    session = _session(ground)
    session.store.set_virtual_ref("a/c/2", "vcc://files/f", offset=0, length=1)

    async def lengths() -> list[int]:
        return [len(batch[0]) async for batch in session.store.array_chunk_iterator("a", size)]

    return asyncio.run(lengths())


@case
def _batches_with_for(ground: Ground) -> Any:
    return [len(batch[0]) for batch in ground.readonly.store.array_chunk_iterator("a")]


@case
def _locations(ground: Ground) -> Any:
    session = _session(ground)
    for index in (2, 0):
        session.store.set_virtual_ref(f"a/c/{index}", f"vcc://files/{index}", offset=0, length=1)
    here = f"file://{_directory(ground)}/"
    return [location.replace(here, "") for location in session.all_virtual_chunk_locations()]


@case
def _locations_of_a_missing_container(ground: Ground) -> Any:
    session = _session(ground)
    session.store.set_virtual_ref("a/c/0", "vcc://nope/f", offset=0, length=1, validate_container=False)
    return session.all_virtual_chunk_locations()


# Reading


def _read(session: Any, part: Any = None) -> Any:
    value = asyncio.run(session.store.get("a/c/0", default_buffer_prototype(), part))
    return None if value is None else value.to_bytes().hex()


@each(
    fine={},
    missing={"location": "vcc://files/nope"},
    below_a_file={"location": "vcc://files/f/x"},
    directory={"location": "vcc://files/"},
    no_container={"location": "s3://b/f"},
    unknown_name={"location": "vcc://nope/f"},
    outside={"location": "vcc://files/../f"},
    short={"offset": 98, "length": 6},
    beyond={"offset": 200},
    another_etag={"checksum": "1-2-3"},
    older={"checksum": MOMENT - timedelta(seconds=1)},
    as_old={"checksum": MOMENT},
    younger={"checksum": MOMENT + timedelta(seconds=1)},
)
def _virtual_read(ground: Ground, changes: dict[str, Any]) -> Any:
    session = _session(ground)
    arguments = {"location": "vcc://files/f", "offset": 10, "length": 6, **changes}
    session.store.set_virtual_ref("a/c/0", arguments.pop("location"), **arguments, validate_container=False)
    return _read(session)


@each(
    range=RangeByteRequest(1, 3),
    offset=OffsetByteRequest(4),
    suffix=SuffixByteRequest(2),
    beyond=RangeByteRequest(1, 9),
    outside=RangeByteRequest(7, 9),
)
def _virtual_read_part(ground: Ground, part: Any) -> Any:
    session = _session(ground)
    session.store.set_virtual_ref("a/c/0", "vcc://files/f", offset=10, length=6)
    return _read(session, part)


@each(
    nothing={},
    neighbour={"files-more": True},
    above={"": True},
    below={"files/deeper": True},
    exact={"files": True},
)
def _virtual_read_authorised(ground: Ground, names: dict[str, Any]) -> Any:
    parent = _directory(ground).parent
    access = {f"file://{parent / name}": ground.ic.credentials.LocalFileSystemAccess for name in names}
    session = _reopened(ground, access).writable_session("main")
    session.store.set_virtual_ref("a/c/0", "vcc://files/f", offset=10, length=6)
    return _read(session)


@each(
    s3=lambda ic: ic.Credentials.S3(ic.s3_anonymous_credentials()),
    http=lambda ic: ic.credentials.HttpAccess,
    number=lambda _: 3,
    text=lambda _: "secret",
)
def _authorise_with(ground: Ground, credential: Any) -> Any:
    access = {f"file://{_directory(ground)}/": credential(ground.ic)}
    return _reopened(ground, access).authorized_virtual_container_prefixes == set(access)


@case
def _authorise_with_none(ground: Ground) -> Any:
    access = {f"file://{_directory(ground)}": None, "s3://unknown": None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        repository = _reopened(ground, access)
    prefixes = sorted(len(prefix) for prefix in repository.authorized_virtual_container_prefixes)
    session = repository.writable_session("main")
    session.store.set_virtual_ref("a/c/0", "vcc://files/f", offset=10, length=6)
    wanted = [len(prefix) + 1 for prefix in access]
    return [[warning.category.__name__ for warning in caught], prefixes == sorted(wanted), _read(session)]
