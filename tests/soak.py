"""Processes that write one transaction together, some of them killed at random moments.

In each round a coordinator hands its session to workers, by `fork` or by `allow_pickling`. Every worker
writes its part of an array, and the coordinator merges what comes back and commits. One of them, or all, get
SIGKILL in a phase that is drawn beforehand, a moment after they said that they were in it. A coordinator
that misses a worker has its part written once more; if the coordinator is gone, so is the round.

Then the repository is opened anew. Its tip has to be the old one or the new one, the new one if the
coordinator had said so; all that the tip and an earlier snapshot hold has to read back; and the round, if it
did not land, has to succeed when it is done again.

    python -m tests.soak --kills 500
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import pickle
import random
import select
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import zarr

import icechunk
from icechunk.distributed import merge_sessions

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

WORKERS = 3
CHUNKS = 8
"""Chunks that each worker writes, one after the other."""

CHUNK = 256
PATIENCE = 30.0
LONGEST_WAIT = 0.012

PHASES = {
    "worker": ("started", "writing", "written", "returning"),
    "coordinator": ("opening", "laying out", "waiting", "merging", "committing", "committed"),
    "everyone": ("started", "writing", "merging", "committing"),
}


@dataclass(frozen=True)
class Kill:
    """Who is to die, and when: `wait` seconds after the phase was reported once more than `skip` times."""

    victim: str
    phase: str
    skip: int
    wait: float


@dataclass
class Outcome:
    """What came of a number of rounds."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    landed: Counter[tuple[str, str]] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"{'killed':12} {'while':12} {'kills':>6} {'old tip':>8} {'new tip':>8}"
        for (victim, phase), number in sorted(self.kills.items()):
            landed = self.landed[victim, phase]
            yield f"{victim:12} {phase:12} {number:6} {number - landed:8} {landed:8}"
        yield f"kills: {sum(self.kills.values())}, losses: {len(self.losses)}"
        yield from self.losses


class Events:
    """What the processes of a round say: lines of `<process id> <phase>` in a pipe."""

    def __init__(self, connection: Connection) -> None:
        self._file = connection.fileno()
        self._rest = b""

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """The lines until nobody is left who could write one."""
        while True:
            ready, _, _ = select.select([self._file], [], [], PATIENCE)
            if not ready:
                raise TimeoutError(f"nothing happened for {PATIENCE:.0f} s")
            new = os.read(self._file, 65536)
            if not new:
                return
            *lines, self._rest = (self._rest + new).split(b"\n")
            for line in lines:
                process, phase = line.decode().split(" ", 1)
                yield int(process), phase


def say(events: Connection, phase: str) -> None:
    os.write(events.fileno(), f"{os.getpid()} {phase}\n".encode())


# In the processes of a round


def write_part(travelled: bytes, part: int, number: int, events: Connection) -> bytes:
    """A worker's whole work, from the pickled session to the pickled session."""
    session: icechunk.Session = pickle.loads(travelled)
    say(events, "started")
    array = zarr.open_array(session.store, path="data", mode="r+")
    for chunk in range(part * CHUNKS, (part + 1) * CHUNKS):
        array[chunk * CHUNK : (chunk + 1) * CHUNK] = number
        say(events, "writing")
    say(events, "written")
    return pickle.dumps(session)


def start_worker(travelled: bytes, part: int, number: int, events: Connection) -> int:
    """Fork a worker; the answer is the end of a pipe where its session comes out."""
    here, there = os.pipe()
    if os.fork():
        os.close(there)
        return here
    try:
        os.close(here)
        returned = write_part(travelled, part, number, events)
        say(events, "returning")
        with os.fdopen(there, "wb") as file:
            file.write(len(returned).to_bytes(8, "little") + returned)
        os._exit(0)
    finally:
        os._exit(1)


def returned_by(pipe: int) -> bytes | None:
    """The session that comes out of a pipe; None if its worker has died."""
    with os.fdopen(pipe, "rb") as file:
        said = file.read()
    size = int.from_bytes(said[:8], "little")
    return said[8:] if len(said) >= 8 and len(said) == 8 + size else None


def coordinate(directory: str, number: int, seed: int, events: Connection) -> None:
    """One round."""
    os.setpgid(0, 0)
    choose = random.Random(seed)
    say(events, "opening")
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(directory))
    session = repository.writable_session("main")
    say(events, "laying out")
    if choose.random() < 0.5:
        group = b'{"zarr_format":3,"node_type":"group","attributes":{"round":%d}}' % number
        session._keys.set("zarr.json", group, len(group))
    if choose.random() < 0.5:
        with session.allow_pickling():
            travelled = pickle.dumps(session)
    else:
        travelled = pickle.dumps(session.fork())
    parts = {part: start_worker(travelled, part, number, events) for part in range(WORKERS)}
    say(events, "waiting")
    copies = []
    while parts:
        part, pipe = parts.popitem()
        returned = returned_by(pipe)
        if returned is None:
            parts[part] = start_worker(travelled, part, number, events)
        else:
            copies.append(returned)
    if choose.random() < 0.3:
        copies.append(copies[0])  # what a scheduler does that ran a task twice
    say(events, "merging")
    session = merge_sessions(session, *map(pickle.loads, copies))
    say(events, "committing")
    session.commit(f"Round {number}", metadata={"round": number})
    say(events, "committed")


