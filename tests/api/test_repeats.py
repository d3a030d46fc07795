"""Cached responses: never stale, and never those of another caller."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import text

from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import write_transaction
from tests.support import NOW, Stats, request

OVERVIEW = "/api/v1/stats/overview"


def test_a_repeated_question_is_answered_from_memory(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_stats.record(request("h1"))
    first = sqlite_stats.client.get(OVERVIEW)

    def nobody(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(engines, "read", nobody)
    again = sqlite_stats.client.get(OVERVIEW)
    assert again.content == first.content
    assert dict(again.headers) == dict(first.headers)
    sqlite_stats.record(request("h2"))
    assert sqlite_stats.client.get(OVERVIEW).status_code == 500  # the counter-proof


def test_headers_that_mean_the_same_are_the_same_question(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_stats.record(request("h1"))
    versions = "/api/v1/stats/versions"
    known = {
        as_csv: sqlite_stats.client.get(versions, headers={"Accept": accept}).text
        for as_csv, accept in ((False, "*/*"), (True, "text/csv"))
    }
    assert known[False] != known[True]

    def nobody(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(engines, "read", nobody)
    for as_csv, accept in (
        (False, "application/json"),
        (False, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
        (False, "x" * 60_000),
        (False, ""),
        (False, "text/csv;q=0.1, application/json;q=0.2"),
        (False, "text/csv;q=0"),
        (False, "text/csv;q=nan"),
        (False, "text/csvx,xtext/csv"),
        (True, "text/csv;q=0.2 , application/json ; q=0.1"),
        (True, "TEXT/CSV; charset=utf-8; q=.5"),
        (True, "image/png,text/csv"),
    ):
        answer = sqlite_stats.client.get(versions, headers={"Accept": accept})
        assert answer.text == known[as_csv], accept


def test_two_accept_headers_are_nobody_elses(sqlite_stats: Stats) -> None:
    sqlite_stats.record(request("h1"))
    two = [("Accept", "text/csv"), ("Accept", ",application/json")]
    versions = "/api/v1/stats/versions"
    assert sqlite_stats.client.get(versions, headers=two).headers["content-type"]
    one = {"Accept": "text/csv,application/json"}
    assert sqlite_stats.client.get(versions, headers=one).json()[0]["requests"] == 1


def test_figures_of_a_restored_backup_are_not_mixed_up(sqlite_stats: Stats) -> None:
    """The counter goes back with the data; what was remembered under its numbers must not count."""
    sqlite_stats.record(request("h1", profile="one"))
    file = sqlite_stats.settings.database_file
    assert file
    with closing(sqlite3.connect(file)) as live, closing(sqlite3.connect(":memory:")) as backup:
        live.backup(backup)
        sqlite_stats.record(request("h2", profile="two"))
        assert len(sqlite_stats.get("profiles")) == 2
        backup.backup(live)
    sqlite_stats.record(request("h3", profile="three"))
    assert {row["profile"] for row in sqlite_stats.get("profiles")} == {"one", "three"}


def test_what_another_process_writes_is_in_the_very_next_answer(stats: Stats) -> None:
    stats.record(request("h1"))
    assert stats.get("overview") == stats.get("overview")
    other = engines.create(stats.settings.database_url)
    with write_transaction(other) as connection:
        connection.execute(text("UPDATE stats_daily SET total_requests = total_requests + 1"))
        connection.execute(text("UPDATE store_state SET changes = changes + 1"))
    other.dispose()
    assert stats.get("overview")["totals"]["requests"] == 2


def test_a_new_day_is_a_new_question(stats: Stats) -> None:
    stats.record(request("h1"))
    assert stats.get("overview", days=1)["totals"]["requests"] == 1
    assert stats.get("overview", days=1)["totals"]["requests"] == 1
    stats.now = NOW + timedelta(days=1)
    assert stats.get("overview", days=1)["totals"]["requests"] == 0


def test_answers_differ_by_what_they_depend_on(stats: Stats) -> None:
    stats.record(request("h1"))
    versions = "/api/v1/stats/versions"
    as_json = stats.client.get(versions, headers={"Accept": "application/json"})
    for _ in range(2):
        as_csv = stats.client.get(versions, headers={"Accept": "text/csv"})
        assert as_csv.headers["content-type"].startswith("text/csv")
        paged = stats.client.get(f"{versions}?offset=5")
        assert paged.json() == []
        same = stats.client.get(versions, headers={"If-None-Match": as_json.headers["etag"]})
        assert same.status_code == 304
        assert same.content == b""
        head = stats.client.head(versions)
        assert head.content == b""
        assert head.headers["content-length"] == as_json.headers["content-length"]
    assert stats.client.get(versions).json() == as_json.json()
