"""The archive: where expired details go, and how they are restored.

Rollups are sums of details, so no figure reads an archived row. A late event may need one: a second
end of an old build, or a request that is older than the build that ended it. `Restore` brings such
rows back in the transaction of the event, before anything else is read. Events are then applied as
if nothing had been archived. A row is in one place at a time and keeps its `id`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    FromClause,
    Index,
    Select,
    Table,
    bindparam,
    func,
    select,
    text,
    union_all,
)

from asu_stats.events import FAILED_STATUSES, NO_HASH
from asu_stats.store.archive import segments
from asu_stats.store.database import statements
from asu_stats.store.database.locks import NotAloneError
from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import build_metrics, client_stats, error_stats
from asu_stats.store.rollups.counting import EndedBuild
from asu_stats.times import bounds, midnight

DETAILS: Final = (build_metrics, client_stats, error_stats)
# The time that places a row on a day.
TIMES: Final = {build_metrics: "finished_at", client_stats: "timestamp", error_stats: "timestamp"}
SLOWEST: Final = (
    10  # successful builds of each day that are never archived, since responses show them
)


# Returns the condition that a time lies in a range.
Condition: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[bool]]


def _archive_of(table: Table) -> Table:
    """Declare the archive table of a detail table: the same columns, the same row numbers."""
    columns = (
        Column(
            column.name,
            column.type,
            primary_key=column.primary_key,
            autoincrement=False,
            nullable=column.nullable,
        )
        for column in table.columns
    )
    return Table(
        f"{table.name}_archive",
        metadata,
        *columns,
        comment=f"Expired rows of {table.name}.",
        info=table.info,
    )


build_metrics_archive = _archive_of(build_metrics)
client_stats_archive = _archive_of(client_stats)
error_stats_archive = _archive_of(error_stats)
ARCHIVES: Final[Mapping[Table, Table]] = {
    build_metrics: build_metrics_archive,
    client_stats: client_stats_archive,
    error_stats: error_stats_archive,
}
Index(None, build_metrics_archive.c.request_hash, build_metrics_archive.c.build_id, unique=True)
Index(None, build_metrics_archive.c.finished_at)
Index(
    None,
    client_stats_archive.c.request_hash,
    client_stats_archive.c.ended_at,
    postgresql_where=text("ended_at IS NOT NULL"),  # that of a partition from `client_stats`
)
Index(None, client_stats_archive.c.timestamp)
Index(None, error_stats_archive.c.timestamp)
Index(None, error_stats_archive.c.fingerprint, error_stats_archive.c.timestamp)


def with_builds(errors: CTE) -> tuple[FromClause, list[ColumnElement[Any]]]:
    """Return errors joined with their builds in tables, and the build_id and text of these.

    Citus would read all builds for an outer join with `errors`, so an inner one finds them first.
    """
    found: FromClause = errors
    stored: list[FromClause] = []
    for table in (build_metrics, build_metrics_archive):
        b = table.c
        of_errors = (
            select(b.request_hash, b.build_id, b.error_message)
            .join_from(errors, table, _is_build(errors, table))
            .distinct()
            .subquery(f"{table.name}_of_errors")
        )
        found = found.outerjoin(of_errors, _is_build(errors, of_errors))
        stored.append(of_errors)
    wanted = ("build_id", "error_message")
    return found, [func.coalesce(*(builds.c[name] for builds in stored)) for name in wanted]


def _is_build(errors: FromClause, builds: FromClause) -> ColumnElement[bool]:
    e, b = errors.c, builds.c
    return (b.request_hash == e.request_hash) & (b.build_id == e.build_id)


def names(table: Table) -> tuple[str, ...]:
    """Return the columns of a table, the row number first."""
    return tuple(column.name for column in table.columns)


def everything(table: Table) -> FromClause:
    """Return the rows of a detail table, live and archived, without those in files."""
    both = (select(*each.columns) for each in (table, ARCHIVES[table]))
    return union_all(*both).subquery(f"{table.name}_all")


def counted(table: Table, within: Condition) -> FromClause:
    """Return the rows of a detail table whose time is `within` a range, live and archived.

    With the rows of files that `segments.load` has loaded. The range is a condition of each part:
    Citus would otherwise read whole tables to put them together with rows of files.
    """
    parts = (table, ARCHIVES[table], segments.UNPACKED[table])
    return union_all(
        *(select(*part.columns).where(within(part.c[TIMES[table]])) for part in parts)
    ).subquery(f"{table.name}_all")


def slowest(table: Table, day: date) -> Select[int]:
    """Select the row numbers of a day's slowest successful builds, sorted like `performance`."""
    t = table.c
    first, after = bounds(day)
    here = (t.finished_at >= first) & (t.finished_at < after) & (t.status == "success")
    order = (t.duration_seconds.desc(), t.finished_at, t.request_hash, t.build_id)
    known = t.duration_seconds.is_not(None)
    return select(t.id).where(here, known).order_by(*order).limit(SLOWEST)


