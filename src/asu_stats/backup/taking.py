"""Creates a backup while servers run.

The spool is copied first. An event leaves the spool only after its commit to the database, so it is
in the copy of the spool or in the later copy of the database. The database lists the archive files;
a lock keeps them from being removed until they are copied.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, select

from asu_stats import __version__
from asu_stats.backup import container
from asu_stats.backup.container import Manifest, Progress, TableCopy, Writer
from asu_stats.durability import sync_directory
from asu_stats.exceptions import BackupError
from asu_stats.ownership import Owner
from asu_stats.recorder import records, spool
from asu_stats.store import migrate
from asu_stats.store.archive import files
from asu_stats.store.archive.segments import archive_parts
from asu_stats.store.database import copies, dialects, locks
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import schema_version
from asu_stats.times import utc_now

_WORK_SUFFIX, _PART = ".part", "backup.zip"


@dataclass(frozen=True, slots=True)
class Source:
    """What to back up."""

    engine: Engine
    archive_directory: Path
    spool: Path
    skip_missing: bool = False


def size(engine: Engine) -> int:
    """Estimate the bytes that `take` reports to `progress`, without archive and spool."""
    with read_snapshot(engine) as connection:
        if engine.dialect.name == "sqlite":
            return 2 * dialects.database_size(connection)
        return sum(copies.table_bytes(connection, name) for name in copies.columns(connection))


def file_of(target: Path, now: datetime) -> Path:
    """Return the path of a new backup: `target`, or in that directory a name with the time.

    A new name without extension is a directory, which `take` creates. Raises `BackupError` if the
    file exists, or the directory of `target` does not.
    """
    is_new = not os.path.lexists(target)
    file = target
    if target.is_dir() or (is_new and not target.suffix):
        file = target / f"asu-stats-{now:%Y-%m-%dT%H%M%SZ}.zip"
    if os.path.lexists(file):
        raise BackupError(file, "exists; use another name, or a directory")
    if is_new and not target.parent.is_dir():
        raise BackupError(target.parent, "no such directory")
    return file


def take(source: Source, file: Path, progress: Progress) -> Manifest:
    """Write a backup. `file` gets its name when it is complete and synced to disk.

    `progress` is called with numbers of bytes. Raises `BackupError` if a file cannot be read or
    written, or `StoreUnavailableError`.
    """
    if not file.parent.exists():
        file.parent.mkdir(mode=0o700)
        Owner.of_directory(file.parent.parent).give(file.parent)
    with _workspace(file) as work:
        part = work / _PART
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "w+b") as opened:
            with container.writing(opened) as backup:
                manifest = _write(source, backup, work, progress)
            opened.flush()
            os.fsync(opened.fileno())
        Owner.of_directory(file.parent).give(part)
        part.replace(file)
        sync_directory(file.parent)
    return manifest


def _write(source: Source, backup: Writer, work: Path, progress: Progress) -> Manifest:
    _add_spool(source.spool, backup)
    with files.locked(source.archive_directory, to_remove=False):
        if source.engine.dialect.name == "sqlite":
            facts, names = _add_file(source, backup, work, progress)
        else:
            facts, names = _add_tables(source, backup, progress)
        missing = _add_archive(source, backup, names, progress)
    return backup.finish(program=__version__, missing_archive_files=missing, **facts)


def _add_file(
    source: Source, backup: Writer, work: Path, progress: Progress
) -> tuple[dict[str, Any], list[str]]:
    """Add a copy of an SQLite file. Return facts for the manifest, and the archive files."""
    copy, done = work / container.DATABASE, 0
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT, 0o600))

    def report_size(to: int) -> None:
        nonlocal done
        progress(to - done)
        done = to

    taken = utc_now()
    copies.into_file(source.engine, copy, report_size)
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?immutable=1", uri=True)) as sqlite:
        tables = {name for (name,) in sqlite.execute("SELECT name FROM sqlite_master")}
        if schema_version.name not in tables:
            raise BackupError(source.engine.url.database, "no schema: nothing to back up")
        (revision,) = sqlite.execute("SELECT max(version_num) FROM alembic_version").fetchone()
        names = []
        if archive_parts.name in tables:
            names = [name for (name,) in sqlite.execute("SELECT file FROM archive_parts")]
    with copy.open("rb") as opened:
        backup.add(container.DATABASE, _chunks(opened, progress))
    copy.unlink()
    return _facts(source, taken, revision, {}), names


def _add_tables(
    source: Source, backup: Writer, progress: Progress
) -> tuple[dict[str, Any], list[str]]:
    """Add the rows of each table of PostgreSQL. Return the same as `_add_file`."""
    with (
        locks.paused_writers(source.engine),
        read_snapshot(source.engine, unlimited=True) as connection,
    ):
        copies.keep_tables(connection)
        copies.make_portable(connection)
        taken = dialects.now(connection)
        revision = migrate.revision(connection)
        if revision is None:
            raise BackupError("database", "no schema: nothing to back up")
        if migrate.current(source.engine) != revision:
            raise BackupError("database", "its schema was upgraded meanwhile; try again")
        tables = {
            name: _add_table(connection, name, columns, backup, progress)
            for name, columns in copies.columns(connection).items()
        }
        names = []
        if archive_parts.name in tables:
            names = list(connection.execute(select(archive_parts.c.file)).scalars())
    return _facts(source, taken, revision, tables), names


def _add_table(
    connection: Connection, name: str, columns: list[str], backup: Writer, progress: Progress
) -> TableCopy:
    remaining, rows = copies.table_bytes(connection, name), 0  # an estimate

    def counted() -> Iterator[bytes]:
        nonlocal remaining, rows
        for chunk in copies.rows_out(connection, name, columns):
            rows += chunk.count(b"\n")
            step = min(remaining, len(chunk))
            remaining -= step
            progress(step)
            yield chunk

    backup.add(f"{container.TABLES}{name}", counted())
    progress(remaining)
    return TableCopy(tuple(columns), rows)


def _facts(
    source: Source, taken: datetime, revision: str, tables: dict[str, TableCopy]
) -> dict[str, Any]:
    return {
        "taken_at": f"{taken:%Y-%m-%dT%H:%M:%SZ}",
        "database": source.engine.dialect.name,
        "schema_revision": revision,
        "tables": tables,
    }


def _add_archive(source: Source, backup: Writer, names: list[str], progress: Progress) -> list[str]:
    """Add the archive files. Return the names of missing ones, if `skip_missing` allows them."""
    missing = []
    for name in sorted(names):
        path = source.archive_directory / name
        if Path(name).is_absolute():
            raise BackupError(path, "not below archive_directory: run `asu-stats db upgrade` first")
        problem = files.problem(path, None)
        if problem is not None and source.skip_missing:
            missing.append(name)
            continue
        if problem is not None:
            message = f"archive file {problem}; restore it, or use --skip-missing"
            raise BackupError(path, message)
        with _reading(path) as opened:
            chunks = _chunks(opened, progress)
            backup.add(f"{container.ARCHIVE}{name}", chunks, compress=False)
    return missing


def _add_spool(directory: Path, backup: Writer) -> None:
    """Add the complete lines of all files in the spool.

    A rejected event is set aside before it leaves its spool file. Files with such events are listed
    and copied last, so that they contain it if its spool file no longer does.
    """
    if not directory.is_dir():
        return
    for suffix in (spool.SUFFIX, spool.ASIDE):
        for path in sorted(each for each in directory.iterdir() if each.suffix == suffix):
            if path.is_file() and not path.is_symlink():
                _add_spool_file(path, backup)


def _add_spool_file(path: Path, backup: Writer) -> None:
    with contextlib.suppress(FileNotFoundError), _reading(path) as opened:
        lines = _lines(opened)
        first = next(lines, None)
        if first is not None:  # an empty file belongs to a process that has spooled nothing
            backup.add(f"{container.SPOOL}{path.name}", _joined(first, lines))


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the complete lines of a spool file, without an unfinished line and reserved space."""
    for line in file:
        if line.endswith(b"\n"):
            yield line
        elif rest := line.rstrip(b"\0"):
            with contextlib.suppress(ValueError):
                records.decode(rest)
                yield rest + b"\n"


def _joined(first: bytes, lines: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from lines


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BackupError(path, error.strerror or str(error)) from None
    with opened:
        yield opened


def _chunks(file: IO[bytes], progress: Progress) -> Iterator[bytes]:
    while chunk := file.read(container.CHUNK):
        progress(len(chunk))
        yield chunk


@contextlib.contextmanager
def _workspace(file: Path) -> Iterator[Path]:
    """Create a locked directory beside `file`; at the end remove it.

    Removes the directories of processes that died.
    """
    work = file.with_name(f"{file.name}{_WORK_SUFFIX}")
    try:
        for old in {work, *file.parent.glob(f"asu-stats-*.zip{_WORK_SUFFIX}")}:
            with contextlib.suppress(OSError), _locked(old):
                if {each.name for each in old.iterdir()} <= {_PART, container.DATABASE}:
                    shutil.rmtree(old)
        work.mkdir(mode=0o700)
        with _locked(work):
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except FileExistsError:
        raise BackupError(work, "exists: another backup is running") from None
    except OSError as error:
        raise BackupError(error.filename or file, error.strerror or str(error)) from None


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory. Raises `OSError` if another process does."""
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
