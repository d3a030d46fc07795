"""Annotations: releases, incidents, changed settings and notes, and the pages that show them."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asu_stats.exceptions import InvalidSettingError
from asu_stats.monitor import state
from asu_stats.monitor.evaluate import Incident
from asu_stats.monitor.state import StoredIncident
from asu_stats.releases import days_of
from asu_stats.service import start_records
from asu_stats.settings import load
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.details import annotations
from asu_stats.times import naive
from tests.support import NOW, Stats, at, request

DAY = timedelta(days=1)


def note(stats: Stats, text: str, day: str, until: str | None = None) -> int:
    with write_transaction(stats.engine) as connection:
        end = naive(at(until)) if until else None
        return annotations.add(connection, "note", text, naive(at(day)), end)


def texts(stats: Stats, **window: object) -> list[str]:
    return [row["text"] for row in stats.get("annotations", **window)]


def test_what_happened_in_a_time_range(stats: Stats) -> None:
    note(stats, "new disk", "2026-09-10 08:30")
    note(stats, "slow mirror", "2026-08-20", "2026-09-02 06:00")
    note(stats, "before", "2026-08-31 23:59")
    note(stats, "after", "2026-10-01")
    found = stats.get("annotations", start="2026-09-01", end="2026-09-30")
    assert found == [
        {
            "at": "2026-08-20T00:00:00Z",
            "kind": "note",
            "text": "slow mirror",
            "until": "2026-09-02T06:00:00Z",
        },
        {"at": "2026-09-10T08:30:00Z", "kind": "note", "text": "new disk", "until": None},
    ]
    released = stats.get("annotations", start="2026-06-30", end="2026-07-25")
    assert [(row["at"], row["kind"], row["text"]) for row in released] == [
        ("2026-06-30T00:00:00Z", "release", "25.12.5 released"),
        ("2026-07-25T00:00:00Z", "release", "24.10.8 released"),
    ]


def test_a_new_note_is_there_at_once_and_a_removed_one_gone(stats: Stats) -> None:
    first = stats.client.get("/api/v1/stats/annotations")
    number = note(stats, "moved", "2026-09-29")
    again = {"If-None-Match": first.headers["etag"]}
    assert stats.client.get("/api/v1/stats/annotations", headers=again).status_code == 200
    assert texts(stats) == ["moved"]
    with write_transaction(stats.engine) as connection:
        assert annotations.remove(connection, number)
        assert not annotations.remove(connection, number)
    assert texts(stats) == []


def test_releases_that_no_list_has_count_from_their_first_request(stats: Stats) -> None:
    stats.record(
        request("a", NOW - 20 * DAY, version="24.10.2"),
        request("b", NOW - 20 * DAY, version="88.1.0"),  # maybe older: the first day known
        request("d", NOW - 3 * DAY, version="89.1.0"),
        request("e", NOW - 2 * DAY, version="89.1.0-rc1"),
        request("f", NOW - 2 * DAY, version="no-release"),
    )
    assert texts(stats) == ["89.1.0 released"]
    stats.record(request("c", NOW - 9 * DAY, version="89.1.0"))  # late
    (row,) = stats.get("annotations")
    assert row["at"] == "2026-09-21T00:00:00Z"
    assert texts(stats, days=5) == []


def stored(
    number: str, opened: Any, closed: Any = None, title: str = "Low success rate"
) -> StoredIncident:
    incident = Incident(number, "failures", "success_rate_low", (), "warning", opened, closed)
    return StoredIncident(
        incident, {"title": title, "text": "", "rules": [], "cause": None}, opened
    )


def test_incidents_are_there_while_they_last(stats: Stats) -> None:
    opened = stored("one", NOW - 40 * DAY, title="Low\u202e rate:\n" + "x" * 900)
    gone = stored("two", NOW - 50 * DAY, NOW - 45 * DAY)
    with write_transaction(stats.engine) as connection:
        state.write_incident(connection, opened)
        state.write_incident(connection, gone)
    (row,) = stats.get("annotations", days=30)
    assert (row["kind"], row["until"]) == ("incident", None)
    assert row["text"].startswith("Low rate: xxx")
    assert len(row["text"]) == annotations.MAX_CHARACTERS
    closed = replace(opened, incident=replace(opened.incident, closed_at=NOW - 3 * DAY))
    with write_transaction(stats.engine) as connection:
        state.write_incident(connection, closed)
    (row,) = stats.get("annotations", days=30)
    assert row["until"] == "2026-09-27T12:00:00Z"
    assert stats.get("annotations", days=2) == []


def test_incidents_at_the_ends_of_a_time_range(sqlite_stats: Stats) -> None:
    """One that closes as the range begins is in it, one that opens as it ends is not."""
    first, after = NOW.replace(hour=0) - 2 * DAY, NOW.replace(hour=0)
    window = {"start": "2026-09-28", "end": "2026-09-29"}
    with write_transaction(sqlite_stats.engine) as connection:
        state.write_incident(connection, stored("one", first - DAY, first))
        state.write_incident(connection, stored("two", after))
        annotations.add(connection, "note", "moved", naive(first - 2 * DAY), naive(after))
    found = sqlite_stats.get("annotations", **window)
    assert [row["kind"] for row in found] == ["note", "incident"], "by time"
    assert found[1]["until"] == "2026-09-28T00:00:00Z"


def test_settings_that_differ_from_the_last_start(stats: Stats) -> None:
    def start(hours: float, **changed: Any) -> None:
        settings = stats.settings.model_copy(update=changed)
        start_records.record_start(stats.engine, settings, NOW + timedelta(hours=hours))

    start(-9)
    assert stats.get("annotations") == []  # nothing is known of a start before
    start(-8, build_ttl_seconds=3600, root_path="/x", proxies=2)
    start(-7, build_ttl_seconds=3600)
    start(-6, build_ttl_seconds=7200, builder="demo")
    found = stats.get("annotations")
    assert [(row["at"], row["kind"], row["text"]) for row in found] == [
        ("2026-09-30T04:00:00Z", "setting", "build_ttl_seconds: 604800 → 3600"),
        ("2026-09-30T06:00:00Z", "setting", "builder: none → demo"),
        ("2026-09-30T06:00:00Z", "setting", "build_ttl_seconds: 3600 → 7200"),
    ]


def test_no_secret_and_no_place_of_the_machine_is_remembered() -> None:
    settings = load()
    for name in start_records.RECORDED_SETTINGS:
        value = getattr(settings, name)
        assert isinstance(value, bool | int | float | str) or name == "oldest_event"
        assert not any(part in name for part in ("token", "url", "path", "directory", "command"))


def test_release_days_of_a_file(stats: Stats, tmp_path: Path) -> None:
    file = tmp_path / "days.csv"
    file.write_text("version,released\n99.01.0,2026-09-12\n25.12.5,2026-09-13\nx,\n")
    chosen = stats.settings.model_copy(update={"release_days": file})
    start_records.record_start(stats.engine, chosen, NOW)
    assert texts(stats) == ["99.01.0 released", "25.12.5 released"]
    start_records.record_start(stats.engine, stats.settings, NOW)
    assert texts(stats) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: expected version,released"),
        ("version;released\n", "line 1: expected version,released"),
        ("version,released\n24.10.1\n", "line 2: expected a version and a day"),
        ("version,released\n24.10.1,2025-02-30\n", "line 2: 2025-02-30: expected a day"),
        ("version,released\n\n24.10.1,20250201\n", "line 3: 20250201: expected a day"),
        ("version,released\na,2025-01-01\na,2025-01-01\n", "line 3: a is there twice"),
        ('version,released\n"a\n', "line 2: unexpected end"),
        ("version,released\n\x1b[31m,2025-01-01\n", "line 2: expected a version"),
    ],
)
def test_a_file_that_can_not_be_used_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        days_of(text)
    file = tmp_path / "days.csv"
    file.write_text(text)
    with pytest.raises(InvalidSettingError, match=f"release_days {file}: {words}"):
        start_records._release_days(file)


def test_pages_list_what_their_charts_mark(sqlite_stats: Stats) -> None:
    note(sqlite_stats, '<b onclick="x">bold</b> & {{ 7 * 7 }}', "2026-09-29 10:00")
    shown = "&lt;b onclick=&#34;x&#34;&gt;bold&lt;/b&gt; &amp; {{ 7 * 7 }}"
    for path in ("/", "/versions", "/errors", "/performance", "/embed/requests", "/embed/errors"):
        text = sqlite_stats.client.get(path, headers={"accept": "text/html"}).text
        assert '<li data-at="2026-09-29T10:00:00Z">' in text, path
        assert shown in text, path
        assert "<b onclick" not in text
    for number in range(40):
        note(sqlite_stats, f"note {number}", "2026-09-29 11:00")
    text = sqlite_stats.client.get("/", headers={"accept": "text/html"}).text
    assert text.count("<li data-at=") == 20
    assert "21 further annotations" in text
    csv = sqlite_stats.client.get("/api/v1/stats/annotations?format=csv&limit=1").text
    assert csv.splitlines()[0] == "at,kind,text,until"
