"""The Go server's table and endpoints, in its own SQL."""

import sqlite3
from collections.abc import Sequence
from datetime import date
from typing import Any
from weakref import finalize

TABLE = """
    CREATE TABLE build_stats (
        id INTEGER PRIMARY KEY, timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        event_type TEXT NOT NULL, version TEXT, target TEXT, profile TEXT,
        duration_seconds INTEGER, diff_packages BOOLEAN)
"""
COLUMNS = "timestamp, event_type, version, target, profile, duration_seconds, diff_packages"
Row = tuple[Any, ...]

# As that server asked, but for the window: UTC days instead of hours that end now.
SINCE = "timestamp >= date(:today, '+1 day', '-' || :days || ' days')"
BUILDS = "event_type IN ('request', 'build_completed')"
ENABLED = "COALESCE(SUM(CASE WHEN diff_packages = 1 THEN 1 ELSE 0 END), 0)"
DISABLED = "COALESCE(SUM(CASE WHEN diff_packages = 0 THEN 1 ELSE 0 END), 0)"


class GoServer:
    """The old server's table and its questions."""

    def __init__(self, rows: Sequence[Row], today: date) -> None:
        self.today = today
        self.database = sqlite3.connect(":memory:")
        finalize(self, self.database.close)
        self.database.execute(TABLE)
        values = "?, ?, ?, ?, ?, ?, ?"
        insert = f"INSERT INTO build_stats ({COLUMNS}) VALUES ({values})"  # noqa: S608
        self.database.executemany(insert, rows)

    def ask(self, sql: str, days: int) -> list[Row]:
        return self.database.execute(
            sql, {"today": self.today.isoformat(), "days": days}
        ).fetchall()

    def kinds(self, name: str, condition: str, days: int) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        events = f"FROM build_stats WHERE {SINCE} AND {condition}"
        sql = f"SELECT {name} AS name, event_type, COUNT(*) {events} GROUP BY name, event_type"
        for key, kind, count in self.ask(sql, days):
            found.setdefault(key, {})[kind] = count
        return found

    def answers(self, days: int, weeks: int) -> dict[str, Any]:
        split = f"FROM build_stats WHERE {SINCE} AND {BUILDS}"
        ((total, on, off),) = self.ask(f"SELECT COUNT(*), {ENABLED}, {DISABLED} {split}", days)
        by_version = self.ask(
            f"SELECT version, COUNT(*), {ENABLED}, {DISABLED} {split} AND version IS NOT NULL "
            "GROUP BY version ORDER BY version DESC",
            7 * weeks,
        )
        trend = self.ask(
            f"SELECT DATE(timestamp) AS day, {ENABLED}, {DISABLED}, COUNT(*) {split} "
            "GROUP BY day ORDER BY day DESC",
            days,
        )
        stats = total, on, off, *(n / total * 100 if total else 0 for n in (on, off))
        names = ("total_builds", "diff_packages_true", "diff_packages_false")
        version_names = ("version", *names, "percentage_true")
        day_names = ("date", "diff_packages_true", "diff_packages_false", "total")
        return {
            "builds-per-day": self.kinds("DATE(timestamp)", "1", days),
            "builds-by-version": self.kinds("version", "version IS NOT NULL", 7 * weeks),
            "diff-packages-stats": dict(
                zip((*names, "percentage_true", "percentage_false"), stats, strict=True)
            ),
            "diff-packages-by-version": [
                dict(zip(version_names, (*row, row[2] / row[1] * 100), strict=True))
                for row in by_version
            ]
            or None,
            "diff-packages-trend": [dict(zip(day_names, row, strict=True)) for row in trend]
            or None,
        }
