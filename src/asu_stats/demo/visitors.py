"""Visitors of a running demo: HTTP requests that imitate real clients."""

import heapq
import ipaddress
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any, Final, Self

from asu_stats import urls
from asu_stats.demo import world as worlds
from asu_stats.demo.crowd import Crowd, PlannedRequest
from asu_stats.events import UNKNOWN, split_client
from asu_stats.exceptions import InvalidSettingError
from asu_stats.times import utc_today

_log = logging.getLogger(__name__)

_TIMEOUT_SECONDS: Final = 5.0
_MAX_ANSWER_BYTES: Final = 1 << 20
_FIRST_SECONDS: Final = 0.2
_CALMER: Final = 1.1
_BURST_RATE: Final = 0.05
_BURST: Final = (3, 8)
_BURST_SECONDS: Final = 3.0
_MISTAKE_RATE: Final = 0.03
_MISTAKES: Final[tuple[Callable[[PlannedRequest], PlannedRequest], ...]] = (
    partial(replace, version="25.12.9"),
    partial(replace, version="18.06.9"),
    partial(replace, target="ipq807x/generics"),
    partial(replace, profile="tplink_archer-c99-v1"),
)
_MAX_POLLS: Final = 240
_OVERLOADED: Final = 529


@dataclass(frozen=True, slots=True)
class PollingBehaviour:
    """How a client polls: interval, method, and whether it gives up after a rejection."""

    poll_seconds: float = 5.0
    method: str = "GET"
    posts_again: bool = False


HABITS: Final = {
    "luci": PollingBehaviour(posts_again=True),
    "owut": PollingBehaviour(poll_seconds=2.0, method="HEAD"),
}
_USUAL: Final = PollingBehaviour()


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: Mapping[str, Any]


class Visitors:
    """A thread that requests images from the build service at `base_url` until it is stopped.

    One visitor comes every `mean_seconds` on average, sometimes several at once. With
    `calm_seconds` the pauses grow by a tenth each, up to that length. The thread continues whatever
    the server responds. Raises `InvalidSettingError` if the server is not on this machine: a demo
    must not load other servers.
    """

    def __init__(
        self,
        base_url: str,
        *,
        mean_seconds: float = 4.0,
        calm_seconds: float | None = None,
        seed: int = 0,
        stopped: threading.Event | None = None,
        today: Callable[[], date] = utc_today,
    ) -> None:
        self._host, self._port, self._path = _loopback(base_url)
        self._mean_seconds = mean_seconds
        self._calm_seconds = max(mean_seconds, calm_seconds or 0.0)
        self._chance = random.Random(f"visitors {seed}")  # noqa: S311 - a simulation
        self._crowd = Crowd(worlds.load(), seed=seed, remembered=200)
        self._stopped = stopped or threading.Event()
        self._today = today
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0
        self._thread = threading.Thread(target=self._run, name="demo-visitors", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout: float = _TIMEOUT_SECONDS) -> None:
        """Start no more visits; wait at most `timeout` seconds for the current ones."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # The thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        self._plan(_FIRST_SECONDS, self._arrive)
        while self._plans and not self._stopped.is_set():
            wait = self._plans[0][0] - time.monotonic()
            if wait > 0:
                self._stopped.wait(wait)
                continue
            _, _, act = heapq.heappop(self._plans)
            try:
                act()
            except Exception:  # no response may end the demo
                _log.exception("demo: unexpected error of a visitor")

    def _plan(self, seconds: float, act: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._plans, (time.monotonic() + seconds, self._planned, act))

    def _arrive(self) -> None:
        """Start one or more visits, and schedule the next."""
        chance = self._chance
        self._plan(chance.expovariate(1 / self._mean_seconds), self._arrive)
        self._mean_seconds = min(self._calm_seconds, self._mean_seconds * _CALMER)
        burst = chance.random() < _BURST_RATE
        for _ in range(chance.randint(*_BURST) if burst else 1):
            planned = self._crowd.plan(self._today())
            if chance.random() < _MISTAKE_RATE:
                planned = chance.choice(_MISTAKES)(planned)
            self._plan(
                chance.uniform(0, _BURST_SECONDS) if burst else 0, partial(self._post, planned)
            )

    def _post(self, planned: PlannedRequest, tries: int = 0) -> None:
        """Request an image."""
        reply = self._send("POST", "/api/v1/build", **sent_as(planned))
        habit = HABITS.get(split_client(planned.client)[0], _USUAL)
        if reply is None:
            return
        if reply.status == _OVERLOADED and habit.posts_again and tries < _MAX_POLLS:
            self._plan(habit.poll_seconds, partial(self._post, planned, tries + 1))
        request_hash = reply.body.get("request_hash")
        if reply.status == 202 and isinstance(request_hash, str) and request_hash.isalnum():
            self._plan(habit.poll_seconds, partial(self._poll, habit, request_hash))

    def _poll(self, habit: PollingBehaviour, request_hash: str, polls: int = 1) -> None:
        """Request the state of a build, and schedule the next poll if it has not ended."""
        reply = self._send(habit.method, f"/api/v1/build/{request_hash}")
        if reply and reply.status == 202 and polls < _MAX_POLLS:
            self._plan(habit.poll_seconds, partial(self._poll, habit, request_hash, polls + 1))

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Reply | None:
        """Return the response of the server, `None` without one."""
        connection = HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(method, self._path + path, body, dict(headers or {}))
            response = connection.getresponse()
            text = response.read(_MAX_ANSWER_BYTES)
        except (OSError, HTTPException) as error:
            _log.debug("demo: no response to %s %s: %s", method, path, error)
            return None
        finally:
            connection.close()
        return _Reply(response.status, _members(text))


def sent_as(planned: PlannedRequest) -> dict[str, Any]:
    """Return body and headers of a request as its client sends it."""
    name, version = split_client(planned.client)
    body: dict[str, Any] = {
        "version": planned.version,
        "target": planned.target,
        "profile": planned.profile,
        "packages": list(planned.packages),
        "diff_packages": planned.diff_packages,
    }
    if planned.rootfs_size_mb:
        body["rootfs_size_mb"] = planned.rootfs_size_mb
    headers = {"Content-Type": "application/json"}
    if name == "auc":  # identifies itself only in the header
        headers["User-Agent"] = f"auc ({version})"
    elif name != UNKNOWN:
        body["client"] = planned.client
    return {"body": json.dumps(body).encode(), "headers": headers}


def _members(text: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _loopback(base_url: str) -> tuple[str, int, str]:
    """Return host, port and path prefix of a server on this machine."""
    expected = "an address on this machine such as http://127.0.0.1:8000"
    url = urls.parse(base_url, ("http",))
    if url is None or not _is_loopback(url.origin.host):
        raise InvalidSettingError(f"visitors: {base_url!r}: expected {expected}")
    return url.origin.host, url.origin.port, url.parts.path.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
