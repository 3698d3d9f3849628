# Generated from icechunk/_async/refs_v1.py by tools/make_sync.py; edit that file.
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
from icechunk._io.concurrency import map_concurrently

if TYPE_CHECKING:
    from icechunk._sync.assets import SyncAssets
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


def _read(assets: SyncAssets, key: str) -> tuple[bytes, Version] | None:
    """Snapshot id and version of a ref object; None if there is no such object."""
    fetched = assets.fetch_if_present(key)
    if fetched is None:
        return None
    return _decode_ref(bytes(fetched[0]), key), fetched[1]


def _write(assets: SyncAssets, key: str, snapshot_id: bytes, expected: Version | None) -> None:
    """Write a ref object, if its version still is `expected` (None: if there is none)."""
    backend = assets.backend()
    backend.put_conditional(
        key,
        msgspec.json.encode(_RefDocument(id_text(snapshot_id))),
        expected,
        content_type=_CONTENT_TYPE,
        storage_class=assets.cache.settings.storage.storage_class,
    )


def _names(assets: SyncAssets) -> tuple[list[str], list[str]]:
    """Names of all branches, and of all tags that ever were."""
    backend = assets.backend()
    components: set[str] = set()
    for batch in backend.list(REFS):
        components.update(item.key.removeprefix(REFS).partition("/")[0] for item in batch)
    for component in components:
        if not component.startswith(("branch.", "tag.")):
            raise InvalidInputError(
                f"`{REFS}{component}` is neither a branch nor a tag", ErrorKind.INVALID_REF_TYPE
            )
    branches = [each.removeprefix("branch.") for each in components if each.startswith("branch.")]
    tags = [each.removeprefix("tag.") for each in components if each.startswith("tag.")]
    return sorted(branches), sorted(tags)


def check_not_upgraded(assets: SyncAssets) -> None:
    """Refuse to go on in spec 1 with a repository that was upgraded since it was opened.

    An upgrade may leave the refs in place. Nobody looks at them any more, so what is written there is
    lost, however well the write went.

    Raises
    ------
    FormatError
        Kind `unsupported-operation-for-version`.
    """
    if _exists(assets, REPO):
        raise FormatError(
            f"the repository at {assets.cache.storage.location} was upgraded to spec version 2 after it was "
            "opened here: open it again, and make the change there",
            ErrorKind.UNSUPPORTED_OPERATION_FOR_VERSION,
        )


def list_branches(assets: SyncAssets) -> set[str]:
    """Names of all branches."""
    branches, _ = _names(assets)
    return set(branches)


def lookup_branch(assets: SyncAssets, name: str) -> bytes:
    """The snapshot at the tip of a branch."""
    _check_name(name)
    found = _read(assets, branch_key(name))
    if found is None:
        raise _not_found(name)
    return found[0]


def set_branch(
    assets: SyncAssets, name: str, snapshot_id: bytes, expected: bytes | None
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
        check_not_upgraded(assets)
        found = _read(assets, key)
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
            _write(assets, key, snapshot_id, version)
        except PreconditionFailed:
            tried = True
            continue
        return


def delete_branch(assets: SyncAssets, name: str) -> None:
    """Delete a branch other than `main`."""
    _check_name(name)
    if name == "main":
        raise SessionStateError("the branch `main` cannot be deleted", ErrorKind.CANNOT_DELETE_MAIN)
    check_not_upgraded(assets)
    lookup_branch(assets, name)
    backend = assets.backend()
    failures = backend.delete_many([branch_key(name)])
    if failures:
        raise StorageError(f"`{failures[0][0]}` was not deleted: {failures[0][1]}", ErrorKind.STORAGE_OTHER)


def _exists(assets: SyncAssets, key: str) -> bool:
    backend = assets.backend()
    try:
        backend.head(key)
    except StorageError as error:
        if error.kind == ErrorKind.OBJECT_NOT_FOUND:
            return False
        raise
    return True


def find_tag(assets: SyncAssets, name: str) -> bytes | None:
    """The snapshot of a tag; None where there is none, or not any more."""
    if _exists(assets, deleted_tag_key(name)):
        return None
    found = _read(assets, tag_key(name))
    return None if found is None else found[0]


def list_tags(assets: SyncAssets) -> set[str]:
    """Names of all tags that are not deleted."""
    _, names = _names(assets)
    return set(_tags(assets, names))


def _tags(assets: SyncAssets, names: list[str]) -> dict[str, bytes]:
    """Where those of some tags point to that are not deleted."""

    def find(name: str) -> bytes | None:
        return find_tag(assets, name)

    found = map_concurrently(find, names, 16)
    return {
        name: snapshot_id for name, snapshot_id in zip(names, found, strict=True) if snapshot_id is not None
    }


def lookup_tag(assets: SyncAssets, name: str) -> bytes:
    """The snapshot of a tag."""
    _check_name(name)
    found = find_tag(assets, name)
    if found is None:
        raise _not_found(name)
    return found


def create_tag(assets: SyncAssets, name: str, snapshot_id: bytes) -> None:
    """Create a tag; a name that was ever used is refused."""
    _check_name(name)
    check_not_upgraded(assets)
    try:
        _write(assets, tag_key(name), snapshot_id, None)
    except PreconditionFailed:
        raise AlreadyExistsError(
            f"tag `{name}` exists, or existed and was deleted: its name cannot be used again",
            ErrorKind.TAG_ALREADY_EXISTS,
        ) from None


def delete_tag(assets: SyncAssets, name: str) -> None:
    """Put the tombstone beside a tag."""
    check_not_upgraded(assets)
    lookup_tag(assets, name)
    backend = assets.backend()
    try:
        backend.put_conditional(deleted_tag_key(name), b"", None)
    except PreconditionFailed:
        raise _not_found(name) from None


def all_refs(assets: SyncAssets) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """All branches and all tags, and where they point to."""

    def find(name: str) -> bytes | None:
        found = _read(assets, branch_key(name))
        return None if found is None else found[0]

    branches, tags = _names(assets)
    tips = map_concurrently(find, branches, 16)
    # A branch that is gone was deleted since the names were listed.
    found = {name: tip for name, tip in zip(branches, tips, strict=True) if tip is not None}
    return found, _tags(assets, tags)
