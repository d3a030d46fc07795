"""Events without request hashes: they count, and figures that need a hash are null."""

import csv
import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from asu_stats.cloudevents import from_cloudevent
from asu_stats.exceptions import InvalidEventError
from asu_stats.recorder import records
from asu_stats.store import export
from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import client_stats
from asu_stats.store.verification import verify
from tests.support import NOW, CloudEvent, Stats, build, cloudevent, request

NAMES = {"version": "24.10.2", "target": "x86/64", "profile": "generic"}


def unhashed(**data: Any) -> CloudEvent:
    event = request("gone", **data)
    del event["data"]["request_hash"]
    if event["data"]["diff_packages"] is None:
        del event["data"]["diff_packages"]
    return event


def ended(build_id: str, status: str = "success", **data: Any) -> CloudEvent:
    return cloudevent(
        "build.finished", NOW, {"build_id": build_id, "status": status, **NAMES, **data}
    )


def test_what_they_say_is_counted_and_what_they_can_not_say_is_null(stats: Stats) -> None:
    stats.record(request("h1", client="luci"), *build("h1"))
    assert stats.get("overview")["period"]["incomplete"] == []
    stats.bring_in(
        unhashed(client="luci", **NAMES),
        unhashed(client="owut", outcome="cache_hit", diff_packages=None, **NAMES),
        unhashed(client="auc", outcome="cached_failure", **NAMES),
        ended("old-1", duration_seconds=90, diff_packages=True),
        ended("old-2", "failure", error_category="build", error_type="package_not_found"),
    )

    overview = stats.get("overview")
    assert overview["totals"] == {
        "requests": 4,
        "unique_requests": None,
        "cache_hits": 1,
        "cache_hit_rate": 25.0,
        "successful_builds": 2,
        "failed_builds": 1,
        "success_rate": 66.67,
        "rejected_requests": None,
        "unique_rejected_requests": None,
        "cancelled_builds": 0,
    }
    assert overview["diff_packages"] == {
        "enabled": 3,
        "disabled": 0,
        "unknown": 1,
        "percentage_enabled": 100.0,
    }
    begins = [re.split("[:.]", sentence)[0] for sentence in overview["period"]["incomplete"]]
    assert begins == [
        "3 requests were imported from an older server without request hash",
        "1 request was imported without its build",
        "1 request was imported without diff_packages",
    ]
    clients = {row["client"]: row for row in stats.get("clients")}
    known = ("unique_builds", "successful_builds", "failed_builds", "pending", "success_rate")
    assert {client: [row[name] for name in known] for client, row in clients.items()} == {
        "luci": [None] * 5,
        "owut": [None, 0, 0, 0, None],
        "auc": [None, 0, 1, 0, 0.0],
    }
    assert stats.get("clients/luci")["timeseries"][-1]["successful_builds"] is None
    assert stats.get("timeseries")[-1]["successful_builds"] == 2
    assert [row["requests"] for row in stats.get("profiles")] == [3, 1]
    assert stats.get("errors")["total_errors"] == 1
    slowest = stats.get("performance")["slowest_builds"]
    assert [(b["duration"], b["request_hash"]) for b in slowest] == [(90, None), (60, "h1")]
    assert list(verify.differences(stats.engine)) == []
    verify.rebuild(stats.engine)
    assert stats.get("overview")["totals"] == overview["totals"]
    assert {row["client"]: row for row in stats.get("clients")} == clients


def test_windows_without_them_know_everything(stats: Stats) -> None:
    before = unhashed()
    before["time"] = (NOW - timedelta(days=3)).isoformat()
    stats.bring_in(before)
    stats.record(request("h1"))
    assert stats.get("overview")["totals"]["unique_requests"] is None
    today = stats.get("overview", days=1)
    assert today["totals"]["unique_requests"] == 1
    assert today["totals"]["rejected_requests"] == 0
    assert today["period"]["incomplete"] == []


def test_answers_stay_when_they_are_archived(stats: Stats) -> None:
    then = (NOW - timedelta(days=200)).isoformat()
    events = (
        unhashed(client="luci", packages=["luci"]),
        unhashed(outcome="cache_hit", diff_packages=None),
        ended("old-1", duration_seconds=90),
        ended("old-2", "failure"),
    )
    old = [{**event, "time": then} for event in events]
    stats.bring_in(*old, unhashed(), ended("new-1"), ended("new-2", "failure"))
    questions = ("overview", "clients", "versions", "errors", "packages", "diff-packages")
    before = {question: stats.get(question, days=300) for question in questions}

    policy = Policy(build_metrics_days=5, client_stats_days=5, error_stats_days=5, latest=1)
    retention.run(stats.engine, policy, NOW.date())
    with read_snapshot(stats.engine) as connection:
        left = connection.execute(select(func.count()).select_from(client_stats)).scalar_one()
    assert left < 3  # the newest row stays, and who has the highest number
    assert {question: stats.get(question, days=300) for question in questions} == before
    assert stats.bring_in(*old) == 0
    assert list(verify.differences(stats.engine)) == []


