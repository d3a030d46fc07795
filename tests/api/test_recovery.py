"""Recovery from outages without a restart, with a short log."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from asu_stats.cloudevents import from_cloudevent
from asu_stats.exceptions import ChangedSchemaError, StoreUnavailableError
from asu_stats.store.database import engine as engines
from asu_stats.store.database import leases, schema
from tests.conftest import administrate
from tests.recorder.test_recorder import FAILING, statements, until
from tests.support import Stats, build, request

Fault = Callable[[Stats], Iterator[None]]


def unreachable(stats: Stats) -> Iterator[None]:
    """Let nobody write, on PostgreSQL nobody connect."""
    url = stats.engine.url
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        stats.engine.dispose()
        before = path.read_bytes()
        path.write_bytes(before[:18] + b"\3" + before[19:])  # the format of a later SQLite
        yield
        stats.engine.dispose()
        path.write_bytes(path.read_bytes()[:18] + before[18:19] + path.read_bytes()[19:])
        return
    server = make_url(stats.settings.database_url).set(database="postgres")
    address = server.render_as_string(hide_password=False)
    administrate(address, f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test%'"
    administrate(address, others)
    yield
    administrate(address, f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true")


def failing(stats: Stats) -> Iterator[None]:
    """Let one table refuse every row."""
    create, _, drop = FAILING[stats.engine.dialect.name]
    statements(stats, create.format(when=""))
    yield
    statements(stats, *drop)


def migrated(stats: Stats) -> Iterator[None]:
    """Give the database the schema of a later release, as its `db upgrade` does."""
    change = "UPDATE alembic_version SET version_num = '{}'"
    statements(stats, change.format("9999"))
    yield
    statements(stats, change.format(schema.REVISION))


def ready(stats: Stats) -> bool:
    return stats.client.get("/readyz").status_code == 200


@pytest.mark.parametrize("fault", [unreachable, failing, migrated])
def test_readiness_recovers_without_an_event(
    stats: Stats, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    stats.record(request("before"))
    caplog.set_level("INFO")
    with contextmanager(fault)(stats):
        assert stats.post(request("refused")).status_code == 503
        for _ in range(40):
            answer = stats.client.get("/readyz")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    until(lambda: ready(stats))
    assert "asu_stats_database_up 1.0" in stats.client.get("/metrics").text
    assert stats.client.get("/").status_code == 200
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("asu_")]
    assert len(lines) <= 6, lines
    assert any("recovered count=" in line for line in lines), lines
    assert stats.record(request("after")) == {"accepted": 1, "duplicates": 0}
    assert stats.get("overview")["totals"]["requests"] == 2  # a probe counts nowhere


def test_a_server_of_an_earlier_release_changes_no_figure(stats: Stats) -> None:
    stats.record(request("before"))
    with contextmanager(migrated)(stats):
        refused = stats.post([request("after"), *build("after")])
        assert refused.status_code == 503
        assert refused.json()["detail"].startswith("the database was upgraded: this server needs")
        stats.recorder.record([from_cloudevent(request("own"), now=None)])
        until(lambda: stats.recorder.spooled == 1)
        with pytest.raises(ChangedSchemaError, match=r"changed to 9999.* needs 00\d\d"):
            leases.acquire(stats.engine, "retention", "this process", 60, due=False)
    until(lambda: stats.get("overview")["totals"]["requests"] == 2)


def test_a_database_that_only_reads_is_read_and_probed(
    stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    with contextmanager(unreachable)(stats):
        answers = {stats.client.get("/readyz").status_code for _ in range(40)}
        assert answers == {503}
    until(lambda: ready(stats))
    assert len([r for r in caplog.records if "not ready" in r.getMessage()]) <= 3


def test_a_file_that_was_locked_for_too_long(sqlite_stats: Stats, tmp_path: Path) -> None:
    database = sqlite_stats.engine.url.database
    with Stats.on(f"sqlite:///{database}?timeout=0.2", tmp_path / "another spool") as stats:
        file = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert stats.post(request("refused")).status_code == 503
        assert not ready(stats)
        os.close(file)
        until(lambda: ready(stats))


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_nothing_is_written_to_a_file_that_was_moved(sqlite_stats: Stats, suffix: str) -> None:
    stats, path = sqlite_stats, Path(f"{sqlite_stats.engine.url.database}{suffix}")
    stats.record(request("before"))
    path.rename(path.with_suffix(".moved"))
    assert stats.post(request("refused")).status_code == 503
    assert stats.client.get("/readyz").status_code == 503
    with stats.engine.pool.connect(), pytest.raises(StoreUnavailableError, match=path.name):
        stats.engine.pool.connect()  # which would create an empty file
    assert not path.exists()
    path.write_bytes(b"")  # nor is another file at this path the database
    assert stats.post(request("refused")).status_code == 503
    path.with_suffix(".moved").rename(path)
    until(lambda: ready(stats))
    stats.record(request("after"))
    assert stats.get("overview")["totals"]["requests"] == 2


def test_a_probe_leaves_no_trace(stats: Stats) -> None:
    with contextmanager(unreachable)(stats):
        stats.post(request("refused"))
    until(lambda: ready(stats))
    with engines.read_snapshot(stats.engine) as connection:
        for table in ("client_stats", "build_metrics", "error_stats", "request_metadata"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0  # noqa: S608
    stats.record(request("h"), build("h", "failure"))
    assert stats.get("errors")["total_errors"] == 1


def test_an_event_that_the_database_refuses_is_named(stats: Stats) -> None:
    create, when, _ = FAILING[stats.engine.dialect.name]
    statements(stats, create.format(when=when))
    batch = [request("a"), request("b", client="poison"), request("c")]
    answer = stats.post(batch)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"loc": ["body", 1], "msg": "the database rejects it"}]
    assert ready(stats)
    assert stats.get("overview")["totals"]["requests"] == 0
    assert stats.record(batch[0], batch[2])["accepted"] == 2
    alone = stats.post(batch[1])
    assert (alone.status_code, alone.json()["errors"][0]["loc"]) == (422, ["body"])
