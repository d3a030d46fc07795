"""Counters of `/metrics` count live events only (docs/metrics.md)."""

import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as families

from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import run as retention
from asu_stats.store.verification import verify
from tests.support import NOW, CloudEvent, Stats, build, cloudevent, request

# What this process does is live whatever it is about.
OF_PROCESS = ("asu_stats_http_", "asu_stats_commit_", "asu_queue_wait_")
HOUR = timedelta(hours=1)

Samples = dict[tuple[str, str], float]


def samples(stats: Stats, *kinds: str) -> Samples:
    """Return name, labels and value of all families of these types that the database has."""
    return {
        (sample.name, ",".join(sorted(sample.labels.values()))): sample.value
        for family in families(stats.client.get("/metrics").text)
        for sample in family.samples
        if family.type in kinds and not sample.name.startswith(OF_PROCESS)
    }


def counters(stats: Stats) -> Samples:
    return samples(stats, "counter", "histogram")


def some_of_everything(age: timedelta, name: str) -> list[CloudEvent]:
    """Return events that move every counter, of a time before now."""
    then = NOW - age
    return [
        request(f"{name}1", then),
        *build(f"{name}1", end=then, seconds=45),
        request(f"{name}2", then, client="script/1"),
        *build(f"{name}2", "failure", end=then, error_message="No space left on device"),
        *build(f"{name}3", "timeout", end=then),
        *build(f"{name}4", "cancelled", end=then),
        request(f"{name}1", then, outcome="cache_hit"),
        request(f"{name}2", then, outcome="cached_failure"),
        request(f"{name}5", then, outcome="rejected", error_message="Unsupported version: 1"),
    ]


def test_live_events_move_every_counter(stats: Stats) -> None:
    before = counters(stats)
    events = some_of_everything(HOUR, "h")  # exactly an hour old is live
    stats.record(events, request("h1", outcome="joined"))
    stats.record(events)
    after = counters(stats)
    unmoved = {name for (name, label), value in after.items() if value == before[name, label]}
    moved = {name for (name, label), value in after.items() if value > before[name, label]}
    assert unmoved - moved <= {
        "asu_stats_event_conflicts_total",
        "asu_stats_events_lost_total",
        "asu_stats_events_dead_lettered_total",
        "asu_stats_events_damaged_total",
        "asu_stats_clock_steps_total",
        "asu_stats_unhandled_errors_total",
    }


def test_late_events_move_no_counter(stats: Stats) -> None:
    stats.record(some_of_everything(timedelta(0), "live"))
    before, gauges = counters(stats), samples(stats, "gauge")
    for age in (HOUR + timedelta(microseconds=1), timedelta(days=1), timedelta(days=800)):
        late = some_of_everything(age, f"late{age}")
        stats.record(late)
        assert stats.record(late) == {"accepted": 0, "duplicates": len(late)}
        stats.record([{**late[0], "data": {**late[0]["data"], "version": "other"}}])

    assert counters(stats) == before
    for name, label, more in (
        ("asu_recorded_requests", "queued", 6),
        ("asu_recorded_requests", "rejected", 3),
        ("asu_recorded_client_requests", "other", 3),
        ("asu_recorded_builds", "timeout", 3),
        ("asu_recorded_errors", "storage", 3),
        ("asu_recorded_build_duration_seconds", "", 135),
        ("asu_stats_recorded_events", "build.finished", 12),
    ):
        assert samples(stats, "gauge")[name, label] == gauges[name, label] + more, name


def test_imports_move_no_counter(stats: Stats) -> None:
    before = counters(stats)
    history = some_of_everything(timedelta(days=700), "old")
    history += some_of_everything(timedelta(minutes=5), "new")  # a file that is still written to
    assert stats.bring_in(*history) == len(history)
    stats.bring_in(*history)
    assert counters(stats) == before
    assert samples(stats, "gauge")["asu_recorded_builds", "success"] == 2


def test_corrections_move_no_counter(stats: Stats) -> None:
    def finished(seconds_ago: int, status: str) -> CloudEvent:
        data = {"build_id": "b1", "request_hash": "h1", "status": status, "duration_seconds": 9}
        return cloudevent("build.finished", NOW - timedelta(seconds=seconds_ago), data)

    stats.record(request("h1"), finished(10, "failure"))
    before = counters(stats)
    assert before["asu_builds_total", "failure"] == 1

    stats.record(finished(20, "success"))  # the earliest end holds
    ids = {"build_id": "b1", "request_hash": "h1"}
    stats.record(cloudevent("build.started", NOW - timedelta(minutes=2), ids))
    stats.record(finished(5, "timeout"))

    after = counters(stats)
    moved = {name for name in after if after[name] != before[name]}
    assert {name for name, _ in moved} == {"asu_stats_events_total"}
    assert stats.get("overview")["totals"]["successful_builds"] == 1
    assert samples(stats, "gauge")["asu_recorded_builds", "failure"] == 0


