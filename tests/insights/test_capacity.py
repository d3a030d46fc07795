"""`insights/capacity`: queues against theory, forecasts of known series, sums."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from asu_stats.reports.insights import forecasts, queue_simulation
from asu_stats.store.verification import verify
from tests.support import NOW, CloudEvent, Stats, build, request

DAY = timedelta(days=1)
# Exponential durations of a minute in whole seconds, as counts.
MINUTE = 60
EXPONENTIAL = [
    (k, round(1e7 * (math.exp(-(k - 0.5) / MINUTE) - math.exp(-(k + 0.5) / MINUTE))))
    for k in range(1, 1200)
]


def erlang_c(workers: int, load: float) -> float:
    """Return the probability that a build has to wait in M/M/c."""
    full = load**workers / math.factorial(workers) * workers / (workers - load)
    return full / (sum(load**k / math.factorial(k) for k in range(workers)) + full)


@pytest.mark.parametrize(("workers", "busy"), [(1, 0.3), (1, 0.6), (3, 0.7), (8, 0.8)])
def test_waiting_is_as_theory_says(workers: int, busy: float) -> None:
    mean = sum(s * n for s, n in EXPONENTIAL) / sum(n for _, n in EXPONENTIAL)
    load = busy * workers
    rates = [load * 3600 / mean] * queue_simulation.HOURS
    found = queue_simulation.wait(queue_simulation.arrivals(rates, EXPONENTIAL, workers), workers)
    late = erlang_c(workers, load)
    drain = mean / (workers - load)
    assert found.mean == pytest.approx(late * drain, rel=0.06)
    p95 = max(0.0, drain * math.log(late / 0.05))
    assert found.p95 == pytest.approx(p95, rel=0.08, abs=1)


def test_a_day_that_is_busier_than_its_workers() -> None:
    """Of 100 s each, 72 an hour for half a day, then 12: the queue grows and drains, as a fluid."""
    rates = [72.0 if hour % 24 < 12 else 12.0 for hour in range(queue_simulation.HOURS)]
    simulated = queue_simulation.arrivals(rates, [(100, 1)], 1)
    load = queue_simulation.load(rates, 100)
    assert load == pytest.approx(42 * 100 / 3600)
    needed = queue_simulation.workers_needed(simulated, load, 600)
    assert needed == 3
    enough, too_few = (queue_simulation.wait(simulated, n).p95 for n in (needed, needed - 1))
    assert enough <= 600 < too_few
    assert queue_simulation.workers_needed(simulated, load, 86_400) == 2
    assert queue_simulation.workers_needed(simulated, load, 0) > needed


def test_equal_figures_have_equal_results() -> None:
    rates = [5.0] * queue_simulation.HOURS
    first, second = (queue_simulation.arrivals(rates, [(60, 2), (90, 1)], 1) for _ in range(2))
    assert first == second
    assert len(first.builds) - first.skipped >= 40_000


def test_little_and_much_are_simulated_in_bounded_time() -> None:
    for rate in (0.001, 10_000.0):
        simulated = queue_simulation.arrivals([rate] + [0.0] * 167, [(30, 1)], 1)
        assert len(simulated.builds) < 300_000


def noisy(days: int, seed: int, growth: float = 0.0, weekly: float = 0.3) -> list[float]:
    chance = random.Random(seed)
    return [
        round(
            (400 + growth * day)
            * (1 + weekly * math.sin(day / 7 * 2 * math.pi))
            * chance.lognormvariate(0, 0.1)
        )
        for day in range(days)
    ]


def test_forecasts_beat_the_week_before_on_noisy_weeks() -> None:
    ours = naive = 0.0
    for seed in range(12):
        series = noisy(120, seed, growth=1.5)
        past, actual = series[:92], series[92:]
        found = forecasts.forecast(past, 28)
        assert found.method == forecasts.EXPONENTIAL_SMOOTHING
        assert found.mase is not None
        assert found.seasonal_naive_mase is not None
        assert found.mase < found.seasonal_naive_mase
        ours += _error(found.values, actual)
        naive += _error(forecasts.seasonal_naive(past, 28), actual)
        inside = [
            low <= value <= high
            for low, value, high in zip(found.low, actual, found.high, strict=True)
        ]
        assert sum(inside) >= 18
    assert ours < 0.9 * naive


def _error(values: Sequence[float], actual: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(values, actual, strict=True))


def test_where_every_week_is_the_same_the_week_before_is_used() -> None:
    series = [100.0 + 10 * (day % 7) for day in range(60)]
    found = forecasts.forecast(series, 28)
    assert found.method == forecasts.SEASONAL_NAIVE
    assert found.values == [100.0 + 10 * ((60 + day) % 7) for day in range(28)]
    assert (found.low, found.high) == (found.values, found.values)


@pytest.mark.parametrize("series", [[0.0] * 14, [0.0] * 200, [1e9] * 30, [0.0] * 40 + [1e6] * 3])
def test_odd_series(series: list[float]) -> None:
    found = forecasts.forecast(series, 29)
    for low, value, high in zip(found.low, found.values, found.high, strict=True):
        assert 0 <= low <= value <= high < 1e13


def history(chance: random.Random, days: int) -> list[CloudEvent]:
    """Return requests and builds of some days; several builds run at once."""
    found: list[CloudEvent] = []
    for number in range(days * 12):
        at = NOW - timedelta(minutes=chance.randrange(days * 24 * 60))
        outcome = chance.choice(("queued", "queued", "joined", "cache_hit", "rejected"))
        found.append(request(f"h{number}", at, outcome=outcome))
        if outcome == "queued":
            seconds = chance.choice((30, 60, 90, 600))
            status = chance.choice(("success", "success", "failure", "timeout", "cancelled"))
            found += build(f"h{number}", status, end=at + timedelta(minutes=11), seconds=seconds)
    return [event for event in found if event["time"] <= NOW.isoformat()]


def naive(events: list[CloudEvent], first: date, last: date) -> dict[str, Any]:
    """Count what arrived and how long builds took, from raw events."""
    asked: Counter[int] = Counter()
    queued: Counter[int] = Counter()
    seconds = []
    starts = {e["data"]["build_id"]: e for e in events if e["type"].endswith("build.started")}
    for event in {event["id"]: event for event in events}.values():
        at, data = NOW.fromisoformat(event["time"]), event["data"]
        if not first <= at.date() <= last:
            continue
        hour = at.weekday() * 24 + at.hour
        if event["type"].endswith("received") and data["outcome"] != "rejected":
            asked[hour] += 1
            queued[hour] += data["outcome"] == "queued"
        if event["type"].endswith("finished") and data["build_id"] in starts:
            begin = NOW.fromisoformat(starts[data["build_id"]]["time"])
            seconds.append(round((at - begin).total_seconds()))
    days = [first + n * DAY for n in range((last - first).days + 1)]
    weeks = Counter(day.weekday() for day in days)
    return {
        "hours": [
            (h, round(asked[h] / weeks[h // 24], 2), round(queued[h] / weeks[h // 24], 2))
            for h in range(168)
        ],
        "mean": int(10 * sum(seconds) / len(seconds) + 0.5) / 10,
        "p95": sorted(seconds)[-(-len(seconds) * 95 // 100) - 1],
        "requests": sum(asked.values()),
        "builds": len(seconds),
        "load": sum(queued[h] / weeks[h // 24] for h in range(168))
        / 168
        * (sum(seconds) / len(seconds))
        / 3600,
    }


def test_sums_equal_naive_counting(stats: Stats) -> None:
    events = history(random.Random(5), 20)
    for part in (events[300:], events[:200], events[150:]):  # late, and twice
        stats.record(*part)
    first, last = NOW.date() - 17 * DAY, NOW.date() - DAY
    found = stats.get("insights/capacity", start=first, end=NOW.date(), workers=2)
    expected = naive(events, first, last)
    rows = found["arrivals_by_hour_of_week"]
    assert [(row["hour"], row["requests"], row["builds"]) for row in rows] == expected["hours"]
    assert found["service_seconds"] == {"mean": expected["mean"], "p95": expected["p95"]}
    assert found["basis"]["requests"] == expected["requests"]
    assert found["basis"]["builds"] == expected["builds"]
    assert found["utilisation"] == pytest.approx(100 * expected["load"] / 2, abs=0.01)
    assert list(verify.differences(stats.engine)) == []
    dates = [row["date"] for row in found["forecast"]]
    assert dates == [str(NOW.date() + n * DAY) for n in range(1, 29)]
    assert all(row["low"] <= row["requests"] <= row["high"] for row in found["forecast"])

    doubled = stats.get("insights/capacity", start=first, end=NOW.date(), workers=2, growth=100)
    assert doubled["utilisation"] == pytest.approx(2 * found["utilisation"], abs=0.02)
    assert doubled["wait"]["mean_seconds"] > found["wait"]["mean_seconds"]
    assert doubled["workers_needed"] >= found["workers_needed"]
    most = stats.get("insights/capacity", start=first, end=NOW.date(), target_wait_seconds=86400)
    assert most["workers_needed"] <= found["workers_needed"]


def test_halves_are_rounded_up(sqlite_stats: Stats) -> None:
    """One of 8 weeks is 0.125 requests per hour; 56 builds of 108 s in 56 days are 0.125%.

    With a request each day, growth by 150% leads to 2.5.
    """
    events: list[Any] = []
    for day in range(1, 57):
        end = NOW - day * DAY - timedelta(hours=3 if day == 8 else 0)
        events += [request(f"h{day}", end), build(f"h{day}", end=end, seconds=108)]
    sqlite_stats.record(*events)
    dates = {"start": NOW.date() - 56 * DAY, "end": NOW.date() - DAY}
    found = sqlite_stats.get("insights/capacity", **dates, workers=1)
    earlier = NOW - 8 * DAY - timedelta(hours=3)
    row = found["arrivals_by_hour_of_week"][earlier.weekday() * 24 + earlier.hour]
    assert (row["requests"], row["builds"]) == (0.13, 0.13)
    assert found["utilisation"] == 0.13
    grown = sqlite_stats.get("insights/capacity", **dates, growth=150)
    assert {row["requests"] for row in grown["forecast"]} == {3}


def test_a_load_of_all_workers_has_no_waiting_time(sqlite_stats: Stats) -> None:
    """At a utilisation of exactly 100%, the queue grows without bound."""
    events: list[Any] = []
    for hour in range(14 * 24):
        end = NOW.replace(hour=0) - hour * timedelta(hours=1) - timedelta(minutes=1)
        for number in range(2):
            name = f"{hour}-{number}"
            events += [request(name, end), build(name, end=end, seconds=1500)]
    sqlite_stats.record(*events)
    found = sqlite_stats.get("insights/capacity", workers=1, growth=20)
    assert found["utilisation"] == 100.0
    assert found["wait"] == {"mean_seconds": None, "p95_seconds": None}


def test_too_little_data_has_no_figures(sqlite_stats: Stats) -> None:
    sqlite_stats.record(*history(random.Random(1), 10))
    found = sqlite_stats.get("insights/capacity")
    assert not found["basis"]["enough"]
    for name in ("arrivals_by_hour_of_week", "forecast"):
        assert found[name] == []
    for name in ("workers", "utilisation", "workers_needed", "forecast_method"):
        assert found[name] is None
    assert set(found["wait"].values()) == set(found["backtest"].values()) == {None}


def test_workers_are_those_that_ran_at_the_same_time(sqlite_stats: Stats) -> None:
    events: list[Any] = []
    for day in range(20):
        for number in range(3):  # one after the other
            end = NOW - day * DAY - timedelta(minutes=3 * number)
            name = f"{day}-{number}"
            events += [request(name, end), build(name, end=end, seconds=180)]
    sqlite_stats.record(*events)
    assert sqlite_stats.get("insights/capacity")["workers"] == 1
    end = NOW - DAY + timedelta(seconds=60)
    sqlite_stats.record(request("x", end), build("x", end=end, seconds=120))
    assert sqlite_stats.get("insights/capacity")["workers"] == 2
    busy = sqlite_stats.get("insights/capacity", growth=1000, workers=1)
    assert busy["wait"]["mean_seconds"] is not None


def test_more_than_workers_can_do_has_no_waiting_time(sqlite_stats: Stats) -> None:
    events: list[Any] = []
    for day in range(16):
        for number in range(5):
            end, name = NOW - day * DAY - timedelta(hours=number), f"{day}-{number}"
            events += [request(name, end), build(name, end=end, seconds=20_000)]
    sqlite_stats.record(*events)
    found = sqlite_stats.get("insights/capacity", workers=1)
    assert found["utilisation"] > 100
    assert found["wait"] == {"mean_seconds": None, "p95_seconds": None}
    assert found["workers_needed"] > 1


def test_a_longer_time_to_live_saves_builds(sqlite_stats: Stats) -> None:
    events: list[Any] = []
    for day in range(20):
        for name in ("same", f"other-{day}"):  # one of two was there the day before
            end = NOW - day * DAY
            events += [request(name, end), build(name, end=end, seconds=600)]
    sqlite_stats.record(*events)
    dates = {"start": NOW.date() - 18 * DAY, "end": NOW.date() - DAY}
    now = sqlite_stats.get("insights/capacity", **dates, workers=1)
    for lifetime, factor in ((0, 1), (86_399, 1), (86_400, 0.5)):
        found = sqlite_stats.get("insights/capacity", **dates, workers=1, ttl_seconds=lifetime)
        assert found["utilisation"] == pytest.approx(factor * now["utilisation"], abs=0.01)
        assert found["forecast"][0]["build_hours"] == pytest.approx(
            factor * now["forecast"][0]["build_hours"], abs=0.01
        )
