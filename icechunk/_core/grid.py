"""What the model reads in a `zarr.json`: the kind of node, and an array's chunk grid.

The document itself is stored verbatim as the user data of its node. Only these
members are looked at::

    node_type         "array" or "group"
    shape             list of lengths, 0 .. 2**64 - 1         (arrays)
    dimension_names   list of strings and nulls, optional     (arrays)
    chunk_grid        {"name": ..., "configuration": {...}}   (arrays)
      "regular"       {"chunk_shape": [length, ...]}
      "rectilinear"   {"chunk_shapes": [[length | [length, count], ...], ...]}   (from spec 2 on)

A dimension has ``ceil(length / chunk length)`` chunks, none if the chunk length is 0;
on a rectilinear grid as many as its list spells. Chunks are counted in 32 bits.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Struct, UnsetType

from icechunk._core.arguments import is_unicode
from icechunk._exceptions import ErrorKind, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icechunk._core.paths import Coordinates
    from icechunk._format.snapshot import DimensionShape

MAX_CHUNKS_PER_DIMENSION = 2**32 - 1
"""The largest grid along one dimension that 32 bit coordinates reach."""

_MAX_LENGTH = 2**64 - 1


class GroupDocument(Struct, frozen=True):
    """The metadata of a group: nothing of it matters here."""


class ArrayDocument(Struct, frozen=True):
    """The metadata of an array, as far as the model needs it."""

    shape: tuple[int, ...]
    num_chunks: tuple[int, ...]
    """Number of chunks along each dimension."""
    dimension_names: tuple[str | None, ...] | None
    """One name or None per dimension; None if the document has no names at all."""
    grid: str
    """Name of the chunk grid: "regular" or "rectilinear"."""


NodeDocument = GroupDocument | ArrayDocument


class _Configuration(Struct):
    chunk_shape: list[int] | UnsetType = UNSET
    chunk_shapes: list[list[int | tuple[int, int]]] | UnsetType = UNSET


class _ChunkGrid(Struct):
    name: str
    configuration: _Configuration


class _Group(Struct, tag_field="node_type", tag="group"):
    pass


class _Array(Struct, tag_field="node_type", tag="array"):
    shape: list[int]
    chunk_grid: _ChunkGrid
    dimension_names: list[str | None] | None = None


_DECODER: msgspec.json.Decoder[_Group | _Array] = msgspec.json.Decoder(_Group | _Array)


def parse_node_document(data: bytes, spec_version: int) -> NodeDocument:
    """Read a `zarr.json`.

    Raises
    ------
    InvalidInputError
        Kind `bad-metadata`: not JSON, a member is missing or of the wrong type, the
        chunk grid is not known or does not fit the shape.
    """
    node = _decode(data)
    if isinstance(node, _Group):
        return GroupDocument()
    _check_lengths("shape", node.shape)
    return ArrayDocument(
        shape=tuple(node.shape),
        num_chunks=_count_chunks(node, spec_version),
        dimension_names=_dimension_names(node),
        grid=node.chunk_grid.name,
    )


def in_grid(path: str, coordinates: Coordinates, shape: Sequence[DimensionShape]) -> bool:
    """Whether the array at a path can have a chunk at some coordinates.

    Raises
    ------
    InvalidInputError
        Kind `invalid-chunk-index`: more coordinates than dimensions, or fewer.
    """
    if len(coordinates) != len(shape):
        raise InvalidInputError(
            f"the chunk {list(coordinates)} of `{path}` needs {len(shape)} coordinates, one per dimension",
            ErrorKind.INVALID_CHUNK_INDEX,
        )
    # A plain loop: it runs for every chunk, and a generator would cost as much again.
    for index, dimension in zip(coordinates, shape, strict=True):  # noqa: SIM110
        if not 0 <= index < dimension.num_chunks:
            return False
    return True


def _decode(data: bytes) -> _Group | _Array:
    try:
        return _DECODER.decode(data)
    except msgspec.ValidationError as error:
        raise _bad_metadata(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        # Some writers spell a fill value as the bare word NaN or Infinity, which is no JSON.
        # The standard parser reads it; whatever it refuses as well is broken indeed.
        try:
            lenient: _Group | _Array = msgspec.convert(json.loads(str(data, "utf-8")), _Group | _Array)
        except msgspec.ValidationError as invalid:
            raise _bad_metadata(str(invalid)) from invalid
        except (ValueError, RecursionError):
            raise _bad_metadata(str(error)) from error
        return lenient


def _count_chunks(node: _Array, spec_version: int) -> tuple[int, ...]:
    grid = node.chunk_grid
    if grid.name == "regular":
        counts = _regular(grid.configuration, node.shape)
    elif grid.name == "rectilinear":
        counts = _rectilinear(grid.configuration, spec_version)
    else:
        raise _bad_metadata(
            f"chunk grid `{grid.name}` is not supported, only `regular` and `rectilinear` are"
        )
    if len(counts) != len(node.shape):
        raise _bad_metadata(f"the chunk grid has {len(counts)} dimensions, `shape` has {len(node.shape)}")
    for dimension, count in enumerate(counts):
        if count > MAX_CHUNKS_PER_DIMENSION:
            raise _bad_metadata(
                f"dimension {dimension} has {count} chunks, "
                f"more than the {MAX_CHUNKS_PER_DIMENSION} that can be addressed; use larger chunks"
            )
    return tuple(counts)


def _regular(configuration: _Configuration, shape: list[int]) -> list[int]:
    chunk_shape = configuration.chunk_shape
    if chunk_shape is UNSET:
        raise _bad_metadata("the configuration of the regular chunk grid has no `chunk_shape`")
    _check_lengths("chunk_shape", chunk_shape)
    if len(chunk_shape) != len(shape):
        raise _bad_metadata(f"`chunk_shape` has {len(chunk_shape)} dimensions, `shape` has {len(shape)}")
    return [-(-length // size) if size else 0 for length, size in zip(shape, chunk_shape, strict=True)]


def _rectilinear(configuration: _Configuration, spec_version: int) -> list[int]:
    if spec_version < 2:
        raise _bad_metadata(
            "chunk grid `rectilinear` needs a repository of spec version 2, this one has version 1"
        )
    chunk_shapes = configuration.chunk_shapes
    if chunk_shapes is UNSET:
        raise _bad_metadata("the configuration of the rectilinear chunk grid has no `chunk_shapes`")
    counts = []
    for dimension in chunk_shapes:
        _check_lengths("chunk_shapes", [size if isinstance(size, int) else min(size) for size in dimension])
        counts.append(sum([1 if isinstance(size, int) else size[1] for size in dimension]))
    return counts


def _dimension_names(node: _Array) -> tuple[str | None, ...] | None:
    """The names, one a dimension: an empty one is none, missing ones are none."""
    if node.dimension_names is None:
        return None
    names = [name or None for name in node.dimension_names[: len(node.shape)]]
    for name in names:
        if name is not None and not is_unicode(name):
            raise _bad_metadata(f"the dimension name {name!a} is not valid Unicode")
    return (*names, *[None] * (len(node.shape) - len(names)))


def _check_lengths(member: str, lengths: list[int]) -> None:
    if lengths and not (min(lengths) >= 0 and max(lengths) <= _MAX_LENGTH):
        raise _bad_metadata(f"`{member}` must hold lengths between 0 and {_MAX_LENGTH}, not {lengths}")


def _bad_metadata(reason: str) -> InvalidInputError:
    return InvalidInputError(f"bad metadata: {reason}", ErrorKind.BAD_METADATA)
