"""References as the columns that readers of virtual data sets take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icechunk._core.ids import id_text
from icechunk._format.chunk_refs import ChunkRefs
from icechunk.types import ChunkType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from icechunk._core.locations import Containers

    ChunkBatch = tuple[
        NDArray[np.uint32],
        NDArray[np.uint8],
        list[str],
        NDArray[np.uint64],
        NDArray[np.uint64],
        dict[int, bytes],
    ]
    """Coordinates, kinds, where the bytes are, offsets, lengths, and inline chunks by row."""


def chunk_batch(parts: Sequence[ChunkRefs], containers: Containers) -> ChunkBatch:
    """The columns of several sets of references of one array, one set behind the other.

    Raises
    ------
    InvalidInputError
        Kind `no-container-for-virtual-chunk`: a location names a container that there is not.
    """
    places: list[str] = []
    inlined: dict[int, bytes] = {}
    for part in parts:
        kinds = part.rows["kind"]
        for row in np.flatnonzero(kinds == int(ChunkType.inline)).tolist():
            content = part.row(row).inline
            assert content is not None
            inlined[len(places) + row] = content
        texts = absolute_locations(part, containers)
        native = np.flatnonzero(kinds == int(ChunkType.native))
        for row, chunk_id in zip(native.tolist(), part.rows["chunk_id"][native].tolist(), strict=True):
            texts[row] = id_text(chunk_id)
        places += texts
    return (
        np.concatenate([part.coords for part in parts]),
        np.concatenate([part.rows["kind"] for part in parts]),
        places,
        np.concatenate([part.rows["offset"] for part in parts]),
        np.concatenate([part.rows["length"] for part in parts]),
        inlined,
    )


def absolute_locations(references: ChunkRefs, containers: Containers) -> list[str]:
    """The URLs of virtual chunks, ``""`` for those of another kind; equal ones are one object.

    Raises
    ------
    InvalidInputError
        Kind `no-container-for-virtual-chunk`, as in `chunk_batch`.
    """
    stored = references.locations()
    urls = {location: containers.expand(location) for location in set(stored)}
    return [urls[location] for location in stored]
