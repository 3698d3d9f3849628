"""How the objects of the public API show themselves: `repr`, `str` and notebooks.

Two families share three spellings:

* settings, which users write down (`icechunk.config`). Their `repr` is the
  constructor call that makes them again, their `str` lists the fields and shows
  what an unset field falls back to (``level: 3 (default)``);
* what is `Listed` is handed out by the library: sessions, snapshots, diffs. Both its
  `repr` and its `str` list the fields.

A listing opens with the qualified public name in angle brackets, then one line a
field; whatever needs several lines is indented below its name. `_repr_html_` makes
the listing foldable, in the colours of the page around it, and may say more.

Rules of this file and of those who use it: to show something does no I/O and takes no
lock, because zarr and debuggers do it at any moment. Text becomes part of HTML only by
way of `escape`, and what is HTML already is `Markup`.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Fields = Iterable[tuple[str, str]]

_INDENT = "    "

_SHOWN_ITEMS = 100

# Grey and see-through, so that it can be read on a light and on a dark page.
_STYLE = """<style>
.icechunk-repr { max-width: 60em; line-height: 1.5; color: var(--jp-content-font-color0, inherit); }
.icechunk-repr .icechunk-header { border-bottom: 1px solid rgba(128, 128, 128, 0.5); }
.icechunk-repr .icechunk-field { display: flex; gap: 0.4em; }
.icechunk-repr .icechunk-field-name { opacity: 0.7; }
.icechunk-repr .icechunk-field-value { white-space: pre-wrap; overflow-wrap: anywhere; }
.icechunk-repr summary { cursor: pointer; }
.icechunk-repr details > .icechunk-repr { margin-left: 1.5em; }
.icechunk-repr details > ul { margin: 0 0 0 1.5em; padding: 0; list-style: none; }
</style>"""


class Markup(str):
    """Text that is HTML already; any other text is escaped before it becomes part of HTML."""

    __slots__ = ()


class Unfolded(Markup):
    """HTML that can be folded and is shown unfolded at first."""

    __slots__ = ()


class Form(Enum):
    """What a value is rendered for."""

    LISTING = "str"
    CONSTRUCTOR = "repr"
    HTML = "html"


class Displayed:
    """A mix-in for records that show themselves under their public name."""

    __slots__ = ()

    _shown_as: ClassVar[str] = ""

    if TYPE_CHECKING:
        __struct_fields__: ClassVar[tuple[str, ...]]

    def _name(self) -> str:
        cls = type(self)
        return cls._shown_as or f"{cls.__module__}.{cls.__qualname__}"

    def _fields(self, form: Form) -> Fields:
        """Pairs of a field's name and its text."""
        return [(name, text(getattr(self, name), form)) for name in self.__struct_fields__]

    def _render(self, form: Form) -> str:
        if form is Form.CONSTRUCTOR:
            return constructor(self._name(), self._fields(form))
        if form is Form.LISTING:
            return listing(self._name(), self._fields(form))
        return html(self._name(), self._fields(form))

    def __repr__(self) -> str:
        return self._render(Form.CONSTRUCTOR)

    def __str__(self) -> str:
        return self._render(Form.LISTING)

    def _repr_html_(self) -> str:
        shown = self._render(Form.HTML)
        return f"{_STYLE}\n{shown if isinstance(shown, Markup) else _block(escape(shown))}"


class Listed(Displayed):
    """A mix-in for what the library hands out: its `repr` lists its fields."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Result(Listed, msgspec.Struct, frozen=True):
    """A value that the library hands out."""

    def _fields(self, form: Form) -> Fields:
        return [(name, plain(getattr(self, name), form)) for name in self.__struct_fields__]


def text(value: object, form: Form) -> str:
    """Show the value of a setting's field; strings are quoted."""
    if isinstance(value, Displayed):
        return value._render(form)
    if isinstance(value, Enum):
        member = f"{type(value).__name__}.{value.name}"
        return f"icechunk.{member}" if form is Form.CONSTRUCTOR else value.name
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return mapping(value, form)
    return repr(value)


