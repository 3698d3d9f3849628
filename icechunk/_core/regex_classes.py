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

MAX_DEPTH = 60
"""How deep classes, and groups, may be nested."""


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
        """A decimal number, with blanks around it."""
        while self.take(" "):
            pass
        digits = ""
        while self.peek() and self.peek() in string.digits:
            digits += self.next()
        if not digits or len(digits) > 10:
            raise InvalidRegex("number expected")
        while self.take(" "):
            pass
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


def single(character: str, flags: frozenset[str]) -> Class:
    """The class of one character, with the flag `i` in both cases."""
    if "i" not in flags:
        return lambda other: other == character
    cases = _cases(character)
    return lambda other: other in cases


def _both_cases(class_: Class, flags: frozenset[str]) -> Class:
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

_PERL_NAMES = {"d": "digit", "s": "space", "w": "word"}
_CODE_WIDTHS = {"x": 2, "u": 4, "U": 8}

_CATEGORIES = {
    "letter": "L", "uppercaseletter": "Lu", "lowercaseletter": "Ll", "titlecaseletter": "Lt",
    "modifierletter": "Lm", "otherletter": "Lo", "mark": "M", "nonspacingmark": "Mn",
    "spacingmark": "Mc", "enclosingmark": "Me", "number": "N", "decimalnumber": "Nd",
    "letternumber": "Nl", "othernumber": "No", "punctuation": "P", "connectorpunctuation": "Pc",
    "dashpunctuation": "Pd", "openpunctuation": "Ps", "closepunctuation": "Pe",
    "initialpunctuation": "Pi", "finalpunctuation": "Pf", "otherpunctuation": "Po",
    "symbol": "S", "mathsymbol": "Sm", "currencysymbol": "Sc", "modifiersymbol": "Sk",
    "othersymbol": "So", "separator": "Z", "spaceseparator": "Zs", "lineseparator": "Zl",
    "paragraphseparator": "Zp", "other": "C", "control": "Cc", "format": "Cf",
    "unassigned": "Cn", "privateuse": "Co",
}  # fmt: skip
_CATEGORIES |= {code.lower(): code for code in _CATEGORIES.values()}

_PROPERTIES: dict[str, Class] = {
    "any": lambda _: True,
    "ascii": str.isascii,
    "alphabetic": str.isalpha,
    "lowercase": str.islower,
    "uppercase": str.isupper,
    "whitespace": _UNICODE["s"],
    "lc": lambda c: unicodedata.category(c) in ("Lu", "Ll", "Lt"),
    "casedletter": lambda c: unicodedata.category(c) in ("Lu", "Ll", "Lt"),
}


_ASSERTIONS = {
    "A": "start", "z": "end", "b": "boundary", "B": "no boundary", "<": "word start", ">": "word end",
}  # fmt: skip
_BOUNDARIES = {
    "start": "word start", "end": "word end", "start-half": "half start", "end-half": "half end",
}  # fmt: skip


def read_escape(scan: Scanner) -> Class | str:
    """What follows a backslash outside of a class: a class, or the name of an assertion."""
    if scan.peek() not in _ASSERTIONS:
        return _read_member(scan)[0]
    assertion = _ASSERTIONS[scan.next()]
    if assertion == "boundary" and scan.peek() == "{" and scan.peek(1).isalpha():
        scan.next()
        kind = scan.until("}")
        if kind not in _BOUNDARIES:
            raise InvalidRegex("unknown kind of word boundary")
        assertion = _BOUNDARIES[kind]
    return assertion if "u" in scan.flags or assertion in ("start", "end") else f"ascii {assertion}"


def _read_member(scan: Scanner) -> tuple[Class, str | None]:
    """What follows a backslash: a class, and the character if it is a single one."""
    letter = scan.next()
    kind = letter.lower()
    if kind in _UNICODE:
        class_ = _UNICODE[kind] if "u" in scan.flags else _ASCII[_PERL_NAMES[kind]]
        return (class_ if letter == kind else _complement(class_)), None
    if kind == "p":
        class_, negated = _read_property(scan)
        class_ = _both_cases(class_, scan.flags)
        return (_complement(class_) if negated != (letter == "P") else class_), None
    if letter in _CONTROLS:
        character = _CONTROLS[letter]
    elif letter in _CODE_WIDTHS:
        character = _read_code(scan, _CODE_WIDTHS[letter])
    elif letter.isascii() and not letter.isalnum() and letter not in "<>":
        character = letter
    else:
        raise InvalidRegex("unknown escape")
    return single(character, scan.flags), character


def _read_property(scan: Scanner) -> tuple[Class, bool]:
    """The class of a property such as ``{Lu}`` or ``{gc!=Lu}``, and whether it is negated."""
    name = scan.until("}") if scan.take("{") else scan.next()
    negated = "!=" in name
    group, separator, value = name.replace("!=", "=").replace(":", "=").partition("=")
    if separator and _folded(group) not in ("gc", "generalcategory"):
        raise InvalidRegex("only general categories are supported")
    folded = _folded(value if separator else group)
    if folded in _PROPERTIES and not separator:
        return _PROPERTIES[folded], negated
    code = _CATEGORIES.get(folded)
    if code is None:
        raise InvalidRegex("unknown property")
    return (lambda character: unicodedata.category(character).startswith(code)), negated


def _folded(name: str) -> str:
    return "".join([character for character in name.lower() if character not in " -_"])


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
    if depth > MAX_DEPTH:
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
    while first and scan.take("-"):
        members.append(single("-", scan.flags))
    if first and not members and scan.take("]"):
        members.append(single("]", scan.flags))
    while True:
        scan.skip_blank()
        if scan.peek() == "]" or (scan.peek() in ("&", "-", "~") and scan.peek() == scan.peek(1)):
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
            return _both_cases(class_, scan.flags)
        if scan.take(f":^{name}:]"):
            return _complement(_both_cases(class_, scan.flags))
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
    return _both_cases(lambda character: low <= character <= high, scan.flags)


def _read_item(scan: Scanner) -> tuple[Class, str | None]:
    if scan.take("\\"):
        return _read_member(scan)
    character = scan.next()
    return single(character, scan.flags), character


def _combine(operator: str, left: Class, right: Class) -> Class:
    if operator == "&&":
        return lambda character: left(character) and right(character)
    if operator == "--":
        return lambda character: left(character) and not right(character)
    return lambda character: left(character) != right(character)


def _complement(class_: Class) -> Class:
    return lambda character: not class_(character)
