"""Connections to an SQLite file: WAL with `synchronous=FULL`, or read-only.

Parameters of the URL override the defaults here. A command that only reads also works on a
read-only file or directory. Without the right to create side files, SQLite can read a database in
WAL mode only as `immutable`, and `service.database` checks that the file does not change meanwhile.

SQLite has no time limit for statements, so a snapshot gets one here: `SNAPSHOT_SECONDS`.

SQLite continues to write to a file that was moved, replaced or deleted, and these commits are lost
with the process. Each transaction therefore checks that the file is still the same.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote, urlencode

from sqlalchemy import URL, Connection, Engine, create_engine, event

from asu_stats.exceptions import InvalidSettingError, StoreUnavailableError
from asu_stats.ownership import PRIVATE, Owner

BUSY_SECONDS: Final = 5.0
SNAPSHOT_SECONDS: Final = 60.0  # as `statement_timeout` of a statement of PostgreSQL
# Steps of SQLite's virtual machine between two looks at the clock: some milliseconds.
_STEPS: Final = 500_000
_OF_FILE: Final = ("mode", "cache", "immutable", "nolock", "psow", "vfs")
# KiB of pages that a connection keeps. A snapshot needs most pages once, and drops all of them
# after the next change. With 64 MiB, reports are no faster, and sixteen at once take a gigabyte;
# with 8 MiB, `insights/cache` is slower. A writer comes back to its pages until it commits. In the
# pool, one connection keeps what it read, for the next report while nothing changes. The others
# keep the pages that they used last: those that every transaction needs.
_READER_CACHE: Final = "PRAGMA cache_size = -16384"
_WRITER_CACHE: Final = "PRAGMA cache_size = -65536"
_IDLE_CACHE: Final = "PRAGMA cache_size = -1024"
_READ: Final = ("temp_store = MEMORY",)
_WRITE: Final = (
    "synchronous = FULL",
    "foreign_keys = ON",
    "wal_autocheckpoint = 8192",  # 32 MiB: pages of today are written many times per checkpoint
    "journal_size_limit = 67108864",
)


class Parameters(NamedTuple):
    """Parameters of a URL: for the file name that SQLite gets, and for the driver."""

    of_file: dict[str, str]
    timeout: float
    cached_statements: int

    @property
    def read_only(self) -> bool:
        """Whether the file is only read."""
        return self.of_file.get("mode") == "ro" or self.immutable

    @property
    def immutable(self) -> bool:
        """Whether SQLite may assume that nobody changes the file."""
        return self.of_file.get("immutable", "0").lower() not in {"0", "no", "off", "false"}


def parameters(url: URL) -> Parameters:
    """Return the parameters of a URL. Raises `InvalidSettingError` for invalid ones."""
    given = {}
    for name, values in url.normalized_query.items():
        if name in {"check_same_thread", "detect_types", "isolation_level", "uri"}:
            raise InvalidSettingError(f"database_url: {name} cannot be set; remove it")
        if name not in {*_OF_FILE, "timeout", "cached_statements"}:
            known = ", ".join(("timeout", "cached_statements", *_OF_FILE))
            raise InvalidSettingError(f"database_url: {name}: expected one of {known}")
        if len(values) > 1:
            raise InvalidSettingError(f"database_url: {name} is given {len(values)} times")
        given[name] = values[0]
    return Parameters(
        {name: given[name] for name in _OF_FILE if name in given},
        _number(given, "timeout", BUSY_SECONDS, "seconds from 0 to 86400", 86_400),
        int(_number(given, "cached_statements", 128, "a number from 0 to 100000", 100_000)),
    )


def _number(given: dict[str, str], name: str, default: float, expected: str, most: int) -> float:
    try:
        value = float(given.get(name, default))
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        got = given[name][:20]
        raise InvalidSettingError(f"database_url: {name}={got}: expected {expected}")
    return value


def source(file: Path, of_file: dict[str, str]) -> str:
    """Return the URI (`file:…`) with which SQLite opens a file with the parameters `of_file`."""
    query = f"?{urlencode(of_file)}" if of_file else ""
    return f"file:{quote(os.path.abspath(file))}{query}"  # noqa: PTH100 - keeps links


def for_reading(file: Path) -> dict[str, str]:
    """Return the URI parameters with which a command that only reads opens a file.

    Raises `StoreUnavailableError` if its log contains changes that cannot be read.
    """
    if not file.exists() or _writable(file):
        return {}
    if _writable(file.parent):
        return {"mode": "ro"}
    log, index = (file.with_name(f"{file.name}-{suffix}") for suffix in ("wal", "shm"))
    if index.exists():
        return {"mode": "ro"}  # SQLite keeps an index of the log in memory
    if log.exists() and log.stat().st_size:
        words = f"{log}: contains changes that are readable only if {index.name} can be created: "
        raise StoreUnavailableError(f"{words}copy both files to a writable directory")
    return {"mode": "ro", "immutable": "1"}


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def create(url: URL, *, writes: bool, pool: dict[str, Any]) -> Engine:
    """Return an engine for `url`; nothing is connected yet.

    Raises `InvalidSettingError` for an invalid parameter of the URL; see `for_reading`.
    """
    given = parameters(url)
    file = Path(url.database or "")
    if not (writes or given.of_file):
        parent_too = for_reading(file)
        given = given._replace(of_file=parent_too)
    engine = create_engine(
        url.set(query={}),
        # `_begin` begins transactions; without isolation level the driver only commits them.
        connect_args={
            "check_same_thread": False,
            "timeout": given.timeout,
            "cached_statements": given.cached_statements,
            "isolation_level": None,
        },
        execution_options={"sqlite": given},
        **pool,
    )

    opened, idle = _Opened(file), _Idle()

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: list[str], options: Any) -> Any:
        opened.check()  # SQLite would create an empty file
        if given.of_file:
            arguments[0], options["uri"] = source(file, given.of_file), True
        elif not file.exists():
            # SQLite would let others read it, and as root own it. It treats an empty file as a new
            # database, and gives its log the same permissions.
            with contextlib.suppress(OSError):  # SQLite then reports the error itself
                made = file.resolve()
                os.close(Owner.of_directory(made.parent).open(made, os.O_RDWR, PRIVATE))

    @event.listens_for(engine, "connect")
    def _set_up(connection: SqliteConnection, _record: object) -> None:
        if not given.read_only:
            _keep_log(connection, given.timeout)
        for pragma in _READ if given.read_only else (*_WRITE, *_READ):
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(_IDLE_CACHE)
        opened.remember(connection)

    @event.listens_for(engine, "close")
    def _closed(connection: SqliteConnection, _record: object) -> None:
        opened.forget(connection)
        idle.take(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        opened.check()
        options = connection.get_execution_options()
        driver = cast(SqliteConnection, connection.connection.dbapi_connection)
        driver.set_progress_handler(_deadline() if options.get("limited") else None, _STEPS)
        idle.take(driver)
        _begun(driver, writes=bool(options.get("write")))

    event.listen(engine, "checkin", idle.put)
    return engine


def _begun(driver: SqliteConnection, *, writes: bool) -> None:
    """Begin a transaction. It may keep more pages until the connection returns to the pool."""
    # A script, because the size is set when a statement is compiled, and others are kept.
    driver.executescript(_WRITER_CACHE if writes else _READER_CACHE)
    driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")


class _Idle:
    """The connections in the pool: one of them keeps what it read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keeps: SqliteConnection | None = None

    def take(self, connection: SqliteConnection) -> None:
        """Note that a connection leaves the pool, or is closed."""
        with self._lock:
            if self._keeps is connection:
                self._keeps = None

    def put(self, connection: SqliteConnection | None, _record: object) -> None:
        """Remove the time limit of a connection that returns to the pool, and most of its pages."""
        if connection is None:
            return
        with self._lock:
            self._keeps = self._keeps or connection
            keeps = self._keeps is connection
        connection.set_progress_handler(None, 0)
        connection.executescript(_READER_CACHE if keeps else _IDLE_CACHE)


