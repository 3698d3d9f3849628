"""Branches and tags of a repository of spec 1: one small JSON object each.

`refs/branch.<name>/ref.json` and `refs/tag.<name>/ref.json` hold
`{"snapshot":"<id>"}`. A deleted tag keeps its `ref.json` and gets an empty
`ref.json.deleted` beside it, so that its name can never be used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from icechunk._core.ids import id_text, parse_id
from icechunk._core.object_keys import REFS, REPO, branch_key, deleted_tag_key, tag_key
from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    RefNotFoundError,
    SessionStateError,
    StorageError,
)
from icechunk._io.concurrency import map_concurrently_async

if TYPE_CHECKING:
    from icechunk._async.assets import AsyncAssets
    from icechunk._stored_objects import Version

_CONTENT_TYPE = "application/json"


class _RefDocument(msgspec.Struct):
    snapshot: str


def _decode_ref(data: bytes, key: str) -> bytes:
    try:
        return parse_id(msgspec.json.decode(data, type=_RefDocument).snapshot)
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidInputError) as error:
        raise FormatError(f"{key} is not a ref: {error}", ErrorKind.DESERIALIZATION) from error


def _check_name(name: str) -> None:
    if "/" in name:
        raise InvalidInputError(
            f"`{name}` is not a name for a branch or tag in spec 1: it has a `/`", ErrorKind.INVALID_REF_NAME
        )


def _not_found(name: str) -> RefNotFoundError:
    return RefNotFoundError(f"ref not found `{name}`", ErrorKind.REF_NOT_FOUND)


async def _read_async(assets: AsyncAssets, key: str) -> tuple[bytes, Version] | None:
    """Snapshot id and version of a ref object; None if there is no such object."""
    fetched = await assets.fetch_if_present_async(key)
    if fetched is None:
        return None
    return _decode_ref(bytes(fetched[0]), key), fetched[1]


async def _write_async(assets: AsyncAssets, key: str, snapshot_id: bytes, expected: Version | None) -> None:
    """Write a ref object, if its version still is `expected` (None: if there is none)."""
    backend = await assets.backend_async()
    await backend.put_conditional_async(
        key,
        msgspec.json.encode(_RefDocument(id_text(snapshot_id))),
        expected,
        content_type=_CONTENT_TYPE,
        storage_class=assets.cache.settings.storage.storage_class,
    )


async def _names_async(assets: AsyncAssets) -> tuple[list[str], list[str]]:
    """Names of all branches, and of all tags that ever were."""
    backend = await assets.backend_async()
    components: set[str] = set()
    async for batch in backend.list_async(REFS):
        components.update(item.key.removeprefix(REFS).partition("/")[0] for item in batch)
    for component in components:
        if not component.startswith(("branch.", "tag.")):
            raise InvalidInputError(
                f"`{REFS}{component}` is neither a branch nor a tag", ErrorKind.INVALID_REF_TYPE
            )
    branches = [each.removeprefix("branch.") for each in components if each.startswith("branch.")]
    tags = [each.removeprefix("tag.") for each in components if each.startswith("tag.")]
    return sorted(branches), sorted(tags)


async def check_not_upgraded_async(assets: AsyncAssets) -> None:
    """Refuse to go on in spec 1 with a repository that was upgraded since it was opened.

    An upgrade may leave the refs in place. Nobody looks at them any more, so what is written there is
    lost, however well the write went.

    Raises
    ------
    FormatError
        Kind `unsupported-operation-for-version`.
    """
    if await _exists_async(assets, REPO):
        raise FormatError(
            f"the repository at {assets.cache.storage.location} was upgraded to spec version 2 after it was "
            "opened here: open it again, and make the change there",
            ErrorKind.UNSUPPORTED_OPERATION_FOR_VERSION,
        )


async def list_branches_async(assets: AsyncAssets) -> set[str]:
    """Names of all branches."""
    branches, _ = await _names_async(assets)
    return set(branches)


async def lookup_branch_async(assets: AsyncAssets, name: str) -> bytes:
    """The snapshot at the tip of a branch."""
    _check_name(name)
    found = await _read_async(assets, branch_key(name))
    if found is None:
        raise _not_found(name)
    return found[0]


async def set_branch_async(
    assets: AsyncAssets, name: str, snapshot_id: bytes, expected: bytes | None
) -> None:
    """Create a branch (`expected` None), or move it from the `expected` snapshot.

    Who finds it moved already after a write that seemed to fail has moved it: the answer was lost.

    Raises
    ------
    ConflictError
        Kind `branch-update-conflict`: the branch is somewhere else.
    """
    _check_name(name)
    key = branch_key(name)
    tried = False
    while True:
        await check_not_upgraded_async(assets)
        found = await _read_async(assets, key)
        actual = None if found is None else found[0]
        if tried and expected is not None and actual == snapshot_id:
            return
        if actual != expected:
            raise ConflictError(
                None if expected is None else id_text(expected),
                None if actual is None else id_text(actual),
                kind=ErrorKind.BRANCH_UPDATE_CONFLICT,
            )
        version = None if found is None else found[1]
        try:
            await _write_async(assets, key, snapshot_id, version)
        except PreconditionFailed:
            tried = True
            continue
        return


async def delete_branch_async(assets: AsyncAssets, name: str) -> None:
    """Delete a branch other than `main`."""
    _check_name(name)
    if name == "main":
        raise SessionStateError("the branch `main` cannot be deleted", ErrorKind.CANNOT_DELETE_MAIN)
    await check_not_upgraded_async(assets)
    await lookup_branch_async(assets, name)
    backend = await assets.backend_async()
    failures = await backend.delete_many_async([branch_key(name)])
    if failures:
        raise StorageError(f"`{failures[0][0]}` was not deleted: {failures[0][1]}", ErrorKind.STORAGE_OTHER)


async def _exists_async(assets: AsyncAssets, key: str) -> bool:
    backend = await assets.backend_async()
    try:
        await backend.head_async(key)
    except StorageError as error:
        if error.kind == ErrorKind.OBJECT_NOT_FOUND:
            return False
        raise
    return True


async def find_tag_async(assets: AsyncAssets, name: str) -> bytes | None:
    """The snapshot of a tag; None where there is none, or not any more."""
    if await _exists_async(assets, deleted_tag_key(name)):
        return None
    found = await _read_async(assets, tag_key(name))
    return None if found is None else found[0]


async def list_tags_async(assets: AsyncAssets) -> set[str]:
    """Names of all tags that are not deleted."""
    _, names = await _names_async(assets)
    return set(await _tags_async(assets, names))


async def _tags_async(assets: AsyncAssets, names: list[str]) -> dict[str, bytes]:
    """Where those of some tags point to that are not deleted."""

    async def find_async(name: str) -> bytes | None:
        return await find_tag_async(assets, name)

    found = await map_concurrently_async(find_async, names, 16)
    return {
        name: snapshot_id for name, snapshot_id in zip(names, found, strict=True) if snapshot_id is not None
    }


async def lookup_tag_async(assets: AsyncAssets, name: str) -> bytes:
    """The snapshot of a tag."""
    _check_name(name)
    found = await find_tag_async(assets, name)
    if found is None:
        raise _not_found(name)
    return found


async def create_tag_async(assets: AsyncAssets, name: str, snapshot_id: bytes) -> None:
    """Create a tag; a name that was ever used is refused."""
    _check_name(name)
    await check_not_upgraded_async(assets)
    try:
        await _write_async(assets, tag_key(name), snapshot_id, None)
    except PreconditionFailed:
        raise AlreadyExistsError(
            f"tag `{name}` exists, or existed and was deleted: its name cannot be used again",
            ErrorKind.TAG_ALREADY_EXISTS,
        ) from None


async def delete_tag_async(assets: AsyncAssets, name: str) -> None:
    """Put the tombstone beside a tag."""
    await check_not_upgraded_async(assets)
    await lookup_tag_async(assets, name)
    backend = await assets.backend_async()
    try:
        await backend.put_conditional_async(deleted_tag_key(name), b"", None)
    except PreconditionFailed:
        raise _not_found(name) from None


async def all_refs_async(assets: AsyncAssets) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """All branches and all tags, and where they point to."""

    async def find_async(name: str) -> bytes | None:
        found = await _read_async(assets, branch_key(name))
        return None if found is None else found[0]

    branches, tags = await _names_async(assets)
    tips = await map_concurrently_async(find_async, branches, 16)
    # A branch that is gone was deleted since the names were listed.
    found = {name: tip for name, tip in zip(branches, tips, strict=True) if tip is not None}
    return found, await _tags_async(assets, tags)
