"""What is counted of a time range, before rates and percentiles are made of it."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from asu_stats.store.blocks.distribution import Distribution


class Tally(NamedTuple):
    """What is counted of a time range: sums of `stats_daily` by name, and what is no sum.

    `unique` are the numbers of distinct accepted and rejected requests, `clients` are the requests
    of each client.
    """

    totals: Mapping[str, int]
    unique: tuple[int, int]
    durations: Distribution
    clients: Mapping[str, int]

    def plus(self, later: "Tally") -> "Tally":
        """Return the tally of both; `later` does not count as unique what was requested here."""
        names = self.totals.keys() | later.totals.keys()
        clients = Counter(self.clients)
        clients.update(later.clients)
        return Tally(
            {name: self.totals.get(name, 0) + later.totals.get(name, 0) for name in names},
            (self.unique[0] + later.unique[0], self.unique[1] + later.unique[1]),
            self.durations.plus(later.durations),
            clients,
        )
