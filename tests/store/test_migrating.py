"""Migrations: no time limit, one process at a time, progress in the log."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from asu_stats.store.database import locks
from asu_stats.store.database.engine import write_transaction
from tests import processes
from tests.conftest import administrate

_HOLD_SECONDS = 7.0  # longer than a writer waits


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server = request.getfixturevalue("postgresql_server")
    name = f"empty_{time.monotonic_ns()}"
    administrate(server, f"CREATE DATABASE {name}")
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    administrate(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def writing(engine: Engine) -> Iterator[None]:
    """Write for some seconds, as a process that migrates does, while the block runs."""
    began = threading.Event()

    def write() -> None:
        with write_transaction(engine) as connection:
            locks.lock_writers(connection)
            began.set()
            time.sleep(_HOLD_SECONDS)

    thread = threading.Thread(target=write)
    thread.start()
    began.wait()
    yield
    thread.join()


def test_it_waits_for_others_as_long_as_it_takes(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    other, engine = engines.create(empty_url), engines.create(empty_url)
    begin = time.monotonic()
    with caplog.at_level(logging.INFO, "asu_stats"), writing(other):
        migrate.upgrade(engine)
    assert time.monotonic() - begin > _HOLD_SECONDS - 1
    assert migrate.check(engine) == migrate.head()
    waited = [record for record in caplog.messages if "waiting for another process" in record]
    assert len(waited) == 1
    engine.dispose()
    other.dispose()


def test_several_servers_that_start_at_once(empty_url: str, tmp_path: Path) -> None:
    """All find a database without schema; one makes it, all are ready."""
    commands: list[tuple[str, ...]]
    if empty_url.startswith("sqlite"):
        ports = [processes.free_port() for _ in range(4)]
        commands = [("serve", "--port", str(port)) for port in ports]
    else:
        ports, commands = [], [("db", "upgrade")] * 4
    started = [processes.start(tmp_path, empty_url, *command) for command in commands]
    try:
        for port in ports:
            processes.wait_ready(port, 120)
        if not ports:
            assert [process.wait(120) for process in started] == [0] * 4
    finally:
        for process in started:
            processes.kill(process)
    log = (tmp_path / "log.txt").read_text()
    assert "locked" not in log
    assert "rror" not in log


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
def test_no_time_limit_on_postgresql(postgresql_server: str, setting: str) -> None:
    """Checked by the server itself at every statement that changes the schema."""
    name = f"unlimited_{time.monotonic_ns()}"
    administrate(postgresql_server, f"CREATE DATABASE {name}")
    url = make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    for statement in (
        "CREATE FUNCTION limited() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF current_setting('{setting}') <> '0' THEN RAISE EXCEPTION 'limited'; END IF; END $$",
        "CREATE EVENT TRIGGER limited ON ddl_command_end EXECUTE FUNCTION limited()",
    ):
        administrate(url, statement)
    engine = engines.create(url)
    migrate.upgrade(engine)
    assert migrate.check(engine) == migrate.head()
    with write_transaction(engine) as connection:  # others have their limits as before
        shown = connection.execute(text("SHOW statement_timeout")).scalar_one()
    assert shown == "1min"
    engine.dispose()
    administrate(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


def test_the_log_says_how_far_it_is(
    empty_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_PROGRESS_SECONDS", 0.001)
    engine = engines.create(empty_url)
    with caplog.at_level(logging.INFO, "asu_stats"):
        migrate.upgrade(engine)
    lines = [line for line in caplog.messages if line.startswith("schema: ")]
    assert any(f"still migrating from=none to={migrate.head()}" in line for line in lines)
    assert lines[-1].startswith(f"schema: migrated from=none to={migrate.head()} steps_done=")
    caplog.clear()
    migrate.upgrade(engine)
    assert caplog.messages == []
    engine.dispose()
