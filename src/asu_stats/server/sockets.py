"""The sockets that a server listens on, bound before anything else starts."""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from asu_stats.exceptions import AsuStatsError

_BACKLOG: Final = 2048  # the default of uvicorn
_ATTEMPTS: Final = 20
_LOCALHOST: Final = ("127.0.0.1", "::1")
# Errors for an address that this machine does not have.
_ABSENT: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENODEV}

_Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Listen on every address of a host during the block, with exclusive use of the port.

    `localhost` is 127.0.0.1 and ::1, regardless of name resolution. Raises `AsuStatsError`
    if the address cannot be used.
    """
    with ExitStack() as opened:
        for listener in (listeners := _listen(host, port)):
            opened.enter_context(listener)
        yield listeners


@contextmanager
def listening_at(path: Path) -> Iterator[list[socket.socket]]:
    """Listen on a Unix socket during the block; its directory says who can connect.

    A socket that a dead process left is replaced. Raises `AsuStatsError` if another process listens
    there, or the path cannot be used.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            if path.is_socket():
                _remove_dead(path)
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen(_BACKLOG)
        except OSError as error:
            words = error.strerror or str(error)
            raise AsuStatsError(f"{path}: {words[:1].lower()}{words[1:]}") from None
        try:
            yield [listener]
        finally:
            path.unlink(missing_ok=True)


def _remove_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        try:
            visitor.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _listen(host: str, port: int) -> list[socket.socket]:
    try:
        addresses = _addresses(host, port)
        for _ in range(_ATTEMPTS):
            try:
                return _listening(addresses, port)
            except OSError as error:
                if port or error.errno != errno.EADDRINUSE:
                    raise  # a port that was free for one address was not for another
        return _listening(addresses, port)
    except OSError as error:
        words = error.strerror or str(error)
        raise AsuStatsError(f"{_place(host, port)}: {words[:1].lower()}{words[1:]}") from None
    except UnicodeError:  # a name that IDNA cannot encode
        raise AsuStatsError(f"{_place(host, port)}: not a host name") from None


def _addresses(host: str, port: int) -> list[_Address]:
    names = _LOCALHOST if host.lower() == "localhost" else (host,)
    found = [
        (family, address)
        for name in names
        for family, _, _, _, address in socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    ]
    return list(dict.fromkeys(found))


def _listening(addresses: list[_Address], port: int) -> list[socket.socket]:
    """Return a socket for each address that this machine has. Raises `OSError` without any."""
    families = {family for family, _ in addresses}
    absent = None
    with ExitStack() as opened:
        listeners: list[socket.socket] = []
        for family, (host, _, *more) in addresses:
            try:
                listener = _bound(family, (host, port, *more), alone=len(families) == 1)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
                continue
            listeners.append(opened.enter_context(listener))
            port = listener.getsockname()[1]
        if not listeners and absent:
            raise absent
        opened.pop_all()
    return listeners


def _bound(family: int, address: tuple[Any, ...], *, alone: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and not alone:  # IPv4 has a socket of its own
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def base_url(host: str, listeners: Sequence[socket.socket]) -> str:
    """Return the URL of a server with its actual port."""
    return f"http://{_place(host, listeners[0].getsockname()[1])}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
