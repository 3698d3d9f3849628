"""Both implementations take turns in one repository, and look back on it in the same words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import zarr

from tests.compat import describe

if TYPE_CHECKING:
    from pathlib import Path

GRAPH_LINE = re.compile(r"[^0-9A-Z]*([0-9A-Z]{8}) (?:\((.*?)\) )?(.*)")


def storage(ic: Any, path: Path) -> Any:
    return ic.local_filesystem_storage(str(path))


def take_turns(writers: list[Any], path: Path, spec_version: int) -> None:
    """Make a repository whose ops log is kept in pieces of two entries, everybody doing a part in turn."""
    config = writers[0].RepositoryConfig.default()
    config.num_updates_per_repo_info_file = 2
    writers[0].Repository.create(storage(writers[0], path), config, spec_version=spec_version)
    for number in range(3):
        for ic in writers:
            repository = ic.Repository.open(storage(ic, path))
            name = f"{ic.__name__}-{number}"
            session = repository.writable_session("main")
            root: Any = zarr.open_group(session.store, mode="a")
            root.create_array(name, shape=(4,), chunks=(1,), dtype="i4")[:2] = 1
            tip = session.commit(f"add {name}")
            repository.create_branch(name, tip)
            repository.create_tag(name, tip)
            session = repository.writable_session(name)
            root = zarr.open_group(session.store, mode="a")
            root[name][2] = 2
            root.attrs.update({"by": name})
            session.commit(f"continue {name}")
            if number == 1:
                repository.reset_branch(name, tip)
            if spec_version > 1:
                repository.update_metadata({name: number})
                repository.set_feature_flag("delete_tag", bool(number))
    repository = writers[0].Repository.open(storage(writers[0], path))
    repository.delete_branch(f"{writers[0].__name__}-2")
    if spec_version > 1:
        repository.set_feature_flag("delete_tag", None)
        ic = writers[0]
        repository.set_status(ic.RepoStatus(ic.RepoAvailability.read_only, None, "done"))


@pytest.fixture(params=["ours", "official", "ours and official", "official and ours"])
def writers(request: pytest.FixtureRequest) -> list[Any]:
    return [request.getfixturevalue(name) for name in request.param.split(" and ")]


@pytest.mark.parametrize("spec_version", [1, 2])
def test_both_look_back_on_the_same_history(
    ours: Any, official: Any, writers: list[Any], tmp_path: Path, spec_version: int
) -> None:
    take_turns(writers, tmp_path / "repository", spec_version)
    told = [
        describe.describe(
            ic.Repository.open(storage(ic, tmp_path / "repository")), ("diffs", "updates", "administration")
        )[0]
        for ic in (ours, official)
    ]
    assert told[0] == told[1]
    assert any(diff["updated_chunks"] for diff in told[0]["diffs"].values())
    if spec_version > 1:
        assert len(told[0]["updates"]) == 1 + len(writers) * (3 * 6 + 1) + 3
        assert told[0]["administration"]["status"][0] == "readonly"


def test_the_official_reader_follows_a_log_that_we_wrote_in_pieces(
    ours: Any, official: Any, tmp_path: Path
) -> None:
    """And the other way round: the newest two entries are at hand, the rest is in the backups."""
    for ic, other in ((ours, official), (official, ours)):
        path = tmp_path / ic.__name__
        config = ic.RepositoryConfig.default()
        config.num_updates_per_repo_info_file = 2
        repository = ic.Repository.create(storage(ic, path), config)
        for number in range(5):
            repository.create_branch(f"b{number}", repository.lookup_branch("main"))
        reader = other.Repository.open(storage(other, path))
        kinds = [getattr(update.kind, "name", None) for update in reader.ops_log()]
        assert kinds == ["b4", "b3", "b2", "b1", "b0", None]
        (path / "overwritten").rename(path / "elsewhere")
        assert [update.kind.name for update in reader.ops_log()] == ["b4", "b3"]


@pytest.mark.parametrize("spec_version", [1, 2])
def test_both_graphs_show_the_same_facts(ours: Any, official: Any, tmp_path: Path, spec_version: int) -> None:
    """Which snapshots, in which order, under which names, with which message; the drawing differs."""
    path = tmp_path / "repository"
    take_turns([ours, official], path, spec_version)
    graphs = [ic.Repository.open(storage(ic, path)).ancestry_graph(plain=True) for ic in (ours, official)]
    shown = []
    for graph in graphs:
        lines = [line for line in str(graph).splitlines() if "●" in line]
        matches = [GRAPH_LINE.fullmatch(line) for line in lines]
        shown.append([match.groups() for match in matches if match is not None])
        assert all(match is not None for match in matches), lines
    assert shown[0] == shown[1]
    assert len(shown[0]) >= 10
    assert all(graph._repr_svg_().startswith("<svg ") for graph in graphs)
