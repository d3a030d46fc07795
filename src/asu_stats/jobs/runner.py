"""Runs a job once, holding and renewing its lease, and stores the result."""

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine

from asu_stats.events import new_id
from asu_stats.exceptions import AsuStatsError, LeaseLostError
from asu_stats.jobs.job import Job
from asu_stats.logs import Condition
from asu_stats.loops import Loop
from asu_stats.store.database import leases
from asu_stats.store.database.leases import Lease, Result, Status

log = logging.getLogger(__name__)

_RENEWALS: Final = 4  # renewals within the time of a lease
_EVERY_MINUTE: Final = "* * * * *"
_AHEAD: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Run:
    status: Status
    result: Result | None = None
    error: str | None = None


@dataclass(slots=True)
class Runner:
    """Runs jobs in this process. `holder` identifies it for other processes."""

    engine: Engine
    jobs: Sequence[Job]
    holder: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{new_id()}")
    _running: set[Lease] = field(default_factory=set)
    _conditions: dict[str, Condition] = field(default_factory=dict)
    _stopped: bool = False

    def register(self) -> None:
        """Store the jobs and their schedules. Raises `StoreUnavailableError`."""
        now = leases.now(self.engine)
        for job in self.jobs:
            crontab = job.schedule.crontab
            leases.register(self.engine, job.name, crontab, job.schedule.after(now))

    def run_if_due(self, job: Job) -> Run | None:
        """Run a job if it is due and no other process runs it; otherwise return `None`."""
        if self._stopped:
            return None
        if not leases.is_due(self.engine, job.name):
            self._correct(job)
            return None
        return self._take_and_run(job, due=True)

    def _correct(self, job: Job) -> None:
        """Correct a next run that is later than the schedule allows, left by a clock ahead."""
        found = leases.next_run(self.engine, job.name)
        if found is None:
            return
        now, crontab, next_run_at = found
        # Another server may have another schedule, and a clock slightly ahead of this one.
        if crontab != job.schedule.crontab or next_run_at <= job.schedule.after(now + _AHEAD):
            return
        following = job.schedule.after(now)
        if leases.correct(self.engine, job.name, next_run_at, following):
            log.warning(
                "jobs: %s: next run was %sZ, later than the schedule allows; now %sZ: was a clock "
                "ahead?",
                *(job.name, next_run_at.isoformat(), following.isoformat()),
            )

    def run_now(self, job: Job) -> Run | None:
        """Run a job regardless of its schedule; `None` if another process is running it."""
        return self._take_and_run(job, due=False)

    def stop(self) -> None:
        """Stop running jobs at their next step; they stay due."""
        self._stopped = True
        for lease in list(self._running):
            lease.stop()

    def _take_and_run(self, job: Job, *, due: bool) -> Run | None:
        lease = leases.acquire(self.engine, job.name, self.holder, job.lease_seconds, due=due)
        if lease is None:
            return None
        self._running.add(lease)
        if self._stopped:
            lease.stop()
        began = time.monotonic()
        try:
            with _renewing(lease):
                run = _run(job, lease, self._condition(job))
            _log_run(job, run, time.monotonic() - began)
            following = job.schedule.after(leases.now(self.engine))
            leases.release(
                lease,
                run.status,
                next_run_at=None if run.status == "stopped" else following,
                result=run.result,
                error=run.error,
            )
        finally:
            self._running.discard(lease)
        return run

    def _condition(self, job: Job) -> Condition:
        return self._conditions.setdefault(job.name, Condition(log, f"jobs: job={job.name} failed"))


def _log_run(job: Job, run: Run, seconds: float) -> None:
    """Log a run; one of a job that runs every minute is a detail."""
    level = logging.DEBUG if job.schedule.crontab == _EVERY_MINUTE else logging.INFO
    log.log(level, "jobs: job=%s status=%s seconds=%.1f", job.name, run.status, seconds)


def _run(job: Job, lease: Lease, condition: Condition) -> Run:
    try:
        lease.check()
        result = job.run(lease)
    except LeaseLostError as error:
        log.info("%s", error)
        return Run("stopped", error=str(error))
    except AsuStatsError as error:
        condition.failed(error)
        return Run("failed", error=str(error))
    except Exception as error:
        words = f"unexpected error: {error}".partition("\n")[0].removesuffix(": ")
        condition.failed(words, level=logging.ERROR, exc_info=True)
        return Run("failed", error=words)
    condition.works()
    return Run("ok", result=result)


@contextmanager
def _renewing(lease: Lease) -> Iterator[None]:
    """Renew a lease from a separate thread while the block runs."""
    name, seconds = f"lease of {lease.name}", lease.seconds / _RENEWALS
    with Loop(name, lambda: leases.renew(lease), seconds=seconds):
        yield
