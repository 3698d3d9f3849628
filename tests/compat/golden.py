"""The golden repositories in `tests/fixtures`: where they are and how they are packed.

Each is a zip file with the repository itself below ``repository/``, what the official implementation reads in
it (``expected.json``, see `describe`), the array values that this mentions by digest (``values.npz``), and
who wrote it and the snapshots that no ref leads to (``about.json``). Reading one needs no official
implementation; `tools/write_golden.py` makes them.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.compat import describe, scenario

if TYPE_CHECKING:
    from collections.abc import Iterable

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
NAMES = ("spec-2", "spec-1", "spec-1-by-1.1", "migrated")
_EPOCH = (2000, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Golden:
    """A golden repository, unpacked."""

    path: Path
    about: dict[str, Any]
    expected: dict[str, Any]
    values: dict[str, np.ndarray[Any, Any]]


def pack(
    name: str,
    path: Path,
    about: dict[str, Any],
    expected: dict[str, Any],
    values: dict[str, np.ndarray[Any, Any]],
) -> Path:
    """Write a fixture from the repository at `path`; returns where it is."""
    named: dict[str, Any] = {f"value {digest}": value for digest, value in values.items()}
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **named)
    parts = {
        "about.json": _json(about),
        "expected.json": _json(expected),
        "values.npz": arrays.getvalue(),
    }
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        parts[f"repository/{file.relative_to(path).as_posix()}"] = file.read_bytes()
    target = FIXTURES / f"{name}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for part, content in parts.items():
            archive.writestr(zipfile.ZipInfo(part, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return target


def unpack(name: str, directory: Path) -> Golden:
    """Read a fixture, with its repository unpacked below `directory`."""
    with zipfile.ZipFile(FIXTURES / f"{name}.zip") as archive:
        archive.extractall(directory, [part for part in archive.namelist() if part.startswith("repository/")])
        with np.load(io.BytesIO(archive.read("values.npz"))) as arrays:
            values = {key.removeprefix("value "): arrays[key] for key in arrays.files}
        return Golden(
            path=directory / "repository",
            about=json.loads(archive.read("about.json")),
            expected=json.loads(archive.read("expected.json")),
            values=values,
        )


def read_back(
    ic: Any, path: Path, virtual: Path, sections: Iterable[str], *, detached: Iterable[str]
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Describe the repository at `path`, in words that do not depend on where it and its virtual files are.

    The configuration is the stored one, not that with which the virtual files are found here.
    """
    storage = ic.local_filesystem_storage(str(path))
    repository = ic.Repository.open(storage, **scenario.relocated(ic, virtual))
    description, values = describe.describe(repository, sections, detached=detached)
    description["config"]["config"] = describe.plain(ic.Repository.fetch_config(storage))
    text = json.dumps(description, ensure_ascii=False)
    return json.loads(text.replace(f"file://{virtual}/", "file://{virtual}/")), values


def by_message(told: dict[str, Any], section: str) -> dict[str, Any]:
    """A section of a description with messages in place of the ids of snapshots."""
    messages = {info["id"]: info["message"] for history in told["history"].values() for info in history}
    detached = [id_ for id_ in told["documents"] if id_ not in messages]
    messages.update((id_, f"detached {number}") for number, id_ in enumerate(detached))
    text = json.dumps(told[section])
    for id_, message in messages.items():
        text = text.replace(id_, message)
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode()
