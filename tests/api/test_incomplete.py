"""A database without a table, column or index: 503 with a reason, until it is repaired."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from asu_stats.dashboard.view import PAGES
from asu_stats.exceptions import IncompleteDatabaseError
from asu_stats.store import migrate
from tests.client import Client
from tests.recorder.test_recorder import statements, until
from tests.support import Stats, build, request

NAMES = {"client": "luci", "request_hash": "a" * 64}


@contextmanager
def without(stats: Stats, what: str) -> Iterator[None]:
    """Take a table, or `table.column`, away for the time of a block."""
    table, _, column = what.partition(".")
    change = (
        f"ALTER TABLE {table} RENAME COLUMN {{}} TO {{}}"
        if column
        else "ALTER TABLE {} RENAME TO {}"
    )
    name = column or table
    statements(stats, change.format(name, f"gone_{name}"))
    yield
    statements(stats, change.format(f"gone_{name}", name))


def paths(client: Client) -> list[str]:
    """Return every path that answers GET, with a query that no answer is cached for."""
    found = ["/metrics", "/", *(f"/{name}" for name in PAGES), "/badge/requests.svg"]
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        if "get" in methods:
            filled = path
            for name in NAMES:
                filled = filled.replace(f"{{{name}}}", NAMES[name])
            found.append(filled)
    return found


@pytest.mark.parametrize(
    "what", ["client_stats", "store_state", "day_changes", "build_jobs", "build_metrics.started_at"]
)
def test_every_path_says_what_is_missing(
    stats: Stats, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    stats.record(request("h"), request("r", outcome="rejected"), build("h"))
    stats.client.get("/readyz")
    name = what.partition(".")[2] or what
    refused = 0
    with without(stats, what):
        for path in paths(stats.client):
            answer = stats.client.get(path, headers={"Accept": "text/html"})
            assert answer.status_code < 500 or answer.status_code == 503, path
            if answer.status_code == 503:
                refused += 1
                assert int(answer.headers["Retry-After"]) > 0, path
                assert "the database is incomplete" in answer.text, path
                assert name in answer.text, path
        answer = stats.post([request("meanwhile")])
        assert answer.status_code in {200, 503}
        if answer.status_code == 503:
            assert name in answer.json()["detail"]
    assert refused >= 1
    lines = [r.getMessage() for r in caplog.records if "incomplete" in r.getMessage()]
    assert 1 <= len(lines) <= 2  # of the database, and of the recorder
    assert name in lines[0]
    assert lines[0].endswith("; the database is incomplete, restore it from a backup")
    until(lambda: stats.client.get("/readyz").json().get("status") == "ready")
    assert stats.client.get("/").status_code == 200


@pytest.mark.parametrize("what", ["package_names", "alerts.rule", "stats_daily"])
def test_what_is_missing_is_not_ready_before_anybody_needs_it(stats: Stats, what: str) -> None:
    with without(stats, what):
        answer = stats.client.get("/readyz")
        assert answer.status_code == 503
        name = what.partition(".")[2] or what
        assert re.fullmatch(
            f"the database is incomplete: .*{name}.*; try again later", answer.json()["detail"]
        )
        words = f"^database: .*{name}.*; the database is incomplete, restore it from a backup$"
        with pytest.raises(IncompleteDatabaseError, match=words):
            migrate.check(stats.engine)
    assert stats.client.get("/readyz").status_code == 200


def test_a_table_that_only_old_dashboards_need_may_be_missing(stats: Stats) -> None:
    with without(stats, "build_stats"):
        assert stats.client.get("/readyz").status_code == 200


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite drops none
def test_events_are_not_final_while_a_unique_index_is_missing(stats: Stats) -> None:
    statements(stats, "ALTER TABLE day_changes DROP CONSTRAINT pk_day_changes")
    event = request("h", packages=["a"])
    answer = stats.post([event])
    assert answer.status_code == 503
    assert "the database is incomplete" in answer.json()["detail"]
    statements(stats, "ALTER TABLE day_changes ADD CONSTRAINT pk_day_changes PRIMARY KEY (date)")
    until(lambda: stats.client.get("/readyz").status_code == 200)
    assert stats.record(event) == {"accepted": 1, "duplicates": 0}