# In the process that looks on


def run_round(directory: Path, number: int, seed: int, kill: Kill | None) -> tuple[bool, bool]:
    """Start a round and kill somebody; returns whether that came about, and whether a commit was reported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["icechunk", "icechunk.distributed", "zarr", "numpy"])
    here, there = context.Pipe(duplex=False)
    coordinator = context.Process(target=coordinate, args=(str(directory), number, seed, there))
    coordinator.start()
    there.close()
    leader = coordinator.pid
    assert leader is not None
    killed = reported = False
    left = kill.skip if kill else 0
    try:
        for process, phase in Events(here):
            reported |= phase == "committed"
            if killed or kill is None or phase != kill.phase:
                continue
            if kill.victim != "everyone" and (kill.victim == "coordinator") != (process == leader):
                continue
            if left:
                left -= 1
                continue
            time.sleep(kill.wait)
            # The workers of a dead coordinator have nobody to return to, and are killed with it.
            of_one = kill.victim == "worker"
            killed = quietly(os.kill, process) if of_one else quietly(os.killpg, leader)
    finally:
        quietly(os.killpg, leader)
        coordinator.join(PATIENCE)
        here.close()
    return killed, reported


def quietly(kill: Callable[[int, int], object], process: int) -> bool:
    """Kill whoever is still there; whether there was somebody."""
    try:
        kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def values_at(repository: icechunk.Repository, snapshot_id: str) -> set[int]:
    """The different values that the data have in a snapshot."""
    store = repository.readonly_session(snapshot_id=snapshot_id).store
    values = np.asarray(zarr.open_array(store, path="data", mode="r")[:])
    return {int(value) for value in np.unique(values)}


def examine(directory: Path, number: int, reported: bool, choose: random.Random) -> tuple[bool, list[str]]:
    """Look at a repository after a round; returns whether the round is in it, and what is wrong."""
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(directory)))
    history = [
        (snapshot.id, int(snapshot.metadata["round"]))
        for snapshot in repository.ancestry(branch="main")
        if "round" in snapshot.metadata
    ]
    rounds = [each for _, each in history]
    landed = rounds[0] == number
    wrong = []
    if rounds != list(range(rounds[0], -1, -1)) or rounds[0] not in (number - 1, number):
        wrong.append(f"round {number}: the history is {rounds[:5]}")
    if reported and not landed:
        wrong.append(f"round {number}: a commit was reported and is not there")
    for snapshot_id, each in (history[0], choose.choice(history)):
        try:
            values = values_at(repository, snapshot_id)
        except icechunk.IcechunkError as error:
            wrong.append(f"round {number}: round {each} cannot be read: {error}")
        else:
            if values != {each}:
                wrong.append(f"round {number}: round {each} holds {sorted(values)}")
    return landed, wrong


def prepare(directory: Path) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(directory)))
    session = repository.writable_session("main")
    size = WORKERS * CHUNKS * CHUNK
    array = zarr.create_array(
        session.store,
        name="data",
        shape=(size,),
        chunks=(CHUNK,),
        dtype="i4",
        fill_value=-1,
        compressors=None,
    )
    array[:] = 0
    session.commit("Round 0", metadata={"round": 0})


def soak(directory: Path, kills: int, seed: int) -> Outcome:
    """Carry out rounds until so many processes were killed."""
    choose = random.Random(seed)
    prepare(directory)
    outcome = Outcome()
    targets = [(victim, phase) for victim, phases in PHASES.items() for phase in phases]
    for number in itertools.count(1):
        if sum(outcome.kills.values()) >= kills:
            return outcome
        victim, phase = choose.choice(targets)
        skip = choose.randrange(WORKERS * CHUNKS) if phase == "writing" else 0
        kill = Kill(victim, phase, skip, choose.random() * LONGEST_WAIT)
        killed, reported = run_round(directory, number, choose.getrandbits(32), kill)
        landed, wrong = examine(directory, number, reported, choose)
        if killed:
            outcome.kills[victim, phase] += 1
            outcome.landed[victim, phase] += landed
        outcome.losses += wrong
        if not landed:
            run_round(directory, number, choose.getrandbits(32), None)
            landed, wrong = examine(directory, number, True, choose)
            outcome.losses += wrong
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        outcome = soak(Path(directory) / "repository", arguments.kills, seed)
    print("\n".join(outcome.lines()))
    print(f"{time.monotonic() - started:.0f} s")
    if outcome.losses:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
