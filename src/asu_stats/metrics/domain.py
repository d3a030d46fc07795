"""Families of the domain: the same from every process, and they survive restarts."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from sqlalchemy import Row

from asu_stats.builds.load import Load
from asu_stats.error_types import CATEGORIES
from asu_stats.events import OUTCOMES, STATUSES, TYPE_NAMES, UNKNOWN
from asu_stats.metrics.process import OTHER
from asu_stats.reports.figures import Distribution
from asu_stats.reports.lifetime import Lifetime

DURATION_BUCKETS: Final = (5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1800)
TASKS: Final = ("verify", "retention", "alerts")  # of the jobs, those worth an alert
EVENTS: Final = tuple(TYPE_NAMES.values())


def gauge(name: str, meaning: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, meaning, value=value)


def gauges(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a gauge with one label."""
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, amount in values.items():
        family.add_metric([value], amount)
    return family


def counter(name: str, meaning: str, label: str, values: Mapping[str, int]) -> Metric:
    """Return a counter with one label; its name goes without `_total`."""
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value, amount in values.items():
        family.add_metric([value], amount)
    return family


def instant(time: datetime | None) -> float:
    """Return Unix seconds, 0 for none."""
    return time.timestamp() if time else 0.0


def of_lifetime(ever: Lifetime, clients: Iterable[str]) -> Iterator[Metric]:
    """Yield what was ever recorded; clients that are not among `clients` are `other`."""
    yield counter(
        "asu_requests",
        "Build requests by what became of them.",
        "outcome",
        {outcome: ever.requests.get(outcome, 0) for outcome in OUTCOMES},
    )
    yield counter(
        "asu_client_requests",
        "Accepted build requests by client; clients that are not in metrics_clients are other.",
        "client",
        _bounded(ever.clients, (*clients, UNKNOWN)),
    )
    yield counter(
        "asu_builds",
        "Builds that ended, by how.",
        "status",
        {status: ever.builds.get(status, 0) for status in STATUSES},
    )
    yield counter(
        "asu_errors",
        "Failed builds and rejected requests by category of the error.",
        "category",
        _bounded(ever.errors, CATEGORIES),
    )
    yield _durations(ever.durations)
    yield gauge(
        "asu_build_last_finished_timestamp_seconds",
        "When the last build ended; 0 if none ever did.",
        instant(ever.last_finished),
    )


def of_load(load: Load) -> Iterator[Metric]:
    """Yield how busy the build service is."""
    yield gauge("asu_queue_length", "Builds that wait for a worker.", load.waiting)
    yield gauge("asu_builds_running", "Builds that run.", load.running)
    yield gauge(
        "asu_queue_oldest_timestamp_seconds",
        "When the build that has waited longest was queued; 0 if none waits.",
        instant(load.oldest),
    )
    yield gauges(
        "asu_workers",
        "Workers of the build service by what they do.",
        "state",
        {str(state): count for state, count in load.workers.items()},
    )


def of_alerts(firing: Collection[str], rules: Iterable[str]) -> Iterator[Metric]:
    """Yield which rules fire, as the last evaluation saw it."""
    yield gauges(
        "asu_alert_firing",
        "1 while a rule fires.",
        "rule",
        {rule: int(rule in firing) for rule in rules},
    )


def of_tasks(rows: Sequence[tuple[Row[Any], bool]]) -> Iterator[Metric]:
    """Yield how the jobs that look after the data went."""
    known = {row.name: row for row, _ in rows}
    ended = {task: known[task].succeeded_at if task in known else None for task in TASKS}
    took = {task: known[task].duration_seconds if task in known else None for task in TASKS}
    yield gauges(
        "asu_stats_task_last_success_timestamp_seconds",
        "When a job last ended well; 0 if it never did.",
        "task",
        {task: instant(time and time.replace(tzinfo=UTC)) for task, time in ended.items()},
    )
    yield gauges(
        "asu_stats_task_duration_seconds",
        "Seconds that the last run of a job took.",
        "task",
        {task: seconds or 0.0 for task, seconds in took.items()},
    )
    verified = known["verify"].result if "verify" in known else None
    yield gauge(
        "asu_stats_rollup_mismatches",
        "Differences between rollups and details that the last verification found.",
        (verified or {}).get("differences", 0),
    )


def of_events(ever: Lifetime, invalid: Mapping[str, int]) -> Iterator[Metric]:
    """Yield what came in; `invalid` are refused calls of this process, by event."""
    family = CounterMetricFamily(
        "asu_stats_events",
        "Events in. Accepted and duplicate: of the database; invalid: refused by this process.",
        labels=["event", "result"],
    )
    for event in EVENTS:
        again = sum(ever.events.get((event, result), 0) for result in ("duplicate", "conflict"))
        family.add_metric([event, "accepted"], ever.events.get((event, "accepted"), 0))
        family.add_metric([event, "duplicate"], again)
    for event, refused in invalid.items():
        family.add_metric([event, "invalid"], refused)
    yield family
    yield counter(
        "asu_stats_event_conflicts",
        "Duplicates that said something else than the event known under their identity.",
        "event",
        {event: ever.events.get((event, "conflict"), 0) for event in EVENTS},
    )


def _bounded(amounts: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    """Return the amounts of `names`, and that of all others together."""
    found = {name: amounts.get(name, 0) for name in names}
    rest = {name: amount for name, amount in amounts.items() if name not in found}
    return {**found, OTHER: found.get(OTHER, 0) + sum(rest.values())}


def _durations(durations: Distribution) -> Metric:
    family = HistogramMetricFamily(
        "asu_build_duration_seconds", "Whole seconds that successful builds took."
    )
    buckets = [(f"{limit:.1f}", durations.up_to(limit)) for limit in DURATION_BUCKETS]
    family.add_metric([], [*buckets, ("+Inf", durations.builds)], durations.total)
    return family
