"""Sending a file of events: complete, or with the line where it stopped."""

import io
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asu_stats.exceptions import MisconfiguredSenderError
from asu_stats.recorder import file_sender
from asu_stats.recorder.file_sender import FileSender, SendReport
from asu_stats.recorder.remote import HttpSink
from tests.recorder.receiver import Answer, Receiver, receiving, refusal


def line(number: int, **changes: Any) -> str:
    event = {
        "specversion": "1.0",
        "type": "asu.build.started",
        "id": f"e{number}",
        "source": "https://asu.example.org",
        "time": "2026-09-30T12:00:00Z",
        "data": {"build_id": f"b{number}", "request_hash": f"h{number}"},
    }
    return json.dumps({**event, **changes})


class Sending:
    """A sender whose time passes only while it sleeps."""

    def __init__(self, receiver: Receiver, *, retry_seconds: float = 300) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.sink = HttpSink(receiver.url, "secret")
        self.retry_seconds = retry_seconds

    def send(self, *lines: str) -> SendReport:
        sender = FileSender(
            self.sink,
            self.retry_seconds,
            on_invalid=lambda _: None,
            on_read=lambda _: None,
            on_retry=lambda _, seconds: self.pauses.append(seconds),
            sleep=self._sleep,
            clock=lambda: self.now,
        )
        try:
            return sender.send(io.BytesIO("\n".join(lines).encode()))
        finally:
            self.sink.close()

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def test_every_line_arrives_in_order(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_sender, "BATCH_EVENTS", 4)
    receiver.answer = lambda events: (200, {}, {"accepted": len(events) - 1, "duplicates": 1})
    report = Sending(receiver).send(*(line(number) for number in range(10)), "", "")
    assert report.complete
    assert (report.sent, report.duplicates, receiver.calls) == (10, 3, 3)
    assert receiver.order == [f"e{number}" for number in range(10)]
    assert receiver.tokens == {"Bearer secret"}


def test_bad_lines_are_named_and_the_others_arrive(receiver: Receiver) -> None:
    long = line(9, id="x" * (5 << 20))
    lines = [line(1), "{", line(2, time="yesterday"), "", line(3, source="asu"), long, line(4)]
    report = Sending(receiver).send(*lines)
    assert [found.line for found in report.invalid_lines] == [2, 3, 5, 6]
    problems = [found.problem for found in report.invalid_lines]
    assert "not JSON" in problems[0]
    assert problems[1].startswith("time: ")
    assert problems[2].startswith("source: ")
    assert "longer than" in problems[3]
    assert (report.lines, report.sent, report.invalid, report.complete) == (7, 2, 4, False)
    assert receiver.order == ["e1", "e4"]


def test_what_the_server_rejects_is_named_and_the_rest_arrives(receiver: Receiver) -> None:
    def answer(events: list[dict[str, Any]]) -> Answer:
        bad = [place for place, event in enumerate(events) if event["id"] in {"e1", "e3"}]
        return refusal(bad[0]) if bad else (200, {}, {"accepted": len(events), "duplicates": 0})

    receiver.answer = answer
    report = Sending(receiver).send(*(line(number) for number in range(5)))
    assert [found.line for found in report.invalid_lines] == [2, 4]
    assert receiver.order == ["e0", "e2", "e4"]


def test_a_call_that_is_too_large_is_split(receiver: Receiver) -> None:
    receiver.answer = lambda events: (413 if len(events) > 2 else 200, {}, {})
    assert Sending(receiver).send(*(line(number) for number in range(9))).complete
    assert receiver.order == [f"e{number}" for number in range(9)]


def test_an_unreachable_server_is_tried_again(receiver: Receiver) -> None:
    answers: list[Answer] = [
        (503, {}, {}),
        (429, {"Retry-After": "7"}, {}),
        (500, {}, {}),
        (200, {}, {}),
    ]
    receiver.answer = lambda _: answers.pop(0)
    sending = Sending(receiver)
    assert sending.send(line(1)).complete
    assert sending.pauses == [1, 7, 4]
    assert receiver.order == ["e1"]


def test_giving_up_says_where(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_sender, "BATCH_EVENTS", 2)
    receiver.answer = lambda events: (503 if events[0]["id"] == "e2" else 200, {}, {})
    sending = Sending(receiver, retry_seconds=60)
    report = sending.send(*(line(number) for number in range(6)))
    assert sending.pauses == [1, 2, 4, 8, 16]
    assert (report.sent, report.stopped_at, report.complete) == (2, 3, False)
    assert report.error == "server: 503 'no reason given'"
    assert receiver.order == ["e0", "e1"]


def test_a_wrong_token_is_not_tried_again(receiver: Receiver) -> None:
    receiver.answer = lambda _: (401, {}, {"detail": "the token is not valid"})
    sending = Sending(receiver)
    report = sending.send(line(1))
    assert (report.error, report.stopped_at) == ("server: 401 'the token is not valid'", 1)
    assert (sending.pauses, receiver.calls) == ([], 1)


def test_a_wrong_address_says_which(receiver: Receiver) -> None:
    receiver.answer = lambda _: (404, {}, {})
    report = Sending(receiver).send(line(1))
    assert "404" in str(report.error)
    assert "at /api/v1/stats/events: expected the URL of a server" in str(report.error)


def test_a_certificate_that_is_not_trusted_is_final(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-keyout", f"{tmp_path}/key", "-out", f"{tmp_path}/pem"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem", tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake_hands() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True)

        server = threading.Thread(target=shake_hands)
        server.start()
        sink = HttpSink(f"https://localhost:{listener.getsockname()[1]}", "token")
        with pytest.raises(
            MisconfiguredSenderError, match=r"not trusted: self-signed.*SSL_CERT_FILE"
        ):
            sink([])
        server.join()
