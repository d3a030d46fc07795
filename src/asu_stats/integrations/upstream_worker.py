"""The worker of the upstream server, observed: every execution of a job is a build.

RQ forks a work horse for each job. The horse only writes what it sees to a pipe. The worker reads
it when the horse has ended and emits, so no build waits for the network and a horse that is killed
loses nothing. RQ 3.0 passes more arguments than 2.x: overridden methods pass all of them on.
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
from asu_stats.integrations.reporting import emitter, unharmed
from asu_stats.integrations.upstream_builds import (
    Phases,
    message_of,
    names_of,
    status_of,
    watch_phases,
)
from asu_stats.times import utc_now

BUILD_ID: Final = "rq:"  # followed by the execution
_CHUNK: Final = 1 << 16
_NOT_ENDED: Final = "the work horse ended without a result"
_LOST: Final = "Work-horse terminated unexpectedly; waitpid returned {}"  # RQ's words
_STATUSES: Final[Mapping[JobStatus, BuildStatus]] = {
    JobStatus.FINISHED: "success",
    JobStatus.FAILED: "failure",
    JobStatus.STOPPED: "cancelled",
}


@dataclass(slots=True)
class Execution:
    """One execution of a job, as the worker and its work horse see it."""

    build_id: str
    reader: int
    writer: int
    phases: Phases = field(default_factory=Phases)
    status: BuildStatus | None = None
    ended_at: datetime | None = None
    ended: float = 0.0
    error: str = ""
    names: dict[str, Any] = field(default_factory=dict)
    wait_status: int = 0  # of the work horse: waitpid(2)

    def tell(self, **said: Any) -> None:
        """Send something from the work horse to the worker; never blocks."""
        os.write(self.writer, json.dumps(said).encode() + b"\n")

    def collect(self) -> None:
        """Take in what the work horse has sent. How the worker saw it end counts more."""
        text = b""
        while part := _read(self.reader):
            text += part
        for line in text.splitlines():
            said = json.loads(line)
            if "phase" in said:
                self.phases.enter(said["phase"], said["at"])
            elif "names" in said:
                self.names = said["names"]
            elif self.status is None:
                self.status, self.error, self.ended = said["status"], said["error"], said["at"]
                self.ended_at = datetime.fromtimestamp(said["time"], UTC)

    def end(self, status: BuildStatus, error: str = "") -> None:
        """Note that the worker saw it end now."""
        self.status, self.error = status, error
        self.ended, self.ended_at = time.monotonic(), utc_now()

    def close(self) -> None:
        """Close the pipe."""
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
        self._observed: Execution | None = None
        self._raised: type[BaseException] | None = None
        self._exception = ""
        self._is_overdue = False
        with unharmed():
            if emitter() is not None:
                self.push_exc_handler(_abandoned)

    def execute_job(self, *args: Any, **kwargs: Any) -> None:
        """Run a job in a work horse, then emit how its build ended."""
        try:
            super().execute_job(*args, **kwargs)
        finally:
            observed, self._observed = self._observed, None
            with unharmed():
                if observed is not None:
                    _finish(observed, args[0] if args else kwargs["job"], self.name)

    def fork_work_horse(self, job: Job, queue: Any) -> None:
        """Fork; emit that the build has started."""
        started = utc_now()
        with unharmed():
            self._observed = self._begin()
        super().fork_work_horse(job, queue)
        with unharmed():  # only the worker comes here
            found = emitter()
            if self._observed is not None and found is not None:
                found.build_started(
                    build_id=self._observed.build_id,
                    request_hash=job.id,
                    time=started,
                    worker_id=self.name,
                )

    def _begin(self) -> Execution | None:
        if emitter() is None:
            return None
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        execution = self.execution
        name = execution.id if execution else new_id()
        return Execution(f"{BUILD_ID}{name}", reader, writer)

    def perform_job(self, *args: Any, **kwargs: Any) -> bool:
        """Perform a job in the work horse; tell the worker how it goes."""
        job: Job = args[0] if args else kwargs["job"]
        observed = self._observed
        with unharmed(BaseTimeoutException):
            if observed is not None:
                watch_phases(job, lambda phase, at: observed.tell(phase=phase, at=at))
                observed.tell(names=names_of(job))
        succeeded = super().perform_job(*args, **kwargs)
        with unharmed():
            if observed is not None:
                failed = self._raised or RuntimeError
                observed.tell(
                    status=status_of(None if succeeded else failed),
                    error="" if succeeded else message_of(job.meta, self._exception),
                    at=time.monotonic(),
                    time=time.time(),
                )
        return succeeded

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Note what a job has raised."""
        with unharmed():
            self._raised = exc_info[0]
        super().handle_exception(job, *exc_info)

    def wait_for_horse(self) -> Any:
        """Note how the work horse ended."""
        found = super().wait_for_horse()
        with unharmed(BaseTimeoutException):
            if self._observed is not None:
                self._observed.wait_status = found[1] or 0
        return found

    def handle_work_horse_killed(self, job: Job, retpid: Any, ret_val: Any, rusage: Any) -> None:
        """Note whether RQ itself killed a work horse that did not stop at its time-out."""
        with unharmed():
            self._is_overdue = ret_val is None
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)

    def handle_job_failure(self, *args: Any, **kwargs: Any) -> None:
        """Note a failure: in the work horse its traceback, in the worker how the horse was lost."""
        job: Job = args[0] if args else kwargs["job"]
        is_stopped = self._stopped_job_id == job.id
        super().handle_job_failure(*args, **kwargs)
        with unharmed():
            self._exception = str(kwargs.get("exc_string", ""))
            if self._observed is not None and not self.is_horse:
                self._observed.end(
                    "cancelled" if is_stopped else "timeout" if self._is_overdue else "failure",
                    self._exception,
                )
                self._is_overdue = False


