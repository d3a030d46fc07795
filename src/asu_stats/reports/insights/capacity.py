"""Utilisation and number of workers, waiting times, and a forecast of requests."""

import math
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from heapq import heappop, heappush
from typing import Annotated, Final, NamedTuple

from pydantic import Field
from sqlalchemy import Connection, DateTime, bindparam, func, select
from typing_extensions import TypedDict

from asu_stats.reports import figures, sums
from asu_stats.reports.fields import Day, Period
from asu_stats.reports.insights import cache, forecasts, queue_simulation
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.parameters import Parameter
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks import reader
from asu_stats.store.blocks.cubes import BUSY, BY_GAP
from asu_stats.store.blocks.distribution import Distribution
from asu_stats.store.blocks.reader import Daily
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics
from asu_stats.store.rollups.definitions import HOURLY_PROFILES
from asu_stats.times import bounds
from asu_stats.windows import Window


class HourArrivals(TypedDict):
    """Average requests and builds of one hour of the week."""

    hour: Annotated[int, Field(description="0 is Monday 00:00 UTC, 167 is Sunday 23:00 UTC.")]
    requests: Annotated[float, Field(description="Mean accepted requests, 2 decimals.")]
    builds: Annotated[
        float, Field(description="Mean requests that queued a new build, 2 decimals.")
    ]


class Seconds(TypedDict):
    """How long builds occupy a worker."""

    mean: Annotated[float | None, Field(description="Seconds, 1 decimal.")]
    p95: Annotated[int | None, Field(description="95th percentile in seconds, nearest rank.")]


class Waiting(TypedDict):
    """How long builds wait for a worker, in a simulation."""

    mean_seconds: Annotated[
        float | None, Field(description="1 decimal; null if the queue would grow without bound.")
    ]
    p95_seconds: Annotated[
        float | None, Field(description="1 decimal; null if the queue would grow without bound.")
    ]


class ForecastDay(TypedDict):
    """The forecast of one day."""

    date: Day
    requests: Annotated[int, Field(description="Accepted requests.")]
    low: Annotated[int, Field(description="Lower end of the 90% prediction interval.")]
    high: Annotated[int, Field(description="Upper end of the 90% prediction interval.")]
    build_hours: Annotated[float | None, Field(description="Hours of workers, 2 decimals.")]


class Errors(TypedDict):
    """Mean absolute scaled errors of forecasts from the past, 28 days ahead."""

    mase: Annotated[
        float | None, Field(description="Of the chosen method; null: too little history.")
    ]
    seasonal_naive_mase: Annotated[float | None, Field(description="Of `same weekday last week`.")]


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
            description="As given, else the maximum number of concurrent builds among the newest "
            "1,000 builds of the time range that have details."
        ),
    ]
    utilisation: Annotated[
        float | None,
        Field(description="Percent of worker time that builds occupy, 2 decimals."),
    ]
    wait: Waiting
    workers_needed: Annotated[
        int | None,
        Field(description="Fewest workers with which the p95 wait meets the target."),
    ]
    target_wait_seconds: Annotated[int, Field(description="The target, as given.")]
    forecast: Annotated[
        list[ForecastDay], Field(description="The 28 days after the time range, with `growth`.")
    ]
    forecast_method: Annotated[str | None, Field(description="The method with the least error.")]
    backtest: Errors


MIN_DAYS: Final = forecasts.MIN_DAYS
HISTORY_DAYS: Final = 182
MAX_BUILDS: Final = 1_000
_MAX_WORKERS: Final = 10_000
METHOD: Final = (
    "Waiting times are simulated. Builds arrive at random at the mean rate of each hour of the "
    "week and occupy the next free worker for a duration drawn from the builds of the time range. "
    "A backtest chooses the forecast method."
)

TARGET_WAIT: Final = Parameter(
    "target_wait_seconds",
    "Target for the 95th percentile of the wait, in seconds.",
    {"type": "integer", "minimum": 0, "maximum": 86_400, "default": 60},
)
WORKERS: Final = Parameter(
    "workers",
    "Number of workers. Default: as observed.",
    {"type": "integer", "minimum": 1, "maximum": _MAX_WORKERS},
)
TTL: Final = Parameter(
    "ttl_seconds",
    "Compute as if images were kept for this many seconds after their last request.",
    {"type": "integer", "minimum": 0, "maximum": cache.TTLS[-1]},
)
GROWTH: Final = Parameter(
    "growth",
    "Growth of requests in percent.",
    {"type": "integer", "minimum": 0, "maximum": 1_000, "default": 0},
)


class _Arrivals(NamedTuple):
    """Sums over complete days, by hour of the week."""

    requests: list[int]
    builds: list[int]
    hours: list[int]  # how often each hour of the week occurs


