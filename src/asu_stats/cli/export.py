"""`asu-stats export`: a table as CSV, NDJSON or Parquet."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal

import typer

from asu_stats.api import csv_rows
from asu_stats.cli import options
from asu_stats.exceptions import AsuStatsError
from asu_stats.store import export as source
from asu_stats.store import migrate
from asu_stats.store.database.engine import read_snapshot

_ROWS: Final = 5_000
# Valid in JSON, but some readers treat them as line breaks.
_LINE_ENDS: Final = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}

Rows = Iterator[Sequence[Any]]
Columns = Mapping[str, type]


def export(
    table: Annotated[
        str,
        typer.Argument(
            help=f"One of {', '.join(source.TABLES)}.",
            metavar="TABLE",
        ),
    ],
    form: Annotated[
        Literal["csv", "ndjson", "parquet"], typer.Option("--format", help="Output format.")
    ] = "csv",
    start: options.Start = None,
    end: options.End = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output file. Default: standard output.")
    ] = None,
    database: options.Database = None,
) -> None:
    """Export the rows of a table, by time. Times are UTC.

    Request hashes are complete, and give access to images: keep the files private.
    """
    if table not in source.TABLES:
        raise typer.BadParameter(f"TABLE {table}: expected one of {', '.join(source.TABLES)}")
    if output is not None and (not output.name or output.is_dir()):
        raise typer.BadParameter(f"--output {output}: expected a file, this is a directory")
    first, last = options.days(start, end)
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        columns = source.columns(table)
        with _target(output) as file, read_snapshot(engine, streams=True) as connection:
            rows = source.rows(connection, table, first, last)
            writer = {"csv": _csv, "ndjson": _ndjson, "parquet": _parquet}[form]
            writer(file, columns, rows)


@contextlib.contextmanager
def _target(path: Path | None) -> Iterator[IO[bytes]]:
    """Open the output file; it gets its name only when it is complete.

    Pipes and devices are written directly.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise AsuStatsError(f"{path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return value


def _csv(file: IO[bytes], columns: Columns, rows: Rows) -> None:
    file.write((",".join(columns) + "\r\n").encode())
    for row in rows:
        file.write((",".join(map(csv_rows.cell, map(_plain, row))) + "\r\n").encode())


def _ndjson(file: IO[bytes], columns: Columns, rows: Rows) -> None:
    for row in rows:
        line = dict(zip(columns, map(_plain, row), strict=True))
        text = json.dumps(line, ensure_ascii=False)
        file.write(text.translate(_LINE_ENDS).encode() + b"\n")


def _parquet(file: IO[bytes], columns: Columns, rows: Rows) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise AsuStatsError("Parquet needs pyarrow: install asu-stats[parquet]") from None
    types = {
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
        str: pa.string(),
        date: pa.date32(),
        datetime: pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(name, types.get(kind, pa.string())) for name, kind in columns.items()])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, _ROWS)):
            values = (
                [json.dumps(v) if isinstance(v, dict) else v for v in column]
                for column in zip(*chunk, strict=True)
            )
            arrays = [pa.array(v, f.type) for v, f in zip(values, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
