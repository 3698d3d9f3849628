"""Make the golden repositories in `tests/fixtures` with the official releases.

Run from the root of the project, where `tools/install_official.py` has put the official 2.x release, with
zarr 3.2 or newer::

    python -m tools.write_golden --old-python PATH

``--old-python`` names the interpreter of an environment that has the official 1.1 release; without it, the
fixture ``spec-1-by-1.1`` is left as it is. What the repositories hold is said in `tests/compat/scenario.py`;
what is recorded beside each is everything the official 2.x release reads in it. Ids and times differ from run
to run, so a new run is a new set of fixtures: look at the size before you commit it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import icechunk_official as ic
import zarr

from tests.compat import describe, golden, scenario

OLD_RELEASE = Path(__file__).resolve().parent.parent / "tests" / "compat" / "old_release.py"


def main() -> None:
    """Write the fixtures that the arguments allow."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--old-python", help="interpreter that has the official 1.1 release")
    arguments = parser.parse_args()
    ic.set_logs_filter("error")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        scenario.write_virtual_files(directory / "virtual")
        _write_spec_2(directory)
        _write_spec_1(directory)
        _write_migrated(directory)
        if arguments.old_python is not None:
            _write_with_old_release(directory, arguments.old_python)


def _write_spec_2(directory: Path) -> None:
    path = directory / "spec-2"
    told = scenario.write_history(ic, ic.local_filesystem_storage(str(path)))
    _record("spec-2", path, told, written_by=f"icechunk {ic.__version__}")


def _write_spec_1(directory: Path) -> None:
    path = directory / "spec-1"
    told = scenario.write_history(ic, ic.local_filesystem_storage(str(path)), scenario.Chapters.of_spec_1())
    _record("spec-1", path, told, written_by=f"icechunk {ic.__version__}")


def _write_migrated(directory: Path) -> None:
    """A repository of spec version 1, migrated, and continued in ways that only spec version 2 knows."""
    path = directory / "migrated"
    storage = ic.local_filesystem_storage(str(path))
    told = scenario.write_history(ic, storage, scenario.Chapters.of_spec_1(expiration=False, detached=False))
    repository = ic.upgrade_icechunk_repository(ic.Repository.open(storage), dry_run=False)
    session = repository.rearrange_session("main")
    session.move("/outer", "/moved")
    session.commit("moved after the migration")
    session = repository.writable_session("main")
    root: Any = zarr.open_group(session.store)
    root["native"][2:] = (2.5, 3.5)
    root["split"][4:6, 4:6] = 77
    root["virtual/plain"][0:10] = 1
    session.commit("written after the migration", metadata=scenario.METADATA)
    session = repository.writable_session("dev")
    zarr.open_group(session.store).attrs["continued"] = True
    session.amend("amended after the migration")
    repository.create_tag("v3", repository.lookup_branch("main"))
    _record("migrated", path, told, written_by=f"icechunk {ic.__version__}")


def _write_with_old_release(directory: Path, interpreter: str) -> None:
    path = directory / "spec-1-by-1.1"
    command = [interpreter, "-E", str(OLD_RELEASE), "write", str(path)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=directory).stdout)
    told = scenario.Told(detached=tuple(answer["detached"]), released=tuple(answer["released"]))
    _record("spec-1-by-1.1", path, told, written_by=f"icechunk {answer['version']}")


def _record(name: str, path: Path, told: scenario.Told, *, written_by: str) -> None:
    """Pack a repository together with what the official implementation reads in it."""
    expected, values = golden.read_back(
        ic, path, path.parent / "virtual", describe.SECTIONS, detached=told.detached
    )
    about = {"written_by": written_by, "detached": told.detached, "released": told.released}
    target = golden.pack(name, path, about, expected, values)
    print(f"{target.name}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
