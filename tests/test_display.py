"""Everything that is exported shows itself: readable, well-formed, without waiting, without I/O."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from obstore.store import S3Store

import icechunk
from icechunk import (
    ConflictType,
    Diff,
    ManifestPreloadCondition,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ObjectStoreConfig,
    RepositoryConfig,
    Session,
    UpdateType,
)
from icechunk._core.change_set import ChunkTable
from icechunk._core.ids import id_text
from icechunk._format.chunk_refs import ChunkRef, ChunkRefs
from icechunk.testing.faults import Faults, faulty_storage
from icechunk.types import ChunkType
from tests.threads import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

EVIL = '<script>alert("&")'
SECRET = "open sesame"
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)

EXPORTED = [
    name
    for name in icechunk.__all__
    if isinstance(getattr(icechunk, name), type) and not issubclass(getattr(icechunk, name), Warning)
]


def opened(storage: icechunk.Storage) -> tuple[icechunk.Repository, Session]:
    """A repository, and a session of it with changes of every kind."""
    containers = {
        f"s3://{EVIL}/": icechunk.VirtualChunkContainer(
            f"s3://{EVIL}/", ObjectStoreConfig.S3(icechunk.S3Options(region=EVIL)), EVIL
        )
    }
    config = RepositoryConfig(virtual_chunk_containers=containers)
    repo = icechunk.Repository.create(storage)
    repo._config = config  # with a prefix that `create` would not take
    with repo.transaction("main", message=EVIL, metadata={"author": EVIL}) as store:
        group: Any = zarr.create_group(store)
        group.create_array(EVIL, shape=(8,), chunks=(2,), dtype="i4")[:] = 1
        group.create_group("old")
    session = repo.writable_session("main")
    group = zarr.open_group(session.store)
    group[EVIL][:2] = 2
    assert session.status().updated_chunks  # what came one by one is in columns from here on
    group[EVIL][:6] = 3
    session.store.delete_sync(f"{EVIL}/c/3")
    group.attrs["title"] = EVIL
    for name in "ab":
        group.create_array(name, shape=(2,), chunks=(1,), dtype="i4")[:] = 1
    del group["old"]
    return repo, session


@cache
def specimens() -> list[Any]:
    """At least one instance of each exported class; text of users is `EVIL`, and secrets are `SECRET`."""
    repo, session = opened(icechunk.in_memory_storage())
    config = repo.config
    keys = icechunk.S3StaticCredentials(f"AKIA{SECRET}", SECRET, SECRET, MOMENT)
    signed = icechunk.S3Credentials.Static(keys)
    array = ManifestSplitCondition.path_matches(EVIL) | ManifestSplitCondition.AnyArray()
    dimension = ManifestSplitDimCondition.DimensionName(EVIL)
    preload = ManifestPreloadCondition.name_matches(EVIL) & ManifestPreloadCondition.true()
    conflict = icechunk.Conflict(ConflictType.ChunkDoubleUpdate, EVIL, [[0, 1]])
    status = icechunk.RepoStatus(icechunk.RepoAvailability.read_only, MOMENT, EVIL)
    things: list[Any] = [
        repo,
        session,
        session.store,
        session.store.with_read_only(True),
        session.status(),
        Diff(),
        repo.readonly_session("main"),
        repo.readonly_session("main").store,
        repo.rearrange_session("main"),
        session.fork(),
        repo.ancestry_graph(),
        *repo.ancestry(branch="main"),
        *repo.ops_log(),
        *repo.list_manifest_files(session.snapshot_id),
        *repo.feature_flags(),
        repo.status,
        config,
        *(config.virtual_chunk_containers or {}).values(),
        status,
        icechunk.Update(UpdateType.RepoStatusChanged(status), MOMENT),
        icechunk.Update(UpdateType.BranchReset(EVIL, "B"), MOMENT, EVIL),
        UpdateType.TagCreated(EVIL),
        icechunk.StorageSettings(storage_class=EVIL),
        icechunk.StorageConcurrencySettings(),
        icechunk.StorageRetriesSettings(),
        icechunk.StorageTimeoutSettings(1),
        icechunk.S3Options(EVIL),
        icechunk.CachingConfig(),
        icechunk.CompressionConfig(),
        icechunk.ManifestConfig(),
        icechunk.Attribution(client="me/1"),
        icechunk.RepoUpdateRetryConfig(),
        icechunk.ManifestPreloadConfig(preload_if=preload),
        icechunk.ManifestSplittingConfig.from_dict({array: {dimension: 3}}),
        icechunk.ManifestVirtualChunkLocationCompressionConfig(),
        array,
        dimension,
        preload,
        ObjectStoreConfig.LocalFileSystem(EVIL),
        ObjectStoreConfig.Http({EVIL: EVIL}),
        icechunk.VirtualChunkSpec([0], EVIL, 1, 2),
        keys,
        signed,
        icechunk.Credentials.S3(signed),
        icechunk.credentials.HttpAccess,
        icechunk.BasicConflictSolver(),
        icechunk.ConflictDetector(),
        conflict,
        icechunk.in_memory_storage(),
        icechunk.local_filesystem_storage(f"/{EVIL}"),
        icechunk.s3_storage(
            bucket=EVIL, prefix=EVIL, access_key_id=f"AKIA{SECRET}", secret_access_key=SECRET
        ),
        icechunk.obstore_storage(
            S3Store("b", access_key_id=f"AKIA{SECRET}", secret_access_key=SECRET, region="r"), EVIL
        ),
        icechunk.SpecVersion.v2,
        icechunk.ChunkType.native,
        icechunk.SessionMode.writable,
        icechunk.VersionSelection.Fail,
        ConflictType.ChunkDoubleUpdate,
        icechunk.ErrorKind.IO,
        icechunk.CompressionAlgorithm.Zstd,
        icechunk.ChecksumAlgorithm.Sha1,
        icechunk.RepoAvailability.online,
        icechunk.RebaseFailedError("B", [conflict]),
        icechunk.ConflictError("A", "B"),
    ]
    errors = {type(error) for error in things if isinstance(error, icechunk.IcechunkError)}
    exported = [getattr(icechunk, name) for name in EXPORTED]
    return [
        *things,
        *[cls(EVIL) for cls in exported if issubclass(cls, icechunk.IcechunkError) and cls not in errors],
    ]


class Page(HTMLParser):
    """Reads HTML, insists that every element is closed where it ought to be, and keeps what a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.elements: list[str] = []
        self._opened: list[str] = []
        self.feed(html)
        self.close()
        assert not self._opened

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"class", "open"}
        self._opened.append(tag)
        self.elements.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._opened.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._opened:
            self.seen.append(data)

    @property
    def text(self) -> str:
        return "".join(self.seen)


