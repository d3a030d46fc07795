"""What a server does while the machine has no more of something, and that it recovers by itself."""

import contextlib
import json
import os
import resource
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.support import TOKEN, at, request

PATIENCE = 120.0


@dataclass
class Server:
    """A server process, and a count of the events that it acknowledged."""

    directory: Path
    pid: int
    port: int
    acknowledged: int = 0
    numbers: Iterator[int] = field(default_factory=count)
    opened: list[HTTPConnection] = field(default_factory=list)

    def connection(self) -> HTTPConnection:
        self.opened.append(HTTPConnection("127.0.0.1", self.port, timeout=60))
        return self.opened[-1]

    def send(self, connection: HTTPConnection, events: int = 1) -> int:
        """Send events, again with the same ids if there is no response; return the status."""
        sent = [request(f"hash-{next(self.numbers)}", at("2026-08-01")) for _ in range(events)]
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        status = self.ask(connection, "POST", "/api/v1/stats/events", json.dumps(sent), headers)
        self.acknowledged += events if status == 200 else 0
        return status

    def ask(self, connection: HTTPConnection, method: str, path: str, *more: Any) -> int:
        try:
            connection.request(method, path, *more)
            response = connection.getresponse()
            response.read()
        except (HTTPException, OSError):
            connection.close()
            return 0
        return response.status

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def lines(self) -> list[str]:
        return (self.directory / "log.txt").read_text().splitlines()

    @contextlib.contextmanager
    def limited(self, kind: int, most: int) -> Iterator[None]:
        """Set a limit of the process while the block runs."""
        before = resource.prlimit(self.pid, kind)
        resource.prlimit(self.pid, kind, (most, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self.pid, kind, before)

    def recovers(self) -> None:
        """Wait until it is ready and takes events; every acknowledged event must be there once."""
        until = time.monotonic() + PATIENCE
        connection = self.connection()
        while self.ask(connection, "GET", "/readyz") != 200 or self.send(connection) != 200:
            assert time.monotonic() < until, "it does not recover by itself"
            time.sleep(0.2)
        connection.close()
        query = "?start=2026-08-01&end=2026-08-01"
        totals = json.loads(self.get(f"/api/v1/stats/overview{query}"))["totals"]
        assert totals["requests"] == self.acknowledged
        assert b"asu_stats_events_lost_total 0.0" in self.get("/metrics")


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    yield running
    while running.opened:
        running.opened.pop().close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("outages")
    shutil.copy(sqlite_template, directory / "stats.db")
    port = processes.free_port()
    arguments = ("serve", "--builder", "none", "--port", str(port))
    url = f"sqlite:///{directory / 'stats.db'}"
    with processes.running(directory, url, *arguments) as process:
        processes.wait_ready(port)
        made = Server(directory, process.pid, port)
        made.recovers()
        yield made
        for each in made.opened:
            each.close()


def test_no_more_file_descriptors(server: Server) -> None:
    """Connections that are open go on, new ones wait; the log does not grow with every attempt."""
    known, lines = server.connection(), len(server.lines())
    assert server.send(known) == 200
    used = max(int(name) for name in os.listdir(f"/proc/{server.pid}/fd"))  # noqa: PTH208
    with server.limited(resource.RLIMIT_NOFILE, used + 1):
        waiting = [server.connection() for _ in range(20)]
        threads = [
            threading.Thread(target=server.ask, args=(each, "GET", "/healthz")) for each in waiting
        ]
        for thread in threads:
            thread.start()
        for _ in range(10):  # locks of SQLite are files, too
            assert server.send(known) in {200, 503}
            assert server.ask(known, "GET", "/healthz") == 200
            time.sleep(0.1)
    for thread in threads:
        thread.join(PATIENCE)
    server.recovers()
    assert len(server.lines()) - lines < 60, server.lines()[lines:]


def test_no_more_room_for_the_database(server: Server) -> None:
    """Nothing that is not stored is acknowledged, reports are read, and it ends by itself."""
    connection, lines = server.connection(), len(server.lines())
    log = server.directory / "stats.db-wal"
    with server.limited(resource.RLIMIT_FSIZE, log.stat().st_size + 4096):
        statuses = [server.send(connection, 20) for _ in range(20)]
        assert 503 in statuses
        assert set(statuses) <= {200, 503}
        assert server.ask(connection, "GET", "/readyz") == 503
        assert server.ask(connection, "GET", "/api/v1/stats/overview?days=7") == 200
        assert server.ask(connection, "GET", "/metrics") == 200
    server.recovers()
    told = "\n".join(server.lines()[lines:])
    assert "cannot write to the store" in told
    assert "recovered count=" in told
    assert "Traceback" not in told
    assert len(told.splitlines()) < 20, told


def test_no_more_memory(server: Server) -> None:
    """Requests that need too much fail, and only they."""
    connection = server.connection()
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[0])
    room = pages * os.sysconf("SC_PAGE_SIZE") + (4 << 20)
    body = b"[" + b"[]," * 2_700_000 + b"[]]"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    with server.limited(resource.RLIMIT_AS, room):
        for _ in range(3):
            path = "/api/v1/stats/events"
            status = server.ask(server.connection(), "POST", path, body, headers)
            assert status in {0, 413, 422, 500, 503}
            server.send(connection)
    server.recovers()
