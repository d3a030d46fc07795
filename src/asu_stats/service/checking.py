"""Checks of a database and its files, for `asu-stats db check`. Nothing is changed."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Engine

from asu_stats.exceptions import SchemaError, StoreRefusedError, StoreUnavailableError
from asu_stats.recorder import spool
from asu_stats.settings import Settings
from asu_stats.store import migrate
from asu_stats.store.archive import segments
from asu_stats.store.database import integrity
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.verification import verify
from asu_stats.text import counted

Progress = Callable[[int, int], object]

_NEWEST: Final = 2  # days that are always recounted
_OTHER_USERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check. An `error` is damage, or stops a server; a `warning` is neither."""

    check: str
    status: Literal["ok", "warning", "error"]
    detail: str


def check(
    settings: Settings, engine: Engine, *, days: int, progress: Progress = lambda *_: None
) -> list[Finding]:
    """Return at least one finding per check. Up to `days` days are recounted.

    `progress` is called with the number of recounted days and of all days to recount.
    """
    found = [_schema(engine)]
    found += _integrity(engine)
    if found[0].status == "ok":
        found += _figures(engine, days, progress)
        found += _archive(engine)
    found += _spool(settings.spool_path)
    found += _permissions(settings)
    return found


def _schema(engine: Engine) -> Finding:
    try:
        return Finding("schema", "ok", migrate.check(engine))
    except (SchemaError, StoreUnavailableError) as error:
        return Finding("schema", "error", str(error))


def _integrity(engine: Engine) -> Iterator[Finding]:
    try:
        with read_snapshot(engine, unlimited=True) as connection:
            found = integrity.problems(connection)
    except StoreUnavailableError as error:
        found = [str(error)]
    for problem in found:
        yield Finding("integrity", "error", problem)
    if not found:
        yield Finding("integrity", "ok", "no damage found")


def _figures(engine: Engine, days: int, progress: Progress) -> Iterator[Finding]:
    """Compare the rollups of the newest days and of a random sample with their details."""
    try:
        known = verify.days(engine)
        chosen = sample(known, days)
        wrong = 0
        for number, day in enumerate(chosen, 1):
            differences = verify.of_day(engine, day)
            progress(number, len(chosen))
            if differences:
                wrong += 1
                detail = f"{day}: {counted(len(differences), 'difference')}, see rollups verify"
                yield Finding("figures", "error", detail)
    except (StoreUnavailableError, StoreRefusedError) as error:
        yield Finding("figures", "error", str(error))
        return
    if not wrong:
        detail = f"{counted(len(chosen), 'day')} of {len(known):,} recounted, no difference"
        yield Finding("figures", "ok", detail)


def sample(days: list[date], limit: int) -> list[date]:
    """Return the newest two days and a random sample of the others, up to `limit` days."""
    newest = sorted(days)[-min(_NEWEST, limit) :] if limit else []
    others = sorted(set(days) - set(newest))
    return sorted([*newest, *random.sample(others, min(len(others), limit - len(newest)))])


def _archive(engine: Engine) -> Iterator[Finding]:
    try:
        with read_snapshot(engine) as connection:
            problems = segments.problems(connection)
            directory = segments.directory_of(connection)
    except StoreUnavailableError as error:
        yield Finding("archive", "error", str(error))
        return
    for name, problem in problems.items():
        yield Finding("archive", "error", f"{directory / name}: {problem}")
    if not problems:
        yield Finding("archive", "ok", "all archive files exist")


def _spool(directory: Path) -> Iterator[Finding]:
    waiting, has_aside = 0, False
    try:
        paths = sorted(directory.iterdir()) if directory.exists() else []
        for path in paths:
            if path.suffix not in {spool.SUFFIX, spool.ASIDE}:
                continue
            with path.open("rb") as file:
                lines = sum(line.endswith(b"\n") for line in file)
            if path.suffix == spool.SUFFIX:
                waiting += lines
            elif lines:
                has_aside = True
                yield Finding("spool", "warning", f"{path}: {counted(lines, 'line')}")
    except OSError as error:
        yield Finding("spool", "error", f"{error.filename or directory}: {error.strerror}")
        return
    if not has_aside:
        yield Finding("spool", "ok", f"{counted(waiting, 'event')} waiting")


def _permissions(settings: Settings) -> Iterator[Finding]:
    """Check that this user can write, and that other users cannot read."""
    file = settings.database_file
    paths = [settings.spool_path, settings.archive_directory]
    paths += [file, file.parent] if file else []
    found = []
    for path in filter(Path.exists, paths):
        if not os.access(path, os.W_OK, effective_ids=True):
            found.append(Finding("permissions", "error", f"{path}: not writable for this user"))
        mode = path.stat().st_mode & 0o777
        if file is not None and path != file.parent and mode & _OTHER_USERS:
            private = f"{mode & ~_OTHER_USERS:o}"
            detail = f"{path}: other users have access (mode {mode:o}); run chmod {private}"
            found.append(Finding("permissions", "warning", detail))
    yield from found or [Finding("permissions", "ok", "this user can write, others cannot read")]