def _finish(observed: Execution, job: Job, worker: str) -> None:
    """Emit the end of a build that this worker has run.

    If equal jobs run at once and one of them has ended, RQ keeps no result of one that is killed
    after it: the status of the job is that of the other. Ours is how the work horse ended.
    """
    found = emitter()
    observed.collect()
    observed.close()
    if observed.status is None:  # RQ knows
        status = job.get_status()
        if status not in _STATUSES:
            return  # this worker is being killed: another one will find the job abandoned
        if observed.wait_status:
            observed.end("failure", _LOST.format(observed.wait_status))
        else:
            observed.end(_STATUSES[status], "" if status == JobStatus.FINISHED else _NOT_ENDED)
    if found is not None and observed.status is not None:
        found.build_finished(
            build_id=observed.build_id,
            request_hash=job.id,
            status=observed.status,
            phases=observed.phases.seconds(observed.ended),
            time=observed.ended_at,
            worker_id=worker,
            **observed.names,
            **({"error_message": observed.error} if observed.error else {}),
        )


def _abandoned(job: Job, kind: Any, *_: Any) -> None:
    """Emit the end of builds whose worker is gone: RQ calls this when the next one cleans up."""
    with unharmed():
        found = emitter()
        if found is None or not issubclass(kind, AbandonedJobError):
            return
        for build_id in _executions(job):
            found.build_finished(
                build_id=build_id,
                request_hash=job.id,
                status="failure",
                error_message=f"{AbandonedJobError.__name__}: the worker is gone",
            )


def _executions(job: Job) -> list[str]:
    """Return the expired executions of a job: members `job:execution` of the started registry."""
    registry = job.started_job_registry
    members = registry.connection.zrangebyscore(registry.key, 0, time.time())
    texts = [str(member, "utf-8") for member in members]
    prefix = f"{job.id}:"
    return [BUILD_ID + text.removeprefix(prefix) for text in texts if text.startswith(prefix)]
