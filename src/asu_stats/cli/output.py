"""Output of commands: tables and progress bars for users, JSON for programs."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from asu_stats.cloudevents import format_time
from asu_stats.times import aware, naive

# A time of the API, which tables show like all others.
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
_BARS: Final = "▁▂▃▄▅▆▇█"
# The width of tables that are piped: each row stays on one line.
_PIPED_WIDTH: Final = 10_000

console = Console()
errors = Console(stderr=True)


def print_json(value: object) -> None:
    """Print a value as JSON. Times are RFC 3339 with `Z`."""
    console.print_json(json.dumps(value, default=_as_text))


def _as_text(value: object) -> str:
    """Convert a value that has no JSON type. A time without zone is UTC."""
    if isinstance(value, datetime):
        return format_time(value if value.tzinfo else aware(value))
    return str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows as a table, without interpreting markup. No value is cut.

    In a pipe, lines have no spaces at their end. Without rows, the word `none` is printed.
    """
    if not rows:
        typer.echo("none")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else _plain(cell) for cell in row))
    if console.is_terminal:
        console.print(table)
        return
    piped = Console(width=_PIPED_WIDTH)
    with piped.capture() as captured:
        piped.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def sparkline(values: Sequence[float | None]) -> str:
    """Return values as a line of bars, each from 0 to the largest; unknown ones are spaces."""
    most = max((each for each in values if each is not None), default=0)
    steps = (len(_BARS) - 1) / most if most else 0
    return "".join(" " if each is None else _BARS[round(steps * each)] for each in values)


def shown_time(moment: datetime) -> str:
    """Return a time for users, in UTC and without fractions of a second."""
    return f"{naive(moment) if moment.tzinfo else moment:%Y-%m-%d %H:%M:%S} UTC"


def _plain(cell: object) -> str:
    text = (shown_time(cell) if isinstance(cell, datetime) else str(cell)).replace("[", r"\[")
    if _TIME.fullmatch(text):
        text = f"{text[:10]} {text[11:19]} UTC"
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


class _Speed(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@contextmanager
def progress(total: int | None, label: str, *, of_bytes: bool = False) -> Iterator[Progress]:
    """Show a progress bar on standard error, if it is a terminal; of items or `of_bytes`."""
    amounts = (
        (DownloadColumn(), TransferSpeedColumn()) if of_bytes else (MofNCompleteColumn(), _Speed())
    )
    with Progress(
        TextColumn(label),
        BarColumn(),
        *amounts,
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    ) as bar:
        bar.add_task(label, total=total)
        yield bar
