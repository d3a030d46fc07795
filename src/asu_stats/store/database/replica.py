"""A streaming replica that reports are read from: whether it can be used, and how far it is behind.

Once a second, a thread reads the position of the primary, and another one that of the replica. What
the replica has replayed is compared with the positions that the primary had at known times, not
with the time of the last transaction: an idle primary is not a replica that falls behind.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

from sqlalchemy import Connection, Engine

from asu_stats.exceptions import InvalidSettingError, SchemaError, StoreUnavailableError
from asu_stats.logs import Condition
from asu_stats.loops import Loop
from asu_stats.store.database import engine as engines
from asu_stats.store.database import postgresql, standby
from asu_stats.store.database.reading import Freshness, State, Status
from asu_stats.store.database.standby import Position, Replayed, Standby

log = logging.getLogger(__name__)

T = TypeVar("T")

_SECONDS: Final = 1.0
_POSITIONS: Final = 3600  # of the primary, one per second
_STOP_SECONDS: Final = 10.0
_SILENT_SECONDS: Final = 5.0  # of a check: reports do not wait for its time limit
_SILENT: Final = "the replica does not respond"
_CATCH_UP_SECONDS: Final = 10.0
_CATCH_UP_PAUSE: Final = 0.2


class _Unusable(Exception):  # noqa: N818 - the reason is its message
    """The server is reachable, but is not a standby of the primary."""


class Replica:
    """A standby of `primary`. As a context manager, it checks both once a second.

    `check_schema` raises `SchemaError` for a database with another schema.
    """

    def __init__(
        self,
        primary: Engine,
        engine: Engine,
        *,
        max_lag_seconds: float,
        check_schema: Callable[[Engine], object],
    ) -> None:
        self.engine = engine
        self._primary = primary
        self._max_lag = max_lag_seconds
        self._check_schema = check_schema
        self._positions: deque[Position] = deque(maxlen=_POSITIONS)
        self._primary_reachable = False
        self._other_schema = False
        self._started = False
        self._checked = False  # that it has the schema, since it was last unreachable
        self._guard = threading.Lock()
        self._used = Condition(log, "replica: reports are read from the primary")
        self._state = State("unreachable", "not checked yet")
        self._checked_at = time.monotonic()
        self._conflicts = 0
        self._loops = [
            Loop("position of the primary", self._read_primary, seconds=_SECONDS),
            Loop("position of the replica", self._read_replica, seconds=_SECONDS),
        ]

    def __enter__(self) -> Self:
        for loop in self._loops:
            loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        for loop in self._loops:
            loop.stop()
        for loop in self._loops:
            loop.join(_STOP_SECONDS)

    @property
    def state(self) -> State:
        """State at the last check; unreachable if a check has been waiting for a response."""
        if time.monotonic() - self._checked_at > _SILENT_SECONDS:
            return State("unreachable", _SILENT, primary_reachable=self._primary_reachable)
        return self._state

    @property
    def conflicts(self) -> int:
        return self._conflicts

    def check(self) -> None:
        """Check both for the first time. A replica that is unreachable now may recover later.

        Raises `InvalidSettingError` if it is not a standby of the primary, or has another schema.
        """
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while True:
            self._read_primary()
            self._read_replica()
            if self._state.status != "unusable":
                self._started = True
                return
            if not self._other_schema or time.monotonic() > deadline:
                raise InvalidSettingError(f"read_database_url: {self._state.reason}")
            time.sleep(_CATCH_UP_PAUSE)  # it may not have replayed the last upgrade yet

    def read(self, report: Callable[[Connection], T], freshness: Freshness) -> T:
        """Return the result of `report` in a snapshot of the replica, and note as of when it is.

        Raises `StoreUnavailableError`.
        """
        state = self._state

        def read(connection: Connection) -> tuple[T, Replayed]:
            # Sent first, and awaited last: it costs no round trip.
            sent = standby.send_replayed(connection)
            return report(connection), Replayed(*sent()[0])

        try:
            found, replayed = engines.read(self.engine, read)
            as_of = self._as_of(replayed)
        except _Unusable as error:
            self._failed("unusable", str(error))
            raise StoreUnavailableError(f"replica: {error}") from error
        except StoreUnavailableError as error:
            if standby.is_conflict(error):
                self._count_conflict(error)
            elif not standby.is_limit(error):
                self._failed("unreachable", str(error))
            raise
        reason = "" if state.primary_reachable else "the primary is unreachable"
        if as_of is not None:
            freshness.note(standby.moment(as_of), state.lag_seconds or 0.0, reason)
        return found

    def may_repeat(self, error: StoreUnavailableError) -> bool:
        """Return whether another server may succeed: not if a statement takes too long."""
        return not standby.is_limit(error)

    def _count_conflict(self, error: StoreUnavailableError) -> None:
        with self._guard:
            self._conflicts += 1
        log.debug("replica: repeated on the primary: %s", error)

    # Checks -------------------------------------------------------------------------------------

    def _read_primary(self) -> None:
        try:
            found = standby.position(self._primary)
        except StoreUnavailableError as error:
            log.debug("replica: no position of the primary: %s", error)
            self._primary_reachable = False
            return
        with self._guard:
            self._positions.append(found)
        self._primary_reachable = True

    def _read_replica(self) -> None:
        try:
            found = standby.standby(self.engine)
            self._other_schema = False
            if not self._checked:
                self._check_schema(self.engine)
                self._checked = True
            self._assess(found)
        except _Unusable as error:
            self._failed("unusable", str(error))
        except SchemaError as error:
            self._other_schema = True
            self._failed("unusable", str(error))
        except StoreUnavailableError as error:
            self._failed("unreachable", str(error))

    def _failed(self, status: Status, reason: str) -> None:
        self._checked = False
        if status == "unusable":
            # After a failover, the URL may lead to another server.
            postgresql.distrust(self.engine)
        self._enter(State(status, reason, primary_reachable=self._primary_reachable))

    def _enter(self, state: State) -> None:
        self._state = state
        self._checked_at = time.monotonic()
        if state.status in {"in use", "primary"}:
            self._used.works()
        elif self._started or state.status != "unusable":  # `check` raises it
            self._used.failed(state.reason)

    def _assess(self, found: Standby) -> None:
        """Enter the state that follows from what the replica says. Raises `_Unusable`."""
        last, reachable = self._last(), self._primary_reachable
        if last and found.system != last.system:
            raise _Unusable(
                f"a database of another cluster: its system identifier is {found.system}, that of "
                f"database_url is {last.system}"
            )
        if not found.replayed.in_recovery and last and found.started == last.started:
            self._enter(State("primary", lag_seconds=0.0, lag_bytes=0))
            return
        as_of = self._as_of(found.replayed)
        seconds = self._lag_seconds(found, as_of)
        lag_bytes = None
        if last and reachable and found.replayed.written is not None:
            lag_bytes = max(0, last.written - found.replayed.written)
        values: dict[str, Any] = {
            "lag_seconds": seconds,
            "lag_bytes": lag_bytes,
            "as_of": None if as_of is None else standby.moment(as_of),
            "primary_reachable": reachable,
        }
        if reachable and seconds is not None and seconds > self._max_lag:
            limit = f"more than read_max_lag_seconds={self._max_lag:g}"
            self._enter(State("behind", f"the replica is behind, {limit}", **values))
        else:
            self._enter(State("in use", **values))

    def _last(self) -> Position | None:
        with self._guard:
            return self._positions[-1] if self._positions else None

    def _as_of(self, replayed: Replayed) -> int | None:
        """Return the last time at which all that was committed is in what the standby replayed.

        A commit is in a snapshot if the change counter of the snapshot includes it. The position
        does the same for what the counter does not count, such as queued builds.
        Raises `_Unusable` if it is not a standby.
        """
        if not replayed.in_recovery or replayed.written is None:
            raise _Unusable(
                "not a standby: it is not in recovery, and database_url leads elsewhere"
            )
        with self._guard:
            for each in reversed(self._positions):
                if each.written <= replayed.written and each.changes <= replayed.changes:
                    return each.at
        return replayed.replayed_at

    def _lag_seconds(self, found: Standby, as_of: int | None) -> float | None:
        """Return how long ago the replica was as the primary: 0 if it has all that is known."""
        last = self._last()
        if as_of is None:
            return None
        if last is None or not self._primary_reachable:
            return max(0, found.now - as_of) / 1e6
        return max(0, last.at - as_of) / 1e6
