"""Forks at every moment: children work, or are told at once what to do instead, and nothing ever hangs.

The programs are in `tests/forks.py`: a test runner has threads, and warns, of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

TIMEOUT = 240.0
MOMENTS = [
    "after_import",
    "after_opening",
    "after_reading",
    "during_reads",
    "during_writes",
    "during_commits",
    "during_the_commit_of_a_session",
    "in_a_coroutine",
    "in_a_child",
    "ending_as_programs_do",
    "data_loader",
]


def run(program: str, place: str) -> None:
    """Run a program of `forks` with a limit on its time."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.forks", program, place]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["memory", "directory"])
@pytest.mark.parametrize("program", MOMENTS)
def test_children_work(program: str, place: str, tmp_path: Path) -> None:
    run(program, "memory" if place == "memory" else str(tmp_path / "repository"))


@pytest.mark.parametrize("program", ["whole_state", "whole_sections"])
def test_what_children_find_is_whole(program: str) -> None:
    run(program, "memory")


@pytest.mark.parametrize("program", ["s3_before_its_use", "s3_after_its_use", "s3_data_loader"])
def test_stores_in_the_network_work_or_say_at_once_what_to_do(program: str, s3_server: str) -> None:
    run(program, s3_server)
