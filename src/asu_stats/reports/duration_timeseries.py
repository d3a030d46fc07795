"""Build durations over time."""

from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, sums
from asu_stats.reports.durations import of_version
from asu_stats.reports.fields import Average, Seconds
from asu_stats.reports.parameters import DAYS_INTERVAL, VERSION
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import SECONDS, VERSION_SECONDS
from asu_stats.windows import Interval, Window


class DurationBucket(TypedDict):
    """Durations of successful builds in one bucket of time."""

    timestamp: Annotated[str, Field(description="Day, Monday of the week, or month 2024-01.")]
    builds: Annotated[int, Field(description="Successful builds of known duration.")]
    avg_seconds: Average
    median_seconds: Seconds
    p95_seconds: Seconds


CUBES: Final = (SECONDS,)  # of all versions


def read(
    connection: Connection, window: Window, *, interval: Interval, version: str | None = None
) -> list[DurationBucket]:
    """Return the durations in each bucket, of one version or of all."""
    cube = SECONDS if version is None else VERSION_SECONDS
    found: list[DurationBucket] = []
    for stamp, _, totals in sums.cube_over_time(connection, window, interval, cube):
        durations = of_version(totals, version)
        found.append(
            {
                "timestamp": stamp,
                "builds": durations.count,
                "avg_seconds": figures.average(durations.total, durations.count),
                "median_seconds": durations.percentile(50),
                "p95_seconds": durations.percentile(95),
            }
        )
    return found


def _send(connection: Connection, query: Query) -> None:
    cube = VERSION_SECONDS if "version" in query.filters else SECONDS
    sums.send_cubes(connection, query.window, cube, interval=query.filters["interval"])


REPORT: Final = Report(
    name="performance/timeseries",
    summary="Build durations over time",
    send=_send,
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[DurationBucket],
    parameters=(VERSION, DAYS_INTERVAL),
    row=DurationBucket,
    example={"days": "2"},
)
