"""Mistakes and questions about repositories, branches, tags, sessions and commits; see `misuse`."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import zarr

from tests.compat.misuse import Ground, case, each

UNKNOWN_ID = "ZZZZZZZZZZZZZZZZZZZG"
ROOT_ID = "1CECHNKREP0F1RSTCMT0"


@case
def _open_missing(ground: Ground) -> Any:
    return ground.ic.Repository.open(ground.ic.local_filesystem_storage(f"{ground.path}-nowhere"))


@case
def _create_over_existing(ground: Ground) -> Any:
    return ground.ic.Repository.create(ground.storage)


@case
def _create_unclean_unchecked(ground: Ground) -> Any:
    return ground.ic.Repository.create(ground.storage, check_clean_root=False)


@case
def _exists(ground: Ground) -> Any:
    other = ground.ic.local_filesystem_storage(f"{ground.path}-nowhere")
    return [ground.ic.Repository.exists(ground.storage), ground.ic.Repository.exists(other)]


@case
def _spec_version(ground: Ground) -> Any:
    other = ground.ic.local_filesystem_storage(f"{ground.path}-nowhere")
    found = [ground.ic.Repository.fetch_spec_version(storage) for storage in (ground.storage, other)]
    return [None if version is None else int(version) for version in found]


@case
def _config_when_none_was_given(ground: Ground) -> Any:
    return ground.ic.Repository.fetch_config(ground.storage)


@case
def _config_of_missing(ground: Ground) -> Any:
    return ground.ic.Repository.fetch_config(ground.ic.local_filesystem_storage(f"{ground.path}-nowhere"))


# Branches, tags, snapshots


@each(existing="dev", main="main")
def _create_branch(ground: Ground, name: str) -> Any:
    return ground.repository.create_branch(name, ground.tip)


@each(unknown=UNKNOWN_ID, short="abc", empty="", lower=ROOT_ID.lower(), long=UNKNOWN_ID * 2, bad="!" * 20)
def _branch_to_snapshot(ground: Ground, snapshot_id: str) -> Any:
    ground.repository.create_branch("new", snapshot_id)
    return ground.repository.lookup_branch("new") == snapshot_id.upper()


@each(empty="", slash="a/b", space="a b", ice="\N{ICE CUBE}", dot=".", dots="..", like_tag="t")
def _branch_name(ground: Ground, name: str) -> Any:
    ground.repository.create_branch(name, ground.tip)
    return ground.repository.list_branches()


@each(empty="", slash="a/b", space="a b", ice="\N{ICE CUBE}", like_branch="dev")
def _tag_name(ground: Ground, name: str) -> Any:
    ground.repository.create_tag(name, ground.tip)
    return ground.repository.list_tags()


@each(existing="t", deleted="gone")
def _create_tag(ground: Ground, name: str) -> Any:
    return ground.repository.create_tag(name, ground.tip)


@each(unknown=UNKNOWN_ID, short="abc")
def _tag_to_snapshot(ground: Ground, snapshot_id: str) -> Any:
    return ground.repository.create_tag("new", snapshot_id)


@each(main="main", missing="nope", tag="t", dev="dev")
def _delete_branch(ground: Ground, name: str) -> Any:
    ground.repository.delete_branch(name)
    return ground.repository.list_branches()


@each(missing="nope", deleted="gone", branch="dev", t="t")
def _delete_tag(ground: Ground, name: str) -> Any:
    ground.repository.delete_tag(name)
    return ground.repository.list_tags()


@each(missing="nope", tag="t")
def _lookup_branch(ground: Ground, name: str) -> Any:
    return ground.repository.lookup_branch(name)


@each(missing="nope", deleted="gone", branch="dev")
def _lookup_tag(ground: Ground, name: str) -> Any:
    return ground.repository.lookup_tag(name)


@each(unknown=UNKNOWN_ID, short="abc", root=ROOT_ID, lower=ROOT_ID.lower())
def _lookup_snapshot(ground: Ground, snapshot_id: str) -> Any:
    info = ground.repository.lookup_snapshot(snapshot_id)
    return [info.id, info.parent_id, info.message, info.metadata]


@each(unknown=UNKNOWN_ID, short="abc", root=ROOT_ID)
def _manifests_of(ground: Ground, snapshot_id: str) -> Any:
    return [file.num_chunk_refs for file in ground.repository.list_manifest_files(snapshot_id)]


@each(
    missing_branch=("nope", ROOT_ID, None),
    tag=("t", ROOT_ID, None),
    unknown=("dev", UNKNOWN_ID, None),
    short=("dev", "abc", None),
    main=("main", ROOT_ID, None),
    wrong_from=("dev", ROOT_ID, ROOT_ID),
    short_from=("dev", ROOT_ID, "abc"),
    missing_with_from=("nope", ROOT_ID, ROOT_ID),
)
def _reset_branch(ground: Ground, arguments: tuple[str, str, str | None]) -> Any:
    name, target, source = arguments
    ground.repository.reset_branch(name, target, from_snapshot_id=source)
    return ground.repository.lookup_branch(name)


@case
def _reset_branch_from_its_tip(ground: Ground) -> Any:
    ground.repository.reset_branch("dev", ROOT_ID, from_snapshot_id=ground.tip)
    return ground.repository.lookup_branch("dev")


@case
def _reset_names_both_tips(ground: Ground) -> Any:
    try:
        ground.repository.reset_branch("dev", ROOT_ID, from_snapshot_id=ROOT_ID)
    except ground.ic.ConflictError as error:
        return [error.expected_parent == ROOT_ID, error.actual_parent == ground.tip]


@each(
    nothing={},
    branch={"branch": "nope"},
    tag={"tag": "nope"},
    deleted={"tag": "gone"},
    unknown={"snapshot_id": UNKNOWN_ID},
    short={"snapshot_id": "abc"},
    two={"branch": "main", "tag": "t"},
)
def _ancestry(ground: Ground, selector: dict[str, str]) -> Any:
    return [info.message for info in ground.repository.ancestry(**selector)]


# Opening sessions


@each(
    nothing={},
    branch={"branch": "nope"},
    tag={"tag": "nope"},
    deleted={"tag": "gone"},
    unknown={"snapshot_id": UNKNOWN_ID},
    short={"snapshot_id": "abc"},
    two={"branch": "main", "tag": "t"},
    branch_and_snapshot={"branch": "main", "snapshot_id": ROOT_ID},
    root={"snapshot_id": ROOT_ID},
)
def _readonly_session(ground: Ground, selector: dict[str, str]) -> Any:
    session = ground.repository.readonly_session(**selector)
    return [session.read_only, session.branch, session.has_uncommitted_changes]


@case
def _as_of_before_the_first(ground: Ground) -> Any:
    moment = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    return ground.repository.readonly_session("main", as_of=moment)


@case
def _as_of_each_commit(ground: Ground) -> Any:
    moments = [info.written_at for info in ground.repository.ancestry(branch="main")]
    sessions = [ground.repository.readonly_session("main", as_of=moment) for moment in moments]
    messages = [ground.repository.lookup_snapshot(session.snapshot_id).message for session in sessions]
    between = ground.repository.readonly_session(
        "main", as_of=moments[0] - datetime.timedelta(microseconds=1)
    )
    return [*messages, ground.repository.lookup_snapshot(between.snapshot_id).message]


@case
def _as_of_in_the_future(ground: Ground) -> Any:
    moment = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
    return ground.repository.readonly_session("main", as_of=moment).snapshot_id == ground.tip


@case
def _as_of_without_time_zone(ground: Ground) -> Any:
    return ground.repository.readonly_session("main", as_of=datetime.datetime(2030, 1, 1))


@each(tag={"tag": "t"}, snapshot={"snapshot_id": ROOT_ID}, nothing={})
def _as_of_without_branch(ground: Ground, selector: dict[str, str]) -> Any:
    return ground.repository.readonly_session(
        **selector, as_of=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    )


@each(missing="nope", tag="t", snapshot=ROOT_ID)
def _writable_session(ground: Ground, name: str) -> Any:
    return ground.repository.writable_session(name)


# Commits


@case
def _commit_nothing(ground: Ground) -> Any:
    return ground.writable.commit("nothing")


@case
def _commit_nothing_on_purpose(ground: Ground) -> Any:
    session = ground.writable
    session.commit("nothing", allow_empty=True)
    return [session.read_only, session.branch, next(iter(ground.repository.ancestry(branch="main"))).message]


@case
def _commit_read_only(ground: Ground) -> Any:
    return ground.readonly.commit("nothing")


@case
def _commit_twice(ground: Ground) -> Any:
    zarr.open_array(ground.writable.store, path="a")[0] = 5
    ground.writable.commit("once")
    return ground.writable.commit("twice")


@case
def _commit_after_another(ground: Ground) -> Any:
    sessions = [ground.repository.writable_session("main") for _ in range(2)]
    for session in sessions:
        zarr.open_array(session.store, path="a")[0] = 5
    sessions[0].commit("first come")
    return sessions[1].commit("too late")


@case
def _conflict_names_both_tips(ground: Ground) -> Any:
    sessions = [ground.repository.writable_session("main") for _ in range(2)]
    for session in sessions:
        zarr.open_array(session.store, path="a")[0] = 5
    tip = sessions[0].commit("first come")
    try:
        sessions[1].commit("too late")
    except ground.ic.ConflictError as error:
        return [
            error.expected_parent == ground.tip,
            error.actual_parent == tip,
            sessions[1].has_uncommitted_changes,
            sessions[1].branch,
        ]


@case
def _commit_to_deleted_branch(ground: Ground) -> Any:
    session = ground.repository.writable_session("dev")
    zarr.open_array(session.store, path="a")[0] = 5
    ground.repository.delete_branch("dev")
    return session.commit("nowhere")


@case
def _commit_to_reset_branch(ground: Ground) -> Any:
    session = ground.repository.writable_session("dev")
    zarr.open_array(session.store, path="a")[0] = 5
    ground.repository.reset_branch("dev", ROOT_ID)
    return session.commit("nowhere")


@each(
    object=object(),
    bytes=b"ab",
    set={1, 2},
    not_a_number=float("nan"),
    too_large=2**70,
    tuple=(1, 2),
    key_number={1: 2},
    nested={"a": [{"b": (1, {"c": None})}]},
    date=datetime.date(2020, 1, 1),
)
def _metadata_value(ground: Ground, value: Any) -> Any:
    ground.writable.commit("with metadata", metadata={"value": value}, allow_empty=True)
    return next(iter(ground.repository.ancestry(branch="main"))).metadata


@case
def _metadata_under_the_reserved_key(ground: Ground) -> Any:
    ground.writable.commit("m", metadata={"__icechunk": {"mine": 1}}, allow_empty=True)
    return next(iter(ground.repository.ancestry(branch="main"))).metadata


@case
def _default_metadata(ground: Ground) -> Any:
    ground.repository.set_default_commit_metadata({"a": 1, "b": 1})
    session = ground.repository.writable_session("main")
    ground.repository.set_default_commit_metadata({"c": 1})
    session.commit("m", metadata={"b": 2}, allow_empty=True)
    info = next(iter(ground.repository.ancestry(branch="main")))
    return [info.metadata, ground.repository.default_commit_metadata()]


@case
def _discard_read_only(ground: Ground) -> Any:
    return ground.readonly.discard_changes()


@case
def _discard(ground: Ground) -> Any:
    zarr.open_array(ground.writable.store, path="a")[:] = 9
    ground.writable.discard_changes()
    return [
        np.asarray(zarr.open_array(ground.writable.store, path="a")[:]).tolist(),
        ground.writable.has_uncommitted_changes,
    ]


@case
def _transaction_that_fails(ground: Ground) -> Any:
    with ground.repository.transaction("main", message="never") as store:
        zarr.open_array(store, path="a")[:] = 9
        raise LookupError


@case
def _transaction_without_changes(ground: Ground) -> Any:
    with ground.repository.transaction("main", message="nothing"):
        pass
