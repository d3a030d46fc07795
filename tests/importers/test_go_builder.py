"""Import of a Go server's history: every row counts once, unknown data stays unknown."""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from asu_stats.importers.go_builder import GoBuilder
from asu_stats.importers.report import Rejected, Summary
from asu_stats.importers.sending import Sender
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import build_metrics, client_stats
from asu_stats.store.verification import verify
from tests import histories
from tests.api.go_server import GoServer
from tests.importers.go_history import SCHEMA, GoHistory, Happened, plain
from tests.oracle import mean, percent, percentile
from tests.support import Stats

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
WINDOW = {"start": "2026-03-01", "end": "2026-05-20"}


def bring_in(stats: Stats, path: Path) -> Summary:
    """Import a file as the command does."""
    stats.now = NOW
    summary = Summary()
    with Rejected(path.with_suffix(".rejected")) as rejected:
        sender = Sender(lambda events: stats.recorder.commit(events).accepted, summary)
        GoBuilder(path, summary, rejected).read(sender, lambda _: None, lambda _: None)
    return summary


def of(happened: Sequence[Happened], **names: str | None) -> dict[str, Any]:
    """The figures of some rows, as they really were."""
    mine = [h for h in happened if all(getattr(h, k) == v for k, v in names.items())]
    kinds = Counter(h.kind for h in mine)
    requests = kinds["request"] + kinds["cache_hit"]
    good, bad = kinds["build_completed"], kinds["failure"]
    times = [h.seconds for h in mine if h.kind == "build_completed" and h.seconds]
    return {
        "requests": requests,
        "cache_hits": kinds["cache_hit"],
        "cache_hit_rate": percent(kinds["cache_hit"], requests),
        "successful_builds": good,
        "failed_builds": bad,
        "success_rate": percent(good, good + bad),
        "avg_build_duration": mean(times),
    }


def same(row: dict[str, Any], figures: dict[str, Any]) -> None:
    assert {name: row[name] for name in figures} == figures


@given(seed=st.integers(0, 2**32), steps=st.sampled_from((40, 150)))
@histories.examples(6)
def test_every_total_is_the_sources(
    sqlite_stats: Stats, tmp_path: Path, seed: int, steps: int
) -> None:
    sqlite_stats.clear()
    check_totals(sqlite_stats, tmp_path, GoHistory(seed).run(steps))


def test_every_total_is_the_sources_on_both_databases(stats: Stats, tmp_path: Path) -> None:
    check_totals(stats, tmp_path, GoHistory(7).run(300))


def check_totals(stats: Stats, directory: Path, history: GoHistory) -> None:
    path = directory / "builder.db"
    path.unlink(missing_ok=True)
    summary = bring_in(stats, history.write(path))
    rows = history.happened
    assert summary.rows == len(rows)
    assert summary.rejected == summary.doubtful == summary.duplicates == 0

    overview = stats.get("overview", **WINDOW)
    asked = [h for h in rows if h.kind in {"request", "cache_hit"}]
    figures = of(rows)
    figures.pop("avg_build_duration")
    same(overview["totals"], figures)
    assert overview["totals"]["unique_requests"] is None or not asked
    split = Counter(h.diff for h in asked)
    same(
        overview["diff_packages"],
        {"enabled": split[True], "disabled": split[False], "unknown": split[None]},
    )
    for name in ("version", "target", "profile"):
        answer = {row[name]: row for row in stats.get(f"{name}s", limit=1000, **WINDOW)}
        assert answer.keys() == {getattr(h, name) or "unknown" for h in rows}
        for value, row in answer.items():
            same(row, of(rows, **{name: None if value == "unknown" else value}))
    for bucket in stats.get("timeseries", **WINDOW):
        day = [h for h in rows if h.at.date().isoformat() == bucket["timestamp"]]
        same(bucket, of(day))
    seconds = [h.seconds for h in rows if h.kind == "build_completed" and h.seconds]
    same(
        stats.get("performance", **WINDOW)["build_duration"],
        {"median_seconds": percentile(seconds, 50), "p95_seconds": percentile(seconds, 95)},
    )
    check_old_endpoints(stats, rows)
    check_matches(stats, rows)
    assert list(verify.differences(stats.engine)) == []
    assert bring_in(stats, path).accepted == 0