def move(connection: Connection, source: Table, target: Table, rows: Iterable[int]) -> None:
    """Move the rows with the given numbers between two tables with the same columns."""
    wanted = sorted(rows)
    if not wanted:
        return
    columns, given = names(source), [(number,) for number in wanted]
    found = statements.fetch_for(connection, _ROWS[source], _ID, given)
    statements.insert(connection, target, columns, found)
    statements.delete(connection, source, ("id",), given)


def _rows_of(table: Table) -> statements.Joined:
    """Select the rows with given numbers."""
    return lambda given: select(*table.columns).join_from(given, table, table.c.id == given.c.id)


_ID: Final = (("id", BigInteger()),)
_ROWS: Final = {table: _rows_of(table) for pair in ARCHIVES.items() for table in pair}


# What late events need ---------------------------------------------------------------------------

_b, _r = build_metrics_archive, client_stats_archive
_HASH: Final = ("request_hash", _b.c.request_hash.type)
_BUILD: Final = (_HASH, ("build_id", _b.c.build_id.type))
_SINCE: Final = (_HASH, ("since", _b.c.finished_at.type))


def _same_build(given: FromClause) -> Select[Any]:
    found = select(_b.c.id, _b.c.request_hash, _b.c.finished_at)
    return found.join_from(given, _b, _is_build(given, _b))


def _ended_since(given: FromClause) -> Select[Any]:
    here = (_b.c.request_hash == given.c.request_hash) & (_b.c.finished_at >= given.c.since)
    return select(_b.c.id).join_from(given, _b, here)


def _waited_since(given: FromClause) -> Select[Any]:
    here = (_r.c.request_hash == given.c.request_hash) & (_r.c.ended_at >= given.c.since)
    return select(_r.c.id).join_from(given, _r, here)


_FIRST: Final = bindparam("first", type_=DateTime)
_AFTER: Final = bindparam("after", type_=DateTime)


def _between(moment: ColumnElement[Any]) -> ColumnElement[bool]:
    return (moment >= _FIRST) & (moment < _AFTER)


def _asked(rows: FromClause) -> Select[Any]:
    """Select the accepted requests with a hash."""
    t = rows.c
    return select(t.request_hash, t.timestamp).where(
        t.outcome != "rejected", t.request_hash != NO_HASH
    )


_ASKED: Final = _asked(client_stats).where(_between(client_stats.c.timestamp))
_EVER_ASKED: Final = _asked(counted(client_stats, _between))


