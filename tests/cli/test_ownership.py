"""Files that root creates get owner and mode of the database."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from asu_stats.cloudevents import from_cloudevent
from asu_stats.recorder.spool import Spool
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import write_transaction
from tests import forked, processes
from tests.importers.go_history import GoHistory
from tests.support import NOW, Stats, build, request

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")

_NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the service's user, where that user can reach it."""
    with tempfile.TemporaryDirectory(prefix="asu-stats-owner-") as name:
        os.chown(name, _NOBODY.pw_uid, _NOBODY.pw_gid)
        Path(name).chmod(0o755)
        yield Path(name)


def command(
    place: Path, *arguments: str, service: bool = False, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as root, or as the user of the service."""
    return forked.run(
        arguments,
        env={**os.environ, "ASU_STATS_DATABASE_URL": f"sqlite:///{place}/a.db", **variables},
        cwd=place,
        user="nobody" if service else None,
    )


def done(*arguments: object, **options: object) -> str:
    found = command(*arguments, **options)  # type: ignore[arg-type]
    assert found.returncode == 0, found.stderr
    return found.stdout


def foreign(place: Path) -> list[str]:
    """Return what in a directory is not the service's."""
    return sorted(
        str(path.relative_to(place))
        for path in place.rglob("*")
        if path.name != "log.txt"  # the test's own
        and (path.lstat().st_uid, path.lstat().st_gid) != (_NOBODY.pw_uid, _NOBODY.pw_gid)
    )


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o644])
def test_side_files_of_the_database(place: Path, mode: int) -> None:
    done(place, "db", "upgrade", service=True)
    for path in place.glob("a.db.*"):  # as after a restore: the database alone
        path.unlink()
    (place / "a.db").chmod(mode)
    done(place, "token", "create", "one", "--scope", "read")
    assert foreign(place) == []
    sides = [place / "a.db.lock", place / "a.db.turn"]
    assert [path.stat().st_mode & 0o777 for path in sides] == [mode, mode]
    done(place, "token", "create", "two", "--scope", "read", service=True)


def test_a_new_database_is_its_directorys(place: Path) -> None:
    done(place, "db", "upgrade")
    assert foreign(place) == []
    done(place, "token", "create", "two", "--scope", "read", service=True)


def test_side_files_that_root_left_in_an_earlier_version(place: Path) -> None:
    done(place, "db", "upgrade", service=True)
    for name in ("a.db.lock", "a.db.turn"):
        os.chown(place / name, 0, 0)
        (place / name).chmod(0o644)
    done(place, "token", "create", "two", "--scope", "read", service=True)


@pytest.mark.parametrize("name", ["a.db.lock", "a.db.turn", "a.db-wal", "a.db-shm", "a.db"])
def test_an_error_names_the_file_that_is_meant(place: Path, name: str) -> None:
    done(place, "db", "upgrade", service=True)
    held = engines.create(f"sqlite:///{place}/a.db")  # so that the log and its index are there
    with write_transaction(held):
        pass
    for path in place.glob("a.db*"):
        os.chown(path, _NOBODY.pw_uid, _NOBODY.pw_gid)
    os.chown(place / name, 0, 0)
    (place / name).chmod(0o600)
    found = command(place, "token", "create", "two", "--scope", "read", service=True)
    held.dispose()
    assert found.returncode == 1
    assert found.stderr == f"asu-stats: {place / name}: Permission denied\n"


def test_a_directory_where_side_files_cant_be_made(place: Path) -> None:
    done(place, "db", "upgrade", service=True)
    for path in place.glob("a.db.*"):
        path.unlink()
    os.chown(place, 0, 0)
    found = command(place, "token", "create", "two", "--scope", "read", service=True)
    assert found.returncode == 1
    assert found.stderr == f"asu-stats: {place}: Permission denied\n"


def test_spool_images_and_archive(place: Path) -> None:
    """A server that root started once, and a retention run of root's."""
    done(place, "db", "upgrade", service=True)
    (place / "a.db").chmod(0o640)
    port = processes.free_port()
    arguments = ("serve", "--port", str(port), "--builder", "demo")
    variables = {"ASU_STATS_ARCHIVE": "csv.gz", "ASU_STATS_SPOOL_DIRECTORY": f"{place}/a.db.spool"}
    url = f"sqlite:///{place}/a.db"
    with processes.running(place, url, *arguments, **variables):
        processes.wait_ready(port)
        assert [path.stat().st_mode & 0o777 for path in place.glob("a.db.spool/*")] == [0o640]
        assert foreign(place) == []
    old = datetime.now(UTC) - timedelta(days=400)
    with Stats.on(f"sqlite:///{place}/a.db", place / "other-spool") as stats:
        stats.now = datetime.now(UTC)
        stats.bring_in(*[request(f"h{n}", old + timedelta(seconds=n)) for n in range(200)])
        for number in range(200):
            stats.bring_in(*build(f"h{number}", end=old + timedelta(minutes=number)))
    directory = place / "archive" / "of it"
    done(
        place,
        "retention",
        "run",
        "--force",
        **variables,
        ASU_STATS_ARCHIVE_DIRECTORY=str(directory),
    )
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert files
    assert {path.stat().st_mode & 0o777 for path in files} == {0o640}
    assert directory.stat().st_mode & 0o777 == 0o750
    assert foreign(place) == []
    done(place, "rollups", "verify", service=True, ASU_STATS_ARCHIVE_DIRECTORY=str(directory))


def test_what_is_kept_aside_beside_the_spool(place: Path) -> None:
    spool = Spool(place / "spool", limit_bytes=1 << 20, reserve_bytes=0)
    spool.add_dead_letter(from_cloudevent(request("h"), now=NOW), "refused")
    spool.close()
    assert (place / "spool" / "dead-letter.ndjson").exists()
    assert foreign(place) == []


def test_the_copy_of_a_go_servers_file(place: Path) -> None:
    file = GoHistory(5).run(20).write(place / "a.db")
    os.chown(file, _NOBODY.pw_uid, _NOBODY.pw_gid)
    file.chmod(0o640)
    done(place, "db", "upgrade")
    assert foreign(place) == []
    assert (place / "a.db.go-server").stat().st_mode & 0o777 == 0o640
