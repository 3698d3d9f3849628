"""The same mistake is answered by the same error, and the same question by the same answer."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.compat import (
    misuse,
    misuse_of_arrays,
    misuse_of_forks,
    misuse_of_history,
    misuse_of_rebases,
    misuse_of_repositories,
    misuse_of_stores,
    misuse_of_virtual_refs,
)

if TYPE_CHECKING:
    from pathlib import Path


REGISTERED = (
    misuse_of_arrays,
    misuse_of_forks,
    misuse_of_history,
    misuse_of_rebases,
    misuse_of_repositories,
    misuse_of_stores,
    misuse_of_virtual_refs,
)
"""The modules whose import fills `misuse.CASES`."""


@pytest.fixture(scope="module")
def prepared(ours: Any, official: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one repository for each implementation and spec version, to be copied."""
    directory = tmp_path_factory.mktemp("prepared")
    for ic in (ours, official):
        for spec_version in (1, 2):
            misuse.prepare(ic, str(directory / f"{ic.__name__}-{spec_version}"), spec_version)
    return directory


@pytest.mark.parametrize(
    ("name", "spec_version"),
    [
        (name, version)
        for name in misuse.CASES
        for version in (1, 2)
        if version > 1 or name not in misuse.SPEC_2_ONLY
    ],
)
def test_same_answer(
    ours: Any, official: Any, prepared: Path, tmp_path: Path, name: str, spec_version: int
) -> None:
    answers = []
    for ic in (ours, official):
        path = tmp_path / ic.__name__
        shutil.copytree(prepared / f"{ic.__name__}-{spec_version}", path)
        answers.append(misuse.answer(misuse.CASES[name], misuse.stand_on(ic, str(path))))
    on_purpose = misuse.ON_PURPOSE.get(f"{name}@{spec_version}", misuse.ON_PURPOSE.get(name))
    if on_purpose is not None:
        assert answers[0] == on_purpose
        assert answers[1] != answers[0], "no difference any more"
    else:
        assert answers[0] == answers[1]
