"""The format of a backup: a ZIP file whose `manifest.json` lists all entries with their checksums.

A ZIP file has its directory of entries at the end, so a truncated file is detected when it is
opened.
"""

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from asu_stats.exceptions import BackupError

FORMAT: Final = "asu-stats backup"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
DATABASE: Final = "database.sqlite"
TABLES, ARCHIVE, SPOOL = "tables/", "archive/", "spool/"
CHUNK: Final = 1 << 20
Progress: TypeAlias = Callable[[int], object]

_MANIFEST_BYTES: Final = 1 << 28
_NAME: Final = re.compile(r"(database\.sqlite|(tables|archive|spool)(/[^/\\\x00]+)+)")
_DAMAGE: Final = (
    *(zipfile.BadZipFile, zlib.error, EOFError, struct.error),
    *(NotImplementedError, RuntimeError, OverflowError, UnicodeDecodeError),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file inside a backup: its name, its size in bytes, and its SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TableCopy:
    """A table of PostgreSQL: the columns that are copied, and the number of rows."""

    columns: tuple[str, ...]
    rows: int


class Manifest(BaseModel):
    """The contents of a backup. `taken_at` is the time of its state of the database."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: str
    version: int
    program: str
    taken_at: str
    database: str
    schema_revision: str
    tables: dict[str, TableCopy]
    missing_archive_files: list[str]
    entries: list[Entry]

    def in_folder(self, folder: str) -> dict[str, Entry]:
        """Return the entries of a folder by their names relative to it."""
        return {
            each.name.removeprefix(folder): each
            for each in self.entries
            if each.name.startswith(folder)
        }


class Writer:
    """Writes the entries of a new backup. Its methods raise `OSError`."""

    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._zip = opened
        self._entries: list[Entry] = []

    def add(self, name: str, chunks: Iterable[bytes], *, compress: bool = True) -> Entry:

        info = zipfile.ZipInfo(name)
        info.external_attr = 0o600 << 16
        digest, size = sha256(), 0
        with self._zip.open(name if compress else info, "w", force_zip64=True) as target:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        entry = Entry(name, size, digest.hexdigest())
        self._entries.append(entry)
        return entry

    def finish(self, **facts: Any) -> Manifest:
        """Write the manifest, which `facts` complete, and return it."""
        manifest = Manifest(format=FORMAT, version=VERSION, entries=self._entries, **facts)
        self._zip.writestr(MANIFEST, json.dumps(manifest.model_dump(), indent=1))
        return manifest


@contextmanager
def writing(file: IO[bytes]) -> Iterator[Writer]:
    """Open a new backup in an open file. Raises `OSError`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as opened:
        yield Writer(opened)


class Reader:
    """Reads the entries of a backup and checks each against the manifest."""

    def __init__(self, path: Path, opened: zipfile.ZipFile) -> None:
        self.path = path
        self._zip = opened
        self.manifest = self._read_manifest()
        self._check_names()

    def read(self, entry: Entry) -> Iterator[bytes]:
        """Yield the content of an entry. Raises `BackupError` at its end if it is damaged."""
        digest, size = sha256(), 0
        try:
            with self._zip.open(entry.name) as source:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    if size > entry.bytes:
                        break
                    yield chunk
        except _DAMAGE as error:
            raise self._damaged(entry.name, error) from None
        if size != entry.bytes:
            raise self._damaged(entry.name, f"expected {entry.bytes} bytes")
        if digest.hexdigest() != entry.sha256:
            raise self._damaged(entry.name, "wrong checksum")

    def check(self, progress: Progress) -> None:
        """Read all entries. Raises `BackupError` for the first damaged one."""
        for entry in self.manifest.entries:
            for chunk in self.read(entry):
                progress(len(chunk))

    def _read_manifest(self) -> Manifest:
        try:
            info = self._zip.getinfo(MANIFEST)
            if info.file_size > _MANIFEST_BYTES:
                raise self._damaged(MANIFEST, "too large")
            found = json.loads(self._zip.read(info))
        except KeyError:
            raise BackupError(self.path, f"not a backup of asu-stats: no {MANIFEST}") from None
        except (*_DAMAGE, ValueError, RecursionError) as error:
            raise self._damaged(MANIFEST, error) from None
        given: Mapping[str, Any] = found if isinstance(found, dict) else {}
        if given.get("format") != FORMAT:
            raise BackupError(self.path, f"not a backup of asu-stats: {MANIFEST} differs")
        if given.get("version") != VERSION:
            found_version = f"{given.get('version')!r:.20}"
            raise BackupError(
                self.path,
                f"format version {found_version}: expected {VERSION}; use a newer asu-stats",
            )
        try:
            return Manifest.model_validate(given)
        except ValidationError as error:
            member = ".".join(map(str, error.errors()[0]["loc"]))
            raise self._damaged(MANIFEST, f"{member}: missing or invalid") from None

    def _check_names(self) -> None:
        listed = [entry.name for entry in self.manifest.entries]
        for name in listed:
            if not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
                raise self._damaged(MANIFEST, f"{name!r}: not a valid entry name")
        found = self._zip.namelist()
        if sorted(found) != sorted((*listed, MANIFEST)):
            unexpected = sorted(set(listed) ^ (set(found) - {MANIFEST})) or [MANIFEST]
            name = unexpected[0]
            problem = "missing" if name in listed else "not in the manifest, or duplicate"
            raise self._damaged(name, problem)

    def _damaged(self, name: str, reason: object) -> BackupError:
        return BackupError(self.path, f"damaged: {name}: {str(reason) or 'incomplete'}")


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a backup and read its manifest. Raises `BackupError`."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
            try:
                opened = zipfile.ZipFile(file)
            except (*_DAMAGE, ValueError):
                truncated = head == b"PK\x03\x04"
                raise BackupError(
                    path, "truncated or damaged" if truncated else "not a backup of asu-stats"
                ) from None
            with opened:
                yield Reader(path, opened)
    except OSError as error:
        if error.filename is not None and Path(error.filename) != path:
            raise
        raise BackupError(path, error.strerror or str(error)) from None


def summary(manifest: Manifest) -> dict[str, Any]:
    """Return the facts about a backup that commands print."""
    return {
        "taken_at": manifest.taken_at,
        "database": manifest.database,
        "schema": manifest.schema_revision,
        "archive_files": len(manifest.in_folder(ARCHIVE)),
        "spool_files": len(manifest.in_folder(SPOOL)),
        "missing_archive_files": manifest.missing_archive_files,
        "tables": {name: asdict(table)["rows"] for name, table in manifest.tables.items()},
    }
