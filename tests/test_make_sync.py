"""The program that writes the blocking twins: what it turns into what, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tools.make_sync import HEADER, TwinRule, main

SOURCE = '''
"""Verbs of the AsyncLake; icechunk/_async/lake.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from icechunk._async import pond
from icechunk._async.pond import AsyncPond


class AsyncLake:
    """A lake.

    >>> await lake.fill_async(3)
    >>> async with lake.open_async() as water:
    ...     print([drop async for drop in water.list_async("x")])
    """

    async def fill_async(self, litres: int, each: Callable[[int], Awaitable[list[int]]]) -> int:
        # fill_async asks the pond first
        level = await self.pond.level_async(litres)
        return level + len(await each(1))

    async def list_async(self, prefix: str) -> AsyncIterator[list[str]]:
        async for batch in self.pond.list_async(f"{prefix}/list_async"):
            yield [name async for name in batch]

    async def __aenter__(self) -> AsyncLake:
        return self

    async def __aexit__(self, *_: object) -> None:
        async with aclosing(self.async_ancestry()) as history:
            await anext(history)
'''

TWIN = '''
"""Verbs of the SyncLake; icechunk/_sync/lake.py."""

from __future__ import annotations

from collections.abc import Iterator, Awaitable, Callable
from contextlib import closing, contextmanager

from icechunk._sync import pond
from icechunk._sync.pond import SyncPond


class SyncLake:
    """A lake.

    >>> lake.fill(3)
    >>> with lake.open() as water:
    ...     print([drop for drop in water.list("x")])
    """

    def fill(self, litres: int, each: Callable[[int], list[int]]) -> int:
        # fill asks the pond first
        level = self.pond.level(litres)
        return level + len(each(1))

    def list(self, prefix: str) -> Iterator[list[str]]:
        for batch in self.pond.list(f"{prefix}/list"):
            yield [name for name in batch]

    def __enter__(self) -> SyncLake:
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self.ancestry()) as history:
            next(history)
