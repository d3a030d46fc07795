"""Regressions: since when the success rate or the build time of a group of builds is worse.

The search finds, in every group of builds, the stretch of days that differs most from the days
before it. The most significant stretch is listed, its builds are excluded from all groups, and the
search repeats. So a broken target is one row: not a row of all builds, and not one per profile.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal, Protocol

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.chance import fisher
from asu_stats.events import UNKNOWN
from asu_stats.reports import figures, floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.durations import all_durations
from asu_stats.reports.fields import Day, Period, Total
from asu_stats.reports.insights import change_points, failure_rows
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.build_days import ALL as ALL_BUILDS
from asu_stats.reports.insights.build_days import DIMENSIONS, BuildDays, Dimension, Group
from asu_stats.reports.insights.change_points import Stretch
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.marks import IDENTIFYING, Named
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import SECONDS
from asu_stats.windows import FIRST_DAY, Window

Measure = Literal["success_rate", "duration"]


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
_P: Final = 0.01
_NAMED: Final[tuple[Literal["version", "target"], ...]] = ("version", "target")
_REFERENCE: Final = timedelta(days=28)  # days before the time range that are searched too
_MAX_DAYS: Final = 400
_MAX_ROWS: Final = 50
_MIN_BUILDS: Final = 20  # in total, and with a duration in a group
_MIN_WITHIN: Final = 0.5  # smallest part of a change that a changed mix of builds does not explain
_MIN_STRENGTH: Final = 6.0  # below it nothing is significant
_MEASURES: Final = 2
_REST_STRENGTH: Final = 3.3  # corresponds to a p-value of about 0.01
_MIN_VARIATION: Final = 0.1


@covers(Regressions)
def read(connection: Connection, window: Window, page: Page = ALL) -> Regressions:
    """Return the regressions that start in `window`."""
    basis = failure_rows.basis(connection, window, _METHOD, found=())
    searched = _searched(connection, window)
    days = BuildDays.read(connection, searched) if searched else None
    basis["enough"] = bool(basis["builds"]) and days is not None and _is_enough(days)
    found: list[Regression] = []
    if days is not None and basis["enough"]:
        (durations,) = sums.cubes(connection, days.window, SECONDS)
        variation = all_durations(durations).variation or 1.0
        for search in (_DurationSearch(days.copy(), variation), _RateSearch(days)):
            found += _regressions(search)
        names = floor.Visible(connection, window)
        found = [_shown(row, names) for row in found]
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


def _is_enough(days: BuildDays) -> bool:
    series = days.groups.get(ALL_BUILDS)
    return (
        series is not None and sum(map(bool, series.ended)) > 1 and sum(series.ended) >= _MIN_BUILDS
    )


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


class _Search(Protocol):
    """The search for regressions of one measure."""

    measure: Measure
    days: BuildDays

    def update(self, groups: Collection[Group]) -> None:
        """Recompute what depends on the builds of groups, after an exclusion."""

    def stretch(self, group: Group) -> Stretch | None:
        """Return the stretch that differs most from the days before it, or `None`."""

    def is_within(self, group: Group, stretch: Stretch) -> bool:
        """Return whether builds of the same version and target got worse.

        The alternative is that builds that always were worse became more common.
        """

    def average(self, group: Group, start: int, end: int) -> tuple[float, int]:
        """Return failures or seconds per build from day `start` to before `end`, and the builds.

        Failures of one request on a day count once.
        """

    def p_value(self, group: Group, stretch: Stretch) -> float:
        """Return the p-value, without Bonferroni's correction."""

    def rest_changed(self, broader: Group, group: Group, stretch: Stretch) -> bool:
        """Return whether the builds of `broader` that are not in `group` got worse too."""

    def figure(self, group: Group, start: int, end: int) -> tuple[float | None, int]:
        """Return the success rate or average duration as shown, and the number of builds."""

    def fingerprint(self, group: Group, stretch: Stretch, /) -> str | None:
        """Return the fingerprint of most of the added failures, or `None`."""


