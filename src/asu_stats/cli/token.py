"""`asu-stats token`: tokens for sending events and for reading statistics."""

from dataclasses import asdict
from typing import Annotated

import typer

from asu_stats.api import tokens
from asu_stats.cli import options, output
from asu_stats.store import migrate
from asu_stats.text import is_storable

app = typer.Typer(help="Access tokens.", no_args_is_help=True)


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
            help="Scope: ingest (send events) or read (read statistics, with full request hashes)."
        ),
    ],
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Create a token and print it once."""
    if not name.strip():
        raise typer.BadParameter("NAME: expected a name")
    with options.opened(database) as engine:
        migrate.check(engine)
        token = tokens.create(engine, name, scope)
    if json:
        output.print_json({"name": name, "scope": scope, "token": token})
    else:
        typer.echo(token)


@app.command("list")
def list_tokens(database: options.Database = None, json: options.Json = False) -> None:
    """List all tokens, including revoked ones. The tokens themselves are not stored."""
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        found = [asdict(token) for token in tokens.all_tokens(engine)]
    if json:
        output.print_json(found)
    else:
        columns = ("name", "scope", "prefix", "created_at", "revoked_at")
        output.print_table(columns, [tuple(row.values()) for row in found])


@app.command()
def revoke(name: Name, database: options.Database = None) -> None:
    """Revoke a token. It is invalid immediately, on all servers."""
    with options.opened(database) as engine:
        migrate.check(engine)
        tokens.revoke(engine, name)
    typer.echo(f"{name}: revoked")
