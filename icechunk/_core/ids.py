"""Object ids and their text form.

Snapshots, manifests and chunks are named by 12 bytes, nodes by 8. Inside the
library an id is `bytes`; its text, used in file names and in the public API,
is Crockford's base 32 in upper case without padding: 20 and 13 characters.
The reader of texts is lenient as Crockford asks for: lower case is accepted,
`O` counts as 0, `I` and `L` as 1.
"""

from __future__ import annotations

from icechunk._exceptions import ErrorKind, InvalidInputError

OBJECT_ID_SIZE = 12
"""Bytes in the id of a snapshot, manifest or chunk."""

INITIAL_SNAPSHOT_ID = bytes.fromhex("0b1cc8d6787580f0e33a6534")
"""The id of the first snapshot of every repository: `1CECHNKREP0F1RSTCMT0`."""

_ID_LENGTH = 20
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_DIGITS = {character: value for value, character in enumerate(_ALPHABET)}
_DIGITS |= {"O": 0, "I": 1, "L": 1}
_DIGITS |= {character.lower(): value for character, value in _DIGITS.items()}


def id_text(raw: bytes) -> str:
    """Spell an id as text.

    Examples
    --------
    >>> id_text(INITIAL_SNAPSHOT_ID)
    '1CECHNKREP0F1RSTCMT0'
    """
    if len(raw) == OBJECT_ID_SIZE:
        # The one in the path of every chunk, written out: two halves of 50 bits.
        number = int.from_bytes(raw, "big") << 4
        high, low = number >> 50, number & 0x3FFFFFFFFFFFF
        return (
            f"{_PAIRS[high >> 40]}{_PAIRS[high >> 30 & 1023]}{_PAIRS[high >> 20 & 1023]}"
            f"{_PAIRS[high >> 10 & 1023]}{_PAIRS[high & 1023]}{_PAIRS[low >> 40]}{_PAIRS[low >> 30 & 1023]}"
            f"{_PAIRS[low >> 20 & 1023]}{_PAIRS[low >> 10 & 1023]}{_PAIRS[low & 1023]}"
        )
    characters = (len(raw) * 8 + 4) // 5
    pairs = (characters + 1) // 2
    number = int.from_bytes(raw, "big") << (pairs * 10 - len(raw) * 8)
    text = "".join([_PAIRS[(number >> shift) & 1023] for shift in range(pairs * 10 - 10, -1, -10)])
    return text[:characters]


def parse_id(text: str) -> bytes:
    """Read the id of a snapshot, manifest or chunk from its text.

    Raises
    ------
    InvalidInputError
        Kind `invalid-snapshot-id`: the text is not the base 32 of 12 bytes.
    """
    number = 0
    try:
        for character in text:
            number = number << 5 | _DIGITS[character]
    except (KeyError, TypeError):
        raise _invalid(text) from None
    if len(text) != _ID_LENGTH:
        raise _invalid(text)
    return (number >> (5 * _ID_LENGTH - 8 * OBJECT_ID_SIZE)).to_bytes(OBJECT_ID_SIZE, "big")


def _invalid(text: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{text}` is not an object id: an id has {_ID_LENGTH} characters of Crockford's base 32, "
        "such as `Repository.lookup_branch` and `lookup_tag` return for a name",
        ErrorKind.INVALID_SNAPSHOT_ID,
    )
