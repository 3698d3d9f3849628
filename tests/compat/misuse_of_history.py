"""Mistakes and questions about history, and about what holds for all of a repository; see `misuse`."""

from __future__ import annotations

import datetime
from typing import Any

from tests.compat.misuse import Ground, case, case_of_spec_2, each

UNKNOWN_ID = "ZZZZZZZZZZZZZZZZZZZG"
ROOT_ID = "1CECHNKREP0F1RSTCMT0"
DIFF_MEMBERS = ("new_groups", "new_arrays", "deleted_groups", "deleted_arrays", "updated_groups")


def ids(ground: Ground) -> list[str]:
    """The ids of main's snapshots, oldest first."""
    return [info.id for info in ground.repository.ancestry(branch="main")][::-1]


# Names and ids


@each(empty="", slash="a/b", dots="..", ice="\N{ICE CUBE}", like_tag="t")
def _missing_branch(ground: Ground, name: str) -> Any:
    return ground.repository.lookup_branch(name)


@each(empty="", slash="a/b", dots="..", like_branch="dev")
def _missing_tag(ground: Ground, name: str) -> Any:
    return ground.repository.lookup_tag(name)


@each(empty="", slash="a/b", dots="..")
def _delete_branch_named(ground: Ground, name: str) -> Any:
    return ground.repository.delete_branch(name)


@each(empty="", slash="a/b", dots="..")
def _delete_tag_named(ground: Ground, name: str) -> Any:
    return ground.repository.delete_tag(name)


@each(empty="", slash="a/b", dots="..")
def _reset_branch_named(ground: Ground, name: str) -> Any:
    return ground.repository.reset_branch(name, ROOT_ID)


@each(empty="", slash="a/b", space="a b", ice="\N{ICE CUBE}")
def _whole_life_of_a_branch(ground: Ground, name: str) -> Any:
    repository = ground.repository
    repository.create_branch(name, ROOT_ID)
    repository.reset_branch(name, ground.tip, from_snapshot_id=ROOT_ID)
    session = repository.writable_session(name)
    session.commit("empty", allow_empty=True)
    history = [info.message for info in repository.ancestry(branch=name)]
    repository.delete_branch(name)
    return [history, repository.list_branches() == {"main", "dev"}]


@each(empty="", slash="a/b", space="a b")
def _whole_life_of_a_tag(ground: Ground, name: str) -> Any:
    repository = ground.repository
    repository.create_tag(name, ROOT_ID)
    found = [repository.lookup_tag(name), [info.id for info in repository.ancestry(tag=name)]]
    repository.delete_tag(name)
    try:
        repository.create_tag(name, ROOT_ID)
    except ground.ic.AlreadyExistsError as error:
        return [*found, str(error.kind)]


@each(empty="", spaces=" " * 20, long=UNKNOWN_ID + "0", lower=ROOT_ID.lower(), letters="1CECHNKREPOF1RSTCMTO")
def _snapshot_of_id(ground: Ground, snapshot_id: str) -> Any:
    return ground.repository.lookup_snapshot(snapshot_id).message


@each(empty="", long=UNKNOWN_ID + "0", lower=ROOT_ID.lower())
def _manifests_of_id(ground: Ground, snapshot_id: str) -> Any:
    return ground.repository.list_manifest_files(snapshot_id)


@each(unknown=UNKNOWN_ID, short="abc", empty="")
def _reset_to_and_from(ground: Ground, snapshot_id: str) -> Any:
    return ground.repository.reset_branch("dev", snapshot_id, from_snapshot_id=snapshot_id)


@each(unknown=UNKNOWN_ID, short="abc")
def _reset_main_from(ground: Ground, snapshot_id: str) -> Any:
    return ground.repository.reset_branch("main", ROOT_ID, from_snapshot_id=snapshot_id)


@case
def _tag_and_branch_of_one_name(ground: Ground) -> Any:
    ground.repository.create_tag("dev", ROOT_ID)
    branch, tag = ground.repository.lookup_branch("dev"), ground.repository.lookup_tag("dev")
    return [branch == ground.tip, tag]


@case
def _deleted_branch_again(ground: Ground) -> Any:
    ground.repository.delete_branch("dev")
    ground.repository.create_branch("dev", ROOT_ID)
    return ground.repository.lookup_branch("dev")


@case
def _main_reset_to_an_unrelated_line(ground: Ground) -> Any:
    repository = ground.repository
    repository.create_branch("line", ROOT_ID)
    session = repository.writable_session("line")
    tip = session.commit("other", allow_empty=True)
    repository.reset_branch("main", tip)
    return [info.message for info in repository.ancestry(branch="main")]


# History


