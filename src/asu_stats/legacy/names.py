"""A limit on the names in a legacy response, which has neither pages nor totals."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from asu_stats.reports.floor import OTHER

MOST: Final = 1_000
T = TypeVar("T")


def fold(
    found: Mapping[str, T], count: Callable[[T], float], add: Callable[[T, T], T]
) -> dict[str, T]:
    """Return the names with the highest counts, at most `MOST`, and the sum of all others.

    That sum has the name `other`, so totals stay exact.
    """
    ranked = sorted(found, key=lambda name: (-count(found[name]), name))
    kept = {name: found[name] for name in ranked[:MOST]}
    for name in ranked[MOST:]:
        kept[OTHER] = add(kept[OTHER], found[name]) if OTHER in kept else found[name]
    return kept
