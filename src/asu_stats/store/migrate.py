"""Schema migrations, run by the program itself, and the schema state of a database."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Self

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, Select, exists, false, or_, select, update

from asu_stats.exceptions import SchemaError
from asu_stats.loops import Loop
from asu_stats.store.archive import rejections
from asu_stats.store.database import dialects, locks, statements
from asu_stats.store.database import plan_indexes as indexes
from asu_stats.store.database.engine import (
    completeness,
    read_snapshot,
    write_transaction,
)
from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import store_state
from asu_stats.store.rollups.definitions import (
    ATTEMPTS,
    BUSY_SECONDS,
    FAILURES,
    GAPS,
    HOURLY_PROFILES,
    PACKAGES,
    PHASES,
    REPEATS,
    WAITS,
    Rollup,
)
from asu_stats.store.verification import backfill_columns, backfill_rollups

log = logging.getLogger(__name__)

_PROGRESS_SECONDS: Final = 10.0
_REJECTIONS: Final = "0017"  # the migration whose figures also need archive files
_FAILURES: Final = "0027"  # the migration that adds columns to details
# Rollups that migrations added, which are counted from the details.
_FILLED: Final[Mapping[str, Sequence[Rollup]]] = {
    "0022": (GAPS,),
    "0025": (WAITS, REPEATS),
    _FAILURES: (ATTEMPTS, FAILURES),
    "0028": (PHASES,),
    "0029": (HOURLY_PROFILES, BUSY_SECONDS, PACKAGES),
    "0030": (ATTEMPTS,),
}


def _config(
    connection: Connection | None = None, step_done: Callable[..., None] | None = None
) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["step_done"] = step_done
    return config


@cache  # reading the files of all migrations takes 28 ms
def _migrations() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _run_to(
    connection: Connection, schema: str, step_done: Callable[..., None] = lambda **_: None
) -> None:
    """Run the migrations that lead to `schema`, and call `step_done` after each."""
    migrations = _migrations()
    with EnvironmentContext(
        _config(connection, step_done),
        migrations,
        fn=lambda found, _: migrations._upgrade_revs(schema, found),
        destination_rev=schema,
    ):
        migrations.run_env()


@cache  # readiness asks for it
def head() -> str:
    """Return the revision that this program needs."""
    found = _migrations().get_current_head()
    assert found is not None  # noqa: S101 - there is always one
    return found


def current(engine: Engine) -> str | None:
    """Return the revision of a database, `None` before the first upgrade.

    Raises `SchemaError` if it belongs to another program.
    """
    with read_snapshot(engine) as connection:
        return revision(connection)


def revision(connection: Connection) -> str | None:
    """Return the same, read in a transaction."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None:
        check_ours(dialects.own_tables(connection))
    return found


def is_go_servers(tables: Collection[str]) -> bool:
    """Return whether tables are those of a Go server that was not converted yet."""
    return "build_stats" in tables and not {"alembic_version", store_state.name} & set(tables)


def check_ours(tables: Collection[str]) -> None:
    """Raise `SchemaError` if a database with these tables belongs to another program."""
    if tables and "alembic_version" not in tables:
        some = ", ".join(sorted(tables)[:3])
        if is_go_servers(tables):
            words = (
                "a database of the Go server: `asu-stats db upgrade` converts it and keeps a copy"
            )
            raise SchemaError(words)
        raise SchemaError(
            f"not an asu-stats database: it contains tables of another program ({some})"
        )


def upgrade(engine: Engine, *, plan_indexes: bool = True) -> list[str]:
    """Upgrade the schema to the revision of this program, in one transaction without a time limit.

    Only one process does so at a time; others wait. Creates or drops the indexes for manual queries
    and returns their names. Raises `SchemaError` if the database is newer than this program or
    belongs to another one.
    """
    with write_transaction(engine, waiting=log_waiting) as connection:
        locks.lock_writers(connection, waiting=log_waiting)
        return run(connection, revision(connection), plan_indexes=plan_indexes)


def log_waiting() -> None:
    """Log that a migration waits for other processes."""
    log.info("schema: waiting for another process that migrates or writes")


