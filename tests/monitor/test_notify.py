"""Delivery of messages: mail, signed webhooks, retries, no duplicates."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message as Mail
from email.policy import default
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from sqlalchemy import Engine, select, update

from asu_stats.exceptions import InvalidSettingError
from asu_stats.monitor import channels, outbox, posting
from asu_stats.monitor.channels import Channel
from asu_stats.monitor.posting import DeliveryError
from asu_stats.monitor.schema import alert_messages
from asu_stats.monitor.sender import Sender, send_due
from asu_stats.settings import load
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.details.queue_samples import QueueState
from tests import processes
from tests.conftest import sqlite_database
from tests.monitor.support import Play
from tests.patience import SECONDS
from tests.support import NOW, Stats

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
DOCUMENTED = json.loads(
    Path("docs/alerts.md").read_text().partition("```json\n")[2].partition("```")[0]
)
BODY = {"type": "alert.opened", "data": {"state": "firing", "severity": "critical"}}


@dataclass
class Receiver:
    """A webhook receiver that answers as it is told."""

    port: int = 0
    status: int = 200
    hang: threading.Event | None = None
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @contextmanager
    def running(self) -> Iterator["Receiver"]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.calls.append(({k.lower(): v for k, v in self.headers.items()}, body))
                if receiver.hang:
                    receiver.hang.wait(5 * SECONDS)
                self.send_response(receiver.status)
                self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                receiver.calls.append(({}, b"followed"))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            server.daemon_threads = True
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield self
            finally:
                if self.hang:
                    self.hang.set()
                server.shutdown()
                thread.join()


def settings(**given: Any) -> Any:
    return load(database_url="sqlite:///unused.db", **given)


def hook(url: str) -> Channel:
    (channel,) = channels.of_settings(settings(webhooks=[{"url": url, "secret": SECRET}]))
    return channel


def put(engine: Engine, channel: Channel, message_id: str = "m1") -> None:
    with write_transaction(engine) as connection:
        outbox.store(connection, [channel.key], message_id, BODY, datetime.now(UTC))


def errors(engine: Engine) -> list[str | None]:
    with read_snapshot(engine) as connection:
        return list(connection.execute(select(alert_messages.c.error)).scalars())


def after(clock: datetime, seconds: float) -> datetime:
    return clock + timedelta(seconds=seconds)


def wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_webhook_is_signed(engine: Engine) -> None:
    with Receiver().running() as receiver:
        channel = hook(receiver.url)
        put(engine, channel)
        assert send_due(engine, channel) == 1
        assert send_due(engine, channel) == 0

    ((headers, body),) = receiver.calls
    assert json.loads(body) == BODY
    assert headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_what_is_not_taken_is_sent_again_with_the_same_id(engine: Engine) -> None:
    clock = datetime.now(UTC)
    receiver = Receiver(status=500)
    with receiver.running():
        channel = hook(receiver.url)
        put(engine, channel, "the-id")
        send_due(engine, channel)
        assert errors(engine) == ["status 500"]
        assert send_due(engine, channel) == 0, "not before its time"
        assert len(receiver.calls) == 1
        for seconds in (6, 26, 96):
            send_due(engine, channel, clock=partial(after, clock, seconds))
        assert len(receiver.calls) == 4
        receiver.status = 204
        assert send_due(engine, channel, clock=partial(after, clock, 500)) == 1
    assert {headers["webhook-id"] for headers, _ in receiver.calls} == {"the-id"}
    assert errors(engine) == [None]


def test_a_receiver_that_is_down(engine: Engine) -> None:
    channel = hook(f"http://127.0.0.1:{processes.free_port()}/")
    put(engine, channel)
    assert send_due(engine, channel) == 0
    assert errors(engine) == ["no response: connection refused"]


def test_a_message_is_given_up_after_a_day_of_attempts(sqlite_stats: Stats) -> None:
    begin, hours, tried = datetime.now(UTC) + timedelta(seconds=1), 0.0, list[float]()

    def broken(*_: object) -> None:
        tried.append(hours)
        raise DeliveryError("not now")

    channel = Channel("c", "c", broken)
    put(sqlite_stats.engine, channel)
    while hours < 36:
        send_due(sqlite_stats.engine, channel, clock=partial(after, begin, hours * 3600))
        hours += 0.51
    assert 24 < tried[-1] < 30


@pytest.mark.parametrize(("message_id", "days"), [("one-opened", 2), ("one-closed", 10)])
def test_attempts_with_a_clock_ahead_give_up_nothing(
    engine: Engine, message_id: str, days: int
) -> None:
    works, begin = False, datetime.now(UTC) + timedelta(seconds=1)

    def send(*_: object) -> None:
        if not works:
            raise DeliveryError("not now")

    channel = Channel("c", "c", send)
    put(engine, channel, message_id)
    for seconds in (0, days * 86_400, 60, days * 86_400):
        send_due(engine, channel, clock=partial(after, begin, seconds))
    works = True
    assert send_due(engine, channel, clock=partial(after, begin, 120)) == 1


@pytest.mark.parametrize(("status", "tries"), [(410, 1), (302, 2)])
def test_gone_is_gone_and_redirects_lead_nowhere(engine: Engine, status: int, tries: int) -> None:
    with Receiver(status=status).running() as receiver:
        channel = hook(receiver.url)
        put(engine, channel)
        send_due(engine, channel)
        send_due(engine, channel, clock=lambda: datetime.now(UTC) + timedelta(minutes=1))
        assert len(receiver.calls) == tries


def test_one_that_hangs_holds_up_nothing(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "TIMEOUT_SECONDS", 5 * SECONDS)  # it hangs until the test ends
    engine = sqlite_stats.engine
    with (
        Receiver(hang=threading.Event()).running() as slow,
        Receiver().running() as quick,
    ):
        play = Play(sqlite_stats)
        ways = [hook(slow.url), hook(quick.url)]
        with Sender(engine, ways, check_seconds=0.02):
            put(engine, ways[0], "one")
            wait_for(lambda: slow.calls)
            put(engine, ways[1], "two")
            wait_for(lambda: quick.calls)
            play.go(3)
            assert len(slow.calls) == 1
            assert slow.hang
            slow.hang.set()


def test_many_senders_send_once(stats: Stats) -> None:
    engine = stats.engine
    with Receiver().running() as receiver:
        channel = hook(receiver.url)
        for number in range(20):
            put(engine, channel, f"m{number}")
        with ThreadPoolExecutor(4) as pool:
            sent = list(pool.map(lambda _: send_due(engine, channel), range(4)))
    assert sum(sent) == 20
    ids = [headers["webhook-id"] for headers, _ in receiver.calls]
    assert sorted(ids) == sorted({f"m{number}" for number in range(20)})


def test_a_sender_that_was_killed_leaves_its_message(engine: Engine) -> None:
    with Receiver().running() as receiver:
        channel = hook(receiver.url)
        put(engine, channel)
        assert outbox.claim(engine, channel.key, datetime.now(UTC))  # and nothing more
        assert send_due(engine, channel) == 0
        later = datetime.now(UTC) + timedelta(seconds=outbox.CLAIM_SECONDS + 1)
        assert send_due(engine, channel, clock=lambda: later) == 1
    assert receiver.calls[0][0]["webhook-id"] == "m1"


class Mailbox:
    """An SMTP server that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        await asyncio.sleep(0)
        return "250 OK"


