"""Legacy endpoints: the responses of the old servers, and the deprecation headers."""

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from asu_stats import cloudevents
from asu_stats.exceptions import InvalidSettingError
from asu_stats.legacy import names
from asu_stats.metrics.process import ProcessMetrics
from asu_stats.service.database import opened
from asu_stats.service.running import recorder_on
from asu_stats.settings import load
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.verification import verify
from tests import histories
from tests.api.go_server import COLUMNS, GoServer, Row
from tests.conftest import sqlite_database
from tests.oracle import Oracle, time_of
from tests.support import NOW, CloudEvent, Stats, build, request

TODAY = date(2026, 9, 30)


def would_have_written(history: Sequence[CloudEvent]) -> list[Row]:
    """What the Go server would have written of a history."""
    oracle = Oracle(history)
    rows: list[Row] = []
    kinds = {"queued": "request", "cache_hit": "cache_hit"}
    for event in oracle.all_requests:
        data = event["data"]
        if kind := kinds.get(data["outcome"]):
            names = data["version"], data["target"], data["profile"]
            rows.append((_plain(time_of(event)), kind, *names, 0, data["diff_packages"]))
    for ended in oracle.ended:
        if ended.succeeded or ended.failed:
            assert ended.end
            kind = "build_completed" if ended.succeeded else "failure"
            known = (_known(n) for n in (ended.version, ended.target, ended.profile))
            seconds = (ended.seconds or 0) if ended.succeeded else 0
            rows.append((_plain(ended.end), kind, *known, seconds, ended.diff_packages))
    return rows


def _plain(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _known(name: str) -> str | None:
    return None if name == "unknown" else name


def dual_written(stats: Stats) -> list[Row]:
    """Rows of `build_stats`; on SQLite times are as that server's SQL reads them."""
    select = text(f"SELECT {COLUMNS} FROM build_stats ORDER BY id")  # noqa: S608
    with read_snapshot(stats.engine) as connection:
        rows = connection.execute(select).all()
    return [(str(row[0]), *row[1:]) for row in rows]


def asked(stats: Stats, days: int, weeks: int) -> dict[str, Any]:
    return {
        name: get(stats, f"{name}?days={days}&weeks={weeks}").json()
        for name in (
            "builds-per-day",
            "builds-by-version",
            "diff-packages-stats",
            "diff-packages-by-version",
            "diff-packages-trend",
        )
    }


def get(stats: Stats, question: str, **headers: str) -> Any:
    return stats.client.get(f"/api/v1/{question}", headers=headers)


def ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=repr)


def as_said(row: Row) -> Row:
    """SQLite has no booleans."""
    return *row[:-1], None if row[-1] is None else bool(row[-1])


@pytest.fixture
def dual(database_url: str, tmp_path: Path) -> Iterator[Stats]:
    with Stats.on(database_url, tmp_path / "spool", legacy_build_stats=True) as stats:
        yield stats


@given(history=histories.histories(), seed=st.integers(0, 2**32), size=st.sampled_from((1, 3, 50)))
@histories.examples(8)
def test_old_endpoints_and_old_rows_are_the_go_servers(
    dual: Stats, history: list[CloudEvent], seed: int, size: int
) -> None:
    rows = would_have_written(history)
    go = GoServer(rows, TODAY)
    again = list(history)
    random.Random(seed).shuffle(again)
    for events in (history, again):
        dual.clear()
        for start in range(0, len(events), size):
            dual.record(*events[start : start + size])
        dual.record(*events)  # twice is once
        for days, weeks in ((0, 0), (1, 1), (2, 26), (30, 1)):
            assert asked(dual, days, weeks) == go.answers(days, weeks)
        written = [as_said(row) for row in dual_written(dual)]
        assert ordered(written) == ordered(rows)
        assert GoServer(written, TODAY).answers(30, 26) == go.answers(30, 26)
    assert list(verify.differences(dual.engine)) == []


