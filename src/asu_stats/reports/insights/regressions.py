"""What got worse, and since when: days on which success rate or build time changed.

Every group of builds is searched for the stretch of days that differs most from the days before
it. The most telling one is listed, its builds are taken out of all groups, and the search goes on.
So a broken target is one row, and neither of all builds nor of each of its profiles.
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
from asu_stats.reports.insights import changes, rows
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.build_days import ALL as EVERYTHING
from asu_stats.reports.insights.build_days import DIMENSIONS, BuildDays, Dimension, Group
from asu_stats.reports.insights.changes import Stretch
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.marks import IDENTIFYING, Named
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import SECONDS
from asu_stats.windows import FIRST_DAY, Window

Measure = Literal["success_rate", "duration"]


class Regression(TypedDict):
    """A group of builds that got worse."""

    measure: Annotated[Measure, Field(description="What changed.")]
    dimension: Annotated[Dimension, Field(description="What the builds have in common.")]
    value: Annotated[
        str,
        Named(by="dimension"),
        Field(description="Its name; version and target with a space; `all` for all builds."),
    ]
    version: Annotated[
        str | None, Named("version"), Field(description="Null unless the dimension has it.")
    ]
    target: Annotated[
        str | None, Named("target"), Field(description="Null unless the dimension has it.")
    ]
    since: Annotated[Day, Field(description="First day of the change.")]
    before: Annotated[
        float | None, Field(description="On the days before: percent, or average in seconds.")
    ]
    after: Annotated[float | None, Field(description="The same from then on, until it recovered.")]
    builds: Annotated[int, Field(description="Builds that `after` is of.")]
    p_value: Annotated[float, Field(description="Of Fisher's test, times what was tried.")]
    fingerprint: Annotated[
        str | None,
        IDENTIFYING,
        Field(description="Of most of the added failures, if it was rarer before; else null."),
    ]
    recovered_on: Annotated[
        Day | None, Field(description="First day of the former level; null while it lasts.")
    ]


class Regressions(TypedDict):
    """`GET /api/v1/stats/insights/regressions`."""

    period: Period
    basis: Basis
    regressions: Annotated[Sequence[Regression], Field(description="Newest first.")]
    regressions_total: Total


_METHOD: Final = (
    "The stretch of days with the highest likelihood ratio against the days before it, in each "
    "group; its p-value is below 0.01 in Fisher's exact test (of failed builds, one request "
    "counting once; of builds slower than the median or a higher percentile) after Bonferroni's "
    "correction for all stretches, groups and measures."
)
_P: Final = 0.01
_PLACE: Final[tuple[Literal["version", "target"], ...]] = ("version", "target")
_BEFORE: Final = timedelta(days=28)  # days before the time range that it is compared with
_MOST_DAYS: Final = 400
_MOST: Final = 50  # rows
_FEWEST: Final = 20  # builds, for anything to be said
_WITHIN: Final = 0.5  # least part of a change that is left with the former mix of builds
_WEAKEST: Final = 6.0  # strength below which nothing can be significant
_MEASURES: Final = 2
_REST: Final = 3.3  # strength of a change at a chance of about 0.01
_LEAST_VARIATION: Final = 0.1


@covers(Regressions)
def read(connection: Connection, window: Window, page: Page = ALL) -> Regressions:
    """Return the changes for the worse that begin in `window`."""
    basis = rows.basis(connection, window, _METHOD, found=())
    searched = _searched(connection, window)
    days = BuildDays.read(connection, searched) if searched else None
    basis["enough"] = bool(basis["builds"]) and days is not None and _is_enough(days)
    found: list[Regression] = []
    if days is not None and basis["enough"]:
        (durations,) = sums.cubes(connection, days.window, SECONDS)
        variation = all_durations(durations).variation or 1.0
        for measure in (_Durations(days.copy(), variation), _Rates(days)):
            found += _changes(measure)
        names = floor.Visible(connection, window)
        found = [_shown(row, names) for row in found]
    found = [row for row in found if row["since"] >= window.start.isoformat()]
    found.sort(key=lambda row: (row["p_value"], DIMENSIONS.index(row["dimension"]), row["value"]))
    found.sort(key=lambda row: row["since"], reverse=True)
    cut = [f"regressions: only the last {_MOST_DAYS} days are searched"]
    return {
        "period": sums.period(connection, window, cut if window.days > _MOST_DAYS else []),
        "basis": basis,
        "regressions": page.of(found),
        "regressions_total": len(found),
    }


def _shown(row: Regression, names: floor.Visible) -> Regression:
    """Return a row in which a version with a target is `other` if one of them is not shown."""
    parts = (names.shown(kind, row[kind] or UNKNOWN) for kind in _PLACE)
    hidden = row["dimension"] == "version_target" and floor.OTHER in parts
    return {**row, "value": floor.OTHER} if hidden else row


def _searched(connection: Connection, window: Window) -> Window | None:
    """Return the days to search: with some before the time range, from the first with data on."""
    since = sums.first_day(connection)
    if since is None or since > window.end:
        return None
    start = max(window.start, window.end - timedelta(days=_MOST_DAYS - 1))
    if start - FIRST_DAY > _BEFORE:
        start -= _BEFORE
    return Window(max(start, since), window.end)


def _is_enough(days: BuildDays) -> bool:
    every = days.groups.get(EVERYTHING)
    return every is not None and sum(map(bool, every.ended)) > 1 and sum(every.ended) >= _FEWEST


# The search -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """A change of a group, and what it is `after`; `builds` are those that this is of."""

    group: Group
    stretch: Stretch
    p_value: float
    after: float | None
    builds: int
    fingerprint: str | None


class _Search(Protocol):
    """How one measure is searched."""

    measure: Measure
    days: BuildDays

    def count(self, groups: Collection[Group]) -> None:
        """Take notice of what groups have, or have left."""

    def stretch(self, group: Group) -> Stretch | None:
        """Return the stretch that differs most, if any does."""

    def is_within(self, group: Group, stretch: Stretch) -> bool:
        """Tell whether builds of the same version and target got worse, not only more common."""

    def average(self, group: Group, start: int, end: int) -> tuple[float, int]:
        """Return failures or seconds per build from one day to before another, and the builds."""

    def p_value(self, group: Group, stretch: Stretch) -> float:
        """Return the p-value, not corrected."""

    def rest_changed(self, broader: Group, group: Group, stretch: Stretch) -> bool:
        """Tell whether a broader group got worse without the builds of `group` too."""

    def level(self, group: Group, start: int, end: int) -> tuple[float | None, int]:
        """Return the rate or average from one day to before another, and the builds it is of."""

    def fingerprint(self, group: Group, stretch: Stretch, /) -> str | None:
        """Return the fingerprint that most of the added failures have."""


def _changes(search: _Search) -> list[Regression]:
    """Return the changes of one measure, the most telling first."""
    days, found = search.days, list[_Found]()
    tried = Counter(group.dimension for group in days.groups)
    times = len(DIMENSIONS) * _MEASURES * changes.stretches(days.window.days)
    stretches: dict[Group, Stretch | None] = {}
    touched: Collection[Group] = list(days.groups)
    while len(found) < _MOST:
        search.count(touched)
        stretches |= {group: search.stretch(group) for group in touched}
        ranked = sorted(
            (-float(f"{stretch.strength:.6g}"), _order(group), group, stretch)
            for group, stretch in stretches.items()
            if stretch and stretch.strength >= _WEAKEST
        )
        for _, _, group, stretch in ranked:
            if not search.is_within(group, stretch):
                continue
            p_value = search.p_value(group, stretch) * times * tried[group.dimension]
            if p_value < _P:
                break
        else:
            break
        for broader in group.broader():
            wider = stretches.get(broader)
            if (
                wider
                and wider.overlaps(stretch)
                and search.rest_changed(broader, group, stretch)
                and search.is_within(broader, wider)
            ):
                p_broader = search.p_value(broader, wider) * times * tried[broader.dimension]
                if p_broader < _P:
                    group, stretch, p_value = broader, wider, p_broader
                    break
        level = search.level(group, stretch.start, stretch.end)
        fingerprint = search.fingerprint(group, stretch)
        found.append(_Found(group, stretch, p_value, *level, fingerprint))
        touched = days.take_out(group, stretch.start, stretch.end)
    return [_row(search, one) for one in found]


def _mix(search: _Search, group: Group, stretch: Stretch) -> float:
    """Return by how much a failure rate or duration would be higher if only other builds came.

    A worker gets what everybody asks for, and so does a profile more or less: their mix of versions
    and targets is that of all builds.
    """
    of = EVERYTHING if group.dimension in {"profile", "worker"} else group
    level, _ = search.average(of, 0, stretch.start)
    plain = expected = 0.0
    for cell in search.days.cells(of):
        own, before = search.average(cell, 0, stretch.start)
        _, builds = search.average(cell, *stretch.days)
        plain += builds * level
        expected += builds * (own if before >= changes.FEWEST else level)
    return expected / plain if plain and expected else 1.0


def _order(group: Group) -> tuple[int, tuple[str, ...]]:
    return DIMENSIONS.index(group.dimension), group.names


def _row(search: _Search, found: _Found) -> Regression:
    """Return a row. What other changes explain is not in `before`."""
    days, (dimension, names), stretch = search.days, found.group, found.stretch
    before, _ = search.level(found.group, 0, stretch.start)
    named = dict(zip(dimension.split("_"), names, strict=False))
    return {
        "measure": search.measure,
        "dimension": dimension,
        "value": " ".join(names) or "all",
        "version": named.get("version"),
        "target": named.get("target"),
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


class _Rates:
    """The success rate. A request that fails again and again on a day counts once."""

    measure: Measure = "success_rate"

    def __init__(self, days: BuildDays) -> None:
        self.days = days
        self._failed: dict[Group, list[int]] = {}
        self._ended: dict[Group, list[int]] = {}

    def count(self, groups: Collection[Group]) -> None:
        days = self.days
        some = [group for group in groups if any(days.groups[group].failed)]
        self._failed |= {group: [0] * days.window.days for group in groups}
        self._failed |= days.distinct_failures(some)
        for group in some:
            series = days.groups[group]
            counts = zip(series.ended, series.failed, self._failed[group], strict=True)
            self._ended[group] = [ended - failed + distinct for ended, failed, distinct in counts]

    def stretch(self, group: Group) -> Stretch | None:
        failed = self._failed[group]
        if sum(failed) < changes.FEWEST:
            return None
        return changes.rise(self._ended[group], failed)

    def is_within(self, group: Group, stretch: Stretch) -> bool:
        was, now = self.average(group, 0, stretch.start), self.average(group, *stretch.days)
        mix = _mix(self, group, stretch)
        return now[0] - was[0] * mix >= _WITHIN * (now[0] - was[0])

    def average(self, group: Group, start: int, end: int) -> tuple[float, int]:
        part, series = slice(start, end), self.days.groups[group]
        failed = sum(self._failed[group][part])
        builds = sum(series.ended[part]) - sum(series.failed[part]) + failed
        return failed / builds if builds else 0.0, builds

    def p_value(self, group: Group, stretch: Stretch) -> float:
        start, end = stretch.start, stretch.end
        ended, failed = self._ended[group], self._failed[group]
        failing = self.days.failing_in(group, start, end)
        requests = len({each.request for each in failing})
        again = len({(each.day, each.request) for each in failing}) - requests
        bad, builds = sum(failed[start:end]) - again, sum(ended[start:end]) - again
        if bad < changes.FEWEST:
            return 1.0
        return fisher(bad, builds, sum(failed[:start]), sum(ended[:start]))

    def rest_changed(self, broader: Group, group: Group, stretch: Stretch) -> bool:
        bad, builds, bad_before, before = (
            sum(of[broader][part]) - sum(of[group][part])
            for part in (slice(stretch.start, stretch.end), slice(stretch.start))
            for of in (self._failed, self._ended)
        )
        if builds < changes.FEWEST or before < changes.FEWEST:
            return False
        more = bad / builds - bad_before / before
        return more >= changes.POINTS / 2 and fisher(bad, builds, bad_before, before) < _P

    def level(self, group: Group, start: int, end: int) -> tuple[float | None, int]:
        series = self.days.groups[group]
        ended, failed = (sum(each[start:end]) for each in (series.ended, series.failed))
        return figures.rate(ended - failed, ended), ended

    def fingerprint(self, group: Group, stretch: Stretch) -> str | None:
        start, end = stretch.start, stretch.end
        then, before = (
            Counter(
                fingerprint
                for _, fingerprint, _ in {
                    (each.day, each.fingerprint, each.request)
                    for each in self.days.failing_in(group, *part)
                }
            )
            for part in ((start, end), (0, start))
        )
        ended = self._ended[group]
        share = sum(ended[start:end]) / max(1, sum(ended[:start]))
        added = {each: count - before[each] * share for each, count in then.items() if each}
        total = sum(self._failed[group][start:end]) - sum(self._failed[group][:start]) * share
        most = max(added, key=lambda each: (added[each], each), default=None)
        return most if most and added[most] > 0 and added[most] >= total / 2 else None


class _Durations:
    """The average duration of successful builds. `variation` is that of all durations."""

    measure: Measure = "duration"

    def __init__(self, days: BuildDays, variation: float) -> None:
        self.days = days
        self._variation = max(variation, _LEAST_VARIATION)

    def count(self, groups: Collection[Group]) -> None:
        """Do nothing: the sums of the groups are all there is."""

    def stretch(self, group: Group) -> Stretch | None:
        series = self.days.groups[group]
        if sum(series.timed) < _FEWEST:
            return None
        return changes.slowdown(series.timed, series.seconds, self._variation)

    def is_within(self, group: Group, stretch: Stretch) -> bool:
        was, now = self.average(group, 0, stretch.start), self.average(group, *stretch.days)
        change = math.log(now[0] / was[0])
        return change - math.log(_mix(self, group, stretch)) >= _WITHIN * change

    def average(self, group: Group, start: int, end: int) -> tuple[float, int]:
        series = self.days.groups[group]
        builds, seconds = sum(series.timed[start:end]), sum(series.seconds[start:end])
        return (seconds / builds if builds else 0.0), builds

    def p_value(self, group: Group, stretch: Stretch) -> float:
        before, then = (
            self.days.durations(group, *part)
            for part in ((0, stretch.start), (stretch.start, stretch.end))
        )
        return changes.slower(before, then)

    def rest_changed(self, broader: Group, group: Group, stretch: Stretch) -> bool:
        of, without = self.days.groups[broader], self.days.groups[group]
        parts = slice(stretch.start, stretch.end), slice(stretch.start)
        (seconds, builds), (was, before) = (
            (
                sum(of.seconds[part]) - sum(without.seconds[part]),
                sum(of.timed[part]) - sum(without.timed[part]),
            )
            for part in parts
        )
        if builds < changes.FEWEST or before < changes.FEWEST or not was:
            return False
        ratio = seconds / builds / (was / before)
        strength = changes.strength(ratio, builds, before, self._variation)
        return ratio >= math.sqrt(changes.TIMES) and strength >= _REST

    def level(self, group: Group, start: int, end: int) -> tuple[float | None, int]:
        series = self.days.groups[group]
        builds, seconds = (sum(each[start:end]) for each in (series.timed, series.seconds))
        return figures.average(seconds, builds), builds

    def fingerprint(self, _group: Group, _stretch: Stretch, /) -> str | None:
        return None


REPORT: Final = Report(
    name="insights/regressions",
    summary="What got worse, and since when",
    read=lambda connection, query: read(connection, query.window, query.page),
    response=Regressions,
    row=Regression,
    member="regressions",
    nested=True,
)
