"""The socket that a server listens on, bound before anything else is begun."""

import socket
from typing import Final

from asu_stats.exceptions import AsuStatsError

_BACKLOG: Final = 2048  # as uvicorn has it


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; from now on nobody else gets the port.

    Raises `AsuStatsError`, which says what is wrong with the address.
    """
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        words = error.strerror or str(error)
        raise AsuStatsError(f"{_place(host, port)}: {words[:1].lower()}{words[1:]}") from None
    except UnicodeError:  # a name that IDNA can't write
        raise AsuStatsError(f"{_place(host, port)}: not a host name") from None
    return listener


def base_url(host: str, listener: socket.socket) -> str:
    """Return the URL of a server, with the port that it really has."""
    return f"http://{_place(host, listener.getsockname()[1])}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
