"""Retention: expired details are archived, expired hourly figures deleted.

A batch is one transaction, short enough for concurrent writers. Its size depends on how long the
last one took. At any moment a row is either live or archived, so a killed run can be repeated.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Delete, Engine, Table, and_, delete, func, insert, select, update

from asu_stats.events import new_id
from asu_stats.exceptions import ImplausibleDayError, StoreUnavailableError
from asu_stats.ownership import Owner
from asu_stats.store.archive import archive, expiry, files, months, segments
from asu_stats.store.archive.archive import ARCHIVES, DETAILS, TIMES
from asu_stats.store.archive.expiry import Policy, moment_of
from asu_stats.store.database import changes, locks
from asu_stats.store.database.engine import checkpoint, read_snapshot, write_transaction
from asu_stats.store.database.partitions import next_month
from asu_stats.store.database.schema import store_state
from asu_stats.store.rollups.definitions import HOURLY
from asu_stats.times import bounds, midnight

_HOLD_SECONDS: Final = (
    0.04  # how long a batch may block writers; the slowest batches then stay below 0.1
)
_LONGEST_PAUSE_SECONDS: Final = 0.1  # after a batch; waiting writers run
_ROWS: Final = 500
_MIN_BATCH, _MAX_BATCH = 20, 20_000
_CHECKPOINT: Final = 16  # batches
_FILE_ROWS: Final = 1_000  # minimum rows per file, if there are as many: deleting them is fast
_DETAILS_DAYS: Final = 8  # days whose details always stay in tables: `reports.rolling` counts them

_NEAR: Final = timedelta(days=7)

Guard = Callable[[Connection], None]
Progress = Callable[[date], object]


@dataclass(slots=True)
class Report:
    """Result of a run: rows per table, and how long its batches blocked writers."""

    archived: dict[str, int] = field(default_factory=dict)
    hours_deleted: int = 0
    files_written: int = 0
    rows_in_files: int = 0
    months_moved: int = 0
    months_dropped: int = 0
    batches: int = 0
    longest_hold_seconds: float = 0.0

    def held(self, seconds: float) -> None:
        self.batches += 1
        self.longest_hold_seconds = max(self.longest_hold_seconds, round(seconds, 4))

    def as_dict(self) -> dict[str, Any]:
        return {
            **{f"{name}_archived": rows for name, rows in self.archived.items()},
            "hours_deleted": self.hours_deleted,
            "files_written": self.files_written,
            "rows_in_files": self.rows_in_files,
            "months_moved": self.months_moved,
            "months_dropped": self.months_dropped,
            "batches": self.batches,
            "longest_hold_seconds": self.longest_hold_seconds,
        }


@dataclass(frozen=True, slots=True)
class ArchiveDirectory:
    """The directory that archive files are written to, and their format."""

    path: Path
    form: files.Form
    owner: Owner | None = None  # of the files; by default the owner of the directory

    def file(self, table: Table, day: date) -> str:
        """Return an unused file name in the folder of a table and month."""
        month = f"{day:%Y-%m}"
        name = f"{table.name}-{month}-{new_id()}.{self.form}"
        return f"{table.name}/{month}/{name}"


class BatchSize:
    """Number of rows per batch, adjusted so that each takes about the allowed time."""

    def __init__(self) -> None:
        self.rows = _ROWS

    def took(self, seconds: float) -> None:
        """Adjust to the duration of a batch, then pause to let waiting writers run."""
        factor = min(2.0, max(0.25, _HOLD_SECONDS / max(seconds, 1e-6)))
        self.rows = min(_MAX_BATCH, max(_MIN_BATCH, int(self.rows * factor)))
        time.sleep(min(seconds, _LONGEST_PAUSE_SECONDS))


def is_needed(engine: Engine, today: date, last_run: date | None) -> bool:
    """Return whether there is data from before `today`.

    Raises `ImplausibleDayError` if nothing confirms the day: the clock may be wrong. A run or
    events within a week before it confirm a day. Events of the day itself do not: they may come
    from the same clock.
    """
    start = midnight(today)
    with read_snapshot(engine) as connection:
        times = [moment_of(table) for table in DETAILS]
        newest: list[datetime | None] = [
            connection.execute(select(func.max(time)).where(time < start)).scalar()
            for time in times
        ]
    known = [moment.date() for moment in newest if moment is not None]
    if not known:
        return False
    if today - max(known) <= _NEAR or (last_run is not None and abs(today - last_run) <= _NEAR):
        return True
    last = f"the last run was on {last_run}" if last_run else "there was no earlier run"
    raise ImplausibleDayError(
        f"retention: today is {today}, but the newest event before today is of {max(known)} and "
        f"{last}. If the clock is right, run `asu-stats retention run --force`"
    )


def run(
    engine: Engine,
    policy: Policy,
    today: date,
    *,
    archive_directory: ArchiveDirectory | None = None,
    guard: Guard = lambda _: None,
    progress: Progress = lambda _: None,
) -> Report:
    """Archive expired details and delete expired hourly figures, in small transactions.

    With an `archive_directory`, whole months move on from the archive tables to files. `guard` is
    called in each transaction; if it raises, the transaction is rolled back and the run ends.
    `progress` is called with each finished day. Raises `StoreUnavailableError`.
    """
    this = _Run(engine, policy, today, guard)
    this.announce()
    for table in DETAILS:
        this.report.archived[table.name] = 0
        in_use = set[date]()
        for month in months.expired(engine, policy, today, table):
            if not this.archive_month(table, month):
                in_use.add(month)
            progress(month)
        with read_snapshot(engine, unlimited=True) as connection:
            days = expiry.days(connection, policy, today, table)
        for day in days:
            if day.replace(day=1) not in in_use:
                this.archive_day(table, day)
                progress(day)
        this.report.months_dropped += months.drop_empty(
            engine, table.name, policy.first_day(table.name, today), guard
        )
    for rollup in HOURLY:
        this.delete_hours(rollup.table)
    if archive_directory is not None:
        for table in DETAILS:
            this.to_files(table, archive_directory)
            this.report.months_dropped += months.drop_empty(
                engine, ARCHIVES[table].name, policy.first_day(table.name, today), guard
            )
        with files.locked(archive_directory.path, to_remove=True) as alone:
            if alone:
                _remove_orphans(engine, archive_directory)
    return this.report


@dataclass(slots=True)
class _Run:
    """One run: its parameters, its batch size, and its report."""

    engine: Engine
    policy: Policy
    today: date
    guard: Guard
    pace: BatchSize = field(default_factory=BatchSize)
    report: Report = field(default_factory=Report)

    def announce(self) -> None:
        """Store what may be archived and which hours are deleted, before the first row moves.

        Deleted hours change figures: requests for them are rejected from now on.
        """
        archived = max(self.policy.first_day(table.name, self.today) for table in DETAILS)
        hours = self.policy.first_day("hourly_rollup", self.today)
        t = store_state.c
        with write_transaction(self.engine) as connection:
            locks.lock_writers(connection)
            self.guard(connection)
            known = connection.execute(select(t.archived_before, t.hourly_since)).one()
            values = {}
            if known.archived_before is None or known.archived_before < archived:
                values["archived_before"] = archived
            if known.hourly_since is None or known.hourly_since < hours:
                values["hourly_since"] = hours
                changes.begin(connection)
            if values:
                connection.execute(update(store_state).values(values))

    def archive_month(self, table: Table, month: date) -> bool:
        """Archive the expired rows of a month with its partition, if that is possible.

        Returns false if the tables are in use for too long: the next run tries again. If it is not
        possible, the days of the month are archived one by one.
        """
        done = months.hand_over(self.engine, self.policy, self.today, table, month, self.guard)
        if done is None:
            return False
        if done.rows:
            self.report.archived[table.name] += done.rows
            self.report.months_moved += 1
            self.report.held(done.seconds)
        return True

    def archive_day(self, table: Any, day: date) -> None:
        """Archive the expired rows of a day."""
        with read_snapshot(self.engine) as connection:
            count = expiry.count(self.policy, self.today, table, day)
            left = connection.execute(count).scalar_one()
        while left > 0 and (moved := self._batch(partial(self._move, table, day))):
            self.report.archived[table.name] += moved
            left -= moved

    def delete_hours(self, table: Any) -> None:
        """Delete expired hours in batches."""
        end = midnight(self.policy.first_day("hourly_rollup", self.today))
        old = select(table.c.hour).where(table.c.hour < end).order_by(table.c.hour)
        some: Any = end
        while some is not None:
            with read_snapshot(self.engine) as connection:
                if connection.execute(old.limit(1)).first() is None:
                    return
                some = connection.execute(old.offset(self.pace.rows).limit(1)).scalar()
            gone = delete(table).where(table.c.hour < end if some is None else table.c.hour <= some)
            self.report.hours_deleted += self._batch(partial(_delete, gone))

    def to_files(self, table: Table, archive_directory: ArchiveDirectory) -> None:
        """Move whole expired months of the archive table into files."""
        before = self.policy.first_day(table.name, self.today)
        limit = min(before, self.today - timedelta(days=_DETAILS_DAYS))
        source = ARCHIVES[table]
        moment = source.c[TIMES[table]]
        while True:
            with read_snapshot(self.engine) as connection:
                oldest = connection.execute(select(func.min(moment))).scalar()
                if oldest is None or next_month(oldest.date()) > limit:
                    return
                end = midnight(next_month(oldest.date()))
                some = select(*source.columns).where(moment < end).order_by(moment, source.c.id)
                found = connection.execute(some.limit(max(self.pace.rows, _FILE_ROWS)))
                rows = [tuple(row) for row in found]
            name = archive_directory.file(table, oldest.date())
            file = archive_directory.path.resolve() / name
            size = files.write(file, table, rows, archive_directory.owner)
            if files.read(file, table) != rows:
                raise StoreUnavailableError(
                    f"archive: {file}: reads differently than it was written"
                )
            try:
                self.report.rows_in_files += self._batch(
                    partial(_to_files, table, name, size, rows)
                )
                self.report.files_written += 1
            except _StillNeededError:
                file.unlink()

    def _batch(self, work: Callable[[Connection], int]) -> int:
        """Do `work` in a transaction. Return how many rows it moved."""
        with write_transaction(self.engine) as connection:
            started = time.monotonic()
            locks.lock_writers(connection)
            self.guard(connection)
            rows = work(connection)
        seconds = time.monotonic() - started
        if rows:
            self.report.held(seconds)
            self.pace.took(seconds)
            if self.report.batches % _CHECKPOINT == 0:
                checkpoint(self.engine)
        return rows

    def _move(self, table: Any, day: date, connection: Connection) -> int:
        """Move a batch of rows of a day into the archive."""
        here = expiry.can_be_archived(self.policy, self.today, table, day)
        numbers = (
            select(table.c.id).where(here).order_by(expiry.moment_of(table)).limit(self.pace.rows)
        )
        wanted = list(connection.execute(numbers).scalars())
        if wanted:
            into, columns = ARCHIVES[table], archive.names(table)
            first, after = bounds(day)
            moment = expiry.moment_of(table)  # leads to the partition
            given = and_(table.c.id.in_(wanted), moment >= first, moment < after)
            rows = select(*table.columns).where(given)
            connection.execute(insert(into).from_select(columns, rows))
            connection.execute(delete(table).where(given))
        return len(wanted)


class _StillNeededError(Exception):
    """A late event has restored some of the rows that were about to be archived."""


def _to_files(table: Table, file: str, size: int, rows: files.Rows, connection: Connection) -> int:
    """Replace rows of the archive table by the file that contains them."""
    source = ARCHIVES[table]
    number, place = (archive.names(table).index(name) for name in ("id", TIMES[table]))
    month = rows[0][place].date().replace(day=1)  # leads to the partition
    moment = source.c[TIMES[table]]
    here = moment >= midnight(month), moment < midnight(next_month(month))
    gone = delete(source).where(source.c.id.in_([row[number] for row in rows]), *here)
    if connection.execute(gone).rowcount != len(rows):
        raise _StillNeededError
    segments.add(connection, table, file, size, rows, TIMES[table])
    return len(rows)


def _remove_orphans(engine: Engine, archive_directory: ArchiveDirectory) -> None:
    """Remove files that no row refers to: from a killed run, or restored since.

    Files of today are kept: another process may be reading or writing them.
    """
    with read_snapshot(engine) as connection:
        known = set(connection.execute(select(segments.archive_parts.c.file)).scalars())
    yesterday = time.time() - 86_400
    for table in DETAILS:
        for file in (archive_directory.path / table.name).glob("*/*"):
            if (
                file.relative_to(archive_directory.path).as_posix() not in known
                and file.stat().st_mtime < yesterday
            ):
                file.unlink(missing_ok=True)


def _delete(statement: Delete, connection: Connection) -> int:
    return connection.execute(statement).rowcount