def test_an_end_that_is_corrected_leaves_one_row(dual: Stats) -> None:
    early = NOW - timedelta(hours=30)
    start, late_end = build("h1", "failure", end=NOW, seconds=60, build_id="b1")
    dual.record(request("h1", early), late_end)
    assert [row[1] for row in dual_written(dual)] == ["request", "failure"]
    _, end = build("h1", "success", end=NOW - timedelta(minutes=5), build_id="b1")
    dual.record(end)
    rows = dual_written(dual)
    assert [row[1] for row in rows] == ["request", "build_completed"]
    assert (rows[1][0], rows[1][5]) == ("2026-09-30 11:55:00", 0)
    start["time"] = (NOW - timedelta(minutes=7)).isoformat()
    dual.record(start)
    assert [row[5] for row in dual_written(dual)] == [0, 120]


def test_of_equal_rows_one_goes(dual: Stats) -> None:
    for number in range(3):
        dual.record(build(f"h{number}", "failure", build_id="b")[1])
    assert [row[1:] for row in dual_written(dual)] == [("failure", *[None] * 3, 0, None)] * 3
    dual.record(request("h1", NOW - timedelta(hours=1), diff_packages=False))
    versions = [row[2] for row in dual_written(dual)]
    assert sorted(map(str, versions)) == ["24.10.2", "24.10.2", "None", "None"]


def test_rows_are_written_only_where_that_is_set(stats: Stats) -> None:
    stats.record(request("h1"), build("h1"))
    assert dual_written(stats) == []


def test_every_process_hands_the_setting_on(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    chosen = load(
        database_url=sqlite_database(request),
        spool_directory=tmp_path / "spool",
        legacy_build_stats=True,
    )
    with opened(chosen) as engine:
        with recorder_on(chosen, engine, ProcessMetrics()) as recorder:
            recorder.record([cloudevents.from_cloudevent(request_at(NOW), now=NOW)])
        with read_snapshot(engine) as connection:
            count = text("SELECT count(*) FROM build_stats")
            assert connection.execute(count).scalar_one() == 1


def test_dates_are_read_by_sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = sqlite_database(request)
    with Stats.on(url, tmp_path / "spool", legacy_build_stats=True) as stats:
        stats.record(request_at(datetime(2026, 9, 29, 23, 59, 59, 999_999, UTC)))
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        row = "SELECT timestamp, date(timestamp), typeof(timestamp) FROM build_stats"
        assert database.execute(row).fetchall() == [("2026-09-29 23:59:59", "2026-09-29", "text")]


def request_at(moment: datetime) -> CloudEvent:
    return request("h1", moment)


def fill(stats: Stats) -> None:
    stats.record(
        request("h1", NOW - timedelta(days=2)),
        build("h1", end=NOW - timedelta(days=2)),
        request("h1", outcome="cache_hit"),
        request("h2", version="23.05.5", diff_packages=False),
        build("h2", "timeout", error_message=f"no\nspace for {'a' * 64}"),
        request("h3", outcome="joined"),
        request("h4", outcome="rejected", error_message="no"),
    )


def test_bodies_are_as_they_were(stats: Stats) -> None:
    assert get(stats, "builds-per-day").text == "{}"
    assert get(stats, "builds-by-version").text == "{}"
    assert get(stats, "diff-packages-by-version").text == "null"
    assert get(stats, "diff-packages-trend").text == "null"
    fill(stats)
    assert get(stats, "builds-per-day").text == (
        '{"2026-09-28":{"build_completed":1,"request":1},'
        '"2026-09-30":{"cache_hit":1,"failure":1,"request":1}}'
    )
    assert get(stats, "builds-by-version").text == (
        '{"23.05.5":{"failure":1,"request":1},'
        '"24.10.2":{"build_completed":1,"cache_hit":1,"request":1}}'
    )
    assert get(stats, "diff-packages-stats").text == (
        '{"total_builds":3,"diff_packages_true":2,"diff_packages_false":1,'
        '"percentage_true":66.66666666666666,"percentage_false":33.33333333333333}'
    )
    assert get(stats, "diff-packages-by-version").text == (
        '[{"version":"24.10.2","total_builds":2,"diff_packages_true":2,"diff_packages_false":0,'
        '"percentage_true":100},'
        '{"version":"23.05.5","total_builds":1,"diff_packages_true":0,"diff_packages_false":1,'
        '"percentage_true":0}]'
    )
    assert get(stats, "diff-packages-trend").text == (
        '[{"date":"2026-09-30","diff_packages_true":0,"diff_packages_false":1,"total":1},'
        '{"date":"2026-09-28","diff_packages_true":2,"diff_packages_false":0,"total":2}]'
    )


def of_many_versions(stats: Stats) -> None:
    """Record requests for five versions, some of which were built more often."""
    for number, version in enumerate(("1", "2", "3", "3", "5", "5", "5", "4")):
        stats.record(request(f"v{number}", version=version), *build(f"v{number}"))


def test_versions_beyond_the_limit_are_added_up(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "MOST", 3)
    of_many_versions(sqlite_stats)
    found = get(sqlite_stats, "builds-by-version").json()
    assert {name: kinds["request"] for name, kinds in found.items()} == {
        "1": 1,
        "3": 2,
        "5": 3,
        "other": 2,
    }
    rows = get(sqlite_stats, "diff-packages-by-version").json()
    assert [(row["version"], row["total_builds"]) for row in rows] == [
        ("other", 4),
        ("5", 6),
        ("3", 4),
        ("1", 2),
    ]


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("", 30),
        ("?days=", 30),
        ("?days=many", 30),
        ("?days=-", 30),
        ("?days=99999999999999999999", 30),
        ("?days=9223372036854775808", 30),
        ("?other=1", 30),
        ("?days=%FF%00", 30),
        ("?days=2", 2),
        ("?days=2&days=7", 2),
        ("?days=2days", 2),
        ("?days=+2", 2),
        ("?days=%2B02.9", 2),
        ("?days=0", 0),
        ("?days=-5", 0),
        ("?days=999999999999", 40),
        ("?days=9223372036854775807", 40),
    ],
)
def test_numbers_are_read_as_they_were(sqlite_stats: Stats, query: str, days: int) -> None:
    sqlite_stats.record(*(request(f"h{n}", NOW - timedelta(days=n)) for n in range(40)))
    assert len(get(sqlite_stats, f"builds-per-day{query}").json()) == days


