"""Counters of live events for `/metrics`.

A rollup follows every import and every correction. A Prometheus counter must not: each jump would
look like current traffic. Therefore these sums are separate. Only events that happened at most an
hour before they are accepted are added, once, as they are at that moment. Nothing is ever
subtracted. The sums are written in the transaction of the events, so they survive restarts and are
the same for every process.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Table, select

from asu_stats.error_types import CATEGORIES
from asu_stats.events import FAILED_STATUSES, UNKNOWN, Event, RequestReceived
from asu_stats.store.database import statements
from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import name
from asu_stats.store.rollups.counting import EndedBuild
from asu_stats.times import aware

LIVE: Final = timedelta(hours=1)
OTHER: Final = "other"
DURATION_BUCKETS: Final = (5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1800)
LONGER: Final = "+Inf"

live_counts = Table(
    "live_counts",
    metadata,
    name("measure", primary_key=True),
    name("label", primary_key=True),
    Column("total", BigInteger, nullable=False),
    comment="Counters of live events for /metrics. They never decrease.",
    sqlite_with_rowid=False,
)
_ALL: Final = select(live_counts.c.measure, live_counts.c.label, live_counts.c.total)


@dataclass(frozen=True, slots=True)
class Live:
    """Which events are live, by `clock` in UTC; each of `clients` has its own counter."""

    clients: Collection[str]
    clock: Callable[[], datetime]


class Tally:
    """Live events of one batch; without `live` there are none."""

    def __init__(self, live: Live | None) -> None:
        self._since = live.clock().astimezone(UTC) - LIVE if live else None
        self._clients = frozenset((*live.clients, UNKNOWN)) if live else frozenset()
        self._counts: Counter[tuple[str, str]] = Counter()

    def arrived(self, event: Event, kind: str, result: str) -> None:
        """Count an event by kind and result: `accepted`, `duplicate` or `conflict`."""
        if self._since and event.time >= self._since:
            self._counts[result, kind] += 1

    def requested(self, request: RequestReceived) -> None:
        """Count a new request."""
        if not self._since or request.time < self._since:
            return
        self._counts["requests", request.outcome] += 1
        if request.outcome == "rejected":
            self._failed(request.error_category)
        else:
            self._counts["client_requests", self._client(request.client)] += 1

    def ended(self, was: EndedBuild | None, now: EndedBuild | None) -> None:
        """Count a build whose end changed from `was` to `now`, unless that is a correction.

        Its duration counts as soon as it is known: the start may arrive after the end.
        """
        if not self._since or now is None or aware(now.at) < self._since:
            return
        if was is None:
            self._counts["builds", now.status] += 1
            if now.status in FAILED_STATUSES:
                self._failed(now.error_category)
        if now.status != "success" or now.duration_seconds is None:
            return
        if was is None or (was.status == "success" and was.duration_seconds is None):
            fits = (str(limit) for limit in DURATION_BUCKETS if now.duration_seconds <= limit)
            self._counts["durations", next(fits, LONGER)] += 1
            self._counts["duration_seconds", ""] += now.duration_seconds

    def write(self, connection: Connection) -> None:
        """Add the counts to the table."""
        rows = sorted((*key, count) for key, count in self._counts.items())
        statements.add(connection, live_counts, ("measure", "label"), ("total",), rows)

    def _client(self, client: str) -> str:
        return client if client in self._clients else OTHER

    def _failed(self, category: str | None) -> None:
        self._counts["errors", category if category in CATEGORIES else OTHER] += 1


def read(connection: Connection) -> Mapping[str, Mapping[str, int]]:
    """Return the totals by measure and label."""
    found: dict[str, dict[str, int]] = {}
    for measure, label, total in statements.fetch(connection, _ALL):
        found.setdefault(measure, {})[label] = int(total)
    return found
