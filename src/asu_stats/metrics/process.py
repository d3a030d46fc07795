"""Metrics of this process: HTTP, commits, waits for a worker. A restart resets them."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    disable_created_metrics,
)

from asu_stats.clocks import ClockWatch
from asu_stats.events import TYPE_NAMES, Event

_Answer = TypeVar("_Answer")

OTHER: Final = "other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
_EVENTS: Final = frozenset(TYPE_NAMES.values())

WAIT_BUCKETS: Final = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)
COMMIT_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
HTTP_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 5)

# `_created` series would double the output, and a reset shows in the value anyway.
disable_created_metrics()  # type: ignore[no-untyped-call]


class ProcessMetrics:
    """Counters and histograms of this process, safe to use from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        labels = ("method", "route", "code")
        self._requests = Counter(
            "asu_stats_http_requests",
            "HTTP responses of this process, by route template.",
            labels,
            registry=self._registry,
        )
        self._seconds = Histogram(
            "asu_stats_http_request_duration_seconds",
            "Seconds from a request to the end of its response, in this process.",
            labels,
            buckets=HTTP_BUCKETS,
            registry=self._registry,
        )
        self._commits = Histogram(
            "asu_stats_commit_duration_seconds",
            "Seconds that this process took to commit one batch of events.",
            buckets=COMMIT_BUCKETS,
            registry=self._registry,
        )
        self._waits = Histogram(
            "asu_queue_wait_seconds",
            "Seconds from queued to started, of builds that this process started.",
            buckets=WAIT_BUCKETS,
            registry=self._registry,
        )
        self._crashes = Counter(
            "asu_stats_unhandled_errors",
            "Requests that ended with an unhandled error of this process.",
            ("route",),
            registry=self._registry,
        )
        self._unused: list[tuple[str, str]] = []
        self._making = threading.Lock()
        self.clock = ClockWatch()
        self.invalid_events = dict.fromkeys((*sorted(_EVENTS), OTHER), 0)

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        with self._making:  # another thread may collect before all are made
            while self._unused:
                method, route = self._unused.pop()
                self._requests.labels(method, route, "200")
                self._seconds.labels(method, route, "200")
                self._crashes.labels(route)
        return self._registry.collect()

    def start_at_zero(self, method: str, route: str) -> None:
        """Export the counters of a route before its first request.

        They are made when they are first collected: a server starts 3 ms sooner.
        """
        self._unused.append((method, route))

    def answered(self, method: str, route: str, code: int, seconds: float) -> None:
        """Count a response; an unknown method is `other`."""
        labels = (method if method in _METHODS else OTHER, route, str(code))
        self._requests.labels(*labels).inc()
        self._seconds.labels(*labels).observe(seconds)

    def crashed(self, route: str) -> None:
        """Count a request that ended with an unhandled exception."""
        self._crashes.labels(route).inc()

    def waited(self, seconds: float) -> None:
        """Count a build that a worker of this process claimed, with the seconds it waited."""
        self._waits.observe(seconds)

    def refused(self, event: str) -> None:
        """Count an ingest call that was rejected for an event of this type."""
        self.invalid_events[event if event in _EVENTS else OTHER] += 1

    def timed(
        self, sink: Callable[[Sequence[Event]], _Answer]
    ) -> Callable[[Sequence[Event]], _Answer]:
        """Return `sink` with its commits measured. A call that raises is not counted."""

        def measured(events: Sequence[Event]) -> _Answer:
            began = time.perf_counter()
            answer = sink(events)
            self._commits.observe(time.perf_counter() - began)
            return answer

        return measured
