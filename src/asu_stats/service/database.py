"""Opens the database for a command."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from asu_stats.exceptions import InvalidSettingError, SchemaError, StoreUnavailableError
from asu_stats.settings import Settings
from asu_stats.store import migrate
from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from asu_stats.store.database import outages, sqlite


@contextmanager
def opened(settings: Settings, *, make: bool = False, writes: bool = True) -> Iterator[Engine]:
    """Return an engine on the database. Errors name its file.

    A command that does not write (`writes=False`) works on a read-only file and on a standby.
    Raises `StoreUnavailableError` if the file does not exist and must not be created, and
    `SchemaError` for a file of another program, which stays unchanged.
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
        words = str(error.orig).strip().partition("\n")[0]
        raise StoreUnavailableError(_named(file, f"database: {words}")) from error


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
        raise StoreUnavailableError("database: it changed while it was read; run the command again")


def _check_file(file: Path, *, make: bool) -> None:
    """Check an SQLite file without changing it; a normal connection would change it."""
    try:
        if not file.exists():
            if make:
                return
            raise StoreUnavailableError("database: no such file")
        if file.is_dir():
            raise StoreUnavailableError("database: is a directory")
        with closing(sqlite.reading(file)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            migrate.check_ours({name for (name,) in tables})
    except sqlite3.Error as error:
        raise StoreUnavailableError(outages.of_file(error, file)) from None
    except OSError as error:
        raise StoreUnavailableError(f"database: {error.strerror}") from None


def _named(file: Path | None, words: str) -> str:
    """Return an error text. If it is about the database, it names the file."""
    return _with_name(file, words) if words.startswith("database") else words


def _with_name(file: Path | None, words: str) -> str:
    if file is None:
        return words
    return f"{file}: {words.removeprefix('database: ').removeprefix('database ')}"
