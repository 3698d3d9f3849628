"""Which manifests are fetched ahead of their first use when a session opens.

Preloading only moves latency; it never changes what a session reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

import msgspec

from icechunk._conditions import AllOf, AnyOf, Condition, NameMatches, PathMatches
from icechunk._setting import U32, Integers, Setting
from icechunk.types import nest_variants

__all__ = ["ManifestPreloadCondition", "ManifestPreloadConfig"]


class ManifestPreloadCondition(Condition):
    """Whether to preload a manifest, judged by the array's path and the manifest's size.

    Conditions are combined with ``&`` and ``|``.

    Examples
    --------
    >>> from icechunk import ManifestPreloadCondition as Condition
    >>> small_coordinates = Condition.name_matches("^(x|y)$") & Condition.num_refs(None, 1000)
    >>> small_coordinates == Condition.and_conditions(
    ...     [Condition.name_matches("^(x|y)$"), Condition.num_refs(None, 1000)]
    ... )
    True
    """

    __slots__ = ()

    if TYPE_CHECKING:
        NumRefs: TypeAlias = "_NumRefs"
        Always: TypeAlias = "_Always"
        Never: TypeAlias = "_Never"

    @staticmethod
    def num_refs(from_refs: int | None, to_refs: int | None) -> ManifestPreloadCondition:
        """Preload manifests with so many chunk references.

        Parameters
        ----------
        from_refs : int or None
            At least so many.
        to_refs : int or None
            Fewer than so many.

        Returns
        -------
        ManifestPreloadCondition

        Raises
        ------
        TypeError, OverflowError
            A bound is not a whole number, or does not fit 32 bits.
        """
        return _NumRefs(from_refs, to_refs)

    @staticmethod
    def true() -> ManifestPreloadCondition:
        """Preload every manifest.

        Returns
        -------
        ManifestPreloadCondition
        """
        return _Always()

    @staticmethod
    def false() -> ManifestPreloadCondition:
        """Preload no manifest.

        Returns
        -------
        ManifestPreloadCondition
        """
        return _Never()

    def __and__(self, other: ManifestPreloadCondition) -> ManifestPreloadCondition:
        return self._combined("And", other)

    def __or__(self, other: ManifestPreloadCondition) -> ManifestPreloadCondition:
        return self._combined("Or", other)


class _Or(ManifestPreloadCondition, AnyOf, frozen=True):
    pass


class _And(ManifestPreloadCondition, AllOf, frozen=True):
    pass


class _PathMatches(ManifestPreloadCondition, PathMatches, frozen=True):
    pass


class _NameMatches(ManifestPreloadCondition, NameMatches, frozen=True):
    pass


class _NumRefs(ManifestPreloadCondition, msgspec.Struct, frozen=True):
    """At least `from_refs` and fewer than `to_refs` references; None is no bound."""

    from_refs: int | None
    to_refs: int | None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            kept = Integers(0, 2**32 - 1)(name, getattr(self, name))
            msgspec.structs.force_setattr(self, name, kept)

    def _call(self) -> str:
        return f"num_refs({self.from_refs}, {self.to_refs})"


class _Always(ManifestPreloadCondition, msgspec.Struct, frozen=True):
    """Every manifest."""

    def _call(self) -> str:
        return "true()"


class _Never(ManifestPreloadCondition, msgspec.Struct, frozen=True):
    """No manifest."""

    def _call(self) -> str:
        return "false()"


nest_variants(ManifestPreloadCondition)


class ManifestPreloadConfig(Setting):
    """How much to preload, and what.

    Parameters
    ----------
    max_total_refs : int, optional
        Stop once so many chunk references were loaded, 10,000 when left out; 0 preloads nothing.
    preload_if : ManifestPreloadCondition, optional
        What to preload. When left out: manifests with at most 1,000 references of arrays that
        are named like coordinates in the CF conventions (``time``, ``lat``, ``lon``, ``x``, ...).
    max_arrays_to_scan : int, optional
        Look at so many arrays, in the order of their paths, 50 when left out.

    Raises
    ------
    TypeError, OverflowError
        A value has the wrong type or is out of range.

    Examples
    --------
    >>> from icechunk import ManifestPreloadCondition, ManifestPreloadConfig
    >>> config = ManifestPreloadConfig(preload_if=ManifestPreloadCondition.true())
    >>> config.max_total_refs = 1_000_000
    """

    _shown_as: ClassVar[str] = "icechunk.config.ManifestPreloadConfig"
    _defaults: ClassVar[dict[str, object]] = {"max_total_refs": 10_000, "max_arrays_to_scan": 50}

    max_total_refs: U32 = None
    preload_if: ManifestPreloadCondition | None = None
    max_arrays_to_scan: U32 = None
