"""Send events of another build server to asu-stats: the emitter that integrators use.

    from asu_stats import Emitter

    with Emitter("https://stats.example.org", token, "/var/spool/asu-stats") as emitter:
        emitter.request(request_hash=…, outcome="queued", version="24.10.2", …)

An emitter is a recorder whose store is another server. It never raises into the caller and never
waits for the network. Events are checked and sent in the background, in batches; a request event
waits at most one second for others to share its batch. While the server is unreachable, events wait
in the spool directory. Standard library only.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from asu_stats import cloudevents
from asu_stats.events import BuildStatus, Event, Outcome
from asu_stats.exceptions import InvalidEventError
from asu_stats.http_client import server_of
from asu_stats.logs import Condition
from asu_stats.recorder.recorder import Counters, Recorder
from asu_stats.recorder.remote import HttpSink
from asu_stats.recorder.spool import Spool
from asu_stats.times import utc_now

__all__ = ["Emitter"]

log = logging.getLogger(__name__)

_QUEUE_EVENTS: Final = 10_000
_BATCH_EVENTS: Final = 500
_LONGEST_PAUSE: Final = 30.0
# A call per event would cost the sender more than everything else about the event. Events of builds
# are few and do not wait. For requests, doubling this saves a fifth of the processor time of each.
_GATHER_SECONDS: Final = 1.0


class Emitter:
    """Sends the events of this process to the asu-stats server at `url`.

    `token` has the scope `ingest`. `source` is the absolute URI of the sender (default: made from
    the host name); it must stay the same over restarts. The spool holds at most `spool_bytes`.

    A call blocks only to write the spool, if the queue in memory is full.

    Threads may share an emitter. After a fork, parent and child continue with separate queues and
    spool files; nothing is started before the first event of a process.

    Raises `InvalidSettingError` for a URL that can't be used; no other method raises.
    """

    def __init__(
        self,
        url: str,
        token: str,
        spool_directory: str | os.PathLike[str],
        *,
        source: str | None = None,
        spool_bytes: int = 64 << 20,
    ) -> None:
        server_of(url, name="url")  # raises for a bad URL here rather than at the first event
        self._url, self._token = url, token
        self._directory = Path(spool_directory)
        self._source = source or _default_source()
        self._spool_bytes = spool_bytes
        self._invalid = Condition(log, "emitter: an event is invalid")
        self._broken = Condition(log, "emitter: events are being lost")
        self._lock = threading.Lock()
        self._running: tuple[Recorder, HttpSink] | None = None
        self._earlier = Counters()  # of recorders that are closed
        self._refused = self._lost = self._left = 0
        _EMITTERS.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self,
        *,
        request_hash: str | None,
        outcome: Outcome,
        version: str,
        target: str,
        profile: str,
        diff_packages: bool,
        time: datetime | None = None,
        id: str = "",  # noqa: A002 - the attribute's name in CloudEvents
        **optional: Any,
    ) -> None:
        """Send the event of a received build request. Only a rejected request may lack a hash.

        `time` is the time of the event (default: now), `id` an identity that must stay the same if
        the event is sent again (default: a new one). `optional` are further members of the event's
        data, such as `client`, `packages`, `error_message`: see docs/reference/events.md.
        """
        data = {
            "request_hash": request_hash,
            "outcome": outcome,
            "version": version,
            "target": target,
            "profile": profile,
            "diff_packages": diff_packages,
            **optional,
        }
        if isinstance(packages := optional.get("packages"), list):
            data["packages"] = packages.copy()
        self._emit("request.received", data, time, id)

    def build_started(
        self,
        *,
        build_id: str,
        request_hash: str,
        time: datetime | None = None,
        id: str = "",  # noqa: A002
        **optional: Any,
    ) -> None:
        """Send the event of a started build. `build_id` names this one build, not its hash."""
        data = {"build_id": build_id, "request_hash": request_hash, **optional}
        self._emit("build.started", data, time, id)

    def build_finished(
        self,
        *,
        build_id: str,
        request_hash: str,
        status: BuildStatus,
        phases: Mapping[str, float] | None = None,
        time: datetime | None = None,
        id: str = "",  # noqa: A002
        **optional: Any,
    ) -> None:
        """Send the event of a finished build. `phases` are its phases in seconds."""
        data = {"build_id": build_id, "request_hash": request_hash, "status": status, **optional}
        if phases:
            data["phases"] = dict(phases)
        self._emit("build.finished", data, time, id)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every event so far is on the server or in the spool; return whether it is."""
        running = self._running
        return running is None or running[0].flush(timeout)

    def close(self) -> None:
        """Send or spool pending events, and stop. A later event starts the emitter again."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            recorder, sink = running
            recorder.close()
            sink.close()
            self._earlier += recorder.counters
            self._left = recorder.spooled

    def stats(self) -> dict[str, int | str | None]:
        """Return counts of the events of this process.

        `waiting` in memory, `spooled` in this process's spool file, `sent`, `dead_lettered` (the
        server rejects them for good), `lost` (neither memory nor spool had room), `invalid` (never
        sent), and the `error` that the server or the network reports now.
        """
        recorder = self._running[0] if self._running else None
        counters = self._earlier + (recorder.counters if recorder else Counters())
        return {
            "waiting": recorder.waiting if recorder else 0,
            "spooled": recorder.spooled if recorder else self._left,
            "sent": counters.written,
            "dead_lettered": counters.dead_lettered,
            "lost": counters.lost + self._lost,
            "invalid": self._refused,
            "error": recorder.failure if recorder else None,
        }

    def _emit(
        self, event_type: str, data: Mapping[str, Any], time: datetime | None, event_id: str
    ) -> None:
        """Record an event that is checked and encoded in the background."""
        make = partial(self._event, event_type, data, time or utc_now(), event_id)
        self._later(make, hurry=event_type != "request.received")

    def _later(self, make: Callable[[], Event | None], *, hurry: bool = False) -> None:
        try:
            running = self._running or self._start()
            running[0].record_later(make, hurry=hurry)
        except Exception as error:  # statistics must not break a build
            self._lost += 1
            self._broken.failed(error)

    def _event(
        self, event_type: str, data: Mapping[str, Any], time: datetime, event_id: str
    ) -> Event | None:
        """Return an event, `None` if it is invalid."""
        try:
            return cloudevents.new(
                event_type, source=self._source, time=time, data=data, id=event_id
            )
        except (InvalidEventError, AttributeError, TypeError, ValueError) as error:
            self._refused += 1
            self._invalid.failed(error)
            return None

    def _read(self, read: Callable[[], Mapping[str, Any] | None]) -> Event | None:
        """Return the event of `request_later`."""
        found = read()
        if found is None:
            return None
        data = dict(found)
        return self._event("request.received", data, data.pop("time"), data.pop("id", ""))

    def _start(self) -> tuple[Recorder, HttpSink]:
        """Return the recorder of this process and its sink; the first call starts it."""
        with self._lock:
            if self._running is None:
                spool = Spool(self._directory, limit_bytes=self._spool_bytes, reserve_bytes=0)
                sink = HttpSink(self._url, self._token)
                recorder = Recorder(
                    sink,
                    spool,
                    probe=sink.probe,
                    queue_events=_QUEUE_EVENTS,
                    batch_events=_BATCH_EVENTS,
                    longest_pause=_LONGEST_PAUSE,
                    in_order=True,
                    gather_seconds=_GATHER_SECONDS,
                )
                self._running = recorder, sink
            return self._running

    def _forked(self) -> None:
        """Reset the emitter in a forked process: threads and spool belong to the parent."""
        running, self._running = self._running, None
        self._lock = threading.Lock()
        self._earlier = Counters()
        self._refused = self._lost = self._left = 0
        if running is not None:
            recorder, sink = running
            recorder.abandon()
            sink.close()


def request_later(emitter: Emitter, read: Callable[[], Mapping[str, Any] | None]) -> None:
    """Send a request event like `Emitter.request`, with the arguments that `read` returns, if any.

    For plug-ins: the background thread calls `read`, so it delays no response. `time` is required.
    The plug-in must report exceptions in `read`; the event counts as lost.
    """
    emitter._later(partial(emitter._read, read))


def _default_source() -> str:
    from socket import getfqdn

    return f"http://{getfqdn() or 'localhost'}"


_EMITTERS: "weakref.WeakSet[Emitter]" = weakref.WeakSet()


def _after_fork() -> None:
    for emitter in tuple(_EMITTERS):
        emitter._forked()


os.register_at_fork(after_in_child=_after_fork)