def test_weeks_are_seven_days_each(sqlite_stats: Stats) -> None:
    for days in (13, 14):
        sqlite_stats.record(request(f"h{days}", NOW - timedelta(days=days), version=f"v{days}"))
    assert list(get(sqlite_stats, "builds-by-version?weeks=2").json()) == ["v13"]
    assert list(get(sqlite_stats, "builds-by-version?weeks=3").json()) == ["v13", "v14"]


NEW = {
    "builds-per-day": "/api/v1/stats/timeseries?interval=day",
    "builds-by-version": "/api/v1/stats/versions",
    "diff-packages-stats": "/api/v1/stats/diff-packages",
    "diff-packages-by-version": "/api/v1/stats/diff-packages",
    "diff-packages-trend": "/api/v1/stats/diff-packages",
}


@pytest.mark.parametrize("name", NEW)
def test_headers_say_where_to_go(sqlite_prefixed: Stats, name: str) -> None:
    answer = get(sqlite_prefixed, name)
    same = get(sqlite_prefixed, name, **{"If-None-Match": answer.headers["etag"]})
    assert (answer.status_code, same.status_code, same.content) == (200, 304, b"")
    for headers in (answer.headers, same.headers, get(sqlite_prefixed, name).headers):
        assert headers["deprecation"] == "@1790812800"
        assert "sunset" not in headers
        assert headers["warning"].startswith('299 - "')
        assert headers["link"] == (
            '</stats/docs/migration>; rel="deprecation"; type="text/html", '
            f'</stats{NEW[name]}>; rel="successor-version"'
        )
    assert sqlite_prefixed.client.get(NEW[name]).status_code == 200


def test_an_event_changes_the_answer_and_its_etag(stats: Stats) -> None:
    before = get(stats, "builds-per-day")
    stats.record(request("h1"))
    after = get(stats, "builds-per-day", **{"If-None-Match": before.headers["etag"]})
    assert after.json() == {"2026-09-30": {"request": 1}}


