"""Random histories come out alike on ours and on the official implementation; see `replay`.

Longer runs are made by hand: ``python -m tests.compat.replay --steps 100000 --seed 7``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.compat.histories import GRIDS, ROOT, Step, array_document, group_document, read_steps
from tests.compat.replay import Disagreement, replay, replay_many, shorten
from tests.compat.replay_differences import DIFFERENCES

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 500
"""How many steps for each seed, half of them in spec version 1."""

Told = tuple[str, dict[str, Any]]


def opened(kind: str = "writable") -> Told:
    return f"open_{kind}", {"branch": "main"}


def created(session: str, path: str, grid: str | None = None, verb: str = "create") -> Told:
    document = group_document(0) if grid is None else array_document(*GRIDS[grid], 1)
    verb = verb if verb != "create" else "create_group" if grid is None else "create_array"
    return verb, {"session": session, "path": path, "document": document}


def wrote(session: str, path: str, *coordinates: int) -> Told:
    return "write_chunk", {
        "session": session,
        "path": path,
        "coordinates": list(coordinates),
        "payload": session,
    }


def deleted(session: str, path: str, *, whole: bool = False) -> Told:
    return "delete_node", {"session": session, "path": path, "whole": whole}


def moved(session: str, source: str, target: str) -> Told:
    return "move", {"session": session, "from": source, "to": target}


def committed(session: str) -> Told:
    return "commit", {"session": session, "message": session, "metadata": None, "allow_empty": True}


def rebased(session: str) -> Told:
    return "rebase", {"session": session, "solver": "detector"}


BEGINNING = (
    *(opened(), created("s1", ""), created("s1", "a", "line"), wrote("s1", "a", 0)),
    *(created("s1", "g"), committed("s1")),
    *(opened(), opened()),  # ours is `s7` and theirs is `s8`
)

EXAMPLES: dict[str, list[Told]] = {
    "each conflict once": [
        *(created("s8", "n", "line"), committed("s8")),
        *(created("s7", "n/x"), created("s7", "n/y"), rebased("s7")),
    ],
    "moved along": [
        *(opened("rearrange"), created("s8", "g/a", "line"), committed("s8")),
        *(moved("s9", "g", "h"), rebased("s9")),
    ],
    "both lives": [
        *(wrote("s7", "a", 0), committed("s7"), opened()),
        *(created("s11", "a", "line", "recreate"), wrote("s11", "a", 1), committed("s11")),
        *[("diff", {"from": {"snapshot": "c6"}, "to": {"branch": "main"}})] * 30,  # it is a matter of chance
    ],
    "flush of a reader": [
        opened("readonly"),
        ("flush", {"session": "s9", "message": "flush", "metadata": None}),
    ],
    "replaced array": [
        *(created("s7", "a", verb="recreate"), created("s7", "a/n")),
        *(committed("s8"), rebased("s7")),
    ],
    "recreated twice": [
        *(created("s8", "a", "line", "recreate"), committed("s8")),
        *(created("s7", "a", "line", "recreate"), rebased("s7")),
    ],
    "grown while deleted": [created("s8", "g/n"), committed("s8"), deleted("s7", "g"), rebased("s7")],
    "deleted while grown": [deleted("s8", "g"), committed("s8"), created("s7", "g/n"), rebased("s7")],
    "moved away": [
        *(opened("rearrange"), deleted("s8", "a"), committed("s8")),
        *(moved("s9", "a", "b"), rebased("s9")),
    ],
    "refused first": [opened("readonly"), deleted("s9", "nowhere")],
    "number of coordinates": [wrote("s7", "a", 0, 0)],
    "across": [
        *(created("s8", "n", "line"), committed("s8"), opened(), wrote("s11", "n", 0)),
        *(("reset_branch", {"branch": "main", "snapshot": "c6"}), rebased("s11")),
    ],
    "moved above others": [
        *(created("s7", "n/x"), committed("s7"), opened("rearrange")),
        moved("s11", "a", "n"),
    ],
    "everything": [deleted("s7", ""), created("s7", "n"), deleted("s7", "", whole=True)],
    "number of dimensions": [created("s7", "a", "plane", "resize")],
    "chunks of other dimensions": [
        *(created("s7", "n", "line"), committed("s7"), opened(), opened()),
        *(wrote("s11", "n", 0), committed("s11"), created("s12", "n", "plane", "resize"), rebased("s12")),
    ],
    "chunks of nothing": [created("s7", "n", "empty"), wrote("s7", "n", 0)],
    "what changes nothing": [
        wrote("s7", "a", 1),
        ("delete_chunk", {"session": "s7", "key": "a/c/1"}),
    ],
}
"""For each difference on purpose, what to do after the beginning so that it occurs in the last step."""


def numbered(*told: Told) -> list[Step]:
    return [Step(number, verb, arguments) for number, (verb, arguments) in enumerate(told, 1)]


@pytest.mark.parametrize("seed", range(1, 6))
def test_both_agree_after_every_step_and_on_what_the_other_wrote(
    ours: Any, official: Any, tmp_path: Path, seed: int
) -> None:
    told = replay_many(ours, official, tmp_path, seed=seed, steps=STEPS)
    assert len(told.steps) >= STEPS
    assert told.differences.keys() <= {difference.name for difference in DIFFERENCES}
    for verb in ("commit", "commit!", "rebase!", "amend", "move!", "reset_branch", "write_chunk", "diff"):
        assert told.verbs[verb], f"no history has `{verb}`"


def test_each_difference_has_a_name_a_reason_and_an_example() -> None:
    assert [difference.name for difference in DIFFERENCES] == list(EXAMPLES)
    assert all(difference.why.endswith(".") for difference in DIFFERENCES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_difference_is_one(
    ours: Any, official: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It occurs, it is the only one that does, and without it on the list it would not pass."""
    steps = numbered(*BEGINNING, *EXAMPLES[name])
    told = replay(ours, official, tmp_path / "listed", seed=1, spec_version=2, steps=steps)
    assert told.differences.keys() == {name}
    kept = [difference for difference in DIFFERENCES if difference.name != name]
    monkeypatch.setattr("tests.compat.replay.DIFFERENCES", kept)
    with pytest.raises(Disagreement):
        replay(ours, official, tmp_path / "not listed", seed=1, spec_version=2, steps=steps)


def test_a_history_is_read_as_it_was_printed() -> None:
    steps = numbered(*BEGINNING, ("create_branch", {"branch": "ünï", "snapshot": ROOT}))
    assert read_steps("\n".join(["Shorter history:", *map(str, steps), "  answer: [1]"])) == steps
    assert all(json.loads(str(step)) for step in steps)


def test_what_does_not_matter_is_left_out_of_a_history() -> None:
    steps = numbered(*BEGINNING)
    assert shorten(lambda left: steps[2] in left and steps[5] in left, steps) == [steps[2], steps[5]]
