"""Query plans: every statement of every report uses an index."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from asu_stats import fingerprints
from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.legacy import go_server, upstream_server
from asu_stats.reports import now, profiles, targets, timeseries
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.insights import queue
from asu_stats.reports.listing import ALL
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks import cached, packer
from asu_stats.store.database import dialects
from asu_stats.store.database import statements as prepared_statements
from asu_stats.store.database.dialects import Cursor
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.details.queue_samples import QueueState
from asu_stats.windows import INTERVALS, Interval, Window
from tests.support import NOW, Stats, build, request

Question = Callable[[Connection, Window], object]

DETAILS = (
    "build_metrics",
    "client_stats",
    "error_stats",
    "request_metadata",
    "request_days",
    "rejected_days",
    "event_identities",
    "build_requests",
    "build_jobs",
    "build_results",
)


# Ends of the names of partitions, which are read like their tables.
PARTITION = re.compile(r"(?<=_stats)(_(default|\d{4}_\d\d))\b(?!_)", re.ASCII)
# The index of requests without an end, and that of a partition.
UNENDED = re.compile(r"ix_client_stats_unended|client_stats_default_timestamp_request_hash_idx")

# Groups of given rows, or of the newest ones up to a limit: sorting them takes bounded time.
BOUNDED = (") AS given JOIN", "FROM newest GROUP BY")

SUBJECTS = {
    "client": "luci",
    "fingerprint": fingerprints.of(None, "build", "unknown").fingerprint,
}


def as_served(report: Report) -> Question:
    filters = {each.name: each.schema.get("default") for each in report.parameters}
    given = {name: value for name, value in filters.items() if value is not None}
    if report.subject:
        given[report.subject.name] = SUBJECTS[report.subject.name]
    return lambda db, window: report.read(db, Query(window, NOW.date(), given))


def series(interval: Interval, filters: dict[str, str]) -> Question:
    return lambda db, window: timeseries.read(db, window, interval=interval, filters=filters)


QUESTIONS: dict[str, Question] = {
    "targets of a version": lambda db, w: targets.read(db, w, version="24.10.2"),
    "profiles of a target": lambda db, w: profiles.read(
        db, w, version="24.10.2", target="ath79/generic"
    ),
    "upstream build-errors": lambda db, _: upstream_server.build_errors(db, 100),
    "builds-per-day": go_server.builds_per_day,
    "builds-by-version": go_server.builds_by_version,
    "diff-packages-stats": go_server.diff_packages,
    "diff-packages-by-version": go_server.diff_packages_by_version,
    "diff-packages-trend": go_server.diff_packages_trend,
    "upstream builds-per-day": lambda db, w: upstream_server.builds_per_day(db, w.end),
    "upstream builds-by-version": lambda db, w: upstream_server.builds_by_version(db, w.end, None),
    "upstream stats/summary": lambda db, _: upstream_server.builds_24h(db, NOW),
    **{report.name: as_served(report) for report in REPORTS},
    # The state of the queue has a test of its own, below.
    "insights/queue": lambda db, w: queue.read(db, w, ALL, now=NOW, state=QueueState(1, 1, None)),
    **{
        f"timeseries by {interval}, {filters}": series(interval, filters)
        for interval in INTERVALS
        for filters in (
            dict[str, str](),
            {"version": "24.10.2"},
            {"target": "ath79/generic"},
            {"profile": "generic"},
            {"client": "luci"},
        )
    },
}

Statement = tuple[str, Any]


@contextmanager
def recorded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Statement]]:
    """Collect every statement that goes to the driver."""
    statements: list[Statement] = []

    class Recording:
        def __init__(self, cursor: Cursor) -> None:
            self.fetchall, self.fetchmany = cursor.fetchall, cursor.fetchmany
            self.close = cursor.close
            self._cursor = cursor

        def execute(self, text: str, parameters: Sequence[object] = ()) -> object:
            statements.append((text, parameters))
            return self._cursor.execute(text, parameters)

    for module, name in ((prepared_statements, "_new_cursor"), (dialects, "streaming_cursor")):
        new = getattr(module, name)
        monkeypatch.setattr(module, name, lambda connection, new=new: Recording(new(connection)))

    def remember(_c: object, _u: object, text: str, parameters: Any, *_: object) -> None:
        statements.append((text, parameters))

    event.listen(engine, "before_cursor_execute", remember)
    yield statements
    event.remove(engine, "before_cursor_execute", remember)
    monkeypatch.undo()


def plan(connection: Connection, statement: Statement) -> str:
    text, parameters = statement
    cursor = connection.connection.cursor()
    if connection.dialect.name == "sqlite":
        cursor.execute(f"EXPLAIN QUERY PLAN {text}", parameters)
        return "\n".join(str(row[3]) for row in cursor.fetchall())
    cursor.execute("SET enable_seqscan = off")  # the tables are small: what if they were not
    cursor.execute(f"EXPLAIN {text}", parameters)
    found = "\n".join(str(row[0]) for row in cursor.fetchall())
    cursor.execute("RESET enable_seqscan")
    return PARTITION.sub("", found)


def scanned(plan: str) -> list[str]:
    """Return the detail tables that a plan reads whole."""
    lines = [line.strip(" ->") for line in plan.splitlines()]
    whole = [line for line in lines if line.startswith(("SCAN ", "Seq Scan on "))]
    return [table for table in DETAILS if any(table in line.split() for line in whole)]


@pytest.fixture
def filled(stats: Stats) -> Stats:
    events = []
    for day in range(20):
        at = NOW - timedelta(days=day)
        events += [
            request(f"h{day}", at),
            request("h", at, outcome="joined", client="owut/1"),
            *build(f"h{day}", "success" if day % 3 else "failure", end=at, seconds=60 + day),
            request("x", at, outcome="rejected"),
        ]
    stats.record(events)
    return stats


def badly_read(stats: Stats, question: Question, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the plans of statements of a question that read a detail table whole."""
    with (
        recorded(stats.engine, monkeypatch) as statements,
        read_snapshot(stats.engine) as connection,
    ):
        question(connection, Window.last(30, today=NOW.date()))
    found = [item for item in statements if item[0].lstrip().startswith(("SELECT", "WITH"))]
    assert found
    with stats.engine.connect() as connection:
        for statement in found:
            text = plan(connection, statement)
            bounded = any(rows in statement[0] for rows in BOUNDED)
            grouped = not bounded and any(table in statement[0] for table in DETAILS)
            if scanned(text) or (grouped and "TEMP B-TREE FOR GROUP BY" in text):
                yield f"{statement[0]}\n{text}"