def _regressions(search: _Search) -> list[Regression]:
    """Return the regressions of one measure, most significant first."""
    days, found = search.days, list[_Change]()
    groups = Counter(group.dimension for group in days.groups)
    tests = len(DIMENSIONS) * _MEASURES * change_points.stretches(days.window.days)
    stretches: dict[Group, Stretch | None] = {}
    changed: Collection[Group] = list(days.groups)
    while len(found) < _MAX_ROWS:
        search.update(changed)
        stretches |= {group: search.stretch(group) for group in changed}
        ranked = sorted(
            (-float(f"{stretch.strength:.6g}"), _order(group), group, stretch)
            for group, stretch in stretches.items()
            if stretch and stretch.strength >= _MIN_STRENGTH
        )
        for _, _, group, stretch in ranked:
            if not search.is_within(group, stretch):
                continue
            p_value = search.p_value(group, stretch) * tests * groups[group.dimension]
            if p_value < _P:
                break
        else:
            break
        for broader in group.broader():
            candidate = stretches.get(broader)
            if (
                candidate
                and candidate.overlaps(stretch)
                and search.rest_changed(broader, group, stretch)
                and search.is_within(broader, candidate)
            ):
                p_broader = search.p_value(broader, candidate) * tests * groups[broader.dimension]
                if p_broader < _P:
                    group, stretch, p_value = broader, candidate, p_broader
                    break
        figure = search.figure(group, stretch.start, stretch.end)
        fingerprint = search.fingerprint(group, stretch)
        found.append(_Change(group, stretch, p_value, *figure, fingerprint))
        changed = days.exclude(group, stretch.start, stretch.end)
    return [_row(search, change) for change in found]


def _mix_factor(search: _Search, group: Group, stretch: Stretch) -> float:
    """Return the factor by which the changed mix of versions and targets raises a failure rate.

    Or a duration. Profiles and workers have the mix of all builds: sums by profile or worker and
    version do not exist.
    """
    mixed = ALL_BUILDS if group.dimension in {"profile", "worker"} else group
    average, _ = search.average(mixed, 0, stretch.start)
    unmixed = expected = 0.0
    for cell in search.days.cells(mixed):
        _, builds = search.average(cell, *stretch.days)
        if not builds:
            continue
        cell_average, before = search.average(cell, 0, stretch.start)
        unmixed += builds * average
        expected += builds * (cell_average if before >= change_points.MIN_COUNT else average)
    return expected / unmixed if unmixed and expected else 1.0


def _order(group: Group) -> tuple[int, tuple[str, ...]]:
    return DIMENSIONS.index(group.dimension), group.names


def _row(search: _Search, found: _Change) -> Regression:
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


class _RateSearch:
    """The search in success rates. The failures of one request on a day count once."""

    measure: Measure = "success_rate"

    def __init__(self, days: BuildDays) -> None:
        self.days = days
        self._failed: dict[Group, list[int]] = {}
        self._ended: dict[Group, list[int]] = {}

    def update(self, groups: Collection[Group]) -> None:
        days = self.days
        with_failures = [group for group in groups if any(days.groups[group].failed)]
        self._failed |= {group: [0] * days.window.days for group in groups}
        self._failed |= days.distinct_failures(with_failures)
        for group in with_failures:
            if sum(self._failed[group]) < change_points.MIN_COUNT:
                continue
            series = days.groups[group]
            counts = zip(series.ended, series.failed, self._failed[group], strict=True)
            self._ended[group] = [ended - failed + distinct for ended, failed, distinct in counts]

    def stretch(self, group: Group) -> Stretch | None:
        failed = self._failed[group]
        if sum(failed) < change_points.MIN_COUNT:
            return None
        return change_points.failure_rise(self._ended[group], failed)

    def is_within(self, group: Group, stretch: Stretch) -> bool:
        before, _ = self.average(group, 0, stretch.start)
        during, _ = self.average(group, *stretch.days)
        mix = _mix_factor(self, group, stretch)
        return during - before * mix >= _MIN_WITHIN * (during - before)

    def average(self, group: Group, start: int, end: int) -> tuple[float, int]:
        part, series = slice(start, end), self.days.groups[group]
        failed = sum(self._failed[group][part])
        builds = sum(series.ended[part]) - sum(series.failed[part]) + failed
        return failed / builds if builds else 0.0, builds

    def p_value(self, group: Group, stretch: Stretch) -> float:
        start, end = stretch.start, stretch.end
        ended, failed = self._ended[group], self._failed[group]
        rows = self.days.failed_in(group, start, end)
        requests = len({row.request for row in rows})
        repeated = len({(row.day, row.request) for row in rows}) - requests
        failures, builds = sum(failed[start:end]) - repeated, sum(ended[start:end]) - repeated
        if failures < change_points.MIN_COUNT:
            return 1.0
        return fisher(failures, builds, sum(failed[:start]), sum(ended[:start]))

    def rest_changed(self, broader: Group, group: Group, stretch: Stretch) -> bool:
        failures, builds, failures_before, builds_before = (
            sum(counts[broader][part]) - sum(counts[group][part])
            for part in (slice(stretch.start, stretch.end), slice(stretch.start))
            for counts in (self._failed, self._ended)
        )
        if builds < change_points.MIN_COUNT or builds_before < change_points.MIN_COUNT:
            return False
        change = failures / builds - failures_before / builds_before
        return (
            change >= change_points.MIN_POINTS / 2
            and fisher(failures, builds, failures_before, builds_before) < _P
        )

    def figure(self, group: Group, start: int, end: int) -> tuple[float | None, int]:
        series = self.days.groups[group]
        ended, failed = (sum(each[start:end]) for each in (series.ended, series.failed))
        return figures.rate(ended - failed, ended), ended

    def fingerprint(self, group: Group, stretch: Stretch) -> str | None:
        start, end = stretch.start, stretch.end
        during, before = (
            Counter(
                fingerprint
                for _, fingerprint, _ in {
                    (row.day, row.fingerprint, row.request)
                    for row in self.days.failed_in(group, *part)
                }
            )
            for part in ((start, end), (0, start))
        )
        ended = self._ended[group]
        share = sum(ended[start:end]) / max(1, sum(ended[:start]))
        added = {name: count - before[name] * share for name, count in during.items() if name}
        total = sum(self._failed[group][start:end]) - sum(self._failed[group][:start]) * share
        largest = max(added, key=lambda name: (added[name], name), default=None)
        if largest and added[largest] > 0 and added[largest] >= total / 2:
            return largest
        return None


