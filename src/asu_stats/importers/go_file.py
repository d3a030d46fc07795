"""The SQLite file of the Go server: opened read-only and checked."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote

from asu_stats.exceptions import ForeignDataError
from asu_stats.importers import go_times

TABLE: Final = "build_stats"
_NEEDED: Final = {"id", "timestamp", "event_type", "version", "target", "profile"}
_MAGIC: Final = b"SQLite format 3\0"
_BUSY_SECONDS: Final = 5.0
_ROW: Final = "id, timestamp, event_type, version, target, profile"
FileRow: TypeAlias = tuple[int, Any, Any, Any, Any, Any]
_SOURCE: Final = "urn:asu-stats:go-builder:"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Return a read-only connection to a file of the Go server, which may keep writing to it.

    Raises `ForeignDataError` if the path is not such a file, or if the file is damaged or locked,
    also while it is being read.
    """
    try:
        _check_file(path)
        with closing(_connect(path)) as connection:
            connection.create_function("micros", 1, go_times.micros, deterministic=True)
            # Invalid UTF-8 must not stop the import: it becomes U+FFFD later.
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            connection.execute("PRAGMA temp_store = FILE")
            _check_tables(path, connection)
            yield connection
    except sqlite3.Error as error:
        raise ForeignDataError(path, _message(error)) from error
    except OSError as error:
        if error.filename is not None and Path(error.filename) != path:
            raise
        raise ForeignDataError(path, error.strerror or str(error)) from error


def _check_file(path: Path) -> None:
    kind = path.stat().st_mode  # follows links
    if not stat.S_ISREG(kind):
        raise ForeignDataError(path, "expected a file, this is a directory or a device")
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if not start:
        raise ForeignDataError(path, "is empty")
    if start != _MAGIC:
        raise ForeignDataError(path, "not an SQLite file")


def _connect(path: Path) -> sqlite3.Connection:
    source = f"file:{quote(str(path.resolve()))}?mode=ro"
    connection = _connection(source)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        log = path.with_name(f"{path.name}-wal")
        if "unable to open" not in str(error) or (log.exists() and log.stat().st_size):
            raise
        # A file in WAL mode in a directory that is not writable, without a writer.
        connection = _connection(f"{source}&immutable=1")
    return connection


def _connection(source: str) -> sqlite3.Connection:
    return sqlite3.connect(source, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns, empty if the table does not exist."""
    found = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return {name for (name,) in found}


def _check_tables(path: Path, connection: sqlite3.Connection) -> None:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    tables = [name for (name,) in connection.execute(query)]
    if "alembic_version" in tables and "store_state" in tables:
        raise ForeignDataError(
            path,
            "this is a database of asu-stats: import the copy that `asu-stats db upgrade` kept",
        )
    if TABLE not in tables:
        some = ", ".join(tables[:3]) or "none"
        raise ForeignDataError(
            path, f"no table {TABLE}: not a file of the Go server (tables: {some})"
        )
    if lacks := _NEEDED - columns(connection, TABLE):
        raise ForeignDataError(path, f"{TABLE} lacks {', '.join(sorted(lacks))}")


def check_integrity(path: Path, connection: sqlite3.Connection) -> None:
    """Read the whole file. Raises `ForeignDataError` if it is damaged."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise ForeignDataError(path, f"damaged: {' '.join(str(found).split())}")


def row_of(connection: sqlite3.Connection, number: int) -> FileRow | None:
    """Return the row with a number, `None` if it does not exist."""
    query = f"SELECT {_ROW} FROM {TABLE} WHERE id = ?"  # noqa: S608
    return cast("FileRow | None", connection.execute(query, (number,)).fetchone())


def continues_after(connection: sqlite3.Connection, last: FileRow | None) -> bool:
    """Return whether rows continue after the row `last`; older rows may be deleted.

    Otherwise the file was replaced or emptied.
    """
    if last is None or row_of(connection, last[0]) == last:
        return True
    (first,) = connection.execute(f"SELECT min(id) FROM {TABLE}").fetchone()  # noqa: S608
    return first is None or first > last[0]


def source_of(connection: sqlite3.Connection) -> str | None:
    """Return the source of the file's events, derived from its first row.

    `None` while the table is empty.
    """
    query = f"SELECT {_ROW} FROM {TABLE} ORDER BY id LIMIT 1"  # noqa: S608
    row = connection.execute(query).fetchone()
    if row is None:
        return None
    return _SOURCE + blake2b(ascii(row).encode(), digest_size=12).hexdigest()


def _message(error: sqlite3.Error) -> str:
    words = str(error)
    if "locked" in words:
        return f"{words}: another program has locked it"
    if "full" in words:
        return f"{words}: no space for temporary files (set SQLITE_TMPDIR or TMPDIR)"
    return words