@each(
    branch={"branch": "nope"},
    tag={"tag": "nope"},
    unknown={"snapshot_id": UNKNOWN_ID},
    short={"snapshot_id": "abc"},
    nothing={},
    two={"branch": "main", "tag": "t"},
)
def _ancestry_that_nobody_iterates(ground: Ground, selector: dict[str, str]) -> Any:
    ground.repository.ancestry(**selector)


@each(nothing={}, two={"branch": "main", "tag": "t"})
def _async_ancestry_that_nobody_iterates(ground: Ground, selector: dict[str, str]) -> Any:
    ground.repository.async_ancestry(**selector)


@each(
    nothing={},
    no_start={"to_branch": "main"},
    no_end={"from_branch": "main"},
    two_starts={"from_branch": "main", "from_tag": "t", "to_branch": "main"},
    two_ends={"from_snapshot_id": ROOT_ID, "to_branch": "main", "to_tag": "t"},
    same={"from_branch": "main", "to_branch": "main"},
    both_roots={"from_snapshot_id": ROOT_ID, "to_snapshot_id": ROOT_ID},
    backwards={"from_branch": "main", "to_snapshot_id": ROOT_ID},
    missing_start={"from_branch": "nope", "to_branch": "main"},
    missing_end={"from_snapshot_id": ROOT_ID, "to_branch": "nope"},
    deleted_tag={"from_tag": "gone", "to_branch": "main"},
    both_missing={"from_tag": "nope", "to_tag": "no"},
    unknown_start={"from_snapshot_id": UNKNOWN_ID, "to_branch": "main"},
    unknown_end={"from_snapshot_id": ROOT_ID, "to_snapshot_id": UNKNOWN_ID},
    short_start={"from_snapshot_id": "abc", "to_branch": "nope"},
    short_end={"from_branch": "nope", "to_snapshot_id": "abc"},
    whole={"from_snapshot_id": ROOT_ID, "to_branch": "main"},
    tag={"from_snapshot_id": ROOT_ID, "to_tag": "t"},
)
def _diff(ground: Ground, selectors: dict[str, str]) -> Any:
    diff = ground.repository.diff(**selectors)
    return [*(sorted(getattr(diff, name)) for name in DIFF_MEMBERS), diff.updated_chunks, str(diff)]


@case
def _diff_of_each_step(ground: Ground) -> Any:
    first, second, third = ids(ground)
    return [
        ground.repository.diff(from_snapshot_id=older, to_snapshot_id=newer).updated_chunks
        for older, newer in ((first, second), (second, third), (first, third))
    ]


@case
def _diff_across_lines(ground: Ground) -> Any:
    session = ground.repository.writable_session("dev")
    session.commit("on dev", allow_empty=True)
    session = ground.repository.writable_session("main")
    session.commit("on main", allow_empty=True)
    return ground.repository.diff(from_branch="dev", to_branch="main")


@case
def _diff_of_an_empty_commit(ground: Ground) -> Any:
    ground.writable.commit("empty", allow_empty=True)
    diff = ground.repository.diff(from_snapshot_id=ground.tip, to_branch="main")
    return [diff.is_empty(), str(diff), repr(diff)]


@each(
    branch={"branch": "nope"},
    tag={"tag": "nope"},
    deleted={"tag": "gone"},
    unknown={"snapshot_id": UNKNOWN_ID},
    short={"snapshot_id": "abc"},
    two={"branch": "main", "tag": "t"},
    all_three={"branch": "main", "tag": "t", "snapshot_id": ROOT_ID},
)
def _graph(ground: Ground, selector: dict[str, str]) -> Any:
    return str(ground.repository.ancestry_graph(plain=True, **selector))


@each(all={}, branch={"branch": "dev"}, root={"snapshot_id": ROOT_ID})
def _messages_in_the_graph(ground: Ground, selector: dict[str, str]) -> Any:
    lines = str(ground.repository.ancestry_graph(plain=True, **selector)).splitlines()
    return [line.rpartition(")")[2].split()[-1] for line in lines if "●" in line]


# What holds for all of a repository


@case
def _ops_log_that_nobody_iterates(ground: Ground) -> Any:
    ground.repository.ops_log()


@case
def _ops_log(ground: Ground) -> Any:
    updates = list(ground.repository.ops_log())
    kinds = [type(update.kind).__name__.rpartition("_")[2] for update in updates]
    return [kinds, [update.backup_path is None for update in updates]]


@case
def _metadata_of_a_new_repository(ground: Ground) -> Any:
    return [ground.repository.get_metadata(), ground.repository.metadata]


