"""Distributions of build durations, from blocks."""

from typing import NamedTuple

from asu_stats.store.blocks.distribution import Distribution
from asu_stats.store.blocks.totals import Totals


class VersionDurations(NamedTuple):
    """Successful builds of one version: count, seconds in total, median seconds."""

    version: str
    builds: int
    total: int
    median: int


def all_durations(seconds: Totals) -> Distribution:
    """Return the durations of all successful builds of known duration."""
    return seconds.distribution(0)


def of_version(durations: Totals, version: str | None) -> Distribution:
    """Return the durations of one version, or of all versions if it is `None`."""
    if version is None:
        return all_durations(durations)
    return durations.distribution(1, {0: version})


def durations_by_version(durations: Totals) -> list[VersionDurations]:
    """Return the durations of each version with successful builds."""
    return [
        VersionDurations(version, found.count, found.total, found.median)
        for (version,), found in durations.summaries()
    ]