def read(
    connection: Connection, window: Window, today: date, parameters: Mapping[str, int]
) -> Capacity:
    """Return the utilisation over the complete days of `window`, and the forecast after it."""
    scale = Fraction(100 + parameters["growth"], 100)
    complete = _complete(connection, window, today)
    durations = _durations(connection, complete) if complete else []
    arrivals = _arrivals(connection, complete) if complete else None
    builds = sum(count for _, count in durations)
    found: Capacity = {
        "period": sums.period(connection, window, []),
        "basis": {
            "builds": builds,
            "requests": sum(arrivals.requests) if arrivals else 0,
            "method": METHOD,
            "enough": False,
        },
        "arrivals_by_hour_of_week": [],
        "service_seconds": {"mean": None, "p95": None},
        "workers": None,
        "utilisation": None,
        "wait": {"mean_seconds": None, "p95_seconds": None},
        "workers_needed": None,
        "target_wait_seconds": parameters["target_wait_seconds"],
        "forecast": [],
        "forecast_method": None,
        "backtest": {"mase": None, "seasonal_naive_mase": None},
    }
    queued = sum(arrivals.builds) if arrivals else 0
    if not complete or not arrivals or complete.days < MIN_DAYS or not builds or not queued:
        return found
    found["basis"]["enough"] = True
    build_factor = _build_factor(connection, complete, parameters.get("ttl_seconds"))
    rates = [
        scale * build_factor * count / hours
        for count, hours in zip(arrivals.builds, arrivals.hours, strict=True)
    ]
    found["arrivals_by_hour_of_week"] = [
        {
            "hour": hour,
            "requests": figures.exactly(scale * arrivals.requests[hour] / arrivals.hours[hour], 2),
            "builds": figures.exactly(rate, 2),
        }
        for hour, rate in enumerate(rates)
    ]
    distribution = Distribution.of(dict(durations))
    seconds = distribution.total
    found["service_seconds"] = {
        "mean": figures.average(seconds, builds),
        "p95": distribution.percentile(queue_simulation.PERCENTILE),
    }
    load = queue_simulation.load(rates, Fraction(seconds, builds))
    workers = parameters.get("workers") or _max_concurrent_builds(connection, window, load)
    found["workers"] = workers
    found["utilisation"] = figures.exactly(100 * load / workers, 2)
    wait, found["workers_needed"] = _simulate(
        tuple(map(float, rates)),
        tuple(durations),
        load,
        workers,
        parameters["target_wait_seconds"],
    )
    if wait:
        found["wait"] = {
            "mean_seconds": figures.exactly(wait.mean, 1),
            "p95_seconds": figures.exactly(wait.p95, 1),
        }
    hours_each = build_factor * queued / sum(arrivals.requests) * seconds / builds / 3_600
    if predicted := _forecast(connection, window, today, float(hours_each), float(scale)):
        found["forecast"], forecast = predicted
        found["forecast_method"] = forecast.method
        found["backtest"] = {
            "mase": _rounded(forecast.mase),
            "seasonal_naive_mase": _rounded(forecast.seasonal_naive_mase),
        }
    return found


@lru_cache(maxsize=32)  # complete days rarely change
def _simulate(
    rates: tuple[float, ...],
    durations: tuple[tuple[int, int], ...],
    load: Fraction,
    workers: int,
    target: int,
) -> tuple[queue_simulation.Wait | None, int]:
    """Return the waits, `None` if the queue would grow without bound, and the workers needed."""
    simulated = queue_simulation.arrivals(rates, durations, workers)
    wait = queue_simulation.wait(simulated, workers) if load < workers else None
    return wait, queue_simulation.workers_needed(simulated, load, target)


_KNOWN_AND_HITS: Final = ("total_requests", "requests_without_hash", "cache_hits")


def _build_factor(connection: Connection, window: Window, ttl: int | None) -> Fraction:
    """Return the factor by which another time to live changes the number of builds.

    It is the expected misses over the actual misses, among requests with a known hash.
    """
    if ttl is None:
        return Fraction(1)
    counted = sums.days(connection, window, *_KNOWN_AND_HITS)
    known = sum(int(row[1]) - int(row[2]) for row in counted)
    misses = known - sum(int(row[3]) for row in counted)
    if misses <= 0:
        return Fraction(1)
    return Fraction(known - cache.hits(connection, window, [ttl])[0], misses)


def _complete(connection: Connection, window: Window, today: date) -> Window | None:
    """Return the past days of `window` that have data and hourly rollups."""
    since, kept = sums.first_day(connection), sums.hourly_since(connection)
    if since is None:
        return None
    first = max(window.start, since, kept or date.min)
    last = min(window.end, today - timedelta(days=1))
    return Window(first, last) if first <= last else None


def _durations(connection: Connection, window: Window) -> list[tuple[int, int]]:
    """Return pairs of duration in seconds and number of builds, ascending."""
    (busy,) = sums.cubes(connection, window, BUSY)
    return sorted(busy.counts(0).items())


