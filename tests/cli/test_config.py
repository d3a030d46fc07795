"""`asu-stats config`: effective values, their sources and errors, without secrets."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from asu_stats.cli.program import app
from asu_stats.exceptions import InvalidSettingError
from asu_stats.settings import Settings
from tests.conftest import sqlite_database
from tests.support import Stats

FILE = """\
# A comment
workers = 3
database_url = "postgresql://asu:hunter2@db.example.org/asu?sslpassword=hunter3&connect_timeout=3"
notify = ["mailtos://me:hunter4@example.org"]

[[webhooks]]
url = "https://user:hunter5@hooks.example.org/services/hunter6"
secret = "whsec_aHVudGVyN2h1bnRlcjdodW50ZXI3aHVudGVyNw=="
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    monkeypatch.setenv("ASU_STATS_CONFIG", str(path))
    return path


def shown(*options: str) -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(app, ["config", "show", "--json", *options])
    assert done.exit_code == 0, done.exception
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_each_value_has_its_source(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASU_STATS_JOBS", "false")
    found = shown()
    assert list(found)
    assert set(found) == set(Settings.model_fields)
    assert found["workers"] == {"name": "workers", "value": 3, "source": f"{file}, line 2"}
    assert found["webhooks"]["source"] == f"{file}, line 6"
    assert (found["jobs"]["value"], found["jobs"]["source"]) == (False, "ASU_STATS_JOBS")
    assert (found["proxies"]["value"], found["proxies"]["source"]) == (0, "default")
    assert set(shown("--changed")) == {"workers", "database_url", "notify", "webhooks", "jobs"}


def test_a_variable_takes_precedence_over_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert file
    monkeypatch.setenv("ASU_STATS_WORKERS", " 5 ")
    found = shown()["workers"]
    assert (found["value"], found["source"]) == (5, "ASU_STATS_WORKERS")


def test_secrets_are_hidden(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file
    monkeypatch.setenv("ASU_STATS_INGEST_TOKEN", "hunter8")
    monkeypatch.setenv("ASU_STATS_RATE_LIMIT_STORAGE", "redis://:hunter9@localhost/0")
    for options in ([], ["--json"]):
        output = CliRunner().invoke(app, ["config", "show", *options]).stdout
        assert "hunter" not in output
        assert "aHVudGVy" not in output
    found = shown()
    assert found["database_url"]["value"] == (
        "postgresql://asu:******@db.example.org/asu?sslpassword=******&connect_timeout=3"
    )
    assert found["webhooks"]["value"] == [
        {"url": "https://hooks.example.org/******", "secret": "******"}
    ]


def refused(monkeypatch: pytest.MonkeyPatch, **variables: object) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(f"ASU_STATS_{name.upper()}", str(value))
    done = CliRunner().invoke(app, ["config", "check"])
    assert isinstance(done.exception, InvalidSettingError), done.output
    return str(done.exception)


def test_what_cannot_work_is_named_and_nothing_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["config", "check"])
    assert (done.exit_code, done.stdout) == (0, "settings: ok (no settings file)\n")
    assert "did you mean ASU_STATS_WORKERS?" in refused(monkeypatch, workres="3")
    monkeypatch.delenv("ASU_STATS_WORKRES")
    assert "release_days: gone.csv: no such file" in refused(monkeypatch, release_days="gone.csv")
    monkeypatch.delenv("ASU_STATS_RELEASE_DAYS")
    (tmp_path / "plain").touch()
    assert "not a directory" in refused(monkeypatch, spool_directory="plain/spool")
    monkeypatch.delenv("ASU_STATS_SPOOL_DIRECTORY")
    assert "no such directory" in refused(monkeypatch, database_url="sqlite:///gone/x.db")
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_forwarded_requests_without_proxies_are_warned_of_once(
    request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = sqlite_database(request)
    for proxies, expected in ((1, 0), (0, 1)):
        caplog.clear()
        with (
            Stats.on(url, tmp_path / "spool", proxies=proxies) as stats,
            caplog.at_level(logging.WARNING),
        ):
            stats.client.get("/healthz")
            for _ in range(3):
                stats.client.get("/healthz", headers={"X-Forwarded-For": "192.0.2.1"})
        lines = [line for line in caplog.messages if "X-Forwarded-For" in line]
        assert len(lines) == expected
