"""Restores a backup to an empty destination.

The whole backup is checked before anything is written. The database appears last and atomically.
An interrupted restore leaves only complete files, which the next restore accepts because their
content equals that of the backup.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Final, Self

from sqlalchemy import Connection, Engine

from asu_stats.backup import container
from asu_stats.backup.container import Entry, Progress, Reader
from asu_stats.durability import sync_directory
from asu_stats.exceptions import BackupError
from asu_stats.ownership import Owner
from asu_stats.store import migrate
from asu_stats.store.database import copies, dialects, locks, partitions
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.times import utc_today

_PART: Final = ".restoring"
_SQLITE_SUFFIXES: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a backup is restored: an SQLite `file` or another database, and two directories."""

    engine: Engine
    file: Path | None
    archive_directory: Path
    spool: Path

    @property
    def database(self) -> str:
        """Database system: `sqlite` or `postgresql`."""
        return self.engine.dialect.name


def check(reader: Reader, destination: Destination) -> None:
    """Check that a backup can be restored to a destination; write nothing. Raises `BackupError`."""
    manifest = reader.manifest
    if manifest.database != destination.database:
        message = f"a backup of {manifest.database} cannot be restored into {destination.database}"
        raise BackupError(reader.path, message)
    if not migrate.is_known(manifest.schema_revision):
        message = (
            f"schema {manifest.schema_revision}: expected up to {migrate.head()}; use a newer "
            "asu-stats"
        )
        raise BackupError(reader.path, message)
    _check_entries(reader)
    if destination.file is not None:
        _check_file(destination.file)
    else:
        with read_snapshot(destination.engine) as connection:
            _check_no_tables(connection)
    for directory, folder in _directories(destination).items():
        _check_directory(directory, manifest.in_folder(folder))


def restore(reader: Reader, destination: Destination, progress: Progress) -> list[str]:
    """Restore a backup that passed `check`. Return the skipped tables: those of other programs.

    Raises `BackupError` or `StoreUnavailableError`; then nothing is restored.
    """
    try:
        with _RestoredFiles() as files:
            if destination.file is None:
                return _restore_tables(reader, destination, files, progress)
            files.restore(reader, destination, progress)
            _restore_file(reader, destination.file, progress)
            return []
    except OSError as error:
        subject = error.filename or destination.file or "database"
        raise BackupError(subject, error.strerror or str(error)) from None


def _directories(destination: Destination) -> dict[Path, str]:
    return {destination.archive_directory: container.ARCHIVE, destination.spool: container.SPOOL}


# Checks ------------------------------------------------------------------------------------------


def _check_entries(reader: Reader) -> None:
    """Check that a backup has exactly the entries that its database needs."""
    manifest = reader.manifest
    if manifest.database == "sqlite":
        expected = {container.DATABASE}
    else:
        expected = {f"{container.TABLES}{name}" for name in manifest.tables}
    directories = (container.ARCHIVE, container.SPOOL)
    found = {each.name for each in manifest.entries if not each.name.startswith(directories)}
    if different := sorted(expected ^ found):
        problem = "missing" if different[0] in expected else "unexpected"
        raise BackupError(reader.path, f"damaged: {different[0]}: {problem}")


def _check_file(file: Path) -> None:
    if not file.parent.is_dir():
        raise BackupError(file.parent, "no such directory")
    for path in (file, *(file.with_name(f"{file.name}{end}") for end in _SQLITE_SUFFIXES)):
        if os.path.lexists(path) and (path.is_symlink() or path.stat().st_size):
            raise BackupError(path, "exists; the destination must be empty")


def _check_no_tables(connection: Connection) -> None:
    if tables := sorted(dialects.own_tables(connection)):
        contents = f"{len(tables)} tables, such as {tables[0]}"
        raise BackupError("database", f"contains {contents}; the destination must be empty")


def _check_directory(directory: Path, entries: dict[str, Entry]) -> None:
    """Check that a directory is empty, or contains only files of the same backup."""
    if os.path.lexists(directory) and not directory.is_dir():
        raise BackupError(directory, "not a directory")
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_dir() or (name.removesuffix(_PART) in entries and name.endswith(_PART)):
            continue
        if name not in entries or not _is_same(path, entries[name]):
            raise BackupError(path, "exists; the destination must be empty")


def _is_same(path: Path, entry: Entry) -> bool:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == entry.sha256


# Files -------------------------------------------------------------------------------------------


class _RestoredFiles:
    """Archive files and spool, which are restored before the database; removed if that fails."""

    def __init__(self) -> None:
        self._files: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for path in self._files if kind is not None else ():
            path.unlink(missing_ok=True)

    def restore(self, reader: Reader, destination: Destination, progress: Progress) -> None:
        for directory, folder in _directories(destination).items():
            for name, entry in reader.manifest.in_folder(folder).items():
                path = directory / name
                _owner(path).make_directory(path.parent)
                if not path.exists():
                    self._files.append(path)
                _extract(reader, entry, path, progress)


def _restore_file(reader: Reader, file: Path, progress: Progress) -> None:
    (entry,) = (each for each in reader.manifest.entries if each.name == container.DATABASE)
    _check_file(file)
    _extract(reader, entry, file, progress)


def _extract(reader: Reader, entry: Entry, path: Path, progress: Progress) -> None:
    """Write an entry to a file. The file gets its name when it is complete and synced to disk."""
    part = path.with_name(f"{path.name}{_PART}")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(_owner(path).create(part, os.O_WRONLY, 0o600), "wb") as file:
            for chunk in reader.read(entry):
                progress(len(chunk))
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(path.parent)


def _owner(path: Path) -> Owner:
    """Return the owner of a file's directory, with a mode that denies other users access."""
    return Owner.of_directory(path.parent)._replace(mode=0o600)


# Tables ------------------------------------------------------------------------------------------


def _restore_tables(
    reader: Reader, destination: Destination, files: _RestoredFiles, progress: Progress
) -> list[str]:
    """Restore schema and rows in one transaction, which commits after the files are complete."""
    manifest = reader.manifest
    entries = manifest.in_folder(container.TABLES)
    with write_transaction(destination.engine, waiting=migrate.log_waiting) as connection:
        locks.lock_writers(connection, waiting=migrate.log_waiting)
        _check_no_tables(connection)
        copies.make_portable(connection)
        migrate.create(connection, manifest.schema_revision)
        tables = copies.columns(connection)
        for name in tables:
            entry = f"{container.TABLES}{name}"
            if name not in manifest.tables:
                raise BackupError(reader.path, f"damaged: {entry}: missing")
            chunks = _with_progress(reader.read(entries[name]), progress)
            expected = manifest.tables[name]
            rows = copies.rows_in(connection, name, expected.columns, chunks)
            if rows != expected.rows:
                problem = f"{rows} rows: expected {expected.rows}"
                raise BackupError(reader.path, f"damaged: {entry}: {problem}")
        partitions.keep_before(connection, utc_today())
        copies.number_on(connection, tables)
        copies.gather_statistics(connection, tables)
        files.restore(reader, destination, progress)
    return sorted(set(manifest.tables) - set(tables))


def _with_progress(chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for chunk in chunks:
        progress(len(chunk))
        yield chunk
