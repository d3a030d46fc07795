"""`WS /api/v1/stats/live`: access, messages, and slow readers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from asu_stats.api import live
from asu_stats.reports import now as now_report
from tests.conftest import sqlite_database
from tests.patience import within
from tests.support import Stats, build, request

LIVE = "/api/v1/stats/live"
HOST = "testserver"


def listen(stats: Stats, origin: str | None = None, host: str = HOST) -> Any:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    return stats.client.websocket_connect(LIVE, headers=headers)


def test_one_message_at_once_and_one_for_every_change(stats: Stats) -> None:
    with listen(stats) as socket:
        first = socket.receive_json()
        assert first["type"] == "now"
        assert first["running"] == []
        started, finished = build("h1", build_id="b1")
        stats.record(request("h1"), started)
        second = socket.receive_json()
        assert second["changes"] > first["changes"]
        assert [row["build_id"] for row in second["running"]] == ["b1"]
        stats.record(finished)
        third = socket.receive_json()
        assert third["running"] == []
        changes = [third["changes"]]

        def told() -> None:
            stats.record(request("again"))
            changes.append(socket.receive_json()["changes"])
            assert changes[-1] > changes[-2]

        within(2, told)


def test_a_change_while_a_socket_connects_is_not_missed(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, missed = now_report.read, [request("h1")]

    def read_before_a_change(*arguments: Any, **options: Any) -> Any:
        answer = read(*arguments, **options)
        if missed:
            stats.bring_in(missed.pop())
        return answer

    monkeypatch.setattr(now_report, "read", read_before_a_change)
    with listen(stats) as socket:
        first = socket.receive_json()
        assert socket.receive_json()["changes"] > first["changes"]


def test_many_changes_are_at_most_one_message_a_second(sqlite_stats: Stats) -> None:
    with listen(sqlite_stats) as socket:
        socket.receive_json()
        heard: list[dict[str, Any]] = []
        begun = time.monotonic()
        for number in range(12):
            sqlite_stats.record(request(f"h{number}"))
            time.sleep(0.1)
        answer = sqlite_stats.get("overview")
        assert answer["totals"]["requests"] == 12
        state = sqlite_stats.get("now")
        while not heard or heard[-1]["changes"] < _changes(sqlite_stats):
            heard.append(socket.receive_json())
        assert len(heard) <= time.monotonic() - begun + 1
        assert {k: heard[-1][k] for k in state} == state


def _changes(stats: Stats) -> int:
    etag = stats.client.get("/api/v1/stats/overview").headers["etag"]
    return int(etag.removeprefix('W/"').partition("-")[0])


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, HOST),
        ("http://testserver", HOST),
        ("http://TESTSERVER", HOST),
        ("http://testserver:80", HOST),
        ("https://testserver", HOST),  # TLS ends at the proxy
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("https://stats.example.org:8443", "stats.example.org:8443"),
        ("https://friend.example", HOST),
    ],
)
def test_own_pages_and_those_of_friends_may_listen(
    friendly: Stats, origin: str | None, host: str
) -> None:
    with listen(friendly, origin, host) as socket:
        assert socket.receive_json()["type"] == "now"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://testserver.evil.example",
        "http://eviltestserver",
        "http://testserver:8000",
        "http://testserver@evil.example",
        "http://testserver/path",
        "https://friend.example:444",
        "https://friend.example.evil.example",
        "ftp://testserver",
        "ftp://testserver:80",
        "ws://testserver",
        "wss://testserver",
        "file://testserver:80",
        "http://testserver:0",
        "http://testserver/",
        "http://testserver?",
        "http://testserver#x",
        "http://testserver:80:80",
        "//testserver",
        "testserver",
        "http://[",
    ],
)
def test_pages_of_strangers_may_not(friendly: Stats, origin: str) -> None:
    with pytest.raises(WebSocketDenialResponse) as refused, listen(friendly, origin):
        pass
    assert refused.value.status_code == 403
    assert refused.value.json()["detail"] == "this origin is not one of live_origins"


@pytest.fixture
def friendly(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    friends = ["https://friend.example"]
    with Stats.on(sqlite_database(request), tmp_path / "spool", live_origins=friends) as stats:
        yield stats


def test_no_more_listen_than_allowed(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    database = sqlite_database(request)
    with Stats.on(database, tmp_path / "spool", live_connections=1) as stats:
        with listen(stats) as socket:
            socket.receive_json()
            with pytest.raises(WebSocketDenialResponse) as refused, listen(stats):
                pass
            assert refused.value.status_code == 503
        with listen(stats) as socket:
            assert socket.receive_json()["type"] == "now"


def test_behind_a_prefix(sqlite_prefixed: Stats) -> None:
    client: TestClient = sqlite_prefixed.client
    with client.websocket_connect(f"/stats{LIVE}") as socket:
        assert socket.receive_json()["type"] == "now"


def test_what_is_said_to_it_is_not_heeded(sqlite_stats: Stats) -> None:
    with listen(sqlite_stats) as socket:
        socket.receive_json()
        socket.send_text("hello")
        socket.send_bytes(b"\xff")
        sqlite_stats.record(request("h1"))
        assert socket.receive_json()["type"] == "now"


def test_who_does_not_read_is_dropped() -> None:
    listener = live.Listener(0)
    most = listener.queue.maxsize
    for number in range(most + 1):
        assert listener.queue.qsize() == number
        listener.offer((number, 0, 0), str(number), now=2.0 * number)
    assert listener.queue.qsize() == 1
    assert listener.queue.get_nowait() is None
