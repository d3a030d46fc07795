"""`asu-stats rollups`: compare the rollups with their details, or recompute them."""

from dataclasses import asdict

import typer
from rich.progress import Progress

from asu_stats.cli import options, output
from asu_stats.service.jobs import retained_range_of
from asu_stats.settings import load
from asu_stats.store import migrate
from asu_stats.store.verification import verify
from asu_stats.text import counted

app = typer.Typer(
    help="Compare the rollups with their details, or rebuild them.", no_args_is_help=True
)
_SHOWN = 50


@app.command("verify")
def verify_rollups(
    database: options.Database = None,
    start: options.Start = None,
    end: options.End = None,
    json: options.Json = False,
) -> None:
    """Recount every day from its details; exit with status 1 if a rollup differs."""
    first, last = options.days(start, end)
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        days = len(verify.days(engine, first, last))
        with output.progress(days, "verify") as bar:
            kept = retained_range_of(load(database_url=database))
            found = list(
                verify.differences(engine, first, last, lambda _: _advance(bar), kept=kept)
            )
    if json:
        output.print_json({"days": days, "differences": [asdict(item) for item in found]})
    elif found:
        columns = ("table", "key", "column", "stored", "counted")
        rows = [
            (item.table, " ".join(map(str, item.key)), item.column, item.stored, item.counted)
            for item in found[:_SHOWN]
        ]
        output.print_table(columns, rows)
        typer.echo(
            f"{counted(len(found), 'difference')} in {counted(days, 'day')}; "
            "`asu-stats rollups rebuild` repairs the rollups"
        )
    else:
        typer.echo(f"{counted(days, 'day')} compared: no differences")
    if found:
        raise typer.Exit(1)


@app.command()
def rebuild(
    database: options.Database = None,
    start: options.Start = None,
    end: options.End = None,
    json: options.Json = False,
) -> None:
    """Recompute the rollups of every day from its details, one day at a time.

    Without --end, missing hourly figures within hourly_rollup_days are restored too.
    """
    first, last = options.days(start, end)
    with options.opened(database) as engine:
        migrate.check(engine)
        days = len(verify.days(engine, first, last))
        with output.progress(days, "rebuild") as bar:
            kept = retained_range_of(load(database_url=database))
            verify.rebuild(engine, first, last, lambda _: _advance(bar), kept=kept)
    if json:
        output.print_json({"days": days})
    else:
        typer.echo(f"{counted(days, 'day')} rebuilt")


def _advance(bar: Progress) -> None:
    bar.advance(bar.task_ids[0])
