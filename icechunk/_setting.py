"""The base of the configuration classes: checked, mergeable, showing their defaults.

A setting is a mutable record. Unset fields are None and fall back to a default that
is looked up when it is needed, never stored, so that a stored configuration holds
only what somebody chose. What a field accepts is said once, in its annotation, and
checked on construction and on assignment: a class, or `Annotated` with a check such
as `U16`.
"""

from __future__ import annotations

import copy
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from icechunk.display import Displayed, Form, text

Check = Callable[[str, Any], Any]
"""Takes the name of a field and a value; returns the value to keep, or raises."""

S = TypeVar("S", bound="Setting")


class Integers:
    """A check for whole numbers between two bounds; None passes if they are optional."""

    def __init__(self, low: int, high: int, *, optional: bool = True) -> None:
        self.low = low
        self.high = high
        self.optional = optional

    def __call__(self, name: str, value: Any) -> Any:
        if value is None and self.optional:
            return None
        try:
            number = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be a whole number, not {value!r}") from None
        if self.low == 1 and number == 0:
            raise ValueError(f"{name} must not be zero")
        if not self.low <= number <= self.high:
            raise OverflowError(f"{name} must be between {self.low} and {self.high}, not {number}")
        return number


class Instances:
    """A check for instances of some classes."""

    def __init__(self, classes: tuple[type, ...]) -> None:
        self.classes = classes

    def __call__(self, name: str, value: Any) -> Any:
        if isinstance(value, self.classes):
            return value
        wanted = " or ".join([cls.__name__ for cls in self.classes if cls is not NoneType])
        raise TypeError(f"{name} must be of type {wanted}, not {value!r}")


class PathText:
    """A check for paths, kept as text."""

    def __call__(self, name: str, value: Any) -> str:
        try:
            return os.fsdecode(value)
        except TypeError:
            raise TypeError(f"{name} must be a path, not {value!r}") from None


class AwareTime:
    """A check for times with a time zone, or None."""

    def __call__(self, name: str, value: Any) -> datetime | None:
        if value is not None and not isinstance(value, datetime):
            raise TypeError(f"{name} must be a datetime, not {value!r}")
        if value is not None and value.tzinfo is None:
            raise TypeError(f"{name} must be a datetime with a time zone, not {value!r}")
        return value


class MappingOf:
    """A check for mappings of strings to instances of one class, or None; keeps a copy."""

    def __init__(self, cls: type) -> None:
        self.cls = cls

    def __call__(self, name: str, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be a mapping, not {value!r}")
        for key, item in value.items():
            if not isinstance(key, str) or not isinstance(item, self.cls):
                raise TypeError(f"{name} must map strings to {self.cls.__name__}, not {key!r} to {item!r}")
        return dict(value)


U8 = Annotated[int | None, Integers(0, 2**8 - 1)]
U16 = Annotated[int | None, Integers(0, 2**16 - 1)]
U32 = Annotated[int | None, Integers(0, 2**32 - 1)]
U64 = Annotated[int | None, Integers(0, 2**64 - 1)]
I32 = Annotated[int | None, Integers(-(2**31), 2**31 - 1)]
PositiveU16 = Annotated[int | None, Integers(1, 2**16 - 1)]
PositiveU64 = Annotated[int | None, Integers(1, 2**64 - 1)]
Path = Annotated[str, PathText()]
StringMap = Annotated[dict[str, str] | None, MappingOf(str)]


class Checked(msgspec.Struct):
    """A record whose fields are checked on construction and on assignment."""

    def __post_init__(self) -> None:
        for name, check in checks(type(self)).items():
            value = getattr(self, name)
            kept = check(name, value)
            if kept is not value:
                msgspec.structs.force_setattr(self, name, kept)

    def __setattr__(self, name: str, value: Any) -> None:
        check = checks(type(self)).get(name)
        msgspec.structs.force_setattr(self, name, value if check is None else check(name, value))


class Setting(Displayed, Checked):
    """A record of the configuration.

    Class attributes say what is special about a subclass: `_defaults` what an unset field
    means, `_shown` in which order to show the fields, `_replaced` which nested settings a
    merge replaces instead of merging them member by member.
    """

    _defaults: ClassVar[Mapping[str, object]] = {}
    _shown: ClassVar[tuple[str, ...]] = ()
    _replaced: ClassVar[frozenset[str]] = frozenset()

    def effective(self, name: str) -> Any:
        """The value of a field, or what it means to leave it unset.

        Parameters
        ----------
        name : str
            The name of the field.

        Returns
        -------
        object
            None for an unset field that means nothing in particular.
        """
        value = getattr(self, name)
        return self._default(name) if value is None else value

    def _default(self, name: str) -> object:
        return self._defaults.get(name)

    def _fields(self, form: Form) -> Iterable[tuple[str, str]]:
        for name in self._shown or self.__struct_fields__:
            value = getattr(self, name)
            default = self._default(name) if value is None and form is not Form.CONSTRUCTOR else None
            if default is None or isinstance(default, Setting):
                yield name, text(value if default is None else default, form)
            else:
                yield name, f"{text(default, form)} (default)"


def merged(below: S, above: S) -> S:
    """Lay one setting over another: what is set above wins, member by member.

    The result shares nothing with the two.
    """
    members: dict[str, Any] = {}
    for name in below.__struct_fields__:
        mine, theirs = getattr(below, name), getattr(above, name)
        if isinstance(mine, Setting) and isinstance(theirs, Setting) and name not in below._replaced:
            members[name] = merged(mine, theirs)
        else:
            members[name] = copy.deepcopy(mine if theirs is None else theirs)
    return type(below)(**members)


@cache
def checks(cls: type) -> dict[str, Check]:
    """The check of each field of a record, read from its annotations."""
    hints = get_type_hints(cls, include_extras=True)
    fields: tuple[str, ...] = cls.__struct_fields__  # type: ignore[attr-defined]  # a msgspec record
    return {name: _check(hints[name]) for name in fields}


def _check(hint: Any) -> Check:
    if get_origin(hint) is Annotated:
        check: Check = hint.__metadata__[0]
        return check
    members = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return Instances(tuple([get_origin(member) or member for member in members]))
