"""`asu-stats conformance`: test a server that accepts events, or check recorded events."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from asu_stats.cli import options, output
from asu_stats.conformance.client import HttpServer
from asu_stats.conformance.emitter import Finding, Stream
from asu_stats.conformance.run import Result, run
from asu_stats.text import counted
from asu_stats.times import utc_now

_SHOWN = 100


def conformance(
    url: Annotated[str | None, typer.Option(metavar="URL", help="Server to test.")] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", envvar="ASU_STATS_TOKEN", help="Token of scope ingest."),
    ] = None,
    read_token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="ASU_STATS_READ_TOKEN",
            help="Token of scope read, if statistics need one.",
        ),
    ] = None,
    start: options.Start = None,
    emitter: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="File of events to check, or - for standard input."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Test a server that accepts events, or check recorded events.

    A run adds 275 invented events to the server, which stay there: use a server without data.
    Exit status 1 if something is wrong. See docs/conformance.md.
    """
    if (url is None) == (emitter is None):
        raise typer.BadParameter("expected either --url or --emitter")
    if emitter is not None:
        _check_events(emitter, json)
    else:
        _test_server(str(url), token, read_token, start, json)


def _test_server(
    url: str, token: str | None, read_token: str | None, start: str | None, json: bool
) -> None:
    if not token:
        raise typer.BadParameter("--url needs --token, a token of scope ingest")
    first, _ = options.days(start, None)
    with closing(HttpServer(url, token, read_token or "")) as server:
        outcome = run(server, first=first, report_step=lambda step: None if json else _note(step))
    if json:
        output.print_json(asdict(outcome) | {"absent": sorted(outcome.absent)})
    else:
        _print_outcome(outcome)
    if outcome.differences:
        raise typer.Exit(1)


def _note(step: str) -> None:
    typer.echo(step, err=True)


def _print_outcome(outcome: Result) -> None:
    found = outcome.differences
    if found:
        rows = [(d.request, d.place, d.expected, d.received) for d in found[:_SHOWN]]
        output.print_table(("request", "place", "expected", "received"), rows)
    if outcome.absent:
        typer.echo(f"not offered: {', '.join(sorted(outcome.absent))}")
    more = f", {_SHOWN} of them shown" if len(found) > _SHOWN else ""
    typer.echo(
        f"{counted(outcome.checks, 'response')} compared: "
        + (f"{counted(len(found), 'difference')}{more}" if found else "no difference")
    )


def _check_events(name: str, json: bool) -> None:
    stream = Stream(utc_now())
    with _opened(name) as lines:
        found = list(stream.read(lines))
    violations = [finding for finding in found if finding.kind == "violation"]
    if json:
        counts = {"events": stream.events, "duplicates": stream.duplicates}
        output.print_json({**counts, "findings": [asdict(finding) for finding in found]})
    else:
        _print_findings(found)
        typer.echo(
            f"{counted(stream.events, 'event')}, {counted(stream.duplicates, 'duplicate')}: "
            f"{counted(len(violations), 'violation')}, "
            f"{counted(len(found) - len(violations), 'note')}"
        )
    if violations:
        raise typer.Exit(1)


def _print_findings(found: list[Finding]) -> None:
    rows: list[tuple[Any, ...]] = [(f.line, f.kind, f.place, f.problem) for f in found[:_SHOWN]]
    if rows:
        output.print_table(("line", "kind", "place", "problem"), rows)
    if len(found) > _SHOWN:
        typer.echo(f"{_SHOWN} of {len(found):,} shown; --json prints all")


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file
