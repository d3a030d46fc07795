"""Engines, and the two ways to use the database: a write transaction and a read snapshot.

With SQLite, `BEGIN IMMEDIATE` and a busy timeout can starve writers of other processes for seconds.
A writer therefore first takes a fair lock, see `writer_lock`. With PostgreSQL, reads are REPEATABLE
READ, so that a response and its change counter belong together. `sqlite` and `postgresql` make the
connections.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from asu_stats.exceptions import (
    IncompleteDatabaseError,
    StoreRefusedError,
    StoreUnavailableError,
    TimeLimitError,
)
from asu_stats.logs import Condition
from asu_stats.store.database import outages, sqlite
from asu_stats.store.database.writer_lock import WriterLock

T = TypeVar("T")

log = logging.getLogger(__name__)

_POOL_SIZE: Final = 8
_POOL: Final[dict[str, Any]] = {
    "pool_size": _POOL_SIZE,
    "max_overflow": _POOL_SIZE,
    "pool_timeout": sqlite.BUSY_SECONDS,
}


def create(url: str, *, writes: bool = True, setting: str = "database_url") -> Engine:
    """Return an engine for `url`. Nothing is connected yet.

    With `writes=False` it works on a read-only file and on a standby server. Raises
    `InvalidSettingError`, which names the `setting`, for an unusable parameter of the URL.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sqlite.create(parsed, writes=writes, pool=_POOL)
    else:
        from asu_stats.store.database import postgresql

        engine = postgresql.create(parsed, writes=writes, pool=_POOL, setting=setting)
    _close_late_returns(engine)
    return engine


def _close_late_returns(engine: Engine) -> None:
    """Close a connection that is still in use during `dispose` when its user returns it.

    SQLAlchemy would return it to the discarded pool and leave its closing to the garbage collector.
    """
    disposals = 0

    @event.listens_for(engine, "engine_disposed")
    def _dispose(_: Engine) -> None:
        nonlocal disposals
        disposals += 1

    @event.listens_for(engine, "connect")
    def _connect(_driver: object, record: ConnectionPoolEntry) -> None:
        record.info["disposals"] = disposals

    @event.listens_for(engine, "checkin")
    def _return(driver: object, record: ConnectionPoolEntry) -> None:
        if driver is not None and record.info["disposals"] != disposals:
            record.invalidate()


_locks: WeakKeyDictionary[Engine, WriterLock] = WeakKeyDictionary()
_completeness: WeakKeyDictionary[Engine, Condition] = WeakKeyDictionary()
_locks_guard = threading.Lock()


def _writer_lock(
    engine: Engine, waiting: Callable[[], object] | None
) -> contextlib.AbstractContextManager[None]:
    if engine.dialect.name != "sqlite" or sqlite.parameters_of(engine).read_only:
        return contextlib.nullcontext()
    with _locks_guard:
        if engine not in _locks:
            file = Path(engine.url.database or "")
            _locks[engine] = WriterLock(file, sqlite.parameters_of(engine).timeout)
        return _locks[engine].held(waiting)


@contextlib.contextmanager
def _transaction(engine: Engine, options: dict[str, Any]) -> Iterator[Connection]:
    """Run a block in a transaction. After an outage, its connection is discarded."""
    checked = options.pop("checked", True)
    with (
        _connected(engine, checked=checked).execution_options(**options) as connection,
        connection.begin(),
    ):
        try:
            with _pipelined(connection):
                yield connection
        except (DBAPIError, engine.dialect.loaded_dbapi.Error) as error:
            if _is_server_lost(engine, error) and not connection.invalidated:
                connection.invalidate(error)
            raise


def _options(engine: Engine, *, unlimited: bool, streams: bool) -> dict[str, bool]:
    """Return the options of a transaction that follow from what its block does."""
    pipelined = engine.dialect.name == "postgresql" and not (unlimited or streams)
    return {"unlimited": unlimited, "pipelined": pipelined}


def _pipelined(connection: Connection) -> contextlib.AbstractContextManager[None]:
    if not connection.get_execution_options().get("pipelined"):
        return contextlib.nullcontext()
    from asu_stats.store.database import postgresql

    return postgresql.pipelined(connection)


def _connected(engine: Engine, *, checked: bool) -> Connection:
    """Return a connection. Raises `StoreUnavailableError` if it was lost again and again.

    On PostgreSQL, one that is not `checked` may be lost.
    """
    try:
        if checked or engine.dialect.name != "postgresql":
            return engine.connect()
        from asu_stats.store.database import postgresql

        with postgresql.unchecked():
            return engine.connect()
    except InvalidRequestError as error:  # the pool gives up after two lost connections
        raise StoreUnavailableError("database: the connection was lost") from error


