"""Histories replayed on two implementations, which have to agree after every step.

`replay` takes one history: steps that an `Author` makes up, or steps given. Each implementation has a
repository of its own. After each step the two compare what came of it: the value or the error, the session
that it was about with all its documents and chunks, branches, tags and histories. Every so often, and at the
end, both open both repositories and have to read the same in each; then they exchange them, so that either
goes on with what the other one wrote.

For longer runs by hand, with the official release beside ours (see `CONTRIBUTING.md`)::

    python -m tests.compat.replay --steps 100000 --seed 7

A history in which the two disagree is printed with its seed and with as few steps as still show it. Those can
be replayed from a file: ``python -m tests.compat.replay --history FILE --spec-version 2``.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import logging
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.compat import describe
from tests.compat.histories import ENDING, Author, Step, is_document, read_steps
from tests.compat.replay_differences import DIFFERENCES, Case, path_of_key, with_both_lives
from tests.compat.sides import Side, operations, read_content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LENGTH = 160
"""Steps of a history, if nothing ends it before."""

EXCHANGE_EVERY = 40
"""Steps between exchanges."""


class Disagreement(AssertionError):
    """The two implementations do not agree after some step."""


@dataclass
class Replay:
    """What came of one history.

    Attributes
    ----------
    steps : list of Step
        What was done.
    verbs : Counter
        How often each verb was done, by ``verb`` and ``verb!`` for those that raised.
    differences : Counter
        How often each difference on purpose occurred.
    """

    seed: int
    spec_version: int
    steps: list[Step] = field(default_factory=list)
    verbs: collections.Counter[str] = field(default_factory=collections.Counter)
    differences: collections.Counter[str] = field(default_factory=collections.Counter)


class Player:
    """Two sides, and the comparisons between them."""

    def __init__(
        self, ours: Any, official: Any, directory: Path, told: Replay, runner: asyncio.Runner
    ) -> None:
        self.told = told
        chance = random.Random(told.seed)
        updates_per_file, split = chance.choice([3, 1000]), chance.random() < 0.5
        self.chance = random.Random(told.seed + 1)
        self.runner = runner
        self.sides = [Side(ours, directory / "one", runner), Side(official, directory / "other", runner)]
        for side in self.sides:
            side.create(told.spec_version, updates_per_file=updates_per_file, split=split)
        self.read = 0
        self.over = False

    def play(self, step: Step) -> None:
        """Take a step on both sides and compare."""
        self.told.steps.append(step)
        if step.verb == "exchange":
            self.exchange()
            return
        theirs = self.sides[1]
        label = theirs.session_label(step)
        before, refs = theirs.states.get(label), theirs.refs
        ours, official = (side.take(step) for side in self.sides)
        case = Case(step, ours, official, theirs, before, refs)
        raised = official["outcome"][0] == "raised"
        self.told.verbs[step.verb + "!" * raised] += 1
        self._apply_differences(case)
        if case.official != ours:
            raise Disagreement("\n".join(_differing(ours, case.official)))
        ended = step.verb in ENDING and official["outcome"] != ours["outcome"]
        self.over = ended or official.get("refs") != ours.get("refs")
        if official.get("session") != ours.get("session") or (case.is_rebase() and case.was_reset()):
            for side in self.sides:
                side.forget(label)

    def _apply_differences(self, case: Case) -> None:
        """Change the official answer into what is wanted of ours."""
        if case.official == case.ours:
            return
        for difference in DIFFERENCES:
            wanted = difference.ours(case)
            if wanted is not None:
                self.told.differences[difference.name] += 1
                case.official = wanted

    def exchange(self) -> None:
        """Both read both repositories; each goes on with that of the other."""
        self.read_across(alike=True)
        one, other = self.sides
        one.path, other.path = other.path, one.path
        one.ids, other.ids = other.ids, one.ids
        one.labels, other.labels = other.labels, one.labels
        for side in self.sides:
            for label in list(side.sessions):
                side.forget(label)
            storage = side.ic.local_filesystem_storage(str(side.path))
            side.repository = side.ic.Repository.open(storage)
            side.refs = side.read_refs()
        if one.refs != other.refs:
            raise Disagreement("\n".join(_differing(one.refs, other.refs, "refs")))

    def read_across(self, *, alike: bool) -> None:
        """Both implementations read both repositories.

        Of each they have to read the same to the letter, and the same of the one as of the other as far as
        ids and times allow, unless a difference on purpose has made them differ (`alike`).
        """
        made = self.sides[0].made
        labels = made[self.read :] + self.chance.sample(made, min(2, len(made)))
        pairs = [tuple(self.chance.sample(made, 2)) for _ in range(4) if len(made) > 1]
        self.read = len(made)
        told = []
        for place in self.sides:
            readings = [
                _read(reader.ic, place, labels if alike else [], pairs if alike else [], self.runner)
                for reader in self.sides
            ]
            self._join_lives(*readings)
            if readings[0] != readings[1]:
                about = f"about the repository that {place.ic.__name__} wrote last:"
                raise Disagreement("\n".join([about, *_differing(readings[0], readings[1])]))
            told.append(place.plain(readings[0]))
        if alike and _without_ids(told[0]) != _without_ids(told[1]):
            differing = _differing(_without_ids(told[0]), _without_ids(told[1]))
            raise Disagreement("\n".join(["about the two repositories:", *differing]))

    def _join_lives(self, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        """Take the one difference on purpose away that there is in what is read."""
        for pair, diff in theirs.get("diffs", {}).items():
            if isinstance(diff, dict):
                wanted = with_both_lives(ours["diffs"][pair], diff)
                if wanted != diff:
                    self.told.differences["both lives"] += 1
                theirs["diffs"][pair] = wanted


def _read(
    ic: Any,
    place: Side,
    labels: list[str],
    pairs: list[tuple[str, ...]],
    runner: asyncio.Runner,
) -> dict[str, Any]:
    """What an implementation reads of the repository of a side."""
    repository = ic.Repository.open(ic.local_filesystem_storage(str(place.path)))
    read: dict[str, Any] = describe.describe(repository, ("refs", "history"))[0]
    snapshots: dict[str, Any] = {}
    for label in dict.fromkeys(labels):
        session = repository.readonly_session(snapshot_id=place.ids[label])
        described: dict[str, Any] = {"content": runner.run(read_content(session.store))}
        paths = [path_of_key(key) for key in described["content"] if is_document(key)]
        described["node ids"] = {path: session.get_node_id(f"/{path}") for path in paths}
        files = repository.list_manifest_files(place.ids[label])
        described["manifests"] = sorted([file.id, file.size_bytes, file.num_chunk_refs] for file in files)
        snapshots[label] = described
    read["snapshots"] = snapshots
    read["diffs"] = {
        " ".join(pair): _diff(repository, *(place.ids[label] for label in pair)) for pair in pairs
    }
    if repository.spec_version > 1:
        read["updates"], read["metadata"] = operations(repository), repository.get_metadata()
    return read


def _diff(repository: Any, older: str, newer: str) -> Any:
    try:
        return describe.diff_of(repository.diff(from_snapshot_id=older, to_snapshot_id=newer))
    except Exception as error:  # the error is the answer
        return describe.error_of(error)


def _without_ids(read: dict[str, Any]) -> dict[str, Any]:
    """What two repositories with the same history have in common."""
    told = dict(read)
    told["history"] = {
        name: [[info["id"], info["parent_id"], info["message"], info["metadata"]] for info in history]
        for name, history in read["history"].items()
    }
    told["snapshots"] = {
        label: {
            "content": described["content"],
            "manifests": sorted(count for _, _, count in described["manifests"]),
        }
        for label, described in read["snapshots"].items()
    }
    return told


def _differing(ours: Any, theirs: Any, where: str = "answer") -> Iterator[str]:
    """Where two pieces of plain data differ."""
    if ours == theirs:
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*ours, *theirs]):
            missing = "(missing)"
            yield from _differing(ours.get(key, missing), theirs.get(key, missing), f"{where}/{key}")
        return
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs) > 0:
        for position, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differing(one, other, f"{where}/{position}")
        return
    yield f"  {where}:\n    ours:     {ours}\n    official: {theirs}"


def replay(
    ours: Any,
    official: Any,
    directory: Path,
    *,
    seed: int,
    spec_version: int,
    steps: Iterable[Step] | None = None,
    length: int = LENGTH,
) -> Replay:
    """Replay one history, made up from a seed or given.

    Raises
    ------
    Disagreement
        After a step; the `Replay` so far is its second argument.
    """
    told = Replay(seed, spec_version)
    with asyncio.Runner() as runner:
        player = Player(ours, official, directory, told, runner)
        try:
            for step in _made_up(player, length) if steps is None else steps:
                player.play(step)
                if player.over:
                    break
            player.read_across(alike=not player.over)
        except Disagreement as error:
            raise Disagreement(*error.args, told) from None
    return told


def _made_up(player: Player, length: int) -> Iterator[Step]:
    author = Author(random.Random(player.told.seed), player.told.spec_version)
    for number in range(1, length + 1):
        if number % EXCHANGE_EVERY == 0:
            yield Step(number, "exchange", {})
        else:
            yield author.next_step(number, player.sides[1])


def shorten(fails: Callable[[list[Step]], bool], steps: list[Step]) -> list[Step]:
    """Leave out steps as long as what remains still fails."""
    size = len(steps) // 2
    while size:
        start = 0
        while start < len(steps):
            shorter = steps[:start] + steps[start + size :]
            if fails(shorter):
                steps = shorter
            else:
                start += size
        size //= 2
    return steps


def replay_many(
    ours: Any,
    official: Any,
    directory: Path,
    *,
    seed: int,
    steps: int,
    spec_versions: Iterable[int] = (1, 2),
    length: int = LENGTH,
) -> Replay:
    """Replay histories of both spec versions until they have so many steps; sums them up.

    Raises
    ------
    AssertionError
        The two implementations disagree: the message says where, and how to see it again.
    """
    total = Replay(seed, 0)
    versions = itertools.cycle(sorted(spec_versions, reverse=True))
    for number in itertools.count():
        if len(total.steps) >= steps:
            return total
        one_seed, spec_version = seed * 100_000 + number, next(versions)
        place = directory / str(number)
        try:
            told = replay(ours, official, place, seed=one_seed, spec_version=spec_version, length=length)
        except Disagreement as error:
            report = explain(ours, official, directory, error)
            raise AssertionError(report) from None
        shutil.rmtree(place)
        total.steps += told.steps
        total.verbs += told.verbs
        total.differences += told.differences
    raise AssertionError("unreachable")


def explain(ours: Any, official: Any, directory: Path, error: Disagreement) -> str:
    """The report of a disagreement, with a history as short as possible."""
    told: Replay = error.args[1]
    attempts = itertools.count()
    last = [error.args[0]]

    def fails(steps: list[Step]) -> bool:
        place = directory / f"shorter-{next(attempts)}"
        try:
            replay(ours, official, place, seed=told.seed, spec_version=told.spec_version, steps=steps)
        except Disagreement as again:
            last[0] = again.args[0]
            return True
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return False

    steps = shorten(fails, told.steps) if fails(told.steps) else told.steps
    fails(steps)
    shown = "\n".join(map(str, steps))
    return (
        f"seed {told.seed}, spec version {told.spec_version}, after {len(told.steps)} steps.\n"
        f"Shorter history:\n{shown}\n{last[0]}"
    )


def main() -> None:
    """Run histories from the command line."""
    import icechunk_official as official

    import icechunk

    parser = argparse.ArgumentParser(prog="python -m tests.compat.replay", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="about how many steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--length", type=int, default=LENGTH, help="of one history")
    parser.add_argument("--spec-version", type=int, choices=[1, 2], action="append")
    parser.add_argument("--history", type=Path, help="a file with the steps of one history")
    options = parser.parse_args()
    official.set_logs_filter("error")
    logging.getLogger("icechunk").setLevel(logging.ERROR)
    versions = options.spec_version or [1, 2]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        if options.history is not None:
            steps = read_steps(options.history.read_text())
            told = replay(
                icechunk, official, Path(name), seed=options.seed, spec_version=versions[0], steps=steps
            )
        else:
            told = replay_many(
                icechunk,
                official,
                Path(name),
                seed=options.seed,
                steps=options.steps,
                spec_versions=versions,
                length=options.length,
            )
    print(f"{len(told.steps)} steps in {time.perf_counter() - started:.1f} s")
    for title, counter in (("verbs", told.verbs), ("differences on purpose", told.differences)):
        print(f"{title}: " + ", ".join(f"{name} {count}" for name, count in sorted(counter.items())))


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(str(error.args[0]))
