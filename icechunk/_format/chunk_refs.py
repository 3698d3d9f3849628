"""Chunk references: what an array's chunks are and where their bytes lie.

`ChunkRef` is one reference, `ChunkRefs` all those of an array (or of a part of
it) as columns:

* `coords`, uint32 of shape (n, ndim): the chunks' coordinates, each once, in
  lexicographic order;
* `rows`, of dtype `ROW`: the references. Bytes of any length (inline chunks,
  locations, etags) are given as start and size in `pool`; several rows may
  share them, and pool bytes that no row mentions are fine: the pool of a
  decoded manifest is the manifest's own buffer;
* `dictionary`: what the locations of rows marked `compressed` are packed with.

Columns are never changed in place: every operation gives new ones.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.chunk_keys import (
    CoordinateIndex,
    box_around,
    comparable_keys,
    rows_within,
    sorted_order,
)
from icechunk._format.compression import (
    DEFAULT_LEVEL,
    MAX_LOCATION_SIZE,
    LocationDictionary,
    train_dictionary,
)
from icechunk._format.slices import distinct_slices, gather_slices, merged_neighbours
from icechunk.types import ChunkType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

ROW = np.dtype(
    [
        ("offset", "<u8"),
        ("length", "<u8"),
        ("data_start", "<u8"),
        ("etag_start", "<u8"),
        ("data_size", "<u4"),
        ("etag_size", "<u4"),
        ("last_modified", "<u4"),
        ("chunk_id", "V12"),
        ("kind", "u1"),
        ("compressed", "?"),
    ]
)
"""One reference. `kind` is a `ChunkType`; `data` is an inline chunk or a virtual
chunk's location; sizes and `last_modified` of 0 mean none. An inline row has its
size as `length`."""

_ROW = Struct("<QQQQIII12sB?")
_WHOLE_ROW = np.dtype(f"V{ROW.itemsize}")
_NO_ID = bytes(12)
_NATIVE, _VIRTUAL, _INLINE = ChunkType.native, ChunkType.virtual, ChunkType.inline


class ChunkRef(msgspec.Struct, frozen=True, gc=False):
    """One chunk reference; made with `native`, `inline_ref` or `virtual`.

    Attributes
    ----------
    kind : ChunkType
    chunk_id : bytes or None
        Native: the id of the chunk file.
    offset, length : int
        Native and virtual: the range of the file. Inline: 0 and the size.
    inline : bytes or None
        Inline: the chunk itself.
    location : str or None
        Virtual: URL of the file.
    etag : str or None
        Virtual: the file must have this etag.
    last_modified : int or None
        Virtual: the file must not be newer than this, in seconds since the epoch.
    """

    kind: ChunkType
    chunk_id: bytes | None = None
    offset: int = 0
    length: int = 0
    inline: bytes | None = None
    location: str | None = None
    etag: str | None = None
    last_modified: int | None = None


def native(chunk_id: bytes, length: int, offset: int = 0) -> ChunkRef:
    """A chunk in an object of the repository."""
    return ChunkRef(_NATIVE, chunk_id, offset, length)


def inline_ref(data: bytes) -> ChunkRef:
    """A chunk within the manifest."""
    return ChunkRef(_INLINE, length=len(data), inline=data)


def virtual(
    location: str, offset: int, length: int, etag: str | None = None, last_modified: int | None = None
) -> ChunkRef:
    """A chunk in a range of a file outside of the repository."""
    return ChunkRef(_VIRTUAL, None, offset, length, None, location, etag, last_modified)


class ChunkRefs:
    """The chunk references of one array, as columns; see the module for what they hold.

    Parameters
    ----------
    coords, rows, pool, dictionary
        Taken as they are: coordinates must be sorted and distinct. `from_columns` takes any.

    Examples
    --------
    >>> refs = ChunkRefs.from_items(2, {(1, 0): inline_ref(b"abc"), (0, 3): virtual("s3://b/f", 8, 4)})
    >>> refs.coords.tolist(), refs.bounds()
    ([[0, 3], [1, 0]], ((0, 2), (0, 4)))
    >>> refs.find((1, 0)).inline
    b'abc'
    """

    __slots__ = ("_index", "_raw", "_view", "coords", "dictionary", "pool", "rows")

    def __init__(
        self,
        coords: NDArray[np.uint32],
        rows: NDArray[np.void],
        pool: NDArray[np.uint8],
        dictionary: LocationDictionary | None = None,
    ) -> None:
        self.coords = coords
        self.rows = rows
        self.pool = pool
        self.dictionary = dictionary
        self._raw = rows.view(np.uint8).data
        self._view = pool.data
        self._index: CoordinateIndex | None = None

    @staticmethod
    def empty(ndim: int) -> ChunkRefs:
        """No references at all."""
        return ChunkRefs(np.empty((0, ndim), np.uint32), np.empty(0, ROW), np.empty(0, np.uint8))

    @staticmethod
    def from_columns(
        coords: NDArray[np.uint32],
        rows: NDArray[np.void],
        pool: NDArray[np.uint8],
        dictionary: LocationDictionary | None = None,
    ) -> ChunkRefs:
        """Columns in any order; of equal coordinates the last one counts."""
        order = sorted_order(coords)
        if order is not None:
            coords, rows = coords[order], _take_rows(rows, order)
        return ChunkRefs(np.ascontiguousarray(coords), rows, pool, dictionary)

    @staticmethod
    def from_items(ndim: int, refs: Mapping[tuple[int, ...], ChunkRef]) -> ChunkRefs:
        """Columns of point references."""
        if not refs:
            return ChunkRefs.empty(ndim)
        pool = _PoolWriter()
        packed = []
        for ref in refs.values():
            start, size = 0, 0
            etag_start, etag_size = 0, 0
            if ref.inline is not None:
                start, size = pool.add(ref.inline)
            elif ref.location is not None:
                start, size = pool.add(ref.location.encode())
                if ref.etag:
                    etag_start, etag_size = pool.add(ref.etag.encode())
            packed.append(
                _ROW.pack(
                    ref.offset,
                    ref.length,
                    start,
                    etag_start,
                    size,
                    etag_size,
                    ref.last_modified or 0,
                    ref.chunk_id or _NO_ID,
                    ref.kind,
                    False,
                )
            )
        coords = np.array(list(refs), np.uint32).reshape(len(refs), ndim)
        return ChunkRefs.from_columns(coords, np.frombuffer(b"".join(packed), ROW), pool.finish())

    @staticmethod
    def from_locations(
        coords: NDArray[np.uint32],
        locations: Sequence[str],
        which: NDArray[np.int64],
        offsets: ArrayLike,
        lengths: ArrayLike,
        *,
        etags: Sequence[str] = (),
        which_etag: NDArray[np.int64] | int = 0,
        last_modified: ArrayLike = 0,
    ) -> ChunkRefs:
        """Columns of many virtual references, in any order; of equal coordinates the last one counts.

        Parameters
        ----------
        coords : ndarray
            uint32 of shape (n, ndim).
        locations : sequence of str
            URLs of the files.
        which : ndarray of int
            For each reference, the number of its location.
        offsets, lengths : array_like of int
            Ranges in the files, in bytes.
        etags : sequence of str, optional
            Etags that files must have; an empty one means no condition.
        which_etag : array_like of int, optional
            For each reference, the number of its etag.
        last_modified : array_like of int, optional
            Seconds since the epoch after which the files must not have changed; 0 for no condition.
        """
        content, sizes = _joined(locations)
        starts = np.cumsum(sizes) - sizes
        rows = np.zeros(len(coords), ROW)
        rows["kind"] = int(_VIRTUAL)
        rows["offset"] = offsets
        rows["length"] = lengths
        rows["data_start"], rows["data_size"] = starts[which], sizes[which]
        rows["last_modified"] = last_modified
        if etags:
            more, sizes = _joined(etags)
            starts = len(content) + np.cumsum(sizes) - sizes
            rows["etag_start"], rows["etag_size"] = starts[which_etag], sizes[which_etag]
            content += more
        return ChunkRefs.from_columns(coords, rows, np.frombuffer(content, np.uint8))

    @staticmethod
    def concat(parts: Sequence[ChunkRefs]) -> ChunkRefs:
        """All references of several sets; of equal coordinates the last one counts."""
        full = [part for part in parts if len(part)]
        if len(full) < 2:
            return full[0] if full else parts[0] if parts else ChunkRefs.empty(0)
        rows, pool, dictionary = one_pool(full)
        coords = np.concatenate([part.coords for part in full])
        return ChunkRefs.from_columns(coords, np.concatenate(rows), pool, dictionary)

    @staticmethod
    def merge(old: ChunkRefs, new: ChunkRefs | None, removed: NDArray[np.uint32] | None) -> ChunkRefs:
        """Put changes on top of references.

        Parameters
        ----------
        old : ChunkRefs
        new : ChunkRefs or None
            Replace and join the old ones.
        removed : ndarray or None
            Coordinates, uint32 of shape (n, ndim) in any order, whose old references are dropped. It does
            not matter if there are none.
        """
        if new is None:
            new = ChunkRefs.empty(old.ndim)
        if removed is None:
            removed = new.coords[:0]
        if not len(old):
            return new
        keys, new_keys, gone = comparable_keys(old.coords, new.coords, removed)
        gone = np.concatenate([new_keys, gone])
        at = np.searchsorted(keys, gone)
        keep = np.ones(len(keys), bool)
        keep[at[keys[np.minimum(at, len(keys) - 1)] == gone]] = False
        del keys, new_keys, gone
        dropped = np.flatnonzero(~keep)
        if not len(new) or len(dropped) == len(old):
            return new if len(new) else old if not len(dropped) else old.take(keep)
        (old_rows, new_rows), pool, dictionary = one_pool([old, new])
        # Where the new rows stand in the result: behind the kept ones before them, and each other.
        before = at[: len(new)] - np.searchsorted(dropped, at[: len(new)])
        places = before + np.arange(len(new))
        # The old rows are copied once, to their places; the gaps are filled with the new ones.
        source = np.zeros(len(old) - len(dropped) + len(new), np.int64)
        is_old = np.ones(len(source), bool)
        is_old[places] = False
        source[is_old] = np.flatnonzero(keep)
        coords = old.coords[source]
        coords[places] = new.coords
        rows = old_rows.view(_WHOLE_ROW)[source]
        rows[places] = new_rows.view(_WHOLE_ROW)
        return ChunkRefs(coords, rows.view(ROW), pool, dictionary)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<ChunkRefs: {len(self)} references, {self.ndim} dimensions>"

    def __reduce__(self) -> tuple[Any, ...]:
        slim = self.compact()
        return ChunkRefs, (slim.coords, slim.rows, slim.pool, slim.dictionary)

    @property
    def ndim(self) -> int:
        """Number of dimensions of the coordinates."""
        return int(self.coords.shape[1])

    def take(self, index: NDArray[Any] | slice) -> ChunkRefs:
        """Some of the references: those of a slice, a mask, or indices in any order."""
        coords = self.coords[index]
        rows = _take_rows(self.rows, index)
        if isinstance(index, slice) or index.dtype == np.bool_ or (np.diff(index) > 0).all():
            return ChunkRefs(np.ascontiguousarray(coords), rows, self.pool, self.dictionary)
        return ChunkRefs.from_columns(coords, rows, self.pool, self.dictionary)

    def moved(self, index: NDArray[np.int64], coords: NDArray[np.uint32]) -> ChunkRefs:
        """Some of the references, at other coordinates; of equal coordinates the last one counts."""
        return ChunkRefs.from_columns(coords, _take_rows(self.rows, index), self.pool, self.dictionary)

    def bounds(self) -> tuple[tuple[int, int], ...]:
        """Smallest coordinate and largest plus 1 along each axis; (0, 0) where there are no references."""
        if not len(self):
            return ((0, 0),) * self.ndim
        box = box_around(self.coords)
        return tuple((low, low + size) for low, size in zip(box.low, box.shape, strict=True))

    def in_box(self, low: Sequence[int], high: Sequence[int]) -> NDArray[np.bool_]:
        """Which references have coordinates from `low` to `high`, the latter excluded."""
        return rows_within(self.coords, low, high)

    def find(self, coords: tuple[int, ...]) -> ChunkRef | None:
        """The reference of a chunk, None if there is none."""
        index = self._index
        if index is None:
            if not len(self):
                return None
            index = self._index = CoordinateIndex(self.coords)
        row = index.find(coords)
        return None if row is None else self.row(row)

    def row(self, index: int) -> ChunkRef:
        """One reference.

        Raises
        ------
        FormatError
            Kind `invalid-file-format`: a location that cannot be unpacked or is not UTF-8.
        """
        offset, length, start, etag_start, size, etag_size, modified, chunk_id, kind, compressed = (
            _ROW.unpack_from(self._raw, index * _ROW.size)
        )
        if kind == 1:
            return ChunkRef(_NATIVE, chunk_id, offset, length)
        if kind == 3:
            return ChunkRef(_INLINE, None, 0, size, bytes(self._view[start : start + size]))
        return ChunkRef(
            _VIRTUAL,
            None,
            offset,
            length,
            None,
            self._text(start, size, compressed),
            self._text(etag_start, etag_size, False) if etag_size else None,
            modified or None,
        )

    def locations(self) -> list[str]:
        """The locations of all rows, ``""`` for a row that is not virtual; equal ones are one object.

        Raises
        ------
        FormatError
            Kind `invalid-file-format`: a location that cannot be unpacked or is not UTF-8.
        """
        found = [""] * len(self)
        chosen = np.flatnonzero(self.rows["kind"] == int(_VIRTUAL))
        if not len(chosen):
            return found
        rows = self.rows[chosen]
        # The lowest bit tells what is compressed.
        marked = rows["data_start"] * np.uint64(2) + rows["compressed"]
        starts, sizes, which = distinct_slices(marked, rows["data_size"])
        texts = [
            self._text(start >> 1, size, start & 1)
            for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
        ]
        for row, number in zip(chosen.tolist(), which.tolist(), strict=True):
            found[row] = texts[number]
        return found

    def compact(self) -> ChunkRefs:
        """The same references over a pool of just the bytes that they mention, with equal neighbours once."""
        names = ("data", "etag") if self.rows["etag_size"].any() else ("data",)
        sizes = np.concatenate([self.rows[f"{name}_size"] for name in names])
        merged = [
            merged_neighbours(self.pool, self.rows[f"{name}_start"], self.rows[f"{name}_size"])
            for name in names
        ]
        starts, sizes, which = distinct_slices(np.concatenate(merged), sizes)
        pool = gather_slices(self.pool, starts, sizes)
        places = (np.cumsum(sizes) - sizes)[which]
        rows = self.rows.copy()
        for number, name in enumerate(names):
            rows[f"{name}_start"] = places[number * len(self) : (number + 1) * len(self)]
        return ChunkRefs(self.coords, rows, pool, self.dictionary if rows["compressed"].any() else None)

    def with_plain_locations(self) -> ChunkRefs:
        """The same references with no location compressed.

        Raises
        ------
        FormatError
            Kind `invalid-file-format`: a location that cannot be unpacked.
        """
        dictionary = self.dictionary
        chosen = np.flatnonzero(self.rows["compressed"])
        if dictionary is None or not len(chosen):
            return self
        starts, sizes, which = distinct_slices(
            self.rows["data_start"][chosen], self.rows["data_size"][chosen]
        )
        contents = [dictionary.unpack(content) for content in self._contents(starts, sizes)]
        return self._with_data(chosen, contents, which, None)

    def with_compressed_locations(
        self,
        min_num_chunks: int = 1000,
        max_samples: int = 100,
        max_dictionary_size: int = 2048,
        level: int = DEFAULT_LEVEL,
    ) -> ChunkRefs:
        """The same references with locations compressed by a dictionary that is trained on some of them.

        Parameters
        ----------
        min_num_chunks : int, optional
            With fewer virtual references nothing is done.
        max_samples : int, optional
            Locations to train with, taken at even distances so that the result can be repeated.
        max_dictionary_size : int, optional
            Bytes in the dictionary.
        level : int, optional
            Compression level of zstd.

        Returns
        -------
        ChunkRefs
            These references themselves, where it was not worth the while or is done already. Locations
            too long for a reader stay as they are.
        """
        is_virtual = self.rows["kind"] == int(_VIRTUAL)
        if np.count_nonzero(is_virtual) < max(min_num_chunks, 1) or self.rows["compressed"].any():
            return self
        chosen = np.flatnonzero(is_virtual & (self.rows["data_size"] <= MAX_LOCATION_SIZE))
        starts, sizes, which = distinct_slices(
            self.rows["data_start"][chosen], self.rows["data_size"][chosen]
        )
        contents = self._contents(starts, sizes)
        samples = contents[:: -(-len(contents) // max(max_samples, 1)) or 1]
        content = train_dictionary(samples, max_dictionary_size)
        if content is None:
            return self
        dictionary = LocationDictionary(content, "a new manifest")
        return self._with_data(chosen, dictionary.pack(contents, level), which, dictionary)

    def _contents(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[bytes]:
        places = zip(starts.tolist(), sizes.tolist(), strict=True)
        return [bytes(self._view[start : start + size]) for start, size in places]

    def _with_data(
        self,
        chosen: NDArray[np.int64],
        contents: Sequence[bytes],
        which: NDArray[np.int64],
        dictionary: LocationDictionary | None,
    ) -> ChunkRefs:
        """Locations of some rows replaced: the i-th of them has ``contents[which[i]]``."""
        sizes = np.array([len(content) for content in contents], np.int64)
        rows = self.rows.copy()
        rows["data_start"][chosen] = (len(self.pool) + np.cumsum(sizes) - sizes)[which]
        rows["data_size"][chosen] = sizes[which]
        rows["compressed"][chosen] = dictionary is not None
        pool = np.concatenate([self.pool, np.frombuffer(b"".join(contents), np.uint8)])
        # The former locations are still in the pool.
        return ChunkRefs(self.coords, rows, pool, dictionary).compact()

    def _text(self, start: int, size: int, compressed: int) -> str:
        content = bytes(self._view[start : start + size])
        if compressed:
            assert self.dictionary is not None
            content = self.dictionary.unpack(content)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise FormatError(
                f"a chunk reference has a location or etag that is not UTF-8: {content!r}",
                ErrorKind.INVALID_FILE_FORMAT,
            ) from error


class _PoolWriter:
    """Collects bytes for a pool, equal ones once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        self._size = 0

    def add(self, content: bytes) -> tuple[int, int]:
        place = self._places.get(content)
        if place is None:
            place = self._places[content] = (self._size, len(content))
            self._pieces.append(content)
            self._size += len(content)
        return place

    def finish(self) -> NDArray[np.uint8]:
        return np.frombuffer(b"".join(self._pieces), np.uint8)


