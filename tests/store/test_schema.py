"""The schema: migrations equal the declarations, and names follow conventions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from asu_stats.exceptions import SchemaError
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from asu_stats.store.database import schema
from asu_stats.store.database.engine import write_transaction
from tests.store import declared

TABLES = {
    "build_metrics": "id request_hash started_at finished_at duration_seconds status "
    "error_category error_message cache_hit worker_id",
    "request_metadata": "request_hash version target profile diff_packages package_count "
    "has_custom_repos has_defaults rootfs_size_mb first_requested_at last_requested_at "
    "total_requests cache_hits successful_builds failed_builds",
    "client_stats": "id client timestamp request_hash cache_hit status",
    "stats_daily": "date total_requests unique_requests cache_hits successful_builds "
    "failed_builds avg_build_duration_seconds max_build_duration_seconds "
    "min_build_duration_seconds total_build_time_seconds unique_clients diff_packages_true "
    "diff_packages_false",
    "stats_version_target": "id version target date request_count unique_profiles "
    "cache_hit_rate avg_build_duration",
    "stats_profiles": "id version target profile date request_count success_count failure_count "
    "avg_build_duration",
    "error_stats": "id timestamp error_category error_type version target request_hash count",
    "build_requests": "request_hash distro version target profile packages packages_versions "
    "defaults rootfs_size_mb repositories repository_keys diff_packages client created_at",
    "build_jobs": "id request_hash status started_at finished_at build_cmd manifest error_message "
    "worker_id queue_position",
    "build_results": "request_hash images manifest build_at cache_hit build_duration_seconds",
}


def test_migrations_arrive_at_the_declared_schema(engine: Engine) -> None:
    assert migrate.check(engine) == migrate.head()
    assert declared.differences(engine) == []


@pytest.mark.parametrize("table", TABLES)
def test_tables_have_their_columns(engine: Engine, table: str) -> None:
    columns = {column["name"] for column in inspect(engine).get_columns(table)}
    assert set(TABLES[table].split()) <= columns


def test_upgrade_twice_is_once(engine: Engine) -> None:
    migrate.upgrade(engine)
    assert migrate.check(engine) == migrate.head()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Engine]:
    engine = engines.create(f"sqlite:///{tmp_path / 'empty.db'}")
    yield engine
    engine.dispose()


def test_a_database_without_schema_says_what_to_do(empty: Engine) -> None:
    with pytest.raises(SchemaError, match="asu-stats db upgrade"):
        migrate.check(empty)


def test_a_newer_database_is_refused(empty: Engine) -> None:
    migrate.upgrade(empty)
    with write_transaction(empty) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refuse in (migrate.upgrade, migrate.check):
        with pytest.raises(SchemaError, match=r"9999 of a newer release.* restore a backup"):
            refuse(empty)


def test_a_running_process_knows_its_schema() -> None:
    assert migrate.head() == schema.REVISION


def test_sqlite_is_set_up_for_durability(empty: Engine) -> None:
    with empty.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2  # FULL