def _is_server_lost(engine: Engine, error: Exception) -> bool:
    """Return whether an error shows that the server must not be used any more."""
    if engine.dialect.name != "postgresql" or not outages.is_outage(error):
        return False
    return not outages.is_passing(error)


@contextlib.contextmanager
def _translating(engine: Engine) -> Iterator[None]:
    """Translate errors of the database."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError, engine.dialect.loaded_dbapi.Error) as error:
        if _is_server_lost(engine, error):
            from asu_stats.store.database import postgresql

            postgresql.distrust(engine)
        if outages.is_missing(error):
            incomplete = IncompleteDatabaseError(outages.message(error))
            completeness(engine).failed(incomplete, level=logging.ERROR)
            raise incomplete from error
        if outages.is_time_limit(error):
            log.warning("database: a statement took longer than its time limit and was stopped")
            raise TimeLimitError(outages.message(error, engine)) from error
        if outages.is_outage(error):
            raise StoreUnavailableError(outages.message(error, engine)) from error
        if isinstance(error, DBAPIError):
            raise
        raise StoreRefusedError(outages.message(error, engine)) from error


def completeness(engine: Engine) -> Condition:
    """Return the condition that logs missing tables, columns and indexes of a database."""
    with _locks_guard:
        return _completeness.setdefault(engine, Condition(log, "schema"))


@contextlib.contextmanager
def write_transaction(
    engine: Engine,
    *,
    waiting: Callable[[], object] | None = None,
    streams: bool = False,
    by_key: bool = False,
) -> Iterator[Connection]:
    """Run a block in one write transaction: committed at its end, rolled back if it raises.

    On PostgreSQL it is pipelined, see `postgresql.pipelined`: the error of a statement may be
    raised by a later one, or at the end. A block that reads `statements.stream` or copies needs
    `streams`, which turns that off, as `waiting` does. With `by_key`, PostgreSQL plans to find rows
    by key, whatever the statistics of tables say.

    With `waiting` the transaction has no time limit, and that function is called if it has to wait
    for others. Raises `StoreUnavailableError` when the database is unreachable, locked for five
    seconds, read-only or full. Raises `StoreRefusedError`, or an error of SQLAlchemy, when it
    rejects a statement.
    """
    options = _options(engine, unlimited=waiting is not None, streams=streams)
    options |= {"write": True, "by_key": by_key}
    with (
        _translating(engine),
        _writer_lock(engine, waiting),
        _transaction(engine, options) as connection,
    ):
        yield connection


@contextlib.contextmanager
def read_snapshot(
    engine: Engine, *, unlimited: bool = False, streams: bool = False, checked: bool = True
) -> Iterator[Connection]:
    """Run a block on one consistent, read-only snapshot of the database.

    `unlimited` lifts the time limits, and on SQLite `streams` does too: a reader may be slow. For
    `streams` and errors see `write_transaction`. For `checked` see `read`.
    """
    options = {
        "snapshot": True,
        "checked": checked,
        "limited": not (unlimited or streams),
        **_options(engine, unlimited=unlimited, streams=streams),
    }
    with _translating(engine), _transaction(engine, options) as connection:
        yield connection


def read(engine: Engine, report: Callable[[Connection], T]) -> T:
    """Return the result of `report` in a snapshot. It is called again if the connection was lost.

    A connection of the pool that was idle is otherwise checked, which costs a round trip. Raises
    `StoreUnavailableError`.
    """
    try:
        with read_snapshot(engine, checked=False) as connection:
            return report(connection)
    except StoreUnavailableError as error:
        if error.__cause__ is None or not outages.is_lost_connection(error.__cause__):
            raise
    with read_snapshot(engine) as connection:
        return report(connection)


def has_citus(engine: Engine) -> bool:
    """Return whether Citus may have placed tables on its workers. Costs no round trip."""
    if engine.dialect.name != "postgresql":
        return False
    with _translating(engine):
        pooled = engine.raw_connection()
        try:
            return bool(cast(Any, pooled.dbapi_connection).has_citus)
        finally:
            pooled.close()


def checkpoint(engine: Engine) -> None:
    """Move the log of SQLite into its file while no writer waits. Does nothing on PostgreSQL.

    Otherwise a commit does that once the log is long, and blocks the next writers meanwhile.
    """
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()
