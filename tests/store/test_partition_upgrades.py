"""Databases of before partitions, restored ones, and those that Citus distributes."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, make_url, text

from asu_stats.backup import restoring, taking
from asu_stats.backup.container import reading
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.store import distribute, migrate
from asu_stats.store.archive import retention
from asu_stats.store.database import engine as engines
from asu_stats.store.database import partitions
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.verification import verify
from tests import support
from tests.cli.test_commands import run
from tests.conftest import administrate, postgresql_database
from tests.importers.go_history import GoHistory
from tests.store.older import back_to
from tests.store.test_partitions import (
    SHORT,
    TODAY,
    partitions_of,
    record_history,
    stats,
)
from tests.store.test_retention import answers, identities, rows
from tests.support import NOW, Stats, build

__all__ = ["stats"]


def plain(stats: Stats) -> None:
    """Give the database the schema before partitions, with its rows."""
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0036")


@pytest.mark.parametrize("archived", [False, True])
def test_an_upgrade_copies_nothing_and_changes_no_figure(stats: Stats, archived: bool) -> None:
    record_history(stats, days=75, requests=300)
    engine = stats.engine
    if archived:
        retention.run(engine, SHORT, TODAY)
    before, known, counts = answers(stats), identities(engine), rows(engine)
    plain(stats)
    with engine.begin() as connection:
        node = "SELECT relfilenode FROM pg_class WHERE oid = to_regclass(:name)"
        file = connection.execute(text(node), {"name": "client_stats"}).scalar_one()
        role = text("DO $$ BEGIN CREATE ROLE reader; EXCEPTION WHEN OTHERS THEN NULL; END $$")
        connection.execute(role)
        connection.execute(text("GRANT SELECT ON client_stats TO reader"))
    migrate.upgrade(engine)
    migrate.check(engine)
    (old,) = partitions_of(engine)
    assert old.startswith("client_stats_before_")
    with engine.begin() as connection:
        assert connection.execute(text(node), {"name": old}).scalar_one() == file
        may = "SELECT has_table_privilege('reader', 'client_stats', 'SELECT')"
        assert connection.execute(text(may)).scalar_one()
    assert (identities(engine), rows(engine)) == (known, counts)
    assert answers(stats) == before
    assert list(verify.differences(engine)) == []
    assert partitions.prepare(engine, TODAY + timedelta(days=120)) > 0
    stats.record(support.request("new"), *build("new", "failure"))
    retention.run(engine, SHORT, TODAY)
    assert answers(stats, 7)
    assert list(verify.differences(engine)) == []
    found = identities(engine)
    assert all(len(numbers) == len(set(numbers)) for numbers in found.values())


def test_an_upgrade_that_ends_in_the_middle_is_repeated(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_history(stats, days=75, requests=300)
    known = identities(stats.engine)
    plain(stats)
    before = rows(stats.engine)

    class Ended(Connection):
        def execute(self, statement: Any, *given: Any, **more: Any) -> Any:
            if "ATTACH PARTITION error_stats" in str(statement):
                raise StoreUnavailableError("killed")
            return super().execute(statement, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(stats.engine, "_connection_cls", Ended)
        with pytest.raises(StoreUnavailableError):
            migrate.upgrade(stats.engine)
    assert migrate.current(stats.engine) == "0036"
    assert rows(stats.engine) == before
    migrate.upgrade(stats.engine)
    assert (migrate.check(stats.engine), rows(stats.engine)) == (migrate.head(), before)
    assert identities(stats.engine) == known
    assert list(verify.differences(stats.engine)) == []


def test_a_table_with_a_view_of_others_stays_as_it_is(
    stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    record_history(stats, days=75, requests=300)
    plain(stats)
    with stats.engine.begin() as connection:
        connection.execute(text("CREATE VIEW mine AS SELECT client FROM client_stats"))
    migrate.upgrade(stats.engine)
    assert "not partitioned table=client_stats, because it has: view mine" in caplog.text
    with read_snapshot(stats.engine) as connection:
        assert not partitions.is_partitioned(connection, "client_stats")
        assert partitions.is_partitioned(connection, "error_stats")
    partitions.prepare(stats.engine, TODAY)
    stats.record(support.request("new"), *build("new", "failure"))
    retention.run(stats.engine, SHORT, TODAY)
    assert rows(stats.engine)["client_stats"][1] > 10
    assert list(verify.differences(stats.engine)) == []


def test_distribute_first_makes_plain_tables(stats: Stats) -> None:
    record_history(stats, days=75, requests=300)
    retention.run(stats.engine, SHORT, TODAY)
    before, known, counts = answers(stats), identities(stats.engine), rows(stats.engine)
    with write_transaction(stats.engine) as connection:
        for table in distribute.PLACED:
            partitions.unite(connection, table.name)
    with read_snapshot(stats.engine) as connection:
        assert not any(
            partitions.is_partitioned(connection, table.name) for table in distribute.PLACED
        )
    assert (identities(stats.engine), rows(stats.engine)) == (known, counts)
    stats.record(support.request("new"), *build("new", "failure"))
    retention.run(stats.engine, SHORT, TODAY)
    assert list(verify.differences(stats.engine)) == []
    assert answers(stats).keys() == before.keys()


@pytest.fixture
def empty_url(postgresql_server: str) -> Iterator[str]:
    name = "restored_partitions"
    administrate(postgresql_server, f"CREATE DATABASE {name}")
    yield make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    administrate(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_backup_has_all_months_and_a_restored_database_goes_on(
    stats: Stats, empty_url: str, tmp_path: Path
) -> None:
    record_history(stats, days=75, requests=300)
    stats.record(support.request("very old", NOW - timedelta(days=4000)))
    retention.run(stats.engine, SHORT, TODAY)
    before, known, counts = answers(stats), identities(stats.engine), rows(stats.engine)
    source = taking.Source(stats.engine, tmp_path / "none", tmp_path / "no spool")
    progress: list[int] = []
    manifest = taking.take(source, tmp_path / "backup.zip", progress.append)
    assert sum(progress) == taking.size(stats.engine) > 0
    assert manifest.tables["client_stats"].rows == counts["client_stats"][0]
    assert not {name for name in manifest.tables if name.startswith("client_stats_2026")}
    engine = engines.create(empty_url)
    with reading(tmp_path / "backup.zip") as reader:
        place = restoring.Destination(engine, None, tmp_path / "a", tmp_path / "s")
        restoring.check(reader, place)
        restoring.restore(reader, place, lambda _: None)
    migrate.check(engine)
    assert (identities(engine), rows(engine)) == (known, counts)
    (old,) = partitions_of(engine)
    assert old.startswith("client_stats_before_")
    assert partitions.prepare(engine, TODAY + timedelta(days=120)) > 0
    with Stats.on(empty_url, tmp_path / "other") as other:
        assert answers(other) == before
        other.record(support.request("new"), *build("new", "failure"))
    assert list(verify.differences(engine)) == []
    retention.run(engine, SHORT, TODAY)
    assert list(verify.differences(engine)) == []
    engine.dispose()


def test_an_import_and_an_upgrade_create_months(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for url in postgresql_database(request):
        engine = engines.create(url)
        with write_transaction(engine) as connection:
            for name in ("client_stats", "error_stats"):
                for month in partitions.months(connection, name):
                    partitions.drop(connection, name, month)
        assert run(url, tmp_path, "db", "upgrade").returncode == 0
        with read_snapshot(engine) as connection:
            ahead = partitions.months(connection, "client_stats")
        assert len(ahead) == 3
        GoHistory(7).run(60).write(tmp_path / "builder.db")
        done = run(url, tmp_path, "import", "go-builder", "builder.db")
        assert done.returncode == 0, done.stderr
        found = partitions_of(engine)
        assert found
        assert all(re.fullmatch(r"client_stats_\d{4}_\d\d", name) for name in found)
        engine.dispose()
