"""Rounding, rates, averages and percentiles: the only place that makes them (contract §2.6)."""

from collections.abc import Iterable, Mapping
from heapq import nsmallest

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def quotient(numerator: int, denominator: int, decimals: int) -> float | None:
    """Return numerator / denominator, rounded half up from the exact quotient; `None` over 0."""
    if denominator == 0:
        return None
    scale: int = 10**decimals
    return (2 * numerator * scale + denominator) // (2 * denominator) / scale


def rate(part: int, whole: int) -> float | None:
    """Return `part` of `whole` in percent, to 2 decimals; `None` of nothing."""
    return quotient(100 * part, whole, 2)


def average(total: int, count: int) -> float | None:
    """Return total / count to 1 decimal; `None` of nothing."""
    return quotient(total, count, 1)


def hours(seconds: int) -> float:
    """Return seconds in hours, to 2 decimals."""
    return quotient(seconds, 3600, 2) or 0.0


class Distribution:
    """Whole-second durations, ascending, and how many builds took each: exact."""

    def __init__(self, seconds: Ints, builds: Ints) -> None:
        self._seconds = seconds
        self._up_to = np.cumsum(builds)
        self.builds = int(self._up_to[-1]) if len(builds) else 0
        self.total = int(seconds @ builds)

    @classmethod
    def of(cls, seconds: Ints, builds: Ints) -> "Distribution":
        """Return the distribution of durations in any order, each once; counts may be 0."""
        some = np.flatnonzero(builds)
        order = some[np.argsort(seconds[some])]
        return cls(seconds[order], builds[order])

    @property
    def average(self) -> float | None:
        """Average seconds, to 1 decimal."""
        return average(self.total, self.builds)

    @property
    def least(self) -> int | None:
        """The shortest duration."""
        return int(self._seconds[0]) if self.builds else None

    @property
    def most(self) -> int | None:
        """The longest duration."""
        return int(self._seconds[-1]) if self.builds else None

    def longest(self, builds: int) -> list[int]:
        """Return the durations, longest first, that the `builds` slowest builds took."""
        slower_than = np.searchsorted(self._up_to, self.builds - builds, side="right")
        found: list[int] = self._seconds[slower_than:][::-1].tolist()
        return found

    def percentile(self, percent: int) -> int | None:
        """Return the nearest-rank percentile.

        That is the smallest duration such that at least `percent` % of the builds took at most
        as long.
        """
        if not self.builds:
            return None
        rank = -(-percent * self.builds // 100)
        return int(self._seconds[np.searchsorted(self._up_to, rank)])


def top(
    counts: Mapping[str, int] | Iterable[tuple[str, int]], places: int
) -> list[tuple[str, int]]:
    """Return the names with the largest counts above 0: by count descending, then by name."""
    pairs = counts.items() if isinstance(counts, Mapping) else counts
    ranked = [(-count, name) for name, count in pairs if count]
    first = sorted(ranked) if len(ranked) <= 2 * places else nsmallest(places, ranked)
    return [(name, -count) for count, name in first[:places]]
