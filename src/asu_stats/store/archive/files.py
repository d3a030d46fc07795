"""Files with rows of a table, as Parquet or compressed CSV.

A file gets its name only after it is complete and synced to disk.
"""

import contextlib
import csv
import errno
import fcntl
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import Table

from asu_stats.durability import sync_directory
from asu_stats.exceptions import InvalidSettingError, StoreRefusedError, StoreUnavailableError
from asu_stats.ownership import PRIVATE, Owner
from asu_stats.text import one_spelling

Form = Literal["parquet", "csv.gz"]
Rows = Sequence[tuple[Any, ...]]

_PARQUET: Final = b"PAR1"
_GZIP: Final = b"\x1f\x8b"
_NULL: Final = r"\N"
# All other errors may be temporary. gzip raises an error without number for a damaged file.
_GONE: Final = frozenset(
    {
        None,
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)
_DAMAGE: Final = (ValueError, EOFError, LookupError, StopIteration)


def write(path: Path, table: Table, rows: Rows, owner: Owner | None = None) -> int:
    """Write rows of a table into a new file, and create its directory. `owner` owns both.

    Raises `StoreUnavailableError` if that fails.
    """
    content = _to_parquet(table, rows) if path.suffix == ".parquet" else _to_csv(table, rows)
    part = path.with_name(f"{path.name}.part")
    try:
        owner = owner or Owner.of_directory(path.parent)
        owner.make_directory(path.parent)
        with os.fdopen(owner.create(part, os.O_WRONLY, PRIVATE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StoreUnavailableError(f"archive: {path}: {error.strerror}") from None
    return len(content)


@contextlib.contextmanager
def locked(directory: Path, *, to_remove: bool) -> Iterator[bool]:
    """Hold the lock of an archive directory; yield whether it is held.

    Any number of backups share it, and wait for a process that removes files. That process does not
    wait: it does not get the lock while a backup is made. A directory that is missing has none.
    """
    how = fcntl.LOCK_EX | fcntl.LOCK_NB if to_remove else fcntl.LOCK_SH
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def problem(path: Path, size: int | None) -> str | None:
    """Return what is wrong with a file of `size` bytes. Only its beginning and end are read.

    A full disk or an interrupted copy leaves files empty or short, a power failure full of zeros.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            if found != size and (size is not None or not found):
                return "is empty" if not found else f"has {found} bytes instead of {size}"
            head = file.read(4)
            file.seek(-min(4, found), os.SEEK_END)
            tail = file.read(4)
    except OSError:
        return "is not readable"
    if path.suffix == ".parquet":
        whole = head == tail == _PARQUET
    else:
        whole = head[:2] == _GZIP and any(tail)  # the last bytes are the length of the content
    return None if whole else "is damaged"


def read(path: Path, table: Table) -> Rows:
    """Return the rows of a file.

    Raises `StoreRefusedError` if it is missing, unreadable or damaged, and `StoreUnavailableError`
    if the disk or the system fails.
    """
    try:
        content = path.read_bytes()
        of_form = _from_parquet if path.suffix == ".parquet" else _from_csv
        return _in_one_spelling(table, of_form(table, content))
    except OSError as error:
        kind = StoreRefusedError if error.errno in _GONE else StoreUnavailableError
        raise kind(f"archive: {path}: {error.strerror or error}") from None
    except (*_DAMAGE, csv.Error, zlib.error) as error:
        raise StoreRefusedError(
            f"archive: {path}: damaged: {str(error).partition(chr(10))[0] or 'it is incomplete'}"
        ) from None


def _in_one_spelling(table: Table, rows: Rows) -> Rows:
    """Return rows with profiles in the current spelling. Files of older releases never change.

    Builds also contain the names from their own events.
    """
    names = [column.name for column in table.columns]
    profile = names.index("profile")
    reported = names.index("reported_names") if "reported_names" in names else None

    def spelled(row: tuple[Any, ...]) -> tuple[Any, ...]:
        said = row[reported] if reported is not None else None
        if "," not in row[profile] and not said:
            return row
        values = list(row)
        values[profile] = one_spelling(row[profile])
        if reported is not None and said:
            values[reported] = {
                event: {k: one_spelling(v) if k == "profile" else v for k, v in names_of.items()}
                for event, names_of in said.items()
            }
        return tuple(values)

    return [spelled(row) for row in rows]


def _types(table: Table) -> dict[str, type]:
    """Return the type of each column. The type of JSON is `object`."""
    return {column.name: column.type.python_type for column in table.columns}


# CSV: null is \N; a backslash is put before a text that begins with one ------------------------


def _cell(value: Any) -> str:
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    return f"\\{text}" if text.startswith("\\") else text


_FROM: Final[Mapping[type, Callable[[str], Any]]] = {
    bool: {"true": True, "false": False}.__getitem__,
    int: int,
    datetime: datetime.fromisoformat,
    object: json.loads,
    str: lambda text: text.removeprefix("\\"),
}


def _to_csv(table: Table, rows: Rows) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_types(table))
    writer.writerows(map(_cell, row) for row in rows)
    return gzip.compress(text.getvalue().encode(), mtime=0)


def _from_csv(table: Table, content: bytes) -> Rows:
    lines = csv.reader(io.StringIO(gzip.decompress(content).decode(), newline=""))
    header = [*next(lines), None]  # a column added later is null
    last = len(header) - 1
    columns = [
        (header.index(name) if name in header else last, _FROM[kind])
        for name, kind in _types(table).items()
    ]
    return [
        tuple(None if cells[at] == _NULL else convert(cells[at]) for at, convert in columns)
        for cells in ([*line, _NULL] for line in lines)
    ]


# Parquet ----------------------------------------------------------------------------------------


def _to_parquet(table: Table, rows: Rows) -> bytes:
    pa, pq = _pyarrow()
    kinds = {bool: pa.bool_(), int: pa.int64(), datetime: pa.timestamp("us"), str: pa.string()}
    types = _types(table)
    schema = pa.schema([(name, kinds.get(kind, pa.string())) for name, kind in types.items()])
    columns = [
        [json.dumps(value) if isinstance(value, dict) else value for value in column]
        for column in zip(*rows, strict=True)
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def _from_parquet(table: Table, content: bytes) -> Rows:
    pa, pq = _pyarrow()
    types = _types(table)
    try:
        found = pq.read_table(io.BytesIO(content)).to_pydict()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None
    nothing = [None] * len(found["id"])  # a column added later
    columns = [
        [None if value is None else json.loads(value) for value in found.get(name, nothing)]
        if kind is object
        else found.get(name, nothing)
        for name, kind in types.items()
    ]
    return list(zip(*columns, strict=True))


def _pyarrow() -> tuple[Any, Any]:
    """Return the modules of pyarrow. Raises `InvalidSettingError` if it is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise InvalidSettingError(
            "archive: Parquet needs pyarrow: install asu-stats[parquet]"
        ) from None
    return pa, pq
