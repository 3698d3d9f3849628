"""How the values of the public API show themselves: `repr`, `str` and notebooks.

Two families share three spellings:

* settings, which users write down (`icechunk.config`). Their `repr` is the
  constructor call that makes them again, their `str` lists the fields and shows
  what an unset field falls back to (``level: 3 (default)``);
* a `Result` is something that the library hands out. Both its `repr` and its `str`
  list the fields.

A listing opens with the qualified public name in angle brackets, then one line a
field; whatever needs several lines is indented below its name. `_repr_html_` makes
the same listing foldable, with the colours of the notebook's theme.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    Fields = Iterable[tuple[str, str]]

_INDENT = "    "

_STYLE = """<style>
.icechunk-repr { max-width: 46em; line-height: 1.5; color: var(--jp-content-font-color0, inherit); }
.icechunk-repr .icechunk-header { border-bottom: 1px solid var(--jp-border-color2, #bbb); }
.icechunk-repr .icechunk-field-name { color: var(--jp-content-font-color2, #777); }
.icechunk-repr details > .icechunk-repr { margin-left: 1.5em; }
</style>"""


class Markup(str):
    """Text that is HTML already; any other text is escaped before it becomes part of HTML."""

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


class Result(Displayed, msgspec.Struct, frozen=True):
    """A value that the library hands out: its `repr` lists its fields."""

    def _fields(self, form: Form) -> Fields:  # noqa: ARG002
        return [(name, plain(getattr(self, name))) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        return str(self)


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


def plain(value: object) -> str:
    """Show the value of a result's field; strings are not quoted."""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return moment(value)
    return text(value, Form.LISTING) if isinstance(value, Displayed) else repr(value)


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
    folds = [_fold(key, text(item, form)) for key, item in value.items()]
    return _block("".join(folds))


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
    """Show a name and its fields as HTML; nested records are folded."""
    rows = [
        _fold(field, value) if isinstance(value, Markup) else _row(field, value) for field, value in fields
    ]
    return _block("\n".join([f'<div class="icechunk-header">{escape(name)}</div>', *rows]))


def _block(content: str) -> Markup:
    return Markup(f'<div class="icechunk-repr">\n{content}\n</div>')


def _row(field: str, value: str) -> str:
    return (
        f'<div class="icechunk-field"><span class="icechunk-field-name">{escape(field)}:</span> '
        f'<span class="icechunk-field-value">{escape(value)}</span></div>'
    )


def _fold(field: str, value: str) -> str:
    shown = value if isinstance(value, Markup) else escape(value)
    return f'<details><summary class="icechunk-field-name">{escape(field)}</summary>{shown}</details>'
