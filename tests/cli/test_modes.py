"""Files with request hashes are private, whatever the umask is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from asu_stats.ownership import SHARED_DIRECTORY, Owner
from tests import forked, processes
from tests.support import Stats, at, build, request


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(place: Path) -> dict[str, int]:
    return {str(path.relative_to(place)): path.stat().st_mode & 0o777 for path in place.rglob("*")}


@pytest.mark.usefixtures("umask")
def test_what_is_created_is_private(tmp_path: Path) -> None:
    place = tmp_path / "here"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    url, old = f"sqlite:///{place / 'a.db'}", at("2025-06-01T12:00:00")
    options = {"archive": "csv.gz", "archive_directory": str(place / "kept" / "archive")}
    variables = {f"ASU_STATS_{name.upper()}": value for name, value in options.items()}

    def run(*arguments: str) -> None:
        environment = processes.environment(place, url) | variables
        done = forked.run(arguments, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    run("db", "upgrade")
    with Stats.on(url, place / "spool", **options) as stats:
        stats.record(request("h2", old), build("h2", end=old))
        stats.record(request("h1"))  # a later row: the last one of a table is never archived
        run("retention", "run", "--force")
        run("db", "backup", str(place))
        found = modes(place)
    directories = {name for name in found if (place / name).is_dir()}
    assert {"spool", "kept", "kept/archive"} <= directories
    assert {found[name] for name in directories} == {0o700}
    files = found.keys() - directories
    for part in ("a.db", "a.db-wal", "a.db-shm", "a.db.lock", "a.db.turn"):
        assert part in files
    for suffix in (".spool", ".csv.gz", ".zip"):
        assert any(name.endswith(suffix) for name in files), files
    assert {name: found[name] for name in files} == dict.fromkeys(files, 0o600)
    assert place.stat().st_mode & 0o777 == 0o755


def test_directories_of_images_follow_the_umask(umask: int, tmp_path: Path) -> None:
    made = tmp_path / "store"
    Owner.of_directory(tmp_path).make_directory(made, SHARED_DIRECTORY)
    assert made.stat().st_mode & 0o777 == 0o777 & ~umask