def test_the_queue_reads_by_index(filled: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests and builds of others only those that wait and run are read."""
    queues = CombinedQueue(filled.engine, lambda: NOW, timedelta(hours=6))
    with (
        recorded(filled.engine, monkeypatch) as statements,
        read_snapshot(filled.engine) as connection,
    ):
        now.read(connection, queues)
        queues.waiting_longest(3)
    found = [item for item in statements if item[0].startswith("WITH")]
    assert len(found) == 3
    with filled.engine.connect() as connection:
        for statement in found:
            text = plan(connection, statement)
            assert not scanned(text), text
            if "FROM client_stats" in statement[0]:
                assert UNENDED.search(text)
            assert "ix_build_metrics_running" in text or "FROM build_metrics" not in text


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "not packed"])
def test_reports_read_by_index(
    filled: Stats, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if packed:
        packer.pack(filled.engine, NOW.date())
    for name, question in QUESTIONS.items():
        cached.forget(filled.engine)
        assert list(badly_read(filled, question, monkeypatch)) == [], name


def test_a_scan_would_be_found(filled: Stats) -> None:
    with filled.engine.connect() as connection:
        text = plan(
            connection, ("SELECT count(*) FROM client_stats WHERE client_version = 'x'", ())
        )
    assert scanned(text) == ["client_stats"]
