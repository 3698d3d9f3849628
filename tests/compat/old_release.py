"""What the tests ask of the official 1.x release, run by a Python that has it.

The other side is `conftest.py`, which starts this file as a script (its directory, not the project, is then
on the path) and reads one line of JSON from its output. Commands::

    write PATH                 tell the spec-1 story in a new repository
    describe PATH              what can be read there
    start PATH                 make the repository of `turns`
    append PATH NUMBER         commit one round of `turns`
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

# At the end, so that the release wins over ours, which lies there too.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.compat import describe, scenario, turns

icechunk: Any = importlib.import_module("icechunk")


def main(command: str, path: str, *rest: str) -> Any:
    """Run one command; the answer is printed as JSON."""
    storage = icechunk.local_filesystem_storage(path)
    if command == "write":
        chapters = scenario.Chapters.of_spec_1(relative_locations=False)
        told = scenario.write_history(icechunk, storage, chapters)
        return {"detached": told.detached, "released": told.released, "version": icechunk.__version__}
    if command == "start":
        return turns.start(icechunk, storage).lookup_branch("main")
    repository = icechunk.Repository.open(storage)
    if command == "describe":
        return describe.describe(repository, describe.OLD_SECTIONS)[0]
    if command == "append":
        return turns.take_turn(repository, int(rest[0]), who="old")
    raise SystemExit(f"unknown command {command}")


if __name__ == "__main__":
    icechunk.set_logs_filter("error")  # this release logs to the standard output
    print(json.dumps(main(*sys.argv[1:])), flush=True)
    os._exit(0)  # this release now and then aborts while the interpreter winds up