def _deadline() -> Callable[[], bool]:
    """Return a function that says whether a transaction that begins now takes too long."""
    until = time.monotonic() + SNAPSHOT_SECONDS
    return lambda: time.monotonic() > until


class _Opened:
    """A database file and its log, which SQLite keeps while any connection is open."""

    def __init__(self, file: Path) -> None:
        self._log = Path(f"{file.resolve()}-wal")
        self._paths = (file.absolute(), self._log)
        self._identities: dict[Path, tuple[int, int]] = {}
        self._connections: set[int] = set()

    def remember(self, connection: SqliteConnection) -> None:
        """Remember the files of a connection, unless another connection is open."""
        for path in self._paths:
            if path not in self._identities and (found := _identity(path)):
                self._identities[path] = found
        self._connections.add(id(connection))

    def forget(self, connection: SqliteConnection) -> None:
        """Forget a connection. After the last one, SQLite deletes the log: forget that too."""
        self._connections.discard(id(connection))
        if not self._connections:
            self._identities.pop(self._log, None)

    def check(self) -> None:
        """Raise `StoreUnavailableError` if a file was moved, replaced or deleted."""
        for path, known in list(self._identities.items()):
            if _identity(path) != known:
                words = "moved, replaced or deleted while in use; put it back, or restart"
                raise StoreUnavailableError(f"{path}: {words}")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode, `None` if the file does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _keep_log(connection: SqliteConnection, seconds: float) -> None:
    """Switch to WAL. SQLite does not wait if another process is switching at the same time."""
    until = time.monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def parameters_of(engine: Engine) -> Parameters:
    """Return the parameters of an SQLite engine."""
    return cast(Parameters, engine.get_execution_options()["sqlite"])


def connect_outside_pool(engine: Engine) -> SqliteConnection:
    """Return a read connection outside the pool, which may be exhausted.

    It waits for no lock.
    """
    name = source(Path(engine.url.database or ""), parameters_of(engine).of_file)
    return sqlite3.connect(name, uri=True, timeout=0, isolation_level=None, check_same_thread=False)


def reading(file: Path) -> SqliteConnection:
    """Return a read-only connection. Raises the errors of `for_reading` and of SQLite."""
    name = source(file, {"mode": "ro", **for_reading(file)})
    return sqlite3.connect(name, uri=True, timeout=BUSY_SECONDS)
