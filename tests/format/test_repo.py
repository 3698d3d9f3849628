"""The repo object: what others wrote, our own round trips, and damaged bytes.

`official-repo` was written by the official release 2.3.0, with at least one entry of each kind of
update except for a migration.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk._core.ids import INITIAL_SNAPSHOT_ID, id_text, parse_id
from icechunk._exceptions import ErrorKind, FormatError, RefNotFoundError, SnapshotNotFoundError
from icechunk._format import flexbuffers
from icechunk._format.flatbuffers import Builder, i32, u8, u64
from icechunk._format.header import FileType, unwrap
from icechunk._format.repo import (
    Availability,
    OpsEntry,
    RepoInfo,
    RepoStatus,
    SnapshotEntry,
    UpdateKind,
    build_repo,
    decode_repo,
    encode_repo,
    write_repo,
)

OFFICIAL = unwrap((Path(__file__).parent / "official-repo").read_bytes(), FileType.REPO_INFO, "repo").payload
ONLINE = RepoStatus(Availability.ONLINE, 1)


def contents(info: RepoInfo) -> dict[str, Any]:
    """Everything that a state says, to be compared."""
    fields = msgspec.structs.asdict(info)
    for columns in ("snapshot_rows", "metadata_rows", "update_rows", "pool", "added", "raw_metadata"):
        del fields[columns]
    del fields["written_snapshots"], fields["written_updates"]
    return fields | {
        "snapshots": list(info.snapshots()),
        "updates": list(info.updates()),
        "metadata": info.metadata,
    }


def microseconds(text: str) -> int:
    return round((datetime.fromisoformat(text) - datetime.fromtimestamp(0, UTC)).total_seconds() * 1e6)


def an_id(number: int) -> bytes:
    return number.to_bytes(12, "big")


def root_with(**changes: Any) -> bytes:
    """A small repo object, field by field, as far as the format allows to leave fields out."""
    builder = Builder()
    snapshot: dict[int, Any] = {0: an_id(1), 1: i32(-1), 2: u64(7), 3: builder.string("first")}
    snapshots = [builder.table(snapshot | changes.get("snapshot", {}))]
    snapshots += [builder.table(other | {3: builder.string("other")}) for other in changes.get("others", [])]
    branches = [builder.table({0: builder.string("main")} | changes.get("branch", {}))]
    branches += [builder.table({0: builder.string(name)}) for name in changes.get("more_branches", [])]
    update: dict[int, Any] = {0: u8(changes.get("kind", 1)), 1: builder.table(changes.get("content", {}))}
    fields: dict[int, bytes | int | None] = {
        0: u8(changes.get("spec_version", 2)),
        1: builder.references([]),
        2: builder.references(branches),
        3: builder.references([]),
        4: builder.references(snapshots),
        5: builder.table(changes.get("status", {})),
        7: builder.references([builder.table(update)]),
    }
    for slot in changes.get("without", ()):
        del fields[slot]
    return bytes(builder.finish(builder.table(fields)))


class TestOfficialObject:
    info = decode_repo(OFFICIAL)

    def test_refs(self) -> None:
        assert {name: id_text(tip) for name, tip in self.info.branches.items()} == {
            "dev": "S2RF3QSPPNEQGAJPKDCG",
            "main": "2EEK6S2X3EX2025SEC0G",
        }
        assert {name: id_text(target) for name, target in self.info.tags.items()} == {
            "v1": "S2RF3QSPPNEQGAJPKDCG"
        }
        assert self.info.deleted_tags == {"old"}

    def test_settings(self) -> None:
        assert self.info.spec_version == 2
        assert self.info.status == RepoStatus(
            Availability.ONLINE, microseconds("2026-11-22T18:20:54.832698Z"), None
        )
        assert self.info.metadata == {"deep": {"a": [True]}, "title": "x"}
        assert self.info.config is not None
        assert flexbuffers.loads(self.info.config, "repo")["inline_chunk_threshold_bytes"] is None
        assert (self.info.enabled_flags, self.info.disabled_flags) == (None, (5,))
        assert self.info.repo_before_updates is None
        assert self.info.extra is None

    def test_snapshots(self) -> None:
        assert [entry.message for entry in self.info.snapshots()] == [
            "Repository initialized",
            "d",
            "c é",
            "loose",
            "b",
        ]
        entry = self.info.snapshot(parse_id("F8P4RE0GX808PPJ8B41G"))
        assert entry == SnapshotEntry(
            parse_id("F8P4RE0GX808PPJ8B41G"),
            parse_id("S2RF3QSPPNEQGAJPKDCG"),
            microseconds("2026-11-22T18:20:54.821016Z"),
            "c é",
            {"list": [1, 2.5, None], "who": "me"},
        )

    def test_expired_ancestors_leave_their_logs(self) -> None:
        entry = self.info.snapshot(parse_id("S2RF3QSPPNEQGAJPKDCG"))
        assert entry is not None
        assert entry.parent_id == INITIAL_SNAPSHOT_ID
        assert [id_text(log) for log in entry.pruned_ancestor_tx_logs] == ["YT2NXZTFJCW300RFQBRG"]

    def test_ops_log(self) -> None:
        entries = list(self.info.updates())
        assert {entry.kind for entry in entries} == set(UpdateKind) - {UpdateKind.REPO_MIGRATED}
        assert entries[0] == OpsEntry(UpdateKind.GC_RAN, microseconds("2026-11-22T18:20:54.837670Z"))
        assert entries[2] == OpsEntry(
            UpdateKind.REPO_STATUS_CHANGED,
            microseconds("2026-11-22T18:20:54.831403Z"),
            "repo.30708308345168.97K964AED96K7C1Q8G1G",
            status=RepoStatus(Availability.READ_ONLY, microseconds("2026-11-22T18:20:54.831316Z"), "moving"),
        )
        assert [(entry.flag_id, entry.flag_value) for entry in entries[3:5]] == [(3, None), (5, False)]
        amended = entries[10]
        assert (amended.kind, amended.name) == (UpdateKind.COMMIT_AMENDED, "main")
        assert amended.previous_id == parse_id("F8P4RE0GX808PPJ8B41G")
        assert amended.new_id == parse_id("2EEK6S2X3EX2025SEC0G")

    def test_round_trip(self) -> None:
        again = encode_repo(self.info)
        assert contents(decode_repo(again)) == contents(self.info)
        # Our own objects come back byte for byte, so nothing piles up in them.
        assert encode_repo(decode_repo(again)) == again


class TestOptionalFields:
    def test_all_absent(self) -> None:
        info = decode_repo(root_with())
        assert list(info.snapshots()) == [SnapshotEntry(an_id(1), None, 7, "first")]
        assert list(info.updates()) == [OpsEntry(UpdateKind.REPO_INITIALIZED)]
        assert info.branches == {"main": an_id(1)}
        assert info.status == RepoStatus(Availability.ONLINE, 0)
        assert (info.metadata, info.config, info.extra) == ({}, None, None)
        assert (info.enabled_flags, info.disabled_flags) == (None, None)
        assert contents(decode_repo(encode_repo(info))) == contents(info)

    def test_an_absent_parent_field_is_the_first_snapshot(self) -> None:
        info = decode_repo(root_with(others=[{0: an_id(2)}]))
        entry = info.snapshot(an_id(2))
        assert entry is not None
        assert entry.parent_id == an_id(1)

    def test_all_present(self) -> None:
        info = build_repo(
            snapshots=[SnapshotEntry(an_id(1), None, 1, "", {"é": [1, None], "": {}}, (an_id(5), an_id(6)))],
            branches={"main": an_id(1), "": an_id(1)},
            tags={"b": an_id(1), "a": an_id(1)},
            deleted_tags=["z", "y"],
            status=RepoStatus(Availability.OFFLINE, 3, ""),
            updates=[
                OpsEntry(
                    UpdateKind.REPO_STATUS_CHANGED, 9, status=RepoStatus(Availability.READ_ONLY, 3, "é")
                ),
                OpsEntry(UpdateKind.REPO_MIGRATED, 8, "backup", from_version=1, to_version=2),
            ],
            metadata={"b": 1, "a": None},
            repo_before_updates="before",
            config=b"config",
        )
        info = msgspec.structs.replace(info, enabled_flags=(), disabled_flags=(5, 3), extra=b"\0" * 5)
        again = decode_repo(encode_repo(info))
        assert contents(again) == contents(info) | {"disabled_flags": (3, 5)}

    def test_an_unknown_status_is_not_read_only(self) -> None:
        info = decode_repo(root_with(status={0: u8(77)}))
        assert info.status.availability == Availability.OFFLINE
        assert info.status.is_online

    def test_unknown_update(self) -> None:
        """It does no harm until the log is needed."""
        info = decode_repo(root_with(kind=17))
        assert info.branches == {"main": an_id(1)}
        with pytest.raises(FormatError, match="unknown kind 17"):
            list(info.updates())
        with pytest.raises(FormatError, match="unknown kind 17"):
            encode_repo(info)


class TestDamage:
    @pytest.mark.parametrize("slot", [1, 2, 3, 4, 5, 7])
    def test_missing_field(self, slot: int) -> None:
        with pytest.raises(FormatError) as caught:
            decode_repo(root_with(without=[slot]), "overwritten/repo.1")
        assert caught.value.kind == ErrorKind.INVALID_FILE_FORMAT
        assert "overwritten/repo.1" in caught.value.message

    @pytest.mark.parametrize("version", [0, 3, 255])
    def test_spec_version(self, version: int) -> None:
        with pytest.raises(FormatError) as caught:
            decode_repo(root_with(spec_version=version))
        assert caught.value.kind == ErrorKind.UNSUPPORTED_SPEC_VERSION

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"snapshot": {0: None}}, id="snapshot without id"),
            pytest.param({"snapshot": {3: None}}, id="snapshot without message"),
            pytest.param({"snapshot": {1: i32(1)}}, id="parent out of range"),
            pytest.param({"snapshot": {2: u64(2**63)}}, id="time out of range"),
            pytest.param({"status": {1: u64(2**63)}}, id="time of status out of range"),
            pytest.param({"others": [{0: an_id(0)}]}, id="snapshots out of order"),
            pytest.param({"others": [{0: an_id(1)}]}, id="snapshot twice"),
            pytest.param({"branch": {0: None}}, id="branch without name"),
            pytest.param({"branch": {1: i32(1)}}, id="branch to nowhere"),
            pytest.param({"more_branches": ["main"]}, id="branch twice"),
            pytest.param({"kind": 5}, id="update without name"),
            pytest.param({"kind": 12}, id="update without id"),
            pytest.param({"kind": 16}, id="update without status"),
        ],
    )
    def test_broken_rule(self, changes: dict[str, Any]) -> None:
        with pytest.raises(FormatError) as caught:
            decode_repo(root_with(**changes))
        assert caught.value.kind == ErrorKind.INVALID_FILE_FORMAT

    def test_text_that_is_not_utf8(self) -> None:
        info = decode_repo(root_with().replace(b"first", b"fi\xffst"))
        with pytest.raises(FormatError, match="UTF-8"):
            info.snapshot(an_id(1))

    @pytest.mark.parametrize("slot", [3, 5])
    @pytest.mark.parametrize("count", [60, 1000])
    def test_rows_may_share_but_do_not_multiply(self, slot: int, count: int) -> None:
        # A message of 100,000 bytes, or so many bytes of ids, for each snapshot.
        builder = Builder()
        parts: dict[int, Any] = {3: builder.string(""), slot: builder.vector(np.zeros(8333, "V12"), 4)}
        snapshots = [builder.table({0: an_id(number), 1: i32(-1)} | parts) for number in range(count)]
        fields: dict[int, Any] = {
            **{slot: builder.references([]) for slot in (1, 3, 7)},
            2: builder.references([builder.table({0: builder.string("main")})]),
            4: builder.references(snapshots),
            5: builder.table({}),
        }
        payload = bytes(builder.finish(builder.table({0: u8(2)} | fields)))
        if count == 60:
            assert len(decode_repo(payload).snapshot_ids()) == count
        else:
            with pytest.raises(FormatError, match="share too much"):
                decode_repo(payload)

    def test_parents_in_a_circle(self) -> None:
        info = decode_repo(root_with(snapshot={1: i32(1)}, others=[{0: an_id(2), 1: i32(0)}]))
        with pytest.raises(FormatError, match="circle"):
            list(info.ancestry(an_id(1)))
        with pytest.raises(FormatError, match="circle"):
            list(info.ancestor_ids(an_id(2)))

    @given(st.binary(max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_random_bytes(self, payload: bytes) -> None:
        read_everything(payload)

    @given(st.integers(0, len(OFFICIAL)))
    @settings(max_examples=60, deadline=None)
    def test_truncation(self, size: int) -> None:
        read_everything(OFFICIAL[:size])

    @given(st.data())
    @settings(max_examples=120, deadline=None)
    def test_changed_bytes(self, data: st.DataObject) -> None:
        payload = bytearray(OFFICIAL)
        for _ in range(data.draw(st.integers(1, 4))):
            # Offsets and counts stand at multiples of 4 and are small: most damage is done there.
            at = data.draw(st.integers(0, len(payload) // 4 - 1)) * 4
            payload[at : at + 4] = data.draw(
                st.one_of(
                    st.binary(min_size=4, max_size=4),
                    st.integers(-(2**31), 2**31 - 1).map(
                        lambda value: value.to_bytes(4, "little", signed=True)
                    ),
                    st.integers(0, 3000).map(lambda value: value.to_bytes(4, "little")),
                )
            )
        read_everything(bytes(payload))


def read_everything(payload: bytes) -> None:
    """Use all of a payload and write it again; only errors of the format may come out."""
    try:
        info = decode_repo(payload)
        contents(info)
        for snapshot_id in info.snapshot_ids():
            list(info.ancestor_ids(snapshot_id))
        again = encode_repo(info)
    except FormatError:
        return
    except RefNotFoundError:
        assert "main" not in info.branches
        return
    assert contents(decode_repo(again)) == contents(info)


class TestLookups:
    info = build_repo(
        snapshots=[
            SnapshotEntry(an_id(n), an_id(n - 2) if n > 2 else None, n, f"m{n}") for n in range(1, 10)
        ],
        branches={"main": an_id(9)},
        status=ONLINE,
        updates=[],
    )

    def test_index(self) -> None:
        assert [self.info.snapshot_index(an_id(n)) for n in range(11)] == [None, *range(9), None]
        assert self.info.snapshot_ids() == [an_id(n) for n in range(1, 10)]

    def test_ids_that_end_in_zeros(self) -> None:
        ids = [bytes([1] + [0] * 11), bytes([1, 1] + [0] * 10), bytes([1, 1, 1] + [0] * 9), b"\xff" * 12]
        info = build_repo(
            snapshots=[SnapshotEntry(each, None, 0, "") for each in reversed(ids)],
            branches={"main": ids[0], "b": ids[3]},
            tags={"t": ids[1]},
            status=ONLINE,
            updates=[OpsEntry(UpdateKind.NEW_DETACHED_SNAPSHOT, new_id=ids[0])],
        )
        again = decode_repo(encode_repo(info))
        assert again.snapshot_ids() == ids
        assert [again.snapshot_index(each) for each in ids] == [0, 1, 2, 3]
        assert (again.branches, again.tags) == (info.branches, info.tags)
        assert list(again.updates()) == list(info.updates())

    def test_ancestry(self) -> None:
        assert [entry.message for entry in self.info.ancestry(an_id(8))] == ["m8", "m6", "m4", "m2"]
        assert list(self.info.ancestor_ids(an_id(3))) == [an_id(3), an_id(1)]
        with pytest.raises(SnapshotNotFoundError):
            self.info.ancestry(an_id(77))
        assert self.info.snapshot(an_id(77)) is None


class TestWriting:
    def test_needs_main(self) -> None:
        info = msgspec.structs.replace(TestLookups.info, branches={"dev": an_id(1)})
        with pytest.raises(RefNotFoundError) as caught:
            encode_repo(info)
        assert caught.value.kind == ErrorKind.BRANCH_NOT_FOUND

    def test_refs_need_their_snapshots(self) -> None:
        for target in (an_id(0), an_id(77)):
            info = msgspec.structs.replace(TestLookups.info, tags={"t": target})
            with pytest.raises(SnapshotNotFoundError):
                encode_repo(info)

    def test_snapshots_need_their_parents_and_own_ids(self) -> None:
        with pytest.raises(SnapshotNotFoundError):
            TestLookups.info.with_snapshot(SnapshotEntry(an_id(50), an_id(40), 1, ""))
        with pytest.raises(FormatError) as caught:
            TestLookups.info.with_snapshot(SnapshotEntry(an_id(5), None, 1, ""))
        assert caught.value.kind == ErrorKind.DUPLICATE_SNAPSHOT_ID
        for entries, error in (([an_id(1), an_id(1)], FormatError), ([an_id(2)], SnapshotNotFoundError)):
            with pytest.raises(error):
                build_repo(
                    snapshots=[
                        SnapshotEntry(each, an_id(9) if each == an_id(2) else None, 1, "") for each in entries
                    ],
                    branches={"main": an_id(1)},
                    status=ONLINE,
                    updates=[],
                )

    def test_what_is_dropped_leaves_the_file(self) -> None:
        """Rows share the pool of the object that they come from; the next object holds only what is used."""
        updates = [
            OpsEntry(UpdateKind.TAG_CREATED, 100 - n, f"backup {n}", f"tag {n}" * 50) for n in range(50)
        ]
        info = build_repo(
            snapshots=[SnapshotEntry(an_id(1), None, 1, "kept", {"a": 1})],
            branches={"main": an_id(1)},
            status=ONLINE,
            updates=updates,
        )
        info = decode_repo(encode_repo(info))
        kept = msgspec.structs.replace(info, update_rows=info.update_rows[40:42])
        payload = encode_repo(kept)
        assert contents(decode_repo(payload)) == contents(kept)
        assert b"tag 39" not in bytes(payload)
        assert len(payload) < 2000

    def test_many_rows(self) -> None:
        """Large enough that a mistake in the bulk code cannot hide, with and without metadata and lists."""
        random = np.random.default_rng(0)
        ids = sorted(row.tobytes() for row in random.integers(0, 256, (700, 12), np.uint8))
        snapshots = [
            SnapshotEntry(
                each,
                ids[random.integers(number)] if number else None,
                number * 1000,
                "é" * (number % 23),
                {f"key {key}": ["x" * number, key] for key in range(number % 4)},
                tuple(ids[: number % 5]) if number % 3 == 0 else (),
            )
            for number, each in enumerate(ids)
        ]
        kinds = [
            OpsEntry(UpdateKind.NEW_COMMIT, 1, "a", "main", new_id=ids[0]),
            OpsEntry(UpdateKind.BRANCH_DELETED, 1, "a", "é", ids[1]),
            OpsEntry(UpdateKind.COMMIT_AMENDED, 1, None, "", ids[2], ids[3]),
            OpsEntry(UpdateKind.FEATURE_FLAG_CHANGED, 1, "b", flag_id=65535, flag_value=True),
            OpsEntry(UpdateKind.REPO_STATUS_CHANGED, 1, status=ONLINE),
        ]
        updates = [msgspec.structs.replace(kinds[n % 5], updated_at=5000 - n) for n in range(300)]
        info = build_repo(snapshots=snapshots, branches={"main": ids[-1]}, status=ONLINE, updates=updates)
        again = decode_repo(encode_repo(info))
        assert list(again.snapshots()) == snapshots
        assert list(again.updates()) == updates


# FlexBuffers ends keys with a zero byte.
keys = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
properties = st.dictionaries(st.text(max_size=6), json_values, max_size=3)
ids = st.binary(min_size=12, max_size=12)
times = st.integers(0, 253_402_300_799_999_999)
statuses = st.builds(RepoStatus, st.sampled_from(Availability), times, st.none() | st.text(max_size=5))


@st.composite
def entries(draw: st.DrawFn) -> OpsEntry:
    kind = draw(st.sampled_from(UpdateKind))
    fields: dict[UpdateKind, dict[str, st.SearchStrategy[Any]]] = {
        UpdateKind.REPO_MIGRATED: {"from_version": st.integers(0, 255), "to_version": st.integers(0, 255)},
        UpdateKind.TAG_CREATED: {"name": st.text()},
        UpdateKind.TAG_DELETED: {"name": st.text(), "previous_id": ids},
        UpdateKind.BRANCH_CREATED: {"name": st.text()},
        UpdateKind.BRANCH_DELETED: {"name": st.text(), "previous_id": ids},
        UpdateKind.BRANCH_RESET: {"name": st.text(), "previous_id": ids},
        UpdateKind.NEW_COMMIT: {"name": st.text(), "new_id": ids},
        UpdateKind.COMMIT_AMENDED: {"name": st.text(), "previous_id": ids, "new_id": ids},
        UpdateKind.NEW_DETACHED_SNAPSHOT: {"new_id": ids},
        UpdateKind.FEATURE_FLAG_CHANGED: {
            "flag_id": st.integers(0, 65535),
            "flag_value": st.none() | st.booleans(),
        },
        UpdateKind.REPO_STATUS_CHANGED: {"status": statuses},
    }
    values = {name: draw(values) for name, values in fields.get(kind, {}).items()}
    return OpsEntry(kind, draw(times), draw(st.none() | st.text()), **values)


@st.composite
def states(draw: st.DrawFn) -> RepoInfo:
    known = draw(st.lists(ids, min_size=1, max_size=6, unique=True))
    some = st.sampled_from(known)
    snapshots = [
        SnapshotEntry(
            each,
            draw(st.none() | some),
            draw(times),
            draw(st.text()),
            draw(properties),
            tuple(draw(st.lists(ids, max_size=2))),
        )
        for each in known
    ]
    refs = st.dictionaries(st.text(), some, max_size=3)
    info = build_repo(
        snapshots=snapshots,
        branches=draw(refs) | {"main": known[0]},
        tags=draw(refs),
        deleted_tags=draw(st.sets(st.text(), max_size=3)),
        status=draw(statuses),
        updates=draw(st.lists(entries(), max_size=6)),
        metadata=draw(properties),
        repo_before_updates=draw(st.none() | st.text()),
        config=draw(st.none() | st.binary(max_size=9)),
    )
    flags = st.none() | st.sets(st.integers(0, 65535), max_size=3).map(sorted).map(tuple)
    return msgspec.structs.replace(
        info,
        enabled_flags=draw(flags),
        disabled_flags=draw(flags),
        extra=draw(st.none() | st.binary(max_size=9)),
    )


@given(states())
@settings(max_examples=40, deadline=None)
def test_round_trip(info: RepoInfo) -> None:
    payload = encode_repo(info)
    again = decode_repo(payload)
    assert contents(again) == contents(info)
    assert again.snapshot_ids() == sorted(again.snapshot_ids())
    assert encode_repo(again) == payload


@given(states(), st.lists(st.tuples(entries(), st.booleans(), st.integers(1, 2**40)), max_size=24), st.data())
@settings(max_examples=40, deadline=None)
def test_what_was_encoded_before_is_taken_over(
    info: RepoInfo, steps: list[tuple[OpsEntry, bool, int]], data: st.DataObject
) -> None:
    """Rows copied from the last buffer, with ids that sort anywhere and a log that loses its end."""
    payload, info = write_repo(info)
    for number, (entry, writes, flushed_at) in enumerate(steps):
        ids = info.snapshot_ids()
        new_id = data.draw(st.binary(min_size=12, max_size=12))
        if new_id in ids:
            continue
        parent_id = data.draw(st.sampled_from([None, *ids]))
        entry_of = SnapshotEntry(new_id, parent_id, flushed_at, f"message {number}", {"a": number})
        info = info.with_snapshot(entry_of).with_update(entry, f"backup {number}")
        if data.draw(st.integers(0, 5)) == 0:
            info = msgspec.structs.replace(info, update_rows=info.update_rows[:-1])
        if writes:
            payload, info = write_repo(info)
            assert contents(decode_repo(payload)) == contents(info)
            assert encode_repo(decode_repo(payload)) == encode_repo(
                msgspec.structs.replace(info, written_snapshots=None, written_updates=None)
            )


def test_a_commit_encodes_its_own_rows_only() -> None:
    first = SnapshotEntry(an_id(1000), None, 1, "first", {"a": [1, 2]}, (an_id(7), an_id(8)))
    updates = [OpsEntry(UpdateKind.REPO_INITIALIZED, 1)]
    info = build_repo(snapshots=[first], branches={"main": first.id}, status=ONLINE, updates=updates)
    _, info = write_repo(info)
    for number in range(40):
        before = info
        # Ids that come to stand before all others, so that each parent is another row now.
        entry = SnapshotEntry(an_id(999 - number), info.branches["main"], number + 2, f"commit {number}")
        update = OpsEntry(UpdateKind.NEW_COMMIT, number + 2, name="main", new_id=entry.id)
        info = info.with_snapshot(entry).with_update(update, f"backup {number}")
        info = msgspec.structs.replace(info, branches={"main": entry.id})
        payload, info = write_repo(info)
        assert contents(decode_repo(payload)) == contents(info)
        assert info.written_updates is not None
        assert before.written_updates is not None
        assert info.written_updates.region.content.endswith(before.written_updates.region.content)
    messages = [entry.message for entry in info.ancestry(info.branches["main"])]
    assert messages == [*(f"commit {number}" for number in reversed(range(40))), "first"]
