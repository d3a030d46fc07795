"""Broken WebSocket frames: the server closes the connection, and serves everybody else."""

import os
import random
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

from tests import processes
from tests.api.test_live_server import listening, message

# `make fuzz` sends more.
CONNECTIONS = int(os.environ.get("FRAMES", "60"))
_SIZES = (0, 1, 2, 125, 126, 127, 128, 1000, 65_535, 65_536, 70_000)


def frame(rng: random.Random) -> bytes:
    """Return a frame (RFC 6455 §5.2) in which anything may be wrong."""
    size = rng.choice(_SIZES)
    said = rng.choice((size, size, size, rng.choice(_SIZES), 1 << 31, (1 << 64) - 1))
    first = rng.choice((0x81, 0x82, 0x88, 0x89, 0x8A, 0x01, 0x00, rng.randrange(256)))
    masked = rng.choice((0x80, 0x80, 0x80, 0))
    short = 127 if said > 0xFFFF else 126 if said > 125 else said
    if rng.random() < 0.2:  # not in the shortest form
        short = 127
    length = {126: (said & 0xFFFF).to_bytes(2), 127: said.to_bytes(8)}.get(short, b"")
    body = rng.choice((b"\0", b"\xff", b"a", rng.randbytes(1))) * size
    made = bytes((first, masked | short)) + length + (rng.randbytes(4) if masked else b"") + body
    if rng.random() < 0.2:
        return made[: rng.randrange(len(made) + 1)]
    return rng.randbytes(rng.randrange(200)) if rng.random() < 0.1 else made


def _attack(port: int, rng: random.Random) -> None:
    with listening(port) as (status, connection):
        assert status == "HTTP/1.1 101 Switching Protocols"
        message(connection)
        with suppress(ConnectionError):
            for _ in range(rng.randrange(1, 12)):
                connection.sendall(frame(rng))
        if rng.random() < 0.5:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)


@contextmanager
def _server(directory: Path, template: Path) -> Iterator[int]:
    """Serve on a port; at the end the server still responds, and its log has no error."""
    url = f"sqlite:///{directory / 'stats.db'}"
    (directory / "stats.db").write_bytes(template.read_bytes())
    port = processes.free_port()
    arguments = ("serve", "--builder", "none", "--port", str(port))
    with processes.running(directory, url, *arguments):
        processes.wait_ready(port)
        yield port
        with listening(port) as (_, connection):
            assert message(connection)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as answer:
            assert answer.status == 200
    log = (directory / "log.txt").read_text()
    at = max(log.find("Traceback"), log.find("ERROR"))
    assert at < 0, log[max(at - 500, 0) : at + 3000]


def test_broken_frames_hurt_nobody_else(tmp_path: Path, sqlite_template: Path) -> None:
    seed = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(1 << 32)
    sys.stdout.write(f"FUZZ_SEED={seed}\n")
    rng = random.Random(seed)
    with _server(tmp_path, sqlite_template) as port:
        for _ in range(CONNECTIONS):
            _attack(port, rng)


# Each ends the connection or begins what does; two of them arrive as one segment.
_MASK = bytes(4)
_CLOSING = (
    b"\x81\x81" + _MASK + b"\xff",  # text that is not UTF-8
    b"\x01\x81" + _MASK + b"\xff",  # its first part
    b"\x80\x81" + _MASK + b"\xff",  # its last part
    b"\x82\x81" + _MASK + b"\xff",  # binary
    b"\x88\x82" + _MASK + b"\x03\xe8",  # close
    b"\x88\x80" + _MASK,  # close without a code
    b"\x88\x82" + _MASK + b"\x00\x00",  # close with an invalid code
    b"\x8a\x80" + _MASK,  # pong
    b"\x89\x80" + _MASK,  # ping
    b"\x81\x01\xff",  # not masked
    b"\xf1\x80" + _MASK,  # reserved bits
)


def test_two_frames_that_end_a_connection(tmp_path: Path, sqlite_template: Path) -> None:
    with _server(tmp_path, sqlite_template) as port:
        for frames in product(_CLOSING, repeat=2):
            with listening(port) as (_, connection):
                message(connection)
                connection.sendall(b"".join(frames))