def _joined(texts: Sequence[str]) -> tuple[bytes, NDArray[np.int64]]:
    """Texts in UTF-8, one behind the other, and the size of each."""
    content = "".join(texts).encode()
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    if len(content) != sizes.sum():  # not all of it is ASCII
        sizes = np.fromiter([len(text.encode()) for text in texts], np.int64, len(texts))
    return content, sizes


def _take_rows(rows: NDArray[np.void], index: NDArray[Any] | slice) -> NDArray[np.void]:
    # As plain bytes: NumPy copies records field by field.
    return np.ascontiguousarray(rows.view(_WHOLE_ROW)[index]).view(ROW)


def one_dictionary(parts: Sequence[ChunkRefs]) -> tuple[list[ChunkRefs], LocationDictionary | None]:
    """Make the compressed locations of several sets use one dictionary, that with the most locations."""
    counts: dict[bytes, int] = {}
    dictionaries = {}
    for part in parts:
        if part.dictionary is not None and (count := int(part.rows["compressed"].sum())):
            content = part.dictionary.content
            counts[content] = counts.get(content, 0) + count
            dictionaries[content] = part.dictionary
    if not counts:
        return list(parts), None
    chosen = max(counts, key=lambda content: counts[content])
    reconciled = [
        part.with_plain_locations()
        if part.dictionary is not None and part.dictionary.content != chosen
        else part
        for part in parts
    ]
    return reconciled, dictionaries[chosen]


