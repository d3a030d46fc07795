"""Conformance runs: no differences with this server, and every fault of others is found."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from typer.testing import CliRunner

from asu_stats.cli.program import app
from asu_stats.cloudevents import from_cloudevent
from asu_stats.conformance.checks import checks, last_hours, normalized
from asu_stats.conformance.client import HttpServer, UnusableServerError
from asu_stats.conformance.differences import differences
from asu_stats.conformance.oracle import Oracle
from asu_stats.conformance.run import run
from asu_stats.conformance.scenario import DAYS, scenario
from asu_stats.exceptions import EventTooEarlyError, InvalidEventError, InvalidSettingError
from tests.support import NOW, Stats, request

FIRST = NOW.date() - timedelta(days=DAYS)
EVENTS = "/api/v1/stats/events"


class InProcess:
    """A service in this process, as a conformance run sees servers."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        answer = self._stats.client.get(path, params=dict(query))
        return answer.status_code, answer.json()

    def post(self, events: Any, *, token: bool = True) -> tuple[int, Any]:
        answer = self._stats.post(events, headers={} if token else {"Authorization": ""})
        return answer.status_code, answer.json()


def test_this_server_conforms(sqlite_stats: Stats) -> None:
    server = InProcess(sqlite_stats)
    sqlite_stats.record(request("h1", NOW - timedelta(days=40)))  # other days may have data
    outcome = run(server, now=NOW)
    assert outcome.differences == []
    assert outcome.absent == set()
    assert outcome.checks > 200
    assert outcome.events == len(scenario(FIRST).events) == 275
    sqlite_stats.record(request("h2", NOW - timedelta(days=1)))
    with pytest.raises(UnusableServerError, match="has other events between 2026-09-24 and 2026"):
        run(server, now=NOW)


class Naive:
    """A server that keeps raw events and asks the oracle; `now` is its clock.

    It stands for another implementation of the events and of the statistics API.
    """

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.events: dict[tuple[str, str], Any] = {}
        self._answers: dict[Any, dict[Any, Any]] = {}

    def post(self, events: Any, *, token: bool = True) -> tuple[int, Any]:
        if not token:
            return 401, {}
        for index, event in enumerate(events):
            try:
                from_cloudevent(event, now=self.now)
            except InvalidEventError:
                return 422, {"errors": [{"loc": ["body", index, "x"]}]}
            except EventTooEarlyError:
                return 425, {"errors": [{"loc": ["body", index, "time"]}]}
        known = len(self.events)
        for event in events:
            self.keep(event)
        accepted = len(self.events) - known
        return 200, {"accepted": accepted, "duplicates": len(events) - accepted}

    def keep(self, event: Any) -> None:
        self.events.setdefault((event["source"], event["id"]), event)

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        asked = dict(query)
        if hours := asked.pop("hours", None):
            oracle = Oracle(map(normalized, self.events.values()))
            return 200, oracle.between(self.now - timedelta(hours=int(hours)), self.now).overview()
        if days := asked.pop("days", None):
            end = self.now.date()
            start = end - timedelta(days=int(days) - 1)
        else:
            start, end = (date.fromisoformat(asked.pop(name)) for name in ("start", "end"))
        key = len(self.events), start, end
        if key not in self._answers:
            oracle = Oracle(map(normalized, self.events.values()))
            self._answers[key] = {
                (q.path, frozenset(q.query.items() - {("start", f"{start}"), ("end", f"{end}")})): q
                for q in checks(oracle, start, end, FIRST.isoformat())
            }
        found = self._answers[key].get((path, frozenset(asked.items())))
        if found is None:
            return 404, {}
        body = json.loads(json.dumps(found.expected_response([])))
        if not self.events:
            body["period"]["data_since"] = None
        return 200, body


