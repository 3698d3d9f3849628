"""Deleting and listing the keys of a store.

Each law is held by what a session has recorded and by what it finds in the snapshot it was opened at.
"""

from __future__ import annotations

import pytest

import icechunk
from icechunk import Session
from tests._async.store_keys import (
    DATA,
    GROUP,
    TREE,
    array_document,
    listed_async,
    made_async,
    names_async,
    set_all_async,
    settled_async,
    value_async,
    without,
)

# Deleting


async def test_deleting_a_group_deletes_all_below_it_and_nothing_beside_it_async(
    session: Session, how: str
) -> None:
    session = await made_async(session, how, TREE)
    assert await listed_async(session) == without()
    await session._keys_async.delete_async("g/h/zarr.json")
    assert await listed_async(session) == without("g/h/")
    await session._keys_async.delete_async("g/zarr.json")
    assert await listed_async(session) == without("g/")
    for key in ("g/zarr.json", "g/a/c/0/1", "g/h/b/zarr.json"):
        assert await value_async(session, key) is None
    await session._keys_async.delete_async("zarr.json")
    assert await listed_async(session) == []


async def test_deleting_an_array_takes_its_chunks_along_async(session: Session, how: str) -> None:
    session = await made_async(session, how, TREE)
    await session._keys_async.delete_async("g/a/zarr.json")
    assert await listed_async(session) == without("g/a/")
    await set_all_async(session, {"g/a/zarr.json": TREE["g/a/zarr.json"]})
    assert await value_async(session, "g/a/c/0/1") is None
    assert await listed_async(session, "g/a") == ["g/a/zarr.json"]


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


async def test_delete_dir_takes_whole_components_async(session: Session, how: str) -> None:
    session = await made_async(session, how, TREE)
    for prefix, gone in DELETIONS.items():
        await session._keys_async.delete_dir_async(prefix)
        assert await listed_async(session) == without(gone), prefix
        await set_all_async(session, TREE)
    await session._keys_async.delete_dir_async("g/a/c/1/1")
    assert await listed_async(session, "g/a") == ["g/a/c/0/1", "g/a/c/1/11", "g/a/zarr.json"]


async def test_clear_deletes_every_node_async(session: Session, how: str) -> None:
    session = await made_async(session, how, TREE)
    await session._keys_async.clear_async()
    assert await listed_async(session) == []
    assert await names_async(session, "") == []
    assert await session._keys_async.is_empty_async("")
    await set_all_async(session, {"zarr.json": GROUP})
    assert await listed_async(session) == ["zarr.json"]


# Listing


async def test_a_prefix_is_a_node_and_its_whole_components_async(session: Session, how: str) -> None:
    """`g-2` sorts between `g` and `g/a`: it neither belongs to a listing of `g` nor ends it."""
    session = await made_async(session, how, TREE)
    assert await listed_async(session, "") == await listed_async(session, "/") == without()
    for prefix in ("g", "g/a", "g/h", "g/h/b", "g2", "g-2"):
        below = [key for key in without() if key.startswith(f"{prefix}/")]
        for spelled in (prefix, f"{prefix}/", f"/{prefix}", f"/{prefix}/"):
            assert await listed_async(session, spelled) == below


@pytest.mark.parametrize("prefix", ["g/", "h", "g/a/c", "g/a/c/0", "zarr.json", "g/a/zarr.json"])
async def test_a_prefix_that_is_no_node_is_refused_async(session: Session, prefix: str) -> None:
    await set_all_async(session, TREE)
    await session._keys_async.delete_async("g/zarr.json")
    with pytest.raises(icechunk.InvalidInputError) as caught:
        await listed_async(session, prefix)
    assert caught.value.kind == "bad-key-prefix"


async def test_a_listing_shows_what_was_changed_on_top_of_a_snapshot_async(session: Session) -> None:
    session = await made_async(session, "committed", TREE)
    await set_all_async(session, {"g/a/c/0/1": DATA[:1], "g/a/c/0/0": DATA, "g/new/zarr.json": GROUP})
    await session._keys_async.delete_async("g/a/c/1/11")
    await session._keys_async.delete_async("g/h/zarr.json")
    expected = {*without("g/h/", "g/a/c/1/11"), "g/a/c/0/0", "g/new/zarr.json"}
    assert await listed_async(session) == sorted(expected)
    session = await settled_async(session, "committed")
    assert await listed_async(session) == sorted(expected)


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


