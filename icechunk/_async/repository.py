"""All verbs of a repository that need I/O, by theme in the modules of its bases."""

from __future__ import annotations

from icechunk._async.administration import AsyncAdministration
from icechunk._async.history import AsyncHistory
from icechunk._async.lifecycle import AsyncLifecycle
from icechunk._core.repository_state import SessionType


class AsyncRepository(
    AsyncLifecycle[SessionType], AsyncHistory[SessionType], AsyncAdministration[SessionType]
):
    """The coroutines of a repository; see `icechunk.Repository`.

    Examples
    --------
    >>> import icechunk
    >>> repo = await icechunk.Repository.create_async(icechunk.in_memory_storage())
    >>> await repo.list_branches_async()
    {'main'}
    """
