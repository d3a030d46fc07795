"""`/healthz` and `/readyz`: ready means that the database can be read and written."""

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from asu_stats.api.warm_up import WarmUp
from asu_stats.exceptions import SchemaError, StoreUnavailableError
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from tests.support import Stats


def close_for_writing(stats: Stats) -> None:
    """Let nobody write any more, though all can read."""
    path = Path(stats.engine.url.database or "")
    stats.engine.dispose()
    content = bytearray(path.read_bytes())
    content[18] = 3  # "file format write version": newer than any that there is
    path.write_bytes(content)


def test_a_database_that_cannot_be_written_is_not_ready(
    sqlite_stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    close_for_writing(sqlite_stats)
    answer = sqlite_stats.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the database is not writable"
    reason = "database: attempt to write a readonly database"
    assert f"not ready: the database is not writable: {reason}" in caplog.text
    assert int(answer.headers["retry-after"]) > 0
    assert sqlite_stats.get("overview")["totals"]["requests"] == 0


def test_it_is_attempted_anew_after_a_while(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sqlite_stats.client.get("/readyz").status_code == 200
    close_for_writing(sqlite_stats)
    assert sqlite_stats.client.get("/readyz").status_code == 200  # the attempt was just now
    later = time.monotonic() + 11
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert sqlite_stats.client.get("/readyz").status_code == 503


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_so_is_one_in_postgresql(engine: Engine) -> None:
    migrate.check_writable(engine)
    with engines.write_transaction(engine) as connection:
        name = engine.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    engine.dispose()
    with pytest.raises(StoreUnavailableError, match="read-only transaction"):
        migrate.check_writable(engine)


def test_what_the_system_says_of_files_is_kept_from_clients(
    sqlite_stats: Stats, tmp_path: Path
) -> None:
    lock = tmp_path / "stats.db.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    answer = sqlite_stats.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the database is not writable"


def test_the_database_of_another_program_is_refused(stats: Stats) -> None:
    with engines.write_transaction(stats.engine) as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    for step in (migrate.check, migrate.upgrade, migrate.current):
        with pytest.raises(SchemaError, match="not an asu-stats database"):
            step(stats.engine)
    answer = stats.client.get("/readyz")
    assert (answer.status_code, "not an asu-stats" in answer.json()["detail"]) == (503, True)


def test_readiness_waits_for_the_warm_up(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[bool] = []
    monkeypatch.setattr(WarmUp, "wait", lambda _: waited.append(True))
    assert sqlite_stats.client.get("/healthz").status_code == 200
    assert waited == []
    assert sqlite_stats.client.get("/readyz").status_code == 200
    assert waited == [True]


def test_a_warm_up_is_waited_for_until_its_end_or_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release = threading.Event(), threading.Event()

    def compute() -> None:
        begun.set()
        release.wait(60)

    warm_up = WarmUp(compute)
    warm_up.wait()  # without a start there is nothing to wait for
    monkeypatch.setattr("asu_stats.api.warm_up.MAX_SECONDS", 30.0)
    with warm_up:
        begun.wait(60)
        waiting = threading.Thread(target=warm_up.wait)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        release.set()
        waiting.join(60)
        assert not waiting.is_alive()
    release.clear()
    monkeypatch.setattr("asu_stats.api.warm_up.MAX_SECONDS", 0.05)
    with WarmUp(compute) as slow:
        slow.wait()
    assert not release.is_set(), "the end of the limit ends the wait"
    release.set()
