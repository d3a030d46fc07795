"""Every command of the docs is run as printed, in one directory, with files and servers of its own.

What only a server of another program can answer is run elsewhere: see `_ELSEWHERE`.
"""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from asu_stats.times import utc_now
from tests import processes
from tests.cli.test_commands import run
from tests.importers.go_history import GoHistory
from tests.patience import SECONDS
from tests.support import Stats, build, request
from tests.test_docs_commands import CALLS

# Commands by their first words, and the tests that run them.
_ELSEWHERE: Final = {
    ("import", "redis"): "tests/importers/test_redis.py",
    ("conformance", "--url"): "tests/conformance/test_server.py",
    ("conformance", "--emitter"): "tests/conformance/test_emitter.py",
    ("events", "send"): "tests/cli/test_events.py",
}
_SERVERS: Final = {"serve", "worker"}
_EACH: Final = list(dict.fromkeys(tuple(arguments) for _, arguments in CALLS))
_RUN: Final = [
    each
    for each in _EACH
    if each[:2] not in _ELSEWHERE and "--follow" not in each  # tests/importers/test_following.py
]


def test_what_is_run_elsewhere_is() -> None:
    for words, test in _ELSEWHERE.items():
        text = (Path(__file__).parents[2] / test).read_text()
        assert f'"{words[1]}"' in text, test


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    """A directory with a database, a backup, a Go server's file and a file of events."""
    directory = tmp_path_factory.mktemp("docs")
    (directory / "stats.db").write_bytes(sqlite_template.read_bytes())
    GoHistory(7).run(20).write(directory / "builder.db")
    with Stats.on(f"sqlite:///{directory}/stats.db", directory / "spool") as stats:
        stats.now = utc_now()
        for day in range(2):  # else retention takes the clock for a wrong one
            end = stats.now - timedelta(days=day)
            stats.record(request(f"h{day}", end), *build(f"h{day}", end=end))
    return directory


@pytest.mark.parametrize("arguments", _RUN, ids=" ".join)
def test_commands_of_the_docs_run(arguments: tuple[str, ...], place: Path) -> None:
    given = [_here(each, place) for each in arguments]
    if "--database" in given:  # what is said of one holds for the other
        at = given.index("--database")
        del given[at : at + 2]
    if given[0] in _SERVERS:
        _start(given, place)
        return
    url = f"sqlite:///{place}/stats.db"
    variables = {"ASU_STATS_ARCHIVE_DIRECTORY": str(place / "archive")}
    if given[:2] == ["db", "restore"]:
        assert run(url, place, "db", "backup", given[2], **variables).returncode == 0
        (place / given[2]).with_suffix("").mkdir()
        url = f"sqlite:///{(place / given[2]).with_suffix('')}/stats.db"
        variables |= {"ASU_STATS_ARCHIVE_DIRECTORY": str(place / "other" / given[2])}
    done = run(url, place, *given, **variables)
    assert done.returncode == 0, done.stdout + done.stderr


def _here(text: str, place: Path) -> str:
    """Put paths of a machine into the directory of the test."""
    if text.endswith("builder.db"):
        return str(place / "builder.db")
    return str(place / text[1:].replace("/", "-")) if text.startswith("/var/") else text


def _start(arguments: list[str], place: Path) -> None:
    """Start what runs until it is stopped, and wait until it works."""
    directory = place / f"run-{os.urandom(4).hex()}"
    directory.mkdir()
    if arguments[0] == "serve":
        if "--port" in arguments:
            at = arguments.index("--port")
            del arguments[at : at + 2]
        arguments = [*arguments, "--port", str(processes.free_port())]
    url = f"sqlite:///{place}/stats.db"
    variables = {"ASU_STATS_COMMAND": '["true"]'}
    with processes.running(directory, url, *arguments, **variables) as process:
        deadline = time.monotonic() + SECONDS
        while not _started(directory):
            assert process.poll() is None, (directory / "log.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _started(directory: Path) -> bool:
    log = (directory / "log.txt").read_text()
    return "server: listening" in log or "worker: started" in log
