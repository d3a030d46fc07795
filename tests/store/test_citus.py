"""A database on a real Citus. `CITUS_URL` names one on the coordinator.

The extension and the workers must be known there. All is done in a schema of its own.
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import psycopg
import pytest
from sqlalchemy import Engine, Table, inspect, make_url, text

from asu_stats.backup import restoring, taking
from asu_stats.backup.container import reading
from asu_stats.cloudevents import from_cloudevent
from asu_stats.demo.history import history
from asu_stats.exceptions import NotDistributableError, SchemaError
from asu_stats.reports.endpoints import REPORTS
from asu_stats.store import distribute, migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import dialects
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.distribute import PLACED, Shards
from asu_stats.store.verification import verify
from tests.api.test_oracle import test_every_figure_equals_the_oracle
from tests.builds.conftest import clock, recorder, service, settings
from tests.builds.test_combined_queue import (
    test_ours_and_theirs_each_once,
    test_the_queue_is_what_a_naive_reading_of_the_events_says,
)
from tests.builds.test_queue import (
    test_a_lost_worker_ends_its_build_once,
    test_eight_workers_build_each_once,
    test_fifty_equal_requests_queue_one_build,
)
from tests.conftest import postgresql_database
from tests.importers.test_go_builder import test_every_total_is_the_sources_on_both_databases
from tests.store.test_retention import (
    archive_directory,
    archived,
    test_an_earlier_end_of_an_archived_build_takes_its_place,
    test_late_events_bring_rows_back_once_and_they_are_archived_again,
)
from tests.support import NOW, Stats, build, request

COORDINATOR = os.environ.get("CITUS_URL", "")
if not COORDINATOR:
    words = "CITUS_URL is not set: needs a database on the coordinator of a Citus"
    pytest.skip(words, allow_module_level=True)

SCHEMA = "asu_stats_test"

__all__ = [  # what is tested elsewhere, here on a distributed database
    "archive_directory",
    "archived",
    "clock",
    "recorder",
    "service",
    "settings",
    "test_a_lost_worker_ends_its_build_once",
    "test_an_earlier_end_of_an_archived_build_takes_its_place",
    "test_eight_workers_build_each_once",
    "test_every_figure_equals_the_oracle",
    "test_every_total_is_the_sources_on_both_databases",
    "test_fifty_equal_requests_queue_one_build",
    "test_late_events_bring_rows_back_once_and_they_are_archived_again",
    "test_ours_and_theirs_each_once",
    "test_the_queue_is_what_a_naive_reading_of_the_events_says",
]


LATE = [
    request("late", NOW - timedelta(hours=2)),
    *build("late", end=NOW - timedelta(hours=1)),
]


@pytest.fixture
def empty() -> str:
    """URL of the database with an empty schema."""
    with psycopg.connect(COORDINATOR, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
    separator = "&" if "?" in COORDINATOR else "?"
    return f"{COORDINATOR}{separator}options=-csearch_path%3D{SCHEMA}"


@pytest.fixture
def database_url(empty: str) -> str:
    """URL of a distributed database, instead of one of each kind."""
    engine = engines.create(empty)
    migrate.upgrade(engine)
    distribute.distribute(engine, shards=4)
    engine.dispose()
    return empty


@pytest.fixture
def plain(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a database that is not distributed."""
    yield from postgresql_database(request)


def shards(engine: Engine, table: Table) -> list[int]:
    """Return the number of rows of each shard."""
    query = text(
        "SELECT CAST(result AS BIGINT)"
        " FROM run_command_on_shards(CAST(:table AS regclass), 'SELECT count(*) FROM %s')"
    )
    with engine.connect() as connection:
        connection.execute(text(f"SET search_path = {SCHEMA}"))
        return list(connection.execute(query, {"table": table.name}).scalars())


def record_history(engine: Engine) -> None:
    """Record 40 days of a generated history."""
    events = list(history(days=40, requests=400, now=NOW))
    for start in range(0, len(events), 100):
        apply_batch(engine, events[start : start + 100])


def answers(stats: Stats) -> dict[str, object]:
    return {
        report.name: stats.get(report.name, days=40) for report in REPORTS if not report.subject
    }


