"""The queue of all servers: each build of the build service and of events counts once."""

import random
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from asu_stats.alert_rules import DEFAULTS
from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.builds.schema import build_jobs
from asu_stats.exceptions import InvalidSettingError
from asu_stats.monitor.watch import Watch
from asu_stats.settings import load
from asu_stats.store.database.engine import write_transaction
from tests.builds.support import body
from tests.support import NOW, CloudEvent, Stats, build, request

SIX_HOURS = timedelta(hours=6)


def minutes(number: float) -> datetime:
    """Return a time so many minutes ago."""
    return NOW - timedelta(minutes=number)


def start(request_hash: str, at: datetime, build_id: str = "b1") -> CloudEvent:
    return build(request_hash, end=at, seconds=0, build_id=build_id)[0]


def end(
    request_hash: str, at: datetime, status: str = "success", build_id: str = "b1"
) -> CloudEvent:
    return build(request_hash, status, end=at, build_id=build_id)[1]


def gauges(stats: Stats) -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in families(stats.client.get("/metrics").text)
        for sample in family.samples
        if not sample.labels
    }


def seen(stats: Stats) -> tuple[int, int]:
    """Return how many builds wait and run, after a look at every place that says so."""
    answer = stats.get("now")
    waiting, running = answer["queue_length"], answer["builds_running"]
    assert len(answer["running"]) == min(running, 50)
    assert stats.client.get("/api/v1/stats").json() == {"queue_length": waiting}
    metrics = gauges(stats)
    assert metrics["asu_queue_length"] == waiting
    assert metrics["asu_builds_running"] == running
    assert (metrics["asu_queue_oldest_timestamp_seconds"] > 0) == (waiting > 0)
    page = stats.client.get("/").text
    found = re.search(r'<data value="(\d+)">[^<]+</data> building, <data value="(\d+)">', page)
    assert found
    assert found.groups() == (str(running), str(waiting))
    with stats.client.websocket_connect("/api/v1/stats/live") as socket:
        message = socket.receive_json()
    assert (message["queue_length"], message["builds_running"]) == (waiting, running)
    return waiting, running


def test_a_foreign_server_from_request_to_end(stats: Stats) -> None:
    assert seen(stats) == (0, 0)
    stats.record(request("h1", minutes(9)), request("h1", minutes(8), outcome="joined"))
    stats.record(request("h2", minutes(5)), request("h3", minutes(5), outcome="cache_hit"))
    stats.record(request("h4", minutes(5), outcome="rejected"))
    stats.record(request("h5", minutes(5), outcome="cached_failure"))
    assert seen(stats) == (2, 0)
    assert gauges(stats)["asu_queue_oldest_timestamp_seconds"] == minutes(9).timestamp()

    stats.record(start("h1", minutes(3)))
    assert seen(stats) == (1, 1)
    (running,) = stats.get("now")["running"]
    assert running["profile"] == "tplink_archer-c7-v5"
    assert gauges(stats)["asu_queue_oldest_timestamp_seconds"] == minutes(5).timestamp()

    stats.record(end("h1", minutes(1)), start("h2", minutes(1), "b2"))
    assert seen(stats) == (0, 1)
    stats.record(end("h2", NOW, "failure", "b2"))
    assert seen(stats) == (0, 0)
    stats.record(request("h2", NOW + timedelta(seconds=1)))  # once more, after the failure
    assert seen(stats) == (1, 0)


def test_the_order_of_events_makes_no_difference(stats: Stats) -> None:
    stats.record(end("h1", minutes(1)))
    stats.record(start("h1", minutes(3)))
    stats.record(request("h1", minutes(4)))
    assert seen(stats) == (0, 0)


def test_a_build_whose_request_was_never_seen_runs(stats: Stats) -> None:
    stats.record(start("h1", minutes(3)))
    assert seen(stats) == (0, 1)


def test_what_has_no_end_stops_counting(stats: Stats) -> None:
    stats.record(request("h1"), request("h2"), start("h2", NOW))
    for at, expected in (
        (NOW + SIX_HOURS, (1, 1)),
        (NOW + SIX_HOURS + timedelta(microseconds=1), (0, 0)),
        (NOW + timedelta(days=400), (0, 0)),
    ):
        stats.now = at
        assert seen(stats) == expected
    stats.now = NOW + timedelta(hours=7)
    stats.record(request("h2", NOW + timedelta(hours=2), outcome="joined"))
    assert seen(stats) == (1, 0)  # its build is given up, the request is not


def test_history_is_no_queue(stats: Stats) -> None:
    old = [request(f"h{n}", NOW - timedelta(days=n + 1)) for n in range(5)]
    stats.bring_in(*old, start("h9", NOW - timedelta(days=2)))
    assert seen(stats) == (0, 0)


def test_stale_after_hours_is_a_setting(database_url: str, tmp_path: Path) -> None:
    with Stats.on(database_url, tmp_path / "spool", stale_after_hours=0.5) as stats:
        stats.record(request("h1", minutes(30)), request("h2", minutes(31)))
        assert seen(stats) == (1, 0)


@pytest.mark.parametrize("hours", [0, -1, 169, "inf", "nan"])
def test_stale_after_hours_has_bounds(hours: object) -> None:
    with pytest.raises(InvalidSettingError, match="stale_after_hours"):
        load(stale_after_hours=hours)


