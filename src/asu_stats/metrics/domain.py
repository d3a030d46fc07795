"""Metrics read from the database: the same in every process, and they survive restarts."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from sqlalchemy import Row

from asu_stats.builds.worker_states import WorkerState
from asu_stats.error_types import CATEGORIES
from asu_stats.events import OUTCOMES, STATUSES, TYPE_NAMES
from asu_stats.metrics.process import OTHER
from asu_stats.reports.lifetime import Lifetime
from asu_stats.store.details.live_counts import DURATION_BUCKETS, LONGER
from asu_stats.store.details.queue_samples import QueueState
from asu_stats.times import aware

TASKS: Final = ("verify", "retention", "alerts")  # jobs that alerting rules use
EVENTS: Final = tuple(TYPE_NAMES.values())


def gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def gauges(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a gauge with one label."""
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, amount in values.items():
        family.add_metric([value], amount)
    return family


def counter(name: str, meaning: str, label: str, values: Mapping[str, int]) -> Metric:
    """Return a counter with one label. `name` lacks the suffix `_total`."""
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value, amount in values.items():
        family.add_metric([value], amount)
    return family


def instant(time: datetime | None) -> float:
    """Return Unix seconds, 0 for none."""
    return time.timestamp() if time else 0.0


def _utc(time: datetime | None) -> datetime | None:
    return time and aware(time)


def of_live(live: Mapping[str, Mapping[str, int]], clients: Iterable[str]) -> Iterator[Metric]:
    """Yield the counters of live events; clients that are not among `clients` are `other`."""
    for measure, meaning, label, values in (
        (
            "requests",
            "Live build requests by outcome.",
            "outcome",
            OUTCOMES,
        ),
        (
            "client_requests",
            "Live accepted requests by client; clients that are not in metrics_clients are other.",
            "client",
            dict.fromkeys((*clients, OTHER)),
        ),
        (
            "builds",
            "Live finished builds by status.",
            "status",
            STATUSES,
        ),
        (
            "errors",
            "Live failed builds and rejected requests by category of the error.",
            "category",
            dict.fromkeys((*CATEGORIES, OTHER)),
        ),
    ):
        known = live.get(measure, {})
        counts = {value: known.get(value, 0) for value in values}
        yield counter(f"asu_{measure}", meaning, label, counts)
    yield _durations(live.get("durations", {}), live.get("duration_seconds", {}).get("", 0))


def of_lifetime(ever: Lifetime) -> Iterator[Metric]:
    """Yield totals over all history; imports, late events and corrections change them."""
    for name, meaning, label, values in (
        (
            "asu_recorded_requests",
            "Build requests in all history by outcome.",
            "outcome",
            {str(outcome): ever.requests.get(outcome, 0) for outcome in OUTCOMES},
        ),
        (
            "asu_recorded_client_requests",
            "Accepted requests in all history by client; see asu_client_requests_total.",
            "client",
            _with_other(ever.requests_of, ever.accepted),
        ),
        (
            "asu_recorded_builds",
            "Finished builds in all history by status.",
            "status",
            {str(status): ever.builds.get(status, 0) for status in STATUSES},
        ),
        (
            "asu_recorded_errors",
            "Failed builds and rejected requests in all history by category of the error.",
            "category",
            _with_other(
                {category: ever.errors.get(category, 0) for category in CATEGORIES},
                sum(ever.errors.values()),
            ),
        ),
        (
            "asu_stats_recorded_events",
            "Accepted events in all history.",
            "event",
            {event: ever.events.get(event, 0) for event in EVENTS},
        ),
    ):
        yield gauges(name, meaning, label, values)
    yield gauge(
        "asu_recorded_build_duration_seconds",
        "Total duration of successful builds in all history, in seconds.",
        ever.durations.total,
    )
    yield gauge(
        "asu_build_last_finished_timestamp_seconds",
        "Time of the last finished build; 0 if there is none.",
        instant(ever.last_finished),
    )