class Restore:
    """Restores, in the transaction of a batch, the archived rows that it needs.

    Details before `archived_before` may be archived. If it is `None`, nothing is archived, and the
    methods return at once. Restoring changes rows of other requests, so a batch that is not `alone`
    gets a `NotAloneError` instead.
    """

    def __init__(
        self, connection: Connection, archived_before: date | None, *, alone: bool
    ) -> None:
        self._connection = connection
        self._alone = alone
        self._before = midnight(archived_before) if archived_before else None

    @property
    def archived_before(self) -> datetime | None:
        """A time from which on no details were archived; `None` if none ever were."""
        return self._before

    def send_builds(
        self, builds: Iterable[tuple[str, str]], moments: Mapping[str, datetime]
    ) -> Callable[[], bool]:
        """Ask for the archived builds that a batch may change or that its requests wait for.

        These are `builds` (hash, build_id), and those that ended at or after the time of their hash
        in `moments`, or after the end of a restored build.

        As in `statements.send`; the returned function restores them, and tells whether there are
        any.
        """
        if self._before is None:
            return lambda: False
        since = {name: moment for name, moment in moments.items() if moment < self._before}
        builds = sorted(builds)
        keys = [segments.build_key(*build) for build in builds]
        files = segments.send_holding(self._connection, (*keys, *map(segments.builds_key, since)))
        same = statements.send_for(self._connection, _same_build, _BUILD, builds)
        later = statements.send_for(self._connection, _ended_since, _SINCE, sorted(since.items()))

        def restore() -> bool:
            any_there = bool(files() or same() or later())
            if any_there:
                self._restore_builds(builds, keys, since)
            return any_there

        return restore

    def _restore_builds(
        self, builds: Sequence[tuple[str, str]], keys: Iterable[int], since: dict[str, datetime]
    ) -> None:
        self._require_alone()
        self._unpack(build_metrics, keys)
        found = statements.fetch_for(self._connection, _same_build, _BUILD, builds)
        for _, request_hash, finished in found:
            since[request_hash] = min(finished, since.get(request_hash, finished))
        self._unpack(build_metrics, map(segments.builds_key, since))
        later = statements.fetch_for(self._connection, _ended_since, _SINCE, sorted(since.items()))
        self._move(build_metrics, {row[0] for row in (*found, *later)})

    def waits(self, since: Mapping[str, datetime]) -> bool:
        """Restore the waits of each hash that had not ended before a time.

        Returns whether there may have been any.
        """
        if self._before is None:
            return False
        late = sorted(item for item in since.items() if item[1] < self._before)
        self._unpack(client_stats, (segments.waits_key(request_hash) for request_hash, _ in late))
        found = statements.fetch_for(self._connection, _waited_since, _SINCE, late)
        self._move(client_stats, (row[0] for row in found))
        return bool(late)

    def requests(self, first: datetime, after: datetime) -> list[tuple[str, datetime]]:
        """Return hash and time of the accepted requests from a time to before another."""
        statement, files = _ASKED, statements.Tables()
        if self._before is not None and first < self._before:
            statement = _EVER_ASKED
            files = segments.load(self._connection, TIMES, first, after)
        rows = statements.fetch(self._connection, statement, files, first=first, after=after)
        return [(request_hash, at) for request_hash, at in rows]

    def after(self, ends: Iterable[tuple[str, str, EndedBuild]]) -> None:
        """Correct the archive after changed ends of builds (hash, build_id, old end).

        Their errors are deleted, and the slowest builds of their days are restored.
        """
        if self._before is None:
            return
        gone = [end for end in ends if end[2].at < self._before]
        failed = [
            (end.at, request_hash, build_id)
            for request_hash, build_id, end in gone
            if end.status in FAILED_STATUSES
        ]
        self._unpack(error_stats, (segments.error_key(build[1], build[2]) for build in failed))
        key = ("timestamp", "request_hash", "build_id")
        statements.delete(self._connection, error_stats_archive, key, failed)
        for day in sorted({end.at.date() for *_, end in gone if end.status == "success"}):
            of_day = segments.between(self._connection, build_metrics, *bounds(day))
            self._unpack_files(build_metrics, {each.id for each in of_day})
            numbers = self._connection.execute(slowest(build_metrics_archive, day)).scalars()
            self._move(build_metrics, numbers)

    def _unpack(self, table: Table, keys: Iterable[int]) -> None:
        """Restore the files of a table that contain any of `keys`."""
        self._unpack_files(table, segments.holding(self._connection, keys))

    def _unpack_files(self, table: Table, numbers: Collection[int]) -> None:
        if numbers:
            self._require_alone()
            segments.unpack(self._connection, ARCHIVES[table], table, numbers)

    def _move(self, table: Table, rows: Iterable[int]) -> None:
        """Restore rows of a table from its archive table."""
        if wanted := list(rows):
            self._require_alone()
            move(self._connection, ARCHIVES[table], table, wanted)

    def _require_alone(self) -> None:
        if not self._alone:
            raise NotAloneError
