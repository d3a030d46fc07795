"""How well change points find planted rises: fewer found, later or wrong ones fail.

The benchmark `changes` compares the same kind of series with `ruptures`; see benchmarks/README.md.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from asu_stats.chance import fisher
from asu_stats.reports.insights import change_points
from asu_stats.store.blocks.columns import Mask
from asu_stats.store.blocks.keys import Ints

DAYS = 75
SERIES = 100  # of each strength
SPREAD = 0.5  # standard deviation of logarithms of durations
TESTS = 12 * change_points.stretches(DAYS)
P = 0.01


def planted(size: int, strength: float) -> tuple[np.random.Generator, Ints, Ints, Mask]:
    """Return a generator, builds per day, since when they changed, and which days changed."""
    chance = np.random.default_rng([size, int(10 * strength)])
    since = chance.integers(35, 56, SERIES)
    changed = np.arange(DAYS) >= since[:, np.newaxis]
    return chance, chance.poisson(size, (SERIES, DAYS)), since, changed


def rises(size: int, percent: float) -> tuple[Ints, Ints]:
    """Return the days on which significant rises begin, -1 without one, and the planted days."""
    chance, builds, since, changed = planted(size, percent)
    failures = chance.binomial(builds, np.where(changed, percent, 5) / 100)
    sums, failed = map(change_points.up_to, (builds, failures))
    found = change_points.failure_rises(sums, failed)
    starts = np.full(SERIES, -1)
    for number, (strength, start, end) in enumerate(zip(*found, strict=True)):
        n, f = sums[number], failed[number]
        numbers = map(int, (f[end] - f[start], n[end] - n[start], f[start], n[start]))
        if strength >= 0 and fisher(*numbers) * TESTS < P:
            starts[number] = start
    return starts, since


def slowdowns(size: int, factor: float) -> tuple[Ints, Ints]:
    """Return the same of durations."""
    chance, builds, since, changed = planted(size, factor)
    level = np.repeat(np.where(changed, 60 * factor, 60).ravel(), builds.ravel())
    seconds = np.rint(chance.lognormal(np.log(level), SPREAD)).astype(np.int64)
    cell = np.repeat(np.arange(SERIES * DAYS), builds.ravel())
    sums = change_points.up_to(builds)
    total = np.bincount(cell, seconds, SERIES * DAYS).astype(np.int64).reshape(SERIES, DAYS)
    found = change_points.slowdowns(sums, change_points.up_to(total), SPREAD)
    starts = np.full(SERIES, -1)
    for number, (strength, start, end) in enumerate(zip(*found, strict=True)):
        edges = np.searchsorted(cell, number * DAYS + np.array([0, start, end]))
        before, during = (np.bincount(seconds[a:b], minlength=10_000) for a, b in pairwise(edges))
        if strength >= 0 and change_points.slowdown_p_value(before, during) * TESTS < P:
            starts[number] = start
    return starts, since


@pytest.mark.parametrize(
    ("search", "size", "strength", "found", "near"),
    [
        (rises, 20, 15, 95, 80),
        (rises, 60, 10, 72, 46),
        (rises, 200, 10, 93, 83),
        (slowdowns, 20, 1.3, 95, 80),
        (slowdowns, 20, 1.5, 98, 95),
        (slowdowns, 60, 1.3, 98, 95),
    ],
)
def test_planted_rises_are_found_on_their_days(
    search: Callable[[int, float], tuple[Ints, Ints]],
    size: int,
    strength: float,
    found: int,
    near: int,
) -> None:
    """Of a hundred series, at least so many are `found`, and so many within two days."""
    starts, since = search(size, strength)
    assert (starts >= 0).sum() >= found
    assert (abs(starts - since) <= 2).sum() >= near


@pytest.mark.parametrize(("search", "usual"), [(rises, 5), (slowdowns, 1)])
def test_series_without_a_rise_have_none(
    search: Callable[[int, float], tuple[Ints, Ints]], usual: float
) -> None:
    for size in (20, 60, 200):
        assert (search(size, usual)[0] >= 0).sum() == 0
