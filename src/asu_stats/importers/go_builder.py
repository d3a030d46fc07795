"""Imports the history in an SQLite file of the Go server: every row of `build_stats` once.

The identity of an event consists of the file's first row and the number of its own row. Reading a
file again, or resuming after a crash, therefore changes nothing. Each pass reads one snapshot.
"""

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeAlias

from asu_stats.event_times import Acceptable
from asu_stats.events import UNKNOWN, BuildFinished, Event, RequestReceived
from asu_stats.exceptions import EventTooEarlyError, InvalidEventError, OtherHistoryError
from asu_stats.importers import go_file
from asu_stats.importers.go_matching import Match, Matches
from asu_stats.importers.go_rows import Reader
from asu_stats.importers.report import Rejected, Summary
from asu_stats.importers.sending import Sender
from asu_stats.times import utc_now

_COLUMNS: Final = (
    *("id", "timestamp", "event_type", "version", "target", "profile"),
    *("duration_seconds", "diff_packages"),
)
_ROWS: Final = 1_000
_BEGINNING: Final = -(2**63)

log = logging.getLogger(__name__)

Progress = Callable[[int], object]
Counted: TypeAlias = tuple[str, Event]  # the kind of its row


@dataclass(slots=True)
class Sums:
    """Sums of the rows of a day or version, named as in `stats_legacy`; durations in seconds."""

    request: int = 0
    cache_hit: int = 0
    build_completed: int = 0
    failure: int = 0
    diff_packages_true: int = 0
    diff_packages_false: int = 0
    timed_builds: int = 0
    seconds: int = 0


@dataclass(slots=True)
class Totals:
    """The rows of a file by UTC day and by version."""

    days: dict[date, Sums] = field(default_factory=lambda: defaultdict(Sums))
    versions: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))

    def add(self, kind: str, event: Event) -> None:
        """Count the event of a row."""
        if isinstance(event, RequestReceived):
            version, diff = event.version, event.diff_packages
        elif isinstance(event, BuildFinished):
            version, diff = event.names.version or UNKNOWN, event.names.diff_packages
        else:
            return
        for sums in (self.days[event.time.date()], self.versions[version]):
            setattr(sums, kind, getattr(sums, kind) + 1)
            if kind in {"request", "build_completed"}:
                sums.diff_packages_true += diff is True
                sums.diff_packages_false += diff is False
            if isinstance(event, BuildFinished) and event.duration_seconds is not None:
                sums.timed_builds += 1
                sums.seconds += event.duration_seconds


