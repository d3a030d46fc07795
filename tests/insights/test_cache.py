"""`insights/cache`: hits with other times to live, and images worth keeping."""

import random
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from asu_stats.reports.insights.cache import MAX_REQUESTS
from asu_stats.store import migrate
from asu_stats.store.blocks import cached, packer
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.verification import verify
from tests.insights.archiving import archive
from tests.insights.sums import TTLS
from tests.store.older import back_to
from tests.store.test_unhashed import unhashed
from tests.support import NOW, CloudEvent, Stats, build, request

TODAY = date(2026, 9, 30)
DAY = timedelta(days=1)


def what_if(stats: Stats, days: int = 30) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = stats.get("insights/cache", days=days)["what_if"]
    return rows


def test_a_late_request_changes_two_gaps(stats: Stats) -> None:
    minutes = {name: NOW - timedelta(minutes=n) for name, n in (("a", 50), ("b", 30), ("c", 0))}
    for event in (request("h", minutes[name], outcome="cache_hit") for name in "acb"):
        stats.record(event)
        stats.record(event)  # a duplicate
    stats.record(request("h", minutes["b"], outcome="joined"))  # at the same instant: a gap of 0
    stats.record(request("h", NOW - 3 * DAY), request("h", NOW - DAY, outcome="rejected"))
    hits = {row["ttl_seconds"]: row["builds_saved"] for row in what_if(stats)}
    assert hits == {3600: 3, 21600: 3, 86400: 3, **dict.fromkeys(TTLS[3:], 4)}
    assert list(verify.differences(stats.engine)) == []


def test_a_late_request_far_from_others_of_its_day(sqlite_stats: Stats) -> None:
    hours = (0, 1, 2, 11, 5, 4, 8)  # further apart than what is looked at first
    for hour in hours:
        sqlite_stats.record(request("h", NOW - timedelta(hours=hour)))
        sqlite_stats.record(request(f"other {hour}", NOW - timedelta(hours=hour)))
    assert [row["builds_saved"] for row in what_if(sqlite_stats)[:2]] == [3, 6]
    assert list(verify.differences(sqlite_stats.engine)) == []


@pytest.mark.parametrize("micros", [-1, 0, 1])
def test_a_gap_of_exactly_the_lifetime_is_a_hit(sqlite_stats: Stats, micros: int) -> None:
    for number, ttl in enumerate(TTLS):
        gap = timedelta(seconds=ttl, microseconds=micros)
        sqlite_stats.record(request(f"h{number}", NOW), request(f"h{number}", NOW - gap))
    saved = [row["builds_saved"] for row in what_if(sqlite_stats, days=1)]
    assert saved == [number + (micros <= 0) for number in range(len(TTLS))]


def test_nothing_is_known_of_nothing(sqlite_stats: Stats) -> None:
    found = sqlite_stats.get("insights/cache")
    assert found["basis"]["enough"] is False
    assert found["now"] == {"hit_rate": None, "hits": None, "builds": None}
    assert (found["what_if"], found["worth_keeping"]) == ([], [])


def test_images_worth_keeping_save_most_build_time(stats: Stats) -> None:
    for name, requests, seconds in (("slow", 2, 600), ("often", 5, 100), ("once", 1, 9000)):
        full = name.ljust(64, "0")
        stats.record(
            *(request(full, NOW - timedelta(minutes=n)) for n in range(requests)),
            build(full, end=NOW, seconds=seconds),
        )
    stats.record(request("never built"), request("never built"))
    found = stats.get("insights/cache")
    rows = found["worth_keeping"]
    assert [(row["request_hash"], row["requests"], row["build_seconds"]) for row in rows] == [
        ("slow00000000", 2, 600.0),
        ("often0000000", 5, 100.0),
    ]
    assert found["worth_keeping_since"] == "2026-09-30T11:56:00Z"
    assert len(stats.get("insights/cache", limit=1)["worth_keeping"]) == 1


