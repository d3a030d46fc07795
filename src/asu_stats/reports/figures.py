"""Rounding, rates, averages and percentiles: the only place that makes them (contract §2.6)."""

from collections.abc import Iterable, Mapping
from itertools import accumulate


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
    """Whole-second durations and how many builds took each: exact, and mergeable."""

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        merged: dict[int, int] = {}
        for seconds, builds in counts:
            merged[seconds] = merged.get(seconds, 0) + builds
        self._seconds = sorted(seconds for seconds, builds in merged.items() if builds)
        self._builds = [merged[seconds] for seconds in self._seconds]
        self._up_to = list(accumulate(self._builds))

    @property
    def builds(self) -> int:
        """How many builds."""
        return self._up_to[-1] if self._up_to else 0

    @property
    def total(self) -> int:
        """Seconds of all builds together."""
        return sum(s * n for s, n in zip(self._seconds, self._builds, strict=True))

    @property
    def average(self) -> float | None:
        """Average seconds, to 1 decimal."""
        return average(self.total, self.builds)

    @property
    def least(self) -> int | None:
        """The shortest duration."""
        return self._seconds[0] if self._seconds else None

    @property
    def most(self) -> int | None:
        """The longest duration."""
        return self._seconds[-1] if self._seconds else None

    def percentile(self, percent: int) -> int | None:
        """Return the nearest-rank percentile.

        That is the smallest duration such that at least `percent` % of the builds took at most
        as long.
        """
        for seconds, up_to in zip(self._seconds, self._up_to, strict=True):
            if up_to * 100 >= percent * self.builds:
                return seconds
        return None


def top(counts: Mapping[str, int], places: int) -> list[tuple[str, int]]:
    """Return the names with the largest counts above 0: by count descending, then by name."""
    named = ((name, count) for name, count in counts.items() if count)
    return sorted(named, key=lambda item: (-item[1], item[0]))[:places]