def run(
    connection: Connection, found: str | None = None, *, plan_indexes: bool = True
) -> list[str]:
    """Run the migrations after `found`, and handle indexes like `upgrade`.

    Raises `SchemaError` for a newer schema.
    """
    if found is not None and not is_known(found):
        raise _newer(found)
    try:
        steps = _migrations().iterate_revisions(head(), found or "base")
        missing = [step.revision for step in steps][::-1]
        with _Progress(found, missing) as progress:
            _run_to(connection, "head", progress.step_done)
        if found is not None and _REJECTIONS in missing:
            rejections.count_archived(connection, skip_missing=True)
        if found is not None and _FAILURES in missing:
            backfill_columns.fill(connection)
        if found is not None and (new := [r for at in missing for r in _FILLED.get(at, ())]):
            backfill_rollups.fill(connection, new)
    except (CommandError, RevisionError) as error:
        raise SchemaError(f"schema: {error}; this program needs {head()}") from None
    return indexes.settle(connection, wanted=plan_indexes)


def is_known(schema: str) -> bool:
    """Return whether this program knows a schema: newer releases have others."""
    if schema == head():
        return True
    return schema in {each.revision for each in _migrations().walk_revisions()}


def create(connection: Connection, schema: str) -> None:
    """Migrate a database to a known schema; an empty one gets its tables, and no rows."""
    _run_to(connection, schema)


class _Progress:
    """Logs the progress of migrations: at the start, every few seconds, and at the end."""

    def __init__(self, found: str | None, missing: Sequence[str]) -> None:
        self._found = found
        self._missing = missing
        self._done = 0
        self._loop = Loop("migration progress", self._go_on, seconds=_PROGRESS_SECONDS)
        self._since = time.monotonic()
        # Nothing takes long in a new database.
        self._level = logging.DEBUG if found is None else logging.INFO

    def __enter__(self) -> Self:
        if self._missing:
            self._say("migrating")
            self._loop.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._missing:
            self._loop.join()
            self._say("migrated" if kind is None else "not migrated")

    def step_done(self, **_: object) -> None:
        self._done += 1

    def _go_on(self) -> None:
        self._level = logging.INFO
        self._say("still migrating")

    def _say(self, what: str) -> None:
        log.log(
            self._level,
            "schema: %s from=%s to=%s steps_done=%d of=%d seconds=%.0f",
            *(what, self._found or "none", self._missing[-1], self._done, len(self._missing)),
            time.monotonic() - self._since,
        )


def check(engine: Engine) -> str:
    """Return the revision of a database with the schema of this program.

    Raises `SchemaError`, which says what to do, for any other.
    """
    with read_snapshot(engine) as connection:
        found = revision(connection)
        if found is not None and not is_known(found):
            raise _newer(found)
        if found != head():
            state = "has no schema" if found is None else f"has schema {found}"
            raise SchemaError(
                f"database {state}, this program needs {head()}: run `asu-stats db upgrade`"
            )
        statements.fetch(connection, _everything(len(metadata.tables)))
    completeness(engine).works()
    return found


def _newer(found: str) -> SchemaError:
    return SchemaError(
        f"database has schema {found} of a newer release, this program needs {head()}: install "
        "that release, or restore a backup"
    )


@lru_cache(maxsize=1)
def _everything(_tables: int) -> Select[Any]:
    """Return a query that names every table and column, and reads none."""
    needed = [table for table in metadata.sorted_tables if not table.info.get("optional")]
    return select(or_(*(exists(select(*table.c).where(false())) for table in needed)))


def check_writable(engine: Engine) -> None:
    """Check that a write transaction can begin. Changes nothing.

    Raises `StoreUnavailableError` if the database is read-only or another process writes for too
    long. It does not wait for the disk, so it can be called often.
    """
    with write_transaction(engine) as connection:  # SQLite fails at BEGIN, PostgreSQL at UPDATE
        nothing = update(store_state).where(false())
        connection.execute(nothing.values(changes=store_state.c.changes))
