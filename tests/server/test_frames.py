"""Broken WebSocket frames: the server closes the connection, and serves everybody else."""

import os
import random
import socket
import sys
import urllib.request
from contextlib import suppress
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


def test_broken_frames_hurt_nobody_else(tmp_path: Path, sqlite_template: Path) -> None:
    url = f"sqlite:///{tmp_path / 'stats.db'}"
    (tmp_path / "stats.db").write_bytes(sqlite_template.read_bytes())
    port = processes.free_port()
    seed = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(1 << 32)
    sys.stdout.write(f"FUZZ_SEED={seed}\n")
    rng = random.Random(seed)
    arguments = ("serve", "--builder", "none", "--port", str(port))
    with processes.running(tmp_path, url, *arguments):
        processes.wait_ready(port)
        for _ in range(CONNECTIONS):
            _attack(port, rng)
        with listening(port) as (_, connection):
            assert message(connection)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as answer:
            assert answer.status == 200
    log = (tmp_path / "log.txt").read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log