@each(
    object={"a": object()},
    key={1: 1},
    nothing=None,
    list=["a"],
    text="a",
    pairs=[("a", 1)],
    nan={"a": float("nan")},
    large={"a": 2**70},
    tuple={"a": (1, 2)},
    bytes={"a": b"xy"},
    empty={},
)
def _repository_metadata(ground: Ground, metadata: Any) -> Any:
    ground.repository.set_metadata({"kept": 1})
    answer = ground.repository.set_metadata(metadata)
    return [answer, ground.repository.get_metadata()]


@each(object={"a": object()}, nothing=None, empty={}, nested={"kept": {"a": 1}}, null={"kept": None})
def _update_metadata(ground: Ground, metadata: Any) -> Any:
    ground.repository.set_metadata({"kept": {"b": 2}, "other": 1})
    answer = ground.repository.update_metadata(metadata)
    return [answer, ground.repository.get_metadata() == answer]


@each(text="read_only", nothing=None, number=1)
def _status_of_type(ground: Ground, status: Any) -> Any:
    return ground.repository.set_status(status)


@case
def _status_names_its_reason(ground: Ground) -> Any:
    ic = ground.ic
    moment = datetime.datetime(2020, 2, 3, 4, 5, 6, 7, tzinfo=datetime.UTC)
    status = ic.RepoStatus(ic.RepoAvailability.read_only, moment, "inventory")
    ground.repository.set_status(status)
    found = ic.Repository.open(ground.storage).status
    return [str(found.availability), found.set_at == moment, found.limited_availability_reason]


def set_read_only(ground: Ground) -> None:
    ic = ground.ic
    ground.repository.set_status(ic.RepoStatus(ic.RepoAvailability.read_only))


@each(
    create_branch=lambda it: it.repository.create_branch("new", it.tip),
    create_existing=lambda it: it.repository.create_branch("dev", UNKNOWN_ID),
    delete_branch=lambda it: it.repository.delete_branch("nope"),
    delete_main=lambda it: it.repository.delete_branch("main"),
    reset_branch=lambda it: it.repository.reset_branch("nope", UNKNOWN_ID),
    create_tag=lambda it: it.repository.create_tag("gone", UNKNOWN_ID),
    delete_tag=lambda it: it.repository.delete_tag("nope"),
    malformed=lambda it: it.repository.create_tag("new", "abc"),
    metadata=lambda it: it.repository.set_metadata({}),
    update_metadata=lambda it: it.repository.update_metadata({}),
    flag=lambda it: it.repository.set_feature_flag("create_tag", True),
    unknown_flag=lambda it: it.repository.set_feature_flag("fly", True),
    config=lambda it: it.repository.save_config(),
    writable=lambda it: it.repository.writable_session("main"),
    writable_missing=lambda it: it.repository.writable_session("nope"),
    readonly=lambda it: it.repository.readonly_session("main").read_only,
    status=lambda it: it.repository.set_status(it.ic.RepoStatus(it.ic.RepoAvailability.online)),
    commit=lambda it: it.writable.commit("m", allow_empty=True),
    ancestry=lambda it: len(list(it.repository.ancestry(branch="main"))),
)
def _while_read_only(ground: Ground, verb: Any) -> Any:
    _ = ground.writable
    set_read_only(ground)
    return verb(ground)


@each(unknown=("fly", True), empty=("", None), number=("create_tag", 1), text=("create_tag", "on"))
def _feature_flag(ground: Ground, arguments: tuple[str, Any]) -> Any:
    return ground.repository.set_feature_flag(*arguments)


@each(on=True, off=False, default=None)
def _tags_with_the_flag(ground: Ground, setting: bool | None) -> Any:
    repository = ground.repository
    repository.set_feature_flag("create_tag", setting)
    flags = [(flag.id, flag.name, flag.setting, flag.enabled) for flag in repository.feature_flags()]
    on = [flag.name for flag in repository.enabled_feature_flags()]
    off = [flag.name for flag in repository.disabled_feature_flags()]
    try:
        repository.create_tag("new", ground.tip)
    except ground.ic.SessionStateError as error:
        return [list(map(list, sorted(flags))), sorted(on), off, str(error.kind)]
    return [list(map(list, sorted(flags))), sorted(on), off]


@each(existing="t", gone="gone", unknown="new")
def _tag_while_switched_off(ground: Ground, name: str) -> Any:
    ground.repository.set_feature_flag("create_tag", False)
    return ground.repository.create_tag(name, UNKNOWN_ID if name == "new" else ground.tip)


@each(existing="t", missing="nope")
def _delete_tag_while_switched_off(ground: Ground, name: str) -> Any:
    ground.repository.set_feature_flag("delete_tag", False)
    return ground.repository.delete_tag(name)


@case_of_spec_2
def _flags_show_themselves(ground: Ground) -> Any:
    return [str(flag) for flag in sorted(ground.repository.feature_flags(), key=lambda flag: flag.id)]
