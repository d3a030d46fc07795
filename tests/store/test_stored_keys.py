"""Keys and records that databases and files hold: those of later releases must be the same.

With another value, an event that is sent or imported again would count twice, or rows that an older
release wrote would not be found.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from asu_stats import fingerprints
from asu_stats.api import tokens
from asu_stats.cli.program import app
from asu_stats.cloudevents import from_cloudevent
from asu_stats.events import BuildFinished
from asu_stats.importers import redis_server
from asu_stats.recorder import records
from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import event_identities
from asu_stats.store.details import package_lists
from asu_stats.store.rollups import names
from asu_stats.text import stored_name
from tests.importers.go_history import GoHistory
from tests.support import NOW, request

KEYS: Final = {
    "a build": (segments.build_key("h", "b"), 1630087620278052952),
    "builds": (segments.builds_key("h"), -6204921947539723381),
    "waits": (segments.waits_key("h"), 1201434817595004631),
    "an error": (segments.error_key("h", "b"), 3810097653543020294),
    "names": (names.number_of(("24.10.2", "ath79/generic")), 3397873462216713195),
    "no names": (names.number_of(()), -8922900122303602827),
    "a list of packages": (package_lists._digest(("luci", "tmux")), "KPV2/6UA656AfhVNVSP3"),
    "a name that was cut": (stored_name("n" * 300, 40), "nnnnnnnnnnnnnnnnnnnnnnnnnnn~73cd7fb4a891"),
    "a fingerprint": (
        fingerprints.of("No space left", "storage", "disk_full").fingerprint,
        "33f698e3405ea53e",
    ),
    "no text": (fingerprints.of(None, "storage", "disk_full").fingerprint, "171a9f34c1d391c5"),
    "all others": (fingerprints.other("storage", "disk_full").fingerprint, "31421cf828717b41"),
    "a token": (
        tokens.digest("secret"),
        "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    ),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_that_of_stored_rows(name: str) -> None:
    found, stored = KEYS[name]
    assert found == stored


RECORD: Final = (
    b'31b41534 {"specversion":"1.0","id":"test-0","source":"https://sysupgrade.example.org",'
    b'"type":"asu.request.received","time":"2026-09-30T12:00:00Z","subject":"h",'
    b'"data":{"request_hash":"h","outcome":"queued","version":"24.10.2",'
    b'"target":"ath79/generic","profile":"tplink_archer-c7-v5","diff_packages":true,'
    b'"client":"luci/1","packages":["luci"],"package_count":1}}'
)


def test_a_record_of_the_spool_is_read() -> None:
    given = request("h", NOW, client="luci/1", packages=["luci"]) | {"id": "test-0"}
    assert records.decode(RECORD) == from_cloudevent(given, now=None, imported=True)


def test_imported_rows_are_the_same_events_again(tmp_path: Path) -> None:
    file, url = GoHistory(5).write(tmp_path / "builder.db"), f"sqlite:///{tmp_path / 'stats.db'}"
    columns = "id, timestamp, event_type, version, target, profile, duration_seconds"
    with closing(sqlite3.connect(file)) as connection:
        for row in (
            "1, '2026-09-01 10:00:00', 'request', '24.10.2', 'x86/64', 'generic', NULL",
            "2, '2026-09-01 10:01:00', 'build_completed', '24.10.2', 'x86/64', 'generic', 60",
        ):
            connection.execute(f"INSERT INTO build_stats ({columns}) VALUES ({row})")  # noqa: S608
        connection.commit()
    done = CliRunner().invoke(app, ["import", "go-builder", str(file), "--database", url])
    assert done.exit_code == 0, done.exception
    engine = engines.create(url)
    with read_snapshot(engine) as connection:
        found = connection.execute(select(event_identities.c.identity)).scalars().all()
    engine.dispose()
    assert sorted(key.hex() for key in found) == [
        "c5b03e5ecc4ec60d643b2d42bf56fc68e1d112b0f5a9e3aa21",
        "c5b03e5ecc4ec60d64c271aae2bc0952c0654e5ec92212bdb1",
    ]


def test_imported_samples_are_the_same_events_again() -> None:
    event = redis_server._event(
        redis_server._source(1), NOW, "build.finished", "k", {"status": "success"}
    )
    assert isinstance(event, BuildFinished)
    assert (event.source, event.id, event.build_id) == (
        "urn:asu-stats:redis:902a7e1237f375f9588bac15",
        "k",
        "redis:55fcffecb1552d055b3a10d7597a0ce3",
    )
