"""Requests and builds of names or of buckets of time, and the figures derived from them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.store.rollups.definitions import PROFILES, VERSION_TARGET
from asu_stats.windows import Window

ADDS: Final = PROFILES.adds


class Sums(NamedTuple):
    """Sums of `ADDS`, in that order."""

    requests: int
    cache_hits: int
    successful: int
    failed: int
    timed: int
    seconds: int


class Figures(NamedTuple):
    """Requests and builds of one name or bucket, as responses have them."""

    requests: int
    cache_hits: int
    cache_hit_rate: float | None
    successful_builds: int
    failed_builds: int
    success_rate: float | None
    avg_build_duration: float | None


def columns(added: Sequence[Sequence[int]]) -> dict[str, Sequence[Any]]:
    """Return a column of each of `Figures` from a column of each sum of `ADDS`."""
    requests, hits, good, bad, timed, seconds = added
    built = [successful + failed for successful, failed in zip(good, bad, strict=True)]
    found: tuple[Sequence[Any], ...] = (
        requests,
        hits,
        figures.rates(hits, requests),
        good,
        bad,
        figures.rates(good, built),
        figures.averages(seconds, timed),
    )
    return dict(zip(Figures._fields, found, strict=True))


def rows(added: Iterable[Sequence[int]]) -> list[Figures]:
    """Return the figures of each row of the sums of `ADDS`."""
    by_sum = list(zip(*added, strict=True)) or [()] * len(ADDS)
    return list(map(Figures._make, zip(*columns(by_sum).values(), strict=True)))


def of_one(connection: Connection, window: Window, filters: Mapping[str, str]) -> Figures:
    """Return the figures of one version, one profile, or one profile of a version."""
    rollup = PROFILES if "profile" in filters else VERSION_TARGET
    (row,) = sums.rows(connection, rollup, (), window, filters)
    (found,) = rows([[int(row[rollup.place(add)] or 0) for add in ADDS]])
    return found
