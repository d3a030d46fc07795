"""Upgrades for the legacy endpoints, and tables of the Go server."""

import pytest
from sqlalchemy import inspect, text

from asu_stats.store import migrate
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.verification import verify
from tests.store import declared
from tests.store.older import back_to
from tests.store.test_verify import EVENTS
from tests.support import NOW, Stats, build, request

OLD_TABLE = (
    "CREATE TABLE build_stats (id INTEGER PRIMARY KEY, "
    "timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP, event_type TEXT NOT NULL, "
    "version TEXT, target TEXT, profile TEXT, duration_seconds INTEGER{further})"
)
FURTHER = ("", ", diff_packages BOOLEAN")
MORE = [
    request("h4", diff_packages=False),
    *build("h4", "success"),
    *build("h5", "success"),  # nobody knows its diff_packages
    *build("h6", "timeout"),
    *build("h7", "cancelled"),
    build("h8")[0],
    request("h9", outcome="joined"),
    request("h9", outcome="cached_failure"),
]


def counted(stats: Stats) -> list[tuple[object, ...]]:
    with read_snapshot(stats.engine) as connection:
        rows = connection.execute(text("SELECT * FROM stats_legacy ORDER BY date, version"))
        return [tuple(row) for row in rows]


def test_an_older_database_is_counted(stats: Stats) -> None:
    stats.record(*EVENTS, *MORE)
    before = counted(stats)
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0002")
    migrate.upgrade(stats.engine)
    assert counted(stats) == before
    assert len(before) == 3
    assert list(verify.differences(stats.engine)) == []
    assert declared.differences(stats.engine) == []


@pytest.mark.parametrize("further", FURTHER, ids=["from before diff_packages", "as it was last"])
def test_a_go_servers_table_is_used(sqlite_stats: Stats, further: str) -> None:
    with write_transaction(sqlite_stats.engine) as connection:
        back_to(connection, "0002")
        connection.execute(text(OLD_TABLE.format(further=further)))
        connection.execute(
            text("CREATE INDEX idx_build_stats_timestamp ON build_stats (timestamp)")
        )
        row = "INSERT INTO build_stats (timestamp, event_type, version) VALUES (:at, :type, '1')"
        values = {"at": "2026-01-04 08:12:22.1 +0100 CET m=+1.5", "type": "request"}
        connection.execute(text(row), values)
    migrate.upgrade(sqlite_stats.engine)
    url, spool = sqlite_stats.settings.database_url, sqlite_stats.settings.spool_path
    with Stats.on(url, spool.with_name("other"), legacy_build_stats=True) as stats:
        stats.record(request("h1", NOW))
    with read_snapshot(sqlite_stats.engine) as connection:
        select = "SELECT timestamp, event_type, version, diff_packages FROM build_stats ORDER BY id"
        assert [tuple(row) for row in connection.execute(text(select))] == [
            ("2026-01-04 08:12:22.1 +0100 CET m=+1.5", "request", "1", None),
            ("2026-09-30 12:00:00", "request", "24.10.2", 1),
        ]
        indexes = {index["name"] for index in inspect(connection).get_indexes("build_stats")}
    assert indexes == {"idx_build_stats_timestamp", "idx_build_stats_event_type"}
