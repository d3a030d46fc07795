"""Retention: details are archived, figures stay, late events restore what they need."""

import gzip
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Table, func, select

from asu_stats.demo import history
from asu_stats.exceptions import LeaseLostError, StoreRefusedError
from asu_stats.reports.endpoints import REPORTS
from asu_stats.store import export, migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.archive import expiry, files, retention, segments
from asu_stats.store.archive.archive import ARCHIVES, DETAILS
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.archive.segments import archive_parts
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import build_metrics, client_stats
from asu_stats.store.rollups.definitions import HOURLY
from asu_stats.store.verification import verify
from tests.store.older import back_to
from tests.support import NOW, Stats, build, request

TODAY = NOW.date()
OF_DETAILS: dict[str, Any] = {
    "worth_keeping": [],
    "worth_keeping_total": 0,
    "worth_keeping_since": None,
}
DAYS = (1, 7, 30, 90, 365)
USUAL = Policy(30, 60, 60, 90, latest=1)
SHORT = Policy(build_metrics_days=5, client_stats_days=10, error_stats_days=10, latest=1)


def questions(stats: Stats, windows: Sequence[int]) -> Iterator[str]:
    """Yield the URL of every question, of windows of so many days."""
    document = stats.client.get("/openapi.json").json()["paths"]
    old = [path for path, item in document.items() if item.get("get", {}).get("deprecated")]
    names = [
        f"/api/v1/stats/{report.name}"
        for report in REPORTS
        if not report.subject and report.name != "insights/capacity"
    ]
    first, last = TODAY - timedelta(days=110), TODAY - timedelta(days=62)
    yield f"/api/v1/stats/errors/examples?start={first}&end={last}"
    yield "/api/v1/stats/errors/examples?days=365&category=build&version=SNAPSHOT"
    for days in windows:
        for path in (*names, "/api/v1/stats/clients/luci", *(old if days in {7, 365} else ())):
            yield f"{path}?days={days}"
        if days <= USUAL.hourly_rollup_days:
            # How many workers there are is read from builds whose details are kept.
            yield f"/api/v1/stats/insights/capacity?days={days}&workers=2"
        yield f"/api/v1/stats/targets?days={days}&version=SNAPSHOT"
        yield f"/api/v1/stats/profiles?days={days}&format=csv"
        for interval in ("hour", "week", "month") if days <= 90 else ("week",):
            for filtered in ("", "&client=luci", "&target=x86/64"):
                yield f"/api/v1/stats/timeseries?days={days}&interval={interval}{filtered}"


def answers(stats: Stats, *windows: int) -> dict[str, tuple[int, bytes]]:
    found = {}
    for url in questions(stats, windows or DAYS[-1:]):
        answer = stats.client.get(url)
        content = answer.content
        if "insights/cache" in url:  # lists images of requests whose details are kept
            content = json.dumps({**answer.json(), **OF_DETAILS}).encode()
        found[url] = answer.status_code, content
    assert {status for status, _ in found.values()} <= {200, 404, 422}
    return found


def in_files(connection: Connection, table: Table) -> int:
    t = archive_parts.c
    rows = select(func.sum(t.rows)).where(t.table_name == table.name)
    return int(connection.execute(rows).scalar() or 0)


def rows(engine: Engine) -> dict[str, tuple[int, int]]:
    """Count rows per detail table: live and archived."""
    with read_snapshot(engine) as connection:
        return {
            live.name: (
                connection.execute(select(func.count()).select_from(live)).scalar_one(),
                connection.execute(select(func.count()).select_from(old)).scalar_one()
                + in_files(connection, live),
            )
            for live, old in ARCHIVES.items()
        }


def numbers_of(connection: Connection, table: Table) -> Iterator[int]:
    """Yield the numbers of a table's rows, live, archived and in files."""
    for each in (table, ARCHIVES[table]):
        yield from connection.execute(select(each.c.id)).scalars()
    mine = select(archive_parts.c.file).where(archive_parts.c.table_name == table.name)
    for file in connection.execute(mine).scalars():
        yield from (row[0] for row in segments.rows_of(connection, table, file))


