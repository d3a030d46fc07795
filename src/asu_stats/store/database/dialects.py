"""Everything that differs between SQLite and PostgreSQL: SQL, and values for the driver.

SQLite runs in this process: many rows are one statement executed many times. With PostgreSQL each
statement costs a round trip: many rows are one statement whose parameters are arrays, one per
column.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache, partial
from operator import itemgetter
from sqlite3 import IntegrityError
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ClauseElement,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    and_,
    bindparam,
    column,
    delete,
    func,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import ARRAY, TypeEngine

from asu_stats import times

Dialect: TypeAlias = str
Row: TypeAlias = tuple[Any, ...]
Convert: TypeAlias = Callable[[Any], Any]
Writing: TypeAlias = Literal["insert", "ignore", "add", "upsert", "update", "delete"]
Field: TypeAlias = tuple[str, TypeEngine[Any]]

# Parameters by position, so that rows are tuples.
_DIALECTS: Final[dict[str, DefaultDialect]] = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": cast(Any, PGDialect_psycopg)(paramstyle="format"),
}


class Cursor(Protocol):
    """The part of a driver's cursor that is used here (PEP 249)."""

    def execute(self, statement: str, parameters: Sequence[object] = ..., /) -> object:
        """Run a statement."""

    def executemany(self, statement: str, rows: Iterable[Sequence[object]], /) -> object:
        """Run a statement once per row."""

    def fetchall(self) -> list[Row]:
        """Return all rows."""

    def fetchmany(self, size: int, /) -> list[Row]:
        """Return the next rows, at most `size`."""

    def close(self) -> None:
        """Close the cursor."""


# Values ---------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _stored_time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(" ", "microseconds")


@lru_cache(maxsize=8192)
def _stored_date(value: date | None) -> str | None:
    return None if value is None else value.isoformat()


def _stored_json(value: object) -> str | None:
    return None if value is None else json.dumps(value)


def _quoted(given: object) -> str:
    value = str(given)
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


# Stored form of values for SQLite, and form of array elements for PostgreSQL.
_ENCODERS: Final[dict[type[TypeEngine[Any]], Convert]] = {
    DateTime: _stored_time,
    Date: _stored_date,
    JSON: _stored_json,
}
_ELEMENTS: Final[dict[type[TypeEngine[Any]], Convert]] = {
    Integer: str,
    BigInteger: str,
    Boolean: str,
    DateTime: _stored_time,
    Date: _stored_date,
    LargeBinary: lambda value: f'"\\\\x{value.hex()}"',
    JSON: lambda value: _quoted(json.dumps(value)),
}
_NUMBERS: Final = frozenset({Integer, BigInteger})
_DECODERS: Final[dict[str, dict[type[TypeEngine[Any]], Convert]]] = {
    "sqlite": {
        DateTime: datetime.fromisoformat,
        Date: lru_cache(maxsize=8192)(date.fromisoformat),
        JSON: json.loads,
        Boolean: bool,
    },
    "postgresql": {},
}


def encode(dialect: Dialect, value: object) -> object:
    """Return a value in the form that the driver takes."""
    if dialect == "sqlite" and isinstance(value, date):
        return _stored_time(value) if isinstance(value, datetime) else _stored_date(value)
    return value


def plain_time(dialect: Dialect, value: datetime) -> datetime | str:
    """Return a UTC time in whole seconds in the format that other programs use.

    On SQLite that is the format of CURRENT_TIMESTAMP, the only one that its `date()` reads
    reliably.
    """
    whole = value.replace(microsecond=0)
    return whole.isoformat(" ") if dialect == "sqlite" else whole


def decoder(dialect: Dialect, kind: TypeEngine[Any]) -> Convert | None:
    """Return the function that converts a value of the driver, `None` if none is needed."""
    return _DECODERS[dialect].get(type(kind))


def decoded(decode: Convert, values: Sequence[object]) -> list[object]:
    """Return a column of values of the driver, converted.

    Equal JSON texts become one value, which must not be changed: names of a report are in
    thousands of rows, and reading JSON takes longer than all else that is done with a row.
    """
    if decode is json.loads:
        known = {text: json.loads(str(text)) for text in set(values) if text is not None}
        return [known.get(text) for text in values]
    return [None if value is None else decode(value) for value in values]


