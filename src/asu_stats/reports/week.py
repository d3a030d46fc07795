"""Requests by hour of the week."""

from collections import Counter
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection, func, select
from typing_extensions import TypedDict

from asu_stats.reports.fields import Failed, Requests
from asu_stats.reports.parameters import PROFILE, TARGET, VERSION
from asu_stats.reports.report import Report
from asu_stats.store.rollups.definitions import HOURLY_PROFILES
from asu_stats.times import bounds
from asu_stats.windows import Window

WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class WeekHour(TypedDict):
    """One hour of the week (UTC), summed over all weeks of the time range."""

    weekday: Annotated[int, Field(description="1 is Monday, 7 is Sunday.")]
    hour: Annotated[int, Field(description="Hour of the day in UTC, from 0.")]
    requests: Requests
    failed_builds: Failed


def read(connection: Connection, window: Window, **filters: str) -> list[WeekHour]:
    """Return the 168 hours of the week, Monday first, summed over `window`. UTC.

    `filters` may name a version, a target and a profile.
    """
    t = HOURLY_PROFILES.table.c
    first, after = bounds(window.start, window.end)
    query = (
        select(t.hour, func.sum(t.request_count), func.sum(t.failure_count))
        .where(
            (t.hour >= first) & (t.hour < after), *(t[name] == filters[name] for name in filters)
        )
        .group_by(t.hour)
    )
    requests: Counter[tuple[int, int]] = Counter()
    failures: Counter[tuple[int, int]] = Counter()
    for hour, accepted, failed in connection.execute(query):
        requests[hour.isoweekday(), hour.hour] += int(accepted)
        failures[hour.isoweekday(), hour.hour] += int(failed)
    return [
        {
            "weekday": weekday,
            "hour": hour,
            "requests": requests[weekday, hour],
            "failed_builds": failures[weekday, hour],
        }
        for weekday in range(1, 8)
        for hour in range(24)
    ]


REPORT: Final = Report(
    name="timeseries/week",
    summary="Requests by hour of the week",
    days=lambda _: None,
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[WeekHour],
    parameters=(VERSION, TARGET, PROFILE),
    row=WeekHour,
    by_hour=True,
)
