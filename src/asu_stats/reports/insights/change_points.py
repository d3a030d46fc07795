"""Change points: consecutive days on which a rate or an average was higher than before.

Days are numbers from 0. The search compares every stretch of days with all days before it and
returns the stretch that most likely differs. A stretch ends when the former level returns, else
with the last day.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asu_stats.chance import fisher
from asu_stats.store.blocks.columns import Mask
from asu_stats.store.blocks.keys import Ints

Floats: TypeAlias = NDArray[np.float64]

MIN_POINTS: Final = 0.05  # smallest change of a rate: 5 percentage points
MIN_RATIO: Final = 1.25  # smallest change of an average duration
MIN_BUILDS: Final = 20  # smallest number of builds with a duration of a series
MIN_COUNT: Final = 5  # smallest number of failures, or of durations, in a stretch
_MIN_BUILDS_BEFORE: Final = 10  # smallest number of builds before a stretch
_MAX_DAYS: Final = 120  # of a stretch in the search; the stretch found may continue
_RECOVERY_DAYS: Final = 5  # days with builds after a stretch that show whether it recovered
_RECOVERY_P: Final = 0.05  # largest p-value of a difference between a stretch and the days after it
_SLOWER_THAN: Final = (0.5, 0.75, 0.9)  # of all durations; longer builds are slow
_MANY: Final = 30  # builds from which on the bound of a p-value does not matter


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days from `start` to before `end`. `strength` is the logarithm of a likelihood ratio."""

    start: int
    end: int
    strength: float

    @property
    def days(self) -> tuple[int, int]:
        return self.start, self.end

    def overlaps(self, other: "Stretch") -> bool:

        return self.start < other.end and other.start < self.end


def stretches(days: int) -> int:
    """Return how many stretches a search tries, for the correction of p-values."""
    return days * (days - 1) // 2


class Candidates(NamedTuple):
    """The stretch of each series that most likely differs; its strength is -1 if there is none."""

    strength: Floats
    start: Ints
    end: Ints


_MAX_PAIRS: Final = 1 << 20  # pairs of days that are compared at once


class _Found:
    """The best of the stretches tried so far of each series."""

    def __init__(self, series: int) -> None:
        self.best = Candidates(
            np.full(series, -1.0), np.zeros(series, np.int64), np.zeros(series, np.int64)
        )

    def offer(self, series: Ints, start: Ints, last: Ints, found: Floats) -> None:
        """Take stretches, in the order of series and days; the first of equal ones is kept."""
        if not len(series):
            return
        begins = np.flatnonzero(np.diff(series, prepend=-1))
        maxima = np.repeat(np.maximum.reduceat(found, begins), np.diff(begins, append=len(series)))
        places = np.flatnonzero(found == maxima)
        firsts = places[np.diff(series[places], prepend=-1) != 0]
        best = self.best
        firsts = firsts[found[firsts] > best.strength[series[firsts]]]
        best.strength[series[firsts]] = found[firsts]
        best.start[series[firsts]] = start[firsts]
        best.end[series[firsts]] = last[firsts] + 1


def up_to(counts: Ints) -> Ints:
    """Return for each series and day the sum of the days before it; the last item is the total."""
    found = np.zeros((counts.shape[0], counts.shape[1] + 1), np.int64)
    np.cumsum(counts, axis=1, out=found[:, 1:])
    return found


# Stretches of a start are first bounded together: those from an edge of days to before the next.
_EDGES: Final = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 31, 38, 46, 56, 68, 82, 99, 121)


class _Runs(NamedTuple):
    """Stretches with a common first day, whose last days follow each other.

    All are places among the days on which a stretch can start or end; `after` follows the last.
    """

    first: Ints
    last: Ints
    after: Ints

    def where(self, some: Mask | Ints) -> "_Runs":
        return _Runs(self.first[some], self.last[some], self.after[some])


def _runs(
    starts: Ints, most: Ints, may_be: Callable[[_Runs], tuple[_Runs, Mask]]
) -> Iterator[tuple[Ints, Ints]]:
    """Yield the places of the first and last day of stretches, a bounded number at once.

    `starts` are first days, and `most` the places after the latest possible last day of each.
    Runs of stretches are left out if, according to `may_be`, none of them can be strong enough.
    """
    found = []
    for edge, following in itertools.pairwise(_EDGES):
        here = np.flatnonzero(starts + edge < most)
        first = starts[here]
        run = _Runs(first, first + edge, np.minimum(first + following, most[here]))
        run, some = may_be(run)
        found.append(run.where(some))
    first, last, after = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(first * len(_EDGES) + np.searchsorted(_EDGES, last - first))
    yield from _pairs(_Runs(first, last, after).where(order))


def _pairs(runs: _Runs) -> Iterator[tuple[Ints, Ints]]:
    sizes = runs.after - runs.last
    chunk = np.cumsum(sizes) // _MAX_PAIRS
    for number in range(int(chunk[-1]) + 1 if len(chunk) else 0):
        here = runs.where(chunk == number)
        size = sizes[chunk == number]
        up_to = np.cumsum(size)
        yield (
            np.repeat(here.first, size),
            np.arange(int(up_to[-1]) if len(up_to) else 0)
            + np.repeat(here.last - up_to + size, size),
        )


