"""The queue in the database: requests, waiting and running builds, results.

Every decision that can change something is one write transaction. Transactions that let requests
join a build and those that end one exclude each other, so a joined request was received before the
end of its build and is counted with it. SQLite has one writer at a time; PostgreSQL takes an
advisory lock.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy import Connection, Engine, delete, insert

from asu_stats.builds import emitted_events
from asu_stats.builds import statements as sql
from asu_stats.builds.images import ImageStore
from asu_stats.builds.jobs import (
    STOPPED_TEXT,
    Ending,
    Job,
    State,
    Submission,
    request_row,
)
from asu_stats.builds.outbox import Outbox
from asu_stats.builds.requests import BuildRequest, knows_all_phases
from asu_stats.builds.schema import (
    BUILDING,
    FAILED,
    PENDING,
    build_jobs,
    build_results,
)
from asu_stats.events import Outcome, new_id
from asu_stats.settings import Settings
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.statements import write
from asu_stats.times import naive, utc_now

Clock: TypeAlias = Callable[[], datetime]


class BuildQueue:
    """Requests in, builds out. Raises `StoreUnavailableError` when the database is unreachable."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        outbox: Outbox,
        images: ImageStore,
        *,
        clock: Clock = utc_now,
        waited: Callable[[float], object] | None = None,
    ) -> None:
        """Call `waited` with the seconds that each claimed build was in the queue."""
        self._waited = waited or (lambda _: None)
        self._engine = engine
        self._settings = settings
        self._outbox = outbox
        self._images = images
        self._clock = clock
        self._source = settings.event_source

    # Requests ---------------------------------------------------------------------------------

    def submit(self, request: BuildRequest, *, client: str, received: datetime) -> Submission:
        """Decide the outcome of a valid request, and queue a build if needed.

        The event of a request that changes the queue is committed with the change. The caller
        records the event of any other request.
        """
        request_hash = request.request_hash
        if (ended := self.find(request_hash)) and ended.status not in {PENDING, BUILDING}:
            return Submission(_outcome_of(ended), ended, 0)  # an ended build stays ended: no lock
        with self._outbox.change(alone=True) as change:
            connection = change.connection
            known = self._state(connection, request_hash)
            waiting = sql.count_waiting(connection)
            if known:
                if not (known.coarse_phases or knows_all_phases(client)):
                    write(connection, sql.set_coarse_phases(request_hash))
                    known = replace(known, coarse_phases=True)
                return Submission(_outcome_of(known), known, waiting)
            if waiting > self._settings.max_pending_jobs:
                return Submission("rejected", None, waiting)
            _store_request(connection, request, client=client, received=received)
            _enqueue(connection, request_hash, received)
            change.events.append(
                emitted_events.request_received(
                    self._source, request, client=client, received=received, outcome="queued"
                )
            )
            return Submission("queued", self._state(connection, request_hash), waiting + 1)

    def find(self, request_hash: str) -> State | None:
        """Return the state of a request hash, `None` if it is unknown or expired."""
        with read_snapshot(self._engine) as connection:
            return self._state(connection, request_hash)

    def length(self) -> int:
        """Return how many builds wait for a worker."""
        with read_snapshot(self._engine) as connection:
            return sql.count_waiting(connection)

    def _state(self, connection: Connection, request_hash: str) -> State | None:
        row = sql.newest_job(connection, request_hash)
        state = sql.state_of(row) if row else None
        return state if state and self._is_current(state) else None

    def _is_current(self, state: State) -> bool:
        """Return whether a job is waiting, running, or its result is still remembered."""
        if state.status in {PENDING, BUILDING}:
            return True
        now = naive(self._clock())
        if state.status == FAILED:
            remembered = timedelta(seconds=self._settings.build_failure_seconds)
            return state.finished_at is not None and state.finished_at + remembered > now
        if state.answer is None or state.build_at is None:
            return False
        return state.build_at + self._time_to_live(state.request) > now and self._images.holds(
            state.request_hash, json.loads(state.images or "[]")
        )

    def _time_to_live(self, request: BuildRequest) -> timedelta:
        settings = self._settings
        if request.defaults:
            return timedelta(seconds=settings.build_defaults_ttl_seconds)
        if request.is_moving:
            return timedelta(seconds=settings.moving_ttl_seconds)
        return timedelta(seconds=settings.build_ttl_seconds)

    # Builds -----------------------------------------------------------------------------------

    def claim(self, worker_id: str) -> Job | None:
        """Claim the oldest waiting build for a worker; `None` if none is waiting."""
        if self._engine.dialect.name == "sqlite" and not self.length():
            return None  # a worker that looks for builds does not hold up writers
        with self._outbox.change() as change:
            row = sql.oldest_waiting(change.connection)
            if row is None:
                return None
            started = self._clock()
            job = sql.job_of(row, build_id=new_id(), worker_id=worker_id, started_at=started)
            write(change.connection, sql.claim(job))
            change.events.append(emitted_events.build_started(self._source, job))
        self._waited(max(0.0, (job.started_at - job.enqueued_at).total_seconds()))
        return job

    def progress(self, job: Job, phase: str) -> None:
        """Store the phase of a running build."""
        with self._outbox.change() as change:
            change.connection.execute(sql.set_phase(job, phase))

    def finish(
        self, job: Job, ending: Ending, *, publish: Callable[[], object] | None = None
    ) -> bool:
        """End a running build. Returns False, and changes nothing, if it has ended already.

        `publish` moves the images to their place; it runs inside the transaction.
        """
        with self._outbox.change(alone=True) as change:
            connection = change.connection
            finished = max(self._clock(), job.started_at)
            if connection.execute(sql.end(job, ending, finished)).rowcount == 0:
                return False
            if ending.status == "success":
                _store_result(connection, job, ending, finished)
            if publish:
                publish()
            change.events.append(
                emitted_events.build_finished(self._source, job, ending, finished=finished)
            )
            return True

    def requeue(self, job: Job) -> bool:
        """End a running build as cancelled and queue it again at its old position.

        For shutdowns. A shutdown is not a failure, so the requests for the build keep
        waiting. Returns False, and changes nothing, if it has ended already.
        """
        with self._outbox.change(alone=True) as change:
            connection = change.connection
            ending = Ending(status="cancelled", error_message=STOPPED_TEXT, detail="cancelled")
            finished = max(self._clock(), job.started_at)
            if connection.execute(sql.end(job, ending, finished)).rowcount == 0:
                return False
            _enqueue(connection, job.request_hash, job.enqueued_at)
            change.events.append(
                emitted_events.build_finished(self._source, job, ending, finished=finished)
            )
            return True

    def end_stale(self) -> list[Job]:
        """End the builds of workers without a recent heartbeat, and return these builds."""
        silence = self._settings.worker_timeout_seconds
        limit = naive(self._clock() - timedelta(seconds=silence))
        stale = sql.silent_since(limit)
        with read_snapshot(self._engine) as connection:
            if connection.execute(stale.limit(1)).first() is None:
                return []
        with self._outbox.change(alone=True) as change:
            connection = change.connection
            ended = []
            locked = stale.with_for_update(of=build_jobs)
            for job in map(sql.job_of, connection.execute(locked).mappings().all()):
                ending = _worker_lost(job, silence)
                finished = max(self._clock(), job.started_at)
                write(connection, sql.end(job, ending, finished))
                change.events.append(
                    emitted_events.build_finished(self._source, job, ending, finished=finished)
                )
                ended.append(job)
            return ended

    def correct_times(self) -> int:
        """Set times that a clock left in the future to now. Returns the number of rows.

        Otherwise, until that time, a build would wait behind all others, a lost worker would keep
        its build, and a result or failure would be remembered.
        """
        now = naive(self._clock())
        rows = 0
        with self._outbox.change(alone=True) as change:
            for statement in sql.future_times(now):
                rows += change.connection.execute(statement).rowcount
        return rows

    # Maintenance ------------------------------------------------------------------------------

    def expire(self, *, limit: int = 100) -> int:
        """Remove expired images, their scripts, and old logs.

        Returns how many requests lost their images, at most `limit`.
        """
        settings, now = self._settings, naive(self._clock())
        kept, kept_moving, kept_defaults, remembered = (
            now - timedelta(seconds=seconds)
            for seconds in (
                settings.build_ttl_seconds,
                settings.moving_ttl_seconds,
                settings.build_defaults_ttl_seconds,
                settings.build_failure_seconds,
            )
        )
        with self._outbox.change(alone=True) as change:
            connection = change.connection
            results = sql.expired_results(kept, kept_moving, kept_defaults, limit)
            hashes = list(connection.execute(results).scalars())
            failures = list(connection.execute(sql.expired_failures(remembered, limit)).scalars())
            for request_hash in hashes:
                self._images.retire(request_hash)
            for statement in (*sql.forget_results(hashes), *sql.forget_failures(failures)):
                connection.execute(statement)
        self._images.empty_trash()
        return len(hashes)

    def running(self) -> set[str]:
        """Return the `build_id` of every running build."""
        with read_snapshot(self._engine) as connection:
            return set(connection.execute(sql.running_builds()).scalars())


