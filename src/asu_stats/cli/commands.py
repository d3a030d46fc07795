"""The commands. The module of a command is imported when it is called.

Most commands need a small part of the program; importing all of it takes longer than many of them.
"""

from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from asu_stats.logs import be_verbose

# Name: where it is, and what `--help` says of it.
_COMMANDS: Final = {
    "demo": ("demo:demo", "Start a server with demo data and live builds."),
    "serve": ("serve:serve", "Run the server: statistics API, ingest and build service."),
    "worker": ("serve:worker", "Run build workers for servers on the same database."),
    "events": ("events:app", "Send recorded events to a server."),
    "export": ("export:export", "Export the rows of a table, by time."),
    "stats": ("stats:stats", "Figures of the statistics API."),
    "insights": ("stats:insights", "Causes of failures, changes, recommendations."),
    "alerts": ("alerts:app", "Alert rules and incidents."),
    "db": ("db:app", "Schema, backup and check of the database."),
    "import": ("importing:app", "Import the history of an older server."),
    "jobs": ("jobs:app", "Scheduled jobs and their last results."),
    "note": ("note:app", "Notes on the charts of the dashboard."),
    "retention": ("retention:app", "Retention and archiving."),
    "rollups": ("rollups:app", "Compare the rollups with their details, or rebuild them."),
    "config": ("config:app", "Effective settings, and whether they can work."),
    "conformance": (
        "conformance:conformance",
        "Test a server that accepts events, or check recorded events.",
    ),
    "token": ("token:app", "Access tokens."),
}


class Commands(TyperGroup):
    """All commands: known by name and help, and loaded when one is to run."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of `--help`."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the help text of a command, `None` if there is no such command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        return TyperCommand(cmd_name, help=_COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called, by name and with what is left for it to read."""
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
    _take_verbose(command)
    return command


def _take_verbose(command: Any) -> None:
    """Let a command and those below it take `-v` too."""
    command.params += _verbose_option()
    for each in getattr(command, "commands", {}).values():
        _take_verbose(each)


def _verbose_option() -> list[Any]:
    def be_loud(wanted: bool) -> None:
        if wanted:
            be_verbose()

    option = typer.Option("--verbose", "-v", help="Log details.", callback=be_loud)
    app = typer.Typer()

    @app.command()
    def _(verbose: Annotated[bool, option] = False) -> None:
        del verbose

    (found,) = (each for each in typer.main.get_command(app).params if each.name == "verbose")
    found.expose_value = False
    return [found]