@pytest.mark.parametrize("name", EXPORTED)
def test_what_is_exported_shows_itself(name: str) -> None:
    shown = [thing for thing in specimens() if isinstance(thing, getattr(icechunk, name))]
    assert shown, f"add an instance of {name} to the specimens"
    for thing in shown:
        for text in (repr(thing), str(thing), f"{thing}"):
            assert text or thing == Diff()
            assert " object at 0x" not in text
            assert SECRET not in text
            assert not any(line.endswith(" ") for line in text.splitlines())


@pytest.mark.parametrize("name", EXPORTED)
def test_what_a_notebook_shows_is_well_formed_and_takes_text_for_text(name: str) -> None:
    for thing in specimens():
        if not isinstance(thing, getattr(icechunk, name)) or not hasattr(thing, "_repr_html_"):
            continue
        page = Page(thing._repr_html_())
        assert page.elements.count("style") == 1
        assert set(page.elements) <= {"style", "div", "span", "details", "summary", "ul", "li"}
        assert SECRET not in page.text
        if EVIL in str(thing):
            assert EVIL in page.text


def test_the_drawing_of_a_history_takes_text_for_text() -> None:
    (graph,) = [thing for thing in specimens() if isinstance(thing, icechunk.AncestryGraph)]
    assert EVIL in str(graph)
    assert "<script" not in graph._repr_svg_()


def test_what_must_be_shown_in_a_notebook_is() -> None:
    classes = "Repository Session IcechunkStore RepositoryConfig Diff SnapshotInfo Update Conflict"
    classes += " VirtualChunkContainer Storage StorageSettings ManifestFileInfo RepoStatus FeatureFlag"
    for name in classes.split():
        assert hasattr(getattr(icechunk, name), "_repr_html_")
    assert hasattr(icechunk.AncestryGraph, "_repr_svg_")


# What is in it


def test_a_session_says_how_much_it_has_changed() -> None:
    repo, session = opened(icechunk.in_memory_storage())
    page = Page(session._repr_html_()).text
    assert (
        repr(session)
        == str(session)
        == (
            f"<icechunk.session.Session>\nread_only: False\nsnapshot_id: {session.snapshot_id}\n"
            "branch: main\nhas_uncommitted_changes: True\n"
        )
    )
    assert "icechunk.session.Session" in page
    assert "mode: writable" in page
    assert "branch: main" in page
    assert f"snapshot_id: {session.snapshot_id}" in page
    assert "has_uncommitted_changes: True" in page
    assert "changes: 2 arrays created, 1 group updated, 1 group deleted, 8 chunks updated\n" in page
    assert page.strip() in Page(session.store._repr_html_()).text
    tip = session.commit("done")
    page = Page(session._repr_html_()).text
    assert repr(session) == f"<icechunk.session.Session>\nread_only: True\nsnapshot_id: {tip}\n"
    assert "mode: readonly" in page
    assert "change" not in page
    assert "branch: None" in repr(session.store)
    moving = repo.rearrange_session("main")
    moving.move("/a", "/c")
    page = Page(moving._repr_html_()).text
    assert "mode: rearrange" in page
    assert "changes: 1 array moved\n" in page


