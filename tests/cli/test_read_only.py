"""Commands that only read: on a read-only copy, with a role, on a standby."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner

from asu_stats.cli.program import app
from asu_stats.store import migrate
from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from tests import forked, servers
from tests.conftest import administrate, postgresql_database, sqlite_database
from tests.support import Stats, build, request

# Each with what it prints of the history of `filled`.
COMMANDS = {
    "db status": "current",
    "db backup BACKUP": "archive files",
    "export client_stats": "luci",
    "export build_metrics --format ndjson": '"status": "success"',
    "rollups verify": "no difference",
    "retention run --dry-run": "client stats",
    "token list": "none",
    "alerts check": "ASU-STATS",
    "alerts list": "rule",
    "jobs": "retention",
}


def filled(url: str, place: Path) -> None:
    """Fill a database: days of which some are archived, in tables and in files."""
    old = datetime.now(UTC) - timedelta(days=200)
    with Stats.on(url, place / "spool") as stats:
        stats.now = datetime.now(UTC)
        for day in range(0, 200, 20):
            end = old + timedelta(days=day)
            stats.bring_in(request(f"h{day}", end), *build(f"h{day}", end=end))
        policy = Policy(
            build_metrics_days=30,
            client_stats_days=60,
            error_stats_days=60,
            hourly_rollup_days=90,
        )
        archive_directory = ArchiveDirectory(place / "archive", "csv.gz")
        retention.run(
            stats.engine, policy, datetime.now(UTC).date(), archive_directory=archive_directory
        )
    assert list(place.glob("archive/client_stats/*/*"))


def run(url: str, command: str, archive: Path) -> str:
    environment = {"ASU_STATS_ARCHIVE_DIRECTORY": str(archive)}
    with tempfile.TemporaryDirectory() as place:
        words = command.replace("BACKUP", f"{place}/backup.zip").split()
        found = CliRunner().invoke(app, [*words, "--database", url], env=environment)
    assert found.exit_code in ((0, 1) if command == "alerts check" else (0,)), found.exception
    return found.output


# PostgreSQL -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standby() -> Iterator[tuple[str, Path]]:
    with servers.pair() as (primary, second), tempfile.TemporaryDirectory() as place:
        engine = engines.create(primary.url())
        migrate.upgrade(engine)
        engine.dispose()
        filled(primary.url(), Path(place))
        servers.wait_for_standby(primary, second)
        yield second.url(), Path(place) / "archive"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_standby(standby: tuple[str, Path], command: str) -> None:
    url, archive = standby
    assert COMMANDS[command] in run(url, command, archive)


@pytest.fixture(scope="module")
def reader(request: pytest.FixtureRequest) -> Iterator[tuple[str, Path]]:
    """URL of a role that may read the tables and nothing else."""
    for url in postgresql_database(request):
        with tempfile.TemporaryDirectory() as place:
            filled(url, Path(place))
            name = make_url(url).database
            for statement in (
                f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
                f"CREATE ROLE {name}_reader LOGIN",
                f"ALTER ROLE {name}_reader SET default_transaction_read_only = on",
                f"GRANT CONNECT ON DATABASE {name} TO {name}_reader",
                f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}_reader",
            ):
                administrate(url, statement)
            role = make_url(url).set(username=f"{name}_reader")
            yield role.render_as_string(hide_password=False), Path(place) / "archive"
            administrate(url, f"DROP OWNED BY {name}_reader")
            administrate(url, f"DROP ROLE {name}_reader")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_role_that_may_only_read(reader: tuple[str, Path], command: str) -> None:
    url, archive = reader
    assert COMMANDS[command] in run(url, command, archive)


def test_nothing_is_written(reader: tuple[str, Path]) -> None:
    found = CliRunner().invoke(
        app, ["token", "create", "x", "--scope", "read", "--database", reader[0]]
    )
    assert "read-only transaction" in str(found.exception)


# SQLite -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A database that anybody can reach, with files of its archive."""
    with tempfile.TemporaryDirectory(prefix="asu-stats-read-") as name:
        Path(name).chmod(0o755)
        filled(sqlite_database(request, Path(name)), Path(name))
        yield Path(name) / "stats.db"


