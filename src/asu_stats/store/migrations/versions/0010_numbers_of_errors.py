"""The number of an error that was taken back is not given again, where another may be archived."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# AUTOINCREMENT goes on from here; a table that is written anew and empty has no entry yet.
_GO_ON = (
    "DELETE FROM sqlite_sequence WHERE name = 'error_stats'",
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'error_stats', coalesce(max(id), 0) FROM "
    "(SELECT id FROM error_stats UNION ALL SELECT id FROM error_stats_archive)",
)


def upgrade() -> None:
    """Make the changes: PostgreSQL never gives a number twice."""
    if op.get_context().dialect.name != "sqlite":
        return
    arguments = {"sqlite_autoincrement": True}
    with op.batch_alter_table("error_stats", recreate="always", table_kwargs=arguments):
        pass
    for statement in _GO_ON:
        op.execute(sa.text(statement))
