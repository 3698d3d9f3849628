"""Repositories of another spec version than is expected: upgraded meanwhile, or newer than we know."""

from __future__ import annotations

from typing import Any

import pytest

import icechunk
from icechunk import FormatError, Repository
from icechunk._async.backends import open_backend_async
from icechunk.testing.faults import Faults, faulty_storage
from tests.arrays import create_array_async
from tests.upgrades import upgrade

INITIAL = "1CECHNKREP0F1RSTCMT0"
SPEC_VERSION_AT = 36
"""Where the header of a file has the spec version."""


async def objects_async(storage: icechunk.Storage) -> dict[str, bytes]:
    backend = await open_backend_async(storage, storage.default_settings())
    found = {}
    async for batch in backend.list_async(""):
        for info in batch:
            data = await backend.get_async(info.key)
            found[info.key] = bytes(data)
    return found


async def put_async(storage: icechunk.Storage, key: str, data: bytes) -> None:
    backend = await open_backend_async(storage, storage.default_settings())
    await backend.put_async(key, data)


async def stale_changes_async(storage: icechunk.Storage) -> dict[str, Any]:
    """Every change of a repository of spec 1 that was opened before somebody upgraded it."""
    repo = await Repository.create_async(storage, spec_version=1)
    await repo.create_branch_async("dev", INITIAL)
    await repo.create_tag_async("v1", INITIAL)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (2,))
    upgrade(storage)

    async def commit_async() -> None:
        await session.commit_async("after the upgrade")

    async def flush_async() -> None:
        await session.flush_async("after the upgrade")

    async def writable_session_async() -> None:
        await repo.writable_session_async("main")

    async def create_branch_async() -> None:
        await repo.create_branch_async("new", INITIAL)

    async def reset_branch_async() -> None:
        await repo.reset_branch_async("dev", INITIAL)

    async def delete_branch_async() -> None:
        await repo.delete_branch_async("dev")

    async def create_tag_async() -> None:
        await repo.create_tag_async("new", INITIAL)

    async def delete_tag_async() -> None:
        await repo.delete_tag_async("v1")

    return {
        "commit": commit_async,
        "flush": flush_async,
        "writable_session": writable_session_async,
        "create_branch": create_branch_async,
        "reset_branch": reset_branch_async,
        "delete_branch": delete_branch_async,
        "create_tag": create_tag_async,
        "delete_tag": delete_tag_async,
        "save_config": repo.save_config_async,
    }


async def test_a_repository_that_was_upgraded_is_not_written_to_as_before_async(
    storage: icechunk.Storage,
) -> None:
    """A commit to the refs of spec 1 would succeed, and nobody would ever see it."""
    changes = await stale_changes_async(storage)
    before = await objects_async(storage)
    for name, change_async in changes.items():
        with pytest.raises(FormatError, match=r"was upgraded.*open it again") as refused:
            await change_async()
        assert refused.value.kind == "unsupported-operation-for-version", name
    after = await objects_async(storage)
    changed = {key for key in after.keys() | before.keys() if after.get(key) != before.get(key)}
    assert not [key for key in changed if not key.startswith(("snapshots/", "transactions/"))]
    # Whoever opens it now finds the upgraded one.
    repo = await Repository.open_async(storage)
    assert repo.spec_version == 2
    assert await repo.list_branches_async() == {"main"}


async def test_an_upgrade_in_the_middle_of_a_commit_is_noticed_async(storage: icechunk.Storage) -> None:
    """Its files are written by then; they stay unseen, and the branch does not move."""
    faults = Faults()
    repo = await Repository.create_async(faulty_storage(storage, faults), spec_version=1)
    session = await repo.writable_session_async("main")
    await create_array_async(session, "a", (2,))
    before = await objects_async(storage)
    faults.call("put", "snapshots/*", lambda: upgrade(storage), moment="after")
    with pytest.raises(FormatError, match="was upgraded"):
        await session.commit_async("too late")
    after = await objects_async(storage)
    assert after["refs/branch.main/ref.json"] == before["refs/branch.main/ref.json"]


@pytest.mark.parametrize("key", ["repo", f"snapshots/{INITIAL}"])
async def test_a_newer_spec_version_is_named_and_not_taken_for_damage_async(
    storage: icechunk.Storage, key: str
) -> None:
    await Repository.create_async(storage)
    stored = await objects_async(storage)
    newer = bytearray(stored[key])
    newer[SPEC_VERSION_AT] = 3
    await put_async(storage, key, bytes(newer))
    with pytest.raises(FormatError, match=f"{key}.*spec version 3") as refused:
        await (await Repository.open_async(storage)).readonly_session_async("main")
    assert refused.value.kind == "unsupported-spec-version"
