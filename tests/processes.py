"""Real processes of the program, for tests that kill them or run several at once."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from tests import forked
from tests.support import SOURCE, TOKEN

COMMAND = [sys.executable, "-c", "from asu_stats.cli import main; main()"]
Process: TypeAlias = forked.Process | subprocess.Popen[bytes]


def free_port() -> int:
    """Return a port that is free, and that no outgoing connection gets until a server uses it."""
    while True:
        port = 10_000 + secrets.randbelow(22_000)  # outgoing connections: from 32,768 on
        with contextlib.suppress(OSError), socket.socket() as server:
            server.bind(("127.0.0.1", port))
            return port


def environment(directory: Path, database_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "ASU_STATS_DATABASE_URL": database_url,
        "ASU_STATS_SPOOL_DIRECTORY": str(directory / "spool"),
        "ASU_STATS_STORE_DIRECTORY": str(directory / "images"),
        "ASU_STATS_INGEST_TOKEN": TOKEN,
        "ASU_STATS_SOURCE": SOURCE,
        "ASU_STATS_DEMO_SECONDS": "0.02",
        "ASU_STATS_MAX_PENDING_JOBS": "100000",
    }


def start(
    directory: Path, database_url: str, *arguments: str, first: str = "", **variables: str
) -> forked.Process:
    """Start a command in a process group of its own; its log goes to a file.

    `first` is Python that the process runs before the command.
    """
    log = directory / "log.txt"
    log.touch()
    env = {**environment(directory, database_url), **variables}
    return forked.Process(arguments, env=env, cwd=directory, stdout=log, stderr=log, first=first)


@contextlib.contextmanager
def executed(
    directory: Path, database_url: str, *arguments: str, first: str = "", **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command as `running` does, in a new process as operators start it.

    A forked one has the memory, and the arenas of malloc, of the process that it comes from.
    """
    command = [*COMMAND[:-1], f"{first}\n{COMMAND[-1]}", *arguments]
    env = {**environment(directory, database_url), **variables}
    with (directory / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command, env=env, cwd=directory, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: Process) -> None:
    """Stop a process kindly, then not."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: Process) -> None:
    """Kill a process and its children at once, as a crash would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # it may have been too young to be a group
    process.wait()


def wait_ready(port: int, seconds: float = 120) -> None:
    """Wait until the server on `port` says that it is ready."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10),
        ):
            return
        time.sleep(0.05)
    raise AssertionError("the server did not become ready")


@contextlib.contextmanager
def running(
    directory: Path, database_url: str, *arguments: str, first: str = "", **variables: str
) -> Iterator[forked.Process]:
    """Run a command until the block ends."""
    process = start(directory, database_url, *arguments, first=first, **variables)
    try:
        yield process
    finally:
        _stop(process)
