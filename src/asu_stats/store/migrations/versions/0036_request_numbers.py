"""Numbers of requests come from a sequence on PostgreSQL, where several batches take some at once.

The sequence belongs to `store_state.requests_numbered`, which stays the greatest number in use.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0036"
down_revision: str | None = "0032"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the changes."""
    if op.get_context().dialect.name != "postgresql":
        return
    op.execute("CREATE SEQUENCE request_numbers OWNED BY store_state.requests_numbered")
    op.execute("SELECT setval('request_numbers', requests_numbered + 1, false) FROM store_state")
