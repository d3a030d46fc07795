"""Exact distributions of whole numbers: durations in seconds, sizes, numbers of packages."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from asu_stats.store.blocks.keys import Groups, Ints


class Distribution:
    """Whole numbers, ascending, and how many builds or requests have each."""

    def __init__(self, values: Ints, counts: Ints) -> None:
        """Take ascending values; equal ones may be apart."""
        self._values = values
        self._up_to = counts.cumsum()
        self.count = int(self._up_to[-1]) if len(counts) else 0
        self.total = int(values @ counts)

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> "Distribution":
        """Return the distribution of values in any order; counts may be 0."""
        pairs = np.array(sorted(counts.items()), np.int64).reshape(-1, 2)
        some = pairs[pairs[:, 1] > 0]
        return cls(some[:, 0], some[:, 1])

    @property
    def least(self) -> int | None:
        return int(self._values[0]) if self.count else None

    @property
    def most(self) -> int | None:
        return int(self._values[-1]) if self.count else None

    @property
    def variation(self) -> float | None:
        """Standard deviation divided by the average; `None` if that is 0."""
        if not self.total:
            return None
        squares = float(self._values.astype(float) ** 2 @ np.diff(self._up_to, prepend=0))
        mean = self.total / self.count
        return float(np.sqrt(max(0.0, squares / self.count - mean**2))) / mean

    def plus(self, other: "Distribution") -> "Distribution":
        """Return the distribution of both together."""
        counts: Counter[int] = Counter()
        for one in (self, other):
            each = np.diff(one._up_to, prepend=0)
            counts.update(dict(zip(one._values.tolist(), each.tolist(), strict=True)))
        return Distribution.of(counts)

    def largest(self, count: int) -> list[int]:
        """Return the distinct values of the `count` largest, descending."""
        first = np.searchsorted(self._up_to, self.count - count, side="right")
        found: list[int] = self._values[first:][::-1].tolist()
        return found

    def histogram(self, edges: list[int]) -> list[int]:
        """Return the number of values below each of the ascending `edges`, from the previous on."""
        up_to = np.concatenate(([0], self._up_to))[np.searchsorted(self._values, edges)]
        found: list[int] = np.diff(up_to, prepend=0).tolist()
        return found

    def percentile(self, percent: int) -> int | None:
        """Return the nearest-rank percentile, `None` without values.

        That is the smallest value such that at least `percent` % are no larger.
        """
        if not self.count:
            return None
        rank = -(-percent * self.count // 100)
        return int(self._values[self._up_to.searchsorted(rank)])


@dataclass(frozen=True, slots=True)
class Summary:
    """Count, total and median of a distribution. The median is nearest-rank."""

    count: int
    total: int
    median: int


def percentiles(groups: Groups, counts: Ints, *percents: int) -> tuple[Ints, list[Ints]]:
    """Return the count of each group, and percentiles of the last part of its keys, nearest rank.

    Counts may be 0. The percentiles of a group without counts are meaningless. One search over the
    running counts of all groups finds a percentile of all groups.
    """
    up_to, sizes = np.cumsum(counts), np.add.reduceat(counts, groups.starts)
    before = np.cumsum(sizes) - sizes
    found = []
    for percent in percents:
        places = np.searchsorted(up_to, before - -percent * sizes // 100)
        found.append(groups.tails[np.minimum(places, len(up_to) - 1)].astype(np.int64))
    return sizes, found


def summaries(groups: Groups, counts: Ints) -> list[Summary]:
    """Return the distribution of the last part of the keys in each group; counts may be 0.

    The median of a group without counts is meaningless.
    """
    if not len(counts):
        return []
    sizes, (medians,) = percentiles(groups, counts, 50)
    totals = np.add.reduceat(counts * groups.tails.astype(np.int64), groups.starts)
    columns = (sizes.tolist(), totals.tolist(), medians.tolist())
    return list(map(Summary, *columns))
