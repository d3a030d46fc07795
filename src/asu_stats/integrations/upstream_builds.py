"""Builds of the upstream server: one per execution of an RQ job, with its phases."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final

from rq import Queue
from rq.job import Job
from rq.timeouts import BaseTimeoutException, JobTimeoutException

from asu_stats.emit import Emitter
from asu_stats.events import BuildStatus, new_id
from asu_stats.integrations.reporting import errors_logged
from asu_stats.text import NAME_LENGTH
from asu_stats.times import utc_now

_FIRST_PHASE: Final = "init"
_FINAL: Final = frozenset({"done", "failed"})
_STDERR_CHARACTERS: Final = 8_000
_EXCEPTION_CHARACTERS: Final = 4_000


@dataclass(slots=True)
class Phases:
    """The phases of a build, with the times at which it entered them (`time.monotonic`)."""

    entered: list[tuple[str, float]] = field(default_factory=list)

    def enter(self, phase: object, at: float) -> None:
        """Record that the build is in a phase. The same phase again changes nothing."""
        if isinstance(phase, str) and (not self.entered or self.entered[-1][0] != phase):
            self.entered.append((phase[:NAME_LENGTH], at))

    def seconds(self, ended: float) -> dict[str, float]:
        """Return the seconds per phase of a build that ended at `ended`."""
        seconds: dict[str, float] = {}
        ends = [at for _, at in self.entered[1:]] + [ended]
        for (phase, start), end in zip(self.entered, ends, strict=True):
            if phase not in _FINAL:
                seconds[phase] = round(seconds.get(phase, 0) + max(0.0, end - start), 3)
        return seconds


def names_of(job: Job) -> dict[str, Any]:
    """Return version, target, profile and diff_packages of a job's request, as far as known."""
    request = job.args[0] if job.args else None
    found = {
        name: str(value)[:NAME_LENGTH]
        for name in ("version", "target", "profile")
        if (value := getattr(request, name, None))
    }
    diff_packages = getattr(request, "diff_packages", None)
    return {**found, **({} if diff_packages is None else {"diff_packages": bool(diff_packages)})}


def status_of(error: type[BaseException] | None) -> BuildStatus:
    """Return the status of a build that raised `error`, or ended without an exception."""
    if error is None:
        return "success"
    return "timeout" if issubclass(error, JobTimeoutException) else "failure"


def message_of(meta: Mapping[str, Any], exception: str) -> str:
    """Return the error text: upstream's message, the end of stderr and the end of the traceback.

    If upstream set no message, `detail` still contains a phase and is left out.
    """
    detail, stderr = meta.get("detail"), meta.get("stderr")
    parts = [detail if isinstance(detail, str) and detail not in {"init", "done"} else ""]
    parts.append(stderr[-_STDERR_CHARACTERS:] if isinstance(stderr, str) else "")
    parts.append(exception.strip()[-_EXCEPTION_CHARACTERS:])
    return "\n".join(part for part in parts if part)


def watch_phases(job: Job, enter: Callable[[object, float], None]) -> None:
    """Call `enter` with the phase and the time whenever upstream saves the state of the build."""
    original = job.save_meta
    enter(_FIRST_PHASE, time.monotonic())

    @wraps(original)
    def save_meta(*args: Any, **kwargs: Any) -> Any:
        with errors_logged(BaseTimeoutException):  # raised by a signal, wherever the code is
            enter(job.meta.get("imagebuilder_status"), time.monotonic())
        return original(*args, **kwargs)

    job.save_meta = save_meta  # type: ignore[method-assign]


def observe_sync(emitter: Emitter) -> None:
    """Emit events for jobs that a queue runs within the request (`async_queue = false`).

    Patches `Queue.run_sync`; further calls change nothing.
    """
    original = Queue.run_sync
    if hasattr(original, "asu_stats"):
        return

    @wraps(original)
    def run_sync(self: Queue, job: Job) -> Job:
        build_id, phases = new_id(), Phases()
        with errors_logged():
            emitter.build_started(build_id=build_id, request_hash=job.id, **names_of(job))
            watch_phases(job, phases.enter)
        done = original(self, job)
        with errors_logged():
            ended = time.monotonic()
            failed = done.is_failed
            result = done.latest_result() if failed else None
            exception = (result and result.exc_string) or ""
            timed_out = JobTimeoutException.__name__ in exception
            emitter.build_finished(
                build_id=build_id,
                request_hash=job.id,
                status="timeout" if timed_out else "failure" if failed else "success",
                phases=phases.seconds(ended),
                time=utc_now(),
                **names_of(job),
                **({"error_message": message_of(job.meta, exception)} if failed else {}),
            )
        return done

    run_sync.asu_stats = True  # type: ignore[attr-defined]
    Queue.run_sync = run_sync  # type: ignore[method-assign]
