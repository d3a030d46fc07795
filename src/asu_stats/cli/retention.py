"""`asu-stats retention`: archive expired details, or show what would be archived."""

from typing import Annotated

import typer

from asu_stats.cli import jobs, options, output
from asu_stats.service.jobs import policy_of
from asu_stats.settings import load
from asu_stats.store import migrate
from asu_stats.store.archive import expiry
from asu_stats.text import plainly
from asu_stats.times import utc_today

app = typer.Typer(help="Retention and archiving.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `run` a subcommand."""


@app.command()
def run(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be archived; change nothing.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Run even if the clock cannot be confirmed."),
    ] = False,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Archive expired details and delete expired hourly figures. No other figure changes.

    It can be stopped at any time and run again. If the job is running in a server, nothing
    happens. A clock that is ahead would delete hourly figures too early: without --force, the
    command fails if the seven days before today have neither an event nor a run.
    """
    if not dry_run:
        jobs.run_named("retention", database, json=json, force=force)
        return
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        policy = policy_of(load(database_url=database))
        found = expiry.waiting(engine, policy, utc_today())
    if json:
        output.print_json(found)
    else:
        rows = [(name.replace("_", " "), plainly(count)) for name, count in found.items()]
        output.print_table(("", "rows"), rows)
