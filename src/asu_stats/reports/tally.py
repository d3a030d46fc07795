"""Counts of a time range, from which rates and percentiles are derived."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from asu_stats.store.blocks.distribution import Distribution


class Tally(NamedTuple):
    """Counts of a time range.

    `totals` has sums of `stats_daily` by name, `unique` the numbers of distinct accepted and
    rejected requests, `clients` the requests of each client.
    """

    totals: Mapping[str, int]
    unique: tuple[int, int]
    durations: Distribution
    clients: Mapping[str, int]

    def plus(self, later: "Tally") -> "Tally":
        """Add a later time range. Its unique requests must not include those counted here."""
        names = self.totals.keys() | later.totals.keys()
        clients = Counter(self.clients)
        clients.update(later.clients)
        return Tally(
            {name: self.totals.get(name, 0) + later.totals.get(name, 0) for name in names},
            (self.unique[0] + later.unique[0], self.unique[1] + later.unique[1]),
            self.durations.plus(later.durations),
            clients,
        )
