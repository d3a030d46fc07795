"""The sites to copy for nginx and Caddy, with the real programs: TLS, prefix and WebSocket."""

import asyncio
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests import processes
from tests.conftest import sqlite_database
from tests.coroutines import finished
from tests.patience import SECONDS
from tests.support import TOKEN, request

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
_SOCKET: Final = "/run/asu-stats/server.sock"
_LIMIT: Final = 8 << 20
_JSON: Final = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate and its key, in one directory."""
    directory = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key -out pem"
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    return directory


def nginx(directory: Path, certificate: Path, port: int) -> list[str]:
    site = (DEPLOY / "nginx" / "asu-stats.conf").read_text()
    for ours, theirs in (
        ("[::]:443", f"[::1]:{port}"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/ssl/example.org.pem", f"{certificate}/pem"),
        ("/etc/ssl/example.org.key", f"{certificate}/key"),
        (_SOCKET, f"{directory}/server.sock"),
    ):
        assert ours in site
        site = site.replace(ours, theirs)
    user = "" if os.geteuid() else "user root;\n"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    (directory / "nginx.conf").write_text(
        f"{user}daemon off;\npid {directory}/pid;\nerror_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    return ["nginx", "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]


def caddy(directory: Path, certificate: Path, port: int) -> list[str]:
    site = (DEPLOY / "caddy" / "Caddyfile").read_text()
    for ours, theirs in (
        (
            "\nexample.org {",
            f"\nhttps://localhost:{port} {{\ntls {certificate}/pem {certificate}/key",
        ),
        (_SOCKET, f"{directory}/server.sock"),
    ):
        assert ours in site
        site = site.replace(ours, theirs)
    (directory / "Caddyfile").write_text("{\nadmin off\nauto_https disable_redirects\n}\n" + site)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]


@pytest.fixture(params=[nginx, caddy], ids=lambda each: each.__name__)
def site(
    request: pytest.FixtureRequest, certificate: Path, tmp_path: Path
) -> Iterator[httpx2.Client]:
    """A client of a server behind a proxy, at `https://localhost:PORT`."""
    port = processes.free_port()
    arguments = request.param(tmp_path, certificate, port)
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed")
    variables = {
        "ASU_STATS_ROOT_PATH": "/stats",
        "ASU_STATS_PROXIES": "1",
        "ASU_STATS_ACCESS_LOG": "true",
        "ASU_STATS_LOG_ADDRESSES": "true",
    }
    serve = ("serve", "--builder", "none", "--uds", str(tmp_path / "server.sock"))
    context = ssl.create_default_context(cafile=certificate / "pem")
    with processes.running(tmp_path, sqlite_database(request), *serve, **variables):
        environment = {**os.environ, "HOME": str(tmp_path)}
        with (tmp_path / "proxy.log").open("wb") as log:
            proxy = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log)
        try:
            with httpx2.Client(base_url=f"https://localhost:{port}", verify=context) as client:
                deadline = time.monotonic() + SECONDS
                while not _is_ready(client):
                    alive = proxy.poll() is None and time.monotonic() < deadline
                    assert alive, (tmp_path / "proxy.log").read_text()
                    time.sleep(0.1)
                yield client
        finally:
            proxy.terminate()
            proxy.wait(30)


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/stats/readyz").status_code == 200
    except httpx2.TransportError:
        return False


async def _follow(site: httpx2.Client, certificate: Path, headers: dict[str, str]) -> None:
    """See an event in a live message.

    In one thread: OpenSSL does not let two threads read and write a connection at once, as the
    client with threads does.
    """
    context = ssl.create_default_context(cafile=certificate / "pem")
    origin = str(site.base_url).rstrip("/")
    address = f"{origin}/stats/api/v1/stats/live".replace("https:", "wss:")
    with pytest.raises(InvalidStatus, match="403"):
        await connect(address, ssl=context, origin=Origin("https://example.net"))
    async with connect(address, ssl=context, origin=Origin(origin)) as socket:
        before = await asyncio.wait_for(socket.recv(), SECONDS)
        sent = site.post("/stats/api/v1/stats/events", json=[request("h1")], headers=headers)
        assert sent.json() == {"accepted": 1, "duplicates": 0}
        assert await asyncio.wait_for(socket.recv(), SECONDS) != before


def test_a_site_to_copy(site: httpx2.Client, certificate: Path, tmp_path: Path) -> None:
    moved = site.get("/stats")
    assert moved.status_code == 308
    assert moved.headers["location"].endswith("/stats/")
    page = site.get("/stats/")
    assert page.status_code == 200
    assert 'href="/stats/static/' in page.text

    headers = {"Authorization": f"Bearer {TOKEN}"}
    finished(_follow(site, certificate, headers))

    # The server believes the proxy, not the client.
    forged = {"X-Forwarded-For": "192.0.2.1"}
    assert site.get("/stats/api/v1/stats/overview?days=30", headers=forged).status_code == 200
    until = time.monotonic() + SECONDS
    found: list[str] = []
    while not found and time.monotonic() < until:  # it is written after the response
        lines = (tmp_path / "log.txt").read_text().splitlines()
        found = [line for line in lines if "overview" in line]
    (line,) = found
    assert "client=local" in line
    assert "192.0.2.1" not in line
    assert "request_id=" in line

    for size, status in ((_LIMIT, 422), (_LIMIT + 1, 413)):
        answer = site.post(
            "/stats/api/v1/stats/events", content=b" " * size, headers=headers | _JSON
        )
        assert answer.status_code == status
