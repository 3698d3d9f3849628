"""The source of randomness: ids of objects and nodes, write ids, jitter.

Bytes come from the operating system on every call (about half a microsecond), so that a forked child, which
inherits all memory of its parent, can never repeat an id of its parent's. A test that needs reproducible
bytes puts its own source in place with `use_random`.
"""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_read_random: Callable[[int], bytes] = os.urandom


def random_id(size: int = 12) -> bytes:
    """Return `size` unpredictable bytes: 12 make the id of an object, 8 the id of a node."""
    return _read_random(size)


def random_unit() -> float:
    """A number in [0, 1), for the jitter of waiting times."""
    return int.from_bytes(_read_random(7), "big") / (1 << 56)


def random_uuid() -> str:
    """The text of a version 4 UUID, which marks a write so that its writer recognises it."""
    return str(uuid.UUID(bytes=_read_random(16), version=4))


@contextmanager
def use_random(read_random: Callable[[int], bytes]) -> Iterator[None]:
    """Let this module answer from `read_random(size)` inside the `with` block, in all threads.

    Examples
    --------
    >>> import random
    >>> with use_random(random.Random(1).randbytes):
    ...     random_id().hex()
    'f5b165224a58b791df6af1d8'
    """
    global _read_random
    before = _read_random
    _read_random = read_random
    try:
        yield
    finally:
        _read_random = before
