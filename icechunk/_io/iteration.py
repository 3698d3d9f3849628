"""Iterators for both sides: that find out early whether there is anything, or that can be used on either."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

Item = TypeVar("Item")


def begun_async(items: AsyncIterator[Item]) -> AsyncIterator[Item]:
    """The same iterator: before it is awaited nothing can be fetched."""
    return items


def begun(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, with the first one fetched here: what is wrong is raised by the call and not later."""
    for first in items:
        return chain([first], items)
    return iter(())


class Listing(Generic[Item]):
    """Items, once: iterate with `async for` or with `for`."""

    def __init__(
        self, asynchronous: Callable[[], AsyncIterator[Item]], blocking: Callable[[], Iterator[Item]]
    ) -> None:
        self._asynchronous = asynchronous
        self._blocking = blocking
        self._opened: AsyncIterator[Item] | None = None
        self._opened_blocking: Iterator[Item] | None = None

    def __aiter__(self) -> Listing[Item]:
        return self

    async def __anext__(self) -> Item:
        if self._opened is None:
            self._opened = self._asynchronous()
        return await self._opened.__anext__()

    def __iter__(self) -> Listing[Item]:
        return self

    def __next__(self) -> Item:
        if self._opened_blocking is None:
            self._opened_blocking = self._blocking()
        return next(self._opened_blocking)

    async def aclose(self) -> None:
        """Leave the listing before its end."""
        if self._opened is not None:
            await self._opened.aclose()  # type: ignore[attr-defined]  # always an async generator
        self._opened = _nothing_async()
        self._opened_blocking = iter(())


async def _nothing_async() -> AsyncIterator[Item]:
    return
    yield