def test_from_a_stall_to_mail_and_webhook(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    mailbox, port = Mailbox(), processes.free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    mail = f"mailto://127.0.0.1:{port}?from=asu@example.org&to=ops@example.org"
    try:
        with (
            Receiver().running() as receiver,
            Stats.on(
                sqlite_database(request),
                tmp_path / "spool",
                notify=[mail],
                webhooks=[{"url": receiver.url, "secret": SECRET}],
                public_url="https://stats.example.org/",
            ) as stats,
        ):
            ways = channels.of_settings(stats.settings)
            play = Play(stats, channels=[way.key for way in ways])
            assert channels.keys(stats.settings) == play.watch.channels
            play.queue = QueueState(3, 0, (NOW - timedelta(hours=1)).replace(tzinfo=None))
            with Sender(stats.engine, ways, check_seconds=0.05):
                play.go(1)
                wait_for(lambda: mailbox.mails and receiver.calls)
                play.queue = QueueState(0, 0, None)
                play.go(10)
                wait_for(lambda: len(mailbox.mails) == len(receiver.calls) == 2)
    finally:
        controller.stop()

    assert "firing: Queue is stalled" in mailbox.mails[0]["Subject"]
    assert "resolved" in mailbox.mails[1]["Subject"]
    posted = json.loads(receiver.calls[0][1])
    assert posted["type"] == "alert.opened"
    assert posted["data"]["rule"] == "builds_stalled"
    url = f"https://stats.example.org/alerts#{posted['data']['id']}"
    assert posted["data"]["url"] == url
    text = mailbox.mails[0].get_body(("plain",))  # type: ignore[attr-defined]
    assert text.get_content().rstrip().endswith(f"Details: {url}")
    assert posted.keys() == DOCUMENTED.keys()
    assert list(posted["data"]) == list(DOCUMENTED["data"])


def test_addresses_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in ("whsec_", "whsec_abc", base64.b64encode(KEY).decode(), "whsec_" + "A" * 200):
        with pytest.raises(InvalidSettingError, match="expected whsec_"):
            settings(webhooks=[{"url": "https://example.org", "secret": bad}])
    with pytest.raises(InvalidSettingError, match="url"):
        settings(webhooks=[{"url": "file:///etc/passwd", "secret": SECRET}])
    with pytest.raises(InvalidSettingError, match="notify: number 1 is not an Apprise URL"):
        channels.of_settings(settings(notify=["nonsense"]))
    monkeypatch.setenv("ASU_STATS_NOTIFY", '["json://example.org"]')
    assert "example" not in repr(load(database_url="sqlite:///x.db").notify)


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("ops:secret", "ops:secret"),
        ("ops", "ops:"),
        (":secret", ":secret"),
        ("%C3%B6ps:p%40ss%3Aw%2Ford", "öps:p@ss:w/ord"),
        ("ops:p@ss", "ops:p@ss"),
    ],
)
def test_user_and_password_of_an_address_are_basic_authentication(user: str, sent: str) -> None:
    with Receiver().running() as receiver:
        url = receiver.url.replace("://", f"://{user}@")
        channel = hook(url)
        assert channels.send_test(channel, "https://asu.example.org", NOW) is None
        ((headers, body),) = receiver.calls
    assert headers["authorization"] == "Basic " + base64.b64encode(sent.encode()).decode()
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert b"secret" not in body
    assert json.loads(body)["data"]["url"] is None
    assert "ops" not in repr(settings(webhooks=[{"url": url, "secret": SECRET}]).webhooks)


