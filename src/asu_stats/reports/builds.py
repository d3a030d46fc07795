"""Requests and builds of names or of times, and the figures that answers make of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from asu_stats.reports import figures
from asu_stats.reports.figures import Ints
from asu_stats.store.rollups import PROFILES

ADDS: Final = PROFILES.adds


class Sums(NamedTuple):
    """What is added up, in the order of `ADDS`."""

    requests: int
    cache_hits: int
    successful: int
    failed: int
    timed: int
    seconds: int


class Builds(NamedTuple):
    """Requests and builds of one name, or of one bucket of time."""

    name: str
    requests: int
    cache_hits: int
    cache_hit_rate: float | None
    successful: int
    failed: int
    success_rate: float | None
    avg_build_duration: float | None


def of(names: Sequence[str], amounts: Ints) -> list[Builds]:
    """Return a row per name from a row of sums for each; further sums are left alone."""
    requests, hits, good, bad, timed, seconds = amounts.T[: len(ADDS)]
    columns = (
        names,
        requests.tolist(),
        hits.tolist(),
        figures.rates(hits, requests),
        good.tolist(),
        bad.tolist(),
        figures.rates(good, good + bad),
        figures.averages(seconds, timed),
    )
    return list(map(Builds._make, zip(*columns, strict=True)))


def ranked(names: Sequence[str], amounts: Ints) -> list[Builds]:
    """Return the rows of names that ascend: by requests descending, then as they are.

    Names without requests and builds are left out.
    """
    some = np.flatnonzero(amounts[:, :4].any(axis=1))
    order = some[figures.descending(amounts[some, 0])]
    return of([names[place] for place in order.tolist()], amounts[order])


def ranked_rows(rows: Iterable[Sequence[Any]], order: Callable[[str], str]) -> list[Builds]:
    """Return what `ranked` does, from rows of a name, sorted by `order`, and its sums."""
    found = sorted(rows, key=lambda row: order(row[0]))
    if not found:
        return []
    amounts = np.array([[int(n) for n in row[1:]] for row in found], np.int64)
    return ranked([row[0] for row in found], amounts)
