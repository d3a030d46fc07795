"""Limits for size and duration of requests, with both HTTP parsers of uvicorn."""

import base64
import contextlib
import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

from tests import processes
from tests.conftest import sqlite_database
from tests.patience import SECONDS, within
from tests.support import TOKEN

LIVE = "/api/v1/stats/live"
EVENTS = "/api/v1/stats/events"
BUILD = "/api/v1/build"
WITHOUT_HTTPTOOLS = """
import sys

for name in [*sys.modules]:
    if name.startswith(("asu_stats.server", "httptools", "uvicorn.protocols.http")):
        del sys.modules[name]
sys.modules["httptools"] = None
from asu_stats.server.protocol import PROTOCOL

assert PROTOCOL.__name__ == "_H11"
"""
PARSERS = ("httptools", "h11")
HURRIED = "from asu_stats.server import connection as c; c.HEAD_SECONDS, c.BODY_SECONDS = 2, 3"
WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


Fields = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    pid: int
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, path: str, headers: Fields = (), method: str = "GET") -> "Answer":
        """Send a request without a body; the headers are sent as they are."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        with self.connect() as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
            return Answer.on(connection)

    def memory(self) -> int:
        """Return the peak of the resident set in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that has been read."""

    status: int
    headers: Message
    body: bytes

    @classmethod
    def on(cls, connection: socket.socket) -> "Answer":
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return cls(response.status, response.headers, response.read())

    def detail(self, media: str = "application/problem+json") -> str:
        """Check the shape of a problem and return its detail."""
        assert self.headers["content-type"] == media
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["title"]
        return str(problem["detail"])


@contextlib.contextmanager
def serving(directory: Path, url: str, parser: str, limits: str = "") -> Iterator[Server]:
    """Run a server, and check that it logged no error."""
    port = processes.free_port()
    first = limits if parser == "httptools" else f"{WITHOUT_HTTPTOOLS}\n{limits}"
    arguments = ("serve", "--port", str(port), "--builder", "none")
    with processes.running(directory, url, *arguments, first=first) as process:
        processes.wait_ready(port)
        yield Server(port, process.pid, directory / "log.txt")
    log = (directory / "log.txt").read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log


@pytest.fixture(scope="module", params=PARSERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    url = sqlite_database(request, directory)
    with serving(directory, url, request.param, HURRIED) as server:
        yield server


@pytest.fixture(scope="module", params=PARSERS)
def patient_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with the limits of production, for clients that may be slow on a busy machine."""
    directory = tmp_path_factory.mktemp("server")
    url = sqlite_database(request, directory)
    with serving(directory, url, request.param) as server:
        yield server


def fields(count: int, size: int = 1) -> Fields:
    """Return so many fields, one of them the host."""
    return [("Host", "a"), *((f"X-{n}", "x" * size) for n in range(count - 1))]


# Headers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [{}, WEBSOCKET])
@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        (fields(90), True),
        (fields(101), False),
        (fields(60, 1000), True),
        (fields(70, 1000), False),
        (fields(2, 60_000), True),
        (fields(2, 66_000), False),
        ([("Host", "a"), ("Accept", "csv," * 20_000)], False),
        ([("Host", "a"), ("Cookie", "a=b; " * 20_000)], False),
        (fields(20_000, 0), False),
    ],
)
def test_headers_of_a_moderate_size_are_read_and_others_refused(
    server: Server, headers: Fields, accepted: bool, extra: dict[str, str]
) -> None:
    response = server.ask(LIVE if extra else "/healthz", [*headers, *extra.items()])
    if accepted:
        assert response.status == (101 if extra else 200)
    else:
        assert response.status == 431
        assert "100 header fields or 65536 bytes" in response.detail()
        assert response.headers["connection"] == "close"
        assert response.headers["access-control-allow-origin"] == "*"


def test_a_hundred_fields_are_allowed(server: Server) -> None:
    assert server.ask("/healthz", fields(100)).status == 200


def test_what_refuses_a_build_request_is_plain_json(server: Server) -> None:
    response = server.ask(BUILD, fields(101), "POST")
    assert response.status == 431
    response.detail("application/json")


def test_a_long_target_is_refused(server: Server) -> None:
    assert server.ask("/healthz?" + "x" * 60_000, fields(1)).status == 200
    response = server.ask("/?" + "x" * 70_000, fields(1))
    assert response.status == 414
    assert response.detail()


