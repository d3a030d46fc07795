"""The WebSocket of a real server: events of another process, and foreign origins."""

import base64
import json
import os
import shutil
import socket
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import processes
from tests.patience import SECONDS, within
from tests.support import TOKEN, request

LIVE = "/api/v1/stats/live"


@contextmanager
def listening(port: int, **headers: str) -> Iterator[tuple[str, socket.socket]]:
    """Ask for a socket by hand; yields the status line and what comes after the headers."""
    lines = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **headers,
    }
    head = f"GET {LIVE} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(1)
        yield answer.split(b"\r\n")[0].decode(), connection


def message(connection: socket.socket) -> dict[str, object]:
    """Read one text frame (RFC 6455 §5.2)."""
    first, length = _exactly(connection, 2)
    assert first == 0x81
    if length == 126:
        length = int.from_bytes(_exactly(connection, 2))
    found: dict[str, object] = json.loads(_exactly(connection, length))
    return found


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        assert part, "the server hung up"
        content += part
    return content


def post(port: int, number: int) -> None:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/stats/events",
        json.dumps([request(f"h{number}", datetime.now(UTC) - timedelta(minutes=1))]).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
        assert answer.status == 200


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'stats.db')}"


def test_what_one_process_writes_another_tells(database: str, tmp_path: Path) -> None:
    ports = [processes.free_port() for _ in range(2)]
    servers = [
        processes.start(tmp_path, database, "serve", "--builder", "none", "--port", str(port))
        for port in ports
    ]
    try:
        for port in ports:
            processes.wait_ready(port)
        with listening(ports[0]) as (status, connection):
            assert status == "HTTP/1.1 101 Switching Protocols"
            changes = {message(connection)["changes"]}

            def told() -> None:
                post(ports[1], len(changes))
                changes.add(message(connection)["changes"])

            within(2, told)
            assert len(changes) > 1
        with listening(ports[0], Origin="https://evil.example") as (status, _):
            assert status == "HTTP/1.1 403 Forbidden"
        log = (tmp_path / "log.txt").read_text()
        assert "ERROR" not in log
    finally:
        for server in servers:
            server.terminate()
            server.wait(120)


def test_many_that_connect_at_once_get_each_message_once(database: str, tmp_path: Path) -> None:
    port = processes.free_port()
    arguments = ("serve", "--builder", "none", "--port", str(port))
    with (
        processes.running(tmp_path, database, *arguments),
        ExitStack() as stack,
        ThreadPoolExecutor(40) as threads,
    ):
        processes.wait_ready(port)
        entered = list(threads.map(lambda _: stack.enter_context(listening(port)), range(40)))
        connections = [connection for _, connection in entered]
        for connection in connections:
            message(connection)
        for number in range(3):
            post(port, number)
            changes = {message(connection)["changes"] for connection in connections}
            assert len(changes) == 1
        time.sleep(2)
        for connection in connections:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)


def test_a_frame_that_is_too_long_ends_it(database: str, tmp_path: Path) -> None:
    port = processes.free_port()
    arguments = ("serve", "--builder", "none", "--port", str(port))
    with processes.running(tmp_path, database, *arguments):
        processes.wait_ready(port)
        with listening(port) as (_, connection):
            message(connection)
            size = 70_000
            frame = b"\x81\xff" + size.to_bytes(8) + b"\0\0\0\0" + b"x" * size
            connection.sendall(frame)
            first, length = _exactly(connection, 2)
            assert first == 0x88
            assert int.from_bytes(_exactly(connection, length)[:2]) == 1009
