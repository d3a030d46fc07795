"""`asu-stats demo`: a server on a new file, with history and live builds."""

import ipaddress
import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from asu_stats import server
from asu_stats.cli import output
from asu_stats.cli.serve import Port
from asu_stats.events import Event
from asu_stats.server import sockets
from asu_stats.service import replay, requirements
from asu_stats.service.database import opened
from asu_stats.service.running import extra_writer_of
from asu_stats.settings import load
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.text import counted
from asu_stats.times import utc_now

_BATCH = 2_000


def demo(
    port: Port = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days of history.")] = 30,
    requests: Annotated[
        int, typer.Option(min=0, max=50_000_000, help="Requests in the history.")
    ] = 20_000,
    directory: Annotated[
        Path, typer.Option(help="Directory for its files. Files of an earlier demo are removed.")
    ] = Path("demo"),
) -> None:
    """Start a server with demo data and live builds.

    It uses a new SQLite file. History and builds are simulated.
    """
    from asu_stats.demo import directory as demo_directory
    from asu_stats.demo import history, restart, visitors

    with sockets.listening(host, port) as listeners, demo_directory.locked(directory):
        demo_directory.clear(directory)
        base = sockets.base_url(host, listeners)
        settings = load(
            database_url=f"sqlite:///{directory / 'demo.db'}",
            catalogue=directory / "catalogue.json",
            store_directory=directory / "images",
            builder="demo",
            workers=3,
            source=base,
            # Clients on other machines need an address that works there.
            upstream_url=os.environ.get("ASU_STATS_UPSTREAM_URL", base),
        )
        requirements.check(settings)
        with opened(settings, make=True) as engine:
            migrate.upgrade(engine, plan_indexes=settings.plan_indexes)
            now = utc_now()
            events = history.history(days=days, requests=requests, now=now, ongoing=True)
            _fill(
                partial(apply_batch, engine, extra_writer=extra_writer_of(settings)),
                restart.restarted(events, now),
            )
            replay.alerts(settings, engine, history.incident_times(days=days, now=now))
        here = sockets.base_url(_loopback(listeners[0].getsockname()[0]), listeners)
        # The demo gets as many requests per day as the history has.
        pause = days * 86_400 / max(1, requests)
        with server.started(settings) as app, visitors.Visitors(here, calm_seconds=pause):
            typer.echo(
                f"\n  asu-stats demo: {counted(requests, 'request')} in {counted(days, 'day')}, "
                "and live builds\n\n"
                f"    {base}/                               the dashboard\n"
                f"    {base}/docs                           the API\n"
                f"    {base}/api/v1/stats/overview?days=30  the figures\n\n"
                f"  database {settings.database_file}; stop with Ctrl-C\n"
            )
            server.serve(app, listeners, root_path=settings.root_path)


def _loopback(address: str) -> str:
    """Return the loopback address that reaches a server on an address."""
    found = ipaddress.ip_address(address)
    return address if found.is_loopback else "::1" if found.version == 6 else "127.0.0.1"


def _fill(apply: Callable[[list[Event]], object], events: Iterator[Event]) -> None:
    """Store a history, batch by batch."""
    with output.progress(None, "history") as bar:
        while batch := list(islice(events, _BATCH)):
            apply(batch)
            bar.advance(bar.task_ids[0], len(batch))
