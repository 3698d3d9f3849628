"""A storage in front of another one: what tests put faults into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from icechunk.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from icechunk._storage_settings import StorageSettings
    from icechunk.display import Fields, Form


class WrappedStorage(Storage, frozen=True):
    """A storage in front of another one, for instance one with faults.

    The two functions put a backend in front of the other's; one for each spelling.
    """

    inner: Storage
    wrap_async: Callable[[Any], Any]
    wrap: Callable[[Any], Any]

    _type: ClassVar[str] = "wrapped"

    @property
    def location(self) -> str:
        return self.inner.location

    def is_same_place(self, other: Storage) -> bool:
        return isinstance(other, WrappedStorage) and self.inner.is_same_place(other.inner)

    @property
    def requires_prefix(self) -> bool:
        return self.inner.requires_prefix

    @property
    def is_remote(self) -> bool:
        return self.inner.is_remote

    def default_settings(self) -> StorageSettings:
        return self.inner.default_settings()

    def _fields(self, form: Form) -> Fields:
        return self.inner._fields(form)