class Loses(Naive):
    """Takes one event, and does not keep it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.lost = next(
            event
            for event in scenario(FIRST).events
            if event["type"] == kind
            and event["data"].get("outcome", event["data"].get("status")) in {"queued", "success"}
        )

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        self.events.pop((self.lost["source"], self.lost["id"]), None)
        return super().get(path, query)


class CountsTwice(Naive):
    """Stores an event again that it says is a duplicate."""

    def keep(self, event: Any) -> None:
        if (event["source"], event["id"]) in self.events:
            number = len(self.events)
            self.events[event["source"], f"{number}"] = event | {"id": f"{number}"}
        super().keep(event)


class KeepsPart(Naive):
    """Keeps what comes before an invalid event of a batch."""

    def post(self, events: Any, *, token: bool = True) -> tuple[int, Any]:
        status, body = super().post(events, token=token)
        if status == 422:
            for event in events[: body["errors"][0]["loc"][1]]:
                self.keep(event)
        return status, body


class TakesAnyTime(Naive):
    """Believes every clock."""

    def post(self, events: Any, *, token: bool = True) -> tuple[int, Any]:
        self.now = NOW + timedelta(days=1000)
        status, body = super().post(events, token=token)
        self.now = NOW
        return status, body


class OneFigureOff(Naive):
    """Says one request more of one version, when asked for two days."""

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        status, body = super().get(path, query)
        if path.endswith("/versions") and query.get("start") == str(FIRST + timedelta(days=2)):
            body[-1]["requests"] += 1
        return status, body


ABSENT = {
    *("timeseries/week", "packages", "errors/types", "request-patterns", "comparison"),
    *("performance/distribution", "errors/examples"),
}


class LacksMembers(Naive):
    """Has only the required endpoints, without the optional members, and more of its own."""

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        status, body = super().get(path, query)
        if path.removeprefix("/api/v1/stats/") in ABSENT or "hours" in query:
            return 404, {}
        if path.endswith("/overview"):
            del body["totals"]["cancelled_builds"], body["period"]["incomplete"]
            body["own"] = [1]
        return status, body


def found_in(server: Naive) -> list[tuple[str, str]]:
    outcome = run(server, now=NOW)
    return [
        (d.request.partition("?")[0].removeprefix("GET /api/v1/stats/"), d.place)
        for d in outcome.differences
    ]


def test_another_server_may_lack_what_is_optional() -> None:
    assert found_in(Naive()) == []
    outcome = run(LacksMembers(), now=NOW)
    assert outcome.differences == []
    absent = {path.removeprefix("/api/v1/stats/") for path in outcome.absent}
    assert absent == {*ABSENT, "overview?hours="}


@pytest.mark.parametrize(
    ("server", "place"),
    [
        (lambda: Loses("asu.request.received"), "totals.requests"),
        (lambda: Loses("asu.build.finished"), "totals.successful_builds"),
        (CountsTwice, "totals.requests"),
        (KeepsPart, "totals.requests"),
        (TakesAnyTime, "status"),
    ],
    ids=["lost request", "lost build", "counted twice", "half a batch", "any time"],
)
def test_what_is_wrong_is_found(server: Callable[[], Naive], place: str) -> None:
    assert place in {found[1] for found in found_in(server())}


def test_one_figure_is_named() -> None:
    outcome = run(OneFigureOff(), now=NOW)
    (found,) = outcome.differences
    assert found.request == "GET /api/v1/stats/versions?start=2026-09-26&end=2026-09-27"
    assert found.place == "[22.03.7].requests"
    assert int(found.received) == int(found.expected) + 1


def halves(bars: Any) -> list[dict[str, Any]]:
    """Return one bar as two, as another server would choose them."""
    (bar,) = bars
    middle = (bar["from_seconds"] + bar["to_seconds"]) // 2
    return [
        {"from_seconds": bar["from_seconds"], "to_seconds": middle, "builds": 0},
        {"from_seconds": middle + 1, "to_seconds": bar["to_seconds"], "builds": bar["builds"]},
    ]


NEWEST = "2026-09-29T22:56:13.871647+00:00"
DISTRIBUTION = "performance/distribution"


@pytest.mark.parametrize(
    ("path", "change", "place"),
    [
        ("overview", lambda body: {**body, "totals": {"requests": 1}}, "totals.requests"),
        ("comparison", lambda rows: [{**rows[0], "before": 1}, *rows[1:]], "[requests].before"),
        (DISTRIBUTION, halves, "[0].builds"),
        (DISTRIBUTION, lambda bars: [{**bars[0], "to_seconds": 1}], "[1]"),
        (DISTRIBUTION, lambda bars: [bars[0], bars[0]], "[1].from_seconds"),
        (DISTRIBUTION, lambda _: [], "[0]"),
        (DISTRIBUTION, lambda _: "none", "body"),
        ("errors/examples", lambda rows: rows[1:], f"[{NEWEST}]"),
        ("errors/examples", lambda rows: rows[::-1], " (order)"),
        ("errors/examples", lambda _: [{"timestamp": None}], f"[{NEWEST}]"),
    ],
)
def test_what_a_server_may_form_is_checked(
    path: str, change: Callable[[Any], object], place: str
) -> None:
    made = scenario(FIRST)
    oracle = Oracle(map(normalized, made.events))
    days = FIRST + timedelta(days=4), FIRST + timedelta(days=5)
    hours = last_hours(oracle, FIRST, NOW)
    asked = [*checks(oracle, *days, FIRST.isoformat())] if path != "overview" else [*hours]
    check = next(q for q in asked if q.path == f"/api/v1/stats/{path}")
    good = check.expected_response([])
    assert differences("", check.expected_response(good), good) == []
    bad = change(good)
    assert place in {found.place for found in differences("", check.expected_response(bad), bad)}


def test_days_that_are_not_over_are_refused() -> None:
    with pytest.raises(UnusableServerError, match="expected 2026-09-24 or earlier"):
        run(Naive(), first=FIRST + timedelta(days=1), now=NOW)


class Wire:
    """A naive server on a port."""

    def __init__(self, server: Naive, statuses: Iterator[int]) -> None:
        self.paths: list[str] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet per response

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                wire.paths.append(url.path)
                path = unquote(url.path).removeprefix("/prefix")
                self.answer(*server.get(path, dict(parse_qsl(url.query))))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                token = self.headers.get("Authorization") == "Bearer secret"
                self.answer(*server.post(json.loads(body), token=token))

            def answer(self, status: int, body: Any) -> None:
                status = next(statuses, status)
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                if status in {429, 503}:
                    self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/prefix/"


@contextmanager
def served(server: Naive, *statuses: int) -> Iterator[Wire]:
    wire = Wire(server, iter(statuses))
    thread = threading.Thread(target=wire.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield wire
    finally:
        wire.server.shutdown()
        wire.server.server_close()
        thread.join()


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["conformance", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        return 1, str(done.exception)
    return done.exit_code, done.output


def test_the_command_over_http() -> None:
    now = datetime.now(NOW.tzinfo)
    first = str(FIRST)
    with served(OneFigureOff(now), 429, 503) as wire:
        status, said = command("--url", wire.url, "--token", "secret", "--start", first)
        assert (status, "1 difference" in said) == (1, True), said
        assert "GET /api/v1/stats/versions?start=2026-09-26&end=2026-09-27" in said
        assert set(wire.paths) > {"/prefix/api/v1/stats/overview"}
        status, said = command("--url", wire.url, "--token", "wrong", "--start", "2010-01-01")
        assert (status, "POST /api/v1/stats/events: 401" in said) == (1, True), said
    status, said = command("--url", wire.url, "--token", "secret")
    assert (status, "connection refused" in said) == (1, True), said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "either --url or --emitter"),
        (("--url", "http://x", "--emitter", "x"), "either --url or --emitter"),
        (("--url", "http://x"), "needs --token"),
        (("--url", "http://x", "--token", "t", "--start", "today"), "--start"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    status, said = command(*arguments)
    assert (status, words in " ".join(said.split())) == (2, True), said


def test_urls_of_servers() -> None:
    for url in ("ftp://x", "x", "http://", "http://x/?a=b", "http://x:y/"):
        with pytest.raises(InvalidSettingError, match="--url: expected http"):
            HttpServer(url, "secret")
