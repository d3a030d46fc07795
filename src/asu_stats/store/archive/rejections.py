"""Rejected hashes in archive files of releases that did not count them.

The migration that adds `rejected_days` reads tables only. The upgrade reads the archive files here,
in the same transaction. A rebuild of the rollups reads them again, in case files were missing.
"""

import logging
from typing import Final

from sqlalchemy import Connection, select

from asu_stats.events import NO_HASH
from asu_stats.exceptions import MissingArchiveError
from asu_stats.store.archive import segments
from asu_stats.store.archive.segments import archive_parts
from asu_stats.store.database import changes
from asu_stats.store.database.schema import client_stats
from asu_stats.store.details import request_days, requests
from asu_stats.store.details.request_days import REJECTED, RequestDay
from asu_stats.store.rollups import deltas as rollup_deltas
from asu_stats.store.rollups.deltas import Deltas

log = logging.getLogger(__name__)

_FILES: Final = (
    select(archive_parts.c.file)
    .where(archive_parts.c.table_name == client_stats.name)
    .order_by(archive_parts.c.id)
)


def count_archived(connection: Connection, *, skip_missing: bool) -> None:
    """Count the distinct hashes of rejected requests in archive files. Known days do not change.

    With `skip_missing`, unreadable files are logged and skipped: their rejected requests still
    count, but not as distinct ones. Otherwise raises `MissingArchiveError`.
    """
    found: set[tuple[str, RequestDay]] = set()
    place = {column.name: number for number, column in enumerate(client_stats.columns)}
    for file in connection.execute(_FILES).scalars().all():
        try:
            rows = segments.rows_of(connection, client_stats, file)
        except MissingArchiveError as error:
            if not skip_missing:
                raise
            words = "schema: distinct rejected requests not counted: %s; see `rollups rebuild`"
            log.warning(words, error)
            continue
        for row in rows:
            request_hash = row[place["request_hash"]]
            if row[place["outcome"]] == "rejected" and request_hash != NO_HASH:
                day = RequestDay(0, row[place["timestamp"]].date(), row[place["client"]])
                found.add((request_hash, day))
    if not found:
        return
    known = requests.send_load(connection, sorted({request_hash for request_hash, _ in found}))()
    days = {
        day._replace(request_number=known[request_hash].request_number)
        for request_hash, day in found
        if request_hash in known
    }
    deltas = Deltas()
    numbers = {day.request_number for day in days}
    known_days = request_days.send_known(connection, REJECTED, days, numbers)
    request_days.add(connection, deltas, REJECTED, days, known_days)
    rollup_deltas.add(connection, deltas)
    changes.stamp(connection, deltas.days(), changes.begin(connection).changes)
