"""Groups of rows and change points of many series, against the simplest way to find them."""

import math
import random
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asu_stats.chance import fisher
from asu_stats.reports.insights import change_points, regression_searches
from asu_stats.reports.insights.significance import least_p
from asu_stats.store.blocks import columns

Row = tuple[int, int, int]
ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 9)), max_size=30)


@given(rows=ROWS, far=st.sampled_from((1, 10**6)))
def test_groups_of_rows(rows: list[Row], far: int) -> None:
    """With values that are near each other and far apart."""
    first, second, amount = (np.array([row[n] for row in rows], np.int64) for n in range(3))
    group, places = columns.numbered(first * far, second)
    keys = sorted({row[:2] for row in rows})
    assert [keys.index(row[:2]) for row in rows] == group.tolist()
    assert [rows[place][:2] for place in places.tolist()] == keys
    assert columns.total(group, len(keys), amount).tolist() == [
        sum(row[2] for row in rows if row[:2] == key) for key in keys
    ]
    assert columns.distinct(group, len(keys), amount * far).tolist() == [
        len({row[2] for row in rows if row[:2] == key}) for key in keys
    ]


@given(
    groups=st.lists(
        st.tuples(*[st.integers(0, 60)] * 3, st.integers(0, 3_000)), min_size=1, max_size=20
    )
)
def test_bounds_are_below_the_p_values(groups: list[tuple[int, ...]]) -> None:
    """No group is left out whose p-value is small."""
    failures = np.array([group[0] for group in groups], np.int64)
    builds = failures + np.array([group[1] for group in groups], np.int64)
    other_failures = np.array([group[2] for group in groups], np.int64)
    others = other_failures + np.array([group[3] for group in groups], np.int64)
    bounds = least_p(failures, builds, other_failures, others).tolist()
    for bound, *numbers in zip(
        bounds, *(of.tolist() for of in (failures, builds, other_failures, others)), strict=True
    ):
        p_value = fisher(*numbers)
        assert bound <= p_value or (bound == 1 and p_value > 0.1)


@given(st.tuples(*[st.integers(0, 25)] * 4), st.integers(0, 25))
def test_fewer_failures_have_a_larger_p_value(numbers: tuple[int, ...], fewer: int) -> None:
    """The bound of a search counts each failure, also those of one request."""
    failures, passed, other_failures, other_passed = numbers
    others = other_failures, other_failures + other_passed
    bound = fisher(failures, failures + passed, *others)
    failures = max(0, failures - fewer)
    assert bound <= fisher(failures, failures + passed, *others) * (1 + 1e-9)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9))
def test_the_bound_of_slow_builds_is_below_the_p_value(counts: list[tuple[int, int]]) -> None:
    before, during = (np.array(of, np.int64) for of in zip(*counts, strict=True))
    bound = change_points.least_slowdown_p_value(int(before.sum()), int(during.sum()))
    assert bound <= change_points.slowdown_p_value(before, during) * (1 + 1e-9)


@given(st.tuples(*[st.integers(0, 40)] * 4))
def test_a_weak_rise_has_no_small_p_value(numbers: tuple[int, ...]) -> None:
    """By which the search leaves out groups."""
    failures, passed, other_failures, other_passed = numbers
    during, before = (failures, failures + passed), (other_failures, other_failures + other_passed)
    assume(failures >= 5 and before[1] and failures * before[1] > other_failures * during[1])
    together = failures + other_failures, during[1] + before[1]
    strength = likelihood(*during) + likelihood(*before) - likelihood(*together)
    bound = regression_searches.CHANCE / math.sqrt(together[0]) * math.exp(-strength)
    assert bound <= fisher(*during, *before)


# Change points -----------------------------------------------------------------------------------


def likelihood(failures: int, builds: int) -> float:
    counts = failures, builds - failures
    return sum(n * math.log(n / builds) for n in counts if n)


