"""A job as data: name, schedule and function."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, cast

from apscheduler.triggers.cron import CronTrigger

from asu_stats.exceptions import InvalidSettingError
from asu_stats.store.database.leases import Lease, Result
from asu_stats.times import aware, naive

_NUMBER: Final = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Schedule of a job: a crontab of five fields, in UTC, with days of the week by name."""

    crontab: str
    setting: str = field(default="schedule", compare=False)  # the setting that it is from

    def __post_init__(self) -> None:
        try:
            self.after(datetime(2000, 1, 1))  # noqa: DTZ001 - stored times have no zone
        except ValueError:
            expected = "expected a crontab of five fields, weekdays by name, such as 25 3 * * sun"
            raise InvalidSettingError(f"{self.setting}={self.crontab}: {expected}") from None

    def after(self, moment: datetime) -> datetime:
        """Return the first time after `moment`. Both are UTC without zone."""
        given = aware(moment)
        if any(map(_NUMBER.search, self.crontab.split()[4:])):
            raise ValueError("0 is Monday for APScheduler, and Sunday for cron")
        trigger = CronTrigger.from_crontab(self.crontab, timezone=UTC)
        found = trigger.get_next_fire_time(given, given)
        if found is None:
            raise ValueError("no such day exists")
        return naive(cast(datetime, found))


@dataclass(frozen=True, slots=True)
class Job:
    """Periodic work, done by one process at a time.

    `run` gets the lease. It calls `lease.check()` between its steps, and `lease.guard(connection)`
    in a transaction that must not be written twice. Its return value is shown as the result, so it
    must be JSON without secrets. After `lease_seconds` without renewal the process counts as dead;
    the lease is renewed while `run` runs.
    """

    name: str
    summary: str
    schedule: Schedule
    run: Callable[[Lease], Result]
    lease_seconds: float = 60.0
