"""The same mistake is answered by the same error, and the same question by the same answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.compat import misuse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("name", misuse.CASES)
def test_same_answer(ours: Any, official: Any, tmp_path: Path, name: str, spec_version: int) -> None:
    if spec_version == 1 and name in misuse.SPEC_2_ONLY:
        return
    answers = [
        misuse.answer(misuse.CASES[name], misuse.make_ground(ic, str(tmp_path / ic.__name__), spec_version))
        for ic in (ours, official)
    ]
    if name in misuse.ON_PURPOSE:
        assert answers[0] == misuse.ON_PURPOSE[name]
        assert answers[1] != answers[0], "no difference any more"
    else:
        assert answers[0] == answers[1]