@pytest.mark.parametrize(
    "part",
    [b"a: b\r\n" * 10_000, b"x" * 60_000, b"y" * 59_999 + b"\n"],
    ids=["many", "one", "lines"],
)
def test_endless_headers_cost_no_memory_and_get_a_response(server: Server, part: bytes) -> None:
    before = server.memory()
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(400):
            connection.sendall(part)
        assert Answer.on(connection).status in {400, 431}
    assert server.memory() - before < 16 << 20


def test_endless_trailers_cost_no_memory_and_are_no_headers(server: Server) -> None:
    before = server.memory()
    with server.connect() as connection:
        head = f"POST {EVENTS} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n0\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"authorization: Bearer %s\r\n" % TOKEN.encode() * 500)
        with contextlib.suppress(ConnectionError):
            assert Answer.on(connection).status in {400, 401, 431}
    assert server.memory() - before < 16 << 20


def test_many_requests_at_once_cost_no_memory(server: Server) -> None:
    before = server.memory()
    request = b"GET /healthz HTTP/1.1\r\nHost:a\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(server.connect())
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                connection.sendall(request * 8_000)
        processes.wait_ready(server.port)
    assert server.memory() - before < 64 << 20
    healthy = server.ask("/healthz", fields(1))
    with server.connect() as connection:
        connection.sendall(request * 20)
        received = b""
        while received.count(healthy.body) < 20:
            received += connection.recv(65536)
    assert received.count(b"HTTP/1.1 200 OK") == 20


