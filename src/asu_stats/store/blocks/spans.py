"""The days of blocks, and the fewest blocks that cover a time range."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

LARGEST: Final = 512  # days of a block


class Span(NamedTuple):
    """Days of a block: `days` of them from the ordinal `first`, a multiple of `days`."""

    first: int
    days: int

    def halves(self) -> tuple["Span", "Span"]:
        """Return the two blocks that add up to this one."""
        half = self.days // 2
        return Span(self.first, half), Span(self.first + half, half)

    def changes(self, changes: Mapping[int, int]) -> int:
        """Return the last change of any of its days; 0 if there was none."""
        days = range(self.first, self.first + self.days)
        return max([changes[day] for day in days if day in changes], default=0)


@lru_cache(maxsize=256)
def spans(first: int, last: int) -> tuple[Span, ...]:
    """Return the fewest blocks that cover exactly the days from `first` to `last`."""
    found = []
    while first <= last:
        days = LARGEST
        while first % days or first + days - 1 > last:
            days //= 2
        found.append(Span(first, days))
        first += days
    return tuple(found)
