"""The program: global options and error handling."""

import logging
import os
import sys
from typing import Annotated, NoReturn

import typer
from sqlalchemy.exc import DBAPIError

from asu_stats import __version__
from asu_stats.cli.commands import Commands
from asu_stats.cli.output import errors
from asu_stats.exceptions import AsuStatsError, reason
from asu_stats.logs import one_line, start

log = logging.getLogger(__name__)

app = typer.Typer(
    name="asu-stats",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes show flags as if they took a value
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asu-stats {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details.")] = False,
) -> None:
    """Build statistics for OpenWrt firmware-on-demand servers.

    Settings are environment variables (ASU_STATS_…) or lines of asu-stats.toml in the current
    directory, or of the file that ASU_STATS_CONFIG names. See docs/configuration.md.
    """
    del version
    start(verbose=verbose)


def run() -> None:
    """Run a command. An expected error is one line on standard error."""
    try:
        status = app(prog_name="asu-stats", standalone_mode=False)
    except typer.TyperException as error:
        _misused(error)
    except typer.Abort:
        sys.exit(1)
    except AsuStatsError as error:
        _fail(str(error))
    except DBAPIError as error:
        _fail("database: " + str(error.orig).strip().partition("\n")[0])
    except BrokenPipeError:
        _forget_output()
        sys.exit(1)
    except (OSError, ValueError) as error:
        log.debug("traceback", exc_info=error)
        _forget_output()
        _fail(_words(error))
    sys.exit(status or 0)


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).partition("\n")[0] or reason(error)


def _forget_output() -> None:
    """Drop unwritten standard output; Python would try to write it again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _misused(error: typer.TyperException) -> NoReturn:
    """Print in one line what is wrong with the arguments, and how to get help."""
    words = error.format_message().replace("Value error, ", "").removeprefix("Invalid value: ")
    if words.startswith("Usage:"):  # nothing was said, so all there is to know is the answer
        typer.echo(words, err=True)
        sys.exit(error.exit_code)
    context = getattr(error, "ctx", None)
    command = f"; see `{context.command_path} --help`" if context else ""
    words = " ".join(words.rstrip(".").split())
    if "Did you mean" in words:
        words = words.replace(". Did you mean ", "; did you mean ").replace("No such", "no such")
    if words.endswith("?"):
        command = command.replace("; see", " See")
    _fail(words + command, error.exit_code)


def _fail(words: str, status: int = 1) -> NoReturn:
    text = one_line(f"asu-stats: {words}")
    errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)
