"""A storage that fails, waits and lets others in between, when a test says so.

Wrap any storage with `faulty_storage`, open a repository on it, and plan faults at the boundary where the
engine asks the storage for something. No part of the library is replaced by a mock: what is behind the
boundary does its work.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from icechunk._async.faulty import AsyncFaultyBackend
from icechunk._exceptions import ErrorKind, StorageError
from icechunk._locks import StateLock
from icechunk._sync.faulty import SyncFaultyBackend
from icechunk._wrapped_storage import WrappedStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from icechunk.storage import Storage

__all__ = ["Call", "Faults", "faulty_storage"]

Moment = Literal["before", "after"]


class Call(NamedTuple):
    """One request to a storage."""

    operation: str
    key: str


@dataclass
class _Plan:
    operation: str
    key: str
    moment: Moment
    skip: int
    times: int | None
    action: Callable[[Call], object] | None = None
    seconds: float = 0.0

    def applies(self, call: Call, moment: Moment) -> bool:
        """Whether this is one of the calls that are meant; counts down."""
        if self.moment != moment or self.times == 0:
            return False
        if not (fnmatchcase(call.operation, self.operation) and fnmatchcase(call.key, self.key)):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """The calls that a faulty storage has seen, and what it does at the next ones.

    Operations are ``get``, ``get_ranges``, ``get_versioned``, ``put``, ``put_conditional``, ``copy``,
    ``head``, ``list``, ``delete_many``, ``is_clean`` and ``prepare_root``. Operations and keys are given as
    patterns of `fnmatch`, such as ``"get*"`` and ``"manifests/*"``. The key of a `copy` is that of the
    source, of a `list` the prefix, of a `delete_many` the first one.

    Attributes
    ----------
    calls : list of Call
        All calls so far, in the order in which they came.
    most_at_once : int
        How many operations were under way at the same time, at the most.
    can_write : bool
        Whether the storage says that it can be written to; True until a test sets it.

    Examples
    --------
    >>> from icechunk import Repository, in_memory_storage
    >>> from icechunk.testing.faults import Faults, faulty_storage
    >>> faults = Faults()
    >>> repo = Repository.create(faulty_storage(in_memory_storage(), faults))
    >>> faults.count("put_conditional", "repo")
    1
    >>> faults.fail("put", "snapshots/*")
    >>> repo.writable_session("main").commit("nothing", allow_empty=True)
    Traceback (most recent call last):
    ...
    icechunk.StorageError: injected failure of put `snapshots/...`
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.can_write = True
        self._under_way = 0
        self._plans: list[_Plan] = []
        self._lock = StateLock()

    def __reduce__(self) -> tuple[type[Faults], tuple[()]]:
        return Faults, ()

    def fail(
        self,
        operation: str = "*",
        key: str = "*",
        *,
        error: BaseException | None = None,
        moment: Moment = "before",
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Let operations fail.

        Parameters
        ----------
        operation, key : str, default "*"
            Which ones, as patterns.
        error : BaseException, optional
            What to raise; a `StorageError` of kind ``object-store`` when left out.
        moment : {"before", "after"}, default "before"
            Whether the storage has done its work by then: an answer that was lost.
        skip : int, default 0
            Let so many pass first.
        times : int or None, default 1
            How many fail; None for all.
        """

        def fail(call: Call) -> None:
            raise error or StorageError(
                f"injected failure of {call.operation} `{call.key}`", ErrorKind.OBJECT_STORE
            )

        self._plans.append(_Plan(operation, key, moment, skip, times, fail))

    def delay(
        self, operation: str = "*", key: str = "*", *, seconds: float, times: int | None = None
    ) -> None:
        """Let operations take longer.

        Parameters
        ----------
        operation, key : str, default "*"
            Which ones, as patterns.
        seconds : float
            How much longer.
        times : int or None, optional
            How many; None for all.
        """
        self._plans.append(_Plan(operation, key, "before", 0, times, seconds=seconds))

    def call(
        self,
        operation: str,
        key: str,
        action: Callable[[], object],
        *,
        moment: Moment = "before",
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Let somebody else in between: call a function before or after operations.

        Parameters
        ----------
        operation, key : str
            Which ones, as patterns.
        action : callable
            Called without arguments; what it raises, the operation raises. It may use the same storage: the
            plan is used up by then.
        moment : {"before", "after"}, default "before"
            Whether the storage has done its work by then.
        skip : int, default 0
            Let so many pass first.
        times : int or None, default 1
            How often to call it; None for always.
        """
        self._plans.append(_Plan(operation, key, moment, skip, times, lambda _: action()))

    def count(self, operation: str = "*", key: str = "*") -> int:
        """How many calls there were.

        Parameters
        ----------
        operation, key : str, default "*"
            Of which kind, as patterns.

        Returns
        -------
        int
        """
        return sum(
            fnmatchcase(call.operation, operation) and fnmatchcase(call.key, key) for call in self.calls
        )

    def clear(self) -> None:
        """Forget all plans and calls."""
        with self._lock.held:
            self._plans.clear()
            self.calls.clear()
            self.most_at_once = self._under_way

    def begin(self, operation: str, key: str) -> float:
        """Note a call, do what is planned before it, and return how long it should wait."""
        call = Call(operation, key)
        with self._lock.held:
            self.calls.append(call)
        seconds = self._carry_out(call, "before")
        with self._lock.held:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        return seconds

    def succeed(self, operation: str, key: str) -> None:
        """Do what is planned after a call that succeeded."""
        self._carry_out(Call(operation, key), "after")

    def end(self) -> None:
        """Note that a call is over."""
        with self._lock.held:
            self._under_way -= 1

    def _carry_out(self, call: Call, moment: Moment) -> float:
        with self._lock.held:
            plans = [plan for plan in self._plans if plan.applies(call, moment)]
        for plan in plans:
            if plan.action is not None:
                plan.action(call)
        return sum([plan.seconds for plan in plans])


def faulty_storage(inner: Storage, faults: Faults) -> Storage:
    """Put a plan of faults in front of a storage.

    Parameters
    ----------
    inner : Storage
        The storage that does the work.
    faults : Faults
        The plan. A pickled copy of the storage has an empty plan of its own.

    Returns
    -------
    Storage

    Examples
    --------
    >>> from icechunk import in_memory_storage
    >>> from icechunk.testing.faults import Faults, faulty_storage
    >>> faulty_storage(in_memory_storage(), Faults()).default_settings().retries.max_tries
    1
    """
    return WrappedStorage(inner, partial(AsyncFaultyBackend, faults), partial(SyncFaultyBackend, faults))
