"""Endpoints of charts and drill-down equal naive recomputation from raw events."""

from copy import copy
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.store.blocks import cached, packer
from tests import histories
from tests.oracle import Oracle
from tests.support import NOW, CloudEvent, Stats, at, build, request

TODAY = date(2026, 9, 30)
WINDOWS = [
    (TODAY, TODAY),
    (date(2026, 9, 28), date(2026, 9, 29)),
    (date(2026, 9, 28), TODAY),
    (date(2026, 8, 27), TODAY + timedelta(days=3)),
]


@given(history=histories.histories(), packed=st.booleans())
@histories.examples(6)
def test_further_figures_equal_the_oracle(
    stats: Stats, history: list[CloudEvent], packed: bool
) -> None:
    stats.clear()
    stats.record(*history)
    if packed:
        packer.pack(stats.engine, TODAY)
        cached.forget(stats.engine)
    oracle = Oracle(history)
    for start, end in WINDOWS:
        oracle.window(start, end)
        window = {"start": start, "end": end}
        assert stats.get("comparison", **window) == oracle.comparison(stats.now)
        assert stats.get("timeseries/week", **window) == oracle.week()
        assert stats.get("errors/types", **window) == oracle.error_types()
        for names in ({"profile": "generic"}, {"target": "x86/64", "profile": "own-profile"}):
            assert stats.get("versions", **names, **window) == oracle.versions(**names)
        filters = {"version": "24.10.2", "category": "build"}
        assert stats.get("errors/types", **filters, **window) == oracle.error_types(**filters)
        for interval in ("day", "week", "month"):
            asked = {"interval": interval, **window}
            assert stats.get("versions/timeseries", **asked) == oracle.adoption(interval)
            for version in (None, "23.05.5"):
                by = {} if version is None else {"version": version}
                found = stats.get("performance/timeseries", **asked, **by)
                assert found == oracle.durations(interval, version)
                found = stats.get("errors/timeseries", **asked, **by)
                assert found == oracle.error_series(interval, version)
        for version in (None, "23.05.5", ""):
            by = {} if version is None else {"version": version}
            check_bars(stats.get("performance/distribution", **by, **window), oracle, version)
        check_examples(stats.get("errors/examples", **window), oracle)


TOGETHER: list[dict[str, str]] = [
    {"version": "24.10.2", "target": "ath79/generic"},
    {"version": "23.05.5", "profile": "tplink_archer-c7-v5"},
    {"target": "x86/64", "profile": "tplink_archer-c7-v5"},
    {"version": "SNAPSHOT", "target": "x86/64", "profile": "glinet_gl-mt6000"},
]
KINDS: list[dict[str, str]] = [
    {"version": "24.10.2", "type": "package_not_found"},
    {"target": "x86/64", "category": "build"},
    {"version": "23.05.5", "target": "x86/64", "category": "network", "type": "tls_failed"},
]


def only(oracle: Oracle, **filters: str) -> Oracle:
    """Return the oracle of those requests and builds of a window that have all of these names."""
    found = copy(oracle)
    said = {"category": "error_category", "type": "error_type"}
    found.accepted, found.rejected = (
        [e for e in of if all(e["data"].get(said.get(k, k)) == v for k, v in filters.items())]
        for of in (oracle.accepted, oracle.rejected)
    )
    found.finished = [
        b for b in oracle.finished if all(getattr(b, k) == v for k, v in filters.items())
    ]
    return found


@given(history=histories.histories(), packed=st.booleans())
@histories.examples(5)
def test_filters_together_equal_the_oracle(
    stats: Stats, history: list[CloudEvent], packed: bool
) -> None:
    stats.clear()
    stats.record(*history)
    if packed:
        packer.pack(stats.engine, TODAY)
        cached.forget(stats.engine)
    oracle = Oracle(history)
    oracle.window(*WINDOWS[-1])
    window = dict(zip(("start", "end"), WINDOWS[-1], strict=True))
    for filters in TOGETHER:
        for interval in ("hour", "day", "month"):
            found = stats.get("timeseries", interval=interval, **filters, **window)
            assert found == oracle.timeseries(interval, **filters)
        assert stats.get("timeseries/week", **filters, **window) == only(oracle, **filters).week()
    of_both = {"client": "luci", "version": "24.10.2"}
    found = stats.get("timeseries", interval="hour", **of_both, **window)
    assert found == oracle.timeseries("hour", **of_both)
    for filters in ({"version": "24.10.2"}, {"target": "x86/64"}, TOGETHER[0]):
        found = stats.get("diff-packages", **filters, **window)
        assert found == only(oracle, **filters).diff_packages()
    found = stats.get("performance", version="23.05.5", **window)
    found["slowest"] = [row["duration"] for row in found.pop("slowest_builds")]
    assert found == only(oracle, version="23.05.5").performance()
    for filters in KINDS:
        for interval in ("day", "week"):
            found = stats.get("errors/timeseries", interval=interval, **filters, **window)
            assert found == only(oracle, **filters).error_series(interval)


