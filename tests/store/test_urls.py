"""Parameters of database URLs override the defaults."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, make_url, text

from asu_stats.exceptions import InvalidSettingError, StoreUnavailableError, TimeLimitError
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot, write_transaction
from tests.conftest import administrate, postgresql_database, sqlite_database
from tests.patience import within


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    yield from postgresql_database(request)


def with_query(url: str, **query: str) -> str:
    return make_url(url).update_query_dict(query).render_as_string(hide_password=False)


def shown(engine: Engine, name: str) -> str:
    with read_snapshot(engine) as connection:
        return str(connection.execute(text(f"SHOW {name}")).scalar_one())


# PostgreSQL -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    ["-csearch_path=asu", "-c search_path=asu", "--search-path=asu", "-csearch_path=asu,public"],
)
def test_tables_are_made_in_the_schema_of_the_url(postgresql_server: str, options: str) -> None:
    name = f"in_schema_{time.monotonic_ns()}"
    administrate(postgresql_server, f"CREATE DATABASE {name}")
    bare = make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    administrate(bare, "CREATE SCHEMA asu")
    administrate(bare, "CREATE TABLE of_another_program (number integer)")
    engine = engines.create(with_query(bare, options=options))
    migrate.upgrade(engine)
    assert migrate.check(engine) == migrate.head()
    plain = engines.create(bare)
    assert "store_state" in inspect(plain).get_table_names(schema="asu")
    assert inspect(plain).get_table_names(schema="public") == ["of_another_program"]
    engine.dispose()
    plain.dispose()
    administrate(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ("", "statement_timeout", "1min"),
        ("", "lock_timeout", "5s"),
        ("", "timezone", "UTC"),
        ("-cstatement_timeout=5min", "statement_timeout", "5min"),
        ("-c Lock_Timeout=7s -c statement_timeout=5min", "lock_timeout", "7s"),
        ("-c work_mem=8MB", "statement_timeout", "1min"),
        ("-c work_mem=8MB", "work_mem", "8MB"),
        (r"-c application_name=a\ b\\c", "application_name", r"a b\c"),
        ("-c statement_timeout=5min -c statement_timeout=4min", "statement_timeout", "4min"),
        ("-c post_auth_delay=0 -c work_mem=9MB", "work_mem", "9MB"),
        ("-c asu.it's=x", "asu.it's", "error"),
    ],
)
def test_settings_of_a_session(postgresql_url: str, options: str, name: str, value: str) -> None:
    engine = engines.create(with_query(postgresql_url, options=options))
    if value == "error":
        with pytest.raises(Exception, match="invalid configuration parameter name"):
            shown(engine, "work_mem")
    else:
        assert shown(engine, name) == value
    engine.dispose()


def test_options_of_the_environment(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=3min")
    engine = engines.create(postgresql_url)
    assert shown(engine, "statement_timeout") == "3min"
    assert shown(engine, "lock_timeout") == "5s"
    engine.dispose()


def test_parameters_of_libpq(postgresql_url: str) -> None:
    url = with_query(
        postgresql_url, application_name="mine", connect_timeout="17", keepalives_idle="99"
    )
    engine = engines.create(url)
    assert shown(engine, "application_name") == "mine"
    connection = engine.raw_connection()
    given = connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    connection.close()
    assert given["connect_timeout"] == "17"
    assert given["keepalives_idle"] == "99"
    assert given["tcp_user_timeout"] == "10000"
    engine.dispose()


def test_a_statement_beyond_its_time_limit_says_so(postgresql_url: str) -> None:
    engine = engines.create(with_query(postgresql_url, options="-cstatement_timeout=20"))
    with pytest.raises(TimeLimitError, match="statement timeout"), read_snapshot(engine) as db:
        db.execute(text("SELECT pg_sleep(20)"))
    engine.dispose()


@pytest.mark.parametrize(
    ("words", "is_limit"),
    [
        ("storniere Anfrage wegen Zeitüberschreitung der Anfrage", True),  # lc_messages=de_DE
        ("canceling statement due to user request", False),
    ],
)
def test_a_time_limit_is_known_in_any_language(
    postgresql_url: str, words: str, is_limit: bool
) -> None:
    engine = engines.create(postgresql_url)
    with pytest.raises(StoreUnavailableError, match=words) as raised, read_snapshot(engine) as db:
        db.execute(text(f"DO $$ BEGIN RAISE '{words}' USING ERRCODE = 'query_canceled'; END $$"))
    assert isinstance(raised.value, TimeLimitError) == is_limit
    engine.dispose()


def test_prepared_statements_can_be_switched_off(postgresql_url: str) -> None:
    for query, expected in (({}, 5), ({"prepare_threshold": "0"}, None)):
        engine = engines.create(with_query(postgresql_url, **query))
        connection = engine.raw_connection()
        assert connection.driver_connection.prepare_threshold == expected  # type: ignore[union-attr]
        connection.close()
        engine.dispose()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("statement_timeout=5", "statement_timeout is not a parameter of libpq"),
        ("sslmod=require", "did you mean sslmode?"),
        ("prepare_threshold=x", "prepare_threshold=x: expected a whole number"),
        ("connect_timeout=1&connect_timeout=2", "connect_timeout is given 2 times"),
    ],
)
def test_parameters_that_postgresql_does_not_know(query: str, words: str) -> None:
    with pytest.raises(InvalidSettingError, match=words.replace("?", r"\?")):
        engines.create(f"postgresql://localhost/x?{query}")


# SQLite -----------------------------------------------------------------------------------------


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest) -> str:
    return sqlite_database(request)


@pytest.mark.parametrize("seconds", [0.2, 7.5])
def test_how_long_to_wait_for_a_lock(sqlite_url: str, seconds: float) -> None:
    engine = engines.create(f"{sqlite_url}?timeout={seconds}")
    with closing(sqlite3.connect(make_url(sqlite_url).database or "")) as other:
        other.execute("BEGIN IMMEDIATE")

        def wait() -> None:
            begin = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="locked"), write_transaction(engine):
                pass
            assert time.monotonic() - begin > seconds * 0.9

        within(seconds + 2, wait)
    engine.dispose()


@pytest.mark.parametrize("query", ["mode=ro", "immutable=1", "mode=ro&immutable=1"])
def test_a_file_that_is_only_to_be_read(sqlite_url: str, query: str) -> None:
    engine = engines.create(f"{sqlite_url}?{query}")
    assert migrate.check(engine) == migrate.head()
    with pytest.raises(StoreUnavailableError, match="readonly"):
        migrate.check_writable(engine)
    engine.dispose()


@pytest.mark.parametrize("query", ["cache=private", "vfs=unix", "cached_statements=7"])
def test_other_parameters(sqlite_url: str, query: str) -> None:
    engine = engines.create(f"{sqlite_url}?{query}")
    migrate.check_writable(engine)
    engine.dispose()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("timout=3", "timout: expected one of timeout, "),
        ("timeout=x", "timeout=x: expected seconds"),
        ("timeout=nan", "timeout=nan: expected seconds"),
        ("timeout=1&timeout=2", "timeout is given 2 times"),
        ("isolation_level=DEFERRED", "isolation_level cannot be set"),
        ("check_same_thread=true", "check_same_thread cannot be set"),
    ],
)
def test_parameters_that_sqlite_does_not_know(tmp_path: Path, query: str, words: str) -> None:
    with pytest.raises(InvalidSettingError, match=words):
        engines.create(f"sqlite:///{tmp_path / 'a.db'}?{query}")
