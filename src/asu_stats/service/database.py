"""Opens the database for a command or a server."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from asu_stats.exceptions import InvalidSettingError, SchemaError, StoreUnavailableError
from asu_stats.settings import Settings
from asu_stats.store import migrate
from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from asu_stats.store.database import outages, sqlite

if TYPE_CHECKING:  # it needs psycopg
    from asu_stats.store.database.replica import Replica


@contextmanager
def opened(settings: Settings, *, make: bool = False, writes: bool = True) -> Iterator[Engine]:
    """Open an engine on the database. Errors name its file.

    With `make`, a missing SQLite file is created. Without `writes`, a read-only file or a standby
    is enough. Raises `StoreUnavailableError` for a missing file without `make`, and `SchemaError`
    for a file of another program, which is not changed.
    """
    file = settings.database_file
    if file and not file.parent.is_dir():
        raise StoreUnavailableError(f"{file.parent}: no such directory")
    try:
        if file:
            _check_file(file, make=make)
        engine = engines.create(settings.database_url, writes=writes)
        segments.keep_in(engine, settings.archive_directory)
        try:
            with _unchanged(file, engine) if file else nullcontext():
                yield engine
        finally:
            engine.dispose()
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise InvalidSettingError("psycopg is missing: install asu-stats[postgresql]") from None
    except SchemaError as error:
        raise SchemaError(_with_name(file, str(error))) from error
    except StoreUnavailableError as error:
        raise StoreUnavailableError(_named(file, str(error))) from error
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise StoreUnavailableError(_named(file, f"database: {reason}")) from error


@contextmanager
def _unchanged(file: Path, engine: Engine) -> Iterator[None]:
    """Check that a file that SQLite reads without locks does not change during the block."""
    if not sqlite.parameters_of(engine).immutable:
        yield
        return

    def state() -> tuple[int, int, bool]:
        found = file.stat()
        return found.st_mtime_ns, found.st_size, file.with_name(f"{file.name}-wal").exists()

    before = state()
    yield
    if state() != before:
        raise StoreUnavailableError("database: changed during the command; run the command again")


@contextmanager
def replica_of(settings: Settings, primary: Engine) -> Iterator["Replica | None"]:
    """Open the replica of the settings, `None` without one. It is checked until the end.

    A replica that is unreachable now is used as soon as it is reachable. Raises
    `InvalidSettingError` if it is not a replica of `primary`, or has another schema.
    """
    if settings.read_database_url is None:
        yield None
        return
    require_postgresql(settings)
    from asu_stats.store.database.replica import Replica

    engine = engines.create(settings.read_database_url, writes=False, setting="read_database_url")
    segments.keep_in(engine, settings.archive_directory)
    limit = settings.read_max_lag_seconds
    found = Replica(primary, engine, max_lag_seconds=limit, check_schema=migrate.check)
    try:
        found.check()
        with found:
            yield found
    finally:
        engine.dispose()


def require_postgresql(settings: Settings) -> None:
    """Raise `InvalidSettingError` for a replica of an SQLite file."""
    if settings.read_database_url is not None and settings.database_file:
        raise InvalidSettingError("read_database_url: only for PostgreSQL; database_url is SQLite")


def _check_file(file: Path, *, make: bool) -> None:
    """Check that an SQLite file is a database of this program.

    The file is not changed; a normal connection would change it.
    """
    try:
        if not file.exists():
            if make:
                return
            words = f"{file.resolve()}: no such file; `asu-stats db upgrade` creates it"
            raise StoreUnavailableError(words)
        if file.is_dir():
            raise StoreUnavailableError("database: is a directory")
        with closing(sqlite.reading(file)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            migrate.check_ours({name for (name,) in tables})
    except sqlite3.Error as error:
        raise StoreUnavailableError(outages.of_file(error, file)) from None
    except OSError as error:
        raise StoreUnavailableError(f"database: {error.strerror}") from None


def _named(file: Path | None, message: str) -> str:
    """Put the file into a message about the database. Other messages stay as they are."""
    return _with_name(file, message) if message.startswith("database") else message


def _with_name(file: Path | None, message: str) -> str:
    if file is None:
        return message
    return f"{file}: {message.removeprefix('database: ').removeprefix('database ')}"
