"""Imports builds of the upstream server from the results that RQ keeps in Redis.

RQ keeps a result per execution of a job for at least 30 minutes: start, end, and the text of a
failure. Pickled values (arguments, metadata, return values) are never unpickled, because that could
run any code; `rq_arguments` reads the request without unpickling.
"""

import base64
import binascii
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

from asu_stats import cloudevents
from asu_stats.event_times import Acceptable
from asu_stats.events import BuildStatus
from asu_stats.exceptions import ForeignDataError, InvalidEventError
from asu_stats.importers import rq_arguments
from asu_stats.importers.report import Rejected, Summary
from asu_stats.importers.sending import Sender
from asu_stats.text import stored_name

BUILD_ID: Final = "rq:"  # the plug-in for the upstream server uses the same prefix
_QUEUE: Final = "default"
_TEXT_BYTES: Final = 64 << 10
_SUCCESSFUL: Final = "1"
_REPEATED: Final = ("version", "target", "profile", "diff_packages")


_Entry: TypeAlias = tuple[int, int]
_NOTHING: Final = (0, 0)
# The score of a job is a time in whole seconds, so it may be equal after one more execution.
_UNSURE_SECONDS: Final = 3.0


class _JobState(NamedTuple):
    """State of a job: its score in the registry, since when, and its last result."""

    score: float
    since: float
    last: _Entry


class RqBuilds:
    """The results and running executions of a queue; each is sent once while this object lives.

    Builds that ended at or before `after` are left out. With `requests` each execution is also sent
    as the request that queued it. Raises `ForeignDataError` if Redis cannot be read.
    """

    def __init__(
        self,
        client: Any,
        place: str,
        summary: Summary,
        rejected: Rejected,
        acceptable: Callable[[], Acceptable],
        *,
        after: datetime | None = None,
    ) -> None:
        self._client = client
        self._place = place
        self._summary = summary
        self._rejected = rejected
        self._acceptable = acceptable
        self._after = after
        self._source = f"urn:asu-stats:rq:{blake2b(place.encode(), digest_size=12).hexdigest()}"
        self._seen: dict[str, _JobState] = {}
        self._started: set[str] = set()

    def read(self, sender: Sender, *, requests: bool) -> None:
        """Send new results and running executions."""
        self._summary.source = self._summary.source or self._source
        with self._translating_errors():
            self._read_started(sender)
            seen: dict[str, _JobState] = {}
            for registry in ("finished", "failed"):
                members = self._client.zrange(f"rq:{registry}:{_QUEUE}", 0, -1, withscores=True)
                for member, score in members:
                    job, now = _text(member), time.monotonic()
                    known = self._seen.get(job)
                    if known is None or known.score != score:
                        known = _JobState(score, now, known.last if known else _NOTHING)
                    if now - known.since <= _UNSURE_SECONDS:
                        last = self._read_job(job, known.last, sender, requests=requests)
                        known = known._replace(last=last)
                    seen[job] = known
            self._seen = seen
        sender.flush()

    def _read_started(self, sender: Sender) -> None:
        running = {_text(member) for member in self._client.zrange(f"rq:wip:{_QUEUE}", 0, -1)}
        for member in sorted(running - self._started):
            job, _, execution = member.partition(":")
            began = self._client.hget(f"rq:execution:{member}", "created_at")
            if execution and began and self._is_new(moment := _moment(began)):
                data = {"build_id": build_id(execution), "request_hash": job, **self._names(job)}
                self._send(sender, "build.started", f"{execution}:started", moment, data)
        self._started = running

    def _read_job(self, job: str, last: _Entry, sender: Sender, *, requests: bool) -> _Entry:
        """Send the results of a job after `last`. Return its last result."""
        results = self._client.xrange(f"rq:results:{job}")
        new = [(entry, payload) for entry, payload in results if _entry(entry) > last]
        if not new:
            return last
        names = self._names(job)
        for entry, payload in new:
            said = {_text(name): value for name, value in payload.items()}
            execution = _text(said.get("execution_id", b"")) or _text(entry)
            ended = _moment(said.get("execution_ended_at") or _millis(_text(entry)))
            if not self._is_new(ended):
                continue
            key, ids = f"{execution}:finished", {"build_id": build_id(execution)}
            if began := said.get("execution_started_at"):
                started = {**ids, "request_hash": job, **names}
                moment = _moment(began)
                self._send(sender, "build.started", f"{execution}:started", moment, started)
            error = _exception(said.get("exc_string", b""))
            status = _status(_text(said.get("type", b"")), error)
            data = {**ids, "request_hash": job, "status": status, **names}
            if worker := _text(said.get("worker_name", b"")):
                data["worker_id"] = stored_name(worker)
            if status != "success":
                data["error_message"] = error
            self._send(sender, "build.finished", key, ended, data)
        if requests and names:
            self._read_request(job, sender)
        return _entry(new[-1][0])

    def _read_request(self, job: str, sender: Sender) -> None:
        """Send the request that queued a job. Only the last one is known."""
        queued = _text(self._client.hget(f"rq:job:{job}", "enqueued_at") or b"")
        try:
            moment = datetime.fromisoformat(queued)
        except ValueError:
            return
        if self._is_new(moment):
            arguments = rq_arguments.request(self._data(job))
            data = {"request_hash": job, "outcome": "queued", **arguments}
            self._send(sender, "request.received", f"{job}:{queued}", moment, data)

    def _names(self, job: str) -> dict[str, Any]:
        """Return the request fields that build events repeat, if the job has them."""
        said = rq_arguments.request(self._data(job))
        return {name: said[name] for name in _REPEATED if name in said}

    def _data(self, job: str) -> bytes:
        return bytes(self._client.hget(f"rq:job:{job}", "data") or b"")

    def _is_new(self, moment: datetime) -> bool:
        return self._after is None or moment > self._after

    def _send(
        self, sender: Sender, kind: str, key: str, moment: datetime, data: dict[str, Any]
    ) -> None:
        summary = self._summary
        try:
            self._acceptable().check(moment)
            event = cloudevents.new(kind, source=self._source, id=key, time=moment, data=data)
        except InvalidEventError as error:
            summary.rejected += 1
            self._rejected.put({"id": key, **data}, str(error), imported=False)
            return
        summary.rows += 1
        summary.kinds[kind] += 1
        summary.extend(moment)
        sender.send([event])

    @contextmanager
    def _translating_errors(self) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise ForeignDataError(self._place, str(error)) from error


def build_id(execution: str) -> str:
    """Return the build id of an execution."""
    return f"{BUILD_ID}{execution}"


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _entry(value: bytes | str) -> _Entry:
    milliseconds, _, number = _text(value).partition("-")
    return int(milliseconds), int(number or 0)


def _millis(entry: str) -> str:
    return f"{int(entry.partition('-')[0]) / 1000}"


def _moment(seconds: bytes | str) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def _exception(value: bytes | str) -> str:
    """Return the text of a failure, which RQ compresses; at most 64 KiB are decompressed."""
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(value), _TEXT_BYTES)
    except (binascii.Error, zlib.error, ValueError):
        return ""
    return data.decode("utf-8", "replace").strip()


def _status(kind: str, error: str) -> BuildStatus:
    if kind == _SUCCESSFUL:
        return "success"
    if "stopped by user" in error:
        return "cancelled"
    return "timeout" if "JobTimeoutException" in error else "failure"
