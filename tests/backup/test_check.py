"""`asu-stats db check`: finds every kind of damage and changes nothing."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from asu_stats.cli.program import app
from asu_stats.service import checking
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.rollups.definitions import DAILY
from tests.support import Stats, build, request


def checked(url: str, directory: Path) -> tuple[int, dict[str, Any]]:
    environment = {
        "ASU_STATS_DATABASE_URL": url,
        "ASU_STATS_SPOOL_DIRECTORY": str(directory / "spool"),
        "ASU_STATS_ARCHIVE_DIRECTORY": str(directory / "archive"),
    }
    done = CliRunner().invoke(app, ["db", "check", "--json"], env=environment)
    return done.exit_code, json.loads(done.stdout)


def details(found: dict[str, Any], check: str, status: str) -> list[str]:
    return [
        each["detail"]
        for each in found["checks"]
        if (each["check"], each["status"]) == (check, status)
    ]


def test_damage_is_found_and_named(stats: Stats, tmp_path: Path) -> None:
    stats.record(request("h"), build("h"))
    url = stats.settings.database_url
    if file := stats.settings.database_file:
        for path in file.parent.glob(f"{file.name}*"):
            path.chmod(0o600)
    (tmp_path / "spool").chmod(0o700)
    status, found = checked(url, tmp_path)
    assert (status, found["status"]) == (0, "ok"), found
    names = {each["check"] for each in found["checks"]}
    assert names == {"schema", "integrity", "figures", "archive", "spool", "permissions"}

    with write_transaction(stats.engine) as connection:
        more = DAILY.table.c.total_requests + 1
        connection.execute(DAILY.table.update().values(total_requests=more))
    (tmp_path / "spool" / "dead-letter.ndjson").write_text("{}\n{}\n")
    (tmp_path / "spool" / "x.spool").mkdir()
    status, found = checked(url, tmp_path)
    assert (status, found["status"]) == (1, "error")
    assert "see rollups verify" in details(found, "figures", "error")[0]
    assert details(found, "spool", "warning")[0].endswith("dead-letter.ndjson: 2 lines")
    assert "Is a directory" in details(found, "spool", "error")[0]

    with write_transaction(stats.engine) as connection:
        archived = {"rows": 1, "first_at": "2026-01-01 00:00:00", "last_at": "2026-01-02 00:00:00"}
        connection.execute(
            text(
                "INSERT INTO archive_parts (table_name, file, rows, first_at, last_at)"
                " VALUES ('client_stats', 'client_stats/gone.csv.gz', :rows, :first_at, :last_at)"
            ),
            archived,
        )
    _, found = checked(url, tmp_path)
    assert "gone.csv.gz: is not readable" in details(found, "archive", "error")[0]


def test_a_missing_table_and_an_unknown_schema_are_errors(stats: Stats, tmp_path: Path) -> None:
    with write_transaction(stats.engine) as connection:
        connection.execute(text("DROP TABLE release_days"))
    status, found = checked(stats.settings.database_url, tmp_path)
    assert status == 1
    assert "release_days" in details(found, "schema", "error")[0]
    with write_transaction(stats.engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    status, found = checked(stats.settings.database_url, tmp_path)
    assert "has schema 0001" in details(found, "schema", "error")[0]


def test_a_damaged_file_and_open_modes_are_found(sqlite_stats: Stats, tmp_path: Path) -> None:
    file = sqlite_stats.settings.database_file
    assert file
    with write_transaction(sqlite_stats.engine) as connection:
        connection.execute(text("PRAGMA writable_schema = ON"))
        connection.execute(
            text("DELETE FROM sqlite_schema WHERE name = 'idx_client_stats_timestamp'")
        )
    file.chmod(0o644)
    status, found = checked(f"sqlite:///{file}", tmp_path)
    assert status == 1
    assert "never used" in details(found, "integrity", "error")[0]
    assert (
        details(found, "permissions", "warning")[0]
        == (f"{file}: other users have access (mode 644); run chmod 600")
        or str(tmp_path / "spool") in details(found, "permissions", "warning")[0]
    )


@pytest.mark.parametrize("most", [0, 1, 5, 100])
def test_the_newest_days_are_in_the_sample(most: int) -> None:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(30)]
    chosen = checking.sample(days, most)
    assert len(chosen) == min(most, 30)
    assert chosen == sorted(set(chosen))
    assert set(days[-min(most, 2) :] if most else []) <= set(chosen)