def test_the_worst_heads_keep_nobody_waiting(server: Server) -> None:
    """Heads just below the limits, of what is parsed for every request."""
    accept = "text/csv;q=0.1,"
    worst = [
        ("Accept", accept * (60_000 // len(accept))),
        ("Accept", "csv" + "," * 60_000),
        ("Accept", "text/csv" + ";" * 60_000),
        ("Cookie", "a=b;" * 15_000),
        ("X-Forwarded-For", "1," * 30_000),
        ("Accept-Encoding", "x," * 30_000),
        ("If-None-Match", '"",' * 20_000),
    ]
    for header in worst:
        response = server.ask("/api/v1/stats/versions?" + "a=%41&" * 9_000, [("Host", "a"), header])
        assert response.status == 422

        def ask(header: tuple[str, str] = header) -> None:
            response = server.ask("/api/v1/stats/versions", [("Host", "a"), header])
            assert response.status in {200, 304}

        for _ in range(3):
            within(0.5, ask)


def test_what_is_remembered_of_headers_is_bounded(server: Server) -> None:
    path = "/api/v1/stats/overview"
    server.ask(path, [("Host", "a"), ("Accept", "x" * 60_000)])
    before = server.memory()
    for number in range(400):
        accept = f"{number}," + "x" * 60_000
        assert server.ask(path, [("Host", "a"), ("Accept", accept)]).status == 200
    assert server.memory() - before < 8 << 20


# Time -------------------------------------------------------------------------------------------


def ended(server: Server, content: bytes, drip: bytes = b"") -> tuple[bytes, float]:
    """Send a part of a request, then a byte now and then; return the response and the seconds."""
    received, began = b"", time.monotonic()
    with server.connect() as connection:
        connection.sendall(content)
        connection.settimeout(0.2)
        while time.monotonic() - began < 30:
            try:
                part = connection.recv(65536)
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(drip)
                continue
            except ConnectionError:
                break
            if not part:
                break
            received += part
    return received, time.monotonic() - began


def test_half_a_request_is_not_waited_for(server: Server) -> None:
    events = f"POST {EVENTS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
    events += "Content-Type: application/json\r\n"
    build = f"POST {BUILD} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    length, chunked = "Content-Length: 9000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"
    head, body = "GET / HTTP/1.1\r\nHost: a\r\n", "[1"
    parts: list[tuple[str, str, str]] = [
        ("", "", ""),
        ("G", "", "408"),
        ("\r\n", "", "|400"),
        (head, "", "408"),
        (head, "X: a\r\n", "408"),
        (f"{head}X: ", "a", "408"),
        (events + length, "", "408"),
        (events + length + body, "", "408"),
        (events + length + body, " ", "408"),
        (f"{events}{chunked}1\r\n[\r\n", "1\r\n \r\n", "408"),
        (build + length, " ", "408"),
        (f"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n{head}", "", "200"),
        (f"GET /healthz HTTP/1.1\r\nHost: a\r\n{length}", " ", "200"),
    ]
    with ThreadPoolExecutor(len(parts)) as threads:
        results = list(threads.map(lambda p: ended(server, p[0].encode(), p[1].encode()), parts))
    for (start, drip, status), (received, seconds) in zip(parts, results, strict=True):
        sent = (start, drip, received)
        assert received[9:12].decode() in status.split("|"), sent
        assert seconds < 15, sent
        if status == "408":
            head_, _, content = received.partition(b"\r\n\r\n")
            assert json.loads(content)["detail"] == "the request did not arrive in time"
            media = b"application/json" if start.startswith(build) else b"application/problem+json"
            assert b"content-type: " + media in head_, sent
    processes.wait_ready(server.port)


def test_a_slow_body_that_goes_on_is_waited_for(server: Server) -> None:
    with server.connect() as connection:
        head = f"POST {EVENTS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {2 + 20 * 2000}\r\n\r\n["
        connection.sendall(head.encode())
        for _ in range(20):
            time.sleep(0.3)
            connection.sendall(b" " * 2000)
        connection.sendall(b"]")
        assert Answer.on(connection).status == 200


# Responses to what is still being sent ----------------------------------------------------------

BIG = b" " * (20 << 20)
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("keep_alive", [False, True])
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (EVENTS, {**AUTHORIZED, **JSON}, 413),
        (EVENTS, JSON, 401),
        (EVENTS, {"Authorization": "Bearer x", **JSON}, 401),
        (EVENTS, {**AUTHORIZED, "Content-Type": "text/plain"}, 415),
        (EVENTS, {**AUTHORIZED, **JSON, "Content-Encoding": "br"}, 415),
        (EVENTS, {**AUTHORIZED, **JSON, "Content-Encoding": "gzip"}, 413),
        (BUILD, JSON, 413),
        (BUILD, {"Content-Type": "text/plain"}, 415),
        ("/api/v1/stats/overview", JSON, 405),
        ("/nothing", JSON, 404),
        (EVENTS, {f"X-{n}": "x" for n in range(101)}, 431),
        (EVENTS, {"X": "x" * 70_000}, 431),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_first_sees_the_response(
    patient_server: Server,
    path: str,
    headers: dict[str, str],
    status: int,
    keep_alive: bool,
    chunked: bool,
) -> None:
    length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(BIG))}
    close = {} if keep_alive else {"Connection": "close"}
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", patient_server.port, 30)
    ) as connection:
        body = iter([BIG[: len(BIG) // 2]] * 2) if chunked else BIG
        sent = {**headers, **length, **close}
        connection.request("POST", path, body, sent, encode_chunked=chunked)
        with connection.getresponse() as response:
            answer = Answer(response.status, response.headers, response.read())
        assert answer.status == status
        assert answer.detail("application/json" if path == BUILD else "application/problem+json")
        if keep_alive and status != 431:
            connection.request("GET", "/healthz")
            with connection.getresponse() as response:
                assert response.status == 200


def test_urllib_sees_what_is_wrong(server: Server) -> None:
    for body in (BIG, b" " * ((8 << 20) + 1)):
        for _ in range(5):
            url = f"http://127.0.0.1:{server.port}{EVENTS}"
            request = urllib.request.Request(url, body, {**AUTHORIZED, **JSON})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=30)
            with refused.value as response:
                assert response.code == 413
                assert "longer than 8388608 bytes" in json.load(response)["detail"]


@pytest.mark.parametrize("close", ["", "Connection: close\r\n"])
def test_what_is_read_after_a_response_is_bounded(server: Server, close: str) -> None:
    sent = 0
    with server.connect() as connection, contextlib.suppress(ConnectionError):
        head = f"POST {EVENTS} HTTP/1.1\r\nHost: a\r\n{close}Content-Length: 9999999999\r\n\r\n"
        connection.sendall(head.encode())
        while sent < 1 << 30:
            sent += connection.send(BIG)
    assert 32 << 20 < sent < 256 << 20


def test_a_server_that_is_stopped_waits_for_no_half_request(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    port = processes.free_port()
    url = sqlite_database(request)
    arguments = ("serve", "--port", str(port), "--builder", "none")
    with (
        processes.running(tmp_path, url, *arguments) as process,
        contextlib.ExitStack() as stack,
    ):
        processes.wait_ready(port)
        for content in (b"GET / HT", b"FOO / HTTP/1.1\r\n\r\n"):
            connection = socket.create_connection(("127.0.0.1", port))
            stack.enter_context(connection)
            connection.sendall(content)
        time.sleep(0.2)
        process.terminate()
        process.wait(SECONDS)
    log = (tmp_path / "log.txt").read_text()
    assert "stopping" in log
    assert "timeout graceful shutdown exceeded" not in log, log
