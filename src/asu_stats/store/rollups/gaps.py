"""Classes of the gaps between successive accepted requests of one hash.

A gap counts as its class: the gap rounded up to a whole second up to an hour, to a whole minute up
to a day, and to a whole hour up to 30 days. So the number of gaps that are at most as long as a
class is exact. Longer gaps and first requests have no class.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

LONGEST: Final = 30 * 86_400
_CLASSES: Final = ((3_600, 1), (86_400, 60), (LONGEST, 3_600))  # up to seconds: multiples of
_SECOND: Final = timedelta(seconds=1)


def class_of(gap: timedelta) -> int | None:
    """Return the class of a gap in seconds, `None` for more than 30 days."""
    seconds = -(-gap // _SECOND)
    for most, step in _CLASSES:
        if seconds <= most:
            return -(-seconds // step) * step
    return None


def exact(seconds: int) -> int:
    """Return the longest class that is at most `seconds`, 30 days at most."""
    for most, step in _CLASSES:
        if seconds <= most:
            return seconds // step * step
    return LONGEST


def of_times(times: Sequence[datetime]) -> Iterator[tuple[datetime, int]]:
    """Yield time and class of the requests that have a gap with a class.

    `times` are those of successive requests of one hash, in order.
    """
    for before, at in pairwise(times):
        gap = class_of(at - before)
        if gap is not None:
            yield at, gap
