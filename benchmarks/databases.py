"""Databases of a size, made once and kept: ours through `apply_batch`, the raw rows beside it."""

import shutil
import sys
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.blocks import packer
from asu_stats.store.database import engine as engines
from asu_stats.store.database.metadata import metadata
from benchmarks import parquet_files, stream
from benchmarks.data import LAST_DAY, SEED, Plan

BATCH: Final = 5_000


@dataclass(frozen=True, slots=True)
class Databases:
    """Where the databases of one size are."""

    directory: Path
    size: int

    @property
    def file(self) -> Path:
        """Our SQLite file."""
        return self.directory / "asu-stats.db"

    @property
    def url(self) -> str:
        """Our database."""
        return f"sqlite:///{self.file}"


def progress(words: str) -> None:
    """Say on standard error how far things are."""
    line = f"\r{words:<78}" if sys.stderr.isatty() else f"{words}\n"
    print(line, end="", file=sys.stderr, flush=True)


def prepare(keep: Path, size: int, *, with_raw: bool = True) -> Databases:
    """Return the databases of a size; they are made unless they are there with today's schema."""
    found = Databases(keep / f"{size}-{_schema()}", size)
    found.directory.mkdir(parents=True, exist_ok=True)
    if not found.file.exists():
        new = found.directory / "new.db"
        for file in found.directory.glob("new.db*"):
            file.unlink()
        engine = engines.create(f"sqlite:///{new}")
        migrate.upgrade(engine)
        fill(engine, size)
        packer.pack(engine, LAST_DAY)
        settle(engine)
        new.rename(found.file)
    if with_raw and not (found.directory / "raw.filled").exists():
        parquet_files.write(Plan(size), found.directory)
        (found.directory / "raw.filled").touch()
    return found


def _schema() -> str:
    """Return a digest of the schema, whatever its revision is called, and of the seed."""
    dialect = sqlite.dialect()
    tables = [str(CreateTable(t).compile(dialect=dialect)) for t in metadata.sorted_tables]
    return blake2b(repr((SEED, tables)).encode(), digest_size=4).hexdigest()


def fill(engine: Engine, size: int) -> None:
    """Write the history of a size."""
    started, written = time.monotonic(), 0
    told = started
    for batch in stream.batches(Plan(size), BATCH):
        apply_batch(engine, batch)
        written += len(batch)
        now = time.monotonic()
        if now - told > (1 if sys.stderr.isatty() else 60):
            told = now
            rate = written / (now - started)
            share = 100 * written / (1.67 * size)
            progress(f"{size:,} requests: {written:,} events, {share:.0f} %, {rate:,.0f}/s")
    progress(f"{size:,} requests: {written:,} events in {time.monotonic() - started:.0f} s")
    if sys.stderr.isatty():
        print(file=sys.stderr)


def settle(engine: Engine) -> None:
    """Bring everything into the one file and close it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()


def copy(source: Databases, directory: Path, name: str) -> Path:
    """Return a copy of our SQLite file that may be written to."""
    target = directory / f"{name}.db"
    shutil.copyfile(source.file, target)
    return target
