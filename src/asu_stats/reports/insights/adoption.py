"""Adoption of versions after their release, and the share of requests for unsupported branches."""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.releases import release_order
from asu_stats.reports import figures, floor, release_days, sums
from asu_stats.reports.fields import Day, Period, Requests, Total, Version
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.listing import Page
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import VERSIONS
from asu_stats.windows import Window

Share = Annotated[
    float | None,
    Field(description="Percent of accepted requests, 2 decimals; null without requests."),
]


class DayShare(TypedDict):
    """The share of a version on one day."""

    day: Day
    days_since_release: Annotated[
        int | None,
        Field(description="0 on the day of the release, negative before; null: unknown."),
    ]
    share: Share


class VersionAdoption(TypedDict):
    """The adoption of one version."""

    version: Version
    released_on: Annotated[
        Day | None,
        Field(
            description="From the file in the setting `release_days`, else from the built-in "
            "table, else for a release the UTC day of its first accepted request. "
            "Null for main, and for candidates and snapshots that neither list contains."
        ),
    ]
    days_since_release: Annotated[
        int | None, Field(description="At the end of the time range; null: unknown.")
    ]
    end_of_life: Annotated[
        bool,
        Field(description="True if its branch is older than the two newest released branches."),
    ]
    requests: Requests
    share: Share
    share_by_day: Annotated[
        list[DayShare],
        Field(description="UTC days with data, oldest first; at most the last 366."),
    ]


class Adoption(TypedDict):
    """`GET /api/v1/stats/insights/adoption`."""

    period: Period
    basis: Basis
    versions: Annotated[
        list[VersionAdoption], Field(description="By requests descending, then by version order.")
    ]
    versions_total: Total
    supported_branches: Annotated[
        list[str],
        Field(description="The two newest released branches at the end of the time range."),
    ]
    end_of_life_share: Share


METHOD: Final = (
    "A share is the accepted requests of a version over all accepted requests of the day or time "
    "range. Days since release count from the known release days."
)


MAX_DAYS: Final = 366
_UNLISTED_ONE_IN: Final = 100  # an unlisted version needs 1 in 100 requests to define a branch


def read(connection: Connection, window: Window, page: Page, today: date) -> Adoption:
    """Return the requested versions of a time range, with their shares."""
    by_version = release_days.requested(connection, window)
    requests, total_requests = floor.fold(by_version), sum(by_version.values())
    ranked = figures.top(requests, len(requests), release_order)
    released = release_days.of_versions(connection, list(requests), window.end)
    supported = _supported(connection, requests, released, window.end)
    end_of_life = [name for name in by_version if release_days.is_end_of_life(name, supported)]
    shown = [version for version, _ in page.of(ranked)]
    by_day = _by_day(connection, window, today, requests) if shown else []
    totals = [sum(of_day.values()) for _, of_day in by_day]
    day_of = {at: at.isoformat() for at, _ in by_day}
    return {
        "period": sums.period(connection, window, []),
        "basis": {
            "builds": 0,
            "requests": total_requests,
            "method": METHOD,
            "enough": total_requests > 0,
        },
        "versions": [
            {
                "version": version,
                "released_on": day.isoformat() if day else None,
                "days_since_release": _days_since(day, window.end),
                "end_of_life": version in end_of_life,
                "requests": requests[version],
                "share": figures.rate(requests[version], total_requests),
                "share_by_day": [
                    {
                        "day": day_of[at],
                        "days_since_release": _days_since(day, at),
                        "share": figures.rate(of_day.get(version, 0), total),
                    }
                    for (at, of_day), total in zip(by_day, totals, strict=True)
                ],
            }
            for version in shown
            for day in (released.get(version),)
        ],
        "versions_total": len(ranked),
        "supported_branches": sorted(supported, key=release_order) if requests else [],
        "end_of_life_share": figures.rate(
            sum(by_version[name] for name in end_of_life), total_requests
        ),
    }


def _days_since(released: date | None, day: date) -> int | None:
    return (day - released).days if released else None


def _supported(
    connection: Connection, requests: Mapping[str, int], released: Mapping[str, date], end: date
) -> set[str]:
    """Return the supported branches; an unlisted version counts only with enough requests."""
    threshold = sum(requests.values()) / _UNLISTED_ONE_IN
    found = {version: day for version, day in released.items() if requests[version] >= threshold}
    return release_days.supported_branches({**found, **release_days.published(connection)}, end)


def _shown_days(connection: Connection, window: Window, today: date) -> Window | None:
    since = sums.first_day(connection) or window.start
    last = min(window.end, today)
    first = max(window.start, since, last - timedelta(days=MAX_DAYS - 1))
    return Window(first, last) if first <= last else None


def _by_day(
    connection: Connection, window: Window, today: date, requests: Mapping[str, int]
) -> list[tuple[date, Mapping[str, int]]]:
    """Return the requests per version of each day with data, up to today."""
    if (shown := _shown_days(connection, window, today)) is None:
        return []
    days = sums.cube_over_time(connection, shown, "day", VERSIONS)
    found: list[tuple[date, Mapping[str, int]]] = [
        (day.start, totals.counts(0)) for _, day, totals in days
    ]
    if not floor.min_requests():
        return found
    return [(day, _folded(counts, requests)) for day, counts in found]


def _folded(counts: Mapping[str, int], shown: Collection[str]) -> dict[str, int]:
    """Return the requests of a day by version; versions that are not shown become `other`."""
    found = {version: counts.get(version, 0) for version in shown if version != floor.OTHER}
    return {**found, floor.OTHER: sum(counts.values()) - sum(found.values())}


def _send(connection: Connection, query: Query) -> None:
    release_days.send(connection, query.window)
    if shown := _shown_days(connection, query.window, query.today):
        sums.send_cubes(connection, shown, VERSIONS, interval="day")


REPORT: Final = Report(
    name="insights/adoption",
    summary="Adoption of versions after their release",
    send=_send,
    read=lambda connection, query: read(connection, query.window, query.page, query.today),
    response=Adoption,
    nested=True,
    example={"limit": "2", "days": "3"},
)
