"""Simulation of a queue with several workers: how long builds wait for a worker.

Builds arrive in a Poisson process whose rate depends on the hour of the week, and are served in the
order of their arrival. Durations are drawn from observed ones. The seed is fixed, so equal input
has equal results.
"""

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from heapq import heapreplace
from itertools import accumulate
from typing import Final, NamedTuple, TypeVar

_Number = TypeVar("_Number", float, Fraction)

HOURS: Final = 168
HOUR: Final = 3_600  # seconds
PERCENTILE: Final = 95
_SEED: Final = 20_260_930
_MIN_ARRIVALS: Final = 40_000
_MAX_ARRIVALS: Final = 200_000
_MAX_WEEKS: Final = 2_000
_MAX_UTILISATION: Final = 0.9  # that the number of simulated arrivals is chosen for


class Wait(NamedTuple):
    """Waiting times in seconds."""

    mean: float
    p95: float


class Arrivals(NamedTuple):
    """Simulated builds: time of arrival and duration in seconds.

    The first `skipped` builds, those of the first week, fill the queue and are not evaluated.
    """

    builds: list[tuple[float, float]]
    skipped: int


def load(rates: Sequence[_Number], mean_seconds: _Number) -> _Number:
    """Return the average number of busy workers. `rates` are builds per hour, by hour of the week.

    In queueing theory this is the offered load, in erlangs.
    """
    return sum(rates) * mean_seconds / (HOURS * HOUR)


def arrivals(
    rates: Sequence[float], durations: Sequence[tuple[int, int]], workers: int
) -> Arrivals:
    """Simulate arrivals: the higher the utilisation of the busiest hour, the more of them.

    `rates` are builds per hour, by hour of the week. `durations` are pairs of seconds and number of
    builds.
    """
    seconds = [second for second, _ in durations]
    weights = list(accumulate(count for _, count in durations))
    mean = sum(second * count for second, count in durations) / weights[-1]
    busy = min(max(rates) / HOUR * mean / workers, _MAX_UTILISATION)
    count = int(12_000 / ((busy + 0.01) * (1 - busy) ** 2))
    count = min(max(_MIN_ARRIVALS, count), _MAX_ARRIVALS)
    weeks = min(max(1, math.ceil(count / sum(rates))), _MAX_WEEKS)
    rng = random.Random(_SEED)  # noqa: S311
    times: list[float] = []
    skipped = 0
    add, draw, log = times.append, rng.random, math.log
    for number in range((weeks + 1) * HOURS):
        if number == HOURS:
            skipped = len(times)
        rate = rates[number % HOURS]
        if rate <= 0:
            continue
        time, end, gap = float(number * HOUR), (number + 1) * HOUR, HOUR / rate
        while True:
            time -= gap * log(1.0 - draw())
            if time >= end:
                break
            add(time)
    drawn = rng.choices(seconds, cum_weights=weights, k=len(times))
    return Arrivals(list(zip(times, map(float, drawn), strict=True)), skipped)


def waits(simulated: Arrivals, workers: int) -> list[float]:
    """Return the waiting time of each build in seconds."""
    free = [0.0] * workers  # heap of the times at which each worker becomes free
    found: list[float] = []
    add = found.append
    for arrival, duration in simulated.builds:
        start = free[0]
        if start <= arrival:
            add(0.0)
            heapreplace(free, arrival + duration)
        else:
            add(start - arrival)
            heapreplace(free, start + duration)
    return found[simulated.skipped :]


def wait(simulated: Arrivals, workers: int) -> Wait:
    """Return the mean and the 95th percentile (nearest rank) of the waiting times."""
    found = waits(simulated, workers)
    if not found:
        return Wait(0.0, 0.0)
    mean = sum(found) / len(found)
    found.sort()
    return Wait(mean, found[-(-len(found) * PERCENTILE // 100) - 1])


def workers_needed(simulated: Arrivals, offered: float | Fraction, target: float) -> int:
    """Return the fewest workers with which 95% of the builds wait at most `target` seconds.

    `offered` is the `load`. With that many workers or fewer, the queue grows without bound.
    """
    low = math.floor(offered) + 1
    high = low
    while not _meets_target(simulated, high, target):
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        if _meets_target(simulated, middle, target):
            high = middle
        else:
            low = middle + 1
    return high


def _meets_target(simulated: Arrivals, workers: int, target: float) -> bool:
    builds = len(simulated.builds) - simulated.skipped
    allowed = builds * (100 - PERCENTILE) // 100
    free = [0.0] * workers
    late = 0
    for number, (arrival, duration) in enumerate(simulated.builds):
        start = free[0]
        if start <= arrival:
            heapreplace(free, arrival + duration)
            continue
        heapreplace(free, start + duration)
        if start - arrival > target and number >= simulated.skipped:
            late += 1
            if late > allowed:
                return False
    return True
