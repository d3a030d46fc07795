"""The database that a command works on."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from asu_stats.exceptions import InvalidSettingError, SchemaError, StoreUnavailableError
from asu_stats.settings import Settings
from asu_stats.store import engine as engines
from asu_stats.store import migrate, parts


@contextmanager
def opened(settings: Settings, *, make: bool = False) -> Iterator[Engine]:
    """Return an engine on the database; errors that pass through name the file.

    Raises `StoreUnavailableError` where there is no such file, unless it may be made, and
    `SchemaError` for a file of another program, which is left as it is.
    """
    file = settings.database_file
    if file and not file.parent.is_dir():
        raise StoreUnavailableError(f"{file.parent}: no such directory")
    try:
        if file:
            _look_at(file, make=make)
        engine = engines.create(settings.database_url)
        parts.keep_in(engine, settings.archive_directory)
        try:
            yield engine
        finally:
            engine.dispose()
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise InvalidSettingError("psycopg is missing: install asu-stats[postgresql]") from None
    except SchemaError as error:
        raise SchemaError(_named(file, str(error))) from error
    except StoreUnavailableError as error:
        raise StoreUnavailableError(_named(file, str(error))) from error
    except DBAPIError as error:
        words = str(error.orig).strip().partition("\n")[0]
        raise StoreUnavailableError(_named(file, f"database: {words}")) from error


def _look_at(file: Path, *, make: bool) -> None:
    """Look into an SQLite file without changing it, as our own connections would."""
    try:
        if not file.exists():
            if make:
                return
            raise StoreUnavailableError("no such file")
        if file.is_dir():
            raise StoreUnavailableError("is a directory")
        source = f"file:{quote(str(file))}?mode=ro"
        with closing(sqlite3.connect(source, uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            migrate.check_ours({name for (name,) in tables})
    except sqlite3.Error as error:
        raise StoreUnavailableError(str(error)) from None
    except OSError as error:
        raise StoreUnavailableError(str(error.strerror)) from None


def _named(file: Path | None, words: str) -> str:
    if file is None:
        return words
    return f"{file}: {words.removeprefix('database: ').removeprefix('database ')}"
