"""Node paths and the keys of a zarr store.

A node path is absolute, in canonical form, `/` for the root. A key of a zarr
store has no leading slash and names either a node's document (`a/b/zarr.json`)
or a chunk (`a/b/c/0/1`, for an array without dimensions `a/b/c`). Only a whole
component `c` starts the coordinates of a chunk key, and what follows the last
such component must be decimal numbers below 2**32.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from icechunk._core.arguments import is_unicode
from icechunk._exceptions import ErrorKind, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = "zarr.json"
"""The last component of the key of a node's document."""

ZARR_V2_DOCUMENTS = frozenset({".zgroup", ".zarray", ".zattrs", ".zmetadata"})
"""Names of the documents of zarr format 2, which no repository holds."""

Coordinates = tuple[int, ...]


class ZarrV2Key(Exception):
    """The key belongs to zarr format 2: never present, never writable."""


def parse_key(key: str) -> tuple[str, Coordinates | None]:
    """Split a store key into a node path and, for a chunk, its coordinates.

    Raises
    ------
    InvalidInputError
        Kind `invalid-key`: the key names neither a document nor a chunk.
    ZarrV2Key
        The key names a document of zarr format 2.

    Examples
    --------
    >>> parse_key("air/zarr.json"), parse_key("air/c/0/12"), parse_key("c")
    (('/air', None), ('/air', (0, 12)), ('/', ()))
    """
    head, found, tail = key.rpartition("/c/")
    if not found and key.startswith("c/"):
        found, tail = "c/", key[2:]
    if found:
        try:
            coordinates = tuple([_component(text) for text in tail.split("/")])
        except ValueError:
            pass
        else:
            return _node_path_of(head), coordinates
    head, _, last = key.rpartition("/")
    if last == DOCUMENT:
        return _node_path_of(head), None
    if last == "c":
        return _node_path_of(head), ()
    if last in ZARR_V2_DOCUMENTS:
        raise ZarrV2Key(key)
    raise InvalidInputError(
        f"`{key}` is neither the key of a document, as `a/zarr.json`, nor of a chunk, as `a/c/0/1`",
        ErrorKind.INVALID_KEY,
    )


def _component(text: str) -> int:
    if not (text.isdecimal() and text.isascii()):
        raise ValueError
    value = int(text)
    if value > 0xFFFFFFFF:
        raise ValueError
    return value


@lru_cache(maxsize=4096)
def _node_path_of(head: str) -> str:
    components = [component for component in head.split("/") if component]
    if "." in components or ".." in components:
        raise InvalidInputError(f"`{head}` has a `.` or `..` in a key", ErrorKind.INVALID_KEY)
    if not is_unicode(head):
        raise InvalidInputError(f"{head!a} in a key is not valid Unicode", ErrorKind.INVALID_KEY)
    return "/" + "/".join(components)


def node_path(path: str) -> str:
    """Bring a node path given by a user into canonical form.

    Doubled and trailing slashes are forgiven; a relative path is not.

    Raises
    ------
    InvalidInputError
        Kind `invalid-path`: not absolute, or with a `.` or `..`.

    Examples
    --------
    >>> node_path("/a//b/")
    '/a/b'
    """
    components = [component for component in path.split("/") if component]
    if not path.startswith("/"):
        raise InvalidInputError(
            f"the path `{path}` is not absolute: it must start with `/`", ErrorKind.INVALID_PATH
        )
    if "." in components or ".." in components:
        raise InvalidInputError(f"the path `{path}` has a `.` or `..`", ErrorKind.INVALID_PATH)
    if not is_unicode(path):
        raise InvalidInputError(f"the path {path!a} is not valid Unicode", ErrorKind.INVALID_PATH)
    return "/" + "/".join(components)


def document_key(path: str) -> str:
    """The store key of a node's document."""
    return DOCUMENT if path == "/" else f"{path[1:]}/{DOCUMENT}"


def chunk_prefix(path: str) -> str:
    """What all chunk keys of an array start with; coordinates follow after a `/`."""
    return "c" if path == "/" else f"{path[1:]}/c"


def parent_path(path: str) -> str | None:
    """The path of the group that would hold a node; None for the root."""
    if path == "/":
        return None
    return path.rpartition("/")[0] or "/"


def paths_above(path: str) -> Iterator[str]:
    """The paths of the groups above a node, the closest one first."""
    above = parent_path(path)
    while above is not None:
        yield above
        above = parent_path(above)


def is_inside(path: str, ancestor: str) -> bool:
    """Whether `path` lies strictly below `ancestor`."""
    return path != ancestor and (ancestor == "/" or path.startswith(ancestor + "/"))