async def test_list_dir_names_direct_children_async(session: Session, how: str) -> None:
    session = await made_async(session, how, TREE)
    for prefix, children in CHILDREN.items():
        assert await names_async(session, prefix) == children
        assert await names_async(session, f"{prefix}/") == children
        assert await session._keys_async.is_empty_async(prefix) == (not children)


async def test_a_directory_with_a_name_that_another_starts_with_is_listed_alone_async(
    session: Session, how: str
) -> None:
    """`0_c/...` is no part of `0`, and a listing does not end where such a name sorts in between."""
    entries = {f"{name}/zarr.json": GROUP for name in ("0", "0_c", "0_c/0", "00", "0/0", "Ä", "Ä/0")}
    session = await made_async(session, how, {"zarr.json": GROUP, **entries})
    assert await listed_async(session, "0") == ["0/0/zarr.json", "0/zarr.json"]
    assert await listed_async(session, "0_c") == ["0_c/0/zarr.json", "0_c/zarr.json"]
    assert await names_async(session, "0") == ["0", "zarr.json"]
    assert await names_async(session, "Ä") == ["0", "zarr.json"]
    assert await names_async(session, "") == ["0", "00", "0_c", "zarr.json", "Ä"]


async def test_nothing_is_directly_below_what_is_no_node_async(session: Session, how: str) -> None:
    session = await made_async(session, how, {"x/y/z/zarr.json": array_document(2), "top/zarr.json": GROUP})
    for prefix in ("", "x", "x/y"):
        assert await names_async(session, prefix) == []
        assert await session._keys_async.is_empty_async(prefix)
    assert await listed_async(session) == ["top/zarr.json", "x/y/z/zarr.json"]


async def test_leaving_a_listing_before_its_end_keeps_nothing_locked_async(
    session: Session, how: str
) -> None:
    """Closed or not, it must not deadlock with the writes and the commit that come after it."""
    session = await made_async(session, how, TREE)
    left = []
    for prefix in ("", "g/a"):
        listing = session._keys_async.list_prefix_async(prefix)
        async for _ in listing:
            break
        left.append(listing)  # neither closed nor forgotten
    await set_all_async(session, {"g/a/c/0/0": DATA, "new/zarr.json": GROUP})
    await session._keys_async.delete_async("g2/zarr.json")
    await session.commit_async("in the middle of two listings")
    for listing in left:
        await listing.aclose()  # type: ignore[attr-defined]  # a generator
    assert len(await listed_async(session)) == len(TREE)


async def test_a_listing_that_a_commit_overtakes_is_complete_async(session: Session, how: str) -> None:
    session = await made_async(session, how, TREE)
    await set_all_async(session, {"new/zarr.json": array_document(3), "new/c/1": DATA, "g/a/c/0/0": DATA})
    expected = sorted([*TREE, "new/zarr.json", "new/c/1", "g/a/c/0/0"])
    listings = [session._keys_async.list_prefix_async("") for _ in expected]
    seen: list[list[str]] = []
    for number, listing in enumerate(listings):
        seen.append([])
        while len(seen[number]) < number:
            seen[number].append(await anext(listing))
    await session.commit_async("in the middle of many listings")
    for number, listing in enumerate(listings):
        seen[number] += [key async for key in listing]
        assert sorted(seen[number]) == expected


async def test_a_listing_shows_the_moment_it_was_started_async(session: Session, how: str) -> None:
    """Writing while a listing is looked at neither breaks it nor makes it repeat itself."""
    session = await made_async(
        session, how, {"a/zarr.json": array_document(50), "a/c/7": DATA, "a/c/9": DATA}
    )
    seen: list[str] = []
    async for key in session._keys_async.list_prefix_async(""):
        number = len(seen)
        seen.append(key)
        await set_all_async(session, {f"a/c/{20 + number}": DATA, f"n{number}/zarr.json": GROUP})
        if number > 20:
            break
    assert {"a/zarr.json", "a/c/7", "a/c/9"} <= set(seen)
    assert len(set(seen)) == len(seen) <= 20
