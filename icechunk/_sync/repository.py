# Generated from icechunk/_async/repository.py by tools/make_sync.py; edit that file.
"""All verbs of a repository that need I/O, by theme in the modules of its bases."""

from __future__ import annotations

from icechunk._sync.administration import SyncAdministration
from icechunk._sync.history import SyncHistory
from icechunk._sync.lifecycle import SyncLifecycle
from icechunk._core.repository_state import SessionType


class SyncRepository(
    SyncLifecycle[SessionType], SyncHistory[SessionType], SyncAdministration[SessionType]
):
    """The coroutines of a repository; see `icechunk.Repository`.

    Examples
    --------
    >>> import icechunk
    >>> repo = icechunk.Repository.create(icechunk.in_memory_storage())
    >>> repo.list_branches()
    {'main'}
    """