def identities(engine: Engine) -> dict[str, list[int]]:
    """Return what identifies each detail, wherever it is."""
    with read_snapshot(engine) as connection:
        return {table.name: sorted(numbers_of(connection, table)) for table in DETAILS}


def exported(engine: Engine) -> dict[str, list[Any]]:
    with read_snapshot(engine, streams=True) as connection:
        return {
            table.name: list(export.rows(connection, table.name, None, None)) for table in DETAILS
        }


@pytest.fixture(params=["tables", "parquet"])
def archive_directory(request: pytest.FixtureRequest, tmp_path: Path) -> ArchiveDirectory | None:
    """Where the archive is: in tables, or in files too."""
    return (
        ArchiveDirectory(tmp_path / "archive", request.param) if request.param != "tables" else None
    )


def test_history_is_archived_and_no_answer_changes(
    stats: Stats, archive_directory: ArchiveDirectory | None
) -> None:
    events = list(history.history(days=120, requests=1200, now=NOW))
    for start in range(0, len(events), 2000):
        apply_batch(stats.engine, events[start : start + 2000])
    before, known, written = answers(stats, *DAYS), identities(stats.engine), exported(stats.engine)
    counts = rows(stats.engine)
    expected = expiry.waiting(stats.engine, USUAL, TODAY)

    report = retention.run(stats.engine, USUAL, TODAY, archive_directory=archive_directory)

    assert report.as_dict().items() >= expected.items()
    after = rows(stats.engine)
    for name, (live, old) in after.items():
        assert live + old == counts[name][0]
        assert old == report.archived[name] > 10
    assert report.hours_deleted > 100
    assert identities(stats.engine) == known
    assert exported(stats.engine) == written
    assert list(verify.differences(stats.engine)) == []
    assert (report.rows_in_files > 10) == (archive_directory is not None)
    assert report.as_dict()["rows_in_files"] == report.rows_in_files
    assert (
        retention.run(stats.engine, USUAL, TODAY, archive_directory=archive_directory).batches == 0
    )

    again = events[::7]
    random.Random(1).shuffle(again)
    assert not any(apply_batch(stats.engine, again).new)
    assert rows(stats.engine) == after
    assert answers(stats, *DAYS) == before


def test_rebuild_reads_the_archive_and_makes_no_hours_anew(stats: Stats) -> None:
    events = []
    for number in range(40):
        at = NOW - timedelta(days=number * 5)
        ended = build(f"h{number}", end=at + timedelta(minutes=2))
        events += [request(f"h{number}", at), *ended]
    stats.record(events)
    retention.run(stats.engine, SHORT, TODAY)
    before = answers(stats)
    assert list(verify.differences(stats.engine)) == []
    verify.rebuild(stats.engine)
    assert answers(stats) == before
    oldest = TODAY - timedelta(days=89)
    with read_snapshot(stats.engine) as connection:
        for rollup in HOURLY:
            first = connection.execute(select(func.min(rollup.table.c.hour))).scalar_one()
            assert first.date() >= oldest


OLD = NOW - timedelta(days=100)
OLD_DAY = OLD.date()


@pytest.fixture
def archived(stats: Stats, archive_directory: ArchiveDirectory | None) -> Stats:
    """A service of whose past two builds, a failure, and their requests are archived."""
    many = [
        (request(f"more{n}", OLD), build(f"more{n}", end=OLD, seconds=1000 + n)) for n in range(12)
    ]
    stats.record(
        request("h", OLD, client="luci"),
        *build("h", end=OLD + timedelta(minutes=5), build_id="b1", seconds=50),
        request("h", OLD + timedelta(hours=1), outcome="joined", client="owut"),
        *build("h", "failure", end=OLD + timedelta(hours=2), build_id="b2", error_message="x"),
        request("waits", OLD, client="auc"),
        *(event for pair in many for event in pair),
        request("new", NOW),
        *build("new", "failure", end=NOW),
    )
    retention.run(stats.engine, SHORT, TODAY, archive_directory=archive_directory)
    found = rows(stats.engine)
    assert found["build_metrics"] == (11, 4)  # the ten slowest of that day stay
    assert found["client_stats"][1] >= 13  # of 16: not the newest, nor the one that waits still
    return stats


