"""PostgreSQL failover and outages: 503, never 500, and no restart."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from asu_stats.store.database import postgresql
from asu_stats.store.database.engine import read_snapshot
from tests import servers
from tests.builds.support import body
from tests.conftest import postgresql_database
from tests.support import Stats, build, request

_MOST_SECONDS = 20  # that a response may take while the database does not respond
_RECOVERY_SECONDS = 120


def calls(stats: Stats) -> dict[str, Callable[[], int]]:
    """Return a call of each kind that needs the database, by name."""
    numbers = iter(range(1_000_000))

    def post() -> int:
        return stats.post([request(f"hash-{time.monotonic_ns()}"), *build("b")]).status_code

    def ask() -> int:
        # Another window each time: nothing that is remembered.
        url = f"/api/v1/stats/overview?days={next(numbers) % 3000 + 1}"
        return stats.client.get(url).status_code

    def get_build() -> int:
        return stats.client.get(f"/api/v1/build/{next(numbers):064x}").status_code

    def post_build() -> int:
        new = body(profile=f"p{time.monotonic_ns()}")
        return stats.client.post("/api/v1/build", json=new).status_code

    def ready() -> int:
        return stats.client.get("/readyz").status_code

    return {
        "events": post,
        "overview": ask,
        "build": get_build,
        "new build": post_build,
        "readyz": ready,
    }


GOOD = {"events": 200, "overview": 200, "build": 404, "new build": 202, "readyz": 200}


def answers(stats: Stats) -> dict[str, int]:
    """Make each call once, all at the same time."""
    every = calls(stats)
    with ThreadPoolExecutor(len(every)) as pool:
        return dict(zip(every, pool.map(lambda call: call(), every.values()), strict=True))


def wait_until_good(stats: Stats) -> list[dict[str, int]]:
    """Call until all is well; return what was answered before."""
    deadline = time.monotonic() + _RECOVERY_SECONDS
    bad: list[dict[str, int]] = []
    while (found := answers(stats)) != GOOD:
        assert time.monotonic() < deadline, bad[-3:]
        bad.append(found)
        time.sleep(0.2)
    return bad


def only_503(found: list[dict[str, int]]) -> bool:
    return all(
        status in (GOOD[name], 503) for statuses in found for name, status in statuses.items()
    )


@contextmanager
def service(url: str, directory: Path) -> Iterator[Stats]:
    engine = engines.create(url)
    migrate.upgrade(engine)
    engine.dispose()
    with Stats.on(url, directory / "spool", store_directory=directory / "images") as stats:
        stats.now = datetime.now(UTC)
        yield stats


@pytest.fixture
def pair() -> Iterator[tuple[servers.Server, servers.Server]]:
    with servers.pair() as both:
        yield both


def test_an_address_that_moves_to_the_new_primary(
    pair: tuple[servers.Server, servers.Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The address leads to the demoted server for a while, and connections to that stay open."""
    old, new = pair
    with servers.proxy(old.port) as address, service(old.url(address.port), tmp_path) as stats:
        assert answers(stats) == GOOD
        servers.wait_for_standby(old, new)
        new.promote()
        old.demote()
        meanwhile = []
        until = time.monotonic() + 5
        while time.monotonic() < until:
            meanwhile.append(answers(stats))
            time.sleep(0.1)
        assert only_503(meanwhile), meanwhile
        assert meanwhile[-1]["events"] == meanwhile[-1]["new build"] == 503
        address.target = new.port
        assert only_503(wait_until_good(stats))
        assert stats.get("overview", days=30)["totals"]["requests"] >= 2
    assert len(caplog.records) < 100


def test_a_server_that_becomes_read_only(tmp_path: Path) -> None:
    """A primary is fenced off by its settings; open connections stay."""
    with servers.primary() as server, service(server.url(), tmp_path) as stats:
        assert answers(stats) == GOOD
        fence(server, "on")
        found = [answers(stats) for _ in range(5)]
        assert only_503(found), found
        assert found[-1]["events"] == found[-1]["new build"] == 503
        fence(server, "off")
        assert only_503(wait_until_good(stats))


def test_a_url_of_both_servers_leads_to_the_primary(
    pair: tuple[servers.Server, servers.Server], tmp_path: Path
) -> None:
    old, new = pair
    url = f"postgresql://postgres@/postgres?host=127.0.0.1:{old.port}&host=127.0.0.1:{new.port}"
    with service(url, tmp_path) as stats:
        assert answers(stats) == GOOD
        servers.wait_for_standby(old, new)
        new.promote()
        old.demote()
        assert only_503(wait_until_good(stats))


def test_a_request_waits_ten_seconds_at_most_for_a_host_that_does_not_respond() -> None:
    """Tests with such hosts have shorter limits."""
    assert postgresql._SILENT_SECONDS + int(postgresql._CONNECT["connect_timeout"]) <= 10


@pytest.mark.parametrize("how", ["the network stalls", "the server hangs"])
def test_a_host_that_does_not_respond(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        servers.primary() as server,
        servers.proxy(server.port) as address,
        service(servers.impatient(server.url(address.port), monkeypatch), tmp_path) as stats,
    ):
        assert answers(stats) == GOOD
        with stalled(how, server, address):
            for most in (_MOST_SECONDS, _MOST_SECONDS, 10, 10):
                begin = time.monotonic()
                found = answers(stats)
                assert set(found.values()) == {503}, found
                assert time.monotonic() - begin < most
        assert only_503(wait_until_good(stats))


def test_a_long_statement_of_a_server_that_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.primary() as server:
        engine = engines.create(servers.impatient(server.url(), monkeypatch))
        with read_snapshot(engine) as connection:
            connection.execute(text("SELECT pg_sleep(4)"))
        engine.dispose()


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    for url in postgresql_database(request):
        engine = engines.create(url)
        yield engine
        engine.dispose()


def test_connections_that_are_distrusted_again_meanwhile(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other threads find out that the server is lost while this one connects again."""
    monkeypatch.setattr(postgresql._Gate, "distrusted", lambda _: True)
    with pytest.raises(StoreUnavailableError, match="connection was lost"), read_snapshot(engine):
        pass
    monkeypatch.undo()
    with read_snapshot(engine):
        pass


@contextmanager
def stalled(how: str, server: servers.Server, address: servers.Proxy) -> Iterator[None]:
    if how == "the server hangs":
        with server.frozen():
            yield
        return
    address.stall()
    try:
        yield
    finally:
        address.go_on()


def fence(server: servers.Server, value: str) -> None:
    servers.run(server, f"ALTER SYSTEM SET default_transaction_read_only = {value}", write=True)
    servers.run(server, "SELECT pg_reload_conf()", write=True)
    while servers.run(server, "SHOW default_transaction_read_only") != value:
        time.sleep(0.05)
