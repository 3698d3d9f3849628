"""What can be sent to another process, and what says why it cannot."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pytest
import zarr

import icechunk
from icechunk import Repository, RepositoryConfig, Session
from icechunk._format.chunk_refs import virtual
from tests.arrays import create_array

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = np.arange(40, dtype="i4")


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    """A repository in a directory with an array `a` of ten chunks and a tag `v1`."""
    config = RepositoryConfig(inline_chunk_threshold_bytes=0)
    repo = Repository.create(icechunk.local_filesystem_storage(tmp_path / "repository"), config)
    fill(repo)
    return repo


def fill(repo: Repository) -> None:
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, name="a", shape=(40,), chunks=(4,), dtype="i4")
    array[:] = VALUES
    repo.create_tag("v1", session.commit("write"))


def values(session: Session) -> list[int]:
    found: list[int] = np.asarray(zarr.open_array(session.store, path="a", mode="r")[:]).tolist()
    return found


def in_a_new_process(script: str, argument: Any, cwd: Path | None = None) -> str:
    """What a script prints in a process that knows nothing but the pickle of `argument`."""
    root = str(Path(__file__).parent.parent)
    program = f"import pickle, sys\nargument = pickle.loads(sys.stdin.buffer.read())\n{script}"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(argument),
        capture_output=True,
        timeout=60,
        check=False,
        cwd=cwd or root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
    )
    assert answer.returncode == 0, answer.stderr.decode()
    return answer.stdout.decode().strip()


READERS: dict[str, Callable[[Repository], Session]] = {
    "branch": lambda repo: repo.readonly_session("main"),
    "tag": lambda repo: repo.readonly_session(tag="v1"),
    "snapshot": lambda repo: repo.readonly_session(snapshot_id=repo.lookup_branch("main")),
}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("how", READERS)
def test_a_readonly_session_round_trips(repo: Repository, how: str, protocol: int) -> None:
    session = READERS[how](repo)
    loaded = pickle.loads(pickle.dumps(session, protocol))
    assert isinstance(loaded, Session)
    assert values(loaded) == VALUES.tolist()
    for name in ("snapshot_id", "branch", "read_only", "mode", "has_uncommitted_changes", "config"):
        assert getattr(loaded, name) == getattr(session, name)
    assert repr(loaded) == repr(session)


def test_a_pickled_session_stays_at_its_snapshot(repo: Repository) -> None:
    data = pickle.dumps(repo.readonly_session("main"))
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="a", mode="r+")[:] = 0
    session.commit("zero")
    assert values(pickle.loads(data)) == VALUES.tolist()


def test_a_committed_session_is_a_readonly_session_and_pickles(repo: Repository) -> None:
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="a", mode="r+")[0] = 7
    tip = session.commit("seven")
    loaded = pickle.loads(pickle.dumps(session))
    assert (loaded.snapshot_id, loaded.read_only, values(loaded)[0]) == (tip, True, 7)


def test_a_readonly_store_round_trips_and_stays_readonly(repo: Repository) -> None:
    store = repo.readonly_session("main").store
    for original in (store, store.with_read_only(True), store.with_read_only(False)):
        loaded = pickle.loads(pickle.dumps(original))
        assert isinstance(loaded, icechunk.IcechunkStore)
        assert loaded.read_only
        assert values(loaded.session) == VALUES.tolist()
        with pytest.raises(icechunk.ReadOnlyError):
            loaded.set_sync("zarr.json", zarr.core.buffer.cpu.Buffer.from_bytes(b'{"node_type":"group"}'))


def test_zarr_arrays_and_groups_on_a_readonly_store_round_trip(repo: Repository) -> None:
    store = repo.readonly_session("main").store
    assert (
        pickle.loads(pickle.dumps(zarr.open_array(store, path="a", mode="r")))[:].tolist() == VALUES.tolist()
    )
    assert pickle.loads(pickle.dumps(zarr.open_group(store, mode="r")))["a"][3] == 3


def test_copies_made_by_the_copy_module_read_the_same(repo: Repository) -> None:
    session = repo.readonly_session("main")
    for copied in (copy.copy(session), copy.deepcopy(session)):
        assert values(copied) == VALUES.tolist()
    assert values(copy.deepcopy(session.store).session) == VALUES.tolist()
    assert copy.deepcopy(repo).lookup_branch("main") == repo.lookup_branch("main")


def test_round_trips_can_be_repeated(repo: Repository) -> None:
    """A session that was passed on from task to task is still one."""
    session: Session = repo.readonly_session("main")
    first = len(pickle.dumps(session))
    for _ in range(5):
        assert values(session) == VALUES.tolist()
        session = pickle.loads(pickle.dumps(session))
        repo = pickle.loads(cloudpickle.dumps(repo))
    assert repo.readonly_session("main").snapshot_id == session.snapshot_id
    assert abs(len(pickle.dumps(session)) - first) < 200


def test_a_pickle_carries_no_data(repo: Repository) -> None:
    """What tasks are sent does not grow with the repository, nor with what was read from it."""
    sizes = []
    for names in ("b", "cdefghijklmnop"):
        session = repo.writable_session("main")
        for name in names:
            zarr.create_array(session.store, name=name, shape=(400,), chunks=(4,), dtype="i4")[:] = 1
        session.commit("more")
        reader = repo.readonly_session("main")
        assert np.sum(zarr.open_array(reader.store, path=names[-1], mode="r")[:]) == 400
        sizes.append((len(pickle.dumps(reader)), len(pickle.dumps(repo))))
    assert abs(sizes[1][0] - sizes[0][0]) < 100
    assert abs(sizes[1][1] - sizes[0][1]) < 100
    assert max(sizes[1]) < 8000


@pytest.mark.parametrize("what", ["session", "store", "store, with_read_only", "array"])
@pytest.mark.parametrize("dirty", [False, True], ids=["unchanged", "changed"])
def test_a_writable_session_or_store_raises_one_readable_error(
    repo: Repository, what: str, dirty: bool
) -> None:
    """No recursion to its limit and no copy that loses changes, whichever way it is pickled."""
    session = repo.writable_session("main")
    array = zarr.open_array(session.store, path="a", mode="r+")
    if dirty:
        array[0] = 7
    thing = {
        "session": session,
        "store": session.store,
        "store, with_read_only": session.store.with_read_only(True),
        "array": array,
    }[what]
    for dump in (pickle.dumps, cloudpickle.dumps, copy.deepcopy):
        with pytest.raises(
            ValueError, match=r"writable session cannot be pickled.*readonly_session"
        ) as caught:
            dump(thing)
        assert caught.value.__context__ is None or not isinstance(caught.value.__context__, RecursionError)
    # The attempt changed nothing.
    assert session.has_uncommitted_changes == dirty
    array[1] = 8
    session.commit("still works")


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_repository_round_trips_with_its_settings(tmp_path: Path, spec_version: int) -> None:
    """The default metadata of commits included."""
    config = RepositoryConfig(inline_chunk_threshold_bytes=12, get_partial_values_concurrency=3)
    storage = icechunk.local_filesystem_storage(tmp_path / "repository", durable=True)
    repo = Repository.create(storage, config, spec_version=spec_version)
    repo.set_default_commit_metadata({"author": "ice", "tags": ["a", {"b": 1}]})
    fill(repo)
    loaded = pickle.loads(pickle.dumps(repo))
    assert isinstance(loaded, Repository)
    assert loaded.storage == storage
    assert loaded.config == repo.config
    assert loaded.spec_version == spec_version
    assert loaded.default_commit_metadata() == {"author": "ice", "tags": ["a", {"b": 1}]}
    assert values(loaded.readonly_session("main")) == VALUES.tolist()
    session = loaded.writable_session("main")
    zarr.open_array(session.store, path="a", mode="r+")[:] = 1
    tip = session.commit("from the copy")
    [info] = [info for info in repo.ancestry(branch="main") if info.id == tip]
    assert info.metadata["author"] == "ice"
    assert values(repo.readonly_session("main")) == [1] * 40


def test_storages_and_configurations_round_trip_and_compare_equal(tmp_path: Path) -> None:
    for storage in (
        icechunk.in_memory_storage(),
        icechunk.local_filesystem_storage(tmp_path),
        icechunk.local_filesystem_storage(tmp_path, durable=True),
    ):
        assert pickle.loads(pickle.dumps(storage)) == storage
        assert copy.deepcopy(storage) == storage
    config = RepositoryConfig(inline_chunk_threshold_bytes=3)
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_readonly_session_store_and_array_are_read_in_another_process(repo: Repository) -> None:
    session = repo.readonly_session("main")
    script = """
