"""`asu-stats token`: who may send events, and who may see whole request hashes."""

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
        raise typer.BadParameter("NAME: expected a text in UTF-8")
    return text


Name = Annotated[str, typer.Argument(help="A name to know it by.", metavar="NAME", callback=_name)]


@app.command()
def create(
    name: Name,
    scope: Annotated[
        tokens.Scope,
        typer.Option(
            help="What it allows: ingest (send events) or read (see whole request hashes)."
        ),
    ],
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Make a token and print it: now, and never again."""
    if not name.strip():
        raise typer.BadParameter("NAME: expected a name to know it by")
    with options.opened(database) as engine:
        migrate.check(engine)
        token = tokens.create(engine, name, scope)
    if json:
        output.print_json({"name": name, "scope": scope, "token": token})
    else:
        typer.echo(token)


@app.command("list")
def list_tokens(database: options.Database = None, json: options.Json = False) -> None:
    """List the tokens, revoked ones too; the tokens themselves are not stored."""
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
    """Make a token invalid, at once and everywhere."""
    with options.opened(database) as engine:
        migrate.check(engine)
        tokens.revoke(engine, name)
    typer.echo(f"{name}: revoked")