def _likelihood(failures: Ints, builds: Ints) -> Floats:
    """Return the log-likelihood of `failures` in `builds` at their own rate."""
    found: Floats = _x_log_x(failures) + _x_log_x(builds - failures) - _x_log_x(builds)
    return found


def _x_log_x(x: Ints) -> Floats:
    found: Floats = x.astype(float) * np.log(np.maximum(x, 1))
    return found


class _Days(NamedTuple):
    """Days on which stretches can start or end, in the order of series and days.

    `before` and `until` are the builds before the day and until its end; `bad_before` and
    `bad_until` the same of failures or seconds.
    """

    series: Ints
    day: Ints
    before: Ints
    until: Ints
    bad_before: Ints
    bad_until: Ints

    @classmethod
    def of(cls, builds: Ints, bad: Ints, counted: Ints, enough: Mask) -> "_Days":
        """Return the days of the series with `enough` on which one of `counted` is above 0.

        All are sums `up_to` each day.
        """
        some, width = np.flatnonzero(enough), builds.shape[1]
        counted = counted[some]
        # On one dimension, finding and taking are several times as fast.
        found = np.flatnonzero(counted[:, 1:] > counted[:, :-1])
        row = found // (width - 1)
        series, day = some[row], found - row * (width - 1)
        place = series * width + day
        sums = (of.reshape(-1)[at] for of in (builds, bad) for at in (place, place + 1))
        return cls(series, day, *sums)


_ROUNDING: Final = 1e-9


def failure_rises(builds: Ints, failures: Ints, least: Floats | None = None) -> Candidates:
    """Return the stretch of each series whose failure rate is most likely higher than before.

    Arguments are sums `up_to` each day, with a row per series. A stretch starts and ends on a day
    with failures. If its strength is below `least` of the series, another stretch or none may be
    returned, which is faster.
    """
    found, width = _Found(len(builds)), builds.shape[1] - 1 + _MAX_DAYS
    enough = (failures[:, -1] >= MIN_COUNT) & (builds[:, -1] > _MIN_BUILDS_BEFORE)
    days = _Days.of(builds, failures, failures, enough)
    before, failed = days.before, days.bad_before
    starts = np.flatnonzero(
        (before >= _MIN_BUILDS_BEFORE)
        & ((days.bad_until - failed) * before > failed * (days.until - before))
    )
    key = days.series * width + days.day
    most = np.searchsorted(key, key[starts] + _MAX_DAYS)
    some = days.bad_until[most - 1] - failed[starts] >= MIN_COUNT
    starts, most = starts[some], most[some]
    before_start = np.maximum(before, 1)  # of a start there are some
    rate, usual = failed / before_start, _likelihood(failed, before)

    def may_be(runs: _Runs) -> tuple[_Runs, Mask]:
        """Bound the strength by that of most failures in fewest builds.

        A logarithm of a likelihood ratio is at most χ²: ln x ≤ x - 1.
        """
        failed_in = days.bad_until[runs.after - 1] - failed[runs.first]
        count = np.maximum(days.until[runs.last] - before[runs.first], failed_in)
        some = np.flatnonzero(
            (failed_in >= MIN_COUNT)
            & (failed_in / np.maximum(count, 1) - rate[runs.first] >= MIN_POINTS)
        )
        runs, failed_in, count = runs.where(some), failed_in[some], count[some]
        if least is None:
            return runs, np.ones(len(some), bool)
        others = before[runs.first]
        total = count + others
        all_failed = failed_in + failed[runs.first]
        rise = failed_in / count - rate[runs.first]
        chi = rise * rise * count * others * total / (all_failed * (total - all_failed))
        return runs, chi >= least[days.series[runs.first]] * (1 - _ROUNDING)

    for pairs in _runs(starts, most, may_be):
        first, last = pairs
        failed_in = days.bad_until[last] - failed[first]
        some = np.flatnonzero(failed_in >= MIN_COUNT)
        first, last, failed_in = first[some], last[some], failed_in[some]
        count = days.until[last] - before[first]
        some = np.flatnonzero(failed_in / count - rate[first] >= MIN_POINTS)
        first, last, failed_in, count = first[some], last[some], failed_in[some], count[some]
        strengths = (
            usual[first]
            + _likelihood(failed_in, count)
            - _likelihood(days.bad_until[last], days.until[last])
        )
        found.offer(days.series[first], days.day[first], days.day[last], strengths)
    return found.best


def lasting_rise(found: Stretch, builds: Sequence[int], failures: Sequence[int]) -> Stretch:
    """Extend the stretch to the last day, unless the former rate returns after it."""
    start, end = found.start, found.end
    after = _after(builds, end)
    n, f = (sum(each[day] for day in after) for each in (builds, failures))
    before, failed = sum(builds[:start]), sum(failures[:start])
    count, failed_in = sum(builds[start:end]), sum(failures[start:end])
    lasts = (
        n and f / n - failed / before >= MIN_POINTS and fisher(f, n, failed, before) < _RECOVERY_P
    )
    if not lasts and fisher(failed_in, count, f, n) < _RECOVERY_P:
        return Stretch(start, after[0], found.strength)
    return Stretch(start, len(builds), found.strength)