def day_of(stats: Stats, question: str, day: date = OLD_DAY) -> Any:
    return stats.get(question, start=day, end=day)


def clients(stats: Stats) -> dict[str, tuple[int, int, int]]:
    return {
        row["client"]: (row["successful_builds"], row["failed_builds"], row["pending"])
        for row in day_of(stats, "clients")
    }


def test_events_that_come_again_after_archiving_are_duplicates(stats: Stats) -> None:
    events = [request("h", OLD), *build("h", end=OLD)]
    stats.record(*events, request("new"), *build("new"))
    retention.run(stats.engine, SHORT, TODAY)
    before = answers(stats)
    assert stats.record(*events) == {"accepted": 0, "duplicates": 3}
    assert answers(stats) == before


def test_a_request_older_than_an_archived_build_is_ended_by_it(archived: Stats) -> None:
    before = clients(archived)
    assert before["luci"] == (13, 0, 0)
    assert before["owut"] == (0, 1, 0)
    archived.record(
        request("h", OLD + timedelta(minutes=1), outcome="joined", client="ofs"),
        request("h", OLD + timedelta(minutes=30), outcome="joined", client="ofs"),
        request("h", OLD + timedelta(hours=3), outcome="joined", client="ofs"),
    )
    assert clients(archived) == before | {"ofs": (1, 1, 1)}
    assert list(verify.differences(archived.engine)) == []


def test_an_earlier_end_of_an_archived_build_takes_its_place(archived: Stats) -> None:
    ids = {"request_hash": "h", "build_id": "b2", "status": "success"}
    _, finished = build("h", end=OLD + timedelta(minutes=90), build_id="b2")
    finished["data"] = ids
    archived.record(finished)
    assert clients(archived)["owut"] == (1, 0, 0)
    assert day_of(archived, "errors")["total_errors"] == 0
    assert day_of(archived, "overview")["totals"]["successful_builds"] == 14
    assert list(verify.differences(archived.engine)) == []


def test_a_later_end_of_an_archived_build_changes_nothing(archived: Stats) -> None:
    def figures() -> dict[str, tuple[int, bytes]]:
        """Return all answers but the texts of errors, which may have been in a file."""
        return {url: said for url, said in answers(archived).items() if "/examples" not in url}

    before = figures()
    _, finished = build("h", "failure", end=NOW, build_id="b1")
    assert archived.record(finished)["accepted"] == 1
    assert figures() == before
    assert list(verify.differences(archived.engine)) == []


def test_a_build_that_ends_at_last_ends_a_request_of_long_ago(archived: Stats) -> None:
    assert clients(archived)["auc"] == (0, 0, 1)
    archived.record(*build("waits", end=NOW))
    assert clients(archived)["auc"] == (1, 0, 0)
    assert list(verify.differences(archived.engine)) == []


def test_an_older_request_renames_archived_builds(archived: Stats) -> None:
    archived.record(request("h", OLD - timedelta(days=1), version="19.07.1"))
    builds = {row["version"]: row["successful_builds"] for row in day_of(archived, "versions")}
    assert builds["19.07.1"] == 1
    assert list(verify.differences(archived.engine)) == []


