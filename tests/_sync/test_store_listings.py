# Generated from tests/_async/test_store_listings.py by tools/make_sync.py; edit that file.
"""Deleting and listing the keys of a store.

Each law is held by what a session has recorded and by what it finds in the snapshot it was opened at.
"""

from __future__ import annotations

import pytest

import icechunk
from icechunk import Session
from tests._sync.store_keys import (
    DATA,
    GROUP,
    TREE,
    array_document,
    listed,
    made,
    names,
    set_all,
    settled,
    value,
    without,
)

# Deleting


def test_deleting_a_group_deletes_all_below_it_and_nothing_beside_it(
    session: Session, how: str
) -> None:
    session = made(session, how, TREE)
    assert listed(session) == without()
    session._keys.delete("g/h/zarr.json")
    assert listed(session) == without("g/h/")
    session._keys.delete("g/zarr.json")
    assert listed(session) == without("g/")
    for key in ("g/zarr.json", "g/a/c/0/1", "g/h/b/zarr.json"):
        assert value(session, key) is None
    session._keys.delete("zarr.json")
    assert listed(session) == []


def test_deleting_an_array_takes_its_chunks_along(session: Session, how: str) -> None:
    session = made(session, how, TREE)
    session._keys.delete("g/a/zarr.json")
    assert listed(session) == without("g/a/")
    set_all(session, {"g/a/zarr.json": TREE["g/a/zarr.json"]})
    assert value(session, "g/a/c/0/1") is None
    assert listed(session, "g/a") == ["g/a/zarr.json"]


DELETIONS = {
    "g": "g/",
    "g/": "g/",
    "/g": "g/",
    "g/a": "g/a/",
    "g/a/c": "g/a/c/",
    "g/a/c/": "g/a/c/",
    "g/a/c/0": "g/a/c/0/",
    "g/a/c/1/11": "g/a/c/1/11",
    "g/h/b/c/0": "g/h/b/c/0",
    "g/a/c/7": "nothing",
    "nowhere": "nothing",
    "g2/x/y": "nothing",
    "": "",
}


def test_delete_dir_takes_whole_components(session: Session, how: str) -> None:
    session = made(session, how, TREE)
    for prefix, gone in DELETIONS.items():
        session._keys.delete_dir(prefix)
        assert listed(session) == without(gone), prefix
        set_all(session, TREE)
    session._keys.delete_dir("g/a/c/1/1")
    assert listed(session, "g/a") == ["g/a/c/0/1", "g/a/c/1/11", "g/a/zarr.json"]


def test_clear_deletes_every_node(session: Session, how: str) -> None:
    session = made(session, how, TREE)
    session._keys.clear()
    assert listed(session) == []
    assert names(session, "") == []
    assert session._keys.is_empty("")
    set_all(session, {"zarr.json": GROUP})
    assert listed(session) == ["zarr.json"]


# Listing


def test_a_prefix_is_a_node_and_its_whole_components(session: Session, how: str) -> None:
    """`g-2` sorts between `g` and `g/a`: it neither belongs to a listing of `g` nor ends it."""
    session = made(session, how, TREE)
    assert listed(session, "") == listed(session, "/") == without()
    for prefix in ("g", "g/a", "g/h", "g/h/b", "g2", "g-2"):
        below = [key for key in without() if key.startswith(f"{prefix}/")]
        for spelled in (prefix, f"{prefix}/", f"/{prefix}", f"/{prefix}/"):
            assert listed(session, spelled) == below


@pytest.mark.parametrize("prefix", ["g/", "h", "g/a/c", "g/a/c/0", "zarr.json", "g/a/zarr.json"])
def test_a_prefix_that_is_no_node_is_refused(session: Session, prefix: str) -> None:
    set_all(session, TREE)
    session._keys.delete("g/zarr.json")
    with pytest.raises(icechunk.InvalidInputError) as caught:
        listed(session, prefix)
    assert caught.value.kind == "bad-key-prefix"


def test_a_listing_shows_what_was_changed_on_top_of_a_snapshot(session: Session) -> None:
    session = made(session, "committed", TREE)
    set_all(session, {"g/a/c/0/1": DATA[:1], "g/a/c/0/0": DATA, "g/new/zarr.json": GROUP})
    session._keys.delete("g/a/c/1/11")
    session._keys.delete("g/h/zarr.json")
    expected = {*without("g/h/", "g/a/c/1/11"), "g/a/c/0/0", "g/new/zarr.json"}
    assert listed(session) == sorted(expected)
    session = settled(session, "committed")
    assert listed(session) == sorted(expected)


