"""Options that several commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated, TypeAlias

import typer
from sqlalchemy import Engine

from asu_stats.cli import usage
from asu_stats.exceptions import InvalidParameterError
from asu_stats.service import database as databases
from asu_stats.settings import load
from asu_stats.windows import parse_date

Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--database", metavar="URL", help="URL of the database. Default: the setting database_url."
    ),
]
Start: TypeAlias = Annotated[
    str | None, typer.Option("--start", metavar="DAY", help="First UTC day, YYYY-MM-DD.")
]
End: TypeAlias = Annotated[
    str | None, typer.Option("--end", metavar="DAY", help="Last UTC day, YYYY-MM-DD.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def opened(database: str | None, *, make: bool = False, writes: bool = True) -> Iterator[Engine]:
    """Open an engine on the database of `--database` or the settings."""
    with databases.opened(load(database_url=database), make=make, writes=writes) as engine:
        yield engine


def days(start: str | None, end: str | None) -> tuple[date | None, date | None]:
    """Return the days of `--start` and `--end`. Raises `typer.BadParameter`."""
    try:
        first = None if start is None else parse_date("--start", start)
        last = None if end is None else parse_date("--end", end)
    except InvalidParameterError as error:
        raise usage.wrong(error) from None
    if first and last and first > last:
        raise typer.BadParameter(f"--start {first}: expected a day not after --end {last}")
    return first, last
