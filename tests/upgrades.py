"""Upgrades of repositories of spec 1 that happen while others have them open."""

from __future__ import annotations

import icechunk
from icechunk._sync.backends import open_backend


def upgrade(storage: icechunk.Storage) -> None:
    """Make it a repository of spec 2; the refs of spec 1 stay, as upgrades leave them on request."""
    other = icechunk.in_memory_storage()
    icechunk.Repository.create(other, spec_version=2)
    repo = open_backend(other, other.default_settings()).get("repo")
    open_backend(storage, storage.default_settings()).put("repo", repo)
