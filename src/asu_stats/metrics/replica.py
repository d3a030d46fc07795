"""Metrics of the replica that reports are read from; only with `read_database_url`."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from asu_stats.metrics.domain import gauge
from asu_stats.store.database.reading import Watched


def of_replica(replica: Watched) -> Iterator[Metric]:
    """Yield state and lag; a lag that is unknown is left out."""
    state = replica.state
    yield gauge(
        "asu_stats_replica_up",
        "1 if the replica is reachable, and is a replica of the database, else 0.",
        int(state.is_usable or state.status == "primary"),
    )
    yield gauge(
        "asu_stats_replica_used",
        "1 if reports are read from the replica, else 0.",
        int(state.is_preferred),
    )
    if state.lag_seconds is not None:
        yield gauge(
            "asu_stats_replica_lag_seconds",
            "How long ago the replica contained everything, in seconds; 0 if it does now.",
            state.lag_seconds,
        )
    if state.lag_bytes is not None:
        yield gauge(
            "asu_stats_replica_lag_bytes",
            "Bytes of the write-ahead log that the replica has not replayed.",
            state.lag_bytes,
        )
    yield CounterMetricFamily(
        "asu_stats_replica_conflicts",
        "Reports repeated on the primary because recovery of the replica cancelled them.",
        value=replica.conflicts,
    )
