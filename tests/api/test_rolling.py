"""The overview of the last hours: exact to the second, and never cached."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from tests import histories
from tests.oracle import Oracle
from tests.support import NOW, CloudEvent, Stats, build, request

SECOND = timedelta(seconds=1)


def overview(stats: Stats, hours: int = 24) -> Any:
    return stats.get("overview", hours=hours)


def test_it_moves_with_the_clock(stats: Stats) -> None:
    stats.record(
        request("h1", NOW - timedelta(hours=24) + SECOND),
        *build("h1", end=NOW - timedelta(hours=23), seconds=90),
        request("h2", NOW - timedelta(hours=24) - SECOND),
        *build("h2", "failure", end=NOW),
        request("h1", NOW, outcome="cache_hit", client="owut/1"),
        request("x", NOW, outcome="rejected"),
    )
    found = overview(stats)
    assert found["period"] == {
        "start": "2026-09-29T12:00:00Z",
        "end": "2026-09-30T12:00:00Z",
        "days": None,
        "hours": 24,
        "data_since": "2026-09-29",
        "incomplete": [],
    }
    totals = found["totals"]
    assert (totals["requests"], totals["unique_requests"], totals["cache_hits"]) == (2, 1, 1)
    assert (totals["successful_builds"], totals["failed_builds"]) == (1, 1)
    assert (totals["rejected_requests"], totals["success_rate"]) == (1, 50.0)
    assert found["build_performance"]["median_duration_seconds"] == 90
    assert [row["client"] for row in found["clients"]["top_5"]] == ["luci", "owut"]
    assert overview(stats, 25)["totals"]["requests"] == 3

    stats.now = NOW + 2 * SECOND  # nothing was recorded, and yet the answer is another
    assert overview(stats)["totals"]["requests"] == 1
    stats.now = NOW + timedelta(hours=24, seconds=1)
    assert overview(stats)["totals"]["requests"] == 0
    assert overview(stats)["build_performance"]["avg_duration_seconds"] is None


def test_its_etag_is_another_at_another_time(sqlite_stats: Stats) -> None:
    url = "/api/v1/stats/overview?hours=24"
    answer = sqlite_stats.client.get(url)
    assert answer.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": answer.headers["ETag"]}
    assert sqlite_stats.client.get(url, headers=known).status_code == 304
    sqlite_stats.now = NOW + timedelta(seconds=1)
    assert sqlite_stats.client.get(url, headers=known).status_code == 200


@pytest.mark.parametrize("query", ["hours=0", "hours=169", "hours=x", "hours=24&days=1"])
def test_what_is_no_number_of_hours(sqlite_stats: Stats, query: str) -> None:
    answer = sqlite_stats.client.get(f"/api/v1/stats/overview?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("hours=")


@given(history=histories.histories(), hours=st.integers(1, 100), late=st.booleans())
@histories.examples(8)
def test_it_equals_the_oracle(
    stats: Stats, history: list[CloudEvent], hours: int, late: bool
) -> None:
    stats.clear()
    stats.now = NOW
    if history:
        stats.record(*history)
    if late:
        retention.run(stats.engine, Policy(1, 1, 1, latest=1), NOW.date())
    expected = Oracle(history).between(NOW - timedelta(hours=hours), NOW)
    found = overview(stats, hours)
    del found["period"]
    wanted = expected.overview()
    del wanted["period"]
    assert found == wanted
