"""Rounding, rates, averages and percentiles (docs/reference/figures.md, Builds and Rounding)."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from heapq import nsmallest
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def quotient(numerator: int, denominator: int, decimals: int) -> float | None:
    """Return numerator / denominator, rounded half up from the exact quotient; `None` over 0."""
    if denominator == 0:
        return None
    scale: int = 10**decimals
    return (2 * numerator * scale + denominator) // (2 * denominator) / scale


# `quotient` written out, since long lists ask for several per row: of numbers and of columns.


def _percent(part: Any, whole: Any) -> Any:
    return (20_000 * part + whole) // (2 * whole) / 100


def _tenths(total: Any, count: Any) -> Any:
    return (20 * total + count) // (2 * count) / 10


def rate(part: int, whole: int) -> float | None:
    """Return `part` of `whole` in percent, to 2 decimals; `None` of nothing."""
    return _percent(part, whole) if whole else None


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
    return _tenths(total, count) if count else None


def rates(parts: Ints, wholes: Ints) -> list[float | None]:
    """Return the `rate` of each of `parts` of the whole beside it; none is negative."""
    if _is_large(parts, wholes):
        return list(map(rate, parts.tolist(), wholes.tolist()))
    return _none_of_nothing(wholes, _percent(parts, np.maximum(wholes, 1)))


def averages(totals: Ints, counts: Ints) -> list[float | None]:
    """Return the `average` of each of `totals` over the count beside it; none is negative."""
    if _is_large(totals, counts):
        return list(map(average, totals.tolist(), counts.tolist()))
    return _none_of_nothing(counts, _tenths(totals, np.maximum(counts, 1)))


def _is_large(*columns: Ints) -> bool:
    """Tell whether 20,000 times as much is more than a float holds exactly, 2 ** 53."""
    return any(int(column.max(initial=0)) >= 1 << 38 for column in columns)


def _none_of_nothing(wholes: Ints, values: NDArray[np.float64]) -> list[float | None]:
    found: list[float | None] = values.tolist()
    for place in np.flatnonzero(wholes == 0).tolist():
        found[place] = None
    return found


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

    @classmethod
    def counted(cls, took: Mapping[int, int]) -> "Distribution":
        """Return the distribution of so many builds by seconds."""
        pairs = np.array(list(took.items()), np.int64).reshape(-1, 2)
        return cls.of(pairs[:, 0], pairs[:, 1])

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
        return int(self._seconds[0]) if self.builds else None

    @property
    def most(self) -> int | None:
        return int(self._seconds[-1]) if self.builds else None

    def plus(self, other: "Distribution") -> "Distribution":
        """Return the distribution of the builds of both."""
        took: Counter[int] = Counter()
        for one in (self, other):
            counts = np.diff(one._up_to, prepend=0)
            took.update(dict(zip(one._seconds.tolist(), counts.tolist(), strict=True)))
        return Distribution.counted(took)

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
    """Distributions of several groups side by side: durations ascend in each; counts may be 0."""

    def __init__(self, starts: Ints, seconds: Ints, builds: Ints) -> None:
        """Take durations in the order of the groups, which begin at `starts`."""
        self._starts, self._seconds, self._counts = starts, seconds, builds

    def _sums(self, amounts: Ints) -> Ints:
        return np.add.reduceat(amounts, self._starts) if len(self._starts) else amounts

    def builds(self) -> Ints:
        """Return how many builds each group has."""
        return self._sums(self._counts)

    def totals(self) -> Ints:
        """Return the seconds of all builds of each group together."""
        return self._sums(self._counts * self._seconds)

    def medians(self) -> Ints:
        """Return the nearest-rank median of each group; that of a group without builds is no one's.

        The build looked for is the middle one of its group, counted through all groups.
        """
        if not len(self._seconds):
            return self._seconds
        up_to, builds = np.cumsum(self._counts), self.builds()
        ranks = np.cumsum(builds) - builds + (builds + 1) // 2
        return self._seconds[np.minimum(np.searchsorted(up_to, ranks), len(up_to) - 1)]


def top(
    counts: Mapping[str, int] | Iterable[tuple[str, int]],
    places: int,
    order: Callable[[str], str] | None = None,
) -> list[tuple[str, int]]:
    """Return the names with the largest counts above 0: by count descending, then by name.

    `order` sorts the names, else they are sorted as text.
    """
    pairs = counts.items() if isinstance(counts, Mapping) else counts
    ranked = [(-count, order(name) if order else name, name) for name, count in pairs if count]
    first = sorted(ranked) if len(ranked) <= 2 * places else nsmallest(places, ranked)
    return [(name, -count) for count, _, name in first[:places]]


def descending(counts: Ints) -> Ints:
    """Return the places of counts, the largest first; equal ones stay as they are: by name."""
    return np.argsort(-counts, kind="stable")


def top_of_each(group: Ints, counts: Ints, places: int) -> tuple[Ints, Ints]:
    """Return the places of the largest counts above 0 of each group, and how many it has.

    `group` ascends, and so do the names in each; of a group come at most `places`, by count
    descending, then by name. No count is negative.
    """
    some = np.flatnonzero(counts)
    size = len(some)
    if not size:
        return some, np.zeros(0, np.int64)
    of_group, less = group[some], counts.max() - counts[some]
    if (int(of_group[-1]) + 1) * (int(less.max()) + 1) * size < 1 << 63:
        # One number for all of it: sorting those is several times as fast.
        key = (of_group * (less.max() + 1) + less) * size + np.arange(size)
        order = some[np.sort(key) % size]
    else:
        order = some[np.lexsort((less, of_group))]
    sizes = np.bincount(of_group)
    shown = np.minimum(sizes, places)
    skipped = np.cumsum(sizes - shown) - (sizes - shown)
    return order[np.arange(shown.sum()) + np.repeat(skipped, shown)], sizes