class GoBuilder:
    """A file of the Go server. `last` is the last row that was read, `totals` the sums so far.

    `acceptable` returns which times a row may have. Rows that are ahead of this host's clock are
    read again in the next pass.
    """

    def __init__(
        self,
        path: Path,
        summary: Summary,
        rejected: Rejected,
        acceptable: Callable[[], Acceptable] = lambda: Acceptable(utc_now()),
    ) -> None:
        self.path = path
        self.last = _BEGINNING
        self._last_row: go_file.FileRow | None = None
        self._first: str | None = None
        self._given = summary.source
        self.totals = Totals()
        self._summary = summary
        self._rejected = rejected
        self._acceptable = acceptable
        self._early: list[int] = []

    def read(self, sender: Sender, progress: Progress, begin: Progress) -> None:
        """Send the events of the rows after `last`; `begin` is called with their number.

        Raises `ForeignDataError` for an unreadable file.
        """
        with go_file.opened(self.path) as connection:
            if not self._summary.rows:
                go_file.check_integrity(self.path, connection)
            elif not go_file.continues_after(connection, self._last_row):
                self._restart(go_file.source_of(connection))
            with _snapshot(connection):
                self._read(connection, sender, progress, begin)

    def _restart(self, source: str | None) -> None:
        """Restart at the first row: the file was replaced or emptied."""
        if self._given and source != self._first:
            raise OtherHistoryError(
                self.path,
                "contains other rows than before: import it with a --source other than "
                f"{self._given}",
            )
        log.warning("import: %s contains other rows than before, reading from the start", self.path)
        self._summary.source, self.last, self._last_row = self._given, _BEGINNING, None
        self._early.clear()

    def _read(
        self, connection: sqlite3.Connection, sender: Sender, progress: Progress, begin: Progress
    ) -> None:
        table = go_file.TABLE
        count = f"SELECT count(*) FROM {table} WHERE id > ?"  # noqa: S608
        (rows,) = connection.execute(count, (self.last,)).fetchone()
        begin(rows)
        if self.last == _BEGINNING:
            self._first = go_file.source_of(connection)
        source = self._summary.source or self._first
        if source is None or not (rows or self._early):
            return
        self._summary.source = source
        matches = Matches(connection, None if self.last == _BEGINNING else self.last)
        self._summary.unknown = matches.lacks
        work = _Pass(connection, Reader(source), matches, self.last)
        again, self._early = self._early, []
        for row_id in again:
            if row := work.row(row_id):
                self._import_row(work, row, sender)
        for row in work.rows():
            self._import_row(work, row, sender)
            self._summary.rows += 1
            self.last = row["id"]
            if self._summary.rows % _ROWS == 0:
                progress(_ROWS)
        sender.flush()
        self._last_row = go_file.row_of(connection, self.last)
        progress(rows % _ROWS)

    def _import_row(self, work: "_Pass", row: dict[str, Any], sender: Sender) -> None:
        summary, doubts = self._summary, list[str]()
        try:
            together, counted, match = work.events(row, doubts)
            self._check_times(together)
        except EventTooEarlyError:
            self._early.append(row["id"])
            summary.early = len(self._early)
            return
        except (ValueError, InvalidEventError) as error:
            summary.rejected += 1
            self._rejected.put(row, str(error), imported=False)
            return
        for doubt in doubts:
            summary.doubtful += 1
            self._rejected.put(row, doubt, imported=True)
        kind = row["event_type"]
        summary.kinds[kind] += 1
        if match is not None:
            summary.matched[kind] += 1
        for of_kind, event in counted:
            self.totals.add(of_kind, event)
            summary.extend(event.time)
        summary.early = len(self._early)
        sender.send(together)

    def _check_times(self, events: Sequence[Event]) -> None:
        acceptable = self._acceptable()
        for event in events:
            acceptable.check(event.time)
        for event in events:
            acceptable.check_ahead(event.time)


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Read one snapshot of the file while its server may write."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class _Pass:
    """One pass over a file: the events of its rows after `after`, in order."""

    def __init__(
        self, connection: sqlite3.Connection, reader: Reader, matches: Matches, after: int
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._matches = matches
        self._after = after
        known = go_file.columns(connection, go_file.TABLE)
        shown = (name if name in known else f"NULL AS {name}" for name in _COLUMNS)
        self._select = f"SELECT {', '.join(shown)} FROM {go_file.TABLE}"  # noqa: S608

    def rows(self) -> Iterator[dict[str, Any]]:
        found = self._connection.execute(f"{self._select} WHERE id > ? ORDER BY id", (self._after,))
        return (dict(zip(_COLUMNS, row, strict=True)) for row in found)

    def row(self, number: int) -> dict[str, Any] | None:
        """Return one row, `None` if it no longer exists."""
        found = self._connection.execute(f"{self._select} WHERE id = ?", (number,)).fetchone()
        return found and dict(zip(_COLUMNS, found, strict=True))

    def events(
        self, row: dict[str, Any], doubts: list[str]
    ) -> tuple[list[Event], list[Counted], Match | None]:
        """Return the events of one transaction, the kinds they count as, and the match.

        A request with a matched hash is sent together with the end of its build, which is
        skipped later. One without the other would be wrong if the
        import stopped there.
        """
        match = self._matches.of(row["id"])
        is_end = match is not None and match.kind != "request"
        if match and is_end and self._matches.is_paired(match, row["id"], self._after):
            return [], [], match
        own = self._reader.events(row, match, doubts)
        counted = [(row["event_type"], own[-1])]
        if match is None or is_end or match.end_row is None:
            return own, counted, match
        end = self.row(match.end_row)
        if end is None:
            return own, counted, match
        waited_for = self._reader.events(end, self._matches.of(match.end_row), [])
        return [*own, *waited_for], [*counted, (end["event_type"], waited_for[-1])], match
