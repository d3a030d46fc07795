"""Answers from memory: never a stale one, whoever changed what, and never somebody else's."""

from datetime import timedelta

from sqlalchemy import text

from asu_stats.store import engine as engines
from asu_stats.store.engine import write_transaction
from tests.support import NOW, Stats, request

OVERVIEW = "/api/v1/stats/overview"


def test_a_repeated_question_is_answered_from_memory(sqlite_stats: Stats) -> None:
    sqlite_stats.record(request("h1"))
    first = sqlite_stats.client.get(OVERVIEW)
    with sqlite_stats.engine.connect() as connection:  # nobody reads what is not there any more
        connection.execute(text("ALTER TABLE stats_daily RENAME TO gone"))
        again = sqlite_stats.client.get(OVERVIEW)
        connection.execute(text("ALTER TABLE gone RENAME TO stats_daily"))
    assert again.status_code == 200
    assert again.content == first.content
    assert dict(again.headers) == dict(first.headers)


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
