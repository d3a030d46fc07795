"""Timing of two alternatives in turn, percentiles, and memory of processes."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asu_stats.events import Event


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds per round of two alternatives that process the same `items` per round."""

    seconds: list[float]
    baseline: list[float]
    items: int

    @property
    def ratio(self) -> float:
        """Speed relative to the baseline: the median over the rounds."""
        pairs = zip(self.seconds, self.baseline, strict=True)
        return statistics.median(baseline / seconds for seconds, baseline in pairs)

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / statistics.median(self.seconds)

    @property
    def baseline_rate(self) -> float:
        """Items per second of the baseline."""
        return self.items / statistics.median(self.baseline)


def compare(
    run: Callable[[int], object], baseline: Callable[[int], object], *, rounds: int, items: int
) -> Comparison:
    """Run both in turn, so that noise affects both alike. The first round is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        order = ((0, run), (1, baseline))
        for side, call in order if number % 2 else reversed(order):
            started = time.perf_counter()
            call(number)
            if number:
                times[side].append(time.perf_counter() - started)
    return Comparison(times[0], times[1], items)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def resident_mib(pid: int | str = "self") -> float:
    """Return the resident memory of a process."""
    for line in (Path("/proc") / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class EventSupply:
    """Events of a history, of which each is used once."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._used = 0

    def take(self, count: int) -> list[Event]:
        """Return the next `count` events."""
        if self._used + count > len(self._events):
            raise ValueError("too few events for this run")
        self._used += count
        return list(self._events[self._used - count : self._used])
