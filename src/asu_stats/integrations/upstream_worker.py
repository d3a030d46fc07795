"""An RQ worker for the upstream server that emits events: each execution of a job is a build.

RQ forks a "work horse" process for each job. The horse writes observations to a pipe. When it has
ended, the worker reads them and emits the events. So no build waits for the network, and the
observations of a killed horse are not lost. RQ 3.0 passes more arguments than 2.x, so overridden
methods pass on all arguments.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from rq import Worker
from rq.exceptions import AbandonedJobError
from rq.job import Job, JobStatus
from rq.timeouts import BaseTimeoutException

from asu_stats.events import BuildStatus, new_id
from asu_stats.integrations.reporting import emitter, errors_logged
from asu_stats.integrations.upstream_builds import (
    Phases,
    message_of,
    names_of,
    status_of,
    watch_phases,
)
from asu_stats.times import utc_now

BUILD_ID: Final = "rq:"  # prefix; the id of the execution follows
_CHUNK: Final = 1 << 16
_NO_RESULT: Final = "the work horse ended without a result"
_KILLED: Final = "Work-horse terminated unexpectedly; waitpid returned {}"  # as in RQ
_STATUSES: Final[Mapping[JobStatus, BuildStatus]] = {
    JobStatus.FINISHED: "success",
    JobStatus.FAILED: "failure",
    JobStatus.STOPPED: "cancelled",
}


@dataclass(slots=True)
class ObservedBuild:
    """One execution of a job: observations of the worker and its work horse."""

    build_id: str
    reader: int
    writer: int
    phases: Phases = field(default_factory=Phases)
    status: BuildStatus | None = None
    ended_at: datetime | None = None
    ended: float = 0.0
    error: str = ""
    names: dict[str, Any] = field(default_factory=dict)
    wait_status: int = 0  # of the work horse, from waitpid(2)

    def send(self, **message: Any) -> None:
        """Send an observation from the work horse to the worker, without blocking."""
        os.write(self.writer, json.dumps(message).encode() + b"\n")

    def collect(self) -> None:
        """Read the messages of the work horse. A status that the worker recorded has priority."""
        text = b""
        while chunk := _read(self.reader):
            text += chunk
        for line in text.splitlines():
            message = json.loads(line)
            if "phase" in message:
                self.phases.enter(message["phase"], message["at"])
            elif "names" in message:
                self.names = message["names"]
            elif self.status is None:
                self.status, self.error = message["status"], message["error"]
                self.ended = message["at"]
                self.ended_at = datetime.fromtimestamp(message["time"], UTC)

    def end(self, status: BuildStatus, error: str = "") -> None:
        """Record in the worker that the execution ends now."""
        self.status, self.error = status, error
        self.ended, self.ended_at = time.monotonic(), utc_now()

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, _CHUNK)
    except BlockingIOError:
        return b""


class StatsWorker(Worker):
    """An RQ worker that emits the start and the end of each build."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._build: ObservedBuild | None = None
        self._raised: type[BaseException] | None = None
        self._traceback = ""
        self._killed_by_rq = False
        with errors_logged():
            if emitter() is not None:
                self.push_exc_handler(_abandoned)

    def execute_job(self, *args: Any, **kwargs: Any) -> None:
        """Run a job in a work horse, then emit the end of its build."""
        try:
            super().execute_job(*args, **kwargs)
        finally:
            build, self._build = self._build, None
            with errors_logged():
                if build is not None:
                    _finish(build, args[0] if args else kwargs["job"], self.name)

    def fork_work_horse(self, job: Job, queue: Any) -> None:
        """Fork, and emit the start of the build."""
        started = utc_now()
        with errors_logged():
            self._build = self._begin()
        super().fork_work_horse(job, queue)
        with errors_logged():  # the work horse does not return from the fork
            configured = emitter()
            if self._build is not None and configured is not None:
                configured.build_started(
                    build_id=self._build.build_id,
                    request_hash=job.id,
                    time=started,
                    worker_id=self.name,
                )

    def _begin(self) -> ObservedBuild | None:
        if emitter() is None:
            return None
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        execution = self.execution
        name = execution.id if execution else new_id()
        return ObservedBuild(f"{BUILD_ID}{name}", reader, writer)

    def perform_job(self, *args: Any, **kwargs: Any) -> bool:
        """Perform a job in the work horse, and send the observations to the worker."""
        job: Job = args[0] if args else kwargs["job"]
        build = self._build
        with errors_logged(BaseTimeoutException):
            if build is not None:
                watch_phases(job, lambda phase, at: build.send(phase=phase, at=at))
                build.send(names=names_of(job))
        succeeded = super().perform_job(*args, **kwargs)
        with errors_logged():
            if build is not None:
                failed = self._raised or RuntimeError
                build.send(
                    status=status_of(None if succeeded else failed),
                    error="" if succeeded else message_of(job.meta, self._traceback),
                    at=time.monotonic(),
                    time=time.time(),
                )
        return succeeded

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Record the exception of a job."""
        with errors_logged():
            self._raised = exc_info[0]
        super().handle_exception(job, *exc_info)

    def wait_for_horse(self) -> Any:
        """Record the exit status of the work horse."""
        result = super().wait_for_horse()
        with errors_logged(BaseTimeoutException):
            if self._build is not None:
                self._build.wait_status = result[1] or 0
        return result

    def handle_work_horse_killed(self, job: Job, retpid: Any, ret_val: Any, rusage: Any) -> None:
        """Record whether RQ killed a work horse that did not stop at its timeout."""
        with errors_logged():
            self._killed_by_rq = ret_val is None
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)

    def handle_job_failure(self, *args: Any, **kwargs: Any) -> None:
        """Record a failure: in the work horse its traceback, in the worker the status."""
        job: Job = args[0] if args else kwargs["job"]
        is_stopped = self._stopped_job_id == job.id
        super().handle_job_failure(*args, **kwargs)
        with errors_logged():
            self._traceback = str(kwargs.get("exc_string", ""))
            if self._build is not None and not self.is_horse:
                self._build.end(
                    "cancelled" if is_stopped else "timeout" if self._killed_by_rq else "failure",
                    self._traceback,
                )
                self._killed_by_rq = False


def _finish(build: ObservedBuild, job: Job, worker: str) -> None:
    """Emit the end of a build that this worker ran.

    If two workers run the same job, RQ keeps only the result of the first one to end, and the
    status of the job is that result. So the exit status of the work horse has priority over the
    status of the job.
    """
    configured = emitter()
    build.collect()
    build.close()
    if build.status is None:
        status = job.get_status()
        if status not in _STATUSES:
            return  # this worker is being killed; another one will clean up the abandoned job
        if build.wait_status:
            build.end("failure", _KILLED.format(build.wait_status))
        else:
            build.end(_STATUSES[status], "" if status == JobStatus.FINISHED else _NO_RESULT)
    if configured is not None and build.status is not None:
        configured.build_finished(
            build_id=build.build_id,
            request_hash=job.id,
            status=build.status,
            phases=build.phases.seconds(build.ended),
            time=build.ended_at,
            worker_id=worker,
            **build.names,
            **({"error_message": build.error} if build.error else {}),
        )


def _abandoned(job: Job, kind: Any, *_: Any) -> None:
    """Emit the end of builds whose worker died. RQ calls this when another worker cleans up."""
    with errors_logged():
        configured = emitter()
        if configured is None or not issubclass(kind, AbandonedJobError):
            return
        for build_id in _abandoned_builds(job):
            configured.build_finished(
                build_id=build_id,
                request_hash=job.id,
                status="failure",
                error_message=f"{AbandonedJobError.__name__}: the worker is gone",
            )


def _abandoned_builds(job: Job) -> list[str]:
    """Return the build ids of the expired executions of a job.

    RQ's registry of started jobs has members `job:execution`, scored by expiry.
    """
    registry = job.started_job_registry
    members = registry.connection.zrangebyscore(registry.key, 0, time.time())
    texts = [str(member, "utf-8") for member in members]
    prefix = f"{job.id}:"
    return [BUILD_ID + text.removeprefix(prefix) for text in texts if text.startswith(prefix)]
