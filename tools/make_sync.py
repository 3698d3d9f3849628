"""Write the blocking twins: ``_sync/`` from ``_async/``, for the library and for its tests.

A coroutine's name ends in ``_async``, and that suffix is the whole rule: ``commit_async`` becomes ``commit``,
``AsyncSession`` becomes ``SyncSession``, ``await`` and ``async`` go away, and the module ``_async`` becomes
``_sync``. The rest of the table below is what the standard library and zarr call the two sides. Words in
strings, docstrings and comments follow the same rule, so both halves read well and the blocking examples run.

Sources are held to what makes the rule safe (see ``problems_in``); ``--check`` writes nothing and also names
each twin that is missing, out of step or orphaned. From Python 3.12 on, ``tokenize`` cuts f-strings up, and
the output must not depend on that: hence no ``await`` inside f-strings.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import keyword
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import tokenize_rt
import unasync

ROOT = Path(__file__).resolve().parent.parent
TREES = (("icechunk/_async", "icechunk/_sync"), ("tests/_async", "tests/_sync"))
HEADER = "# Generated from {source} by tools/make_sync.py; edit that file.\n"
SUFFIX = "_async"
IRREGULAR = {
    SUFFIX: "_sync",
    "async_ancestry": "ancestry",
    "asynchronous": "synchronous",
    "aclose": "close",
    "aclosing": "closing",
    "aiter": "iter",
    "anext": "next",
    "enter_async_context": "enter_context",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "AsyncArray": "Array",
    "AsyncContextManager": "ContextManager",
    "AsyncExitStack": "ExitStack",
    "AsyncGroup": "Group",
}
TEXT_TOKENS = {"STRING", "FSTRING_MIDDLE", "COMMENT"}
WORD = re.compile(r"[^\W\d]\w*")
KEYWORD_IN_TEXT = re.compile(r"\bawait (?=[\w.]+\()|\basync (?=(?:def|for|with)\b)")

Functions = (ast.FunctionDef, ast.AsyncFunctionDef)


class Outcome(NamedTuple):
    """What is wrong, and which files were written or removed."""

    problems: list[str]
    changed: list[Path]


class TwinRule(unasync.Rule):
    """unasync's rule, with the suffix, the irregular names, ``Awaitable[X]`` and words in text."""

    def __init__(self) -> None:
        super().__init__("", "", IRREGULAR)

    def _unasync_name(self, name: str) -> str:
        known: dict[str, str] = self.token_replacements
        if name not in known and name.endswith(SUFFIX):
            return name.removesuffix(SUFFIX)
        renamed: str = super()._unasync_name(name)
        return renamed

    def twin_of(self, source: str) -> str:
        """The blocking spelling of a module's source."""
        tokens = self._unasync_tokens(without_awaitable(tokenize_rt.src_to_tokens(source)))
        twin: str = tokenize_rt.tokens_to_src(
            token._replace(src=self._text(token.src)) if token.name in TEXT_TOKENS else token
            for token in tokens
        )
        return twin

    def _text(self, text: str) -> str:
        plain = KEYWORD_IN_TEXT.sub("", text)
        return WORD.sub(lambda word: self._unasync_name(word[0]), plain)


def without_awaitable(tokens: Iterable[tokenize_rt.Token]) -> Iterator[tokenize_rt.Token]:
    """Spell ``Awaitable[X]`` as ``X``; an ``Awaitable`` without brackets (in an import) stays."""
    brackets: list[bool] = []
    held: tokenize_rt.Token | None = None
    for token in tokens:
        drop = False
        if token.src == "[":
            drop = held is not None
            held = None
            brackets.append(drop)
        elif token.src == "]":
            drop = bool(brackets) and brackets.pop()
        if held is not None:
            yield held
            held = None
        if token.name == "NAME" and token.src == "Awaitable":
            held = token
        elif not drop:
            yield token


