"""In-place conversion of a Go server's file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from asu_stats.builds.schema import build_jobs, build_requests, build_results
from asu_stats.cli.program import app
from asu_stats.exceptions import AsuStatsError, SchemaError
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.verification import verify
from tests.importers.go_history import GoHistory
from tests.store import declared
from tests.support import Stats, request


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def test_a_go_servers_file_becomes_ours(tmp_path: Path) -> None:
    history = GoHistory(5).run(200)
    file = history.write(tmp_path / "builder.db")
    url = f"sqlite:///{file}"
    tables = ("build_requests", "build_jobs", "build_results", "build_stats", "metadata_cache")
    counts = {name: rows(file, f"SELECT count(*) FROM {name}") for name in tables}  # noqa: S608
    stats_before = rows(file, "SELECT * FROM build_stats")

    refused = command("db", "status", "--database", url)
    assert isinstance(refused.exception, SchemaError)
    assert "db upgrade" in str(refused.exception)
    done = command("db", "upgrade", "--database", url)
    assert done.exit_code == 0, done.exception
    copy = tmp_path / "builder.db.go-server"
    assert str(copy) in done.stdout
    for place in (file, copy):
        assert counts == {name: rows(place, f"SELECT count(*) FROM {name}") for name in tables}  # noqa: S608
        assert rows(place, "SELECT * FROM build_stats") == stats_before
    assert "up to date" in command("db", "upgrade", "--database", url).stdout
    assert not copy.with_name("builder.db.go-server-2").exists()

    engine = engines.create(url)
    with read_snapshot(engine) as connection:
        found = {row.request_hash: row for row in connection.execute(select(build_requests))}
        jobs = connection.execute(select(build_jobs)).all()
        results = connection.execute(select(build_results)).all()
    assert all(job.enqueued_at is None for job in jobs)
    assert {row.request_hash for row in results} == history.results.keys()
    for request_hash, row in history.requests.items():
        written = row[-1].replace(tzinfo=None)
        assert found[request_hash].created_at in {written, written.replace(microsecond=0)}
    others = [d for d in map(repr, declared.differences(engine)) if "metadata_cache" not in d]
    assert all("'build_stats', 'id'" in difference for difference in others)  # no NOT NULL
    engine.dispose()

    brought = command("import", "go-builder", str(copy), "--database", url, "--verify")
    assert brought.exit_code == 0, brought.exception
    with Stats.on(url, tmp_path / "spool", legacy_build_stats=True) as stats:
        stats.record(request("h1"))
        assert len(rows(file, "SELECT * FROM build_stats")) == len(stats_before) + 1
        assert stats.get("overview", start="2026-03-01", end="2026-05-01")["totals"]["requests"]
        assert list(verify.differences(stats.engine)) == []


def test_a_copy_that_finds_no_place_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = GoHistory(5).run(40).write(tmp_path / "builder.db", journal="delete")
    before = file.read_bytes()
    monkeypatch.setattr("asu_stats.cli.db._free_name", lambda _: tmp_path / "no" / "such" / "place")
    done = command("db", "upgrade", "--database", f"sqlite:///{file}")
    assert isinstance(done.exception, AsuStatsError)
    assert "is unchanged" in str(done.exception)
    assert file.read_bytes() == before


def test_other_programs_files_stay_refused(tmp_path: Path) -> None:
    file = tmp_path / "cats.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    done = command("db", "upgrade", "--database", f"sqlite:///{file}")
    assert isinstance(done.exception, SchemaError)
    assert "another program" in str(done.exception)
