"""Distributions of build durations from packed days."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from asu_stats.reports.figures import Distribution
from asu_stats.store.packs import Totals


def all_durations(seconds: Totals) -> Distribution:
    """Return the durations of all successful builds of known duration."""
    values, codes = seconds.column(0)
    return Distribution.of(np.array(values, np.int64)[codes], seconds.sums[:, 0])


def by_version(durations: Totals) -> Iterator[tuple[str, Distribution]]:
    """Yield the durations of each version that has any."""
    versions, codes = durations.column(0)
    seconds, second_codes = durations.column(1)
    builds = durations.sums[:, 0]
    some = np.flatnonzero(builds)
    # Codes are in the order of the values, so this is by version, then by seconds.
    order = some[np.argsort(codes[some] * (len(seconds) + 1) + second_codes[some])]
    lasted = np.array(seconds, np.int64)[second_codes[order]]
    counts, of_version = builds[order], codes[order]
    starts = np.flatnonzero(np.diff(of_version, prepend=-1)).tolist()
    for start, end in pairwise([*starts, len(order)]):
        yield versions[of_version[start]], Distribution(lasted[start:end], counts[start:end])
