"""The drawing of a history: rows, columns, lines between them, as text and as SVG."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.graph import COLOURS, as_svg, as_text, lay_out, ordered_branches
from icechunk._core.ids import id_text
from icechunk._format.repo_info import SnapshotEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icechunk._core.graph import Layout

SVG = "{http://www.w3.org/2000/svg}"


def snapshot_id(name: str) -> bytes:
    """An id whose text starts with a short name."""
    return name.encode().ljust(12, b"\0")


def history(
    *rows: tuple[str, str | None],
    branches: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    tips: Sequence[str] = (),
    note: str = "",
) -> Layout:
    """The layout of snapshots, newest first, given by their names and those of their parents."""
    entries = [
        SnapshotEntry(
            snapshot_id(name),
            None if parent is None else snapshot_id(parent),
            1_700_000_000_000_000 - place,
            f"message {name}",
        )
        for place, (name, parent) in enumerate(rows)
    ]
    named = {name: snapshot_id(target) for name, target in (branches or {}).items()}
    starts = [snapshot_id(tip) for tip in tips] or [named[name] for name in ordered_branches(named)]
    tagged = {name: snapshot_id(target) for name, target in (tags or {}).items()}
    return lay_out(entries, starts, named, tagged, note)


def drawing(layout: Layout) -> list[str]:
    """The text without ids, which say nothing here."""
    text = as_text(layout, plain=True)
    for entry in layout.snapshots:
        text = text.replace(f"{id_text(entry.id)[:8]} ", "")
    return text.splitlines()


def test_one_line_of_history() -> None:
    layout = history(("c", "b"), ("b", "a"), ("a", None), branches={"main": "c"}, tags={"v1": "b", "v0": "b"})
    assert drawing(layout) == [
        "● (main) message c",
        "│",
        "● (v0, v1) message b",
        "│",
        "● message a",
    ]


def test_a_branch_has_a_column_that_ends_where_it_began() -> None:
    layout = history(
        ("d", "b"), ("c", "b"), ("b", "a"), ("a", None), branches={"dev": "d", "main": "c"}, tags={"t": "d"}
    )
    assert drawing(layout) == [
        "  ● (dev, t) message d",
        "  │",
        "● │ (main) message c",
        "│ │",
        "●─╯ message b",
        "│",
        "●   message a",
    ]


def test_main_comes_first_and_the_others_by_name_and_equal_tips_share_a_column() -> None:
    layout = history(
        ("z", "a"),
        ("m", "a"),
        ("b", "a"),
        ("a", None),
        branches={"zeta": "z", "main": "m", "beta": "b", "same": "b", "old": "a"},
    )
    assert drawing(layout) == [
        "    ● (zeta) message z",
        "    │",
        "●   │ (main) message m",
        "│   │",
        "│ ● │ (beta, same) message b",
        "│ │ │",
        "●─┴─╯ (old) message a",
    ]


def test_lines_that_cross() -> None:
    layout = history(
        ("e", "m"),
        ("c", "a"),
        ("m", "a"),
        ("b", "a"),
        ("a", None),
        branches={"main": "m", "x": "c", "y": "e", "w": "b"},
    )
    assert drawing(layout) == [
        "      ● (y) message e",
        "      │",
        "    ● │ (x) message c",
        "    │ │",
        "●───┼─╯ (main) message m",
        "│   │",
        "│ ● │   (w) message b",
        "│ │ │",
        "●─┴─╯   message a",
    ]


def test_what_is_before_the_shown_ones_is_only_hinted_at() -> None:
    layout = history(
        ("d", "c"), ("m", "k"), ("c", "b"), branches={"main": "m", "dev": "d", "hidden": "b"}, note="3 of 9"
    )
    assert drawing(layout) == [
        "  ● (dev) message d",
        "  │",
        "● │ (main) message m",
        "│ │",
        "│ ● message c",
        "  ... (3 of 9)",
    ]
    assert "3 of 9" in as_svg(layout)


def test_a_main_that_was_reset_to_the_root_stands_alone() -> None:
    layout = history(("b", "a"), ("a", None), branches={"main": "a", "dev": "b"})
    assert drawing(layout) == ["  ● (dev) message b", "  │", "●─╯ (main) message a"]


def test_unrelated_roots() -> None:
    layout = history(("d", "c"), ("b", "a"), ("c", None), ("a", None), branches={"main": "b", "dev": "d"})
    assert drawing(layout) == [
        "  ● (dev) message d",
        "  │",
        "● │ (main) message b",
        "│ │",
        "│ ● message c",
        "│",
        "●   message a",
    ]


def test_other_names_are_shown_in_the_history_of_one_snapshot() -> None:
    layout = history(("b", "a"), ("a", None), branches={"main": "x", "dev": "a"}, tags={"t": "b"}, tips=["b"])
    assert drawing(layout) == ["● (t) message b", "│", "● (dev) message a"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("short", "short"),
        ("first line\nsecond line", "first line"),
        ("\n\n  indented  \nmore", "indented"),
        ("", ""),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 57 + "..."),
        ("red \x1b[31malert\x07", "red \ufffd[31malert\ufffd"),
        ("<b>&amp;", "<b>&amp;"),
    ],
)
def test_messages_take_one_line_and_cannot_steer_a_terminal(message: str, shown: str) -> None:
    entry = SnapshotEntry(snapshot_id("a"), None, 0, message)
    layout = lay_out([entry], [entry.id], {"ma\x1bin": entry.id}, {})
    for plain in (True, False):
        text = as_text(layout, plain=plain)
        assert text.count("\n") == 1
        assert re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip() == (
            f"● {id_text(entry.id)[:8]} (ma\ufffdin) {shown}".rstrip()
        )
    *_, words = ElementTree.fromstring(as_svg(layout)).iter(f"{SVG}text")
    assert "".join(words.itertext()).endswith(f") {shown}")


def test_colours_are_left_out_when_nothing_can_show_them() -> None:
    layout = history(("b", "a"), ("a", None), branches={"main": "b", "dev": "a"}, tags={"t": "a"})
    assert "\x1b" not in as_text(layout, plain=True)
    painted = as_text(layout, plain=False)
    red, green, blue = bytes.fromhex(COLOURS[0][1:])
    assert f"\x1b[38;2;{red};{green};{blue}m●\x1b[0m" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == as_text(layout, plain=True)


def test_the_svg_shows_the_same_facts() -> None:
    layout = history(
        ("d", "b"),
        ("c", "b"),
        ("b", "a"),
        ("a", None),
        branches={"dev": "d", "main": "c"},
        tags={"t<1>": "d"},
    )
    root = ElementTree.fromstring(as_svg(layout))
    circles = list(root.iter(f"{SVG}circle"))
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert [title.split(",")[0] for title in titles] == [id_text(entry.id) for entry in layout.snapshots]
    assert all("2023-11-14" in title for title in titles)
    columns = [int(circle.attrib["cx"]) for circle in circles]
    assert columns[0] > columns[1] == columns[2] == columns[3]
    assert len(list(root.iter(f"{SVG}path"))) == 1
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert words[0].endswith("(dev, t<1>) message d")
    assert words[1].endswith("(main) message c")


@st.composite
def forests(draw: st.DrawFn) -> Layout:
    """Snapshots that each grow on an older one, or on one that is not shown, or on nothing."""
    count = draw(st.integers(1, 12))
    rows = []
    for number in range(count):
        older = draw(st.integers(-2, number - 1))
        parent = None if older == -2 else "gone" if older == -1 else f"n{older}"
        rows.append((f"n{number}", parent))
    parents = {parent for _, parent in rows}
    tips = {f"leaf {name}": name for name, _ in rows if name not in parents}
    tips |= {f"b{number}": f"n{number}" for number in draw(st.sets(st.integers(0, count - 1), max_size=3))}
    main = draw(st.sampled_from([name for name, _ in rows]))
    return history(*rows[::-1], branches=tips | {"main": main})


@given(forests())
def test_every_drawing_holds_together(layout: Layout) -> None:
    """One node a line; each line that comes from above ends in something below it."""
    lines = as_text(layout, plain=True).splitlines()
    width = 2 * len(layout.runs) - 1
    cells = [line[:width].ljust(width) for line in lines]
    assert len(lines) == 2 * len(layout.snapshots) - 1
    for row, column in enumerate(layout.columns):
        assert [place for place, glyph in enumerate(cells[2 * row]) if glyph == "●"] == [2 * column]
    for above, below in pairwise(cells):
        for place in range(0, width, 2):
            if above[place] in "│┼":
                assert below[place] in "│┼●┴╯", "\n".join(cells)
            if above[place] in "┴╯ ─":
                assert below[place] in " ●─", "\n".join(cells)
    ElementTree.fromstring(as_svg(layout))
