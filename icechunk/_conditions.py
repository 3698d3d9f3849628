"""What conditions on arrays have in common, whatever they decide.

A kind of condition (`ManifestSplitCondition`, `ManifestPreloadCondition`) is a union. Each
has variants of its own for the four tests that all kinds share: a variant derives from its
union, which comes first among its bases, and from `AnyOf`, `AllOf`, `PathMatches` or
`NameMatches` below. Code that evaluates conditions looks at the second half only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from icechunk.display import Displayed, Form, quoted


class Condition(Displayed):
    """A test of an array, combined with others by ``&`` and ``|``."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _call(self) -> str:
            """The call that makes this condition again, without the class; variants have it."""

    @classmethod
    def or_conditions(cls, conditions: Sequence[Self]) -> Self:
        """Applies where at least one of the conditions does.

        Parameters
        ----------
        conditions : sequence of conditions of this kind

        Returns
        -------
        A condition of this kind

        Raises
        ------
        TypeError
            One of them is of another kind.
        """
        return cls._variant("Or", tuple(conditions))

    @classmethod
    def and_conditions(cls, conditions: Sequence[Self]) -> Self:
        """Applies where all of the conditions do.

        Parameters
        ----------
        conditions : sequence of conditions of this kind

        Returns
        -------
        A condition of this kind

        Raises
        ------
        TypeError
            One of them is of another kind.
        """
        return cls._variant("And", tuple(conditions))

    @classmethod
    def path_matches(cls, regex: str) -> Self:
        """Applies to arrays in whose path, such as ``/group/array``, the expression is found.

        Parameters
        ----------
        regex : str
            In the syntax of Rust's `regex`. One that is not valid is found nowhere.

        Returns
        -------
        A condition of this kind

        Raises
        ------
        TypeError
            `regex` is no `str`.
        """
        return cls._variant("PathMatches", regex)

    @classmethod
    def name_matches(cls, regex: str) -> Self:
        """Applies to arrays in whose name, the last part of the path, the expression is found.

        Parameters
        ----------
        regex : str
            In the syntax of Rust's `regex`. One that is not valid is found nowhere.

        Returns
        -------
        A condition of this kind

        Raises
        ------
        TypeError
            `regex` is no `str`.
        """
        return cls._variant("NameMatches", regex)

    def _combined(self, name: str, other: object) -> Self:
        """The variant of a name with two members; NotImplemented if they are of different kinds."""
        return self._variant(name, (self, other)) if isinstance(other, _union(self)) else NotImplemented

    @classmethod
    def _variant(cls, name: str, argument: object) -> Self:
        variant: Any = getattr(cls, name)
        condition: Self = variant(argument)
        return condition

    def _render(self, form: Form) -> str:  # noqa: ARG002
        return f"icechunk.config.{_union(self).__name__}.{self._call()}"


class AnyOf(msgspec.Struct, frozen=True):
    """At least one of several conditions."""

    conditions: tuple[Any, ...]

    def __post_init__(self) -> None:
        _check_members(self, self.conditions)

    def _call(self) -> str:
        return f"or_conditions([{', '.join(map(repr, self.conditions))}])"


class AllOf(msgspec.Struct, frozen=True):
    """All of several conditions."""

    conditions: tuple[Any, ...]

    def __post_init__(self) -> None:
        _check_members(self, self.conditions)

    def _call(self) -> str:
        return f"and_conditions([{', '.join(map(repr, self.conditions))}])"


class PathMatches(msgspec.Struct, frozen=True):
    """An expression is found in the path."""

    regex: str

    def __post_init__(self) -> None:
        check_regex(self.regex)

    def _call(self) -> str:
        return f"path_matches({quoted(self.regex)})"


class NameMatches(msgspec.Struct, frozen=True):
    """An expression is found in the last part of the path."""

    regex: str

    def __post_init__(self) -> None:
        check_regex(self.regex)

    def _call(self) -> str:
        return f"name_matches({quoted(self.regex)})"


def check_regex(regex: object) -> None:
    """Refuse an expression that is no text; whether it is valid shows when it is used."""
    if not isinstance(regex, str):
        raise TypeError(f"regex must be a string, not {regex!r}")


def _union(condition: object) -> type:
    return type(condition).__bases__[0]


def _check_members(condition: object, members: tuple[object, ...]) -> None:
    union = _union(condition)
    for member in members:
        if not isinstance(member, union):
            raise TypeError(f"conditions must be of type {union.__name__}, not {member!r}")
