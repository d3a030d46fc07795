"""Reports from a streaming replica: equal figures, as of when, its lag, and what replaces it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from httpx2 import Response
from prometheus_client.parser import text_string_to_metric_families as families
from typer.testing import CliRunner

from asu_stats.cli import stats as commands
from asu_stats.exceptions import InvalidSettingError
from asu_stats.service.database import replica_of
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from asu_stats.store.database import replica as replicas
from asu_stats.store.database.reading import Reading
from tests import servers
from tests.processes import free_port
from tests.servers import Server
from tests.support import Stats, build, request

_WAIT_SECONDS: Final = 60
AS_OF: Final = "X-Data-As-Of"
OVERVIEW: Final = "/api/v1/stats/overview?days=30"
# A report of each kind, a page, a badge, an embedded chart and an endpoint of an older server.
PATHS: Final = (
    OVERVIEW,
    "/api/v1/stats/versions",
    "/api/v1/stats/versions?format=csv",
    "/api/v1/stats/timeseries?interval=hour&days=2",
    "/api/v1/stats/now",
    "/api/v1/stats/insights/failures",
    "/",
    "/badge/requests.svg",
    "/embed/requests",
    "/api/v1/stats/summary",
)


@pytest.fixture(scope="module")
def fast() -> Iterator[None]:
    """Check the servers more often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicas, "_SECONDS", 0.1)
        patch.setattr(replicas, "_CATCH_UP_SECONDS", 0.5)
        yield


@pytest.fixture(scope="module")
def pair(fast: None) -> Iterator[tuple[Server, Server]]:
    del fast
    with servers.pair() as both:
        engine = engines.create(both[0].url())
        migrate.upgrade(engine)
        engine.dispose()
        servers.wait_for_standby(*both)
        yield both


@contextmanager
def service(primary: str, replica: str, directory: Path, **settings: Any) -> Iterator[Stats]:
    with Stats.on(primary, directory / "spool", read_database_url=replica, **settings) as stats:
        stats.now = datetime.now(UTC)
        yield stats


@pytest.fixture
def stats(pair: tuple[Server, Server], tmp_path: Path) -> Iterator[Stats]:
    primary, standby = pair
    settings = {"read_max_lag_seconds": 2, "legacy_shape": "upstream"}
    with service(primary.url(), standby.url(), tmp_path, **settings) as found:
        yield found


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ready(stats: Stats) -> dict[str, Any]:
    found = stats.client.get("/readyz")
    assert found.status_code == 200
    return dict(found.json())


def is_in(status: str, stats: Stats) -> Callable[[], bool]:
    return lambda: ready(stats)["replica"]["status"] == status


def get(stats: Stats, path: str = OVERVIEW, **headers: str) -> Response:
    return stats.client.get(path, headers=headers)


def current(stats: Stats, path: str = OVERVIEW) -> Response:
    found = get(stats, path, **{"Cache-Control": "no-cache"})
    assert AS_OF not in found.headers
    return found


def requests(found: Response) -> int:
    return int(found.json()["totals"]["requests"])


def as_of(found: Response) -> datetime:
    return datetime.fromisoformat(found.headers[AS_OF])


def record(stats: Stats, number: int = 1) -> None:
    name = f"hash-{time.monotonic_ns()}"
    stats.record([request(f"{name}-{n}", stats.now) for n in range(number)])


def metrics(stats: Stats) -> dict[str, float]:
    text = stats.client.get("/metrics").text
    return {s.name: s.value for f in families(text) for s in f.samples if "replica" in s.name}


def words(found: Response) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", found.text).split())


@contextmanager
def paused(standby: Server) -> Iterator[None]:
    servers.run(standby, "SELECT pg_wal_replay_pause()")
    while servers.run(standby, "SELECT pg_get_wal_replay_pause_state()") != "paused":
        time.sleep(0.02)
    try:
        yield
    finally:
        servers.run(standby, "SELECT pg_wal_replay_resume()")


def from_replica(stats: Stats, path: str) -> Response:
    """Return a response of the replica, which a busy machine may leave behind for a while."""
    found: list[Response] = []

    def is_of_replica() -> bool:
        found.append(get(stats, path))
        return AS_OF in found[-1].headers

    until(is_of_replica)
    return found[-1]


def test_equal_figures_after_replay(stats: Stats, pair: tuple[Server, Server]) -> None:
    stats.record([request("a", stats.now), *build("a", end=stats.now)], build("b", "failure"))
    servers.wait_for_standby(*pair)
    for path in PATHS:
        found, expected = from_replica(stats, path), current(stats, path)
        assert found.status_code == 200, path
        assert found.headers.get("ETag") == expected.headers.get("ETag")
        assert found.text == expected.text, path


def test_as_of_when_the_replica_has_a_write(stats: Stats) -> None:
    """A client that must read its own write waits until the header has the time after it."""
    for _ in range(5):
        before = requests(current(stats))
        record(stats)
        written = datetime.now(UTC)
        assert requests(current(stats)) == before + 1
        until(lambda written=written: as_of(get(stats)) >= written)  # type: ignore[misc]
        assert requests(get(stats)) == before + 1