import zarr
session, store, array = argument
print(zarr.open_array(session.store, path="a", mode="r")[:].sum(), session.read_only)
print(zarr.open_array(store, path="a", mode="r")[:].sum(), store.read_only)
print(array[:].sum())
"""
    answer = in_a_new_process(
        script, (session, session.store, zarr.open_array(session.store, path="a", mode="r"))
    )
    assert answer.split("\n") == ["780 True", "780 True", "780"]


def test_containers_of_virtual_chunks_and_who_may_read_them_go_along(tmp_path: Path) -> None:
    """A copy in another process reads the chunks in other files, also with what was not stored."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "data.bin").write_bytes(b"head" + VALUES.astype("<i4").tobytes())
    prefix = f"file://{files}/"
    config = RepositoryConfig()
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(prefix, icechunk.ObjectStoreConfig.LocalFileSystem(str(files)))
    )
    storage = icechunk.local_filesystem_storage(tmp_path / "repository")
    Repository.create(storage)
    access = icechunk.containers_credentials({prefix: icechunk.credentials.LocalFileSystemAccess})
    repo = Repository.open(storage, config, access)
    session = repo.writable_session("main")
    create_array(session, "a", (40,), chunks=(40,))
    session._state.record_chunk("/a", (0,), virtual(f"{prefix}data.bin", 4, 160))
    session.commit("refer")
    reader = repo.readonly_session("main")
    assert values(reader) == VALUES.tolist()
    script = """
import zarr
repo, session, store = argument
for each in (store, session.store, repo.readonly_session("main").store):
    print(zarr.open_array(each, path="a", mode="r")[:].sum())
"""
    assert in_a_new_process(script, (repo, reader, reader.store)).split() == ["780"] * 3


