"""The official implementation upgrades a repository of spec 1 that ours has open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.compat import turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("deletes_refs", [True, False], ids=["refs are deleted", "refs are left"])
def test_who_opened_it_before_the_upgrade_cannot_commit_to_what_nobody_reads(
    ours: Any, official: Any, tmp_path: Path, deletes_refs: bool
) -> None:
    path = str(tmp_path / "repository")
    stale = turns.start(ours, ours.local_filesystem_storage(path), spec_version=1)
    turns.take_turn(stale, 0, who="ours, before")
    session = stale.writable_session("main")
    official.upgrade_icechunk_repository(
        official.Repository.open(official.local_filesystem_storage(path)),
        dry_run=False,
        delete_unused_v1_files=deletes_refs,
    )
    changes: list[Callable[[], Any]] = [
        lambda: session.commit("stale", allow_empty=True),
        lambda: stale.writable_session("main"),
        lambda: stale.create_tag("stale", session.snapshot_id),
    ]
    for change in changes:
        with pytest.raises(ours.FormatError, match="was upgraded") as refused:
            change()
        assert refused.value.kind == "unsupported-operation-for-version"
    # Opened again, everybody goes on where the upgrade was.
    for number, ic in ((1, ours), (2, official)):
        turns.take_turn(ic.Repository.open(ic.local_filesystem_storage(path)), number, who=ic.__name__)
    for ic in (ours, official):
        repository = ic.Repository.open(ic.local_filesystem_storage(path))
        assert repository.list_tags() == set()
        assert [info.metadata.get("number") for info in repository.ancestry(branch="main")][:3] == [2, 1, 0]
