"""`asu-stats events`: send recorded events to a server."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from asu_stats.cli import options, output
from asu_stats.recorder.file_sender import FileSender, InvalidLine, SendReport
from asu_stats.recorder.remote import HttpSink
from asu_stats.text import counted

app = typer.Typer(help="Send recorded events to a server.", no_args_is_help=True)

_SHOWN = 100


@app.callback()
def events() -> None:
    """Send recorded events to a server."""


@app.command()
def send(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="File with one event per line, or - for standard input."
        ),
    ],
    url: Annotated[
        str, typer.Option(metavar="URL", help="Server, with its path prefix.")
    ] = "http://127.0.0.1:8000",
    token: Annotated[
        str,
        typer.Option(metavar="TOKEN", envvar="ASU_STATS_TOKEN", help="Token of scope ingest."),
    ] = "",
    retry_seconds: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long to retry an unreachable server."),
    ] = 300,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every line; send nothing.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Send the events of a file to a server.

    Lines without a valid event are reported and skipped. Each event counts once, so the command
    can be repeated from the start. Exit status 1 if a line is invalid or was not sent. The format
    is NDJSON; see docs/reference/events.md.
    """
    if not token and not dry_run:
        raise typer.BadParameter("expected --token or ASU_STATS_TOKEN, a token of scope ingest")
    sink = None if dry_run else HttpSink(url, token)
    with _opened(file) as (lines, size), output.progress(size, "send", of_bytes=True) as bar:
        sender = FileSender(
            sink,
            retry_seconds,
            on_invalid=_InvalidLines(quiet=json),
            on_read=lambda done: bar.advance(bar.task_ids[0], done),
            on_retry=_wait,
        )
        report = sender.send(lines)
    if sink is not None:
        sink.close()
    if json:
        output.print_json(report.as_json())
    else:
        _print(report, dry_run=dry_run)
    if not report.complete:
        raise typer.Exit(1)


class _InvalidLines:
    """Prints the first invalid lines on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._remaining = 0 if quiet else _SHOWN

    def __call__(self, found: InvalidLine) -> None:
        if self._remaining:
            self._remaining -= 1
            typer.echo(f"line {found.line}: {found.problem}", err=True)


def _wait(problem: str, seconds: float) -> None:
    typer.echo(f"{problem}; retrying in {seconds:.0f} s", err=True)


def _print(report: SendReport, *, dry_run: bool) -> None:
    if report.invalid > _SHOWN:
        typer.echo(f"{_SHOWN} of {report.invalid:,} invalid lines shown", err=True)
    if report.error:
        advice = "run the command again: each event counts once"
        typer.echo(f"stopped at line {report.stopped_at}: {report.error}; {advice}", err=True)
    invalid = counted(report.invalid, "invalid line")
    if dry_run:
        typer.echo(f"{counted(report.lines, 'line')} checked, {invalid}")
    else:
        sent = counted(report.sent, "event")
        typer.echo(f"{sent} sent, {counted(report.duplicates, 'duplicate')} among them, {invalid}")


@contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Return a file, or standard input for `-`, and its size if known."""
    if name == "-":
        yield sys.stdin.buffer, None
        return
    with Path(name).open("rb") as file:
        yield file, os.fstat(file.fileno()).st_size
