"""The head of the ops log: how each change of a repository is written down.

The repo object keeps the newest entries of the log, newest first. Whoever
replaces the object first copies it to a backup, and the log remembers where:
the entry that *was* the newest receives the name of that backup, a new entry
without one takes its place. An object that reached its limit of entries drops
the older ones; they stay readable in the backup that `repo_before_updates` names.

Rules of this file: times come from the caller. The log must stay strictly
increasing in time, so an entry made while the clock stands behind the log is
dated one microsecond after its predecessor.
"""

from __future__ import annotations

import msgspec
import numpy as np

from icechunk._format.repo import OpsEntry, RepoInfo

DEFAULT_MAX_UPDATES = 1000
"""Entries in one repo object, unless the configuration says otherwise."""


class Stamp(msgspec.Struct, frozen=True):
    """What a change needs to know from outside to be written down.

    Parameters
    ----------
    now_us : int
        The time, in microseconds since the epoch.
    backup_name : str
        Name of the file below `overwritten/` that receives the object being replaced.
    max_updates : int, optional
        Entries of the ops log that the new object may keep.
    """

    now_us: int
    backup_name: str
    max_updates: int = DEFAULT_MAX_UPDATES


def record(info: RepoInfo, entry: OpsEntry, stamp: Stamp) -> RepoInfo:
    """Put `entry` at the head of the log, dated by `stamp`, and apply the limit of entries.

    The `updated_at` and `backup_path` of `entry` itself are not looked at.
    """
    newest = int(info.update_rows["updated_at"][0]) if len(info.update_rows) else -1
    entry = msgspec.structs.replace(entry, updated_at=max(stamp.now_us, newest + 1), backup_path=None)
    logged = info.with_update(entry, backup_of_previous=stamp.backup_name)
    return _truncate(logged, stamp.max_updates)


def _truncate(info: RepoInfo, max_updates: int) -> RepoInfo:
    # Only an entry that knows its backup can be cut off: without the name of the file that
    # still holds it (as in the log that a migration makes up), it would be lost.
    cuttable = np.flatnonzero(info.update_rows["backup"][max_updates:])
    if not len(cuttable):
        return info
    cut = max_updates + int(cuttable[0])
    before = info.text(int(info.update_rows["backup"][cut]))
    return msgspec.structs.replace(info, update_rows=info.update_rows[:cut], repo_before_updates=before)
