"""`/metrics`: names, types and labels of docs/metrics.md, with the figures of the API."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from sqlalchemy import event, update

from asu_stats.alert_rules import DEFAULTS
from asu_stats.jobs import definitions
from asu_stats.jobs.job import Schedule
from asu_stats.jobs.runner import Runner
from asu_stats.metrics.process import ProcessMetrics
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.rollups.definitions import DAILY
from tests.support import NOW, TOKEN, Stats, build, request

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

TASKS = ("verify", "retention", "alerts")
HTTP = {"method", "route", "code"}
# Type, labels and their known values; of two labels those that are always there.
FAMILIES: Mapping[str, tuple[str, dict[str, set[str]]]] = {
    "asu_requests": (
        "counter",
        {"outcome": {"queued", "joined", "cache_hit", "cached_failure", "rejected"}},
    ),
    "asu_client_requests": (
        "counter",
        {"client": {"luci", "owut", "auc", "ofs", "unknown", "other"}},
    ),
    "asu_builds": ("counter", {"status": {"success", "failure", "timeout", "cancelled"}}),
    "asu_errors": (
        "counter",
        {"category": {"validation", "container", "build", "storage", "network", "other"}},
    ),
    "asu_build_duration_seconds": ("histogram", {}),
    "asu_recorded_requests": (
        "gauge",
        {"outcome": {"queued", "joined", "cache_hit", "cached_failure", "rejected"}},
    ),
    "asu_recorded_client_requests": (
        "gauge",
        {"client": {"luci", "owut", "auc", "ofs", "unknown", "other"}},
    ),
    "asu_recorded_builds": ("gauge", {"status": {"success", "failure", "timeout", "cancelled"}}),
    "asu_recorded_errors": (
        "gauge",
        {"category": {"validation", "container", "build", "storage", "network", "other"}},
    ),
    "asu_recorded_build_duration_seconds": ("gauge", {}),
    "asu_queue_wait_seconds": ("histogram", {}),
    "asu_queue_length": ("gauge", {}),
    "asu_builds_running": ("gauge", {}),
    "asu_queue_oldest_timestamp_seconds": ("gauge", {}),
    "asu_build_last_finished_timestamp_seconds": ("gauge", {}),
    "asu_workers": ("gauge", {"state": {"idle", "busy", "offline"}}),
    "asu_alert_firing": ("gauge", {"rule": {rule.name for rule in DEFAULTS}}),
    "asu_stats_events_lost": ("counter", {}),
    "asu_stats_spool_events": ("gauge", {}),
    "asu_stats_recorder_queue_events": ("gauge", {}),
    "asu_stats_commit_duration_seconds": ("histogram", {}),
    "asu_stats_task_last_success_timestamp_seconds": ("gauge", {"task": set(TASKS)}),
    "asu_stats_task_duration_seconds": ("gauge", {"task": set(TASKS)}),
    "asu_stats_rollup_mismatches": ("gauge", {}),
    "asu_stats_database_size_bytes": ("gauge", {}),
}
BUCKETS = {
    "asu_build_duration_seconds": "5 10 20 30 45 60 90 120 180 240 300 450 600 900 1800",
    "asu_queue_wait_seconds": "1 5 15 30 60 120 300 600 1800 3600 7200 21600",
}


def parse(text: str, parser: Callable[[str], Iterable[Metric]] = plain) -> list[Metric]:
    return list(parser(text))


def scrape(stats: Stats) -> Samples:
    answer = stats.client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }


class _Slow(list[Any]):
    """A list that lets other threads run whenever an item is taken."""

    def pop(self, *place: Any) -> Any:
        time.sleep(0.001)
        return super().pop(*place)


def test_every_scrape_has_every_route_even_the_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, routes = ProcessMetrics(), {f"/{number}" for number in range(50)}
    for route in routes:
        metrics.start_at_zero("GET", route)
    together = threading.Barrier(4)

    def scrape(_: int) -> set[str]:
        together.wait()
        (found,) = (each for each in metrics.collect() if each.name == "asu_stats_http_requests")
        return {sample.labels["route"] for sample in found.samples}

    monkeypatch.setattr(metrics, "_unused", _Slow(metrics._unused))
    with ThreadPoolExecutor(4) as threads:
        assert all(found == routes for found in threads.map(scrape, range(4)))


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_every_name_is_there_from_the_start(sqlite_stats: Stats) -> None:
    families = {family.name: family for family in parse(sqlite_stats.client.get("/metrics").text)}
    for name, (kind, labels) in FAMILIES.items():
        family = families[name]
        assert (family.type, bool(family.documentation)) == (kind, True), name
        for label, values in labels.items():
            assert {sample.labels[label] for sample in family.samples} == values
        if kind != "gauge":
            assert {sample.value for sample in family.samples} == {0}, name
    for name, limits in BUCKETS.items():
        found = [s.labels["le"] for s in families[name].samples if s.name.endswith("_bucket")]
        assert found == [*(f"{float(limit)}" for limit in limits.split()), "+Inf"]
    known = {
        (sample.labels["event"], sample.labels["result"])
        for sample in families["asu_stats_events"].samples
    }
    events = ("request.received", "build.started", "build.finished")
    assert {(e, r) for e in events for r in ("accepted", "duplicate", "invalid")} <= known
    routes = {sample.labels["route"] for sample in families["asu_stats_http_requests"].samples}
    assert {"/api/v1/stats/overview", "/api/v1/build/{request_hash}", "/metrics"} <= routes
    info = families["asu_stats_build_info"].samples[0]
    assert (info.value, set(info.labels)) == (1, {"version", "python_version"})


def test_both_formats(sqlite_stats: Stats) -> None:
    simple = sqlite_stats.client.get("/metrics", headers={"Accept": "*/*"})
    assert simple.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    asked = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.2"
    modern = sqlite_stats.client.get("/metrics", headers={"Accept": asked})
    media = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert modern.headers["Content-Type"] == media
    assert modern.headers["Vary"] == "Accept, Accept-Encoding"
    assert modern.text.endswith("# EOF\n")
    families = {family.name for family in parse(modern.text, openmetrics)}
    assert FAMILIES.keys() <= families
    assert sqlite_stats.client.head("/metrics").content == b""


def test_events_in_figures_out(stats: Stats) -> None:
    first = request("h1", client="owut/1")
    stats.record(
        first,
        build("h1", "success", end=NOW + timedelta(seconds=45), seconds=45),
        request("h2", client="script/1", outcome="queued"),
        build("h2", "timeout", seconds=400, error_message="took too long"),
        request("h3", outcome="cache_hit", client="luci/2"),
        request("h4", outcome="rejected", error_category="validation"),
        build("h5", "failure", error_category="strange", error_type="odd"),
        build("h6", "success", end=NOW, seconds=301),
    )
    stats.record(first)
    stats.record({**first, "data": {**first["data"], "version": "other"}})

    found = scrape(stats)

    assert value(found, "asu_requests_total", outcome="queued") == 2
    assert value(found, "asu_requests_total", outcome="cache_hit") == 1
    assert value(found, "asu_requests_total", outcome="rejected") == 1
    clients = {name: value(found, "asu_client_requests_total", client=name) for name in CLIENTS}
    assert clients == {"luci": 1, "owut": 1, "auc": 0, "ofs": 0, "unknown": 0, "other": 1}
    assert value(found, "asu_builds_total", status="success") == 2
    assert value(found, "asu_builds_total", status="failure") == 1
    assert value(found, "asu_builds_total", status="timeout") == 1
    assert value(found, "asu_errors_total", category="validation") == 1
    assert value(found, "asu_errors_total", category="other") == 1
    assert value(found, "asu_build_duration_seconds_bucket", le="30.0") == 0
    assert value(found, "asu_build_duration_seconds_bucket", le="45.0") == 1
    assert value(found, "asu_build_duration_seconds_bucket", le="300.0") == 1
    assert value(found, "asu_build_duration_seconds_count") == 2
    assert value(found, "asu_build_duration_seconds_sum") == 346
    last = value(found, "asu_build_last_finished_timestamp_seconds")
    assert last == NOW.timestamp() + 45
    received = {"event": "request.received"}
    assert value(found, "asu_stats_events_total", result="duplicate", **received) == 2
    assert value(found, "asu_stats_events_total", result="accepted", **received) == 4
    assert value(found, "asu_stats_event_conflicts_total", **received) == 1
    assert value(found, "asu_stats_commit_duration_seconds_count") == 3


CLIENTS = ("luci", "owut", "auc", "ofs", "unknown", "other")


def test_strangers_make_no_series(sqlite_stats: Stats) -> None:
    stats = sqlite_stats
    before = {key for key in scrape(stats) if not HTTP & {name for name, _ in key[1]}}
    for n in range(60):
        names = {"version": f"v{n}", "target": f"t/{n}", "profile": f"p{n}"}
        stats.record(
            request(f"hash{n}", client=f"client{n}/1", **names),
            build(f"hash{n}", "failure", error_category=f"c{n}", error_type=f"e{n}"),
        )
    for number in range(20):
        stats.client.get(f"/nowhere/{number}")
        stats.client.request(f"METHOD{number}", "/")
        stats.client.get(f"/api/v1/stats/clients/client{number}")
        stats.client.get(f"/static/{number}")
        stats.post({"type": f"asu.kind{number}"})

    after = scrape(stats)

    assert {key for key in after if not HTTP & {name for name, _ in key[1]}} == before
    new = {
        dict(labels)["route"]
        for name, labels in after
        if name == "asu_stats_http_requests_total" and dict(labels)["code"] != "200"
    }
    assert new == {"other", "/", "/static/{name}", "/api/v1/stats/events"}
    assert value(after, "asu_stats_events_total", event="other", result="invalid") == 20


def test_http_is_counted_by_template(sqlite_stats: Stats) -> None:
    stats = sqlite_stats
    stats.record(request("h1"))
    for _ in range(3):  # the second and third come from memory
        stats.get("overview")
    stats.client.head("/healthz")
    stats.client.get("/api/v1/build/" + "a" * 64)
    stats.get("clients/luci")

    found = scrape(stats)

    def count(method: str, route: str, code: int) -> float:
        labels = {"method": method, "route": route, "code": str(code)}
        answered = value(found, "asu_stats_http_requests_total", **labels)
        timed = value(found, "asu_stats_http_request_duration_seconds_count", **labels)
        assert answered == timed
        return answered

    assert count("GET", "/api/v1/stats/overview", 200) == 3
    assert count("HEAD", "/healthz", 200) == 1
    assert count("GET", "/api/v1/build/{request_hash}", 404) == 1
    assert count("GET", "/api/v1/stats/clients/{client}", 200) == 1


def test_queue_and_workers(stats: Stats) -> None:
    answer = stats.client.post(
        "/api/v1/build",
        json={"version": "24.10.2", "target": "ath79/generic", "profile": "generic"},
    )
    assert answer.status_code == 202
    waiting = scrape(stats)
    assert value(waiting, "asu_queue_length") == 1
    assert value(waiting, "asu_queue_oldest_timestamp_seconds") > 1.7e9

    stats.builds.queue.claim("w1")

    running = scrape(stats)
    assert value(running, "asu_queue_length") == 0
    assert value(running, "asu_builds_running") == 1
    assert value(running, "asu_queue_oldest_timestamp_seconds") == 0
    assert value(running, "asu_queue_wait_seconds_count") == 1


def test_jobs_say_how_they_went(stats: Stats) -> None:
    stats.record(request("h1"))
    with write_transaction(stats.engine) as connection:
        connection.execute(update(DAILY.table).values(total_requests=7))
    jobs = [definitions.verification(stats.engine, Schedule("0 3 * * *"), lambda: date(2027, 1, 1))]
    Runner(stats.engine, jobs).register()
    assert value(scrape(stats), "asu_stats_task_last_success_timestamp_seconds", task="verify") == 0

    Runner(stats.engine, jobs).run_now(jobs[0])

    found = scrape(stats)
    ended = value(found, "asu_stats_task_last_success_timestamp_seconds", task="verify")
    assert abs(time.time() - ended) < 60
    assert value(found, "asu_stats_task_duration_seconds", task="verify") > 0
    assert value(found, "asu_stats_rollup_mismatches") == 1


def test_statements_do_not_grow_with_the_history(sqlite_stats: Stats) -> None:
    stats = sqlite_stats

    def statements() -> int:
        scrape(stats)  # what was met before is in memory, as in a server that runs
        seen: list[str] = []

        def listen(connection: Any, *_: object) -> None:
            connection.set_trace_callback(seen.append)

        event.listen(stats.engine, "checkout", listen)
        scrape(stats)
        event.remove(stats.engine, "checkout", listen)
        assert seen
        return len(seen)

    stats.record(request("h1"), build("h1"))
    few = statements()
    for day in range(40):
        stats.record(request(f"h{day}", NOW - timedelta(days=day)))
    assert statements() == few


def test_the_process_is_scraped_while_the_database_is_away(sqlite_stats: Stats) -> None:
    stats = sqlite_stats
    assert stats.settings.database_file
    stats.engine.dispose()
    stats.settings.database_file.rename(stats.settings.database_file.with_suffix(".away"))
    stats.settings.database_file.mkdir()

    found = scrape(stats)

    assert value(found, "asu_stats_database_up") == 0
    assert value(found, "asu_stats_events_lost_total") == 0
    assert "asu_queue_length" not in {name for name, _ in found}
    assert TOKEN not in stats.client.get("/metrics").text
