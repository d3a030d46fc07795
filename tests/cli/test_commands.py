"""Commands as users type them: output, exit status, one-line errors."""

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asu_stats.api import tokens
from asu_stats.cli import commands
from asu_stats.cli.program import app
from asu_stats.cloudevents import parse_time
from tests import forked, processes
from tests.support import Stats, build, request


def run(
    database_url: str, directory: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {**processes.environment(directory, database_url), **variables}
    return forked.run(arguments, env=environment, cwd=directory)


def run_from_nothing(
    database_url: str, directory: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a Python of its own, which has imported nothing yet."""
    return subprocess.run(
        [*processes.COMMAND, *arguments],
        env={**processes.environment(directory, database_url), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=directory,
    )


COMMANDS = (
    "",
    "demo",
    "serve",
    "worker",
    "events send",
    "export",
    "stats",
    "stats overview",
    "stats client",
    "insights",
    "alerts",
    "alerts check",
    "db",
    "db upgrade",
    "db status",
    "db distribute",
    "db backup",
    "db check",
    "db restore",
    "import",
    "import go-builder",
    "import redis",
    "jobs",
    "jobs run",
    "config show",
    "config check",
    "retention run",
    "rollups verify",
    "rollups rebuild",
    "token create",
    "token list",
    "token revoke",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_everywhere(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize("name", sorted({command.split()[0] for command in COMMANDS if command}))
def test_help_says_of_a_command_what_the_command_says_of_itself(name: str) -> None:
    said = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    own = commands.load(name).get_short_help_str(limit=200)
    assert f" {name} {own}" in said


def test_what_a_command_does_not_need_is_not_imported() -> None:
    code = "import sys; import asu_stats.cli.program; sys.exit(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not {"fastapi", "numpy", "alembic", "asu_stats.cli.serve"} & {*done.stderr.split()}


def test_help_says_where_settings_and_builders_are_described(tmp_path: Path) -> None:
    top = run_from_nothing("sqlite:///x.db", tmp_path, "--help").stdout
    for words in ("ASU_STATS_", "asu-stats.toml", "ASU_STATS_CONFIG", "docs/configuration.md"):
        assert words in top
    assert "command" in (
        serve := run_from_nothing("sqlite:///x.db", tmp_path, "serve", "--help").stdout
    )
    assert "docs/build-service.md" in serve
    status = run_from_nothing("sqlite:///x.db", tmp_path, "db", "status", "--help").stdout
    assert "  --json  " in status
    assert "bool" not in status.lower()


def test_no_arguments_at_all_is_a_call_for_help(tmp_path: Path) -> None:
    done = run_from_nothing("sqlite:///x.db", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: asu-stats")


def test_database_from_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    (tmp_path / "new.db").touch()
    status = run(url, tmp_path, "db", "status", "--json")
    assert (status.returncode, json.loads(status.stdout)["current"]) == (1, False)
    early = run(url, tmp_path, "rollups", "verify")
    assert early.returncode == 1
    assert "asu-stats db upgrade" in early.stderr
    assert "Traceback" not in early.stderr
    assert run(url, tmp_path, "db", "upgrade").returncode == 0
    assert "up to date" in run(url, tmp_path, "db", "upgrade").stdout
    assert run(url, tmp_path, "db", "status").returncode == 0


def test_tokens_rollups_and_export(stats: Stats, tmp_path: Path) -> None:
    stats.record(request("=h1", client="@luci/1"), build("=h1"))
    url = stats.settings.database_url
    made = run(url, tmp_path, "token", "create", "sender", "--scope", "ingest")
    token = made.stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    assert stats.post(request("h2"), headers=headers).status_code == 200
    again = run(url, tmp_path, "token", "create", "sender", "--scope", "read")
    assert again.returncode == 1
    assert "exists already" in again.stderr
    listed = run(url, tmp_path, "token", "list")
    assert "sender" in listed.stdout
    assert token not in listed.stdout
    (row,) = json.loads(run(url, tmp_path, "token", "list", "--json").stdout)
    assert parse_time(row["created_at"]).tzinfo is UTC
    assert row["created_at"].endswith("Z")
    assert row["revoked_at"] is None
    assert row["expires_at"] is None
    lasting = ("token", "create", "old", "--scope", "read", "--expires", "90d", "--json")
    expires = parse_time(json.loads(run(url, tmp_path, *lasting).stdout)["expires_at"])
    assert timedelta(days=89, hours=23) < expires - datetime.now(UTC) <= timedelta(days=90)
    day = ("token", "create", "day", "--scope", "read", "--expires", "2099-12-31", "--json")
    assert json.loads(run(url, tmp_path, *day).stdout)["expires_at"] == "2099-12-31T00:00:00Z"
    assert " 2099-12-31 00:00:00 UTC" in run(url, tmp_path, "token", "list").stdout
    assert run(url, tmp_path, "token", "revoke", "sender").returncode == 0
    assert stats.post(request("h3"), headers=headers).status_code == 401
    assert [token.name for token in tokens.all_tokens(stats.engine) if token.revoked_at] == [
        "sender"
    ]

    verified = run(url, tmp_path, "rollups", "verify", "--json")
    assert json.loads(verified.stdout) == {"days": 1, "differences": []}
    assert run(url, tmp_path, "rollups", "rebuild").returncode == 0

    text = run(url, tmp_path, "export", "client_stats", "--start", "2026-09-30").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["client"] for row in rows] == ["'@luci", "luci"]
    lines = run(url, tmp_path, "export", "build_metrics", "--format", "ndjson").stdout
    assert json.loads(lines)["request_hash"] == "=h1"
    out = tmp_path / "daily.parquet"
    arguments = ("export", "stats_daily", "--format", "parquet", "--output", str(out))
    assert run(url, tmp_path, *arguments).returncode == 0
    assert out.read_bytes().startswith(b"PAR1")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("export", "passwords"), 2, "expected one of"),
        (("export", "stats_daily", "--start", "yesterday"), 2, "YYYY-MM-DD"),
        (("token", "create", "x", "--scope", "admin"), 2, "--scope admin: expected one of ingest,"),
        (("token", "create", "x"), 2, "--scope is missing: expected one of ingest, read"),
        (("db", "status", "y"), 2, "got unexpected extra argument"),
        (("serve", "--port", "-1"), 2, "--port -1: expected a whole number from 0 to 65,535;"),
        (("alerts", "silence", "--hours", "x"), 2, "--hours x: expected a number from 0.01 to"),
        (("note", "remove", "x"), 2, "NUMBER x: expected a whole number; see"),
        (("stats", "overview", "--days", "0"), 2, "--days 0: expected a whole number from 1 to"),
        (("db", "status", "--database", "oracle://x"), 1, "use sqlite or postgresql"),
        (("db", "status", "--database", "sqlite:////nowhere/at/all.db"), 1, "/nowhere/at: no such"),
        (("db", "status", "--database", "sqlite://"), 1, "the name of a file"),
        (("token", "create", "", "--scope", "read"), 2, "expected a name"),
        (("token", "create", "x", "--scope", "read", "--expires", "0d"), 2, "such as 90d"),
        (("token", "create", "x", "--scope", "read", "--expires", "2020-01-01"), 2, "a later day"),
        (("token", "create"), 2, "NAME is missing; see `asu-stats token create --help`"),
        (("frobnicate",), 2, "see `asu-stats --help`"),
        (("worker",), 2, "--builder"),
        (("token", "create", "\udcff", "--scope", "ingest"), 2, "UTF-8"),
        (("token", "revoke", "\udcff"), 2, "asu-stats: NAME: expected text in UTF-8"),
        (("export", "stats_daily", "-o", "."), 2, "directory"),
        (("export", "stats_daily", "-o", ""), 2, "directory"),
    ],
)
def test_mistakes_are_explained(
    tmp_path: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    done = run("sqlite:///x.db", tmp_path, *arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert done.stderr.startswith("asu-stats: ")
    assert done.stderr.count("\n") == 1


def test_export_to_what_is_no_file(sqlite_stats: Stats, tmp_path: Path) -> None:
    sqlite_stats.record(request("h1"))
    url = sqlite_stats.settings.database_url
    export = ("export", "stats_daily", "--database", url)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*processes.COMMAND, *export],
            env=processes.environment(tmp_path, url),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
    assert (done.returncode, done.stderr.strip()) == (1, "asu-stats: No space left on device")
    # Of devices only links are named here: what replaces one must not replace the device.
    link, pipe = tmp_path / "full", tmp_path / "pipe"
    link.symlink_to("/dev/full")
    full_device = run(url, tmp_path, *export, "-o", str(link))
    assert (full_device.returncode, full_device.stderr) == (1, done.stderr)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    assert run(url, tmp_path, *export, "-o", str(pipe)).returncode == 0
    assert os.read(reader, 1 << 16).startswith(b"date,")
    os.close(reader)
    assert (link.is_symlink(), pipe.is_fifo()) == (True, True)
    nowhere = run(url, tmp_path, *export, "-o", str(tmp_path / "none" / "x.csv"))
    assert (nowhere.returncode, len(nowhere.stderr.splitlines())) == (1, 1)