def test_ours_and_theirs_each_once(stats: Stats) -> None:
    answer = stats.client.post("/api/v1/build", json=body()).json()
    ours = answer["request_hash"]
    assert seen(stats) == (1, 0)  # in our queue, and as an event
    stats.record(request(ours), request(ours, outcome="joined"))  # the same on another server
    stats.record(request("theirs"))
    assert seen(stats) == (2, 0)

    job = stats.builds.queue.claim("w1")
    assert job
    assert seen(stats) == (1, 1)
    stats.record(start("theirs", NOW))
    assert seen(stats) == (0, 2)
    builds = stats.get("now")["running"]
    assert {build["worker"] for build in builds} == {"w1", None}

    stats.builds.queue.requeue(job)  # as at a shutdown
    assert seen(stats) == (1, 1)


def test_our_queue_is_what_our_jobs_say(stats: Stats) -> None:
    """An event of ours that is on its way, or was lost, leaves no build behind."""
    stats.client.post("/api/v1/build", json=body())
    job = stats.builds.queue.claim("w1")
    assert job
    now = datetime.now(NOW.tzinfo)
    stats.now = now  # so that what our events said would not be stale
    assert seen(stats) == (0, 1)
    with write_transaction(stats.engine) as connection:
        connection.execute(
            build_jobs.update().values(
                status="completed", finished_at=datetime.now(NOW.tzinfo).replace(tzinfo=None)
            )
        )
    assert seen(stats) == (0, 0)


def test_a_full_queue_is_ours_alone(stats: Stats) -> None:
    """What waits on another server makes us refuse nothing."""
    limit = stats.settings.max_pending_jobs
    stats.record([request(f"h{n}") for n in range(limit + 5)])
    assert seen(stats) == (limit + 5, 0)
    assert stats.client.post("/api/v1/build", json=body()).status_code == 202


def test_more_builds_run_than_are_listed(stats: Stats) -> None:
    stats.record([start(f"h{n}", minutes(n / 60), f"b{n}") for n in range(60)])
    assert seen(stats) == (0, 60)


def test_queue_rules_watch_foreign_servers(stats: Stats) -> None:
    rules = [rule for rule in DEFAULTS if rule.family == "queue"]
    assert {rule.watch for rule in rules} == {"queue_length", "stalled_minutes"}
    queues = CombinedQueue(stats.engine, lambda: stats.now, SIX_HOURS)
    watch = Watch(stats.engine, rules, (), queues.state, queues.waiting_longest)

    def firing() -> set[str]:
        found = watch.run(stats.now).evaluation.alerts
        return {alert.rule for alert in found if alert.state == "firing"}

    long = next(rule for rule in rules if rule.watch == "queue_length")
    assert long.above is not None
    many, for_minutes = int(long.above) + 1, int(long.for_minutes)
    stats.record([request(f"h{n}") for n in range(many)])
    assert firing() == set()
    for _ in range(for_minutes + 16):
        stats.now += timedelta(minutes=1)
        last = firing()
    assert last == {rule.name for rule in rules}
    (longest, *_) = watch.evaluate(stats.now).state.incidents
    assert longest.report["cause"]["examples"]
    stats.record([start(f"h{n}", stats.now, f"b{n}") for n in range(many)])
    for _ in range(60):
        stats.now += timedelta(minutes=1)
        last = firing()
    assert last == set()


def naive_queue(events: list[CloudEvent], now: datetime) -> tuple[int, int]:
    """Return the numbers of waiting and running builds, by definition from the raw events."""

    def of(kind: str) -> list[tuple[datetime, dict[str, str]]]:
        return [
            (datetime.fromisoformat(event["time"]), event["data"])
            for event in events
            if event["type"] == f"asu.{kind}"
        ]

    ends = of("build.finished")
    starts: dict[str, tuple[datetime, str]] = {}
    for at, data in of("build.started"):
        this = at, data["request_hash"]
        starts[data["build_id"]] = min(starts.get(data["build_id"], this), this)
    ended = {data["build_id"] for _, data in ends}
    running = {
        build_id: request_hash
        for build_id, (at, request_hash) in starts.items()
        if build_id not in ended and at >= now - SIX_HOURS
    }
    first: dict[str, tuple[datetime, str]] = {}
    for at, data in ends:  # of several ends the earliest holds
        this = at, data["request_hash"]
        first[data["build_id"]] = min(first.get(data["build_id"], this), this)
    waiting = {
        data["request_hash"]
        for at, data in of("request.received")
        if data["outcome"] in {"queued", "joined"}
        and at >= now - SIX_HOURS
        and not any(h == data["request_hash"] and e >= at for e, h in first.values())
    }
    return len(waiting - set(running.values())), len(running)


def test_the_queue_is_what_a_naive_reading_of_the_events_says(stats: Stats) -> None:
    chance = random.Random(18)
    events: list[CloudEvent] = []
    for _ in range(15):
        batch: list[CloudEvent] = []
        for _ in range(chance.randrange(1, 10)):
            number = chance.randrange(12)
            request_hash = f"h{number}"
            build_id = f"b{number}-{chance.randrange(2)}"
            at = stats.now - timedelta(minutes=chance.choice([0, 1, 5, 200, 359, 361, 700]))
            kind = chance.randrange(4)
            if kind < 2:
                outcome = chance.choice(["queued", "joined", "cache_hit", "rejected"])
                batch.append(request(request_hash, at, outcome=outcome))
            elif kind == 2:
                batch.append(start(request_hash, at, build_id))
            else:
                status = chance.choice(["success", "failure", "cancelled"])
                batch.append(end(request_hash, at, status, build_id))
        chance.shuffle(batch)
        stats.record(batch)
        events += batch
        stats.now += timedelta(minutes=chance.randrange(90))
        answer = stats.get("now")
        found = answer["queue_length"], answer["builds_running"]
        assert found == naive_queue(events, stats.now)
