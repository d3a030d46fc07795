"""Simulated visitors: requests over HTTP like those of real clients."""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from asu_stats.builds.requests import client_of, parse
from asu_stats.demo import visitors
from asu_stats.demo.crowd import PlannedRequest, make
from asu_stats.demo.visitors import PollingBehaviour, Visitors, sent_as
from asu_stats.exceptions import InvalidSettingError
from asu_stats.settings import Settings

HASH = "ab" * 32
DAY = date(2026, 11, 24)
QUICK = PollingBehaviour(poll_seconds=0.01)


class Server(ThreadingHTTPServer):
    """Answers with `answers` in turn, then with the last of them; remembers what it was asked."""

    daemon_threads = True

    def __init__(self, answers: list[tuple[int, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.asked: list[tuple[str, str, bytes]] = []
        self.enough = threading.Event()
        self.wanted = 3

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.asked.append((self.command, self.path, body))
        status, text = server.answers[min(len(server.asked), len(server.answers)) - 1]
        self.send_response(status)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
        if len(server.asked) >= server.wanted:
            server.enough.set()

    do_GET = do_HEAD = do_POST = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def serving(*answers: tuple[int, bytes]) -> Iterator[Server]:
    with Server(list(answers)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def planned(client: str) -> PlannedRequest:
    return make(
        client=client,
        version="24.10.2",
        target="mediatek/filogic",
        profile="glinet_gl-mt6000",
        diff_packages=True,
        names=("luci", "tmux"),
    )


def accepted_answer() -> tuple[int, bytes]:
    return 202, json.dumps({"status": 202, "request_hash": HASH}).encode()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for long."""
    monkeypatch.setattr(visitors, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(visitors, "_USUAL", QUICK)
    monkeypatch.setattr(
        visitors, "HABITS", {"owut": PollingBehaviour(poll_seconds=0.01, method="HEAD")}
    )


@pytest.mark.parametrize(
    ("client", "seen"),
    [
        ("luci/25.168.50434~d6b13f6", "luci/25.168.50434~d6b13f6"),
        ("owut/2026.07.08~db17536e-r1", "owut/2026.07.08~db17536e-r1"),
        ("auc/0.3.2-1", "auc/0.3.2-1"),
        ("asu-web", "asu-web"),
        ("unknown/0", "unknown"),
    ],
)
def test_a_server_sees_what_is_meant(client: str, seen: str) -> None:
    sent = sent_as(planned(client))
    request = parse(sent["body"], Settings())
    assert request.request_hash == planned(client).request_hash
    assert client_of(request.client, sent["headers"].get("User-Agent")) == seen
    assert ("client" in json.loads(sent["body"])) == (
        client.split("/")[0] not in {"auc", "unknown"}
    )


def test_a_visitor_asks_until_the_image_is_there() -> None:
    answers = [accepted_answer(), accepted_answer(), (200, b"{}")]
    with serving(*answers) as server, Visitors(server.url, mean_seconds=3600, seed=3) as here:
        assert server.enough.wait(120)
        here.stop()
    asked = server.asked
    assert asked[0][:2] == ("POST", "/api/v1/build")
    assert all(path in {"/api/v1/build", f"/api/v1/build/{HASH}"} for _, path, _ in asked)
    assert {method for method, path, _ in asked if path.endswith(HASH)} <= {"GET", "HEAD"}


def test_visitors_become_as_rare_as_they_are_meant_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Even:
        """Chance that always brings the mean."""

        def expovariate(self, rate: float) -> float:
            pauses.append(1 / rate)
            return 0.0

        def random(self) -> float:
            return 1.0

    enough = threading.Event()
    monkeypatch.setattr(Visitors, "_post", lambda *_: enough.set() if len(pauses) >= 60 else None)
    here = Visitors("http://127.0.0.1:9", mean_seconds=4.0, calm_seconds=130.0)
    monkeypatch.setattr(here, "_chance", Even())
    with here:
        assert enough.wait(120)
    assert pauses[0] == pytest.approx(4.0)
    assert pauses[1] > pauses[0]
    assert max(pauses) == pauses[59] == pytest.approx(130.0)


def test_requests_are_such_as_the_service_takes() -> None:
    with serving((400, b"{}")) as server:
        server.wanted = 40
        with Visitors(server.url, mean_seconds=0.005, today=lambda: DAY):
            assert server.enough.wait(120)
    bodies = [body for method, _, body in server.asked if method == "POST" and body]
    assert len({parse(body, Settings()).request_hash for body in bodies}) > 5


@pytest.mark.parametrize(
    "answer",
    [
        (500, b'{"status": 500}'),
        (529, b"{}"),
        (202, b"not JSON \xff"),
        (202, b"[1]"),
        (202, b'{"request_hash": "../../x"}'),
        (202, b'{"request_hash": 7}'),
    ],
)
def test_no_answer_ends_the_visits(answer: tuple[int, bytes]) -> None:
    with serving(answer) as server, Visitors(server.url, mean_seconds=0.01):
        assert server.enough.wait(120)
    assert {path for _, path, _ in server.asked} == {"/api/v1/build"}


def test_a_server_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()
    connect = HTTPConnection.connect

    def refuse_first(connection: HTTPConnection) -> None:
        if next(calls) < 3:
            raise ConnectionRefusedError
        connect(connection)

    monkeypatch.setattr(HTTPConnection, "connect", refuse_first)
    with serving((400, b"{}")) as server, Visitors(server.url, mean_seconds=0.01):
        assert server.enough.wait(120)
    assert next(calls) > 3


def test_an_accident_does_not_end_the_visits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = threading.Semaphore(0)

    def fall(_: PlannedRequest) -> dict[str, Any]:
        times.release()
        raise RuntimeError("stumbled")

    monkeypatch.setattr(visitors, "sent_as", fall)
    with Visitors("http://127.0.0.1:9", mean_seconds=0.01):
        assert times.acquire(timeout=120)
        assert times.acquire(timeout=120)
    assert "stumbled" in caplog.text


def test_an_event_from_outside_stops_the_visits() -> None:
    stopped = threading.Event()
    with serving((400, b"{}")) as server:
        here = Visitors(server.url, mean_seconds=3600, stopped=stopped)
        here.start()
        stopped.set()
        here.stop()
    assert not any(thread.name == "demo-visitors" for thread in threading.enumerate())


def test_visits_that_never_began_can_be_stopped() -> None:
    Visitors("http://localhost:8000/prefix/").stop()


@pytest.mark.parametrize(
    "url",
    [
        "http://sysupgrade.openwrt.org",
        "http://192.0.2.7:8000",
        "http://0.0.0.0:8000",
        "https://127.0.0.1",
        "http://127.0.0.1:99999",
        "http://[::1",
        "127.0.0.1:8000",
        "",
    ],
)
def test_only_this_machine_is_visited(url: str) -> None:
    with pytest.raises(InvalidSettingError, match="this machine"):
        Visitors(url)


def test_both_kinds_of_loopback_are_this_machine() -> None:
    for url in ("http://127.8.8.8:80", "http://[::1]:8000", "http://localhost"):
        Visitors(url)
