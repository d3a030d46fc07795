"""Backup and restore: all acknowledged events, with exact figures."""

import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, select
from typer.testing import CliRunner, Result

from asu_stats.backup import container
from asu_stats.cli.program import app
from asu_stats.cloudevents import from_cloudevent
from asu_stats.events import Event
from asu_stats.exceptions import BackupError
from asu_stats.recorder import records
from asu_stats.recorder.spool import Spool
from asu_stats.store import migrate
from asu_stats.store.archive import files, retention, segments
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.database import dialects
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import client_stats
from asu_stats.store.verification import verify
from tests.conftest import administrate, postgresql_database, sqlite_database
from tests.support import NOW, CloudEvent, Stats, build, request

WINDOW = {"start": "2026-01-01", "end": "2026-09-20"}  # before the events of a test
REPORTS = ("overview", "versions", "errors", "performance", "clients", "timeseries", "packages")


@dataclass(frozen=True)
class Place:
    """A database with its directories, as the settings of a command name them."""

    url: str
    directory: Path

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    def run(self, *arguments: object) -> Result:
        environment = {
            "ASU_STATS_DATABASE_URL": self.url,
            "ASU_STATS_ARCHIVE_DIRECTORY": str(self.archive),
            "ASU_STATS_SPOOL_DIRECTORY": str(self.spool),
        }
        return CliRunner().invoke(app, list(map(str, arguments)), env=environment)

    def backup(self, file: Path, *options: str) -> dict[str, Any]:
        done = self.run("db", "backup", file, "--json", *options)
        assert done.exit_code == 0, (done.output, done.exception)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        engine = engines.create(self.url)
        segments.keep_in(engine, self.archive)
        yield engine
        engine.dispose()

    def hashes(self) -> set[str]:
        with self.engine() as engine, read_snapshot(engine) as connection:
            return set(connection.execute(select(client_stats.c.request_hash)).scalars())


@pytest.fixture
def source(database_url: str, tmp_path: Path) -> Place:
    (tmp_path / "source").mkdir()
    return Place(database_url, tmp_path / "source")


