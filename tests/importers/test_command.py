"""The import command as a process: killed, interrupted, disk full; invalid files."""

import contextlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from asu_stats.cli.program import app
from asu_stats.exceptions import AsuStatsError, ForeignDataError, OtherHistoryError
from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.database import engine as engines
from tests import forked, processes
from tests.importers.go_history import GoHistory, plain

# What tells when or how often something was done, not what is known.
PASSING = ("store_state", "day_changes", "event_counts", "packed_days", "scheduled_jobs")


def command(database: Path, *arguments: str) -> Result:
    """Run the command in this process."""
    url = f"sqlite:///{database}"
    return CliRunner().invoke(app, ["import", *arguments, "--database", url])


def imported(database: Path, *arguments: str) -> dict[str, Any]:
    done = command(database, *arguments, "--json")
    assert done.exception is None, done.exception
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def content(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that a database knows, whatever the order in which it came to know it."""
    found = {}
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in tables.fetchall():
            if name not in PASSING:
                info = connection.execute(f"PRAGMA table_xinfo({name})").fetchall()
                columns = [c[1] for c in info if c[1] not in {"id", "request_number"}]
                rows = connection.execute(f"SELECT {', '.join(columns)} FROM {name}")  # noqa: S608
                found[name] = sorted(rows, key=repr)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return GoHistory(11).run(200).write(tmp_path / "builder.db")


def test_import_and_verify(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stats = tmp_path / "stats.db"
    planned = imported(stats, "go-builder", str(file), "--dry-run")
    assert not stats.exists()
    done = imported(stats, "go-builder", str(file), "--verify")
    same = ("rows", "events", "rejected", "kinds", "matched", "first", "last", "source")
    assert {name: done[name] for name in same} == {name: planned[name] for name in same}
    assert done["accepted"] == done["events"]
    assert {row["by"] for row in done["compared"]} == {"day", "version"}
    assert all(row["source"] == row["target"] for row in done["compared"])
    assert imported(stats, "go-builder", str(file))["accepted"] == 0
    assert not list(tmp_path.glob("*.rejected.ndjson"))

    with closing(sqlite3.connect(stats)) as connection:
        connection.execute("UPDATE stats_legacy SET failure = 0")
        connection.commit()
    done_wrong = command(stats, "go-builder", str(file), "--verify", "--dry-run")
    assert done_wrong.exit_code == 1
    assert "fewer here" in done_wrong.stdout


def test_a_link_to_a_file_is_followed(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link.db").symlink_to(file)
    assert imported(tmp_path / "stats.db", "go-builder", str(tmp_path / "link.db"))["accepted"]


def _damaged(path: Path) -> None:
    file = GoHistory(1).run(400).write(path, journal="delete")
    with file.open("r+b") as data:
        for page in range(3, file.stat().st_size // 4096, 2):
            data.seek(page * 4096)
            data.write(b"\xff" * 4096)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda _: None, "No such file"),
    "empty": (Path.touch, "is empty"),
    "text": (lambda path: path.write_text("id,timestamp\n"), "not an SQLite file"),
    "cut": (lambda path: path.write_bytes(b"SQLite format 3\0"), "not a database|no table"),
    "damaged": (_damaged, "damaged|malformed"),
    "foreign": (_foreign, "no table build_stats"),
    "directory": (Path.mkdir, "directory or a device"),
    "pipe": (os.mkfifo, "directory or a device"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "directory or a device"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "circle": (lambda path: path.symlink_to(path.name), "levels of symbolic links"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_such_file_is_named_and_nothing_imported(
    tmp_path: Path, sqlite_template: Path, kind: str
) -> None:
    make, words = BAD[kind]
    path, stats = tmp_path / "builder.db", tmp_path / "stats.db"
    shutil.copy(sqlite_template, stats)
    make(path)
    with pytest.raises(ForeignDataError, match=words) as caught:
        raise command(stats, "go-builder", str(path)).exception  # type: ignore[misc]
    assert str(caught.value).startswith(str(path))
    assert content(stats)["event_identities"] == []


def test_a_locked_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asu_stats.importers.go_file._BUSY_SECONDS", 0.1)
    path = GoHistory(1).run(40).write(tmp_path / "builder.db", journal="delete")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = command(tmp_path / "stats.db", "go-builder", str(path))
    assert isinstance(done.exception, ForeignDataError)
    assert "locked" in str(done.exception)


def test_our_own_database_is_not_imported(tmp_path: Path, file: Path) -> None:
    stats = tmp_path / "stats.db"
    imported(stats, "go-builder", str(file))
    done = command(tmp_path / "other.db", "go-builder", str(stats))
    assert "this is a database of asu-stats" in str(done.exception)


def test_the_file_is_only_read(tmp_path: Path) -> None:
    file = GoHistory(1).run(60).write(tmp_path / "builder.db", journal="delete")
    before = file.read_bytes()
    imported(tmp_path / "stats.db", "go-builder", str(file))
    assert file.read_bytes() == before


def test_a_file_beside_which_nothing_can_be_written(tmp_path: Path) -> None:
    file = GoHistory(1).run(60).write(tmp_path / "builder.db")
    (tmp_path / "builder.db-shm").mkdir()
    assert imported(tmp_path / "stats.db", "go-builder", str(file))["accepted"]


# Real processes --------------------------------------------------------------------------------


def rows_of(database: Path) -> int:
    with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        found: int = connection.execute("SELECT count(*) FROM event_identities").fetchone()[0]
        return found
    return 0


def happened_in(database: Path) -> int:
    """Count what is known of rows of the Go server: a start of a build is no row of its own."""
    count = "SELECT (SELECT count(*) FROM client_stats) + (SELECT count(*) FROM build_metrics)"
    with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        found: int = connection.execute(count).fetchone()[0]
        return found
    return 0


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return GoHistory(4).run(8_000).write(tmp_path_factory.mktemp("go") / "builder.db")


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory, large: Path) -> Path:
    """What one run makes of it."""
    database = tmp_path_factory.mktemp("once") / "stats.db"
    imported(database, "go-builder", str(large))
    return database


@pytest.mark.crash
def test_killed_and_run_again_is_as_run_once(tmp_path: Path, large: Path, at_once: Path) -> None:
    stats = tmp_path / "stats.db"
    arguments = ("import", "go-builder", str(large))
    process = processes.start(tmp_path, f"sqlite:///{stats}", *arguments)
    until(lambda: rows_of(stats) > 0)
    processes.kill(process)
    assert 0 < rows_of(stats) < rows_of(at_once)
    imported(stats, "go-builder", str(large))
    assert content(stats) == content(at_once)


def test_no_room_left_and_run_again_is_as_run_once(
    tmp_path: Path, large: Path, at_once: Path
) -> None:
    stats = tmp_path / "stats.db"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))

    done = subprocess.run(
        [*processes.COMMAND, "import", "go-builder", str(large)],
        env={
            **processes.environment(tmp_path, f"sqlite:///{stats}"),
            "ASU_STATS_SPOOL_RESERVE_BYTES": "0",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == 1
    assert "run the command again" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert rows_of(stats) < rows_of(at_once)
    imported(stats, "go-builder", str(large))
    assert content(stats) == content(at_once)


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[tuple[GoHistory, Path, Path, forked.Process]]:
    """A server that goes on working, and an import that follows it."""
    history = GoHistory(21).run(100)
    file, stats = history.write(tmp_path / "builder.db"), tmp_path / "stats.db"
    arguments = ("import", "go-builder", str(file), "--follow", "--json")
    process = processes.start(tmp_path, f"sqlite:///{stats}", *arguments)
    yield history, file, stats, process
    processes.kill(process)


def test_a_server_that_goes_on_is_followed(
    tmp_path: Path, followed: tuple[GoHistory, Path, Path, forked.Process]
) -> None:
    history, file, stats, process = followed
    until(lambda: rows_of(stats) >= len(history.happened))
    with closing(sqlite3.connect(file)) as server:
        for _ in range(3):
            first = len(history.happened)
            history.run(30).append(server, first)
            until(lambda: rows_of(stats) >= len(history.happened))
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    answer = json.loads((tmp_path / "log.txt").read_text())
    assert answer["rows"] == len(history.happened)
    assert answer["duplicates"] == 0
    checked = imported(stats, "go-builder", str(file), "--verify", "--dry-run")
    assert all(row["source"] == row["target"] for row in checked["compared"])


def test_errors_are_one_tree() -> None:
    assert issubclass(ForeignDataError, AsuStatsError)


def test_times_of_clocks_that_were_wrong_are_not_imported(tmp_path: Path) -> None:
    file = GoHistory(3).run(5).write(tmp_path / "builder.db")
    soon = datetime.now(UTC) + timedelta(hours=2)
    with closing(sqlite3.connect(file)) as connection, connection:
        rows = connection.execute("SELECT count(*) FROM build_stats").fetchone()[0]
        for at in (
            "1970-01-01 00:00:09",
            "2003-12-31 23:59:59",
            "2190-01-01 00:00:00",
            plain(soon),
        ):
            connection.execute(
                "INSERT INTO build_stats (timestamp, event_type, version, target, profile,"
                " diff_packages) VALUES (?, 'request', '24.10.4', 'x86/64', 'generic', 1)",
                (at,),
            )
    aside = tmp_path / "aside"
    done = imported(tmp_path / "stats.db", "go-builder", str(file), "--rejected", str(aside))
    assert (done["rejected"], done["early"]) == (3, 1)
    assert done["rows"] == rows + 4
    reasons = [json.loads(line)["reason"] for line in aside.read_text().splitlines()]
    assert ["oldest_event" in reason for reason in reasons] == [True, True, False]
    assert "more than 24 hours in the future" in reasons[2]
    with closing(sqlite3.connect(tmp_path / "stats.db")) as connection:
        first, last = connection.execute("SELECT min(date), max(date) FROM stats_daily").fetchone()
    assert first >= "2026-03-27"
    assert last < soon.isoformat()


def test_a_file_that_is_replaced_or_emptied_is_followed(
    tmp_path: Path, followed: tuple[GoHistory, Path, Path, forked.Process]
) -> None:
    history, file, stats, process = followed
    count = len(history.happened)
    until(lambda: happened_in(stats) >= count)

    other = GoHistory(99).run(40)
    new = other.write(tmp_path / "new.db")
    for side in ("-wal", "-shm"):
        file.with_name(f"{file.name}{side}").unlink(missing_ok=True)
    file.unlink()  # for a while there is none
    time.sleep(2.5)
    assert process.poll() is None
    new.replace(file)
    count += len(other.happened)
    until(lambda: happened_in(stats) >= count)

    third = GoHistory(100).run(30)
    with closing(sqlite3.connect(file)) as server, server:
        server.execute("DELETE FROM build_stats")
    time.sleep(1.5)
    with closing(sqlite3.connect(file)) as server:
        third.append(server, 0)
    count += len(third.happened)
    until(lambda: happened_in(stats) >= count)

    with closing(sqlite3.connect(file)) as server, server:  # old rows are pruned: nothing is new
        server.execute("DELETE FROM build_stats WHERE id <= (SELECT min(id) + 10 FROM build_stats)")
    first = len(third.happened)
    third.run(20)
    with closing(sqlite3.connect(file)) as server:
        third.append(server, first)
    count += len(third.happened) - first
    until(lambda: happened_in(stats) >= count)
    time.sleep(2)
    assert happened_in(stats) == count
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0


def test_rows_go_on_where_nothing_can_be_kept_aside(tmp_path: Path) -> None:
    history = GoHistory(5).run(60)
    file = history.write(tmp_path / "builder.db")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE build_stats SET timestamp = 'yesterday' WHERE id IN (3, 5)")
    done = imported(
        tmp_path / "stats.db", "go-builder", str(file), "--rejected", "/dev/null/rejected"
    )
    assert (done["rows"], done["rejected"]) == (len(history.happened), 2)
    assert done["rejected_file"] is None
    assert done["accepted"] > 0


@pytest.mark.parametrize("archive", [False, True])
def test_a_pruned_file_is_not_counted_twice(tmp_path: Path, archive: bool) -> None:
    history = GoHistory(6).run(300)
    file, stats = history.write(tmp_path / "builder.db"), tmp_path / "stats.db"
    first = imported(stats, "go-builder", str(file))
    if archive:
        engine = engines.create(f"sqlite:///{stats}")
        today = history.now.date() + timedelta(days=2)
        retention.run(engine, Policy(1, 1, 1, 1, latest=1), today)
        engine.dispose()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM build_stats WHERE id <= 40")
    before = rows_of(stats)

    refused = command(stats, "go-builder", str(file))
    assert isinstance(refused.exception, OtherHistoryError)
    assert "--force" in str(refused.exception)
    assert f"--source {first['source']}" in str(refused.exception)
    assert rows_of(stats) == before
    again = imported(stats, "go-builder", str(file), "--source", first["source"])
    assert again["accepted"] == 0
    forced = imported(stats, "go-builder", str(file), "--force")
    assert forced["accepted"] > 0
    assert imported(stats, "go-builder", str(file))["accepted"] == 0, "it is known now"


def test_another_server_is_imported_beside_the_first(tmp_path: Path) -> None:
    stats = tmp_path / "stats.db"
    for seed in (7, 8):
        file = GoHistory(seed).run(200).write(tmp_path / f"{seed}.db")
        done = imported(stats, "go-builder", str(file))
        assert done["accepted"] == done["events"] > 0


@pytest.mark.parametrize("source", ["my server", "/workers/w1", "https://", "example.org"])
def test_a_source_is_an_absolute_uri(tmp_path: Path, file: Path, source: str) -> None:
    refused = command(tmp_path / "stats.db", "go-builder", str(file), "--source", source)
    assert refused.exit_code == 2
    assert "absolute URI" in refused.output


def test_times_in_json_end_in_z(tmp_path: Path, file: Path) -> None:
    done = imported(tmp_path / "stats.db", "go-builder", str(file))
    for name in ("first", "last"):
        assert done[name].endswith("Z")
        assert "+" not in done[name]
