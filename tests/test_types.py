"""The closed vocabularies and the plain results of the public API."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest

import icechunk
from icechunk.config import FeatureFlag
from icechunk.conflicts import Conflict, ConflictType, VersionSelection
from icechunk.ops import RepoStatus, Update, UpdateType
from icechunk.snapshots import Diff, ManifestFileInfo, SnapshotInfo
from icechunk.types import ChunkType, RepoAvailability, SessionMode, SpecVersion

MOMENT = datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
SHOWN_MOMENT = "datetime.datetime(2024,1,2,3,4,5,678, tzinfo=datetime.timezone.utc)"


def test_spec_versions_are_numbers() -> None:
    assert SpecVersion.v1 < SpecVersion.v2
    assert [*SpecVersion] == [1, 2]
    assert SpecVersion.v2 >= 2
    assert SpecVersion(2) is SpecVersion.v2
    assert SpecVersion.current() is SpecVersion.v2
    assert sorted({SpecVersion.v2, SpecVersion.v1}) == [1, 2]
    assert [str(version) for version in SpecVersion] == ["SpecVersion.v1", "SpecVersion.v2 (current)"]


@pytest.mark.parametrize(
    ("member", "number", "shown"),
    [
        (ChunkType.uninitialized, 0, "ChunkType.uninitialized"),
        (ChunkType.native, 1, "ChunkType.native"),
        (ChunkType.virtual, 2, "ChunkType.virtual"),
        (ChunkType.inline, 3, "ChunkType.inline"),
        (SessionMode.readonly, 0, "SessionMode.readonly"),
        (SessionMode.writable, 1, "SessionMode.writable"),
        (SessionMode.rearrange, 2, "SessionMode.rearrange"),
        (RepoAvailability.online, 0, "RepoAvailability.online"),
        (RepoAvailability.read_only, 1, "RepoAvailability.read_only"),
        (VersionSelection.Fail, 0, "VersionSelection.Fail"),
        (VersionSelection.UseOurs, 1, "VersionSelection.UseOurs"),
        (VersionSelection.UseTheirs, 2, "VersionSelection.UseTheirs"),
    ],
)
def test_codes_show_their_names_and_turn_into_numbers(member: object, number: int, shown: str) -> None:
    assert int(member) == number  # type: ignore[call-overload]
    assert repr(member) == str(member) == f"{member}" == shown
    assert pickle.loads(pickle.dumps(member)) is member
    assert len({member, member}) == 1


def test_chunk_types_compare_with_numbers_and_modes_do_not() -> None:
    assert [*ChunkType] == [0, 1, 2, 3]
    assert 1 not in [*SessionMode]


def test_conflict_types() -> None:
    assert [int(kind) for kind in ConflictType] == list(range(1, 12))
    assert repr(ConflictType(4)) == "ZarrMetadataUpdateOfDeletedArray"
    assert str(ConflictType(4)) == "Zarr metadata update of deleted array"
    with pytest.raises(ValueError, match="12"):
        ConflictType(12)


def test_conflict() -> None:
    conflict = Conflict(ConflictType.ChunkDoubleUpdate, "/a", [[1, 2], [3, 4]])
    shown = (
        "<icechunk.conflicts.Conflict>\n"
        "conflict_type: ChunkDoubleUpdate\npath: /a\nconflicted_chunks: [[1, 2], [3, 4]]\n"
    )
    assert repr(conflict) == str(conflict) == shown
    assert pickle.loads(pickle.dumps(conflict)) == conflict
    assert Conflict(ConflictType.ChunkDoubleUpdate, "/a").conflicted_chunks is None


def test_snapshot_info() -> None:
    info = SnapshotInfo("B", None, MOMENT, "one\ntwo", {"a": [1, None]})
    shown = (
        f"<icechunk.snapshots.SnapshotInfo>\nid: B\nparent_id: None\nwritten_at: {SHOWN_MOMENT}\n"
        "message:\n    one\n    two\nmetadata: {'a': [1, None]}\n"
    )
    assert repr(info) == str(info) == shown
    assert pickle.loads(pickle.dumps(info)) == info
    with pytest.raises(AttributeError):
        info.message = "other"  # type: ignore[misc]


def test_manifest_file_info() -> None:
    info = ManifestFileInfo("B", 259, 14)
    assert repr(info) == "<icechunk.snapshots.ManifestFileInfo>\nid: B\nsize_bytes: 259\nnum_chunk_refs: 14\n"
    assert '<div class="icechunk-repr">' in info._repr_html_()


def test_diff_is_told_in_sections() -> None:
    diff = Diff(
        new_groups={"/g", "/b"},
        new_arrays={"/a"},
        updated_groups={"/"},
        deleted_arrays={"/old"},
        updated_chunks={"/a": [[index, 0] for index in range(12)]},
        moved_nodes=[("/x", "/y")],
    )
    chunks = "".join([f"        [{index}, 0]\n" for index in range(10)])
    assert str(diff) == repr(diff)
    assert str(diff) == (
        "Groups created:\n    /b\n    /g\n\n"
        "Arrays created:\n    /a\n\n"
        "Group definitions updated:\n    /\n\n"
        "Arrays deleted:\n    /old\n\n"
        f"Chunks updated:\n    /a:\n{chunks}        ... 2 more\n"
        "Nodes moved/renamed:\n    /x -> /y\n\n"
    )
    assert not diff.is_empty()
    assert diff != Diff()
    assert pickle.loads(pickle.dumps(diff)) == diff


def test_a_notebook_folds_the_sections_of_a_diff() -> None:
    html = Diff(
        new_arrays={f"/{index}" for index in range(1000)},
        deleted_groups={"/<b>"},
        updated_chunks={"/a": [[index, 0] for index in range(12)], "/b": [[3]]},
        moved_nodes=[("/x", "/y")],
    )._repr_html_()
    assert "icechunk.snapshots.Diff" in html
    assert html.count("<details open>") == 3  # all but the long one
    for shown in ("Arrays created (1000)", "... 900 more", "/a (12)", "[9, 0]", "... 2 more", "/x -&gt; /y"):
        assert shown in html
    for not_shown in ("Groups created", "<b>", "[10, 0]"):
        assert not_shown not in html
    assert "none" in Diff()._repr_html_()


def test_empty_diff() -> None:
    assert Diff().is_empty()
    assert str(Diff()) == ""


def test_repo_status() -> None:
    status = RepoStatus(RepoAvailability.read_only, MOMENT, "why")
    assert repr(status) == (
        f"<icechunk.repository.RepoStatus>\navailability: ReadOnly\nset_at: {SHOWN_MOMENT}\n"
        "limited_availability_reason: why\n"
    )
    assert pickle.loads(pickle.dumps(status)) == status


def test_repo_status_is_set_now_when_no_time_is_given() -> None:
    before = datetime.now(UTC)
    assert before <= RepoStatus(RepoAvailability.online).set_at <= datetime.now(UTC)


def test_repo_status_takes_any_time_zone() -> None:
    moment = MOMENT.astimezone(timezone(timedelta(hours=2)))
    assert RepoStatus(RepoAvailability.online, moment).set_at == MOMENT
    assert SHOWN_MOMENT in repr(RepoStatus(RepoAvailability.online, moment))


def test_repo_status_checks_its_arguments() -> None:
    with pytest.raises(TypeError, match="RepoAvailability"):
        RepoStatus(0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="time zone"):
        RepoStatus(RepoAvailability.online, datetime(2024, 1, 1))
    with pytest.raises(TypeError, match="limited_availability_reason must be of type str, not 5"):
        RepoStatus(RepoAvailability.read_only, MOMENT, 5)  # type: ignore[arg-type]


def test_update_types() -> None:
    reset = UpdateType.BranchReset("main", "B")
    assert repr(reset) == 'icechunk.ops.UpdateType.BranchReset(name="main", previous_snap_id="B")'
    assert str(reset) == repr(reset)
    assert reset == UpdateType.BranchReset(name="main", previous_snap_id="B")
    assert isinstance(reset, UpdateType)
    assert pickle.loads(pickle.dumps(reset)) == reset
    assert repr(UpdateType.GCRan()) == "icechunk.ops.UpdateType.GCRan()"
    assert repr(UpdateType.FeatureFlagChanged(3, None)).endswith("FeatureFlagChanged(id=3, new_value=None)")
    kinds: list[UpdateType] = [UpdateType.GCRan(), UpdateType.ExpirationRan()]
    assert kinds[0] != kinds[1]


def test_update_types_match() -> None:
    match UpdateType.CommitAmended("main", "A", "B"):
        case UpdateType.CommitAmended(branch=branch, new_snap_id=new):
            assert (branch, new) == ("main", "B")


def test_there_are_all_update_types() -> None:
    names = {variant.__name__ for variant in UpdateType.__subclasses__()}
    assert names == {
        "RepoInitialized", "RepoMigrated", "RepoStatusChanged", "ConfigChanged", "MetadataChanged",
        "TagCreated", "TagDeleted", "BranchCreated", "BranchDeleted", "BranchReset", "NewCommit",
        "CommitAmended", "NewDetachedSnapshot", "GCRan", "ExpirationRan", "FeatureFlagChanged",
    }  # fmt: skip
    assert all(getattr(UpdateType, name).__qualname__ == f"UpdateType.{name}" for name in names)


def test_update() -> None:
    status = RepoStatus(RepoAvailability.online, MOMENT)
    update = Update(UpdateType.RepoStatusChanged(status), MOMENT, "repo.1.B")
    assert str(update) == (
        "<icechunk.ops.Update>\n"
        f"kind: icechunk.ops.UpdateType.RepoStatusChanged(status=RepoStatus(availability=Online, "
        f"set_at={SHOWN_MOMENT}, limited_availability_reason=None))\n"
        f"updated_at: {SHOWN_MOMENT}\nbackup_path: repo.1.B\n"
    )
    assert pickle.loads(pickle.dumps(update)) == update


def test_feature_flag() -> None:
    repo = icechunk.Repository.create(icechunk.in_memory_storage())
    assert all(isinstance(flag, FeatureFlag) for flag in repo.feature_flags())
    flag = FeatureFlag(3, "move_node", True, None, True)
    assert str(flag).startswith("<icechunk.config.FeatureFlag>\nid: 3\nname: move_node\n")