def test_a_duration_that_becomes_known_counts_once(stats: Stats) -> None:
    start, finish = build("h1", seconds=45)
    stats.record(finish)
    assert counters(stats)["asu_build_duration_seconds_count", ""] == 0
    for at in (timedelta(0), timedelta(seconds=10)):
        stats.record(
            cloudevent("build.started", NOW - timedelta(seconds=45) - at, dict(start["data"]))
        )
    after = counters(stats)
    assert after["asu_build_duration_seconds_count", ""] == 1
    assert after["asu_build_duration_seconds_sum", ""] == 45
    assert after["asu_builds_total", "success"] == 1


def test_the_rest_of_the_store_moves_no_counter(stats: Stats) -> None:
    stats.record(some_of_everything(timedelta(0), "h"))
    before = counters(stats)
    stats.now = NOW + timedelta(days=400)
    policy = Policy(
        build_metrics_days=1, client_stats_days=1, error_stats_days=1, hourly_rollup_days=1
    )
    retention(stats.engine, policy, stats.now.date(), archive_directory=None)
    verify.rebuild(stats.engine)
    assert counters(stats) == before


def test_counters_survive_restarts_and_are_one_for_all_processes(
    database_url: str, tmp_path: Path
) -> None:
    with (
        Stats.on(database_url, tmp_path / "a") as one,
        Stats.on(database_url, tmp_path / "b") as other,
    ):
        one.record(request("h1"), build("h1"))
        other.record(request("h2"), build("h2"))
        assert counters(one) == counters(other)
        before = counters(one)
    assert before["asu_requests_total", "queued"] == 2
    with Stats.on(database_url, tmp_path / "c") as again:
        assert counters(again) == before


def test_a_change_of_metrics_clients_moves_nothing(database_url: str, tmp_path: Path) -> None:
    with Stats.on(database_url, tmp_path / "a") as stats:
        stats.record(request("h1", client="fleet/1"), request("h2", client="luci/1"))
        before = counters(stats)
        assert before["asu_client_requests_total", "other"] == 1
    with Stats.on(database_url, tmp_path / "b", metrics_clients=["fleet"]) as stats:
        after = counters(stats)
        assert after["asu_client_requests_total", "other"] == 1
        assert after["asu_client_requests_total", "fleet"] == 0
        stats.record(request("h3", client="fleet/1"), request("h4", client="luci/1"))
        after = counters(stats)
        assert after["asu_client_requests_total", "other"] == 2
        assert after["asu_client_requests_total", "fleet"] == 1


class Oracle:
    """Counts live requests and builds by definition, one event after the other."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._known: set[str] = set()
        self._ended: set[str] = set()

    def take(self, batch: list[CloudEvent], limit: str) -> None:
        """Count a batch that is accepted when events from `limit` on are live."""
        ends: dict[str, list[tuple[str, str]]] = {}
        for event in batch:
            if event["id"] in self._known:
                continue
            self._known.add(event["id"])
            data = event["data"]
            if event["type"] == "asu.build.finished":
                ends.setdefault(data["build_id"], []).append((event["time"], data["status"]))
            elif event["type"] == "asu.request.received" and event["time"] >= limit:
                self.counts[data["outcome"]] += 1
        for build_id in ends.keys() - self._ended:
            time, status = min(ends[build_id])  # the earliest end holds
            self.counts[status] += time >= limit
        self._ended |= ends.keys()


def some_batch(chance: random.Random, now: datetime, sent: list[CloudEvent]) -> list[CloudEvent]:
    """Return events of all ages, some sent before, with ends that contradict each other."""
    batch: list[CloudEvent] = []
    for _ in range(chance.randrange(1, 12)):
        then = now - timedelta(minutes=chance.choice([0, 5, 59, 60, 61, 90, 5000]))
        number = chance.randrange(60)
        kind = chance.randrange(4)
        if kind == 0 and sent:
            batch.append(chance.choice(sent))
        elif kind == 1:
            outcome = chance.choice(["queued", "joined", "cache_hit", "rejected"])
            batch.append(request(f"h{number}", then, outcome=outcome))
        else:
            status = chance.choice(["success", "failure", "timeout", "cancelled"])
            batch += build(f"h{number}", status, end=then, build_id=f"b{number}")
    return batch


def test_counters_are_what_a_naive_count_says_and_never_decrease(stats: Stats) -> None:
    chance, oracle = random.Random(6), Oracle()
    sent: list[CloudEvent] = []
    before = counters(stats)
    for _ in range(40):
        stats.now += timedelta(minutes=chance.randrange(50))
        batch = some_batch(chance, stats.now, sent)
        stats.record(batch)
        sent += batch
        oracle.take(batch, (stats.now - HOUR).isoformat())

        after = counters(stats)
        assert all(value >= before[name] for name, value in after.items())
        before = after
        found = {
            label: int(value)
            for (name, label), value in after.items()
            if name in {"asu_requests_total", "asu_builds_total"} and value
        }
        assert found == +oracle.counts
    assert oracle.counts.total() > 50