def plain(value: object, form: Form) -> str:
    """Show the value of a result's field; strings are not quoted."""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat(sep=" ") if form is Form.HTML else moment(value)
    return text(value, form) if isinstance(value, Displayed) else repr(value)


def quoted(value: str) -> str:
    """Spell a string as a Python literal in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def moment(value: datetime) -> str:
    """Spell a time in UTC as the call that makes it."""
    parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]
    return f"datetime.datetime({','.join(map(str, parts))}, tzinfo=datetime.timezone.utc)"


def mapping(value: dict[str, Any], form: Form) -> str:
    """Show a dict: records one below the other, plain values in one line."""
    if not any(isinstance(item, Displayed) for item in value.values()):
        return "{" + ", ".join([f"{quoted(key)}: {text(item, form)}" for key, item in value.items()]) + "}"
    if form is Form.CONSTRUCTOR:
        entries = [f"{quoted(key)}: {text(item, form)}," for key, item in value.items()]
        return "{\n" + "\n".join([indented(entry) for entry in entries]) + "\n}"
    if form is Form.LISTING:
        return "".join([f"{key}:\n{indented(text(item, form))}\n" for key, item in value.items()])
    return folds([(key, text(item, form)) for key, item in value.items()])


def indented(block: str) -> str:
    """Move every line of a block one step to the right."""
    return "\n".join([_INDENT + line for line in block.splitlines()])


def listing(name: str, fields: Fields) -> str:
    """Show a name in angle brackets and one line a field."""
    lines = [f"<{name}>"]
    for field, value in fields:
        lines.append(f"{field}:\n{indented(value)}" if "\n" in value else f"{field}: {value}")
    return "\n".join(lines) + "\n"


def constructor(name: str, fields: Fields) -> str:
    """Show a call with one line a keyword argument."""
    arguments = [indented(f"{field}={value},") + "\n" for field, value in fields]
    return f"{name}(\n{''.join(arguments)})"


def html(name: str, fields: Fields) -> Markup:
    """Show a name and its fields as HTML; what is HTML itself can be folded."""
    rows = [
        _fold(field, value) if isinstance(value, Markup) else _row(field, value) for field, value in fields
    ]
    return _block("\n".join([f'<div class="icechunk-header">{escape(name)}</div>', *rows]))


def folds(fields: Sequence[tuple[str, str]]) -> Markup:
    """Show names as HTML, each with its value folded below it; of very many the first ones."""
    shown = [_fold(field, value) for field, value in fields[:_SHOWN_ITEMS]]
    if len(fields) > _SHOWN_ITEMS:
        shown.append(f"<div>... {len(fields) - _SHOWN_ITEMS} more</div>")
    return _block("\n".join(shown))


def items(lines: Sequence[object], *, limit: int = _SHOWN_ITEMS) -> Markup:
    """Show a list as HTML, a line for each item; of more than `limit` the first ones."""
    shown = [f"<li>{escape(str(line))}</li>" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"<li>... {len(lines) - limit} more</li>")
    return Markup(f"<ul>{''.join(shown)}</ul>")


def _block(content: str) -> Markup:
    return Markup(f'<div class="icechunk-repr">\n{content}\n</div>')


def _row(field: str, value: str) -> str:
    return (
        f'<div class="icechunk-field"><span class="icechunk-field-name">{escape(field)}:</span> '
        f'<span class="icechunk-field-value">{escape(value)}</span></div>'
    )


def _fold(field: str, value: str) -> str:
    shown = value if isinstance(value, Markup) else escape(value)
    opened = " open" if isinstance(value, Unfolded) else ""
    return f'<details{opened}><summary class="icechunk-field-name">{escape(field)}</summary>{shown}</details>'
