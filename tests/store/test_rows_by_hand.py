"""Rows inserted by hand count after a rebuild."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from asu_stats.store.database.engine import write_transaction
from asu_stats.store.verification import verify
from tests.store.test_schema import TABLES
from tests.support import NOW, Stats, build, request

OLD = NOW - timedelta(days=1)
ROWS: dict[str, list[dict[str, Any]]] = {
    "request_metadata": [
        {
            "request_hash": request_hash,
            "version": "24.10.2",
            "target": "x86/64",
            "profile": "generic",
            "diff_packages": True,
            "first_requested_at": OLD,
            "last_requested_at": NOW,
        }
        for request_hash in ("h1", "h2")
    ],
    "client_stats": [
        {"client": "luci", "request_hash": "h1", "timestamp": OLD, "status": "success"},
        {"client": "luci", "request_hash": "h1", "cache_hit": True, "status": "success"},
        {"client": "luci", "request_hash": "h2", "status": "failure"},
        {"client": "owut", "request_hash": "h2", "status": "queued"},
        {"client": "owut", "request_hash": "h1"},
    ],
    "build_metrics": [
        {
            "request_hash": request_hash,
            "started_at": OLD,
            "finished_at": OLD + timedelta(seconds=60),
            "duration_seconds": 60,
            "status": status,
        }
        for request_hash, status in (("h1", "success"), ("h2", "failure"))
    ],
    "error_stats": [{"error_category": "build", "timestamp": OLD}],
    "stats_daily": [{"date": OLD.date(), "total_requests": 7}],
    "stats_version_target": [{"version": "1", "target": "a/b", "date": OLD.date()}],
    "stats_profiles": [{"version": "1", "target": "a/b", "profile": "c", "date": OLD.date()}],
}


def insert(stats: Stats, table: str, row: dict[str, Any]) -> None:
    assert row.keys() <= set(TABLES[table].split())
    if table == "client_stats":
        row = {"timestamp": NOW, **row}
    row = {
        name: value.isoformat(" ")[:19]
        if isinstance(value, datetime)
        else str(value)
        if isinstance(value, date)
        else value
        for name, value in row.items()
    }
    values = ", ".join(f":{name}" for name in row)
    statement = text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})")  # noqa: S608
    with write_transaction(stats.engine) as connection:
        connection.execute(statement, row)


@pytest.fixture
def by_hand(stats: Stats) -> Stats:
    for table, rows in ROWS.items():
        for row in rows:
            insert(stats, table, row)
    verify.rebuild(stats.engine)
    return stats


def test_they_count_after_a_rebuild(by_hand: Stats) -> None:
    assert list(verify.differences(by_hand.engine)) == []
    totals = by_hand.get("overview")["totals"]
    assert (totals["requests"], totals["unique_requests"], totals["cache_hits"]) == (5, 2, 1)
    assert (totals["successful_builds"], totals["failed_builds"]) == (1, 1)
    luci, owut = by_hand.get("clients")
    ends = ("cache_hits", "successful_builds", "failed_builds", "pending")
    assert [luci[name] for name in ends] == [1, 1, 1, 0]
    assert [owut[name] for name in ends] == [0, 0, 0, 2]
    assert [row["version"] for row in by_hand.get("versions")] == ["unknown"]
    errors = by_hand.get("errors")
    assert errors["by_category"][0]["top_errors"][0]["type"] == "unknown"
    assert by_hand.get("overview?days=1")["totals"]["unique_requests"] == 2


def test_pages_and_reports_cope(by_hand: Stats) -> None:
    reports = ("now", "performance", "timeseries", "profiles", "clients/luci", "request-patterns")
    pages = ("", "clients", "errors", "performance", "readyz", "metrics")
    for path in (*pages, *(f"api/v1/stats/{name}" for name in reports)):
        assert by_hand.client.get(f"/{path}").status_code == 200, path


def test_events_about_the_same_requests_count_on_top(by_hand: Stats) -> None:
    by_hand.record(request("h1", NOW), build("h1", "success", end=NOW, seconds=30))
    assert list(verify.differences(by_hand.engine)) == []
    totals = by_hand.get("overview")["totals"]
    assert (totals["requests"], totals["unique_requests"]) == (6, 2)
    assert totals["successful_builds"] == 2


# What a figure is grouped or counted by has one spelling of unknown; a row may leave it out.
COUNTED = {
    "build_metrics": {"status", "cache_hit"},
    "request_metadata": {
        *("version", "target", "profile", "diff_packages", "first_requested_at"),
        *("last_requested_at", "total_requests", "cache_hits", "successful_builds"),
        "failed_builds",
    },
    "client_stats": {"client", "timestamp", "cache_hit", "status"},
    "error_stats": {
        *("timestamp", "error_category", "error_type", "version", "target", "request_hash"),
        "count",
    },
}


def refusal(stats: Stats, table: str, row: dict[str, Any]) -> str:
    """Insert a row; return the database's words if it refuses it."""
    try:
        insert(stats, table, row)
    except IntegrityError as error:
        return str(error.orig)
    return ""


@pytest.mark.parametrize("table", COUNTED)
def test_an_explicit_null_is_taken_where_it_means_unknown_and_else_refused(
    stats: Stats, table: str
) -> None:
    """A column of the plan that is refused is named, and the row is not half stored."""
    row = ROWS[table][0]
    columns = [name for name in TABLES[table].split() if name not in {"id", "request_hash"}]
    refused = set()
    for number, column in enumerate((*columns, *COUNTED[table] & {"request_hash"})):
        given = {**row, "request_hash": f"h{number}", column: None}
        if reason := refusal(stats, table, given):
            assert column in reason
            refused.add(column)
    assert refused == COUNTED[table]
    verify.rebuild(stats.engine)
    assert list(verify.differences(stats.engine)) == []
    for path in ("", "errors", "performance", "api/v1/stats/now", "api/v1/stats/request-patterns"):
        assert stats.client.get(f"/{path}").status_code == 200, path
