"""How versions are taken up after their release, and how many requests are for old branches."""

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
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import VERSIONS
from asu_stats.windows import Window

Share = Annotated[
    float | None, Field(description="Percent of accepted requests, 2 decimals; null over nothing.")
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
    """How one version was taken up."""

    version: Version
    released_on: Annotated[
        Day | None,
        Field(
            description="From the file of the setting `release_days`, else from the table that "
            "comes with asu-stats, else for a release the UTC day of its first accepted request. "
            "Null for main, and for candidates and snapshots that are in neither."
        ),
    ]
    days_since_release: Annotated[
        int | None, Field(description="At the end of the time range; null: unknown.")
    ]
    end_of_life: Annotated[
        bool,
        Field(description="Of a branch older than the two newest that have a release by then."),
    ]
    requests: Requests
    share: Share
    share_by_day: Annotated[
        list[DayShare],
        Field(description="UTC days with data up to today, oldest first; at most the last 366."),
    ]


class Adoption(TypedDict):
    """`GET /api/v1/stats/insights/adoption`."""

    period: Period
    basis: Basis
    versions: Annotated[
        list[VersionAdoption], Field(description="By requests descending, then by release.")
    ]
    versions_total: Total
    supported_branches: Annotated[
        list[str],
        Field(description="The two newest branches that have a release, at the end of the range."),
    ]
    end_of_life_share: Share


METHOD: Final = (
    "Accepted requests of each version over all accepted requests of the day or time range; "
    "days since release from the release days known."
)


MOST_DAYS: Final = 366
_WELL_KNOWN: Final = 100  # a version in no list makes its branch known with 1 in so many requests


def read(connection: Connection, window: Window, page: Page, today: date) -> Adoption:
    """Return the versions asked for in a time range, with their shares."""
    asked = release_days.requested(connection, window)
    requests, everything = floor.fold(asked), sum(asked.values())
    ranked = figures.top(requests, len(requests), release_order)
    released = release_days.of_versions(connection, list(requests), window.end)
    supported = _supported(connection, requests, released, window.end)
    ended = [name for name in asked if release_days.is_end_of_life(name, supported)]
    shown = [version for version, _ in page.of(ranked)]
    by_day = _by_day(connection, window, today, requests) if shown else []
    totals = [sum(of_day.values()) for _, of_day in by_day]
    day_of = {at: at.isoformat() for at, _ in by_day}
    return {
        "period": sums.period(connection, window, []),
        "basis": {"builds": 0, "requests": everything, "method": METHOD, "enough": everything > 0},
        "versions": [
            {
                "version": version,
                "released_on": day.isoformat() if day else None,
                "days_since_release": _since(day, window.end),
                "end_of_life": version in ended,
                "requests": requests[version],
                "share": figures.rate(requests[version], everything),
                "share_by_day": [
                    {
                        "day": day_of[at],
                        "days_since_release": _since(day, at),
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
        "end_of_life_share": figures.rate(sum(asked[name] for name in ended), everything),
    }


def _since(released: date | None, day: date) -> int | None:
    return (day - released).days if released else None


def _supported(
    connection: Connection, requests: Mapping[str, int], released: Mapping[str, date], end: date
) -> set[str]:
    """Return the supported branches; a version in no list counts only if many ask for it."""
    least = sum(requests.values()) / _WELL_KNOWN
    found = {version: day for version, day in released.items() if requests[version] >= least}
    return release_days.supported_branches({**found, **release_days.published(connection)}, end)


def _by_day(
    connection: Connection, window: Window, today: date, requests: Mapping[str, int]
) -> list[tuple[date, Mapping[str, int]]]:
    """Return the requests of each day by version: of the days that have begun, and have data."""
    since = sums.first_day(connection) or window.start
    last = min(window.end, today)
    first = max(window.start, since, last - timedelta(days=MOST_DAYS - 1))
    if first > last:
        return []
    days = sums.cube_over_time(connection, Window(first, last), "day", VERSIONS)
    found: list[tuple[date, Mapping[str, int]]] = [
        (day.start, totals.counts(0)) for _, day, totals in days
    ]
    if not floor.least():
        return found
    return [(day, _named(asked, requests)) for day, asked in found]


def _named(asked: Mapping[str, int], shown: Collection[str]) -> dict[str, int]:
    """Return the requests of a day by version, those of versions that are not shown as `other`."""
    found = {version: asked.get(version, 0) for version in shown if version != floor.OTHER}
    return {**found, floor.OTHER: sum(asked.values()) - sum(found.values())}


REPORT: Final = Report(
    name="insights/adoption",
    summary="How versions are taken up after their release",
    read=lambda connection, query: read(connection, query.window, query.page, query.today),
    response=Adoption,
    nested=True,
    example={"limit": "2", "days": "3"},
)
