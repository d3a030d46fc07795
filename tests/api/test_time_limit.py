"""A question on SQLite that takes too long is stopped; PostgreSQL has `statement_timeout`."""

from contextlib import ExitStack, closing

import pytest

from asu_stats.store.database import sqlite
from asu_stats.store.verification import verify
from tests.support import NOW, Stats, build, request

TOO_LONG = "the database took longer than its time limit; try again later"
MANY_STEPS = """
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 1000)
    SELECT count(*) FROM numbers
"""


@pytest.fixture
def impatient(sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch) -> Stats:
    """A service that stops every question at its first step."""
    for number in range(20):
        sqlite_stats.record(request(f"h{number}", profile=f"p{number}"), *build(f"h{number}"))
    monkeypatch.setattr(sqlite, "SNAPSHOT_SECONDS", -1.0)
    monkeypatch.setattr(sqlite, "_STEPS", 1)
    return sqlite_stats


@pytest.mark.parametrize("path", ["overview", "profiles", "insights/queue", "errors/examples"])
def test_it_is_stopped_and_says_so(impatient: Stats, path: str) -> None:
    response = impatient.client.get(f"/api/v1/stats/{path}", params={"days": 30})
    assert response.status_code == 503
    assert response.json()["detail"] == TOO_LONG
    page = impatient.client.get("/profiles", headers={"Accept": "text/html"})
    assert page.status_code == 503
    assert "longer than its time limit" in page.text


def test_the_next_one_is_answered(impatient: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    assert impatient.client.get("/api/v1/stats/profiles").status_code == 503
    monkeypatch.undo()
    assert len(impatient.get("profiles")) == 20


def test_recording_and_maintenance_are_not_stopped(impatient: Stats) -> None:
    assert impatient.client.get("/api/v1/stats/profiles").status_code == 503
    with ExitStack() as opened:  # outside of transactions, on the same connections
        for _ in range(5):
            pooled = opened.enter_context(closing(impatient.engine.raw_connection()))
            assert pooled.cursor().execute(MANY_STEPS).fetchone() == (1000,)
    impatient.record(request("late"), *build("late"))
    assert list(verify.differences(impatient.engine, NOW.date(), NOW.date())) == []
