# Generated from icechunk/_async/repo_info.py by tools/make_sync.py; edit that file.
"""The one loop through which every change of the repo object goes.

A change is a pure function from the repo object to its successor. The loop
fetches the object with its version, applies the change, copies the object to a
backup, and writes the successor on the condition that the version still is the
one it fetched. Who loses the race fetches again and applies the change again:
first at once, then after waits that grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk._core.object_keys import OVERWRITTEN, REPO, backup_name
from icechunk._core.ops_log import Stamp
from icechunk._core.preconditions import PreconditionFailed
from icechunk._exceptions import (
    ConflictError,
    ErrorKind,
    ReadOnlyError,
    RepositoryNotFoundError,
    StorageError,
)
from icechunk._io.clock import now_us
from icechunk._io.concurrency import sleep
from icechunk._io.random import random_id, random_unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from icechunk._sync.assets import SyncAssets
    from icechunk._format.repo_info import RepoInfo
    from icechunk._stored_objects import Version

IMMEDIATE_RETRIES = 5
"""Lost races after which the loop starts to wait between its attempts."""


def fetch_versioned(assets: SyncAssets) -> tuple[RepoInfo, Version]:
    """The repo object as it is now, with its version.

    Raises
    ------
    RepositoryNotFoundError
        Kind `repository-not-found`.
    """
    try:
        return assets.fetch_repo_info()
    except StorageError as error:
        if error.kind == ErrorKind.OBJECT_NOT_FOUND:
            raise RepositoryNotFoundError(
                f"there is no repository at {assets.cache.storage.location} any more",
                ErrorKind.REPOSITORY_NOT_FOUND,
            ) from error
        raise


def fetch_repo_info(assets: SyncAssets) -> RepoInfo:
    """The repo object as it is now.

    Raises
    ------
    RepositoryNotFoundError
        As in `fetch_versioned`.
    """
    info, _ = fetch_versioned(assets)
    return info


def check_can_write(assets: SyncAssets) -> None:
    """Refuse when the storage cannot be written to at all.

    Raises
    ------
    ReadOnlyError
        Kind `read-only-storage`.
    """
    backend = assets.backend()
    if not backend.can_write:
        raise ReadOnlyError(
            f"the storage at {assets.cache.storage.location} is read-only", ErrorKind.READ_ONLY_STORAGE
        )


def update_repo_info(
    assets: SyncAssets, change: Callable[[RepoInfo, Stamp], RepoInfo]
) -> RepoInfo:
    """Apply a change to the repo object; returns the object that was written.

    Raises
    ------
    ConflictError
        Kind `update-attempts-exhausted`: others were first, every time.
    ReadOnlyError
        Kind `read-only-storage`.
    RepositoryNotFoundError
        Kind `repository-not-found`.
    """
    check_can_write(assets)
    backend = assets.backend()
    settings = assets.cache.settings
    retries = settings.repo_update_retries
    tries: int = max(retries.effective("max_tries"), 1)
    for attempt in range(tries):
        if attempt > IMMEDIATE_RETRIES:
            ceiling = retries.effective("initial_backoff_ms") * 2.0 ** min(
                attempt - IMMEDIATE_RETRIES - 1, 32
            )
            wait_ms = min(ceiling, retries.effective("max_backoff_ms")) * (0.5 + random_unit() / 2)
            sleep(wait_ms / 1000)
        current, version = fetch_versioned(assets)
        now = now_us()
        backup = backup_name(REPO, now, random_id())
        successor = change(
            current,
            Stamp(now_us=now, backup_name=backup, max_updates=settings.num_updates_per_repo_info_file),
        )
        try:
            backend.copy(
                REPO, OVERWRITTEN + backup, version, storage_class=settings.storage.storage_class
            )
            assets.replace_repo_info(successor, version)
        except PreconditionFailed:
            continue
        return successor
    raise ConflictError(
        message=f"the repo object was changed by others in each of {tries} attempts to "
        "update it: try again, or raise `repo_update_retries` in the repository's configuration",
        kind=ErrorKind.UPDATE_ATTEMPTS_EXHAUSTED,
    )
