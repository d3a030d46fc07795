"""The complete declared schema."""

from typing import Final

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from asu_stats.builds import schema as build_tables
from asu_stats.monitor import schema as alert_tables
from asu_stats.store.archive import archive, segments
from asu_stats.store.database import leases, schema
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


def differences(engine: Engine) -> list[object]:
    """Return how a migrated database differs from the declared schema: not at all."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))