def problems_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What would go wrong in the twin: line and complaint."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.AsyncFunctionDef)
            and not node.name.endswith((SUFFIX, "__"))
            and node.name not in IRREGULAR
        ):
            yield node.lineno, f"coroutine {node.name} lacks the suffix {SUFFIX}"
        if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.Await) for part in ast.walk(node)):
            yield node.lineno, "await inside an f-string: bind the value first"
        if isinstance(node, (ast.Module, ast.ClassDef)):
            defined = {child.name for child in node.body if isinstance(child, Functions)}
            for child in node.body:
                if isinstance(child, Functions) and stripped(child.name) in defined - {child.name}:
                    yield child.lineno, f"{child.name} becomes {stripped(child.name)}, which stands beside it"
        if isinstance(node, Functions):
            yield from hidden_by_locals(node)
    methods = {id(child) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for child in node.body}
    for line, name in bare_names(tree, methods):
        if stripped(name) != name and (hasattr(builtins, stripped(name)) or not is_usable(stripped(name))):
            yield line, f"{name} becomes {stripped(name)}, which Python already has"


def hidden_by_locals(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, str]]:
    """``refs = await refs_async()`` would become ``refs = refs()``."""
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    for node in names:
        if stripped(node.id) != node.id and stripped(node.id) in bound:
            yield node.lineno, f"{node.id} becomes {stripped(node.id)}, a local name of {function.name}"


def bare_names(tree: ast.Module, methods: set[int]) -> Iterator[tuple[int, str]]:
    """Each name that is neither an attribute nor a method."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.alias):
            yield node.lineno, node.asname or node.name
        elif isinstance(node, Functions) and id(node) not in methods:
            yield node.lineno, node.name


def stripped(name: str) -> str:
    return name if name in IRREGULAR else name.removesuffix(SUFFIX)


def is_usable(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def run(root: Path, *, check: bool) -> Outcome:
    """Bring the twins under ``root`` up to date, or with ``check`` only say what is wrong."""
    outcome = Outcome([], [])
    for from_dir, to_dir in TREES:
        sources = sorted((root / from_dir).rglob("*.py"))
        twins = {root / to_dir / source.relative_to(root / from_dir): source for source in sources}
        for twin, source in twins.items():
            make_twin(root, source, twin, outcome, check=check)
        for orphan in sorted(set((root / to_dir).rglob("*.py")) - twins.keys()):
            generated = orphan.read_text(encoding="utf-8").startswith(HEADER.split("{")[0])
            if check or not generated:
                outcome.problems.append(f"{orphan.relative_to(root)}: orphan, no source in {from_dir}")
            else:
                orphan.unlink()
                outcome.changed.append(orphan)
    return outcome


def make_twin(root: Path, source: Path, twin: Path, outcome: Outcome, *, check: bool) -> None:
    """Write one twin, or with ``check`` compare it; problems are added to ``outcome``."""
    name = source.relative_to(root).as_posix()
    text = source.read_text(encoding="utf-8")
    try:
        complaints = sorted(set(problems_in(ast.parse(text))))
        outcome.problems.extend(f"{name}:{line}: {complaint}" for line, complaint in complaints)
        body = TwinRule().twin_of(text)
        ast.parse(body)
    except SyntaxError as error:
        outcome.problems.append(f"{name}:{error.lineno}: {error.msg}")
        return
    body = HEADER.format(source=name) + body
    found = twin.read_text(encoding="utf-8") if twin.exists() else None
    if found == body:
        return
    if not check:
        twin.parent.mkdir(parents=True, exist_ok=True)
        twin.write_text(body, encoding="utf-8")
        outcome.changed.append(twin)
    elif found is None:
        outcome.problems.append(f"{twin.relative_to(root)}: missing")
    else:
        lines = zip(found.splitlines(), body.splitlines(), strict=False)
        first = next((at for at, (ours, theirs) in enumerate(lines, 1) if ours != theirs), "its end")
        outcome.problems.append(f"{twin.relative_to(root)}:{first}: stale or edited by hand")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the blocking twins.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a twin is out of step")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    options = parser.parse_args(arguments)
    outcome = run(options.root.resolve(), check=options.check)
    for path in outcome.changed:
        print(f"{'wrote' if path.exists() else 'removed'} {path.relative_to(options.root.resolve())}")
    for problem in outcome.problems:
        print(problem, file=sys.stderr)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
