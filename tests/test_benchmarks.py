"""Reports in SQL, and rollups kept by triggers, have the same results as those of asu-stats."""

import http.client
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asu_stats.events import Event
from asu_stats.reports.endpoints import REPORTS
from asu_stats.store.database import engine as engines
from asu_stats.windows import Window
from benchmarks import databases, insight_times, other_databases, servers, systems, triggers
from benchmarks.data import LAST_DAY
from benchmarks.report import Results
from benchmarks.trigger_rivals import SqliteRival
from benchmarks.trigger_rollups import BY_DAY, EVERY


def test_sql_on_the_details_has_the_same_results(tmp_path: Path) -> None:
    prepared = databases.prepare(tmp_path, 2_000, with_raw=False)
    engine = engines.create(prepared.url)
    details = other_databases.Details(prepared.file)
    try:
        for days in (30, 365):
            systems.check_equal(engine, [details], Window.last(days, today=LAST_DAY))
    finally:
        details.close()
        engine.dispose()


def test_times_of_insights_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each insight with its time, and a target for each that is read from sums."""
    monkeypatch.setattr(insight_times, "TURNS", 1)
    monkeypatch.setattr(insight_times, "collect_less_garbage", lambda: None)
    results = Results(300)
    insight_times.run(results, tmp_path, 300)
    names = {report.name for report in REPORTS if report.name.startswith("insights/")}
    names -= {"insights/fingerprints/{fingerprint}"}
    (table,) = results.tables["insights"]
    printed = capsys.readouterr().out
    assert {row[0] for row in table.rows} == names | {"overview"}
    assert all(name in printed for name in names)
    assert {target.name.split(" / ")[0] for target in results.targets} <= names


class Forgetful(SqliteRival):
    """A rival that loses the first event of each batch."""

    def insert(self, events: Sequence[Event]) -> None:
        super().insert([event for event in events if event.id != events[0].id])


def test_triggers_have_the_same_totals(tmp_path: Path) -> None:
    rivals = {
        name: SqliteRival(tmp_path / name, of) for name, of in (("by day", BY_DAY), ("all", EVERY))
    }
    triggers.check(rivals, tmp_path / "ours.db", requests=300)


def test_triggers_with_other_totals_are_not_measured(tmp_path: Path) -> None:
    forgetful = Forgetful(tmp_path / "forgetful", BY_DAY)
    with pytest.raises(RuntimeError, match=r"forgetful: .* instead of"):
        triggers.check({"forgetful": forgetful}, tmp_path / "ours.db", requests=300)
    forgetful.close()


@contextmanager
def answering(*statuses: int) -> Iterator[http.client.HTTPConnection]:
    """Yield a connection to a server with these statuses in turn; 0 closes the connection."""
    left = itertools.chain(statuses, itertools.repeat(200))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status = next(left)
            self.close_connection = not status
            if status:
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()


def test_a_busy_machine_makes_no_benchmark_fail() -> None:
    with answering(200, 0, 503, 408, 0, 429) as connection:
        assert [servers.call(connection, "GET", "/") for _ in range(2)] == [b"ok", b"ok"]


def test_a_wrong_response_ends_a_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(404) as connection, pytest.raises(RuntimeError, match="/nowhere: 404"):
        servers.call(connection, "GET", "/nowhere")
    monkeypatch.setattr(servers, "PATIENCE_SECONDS", 0)
    with answering(503) as connection, pytest.raises(RuntimeError, match="/: 503"):
        servers.call(connection, "GET", "/")