def check_bars(bars: list[dict[str, Any]], oracle: Oracle, version: str | None) -> None:
    """Bars leave no gap, hold every build once, and say how many lie in each."""
    seconds = oracle.seconds(version)
    assert sum(bar["builds"] for bar in bars) == len(seconds)
    for bar, following in pairwise(bars):
        assert following["from_seconds"] == bar["to_seconds"] + 1
    for bar in bars:
        inside = [s for s in seconds if bar["from_seconds"] <= s <= bar["to_seconds"]]
        assert bar["builds"] == len(inside)


def check_examples(examples: list[dict[str, Any]], oracle: Oracle) -> None:
    """The latest errors, newest first."""
    expected = sorted(
        [b.end for b in oracle.finished if b.failed and b.end]
        + [e_time for e in oracle.rejected if (e_time := at_utc(e))],
        reverse=True,
    )[:20]
    assert [at_utc(example, "timestamp") for example in examples] == expected


def at_utc(item: dict[str, Any], field: str = "time") -> Any:
    return datetime.fromisoformat(item[field]).astimezone(UTC)


def test_many_versions_are_eight_and_the_others(stats: Stats) -> None:
    events = [
        request(f"h{number}-{n}", version=f"v{number:02}")
        for number in range(10)
        for n in range(10 - number)
    ]
    stats.record(*events)
    rows = stats.get("versions/timeseries", days=1)
    assert [row["version"] for row in rows] == [*(f"v{n:02}" for n in range(8)), None]
    assert [row["requests"] for row in rows] == [10, 9, 8, 7, 6, 5, 4, 3, 3]


def test_a_wide_distribution_has_few_bars(stats: Stats) -> None:
    for seconds in (10, 20, 500, 501, 90_000):
        stats.record(request(f"h{seconds}"), build(f"h{seconds}", seconds=seconds))
    bars = stats.get("performance/distribution")
    assert len(bars) <= 25
    assert sum(bar["builds"] for bar in bars) == 5
    assert bars[-1]["to_seconds"] >= 90_000


def test_examples_show_short_hashes_and_what_was_said(stats: Stats) -> None:
    stats.record(request("h" * 40), build("h" * 40, "failure", error_message="no space left"))
    stats.record(
        request("r" * 40, outcome="rejected", error_message="Unsupported version: 1", client="luci")
    )
    rows = stats.get("errors/examples")
    assert {row["request_hash"] for row in rows} == {"h" * 12, "r" * 12}
    assert {row["message"] for row in rows} == {"no space left", "Unsupported version: 1"}
    assert stats.get("errors/examples", type="no_such_type") == []


def test_before_is_unknown_where_nothing_was_recorded(stats: Stats) -> None:
    stats.record(request("h1", at("2026-09-24")), request("h2", at("2026-09-30")))

    def requests(days: int) -> dict[str, Any]:
        row: dict[str, Any] = stats.get("comparison", days=days)[0]
        return row

    assert requests(3)["before"] == 0
    assert requests(3)["change"] is None
    assert requests(4)["before"] is None
    stats.record(request("h3", at("2026-09-27")))
    row = requests(3)
    assert (row["value"], row["before"], row["change"]) == (1, 1, 0.0)


@pytest.mark.parametrize(
    "question", ["versions/timeseries", "performance/timeseries", "errors/timeseries"]
)
def test_hours_are_not_offered_where_only_days_are_known(
    sqlite_stats: Stats, question: str
) -> None:
    answer = sqlite_stats.client.get(f"/api/v1/stats/{question}?interval=hour")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("interval=hour: expected one of day, week, month")


def test_now_shows_what_is_being_built(stats: Stats) -> None:
    idle = {"queue_length": 0, "builds_running": 0, "running": [], "ended": []}
    assert stats.get("now") == idle
    started, finished = build("h1" * 20, build_id="b" * 40, end=NOW, seconds=30)
    stats.record(request("h1" * 20), started)
    running = stats.get("now")["running"]
    assert [row["build_id"] for row in running] == ["b" * 12]
    assert running[0]["started_at"] == "2026-09-30T11:59:30Z"
    stats.record(finished)
    answer = stats.get("now")
    assert answer["running"] == []
    assert [(row["status"], row["duration"]) for row in answer["ended"]] == [("success", 30)]
    forgotten, _ = build("h2", end=NOW - timedelta(days=2), seconds=30)
    stats.record(forgotten)
    assert stats.get("now")["running"] == []
