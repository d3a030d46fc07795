"""Databases that are queried in SQL, and queries of a time range."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeAlias

from asu_stats.windows import Window

Rows: TypeAlias = list[Any]


class Backend(Protocol):
    """A database with the rows of a history."""

    name: str
    data_since: str
    tables: Mapping[str, str]
    """SQL of the tables `requests` and `builds`, and of the day of a column."""

    def rows(self, sql: str) -> Rows:
        """Return the rows of a query."""

    def close(self) -> None:
        """Close the database."""


@dataclass(frozen=True, slots=True)
class WindowQuery:
    """Queries of one time range in one database."""

    backend: Backend
    window: Window

    def requests(self, fields: str, by: str = "", *, where: str = "outcome <> 'rejected'") -> Rows:
        """Return aggregates of requests; of accepted ones unless `where` is given."""
        return self._rows("requests", "timestamp", fields, by, where)

    def builds(self, fields: str, by: str = "", *, where: str = "") -> Rows:
        """Return aggregates of builds that finished in the time range."""
        return self._rows("builds", "finished_at", fields, by, where)

    def day(self, column: str) -> str:
        """Return SQL for the day of a column."""
        return self.backend.tables["day"].format(column)

    def _rows(self, table: str, time: str, fields: str, by: str, where: str) -> Rows:
        after = self.window.end + timedelta(days=1)
        conditions = [
            f"{time} >= '{self.window.start} 00:00:00'",
            f"{time} < '{after} 00:00:00'",
            *([where] if where else []),
        ]
        sql = (
            f"SELECT {', '.join(part for part in (by, fields) if part)} "
            f"FROM {self.backend.tables[table]} WHERE {' AND '.join(conditions)}"
        )
        return self.backend.rows(f"{sql} GROUP BY {by}" if by else sql)