@contextmanager
def restored_place(database_url: str, directory: Path) -> Iterator[Place]:
    """An empty destination on the same database system."""
    directory.mkdir()
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        yield Place(f"sqlite:///{directory}/stats.db", directory)
        return
    name = f"{url.database}_restored"
    administrate(database_url, f"CREATE DATABASE {name}")
    yield Place(url.set(database=name).render_as_string(hide_password=False), directory)
    administrate(database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def target(database_url: str, tmp_path: Path) -> Iterator[Place]:
    with restored_place(database_url, tmp_path / "target") as place:
        yield place


def fill(stats: Stats, place: Place) -> None:
    """Record a history of which some days are archived in tables, and some in files."""
    for day in (20, 70, 130):
        end = NOW - timedelta(days=day)
        status = "failure" if day == 70 else "success"
        stats.bring_in(request(f"h{day}", end), *build(f"h{day}", status, end=end))
    policy = Policy(30, 60, 60, 90)
    where = ArchiveDirectory(place.archive, "csv.gz")
    retention.run(stats.engine, policy, NOW.date(), archive_directory=where)
    assert list(place.archive.glob("client_stats/*/*"))


def figures(stats: Stats) -> dict[str, Any]:
    return {name: stats.get(name, **WINDOW) for name in REPORTS}


def test_a_backup_under_load(source: Place, target: Place) -> None:
    """It has all that was acknowledged before its start, in order, and every figure is exact."""
    file = source.directory / "backup.zip"
    acknowledged: list[list[CloudEvent]] = []
    started, stop = threading.Event(), threading.Event()

    def name(number: int) -> str:
        return f"live{number:05}"

    with Stats.on(source.url, source.spool) as stats:
        fill(stats, source)
        expected = figures(stats)

        def send() -> None:
            while not stop.is_set():
                events = [request(name(len(acknowledged))), *build(name(len(acknowledged)))]
                stats.record(events)
                acknowledged.append(events)
                if len(acknowledged) == 10:
                    started.set()

        writer = threading.Thread(target=send)
        writer.start()
        assert started.wait(120)
        before = len(acknowledged)
        facts = source.backup(file)
        stop.set()
        writer.join()
    assert facts["archive_files"] == len(list(source.archive.glob("*/*/*")))
    assert file.stat().st_mode & 0o777 == 0o600

    done = target.run("db", "restore", file, "--verify", "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["differences"] == []
    found = sorted(each for each in target.hashes() if each.startswith("live"))
    assert found == [name(number) for number in range(len(found))]
    assert before <= len(found) <= len(acknowledged)
    for path in source.archive.glob("*/*/*"):
        copy = target.archive / path.relative_to(source.archive)
        assert copy.read_bytes() == path.read_bytes()
    with Stats.on(target.url, target.spool) as stats:
        assert figures(stats) == expected
        today = {"start": NOW.date(), "end": NOW.date()}
        assert stats.get("overview", **today)["totals"]["successful_builds"] == len(found)
        assert stats.record(acknowledged[0])["accepted"] == 0
        stats.record(request("after"), build("after", "failure"))
        assert stats.get("overview", **today)["totals"]["failed_builds"] == 1
        assert not list(verify.differences(stats.engine))


@pytest.fixture
def of_file(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A small database of SQLite with archive files."""
    (tmp_path / "source").mkdir()
    place = Place(sqlite_database(request), tmp_path / "source")
    with Stats.on(place.url, place.spool) as stats:
        fill(stats, place)
    return place


@pytest.fixture
def elsewhere(tmp_path: Path) -> Place:
    """An empty place for it."""
    (tmp_path / "elsewhere").mkdir()
    return Place(f"sqlite:///{tmp_path}/elsewhere/stats.db", tmp_path / "elsewhere")


def test_events_in_the_spool_are_in_the_backup(of_file: Place, elsewhere: Place) -> None:
    file = of_file.directory / "backup.zip"
    spool = Spool(of_file.spool, limit_bytes=1 << 20, reserve_bytes=1 << 16)
    waiting = [request(f"spooled{number}") for number in range(3)]
    events = [from_cloudevent(event, now=NOW, imported=True) for event in waiting]
    assert spool.put(events) == 3
    spool.add_dead_letter(events[0], "a reason")
    assert of_file.backup(file)["spool_files"] == 2
    spool.close()

    assert elsewhere.run("db", "restore", file).exit_code == 0

    assert len((elsewhere.spool / "dead-letter.ndjson").read_text().splitlines()) == 1
    restored = Spool(elsewhere.spool, limit_bytes=1 << 20, reserve_bytes=0)
    found: list[Event] = []

    def take(batch: list[Event]) -> bool:
        found.extend(batch)
        return True

    assert restored.replay(take, 10)
    restored.close()
    assert found == events
    assert restored.damaged == 0


def test_the_last_line_of_a_spool_that_is_being_written_is_left_out(
    of_file: Place, elsewhere: Place
) -> None:
    event = from_cloudevent(request("whole"), now=NOW, imported=True)
    record = records.encode(event)
    of_file.spool.mkdir(exist_ok=True)
    (of_file.spool / "a.spool").write_bytes(record + record[:40] + bytes(1000))
    (of_file.spool / "b.spool").write_bytes(record.rstrip() + bytes(1000))
    of_file.backup(of_file.directory / "backup.zip")
    assert elsewhere.run("db", "restore", of_file.directory / "backup.zip").exit_code == 0
    for name in ("a", "b"):
        assert (elsewhere.spool / f"{name}.spool").read_bytes() == record


def names_of(place: Place) -> list[str]:
    return sorted(path.relative_to(place.directory).as_posix() for path in files_of(place))


def files_of(place: Place) -> list[Path]:
    return [path for path in place.directory.rglob("*") if path.is_file()]


def refused(place: Place, file: Path) -> str:
    """Return why a restore was refused; it has left nothing behind."""
    before = names_of(place)
    done = place.run("db", "restore", file)
    assert done.exit_code != 0
    assert isinstance(done.exception, BackupError), (done.output, done.exception)
    assert names_of(place) == before
    return str(done.exception)


def changed(file: Path, name: str, change: Callable[[bytes], bytes | None]) -> Path:
    """Return a copy of a backup with one entry changed, or without it."""
    copy = file.with_name("changed.zip")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(copy, "w") as new:
        for each in old.namelist():
            content: bytes | None = old.read(each)
            if each == name:
                content = change(content or b"")
            if content is not None:
                new.writestr(each, content)
    return copy


def test_damaged_backups_are_refused_with_the_place(of_file: Place, elsewhere: Place) -> None:
    file = of_file.directory / "backup.zip"
    of_file.backup(file)
    whole = file.read_bytes()
    copy = file.with_name("damaged.zip")

    copy.write_bytes(whole[: len(whole) // 2])
    assert refused(elsewhere, copy) == f"{copy}: truncated or damaged"
    copy.write_bytes(b"")
    assert refused(elsewhere, copy) == f"{copy}: not a backup of asu-stats"
    copy.write_bytes(b"SQLite format 3\0" + bytes(4096))
    assert refused(elsewhere, copy) == f"{copy}: not a backup of asu-stats"
    middle = bytearray(whole)
    middle[200:220] = bytes(20)
    copy.write_bytes(middle)
    assert "damaged: database.sqlite" in refused(elsewhere, copy)

    other = changed(file, "database.sqlite", lambda content: content[:-1] + b"x")
    assert "damaged: database.sqlite: wrong checksum" in refused(elsewhere, other)
    other = changed(file, "database.sqlite", lambda content: content[:-1])
    assert "damaged: database.sqlite: expected" in refused(elsewhere, other)
    other = changed(file, "database.sqlite", lambda _: None)
    assert "damaged: database.sqlite: missing" in refused(elsewhere, other)
    other = changed(file, "manifest.json", lambda _: None)
    assert "not a backup of asu-stats: no manifest.json" in refused(elsewhere, other)
    other = changed(file, "manifest.json", lambda _: b"{}")
    assert "not a backup of asu-stats" in refused(elsewhere, other)
    other = changed(file, "manifest.json", lambda text: text.replace(b"sha256", b"md5"))
    assert "damaged: manifest.json: entries.0.sha256" in refused(elsewhere, other)
    escaping = changed(
        file, "manifest.json", lambda text: text.replace(b"archive/", b"archive/../")
    )
    assert "not a valid entry name" in refused(elsewhere, escaping)
    assert "No such file" in refused(elsewhere, file.with_name("absent.zip"))


def test_backups_of_other_databases_and_newer_releases_are_refused(
    of_file: Place, elsewhere: Place
) -> None:
    file = of_file.directory / "backup.zip"
    of_file.backup(file)
    head = migrate.head().encode()
    newer = changed(file, "manifest.json", lambda text: text.replace(b'"' + head, b'"9' + head))
    assert f"schema 9{migrate.head()}: expected up to {migrate.head()}" in refused(elsewhere, newer)
    newer = changed(
        file, "manifest.json", lambda text: text.replace(b'"version": 1', b'"version": 2')
    )
    assert "format version 2: expected 1" in refused(elsewhere, newer)
    other = changed(file, "manifest.json", lambda text: text.replace(b'"sqlite"', b'"postgresql"'))
    assert "a backup of postgresql cannot be restored into sqlite" in refused(elsewhere, other)


def test_a_backup_is_restored_to_an_empty_destination_only(
    of_file: Place, elsewhere: Place
) -> None:
    file = of_file.directory / "backup.zip"
    of_file.backup(file)
    assert "exists" in refused(of_file, file)
    for name in ("stats.db-wal", "archive/client_stats/x.csv.gz", "spool/x.spool"):
        path = elsewhere.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of another database")
        assert refused(elsewhere, file).startswith(f"{path}: exists")
        path.unlink()
    assert elsewhere.run("db", "restore", file, "--dry-run").exit_code == 0
    assert names_of(elsewhere) == []
    assert elsewhere.run("db", "restore", file).exit_code == 0
    assert {path.stat().st_mode & 0o777 for path in files_of(elsewhere)} == {0o600}


def test_an_interrupted_restore_is_repeated(of_file: Place, elsewhere: Place) -> None:
    """What a killed one leaves has the content of the backup, or a name of its own."""
    file = of_file.directory / "backup.zip"
    of_file.backup(file)
    assert elsewhere.run("db", "restore", file).exit_code == 0
    (elsewhere.directory / "stats.db").rename(elsewhere.directory / "stats.db.restoring")
    assert elsewhere.run("db", "restore", file).exit_code == 0
    assert not list(elsewhere.directory.rglob("*.restoring"))


def test_a_failing_restore_into_postgresql_leaves_it_empty(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for url in postgresql_database(request):
        source = Place(url, tmp_path)
        source.backup(tmp_path / "backup.zip")
        wrong = changed(
            tmp_path / "backup.zip",
            "manifest.json",
            lambda text: text.replace(b'"rows": 1', b'"rows": 2'),
        )
        with restored_place(url, tmp_path / "target") as target:
            assert "damaged: tables/store_state: 1 rows: expected 2" in refused(target, wrong)
            assert "the destination must be empty" in refused(source, tmp_path / "backup.zip")
            with target.engine() as engine, read_snapshot(engine) as connection:
                assert dialects.own_tables(connection) == []


def test_a_missing_archive_file_is_named_and_may_be_left_out(of_file: Place) -> None:
    path = next(of_file.archive.glob("client_stats/*/*"))
    path.unlink()
    done = of_file.run("db", "backup", of_file.directory / "backup.zip")
    assert isinstance(done.exception, BackupError)
    assert str(path) in str(done.exception)
    facts = of_file.backup(of_file.directory / "backup.zip", "--skip-missing")
    assert facts["missing_archive_files"] == [path.relative_to(of_file.archive).as_posix()]


def test_no_archive_file_is_removed_while_a_backup_is_made(of_file: Place) -> None:
    old = of_file.archive / "client_stats" / "2026-01" / "unlisted.csv.gz"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.touch()
    os.utime(old, (0, 0))
    where = ArchiveDirectory(of_file.archive, "csv.gz")
    with of_file.engine() as engine:
        with files.locked(of_file.archive, to_remove=False) as held:
            assert held
            retention.run(engine, Policy(30, 60, 60, 90), NOW.date(), archive_directory=where)
            assert old.exists()
        retention.run(engine, Policy(30, 60, 60, 90), NOW.date(), archive_directory=where)
        assert not old.exists()


def test_a_killed_backup_leaves_nothing_under_the_final_name(
    of_file: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = of_file.directory / "backups"
    directory.mkdir()

    def die(*_: object, **__: object) -> None:
        os._exit(9)  # at the last moment

    monkeypatch.setattr(container.Writer, "finish", die)
    child = os.fork()
    if child == 0:
        of_file.run("db", "backup", directory)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.undo()
    assert not list(directory.glob("*.zip"))
    assert [path.name for path in directory.glob("*.part/*")] == ["backup.zip"]

    facts = of_file.backup(directory)

    assert [str(path) for path in directory.iterdir()] == [facts["file"]]


def test_a_new_name_without_extension_is_a_directory(of_file: Place) -> None:
    """Else the backup of the second day would find a file where its directory is expected."""
    directory = of_file.directory / "backups"
    facts = of_file.backup(directory)
    assert [str(path) for path in directory.iterdir()] == [facts["file"]]
    assert directory.stat().st_mode & 0o777 == 0o700
    done = of_file.run("db", "backup", of_file.directory / "nowhere" / "backups")
    assert (done.exit_code, "no such directory" in str(done.exception)) == (1, True)
    assert not (of_file.directory / "nowhere").exists()


def test_a_backup_never_replaces_a_file(of_file: Place) -> None:
    file = of_file.directory / "backup.zip"
    file.write_text("mine")
    assert "exists" in str(of_file.run("db", "backup", file).exception)
    assert file.read_text() == "mine"


def test_an_older_schema_is_restored_as_it_is(tmp_path: Path, elsewhere: Place) -> None:
    old = Place(f"sqlite:///{tmp_path}/old.db", tmp_path)
    with old.engine() as engine, engines.write_transaction(engine) as connection:
        migrate.create(connection, "0028")
    assert old.backup(tmp_path / "backup.zip")["schema"] == "0028"
    done = elsewhere.run("db", "restore", tmp_path / "backup.zip")
    assert done.exit_code == 0
    assert "schema 0028: run `asu-stats db upgrade`" in done.output
    assert elsewhere.run("db", "upgrade").exit_code == 0
