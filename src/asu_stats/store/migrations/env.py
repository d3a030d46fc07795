"""How Alembic runs here: on the connection handed in by `store.migrate`."""

from alembic import context

from asu_stats.store import migrate
from asu_stats.store.metadata import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
assert migrate  # noqa: S101 - it imports all who declare tables
context.run_migrations()