def rise(builds: list[int], failures: list[int]) -> tuple[float, int, int] | None:
    """Try every stretch that starts and ends on a day with failures."""
    n, f = ([0, *accumulate(each)] for each in (builds, failures))
    best = None
    failing = [day for day, count in enumerate(failures) if count]
    for start in failing:
        before, failed = n[start], f[start]
        if before < 10 or failures[start] * before <= failed * builds[start]:
            continue
        for last in [day for day in failing if start <= day < start + 120]:
            count, found = n[last + 1] - before, f[last + 1] - failed
            if found < 5 or found / count - failed / before < 0.05:
                continue
            strength = likelihood(failed, before) + likelihood(found, count)
            strength -= likelihood(f[last + 1], n[last + 1])
            if best is None or strength > best[0]:
                best = strength, start, last + 1
    return best


def slowdown(builds: list[int], seconds: list[int]) -> tuple[float, int, int] | None:
    """Try every stretch that starts and ends on a day with builds."""
    n, total = ([0, *accumulate(each)] for each in (builds, seconds))
    best = None
    if n[-1] < change_points.MIN_BUILDS:
        return None
    days = [day for day, count in enumerate(builds) if count]
    for number, start in enumerate(days):
        before = n[start]
        if before < 10 or not total[start]:
            continue
        level = total[start] / before
        if seconds[start] * before < 1.25 * total[start] * builds[start]:
            continue
        for last in days[number : number + 120]:
            count, found = n[last + 1] - before, total[last + 1] - total[start]
            if count < 5 or found < 1.25 * level * count:
                continue
            strength = (math.log(found / count / level) / 0.5) ** 2
            strength /= 2 * (1 / count + 1 / before)
            if best is None or strength > best[0]:
                best = strength, start, last + 1
    return best


@pytest.mark.parametrize("pairs", [1 << 20, 50])
def test_the_best_stretches_of_many_series(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece and in many."""
    monkeypatch.setattr(change_points, "_MAX_PAIRS", pairs)
    chance = random.Random(3)
    builds, failures, seconds = list[list[int]](), list[list[int]](), list[list[int]]()
    for number in range(60):
        rate, days = chance.random() / 3, 130
        builds.append([chance.choice((0, 1, 3, number)) for _ in range(days)])
        failures.append([sum(chance.random() < rate for _ in range(n)) for n in builds[-1]])
        seconds.append([sum(chance.randrange(20, 200) for _ in range(n)) for n in builds[-1]])
    for series in (builds, failures, seconds):
        series.append([0] * 130)
    sums, failed, total = (
        change_points.up_to(np.array(each, np.int64)) for each in (builds, failures, seconds)
    )
    for found, naive, others in (
        (change_points.failure_rises(sums, failed), rise, failures),
        (change_points.slowdowns(sums, total, 0.5), slowdown, seconds),
    ):
        some = 0
        for strength, start, end, *of in zip(*found, builds, others, strict=True):
            expected = naive(*of)
            assert (strength >= 0) == (expected is not None)
            if expected:
                some += 1
                assert strength == pytest.approx(expected[0], rel=1e-6, abs=1e-6)
                assert (start, end) == expected[1:]
        assert some > 20


def test_strong_stretches_are_the_same_if_weak_ones_are_left_out() -> None:
    chance = np.random.default_rng(5)
    series, days = 300, 150
    since = chance.integers(10, days, series)[:, np.newaxis]
    changed = (np.arange(days) >= since) & (chance.random(series) < 0.7)[:, np.newaxis]
    builds = chance.poisson(chance.choice((0.5, 3, 30), series)[:, np.newaxis], (series, days))
    failures = chance.binomial(builds, np.where(changed, 0.3, 0.05))
    noise = chance.lognormal(0, 0.3 / np.sqrt(np.maximum(builds, 1)))
    seconds = np.rint(builds * np.where(changed, 100, 60) * noise).astype(np.int64)
    sums, failed, total = map(change_points.up_to, (builds, failures, seconds))
    least = chance.choice((6.0, 12.0, 25.0), series)
    for every, found in (
        (
            change_points.failure_rises(sums, failed),
            change_points.failure_rises(sums, failed, least),
        ),
        (
            change_points.slowdowns(sums, total, 0.5),
            change_points.slowdowns(sums, total, 0.5, least),
        ),
    ):
        strong = every.strength >= least
        assert 50 < strong.sum() < 250
        assert all((a[strong] == b[strong]).all() for a, b in zip(every, found, strict=True))
        assert (found.strength[~strong] < least[~strong]).all()
