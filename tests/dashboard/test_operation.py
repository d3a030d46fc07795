"""The pages of alerts and jobs show the fields of the API under their headings."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from asu_stats.api.app import create_app
from asu_stats.builds.service import BuildService
from asu_stats.jobs.job import Job, Schedule
from asu_stats.store.database import leases
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.database.leases import scheduled_jobs
from asu_stats.store.details.queue_samples import QueueState
from tests.client import Client
from tests.conftest import sqlite_database
from tests.dashboard.test_places import HTML, Cell, Page, Shown, equals, fields_of
from tests.monitor.support import Play
from tests.support import NOW, Stats

RULES = {
    "Rule": "summary",
    "State": "state",
    "Value": "value",
    "Limit": "limit",
    "Over": "hours",
    "Sample": "sample",
    "Since, UTC": "since",
}
JOBS = {
    "Job": "name",
    "Last run": "last_status",
    "Finished, UTC": "last_finished_at",
    "Duration": "last_duration_seconds",
    "Next, UTC": "next_run_at",
    "Schedule": "schedule",
}


def column(table: Shown, heading: str) -> list[Cell]:
    place = table.headings.index(heading)
    return [row[place] for row in table.rows]


def check(table: Shown, rows: list[dict[str, Any]], fields: dict[str, str]) -> None:
    """Check that each column shows its field in every row, and no other field."""
    assert table.headings == list(fields)
    assert len(table.rows) == len(rows)
    for heading, wanted in fields.items():
        assert fields_of(rows, column(table, heading)) == {wanted}, heading


# Alerts ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alerts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stats]:
    """A service with a broken version, a long queue, and silences."""
    directory = tmp_path_factory.mktemp("alerts")
    with Stats.on(sqlite_database(request, directory), directory / "spool") as stats:
        play = Play(stats, NOW - timedelta(minutes=40))
        for hour in range(1, 40):
            play.builds(9, failed=hour % 2, ago=hour * 60, hits=hour % 5, seconds=90 + hour)
        play.queue = QueueState(260, 2, play.now.replace(tzinfo=None) - timedelta(minutes=50))
        play.go(10, step=5)
        play.builds(60, failed=50, version="24.10.9", error_type="package_not_found", client="x/1")
        play.go(30, step=5)
        yield stats


def test_the_alert_rules_show_the_fields_of_the_api(alerts: Stats) -> None:
    found = alerts.get("alerts")
    rows = [
        {**rule, "limit": rule["below"] if rule["above"] is None else rule["above"]}
        for rule in found["rules"]
    ]
    assert {"ok", "firing"} <= {row["state"] for row in rows}
    page = Page(alerts.client.get("/alerts", headers=HTML).text)
    (table,) = page.tables
    by_side = [{**row, "above": None, "below": None} for row in rows]
    check(table, by_side, RULES)
    units = [row["unit"] for row in rows]
    for cell, row in zip(column(table, "Limit"), rows, strict=True):
        side = "above" if row["above"] is not None else "below"
        assert cell.text.startswith(f"{side} ")
        assert cell.text.endswith(row["unit"])
    for cell, row, unit in zip(column(table, "Value"), rows, units, strict=True):
        assert row["value"] is None or cell.text.endswith(unit)
    for cell, row in zip(column(table, "Rule"), rows, strict=True):
        assert cell.hints == [f"{row['rule']}, {row['severity']}"]
    for cell, row in zip(column(table, "State"), rows, strict=True):
        subjects = [each for each in row["alerts"][:3] if each["subject"]]
        expected = [f"{', '.join(s['subject'].values())}: {s['text']}" for s in subjects]
        assert cell.hints == expected


# Jobs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jobs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """A service with jobs of every state; no two of their times are equal."""
    directory = tmp_path_factory.mktemp("jobs")
    states: dict[str, tuple[leases.Status, dict[str, Any] | None]] = {
        "first": ("ok", {"rows_moved": 1234, "files": 5}),
        "second": ("failed", None),
        "third": ("stopped", {"days": 2}),
        "running": ("ok", {"differences": 0}),
    }
    summaries = {name: f"Do what is {name}" for name in (*states, "new")}
    known = [
        Job(name, words, Schedule(f"{place} 4 * * *"), lambda _: {})
        for place, (name, words) in enumerate(summaries.items())
    ]
    with Stats.on(sqlite_database(request, directory), directory / "spool") as stats:
        engine = stats.engine
        for place, (name, (status, result)) in enumerate(states.items()):
            at = NOW.replace(tzinfo=None) - timedelta(hours=place)
            leases.register(engine, name, f"{place} 4 * * *", at)
            lease = leases.acquire(engine, name, "process", 600, due=False)
            assert lease
            leases.release(lease, status, result=result, error="a reason")
            with write_transaction(engine) as connection:
                values = {
                    "started_at": at - timedelta(minutes=9),
                    "finished_at": at - timedelta(minutes=5),
                    "succeeded_at": at - timedelta(minutes=90 * (status != "ok") + 6),
                    "next_run_at": at + timedelta(days=1),
                    "duration_seconds": 240.1 + place,
                }
                same = scheduled_jobs.c.name == name
                connection.execute(update(scheduled_jobs).where(same).values(values))
        assert leases.acquire(engine, "running", "process", 600, due=False)
        app = create_app(
            stats.settings,
            engine=engine,
            recorder=stats.recorder,
            builds=BuildService(engine, stats.settings, stats.recorder.record),
            jobs=known,
        )
        with Client(app) as client:
            yield client


def test_the_jobs_show_the_fields_of_the_api(jobs: Client) -> None:
    rows = jobs.get("/api/v1/stats/jobs").json()
    assert [row["running"] for row in rows] == [False, False, False, True, False]
    page = Page(jobs.get("/jobs", headers=HTML).text)
    (table,) = page.tables
    shown = [
        {**row, "last_status": "running" if row["running"] else row["last_status"] or "never ran"}
        for row in rows
    ]
    check(table, shown, JOBS)
    for cell, row in zip(column(table, "Job"), rows, strict=True):
        assert cell.hints == [row["summary"]]
    results = [cell.hints for cell in column(table, "Last run")]
    assert results == [["rows moved 1,234, files 5"], [], ["days 2"], ["differences 0"], []]
    assert equals(column(table, "Duration")[0], 240.1)
