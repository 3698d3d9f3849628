"""Everything a reader can see of a repository, as plain data.

`describe` reads a repository through the public API of whichever implementation made the object, so that two
implementations (or a recorded answer and a live one) are compared with one ``==``. The answer holds only what
JSON holds; array values are replaced by digests and returned beside it. What cannot be read is part of the
answer: the class and kind of the error stand in its place.

This file is also run by a Python that has only the official 1.x release, so it imports nothing of the
project.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

OLD_SECTIONS = ("refs", "history", "documents", "values")
"""What an implementation of the 1.x API can tell."""

OUR_SECTIONS = (
    *OLD_SECTIONS,
    "chunks",
    "manifests",
    "config",
    "diffs",
    "updates",
    "administration",
    "node_ids",
    "kinds",
    "references",
)
"""What ours can tell; it grows with the API."""

SECTIONS = OUR_SECTIONS
"""What the official 2.x release can tell."""

CHUNK_KINDS = {0: "uninitialized", 1: "native", 2: "virtual", 3: "inline"}
"""Names of the numbers in the `kinds` column of `array_chunk_iterator`."""

RECTILINEAR = "rectilinear_chunks" in zarr.config.get("array")
"""Whether this zarr knows grids whose chunks differ in size."""

_MEMBERS = {
    "RepositoryConfig": (
        "inline_chunk_threshold_bytes",
        "get_partial_values_concurrency",
        "compression",
        "max_concurrent_requests",
        "max_concurrent_decodes",
        "caching",
        "storage",
        "virtual_chunk_containers",
        "manifest",
        "repo_update_retries",
        "num_updates_per_repo_info_file",
    ),
    "CompressionConfig": ("algorithm", "level"),
    "CachingConfig": (
        "num_snapshot_nodes",
        "num_chunk_refs",
        "num_transaction_changes",
        "num_bytes_attributes",
        "num_bytes_chunks",
    ),
    "ManifestConfig": (
        "preload",
        "splitting",
        "virtual_chunk_location_compression",
        "max_concurrent_manifest_fetches_during_commit",
    ),
    "ManifestPreloadConfig": ("max_total_refs", "preload_if", "max_arrays_to_scan"),
    "ManifestSplittingConfig": ("split_sizes",),
    "ManifestVirtualChunkLocationCompressionConfig": (
        "min_num_chunks",
        "dictionary_max_training_samples",
        "dictionary_max_size_bytes",
        "compression_level",
    ),
    "StorageSettings": (
        "concurrency",
        "retries",
        "timeouts",
        "unsafe_use_conditional_create",
        "unsafe_use_conditional_update",
        "unsafe_use_metadata",
        "storage_class",
        "metadata_storage_class",
        "chunks_storage_class",
        "minimum_size_for_multipart_upload",
    ),
    "StorageConcurrencySettings": ("max_concurrent_requests_for_object", "ideal_concurrent_request_size"),
    "StorageRetriesSettings": ("max_tries", "initial_backoff_ms", "max_backoff_ms"),
    "StorageTimeoutSettings": (
        "connect_timeout_ms",
        "read_timeout_ms",
        "operation_timeout_ms",
        "operation_attempt_timeout_ms",
    ),
    "RepoUpdateRetryConfig": ("default",),
    "VirtualChunkContainer": ("name", "url_prefix", "store"),
}
_MISSPELT = {
    "ManifestSplitDimCondition.axis(": "ManifestSplitDimCondition.Axis(",
    "ManifestSplitDimCondition.dimension_name(": "ManifestSplitDimCondition.DimensionName(",
    "ManifestSplitDimCondition.any()": "ManifestSplitDimCondition.Any()",
}
"""Constructors that the official implementation shows under names which it does not have."""
_UPDATE_MEMBERS = (
    "name",
    "branch",
    "previous_snap_id",
    "new_snap_id",
    "id",
    "new_value",
    "from_version",
    "to_version",
)
_DIFF_MEMBERS = (
    "new_groups",
    "new_arrays",
    "deleted_groups",
    "deleted_arrays",
    "updated_groups",
    "updated_arrays",
)
NO_CHANGES: dict[str, Any] = {**{name: [] for name in _DIFF_MEMBERS}, "updated_chunks": {}, "moved_nodes": []}
"""A `Diff` without any changes, as plain data."""


def describe(
    repository: Any,
    sections: Iterable[str] = SECTIONS,
    *,
    detached: Iterable[str] = (),
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Tell what is in a repository.

    Parameters
    ----------
    repository : Repository
        Of ours or of the official implementation.
    sections : iterable of str
        Some of `SECTIONS`.
    detached : iterable of str
        Ids of snapshots that no branch or tag leads to and that are described too.

    Returns
    -------
    description : dict
        By section; JSON would keep it as it is.
    values : dict of str to ndarray
        The array values that the description mentions by digest.
    """
    ids = [*_reachable(repository), *detached]
    values: dict[str, np.ndarray[Any, Any]] = {}
    description: dict[str, Any] = {}
    for section in sections:
        if section == "values":
            description[section] = {id_: _values(repository, id_, values) for id_ in ids}
        elif section in _PER_SNAPSHOT:
            description[section] = {id_: _PER_SNAPSHOT[section](repository, id_) for id_ in ids}
        else:
            description[section] = _OF_REPOSITORY[section](repository)
    return description, values


