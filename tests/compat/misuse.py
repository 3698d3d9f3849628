"""Things that users get wrong, and questions with more than one thinkable answer.

Each case is a function of a `Ground`: a repository with a short history, made by the implementation that is
asked. Its answer is what it returns (plain data) or the error it raises; `answer` puts either into comparable
words. `ON_PURPOSE` says where ours is to differ.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from tests.compat.describe import error_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Case = Callable[["Ground"], Any]

CASES: dict[str, Case] = {}
SPEC_2_ONLY: set[str] = set()
KEYS_WITHOUT_THE_FIRST_CHUNK = [
    *(f"a/c/{number}" for number in (1, 2, 3)),
    *("a/zarr.json", "g/empty/zarr.json", "g/plane/c/0/0", "g/plane/c/0/1", "g/plane/zarr.json"),
    *("g/scalar/zarr.json", "g/zarr.json", "zarr.json"),
]
SLASHES_TOO_MANY: dict[str, list[Any]] = {
    "get": ["returned", "6402"],
    "exists": ["returned", True],
    "getsize": ["returned", 2],
    "set": ["returned", ["7879", True]],
    "delete": ["returned", KEYS_WITHOUT_THE_FIRST_CHUNK],
}
ON_PURPOSE: dict[str, list[Any]] = {
    # Ranges are clamped, as zarr's own stores do.
    "range_of_chunk-beyond": ["returned", "0304"],
    "range_of_chunk-outside": ["returned", ""],
    "range_of_chunk-offset_end": ["returned", ""],
    "range_of_chunk-suffix_more": ["returned", "0304"],
    # The official wrapper says that it is read-only, and writes.
    "store_made_read_only": ["raised", "ReadOnlyError", "read-only-store"],
    # What changes nothing is no change.
    "delete_nothing": ["returned", [False, []]],
    "written_array_deleted_again": ["returned", False],
    # A suffix of a document is its last bytes.
    "range_of_document-suffix": ["returned", b" []\n}".hex()],
    # A missing key has no value among partial values.
    "partial_values_with_a_missing_key": ["returned", ["0304", None]],
    # A repository of another spec version is not hidden behind a new one.
    "create_unclean_unchecked@1": ["raised", "ConflictError", "repo-info-updated"],
    # Branches and tags of spec 1 are found again under names that are not ASCII.
    "branch_name-ice@1": ["returned", ["dev", "main", "\N{ICE CUBE}"]],
    "tag_name-ice@1": ["returned", ["t", "\N{ICE CUBE}"]],
    # A chunk outside the grid is refused, also where the grid is empty, and not dropped by the commit.
    "set_key-in_empty": ["raised", "InvalidInputError", "invalid-chunk-index"],
    # A read-only session refuses deletions before it looks for what to delete.
    "delete_read_only-missing": ["raised", "ReadOnlyError", "read-only-session"],
    # Slashes too many in a key do no harm, to chunks as little as to documents.
    **{
        f"{verb}_key-{slashes}": answer
        for slashes in ("leading", "doubled")
        for verb, answer in SLASHES_TOO_MANY.items()
    },
    # What only reads makes no snapshot.
    "flush_read_only": ["raised", "ReadOnlyError", "read-only-session"],
    # The first snapshot of spec 1 has no log, and nothing to be missed.
    "rebase_onto_older_snapshot@1": [
        "returned",
        [["ours", "first", "Repository initialized"], [[], [], [], {"/g/plane": [[1, 1]]}, []]],
    ],
    # Slashes too many do no harm to paths either, and what is where it was was not moved.
    "move-slash_at_the_end@2": [
        "returned",
        [["/g", "/n"], ["/g/empty", "/n/empty"], ["/g/plane", "/n/plane"], ["/g/scalar", "/n/scalar"]],
    ],
    "move_back": ["returned", False],
    # A session of the wrong kind says so, whatever is asked of it.
    "move_in_writable_session-missing@2": ["raised", "SessionStateError", "non-rearrange-session"],
    "edit_in_rearrange_session-delete_missing@2": ["raised", "SessionStateError", "rearrange-session-only"],
    # Chunk keys need the component `c`, and as many coordinates as the array has dimensions.
    **{
        f"{verb}_key-{key}": ["raised", "InvalidInputError", kind]
        for key, kind, verbs in (
            ("too_few", "invalid-chunk-index", ("get", "exists", "getsize", "set")),
            ("too_many", "invalid-chunk-index", ("get", "exists", "getsize", "set")),
            ("no_component", "invalid-key", ("get", "exists", "getsize", "set", "delete")),
        )
        for verb in verbs
    },
    # So do coordinates given as numbers, offsets, and what functions that reindex answer.
    **{
        name: ["raised", "InvalidInputError", "invalid-chunk-index"]
        for name in (
            *("chunk_type-too_few", "chunk_type-too_many", "shift-too_many"),
            *("reindex-too_few", "reindex-too_many", "reindex_back-too_few"),
            *("reindex-negative", "reindex-huge", "reindex_back-negative"),
        )
    },
    # Each chunk that exists is listed once.
    "coordinates_after_changes": ["returned", [[3], [0], [2]]],
    # Chunks that stay where they are have not changed.
    "shift-nothing": ["returned", [[100, 2, 3, 4, 5, 6, 7], False, {}]],
    "reindex-identity": ["returned", [[100, 2, 3, 4, 5, 6, 7], False, {}]],
    # No number is too large to shift everything out of an array.
    "shift-farther": ["returned", [[0] * 7, True, {"/a": [[0], [1], [2], [3]]}]],
    # What can be called is a function, what can be iterated over are coordinates.
    "reindex-callable": ["returned", [[100, 2, 3, 4, 5, 6, 7], False, {}]],
    "reindex-iterator": ["returned", [[7, 0, 3, 4, 5, 6, 7], True, {"/a": [[0]]}]],
    # A location that leaves its container is refused when it is set, not only when it is read; one whose
    # escapes are not text is no location.
    "virtual_ref-dots": ["raised", "InvalidInputError", "invalid-virtual-ref"],
    "virtual_ref-not_text": ["raised", "InvalidInputError", "invalid-virtual-ref"],
    # A condition that the format cannot hold is refused, and not dropped or never met.
    "virtual_ref-no_etag": ["raised", "InvalidInputError", "invalid-virtual-ref"],
    "virtual_ref-early": ["raised", "OverflowError", ""],
    "virtual_ref-late": ["raised", "OverflowError", ""],
    # A bulk setter that fails changes nothing.
    **{
        name: ["returned", [[], [[]], False]]
        for name in (
            *("virtual_refs_that_failed-outside", "virtual_refs_that_failed-no_bytes"),
            "virtual_refs_arr_that_failed",
        )
    },
    # References have as many coordinates as the array has dimensions.
    **{
        name: ["raised", "InvalidInputError", "invalid-chunk-index"]
        for name in ("virtual_ref-too_many", "virtual_refs-too_many", "virtual_refs_arr-dimensions")
    },
    # Slashes too many do no harm to paths either, and a bad path is an error of ours.
    "virtual_refs_at-trailing": ["returned", [[], [["file://here/f"]], True]],
    "virtual_refs_at-doubled": ["returned", [[], [["file://here/f"]], True]],
    "batches-trailing": ["returned", 4],
    "virtual_refs_at-dots": ["raised", "InvalidInputError", "invalid-path"],
    "batches-dots": ["raised", "InvalidInputError", "invalid-path"],
    # Columns may be of any integers, and locations in any sequence.
    **{
        f"virtual_refs_arr-{columns}": ["returned", [[], [["file://here/f"] * 4], True]]
        for columns in ("tuple_locations", "array_locations", "signed", "list_offsets", "strided")
    },
    # Every file that ends before its chunk does is too short.
    "virtual_read-beyond": ["raised", "StorageError", "invalid-object-size"],
    # Ranges of virtual chunks are clamped like those of others.
    "virtual_read_part-beyond": ["returned", "0b0c0d0e0f"],
    "virtual_read_part-outside": ["returned", ""],
    # Authorised prefixes are told as they are compared: with a slash.
    "authorise_with_none": ["returned", [["DeprecationWarning"] * 2, True, "0a0b0c0d0e0f"]],
    # Deleted chunks are not moved, and chunks are taken in one order: with a commit before it or without.
    "reindex_after_deleting": ["returned", [[0, 0, 3, 4, 3, 4, 5], True, {"/a": [[0], [2], [3]]}]],
    "reindex_to_one_place_after_writing": ["returned", [[7, 0, 9, 9, 5, 6, 7], True, {"/a": [[0], [1]]}]],
}
"""Our answers where they differ from the official ones because we want it so; `@1`: in spec 1 only."""


@dataclass
class Ground:
    """What a case works on. Every case gets a new one."""

    ic: Any
    storage: Any
    path: str
    repository: Any
    tip: str

    @functools.cached_property
    def writable(self) -> Any:
        return self.repository.writable_session("main")

    @functools.cached_property
    def readonly(self) -> Any:
        return self.repository.readonly_session("main")


def prepare(ic: Any, path: str, spec_version: int) -> None:
    """Make a repository with two commits, two branches, a tag and a deleted tag."""
    storage = ic.local_filesystem_storage(path)
    repository = ic.Repository.create(storage, spec_version=spec_version)
    session = repository.writable_session("main")
    root = zarr.open_group(session.store)
    root.create_array("a", shape=(7,), chunks=(2,), dtype="u1", compressors=None)[:] = np.arange(1, 8)
    root.create_array("g/empty", shape=(0,), chunks=(1,), dtype="u1", compressors=None)
    root.create_array("g/scalar", shape=(), dtype="u1", compressors=None)
    root.create_array("g/plane", shape=(4, 4), chunks=(2, 2), dtype="i4", compressors=None)[:2] = 1
    session.commit("first")
    session = repository.writable_session("main")
    zarr.open_array(session.store, path="a")[0] = 100
    tip = session.commit("second")
    repository.create_branch("dev", tip)
    repository.create_tag("t", tip)
    repository.create_tag("gone", tip)
    repository.delete_tag("gone")


def stand_on(ic: Any, path: str) -> Ground:
    """The ground of a case, on a repository that `prepare` made."""
    storage = ic.local_filesystem_storage(path)
    repository = ic.Repository.open(storage)
    return Ground(ic, storage, path, repository, repository.lookup_branch("main"))


def answer(case: Case, ground: Ground) -> list[Any]:
    """What came of a case: ``["returned", value]`` or ``["raised", class, kind]``."""
    try:
        value = case(ground)
    except Exception as error:  # the error is the answer
        return ["raised", *error_of(error)]
    if isinstance(value, set):
        value = sorted(value)
    is_plain = value is None or isinstance(value, bool | int | str | list | dict)
    return ["returned", value if is_plain else type(value).__name__]


def case(function: Case) -> Case:
    """Register a case under its name."""
    CASES[function.__name__.removeprefix("_")] = function
    return function


def case_of_spec_2(function: Case) -> Case:
    """Register a case that spec version 1 does not know."""
    SPEC_2_ONLY.add(function.__name__.removeprefix("_"))
    return case(function)


def each(**variants: Any) -> Callable[[Callable[[Ground, Any], Any]], Callable[[Ground, Any], Any]]:
    """Register one case for each named variant of a function's second argument."""

    def register(function: Callable[[Ground, Any], Any]) -> Callable[[Ground, Any], Any]:
        for name, variant in variants.items():
            CASES[f"{function.__name__.removeprefix('_')}-{name}"] = functools.partial(
                lambda ground, variant: function(ground, variant), variant=variant
            )
        return function

    return register
