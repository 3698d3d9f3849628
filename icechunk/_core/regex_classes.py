"""Classes of characters and escapes in the regular expressions of `regexes`.

A class is a function from a character to whether it belongs to the class. The syntax is
that of Rust's `regex` crate: ``[a-z]``, ``[^...]``, nested classes, ``&&``, ``--`` and ``~~``
for intersection, difference and symmetric difference, ``[:alpha:]``, ``\\d``, ``\\p{Lu}``, ...
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable

Class = Callable[[str], bool]


class InvalidRegex(ValueError):
    """The expression is not valid, or not supported."""


class Scanner:
    """A place in an expression, and what is known there: the flags, the names of groups so far."""

    def __init__(self, regex: str) -> None:
        self._regex = regex
        self._at = 0
        self.flags: frozenset[str] = frozenset("u")
        self.names: set[str] = set()

    @property
    def done(self) -> bool:
        return self._at >= len(self._regex)

    def peek(self, ahead: int = 0) -> str:
        """A character further on, empty past the end."""
        return self._regex[self._at + ahead : self._at + ahead + 1]

    def next(self) -> str:
        if self.done:
            raise InvalidRegex("unexpected end")
        self._at += 1
        return self._regex[self._at - 1]

    def take(self, expected: str) -> bool:
        """Move past the expected text if it comes next."""
        if self._regex.startswith(expected, self._at):
            self._at += len(expected)
            return True
        return False

    def until(self, closing: str) -> str:
        """The text up to a closing character, which is consumed."""
        end = self._regex.find(closing, self._at)
        if end < 0:
            raise InvalidRegex(f"{closing} expected")
        text = self._regex[self._at : end]
        self._at = end + 1
        return text

    def number(self) -> int:
        digits = ""
        while self.peek() and self.peek() in string.digits:
            digits += self.next()
        if not digits or len(digits) > 10:
            raise InvalidRegex("number expected")
        return int(digits)

    def skip_blank(self) -> None:
        """With the flag `x`, move past white space and comments."""
        while "x" in self.flags and not self.done:
            if self.peek().isspace():
                self._at += 1
            elif self.peek() == "#":
                end = self._regex.find("\n", self._at)
                self._at = len(self._regex) if end < 0 else end + 1
            else:
                return


def is_word(character: str) -> bool:
    """Whether a character can be part of a word."""
    return character == "_" or character.isalnum() or unicodedata.category(character)[0] == "M"


def both_cases(class_: Class, flags: frozenset[str]) -> Class:
    """With the flag `i`, the class with the other case of its members."""
    if "i" not in flags:
        return class_
    return lambda character: any(class_(other) for other in _cases(character))


def _cases(character: str) -> set[str]:
    forms = {character, character.lower(), character.upper(), character.title()}
    forms |= {form.lower() for form in forms} | {form.upper() for form in forms}
    return {form for form in forms if len(form) == 1}


_ASCII: dict[str, Class] = {
    "alnum": lambda c: c.isascii() and c.isalnum(),
    "alpha": lambda c: c.isascii() and c.isalpha(),
    "ascii": str.isascii,
    "blank": lambda c: c in "\t ",
    "cntrl": lambda c: c < " " or c == "\x7f",
    "digit": lambda c: "0" <= c <= "9",
    "graph": lambda c: "!" <= c <= "~",
    "lower": lambda c: "a" <= c <= "z",
    "print": lambda c: " " <= c <= "~",
    "punct": lambda c: c in string.punctuation,
    "space": lambda c: c in "\t\n\v\f\r ",
    "upper": lambda c: "A" <= c <= "Z",
    "word": lambda c: c.isascii() and (c.isalnum() or c == "_"),
    "xdigit": lambda c: c in string.hexdigits,
}

_UNICODE: dict[str, Class] = {
    "d": lambda c: unicodedata.category(c) == "Nd",
    "s": lambda c: c.isspace() and not "\x1c" <= c <= "\x1f",
    "w": is_word,
}

_CONTROLS = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}

_CATEGORIES = {
    "letter": "L", "cased_letter": "LC", "uppercase_letter": "Lu", "lowercase_letter": "Ll",
    "titlecase_letter": "Lt", "modifier_letter": "Lm", "other_letter": "Lo", "mark": "M",
    "nonspacing_mark": "Mn", "spacing_mark": "Mc", "enclosing_mark": "Me", "number": "N",
    "decimal_number": "Nd", "letter_number": "Nl", "other_number": "No", "punctuation": "P",
    "connector_punctuation": "Pc", "dash_punctuation": "Pd", "open_punctuation": "Ps",
    "close_punctuation": "Pe", "initial_punctuation": "Pi", "final_punctuation": "Pf",
    "other_punctuation": "Po", "symbol": "S", "math_symbol": "Sm", "currency_symbol": "Sc",
    "modifier_symbol": "Sk", "other_symbol": "So", "separator": "Z", "space_separator": "Zs",
    "line_separator": "Zl", "paragraph_separator": "Zp", "other": "C", "control": "Cc",
    "format": "Cf", "unassigned": "Cn", "private_use": "Co",
}  # fmt: skip
_CATEGORY_CODES = {code.lower(): code for code in _CATEGORIES.values()}


def read_escape(scan: Scanner) -> Class | str:
    """What follows a backslash outside of a class: a class, or the name of an assertion."""
    plain = "u" in scan.flags
    assertions = {
        "A": "start",
        "z": "end",
        "b": "boundary",
        "B": "no boundary",
        "<": "word start",
        ">": "word end",
    }
    if scan.peek() and scan.peek() in assertions:
        assertion = assertions[scan.next()]
        if assertion == "boundary" and scan.peek() == "{" and scan.peek(1).isalpha():
            scan.next()
            kinds = {
                "start": "word start", "end": "word end", "start-half": "half start", "end-half": "half end",
            }  # fmt: skip
            kind = scan.until("}")
            if kind not in kinds:
                raise InvalidRegex("unknown kind of word boundary")
            assertion = kinds[kind]
        return assertion if plain or assertion in ("start", "end") else f"ascii {assertion}"
    return _read_member(scan)[0]


def _read_member(scan: Scanner) -> tuple[Class, str | None]:
    """What follows a backslash: a class, and the character if it is a single one."""
    letter = scan.next()
    if letter.lower() in _UNICODE:
        names = {"d": "digit", "s": "space", "w": "word"}
        kind = letter.lower()
        class_ = _UNICODE[kind] if "u" in scan.flags else _ASCII[names[kind]]
        return (class_ if letter == kind else _complement(class_)), None
    if letter in "pP":
        class_, negated = _read_category(scan)
        return (_complement(class_) if negated != (letter == "P") else class_), None
    if letter in _CONTROLS:
        return _single(_CONTROLS[letter])
    if letter in "xuU":
        return _single(_read_code(scan, {"x": 2, "u": 4, "U": 8}[letter]))
    if letter.isascii() and not letter.isalnum() and letter not in "<>":
        return _single(letter)
    raise InvalidRegex("unknown escape")


def _read_category(scan: Scanner) -> tuple[Class, bool]:
    if not scan.take("{"):
        name, negated = scan.next(), False
    else:
        name = scan.until("}")
        negated = name.startswith("^") or "!=" in name
        for prefix in ("^", "gc", "general_category", "generalcategory"):
            name = name.lower().removeprefix(prefix) if prefix == "^" or "=" in name or ":" in name else name
        name = name.lstrip("!=:")
    folded = name.strip().lower().replace(" ", "_").replace("-", "_")
    if folded == "any":
        return (lambda _: True), negated
    if folded == "ascii":
        return str.isascii, negated
    if folded in ("lc", "l&", "cased_letter"):
        return (lambda c: unicodedata.category(c) in ("Lu", "Ll", "Lt")), negated
    code = _CATEGORIES.get(folded) or _CATEGORY_CODES.get(folded)
    if code is None:
        raise InvalidRegex("only general categories are supported")
    return (lambda c: unicodedata.category(c).startswith(code)), negated


def _read_code(scan: Scanner, width: int) -> str:
    digits = scan.until("}") if scan.take("{") else "".join([scan.next() for _ in range(width)])
    if not digits or any(digit not in string.hexdigits for digit in digits) or len(digits) > 8:
        raise InvalidRegex("hexadecimal digits expected")
    code = int(digits, 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise InvalidRegex("no such character")
    return chr(code)


def read_class(scan: Scanner, depth: int = 0) -> Class:
    """Read the rest of a class whose opening bracket is consumed."""
    if depth > 60:
        raise InvalidRegex("nested too deeply")
    negated = scan.take("^")
    operand = _read_union(scan, depth, first=True)
    while not scan.take("]"):
        operator = scan.next() + scan.next()
        operand = _combine(operator, operand, _read_union(scan, depth, first=False))
    return _complement(operand) if negated else operand


def _read_union(scan: Scanner, depth: int, *, first: bool) -> Class:
    """Members up to a set operator or the closing bracket, which are left."""
    members: list[Class] = []
    while True:
        scan.skip_blank()
        if scan.peek() == "]" and not (first and not members):
            break
        if scan.peek() and scan.peek() in "&-~" and scan.peek() == scan.peek(1) and (members or not first):
            break
        if scan.take("["):
            members.append(_read_named(scan) or read_class(scan, depth + 1))
        else:
            members.append(_read_range(scan))
    return lambda character: any(member(character) for member in members)


def _read_named(scan: Scanner) -> Class | None:
    """An ASCII class such as ``[:alpha:]``, or None if it is something else."""
    for name, class_ in _ASCII.items():
        if scan.take(f":{name}:]"):
            return class_
        if scan.take(f":^{name}:]"):
            return _complement(class_)
    return None


def _read_range(scan: Scanner) -> Class:
    """One member of a class: a character, a range of them, or an escape."""
    class_, low = _read_item(scan)
    scan.skip_blank()
    if scan.peek() != "-" or scan.peek(1) in ("", "]", "-"):
        return class_
    scan.next()
    scan.skip_blank()
    _, high = _read_item(scan)
    if low is None or high is None or low > high:
        raise InvalidRegex("bad range")
    return lambda character: low <= character <= high


def _read_item(scan: Scanner) -> tuple[Class, str | None]:
    return _read_member(scan) if scan.take("\\") else _single(scan.next())


def _combine(operator: str, left: Class, right: Class) -> Class:
    if operator == "&&":
        return lambda character: left(character) and right(character)
    if operator == "--":
        return lambda character: left(character) and not right(character)
    return lambda character: left(character) != right(character)


def _single(character: str) -> tuple[Class, str]:
    return (lambda other: other == character), character


def _complement(class_: Class) -> Class:
    return lambda character: not class_(character)
