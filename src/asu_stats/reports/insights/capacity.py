"""How busy workers are, how long builds wait for one, how many are needed, and what will come."""

import math
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from heapq import heappop, heappush
from typing import Annotated, Final, NamedTuple

from pydantic import Field
from sqlalchemy import Connection, DateTime, bindparam, func, select
from typing_extensions import TypedDict

from asu_stats.reports import figures, sums
from asu_stats.reports.fields import Day, Period
from asu_stats.reports.insights import cache, forecasts, queueing
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.parameters import Parameter
from asu_stats.reports.report import Report
from asu_stats.store.blocks.distribution import Distribution
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics
from asu_stats.store.rollups.definitions import BUSY_SECONDS, HOURLY_PROFILES
from asu_stats.times import bounds
from asu_stats.windows import Window


class HourArrivals(TypedDict):
    """What arrives in one hour of the week, on average."""

    hour: Annotated[int, Field(description="0 is Monday 00:00 UTC, 167 is Sunday 23:00 UTC.")]
    requests: Annotated[float, Field(description="Mean accepted requests, 2 decimals.")]
    builds: Annotated[
        float, Field(description="Mean requests that queued a new build, 2 decimals.")
    ]


class Seconds(TypedDict):
    """How long builds occupy a worker."""

    mean: Annotated[float | None, Field(description="Seconds, 1 decimal.")]
    p95: Annotated[int | None, Field(description="95% of the builds took at most so long.")]


class Waiting(TypedDict):
    """How long builds wait for a worker, in a simulation."""

    mean_seconds: Annotated[
        float | None, Field(description="1 decimal; null if the queue would grow without end.")
    ]
    p95_seconds: Annotated[
        float | None, Field(description="1 decimal; null if the queue would grow without end.")
    ]


class ForecastDay(TypedDict):
    """What is expected of one day."""

    date: Day
    requests: Annotated[int, Field(description="Accepted requests.")]
    low: Annotated[int, Field(description="9 of 10 days are expected between low and high.")]
    high: Annotated[int, Field(description="9 of 10 days are expected between low and high.")]
    build_hours: Annotated[float | None, Field(description="Hours of workers, 2 decimals.")]


class Errors(TypedDict):
    """Mean absolute scaled errors of forecasts from the past, 28 days ahead."""

    mase: Annotated[
        float | None, Field(description="Of the method that is used; null: too little history.")
    ]
    seasonal_naive_mase: Annotated[
        float | None, Field(description="Of the same day of the week before.")
    ]


class Capacity(TypedDict):
    """`GET /api/v1/stats/insights/capacity`."""

    period: Period
    basis: Basis
    arrivals_by_hour_of_week: Annotated[
        list[HourArrivals], Field(description="168 hours, with `growth`; over complete days.")
    ]
    service_seconds: Seconds
    workers: Annotated[
        int | None,
        Field(
            description="As given, else the most builds that ran at the same time among the newest "
            "1,000 of the time range whose details are kept."
        ),
    ]
    utilisation: Annotated[
        float | None,
        Field(description="Percent of the workers' time that builds take, 2 decimals."),
    ]
    wait: Waiting
    workers_needed: Annotated[
        int | None,
        Field(description="Fewest workers with which p95 of the wait is at most the target."),
    ]
    target_wait_seconds: Annotated[int, Field(description="The target, as asked for.")]
    forecast: Annotated[
        list[ForecastDay], Field(description="The 28 days after the time range, with `growth`.")
    ]
    forecast_method: Annotated[str | None, Field(description="The method with the least error.")]
    backtest: Errors


LEAST_DAYS: Final = forecasts.LEAST_DAYS
HISTORY_DAYS: Final = 182
NEWEST: Final = 1_000
_MOST_WORKERS: Final = 10_000
METHOD: Final = (
    "Waiting times are simulated: builds arrive at random at the mean rate of each hour of the "
    "week, and take the next free worker for as long as a build of the time range, drawn at "
    "random; the forecast is chosen by a backtest."
)

