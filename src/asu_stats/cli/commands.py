"""The commands. The module of a command is imported when the command is called.

Most commands need a small part of the program, and importing all of it would take longer than many
commands run.
"""

import re
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from asu_stats.cli import examples
from asu_stats.logs import be_verbose

_SENTENCE_END: Final = re.compile(r"(?<=[.])\s+(?=[A-Z])")

# Name: module and function, and text in `--help`.
_COMMANDS: Final = {
    "demo": ("demo:demo", "Start a server with demo data and live builds."),
    "serve": ("serve:serve", "Run the server: statistics API, ingest and build service."),
    "worker": ("serve:worker", "Run build workers for servers on the same database."),
    "events": ("events:app", "Send recorded events to a server."),
    "export": ("export:export", "Export the rows of a table, by time."),
    "stats": ("stats:stats", "Figures of the statistics API."),
    "insights": ("stats:insights", "Causes of failures, regressions, queue, cache and capacity."),
    "alerts": ("alerts:app", "Alert rules and incidents."),
    "db": ("db:app", "Schema, backup and check of the database."),
    "import": ("importing:app", "Import the history of an older server."),
    "jobs": ("jobs:app", "Scheduled jobs and their last results."),
    "note": ("note:app", "Notes on the charts of the dashboard."),
    "retention": ("retention:app", "Retention and archiving."),
    "rollups": ("rollups:app", "Compare the rollups with their details, or rebuild them."),
    "config": ("config:app", "Show and check the effective settings."),
    "conformance": (
        "conformance:conformance",
        "Test a server that accepts events, or check recorded events.",
    ),
    "token": ("token:app", "Access tokens."),
}


class Commands(TyperGroup):
    """All commands, with their help texts. A command is loaded when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of `--help`."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a placeholder with the help text of a command, or `None`."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        return TyperCommand(cmd_name, help=_COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the loaded command and the remaining arguments."""
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            near = get_close_matches(args[0], _COMMANDS)
            suggestion = f"; did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"no such command {args[0]!r}{suggestion}")
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(name)), rest


def load(name: str) -> Any:
    module, _, attribute = _COMMANDS[name][0].partition(":")
    found = getattr(import_module(f"asu_stats.cli.{module}"), attribute)
    app = typer.Typer(rich_markup_mode=None)  # boxes show flags as if they took a value
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
    else:
        app.command(name)(found)
    command = typer.main.get_group(app).commands[name]
    _complete(command, name)
    return command


def _complete(command: Any, path: str) -> None:
    """Add `-v` and examples to a command and its subcommands, and simplify its help text."""
    command.short_help = _first_sentence(command.help or "")
    if lines := examples.of(path):
        title = "Example" if len(lines) == 1 else "Examples"
        # The first line keeps the others as they are.
        command.epilog = "\n".join(("\b", f"{title}:", *(f"  asu-stats {line}" for line in lines)))
    for parameter in command.params:
        _name_type(parameter)
    command.params.append(_verbose_option())
    for name, each in getattr(command, "commands", {}).items():
        _complete(each, f"{path} {name}")


def _first_sentence(text: str) -> str:
    """Return the first sentence of a help text."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return _SENTENCE_END.split(paragraph, maxsplit=1)[0].rstrip(".") + "." if paragraph else ""


def _name_type(parameter: Any) -> None:
    """Show the range or kind of a value, instead of the name of a Python type and a formula."""
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is not None or high is not None:
        lower = "up to" if low is None else f"{low:,} to" if high is not None else f"from {low:,}"
        text = lower if high is None else f"{lower} {high:,}"
        parameter._get_number_range_help_str = lambda: text
    if parameter.param_type_name == "argument":
        parameter.display_type_rich = lambda ctx: None  # noqa: ARG005 - the name says it
        if parameter.required:  # braces around it would look like something to type
            parameter._usage_display_name = lambda: parameter.display_name_raw
    elif parameter.metavar is None and not getattr(parameter, "is_flag", False):
        described = parameter.type_descriptor
        if described.is_choice:
            parameter.metavar = "|".join(map(str, described.choices or ()))
        else:
            path = described.is_path
            parameter.metavar = "NUMBER" if described.is_ranged else "PATH" if path else "TEXT"


@cache  # commands may share it, and making it takes a millisecond
def _verbose_option() -> Any:
    def callback(verbose: bool) -> None:
        if verbose:
            be_verbose()

    option = typer.Option("--verbose", "-v", help="Log details.", callback=callback)
    app = typer.Typer()

    @app.command()
    def _(verbose: Annotated[bool, option] = False) -> None:
        del verbose

    (found,) = (each for each in typer.main.get_command(app).params if each.name == "verbose")
    found.expose_value = False
    return found
