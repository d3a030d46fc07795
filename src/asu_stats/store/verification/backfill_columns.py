"""Fills the columns that schema 0027 added to details from the other details.

Rows in archive files do not change: their failures count without fingerprint.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, func, select, union_all, update

from asu_stats.events import FAILED_STATUSES
from asu_stats.exceptions import MissingArchiveError
from asu_stats.store.archive import segments
from asu_stats.store.archive.archive import ARCHIVES
from asu_stats.store.archive.segments import archive_parts
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics, client_stats, error_stats
from asu_stats.store.details import error_fingerprints
from asu_stats.store.details.error_fingerprints import ErrorOccurrence
from asu_stats.store.verification import recount

_ROWS: Final = 1_000
_ASKER: Final = ("client", "client_version", "package_list")


def fill(connection: Connection) -> None:
    """Set client and packages of builds, and fingerprint and package of errors."""
    for builds in (build_metrics, ARCHIVES[build_metrics]):
        _find_clients(connection, builds)
        _name_builds(connection, builds)
    _askers_in_files(connection)
    for errors in (error_stats, ARCHIVES[error_stats]):
        _name_rejections(connection, errors)


def _find_clients(connection: Connection, builds: Table) -> None:
    """Set client and packages of builds: of the earliest request in tables that waited for it."""
    waited = [
        select(t.c.request_hash, t.c.build_id, t.c.timestamp, *(t.c[name] for name in _ASKER))
        for t in (client_stats, ARCHIVES[client_stats])
    ]
    every = union_all(*(each.where(each.selected_columns.build_id.is_not(None)) for each in waited))
    w = every.subquery("waited").c
    order = (w.timestamp, w.client, w.client_version, w.package_list)
    place = func.row_number().over(partition_by=(w.request_hash, w.build_id), order_by=order)
    ranked = select(w.request_hash, w.build_id, *(w[name] for name in _ASKER), place.label("place"))
    first = ranked.subquery("ranked")
    same = and_(
        builds.c.request_hash == first.c.request_hash, builds.c.build_id == first.c.build_id
    )
    found = {name: first.c[name] for name in _ASKER}
    connection.execute(update(builds).values(found).where(same, first.c.place == 1))


def _askers_in_files(connection: Connection) -> None:
    """Set client and packages of builds from the earliest request in files, the oldest rows."""
    place = {column.name: number for number, column in enumerate(client_stats.columns)}
    wanted = ("timestamp", *_ASKER)
    parts = select(archive_parts.c.file).where(archive_parts.c.table_name == client_stats.name)
    found: dict[tuple[str, str], tuple[Any, ...]] = {}
    for file in connection.execute(parts).scalars().all():
        try:
            rows = segments.rows_of(connection, client_stats, file)
        except MissingArchiveError:
            continue  # `backfill_rollups` logs it
        for row in rows:
            if row[place["build_id"]] is None:
                continue
            build = row[place["request_hash"]], row[place["build_id"]]
            asker = tuple(row[place[name]] for name in wanted)
            if build not in found or asker[:3] < found[build][:3]:
                found[build] = asker
    rows = [(*build, *asker[1:]) for build, asker in found.items()]
    for builds in (build_metrics, ARCHIVES[build_metrics]):
        statements.update(connection, builds, ("request_hash", "build_id"), _ASKER, rows)


def _name_builds(connection: Connection, builds: Table) -> None:
    """Set fingerprint and package of failed builds and their errors."""
    b = builds.c
    columns = b.id, b.error_category, b.error_type, b.error_message, b.finished_at, b.request_hash
    failed = select(*columns, b.build_id).where(
        b.status.in_(sorted(FAILED_STATUSES)), b.finished_at.is_not(None)
    )
    found = ("fingerprint", "package")
    last = 0
    while rows := connection.execute(failed.where(b.id > last).order_by(b.id).limit(_ROWS)).all():
        said = _settled(connection, [row[1:6] for row in rows])
        named = [(row.id, *each) for row, each in zip(rows, said, strict=True)]
        statements.update(connection, builds, ("id",), found, named)
        errors = [
            (row.finished_at, row.request_hash, row.build_id, *each)
            for row, each in zip(rows, said, strict=True)
        ]
        key = ("timestamp", "request_hash", "build_id")
        for table in (error_stats, ARCHIVES[error_stats]):
            statements.update(connection, table, key, found, errors)
        last = rows[-1].id


def _name_rejections(connection: Connection, errors: Table) -> None:
    """Set fingerprint, package and client version of the errors of rejected requests."""
    e = errors.c
    columns = e.id, e.error_category, e.error_type, e.error_message, e.timestamp, e.request_hash
    rejected = select(*columns).where(e.build_id.is_(None))
    last = 0
    while rows := connection.execute(rejected.where(e.id > last).order_by(e.id).limit(_ROWS)).all():
        said = _settled(connection, [row[1:] for row in rows])
        named = [(row.id, *each) for row, each in zip(rows, said, strict=True)]
        statements.update(connection, errors, ("id",), ("fingerprint", "package"), named)
        last = rows[-1].id
    for requests in (client_stats, ARCHIVES[client_stats]):
        r = requests.c
        same = (
            r.timestamp == e.timestamp,
            r.request_hash == e.request_hash,
            r.client == e.client,
            r.outcome == "rejected",
        )
        version = update(errors).values(client_version=r.client_version)
        connection.execute(version.where(*same, e.client_version.is_(None)))


def _settled(connection: Connection, rows: Sequence[Sequence[Any]]) -> list[tuple[str, str | None]]:
    """Return fingerprint and package of errors: category, type, text, time and hash."""
    unknown = recount.UNKNOWN_KIND
    errors = [
        ErrorOccurrence(category or unknown.category, kind or unknown.type, *rest)
        for category, kind, *rest in rows
    ]
    known = error_fingerprints.send_known(connection, errors)
    resolved = error_fingerprints.resolve(connection, errors, known)
    resolved.keep(connection)
    said = resolved.errors
    return [(each.fingerprint, each.package or None) for each in said]
