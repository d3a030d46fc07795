"""The emitter: events arrive once, whatever network and server do."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any

import pytest

from asu_stats import emit
from asu_stats.emit import Emitter
from asu_stats.exceptions import InvalidSettingError
from tests.patience import SECONDS
from tests.recorder.receiver import Answer, Receiver, receiving, refusal

OK: Answer = (200, {}, {})


def send(emitter: Emitter, *ids: str) -> None:
    for number in ids:
        emitter.request(
            id=number,
            request_hash=f"hash-{number}",
            outcome="queued",
            version="24.10.2",
            target="ath79/generic",
            profile="tplink_archer-c7-v5",
            diff_packages=True,
            client="luci/1",
        )


def until(condition: Any, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def emitter(receiver: Receiver, tmp_path: Path) -> Iterator[Emitter]:
    with Emitter(receiver.url, "secret", tmp_path, source="https://asu.example.org") as started:
        yield started


def test_events_arrive_in_order_and_in_batches(emitter: Emitter, receiver: Receiver) -> None:
    ids = [str(number) for number in range(300)]
    send(emitter, *ids)
    emitter.build_started(id="start", build_id="b", request_hash="hash-0", worker_id="w1")
    emitter.build_finished(
        id="end", build_id="b", request_hash="hash-0", status="success", phases={"init": 0.5}
    )

    assert emitter.flush(SECONDS)
    assert receiver.order == [*ids, "start", "end"]
    assert receiver.calls < 100
    assert receiver.tokens == {"Bearer secret"}
    assert emitter.stats() == {
        "waiting": 0,
        "spooled": 0,
        "sent": 302,
        "dead_lettered": 0,
        "lost": 0,
        "invalid": 0,
        "error": None,
    }


def test_the_counts_of_a_closed_emitter_stay(receiver: Receiver, tmp_path: Path) -> None:
    emitter = Emitter(receiver.url, "secret", tmp_path)
    send(emitter, "1", "2")
    emitter.close()
    assert emitter.stats()["sent"] == 2
    receiver.answer = lambda _: None
    send(emitter, "3")
    emitter.close()
    stats = emitter.stats()
    assert (stats["sent"], stats["spooled"], stats["lost"]) == (2, 1, 0)


def test_nothing_starts_before_the_first_event(tmp_path: Path) -> None:
    directory = tmp_path / "spool"

    with Emitter("http://127.0.0.1:9", "secret", directory) as emitter:
        assert emitter.flush(SECONDS)
        assert emitter.stats()["error"] is None
    assert not directory.exists()


@pytest.mark.parametrize("url", ["", "ftp://host", "http://", "host:80", "http://host/?a=b"])
def test_a_url_that_cannot_work_is_refused_at_once(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="url"):
        Emitter(url, "secret", tmp_path)


def test_an_invalid_event_is_counted_and_never_sent(emitter: Emitter, receiver: Receiver) -> None:
    send(emitter, "good")
    emitter.build_finished(build_id="b", request_hash="h", status="exploded")  # type: ignore[arg-type]
    emitter.build_started(build_id="", request_hash="h")
    emitter.build_started(build_id=None, request_hash=object())  # type: ignore[arg-type]

    assert emitter.flush(SECONDS)
    assert emitter.stats()["invalid"] == 3
    assert receiver.order == ["good"]


def test_a_server_that_is_down_gets_the_events_when_it_is_back(tmp_path: Path) -> None:
    with receiving() as receiver:
        pass  # its port is free now
    ids = [str(number) for number in range(50)]

    with Emitter(receiver.url, "secret", tmp_path) as emitter:
        began = time.monotonic()
        send(emitter, *ids[:25])
        assert time.monotonic() - began < 5
        assert emitter.flush(SECONDS)
        assert emitter.stats()["spooled"] == 25
        assert emitter.stats()["error"]
        with receiving(receiver):
            send(emitter, *ids[25:])
            until(lambda: len(receiver.stored) == 50)
            assert emitter.flush(SECONDS)
        assert receiver.order == ids
        assert emitter.stats()["spooled"] == 0


def test_an_event_that_the_server_refuses_is_set_aside_alone(
    emitter: Emitter, receiver: Receiver, tmp_path: Path
) -> None:
    def answer(events: list[dict[str, Any]]) -> Answer:
        bad = [place for place, event in enumerate(events) if event["id"] in {"3", "7"}]
        return refusal(bad[0]) if bad else OK

    receiver.answer = answer
    send(emitter, *map(str, range(10)))

    assert emitter.flush(SECONDS)
    until(lambda: len(receiver.stored) == 8)
    assert set(receiver.stored) == set("01245689")
    assert emitter.stats()["dead_lettered"] == 2
    (letters,) = tmp_path.glob("dead-letter*")
    assert len(letters.read_text().splitlines()) == 2


def test_a_batch_that_is_too_large_is_halved(emitter: Emitter, receiver: Receiver) -> None:
    receiver.answer = lambda events: (413, {}, {}) if len(events) > 3 else OK
    ids = [str(number) for number in range(20)]
    send(emitter, *ids)

    assert emitter.flush(SECONDS)
    until(lambda: len(receiver.stored) == 20)
    assert set(receiver.stored.values()) == {1}


def test_retry_after_is_honoured(emitter: Emitter, receiver: Receiver) -> None:
    first: list[Answer] = [(429, {"Retry-After": "1"}, {})]
    answers = chain(first, repeat(OK))
    times: list[float] = []

    def answer(_: list[dict[str, Any]]) -> Answer:
        times.append(time.monotonic())
        return next(answers)

    receiver.answer = answer
    send(emitter, "1")

    until(lambda: receiver.stored)
    assert times[1] - times[0] >= 1


@pytest.mark.parametrize("status", [401, 403, 404, 415, 425, 500, 503])
def test_a_refusal_of_everything_keeps_everything(
    emitter: Emitter, receiver: Receiver, status: int
) -> None:
    receiver.answer = lambda _: (status, {}, {"detail": "not now"})
    send(emitter, "1", "2")

    assert emitter.flush(SECONDS)
    assert emitter.stats()["spooled"] == 2
    assert str(status) in str(emitter.stats()["error"])
    receiver.answer = lambda _: OK
    until(lambda: receiver.order == ["1", "2"])


def test_a_server_that_never_answers_holds_nobody(tmp_path: Path) -> None:
    with receiving() as receiver:
        answered = threading.Event()
        receiver.answer = lambda _: None if answered.wait(SECONDS) else OK
        with Emitter(receiver.url, "secret", tmp_path) as emitter:
            send(emitter, "1", "2", "3")
            until(lambda: receiver.calls)
            send(emitter, "4")
            assert not receiver.stored
            receiver.answer = lambda _: OK
            answered.set()
            until(lambda: len(receiver.stored) == 4)


def test_each_of_many_events_arrives_once_through_many_faults(tmp_path: Path) -> None:
    faults: list[Answer] = [
        OK,
        (500, {}, {}),
        None,
        OK,
        (429, {"Retry-After": "0"}, {}),
        (503, {}, "not an object"),
        OK,
        (200, {}, {}),
    ]
    with receiving() as receiver:
        answers = cycle(faults)
        receiver.answer = lambda _: next(answers)
        ids = [str(number) for number in range(400)]
        with Emitter(receiver.url, "secret", tmp_path) as emitter:
            for number in ids:
                send(emitter, number)
                if random.random() < 0.1:
                    time.sleep(0.01)
            until(lambda: len(receiver.stored) == len(ids))
            assert emitter.stats()["lost"] == 0


def test_the_spool_is_bounded_and_says_so(tmp_path: Path) -> None:
    with Emitter("http://127.0.0.1:9", "secret", tmp_path, spool_bytes=2_000) as emitter:
        send(emitter, *map(str, range(100)))
        assert not emitter.flush()
        stats = emitter.stats()
    assert isinstance(stats["lost"], int)
    assert isinstance(stats["spooled"], int)
    assert stats["lost"] + stats["spooled"] == 100
    assert stats["lost"] > 50


def test_a_spool_that_cannot_be_written_breaks_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    with Emitter("http://127.0.0.1:9", "secret", blocked / "spool") as emitter:
        send(emitter, "1", "2")
        assert emitter.stats()["lost"] == 2


def test_parent_and_child_of_a_fork_go_on_apart(emitter: Emitter, receiver: Receiver) -> None:
    send(emitter, "before")
    assert emitter.flush(SECONDS)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            send(emitter, "child")
            code = 0 if emitter.flush(120) and emitter.stats()["sent"] == 1 else 2
        finally:
            os._exit(code)
    send(emitter, "parent")

    assert emitter.flush(SECONDS)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert set(receiver.stored) == {"before", "child", "parent"}


_SENDER = """
import sys
import threading
from asu_stats import emit
from asu_stats.emit import Emitter
emitter = Emitter(sys.argv[1], "secret", sys.argv[2], source="https://asu.example.org")
for batch in range(1_000_000):
    for number in range(5):
        name = f"{batch}-{number}"
        emitter.build_started(id=name, build_id=name, request_hash="h")
    if emitter.flush(10):
        print(batch, flush=True)
