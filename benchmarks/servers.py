"""Real processes: the server of the program, and helpers that measure from outside."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from asu_stats.cloudevents import to_cloudevent
from asu_stats.events import Event

# A busy machine makes a benchmark slow, and must not make it fail.
PATIENCE_SECONDS: Final = 300.0
_AGAIN: Final = frozenset({408, 429, 503})
TOKEN: Final = "benchmark-token"  # noqa: S105 - of a server that lives for seconds
_ROOT: Final = Path(__file__).parents[1]
_PROGRAM: Final = (sys.executable, "-c", "from asu_stats.cli import main; main()")


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@contextlib.contextmanager
def serving(url: str) -> Iterator[tuple[int, int]]:
    """Run `asu-stats serve` on a database; yields its port and process id."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="asu-stats-server-") as directory:
        environment = {
            **os.environ,
            "ASU_STATS_DATABASE_URL": url,
            "ASU_STATS_SPOOL_DIRECTORY": f"{directory}/spool",
            "ASU_STATS_STORE_DIRECTORY": f"{directory}/images",
            "ASU_STATS_INGEST_TOKEN": TOKEN,
        }
        log = Path(directory) / "log.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*_PROGRAM, "serve", "--port", str(port), "--builder", "none"],
                env=environment,
                cwd=directory,
                stdout=output,
                stderr=output,
            )
        try:
            _wait_ready(process, port, log)
            yield port, process.pid
        finally:
            _stop(process)


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not become ready: {log.read_text()[-500:]}")


def _stop(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def helper(module: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `python -m benchmarks.MODULE`: it says `ready`, and starts at a line of JSON."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )
    try:
        yield process
    finally:
        _stop(process)


def start_together(
    processes: Sequence["subprocess.Popen[str]"], options: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Start helpers at once, each with its options, when all are ready; return what they found."""
    for process in processes:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("a helper did not start")
    for process, chosen in zip(processes, options, strict=True):
        assert process.stdin is not None
        process.stdin.write(json.dumps(chosen) + "\n")
        process.stdin.flush()
    found = []
    for process in processes:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("a helper ended without a word")
        found.append(json.loads(line))
    return found


def body(events: Sequence[Event]) -> bytes:
    """Return events as the body of a POST."""
    return json.dumps([to_cloudevent(event) for event in events]).encode()


def post(connection: http.client.HTTPConnection, content: bytes) -> None:
    """Send events and see that they are accepted."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    call(connection, "POST", "/api/v1/stats/events", content, headers)


def call(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the body of a response with status 200.

    The same request is sent again after a lost connection (a server closes one that is idle for
    seconds) and after 408, 429 and 503. Raises `RuntimeError` after any other status, and after
    five minutes.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            connection.request(method, path, content, dict(headers or {}))
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            problem = f"{path}: {error or type(error).__name__}"
        else:
            if response.status == 200:
                return answer
            problem = f"{path}: {response.status} {answer[:200]!r}"
            if response.status not in _AGAIN:
                raise RuntimeError(problem)
        if time.monotonic() > deadline:
            raise RuntimeError(problem)
        time.sleep(0.05)
