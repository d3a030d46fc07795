"""The HTTP protocol of the server when it fails itself, which no client can bring about."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from asu_stats.server.protocol import PROTOCOL
from tests import processes
from tests.patience import SECONDS


class OutOfMemory(PROTOCOL):  # type: ignore[misc, valid-type]  # chosen at import
    """Has no memory for a body, nor for the path `/url`."""

    def media_type(self, _: str) -> str:
        return "application/problem+json"

    def on_url(self, url: bytes) -> None:
        if url == b"/url":
            raise MemoryError
        super().on_url(url)

    def on_body(self, _: bytes) -> None:
        raise MemoryError


@pytest.fixture
def port() -> Iterator[int]:
    port = processes.free_port()
    config = uvicorn.Config(lambda: None, port=port, http=OutOfMemory, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + SECONDS
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join(SECONDS)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"503"),
        (b"GET /url HTTP/1.1\r\n\r\n", b"503"),
        (b"GET / HTTP/x\r\n\r\n", b"400"),
    ],
)
def test_a_failure_of_the_server_is_none_of_the_client(
    port: int, caplog: pytest.LogCaptureFixture, sent: bytes, status: bytes
) -> None:
    """After 400, a sender would not send its events again."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 " + status)
    told = "http: a request could not be read: MemoryError" in caplog.messages
    assert told == (status == b"503")