"""


@pytest.mark.crash
def test_kill_9_loses_nothing_that_flush_confirmed(tmp_path: Path) -> None:
    confirmed: set[str] = set()
    rounds = int(os.environ.get("KILLS", "6"))
    with receiving() as receiver:
        answers: list[Answer] = [OK, OK, (503, {}, {}), OK, None]
        faults = cycle(answers)
        receiver.answer = lambda _: next(faults)
        for number in range(rounds):
            sent = f"{number}"
            script = _SENDER.replace('f"{batch}', f'f"{sent}-{{batch}}')
            sender = subprocess.Popen(
                [sys.executable, "-c", script, receiver.url, str(tmp_path)], stdout=subprocess.PIPE
            )
            assert sender.stdout is not None
            first = b"".join(sender.stdout.readline() for _ in range(3))  # however slow its start
            time.sleep(random.random() * 0.7)
            sender.send_signal(signal.SIGKILL)
            printed, _ = sender.communicate()
            batches = [line for line in (first + printed).decode().split("\n")[:-1] if line]
            confirmed |= {f"{sent}-{batch}-{n}" for batch in batches for n in range(5)}
        receiver.answer = lambda _: OK
        with Emitter(receiver.url, "secret", tmp_path) as emitter:
            send(emitter, "last")
            until(lambda: confirmed <= set(receiver.stored))
    assert len(confirmed) > 10 * rounds


def test_the_emitter_needs_the_standard_library_only() -> None:
    script = (
        "import sys, asu_stats.emit; "
        "print({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    with_nothing = subprocess.run(
        [sys.executable, "-c", script.replace(", asu_stats.emit", "")],
        capture_output=True,
        check=True,
    )

    added = eval(loaded.stdout) - eval(with_nothing.stdout)  # noqa: S307 - our own output
    assert added == {"asu_stats"}


def test_importing_the_emitter_imports_no_slow_module() -> None:
    script = "import sys, asu_stats.emit; print(*sys.modules)"
    imported = subprocess.check_output([sys.executable, "-c", script], text=True).split()

    assert "asu_stats.emit" in imported
    slow = {"http.client", "email", "ssl", "socket", "asyncio", "random", "hashlib", "uuid"}
    assert not slow & {*imported}
    assert not [name for name in imported if name.startswith("asu_stats.error_")]


def test_builds_do_not_wait_for_requests_to_share_their_batch(
    emitter: Emitter, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests gather: a call costs no lock, no check and no wake-up of a thread."""
    monkeypatch.setattr(emit, "_GATHER_SECONDS", 5 * SECONDS)
    send(emitter, "1", "2")
    assert not receiver.order
    emitter.build_started(id="start", build_id="b", request_hash="hash-1")

    until(lambda: receiver.order == ["1", "2", "start"])
    assert receiver.calls == 1


