"""The waiting times of `insights/capacity` beside a simulation by `simpy`."""

import random
from collections.abc import Generator, Sequence
from typing import Any, Final

import simpy

from asu_stats.reports.insights import queue_simulation
from benchmarks.report import Results, Table, Target

_HOURS: Final = (
    *(0.9, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9),
    *(1.0, 1.0, 1.1, 1.1, 1.2, 1.4, 1.6, 1.7, 1.7, 1.5, 1.2, 1.1),
)
_DURATIONS: Final = [(20, 5), (50, 20), (70, 30), (90, 25), (140, 12), (300, 6), (600, 2)]
# Workers, and builds per hour on average.
_CASES: Final = ((1, 8), (1, 14), (2, 30), (4, 80), (10, 230), (20, 500))
_BUILDS: Final = 400_000  # of the independent simulation


def run(results: Results, _days: int, _per_day: int) -> None:
    """Compare the same arrivals, and independent ones."""
    rows: list[Sequence[object]] = []
    same, apart = 0.0, 0.0
    mean = sum(s * n for s, n in _DURATIONS) / sum(n for _, n in _DURATIONS)
    for workers, per_hour in _CASES:
        rates = [per_hour * _HOURS[hour % 24] for hour in range(queue_simulation.HOURS)]
        simulated = queue_simulation.arrivals(rates, _DURATIONS, workers)
        ours = queue_simulation.wait(simulated, workers)
        equal = _summary(simpy_waits(simulated.builds, workers)[simulated.skipped :])
        other = _summary(simpy_waits(_arrivals(rates, workers), workers))
        load = 100 * queue_simulation.load(rates, mean) / workers
        rows.append((workers, per_hour, load, *ours, *equal, *other))
        same = max(same, *(_off(a, b) for a, b in zip(ours, equal, strict=True)))
        apart = max(apart, *(_off(a, b) for a, b in zip(ours, other, strict=True)))
    columns = (
        *("workers", "builds an hour", "utilisation %", "mean s", "p95 s"),
        *("simpy, same arrivals", "p95", "simpy, its own", "p95"),
    )
    targets = [
        Target("capacity", "off simpy with the same arrivals, %", same, "at most", 0.01),
        Target("capacity", "off an independent simpy run, %", apart, "at most", 5),
    ]
    note = "Waits of less than a second count as a second in the targets."
    results.add("capacity", rows, [Table("Waits for a worker", columns, rows, note)], targets)


def simpy_waits(builds: Sequence[tuple[float, float]], workers: int) -> list[float]:
    """Return how long each build waits, in the order of their arrival."""
    world = simpy.Environment()
    pool = simpy.Resource(world, capacity=workers)
    waited = [0.0] * len(builds)

    def build(number: int, duration: float) -> Generator[Any, Any, None]:
        arrived = world.now
        with pool.request() as turn:
            yield turn
            waited[number] = world.now - arrived
            yield world.timeout(duration)

    def source() -> Generator[Any, Any, None]:
        for number, (at, duration) in enumerate(builds):
            yield world.timeout(at - world.now)
            world.process(build(number, duration))

    world.process(source())
    world.run()
    return waited


def _arrivals(rates: Sequence[float], workers: int) -> list[tuple[float, float]]:
    """Return arrivals by thinning: a random process of the highest rate, part of it dropped."""
    chance = random.Random(workers)
    seconds, weights = zip(*_DURATIONS, strict=True)
    most, at = max(rates), 0.0
    found: list[tuple[float, float]] = []
    while len(found) < _BUILDS:
        at += chance.expovariate(most / queue_simulation.HOUR)
        if chance.random() * most < rates[int(at / queue_simulation.HOUR) % queue_simulation.HOURS]:
            found.append((at, float(chance.choices(seconds, weights)[0])))
    return found


def _summary(waits: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(waits)
    rank = -(-len(ordered) * queue_simulation.PERCENTILE // 100)
    return sum(waits) / len(waits), ordered[rank - 1]


def _off(ours: float, theirs: float) -> float:
    return 100 * abs(ours - theirs) / max(1.0, theirs)