def test_twice_is_once(stats: Stats) -> None:
    history = [unhashed(), ended("old-1")]
    assert stats.bring_in(*history) == 2
    assert stats.bring_in(*history, unhashed()) == 1
    assert stats.get("overview")["totals"]["requests"] == 2


def test_a_rejected_request_may_have_no_hash(stats: Stats) -> None:
    reason = {"outcome": "rejected", "error_message": "Unsupported version: 10.0"}
    stats.record(request("h1", client="luci", **reason), request("h2", client="owut"))
    assert stats.get("overview")["totals"]["unique_rejected_requests"] == 1
    events = [unhashed(client="luci", **reason), unhashed(client="luci", **reason)]
    events[1]["data"]["request_hash"] = None
    stats.record(*events)

    overview = stats.get("overview")
    assert overview["totals"]["rejected_requests"] == 3
    assert overview["totals"]["unique_rejected_requests"] is None
    assert overview["totals"]["unique_requests"] == 1
    assert overview["period"]["incomplete"] == [
        "2 requests were rejected without request hash: unique_rejected_requests can't be known."
    ]
    clients = {row["client"]: row for row in stats.get("clients")}
    assert [clients[name]["rejected_requests"] for name in ("luci", "owut")] == [3, 0]
    assert [clients[name]["unique_rejected_requests"] for name in ("luci", "owut")] == [None, 0]
    assert stats.get("errors")["total_errors"] == 3
    assert list(verify.differences(stats.engine)) == []
    verify.rebuild(stats.engine)
    assert stats.get("overview")["totals"] == overview["totals"]
    without_diff = {**unhashed(**reason), "id": "x"}
    del without_diff["data"]["diff_packages"]
    assert stats.post([without_diff]).status_code == 422


def test_nobody_but_an_importer_may_leave_the_hash_of_others_out(sqlite_stats: Stats) -> None:
    answer = sqlite_stats.post([unhashed()])
    assert answer.status_code == 422
    assert "data.request_hash" in answer.json()["detail"]
    assert "data.request_hash" in sqlite_stats.post([ended("b1")]).json()["detail"]


@pytest.mark.parametrize(
    "event",
    [
        request("h1", diff_packages=None),
        cloudevent("build.started", NOW, {"build_id": "b1"}),
        request(""),
    ],
    ids=["a hash without diff_packages", "a start without hash", "an empty hash"],
)
def test_what_importers_may_not_leave_out(event: CloudEvent) -> None:
    with pytest.raises(InvalidEventError):
        from_cloudevent(event, now=NOW, imported=True)


def test_they_wait_in_the_spool_as_others_do() -> None:
    for event in (unhashed(diff_packages=None), ended("old-1", duration_seconds=5)):
        found = from_cloudevent(event, now=NOW, imported=True)
        assert records.decode(records.encode(found).rstrip(b"\n")) == found


def test_no_hash_is_made_up_on_the_way_out(stats: Stats) -> None:
    stats.bring_in(unhashed(diff_packages=None), ended("old-1", "failure"))
    for table in ("client_stats", "build_metrics", "error_stats"):
        columns = list(export.columns(table))
        with read_snapshot(stats.engine, streams=True) as connection:
            (row,) = export.rows(connection, table, None, None)
        found = dict(zip(columns, row, strict=True))
        assert found["request_hash"] is None
    assert stats.get("clients", format="json")[0]["unique_builds"] is None
    answer = stats.client.get("/api/v1/stats/clients", params={"format": "csv"})
    (cells,) = csv.DictReader(io.StringIO(answer.text))
    assert cells["unique_builds"] == cells["pending"] == ""


def test_the_go_servers_table_gets_their_rows_too(database_url: str, tmp_path: Path) -> None:
    with Stats.on(database_url, tmp_path / "other", legacy_build_stats=True) as stats:
        stats.bring_in(unhashed(diff_packages=None), ended("old-1", duration_seconds=7))
        with read_snapshot(stats.engine) as connection:
            select = text("SELECT event_type, duration_seconds, diff_packages FROM build_stats")
            rows = connection.execute(select).all()
    assert sorted(map(tuple, rows)) == [("build_completed", 7, None), ("request", 0, None)]
