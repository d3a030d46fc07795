"""The complete declared schema."""

from collections.abc import Sequence
from typing import Final

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from asu_stats.builds import schema as build_tables
from asu_stats.monitor import schema as alert_tables
from asu_stats.store.archive import archive, segments
from asu_stats.store.database import dialects, leases, schema
from asu_stats.store.database.metadata import metadata
from asu_stats.store.details import live_counts, queue_samples
from asu_stats.store.rollups import definitions, names

OWNERS: Final = (
    schema,
    definitions,
    names,
    live_counts,
    archive,
    segments,
    leases,
    queue_samples,
    build_tables,
    alert_tables,
)


_SQLITE: Final = text("SELECT type, tbl_name, name, sql FROM sqlite_schema ORDER BY 1, 2, 3")
# Schemas of SQLite that equal the declared one: comparing takes longer than most upgrades.
_equal: Final[list[Sequence[object]]] = []


def differences(engine: Engine) -> list[object]:
    """Return how a migrated database differs from the declared schema: not at all."""
    with engine.connect() as connection:
        schema = connection.execute(_SQLITE).all() if engine.dialect.name == "sqlite" else None
        if schema in _equal:
            return []
        own = set(dialects.own_tables(connection))

        def is_own(name: str | None, kind: str, _: object) -> bool:
            return kind != "table" or name in own

        options = {"compare_type": True, "include_name": is_own}
        context = MigrationContext.configure(connection, opts=options)
        found = list(compare_metadata(context, metadata))
        if schema is not None and not found:
            _equal.append(schema)
        return found
