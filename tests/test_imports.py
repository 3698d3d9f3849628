"""What can be imported from where, and that using it prints nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import icechunk

QUIET = """
import asyncio
import contextlib
import sys

import zarr
import icechunk
from tests.s3_server import s3_at

def use(storage):
    with contextlib.suppress(icechunk.IcechunkError):
        icechunk.Repository.open(storage)
    repo = icechunk.Repository.create(storage)
    with repo.transaction("main", message="root") as store:
        zarr.create_group(store)
    sessions = [repo.writable_session("main") for _ in range(3)]
    for number, session in enumerate(sessions):
        array = zarr.create_array(session.store, name=f"a{number}", shape=(300,), chunks=(200,), dtype="f8")
        array[:] = number
    sessions[0].commit("first")
    with contextlib.suppress(icechunk.ConflictError):
        sessions[1].commit("conflict")
    sessions[2].commit("rebased", rebase_with=icechunk.ConflictDetector())
    with contextlib.suppress(icechunk.IcechunkError):
        repo.readonly_session(tag="nope")
    store = icechunk.Repository.open_or_create(storage).readonly_session("main").store
    assert zarr.open_array(store, path="a2", mode="r")[0] == 2
    assert len(list(store.list())) > 4
    repr(repo), str(store), store.session._repr_html_(), repo.ancestry_graph()
    asyncio.run(repo.lookup_branch_async("main"))

use(icechunk.in_memory_storage())
use(icechunk.local_filesystem_storage(sys.argv[1]))
use(s3_at(sys.argv[2], "quiet"))
"""


def test_everything_public_comes_with_a_star() -> None:
    exported: dict[str, object] = {}
    exec("from icechunk import *", exported)
    exported.pop("__builtins__")
    assert exported == {name: getattr(icechunk, name) for name in icechunk.__all__}
    assert {"Repository", "Session", "IcechunkStore", "Storage", "RepositoryConfig"} <= exported.keys()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("store", "IcechunkStore"),
        ("session", "Session"),
        ("config", "RepositoryConfig"),
        ("storage", "s3_storage"),
    ],
)
def test_a_module_can_be_the_first_that_is_imported(module: str, name: str) -> None:
    """No circle of imports depends on where one enters it, and the names mean what they mean elsewhere."""
    program = f"from icechunk.{module} import {name}; import icechunk; assert icechunk.{name} is {name}"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=Path(__file__).parent.parent)


def test_nothing_is_printed(tmp_path: Path, s3_server: str) -> None:
    """Neither on success nor on errors: a program's output is its own, whatever it is piped into."""
    answer = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path), s3_server],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert answer.returncode == 0, answer.stderr
    assert (answer.stdout, answer.stderr) == ("", "")
