"""A job, said as data: its name, when it is run, and the function that is handed in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from apscheduler.triggers.cron import CronTrigger

from asu_stats.exceptions import InvalidSettingError
from asu_stats.store.database.leases import Lease, Result
from asu_stats.times import aware, naive


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job is run: a crontab of five fields, in UTC; days of the week by name."""

    crontab: str
    setting: str = field(default="schedule", compare=False)  # where it was written

    def __post_init__(self) -> None:
        try:
            self.after(datetime(2000, 1, 1))  # noqa: DTZ001 - stored times have no zone
        except ValueError:
            expected = "expected a crontab of five fields, such as 25 3 * * sun"
            raise InvalidSettingError(f"{self.setting}={self.crontab}: {expected}") from None

    def after(self, moment: datetime) -> datetime:
        """Return the first time after `moment`; both are UTC without zone."""
        given = aware(moment)
        trigger = CronTrigger.from_crontab(self.crontab, timezone=UTC)
        found = trigger.get_next_fire_time(given, given)
        if found is None:
            raise ValueError("no such day exists")
        return naive(cast(datetime, found))


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done again and again, by one process at a time.

    `run` gets the lease: it calls `lease.check()` between its steps, and `lease.guard(connection)`
    in a transaction that must not be written twice. What it returns is shown as its result: JSON,
    and fit for everybody's eyes. After `lease_seconds` without a sign of life the process counts
    as dead; signs of life are given while `run` runs.
    """

    name: str
    summary: str
    schedule: Schedule
    run: Callable[[Lease], Result]
    lease_seconds: float = 60.0
