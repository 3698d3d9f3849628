"""Commits that two implementations make in turns on one repository.

Each turn changes a bit of everything that the turn before may have left: chunks of both kinds, a split array,
attributes, a new node, a node deleted and made again. `expected_values` says what must be read after a number
of turns, so that a lost or damaged change of either side shows.

This file is also run by a Python that has only the official 1.x release, so it imports nothing of the
project.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr

ROUNDS = 8
SHARED = 100


def start(ic: Any, storage: Any, **options: Any) -> Any:
    """A repository with the nodes that the turns change; returns it."""
    config = ic.RepositoryConfig.default()
    config.inline_chunk_threshold_bytes = 50
    config.manifest = ic.ManifestConfig(
        splitting=ic.ManifestSplittingConfig.from_dict(
            {ic.ManifestSplitCondition.name_matches("^split$"): {ic.ManifestSplitDimCondition.Any(): 3}}
        )
    )
    repository = ic.Repository.create(storage, config=config, **options)
    session = repository.writable_session("main")
    root: Any = zarr.open_group(session.store)
    options = {"compressors": None, "fill_value": 0}
    root.create_array("native", shape=(ROUNDS, 60), chunks=(1, 60), dtype="u1", **options)
    root.create_array("inline", shape=(ROUNDS, 4), chunks=(2, 2), dtype="i2", **options)
    root.create_array("split", shape=(ROUNDS, 10), chunks=(1, 1), dtype="u1", **options)
    root.create_array("scalar", shape=(), dtype="i4", **options)
    root.create_array("growing", shape=(0,), chunks=(1,), dtype="i4", **options)
    root.create_group("rounds")
    root.create_group("again")
    session.commit("start")
    return repository


def take_turn(repository: Any, number: int, *, who: str) -> str:
    """Make the commit of that round; returns its id."""
    session = repository.writable_session("main")
    root: Any = zarr.open_group(session.store)
    root["native"][number] = number + 1
    root["inline"][number] = 10 * number + np.arange(4)
    root["split"][: number + 1, number] = number + 1
    root["scalar"][...] = SHARED + number
    root["growing"].resize((number + 1,))
    root["growing"][number] = -number
    rounds = root["rounds"]
    rounds.create_group(who, overwrite=True, attributes={"number": number})
    rounds.create_group(f"{number}")
    del root["again"]
    again = root.create_group("again")
    again.create_array("born", shape=(3,), chunks=(1,), dtype="i2", compressors=None)[:] = number
    root.attrs[f"round {number}"] = who
    return str(session.commit(f"round {number} by {who}", metadata={"number": number, "who": [who]}))


def expected_values(turns: int) -> dict[str, np.ndarray[Any, Any]]:
    """What the arrays hold after that many turns."""
    native = np.zeros((ROUNDS, 60), "u1")
    inline = np.zeros((ROUNDS, 4), "i2")
    split = np.zeros((ROUNDS, 10), "u1")
    for number in range(turns):
        native[number] = number + 1
        inline[number] = 10 * number + np.arange(4)
        split[: number + 1, number] = number + 1
    return {
        "native": native,
        "inline": inline,
        "split": split,
        "scalar": np.array(SHARED + turns - 1, "i4"),
        "growing": -np.arange(turns, dtype="i4"),
        "again/born": np.full(3, turns - 1, "i2"),
    }
