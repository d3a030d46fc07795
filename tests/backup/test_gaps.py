"""Events, retention and replays of the spool between two steps of a backup.

The restored copy has the figures of one moment, and every event of database and spool once.
"""

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Engine

from asu_stats.backup import container, taking
from asu_stats.cloudevents import from_cloudevent
from asu_stats.events import Event
from asu_stats.recorder.spool import Spool
from asu_stats.store.apply import apply_batch
from asu_stats.store.archive import files, retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.database import copies
from asu_stats.store.verification import verify
from tests.backup.test_backup import Place, restored_place
from tests.conftest import administrate, postgresql_database, sqlite_database
from tests.gaps import Beside, after, before
from tests.support import NOW, Stats, build
from tests.support import request as a_request

REPORTS = ("overview", "errors", "clients")
OLD = NOW - timedelta(days=130)
_POLICY = Policy(30, 60, 60, 90)


def figures(stats: Stats) -> dict[str, Any]:
    return {name: stats.get(name, days=200) for name in REPORTS}


def written(engine: Engine, events: list[Event]) -> bool:
    apply_batch(engine, events)
    return True


class Source:
    """A service with archive files and events in its spool."""

    def __init__(self, stats: Stats, place: Place) -> None:
        self.stats, self.place = stats, place
        self.number = 0
        for day in (20, 70, 130):
            end = NOW - timedelta(days=day)
            status = "failure" if day == 70 else "success"
            stats.bring_in(a_request(f"h{day}", end), *build(f"h{day}", status, end=end))
        self.retire()
        assert list(place.archive.glob("client_stats/*/*"))

    def retire(self) -> None:
        """Run retention into files. Those that are not needed any more are removed."""
        for file in self.place.archive.glob("*/*/*"):
            os.utime(file, (1, 1))
        where = ArchiveDirectory(self.place.archive, "csv.gz")
        retention.run(self.stats.engine, _POLICY, NOW.date(), archive_directory=where)

    def write(self) -> None:
        """Record new events, one that restores an archive file, and write the file again."""
        self.number += 1
        new, end = f"new{self.number}", OLD - timedelta(seconds=self.number)
        self.stats.record(a_request(new), *build(new), a_request("h130", end, outcome="joined"))
        self.retire()

    @contextmanager
    def spooled(self) -> Iterator[Callable[[], None]]:
        """Put events into two files of the spool. Yield what replays both."""
        spools = [
            Spool(self.place.spool, limit_bytes=1 << 20, reserve_bytes=1 << 16) for _ in range(2)
        ]
        for number, spool in enumerate(spools):
            events = [a_request(f"spooled{self.number}-{number}")]
            spool.put([from_cloudevent(each, now=NOW, imported=True) for each in events])

        def replay() -> None:
            for spool in spools:
                assert spool.replay(partial(written, self.stats.engine), 10)

        yield replay
        for spool in spools:
            spool.close()


Step: TypeAlias = Callable[[Source, Callable[[], object]], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def sources(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Source]]:
    """Return a source on a kind of database."""
    with ExitStack() as stack:

        @cache
        def on(kind: str) -> Source:
            directory = tmp_path_factory.mktemp("gaps")
            if kind == "sqlite":
                url = sqlite_database(request, directory)
            else:
                url = stack.enter_context(contextmanager(postgresql_database)(request))
            stats = stack.enter_context(Stats.on(url, directory / "process"))
            return Source(stats, Place(url, directory))

        yield on


@contextmanager
def within_the_copy(source: Source, act: Callable[[], object]) -> Iterator[None]:
    """Act while the database is read: during VACUUM INTO, or after the first table."""
    if source.stats.engine.dialect.name == "postgresql":
        with after(taking, "_add_table", act):
            yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "_INSTRUCTIONS", 100)
        real, acted = copies.into_file, list[int]()

        def into_file(engine: Any, file: Path, progress: Callable[[int], object]) -> None:
            def report(size: int) -> None:
                if not acted:
                    acted.append(size)
                    act()
                progress(size)

            real(engine, file, report)

        patch.setattr(copies, "into_file", into_file)
        yield
        assert acted