def check_old_endpoints(stats: Stats, rows: Sequence[Happened]) -> None:
    """Equal bodies before and after: that server's SQL could only read plain times."""
    before = GoServer(
        [(plain(h.at), h.kind, h.version, h.target, h.profile, h.seconds, h.diff) for h in rows],
        NOW.date(),
    ).answers(60, 26)
    for name, answer in before.items():
        found = stats.client.get(f"/api/v1/{name}", params={"days": 60, "weeks": 26}).json()
        assert found == answer, name


def check_matches(stats: Stats, rows: Sequence[Happened]) -> None:
    """What was matched is true: hash, client, and how each request that has its hash ended."""
    by_time: defaultdict[datetime, list[Happened]] = defaultdict(list)
    for h in rows:
        by_time[h.at.replace(microsecond=0)].append(h)
    with read_snapshot(stats.engine) as connection:
        waited = connection.execute(select(client_stats)).all()
        built = connection.execute(select(build_metrics)).all()
    for row in (*waited, *built):
        at = row.timestamp if hasattr(row, "timestamp") else row.finished_at
        then = by_time[at.replace(tzinfo=UTC, microsecond=0)]
        assert row.request_hash in {"", *(h.request_hash for h in then)}
    for row in waited:
        then = by_time[row.timestamp.replace(tzinfo=UTC, microsecond=0)]
        mine = [h for h in then if row.request_hash in {"", h.request_hash}]
        assert row.client in {"unknown", *(h.client.partition("/")[0] for h in mine)}
        if row.request_hash:
            ends = [
                h.kind
                for h in rows
                if h.request_hash == row.request_hash
                and h.at > mine[0].at
                and h.kind in {"build_completed", "failure"}
            ]
            assert row.status == {"build_completed": "success", "failure": "failure"}[ends[0]]


def test_most_is_matched_and_errors_have_their_text(sqlite_stats: Stats, tmp_path: Path) -> None:
    summary = bring_in(sqlite_stats, GoHistory(3).run(300).write(tmp_path / "builder.db"))
    for kind in ("request", "build_completed"):
        assert summary.matched[kind] > 0.7 * summary.kinds[kind]
    kinds = {
        error["type"]
        for category in sqlite_stats.get("errors", **WINDOW)["by_category"]
        for error in category["top_errors"]
    }
    assert kinds == {"package_unsatisfiable", "disk_full", "unknown"}
    clients = {row["client"]: row for row in sqlite_stats.get("clients", **WINDOW)}
    assert {"luci", "owut", "auc", "unknown"} == clients.keys()
    assert clients["unknown"]["pending"] is None


def made(path: Path, rows: Sequence[Sequence[Any]], further: str = "") -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA + further)
        insert = "INSERT INTO build_stats VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        database.executemany(insert, rows)
        database.commit()
    return path


NAMES = ("24.10.4", "x86/64", "generic")


def test_two_that_could_be_meant_are_none(sqlite_stats: Stats, tmp_path: Path) -> None:
    requests = "".join(
        "INSERT INTO build_requests VALUES ('hash', 'openwrt', '24.10.4', 'x86/64', 'generic', "
        "'[]', '{}', '', 0, '[]', '[]', 1, 'luci/1', '2026-04-01 10:00:00');".replace(
            "hash", f"h{n}"
        ).replace("00:00", f"00:0{n}")
        for n in (1, 2)
    )
    rows = [(n, f"2026-04-01 10:00:0{n}", "request", *NAMES, 0, 1) for n in (1, 2)]
    summary = bring_in(sqlite_stats, made(tmp_path / "builder.db", rows, requests))
    assert summary.matched == {}
    assert [row["client"] for row in sqlite_stats.get("clients", **WINDOW)] == ["unknown"]


