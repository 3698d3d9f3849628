"""The part of a value that a zarr byte request asks for.

Requests are clamped to the value, as zarr's own stores do: a range may end past
the end, a suffix may be longer than the value, and what lies outside is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

from icechunk._exceptions import ErrorKind, InvalidInputError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest


def resolve_range(request: ByteRequest | None, length: int) -> tuple[int, int]:
    """Start and end of the bytes asked for, in a value of `length` bytes.

    Raises
    ------
    InvalidInputError
        Kind `invalid-byte-range`: a negative bound, or a range that ends before it starts.

    Examples
    --------
    >>> resolve_range(RangeByteRequest(2, 20), 10), resolve_range(SuffixByteRequest(3), 10)
    ((2, 10), (7, 10))
    """
    if request is None:
        return 0, length
    if isinstance(request, RangeByteRequest):
        start, end = request.start, request.end
    elif isinstance(request, OffsetByteRequest):
        start, end = request.offset, max(length, request.offset)
    elif isinstance(request, SuffixByteRequest):
        if request.suffix < 0:
            raise _invalid(request)
        start, end = max(length - request.suffix, 0), length
    else:
        raise InvalidInputError(f"Unexpected byte_range, got {request!r}", ErrorKind.INVALID_BYTE_RANGE)
    if start < 0 or end < start:
        raise _invalid(request)
    return min(start, length), min(end, length)


def _invalid(request: ByteRequest) -> InvalidInputError:
    return InvalidInputError(f"invalid byte range: {request}", ErrorKind.INVALID_BYTE_RANGE)
