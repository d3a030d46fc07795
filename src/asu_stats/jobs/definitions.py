"""The jobs for queue samples, retention and verification."""

import logging
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Engine

from asu_stats.exceptions import MissingArchiveError
from asu_stats.jobs.job import Job, Schedule
from asu_stats.store.archive import retention
from asu_stats.store.archive.archive import DETAILS
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory, Report
from asu_stats.store.database import changes, leases, partitions
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.database.leases import Lease, Result
from asu_stats.store.details import queue_samples
from asu_stats.store.details.queue_samples import QueueState
from asu_stats.store.verification import verify
from asu_stats.store.verification.boundaries import RetainedRange

log = logging.getLogger(__name__)

EVERY_MINUTE: Final = Schedule("* * * * *")
_MAX_LOGGED: Final = 5  # maximum number of differences that a run logs
_CYCLE_DAYS: Final = 28  # days in which every day is verified once, even without a change


def queue_sampling(engine: Engine, state: Callable[[], QueueState], keep_days: int) -> Job:
    """Return the job that samples the queue every minute."""

    def run(lease: Lease) -> Result:
        now, queue = leases.now(engine), state()
        with write_transaction(engine) as connection:
            lease.guard(connection)
            oldest, newest = now - timedelta(days=keep_days), now + timedelta(minutes=5)
            queue_samples.forget(connection, oldest, newest)
            sample = queue_samples.store(connection, now, queue)
        return {"queue_length": sample.queue_length, "builds_running": sample.builds_running}

    return Job("queue", "Sample the queue length", EVERY_MINUTE, run)


def retention_of(
    engine: Engine,
    schedule: Schedule,
    policy: Policy,
    archive_directory: ArchiveDirectory | None,
    today: Callable[[], date],
    *,
    force: bool = False,
) -> Job:
    """Return the job that archives expired details and deletes expired hourly figures.

    Without `force` it fails if nothing confirms that `today` is right.
    """

    def run(lease: Lease) -> Result:
        partitions.prepare(engine, today())
        if not force:
            last = leases.last_success(engine, lease.name)
            if not retention.is_needed(engine, today(), last and last.date()):
                return Report(dict.fromkeys((table.name for table in DETAILS), 0)).as_dict()
        report = retention.run(
            engine, policy, today(), archive_directory=archive_directory, guard=lease.guard
        )
        return report.as_dict()

    return Job("retention", "Archive expired details", schedule, run)


def verification(
    engine: Engine,
    schedule: Schedule,
    today: Callable[[], date],
    *,
    kept: Callable[[], RetainedRange] | None = None,
) -> Job:
    """Return the job that compares the rollups of closed days with their details.

    With `kept` it also finds hourly figures that should exist but are missing.

    It checks the days that changed since its last run, and every day once in
    four weeks.
    """

    def run(lease: Lease) -> Result:
        counted, changed = changes.since(
            engine, leases.last_result(engine, "verify").get("as_of", 0)
        )
        days = sorted(set(_closed(changed, today())) | set(_due_days(engine, today())))
        found = unreadable = 0
        for day in days:
            lease.check()
            try:
                for difference in verify.of_day(engine, day):
                    found += 1
                    if found <= _MAX_LOGGED:
                        log.error("rollups: %s; `asu-stats rollups rebuild` repairs it", difference)
            except MissingArchiveError as error:
                unreadable += 1
                if unreadable == 1:
                    log.warning("rollups: day=%s not verified: %s", day, error)
        for difference in verify.of_boundaries(engine, kept()) if kept else ():
            found += 1
            log.error(
                "rollups: %s; `asu-stats rollups rebuild` restores the hourly figures", difference
            )
        if found > _MAX_LOGGED:
            log.error("rollups: differences=%d, see `asu-stats rollups verify`", found)
        return {
            "days": len(days),
            "differences": found,
            "days_unreadable": unreadable,
            "as_of": counted,
        }

    return Job("verify", "Compare the rollups of closed days with their details", schedule, run)


def _closed(days: Iterable[date], today: date) -> list[date]:
    return [day for day in days if day < today]


def _due_days(engine: Engine, today: date) -> list[date]:
    """Return the closed days that are verified today even without a change."""
    place = today.toordinal() % _CYCLE_DAYS
    days = (day for day in verify.days(engine) if day.toordinal() % _CYCLE_DAYS == place)
    return _closed(days, today)
