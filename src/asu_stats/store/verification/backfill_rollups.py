"""Counts rollups that a migration added from the existing details.

A migration only creates the tables. The upgrade then counts the live and archived details of every
day here, in the same transaction, earliest day first.
"""

import logging
from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from asu_stats.exceptions import MissingArchiveError
from asu_stats.store.archive.days import DETAILS, with_something
from asu_stats.store.database import changes, statements
from asu_stats.store.database.schema import store_state
from asu_stats.store.rollups import names
from asu_stats.store.rollups.definitions import HOURLY, Rollup
from asu_stats.store.verification import recount

log = logging.getLogger(__name__)


def fill(connection: Connection, rollups: Sequence[Rollup]) -> None:
    """Count `rollups` of every day that has details.

    A day with an unreadable archive file is logged and skipped; `rollups rebuild` counts it once
    the file is restored.
    """
    days = with_something(connection, DETAILS)
    since = connection.execute(select(store_state.c.hourly_since)).scalar()
    for day in days:
        try:
            recount.add_missing_days(connection, day)
            deltas = recount.of_day(connection, day)
        except MissingArchiveError as error:
            log.warning("schema: new figures of %s not counted: %s", day, error)
            continue
        for rollup in rollups:
            time = rollup.table.c[rollup.key[0]]
            if rollup in HOURLY and since is not None and day < since:
                continue
            here = recount.on_day(time) if rollup in HOURLY else time == recount.DAY
            connection.execute(delete(rollup.table).where(here), recount.parameters_of(day))
            columns = (*rollup.key, *rollup.adds)
            statements.insert(connection, rollup.table, columns, deltas.of(rollup))
        names.keep(connection, deltas.names)
    if days:
        changes.stamp(connection, days, changes.begin(connection).changes)
