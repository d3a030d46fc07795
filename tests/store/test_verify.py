"""`verify` finds wrong rollups, and `rebuild` repairs them."""

import threading
from datetime import date, timedelta

import pytest
from sqlalchemy import select, text

from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.rollups.definitions import DAILY, ROLLUPS, Rollup
from asu_stats.store.rollups.deltas import BOUNDS
from asu_stats.store.verification import verify
from tests.support import NOW, Stats, build, request

EVENTS = [
    request(
        "h1",
        NOW - timedelta(days=1),
        client="luci/1",
        packages=["luci"],
        rootfs_size_mb=256,
        has_defaults=True,
        has_custom_repos=False,
    ),
    *build(
        "h1", "success", end=NOW - timedelta(days=1) + timedelta(minutes=2), phases={"setup": 2.5}
    ),
    request("h1", outcome="cache_hit"),
    request("h2", NOW - timedelta(minutes=5), client="owut/1"),
    *build("h2", "failure", error_type="disk_full", error_category="storage"),
    request("h3", outcome="rejected", error_type="queue_full", error_category="validation"),
]


@pytest.mark.parametrize("rollup", ROLLUPS, ids=lambda rollup: rollup.name)
def test_a_wrong_figure_is_found_and_mended(sqlite_stats: Stats, rollup: Rollup) -> None:
    sqlite_stats.record(*EVENTS)
    table = rollup.name
    for column in (*rollup.adds, *(BOUNDS if rollup is DAILY else ())):
        assert list(verify.differences(sqlite_stats.engine)) == []
        with write_transaction(sqlite_stats.engine) as connection:
            add = text(f"UPDATE {table} SET {column} = coalesce({column}, 0) + 1")  # noqa: S608
            assert connection.execute(add).rowcount > 0
        found = list(verify.differences(sqlite_stats.engine))
        assert {(item.table, item.column) for item in found} >= {(table, column)}
        verify.rebuild(sqlite_stats.engine)
    assert list(verify.differences(sqlite_stats.engine)) == []


def test_a_missing_row_and_one_too_many_are_found(stats: Stats) -> None:
    stats.record(*EVENTS)
    with write_transaction(stats.engine) as connection:
        connection.execute(text("DELETE FROM stats_clients WHERE client = 'owut'"))
        more = "INSERT INTO stats_durations (date, version, seconds, builds) VALUES (:d, 'x', 1, 1)"
        connection.execute(text(more), {"d": NOW.date().isoformat()})
    found = {item.table for item in verify.differences(stats.engine)}
    assert found >= {"stats_clients", "stats_durations"}
    verify.rebuild(stats.engine, start=NOW.date())
    assert list(verify.differences(stats.engine)) == []


def test_rebuild_changes_nothing_and_only_the_days_asked_for(stats: Stats) -> None:
    stats.record(*EVENTS)

    def everything() -> dict[str, list[tuple[object, ...]]]:
        with read_snapshot(stats.engine) as connection:
            return {
                rollup.name: sorted(
                    tuple(row)
                    for row in connection.execute(
                        select(*(c for c in rollup.table.columns if c.name != "id"))
                    )
                    if any(row._mapping[add] for add in rollup.adds)
                )
                for rollup in ROLLUPS
            }

    before = everything()
    days: list[date] = []
    verify.rebuild(stats.engine, start=NOW.date(), progress=days.append)
    assert days == [NOW.date()]
    verify.rebuild(stats.engine)
    assert everything() == before


def test_a_row_of_a_day_without_details_is_found(stats: Stats) -> None:
    stats.record(*EVENTS)
    with write_transaction(stats.engine) as connection:
        row = "INSERT INTO stats_clients (date, client, requests) VALUES (:day, 'ghost', 3)"
        for day in ("2020-01-01", "2030-01-01"):
            connection.execute(text(row), {"day": day})
    found = list(verify.differences(stats.engine, date(2019, 1, 1), date(2020, 6, 1)))
    assert [item.key[1] for item in found] == ["ghost"]
    verify.rebuild(stats.engine, date(2019, 12, 31), date(2020, 1, 2))
    verify.rebuild(stats.engine, date(2029, 12, 31), date(2030, 1, 2))
    assert list(verify.differences(stats.engine, start=NOW.date() - timedelta(days=3))) == []


def test_rebuild_shows_no_wrong_figure_while_events_come_in(stats: Stats) -> None:
    sent, stop = [0], threading.Event()

    def keep_coming() -> None:
        while not stop.is_set():
            number = sent[0] = sent[0] + 1
            at = NOW - timedelta(days=number % 3)
            stats.record(request(f"new{number}", at), *build(f"new{number}", end=at))

    stats.record(*EVENTS)
    first = stats.get("overview")["totals"]["requests"]
    thread = threading.Thread(target=keep_coming)
    thread.start()
    try:
        for _ in range(8):
            verify.rebuild(stats.engine)
            before = sent[0]
            totals = stats.get("overview")["totals"]
            assert first + before - 1 <= totals["requests"] <= first + sent[0]
            assert totals["requests"] - totals["cache_hits"] == totals["unique_requests"]
            assert list(verify.differences(stats.engine)) == []
    finally:
        stop.set()
        thread.join()
    assert stats.get("overview")["totals"]["requests"] == first + sent[0]
    assert list(verify.differences(stats.engine)) == []
