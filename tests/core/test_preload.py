"""Choosing the manifests to fetch when a session opens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from icechunk._core.preload import COORDINATES, applies, plan_preload, preload_rules
from icechunk._format.snapshot import ArrayData, ManifestRef, Node
from icechunk.preloading import ManifestPreloadCondition, ManifestPreloadConfig

Condition = ManifestPreloadCondition


def group(path: str) -> Node:
    return Node(id=b"", path=path, user_data=b"", array=None)


def array(path: str, *manifests: bytes) -> Node:
    refs = tuple([ManifestRef(manifest, ((0, 1),)) for manifest in manifests])
    return Node(id=b"", path=path, user_data=b"", array=ArrayData((), None, refs))


def plan(nodes: list[Node], num_refs: dict[bytes, int], **config: object) -> list[bytes]:
    return plan_preload(nodes, num_refs, preload_rules(ManifestPreloadConfig(**config)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        *[
            "t",
            "time",
            "time2",
            "month",
            "z",
            "lev",
            "olev",
            "height",
            "hght",
            "depth",
            "pressure_1",
            "sigma",
        ],
        *["y", "j", "nlat", "lat", "ylat", "latitude", "nav_lat", "lon", "longitude", "xlon", "glamt"],
        *["x", "i", "ni"],
    ],
)
def test_coordinates_are_preloaded(name: str) -> None:
    assert applies(COORDINATES, f"/group/{name}", 1000)
    assert not applies(COORDINATES, f"/group/{name}", 1001)


@pytest.mark.parametrize("name", ["temperature", "nottime", "tt", "time_x", "data", "plat", "xy", "T", ""])
def test_other_arrays_are_not(name: str) -> None:
    assert not applies(COORDINATES, f"/lat/{name}", 1)


def test_the_default_takes_small_coordinates() -> None:
    nodes = [group("/"), array("/data", b"d"), array("/lat", b"a"), array("/time", b"t1", b"t2")]
    assert plan(nodes, {b"d": 1, b"a": 10, b"t1": 1000, b"t2": 1001}) == [b"a", b"t1"]


def test_each_manifest_is_taken_once() -> None:
    nodes = [array("/x", b"m"), array("/y", b"m", b"n")]
    assert plan(nodes, {b"m": 1, b"n": 1}) == [b"m", b"n"]


def test_the_total_is_limited() -> None:
    nodes = [array("/x", b"1"), array("/y", b"2"), array("/z", b"3")]
    num_refs = {b"1": 6, b"2": 5, b"3": 4}
    assert plan(nodes, num_refs, max_total_refs=10) == [b"1", b"3"]
    assert plan(nodes, num_refs, max_total_refs=0) == []


def test_manifests_that_are_not_listed_are_left_out() -> None:
    assert plan([array("/x", b"1")], {}) == []


def test_the_scan_is_limited_and_lazy() -> None:
    looked_at: list[str] = []

    def nodes() -> Iterator[Node]:
        for name in "abcdef":
            looked_at.append(name)
            yield group(f"/{name}") if name == "b" else array(f"/{name}", name.encode())

    config = ManifestPreloadConfig(preload_if=Condition.true(), max_arrays_to_scan=3)
    num_refs = {name.encode(): 1 for name in "abcdef"}
    assert plan_preload(nodes(), num_refs, preload_rules(config)) == [b"a", b"c", b"d"]
    assert looked_at == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "config",
    [
        ManifestPreloadConfig(max_total_refs=0),
        ManifestPreloadConfig(max_arrays_to_scan=0),
        ManifestPreloadConfig(preload_if=Condition.false()),
    ],
)
def test_nothing_is_scanned_for_nothing(config: ManifestPreloadConfig) -> None:
    def nodes() -> Iterator[Node]:
        raise AssertionError
        yield

    rules = preload_rules(config)
    assert not rules.anything
    assert plan_preload(nodes(), {}, rules) == []


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition.true(), True),
        (Condition.false(), False),
        (Condition.path_matches("^/g/"), True),
        (Condition.name_matches("^g"), False),
        (Condition.name_matches("["), False),
        (Condition.num_refs(None, None), True),
        (Condition.num_refs(5, 6), True),
        (Condition.num_refs(6, None), False),
        (Condition.num_refs(None, 5), False),
        (Condition.true() & Condition.false(), False),
        (Condition.true() | Condition.false(), True),
    ],
)
def test_conditions(condition: ManifestPreloadCondition, expected: bool) -> None:
    assert applies(condition, "/g/a", 5) is expected
