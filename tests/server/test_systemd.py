"""Unix sockets, and notifications to systemd."""

import socket
from pathlib import Path

import pytest

from asu_stats.exceptions import AsuStatsError
from asu_stats.server import sockets, systemd
from asu_stats.settings import load
from tests import processes
from tests.conftest import sqlite_database

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_a_server_on_a_unix_socket_reports_to_systemd(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path, messages = tmp_path / "http", tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(messages))
        receiver.settimeout(120)
        variables = {"NOTIFY_SOCKET": str(messages), "WATCHDOG_USEC": "2000000"}
        arguments = ("serve", "--uds", str(path))
        with processes.running(tmp_path, sqlite_database(request), *arguments, **variables):
            heard = [receiver.recv(100)]
            while b"READY=1" not in heard or b"WATCHDOG=1" not in heard:
                heard.append(receiver.recv(100))
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert client.recv(20).startswith(b"HTTP/1.1 200 ")
        while heard[-1] != b"STOPPING=1":
            heard.append(receiver.recv(100))
    assert not path.exists()


def test_a_socket_of_a_dead_process_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "http"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with sockets.listening_at(path) as (listener,):
        assert listener.getsockname() == str(path)
        with (
            pytest.raises(AsuStatsError, match="address already in use"),
            sockets.listening_at(path),
        ):
            pass
        assert path.is_socket()
    path.write_text("mine")
    with pytest.raises(AsuStatsError, match="address already in use"), sockets.listening_at(path):
        pass
    assert path.read_text() == "mine"


def test_nothing_is_sent_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    systemd.notify("READY=1")
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    assert systemd.heartbeat_seconds() == 1.5
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.heartbeat_seconds() is None


def test_the_settings_to_copy_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASU_STATS_CONFIG", str(DEPLOY / "asu-stats.toml"))
    assert load().root_path == "/stats"


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=str)
def test_units_run_commands_that_exist(unit: Path) -> None:
    (line,) = (each for each in unit.read_text().splitlines() if each.startswith("ExecStart="))
    words = line.partition("/opt/asu-stats/bin/asu-stats ")[2].split()
    assert words[0] in {"serve", "worker", "jobs", "db"}
    assert "ProtectSystem=strict" in unit.read_text()
