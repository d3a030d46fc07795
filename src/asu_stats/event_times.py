"""Limits for the time of an event: not too old, not in the future (docs/reference/events.md)."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from asu_stats.exceptions import EventFarAheadError, EventTooEarlyError, InvalidEventError
from asu_stats.times import aware, midnight

OLDEST_EVENT: Final = date(2004, 1, 1)  # before the first release of OpenWrt
MAX_FUTURE: Final = timedelta(minutes=5)
MAX_AHEAD: Final = timedelta(hours=24)
MAX_WAIT_SECONDS: Final = 3_600


def format_time(instant: datetime) -> str:
    """Return `instant` as RFC 3339 in UTC with `Z`."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Acceptable:
    """The times that are accepted at `now`: from the UTC day `oldest` to five minutes ahead."""

    now: datetime
    oldest: date = OLDEST_EVENT

    def check(self, moment: datetime) -> None:
        """Raise `InvalidEventError` for a time before `oldest`, or more than 24 hours ahead."""
        if moment < aware(midnight(self.oldest)):
            problem = f"expected {self.oldest} or later (oldest_event), got {format_time(moment)}"
            raise InvalidEventError("time", problem)
        if moment - self.now > MAX_AHEAD:
            raise EventFarAheadError(
                "time",
                f"{format_time(moment)} is more than 24 hours in the future; "
                f"this server's time is {format_time(self.now)}",
            )

    def check_ahead(self, moment: datetime) -> None:
        """Raise `EventTooEarlyError` for a time that is more than five minutes in the future."""
        ahead = moment - self.now - MAX_FUTURE
        if ahead > timedelta():
            wait = min(MAX_WAIT_SECONDS, math.ceil(ahead.total_seconds()))
            problem = (
                f"{format_time(moment)} is more than 5 minutes in the future; this server's time "
                f"is {format_time(self.now)}. Send the same again in {wait} seconds"
            )
            raise EventTooEarlyError(problem, wait)
