"""No name can be resolved: events wait on disk, and arrive once DNS is back."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from asu_stats import Emitter
from tests.patience import SECONDS
from tests.recorder.receiver import receiving
from tests.recorder.test_emit import send, until


def test_events_wait_while_names_cannot_be_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, resolve = True, socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "stats.example.org":
            return resolve(host, *arguments, **options)
        if away:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    ids = [str(number) for number in range(20)]
    with (
        receiving() as receiver,
        Emitter(f"http://stats.example.org:{receiver.port}", "secret", tmp_path) as emitter,
    ):
        began = time.monotonic()
        send(emitter, *ids)
        assert time.monotonic() - began < 5
        assert emitter.flush(SECONDS)
        assert emitter.stats()["spooled"] == len(ids)
        assert "name resolution" in str(emitter.stats()["error"])
        away = False
        until(lambda: emitter.stats()["spooled"] == 0)
        assert receiver.order == ids
        assert set(receiver.stored.values()) == {1}
