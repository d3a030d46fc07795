"""All commands, put together."""

import logging
import sys
from typing import Annotated, NoReturn

import typer
from sqlalchemy.exc import DBAPIError

from asu_stats import __version__
from asu_stats.cli import db, demo, export, rollups, serve, token
from asu_stats.cli.output import errors
from asu_stats.exceptions import AsuStatsError

app = typer.Typer(
    name="asu-stats",
    help="Build statistics for OpenWrt firmware-on-demand servers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.command("export")(export.export)
app.add_typer(db.app, name="db")
app.add_typer(rollups.app, name="rollups")
app.add_typer(token.app, name="token")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asu-stats {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Build statistics for OpenWrt firmware-on-demand servers.

    Settings come from ASU_STATS_… environment variables or asu-stats.toml.
    """
    del version
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("asu_stats").setLevel(logging.DEBUG if verbose else logging.INFO)


def run() -> None:
    """Run a command; an error that was foreseen is one line on standard error."""
    try:
        app()
    except AsuStatsError as error:
        _fail(str(error))
    except DBAPIError as error:
        _fail("database: " + str(error.orig).strip().partition("\n")[0])
    except BrokenPipeError:
        sys.exit(1)


def _fail(words: str) -> NoReturn:
    text = f"asu-stats: {words}"
    errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)
