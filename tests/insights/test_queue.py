"""`insights/queue`: state of the queue, waiting times, retry storms."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asu_stats.store import migrate
from asu_stats.store.blocks import cached
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.details import queue_samples
from asu_stats.store.details.queue_samples import QueueState
from asu_stats.store.verification import verify
from asu_stats.times import naive
from tests.insights.archiving import archive
from tests.store.older import back_to
from tests.support import NOW, Stats, build, request

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def queue(stats: Stats, **window: Any) -> dict[str, Any]:
    found: dict[str, Any] = stats.get("insights/queue", **window)
    return found


def test_the_expected_wait_follows_from_what_ended_lately(sqlite_stats: Stats) -> None:
    stats = sqlite_stats
    found = queue(stats)
    assert (found["moving"], found["waiting"], found["expected_wait_seconds"]) == (True, 0, 0)
    stats.record(*(request(f"waits {n}", NOW - MINUTE) for n in range(3)))
    found = queue(stats)
    assert (found["moving"], found["waiting"], found["expected_wait_seconds"]) == (False, 3, None)
    (started, _) = build("waits 0", end=NOW)
    stats.record(started)
    found = queue(stats)
    assert (found["moving"], found["waiting"], found["running"]) == (True, 2, 1)
    assert found["expected_wait_seconds"] is None, "nothing has ended: no rate is known"
    for minutes in (*range(1, 13), 30, 31):
        stats.record(build(f"done {minutes}", end=NOW - minutes * MINUTE))
    found = queue(stats)
    assert found["expected_wait_seconds"] == 277, "2 * 1800 / 13, half up"
    assert found["basis"]["builds"] == 13
    stats.now = NOW + timedelta(minutes=40)
    found = queue(stats)
    assert (found["moving"], found["expected_wait_seconds"]) == (False, None)
    stats.now = NOW + timedelta(hours=7)
    found = queue(stats)
    assert (found["moving"], found["waiting"]) == (True, 0), "too old to wait"


def test_waits_end_with_the_start_of_the_build(stats: Stats) -> None:
    asked = (request("h", NOW - 100 * MINUTE), request("h", NOW - 89 * MINUTE, outcome="joined"))
    started, finished = build("h", end=NOW - 80 * MINUTE, seconds=600)
    stats.record(*asked, finished)
    nothing = {"p50_seconds": None, "p95_seconds": None, "max_seconds": None}
    assert queue(stats)["waited"] == nothing, "when it started is unknown"
    stats.record(started)  # after the end
    known = {"p50_seconds": 0, "p95_seconds": 600, "max_seconds": 600}
    assert queue(stats)["waited"] == known
    hours = {h["hour"]: h["waited_p95_seconds"] for h in queue(stats)["by_hour_of_week"]}
    assert (hours[58], len(hours)) == (600, 168), "Wednesday, 10:00"
    assert sum(seconds is not None for seconds in hours.values()) == 1
    earlier = build("h", end=NOW - 95 * MINUTE, seconds=60)
    stats.record(earlier)  # ended the first wait, as is known only now
    assert queue(stats)["waited"]["max_seconds"] == 240
    assert list(verify.differences(stats.engine)) == []


def test_a_wait_just_before_midnight(stats: Stats) -> None:
    monday = NOW.replace(hour=0) - 2 * DAY
    stats.record(request("h", monday - timedelta(microseconds=1)))  # Sunday's last hour
    stats.record(build("h", end=monday + 5 * MINUTE, seconds=60))
    hours = [h["waited_p95_seconds"] for h in queue(stats)["by_hour_of_week"]]
    assert [hour for hour, seconds in enumerate(hours) if seconds is not None] == [167]
    assert list(verify.differences(stats.engine)) == []


def test_a_storm_is_one_hash_again_and_again(stats: Stats) -> None:
    full = "5".ljust(64, "0")
    for minute in range(6):
        at = NOW - 200 * MINUTE - minute * MINUTE
        stats.record(request(full, at, outcome="rejected", client="luci/1"))
        stats.record(request(full, at - 2 * DAY, client="owut/1", outcome="rejected"))
    late = NOW - 100 * MINUTE
    stats.record(*(request(full, late, client="luci/1") for _ in range(4)))
    assert queue(stats)["storms"] == []
    stats.record(build(full, "failure", end=NOW))
    (storm,) = queue(stats)["storms"]
    assert storm == {
        "request_hash": full[:12],
        "client": "luci",
        "requests": 10,
        "outcome": "rejected",
        "since": "2026-09-30",
    }
    stats.record(*(request(f"many {n}", outcome="rejected") for n in range(20)))
    stats.record(*(request(full, late - DAY, outcome="cached_failure") for _ in range(11)))
    found = queue(stats)
    (storm,) = found["storms"]
    assert (storm["requests"], storm["outcome"]) == (21, "cached_failure")
    assert (storm["since"], found["storm_requests"]) == ("2026-09-29", 21)
    assert found["distinct_hashes"] == 1
    assert list(verify.differences(stats.engine)) == []


def test_the_length_of_the_queue_by_hour_of_the_week(stats: Stats) -> None:
    with write_transaction(stats.engine) as connection:
        for minute, length in ((0, 4), (1, 5), (-1, 1), (-7 * 24 * 60, 7), (-60 * 24 * 60, 99)):
            at = naive(NOW) + minute * MINUTE
            queue_samples.store(connection, at, QueueState(length, 0, None))
    hours = {h["hour"]: h["waiting_avg"] for h in queue(stats)["by_hour_of_week"]}
    assert (hours[60], hours[59], hours[61]) == (5.3, 1.0, None)


def test_samples_from_midnight_to_before_midnight_count(sqlite_stats: Stats) -> None:
    midnight = NOW.replace(hour=0)
    with write_transaction(sqlite_stats.engine) as connection:
        for minute, length in ((-24 * 60 - 1, 9), (-24 * 60, 1), (-1, 2), (0, 9)):
            at = naive(midnight) + minute * MINUTE
            queue_samples.store(connection, at, QueueState(length, 0, None))
    day = midnight.date() - DAY
    hours = queue(sqlite_stats, start=day, end=day)["by_hour_of_week"]
    found = {h["hour"]: h["waiting_avg"] for h in hours if h["waiting_avg"] is not None}
    assert found == {24: 1.0, 47: 2.0}, "Tuesday"


@pytest.mark.parametrize("archived", ["", "tables"])
def test_older_databases_are_counted_from_their_details(stats: Stats, archived: str) -> None:
    for number in range(8):
        at = NOW - number * DAY
        stats.record(request(f"h{number}", at - timedelta(seconds=90.5, microseconds=number - 4)))
        stats.record(build(f"h{number}", "failure", end=at, seconds=30))
        stats.record(*(request("x", at, outcome="rejected") for _ in range(10)))
    before = queue(stats)
    assert (before["waited"]["p50_seconds"], before["waited"]["max_seconds"]) == (60, 61)
    assert before["storm_requests"] == 80
    if archived:
        archive(stats, archived)
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0021")
    migrate.upgrade(stats.engine)
    cached.forget(stats.engine)
    assert queue(stats) == before
    assert list(verify.differences(stats.engine)) == []


def test_storms_of_names_below_the_public_floor_are_added_up(
    database_url: str, tmp_path: Path
) -> None:
    with Stats.on(database_url, tmp_path / "spool", public_floor=12) as stats:
        stats.record(
            [request(f"h{n}", NOW) for n in range(12)],  # of luci
            [request("often", NOW, outcome="rejected") for _ in range(12)],
            [request("few", NOW - DAY, outcome="rejected") for _ in range(11)],
            [request("rare", NOW, outcome="rejected", client="rare/1") for _ in range(20)],
        )
        found = stats.get("insights/queue")
    assert [tuple(storm.values()) for storm in found["storms"]] == [
        ("other", "other", 31, "rejected", str(NOW.date() - DAY)),
        ("often", "luci", 12, "rejected", str(NOW.date())),
    ]
    assert (found["storms_total"], found["storm_requests"], found["distinct_hashes"]) == (2, 43, 3)
