"""Totals over all history, and the counters of live events, for the metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from asu_stats.reports import sums
from asu_stats.reports.durations import all_durations
from asu_stats.store.blocks.cubes import BY_CLIENT, FAILURES, SECONDS
from asu_stats.store.blocks.distribution import Distribution
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics, event_counts
from asu_stats.times import aware
from asu_stats.windows import FIRST_DAY, Window

# Columns of `stats_daily` by the names of the figures in responses.
_OUTCOMES: Final = {
    "queued": "queued_requests",
    "joined": "joined_requests",
    "cache_hit": "cache_hits",
    "cached_failure": "cached_failures",
    "rejected": "rejected_requests",
}
_STATUSES: Final = {
    "success": "successful_builds",
    "failure": "failed_builds",  # includes timeouts
    "timeout": "timeout_builds",
    "cancelled": "cancelled_builds",
}
_ADDS: Final = (*_OUTCOMES.values(), *_STATUSES.values())
_EVENTS: Final = select(event_counts.c.event, event_counts.c.events).where(
    event_counts.c.result == bindparam("result", type_=event_counts.c.result.type)
)
_LAST: Final = select(func.max(build_metrics.c.finished_at))


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Sums over all days up to today."""

    requests: Mapping[str, int]  # by outcome
    requests_of: Mapping[str, int]  # accepted requests of some clients
    accepted: int  # requests of all clients
    builds: Mapping[str, int]  # ended builds by status
    errors: Mapping[str, int]  # by category
    durations: Distribution  # of successful builds
    events: Mapping[str, int]  # accepted events by type
    last_finished: datetime | None  # end of the last finished build whose details are not archived


def read(connection: Connection, clients: Sequence[str], *, today: date) -> Lifetime:
    """Return the totals, and those of some `clients`: others may be made up.

    They are read from blocks: the cost does not grow with the requests.
    """
    window = Window(FIRST_DAY, today)
    days = sums.days(connection, window, *_ADDS)
    totals = [int(sum(column)) for column in list(zip(*days, strict=True))[1:]]
    of = dict(zip(_ADDS, totals or [0] * len(_ADDS), strict=True))
    seconds, by_client, failures = sums.cubes(connection, window, SECONDS, BY_CLIENT, FAILURES)
    builds = {status: of[column] for status, column in _STATUSES.items()}
    builds["failure"] -= builds["timeout"]
    ((last,),) = statements.fetch(connection, _LAST)
    return Lifetime(
        requests={outcome: of[column] for outcome, column in _OUTCOMES.items()},
        requests_of=dict(zip(clients, by_client.of(clients).tolist(), strict=True)),
        accepted=by_client.total()[0],
        builds=builds,
        errors=failures.counts(0),
        durations=all_durations(seconds),
        events={
            event: int(n) for event, n in statements.fetch(connection, _EVENTS, result="accepted")
        },
        last_finished=aware(last) if last else None,
    )
