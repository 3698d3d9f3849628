"""Rules that split the references of one array over several manifests.

A `ManifestSplittingConfig` is an ordered list of rules. The first half of a rule says to
which arrays it applies (`ManifestSplitCondition`), the second how many chunks go into one
manifest along which dimensions (`ManifestSplitDimCondition`). How rules become the edges of
a grid is said in `icechunk._core.splits`. Conditions are values: hashable, and combined with
``&`` and ``|``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, TypeVar

import msgspec

from icechunk._conditions import AllOf, AnyOf, Condition, NameMatches, PathMatches, check_regex
from icechunk._setting import Integers, Setting
from icechunk.display import Displayed, Form, quoted
from icechunk.types import nest_variants

__all__ = ["ManifestSplitCondition", "ManifestSplitDimCondition", "ManifestSplittingConfig"]

MAX_CHUNKS_PER_MANIFEST = 2**32 - 1
"""Along one dimension; as many as there can be, so a rule with it does not split."""


class ManifestSplitCondition(Condition):
    """Which arrays a splitting rule applies to.

    ``ManifestSplitCondition.AnyArray()`` applies to all of them.

    Examples
    --------
    >>> from icechunk import ManifestSplitCondition as Condition
    >>> either = Condition.name_matches("^temp") | Condition.path_matches("^/forecast/")
    >>> either == Condition.or_conditions(
    ...     [Condition.name_matches("^temp"), Condition.path_matches("^/forecast/")]
    ... )
    True
    """

    __slots__ = ()

    if TYPE_CHECKING:
        AnyArray: TypeAlias = "_AnyArray"

    def __and__(self, other: ManifestSplitCondition) -> ManifestSplitCondition:
        return self._combined("And", other)

    def __or__(self, other: ManifestSplitCondition) -> ManifestSplitCondition:
        return self._combined("Or", other)


class _Or(ManifestSplitCondition, AnyOf, frozen=True):
    pass


class _And(ManifestSplitCondition, AllOf, frozen=True):
    pass


class _PathMatches(ManifestSplitCondition, PathMatches, frozen=True):
    pass


class _NameMatches(ManifestSplitCondition, NameMatches, frozen=True):
    pass


class _AnyArray(ManifestSplitCondition, msgspec.Struct, frozen=True):
    """Every array."""

    def _call(self) -> str:
        return "AnyArray()"


nest_variants(ManifestSplitCondition)


class ManifestSplitDimCondition(Displayed):
    """Which dimension a number of chunks applies to; one of the nested classes.

    ``Axis(axis)`` is a position, ``DimensionName(regex)`` every dimension in whose name the
    expression is found, ``Any()`` every dimension. The first that applies wins.

    Examples
    --------
    >>> from icechunk import ManifestSplitDimCondition as Dimension
    >>> {Dimension.Axis(0): 10, Dimension.DimensionName("^lat"): 2}[Dimension.Axis(0)]
    10
    """

    __slots__ = ()

    if TYPE_CHECKING:
        Axis: TypeAlias = "_Axis"
        DimensionName: TypeAlias = "_DimensionName"
        Any: TypeAlias = "_Any"

    def _render(self, form: Form) -> str:  # noqa: ARG002
        arguments = [getattr(self, name) for name in self.__struct_fields__]
        shown = [quoted(value) if isinstance(value, str) else repr(value) for value in arguments]
        return f"icechunk.config.{type(self).__qualname__}({', '.join(shown)})"


class _Axis(ManifestSplitDimCondition, msgspec.Struct, frozen=True):
    """The dimension at a position, counted from 0."""

    axis: int

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "axis", Integers(0, 2**64 - 1, optional=False)("axis", self.axis))


class _DimensionName(ManifestSplitDimCondition, msgspec.Struct, frozen=True):
    """Dimensions in whose name an expression is found; nameless ones never match."""

    regex: str

    def __post_init__(self) -> None:
        check_regex(self.regex)


class _Any(ManifestSplitDimCondition, msgspec.Struct, frozen=True):
    """Every dimension."""


nest_variants(ManifestSplitDimCondition)

C = TypeVar("C", bound=ManifestSplitCondition)
D = TypeVar("D", bound=ManifestSplitDimCondition)

DimensionSizes = tuple[tuple[ManifestSplitDimCondition, int], ...]
SplitSizes = tuple[tuple[ManifestSplitCondition, DimensionSizes], ...]


class _Rules:
    """A check for splitting rules, kept as tuples."""

    _size = Integers(0, MAX_CHUNKS_PER_MANIFEST, optional=False)

    def __call__(self, name: str, value: Any) -> SplitSizes | None:
        if value is None:
            return None
        try:
            return tuple([self._rule(condition, sizes) for condition, sizes in value])
        except ValueError as error:
            raise TypeError(f"{name} must hold pairs of a condition and its sizes: {error}") from error

    def _rule(self, condition: Any, sizes: Iterable[Any]) -> tuple[ManifestSplitCondition, DimensionSizes]:
        if not isinstance(condition, ManifestSplitCondition):
            raise TypeError(f"a splitting rule must start with a ManifestSplitCondition, not {condition!r}")
        dimensions = []
        for dimension, size in sizes:
            if not isinstance(dimension, ManifestSplitDimCondition):
                raise TypeError(f"chunks must be counted by a ManifestSplitDimCondition, not {dimension!r}")
            dimensions.append((dimension, self._size("a number of chunks", size)))
        return condition, tuple(dimensions)


class ManifestSplittingConfig(Setting):
    """How the references of an array are split over manifests.

    Parameters
    ----------
    split_sizes : tuple of pairs, optional
        Rules in order of precedence: pairs of a `ManifestSplitCondition` and pairs of a
        `ManifestSplitDimCondition` and the number of chunks along that dimension that one
        manifest covers. One manifest for each array when left out.

    Raises
    ------
    TypeError, OverflowError
        The rules are not built like that, or a number does not fit 32 bits.

    Examples
    --------
    >>> from icechunk import ManifestSplitCondition, ManifestSplitDimCondition, ManifestSplittingConfig
    >>> config = ManifestSplittingConfig.from_dict(
    ...     {
    ...         ManifestSplitCondition.name_matches("temperature"): {
    ...             ManifestSplitDimCondition.DimensionName("time"): 365
    ...         }
    ...     }
    ... )
    >>> [dict(sizes) for _, sizes in config.split_sizes]
    [{icechunk.config.ManifestSplitDimCondition.DimensionName("time"): 365}]
    """

    _shown_as: ClassVar[str] = "icechunk.config.ManifestSplittingConfig"

    split_sizes: Annotated[SplitSizes | None, _Rules()] = None

    @staticmethod
    def from_dict(
        split_sizes: Mapping[C, Mapping[D, int]],
    ) -> ManifestSplittingConfig:
        """Write the rules as a dict of dicts; the order of the keys counts.

        Parameters
        ----------
        split_sizes : mapping of ManifestSplitCondition to mapping of ManifestSplitDimCondition to int

        Returns
        -------
        ManifestSplittingConfig
        """
        return ManifestSplittingConfig(
            tuple([(condition, tuple(sizes.items())) for condition, sizes in split_sizes.items()])
        )

    def to_dict(self) -> dict[ManifestSplitCondition, dict[ManifestSplitDimCondition, int]]:
        """Read the rules as a dict of dicts.

        Returns
        -------
        dict of ManifestSplitCondition to dict of ManifestSplitDimCondition to int
            Empty if there are no rules.
        """
        return {condition: dict(sizes) for condition, sizes in self.split_sizes or ()}

    def _fields(self, form: Form) -> Iterable[tuple[str, str]]:  # noqa: ARG002
        rules = [
            f"({condition!r}, [{', '.join([f'({dimension!r}, {size})' for dimension, size in sizes])}])"
            for condition, sizes in self.split_sizes or ()
        ]
        yield "split_sizes", "None" if self.split_sizes is None else f"[{', '.join(rules)}]"


NO_SPLITTING = ManifestSplittingConfig(
    ((ManifestSplitCondition.path_matches(".*"), ((_Any(), MAX_CHUNKS_PER_MANIFEST),)),)
)
"""What a configuration without splitting rules means."""
