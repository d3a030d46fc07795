"""`asu-stats db`: schema, backup, restore and check of the database."""

import os
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from asu_stats.cli import backup, options, output
from asu_stats.exceptions import AsuStatsError, ForeignDataError
from asu_stats.importers import go_adoption, go_file, go_times
from asu_stats.ownership import Owner
from asu_stats.service import checking
from asu_stats.settings import Settings, load
from asu_stats.store import distribute as distribution
from asu_stats.store import migrate
from asu_stats.store.database import dialects, partitions
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.text import plainly
from asu_stats.times import utc_today

app = typer.Typer(help="Schema, backup and check of the database.", no_args_is_help=True)
app.command()(backup.backup)
app.command()(backup.restore)


@app.command()
def upgrade(database: options.Database = None, json: options.Json = False) -> None:
    """Upgrade the schema of the database.

    An SQLite file of the Go server is converted in place. Stop that server first. A copy of the
    file is kept, and its tables stay.
    """
    settings = load(database_url=database)
    if settings.database_file and _is_go_file(settings.database_file):
        _adopt(settings, settings.database_file, json=json)
        return
    with options.opened(database, make=True) as engine:
        before = migrate.current(engine)
        indexes = migrate.upgrade(engine, plan_indexes=settings.plan_indexes)
        after = migrate.current(engine)
        partitions.prepare(engine, utc_today())
        if json:
            output.print_json({"before": before, "schema": after, "indexes": indexes})
        elif before != after:
            typer.echo(f"schema {before or 'none'} -> {after}")
        elif indexes:
            done = "created" if settings.plan_indexes else "dropped"
            typer.echo(f"schema {after}: {done} {', '.join(indexes)}")
        else:
            typer.echo(f"schema {after}: up to date")


def _is_go_file(file: Path) -> bool:
    """Return whether a file is that of a Go server. Other problems are reported later."""
    try:
        with go_file.opened(file):
            return True
    except ForeignDataError:
        return False


def _adopt(settings: Settings, file: Path, *, json: bool) -> None:
    copy = _free_name(file)
    with go_file.opened(file) as connection:
        go_file.check_integrity(file, connection)
        try:
            os.close(Owner.of(file, copy.parent).create(copy, os.O_RDWR, 0o600))
            with closing(sqlite3.connect(copy)) as target:
                connection.backup(target)
        except (sqlite3.Error, OSError) as error:
            copy.unlink(missing_ok=True)
            raise AsuStatsError(f"{copy}: {error}; {file} is unchanged") from None
    engine = engines.create(settings.database_url)
    try:
        go_adoption.adopt(engine, go_times.parse, plan_indexes=settings.plan_indexes)
    finally:
        engine.dispose()
    if json:
        output.print_json({"before": None, "schema": migrate.head(), "copy": copy})
        return
    typer.echo(f"schema none -> {migrate.head()}; copy of the file: {copy}")
    typer.echo(
        f"To import its history: asu-stats import go-builder {copy} --database sqlite:///{file}"
    )


def _free_name(file: Path) -> Path:
    """Return an unused name next to a file."""
    copy, number = file.with_name(f"{file.name}.go-server"), 2
    while copy.exists():
        copy, number = file.with_name(f"{file.name}.go-server-{number}"), number + 1
    return copy


@app.command()
def status(database: options.Database = None, json: options.Json = False) -> None:
    """Show the schema of the database. Exits with status 1 if it is not current."""
    with options.opened(database, writes=False) as engine:
        found, needed = migrate.current(engine), migrate.head()
        with read_snapshot(engine) as connection:
            size = dialects.database_size(connection)
    facts = {
        "database": engine.url.render_as_string(),
        "schema": found,
        "needed": needed,
        "current": found == needed,
        "size_bytes": size,
    }
    if json:
        output.print_json(facts)
    else:
        shown = [(name.replace("_", " "), plainly(value)) for name, value in facts.items()]
        output.print_table(("", ""), shown)
    if found != needed:
        raise typer.Exit(1)


@app.command()
def distribute(
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards",
            min=1,
            max=distribution.MOST_SHARDS,
            help="Shards of each table. Default: four per worker.",
        ),
    ] = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Place the largest tables on the workers of Citus (distributed PostgreSQL).

    Stop all servers first, and back up the database. Details and event identities move to the
    workers, everything else stays on the coordinator. If it fails, nothing has changed; it can be
    run again. See docs/scaling.md.
    """
    with (
        options.opened(database) as engine,
        output.progress(None, "distribute", of_bytes=True) as bar,
    ):
        placed = distribution.distribute(
            engine,
            shards=shards,
            progress=lambda done, of: bar.update(bar.task_ids[0], completed=done, total=of),
        )
    if json:
        output.print_json([asdict(each) for each in placed])
        return
    rows = [
        (each.table, each.column, each.shards, "placed" if each.placed else "unchanged")
        for each in placed
    ]
    output.print_table(("table", "by", "shards", ""), rows)


@app.command()
def check(
    days: Annotated[
        int,
        typer.Option(
            "--days", min=0, max=100_000, help="Number of days to recount: the newest and others."
        ),
    ] = 10,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Check schema, integrity, figures, archive files, spool and permissions; change nothing.

    Exits with status 1 if a check finds an error. Warnings do not change the status.
    """
    settings = load(database_url=database)
    with (
        options.opened(database, writes=False) as engine,
        output.progress(None, "check") as bar,
    ):
        found = checking.check(
            settings,
            engine,
            days=days,
            progress=lambda done, of: bar.update(bar.task_ids[0], completed=done, total=of),
        )
    failed = any(each.status == "error" for each in found)
    worst = "error" if failed else "warning" if any(f.status != "ok" for f in found) else "ok"
    if json:
        output.print_json({"status": worst, "checks": [asdict(each) for each in found]})
    else:
        rows = [(each.check, each.status, each.detail) for each in found]
        output.print_table(("check", "status", "detail"), rows)
    if failed:
        raise typer.Exit(1)
