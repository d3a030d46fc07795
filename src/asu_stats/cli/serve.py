"""`asu-stats serve` and `asu-stats worker`."""

import signal
import socket
import sys
import threading
from contextlib import nullcontext
from typing import Annotated, Final, Literal, NoReturn

import typer
import uvicorn

from asu_stats.api.app import create_app
from asu_stats.cli import options, sockets
from asu_stats.cli.protocol import PROTOCOL, quieten
from asu_stats.cli.wiring import Service, jobs_of, running
from asu_stats.jobs.runner import Runner
from asu_stats.jobs.scheduler import Scheduler
from asu_stats.monitor import channels
from asu_stats.monitor.sender import Sender
from asu_stats.settings import BuilderName, load
from asu_stats.text import counted

Workers = Annotated[int | None, typer.Option("--workers", min=1, max=256, help="Builds at a time.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="TCP port to listen on.")]
_WEBSOCKET_BYTES: Final = 65_536
# A thread that records may keep the one that answers waiting so long; Python's own 5 ms is longer
# than most answers take.
_SWITCH_SECONDS: Final = 0.0005


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    database: options.Database = None,
    workers: Workers = None,
    builder: Annotated[
        BuilderName | None,
        typer.Option(
            help="What builds: demo (simulated), command (an ImageBuilder, or the command lines of "
            "the setting `command`; see docs/build-service.md) or none."
        ),
    ] = None,
) -> None:
    """Run the server: statistics API, ingest and build service.

    An SQLite file is made and upgraded as needed; another database needs `asu-stats db upgrade`.
    """
    settings = load(database_url=database, workers=workers, builder=builder)
    with (
        sockets.listening(host, port) as listeners,
        running(settings, make=True) as service,
    ):
        typer.echo(f"asu-stats: listening on {sockets.base_url(host, listeners)}/", err=True)
        run_server(service, listeners)


def run_server(service: Service, listeners: list[socket.socket]) -> None:
    """Serve HTTP until a signal comes; then what runs is ended in order."""
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises the signal again at its end
        signal.signal(number, _leave)
    jobs = jobs_of(service.settings, service.engine)
    app = create_app(
        service.settings,
        engine=service.engine,
        recorder=service.recorder,
        builds=service.builds,
        jobs=jobs,
        process=service.process,
    )
    quieten()
    config = uvicorn.Config(
        app,
        http=PROTOCOL,
        root_path=service.settings.root_path,
        log_config=None,
        access_log=False,  # paths hold whole request hashes
        server_header=False,
        proxy_headers=False,
        ws_max_size=_WEBSOCKET_BYTES,
        timeout_graceful_shutdown=10,
    )
    sys.setswitchinterval(_SWITCH_SECONDS)
    runner = Runner(service.engine, jobs)
    sender = Sender(service.engine, channels.of_settings(service.settings))
    with Scheduler(runner) if service.settings.jobs else nullcontext(), sender:
        uvicorn.Server(config).run(sockets=listeners)


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


def worker(
    database: options.Database = None,
    workers: Workers = None,
    builder: Annotated[
        Literal["demo", "command"] | None,
        typer.Option(
            help="What builds: demo (simulated) or command (an ImageBuilder, or the command lines "
            "of the setting `command`; see docs/build-service.md)."
        ),
    ] = None,
) -> None:
    """Run build workers alone, beside servers on the same database."""
    settings = load(database_url=database, workers=workers, builder=builder)
    if settings.builder == "none":
        raise typer.BadParameter("say --builder demo or --builder command, or set builder")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with running(settings):
        typer.echo(
            f"asu-stats: {counted(settings.workers, 'worker')}, builder {settings.builder}",
            err=True,
        )
        stop.wait()