def of_queue(queue: QueueState, workers: Mapping[WorkerState, int]) -> Iterator[Metric]:
    """Yield the queue of all servers, and the workers of the build service by state."""
    yield gauge("asu_queue_length", "Waiting builds of all servers.", queue.queue_length)
    yield gauge("asu_builds_running", "Running builds of all servers.", queue.builds_running)
    yield gauge(
        "asu_queue_oldest_timestamp_seconds",
        "Time when the oldest waiting build was queued; 0 if none is waiting.",
        instant(_utc(queue.oldest_queued_at)),
    )
    yield gauges(
        "asu_workers",
        "Workers of the build service by state.",
        "state",
        {str(state): count for state, count in workers.items()},
    )


def of_alerts(firing: Collection[str], rules: Iterable[str]) -> Iterator[Metric]:
    """Yield the firing rules as of the last evaluation."""
    yield gauges(
        "asu_alert_firing",
        "1 while a rule fires.",
        "rule",
        {rule: int(rule in firing) for rule in rules},
    )


def of_tasks(rows: Sequence[tuple[Row[Any], bool]]) -> Iterator[Metric]:
    """Yield the last results of the jobs."""
    known = {row.name: row for row, _ in rows}
    ended = {task: known[task].succeeded_at if task in known else None for task in TASKS}
    took = {task: known[task].duration_seconds if task in known else None for task in TASKS}
    yield gauges(
        "asu_stats_task_last_success_timestamp_seconds",
        "Time of the last successful run of a job; 0 if there is none.",
        "task",
        {task: instant(_utc(time)) for task, time in ended.items()},
    )
    yield gauges(
        "asu_stats_task_duration_seconds",
        "Duration of the last run of a job, in seconds.",
        "task",
        {task: seconds or 0.0 for task, seconds in took.items()},
    )
    verified = known["verify"].result if "verify" in known else None
    yield gauge(
        "asu_stats_rollup_mismatches",
        "Differences between rollups and details in the last verification.",
        (verified or {}).get("differences", 0),
    )


def of_events(
    live: Mapping[str, Mapping[str, int]], invalid: Mapping[str, int]
) -> Iterator[Metric]:
    """Yield received live events; `invalid` counts rejected calls of this process."""
    family = CounterMetricFamily(
        "asu_stats_events",
        "Received live events. Accepted and duplicate: of the database; invalid: rejected by this "
        "process.",
        labels=["event", "result"],
    )
    accepted, duplicate, conflict = (
        live.get(result, {}) for result in ("accepted", "duplicate", "conflict")
    )
    for event in EVENTS:
        again = duplicate.get(event, 0) + conflict.get(event, 0)
        family.add_metric([event, "accepted"], accepted.get(event, 0))
        family.add_metric([event, "duplicate"], again)
    for event, refused in invalid.items():
        family.add_metric([event, "invalid"], refused)
    yield family
    yield counter(
        "asu_stats_event_conflicts",
        "Live duplicates whose content differs from the stored event.",
        "event",
        {event: conflict.get(event, 0) for event in EVENTS},
    )


def _with_other(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Return `counts`, and what is missing to the `total` as `other`."""
    return {**counts, OTHER: counts.get(OTHER, 0) + total - sum(counts.values())}


def _durations(counts: Mapping[str, int], seconds: int) -> Metric:
    """Return the histogram of durations: builds per bucket, and the sum of seconds."""
    family = HistogramMetricFamily(
        "asu_build_duration_seconds",
        "Duration of successful builds in whole seconds, of live events.",
    )
    limits = [*((str(limit), f"{limit:.1f}") for limit in DURATION_BUCKETS), (LONGER, LONGER)]
    up_to = accumulate(counts.get(label, 0) for label, _ in limits)
    buckets = [(le, builds) for (_, le), builds in zip(limits, up_to, strict=True)]
    family.add_metric([], buckets, seconds)
    return family