class _DurationSearch:
    """The search in average durations of successful builds.

    `variation` is the coefficient of variation of all durations.
    """

    measure: Measure = "duration"

    def __init__(self, days: BuildDays, variation: float) -> None:
        self.days = days
        self._variation = max(variation, _MIN_VARIATION)

    def update(self, groups: Collection[Group]) -> None:
        """Do nothing: the search reads the sums of the groups directly."""

    def stretch(self, group: Group) -> Stretch | None:
        series = self.days.groups[group]
        if sum(series.timed) < _MIN_BUILDS:
            return None
        return change_points.slowdown(series.timed, series.seconds, self._variation)

    def is_within(self, group: Group, stretch: Stretch) -> bool:
        before, _ = self.average(group, 0, stretch.start)
        during, _ = self.average(group, *stretch.days)
        change = math.log(during / before)
        return change - math.log(_mix_factor(self, group, stretch)) >= _MIN_WITHIN * change

    def average(self, group: Group, start: int, end: int) -> tuple[float, int]:
        series = self.days.groups[group]
        builds, seconds = sum(series.timed[start:end]), sum(series.seconds[start:end])
        return (seconds / builds if builds else 0.0), builds

    def p_value(self, group: Group, stretch: Stretch) -> float:
        before, during = self.days.durations(group, stretch.start, stretch.end)
        return change_points.slowdown_p_value(before, during)

    def rest_changed(self, broader: Group, group: Group, stretch: Stretch) -> bool:
        outer, inner = self.days.groups[broader], self.days.groups[group]
        parts = slice(stretch.start, stretch.end), slice(stretch.start)
        (seconds, builds), (seconds_before, builds_before) = (
            (
                sum(outer.seconds[part]) - sum(inner.seconds[part]),
                sum(outer.timed[part]) - sum(inner.timed[part]),
            )
            for part in parts
        )
        if builds < change_points.MIN_COUNT or builds_before < change_points.MIN_COUNT:
            return False
        if not seconds_before:
            return False
        ratio = seconds / builds / (seconds_before / builds_before)
        strength = change_points.strength(ratio, builds, builds_before, self._variation)
        return ratio >= math.sqrt(change_points.MIN_RATIO) and strength >= _REST_STRENGTH

    def figure(self, group: Group, start: int, end: int) -> tuple[float | None, int]:
        series = self.days.groups[group]
        builds, seconds = (sum(each[start:end]) for each in (series.timed, series.seconds))
        return figures.average(seconds, builds), builds

    def fingerprint(self, _group: Group, _stretch: Stretch, /) -> str | None:
        return None


REPORT: Final = Report(
    name="insights/regressions",
    summary="Groups of builds that got worse, and since when",
    read=lambda connection, query: read(connection, query.window, query.page),
    response=Regressions,
    row=Regression,
    member="regressions",
    nested=True,
)
