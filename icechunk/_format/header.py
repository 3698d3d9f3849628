"""The envelope of every metadata file.

Snapshots, manifests, transaction logs and the repo object are stored as 39
bytes of header and then one zstd frame that holds a FlatBuffer::

    offset  size  content
         0    12  magic: "ICE", the ice cube U+1F9CA as UTF-8, "CHUNK"
        12    24  who wrote the file, ASCII, padded with spaces
        36     1  spec version: 1 or 2 (2.1 writes 2 as well)
        37     1  kind of file, see `FileType`
        38     1  compression: 1, zstd

Files without compression (0) are not supported, as in the official
implementation. Chunk files have no envelope.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.compression import DEFAULT_LEVEL, MAX_PAYLOAD_SIZE, compress, decompress
from icechunk._version import __version__

if TYPE_CHECKING:
    from icechunk._format.flatbuffers import Data

IMPLEMENTATION = f"icechunk-python-{__version__}"
"""What our files say about who wrote them; at most 24 characters."""

HEADER_SIZE = 39

_MAGIC = "ICE\N{ICE CUBE}CHUNK".encode()
_WRITER = slice(12, 36)
_SPEC_VERSIONS = (1, 2)
_ZSTD = 1


class FileType(IntEnum):
    """The kinds of metadata files, with the numbers that stand for them in the header."""

    SNAPSHOT = 1
    MANIFEST = 2
    TRANSACTION_LOG = 4
    REPO_INFO = 6

    @property
    def label(self) -> str:
        """The kind as `inspect` and object metadata spell it, such as ``transaction-log``."""
        return self.name.lower().replace("_", "-")


class Unwrapped(msgspec.Struct, frozen=True):
    """A metadata file out of its envelope."""

    payload: bytes
    spec_version: int
    written_by: str


def wrap(payload: Data, file_type: FileType, spec_version: int, level: int = DEFAULT_LEVEL) -> bytes:
    """Put a FlatBuffer into its envelope.

    Parameters
    ----------
    payload : bytes-like
        The finished FlatBuffer.
    file_type : FileType
    spec_version : int
        1 or 2.
    level : int, optional
        Compression level of zstd.

    Returns
    -------
    bytes
        The whole file.
    """
    writer = IMPLEMENTATION.encode("ascii")[:24].ljust(24)
    head = _MAGIC + writer + bytes((spec_version, file_type, _ZSTD))
    return b"".join((head, compress(payload, level)))


def unwrap(data: Data, file_type: FileType, name: str, max_size: int = MAX_PAYLOAD_SIZE) -> Unwrapped:
    """Take a FlatBuffer out of its envelope.

    Parameters
    ----------
    data : bytes-like
        The whole file.
    file_type : FileType
        The kind of file that it must be.
    name : str
        Key of the object, for errors.
    max_size : int, optional
        Largest acceptable payload, in bytes.

    Raises
    ------
    FormatError
        Kind `unsupported-spec-version`: written by a newer Icechunk. Kind `invalid-file-format`:
        not a metadata file, of another kind than asked for, or damaged.
    """
    view = memoryview(data)
    if len(view) < HEADER_SIZE:
        raise _invalid(name, f"{len(view)} bytes are too few for a header")
    if bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise _invalid(name, "it does not start as an Icechunk file does")
    spec_version, kind, packing = view[36:HEADER_SIZE]
    if spec_version not in _SPEC_VERSIONS:
        raise FormatError(
            f"cannot read {name}: it has spec version {spec_version}, this library knows "
            f"{_SPEC_VERSIONS[0]} to {_SPEC_VERSIONS[-1]}; a newer release of Icechunk may read it",
            ErrorKind.UNSUPPORTED_SPEC_VERSION,
        )
    if kind != file_type:
        raise _invalid(name, f"its kind of file is {kind} and not {int(file_type)} ({file_type.label})")
    if packing != _ZSTD:
        raise _invalid(name, f"its compression {packing} is not zstd")
    written_by = bytes(view[_WRITER]).decode("ascii", "replace").strip(" \0")
    return Unwrapped(decompress(view[HEADER_SIZE:], name, max_size), spec_version, written_by)


def _invalid(name: str, reason: str) -> FormatError:
    return FormatError(f"cannot read {name}: {reason}", ErrorKind.INVALID_FILE_FORMAT)
