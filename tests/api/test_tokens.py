"""Tokens that expire, and when they were last used."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, Table, event, select

from asu_stats.api import token_uses, tokens
from asu_stats.api.token_uses import TokenUses
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.store import migrate
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.database.schema import api_tokens
from asu_stats.times import naive
from tests.conftest import sqlite_database
from tests.store.older import back_to
from tests.support import NOW, Stats, request

END = NOW + timedelta(days=90)
OWN = {"origin": "http://testserver"}


@pytest.fixture
def private(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    options = {"read_access": "token"}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **options) as stats:
        stats.client.follow_redirects = False
        yield stats


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_an_expired_token_is_refused_with_its_reason(
    stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    token = tokens.create(stats.engine, "sender", "ingest", expires_at=END)
    stats.now = END - timedelta(seconds=1)
    assert stats.post(request("h1"), headers=bearer(token)).status_code == 200
    stats.now = END
    with caplog.at_level(logging.WARNING):
        answer = stats.post(request("h2"), headers=bearer(token))
    assert answer.status_code == 401
    assert answer.json()["detail"] == "the token expired at 2026-12-29T12:00:00Z: create a new one"
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert "access: token expired name=sender" in caplog.messages
    tokens.revoke(stats.engine, "sender")
    answer = stats.post(request("h2"), headers=bearer(token))
    assert answer.json()["detail"] == "the token is not valid"


def test_a_session_ends_when_its_token_expires(private: Stats) -> None:
    end = NOW + timedelta(days=2)
    token = tokens.create(private.engine, "reader", "read", expires_at=end)
    form = {"token": token}
    assert private.client.post("/sign-in", data=form, headers=OWN).status_code == 303
    assert private.client.get("/api/v1/stats/now").status_code == 200
    private.now = end
    assert private.client.get("/api/v1/stats/now").status_code == 401
    assert private.client.post("/sign-in", data=form, headers=OWN).status_code == 401


def last_used(engine: Engine) -> dict[str, object]:
    return {token.name: token.last_used_at for token in tokens.all_tokens(engine)}


def test_uses_are_written_seldom_and_not_by_requests(private: Stats) -> None:
    engine, clock = private.engine, [NOW]
    uses = TokenUses(engine, lambda: clock[0])
    access = tokens.Access(engine, private.settings, lambda: clock[0], uses.note)
    token = tokens.create(engine, "reader", "read")
    tokens.create(engine, "unused", "read")
    called = type("Request", (), {"headers": {"authorization": f"Bearer {token}"}})()
    written: list[str] = []
    event.listen(
        engine,
        "before_cursor_execute",
        lambda *given: written.append(given[2]) if "UPDATE api_tokens" in given[2] else None,
    )
    for seconds in range(0, 600, 5):
        clock[0] = NOW + timedelta(seconds=seconds)
        assert access.scope_of(called) == "read"
        if seconds % 60 == 55:
            assert len(written) <= seconds // 300 + 1
            uses.write()
    assert len(written) == 2
    used = last_used(engine)
    assert used["unused"] is None
    assert used["reader"] == naive(NOW + timedelta(seconds=355))


def test_what_could_not_be_written_is_written_later(private: Stats) -> None:
    uses = TokenUses(private.engine, lambda: NOW)
    tokens.create(private.engine, "reader", "read")
    uses.note("reader")
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object) -> None:
            raise StoreUnavailableError("database: gone")

        patch.setattr(token_uses, "write_transaction", refuse)
        with pytest.raises(StoreUnavailableError):
            uses.write()
    uses.close()
    assert last_used(private.engine) == {"reader": naive(NOW)}


def test_a_server_writes_the_last_uses_when_it_stops(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    options = {"read_access": "token"}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **options) as stats:
        token = tokens.create(stats.engine, "reader", "read")
        assert stats.client.get("/api/v1/stats/now", headers=bearer(token)).status_code == 200
        assert last_used(stats.engine) == {"reader": None}
        engine = stats.engine
        stats.client.__exit__(None, None, None)
        assert last_used(engine) == {"reader": naive(NOW)}
        stats.client.__enter__()


def test_older_tokens_go_on_without_end(stats: Stats) -> None:
    token = tokens.create(stats.engine, "sender", "ingest")
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0030")
        columns = Table("api_tokens", type(api_tokens.metadata)(), autoload_with=connection).c
        assert "expires_at" not in columns
    migrate.upgrade(stats.engine)
    assert stats.post(request("h1"), headers=bearer(token)).status_code == 200
    with stats.engine.connect() as connection:
        row = connection.execute(select(api_tokens)).one()
    assert (row.expires_at, row.last_used_at) == (None, None)
