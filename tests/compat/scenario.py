"""One long history that uses the whole format, told through whichever implementation is given.

`write_history` creates a repository and makes every commit, ref and setting of the story; all data follow
from the story, so two tellings differ only in ids and times. A telling may leave chapters out (`Chapters`),
because spec version 1 has no moves, because an old release has no amends, and so on.

Virtual chunks lie in a few small files that `write_virtual_files` makes. The repositories name them relative
to the container ``data`` (``vcc://data/...``); a container of the same name with another prefix, given when a
repository is opened, makes them readable wherever the files are. What is stored says `STORED_PREFIX`, a
directory that need not exist.

This file is also run by a Python that has only the official 1.x release, so it imports nothing of the
project.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

STORED_PREFIX = "file:///icechunk-golden/virtual/"
VIRTUAL_FILES = ("plain.bin", "stations/alpha.bin", "stations/beta.bin")
FILE_SIZE = 4096
MODIFIED = 1_600_000_000
"""Modification time of the virtual files, in seconds: September 2020."""

METADATA: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "small": 7,
    "negative": -7,
    "byte limit": [127, 128, 255, 256, -128, -129],
    "word limit": [32767, 32768, 65535, 65536, -32769],
    "long limit": [2**31 - 1, 2**31, 2**32 - 1, 2**32, -(2**31) - 1],
    "largest": 2**63 - 1,
    "unsigned": 2**64 - 1,
    "smallest": -(2**63),
    "half": 0.5,
    "double": 0.1,
    "huge": 1e300,
    "text": "crème brûlée, 氷塊 \N{ICE CUBE}",
    "empty text": "",
    "pair": [1, 2],
    "triple": [1, 2, 3],
    "quad": [-1, 2, 3, 300],
    "ints": list(range(40)),
    "one int": [7],
    "float pair": [1.5, 2.5],
    "float triple": [0.1, 0.2, 0.3],
    "floats": [0.25 * n for n in range(9)],
    "bools": [True, False, True],
    "strings": ["a", "b", "a"],
    "mixed": [1, "a", None, 2.5, True, [], {}],
    "nested": [[1, 2], [3, 4, 5], [[["deep"]]]],
    "empty list": [],
    "empty map": {},
    "map": {"b": 1, "a": {"x": [1, 2, 3, 4], "": "empty key"}, "c": None},
    "long text": "lorem ipsum " * 40,
}


@dataclass(frozen=True)
class Chapters:
    """Which parts of the story are told."""

    spec_version: int = 2
    virtual: bool = True
    relative_locations: bool = True
    rectilinear: bool = True
    moves: bool = True
    amend: bool = True
    detached: bool = True
    expiration: bool = True
    administration: bool = True
    collection: bool = True

    @classmethod
    def of_spec_1(cls, **changes: bool) -> Chapters:
        """What spec version 1 can hold."""
        told: dict[str, Any] = {
            "rectilinear": False,
            "moves": False,
            "amend": False,
            "administration": False,
            "collection": False,
        }
        return cls(spec_version=1, **(told | changes))


@dataclass(frozen=True)
class Told:
    """What a reader cannot find by following branches and tags."""

    detached: tuple[str, ...]
    released: tuple[str, ...]


def write_virtual_files(directory: Path) -> None:
    """Make the files that virtual chunks lie in."""
    for number, name in enumerate(VIRTUAL_FILES):
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(virtual_bytes(number))
        os.utime(file, (MODIFIED, MODIFIED))


def virtual_bytes(number: int) -> bytes:
    """The content of the virtual file of that number."""
    return ((np.arange(FILE_SIZE) * (2 * number + 3) + number) % 251).astype("u1").tobytes()


def container(ic: Any, prefix: str) -> Any:
    """The container ``data`` at some prefix."""
    store = ic.ObjectStoreConfig.LocalFileSystem(prefix.removeprefix("file://"))
    try:
        return ic.VirtualChunkContainer(prefix, store, name="data")
    except TypeError:  # 1.x containers have no names
        return ic.VirtualChunkContainer(prefix, store)


def golden_config(ic: Any) -> Any:
    """A configuration that differs from the default one in every group of settings."""
    condition, axis = ic.ManifestSplitCondition, ic.ManifestSplitDimCondition
    preload = ic.ManifestPreloadCondition
    config = ic.RepositoryConfig.default()
    config.inline_chunk_threshold_bytes = 100
    config.get_partial_values_concurrency = 7
    config.compression = ic.CompressionConfig(level=5)
    config.caching = ic.CachingConfig(num_snapshot_nodes=1000, num_chunk_refs=20_000)
    config.manifest = ic.ManifestConfig(
        preload=ic.ManifestPreloadConfig(
            max_total_refs=50,
            preload_if=preload.or_conditions(
                [preload.name_matches("^time$"), preload.path_matches("inner") & preload.num_refs(1, 9)]
            ),
        ),
        splitting=ic.ManifestSplittingConfig.from_dict(
            {
                condition.name_matches("^split$"): {axis.Axis(0): 3, axis.DimensionName("^x$"): 4},
                condition.path_matches("growing") | condition.path_matches("nowhere"): {axis.Any(): 2},
            }
        ),
    )
    if hasattr(ic, "ManifestVirtualChunkLocationCompressionConfig"):
        config.manifest.virtual_chunk_location_compression = ic.ManifestVirtualChunkLocationCompressionConfig(
            min_num_chunks=20
        )
    if hasattr(config, "num_updates_per_repo_info_file"):
        config.max_concurrent_requests = 99
        config.num_updates_per_repo_info_file = 6
    config.set_virtual_chunk_container(container(ic, STORED_PREFIX))
    return config


def relocated(ic: Any, directory: Path) -> dict[str, Any]:
    """Keyword arguments of `Repository.open` that find the virtual files in `directory`."""
    prefix = f"file://{directory}/"
    config = ic.RepositoryConfig.default()
    config.set_virtual_chunk_container(container(ic, prefix))
    credential = ic.credentials.LocalFileSystemAccess
    return {"config": config, "authorize_virtual_chunk_access": {prefix: credential}}


def write_history(ic: Any, storage: Any, chapters: Chapters | None = None) -> Told:
    """Create a repository and tell the story in it.

    Parameters
    ----------
    ic : module
        The implementation to tell it with.
    storage : Storage
        Of that implementation; nothing may be there yet.
    chapters : Chapters, optional
        What to tell; everything by default.

    Returns
    -------
    Told
        Ids that the refs do not lead to.
    """
    chapters = chapters or Chapters()
    repository = create(ic, storage, chapters)
    first = _commit(repository, "first nodes", _first_nodes)
    second = _commit(repository, "more chunks", _more_chunks)
    released: set[str] = set()
    third = _commit(repository, "third", lambda root: root.attrs.update({"edition": 3}))
    if chapters.expiration:
        released = repository.expire_snapshots(repository.lookup_snapshot(third).written_at)
    repository.create_branch("dev", third)
    _commit(repository, "dropped and made again", _dropped_and_made_again, metadata=METADATA)
    _commit(repository, "on dev", _on_dev, branch="dev", metadata={"author": "someone", "ticket": 12})
    if chapters.virtual:
        _commit_virtual(ic, repository, chapters)
    if chapters.rectilinear:
        _commit(repository, "uneven chunks", _rectilinear)
    repository.create_tag("v1", first if not chapters.expiration else third)
    repository.create_tag("gone", third)
    repository.delete_tag("gone")
    if chapters.moves:
        _commit_moves(repository)
    if chapters.amend:
        _commit(repository, "to be amended", lambda root: root.attrs.update({"amended": "no"}))
        _amend(repository)
    detached = _flush(repository) if chapters.detached else ()
    _refs(repository, second=second if not chapters.expiration else third, chapters=chapters)
    if chapters.administration:
        _administration(ic, repository)
    if chapters.collection:
        repository.garbage_collect(datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc))  # noqa: UP017
    _commit(repository, "last", lambda root: root.attrs.update({"edition": 4}))
    repository.create_tag("v2", repository.lookup_branch("main"))
    return Told(detached=detached, released=tuple(sorted(released)))


def continue_history(repository: Any) -> str:
    """Commit on top of a told story, touching manifests of every kind; returns the new tip."""
    session = repository.writable_session("main")
    root: Any = zarr.open_group(session.store)
    root["split"][0:6, 0:2] = 200
    root["native"][:] = 9
    root["growing"].resize((8,))
    root["growing"][6:] = (60, 70)
    root["virtual/plain"][10:20] = np.arange(10)
    root["virtual/many"][3, 6:8] = (1, 2)  # the only chunk there that was missing
    root.create_group("more", attributes={"by": "another"})
    del root["names/b-c"]
    return str(session.commit("continued", metadata=METADATA))


def continued_values(before: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """What the changed arrays hold then, from what the split one held before."""
    split = before["split"].copy()
    split[0:6, 0:2] = 200
    return {"split": split, "native": [9] * 4, "growing": [1, 2, 3, 4, 5, 0, 60, 70]}


def create(ic: Any, storage: Any, chapters: Chapters) -> Any:
    """An empty repository with the golden configuration."""
    config = golden_config(ic)
    if not hasattr(ic, "SpecVersion"):
        return ic.Repository.create(storage, config=config)
    return ic.Repository.create(storage, config=config, spec_version=chapters.spec_version)


def _commit(
    repository: Any,
    message: str,
    change: Any,
    *,
    branch: str = "main",
    metadata: dict[str, Any] | None = None,
) -> str:
    session = repository.writable_session(branch)
    change(zarr.open_group(session.store, mode="a"))
    return str(session.commit(message, metadata=metadata))


def _first_nodes(root: Any) -> None:
    """Groups in groups, and arrays of every kind that regular grids allow."""
    root.attrs.update({"title": "golden", "n": 1, "list": [1, 2, {"x": None}]})
    inner = root.create_group("outer", attributes={"level": 1}).create_group("middle").create_group("inner")
    inner.attrs.update({"level": 3, "ratio": 0.25})
    root.create_array("scalar", shape=(), dtype="f8")[...] = 3.25
    root.create_array("scalar_missing", shape=(), dtype="i4", fill_value=-1)
    root.create_array("empty", shape=(0,), chunks=(1,), dtype="f4")
    root["outer"].create_array("empty_2d", shape=(0, 4), chunks=(2, 2), dtype="i2")
    root.create_array("inline", shape=(8,), chunks=(3,), dtype="i2", compressors=None)[:] = np.arange(8)
    native = root.create_array("native", shape=(20, 30), chunks=(7, 10), dtype="i4", compressors=None)
    native[:] = np.arange(600).reshape(20, 30)
    mixed = root.create_array("mixed", shape=(4, 200), chunks=(1, 200), dtype="i4")
    mixed[:] = np.where(np.arange(4)[:, None] % 2, 5, (np.arange(800) * 7919 % 1013).reshape(4, 200))
    deep = inner.create_array(
        "deep", shape=(3, 4, 5), chunks=(2, 2, 2), dtype="f8", dimension_names=("t", None, "x")
    )
    deep[:] = np.arange(60).reshape(3, 4, 5) / 8
    sharded = root.create_array("sharded", shape=(32, 32), shards=(16, 16), chunks=(4, 4), dtype="u2")
    sharded[3:30, 5:25] = np.arange(27 * 20).reshape(27, 20)
    partly = root.create_array("partly", shape=(10,), chunks=(2,), dtype="i8", fill_value=-5)
    partly[2:4], partly[6:8] = (21, 22), (61, 62)
    root.create_array("flags", shape=(5,), chunks=(2,), dtype="bool")[:] = [True, False, True, True, True]
    root.create_array("waves", shape=(3,), chunks=(2,), dtype="c8", attributes={"unit": "m"})[:] = [
        1j,
        2,
        3 + 4j,
    ]
    split = root.create_array(
        "split", shape=(20, 18), chunks=(2, 2), dtype="u1", dimension_names=("y", "x"), compressors=None
    )
    split[:] = np.arange(360).reshape(20, 18) % 256
    growing = root.create_array("growing", shape=(6,), chunks=(1,), dtype="i4")
    growing[:] = np.arange(1, 7)
    names = root.create_group("names")
    for number, name in enumerate(("c", "abc", "with space", "ünïcode 氷", "a-b", "a.b", "a")):
        names.create_array(name, shape=(2,), chunks=(1,), dtype="u1")[:] = [1 + number, 100 + number]
    names.create_group("b").create_array("x", shape=(1,), dtype="u1")[:] = 9
    names.create_group("b-c")


def _more_chunks(root: Any) -> None:
    """Chunks written anew and deleted, arrays resized, attributes changed."""
    root["native"][5:9, 5:15] = -1
    root["partly"][2:4] = -5  # the fill value: zarr deletes the chunk
    root["partly"][0:2] = (1, 2)
    root["split"][0:2, 0:2] = 255
    root["growing"].resize((9,))
    root["growing"][6:] = (7, 8, 9)
    root["outer"].attrs.update({"level": "one"})
    root["waves"].attrs.put({"unit": "km", "long_name": "waves"})


def _dropped_and_made_again(root: Any) -> None:
    """Nodes deleted, and others created at the same place."""
    del root["scalar_missing"]
    del root["native"]
    again = root.create_array("native", shape=(4,), chunks=(2,), dtype="f4", compressors=None)
    again[:2] = (0.5, 1.5)
    del root["names/b"]
    root.create_array("names/b", shape=(2,), chunks=(2,), dtype="i4")[:] = (3, 4)
    root["growing"].resize((5,))


def _on_dev(root: Any) -> None:
    root["outer/middle/inner/deep"][0] = -0.5
    root.create_group("only_on_dev", attributes={"why": "a second line"})


def _commit_virtual(ic: Any, repository: Any, chapters: Chapters) -> None:
    base = "vcc://data/" if chapters.relative_locations else STORED_PREFIX
    session = repository.writable_session("main")
    group: Any = zarr.open_group(session.store).create_group("virtual")
    options: dict[str, Any] = {"dtype": "u1", "compressors": None}
    store = session.store

    plain = group.create_array("plain", shape=(40,), chunks=(10,), **options)
    for index in (0, 1, 3):
        store.set_virtual_ref(f"virtual/plain/c/{index}", f"{base}plain.bin", offset=100 * index, length=10)
    plain[20:30] = np.arange(200, 210)

    group.create_array("checked", shape=(4,), chunks=(1,), **options)
    later, earlier = (datetime.datetime.fromtimestamp(MODIFIED + d, datetime.timezone.utc) for d in (9, -9))  # noqa: UP017
    for index, checksum in enumerate((later, earlier, "0-0-0", None)):
        store.set_virtual_ref(
            f"virtual/checked/c/{index}",
            f"{base}stations/beta.bin",
            offset=index,
            length=1,
            checksum=checksum,
        )

    group.create_array("elsewhere", shape=(4,), chunks=(2,), **options)
    specs = [
        ic.VirtualChunkSpec([0], "s3://no-such-bucket/a b/%20?x=1#y", 5, 2),
        ic.VirtualChunkSpec([1], "https://user@example.org:8080/x//y/../z.nc", 2**40, 2, '"etag"'),
    ]
    store.set_virtual_refs("/virtual/elsewhere", specs, validate_containers=False)

    group.create_array("many", shape=(12, 10), chunks=(1, 2), **options)
    specs = [
        ic.VirtualChunkSpec(
            [row, column], f"{base}stations/{('alpha', 'beta')[row % 2]}.bin", 10 * row + column, 2
        )
        for row in range(12)
        for column in range(5)
        if (row, column) != (3, 3)
    ]
    store.set_virtual_refs("/virtual/many", specs, validate_containers=False)
    group.create_array("scalar", shape=(), **options)
    store.set_virtual_ref("virtual/scalar/c", f"{base}plain.bin", offset=17, length=1)
    session.commit("virtual chunks")


def _rectilinear(root: Any) -> None:
    """Chunks of different sizes: in full, with runs, and over several dimensions."""
    with zarr.config.set({"array.rectilinear_chunks": True}):
        uneven = root.create_array(
            "uneven", shape=(6, 5), chunks=[[1, 2, 3], [4, 1]], dtype="i4", compressors=None
        )
        uneven[:] = np.arange(30).reshape(6, 5)
        runs = root.create_array("runs", shape=(50,), chunks=[[10, 10, 10, 5, 5, 10]], dtype="i4")
        runs[:30] = np.arange(30)


def _commit_moves(repository: Any) -> None:
    session = repository.rearrange_session("main")
    session.move("/outer/middle", "/names/middle")
    session.move("/inline", "/outer/inline")
    session.move("/names/abc", "/names/xyz")
    session.move("/names/xyz", "/names/abcd")
    session.commit("moved", metadata={"moves": 3})


def _amend(repository: Any) -> None:
    session = repository.writable_session("main")
    root: Any = zarr.open_group(session.store)
    root.attrs.update({"amended": "yes"})
    root["partly"][8:] = (81, 82)
    session.amend("amended", metadata={"again": True})


def _flush(repository: Any) -> tuple[str, ...]:
    session = repository.writable_session("main")
    root: Any = zarr.open_group(session.store)
    root["partly"][:] = 0
    return (str(session.flush("detached")),)


def _refs(repository: Any, *, second: str, chapters: Chapters) -> None:
    """More branches, one reset and one deleted."""
    for name in ("feature", "reset", "dropped"):
        repository.create_branch(name, repository.lookup_branch("main"))
    if chapters.spec_version > 1:
        repository.create_branch("a/b c ü", second)
    repository.reset_branch("reset", second)
    repository.delete_branch("dropped")


def _administration(ic: Any, repository: Any) -> None:
    """What only the repo object of spec version 2 holds."""
    repository.set_metadata(METADATA)
    repository.update_metadata({"owner": {"name": "somebody"}, "small": 8})
    repository.set_feature_flag("move_node", False)
    repository.set_feature_flag("move_node", None)
    repository.set_feature_flag("delete_tag", True)
    availability = ic.RepoAvailability
    repository.set_status(ic.RepoStatus(availability.read_only, limited_availability_reason="inventory"))
    repository.set_status(ic.RepoStatus(availability.online))
