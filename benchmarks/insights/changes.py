"""Change points of `insights/regressions` beside those of `ruptures` (PELT) on the same series.

A series has days of builds with a planted rise of the failure rate or of durations, or none. Both
are asked on each day, as a server would be. The rival gets the means of the days.

The insight searches thousands of series at once, so it is strict with each. It is compared with a
rival that is as strict: with the penalty, best in hindsight, that has no more false findings. With
one false finding a month in each series allowed, both get the best penalty or level in hindsight.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Final

import numpy as np
import ruptures

from asu_stats.chance import fisher
from asu_stats.reports.insights import change_points
from asu_stats.reports.insights.change_points import MIN_POINTS, MIN_RATIO
from asu_stats.store.blocks.keys import Ints
from benchmarks.report import Results, Table, Target

DAYS: Final = 75
_SEEDS: Final = 8  # series of each size and strength
_QUIET: Final = 24  # series of each size without a rise
_SIZES: Final = (20, 60, 200)  # builds a day
_STRENGTHS: Final = {"failure rate": (10, 15, 25), "duration": (1.3, 1.5, 2.0)}
_USUAL: Final = 5  # percent of failures
_SPREAD: Final = 0.5  # standard deviation of logarithms of durations
_FIRST: Final = 28  # days before it are the past
_WITHIN: Final = 14  # days in which a rise must be found
_NEAR: Final = 2  # days between a planted rise and the day found
_TESTS: Final = 12  # dimensions and measures, as in the insight
_P: Final = 0.01
_LEVELS: Final = tuple(_P * 10.0**power for power in range(8))
_PENALTIES: Final = tuple(2.0**power for power in np.arange(0.0, 8.1, 0.5))  # times the variance
_LONGEST: Final = 2_000  # seconds


@dataclass(frozen=True, slots=True)
class Series:
    """Builds a day, failures or durations of each, and the day of the planted rise."""

    measure: str
    size: int
    strength: float | None
    builds: Ints
    bad: Ints  # failures, or the sum of seconds
    seconds: Sequence[Ints]  # of each build
    since: int | None


Finder = Callable[[Series, int], set[int]]  # first days of rises, given the days before a day


def made(measure: str, size: int, strength: float | None, seed: int) -> Series:
    """Generate a series, without a rise if `strength` is `None`."""
    chance = np.random.default_rng([seed, size, int(10 * (strength or 0)), len(measure)])
    since = None if strength is None else random.Random(seed).randint(35, 55)
    builds = chance.poisson(size, DAYS)
    changed = np.arange(DAYS) >= (DAYS if since is None else since)
    if measure == "failure rate":
        rates = np.where(changed, strength or _USUAL, _USUAL) / 100
        return Series(measure, size, strength, builds, chance.binomial(builds, rates), (), since)
    level = np.where(changed, 60 * (strength or 1), 60)
    seconds = [
        np.clip(np.rint(chance.lognormal(np.log(of), _SPREAD, n)), 1, _LONGEST).astype(np.int64)
        for of, n in zip(level, builds, strict=True)
    ]
    sums = np.array([each.sum() for each in seconds])
    return Series(measure, size, strength, builds, sums, seconds, since)


# What finds rises -------------------------------------------------------------------------------


def search(level: float) -> Finder:
    """Return the search of `insights/regressions` with a level of significance."""
    return lambda series, days: {
        start for start, p_value in _risen(series, days) if p_value < level
    }


def _risen(series: Series, days: int) -> Iterator[tuple[int, float]]:
    """Yield the first day of the rise that the search finds, and its p-value, corrected."""
    builds, bad = (change_points.up_to(of[np.newaxis, :days]) for of in (series.builds, series.bad))
    if series.measure == "failure rate":
        found = change_points.failure_rises(builds, bad)
    else:
        found = change_points.slowdowns(builds, bad, _SPREAD)
    strength, start, end = (each[0] for each in found)
    if strength < 0:
        return
    n, f = builds[0], bad[0]
    if series.measure == "failure rate":
        p_value = fisher(*map(int, (f[end] - f[start], n[end] - n[start], f[start], n[start])))
    else:
        before, during = (
            np.bincount(np.concatenate(series.seconds[first:last]), minlength=_LONGEST + 1)
            for first, last in ((0, start), (start, end))
        )
        p_value = change_points.slowdown_p_value(before, during)
    yield int(start), p_value * _TESTS * change_points.stretches(days)


def pelt(penalty: float) -> Finder:
    """Return the rival with a penalty, in variances of the days."""

    def found(series: Series, days: int) -> set[int]:
        means = series.bad[:days] / np.maximum(series.builds[:days], 1)
        if not means.var():
            return set()
        search: Any = ruptures.KernelCPD(kernel="linear", min_size=1).fit(means)
        usual = float(np.median(np.abs(np.diff(means)))) ** 2 or means.var()
        ends = search.predict(pen=penalty * usual)
        levels = [means[first:last].mean() for first, last in zip([0, *ends], ends, strict=False)]
        return {
            int(day)
            for day, (before, after) in zip(ends, itertools.pairwise(levels), strict=False)
            if (after - before >= MIN_POINTS)
            if series.measure == "failure rate" or after >= MIN_RATIO * before
        }

    return found


# What they find ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Score:
    """Rises found of those planted, days until then, and false findings a month."""

    found: int
    planted: int
    late: float | None
    false: float


def score(finder: Finder, every: Sequence[Series]) -> Score:
    """Ask on each day and count what is found."""
    late: list[int] = []
    false = months = planted = 0.0
    for series in every:
        if series.since is None:
            days = range(_FIRST, DAYS + 1)
            false += len({start for end in days for start in finder(series, end)})
            months += len(days) / 30
        else:
            planted += 1
            first = next(_hits(finder, series, series.since), None)
            late += [] if first is None else [first]
    return Score(len(late), int(planted), mean(late) if late else None, false / (months or 1))


def _hits(finder: Finder, series: Series, since: int) -> Iterator[int]:
    """Yield the numbers of days after which a rise is found near its day."""
    for days in range(1, min(_WITHIN, DAYS - since) + 1):
        if any(abs(start - since) <= _NEAR for start in finder(series, since + days)):
            yield days


def best(finders: Sequence[Finder], every: Sequence[Series], false: float) -> Score:
    """Return the best score in hindsight of finders with at most so many false findings a month."""
    scores = [score(finder, every) for finder in finders]
    return max(
        (of for of in scores if of.false <= false),
        key=lambda of: (of.found, -(of.late or 0)),
        default=min(scores, key=lambda of: of.false),
    )


def run(results: Results, _days: int, _per_day: int) -> None:
    """Compare found and false rises by measure, size and strength."""
    rows: list[Sequence[object]] = []
    targets: list[Target] = []
    rivals = [pelt(penalty) for penalty in _PENALTIES]
    searches = [search(level) for level in _LEVELS]
    for measure, strengths in _STRENGTHS.items():
        quiet = [made(measure, size, None, seed) for size in _SIZES for seed in range(_QUIET)]
        planted = [
            made(measure, size, strength, seed)
            for size in _SIZES
            for strength in strengths
            for seed in range(_SEEDS)
        ]
        every = quiet + planted
        ours = score(search(_P), every)
        strict = best(rivals, every, ours.false)
        lenient = best(searches, every, 1), best(rivals, every, 1)
        rows += [
            (measure, name, f"{of.found} of {of.planted}", of.late, of.false)
            for name, of in (
                ("insight", ours),
                ("PELT, as few false findings", strict),
                ("search, best level", lenient[0]),
                ("PELT, best penalty", lenient[1]),
            )
        ]
        for name, mine, rival in (("", ours, strict), (", one false a month each", *lenient)):
            what = f"{measure}{name}: rises found / found by PELT"
            ratio = mine.found / max(1, rival.found)
            targets.append(Target("changes", what, ratio, "at least", 1))
    columns = "measure", "found by", "found", "days late", "false findings a month"
    title = f"Rises found within {_WITHIN} days, at most {_NEAR} days from the planted day"
    note = (
        f"{_SEEDS} series each of {_SIZES} builds a day; failures rise from {_USUAL}% to "
        f"{_STRENGTHS['failure rate']}%, durations by factors {_STRENGTHS['duration']}."
    )
    results.add("changes", rows, [Table(title, columns, rows, note)], targets)
