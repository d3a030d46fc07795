"""Writes the databases of older programs: `python -m tests.upgrades.make [COMMIT…]`.

Each commit's own program stores the same history in a new SQLite file, is asked for a build, makes
a token and, if it can, archives September. Without arguments it is the program of this checkout: do
that before each release. Everything is in `tests/data/upgrades.tar.xz`: databases of the same
history have much in common, so together they take a tenth of the space.
"""

import io
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

from asu_stats.conformance.scenario import scenario
from tests.processes import free_port

ROOT: Final = Path(__file__).parents[2]
PATH: Final = ROOT / "tests" / "data" / "upgrades.tar.xz"
FIRST: Final = date(2026, 9, 27)  # six days
BUILD: Final = {
    "version": "24.10.2",
    "target": "x86/64",
    "profile": "generic",
    "packages": ["luci"],
    "client": "luci/25.1",
}
# The first day that is kept, by where the days before it go. Only whole months go into files.
ARCHIVES: Final = {"csv.gz": date(2026, 10, 1), "tables": date(2026, 10, 2)}
_BATCH: Final = 100
_CONTENTS: Final = ("packages", "has_custom_repos", "has_defaults", "rootfs_size_mb")
_ENTRY: Final = "from asu_stats.cli import main; main()"
_DAYS: Final = tuple(
    f"ASU_STATS_{table}_DAYS" for table in ("BUILD_METRICS", "CLIENT_STATS", "ERROR_STATS")
)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        kept = directory / "kept"
        kept.mkdir()
        if PATH.exists():
            with tarfile.open(PATH) as tar:
                tar.extractall(kept, filter="data")
        else:
            (kept / "events.json").write_text(json.dumps(_history()))
        for commit in sys.argv[1:] or [""]:
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                schema = make(commit, Path(scratch), kept)
            with tarfile.open(PATH, "w:xz", preset=9) as tar:
                for path in sorted(kept.rglob("*")):
                    tar.add(path, path.relative_to(kept), recursive=False, filter=_anonymous)
            sys.stdout.write(f"schema {schema}, {PATH.stat().st_size} bytes in all\n")
            sys.stdout.flush()


def _history() -> list[dict[str, Any]]:
    """Return the history of a conformance run, with the same contents for the same hash.

    Old programs kept contents per hash only, so upgrades can count no others.
    """
    contents: dict[str, dict[str, Any]] = {}
    events = scenario(FIRST).events
    for event in events:
        data = event["data"]
        if event["type"] == "asu.request.received":
            found = {name: data.pop(name) for name in _CONTENTS if name in data}
            data |= contents.setdefault(data["request_hash"], found)
    return events


def make(commit: str, scratch: Path, kept: Path) -> str:
    """Write the database of a commit below `kept`; return its schema."""
    source = ROOT
    if commit:
        source = scratch / "source"
        source.mkdir()
        tree = subprocess.run(
            ["/usr/bin/git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(tree.stdout)) as tar:
            tar.extractall(source, filter="data")
    state = scratch / "state"
    token = _Program(source / "src", state).fill(json.loads((kept / "events.json").read_text()))
    with closing(sqlite3.connect(state / "stats.db")) as connection:
        (schema,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        dump = "\n".join(connection.iterdump())
    shutil.rmtree(kept / schema, ignore_errors=True)
    (kept / schema).mkdir()
    (kept / schema / "stats.sql").write_text(dump)
    (kept / schema / "token").write_text(token)
    if (state / "archive").exists():
        shutil.copytree(state / "archive", kept / schema / "archive")
    return str(schema)


class _Program:
    """The program of a source directory, with all its files below `state`."""

    def __init__(self, source: Path, state: Path) -> None:
        self.state = state
        state.mkdir()
        self._ingest_token = secrets.token_hex()
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(source),
            "ASU_STATS_DATABASE_URL": f"sqlite:///{state / 'stats.db'}",
            "ASU_STATS_INGEST_TOKEN": self._ingest_token,
            "ASU_STATS_ARCHIVE_DIRECTORY": str(state / "archive"),
        }

    def fill(self, events: list[object]) -> str:
        """Store everything; return a token with the scope `ingest`."""
        with self._serving() as url:
            for start in range(0, len(events), _BATCH):
                self._post(f"{url}/api/v1/stats/events", events[start : start + _BATCH])
            self._post(f"{url}/api/v1/build", BUILD)
        token = self._run("token", "create", "kept", "--scope", "ingest").split()
        for archive, first in ARCHIVES.items():
            days = str((datetime.now(UTC).date() - first).days)
            self._environment |= dict.fromkeys(_DAYS, days) | {"ASU_STATS_ARCHIVE": archive}
            self._archive()
        return max(token, key=len)

    @contextmanager
    def _serving(self) -> Iterator[str]:
        port = free_port()
        arguments = ["serve", "--port", str(port)]
        server = subprocess.Popen(
            [sys.executable, "-c", _ENTRY, *arguments],
            env=self._environment,
            cwd=self.state,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(1_200):
                try:
                    urlopen(f"http://127.0.0.1:{port}/readyz").close()
                    break
                except URLError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)

    def _post(self, url: str, body: object) -> None:
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._ingest_token}",
        }
        urlopen(Request(url, json.dumps(body).encode(), headers)).close()

    def _archive(self) -> None:
        """Archive what is old, if the program can; newer ones hesitate if all events are old."""
        if self._result("retention", "run").returncode == 1:
            self._run("retention", "run", "--force")

    def _run(self, *arguments: str) -> str:
        result = self._result(*arguments)
        if result.returncode:
            raise SystemExit(f"{arguments}: {result.stdout}{result.stderr}")
        return result.stdout

    def _result(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _ENTRY, *arguments],
            env=self._environment,
            cwd=self.state,
            capture_output=True,
            text=True,
            check=False,
        )


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


if __name__ == "__main__":
    main()
