"""`asu-stats retention`: archive what is over age, or say what would be."""

from typing import Annotated

import typer

from asu_stats.cli import jobs, options, output
from asu_stats.service.jobs import policy_of
from asu_stats.settings import load
from asu_stats.store import migrate
from asu_stats.store.archive import expiry
from asu_stats.times import utc_today

app = typer.Typer(help="What becomes of details that are over age.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `run` a command of its own."""


@app.command()
def run(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Run although nothing confirms that the clock is right."),
    ] = False,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Archive expired details and delete expired hourly figures. No other figure changes.

    May be stopped at any moment and run again. Where a server is at it there is nothing to do. A
    clock that is years ahead would delete all hours: without --force a run fails if neither an
    event nor a run is of the 92 days before today.
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
        output.print_table(("", "rows"), list(found.items()))