def test_gone_after_the_sunset(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    days = {"legacy_deprecated_since": date(2026, 9, 1), "legacy_sunset": date(2026, 10, 1)}
    with Stats.on(sqlite_database(request), tmp_path / "spool", legacy_gone=True, **days) as stats:
        assert [get(stats, "builds-per-day").status_code for _ in range(2)] == [200, 200]
        stats.now = datetime(2026, 10, 1, tzinfo=UTC)
        gone = get(stats, "builds-per-day")
        assert gone.status_code == 410
        assert gone.headers["content-type"] == "application/problem+json"
        assert NEW["builds-per-day"] in gone.json()["detail"]
        assert gone.headers["sunset"] == "Thu, 01 Oct 2026 00:00:00 GMT"
        assert gone.headers["deprecation"] == "@1788220800"
        operation = stats.client.get("/openapi.json").json()["paths"]["/api/v1/builds-per-day"]
        assert {"200", "410"} <= operation["get"]["responses"].keys()


def test_a_sunset_alone_ends_nothing(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = sqlite_database(request)
    with Stats.on(url, tmp_path / "spool", legacy_sunset=date(2026, 10, 1)) as stats:
        stats.now = datetime(2027, 1, 1, tzinfo=UTC)
        assert get(stats, "builds-per-day").status_code == 200


@pytest.mark.parametrize(
    "chosen", [{"legacy_sunset": date(2026, 9, 30)}, {"legacy_gone": True}], ids=str
)
def test_days_that_make_no_sense_are_refused(chosen: dict[str, object]) -> None:
    with pytest.raises(InvalidSettingError, match=f"settings: {next(iter(chosen))}: "):
        load(**chosen)


def test_the_document_says_deprecated(sqlite_stats: Stats) -> None:
    paths = sqlite_stats.client.get("/openapi.json").json()["paths"]
    for name in NEW:
        operation = paths[f"/api/v1/{name}"]["get"]
        assert operation["deprecated"] is True
        assert operation["description"]
        example = operation["responses"]["200"]["content"]["application/json"]["example"]
        assert example
    assert not paths["/api/v1/stats/overview"]["get"].get("deprecated")


# The shapes of the upstream server ----------------------------------------------------------------


@pytest.fixture
def upstream(database_url: str, tmp_path: Path) -> Iterator[Stats]:
    with Stats.on(database_url, tmp_path / "spool", legacy_shape="upstream") as stats:
        yield stats


def test_upstream_days(upstream: Stats) -> None:
    fill(upstream)
    answer = get(upstream, "builds-per-day").json()
    labels = [f"{TODAY - timedelta(days=n)}Z" for n in reversed(range(30))]
    assert answer["labels"] == labels
    curves = {c["label"]: (c["data"][-3:], c["color"]) for c in answer["datasets"]}
    assert curves == {
        "Requests": ([1.0, 0, 4.0], "green"),
        "Cache-Hits": ([0, 0, 1.0], "orange"),
        "Failures": ([0, 0, 1.0], "red"),
    }
    assert [list(c) for c in answer["datasets"]] == [["label", "data", "color"]] * 3
    assert '"data":[0,' in get(upstream, "builds-per-day").text


def test_upstream_weeks(upstream: Stats) -> None:
    for number, (version, days) in enumerate(
        [("24.10.2", 0), ("24.10.1", 6), ("24.10-SNAPSHOT", 7), ("SNAPSHOT", 181), ("9.9", 182)]
    ):
        end = NOW - timedelta(days=days)
        upstream.record(
            request(f"h{number}", end - timedelta(minutes=2), version=version),
            build(f"h{number}", end=end),
        )
    upstream.record(request("bad", version="25.12.0"), build("bad", "failure"))
    answer = get(upstream, "builds-by-version").json()
    assert len(answer["labels"]) == 26
    assert (answer["labels"][0], answer["labels"][-1]) == ("2026-04-02Z", "2026-09-24Z")
    found = {c["label"]: (c["data"][0], c["data"][-2:]) for c in answer["datasets"]}
    assert found == {"24.10": (0.0, [1.0, 2.0]), "SNAPSHOT": (1.0, [0.0, 0.0])}
    of_branch = get(upstream, "builds-by-version?branch=24.10").json()
    assert [c["label"] for c in of_branch["datasets"]] == ["24.10-SNAPSHOT", "24.10.1", "24.10.2"]


def test_upstream_lines_beyond_the_limit_are_added_up(
    upstream: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "MOST", 2)
    of_many_versions(upstream)
    for query in ("", "?branch="):
        answer = get(upstream, f"builds-by-version{query}").json()
        found = {each["label"]: each["data"][-2:] for each in answer["datasets"]}
        assert found == {"3": [0.0, 2.0], "5": [0.0, 3.0], "other": [0.0, 3.0]}


def test_upstream_summary_goes_on_with_the_clock(upstream: Stats) -> None:
    fill(upstream)
    upstream.record(build("h9", end=NOW - timedelta(hours=23, minutes=30)))
    upstream.record(build("h10", "failure", end=NOW))
    moments = ((NOW, 1), (NOW + timedelta(minutes=29, seconds=59), 1))
    for now, builds in (*moments, (NOW + timedelta(minutes=30), 0)):
        upstream.now = now
        answer = get(upstream, "stats/summary")
        assert answer.json() == {"queue_length": 1, "builds_24h": builds}  # h3 waits
        assert answer.headers["deprecation"] == "@1790812800"


def test_upstream_errors_are_text(upstream: Stats) -> None:
    assert get(upstream, "build-errors").text == "No build errors recorded."
    fill(upstream)
    secret = "0123456789" * 3
    earlier = NOW - timedelta(days=3)
    upstream.record(
        request(secret, earlier),
        build(secret, "failure", end=earlier, error_message=f"{secret} " + "x" * 300),
    )
    answer = get(upstream, "build-errors")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.split("\n") == [
        "Build Errors: 2 entries",
        "Time range: 2026-09-27 12:00:00 to 2026-09-30 12:00:00",
        "",
        "Recent errors:",
        "-" * 60,
        "2026-09-30 12:00:00 23.05.5:ath79/generic:tplink_archer-c7-v5 no space for [job-id]",
        "2026-09-27 12:00:00 24.10.2:ath79/generic:tplink_archer-c7-v5 [job-id] " + "x" * 191,
    ]
    for query, entries in (("n=1", 1), ("n=0", 2), ("n=all", 2), ("n=99999", 2)):
        assert len(get(upstream, f"build-errors?{query}").text.split("\n")) == 5 + entries


def test_upstream_packages(upstream: Stats) -> None:
    upstream.record(
        request("h1", packages=["luci", "tcpdump"], version="24.10.2"),
        request("h2", packages=["luci", "-dnsmasq"], version="24.10.4"),
        request("h3", packages=["luci"], version="SNAPSHOT", outcome="joined"),
        request("h4", packages=["luci", "vim"], outcome="cache_hit"),
        request("h5", packages=["vim"], outcome="rejected"),
    )

    def top(query: str = "") -> tuple[dict[str, int], str | None]:
        answer = get(upstream, f"top-packages{query}").json()
        assert answer["days"] == 30
        return {row["name"]: row["count"] for row in answer["packages"]}, answer["branch"]

    assert top() == ({"luci": 3, "tcpdump": 1}, None)
    assert top("?branch=24.10&n=1") == ({"luci": 2}, "24.10")
    assert top("?branch=SNAPSHOT") == ({"luci": 1}, "SNAPSHOT")
    assert top("?branch=24.1") == ({}, "24.1")
    assert top("?n=0") == top("?n=-1") == ({}, None)
    assert top("?n=all") == top("?n=1000") == top()
    links = get(upstream, "top-packages").headers["link"]
    assert '</api/v1/stats/packages>; rel="successor-version"' in links


def test_the_upstream_document_says_deprecated(upstream: Stats) -> None:
    paths = upstream.client.get("/openapi.json").json()["paths"]
    old = [p for p, methods in paths.items() if methods.get("get", {}).get("deprecated")]
    assert len(old) == 8


def test_a_wrong_figure_is_found(stats: Stats) -> None:
    fill(stats)
    with write_transaction(stats.engine) as connection:
        connection.execute(text("UPDATE stats_legacy SET build_completed = build_completed + 1"))
    assert {item.table for item in verify.differences(stats.engine)} == {"stats_legacy"}
    verify.rebuild(stats.engine)
    assert list(verify.differences(stats.engine)) == []