@pytest.fixture
def copy(history: Path) -> Iterator[Path]:
    """A copy of it in a directory of its own, with its archive."""
    with tempfile.TemporaryDirectory(prefix="asu-stats-copy-") as name:
        Path(name).chmod(0o755)
        target = Path(name) / "copy.db"
        target.write_bytes(history.read_bytes())
        archive = Path(name) / "archive"
        shutil.copytree(history.parent / "archive", archive)
        for path in (archive, *archive.rglob("*")):  # another user reads what is private by default
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield target


needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root, who may become a user without rights"
)


def as_nobody(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="asu-stats-backup-") as place:
        Path(place).chmod(0o777)
        return forked.run(
            [word.replace("BACKUP", f"{place}/backup.zip") for word in arguments],
            env={**os.environ, "ASU_STATS_DATABASE_URL": f"sqlite:///{file}"}
            | {"ASU_STATS_ARCHIVE_DIRECTORY": str(file.parent / "archive")},
            cwd="/",
            user="nobody",
        )


def all_of_them(file: Path) -> None:
    """Run each command on a file to which the user may not write."""
    before = sorted(path.name for path in file.parent.iterdir())
    for command, words in COMMANDS.items():
        found = as_nobody(file, *command.split())
        allowed = (0, 1) if command == "alerts check" else (0,)
        assert found.returncode in allowed, (command, found.stderr)
        assert words in found.stdout, command
    assert sorted(path.name for path in file.parent.iterdir()) == before


@needs_root
def test_a_file_in_a_directory_without_the_right_to_write(copy: Path) -> None:
    copy.chmod(0o444)
    all_of_them(copy)


@needs_root
def test_a_file_of_a_server_that_runs(copy: Path) -> None:
    """Its log holds changes that are not in the file yet."""
    with Stats.on(f"sqlite:///{copy}", copy.parent / "spool") as stats:
        stats.now = datetime.now(UTC)
        stats.record(request("newest", datetime.now(UTC), client="newest/1"))
        found = as_nobody(copy, "export", "client_stats")
    assert found.returncode == 0, found.stderr
    assert "newest" in found.stdout


@needs_root
def test_a_file_that_is_read_only_in_a_directory_that_is_not(copy: Path) -> None:
    copy.chmod(0o444)
    copy.parent.chmod(0o777)
    for command, words in COMMANDS.items():
        found = as_nobody(copy, *command.split())
        assert words in found.stdout, (command, found.stderr)


@needs_root
@pytest.mark.parametrize("writable", [True, False])
def test_a_copy_without_log(copy: Path, writable: bool) -> None:
    """What `VACUUM INTO` makes is not in WAL mode."""
    made = copy.with_name("made.db")
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute(f"VACUUM INTO '{made}'")
    made.chmod(0o444)
    made.parent.chmod(0o777 if writable else 0o755)
    found = as_nobody(made, "rollups", "verify")
    assert "no difference" in found.stdout, found.stderr


@needs_root
def test_a_copy_whose_log_cant_be_read(copy: Path) -> None:
    """Better nothing than figures without the newest changes."""
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE more (number)")
        connection.commit()
        log = copy.with_name("copy.db-wal")
        content = log.read_bytes()
        assert content
        other = copy.with_name("other")
        other.mkdir()
        (other / "copy.db").write_bytes(copy.read_bytes())
    (other / "copy.db-wal").write_bytes(content)
    found = as_nobody(other / "copy.db", "export", "client_stats")
    assert found.returncode == 1
    assert f"{other}/copy.db-wal: contains changes" in found.stderr
    assert "copy both files to a writable directory" in found.stderr


def test_a_file_that_changes_while_it_is_read_without_locks(copy: Path) -> None:
    """Opened as one that nobody changes, and somebody does."""
    url = f"sqlite:///{copy}?immutable=1"
    runner = partial(CliRunner().invoke, app)

    class Changing:
        def __call__(self, *_: object) -> None:
            os.utime(copy, ns=(1, 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asu_stats.cli.output.print_table", Changing())
        size = "asu_stats.store.database.dialects.database_size"
        patch.setattr(size, lambda _: Changing()() or 1)
        found = runner(["db", "status", "--database", url])
    assert "changed during the command" in str(found.exception)


def test_a_url_that_says_read_only(copy: Path) -> None:
    for query in ("mode=ro", "immutable=1"):
        engine = engines.create(f"sqlite:///{copy}?{query}", writes=False)
        with read_snapshot(engine):
            pass
        engine.dispose()
        url = f"sqlite:///{copy}?{query}"
        assert "no difference" in run(url, "rollups verify", copy.parent / "archive")