def strength(ratio: Any, builds: Any, before: Any, variation: float) -> Any:
    """Return the strength of a change of an average duration by `ratio`.

    Logarithms of durations are treated as normally distributed.
    """
    return (np.log(ratio) / variation) ** 2 / (1 / builds + 1 / before) / 2


def slowdowns(
    builds: Ints, seconds: Ints, variation: float, least: Floats | None = None
) -> Candidates:
    """Return the stretch of each series whose average duration is most likely longer than before.

    Arguments are sums `up_to` each day, with a row per series. `variation` is the coefficient of
    variation of durations. For `least` see `failure_rises`.
    """
    found = _Found(len(builds))
    days = _Days.of(builds, seconds, builds, builds[:, -1] >= MIN_BUILDS)
    before, seconds_before = days.before, days.bad_before
    starts = np.flatnonzero(
        (before >= _MIN_BUILDS_BEFORE)
        & (seconds_before > 0)
        & (
            (days.bad_until - seconds_before) * before
            >= MIN_RATIO * seconds_before * (days.until - before)
        )
    )
    after = np.searchsorted(days.series, days.series[starts], side="right")
    most = np.minimum(starts + _MAX_DAYS, after)
    level = seconds_before / np.maximum(before, 1)
    least_seconds = MIN_RATIO * level

    def may_be(runs: _Runs) -> tuple[_Runs, Mask]:
        """Bound the strength by that of most seconds in fewest builds, and of most builds."""
        first = runs.first
        seconds_in = days.bad_until[runs.after - 1] - seconds_before[first]
        count, most_builds = (
            days.until[place] - before[first] for place in (runs.last, runs.after - 1)
        )
        some = np.flatnonzero(
            (most_builds >= MIN_COUNT) & (seconds_in >= least_seconds[first] * count)
        )
        runs, first, most_builds = runs.where(some), first[some], most_builds[some]
        if least is None:
            return runs, np.ones(len(some), bool)
        ratio = seconds_in[some] / count[some] / level[first]
        bound = strength(ratio, most_builds, before[first], variation)
        return runs, bound >= least[days.series[first]] * (1 - _ROUNDING)

    for pairs in _runs(starts, most, may_be):
        first, last = pairs
        count = days.until[last] - before[first]
        seconds_in = days.bad_until[last] - seconds_before[first]
        some = np.flatnonzero((count >= MIN_COUNT) & (seconds_in >= least_seconds[first] * count))
        first, last, count = first[some], last[some], count[some]
        ratio = seconds_in[some] / count / level[first]
        strengths = strength(ratio, count, before[first], variation)
        found.offer(days.series[first], days.day[first], days.day[last], strengths)
    return found.best


def lasting_slowdown(found: Stretch, builds: Sequence[int], seconds: Sequence[int]) -> Stretch:
    """Extend the stretch to the last day, unless the former average returns after it."""
    start, end = found.start, found.end
    after = _after(builds, end)
    if sum(builds[day] for day in after) < MIN_COUNT:
        return Stretch(start, len(builds), found.strength)
    level_before, level_in, level_after = (
        sum(seconds[day] for day in part) / sum(builds[day] for day in part)
        for part in (range(start), range(start, end), after)
    )
    middle = math.sqrt(level_before * level_in)
    return Stretch(start, after[0] if level_after < middle else len(builds), found.strength)


def _after(builds: Sequence[int], end: int) -> list[int]:
    """Return the first days with builds after a stretch."""
    return [day for day in range(end, len(builds)) if builds[day] > 0][:_RECOVERY_DAYS]


def slowdown_p_value(before: Ints, during: Ints) -> float:
    """Return the p-value of slow builds being more common than before.

    Arguments are builds by duration, the shortest first. Fisher's exact test is applied at
    the 50th, 75th and 90th percentile of all durations; the result is three times the smallest
    p-value.
    """
    builds, others = int(during.sum()), int(before.sum())
    if not builds or not others:
        return 1.0
    up_to, before_up_to = np.cumsum(during), np.cumsum(before)
    found = 1.0
    for quantile in _SLOWER_THAN:
        place = np.searchsorted(up_to + before_up_to, quantile * (builds + others))
        slow, slow_before = builds - int(up_to[place]), others - int(before_up_to[place])
        found = min(found, fisher(slow, builds, slow_before, others))
    return min(1.0, found * len(_SLOWER_THAN))


def least_slowdown_p_value(before: int, during: int) -> float:
    """Return a lower bound of the p-value for so many builds: all slow ones are in the stretch."""
    total = before + during
    return min(1.0, len(_SLOWER_THAN) / math.comb(total, min(during, total // 2, _MANY)))
