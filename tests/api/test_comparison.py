"""`comparison`: an incomplete time range is compared with an equally long one before it."""

import csv
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from tests import histories
from tests.oracle import Oracle
from tests.support import NOW, CloudEvent, Stats, at, build, request

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def _figures(stats: Stats, **window: object) -> dict[str, Any]:
    return {row["figure"]: row for row in stats.get("comparison", **window)}


@pytest.mark.parametrize("days", [1, 2, 7])
def test_the_days_before_end_at_the_same_time_of_day(stats: Stats, days: int) -> None:
    until = NOW - days * DAY
    stats.record(
        request("first", at("2026-08-01")),
        request("h1", until),
        *build("h1", end=until, seconds=30),
        request("h1", until - SECOND, outcome="cache_hit", client="owut/1"),
        request("h2", until + SECOND, client="auc/1"),
        *build("h2", "failure", end=until + SECOND),
        request("x", until + SECOND, outcome="rejected"),
    )
    found = _figures(stats, days=days)
    before = {name: row["before"] for name, row in found.items()}
    assert {row["compared_until"] for row in found.values()} == {until.strftime("%FT%TZ")}
    assert (before["requests"], before["unique_requests"], before["unique_clients"]) == (2, 1, 2)
    assert (before["cache_hit_rate"], before["success_rate"]) == (50.0, 100.0)
    assert (before["failed_builds"], before["rejected_requests"]) == (0, 0)
    assert before["median_duration_seconds"] == 30
    stats.now = NOW + 2 * SECOND  # nothing was recorded, and yet the answer is another
    assert _figures(stats, days=days)["requests"]["before"] == 3


def test_requests_of_earlier_days_are_counted_once(stats: Stats) -> None:
    stats.record(
        request("first", at("2026-08-01")),
        request("h1", NOW - 5 * DAY),
        request("h1", NOW - 3 * DAY - SECOND),
        request("h2", NOW - 3 * DAY - SECOND),
    )
    assert _figures(stats, days=3)["unique_requests"]["before"] == 2


def test_windows_that_are_over_are_compared_as_a_whole(stats: Stats) -> None:
    stats.record(request("first", at("2026-08-01")), request("h1", at("2026-09-27 23:59:59")))
    found = _figures(stats, start="2026-09-28", end="2026-09-29")["requests"]
    assert (found["before"], found["compared_until"]) == (1, None)
    url = "/api/v1/stats/comparison"
    assert "etag" in stats.client.get(f"{url}?start=2026-09-28&end=2026-09-29").headers
    answer = stats.client.get(f"{url}?days=7")
    assert answer.headers["cache-control"] == "no-cache"
    stats.now = NOW + SECOND  # the ETag says that the answer is another
    known = {"if-none-match": answer.headers["etag"]}
    assert stats.client.get(f"{url}?days=7", headers=known).status_code == 200
    stats.now = NOW
    assert stats.client.get(f"{url}?days=7", headers=known).status_code == 304
    text = stats.client.get(f"{url}?days=7&format=csv").text
    (row, *_) = csv.DictReader(io.StringIO(text))
    assert row["compared_until"] == "2026-09-23T12:00:00Z"


def test_before_a_window_of_thousands_of_years_is_nothing(sqlite_stats: Stats) -> None:
    rows = sqlite_stats.get("comparison", start="1970-01-01", end="9998-12-31")
    assert {row["before"] for row in rows} == {None}
    assert sqlite_stats.client.get("/?start=2000-01-01&end=9998-12-31").status_code < 500


def test_the_overview_compares_so_too(sqlite_stats: Stats) -> None:
    late = NOW - 7 * DAY + SECOND
    sqlite_stats.record(
        request("first", at("2026-08-01")), request("h1", late - 2 * SECOND), request("h2", late)
    )
    page = sqlite_stats.client.get("/?days=7", headers={"Accept": "text/html"}).text
    assert "up to the same time of day" in page
    tile = page.partition('data-figure="requests"')[2].partition("</div>")[0]
    assert "previously: 1" in tile
    page = sqlite_stats.client.get(
        "/?start=2026-09-20&end=2026-09-26", headers={"Accept": "text/html"}
    ).text
    assert "up to the same time of day" not in page


def test_it_says_why_the_days_before_are_unknown(sqlite_stats: Stats, tmp_path: Path) -> None:
    stats = sqlite_stats

    def unknown(**window: object) -> str | None:
        found = _figures(stats, **window)
        assert len({row["before_unknown"] for row in found.values()}) == 1
        assert (found["requests"]["before"] is None) == bool(found["requests"]["before_unknown"])
        return found["requests"]["before_unknown"]  # type: ignore[no-any-return]

    assert unknown(days=1) == "nothing was recorded"
    old = NOW - 110 * DAY
    stats.record(request("h1", old, outcome="cache_hit"), request("h2", NOW - DAY))
    assert (
        unknown(days=60) == "the previous time range starts on 2026-06-03, and data on 2026-06-12"
    )
    assert unknown(days=50) is None
    stats.record(*(request(f"o{n}", NOW - 50 * DAY, outcome="cache_hit") for n in range(150)))
    archive_directory = ArchiveDirectory(tmp_path / "archive", "csv.gz")
    retention.run(
        stats.engine, Policy(2, 2, 2, latest=1), NOW.date(), archive_directory=archive_directory
    )
    assert "the previous time range ends on 2026-08-11 at a time of day" in str(unknown(days=50))
    assert unknown(start="2026-08-12", end="2026-09-29") is None


@given(
    history=histories.histories(),
    hour=st.integers(0, 23),
    days=st.integers(1, 2),
    late=st.booleans(),
)
@histories.examples(8)
def test_it_equals_the_oracle(
    stats: Stats, history: list[CloudEvent], hour: int, days: int, late: bool
) -> None:
    stats.clear()
    stats.now = NOW
    if history:
        stats.record(*history)
    if late:
        retention.run(stats.engine, Policy(1, 1, 1, latest=1), NOW.date())
    stats.now = NOW.replace(hour=hour)
    oracle = Oracle(history).window(stats.now.date() - (days - 1) * DAY, stats.now.date())
    assert stats.get("comparison", days=days) == oracle.comparison(stats.now)


@pytest.mark.parametrize(
    ("hits", "hits_before", "expected"), [(50, 45, False), (50, 5, True), (5, 50, True)]
)
def test_a_rate_changes_significantly_if_chance_does_not_explain_it(
    sqlite_stats: Stats, hits: int, hits_before: int, expected: bool
) -> None:
    sqlite_stats.record(
        [
            request(
                f"{days_ago}-{number}",
                NOW - timedelta(days=days_ago),
                outcome="cache_hit" if number < of_day else "queued",
            )
            for days_ago, of_day in ((1, hits), (2, hits_before))
            for number in range(100)
        ]
    )
    day = NOW.date() - DAY
    found = _figures(sqlite_stats, start=day, end=day)
    assert found["cache_hit_rate"]["significant"] is expected
    assert found["success_rate"]["significant"] is None, "no build ended"
    assert found["requests"]["significant"] is None
