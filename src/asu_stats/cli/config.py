"""`asu-stats config`: show the effective settings, and check them."""

from dataclasses import asdict
from typing import Annotated

import typer

from asu_stats.cli import options, output
from asu_stats.service import requirements
from asu_stats.settings import effective, load, sources

app = typer.Typer(help="Show and check the effective settings.", no_args_is_help=True)


@app.command()
def show(
    changed: Annotated[
        bool, typer.Option("--changed", help="Only settings that are not at their default.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List every setting with its value and where it comes from. Secrets are hidden.

    The source is an environment variable, the settings file with the line, or `default`.
    """
    found = effective.of(load())
    rows = [each for each in found if each.source != "default" or not changed]
    if json:
        output.print_json([asdict(each) for each in rows])
    else:
        output.print_table(
            ("setting", "value", "source"),
            [(each.name, effective.as_text(each.value), each.source) for each in rows],
        )


@app.command()
def check(json: options.Json = False) -> None:
    """Check the settings as `serve` does at its start, and change nothing.

    Names, values, packages, programs, directories. Exits with status 1 if one cannot be used.
    """
    settings = load()
    requirements.check(settings)
    requirements.check_paths(settings)
    path = sources.file_path()
    if json:
        output.print_json({"status": "ok", "file": path if path.exists() else None})
    else:
        typer.echo(f"settings: ok ({path if path.exists() else 'no settings file'})")
