"""Regular expressions as stored configurations mean them: the syntax of Rust's `regex` crate.

It differs from that of Python's `re`: there is no look-around and there are no back
references, but there are set operations in classes, flags in the middle, and ``$`` is the
very end only. An expression that is not valid matches nothing.

Only one question is asked: is the expression found anywhere in a text? Captures and
greediness do not matter for that, so an expression becomes a graph of states, and the set
of states reached is moved along the text. That takes time in proportion to the text
whatever the expression is, which counts because a repository may come from a stranger.
Sets of states and the steps between them are kept for the next text.

Not supported, and so matching nothing: ``\\p{...}`` with anything but a general category,
more than `MAX_STATES` states, groups or classes nested deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from icechunk._core.regex_classes import (
    MAX_DEPTH,
    Class,
    InvalidRegex,
    Scanner,
    is_word,
    read_class,
    read_escape,
    single,
)

MAX_STATES = 4_000
"""The largest graph that is built for one expression."""

_MAX_KEPT = 2_000
_REPEATS = ("*", "+", "?", "{")

Build = Callable[["_Graph", int], int]
"""Adds the states of an expression that goes on at a given state; returns where it starts."""


class _State(NamedTuple):
    """Consume a character of a class, or pass if an assertion holds, then go on."""

    takes: Class | None
    holds: str
    to: tuple[int, ...]


class _Graph:
    def __init__(self) -> None:
        self.states: list[_State] = [_State(None, "", ())]  # 0 is the end: found
        self._work = 0

    def add(self, state: _State) -> int:
        self.work()
        self.states.append(state)
        return len(self.states) - 1

    def work(self) -> None:
        """Count a step of building: repeating what adds no states is work too."""
        self._work += 1
        if self._work >= MAX_STATES:
            raise InvalidRegex("too large")


def found(regex: str, text: str) -> bool:
    """Whether the expression is found anywhere in the text; False if it is not valid.

    Examples
    --------
    >>> found("^/ocean/.*temp", "/ocean/surface/temperature"), found("(", "(")
    (True, False)
    """
    automaton = _compile(regex)
    return automaton is not None and automaton.found(text)


@lru_cache(maxsize=256)
def _compile(regex: str) -> _Automaton | None:
    try:
        build = _Parser(regex).parse()
        graph = _Graph()
        return _Automaton(graph, build(graph, 0))
    except (InvalidRegex, RecursionError):
        return None


class _Position(dict[str, "_Position | None"]):
    """The states reached and the sort of the last character; maps the next one to where it leads.

    None stands for: the expression is found. The empty string is the end of the text.
    """

    __slots__ = ("automaton", "before", "reached")

    def __init__(self, automaton: _Automaton, reached: frozenset[int], before: str) -> None:
        super().__init__()
        self.automaton = automaton
        self.reached = reached
        self.before = before

    def __missing__(self, character: str) -> _Position | None:
        following = self.automaton.step(self, character)
        self[character] = following
        return following


class _Automaton:
    """A graph, walked from position to position."""

    def __init__(self, graph: _Graph, start: int) -> None:
        self._states = graph.states
        self._start = start
        self._known: dict[tuple[frozenset[int], str], _Position] = {}

    def found(self, text: str) -> bool:
        position = self._position(frozenset({self._start}), "start")
        for character in text:
            following = position[character]
            if following is None:
                return True
            position = following
        return position[""] is None

    def step(self, position: _Position, character: str) -> _Position | None:
        """Decide assertions, see whether the end is reached, consume the next character."""
        after = _sort(character)
        passed, waiting = set(position.reached), list(position.reached)
        following = {self._start}
        while waiting:
            number = waiting.pop()
            if number == 0:
                return None
            state = self._states[number]
            if state.takes is not None:
                if character and state.takes(character):
                    following.update(state.to)
            elif not state.holds or _holds(state.holds, position.before, after):
                fresh = [target for target in state.to if target not in passed]
                passed.update(fresh)
                waiting += fresh
        return self._position(frozenset(following), after)

    def _position(self, reached: frozenset[int], before: str) -> _Position:
        key = (reached, before)
        position = self._known.get(key)
        if position is None:
            if len(self._known) >= _MAX_KEPT:
                self._known.clear()
            position = self._known[key] = _Position(self, reached, before)
        elif len(position) > _MAX_KEPT:
            position.clear()
        return position


def _sort(character: str) -> str:
    """What an assertion can ask of a character."""
    if not character:
        return "end"
    if character == "\n":
        return "newline"
    if is_word(character):
        return "ascii word" if character.isascii() else "word"
    return "other"


def _holds(assertion: str, before: str, after: str) -> bool:
    if assertion == "start":
        return before == "start"
    if assertion == "end":
        return after == "end"
    if assertion == "line start":
        return before in ("start", "newline")
    if assertion == "line end":
        return after in ("end", "newline")
    words = ("ascii word",) if assertion.startswith("ascii ") else ("ascii word", "word")
    left, right = before in words, after in words
    return {
        "boundary": left != right,
        "no boundary": left == right,
        "word start": not left and right,
        "word end": left and not right,
        "half start": not left,
        "half end": not right,
    }[assertion.removeprefix("ascii ")]


class _Parser:
    """Reads an expression; the flags in force are part of the state."""

    def __init__(self, regex: str) -> None:
        self._scan = Scanner(regex)
        self._depth = 0

    def parse(self) -> Build:
        build = self._alternatives()
        if not self._scan.done:
            raise InvalidRegex("unopened group")
        return build

    def _alternatives(self) -> Build:
        branches = [self._sequence()]
        while self._scan.take("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else _either(branches)

    def _sequence(self) -> Build:
        parts: list[Build] = []
        repeatable = False
        while True:
            self._scan.skip_blank()
            following = self._scan.peek()
            if following in ("", "|", ")"):
                return _in_turn(parts)
            if following in _REPEATS:
                if not repeatable:
                    raise InvalidRegex("nothing to repeat")
                parts[-1] = self._repeated(parts[-1])
            else:
                part = self._atom()
                repeatable = part is not None
                if part is not None:
                    parts.append(part)

    def _repeated(self, part: Build) -> Build:
        operator = self._scan.next()
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(operator) or self._counts()
        self._scan.skip_blank()
        self._scan.take("?")
        return _repeat(part, least, most)

    def _counts(self) -> tuple[int, int | None]:
        least = self._scan.number()
        most: int | None = least
        if self._scan.take(","):
            most = None if self._scan.peek() == "}" else self._scan.number()
        if not self._scan.take("}") or (most is not None and most < least):
            raise InvalidRegex("bad count")
        return least, most

    def _atom(self) -> Build | None:
        """One thing that can be repeated; None for flags."""
        flags = self._scan.flags
        character = self._scan.next()
        if character == "(":
            return self._group()
        if character == "[":
            return _take(read_class(self._scan))
        if character == ".":
            return _take((lambda _: True) if "s" in flags else (lambda character: character != "\n"))
        if character == "^":
            return _assert("line start" if "m" in flags else "start")
        if character == "$":
            return _assert("line end" if "m" in flags else "end")
        if character == "\\":
            escape = read_escape(self._scan)
            return _assert(escape) if isinstance(escape, str) else _take(escape)
        return _take(single(character, flags))

    def _group(self) -> Build | None:
        outer = self._scan.flags
        if self._scan.take("?"):
            if self._scan.take("P<") or self._scan.take("<"):
                self._name()
            else:
                flags = self._flags()
                if self._scan.take(")"):
                    self._scan.flags = flags
                    return None
                if not self._scan.take(":"):
                    raise InvalidRegex("unknown kind of group")
                self._scan.flags = flags
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidRegex("nested too deeply")
        build = self._alternatives()
        self._depth -= 1
        if not self._scan.take(")"):
            raise InvalidRegex("unclosed group")
        self._scan.flags = outer
        return build

    def _name(self) -> None:
        name = self._scan.until(">")
        allowed = all(is_word(character) or character in ".[]" for character in name)
        if not name or name[0].isdigit() or not allowed:
            raise InvalidRegex("bad group name")
        if name in self._scan.names:
            raise InvalidRegex("group name used twice")
        self._scan.names.add(name)

    def _flags(self) -> frozenset[str]:
        flags, seen, negated = set(self._scan.flags), "", False
        while self._scan.peek() not in (":", ")"):
            flag = self._scan.next()
            if flag == "-" and not negated:
                negated = True
                dangling = True
            elif flag in "imsUuxR" and flag not in seen:
                seen += flag
                dangling = False
                (flags.discard if negated else flags.add)(flag)
            else:
                raise InvalidRegex("unknown flag")
        if (negated and dangling) or (not seen and self._scan.peek() == ")"):
            raise InvalidRegex("flags expected")
        return frozenset(flags)


def _take(class_: Class) -> Build:
    return lambda graph, to: graph.add(_State(class_, "", (to,)))


def _assert(assertion: str) -> Build:
    return lambda graph, to: graph.add(_State(None, assertion, (to,)))


def _in_turn(parts: list[Build]) -> Build:
    def build(graph: _Graph, to: int) -> int:
        for part in reversed(parts):
            to = part(graph, to)
        return to

    return build


def _either(branches: list[Build]) -> Build:
    return lambda graph, to: graph.add(_State(None, "", tuple([branch(graph, to) for branch in branches])))


def _repeat(part: Build, least: int, most: int | None) -> Build:
    def build(graph: _Graph, to: int) -> int:
        if most is None:
            loop = graph.add(_State(None, "", ()))
            graph.states[loop] = _State(None, "", (part(graph, loop), to))
            start = loop
        else:
            start = to
            for _ in range(most - least):
                start = graph.add(_State(None, "", (part(graph, start), to)))
        for _ in range(least):
            graph.work()
            start = part(graph, start)
        return start

    return build