CHILDREN: dict[str, list[str]] = {
    "": ["g", "g-2", "g2", "zarr.json"],
    "g": ["a", "a-2", "h", "zarr.json"],
    "g/h": ["b", "zarr.json"],
    "g-2": ["zarr.json"],
    "g/a": ["c", "zarr.json"],
    "g/a-2": ["c", "zarr.json"],  # an array always has these two
    "g/a/c": ["0", "1"],
    "g/a/c/1": ["1", "11"],
    "g/a/c/1/1": [],
    "g/a/c/7": [],
    "nowhere": [],
    "g/nowhere": [],
}


def test_list_dir_names_direct_children(session: Session, how: str) -> None:
    session = made(session, how, TREE)
    for prefix, children in CHILDREN.items():
        assert names(session, prefix) == children
        assert names(session, f"{prefix}/") == children
        assert session._keys.is_empty(prefix) == (not children)


def test_a_directory_with_a_name_that_another_starts_with_is_listed_alone(
    session: Session, how: str
) -> None:
    """`0_c/...` is no part of `0`, and a listing does not end where such a name sorts in between."""
    entries = {f"{name}/zarr.json": GROUP for name in ("0", "0_c", "0_c/0", "00", "0/0", "Ä", "Ä/0")}
    session = made(session, how, {"zarr.json": GROUP, **entries})
    assert listed(session, "0") == ["0/0/zarr.json", "0/zarr.json"]
    assert listed(session, "0_c") == ["0_c/0/zarr.json", "0_c/zarr.json"]
    assert names(session, "0") == ["0", "zarr.json"]
    assert names(session, "Ä") == ["0", "zarr.json"]
    assert names(session, "") == ["0", "00", "0_c", "zarr.json", "Ä"]


def test_nothing_is_directly_below_what_is_no_node(session: Session, how: str) -> None:
    session = made(session, how, {"x/y/z/zarr.json": array_document(2), "top/zarr.json": GROUP})
    for prefix in ("", "x", "x/y"):
        assert names(session, prefix) == []
        assert session._keys.is_empty(prefix)
    assert listed(session) == ["top/zarr.json", "x/y/z/zarr.json"]


def test_leaving_a_listing_before_its_end_keeps_nothing_locked(
    session: Session, how: str
) -> None:
    """Closed or not, it must not deadlock with the writes and the commit that come after it."""
    session = made(session, how, TREE)
    left = []
    for prefix in ("", "g/a"):
        listing = session._keys.list_prefix(prefix)
        for _ in listing:
            break
        left.append(listing)  # neither closed nor forgotten
    set_all(session, {"g/a/c/0/0": DATA, "new/zarr.json": GROUP})
    session._keys.delete("g2/zarr.json")
    session.commit("in the middle of two listings")
    for listing in left:
        listing.close()  # type: ignore[attr-defined]  # a generator
    assert len(listed(session)) == len(TREE)


def test_a_listing_that_a_commit_overtakes_is_complete(session: Session, how: str) -> None:
    session = made(session, how, TREE)
    set_all(session, {"new/zarr.json": array_document(3), "new/c/1": DATA, "g/a/c/0/0": DATA})
    expected = sorted([*TREE, "new/zarr.json", "new/c/1", "g/a/c/0/0"])
    listings = [session._keys.list_prefix("") for _ in expected]
    seen: list[list[str]] = []
    for number, listing in enumerate(listings):
        seen.append([])
        while len(seen[number]) < number:
            seen[number].append(next(listing))
    session.commit("in the middle of many listings")
    for number, listing in enumerate(listings):
        seen[number] += [key for key in listing]
        assert sorted(seen[number]) == expected


def test_a_listing_shows_the_moment_it_was_started(session: Session, how: str) -> None:
    """Writing while a listing is looked at neither breaks it nor makes it repeat itself."""
    session = made(
        session, how, {"a/zarr.json": array_document(50), "a/c/7": DATA, "a/c/9": DATA}
    )
    seen: list[str] = []
    for key in session._keys.list_prefix(""):
        number = len(seen)
        seen.append(key)
        set_all(session, {f"a/c/{20 + number}": DATA, f"n{number}/zarr.json": GROUP})
        if number > 20:
            break
    assert {"a/zarr.json", "a/c/7", "a/c/9"} <= set(seen)
    assert len(set(seen)) == len(seen) <= 20
