"""The YAML of `config.yaml`: plain data, and tags for variants.

The file is written and read by programs in several languages, so only what YAML 1.1 and 1.2
agree on is used: strings are quoted unless nobody can take them for anything else, and on
reading a plain word is null, a boolean or a number only if it looks like one in YAML 1.2.
Anchors and aliases, with which a small file can describe a huge document, are refused, and
so are files of more than `MAX_SIZE` bytes and collections nested deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

from icechunk._exceptions import ErrorKind, FormatError

MAX_SIZE = 1024 * 1024
"""The largest file that is read, which takes some seconds; honest ones have a few kilobytes."""

MAX_DEPTH = 100
"""Collections that may stand inside each other."""

_RESERVED = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_/.-]*(:[A-Za-z0-9_/.-]+)*")


class Variant(NamedTuple):
    """One of several kinds of value, told apart by name: `!name payload`."""

    name: str
    payload: Any


def load_yaml(data: bytes, name: str) -> Any:
    """Read a document.

    Raises
    ------
    FormatError
        Kind `config-deserialization`, naming the object `name`.
    """
    if len(data) > MAX_SIZE:
        raise _unreadable(name, f"it has {len(data)} bytes, more than {MAX_SIZE}")
    try:
        return yaml.load(bytes(data), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise _unreadable(name, str(error)) from error


def dump_yaml(document: Any) -> bytes:
    """Write a document, its keys in their order."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    return text.encode()


def _unreadable(name: str, reason: str) -> FormatError:
    return FormatError(f"`{name}` is not readable as YAML: {reason}", ErrorKind.CONFIG_DESERIALIZATION)


class _Loader(yaml.SafeLoader):
    """Reads plain data; resolves plain words as YAML 1.2 does."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        self._check_depth(self.flow_level)
        super().fetch_flow_collection_start(token_class)

    def add_indent(self, column: Any) -> Any:
        self._check_depth(len(self.indents))
        return super().add_indent(column)

    def _check_depth(self, depth: int) -> None:
        # Before the scanner goes on: it takes time in proportion to the depth for each token.
        if depth >= MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, "nested too deeply", self.get_mark())

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", None)
        return super().compose_node(parent, index)


_NUMBER_STARTS = "-+.0123456789"

# What a plain word is taken for: the tag, its form, and the characters that it can start with.
_PLAIN_WORDS = [
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*_NUMBER_STARTS]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*_NUMBER_STARTS]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*_NUMBER_STARTS]),
]
for _tag, _form, _starts in _PLAIN_WORDS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_form})\Z"), _starts)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _construct_variant(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> Variant:
    if isinstance(node, yaml.MappingNode):
        return Variant(name, loader.construct_mapping(node, deep=True))
    if isinstance(node, yaml.SequenceNode):
        return Variant(name, loader.construct_sequence(node, deep=True))
    assert isinstance(node, yaml.ScalarNode)
    # The tag stands where the type would: a plain word is what it would be without the tag.
    plain = node.style is None
    implicit = plain, not plain
    tag = loader.resolve(yaml.ScalarNode, node.value, implicit)  # type: ignore[no-untyped-call]  # by the stubs
    scalar = yaml.ScalarNode(tag, node.value, node.start_mark, node.end_mark, node.style)
    return Variant(name, loader.construct_object(scalar))


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_multi_constructor("!", _construct_variant)


def _style(text: str) -> str:
    """How to quote a string: not at all if nobody can take it for something else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return ""
    return "'" if text.isprintable() else '"'


class _Dumper(yaml.SafeDumper):
    """Writes plain data and variants, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def choose_scalar_style(self) -> Any:
        # Left alone, the emitter quotes every scalar that has a tag, numbers too.
        scalar: Any = self.event
        if scalar.style == "" and (scalar.tag or "").startswith("!"):
            return ""
        return super().choose_scalar_style()


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = _style(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style or None)


def _represent_variant(dumper: yaml.SafeDumper, variant: Variant) -> yaml.Node:
    tag = f"!{variant.name}"
    if isinstance(variant.payload, dict):
        return dumper.represent_mapping(tag, variant.payload)
    if isinstance(variant.payload, list):
        return dumper.represent_sequence(tag, variant.payload)
    node = dumper.represent_data(variant.payload)
    style = _style(variant.payload) if isinstance(variant.payload, str) else ""
    return dumper.represent_scalar(tag, node.value, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(Variant, _represent_variant)
