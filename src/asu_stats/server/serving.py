"""Serves an application on given sockets with uvicorn until a signal arrives."""

import logging
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Final, NoReturn

import uvicorn
from fastapi import FastAPI

from asu_stats import logs
from asu_stats.api import problems
from asu_stats.memory import collect_less_garbage
from asu_stats.server import systemd
from asu_stats.server.protocol import PROTOCOL, WEBSOCKET, quieten

log = logging.getLogger(__name__)

_WEBSOCKET_BYTES: Final = 65_536
_HEARTBEAT_SECONDS: Final = 30
# How long a recording thread may delay a responding one. Python's default of 5 ms is longer than
# most responses take.
_SWITCH_SECONDS: Final = 0.0005


def serve(app: FastAPI, listeners: Sequence[socket.socket], *, root_path: str = "") -> None:
    """Serve HTTP until SIGINT or SIGTERM; then let the caller stop what it has started."""
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises the signal again at its end
        signal.signal(number, _leave)
    quieten()
    media_type = partial(problems.media_type, app.state.policies)
    config = uvicorn.Config(
        app,
        http=type("Protocol", (PROTOCOL,), {"media_type": staticmethod(media_type)}),
        ws=WEBSOCKET,
        root_path=root_path,
        log_config=None,
        access_log=False,  # paths contain full request hashes
        server_header=False,
        proxy_headers=False,
        ws_max_size=_WEBSOCKET_BYTES,
        timeout_graceful_shutdown=10,
        callback_notify=_alive,
        timeout_notify=ceil(systemd.heartbeat_seconds() or _HEARTBEAT_SECONDS),
    )
    sys.setswitchinterval(_SWITCH_SECONDS)
    collect_less_garbage()
    try:
        _Server(config).run(sockets=[*listeners])
    finally:
        systemd.notify("STOPPING=1")
        omitted = logs.omitted()
        log.info("server: stopping%s", f" suppressed={omitted}" if omitted else "")


class _Server(uvicorn.Server):
    """Tells systemd when it accepts connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        systemd.notify("READY=1")


async def _alive() -> None:
    """Send a heartbeat from the loop that serves requests: one that is stuck sends none."""
    systemd.notify("WATCHDOG=1")


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)
