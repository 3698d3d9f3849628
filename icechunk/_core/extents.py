"""Which of an array's manifests covers a chunk.

The extents of an array's manifests never overlap. A lookup tries the manifest
that answered last, then compares the coordinates with all boxes at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icechunk._exceptions import ErrorKind, FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icechunk._core.paths import Coordinates
    from icechunk._format.snapshot import ManifestRef


class ExtentIndex:
    """The manifests of one array, looked up by chunk coordinates.

    Raises
    ------
    FormatError
        Kind `invalid-file-format`: the extents of a manifest are not those of an array of `ndim` dimensions.
    """

    __slots__ = ("_high", "_last", "_low", "_manifests")

    def __init__(self, path: str, manifests: Sequence[ManifestRef], ndim: int) -> None:
        self._manifests = manifests
        if any(len(manifest.extents) != ndim for manifest in manifests):
            raise FormatError(
                f"the manifests of `{path}` do not say which of its chunks they have: somebody changed its "
                "number of dimensions, or the snapshot is damaged; write the array anew",
                ErrorKind.INVALID_FILE_FORMAT,
            )
        boxes = np.array([manifest.extents for manifest in manifests], np.int64)
        boxes = boxes.reshape(len(manifests), ndim, 2)
        self._low = boxes[:, :, 0]
        self._high = boxes[:, :, 1]
        self._last = manifests[0]

    def find(self, coordinates: Coordinates) -> ManifestRef | None:
        """The manifest that covers the chunk, if one does."""
        last = self._last
        if covers(last, coordinates):
            return last
        at = np.array(coordinates, np.int64)
        hits = np.flatnonzero(((self._low <= at) & (at < self._high)).all(axis=1))
        if not len(hits):
            return None
        self._last = found = self._manifests[int(hits[0])]
        return found


def covers(manifest: ManifestRef, coordinates: Coordinates) -> bool:
    """Whether the extents of a manifest contain a chunk."""
    # A plain loop: it runs for every chunk, and a generator would cost as much again.
    for (low, high), index in zip(manifest.extents, coordinates, strict=True):  # noqa: SIM110
        if not low <= index < high:
            return False
    return True
