# Generated from tests/_async/test_spec_versions.py by tools/make_sync.py; edit that file.
"""Repositories of another spec version than is expected: upgraded meanwhile, or newer than we know."""

from __future__ import annotations

from typing import Any

import pytest

import icechunk
from icechunk import FormatError, Repository
from icechunk._sync.backends import open_backend
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array
from tests.upgrades import upgrade

INITIAL = "1CECHNKREP0F1RSTCMT0"
SPEC_VERSION_AT = 36
"""Where the header of a file has the spec version."""


def objects(storage: icechunk.Storage) -> dict[str, bytes]:
    backend = open_backend(storage, storage.default_settings())
    found = {}
    for batch in backend.list(""):
        for info in batch:
            data = backend.get(info.key)
            found[info.key] = bytes(data)
    return found


def put(storage: icechunk.Storage, key: str, data: bytes) -> None:
    backend = open_backend(storage, storage.default_settings())
    backend.put(key, data)


def stale_changes(storage: icechunk.Storage) -> dict[str, Any]:
    """Every change of a repository of spec 1 that was opened before somebody upgraded it."""
    repo = Repository.create(storage, spec_version=1)
    repo.create_branch("dev", INITIAL)
    repo.create_tag("v1", INITIAL)
    session = repo.writable_session("main")
    create_array(session, "a", (2,))
    upgrade(storage)

    def commit() -> None:
        session.commit("after the upgrade")

    def flush() -> None:
        session.flush("after the upgrade")

    def writable_session() -> None:
        repo.writable_session("main")

    def create_branch() -> None:
        repo.create_branch("new", INITIAL)

    def reset_branch() -> None:
        repo.reset_branch("dev", INITIAL)

    def delete_branch() -> None:
        repo.delete_branch("dev")

    def create_tag() -> None:
        repo.create_tag("new", INITIAL)

    def delete_tag() -> None:
        repo.delete_tag("v1")

    return {
        "commit": commit,
        "flush": flush,
        "writable_session": writable_session,
        "create_branch": create_branch,
        "reset_branch": reset_branch,
        "delete_branch": delete_branch,
        "create_tag": create_tag,
        "delete_tag": delete_tag,
        "save_config": repo.save_config,
    }


def test_a_repository_that_was_upgraded_is_not_written_to_as_before(
    storage: icechunk.Storage,
) -> None:
    """A commit to the refs of spec 1 would succeed, and nobody would ever see it."""
    changes = stale_changes(storage)
    before = objects(storage)
    for name, change in changes.items():
        with pytest.raises(FormatError, match=r"was upgraded.*open it again") as refused:
            change()
        assert refused.value.kind == "unsupported-operation-for-version", name
    after = objects(storage)
    changed = {key for key in after.keys() | before.keys() if after.get(key) != before.get(key)}
    assert not [key for key in changed if not key.startswith(("snapshots/", "transactions/"))]
    # Whoever opens it now finds the upgraded one.
    repo = Repository.open(storage)
    assert repo.spec_version == 2
    assert repo.list_branches() == {"main"}


def test_an_upgrade_in_the_middle_of_a_commit_is_noticed(storage: icechunk.Storage) -> None:
    """Its files are written by then; they stay unseen, and the branch does not move."""
    faults = Faults()
    repo = Repository.create(faulty_storage(storage, faults), spec_version=1)
    session = repo.writable_session("main")
    create_array(session, "a", (2,))
    before = objects(storage)
    faults.call("put", "snapshots/*", lambda: upgrade(storage), moment="after")
    with pytest.raises(FormatError, match="was upgraded"):
        session.commit("too late")
    after = objects(storage)
    assert after["refs/branch.main/ref.json"] == before["refs/branch.main/ref.json"]


@pytest.mark.parametrize("key", ["repo", f"snapshots/{INITIAL}"])
def test_a_newer_spec_version_is_named_and_not_taken_for_damage(
    storage: icechunk.Storage, key: str
) -> None:
    Repository.create(storage)
    stored = objects(storage)
    newer = bytearray(stored[key])
    newer[SPEC_VERSION_AT] = 3
    put(storage, key, bytes(newer))
    with pytest.raises(FormatError, match=f"{key}.*spec version 3") as refused:
        (Repository.open(storage)).readonly_session("main")
    assert refused.value.kind == "unsupported-spec-version"