TARGET_WAIT: Final = Parameter(
    "target_wait_seconds",
    "Number of seconds that 95% of the builds should wait at most.",
    {"type": "integer", "minimum": 0, "maximum": 86_400, "default": 60},
)
WORKERS: Final = Parameter(
    "workers",
    "Number of workers, instead of that which was seen.",
    {"type": "integer", "minimum": 1, "maximum": _MOST_WORKERS},
)
LIFETIME: Final = Parameter(
    "ttl_seconds",
    "As if images were kept for so many seconds after their last request.",
    {"type": "integer", "minimum": 0, "maximum": cache.LIFETIMES[-1]},
)
GROWTH: Final = Parameter(
    "growth",
    "Percent more requests than now.",
    {"type": "integer", "minimum": 0, "maximum": 1_000, "default": 0},
)


class _Arrived(NamedTuple):
    """Sums over complete days, by hour of the week."""

    requests: list[int]
    builds: list[int]
    hours: list[int]  # how many of each there were


def read(connection: Connection, window: Window, today: date, asked: Mapping[str, int]) -> Capacity:
    """Return how busy workers are over the complete days of `window`, and what will come."""
    scale = 1 + asked["growth"] / 100
    complete = _complete(connection, window, today)
    durations = _durations(connection, complete) if complete else []
    arrived = _arrived(connection, complete) if complete else None
    busy = sum(builds for _, builds in durations)
    found: Capacity = {
        "period": sums.period(connection, window, []),
        "basis": {
            "builds": busy,
            "requests": sum(arrived.requests) if arrived else 0,
            "method": METHOD,
            "enough": False,
        },
        "arrivals_by_hour_of_week": [],
        "service_seconds": {"mean": None, "p95": None},
        "workers": None,
        "utilisation": None,
        "wait": {"mean_seconds": None, "p95_seconds": None},
        "workers_needed": None,
        "target_wait_seconds": asked["target_wait_seconds"],
        "forecast": [],
        "forecast_method": None,
        "backtest": {"mase": None, "seasonal_naive_mase": None},
    }
    queued = sum(arrived.builds) if arrived else 0
    if not complete or not arrived or complete.days < LEAST_DAYS or not busy or not queued:
        return found
    found["basis"]["enough"] = True
    missed = _missed(connection, complete, asked.get("ttl_seconds"))
    rates = [
        scale * missed * builds / hours
        for builds, hours in zip(arrived.builds, arrived.hours, strict=True)
    ]
    found["arrivals_by_hour_of_week"] = [
        {
            "hour": hour,
            "requests": round(scale * arrived.requests[hour] / arrived.hours[hour], 2),
            "builds": round(rate, 2),
        }
        for hour, rate in enumerate(rates)
    ]
    took = Distribution.of(dict(durations))
    seconds = took.total
    found["service_seconds"] = {
        "mean": figures.average(seconds, busy),
        "p95": took.percentile(queueing.PERCENTILE),
    }
    load = queueing.load(rates, seconds / busy)
    workers = asked.get("workers") or _most_at_once(connection, window, load)
    found["workers"] = workers
    found["utilisation"] = round(100 * load / workers, 2)
    simulated = queueing.arrivals(rates, durations, workers)
    if load < workers:
        wait = queueing.wait(simulated, workers)
        found["wait"] = {"mean_seconds": round(wait.mean, 1), "p95_seconds": round(wait.p95, 1)}
    found["workers_needed"] = queueing.workers_needed(simulated, load, asked["target_wait_seconds"])
    hours_each = missed * queued / sum(arrived.requests) * seconds / busy / 3_600
    if predicted := _predict(connection, window, today, hours_each, scale):
        found["forecast"], forecast = predicted
        found["forecast_method"] = forecast.method
        found["backtest"] = {
            "mase": _shown(forecast.mase),
            "seasonal_naive_mase": _shown(forecast.seasonal_naive_mase),
        }
    return found


def _missed(connection: Connection, window: Window, lifetime: int | None) -> float:
    """Return by what the builds of `window` are multiplied with another time to live.

    These are the requests with a known hash that would be no hits, over those that were none.
    """
    if lifetime is None:
        return 1.0
    counted = sums.days(connection, window, "total_requests", "requests_without_hash", "cache_hits")
    known = sum(int(row[1]) - int(row[2]) for row in counted)
    misses = known - sum(int(row[3]) for row in counted)
    return (known - cache.hits(connection, window, [lifetime])[0]) / misses if misses > 0 else 1.0


