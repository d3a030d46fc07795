"""`asu-stats serve` and `asu-stats worker`."""

import logging
import signal
import threading
from pathlib import Path
from typing import Annotated, Literal

import typer

from asu_stats import __version__, memory, server
from asu_stats.cli import options
from asu_stats.logs import use
from asu_stats.server import sockets, systemd
from asu_stats.service.running import running
from asu_stats.settings import BuilderName, load

log = logging.getLogger(__name__)

Workers = Annotated[
    int | None, typer.Option("--workers", min=1, max=256, help="Number of concurrent builds.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="TCP port to listen on.")]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    uds: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Unix socket to listen on, instead of host and port."),
    ] = None,
    database: options.Database = None,
    workers: Workers = None,
    builder: Annotated[
        BuilderName | None,
        typer.Option(
            help="Builder: demo (simulated), command (an ImageBuilder, or the command lines of "
            "the setting `command`; see docs/build-service.md) or none."
        ),
    ] = None,
    build_api: Annotated[
        bool | None,
        typer.Option(
            "--build-api/--no-build-api",
            help="Serve the build API, or only the statistics of other servers.",
        ),
    ] = None,
    follow_go_builder: Annotated[
        Path | None,
        typer.Option(
            "--follow-go-builder",
            help="Import the statistics of a Go server from its SQLite file, and follow it.",
            metavar="PATH",
        ),
    ] = None,
) -> None:
    """Run the server: statistics API, ingest and build service.

    An SQLite file is created and upgraded automatically. PostgreSQL needs `asu-stats db upgrade`.
    """
    settings = load(
        database_url=database,
        workers=workers,
        builder=builder,
        build_api=build_api,
        follow_go_builder=follow_go_builder,
    )
    use(settings.log_format, settings.log_level)
    opened = sockets.listening(host, port) if uds is None else sockets.listening_at(uds)
    with opened as listeners, server.started(settings) as app:
        url = f"{sockets.base_url(host, listeners)}/" if uds is None else f"unix:{uds}"
        log.info("server: listening url=%s version=%s", url, __version__)
        server.serve(app, listeners, root_path=settings.root_path)


def worker(
    database: options.Database = None,
    workers: Workers = None,
    builder: Annotated[
        Literal["demo", "command"] | None,
        typer.Option(
            help="Builder: demo (simulated) or command (an ImageBuilder, or the command lines "
            "of the setting `command`; see docs/build-service.md)."
        ),
    ] = None,
) -> None:
    """Run build workers for servers on the same database."""
    settings = load(database_url=database, workers=workers, builder=builder)
    if settings.builder == "none":
        raise typer.BadParameter("expected --builder demo or command, or the setting builder")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    use(settings.log_format, settings.log_level)
    with memory.kept_low(), running(settings):
        message = "worker: started workers=%d builder=%s version=%s"
        log.info(message, settings.workers, settings.builder, __version__)
        systemd.notify("READY=1")
        while not stop.wait(systemd.heartbeat_seconds()):
            systemd.notify("WATCHDOG=1")
        systemd.notify("STOPPING=1")
        log.info("worker: stopping")
    log.info("worker: stopped")
