"""The program: global options and error handling."""

import logging
import os
import sys
from typing import Annotated, NoReturn

import typer
from sqlalchemy.exc import DBAPIError

from asu_stats import __version__
from asu_stats.cli import usage
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


def _version(requested: bool) -> None:
    if requested:
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
        _fail_usage(error)
    except typer.Abort:
        sys.exit(1)
    except AsuStatsError as error:
        _fail(str(error))
    except DBAPIError as error:
        _fail("database: " + str(error.orig).strip().partition("\n")[0])
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)
    except (OSError, ValueError) as error:
        log.debug("traceback", exc_info=error)
        _discard_output()
        _fail(_message_of(error))
    sys.exit(status or 0)


def _message_of(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).partition("\n")[0] or reason(error)


def _discard_output() -> None:
    """Discard unwritten standard output, which Python would try to write again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail_usage(error: typer.TyperException) -> NoReturn:
    """Print in one line what is wrong with the arguments, and how to get help."""
    if error.format_message().startswith("Usage:"):  # called without arguments
        typer.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    problem = usage.problem_of(error)
    context = getattr(error, "ctx", None)
    see = " See" if problem.endswith("?") else "; see"
    help_of = f"{see} `{context.command_path} --help`" if context else ""
    _fail(problem + help_of, error.exit_code)


def _fail(message: str, status: int = 1) -> NoReturn:
    text = one_line(f"asu-stats: {message}")
    errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)
