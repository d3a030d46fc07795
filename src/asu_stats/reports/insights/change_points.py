"""Change points: consecutive days on which a rate or an average was higher than before.

Days are numbers from 0. The search compares every stretch of days with all days before it and
returns the stretch that most likely differs. A stretch ends when the former level returns, else
with the last day.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from asu_stats.chance import fisher

MIN_POINTS: Final = 0.05  # smallest change of a rate: 5 percentage points
MIN_RATIO: Final = 1.25  # smallest change of an average duration
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


def _likelihood(failures: int, builds: int) -> float:
    """Return the log-likelihood of `failures` in `builds` at their own rate."""
    passed = builds - failures
    return sum(n * math.log(n / builds) for n in (failures, passed) if n)


def failure_rise(builds: Sequence[int], failures: Sequence[int]) -> Stretch | None:
    """Return the stretch whose failure rate is most likely higher than before, or `None`.

    A stretch in the search starts and ends on a day with failures.
    """
    n, f = ([0, *accumulate(each)] for each in (builds, failures))
    failing = [day for day, count in enumerate(failures) if count > 0]
    pooled = {last: _likelihood(f[last + 1], n[last + 1]) for last in failing}
    best: Stretch | None = None
    for number, start in enumerate(failing):
        before, failed = n[start], f[start]
        if before < _MIN_BUILDS_BEFORE or failures[start] * before <= failed * builds[start]:
            continue
        rate, separate = failed / before, _likelihood(failed, before)
        for last in failing[number:]:
            if last - start >= _MAX_DAYS:
                break
            count, failures_in = n[last + 1] - before, f[last + 1] - failed
            if failures_in < MIN_COUNT or failures_in / count - rate < MIN_POINTS:
                continue
            found = separate + _likelihood(failures_in, count) - pooled[last]
            if best is None or found > best.strength:
                best = Stretch(start, last + 1, found)
    return best and _lasting_rise(best, builds, failures)


def _lasting_rise(found: Stretch, builds: Sequence[int], failures: Sequence[int]) -> Stretch:
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


def strength(ratio: float, builds: int, before: int, variation: float) -> float:
    """Return the strength of a change of an average duration by `ratio`.

    Logarithms of durations are treated as normally distributed.
    """
    return (math.log(ratio) / variation) ** 2 / (1 / builds + 1 / before) / 2


def slowdown(builds: Sequence[int], seconds: Sequence[int], variation: float) -> Stretch | None:
    """Return the stretch whose average duration is most likely longer than before, or `None`.

    `variation` is the coefficient of variation of durations.
    """
    n, total = ([0, *accumulate(each)] for each in (builds, seconds))
    days = [day for day, count in enumerate(builds) if count > 0]
    best: Stretch | None = None
    for number, start in enumerate(days):
        before, seconds_before = n[start], total[start]
        if before < _MIN_BUILDS_BEFORE or not seconds_before:
            continue
        if seconds[start] * before < MIN_RATIO * seconds_before * builds[start]:
            continue
        level = seconds_before / before
        for last in days[number : number + _MAX_DAYS]:
            count, seconds_in = n[last + 1] - before, total[last + 1] - seconds_before
            if count < MIN_COUNT or seconds_in < MIN_RATIO * level * count:
                continue
            found = strength(seconds_in / count / level, count, before, variation)
            if best is None or found > best.strength:
                best = Stretch(start, last + 1, found)
    return best and _lasting_slowdown(best, builds, seconds)


def _lasting_slowdown(found: Stretch, builds: Sequence[int], seconds: Sequence[int]) -> Stretch:
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


def slowdown_p_value(before: Mapping[int, int], during: Mapping[int, int]) -> float:
    """Return the p-value of slow builds being more common than before.

    Arguments are builds by duration in seconds. Fisher's exact test is applied at the 50th, 75th
    and 90th percentile of all durations; the result is three times the smallest p-value.
    """
    builds, others = sum(during.values()), sum(before.values())
    if not builds or not others:
        return 1.0
    found = 1.0
    for quantile in _QUANTILES:
        limit = _quantile((before, during), quantile)
        slow, slow_before = (
            sum(n for seconds, n in part.items() if seconds > limit) for part in (during, before)
        )
        found = min(found, fisher(slow, builds, slow_before, others))
    return min(1.0, found * len(_QUANTILES))


def _quantile(parts: Sequence[Mapping[int, int]], quantile: float) -> int:
    """Return the smallest duration that at least this fraction of all builds did not exceed."""
    ordered = sorted(set().union(*parts))
    rank = quantile * sum(sum(part.values()) for part in parts)
    up_to = accumulate(sum(part.get(seconds, 0) for part in parts) for seconds in ordered)
    return next(seconds for seconds, count in zip(ordered, up_to, strict=True) if count >= rank)
