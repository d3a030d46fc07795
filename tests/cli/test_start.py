"""Obstacles at start: one line, before anything is changed."""

import contextlib
import json
import shutil
import socket
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from asu_stats.cli import demo
from asu_stats.demo import visitors
from asu_stats.server import sockets
from tests import processes
from tests.cli.test_commands import run, run_from_nothing


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def address_in(directory: Path, seconds: float = 60) -> str:
    """Wait until the command in `directory` says where it is, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for word in (directory / "log.txt").read_text().split():
            if word.startswith(("http://", "url=http://")):
                return word.removeprefix("url=")
        time.sleep(0.05)
    raise AssertionError((directory / "log.txt").read_text())


def read_only(path: Path) -> None:
    """Make an SQLite file one that nobody can write, not even root."""
    content = bytearray(path.read_bytes())
    content[18] = 3  # "file format write version": newer than any that there is
    path.write_bytes(content)


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Path:
    path = tmp_path / "stats.db"
    shutil.copy(sqlite_template, path)
    return path


# The port ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_taken_port(tmp_path: Path, command: str) -> None:
    with taken_port() as port:
        done = run("sqlite:///new.db", tmp_path, command, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"asu-stats: 127.0.0.1:{port}: address already in use\n"
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("no-such-host.invalid", "no-such-host.invalid:80: "),
        ("192.0.2.7", "192.0.2.7:80: cannot assign requested address"),
        ("2001:db8::7", "[2001:db8::7]:80: "),
        ("..", "..:80: not a host name"),
    ],
)
def test_a_bad_host(tmp_path: Path, host: str, words: str) -> None:
    done = run("sqlite:///new.db", tmp_path, "serve", "--host", host, "--port", "80")
    assert done.returncode == 1
    assert done.stderr.startswith(f"asu-stats: {words}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_any_free_port(tmp_path: Path, database: Path, host: str) -> None:
    with processes.running(
        tmp_path, f"sqlite:///{database}", "serve", "--host", host, "--port", "0"
    ):
        url = address_in(tmp_path)
        assert not url.endswith(":0/")
        with urllib.request.urlopen(f"{url}readyz", timeout=60) as answer:
            assert json.load(answer)["status"] == "ready"


@pytest.mark.parametrize("host", ["localhost", "LocalHost"])
def test_localhost_is_both_loopback_addresses(tmp_path: Path, database: Path, host: str) -> None:
    with processes.running(
        tmp_path, f"sqlite:///{database}", "serve", "--host", host, "--port", "0"
    ):
        url = address_in(tmp_path)
        port = url.rstrip("/").rpartition(":")[2]
        for place in (host, "localhost", "127.0.0.1", "[::1]"):
            with urllib.request.urlopen(f"http://{place}:{port}/healthz", timeout=60) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_localhost_needs_the_port_of_both(tmp_path: Path, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        port = str(server.getsockname()[1])
        done = run("sqlite:///new.db", tmp_path, "serve", "--host", "localhost", "--port", port)
    assert done.returncode == 1
    assert done.stderr == f"asu-stats: localhost:{port}: address already in use\n"


def test_localhost_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_LOCALHOST", ("127.0.0.1", "2001:db8::7"))
    with sockets.listening("localhost", 0) as listeners:
        assert [listener.getsockname()[0] for listener in listeners] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("127.0.0.9", "127.0.0.9"),
        ("localhost", "127.0.0.1"),
    ],
)
def test_visitors_come_to_where_the_demo_is(host: str, near: str) -> None:
    with sockets.listening(host, 0) as listeners:
        address, port = listeners[0].getsockname()[:2]
        url = sockets.base_url(demo._loopback(address), listeners)
        assert url == f"http://{near}:{port}"
        visitors.Visitors(url)


# The demo's directory ---------------------------------------------------------------------------


def test_a_second_demo_leaves_the_first_alone(tmp_path: Path) -> None:
    quick = ("--days", "1", "--requests", "20")
    with processes.running(tmp_path, "sqlite:///unused.db", "demo", "--port", "0", *quick):
        url = address_in(tmp_path)
        before = (tmp_path / "demo" / "demo.db").stat().st_ino
        second = run("sqlite:///unused.db", tmp_path, "demo", "--port", "0", *quick)
        assert second.returncode == 1
        assert second.stderr.startswith("asu-stats: demo: another demo uses this directory")
        assert second.stdout == ""
        assert (tmp_path / "demo" / "demo.db").stat().st_ino == before
        with urllib.request.urlopen(f"{url}readyz", timeout=60) as answer:
            assert answer.status == 200
    (tmp_path / "log.txt").unlink()
    with processes.running(tmp_path, "sqlite:///unused.db", "demo", "--port", "0", *quick):
        address_in(tmp_path)  # the lock goes with its holder


@pytest.mark.parametrize("directory", ["/dev/null/x", "/proc/x/y", "file"])
def test_a_directory_that_cannot_be_made(tmp_path: Path, directory: str) -> None:
    (tmp_path / "file").touch()
    done = run("sqlite:///x.db", tmp_path, "demo", "--port", "0", "--directory", directory)
    assert done.returncode == 1
    assert done.stderr.startswith(f"asu-stats: {directory.removesuffix('/y')}")
    assert done.stderr.count("\n") == 1


# The database -----------------------------------------------------------------------------------

READERS = (
    "db status",
    "worker --builder demo",
    "rollups verify",
    "rollups rebuild",
    "export stats_daily",
    "token list",
    "token revoke x",
    "token create x --scope read",
)


@pytest.mark.parametrize("command", READERS)
def test_only_some_commands_make_a_database(tmp_path: Path, command: str) -> None:
    done = run("sqlite:///none.db", tmp_path, *command.split())
    assert done.returncode == 1
    file = tmp_path / "none.db"  # in full: people call commands in another directory
    assert done.stderr == f"asu-stats: {file}: no such file; `asu-stats db upgrade` creates it\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["db status", "db upgrade", "serve --port 0"])
def test_files_that_are_no_database(tmp_path: Path, command: str) -> None:
    (tmp_path / "text.db").write_text("no database " * 400)
    (tmp_path / "folder.db").mkdir()
    for url, words in (
        ("sqlite:///text.db", "text.db: file is not a database"),
        ("sqlite:///folder.db", "folder.db: is a directory"),
        ("sqlite:////no/where/x.db", "/no/where: no such directory"),
    ):
        done = run(url, tmp_path, *command.split())
        assert (done.returncode, done.stderr) == (1, f"asu-stats: {words}\n")


@pytest.mark.parametrize("command", ["db status", "db upgrade", "serve --port 0", "token list"])
def test_the_database_of_another_program_stays_as_it_is(tmp_path: Path, command: str) -> None:
    path = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE build_requests (id INTEGER)")
    before = path.read_bytes()
    done = run("sqlite:///other.db", tmp_path, *command.split())
    assert done.returncode == 1
    assert done.stderr.startswith("asu-stats: other.db: not an asu-stats database")
    assert "build_requests" in done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", ["serve --port 0", "worker --builder demo"])
def test_a_database_that_cannot_be_written(tmp_path: Path, database: Path, command: str) -> None:
    read_only(database)
    done = run("sqlite:///stats.db", tmp_path, *command.split())
    assert done.returncode == 1
    assert done.stderr == "asu-stats: stats.db: attempt to write a readonly database\n"
    assert run("sqlite:///stats.db", tmp_path, "db", "status").returncode == 0


# What settings need -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "extra", "name", "value"),
    [
        ("pyarrow", "parquet", "archive", "parquet"),
        ("redis", "redis", "rate_limit_storage", "redis://127.0.0.1:1/0"),
        ("apprise", "alerts", "notify", '["json://example.org"]'),
        ("psycopg", "postgresql", "database_url", "postgresql://127.0.0.1:1/x"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_made(
    tmp_path: Path, package: str, extra: str, name: str, value: str
) -> None:
    without = tmp_path / "without"
    without.mkdir()
    (without / f"{package}.py").write_text(f"raise ModuleNotFoundError(name={package!r})")
    variables = {"PYTHONPATH": str(without), f"ASU_STATS_{name.upper()}": value}
    done = run_from_nothing("sqlite:///new.db", tmp_path, "serve", "--port", "0", **variables)
    assert done.returncode == 1
    assert done.stderr == (
        f"asu-stats: {name}: the package {package} is missing: install asu-stats[{extra}]\n"
    )
    assert list(tmp_path.iterdir()) == [without]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RETENTION_SCHEDULE": "0 0 30 feb *"}, "retention_schedule=0 0 30 feb *: expected"),
        ({"VERIFY_SCHEDULE": "daily"}, "verify_schedule=daily: expected a crontab"),
        ({"NOTIFY": '["nonsense"]'}, "notify: number 1 is not an Apprise URL"),
        ({"BUILDER": "command", "COMMAND": '["mkae image"]'}, "command: mkae: no such program"),
        (
            {"BUILDER": "command", "COMMAND": '["make {profle}"]'},
            "command: '{profle}': unknown placeholder",
        ),
        ({"CATALOGUE": "none.json"}, "catalogue none.json: "),
        ({"READ_ACESS": "token"}, "settings: ASU_STATS_READ_ACESS: no such setting; did you"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_made(
    tmp_path: Path, variables: dict[str, str], words: str
) -> None:
    named = {f"ASU_STATS_{name}": value for name, value in variables.items()}
    done = run("sqlite:///new.db", tmp_path, "serve", "--port", "0", **named)
    assert done.returncode == 1
    assert done.stderr.startswith(f"asu-stats: {words}")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["spool_directory", "archive_directory"])
@pytest.mark.parametrize("place", ["/proc/x/y", "/dev/null/x", "file"])
def test_a_directory_that_cannot_be_used(tmp_path: Path, setting: str, place: str) -> None:
    (tmp_path / "file").touch()
    variables = {"ASU_STATS_ARCHIVE": "csv.gz", f"ASU_STATS_{setting.upper()}": place}
    done = run("sqlite:///new.db", tmp_path, "serve", "--port", "0", **variables)
    assert done.returncode == 1
    assert done.stderr.startswith(f"asu-stats: {setting}: {place}: ")
    assert "Errno" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new.db").exists()


# The store directory ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["serve --port 0 --builder demo", "worker --builder demo"])
def test_a_store_directory_that_cannot_be_used(
    tmp_path: Path, database: Path, command: str
) -> None:
    (tmp_path / "images").touch()  # where the tests' environment has it
    done = run(f"sqlite:///{database}", tmp_path, *command.split())
    assert done.returncode == 1
    assert done.stderr.startswith(f"asu-stats: store_directory: {tmp_path}/images: ")
    assert done.stderr.count("\n") == 1


def test_looking_at_the_store_leaves_nothing(tmp_path: Path, database: Path) -> None:
    url = f"sqlite:///{database}"
    with processes.running(tmp_path, url, "serve", "--port", "0", "--builder", "demo"):
        address_in(tmp_path)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("images/**/*"))
    assert [path for path in left if path not in {"images/.staging", "images/.trash"}] == []
