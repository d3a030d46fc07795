"""`asu-stats note`: notes that charts show, such as a move to another machine."""

from datetime import datetime
from typing import Annotated

import typer

from asu_stats.cli import options, output
from asu_stats.cloudevents import parse_time
from asu_stats.exceptions import (
    AsuStatsError,
    InvalidEventError,
    InvalidNoteError,
    InvalidParameterError,
)
from asu_stats.store import migrate
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.details import annotations
from asu_stats.text import is_storable
from asu_stats.times import midnight, naive, utc_now
from asu_stats.windows import parse_date

app = typer.Typer(help="Notes on the charts of the dashboard.", no_args_is_help=True)

_DAY_LENGTH = len("2026-09-30")


def _moment(option: str, text: str | None) -> datetime | None:
    """Return a day or a time in UTC, as the database stores it. Raises `typer.BadParameter`."""
    if text is None:
        return None
    try:
        if len(text) <= _DAY_LENGTH:
            return midnight(parse_date(option, text))
        return naive(parse_time(text))
    except (InvalidEventError, InvalidParameterError):
        expected = "a UTC day, YYYY-MM-DD, or a time such as 2026-09-30T12:00:00Z"
        raise typer.BadParameter(f"{option} {text[:80]}: expected {expected}") from None


@app.command()
def add(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="One line, at most 500 characters.")],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="UTC day, or time with offset. Default: now."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="End of the event. Default: a single moment."),
    ] = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Add a note. Everyone with access to the statistics can read it."""
    begin, end = _moment("--at", at) or naive(utc_now()), _moment("--until", until)
    if not is_storable(text):
        raise typer.BadParameter("TEXT: expected text in UTF-8")
    with options.opened(database) as engine:
        migrate.check(engine)
        try:
            with write_transaction(engine) as connection:
                number = annotations.add(connection, "note", text, begin, end)
                (note,) = [each for each in annotations.read(connection) if each.id == number]
        except InvalidNoteError as error:
            raise typer.BadParameter(str(error)) from None
    if json:
        output.print_json(note._asdict())
    else:
        typer.echo(f"note {number}: {output.shown_time(begin)}")


@app.command("list")
def list_notes(database: options.Database = None, json: options.Json = False) -> None:
    """List all notes and changed settings. Times are UTC."""
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        with read_snapshot(engine) as connection:
            found = annotations.read(connection)
    if json:
        output.print_json([note._asdict() for note in found])
    else:
        _, *columns = annotations.Note._fields
        output.print_table(("number", *columns), found)


@app.command()
def remove(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the note.")],
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Remove a note, or the entry of a changed setting."""
    with options.opened(database) as engine:
        migrate.check(engine)
        with write_transaction(engine) as connection:
            found = 0 < number < 1 << 63 and annotations.remove(connection, number)
    if not found:
        raise AsuStatsError(f"no such note: {number}; `asu-stats note list` lists them")
    if json:
        output.print_json({"id": number, "removed": True})
    else:
        typer.echo(f"note {number} removed")
