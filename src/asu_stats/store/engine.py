"""Engines, and the two ways into the database: a write transaction and a read snapshot.

SQLite: WAL with `synchronous=FULL`. `BEGIN IMMEDIATE` with a busy timeout starves writers of other
processes for seconds, so a writer first takes a `flock` on a side file, which is fair and which
the kernel drops with its process. PostgreSQL: reads are REPEATABLE READ, so that an answer and its
change counter belong together.
"""

import contextlib
import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from asu_stats.exceptions import StoreRefusedError, StoreUnavailableError

BUSY_SECONDS: Final = 5.0
_POOL_SIZE: Final = 8


def create(url: str) -> Engine:
    """Return an engine for `url`; nothing is connected yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _create_sqlite(url)
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_SIZE,
        pool_timeout=BUSY_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": int(BUSY_SECONDS),
            "options": "-c timezone=UTC -c lock_timeout=5s -c statement_timeout=60s",
        },
    )


def _create_sqlite(url: str) -> Engine:
    engine = create_engine(
        url,
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_SIZE,
        pool_timeout=BUSY_SECONDS,
        # We begin transactions ourselves; without isolation level the driver only commits them.
        connect_args={
            "check_same_thread": False,
            "timeout": BUSY_SECONDS,
            "isolation_level": None,
        },
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: SqliteConnection, _record: object) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "temp_store = MEMORY",
            "cache_size = -65536",
            "wal_autocheckpoint = 8192",  # 32 MiB: pages of today are written many times before
            "journal_size_limit = 67108864",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        driver = cast(SqliteConnection, connection.connection.dbapi_connection)
        driver.execute("BEGIN IMMEDIATE" if options.get("write") else "BEGIN")

    return engine


class _WriterLock:
    """Mutual exclusion of the writers of one SQLite file, between threads and processes.

    Who waits for the lock holds the turn, and nobody takes the lock without it: so a process that
    writes again and again can't come back before the one that waits.
    """

    def __init__(self, database: Path) -> None:
        self._turn = database.with_name(f"{database.name}.turn")
        self._lock = database.with_name(f"{database.name}.lock")
        self._threads = threading.Lock()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        deadline = time.monotonic() + BUSY_SECONDS
        if not self._threads.acquire(timeout=BUSY_SECONDS):
            raise StoreUnavailableError("database: another thread has been writing for too long")
        try:
            with contextlib.ExitStack() as held:
                with self._locked(self._turn, deadline):
                    held.enter_context(self._locked(self._lock, deadline))
                yield
        except OSError as error:
            raise StoreUnavailableError(f"database: {error.strerror or error}") from error
        finally:
            self._threads.release()

    @staticmethod
    @contextlib.contextmanager
    def _locked(path: Path, deadline: float) -> Iterator[None]:
        """Hold a lock on a side file; the kernel drops it with the process."""
        pause = 0.0002
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreUnavailableError(
                            "database: another process has been writing for too long"
                        ) from None
                    time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the waiters
                    pause = min(pause * 1.5, 0.001)
            yield
        finally:
            os.close(file)


_locks: WeakKeyDictionary[Engine, _WriterLock] = WeakKeyDictionary()
_locks_guard = threading.Lock()


def _writer_lock(engine: Engine) -> contextlib.AbstractContextManager[None]:
    if engine.dialect.name != "sqlite":
        return contextlib.nullcontext()
    with _locks_guard:
        if engine not in _locks:
            _locks[engine] = _WriterLock(Path(engine.url.database or ""))
        return _locks[engine].held()


# Classes of the drivers' errors, which other classes are derived from.
_OUTAGES: Final = {
    "OperationalError",  # SQLite: locked, full, I/O; psycopg: connection lost, shut down, timed out
    "InterfaceError",
    "ReadOnlySqlTransaction",
    "IdleInTransactionSessionTimeout",
    "IdleSessionTimeout",
}
_REFUSALS: Final = {"ProgramLimitExceeded", "StatementTooComplex", "TooManyColumns"}


def is_outage(error: Exception) -> bool:
    """Tell whether the database was away or could not write, rather than refused the statement."""
    if isinstance(error, StoreUnavailableError | PoolTimeoutError | OSError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    kind = type(getattr(error, "orig", error))
    if kind.__name__ == "DatabaseError":  # no finer class: SQLite's word for a damaged file
        return True
    classes = {parent.__name__ for parent in kind.__mro__}
    return bool(classes & _OUTAGES) and not classes & _REFUSALS


def _translated(error: Exception) -> Exception:
    """Return what is raised for an error of the database."""
    if is_outage(error):
        return StoreUnavailableError(_short(error))
    return error if isinstance(error, DBAPIError) else StoreRefusedError(_short(error))


@contextlib.contextmanager
def write_transaction(engine: Engine) -> Iterator[Connection]:
    """Run a block in one write transaction: committed at its end, rolled back if it raises.

    Raises `StoreUnavailableError` when the database is away, locked for five seconds, read-only or
    full, and `StoreRefusedError` or SQLAlchemy's own error when it refuses a statement.
    """
    try:
        with (
            _writer_lock(engine),
            engine.connect().execution_options(write=True) as connection,
            connection.begin(),
        ):
            yield connection
    except (DBAPIError, PoolTimeoutError, engine.dialect.loaded_dbapi.Error) as error:
        raise _translated(error) from error


@contextlib.contextmanager
def read_snapshot(engine: Engine, *, scratch: bool = False) -> Iterator[Connection]:
    """Run a block on one consistent, read-only state of the database.

    With `scratch` the connection may make temporary tables of its own. Raises as
    `write_transaction` does.
    """
    try:
        with (
            engine.connect().execution_options(
                **_snapshot_options(engine, scratch=scratch)
            ) as connection,
            connection.begin(),
        ):
            yield connection
    except (DBAPIError, PoolTimeoutError, engine.dialect.loaded_dbapi.Error) as error:
        raise _translated(error) from error


def checkpoint(engine: Engine) -> None:
    """Bring SQLite's log into its file while nobody waits for it; elsewhere do nothing.

    Else a commit does that once the log is long, and keeps the next writers waiting meanwhile.
    """
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()


def _snapshot_options(engine: Engine, *, scratch: bool) -> dict[str, Any]:
    if engine.dialect.name == "sqlite":
        return {}  # every SQLite read transaction is a snapshot
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": not scratch}


def _short(error: Exception) -> str:
    """Return the database's own words without statement, parameters and addresses."""
    cause = getattr(error, "orig", None) or error
    first_line = str(cause).strip().partition("\n")[0]
    return f"database: {first_line or 'no reason given'}"
