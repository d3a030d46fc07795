"""Requests with `diff_packages` (all packages are listed) and without (only extra packages are)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field
from sqlalchemy import Connection, Row
from typing_extensions import TypedDict

from asu_stats.releases import release_order
from asu_stats.reports import figures, floor, sums
from asu_stats.reports.fields import Day, KnownRate, Requests, Total, UnknownSplit, Version
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import TARGET, VERSION
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import VERSIONS
from asu_stats.store.blocks.totals import Ranked
from asu_stats.store.rollups.definitions import VERSION_TARGET
from asu_stats.windows import MAX_BUCKETS, Window


class DiffPackagesOverview(TypedDict):
    """Requests by `diff_packages`."""

    total_builds: Requests
    diff_packages_enabled: Annotated[int, Field(description="Requests with `diff_packages`.")]
    diff_packages_disabled: Annotated[int, Field(description="Requests without `diff_packages`.")]
    diff_packages_unknown: UnknownSplit
    percentage_enabled: KnownRate


class DiffPackagesVersion(TypedDict):
    """Requests for one version by `diff_packages`."""

    version: Version
    total: Requests
    enabled: Annotated[int, Field(description="Requests with `diff_packages`.")]
    disabled: Annotated[int, Field(description="Requests without `diff_packages`.")]
    unknown: UnknownSplit
    percentage_enabled: KnownRate


class DiffPackagesDay(TypedDict):
    """Requests of one day by `diff_packages`."""

    date: Day
    enabled: Annotated[int, Field(description="Requests with `diff_packages`.")]
    disabled: Annotated[int, Field(description="Requests without `diff_packages`.")]
    unknown: UnknownSplit
    percentage_enabled: KnownRate


class DiffPackagesReport(TypedDict):
    """`GET /api/v1/stats/diff-packages`."""

    overview: DiffPackagesOverview
    by_version: list[DiffPackagesVersion]
    by_version_total: Total
    trend: list[DiffPackagesDay]


_DAY = ("total_requests", "diff_packages_true", "diff_packages_false")
_VERSION = ("request_count", "diff_packages_true", "diff_packages_false")
_PLACES = [VERSIONS.place(add) for add in _VERSION]


class Columns(NamedTuple):
    """Accepted requests, with and without `diff_packages`: one value per day or version."""

    total: Sequence[int]
    enabled: Sequence[int]
    disabled: Sequence[int]


class Split(NamedTuple):
    """Accepted requests by `diff_packages`, which some imported requests do not state."""

    total: int
    enabled: int
    disabled: int
    unknown: int
    percentage: float | None  # enabled, of enabled and disabled


def read(
    connection: Connection, window: Window, page: Page = ALL, **filters: str
) -> DiffPackagesReport:
    """Return the requests by `diff_packages`: in total, per version and per day.

    `page` selects versions; `filters` may name a version and a target. Time ranges of more than
    10,000 days leave out days without data.
    """
    days, of_days = _days(connection, window, filters)
    ranked, places = _versions(connection, window, filters)
    first, after, _ = page.places.indices(len(ranked))
    added = ranked.columns(first, after)
    of_versions = Columns._make(added[place] for place in places)
    (everything,) = _splits(Columns._make([sum(column)] for column in of_days))
    return {
        "overview": {
            "total_builds": everything.total,
            "diff_packages_enabled": everything.enabled,
            "diff_packages_disabled": everything.disabled,
            "diff_packages_unknown": everything.unknown,
            "percentage_enabled": everything.percentage,
        },
        "by_version": [
            {
                "version": version,
                "total": split.total,
                "enabled": split.enabled,
                "disabled": split.disabled,
                "unknown": split.unknown,
                "percentage_enabled": split.percentage,
            }
            for version, split in zip(ranked.names(first, after), _splits(of_versions), strict=True)
        ],
        "by_version_total": len(ranked),
        "trend": [
            {
                "date": day,
                "enabled": split.enabled,
                "disabled": split.disabled,
                "unknown": split.unknown,
                "percentage_enabled": split.percentage,
            }
            for day, split in zip(days, _splits(of_days), strict=True)
        ],
    }


def _versions(
    connection: Connection, window: Window, filters: Mapping[str, str]
) -> tuple[Ranked, Sequence[int]]:
    """Return the versions with their sums, and which of these are `_VERSION`."""
    if not filters:
        (by_version,) = sums.cubes(connection, window, VERSIONS)
        return floor.fold_ranked(by_version.ranked_rows())[0], _PLACES
    rows = sums.rows(connection, VERSION_TARGET, ("version",), window, filters)
    found = sorted(rows, key=lambda row: release_order(row.version))
    ranked = Ranked.of([(row.version, _amounts(row)) for row in found], len(_VERSION))
    return floor.fold_ranked(ranked)[0], range(len(_VERSION))


def _amounts(row: Row[Any]) -> list[int]:
    return [int(getattr(row, add)) for add in _VERSION]


def _days(
    connection: Connection, window: Window, filters: Mapping[str, str]
) -> tuple[list[str], Columns]:
    """Return the days to show, and the sums of each."""
    if filters:
        rows_of = sums.rows(connection, VERSION_TARGET, ("date",), window, filters)
        found = {row.date: _amounts(row) for row in rows_of}
    else:
        found = {day: amounts for day, *amounts in sums.days(connection, window, *_DAY)}
    shown = list(window) if window.days <= MAX_BUCKETS else sorted(found)
    nothing = [0] * len(_DAY)
    rows = [found.get(day, nothing) for day in shown]
    columns = Columns._make(zip(*rows, strict=True)) if rows else Columns([], [], [])
    return [day.isoformat() for day in shown], columns


def _splits(columns: Columns) -> Iterator[Split]:
    total, enabled, disabled = columns
    known = [e + d for e, d in zip(enabled, disabled, strict=True)]
    unknown = [t - k for t, k in zip(total, known, strict=True)]
    percentages = figures.rates(enabled, known)
    return map(Split._make, zip(total, enabled, disabled, unknown, percentages, strict=True))


def _send(connection: Connection, query: Query) -> None:
    if not query.filters:
        sums.send_days(connection, query.window, *_DAY)
        sums.send_cubes(connection, query.window, VERSIONS)
        return
    for by in ("version", "date"):
        sums.send_rows(connection, VERSION_TARGET, (by,), query.window, query.filters)


REPORT: Final = Report(
    name="diff-packages",
    summary="Requests by diff_packages",
    send=_send,
    read=lambda connection, query: read(connection, query.window, query.page, **query.filters),
    response=DiffPackagesReport,
    parameters=(VERSION, TARGET),
    row=DiffPackagesDay,
    member="trend",
    nested=True,
    example={"days": "2"},
)
