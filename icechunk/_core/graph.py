"""The drawing of a history: which snapshot stands in which row and column, as text and as SVG.

Rows are snapshots, newest first. Columns are branches: `main` first, then the
others by name. A snapshot that several branches share stands in the column of the
first of them, and so does all that is before it. So each column is one run of
snapshots, and where it ends its line turns left to the parent of the last one.
A branch whose snapshots all stand in other columns has none of its own.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

from icechunk._core.history import time_of
from icechunk._core.ids import id_text
from icechunk._format.repo_info import MAIN_BRANCH, SnapshotEntry
from icechunk.snapshots import AncestryGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_SNAPSHOTS = 100
"""Snapshots that a drawing shows."""

COLOURS = ("#009E73", "#E69F00", "#CC79A7", "#0072B2", "#D55E00", "#999933")
TAG_COLOUR = "#56B4E9"
"""The colours that Okabe and Ito chose so that colour-blind people can tell them apart."""

_ID_LENGTH = 8
_MESSAGE_LENGTH = 60

_ROW_HEIGHT = 28
_COLUMN_WIDTH = 20
_MARGIN = 15
_LETTER_WIDTH = 8


class Run(msgspec.Struct, frozen=True):
    """A column: the rows of its snapshots, and the row and column where its line ends.

    `end` is beyond the last row when what comes before the run is not shown, and its own last row
    when nothing comes before it.
    """

    rows: tuple[int, ...]
    end: int
    parent_column: int | None


class Label(msgspec.Struct, frozen=True):
    """A branch or tag of a snapshot."""

    name: str
    is_tag: bool


class Layout(msgspec.Struct, frozen=True):
    """Snapshots newest first, the column of each, all columns, and the branches and tags of each."""

    snapshots: tuple[SnapshotEntry, ...]
    columns: tuple[int, ...]
    runs: tuple[Run, ...]
    labels: tuple[tuple[Label, ...], ...]
    note: str


def ordered_branches(names: Mapping[str, bytes]) -> list[str]:
    """Names of branches in the order of their columns."""
    return sorted(names, key=lambda name: (name != MAIN_BRANCH, name))


def lay_out(
    snapshots: Sequence[SnapshotEntry],
    tips: Sequence[bytes],
    branches: Mapping[str, bytes],
    tags: Mapping[str, bytes],
    note: str = "",
) -> Layout:
    """Find the place of each snapshot.

    Parameters
    ----------
    snapshots : sequence of SnapshotEntry
        What is shown, newest first.
    tips : sequence of bytes
        Where the runs start, in the order of the columns. Each snapshot must be one of them or an
        ancestor of one.
    branches, tags : mapping of str to bytes
        Names to be shown where their snapshot is.
    note : str
        What is said below.
    """
    row_of = {entry.id: row for row, entry in enumerate(snapshots)}
    columns: dict[int, int] = {}
    runs: list[Run] = []
    for tip in tips:
        rows: list[int] = []
        row = row_of.get(tip)
        parent: bytes | None = None
        while row is not None and row not in columns:
            columns[row] = len(runs)
            rows.append(row)
            parent = snapshots[row].parent_id
            row = None if parent is None else row_of.get(parent)
        if not rows:
            continue
        if row is not None:
            runs.append(Run(tuple(rows), row, columns[row]))
        else:
            runs.append(Run(tuple(rows), rows[-1] if parent is None else len(snapshots), None))
    labels: list[list[Label]] = [[] for _ in snapshots]
    named = [(name, branches[name], False) for name in ordered_branches(branches)]
    named += [(name, tags[name], True) for name in sorted(tags)]
    for name, snapshot_id, is_tag in named:
        if snapshot_id in row_of:
            labels[row_of[snapshot_id]].append(Label(name, is_tag))
    return Layout(
        tuple(snapshots),
        tuple(columns[row] for row in range(len(snapshots))),
        tuple(runs),
        tuple(map(tuple, labels)),
        note,
    )


def draw(layout: Layout, *, plain: bool) -> AncestryGraph:
    """The drawing of a layout, its text with colours for a terminal unless `plain`."""
    return AncestryGraph(as_text(layout, plain=plain), as_svg(layout))


# As text


def as_text(layout: Layout, *, plain: bool) -> str:
    """One line for each snapshot, and one between two of them that shows what goes on."""
    paint = _unpainted if plain else _painted
    lines = []
    for row, entry in enumerate(layout.snapshots):
        words = [_cells(layout, row, paint), paint(id_text(entry.id)[:_ID_LENGTH], "2")]
        if layout.labels[row]:
            colour = _colour(layout.columns[row])
            names = [
                paint(_shown(label.name), "1;3", TAG_COLOUR)
                if label.is_tag
                else paint(_shown(label.name), "1", colour)
                for label in layout.labels[row]
            ]
            words.append(f"({', '.join(names)})")
        words.append(_headline(entry.message))
        lines.append(" ".join(words).rstrip())
        if row + 1 < len(layout.snapshots):
            lines.append(_cells_between(layout, row, paint).rstrip())
    if layout.note:
        lines.append(f"  ... ({layout.note})")
    return "\n".join(lines) + "\n"


def _cells(layout: Layout, row: int, paint: Callable[..., str]) -> str:
    """The lines and the node of a row: two characters a column, the last one without a gap."""
    own = layout.columns[row]
    ending = [column for column, run in enumerate(layout.runs) if run.parent_column == own and run.end == row]
    last = max(ending, default=own)
    cells = []
    for column, run in enumerate(layout.runs):
        passes = run.rows[0] < row < run.end
        crossed = own < column < last
        if column == own:
            glyph = "●"
        elif column in ending:
            glyph = "┴" if crossed else "╯"
        elif passes:
            glyph = "┼" if crossed else "│"
        else:
            glyph = "─" if crossed else " "
        # A line that is crossed keeps its colour, and what crosses has that of the run that ends next.
        ends_next = next((each for each in ending if each >= column), column)
        cells.append(paint(glyph, "", _colour(ends_next if glyph == "─" else column)))
        if own <= column < last:
            cells.append(paint("─", "", _colour(next(each for each in ending if each > column))))
        elif column + 1 < len(layout.runs):
            cells.append(" ")
    return "".join(cells)


def _cells_between(layout: Layout, row: int, paint: Callable[..., str]) -> str:
    """The lines that go on between a row and the next one."""
    return " ".join(
        paint("│", "", _colour(column)) if run.rows[0] <= row < run.end else " "
        for column, run in enumerate(layout.runs)
    )


def _unpainted(text: str, style: str, colour: str = "") -> str:  # noqa: ARG001  # the same call as _painted
    return text


def _painted(text: str, style: str, colour: str = "") -> str:
    """Text between the codes that make a terminal show it in a style and a colour."""
    if text == " ":
        return text
    codes = [style] if style else []
    if colour:
        red, green, blue = bytes.fromhex(colour[1:])
        codes.append(f"38;2;{red};{green};{blue}")
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"


def _colour(column: int) -> str:
    return COLOURS[column % len(COLOURS)]


def _headline(message: str) -> str:
    """The first line of a commit message, cut where it is long."""
    line = _shown(message.strip().partition("\n")[0].rstrip())
    return line if len(line) <= _MESSAGE_LENGTH else line[: _MESSAGE_LENGTH - 3] + "..."


def _shown(text: str) -> str:
    """Text in which nothing can steer a terminal."""
    return "".join([letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text])


# As SVG


def as_svg(layout: Layout) -> str:
    """The drawing for a notebook; pointing at a node shows its whole id and when it was written."""
    text_x = _MARGIN + _COLUMN_WIDTH * len(layout.runs) + _MARGIN
    bottom = _y(len(layout.snapshots) - 1) + _ROW_HEIGHT // 2
    parts = []
    for column, run in enumerate(layout.runs):
        parts += _svg_lines(column, run, bottom)
    longest = len(layout.note)
    for row, entry in enumerate(layout.snapshots):
        colour = _colour(layout.columns[row])
        title = f"{id_text(entry.id)}, {time_of(entry.flushed_at).isoformat(sep=' ', timespec='seconds')}"
        parts.append(
            f'<circle cx="{_x(layout.columns[row])}" cy="{_y(row)}" r="5" fill="{colour}">'
            f"<title>{title}</title></circle>"
        )
        names = [
            f'<tspan font-weight="bold"{_ITALIC if label.is_tag else ""} '
            f'fill="{TAG_COLOUR if label.is_tag else colour}">{escape(_shown(label.name))}</tspan>'
            for label in layout.labels[row]
        ]
        refs = f" ({', '.join(names)})" if names else ""
        headline = _headline(entry.message)
        parts.append(
            f'<text x="{text_x}" y="{_y(row) + 4}" fill="currentColor">'
            f'<tspan opacity="0.6">{id_text(entry.id)[:_ID_LENGTH]}</tspan>{refs} {escape(headline)}</text>'
        )
        written = sum(len(label.name) + 2 for label in layout.labels[row])
        longest = max(longest, _ID_LENGTH + written + len(headline) + 3)
    height = _y(len(layout.snapshots) - 1) + _MARGIN
    if layout.note:
        height += _ROW_HEIGHT
        parts.append(
            f'<text x="{text_x}" y="{height - _MARGIN + 4}" fill="currentColor">'
            f"... ({escape(layout.note)})</text>"
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{text_x + _LETTER_WIDTH * longest + _MARGIN}" '
        f'height="{height}" font-family="monospace" font-size="13">\n' + "\n".join(parts) + "\n</svg>\n"
    )


_ITALIC = ' font-style="italic"'


def _svg_lines(column: int, run: Run, bottom: int) -> list[str]:
    """The line along a column, and the curve to where it came from."""
    x, top, last, end = _x(column), _y(run.rows[0]), _y(run.rows[-1]), _y(run.end)
    stroke = f'stroke="{_colour(column)}" stroke-width="2"'
    if run.parent_column is None:
        return [f'<line x1="{x}" y1="{top}" x2="{x}" y2="{max(last, min(end, bottom))}" {stroke} />']
    turn = end - _ROW_HEIGHT
    target = _x(run.parent_column)
    curve = f"M {x} {turn} C {x} {end - 12}, {target} {turn + 12}, {target} {end}"
    return [
        f'<line x1="{x}" y1="{top}" x2="{x}" y2="{turn}" {stroke} />',
        f'<path d="{curve}" fill="none" {stroke} />',
    ]


def _x(column: int) -> int:
    return _MARGIN + _COLUMN_WIDTH * column


def _y(row: int) -> int:
    return _MARGIN + _ROW_HEIGHT * row
