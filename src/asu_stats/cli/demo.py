"""`asu-stats demo`: the whole thing on a fresh file, with history and builds going on."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from asu_stats.cli import output
from asu_stats.cli.serve import Port, run_server
from asu_stats.cli.wiring import running
from asu_stats.events import Event
from asu_stats.settings import load
from asu_stats.store import engine as engines
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch

_BATCH = 2_000


def demo(
    port: Port = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days of history.")] = 30,
    requests: Annotated[
        int, typer.Option(min=0, max=50_000_000, help="Requests in the history.")
    ] = 20_000,
    directory: Annotated[
        Path, typer.Option(help="Where its files go; what is there of an earlier demo is removed.")
    ] = Path("demo"),
) -> None:
    """Show everything: a server on a fresh SQLite file with generated history and live builds."""
    from asu_stats.demo import catalogue, history, visitors

    directory.mkdir(parents=True, exist_ok=True)
    for name in ("demo.db", "demo.db-wal", "demo.db-shm", "demo.db.lock"):
        (directory / name).unlink(missing_ok=True)
    for name in ("demo.db.spool", "images"):
        shutil.rmtree(directory / name, ignore_errors=True)
    catalogue.write(directory / "catalogue.json")
    base = f"http://{host}:{port}"
    settings = load(
        database_url=f"sqlite:///{directory / 'demo.db'}",
        catalogue=directory / "catalogue.json",
        store_directory=directory / "images",
        builder="demo",
        workers=3,
        source=base,
    )
    engine = engines.create(settings.database_url)
    migrate.upgrade(engine)
    _fill(engine, history.history(days=days, requests=requests, now=datetime.now(UTC)))
    engine.dispose()
    with running(settings) as service, visitors.Visitors(f"http://127.0.0.1:{port}"):
        typer.echo(
            f"\n  asu-stats demo: {requests:,} requests in {days} days, and builds going on\n\n"
            f"    {base}/                               where to begin\n"
            f"    {base}/docs                           the API\n"
            f"    {base}/api/v1/stats/overview?days=30  the figures\n\n"
            f"  database {settings.database_file}; stop with Ctrl-C\n"
        )
        run_server(service, host, port)


def _fill(engine: Engine, events: Iterator[Event]) -> None:
    """Write a history into the store, batch by batch."""
    with output.progress(None, "history") as bar:
        while batch := list(islice(events, _BATCH)):
            apply_batch(engine, batch)
            bar.advance(bar.task_ids[0], len(batch))
