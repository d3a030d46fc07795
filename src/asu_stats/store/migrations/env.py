"""How Alembic runs here: on the connection handed in by `store.migrate`."""

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    transactional_ddl=True,
    on_version_apply=attributes["step_done"],
)
context.run_migrations()