'''


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A tree with one source and its twin."""
    write(tmp_path, "icechunk/_async/lake.py", SOURCE)
    assert main(["--root", str(tmp_path)]) == 0
    return tmp_path


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def complaints(root: Path, capsys: pytest.CaptureFixture[str], *, check: bool = True) -> list[str]:
    """What the program says is wrong; its exit code must agree."""
    capsys.readouterr()
    code = main(["--root", str(root), *(["--check"] if check else [])])
    said = capsys.readouterr().err.splitlines()
    assert code == (1 if said else 0)
    return said


def test_code_docstrings_and_comments_are_turned() -> None:
    assert TwinRule().twin_of(SOURCE) == TWIN


def test_turning_a_twin_changes_nothing() -> None:
    assert TwinRule().twin_of(TWIN) == TWIN


def test_names_of_zarr_are_turned() -> None:
    source = "import zarr.api.asynchronous as api\nx: zarr.AsyncGroup\n"
    assert TwinRule().twin_of(source) == "import zarr.api.synchronous as api\nx: zarr.Group\n"


def test_awaitable_keeps_other_brackets() -> None:
    source = "f: dict[str, Callable[[list[int]], Awaitable[dict[str, list[int]]]]] = d[0]\n"
    assert TwinRule().twin_of(source) == "f: dict[str, Callable[[list[int]], dict[str, list[int]]]] = d[0]\n"


def test_prose_keeps_its_await() -> None:
    text = '"""Caches are asked before any await; see await points."""\n'
    assert TwinRule().twin_of(text) == text


def test_twin_names_its_source(checkout: Path) -> None:
    twin = (checkout / "icechunk/_sync/lake.py").read_text()
    assert twin == HEADER.format(source="icechunk/_async/lake.py") + TWIN


def test_fresh_twins_pass(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaints(checkout, capsys) == []


def test_second_run_writes_nothing(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = checkout / "icechunk/_sync/lake.py"
    before = twin.stat().st_mtime_ns
    capsys.readouterr()
    assert main(["--root", str(checkout)]) == 0
    assert capsys.readouterr().out == ""
    assert twin.stat().st_mtime_ns == before


def test_tests_and_subfolders_get_twins(checkout: Path) -> None:
    write(checkout, "tests/_async/deep/test_lake.py", "async def test_lake_async() -> None:\n    pass\n")
    assert main(["--root", str(checkout)]) == 0
    twin = (checkout / "tests/_sync/deep/test_lake.py").read_text()
    assert twin.endswith("def test_lake() -> None:\n    pass\n")


def test_stale_twin_is_named(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(checkout, "icechunk/_async/lake.py", SOURCE.replace("litres", "buckets"))
    assert complaints(checkout, capsys) == ["icechunk/_sync/lake.py:22: stale or edited by hand"]
    assert complaints(checkout, capsys, check=False) == []
    assert complaints(checkout, capsys) == []


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda twin: twin.replace("level + ", "level - "), "25"),
        (lambda twin: twin + "x = 1\n", "its end"),
        (lambda twin: twin.replace("edit that file", "edit this file"), "1"),
    ],
)
def test_edited_twin_is_named(
    checkout: Path, capsys: pytest.CaptureFixture[str], edit: object, where: str
) -> None:
    assert callable(edit)
    twin = checkout / "icechunk/_sync/lake.py"
    twin.write_text(edit(twin.read_text()))
    assert complaints(checkout, capsys) == [f"icechunk/_sync/lake.py:{where}: stale or edited by hand"]


def test_missing_twin_is_named(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "icechunk/_sync/lake.py").unlink()
    assert complaints(checkout, capsys) == ["icechunk/_sync/lake.py: missing"]


def test_orphan_is_named_and_removed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "icechunk/_async/lake.py").unlink()
    assert complaints(checkout, capsys) == ["icechunk/_sync/lake.py: orphan, no source in icechunk/_async"]
    assert complaints(checkout, capsys, check=False) == []
    assert not (checkout / "icechunk/_sync/lake.py").exists()


def test_hand_written_orphan_is_kept(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stray = write(checkout, "icechunk/_sync/stray.py", "x = 1\n")
    said = ["icechunk/_sync/stray.py: orphan, no source in icechunk/_async"]
    assert complaints(checkout, capsys, check=False) == said
    assert stray.exists()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("async def fill(): ...", "1: coroutine fill lacks the suffix _async"),
        (
            """
            def outer():
                async def inner():
                    yield 1
            """,
            "2: coroutine inner lacks the suffix _async",
        ),
        (
            """
            class A:
                async def fill(self): ...
            """,
            "2: coroutine fill lacks the suffix _async",
        ),
        ("async def list_async(): ...", "1: list_async becomes list, which Python already has"),
        ("from pond import open_async", "1: open_async becomes open, which Python already has"),
        ("from pond import dip as print_async", "1: print_async becomes print, which Python already has"),
        ("def f(is_async): ...", "1: is_async becomes is, which Python already has"),
        (
            """
            class A:
                def fill(self): ...
                async def fill_async(self): ...
            """,
            "3: fill_async becomes fill, which stands beside it",
        ),
        (
            """
            async def f_async():
                drops = await drops_async()
            """,
            "2: drops_async becomes drops, a local name of f_async",
        ),
        (
            """
            async def f_async(drops):
                return await drops_async(drops)
            """,
            "2: drops_async becomes drops, a local name of f_async",
        ),
        (
            """
            async def f_async():
                return f"{await g_async()}"
            """,
            "2: await inside an f-string: bind the value first",
        ),
        ("async def f_async(:", "1: invalid syntax"),
        ("object.if_async", "1: invalid syntax"),
    ],
)
def test_unsafe_source_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, complaint: str
) -> None:
    write(tmp_path, "tests/_async/lake.py", dedent(source).lstrip())
    for check in (False, True):
        assert f"tests/_async/lake.py:{complaint}" in complaints(tmp_path, capsys, check=check)


def test_irregular_coroutines_need_no_suffix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "class A:\n    async def async_ancestry(self): ...\n    async def aclose(self): ...\n"
    write(tmp_path, "icechunk/_async/a.py", source)
    assert complaints(tmp_path, capsys, check=False) == []


def test_methods_and_attributes_may_hide_builtins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        tmp_path, "icechunk/_async/a.py", "class A:\n    def list_async(self):\n        self.open_async()\n"
    )
    assert complaints(tmp_path, capsys, check=False) == []


def test_this_checkout_is_in_step() -> None:
    program = Path(__file__).parent.parent / "tools" / "make_sync.py"
    done = subprocess.run([sys.executable, program, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
