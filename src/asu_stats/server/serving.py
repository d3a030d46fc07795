"""Serves an application on given sockets with uvicorn until a signal arrives."""

import logging
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final, NoReturn

import uvicorn
from fastapi import FastAPI

from asu_stats.api import problems
from asu_stats.server.protocol import PROTOCOL, quieten

log = logging.getLogger(__name__)

_WEBSOCKET_BYTES: Final = 65_536
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
        root_path=root_path,
        log_config=None,
        access_log=False,  # paths contain full request hashes
        server_header=False,
        proxy_headers=False,
        ws_max_size=_WEBSOCKET_BYTES,
        timeout_graceful_shutdown=10,
    )
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        uvicorn.Server(config).run(sockets=[*listeners])
    finally:
        log.info("server: stopping")


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)
