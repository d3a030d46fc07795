"""Rounding, rates, averages and percentiles: the only place that makes them (contract §2.6)."""

from collections.abc import Iterable, Mapping
from heapq import nsmallest
from itertools import islice
from math import prod

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
    # `quotient` written out, as in `average`: long lists ask for several per row.
    return (20_000 * part + whole) // (2 * whole) / 100 if whole else None


def growth(now: float, before: float) -> float | None:
    """Return by how many percent `now` is more than `before`, to 2 decimals; `None` from 0."""
    new, old = (round(value * 100) for value in (now, before))
    return rate(new - old, old)


def points(now: float, before: float) -> float:
    """Return the difference of two figures as they are shown, with 2 decimals."""
    return (round(now * 100) - round(before * 100)) / 100


def hundredths(value: float) -> float:
    """Return what is no quotient of whole numbers, to 2 decimals."""
    return quotient(round(value * 1e6), 1_000_000, 2) or 0.0


def average(total: int, count: int) -> float | None:
    """Return total / count to 1 decimal; `None` of nothing."""
    return (20 * total + count) // (2 * count) / 10 if count else None


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
    def variation(self) -> float | None:
        """Standard deviation over average."""
        if not self.total:
            return None
        squares = float(self._seconds.astype(float) ** 2 @ np.diff(self._up_to, prepend=0))
        mean = self.total / self.builds
        return float(np.sqrt(max(0.0, squares / self.builds - mean**2))) / mean

    @property
    def least(self) -> int | None:
        """The shortest duration."""
        return int(self._seconds[0]) if self.builds else None

    @property
    def most(self) -> int | None:
        """The longest duration."""
        return int(self._seconds[-1]) if self.builds else None

    def up_to(self, seconds: int) -> int:
        """Return how many builds took at most `seconds`."""
        place = int(np.searchsorted(self._seconds, seconds, side="right"))
        return int(self._up_to[place - 1]) if place else 0

    def longest(self, builds: int) -> list[int]:
        """Return the durations, longest first, that the `builds` slowest builds took."""
        slower_than = np.searchsorted(self._up_to, self.builds - builds, side="right")
        found: list[int] = self._seconds[slower_than:][::-1].tolist()
        return found

    def histogram(self, edges: list[int]) -> list[int]:
        """Return how many builds took less than each of `edges`, ascending, and not less before."""
        up_to = np.concatenate(([0], self._up_to))[np.searchsorted(self._seconds, edges)]
        found: list[int] = np.diff(up_to, prepend=0).tolist()
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


class Distributions:
    """Distributions of several groups side by side: ordered by group, then by seconds."""

    def __init__(self, groups: Ints, seconds: Ints, builds: Ints) -> None:
        """Take durations in that order, each once per group; no count is 0."""
        self._seconds, self._counts = seconds, builds
        self._starts = np.flatnonzero(np.diff(groups, prepend=-1))
        self.groups: list[int] = groups[self._starts].tolist()

    def _sums(self, amounts: Ints) -> Ints:
        return np.add.reduceat(amounts, self._starts) if self.groups else amounts

    def builds(self) -> list[int]:
        """Return how many builds each group has."""
        found: list[int] = self._sums(self._counts).tolist()
        return found

    def totals(self) -> list[int]:
        """Return the seconds of all builds of each group together."""
        found: list[int] = self._sums(self._counts * self._seconds).tolist()
        return found

    def medians(self) -> list[int]:
        """Return the nearest-rank median of each group."""
        up_to, builds = np.cumsum(self._counts), self._sums(self._counts)
        ranks = np.cumsum(builds) - builds + (builds + 1) // 2
        found: list[int] = self._seconds[np.searchsorted(up_to, ranks)].tolist()
        return found


def top(
    counts: Mapping[str, int] | Iterable[tuple[str, int]], places: int
) -> list[tuple[str, int]]:
    """Return the names with the largest counts above 0: by count descending, then by name."""
    pairs = counts.items() if isinstance(counts, Mapping) else counts
    ranked = [(-count, name) for name, count in pairs if count]
    first = sorted(ranked) if len(ranked) <= 2 * places else nsmallest(places, ranked)
    return [(name, -count) for count, name in first[:places]]


def order_by(*columns: Ints) -> Ints:
    """Return the order by the first column, then by the next; no value is negative."""
    if not len(columns[0]):
        return np.zeros(0, np.int64)
    sizes = [int(column.max()) + 1 for column in columns]
    if prod(sizes) >= 1 << 63:
        return np.lexsort(columns[::-1])
    key = columns[0]  # one number for all of them: sorting those is several times as fast
    for column, size in zip(columns[1:], sizes[1:], strict=True):
        key = key * size + column
    return np.argsort(key)


def top_of_each(
    groups: Ints, names: Ints, counts: Ints, places: int
) -> dict[int, tuple[int, list[tuple[int, int]]]]:
    """Return for each group how many of its names have a count, and the `top` ones with it.

    Names are given as numbers in the order of the names; no count is negative.
    """
    some = np.flatnonzero(counts)
    if not len(some):
        return {}
    most = counts[some].max()
    order = some[order_by(groups[some], most - counts[some], names[some])]
    of_group = groups[order]
    starts = np.flatnonzero(np.diff(of_group, prepend=-1))
    sizes = np.diff(starts, append=len(order))
    shown = np.minimum(sizes, places)
    first = np.repeat(starts - np.cumsum(shown) + shown, shown) + np.arange(shown.sum())
    ranked = iter(zip(names[order[first]].tolist(), counts[order[first]].tolist(), strict=True))
    return {
        group: (size, list(islice(ranked, length)))
        for group, size, length in zip(
            of_group[starts].tolist(), sizes.tolist(), shown.tolist(), strict=True
        )
    }
