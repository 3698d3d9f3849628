"""What was written by forks and merged is read alike by both implementations."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
import zarr

from tests.compat import describe, golden

if TYPE_CHECKING:
    from pathlib import Path


def write_together(ic: Any, storage: Any, spec_version: int) -> None:
    """Two commits, each made of what several forks of a changed session did; one fork has forks itself."""
    repository = ic.Repository.create(storage, spec_version=spec_version)
    for number, message in enumerate(("first", "second")):
        session = repository.writable_session("main")
        root: Any = zarr.open_group(session.store, mode="a")
        if not number:
            root.create_array("a", shape=(40, 6), chunks=(2, 3), dtype="i4", compressors=None)[:4] = 1
            root.create_array("old", shape=(4,), chunks=(1,), dtype="i4", compressors=None)[:] = 1
        root["a"][:, :3] = number + 1
        forks = [pickle.loads(pickle.dumps(session.fork())) for _ in range(4)]
        for part, fork in enumerate(forks):
            opened: Any = zarr.open_group(fork.store, mode="r+")
            opened["a"][10 * part : 10 * part + 8] = 100 * number + part + 1
            opened.create_group(f"made-{number}-{part}", attributes={"by": part})
        child = forks[0].fork()
        zarr.open_array(child.store, path="a", mode="r+")[8:10] = -1
        forks[0].merge(child)
        if number:
            del zarr.open_group(forks[1].store, mode="r+")["old"]
            zarr.open_group(forks[2].store, mode="r+")["made-0-1"].attrs["again"] = True
        session.merge(*(pickle.loads(pickle.dumps(fork)) for fork in forks))
        session.commit(message)


@pytest.fixture(scope="module", params=[1, 2])
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ours: Any, official: Any
) -> Any:
    """What each implementation says of the repository of each, by writer and reader."""
    directory = tmp_path_factory.mktemp(f"forks-{request.param}")
    found = {}
    for writer in (ours, official):
        path = directory / writer.__name__
        write_together(writer, writer.local_filesystem_storage(str(path)), request.param)
        for reader in (ours, official):
            found[writer.__name__, reader.__name__] = _read(reader, path)
    return found


def _read(ic: Any, path: Path) -> dict[str, Any]:
    return golden.read_back(ic, path, path.parent / "virtual", describe.OUR_SECTIONS, detached=())[0]


@pytest.mark.parametrize("section", describe.OUR_SECTIONS)
@pytest.mark.parametrize("writer", ["icechunk", "icechunk_official"])
def test_both_read_the_same(told: Any, section: str, writer: str) -> None:
    assert told[writer, "icechunk"][section] == told[writer, "icechunk_official"][section]


@pytest.mark.parametrize("section", ["documents", "values", "chunks", "kinds", "diffs"])
def test_both_write_the_same(told: Any, section: str) -> None:
    ours, theirs = (
        golden.by_message(told[writer, writer], section) for writer in ("icechunk", "icechunk_official")
    )
    assert ours == theirs
    assert len(ours) > 1
