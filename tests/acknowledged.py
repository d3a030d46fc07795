"""What senders know of their events, and what a database must have of them.

The events of a call have a number. A process that is killed writes lines to a file: `sent 7` before
a call, `safe 7` when it is acknowledged, `backup NAME` when a backup is complete, `images 7` when
the images of a build are published.
"""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from asu_stats.backup import container
from asu_stats.cloudevents import from_cloudevent
from asu_stats.events import BuildFinished, Event, RequestReceived
from asu_stats.recorder.spool import Spool
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.archive import segments
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import build_metrics, client_stats
from asu_stats.store.verification import verify
from tests.crash.test_retention import details
from tests.support import NOW, SOURCE

IMAGES = ("kernel.bin", "sysupgrade.bin")
_DAYS = 100  # events of so many days: most are older than retention keeps them


@cache
def events_of(number: int) -> list[Event]:
    """Return the events of a call: one to four requests and a build, always the same."""
    moment = NOW - timedelta(days=number * 37 % _DAYS, hours=1)
    made: list[tuple[str, str, datetime, dict[str, Any]]] = []
    for each in range(1 + number % 4):
        data = {
            "request_hash": f"hash-{number}-{each}",
            "outcome": "queued",
            "version": "24.10.2",
            "target": "ath79/generic",
            "profile": f"device-{number % 7}",
            "diff_packages": True,
            "packages": ["luci", f"package-{number % 5}"],
        }
        made.append(("request.received", f"{number}-{each}", moment, data))
    build = {"request_hash": f"hash-{number}-0", "build_id": f"build-{number}"}
    made.append(("build.started", f"{number}-started", moment, build))
    ended = {**build, "status": "failure", "error_message": "No space left on device"}
    made.append(("build.finished", f"{number}-ended", moment + timedelta(seconds=90), ended))
    return [
        from_cloudevent(
            {
                "specversion": "1.0",
                "id": name,
                "source": SOURCE,
                "type": f"asu.{kind}",
                "time": time.isoformat(),
                "data": data,
            },
            now=None,
            imported=True,
        )
        for kind, name, time, data in made
    ]


def image(number: int) -> bytes:
    """Return the content of each image of a build."""
    return f"image {number}\n".encode() * 300


@dataclass
class Said:
    """What a process said up to a moment: numbers of calls and builds, and names of backups."""

    sent: set[int] = field(default_factory=set)
    safe: set[int] = field(default_factory=set)
    images: set[int] = field(default_factory=set)
    backups: set[str] = field(default_factory=set)

    def hear(self, line: str) -> None:
        kind, _, value = line.strip().partition(" ")
        if kind == "backup":
            self.backups.add(value)
        else:
            {"sent": self.sent, "safe": self.safe, "images": self.images}[kind].add(int(value))


Found = tuple[Counter[str], Counter[str]]


def stored(engine: Engine) -> Found:
    """Count requests by hash and builds by id, live and archived."""
    with read_snapshot(engine) as connection:
        requests = (row[0] for row in details(connection, client_stats, "request_hash"))
        builds = (row[0] for row in details(connection, build_metrics, "build_id"))
        return Counter(requests), Counter(builds)


def expected(numbers: set[int]) -> Found:
    """Count the same in the events of some calls."""
    events = [event for number in sorted(numbers) for event in events_of(number)]
    requests = (str(each.request_hash) for each in events if isinstance(each, RequestReceived))
    builds = (each.build_id for each in events if isinstance(each, BuildFinished))
    return Counter(requests), Counter(builds)


def problems(engine: Engine, directory: Path, said: Said) -> list[str]:
    """Start the program on what a crash has left, and return what is wrong.

    Then everything is sent again. `directory` has `archive`, `spool` and backups.
    """
    found: list[str] = []
    if engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(engine.url.database))) as database:
            (answer,) = database.execute("PRAGMA integrity_check").fetchone()
            found += [f"integrity_check: {answer}"] * (answer != "ok")
    try:
        migrate.upgrade(engine)
        spool = Spool(directory / "spool", limit_bytes=1 << 20, reserve_bytes=0)
        if not spool.replay(lambda events: bool(apply_batch(engine, events)), 1000):
            found.append("the spool was not replayed")
        spool.close()
        found += _missing(engine, said)
        for number in sorted(said.sent - said.safe):  # senders are unsure of them
            apply_batch(engine, events_of(number))
        for number in sorted(said.safe)[::50]:
            apply_batch(engine, events_of(number))
        if stored(engine) != expected(said.sent):
            found.append("not all there once after everything was sent again")
        with read_snapshot(engine) as connection:
            found += [f"archive: {each}" for each in segments.problems(connection).items()]
        found += [f"verify: {each}" for each in verify.differences(engine)]
    except Exception as error:  # anything is a finding
        found.append(f"{type(error).__name__}: {error}")
    return [*found, *_broken_backups(directory, said), *_broken_images(directory / "store", said)]


def _missing(engine: Engine, said: Said) -> list[str]:
    found = []
    for have, safe, sent in zip(
        stored(engine), expected(said.safe), expected(said.sent), strict=True
    ):
        if lost := safe - have:
            found.append(f"acknowledged and lost: {sorted(lost)[:3]}")
        if more := have - sent:
            found.append(f"twice, or never sent: {sorted(more)[:3]}")
    return found


def _broken_images(store: Path, said: Said) -> list[str]:
    """Return what is wrong with published images: they are there with all content, or not."""
    there = {int(path.name.removeprefix("hash-")): path for path in store.glob("hash-*")}
    found = [f"images of build {number} are lost" for number in said.images - there.keys()]
    for number, path in there.items():
        for name in IMAGES:
            file = path / name
            if not file.exists() or file.read_bytes() != image(number):
                found.append(f"{name} of build {number} is damaged")
    return found


def _broken_backups(directory: Path, said: Said) -> list[str]:
    found = [f"{name} is lost" for name in said.backups if not (directory / name).exists()]
    for path in directory.glob("*.zip"):
        try:
            with container.reading(path) as reader:
                reader.check(lambda _: None)
        except Exception as error:  # anything is a finding
            found.append(f"{path.name}: {error}")
    return found
