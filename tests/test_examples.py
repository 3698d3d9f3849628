"""The examples run as a person would run them, on small sizes, and so does the code in the documentation."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import icechunk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TIMEOUT = 240.0
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
METHODS = [
    name for name in ("spawn", "forkserver", "fork") if name in multiprocessing.get_all_start_methods()
]


def run_program(
    *arguments: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    """What a Python program prints; it must succeed and warn of nothing."""
    strict = ["-W", "error::UserWarning", "-W", "error::RuntimeWarning"]
    done = subprocess.run(
        [sys.executable, *strict, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def run_example(name: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> str:
    return run_program(EXAMPLES / name, *arguments, environment=environment)


def history(path: Path, branch: str = "main") -> list[str]:
    """The messages of a branch, newest first."""
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))
    return [snapshot.message for snapshot in repository.ancestry(branch=branch)]


def test_parallel_writes(tmp_path: Path) -> None:
    path = tmp_path / "temperatures"
    said = run_example("parallel_writes.py", "--path", path, "--workers", "4", "--steps", "12")
    assert "wrote 12 chunks with 4 threads" in said
    assert "identical to the NetCDF file" in said
    assert re.search(r": 0 of 21756 values\n.*: 21756 of 21756 values", said)
    assert history(path) == ["Write 12 months", "Lay out the arrays", "Repository initialized"]


def test_parallel_writes_into_a_temporary_directory() -> None:
    assert "identical to the NetCDF file" in run_example("parallel_writes.py", "--steps", "2")


ENGINES = [
    *[("process_pool_writes.py", "--method", method) for method in METHODS],
    ("joblib_writes.py", "--backend", "loky"),
    ("joblib_writes.py", "--backend", "threading"),
    ("ray_writes.py",),
    ("lithops_writes.py",),
]


@pytest.fixture
def tidy() -> Iterator[dict[str, str]]:
    """Variables that have engines keep their files to a directory; its path is short, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="e", ignore_cleanup_errors=True) as folder:
        yield {"HOME": folder, "TMPDIR": folder, "RAY_TMPDIR": folder}


@pytest.mark.parametrize("engine", ENGINES, ids=" ".join)
def test_engines_write_one_change_together(
    tmp_path: Path, engine: tuple[str, ...], tidy: dict[str, str]
) -> None:
    path = tmp_path / "temperatures"
    sizes = ["--workers", "2", "--steps", "20"]
    said = run_example(*engine, "--path", path, *sizes, environment=tidy)
    assert "wrote 20 months with 2" in said
    assert "identical to the NetCDF file" in said
    assert history(path) == ["Write 20 months", "Lay out the arrays", "Repository initialized"]


@pytest.mark.parametrize("scheduler", ["threads", "processes", "distributed"])
def test_dask_writes(tmp_path: Path, scheduler: str) -> None:
    path = tmp_path / "temperatures"
    said = run_example(
        "dask_writes.py", "--path", path, "--scheduler", scheduler, "--workers", "2", "--years", "4"
    )
    assert f"4 Dask chunks, 2 {scheduler}" in said
    assert "identical to the NetCDF file" in said
    assert history(path) == ["Append the second half", "Write the first half", "Repository initialized"]


@pytest.mark.parametrize("method", METHODS)
def test_uncooperative_writes(tmp_path: Path, method: str) -> None:
    path = tmp_path / "marks"
    sizes = ["--processes", "2", "--commits", "4"]
    said = run_example("uncooperative_writes.py", "--path", path, *sizes, "--methods", method)
    assert "8 of 8 marks are there, 8 commits in the history" in said
    assert sum(message.startswith(f"Mark {method}") for message in history(path)) == 8


@pytest.mark.parametrize("where", ["memory", "directory"])
def test_async_client(tmp_path: Path, where: str) -> None:
    place: list[str | Path] = ["--path", tmp_path / "weather"] if where == "directory" else []
    said = run_example("async_client.py", *place, "--stations", "4", "--reports", "2")
    assert "8 reports of 4 stations" in said
    assert "branches: corrected, main" in said
    assert "changed on corrected: /station-00" in said
    if where == "directory":
        assert len(history(tmp_path / "weather")) == 10


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_code_in_documents(tmp_path: Path, document: Path) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```$", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert blocks
    run_program("-c", "\n".join(blocks), cwd=tmp_path)
