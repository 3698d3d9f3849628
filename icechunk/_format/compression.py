"""Zstandard: whole files, and single locations with a shared dictionary.

Everything that comes from storage is unpacked with a cap on the result, so that
a few forged bytes cannot claim the memory of the machine.
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING

from icechunk._exceptions import ErrorKind, FormatError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icechunk._format.flatbuffers import Data

MAX_PAYLOAD_SIZE = 2**31 - 1
"""Bytes that one file may unpack to: more cannot be addressed by a FlatBuffer."""

MAX_LOCATION_SIZE = 1024
"""Bytes that one compressed location may unpack to."""

DEFAULT_LEVEL = 3

_SMALL = 1 << 16
_MOST_IDLE = 4
_STEP = 256 << 10
"""Unpacked at a time: no more than the cache of a processor holds, since it is copied at once."""

_REMEMBERED = 4096
_LEVEL = zstd.CompressionParameter.compression_level
_BOUNDS = _LEVEL.bounds()
_LARGE = 16 << 20
_WORKERS = zstd.CompressionParameter.nb_workers
_TWO_WORKERS: dict[int, int] = {_WORKERS: 2, zstd.CompressionParameter.job_size: _LARGE // 4}
_IN_PARALLEL: dict[int, int] = _TWO_WORKERS if _WORKERS.bounds()[1] > 1 else {}
"""How large payloads are packed: a commit waits for that, and has nothing else to do meanwhile.

Zstandard may have been built without threads.
"""


_idle: dict[int, list[zstd.ZstdCompressor]] = {}
"""By level, packers that nobody uses at the moment."""


def compress(data: Data, level: int = DEFAULT_LEVEL) -> bytes:
    """Pack `data` into one frame; a level out of zstd's range means the nearest one in it."""
    level = _clamp(level)
    if len(data) > _LARGE:
        return zstd.compress(data, options={_LEVEL: level, **_IN_PARALLEL})
    if len(data) > _SMALL:
        return zstd.compress(data, level)
    # To set up a packer takes longer than to pack a few hundred bytes.
    idle = _idle.setdefault(level, [])
    try:
        packer = idle.pop()
    except IndexError:
        packer = zstd.ZstdCompressor(level)
    packed = packer.compress(data, packer.FLUSH_FRAME)
    if len(idle) < _MOST_IDLE:
        idle.append(packer)
    return packed


def decompress(data: Data, name: str, max_size: int = MAX_PAYLOAD_SIZE) -> bytes:
    """Unpack one frame, or several in a row, into at most `max_size` bytes.

    Parameters
    ----------
    data : bytes-like
        Nothing but whole frames.
    name : str
        The object that the bytes came from, for the error.
    max_size : int, optional
        Largest acceptable result, in bytes.

    Raises
    ------
    FormatError
        Kind `invalid-file-format`: no frame, a cut or damaged one, or one that holds too much.
    """
    # Growing a BytesIO step by step peaks at little more than the result; asking
    # zstd for everything at once would gather it in blocks and then copy them.
    unpacked = BytesIO()
    rest = memoryview(data)
    try:
        while True:
            size = zstd.get_frame_size(rest)
            _unpack_frame(rest[:size], unpacked, name, max_size)
            rest = rest[size:]
            if not rest:
                return unpacked.getvalue()
    except zstd.ZstdError as error:
        raise _damaged(name, str(error)) from error


def _unpack_frame(frame: memoryview, unpacked: BytesIO, name: str, max_size: int) -> None:
    unpacker = zstd.ZstdDecompressor()
    pending: Data = frame
    while not unpacker.eof:
        if not pending and unpacker.needs_input:
            raise _damaged(name, "the compressed data ends too early")
        piece = unpacker.decompress(pending, _STEP)
        pending = b""
        if unpacked.tell() + len(piece) > max_size:
            raise _damaged(name, f"it unpacks to more than {max_size} bytes")
        unpacked.write(piece)


class LocationDictionary:
    """A zstd dictionary that many short locations are packed with.

    Parameters
    ----------
    content : bytes
        A dictionary in zstd's own format.
    name : str
        The object that it came from, for errors.

    Raises
    ------
    FormatError
        Kind `invalid-file-format`: the bytes are no dictionary.
    """

    __slots__ = ("_dictionary", "_known", "content", "name")

    def __init__(self, content: bytes, name: str) -> None:
        self.content = content
        self.name = name
        self._known: dict[bytes, bytes] = {}
        try:
            self._dictionary = zstd.ZstdDict(content)
        except (zstd.ZstdError, ValueError) as error:
            raise _damaged(name, f"its location dictionary is not valid: {error}") from error

    def __reduce__(self) -> tuple[type[LocationDictionary], tuple[bytes, str]]:
        return LocationDictionary, (self.content, self.name)

    def unpack(self, frame: bytes) -> bytes:
        """The location in one frame.

        Zstd takes 20 µs even for a short one, and many chunks lie in one file: the last few
        thousand answers are remembered.

        Raises
        ------
        FormatError
            Kind `invalid-file-format`: damaged, made with another dictionary, or longer than
            `MAX_LOCATION_SIZE`.
        """
        known = self._known.get(frame)
        if known is not None:
            return known
        try:
            unpacker = zstd.ZstdDecompressor(self._dictionary)
            location = unpacker.decompress(frame, MAX_LOCATION_SIZE + 1)
        except zstd.ZstdError as error:
            raise _damaged(self.name, f"a compressed location cannot be read: {error}") from error
        if len(location) > MAX_LOCATION_SIZE:
            raise _damaged(self.name, f"a location unpacks to more than {MAX_LOCATION_SIZE} bytes")
        if not unpacker.eof:
            raise _damaged(self.name, "a compressed location is cut")
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[frame] = location
        return location

    def pack(self, locations: Sequence[bytes], level: int = DEFAULT_LEVEL) -> list[bytes]:
        """One frame for each location; none may be longer than `MAX_LOCATION_SIZE`."""
        packer = zstd.ZstdCompressor(_clamp(level), zstd_dict=self._dictionary)
        return [packer.compress(location, packer.FLUSH_FRAME) for location in locations]


def train_dictionary(samples: Sequence[bytes], max_size: int) -> bytes | None:
    """A dictionary of at most `max_size` bytes for texts like the samples, None if they do not suit."""
    samples = [sample for sample in samples if sample]
    total = sum(map(len, samples))
    # The trainer refuses short samples, and wants several times the size of its result.
    if not total or 2 * sum(len(sample) < 8 for sample in samples) >= len(samples):
        return None
    if total < max_size:
        samples = samples * (max_size // total + 2)
    try:
        return zstd.train_dict(samples, max_size).dict_content
    except (zstd.ZstdError, ValueError):
        return None


def _clamp(level: int) -> int:
    return min(max(level, _BOUNDS[0]), _BOUNDS[1])


def _damaged(name: str, reason: str) -> FormatError:
    return FormatError(f"cannot read {name}: {reason}", ErrorKind.INVALID_FILE_FORMAT)
