"""Follows the SQLite file of a Go server while this server runs (setting `follow_go_builder`).

The same as `asu-stats import go-builder PATH --follow`: events do not move the counters of
`/metrics`, and are not written to `build_stats`. One of several servers follows it, under a lease.
Each server starts at the first row; known rows change nothing.
"""

import copy
import logging
import threading
import time
from collections.abc import Sequence
from typing import Final, Self

from sqlalchemy import Engine

from asu_stats.event_times import Acceptable
from asu_stats.events import Event, new_id
from asu_stats.exceptions import (
    ForeignDataError,
    LeaseLostError,
    OtherHistoryError,
    StoreUnavailableError,
)
from asu_stats.importers import reimport
from asu_stats.importers.go_builder import GoBuilder
from asu_stats.importers.report import Rejected, Summary
from asu_stats.importers.sending import Sender
from asu_stats.logs import Condition
from asu_stats.loops import Loop
from asu_stats.settings import Settings
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import leases
from asu_stats.store.database.leases import Lease
from asu_stats.times import utc_now

log = logging.getLogger(__name__)

JOB: Final = "follow-go-builder"
_CHECK_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 60.0
_TURN_SECONDS: Final = 20.0
_PATIENCE_SECONDS: Final = 60.0


class Follower:
    """Imports new rows of a Go server's file while its context is open."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        path = settings.follow_go_builder
        assert path is not None  # noqa: S101 - the caller checks it
        self._path = path
        self._engine = engine
        self._rejected = Rejected(settings.spool_path / f"{path.name}.rejected.ndjson")
        self._summary = Summary()
        self._history = GoBuilder(
            path,
            self._summary,
            self._rejected,
            lambda: Acceptable(utc_now(), settings.oldest_event),
        )
        self._sources: set[str] = set()  # already checked
        self._holder = new_id()
        self._lease: Lease | None = None
        self._turn_at = 0.0
        self._refused = False
        self._error: str | None = None
        self._stopping = threading.Event()
        self._readable = Condition(log, JOB)
        self._loop = Loop(
            JOB, self.read, seconds=_CHECK_SECONDS, sound=Condition(log, JOB), at_once=True
        )

    def __enter__(self) -> Self:
        self._rejected.__enter__()
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._loop.join()
        try:
            self._end_turn()
        except StoreUnavailableError as error:
            log.debug("%s: %s", JOB, error)  # the lease expires by itself
        self._rejected.__exit__(None, None, None)

    def problems(self) -> list[str]:
        """Return the reason if the file cannot be followed, without its directory; else nothing."""
        error = self._error
        return [] if error is None else [f"{JOB}: {self._path.name}: the log has the reason"]

    def read(self) -> None:
        """Import new rows if this server holds the lease."""
        if not self._is_ours() or self._refused:
            return
        history, rows = copy.copy(self._history), self._summary.rows
        sender = Sender(self._commit, self._summary, self._refuse)
        try:
            history.read(sender, lambda _: self._check(), lambda _: None)
        except ForeignDataError as error:  # it is being replaced, or is locked
            self._summary.rows = rows
            self._refused = isinstance(error, OtherHistoryError)
            self._error = str(error)
            self._readable.failed(error)
        except LeaseLostError:
            self._summary.rows = rows  # these rows are read again
        except BaseException:
            self._summary.rows = rows
            raise
        else:
            self._history, self._error = history, None
            self._readable.works()

    def _is_ours(self) -> bool:
        """Tell whether this server holds the lease; take it if it is free."""
        now = time.monotonic()
        if self._lease is not None and now < self._turn_at:
            return True
        self._end_turn()
        leases.register(self._engine, JOB, "", leases.now(self._engine))
        if leases.is_due(self._engine, JOB):
            self._lease = leases.acquire(self._engine, JOB, self._holder, _LEASE_SECONDS)
            self._turn_at = now + _TURN_SECONDS
        return self._lease is not None

    def _end_turn(self) -> None:
        """Release the lease, with the result so far. Another server may take it."""
        lease, self._lease = self._lease, None
        if lease is not None:
            leases.release(
                lease,
                "failed" if self._error else "ok",
                result={"rows": self._summary.rows, "rejected": self._summary.rejected},
                error=self._error,
            )

    def _check(self) -> None:
        """Renew the lease. Raises `LeaseLostError` if another server took it, or this one stops."""
        assert self._lease is not None  # noqa: S101 - only its holder reads
        if self._stopping.is_set():
            self._lease.stop()
        elif time.monotonic() >= self._turn_at:
            leases.renew(self._lease)
            self._turn_at = time.monotonic() + _TURN_SECONDS
        self._lease.check()

    def _refuse(self, events: Sequence[Event]) -> None:
        """Raise `OtherHistoryError` for a first batch of a source that was imported before."""
        source = events[0].source
        if source not in self._sources:
            reimport.duplicate_check(self._engine, str(self._path))(events)
            self._sources.add(source)

    def _commit(self, events: Sequence[Event]) -> int:
        """Commit events, and wait while the database is busy."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self._check()
            try:
                return sum(apply_batch(self._engine, events).new)
            except StoreUnavailableError:
                if time.monotonic() > until or self._stopping.wait(_CHECK_SECONDS):
                    raise
