"""A Redis for tests that fork: a fake one is gone with its process."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the socket of a running Redis; skip where none is installed."""
    command = shutil.which("redis-server")
    if command is None:
        pytest.skip("redis-server is not installed")
    socket = tmp_path_factory.mktemp("redis") / "socket"
    options = ("--port", "0", "--unixsocket", str(socket), "--save", "", "--loglevel", "warning")
    process = subprocess.Popen([command, *options])
    redis = Redis(unix_socket_path=str(socket))
    for _ in range(500):
        with suppress(RedisConnectionError):
            redis.ping()
            break
        time.sleep(0.01)
    redis.close()
    yield socket
    process.terminate()
    process.wait()


@pytest.fixture
def redis(redis_server: Path) -> Iterator[Redis]:
    """Return a client of an empty Redis."""
    with Redis(unix_socket_path=str(redis_server)) as client:
        client.flushall()
        yield client
