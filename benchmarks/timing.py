"""Timing two sides against each other, and what a process holds."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Duel:
    """Seconds of two sides that did the same work, by round."""

    ours: list[float]
    theirs: list[float]
    work: int
    """Pieces of work a round."""

    @property
    def ratio(self) -> float:
        """Our speed as a share of theirs: the median of the rounds."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return statistics.median(theirs / ours for ours, theirs in pairs)

    @property
    def our_rate(self) -> float:
        """Pieces a second."""
        return self.work / statistics.median(self.ours)

    @property
    def their_rate(self) -> float:
        """Pieces a second."""
        return self.work / statistics.median(self.theirs)


def duel(
    ours: Callable[[int], object], theirs: Callable[[int], object], *, rounds: int, work: int
) -> Duel:
    """Let both sides do round after round in turn, so that noise meets both; the first warms up."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        order = ((0, ours), (1, theirs))
        for side, do in order if number % 2 else reversed(order):
            started = time.perf_counter()
            do(number)
            if number:
                times[side].append(time.perf_counter() - started)
    return Duel(times[0], times[1], work)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def resident_mib(pid: int | str = "self") -> float:
    """Return how much memory a process holds."""
    for line in (Path("/proc") / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Supply(Generic[T]):
    """Things to take from, in order."""

    def __init__(self, items: Sequence[T]) -> None:
        self._items = items
        self._taken = 0

    def take(self, count: int) -> list[T]:
        """Return the next ones."""
        if self._taken + count > len(self._items):
            raise ValueError("the supply of events is too small for this run")
        self._taken += count
        return list(self._items[self._taken - count : self._taken])