def test_a_recorded_database_is_distributed(empty: str, plain: str, tmp_path: Path) -> None:
    """Every report is that of plain PostgreSQL. A second run changes nothing."""
    engine = engines.create(empty)
    migrate.upgrade(engine)
    record_history(engine)
    with Stats.on(empty, tmp_path / "spool") as stats:
        before = answers(stats)
    done: list[tuple[int, int]] = []
    placed = distribute.distribute(engine, progress=lambda *at: done.append(at))
    assert done[-1][0] == done[-1][1] > 0
    assert {each.table: each.column for each in placed} == {t.name: by for t, by in PLACED.items()}
    assert all(each.placed for each in placed)
    again = distribute.distribute(engine, shards=2)
    assert again == [Shards(each.table, each.column, each.shards, False) for each in placed]
    engine.dispose()

    engine = engines.create(empty)
    with Stats.on(empty, tmp_path / "spool") as stats:
        assert answers(stats) == before
        stats.record(*LATE)
        assert list(verify.differences(engine)) == []
        with Stats.on(plain, tmp_path / "plain") as other:
            record_history(other.engine)
            other.record(*LATE)
            assert answers(stats) == answers(other)
    for table in PLACED:
        rows = shards(engine, table)
        if sum(rows) > 100:
            assert min(rows) > 0, (table.name, rows)
    with read_snapshot(engine) as connection:
        assert dialects.database_size(connection) > 0
    engine.dispose()


def test_a_worker_is_refused(empty: str) -> None:
    engine = engines.create(empty)
    with engine.connect() as connection:
        nodes = text("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid > 0 LIMIT 1")
        host, port = connection.execute(nodes).one()
    engine.dispose()
    worker = engines.create(str(make_url(COORDINATOR).set(host=host, port=port)))
    with pytest.raises(NotDistributableError, match="is a worker of Citus"):
        distribute.distribute(worker)
    worker.dispose()


def test_without_a_schema_it_is_refused(empty: str) -> None:
    engine = engines.create(empty)
    with pytest.raises(SchemaError, match="db upgrade"):
        distribute.distribute(engine)
    engine.dispose()


def test_an_older_schema_is_upgraded(empty: str) -> None:
    engine = engines.create(empty)
    with write_transaction(engine, waiting=migrate.log_waiting) as connection:
        migrate.create(connection, "0026")
    with write_transaction(engine, waiting=migrate.log_waiting) as connection:
        there = inspect(connection).get_table_names(schema=SCHEMA)
        for table in PLACED:
            if table.name in there:
                distribute._place(connection, table, 4)
    migrate.upgrade(engine)
    migrate.upgrade(engine, plan_indexes=False)
    assert migrate.check(engine) == migrate.head()
    record_history(engine)
    assert list(verify.differences(engine)) == []
    engine.dispose()


def test_a_backup_is_restored_elsewhere(stats: Stats, plain: str, tmp_path: Path) -> None:
    record_history(stats.engine)
    before = answers(stats)
    source = taking.Source(stats.engine, tmp_path / "archive", tmp_path / "spool")
    taking.take(source, tmp_path / "backup.zip", lambda _: None)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine = engines.create(plain)
    with reading(tmp_path / "backup.zip") as reader:
        directories = tmp_path / "elsewhere" / "archive", tmp_path / "elsewhere" / "spool"
        restoring.restore(reader, restoring.Destination(engine, None, *directories), lambda _: None)
    assert list(verify.differences(engine)) == []
    engine.dispose()
    with Stats.on(plain, tmp_path / "other") as other:
        assert answers(other) == before


def test_verification_while_events_arrive(stats: Stats) -> None:
    """A day and its details are read from all nodes as of one moment."""
    ended = Flag()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            at = NOW - timedelta(minutes=number % 60)
            events = [request(f"h{number}", at), *build(f"h{number}", end=at)]
            apply_batch(stats.engine, [from_cloudevent(each, now=None) for each in events])

    writer = Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            assert list(verify.differences(stats.engine)) == []
    finally:
        ended.set()
        writer.join()
