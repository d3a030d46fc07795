"""Distributions of build durations from packed days."""

from typing import NamedTuple

from asu_stats.store.blocks.distribution import Distribution
from asu_stats.store.blocks.totals import Totals


class VersionDurations(NamedTuple):
    """Successful builds of one version: how many, their seconds together, and the median."""

    version: str
    builds: int
    total: int
    median: int


def all_durations(seconds: Totals) -> Distribution:
    """Return the durations of all successful builds of known duration."""
    return seconds.distribution(0)


def of_version(durations: Totals, version: str | None) -> Distribution:
    """Return the durations by version of one version, or the durations of all if it is `None`."""
    if version is None:
        return all_durations(durations)
    return durations.distribution(1, {0: version})


def durations_by_version(durations: Totals) -> list[VersionDurations]:
    """Return the durations of each version that has any."""
    return [
        VersionDurations(version, found.count, found.total, found.median)
        for (version,), found in durations.summaries()
    ]
