"""Tokens that expire, and when they were last used."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, Table, event, select
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from asu_stats.api import token_uses, tokens
from asu_stats.api.token_uses import TokenUses
from asu_stats.exceptions import AsuStatsError, StoreUnavailableError
from asu_stats.settings import load
from asu_stats.store import migrate
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import api_tokens
from asu_stats.times import naive
from tests.conftest import sqlite_database
from tests.store.older import back_to
from tests.support import NOW, TOKEN, Stats, request

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


def connection_with(**headers: str) -> HTTPConnection:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "headers": fields})


def test_a_token_counts_with_its_name_and_scope(sqlite_stats: Stats) -> None:
    engine, used = sqlite_stats.engine, list[str]()
    without_setting = load(database_url=sqlite_stats.settings.database_url)
    for settings in (sqlite_stats.settings, without_setting):
        access = tokens.Access(engine, settings, lambda: NOW, used.append)
        with pytest.raises(HTTPException) as missing:
            access.require(connection_with(), "ingest")
        assert (missing.value.status_code, missing.value.detail) == (401, "expected a Bearer token")
        assert access.scope_of(connection_with()) is None
        assert not access.may_read_hashes(connection_with())
    own = connection_with(authorization=f"Bearer {TOKEN}")
    each: tuple[tuple[str, str, tokens.Scope], ...] = (
        ("Bearer", "sender", "ingest"),
        ("bearer", "reader", "read"),
        ("BEARER", "jane", "operator"),
    )
    for scheme, name, scope in each:
        token = tokens.create(engine, name, scope)
        assert len(token) == 47  # 256 bits, in base64
        connection = connection_with(authorization=f"{scheme}  {token} ")
        assert access.require(connection, scope) == name
        assert access.scope_of(connection) == scope
        assert access.may_read_hashes(connection) == (scope != "ingest")
    assert used == ["sender"] * 3 + ["reader"] * 3 + ["jane"] * 3
    with pytest.raises(HTTPException):  # the setting is gone
        access.require(own, "ingest")
    access = tokens.Access(engine, sqlite_stats.settings, lambda: NOW, used.append)
    assert access.require(own, "ingest") == ""
    assert not access.may_read_hashes(own)
    with pytest.raises(HTTPException) as lacking:
        access.require(own, "read")
    assert (lacking.value.status_code, lacking.value.detail) == (
        403,
        "the token lacks the scope read",
    )
    assert lacking.value.headers == {
        "WWW-Authenticate": 'Bearer realm="asu-stats", error="insufficient_scope", scope="read"'
    }
    assert len(used) == 9


def test_what_a_scope_includes() -> None:
    scopes: tuple[tokens.Scope, ...] = ("ingest", "read", "operator")
    included = {
        given: [each for each in scopes if tokens.includes(given, each)] for given in scopes
    }
    assert included == {"ingest": ["ingest"], "read": ["read"], "operator": ["read", "operator"]}
    assert not any(tokens.includes("of a newer release", each) for each in scopes)


def test_the_lookups_of_sessions_know_valid_tokens_only(sqlite_stats: Stats) -> None:
    engine = sqlite_stats.engine
    token = tokens.create(engine, "jane", "operator", expires_at=END)
    other = tokens.create(engine, "john", "read")
    with read_snapshot(engine) as connection:
        before = END - timedelta(seconds=1)
        assert tuple(tokens.known(connection, token, before)) == ("jane", "operator")
        assert tuple(tokens.known(connection, other, END)) == ("john", "read")
        assert tokens.known(connection, token, END) is None
        assert tokens.known(connection, "asu_", before) is None
        found = tokens.named(connection, "jane", before)
        assert tuple(found) == ("operator", tokens.digest(token))
        assert tokens.named(connection, "jane", END) is None
        assert tokens.named(connection, "nobody", before) is None
    tokens.revoke(engine, "jane")
    with read_snapshot(engine) as connection:
        assert tokens.known(connection, token, before) is None
        assert tokens.named(connection, "jane", before) is None
    (jane, john) = tokens.all_tokens(engine)
    assert (jane.name, jane.scope, jane.prefix) == ("jane", "operator", token[:8])
    assert jane.expires_at == naive(END)
    assert jane.revoked_at is not None
    assert jane.created_at <= jane.revoked_at
    assert (john.expires_at, john.revoked_at, john.last_used_at) == (None, None, None)
    for name in ("jane", "nobody"):
        with pytest.raises(AsuStatsError, match=f"no valid token has the name '{name}'"):
            tokens.revoke(engine, name)
    with pytest.raises(AsuStatsError, match="token 'jane' exists already"):
        tokens.create(engine, "jane", "read")