def test_rows_that_can_not_be_understood_are_kept(sqlite_stats: Stats, tmp_path: Path) -> None:
    at = "2026-04-01 10:00:00"
    rows = [
        (1, at, "request", *NAMES, 0, 1),
        (2, "yesterday", "request", *NAMES, 0, 1),
        (3, at, "coffee", *NAMES, 0, 1),
        (4, None, "failure", *NAMES, 0, 1),
        (5, at, "build_completed", *NAMES, -3, "maybe"),
        (6, at, "cache_hit", b"\xff\xfe", 17, "p" * 400, 0, 0),
        (7, "9999-01-01 00:00:00", "request", *NAMES, 0, 1),
    ]
    path = made(tmp_path / "builder.db", rows)
    summary = bring_in(sqlite_stats, path)
    assert (summary.rows, summary.rejected, summary.doubtful) == (7, 4, 2)
    kept = [json.loads(line) for line in path.with_suffix(".rejected").read_text().splitlines()]
    assert [(line["id"], line["imported"]) for line in kept] == [
        *((2, False), (3, False), (4, False), (5, True), (5, True), (7, False))
    ]
    assert "timestamp: not a time" in kept[0]["reason"]
    assert kept[0]["row"]["timestamp"] == "yesterday"
    totals = sqlite_stats.get("overview", **WINDOW)["totals"]
    assert (totals["requests"], totals["cache_hits"], totals["successful_builds"]) == (2, 1, 1)


@pytest.mark.parametrize("table", ["build_requests", "build_jobs", "build_results"])
def test_without_the_other_tables_rows_still_count(
    sqlite_stats: Stats, tmp_path: Path, table: str
) -> None:
    path = GoHistory(5).run(60).write(tmp_path / "builder.db")
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"DROP TABLE {table}")
    summary = bring_in(sqlite_stats, path)
    assert summary.matched == {}
    assert summary.unknown
    assert summary.accepted == summary.rows


def test_a_file_from_before_diff_packages(sqlite_stats: Stats, tmp_path: Path) -> None:
    path = tmp_path / "builder.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE build_stats (id INTEGER PRIMARY KEY, timestamp TIMESTAMP DEFAULT "
            "CURRENT_TIMESTAMP, event_type TEXT NOT NULL, version TEXT, target TEXT, profile TEXT, "
            "duration_seconds INTEGER); INSERT INTO build_stats VALUES "
            "(1, '2026-04-01 10:00:00', 'request', '24.10.4', 'x86/64', 'generic', 0)"
        )
    assert bring_in(sqlite_stats, path).accepted == 1
    found = sqlite_stats.get("diff-packages", **WINDOW)["overview"]
    assert (found["total_builds"], found["diff_packages_unknown"]) == (1, 1)


def test_the_source_moves_with_the_file(sqlite_stats: Stats, tmp_path: Path) -> None:
    first = bring_in(sqlite_stats, GoHistory(1).run(30).write(tmp_path / "builder.db"))
    (tmp_path / "builder.db").rename(tmp_path / "elsewhere.db")
    moved = bring_in(sqlite_stats, tmp_path / "elsewhere.db")
    assert moved.source == first.source
    assert moved.accepted == 0
    other = bring_in(sqlite_stats, GoHistory(2).run(30).write(tmp_path / "builder.db"))
    assert other.source != first.source
    assert other.accepted == other.events


def test_requests_after_a_window_of_history_are_known(sqlite_stats: Stats, tmp_path: Path) -> None:
    bring_in(sqlite_stats, GoHistory(1).run(30).write(tmp_path / "builder.db"))
    since = (NOW - timedelta(days=1)).date().isoformat()
    assert sqlite_stats.get("overview", start=since)["period"]["incomplete"] == []