def test_a_slowest_build_that_was_none_makes_room_for_an_archived_one(archived: Stats) -> None:
    before = day_of(archived, "performance")["slowest_builds"]
    assert [item["duration"] for item in before] == [*range(1011, 1001, -1)]
    with read_snapshot(archived.engine) as connection:
        slow = select(build_metrics.c.build_id).where(build_metrics.c.request_hash == "more11")
        build_id = connection.execute(slow).scalar_one()
    _, finished = build("more11", "failure", end=OLD - timedelta(minutes=1), build_id=build_id)
    archived.record(finished)
    after = day_of(archived, "performance")["slowest_builds"]
    assert [item["duration"] for item in after] == [*range(1010, 1000, -1)]
    assert list(verify.differences(archived.engine)) == []


def test_a_hash_asked_for_again_is_not_new(archived: Stats) -> None:
    def unique(start: date) -> int:
        window = archived.get("overview", start=start, end=TODAY)
        return int(window["totals"]["unique_requests"])

    before = unique(OLD.date()), unique(TODAY)
    archived.record(request("h", outcome="cache_hit"))
    assert (unique(OLD.date()), unique(TODAY)) == (before[0], before[1] + 1)
    archived.record(request("h", OLD + timedelta(days=30), outcome="cache_hit"))
    assert (unique(OLD.date()), unique(TODAY)) == (before[0], before[1] + 1)
    assert list(verify.differences(archived.engine)) == []


def test_late_events_bring_rows_back_once_and_they_are_archived_again(
    archived: Stats, archive_directory: ArchiveDirectory | None
) -> None:
    known = identities(archived.engine)
    archived.record(request("h", OLD + timedelta(minutes=1), outcome="joined", client="ofs"))
    assert rows(archived.engine)["build_metrics"][1] == 2
    retention.run(archived.engine, SHORT, TODAY, archive_directory=archive_directory)
    now = identities(archived.engine)
    assert now["build_metrics"] == known["build_metrics"]
    assert len(now["client_stats"]) == len(known["client_stats"]) + 1
    assert all(len(numbers) == len(set(numbers)) for numbers in now.values())
    assert list(verify.differences(archived.engine)) == []


def test_numbers_of_archived_rows_are_not_given_again(stats: Stats) -> None:
    for number in range(5):
        stats.record(request(f"h{number}", OLD + timedelta(days=number)))
        stats.record(build(f"h{number}", "failure", end=OLD + timedelta(days=number, hours=1)))
        retention.run(stats.engine, SHORT, TODAY)
    found = identities(stats.engine)
    assert all(len(numbers) == len(set(numbers)) == 5 for numbers in found.values())


def test_the_number_of_an_error_that_was_taken_back_is_not_given_again(stats: Stats) -> None:
    for number in range(3):
        stats.record(*build(f"h{number}", "failure", end=OLD + timedelta(days=number)))
    stats.record(*build("taken back", "failure", build_id="b", end=NOW))
    retention.run(stats.engine, SHORT, TODAY)
    stats.record(*build("taken back", build_id="b", end=NOW - timedelta(minutes=5)))
    for number in range(3):
        stats.record(*build(f"late{number}", "failure", end=OLD + timedelta(days=number)))
    retention.run(stats.engine, SHORT, TODAY)
    found = identities(stats.engine)["error_stats"]
    assert len(found) == len(set(found)) == 6
    assert list(verify.differences(stats.engine)) == []


def test_numbers_go_on_after_those_of_an_archive_from_before(sqlite_stats: Stats) -> None:
    for number in range(3):
        sqlite_stats.record(*build(f"h{number}", "failure", end=OLD + timedelta(days=number)))
    sqlite_stats.record(*build("taken back", "failure", build_id="b", end=NOW))
    retention.run(sqlite_stats.engine, SHORT, TODAY)
    sqlite_stats.record(*build("taken back", build_id="b", end=NOW - timedelta(minutes=5)))
    with write_transaction(sqlite_stats.engine) as connection:
        back_to(connection, "0009")
    migrate.upgrade(sqlite_stats.engine)
    sqlite_stats.record(*build("next", "failure", end=NOW))
    found = identities(sqlite_stats.engine)["error_stats"]
    assert len(found) == len(set(found)) == 4