def _outcome_of(state: State) -> Outcome:
    """Return the outcome of a request whose hash is known."""
    if state.status in {PENDING, BUILDING}:
        return "joined"
    return "cached_failure" if state.status == FAILED else "cache_hit"


def _store_request(
    connection: Connection, request: BuildRequest, *, client: str, received: datetime
) -> None:
    """Store a request; for a known one, the first client and time stay."""
    row = request_row(request, request_hash=request.request_hash, client=client, received=received)
    for statement in sql.store_request(row):
        write(connection, statement)


def _enqueue(connection: Connection, request_hash: str, enqueued_at: datetime) -> None:
    row = {"request_hash": request_hash, "status": PENDING, "enqueued_at": naive(enqueued_at)}
    write(connection, insert(build_jobs).values(row).inline())


def _store_result(connection: Connection, job: Job, ending: Ending, finished: datetime) -> None:
    """Store the result of a build; it replaces an earlier one of the same hash."""
    row = sql.result_row(job, ending, finished)
    same = build_results.c.request_hash == job.request_hash
    write(connection, delete(build_results).where(same))
    write(connection, insert(build_results).values(row).inline())


def _worker_lost(job: Job, silence_seconds: int) -> Ending:
    return Ending(
        status="timeout",
        error_message=(
            f"Work-horse terminated unexpectedly; worker {job.worker_id} sent no heartbeat for "
            f"{silence_seconds} seconds"
        ),
        error_category="container",
        error_type="worker_lost",
        detail="Error: the worker that ran this build was lost",
    )
