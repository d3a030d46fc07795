"""Where reports read: from a replica if there is one, otherwise from the primary.

`Freshness` has the time of the data in a response from a replica, the oldest if a response reads
several times. Everything else uses the primary directly.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.store.database import engine as engines

T = TypeVar("T")

_OLD_SECONDS: Final = 5.0


@dataclass(slots=True)
class Freshness:
    """As of when a response is: everything that was recorded until then is in it.

    `as_of` is `None` for a response that was read from the primary, which is current.
    `lag_seconds` is how far the replica is behind; `reason` says why nothing newer can be read.
    `current` asks for the primary.
    """

    as_of: datetime | None = None
    lag_seconds: float = 0.0
    reason: str = ""
    current: bool = False

    @property
    def is_old(self) -> bool:
        """Whether readers should know: the replica is seconds behind, or the primary is gone."""
        old = self.lag_seconds > _OLD_SECONDS or bool(self.reason)
        return self.as_of is not None and old

    def note(self, as_of: datetime, lag_seconds: float, reason: str) -> None:
        """Note what a part of the response was read as of; the oldest part counts."""
        if self.as_of is None or as_of < self.as_of:
            self.as_of, self.lag_seconds, self.reason = as_of, lag_seconds, reason


_freshness: Final[ContextVar[Freshness | None]] = ContextVar("freshness", default=None)


@contextmanager
def noted(*, current: bool = False) -> Iterator[Freshness]:
    """Note the freshness of all that is read in this context. `current` reads the primary."""
    found = Freshness(current=current)
    before = _freshness.set(found)
    try:
        yield found
    finally:
        _freshness.reset(before)


def freshness() -> Freshness:
    """Return what was noted in this context so far."""
    return _freshness.get() or Freshness()


Status: TypeAlias = Literal["in use", "behind", "unreachable", "unusable", "primary"]


@dataclass(frozen=True, slots=True)
class State:
    """State of a replica at its last check.

    `behind`: by more than the limit. `unusable`: not a replica of the primary, or another schema.
    `primary`: both URLs lead to the same server. `lag_bytes` is `None` while one of the two is
    unreachable, `lag_seconds` and `as_of` if nothing is known.
    """

    status: Status
    reason: str = ""
    lag_seconds: float | None = None
    lag_bytes: int | None = None
    as_of: datetime | None = None
    primary_reachable: bool = True

    @property
    def is_preferred(self) -> bool:
        """Whether reports are read from the replica first."""
        return self.status == "in use"

    @property
    def is_usable(self) -> bool:
        """Whether reports can be read from the replica while the primary is unreachable."""
        return self.status in {"in use", "behind"}


class Watched(Protocol):
    """What readiness and metrics show of a replica."""

    @property
    def state(self) -> State: ...

    @property
    def conflicts(self) -> int:
        """Number of reports that were repeated because of a conflict with recovery."""
        ...


class Source(Watched, Protocol):
    """A replica of the primary, see `replica.Replica`."""

    def read(self, report: Callable[[Connection], T], freshness: Freshness) -> T:
        """Return the result of a report. Raises `StoreUnavailableError`."""
        ...

    def may_repeat(self, error: StoreUnavailableError) -> bool:
        """Return whether another server may succeed."""
        ...


class Reading:
    """Runs reports, each in a snapshot of the database."""

    def __init__(self, primary: Engine, replica: Source | None = None) -> None:
        self._primary = primary
        self._replica = replica

    def run(self, report: Callable[[Connection], T]) -> T:
        """Return the result of `report`, which may be called twice.

        With a replica: if it is not usable, or cancels a statement because of a conflict with
        recovery, the report is read from the primary. While that is unreachable, it is read from
        the replica, however far it is behind. Raises `StoreUnavailableError` if both are.
        """
        replica = self._replica
        if replica is None:
            return self._from_primary(report)
        freshness = _freshness.get() or Freshness()
        if replica.state.is_preferred and not freshness.current:
            try:
                return replica.read(report, freshness)
            except StoreUnavailableError as error:
                if not replica.may_repeat(error):
                    raise
            return self._from_primary(report)
        try:
            return self._from_primary(report)
        except StoreUnavailableError as error:
            if not replica.state.is_usable or not replica.may_repeat(error):
                raise
        return replica.read(report, freshness)

    def _from_primary(self, report: Callable[[Connection], T]) -> T:
        return engines.read(self._primary, report)