def test_hours_that_are_gone_are_refused_whatever_the_setting_says_now(stats: Stats) -> None:
    stats.record(request("h", NOW - timedelta(days=40)), request("h2"))
    url = f"/api/v1/stats/timeseries?interval=hour&start={TODAY - timedelta(days=40)}"
    first = stats.client.get(url)
    assert first.status_code == 200
    retention.run(stats.engine, Policy(hourly_rollup_days=30), TODAY)
    for headers in ({}, {"If-None-Match": first.headers["ETag"]}):
        gone = stats.client.get(url, headers=headers)
        assert gone.status_code == 422
        assert f"hours are kept from {TODAY - timedelta(days=29)} on" in gone.json()["detail"]
    # What comes late for an hour that is gone leaves no half of it behind.
    stats.record(request("h3", NOW - timedelta(days=40)))
    assert list(verify.differences(stats.engine)) == []
    with read_snapshot(stats.engine) as connection:
        hour = HOURLY[0].table.c.hour
        assert connection.execute(select(func.min(hour))).scalar_one().date() == TODAY


@pytest.mark.parametrize("stop_at", [1, 2, 5, 9])
def test_a_run_that_may_not_write_any_more_stops_where_it_is(
    sqlite_stats: Stats, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sqlite_stats.engine
    events = list(history.history(days=200, requests=300, now=NOW))
    apply_batch(engine, events)
    known, before, calls = identities(engine), answers(sqlite_stats), [0]
    monkeypatch.setattr(retention, "_ROWS", 20)

    def guard(_: object) -> None:
        calls[0] += 1
        if calls[0] > stop_at:
            raise LeaseLostError("work")

    with pytest.raises(LeaseLostError):
        retention.run(engine, USUAL, TODAY, guard=guard)
    assert calls[0] == stop_at + 1
    assert identities(engine) == known
    assert answers(sqlite_stats) == before
    retention.run(engine, USUAL, TODAY)
    assert identities(engine) == known
    assert list(verify.differences(engine)) == []


@pytest.mark.parametrize("form", ["parquet", "csv.gz"])
def test_files_are_read_as_they_were_written(tmp_path: Path, form: str) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001 - stored times have no zone
    texts = ["", r"\N", "\\", 'a,b\r\n"c"', "\u2028 ü 😀", "null", " x "]
    names = {"reported_names": {"finished": {"version": "1"}}, "finished_at": moment}
    texts_of = ({"status": text, "profile": text.replace(",", "_")} for text in texts)
    rows = [
        tuple(
            {"id": n, "diff_packages": n % 2 == 0, **said, **names}.get(column.name)
            for column in build_metrics.columns
        )
        for n, said in enumerate(texts_of)
    ]
    file = tmp_path / f"x.{form}"
    files.write(file, build_metrics, rows)
    assert files.read(file, build_metrics) == rows


@pytest.mark.parametrize("form", ["parquet", "csv.gz"])
def test_a_file_that_is_gone_or_damaged_is_named(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"x.{form}"
    for damage in (None, b"", b"PAR1nonsense", gzip.compress(b"id,client\r\nx,y\r\n")):
        if damage is not None:
            file.write_bytes(damage)
        with pytest.raises(StoreRefusedError, match=f"x.{form}"):
            files.read(file, client_stats)


def test_files_of_nobody_are_removed_when_they_are_old(archived: Stats, tmp_path: Path) -> None:
    folder = tmp_path / "archive" / "client_stats" / "2020-01"
    folder.mkdir(parents=True)
    archive_directory = ArchiveDirectory(tmp_path / "archive", "csv.gz")
    for name, age in (("old.csv.gz.part", 2), ("new.csv.gz", 0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age * 86_400,) * 2)
    retention.run(archived.engine, SHORT, TODAY, archive_directory=archive_directory)
    assert [file.name for file in folder.iterdir()] == ["new.csv.gz"]
    assert list(verify.differences(archived.engine)) == []
