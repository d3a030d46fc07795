"""What the process that commands are forked from has imported and made, so that no command does."""

import gc
import tempfile
from importlib import import_module
from pathlib import Path

from asu_stats import error_phrases
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from tests import adapters, compiled
from tests.support import Stats, build, request

gc.disable()  # a fifth of the time went into that
for name in (
    "alembic.autogenerate",
    "apscheduler.schedulers.background",
    "asu_stats.server.application",
    "asu_stats.server.protocol",
    "asu_stats.server.serving",
    "asu_stats.server.sockets",
    "encodings.idna",
    "psycopg",
    "pydantic.v1",
    "rich.console",
    "rich.progress",
    "rich.table",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "typer",
    "typer._adapters",
    "typer.core",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
):
    import_module(name)

adapters.share()
compiled.share()
error_phrases.first_rule(["error"])


def serve_once(directory: Path) -> None:
    """Start a service, let it respond, and stop it.

    Then routes are known to FastAPI, statements are compiled, and no thread is left.
    """
    url = f"sqlite:///{directory}/stats.db"
    engine = engines.create(url)
    migrate.upgrade(engine)
    migrate.check(engine)
    engine.dispose()
    with Stats.on(url, directory / "spool") as stats:
        stats.record(request("h"), *build("h"))
        stats.get("overview")
        assert stats.client.get("/readyz").status_code == 200


with tempfile.TemporaryDirectory(prefix="asu-stats-preloaded-") as place:
    serve_once(Path(place))
gc.enable()
