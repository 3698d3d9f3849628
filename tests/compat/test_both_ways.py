"""One implementation tells the whole story of `scenario`, and both read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.compat import describe, golden, scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Description = dict[str, Any]

WE_CANNOT_YET = {
    "expiration": False,
    "collection": False,
}
"""Chapters that our API does not reach."""

CHAPTERS = {1: scenario.Chapters.of_spec_1(), 2: scenario.Chapters()}
OUR_CHAPTERS = {
    1: scenario.Chapters.of_spec_1(**WE_CANNOT_YET),
    2: scenario.Chapters(rectilinear=describe.RECTILINEAR, **WE_CANNOT_YET),
}
SPEC_VERSIONS = pytest.mark.parametrize("spec_version", [1, 2])


@pytest.fixture(scope="module", params=[1, 2])
def written_by_official(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ours: Any, official: Any
) -> tuple[Description, Description]:
    """What we and the official implementation say of a repository of the latter."""
    directory = tmp_path_factory.mktemp(f"official-{request.param}")
    scenario.write_virtual_files(directory / "virtual")
    path = directory / "repository"
    told = scenario.write_history(
        official, official.local_filesystem_storage(str(path)), CHAPTERS[request.param]
    )
    return _read(ours, path, told.detached), _read(official, path, told.detached)


@pytest.fixture(scope="module", params=[1, 2])
def written_by_us(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ours: Any, official: Any
) -> tuple[Description, Description, Description]:
    """What we and the official one say of ours, and the latter of the same story told by itself."""
    directory = tmp_path_factory.mktemp(f"ours-{request.param}")
    chapters = OUR_CHAPTERS[request.param]
    told = {
        ic: scenario.write_history(ic, ic.local_filesystem_storage(str(directory / ic.__name__)), chapters)
        for ic in (ours, official)
    }
    return (
        _read(ours, directory / ours.__name__, told[ours].detached),
        _read(official, directory / ours.__name__, told[ours].detached, describe.SECTIONS),
        _read(official, directory / official.__name__, told[official].detached, describe.SECTIONS),
    )


def _read(
    ic: Any, path: Path, detached: tuple[str, ...], sections: tuple[str, ...] = describe.OUR_SECTIONS
) -> Description:
    return golden.read_back(ic, path, path.parent / "virtual", sections, detached=detached)[0]


@pytest.mark.parametrize("section", describe.OUR_SECTIONS)
def test_we_read_theirs(written_by_official: tuple[Description, Description], section: str) -> None:
    ours, theirs = written_by_official
    assert ours[section] == theirs[section]


@pytest.mark.parametrize("section", describe.OUR_SECTIONS)
def test_they_read_ours(written_by_us: tuple[Description, Description, Description], section: str) -> None:
    ours, theirs, _ = written_by_us
    assert theirs[section] == ours[section]


@pytest.mark.parametrize("section", ["documents", "values", "chunks", "kinds", "diffs"])
def test_the_same_story_reads_the_same(
    written_by_us: tuple[Description, Description, Description], section: str
) -> None:
    """Whoever tells it. Snapshots are compared by their message, since ids are random."""
    _, ours, theirs = written_by_us
    assert golden.by_message(ours, section) == golden.by_message(theirs, section)


def test_references_are_alike(written_by_us: tuple[Description, Description, Description]) -> None:
    """Kinds, places, sizes and inlined bytes; ids of native chunks are random."""
    _, ours, theirs = written_by_us
    assert _without_chunk_ids(golden.by_message(ours, "references")) == _without_chunk_ids(
        golden.by_message(theirs, "references")
    )


def test_manifests_are_split_alike(written_by_us: tuple[Description, Description, Description]) -> None:
    _, ours, theirs = written_by_us
    counts = [
        {
            message: sorted(num_refs for _, _, num_refs in files)
            for message, files in golden.by_message(told, "manifests").items()
        }
        for told in (ours, theirs)
    ]
    assert counts[0] == counts[1]


def test_operations_are_logged_alike(written_by_us: tuple[Description, Description, Description]) -> None:
    _, ours, theirs = written_by_us
    logs = [
        [
            (update["kind"], {name: value for name, value in update["of"].items() if "snap" not in name})
            for update in told["updates"]
        ]
        for told in (ours, theirs)
    ]
    assert logs[0] == logs[1]
    assert [update["backup_path"] is None for update in ours["updates"]] == [
        update["backup_path"] is None for update in theirs["updates"]
    ]


@SPEC_VERSIONS
@pytest.mark.parametrize("continues", ["ours", "official"])
def test_a_story_that_the_other_continues(
    ours: Any, official: Any, tmp_path: Path, spec_version: int, continues: str
) -> None:
    """The official implementation tells it, virtual chunks included; who goes on leaves the same behind."""
    scenario.write_virtual_files(tmp_path / "virtual")
    storage = official.local_filesystem_storage(str(tmp_path / "repository"))
    scenario.write_history(official, storage, CHAPTERS[spec_version])
    path = tmp_path / "repository"
    sections = ("refs", "config", "values", "references", "diffs")
    before = _read(official, path, (), sections)
    ic = ours if continues == "ours" else official
    tip = scenario.continue_history(ic.Repository.open(ic.local_filesystem_storage(str(path))))
    after = _read(official, path, (), sections)
    assert _read(ours, path, (), sections[:3]) == {name: after[name] for name in sections[:3]}

    base = before["refs"]["branches"]["main"]
    assert after["diffs"][f"{base}..{tip}"]["updated_chunks"]["/virtual/many"] == [[3, 3]]
    references, _ = after["references"].pop(tip), after["values"].pop(tip)
    assert (after["references"], after["values"]) == (before["references"], before["values"])
    rows = {tuple(row[0]): row for row in references["arrays"]["virtual/many"]}
    assert rows.pop((3, 3))[1] == "inline"
    assert list(rows.values()) == before["references"][base]["arrays"]["virtual/many"]


def _without_chunk_ids(references: Description) -> Description:
    for snapshot in references.values():
        for rows in snapshot["arrays"].values():
            for row in rows:
                if row[1] == "native":
                    row[2] = "an id"
    return references


def test_we_read_the_old_release(old_release: Callable[..., Any], ours: Any, tmp_path: Path) -> None:
    path = tmp_path / "repository"
    old_release("write", path)
    repository = ours.Repository.open(ours.local_filesystem_storage(str(path)))
    told, _ = describe.describe(repository, describe.OLD_SECTIONS)
    assert _without_virtual(told) == _without_virtual(old_release("describe", path))


def test_the_old_release_reads_ours(old_release: Callable[..., Any], ours: Any, tmp_path: Path) -> None:
    path = tmp_path / "repository"
    storage = ours.local_filesystem_storage(str(path))
    # 1.x knows no containers by name.
    chapters = scenario.Chapters.of_spec_1(**WE_CANNOT_YET, relative_locations=False)
    scenario.write_history(ours, storage, chapters)
    told, _ = describe.describe(ours.Repository.open(storage), describe.OLD_SECTIONS)
    assert _without_virtual(old_release("describe", path)) == _without_virtual(told)


def _without_virtual(told: Description) -> Description:
    """Without the values of virtual arrays: nobody authorised them, and 1.x has no kinds of errors."""
    for values in told["values"].values():
        for path in [path for path in values if path.startswith("virtual/")]:
            del values[path]
    return told
