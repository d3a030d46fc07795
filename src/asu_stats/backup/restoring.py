"""Restores a backup into an empty place.

The whole backup is checked before anything is written. The database appears last and at once, so
what an interrupted restore leaves behind is not used; the next restore accepts it, since each file
has the content that the backup has.
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
from asu_stats.store.database import copies, dialects
from asu_stats.store.database.engine import read_snapshot, write_transaction

_PART: Final = ".restoring"
_BESIDE: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a backup is restored: an SQLite `file` or another database, and two directories."""

    engine: Engine
    file: Path | None
    archive_directory: Path
    spool: Path

    @property
    def database(self) -> str:
        """Name of the kind of database."""
        return self.engine.dialect.name


def check(reader: Reader, place: Place) -> None:
    """Check that a backup fits into a place, without writing anything. Raises `BackupError`."""
    manifest = reader.manifest
    if manifest.database != place.database:
        words = f"a backup of {manifest.database} cannot be restored into {place.database}"
        raise BackupError(reader.path, words)
    if not migrate.is_known(manifest.schema_revision):
        words = f"has schema {manifest.schema_revision}, this program knows up to {migrate.head()}"
        raise BackupError(reader.path, f"{words}: use a newer asu-stats")
    _check_entries(reader)
    if place.file is not None:
        _check_file(place.file)
    else:
        with read_snapshot(place.engine) as connection:
            _check_no_tables(connection)
    for directory, folder in _directories(place).items():
        _check_directory(directory, manifest.inside(folder))


def restore(reader: Reader, place: Place, progress: Progress) -> list[str]:
    """Restore a backup; see `check`. Return tables that the schema of asu-stats does not have.

    Raises `BackupError` or `StoreUnavailableError`. Nothing is restored then.
    """
    try:
        with _Placed() as placed:
            if place.file is None:
                return _restore_tables(reader, place, placed, progress)
            placed.directories(reader, place, progress)
            _restore_file(reader, place.file, progress)
            return []
    except OSError as error:
        where = error.filename or place.file or "database"
        raise BackupError(where, error.strerror or str(error)) from None


def _directories(place: Place) -> dict[Path, str]:
    return {place.archive_directory: container.ARCHIVE, place.spool: container.SPOOL}


# Checks ------------------------------------------------------------------------------------------


def _check_entries(reader: Reader) -> None:
    """Check that a backup has the entries that its database needs, and no others."""
    manifest = reader.manifest
    if manifest.database == "sqlite":
        expected = {container.DATABASE}
    else:
        expected = {f"{container.TABLES}{name}" for name in manifest.tables}
    directories = (container.ARCHIVE, container.SPOOL)
    found = {each.name for each in manifest.entries if not each.name.startswith(directories)}
    if odd := sorted(expected ^ found):
        problem = "is missing" if odd[0] in expected else "is not expected"
        raise BackupError(reader.path, f"damaged: {odd[0]}: {problem}")


def _check_file(file: Path) -> None:
    if not file.parent.is_dir():
        raise BackupError(file.parent, "no such directory")
    for path in (file, *(file.with_name(f"{file.name}{end}") for end in _BESIDE)):
        if os.path.lexists(path) and (path.is_symlink() or path.stat().st_size):
            raise BackupError(path, "exists; a backup is restored into an empty place only")


def _check_no_tables(connection: Connection) -> None:
    if tables := sorted(dialects.own_tables(connection)):
        some = f"it contains {len(tables)} tables, such as {tables[0]}"
        raise BackupError(
            "database", f"is not empty: {some}; a backup is restored into an empty place only"
        )


def _check_directory(directory: Path, entries: dict[str, Entry]) -> None:
    """Check that a directory is empty, or contains files of the same backup alone."""
    if os.path.lexists(directory) and not directory.is_dir():
        raise BackupError(directory, "not a directory")
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_dir() or (name.removesuffix(_PART) in entries and name.endswith(_PART)):
            continue
        if name not in entries or not _is_same(path, entries[name]):
            raise BackupError(path, "exists; a backup is restored into an empty place only")


def _is_same(path: Path, entry: Entry) -> bool:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == entry.sha256


# Files -------------------------------------------------------------------------------------------


class _Placed:
    """Files that are in their place before the database is; removed if the restore fails."""

    def __init__(self) -> None:
        self._files: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for path in self._files if kind is not None else ():
            path.unlink(missing_ok=True)

    def directories(self, reader: Reader, place: Place, progress: Progress) -> None:
        """Restore the archive files and the spool."""
        for directory, folder in _directories(place).items():
            for name, entry in reader.manifest.inside(folder).items():
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
    """Write an entry to a file, which gets its name when it is complete and synced to disk."""
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
    """Return the owner of the directory of a file; nobody else can read what is restored."""
    return Owner.of_directory(path.parent)._replace(mode=0o600)


# Tables ------------------------------------------------------------------------------------------


def _restore_tables(reader: Reader, place: Place, placed: _Placed, progress: Progress) -> list[str]:
    """Restore schema and rows in one transaction, which also waits for the files."""
    manifest = reader.manifest
    entries = manifest.inside(container.TABLES)
    with write_transaction(place.engine, waiting=migrate.log_waiting) as connection:
        dialects.lock_writers(connection, waiting=migrate.log_waiting)
        _check_no_tables(connection)
        copies.make_portable(connection)
        migrate.create(connection, manifest.schema_revision)
        made = copies.columns(connection)
        for name in made:
            if name not in manifest.tables:
                raise BackupError(reader.path, f"damaged: {container.TABLES}{name}: is missing")
            chunks = _reported(reader.read(entries[name]), progress)
            given = manifest.tables[name]
            rows = copies.rows_in(connection, name, given.columns, chunks)
            if rows != given.rows:
                words = f"expected {given.rows} rows, not {rows}"
                raise BackupError(reader.path, f"damaged: {container.TABLES}{name}: {words}")
        copies.number_on(connection, made)
        copies.gather_statistics(connection, made)
        placed.directories(reader, place, progress)
    return sorted(set(manifest.tables) - set(made))


def _reported(chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for chunk in chunks:
        progress(len(chunk))
        yield chunk
