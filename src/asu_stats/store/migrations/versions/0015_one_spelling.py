"""Profiles have one spelling: a comma becomes an underscore, and rows that become equal one row."""

import time
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_RESPELL = "UPDATE {} SET profile = replace(profile, ',', '_') WHERE profile LIKE '%,%'"
_NAMED = (
    *("build_metrics", "build_metrics_archive", "client_stats", "client_stats_archive"),
    *("error_stats", "error_stats_archive", "request_metadata", "build_requests", "build_stats"),
)
_BUILDS = (
    *("request_count", "cache_hits", "success_count", "failure_count"),
    *("timed_builds", "build_time_seconds"),
)
_EVENTS = ("started", "finished")
# The keys before the profile, and the sums.
_ROLLUPS = {
    "stats_profiles": (("date", "version", "target"), _BUILDS),
    "stats_hourly_profiles": (("hour", "version", "target"), _BUILDS),
    "stats_client_devices": (("date", "client", "target"), ("requests",)),
}


# Rows of other spellings are added to those of the one; what was added stays in a table.
_MERGE = (
    """
    CREATE TEMPORARY TABLE merged_{table} AS
    SELECT {key}, replace(profile, ',', '_') AS profile, {added}
    FROM {table} WHERE profile LIKE '%,%' GROUP BY {key}, replace(profile, ',', '_')
    """,
    "DELETE FROM {table} WHERE profile LIKE '%,%'",
    """
    INSERT INTO {table} ({key}, profile, {sums})
    SELECT {key}, profile, {sums} FROM merged_{table} WHERE true
    ON CONFLICT ({key}, profile) DO UPDATE SET {more}
    """,
)
_COUNT_PROFILES = """
    UPDATE stats_version_target SET unique_profiles = (
        SELECT count(*) FROM stats_profiles AS p
        WHERE p.date = stats_version_target.date
        AND p.version = stats_version_target.version
        AND p.target = stats_version_target.target
        AND p.request_count > 0
    ) WHERE EXISTS (
        SELECT 1 FROM merged_stats_profiles AS m
        WHERE m.date = stats_version_target.date
        AND m.version = stats_version_target.version
        AND m.target = stats_version_target.target
    )
"""
# Answers and packed days of these days are of before.
_CHANGED_DAYS = """
    CREATE TEMPORARY TABLE changed_days AS
    SELECT date FROM merged_stats_profiles UNION SELECT date FROM merged_stats_client_devices
"""
_STAMP = """
    INSERT INTO day_changes (date, changes)
    SELECT date, CAST(:changes AS BIGINT) FROM changed_days WHERE true
    ON CONFLICT (date) DO UPDATE SET changes = excluded.changes
"""


def upgrade() -> None:
    """Make the changes."""
    for table in _NAMED:
        op.execute(_RESPELL.format(table))
    for table in ("build_metrics", "build_metrics_archive"):
        _respell_reported_names(table)
    for table, (key, sums) in _ROLLUPS.items():
        words = {
            "table": table,
            "key": ", ".join(key),
            "sums": ", ".join(sums),
            "added": ", ".join(f"sum({name}) AS {name}" for name in sums),
            "more": ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums),
        }
        for statement in _MERGE:
            op.execute(statement.format(**words))
    op.execute(_COUNT_PROFILES)
    op.execute(_CHANGED_DAYS)
    _count_a_change()
    for table in ("changed_days", *(f"merged_{table}" for table in _ROLLUPS)):
        op.execute(f"DROP TABLE {table}")


def _respell_reported_names(table_name: str) -> None:
    """Change what the events of builds said of their requests."""
    table = sa.table(table_name, sa.column("id"), sa.column("reported_names", sa.JSON()))
    said = table.c.reported_names
    other = sa.or_(*(said[event]["profile"].as_string().like("%,%") for event in _EVENTS))
    connection = op.get_bind()
    rows = connection.execute(sa.select(table.c.id, said).where(said.is_not(None), other)).all()
    change = (
        sa.update(table)
        .where(table.c.id == sa.bindparam("row"))
        .values(reported_names=sa.bindparam("names", type_=sa.JSON()))
    )
    for row, names in rows:
        for event in _EVENTS:
            if "profile" in names.get(event, {}):
                names[event]["profile"] = names[event]["profile"].replace(",", "_")
        connection.execute(change, {"row": row, "names": names})


def _count_a_change() -> None:
    """Stamp the days that have changed, if there are any."""
    connection = op.get_bind()
    if connection.execute(sa.text("SELECT count(*) FROM changed_days")).scalar_one():
        before = connection.execute(sa.text("SELECT changes FROM store_state")).scalar_one()
        changes = {"changes": max(before + 1, time.time_ns() // 1000)}
        connection.execute(sa.text("UPDATE store_state SET changes = :changes"), changes)
        connection.execute(sa.text(_STAMP), changes)
