"""Archive files, and how their rows are restored.

A file contains rows of one archive table and one month. It counts only while `archive_parts` has a
row for it. The file is written, read back and compared; then one transaction deletes the rows from
the table and adds that row. `archive_keys` contains digests of identifiers that late events may
refer to, so that the right files are found without reading any. If a file is needed, all its rows
go back into the archive table, in the transaction that needs them. The file is then orphaned.

Paths are relative to the archive directory, which `keep_in` sets for an engine. The directory can
be moved together with its files.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    FromClause,
    Integer,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
)

from asu_stats.exceptions import MissingArchiveError, StoreRefusedError
from asu_stats.store.archive import files
from asu_stats.store.database import statements
from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import build_metrics, client_stats, error_stats, name, row_id

archive_parts = Table(
    "archive_parts",
    metadata,
    row_id(),
    name("table_name", nullable=False, comment="name of the detail table"),
    Column("file", Text, nullable=False, comment="path below archive_directory"),
    Column("rows", Integer, nullable=False),
    Column("first_at", DateTime, nullable=False),
    Column("last_at", DateTime, nullable=False),
    Column("bytes", BigInteger, comment="size of the file; null where an older release wrote it"),
    comment="Archive files. A file without a row here is ignored.",
)
archive_keys = Table(
    "archive_keys",
    metadata,
    Column(
        "key",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="digest of an identifier",
    ),
    Column("part", BigInteger, primary_key=True, autoincrement=False, comment="archive_parts.id"),
    comment="Which archive files contain the rows that late events need.",
    sqlite_with_rowid=False,
)

_DIRECTORY: Final = Path("asu-stats-archive")
_t: Final = archive_parts.c
_KEY: Final = (("key", BigInteger()),)
_NOTHING: Final = MetaData()
# In queries, these stand for the rows of loaded files, see `load`.
UNPACKED: Final = {
    table: Table(
        f"{table.name}_unpacked",
        _NOTHING,
        *(Column(column.name, column.type, nullable=True) for column in table.columns),
        prefixes=["TEMPORARY"],
    )
    for table in (build_metrics, client_stats, error_stats)
}


def key(*words: str) -> int:
    """Return the digest of an identifier."""
    digest = blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), signed=True)


def build_key(request_hash: str, build_id: str) -> int:
    """Return the key of a build."""
    return key("build", request_hash, build_id)


def builds_key(request_hash: str) -> int:
    """Return the key of all builds of a hash."""
    return key("builds", request_hash)


def waits_key(request_hash: str) -> int:
    """Return the key of the requests of a hash that waited."""
    return key("waits", request_hash)


def error_key(request_hash: str, build_id: str) -> int:
    """Return the key of the error of a build."""
    return key("error", request_hash, build_id)


def keys_of(table: Table, rows: files.Rows) -> set[int]:
    """Return the keys of all identifiers in some rows that late events may refer to."""
    names = [column.name for column in table.columns]
    found: set[int] = set()
    for values in rows:
        row = dict(zip(names, values, strict=True))
        request_hash, build_id = row["request_hash"], row["build_id"]
        if table is build_metrics:
            found |= {build_key(request_hash, build_id), builds_key(request_hash)}
        elif table is error_stats and build_id is not None:
            found.add(error_key(request_hash, build_id))
        elif table is client_stats and row["ended_at"] is not None:
            found.add(waits_key(request_hash))
    return found


def keep_in(engine: Engine, directory: Path) -> None:
    """Set the archive directory of an engine."""
    engine.update_execution_options(archive_directory=directory.resolve())


def directory_of(connection: Connection) -> Path:
    """Return the archive directory."""
    found = connection.get_execution_options().get("archive_directory")
    return found if isinstance(found, Path) else _DIRECTORY.resolve()


def problems(connection: Connection) -> dict[str, str]:
    """Return the unusable files of the archive, by name, with the reason; files are not read."""
    directory = directory_of(connection)
    rows = connection.execute(select(_t.file, _t.bytes).order_by(_t.file)).all()
    found = {name: files.problem(directory / name, size) for name, size in rows}
    return {name: problem for name, problem in found.items() if problem}


def add(
    connection: Connection, table: Table, file: str, size: int, rows: files.Rows, time: str
) -> None:
    """Register a file below the archive directory. From now on its rows are archived."""
    place = [column.name for column in table.columns].index(time)
    moments = [row[place] for row in rows]
    values = {
        "table_name": table.name,
        "file": file,
        "rows": len(rows),
        "first_at": min(moments),
        "last_at": max(moments),
        "bytes": size,
    }
    part = connection.execute(insert(archive_parts).values(values).returning(_t.id)).scalar_one()
    keys = sorted(keys_of(table, rows))
    statements.insert(connection, archive_keys, ("key", "part"), [(each, part) for each in keys])


def _holding(given: FromClause) -> Select[Any]:
    same = archive_keys.c.key == given.c.key
    return select(archive_keys.c.part).join_from(given, archive_keys, same)


def send_holding(connection: Connection, keys: Iterable[int]) -> statements.Sent:
    """Ask for the files that contain any of `keys`, as in `statements.send`."""
    return statements.send_for(connection, _holding, _KEY, sorted({(each,) for each in keys}))


def holding(connection: Connection, keys: Iterable[int]) -> set[int]:
    """Return the files that contain any of `keys`."""
    return {row[0] for row in send_holding(connection, keys)()}


_BETWEEN: Final = (
    select(*archive_parts.columns)
    .where(_t.table_name == bindparam("table"))
    .where(_t.last_at >= bindparam("first"), _t.first_at < bindparam("after"))
    .order_by(_t.id)
)


def between(
    connection: Connection, table: Table, first: datetime, after: datetime
) -> list[Row[Any]]:
    """Return the files of a table that may have rows from `first` to before `after`."""
    given = {"table": table.name, "first": first, "after": after}
    rows = statements.fetch_once(connection, _BETWEEN, **given)
    return statements.named(_BETWEEN, rows)


def send_between(connection: Connection, table: Table, first: datetime, after: datetime) -> None:
    """Ask for what `between` returns, and do not wait for it."""
    given = {"table": table.name, "first": first, "after": after}
    statements.send_once(connection, _BETWEEN, **given)


_ANY_BETWEEN: Final = (
    select(_t.id)
    .where(_t.table_name.in_((bindparam("one"), bindparam("other"))))
    .where(_t.last_at >= bindparam("first"), _t.first_at < bindparam("after"))
    .limit(literal_column("1"))
)


def any_between(
    connection: Connection, tables: tuple[Table, Table], first: datetime, after: datetime
) -> bool:
    """Return whether a file of two tables may have rows from `first` to before `after`."""
    return bool(send_any_between(connection, tables, first, after)())


def send_any_between(
    connection: Connection, tables: tuple[Table, Table], first: datetime, after: datetime
) -> statements.Sent:
    """Ask for what `any_between` returns, and do not wait for it."""
    one, other = (table.name for table in tables)
    given = {"one": one, "other": other, "first": first, "after": after}
    return statements.send_once(connection, _ANY_BETWEEN, **given)


def files_of(connection: Connection, table: Table, numbers: Iterable[int]) -> list[str]:
    """Return those of the given files that belong to a table."""
    condition = _t.id.in_(list(numbers)) & (_t.table_name == table.name)
    return list(connection.execute(select(_t.file).where(condition).order_by(_t.id)).scalars())


def rows_of(connection: Connection, table: Table, file: str) -> files.Rows:
    """Return the rows of a file. Raises `MissingArchiveError`. Files never change."""
    return _rows(directory_of(connection) / file, table, file)


@lru_cache(maxsize=8)
def _rows(path: Path, table: Table, file: str) -> files.Rows:
    try:
        return files.read(path, table)
    except StoreRefusedError as error:
        problem = str(error).removeprefix(f"archive: {path}: ")
        words = f"archive: {file}: {problem}; restore it in archive_directory"
        raise MissingArchiveError(words) from None


def unpack(connection: Connection, into: Table, table: Table, numbers: Iterable[int]) -> None:
    """Restore all rows of some files `into` the archive table of a detail table."""
    for number in sorted(numbers):
        condition = (_t.id == number) & (_t.table_name == table.name)
        file = connection.execute(select(_t.file).where(condition)).scalar()
        if file is None:
            continue
        columns = tuple(column.name for column in table.columns)
        statements.insert(connection, into, columns, rows_of(connection, table, file))
        connection.execute(delete(archive_parts).where(condition))
        connection.execute(delete(archive_keys).where(archive_keys.c.part == number))


def load(
    connection: Connection, times: dict[Table, str], first: datetime, after: datetime
) -> statements.Tables:
    """Return tables with the rows of files from `first` to before `after`, for use in queries."""
    loaded = {}
    for table, copy in UNPACKED.items():
        place = [column.name for column in table.columns].index(times[table])
        loaded[copy] = [
            row
            for part in between(connection, table, first, after)
            for row in rows_of(connection, table, part.file)
            if first <= row[place] < after
        ]
    return statements.tables(connection, loaded)


def stream(
    connection: Connection, table: Table, time: str, first: datetime, after: datetime
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of all files from `first` to before `after`, by time and number.

    At most one month is in memory at a time.
    """
    names = [column.name for column in table.columns]
    place, number = names.index(time), names.index("id")
    months: dict[date, list[str]] = {}
    for part in between(connection, table, first, after):
        months.setdefault(part.first_at.date().replace(day=1), []).append(part.file)
    for month in sorted(months):
        rows = (row for file in months[month] for row in rows_of(connection, table, file))
        within = (row for row in rows if first <= row[place] < after)
        yield from sorted(within, key=lambda row: (row[place], row[number]))
