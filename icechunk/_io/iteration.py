"""Iterators that find out early whether there is anything to iterate over, as far as a side can."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Item = TypeVar("Item")


def begun_async(items: AsyncIterator[Item]) -> AsyncIterator[Item]:
    """The same iterator: before it is awaited nothing can be fetched."""
    return items


def begun(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, with the first one fetched here: what is wrong is raised by the call and not later."""
    for first in items:
        return chain([first], items)
    return iter(())