def test_credentials_go_along_and_are_not_shown() -> None:
    storage = icechunk.s3_storage(
        bucket="b", prefix="p", access_key_id="who", secret_access_key="geheim", session_token="token"
    )
    assert pickle.loads(pickle.dumps(storage)) == storage
    other = icechunk.s3_storage(bucket="b", prefix="p", access_key_id="who", secret_access_key="another")
    assert pickle.loads(pickle.dumps(storage)) != other
    assert "geheim" not in repr(pickle.loads(pickle.dumps(storage)))


def test_a_repository_is_written_to_by_another_process(repo: Repository) -> None:
    repo.set_default_commit_metadata({"author": "parent"})
    script = """
import zarr
session = argument.writable_session("main")
zarr.open_array(session.store, path="a", mode="r+")[:4] = -1
print(session.commit("elsewhere"))
"""
    tip = in_a_new_process(script, repo)
    assert repo.lookup_branch("main") == tip
    assert next(iter(repo.ancestry(branch="main"))).metadata["author"] == "parent"
    assert values(repo.readonly_session("main")) == [-1] * 4 + VALUES[4:].tolist()


def test_a_relative_path_means_the_same_place_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a change of directory, nor a pickle, nor another process leads to another repository."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    repo = Repository.create(icechunk.local_filesystem_storage("repository"))
    monkeypatch.chdir(tmp_path / "there")
    fill(repo)
    loaded = pickle.loads(pickle.dumps(repo))
    assert values(loaded.readonly_session("main")) == VALUES.tolist()
    script = "print(argument.lookup_branch('main'))"
    assert in_a_new_process(script, repo, cwd=tmp_path) == repo.lookup_branch("main")
    assert list((tmp_path / "there").iterdir()) == []
    assert (tmp_path / "here" / "repository" / "repo").exists()


def test_memory_storage_is_shared_by_pickles_of_one_process() -> None:
    repo = Repository.create(icechunk.in_memory_storage())
    fill(repo)
    loaded = pickle.loads(pickle.dumps(repo))
    session = loaded.writable_session("main")
    zarr.open_array(session.store, path="a", mode="r+")[:] = 3
    session.commit("three")
    assert values(repo.readonly_session("main")) == [3] * 40
    assert values(pickle.loads(pickle.dumps(repo.readonly_session("main")))) == [3] * 40


def test_memory_storage_is_refused_by_another_process() -> None:
    """Rather than shown empty."""
    repo = Repository.create(icechunk.in_memory_storage())
    fill(repo)
    script = f"""
import icechunk
try:
    pickle.loads({pickle.dumps(repo)!r})
except icechunk.StorageError as error:
    print(error.kind, "in-memory" in str(error))
"""
    assert in_a_new_process(script, None) == "storage-config True"


def test_a_session_of_a_deleted_repository_says_what_is_missing(tmp_path: Path) -> None:
    repo = Repository.create(icechunk.local_filesystem_storage(tmp_path / "repository"))
    fill(repo)
    data = pickle.dumps(repo.readonly_session("main"))
    for path in sorted((tmp_path / "repository").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    script = f"""
import icechunk
try:
    pickle.loads({data!r})
except icechunk.StorageError as error:
    print(error.kind)
"""
    assert in_a_new_process(script, None) == "object-not-found"


def test_copies_in_one_process_share_what_was_fetched(tmp_path: Path) -> None:
    """Tasks that run one after the other do not each fetch the same snapshot and manifests."""
    repo = Repository.create(icechunk.local_filesystem_storage(tmp_path / "repository"))
    fill(repo)
    session = repo.readonly_session("main")
    assert values(session) == VALUES.tolist()
    data = pickle.dumps((session, repo))
    (tmp_path / "repository").rename(tmp_path / "elsewhere")
    loaded, loaded_repo = pickle.loads(data)
    assert values(loaded) == VALUES.tolist()
    assert loaded_repo._cache is loaded._cache is repo._cache
