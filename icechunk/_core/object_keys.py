"""Where the objects of a repository live, relative to its root."""

from __future__ import annotations

from icechunk._core.ids import id_text

REPO = "repo"
"""The one mutable object of a repository of spec 2."""

CONFIG = "config.yaml"
"""The configuration of a repository of spec 1."""

REFS = "refs/"
SNAPSHOTS = "snapshots/"
MANIFESTS = "manifests/"
TRANSACTION_LOGS = "transactions/"
CHUNKS = "chunks/"
OVERWRITTEN = "overwritten/"

_LAST_MILLISECOND = 32_503_680_000_000  # the year 3000: names of later backups sort first


def snapshot_key(snapshot_id: bytes) -> str:
    return SNAPSHOTS + id_text(snapshot_id)


def manifest_key(manifest_id: bytes) -> str:
    return MANIFESTS + id_text(manifest_id)


def transaction_log_key(snapshot_id: bytes) -> str:
    return TRANSACTION_LOGS + id_text(snapshot_id)


def chunk_key(chunk_id: bytes) -> str:
    return CHUNKS + id_text(chunk_id)


def backup_name(source: str, now_us: int, random: bytes) -> str:
    """Name, below `overwritten/`, for the backup of an object that is about to be replaced.

    Examples
    --------
    >>> backup_name("repo", 1_795_358_221_220_000, bytes(12))
    'repo.30708321778780.00000000000000000000'
    """
    return f"{source}.{_LAST_MILLISECOND - now_us // 1000:014d}.{id_text(random)}"


def branch_key(name: str) -> str:
    """The ref of a branch in spec 1."""
    return f"{REFS}branch.{name}/ref.json"


def tag_key(name: str) -> str:
    """The ref of a tag in spec 1."""
    return f"{REFS}tag.{name}/ref.json"


def deleted_tag_key(name: str) -> str:
    """The tombstone of a tag in spec 1."""
    return f"{REFS}tag.{name}/ref.json.deleted"
