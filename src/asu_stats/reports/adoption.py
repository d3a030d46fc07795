"""Share of each version in the requests over time."""

from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.releases import release_order
from asu_stats.reports import figures, floor, sums
from asu_stats.reports.fields import Requests
from asu_stats.reports.marks import Named
from asu_stats.reports.parameters import DAYS_INTERVAL
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import VERSIONS
from asu_stats.windows import Interval, Window


class VersionBucket(TypedDict):
    """Requests for one version in one bucket of time."""

    timestamp: Annotated[str, Field(description="Day, Monday of the week, or month 2024-01.")]
    version: Annotated[
        str | None,
        Named("version"),
        Field(description="The eight with most requests; null for all others together."),
    ]
    requests: Requests
    percentage: Annotated[float | None, Field(description="Of all requests of the bucket.")]


SHOWN: Final = 8


def read(connection: Connection, window: Window, *, interval: Interval) -> list[VersionBucket]:
    """Return the requests of each bucket for the versions with most requests in `window`.

    Every bucket has a row for each of them. All other versions share one row without a version, if
    there are any.
    """
    (totals,) = sums.cubes(connection, window, VERSIONS)
    requests = {version: row[0] for (version,), row in totals.rows() if row[0]}
    visible = {version: n for version, n in requests.items() if n >= floor.min_requests()}
    shown = [version for version, _ in figures.top(visible, SHOWN, release_order)]
    found: list[VersionBucket] = []
    for stamp, _, cube in sums.cube_over_time(connection, window, interval, VERSIONS):
        in_bucket = {version: row[0] for (version,), row in cube.rows()}
        total = sum(in_bucket.values())
        rows: list[tuple[str | None, int]] = [(v, in_bucket.get(v, 0)) for v in shown]
        if len(requests) > len(shown):
            rows.append((None, total - sum(n for _, n in rows)))
        found += [
            {
                "timestamp": stamp,
                "version": version,
                "requests": n,
                "percentage": figures.rate(n, total),
            }
            for version, n in rows
        ]
    return found


def _send(connection: Connection, query: Query) -> None:
    sums.send_cubes(connection, query.window, VERSIONS)
    sums.send_cubes(connection, query.window, VERSIONS, interval=query.filters["interval"])


REPORT: Final = Report(
    name="versions/timeseries",
    summary="Share of versions over time",
    send=_send,
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[VersionBucket],
    parameters=(DAYS_INTERVAL,),
    row=VersionBucket,
    example={"days": "2"},
)
