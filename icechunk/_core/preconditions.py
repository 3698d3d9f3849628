"""What a conditional write answers when the object is not what its writer expected."""

from __future__ import annotations


class PreconditionFailed(Exception):
    """The object changed, appeared or vanished since the writer looked. Nothing was written.

    Not an `IcechunkError`: the engine answers it, by looking again or with an error that says what was lost.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"`{self.key}` is not what its writer expected"
