"""The implementations that are compared.

Tests that need the official 2.x release are skipped where `tools/install_official.py` has not put it; those
of the 1.x release where the environment variable ``ICECHUNK_V1_PYTHON`` does not name an interpreter that has
it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import icechunk

if TYPE_CHECKING:
    from collections.abc import Callable

OLD_RELEASE = Path(__file__).with_name("old_release.py")


@pytest.fixture(scope="session")
def ours() -> Any:
    return icechunk


@pytest.fixture(scope="session")
def official() -> Any:
    """The official 2.x release, quiet."""
    module = pytest.importorskip("icechunk_official", reason="tools/install_official.py has not been run")
    module.set_logs_filter("error")
    return module


@pytest.fixture(scope="session")
def old_release() -> Callable[..., Any]:
    """Runs a command of `old_release` in a Python that has the official 1.x release."""
    interpreter = os.environ.get("ICECHUNK_V1_PYTHON")
    if interpreter is None:
        pytest.skip("set ICECHUNK_V1_PYTHON to a Python with the official 1.x release, as .ci/run does")

    def run(command: str, path: Path, *rest: object) -> Any:
        arguments = [interpreter, "-E", str(OLD_RELEASE), command, str(path), *map(str, rest)]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=path.parent)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
