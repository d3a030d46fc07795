"""Fingerprints of errors have an index by type: a batch with new ones counts those of its types."""

from collections.abc import Sequence

from alembic import op

revision: str = "0038"
down_revision: str | None = "0037"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the changes."""
    op.create_index("ix_error_fingerprints_error_type", "error_fingerprints", ["error_type"])
