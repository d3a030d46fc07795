"""How long builds wait for a worker: a queue with several workers, simulated. Pure mathematics.

Builds arrive at random at a rate that depends on the hour of the week (a Poisson process), and take
the next free worker in the order of their arrival. Durations are drawn from those that were seen.
The simulation has a fixed seed: equal figures have equal results.
"""

import math
import random
from collections.abc import Sequence
from heapq import heapreplace
from itertools import accumulate
from typing import Final, NamedTuple

HOURS: Final = 168
HOUR: Final = 3600.0
PERCENTILE: Final = 95
_SEED: Final = 20_260_930
_LEAST: Final = 40_000  # arrivals that are simulated
_MOST: Final = 200_000
_WEEKS: Final = 2_000
_ALMOST_FULL: Final = 0.9


class Wait(NamedTuple):
    """How long builds wait for a worker, in seconds."""

    mean: float
    p95: float


class Arrivals(NamedTuple):
    """Simulated builds: time of arrival and duration, in seconds. The first `skipped` warm up."""

    builds: list[tuple[float, float]]
    skipped: int


def load(rates: Sequence[float], mean_seconds: float) -> float:
    """Return how many workers are busy on average. `rates` are builds per hour of the week."""
    return sum(rates) / HOURS * mean_seconds / HOUR


def arrivals(
    rates: Sequence[float], durations: Sequence[tuple[int, int]], workers: int
) -> Arrivals:
    """Return simulated builds, more of them the busier so many workers are in the busiest hour.

    `rates` are builds per hour, for each hour of the week; `durations` are seconds, and how many
    builds took so long.
    """
    seconds = [second for second, _ in durations]
    weights = list(accumulate(count for _, count in durations))
    mean = sum(second * count for second, count in durations) / weights[-1]
    busy = min(max(rates) / HOUR * mean / workers, _ALMOST_FULL)
    wanted = min(max(_LEAST, int(12_000 / ((busy + 0.01) * (1 - busy) ** 2))), _MOST)
    weeks = min(max(1, math.ceil(wanted / sum(rates))), _WEEKS)
    chance = random.Random(_SEED)  # noqa: S311
    times: list[float] = []
    skipped = 0
    add, draw, log = times.append, chance.random, math.log
    for number in range((weeks + 1) * HOURS):
        if number == HOURS:
            skipped = len(times)
        rate = rates[number % HOURS]
        if rate <= 0:
            continue
        at, after, gap = number * HOUR, (number + 1) * HOUR, HOUR / rate
        while True:
            at -= gap * log(1.0 - draw())
            if at >= after:
                break
            add(at)
    drawn = chance.choices(seconds, cum_weights=weights, k=len(times))
    return Arrivals(list(zip(times, map(float, drawn), strict=True)), skipped)


def waits(simulated: Arrivals, workers: int) -> list[float]:
    """Return how long each build waits for one of `workers`, in seconds."""
    free = [0.0] * workers  # a heap: when each worker is free
    found: list[float] = []
    add = found.append
    for at, duration in simulated.builds:
        begin = free[0]
        if begin <= at:
            add(0.0)
            heapreplace(free, at + duration)
        else:
            add(begin - at)
            heapreplace(free, begin + duration)
    return found[simulated.skipped :]


def wait(simulated: Arrivals, workers: int) -> Wait:
    """Return the mean and the 95th percentile (nearest rank) of the waiting times."""
    found = waits(simulated, workers)
    if not found:
        return Wait(0.0, 0.0)
    mean = sum(found) / len(found)
    found.sort()
    return Wait(mean, found[-(-len(found) * PERCENTILE // 100) - 1])


def workers_needed(simulated: Arrivals, offered: float, target: float) -> int:
    """Return the fewest workers with which 95% of the builds wait at most `target` seconds.

    `offered` is the `load`: with no more workers than that the queue grows without end.
    """
    least = math.floor(offered) + 1
    enough = least
    while not _is_met(simulated, enough, target):
        least, enough = enough + 1, 2 * enough
    while least < enough:
        middle = (least + enough) // 2
        if _is_met(simulated, middle, target):
            enough = middle
        else:
            least = middle + 1
    return enough


def _is_met(simulated: Arrivals, workers: int, target: float) -> bool:
    builds = len(simulated.builds) - simulated.skipped
    allowed = builds * (100 - PERCENTILE) // 100
    free = [0.0] * workers
    late = 0
    for place, (at, duration) in enumerate(simulated.builds):
        begin = free[0]
        if begin <= at:
            heapreplace(free, at + duration)
            continue
        heapreplace(free, begin + duration)
        if begin - at > target and place >= simulated.skipped:
            late += 1
            if late > allowed:
                return False
    return True