def _before(place: Any, name: str) -> Step:
    return lambda _, act: before(place, name, act)


def _after(place: Any, name: str) -> Step:
    return lambda _, act: after(place, name, act)


# Each step, and whether the copy of the database is made after it.
STEPS: dict[str, tuple[Step, bool]] = {
    "begins": (_before(taking, "_add_spool"), True),
    "one file of the spool copied": (_after(container.Writer, "add"), True),
    "spool copied": (_after(taking, "_add_spool"), True),
    "database half copied": (within_the_copy, False),
    "database copied": (_before(taking, "_add_archive"), False),
    "one archive file read": (_after(files, "problem"), False),
    "archive copied": (_after(taking, "_add_archive"), False),
}
_CASES = [
    *(("sqlite", step) for step in STEPS),
    *(("postgresql", step) for step in ("spool copied", "database half copied", "database copied")),
]


@pytest.mark.parametrize(("kind", "step"), _CASES)
def test_a_backup_has_the_figures_of_one_moment(
    sources: Callable[[str], Source], tmp_path: Path, kind: str, step: str
) -> None:
    source, file = sources(kind), tmp_path / "backup.zip"
    seen: list[dict[str, Any]] = []
    step_in, is_before = STEPS[step]
    with source.spooled() as replay:

        def act() -> None:
            replay()
            seen.append(figures(source.stats))
            source.write()
            seen.append(figures(source.stats))

        with step_in(source, act):
            source.place.backup(file)
    assert seen[0] != seen[1]
    with restored_place(source.place.url, tmp_path / "target") as target:
        done = target.run("db", "restore", file)
        assert done.exit_code == 0, done.output
        with Stats.on(target.url, target.directory / "process") as stats:
            spool = Spool(target.spool, limit_bytes=1 << 20, reserve_bytes=0)
            assert spool.replay(partial(written, stats.engine), 10)
            spool.close()
            assert figures(stats) == seen[is_before]
            for day in (NOW.date(), OLD.date()):
                assert not list(verify.of_day(stats.engine, day))


def test_an_event_set_aside_while_the_spool_is_copied_is_in_the_copy(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It moves from a spool file to the dead letters, whose name comes before."""
    place = Place(sqlite_database(request), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", lambda count: b"\xff" * count)
        spool = Spool(place.spool, limit_bytes=1 << 20, reserve_bytes=0)
    events = [
        from_cloudevent(a_request(name), now=NOW, imported=True) for name in ("first", "second")
    ]
    spool.add_dead_letter(events[0], "a reason")
    spool.put(events[1:])

    def set_aside(found: list[Event]) -> bool:
        return all(spool.add_dead_letter(event, "a reason") for event in found)

    with after(container.Writer, "add", lambda: spool.replay(set_aside, 10)):
        place.backup(tmp_path / "backup.zip")
    spool.close()
    with zipfile.ZipFile(tmp_path / "backup.zip") as backup:
        copied = b"".join(backup.read(name) for name in backup.namelist() if "spool/" in name)
    for event in events:
        assert event.id.encode() in copied


REWRITE = "ALTER TABLE store_state ALTER COLUMN changes TYPE NUMERIC"
UPGRADE = (
    "ALTER TABLE store_state ALTER COLUMN changes TYPE NUMERIC; "
    "UPDATE alembic_version SET version_num = '9999'"
)


def test_a_change_of_the_schema_waits_for_the_copy(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A snapshot of PostgreSQL sees no rows in a table that was rewritten since."""
    for url in postgresql_database(request):
        change = Beside(partial(administrate, url, REWRITE))
        with after(taking, "_add_table", change.start):
            facts = Place(url, tmp_path).backup(tmp_path / "backup.zip")
        change.result()
        assert facts["tables"]["store_state"] == 1


def test_a_copy_that_began_before_an_upgrade_ended_fails(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for url in postgresql_database(request):
        upgrade = partial(administrate, url, UPGRADE)
        with before(copies, "keep_tables", upgrade):
            done = Place(url, tmp_path).run("db", "backup", tmp_path / "backup.zip")
        assert str(done.exception) == "database: its schema was upgraded meanwhile; try again"
        assert not list(tmp_path.glob("backup*"))
