"""Imports new rows of a Go server's SQLite file continuously (setting `follow_go_builder`).

It does the same as `asu-stats import go-builder PATH --follow`: events do not change the counters
of `/metrics` and are not written to `build_stats`. A lease ensures that only one of several servers
imports. Each server starts at the first row; rows that are already stored change nothing.
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
from asu_stats.store.database.partitions import Preparation
from asu_stats.times import naive, utc_now, utc_today

log = logging.getLogger(__name__)

JOB: Final = "follow-go-builder"
_CHECK_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 60.0
_RENEW_SECONDS: Final = 20.0
_MAX_BUSY_SECONDS: Final = 60.0


class Follower:
    """Imports new rows in a thread while its context is open."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        path = settings.follow_go_builder
        assert path is not None  # noqa: S101 - the caller checks it
        self._path = path
        self._engine = engine
        self._preparation = Preparation(engine, utc_today)
        self._rejected = Rejected(settings.spool_path / f"{path.name}.rejected.ndjson")
        self._summary = Summary()
        self._history = GoBuilder(
            path,
            self._summary,
            self._rejected,
            lambda: Acceptable(utc_now(), settings.oldest_event),
        )
        self._checked_sources: set[str] = set()
        self._holder = new_id()
        self._lease: Lease | None = None
        self._renew_at = 0.0
        self._is_refused = False
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
            self._release()
        except StoreUnavailableError as error:
            log.debug("%s: %s", JOB, error)  # the lease expires by itself
        self._rejected.__exit__(None, None, None)

    def problems(self) -> list[str]:
        """Return a message if the file cannot be read, for `/readyz`.

        It contains neither the directory nor the reason, because `/readyz` is public.
        """
        if self._error is None:
            return []
        return [f"{JOB}: {self._path.name}: cannot be read; see the log"]

    def read(self) -> None:
        """Import new rows if this server holds the lease."""
        if not self._has_lease() or self._is_refused:
            return
        history, rows = copy.copy(self._history), self._summary.rows
        sender = Sender(self._commit, self._summary, self._check_source)
        try:
            history.read(sender, lambda _: self._check(), lambda _: None)
        except ForeignDataError as error:  # for example while the file is replaced or locked
            self._summary.rows = rows
            self._is_refused = isinstance(error, OtherHistoryError)
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

    def _has_lease(self) -> bool:
        """Return whether this server holds the lease; acquire it if it is free."""
        now = time.monotonic()
        if self._lease is not None and now < self._renew_at:
            return True
        self._release()
        leases.register(self._engine, JOB, "", leases.now(self._engine))
        if leases.is_due(self._engine, JOB):
            self._lease = leases.acquire(self._engine, JOB, self._holder, _LEASE_SECONDS)
            self._renew_at = now + _RENEW_SECONDS
        return self._lease is not None

    def _release(self) -> None:
        """Release the lease with the result so far, so that another server can acquire it."""
        lease, self._lease = self._lease, None
        if lease is not None:
            leases.release(
                lease,
                "failed" if self._error else "ok",
                result={"rows": self._summary.rows, "rejected": self._summary.rejected},
                error=self._error,
            )

    def _check(self) -> None:
        """Renew the lease in time.

        Raises `LeaseLostError` if another server acquired it, or if this server is stopping.
        """
        assert self._lease is not None  # noqa: S101 - only its holder reads
        if self._stopping.is_set():
            self._lease.stop()
        elif time.monotonic() >= self._renew_at:
            leases.renew(self._lease)
            self._renew_at = time.monotonic() + _RENEW_SECONDS
        self._lease.check()

    def _check_source(self, events: Sequence[Event]) -> None:
        """Raise `OtherHistoryError` if the events are already stored under another source."""
        source = events[0].source
        if source not in self._checked_sources:
            reimport.duplicate_check(self._engine, str(self._path))(events)
            self._checked_sources.add(source)

    def _commit(self, events: Sequence[Event]) -> int:
        """Commit events, retrying for up to a minute while the database is unavailable."""
        self._preparation.before(naive(min(event.time for event in events)).date())
        until = time.monotonic() + _MAX_BUSY_SECONDS
        while True:
            self._check()
            try:
                return sum(apply_batch(self._engine, events).new)
            except StoreUnavailableError:
                if time.monotonic() > until or self._stopping.wait(_CHECK_SECONDS):
                    raise