_H: Final = HOURLY_PROFILES.table.c
_BY_HOUR: Final = Daily(
    select(_H.hour, func.sum(_H.request_count), func.sum(_H.queued_requests))
    .where(
        _H.hour >= bindparam("first", type_=DateTime), _H.hour < bindparam("after", type_=DateTime)
    )
    .group_by(_H.hour),
    lambda rows: [(hour.hour, int(requests), int(queued)) for hour, requests, queued in rows],
    lambda rows: 100 * len(rows),
)


def _arrivals(connection: Connection, window: Window) -> _Arrivals:
    requests: Counter[int] = Counter()
    builds: Counter[int] = Counter()
    for day, rows in reader.read_days(connection, window.start, window.end, _BY_HOUR):
        for hour, accepted, queued in rows:
            hour_of_week = day.weekday() * 24 + hour
            requests[hour_of_week] += accepted
            builds[hour_of_week] += queued
    days = Counter(day.weekday() for day in window)
    hours = range(queue_simulation.HOURS)
    return _Arrivals(
        [requests[hour] for hour in hours],
        [builds[hour] for hour in hours],
        [days[hour // 24] for hour in hours],
    )


_b = build_metrics.c
_NEWEST_BUILDS: Final = (
    select(_b.started_at, _b.finished_at, _b.duration_seconds)
    .where(
        _b.finished_at >= bindparam("first", type_=DateTime),
        _b.finished_at < bindparam("after", type_=DateTime),
    )
    .order_by(_b.finished_at.desc(), _b.request_hash, _b.build_id)
    .limit(MAX_BUILDS)
)


def _send_newest_builds(connection: Connection, window: Window) -> statements.Sent:
    first, after = bounds(window.start, window.end)
    return statements.send_once(connection, _NEWEST_BUILDS, first=first, after=after)


def _max_concurrent_builds(connection: Connection, window: Window, load: Fraction) -> int:
    """Return the maximum number of concurrent builds among the newest builds of `window`.

    Without details, return the fewest workers with which the queue does not grow without bound.
    """
    running: list[datetime] = []  # a heap of ends
    maximum = 0
    for start, end in sorted(
        (started or finished - timedelta(seconds=seconds or 0), finished)
        for started, finished, seconds in _send_newest_builds(connection, window)()
    ):
        while running and running[0] <= start:
            heappop(running)
        heappush(running, end)
        maximum = max(maximum, len(running))
    return maximum or math.floor(load) + 1


def _history(connection: Connection, window: Window, today: date) -> Window:
    """Return the days that a forecast is based on."""
    last = min(window.end, today - timedelta(days=1))
    since = sums.first_day(connection) or last
    return Window(max(since, last - timedelta(days=HISTORY_DAYS - 1)), last)


def _forecast(
    connection: Connection, window: Window, today: date, hours_each: float, scale: float
) -> tuple[list[ForecastDay], forecasts.Forecast] | None:
    """Forecast the 28 days after `window`, at most from tomorrow on, from up to 26 weeks before.

    `hours_each` is the build time per request in hours.
    """
    past = _history(connection, window, today)
    last = past.end
    if past.days < MIN_DAYS:
        return None
    requests = dict(sums.days(connection, past, "total_requests"))
    skipped = (min(window.end, today) - last).days
    found = _forecast_series(
        tuple(float(requests.get(day, 0)) for day in past), skipped + forecasts.HORIZON
    )
    days: list[ForecastDay] = [
        {
            "date": (last + timedelta(days=ahead + 1)).isoformat(),
            "requests": int(figures.exactly(scale * found.values[ahead], 0)),
            "low": math.floor(scale * found.low[ahead]),
            "high": math.ceil(scale * found.high[ahead]),
            "build_hours": figures.exactly(scale * found.values[ahead] * hours_each, 2),
        }
        for ahead in range(skipped, skipped + forecasts.HORIZON)
    ]
    return days, found


_forecast_series: Final = lru_cache(maxsize=32)(forecasts.forecast)  # complete days rarely change


def _rounded(error: float | None) -> float | None:
    return None if error is None else figures.exactly(error, 3)


def _send(connection: Connection, query: Query) -> None:
    complete = _complete(connection, query.window, query.today)
    if complete is None or complete.days < MIN_DAYS:
        return
    reader.send_days(connection, complete.start, complete.end, _BY_HOUR)
    sums.send_days(connection, _history(connection, query.window, query.today), "total_requests")
    if "workers" not in query.filters:
        _send_newest_builds(connection, query.window)
    cubes = [BUSY]
    if "ttl_seconds" in query.filters:
        sums.send_days(connection, complete, *_KNOWN_AND_HITS)
        cubes.append(BY_GAP)
    sums.send_cubes(connection, complete, *cubes)


REPORT: Final = Report(
    name="insights/capacity",
    summary="Workers needed, waiting times and a forecast of requests",
    description="Covers the complete UTC days of the time range. The simulation has a fixed seed, "
    "so equal data has equal results.",
    send=_send,
    read=lambda connection, query: read(connection, query.window, query.today, query.filters),
    response=Capacity,
    parameters=(TARGET_WAIT, WORKERS, TTL, GROWTH),
)
