"""State of the queue, waiting times of requests, and retry storms."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import (
    Connection,
    Date,
    DateTime,
    Integer,
    Select,
    bindparam,
    cast,
    extract,
    func,
    literal_column,
    select,
)
from typing_extensions import TypedDict

from asu_stats.events import NO_HASH, shown_hash
from asu_stats.reports import figures, floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.fields import Client, Day, Period, Total
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.listing import Page
from asu_stats.reports.marks import IDENTIFYING
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import WAITED
from asu_stats.store.blocks.distribution import Distribution
from asu_stats.store.blocks.keys import Key
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics
from asu_stats.store.details.queue_samples import QueueState, queue_samples
from asu_stats.store.rollups.definitions import OFTEN, REPEATS
from asu_stats.times import bounds, naive
from asu_stats.windows import Window

_Seconds = Annotated[int | None, Field(description="Whole seconds; null without data.")]


class Waited(TypedDict):
    """How long requests waited for the start of their build."""

    p50_seconds: _Seconds
    p95_seconds: _Seconds
    max_seconds: _Seconds


class HourOfWeek(TypedDict):
    """An hour of the week."""

    hour: Annotated[int, Field(description="0 to 167; 0 is Monday 00:00 UTC.")]
    waiting_avg: Annotated[
        float | None,
        Field(description="Average queue length, 1 decimal; null without samples."),
    ]
    waited_p95_seconds: _Seconds


class Storm(TypedDict):
    """A retry storm: a hash that a client requested at least 10 times on a day in vain."""

    request_hash: Annotated[
        str,
        IDENTIFYING,
        Field(description="First 12 characters; the full hash with a `read` token."),
    ]
    client: Client
    requests: Annotated[int, Field(description="Failed requests on days with at least 10 of them.")]
    outcome: Annotated[
        str, Field(description="Most common result: rejected, cached_failure or failure.")
    ]
    since: Annotated[Day, Field(description="First UTC day with at least 10 failed requests.")]


class QueueInsight(TypedDict):
    """`GET /api/v1/stats/insights/queue`."""

    period: Period
    basis: Basis
    moving: Annotated[
        bool,
        Field(
            description="True if no build waits, or one started or ended in the last 30 minutes."
        ),
    ]
    waiting: Annotated[int, Field(description="Waiting builds of all servers.")]
    running: Annotated[int, Field(description="Running builds of all servers.")]
    expected_wait_seconds: Annotated[
        int | None,
        Field(
            description="For a new request: waiting builds over the rate of builds that ended in "
            "the last 30 minutes; null if none ended."
        ),
    ]
    waited: Waited
    by_hour_of_week: list[HourOfWeek]
    storms: Annotated[Sequence[Storm], Field(description="Most requests first.")]
    storms_total: Total
    storm_requests: Annotated[int, Field(description="Requests of all storms.")]
    distinct_hashes: Annotated[int, Field(description="Distinct hashes of all storms.")]


RECENT: Final = timedelta(minutes=30)
_CLOCK_SKEW: Final = timedelta(minutes=5)  # tolerated for events from other machines
_HOURS: Final = 168
_b, _s = build_metrics.c, queue_samples.c
_SINCE: Final = bindparam("since", type_=DateTime)
_UNTIL: Final = bindparam("until", type_=DateTime)
_ENDED: Final = select(func.count()).where(_b.finished_at >= _SINCE, _b.finished_at <= _UNTIL)
_STARTED: Final = select(func.count()).where(
    _b.finished_at.is_(None), _b.started_at >= _SINCE, _b.started_at <= _UNTIL
)


_day, _hour = (cast(extract(part, _s.sampled_at), Integer) for part in ("dow", "hour"))
_sample = (
    # `dow` of SQL is 0 on Sunday. Samples are whole minutes, so SQLite does not round one to the
    # next day.
    select(((_day + 6) % 7 * 24 + _hour).label("hour"), _s.queue_length)
    .where(_s.sampled_at >= _SINCE, _s.sampled_at < _UNTIL)
    .subquery("sample")
    .c
)
_SAMPLES: Final[Select[Any]] = select(
    _sample.hour, func.sum(_sample.queue_length), func.count()
).group_by(_sample.hour)
_t = REPEATS.table.c
_STORMS: Final = select(
    _t.date, _t.client, _t.request_hash, _t.rejected, _t.cached_failures, _t.failed_builds
).where(
    _t.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date)),
    literal_column(OFTEN),
    _t.request_hash != NO_HASH,
)


def expected_wait(waiting: int, ended: int) -> int | None:
    """Return the seconds until `waiting` builds have ended if `ended` builds end per 30 minutes."""
    if not waiting:
        return 0
    seconds = waiting * int(RECENT.total_seconds())
    return (2 * seconds + ended) // (2 * ended) if ended else None


@covers(QueueInsight)
def read(
    connection: Connection,
    window: Window,
    page: Page,
    *,
    now: datetime,
    state: QueueState,
    full_hashes: bool = False,
) -> QueueInsight:
    """Return the queue `now`, which is in `state`, and its waits and storms in `window`."""
    ended, started = (int(sent()[0][0]) for sent in _send_recent(connection, now))
    (waits,) = sums.cubes(connection, window, WAITED)
    waited = waits.distribution(1)
    storms, hashes = _storms(connection, window, full_hashes=full_hashes)
    moving = not state.queue_length or ended + started > 0
    return {
        "period": sums.period(connection, window, []),
        "basis": {
            "builds": ended,
            "requests": waited.count,
            "method": "The expected wait is the number of waiting builds over the rate of builds "
            "that ended in the last 30 minutes. A wait lasts from the request to the start of its "
            "build.",
            "enough": True,
        },
        "moving": moving,
        "waiting": state.queue_length,
        "running": state.builds_running,
        "expected_wait_seconds": expected_wait(state.queue_length, ended) if moving else None,
        "waited": {
            "p50_seconds": waited.percentile(50),
            "p95_seconds": waited.percentile(95),
            "max_seconds": waited.most,
        },
        "by_hour_of_week": _by_hour(connection, window, waits.rows()),
        "storms": page.of(storms),
        "storms_total": len(storms),
        "storm_requests": sum(storm["requests"] for storm in storms),
        "distinct_hashes": hashes,
    }


def _send_recent(connection: Connection, now: datetime) -> list[statements.Sent]:
    """Ask for the number of builds that ended and that started recently."""
    recent = {"since": naive(now) - RECENT, "until": naive(now) + _CLOCK_SKEW}
    return [statements.send_once(connection, each, **recent) for each in (_ENDED, _STARTED)]


def _send_samples(connection: Connection, window: Window) -> statements.Sent:
    first, after = bounds(window.start, window.end)
    return statements.send_once(connection, _SAMPLES, since=first, until=after)


def _send_storms(connection: Connection, window: Window) -> statements.Sent:
    return statements.send_once(connection, _STORMS, start=window.start, end=window.end)


def _by_hour(
    connection: Connection, window: Window, waits: Iterable[tuple[Key, list[int]]]
) -> list[HourOfWeek]:
    """Return the queue length and the waiting time of each hour of the week."""
    samples = {
        hour: figures.average(int(length), int(minutes))
        for hour, length, minutes in _send_samples(connection, window)()
    }
    waited: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for (hour, seconds), (requests,) in waits:
        waited[hour][seconds] = requests
    return [
        {
            "hour": hour,
            "waiting_avg": samples.get(hour),
            "waited_p95_seconds": Distribution.of(waited[hour]).percentile(95),
        }
        for hour in range(_HOURS)
    ]


_OUTCOMES: Final = ("rejected", "cached_failure", "failure")


def _storms(
    connection: Connection, window: Window, *, full_hashes: bool
) -> tuple[list[Storm], int]:
    """Return the retry storms, most requests first, and the number of their distinct hashes."""
    days: defaultdict[tuple[str, str], list[tuple[date, Sequence[int]]]] = defaultdict(list)
    for day, client, request_hash, *counts in _send_storms(connection, window)():
        days[request_hash, client].append((day, counts))
    shown = floor.Visible(connection, window)
    rows: defaultdict[tuple[str, str], list[tuple[date, Sequence[int]]]] = defaultdict(list)
    for (request_hash, client), storm_days in sorted(days.items()):
        requests = sum(sum(counts) for _, counts in storm_days)
        is_shown = requests >= floor.min_requests() and shown.has("client", client)
        rows[(request_hash, client) if is_shown else (floor.OTHER,) * 2] += storm_days
    found: list[Storm] = []
    for (request_hash, client), storm_days in rows.items():
        counts = [sum(column) for column in zip(*(each for _, each in storm_days), strict=True)]
        found.append(
            {
                "request_hash": request_hash if full_hashes else shown_hash(request_hash),
                "client": client,
                "requests": int(sum(counts)),
                "outcome": _OUTCOMES[counts.index(max(counts))],
                "since": min(day for day, _ in storm_days).isoformat(),
            }
        )
    found.sort(key=lambda storm: -storm["requests"])
    return found, len({request_hash for request_hash, _ in days})


def _read(connection: Connection, query: Query) -> QueueInsight:
    if query.now is None or query.queues is None:
        raise ValueError("insights/queue: expected the time and the queues in the query")
    state = query.queues.send_state(connection)
    _send_recent(connection, query.now)
    _send_samples(connection, query.window)
    _send_storms(connection, query.window)
    sums.send_cubes(connection, query.window, WAITED)
    return read(
        connection,
        query.window,
        query.page,
        now=query.now,
        state=state(),
        full_hashes=query.full_hashes,
    )


REPORT: Final = Report(
    name="insights/queue",
    summary="State of the queue, waiting times and retry storms",
    description="Days are UTC days. The state of the queue is current, so the response is not "
    "cached.",
    read=_read,
    response=QueueInsight,
    nested=True,
    shows_hashes=True,
    uses_clock=lambda _: True,
)
