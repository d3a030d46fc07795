"""Change points: consecutive days on which a rate or an average was higher than before.

Days are numbers from 0. The search compares every stretch of days with all days before it and
returns the stretch that most likely differs. A stretch ends when the former level returns, else
with the last day.
"""

import math
from collections.abc import Iterator, Sequence
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
_QUANTILES: Final = (0.5, 0.75, 0.9)  # of all durations; longer builds are slow


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


def _pairs(starts: Ints, most: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield places of the first and last day of stretches, a bounded number at once.

    Both are places among the days on which a stretch can start or end, sorted. `starts` are first
    days, and `most` the places after the latest possible last day of each.
    """
    sizes = most - starts
    chunk = np.cumsum(sizes) // _MAX_PAIRS
    for number in range(int(chunk[-1]) + 1 if len(chunk) else 0):
        here = chunk == number
        first, size = starts[here], sizes[here]
        up_to = np.cumsum(size)
        yield (
            np.repeat(first, size),
            np.arange(int(up_to[-1]) if len(up_to) else 0) + np.repeat(first - up_to + size, size),
        )


def _likelihood(failures: Ints, builds: Ints) -> Floats:
    """Return the log-likelihood of `failures` in `builds` at their own rate."""
    found: Floats = _x_log_x(failures) + _x_log_x(builds - failures) - _x_log_x(builds)
    return found


def _x_log_x(x: Ints) -> Floats:
    found: Floats = x.astype(float) * np.log(np.maximum(x, 1))
    return found


def failure_rises(builds: Ints, failures: Ints) -> Candidates:
    """Return the stretch of each series whose failure rate is most likely higher than before.

    Arguments are sums `up_to` each day, with a row per series. A stretch starts and ends on a day
    with failures.
    """
    n, f, found = builds, failures, _Found(len(builds))
    builds, failures = np.diff(n), np.diff(f)
    enough: Mask = (f[:, -1] >= MIN_COUNT) & (n[:, -1] > _MIN_BUILDS_BEFORE)
    series, day = np.nonzero((failures > 0) & enough[:, np.newaxis])
    before, failed = n[series, day], f[series, day]
    starts = np.flatnonzero(
        (before >= _MIN_BUILDS_BEFORE)
        & (failures[series, day] * before > failed * builds[series, day])
    )
    width = builds.shape[1] + _MAX_DAYS
    key = series * width + day
    most = np.searchsorted(key, key[starts] + _MAX_DAYS)
    for first, last in _pairs(starts, most):
        of, count_before, failed_before = series[first], before[first], failed[first]
        count = n[of, day[last] + 1] - count_before
        failed_in = f[of, day[last] + 1] - failed_before
        rise = failed_in / count - failed_before / count_before
        some = np.flatnonzero((failed_in >= MIN_COUNT) & (rise >= MIN_POINTS))
        now, usual = (failed_in[some], count[some]), (failed_before[some], count_before[some])
        strengths = (
            _likelihood(*usual)
            + _likelihood(*now)
            - _likelihood(now[0] + usual[0], now[1] + usual[1])
        )
        found.offer(of[some], day[first[some]], day[last[some]], strengths)
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


def slowdowns(builds: Ints, seconds: Ints, variation: float) -> Candidates:
    """Return the stretch of each series whose average duration is most likely longer than before.

    Arguments are sums `up_to` each day, with a row per series. `variation` is the coefficient of
    variation of durations.
    """
    n, sums, found = builds, seconds, _Found(len(builds))
    builds, seconds = np.diff(n), np.diff(sums)
    enough: Mask = n[:, -1] >= MIN_BUILDS
    series, day = np.nonzero((builds > 0) & enough[:, np.newaxis])
    before, seconds_before = n[series, day], sums[series, day]
    starts = np.flatnonzero(
        (before >= _MIN_BUILDS_BEFORE)
        & (seconds_before > 0)
        & (seconds[series, day] * before >= MIN_RATIO * seconds_before * builds[series, day])
    )
    most = np.minimum(starts + _MAX_DAYS, np.searchsorted(series, series[starts], side="right"))
    for first, last in _pairs(starts, most):
        of, count_before = series[first], before[first]
        level = seconds_before[first] / count_before
        count = n[of, day[last] + 1] - count_before
        seconds_in = sums[of, day[last] + 1] - seconds_before[first]
        some = np.flatnonzero((count >= MIN_COUNT) & (seconds_in >= MIN_RATIO * level * count))
        ratio = seconds_in[some] / count[some] / level[some]
        strengths = strength(ratio, count[some], count_before[some], variation)
        found.offer(of[some], day[first[some]], day[last[some]], strengths)
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
    for quantile in _QUANTILES:
        place = np.searchsorted(up_to + before_up_to, quantile * (builds + others))
        slow, slow_before = builds - int(up_to[place]), others - int(before_up_to[place])
        found = min(found, fisher(slow, builds, slow_before, others))
    return min(1.0, found * len(_QUANTILES))
