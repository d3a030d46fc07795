"""The change counter, read where that costs microseconds."""

import logging
from typing import Final, cast

from sqlalchemy import Engine, select

from asu_stats.store import dialects
from asu_stats.store.tables import store_state

log = logging.getLogger(__name__)

CHANGES: Final = select(store_state.c.changes)


class ChangeCounter:
    """Reads how often figures have changed, from SQLite through a connection of its own.

    For one thread. On PostgreSQL, where it would be a journey, it says that it does not know.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cursor: dialects.Cursor | None = None
        self._text = dialects.compiled("sqlite", CHANGES).text

    def read(self) -> int | None:
        """Return the counter, `None` where that is not known at once."""
        if self._engine.dialect.name != "sqlite":
            return None
        try:
            cursor = self._cursor or self._open()
            cursor.execute(self._text)
            return int(cursor.fetchall()[0][0])
        except Exception as error:  # whoever asks properly is told what is wrong
            log.debug("change counter: %s", error)
            self.close()
            return None

    def _open(self) -> dialects.Cursor:
        self._connection = self._engine.raw_connection()
        self._connection.detach()
        self._cursor = cast(dialects.Cursor, self._connection.cursor())
        return self._cursor

    def close(self) -> None:
        """Give the connection up."""
        if self._cursor is not None:
            self._cursor = None
            self._connection.close()