def test_only_the_newest_requests_make_an_image_worth_keeping(stats: Stats) -> None:
    """Compared with the events, of which there are more than the limit."""
    chance = random.Random(1)
    requests, seconds = list[tuple[datetime, str]](), defaultdict[str, list[int]](list)
    events: list[CloudEvent] = []
    for number in range(MAX_REQUESTS * 4 // 3):
        at, name = NOW - timedelta(seconds=7 * number), f"{chance.randrange(900):x}".zfill(12)
        outcome = chance.choice(("queued", "queued", "cache_hit", "cache_hit", "rejected"))
        events.append(request(name, at, outcome=outcome))
        if outcome != "rejected":
            requests.append((at, name))
        if outcome == "queued" and chance.random() < 0.6:
            status = chance.choice(("success", "success", "failure"))
            took = chance.randrange(10, 400)
            events += build(name, status, end=at, seconds=took)
            seconds[name] += [took] * (status == "success")
    stats.record(*events)
    assert len(requests) > MAX_REQUESTS
    newest = sorted(requests)[-MAX_REQUESTS:]
    counts = Counter(name for _, name in newest)
    saved = {
        name: counts[name] * sum(of) / len(of)
        for name, of in seconds.items()
        if of and counts[name] > 1
    }
    expected = sorted(saved, key=lambda name: (-saved[name], name))[:50]
    found = stats.get("insights/cache", limit=50)
    assert [row["request_hash"] for row in found["worth_keeping"]] == expected
    assert [row["requests"] for row in found["worth_keeping"]] == [
        counts[name] for name in expected
    ]
    assert found["worth_keeping_since"] == newest[0][0].isoformat().replace("+00:00", "Z")


def test_requests_without_hash_are_left_out(sqlite_stats: Stats) -> None:
    names = {"version": "24.10.2", "target": "x86/64", "profile": "generic", "client": "luci"}
    sqlite_stats.bring_in(unhashed(**names), unhashed(outcome="cache_hit", **names))
    assert sqlite_stats.get("insights/cache")["basis"]["enough"] is False
    sqlite_stats.record(request("h", NOW), request("h", NOW - timedelta(minutes=1)))
    found = sqlite_stats.get("insights/cache")
    assert (found["basis"]["requests"], found["what_if"][0]["hit_rate"]) == (2, 50.0)


def test_only_accepted_requests_of_the_time_range_make_an_image_worth_keeping(
    sqlite_stats: Stats,
) -> None:
    midnight = NOW.replace(hour=0)
    sqlite_stats.record(
        request("h", midnight - DAY),
        request("h", midnight - timedelta(microseconds=1)),
        request("h", midnight),
        request("h", midnight - DAY - timedelta(microseconds=1)),
        *(request("h", midnight - timedelta(hours=n), outcome="rejected") for n in (1, 2)),
        *(request("x", midnight - timedelta(hours=n), outcome="rejected") for n in (1, 2)),
        *(each for name in "hx" for each in build(name, end=midnight, seconds=60)),
    )
    day = TODAY - DAY
    rows = sqlite_stats.get("insights/cache", start=day, end=day)["worth_keeping"]
    assert [(row["request_hash"], row["requests"]) for row in rows] == [("h", 2)]


@pytest.mark.parametrize("archived", ["", "files"])
def test_older_databases_are_counted_from_their_details(stats: Stats, archived: str) -> None:
    for day in (0, 1, 5, 36, 40, 62):
        at = NOW - day * DAY
        stats.record(*(request(f"h{n}", at - n * DAY / 50) for n in range(5) for _ in "ab"))
    before = what_if(stats, 90)
    assert before[0]["builds_saved"] == 30
    if archived:
        archive(stats, archived)
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0021")
    migrate.upgrade(stats.engine)
    cached.forget(stats.engine)
    assert what_if(stats, 90) == before
    stats.record(request("h1", NOW - 50 * DAY), request("h1", NOW - 36 * DAY))  # late
    assert list(verify.differences(stats.engine)) == []
    packer.pack(stats.engine, TODAY)
    cached.forget(stats.engine)
    assert what_if(stats, 90)[0]["builds_saved"] == before[0]["builds_saved"] + 1