def test_readers_while_others_write(stats: Stats) -> None:
    """All that was acknowledged before `X-Data-As-Of` is there, and an ETag has one response."""
    start, acknowledged = requests(current(stats)), [(datetime.now(UTC), 0)]

    def write() -> None:
        for number in range(1, 41):
            record(stats)
            acknowledged.append((datetime.now(UTC), number))

    bodies: dict[str, str] = {}
    fresh: list[tuple[datetime, int]] = []
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            for ask in (get, current):
                found = ask(stats)
                assert bodies.setdefault(found.headers["ETag"], found.text) == found.text
                if AS_OF in found.headers:
                    fresh.append((as_of(found), requests(found) - start))
        writing.result()
    assert len(fresh) > 10
    for moment, count in fresh:
        assert count >= max((n for at, n in acknowledged if at <= moment), default=0)


def test_an_idle_primary_is_no_lag(stats: Stats, pair: tuple[Server, Server]) -> None:
    servers.wait_for_standby(*pair)
    time.sleep(2.5)  # more than the limit
    found = ready(stats)["replica"]
    assert (found["status"], found["lag_seconds"], found["lag_bytes"]) == ("in use", 0, 0)
    assert datetime.now(UTC) - as_of(get(stats)) < timedelta(seconds=2)


def test_a_replica_that_falls_behind(
    stats: Stats, pair: tuple[Server, Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "asu_stats.store.database.replica")
    servers.wait_for_standby(*pair)
    until(is_in("in use", stats))
    old, paused_at = get(stats), datetime.now(UTC)
    with paused(pair[1]):
        record(stats, 3)
        until(lambda: ready(stats)["replica"]["lag_bytes"])
        new, behind = current(stats), get(stats)
        assert requests(new) == requests(behind) + 3
        assert as_of(behind) <= paused_at + timedelta(seconds=1)
        assert behind.headers["ETag"] == old.headers["ETag"] != new.headers["ETag"]
        assert get(stats, **{"If-None-Match": old.headers["ETag"]}).status_code == 304
        assert get(stats, **{"If-None-Match": new.headers["ETag"]}).json() == old.json()
        assert metrics(stats)["asu_stats_replica_lag_seconds"] > 0
        assert metrics(stats)["asu_stats_replica_lag_bytes"] > 0
        until(is_in("behind", stats))
        assert ready(stats)["status"] == "degraded"
        assert "replica: behind" in ready(stats)["problems"][0]
        assert metrics(stats)["asu_stats_replica_used"] == 0
        late = get(stats)
        assert AS_OF not in late.headers
        assert (late.json(), late.headers["ETag"]) == (new.json(), new.headers["ETag"])
    until(is_in("in use", stats))
    assert ready(stats)["problems"] == []
    assert metrics(stats)["asu_stats_replica_used"] == 1
    servers.wait_for_standby(*pair)
    assert get(stats).json() == new.json()
    lines = [each.getMessage() for each in caplog.records if "replica" in each.getMessage()]
    assert len(lines) == 2, lines  # behind, recovered


def test_a_replica_that_hangs(
    stats: Stats, pair: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "_SILENT_SECONDS", 1.0)
    until(is_in("in use", stats))
    with pair[1].frozen():
        until(is_in("unreachable", stats))
        begin = time.monotonic()
        for path in PATHS:
            assert get(stats, path).status_code == 200
        assert time.monotonic() - begin < 5
    until(is_in("in use", stats))


def test_round_trips_of_a_report(
    pair: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading from the replica takes no more: how far it is, is read with the report."""
    primary, standby = pair
    monkeypatch.setattr(replicas, "_SECONDS", 3600)
    with (
        servers.proxy(primary.port) as near,
        servers.proxy(standby.port) as far,
        service(primary.url(near.port), standby.url(far.port), tmp_path) as stats,
    ):
        for path in (OVERVIEW, OVERVIEW, "/api/v1/stats/now", "/"):
            for ask in (current, get):
                ask(stats, path)  # connects, and remembers what did not change
            record(stats)
            servers.wait_for_standby(*pair)
            taken = []
            for ask in (current, get):
                before = near.round_trips, far.round_trips
                assert (AS_OF in ask(stats, path).headers) == (ask is get)
                taken.append((near.round_trips - before[0], far.round_trips - before[1]))
            assert taken[0][1] == taken[1][0] == 0, path
            assert 0 < taken[1][1] <= taken[0][0], path


def test_a_conflict_with_recovery_is_repeated_on_the_primary(
    stats: Stats, pair: tuple[Server, Server]
) -> None:
    primary, standby = pair
    servers.run(standby, "ALTER SYSTEM SET max_standby_streaming_delay = '50ms'", write=True)
    servers.run(standby, "SELECT pg_reload_conf()")
    servers.run(primary, "CREATE TABLE cancels (id int)")
    servers.wait_for_standby(primary, standby)
    calls = []

    def report(connection: Any) -> int:
        calls.append(connection.engine.url.port)
        connection.exec_driver_sql("SELECT count(*) FROM cancels")
        if len(calls) == 1:
            servers.run(primary, "DROP TABLE cancels; CREATE TABLE cancels (id int)")
        return len(connection.exec_driver_sql("SELECT pg_sleep(1)").fetchall())

    with replica_of(stats.settings, stats.engine) as replica:
        assert replica
        assert Reading(stats.engine, replica).run(report) == 1
        assert calls == [standby.port, primary.port]
        assert (replica.conflicts, replica.state.status) == (1, "in use")


def test_figures_in_a_terminal(
    pair: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, standby = pair
    monkeypatch.setenv("ASU_STATS_DATABASE_URL", primary.url())
    monkeypatch.setenv("ASU_STATS_READ_DATABASE_URL", standby.url())
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, bool]:
        found = CliRunner().invoke(commands.stats, ["overview", "--json", *arguments])
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout)["totals"]["requests"], "as of 20" in found.stderr

    servers.wait_for_standby(*pair)
    count, _ = run("--database", primary.url())
    assert run("--database", primary.url()) == (count, False)
    assert run() == (count, True)
    monkeypatch.setenv("ASU_STATS_DATABASE_URL", primary.url(free_port()))
    assert run() == (count, True)
    monkeypatch.setenv("ASU_STATS_DATABASE_URL", primary.url())
    monkeypatch.setenv("ASU_STATS_READ_DATABASE_URL", primary.url(free_port()))
    assert run() == (count, False)


def test_servers_that_are_gone(stats: Stats, pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    record(stats)
    servers.wait_for_standby(*pair)
    expected = current(stats).json()
    standby.stop("immediate")
    for path in PATHS:
        found = get(stats, path)
        assert (found.status_code, found.headers.get(AS_OF)) == (200, None), path
    assert ready(stats)["replica"]["status"] == "unreachable"
    assert metrics(stats)["asu_stats_replica_up"] == 0
    standby.start()
    until(is_in("in use", stats))
    assert AS_OF in get(stats).headers
    primary.stop("immediate")
    gone_at = datetime.now(UTC)
    until(lambda: stats.client.get("/readyz").status_code == 503)
    for path in PATHS:
        found = get(stats, path)
        assert found.status_code == 200, path
        assert as_of(found) <= gone_at
    assert get(stats).json() == expected
    assert get(stats, **{"Cache-Control": "no-cache"}).json() == expected
    until(lambda: "the primary is unreachable" in words(get(stats, "/")))
    assert stats.post([request("lost", stats.now)]).status_code == 503
    primary.start()
    until(lambda: stats.client.get("/readyz").status_code == 200)
    record(stats)


def test_a_replica_that_can_not_be_used_is_refused(
    pair: tuple[Server, Server], tmp_path: Path
) -> None:
    def refused(primary: str, replica: str, reason: str) -> None:
        with (
            pytest.raises(InvalidSettingError, match=reason),
            service(primary, replica, tmp_path),
        ):
            pass

    primary, standby = pair
    sqlite = f"sqlite:///{tmp_path / 'a.db'}"
    refused(sqlite, standby.url(), "read_database_url: only for PostgreSQL")
    refused(primary.url(), sqlite, "SQLite has no replicas")
    with servers.primary() as other:
        engine = engines.create(other.url())
        migrate.upgrade(engine)
        engine.dispose()
        refused(primary.url(), other.url(), "database of another cluster")
    upgrade = "UPDATE alembic_version SET version_num = '{}'"
    servers.run(primary, upgrade.format("0035"))
    servers.wait_for_standby(primary, standby)
    with paused(standby):
        servers.run(primary, upgrade.format(migrate.head()))
        refused(primary.url(), standby.url(), "read_database_url: database has schema 0035")
    servers.wait_for_standby(primary, standby)
    with service(primary.url(), primary.url(), tmp_path) as stats:
        assert ready(stats)["replica"]["status"] == "primary"
        assert AS_OF not in get(stats).headers


def test_promotion_of_the_standby(tmp_path: Path, fast: None) -> None:
    """What it counts from then on is not that of the primary; with both in a URL, it is."""
    del fast
    with servers.pair() as (primary, standby):
        engine = engines.create(primary.url())
        migrate.upgrade(engine)
        engine.dispose()
        servers.wait_for_standby(primary, standby)
        both = (
            "postgresql://postgres@/postgres"
            f"?host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}"
        )
        with service(both, standby.url(), tmp_path) as stats:
            record(stats)
            standby.promote()
            servers.run(standby, "UPDATE store_state SET changes = changes + 1")
            for _ in range(20):
                assert AS_OF not in get(stats).headers
            until(is_in("unusable", stats))
            primary.stop()
            until(lambda: stats.client.get("/readyz").status_code == 200)
            until(is_in("primary", stats))
            record(stats)
            assert requests(get(stats)) == 2
        primary.start()
        with (
            pytest.raises(InvalidSettingError, match="not a standby"),
            service(primary.url(), standby.url(), tmp_path),
        ):
            pass
