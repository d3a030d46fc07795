"""Requests and builds of names or of times, and the figures that answers make of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.figures import Ints
from asu_stats.store.rollups.definitions import PROFILES, VERSION_TARGET
from asu_stats.windows import Window

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


class Ranked:
    """Names with requests or builds: by requests descending, then as they are."""

    def __init__(self, names: Sequence[str], amounts: Ints) -> None:
        """Take names in order, and a row of sums for each."""
        some = np.flatnonzero(amounts[:, :4].any(axis=1))
        self._order = some[figures.descending(amounts[some, 0])]
        self._names, self._amounts = names, amounts

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[Any]], order: Callable[[str], str]) -> "Ranked":
        """Take rows of a name, sorted by `order`, and its sums."""
        found = sorted(rows, key=lambda row: order(row[0]))
        amounts = np.array([[int(n) for n in row[1:]] for row in found], np.int64)
        return cls(
            [row[0] for row in found],
            amounts.reshape(len(found), len(found[0]) - 1 if found else len(ADDS)),
        )

    def __len__(self) -> int:
        return len(self._order)

    def rows(self, first: int, after: int) -> list[Builds]:
        """Return the rows from one place up to another."""
        places = self._order[first:after]
        return of([self._names[place] for place in places.tolist()], self._amounts[places])


def of_one(connection: Connection, window: Window, filters: Mapping[str, str]) -> Builds:
    """Return what one version, one profile, or one profile of a version adds up to."""
    rollup = PROFILES if "profile" in filters else VERSION_TARGET
    (row,) = sums.rows(connection, rollup, (), window, filters)
    places = [rollup.place(add) for add in ADDS]
    (found,) = of([""], np.array([[int(row[place] or 0) for place in places]], np.int64))
    return found
