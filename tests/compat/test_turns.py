"""Two implementations that commit to one repository in turns."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from tests.compat import describe, turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _check(ic: Any, path: Path, number: int) -> None:
    """What `ic` must read after that many turns."""
    repository = ic.Repository.open(ic.local_filesystem_storage(str(path)))
    root: Any = zarr.open_group(repository.readonly_session("main").store, mode="r")
    for name, expected in turns.expected_values(number).items():
        np.testing.assert_array_equal(root[name][...], expected, err_msg=f"{name} after {number} turns")
    history = list(repository.ancestry(branch="main"))
    assert [info.metadata.get("number") for info in history[:number]] == list(range(number))[::-1]
    assert len(root.attrs) == number


@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("first", ["ours", "official"])
def test_in_turns(ours: Any, official: Any, tmp_path: Path, spec_version: int, first: str) -> None:
    sides = [ours, official] if first == "ours" else [official, ours]
    path = tmp_path / "repository"
    turns.start(sides[0], sides[0].local_filesystem_storage(str(path)), spec_version=spec_version)
    for number in range(turns.ROUNDS):
        ic = sides[(number + 1) % 2]
        repository = ic.Repository.open(ic.local_filesystem_storage(str(path)))
        turns.take_turn(repository, number, who=ic.__name__)
        for reader in sides:
            _check(reader, path, number + 1)
    told = [
        describe.describe(ic.Repository.open(ic.local_filesystem_storage(str(path))), describe.OUR_SECTIONS)[
            0
        ]
        for ic in sides
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("spec_version", [1, 2])
def test_repositories_kept_open_see_each_other(
    ours: Any, official: Any, tmp_path: Path, spec_version: int
) -> None:
    """Nobody opens anew: what the other one did meanwhile is found by looking again."""
    path = str(tmp_path / "repository")
    opened = [turns.start(ours, ours.local_filesystem_storage(path), spec_version=spec_version)]
    opened.append(official.Repository.open(official.local_filesystem_storage(path)))
    for number in range(turns.ROUNDS):
        tip = turns.take_turn(opened[number % 2], number, who="one of two")
        assert [repository.lookup_branch("main") for repository in opened] == [tip, tip]
    for ic in (ours, official):
        _check(ic, tmp_path / "repository", turns.ROUNDS)


@pytest.mark.parametrize("starts", ["ours", "old"])
def test_in_turns_with_the_old_release(
    ours: Any, old_release: Callable[..., Any], tmp_path: Path, starts: str
) -> None:
    path = tmp_path / "repository"
    if starts == "ours":
        turns.start(ours, ours.local_filesystem_storage(str(path)), spec_version=1)
    else:
        old_release("start", path)
    for number in range(turns.ROUNDS):
        if number % 2:
            turns.take_turn(
                ours.Repository.open(ours.local_filesystem_storage(str(path))), number, who="ours"
            )
        else:
            old_release("append", path, number)
        _check(ours, path, number + 1)
    repository = ours.Repository.open(ours.local_filesystem_storage(str(path)))
    told, _ = describe.describe(repository, describe.OLD_SECTIONS)
    assert old_release("describe", path) == told


@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("winner", ["ours", "official"])
def test_the_later_of_two_commits_is_refused(
    ours: Any, official: Any, tmp_path: Path, spec_version: int, winner: str
) -> None:
    sides = [ours, official] if winner == "ours" else [official, ours]
    path = str(tmp_path / "repository")
    turns.start(sides[0], sides[0].local_filesystem_storage(path), spec_version=spec_version)
    sessions = []
    for ic in sides:
        session = ic.Repository.open(ic.local_filesystem_storage(path)).writable_session("main")
        zarr.open_group(session.store).attrs["by"] = ic.__name__
        sessions.append(session)
    base = sessions[0].snapshot_id
    tip = sessions[0].commit("first")
    with pytest.raises(sides[1].ConflictError) as caught:
        sessions[1].commit("second")
    assert (caught.value.expected_parent, caught.value.actual_parent) == (base, tip)
    for ic in sides:
        repository = ic.Repository.open(ic.local_filesystem_storage(path))
        assert repository.lookup_branch("main") == tip
        assert (
            zarr.open_group(repository.readonly_session("main").store, mode="r").attrs["by"]
            == sides[0].__name__
        )


@pytest.mark.parametrize("spec_version", [1, 2])
def test_refs_and_config_in_turns(ours: Any, official: Any, tmp_path: Path, spec_version: int) -> None:
    path = str(tmp_path / "repository")
    first = turns.start(ours, ours.local_filesystem_storage(path), spec_version=spec_version)
    sides = [first, official.Repository.open(official.local_filesystem_storage(path))]
    modules = [ours, official]
    tip = first.lookup_branch("main")
    root = [info.id for info in first.ancestry(branch="main")][-1]
    for number in range(4):
        one, other = sides[number % 2], sides[1 - number % 2]
        one.create_branch(f"b{number}", tip)
        other.reset_branch(f"b{number}", root)
        one.create_branch(f"dropped{number}", tip)
        other.delete_branch(f"dropped{number}")
        one.create_tag(f"t{number}", tip)
        one.create_tag(f"gone{number}", root)
        other.delete_tag(f"gone{number}")
        for ic, repository in zip(modules, sides, strict=True):
            with pytest.raises(ic.AlreadyExistsError):
                repository.create_tag(f"gone{number}", tip)
            assert repository.list_branches() == {"main", *(f"b{n}" for n in range(number + 1))}
            assert repository.list_tags() == {f"t{n}" for n in range(number + 1)}
            assert repository.lookup_branch(f"b{number}") == root
            assert repository.lookup_tag(f"t{number}") == tip

    for number, ic in enumerate([*modules, *modules]):
        config = ic.RepositoryConfig.default()
        config.inline_chunk_threshold_bytes = 10 + number
        repository = ic.Repository.open(ic.local_filesystem_storage(path), config=config)
        repository.save_config()
        stored = [each.Repository.fetch_config(each.local_filesystem_storage(path)) for each in modules]
        assert describe.plain(stored[0]) == describe.plain(stored[1])
        assert stored[0].inline_chunk_threshold_bytes == 10 + number
        assert stored[0].manifest.splitting is not None


@pytest.mark.parametrize("spec_version", [1, 2])
def test_both_write_at_once(ours: Any, official: Any, tmp_path: Path, spec_version: int) -> None:
    """On branches of their own, while the repository is shared; spec 2 keeps all refs in one object.

    The official implementation does not guard local directories, so only one of it and one of ours take turns
    with a lock around each commit.
    """
    path = str(tmp_path / "repository")
    turns.start(ours, ours.local_filesystem_storage(path), spec_version=spec_version)
    lock = threading.Lock()

    def write(ic: Any) -> None:
        repository = ic.Repository.open(ic.local_filesystem_storage(path))
        with lock:
            repository.create_branch(ic.__name__, repository.lookup_branch("main"))
        for number in range(10):
            session = repository.writable_session(ic.__name__)
            root: Any = zarr.open_group(session.store)
            root["native"][number % turns.ROUNDS] = number + 1
            with lock:
                session.commit(f"{number}")

    threads = [threading.Thread(target=write, args=(ic,)) for ic in (ours, official)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ic in (ours, official):
        repository = ic.Repository.open(ic.local_filesystem_storage(path))
        for branch in (ours.__name__, official.__name__):
            messages = [info.message for info in repository.ancestry(branch=branch)]
            assert messages[:10] == [f"{number}" for number in range(10)][::-1]
