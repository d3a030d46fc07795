"""PgBouncer with the configuration of its package."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot, write_transaction
from tests import servers
from tests.builds.support import body
from tests.support import Stats, build, request


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.primary() as made:
        yield made


@pytest.fixture(params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest, server: servers.Server) -> Iterator[str]:
    with servers.pgbouncer(server, request.param) as url:
        yield url


def upgraded(url: str) -> str:
    engine = engines.create(url)
    migrate.upgrade(engine)
    engine.dispose()
    return url


def test_a_service_works(pooler: str, tmp_path: Path) -> None:
    with Stats.on(upgraded(pooler), tmp_path / "spool", store_directory=tmp_path / "i") as stats:
        stats.clear()

        def one(number: int) -> list[int]:
            events = [request(f"h{number}"), *build(f"h{number}")]
            new = body(profile=f"p{number}")
            return [
                stats.post(events).status_code,
                stats.client.post("/api/v1/build", json=new).status_code,
                stats.client.get(f"/api/v1/stats/overview?days={number + 1}").status_code,
                stats.client.get("/readyz").status_code,
            ]

        # More than the times after which a driver prepares a statement, on several connections.
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(one, range(80)))
        assert found == [[200, 202, 200, 200]] * 80
        assert stats.get("overview", days=1)["totals"]["successful_builds"] == 80


@pytest.mark.parametrize("write", [False, True])
def test_the_time_limits_are_in_effect(pooler: str, write: bool) -> None:
    engine = engines.create(f"{pooler}?options=-cstatement_timeout%3D300")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: limit(engine, write=write), range(8)))
    assert found == [("300ms", "5s", "UTC")] * 8
    with pytest.raises(StoreUnavailableError, match="statement timeout"):
        sleep(engine, write=write)
    engine.dispose()


def limit(engine: Engine, *, write: bool) -> tuple[str, ...]:
    with write_transaction(engine) if write else read_snapshot(engine) as connection:
        shown = [connection.execute(text(f"SHOW {name}")).scalar_one() for name in NAMES]
    return tuple(shown)


NAMES = ("statement_timeout", "lock_timeout", "timezone")


def sleep(engine: Engine, *, write: bool) -> None:
    with write_transaction(engine) if write else read_snapshot(engine) as connection:
        connection.execute(text("SELECT pg_sleep(2)"))


def test_nothing_is_left_behind_in_the_sessions_of_others(pooler: str) -> None:
    """What we set is gone for whoever gets the server's session next."""
    engine = engines.create(f"{pooler}?options=-cstatement_timeout%3D300%20-csearch_path%3Dasu")
    limit(engine, write=True)
    engine.dispose()
    import psycopg

    with psycopg.connect(pooler, autocommit=True) as other:
        rows = [other.execute(f"SHOW {n}".encode()).fetchone() for n in ("statement_timeout",)]
        path = other.execute("SHOW search_path").fetchone()
    assert rows == [("0",)]
    assert path == ('"$user", public',)


def test_a_server_behind_it_that_hangs(
    server: servers.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        servers.pgbouncer(server, "transaction") as url,
        Stats.on(upgraded(servers.impatient(url, monkeypatch)), tmp_path / "spool") as stats,
    ):
        assert stats.post([request("before")]).status_code == 200
        with server.frozen():
            begin = time.monotonic()
            assert stats.post([request("hangs")]).status_code == 503
            assert stats.client.get("/api/v1/stats/overview?days=77").status_code == 503
            assert time.monotonic() - begin < 40
        until = time.monotonic() + 60
        while stats.post([request("after")]).status_code != 200:
            assert time.monotonic() < until
            threading.Event().wait(0.2)
