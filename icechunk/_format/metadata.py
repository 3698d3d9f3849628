"""User properties: named JSON values of snapshots and of the repository.

Each value is a document of its own beside its name: MessagePack in spec 1,
FlexBuffers in spec 2. The file that holds the property decides which, by the
spec version of its header: a repository that was migrated from spec 1 still
holds snapshots with MessagePack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from icechunk._exceptions import ErrorKind, FormatError, InvalidInputError
from icechunk._format import flexbuffers
from icechunk._format.flexbuffers import json_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icechunk._format.flatbuffers import Data


_MESSAGE_PACK = msgspec.msgpack.Encoder(order="sorted")


def plain_properties(properties: Mapping[str, object]) -> dict[str, Any]:
    """Properties in the data model of JSON, as a copy that shares nothing with them.

    Raises
    ------
    TypeError, InvalidInputError
        As in `encode_properties`.
    """
    plain = json_value(properties)
    if not isinstance(plain, dict):
        raise TypeError(f"properties are a dict of names and values, not {properties!r}")
    return plain


def encode_properties(properties: Mapping[str, object], spec_version: int) -> list[tuple[str, bytes]]:
    """Names and encoded values of properties, sorted by the UTF-8 bytes of the names.

    Parameters
    ----------
    properties : mapping of str to object
        Values are anything that `flexbuffers.json_value` accepts.
    spec_version : int
        Of the file that will hold them.

    Raises
    ------
    TypeError
        A value has no counterpart in JSON, a name or key is not a string, or it is no mapping.
    InvalidInputError
        Kind `bad-metadata`: nested too deep, or text that cannot be stored.

    Examples
    --------
    >>> encode_properties({"b": None, "a": {"is_root": True}}, 1)
    [('a', b'\\x81\\xa7is_root\\xc3'), ('b', b'\\xc0')]
    """
    plain = plain_properties(properties)
    encode = _MESSAGE_PACK.encode if spec_version == 1 else flexbuffers.dumps_plain
    # Texts sort by code points, which is the order of their UTF-8 bytes.
    return [(name, encode(plain[name])) for name in sorted(plain)]


def decode_property(value: Data, spec_version: int, name: str) -> Any:
    """The value of one property.

    Parameters
    ----------
    value : bytes-like
        One encoded value.
    spec_version : int
        Of the file that holds it.
    name : str
        Key of the object that holds it, for errors.

    Returns
    -------
    None, bool, int, float, str, list or dict

    Raises
    ------
    FormatError
        Kind `deserialization`: the value is damaged, or not a JSON value.

    Examples
    --------
    >>> decode_property(b"\\x81\\xa7is_root\\xc3", 1, "snapshots/1CECHNKREP0F1RSTCMT0")
    {'is_root': True}
    """
    if spec_version != 1:
        return flexbuffers.loads(value, name)
    try:
        return json_value(msgspec.msgpack.decode(value))
    # msgspec raises other kinds of ValueError than its own for texts and dates.
    except (ValueError, TypeError, RecursionError, InvalidInputError) as error:
        raise FormatError(
            f"cannot read a MessagePack value in {name}: {error}", ErrorKind.DESERIALIZATION
        ) from error