def test_what_is_passed_may_change_after_the_call(emitter: Emitter, receiver: Receiver) -> None:
    packages = ["luci"]
    seen: list[Any] = []

    def answer(events: list[dict[str, Any]]) -> Answer:
        seen.extend(events)
        return OK

    receiver.answer = answer
    emitter.request(
        request_hash="h",
        outcome="queued",
        version="24.10.2",
        target="x86/64",
        profile="generic",
        diff_packages=False,
        packages=packages,
    )
    packages.append("later")

    assert emitter.flush(SECONDS)
    assert seen[0]["data"]["packages"] == ["luci"]


def test_more_than_memory_may_hold_goes_to_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emit, "_QUEUE_EVENTS", 100)
    with receiving() as receiver:
        held = threading.Event()
        receiver.answer = lambda _: OK if held.wait(SECONDS) else None
        with Emitter(receiver.url, "secret", tmp_path) as emitter:
            send(emitter, "first")
            emitter.build_started(id="start", build_id="b", request_hash="h")
            until(lambda: receiver.calls)
            send(emitter, *map(str, range(150)))
            assert emitter.stats()["spooled"] == 50
            assert emitter.stats()["waiting"] == 102
            held.set()
            assert emitter.flush(60)
            until(lambda: len(receiver.stored) == 152)
            assert emitter.stats()["lost"] == 0


def test_many_threads_may_add_and_close(emitter: Emitter, receiver: Receiver) -> None:
    def add(number: int) -> None:
        for place in range(200):
            send(emitter, f"{number}-{place}")
            if place == 50 * number:
                emitter.close()

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert emitter.flush(SECONDS)
    until(lambda: len(receiver.stored) == 800)
