"""Schema migrations, run from the program itself: `upgrade` and what state a database is in."""

from sqlalchemy import Engine

from asu_stats.builds import tables as _builds  # noqa: F401
from asu_stats.store.metadata import metadata


def upgrade(engine: Engine) -> None:
    """Bring the schema to what this program needs."""
    metadata.create_all(engine)