def _complete(connection: Connection, window: Window, today: date) -> Window | None:
    """Return the days of `window` that are over, have data, and of which there are hours."""
    since, kept = sums.first_day(connection), sums.hourly_since(connection)
    if since is None:
        return None
    first = max(window.start, since, kept or date.min)
    last = min(window.end, today - timedelta(days=1))
    return Window(first, last) if first <= last else None


def _durations(connection: Connection, window: Window) -> list[tuple[int, int]]:
    """Return seconds that builds occupied a worker, ascending, and how many took so long."""
    rows = sums.rows(connection, BUSY_SECONDS, ("seconds",), window)
    return sorted((row.seconds, int(row.builds)) for row in rows if row.builds)


_H: Final = HOURLY_PROFILES.table.c
_BY_HOUR: Final = (
    select(_H.hour, func.sum(_H.request_count), func.sum(_H.queued_requests))
    .where(_H.hour >= bindparam("first"), _H.hour < bindparam("after"))
    .group_by(_H.hour)
)


def _arrived(connection: Connection, window: Window) -> _Arrived:
    first, after = bounds(window.start, window.end)
    requests: Counter[int] = Counter()
    builds: Counter[int] = Counter()
    for hour, asked, queued in connection.execute(_BY_HOUR, {"first": first, "after": after}):
        place = hour.weekday() * 24 + hour.hour
        requests[place] += int(asked)
        builds[place] += int(queued)
    days = Counter(day.weekday() for day in window)
    places = range(queueing.HOURS)
    return _Arrived(
        [requests[place] for place in places],
        [builds[place] for place in places],
        [days[place // 24] for place in places],
    )


_b = build_metrics.c
_NEWEST: Final = (
    select(_b.started_at, _b.finished_at, _b.duration_seconds)
    .where(
        _b.finished_at >= bindparam("first", type_=DateTime),
        _b.finished_at < bindparam("after", type_=DateTime),
    )
    .order_by(_b.finished_at.desc(), _b.request_hash, _b.build_id)
    .limit(NEWEST)
)


def _most_at_once(connection: Connection, window: Window, load: float) -> int:
    """Return how many of the newest builds of `window` ran at the same time at most.

    Without details, the fewest workers with which the queue does not grow without end.
    """
    first, after = bounds(window.start, window.end)
    running: list[datetime] = []  # a heap of ends
    most = 0
    for start, end in sorted(
        (started or finished - timedelta(seconds=seconds or 0), finished)
        for started, finished, seconds in statements.fetch(
            connection, _NEWEST, first=first, after=after
        )
    ):
        while running and running[0] <= start:
            heappop(running)
        heappush(running, end)
        most = max(most, len(running))
    return most or math.floor(load) + 1


def _predict(
    connection: Connection, window: Window, today: date, hours_each: float, scale: float
) -> tuple[list[ForecastDay], forecasts.Forecast] | None:
    """Return the 28 days after `window`, or after today, forecast from up to 26 weeks before.

    `hours_each` are the build hours per request.
    """
    last = min(window.end, today - timedelta(days=1))
    since = sums.first_day(connection) or last
    past = Window(max(since, last - timedelta(days=HISTORY_DAYS - 1)), last)
    if past.days < LEAST_DAYS:
        return None
    asked = dict(sums.days(connection, past, "total_requests"))
    skipped = (min(window.end, today) - last).days
    found = forecasts.forecast(
        [float(asked.get(day, 0)) for day in past], skipped + forecasts.HORIZON
    )
    days: list[ForecastDay] = [
        {
            "date": (last + timedelta(days=ahead + 1)).isoformat(),
            "requests": round(scale * found.values[ahead]),
            "low": math.floor(scale * found.low[ahead]),
            "high": math.ceil(scale * found.high[ahead]),
            "build_hours": round(scale * found.values[ahead] * hours_each, 2),
        }
        for ahead in range(skipped, skipped + forecasts.HORIZON)
    ]
    return days, found


def _shown(error: float | None) -> float | None:
    return None if error is None else round(error, 3)


REPORT: Final = Report(
    name="insights/capacity",
    summary="How many workers are needed, and what will be asked for",
    description="Of the complete UTC days of the time range. Computed from stored sums; the "
    "simulation has a fixed seed.",
    read=lambda connection, query: read(connection, query.window, query.today, query.filters),
    response=Capacity,
    parameters=(TARGET_WAIT, WORKERS, LIFETIME, GROWTH),
)
