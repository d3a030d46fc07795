"""Errors of the drivers: the database was unreachable, or it rejected a statement."""

import errno
import os
import re
import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from asu_stats.exceptions import StoreUnavailableError

# Error classes of the drivers, including the classes derived from them.
_OUTAGES: Final = {
    "OperationalError",  # SQLite: locked, full, I/O; psycopg: connection lost, shut down, timed out
    "InterfaceError",
    "InternalError",  # read-only transactions, sessions that were ended, damaged indexes
    "NotSupportedError",  # a standby reports it for some statements (0A000)
    "InsufficientPrivilege",
}
# A table, column or index of a statement does not exist. Never due to the values of a row.
_MISSING: Final = {
    *("UndefinedTable", "UndefinedColumn", "UndefinedObject", "InvalidSchemaName"),
    "InvalidColumnReference",  # ON CONFLICT without its unique index
}
_MISSING_IN_SQLITE: Final = re.compile(r"no such (table|column|index)|no column named|ON CONFLICT")
_REFUSALS: Final = {"ProgramLimitExceeded", "StatementTooComplex", "TooManyColumns"}
# Server and connection are still usable.
_PASSING: Final = {
    "QueryCanceled",
    "LockNotAvailable",
    "SerializationFailure",
    "DeadlockDetected",
    "InsufficientPrivilege",
    *_MISSING,
}
_OF_FILES: Final = (sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_BESIDE: Final = ("-wal", "-shm", "-journal")


def is_outage(error: Exception) -> bool:
    """Return whether the database was unreachable or could not write, not rejected a statement."""
    if isinstance(error, StoreUnavailableError | PoolTimeoutError | OSError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if is_missing(error):
        return True
    kind = type(getattr(error, "orig", error))
    if kind.__name__ == "DatabaseError":  # SQLite raises this class itself only for a damaged file
        return True
    classes = {parent.__name__ for parent in kind.__mro__}
    return bool(classes & _OUTAGES) and not classes & _REFUSALS


def is_missing(error: Exception) -> bool:
    """Return whether the database lacks a table, column or index that a statement names."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.OperationalError):
        return _MISSING_IN_SQLITE.search(str(cause)) is not None
    return type(cause).__name__ in _MISSING


def is_time_limit(error: Exception) -> bool:
    """Return whether a statement was stopped because it took too long."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_INTERRUPT
    # The code is that of a cancelled statement. Only the message, in the server's language, says
    # who cancelled it, and nearly always that is the time limit.
    return type(cause).__name__ == "QueryCanceled" and "user request" not in str(cause)


def is_busy(error: BaseException) -> bool:
    """Return whether a transaction of PostgreSQL waited too long for a lock of others."""
    cause = getattr(error, "orig", None) or error
    return type(cause).__name__ in {"LockNotAvailable", "DeadlockDetected"}


def is_passing(error: Exception) -> bool:
    """Return whether the same connection can be used after an outage."""
    return bool(
        {parent.__name__ for parent in type(getattr(error, "orig", error)).__mro__} & _PASSING
    )


def is_lost_connection(error: BaseException) -> bool:
    """Return whether a connection to PostgreSQL was lost, so that another one may succeed.

    Not after a time limit, which another one would only add to.
    """
    cause = getattr(error, "orig", None) or error
    classes = {parent.__name__ for parent in type(cause).__mro__}
    is_lost = "OperationalError" in classes and not isinstance(cause, sqlite3.Error)
    return is_lost and not classes & {*_PASSING, "ConnectionTimeout"}


def message(error: Exception, engine: Engine | None = None) -> str:
    """Return the error message of the database without statement, parameters and addresses.

    If SQLite only says that a file cannot be opened or written to, the file is named.
    """
    cause = getattr(error, "orig", None) or error
    first_line = str(cause).strip().partition("\n")[0]
    if engine is not None and isinstance(cause, sqlite3.Error):
        return of_file(cause, Path(engine.url.database or ""))
    return f"database: {first_line or 'no reason given'}"


def of_file(error: sqlite3.Error, database: Path) -> str:
    """Return the message of SQLite, or the name of the file that it cannot open or write."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return (code in _OF_FILES and _closed_file(database.resolve())) or f"database: {error}"


def _closed_file(database: Path) -> str | None:
    """Return which file of a database this process cannot read or write, and why."""
    beside = (database, *(Path(f"{database}{end}") for end in _BESIDE), database.parent)
    for right in (os.R_OK, os.W_OK):
        for path in beside:
            if path.exists() and not os.access(path, right, effective_ids=True):
                read_only = right == os.W_OK and os.statvfs(path).f_flag & os.ST_RDONLY
                reason = errno.EROFS if read_only else errno.EACCES
                return f"{path}: {os.strerror(reason)}"
    return None
