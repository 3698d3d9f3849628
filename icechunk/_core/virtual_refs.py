"""Virtual references as users give them: checked, and turned into columns.

A location is looked at once, however many chunks refer to it, and nothing is made per chunk but a row.
Which locations are fine is decided before anything is recorded: one that is no URL is an error, one that
no container serves is rejected, and its references are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from icechunk._core.arguments import is_unicode
from icechunk._core.locations import is_stored_verbatim, parse_location
from icechunk._core.paths import node_path
from icechunk._exceptions import ErrorKind, InvalidInputError
from icechunk._format.chunk_refs import ChunkRefs
from icechunk._setting import AwareTime, Integers
from icechunk.virtual import VirtualChunkSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from icechunk._core.locations import Containers

_REJECTED, _ABSENT = -1, -2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_U32 = Integers(0, 2**32 - 1, optional=False)
_SECONDS = Integers(1, 2**32 - 1, optional=False)
_TIME = AwareTime()


class Given(NamedTuple):
    """References that a user gave for one array.

    Attributes
    ----------
    references : ChunkRefs
        Those to be stored. Whether they are inside the grid is not known yet.
    rejected : list of tuple of int
        Coordinates of those that may not be stored.
    reason : str
        What is wrong with the first rejected one.
    """

    references: ChunkRefs
    rejected: list[tuple[int, ...]]
    reason: str


class _Numbered(NamedTuple):
    """Locations as they are stored, each once, and the number of every one given, or what became of it."""

    stored: list[str]
    which: NDArray[np.int64]
    reason: str


def array_path(path: str) -> str:
    """The canonical path of an array whose path may be given without the leading slash."""
    if not isinstance(path, str):
        raise TypeError(f"array_path must be a str, not {path!r}")
    return node_path(path if path.startswith("/") else f"/{path}")


def checksum_fields(checksum: str | datetime | None) -> tuple[str | None, int | None]:
    """The etag or the second of the last modification that a checksum stands for.

    Raises
    ------
    TypeError
        It is neither text nor a time with a time zone.
    InvalidInputError
        Kind `invalid-virtual-ref`: an empty etag, which would be no condition at all, or one that is not
        valid Unicode.
    OverflowError
        The time does not fit the format.
    """
    if checksum is None:
        return None, None
    if isinstance(checksum, str):
        if not checksum:
            raise InvalidInputError(
                "an etag cannot be empty: give None to read the chunk whatever the file is",
                ErrorKind.INVALID_VIRTUAL_REF,
            )
        if not is_unicode(checksum):
            raise InvalidInputError(
                f"the etag {checksum!a} is not valid Unicode", ErrorKind.INVALID_VIRTUAL_REF
            )
        return checksum, None
    if not isinstance(checksum, datetime):
        raise TypeError(f"checksum must be an etag (str) or a datetime, not {checksum!r}")
    moment = _TIME("checksum", checksum)
    assert moment is not None
    return None, _SECONDS("seconds of the checksum since 1970", (moment - _EPOCH) // timedelta(seconds=1))


def references_of_specs(
    path: str, ndim: int, specs: Sequence[VirtualChunkSpec], containers: Containers | None
) -> Given:
    """What `VirtualChunkSpec` objects say of an array at a path.

    `containers` are those that locations must belong to; None takes any location.

    Raises
    ------
    TypeError
        Not a sequence of `VirtualChunkSpec`.
    InvalidInputError
        Kind `invalid-virtual-ref`, `zero-length-chunk`, or `invalid-chunk-index` for a wrong number of
        coordinates.
    OverflowError
        A time does not fit the format.
    """
    if isinstance(specs, str | Mapping) or not isinstance(specs, Sequence):
        raise TypeError(f"chunks must be a list of VirtualChunkSpec, not {type(specs).__name__}")
    for spec in specs:
        if not isinstance(spec, VirtualChunkSpec):
            raise TypeError(f"chunks must be a list of VirtualChunkSpec, and {spec!r} is none")
        if len(spec.index) != ndim:
            raise _wrong_count(path, spec.index, ndim)
    locations = _number([spec.location for spec in specs], containers, may_be_absent=False)
    count = len(specs)
    # Of two checksums the etag counts, as in a manifest.
    checks = [checksum_fields(_checksum_of(spec)) for spec in specs]
    etags = {"": 0}
    which_etag = [etags.setdefault(etag or "", len(etags)) for etag, _ in checks]
    return _checked(
        path,
        locations,
        np.array([spec.index for spec in specs], np.uint32).reshape(count, ndim),
        np.fromiter([spec.offset for spec in specs], np.uint64, count),
        np.fromiter([spec.length for spec in specs], np.uint64, count),
        list(etags) if len(etags) > 1 else [],
        np.array(which_etag, np.int64),
        np.fromiter([seconds or 0 for _, seconds in checks], np.uint32, count),
    )


def references_of_columns(
    path: str,
    ndim: int,
    chunk_grid_shape: Iterable[int],
    locations: Sequence[str],
    offsets: ArrayLike,
    lengths: ArrayLike,
    arr_offset: Iterable[int] | None,
    checksum: str | datetime | None,
    containers: Containers | None,
) -> Given:
    """What flat columns say of a box of an array's chunks, in C order; an empty location is no reference.

    Raises
    ------
    ValueError
        Sizes do not fit together.
    TypeError, OverflowError
        An argument has the wrong type, or does not fit the format.
    InvalidInputError
        As for `references_of_specs`.
    """
    shape = tuple([_U32("chunk_grid_shape", size) for size in chunk_grid_shape])
    low = (0,) * len(shape) if arr_offset is None else tuple([_U32("arr_offset", at) for at in arr_offset])
    texts = _texts(locations)
    columns = _unsigned("offsets", offsets), _unsigned("lengths", lengths)
    if len(low) != len(shape):
        raise ValueError(f"arr_offset has {len(low)} numbers, chunk_grid_shape has {len(shape)}")
    if not len(texts) == len(columns[0]) == len(columns[1]):
        raise ValueError(
            "locations, offsets, and lengths must have the same length, not "
            f"{len(texts)}, {len(columns[0])} and {len(columns[1])}"
        )
    if prod(shape) != len(texts):
        raise ValueError(
            f"chunk_grid_shape {shape} is of {prod(shape)} chunks, but there are {len(texts)} locations"
        )
    if len(shape) != ndim:
        raise _wrong_count(path, shape, ndim)
    etag, seconds = checksum_fields(checksum)
    numbered = _number(texts, containers, may_be_absent=True)
    return _checked(
        path,
        numbered,
        _box(path, low, shape),
        *columns,
        [etag] if etag else [],
        0,
        seconds or 0,
    )


def _checksum_of(spec: VirtualChunkSpec) -> str | datetime | None:
    return spec.last_updated_at_checksum if spec.etag_checksum is None else spec.etag_checksum


def _number(locations: Sequence[Any], containers: Containers | None, *, may_be_absent: bool) -> _Numbered:
    distinct = dict.fromkeys(locations)
    kinds = {type(location).__name__ for location in distinct if not isinstance(location, str)}
    if kinds:
        raise TypeError(f"locations must be str, not {' or '.join(sorted(kinds))}")
    is_fine = is_stored_verbatim if containers is None else containers.verbatim_test()
    reason = ""
    if all(map(is_fine, distinct)):
        stored = list(distinct)
        if len(stored) == len(locations):
            return _Numbered(stored, np.arange(len(stored)), reason)
        numbers = dict(zip(stored, range(len(stored)), strict=True))
    else:
        numbers, stored, reason = _verdicts(distinct, containers, may_be_absent=may_be_absent)
    which = np.fromiter(map(numbers.__getitem__, locations), np.int64, len(locations))
    return _Numbered(stored, which, reason)


def _verdicts(
    locations: Iterable[str], containers: Containers | None, *, may_be_absent: bool
) -> tuple[dict[str, int], list[str], str]:
    """Number locations, each the long way; the numbers, what is stored, why the first one is rejected."""
    numbers: dict[str, int] = {}
    stored: list[str] = []
    reason = ""
    for location in locations:
        if may_be_absent and not location:
            numbers[location] = _ABSENT
            continue
        stored_as = parse_location(location)
        try:
            if containers is not None:
                containers.check(stored_as)
        except InvalidInputError as error:
            numbers[location] = _REJECTED
            reason = reason or error.message
        else:
            numbers[location] = len(stored)
            stored.append(stored_as)
    return numbers, stored, reason


def _checked(
    path: str,
    locations: _Numbered,
    coords: NDArray[np.uint32],
    offsets: NDArray[np.uint64],
    lengths: NDArray[np.uint64],
    etags: Sequence[str],
    which_etag: NDArray[np.int64] | int,
    last_modified: ArrayLike,
) -> Given:
    """The columns without the references that are absent or rejected."""
    which = locations.which
    rejected: list[tuple[int, ...]] = []
    if len(which) and which.min() < 0:
        rejected = list(map(tuple, coords[which == _REJECTED].tolist()))
        kept = which >= 0
        which_etag = np.broadcast_to(which_etag, which.shape)[kept]
        last_modified = np.broadcast_to(last_modified, which.shape)[kept]
        coords, which, offsets, lengths = coords[kept], which[kept], offsets[kept], lengths[kept]
    if len(lengths) and not lengths.all():
        at = coords[int(np.argmin(lengths != 0))].tolist()
        raise InvalidInputError(
            f"the virtual chunk {at} of `{path}` has no bytes: a chunk cannot be empty",
            ErrorKind.ZERO_LENGTH_CHUNK,
        )
    references = ChunkRefs.from_locations(
        coords,
        locations.stored,
        which,
        offsets,
        lengths,
        etags=etags,
        which_etag=which_etag,
        last_modified=last_modified,
    )
    return Given(references, rejected, locations.reason)


def _texts(locations: Any) -> Sequence[Any]:
    if isinstance(locations, np.ndarray):
        return locations.ravel().tolist()
    if isinstance(locations, str) or not isinstance(locations, Sequence):
        raise TypeError(f"locations must be a list of str, not {type(locations).__name__}")
    return locations


def _unsigned(name: str, values: Any) -> NDArray[np.uint64]:
    """A column of numbers that are not negative."""
    column = np.asarray(values)
    if column.ndim != 1 or (column.dtype.kind not in "iu" and len(column)):
        raise TypeError(f"{name} must be a 1-D array of uint64, not {column.ndim}-D of {column.dtype}")
    if column.dtype.kind == "i" and len(column) and column.min() < 0:
        raise OverflowError(f"{name} must not be negative, and {column.min()} is")
    return column.astype(np.uint64, copy=False)


def _box(path: str, low: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """The coordinates of a box in C order: uint32 of shape (n, ndim)."""
    ndim = len(shape)
    for first, size in zip(low, shape, strict=True):
        if first + size > 2**32:
            raise InvalidInputError(
                f"the chunks from {list(low)} to {[a + b - 1 for a, b in zip(low, shape, strict=True)]} are "
                f"outside the chunk grid of `{path}`",
                ErrorKind.INVALID_CHUNK_INDEX,
            )
    box = np.empty((*shape, ndim), np.uint32)
    for axis, (first, size) in enumerate(zip(low, shape, strict=True)):
        along = np.arange(first, first + size, dtype=np.uint32)
        box[..., axis] = along.reshape(-1, *[1] * (ndim - axis - 1))
    return box.reshape(prod(shape), ndim)


def _wrong_count(path: str, coordinates: Sequence[int], ndim: int) -> InvalidInputError:
    return InvalidInputError(
        f"{list(coordinates)} has {len(coordinates)} numbers, but the chunks of `{path}` have {ndim} "
        "coordinates, one per dimension",
        ErrorKind.INVALID_CHUNK_INDEX,
    )