def plain(value: Any) -> Any:
    """Turn a configuration object, or what hangs below it, into plain data."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    members = _MEMBERS.get(type(value).__name__)
    if members is not None:
        return {name: plain(getattr(value, name)) for name in members if hasattr(value, name)}
    shown = repr(value).replace("CompressionAlgorithm.", "").removeprefix("icechunk.config.")
    for wrong, right in _MISSPELT.items():
        shown = shown.replace(wrong, right)
    return shown


def error_of(error: BaseException) -> list[str]:
    """The part of an error on which implementations agree."""
    return [type(error).__name__, str(getattr(error, "kind", ""))]


def array_paths(store: Any) -> dict[str, dict[str, Any]]:
    """The zarr documents of all nodes by path, in the order of the paths."""
    documents = asyncio.run(_documents(store))
    return {path: documents[path] for path in sorted(documents)}


@contextlib.contextmanager
def rectilinear_grids() -> Iterator[None]:
    """Switch zarr's support of uneven chunk grids on, where it has any."""
    if not RECTILINEAR:
        yield
        return
    with zarr.config.set({"array.rectilinear_chunks": True}):
        yield


def _reachable(repository: Any) -> list[str]:
    """Ids of all snapshots that a branch or tag leads to."""
    seen: dict[str, None] = {}
    for branch in sorted(repository.list_branches()):
        seen.update((info.id, None) for info in repository.ancestry(branch=branch))
    for tag in sorted(repository.list_tags()):
        seen.update((info.id, None) for info in repository.ancestry(tag=tag))
    return list(seen)


def _refs(repository: Any) -> dict[str, Any]:
    return {
        "branches": {name: repository.lookup_branch(name) for name in sorted(repository.list_branches())},
        "tags": {name: repository.lookup_tag(name) for name in sorted(repository.list_tags())},
    }


def _history(repository: Any) -> dict[str, Any]:
    history = {
        f"branch {name}": [_info(info) for info in repository.ancestry(branch=name)]
        for name in sorted(repository.list_branches())
    }
    for name in sorted(repository.list_tags()):
        history[f"tag {name}"] = [_info(info) for info in repository.ancestry(tag=name)]
    return history


def _info(info: Any) -> dict[str, Any]:
    return {
        "id": info.id,
        "parent_id": info.parent_id,
        "written_at": _instant(info.written_at),
        "message": info.message,
        "metadata": info.metadata,
    }


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _node_documents(repository: Any, snapshot_id: str) -> dict[str, Any]:
    return array_paths(repository.readonly_session(snapshot_id=snapshot_id).store)


def _node_ids(repository: Any, snapshot_id: str) -> dict[str, str]:
    session = repository.readonly_session(snapshot_id=snapshot_id)
    return {path: session.get_node_id(f"/{path}") for path in array_paths(session.store)}


