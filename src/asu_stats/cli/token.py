"""`asu-stats token`: tokens for sending events and for reading statistics."""

import re
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Final

import typer

from asu_stats.api import tokens
from asu_stats.cli import options, output
from asu_stats.exceptions import InvalidParameterError
from asu_stats.store import migrate
from asu_stats.text import is_storable
from asu_stats.times import aware, midnight, utc_now
from asu_stats.windows import parse_date

app = typer.Typer(help="Access tokens.", no_args_is_help=True)

_LIFETIME: Final = "days, such as 90d, or a later day, YYYY-MM-DD"
_DAYS: Final = re.compile(r"([1-9]\d{0,4})d", re.ASCII)


def _name(text: str) -> str:
    if not is_storable(text):
        raise typer.BadParameter("NAME: expected text in UTF-8")
    return text


Name = Annotated[str, typer.Argument(help="Name of the token.", metavar="NAME", callback=_name)]


@app.command()
def create(
    name: Name,
    scope: Annotated[
        tokens.Scope,
        typer.Option(
            help="Scope: ingest (send events), read (read statistics, with full request hashes) "
            "or operator (read, and silence alerts)."
        ),
    ],
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="Lifetime in days, such as 90d, or the UTC day on which it expires, YYYY-MM-DD. "
            "Default: it does not expire.",
        ),
    ] = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Create a token and print it once."""
    if not name.strip():
        raise typer.BadParameter("NAME: expected a name")
    expires_at = _expiry(expires, utc_now())
    with options.opened(database) as engine:
        migrate.check(engine)
        token = tokens.create(engine, name, scope, expires_at=expires_at)
    if json:
        row = {"name": name, "scope": scope, "token": token, "expires_at": expires_at}
        output.print_json(row)
    else:
        typer.echo(token)


@app.command("list")
def list_tokens(database: options.Database = None, json: options.Json = False) -> None:
    """List all tokens, including expired and revoked ones. The tokens themselves are not stored.

    The last use is up to five minutes older than the actual one.
    """
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        found = [asdict(token) for token in tokens.all_tokens(engine)]
    if json:
        output.print_json(found)
    else:
        columns = ("name", "scope", "prefix", "created", "expires", "last used", "revoked")
        output.print_table(columns, [tuple(row.values()) for row in found])


@app.command()
def revoke(name: Name, database: options.Database = None, json: options.Json = False) -> None:
    """Revoke a token. It is invalid immediately, on all servers."""
    with options.opened(database) as engine:
        migrate.check(engine)
        tokens.revoke(engine, name)
    if json:
        output.print_json({"name": name, "revoked": True})
    else:
        typer.echo(f"{name}: revoked")


def _expiry(text: str | None, now: datetime) -> datetime | None:
    """Return when a token expires, from a number of days or a day. Raises `typer.BadParameter`."""
    if text is None:
        return None
    days = _DAYS.fullmatch(text)
    try:
        if days:
            return (now + timedelta(days=int(days[1]))).replace(microsecond=0)
        found = aware(midnight(parse_date("--expires", text)))
        if found > now:
            return found
    except (InvalidParameterError, OverflowError):
        pass
    raise typer.BadParameter(f"--expires {text[:80]}: expected {_LIFETIME}")
