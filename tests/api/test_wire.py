"""Errors below HTTP: a real server and clients that violate the protocol."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import processes
from tests.conftest import sqlite_database
from tests.support import TOKEN


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def answer_to(self, text: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes as they are and read the answer until the server hangs up."""
        with self.connect() as connection:
            connection.sendall(text)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, body


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    port = processes.free_port()
    url = sqlite_database(request, directory)
    arguments = ("serve", "--port", str(port), "--builder", "none")
    with processes.running(directory, url, *arguments):
        processes.wait_ready(port)
        yield Server(port, directory / "log.txt")


@pytest.mark.parametrize(
    ("text", "media"),
    [
        (b"GET /?\xff HTTP/1.1\r\nHost: a\r\n\r\n", "problem+json"),
        (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", "problem+json"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "problem+json"),
        (b"POST /api/v1/build HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (b"9" * 23), "json"),
        (b"POST //api/v1/build HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (b"9" * 23), "json"),
    ],
)
def test_what_is_no_http_gets_a_problem(server: Server, text: bytes, media: str) -> None:
    status, headers, body = server.answer_to(text)
    problem = json.loads(body)
    assert (status, problem["status"], problem["title"]) == (400, 400, "Bad Request")
    assert problem["detail"]
    assert headers["content-type"] == f"application/{media}"
    assert headers["content-length"] == str(len(body))
    assert headers["access-control-allow-origin"] == "*"
    assert headers["connection"] == "close"


def test_a_server_url_may_end_in_a_slash(server: Server) -> None:
    for path in ("//api/overview", "///api/v1/latest", "//healthz"):
        text = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert server.answer_to(text.encode())[0] == 200, path


@pytest.mark.parametrize("path", ["/api/v1/stats/events", "/api/v1/build"])
def test_a_client_that_hangs_up_is_no_error(server: Server, path: str) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    )
    for _ in range(3):
        with server.connect() as connection:
            connection.sendall(head.encode() + b'[{"id"')
    processes.wait_ready(server.port)
    later = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert server.answer_to(later)[0] == 200
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log
