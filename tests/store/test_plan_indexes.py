"""Indexes and defaults for manual queries: names, and no slower reports."""

import pytest
from sqlalchemy import Engine, func, inspect, select, text
from typer.testing import CliRunner

from asu_stats.cli.program import app
from asu_stats.store import migrate
from asu_stats.store.archive import archive
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.database.schema import build_metrics
from tests.store import declared
from tests.store.older import back_to
from tests.store.test_plans import plan
from tests.support import NOW, Stats, request

INDEXES = {
    "idx_build_metrics_started": ("build_metrics", "started_at"),
    "idx_build_metrics_status": ("build_metrics", "status"),
    "idx_build_metrics_request": ("build_metrics", "request_hash"),
    "idx_client_stats_client": ("client_stats", "client"),
    "idx_client_stats_timestamp": ("client_stats", "timestamp"),
    "idx_request_metadata_version": ("request_metadata", "version"),
    "idx_request_metadata_target": ("request_metadata", "target"),
    "idx_request_metadata_diff": ("request_metadata", "diff_packages"),
    "idx_error_stats_category": ("error_stats", "error_category"),
    "idx_error_stats_timestamp": ("error_stats", "timestamp"),
}
NEEDED = {"idx_client_stats_timestamp", "idx_error_stats_timestamp"}


def existing(engine: Engine) -> dict[str, tuple[str, str]]:
    found = inspect(engine)
    return {
        str(index["name"]): (table, str(index["column_names"][0]))
        for table in {table for table, _ in INDEXES.values()}
        for index in found.get_indexes(table)
        if str(index["name"]).startswith("idx_")
    }


def test_all_are_there_by_name(engine: Engine) -> None:
    assert existing(engine) == INDEXES


def test_they_go_and_come_back(engine: Engine) -> None:
    optional = set(INDEXES) - NEEDED
    assert set(migrate.upgrade(engine, plan_indexes=False)) == optional
    assert set(existing(engine)) == NEEDED
    assert migrate.upgrade(engine, plan_indexes=False) == []
    assert set(migrate.upgrade(engine)) == optional
    assert existing(engine) == INDEXES
    assert declared.differences(engine) == []


@pytest.mark.parametrize("plan_indexes", [True, False])
def test_an_older_database_gets_them_or_not(stats: Stats, plan_indexes: bool) -> None:
    stats.record(request("h"), request("x", outcome="rejected"))
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0013")
    migrate.upgrade(stats.engine, plan_indexes=plan_indexes)
    assert set(existing(stats.engine)) == (set(INDEXES) if plan_indexes else NEEDED)


def test_the_setting_holds_at_db_upgrade(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upgrade() -> str:
        result = CliRunner().invoke(app, ["db", "upgrade", "--database", database_url])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "up to date" in upgrade()
    monkeypatch.setenv("ASU_STATS_PLAN_INDEXES", "false")
    assert "dropped idx_build_metrics_started" in upgrade()
    assert set(existing(engine)) == NEEDED
    monkeypatch.delenv("ASU_STATS_PLAN_INDEXES")
    assert "created idx_build_metrics_started" in upgrade()
    assert existing(engine) == INDEXES


def test_the_builds_of_a_day_are_found_by_time(sqlite_stats: Stats) -> None:
    asked = archive.slowest(build_metrics, NOW.date()).compile(
        sqlite_stats.engine, compile_kwargs={"literal_binds": True}
    )
    with sqlite_stats.engine.connect() as connection:
        assert "finished_at>" in plan(connection, (str(asked), ()))


INSERTS = (
    "INSERT INTO client_stats (client, request_hash, status, client_version, outcome, version, "
    "target, profile) VALUES ('luci', 'h', 'queued', '1', 'queued', 'v', 't', 'p')",
    "INSERT INTO error_stats (error_category, error_type, version, target, request_hash, profile) "
    "VALUES ('build', 'x', 'v', 't', 'h', 'p')",
    "INSERT INTO request_metadata (request_hash, version, target, profile, diff_packages, "
    "first_requested_at, last_requested_at, request_number) "
    "VALUES ('h', 'v', 't', 'p', true, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 1)",
    "INSERT INTO build_metrics (request_hash, status, build_id, version, target, profile) "
    "VALUES ('h', 'success', 'b', 'v', 't', 'p')",
    "INSERT INTO stats_daily (date) VALUES ('2026-09-30')",
)
DEFAULTS: dict[str, dict[str, int]] = {
    "client_stats": {"cache_hit": False},
    "error_stats": {"count": 1},
    "build_metrics": {"cache_hit": False},
    "request_metadata": {
        "total_requests": 1,
        "cache_hits": 0,
        "successful_builds": 0,
        "failed_builds": 0,
    },
    "stats_daily": {"total_requests": 0, "unique_requests": 0, "unique_clients": 0},
}


def test_the_plans_defaults_hold_for_rows_written_by_hand(engine: Engine) -> None:
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL timezone = 'Asia/Tokyo'"))
        for statement in INSERTS:
            connection.execute(text(statement))
        for table, wanted in DEFAULTS.items():
            row = connection.execute(text(f"SELECT * FROM {table}")).mappings().one()  # noqa: S608
            assert {name: row[name] for name in wanted} == wanted
        for table in ("client_stats", "error_stats"):
            now = (
                func.datetime("now")
                if connection.dialect.name == "sqlite"
                else func.timezone("UTC", func.now())
            )
            written = select(text("timestamp")).select_from(text(table)).scalar_subquery()
            assert connection.execute(select(written == now)).scalar_one(), table