def _values(repository: Any, snapshot_id: str, values: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """What zarr reads of each array: a digest, or the error."""
    store = repository.readonly_session(snapshot_id=snapshot_id).store
    read: dict[str, Any] = {}
    for path, document in array_paths(store).items():
        if document["node_type"] != "array":
            continue
        if document["chunk_grid"]["name"] == "rectilinear" and not RECTILINEAR:
            continue
        with rectilinear_grids():
            try:
                value = np.asarray(zarr.open_array(store, path=path, mode="r")[...])
            except Exception as error:  # the error is the answer
                read[path] = error_of(error)
                continue
        digest = f"{value.dtype.str}{list(value.shape)} {hashlib.sha256(value.tobytes()).hexdigest()[:16]}"
        values[digest] = value
        read[path] = digest
    return read


def _chunks(repository: Any, snapshot_id: str) -> dict[str, Any]:
    """Size and digest of the bytes of every chunk key in the listing."""
    return asyncio.run(_stored_chunks(repository.readonly_session(snapshot_id=snapshot_id).store))


async def _stored_chunks(store: Any) -> dict[str, Any]:
    chunks: dict[str, Any] = {}
    for key in await _chunk_keys(store):
        described: dict[str, Any] = {"size": await store.getsize(key)}
        try:
            value = await store.get(key, default_buffer_prototype())
        except Exception as error:  # the error is the answer
            described["error"] = error_of(error)
        else:
            described["digest"] = hashlib.sha256(value.to_bytes()).hexdigest()[:16]
        chunks[key] = described
    return chunks


async def _chunk_keys(store: Any) -> list[str]:
    keys = [key async for key in store.list_prefix("")]
    return sorted(key for key in keys if not key.endswith("zarr.json"))


def _kinds(repository: Any, snapshot_id: str) -> dict[str, str]:
    """Kind of every chunk key in the listing."""
    session = repository.readonly_session(snapshot_id=snapshot_id)
    kinds = {}
    for key in asyncio.run(_chunk_keys(session.store)):
        path, coordinates = split_chunk_key(key)
        kinds[key] = str(session.chunk_type(f"/{path}", coordinates)).rpartition(".")[2]
    return kinds


def split_chunk_key(key: str) -> tuple[str, list[int]]:
    """Path and coordinates of a chunk key as zarr spells it."""
    parts = key.split("/")
    position = len(parts) - 1 - parts[::-1].index("c")
    return "/".join(parts[:position]), [int(part) for part in parts[position + 1 :]]


async def _documents(store: Any) -> dict[str, dict[str, Any]]:
    documents = {}
    keys = [key async for key in store.list_prefix("")]
    for key in keys:
        if key == "zarr.json" or key.endswith("/zarr.json"):
            value = await store.get(key, default_buffer_prototype())
            documents[key.removesuffix("zarr.json").removesuffix("/")] = json.loads(value.to_bytes())
    return documents


def _references(repository: Any, snapshot_id: str) -> dict[str, Any]:
    """The columns that readers of virtual data sets take, array by array."""
    session = repository.readonly_session(snapshot_id=snapshot_id)
    return asyncio.run(_columns(session))


async def _columns(session: Any) -> dict[str, Any]:
    documents = await _documents(session.store)
    arrays = {}
    for path in sorted(documents):
        if documents[path]["node_type"] != "array":
            continue
        rows = []
        async for coords, kinds, places, offsets, lengths, inlined in session.store.array_chunk_iterator(
            path
        ):
            for row, coordinates in enumerate(coords.tolist()):
                inline = inlined[row].hex()[:32] if row in inlined else None
                kind = CHUNK_KINDS[int(kinds[row])]
                rows.append([coordinates, kind, places[row], int(offsets[row]), int(lengths[row]), inline])
        arrays[path] = sorted(rows, key=lambda row: row[0])
    return {"arrays": arrays, "locations": sorted(await session.all_virtual_chunk_locations_async())}


def _manifests(repository: Any, snapshot_id: str) -> list[list[Any]]:
    files = repository.list_manifest_files(snapshot_id)
    return sorted([file.id, file.size_bytes, file.num_chunk_refs] for file in files)


def _diffs(repository: Any) -> dict[str, Any]:
    """Each step of each branch, and the whole way."""
    diffs: dict[str, Any] = {}
    for branch in sorted(repository.list_branches()):
        ids = [info.id for info in repository.ancestry(branch=branch)]
        steps = [*itertools.pairwise(ids), (ids[0], ids[-1])] if len(ids) > 1 else []
        for newer, older in steps:
            key = f"{older}..{newer}"
            if key not in diffs:
                diffs[key] = diff_of(repository.diff(from_snapshot_id=older, to_snapshot_id=newer))
    return diffs


def diff_of(diff: Any) -> dict[str, Any]:
    """A `Diff` as plain data."""
    described: dict[str, Any] = {name: sorted(getattr(diff, name)) for name in _DIFF_MEMBERS}
    described["updated_chunks"] = {
        path: sorted(list(coordinates) for coordinates in chunks)
        for path, chunks in sorted(diff.updated_chunks.items())
    }
    described["moved_nodes"] = [list(move) for move in diff.moved_nodes]
    return described


def updates_of(repository: Any) -> list[dict[str, Any]]:
    """The log of operations as plain data, newest first."""
    if repository.spec_version == 1:
        return []
    return [
        {
            "kind": type(update.kind).__name__.rpartition("_")[2],
            "of": {
                name: plain(getattr(update.kind, name))
                for name in _UPDATE_MEMBERS
                if hasattr(update.kind, name)
            },
            "updated_at": _instant(update.updated_at),
            "backup_path": update.backup_path,
        }
        for update in repository.ops_log()
    ]


def _config(repository: Any) -> dict[str, Any]:
    return {"spec_version": int(repository.spec_version), "config": plain(repository.config)}


def _administration(repository: Any) -> dict[str, Any]:
    if repository.spec_version == 1:
        return {}
    status = repository.get_status()
    return {
        "metadata": repository.get_metadata(),
        "status": [
            str(status.availability).rpartition(".")[2].lower().replace("_", ""),
            _instant(status.set_at),
            status.limited_availability_reason,
        ],
        "flags": sorted(
            [flag.id, flag.name, flag.default_enabled, flag.setting, flag.enabled]
            for flag in repository.feature_flags()
        ),
    }


_PER_SNAPSHOT: dict[str, Callable[[Any, str], Any]] = {
    "documents": _node_documents,
    "node_ids": _node_ids,
    "chunks": _chunks,
    "kinds": _kinds,
    "references": _references,
    "manifests": _manifests,
}
_OF_REPOSITORY: dict[str, Callable[[Any], Any]] = {
    "refs": _refs,
    "history": _history,
    "diffs": _diffs,
    "updates": updates_of,
    "config": _config,
    "administration": _administration,
}
