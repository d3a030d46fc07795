"""Regressions: since when the success rate or the build time of a group of builds is worse.

The search finds, in every group of builds, the stretch of days that differs most from the days
before it. The most significant stretch is listed, its builds are excluded from all groups, and the
search repeats. So a broken target is one row: not a row of all builds, and not one per profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.events import UNKNOWN
from asu_stats.reports import floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.durations import all_durations
from asu_stats.reports.fields import Day, Period, Total
from asu_stats.reports.insights import build_memory, change_points, failure_rows
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.build_days import BuildDays
from asu_stats.reports.insights.build_groups import ALL as ALL_BUILDS
from asu_stats.reports.insights.build_groups import DIMENSIONS, Dimension, Group
from asu_stats.reports.insights.build_memory import (
    ENDED,
    FAILED,
    TIMED,
    Memory,
    Totals,
    remembered,
)
from asu_stats.reports.insights.change_points import Stretch
from asu_stats.reports.insights.regression_searches import (
    DurationSearch,
    Measure,
    P,
    RateSearch,
    Search,
)
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.marks import IDENTIFYING, Named
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks import cubes
from asu_stats.store.blocks.columns import Mask
from asu_stats.windows import FIRST_DAY, Window


class Regression(TypedDict):
    """A stretch of days on which a group of builds was worse than before."""

    measure: Annotated[Measure, Field(description="The figure that got worse.")]
    dimension: Annotated[Dimension, Field(description="Dimension of the group of builds.")]
    value: Annotated[
        str,
        Named(by="dimension"),
        Field(description="Name of the group: version and target with a space; `all`: all builds."),
    ]
    version: Annotated[
        str | None, Named("version"), Field(description="Null unless it is part of the dimension.")
    ]
    target: Annotated[
        str | None, Named("target"), Field(description="Null unless it is part of the dimension.")
    ]
    since: Annotated[Day, Field(description="First day of the change.")]
    before: Annotated[
        float | None, Field(description="On the days before it: percent, or average seconds.")
    ]
    after: Annotated[float | None, Field(description="The same during the change.")]
    builds: Annotated[int, Field(description="Builds that `after` covers.")]
    p_value: Annotated[float, Field(description="Of Fisher's test, times the number of tests.")]
    fingerprint: Annotated[
        str | None,
        IDENTIFYING,
        Field(description="Fingerprint of most of the added failures; null if there is none."),
    ]
    recovered_on: Annotated[
        Day | None, Field(description="First day at the former level; null while it lasts.")
    ]


class Regressions(TypedDict):
    """`GET /api/v1/stats/insights/regressions`."""

    period: Period
    basis: Basis
    regressions: Annotated[Sequence[Regression], Field(description="Newest first.")]
    regressions_total: Total


_METHOD: Final = (
    "For each group, the stretch of days with the highest likelihood ratio against the days before "
    "it. Its p-value is below 0.01 in Fisher's exact test after Bonferroni's correction for all "
    "stretches, groups and measures. The test compares failed builds, where each request counts "
    "once, or builds slower than the median or a higher percentile."
)
_NAMED: Final[tuple[Literal["version", "target"], ...]] = ("version", "target")
_REFERENCE: Final = timedelta(days=28)  # days before the time range that are searched too
_MAX_DAYS: Final = 400
_MAX_ROWS: Final = 50
_MIN_BUILDS: Final = 20  # in total


@covers(Regressions)
def read(connection: Connection, window: Window, page: Page = ALL) -> Regressions:
    """Return the regressions that start in `window`."""
    basis = failure_rows.basis(connection, window, _METHOD, found=0)
    searched = _searched(connection, window)
    found: list[Regression] = []
    if searched:
        with remembered(connection, searched, _may_change) as memory:
            basis["enough"] = bool(basis["builds"]) and _is_enough(memory)
            if basis["enough"]:
                if memory.regressions is None:
                    memory.regressions = _found(connection, memory)
                found = [*memory.regressions]
        names = floor.Visible(connection, window)
        found = [_shown(row, names) for row in found]
    else:
        basis["enough"] = False
    found = [row for row in found if row["since"] >= window.start.isoformat()]
    found.sort(key=lambda row: (row["p_value"], DIMENSIONS.index(row["dimension"]), row["value"]))
    found.sort(key=lambda row: row["since"], reverse=True)
    incomplete = [f"regressions: only the last {_MAX_DAYS} days are searched"]
    return {
        "period": sums.period(connection, window, incomplete if window.days > _MAX_DAYS else []),
        "basis": basis,
        "regressions": page.of(found),
        "regressions_total": len(found),
    }


def _found(connection: Connection, memory: Memory) -> list[Regression]:
    (durations,) = sums.cubes(connection, memory.window, cubes.SECONDS)
    variation = all_durations(durations).variation or 1.0
    slower = _regressions(DurationSearch(BuildDays(memory), variation))
    return slower + _regressions(RateSearch(BuildDays(memory)))


def _shown(row: Regression, names: floor.Visible) -> Regression:
    """Return the row; a version with a target is `other` if one of them is below the floor."""
    parts = (names.shown(kind, row[kind] or UNKNOWN) for kind in _NAMED)
    hidden = row["dimension"] == "version_target" and floor.OTHER in parts
    return {**row, "value": floor.OTHER} if hidden else row


def _searched(connection: Connection, window: Window) -> Window | None:
    """Return the days to search: the time range and 28 days before it, as far as there is data."""
    since = sums.first_day(connection)
    if since is None or since > window.end:
        return None
    start = max(window.start, window.end - timedelta(days=_MAX_DAYS - 1))
    if start - FIRST_DAY > _REFERENCE:
        start -= _REFERENCE
    return Window(max(start, since), window.end)


def _may_change(dimension: Dimension, totals: Totals) -> Mask | None:
    """Return which groups have enough builds for a change, or for a part of a mix of builds."""
    if dimension == "version_target":
        of_mix: Mask = totals(ENDED) >= change_points.MIN_COUNT
        return of_mix
    if dimension not in {"profile", "worker"}:
        return None
    has_failures: Mask = totals(FAILED) >= change_points.MIN_COUNT
    has_durations: Mask = totals(TIMED) >= change_points.MIN_BUILDS
    return has_failures | has_durations


def _is_enough(memory: Memory) -> bool:
    place = memory.groups.place(ALL_BUILDS)
    if place is None:
        return False
    ended = BuildDays(memory).of_days(place, ENDED)
    return int((ended > 0).sum()) > 1 and int(ended.sum()) >= _MIN_BUILDS


# The search -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Change:
    """A regression of a group: the figure during it (`after`), and the builds that it covers."""

    group: Group
    stretch: Stretch
    p_value: float
    after: float | None
    builds: int
    fingerprint: str | None


def _regressions(search: Search) -> list[Regression]:
    """Return the regressions of one measure, most significant first."""
    days, found = search.days, list[_Change]()
    while len(found) < _MAX_ROWS:
        for group, stretch in search.ranked():
            tried = search.tests * days.tests[group.dimension]
            least = search.least_p_value(group, stretch) * tried
            if least >= P or not search.is_within(group, stretch):
                continue
            p_value = search.p_value(group) * tried
            if p_value < P:
                break
        else:
            break
        for broader in group.broader():
            candidate = search.stretch(broader)
            if (
                candidate
                and candidate.overlaps(stretch)
                and search.rest_changed(broader, group, stretch)
                and search.is_within(broader, candidate)
            ):
                p_broader = search.p_value(broader) * search.tests * days.tests[broader.dimension]
                if p_broader < P:
                    group, stretch, p_value = broader, candidate, p_broader
                    break
        figure = search.figure(group, stretch.start, stretch.end)
        fingerprint = search.fingerprint(group, stretch)
        found.append(_Change(group, stretch, p_value, *figure, fingerprint))
        search.update(days.exclude(group, stretch.start, stretch.end))
    return [_row(search, change) for change in found]


def _row(search: Search, found: _Change) -> Regression:
    """Return a row. Its `before` does not contain builds that other regressions explain."""
    days, (dimension, names), stretch = search.days, found.group, found.stretch
    before, _ = search.figure(found.group, 0, stretch.start)
    by_dimension = dict(zip(dimension.split("_"), names, strict=False))
    return {
        "measure": search.measure,
        "dimension": dimension,
        "value": " ".join(names) or "all",
        "version": by_dimension.get("version"),
        "target": by_dimension.get("target"),
        "since": days.day(stretch.start).isoformat(),
        "before": before,
        "after": found.after,
        "builds": found.builds,
        "p_value": found.p_value,
        "fingerprint": found.fingerprint,
        "recovered_on": (
            days.day(stretch.end).isoformat() if stretch.end < days.window.days else None
        ),
    }


def _days(query: Query) -> Window:
    window = query.window
    return Window(max(window.start, FIRST_DAY + _REFERENCE) - _REFERENCE, window.end)


def _send(connection: Connection, query: Query) -> None:
    failure_rows.send_basis(connection, query.window)
    if searched := _searched(connection, query.window):
        build_memory.send(connection, searched)
        sums.send_cubes(connection, searched, cubes.SECONDS)


REPORT: Final = Report(
    name="insights/regressions",
    summary="Groups of builds that got worse, and since when",
    days=_days,
    send=_send,
    read=lambda connection, query: read(connection, query.window, query.page),
    response=Regressions,
    row=Regression,
    member="regressions",
    nested=True,
)
