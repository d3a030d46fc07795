"""A server that follows a Go server's file: errors of the file do not stop it."""

import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.server import started
from asu_stats.service import follower
from asu_stats.service.follower import JOB, Follower
from asu_stats.settings import Settings
from asu_stats.store.database import leases
from asu_stats.times import utc_now
from tests.client import Client
from tests.conftest import sqlite_database
from tests.importers.go_history import SCHEMA, plain
from tests.support import Stats

COLUMNS = "timestamp, event_type, version, target, profile"
INSERT = f"INSERT INTO build_stats ({COLUMNS}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608


def add(path: Path, count: int, *, ago: int = 60, kind: str = "request") -> None:
    """Add rows to the file, as the Go server would; create the file if there is none."""
    is_new = not path.exists()
    with closing(sqlite3.connect(path)) as connection, connection:
        if is_new:
            connection.executescript(SCHEMA)
        row = (plain(utc_now() - timedelta(seconds=ago)), kind, "24.10.2", "x86/64", "generic")
        connection.executemany(INSERT, [row] * count)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "builder.db"


@pytest.fixture
def server(sqlite_stats: Stats, file: Path) -> Follower:
    """A server that reads when it is told to."""
    sqlite_stats.now = utc_now()
    return of(sqlite_stats, file)


def of(stats: Stats, file: Path) -> Follower:
    return Follower(stats.settings.model_copy(update={"follow_go_builder": file}), stats.engine)


def requests(stats: Stats) -> int:
    found = stats.client.get("/api/v1/stats/overview?days=2").json()["totals"]["requests"]
    return int(found)


def test_rows_come_in_as_the_file_grows(stats: Stats, file: Path) -> None:
    stats.now = utc_now()
    server = of(stats, file)
    add(file, 3)
    server.read()
    server.read()
    assert requests(stats) == 3
    add(file, 2)
    server.read()
    assert requests(stats) == 5
    assert server.problems() == []


def test_followed_rows_are_not_live_and_not_written_to_build_stats(
    request: pytest.FixtureRequest, tmp_path: Path, file: Path
) -> None:
    url = sqlite_database(request)
    with Stats.on(url, tmp_path / "spool", legacy_build_stats=True) as stats:
        stats.now = utc_now()
        add(file, 3)
        of(stats, file).read()

        assert requests(stats) == 3
        metrics = stats.client.get("/metrics").text
        assert 'asu_requests_total{outcome="queued"} 0.0' in metrics
        with stats.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM build_stats").scalar() == 0


def test_a_file_that_is_replaced_is_read_from_its_start(
    sqlite_stats: Stats, server: Follower, file: Path
) -> None:
    add(file, 3, ago=600)
    server.read()
    file.unlink()
    server.read()
    assert server.problems() == [f"{JOB}: builder.db: cannot be read; see the log"]
    add(file, 4, ago=90)
    server.read()

    assert server.problems() == []
    assert requests(sqlite_stats) == 7


def test_a_file_that_is_missing_locked_or_damaged_is_said_once(
    sqlite_stats: Stats,
    server: Follower,
    file: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asu_stats.importers.go_file._BUSY_SECONDS", 0.01)
    caplog.set_level("INFO")
    for _ in range(3):
        server.read()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(file) in caplog.text
    add(file, 2)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        server.read()
        assert server.problems()
        other.execute("ROLLBACK")
    whole = file.read_bytes()
    file.write_bytes(b"nothing of SQLite")
    server.read()
    assert server.problems()
    file.write_bytes(whole)
    server.read()
    assert server.problems() == []
    assert requests(sqlite_stats) == 2
    ours = [record for record in caplog.records if record.name.startswith("asu_stats")]
    assert [record.levelname for record in ours] == ["WARNING", "INFO"]


def test_history_that_was_imported_before_is_refused_for_good(
    sqlite_stats: Stats, server: Follower, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(file, 30, ago=600)
    server.read()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM build_stats WHERE id <= 5")
    again = of(sqlite_stats, file)
    leases.release(server._lease, "ok")  # type: ignore[arg-type]
    again.read()
    again.read()

    assert requests(sqlite_stats) == 30
    assert again.problems()
    assert "imported before under another source" in caplog.text


def test_one_of_several_servers_follows_and_another_takes_over(stats: Stats, file: Path) -> None:
    stats.now = utc_now()
    server = of(stats, file)
    other = of(stats, file)
    add(file, 3)
    server.read()
    add(file, 2)
    other.read()
    assert requests(stats) == 3
    with server:
        pass  # it ends, and gives its lease back
    other.read()
    assert requests(stats) == 5


@pytest.mark.parametrize("fault", ["store", "lease"])
def test_rows_that_could_not_be_stored_are_read_again(
    sqlite_stats: Stats,
    server: Follower,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    add(file, 3)
    server.read()
    add(file, 2)
    with monkeypatch.context() as broken:
        if fault == "lease":
            assert server._lease is not None
            server._lease.stop()
            server.read()
        else:

            def apply_batch(*_: Any) -> None:
                raise StoreUnavailableError("database: unreachable")

            broken.setattr(follower, "apply_batch", apply_batch)
            broken.setattr(follower, "_MAX_BUSY_SECONDS", -1)
            with pytest.raises(StoreUnavailableError):
                server.read()
    assert requests(sqlite_stats) == 3
    server._renew_at = 0.0
    server.read()
    assert requests(sqlite_stats) == 5


def test_the_server_follows_and_its_readiness_names_the_file(tmp_path: Path, file: Path) -> None:
    """The whole server, with its thread."""
    url = f"sqlite:///{tmp_path / 'stats.db'}"
    settings = Settings(database_url=url, builder="none", follow_go_builder=file)
    with started(settings) as app, Client(app) as client:

        def problems() -> list[str]:
            return list(client.get("/readyz").json()["problems"])

        _until(lambda: problems() == [f"{JOB}: builder.db: cannot be read; see the log"])
        add(file, 3)
        _until(lambda: problems() == [])
        overview = client.get("/api/v1/stats/overview?days=2").json()
        assert overview["totals"]["requests"] == 3


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
