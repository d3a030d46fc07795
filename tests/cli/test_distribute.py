"""`asu-stats db distribute` where there is no Citus. For one with Citus see tests/store."""

from pathlib import Path

import pytest
from sqlalchemy import inspect, make_url

from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from tests.cli.test_commands import run

WORDS = {
    "sqlite": "needs PostgreSQL with the extension citus; this database is SQLite",
    "postgresql": "the extension citus is missing in this database. Add citus to "
    "shared_preload_libraries of the coordinator and each worker, restart them, and run "
    "CREATE EXTENSION citus in this database on each",
}


def test_without_citus_it_is_refused(database_url: str, tmp_path: Path) -> None:
    done = run(database_url, tmp_path, "db", "distribute", "--json")
    words = WORDS[make_url(database_url).get_backend_name()]
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"asu-stats: db distribute: {words}\n"
    engine = engines.create(database_url)
    assert migrate.check(engine) == migrate.head()
    key = inspect(engine).get_pk_constraint("client_stats")["constrained_columns"]
    assert key == ["id", "timestamp"][: 1 + (engine.dialect.name == "postgresql")]
    engine.dispose()


@pytest.mark.parametrize("shards", ["0", "1025", "x"])
def test_the_number_of_shards_has_bounds(tmp_path: Path, shards: str) -> None:
    done = run("sqlite:///none.db", tmp_path, "db", "distribute", "--shards", shards)
    assert done.returncode == 2
    assert "--shards" in done.stderr