def test_a_test_message_says_what_is_wrong() -> None:
    with Receiver(status=403).running() as receiver:
        said = channels.send_test(hook(receiver.url), "https://asu.example.org", NOW)
        assert said == "status 403"
        receiver.status = 200
        assert channels.send_test(hook(receiver.url), "https://asu.example.org", NOW) is None


def test_the_end_is_not_told_before_the_beginning(engine: Engine) -> None:
    came: list[str] = []
    works = False

    def send(message_id: str, _: object) -> None:
        if not works:
            raise DeliveryError("not now")
        came.append(message_id)

    channel, clock = Channel("c", "c", send), datetime.now(UTC) + timedelta(seconds=1)
    put(engine, channel, "one-opened")
    assert send_due(engine, channel, clock=lambda: clock) == 0
    works = True
    put(engine, channel, "one-closed")
    put(engine, channel, "two-opened")
    send_due(engine, channel, clock=lambda: clock)
    assert came == ["two-opened"]  # an incident does not wait for another
    send_due(engine, channel, clock=lambda: clock + timedelta(minutes=1))
    assert came == ["two-opened", "one-opened", "one-closed"]


def test_the_end_is_tried_for_a_week(sqlite_stats: Stats) -> None:
    def broken(*_: object) -> None:
        raise DeliveryError("not now")

    channel, clock = Channel("c", "c", broken), datetime.now(UTC)
    put(sqlite_stats.engine, channel, "one-closed")
    play = Play(sqlite_stats, now=clock + timedelta(days=6))
    play.go(1)
    assert send_due(sqlite_stats.engine, channel, clock=lambda: play.now) == 0
    assert errors(sqlite_stats.engine) == ["not now"]
    channel = Channel("c", "c", lambda *_: None)
    later = play.now + timedelta(hours=1)
    assert send_due(sqlite_stats.engine, channel, clock=lambda: later) == 1


def test_an_address_that_is_gone_is_given_up(sqlite_stats: Stats) -> None:
    channel = Channel("old", "old", lambda *_: None)
    put(sqlite_stats.engine, channel)
    play = Play(sqlite_stats, now=datetime.now(UTC) + timedelta(days=1))
    play.go(1)
    assert errors(sqlite_stats.engine) == [None]
    play.now += timedelta(days=2)
    play.go(1)
    assert errors(sqlite_stats.engine) == ["the recipient is not in the settings of any server"]
    assert send_due(sqlite_stats.engine, channel) == 0


def test_a_service_that_raises_is_tried_again(engine: Engine) -> None:
    def broken(*_: object) -> None:
        raise DeliveryError("x" * 2000)

    channel = Channel("broken", "broken", broken)
    put(engine, channel)
    send_due(engine, channel)
    assert errors(engine) == ["x" * 500]


def test_a_message_of_a_clock_ahead_is_sent(engine: Engine) -> None:
    with Receiver().running() as receiver:
        channel = hook(receiver.url)
        put(engine, channel)
        with write_transaction(engine) as connection:
            late = (datetime.now(UTC) + timedelta(days=2)).replace(tzinfo=None)
            connection.execute(update(alert_messages).values(created_at=late, next_at=late))
        assert send_due(engine, channel) == 1


def test_a_clock_ahead_gives_up_no_message_for_an_address_in_the_settings(engine: Engine) -> None:
    channel = hook("http://127.0.0.1:1/")
    put(engine, channel)
    with write_transaction(engine) as connection:
        outbox.give_up(connection, [channel.key], datetime.now(UTC) + timedelta(days=900))
    assert errors(engine) == [None]