def _encoded(
    dialect: Dialect, kinds: Sequence[TypeEngine[Any]], rows: Sequence[Row]
) -> list[Sequence[object]]:
    """Return the columns of `rows` in the form of the driver: values, or an array literal."""
    columns = zip(kinds, zip(*rows, strict=True), strict=True)
    if dialect == "postgresql":
        return [_array(kind, values) for kind, values in columns]
    return [
        values if (encode := _ENCODERS.get(type(kind))) is None else list(map(encode, values))
        for kind, values in columns
    ]


def _array(kind: TypeEngine[Any], values: Sequence[Any]) -> str:
    """Return an array literal of PostgreSQL; psycopg takes several times as long to write one.

    So do conversions one by one. Few values need any: texts need one only with quotes in them.
    """
    if None in values:
        return _array_with_nulls(kind, values)
    if type(kind) is Text and values:
        texts = '","'.join(values)
        if "\\" not in texts and texts.count('"') == 2 * (len(values) - 1):
            return f'{{"{texts}"}}'
    if type(kind) in _NUMBERS:
        return f"{{{repr(values)[1:-1].rstrip(',')}}}"
    element = _ELEMENTS.get(type(kind), _quoted)
    return f"{{{','.join(map(element, values))}}}"


def _array_with_nulls(kind: TypeEngine[Any], values: Sequence[Any]) -> str:
    if values.count(None) == len(values):
        return f"{{NULL{',NULL' * (len(values) - 1)}}}"
    element = _ELEMENTS.get(type(kind), _quoted)
    return f"{{{','.join(['NULL' if value is None else element(value) for value in values])}}}"


# Statements -----------------------------------------------------------------------------------


class Compiled(NamedTuple):
    """A compiled statement: its text, the names of its parameters in order, and its constants."""

    text: str
    names: tuple[str, ...]
    constants: Mapping[str, object]

    def values(self, dialect: Dialect, parameters: Mapping[str, object]) -> list[object]:
        """Return the values of the parameters in order, encoded."""
        given = {**self.constants, **parameters}
        return [encode(dialect, given[name]) for name in self.names]


@lru_cache(maxsize=512)
def compiled(dialect: Dialect, statement: ClauseElement) -> Compiled:
    """Compile a statement once."""
    done = statement.compile(dialect=_DIALECTS[dialect])
    constants = {name: value for name, value in done.params.items() if value is not None}
    return Compiled(str(done), tuple(cast(Any, done).positiontup or ()), constants)


@lru_cache(maxsize=64)
def emptied(dialect: Dialect, table: Table) -> tuple[str, ...]:
    """Return the SQL that creates a table, if it does not exist, and empties it."""
    both = CreateTable(table, if_not_exists=True), table.delete()
    return tuple(str(statement.compile(dialect=_DIALECTS[dialect])) for statement in both)


