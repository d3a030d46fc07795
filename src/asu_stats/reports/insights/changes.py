"""Change points: the days in a row on which a rate, or an average, was higher than before.

Days are numbers from 0. The search compares every stretch of days with all days before it, and
returns the one that is most likely to differ. A stretch ends with the last day, or on the day on
which the former level is back.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from asu_stats.chance import fisher

POINTS: Final = 0.05  # smallest change of a rate: 5 percentage points
TIMES: Final = 1.25  # smallest change of an average
FEWEST: Final = 5  # smallest number of failures, or of durations, in a stretch
_BEFORE: Final = 10  # smallest number of builds before it
_LONGEST: Final = 120  # days of a stretch that is searched; it may go on
_AFTERWARDS: Final = 5  # days with builds that decide whether the former level is back
_BACK: Final = 0.05
_QUANTILES: Final = (0.5, 0.75, 0.9)  # of all durations: where slow begins
THRESHOLDS: Final = len(_QUANTILES)


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
        """Tell whether they have days in common."""
        return self.start < other.end and other.start < self.end


def stretches(days: int) -> int:
    """Return the number of stretches that a search tries, for the correction of p-values."""
    return days * (days - 1) // 2


def _likelihood(failures: int, builds: int) -> float:
    """Return the logarithm of the likelihood of failures, at their own rate."""
    passed = builds - failures
    return sum(n * math.log(n / builds) for n in (failures, passed) if n)


def rise(builds: Sequence[int], failures: Sequence[int]) -> Stretch | None:
    """Return the stretch whose failure rate is most likely higher than before; `None` if none is.

    Only days with failures begin or end it.
    """
    n, f = ([0, *accumulate(each)] for each in (builds, failures))
    failing = [day for day, count in enumerate(failures) if count > 0]
    best: Stretch | None = None
    for place, start in enumerate(failing):
        before, failed = n[start], f[start]
        if before < _BEFORE or failures[start] * before <= failed * builds[start]:
            continue
        rate, alone = failed / before, _likelihood(failed, before)
        for last in failing[place:]:
            if last - start >= _LONGEST:
                break
            count, bad = n[last + 1] - before, f[last + 1] - failed
            if bad < FEWEST or bad / count - rate < POINTS:
                continue
            together = _likelihood(f[last + 1], n[last + 1])
            found = alone + _likelihood(bad, count) - together
            if best is None or found > best.strength:
                best = Stretch(start, last + 1, found)
    return best and _lasting_rise(best, builds, failures)


def _lasting_rise(found: Stretch, builds: Sequence[int], failures: Sequence[int]) -> Stretch:
    """Return the stretch up to the last day, unless the former rate is back after it."""
    start, end = found.start, found.end
    after = _after(builds, end)
    n, f = (sum(each[day] for day in after) for each in (builds, failures))
    before, failed = sum(builds[:start]), sum(failures[:start])
    count, bad = sum(builds[start:end]), sum(failures[start:end])
    still = n and f / n - failed / before >= POINTS and fisher(f, n, failed, before) < _BACK
    if not still and fisher(bad, count, f, n) < _BACK:
        return Stretch(start, after[0], found.strength)
    return Stretch(start, len(builds), found.strength)


def strength(ratio: float, builds: int, before: int, variation: float) -> float:
    """Return the strength of a change of an average by a ratio, as of normal logarithms."""
    return (math.log(ratio) / variation) ** 2 / (1 / builds + 1 / before) / 2


def slowdown(builds: Sequence[int], seconds: Sequence[int], variation: float) -> Stretch | None:
    """Return the stretch whose average duration is most likely longer than before.

    `variation` is the coefficient of variation of durations. `None` if there is no such stretch.
    """
    n, total = ([0, *accumulate(each)] for each in (builds, seconds))
    days = [day for day, count in enumerate(builds) if count > 0]
    best: Stretch | None = None
    for place, start in enumerate(days):
        before, was = n[start], total[start]
        if before < _BEFORE or not was or seconds[start] * before < TIMES * was * builds[start]:
            continue
        level = was / before
        for last in days[place : place + _LONGEST]:
            count, sum_of = n[last + 1] - before, total[last + 1] - was
            if count < FEWEST or sum_of < TIMES * level * count:
                continue
            found = strength(sum_of / count / level, count, before, variation)
            if best is None or found > best.strength:
                best = Stretch(start, last + 1, found)
    return best and _lasting_slowdown(best, builds, seconds)


def _lasting_slowdown(found: Stretch, builds: Sequence[int], seconds: Sequence[int]) -> Stretch:
    """Return the stretch up to the last day, unless the former average is back after it."""
    start, end = found.start, found.end
    after = _after(builds, end)
    if sum(builds[day] for day in after) < FEWEST:
        return Stretch(start, len(builds), found.strength)
    was, now, then = (
        sum(seconds[day] for day in part) / sum(builds[day] for day in part)
        for part in (range(start), range(start, end), after)
    )
    middle = math.sqrt(was * now)  # both levels are as many times away
    return Stretch(start, after[0] if then < middle else len(builds), found.strength)


def _after(builds: Sequence[int], end: int) -> list[int]:
    """Return the first days with builds from `end` on."""
    return [day for day in range(end, len(builds)) if builds[day] > 0][:_AFTERWARDS]


def slower(before: Mapping[int, int], then: Mapping[int, int]) -> float:
    """Return the p-value of slow builds being as common as before, from builds by seconds.

    Fisher's exact test, at the median and two higher percentiles of all; the smallest times their
    number.
    """
    builds, others = sum(then.values()), sum(before.values())
    if not builds or not others:
        return 1.0
    found = 1.0
    for quantile in _QUANTILES:
        limit = _quantile((before, then), quantile)
        slow, slow_before = (
            sum(n for seconds, n in part.items() if seconds > limit) for part in (then, before)
        )
        found = min(found, fisher(slow, builds, slow_before, others))
    return min(1.0, found * THRESHOLDS)


def _quantile(parts: Sequence[Mapping[int, int]], quantile: float) -> int:
    """Return the smallest duration that so large a part of all builds did not exceed."""
    ordered = sorted(set().union(*parts))
    rank = quantile * sum(sum(part.values()) for part in parts)
    up_to = accumulate(sum(part.get(seconds, 0) for part in parts) for seconds in ordered)
    return next(seconds for seconds, count in zip(ordered, up_to, strict=True) if count >= rank)
