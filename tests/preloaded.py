"""What the process that commands are forked from has imported and made, so that no command does."""

from importlib import import_module

from fastapi.utils import create_model_field

from asu_stats import error_phrases
from asu_stats.reports.endpoints import REPORTS
from asu_stats.store import migrate
from tests import adapters

for name in (
    "alembic.autogenerate",
    "apscheduler.schedulers.background",
    "asu_stats.server.application",
    "asu_stats.server.protocol",
    "asu_stats.server.serving",
    "psycopg",
    "pydantic.v1",
    "rich.console",
    "rich.progress",
    "rich.table",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "typer",
    "typer.core",
):
    import_module(name)

adapters.share()
for report in REPORTS:
    create_model_field(name="response", type_=report.response, mode="serialization")
migrate.head()
error_phrases.first_rule(["error"])
