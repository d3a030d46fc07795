"""Profiles: a comma is stored as an underscore, in new and old data."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from asu_stats.store import export, migrate
from asu_stats.store.archive import retention, segments
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.blocks import cached, packer
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.rollups.definitions import ROLLUPS
from asu_stats.store.verification import verify
from tests.store.older import back_to
from tests.support import NOW, CloudEvent, Stats, build, request

COMMA, ONE = "tplink,archer-c7-v2", "tplink_archer-c7-v2"
NAMES: dict[str, Any] = {"version": "24.10.2", "target": "ath79/generic"}
DAY = timedelta(days=1)


def story() -> list[CloudEvent]:
    """Requests and builds of two devices over months, both spellings of each on most days."""
    events: list[CloudEvent] = []
    for day in range(0, 80, 3):
        at = NOW - day * DAY
        for number, profile in enumerate((COMMA, ONE, "glinet,gl-mt6000", "generic")):
            name = f"h{day}-{number}"
            asked = {"profile": profile, "client": ("luci/1", "owut/2")[number % 2]}
            events += [request(name, at, **asked), request("all", at, outcome="cache_hit", **asked)]
            status = ("success", "failure")[(day + number) % 2]
            events += build(name, status, end=at, build_id=name)
        events += build(f"seen-{day}", end=at, build_id="x", **NAMES, profile=COMMA)
        events.append(request(f"no-{day}", at, outcome="rejected", profile=COMMA))
    started, _ = build("runs", build_id="y")
    return [*events, {**started, "data": {**started["data"], **NAMES, "profile": COMMA}}]


@contextmanager
def an_older_release(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let profiles be stored as they come."""
    with monkeypatch.context() as patched:
        for place in ("asu_stats.text", "asu_stats.store.archive.files"):
            patched.setattr(f"{place}.one_spelling", lambda profile: profile)
        yield
    segments._rows.cache_clear()  # another release is another process


def counted(stats: Stats) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rollups."""
    with read_snapshot(stats.engine) as connection:
        return {
            rollup.name: sorted(
                tuple(row)
                for row in connection.execute(
                    select(*(rollup.table.c[name] for name in (*rollup.key, *rollup.adds)))
                )
            )
            for rollup in ROLLUPS
        }


def details(stats: Stats) -> str:
    """Return all details, live, archived and in files, as they are exported."""
    tables = ("build_metrics", "client_stats", "error_stats", "request_metadata")
    with read_snapshot(stats.engine, streams=True) as connection:
        found = {name: list(export.rows(connection, name, None, None)) for name in tables}
    return json.dumps(found, default=str)


def answers(stats: Stats) -> dict[str, Any]:
    return {
        question: stats.get(question, days=90)
        for question in ("overview", "versions", "targets", "profiles", "clients", "clients/luci")
    }


def test_both_spellings_are_one_device(stats: Stats) -> None:
    stats.record(*story())
    profiles = {row["profile"]: row["requests"] for row in stats.get("profiles", days=90)}
    assert profiles == {ONE: 108, "glinet_gl-mt6000": 54, "generic": 54}
    assert stats.get("targets", days=90)[0]["unique_profiles"] == 3
    for spelling in (COMMA, ONE):
        days = stats.get("timeseries", profile=spelling, days=90)
        assert sum(day["requests"] for day in days) == 108
        assert stats.get("versions", profile=spelling, days=90)[0]["requests"] == 108
        page = stats.client.get("/profiles", params={"profile": spelling, "days": 90})
        assert "108" in page.text
        badge = f"/badge/requests.svg?profile={spelling}&days=90"
        assert "108" in stats.client.get(badge).text
    assert COMMA not in details(stats)
    assert list(verify.differences(stats.engine)) == []


@pytest.mark.parametrize("archive", [None, "tables", "csv.gz", "parquet"])
def test_rows_of_older_releases_are_merged(
    stats: Stats, archive: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events = story()
    with an_older_release(monkeypatch):
        stats.record(*events)
        if archive:
            form: Any = archive
            archive_directory = (
                None if archive == "tables" else ArchiveDirectory(tmp_path / "archive", form)
            )
            policy = Policy(20, 20, 20, 30, latest=1)
            assert sum(
                retention.run(
                    stats.engine, policy, NOW.date(), archive_directory=archive_directory
                ).archived.values()
            )
        packer.pack(stats.engine, NOW.date())
        assert details(stats).count(COMMA) > 100
        with write_transaction(stats.engine) as connection:
            back_to(connection, "0014")
    cached.forget(stats.engine)
    migrate.upgrade(stats.engine)

    assert COMMA not in details(stats)
    assert "," not in "".join(row["profile"] for row in stats.get("profiles", days=90))
    assert list(verify.differences(stats.engine)) == []
    merged, said = counted(stats), answers(stats)
    migrate.upgrade(stats.engine)
    assert counted(stats) == merged

    stats.clear()
    stats.record(*events)
    anew = counted(stats)
    if archive:
        left_out = {"stats_hourly_profiles", "stats_hourly_clients"}
        if archive != "tables":
            # The upgrade reads no builds in files, and which builds are there depends on their ids.
            left_out.add("stats_waits")
        anew, merged = ({k: v for k, v in of.items() if k not in left_out} for of in (anew, merged))
    assert anew == merged
    assert answers(stats) == said


def test_packed_days_and_etags_of_before_are_not_used(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    with an_older_release(monkeypatch):
        stats.record(*story())
        packer.pack(stats.engine, NOW.date())
        etag = stats.client.get("/api/v1/stats/profiles?days=90").headers["ETag"]
        with write_transaction(stats.engine) as connection:
            back_to(connection, "0014")
    migrate.upgrade(stats.engine)
    cached.forget(stats.engine)
    again = stats.client.get("/api/v1/stats/profiles?days=90", headers={"If-None-Match": etag})
    assert again.status_code == 200
    assert {row["profile"] for row in again.json()} == {ONE, "glinet_gl-mt6000", "generic"}


def test_late_events_find_builds_in_files_of_older_releases(
    stats: Stats, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events, at = story(), NOW - 70 * DAY
    with an_older_release(monkeypatch):
        stats.record(*events)
        stats.record(*build("late", end=at, build_id="late", **NAMES, profile=COMMA))
        policy, archive_directory = (
            Policy(20, 20, 20, 30, latest=1),
            ArchiveDirectory(tmp_path / "archive", "csv.gz"),
        )
        assert retention.run(
            stats.engine, policy, NOW.date(), archive_directory=archive_directory
        ).files_written
        with write_transaction(stats.engine) as connection:
            back_to(connection, "0014")
    migrate.upgrade(stats.engine)
    _, earlier = build("late", "failure", end=at - timedelta(minutes=5), build_id="late")
    stats.record(earlier)  # the build comes back from its file, with what it said of its request
    assert COMMA not in details(stats)
    assert list(verify.differences(stats.engine)) == []


def test_other_names_are_left_alone(stats: Stats) -> None:
    stats.record(request("h", version="24,10", target="a,b/c", client="luci,x/1"))
    assert stats.get("versions")[0]["version"] == "24,10"
    assert stats.get("targets")[0]["target"] == "a,b/c"
    assert stats.get("clients")[0]["client"] == "luci,x"
