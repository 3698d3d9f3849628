"""Which manifests to fetch ahead of their first use when a session opens.

The arrays of a snapshot are looked at in its order, a limited number of them. Each of their
manifests is taken if the condition applies and if the references taken so far leave room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from icechunk._conditions import AllOf, AnyOf, NameMatches, PathMatches
from icechunk._core.regexes import found
from icechunk.preloading import ManifestPreloadCondition, ManifestPreloadConfig

if TYPE_CHECKING:
    from icechunk._format.snapshot import Node

_DEFAULT_MAX_REFS = 1000

# The names by which the CF conventions, and programs around them, know coordinates.
_TIME = r"^\bt\b$|^(time|min|hour|day|week|month|year)[0-9]*$"
_VERTICAL = (
    r"^(z|nav_lev|gdep|lv_|[o]*lev|bottom_top|sigma|h(ei)?ght|altitude|depth|isobaric|pres|isotherm)"
    r"[a-z_]*[0-9]*$"
)
_Y = r"^(y|j|nlat|rlat|nj)$"
_LATITUDE = r"^y?(nav_lat|lat|gphi)[a-z0-9]*$"
_LONGITUDE = r"^x?(nav_lon|lon|glam)[a-z0-9]*$"
_X = r"^(x|i|nlon|rlon|ni)$"

COORDINATES = ManifestPreloadCondition.and_conditions(
    [
        ManifestPreloadCondition.or_conditions(
            [
                ManifestPreloadCondition.name_matches(regex)
                for regex in (_TIME, _VERTICAL, _Y, _LATITUDE, _LONGITUDE, _X)
            ]
        ),
        ManifestPreloadCondition.num_refs(None, _DEFAULT_MAX_REFS + 1),
    ]
)
"""Small manifests of arrays that are named like coordinates: what is preloaded by default."""


class PreloadRules(msgspec.Struct, frozen=True):
    """A preload configuration with nothing left open."""

    max_total_refs: int
    max_arrays_to_scan: int
    condition: ManifestPreloadCondition

    @property
    def anything(self) -> bool:
        """Whether any manifest can be taken at all."""
        never = isinstance(self.condition, ManifestPreloadCondition.Never)
        return self.max_total_refs > 0 and self.max_arrays_to_scan > 0 and not never


def preload_rules(config: ManifestPreloadConfig) -> PreloadRules:
    """Fill in what a configuration leaves open."""
    return PreloadRules(
        max_total_refs=config.effective("max_total_refs"),
        max_arrays_to_scan=config.effective("max_arrays_to_scan"),
        condition=COORDINATES if config.preload_if is None else config.preload_if,
    )


def plan_preload(nodes: Iterable[Node], num_refs: Mapping[bytes, int], rules: PreloadRules) -> list[bytes]:
    """The ids of the manifests to fetch, in the order of the snapshot.

    Parameters
    ----------
    nodes
        The nodes of a snapshot in its order; no more of them are taken than needed.
    num_refs
        Number of chunk references by manifest id; manifests that it lacks are left out.
    rules
        What to take.
    """
    chosen: dict[bytes, None] = {}
    if not rules.anything:
        return []
    room = rules.max_total_refs
    scanned = 0
    for node in nodes:
        if node.array is None:
            continue
        for manifest in node.array.manifests:
            refs = num_refs.get(manifest.object_id)
            if refs is None or refs > room or manifest.object_id in chosen:
                continue
            if applies(rules.condition, node.path, refs):
                chosen[manifest.object_id] = None
                room -= refs
        scanned += 1
        if scanned == rules.max_arrays_to_scan:
            break
    return list(chosen)


def applies(condition: ManifestPreloadCondition, path: str, refs: int) -> bool:
    """Whether a manifest with so many references of the array at a path is to be preloaded."""
    if isinstance(condition, AnyOf):
        return any(applies(member, path, refs) for member in condition.conditions)
    if isinstance(condition, AllOf):
        return all(applies(member, path, refs) for member in condition.conditions)
    if isinstance(condition, PathMatches):
        return found(condition.regex, path)
    if isinstance(condition, NameMatches):
        name = path.rpartition("/")[2]
        return name != "" and found(condition.regex, name)
    if isinstance(condition, ManifestPreloadCondition.NumRefs):
        low, high = condition.from_refs or 0, condition.to_refs
        return low <= refs and (high is None or refs < high)
    return isinstance(condition, ManifestPreloadCondition.Always)