def test_a_session_without_changes_says_only_that() -> None:
    session = icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")
    page = Page(session._repr_html_()).text
    assert "has_uncommitted_changes: False" in page
    assert "changes: " not in page.replace("has_uncommitted_changes: ", "")


def test_a_repository_says_where_it_is_and_folds_its_configuration() -> None:
    config = RepositoryConfig(inline_chunk_threshold_bytes=7)
    repo = icechunk.Repository.create(icechunk.in_memory_storage(), config, spec_version=1)
    assert (
        repr(repo)
        == str(repo)
        == (
            "<icechunk.Repository (v1)>\nstorage:\n    <icechunk.Storage>\n    type: in-memory\n"
            "config: <RepositoryConfig ...>\n"
        )
    )
    html = repo._repr_html_()
    page = Page(html)
    assert "icechunk.Repository (v1)" in page.text
    assert "type: in-memory" in page.text
    assert "inline_chunk_threshold_bytes: 7\n" in page.text
    assert "num_updates_per_repo_info_file: 1000 (default)" in page.text
    assert html.count("<details open>") == 1
    assert page.elements.count("details") > 5


def test_a_table_counts_chunks_without_putting_them_in_order() -> None:
    """Whatever came before: single writes, removals, columns, and any of them over another."""
    random = np.random.default_rng(3)
    written = ChunkRef(ChunkType.native, bytes(12), 0, 1)
    table = ChunkTable(2)
    for step in range(300):
        at = [tuple(pair) for pair in np.unique(random.integers(0, 6, (4, 2)), axis=0).tolist()]
        if step % 17 == 0:
            table = ChunkTable(2)
        if step % 5 == 0:
            table.add_columns(ChunkRefs.from_items(2, dict.fromkeys(at, written)))
        elif step % 3 == 0:
            table.forget(at[0])
        elif step % 2 == 0:
            table.recent[at[0]] = None
        else:
            table.recent.update(dict.fromkeys(at, written))
        recent, columns, removed = dict(table.recent), table.columns, table.removed
        assert table.count() == len(copy.deepcopy(table).coordinates())
        assert (table.recent, table.columns, table.removed) == (recent, columns, removed)


# Nobody waits


def showing(*things: Any) -> Callable[[], list[str]]:
    def show() -> list[str]:
        texts = []
        for thing in things:
            texts += [repr(thing), str(thing), format(thing)]
            if hasattr(thing, "_repr_html_"):
                texts.append(thing._repr_html_())
        return texts

    return show


def test_showing_does_no_input_or_output() -> None:
    faults = Faults()
    repo, session = opened(faulty_storage(icechunk.in_memory_storage(), faults))
    reader = repo.readonly_session("main")
    lost = icechunk.s3_storage(bucket="b", prefix="p", endpoint_url="http://127.0.0.1:9", allow_http=True)
    faults.clear()
    faults.fail(times=None)
    show = showing(repo, repo.storage, session, session.store, reader, reader.store, lost)
    assert show() == show()
    assert faults.calls == []


def test_showing_waits_for_no_writer() -> None:
    repo, session = opened(icechunk.in_memory_storage())
    show = showing(repo, repo.storage, session, session.store)
    before = show()
    with session._state._lock.held, repo._cache._lock.held:
        assert at_once(show, show) == [before, before]


@pytest.mark.parametrize("written", ["manifests/*", "snapshots/*", "transactions/*", "repo"])
def test_showing_works_while_a_commit_is_under_way(written: str) -> None:
    faults = Faults()
    repo, session = opened(faulty_storage(icechunk.in_memory_storage(), faults))
    show = showing(repo, session, session.store, session.store.with_read_only(True))
    before = session.snapshot_id
    seen: list[list[str]] = []
    faults.call("put*", written, lambda: seen.extend(at_once(show, show)))
    tip = session.commit("done")
    assert len(seen) == 2
    assert all(before in text and tip not in text for texts in seen for text in texts[4:])
    assert tip in repr(session)
    assert tip == id_text(session._state.snapshot.id)
