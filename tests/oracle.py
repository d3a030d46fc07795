"""The oracle of `asu_stats.conformance`, with the messages of reports on incomplete figures."""

from asu_stats.conformance import oracle
from asu_stats.conformance.history import (
    client_of,
    mean,
    percent,
    percentile,
    time_of,
)
from asu_stats.reports import incomplete  # words, no figures

__all__ = ["Oracle", "client_of", "mean", "percent", "percentile", "time_of"]


class Oracle(oracle.Oracle):
    """Every statistics response of this program for a window of a history."""

    def gap_names(self, **requests: int) -> list[str]:
        return incomplete.reasons(**requests)