def one_pool(
    parts: Sequence[ChunkRefs],
) -> tuple[list[NDArray[np.void]], NDArray[np.uint8], LocationDictionary | None]:
    """The rows of several sets, made to share one pool and one dictionary."""
    parts, dictionary = one_dictionary(parts)
    joined = []
    pools: list[NDArray[np.uint8]] = []
    bases: dict[int, int] = {}
    end = 0
    # Pools that are mostly of no use to these parts are not taken over, such as a whole manifest's.
    used = [int(part.rows["data_size"].sum()) + int(part.rows["etag_size"].sum()) for part in parts]
    used_of_pool: dict[int, int] = {}
    for part, size in zip(parts, used, strict=True):
        used_of_pool[id(part.pool)] = used_of_pool.get(id(part.pool), 0) + size
    for part, size in zip(parts, used, strict=True):
        if not size:
            joined.append(part.rows)
            continue
        if 2 * used_of_pool[id(part.pool)] < len(part.pool):
            part = part.compact()
        base = bases.get(id(part.pool))
        if base is None:
            base = bases[id(part.pool)] = end
            pools.append(part.pool)
            end += len(part.pool)
        rows = part.rows
        if base:
            rows = rows.copy()
            rows["data_start"] += np.uint64(base)
            rows["etag_start"] += np.uint64(base)
        joined.append(rows)
    if not pools:
        return joined, np.empty(0, np.uint8), dictionary
    return joined, pools[0] if len(pools) == 1 else np.concatenate(pools), dictionary