class Writer:
    """A statement that writes rows of `columns` into a table, compiled for one database."""

    def __init__(
        self,
        dialect: Dialect,
        kind: Writing,
        table: Table,
        columns: tuple[str, ...],
        key: tuple[str, ...],
        returning: tuple[str, ...],
    ) -> None:
        statement = _statement(dialect, kind, table, columns, key)
        if returning:
            statement = cast(Any, statement).returning(*(table.c[name] for name in returning))
        self._text, names, _ = compiled(dialect, statement)
        self._dialect = dialect
        self._key = len(key)
        order = [columns.index(name.removeprefix("key_")) for name in names]
        self._kinds = [table.c[columns[place]].type for place in order]
        # For a statement that names the columns in another order.
        same = order == list(range(len(columns)))
        self._reorder: Callable[[Row], Row] | None = None if same else itemgetter(*order)

    def _columns(self, rows: Sequence[Row]) -> list[Sequence[object]]:
        if self._reorder is not None:
            rows = list(map(self._reorder, rows))
        return _encoded(self._dialect, self._kinds, rows)

    def write(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        columns = self._columns(rows)
        if self._dialect == "sqlite":
            cursor.executemany(self._text, zip(*columns, strict=True))
        else:
            cursor.execute(self._text, columns)

    def send_returning(self, cursor: Cursor, rows: Sequence[Row]) -> Callable[[], list[Row]]:
        """Write `rows`. Return a function that waits for what the statement returns.

        With a key that is in the order of `rows`.
        """
        columns = self._columns(rows)
        if self._dialect == "postgresql":
            cursor.execute(self._text, columns)
            return partial(self._returned, cursor, rows)
        returned = []
        for row in zip(*columns, strict=True):
            cursor.execute(self._text, row)
            returned += cursor.fetchall()
        return lambda: returned

    def _returned(self, cursor: Cursor, rows: Sequence[Row]) -> list[Row]:
        found, key = cursor.fetchall(), self._key
        by_key = {row[:key]: row for row in found}
        return [by_key[row[:key]] for row in rows] if key else found


@lru_cache(maxsize=256)
def writer(
    dialect: Dialect,
    kind: Writing,
    table: Table,
    columns: tuple[str, ...],
    key: tuple[str, ...] = (),
    returning: tuple[str, ...] = (),
) -> Writer:
    """Return the writer of rows of `columns`.

    `insert` inserts rows, `ignore` only those with a new key. `add` and `put` insert, or add to or
    replace the other columns of the row with the same `key`. `update` only replaces them, `delete`
    deletes the row.
    """
    return Writer(dialect, kind, table, columns, key, returning)


def try_together(
    cursor: Cursor, dialect: Dialect, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
) -> bool:
    """Insert `rows` in one statement if that is faster. Returns whether it did."""
    if dialect != "sqlite":
        return False
    cursor.execute("SAVEPOINT together")
    try:
        writer(dialect, "insert", table, columns).write(cursor, rows)
    except IntegrityError:
        cursor.execute("ROLLBACK TO together")
        cursor.execute("RELEASE together")
        return False
    cursor.execute("RELEASE together")
    return True


def _statement(
    dialect: Dialect, kind: Writing, table: Table, columns: tuple[str, ...], key: tuple[str, ...]
) -> ClauseElement:
    types = [(name, table.c[name].type) for name in columns]
    others = [name for name in columns if name not in key]
    if kind in {"update", "delete"}:
        given = _arrays(types) if dialect == "postgresql" else None
        here = and_(
            *(
                table.c[name]
                == (bindparam(f"key_{name}", type_=kind_) if given is None else given.c[name])
                for name, kind_ in types
                if name in key
            )
        )
        if kind == "delete":
            return delete(table).where(here)
        values = {name: bindparam(name) if given is None else given.c[name] for name in others}
        return update(table).where(here).values(values)
    if dialect == "postgresql":
        statement: Any = postgresql.insert(table).from_select(
            list(columns), select(*_arrays(types).c)
        )
    else:
        statement = sqlite.insert(table).values({name: bindparam(name) for name in columns})
    if kind == "ignore":
        return cast(ClauseElement, statement.on_conflict_do_nothing())
    if kind == "insert":
        return cast(ClauseElement, statement)
    new = statement.excluded
    sets = {name: table.c[name] + new[name] if kind == "add" else new[name] for name in others}
    return cast(ClauseElement, statement.on_conflict_do_update(index_elements=list(key), set_=sets))


def _arrays(fields: Sequence[Field]) -> FromClause:
    """Return a table of rows that are passed as arrays, one parameter per column."""
    arrays = (bindparam(name, type_=ARRAY(kind)) for name, kind in fields)
    return (
        func.unnest(*arrays)
        .table_valued(*(column(name, kind) for name, kind in fields), name="given")
        .render_derived()
    )


def given(dialect: Dialect, fields: Sequence[Field]) -> FromClause:
    """Return a table of rows that are passed as parameters, see `given_values`, for joins."""
    if dialect == "postgresql":
        return _arrays(fields)
    each = func.json_each(bindparam("given_rows", type_=Text)).table_valued("value", name="each")
    return select(
        *(
            func.json_extract(each.c.value, text(f"'$[{place}]'"), type_=kind).label(name)
            for place, (name, kind) in enumerate(fields)
        )
    ).subquery("given")


def given_values(
    dialect: Dialect, fields: Sequence[Field], rows: Sequence[Row]
) -> dict[str, object]:
    """Return the parameters for `rows`, which are not empty."""
    columns = _encoded(dialect, [kind for _, kind in fields], rows)
    if dialect == "postgresql":
        return {name: array for (name, _), array in zip(fields, columns, strict=True)}
    return {"given_rows": json.dumps(list(zip(*columns, strict=True)))}


def has_citus(connection: Connection) -> bool:
    """Return whether the extension is installed, and may have placed tables on its workers."""
    return getattr(connection.connection.dbapi_connection, "has_citus", False)


def next_day(dialect: Dialect, moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the first moment of the UTC day after that of a stored time."""
    if dialect == "sqlite":
        return func.date(
            moment, "+1 day"
        )  # any stored time of that day is greater, also compared as text
    return func.date_trunc("day", moment, type_=DateTime) + timedelta(days=1)


def with_rows(dialect: Dialect, rows: Mapping[Table, Sequence[Row]]) -> tuple[str, list[object]]:
    """Return the WITH clause of a statement that uses tables of given rows, and its parameters."""
    texts: list[str] = []
    values: list[object] = []
    for table, given in rows.items():
        texts.append(_named_rows(dialect, table))
        kinds = [column.type for column in table.columns]
        values += _encoded(dialect, kinds, given) if given else [_array(kind, ()) for kind in kinds]
    return f"WITH {', '.join(texts)} ", values


@lru_cache(maxsize=8)
def _named_rows(dialect: Dialect, table: Table) -> str:
    fields = [(column.name, column.type) for column in table.columns]
    return f"{table.name} AS ({compiled(dialect, select(*_arrays(fields).c)).text})"


def lesser(dialect: Dialect, *values: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the least of several values that are not null."""
    return (func.min if dialect == "sqlite" else func.least)(*values)


def greater(dialect: Dialect, *values: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the greatest of several values that are not null."""
    return (func.max if dialect == "sqlite" else func.greatest)(*values)


def streaming_cursor(connection: Connection) -> Cursor:
    """Return a cursor whose rows stay in the database until they are fetched."""
    named = {"name": "streamed"} if connection.dialect.name == "postgresql" else {}
    return cast(Cursor, cast(Any, connection.connection).cursor(**named))


def now(connection: Connection) -> datetime:
    """Return the time of the database, UTC without zone: all processes agree on it."""
    if connection.dialect.name == "sqlite":
        return times.naive(times.utc_now())
    found = connection.execute(text("SELECT clock_timestamp() AT TIME ZONE 'UTC'")).scalar_one()
    return cast(datetime, found)


_OWN_TABLES: Final = text(
    "SELECT c.relname FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    " AND c.relpersistence <> 't' ORDER BY c.relname"
)


def own_tables(connection: Connection) -> list[str]:
    """Return the names of the tables in the schema where `CREATE TABLE` puts new ones.

    A partition is a part of its table, not a table of its own.
    """
    if connection.dialect.name == "sqlite":
        return inspect(connection).get_table_names()
    return [str(each) for each in connection.execute(_OWN_TABLES).scalars()]


def database_size(connection: Connection) -> int:
    """Return the size of the database in bytes."""
    if connection.dialect.name == "sqlite":
        statement = text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    elif has_citus(connection):
        statement = text(  # without workers that are unreachable
            "SELECT sum(CAST(result AS BIGINT)) FROM run_command_on_all_nodes("
            "'SELECT pg_database_size(current_database())', true, true) WHERE success"
        )
    else:
        statement = text("SELECT pg_database_size(current_database())")
    return int(connection.execute(statement).scalar_one())


def tell_rows_per_value(connection: Connection, indexes: Mapping[Index, int]) -> None:
    """Tell SQLite how many rows per million share a value, for indexes without statistics.

    Results of ANALYZE are kept. PostgreSQL collects statistics itself.
    """
    if connection.dialect.name != "sqlite":
        return
    schema = text("ANALYZE sqlite_schema")  # makes sqlite_stat1, and reads it
    connection.execute(schema)
    known = set(connection.execute(text("SELECT idx FROM sqlite_stat1")).scalars())
    new = [
        {"tbl": cast(Table, index.table).name, "idx": index.name, "stat": f"1000000 {rows}"}
        for index, rows in indexes.items()
        if index.name not in known
    ]
    if new:
        connection.execute(text("INSERT INTO sqlite_stat1 VALUES (:tbl, :idx, :stat)"), new)
        connection.execute(schema)
