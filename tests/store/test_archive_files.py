"""Archive files: moved directories, and missing files."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from asu_stats.cloudevents import from_cloudevent
from asu_stats.exceptions import MissingArchiveError
from asu_stats.store import migrate
from asu_stats.store.archive import retention, segments
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.files import Form
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.archive.segments import archive_parts
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.verification import verify
from tests.recorder.test_recorder import until
from tests.store.older import back_to
from tests.support import NOW, Stats, at, build, request

OLD = at("2026-03-10 12:00")
LATE = OLD - timedelta(minutes=10)


def stored(engine: Engine) -> list[str]:
    with read_snapshot(engine) as connection:
        return list(connection.execute(select(archive_parts.c.file)).scalars())


def put_away(stats: Stats, directory: Path, form: Form = "csv.gz") -> None:
    """Archive some builds of March."""
    old = [
        (request(f"h{n}", OLD), build(f"h{n}", "failure", end=OLD, build_id=f"b{n}"))
        for n in range(150)
    ]
    stats.record(*(events for pair in old for events in pair))
    stats.record(request("new"), build("new", "failure"))
    policy = Policy(30, 30, 30, 30, latest=1)
    retention.run(
        stats.engine, policy, NOW.date(), archive_directory=ArchiveDirectory(directory, form)
    )


@pytest.fixture
def archive(stats: Stats, tmp_path: Path) -> Path:
    """The directory of an archive with some builds of March."""
    put_away(stats, tmp_path / "archive")
    names = stored(stats.engine)
    assert len(names) == 3
    assert all((tmp_path / "archive" / name).is_file() for name in names)
    segments._rows.cache_clear()
    return tmp_path / "archive"


def test_an_archive_that_was_moved_with_its_setting_is_found(
    stats: Stats, archive: Path, tmp_path: Path
) -> None:
    shutil.move(archive, tmp_path / "elsewhere")
    segments.keep_in(stats.engine, tmp_path / "elsewhere")
    assert stats.client.get("/readyz").json()["status"] == "ready"
    assert stats.record(request("h5", LATE)) == {"accepted": 1, "duplicates": 0}
    assert list(verify.differences(stats.engine)) == []


def test_a_missing_file_is_named_and_other_events_are_taken(
    stats: Stats, archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = stats.get("overview", start="2026-03-01", end="2026-09-30")["totals"]["requests"]
    shutil.move(archive, tmp_path / "elsewhere")
    batch = [request("fresh"), request("h1", at("2026-09-01")), request("h5", LATE), request("x")]
    for _ in range(2):
        answer = stats.post(batch)
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", 2])
        assert "archive: build_metrics/2026-03/" in answer.json()["detail"]
        assert str(tmp_path) not in answer.text
    assert stats.record(*batch[:2], batch[3]) == {"accepted": 3, "duplicates": 0}
    after = stats.get("overview", start="2026-03-01", end="2026-09-30")["totals"]["requests"]
    assert after == before + 3

    ready = stats.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert sorted(ready.json()["problems"]) == [
        f"archive: {name} is not readable in archive_directory"
        for name in sorted(stored(stats.engine))
    ]
    assert "asu_stats_archive_missing_files 3.0" in stats.client.get("/metrics").text
    assert len([r for r in caplog.records if "archive: " in r.getMessage()]) == 2
    for path in ("errors/examples?start=2026-03-01&end=2026-03-31", "now", "errors"):
        assert stats.client.get(f"/api/v1/stats/{path}").status_code == 200
    with pytest.raises(MissingArchiveError, match="2026-03"):
        list(verify.of_day(stats.engine, date(2026, 3, 10)))

    shutil.move(tmp_path / "elsewhere", archive)
    until(lambda: stats.client.get("/readyz").json()["status"] == "ready")
    assert stats.record(batch[2]) == {"accepted": 1, "duplicates": 0}
    assert list(verify.differences(stats.engine)) == []


def test_a_damaged_file_concerns_only_events_that_need_it(stats: Stats, archive: Path) -> None:
    (file,) = archive.glob("build_metrics/*/*")
    file.write_bytes(file.read_bytes()[:-20])
    late = stats.post(request("h5", LATE))
    assert (late.status_code, file.name in late.text) == (422, True)
    assert stats.record(request("fresh"))["accepted"] == 1


@pytest.mark.parametrize("form", ["csv.gz", "parquet"])
@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_file_is_named_before_anybody_needs_it(
    sqlite_stats: Stats, tmp_path: Path, form: Form, known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stats = sqlite_stats
    put_away(stats, tmp_path / "archive", form)
    (name,) = (name for name in stored(stats.engine) if name.startswith("build_metrics/"))
    file = tmp_path / "archive" / name
    whole = file.read_bytes()
    with write_transaction(stats.engine) as connection:
        query = select(archive_parts.c.bytes).where(archive_parts.c.file == name)
        assert connection.execute(query).scalar() == len(whole)
        if not known:  # written by an older release
            connection.execute(update(archive_parts).values(bytes=None))
    instead = f"has {len(whole) - 20} bytes instead of {len(whole)}"
    for content, problem in (
        (b"", "is empty"),
        (whole[:-20], instead if known else "is damaged"),
        (bytes(len(whole)), "is damaged"),
        (whole[:-64] + bytes(64), "is damaged"),
        (bytes(64) + whole[64:], "is damaged"),
        (whole, None),
    ):
        if not known and form == "csv.gz" and content == whole[:-20]:
            continue  # which only reading all of it could tell
        file.write_bytes(content)
        with read_snapshot(stats.engine) as connection:
            assert segments.problems(connection) == ({name: problem} if problem else {})
        damaged = "1.0" if problem else "0.0"
        assert f"asu_stats_archive_missing_files {damaged}" in stats.client.get("/metrics").text
    file.write_bytes(whole[:-1] if known else b"")
    (problem,) = stats.client.get("/readyz").json()["problems"]
    assert problem.startswith(f"archive: {name} ")
    assert f"count=1: {name} " in caplog.text


def test_an_event_of_this_process_is_set_aside(stats: Stats, archive: Path, tmp_path: Path) -> None:
    shutil.rmtree(archive)
    made = [request("fresh"), request("h5", LATE), request("fresh2")]
    stats.recorder.record([from_cloudevent(event, now=NOW) for event in made])
    assert stats.recorder.counters.dead_lettered == 1
    assert stats.recorder.failure is None
    assert '"h5"' in (tmp_path / "spool" / "dead-letter.ndjson").read_text()
    assert stats.client.get("/readyz").status_code == 200


@pytest.mark.usefixtures("archive")
def test_paths_of_before_are_made_relative(stats: Stats) -> None:
    names = stored(stats.engine)
    with write_transaction(stats.engine) as connection:
        for name in names:
            same = archive_parts.c.file == name
            absolute = f"/srv/old place/{name}"
            connection.execute(update(archive_parts).where(same).values(file=absolute))
        back_to(connection, "0015")
    migrate.upgrade(stats.engine)
    assert stored(stats.engine) == names
    assert stats.record(request("h5", LATE)) == {"accepted": 1, "duplicates": 0}
