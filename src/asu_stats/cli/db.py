"""`asu-stats db`: schema migrations."""

import typer

from asu_stats.cli import options, output
from asu_stats.store import dialects, migrate
from asu_stats.store.engine import read_snapshot

app = typer.Typer(help="Schema migrations.", no_args_is_help=True)


@app.command()
def upgrade(database: options.Database = None) -> None:
    """Bring the database's schema to what this program needs."""
    with options.opened(database, make=True) as engine:
        before = migrate.current(engine)
        migrate.upgrade(engine)
        after = migrate.current(engine)
        if before == after:
            typer.echo(f"schema {after}: nothing to do")
        else:
            typer.echo(f"schema {before or 'none'} -> {after}")


@app.command()
def status(database: options.Database = None, json: options.Json = False) -> None:
    """Say which schema the database has. Exit status 1 when it is not current."""
    with options.opened(database) as engine:
        found, needed = migrate.current(engine), migrate.head()
        with read_snapshot(engine) as connection:
            size = dialects.database_size(connection)
    answer = {
        "database": engine.url.render_as_string(),
        "schema": found,
        "needed": needed,
        "current": found == needed,
        "size_bytes": size,
    }
    if json:
        output.print_json(answer)
    else:
        output.print_table(("", ""), list(answer.items()))
    if found != needed:
        raise typer.Exit(1)
